"""What an operation made or ended in this co-signer's token: a file for each, on disk before it is said.

A token forgets what is destroyed, and makes another key for whoever asks twice. The file says which key an
operation has made, and which keys it ends before they are gone; the same operation again is told the same.
Only whole keys: of shares, their own index keeps this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ledger import files
from workbench.cosigner.memory import MemoryCorruptError
from workbench.rules.codes import RefusedError
from workbench.rules.documents import Digest, Document, Name
from workbench.rules.threshold import Point

FOLDER = "deeds"
FILE_MAX = 1 << 17
ENDS_MAX = 512


class Deed(Document):
    """One operation on whole keys: the key that it made, or those that it ends."""

    v: Literal[1]
    order: Digest
    key: Name
    made: Point | None
    ends: Annotated[list[Point], Field(max_length=ENDS_MAX)]


class Deeds:
    """The files, by the digest of the operation."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def of(self, order: str) -> Deed | None:
        """Return what an operation did here, or None."""
        try:
            deed = Deed.read((self._folder / f"{order}.json").read_bytes(), limit=FILE_MAX)
        except FileNotFoundError:
            return None
        except (OSError, RefusedError) as error:
            raise MemoryCorruptError(f"deed {order}: {error}") from error
        if deed.order != order:
            raise MemoryCorruptError(f"deed {order} is of order {deed.order}")
        return deed

    def keep(self, deed: Deed) -> Deed:
        """Put it on disk."""
        files.replace(self._folder / f"{deed.order}.json", deed.canonical())
        return deed
