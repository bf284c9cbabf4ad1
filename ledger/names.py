"""Names that stand twice, found without holding all names: digests are sorted into partition files on disk.

A name is (source, id). Its 16-byte digest and its place go to one of 256
partitions; equal names meet in the same one, so each is looked through alone.
Up to `BUFFER` names stay in memory and no file is made; beyond that, memory
grows by 1/256 of what it would be. An attacker would need 2^64 hashes to make
two names collide, and would gain a false alarm.

The faulty rows are those whose name stood in an earlier row.
"""

import hashlib
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

PARTITIONS = 256
BUFFER = 1_000_000  # names kept in memory: 24 MB
RECORD = struct.Struct(">16sq")


class Names:
    """The names seen so far; a context, because of its folder."""

    def __init__(self, *, buffer: int = BUFFER) -> None:
        self._buffer = buffer
        self._count = 0
        self._parts = [bytearray() for _ in range(PARTITIONS)]
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, source: str | None, name: str | None, place: int) -> None:
        """Remember the name of the row at a place; places grow."""
        record = RECORD.pack(digest(source, name), place)
        self._parts[record[0]] += record
        self._count += 1
        if self._count >= self._buffer:
            self._spill()

    def repeats(self) -> tuple[int, int | None]:
        """Return how many rows repeat a name, and the first place of one."""
        count, first = 0, None
        for number in range(PARTITIONS):
            seen: set[bytes] = set()
            for found, place in RECORD.iter_unpack(self._partition(number)):
                if found in seen:
                    count += 1
                    first = place if first is None else min(first, place)
                seen.add(found)
        return count, first

    def _spill(self) -> None:
        folder = self._folder = self._folder or TemporaryDirectory(prefix="ledger-names-")
        for number, part in enumerate(self._parts):
            with _file(folder, number).open("ab") as file:
                file.write(part)
            part.clear()
        self._count = 0

    def _partition(self, number: int) -> bytes:
        spilt = b"" if self._folder is None else _file(self._folder, number).read_bytes()
        return spilt + self._parts[number]


def _file(folder: "TemporaryDirectory[str]", number: int) -> Path:
    return Path(folder.name, f"{number:03}")


def digest(source: str | None, name: str | None) -> bytes:
    """Return 16 bytes that stand for a name; the length keeps ("a:", "b") apart from ("a", ":b")."""
    first = "-" if source is None else f"{len(source.encode())}:{source}"
    return hashlib.sha256((first if name is None else f"{first}:{name}").encode()).digest()[:16]
