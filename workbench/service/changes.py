"""Changes of the policy set: proposed, signed, vetoed, taken over, each an entry before it is so.

(1) proposed: it follows the set in force, keeps the delay, its rules can be read (`rules.change`), and
    whatever key it gives to somebody was registered for him (`rules.enrolment`)
(2) signed: an officer's assertion, verified at once; one for each person counts
(3) vetoed: by somebody entitled, for good; a successor is another manifest
(4) activated: both quorums have signed, its time has come, the delay was kept. That is recorded first,
    then it is taken over, then the set is kept as a file; sessions that it does not bear end. A folder that
    takes no file must not leave the desk under the old set, so that is tried again until it does
(5) void: another set was activated in its place

The ledger is the memory. The files of a set are too large for an entry: they are a blob that the entry
names. At start the chain is what the ledger says was adopted and activated; a set whose file a crash
has prevented is made again from the entries, and a file that no entry knows stops the process.
Whoever has no place in the set in force has no session: anybody's may carry his word, which is his own
by its assertion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledger import files
from ledger.encoding import canonical
from ledger.entry import Entry
from workbench.rules import cedar
from workbench.rules.assertion import CONSOLE
from workbench.rules.change import (
    Event,
    NextSet,
    SignedVeto,
    between,
    verify_change,
    verify_officer,
    verify_veto,
)
from workbench.rules.change_request import Word
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_json, read_time, write_time
from workbench.rules.enrolment import check_added
from workbench.rules.policy import (
    Manifest,
    PolicySet,
    Signature,
    verify_chain,
    verify_history,
    verify_signature,
)
from workbench.rules.session import CertifiedSession
from workbench.service.desk import Desk
from workbench.service.lane import SERVICE
from workbench.service.record import Recorder
from workbench.service.tickets import Tickets

OPEN_PER_PROPOSER_MAX = 4
"""Each person has places of his own, so that nobody can keep a revocation out by filling them."""
SET_MAX = 256 * 1024
"""Evidence carries the whole chain of sets in four megabytes."""


class Standing(StrEnum):
    """Where a change stands."""

    PENDING = "pending"
    VETOED = "vetoed"
    ACTIVATED = "activated"
    VOID = "void"


@dataclass(slots=True)
class Amendment:
    """One proposed set and everything that was said of it; its files lie in the blob `files`."""

    manifest: Manifest
    files: str
    proposer: str
    proposed_at: datetime
    standing: Standing = Standing.PENDING
    signatures: dict[str, Signature] = field(default_factory=dict)
    veto: SignedVeto | None = None
    signed_by: list[str] = field(default_factory=list)
    """Whose signatures counted when it was activated."""

    @property
    def digest(self) -> str:
        """The digest of the manifest; it names the set."""
        return hashlib.sha256(self.manifest.canonical()).hexdigest()

    def set(self, recorder: Recorder, signed_by: Iterable[str] = ()) -> PolicySet:
        """Return the proposed set with the signatures of these people."""
        texts = read_json(recorder.cited(self.files), limit=DOCUMENT_MAX)
        signatures = [self.signatures[person].dump() for person in signed_by]
        return PolicySet.load({"manifest": self.manifest.dump(), "files": texts, "signatures": signatures})


def replayed(entries: Iterable[Entry]) -> dict[str, Amendment]:
    """Return what the ledger's entries about policy sets add up to, by digest."""
    known: dict[str, Amendment] = {}
    for entry in entries:
        _enter(known, entry)
    return known


def in_force(kept: Sequence[PolicySet], recorder: Recorder, entries: Sequence[Entry]) -> list[PolicySet]:
    """Return the chain that the ledger says, oldest first; what has no file is made again.

    Args:
        kept: the sets that lie in files.
        recorder: whose ledger has said nothing yet when it holds only sets that were adopted.
        entries: those of the ledger about policy sets.

    """
    adopted = [entry.id for entry in entries if entry.type == Event.ADOPTED]
    if recorder.ledger.head().size == len(adopted):
        return list(kept)
    said = adopted + [entry.id for entry in entries if entry.type == Event.ACTIVATED]
    files_of = {each.digest: each for each in kept}
    for digest, each in files_of.items():
        # whoever can write the folder must not get round delay and veto
        if digest not in said:
            raise RefusedError(
                Refusal.POLICY_CHAIN, f"version {each.manifest.version} in policies/ was never activated"
            )
    known = replayed(entries)
    return [files_of.get(digest) or _again(digest, known, recorder) for digest in said]


