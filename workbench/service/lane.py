"""What the steps of an intent work with, and how each leaves its entry before the next begins.

(3) to (5) are `releasing`, (6) is `confirming`; what they ask the chain for is `looking`, what they bring to
co-signers `bringing`. Each step is taken up again by the same code after a crash: what an entry says of an
intent is in the books, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.entry import Entry
from workbench.process.crash import CrashPoint
from workbench.rules import execution
from workbench.rules.carried import Carried
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.lifecycle import Event, State
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot
from workbench.service.books import Books, Matter
from workbench.service.links import Links
from workbench.service.record import Recorder

SERVICE = "service"


@dataclass(slots=True)
class Lane:
    """What the steps work with; `enter` keeps the books in step with an entry."""

    policies: Sequence[PolicySet]
    trust_root: TrustRoot
    books: Books
    recorder: Recorder
    links: Links
    clock: Callable[[], datetime]
    crash: CrashPoint

    @property
    def policy(self) -> PolicySet:
        """The set in force."""
        return self.policies[-1]

    def enter(
        self, event: Event, digest: str, data: dict[str, Any], *, actor: str, name: str | None = None
    ) -> Entry:
        """Record an event of an intent and take it into the books."""
        receipt = self.recorder.append(event.value, name or digest, data, actor=actor, subject=digest)
        entry = next(self.recorder.ledger.entries(receipt.seq, receipt.seq))
        self.books.enter(entry)
        return entry

    def happened(self, event: Event, digest: str, data: dict[str, Any], *, actor: str) -> None:
        """Record what may happen to one transaction more than once."""
        turns = self.books.matter(digest).turns
        self.enter(event, digest, data, actor=actor, name=f"{digest}-{turns}")

    def read(self, raw_tx: str, matter: Matter) -> Carried:
        """(5) Read signed bytes again: they must be the intent, or its cancel, signed by its key."""
        return execution.read(raw_tx, matter.proposal.intent, self.policy, nonce=nonce_of(matter))

    def account(self, matter: Matter) -> str:
        """Return the address that an intent is sent from."""
        return self.policy.key(matter.proposal.intent.key).address


def ready(matter: Matter) -> bool:
    """Whether an intent is between release and its end."""
    return matter.state in {State.APPROVED, State.SIGNED, State.BROADCAST, State.INCLUDED}


def nonce_of(matter: Matter) -> int:
    """Return the nonce that an intent has taken."""
    if matter.nonce is None:
        raise RefusedError(Refusal.STATE, "an intent that has no nonce")
    return matter.nonce


def signed_raws(matter: Matter) -> list[str]:
    """Return all signed bytes of an intent, the oldest first."""
    return [each.raw_tx for each in matter.sent if each.raw_tx is not None]
