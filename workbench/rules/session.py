"""A session: an Ed25519 key that a FIDO2 login certifies for one person and one OS user.

It signs requests and proposals, and can do nothing else: a session never approves.
Whether it has ended since (idle, logout, too many) is the service's memory; what
stands here is what anyone can verify from the documents alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from workbench.rules import assertion as webauthn
from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Digest,
    Document,
    Hex,
    Hex16,
    Name,
    Time,
    Whole,
    digest,
    read_time,
    verify_ed25519,
)
from workbench.rules.policy import SETS_MAX, Person, PolicySet, verify_chain
from workbench.rules.trust import TrustRoot

SESSION_LINE = "oms-session/v1"
REQUEST_LINE = "oms-request/v1"
REQUEST_SKEW_S = 30
"""A request is believed this long before and after its own time: clocks of one host."""


class Session(Document):
    """What the login assertion signs."""

    v: Literal[1]
    public_key: Digest
    person: Name
    os_user: Whole
    roles: Annotated[list[Name], Field(min_length=1, max_length=8)]
    issued_at: Time
    expires_at: Time
    nonce: Digest

    @property
    def digest(self) -> str:
        """The name of the session."""
        return digest(SESSION_LINE, self.canonical()).hex()


class CertifiedSession(Document):
    """A session and the login that certifies it."""

    session: Session
    assertion: Assertion


class LoginRequest(Document):
    """An open login as the service brings it before its person."""

    v: Literal[1]
    session: Session
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLogin:
    """A verified login request: whom it would log in, and where."""

    session: Session
    person: Person
    policy: PolicySet

    @property
    def credentials(self) -> list[str]:
        """The credentials that may press for this login, base64url."""
        return [each.id for each in self.person.credentials if each.path == "login"]


class Request(Document):
    """What a session signs for each request: method, path, body, once, about now."""

    v: Literal[1]
    session: Digest
    method: Literal["GET", "POST", "DELETE"]
    path: Annotated[str, Field(max_length=400)]
    body: Digest
    nonce: Hex16
    at: Time


def verify_login(request: LoginRequest, *, trust_root: TrustRoot, now: datetime) -> AskedLogin:
    """Verify that an open login is one that its person could start now, whoever brings it."""
    sets = [PolicySet.load(value, at="/policy_chain") for value in request.policy_chain]
    policy = verify_chain(sets, trust_root=trust_root, now=now)
    verify_begun(request.session, now=now)
    if now >= read_time(request.session.expires_at):
        raise RefusedError(Refusal.SESSION_ENDED, f"the session ended at {request.session.expires_at}")
    person = _may_start(request.session, policy)
    return AskedLogin(session=request.session, person=person, policy=policy)


def _may_start(session: Session, policy: PolicySet) -> Person:
    person = policy.person(session.person)
    if not set(session.roles) <= set(person.roles):
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{person.id} does not hold {session.roles}")
    life = read_time(session.expires_at) - read_time(session.issued_at)
    if not timedelta(0) < life <= timedelta(seconds=policy.limits.session_life_s_max):
        raise RefusedError(
            Refusal.EXPIRED, f"a session of {life}, at most {policy.limits.session_life_s_max} s"
        )
    return person


def verify_session(certified: CertifiedSession, *, policy: PolicySet, trust_root: TrustRoot) -> Person:
    """Verify that a person of the policy set certified this key; return the person."""
    session = certified.session
    person = _may_start(session, policy)
    credential = policy.credential(person, certified.assertion.credential, path="login")
    challenge = digest(SESSION_LINE, session.canonical())
    webauthn.verify(
        certified.assertion,
        credential,
        party=trust_root.login,
        challenge=challenge,
        aaguids=trust_root.aaguids,
    )
    return person


def verify_begun(session: Session, *, now: datetime) -> None:
    """Refuse a session dated ahead: one key press must not certify a key for next year."""
    if read_time(session.issued_at) > now + timedelta(seconds=REQUEST_SKEW_S):
        raise RefusedError(
            Refusal.EXPIRED, f"the session begins at {session.issued_at}", path="/session/issued_at"
        )


def verify_request(request: Request, signature: Hex, session: Session, *, now: datetime) -> None:
    """Verify that the session's key signed this request, about now."""
    if request.session != session.digest:
        raise RefusedError(Refusal.SESSION_FOREIGN, "the request names another session")
    at = read_time(request.at)
    if abs((now - at).total_seconds()) > REQUEST_SKEW_S:
        raise RefusedError(Refusal.EXPIRED, f"a request of {request.at}", path="/at")
    verify_begun(session, now=now)
    if now >= read_time(session.expires_at):
        raise RefusedError(Refusal.SESSION_ENDED, f"the session ended at {session.expires_at}")
    verify_ed25519(session.public_key, signature, REQUEST_LINE, request.canonical(), what="request")
