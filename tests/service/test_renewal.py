"""A renewal is another key and another key press, and takes the place of the session that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.store import Receipt
from tests.rules.build import World, build, refused
from tests.service.test_sessions import IDLE_S, THIEF, UID, Hall, Speaker, at_once, leaves, moved
from workbench.rules.codes import Refusal
from workbench.rules.documents import digest as digest_of
from workbench.rules.session import SESSION_LINE, CertifiedSession
from workbench.service.record import Recorder
from workbench.service.sessions import CHALLENGE_LIFE


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return people with credentials, and the policy set that knows them."""
    return build(tmp_path_factory.mktemp("officers"))


@pytest.fixture
def hall(desk: World, tmp_path: Path) -> Iterator[Hall]:
    """Return an empty hall."""
    made = Hall(desk, tmp_path, desk.policy)
    yield made
    made.recorder.close()


def renewal(speaker: Speaker, *, of: Speaker | None = None, counter: int | None = None) -> Speaker:
    """Let a session ask for its renewal and the person sign it; it takes its place with `begin`."""
    hall = speaker.hall
    heard = speaker.speaks()
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    session = hall.sessions.renewal((of or speaker).digest, public_key=public, speaker=heard)
    challenge = digest_of(SESSION_LINE, session.canonical())
    counted = next(hall.numbers) if counter is None else counter
    assertion = hall.desk.sign_as(session.person, challenge, path="login", counter=counted)
    return Speaker(hall, key, CertifiedSession(session=session, assertion=assertion))


def open_sessions(hall: Hall, person: str = "pm-1") -> list[str]:
    """Return the names of a person's sessions that could speak."""
    return [each["session"] for each in hall.sessions.of(person)]


def test_at_the_limit(hall: Hall) -> None:
    """Whoever has as many sessions as allowed can renew one, and cannot log in once more."""
    first, other = hall.login(), hall.login()
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        hall.login()
    assert hall.ledger.head() == head
    hall.after(seconds=1)
    second = renewal(first)
    assert first.speaks() == first.certified  # until the key is pressed
    second.begin()
    assert second.speaks() == second.certified
    assert other.speaks() == other.certified
    assert open_sessions(hall) == [other.digest, second.digest]
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED) as told:
        first.speaks()
    assert "renewed" in told.detail
    assert hall.ledger.head() == head
    with refused(Refusal.SESSION_ENDED):
        hall.login()


def test_the_ledger_has_both(hall: Hall) -> None:
    """The end stands before the beginning, names what comes in its place, and survives a restart."""
    first = hall.login()
    second = renewal(first)
    second.begin()
    *_, ended, started = hall.recorder.entries()
    assert (ended.type, ended.actor) == ("session.ended", "pm-1")
    assert ended.data == {"v": 1, "session": first.digest, "reason": "renewed", "successor": second.digest}
    assert (started.type, started.actor, started.id) == ("session.started", "pm-1", second.digest)
    again = hall.restarted()
    first.hall = second.hall = again
    with refused(Refusal.SESSION_ENDED):
        first.speaks()
    again.after(seconds=1)
    assert second.speaks() == second.certified
    assert again.sessions.carried_on(first.digest)
    again.recorder.close()


def test_a_life_of_its_own(hall: Hall) -> None:
    """The new session has eight hours from its request on; the old one's time does not end it."""
    first = hall.login()
    for _ in range(8 * 4 - 1):
        hall.after(minutes=15)
        first.speaks()
    second = renewal(first)
    second.begin()
    hall.after(minutes=15)
    assert second.speaks() == second.certified
    hall.sessions.end_overdue()
    assert hall.ends() == [(first.digest, "renewed", "pm-1")]


def test_what_the_old_key_proposed_goes_on(hall: Hall) -> None:
    """Whoever renews is still there; whoever logs out afterwards is not, nor after an ordinary login."""
    first = hall.login()
    second = renewal(first)
    second.begin()
    third = renewal(second)
    third.begin()
    assert not hall.sessions.active(first.digest)
    assert hall.sessions.carried_on(first.digest)
    third.ends(third)
    hall.login()
    assert not hall.sessions.carried_on(first.digest)


def test_somebody_elses(hall: Hall) -> None:
    """Neither another person's session nor another one of one's own is renewed."""
    first, own, administrator = hall.login(), hall.login(), hall.login("admin-1")
    head = hall.ledger.head()
    for speaker in (administrator, own):
        with refused(Refusal.SESSION_FOREIGN):
            renewal(speaker, of=first)
    assert (hall.ledger.head(), hall.sessions.waiting("pm-1"), hall.ends()) == (head, [], [])
    assert first.speaks() == first.certified


