"""Calls on a fork whose every reading is proven: true answers, and no lie of a node's among them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.chain.compiled import calldata, compiled
from tests.chain.liar import Liar, lying
from tests.chain.world import TREASURY, World
from workbench.chain.errors import ChainError, NodeError
from workbench.chain.node import Node
from workbench.chain.prestate import StateError
from workbench.chain.proven_call import CALLS_MAX, View, proven_call, proven_calls
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import to_rpc
from workbench.risk import aggregator
from workbench.risk.errors import PriceError
from workbench.risk.prices import Quote

ROUND = aggregator.LATEST_ROUND
PRICE = 2_500 * 10**8


@dataclass(frozen=True)
class Feeds:
    """A world with an aggregator, one behind another address, and some that misbehave."""

    world: World
    plain: str
    behind: str
    dice: str
    endless: str
    wide: str

    def put(self, answer: int, at: int | None = None) -> None:
        """Have the aggregator say this price."""
        moment = self.world.node.head().timestamp if at is None else at
        data = calldata("put", ("int256", str(answer)), ("uint64", str(moment)))
        chain.send(self.world.node, sender=newswap.DEPLOYER, to=self.plain, data=data)

    def call(self, to: str, data: bytes = ROUND, node: Node | None = None) -> bytes:
        """Ask a contract, by a node that may lie."""
        world = self.world
        return proven_call(world.simulator.forks, node or world.node, world.node.head(), View(to, data))

    def quote(self, to: str, decimals: int = 8) -> Quote:
        """Read a quote."""
        return aggregator.read(
            "feed",
            base="ETH",
            quote="USD",
            answer=self.call(to),
            decimals_said=self.call(to, aggregator.DECIMALS),
            decimals=decimals,
            block_time=datetime.fromtimestamp(self.world.node.head().timestamp, tz=UTC),
        )


@pytest.fixture
def feeds(fresh_world: World) -> Feeds:
    """Give a world with feeds."""
    made, world = compiled("feeds.sol"), fresh_world
    plain = world.create(made["Aggregator"], b="8")
    behind = world.create(made["Behind"], a=plain)
    found = Feeds(world, plain, behind, *(world.create(made[each]) for each in ("Dice", "Endless", "Wide")))
    found.put(PRICE)
    return found


def test_an_aggregator_whatever_its_layout(feeds: Feeds) -> None:
    """Straight and behind another address, the same price comes out, of the round's own moment."""
    for contract in (feeds.plain, feeds.behind):
        told = feeds.quote(contract)
        assert (told.price, told.detail) == (Decimal(2500), "round 1")
        assert 0 <= feeds.world.node.head().timestamp - told.at.timestamp() <= 1


def test_many_at_once(feeds: Feeds) -> None:
    """A batch is answered in its order; one that reverts is a fact and stops nobody else."""
    world = feeds.world
    balance = View(world.deployment.usdc, calldata("balanceOf", ("address", TREASURY)))
    nothing = View(world.deployment.usdc, b"\xde\xad\xbe\xef")
    asked = [balance, nothing, View(feeds.plain, ROUND), View(feeds.endless, ROUND), balance]
    told = proven_calls(world.simulator.forks, world.node, world.node.head(), asked)
    assert told[0] == told[4] == (20 * 10**6 * 10**6).to_bytes(32)
    assert (told[1], told[3]) == (None, None)
    assert told[2] == world.node.eth_call(feeds.plain, ROUND, "latest")
    assert proven_calls(world.simulator.forks, world.node, world.node.head(), []) == []


def test_an_account_without_code(feeds: Feeds) -> None:
    """Nobody at home answers nothing, and that is proven too."""
    assert feeds.call(TREASURY) == b""


REFUSED = {
    "the hash of an older block": (lambda feeds: feeds.call(feeds.dice), "hash of an older block"),
    "it never ends": (lambda feeds: feeds.call(feeds.endless), "with a revert"),
    "it talks too long": (
        lambda feeds: feeds.call(feeds.endless, aggregator.DECIMALS),
        "an answer of 100064",
    ),
    "it looks at too much": (lambda feeds: feeds.call(feeds.wide), "a prestate of 60"),
    "too many calls": (
        lambda feeds: proven_calls(
            feeds.world.simulator.forks,
            feeds.world.node,
            feeds.world.node.head(),
            [View(feeds.plain, ROUND)] * (CALLS_MAX + 1),
        ),
        "at most 256",
    ),
}


