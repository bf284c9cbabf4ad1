"""The ledger as the service writes it: events in, checkpoints out.

Each event's (source, id) names the fact itself (an intent's id, a decision's id), so
that recording it again after a crash changes nothing and another fact under the same
name is refused. A checkpoint is signed by the service's key in its token, recorded, and
kept as a file outside the database: at start the newest file must fit the database.

Everything is appended through the ledger's writer, so that what several requests record
at once is one commit. What others send (`external`) is kept apart by its source, which
begins with who sent it: nobody can write what the service itself would have written.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ledger import checkpoint as notes
from ledger import files, store, timestamp
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.encoding import EncodingError
from ledger.entry import Entry, EntryError, Event
from ledger.store import ConflictError, Ledger, Receipt, StoreError
from ledger.trust import TrustRoot as LedgerTrustRoot
from ledger.writer import BusyError, Writer
from workbench.custody.token import Ed25519Key
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.events import EXTERNAL, CloudEvent
from workbench.rules.trust import TrustRoot
from workbench.service.witnesses import Witnesses

SCHEMA = "oms/v1"
CHECKPOINT_EVERY = 10_000
CITING = ("evidence", "files", "inclusion")
SALT_BYTES, SALTS_AT_ONCE = 32, 256


@dataclass(frozen=True, slots=True)
class Stamps:
    """The time-stamps of checkpoints, each in a file that is named as in a bundle."""

    folder: Path

    def has(self, size: int, authority: str) -> bool:
        """Whether an authority has stamped the checkpoint of this size."""
        return self._path(size, authority).exists()

    def keep(self, size: int, authority: str, raw: bytes) -> None:
        """Keep an answer that was verified."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        files.replace(self._path(size, authority), raw)

    def bundled(self) -> dict[str, bytes]:
        """Return all of them as a bundle has them."""
        return {f"anchors/{stamp.name}": stamp.read_bytes() for stamp in _files(self.folder)}

    def _path(self, size: int, authority: str) -> Path:
        return self.folder / Path(timestamp.path(size, authority)).name


