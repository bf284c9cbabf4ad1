"""Logins and requests: who is speaking.

A login has two halves. A client shows a public key and gets a session document; whoever
holds the person's authenticator signs it; only then does the key speak for the person.
Each request is signed by the session's key, once, about now, and comes from the OS user
that the session names. Documents are verified in `rules`; what stands here is memory:
open challenges, used nonces, the last time a session spoke.

A session ends once, for one reason, which the ledger has: its person logged out, somebody
who may administer ended it, it was idle or its time ran out, it was renewed, or the policy
set in force no longer bears its certificate (the person, a role or the credential is gone).
A restart knows every end; what it does not know, when a session spoke last, it takes for its
own start.

A renewal is a login that a session asks for, and that takes that session's place: another
key, another key press. The session ends first and its successor starts then, so that a crash
in between leaves one fewer and never one more than is permitted. It is renewed once; where it
is over when the key is pressed, nothing is left to take the place of, and the login is one
like any other.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from workbench.rules import roles
from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, write_time
from workbench.rules.policy import PolicySet
from workbench.rules.roles import Permission
from workbench.rules.session import (
    REQUEST_SKEW_S,
    CertifiedSession,
    Request,
    Session,
    verify_request,
    verify_session,
)
from workbench.rules.trust import TrustRoot
from workbench.service.books import SESSION_ENDED, SESSION_STARTED, Books
from workbench.service.credentials import Credentials
from workbench.service.record import Recorder

CHALLENGES_MAX = 64
"""Each OS user has places of his own, so that nobody can keep the others out by filling them."""
CHALLENGE_LIFE = timedelta(seconds=120)
NONCES_MAX = 100_000
STALE_AFTER = timedelta(days=90)
"""A role that nobody has used for a quarter is a question for the next access review."""
SERVICE = "service"


class End(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    ADMINISTERED = "ended by an administrator"
    IDLE = "idle"
    RENEWED = "renewed"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Opened:
    """A login that nobody has signed yet, how long it may wait, and the session that it would renew."""

    session: Session
    until: datetime
    renews: str | None


@dataclass(slots=True)
class Sessions:
    """The open challenges and the sessions' last signs of life."""

    policy: PolicySet
    trust_root: TrustRoot
    books: Books
    recorder: Recorder
    credentials: Credentials
    clock: Callable[[], datetime]
    started: datetime
    _open: dict[str, Opened] = field(default_factory=dict)
    _nonces: dict[str, datetime] = field(default_factory=dict)
    _spoke: dict[str, datetime] = field(default_factory=dict)
    _unborne: set[str] = field(default_factory=set)
    """Those that a policy set does not bear, until their ends are recorded."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def challenge(self, *, person: str, public_key: str, os_user: int, renews: str | None = None) -> Session:
        """Return the session document for a key; it means nothing until it is signed."""
        now = self.clock()
        known = self.policy.person(person)
        session = Session.load(
            {
                "v": 1,
                "public_key": public_key,
                "person": person,
                "os_user": os_user,
                "roles": list(known.roles),
                "issued_at": write_time(now),
                "expires_at": write_time(now + timedelta(seconds=self.policy.limits.session_life_s_max)),
                "nonce": secrets.token_hex(32),
            }
        )
        with self._lock:
            self._open = {name: item for name, item in self._open.items() if item.until > now}
            own = sum(item.session.os_user == os_user for item in self._open.values())
            if own >= CHALLENGES_MAX:
                raise RefusedError(Refusal.UNAVAILABLE, f"{own} logins of OS user {os_user} are open")
            self._open[session.digest] = Opened(session, now + CHALLENGE_LIFE, renews)
        return session

    def renewal(self, digest: str, *, public_key: str, speaker: CertifiedSession) -> Session:
        """Open the login whose session is to take the place of the one that asks for it."""
        own = speaker.session
        # who holds one session's key must not put an end to another one, not even of the same person
        if digest != own.digest:
            raise RefusedError(Refusal.SESSION_FOREIGN, "a session renews itself and no other")
        return self.challenge(person=own.person, public_key=public_key, os_user=own.os_user, renews=digest)

    def waiting(self, person: str) -> list[Session]:
        """Return the open logins that this person could sign."""
        now = self.clock()
        with self._lock:
            logins = list(self._open.values())
        return [each.session for each in logins if each.session.person == person and each.until > now]

    def opened(self, digest: str) -> Session:
        """Return the document of an open login, or refuse."""
        return self._opened(digest).session

    def _opened(self, digest: str) -> Opened:
        with self._lock:
            found = self._open.get(digest)
        if found is None or found.until <= self.clock():
            raise RefusedError(Refusal.SESSION_UNKNOWN, "no open login of this name")
        return found

    def pending(self, digest: str) -> bool:
        """Whether a login is open and not signed yet."""
        with self._lock:
            found = self._open.get(digest)
        return found is not None and found.until > self.clock()

    def certify(self, digest: str, assertion: Assertion) -> CertifiedSession:
        """Start a session whose document its person has signed."""
        # one at a time: two logins at once must not both find room for one
        with self._lock:
            opened = self._opened(digest)
            session = opened.session
            certified = CertifiedSession(session=session, assertion=assertion)
            verify_session(certified, policy=self.policy, trust_root=self.trust_root)
            renewed = self._room(opened)
            self.credentials.admit(assertion, person=session.person)
            if renewed is not None:
                self._end(renewed, End.RENEWED, by=session.person, successor=digest)
                # a crash here leaves the person without either: he logs in again
            receipt = self.recorder.append(SESSION_STARTED, digest, certified.dump(), actor=session.person)
            self.books.enter(next(self.recorder.ledger.entries(receipt.seq, receipt.seq)))
            self._spoke[digest] = self.clock()
            # only now: until the session is there, whoever asks is told that it is pending
            del self._open[digest]
            return certified

    def _room(self, opened: Opened) -> str | None:
        """Return the session that a login takes the place of, if it does; refuse where there is no room."""
        before = self.books.ended.get(opened.renews) if opened.renews else None
        # many renewals of one session at once: one of them has its place, the others have none
        if before is not None and before.reason == End.RENEWED:
            raise RefusedError(Refusal.SESSION_ENDED, "that session was renewed already")
        person = opened.session.person
        sessions = list(self.books.sessions.values())
        alive = {each.session.digest for each in sessions if self._alive(each, person)}
        others = alive - {opened.renews}
        if len(others) >= self.policy.limits.sessions_per_person_max:
            raise RefusedError(Refusal.SESSION_ENDED, f"{person} has {len(others)} sessions already")
        return opened.renews if opened.renews in alive else None

    def get(self, digest: str) -> CertifiedSession:
        """Return a session that has been certified, or refuse."""
        certified = self.books.sessions.get(digest)
        if certified is not None and not self._revoked(certified):
            return certified
        if certified is not None:
            raise RefusedError(Refusal.SESSION_ENDED, f"this session has ended: {End.REVOKED}")
        if digest in self.books.ended:
            reason = self.books.ended[digest].reason
            raise RefusedError(Refusal.SESSION_ENDED, f"this session has ended: {reason}")
        raise RefusedError(Refusal.SESSION_UNKNOWN, "no such session")

    def speaking(self, request: Request, signature: str, *, body: bytes, os_user: int) -> CertifiedSession:
        """Return the session that made this request, or refuse."""
        now = self.clock()
        certified = self.get(request.session)
        session = certified.session
        if session.os_user != os_user:
            raise RefusedError(
                Refusal.SESSION_FOREIGN, f"OS user {os_user} speaks in a session of {session.os_user}"
            )
        verify_request(request, signature, session, now=now)
        if hashlib.sha256(body).hexdigest() != request.body:
            raise RefusedError(Refusal.SIGNATURE, "the request's body is not the one that was signed")
        self._once(request, now)
        # hearing it and remembering that are one act: a session that is being ended does not speak on
        with self._lock:
            self.get(request.session)
            if self._idle_s(session, now) > self.policy.limits.session_idle_s:
                raise RefusedError(Refusal.SESSION_ENDED, f"idle for {self._idle_s(session, now):.0f} s")
            self._spoke[session.digest] = now
        return certified

    def of(self, person: str) -> list[dict[str, Any]]:
        """Return a person's sessions that could still speak, oldest first."""
        alive = [each.session for each in list(self.books.sessions.values()) if self._alive(each, person)]
        return [
            {
                "session": session.digest,
                "issued_at": session.issued_at,
                "expires_at": session.expires_at,
                "last_used": write_time(self._spoken(session)),
            }
            for session in sorted(alive, key=lambda session: session.issued_at)
        ]

    def end(self, digest: str, speaker: CertifiedSession) -> None:
        """End a session: one's own, or another's by somebody who may administer."""
        ending, person = self.get(digest).session.person, speaker.session.person
        if ending != person:
            roles.require(self.policy.roles, speaker.session.roles, [Permission.ADMINISTER], person=person)
        self._end(digest, End.LOGOUT if ending == person else End.ADMINISTERED, by=person)

    def end_overdue(self) -> None:
        """End every session that was idle for too long, out of time, or revoked."""
        now = self.clock()
        for digest, certified in list(self.books.sessions.items()):
            if self._revoked(certified):
                self._end(digest, End.REVOKED, by=SERVICE)
            elif read_time(certified.session.expires_at) <= now:
                self._end(digest, End.EXPIRED, by=SERVICE)
            elif self._idle_s(certified.session, now) > self.policy.limits.session_idle_s:
                self._end(digest, End.IDLE, by=SERVICE)

    def adopt(self, policy: PolicySet) -> None:
        """Judge by another policy set from here on, and end what it does not bear."""
        # a login that was verified under the old set is recorded before, so that it is found
        with self._lock:
            self.policy = policy
        self.revoke()

    def revoke(self) -> None:
        """End every session whose certificate the policy set in force does not bear any more.

        First none of them speaks on, then each end is recorded: whoever keeps the ledger busy must not
        keep his session. What could not be recorded now, `end_overdue` does.
        """
        sessions = list(self.books.sessions.items())
        unborne = [digest for digest, certified in sessions if not self._borne(certified)]
        with self._lock:
            self._unborne.update(unborne)
        for digest in unborne:
            self._end(digest, End.REVOKED, by=SERVICE)

    def access(self) -> list[dict[str, Any]]:
        """Return who holds what and when it was used last; who left the policy set holds nothing."""
        now, known = self.clock(), self.policy.people
        reviewed = []
        for person in sorted({*known, *self.books.logins}):
            member, last = known.get(person), self.books.logins.get(person)
            held = roles.held(self.policy.roles, member.roles if member else [])
            reviewed.append(
                {
                    "person": person,
                    "roles": list(member.roles) if member else [],
                    "permissions": sorted(permission.value for permission in held),
                    "credentials": len(member.credentials) if member else 0,
                    "last_login": None if last is None else write_time(last),
                    "stale": last is None or now - last > STALE_AFTER,
                    "left": member is None,
                    "sessions": self.of(person),
                }
            )
        return reviewed

    def _end(self, digest: str, reason: End, *, by: str, successor: str | None = None) -> None:
        # one end for each session, also when an administrator and its person press at once
        with self._lock:
            if digest not in self.books.sessions:
                return
            data = {"v": 1, "session": digest, "reason": reason.value}
            data |= {} if successor is None else {"successor": successor}
            receipt = self.recorder.append(SESSION_ENDED, digest, data, actor=by)
            self.books.enter(next(self.recorder.ledger.entries(receipt.seq, receipt.seq)))
            self._spoke.pop(digest, None)
            self._unborne.discard(digest)

    def active(self, digest: str) -> bool:
        """Whether a session could still speak."""
        certified = self.books.sessions.get(digest)
        return certified is not None and self._alive(certified, certified.session.person)

    def carried_on(self, digest: str) -> bool:
        """Whether a session, or the one that renewals have put in its place, could still speak."""
        while (ended := self.books.ended.get(digest)) is not None and ended.successor is not None:
            digest = ended.successor
        return self.active(digest)

    def _borne(self, certified: CertifiedSession) -> bool:
        try:
            verify_session(certified, policy=self.policy, trust_root=self.trust_root)
        except RefusedError:
            return False
        return True

    def _revoked(self, certified: CertifiedSession) -> bool:
        # of a double: the original or its copy may have certified this, and nobody can tell which
        doubled = certified.assertion.credential in self.books.frozen
        return doubled or certified.session.digest in self._unborne

    def _alive(self, certified: CertifiedSession, person: str) -> bool:
        session, now = certified.session, self.clock()
        return (
            session.person == person
            and not self._revoked(certified)
            and read_time(session.expires_at) > now
            and self._idle_s(session, now) <= self.policy.limits.session_idle_s
        )

    def _idle_s(self, session: Session, now: datetime) -> float:
        return (now - self._spoken(session)).total_seconds()

    def _spoken(self, session: Session) -> datetime:
        # a restart does not make an idle session young again for ever: it counts from the restart on
        return self._spoke.get(session.digest, self.started)

    def _once(self, request: Request, now: datetime) -> None:
        # what was said before this process began may have been heard by the one before it
        if read_time(request.at) < self.started:
            raise RefusedError(Refusal.REPLAYED, "this request is older than this process", path="/at")
        horizon = now - timedelta(seconds=2 * REQUEST_SKEW_S)
        # looking and remembering are one act: two copies at once must not both find nothing
        with self._lock:
            self._forget(horizon)
            if request.nonce in self._nonces:
                raise RefusedError(Refusal.REPLAYED, "this request was made before", path="/nonce")
            if len(self._nonces) >= NONCES_MAX:
                raise RefusedError(Refusal.UNAVAILABLE, "too many requests to remember")
            self._nonces[request.nonce] = now

    def _forget(self, horizon: datetime) -> None:
        # oldest first; a clock that was set back keeps some for longer, and none for less long
        while self._nonces and self._nonces[first := next(iter(self._nonces))] <= horizon:
            del self._nonces[first]
