"""A mean price from a pool's observations: what its own oracle says, and what is none is none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.chain.compiled import calldata
from tests.chain.liar import lying
from tests.chain.world import MILLION, World, close_world, open_world
from workbench.chain.errors import ChainError, NodeError
from workbench.chain.node import Node
from workbench.chain.observations import proven_mean
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.demo.newswap import DEPLOYER
from workbench.evm.calldata import APPROVE
from workbench.evm.fields import to_rpc
from workbench.risk import twap
from workbench.risk.errors import PoolError
from workbench.risk.layout import Slot
from workbench.risk.ticks import tick_of
from workbench.risk.twap import Mean, mean, wanted
from workbench.risk.venue import Venue

QUIET = 86_400


@dataclass
class Traded:
    """A pool in which somebody trades at known moments."""

    world: World
    venue: Venue

    def send(self, to: str, data: bytes, *, after_s: int = 12) -> None:
        """Send a transaction so many seconds behind the newest block."""
        node = self.world.node
        node.call("evm_setNextBlockTimestamp", node.head().timestamp + after_s)
        chain.send(node, sender=DEPLOYER, to=to, data=data)

    def grow(self, observations: int) -> None:
        """Have the pool keep more observations."""
        name = "increaseObservationCardinalityNext"
        self.send(self.venue.address, calldata(name, ("uint16", str(observations))))

    def swap(self, amount: int, *, after_s: int) -> None:
        """Sell dollars, so many seconds later."""
        deployment = self.world.deployment
        data = deployment.swap(recipient=DEPLOYER, amount_in=amount, amount_out_minimum=0, deadline=2**40)
        self.send(deployment.router, data, after_s=after_s)

    def told(self, window_s: int, *, node: Node | None = None, quiet_s: int = QUIET) -> Mean:
        """Return the mean as it is proven."""
        header = self.world.node.head()
        return proven_mean(
            node or self.world.node, header, self.venue, window_s=window_s, quiet_s_max=quiet_s
        )

    def observed(self, window_s: int) -> int:
        """Return the mean tick as the pool's own oracle has it."""
        data = bytes.fromhex("883bdbfd") + b"".join(each.to_bytes(32) for each in (32, 2, window_s, 0))
        raw = self.world.node.eth_call(self.venue.address, data, "latest")
        began, ended = (int.from_bytes(raw[at : at + 32], signed=True) for at in (96, 128))
        return (ended - began) // window_s


def traded(world: World) -> Traded:
    """Return the worked example's pool, ready for trades."""
    deployment = world.deployment
    most = {"spender": deployment.router, "amount": str(2**256 - 1)}
    newswap._send(world.node, deployment.usdc, APPROVE, most)
    return Traded(world, Venue.of(deployment.factory, deployment.usdc, deployment.weth, deployment.fee))