@dataclass(frozen=True, slots=True)
class Recorder:
    """The open ledger, the key that signs its checkpoints, and the folder that keeps them."""

    ledger: Ledger
    writer: Writer
    trust_root: TrustRoot
    trust_root_bytes: bytes
    key: Ed25519Key
    folder: Path
    witnesses: Witnesses
    _checkpointing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stamps(self) -> Stamps:
        """The time-stamps of its checkpoints."""
        return Stamps(self.folder / "timestamps")

    def append(
        self, kind: str, name: str, data: Mapping[str, Any], *, actor: str, subject: str | None = None
    ) -> Receipt:
        """Record one fact; the receipt comes after the disk has it."""
        try:
            event = Event(
                source=f"workbench/{kind}",
                id=name,
                type=kind,
                actor=actor,
                dataschema=SCHEMA,
                data=dict(data),
                subject=subject,
            )
            receipt = self.writer.append([event])[0]
        except EncodingError as error:
            raise RefusedError(Refusal.TOO_LARGE, f"{kind}: {error}") from error
        except EntryError as error:
            # a key's name may be longer than an entry's
            raise RefusedError(Refusal.MALFORMED, f"{kind}: {error}") from error
        except ConflictError as error:
            raise RefusedError(Refusal.ID_REUSED, f"{kind} {name} is recorded with other bytes") from error
        except BusyError as error:
            raise RefusedError(Refusal.BUSY, str(error)) from error
        self._grow(receipt.seq, 1)
        return receipt

    def external(self, events: Sequence[CloudEvent], *, person: str) -> list[Receipt]:
        """Record what a person's programs send, all of it or nothing, under that person's name."""
        try:
            receipts = self.writer.append([event.of(person) for event in events])
        except (EncodingError, EntryError) as error:
            raise RefusedError(Refusal.MALFORMED, str(error)) from error
        except ConflictError as error:
            raise RefusedError(Refusal.ID_REUSED, str(error)) from error
        except BusyError as error:
            raise RefusedError(Refusal.BUSY, str(error)) from error
        self._grow(max(receipt.seq for receipt in receipts), len(receipts))
        return receipts

    def close(self) -> None:
        """Write what was taken, and let go of the file."""
        self.writer.close()
        self.ledger.close()

    def _grow(self, seq: int, count: int) -> None:
        # co-signers take the ledger's growth in pieces that end at checkpoints
        if (seq + 1) // CHECKPOINT_EVERY != (seq + 1 - count) // CHECKPOINT_EVERY:
            self.checkpoint()

    def refusal(self, refused: RefusedError, *, actor: str, about: str) -> int:
        """Record that something was refused; return the entry's sequence number."""
        data = {
            "code": refused.code.value,
            "detail": refused.detail[:2000],
            "path": refused.path[:400],
            "about": about,
        }
        return self.append("request.refused", secrets.token_hex(16), data, actor=actor).seq

    def entries(self) -> Iterator[Entry]:
        """Return everything that is recorded, oldest first."""
        return self.ledger.entries(0, None)

    def checkpoint(self) -> str:
        """Return a checkpoint of everything recorded so far, which the witness quorum has cosigned."""
        # one at a time: a witness that has seen the newer of two would refuse the older
        with self._checkpointing:
            head = self.ledger.head()
            newest = self.ledger.newest_checkpoint()
            if newest is not None and notes.split(newest)[0].size == head.size:
                return newest
            body = Checkpoint(origin=self.trust_root.origin, size=head.size, root=head.root, chain=head.h)
            (name,) = self.trust_root.checkpoint_keys
            note = notes.sign(body, name, self.key.public_key, self.key.sign)
            # the outside memory first: a database that is later found shorter than it is refused
            self._keep(head.size, note)
            note = self.witnesses.cosigned(note, self.ledger)
            self._keep(head.size, note)
            self.ledger.record_checkpoint(note)
            return note

    def blob(self, raw: bytes) -> str:
        """Keep evidence that is too large for an entry; return the digest that names it."""
        name = hashlib.sha256(raw).hexdigest()
        folder = self.folder / "blobs"
        folder.mkdir(mode=0o700, exist_ok=True)
        files.replace(folder / name, raw)
        return name

    def cited(self, name: str) -> bytes:
        """Return evidence by its digest, or refuse when it is gone or is not what it was."""
        try:
            raw = (self.folder / "blobs" / name).read_bytes()
        except OSError as error:
            raise RefusedError(Refusal.NOT_FOUND, f"the blob {name[:12]} is gone") from error
        if hashlib.sha256(raw).hexdigest() != name:
            raise RefusedError(Refusal.NOT_FOUND, f"the blob {name[:12]} was changed")
        return raw

    def bundle(self, path: Path) -> None:
        """Write what an auditor takes away, up to now."""
        self.checkpoint()
        # what a person's programs send cites nothing: else anybody could have every bundle refused
        own = (entry for entry in self.entries() if not entry.type.startswith(EXTERNAL))
        cited = {data[name] for entry in own if (data := entry.data) for name in CITING if name in data}
        missing = cited - {blob.name for blob in _files(self.folder / "blobs")}
        if missing:
            raise RefusedError(Refusal.NOT_FOUND, f"{len(missing)} cited blobs are gone: {min(missing)}")
        files = {f"blobs/{blob.name}": blob.read_bytes() for blob in _files(self.folder / "blobs")}
        files |= {
            f"policies/{policy.name}": policy.read_bytes() for policy in _files(self.folder / "policies")
        }
        files |= self.stamps.bundled()
        self.ledger.bundle(path, 0, None, trust_root=self.trust_root_bytes, files=files)

    def _keep(self, size: int, note: str) -> None:
        folder = self.folder / "checkpoints"
        folder.mkdir(mode=0o700, exist_ok=True)
        files.replace(folder / _name(size), note.encode())


def open_ledger(
    folder: Path, trust_root: bytes, *, now: Callable[[], datetime], remembered: Sequence[Checkpoint]
) -> Ledger:
    """Open the database; it must reach the newest checkpoint kept outside it and what witnesses remember."""
    root = LedgerTrustRoot.parse(trust_root)
    kept = _files(folder / "checkpoints")
    outside = [_kept(kept[-1], root)] if kept else []
    return store.open(
        folder / "ledger.duckdb",
        now=now,
        salt=_salts().__next__,
        trust_root=root,
        checkpoints=[*outside, *remembered],
    )


def _kept(path: Path, root: LedgerTrustRoot) -> Checkpoint:
    # The note in one of our own files: whole, ours to the last line, and under its own name. Witnesses may
    # be missing: it was written before they were asked, too.
    try:
        note = path.read_bytes().decode()
        state = notes.verify(note, root.checkpoint_keys, witnesses=root.witnesses)
    except (CheckpointError, UnicodeDecodeError) as error:
        raise StoreError(f"{path.name}, kept outside the database: {error}") from error
    strange = {each.name for each in notes.split(note)[1]} - {*root.checkpoint_keys, *root.witnesses}
    if strange or state.origin != root.origin or path.name != _name(state.size):
        raise StoreError(f"{path.name}, kept outside the database, is not what was written there")
    return state


def _name(size: int) -> str:
    return f"{size:012d}.txt"


def _salts() -> Iterator[bytes]:
    # one call of the system for many salts: it costs more than all else of an entry
    while True:
        drawn = secrets.token_bytes(SALT_BYTES * SALTS_AT_ONCE)
        for start in range(0, len(drawn), SALT_BYTES):
            yield drawn[start : start + SALT_BYTES]


def _files(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    )
