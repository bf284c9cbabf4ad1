"""To each co-signer's own socket, past the service: a lease every few seconds, and at once what was ordered.

A co-signer answers with what it remembers. Where it still has a scope that is released here, because it was
away, it is brought the release with its officers' signatures. One that knows of more than this watcher is
named: either it lies, or this watcher was set back, whose leases count nowhere any more then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.process.frames import FrameError, call
from workbench.rules.codes import RefusedError
from workbench.rules.pause import Orders, SignedRelease
from workbench.watcher.core import Watcher

TIMEOUT_S = 3.0


@dataclass(slots=True)
class Pushing:
    """The way to one co-signer."""

    watcher: Watcher
    name: str
    socket: Path
    every_s: float
    woken: threading.Event
    _told: str = field(default="")

    def forever(self) -> None:
        """Bring leases as long as this process lives."""
        while True:
            self.woken.wait(self.every_s)
            self.woken.clear()
            self.step()

    def step(self) -> None:
        """Bring one lease, and what of releases is missing; a co-signer that is away is passed over."""
        try:
            said = self._tell("lease")
            for release in self._missing(said):
                self._tell(
                    "release",
                    release=release.dump(),
                    policy_chain=[each.dump() for each in self.watcher.memory.sets],
                )
        except (FrameError, RefusedError) as error:
            self._complain(str(error))
        else:
            self._told = ""

    def _tell(self, operation: str, **more: Any) -> Orders:  # noqa: ANN401 - the JSON edge
        lease = self.watcher.lease().dump()
        said = call(
            self.socket, {"v": 1, "operation": operation, "lease": lease, **more}, timeout_s=TIMEOUT_S
        )
        refused = said.get("refused")
        if isinstance(refused, dict):
            raise FrameError(f"{refused.get('code')}: {refused.get('detail')}"[:300])
        return Orders.load(said.get("orders"))

    def _missing(self, theirs: Orders) -> Iterator[SignedRelease]:
        """Return the releases that end what a co-signer has paused and this watcher has not, oldest first."""
        mine = self.watcher.memory
        extra = {scope for scope, epoch in theirs.paused.items() if mine.orders.paused.get(scope, 0) < epoch}
        in_force = mine.sets[-1].digest
        for each in mine.ordered:
            signed = each.release
            # one that was signed under an earlier set would be refused
            if signed is None or signed.release.policy != in_force:
                continue
            if extra & set(signed.release.scopes):
                yield signed

    def _complain(self, said: str) -> None:
        # once for each reason
        if said != self._told:
            print(f"watcher: {self.name}: {said}", file=sys.stderr, flush=True)
            self._told = said
