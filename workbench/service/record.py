"""The ledger as the service writes it: events in, checkpoints out.

Each event's (source, id) names the fact itself (an intent's id, a decision's id), so
that recording it again after a crash changes nothing and another fact under the same
name is refused. A checkpoint is signed by the service's key in its token, recorded, and
kept as a file outside the database: at start the newest file must fit the database.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ledger import checkpoint as notes
from ledger import store
from ledger.checkpoint import Checkpoint
from ledger.encoding import EncodingError
from ledger.entry import Entry, Event
from ledger.store import ConflictError, Ledger, Receipt
from workbench.custody.token import Ed25519Key
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.trust import TrustRoot

SCHEMA = "oms/v1"
CHECKPOINT_EVERY = 10_000
CITING = ("evidence", "inclusion")


@dataclass(frozen=True, slots=True)
class Recorder:
    """The open ledger, the key that signs its checkpoints, and the folder that keeps them."""

    ledger: Ledger
    trust_root: TrustRoot
    trust_root_bytes: bytes
    key: Ed25519Key
    folder: Path

    def append(
        self, kind: str, name: str, data: Mapping[str, Any], *, actor: str, subject: str | None = None
    ) -> Receipt:
        """Record one fact; the receipt comes after the disk has it."""
        event = Event(
            source=f"workbench/{kind}",
            id=name,
            type=kind,
            actor=actor,
            dataschema=SCHEMA,
            data=dict(data),
            subject=subject,
        )
        try:
            receipt = self.ledger.append([event])[0]
        except EncodingError as error:
            raise RefusedError(Refusal.TOO_LARGE, f"{kind}: {error}") from error
        except ConflictError as error:
            raise RefusedError(Refusal.ID_REUSED, f"{kind} {name} is recorded with other bytes") from error
        # co-signers take the ledger's growth in pieces that end at checkpoints
        if receipt.seq % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
            self.checkpoint()
        return receipt

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
        """Return a signed checkpoint of everything recorded so far."""
        head = self.ledger.head()
        newest = self.ledger.newest_checkpoint()
        if newest is not None and notes.split(newest)[0].size == head.size:
            return newest
        body = Checkpoint(origin=self.trust_root.origin, size=head.size, root=head.root, chain=head.h)
        (name,) = self.trust_root.checkpoint_keys
        note = notes.sign(body, name, self.key.public_key, self.key.sign)
        # the outside memory first: a database that is later found shorter than it is refused
        self._keep(head.size, note)
        self.ledger.record_checkpoint(note)
        return note

    def blob(self, raw: bytes) -> str:
        """Keep evidence that is too large for an entry; return the digest that names it."""
        name = hashlib.sha256(raw).hexdigest()
        folder = self.folder / "blobs"
        folder.mkdir(mode=0o700, exist_ok=True)
        _write(folder / name, raw)
        return name

    def bundle(self, path: Path) -> None:
        """Write what an auditor takes away, up to now."""
        self.checkpoint()
        cited = {
            data[name] for entry in self.entries() if (data := entry.data) for name in CITING if name in data
        }
        missing = cited - {blob.name for blob in _files(self.folder / "blobs")}
        if missing:
            raise RefusedError(Refusal.NOT_FOUND, f"{len(missing)} cited blobs are gone: {min(missing)}")
        files = {f"blobs/{blob.name}": blob.read_bytes() for blob in _files(self.folder / "blobs")}
        files |= {
            f"policies/{policy.name}": policy.read_bytes() for policy in _files(self.folder / "policies")
        }
        self.ledger.bundle(path, 0, None, trust_root=self.trust_root_bytes, files=files)

    def _keep(self, size: int, note: str) -> None:
        folder = self.folder / "checkpoints"
        folder.mkdir(mode=0o700, exist_ok=True)
        _write(folder / f"{size:012d}.txt", note.encode())


def open_ledger(folder: Path, *, now: Callable[[], datetime]) -> Ledger:
    """Open the database; it must reach at least the newest checkpoint kept outside it."""
    kept = _files(folder / "checkpoints")
    outside = notes.split(kept[-1].read_text())[0] if kept else None
    return store.open(
        folder / "ledger.duckdb", now=now, salt=lambda: secrets.token_bytes(32), checkpoint=outside
    )


def _files(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    )


def _write(path: Path, raw: bytes) -> None:
    """Replace a file so that a crash, or a second thread, leaves the old one or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
