"""Sessions begin once, speak for one person from one OS user, and end for a reason that the ledger has."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import store
from ledger.encoding import canonical
from ledger.trust import TrustRoot as LedgerTrustRoot
from ledger.writer import Writer
from tests.rules.build import NOW, World, build, refused
from workbench.custody.token import Ed25519Key
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import digest as digest_of
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.policy import PolicySet
from workbench.rules.session import REQUEST_LINE, SESSION_LINE, CertifiedSession, Request
from workbench.service.books import Books
from workbench.service.credentials import Credentials
from workbench.service.record import Recorder
from workbench.service.sessions import CHALLENGE_LIFE, CHALLENGES_MAX, STALE_AFTER, Sessions
from workbench.service.witnesses import Witnesses

UID, THIEF = 1000, 1001
IDLE_S = 900
BODY = b"{}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return people with credentials, and the policy set that knows them."""
    return build(tmp_path_factory.mktemp("officers"))


@dataclass
class Hall:
    """The sessions over a real ledger, and a clock that the test holds."""

    desk: World
    folder: Path
    policy: PolicySet
    now: datetime = NOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.ledger = store.open(
            self.folder / "ledger.duckdb",
            now=lambda: self.now,
            salt=lambda: secrets.token_bytes(32),
            genesis=None
            if (self.folder / "ledger.duckdb").exists()
            else {
                "v": 1,
                "ledger_id": self.desk.trust_root.ledger_id,
                "created": write_time(self.now),
                "trust_root": self.desk.trust_root.digest,
            },
        )
        raw = self.desk.trust_root.canonical()
        self.recorder = Recorder(
            self.ledger,
            Writer(self.ledger),
            self.desk.trust_root,
            raw,
            cast("Ed25519Key", None),  # it signs checkpoints, and sessions make none
            self.folder,
            Witnesses(LedgerTrustRoot.parse(raw), {}, lambda: self.now),
        )
        books = Books.of(self.recorder.entries())
        credentials = Credentials(books, self.recorder)
        self.sessions = Sessions(
            self.policy, self.desk.trust_root, books, self.recorder, credentials, lambda: self.now, self.now
        )

    def restarted(self, policy: PolicySet | None = None) -> Hall:
        """Return the hall after its process began again, perhaps under another policy set."""
        self.recorder.close()
        return Hall(self.desk, self.folder, policy or self.policy, self.now, self.numbers)

    def opened(self, person: str = "pm-1", *, counter: int | None = None) -> Speaker:
        """Show a key and sign the login; the session begins with `certify`."""
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw().hex()
        session = self.sessions.challenge(person=person, public_key=public, os_user=UID)
        challenge = digest_of(SESSION_LINE, session.canonical())
        counted = next(self.numbers) if counter is None else counter
        assertion = self.desk.sign_as(person, challenge, path="login", counter=counted)
        return Speaker(self, key, CertifiedSession(session=session, assertion=assertion))

    def login(self, person: str = "pm-1", *, counter: int | None = None) -> Speaker:
        """Log a person in."""
        speaker = self.opened(person, counter=counter)
        speaker.begin()
        return speaker

    def after(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)

    def ends(self) -> list[tuple[str, str, str]]:
        """Return (session, reason, by whom) of every end in the ledger."""
        entries = [entry for entry in self.recorder.entries() if entry.type == "session.ended"]
        return [(entry.data["session"], entry.data["reason"], entry.actor) for entry in entries if entry.data]


