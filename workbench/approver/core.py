"""What the approver remembers: which page shows what, and which decisions wait for a key press.

A page's address carries a ticket. What the service hands out for it is verified under the
pinned trust root and kept as a look; what a key press signs is made from that look, not
from anything that came later: the service cannot change what was read, nor can the page.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from workbench import client
from workbench.client import IntentView
from workbench.rules import approval
from workbench.rules.approval import Asked, Verb
from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision, check_assertion
from workbench.rules.session import AskedLogin, CertifiedSession, verify_login
from workbench.rules.trust import TrustRoot

LOOKS_MAX = 256
LOOK_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One page: the ticket that it was opened with, and what it shows."""

    name: str
    ticket: str
    asked: Asked
    until: datetime

    @property
    def credentials(self) -> list[str]:
        """The credentials that may press for this person, base64url."""
        return [each.id for each in self.asked.person.credentials if each.path == "approval"]


@dataclass(slots=True)
class Approver:
    """The looks that are open, and the service that they are carried to."""

    trust_root: TrustRoot
    service: Path
    clock: Callable[[], datetime]
    _looks: dict[str, Look] = field(default_factory=dict)
    _drafts: dict[str, Decision] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, ticket: str) -> Look:
        """Fetch and verify what a ticket asks, or refuse."""
        now = self.clock()
        asked = approval.verify(client.asked(self.service, ticket), trust_root=self.trust_root, now=now)
        look = Look(name=secrets.token_hex(32), ticket=ticket, asked=asked, until=now + LOOK_LIFE)
        with self._lock:
            self._looks = {name: each for name, each in self._looks.items() if each.until > now}
            self._drafts = {name: each for name, each in self._drafts.items() if name in self._looks}
            if len(self._looks) >= LOOKS_MAX:
                oldest = next(iter(self._looks))
                del self._looks[oldest]
                self._drafts.pop(oldest, None)
            self._looks[look.name] = look
        return look

    def draft(self, name: str, *, verb: Verb, role: str, reason: str) -> tuple[Look, Decision]:
        """Make the decision that this look's person would sign; the one made before is void."""
        look = self._find(name)
        made = approval.decide(
            look.asked,
            verb=verb,
            role=role,
            reason=reason,
            decision_id=secrets.token_hex(16),
            now=self.clock(),
        )
        with self._lock:
            self._drafts[name] = made
        return look, made

    def answer(self, name: str, assertion: Assertion) -> IntentView:
        """Bring the signed decision to the service; it was signed here, or it is refused here."""
        look = self._find(name)
        with self._lock:
            made = self._drafts.pop(name, None)
        if made is None:
            raise RefusedError(Refusal.REPLAYED, "no decision of this page waits for a key press")
        signed = SignedDecision(decision=made, assertion=assertion)
        check_assertion(signed, policy=look.asked.policy, trust_root=self.trust_root)
        return client.answer(self.service, look.ticket, signed)

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

    def report(self, refused: RefusedError, *, about: str) -> None:
        """Have a refusal recorded; a service that is away cannot turn it into anything else."""
        try:
            client.report(self.service, refused, about=f"approver: {about}")
        except (client.ServiceUnavailableError, client.ProblemError):
            return

    def _find(self, name: str) -> Look:
        with self._lock:
            look = self._looks.get(name)
        if look is None or look.until <= self.clock():
            raise RefusedError(Refusal.NOT_FOUND, "this page is over: open it again from JupyterLab")
        return look
