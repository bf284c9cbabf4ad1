"""kill -9 of service, observer and co-signer at each of the six steps.

The process ends itself at an explicit point, or, where it takes no part in a step, is
killed by its pid while the intent stands at that step. After its restart the transaction
completes or is cleanly refused; there is at most one transaction on chain; the ledger is sound.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import COSIGNER, Living, living
from workbench.demo.world import OBSERVER, SERVICE

SERVICE_POINTS = ("1", "2", "3", "4", "5-before", "5-after", "6")
OBSERVER_POINTS = ("2", "3", "4", "5-before", "5-after", "6")
COSIGNER_POINTS = ("4-received", "4-decided", "4-persisted", "4-signed", "4-answer")
STEPS = ("1", "2", "3", "4")

POINTS = [
    *((SERVICE, point) for point in SERVICE_POINTS),
    *((OBSERVER, point) for point in OBSERVER_POINTS),
    *((COSIGNER, point) for point in COSIGNER_POINTS),
]
KILLS = [(name, step) for name in (SERVICE, OBSERVER, COSIGNER) for step in STEPS]


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One world; each case leaves it whole."""
    with living() as built:
        yield built


def only_one_transaction(world: Living, before: int) -> None:
    """Assert that everything is up and sound and that the chain has exactly one transaction more."""
    world.revive()
    assert world.transactions() == before + 1
    kinds = [entry["type"] for entry in world.entries()]
    assert kinds.count("transaction.signed") == kinds.count("transaction.confirmed") == world.transactions()


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_crash_at_a_point(world: Living, name: str, point: str) -> None:
    """A process that dies exactly there is restarted, and the transaction happens once."""
    before = world.transactions()
    world.officer("risk-1")
    world.officer("auditor-1")
    intent = world.allowance(100 + before)
    assert world.pm is not None
    world.stack.kill(name)
    world.stack.start(name, crash_at=point)
    view = world.push(intent)
    assert view.state == "confirmed"
    only_one_transaction(world, before)
    assert (name, point) in world.crashed, "the crash point was never reached"


@pytest.mark.parametrize("point", ["5-before", "5-after", "6"])
@pytest.mark.parametrize("name", [COSIGNER, OBSERVER])
def test_two_die_at_once(world: Living, name: str, point: str) -> None:
    """The service dies while it broadcasts or confirms, and another process with it; it happens once."""
    before = world.transactions()
    world.officer("risk-1")
    world.officer("auditor-1")
    intent = world.allowance(100 + before)
    assert world.pm is not None
    world.stack.kill(SERVICE)
    world.stack.start(SERVICE, crash_at=point)
    world.dies_too = name
    assert world.push(intent).state == "confirmed"
    assert world.dies_too is None
    only_one_transaction(world, before)


@pytest.mark.parametrize(("name", "step"), KILLS)
def test_kill_between_steps(world: Living, name: str, step: str) -> None:
    """A process that is killed while an intent stands at a step is restarted; it happens once."""
    before = world.transactions()
    world.officer("risk-1")
    world.officer("auditor-1")
    intent = world.allowance(100 + before)
    assert world.pm is not None
    view = world.push(intent, at_step=lambda now: world.stack.kill(name) if now == step else None)
    assert view.state == "confirmed"
    only_one_transaction(world, before)
