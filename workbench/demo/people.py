"""The demo world's people at their authenticators: log in, look, decide.

Each looks for himself: the simulation's signature under the trust root, the call decoded
with the whitelist entry, the state diff against what was declared. That is what a person
does on the approval page; here a rule of thumb stands for his judgement.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from workbench import client
from workbench.client import Client, IntentView
from workbench.demo import charter
from workbench.rules import approval, attestation, calls, execution, facts
from workbench.rules.approval import Verb
from workbench.rules.assertion import APPROVAL, CONSOLE
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision
from workbench.rules.documents import digest, printable
from workbench.rules.policy import PolicySet, Signature
from workbench.rules.session import SESSION_LINE, CertifiedSession, Session
from workbench.rules.trust import RelyingParty, TrustRoot

LOOK_BACK_S = 900


class AnotherDocumentError(Exception):
    """The service handed out another document than the one that was asked for."""


@dataclass(slots=True)
class Officer:
    """A person, the folder of software authenticators, and a session of the person's own."""

    id: str
    folder: Path
    policy: PolicySet
    trust_root: TrustRoot
    speaks: Client

    @classmethod
    def log_in(
        cls, person: str, *, folder: Path, socket: Path, policy: PolicySet, trust_root: TrustRoot
    ) -> Self:
        """Make a session key and certify it with the person's login credential."""
        key, session = client.open_login(socket, person)
        certified = sign_login(
            session, person=person, folder=folder, socket=socket, policy=policy, party=trust_root.login
        )
        return cls(person, folder, policy, trust_root, Client(socket, key, certified))

    def decide(self, intent: str, *, verb: Verb, role: str, reason: str) -> IntentView:
        """Ask what there is to decide, verify it, sign the decision that follows from it, hand it in."""
        return self.speaks.decide(self.sign(self.decision(intent, verb=verb, role=role, reason=reason)))

    def decision(self, intent: str, *, verb: Verb, role: str, reason: str) -> Decision:
        """Return the decision that this person would sign, made from what was verified."""
        now = datetime.now(UTC)
        request = client.asked(self.speaks.service, self.speaks.ask(intent).ticket)
        asked = approval.verify(request, trust_root=self.trust_root, now=now)
        # the service must not slip another document under the finger
        if (asked.intent.digest, asked.person.id) != (intent, self.id):
            raise AnotherDocumentError(f"asked about {intent[:12]}, shown {asked.intent.digest[:12]}")
        return approval.decide(
            asked, verb=verb, role=role, reason=reason, decision_id=secrets.token_hex(16), now=now
        )

    def sign_policy(self, policy: PolicySet, *, path: str = APPROVAL) -> Signature:
        """Sign a next policy set at the authenticator; what it changes was looked at before."""
        return self.press(policy.challenge, path=path)

    def press(self, challenge: bytes, *, path: str = APPROVAL) -> Signature:
        """Sign, as one of a quorum, what was looked at before."""
        party = self.trust_root.console if path == CONSOLE else self.trust_root.approval
        if party is None:
            raise RefusedError(Refusal.TRUST_ROOT, "this trust root has no second path", path="/console")
        credential = _credential(self.policy, self.id, path)
        assertion = charter.authenticator(self.folder, self.id, party).sign(challenge, credential=credential)
        return Signature(person=self.id, assertion=assertion)

    def sign(self, decision: Decision) -> SignedDecision:
        """Sign a decision document at the authenticator."""
        credential = _credential(self.policy, self.id, "approval")
        authenticator = charter.authenticator(self.folder, self.id, self.trust_root.approval)
        return SignedDecision(
            decision=decision, assertion=authenticator.sign(decision.challenge, credential=credential)
        )


def sign_login(
    session: Session, *, person: str, folder: Path, socket: Path, policy: PolicySet, party: RelyingParty
) -> CertifiedSession:
    """Certify an open login with the person's login credential."""
    credential = _credential(policy, person, "login")
    authenticator = charter.authenticator(folder, person, party)
    challenge = digest(SESSION_LINE, session.canonical())
    return client.certify(socket, session, authenticator.sign(challenge, credential=credential))


def judge(
    view: IntentView, *, policy: PolicySet, trust_root: TrustRoot
) -> tuple[Literal["approve", "reject"], str] | None:
    """Return what a careful person says of an intent; None while there is nothing to judge."""
    if not view.simulations:
        return None
    if view.intent.digest != view.digest:
        raise AnotherDocumentError(f"the intent shown is not {view.digest[:12]}")
    simulation = attestation.verify_simulation(
        view.simulations,
        intent=view.intent,
        call=execution.simulated(view.intent, policy),
        trust_root=trust_root,
        now=datetime.now(UTC),
        age_s_max=LOOK_BACK_S,
    )
    loss = loss_text(simulation, policy)
    slippage = facts.slippage_bps(calls.read(view.intent, policy), simulation)
    if slippage is None or slippage > policy.limits.slippage_bps_max:
        return (
            "reject",
            f"simulated slippage {loss}; the limit is {policy.limits.slippage_bps_max / 100:.2f} %",
        )
    if simulation.revert is not None or not facts.state_diff_declared(view.intent, simulation, policy):
        why = printable(simulation.revert or "state diff")
        return "reject", f"the simulation is not what the intent declares ({why})"
    if simulation.sequence is not None:
        return None
    call = calls.decoded(view.intent, policy)
    return "approve", f"{call.function} as declared, slippage {loss}"


def asked_for(view: IntentView, role: str) -> bool:
    """Whether the rules ask for this role: the chief risk officer by name, others where anybody will do."""
    if "approve:cro:1" in view.needs:
        return role == "cro"
    return role != "cro" and "approve:any:1" in view.needs


def loss_text(simulation: attestation.Simulation, policy: PolicySet) -> str:
    """Return slippage and loss in human units: "3.0000 %, 150,000 USDC"."""
    if simulation.slippage_ppm is None or simulation.loss is None:
        return "none"
    asset = policy.assets[simulation.loss.asset]
    amount = int(simulation.loss.amount) / 10**asset.decimals
    return f"{simulation.slippage_ppm / 10_000:.4f} %, {amount:,.0f} {asset.symbol}"


def _credential(policy: PolicySet, person: str, path: str) -> str:
    return next(each.id for each in policy.person(person).credentials if each.path == path)