def keep(folder: Path, policy: PolicySet) -> None:
    """Put a set where the next start finds it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    files.replace(_file(folder, policy), canonical(policy.dump(), limit=DOCUMENT_MAX))


@dataclass(slots=True)
class Changes:
    """The proposed sets over one desk, and the folder that keeps those that were taken over."""

    desk: Desk
    folder: Path
    tickets: Tickets = field(default_factory=Tickets)
    _known: dict[str, Amendment] = field(init=False)
    _told: dict[str, Refusal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = replayed(self.desk.lane.books.changes)

    def propose(self, value: object, speaker: CertifiedSession) -> dict[str, Any]:
        """(1) Record a next set; the same set again is the same change."""
        asked = NextSet.load(value)
        following = asked.set()
        with self.desk.held():
            lane, person, digest = self.desk.lane, speaker.session.person, following.digest
            if digest in self._known:
                return self._view(self._pending(digest))
            change = verify_change(lane.policy, following, proposed_at=lane.clock())
            check_added(change, lane.books.registered)
            cedar.check(following)
            verify_history(following, before=lane.policies)
            waiting = [each for each in self._all(Standing.PENDING) if each.proposer == person]
            if len(waiting) >= OPEN_PER_PROPOSER_MAX:
                raise RefusedError(Refusal.OWN_LIMIT, f"{len(waiting)} changes of {person} are open already")
            raw = canonical(asked.files, limit=DOCUMENT_MAX)
            if len(raw) > SET_MAX:
                raise RefusedError(Refusal.TOO_LARGE, f"{len(raw)} bytes, at most {SET_MAX}", path="/files")
            named = lane.recorder.blob(raw)
            # a crash here leaves a blob that nothing names
            lane.crash.reached("policy-proposed")
            data = {"v": 1, "manifest": following.manifest.dump(), "files": named}
            self._record(Event.PROPOSED, digest, data, actor=person)
            return self._view(self._known[digest])

    def ask(self, digest: str, speaker: CertifiedSession) -> dict[str, Any]:
        """Return a ticket for this person's look at a change, on the approver's page or elsewhere."""
        with self.desk.held():
            self._pending(digest)
            session = speaker.session
            ticket = self.tickets.issue(
                person=session.person, session=session.digest, about=digest, now=self.desk.lane.clock()
            )
            return {"ticket": ticket.name, "expires_at": write_time(ticket.until)}

    def request(self, name: str) -> dict[str, Any]:
        """Return everything that the holder of a ticket is to see before he signs."""
        with self.desk.held():
            lane, ticket = self.desk.lane, self.desk.ticket(self.tickets, name)
            amendment = self._pending(ticket.about)
            following = amendment.set(lane.recorder, self._counted(amendment)).dump()
            return {
                "v": 1,
                "person": ticket.person,
                "policy_chain": [policy.dump() for policy in lane.policies],
                "following": {"manifest": following["manifest"], "files": following["files"]},
                "proposer": amendment.proposer,
                "proposed_at": write_time(amendment.proposed_at),
                "signatures": following["signatures"],
            }

    def answer(self, name: str, word: Word) -> dict[str, Any]:
        """(2) (3) Take the signature or the veto that the holder of a ticket brings."""
        with self.desk.held():
            ticket = self.desk.ticket(self.tickets, name)
            if word.veto is not None:
                view = self.veto(ticket.about, word.veto, ticket.person)
            elif word.signature is not None:
                view = self.sign(ticket.about, word.signature, ticket.person)
            self.tickets.close(name)
            return view

    def sign(self, digest: str, signature: Signature, carrier: str) -> dict[str, Any]:
        """(2) Verify and record an officer's signature; (4) activate what then may be."""
        with self.desk.held():
            amendment, lane = self._pending(digest), self.desk.lane
            self._carries(signature.person, carrier)
            path = verify_officer(
                amendment.set(lane.recorder), signature, current=lane.policy, trust_root=lane.trust_root
            )
            # who has signed on the page may sign by the second path as well
            before = self._counted(amendment).get(signature.person)
            if before in {path, CONSOLE}:
                raise RefusedError(Refusal.DECISION_REPEATED, f"{signature.person} has signed already")
            # one of each person is kept: by a key that only one of the sets has he would take back the other
            if before and self._judges(amendment, amendment.signatures[signature.person]) - self._judges(
                amendment, signature
            ):
                raise RefusedError(
                    Refusal.DECISION_REPEATED,
                    f"{signature.person} has signed already, with a key that counts for more of the two sets",
                )
            self.desk.sessions.credentials.admit(signature.assertion, person=signature.person)
            self.desk.lane.crash.reached("policy-signed")
            # a person whose credential was frozen signs again with another one
            name = f"{digest}/{signature.assertion.credential}"
            data = {"v": 1, "policy": digest, "signature": signature.dump()}
            self._record(Event.SIGNED, digest, data, actor=carrier, name=name)
            self._try(amendment)
            return self._view(amendment)

    def veto(self, digest: str, signed: SignedVeto, carrier: str) -> dict[str, Any]:
        """(3) End a change for good."""
        with self.desk.held():
            amendment, lane = self._pending(digest), self.desk.lane
            self._carries(signed.veto.person, carrier)
            following = amendment.set(lane.recorder)
            verify_veto(signed, following=following, sets=lane.policies, trust_root=lane.trust_root)
            self.desk.sessions.credentials.admit(signed.assertion, person=signed.veto.person)
            lane.crash.reached("policy-vetoed")
            data = {"v": 1, "policy": digest, "signed": signed.dump()}
            self._record(Event.VETOED, digest, data, actor=carrier)
            return self._view(amendment)

    def activate(self, digest: str) -> dict[str, Any]:
        """(4) Take a set over, or refuse and say what is missing."""
        with self.desk.held():
            amendment = self._pending(digest)
            self._activate(amendment)
            return self._view(amendment)

    def step(self) -> None:
        """(4) (5) Activate whatever may be by itself; end what cannot follow any more, also after a crash."""
        with self.desk.held():
            self._void()
            for amendment in self._all(Standing.PENDING):
                self._try(amendment)

    def keep_files(self) -> None:
        """Put every set that has no file yet where the next start finds it."""
        for policy in self.desk.lane.policies:
            if not _file(self.folder, policy).exists():
                keep(self.folder, policy)

    def listed(self) -> dict[str, Any]:
        """Return the digest of every set that is or was in force, and every change, oldest first."""
        chain = [policy.digest for policy in self.desk.lane.policies]
        return {"in_force": chain, "changes": [self._summary(each) for each in list(self._known.values())]}

    def view(self, digest: str) -> dict[str, Any]:
        """Return one change with both sets, so that whoever looks can compare for himself."""
        return self._view(self._get(digest))

    def _try(self, amendment: Amendment) -> None:
        """(4) Activate a change if that may be; what is still missing is no refusal."""
        # the one before it may have made it void
        if amendment.standing is not Standing.PENDING:
            return
        try:
            if self._due(amendment):
                self._activate(amendment)
        except RefusedError as refused:
            # once for each reason, as with intents that cannot go on
            if refused.code not in {Refusal.POLICY_CHAIN, self._told.get(amendment.digest)}:
                about = f"activate {amendment.digest}"
                self.desk.lane.recorder.refusal(refused, actor=SERVICE, about=about)
                self._told[amendment.digest] = refused.code

    def _activate(self, amendment: Amendment) -> None:
        lane, digest = self.desk.lane, amendment.digest
        signed_by = list(self._counted(amendment))
        following = amendment.set(lane.recorder, signed_by)
        # what the ledger's clock said when it was proposed is what counts, not what was meant then
        verify_change(lane.policy, following, proposed_at=amendment.proposed_at)
        verify_chain([*lane.policies, following], trust_root=lane.trust_root, now=lane.clock())
        lane.crash.reached("policy-activating")
        data = {"v": 1, "policy": digest, "version": following.manifest.version, "signed_by": signed_by}
        self._record(Event.ACTIVATED, digest, data, actor=SERVICE)
        # from here on it is in force: a start makes the file again and begins under this set
        lane.crash.reached("policy-activated")
        lane.policies = [*lane.policies, following]
        self.desk.sessions.adopt(following)
        lane.crash.reached("policy-taken-over")
        with suppress(OSError):  # the service's next turn says so
            self.keep_files()
        lane.crash.reached("policy-kept")
        self._void()

    def _void(self) -> None:
        """(5) End every change that does not follow the set in force."""
        current = self.desk.lane.policy.digest
        for amendment in self._all(Standing.PENDING):
            if amendment.manifest.previous != current:
                data = {"v": 1, "policy": amendment.digest, "in_force": current}
                self._record(Event.VOIDED, amendment.digest, data, actor=SERVICE)

    def _due(self, amendment: Amendment) -> bool:
        """Whether it is worth looking: its time has come, and those have signed whom the desk demands."""
        lane = self.desk.lane
        quorum = lane.policy.limits.policy_quorum
        # asked every second of everything that is open: its files are read when little else is missing
        if read_time(amendment.manifest.activates_at) > lane.clock() or len(amendment.signatures) < quorum:
            return False
        counted = self._counted(amendment)
        return len(counted) >= quorum and CONSOLE in counted.values()

    def _counted(self, amendment: Amendment) -> dict[str, str]:
        """Return who has signed with a credential that has no double, and by which path."""
        lane = self.desk.lane
        following = amendment.set(lane.recorder)
        return {
            person: verify_officer(following, signature, current=lane.policy, trust_root=lane.trust_root)
            for person, signature in sorted(amendment.signatures.items())
            if signature.assertion.credential not in lane.books.frozen
        }

    def _judges(self, amendment: Amendment, signature: Signature) -> set[str]:
        """Return for which of the two sets' quorums a signature counts."""
        lane = self.desk.lane
        following, found = amendment.set(lane.recorder), set()
        for judge in (lane.policy, following):
            with suppress(RefusedError):
                verify_signature(signature, following.challenge, judge=judge, trust_root=lane.trust_root)
                found.add(judge.digest)
        return found

    def _signers(self, amendment: Amendment) -> list[str]:
        frozen = self.desk.lane.books.frozen
        signatures = list(amendment.signatures.items())
        return [who for who, signature in signatures if signature.assertion.credential not in frozen]

    def _carries(self, person: str, carrier: str) -> None:
        if person != carrier and person in self.desk.lane.policy.people:
            raise RefusedError(Refusal.SESSION_FOREIGN, f"{carrier} brings {person}'s word")

    def _get(self, digest: str) -> Amendment:
        try:
            return self._known[digest]
        except KeyError:
            raise RefusedError(Refusal.NOT_FOUND, f"no change {digest}") from None

    def _pending(self, digest: str) -> Amendment:
        amendment = self._get(digest)
        if amendment.standing is Standing.VETOED:
            raise RefusedError(Refusal.CHANGE_VETOED, f"{digest[:12]} was vetoed")
        if amendment.standing is Standing.VOID:
            raise RefusedError(Refusal.CHANGE_VOID, f"{digest[:12]} does not follow the set in force")
        if amendment.standing is Standing.ACTIVATED:
            raise RefusedError(Refusal.STATE, f"{digest[:12]} was activated")
        return amendment

    def _all(self, standing: Standing) -> list[Amendment]:
        return [each for each in self._known.values() if each.standing is standing]

    def _record(
        self, event: Event, digest: str, data: Mapping[str, Any], *, actor: str, name: str | None = None
    ) -> None:
        recorder, books = self.desk.lane.recorder, self.desk.lane.books
        receipt = recorder.append(event.value, name or digest, data, actor=actor, subject=digest)
        entry = next(recorder.ledger.entries(receipt.seq, receipt.seq))
        books.enter(entry)
        _enter(self._known, entry)

    def _previous(self, amendment: Amendment) -> PolicySet:
        chain = self.desk.lane.policies
        return next(each for each in chain if each.digest == amendment.manifest.previous)

    def _summary(self, amendment: Amendment) -> dict[str, Any]:
        return {
            "digest": amendment.digest,
            "standing": amendment.standing.value,
            "version": amendment.manifest.version,
            "proposer": amendment.proposer,
            "proposed_at": write_time(amendment.proposed_at),
            "activates_at": amendment.manifest.activates_at,
            "signed_by": amendment.signed_by or sorted(self._signers(amendment)),
            "veto": amendment.veto.dump() if amendment.veto else None,
        }

    def _view(self, amendment: Amendment) -> dict[str, Any]:
        summary, previous = self._summary(amendment), self._previous(amendment)
        following = amendment.set(self.desk.lane.recorder, summary["signed_by"])
        return {
            **summary,
            "change": between(previous, following).dump(),
            "previous": previous.dump(),
            "following": following.dump(),
        }


