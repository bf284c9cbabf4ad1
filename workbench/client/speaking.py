"""Who speaks to the service under a session: a key in memory, and a request signed with it each time.

It proposes, reads and carries decisions that people signed elsewhere; it cannot approve. A pool's state, a
price and an allowance it proves itself, under a trust root that it is given.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical
from workbench.client.bearing import asked, asked_change, asked_registration
from workbench.client.views import (
    Access,
    ChangeView,
    Effect,
    Exported,
    Head,
    IntentView,
    KeyWork,
    OpenSession,
    Place,
    PolicyChanges,
    ProvenPool,
    RegisteredKey,
    SeenPrice,
    Ticket,
)
from workbench.client.wire import ServiceUnavailableError, send
from workbench.risk import layout
from workbench.risk.prices import Gates
from workbench.risk.venue import Venue
from workbench.rules.allowances import Allowances, AllowancesQuestion, verify_allowances
from workbench.rules.attestation import Statement
from workbench.rules.change import SignedVeto
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import (
    DOCUMENT_MAX,
    Document,
    signed_bytes,
    write_time,
)
from workbench.rules.enrolment import CredentialPath
from workbench.rules.events import EVENTS_MAX, CloudEvent
from workbench.rules.intent import INTENT_LINE, Intent, Proposal
from workbench.rules.policy import PolicySet, Signature
from workbench.rules.price_feed import PriceQuestion, agreed, verify_quotes
from workbench.rules.receipt import Receipt
from workbench.rules.session import REQUEST_LINE, CertifiedSession, Request, Session
from workbench.rules.storage import AttestedStorage, PoolQuestion, verify_slots
from workbench.rules.trust import TrustRoot

POLL_S = 0.1
BATCH_BYTES = DOCUMENT_MAX // 2
POOL_AGE_S_MAX = 60
"""A pool's state is asked for when it is needed; an older one is somebody else's."""


@dataclass(slots=True)
class Client:
    """A session's key and the socket that it speaks to."""

    service: Path
    key: Ed25519PrivateKey
    certified: CertifiedSession

    @classmethod
    def login(cls, service: Path, person: str, *, wait_s: float = 60.0) -> Self:
        """Open a login and wait until the person has signed it at an authenticator."""
        key, session = open_login(service, person)
        return cls.signed(service, key, session, wait_s=wait_s)

    @classmethod
    def signed(cls, service: Path, key: Ed25519PrivateKey, session: Session, *, wait_s: float) -> Self:
        """Wait until the person of an open login has signed it."""
        deadline = time.monotonic() + wait_s
        while True:
            found = certified(service, session)
            if found is not None:
                return cls(service, key, found)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{session.person} did not sign the login within {wait_s:.0f} s")
            time.sleep(POLL_S)

    def open_renewal(self) -> tuple[Ed25519PrivateKey, Session]:
        """Make another key and open the login by which it takes this session's place."""
        key = Ed25519PrivateKey.generate()
        asked = {"public_key": key.public_key().public_bytes_raw().hex()}
        answer = self.post(f"/v1/sessions/{self.certified.session.digest}/renewal", asked)
        return key, _own(answer, asked["public_key"], self.person)

    def renew(self, *, wait_s: float = 60.0) -> Self:
        """Wait until the person has signed a renewal; return the client that takes this one's place.

        This one's key is worth nothing from then on, and tickets that it asked for open nothing.
        """
        key, session = self.open_renewal()
        return self.signed(self.service, key, session, wait_s=wait_s)

    @property
    def person(self) -> str:
        """Who speaks."""
        return self.certified.session.person

    def proposal(self, intent: Intent) -> Proposal:
        """Sign an intent with the session's key."""
        signature = self.key.sign(signed_bytes(INTENT_LINE, intent.canonical()))
        return Proposal(intent=intent, signature=signature.hex(), session=self.certified)

    def key_operation(self, digest: str) -> KeyWork:
        """Ask how far an operation on a key is."""
        return KeyWork.load(self.get(f"/v1/key-operations/{digest}"))

    def propose(self, intent: Intent) -> IntentView:
        """(1) Propose; the same intent again is the same proposal."""
        return IntentView.load(self.post("/v1/intents", self.proposal(intent).dump()))

    def simulate(self, digest: str, *, after: list[str] | None = None) -> IntentView:
        """(3) Have an intent simulated, alone or after others as one sequence."""
        sequence = [*(after or []), digest]
        return IntentView.load(self.post(f"/v1/intents/{digest}/simulation", {"sequence": sequence}))

    def intent(self, digest: str) -> IntentView:
        """Return one intent."""
        return IntentView.load(self.get(f"/v1/intents/{digest}"))

    def intents(self) -> list[tuple[str, str]]:
        """Return (digest, state) of every intent, oldest first."""
        return [(each["digest"], each["state"]) for each in self.get("/v1/intents")["intents"]]

    def ask(self, digest: str) -> Ticket:
        """(3) Return a ticket for this person's look at an intent, on the approver's page or elsewhere."""
        return Ticket.load(self.post(f"/v1/intents/{digest}/tickets", {}))

    def decide(self, signed: SignedDecision) -> IntentView:
        """(3) Carry a signed decision to the service."""
        return IntentView.load(self.post(f"/v1/intents/{signed.decision.intent}/decisions", signed.dump()))

    def resume(self, digest: str) -> IntentView:
        """(4) (5) (6) Take an intent as far as it can go now."""
        return IntentView.load(self.post(f"/v1/intents/{digest}/resume", {}))

    def changes(self) -> PolicyChanges:
        """Return the policy sets: those in force so far, and the proposed ones."""
        return PolicyChanges.load(self.get("/v1/policies"))

    def change(self, digest: str) -> ChangeView:
        """Return one proposed policy set and its predecessor."""
        return ChangeView.load(self.get(f"/v1/policies/{digest}"))

    def policy_chain(self) -> list[PolicySet]:
        """Return the policy sets up to the one in force: claims, until `verify_chain` has seen them."""
        return [PolicySet.load(each) for each in self.get("/v1/policy")["policy_chain"]]

    def effect(self, digest: str) -> Effect:
        """Return what a proposed set has ended by being taken over."""
        return Effect.load(self.get(f"/v1/policies/{digest}/effect"))

    def amend(self, policy: PolicySet) -> ChangeView:
        """Propose a policy set; its signatures come one by one."""
        value = policy.dump()
        del value["signatures"]
        return ChangeView.load(self.post("/v1/policies", value))

    def sign_policy(self, digest: str, signature: Signature) -> ChangeView:
        """Carry an officer's signature over a proposed set to the service."""
        return ChangeView.load(self.post(f"/v1/policies/{digest}/signatures", signature.dump()))

    def veto(self, signed: SignedVeto) -> ChangeView:
        """Carry a veto to the service."""
        return ChangeView.load(self.post(f"/v1/policies/{signed.veto.policy}/veto", signed.dump()))

    def ask_change(self, digest: str) -> Ticket:
        """Return a ticket for this person's look at a proposed set, on the approver's page or elsewhere."""
        return Ticket.load(self.post(f"/v1/policies/{digest}/tickets", {}))

    def register(self, person: str, path: CredentialPath) -> Ticket:
        """Return a ticket with which somebody registers a key of this person's; it may be a newcomer."""
        return Ticket.load(self.post("/v1/registrations", {"person": person, "path": path}))

    def registrations(self) -> list[RegisteredKey]:
        """Return what was registered: what a policy set may give to people."""
        found = self.get("/v1/registrations")["registrations"]
        return [RegisteredKey.load(each) for each in found]

    def export(self, digest: str) -> Exported:
        """Return what this person is asked of an intent, for the second path."""
        ticket = self.ask(digest)
        return Exported.of(ticket, "request", asked(self.service, ticket.ticket))

    def export_change(self, digest: str) -> Exported:
        """Return what this person is asked of a proposed set, for the second path."""
        ticket = self.ask_change(digest)
        return Exported.of(ticket, "change", asked_change(self.service, ticket.ticket))

    def export_registration(self, person: str) -> Exported:
        """Return a registration of a person's key for the second path."""
        ticket = self.register(person, "console")
        return Exported.of(ticket, "registration", asked_registration(self.service, ticket.ticket))

    def activate(self, digest: str) -> ChangeView:
        """Ask for a proposed set to be taken over."""
        return ChangeView.load(self.post(f"/v1/policies/{digest}/activation", {}))

    def record(self, events: list[CloudEvent]) -> list[Place]:
        """Leave events in the audit trail, in as few batches as they fit; sent again, they do no harm."""
        places: list[Place] = []
        for body in _batches(events):
            answer = self._request("POST", "/v1/entries", body)
            places += [Place.load(each) for each in answer["receipts"]]
        return places

    def sessions(self) -> list[OpenSession]:
        """Return this person's sessions that could still speak; an unknown one is a reason to end it."""
        return [OpenSession.load(each) for each in self.get("/v1/sessions")["sessions"]]

    def end(self, session: str) -> None:
        """End a session of one's own, or anybody's where one's roles permit that."""
        self._request("DELETE", f"/v1/sessions/{session}", b"")

    def logout(self) -> None:
        """End this session; its key is worth nothing from then on."""
        self.end(self.certified.session.digest)

    def access(self) -> list[Access]:
        """Return who holds what, and when it was used last."""
        return [Access.load(each) for each in self.get("/v1/access")["people"]]

    def head(self) -> Head:
        """Return the ledger's head and newest checkpoint."""
        return Head.load(self.get("/v1/head"))

    def receipt(self, digest: str) -> Receipt:
        """Return the ledger's entries about an intent, with proofs."""
        return Receipt.load(self.get(f"/v1/receipts/{digest}"))

    def bundle(self) -> Path:
        """Have a bundle of the whole ledger written; return its folder."""
        return Path(self.post("/v1/bundles", {})["path"])

    def pool(self, venue: Venue, *, token_in: str, amount_in: int, trust_root: TrustRoot) -> ProvenPool:
        """Return a pool's state as far as a swap of this amount needs it, proven here and not by anybody."""
        token_out = venue.token1 if venue.zero_for_one(token_in) else venue.token0
        question = PoolQuestion(
            factory=venue.factory,
            token_in=token_in,
            token_out=token_out,
            fee=venue.fee,
            amount=str(amount_in),
        )
        told = [AttestedStorage.load(each) for each in self._told("/v1/pools", question)]
        now = datetime.now(UTC)
        seen = verify_slots(told, trust_root=trust_root, now=now, age_s_max=POOL_AGE_S_MAX)
        values = {layout.Slot(*place): value for place, value in seen.values.items()}
        return ProvenPool(layout.read(venue, values), seen.state)

    def prices(self, base: str, quote: str, *, trust_root: TrustRoot, gates: Gates) -> SeenPrice:
        """Return the price that a pair's sources agree on, by these gates; raises when they do not."""
        question = PriceQuestion(base=base, quote=quote)
        statements = [Statement.load(each) for each in self._told("/v1/prices", question)]
        now = datetime.now(UTC)
        told = verify_quotes(
            statements, question=question, trust_root=trust_root, now=now, age_s_max=POOL_AGE_S_MAX
        )
        found = agreed(told, now=now, gates=gates)
        return SeenPrice(found[0].price, told, now, gates)

    def allowances(self, question: AllowancesQuestion, *, trust_root: TrustRoot) -> Allowances:
        """Return what others may take from accounts, as observers have proven and signed it."""
        told = verify_allowances(
            [Statement.load(each) for each in self._told("/v1/allowances", question)],
            question=question,
            trust_root=trust_root,
            now=datetime.now(UTC),
            age_s_max=POOL_AGE_S_MAX,
        )
        return told[0]

    def _told(self, path: str, question: Document) -> list[Any]:
        """Return what each observer tells of a question."""
        return list(self.post(path, question.dump())["told"])

    def get(self, path: str) -> dict[str, Any]:
        """Make one signed GET request."""
        return self._request("GET", path, b"")

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """Make one signed POST request."""
        return self._request("POST", path, canonical(value, limit=DOCUMENT_MAX))

    def post_raw(self, path: str, body: bytes) -> dict[str, Any]:
        """Make one signed POST request with these bytes as they are."""
        return self._request("POST", path, body)

    def _request(self, method: Literal["GET", "POST", "DELETE"], path: str, body: bytes) -> dict[str, Any]:
        request = Request(
            v=1,
            session=self.certified.session.digest,
            method=method,
            path=path,
            body=hashlib.sha256(body).hexdigest(),
            nonce=secrets.token_hex(16),
            at=write_time(datetime.now(UTC)),
        ).canonical()
        headers = {
            "Workbench-Request": base64.b64encode(request).decode(),
            "Workbench-Signature": self.key.sign(signed_bytes(REQUEST_LINE, request)).hex(),
        }
        return send(self.service, method, path, body, headers)


