"""A desk whose observer has three nodes: a liar is named in the ledger, two stop what needs the chain."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.chain.liar import Liar, lying, truth
from tests.observer.test_liars import BLOCKS, HEADS, forged, of
from tests.world import Living, living, refused
from workbench.demo.world import OBSERVER
from workbench.rules.attestation import Statement, verify_node_event
from workbench.rules.codes import RefusedError
from workbench.service.watching import NODE_EVENT

NAMES = ("node-1", "node-2", "node-3")
WAIT_S = 60.0
FORGE = HEADS["a forged header"][0]


@pytest.fixture(scope="module")
def liars() -> dict[str, Liar]:
    """Return those who stand before the chain, by the name of their node."""
    return {}


@pytest.fixture(scope="module")
def world(liars: dict[str, Liar]) -> Iterator[Living]:
    """Return a world whose observer asks three nodes."""
    with ExitStack() as ends:

        def doors(url: str) -> dict[str, str]:
            liars.update({name: ends.enter_context(lying(url)) for name in NAMES})
            return {name: liar.url for name, liar in liars.items()}

        yield ends.enter_context(living(nodes=doors))


def noted(world: Living) -> list[tuple[str, str]]:
    """Return what the ledger has of the observer's nodes, each event under its signature."""
    entries = [entry for entry in world.entries() if entry["type"] == NODE_EVENT]
    events = [verify_node_event(Statement.load(entry["data"]), world.world.trust_root) for entry in entries]
    assert all(entry["actor"] == OBSERVER for entry in entries)
    assert [event.node or None for event in events] == [entry.get("subject") for entry in entries]
    return [(event.kind, event.node) for event in events]


def until(world: Living, kind: str, node: str) -> None:
    """Wait until the ledger says so; a node that goes on lying may be out a second time meanwhile."""
    deadline = time.monotonic() + WAIT_S
    while (kind, node) not in (seen := noted(world)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)


def test_liars(world: Living, liars: dict[str, Liar]) -> None:
    """One liar is named while nobody trades, and trading goes on; with the second one it stops by name."""
    assert world.push(world.allowance()).state == "confirmed"
    assert noted(world) == []
    liars["node-2"].lie = FORGE
    until(world, "out", "node-2")
    assert set(noted(world)) == {("out", "node-2")}
    assert world.push(world.allowance(1001)).state == "confirmed"
    view = world.pm.propose(world.allowance(1002))
    liars["node-3"].lie = of(BLOCKS, lambda block: forged(block, stateRoot="0x" + "22" * 32))
    until(world, "quorum_lost", "")
    with world.unchanged(refusals=1):
        problem = refused("unavailable", lambda: world.pm.simulate(view.digest))
    assert "no quorum" in problem.detail
    for liar in liars.values():
        liar.lie = truth
    until(world, "quorum_back", "")
    assert {node for kind, node in noted(world) if kind == "out"} == {"node-2"}
    assert world.pm.simulate(view.digest).simulations


def test_events_that_nobody_signed(world: Living) -> None:
    """An event under another key, of an observer nobody knows, or of another kind, is not recorded."""
    (entry, *_) = [each for each in world.entries() if each["type"] == NODE_EVENT]
    root = world.world.trust_root
    good = entry["data"]
    assert verify_node_event(Statement.load(good), root).node == "node-2"
    forged: list[tuple[str, dict[str, Any]]] = [
        ("signature_invalid", {**good, "document": {**good["document"], "node": "node-1"}}),
        ("observer_unknown", {**good, "observer": "somebody"}),
    ]
    for code, statement in forged:
        with pytest.raises(RefusedError) as caught:
            verify_node_event(Statement.load(json.loads(canonical(statement))), root)
        assert caught.value.code.value == code
