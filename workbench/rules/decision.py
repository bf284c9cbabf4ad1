"""Decisions: what a person said of an intent, and which of them count as approvals.

A decision document names everything the person could see: the intent, the nonce, the
policy set, the simulation with its tolerance, the ledger head. The assertion signs its
digest. An approval counts when its person is in the policy set under the role it names,
is neither the proposer nor the owner of the service account that proposes, has not been
counted, pressed a key for the approval path, and the document is about exactly this intent,
nonce, policy set and simulation, unexpired.

What does not count is skipped and named, never fatal: otherwise anyone able to attach a
bad approval could veto a good quorum. A valid rejection, though, ends the matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from workbench.rules.assertion import APPROVAL, CONSOLE, Assertion, verify_press
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex16, Name, Said, Time, Whole, digest, read_time
from workbench.rules.policy import PolicySet
from workbench.rules.roles import Permission
from workbench.rules.trust import TrustRoot

DECISION_LINE = "oms-decision/v1"
DECISIONS_MAX = 32
SKEW_S = 30
"""Whoever drafts a decision may be this far ahead of our clock."""


class LedgerHead(Document):
    """The ledger as the person's screen knew it."""

    size: Whole
    root: Digest
    h: Digest


class Tolerance(Document):
    """How far the state at signing may differ from what was approved: inflows, in bps."""

    inflow_bps: Annotated[int, Field(ge=0, le=10_000)]


class Decision(Document):
    """What the assertion signs."""

    v: Literal[1]
    id: Hex16
    verb: Literal["approve", "reject", "abstain"]
    intent: Digest
    nonce: Whole
    policy: Digest
    simulation: Digest
    tolerance: Tolerance
    ledger: LedgerHead
    person: Name
    role: Name
    proposer: Name
    reason: Said
    server_nonce: Digest
    expires_at: Time

    @property
    def challenge(self) -> bytes:
        """What the assertion signs; in hex it names the decision."""
        return digest(DECISION_LINE, self.canonical())


class SignedDecision(Document):
    """A decision and the assertion over it."""

    decision: Decision
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a decision must be about in order to count."""

    intent: str
    nonce: int
    simulation: str
    proposer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """Who counts, under which role; and why the others do not.

    `skipped` is for people's eyes: a courier can repeat or bend a decision under the id of one
    that counts. What is to be looked at is `counted`.
    """

    roles: Mapping[str, str]
    counted: Sequence[SignedDecision]
    consoles: int
    skipped: Mapping[str, Refusal]
    tolerance_inflow_bps: int

    def holding(self, role: str) -> int:
        """Return how many counted under this role."""
        return sum(held == role for held in self.roles.values())


def verify_decision(
    signed: SignedDecision, *, subject: Subject, policy: PolicySet, trust_root: TrustRoot, now: datetime
) -> None:
    """Verify that a person made this decision about this subject, whatever its verb."""
    decision = signed.decision
    expires = read_time(decision.expires_at)
    latest = now + timedelta(seconds=policy.limits.decision_life_s_max + SKEW_S)
    checks = (
        (decision.intent == subject.intent, Refusal.DECISION_OTHER_INTENT),
        (decision.nonce == subject.nonce, Refusal.DECISION_OTHER_NONCE),
        # consent given under a superseded policy set is consent to other rules
        (decision.policy == policy.digest, Refusal.DECISION_OTHER_POLICY),
        (decision.simulation == subject.simulation, Refusal.DECISION_OTHER_SIMULATION),
        (decision.proposer == subject.proposer, Refusal.DECISION_OTHER_INTENT),
        (decision.tolerance.inflow_bps <= policy.limits.tolerance_inflow_bps_max, Refusal.TOLERANCE),
        # consent without an end would be consent to whatever the world is then
        (now < expires <= latest, Refusal.EXPIRED),
    )
    for passed, code in checks:
        if not passed:
            raise RefusedError(code, f"decision {decision.id} of {decision.person}")
    person = policy.person(decision.person)
    # a proposer may withdraw; otherwise who cannot consent cannot refuse either
    consents = policy.permits(decision.role, Permission.APPROVE)
    if decision.verb == "reject" and person.id != policy.answerable(subject.proposer) and not consents:
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"a {decision.role} rejects nothing")
    if decision.role not in person.roles:
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{person.id} does not hold {decision.role}")
    check_assertion(signed, policy=policy, trust_root=trust_root)


def verify_withdrawal(
    signed: SignedDecision,
    *,
    intent: str,
    nonce: int,
    proposer: str,
    policy: PolicySet,
    trust_root: TrustRoot,
    now: datetime,
) -> None:
    """Verify that somebody entitled says no to an intent that is signed: whichever simulation he saw."""
    if signed.decision.verb != "reject":
        raise RefusedError(Refusal.DECISION_NOT_APPROVAL, f"{signed.decision.person} rejects nothing")
    subject = Subject(intent=intent, nonce=nonce, simulation=signed.decision.simulation, proposer=proposer)
    verify_decision(signed, subject=subject, policy=policy, trust_root=trust_root, now=now)


def check_assertion(signed: SignedDecision, *, policy: PolicySet, trust_root: TrustRoot) -> None:
    """Verify that the decision's person pressed a key for exactly this decision."""
    person = policy.person(signed.decision.person)
    verify_press(
        signed.assertion,
        person.credentials,
        person=person.id,
        challenge=signed.decision.challenge,
        trust_root=trust_root,
    )


