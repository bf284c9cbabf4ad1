"""The hash chain: each entry's hash covers everything written before it.

    h[-1] = SHA256(0x04 ‖ canonical(genesis))
    h[n]  = SHA256(0x02 ‖ h[n-1] ‖ u64be(n) ‖ leaf[n])

The genesis names the ledger, its creation and the digest of its trust root, so
that a chain can be shown under no other keys than those it began with. The
first byte separates the four kinds of hash: a leaf can never pass for a link.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from ledger import clock
from ledger.encoding import JSON, EncodingError, canonical, parse, unhex

GENESIS_FIELDS = {"v", "ledger_id", "created", "trust_root"}


class GenesisError(ValueError):
    """A genesis document is malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What a ledger says of itself before its first entry."""

    ledger_id: str
    created: datetime
    trust_root: bytes  # SHA256(canonical(trust root document))

    def __post_init__(self) -> None:
        if not self.ledger_id or len(self.trust_root) != hashlib.sha256().digest_size:
            raise GenesisError("a genesis needs a ledger id and a trust root digest")

    def encode(self) -> bytes:
        """Return the bytes that h[-1] covers."""
        document = {
            "v": 1,
            "ledger_id": self.ledger_id,
            "created": clock.text(self.created),
            "trust_root": self.trust_root.hex(),
        }
        return canonical(document)

    def hash(self) -> bytes:
        """Return h[-1]."""
        return hashlib.sha256(b"\x04" + self.encode()).digest()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a genesis document, refusing whatever is not exactly one."""
        try:
            return cls.of(parse(raw))
        except EncodingError as error:
            raise GenesisError(str(error)) from None

    @classmethod
    def of(cls, document: JSON) -> Self:
        """Take a genesis from its parsed document."""
        if type(document) is not dict or set(document) != GENESIS_FIELDS:
            raise GenesisError(f"fields are not {sorted(GENESIS_FIELDS)}")
        if type(document["v"]) is not int or document["v"] != 1 or type(document["ledger_id"]) is not str:
            raise GenesisError("v is not 1 or ledger_id is not a string")
        try:
            created = clock.parse(document["created"])
            trust_root = unhex(document["trust_root"], 32)
        except ValueError as error:
            raise GenesisError(str(error)) from None
        return cls(ledger_id=document["ledger_id"], created=created, trust_root=trust_root)


def link(prev: bytes, seq: int, leaf: bytes) -> bytes:
    """Return h[seq], given h[seq-1] and the entry's leaf."""
    return hashlib.sha256(b"\x02" + prev + seq.to_bytes(8, "big") + leaf).digest()
