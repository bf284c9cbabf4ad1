"""Prices of ticks, bit for bit: the published bounds, and what the contract itself calls a price's tick."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.world import World
from workbench.demo import node as chain
from workbench.demo.newswap import DEPLOYER, SQRT_PRICE_X96
from workbench.evm.calldata import Fragment, encode
from workbench.evm.fields import checksummed
from workbench.risk.errors import PoolError
from workbench.risk.ticks import PRICE_MAX, PRICE_MIN, TICK_MAX, TICK_MIN, price_of, tick_of

CREATE: Fragment = {
    "type": "function",
    "name": "createPool",
    "inputs": [
        {"name": "tokenA", "type": "address"},
        {"name": "tokenB", "type": "address"},
        {"name": "fee", "type": "uint24"},
    ],
}
INITIALIZE: Fragment = {
    "type": "function",
    "name": "initialize",
    "inputs": [{"name": "sqrtPriceX96", "type": "uint160"}],
}
SLOT0: Fragment = {"type": "function", "name": "slot0", "inputs": []}


@pytest.mark.parametrize(
    ("tick", "price"),
    [
        pytest.param(0, 2**96, id="a price of one"),
        pytest.param(TICK_MIN, 4295128739, id="the smallest price, as published"),
        pytest.param(
            TICK_MAX, 1461446703485210103287273052203988822378723970342, id="the greatest, as published"
        ),
    ],
)
def test_the_ends(tick: int, price: int) -> None:
    """Both ends and the middle are the published constants."""
    assert price_of(tick) == price


@pytest.mark.parametrize("tick", [TICK_MIN - 1, TICK_MAX + 1, 2**23])
def test_no_tick(tick: int) -> None:
    """Outside the ends there is no price."""
    with pytest.raises(PoolError, match="outside"):
        price_of(tick)


@pytest.mark.parametrize("price", [0, -1, PRICE_MIN - 1, PRICE_MAX, 2**160])
def test_no_price(price: int) -> None:
    """Outside the ends there is no tick; the greatest price itself is out of reach."""
    with pytest.raises(PoolError, match="no pool has"):
        tick_of(price)


@given(st.integers(TICK_MIN, TICK_MAX - 1))
def test_there_and_back(tick: int) -> None:
    """A tick begins at its own price, and the price below belongs to the tick below."""
    assert tick_of(price_of(tick)) == tick
    assert price_of(tick) < price_of(tick + 1)
    if tick > TICK_MIN:
        assert tick_of(price_of(tick) - 1) == tick - 1


@pytest.fixture(scope="module")
def unpriced(world: World) -> str:
    """Give a pool of the real factory that has no price yet."""
    deployment = world.deployment
    pair = {"tokenA": deployment.usdc, "tokenB": deployment.weth, "fee": "10000"}
    pool = world.node.eth_call(deployment.factory, encode(CREATE, pair), "latest")
    chain.send(world.node, sender=DEPLOYER, to=deployment.factory, data=encode(CREATE, pair))
    return checksummed(pool[12:])


def priced(world: World, pool: str, price: int) -> int:
    """Return the tick that the contract gives to a price, and leave the pool without one."""
    before = world.node.call("evm_snapshot")
    data = encode(INITIALIZE, {"sqrtPriceX96": str(price)})
    chain.send(world.node, sender=DEPLOYER, to=pool, data=data)
    answer = world.node.eth_call(pool, encode(SLOT0, {}), "latest")
    assert world.node.call("evm_revert", before) is True
    assert int.from_bytes(answer[:32]) == price
    return int.from_bytes(answer[32:64], signed=True)


def test_as_the_contract_has_them(world: World, unpriced: str) -> None:
    """At the price of a tick the contract is in that tick, at the price below it is not: no bit is off."""
    chance = random.Random("ticks")  # noqa: S311
    ticks = [TICK_MIN + 1, -1, 0, 1, TICK_MAX - 1, *(sign << bit for bit in range(19) for sign in (1, -1))]
    ticks += [chance.randint(TICK_MIN + 1, TICK_MAX - 1) for _ in range(30)]
    for tick in ticks:
        assert priced(world, unpriced, price_of(tick)) == tick
        assert priced(world, unpriced, price_of(tick) - 1) == tick - 1
    assert priced(world, unpriced, SQRT_PRICE_X96) == tick_of(SQRT_PRICE_X96)
