"""Sessions: a key that a login certifies, what it may claim, and the requests it signs."""

from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import NOW, World, digest_of, flip, press, refused
from workbench.demo import charter
from workbench.rules.codes import Refusal
from workbench.rules.documents import digest, signed_bytes, write_time
from workbench.rules.session import (
    REQUEST_LINE,
    REQUEST_SKEW_S,
    SESSION_LINE,
    CertifiedSession,
    Request,
    Session,
    verify_begun,
    verify_request,
    verify_session,
)


def at(**delta: float) -> str:
    """Return a time relative to noon."""
    return write_time(NOW + timedelta(**delta))


def check(world: World, certified: CertifiedSession, **changes: Any) -> str:
    """Return who the session speaks for."""
    return verify_session(certified, policy=world.policy, trust_root=world.root(**changes)).id


def test_a_login_certifies_a_key(world: World) -> None:
    """The person whose login credential signed the session document is who speaks."""
    _, certified = world.certify("trader-1")
    assert check(world, certified) == "trader-1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param(
            {"roles": ["portfolio_manager", "cro"]}, Refusal.ROLE_NOT_HELD, id="a role more than held"
        ),
        pytest.param({"expires_at": at(hours=7, seconds=1)}, Refusal.EXPIRED, id="a second too long"),
        pytest.param({"expires_at": at(hours=-1)}, Refusal.EXPIRED, id="no life at all"),
        pytest.param({"expires_at": at(hours=-2)}, Refusal.EXPIRED, id="an end before the beginning"),
        pytest.param({"person": "nobody"}, Refusal.PERSON_UNKNOWN, id="a person who is not there"),
        pytest.param({"person": "cro-1", "roles": ["cro"]}, Refusal.CREDENTIAL_UNKNOWN, id="another's name"),
    ],
)
def test_what_a_session_cannot_claim(world: World, changes: dict[str, Any], code: Refusal) -> None:
    """Signed by pm-1's own key, and refused all the same."""
    _, certified = world.certify("pm-1")
    session = Session.load(certified.session.dump() | changes)
    challenge = digest(SESSION_LINE, session.canonical())
    forged = CertifiedSession(session=session, assertion=world.sign_as("pm-1", challenge, path="login"))
    with refused(code):
        check(world, forged)


def test_a_changed_session(world: World) -> None:
    """Another key under the same login is a session over something else."""
    _, certified = world.certify("pm-1")
    session = Session.load(certified.session.dump() | {"public_key": digest_of("mine")})
    with refused(Refusal.ASSERTION_OTHER):
        check(world, CertifiedSession(session=session, assertion=certified.assertion))


def test_an_approval_certifies_no_session(world: World) -> None:
    """An assertion by the approval credential, or at its origin, is no login."""
    _, certified = world.certify("cro-1")
    challenge = digest(SESSION_LINE, certified.session.canonical())
    approving = world.sign_as("cro-1", challenge)
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        check(world, CertifiedSession(session=certified.session, assertion=approving))
    login = world.credential("cro-1", "login")
    elsewhere = press(world.keys, login.id, challenge, party=charter.APPROVAL)
    with refused(Refusal.ASSERTION):
        check(world, CertifiedSession(session=certified.session, assertion=elsewhere))
    with refused(Refusal.AUTHENTICATOR):
        check(world, certified, aaguids=["00" * 16])


def request(session: Session, /, **changes: Any) -> Request:
    """Return a request of the session, at noon."""
    fields = {
        "v": 1,
        "session": session.digest,
        "method": "POST",
        "path": "/v1/intents",
        "body": digest_of("body"),
        "nonce": "0a" * 16,
        "at": at(),
    }
    return Request.load(fields | changes)


def test_a_request_is_signed_by_the_sessions_key(world: World) -> None:
    """Method, path, body, nonce and time are under the signature."""
    key, certified = world.certify("pm-1")
    good = request(certified.session)
    signature = key.sign(signed_bytes(REQUEST_LINE, good.canonical())).hex()
    verify_request(good, signature, certified.session, now=NOW)
    for changes in (
        {"path": "/v1/else"},
        {"body": digest_of("other")},
        {"method": "GET"},
        {"nonce": "0b" * 16},
    ):
        with refused(Refusal.SIGNATURE):
            verify_request(request(certified.session, **changes), signature, certified.session, now=NOW)
    with refused(Refusal.SIGNATURE):
        verify_request(good, flip(signature), certified.session, now=NOW)


@pytest.mark.parametrize(
    ("asked", "session", "code"),
    [
        pytest.param({"at": at(seconds=-REQUEST_SKEW_S - 1)}, {}, Refusal.EXPIRED, id="a request of before"),
        pytest.param({"at": at(seconds=REQUEST_SKEW_S + 1)}, {}, Refusal.EXPIRED, id="a request of later"),
        pytest.param({"session": digest_of("other")}, {}, Refusal.SESSION_FOREIGN, id="of another session"),
        pytest.param({}, {"expires_at": at()}, Refusal.SESSION_ENDED, id="in the second it ended"),
        pytest.param(
            {},
            {"issued_at": at(days=300), "expires_at": at(days=300, hours=1)},
            Refusal.EXPIRED,
            id="of a session dated ahead",
        ),
    ],
)
def test_a_request_that_does_not_count(
    world: World, asked: dict[str, Any], session: dict[str, Any], code: Refusal
) -> None:
    """Rightly signed by the session's key, and refused all the same."""
    key, certified = world.certify("pm-1", **session)
    made = request(certified.session, **asked)
    signature = key.sign(signed_bytes(REQUEST_LINE, made.canonical())).hex()
    with refused(code):
        verify_request(made, signature, certified.session, now=NOW)


@pytest.mark.parametrize("seconds", [-REQUEST_SKEW_S, 0, REQUEST_SKEW_S])
def test_the_edges_of_about_now(world: World, seconds: int) -> None:
    """The earliest and the latest request that counts."""
    key, certified = world.certify("pm-1")
    made = request(certified.session, at=at(seconds=seconds))
    signature = key.sign(signed_bytes(REQUEST_LINE, made.canonical())).hex()
    verify_request(made, signature, certified.session, now=NOW)


def test_a_session_may_begin_within_the_skew_of_two_clocks(world: World) -> None:
    """A moment ahead is two clocks of one host; a second more is a session for later."""
    _, soon = world.certify("pm-1", issued_at=at(seconds=REQUEST_SKEW_S))
    verify_begun(soon.session, now=NOW)
    _, later = world.certify("pm-1", issued_at=at(seconds=REQUEST_SKEW_S + 1))
    with refused(Refusal.EXPIRED, "/session/issued_at"):
        verify_begun(later.session, now=NOW)
