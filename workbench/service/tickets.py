"""Tickets: who may look at what on the approver's page, and bring one answer back.

The approver has no session and no key. A person's session asks for a ticket, the page's
address carries it, and it opens one matter (an intent, a next policy set) to one person for as
long as the session lives and no longer than a quarter of an hour. Whoever steals it can read that
matter; an answer still needs the person's finger, and uses the ticket up.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, LedgerHead

TICKET_LIFE = timedelta(minutes=15)
PER_PERSON_MAX = 32
HEADS_MAX = 64


@dataclass(slots=True)
class Ticket:
    """One person's look at the matter of this digest; `heads` are the ledgers that were shown."""

    name: str
    person: str
    session: str
    about: str
    server_nonce: str
    until: datetime
    heads: list[LedgerHead] = field(default_factory=list)

    def show(self, head: LedgerHead) -> None:
        """Remember a ledger's head that a decision may name."""
        self.heads = [*self.heads, head][-HEADS_MAX:]


@dataclass(slots=True)
class Tickets:
    """The open tickets, oldest first."""

    _open: dict[str, Ticket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, *, person: str, session: str, about: str, now: datetime) -> Ticket:
        """Return a new ticket; the oldest of a person who has too many is void."""
        ticket = Ticket(
            secrets.token_hex(32), person, session, about, secrets.token_hex(32), now + TICKET_LIFE
        )
        with self._lock:
            self._open = {name: each for name, each in self._open.items() if each.until > now}
            own = [name for name, each in self._open.items() if each.person == person]
            if len(own) >= PER_PERSON_MAX:
                del self._open[own[0]]
            self._open[ticket.name] = ticket
        return ticket

    def find(self, name: str, *, now: datetime) -> Ticket:
        """Return an open ticket, or refuse."""
        with self._lock:
            ticket = self._open.get(name)
        if ticket is None or ticket.until <= now:
            raise RefusedError(Refusal.NOT_FOUND, "no such ticket, or it is over")
        return ticket

    def close(self, name: str) -> None:
        """Use up a ticket."""
        with self._lock:
            self._open.pop(name, None)

    def spend(self, made: Decision, *, now: datetime) -> None:
        """Use up the ticket that this decision answers, or refuse: each is good for one."""
        with self._lock:
            asked = (each for each in self._open.values() if each.server_nonce == made.server_nonce)
            ticket = next(asked, None)
            if ticket is None or ticket.until <= now:
                raise RefusedError(
                    Refusal.REPLAYED, "nothing that was asked and not answered", path="/decision/server_nonce"
                )
            if (ticket.person, ticket.about) != (made.person, made.intent):
                raise RefusedError(Refusal.REPLAYED, "asked of somebody else, or about something else")
            if made.ledger not in ticket.heads:
                raise RefusedError(Refusal.CHECKPOINT, "a ledger that was not shown", path="/decision/ledger")
            del self._open[ticket.name]
