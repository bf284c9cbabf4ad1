"""What is said about segments: a manifest beside each file, and what a verification established.

Both are canonical JSON with exactly their fields, and are read by round trip.
Neither is signed: a manifest is a claim of whoever owns the folder, and
`Verified` is as trustworthy as the place it was kept in.
"""

from dataclasses import dataclass
from typing import Any, Self, cast

from ledger.encoding import INTEGER_MAX, JSON, EncodingError, canonical, parse, unhex
from ledger.merkle import HASH_SIZE
from ledger.ranges import CompactRange, RangeError

SEQ_MAX = 10**12 - 1  # what twelve digits can name
MANIFEST_MAX = 4096
VERIFIED_MAX = 8192  # 53 hashes and a little
MANIFEST_FIELDS = {"v", "first_seq", "last_seq", "sha256", "root", "first_prev", "last_h"}
VERIFIED_FIELDS = {"v", "size", "hashes", "h"}


class SegmentError(ValueError):
    """A segment cannot be written, or a folder holds no segments to verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a segment claims of itself. Nobody signs it."""

    first_seq: int
    last_seq: int
    sha256: bytes  # of the Parquet file
    root: bytes  # of the whole ledger, 0 … last_seq
    first_prev: bytes
    last_h: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.first_seq <= self.last_seq <= SEQ_MAX:
            raise SegmentError(f"no segment from {self.first_seq} to {self.last_seq}")
        if any(len(value) != HASH_SIZE for value in (self.sha256, self.root, self.first_prev, self.last_h)):
            raise SegmentError(f"a hash of the manifest is not {HASH_SIZE} bytes")

    @property
    def name(self) -> str:
        """The name of its files, without the ending."""
        return f"{self.first_seq:012}-{self.last_seq:012}"

    @property
    def rows(self) -> int:
        """How many rows the segment holds."""
        return self.last_seq - self.first_seq + 1

    def encode(self) -> bytes:
        """Return the bytes of the manifest's file."""
        return canonical(
            {
                "v": 1,
                "first_seq": self.first_seq,
                "last_seq": self.last_seq,
                "sha256": self.sha256.hex(),
                "root": self.root.hex(),
                "first_prev": self.first_prev.hex(),
                "last_h": self.last_h.hex(),
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a manifest, refusing whatever is not exactly one."""
        document = _document(raw, MANIFEST_FIELDS, limit=MANIFEST_MAX)
        return cls(
            first_seq=_count(document["first_seq"]),
            last_seq=_count(document["last_seq"]),
            **{name: _hash(document[name]) for name in ("sha256", "root", "first_prev", "last_h")},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification established, for a later one to go on from; as trustworthy as where it was kept."""

    size: int
    hashes: tuple[bytes, ...]  # the frontier of the tree of `size` leaves
    h: bytes

    def __post_init__(self) -> None:
        if len(self.h) != HASH_SIZE:
            raise SegmentError(f"h is not {HASH_SIZE} bytes")
        try:
            CompactRange(0, self.size, self.hashes)
        except RangeError as error:
            raise SegmentError(f"frontier: {error}") from None

    @property
    def root(self) -> bytes:
        """The root of the tree of `size` leaves."""
        return CompactRange(0, self.size, self.hashes).root()

    def encode(self) -> bytes:
        """Return the bytes to keep."""
        hashes = [node.hex() for node in self.hashes]
        return canonical({"v": 1, "size": self.size, "hashes": hashes, "h": self.h.hex()})

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read what was kept, refusing whatever is not exactly it."""
        document = _document(raw, VERIFIED_FIELDS, limit=VERIFIED_MAX)
        if type(document["hashes"]) is not list:
            raise SegmentError("hashes is not a list")
        hashes = tuple(_hash(node) for node in document["hashes"])
        return cls(size=_count(document["size"]), hashes=hashes, h=_hash(document["h"]))


def _document(raw: bytes, fields: set[str], *, limit: int) -> dict[str, Any]:
    try:
        document: JSON = parse(raw, limit=limit)
    except EncodingError as error:
        raise SegmentError(str(error)) from None
    if type(document) is not dict or set(document) != fields:
        raise SegmentError(f"fields are not {sorted(fields)}")
    if type(document["v"]) is not int or document["v"] != 1:
        raise SegmentError("v is not 1")
    return cast("dict[str, Any]", document)


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise SegmentError(f"{value!r:.80} is not a count")
    return value


def _hash(value: object) -> bytes:
    try:
        return unhex(value, HASH_SIZE)
    except EncodingError as error:
        raise SegmentError(str(error)) from None
