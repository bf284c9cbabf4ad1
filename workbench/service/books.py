"""The books: what the ledger's entries add up to.

They are rebuilt from the ledger at start and kept in step with each entry by the same
function, so a restart cannot know anything that the ledger does not. Nothing here is
believed by anybody: co-signers and auditors look at the entries' own signatures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ledger.entry import Entry
from workbench.evm.transaction import SignedTransaction
from workbench.rules import assertion as webauthn
from workbench.rules import storage
from workbench.rules.assertion import Assertion, Credential
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.carriage import Sending, Way
from workbench.rules.carried import fees_of
from workbench.rules.change import Event as PolicyEvent
from workbench.rules.change import SignedVeto
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import read_time
from workbench.rules.enrolment import REGISTERED, Registration
from workbench.rules.fees import Fees
from workbench.rules.intent import Proposal
from workbench.rules.lifecycle import HOLDS_NONCE, MINED, PROPOSED_EVENT, Event, State, after
from workbench.rules.policy import Signature
from workbench.rules.session import CertifiedSession
from workbench.rules.storage import Held

SESSION_STARTED = "session.started"
SESSION_ENDED = "session.ended"
CREDENTIAL_FROZEN = "credential.frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Bytes that a co-signer has signed for an intent's nonce; `raw_tx` is None where their hash is all."""

    tx_hash: str
    raw_tx: str | None
    cancels: bool


