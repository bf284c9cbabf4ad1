"""Orders on keys that do not go through at once: whatever dies, and whenever, one key comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.e2e import stolen
from tests.e2e.test_key_operations import MADE_S, done, ended, index, operation, signed
from tests.e2e.test_policy_change import in_force, taken_over
from tests.e2e.test_policy_change import until as wait_for
from tests.e2e.test_shared import NAMES, sent, signers
from tests.world import Living, living
from workbench import client
from workbench.client import ProblemError
from workbench.demo import charter, newswap
from workbench.demo.world import ANCHOR
from workbench.evm.transaction import address_of
from workbench.rules.documents import write_time
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet, next_set

KEY = charter.KEY_ID
SHARED = {"parties": list(NAMES), "threshold": 3}
LIFE_S = 30
"""How long an order lives that is to run out: long enough for its run, of four seconds here."""
LAST = "key-take-3-echo"
"""What a party takes before it has its share."""
POINTS = (
    "ordered",
    "open",
    "begin",
    "take-1-message",
    "take-2-message",
    "take-2-echo",
    "take-3-message",
    "take-3-echo",
    "kept",
    "words",
    "heard",
)
"""Where a party may die while a key is made: each round, before and after."""
DELAY_S = 2


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share, and whose policy changes quickly."""
    with living(engine="mpc", limits={"change_delay_s_min": DELAY_S}) as built:
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


def named(point: str) -> str:
    """Return the key that is made while a party dies at a point."""
    return f"made-{POINTS.index(point)}"


def made_entries(world: Living, key: str) -> list[dict[str, Any]]:
    """Return what the ledger has of a key's making."""
    return [
        entry["data"]
        for entry in world.entries()
        if entry["type"] == "key.made" and entry["data"]["key"] == key
    ]


def on_disk(world: Living, name: str, key: str) -> dict[str, Any]:
    """Return which shares of a key a co-signer has, by its own index."""
    path = world.world.places.root(name) / "shares" / key / "index.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("point", POINTS)
def test_a_party_dies_while_a_key_is_made(world: Living, point: str) -> None:
    """By its order or the next one key comes to be: the same run's at all five, and no other at any."""
    victim, key, epoch = NAMES[2], named(point), 1
    dies_at(world, victim, f"key-{point}")
    order = operation(world, "dkg", key=key, epoch=epoch, parameters=SHARED)
    work = client.order_key(world.socket, signed(world, order))
    assert world.stack.wait_for_end(victim) != 0
    back(world, victim)
    state = ended(world, work)
    if state != "made":
        assert (state, point) == ("failed", "take-3-echo")
        epoch = max((index(world, name, key) or {"made_to": 0})["made_to"] for name in NAMES) + 1
        assert done(world, operation(world, "dkg", key=key, epoch=epoch, parameters=SHARED)) == "made"
    (made,) = made_entries(world, key)
    assert made["epoch"] == epoch
    assert {index(world, name, key)["used"] for name in NAMES} == {epoch}
    indexes = [on_disk(world, name, key) for name in NAMES]
    assert {each["current"]["run"] for each in indexes} == {made["run"]}
    assert {each["current"]["public_key"] for each in indexes} == {made["public_key"]}
    # a share of a run that came to nothing is gone by now: all hold the key that is there
    assert [[*each["waiting"], *each["before"]] for each in indexes] == [[]] * len(NAMES)
    assert {each["epoch"] for one in indexes for each in one["destroyed"]} <= set(range(1, epoch))


def test_no_share_of_them_is_lost(world: Living) -> None:
    """Each opens under its own token, at all five, and any three of a key make its address."""
    for point in POINTS:
        (made,) = made_entries(world, named(point))
        shares = dict(stolen_share(world, name, named(point)) for name in NAMES)
        for names in ((1, 2, 3), (3, 4, 5)):
            whole = stolen.whole({number: shares[number] for number in names})
            assert address_of(stolen.point(whole)) == made["address"], point


def stolen_share(world: Living, name: str, key: str) -> tuple[int, int]:
    """Return a co-signer's share, as this test alone may look at it."""
    root: Path = world.world.places.root(name)
    config = json.loads((root / "config.json").read_text())
    return stolen.share_of(root, name, config["sealing_key"], key)


