"""One entry: what happened (the event), and the bytes that the chain keeps of it.

    datahash = SHA256(0x03 ‖ salt ‖ canonical(data))
    head     = canonical({specversion, source, id, type, subject?, dataschema,
                          time, actor, seq, datahash})
    leaf     = SHA256(0x00 ‖ head)

The head is a CloudEvents 1.0 envelope; `actor`, `seq` and `datahash` are
extension attributes. Only the head is hashed into the leaf, so data and salt
can be taken away later without breaking the chain. The salt keeps a small
payload ("yes", an amount) from being guessed from its hash.

Everything here is a pure function of its arguments. What the data means is
left to whoever wrote it; whether a missing payload is legal, to the verifier.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypedDict

from ledger import clock
from ledger.chain import link
from ledger.encoding import INTEGER_MAX, JSON, EncodingError, canonical, parse, unhex

SALT_SIZE = 32
# An envelope field is a name, not a payload. Control characters and line separators would let one name
# print as two lines of a report. The class is spelled out: "printable" differs between Unicode versions.
NAME = re.compile("[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]{1,1024}")
NAMES = ("source", "id", "type", "actor", "dataschema")
FIELDS = {"specversion", *NAMES, "time", "seq", "datahash"}


class EntryError(ValueError):
    """An event or a head breaks the rules of its fields."""


class Envelope(TypedDict):
    """What a head says, as values."""

    seq: int
    time: datetime
    source: str
    id: str
    type: str
    subject: str | None
    actor: str
    dataschema: str
    datahash: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody wants remembered. (source, id) names it for ever."""

    source: str
    id: str
    type: str
    actor: str
    dataschema: str
    data: dict[str, Any]
    subject: str | None = None

    def __post_init__(self) -> None:
        for name in NAMES:
            _check_name(name, getattr(self, name))
        if self.subject is not None:
            _check_name("subject", self.subject)
        if type(self.data) is not dict:
            raise EntryError(f"data is {type(self.data).__name__}, not an object")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event in its place. Every hash is computed from the bytes beside it, never copied."""

    seq: int
    time: datetime
    source: str
    id: str
    type: str
    subject: str | None
    actor: str
    dataschema: str
    datahash: bytes
    head: bytes
    payload: bytes | None
    salt: bytes | None
    leaf: bytes
    prev: bytes
    h: bytes

    @classmethod
    def write(cls, event: Event, *, seq: int, time: datetime, salt: bytes, prev: bytes) -> Self:
        """Give an event its place in the chain."""
        if len(salt) != SALT_SIZE:
            raise EntryError(f"salt of {len(salt)} bytes, not {SALT_SIZE}")
        # Bytes, not the caller's dict: what is hashed cannot be changed from outside afterwards.
        payload = canonical(event.data)
        commitment = datahash_of(salt, payload)
        head = encode_head(event, seq=seq, time=time, commitment=commitment)
        leaf = leaf_of(head)
        return cls(
            seq=seq,
            time=time.astimezone(UTC),
            source=event.source,
            id=event.id,
            type=event.type,
            subject=event.subject,
            actor=event.actor,
            dataschema=event.dataschema,
            datahash=commitment,
            head=head,
            payload=payload,
            salt=salt,
            leaf=leaf,
            prev=prev,
            h=link(prev, seq, leaf),
        )

    @classmethod
    def read(cls, head: bytes, *, data: bytes | None, salt: bytes | None, prev: bytes) -> Self:
        """Rebuild an entry from stored bytes, or raise if they contradict each other."""
        envelope = parse_head(head)
        if data is not None:
            parse_data(data)
            if salt is None or datahash_of(salt, data) != envelope["datahash"]:
                raise EntryError(f"entry {envelope['seq']}: data and salt do not give its datahash")
        leaf = leaf_of(head)
        h = link(prev, envelope["seq"], leaf)
        return cls(**envelope, head=head, payload=data, salt=salt, leaf=leaf, prev=prev, h=h)

    @property
    def data(self) -> dict[str, Any] | None:
        """What the event says, read from the payload's bytes; None where it was redacted."""
        return None if self.payload is None else parse_data(self.payload)

    def holds(self, event: Event) -> bool:
        """Tell whether writing `event` here would give this very head; without the salt, nobody can tell."""
        # By bytes: Python's == takes True for 1.
        return self.salt is not None and self.head == encode_head(
            event, seq=self.seq, time=self.time, commitment=datahash(self.salt, event.data)
        )


def datahash(salt: bytes, data: dict[str, Any]) -> bytes:
    """Commit to a payload without revealing it."""
    return datahash_of(salt, canonical(data))


def datahash_of(salt: bytes, data: bytes) -> bytes:
    """Commit to a payload's canonical bytes."""
    return hashlib.sha256(b"\x03" + salt + data).digest()


def leaf_of(head: bytes) -> bytes:
    """Return the RFC 9162 leaf hash over the exact bytes of a head."""
    return hashlib.sha256(b"\x00" + head).digest()


def encode_head(event: Event, *, seq: int, time: datetime, commitment: bytes) -> bytes:
    """Return the head of an event in its place."""
    head = {
        "specversion": "1.0",
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "dataschema": event.dataschema,
        "time": clock.text(time),
        "actor": event.actor,
        "seq": seq,
        "datahash": commitment.hex(),
    }
    if event.subject is not None:
        head["subject"] = event.subject
    return canonical(head)


def parse_head(head: bytes) -> Envelope:
    """Read a head, refusing unknown, missing or malformed fields."""
    try:
        document: JSON = parse(head)
        if type(document) is not dict or set(document) - {"subject"} != FIELDS:
            raise EntryError(f"head fields are not {sorted(FIELDS)} and perhaps subject")
        for name in (*NAMES, *(["subject"] if "subject" in document else [])):
            _check_name(name, document[name])
        if document["specversion"] != "1.0":
            raise EntryError("specversion is not 1.0")
        seq = document["seq"]
        if type(seq) is not int or not 0 <= seq <= INTEGER_MAX:
            raise EntryError("seq is not a count")
        time = clock.parse(document["time"])
        commitment = unhex(document["datahash"], 32)
    except EncodingError as error:
        raise EntryError(f"head: {error}") from None
    except ValueError as error:
        raise EntryError(str(error)) from None
    return Envelope(
        seq=seq,
        time=time,
        source=document["source"],
        id=document["id"],
        type=document["type"],
        subject=document.get("subject"),
        actor=document["actor"],
        dataschema=document["dataschema"],
        datahash=commitment,
    )


def parse_data(data: bytes) -> dict[str, Any]:
    """Read a payload: canonical, and an object."""
    try:
        payload = parse(data)
    except EncodingError as error:
        raise EntryError(f"data: {error}") from None
    if type(payload) is not dict:
        raise EntryError("data is not an object")
    return payload


def _check_name(name: str, value: object) -> None:
    if type(value) is not str or not NAME.fullmatch(value):
        raise EntryError(f"{name} is not 1 to 1024 characters without controls: {value!r:.80}")