@dataclass(slots=True)
class Matter:
    """One intent and everything that happened to it."""

    proposal: Proposal
    proposed_at: datetime
    state: State = State.PROPOSED
    seq: int = 0
    approved: list[Statement] = field(default_factory=list)
    before: list[Statement] = field(default_factory=list)
    """The simulation that the last decision was about, once a newer one has taken its place."""
    fresh: list[Statement] = field(default_factory=list)
    attested: list[Held] = field(default_factory=list)
    quotes: list[Statement] = field(default_factory=list)
    """What observers said of the pairs that the policy set demands, when it was simulated last."""
    reservation_seq: int | None = None
    nonce: int | None = None
    decisions: list[SignedDecision] = field(default_factory=list)
    released_at: datetime | None = None
    released_cents: int = 0
    released_under: str = ""
    """The policy set that was in force then."""
    owned: dict[bool, dict[str, str]] = field(default_factory=lambda: {False: {}, True: {}})
    """What owners of a Safe have signed, by co-signer: the intent, and (True) its cancel."""
    failed: list[Sent] = field(default_factory=list)
    """What an executor has paid for in vain: it is in a block, and the Safe has not done it."""
    sent: list[Sent] = field(default_factory=list)
    """Everything that was signed for its nonce, oldest first: any of it may be mined, one of it is."""
    sendings: list[Sending] = field(default_factory=list)
    """Where its bytes went, oldest first."""
    recalled: set[str] = field(default_factory=set)
    """The hashes of those that the relay says it has forgotten."""
    block: tuple[int, str] | None = None
    """Number and hash of the block in which it was seen last."""
    mined: str | None = None
    """The hash of those of its bytes that are in that block."""
    taken_under: str = ""
    """The policy set that was in force when somebody else had used its nonce."""
    is_safe: bool = False
    turns: int = 0
    """How often it was dropped, or its block taken back: what happens on the chain can happen again."""
    dropped: int = 0
    outcome: dict[str, Any] = field(default_factory=dict)

    @property
    def simulation(self) -> Simulation | None:
        """The simulation that decisions are about."""
        return Simulation.load(self.approved[0].document) if self.approved else None

    @property
    def newest(self) -> Sent:
        """What was signed last."""
        return self.sent[-1]

    @property
    def newest_fees(self) -> Fees:
        """What the bytes pay that were signed last, as far as they are known."""
        raw = next(each.raw_tx for each in reversed(self.sent) if each.raw_tx is not None)
        return fees_of(SignedTransaction.parse(bytes.fromhex(raw)).unsigned)

    @property
    def tx_hash(self) -> str | None:
        """The transaction that stands for the intent: the one in a block, else the newest."""
        return self.mined or (self.newest.tx_hash if self.sent else None)

    @property
    def waits(self) -> bool:
        """Whether something of it is signed and in no block."""
        return bool(self.sent) and self.state in {State.SIGNED, State.BROADCAST}

    @property
    def cancelling(self) -> bool:
        """Whether a cancel is signed."""
        return any(each.cancels for each in self.sent)

    @property
    def at_relay(self) -> list[str]:
        """The hashes of what the relay may still have included, but for cancels."""
        given = {each.tx_hash for each in self.sendings if each.by is Way.RELAY} - self.recalled
        return [each.tx_hash for each in self.sent if each.tx_hash in given and not each.cancels]

    @property
    def withdrawn(self) -> bool:
        """Whether somebody entitled has rejected it."""
        return any(signed.decision.verb == "reject" for signed in self.decisions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a session: whose it was, why, the entry that says so, and what took its place."""

    person: str
    reason: str
    seq: int
    at: datetime
    successor: str | None


@dataclass(slots=True)
class Books:
    """Every intent and every session, by digest."""

    matters: dict[str, Matter] = field(default_factory=dict)
    sessions: dict[str, CertifiedSession] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    """How each session that is over has ended."""
    logins: dict[str, datetime] = field(default_factory=dict)
    """When each person logged in last."""
    counters: dict[str, int] = field(default_factory=dict)
    """The highest number that each credential has counted to."""
    frozen: set[str] = field(default_factory=set)
    """The credentials that have counted backwards."""
    registered: dict[str, list[Credential]] = field(default_factory=dict)
    """What was registered for each person, oldest first; a policy set may list it."""
    changes: list[Entry] = field(default_factory=list)
    """The entries about policy sets, oldest first; `changes` reads them."""
    key_entries: list[Entry] = field(default_factory=list)
    """The entries about keys, oldest first; `keeping` reads them."""

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Books:
        """Add up a whole ledger."""
        books = cls()
        for entry in entries:
            books.enter(entry)
        return books

    def matter(self, digest: str) -> Matter:
        """Return one intent's matter, or refuse."""
        try:
            return self.matters[digest]
        except KeyError:
            raise RefusedError(Refusal.NOT_FOUND, f"no intent {digest}") from None

    def held_nonces(self, key: str, chain_id: int) -> set[int]:
        """Return the nonces of a lane that are not free."""
        return self._nonces(key, chain_id, HOLDS_NONCE)

    def mined_nonces(self, key: str, chain_id: int) -> set[int]:
        """Return the nonces of a lane whose transactions are in a block."""
        return self._nonces(key, chain_id, MINED)

    def waiting(self, proposer: str) -> int:
        """Return how many intents of a proposer hold a nonce and are not signed."""
        open_states = {State.OUTSTANDING, State.APPROVED}
        return sum(
            matter.state in open_states and matter.proposal.intent.proposer == proposer
            for matter in list(self.matters.values())
        )

    def _nonces(self, key: str, chain_id: int, states: frozenset[State]) -> set[int]:
        return {
            matter.nonce
            for matter in list(self.matters.values())
            if matter.nonce is not None
            and matter.state in states
            and (matter.proposal.intent.key, matter.proposal.intent.chain_id) == (key, chain_id)
        }

    def released_cents(
        self,
        proposers: Collection[str],
        *,
        since: datetime,
        under: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> int:
        """Return what was released for these proposers together since then, in cents.

        `under` names others for what was released under the policy set of a digest.
        """
        return sum(
            matter.released_cents
            for matter in list(self.matters.values())
            if matter.released_at is not None
            and matter.released_at > since
            and matter.proposal.intent.proposer in {*proposers, *under.get(matter.released_under, ())}
        )

    def enter(self, entry: Entry) -> None:
        """Take one entry into account."""
        data = entry.data or {}
        if entry.type == SESSION_STARTED:
            session = CertifiedSession.load(data)
            self.sessions[session.session.digest] = session
            self.logins[session.session.person] = entry.time
            self._count(session.assertion)
        elif entry.type == SESSION_ENDED:
            self._end(entry, data)
        elif entry.type == CREDENTIAL_FROZEN:
            self.frozen.add(data["credential"])
        elif entry.type == REGISTERED:
            registered = Registration.load(data["registration"]).registered
            self.registered.setdefault(data["person"], []).append(registered.credential)
        elif entry.type == PROPOSED_EVENT:
            proposal = Proposal.sized(data)
            self.matters[proposal.intent.digest] = Matter(proposal, entry.time, seq=entry.seq)
        elif entry.type.startswith(KEY_ENTRIES):
            self.key_entries.append(entry)
        elif entry.type in _POLICY_EVENTS:
            self._policy(entry, PolicyEvent(entry.type), data)
        elif entry.type in _EVENTS:
            self._move(entry, Event(entry.type), data)

    def _end(self, entry: Entry, data: dict[str, Any]) -> None:
        over = self.sessions.pop(data["session"])
        self.ended[data["session"]] = Ended(
            person=over.session.person,
            reason=data["reason"],
            seq=entry.seq,
            at=entry.time,
            successor=data.get("successor"),
        )

    def _policy(self, entry: Entry, event: PolicyEvent, data: dict[str, Any]) -> None:
        self.changes.append(entry)
        if event is PolicyEvent.SIGNED:
            self._count(Signature.load(data["signature"]).assertion)
        elif event is PolicyEvent.VETOED:
            self._count(SignedVeto.load(data["signed"]).assertion)

    def _count(self, assertion: Assertion) -> None:
        seen = self.counters.get(assertion.credential, 0)
        self.counters[assertion.credential] = max(seen, webauthn.counter(assertion))

    def _move(self, entry: Entry, event: Event, data: dict[str, Any]) -> None:
        matter = self.matters[str(entry.subject)]
        matter.state = after(matter.state, event)
        matter.seq = entry.seq
        if event is Event.SIMULATED:
            matter.attested = [storage.load(each) for each in data["states"]]
            matter.fresh = [Statement.load(each) for each in data["statements"]]
            matter.quotes = [Statement.load(each) for each in data.get("quotes", [])]
            if data["purpose"] == "approval":
                # what was decided about another simulation does not count for this one
                last = matter.decisions[-1].decision.simulation if matter.decisions else None
                if matter.simulation is not None and matter.simulation.digest == last:
                    matter.before = matter.approved
                matter.approved = matter.fresh
        elif event is Event.RESERVED:
            matter.nonce, matter.reservation_seq = data["nonce"], entry.seq
        elif event in {Event.DECIDED, Event.REJECTED}:
            signed = SignedDecision.load(data["signed"])
            matter.decisions.append(signed)
            self._count(signed.assertion)
        elif event is Event.RELEASED:
            matter.released_at, matter.released_cents = entry.time, data["facts"]["amount_usd_cents"]
            matter.released_under = data["policy"]
        elif event is Event.OWNER_SIGNED:
            matter.owned[data["cancels"]][entry.actor] = data["raw_tx"]
        elif event in _SIGNATURES:
            _signed(matter, data, cancels=event is Event.CANCEL_SIGNED)
        if event in _OUTCOMES:
            matter.outcome = data
        _on_chain(matter, event, data)


def _signed(matter: Matter, data: dict[str, Any], *, cancels: bool) -> None:
    """Add bytes, behind those that the co-signer says it signed before and whose answers were lost."""
    known = {each.tx_hash for each in matter.sent} | {data["tx_hash"]}
    lost = [each for each in data["answer"]["answer"]["others"] if each not in known]
    matter.sent += [Sent(tx_hash=each, raw_tx=None, cancels=False) for each in lost]
    matter.sent.append(Sent(tx_hash=data["tx_hash"], raw_tx=data["raw_tx"], cancels=cancels))


def _on_chain(matter: Matter, event: Event, data: dict[str, Any]) -> None:
    if event is Event.INCLUDED:
        matter.block, matter.mined = (data["block_number"], data["block_hash"]), data["tx_hash"]
    elif event is Event.BROADCAST:
        matter.sendings.append(Sending.load(data))
    elif event is Event.RECALLED:
        matter.recalled.add(data["tx_hash"])
    elif event is Event.NONCE_TAKEN:
        matter.taken_under = data["policy"]
    elif event is Event.SAFE:
        matter.is_safe = True
    elif event is Event.DISPLACED:
        matter.block, matter.mined, matter.is_safe, matter.turns = None, None, False, matter.turns + 1
    elif event is Event.UNEXECUTED:
        matter.block, matter.mined, matter.is_safe, matter.turns = None, None, False, matter.turns + 1
        matter.failed, matter.sent, matter.sendings = [*matter.failed, *matter.sent], [], []
    elif event is Event.DROPPED:
        matter.dropped, matter.turns = matter.dropped + 1, matter.turns + 1


_EVENTS = frozenset(event.value for event in Event)
KEY_ENTRIES = "key."
_POLICY_EVENTS = frozenset(event.value for event in PolicyEvent)
_SIGNATURES = frozenset({Event.SIGNED, Event.REPLACED, Event.CANCEL_SIGNED})
_OUTCOMES = frozenset(
    {
        Event.CONFIRMED,
        Event.REVERTED,
        Event.CANCELLED,
        Event.NONCE_TAKEN,
        Event.SIGNING_REFUSED,
        Event.EXPIRED,
    }
)


WAITING = frozenset({State.PROPOSED, State.OUTSTANDING})
"""States in which nobody has released an intent yet."""


def expired(matter: Matter, now: datetime) -> bool:
    """Whether an intent that nobody released has run out of time."""
    return matter.state in WAITING and read_time(matter.proposal.intent.expires_at) <= now
