"""How far a store got, told beside it after each commit: what DuckDB forgets without a word is missed.

DuckDB takes a WAL whose last record is damaged for one that a crash cut short, and opens without that
record. The recomputed hashes find nothing, for what is left is a whole, shorter ledger; a checkpoint kept
elsewhere finds it only up to its own size. So after each commit, and before its receipts, the store writes
here how many entries it has and how often its other tables were changed. One that later has less is refused.

The file is written in place and not synced: it may be older than the database after a power cut, never newer,
and older is fine. It finds rot, not hands: whoever can write here can write both. Against hands stand the
checkpoints and the witnesses. Where it is missing (a snapshot that is opened as a store) nothing is known:
whoever has seen by other means that a refused store is whole takes it away.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ledger import files

LINE = re.compile(rb"([0-9]{20}) ([0-9]{20}) ([0-9a-f]{16})\n")


class ReachedError(Exception):
    """The file is damaged or cannot be written, or the store has less than it once had."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The number of entries, and of the changes to the tables beside them; neither ever falls."""

    size: int
    revision: int

    @property
    def line(self) -> bytes:
        """The file's only line, always of one length; its end shows any damage."""
        counts = b"%020d %020d" % (self.size, self.revision)
        return counts + b" " + hashlib.sha256(counts).hexdigest()[:16].encode() + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the line, or raise if it is not whole."""
        found = LINE.fullmatch(raw)
        reached = cls(int(found[1]), int(found[2])) if found else None
        if reached is None or reached.line != raw:
            raise ReachedError("the file that says how far the store got is damaged")
        return reached


class Mark:
    """The open file of a store."""

    def __init__(self, path: Path, reached: Reached) -> None:
        """Compare with what an earlier opening left, and begin here; a refusal leaves the file as it was."""
        try:
            before = Reached.parse(path.read_bytes())
        except FileNotFoundError:
            before = None
        if before is not None and (reached.size < before.size or reached.revision < before.revision):
            raise ReachedError(
                f"the store has {reached.size} entries and {reached.revision} changes beside them, "
                f"and once had {before.size} and {before.revision}: what was committed is lost"
            )
        if before is None:
            files.create(path, reached.line)
        # In place: a full disk takes it, too.
        self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.move(reached)

    def move(self, reached: Reached) -> None:
        """Say that the store got here; the disk holds it already. Raises ReachedError if that fails."""
        try:
            os.pwrite(self._file, reached.line, 0)
        except OSError as error:
            raise ReachedError(f"how far the store got could not be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
