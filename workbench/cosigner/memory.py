"""What a co-signer remembers, in files of its own.

`head.json` is the ledger head and policy version it last signed under, which never go
back, and the number of records beside it, so that a missing one is noticed. `signed/` has one record for
each (chain, address, nonce): first without a signature (persisted before signing), then
with it. A record is created exclusively, so two threads cannot take one nonce; every
write is on disk before the next step.

A record without a signature left this process's token at most in memory, never the
process: when the gate later refuses the same intent, the record is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ledger import files
from ledger.encoding import canonical, parse
from ledger.merkle import Frontier

RECORD_MAX = 256 * 1024


class MemoryCorruptError(Exception):
    """The memory cannot be read: without it nothing may be signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The ledger and the policy set as last seen; `chain` is h of the last entry."""

    size: int
    hashes: tuple[bytes, ...]
    chain: bytes
    policy: str
    policy_version: int
    time_floor: str
    records: int

    def frontier(self) -> Frontier:
        """Return the tree's right edge, to grow from."""
        return Frontier(self.size, self.hashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One nonce of one lane, given to one intent; `raw_tx` is None until it is signed."""

    chain_id: int
    address: str
    nonce: int
    intent: str
    unsigned_tx: str
    usd_cents: int
    at: str
    raw_tx: str | None
    signature: str | None

    @property
    def lane(self) -> tuple[int, str, int]:
        """What must be unique."""
        return (self.chain_id, self.address, self.nonce)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the gate may look at."""

    head: Head
    records: tuple[Record, ...]

    def at(self, lane: tuple[int, str, int]) -> Record | None:
        """Return the record of this nonce."""
        return next((record for record in self.records if record.lane == lane), None)

    def of(self, intent: str) -> Record | None:
        """Return the record of this intent."""
        return next((record for record in self.records if record.intent == intent), None)


def found(folder: Path, *, genesis_hash: bytes) -> None:
    """Begin a memory: an empty head under a ledger's genesis, once."""
    path = folder / "head.json"
    if path.exists():
        raise MemoryCorruptError(f"{path}: there is a memory already")
    first = Head(size=0, hashes=(), chain=genesis_hash, policy="", policy_version=0, time_floor="", records=0)
    files.replace(path, _head_document(first))


class Memory:
    """The files, read once at start and kept in step."""

    def __init__(self, folder: Path, *, genesis_hash: bytes) -> None:
        self._head_path = folder / "head.json"
        self._signed = folder / "signed"
        self._signed.mkdir(mode=0o700, exist_ok=True)
        self._records = {record.lane: record for record in self._read_records()}
        self._head = self._read_head(genesis_hash)

    def snapshot(self) -> Snapshot:
        """Return what is remembered."""
        return Snapshot(self._head, tuple(self._records.values()))

    def advance(self, head: Head) -> None:
        """Remember a newer head."""
        if head.size < self._head.size or head.policy_version < self._head.policy_version:
            raise MemoryCorruptError(f"head would go back from {self._head.size} to {head.size}")
        self._keep(replace(head, records=len(self._records)))

    def reserve(self, record: Record) -> None:
        """Persist that this nonce belongs to this intent; raises FileExistsError when it is taken."""
        path = self._path(record)
        known = self._records.get(record.lane)
        if known is not None and (known.intent, known.unsigned_tx) == (record.intent, record.unsigned_tx):
            return
        files.create(path, _record_document(record))
        self._records[record.lane] = record
        # the count follows the file: a crash here leaves one file more than is counted, never one less
        self._keep(replace(self._head, records=len(self._records)))

    def complete(self, record: Record, *, raw_tx: str, signature: str) -> Record:
        """Persist the signature before it is answered."""
        done = replace(record, raw_tx=raw_tx, signature=signature)
        files.replace(self._path(record), _record_document(done))
        self._records[record.lane] = done
        return done

    def withdraw(self, record: Record) -> None:
        """Forget a record that never got its signature."""
        if record.raw_tx is not None:
            raise MemoryCorruptError("a signed record is never forgotten")
        del self._records[record.lane]
        # the count goes first, for the same reason
        self._keep(replace(self._head, records=len(self._records)))
        self._path(record).unlink()
        files.sync(self._signed)

    def _keep(self, head: Head) -> None:
        files.replace(self._head_path, _head_document(head))
        self._head = head

    def _path(self, record: Record) -> Path:
        return self._signed / f"{record.chain_id}-{record.address}-{record.nonce}.json"

    def _read_records(self) -> Iterator[Record]:
        for path in sorted(self._signed.glob("*.json")):
            try:
                record = Record(**_read(path))
            except TypeError as error:
                raise MemoryCorruptError(f"{path.name}: {error}") from error
            if self._path(record) != path:
                raise MemoryCorruptError(f"{path.name} holds the record of another nonce")
            yield record

    def _read_head(self, genesis_hash: bytes) -> Head:
        # there is a head from the first day on: a missing one means that files were taken away
        value = _read(self._head_path)
        try:
            hashes, chain = (
                tuple(bytes.fromhex(item) for item in value["hashes"]),
                bytes.fromhex(value["chain"]),
            )
            head = Head(**{**value, "hashes": hashes, "chain": chain})
            head.frontier()
        except (KeyError, TypeError, ValueError) as error:
            raise MemoryCorruptError(f"{self._head_path.name}: {error}") from error
        if len(self._records) < head.records or (head.size == 0 and head.chain != genesis_hash):
            raise MemoryCorruptError(
                f"head.json counts {head.records} records, signed/ has {len(self._records)}"
            )
        return head


def _head_document(head: Head) -> bytes:
    return canonical(
        {
            "size": head.size,
            "hashes": [item.hex() for item in head.hashes],
            "chain": head.chain.hex(),
            "policy": head.policy,
            "policy_version": head.policy_version,
            "time_floor": head.time_floor,
            "records": head.records,
        }
    )


def _record_document(record: Record) -> bytes:
    return canonical({name: getattr(record, name) for name in Record.__slots__}, limit=RECORD_MAX)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = parse(path.read_bytes(), limit=RECORD_MAX)
    except (OSError, ValueError) as error:
        raise MemoryCorruptError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise MemoryCorruptError(f"{path.name}: not an object")
    return value
