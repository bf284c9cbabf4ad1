"""What contracts answer for a symbol and for decimals, made harmless."""

from __future__ import annotations

import re

import pytest
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm.token_words import CHARACTERS_MAX, WRITTEN, decimals, symbol


def text(value: str | bytes) -> bytes:
    """Return a string as a contract answers it."""
    return abi_encode(["bytes"], [value.encode() if isinstance(value, str) else value])


def early(value: bytes) -> bytes:
    """Return a symbol as early tokens answer it."""
    return value.ljust(32, b"\0")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(text("USDC"), "USDC", id="a string"),
        pytest.param(early(b"MKR"), "MKR", id="32 bytes"),
        pytest.param(text("A" * 32), "A" * 32, id="as long as may be"),
        pytest.param(early(b"B" * 32), "B" * 32, id="32 bytes without a zero"),
        pytest.param(text("USD\u20ae"), "USD\\u20ae", id="a letter of no alphabet"),
        pytest.param(text("USD\u0421"), "USD\\u0421", id="a Cyrillic letter"),
        pytest.param(text("\u202eCDSU"), "\\u202eCDSU", id="letters turned around"),
        pytest.param(text("U\u200bSDC"), "U\\u200bSDC", id="a space without width"),
        pytest.param(text("US\nDC\t\x1b[31m"), "US\\x0aDC\\x09\\x1b[31m", id="control characters"),
        pytest.param(text("caf\xe9"), "caf\\xe9", id="a letter of our alphabet with a mark"),
        pytest.param(text("\U0001f600"), "\\U0001f600", id="a picture"),
        pytest.param(text("X' \"\\u0041"), "X\\x27 \\x22\\x5cu0041", id="quotation marks and a backslash"),
        pytest.param(text("U\0SDC"), "U\\x00SDC", id="a zero inside a string"),
        pytest.param(early(b"U\0SDC"), "U\\x00SDC", id="a zero inside 32 bytes"),
        pytest.param(text(""), None, id="an empty string"),
        pytest.param(early(b""), None, id="32 zeros"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(text("A" * 33), None, id="33 letters"),
        pytest.param(text("\U0001f600" * 33), None, id="33 pictures"),
        pytest.param(text("A" * 2**20), None, id="a megabyte"),
        pytest.param(text(b"\xff\xfe"), None, id="a string that is no UTF-8"),
        pytest.param(early(b"\xc3"), None, id="32 bytes that are no UTF-8"),
        pytest.param(text("USDC")[:-1], None, id="a string cut short"),
        pytest.param(text("USDC") + bytes(32), None, id="a string and more"),
        pytest.param(bytes(31), None, id="31 bytes"),
        pytest.param((2**255).to_bytes(32) + bytes(64), None, id="a string somewhere else"),
        pytest.param((32).to_bytes(32) + (2**255).to_bytes(32) + bytes(32), None, id="a string without end"),
    ],
)
def test_symbols(answer: bytes, expected: str | None) -> None:
    """What cannot be read as a short text is no symbol; what could mislead is written as code points."""
    assert symbol(answer) == expected


@given(st.text(min_size=1, max_size=CHARACTERS_MAX))
def test_every_symbol_is_written_so_that_readers_take_it(value: str) -> None:
    """Whatever it was, it is ASCII without quotation marks, and readers accept it; two never look alike."""
    try:
        raw = text(value)
    except UnicodeEncodeError:
        return
    written = symbol(raw)
    assert written is not None
    assert re.fullmatch(WRITTEN, written)
    assert re.sub(r"\\(?:x(..)|u(.{4})|U(.{8}))", _character, written) == value


def _character(found: re.Match[str]) -> str:
    return chr(int(next(each for each in found.groups() if each), 16))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param((6).to_bytes(32), 6, id="six"),
        pytest.param(bytes(32), 0, id="none of them is a number"),
        pytest.param((255).to_bytes(32), 255, id="the most"),
        pytest.param((256).to_bytes(32), None, id="one more"),
        pytest.param((2**255).to_bytes(32), None, id="more than anybody counts"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"\x06", None, id="a byte"),
        pytest.param((6).to_bytes(32) + bytes(32), None, id="two words"),
    ],
)
def test_decimals(answer: bytes, expected: int | None) -> None:
    """One word, below 256."""
    assert decimals(answer) == expected