@dataclass
class Speaker:
    """Somebody with a session's key."""

    hall: Hall
    key: Ed25519PrivateKey
    certified: CertifiedSession

    @property
    def digest(self) -> str:
        """The session's name."""
        return self.certified.session.digest

    def begin(self) -> None:
        """Hand the person's assertion in."""
        self.hall.sessions.certify(self.digest, self.certified.assertion)

    def speaks(self, *, os_user: int = UID) -> CertifiedSession:
        """Make a request."""
        request = Request.load(
            {
                "v": 1,
                "session": self.digest,
                "method": "POST",
                "path": "/v1/intents",
                "body": hashlib.sha256(BODY).hexdigest(),
                "nonce": secrets.token_hex(16),
                "at": write_time(self.hall.now),
            }
        )
        signature = self.key.sign(signed_bytes(REQUEST_LINE, request.canonical())).hex()
        return self.hall.sessions.speaking(request, signature, body=BODY, os_user=os_user)

    def ends(self, other: Speaker) -> None:
        """Ask for the end of a session."""
        self.hall.sessions.end(other.digest, self.speaks())


@pytest.fixture
def hall(desk: World, tmp_path: Path) -> Iterator[Hall]:
    """Return an empty hall."""
    made = Hall(desk, tmp_path, desk.policy)
    yield made
    made.recorder.close()


def test_idle(hall: Hall) -> None:
    """A session may be silent for as long as the policy set says, and not a moment longer."""
    speaker = hall.login()
    for _ in range(3):
        hall.after(seconds=IDLE_S)
        assert speaker.speaks() == speaker.certified
    hall.sessions.end_overdue()
    assert hall.ends() == []
    hall.after(seconds=IDLE_S, microseconds=1)
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    assert hall.ledger.head() == head
    hall.sessions.end_overdue()
    hall.sessions.end_overdue()
    assert hall.ends() == [(speaker.digest, "idle", "service")]
    assert hall.sessions.of("pm-1") == []


def test_absolute_limit(hall: Hall) -> None:
    """A session ends when its time is over, however busy it is."""
    speaker = hall.login()
    for _ in range(8 * 4 - 1):
        hall.after(minutes=15)
        speaker.speaks()
    hall.after(minutes=15)
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    hall.sessions.end_overdue()
    assert hall.ends() == [(speaker.digest, "expired", "service")]


def test_logout(hall: Hall) -> None:
    """Who logs out is not heard again, and the person's other session is."""
    speaker, other = hall.login(), hall.login()
    speaker.ends(speaker)
    with refused(Refusal.SESSION_ENDED) as told:
        speaker.speaks()
    assert "logout" in told.detail
    assert hall.ends() == [(speaker.digest, "logout", "pm-1")]
    assert other.speaks() == other.certified
    assert [each["session"] for each in hall.sessions.of("pm-1")] == [other.digest]
    # there is room again
    hall.login()


def test_an_administrator_ends_a_session(hall: Hall) -> None:
    """A stolen laptop is stopped by somebody else, and the ledger says by whom."""
    speaker, administrator = hall.login(), hall.login("admin-1")
    administrator.ends(speaker)
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    assert hall.ends() == [(speaker.digest, "ended by an administrator", "admin-1")]


@pytest.mark.parametrize("person", ["trader-1", "cro-1", "auditor-1"])
def test_nobody_else_ends_a_session(hall: Hall, person: str) -> None:
    """Who may not administer ends only what is his own."""
    speaker, other = hall.login(), hall.login(person)
    head = hall.ledger.head()
    with refused(Refusal.ROLE_NOT_HELD):
        other.ends(speaker)
    assert (hall.ledger.head(), hall.ends()) == (head, [])
    assert speaker.speaks() == speaker.certified


def test_no_such_session(hall: Hall) -> None:
    """What never began cannot be ended."""
    administrator, waiting = hall.login("admin-1"), hall.opened()
    with refused(Refusal.SESSION_UNKNOWN):
        administrator.ends(waiting)
    assert hall.ends() == []


def test_another_os_user(hall: Hall) -> None:
    """A copied key speaks for nobody from another OS user."""
    speaker = hall.login()
    head = hall.ledger.head()
    with refused(Refusal.SESSION_FOREIGN):
        speaker.speaks(os_user=THIEF)
    assert hall.ledger.head() == head
    # and the attempt did not keep the session awake
    hall.after(seconds=IDLE_S)
    with refused(Refusal.SESSION_FOREIGN):
        speaker.speaks(os_user=THIEF)
    hall.after(seconds=1)
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()


