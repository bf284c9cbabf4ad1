"""A transaction that is stuck is replaced or cancelled: one effect each time, and the ledger tells of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.test_policy_change import following, taken_over
from tests.rules.test_change import but, edited
from tests.world import COSIGNER, Living, living, refused
from workbench.chain.node import Node
from workbench.client import IntentView
from workbench.demo.world import SERVICE
from workbench.evm.transaction import SignedTransaction
from workbench.rules.documents import write_time

DEPTH = 3
WAIT_S = 90.0
GWEI = 10**9
LIFE_S = 45
LOW, HIGH, HIGHER = GWEI, 20 * GWEI, 21 * GWEI
ABOUT_THE_CHAIN = ("transaction.", "cancel.", "nonce.", "intent.rejected")


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a desk to which nothing is final before its third block."""
    with living(limits={"confirmations_min": DEPTH}) as built:
        for person in ("pm-1", "risk-1", "cro-1", "auditor-1", "admin-1", "committee-1"):
            built.officer(person)
        yield built


@pytest.fixture
def chain(world: Living) -> Iterator[Node]:
    """Give the chain, cheap and held still: it mines when a test says so; all are up afterwards."""
    node = world.chain()
    block(node, LOW)
    node.call("evm_setAutomine", False)  # JSON-RPC's own form
    yield node
    node.call("evm_setAutomine", True)  # JSON-RPC's own form
    node.close()
    world.revive()


def block(chain: Node, base_fee: int) -> None:
    """Have a block mined at this base fee; it takes what pays it."""
    chain.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
    chain.call("anvil_mine", "0x1")


def rewritten(chain: Node, depth: int, entry: dict[str, Any]) -> None:
    """Have the last blocks taken back, and an entry's bytes mined in the first in their place."""
    chain.call("anvil_setNextBlockBaseFeePerGas", hex(LOW))
    chain.call("anvil_reorg", depth, [["0x" + entry["data"]["raw_tx"], 0]])


def wait_for(condition: Callable[[], bool], told: Callable[[], object] = lambda: "") -> None:
    """Wait until it is so."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit, told()
        time.sleep(0.2)


def until(world: Living, digest: str, *states: str) -> IntentView:
    """Wait for the desk to get there by itself."""
    wait_for(lambda: world.pm.intent(digest).state in states, lambda: story(world, digest))
    return world.pm.intent(digest)


def entries(world: Living, digest: str) -> list[dict[str, Any]]:
    """Return what the ledger says of an intent from its signature on, but for looks at it."""
    about = [entry for entry in world.entries() if entry.get("subject") == digest]
    return [entry for entry in about if entry["type"].startswith(ABOUT_THE_CHAIN)]


def story(world: Living, digest: str) -> list[str]:
    """Return the same in one word each."""
    return [entry["type"].removeprefix("transaction.") for entry in entries(world, digest)]


def told(world: Living, digest: str, word: str) -> dict[str, Any]:
    """Wait for an entry, and return the last of its kind."""

    def found() -> list[dict[str, Any]]:
        return [entry for entry in entries(world, digest) if entry["type"].endswith(word)]

    wait_for(lambda: bool(found()), lambda: story(world, digest))
    return found()[-1]


def sent(world: Living, amount: int, **changes: Any) -> str:
    """Have an allowance approved and sent; return the intent's digest."""
    view = world.outstanding(world.allowance(amount, **changes))
    world.approve(view.digest)
    until(world, view.digest, "broadcast")
    return view.digest


def stuck(world: Living, chain: Node, amount: int) -> str:
    """Have an allowance sent, and the base fee rise above what it pays."""
    digest = sent(world, amount)
    pooled(chain, told(world, digest, "signed")["data"]["tx_hash"])
    block(chain, HIGH)
    return digest


def settle(world: Living, chain: Node, digest: str) -> IntentView:
    """Let the chain go on until what is included is final."""
    until(world, digest, "included", "confirmed")
    chain.call("anvil_mine", hex(DEPTH))
    return until(world, digest, "confirmed", "cancelled", "reverted")


def pooled(chain: Node, tx_hash: str) -> None:
    """Wait until the node has these bytes."""
    wait_for(lambda: isinstance(chain.call("eth_getTransactionByHash", f"0x{tx_hash}"), dict))


