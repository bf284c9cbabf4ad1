"""A living demo world for tests: build, attack, assert refused, assert nothing changed, verify the ledger.

Everything in it is real; what is asserted is photographed from outside: the entries of a
bundle, the co-signer's files, the treasury's account on chain.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger import verifier
from workbench.chain.node import Node
from workbench.client import (
    ChangeView,
    Client,
    IntentView,
    ProblemError,
    ServiceUnavailableError,
    waiting_logins,
)
from workbench.demo import charter, people
from workbench.demo.people import Officer
from workbench.demo.run import living_world, market
from workbench.demo.stack import Stack
from workbench.demo.world import ANCHOR, SERVICE, World
from workbench.desk import drafts
from workbench.rules.assertion import APPROVAL, CONSOLE
from workbench.rules.intent import Intent
from workbench.rules.lifecycle import FINAL
from workbench.rules.policy import PolicySet

MID = Decimal(2500)
COSIGNER = charter.COSIGNER
NOTED = frozenset({"cosigner.isolation", "request.refused", "session.started"})
ATTEMPTS = 12
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Photograph:
    """What must not change when something is refused."""

    entries: tuple[tuple[str, str], ...]
    refusals: int
    memory: str
    transactions: int


@dataclass(slots=True)
class Living:
    """A world, its processes, and its people's open sessions."""

    world: World
    stack: Stack
    crashed: set[tuple[str, str]] = field(default_factory=set)
    dies_too: str | None = None
    _officers: dict[str, Officer] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        """Where the service listens."""
        return self.world.places.socket(SERVICE)

    def officer(self, person: str) -> Officer:
        """Return a person with a session of the person's own."""
        if person not in self._officers:
            places = self.world.places
            self._officers[person] = Officer.log_in(
                person,
                folder=places.officers,
                socket=self.socket,
                policy=self.world.policy,
                trust_root=self.world.trust_root,
            )
        return self._officers[person]

    @property
    def pm(self) -> Client:
        """The portfolio manager's session."""
        return self.officer("pm-1").speaks

    def allowance(self, amount: int = 1000, **changes: Any) -> Intent:
        """Draft an allowance of so many USDC, with fields changed before it is signed."""
        drafted = drafts.draft_swap(
            drafts.Market.of(market(self.world)),
            "pm-1",
            amount_in=Decimal(amount),
            mid=MID,
            slippage_bps_max=50,
            purpose="a test",
        ).allowance
        return Intent.load({**drafted.dump(), **changes})

    def swap(self, amount: int) -> drafts.Tranche:
        """Draft a swap of so many USDC and its allowance."""
        return drafts.draft_swap(
            drafts.Market.of(market(self.world)),
            "pm-1",
            amount_in=Decimal(amount),
            mid=MID,
            slippage_bps_max=50,
            purpose="a test swap",
        )

    def outstanding(self, intent: Intent | None = None) -> IntentView:
        """Propose and simulate an intent: it waits for approval."""
        view = self.pm.propose(intent or self.allowance())
        return self.pm.simulate(view.digest)

    def approve(self, digest: str, *, person: str = "risk-1", role: str = "risk_officer") -> IntentView:
        """Let a person approve."""
        return self.officer(person).decide(digest, verb="approve", role=role, reason="a test")

    @contextmanager
    def signing_logins(self, person: str) -> Iterator[None]:
        """Have a person sign every login in his name that is opened meanwhile."""
        over = threading.Event()

        def sign() -> None:
            while not over.wait(0.2):
                for session in waiting_logins(self.socket, person):
                    people.sign_login(
                        session,
                        person=person,
                        folder=self.world.places.officers,
                        socket=self.socket,
                        policy=self.world.policy,
                        party=self.world.trust_root.login,
                    )

        thread = threading.Thread(target=sign)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def signs(self, policy: PolicySet, person: str) -> ChangeView:
        """Let an officer sign a next policy set; the risk officer does it by the second path."""
        officer = self.officer(person)
        path = CONSOLE if person == "risk-1" else APPROVAL
        return officer.speaks.sign_policy(policy.digest, officer.sign_policy(policy, path=path))

    def photograph(self) -> Photograph:
        """Look at everything from outside."""
        entries = self.entries()
        return Photograph(
            entries=tuple((entry["type"], entry["id"]) for entry in entries if entry["type"] not in NOTED),
            refusals=sum(entry["type"] == "request.refused" for entry in entries),
            memory=self.memory(),
            transactions=self.transactions(),
        )

    def memory(self) -> str:
        """Return a digest of what the co-signer has signed, and under which ledger head.

        The newest policy set it has seen is left out: it remembers that also after a refusal.
        """
        root = self.world.places.root(COSIGNER)
        head = json.loads((root / "head.json").read_text())
        seen = hashlib.sha256(f"{head['size']} {head['chain']} {head['records']}".encode())
        for path in sorted((root / "signed").glob("*.json")):
            seen.update(path.name.encode() + path.read_bytes())
        return seen.hexdigest()

    def entries(self) -> list[dict[str, Any]]:
        """Return the heads and data of every entry, from a fresh, verified bundle."""
        bundle = self.officer("auditor-1").speaks.bundle()
        verifier.verify(bundle, self.world.places.trust_root)
        lines = [json.loads(line) for line in (bundle / "entries.jsonl").read_text().splitlines()]
        return [{**json.loads(line["head"]), "data": json.loads(line["data"])} for line in lines]

    def transactions(self) -> int:
        """Return how many transactions the treasury has on chain."""
        node = self.chain()
        try:
            return node.nonce(self.world.treasury)
        finally:
            node.close()

    def chain(self) -> Node:
        """Return the chain itself, past whatever stands before it."""
        config = json.loads((self.world.places.root(ANCHOR) / "config.json").read_text())
        return Node(config["node"])

    @contextmanager
    def unchanged(self, *, refusals: int) -> Iterator[None]:
        """Assert that the block changed nothing but the ledger's record of so many refusals."""
        before = self.photograph()
        yield
        after = self.photograph()
        assert after.entries == before.entries
        assert after.memory == before.memory
        assert after.transactions == before.transactions
        assert after.refusals == before.refusals + refusals

    def revive(self) -> list[str]:
        """Start again whatever has died, without crash points; return what it was."""
        dead = [name for name in self.stack.order if not self.stack.alive(name)]
        if dead and self.dies_too is not None:
            self.stack.kill(self.dies_too)
            dead.append(self.dies_too)
            self.dies_too = None
        dead.sort(key=self.stack.order.index)
        for name in dead:
            self.crashed.add((name, self.stack.crash_points.pop(name, "")))
            self.stack.start(name)
        return dead

    def push(self, intent: Intent, *, at_step: Callable[[str], None] = lambda _: None) -> IntentView:
        """Carry an intent through the six steps, reviving what dies; `at_step` is told each step."""
        steps: list[tuple[str, Callable[[], IntentView]]] = [
            ("1", lambda: self.pm.propose(intent)),
            ("2", lambda: self._simulated(intent)),
            ("3", lambda: self._decided(intent)),
            ("4", lambda: self.pm.resume(intent.digest)),
        ]
        view = None
        for name, step in steps:
            at_step(name)
            view = self._insist(step)
        assert view is not None
        return self.settled(view)

    def settled(self, view: IntentView) -> IntentView:
        """Wait until a broadcast transaction is mined and seen."""
        for _ in range(ATTEMPTS):
            if view.state in {state.value for state in FINAL}:
                break
            time.sleep(PAUSE_S)
            view = self._insist(lambda digest=view.digest: self.pm.resume(digest))
        return view

    def _insist(self, step: Callable[[], IntentView]) -> IntentView:
        for _ in range(ATTEMPTS):
            with suppress(ServiceUnavailableError):
                try:
                    return step()
                except ProblemError as problem:
                    if problem.code not in {"unavailable", "attestation_stale"}:
                        raise
            time.sleep(PAUSE_S)
            self.revive()
        raise AssertionError("the step never succeeded")

    def _simulated(self, intent: Intent) -> IntentView:
        view = self.pm.intent(intent.digest)
        return view if view.simulations else self.pm.simulate(intent.digest)

    def _decided(self, intent: Intent) -> IntentView:
        view = self.pm.intent(intent.digest)
        return view if view.decisions else self.approve(intent.digest)


@contextmanager
def living(
    *,
    second_key: Sequence[str] = (),
    limits: Mapping[str, charter.Limit] | None = None,
    clocks: Mapping[str, charter.Clock] | None = None,
    **more: Any,
) -> Iterator[Living]:
    """Build a world in a temporary folder and bring it to life."""
    with tempfile.TemporaryDirectory(prefix="wbt-") as folder:
        state = Path(folder) / "state"
        state.mkdir(mode=0o700)
        variant = charter.Variant(tuple(second_key), limits or {}, clocks or {}, **more)
        with living_world(state, variant=variant) as (world, stack):
            yield Living(world, stack)


def refused(code: str, action: Callable[[], object], *, path: str | None = None) -> ProblemError:
    """Assert that the service refuses with this code; return the problem."""
    with pytest.raises(ProblemError) as caught:
        action()
    assert caught.value.code == code, str(caught.value)
    assert path is None or caught.value.path == path, caught.value.path
    return caught.value


__all__ = ["COSIGNER", "Living", "Photograph", "living", "people", "refused"]
