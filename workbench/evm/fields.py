"""Single values as Ethereum writes them, each read by round trip.

Two spellings meet here. Our documents write hex in lower case without a prefix; JSON-RPC writes it with `0x`,
quantities without leading zeros. Python's own readers accept blanks, underscores, signs and other scripts'
digits, so every reader here writes the value again and compares. Callers are the rest of `workbench.evm` and
the packages above it. Errors are `ValueError`; a caller that knows what it was reading raises its own.
"""

import re
from functools import lru_cache
from typing import Final

from eth_utils.address import to_checksum_address

UINT256_MAX = 2**256 - 1
ADDRESS_BYTES = 20
HASH_BYTES = 32
# One transaction's traces name the same few dozen addresses a hundred times, and a spelling costs a hash.
SPELLINGS_KEPT: Final = 4096

_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)")


def checksummed(raw: bytes) -> str:
    """Return twenty bytes as an EIP-55 address."""
    if len(raw) != ADDRESS_BYTES:
        raise ValueError(f"an address has {ADDRESS_BYTES} bytes, got {len(raw)}")
    return _spelled(raw)


@lru_cache(maxsize=SPELLINGS_KEPT)
def _spelled(raw: bytes) -> str:
    return str(to_checksum_address(raw))


def address_bytes(address: str) -> bytes:
    """Return the bytes of an EIP-55 address; any other spelling is refused."""
    if not re.fullmatch(r"0x[0-9A-Fa-f]{40}", address):
        raise ValueError(f"not an address: {address!r:.60}")
    raw = bytes.fromhex(address[2:])
    if checksummed(raw) != address:
        raise ValueError(f"address is not in EIP-55 spelling: {address}")
    return raw


def from_hex(text: str) -> bytes:
    """Return the bytes of lower-case hex without a prefix, the spelling of our documents."""
    raw = _lower(text)
    if raw is None:
        raise ValueError(f"not lower-case hex: {text!r:.60}")
    return raw


def from_rpc_hex(text: object, *, size: int | None = None) -> bytes:
    """Return the bytes of `0x` hex as JSON-RPC writes it, of exactly `size` bytes when given."""
    raw = _lower(text[2:].lower()) if isinstance(text, str) and text.startswith("0x") else None
    if raw is None:
        raise ValueError(f"not JSON-RPC data: {text!r:.60}")
    if size is not None and len(raw) != size:
        raise ValueError(f"got {len(raw)} bytes, expected {size}")
    return raw


def _lower(digits: str) -> bytes | None:
    # a trace carries the code of all that it touched: writing back is ten times as fast as an expression
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    return raw if raw.hex() == digits else None


def from_rpc_quantity(text: object) -> int:
    """Return a JSON-RPC quantity: `0x0`, or hex digits without leading zeros."""
    if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
        raise ValueError(f"not a JSON-RPC quantity: {text!r:.60}")
    return int(text, 16)


def from_decimal(text: str) -> int:
    """Return an integer written in ASCII decimal digits, as amounts are in our documents."""
    if not _DECIMAL.fullmatch(text) or text == "-0":
        raise ValueError(f"not a decimal integer: {text!r:.60}")
    if len(text) > 79:  # noqa: PLR2004  # a sign and the digits of 2**256: no document has a longer amount
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def to_rpc(raw: bytes) -> str:
    """Return bytes as JSON-RPC writes them."""
    return "0x" + raw.hex()


def uint(raw: object) -> int:
    """Return an RLP integer: big-endian bytes without leading zeros, at most 256 bits."""
    if not isinstance(raw, bytes) or len(raw) > HASH_BYTES or raw[:1] == b"\0":
        raise ValueError(f"not an RLP integer: {raw!r:.80}")
    return int.from_bytes(raw)


def uint_bytes(value: int) -> bytes:
    """Return an integer as RLP carries it."""
    if not 0 <= value <= UINT256_MAX:
        raise ValueError(f"not an unsigned 256-bit integer: {value}")
    return value.to_bytes((value.bit_length() + 7) // 8)