def ended(world: Living, before: int, digest: str, *, by: str, after: list[str]) -> None:
    """Assert one transaction more, that these bytes were it, and how the ledger tells the way to it."""
    assert world.transactions() == before + 1
    # a node's pool may forget what pays less than the base fee: that is told, too
    assert [word for word in story(world, digest) if word != "dropped"] == after
    final = entries(world, digest)[-1]
    assert final["data"]["tx_hash"] == by == world.pm.intent(digest).tx_hash
    chain = world.chain()
    receipt = chain.call("eth_getTransactionReceipt", f"0x{by}")
    chain.close()
    assert receipt["status"] == "0x1"
    assert int(final["data"]["fee_wei"]) == int(receipt["gasUsed"], 16) * int(
        receipt["effectiveGasPrice"], 16
    )


def fees(entry: dict[str, Any]) -> tuple[int, int]:
    """Return what an entry's bytes pay at most."""
    unsigned = SignedTransaction.parse(bytes.fromhex(entry["data"]["raw_tx"])).unsigned
    return unsigned.max_fee_per_gas, unsigned.max_priority_fee_per_gas


def test_a_base_fee_that_rises(world: Living, chain: Node) -> None:
    """Bytes that pay less than the base fee are replaced by the same intent for more, within the caps."""
    before = world.transactions()
    digest = stuck(world, chain, 1_000)
    replaced = told(world, digest, "replaced")
    pooled(chain, replaced["data"]["tx_hash"])
    chain.call("anvil_mine", "0x1")
    settle(world, chain, digest)
    (first,) = [entry for entry in entries(world, digest) if entry["type"] == "transaction.signed"]
    intent = world.pm.intent(digest).intent
    assert fees(first) < (2 * LOW + GWEI, GWEI)
    assert fees(first)[0] * 9 <= fees(replaced)[0] * 8 <= intent.max_fee_per_gas * 8
    assert fees(first)[1] * 9 <= fees(replaced)[1] * 8 <= intent.max_priority_fee_per_gas * 8
    assert replaced["data"]["instead_of"] == first["data"]["tx_hash"]
    way = ["signed", "broadcast", "replaced", "included", "confirmed"]
    ended(world, before, digest, by=replaced["data"]["tx_hash"], after=way)


def test_blocks_that_leave_it_out(world: Living, chain: Node) -> None:
    """Bytes that six blocks did not take are replaced, however low the base fee is."""
    before = world.transactions()
    digest = sent(world, 1_100)
    first = told(world, digest, "signed")["data"]["tx_hash"]
    pooled(chain, first)
    time.sleep(3)  # the desk looks every second: it has seen it wait
    chain.call("anvil_dropTransaction", f"0x{first}")
    chain.call("anvil_mine", "0x6")
    replaced = told(world, digest, "replaced")
    pooled(chain, replaced["data"]["tx_hash"])
    chain.call("anvil_mine", "0x1")
    settle(world, chain, digest)
    assert set(story(world, digest)) <= {
        "signed",
        "broadcast",
        "dropped",
        "replaced",
        "included",
        "confirmed",
    }
    assert world.transactions() == before + 1


def test_the_replaced_one_is_mined(world: Living, chain: Node) -> None:
    """A block takes the older bytes although the newer ones were sent: they are the intent's, too."""
    before = world.transactions()
    digest = stuck(world, chain, 1_200)
    pooled(chain, told(world, digest, "replaced")["data"]["tx_hash"])
    first = told(world, digest, "signed")
    rewritten(chain, 1, first)
    settle(world, chain, digest)
    way = ["signed", "broadcast", "replaced", "included", "confirmed"]
    ended(world, before, digest, by=first["data"]["tx_hash"], after=way)


def test_a_reorganisation_swaps_them(world: Living, chain: Node) -> None:
    """The replacement's block is taken back and the older bytes are in another one: both are named."""
    before = world.transactions()
    digest = stuck(world, chain, 1_300)
    replaced = told(world, digest, "replaced")["data"]["tx_hash"]
    pooled(chain, replaced)
    chain.call("anvil_mine", "0x1")
    until(world, digest, "included")
    first = told(world, digest, "signed")
    rewritten(chain, 2, first)
    displaced = told(world, digest, "displaced")
    wait_for(lambda: story(world, digest)[-1] == "included")
    settle(world, chain, digest)
    assert displaced["data"]["tx_hash"] == replaced
    way = ["signed", "broadcast", "replaced", "included", "displaced", "included", "confirmed"]
    ended(world, before, digest, by=first["data"]["tx_hash"], after=way)


