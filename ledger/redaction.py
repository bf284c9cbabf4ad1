"""Redaction: when an entry may lose its data and salt, and who has to have said so.

Only head, leaf and h are chained, so a payload can be taken away without a
trace in the hashes. What keeps that from being a hole is an entry of the type
`ledger.redaction` that says which entries, why, and carries the signatures.
Missing data is legal only if all of this holds; else it is lost data:

(1) A later redaction entry names the entry by number and leaf.
(2) `quorum` of the trust root's redaction keys have signed its statement.
(3) The trust root lists the entry's type, with the days it must be kept; the
    redaction came after them. What is not listed (evidence: decisions, policy
    sets, checkpoints, key operations) is never redacted.
(4) No hold covered the entry when the redaction was recorded. One redaction
    key places a hold (`ledger.hold`), the quorum lifts it (`ledger.hold-lifted`).

    data of these entries = {"statement": {v, kind, ledger_id, reason, …}, "signatures": {name: hex}}
    signed: "ledger-redaction/v1" ‖ newline ‖ canonical(statement)

A register is fed with every entry in order, by the store and by the verifier
alike. A statement that does not count permits nothing, and is no fault by
itself. For a range of entries, holds placed before it are not seen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.encoding import JSON, EncodingError, canonical, unhex
from ledger.trust import Redaction, TrustRoot

LINE = b"ledger-redaction/v1\n"
REDACTION, HOLD, LIFTED = "ledger.redaction", "ledger.hold", "ledger.hold-lifted"
KINDS = {REDACTION: "redact", HOLD: "hold", LIFTED: "lift"}
FIELDS = {"v", "kind", "ledger_id", "reason"}
MATCHES = ("actors", "subjects", "types")
ENTRIES_MAX = 500  # of one statement: each is some 100 bytes of an entry's 64 KiB
MISSING_MAX = 1_000_000  # entries without data that are remembered; more than that is no redaction

Sign = Callable[[bytes], bytes]


class RedactionError(ValueError):
    """A statement is malformed, not signed by enough, or permits what it must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the rules look at in an entry that lacks, or is to lose, its data."""

    seq: int
    time: datetime
    type: str
    subject: str | None
    actor: str
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Redacted:
    """An entry whose data was taken away legally: by which entry, and why."""

    seq: int
    by: int
    reason: str


@dataclass(slots=True)
class Register:
    """Which entries may lack their data, and which do."""

    trust_root: TrustRoot
    _missing: dict[int, Target] = field(default_factory=dict)
    _redacted: dict[int, Redacted] = field(default_factory=dict)
    _refusals: dict[int, str] = field(default_factory=dict)
    _holds: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _overflow: int = 0

    def see(self, target: Target, data: dict[str, Any] | None) -> None:
        """Take the next entry into account; without data, it is missing until a redaction permits that."""
        if data is None:
            self._miss(target)
        elif target.type in KINDS:
            try:
                self._take(target, read(target.type, data, self.trust_root))
            except RedactionError as error:
                self._refusals.update(dict.fromkeys(_seqs(data), f"entry {target.seq}: {error}"))

    def permit(self, statement: JSON, signatures: JSON, targets: Mapping[int, Target], now: datetime) -> None:
        """Raise unless a redaction recorded `now` would permit every entry that it names."""
        read(REDACTION, {"statement": statement, "signatures": signatures}, self.trust_root)
        for item in statement["entries"]:
            target = targets.get(item["seq"])
            if target is None:
                raise RedactionError(f"entry {item['seq']} is not there")
            self._check(target, now, leaf=item["leaf"])

    def redacted(self) -> list[Redacted]:
        """Return the entries that lack their data legally."""
        return [self._redacted[seq] for seq in sorted(self._redacted)]

    def lost(self) -> Iterator[tuple[int, str]]:
        """Yield (seq, reason) for the entries that lack their data without a redaction that counts."""
        for seq in sorted(set(self._missing) - set(self._redacted)):
            yield seq, self._refusals.get(seq, "no redaction names it")
        if self._overflow:
            yield MISSING_MAX, f"{self._overflow} more entries are without data"

    def _miss(self, target: Target) -> None:
        if len(self._missing) >= MISSING_MAX:
            self._overflow += 1
        else:
            self._missing[target.seq] = target

    def _take(self, target: Target, statement: Mapping[str, Any]) -> None:
        if target.type == HOLD:
            # Beside, not in place of, one of the same id: else one key could narrow a hold away.
            self._holds.setdefault(statement["id"], []).append(statement)
        elif target.type == LIFTED:
            self._holds.pop(statement["id"], None)
        else:
            for item in statement["entries"]:
                self._take_away(item, by=target, reason=statement["reason"])

    def _take_away(self, item: Mapping[str, Any], *, by: Target, reason: str) -> None:
        missing = self._missing.get(item["seq"])
        if missing is None:  # named, and still there: a redaction that was not carried out, or a later one
            return
        try:
            self._check(missing, by.time, leaf=item["leaf"])
        except RedactionError as error:
            self._refusals[missing.seq] = f"entry {by.seq}: {error}"
            return
        self._redacted[missing.seq] = Redacted(missing.seq, by.seq, reason)

    def _check(self, target: Target, now: datetime, *, leaf: str) -> None:
        if target.leaf.hex() != leaf:  # (1) by content: a number alone could mean another ledger's entry
            raise RedactionError(f"entry {target.seq} has another leaf")
        days = _rules(self.trust_root).days.get(target.type)
        if days is None or target.type in KINDS:  # (3)
            raise RedactionError(f"entry {target.seq} is a {target.type}, which is never redacted")
        if now - target.time < timedelta(days=days):
            raise RedactionError(f"entry {target.seq} must be kept for {days} days")
        for name, holds in self._holds.items():  # (4)
            if any(_covers(hold, target) for hold in holds):
                raise RedactionError(f"entry {target.seq} is under hold {name}")


def redact(ledger_id: str, entries: Mapping[int, bytes], *, reason: str) -> dict[str, Any]:
    """Return the statement that takes the data of these entries (seq: leaf) away."""
    listed = [{"seq": seq, "leaf": entries[seq].hex()} for seq in sorted(entries)]
    return {"v": 1, "kind": "redact", "ledger_id": ledger_id, "entries": listed, "reason": reason}


def message(statement: JSON) -> bytes:
    """Return the bytes that a redaction key signs."""
    return LINE + canonical(statement)


def read(kind: str, data: JSON, trust_root: TrustRoot) -> Mapping[str, Any]:
    """Return the statement of an entry of this type; raise unless enough have signed it."""
    if type(data) is not dict or set(data) != {"statement", "signatures"}:
        raise RedactionError("data is not a statement and signatures")
    statement = data["statement"]
    try:
        _check_form(kind, statement, trust_root.ledger_id)
        names = _signers(message(statement), data["signatures"], trust_root)
    except EncodingError as error:
        raise RedactionError(str(error)) from None
    needed = 1 if kind == HOLD else _rules(trust_root).quorum  # (2)
    if len(names) < needed:
        raise RedactionError(f"{len(names)} of {needed} redaction keys have signed")
    return dict(statement)


def _check_form(kind: str, statement: JSON, ledger_id: str) -> None:
    extra = {REDACTION: {"entries"}, HOLD: {"id", *MATCHES}, LIFTED: {"id"}}[kind]
    if type(statement) is not dict or set(statement) != FIELDS | extra:
        raise RedactionError(f"fields of the statement are not {sorted(FIELDS | extra)}")
    if type(statement["v"]) is not int or (statement["v"], statement["kind"]) != (1, KINDS[kind]):
        raise RedactionError(f"not a statement of version 1 to {KINDS[kind]}")
    # Replay: a statement about one ledger permits nothing in another.
    if statement["ledger_id"] != ledger_id:
        raise RedactionError("the statement is about another ledger")
    texts = [statement["reason"], *([statement["id"]] if "id" in extra else [])]
    if not all(type(text) is str and text.strip() for text in texts):
        raise RedactionError("a statement needs a reason, and a hold an id")
    if kind == REDACTION:
        _check_entries(statement["entries"])
    elif kind == HOLD:
        lists = [statement[name] for name in MATCHES]
        if not all(type(each) is list for each in lists) or not any(lists):
            raise RedactionError("a hold names actors, subjects or types")


def _check_entries(entries: JSON) -> None:
    if type(entries) is not list or not 1 <= len(entries) <= ENTRIES_MAX:
        raise RedactionError(f"a redaction names 1 to {ENTRIES_MAX} entries")
    for item in entries:
        if type(item) is not dict or set(item) != {"seq", "leaf"} or type(item["seq"]) is not int:
            raise RedactionError("an entry is named by seq and leaf")
        if item["seq"] < 0:
            raise RedactionError(f"{item['seq']} is no entry's number")
        unhex(item["leaf"], 32)
    seqs = [item["seq"] for item in entries]
    if seqs != sorted(set(seqs)):
        raise RedactionError("entries are not in rising order")


def _signers(signed: bytes, signatures: JSON, trust_root: TrustRoot) -> frozenset[str]:
    if type(signatures) is not dict:
        raise RedactionError("signatures are not an object")
    counted = set()
    for name, signature in signatures.items():
        key = _rules(trust_root).keys.get(name)
        if key is None:  # a stranger's signature counts for nothing and vetoes nothing
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(unhex(signature, 64), signed)
        except InvalidSignature:
            raise RedactionError(f"the signature of {name} does not verify") from None
        counted.add(name)
    return frozenset(counted)


def _rules(trust_root: TrustRoot) -> Redaction:
    if trust_root.redaction is None:
        raise RedactionError("this trust root permits no redaction")
    return trust_root.redaction


def _covers(hold: Mapping[str, Any], target: Target) -> bool:
    return (
        target.actor in hold["actors"]
        or (target.subject is not None and target.subject in hold["subjects"])
        or target.type in hold["types"]
    )


def _seqs(data: JSON) -> list[int]:
    # Which entries a refused statement meant, for the words of the finding only.
    statement = data.get("statement")
    entries = statement.get("entries") if type(statement) is dict else None
    listed = entries if type(entries) is list else []
    return [item["seq"] for item in listed if type(item) is dict and type(item.get("seq")) is int][
        :ENTRIES_MAX
    ]
