"""A Safe is changed by more people than any payment needs: until then nobody signs, then its owners do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_rotation import adopt
from tests.e2e.test_safe import GAS, NAMES, key, memories, owners, payment, safe_nonce
from tests.world import Living, living
from workbench.evm import calldata, known
from workbench.rules.intent import Intent

QUORUM = 4
FOURTH = "trader-1"
DELAY_S = 2
FRAGMENT = known.fragment("changeThreshold(uint256 threshold)")
ASKED = known.fragment("getThreshold()")


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A desk whose treasury is a Safe, and whose policy set lets four people have its threshold raised."""
    with living(engine="safe", limits={"change_delay_s_min": DELAY_S}) as built:
        adopt(
            built,
            {
                "people.json": lambda value: [may_consent(each) for each in value],
                "keys.json": lambda value: [with_quorum(each, QUORUM) for each in value],
                "whitelist.json": lambda value: [*value, itself(built, value[0])],
            },
        )
        yield built


def may_consent(person: dict[str, Any]) -> dict[str, Any]:
    """Make a fourth of those who may consent."""
    return {**person, "roles": ["custodian"]} if person["id"] == FOURTH else person


def with_quorum(listed: dict[str, Any], quorum: int) -> dict[str, Any]:
    """Say how many must approve a change of a Safe."""
    if listed["engine"] != "safe":
        return listed
    return {**listed, "pins": {**listed["pins"], "critical_quorum": quorum}}


def of_four(listed: dict[str, Any]) -> dict[str, Any]:
    """Pin the Safe as it is by then."""
    return {**with_quorum(listed, QUORUM + 1), "threshold": 4} if listed["engine"] == "safe" else listed


def itself(world: Living, entry: dict[str, Any]) -> dict[str, Any]:
    """List the Safe, and of its functions the one by which it asks for four owners."""
    safe = key(world)
    function = {"fragment": FRAGMENT, "bounds": {"threshold": {"one_of": ["4"]}}}
    return {
        **entry,
        "address": safe.address,
        "name": "The treasury itself",
        "code_hash": safe.pins.code_hashes[safe.address],
        "functions": [{**entry["functions"][0], **function}],
    }


def raised(world: Living, threshold: int = 4) -> Intent:
    """Draft that the Safe asks for so many owners."""
    data = calldata.encode(FRAGMENT, {"threshold": str(threshold)}).hex()
    return world.allowance(to=world.world.treasury, data=data, allowances=[], gas_max=GAS)


def threshold(world: Living) -> int:
    """Return how many owners the Safe asks for, by its own word."""
    node = world.chain()
    try:
        asked = calldata.encode(ASKED, {})
        return int.from_bytes(node.eth_call(world.world.treasury, asked, "latest"))
    finally:
        node.close()


def test_a_payment_needs_no_quorum(world: Living) -> None:
    """One consent is enough for what changes nothing."""
    view = world.outstanding(payment(world, 1_000))
    assert world.settled(world.approve(view.digest)).state == "confirmed"


def test_another_threshold(world: Living) -> None:
    """The entry of the whitelist bounds it: nobody is asked whether one owner alone may pay."""
    view = world.outstanding(raised(world, 1))
    assert "contract.arguments" in view.denying
    assert view.nonce is None


CONSENT: list[tuple[str, str]] = [("risk-1", "risk_officer"), ("cro-1", "cro"), ("committee-1", "committee")]


def test_four_approve_and_three_sign(world: Living) -> None:
    """No owner is asked while one of the four is missing; then the Safe is changed, as its own event says."""
    before, intent = (safe_nonce(world), memories(world)), raised(world)
    digest = world.outstanding(intent).digest
    for person, role in CONSENT:
        view = world.approve(digest, person=person, role=role)
        assert view.state == "outstanding"
        # on a busy machine the look ages meanwhile
        assert set(view.denying) - {"simulation.fresh"} == {"safe.critical"}
        assert "approve:any:more" in view.needs
    assert (safe_nonce(world), memories(world), threshold(world)) == (*before, 3)
    view = world.settled(world.approve(digest, person=FOURTH, role="custodian"))
    assert view.state == "confirmed"
    assert owners(world, digest) == list(NAMES[:3])
    assert threshold(world) == 4


def test_what_was_pinned_is_no_more(world: Living) -> None:
    """What three would sign does not run any more, and nobody is asked; the next set pins the Safe anew."""
    before = (safe_nonce(world), memories(world))
    view = world.outstanding(payment(world, 1_001))
    assert "simulation.succeeds" in view.denying
    assert world.approve(view.digest).state == "outstanding"
    rejected = world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="a test")
    assert rejected.state == "rejected"
    assert (safe_nonce(world), memories(world)) == before
    adopt(world, {"keys.json": lambda value: [of_four(each) for each in value]})
    again = world.outstanding(payment(world, 1_002)).digest
    assert world.settled(world.approve(again)).state == "confirmed"
    assert owners(world, again) == list(NAMES[:4])