def test_somebody_elses_press(hall: Hall) -> None:
    """Another person's authenticator does not certify the new key, and the old one speaks on."""
    first = hall.login()
    asked = renewal(first)
    challenge = digest_of(SESSION_LINE, asked.certified.session.canonical())
    assertion = hall.desk.sign_as("trader-1", challenge, path="login", counter=next(hall.numbers))
    head = hall.ledger.head()
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        hall.sessions.certify(asked.digest, assertion)
    assert (hall.ledger.head(), open_sessions(hall)) == (head, [first.digest])


def ended(_: Hall, speaker: Speaker) -> None:
    """Let its person log out."""
    speaker.ends(speaker)


def administered(hall: Hall, speaker: Speaker) -> None:
    """Let an administrator end it."""
    hall.login("admin-1").ends(speaker)


OVER: list[Any] = [
    pytest.param(ended, "logout", id="logged out"),
    pytest.param(administered, "ended by an administrator", id="ended by an administrator"),
]


@pytest.mark.parametrize(("end", "reason"), OVER)
def test_over_before_the_press(hall: Hall, end: Callable[[Hall, Speaker], None], reason: str) -> None:
    """What has ended keeps no place free: the login is one like any other, with the limit."""
    first = hall.login(counter=0)
    late, later = renewal(first, counter=0), renewal(first, counter=0)
    end(hall, first)
    hall.login(counter=0)
    late.begin()
    assert late.speaks() == late.certified
    assert [each[:2] for each in hall.ends()] == [(first.digest, reason)]
    assert not hall.sessions.carried_on(first.digest)
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        later.begin()
    assert hall.ledger.head() == head
    assert len(open_sessions(hall)) == 2


@pytest.mark.parametrize("recorded", [True, False], ids=["its end is recorded", "nobody has looked yet"])
def test_idle_before_the_press(hall: Hall, *, recorded: bool) -> None:
    """A session that fell idle while the page was open is not renewed; with room, its person is logged in."""
    hall.after(seconds=1)
    first = hall.login()
    hall.after(seconds=1)
    asked = renewal(first)
    # an open login waits for two minutes, a session for fifteen: the set's limit is what another desk may set
    hall.sessions.policy = hall.desk.policy_with(
        "limits.json", lambda value: value | {"session_idle_s": 60, "sessions_per_person_max": 1}
    )
    hall.after(seconds=61)
    if recorded:
        hall.sessions.end_overdue()
    asked.begin()
    hall.sessions.end_overdue()
    assert hall.ends() == [(first.digest, "idle", "service")]
    assert open_sessions(hall) == [asked.digest]
    assert not hall.sessions.carried_on(first.digest)


def test_expired_before_the_press(hall: Hall) -> None:
    """A session whose time ran out while the page was open takes nothing along."""
    first = hall.login()
    for _ in range(8 * 4 - 1):
        hall.after(minutes=15)
        first.speaks()
    hall.after(minutes=14)
    asked = renewal(first)
    hall.after(minutes=1)
    asked.begin()
    hall.sessions.end_overdue()
    assert hall.ends() == [(first.digest, "expired", "service")]
    assert open_sessions(hall) == [asked.digest]


def test_a_page_that_was_left_open(hall: Hall) -> None:
    """After two minutes the renewal is no open login any more; the session is what it was."""
    first = hall.login()
    asked = renewal(first)
    hall.after(seconds=CHALLENGE_LIFE.total_seconds())
    head = hall.ledger.head()
    with refused(Refusal.SESSION_UNKNOWN):
        asked.begin()
    assert hall.ledger.head() == head
    assert first.speaks() == first.certified


def test_an_idle_session_does_not_ask(hall: Hall) -> None:
    """Nothing is opened for a session that has been silent for too long."""
    first = hall.login()
    hall.after(seconds=IDLE_S + 1)
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        renewal(first)
    assert (hall.ledger.head(), hall.sessions.waiting("pm-1")) == (head, [])


@pytest.mark.parametrize("logins", [1, 2], ids=["with room for one more", "at the limit"])
def test_twenty_renewals_at_once(hall: Hall, logins: int) -> None:
    """However many renewals of one session are signed at the same time, one takes its place."""
    first, *others = [hall.login(counter=0) for _ in range(logins)]
    asked = [renewal(first, counter=0) for _ in range(20)]
    found = at_once([each.begin for each in asked])
    assert found.count(None) == 1
    assert found.count(Refusal.SESSION_ENDED) == 19
    won = asked[found.index(None)]
    assert sorted(open_sessions(hall)) == sorted([won.digest, *(each.digest for each in others)])
    assert hall.ends() == [(first.digest, "renewed", "pm-1")]


