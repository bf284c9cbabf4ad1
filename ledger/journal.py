"""A rollback journal: what a database file says now, beside it, while blocks of it are written over in place.

DuckDB's checkpoint writes new blocks, then a header that points to them, and only then removes the WAL; a
crash in between leaves the old header, the old blocks and the WAL. But its metadata blocks (some 60 small
parts each, under one checksum) are shared between the old state and the new, and are written in place. A
crash or a full disk in the middle of one leaves a block whose checksum fails, and with it a file that does
not open, whole WAL or not. So the blocks that may be written over are put here first, and on disk.

What an opening finds:

* no journal: nothing was being written over;
* a journal, and the header that it holds: the checkpoint did not get to its end. The blocks go back, and
  header, blocks and WAL are what they were;
* a journal, and another header: the checkpoint had put its blocks on disk before it wrote that header, and
  nothing goes back;
* a journal that is not whole: it is put in place whole, so this is rot, and the opening is refused.

The header is compared as bytes. A checkpoint writes one page of it, with less in it than a sector of a disk
holds: it is there as it was or as it is to be. Who can write here can write the database: the journal is
believed no more than the file, whose every hash is recomputed after it.
"""

import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from ledger import files

MAGIC = b"ledger journal 1\n"
HEADER = 3 * 4096  # bytes: DuckDB's main header and its two database headers
PLACE = struct.Struct(">QQ")
DIGEST = hashlib.sha256().digest_size


class JournalError(Exception):
    """The journal is damaged."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The header of a file and some of its blocks, by their places in bytes."""

    header: bytes
    blocks: dict[int, bytes]

    @classmethod
    def of(cls, database: BinaryIO, places: Iterable[tuple[int, int]]) -> Self:
        """Read the header, and the blocks at `places` (first byte, length) as far as the file goes."""
        header = database.read(HEADER)
        blocks = {}
        for place, length in places:
            database.seek(place)
            if block := database.read(length):
                blocks[place] = block
        return cls(header, blocks)

    def encode(self) -> bytes:
        """Return the file's content; its end shows any damage."""
        parts = [MAGIC]
        for place, block in [(0, self.header), *sorted(self.blocks.items())]:
            parts += [PLACE.pack(place, len(block)), block]
        content = b"".join(parts)
        return content + hashlib.sha256(content).digest()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a journal's content, or raise if it is not whole."""
        content, digest = raw[:-DIGEST], raw[-DIGEST:]
        if not content.startswith(MAGIC) or hashlib.sha256(content).digest() != digest:
            raise JournalError("the journal of an unfinished checkpoint is damaged")
        found, start = {}, len(MAGIC)
        while start < len(content):
            block = start + PLACE.size
            place, length = PLACE.unpack(content[start:block].rjust(PLACE.size, b"\0"))
            start = block + length
            found[place] = content[block:start]
        journal = cls(found.pop(0, b""), found)
        # Whatever else has a right digest was made by hand.
        if journal.encode() != raw:
            raise JournalError("the journal of an unfinished checkpoint is none")
        return journal


def beside(path: Path) -> Path:
    """Return where the journal of a database file stands."""
    return path.with_name(path.name + ".journal")


def keep(path: Path, places: Iterable[tuple[int, int]]) -> None:
    """Put what stands in a database file at these places on disk, in place of an older journal."""
    with path.open("rb") as database:
        journal = Journal.of(database, places)
    files.replace(beside(path), journal.encode())


def drop(path: Path) -> None:
    """Forget the journal: what was being written over is there."""
    beside(path).unlink()
    files.sync(path.parent)


def settle(path: Path) -> None:
    """Make a database file whole that an unfinished checkpoint left, before anybody opens it.

    Killed at any point of it, the next call does the same. Raises JournalError for a damaged journal.
    """
    try:
        journal = Journal.parse(beside(path).read_bytes())
    except FileNotFoundError:
        return
    with path.open("r+b") as database:
        if database.read(HEADER) == journal.header:
            for place, block in journal.blocks.items():
                database.seek(place)
                database.write(block)
            database.flush()
            os.fsync(database.fileno())
    drop(path)
