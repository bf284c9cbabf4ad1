"""What the anchor remembers: the one transaction that is under way, or the last one that was.

`anchored.json` is replaced so that a crash leaves the old one or the new one. It is believed: whoever
can change it can make the key pay for an anchor twice, and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ledger import files
from ledger.checkpoint import CheckpointError, split
from ledger.encoding import EncodingError, canonical, parse

FILE_MAX = 256 * 1024


class MemoryCorruptError(Exception):
    """The memory cannot be read: without it a size could be anchored with two roots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A checkpoint's transaction; `raw_tx` is None until it is signed. Bytes in hex."""

    note: str
    unsigned_tx: str
    raw_tx: str | None


class Memory:
    """The file, read once at start and kept in step."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "anchored.json"
        self.pending = self._read()

    def keep(self, pending: Pending) -> None:
        """Remember a transaction; on disk when this returns."""
        files.replace(self._path, canonical(asdict(pending), limit=FILE_MAX))
        self.pending = pending

    def _read(self) -> Pending | None:
        try:
            value = parse(self._path.read_bytes(), limit=FILE_MAX)
            pending = Pending(**value)
            split(pending.note)
        except FileNotFoundError:
            return None  # the chain itself refuses a used nonce; a size anchored twice is two equal events
        except (EncodingError, TypeError, CheckpointError, OSError) as error:
            raise MemoryCorruptError(f"{self._path.name}: {error}") from error
        return pending
