"""One value, one byte string: what is accepted, what is refused, and agreement with RFC 8785."""

import contextlib
import enum
import json
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import INTEGER_MAX, EncodingError, canonical, parse, unhex

SCALARS = st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text()
KEYS = st.text(alphabet=st.characters(max_codepoint=127))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


class Colour(enum.StrEnum):
    """A string that is more than a string."""

    RED = "red"


def boxed(depth: int) -> Any:
    """Return an object inside an object, `depth` times."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def nested(depth: int) -> Any:
    """Return a list inside a list, `depth` times."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(VALUES)
def test_canonical_form_is_rfc_8785(value: Any) -> None:
    """On the subset, every value has the bytes that RFC 8785 gives it."""
    assert canonical(value) == rfc8785.dumps(value)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    """What was encoded parses to the same value, of the same types."""
    assert repr(parse(canonical(value))) == repr(json.loads(canonical(value)))
    assert parse(canonical(value)) == value


@given(st.binary(max_size=40))
def test_parse_never_raises_anything_else(raw: bytes) -> None:
    """Any bytes either are canonical or raise EncodingError."""
    with contextlib.suppress(EncodingError):
        assert canonical(parse(raw)) == raw


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        pytest.param({"b": 1, "a": 2}, b'{"a":2,"b":1}', id="keys are sorted"),
        pytest.param({"aa": 1, "a": 2, "B": 3, "": 4}, b'{"":4,"B":3,"a":2,"aa":1}', id="by code point"),
        pytest.param(
            "\x00\x1f\x7f\u2028é😀", '"\\u0000\\u001f\x7f\u2028é😀"'.encode(), id="only controls escaped"
        ),
        pytest.param('\b\t\n\f\r"\\/', b'"\\b\\t\\n\\f\\r\\"\\\\/"', id="short escapes, slash as it is"),
        pytest.param(2**53 - 1, b"9007199254740991", id="the largest integer"),
        pytest.param(-(2**53) + 1, b"-9007199254740991", id="the smallest integer"),
        pytest.param([True, False, None, 0], b"[true,false,null,0]", id="true is not 1"),
        pytest.param(nested(32), b"[" * 32 + b"]" * 32, id="depth 32"),
        pytest.param(boxed(32), b'{"a":' * 31 + b"{}" + b"}" * 31, id="objects of depth 32"),
    ],
)
def test_accepted(value: Any, raw: bytes) -> None:
    """These values have these bytes, and the bytes these values."""
    assert canonical(value) == raw
    assert parse(raw) == value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        pytest.param(1.0, "", id="a float"),
        pytest.param({"a": [0, float("nan")]}, "/a/1", id="not a number, deep inside"),
        pytest.param({"limit": Decimal(1)}, "/limit", id="a decimal that is not a string"),
        pytest.param(2**53, "", id="an integer too large"),
        pytest.param([-(2**53)], "/0", id="an integer too small"),
        pytest.param((1, 2), "", id="a tuple would come back as a list"),
        pytest.param({"c": Colour.RED}, "/c", id="an enum would come back as a string"),
        pytest.param(b"a", "", id="bytes"),
        pytest.param({1}, "", id="a set"),
        pytest.param({1: 2}, "", id="a key that is no string"),
        pytest.param({"x": {Colour.RED: 2}}, "/x", id="an enum as key"),
        pytest.param({"é": 1}, "", id="a key beyond ASCII"),
        pytest.param({"a/b~c": ["\ud800"]}, "/a~1b~0c/0", id="a lone surrogate, the pointer escaped"),
        pytest.param(nested(33), "/0" * 32, id="depth 33"),
        pytest.param(boxed(33), "/a" * 32, id="objects of depth 33"),
        pytest.param("x" * 65535, "", id="one byte over the limit"),
    ],
)
def test_refused_values(value: Any, path: str) -> None:
    """These have no canonical form, and the error points at the spot."""
    with pytest.raises(EncodingError) as caught:
        canonical(value)
    assert caught.value.path == path
    assert str(caught.value) == caught.value.message + (f" at {path}" if path else "")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a":1,"a":1}', id="a key twice"),
        pytest.param(b'{"b":1,"a":1}', id="keys unsorted"),
        pytest.param(b'{"a": 1}', id="a space"),
        pytest.param(b"1\n", id="a newline after"),
        pytest.param(b"1 1", id="two values"),
        pytest.param(b"1.0", id="a float that is whole"),
        pytest.param(b"1e2", id="an exponent"),
        pytest.param(b"-0", id="minus zero"),
        pytest.param(b"01", id="a leading zero"),
        pytest.param(b"+1", id="a plus"),
        pytest.param(b"9007199254740992", id="2^53"),
        pytest.param(b"1" * 400, id="beyond any machine integer"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"Infinity", id="infinity"),
        pytest.param(b'"\\u0041"', id="a needless escape"),
        pytest.param(b'"\\/"', id="an escaped slash"),
        pytest.param(b'"\\u000A"', id="an escape in capitals, or long"),
        pytest.param(b'"\\ud800"', id="an escaped lone surrogate"),
        pytest.param(b'"\xed\xa0\x80"', id="an encoded lone surrogate"),
        pytest.param(b'"\xc0\x80"', id="overlong UTF-8"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf1", id="a byte order mark"),
        pytest.param('"é"'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[1,]", id="a trailing comma"),
        pytest.param(b"'a'", id="single quotes"),
        pytest.param(b"[" * 33 + b"]" * 33, id="depth 33"),
        pytest.param(b"[" * 60000, id="depth without end"),
        pytest.param(b'"' + b"x" * 65535 + b'"', id="one byte over the limit"),
    ],
)
def test_refused_bytes(raw: bytes) -> None:
    """These bytes are no value's canonical form."""
    with pytest.raises(EncodingError):
        parse(raw)


def test_only_bytes_are_parsed() -> None:
    """Text and buffers are refused: their bytes could change after the check."""
    for raw in ("1", bytearray(b"1"), memoryview(b"1")):
        with pytest.raises(EncodingError):
            parse(raw)  # type: ignore[arg-type]  # the point of the test


def test_the_limit_is_the_callers() -> None:
    """A document may have a larger limit than an entry, to the byte."""
    raw = canonical("x" * 100_000, limit=100_002)
    assert parse(raw, limit=100_002) == "x" * 100_000
    with pytest.raises(EncodingError):
        parse(raw, limit=100_001)
    with pytest.raises(EncodingError):
        canonical("x" * 100_000, limit=100_001)
    with pytest.raises(EncodingError, match="limit 3"):
        parse(b"[[[[", limit=3)  # not even looked at


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("0A" * 2, id="capitals"),
        pytest.param("0a", id="too short"),
        pytest.param("0a" * 3, id="too long"),
        pytest.param("0a 0", id="a space"),
        pytest.param("٣٣٣٣", id="digits of another script"),
        pytest.param(None, id="nothing"),
        pytest.param(b"0a0a", id="bytes"),
    ],
)
def test_refused_hex(text: object) -> None:
    """Hex has one spelling and the length that is expected."""
    with pytest.raises(EncodingError):
        unhex(text, 2)
    assert unhex("0a0a", 2) == b"\n\n"