@pytest.fixture(scope="module")
def pool(newswap_cache: Path) -> Iterator[Traded]:
    """Give a pool of five observations, whose ring was written round more than once."""
    world = open_world(newswap_cache)
    made = traded(world)
    made.grow(5)
    for number in range(9):
        made.swap((number + 1) * MILLION // 4, after_s=97 + 31 * number)
    world.node.call("evm_setNextBlockTimestamp", world.node.head().timestamp + 45)
    world.node.call("anvil_mine", "0x1")
    yield made
    close_world(world)


@pytest.mark.parametrize("window", [60, 61, 200, 345 + 45, 400, 700, 1100])
def test_the_mean_is_the_contracts(pool: Traded, window: int) -> None:
    """Inside one observation, exactly at one, and across several, the pool's own oracle says the same."""
    told = pool.told(window)
    assert told.tick == pool.observed(window)
    assert (told.cardinality, told.newest_age_s) == (5, 45)


def test_the_oldest_is_the_limit(pool: Traded) -> None:
    """The last second that there is an observation of is told, and the one before it is not."""
    oldest = 45 + 345 + 314 + 283 + 252
    assert pool.told(oldest).tick == pool.observed(oldest)
    with pytest.raises(
        ChainError, match=f"{oldest} s of observations, the window is {oldest + 1} s"
    ) as caught:
        pool.told(oldest + 1)
    assert not isinstance(caught.value, NodeError)


def test_a_ring_that_is_growing(fresh_world: World) -> None:
    """Places that nothing was written to are no observations, and the oldest is the ring's first."""
    made = traded(fresh_world)
    made.grow(40)
    for _ in range(4):
        made.swap(MILLION, after_s=200)
    for window in (60, 300, 590):
        assert made.told(window).tick == made.observed(window)
    assert made.told(60).cardinality == 40


def test_one_observation(fresh_world: World) -> None:
    """A pool that keeps only its newest has no price over a window that began before it."""
    made = traded(fresh_world)
    made.swap(MILLION, after_s=30)
    with pytest.raises(ChainError, match="0 s of observations"):
        made.told(60)


def test_a_quiet_pool(pool: Traded) -> None:
    """Where nobody has traded for longer than is allowed there is no price."""
    assert pool.told(60, quiet_s=45).newest_age_s == 45
    with pytest.raises(ChainError, match="newest observation is 45 s old"):
        pool.told(60, quiet_s=44)


def test_a_spike_in_the_last_block_moves_little(fresh_world: World) -> None:
    """Five million sold in one block move the price by three percent, and half an hour's mean by nothing."""
    made = traded(fresh_world)
    made.grow(10)
    made.swap(1, after_s=100)
    made.swap(1, after_s=2000)
    before = made.told(1800).tick
    made.swap(5 * MILLION, after_s=12)
    assert made.told(1800).tick == before
    spot = made.world.node.eth_call(made.venue.address, bytes.fromhex("3850c7bd"), "latest")
    assert before - tick_of(int.from_bytes(spot[:32])) > 500


@pytest.mark.parametrize("window", [59, 0, -60, twap.WINDOW_S_MAX + 1])
def test_windows_that_are_none(pool: Traded, window: int) -> None:
    """A window too short to resist anybody, or longer than anything keeps, is refused."""
    with pytest.raises(ChainError, match="a window of"):
        pool.told(window)


def _cut(each: dict[str, Any]) -> None:
    each["proof"] = each["proof"][:-1]


def _none(each: dict[str, Any]) -> None:
    each["proof"] = []


@pytest.mark.parametrize("change", [_cut, _none], ids=["a cut proof", "no proof"])
@pytest.mark.parametrize("place", [0, twap.OBSERVATIONS], ids=["slot 0", "an observation"])
def test_a_node_that_lies(pool: Traded, change: Callable[[dict[str, Any]], None], place: int) -> None:
    """An observation that is not proven is no fact, and the node is refused."""

    def lie(method: str, _: list[Any], result: Any) -> Any:
        if method == "eth_getProof":
            for each in result["storageProof"]:
                if int(each["key"], 16) == place:
                    change(each)
        return result

    with lying(pool.world.node.url) as between:
        node = Node(between.url)
        between.lie = lie
        with pytest.raises(NodeError):
            pool.told(400, node=node)
        between.lie = lambda _, __, result: result
        assert pool.told(400, node=node) == pool.told(400)
        node.close()


VENUE = Venue.of(DEPLOYER, "0x" + "11" * 20, "0x" + "22" * 20, 500)
ADDRESS = VENUE.address
NOW = 1_800_000_000


def synthetic(
    count: int, *, every_s: int, tick: int, newest: int | None = None, now: int = NOW, start: int = 0
) -> dict[Slot, int]:
    """Return a pool whose tick never changed, with so many observations before now."""
    index = count - 1 if newest is None else newest
    opened = 1 << 240 | count << 200 | index << 184 | (tick % 2**24) << 160 | 2**96
    values = {Slot(ADDRESS, bytes(32)): opened}
    for place in range(count):
        age = (count - 1 - place) * every_s
        packed = 1 << 248 | (start - tick * age) % 2**56 << 32 | (now - age) % 2**32
        values[Slot(ADDRESS, (8 + (index + 1 + place) % count).to_bytes(32))] = packed
    return values


def searched(everything: dict[Slot, int], window_s: int, now: int = NOW) -> tuple[Mean, int, int]:
    """Return the mean from as much as is asked for, how many questions that took, and how many slots."""
    known: dict[Slot, int] = {}
    for question in range(20):
        missing = wanted(VENUE, known, now=now, window_s=window_s)
        if not missing:
            told = mean(VENUE, known, now=now, window_s=window_s, quiet_s_max=QUIET)
            return told, question, len(known)
        assert not set(missing) & set(known)
        known |= {slot: everything[slot] for slot in missing}
    raise AssertionError("it asks for ever")


@pytest.mark.parametrize("tick", [198_079, -198_079, 0, -1])
@pytest.mark.parametrize(("count", "newest"), [(1000, None), (1000, 17), (65_535, 40_000)])
def test_a_long_ring_is_searched_in_few_questions(tick: int, count: int, newest: int | None) -> None:
    """Wherever the window begins, it is found among thousands in a handful of questions."""
    everything = synthetic(count, every_s=12, tick=tick, newest=newest)
    for window in (60, 1800, 1801, (count - 1) * 12 if count == 1000 else 300_000):
        told, questions, slots = searched(everything, window)
        assert told.tick == tick
        assert questions <= 8
        assert slots <= 80


def test_numbers_that_wrap() -> None:
    """Neither the 56 bits of the sums nor the 32 of the times may turn a mean over."""
    late = 2**32 + 100
    for start in (2**55 - 5, -(2**55) + 5):
        everything = synthetic(30, every_s=60, tick=-7, now=late, start=start)
        assert searched(everything, 600, late)[0].tick == -7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({Slot(ADDRESS, bytes(32)): 0}, "has no price"),
        ({Slot(ADDRESS, bytes(32)): 30 << 200 | 2**96}, "has no price"),
        ({Slot(ADDRESS, bytes(32)): 1 << 240 | 5 << 200 | 5 << 184 | 2**96}, "has no price"),
        ({Slot(ADDRESS, (8 + 29).to_bytes(32)): 0}, "a hole"),
        ({Slot(ADDRESS, (8 + each).to_bytes(32)): 0 for each in range(4, 28)}, "a hole"),
    ],
    ids=["nothing", "locked", "an index beyond the ring", "no newest", "a hole in the ring"],
)
def test_a_pool_that_is_none(change: dict[Slot, int], said: str) -> None:
    """State that no published pool is in gives no price."""
    with pytest.raises(PoolError, match=said):
        searched(synthetic(30, every_s=60, tick=5) | change, 600)


def test_what_is_missing_is_not_guessed() -> None:
    """Without the two observations around the window's beginning there is no mean."""
    everything = synthetic(30, every_s=60, tick=5)
    del everything[Slot(ADDRESS, (8 + 19).to_bytes(32))]
    with pytest.raises(PoolError, match="not proven"):
        mean(VENUE, everything, now=NOW, window_s=600, quiet_s_max=QUIET)


def test_prices_of_a_tick() -> None:
    """Both ways round, with the decimals of both tokens: dollars for an ether, and ether for a dollar."""
    dollars = twap.price(198_079, decimals0=6, decimals1=18, of_token0=False)
    ether = twap.price(198_079, decimals0=6, decimals1=18, of_token0=True)
    assert abs(dollars - 2500) < Decimal("0.25")
    assert abs(dollars * ether - 1) < Decimal("1e-10")
    assert twap.price(0, decimals0=18, decimals1=18, of_token0=True) == 1
    with pytest.raises(PoolError, match="decimals"):
        twap.price(0, decimals0=-1, decimals1=18, of_token0=True)


def test_the_selector_is_the_oracles() -> None:
    """The oracle that is compared with is the pool's own."""
    assert to_rpc(calldata("slot0")) == "0x3850c7bd"
