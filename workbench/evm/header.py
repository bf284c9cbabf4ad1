"""Block headers: the 21 fields that a hash covers since Prague, no more and no fewer.

(1) A header is believed because its bytes hash to a block hash that someone vouches for, never because a node
    says so.
(2) A JSON-RPC block is turned into bytes and hashed again; the hash it claims must be the result.
(3) A field that is not in the list below stops everything: a later fork adds fields, and a header read
    without them would have another hash. Blocks from before Prague have fewer fields and are refused
    likewise.

Left to others: which hash is the chain's (the observer's attestation), and how old it may be
(`workbench.rules`). Pure; nothing that comes in is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, cast

import rlp
from eth_hash.auto import keccak

from workbench.evm.errors import HeaderError
from workbench.evm.fields import from_rpc_hex, from_rpc_quantity, uint, uint_bytes

# The largest field is the bloom filter with 256 bytes; the rest is below 600.
HEADER_BYTES_MAX: Final = 1024
# EIP-1559: a block may use twice its target, and the fee changes by at most an eighth.
ELASTICITY: Final = 2
FEE_CHANGE: Final = 8

# Name here, name in JSON-RPC, size in bytes (None: a number).
_FIELDS: Final[tuple[tuple[str, str, int | None], ...]] = (
    ("parent_hash", "parentHash", 32),
    ("ommers_hash", "sha3Uncles", 32),
    ("beneficiary", "miner", 20),
    ("state_root", "stateRoot", 32),
    ("transactions_root", "transactionsRoot", 32),
    ("receipts_root", "receiptsRoot", 32),
    ("logs_bloom", "logsBloom", 256),
    ("difficulty", "difficulty", None),
    ("number", "number", None),
    ("gas_limit", "gasLimit", None),
    ("gas_used", "gasUsed", None),
    ("timestamp", "timestamp", None),
    ("extra_data", "extraData", -1),
    ("mix_hash", "mixHash", 32),
    ("nonce", "nonce", 8),
    ("base_fee_per_gas", "baseFeePerGas", None),
    ("withdrawals_root", "withdrawalsRoot", 32),
    ("blob_gas_used", "blobGasUsed", None),
    ("excess_blob_gas", "excessBlobGas", None),
    ("parent_beacon_block_root", "parentBeaconBlockRoot", 32),
    ("requests_hash", "requestsHash", 32),
)
_VARIABLE: Final = -1
# In a JSON-RPC block, but not under its hash.
_BESIDE: Final = frozenset({"hash", "totalDifficulty", "size", "uncles", "transactions", "withdrawals"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block header since Prague."""

    parent_hash: bytes
    ommers_hash: bytes
    beneficiary: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    difficulty: int
    number: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    mix_hash: bytes
    nonce: bytes
    base_fee_per_gas: int
    withdrawals_root: bytes
    blob_gas_used: int
    excess_blob_gas: int
    parent_beacon_block_root: bytes
    requests_hash: bytes

    def encode(self) -> bytes:
        """Return the bytes that the block hash covers."""
        values = [getattr(self, field.name) for field in fields(self)]
        return cast("bytes", rlp.encode([uint_bytes(v) if isinstance(v, int) else v for v in values]))

    def hash(self) -> bytes:
        """Return the block hash."""
        return keccak(self.encode())

    def next_base_fee(self) -> int:
        """Return the base fee of the block after this one, in wei a gas (EIP-1559)."""
        target = max(self.gas_limit // ELASTICITY, 1)  # no chain has less; a made-up header may
        apart = self.base_fee_per_gas * abs(self.gas_used - target) // target // FEE_CHANGE
        if self.gas_used > target:
            return self.base_fee_per_gas + max(apart, 1)
        return self.base_fee_per_gas - apart

    @classmethod
    def parse(cls, raw: bytes) -> "Header":
        """Read a header's RLP; whatever is not its own encoding is refused."""
        if len(raw) > HEADER_BYTES_MAX:
            raise HeaderError(f"a header of {len(raw)} bytes, at most {HEADER_BYTES_MAX}")
        try:
            items = rlp.decode(raw, strict=True)
        except (rlp.exceptions.RLPException, RecursionError) as error:
            raise HeaderError(f"not RLP: {error}") from error
        if not isinstance(items, list) or len(items) != len(_FIELDS):
            raise HeaderError(f"a header has {len(_FIELDS)} fields")  # (3)
        header = _build(
            [_read(name, item, size) for (name, _, size), item in zip(_FIELDS, items, strict=True)]
        )
        if header.encode() != raw:
            raise HeaderError("the header is not its own encoding")
        return header

    @classmethod
    def from_rpc(cls, block: Mapping[str, object]) -> "Header":
        """Read a JSON-RPC block and check that it has the hash it claims."""
        names = {rpc_name for _, rpc_name, _ in _FIELDS}
        if names - set(block) or set(block) - names - _BESIDE:  # (3)
            raise HeaderError(
                f"fields missing {sorted(names - set(block))}, unknown {sorted(set(block) - names - _BESIDE)}"
            )
        try:
            header = _build([_from_rpc(block[rpc_name], size) for _, rpc_name, size in _FIELDS])
            claimed = from_rpc_hex(block.get("hash"), size=32)
        except ValueError as error:
            raise HeaderError(str(error)) from error
        if header.hash() != claimed:  # (2)
            raise HeaderError(
                f"block {header.number} hashes to {header.hash().hex()}, claimed {claimed.hex()}"
            )
        return header


# The dataclass is the list of names; two lists that drift apart would hash in the wrong order.
if tuple(field.name for field in fields(Header)) != tuple(name for name, _, _ in _FIELDS):  # pragma: no cover
    raise AssertionError("the header's fields and their encoding differ")


def _build(values: list[int | bytes]) -> Header:
    # _FIELDS gives each value the type that its field has.
    named: dict[str, Any] = {name: value for (name, _, _), value in zip(_FIELDS, values, strict=True)}
    return Header(**named)


def _read(name: str, item: object, size: int | None) -> int | bytes:
    try:
        if size is None:
            return uint(item)
    except ValueError as error:
        raise HeaderError(f"{name}: {error}") from error
    if not isinstance(item, bytes) or (size != _VARIABLE and len(item) != size):
        raise HeaderError(f"{name}: {size} bytes expected")
    return item


def _from_rpc(value: object, size: int | None) -> int | bytes:
    if size is None:
        return from_rpc_quantity(value)
    return from_rpc_hex(value, size=None if size == _VARIABLE else size)
