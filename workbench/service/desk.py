"""What the service does for people: steps (1), (2) and (3), and driving the rest.

(1) initiation: a proposal is verified and recorded; its digest names it for ever
(2) policy: facts, the rules' answer and what is outstanding; a nonce is reserved in the lane
(3) approval: people are asked, sign their decisions at their authenticators, and these are recorded

One lock stands around everything that writes. What a peer must answer first (simulation,
signature, broadcast) happens under it too: the service serves one desk, and an order of
events that can be read from the ledger is worth more than speed here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ledger import checkpoint as notes
from workbench.rules import attestation, cedar, decision, execution, facts, roles, storage, worth
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, LedgerHead, SignedDecision, Subject
from workbench.rules.documents import read_time, write_time
from workbench.rules.execution import unsigned
from workbench.rules.intent import Intent, Proposal, outflows, verify_moves, verify_proposal
from workbench.rules.lifecycle import FINAL, PROPOSED_EVENT, Event, State, free_nonce
from workbench.rules.session import CertifiedSession
from workbench.rules.storage import Held
from workbench.rules.worth import Worth
from workbench.service import confirming, looking, releasing
from workbench.service.books import WAITING, Matter, expired
from workbench.service.lane import SERVICE, Lane, ready
from workbench.service.pending import Pending, frozen, held_up, require_going, stopped
from workbench.service.sessions import Sessions
from workbench.service.tickets import Ticket, Tickets

DAY = timedelta(hours=24)
BUSY_S = 5.0
OPEN_PER_PROPOSER_MAX = 16
"""Reserved and unsigned intents hold nonces that others wait for."""


@dataclass(slots=True)
class Desk:
    """The lane, the sessions, and the tickets under which people look and decide."""

    lane: Lane
    sessions: Sessions
    tickets: Tickets = field(default_factory=Tickets)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pending: Pending = field(init=False)

    def __post_init__(self) -> None:
        """Take up what waits for a block."""
        self._pending = Pending(self.lane, self._still_approved)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, or say that the desk is busy: a peer that hangs must not take everybody along."""
        if not self._lock.acquire(timeout=BUSY_S):
            raise RefusedError(Refusal.UNAVAILABLE, f"the desk is busy for over {BUSY_S:.0f} s; ask again")
        try:
            yield
        finally:
            self._lock.release()

    def propose(self, proposal: Proposal, speaker: CertifiedSession) -> dict[str, Any]:
        """(1) Verify and record a proposal of a session's own; the same bytes again are the same proposal."""
        session = proposal.session
        if session is None or session.session.digest != speaker.session.digest:
            raise RefusedError(Refusal.SESSION_FOREIGN, "a proposal of another session", path="/session")
        return self._propose(proposal)

    def propose_as(self, account: str, proposal: Proposal) -> dict[str, Any]:
        """(1) Verify and record a proposal of the service account that brings it."""
        if proposal.session is not None:
            raise RefusedError(Refusal.SESSION_FOREIGN, f"{account} brings a session's word", path="/session")
        if proposal.intent.proposer != account:
            raise RefusedError(
                Refusal.SESSION_FOREIGN, f"{account} proposes as {proposal.intent.proposer}", path="/proposer"
            )
        return self._propose(proposal)

    def _propose(self, proposal: Proposal) -> dict[str, Any]:
        with self.held():
            lane, intent = self.lane, proposal.intent
            if intent.digest not in lane.books.matters:
                verify_proposal(proposal, policy=lane.policy, trust_root=lane.trust_root, now=lane.clock())
                execution.verify_proposable(intent, lane.policy)
                lane.crash.reached("1")
                receipt = lane.recorder.append(
                    PROPOSED_EVENT, intent.id, proposal.dump(), actor=intent.proposer, subject=intent.digest
                )
                lane.books.enter(next(lane.recorder.ledger.entries(receipt.seq, receipt.seq)))
            return self.view(intent.digest)

    def simulate(self, digest: str, sequence: Sequence[str], speaker: CertifiedSession) -> dict[str, Any]:
        """(3) Have an intent simulated, alone or as part of a sequence."""
        with self.held():
            matter = self._open(digest)
            self._concerned(matter, speaker)
            if len(set(sequence)) != len(sequence):
                raise RefusedError(Refusal.MALFORMED, "a sequence of distinct intents", path="/sequence")
            if digest not in sequence:
                raise RefusedError(Refusal.MALFORMED, "the sequence leaves this intent out", path="/sequence")
            if matter.state not in {State.PROPOSED, State.OUTSTANDING}:
                raise RefusedError(Refusal.STATE, f"simulating while {matter.state.value}")
            actor = speaker.session.person
            releasing.simulate(self.lane, digest, step=3, purpose="approval", sequence=sequence, actor=actor)
            return self.view(digest)

    def ask(self, digest: str, speaker: CertifiedSession) -> dict[str, Any]:
        """(2) (3) Reserve the nonce if none is, and return a ticket for this person's look at the intent."""
        with self.held():
            lane, matter = self.lane, self._open(digest)
            self._concerned(matter, speaker)
            if matter.simulation is None:
                raise RefusedError(Refusal.FACT_MISSING, "no simulation to decide about", path="/simulation")
            if matter.state is State.PROPOSED:
                self._reserve(digest, matter)
            self._decidable(matter)
            session = speaker.session
            ticket = self.tickets.issue(
                person=session.person, session=session.digest, about=digest, now=lane.clock()
            )
            return {"ticket": ticket.name, "expires_at": write_time(ticket.until)}

    def request(self, name: str) -> dict[str, Any]:
        """(3) Return everything that the holder of a ticket is to see before he decides."""
        with self.held():
            lane, ticket = self.lane, self.ticket(self.tickets, name)
            matter = self._open(ticket.about)
            self._decidable(matter)
            note = lane.recorder.checkpoint()
            head = notes.split(note)[0]
            ticket.show(LedgerHead(size=head.size, root=head.root.hex(), h=head.chain.hex()))
            known = self._facts(ticket.about, matter, lane.clock())
            return {
                "v": 1,
                "person": ticket.person,
                "server_nonce": ticket.server_nonce,
                "proposal": matter.proposal.dump(),
                "nonce": matter.nonce,
                "policy_chain": [policy.dump() for policy in lane.policies],
                "simulations": [each.dump() for each in matter.approved],
                "before": [each.dump() for each in matter.before],
                "states": [each.dump() for each in matter.attested],
                "decisions": [signed.dump() for signed in matter.decisions],
                "checkpoint": note,
                "session_active": known["session_active"],
                "daily_usd_cents": known["daily_usd_cents"],
                "quotes": [each.dump() for each in matter.quotes],
            }

    def answer(self, name: str, signed: SignedDecision) -> dict[str, Any]:
        """(3) Take the decision that the holder of a ticket brings."""
        with self.held():
            ticket = self.ticket(self.tickets, name)
            return self.decide(ticket.about, signed, person=ticket.person)

    def decide(self, digest: str, signed: SignedDecision, *, person: str) -> dict[str, Any]:
        """(3) Verify and record a decision that this person brings, and go on as far as it leads."""
        with self.held():
            lane, matter = self.lane, self._open(digest)
            made = signed.decision
            self._decidable(matter, verb=made.verb)
            if len(matter.decisions) >= decision.DECISIONS_MAX:
                raise RefusedError(Refusal.DECISION_LIMIT, f"{len(matter.decisions)} decisions already")
            if made.person != person:
                raise RefusedError(Refusal.SESSION_FOREIGN, f"{person} brings {made.person}'s decision")
            verify = decision.verify_approval if made.verb == "approve" else decision.verify_decision
            verify(
                signed,
                subject=self._subject(digest, matter),
                policy=lane.policy,
                trust_root=lane.trust_root,
                now=lane.clock(),
            )
            if made.person in self._spoken(digest, matter):
                raise RefusedError(Refusal.DECISION_REPEATED, f"{made.person} has decided already")
            self.tickets.spend(made, now=lane.clock())
            self.sessions.credentials.admit(signed.assertion, person=made.person)
            lane.crash.reached("3")
            event = Event.REJECTED if made.verb == "reject" else Event.DECIDED
            lane.enter(event, digest, {"signed": signed.dump()}, actor=made.person, name=made.id)
            if matter.state is State.BROADCAST:
                return self.view(digest)  # the next turn cancels: what a peer says to it is no word on this
            if event is Event.DECIDED:
                self._try_release(digest)
            return self.resume(digest)

    def resume(self, digest: str) -> dict[str, Any]:
        """Take an intent as far as it can go now: release, (4), (5), (6)."""
        with self.held():
            matter = self.lane.books.matter(digest)
            self._expire(digest, matter)
            if matter.state is State.OUTSTANDING:
                self._try_release(digest)
            if matter.state is State.APPROVED and (self._over(matter) or self._may_go_on(matter)):
                # an expired intent goes as it is: the co-signer's refusal ends it
                if not self._over(matter):
                    self._refresh(digest, matter)
                releasing.sign(self.lane, digest)
            if matter.state is State.SIGNED:
                releasing.broadcast(self.lane, digest)
            if matter.state in {State.BROADCAST, State.INCLUDED}:
                newest = confirming.confirm(self.lane, digest)
                if matter.state is State.BROADCAST and self._pending.step(digest, newest):
                    confirming.confirm(self.lane, digest)
                if matter.state is not State.BROADCAST:
                    self._pending.forget(digest)
            return self.view(digest)

    def unfinished(self) -> list[str]:
        """Return the intents that a restart must take up again."""
        return [digest for digest, matter in list(self.lane.books.matters.items()) if ready(matter)]

    def expire(self) -> None:
        """Let every intent end whose time has run out: its nonce is free again."""
        with self.held():
            for digest, matter in list(self.lane.books.matters.items()):
                self._expire(digest, matter)

    def view(self, digest: str) -> dict[str, Any]:
        """Return what there is to say of an intent: for people, not for machines that decide."""
        matter = self.lane.books.matter(digest)
        intent = matter.proposal.intent
        explained = self._explain(digest, matter)
        return {
            "digest": digest,
            "state": matter.state.value,
            "intent": intent.dump(),
            "nonce": matter.nonce,
            "simulations": [each.dump() for each in matter.approved],
            "quotes": [each.dump() for each in matter.quotes],
            "denying": list(explained.denying),
            "needs": list(explained.needs),
            "missing": list(explained.missing),
            "decisions": [signed.dump() for signed in matter.decisions],
            "void": self._void(digest, matter),
            "waits_for_nonces": self._unmined_before(matter) if matter.state is State.APPROVED else [],
            "lane": self._lane_says(matter),
            "tx_hash": matter.tx_hash,
            "outcome": matter.outcome,
            "entry_seq": matter.seq,
        }

    def void(self) -> list[tuple[str, Decision]]:
        """Return every decision that has lost its object, with the intent that it was about."""
        found = []
        for digest, matter in list(self.lane.books.matters.items()):
            lost = self._void(digest, matter)
            found += [(digest, each.decision) for each in matter.decisions if each.decision.id in lost]
        return found

    def ticket(self, tickets: Tickets, name: str) -> Ticket:
        """Return an open ticket whose session still lives."""
        ticket = tickets.find(name, now=self.lane.clock())
        if not self.sessions.active(ticket.session):
            raise RefusedError(Refusal.SESSION_ENDED, "the session that asked has ended")
        return ticket

    def _decidable(self, matter: Matter, *, verb: str = "reject") -> None:
        """Refuse where no decision leads on: what is sent can still be rejected, and is cancelled then."""
        if matter.state is not State.OUTSTANDING and (matter.state, verb) != (State.BROADCAST, "reject"):
            raise RefusedError(Refusal.STATE, f"a decision while {matter.state.value}")

    def _explain(self, digest: str, matter: Matter) -> cedar.Explanation:
        """Say what is outstanding; who proposed, or the key, may be gone from the set in force."""
        policy, intent = self.lane.policy, matter.proposal.intent
        name = intent.proposer
        proposer = policy.people.get(name) or policy.service_accounts.get(name)
        key = policy.keys.get(intent.key)
        if proposer is None or key is None:
            gone = "proposer" if proposer is None else "key"
            return cedar.Explanation(denying=(), needs=("propose:again",), missing=(gone,))
        known = self._facts(digest, matter, self.lane.clock())
        return cedar.explain(policy, "release", proposer=proposer, key=key, facts=known)

    def _void(self, digest: str, matter: Matter) -> dict[str, str]:
        """Return the decisions that have lost their object before the signature, and why."""
        if matter.state not in {State.OUTSTANDING, State.APPROVED} or not matter.decisions:
            return {}
        subject, policy = self._subject(digest, matter), self.lane.policy.digest
        lost: dict[str, str] = {}
        for made in (signed.decision for signed in matter.decisions):
            if made.policy != policy:
                lost[made.id] = Refusal.DECISION_OTHER_POLICY.value
            elif made.simulation != subject.simulation:
                lost[made.id] = Refusal.DECISION_OTHER_SIMULATION.value
        return lost

    def _concerned(self, matter: Matter, speaker: CertifiedSession) -> None:
        """Refuse who neither answers for it nor may approve: a new simulation or a draft has consequences."""
        person = speaker.session.person
        if person != self.lane.policy.answerable(matter.proposal.intent.proposer):
            roles.require(
                self.lane.policy.roles, speaker.session.roles, [roles.Permission.APPROVE], person=person
            )

    def _may_go_on(self, matter: Matter) -> bool:
        """Whether the lane goes on, and everything below the intent's nonce is mined."""
        intent = matter.proposal.intent
        if stopped(self.lane, intent.key, intent.chain_id) or held_up(self.lane, intent.key, intent.chain_id):
            return False
        if matter.nonce is None:
            return True
        return looking.account_nonce(self.lane, matter, looking.look(self.lane, matter)) >= matter.nonce

    def _lane_says(self, matter: Matter) -> str:
        """Say why nothing is signed in the lane of an intent that is not at its end."""
        intent = matter.proposal.intent
        if matter.state in FINAL - {State.TAKEN}:
            return ""
        return stopped(self.lane, intent.key, intent.chain_id) or frozen(
            self.lane, intent.key, intent.chain_id, now=self.lane.clock()
        )

    def _still_approved(self, digest: str) -> bool:
        """Whether people's consent to a released intent counts today: bytes that pay more need it, too."""
        lane, matter = self.lane, self.lane.books.matter(digest)
        try:
            counted = decision.count(
                matter.decisions,
                subject=self._subject(digest, matter),
                policy=lane.policy,
                trust_root=lane.trust_root,
                now=lane.clock(),
            )
        except RefusedError:
            return False
        return bool(counted.roles)

    def _over(self, matter: Matter) -> bool:
        return read_time(matter.proposal.intent.expires_at) <= self.lane.clock()

    def _unmined_before(self, matter: Matter) -> list[int]:
        """Return the lane's lower nonces that are not mined: co-signers sign an account's next one only."""
        intent = matter.proposal.intent
        if matter.nonce is None or intent.key not in self.lane.policy.keys:
            return []
        mined = self.lane.books.mined_nonces(intent.key, intent.chain_id)
        return [nonce for nonce in range(self._spent(matter), matter.nonce) if nonce not in mined]

    def _spent(self, matter: Matter) -> int:
        """Return the account's next nonce as it was when the intent was last looked at."""
        if not matter.attested:
            raise RefusedError(Refusal.FACT_MISSING, "no proven account to take a nonce from", path="/state")
        state = self._state(matter.attested, self.lane.clock())
        return execution.next_nonce(state, self.lane.policy.key(matter.proposal.intent.key))

    def _open(self, digest: str) -> Matter:
        matter = self.lane.books.matter(digest)
        self._expire(digest, matter)
        return matter

    def _expire(self, digest: str, matter: Matter) -> None:
        """End what has run out, and what its key may not do any more: it would hold a nonce for nothing."""
        data = {"expires_at": matter.proposal.intent.expires_at}
        if expired(matter, self.lane.clock()):
            self.lane.enter(Event.EXPIRED, digest, data, actor=SERVICE)
        elif matter.state in WAITING:
            try:
                verify_moves(matter.proposal.intent, self.lane.policy)
            except RefusedError as refused:
                self.lane.enter(Event.EXPIRED, digest, data | {"reason": refused.code.value}, actor=SERVICE)

    def _reserve(self, digest: str, matter: Matter) -> None:
        """(2) Give the intent the lowest free nonce of its key's lane, and let a checkpoint hold that."""
        lane, intent = self.lane, matter.proposal.intent
        require_going(lane, intent.key, intent.chain_id)
        waiting = lane.books.waiting(intent.proposer)
        if waiting >= OPEN_PER_PROPOSER_MAX:
            raise RefusedError(
                Refusal.OWN_LIMIT, f"{waiting} intents of {intent.proposer} hold a nonce already"
            )
        spent = self._spent(matter)
        amounts = [{"asset": asset, "amount": amount} for asset, amount in outflows(intent)]
        data = {
            "v": 1,
            "intent": digest,
            "key": intent.key,
            "chain_id": intent.chain_id,
            "nonce": free_nonce(spent, lane.books.held_nonces(intent.key, intent.chain_id)),
            "amounts": amounts,
        }
        lane.enter(Event.RESERVED, digest, data, actor=SERVICE)
        lane.recorder.checkpoint()
        lane.crash.reached("2")

    def _subject(self, digest: str, matter: Matter) -> Subject:
        simulation = matter.simulation
        if simulation is None or matter.nonce is None:
            raise RefusedError(Refusal.FACT_MISSING, "neither simulated nor reserved")
        return Subject(
            intent=digest,
            nonce=matter.nonce,
            simulation=simulation.digest,
            proposer=matter.proposal.intent.proposer,
        )

    def _spoken(self, digest: str, matter: Matter) -> set[str]:
        """Return who has had his word; who approved may still withdraw it from what waits for a block."""
        current = self._current(digest, matter)
        if matter.state is State.BROADCAST:
            current = [signed for signed in current if signed.decision.verb == "reject"]
        return {signed.decision.person for signed in current}

    def _current(self, digest: str, matter: Matter) -> list[SignedDecision]:
        subject = self._subject(digest, matter)
        about = (subject.simulation, self.lane.policy.digest)
        return [
            signed
            for signed in matter.decisions
            if (signed.decision.simulation, signed.decision.policy) == about
        ]

    def _try_release(self, digest: str) -> None:
        """(3) Release the intent when the rules say yes to fresh facts; otherwise it stays outstanding."""
        lane, matter = self.lane, self.lane.books.matter(digest)
        proposer = lane.policy.proposer(matter.proposal.intent.proposer)
        key = lane.policy.key(matter.proposal.intent.key)
        known = self._facts(digest, matter, lane.clock())
        explained = cedar.explain(lane.policy, "release", proposer=proposer, key=key, facts=known)
        # ages are lifted by a fresh look; anything else is somebody's to do first
        if set(explained.denying) - {"simulation.fresh"}:
            return
        self._refresh(digest, matter)
        known = self._facts(digest, matter, lane.clock())
        verdict = cedar.evaluate(lane.policy, "release", proposer=proposer, key=key, facts=known)
        if not verdict.allowed:
            return
        data = {"facts": known, "policy": lane.policy.digest}
        lane.enter(Event.RELEASED, digest, data, actor=SERVICE)

    def _refresh(self, digest: str, matter: Matter) -> None:
        """(4) Simulate again, alone, and prove the state again: approval was a while ago."""
        if matter.state is State.OUTSTANDING or self._stale(matter):
            releasing.simulate(self.lane, digest, step=4, purpose="signing", sequence=[digest], actor=SERVICE)
        # an absent price refuses here, by its pair and sources: a co-signer's refusal would end the intent
        self._weigh(matter, self.lane.clock())

    def _stale(self, matter: Matter) -> bool:
        limits, now = self.lane.policy.limits, self.lane.clock()
        # half of what the co-signer admits: the evidence must still be fresh when it arrives
        simulated = Simulation.load(matter.fresh[0].document) if matter.fresh else None
        if simulated is None or self._spent(matter) != matter.nonce:
            return True
        return facts.age_s(now, read_time(simulated.at)) * 2 > min(
            limits.simulation_age_s_max, limits.attestation_age_s_max
        )

    def _facts(self, digest: str, matter: Matter, now: datetime) -> dict[str, int | bool]:
        lane, intent = self.lane, matter.proposal.intent
        approvals = None
        if matter.nonce is not None and matter.simulation is not None:
            approvals = decision.count(
                [signed for signed in matter.decisions if signed.decision.verb != "reject"],
                subject=self._subject(digest, matter),
                policy=lane.policy,
                trust_root=lane.trust_root,
                now=now,
            )
        given = facts.Given(
            intent=intent,
            policy=lane.policy,
            transaction=None if matter.nonce is None else unsigned(intent, lane.policy, nonce=matter.nonce),
            reserved_nonce=matter.nonce,
            state=self._state(matter.attested, now) if matter.attested else None,
            approved=self._simulation(matter.approved, intent) if matter.approved else None,
            fresh=self._simulation(matter.fresh, intent) if matter.fresh else None,
            approvals=approvals,
            now=now,
            worth=self._worth(matter, now),
        )
        computed = facts.compute(given)
        computed["session_active"] = self._speaks(matter.proposal, now)
        # a person and his programs have one day together: splitting must not buy a way round, nor must a
        # set without the program, which comes at once
        person = lane.policy.answerable(intent.proposer)
        before = lane.books.released_cents(
            lane.policy.answered_for(intent.proposer),
            since=now - DAY,
            under={policy.digest: policy.answered_for(person) for policy in lane.policies},
        )
        computed["daily_usd_cents"] = min(before + int(computed["amount_usd_cents"]), facts.CENTS_MAX)
        return computed

    def _worth(self, matter: Matter, now: datetime) -> Worth | None:
        """Return what the exchange is worth; what nobody can say is an absent fact."""
        try:
            return self._weigh(matter, now)
        except RefusedError:
            return None

    def _weigh(self, matter: Matter, now: datetime) -> Worth | None:
        if not matter.fresh:
            return None
        intent = matter.proposal.intent
        return worth.weigh(
            intent,
            self._simulation(matter.fresh, intent),
            matter.quotes,
            policy=self.lane.policy,
            trust_root=self.lane.trust_root,
            now=now,
            age_s_max=looking.ANY_AGE_S,
        )

    def _speaks(self, proposal: Proposal, now: datetime) -> bool:
        """Whether the proposer's word still holds: his session goes on, or the account's time is not over."""
        if proposal.session is not None:
            return self.sessions.carried_on(proposal.session.session.digest)
        account = self.lane.policy.service_accounts.get(proposal.intent.proposer)
        return account is not None and read_time(account.expires_at) > now

    def _state(self, attested: Sequence[Held], now: datetime) -> attestation.State:
        # age is a fact that the rules judge; here the signature and the proofs are what counts
        return storage.verify_held(
            attested, trust_root=self.lane.trust_root, now=now, age_s_max=looking.ANY_AGE_S
        )

    def _simulation(self, statements: Sequence[Statement], intent: Intent) -> Simulation:
        return attestation.verify_simulation(
            statements,
            intent=intent,
            call=execution.simulated(intent, self.lane.policy),
            trust_root=self.lane.trust_root,
            now=self.lane.clock(),
            age_s_max=looking.ANY_AGE_S,
        )
