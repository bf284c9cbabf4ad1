"""What policy wants private goes to a relay alone: whatever the relay, the chain or a crash does to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chain.liar import lying
from tests.chain.relay import Running, relaying
from tests.e2e.test_stuck import DEPTH, HIGH, LOW, block, entries, settle, story, told, until, wait_for
from tests.world import Living, living
from workbench.chain.node import Node
from workbench.client import ProblemError, ServiceUnavailableError
from workbench.demo.world import SERVICE
from workbench.service.pending import STUCK_BLOCKS

BLOCKS = 4
"""For so many the relay has it."""
LOOKS_S = 3.0
"""The desk looks every second: what it has not done by now it does not do."""


@dataclass
class Desk:
    """A desk, its relay, its chain, and whatever it ever sent by the nodes."""

    world: Living
    relay: Running
    chain: Node
    public: list[str] = field(default_factory=list)

    def sent(self, amount: int) -> str:
        """Have an allowance approved, and given to the relay; return the intent's digest."""
        digest = self.approved(amount)
        wait_for(lambda: self.newest(digest)["tx_hash"] in self.kept(), lambda: story(self.world, digest))
        return digest

    def approved(self, amount: int) -> str:
        """Have an allowance approved, also when the relay fails; return the intent's digest."""
        digest = self.outstanding(amount)
        with suppress(ProblemError):
            self.world.approve(digest)
        until(self.world, digest, "broadcast")
        return digest

    def outstanding(self, amount: int) -> str:
        """Have an allowance wait for approval, also when the node is out for a while; return its digest."""
        view = self.world.pm.propose(self.world.allowance(amount))

        def is_simulated() -> bool:
            try:
                self.world.pm.simulate(view.digest)
            except ProblemError as problem:
                if problem.code != "unavailable":
                    raise
                return False
            return True

        wait_for(is_simulated, lambda: self.world.entries()[-1])
        return view.digest

    def newest(self, digest: str) -> dict[str, Any]:
        """Return what the ledger says of the last sending."""
        data: dict[str, Any] = told(self.world, digest, "transaction.broadcast")["data"]
        return data

    def kept(self) -> dict[str, int]:
        """Return until which block the relay has what, by hash."""
        return {each[2:]: kept["last_block"] for each, kept in self.relay.kept().items()}

    def is_private(self) -> bool:
        """Whether nothing of the treasury was ever sent by a node, or is in a pool."""
        pools = self.chain.call("txpool_content")
        senders = {each.lower() for pool in pools.values() for each in pool}
        return not self.public and self.world.world.treasury.lower() not in senders

    def mine(self, blocks: int) -> None:
        """Let so many blocks go by, and the desk look at the last one."""
        self.chain.call("anvil_mine", hex(blocks))
        time.sleep(LOOKS_S)

    def handed_over(self, digest: str) -> None:
        """Have the relay hand over what it has, and all of it mined until it is final."""
        self.relay.tell(hand_over=True)
        self.chain.call("anvil_mine", "0x1")
        settle(self.world, self.chain, digest)


@contextmanager
def desk(rule: str) -> Iterator[Desk]:
    """Bring a desk to life whose policy set has this rule; the door before its node sees what it sends."""
    with ExitStack() as ends:
        relay = ends.enter_context(relaying())
        public: list[str] = []

        def watch(method: str, params: list[Any], result: Any) -> Any:  # the JSON edge
            if method == "eth_sendRawTransaction":
                public.append(params[0])
            return result

        def opened(url: str) -> dict[str, str]:
            door = ends.enter_context(lying(url))
            door.lie = watch
            return {"node-1": door.url}

        limits = {"broadcast": rule, "relay_blocks_max": BLOCKS, "confirmations_min": DEPTH}
        world = ends.enter_context(living(limits=limits, nodes=opened, relay=relay.url))
        for person in ("pm-1", "risk-1", "cro-1", "auditor-1"):
            world.officer(person)
        chain = world.chain()
        ends.callback(chain.close)
        relay.behind(chain.url)
        yield Desk(world, relay, chain, public)


def readied(built: Desk) -> Desk:
    """Return a desk with a cheap chain that is held still, a relay that behaves and keeps nothing."""
    built.relay.kill()
    built.relay.start()
    built.public.clear()
    built.world.revive()
    built.chain.call("evm_setAutomine", False)  # JSON-RPC's own form
    block(built.chain, LOW)
    return built


