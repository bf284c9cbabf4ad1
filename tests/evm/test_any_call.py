"""A thousand calls of functions that nobody has written: what is read is what is there, to the last byte."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from workbench.evm.calldata import DATA_BYTES_MAX, decode, encode
from workbench.evm.fields import checksummed

CALLS = 1000
DEPTH = 2

Json = dict[str, Any]


def elementary() -> st.SearchStrategy[str]:
    """Any type that is no tuple and no array."""
    return st.one_of(
        st.sampled_from(["address", "bool", "string", "bytes"]),
        st.integers(1, 32).map(lambda size: f"bytes{size}"),
        st.integers(1, 32).map(lambda size: f"uint{8 * size}"),
        st.integers(1, 32).map(lambda size: f"int{8 * size}"),
    )


def arrays() -> st.SearchStrategy[str]:
    """No array, or one of one or two dimensions, each fixed or open."""
    return st.lists(st.sampled_from(["[]", "[1]", "[2]"]), max_size=2).map("".join)


def parameters(depth: int = 0) -> st.SearchStrategy[list[Json]]:
    """The inputs of a function, or the components of a tuple."""
    flat = st.builds(lambda base, tail: {"type": base + tail}, elementary(), arrays())
    nested = st.builds(
        lambda parts, tail: {"type": "tuple" + tail, "components": parts},
        st.deferred(lambda: parameters(depth + 1)),
        arrays(),
    )
    each = st.one_of(flat, nested) if depth < DEPTH else flat
    return st.lists(each, min_size=min(depth, 1), max_size=3).map(
        lambda found: [{"name": f"p{number}", **one} for number, one in enumerate(found)]
    )


def value(declared: Json) -> st.SearchStrategy[Any]:
    """Any value of a parameter, in the form of our documents."""
    kind: str = declared["type"]
    if kind.endswith("]"):
        base, _, size = kind[:-1].rpartition("[")
        low, high = (int(size), int(size)) if size else (0, 2)
        return st.lists(value({**declared, "type": base}), min_size=low, max_size=high)
    if kind == "tuple":
        return st.fixed_dictionaries({part["name"]: value(part) for part in declared["components"]})
    return plain(kind)


def plain(kind: str) -> st.SearchStrategy[Any]:
    """Any value of an elementary type."""
    known = {
        "address": st.binary(min_size=20, max_size=20).map(checksummed),
        "bool": st.booleans(),
        "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
        "bytes": st.binary(max_size=70).map(bytes.hex),
    }
    if kind in known:
        return known[kind]
    name, number = kind.rstrip("0123456789"), int(kind.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if name == "bytes":
        return st.binary(min_size=number, max_size=number).map(bytes.hex)
    least, most = (0, 2**number - 1) if name == "uint" else (-(2 ** (number - 1)), 2 ** (number - 1) - 1)
    return st.integers(least, most).map(str)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Json, Json]:
    """Any function, and arguments for it."""
    inputs = draw(parameters())
    fragment = {
        "type": "function",
        "name": draw(st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$]{0,20}", fullmatch=True)),
    }
    arguments = {each["name"]: draw(value(each)) for each in inputs}
    return {**fragment, "inputs": inputs}, arguments


@settings(max_examples=CALLS, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls())
def test_any_call(call: tuple[Json, Json]) -> None:
    """Encoded, read and encoded again it is the same, and what was read is what was meant."""
    fragment, arguments = call
    data = encode(fragment, arguments)
    assume(len(data) <= DATA_BYTES_MAX)
    read = decode(data, [fragment])
    assert read.function == fragment["name"]
    assert read.arguments == arguments
    assert encode(fragment, read.arguments) == data
