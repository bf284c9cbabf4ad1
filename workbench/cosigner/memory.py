"""What a co-signer remembers, in files of its own.

`head.json` is the ledger head and policy version it last signed under, which never go
back, and the number of records beside it, so that a missing one is noticed. `signed/` has one record for
each (chain, address, nonce): the intent that it belongs to, and all bytes that were ever signed for
it, oldest first: the first ones, what replaced them, what cancels them. The last may have no
signature: bytes are persisted before they are signed. A record is created exclusively, so two
threads cannot take one nonce; every write is on disk before the next step.

With a shared key a signature may come to be without this process ever seeing it: bytes are `given` before
the part leaves that may make it, and count as signed from then on, whether or not the signature is known.

A signature that was not persisted left this process's token at most in memory, never the
process: when the gate later refuses the same intent, the bytes without one are withdrawn, and other
bytes that it admits take their place. What has a signature is never forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ledger import files
from ledger.encoding import canonical, parse
from ledger.merkle import Frontier

BYTES_MAX = 32
"""For one nonce: room for so many steps of fees; half of it is kept for cancels."""
RECORD_MAX = 4 * 1024 * 1024
"""So many bytes, each twice in hex, at most 16.5 KiB of them."""


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
class Bytes:
    """A transaction for a nonce, the intent's or its cancel; `raw_tx` is None until it is signed.

    `given`: a part has left this process that may make a signature of a shared key.
    """

    unsigned_tx: str
    cancels: bool
    raw_tx: str | None
    signature: str | None
    given: bool = False

    @property
    def is_out(self) -> bool:
        """Whether a signature over it exists, or may."""
        return self.raw_tx is not None or self.given


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One nonce of one lane, given to one intent, and its bytes, oldest first."""

    chain_id: int
    address: str
    nonce: int
    intent: str
    usd_cents: int
    at: str
    bytes: tuple[Bytes, ...]

    @property
    def lane(self) -> tuple[int, str, int]:
        """What must be unique."""
        return (self.chain_id, self.address, self.nonce)

    @property
    def signed(self) -> tuple[Bytes, ...]:
        """The bytes that have a signature, or may have one, oldest first."""
        return tuple(each for each in self.bytes if each.is_out)

    @property
    def pending(self) -> Bytes | None:
        """The bytes that were persisted and of which nothing has left."""
        return self.bytes[-1] if not self.bytes[-1].is_out else None

    @property
    def in_doubt(self) -> bool:
        """Whether bytes are out of which this process knows no signature."""
        return any(each.given and each.raw_tx is None for each in self.bytes)

    def of(self, unsigned_tx: str) -> Bytes | None:
        """Return the signed bytes of this transaction."""
        done = (each for each in self.signed if each.raw_tx is not None)
        return next((each for each in done if each.unsigned_tx == unsigned_tx), None)

    def then(self, unsigned_tx: str, *, cancels: bool) -> Record:
        """Return this record with one more transaction to sign, in place of one that never was."""
        more = Bytes(unsigned_tx=unsigned_tx, cancels=cancels, raw_tx=None, signature=None)
        return replace(self, bytes=(*self.signed, more))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the gate may look at."""

    head: Head
    records: tuple[Record, ...]

    def at(self, lane: tuple[int, str, int]) -> Record | None:
        """Return the record of this nonce."""
        return next((record for record in self.records if record.lane == lane), None)

    def with_records(self, records: tuple[Record, ...]) -> Snapshot:
        """Return this memory with records that are new, or in the place of older ones."""
        lanes = {record.lane for record in records}
        return replace(self, records=(*(each for each in self.records if each.lane not in lanes), *records))

    def of(self, intent: str) -> Record | None:
        """Return the record of this intent; of an executor's several, the newest."""
        found = (record for record in self.records if record.intent == intent)
        return max(found, key=lambda record: record.nonce, default=None)


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
        """Persist what is to be signed for this nonce; raises FileExistsError when another intent has it."""
        path = self._path(record)
        known = self._records.get(record.lane)
        if known == record:
            return
        if known is not None and (known.intent, known.signed) == (record.intent, record.signed):
            files.replace(path, _record_document(record))
            self._records[record.lane] = record
            return
        files.create(path, _record_document(record))
        self._records[record.lane] = record
        # the count follows the file: a crash here leaves one file more than is counted, never one less
        self._keep(replace(self._head, records=len(self._records)))

    def learn(self, records: tuple[Record, ...]) -> None:
        """Remember what others signed with a shared key; what this process has signed stays."""
        for record in records:
            known = self._records.get(record.lane)
            if known is not None and not _keeps(record, known):
                raise MemoryCorruptError(f"nonce {record.nonce} would forget what was signed for it")
            files.replace(self._path(record), _record_document(record))
            self._records[record.lane] = record
            self._keep(replace(self._head, records=len(self._records)))

    def give(self, record: Record) -> Record:
        """Persist that a part of the last bytes' signature leaves, before it does."""
        last = replace(record.bytes[-1], given=True)
        given = replace(record, bytes=(*record.bytes[:-1], last))
        files.replace(self._path(record), _record_document(given))
        self._records[record.lane] = given
        return given

    def complete(self, record: Record, *, raw_tx: str, signature: str) -> Record:
        """Persist the signature before it is answered."""
        last = replace(record.bytes[-1], raw_tx=raw_tx, signature=signature)
        done = replace(record, bytes=(*record.bytes[:-1], last))
        files.replace(self._path(record), _record_document(done))
        self._records[record.lane] = done
        return done

    def withdraw(self, record: Record) -> None:
        """Forget bytes that never got their signature, and the record when it has no others."""
        if record.pending is None:
            raise MemoryCorruptError("a signed record is never forgotten")
        if record.signed:
            kept = replace(record, bytes=record.signed)
            files.replace(self._path(record), _record_document(kept))
            self._records[record.lane] = kept
            return
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
                value = _read(path)
                record = Record(**{**value, "bytes": tuple(Bytes(**each) for each in value["bytes"])})
                _check(record)
            except (KeyError, TypeError) as error:
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


def _keeps(record: Record, known: Record) -> bool:
    """Whether a record has all that is out of a known one; a signature may take the place of a doubt."""
    doubts = {each.unsigned_tx for each in known.bytes if each.given and each.raw_tx is None}
    signed = {each for each in known.bytes if each.raw_tx is not None}
    there = {each.unsigned_tx for each in record.signed}
    return record.intent == known.intent and signed <= set(record.bytes) and doubts <= there


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
    return canonical(asdict(record) | {"bytes": [asdict(each) for each in record.bytes]}, limit=RECORD_MAX)


def _check(record: Record) -> None:
    """Refuse a record that this process cannot have written."""
    unsigned = [each for each in record.bytes if not each.is_out]
    if not record.bytes or unsigned not in ([], [record.bytes[-1]]):
        raise TypeError("a record has bytes, and all but the last are signed")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = parse(path.read_bytes(), limit=RECORD_MAX)
    except (OSError, ValueError) as error:
        raise MemoryCorruptError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise MemoryCorruptError(f"{path.name}: not an object")
    return value