@pytest.fixture(scope="module")
def relay_desk() -> Iterator[Desk]:
    """Return a desk under "relay"."""
    with desk("relay") as built:
        yield built


@pytest.fixture
def private(relay_desk: Desk) -> Desk:
    """Give it, ready."""
    return readied(relay_desk)


@pytest.fixture(scope="module")
def then_desk() -> Iterator[Desk]:
    """Return a desk under "relay_then_nodes"."""
    with desk("relay_then_nodes") as built:
        yield built


@pytest.fixture
def then_nodes(then_desk: Desk) -> Desk:
    """Give it, ready."""
    return readied(then_desk)


def test_mined_and_in_no_pool(private: Desk) -> None:
    """The relay has the bytes until the block that the ledger names; no node has them before it is over."""
    before, head = private.world.transactions(), private.chain.head().number
    digest = private.sent(1_000)
    data = private.newest(digest)
    assert (data["by"], data["last_block"]) == ("relay", head + BLOCKS)
    assert private.kept() == {data["tx_hash"]: data["last_block"]}
    time.sleep(LOOKS_S)
    assert private.relay.tell()["asked"] == ["eth_sendPrivateTransaction"]
    assert private.is_private()
    private.handed_over(digest)
    assert story(private.world, digest) == ["signed", "broadcast", "included", "confirmed"]
    assert private.world.transactions() == before + 1
    assert private.public == []


@pytest.mark.parametrize(
    ("behaves", "amount"), [("refuses", 1_100), ("publishes nothing", 1_200), ("dead", 1_300)]
)
def test_a_relay_that_fails(private: Desk, behaves: str, amount: int) -> None:
    """It is told, tried again for as much, never by a node; once the relay is back it is mined."""
    before = private.world.transactions()
    if behaves == "dead":
        private.relay.kill()
    else:
        private.relay.tell(behaves=behaves)
    digest = private.approved(amount)
    if behaves == "publishes nothing":
        private.relay.tell(hand_over=True)
    else:
        refusals = [each["data"] for each in private.world.entries() if each["type"] == "request.refused"]
        assert "relay: " in refusals[-1]["detail"]
    private.chain.call("anvil_mine", hex(BLOCKS + 1))
    wait_for(
        lambda: story(private.world, digest).count("broadcast") == 2, lambda: story(private.world, digest)
    )
    time.sleep(LOOKS_S)
    assert private.is_private()
    ways = [each["data"] for each in entries(private.world, digest) if each["type"].endswith(".broadcast")]
    assert [each["by"] for each in ways] == ["relay", "relay"]
    assert ways[1]["last_block"] == ways[0]["last_block"] + BLOCKS + 1
    if behaves != "publishes nothing":
        private.mine(STUCK_BLOCKS - BLOCKS)
        assert "replaced" not in story(private.world, digest)
    if behaves == "dead":
        private.relay.start()
    private.relay.tell(behaves="")
    wait_for(lambda: private.kept() == {ways[1]["tx_hash"]: ways[1]["last_block"]}, private.kept)
    private.handed_over(digest)
    assert private.world.transactions() == before + 1
    assert private.public == []


def test_a_block_taken_back(private: Desk) -> None:
    """What was mined and is not any more goes to the relay again, which may have forgotten it."""
    before = private.world.transactions()
    digest = private.sent(1_400)
    private.relay.tell(hand_over=True)
    private.chain.call("anvil_mine", "0x1")
    until(private.world, digest, "included")
    private.relay.kill()
    private.relay.start()
    private.chain.call("anvil_reorg", 1, [])
    told(private.world, digest, "displaced")
    wait_for(lambda: bool(private.kept()), lambda: story(private.world, digest))
    assert private.public == []
    private.handed_over(digest)
    assert private.world.transactions() == before + 1
    assert private.public == []


@pytest.mark.parametrize(
    ("point", "had", "amount"),
    [
        pytest.param("5-before", 0, 1_500, id="recorded and not sent"),
        pytest.param("5-after", 1, 1_600, id="sent and not known to be"),
    ],
)
def test_a_crash_around_sending(private: Desk, point: str, had: int, amount: int) -> None:
    """The next process gives the relay the same bytes until the same block; no node gets them."""
    before = private.world.transactions()
    digest = private.outstanding(amount)
    private.world.stack.kill(SERVICE)
    private.world.stack.start(SERVICE, crash_at=point)
    with suppress(ServiceUnavailableError):
        private.world.approve(digest)
    private.world.stack.wait_for_end(SERVICE)
    assert len(private.kept()) == had
    assert private.is_private()
    private.world.revive()
    wait_for(lambda: private.relay.tell()["asked"] == ["eth_sendPrivateTransaction"] * (had + 1))
    data = private.newest(digest)
    assert private.kept() == {data["tx_hash"]: data["last_block"]}
    assert private.is_private()
    private.handed_over(digest)
    assert story(private.world, digest) == ["signed", "broadcast", "included", "confirmed"]
    assert private.world.transactions() == before + 1
    assert private.public == []


