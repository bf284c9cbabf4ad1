"""Which blocks of the chain this co-signer has seen: one file, written before anything is signed by it.

It is never restored and never starts again by itself: a co-signer that has forgotten what was final could be
shown another history from its beginning.
"""

from __future__ import annotations

from pathlib import Path

from ledger import files
from ledger.encoding import canonical, parse
from workbench.cosigner.memory import MemoryCorruptError
from workbench.rules.codes import RefusedError
from workbench.rules.descent import Seen

NAME = "blocks.json"
FILE_MAX = 4096


def found(folder: Path) -> None:
    """Begin: nothing is known, once."""
    files.create(folder / NAME, canonical(Seen(final=None, newer=None).dump()))


class Blocks:
    """The file, read once at start and kept in step."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        try:
            self.seen = Seen.load(parse(self._path.read_bytes(), limit=FILE_MAX))
        except (OSError, ValueError, RefusedError) as error:
            raise MemoryCorruptError(f"{NAME}: {error}") from error

    def advance(self, seen: Seen) -> None:
        """Remember what was seen; never less than before."""
        if self.seen.final is not None and (seen.final is None or seen.final.number < self.seen.final.number):
            raise MemoryCorruptError("a final block would be forgotten")
        if seen != self.seen:
            files.replace(self._path, canonical(seen.dump()))
            self.seen = seen
