"""What happens to the observers' nodes, brought into the ledger.

An observer looks at its nodes whenever it is asked, and signs an event when one is out, or back, or when too
few of them are left. Each is asked all the time, so that a node that lies is named also while nobody trades.
Events have a name each, so that asking again records nothing twice; those of an observer that was killed
before it was asked are lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.rules.attestation import verify_node_event
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.trust import TrustRoot
from workbench.service.observers import Observers
from workbench.service.record import Recorder

NODE_EVENT = "node.event"


@dataclass(slots=True)
class Watching:
    """Up to which of one observer's events the ledger has them."""

    recorder: Recorder
    observers: Observers
    name: str
    trust_root: TrustRoot
    _run: str = ""
    _after: int = 0
    _told: Refusal | None = None

    def step(self) -> None:
        """Record what is new; an observer that says what cannot be is named, one that is away is not."""
        try:
            self._record()
        except RefusedError as refused:
            if refused.code not in (Refusal.UNAVAILABLE, self._told):
                self.recorder.refusal(refused, actor="service", about=f"node events of {self.name}")
                self._told = refused.code
        else:
            self._told = None

    def _record(self) -> None:
        run, events = self.observers.node_events(self.name, self._run, self._after)
        if run != self._run:
            self._run, self._after = run, 0
        for statement in events:
            event = verify_node_event(statement, self.trust_root)
            if (statement.observer, event.run) != (self.name, run):
                raise RefusedError(Refusal.MALFORMED, "an event of another observer or run", path="/run")
            self.recorder.append(
                NODE_EVENT,
                f"{statement.observer}-{event.name}",
                statement.dump(),
                actor=statement.observer,
                subject=event.node or None,
            )
            self._after = max(self._after, event.number)