def test_what_takes_its_place(private: Desk) -> None:
    """A base fee that rises has it replaced by the relay, too, and no longer than the first bytes."""
    before = private.world.transactions()
    digest = private.sent(1_700)
    block(private.chain, HIGH)
    replaced = told(private.world, digest, "replaced")["data"]["tx_hash"]
    wait_for(lambda: replaced in private.kept(), private.kept)
    assert len(set(private.kept().values())) == 1
    assert private.is_private()
    private.relay.tell(hand_over=True)
    block(private.chain, HIGH)
    settle(private.world, private.chain, digest)
    way = ["signed", "broadcast", "replaced", "broadcast", "included", "confirmed"]
    assert story(private.world, digest) == way
    assert private.world.transactions() == before + 1
    assert private.public == []


def test_a_cancel_without_the_relays_help(private: Desk) -> None:
    """A relay that is away when it should forget the bytes gets the cancel once it is back; no node does."""
    before = private.world.transactions()
    digest = private.sent(1_900)
    private.relay.kill()
    private.world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="a test")
    cancel = told(private.world, digest, "cancel.signed")["data"]["tx_hash"]
    time.sleep(LOOKS_S)
    assert private.is_private()
    private.relay.start()
    wait_for(lambda: list(private.kept()) == [cancel], private.kept)
    private.handed_over(digest)
    way = ["intent.rejected", "cancel.signed", "broadcast", "included", "cancelled"]
    assert story(private.world, digest) == ["signed", "broadcast", *way]
    assert private.world.transactions() == before + 1
    assert private.public == []


def test_what_is_cancelled_is_recalled(private: Desk) -> None:
    """A rejection has the relay forget the bytes; the cancel goes the same way, and nobody ever sees them."""
    before = private.world.transactions()
    digest = private.sent(1_800)
    private.world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="a test")
    cancel = told(private.world, digest, "cancel.signed")["data"]["tx_hash"]
    wait_for(lambda: list(private.kept()) == [cancel], private.kept)
    assert private.is_private()
    private.handed_over(digest)
    first = entries(private.world, digest)[0]["data"]["tx_hash"]
    assert told(private.world, digest, "recalled")["data"] == {"tx_hash": first, "by": "relay"}
    assert story(private.world, digest) == [
        "signed",
        "broadcast",
        "intent.rejected",
        "recalled",
        "cancel.signed",
        "broadcast",
        "included",
        "cancelled",
    ]
    assert private.chain.call("eth_getTransactionByHash", "0x" + first) is None
    assert private.world.transactions() == before + 1
    assert private.public == []


@pytest.mark.parametrize(("behaves", "amount"), [("publishes nothing", 1_100), ("dead", 1_200)])
def test_then_the_nodes(then_nodes: Desk, behaves: str, amount: int) -> None:
    """The nodes get it behind the last block of the relay, not before, and the ledger says so."""
    before = then_nodes.world.transactions()
    if behaves == "dead":
        then_nodes.relay.kill()
    else:
        then_nodes.relay.tell(behaves=behaves)
    digest = then_nodes.approved(amount)
    last = then_nodes.newest(digest)["last_block"]
    then_nodes.mine(last - then_nodes.chain.head().number)
    assert then_nodes.is_private()
    assert story(then_nodes.world, digest) == ["signed", "broadcast"]
    then_nodes.mine(1)
    raw = told(then_nodes.world, digest, "signed")["data"]["raw_tx"]
    wait_for(lambda: then_nodes.public == ["0x" + raw], lambda: then_nodes.public)
    data = then_nodes.newest(digest)
    assert (data["by"], data["last_block"]) == ("nodes", None)
    then_nodes.chain.call("anvil_mine", "0x1")
    settle(then_nodes.world, then_nodes.chain, digest)
    assert story(then_nodes.world, digest) == ["signed", "broadcast", "broadcast", "included", "confirmed"]
    assert then_nodes.world.transactions() == before + 1
