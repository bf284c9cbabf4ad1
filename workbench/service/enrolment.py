"""Registrations: asked for by whoever may propose sets, made on the approver's page, recorded here.

The approver judges what an authenticator answered; its word is recorded with everything that it was
made from, so that an auditor can judge again. Whoever has the ticket can stand in for the approver: that
the answer makes this key, for this origin, with a person present, is looked at here once more, and that
production has an edition of the metadata. Whether that edition vouches for the model is not: the service
has none. A policy set may then give the person that credential.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.identity.registration import check
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Name, write_time
from workbench.rules.enrolment import REGISTERED, CredentialPath, Registration
from workbench.rules.session import CertifiedSession
from workbench.service.desk import Desk
from workbench.service.tickets import Ticket, Tickets

BETWEEN = "/"
"""Between person and path in what a ticket is about; no name has it."""


class RegistrationAsked(Document):
    """Whose key is to be registered, for which path."""

    person: Name
    path: CredentialPath


@dataclass(slots=True)
class Enrolment:
    """The open registrations over one desk."""

    desk: Desk
    tickets: Tickets = field(default_factory=Tickets)

    def ask(self, person: str, path: CredentialPath, speaker: CertifiedSession) -> dict[str, Any]:
        """Return a ticket that opens one registration to whoever brings it."""
        with self.desk.held():
            session, now = speaker.session, self.desk.lane.clock()
            about = BETWEEN.join((person, path))
            ticket = self.tickets.issue(person=session.person, session=session.digest, about=about, now=now)
            return {"ticket": ticket.name, "expires_at": write_time(ticket.until)}

    def request(self, name: str) -> dict[str, Any]:
        """Return what the holder of a ticket is to see before he presses a key."""
        with self.desk.held():
            ticket = self.desk.ticket(self.tickets, name)
            person, path = ticket.about.split(BETWEEN)
            return {
                "v": 1,
                "person": person,
                "path": path,
                "asked_by": ticket.person,
                "expires_at": write_time(ticket.until),
                "policy_chain": [policy.dump() for policy in self.desk.lane.policies],
            }

    def answer(self, name: str, registration: Registration) -> dict[str, Any]:
        """Record what the holder of a ticket has registered, once."""
        with self.desk.held():
            ticket, lane = self.desk.ticket(self.tickets, name), self.desk.lane
            person = self._fitting(ticket, registration)
            lane.crash.reached("registered")
            made = registration.registered.credential
            data = {"v": 1, "person": person, "registration": registration.dump()}
            receipt = lane.recorder.append(REGISTERED, made.id, data, actor=ticket.person)
            lane.books.enter(next(lane.recorder.ledger.entries(receipt.seq, receipt.seq)))
            self.tickets.close(name)
            return {"person": person, "credential": made.dump(), "entry_seq": receipt.seq}

    def listed(self) -> list[dict[str, Any]]:
        """Return every registration that is recorded, by person, oldest first."""
        known = self.desk.lane.books.registered
        return [
            {"person": person, "credential": made.dump()}
            for person in sorted(known)
            for made in known[person]
        ]

    def _fitting(self, ticket: Ticket, registration: Registration) -> str:
        asked = RegistrationAsked.load(
            dict(zip(("person", "path"), ticket.about.split(BETWEEN), strict=True))
        )
        made = registration.registered.credential
        if made.path != asked.path:
            raise RefusedError(Refusal.REGISTRATION, f"a key for {made.path}, asked for one for {asked.path}")
        policy, books = self.desk.lane.policy, self.desk.lane.books
        held = [each.id for member in policy.people.values() for each in member.credentials]
        held += [each.id for listed in books.registered.values() for each in listed]
        if made.id in held:
            raise RefusedError(Refusal.REGISTRATION, "this credential is registered already")
        check(registration, path=asked.path, trust_root=self.desk.lane.trust_root)
        return asked.person
