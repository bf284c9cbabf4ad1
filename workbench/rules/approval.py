"""What a person is asked to decide, and the decision that his key press signs.

An approval request is what the service brings before a person: the proposal, the policy
sets, the attested simulation, what others said, a signed checkpoint. It is claims until
`verify` has computed everything again from the bytes, under a pinned trust root:
(1) the policy sets descend from the trust root, and the person is in the last one;
(2) the proposal is signed, and still one that this desk can carry out;
(3) the observers attest the simulation of exactly this call, and not longer ago than
    a consent may live: nobody is shown a world that is over;
(4) the checkpoint counts: the decision names a ledger that the service cannot take back;
(5) the rules are asked again, so that what is outstanding is not the service's word.
`decide` then makes the only document that this person can sign about it. The service drafts
nothing, so it cannot slip anything in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from ledger.checkpoint import CheckpointError
from ledger.trust import TrustRoot as LedgerTrustRoot
from workbench.rules import attestation, cedar, decision, execution, facts, storage, worth
from workbench.rules.assertion import CONSOLE
from workbench.rules.attestation import (
    OBSERVERS_MAX,
    Simulation,
    State,
    Statement,
    Statements,
)
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import (
    DECISIONS_MAX,
    Approvals,
    Decision,
    LedgerHead,
    SignedDecision,
    Subject,
)
from workbench.rules.documents import Digest, Document, Hex16, Name, Whole, read_time, write_time
from workbench.rules.intent import Intent, Proposal, verify_proposal
from workbench.rules.keys import Key
from workbench.rules.policy import SETS_MAX, Person, PolicySet, Proposer, verify_chain
from workbench.rules.roles import Permission
from workbench.rules.storage import HeldStates
from workbench.rules.trust import TrustRoot
from workbench.rules.worth import Worth

Verb = Literal["approve", "reject", "abstain"]

TOLERANCE_INFLOW_BPS = 10
"""How much less the fresh simulation may bring in than the one that is shown."""
ASKS = "approve"
"""An obligation `approve:ROLE:COUNT` is lifted by people; "any" is any role that may approve."""
ANYBODY = "any"


class ApprovalRequest(Document):
    """One person, one intent, and everything that there is to see before deciding.

    `before` is the simulation that the last decision was about, where a newer one has taken
    its place. The session and the day's total are the service's word: it alone remembers.
    """

    v: Literal[1]
    person: Name
    server_nonce: Digest
    proposal: Proposal
    nonce: Whole
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]
    simulations: Statements
    before: Annotated[list[Statement], Field(max_length=OBSERVERS_MAX)]
    states: HeldStates
    decisions: Annotated[list[SignedDecision], Field(max_length=DECISIONS_MAX)]
    checkpoint: Annotated[str, Field(max_length=16384)]
    session_active: bool
    daily_usd_cents: Whole
    quotes: Annotated[list[Statement], Field(max_length=worth.STATEMENTS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A verified request: what is shown, and what a decision will be about."""

    person: Person
    proposer: Proposer
    intent: Intent
    key: Key
    nonce: int
    server_nonce: str
    policy: PolicySet
    simulation: Simulation
    before: Simulation | None
    state: State
    approvals: Approvals
    decisions: Sequence[SignedDecision]
    head: LedgerHead
    worth: Worth | str | None
    facts: facts.Facts
    outstanding: cedar.Explanation

    @property
    def own(self) -> bool:
        """Whether this person proposes it, or answers for the account that does."""
        return self.person.id == self.policy.answerable(self.proposer.id)

    @property
    def roles(self) -> list[str]:
        """The roles under which this person may decide, those that are asked for first."""
        if self.own:
            return list(self.person.roles)
        held = [role for role in self.person.roles if self.policy.permits(role, Permission.APPROVE)]
        return sorted(held, key=lambda role: role not in self.asked)

    @property
    def asked(self) -> frozenset[str]:
        """Whom the rules ask for: roles by name, anybody, somebody by the second path."""
        return frozenset(parts[1] for need in self.outstanding.needs if (parts := need.split(":"))[0] == ASKS)

    @property
    def asks_person(self) -> bool:
        """Whether the rules ask for somebody like this person, here or by the second path."""
        consents = bool(self.roles) and not self.own
        return consents and bool(self.asked & {*self.roles, ANYBODY, CONSOLE})

    @property
    def verbs(self) -> list[Verb]:
        """What this person may say: who proposes, or answers for it, can only withdraw."""
        if self.own:
            return ["reject"]
        return ["approve", "reject", "abstain"]


