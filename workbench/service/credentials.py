"""The credentials' counters: an authenticator that counts backwards has a double.

An authenticator counts its assertions. One whose number is not above every number that was
recorded of it before was made by a copy, or by the original after a copy had signed: nobody
can tell which, so the credential is frozen, at once and for good. The ledger has that as an
entry of its own; only another policy set, with another credential, gives the person a voice
again. An authenticator that always says 0 does not count (WebAuthn allows it), and is told
from one that stopped counting by what it said before.

The numbers are memory, so they are the service's: a co-signer sees assertions without their
order. What it is shown was recorded here first.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.rules import assertion as webauthn
from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.books import CREDENTIAL_FROZEN, Books
from workbench.service.record import Recorder

SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What each credential has counted, and the ledger that hears of a double."""

    books: Books
    recorder: Recorder

    def admit(self, assertion: Assertion, *, person: str) -> None:
        """Refuse a verified assertion of a frozen credential, or one that freezes it.

        The caller records the assertion next, and keeps others from doing the same in between.
        """
        credential, told = assertion.credential, webauthn.counter(assertion)
        if credential in self.books.frozen:
            raise RefusedError(Refusal.CREDENTIAL_FROZEN, f"a credential of {person} is frozen")
        seen = self.books.counters.get(credential, 0)
        if told > seen or told == seen == 0:
            return
        data = {"v": 1, "credential": credential, "person": person, "seen": seen, "told": told}
        receipt = self.recorder.append(CREDENTIAL_FROZEN, credential, data, actor=SERVICE)
        self.books.enter(next(self.recorder.ledger.entries(receipt.seq, receipt.seq)))
        raise RefusedError(
            Refusal.CREDENTIAL_FROZEN, f"a credential of {person} counts {told} after {seen}: it has a double"
        )