def test_renewals_and_logins_at_once(hall: Hall) -> None:
    """Also mixed with logins there are never more than two."""
    first, second = hall.login(counter=0), hall.login(counter=0)
    asked = [renewal(each, counter=0) for each in (first, second) for _ in range(5)]
    found = at_once([each.begin for each in [*asked, *(hall.opened(counter=0) for _ in range(10))]])
    assert found.count(None) == 2
    assert found[10:] == [Refusal.SESSION_ENDED] * 10
    assert len(open_sessions(hall)) == 2


def test_an_end_and_a_renewal_at_once(hall: Hall) -> None:
    """A session ends once, whether its person renews it or an administrator ends it first."""
    first, administrator = hall.login(counter=0), hall.login("admin-1", counter=0)
    asked, heard = renewal(first, counter=0), administrator.speaks()
    at_once([asked.begin, lambda: hall.sessions.end(first.digest, heard)])
    assert len(hall.ends()) == 1


def test_a_double(hall: Hall) -> None:
    """A credential that counts backwards renews nothing; what it certified is over for another reason."""
    first = hall.login(counter=7)
    asked = renewal(first, counter=7)
    with refused(Refusal.CREDENTIAL_FROZEN):
        asked.begin()
    assert hall.ends() == []
    hall.sessions.end_overdue()
    assert hall.ends() == [(first.digest, "revoked", "service")]


def test_roles_of_the_set_in_force(hall: Hall) -> None:
    """The new session has what the set in force gives; a role that is lost meanwhile stops it."""
    first = hall.login()
    asked = renewal(first)
    changed = hall.desk.sign_set(hall.desk.with_file("people.json", moved), after=hall.policy)
    hall.sessions.policy = changed
    head = hall.ledger.head()
    with refused(Refusal.ROLE_NOT_HELD):
        asked.begin()
    assert (hall.ledger.head(), open_sessions(hall)) == (head, [first.digest])
    again = renewal(first)
    again.begin()
    assert again.speaks().session.roles == ["trader"]


def test_nobody_left(hall: Hall) -> None:
    """Who is in no policy set any more renews nothing."""
    first = hall.login()
    asked = renewal(first)
    hall.sessions.policy = hall.desk.sign_set(hall.desk.with_file("people.json", leaves), after=hall.policy)
    head = hall.ledger.head()
    for attempt in (asked.begin, lambda: renewal(first)):
        with refused(Refusal.PERSON_UNKNOWN):
            attempt()
    assert hall.ledger.head() == head


def test_fewer_are_allowed(hall: Hall) -> None:
    """Where the limit fell below what a person has, a renewal is no way round it."""
    first, _ = hall.login(), hall.login()
    asked = renewal(first)
    hall.sessions.policy = hall.desk.policy_with(
        "limits.json", lambda value: value | {"sessions_per_person_max": 1}
    )
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        asked.begin()
    assert hall.ledger.head() == head
    assert first.speaks() == first.certified


class Died(BaseException):
    """The process ended here."""


class Dying(Recorder):
    """A recorder whose process ends before a session's start is written."""

    def append(
        self, kind: str, name: str, data: Mapping[str, Any], *, actor: str, subject: str | None = None
    ) -> Receipt:
        """Record, or end."""
        if kind == "session.started":
            raise Died
        return super().append(kind, name, data, actor=actor, subject=subject)


def test_a_crash_in_between(hall: Hall) -> None:
    """A process that ends between the two entries leaves one session fewer, also for its next run."""
    first, other = hall.login(), hall.login()
    asked = renewal(first)
    real = hall.sessions.recorder
    hall.sessions.recorder = Dying(**{each.name: getattr(real, each.name) for each in fields(real)})
    with pytest.raises(Died):
        asked.begin()
    again = hall.restarted()
    assert open_sessions(again) == [other.digest]
    assert again.ends() == [(first.digest, "renewed", "pm-1")]
    assert not again.sessions.carried_on(first.digest)
    again.login()
    assert len(open_sessions(again)) == 2
    again.recorder.close()


def test_the_same_os_user(hall: Hall) -> None:
    """The new key speaks from the OS user of the old one, and from no other."""
    first = hall.login()
    asked = renewal(first)
    assert asked.certified.session.os_user == UID
    asked.begin()
    with refused(Refusal.SESSION_FOREIGN):
        asked.speaks(os_user=THIEF)
