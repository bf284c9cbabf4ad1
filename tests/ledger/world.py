"""A small ledger with real keys, and the hands of an attacker who holds its bundle but none of its keys."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import checkpoint, store
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, parse
from ledger.entry import Event

START = datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=UTC)
ORIGIN = "custody.example/ledger"
SERVICE = "custody.example/service"


def key(name: str) -> Ed25519PrivateKey:
    """Make the key of a name, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    """Return the public key of a name."""
    return key(name).public_key().public_bytes_raw()


def trust_root(**changes: Any) -> dict[str, Any]:
    """Return a trust root document; the ledger leaves fields such as `profile` alone."""
    return {
        "v": 1,
        "profile": "demo",
        "ledger_id": "example",
        "origin": ORIGIN,
        "checkpoint_keys": {SERVICE: public(SERVICE).hex()},
        "witnesses": {},
        "witness_quorum": 0,
    } | changes


def event(number: int, **changes: Any) -> Event:
    """Return the event of a number; every third has a subject."""
    fields: dict[str, Any] = {
        "source": "/desk/1",
        "id": f"event-{number}",
        "type": "example.note",
        "actor": "alice",
        "dataschema": "note/v1",
        "data": {"number": number, "text": "größer", "list": [None, True, {"amount": "1000000000000000000"}]},
        "subject": f"note-{number}" if number % 3 == 0 else None,
    }
    return Event(**(fields | changes))


def clock() -> Iterator[datetime]:
    """Yield a later instant at every look."""
    return (START + timedelta(microseconds=250_001 * number) for number in itertools.count())


def salts() -> Iterator[bytes]:
    """Yield salts that are the same in every run."""
    return (hashlib.sha256(b"salt %d" % number).digest() for number in itertools.count())


@dataclass
class World:
    """A ledger in a folder, its trust root and its service key."""

    folder: Path
    trust: dict[str, Any] = field(default_factory=trust_root)
    origin: str = ORIGIN

    def __post_init__(self) -> None:
        self.now, self.salt = clock().__next__, salts().__next__
        self.path = self.folder / "ledger.duckdb"
        self.genesis = {
            "v": 1,
            "ledger_id": "example",
            "created": "2026-11-21T00:00:00.000000Z",
            "trust_root": hashlib.sha256(canonical(self.trust)).hexdigest(),
        }
        self.ledger = store.open(self.path, now=self.now, salt=self.salt, genesis=self.genesis)

    def reopen(self, **options: Any) -> store.Ledger:
        """Close the store and open it again."""
        self.ledger.close()
        self.ledger = store.open(self.path, now=self.now, salt=self.salt, **options)
        return self.ledger

    def append(self, *numbers: int) -> list[store.Receipt]:
        """Append the events of these numbers."""
        return self.ledger.append([event(number) for number in numbers])

    def state(self) -> Checkpoint:
        """Return the head as a checkpoint."""
        head = self.ledger.head()
        return Checkpoint(self.origin, head.size, head.root, head.h)

    def note(self, signer: str = SERVICE) -> str:
        """Sign the head."""
        return checkpoint.sign(self.state(), signer, public(signer), key(signer).sign)

    def check_point(self) -> str:
        """Sign the head and record it."""
        note = self.note()
        self.ledger.record_checkpoint(note)
        return note

    def write_bundle(self, name: str = "bundle", **options: Any) -> "Folder":
        """Write a bundle beside the store."""
        self.ledger.bundle(self.folder / name, trust_root=canonical(self.trust), **options)
        return Folder(self.folder / name)


@dataclass
class Folder:
    """A bundle in the attacker's hands."""

    path: Path

    def read(self, name: str) -> bytes:
        """Read a file."""
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes, *, reindex: bool = True) -> None:
        """Change a file and, since nobody signs the index, the index as well."""
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_bytes(content)
        if reindex:
            self.reindex()

    def remove(self, name: str) -> None:
        """Remove a file and its line in the index."""
        (self.path / name).unlink()
        self.reindex()

    def lines(self) -> list[bytes]:
        """Return the lines of the entries, each with its newline."""
        return self.read("entries.jsonl").splitlines(keepends=True)

    def write_lines(self, lines: list[bytes], **index: Any) -> None:
        """Change the entries and adapt the index to them."""
        self.write("entries.jsonl", b"".join(lines), reindex=False)
        self.reindex(**{"last": self.index()["first"] + len(lines) - 1} | index)

    def index(self) -> dict[str, Any]:
        """Return the index."""
        document: dict[str, Any] = parse(self.read("index.json"), limit=1 << 22)
        return document

    def reindex(self, **changes: Any) -> None:
        """Make the index list what is there."""
        files = {
            str(path.relative_to(self.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.path.rglob("*")
            if path.is_file() and path.name != "index.json"
        }
        document = self.index() | {"files": files} | changes
        (self.path / "index.json").write_bytes(canonical(document, limit=1 << 22))