@pytest.mark.parametrize(
    ("name", "point", "base_fee"),
    [
        pytest.param(SERVICE, "4", HIGH, id="the service, before it is recorded"),
        pytest.param(SERVICE, "4", HIGHER, id="the service, before it is recorded, and fees have changed"),
        pytest.param(SERVICE, "5-before", HIGH, id="the service, before it is sent"),
        pytest.param(SERVICE, "5-after", HIGH, id="the service, after it is sent"),
        pytest.param(COSIGNER, "4-persisted", HIGHER, id="the co-signer, before it signs"),
        pytest.param(COSIGNER, "4-answer", HIGHER, id="the co-signer, before it answers"),
    ],
)
def test_a_crash_while_it_is_replaced(
    world: Living, chain: Node, name: str, point: str, base_fee: int
) -> None:
    """Whoever dies between sign, record and send: one replacement is recorded, sent and mined."""
    before = world.transactions()
    digest = sent(world, 1_400 + before)  # the same allowance again would change nothing
    pooled(chain, told(world, digest, "signed")["data"]["tx_hash"])
    world.stack.kill(name)
    world.stack.start(name, crash_at=point)
    block(chain, HIGH)
    world.stack.wait_for_end(name)
    if base_fee != HIGH:
        block(chain, base_fee)
    world.revive()
    assert (name, point) in world.crashed
    replaced = told(world, digest, "replaced")["data"]["tx_hash"]
    pooled(chain, replaced)
    chain.call("anvil_mine", "0x1")
    settle(world, chain, digest)
    way = ["signed", "broadcast", "replaced", "included", "confirmed"]
    ended(world, before, digest, by=replaced, after=way)


def test_it_ends_unmined(world: Living, chain: Node) -> None:
    """At its end the lane is frozen, also after a restart; the desk cancels, and then goes on."""
    before = world.transactions()
    ends = write_time(datetime.now(UTC) + timedelta(seconds=LIFE_S))
    digest = sent(world, 1_500, expires_at=ends)
    next_one = world.outstanding(world.allowance(1_600)).digest
    assert world.approve(next_one).state == "approved"
    assert world.pm.intent(next_one).lane == ""
    cancel = told(world, digest, "cancel.signed")
    for _ in ("before a restart", "after it"):
        view = world.pm.intent(next_one)
        assert (view.state, view.lane.split(":")[0]) == ("approved", "lane frozen")
        assert digest[:12] in view.lane
        world.stack.kill(SERVICE)
        world.stack.start(SERVICE)
    unsigned = SignedTransaction.parse(bytes.fromhex(cancel["data"]["raw_tx"])).unsigned
    assert (unsigned.to, unsigned.value, unsigned.data) == (world.world.treasury, 0, b"")
    pooled(chain, cancel["data"]["tx_hash"])
    block(chain, LOW)
    until(world, next_one, "broadcast")
    wait_for(lambda: not world.pm.intent(next_one).lane)
    pooled(chain, told(world, next_one, "signed")["data"]["tx_hash"])
    chain.call("anvil_mine", hex(DEPTH))
    assert until(world, digest, "cancelled").outcome["transferred"] == []
    settle(world, chain, next_one)
    assert story(world, digest) == ["signed", "broadcast", "cancel.signed", "included", "cancelled"]
    assert world.transactions() == before + 2


@pytest.mark.parametrize(
    ("person", "role"),
    [
        pytest.param("pm-1", "portfolio_manager", id="its proposer"),
        pytest.param("risk-1", "risk_officer", id="who approved it"),
        pytest.param("cro-1", "cro", id="another approver"),
    ],
)
def test_somebody_withdraws(world: Living, chain: Node, person: str, role: str) -> None:
    """A rejection of what waits for a block is recorded, and cancels it before its end."""
    before = world.transactions()
    digest = sent(world, 1_700)
    with world.unchanged(refusals=1):
        refused(
            "not_in_this_state",
            lambda: world.officer("cro-1").decide(digest, verb="approve", role="cro", reason="a test"),
        )
    world.officer(person).decide(digest, verb="reject", role=role, reason="a test")
    cancel = told(world, digest, "cancel.signed")["data"]["tx_hash"]
    pooled(chain, cancel)
    block(chain, LOW)
    settle(world, chain, digest)
    way = ["signed", "broadcast", "intent.rejected", "cancel.signed", "included", "cancelled"]
    ended(world, before, digest, by=cancel, after=way)