def _file(folder: Path, policy: PolicySet) -> Path:
    return folder / f"{policy.manifest.version:06d}.json"


def _again(digest: str, known: Mapping[str, Amendment], recorder: Recorder) -> PolicySet:
    amendment = known.get(digest)
    if amendment is None:
        raise RefusedError(Refusal.POLICY_CHAIN, f"the set {digest[:12]} is gone from policies/")
    return amendment.set(recorder, amendment.signed_by)


def _enter(known: dict[str, Amendment], entry: Entry) -> None:
    """Take one entry into account."""
    data = entry.data or {}
    if entry.type == Event.PROPOSED:
        manifest = Manifest.load(data["manifest"])
        made = Amendment(manifest, data["files"], entry.actor, entry.time)
        known[made.digest] = made
    elif entry.type == Event.SIGNED:
        signature = Signature.load(data["signature"])
        known[data["policy"]].signatures[signature.person] = signature
    elif entry.type == Event.VETOED:
        amendment = known[data["policy"]]
        amendment.standing, amendment.veto = Standing.VETOED, SignedVeto.load(data["signed"])
    elif entry.type == Event.ACTIVATED:
        amendment = known[data["policy"]]
        amendment.standing, amendment.signed_by = Standing.ACTIVATED, list(data["signed_by"])
    elif entry.type == Event.VOIDED:
        known[data["policy"]].standing = Standing.VOID
