"""What needs no session: whoever holds a ticket, a login's digest or officers' signatures bears them there.

What comes back are claims until the rules have seen them; what is brought counts by its own signatures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ledger.encoding import canonical
from workbench.client.views import ChangeView, IntentView, KeyWork, RegisteredKey
from workbench.client.wire import send
from workbench.rules.approval import ApprovalRequest
from workbench.rules.assertion import Assertion
from workbench.rules.change_request import ChangeRequest, Word
from workbench.rules.codes import RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.enrolment import Registration, RegistrationRequest
from workbench.rules.key_operation import SignedOperation
from workbench.rules.recovery import SignedTestimony, SignedTicket
from workbench.rules.session import CertifiedSession, LoginRequest, Session


def waiting_logins(service: Path, person: str) -> list[Session]:
    """Return the open logins of a person."""
    found = send(service, "GET", f"/v1/sessions/waiting/{person}", b"", {})["sessions"]
    return [Session.load(each) for each in found]


def asked_login(service: Path, session: str) -> LoginRequest:
    """Return an open login: claims, until `session.verify_login` has seen them."""
    return LoginRequest.load(send(service, "GET", f"/v1/logins/{session}", b"", {}))


def certify(service: Path, session: Session, assertion: Assertion) -> CertifiedSession:
    """Carry a person's assertion over an open login to the service."""
    body = canonical({"assertion": assertion.dump()})
    return CertifiedSession.load(send(service, "POST", f"/v1/sessions/{session.digest}", body, {}))


def asked(service: Path, ticket: str) -> ApprovalRequest:
    """Return what the holder of a ticket is asked: claims, until `approval.verify` has seen them."""
    return ApprovalRequest.load(send(service, "GET", f"/v1/tickets/{ticket}", b"", {}))


def answer(service: Path, ticket: str, signed: SignedDecision) -> IntentView:
    """Bring the decision that answers a ticket."""
    return IntentView.load(send(service, "POST", f"/v1/tickets/{ticket}", signed.canonical(), {}))


def asked_change(service: Path, ticket: str) -> ChangeRequest:
    """Return what a ticket about a policy set asks: claims, until `change_request.verify` has seen them."""
    return ChangeRequest.load(send(service, "GET", f"/v1/policy-tickets/{ticket}", b"", {}))


def answer_change(service: Path, ticket: str, word: Word) -> ChangeView:
    """Bring the signature or the veto that answers a ticket about a policy set."""
    return ChangeView.load(send(service, "POST", f"/v1/policy-tickets/{ticket}", word.canonical(), {}))


def asked_registration(service: Path, ticket: str) -> RegistrationRequest:
    """Return whose key a ticket registers: claims, until `enrolment.verify` has seen them."""
    return RegistrationRequest.load(send(service, "GET", f"/v1/registrations/{ticket}", b"", {}))


def registered(service: Path, ticket: str, done: Registration) -> RegisteredKey:
    """Bring what the holder of a ticket has registered."""
    answered = send(service, "POST", f"/v1/registrations/{ticket}", done.canonical(), {})
    return RegisteredKey.load({name: answered[name] for name in ("person", "credential")})


def backup(service: Path, digest: str) -> dict[str, Any]:
    """Return a signed backup of a share, as the service has it: who opens it verifies it."""
    return send(service, "GET", f"/v1/backups/{digest}", b"", {})


def backup_ticket(service: Path, digest: str, *, cosigner: str, order: str | None) -> SignedTicket:
    """Ask a co-signer for the one-time key to which what opens its backup is encrypted."""
    asked = canonical({"cosigner": cosigner, "order": order})
    return SignedTicket.load(send(service, "POST", f"/v1/backups/{digest}/tickets", asked, {}))


def bring_back(service: Path, digest: str, way: bytes) -> SignedTestimony:
    """Bring what opens a backup to its co-signer; return what that says came of it."""
    return SignedTestimony.load(send(service, "POST", f"/v1/backups/{digest}/shares", way, {}))


def order_key(service: Path, signed: SignedOperation) -> KeyWork:
    """Bring an operation on a key that officers have signed."""
    return KeyWork.load(send(service, "POST", "/v1/key-operations", signed.canonical(), {}))


def report(service: Path, refused: RefusedError, *, about: str) -> None:
    """Have a refusal recorded that happened before anything reached the service."""
    told = {"code": refused.code.value, "detail": refused.detail[:2000], "about": about[:400]}
    send(service, "POST", "/v1/refusals", canonical(told), {})
