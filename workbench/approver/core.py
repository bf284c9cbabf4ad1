"""What the approver remembers: which page shows what, and which decisions wait for a key press.

A page's address carries a ticket. What the service hands out for it is verified under the
pinned trust root and kept as a look; what a key press signs is made from that look, not
from anything that came later: the service cannot change what was read, nor can the page.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from workbench import client
from workbench.client import ChangeView, IntentView
from workbench.identity import registration
from workbench.identity.registration import CHALLENGE_BYTES, Metadata
from workbench.rules import approval, change_request, enrolment
from workbench.rules.approval import Asked, Verb
from workbench.rules.assertion import APPROVAL, Assertion
from workbench.rules.change_request import AskedChange, Spoken, WordVerb
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision, check_assertion
from workbench.rules.enrolment import AskedRegistration, BrowserAnswer, Registered
from workbench.rules.policy import Person
from workbench.rules.session import AskedLogin, CertifiedSession, verify_login
from workbench.rules.trust import TrustRoot

LOOKS_MAX = 256
LOOK_LIFE = timedelta(minutes=15)

A = TypeVar("A", Asked, AskedChange, AskedRegistration)
M = TypeVar("M", Decision, Spoken, bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Generic[A]):
    """One page: the ticket that it was opened with, and what it shows."""

    name: str
    ticket: str
    asked: A
    until: datetime


@dataclass(slots=True)
class Looks(Generic[A, M]):
    """The open looks of one kind, oldest first, and what was made of each and waits for its key press."""

    clock: Callable[[], datetime]
    _open: dict[str, Look[A]] = field(default_factory=dict)
    _made: dict[str, M] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, ticket: str, asked: A) -> Look[A]:
        """Keep what a page shows; of too many the oldest is over of the ticket that has the most.

        A ticket opens its page as often as somebody likes, and others are reading theirs.
        """
        now = self.clock()
        look = Look(name=secrets.token_hex(32), ticket=ticket, asked=asked, until=now + LOOK_LIFE)
        with self._lock:
            self._open = {name: each for name, each in self._open.items() if each.until > now}
            self._made = {name: each for name, each in self._made.items() if name in self._open}
            if len(self._open) >= LOOKS_MAX:
                (most, _), *_ = Counter(each.ticket for each in self._open.values()).most_common(1)
                over = next(each.name for each in self._open.values() if each.ticket == most)
                del self._open[over]
                self._made.pop(over, None)
            self._open[look.name] = look
        return look

    def find(self, name: str) -> Look[A]:
        """Return an open look, or refuse."""
        with self._lock:
            look = self._open.get(name)
        if look is None or look.until <= self.clock():
            raise RefusedError(Refusal.NOT_FOUND, "this page is over: open it again from JupyterLab")
        return look

    def make(self, name: str, made: M) -> None:
        """Keep what the next key press signs; what was made before is void."""
        with self._lock:
            self._made[name] = made

    def take(self, name: str) -> M:
        """Return what waits for a key press, once."""
        with self._lock:
            made = self._made.pop(name, None)
        if made is None:
            raise RefusedError(Refusal.REPLAYED, "nothing of this page waits for a key press")
        return made


def credentials_of(person: Person) -> list[str]:
    """Return the credentials that may press for this person on a page that decides, base64url."""
    return [each.id for each in person.credentials if each.path == APPROVAL]


@dataclass(slots=True)
class Approver:
    """The looks that are open, and the service that they are carried to.

    `vendors` reads the vendors' metadata, verified; None in a demo world that has none.
    """

    trust_root: TrustRoot
    service: Path
    clock: Callable[[], datetime]
    vendors: Callable[[datetime], Metadata] | None = None
    reviews: Looks[Asked, Decision] = field(init=False)
    changes: Looks[AskedChange, Spoken] = field(init=False)
    registrations: Looks[AskedRegistration, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.reviews, self.changes = Looks(self.clock), Looks(self.clock)
        self.registrations = Looks(self.clock)

    def look(self, ticket: str) -> Look[Asked]:
        """Fetch and verify what a ticket asks, or refuse."""
        request = client.asked(self.service, ticket)
        asked = approval.verify(request, trust_root=self.trust_root, now=self.clock())
        return self.reviews.open(ticket, asked)

    def draft(self, name: str, *, verb: Verb, role: str, reason: str) -> tuple[Look[Asked], Decision]:
        """Make the decision that this look's person would sign."""
        look = self.reviews.find(name)
        made = approval.decide(
            look.asked,
            verb=verb,
            role=role,
            reason=reason,
            decision_id=secrets.token_hex(16),
            now=self.clock(),
        )
        self.reviews.make(name, made)
        return look, made

    def answer(self, name: str, assertion: Assertion) -> IntentView:
        """Bring the signed decision to the service; it was signed here, or it is refused here."""
        look = self.reviews.find(name)
        signed = SignedDecision(decision=self.reviews.take(name), assertion=assertion)
        check_assertion(signed, policy=look.asked.policy, trust_root=self.trust_root)
        return client.answer(self.service, look.ticket, signed)

    def look_at_change(self, ticket: str) -> Look[AskedChange]:
        """Fetch and verify what a ticket about a policy set asks, or refuse."""
        request = client.asked_change(self.service, ticket)
        asked = change_request.verify(request, trust_root=self.trust_root, now=self.clock())
        return self.changes.open(ticket, asked)

    def say(self, name: str, *, verb: WordVerb, reason: str) -> tuple[Look[AskedChange], Spoken]:
        """Make the word that this look's person would sign."""
        look = self.changes.find(name)
        made = change_request.say(look.asked, verb=verb, reason=reason)
        self.changes.make(name, made)
        return look, made

    def spoken(self, name: str, assertion: Assertion) -> ChangeView:
        """Bring the signed word to the service; it was signed here, or it is refused here."""
        look = self.changes.find(name)
        said = self.changes.take(name)
        word = change_request.spoken(look.asked, said, assertion, trust_root=self.trust_root)
        return client.answer_change(self.service, look.ticket, word)

    def login(self, session: str) -> AskedLogin:
        """Fetch and verify an open login, or refuse."""
        request = client.asked_login(self.service, session)
        login = verify_login(request, trust_root=self.trust_root, now=self.clock())
        if login.session.digest != session:
            raise RefusedError(Refusal.SESSION_FOREIGN, "another login than the one that was asked for")
        return login

    def certify(self, session: str, assertion: Assertion) -> CertifiedSession:
        """Bring a key press over an open login to the service."""
        return client.certify(self.service, self.login(session).session, assertion)

    def look_at_registration(self, ticket: str) -> Look[AskedRegistration]:
        """Fetch and verify whose key is to be registered, or refuse."""
        request = client.asked_registration(self.service, ticket)
        asked = enrolment.verify(request, trust_root=self.trust_root, now=self.clock())
        return self.registrations.open(ticket, asked)

    def begin(self, name: str) -> dict[str, Any]:
        """Return what the browser has to ask the authenticator for; what was asked before is void."""
        asked = self.registrations.find(name).asked
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        self.registrations.make(name, challenge)
        return registration.ask(asked, challenge=challenge, trust_root=self.trust_root)

    def register(self, name: str, answered: BrowserAnswer) -> Registered:
        """Judge what an authenticator has answered, and bring it to the service."""
        look, challenge = self.registrations.find(name), self.registrations.take(name)
        now = self.clock()
        done = registration.judge(
            look.asked,
            answered,
            challenge=challenge,
            trust_root=self.trust_root,
            metadata=self.vendors(now) if self.vendors else None,
            now=now,
        )
        client.registered(self.service, look.ticket, done)
        return done.registered

    def report(self, refused: RefusedError, *, about: str) -> None:
        """Have a refusal recorded; a service that is away cannot turn it into anything else."""
        try:
            client.report(self.service, refused, about=f"approver: {about}")
        except (client.ServiceUnavailableError, client.ProblemError):
            return
