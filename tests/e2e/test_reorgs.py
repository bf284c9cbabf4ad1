"""Blocks are taken back, pools forget, nodes are away: one effect on chain, and the ledger tells of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.chain.liar import Liar, lying, truth
from tests.world import Living, living, refused
from workbench.chain.node import Node
from workbench.client import IntentView

DEPTH = 8
WAIT_S = 300.0
NAMES = ("node-1", "node-2", "node-3")


@pytest.fixture(scope="module")
def doors() -> dict[str, Liar]:
    """Return the doors before the chain, by the name of their node."""
    return {}


@pytest.fixture(scope="module")
def world(doors: dict[str, Liar]) -> Iterator[Living]:
    """Return a desk to which nothing is final before its eighth block."""
    with ExitStack() as ends:

        def opened(url: str) -> dict[str, str]:
            doors.update({name: ends.enter_context(lying(url)) for name in NAMES})
            return {name: door.url for name, door in doors.items()}

        yield ends.enter_context(living(nodes=opened, limits={"confirmations_min": DEPTH}))


@pytest.fixture
def chain(world: Living) -> Iterator[Node]:
    """Give the chain, which mines what it gets; what a test waited for is final after it."""
    node = world.chain()
    yield node
    node.call("evm_setAutomine", True)  # JSON-RPC's own form
    node.close()


def until(world: Living, digest: str, *states: str) -> IntentView:
    """Wait for the desk to get there by itself."""
    limit = time.monotonic() + WAIT_S
    while (view := world.pm.intent(digest)).state not in states:
        assert time.monotonic() < limit, (view.state, story(world, digest))
        time.sleep(0.2)
    return view


def entered(world: Living, digest: str, amount: int) -> None:
    """Wait until so many entries about an intent are about the chain."""
    limit = time.monotonic() + WAIT_S
    while len(told := story(world, digest)) < amount:
        assert time.monotonic() < limit, told
        time.sleep(0.2)


def entries(world: Living, digest: str) -> list[dict[str, Any]]:
    """Return what the ledger says of an intent's way on the chain."""
    return [
        entry
        for entry in world.entries()
        if entry.get("subject") == digest and entry["type"].startswith("transaction.")
    ]


def story(world: Living, digest: str) -> list[str]:
    """Return the same in one word each."""
    return [entry["type"].removeprefix("transaction.") for entry in entries(world, digest)]


def sent(world: Living, amount: int) -> str:
    """Have an allowance approved; return the intent's digest."""
    view = world.outstanding(world.allowance(amount))
    world.approve(view.digest)
    return view.digest


def settle(world: Living, chain: Node, digest: str) -> IntentView:
    """Let the chain go on until the block is final."""
    until(world, digest, "included")
    chain.call("anvil_mine", hex(DEPTH))
    return until(world, digest, "confirmed", "reverted")


def one_effect(world: Living, before: int, digest: str) -> None:
    """Assert that there is one transaction more, signed once, and that all inclusions are of its bytes."""
    assert world.transactions() == before + 1
    told = entries(world, digest)
    (signed,) = [entry for entry in told if entry["type"] == "transaction.signed"]
    final = told[-1]
    assert (final["type"], final["data"]["tx_hash"]) == ("transaction.confirmed", signed["data"]["tx_hash"])
    assert final["data"]["final"]["depth"] >= DEPTH


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_reorganisation_takes_the_block_back(world: Living, chain: Node, depth: int) -> None:
    """The transaction is gone with its block; the same bytes are sent again and are in another one."""
    before = world.transactions()
    digest = sent(world, 1_000 + depth)
    until(world, digest, "included")
    number = entries(world, digest)[2]["data"]["block_number"]
    # the desk's own anchors make blocks, too
    missing = number + depth - 1 - chain.head().number
    if missing > 0:
        chain.call("anvil_mine", hex(missing))
    chain.call("anvil_reorg", chain.head().number - number + 1, [])
    entered(world, digest, 5)
    settle(world, chain, digest)
    assert story(world, digest) == ["signed", "broadcast", "included", "displaced", "included", "confirmed"]
    first, displaced, second = entries(world, digest)[2:5]
    assert displaced["data"]["block_hash"] == first["data"]["block_hash"]
    assert second["data"]["block_hash"] != first["data"]["block_hash"]
    one_effect(world, before, digest)


