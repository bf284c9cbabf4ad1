"""What a token's contract says of itself: the answers to `symbol()` and `decimals()`, made harmless.

(1) A symbol is a string in the one encoding that it has, or, as early tokens have it, 32 bytes filled up with
    zeros. Anything else is no symbol; so is an empty one, one of more than 32 characters, what is no UTF-8.
(2) A contract chooses this text, to be read by people who decide about money. Letters of ASCII stand for
    themselves; everything else (control and direction characters, letters of other alphabets that look like
    ours, quotation marks, the backslash) is written as its code point: a USDC with a Cyrillic letter shows.
(3) Decimals are one word below 256.

Whether any of it is true is not asked here.
"""

import re
from typing import Final

from workbench.evm.calldata import Fragment, decode_arguments
from workbench.evm.errors import CalldataError

CHARACTERS_MAX: Final = 32
DECIMALS_MAX: Final = 255
WORD: Final = 32
WRITTEN: Final = (
    r"(?:[ !#-&(-\[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}){1," + str(CHARACTERS_MAX) + "}"
)
"""What a symbol looks like once it is written (2)."""

_PLAIN: Final = re.compile(r"[ !#-&(-\[\]-~]")
_TEXT: Final[Fragment] = {
    "type": "function",
    "name": "symbol",
    "inputs": [{"name": "text", "type": "string"}],
}
# offset, length, and as many bytes as 32 characters may have
_ANSWER_MAX: Final = 2 * WORD + 4 * CHARACTERS_MAX


def symbol(answer: bytes) -> str | None:
    """Return what a contract calls itself, as it may be shown; None if it says nothing of the kind."""
    text = _text(answer)
    if text is None or not 0 < len(text) <= CHARACTERS_MAX:
        return None
    return "".join(_written(each) for each in text)


def decimals(answer: bytes) -> int | None:
    """Return the decimals that a contract answers; None if it answers none."""
    number = int.from_bytes(answer)
    return number if len(answer) == WORD and number <= DECIMALS_MAX else None


def _text(answer: bytes) -> str | None:  # (1)
    if len(answer) > _ANSWER_MAX:
        return None
    try:
        if len(answer) == WORD:
            return answer.rstrip(b"\0").decode()
        return str(decode_arguments(_TEXT, answer)["text"])
    except (CalldataError, UnicodeDecodeError):
        return None


def _written(character: str) -> str:  # (2)
    if _PLAIN.fullmatch(character):
        return character
    point = ord(character)
    width, mark = (2, "x") if point < 2**8 else (4, "u") if point < 2**16 else (8, "U")
    return f"\\{mark}{point:0{width}x}"
