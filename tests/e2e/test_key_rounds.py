"""Orders on keys that do not go through at once: whatever dies, and whenever, one key comes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.test_key_operations import MADE_S, done, ended, index, operation, signed
from tests.e2e.test_shared import NAMES, sent, signers
from tests.world import Living, living
from workbench import client
from workbench.client import ProblemError
from workbench.demo import charter
from workbench.rules.documents import write_time

KEY = charter.KEY_ID
SHARED = {"parties": list(NAMES), "threshold": 3}
LIFE_S = 20
"""How long an order lives that is to run out: long enough for its run, of four seconds here."""
LAST = "key-take-3-echo"
"""What a party takes before it has its share."""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share."""
    with living(engine="mpc") as built:
        yield built


def dies_at(world: Living, victim: str, point: str) -> None:
    """Have a party die when it comes to a point."""
    world.stack.stop_one(victim)
    world.stack.start(victim, crash_at=point)


def back(world: Living, victim: str) -> None:
    """Start one again that has died, as it was."""
    world.stack.crash_points.pop(victim)
    world.stack.start(victim)


def past(moment: datetime) -> None:
    """Wait until a moment has passed."""
    deadline = time.monotonic() + LIFE_S + 1
    while datetime.now(UTC) <= moment:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("what", ["dkg", "refresh"])
def test_an_order_runs_out_between_shares(world: Living, what: str) -> None:
    """Four have a share, one died before its own and is away until it is over: it ends, the next is done."""
    victim, survivors = NAMES[4], NAMES[:4]
    key: dict[str, Any] = {"key": "late", "parameters": SHARED} if what == "dkg" else {"key": KEY}
    used = {(index(world, name, key["key"]) or {}).get("used", 0) for name in NAMES}
    (epoch,) = {each + 1 for each in used}
    dies_at(world, victim, LAST)
    until = datetime.now(UTC) + timedelta(seconds=LIFE_S)
    order = operation(world, what, **key, epoch=epoch, expires_at=write_time(until))
    work = client.order_key(world.socket, signed(world, order))
    assert world.stack.wait_for_end(victim) != 0
    deadline = time.monotonic() + MADE_S
    while {(index(world, name, key["key"]) or {}).get("made_to") for name in survivors} != {epoch}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    past(until)
    following = operation(world, what, **key, epoch=epoch + 1)
    with pytest.raises(ProblemError, match="another operation on"):
        client.order_key(world.socket, signed(world, following))
    back(world, victim)
    assert ended(world, work) == "failed"
    assert {(index(world, name, key["key"]) or {}).get("used", 0) for name in NAMES} == used
    (end,) = [entry["data"] for entry in world.entries() if entry["data"].get("order") == work.digest]
    assert (end["state"], end["reason"]) == ("failed", f"{victim} has no share of the run")
    assert done(world, following) == "made"
    assert {index(world, name, key["key"])["used"] for name in NAMES} == {epoch + 1}
    (made,) = [entry["data"] for entry in world.entries() if entry["data"].get("order") == following.digest]
    assert (made["address"] == world.world.treasury) == (what == "refresh")
    assert len(signers(world, sent(world, 1_000 + epoch))) == 3
