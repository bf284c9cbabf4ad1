"""The second path: a decision, or a word about a policy set, at a terminal on a machine of the person's own.

Keys for it are registered there, too.

A request is exported to a file, carried over, and read here: verified under this machine's
trust root, decoded by this machine's code, shown in full. Nothing of the desk is running
here and nothing is asked of it. The person types two of the matter's words, which nobody
does who has not looked, and presses a key that has its own RP id: a page in a browser can
not ask for it, and a compromised approver has no part in it. The answer goes back as a file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from fido2.ctap import CtapDevice

from workbench.identity import registration
from workbench.identity.ctap import Authenticator
from workbench.identity.registration import Metadata
from workbench.rules import approval, change_request, enrolment, order_request
from workbench.rules.approval import ApprovalRequest, Asked, Verb
from workbench.rules.assertion import CONSOLE, Assertion
from workbench.rules.change_request import AskedChange, ChangeRequest, Word, WordVerb
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision, check_assertion
from workbench.rules.documents import Digest, Document
from workbench.rules.enrolment import (
    AskedRegistration,
    BrowserAnswer,
    Registration,
    RegistrationRequest,
)
from workbench.rules.order_request import AskedOrder, OrderRequest
from workbench.rules.policy import Person, Signature, verify_signature
from workbench.rules.rows import Row, Section
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

WIDTH: Final = 100
LABEL: Final = 26
CHUNK: Final = 4
ALARM: Final = "!! "
TYPED: Final = 2
"""How many of the words are typed: enough that nobody presses on without looking for them."""


class Exported(Document):
    """A request on its way to another machine, and the ticket that its answer comes back with."""

    v: Literal[1]
    ticket: Digest
    request: ApprovalRequest


class ExportedChange(Document):
    """A request about a policy set on its way to another machine, and its ticket."""

    v: Literal[1]
    ticket: Digest
    change: ChangeRequest


class ExportedRegistration(Document):
    """A registration on its way to another machine, and its ticket."""

    v: Literal[1]
    ticket: Digest
    registration: RegistrationRequest


class AnsweredRegistration(Document):
    """What was registered, on its way back."""

    v: Literal[1]
    ticket: Digest
    done: Registration


class AnsweredChange(Document):
    """A signature or a veto on its way back."""

    v: Literal[1]
    ticket: Digest
    word: Word


class Answered(Document):
    """A decision on its way back."""

    v: Literal[1]
    ticket: Digest
    signed: SignedDecision


@dataclass(frozen=True, slots=True)
class Console:
    """One person's terminal: a pinned trust root and a security key."""

    trust_root: TrustRoot
    device: CtapDevice

    def verify(self, exported: Exported, *, now: datetime) -> Asked:
        """Verify what is asked, or refuse."""
        return approval.verify(exported.request, trust_root=self.trust_root, now=now)

    def decide(
        self,
        exported: Exported,
        asked: Asked,
        *,
        verb: Verb,
        role: str,
        reason: str,
        decision_id: str,
        now: datetime,
    ) -> Answered:
        """Make the decision, have it signed, and check what came back from the key."""
        made = approval.decide(asked, verb=verb, role=role, reason=reason, decision_id=decision_id, now=now)
        assertion = self._press(asked.person, made.challenge)
        signed = SignedDecision(decision=made, assertion=assertion)
        check_assertion(signed, policy=asked.policy, trust_root=self.trust_root)
        return Answered(v=1, ticket=exported.ticket, signed=signed)

    def verify_change(self, exported: ExportedChange, *, now: datetime) -> AskedChange:
        """Verify what is asked about a policy set, or refuse."""
        return change_request.verify(exported.change, trust_root=self.trust_root, now=now)

    def say(
        self, exported: ExportedChange, asked: AskedChange, *, verb: WordVerb, reason: str
    ) -> AnsweredChange:
        """Make the word about a policy set, have it signed, and check what came back from the key."""
        said = change_request.say(asked, verb=verb, reason=reason)
        assertion = self._press(asked.person, said.challenge)
        word = change_request.spoken(asked, said, assertion, trust_root=self.trust_root)
        return AnsweredChange(v=1, ticket=exported.ticket, word=word)

    def verify_order(self, request: OrderRequest, *, person: str, now: datetime) -> AskedOrder:
        """Verify an order that one of the officers could sign, or refuse."""
        return order_request.verify(request, person=person, trust_root=self.trust_root, now=now)

    def order(self, request: OrderRequest, asked: AskedOrder) -> OrderRequest:
        """Have an order signed, check what came back from the key, and add it to what others signed."""
        challenge = asked.order.challenge
        signature = Signature(person=asked.person.id, assertion=self._press(asked.person, challenge))
        verify_signature(signature, challenge, judge=asked.policy, trust_root=self.trust_root)
        return request.signed(signature)

    def verify_registration(self, exported: ExportedRegistration, *, now: datetime) -> AskedRegistration:
        """Verify whose key is to be registered, or refuse: here only one for the second path."""
        asked = enrolment.verify(exported.registration, trust_root=self.trust_root, now=now)
        if asked.path != CONSOLE:
            raise RefusedError(Refusal.REGISTRATION, f"a key for {asked.path} is not registered here")
        return asked

    def register(
        self,
        exported: ExportedRegistration,
        asked: AskedRegistration,
        *,
        challenge: bytes,
        metadata: Metadata | None,
        now: datetime,
    ) -> AnsweredRegistration:
        """Have the key made, and judge it."""
        party = enrolment.party_of(asked.path, self.trust_root)
        options = registration.ask(asked, challenge=challenge, trust_root=self.trust_root)
        answered = BrowserAnswer.load(Authenticator(self.device, party).register(options))
        done = registration.judge(
            asked, answered, challenge=challenge, trust_root=self.trust_root, metadata=metadata, now=now
        )
        return AnsweredRegistration(v=1, ticket=exported.ticket, done=done)

    def _press(self, person: Person, challenge: bytes) -> Assertion:
        party = self.trust_root.console
        if party is None:
            raise RefusedError(Refusal.TRUST_ROOT, "this trust root has no second path", path="/console")
        held = [each.id for each in person.credentials if each.path == CONSOLE]
        if not held:
            raise RefusedError(Refusal.CREDENTIAL_UNKNOWN, f"{person.id} has no key for the second path")
        return Authenticator(self.device, party).sign(challenge, credential=held)