def listed(world: Living) -> PolicySet:
    """Return a next set that lists all keys that were made."""
    current = in_force(world)
    keys = [
        {
            "id": made["key"],
            "address": made["address"],
            "public_key": made["public_key"],
            "tier": "hot",
            "purpose": "a test",
            **charter.SHARED,
        }
        for point in POINTS
        for made in made_entries(world, named(point))
    ]
    changed = {"keys.json": canonical(json.loads(current.files["keys.json"]) + keys, limit=2**20)}
    return next_set(current, changed, activates_at=datetime.now(UTC) + timedelta(seconds=DELAY_S + 1))


def by(world: Living, key: str, address: str) -> Intent:
    """Draft an allowance by another account than the treasury."""
    (allowance,) = world.allowance().dump()["allowances"]
    return world.allowance(key=key, allowances=[allowance | {"owner": address}])


def test_all_of_them_sign(world: Living) -> None:
    """Taken into the policy set, each signs a transaction that is mined."""
    policy = listed(world)
    world.officer("pm-1")
    world.officer("admin-1").speaks.amend(policy)
    for person in ("risk-1", "cro-1"):
        world.signs(policy, person)
    wait_for(lambda: client.status(world.socket)["policy"] == policy.digest)
    taken_over(world, policy)
    chain = world.chain()
    node = json.loads((world.world.places.root(ANCHOR) / "config.json").read_text())["node"]
    for point in POINTS:
        address = policy.key(named(point)).address
        newswap.fund(node, world.world.deployment, address, usdc=0, ether=10**18)
        view = world.outstanding(by(world, named(point), address))
        assert world.approve(view.digest).state in {"broadcast", "confirmed"}, point
        assert len(signers(world, view.digest)) == len(NAMES[:3])
        assert chain.nonce(address) == 1, point
    chain.close()


@pytest.mark.parametrize("what", ["dkg", "refresh"])
def test_an_order_runs_out_between_shares(world: Living, what: str) -> None:
    """Four have a share, one died before its own and is away until it is over: it ends, the next is done."""
    victim, survivors = NAMES[4], NAMES[:4]
    key: dict[str, Any] = {"key": "late", "parameters": SHARED} if what == "dkg" else {"key": KEY}
    key["policy"] = in_force(world).digest
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


def test_a_key_ends_without_one_that_is_lost(world: Living) -> None:
    """Four destroy what they have of a key, and the ledger has their word; the fifth's is missing."""
    victim, survivors, key = NAMES[4], NAMES[:4], "stranded"
    dies_at(world, victim, LAST)
    until = datetime.now(UTC) + timedelta(seconds=LIFE_S)
    made = operation(
        world,
        "dkg",
        key=key,
        parameters=SHARED,
        policy=in_force(world).digest,
        epoch=1,
        expires_at=write_time(until),
    )
    work = client.order_key(world.socket, signed(world, made))
    assert world.stack.wait_for_end(victim) != 0
    wait_for(lambda: all((index(world, name, key) or {}).get("made_to") == 1 for name in survivors))
    last: dict[str, Any] = {"key": key, "epoch": 1, "policy": in_force(world).digest}
    end = operation(world, "destroy", **last)
    with pytest.raises(ProblemError, match="another operation on"):
        client.order_key(world.socket, signed(world, end))
    past(until)
    soon = write_time(datetime.now(UTC) + timedelta(seconds=LIFE_S / 2))
    short = operation(world, "destroy", **last, expires_at=soon)
    assert done(world, short) == "partly"
    assert ended(world, work) == "failed"
    told = {each["data"].get("order"): each["data"] for each in world.entries() if "order" in each["data"]}
    assert told[work.digest]["reason"] == f"{key} has ended"
    assert set(told[short.digest]["testimonies"]) == set(survivors)
    assert victim in told[short.digest]["reason"]
    for name in survivors:
        assert not list((world.world.places.root(name) / "shares" / key).glob("*.share"))
    back(world, victim)
    assert done(world, end) == "destroyed"
    (whole,) = [each["data"] for each in world.entries() if each["data"].get("order") == end.digest]
    assert set(whole["testimonies"]) == set(NAMES)
    assert len(signers(world, sent(world, 1_900))) == 3
