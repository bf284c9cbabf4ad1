"""Time-stamps from time to time: outside authorities say when the newest checkpoint was there.

Each authority is asked at most once in an interval of one run, and only when the ledger has grown since its
last word. What it answers is verified under the trust root before it is kept, as
`timestamps/<size>.<authority>.tsr`; one that is slow, gone or lying costs a time-out in this loop, for which
nobody waits, and leaves nothing behind.

Time-stamps lie as files beside the database and not in it: they are evidence about a checkpoint that is there
already, each stands for itself, and none needs a transaction. A bundle carries all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ledger import timestamp, timestamp_client
from ledger.timestamp import TimestampError
from ledger.timestamp_client import UnreachableError
from ledger.trust import TrustRoot
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.record import Stamps

TIMEOUT_S = 20.0


@dataclass(slots=True)
class Stamping:
    """The authorities that this service asks, by their names in the trust root, and when it did so last."""

    newest: Callable[[], str | None]
    stamps: Stamps
    trust_root: TrustRoot
    addresses: Mapping[str, str]
    every: timedelta
    clock: Callable[[], datetime]
    nonce: Callable[[], int]
    _asked: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.addresses) - set(self.trust_root.authorities)
        if unknown:
            # No verifier would ever count what it says.
            raise RefusedError(Refusal.TRUST_ROOT, f"no authority of the trust root: {sorted(unknown)}")
        if self.addresses:
            timestamp.check_available()
        for address in self.addresses.values():
            timestamp_client.check(address)

    def step(self) -> list[str]:
        """Ask every authority whose time has come; return what went wrong, one line each."""
        note = self.newest()
        if note is None:
            return []
        failures = []
        for name in filter(self._due, self.addresses):
            try:
                self._ask(name, note)
            except (TimestampError, UnreachableError) as error:
                failures.append(f"{name}: {error}")
        return failures

    def _due(self, name: str) -> bool:
        asked = self._asked.get(name)
        return asked is None or self.clock() - asked >= self.every

    def _ask(self, name: str, note: str) -> None:
        checkpoint = self.trust_root.verify(note)
        if self.stamps.has(checkpoint.size, name):
            return
        # before the answer: one that never comes must not be asked for again and again
        self._asked[name] = self.clock()
        raw, stamped = timestamp_client.ask(
            self.addresses[name],
            self.trust_root.authorities,
            authority=name,
            checkpoint=checkpoint,
            nonce=self.nonce(),
            timeout_s=TIMEOUT_S,
        )
        self.stamps.keep(stamped.size, name, raw)