@pytest.mark.parametrize(("ask", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_view(feeds: Feeds, ask: Callable[[Feeds], object], said: str) -> None:
    """A contract that misbehaves gives no answer, and no node is blamed for it."""
    with pytest.raises(ChainError, match=said) as caught:
        ask(feeds)
    assert not isinstance(caught.value, NodeError)
    assert feeds.quote(feeds.plain).price == 2500


@pytest.fixture
def liar(feeds: Feeds) -> Iterator[tuple[Liar, Node]]:
    """Give somebody who stands before the node, and the way to him."""
    with lying(feeds.world.node.url) as between:
        node = Node(between.url)
        yield between, node
        node.close()


def _word(value: int) -> str:
    return to_rpc(value.to_bytes(32))


def _storage(method: str, _: list[Any], result: Any) -> Any:
    return _word(9 * 10**11) if method == "eth_getStorageAt" and result != _word(0) else result


OTHER_CODE = "0x650d18c2e280005f5260205ff3"  # answers one word


def _code(method: str, _: list[Any], result: Any) -> Any:
    # a fork asks for an account in two ways at once, and takes what comes first
    if method == "eth_getAccountInfo" and len(result["code"]) > 2:
        return result | {"code": OTHER_CODE}
    return OTHER_CODE if method == "eth_getCode" and len(result) > 2 else result


def _proof(method: str, _: list[Any], result: Any) -> Any:
    if method == "eth_getProof":
        for each in result["storageProof"]:
            each["proof"] = each["proof"][:-1]
    return result


LIES = {"another value in storage": _storage, "other code": _code, "a cut proof": _proof}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_node_that_lies(feeds: Feeds, liar: tuple[Liar, Node], lie: Callable[..., Any]) -> None:
    """Whatever it gives the fork, its answer is not believed; truthful again, it is."""
    between, node = liar
    between.lie = lie
    with pytest.raises(StateError):
        feeds.call(feeds.plain, node=node)
    between.lie = lambda _, __, result: result
    assert feeds.call(feeds.plain, node=node) == feeds.call(feeds.plain)


def test_a_price_changed_behind_the_blocks_back(feeds: Feeds) -> None:
    """A value in the node's store that the block's root does not have is no answer."""
    before = feeds.world.node.head().hash()
    feeds.world.node.call("anvil_setStorageAt", feeds.plain, _word(0), _word(9))
    assert feeds.world.node.head().hash() == before
    with pytest.raises(StateError):
        feeds.call(feeds.plain)


def void(_: object) -> None:
    """Return nothing."""


ROUNDS: dict[str, tuple[Callable[[Feeds], None], int, str]] = {
    "a negative answer": (lambda feeds: feeds.put(-1), 8, "an answer of -1"),
    "zero": (lambda feeds: feeds.put(0), 8, "an answer of 0"),
    "no time": (lambda feeds: feeds.put(PRICE, 0), 8, "of second 0"),
    "the future": (
        lambda feeds: feeds.put(PRICE, feeds.world.node.head().timestamp + 3600),
        8,
        "an answer of second",
    ),
    "an answer of another round": (
        lambda feeds: void(
            chain.send(feeds.world.node, sender=newswap.DEPLOYER, to=feeds.plain, data=calldata("open"))
        ),
        8,
        "round 2 carries the answer of round 1",
    ),
    "other decimals": (void, 18, "has 0x8 decimals, not 18"),
}


@pytest.mark.parametrize(("change", "decimals", "said"), ROUNDS.values(), ids=ROUNDS)
def test_a_round_that_is_none(
    feeds: Feeds, change: Callable[[Feeds], None], decimals: int, said: str
) -> None:
    """What an aggregator answers and no price may be made of."""
    change(feeds)
    with pytest.raises(PriceError, match=said):
        feeds.quote(feeds.plain, decimals)


def test_bytes_that_are_no_round() -> None:
    """An answer of another length is no round."""
    with pytest.raises(PriceError, match="of 32 bytes"):
        aggregator.read(
            "feed",
            base="ETH",
            quote="USD",
            answer=bytes(32),
            decimals_said=(8).to_bytes(32),
            decimals=8,
            block_time=datetime.now(UTC),
        )
