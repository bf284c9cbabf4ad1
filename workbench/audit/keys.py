"""The keys of a desk as its bundle tells of them: states, shares, backups, and what runs out.

    inventory(bundle, trust_root, now=…) -> Inventory           raises unless the bundle is sound
    ceremony(bundle, trust_root, order, now=…) -> Record        raises unless the key was made as ordered

(1) The bundle verifies under the auditor's trust root, and its policy sets are a chain that quorums signed.
(2) Each testimony about a key, and each word that one was made, is verified once more, under the co-signer's
    identity in the trust root; one that fails raises: the ledger would hold what nobody has said.
(3) What is told of keys is `rules.key_life`; beside it stands what has an end: whitelist entries, service
    accounts, and approvals of intents that are still open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ledger import bundle, verifier
from ledger.bundle import Index, Line
from ledger.entry import parse_data, parse_head
from workbench.audit.people import policy_sets
from workbench.audit.testified import MADE, Proofs
from workbench.rules.ceremony import Ceremony, verify_made
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.concentration import Place
from workbench.rules.decision import Decision, SignedDecision
from workbench.rules.documents import read_time
from workbench.rules.key_life import Done, Life, Told, lives, testimonies
from workbench.rules.key_operation import SignedOperation
from workbench.rules.lifecycle import FINAL, PROPOSED_EVENT, Event, State, after
from workbench.rules.policy import PolicySet
from workbench.rules.recovery import verify_testimony
from workbench.rules.session import CertifiedSession, Session
from workbench.rules.token_report import SignedTokenReport, TokenReport
from workbench.rules.trust import TrustRoot

MINUTE = "%Y-%m-%d %H:%M"
SESSION_STARTED, SESSION_ENDED = "session.started", "session.ended"
REPORTED = "token.reported"
EVENTS = frozenset(event.value for event in Event)


@dataclass(frozen=True, slots=True)
class Expiry:
    """Something that counts until then: what it is, of whom, and when it ends."""

    kind: str
    what: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every key, and everything that has an end, the first to end first."""

    size: int
    policy_version: int
    keys: Sequence[Life]
    expiries: Sequence[Expiry]


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody whose session is open: who, as what, and since when."""

    person: str
    roles: tuple[str, ...]
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The making of a key as the ledger proves it, and what was done to it since."""

    size: int
    made: Ceremony
    life: Life
    present: Sequence[Present]
    places: Mapping[str, Place]
    tokens: Mapping[str, TokenReport]


def ceremony(path: Path, trust_root: Path, order: str, *, now: datetime) -> Record:
    """Return what a bundle proves of the key that an order has made.

    Args:
        path: the bundle's folder.
        trust_root: the auditor's own.
        order: the digest of the operation.
        now: whose session has ended by then is not there.

    Raises:
        ledger.verifier.VerificationError: the bundle is not sound.
        workbench.rules.codes.RefusedError: no such key was made, or not as it was ordered.

    """
    size, believed, entries, sets = sound(path, trust_root, now)
    ordered = _one(entries, "key.ordered", lambda told: told.id == order)
    made = _one(entries, MADE, lambda told: (told.data or {}).get("order") == order)
    signed = SignedOperation.load(ordered.data)
    named = [each for each in sets if each.digest == signed.operation.policy]
    if not named:
        raise RefusedError(Refusal.POLICY_CHAIN, "the order names no policy set of this bundle")
    proven = verify_made(signed, made.data or {}, policy=named[0], trust_root=believed)
    life = next(each for each in lives(entries, sets) if each.address == proven.address)
    parties = [each.cosigner for each in proven.held]
    return Record(
        size=size,
        made=proven,
        life=life,
        present=_present(entries, now),
        places={name: place for name, place in named[0].places.items() if name in parties},
        tokens=_tokens(entries, parties, believed),
    )


def _present(entries: Sequence[Told], now: datetime) -> list[Present]:
    """Return whose sessions are open, each person once, by the newest of them."""
    open_: dict[str, Session] = {}
    for told in entries:
        if told.type == SESSION_STARTED and told.data is not None:
            session = CertifiedSession.load(told.data).session
            open_[session.digest] = session
        elif told.type == SESSION_ENDED and told.data is not None:
            open_.pop(str(told.data["session"]), None)
    here = [each for each in open_.values() if read_time(each.expires_at) > now]
    newest = {each.person: each for each in sorted(here, key=lambda each: each.issued_at)}
    return [
        Present(name, tuple(each.roles), read_time(each.issued_at)) for name, each in sorted(newest.items())
    ]


def _one(entries: Sequence[Told], kind: str, fits: Callable[[Told], bool]) -> Told:
    """Return the entry that fits, and where it stands first: one that is written down again says nothing."""
    found = [told for told in entries if told.type == kind and fits(told)]
    if not found or any(told.data != found[0].data for told in found):
        raise RefusedError(Refusal.NOT_FOUND, f"{len(found)} entries {kind} of this order")
    return found[0]