People = list[dict[str, Any]]


def leaves(people: People) -> People:
    """Take a person out."""
    return [person for person in people if person["id"] != "pm-1"]


def moved(people: People) -> People:
    """Give a person another role."""
    return [person | ({"roles": ["trader"]} if person["id"] == "pm-1" else {}) for person in people]


def lost(people: People) -> People:
    """Take a person's login credential out."""

    def kept(person: dict[str, Any]) -> list[Any]:
        return [each for each in person["credentials"] if each["path"] != "login"]

    return [person | ({"credentials": kept(person)} if person["id"] == "pm-1" else {}) for person in people]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(leaves, id="the person left"),
        pytest.param(moved, id="the role is another"),
        pytest.param(lost, id="the credential is revoked"),
    ],
)
def test_another_policy_set(hall: Hall, change: Callable[[People], People]) -> None:
    """A session that the policy set in force would not have begun is over; others go on."""
    speaker, other = hall.login(), hall.login("cro-1")
    changed = hall.desk.sign_set(hall.desk.with_file("people.json", change), after=hall.policy)
    again = hall.restarted(changed)
    again.sessions.revoke()
    again.sessions.revoke()
    assert again.ends() == [(speaker.digest, "revoked", "service")]
    speaker.hall = other.hall = again
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    assert other.speaks() == other.certified
    again.recorder.close()


def test_the_same_policy_set(hall: Hall) -> None:
    """A restart alone ends nothing, remembers every end, and makes no session young for ever."""
    ended, speaker = hall.login(), hall.login()
    ended.ends(ended)
    hall.after(seconds=IDLE_S - 1)
    again = hall.restarted()
    again.sessions.revoke()
    again.sessions.end_overdue()
    assert len(again.ends()) == 1
    speaker.hall = ended.hall = again
    with refused(Refusal.SESSION_ENDED):
        ended.speaks()
    again.after(seconds=IDLE_S + 1)
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    again.recorder.close()


def at_once(attempts: Sequence[Callable[[], None]]) -> list[Refusal | None]:
    """Make all attempts from threads of their own; return what each was refused for."""

    def attempt(made: Callable[[], None]) -> Refusal | None:
        try:
            made()
        except RefusedError as error:
            return error.code
        return None

    with ThreadPoolExecutor(len(attempts)) as pool:
        return list(pool.map(attempt, attempts))


def test_twenty_logins_at_once(hall: Hall) -> None:
    """However many logins are signed at the same time, two of them begin."""
    speakers = [hall.opened(counter=0) for _ in range(20)]
    found = at_once([speaker.begin for speaker in speakers])
    assert found.count(None) == 2
    assert found.count(Refusal.SESSION_ENDED) == 18
    started = [entry for entry in hall.recorder.entries() if entry.type == "session.started"]
    assert len(started) == len(hall.sessions.of("pm-1")) == 2


def test_logins_that_nobody_signs(hall: Hall) -> None:
    """Whoever opens logins without end keeps himself out for a while, and nobody else."""
    for _ in range(CHALLENGES_MAX):
        hall.sessions.challenge(person="trader-1", public_key="00" * 32, os_user=UID + 1)
    with refused(Refusal.UNAVAILABLE):
        hall.sessions.challenge(person="trader-1", public_key="00" * 32, os_user=UID + 1)
    speaker = hall.login()
    assert speaker.speaks() == speaker.certified
    hall.after(seconds=CHALLENGE_LIFE.total_seconds())
    hall.sessions.challenge(person="trader-1", public_key="00" * 32, os_user=UID + 1)