def _batches(events: list[CloudEvent]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    for raw in (event.canonical() for event in events):
        if gathered and (len(gathered) == EVENTS_MAX or size + len(raw) + 1 > BATCH_BYTES):
            yield b"[" + b",".join(gathered) + b"]"
            gathered, size = [], 0
        gathered.append(raw)
        size += len(raw) + 1
    if gathered:
        yield b"[" + b",".join(gathered) + b"]"


def open_login(service: Path, person: str) -> tuple[Ed25519PrivateKey, Session]:
    """Make a session key and open a login for it."""
    key = Ed25519PrivateKey.generate()
    asked = {"person": person, "public_key": key.public_key().public_bytes_raw().hex()}
    answer = send(service, "POST", "/v1/sessions", canonical(asked), {})
    return key, _own(answer, asked["public_key"], person)


def _own(answer: dict[str, Any], public_key: str, person: str) -> Session:
    session = Session.load(answer["session"])
    # the service must not slip another key, person or user under the person's finger
    if (session.public_key, session.person, session.os_user) != (public_key, person, os.getuid()):
        raise ServiceUnavailableError("the service answered with a session of somebody else")
    return session


def certified(service: Path, session: Session) -> CertifiedSession | None:
    """Return a session that its person has signed, or None while the login is open."""
    value = send(service, "GET", f"/v1/sessions/{session.digest}", b"", {})
    return None if value == {"pending": True} else CertifiedSession.load(value)
