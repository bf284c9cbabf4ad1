"""Calldata: one ABI, one reading, and nothing beside it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE, Fragment, decode, encode, selector, signature
from workbench.evm.errors import CalldataError

ALICE = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
WORD = 32
APPROVAL = bytes.fromhex("095ea7b3") + bytes(12) + bytes.fromhex(ALICE[2:]) + (7).to_bytes(WORD)


def fragment(*inputs: tuple[str, str], name: str = "f") -> Fragment:
    """Return a function's fragment."""
    return {"type": "function", "name": name, "inputs": [{"name": n, "type": t} for n, t in inputs]}


BATCH = {
    "type": "function",
    "name": "batch",
    "inputs": [
        {
            "name": "calls",
            "type": "tuple[]",
            "components": [{"name": "to", "type": "address"}, {"name": "data", "type": "bytes"}],
        },
        {"name": "note", "type": "string"},
        {"name": "strict", "type": "bool"},
        {"name": "salt", "type": "bytes32"},
        {"name": "change", "type": "int128"},
    ],
}
BATCH_ARGUMENTS = {
    "calls": [{"to": ALICE, "data": "0102"}, {"to": ALICE, "data": ""}],
    "note": "ünï",
    "strict": True,
    "salt": "11" * 32,
    "change": "-5",
}


def test_approve_reads_as_words() -> None:
    """An approval decodes to its function and named arguments in the spelling of our documents."""
    call = decode(APPROVAL, [EXACT_INPUT_SINGLE, APPROVE])
    assert (call.function, call.signature, call.selector) == (
        "approve",
        "approve(address,uint256)",
        "095ea7b3",
    )
    assert call.arguments == {"spender": ALICE, "amount": "7"}


def test_known_selectors() -> None:
    """The fragments used here have the selectors that the deployed contracts answer to."""
    assert selector(APPROVE) == "095ea7b3"
    assert selector(EXACT_INPUT_SINGLE) == "414bf389"
    expected = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"
    assert signature(EXACT_INPUT_SINGLE) == expected


def test_nested_arguments_survive_the_round_trip() -> None:
    """Tuples, arrays, bytes and strings come back as they went in."""
    assert decode(encode(BATCH, BATCH_ARGUMENTS), [BATCH]).arguments == BATCH_ARGUMENTS


@given(amount=st.integers(0, 2**256 - 1))
def test_amounts_are_exact(amount: int) -> None:
    """No amount loses a digit."""
    data = encode(APPROVE, {"spender": ALICE, "amount": str(amount)})
    assert decode(data, [APPROVE]).arguments["amount"] == str(amount)


@given(position=st.integers(4, len(encode(BATCH, BATCH_ARGUMENTS)) - 1), flip=st.integers(1, 255))
def test_no_two_byte_strings_are_one_call(position: int, flip: int) -> None:
    """A changed byte is refused or is another call: nothing hides in padding or offsets."""
    data = bytearray(encode(BATCH, BATCH_ARGUMENTS))
    data[position] ^= flip
    try:
        call = decode(bytes(data), [BATCH])
    except CalldataError:
        return
    assert call.arguments != BATCH_ARGUMENTS


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(APPROVAL[:3], id="half a selector"),
        pytest.param(APPROVAL[:4], id="no arguments"),
        pytest.param(APPROVAL[:-1], id="cut short"),
        pytest.param(APPROVAL + b"\0", id="a trailing byte"),
        pytest.param(APPROVAL + bytes(WORD), id="a trailing word"),
        pytest.param(b"\x39\x50\x93\x51" + APPROVAL[4:], id="increaseAllowance, not in the ABI"),
        pytest.param(APPROVAL[:4] + b"\1" + APPROVAL[5:], id="dirty address padding"),
        pytest.param(APPROVAL[:4] + bytes(20000), id="too long"),
    ],
)
def test_calldata_the_abi_does_not_describe(data: bytes) -> None:
    """An unknown selector, a byte too many or a dirty pad is refused, never read loosely."""
    with pytest.raises(CalldataError):
        decode(data, [APPROVE])


def test_an_offset_that_points_elsewhere() -> None:
    """The same values behind another offset would be a second spelling of one call."""
    one = fragment(("data", "bytes"))
    good = encode(one, {"data": "aa"})
    moved = good[:4] + (64).to_bytes(WORD) + bytes(WORD) + good[4 + WORD :]
    with pytest.raises(CalldataError):
        decode(moved, [one])


def test_a_dirty_string() -> None:
    """Bytes that are no UTF-8 are not a string."""
    text = fragment(("text", "string"))
    good = encode(text, {"text": "a"})
    with pytest.raises(CalldataError):
        decode(good.replace(b"a" + bytes(31), b"\xff" + bytes(31)), [text])


@pytest.mark.parametrize(
    "abi",
    [
        pytest.param([], id="an empty ABI"),
        pytest.param([APPROVE, APPROVE], id="a function twice"),
        pytest.param([{**APPROVE, "type": "event"}], id="an event"),
        pytest.param([{"type": "function", "inputs": []}], id="a function without a name"),
        pytest.param(
            [{"type": "function", "name": "approve(", "inputs": []}], id="a name that forges a signature"
        ),
        pytest.param([{"type": "function", "name": "approve"}], id="no inputs"),
        pytest.param(
            [fragment(("", "address"), ("b", "uint256"), name="approve")], id="a parameter without a name"
        ),
        pytest.param([fragment(("a", "address"), ("a", "uint256"), name="approve")], id="one name twice"),
        pytest.param([fragment(("a", "address"), ("b", "uint"), name="approve")], id="uint without a size"),
        pytest.param([fragment(("a", "address"), ("b", "uint255"), name="approve")], id="no such integer"),
        pytest.param(
            [fragment(("a", "address"), ("b", "fixed128x18"), name="approve")], id="a fixed-point type"
        ),
        pytest.param([fragment(("a", "uint8[][][]"), name="approve")], id="arrays three deep"),
        pytest.param([fragment(("a", "tuple"), name="approve")], id="a tuple without components"),
        pytest.param([APPROVE] * 257, id="too many fragments"),
        pytest.param([fragment(("a", "address"), ("b", 7), name="approve")], id="a type that is no text"),
    ],
)
def test_fragments_that_cannot_be_used(abi: list[Fragment]) -> None:
    """A whitelist entry with a broken ABI allows nothing."""
    with pytest.raises(CalldataError):
        decode(APPROVAL, abi)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"spender": ALICE}, id="one missing"),
        pytest.param({"spender": ALICE, "amount": "1", "more": "1"}, id="one too many"),
        pytest.param({"spender": ALICE.lower(), "amount": "1"}, id="an address without its checksum"),
        pytest.param({"spender": ALICE, "amount": "1_0"}, id="an underscore"),
        pytest.param({"spender": ALICE, "amount": "٣"}, id="another script's digit"),
        pytest.param({"spender": ALICE, "amount": "01"}, id="a leading zero"),
        pytest.param({"spender": ALICE, "amount": "-1"}, id="a negative amount"),
        pytest.param({"spender": ALICE, "amount": str(2**256)}, id="above 256 bits"),
        pytest.param({"spender": ALICE, "amount": 1}, id="a number instead of its text"),
    ],
)
def test_arguments_that_cannot_be_encoded(arguments: dict[str, Any]) -> None:
    """Arguments have one spelling, and all of them are given."""
    with pytest.raises(CalldataError):
        encode(APPROVE, arguments)
