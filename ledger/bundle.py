"""A bundle: the folder an auditor takes away. This module knows its form; what it proves is the verifier's.

    index.json            what is here: first, last, prev, frontier, {path: sha256}; unsigned: proves nothing
    genesis.json          the canonical genesis
    trust-root.json       a copy for convenience: the auditor believes his own
    entries.jsonl         a line an entry: canonical {seq, head, data, salt, h}
    checkpoints/<size>.txt  signed notes
    policies/…  anchors/…   documents of the writer, as they are
    blobs/<sha256>        larger evidence under its own digest

Reading trusts nothing: paths stay inside the folder, symbolic links and devices
are refused before they are opened, every size has a limit, and a file that the
index does not list is as much a problem as one that is missing.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Self

from ledger.encoding import INTEGER_MAX, JSON, EncodingError, canonical, parse, unhex
from ledger.entry import Entry
from ledger.merkle import Frontier, ProofError

INDEX_MAX = 4 * 1024 * 1024  # bytes, for some 30,000 files
LINE_MAX = 320 * 1024  # a head and data of 64 KiB each, escaped once more, and the hashes
FILE_MAX = 4 * 1024 * 1024  # bytes of a small document that is read at once
DEPTH_MAX = 8  # folders inside each other
NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")

INDEX, GENESIS, TRUST_ROOT, ENTRIES = "index.json", "genesis.json", "trust-root.json", "entries.jsonl"
REQUIRED = (GENESIS, TRUST_ROOT, ENTRIES)
INDEX_FIELDS = {"v", "first", "last", "prev", "frontier", "files"}
LINE_FIELDS = {"seq", "head", "data", "salt", "h"}
FOLDERS = ("policies", "anchors", "blobs")
SEGMENT = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,255}")


class BundleError(ValueError):
    """A bundle's folder, index or line does not have the form of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What the bundle says of itself."""

    first: int
    last: int
    prev: bytes
    frontier: Frontier
    files: Mapping[str, bytes]

    def encode(self) -> bytes:
        """Return the bytes of index.json."""
        document = {
            "v": 1,
            "first": self.first,
            "last": self.last,
            "prev": self.prev.hex(),
            "frontier": [node.hex() for node in self.frontier.hashes],
            "files": {name: digest.hex() for name, digest in self.files.items()},
        }
        return canonical(document, limit=INDEX_MAX)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read index.json, refusing whatever is not exactly one."""
        try:
            document: JSON = parse(raw, limit=INDEX_MAX)
            _check_fields(document, INDEX_FIELDS)
            if type(document["v"]) is not int or document["v"] != 1:
                raise BundleError("v is not 1")
            first, last = _count(document["first"]), _count(document["last"])
            if last < first:
                raise BundleError(f"no entries: first {first}, last {last}")
            if type(document["frontier"]) is not list or type(document["files"]) is not dict:
                raise BundleError("frontier is not an array or files is not an object")
            return cls(
                first=first,
                last=last,
                prev=unhex(document["prev"], 32),
                frontier=Frontier(first, [unhex(node, 32) for node in document["frontier"]]),
                files={_check_path(name): unhex(digest, 32) for name, digest in document["files"].items()},
            )
        except (EncodingError, ProofError) as error:
            raise BundleError(str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of entries.jsonl, in form only."""

    seq: int
    head: bytes
    data: bytes | None
    salt: bytes | None
    h: bytes

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Take an entry's line."""
        return cls(seq=entry.seq, head=entry.head, data=entry.payload, salt=entry.salt, h=entry.h)

    def encode(self) -> bytes:
        """Return the line with its newline."""
        document = {
            "seq": self.seq,
            "head": self.head.decode(),
            "data": None if self.data is None else self.data.decode(),
            "salt": None if self.salt is None else self.salt.hex(),
            "h": self.h.hex(),
        }
        return canonical(document, limit=LINE_MAX) + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a line with its newline."""
        if not raw.endswith(b"\n"):
            raise BundleError("the line does not end")
        try:
            document: JSON = parse(raw[:-1], limit=LINE_MAX)
            _check_fields(document, LINE_FIELDS)
            return cls(
                seq=_count(document["seq"]),
                head=_text(document["head"]),
                data=None if document["data"] is None else _text(document["data"]),
                salt=None if document["salt"] is None else unhex(document["salt"], 32),
                h=unhex(document["h"], 32),
            )
        except EncodingError as error:
            raise BundleError(str(error)) from None


def write(
    path: Path,
    *,
    genesis: bytes,
    trust_root: bytes,
    prev: bytes,
    frontier: Frontier,
    entries: Iterable[Entry],
    checkpoints: Mapping[int, str],
    files: Mapping[str, bytes],
) -> None:
    """Write a bundle to a new folder; the index comes last, so an interrupted one is not a bundle."""
    for name, content in files.items():
        _check_extra(name, content)
    path.mkdir(parents=True)
    texts = {f"checkpoints/{size}.txt": note.encode() for size, note in checkpoints.items()}
    digests = {}
    for name, content in {GENESIS: genesis, TRUST_ROOT: trust_root, **texts, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).digest()
    last, digests[ENTRIES] = _write_entries(path / ENTRIES, entries)
    index = Index(first=frontier.size, last=last, prev=prev, frontier=frontier, files=digests)
    (path / INDEX).write_bytes(index.encode())


def _write_entries(path: Path, entries: Iterable[Entry]) -> tuple[int, bytes]:
    digest, last = hashlib.sha256(), -1
    with path.open("wb") as file:
        for entry in entries:
            line = Line.of(entry).encode()
            digest.update(line)
            file.write(line)
            last = entry.seq
    return last, digest.digest()


def problems(path: Path, index: Index) -> Iterator[tuple[str, str]]:
    """Yield (place, detail) for each way in which the folder is not what the index lists."""
    present = {}
    for name, mode in _walk(path):
        present[name] = mode
        if not stat.S_ISREG(mode):
            yield name, "neither a file nor a folder: a link or a device"
        elif name not in index.files and name != INDEX:
            yield name, "not listed in the index"
    for name in REQUIRED:
        if name not in index.files:
            yield name, "not listed in the index, though every bundle has it"
    for name, digest in sorted(index.files.items()):
        if name not in present:
            yield name, "listed in the index, but missing"
        elif stat.S_ISREG(present[name]) and (got := file_digest(path / name)) != digest:
            yield name, f"sha256 is {got.hex()}, the index says {digest.hex()}"
        if name.startswith("blobs/") and name != f"blobs/{digest.hex()}":
            yield name, "a blob is not named after its digest"


def read(path: Path, name: str, limit: int = FILE_MAX) -> bytes:
    """Read a small file of the bundle."""
    with _open(path / name) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise BundleError(f"more than {limit} bytes")
    return raw


def lines(path: Path) -> Iterator[bytes]:
    """Yield the raw lines of entries.jsonl; one over the limit comes cut, without its end."""
    with _open(path / ENTRIES) as file:
        while raw := file.readline(LINE_MAX + 1):
            yield raw
            if len(raw) > LINE_MAX:
                return


def checkpoint_size(name: str) -> int:
    """Return the size that a checkpoint's file is named after."""
    stem = name.removeprefix("checkpoints/").removesuffix(".txt")
    if name != f"checkpoints/{stem}.txt" or not NUMBER.fullmatch(stem):
        raise BundleError("a checkpoint is not named after its size")
    return int(stem)


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 of a file of any length."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").digest()