def path_of(signed: SignedDecision, policy: PolicySet) -> str:
    """Return where a decision says it was signed: by which of its person's credentials."""
    credentials = policy.person(signed.decision.person).credentials
    named = (each.path for each in credentials if each.id == signed.assertion.credential)
    return CONSOLE if next(named, "") == CONSOLE else APPROVAL


def verify_approval(
    signed: SignedDecision, *, subject: Subject, policy: PolicySet, trust_root: TrustRoot, now: datetime
) -> None:
    """Verify that this decision is an approval that may count."""
    if signed.decision.verb != "approve":
        raise RefusedError(
            Refusal.DECISION_NOT_APPROVAL, f"{signed.decision.person} said {signed.decision.verb}"
        )
    if signed.decision.person == subject.proposer:
        raise RefusedError(Refusal.DECISION_BY_PROPOSER, f"{subject.proposer} approves what he proposed")
    # a program of one's own is no second pair of eyes
    if signed.decision.person == policy.answerable(subject.proposer):
        raise RefusedError(
            Refusal.DECISION_BY_OWNER, f"{signed.decision.person} answers for {subject.proposer}"
        )
    if not policy.permits(signed.decision.role, Permission.APPROVE):
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"a {signed.decision.role} approves nothing")
    verify_decision(signed, subject=subject, policy=policy, trust_root=trust_root, now=now)


def count(
    decisions: Sequence[SignedDecision],
    *,
    subject: Subject,
    policy: PolicySet,
    trust_root: TrustRoot,
    now: datetime,
) -> Approvals:
    """Return who approves; refuse when somebody entitled to has rejected."""
    if len(decisions) > DECISIONS_MAX:
        raise RefusedError(Refusal.DECISION_LIMIT, f"{len(decisions)} decisions, at most {DECISIONS_MAX}")
    roles: dict[str, str] = {}
    skipped: dict[str, Refusal] = {}
    counted: list[SignedDecision] = []
    tolerances = []
    # A person's first word counts, in whichever order the courier brings them.
    for signed in sorted(decisions, key=_drafted):
        decision = signed.decision
        verify = verify_decision if decision.verb == "reject" else verify_approval
        try:
            verify(signed, subject=subject, policy=policy, trust_root=trust_root, now=now)
        except RefusedError as refusal:
            skipped[decision.id] = refusal.code
            continue
        if decision.verb == "reject":
            raise RefusedError(Refusal.REJECTED, f"{decision.person}: {decision.reason}")
        # of whatever somebody consented to, also twice
        tolerances.append(decision.tolerance.inflow_bps)
        if decision.person in roles:
            skipped[decision.id] = Refusal.DECISION_REPEATED
            continue
        roles[decision.person] = decision.role
        counted.append(signed)
    # the strictest of those who approve binds everybody
    return Approvals(
        roles=roles,
        counted=counted,
        consoles=sum(path_of(signed, policy) == CONSOLE for signed in counted),
        skipped=skipped,
        tolerance_inflow_bps=min(tolerances, default=0),
    )


def _drafted(signed: SignedDecision) -> tuple[str, bytes]:
    return signed.decision.expires_at, signed.canonical()
