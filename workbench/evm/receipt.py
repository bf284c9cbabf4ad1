"""Receipts: what a transaction did, as the receipts root covers it.

(1) A receipt is read from the bytes under the root, by round trip; what a node reports beside them (gas used,
    addresses, effective price) is not under the root and is not here.
(2) Status is 0 or 1. Receipts from before Byzantium carry a state root instead and are refused.

Pure. Callers verify the bytes first (`workbench.evm.proof`), then read them here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import rlp

from workbench.evm.errors import ReceiptError
from workbench.evm.fields import checksummed, from_rpc_hex, from_rpc_quantity, uint, uint_bytes

# A block's whole gas spent on log data gives less than 4 MiB.
RECEIPT_BYTES_MAX: Final = 4 * 1024 * 1024
_LEGACY: Final = 0
_TYPE_MAX: Final = 4  # legacy, access list, fee market, blob, delegation
_BLOOM_BYTES: Final = 256
_TOPICS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Log:
    """One event."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One receipt; the type is that of its transaction."""

    type: int
    succeeded: bool
    cumulative_gas_used: int
    bloom: bytes
    logs: tuple[Log, ...]

    def encode(self) -> bytes:
        """Return the bytes in the receipts trie."""
        logs = [[bytes.fromhex(log.address[2:]), list(log.topics), log.data] for log in self.logs]
        body = [uint_bytes(int(self.succeeded)), uint_bytes(self.cumulative_gas_used), self.bloom, logs]
        prefix = b"" if self.type == _LEGACY else bytes([self.type])
        return prefix + cast("bytes", rlp.encode(body))

    @classmethod
    def parse(cls, raw: bytes) -> "Receipt":
        """Read a receipt's bytes; whatever is not its own encoding is refused."""
        if not 1 <= len(raw) <= RECEIPT_BYTES_MAX:
            raise ReceiptError(f"a receipt of {len(raw)} bytes")
        kind = raw[0] if raw[0] <= _TYPE_MAX else _LEGACY
        try:
            items = rlp.decode(raw if kind == _LEGACY else raw[1:], strict=True)
            receipt = _from_items(kind, items)
            again = receipt.encode()
        except (rlp.exceptions.RLPException, RecursionError, ValueError, TypeError) as error:
            raise ReceiptError(f"not a receipt: {error}") from error
        if again != raw:
            raise ReceiptError("the receipt is not its own encoding")
        return receipt

    @classmethod
    def from_rpc(cls, receipt: Mapping[str, object]) -> "Receipt":
        """Read a JSON-RPC receipt: a claim, until its bytes are found under a receipts root."""
        logs = receipt.get("logs")
        if not isinstance(logs, list):
            raise ReceiptError("a receipt has a list of logs")
        try:
            status = from_rpc_quantity(receipt.get("status"))
            return cls(
                type=from_rpc_quantity(receipt.get("type", "0x0")),
                succeeded=bool((False, True)[status]),
                cumulative_gas_used=from_rpc_quantity(receipt.get("cumulativeGasUsed")),
                bloom=from_rpc_hex(receipt.get("logsBloom"), size=_BLOOM_BYTES),
                logs=tuple(_log_from_rpc(log) for log in logs),
            )
        except (ValueError, IndexError, TypeError) as error:
            raise ReceiptError(f"not a receipt: {error}") from error


def _from_items(kind: int, items: object) -> Receipt:
    status, gas, bloom, logs = _list_of(items, 4)
    if not isinstance(bloom, bytes) or len(bloom) != _BLOOM_BYTES or not isinstance(logs, list):
        raise ReceiptError("a receipt is status, gas, bloom and logs")
    if status not in (b"", b"\x01"):
        raise ReceiptError(f"status {status!r:.40}")
    return Receipt(
        type=kind,
        succeeded=status == b"\x01",
        cumulative_gas_used=uint(gas),
        bloom=bloom,
        logs=tuple(_log(log) for log in logs),
    )


def _log(item: object) -> Log:
    address, topics, data = _list_of(item, 3)
    if not isinstance(address, bytes) or not isinstance(data, bytes) or not isinstance(topics, list):
        raise ReceiptError("a log is an address, topics and data")
    return Log(checksummed(address), _topics(topics), data)


def _log_from_rpc(log: Mapping[str, object]) -> Log:
    topics = log.get("topics")
    if not isinstance(topics, list):
        raise ReceiptError("a log has a list of topics")
    address = checksummed(from_rpc_hex(log.get("address")))
    return Log(address, _topics([from_rpc_hex(topic) for topic in topics]), from_rpc_hex(log.get("data")))


def _topics(topics: list[object] | list[bytes]) -> tuple[bytes, ...]:
    checked = tuple(topic for topic in topics if isinstance(topic, bytes) and len(topic) == 32)  # noqa: PLR2004
    if len(checked) != len(topics) or len(topics) > _TOPICS_MAX:
        raise ReceiptError("a log has at most four topics of 32 bytes")
    return checked


def _list_of(item: object, count: int) -> list[object]:
    if not isinstance(item, list) or len(item) != count:
        raise ReceiptError(f"a list of {count} was expected")
    return item