def verify(request: ApprovalRequest, *, trust_root: TrustRoot, now: datetime) -> Asked:
    """Verify everything that a request says, or refuse.

    Raises:
        RefusedError: with the reason of the first part that does not verify.

    """
    sets = [PolicySet.load(value, at="/policy_chain") for value in request.policy_chain]
    policy = verify_chain(sets, trust_root=trust_root, now=now)  # (1)
    person = policy.person(request.person)
    verify_proposal(request.proposal, policy=policy, trust_root=trust_root, now=now)  # (2)
    intent = request.proposal.intent
    execution.verify_proposable(intent, policy)
    key, call = policy.key(intent.key), execution.simulated(intent, policy)

    def simulated(statements: Sequence[Statement], age_s_max: int) -> Simulation:
        return attestation.verify_simulation(
            statements,
            intent=intent,
            call=call,
            trust_root=trust_root,
            now=now,
            age_s_max=age_s_max,
        )

    age = policy.limits.decision_life_s_max
    simulation = simulated(request.simulations, age)  # (3)
    before = simulated(request.before, policy.limits.intent_life_s_max) if request.before else None
    state = storage.verify_held(request.states, trust_root=trust_root, now=now, age_s_max=age)
    approvals = decision.count(
        [signed for signed in request.decisions if signed.decision.verb != "reject"],
        subject=Subject(
            intent=intent.digest, nonce=request.nonce, simulation=simulation.digest, proposer=intent.proposer
        ),
        policy=policy,
        trust_root=trust_root,
        now=now,
    )
    head = _head(request.checkpoint, trust_root)  # (4)
    weighed = _weigh(request, simulation, policy, trust_root, now)
    known = facts.compute(
        facts.Given(
            intent=intent,
            policy=policy,
            transaction=execution.unsigned(intent, policy, nonce=request.nonce),
            reserved_nonce=request.nonce,
            state=state,
            approved=simulation,
            fresh=simulation,
            approvals=approvals,
            now=now,
            worth=weighed if isinstance(weighed, Worth) else None,
        )
    )
    known |= {"session_active": request.session_active, "daily_usd_cents": request.daily_usd_cents}
    proposer = policy.proposer(intent.proposer)
    return Asked(
        person=person,
        proposer=proposer,
        intent=intent,
        key=key,
        nonce=request.nonce,
        server_nonce=request.server_nonce,
        policy=policy,
        simulation=simulation,
        before=before,
        state=state,
        approvals=approvals,
        decisions=request.decisions,
        head=head,
        worth=weighed,
        facts=known,
        outstanding=cedar.explain(policy, "release", proposer=proposer, key=key, facts=known),  # (5)
    )


def decide(
    asked: Asked, *, verb: Verb, role: str, reason: str, decision_id: Hex16, now: datetime
) -> Decision:
    """Return the decision that the person of a verified request would sign, or refuse.

    It lives no longer than the policy set allows, and no longer than its intent.
    """
    if verb not in asked.verbs:
        own = asked.person.id == asked.proposer.id
        code = Refusal.DECISION_BY_PROPOSER if own else Refusal.DECISION_BY_OWNER
        raise RefusedError(code, f"{asked.person.id} answers for this proposal", path="/verb")
    if role not in asked.roles:
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{asked.person.id} is no {role} here", path="/role")
    if verb != "approve" and not reason.strip():
        raise RefusedError(Refusal.MALFORMED, "who does not consent says why", path="/reason")
    life = timedelta(seconds=asked.policy.limits.decision_life_s_max)
    return Decision.load(
        {
            "v": 1,
            "id": decision_id,
            "verb": verb,
            "intent": asked.intent.digest,
            "nonce": asked.nonce,
            "policy": asked.policy.digest,
            "simulation": asked.simulation.digest,
            "tolerance": {"inflow_bps": TOLERANCE_INFLOW_BPS},
            "ledger": asked.head.dump(),
            "person": asked.person.id,
            "role": role,
            "proposer": asked.intent.proposer,
            "reason": reason,
            "server_nonce": asked.server_nonce,
            "expires_at": write_time(min(now + life, read_time(asked.intent.expires_at))),
        }
    )


def _weigh(
    request: ApprovalRequest, simulation: Simulation, policy: PolicySet, trust_root: TrustRoot, now: datetime
) -> Worth | str | None:
    """(5) Return what the exchange is worth, or why nobody can say it: that is for the person to see, too."""
    try:
        return worth.weigh(
            request.proposal.intent,
            simulation,
            request.quotes,
            policy=policy,
            trust_root=trust_root,
            now=now,
            age_s_max=policy.limits.decision_life_s_max,
        )
    except RefusedError as error:
        return error.detail


def _head(note: str, trust_root: TrustRoot) -> LedgerHead:
    try:
        checkpoint = LedgerTrustRoot.parse(trust_root.canonical()).verify(note)
    except CheckpointError as error:
        raise RefusedError(Refusal.CHECKPOINT, str(error), path="/checkpoint") from error
    return LedgerHead(size=checkpoint.size, root=checkpoint.root.hex(), h=checkpoint.chain.hex())
