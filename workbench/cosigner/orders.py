"""What this co-signer has heard of pauses and revocations: one file, written before anything is signed by it.

It is never restored, and it never begins again by itself: a co-signer that has forgotten a pause would sign
what is paused. When a lease was heard last is known to this process alone: after a restart it hears another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ledger import files
from ledger.encoding import canonical, parse
from workbench.cosigner.memory import MemoryCorruptError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.intent import Intent
from workbench.rules.lease import Lease
from workbench.rules.pause import NOTHING_ORDERED, Orders

NAME = "orders.json"
FILE_MAX = 64 * 1024
NEVER = datetime.min.replace(tzinfo=UTC)


def found(folder: Path) -> None:
    """Begin: nothing was ever ordered, once."""
    files.create(folder / NAME, canonical(NOTHING_ORDERED.dump()))


class Heard:
    """The file, read once at start and kept in step, and until when the newest lease holds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._until = NEVER
        try:
            self.orders = Orders.load(parse(self._path.read_bytes(), limit=FILE_MAX))
        except (OSError, ValueError, RefusedError) as error:
            raise MemoryCorruptError(f"{NAME}: {error}") from error

    def hear(self, lease: Lease) -> None:
        """Remember what a verified lease says."""
        self.keep(lease.added_to(self.orders))
        self._until = max(self._until, lease.ends_at)

    def keep(self, orders: Orders) -> None:
        """Remember orders; never less than before, but what a release has ended."""
        mine = self.orders
        was = (mine.policy_version, mine.revocation_epoch, mine.pause_epoch)
        if any(
            new < old
            for new, old in zip(
                (orders.policy_version, orders.revocation_epoch, orders.pause_epoch), was, strict=True
            )
        ):
            raise MemoryCorruptError("an epoch would go back")
        if orders != self.orders:
            files.replace(self._path, canonical(orders.dump()))
            self.orders = orders

    def verify_lives(self, intent: Intent, *, moves: bool, now: datetime) -> None:
        """Refuse when no lease holds any more, or when a pause covers what is to be moved."""
        self.verify_holds(now)
        if moves:
            self.orders.verify_free(intent)

    def verify_holds(self, now: datetime) -> None:
        """Refuse when no lease that was heard holds any more."""
        if now >= self._until:
            raise RefusedError(Refusal.LEASE_STALE, "no lease that was heard holds any more")
