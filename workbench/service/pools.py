"""Pools, prices and the rights of others: what observers prove, carried to whoever may read.

The service neither reads nor records them: they convince by themselves, or not at all. Each question costs
the nodes up to two hundred proofs, so there are few at once; more are told to come again, because the same
observer is needed for signatures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workbench.rules.allowances import AllowancesQuestion
from workbench.rules.attestation import Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.price_feed import PriceQuestion
from workbench.rules.storage import AttestedStorage, PoolQuestion
from workbench.service.observers import Observers

AT_ONCE_MAX = 2


@dataclass(frozen=True, slots=True)
class Pools:
    """The observers, and how many questions are under way."""

    observers: Observers
    _asking: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(AT_ONCE_MAX), init=False
    )

    def ask(self, question: PoolQuestion) -> list[AttestedStorage]:
        """Return what the observers attest and proves of a pool."""
        with self._turn():
            return self.observers.pool(question)

    def prices(self, question: PriceQuestion) -> list[Statement]:
        """Return what the observers attest that the sources of a pair say."""
        with self._turn():
            return self.observers.prices(question)

    def allowances(self, question: AllowancesQuestion) -> list[Statement]:
        """Return what the observers attest that others may take."""
        with self._turn():
            return self.observers.allowances(question)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._asking.acquire(blocking=False):
            raise RefusedError(Refusal.BUSY, f"{AT_ONCE_MAX} questions are being answered; ask again")
        try:
            yield
        finally:
            self._asking.release()