def test_another_block_at_once(world: Living, chain: Node) -> None:
    """A reorganisation that keeps the transaction moves it; both blocks are named."""
    before = world.transactions()
    digest = sent(world, 2_000)
    until(world, digest, "included")
    raw = entries(world, digest)[0]["data"]["raw_tx"]
    chain.call("anvil_mine", "0x1")
    # there may be a block of the anchor's between them
    number = entries(world, digest)[2]["data"]["block_number"]
    chain.call("anvil_reorg", chain.head().number - number + 1, [["0x" + raw, 1]])
    entered(world, digest, 5)
    settle(world, chain, digest)
    displaced, second = entries(world, digest)[3:5]
    assert second["data"]["block_hash"] in displaced["data"]["now"]
    one_effect(world, before, digest)


def test_a_pool_that_forgets(world: Living, chain: Node) -> None:
    """What was in a pool and is in none any more is sent again, and the ledger says that it was lost."""
    before = world.transactions()
    chain.call("evm_setAutomine", False)  # JSON-RPC's own form
    digest = sent(world, 3_000)
    until(world, digest, "broadcast")
    tx_hash = "0x" + entries(world, digest)[0]["data"]["tx_hash"]
    wait_for(lambda: isinstance(chain.call("eth_getTransactionByHash", tx_hash), dict))
    time.sleep(3)  # the desk looks every second: it has seen it
    chain.call("anvil_dropTransaction", tx_hash)
    entered(world, digest, 3)
    wait_for(lambda: isinstance(chain.call("eth_getTransactionByHash", tx_hash), dict))
    chain.call("anvil_mine", "0x1")
    settle(world, chain, digest)
    assert story(world, digest) == ["signed", "broadcast", "dropped", "included", "confirmed"]
    one_effect(world, before, digest)


def test_nodes_that_are_away_while_it_is_sent(world: Living, chain: Node, doors: dict[str, Liar]) -> None:
    """Recorded, then sent: with nobody to send by it waits, and goes out when they are back."""
    before = world.transactions()
    digest = sent_while_away(world, doors)
    settle(world, chain, digest)
    assert story(world, digest) == ["signed", "broadcast", "included", "confirmed"]
    one_effect(world, before, digest)


def sent_while_away(world: Living, doors: dict[str, Liar]) -> str:
    """Have an allowance approved; the nodes vanish when the bytes come to be sent."""

    def vanish(method: str, _: list[Any], result: Any) -> Any:  # the JSON edge
        if method == "eth_getTransactionReceipt":
            for door in doors.values():
                door.away = True
        return result

    view = world.outstanding(world.allowance(4_000))
    for door in doors.values():
        door.lie = vanish
    refused("unavailable", lambda: world.approve(view.digest))
    until(world, view.digest, "broadcast")
    time.sleep(2)
    assert world.pm.intent(view.digest).state == "broadcast"
    for door in doors.values():
        door.away, door.lie = False, truth
    return view.digest


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_safe_then_final_by_the_chains_own_word() -> None:
    """Where the policy set awaits it, a block is safe and then final when a quorum of nodes calls it so."""
    with living(limits={"finality": "finalized"}) as world:
        chain = world.chain()
        digest = sent(world, 6_000)
        until(world, digest, "included")
        number = entries(world, digest)[2]["data"]["block_number"]
        # anvil calls safe what is an epoch of 32 blocks old, and finalized what is two; the anchor makes some
        for depth, told in ((20, ["included"]), (44, ["included", "safe"])):
            chain.call("anvil_mine", hex(number + depth - chain.head().number))
            entered(world, digest, 2 + len(told))
            time.sleep(3)  # the desk looks every second: what it does not say by now it does not see
            assert story(world, digest)[2:] == told
        chain.call("anvil_mine", hex(number + 65 - chain.head().number))
        view = until(world, digest, "confirmed")
        assert story(world, digest)[2:] == ["included", "safe", "confirmed"]
        final = view.outcome["final"]["finalized"]
        assert final["number"] >= number
        # the depth is of the block looked at before the nodes were asked: it may be an earlier one
        block = chain.call("eth_getBlockByNumber", hex(final["number"]), False)  # JSON-RPC's own form
        chain.close()
        assert block["hash"].removeprefix("0x") == final["hash"].removeprefix("0x")


def test_what_it_cost_is_in_the_record(world: Living, chain: Node) -> None:
    """Gas and fee come from the proven receipt, and the inclusion's proofs are kept."""
    digest = sent(world, 5_000)
    view = settle(world, chain, digest)
    receipt = chain.call("eth_getTransactionReceipt", f"0x{view.tx_hash}")
    assert view.outcome["gas_used"] == int(receipt["gasUsed"], 16)
    assert int(view.outcome["fee_wei"]) == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert (view.outcome["transferred"], view.outcome["short_of_simulation_bps"]) == ([], None)