def _tokens(entries: Sequence[Told], names: Collection[str], trust_root: TrustRoot) -> dict[str, TokenReport]:
    """Return the newest report of each co-signer's token, verified under its identity."""
    found = {}
    for told in entries:
        if told.type == REPORTED and told.data is not None:
            signed = SignedTokenReport.load(told.data)
            if signed.report.cosigner in names:
                name = signed.report.cosigner
                found[name] = signed.verify(name, trust_root)
    return found


def sound(path: Path, trust_root: Path, now: datetime) -> tuple[int, TrustRoot, list[Told], list[PolicySet]]:
    """(1) (2) Return size, trust root, entries and policy sets of a bundle that holds together."""
    report = verifier.verify(path, trust_root)
    if report.first:
        raise RefusedError(Refusal.NOT_FOUND, f"the bundle begins at entry {report.first}: keys are older")
    believed = TrustRoot.read(trust_root.read_bytes())
    entries = list(_told(path))
    index = Index.parse(bundle.read(path, bundle.INDEX, bundle.INDEX_MAX))
    sets = policy_sets(path, index.files, believed, now=entries[-1].at if entries else now)
    for told in entries:
        _verify(told, believed)
    proofs = Proofs([told for told in entries if told.type.startswith("key.")], sets, believed)
    for told in proofs.of(MADE):
        proofs.epoch(told)
    return report.size, believed, entries, sets


def inventory(path: Path, trust_root: Path, *, now: datetime) -> Inventory:
    """Return what a bundle tells of keys.

    Args:
        path: the bundle's folder.
        trust_root: the auditor's own.
        now: what has ended by then is left out.

    Raises:
        ledger.verifier.VerificationError: the bundle is not sound (1).
        workbench.rules.codes.RefusedError: its policy sets, or what co-signers say, do not count (1) (2).

    """
    size, _, entries, sets = sound(path, trust_root, now)
    ends = [*_listed(sets[-1]), *_approved(entries)]
    open_ = sorted((each for each in ends if each.until > now), key=lambda each: each.until)
    return Inventory(size, sets[-1].manifest.version, lives(entries, sets), open_)


def _told(path: Path) -> Iterator[Told]:
    for raw in bundle.lines(path):
        line = Line.parse(raw)
        head = parse_head(line.head)
        data = parse_data(line.data) if line.data is not None else None
        yield Told(head["seq"], head["time"], head["type"], head["subject"] or head["id"], data)


def _verify(told: Told, trust_root: TrustRoot) -> None:
    """(2) Verify each testimony of an entry."""
    for each in testimonies(told):
        verify_testimony(each, cosigners=trust_root.cosigners)


def _listed(policy: PolicySet) -> Iterator[Expiry]:
    for entry in policy.whitelist.values():
        yield Expiry("whitelist entry", f"{entry.name}, {entry.address}", read_time(entry.expires_at))
    for account in policy.service_accounts.values():
        yield Expiry("service account", account.id, read_time(account.expires_at))


def _approved(entries: Sequence[Told]) -> Iterator[Expiry]:
    """Return the approvals of intents that are not at their end."""
    standing: dict[str, State] = {}
    approvals: list[Decision] = []
    for told in entries:
        if told.type == PROPOSED_EVENT:
            standing[told.id] = State.PROPOSED
        elif told.type in EVENTS and told.id in standing:
            standing[told.id] = after(standing[told.id], Event(told.type))
        if told.type == Event.DECIDED and told.data is not None:
            approvals.append(SignedDecision.load(told.data["signed"]).decision)
    for made in approvals:
        if made.verb == "approve" and standing.get(made.intent, State.EXPIRED) not in FINAL:
            who = f"{made.person} of intent {made.intent[:12]}"
            yield Expiry("approval", who, read_time(made.expires_at))


def engine(life: Life) -> str:
    """Return how a key is held, in words."""
    if not life.engine:
        return "not listed yet"
    return f"{life.engine}, {life.threshold} of {len(life.shares)}" if life.is_shared else life.engine


def done_words(done: Done | None) -> str:
    """Return of which epoch and when something was done, in words."""
    return "never" if done is None else f"epoch {done.epoch}, {done.at:{MINUTE}}"


def lines(found: Inventory, now: datetime) -> Iterator[str]:
    """Return the inventory as lines of text, for a terminal."""
    for each in found.keys:
        yield f"{each.name}  {each.state.value} since {each.since:{MINUTE}}  {each.address}"
        yield f"  {engine(each)}, epoch {each.epoch}"
        for share in each.shares.values() if each.is_shared else ():
            kept_by = ", ".join(share.keepers) or "nobody"
            yield f"  share of {share.cosigner}: kept by {kept_by}"
            yield f"    backed up {done_words(share.backed_up)}; tried {done_words(share.tried)}"
        for what in each.due(now):
            yield f"  DUE: {what}"
    for expiry in found.expiries:
        days = (expiry.until - now).days
        yield f"{expiry.kind}: {expiry.what}: until {expiry.until:{MINUTE}} ({days} days)"
