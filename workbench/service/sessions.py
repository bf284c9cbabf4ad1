"""Logins and requests: who is speaking.

A login has two halves. A client shows a public key and gets a session document; whoever
holds the person's authenticator signs it; only then does the key speak for the person.
Each request is signed by the session's key, once, about now, and comes from the OS user
that the session names. Documents are verified in `rules`; what stands here is memory:
open challenges, used nonces, the last time a session spoke.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, write_time
from workbench.rules.policy import PolicySet
from workbench.rules.session import (
    REQUEST_SKEW_S,
    CertifiedSession,
    Request,
    Session,
    verify_request,
    verify_session,
)
from workbench.rules.trust import TrustRoot
from workbench.service.books import SESSION_STARTED, Books
from workbench.service.record import Recorder

CHALLENGES_MAX = 64
CHALLENGE_LIFE = timedelta(seconds=120)
NONCES_MAX = 100_000


@dataclass(slots=True)
class Sessions:
    """The open challenges and the sessions' last signs of life."""

    policy: PolicySet
    trust_root: TrustRoot
    books: Books
    recorder: Recorder
    clock: Callable[[], datetime]
    started: datetime
    _open: dict[str, tuple[Session, datetime]] = field(default_factory=dict)
    _nonces: dict[str, datetime] = field(default_factory=dict)
    _spoke: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def challenge(self, *, person: str, public_key: str, os_user: int) -> Session:
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
            self._open = {name: item for name, item in self._open.items() if item[1] > now}
            if len(self._open) >= CHALLENGES_MAX:
                raise RefusedError(Refusal.UNAVAILABLE, f"{len(self._open)} logins are open")
            self._open[session.digest] = (session, now + CHALLENGE_LIFE)
        return session

    def waiting(self, person: str) -> list[Session]:
        """Return the open logins that this person could sign."""
        now = self.clock()
        with self._lock:
            logins = list(self._open.values())
        return [session for session, until in logins if session.person == person and until > now]

    def pending(self, digest: str) -> bool:
        """Whether a login is open and not signed yet."""
        with self._lock:
            _, until = self._open.get(digest, (None, self.clock()))
        return until > self.clock()

    def certify(self, digest: str, assertion: Assertion) -> CertifiedSession:
        """Start a session whose document its person has signed."""
        # one at a time: two logins at once must not both find room for one
        with self._lock:
            session, until = self._open.get(digest, (None, None))
            if session is None or until is None or until <= self.clock():
                raise RefusedError(Refusal.SESSION_UNKNOWN, "no open login of this name")
            certified = CertifiedSession(session=session, assertion=assertion)
            verify_session(certified, policy=self.policy, trust_root=self.trust_root)
            alive = [
                each
                for each in list(self.books.sessions.values())
                if self._alive(each.session, session.person)
            ]
            if len(alive) >= self.policy.limits.sessions_per_person_max:
                raise RefusedError(
                    Refusal.SESSION_ENDED, f"{session.person} has {len(alive)} sessions already"
                )
            receipt = self.recorder.append(SESSION_STARTED, digest, certified.dump(), actor=session.person)
            self.books.enter(next(self.recorder.ledger.entries(receipt.seq, receipt.seq)))
            self._spoke[digest] = self.clock()
            # only now: until the session is there, whoever asks is told that it is pending
            del self._open[digest]
            return certified

    def get(self, digest: str) -> CertifiedSession:
        """Return a session that has been certified, or refuse."""
        try:
            return self.books.sessions[digest]
        except KeyError:
            raise RefusedError(Refusal.SESSION_UNKNOWN, "no such session") from None

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
        idle = (now - self._spoke.get(session.digest, now)).total_seconds()
        if idle > self.policy.limits.session_idle_s:
            raise RefusedError(Refusal.SESSION_ENDED, f"idle for {idle:.0f} s")
        self._spoke[session.digest] = now
        return certified

    def active(self, digest: str) -> bool:
        """Whether a session could still speak."""
        certified = self.books.sessions.get(digest)
        return certified is not None and self._alive(certified.session, certified.session.person)

    def _alive(self, session: Session, person: str) -> bool:
        now = self.clock()
        idle = (now - self._spoke.get(session.digest, now)).total_seconds()
        return (
            session.person == person
            and read_time(session.expires_at) > now
            and idle <= self.policy.limits.session_idle_s
        )

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