def test_many_ends_at_once(hall: Hall) -> None:
    """A session that several people end at the same moment ends once."""
    speaker, administrator = hall.login(), hall.login("admin-1")
    heard = administrator.speaks()
    at_once([lambda: hall.sessions.end(speaker.digest, heard)] * 4 + [hall.sessions.end_overdue] * 4)
    assert len(hall.ends()) == 1


@pytest.mark.parametrize(
    ("before", "counter"),
    [
        pytest.param(7, 7, id="the same number again"),
        pytest.param(7, 6, id="a smaller one"),
        pytest.param(7, 0, id="it stopped counting"),
    ],
)
def test_a_double(hall: Hall, before: int, counter: int) -> None:
    """A credential that counts backwards is frozen for good, with an alert; nothing begins by it again."""
    first = hall.login(counter=before)
    speaker = hall.opened(counter=counter)
    with refused(Refusal.CREDENTIAL_FROZEN) as told:
        speaker.begin()
    assert f"counts {counter} after {before}" in told.detail
    *_, alert = hall.recorder.entries()
    assert (alert.type, alert.actor) == ("credential.frozen", "service")
    assert alert.data == {
        "v": 1,
        "credential": first.certified.assertion.credential,
        "person": "pm-1",
        "seen": before,
        "told": counter,
    }
    # what it certified before may have been the copy's: that is over as well
    head = hall.ledger.head()
    with refused(Refusal.SESSION_ENDED):
        first.speaks()
    assert hall.ledger.head() == head
    assert hall.sessions.of("pm-1") == []
    again = hall.restarted()
    again.sessions.end_overdue()
    assert again.ends() == [(first.digest, "revoked", "service")]
    head = again.ledger.head()
    with refused(Refusal.CREDENTIAL_FROZEN):
        again.login(counter=before + 1)
    assert again.ledger.head() == head
    # somebody else's credential is another one
    again.login("cro-1", counter=1)
    again.recorder.close()


def test_an_authenticator_that_does_not_count(hall: Hall) -> None:
    """One that has always said 0 may go on saying so."""
    for _ in range(2):
        hall.login(counter=0)
    assert len(hall.sessions.of("pm-1")) == 2


def test_access_review(hall: Hall) -> None:
    """The review names who holds what, who has not been here for a quarter, and who left."""
    hall.login("trader-1")
    hall.after(days=1)
    speaker = hall.login()
    canonical({"people": hall.sessions.access()})  # plain values, which an answer can carry
    reviewed = {each["person"]: each for each in hall.sessions.access()}
    assert set(reviewed) == set(hall.policy.people)
    one = reviewed["pm-1"]
    assert one["roles"] == ["portfolio_manager"]
    assert one["permissions"] == ["export", "pause", "propose", "read", "record"]
    assert [each["session"] for each in one["sessions"]] == [speaker.digest]
    assert (one["stale"], one["left"], one["last_login"]) == (False, False, write_time(hall.now))
    assert reviewed["auditor-1"]["last_login"] is None
    assert reviewed["auditor-1"]["stale"]
    assert reviewed["trader-1"]["sessions"] == []
    hall.after(seconds=(STALE_AFTER - timedelta(days=1)).total_seconds() + 1)
    assert [each["stale"] for each in hall.sessions.access() if each["person"] in {"pm-1", "trader-1"}] == [
        False,
        True,
    ]
    changed = hall.desk.sign_set(hall.desk.with_file("people.json", leaves), after=hall.policy)
    again = hall.restarted(changed)
    gone = next(each for each in again.sessions.access() if each["person"] == "pm-1")
    assert (gone["left"], gone["roles"], gone["permissions"], gone["credentials"]) == (True, [], [], 0)
    again.recorder.close()


def test_a_name_that_the_ledger_does_not_take(hall: Hall) -> None:
    """What is too long to name an entry is refused like everything else that does not fit."""
    with refused(Refusal.MALFORMED):
        hall.recorder.append("request.refused", "x" * 1025, {}, actor="pm-1")
