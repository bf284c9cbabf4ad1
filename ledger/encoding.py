"""Canonical JSON: the one byte string that stands for a value.

RFC 8785 restricted to what every JSON library reads alike: objects, arrays,
strings, booleans, null and integers with |n| ≤ 2^53−1.

* No floats: amounts are decimal strings in base units.
* Keys are ASCII, so code-point order and RFC 8785's UTF-16 order agree.
* No lone surrogates, no duplicate keys, at most 32 containers inside each
  other, at most `limit` bytes.
* `parse` refuses every byte string that is not its own canonical form: two
  spellings of one value would be two hashes for one fact.

Types are matched exactly. A subclass of `str` or `int` (an enum, say), a tuple
or a `Decimal` is refused: it would not come back as what went in.
"""

from typing import Any, Self, TypeAlias

import orjson

LIMIT = 64 * 1024  # an entry; larger evidence is content-addressed elsewhere
DEPTH_MAX = 32  # far below the recursion limit of any reader
INTEGER_MAX = 2**53 - 1  # the largest run of integers that JavaScript keeps exact

JSON: TypeAlias = Any  # the edge: whatever canonical JSON can hold


class EncodingError(ValueError):
    """A value or a byte string has no canonical form; `path` is a JSON pointer to the spot, "" the whole."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{message} at {path}" if path else message)
        self.message = message
        self.path = path

    def under(self, key: str) -> Self:
        """Return this error as seen from one container further out."""
        return type(self)(self.message, path=f"/{key.replace('~', '~0').replace('/', '~1')}{self.path}")


def canonical(value: object, *, limit: int = LIMIT) -> bytes:
    """Return the canonical bytes of a value."""
    _check(value, DEPTH_MAX)
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if len(raw) > limit:
        raise EncodingError(f"{len(raw)} bytes, limit {limit}")
    return raw


def parse(raw: bytes, *, limit: int = LIMIT) -> JSON:
    """Return the value whose canonical form is exactly `raw`."""
    if type(raw) is not bytes:
        raise EncodingError(f"{type(raw).__name__} instead of bytes")
    if len(raw) > limit:
        raise EncodingError(f"{len(raw)} bytes, limit {limit}")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise EncodingError(f"not JSON: {error}") from None
    # One comparison stops duplicate keys, other orders, spaces, escapes and -0.
    if canonical(value, limit=limit) != raw:
        raise EncodingError("not in canonical form")
    return value


def unhex(text: object, size: int) -> bytes:
    """Return the `size` bytes that `text` spells in lower-case hex."""
    if type(text) is not str or len(text) != 2 * size or not set(text) <= set("0123456789abcdef"):
        raise EncodingError(f"{text!r:.80} is not {size} bytes of lower-case hex")
    return bytes.fromhex(text)


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_string(value)  # type: ignore[arg-type]  # `kind` is the exact type
    elif kind is int:
        if not -INTEGER_MAX <= value <= INTEGER_MAX:  # type: ignore[operator]  # as above
            raise EncodingError("integer beyond 2^53-1")
    elif kind is dict:
        _check_object(value, depth)  # type: ignore[arg-type]  # as above
    elif kind is list:
        _check_list(value, depth)  # type: ignore[arg-type]  # as above
    elif value is not None and kind is not bool:
        raise EncodingError(f"{kind.__name__} has no canonical form")


def _check_object(value: dict[object, object], depth: int) -> None:
    if depth == 0:
        raise EncodingError(f"deeper than {DEPTH_MAX}")
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            raise EncodingError(f"key {key!r:.80} is not an ASCII string")
        # Most of what is ever encoded is short ASCII: without this line the calls cost as much as the rest.
        if type(item) is str and item.isascii():
            continue
        try:
            _check(item, depth - 1)
        except EncodingError as error:
            raise error.under(key) from None


def _check_list(value: list[object], depth: int) -> None:
    if depth == 0:
        raise EncodingError(f"deeper than {DEPTH_MAX}")
    for place, item in enumerate(value):
        try:
            _check(item, depth - 1)
        except EncodingError as error:
            raise error.under(str(place)) from None


def _check_string(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise EncodingError("lone surrogate") from None
