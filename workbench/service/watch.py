"""The service and the watcher: policy sets in force are brought to it, what was ordered there is recorded.

The service is one way of several: who does not rely on it brings a set, an order or a release to the watcher
himself. What comes back stands in the ledger once, by its epoch, as the watcher tells it: people have signed
it, which is for whoever reads it to verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.pause import Ordered, Orders
from workbench.rules.policy import PolicySet
from workbench.service.links import Links
from workbench.service.record import Recorder

WATCHER = "watcher"
ORDERED, RELEASED = "pause.ordered", "pause.released"


@dataclass(slots=True)
class Watch:
    """What the watcher knows already, and up to which of its orders the ledger has them."""

    links: Links
    recorder: Recorder
    policies: Callable[[], Sequence[PolicySet]]
    _after: int = 0
    _told: Refusal | None = None

    def step(self) -> None:
        """Bring what is newer here, record what is newer there; a watcher that is away is asked again."""
        if self.links.watcher is None:
            return
        try:
            orders = Orders.load(self.links.watched({"operation": "status"}).get("orders"))
            self._bring(orders)
            while self._after < orders.pause_epoch:
                self._record()
        except RefusedError as refused:
            if refused.code not in (Refusal.UNAVAILABLE, self._told):
                self.recorder.refusal(refused, actor="service", about="orders of the watcher")
                self._told = refused.code
        else:
            self._told = None

    def _bring(self, orders: Orders) -> None:
        sets = self.policies()
        if orders.policy_version < sets[-1].manifest.version:
            self.links.bring_policies(sets)

    def _record(self) -> None:
        told = self.links.watched({"operation": "ordered", "after": self._after}).get("ordered")
        if not isinstance(told, list) or not told:
            raise RefusedError(Refusal.MALFORMED, "the watcher counts more orders than it tells of")
        for each in told:
            ordered = Ordered.load(each)
            if ordered.epoch != self._after + 1:
                raise RefusedError(
                    Refusal.MALFORMED, f"epoch {ordered.epoch} after {self._after}", path="/epoch"
                )
            kind = RELEASED if ordered.pause is None else ORDERED
            self.recorder.append(kind, f"epoch-{ordered.epoch}", ordered.dump(), actor=WATCHER)
            self._after = ordered.epoch