def to_type(digest: str) -> str:
    """Return what a person types to show that he has looked at the matter of this digest."""
    return " ".join(words(digest).split()[-TYPED:])


def printed(sections: Sequence[Section], *, title: str) -> str:
    """Return what is shown as text: labels on the left, nothing cut off."""
    lines = [title, "=" * min(len(title), WIDTH)]
    for section in sections:
        lines += ["", section.title, "-" * len(section.title)]
        for row in section.rows:
            lines += _row(row)
    return "\n".join(lines)


def _row(row: Row) -> Iterator[str]:
    parts = [*_wrapped((ALARM if row.alarm else "") + row.says), *_hex(row.hex), *_wrapped(row.remark)]
    label = textwrap.wrap(row.label, LABEL - 2)
    for number in range(max(len(parts), len(label))):
        left = label[number] if number < len(label) else ""
        right = parts[number] if number < len(parts) else ""
        yield f"{left:{LABEL}}{right}".rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - LABEL, break_long_words=True, break_on_hyphens=False)


def _hex(text: str) -> list[str]:
    prefix, digits = ("0x ", text[2:]) if text.startswith("0x") else ("", text)
    pieces = [digits[place : place + CHUNK] for place in range(0, len(digits), CHUNK)]
    return textwrap.wrap(prefix + " ".join(pieces), WIDTH - LABEL)