def _open(path: Path) -> BufferedReader:
    # No link is followed, and a pipe put in a file's place cannot make the auditor wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _walk(path: Path, prefix: str = "", depth: int = DEPTH_MAX) -> Iterator[tuple[str, int]]:
    for child in sorted(os.scandir(path), key=lambda entry: entry.name):
        mode = child.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and depth:
            yield from _walk(path / child.name, f"{prefix}{child.name}/", depth - 1)
        else:
            yield prefix + child.name, mode


def _check_path(name: str) -> str:
    # Traversal: a path may neither leave the folder nor reach a hidden file.
    if name in REQUIRED:
        return name
    folder, *rest = name.split("/")
    if folder == "checkpoints":
        checkpoint_size(name)
    elif folder not in FOLDERS or not 0 < len(rest) < DEPTH_MAX or not all(map(SEGMENT.fullmatch, rest)):
        raise BundleError(f"{name!r:.80} is not a path of a bundle")
    return name


def _check_extra(name: str, content: bytes) -> None:
    if name.split("/", maxsplit=1)[0] not in FOLDERS:
        raise BundleError(f"{name!r:.80} is not in one of {FOLDERS}")
    _check_path(name)
    if name.startswith("blobs/") and name != f"blobs/{hashlib.sha256(content).hexdigest()}":
        raise BundleError(f"{name!r:.80} is not named after its digest")


def _check_fields(document: JSON, fields: set[str]) -> None:
    if type(document) is not dict or set(document) != fields:
        raise BundleError(f"fields are not {sorted(fields)}")


def _count(value: JSON) -> int:
    if type(value) is not int or not 0 <= value < INTEGER_MAX:
        raise BundleError(f"{value!r:.80} is not a count")
    return value


def _text(value: JSON) -> bytes:
    if type(value) is not str:
        raise BundleError("head or data is not a string")
    return value.encode()