def test_the_original_is_mined_after_its_cancel(world: Living, chain: Node) -> None:
    """A block takes the withdrawn bytes although their cancel was sent: what happened is what is recorded."""
    before = world.transactions()
    digest = sent_and_withdrawn(world, chain, 1_800)
    cancel = told(world, digest, "cancel.signed")["data"]["tx_hash"]
    pooled(chain, cancel)
    original = told(world, digest, "transaction.signed")
    rewritten(chain, 1, original)
    assert settle(world, chain, digest).state == "confirmed"
    included = told(world, digest, "included")["data"]
    assert (included["tx_hash"], included["cancels"]) == (original["data"]["tx_hash"], False)
    way = ["signed", "broadcast", "intent.rejected", "cancel.signed", "included", "confirmed"]
    ended(world, before, digest, by=original["data"]["tx_hash"], after=way)


def test_a_reorganisation_undoes_the_cancel(world: Living, chain: Node) -> None:
    """The cancel's block is taken back and the original is in another one: both are named, one counts."""
    before = world.transactions()
    digest = sent_and_withdrawn(world, chain, 1_850)
    cancel = told(world, digest, "cancel.signed")["data"]["tx_hash"]
    pooled(chain, cancel)
    block(chain, LOW)
    until(world, digest, "included")
    original = told(world, digest, "transaction.signed")
    rewritten(chain, 2, original)
    assert told(world, digest, "displaced")["data"]["tx_hash"] == cancel
    wait_for(lambda: story(world, digest)[-1] == "included", lambda: story(world, digest))
    assert settle(world, chain, digest).state == "confirmed"
    way = ["signed", "broadcast", "intent.rejected", "cancel.signed"]
    way += ["included", "displaced", "included", "confirmed"]
    ended(world, before, digest, by=original["data"]["tx_hash"], after=way)


def sent_and_withdrawn(world: Living, chain: Node, amount: int) -> str:
    """Have an allowance sent, behind an empty block, and its proposer withdraw it."""
    block(chain, LOW)
    digest = sent(world, amount)
    world.officer("pm-1").decide(digest, verb="reject", role="portfolio_manager", reason="a test")
    return digest


def test_somebody_else_takes_the_nonce(world: Living, chain: Node) -> None:
    """Bytes that are none of ours are mined: an alarm, an end, and a lane that stops for good."""
    before = world.transactions()
    digest = sent(world, 1_900)
    waiting = world.outstanding(world.allowance(2_000)).digest
    assert world.approve(waiting).state == "approved"
    later = world.outstanding(world.allowance(2_100)).digest
    treasury = world.world.treasury
    chain.call("anvil_impersonateAccount", treasury)
    stolen = {"from": treasury, "to": treasury, "nonce": hex(before), "value": "0x1"}
    chain.call(
        "eth_sendTransaction",
        stolen | {"maxFeePerGas": hex(100 * GWEI), "maxPriorityFeePerGas": hex(50 * GWEI)},
    )
    chain.call("anvil_mine", "0x1")
    time.sleep(4)  # the desk has looked more than once
    assert world.pm.intent(digest).state == "broadcast"
    chain.call("anvil_mine", hex(DEPTH))
    view = until(world, digest, "taken")
    assert view.outcome["account_nonce"] == before + 1
    for _ in ("before a restart", "after it"):
        assert world.pm.resume(waiting).state == "approved"
        assert world.pm.intent(waiting).lane.startswith("lane stopped: nonce")
        with world.unchanged(refusals=1):
            refused("lane_stopped", lambda: world.approve(later))
        world.stack.kill(SERVICE)
        world.stack.start(SERVICE)
    assert story(world, digest) == ["signed", "broadcast", "nonce.taken"]
    assert world.transactions() == before + 1
    # a quorum signs a next policy set: the lane goes on
    next_set = following(world, edited("trader-1", credentials=but("approval")))
    world.officer("admin-1").speaks.amend(next_set)
    world.signs(next_set, "risk-1")
    assert world.signs(next_set, "committee-1").standing == "activated"
    taken_over(world, next_set)
    until(world, waiting, "refused")
    world.approve(later)
    until(world, later, "broadcast")
    pooled(chain, told(world, later, "signed")["data"]["tx_hash"])
    chain.call("anvil_mine", "0x1")
    assert settle(world, chain, later).state == "confirmed"
    assert world.pm.intent(later).lane == ""
    assert world.transactions() == before + 2
