"""Swaps that the published contracts executed, computed beforehand: equal to the base unit, one by one.

The pool is read by its proofs. Besides the worked example's two positions there are ten others, whose ticks
are neighbours, far apart, at a word's end, or the same.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chain.world import PACKAGES, World
from workbench.chain.pool import proven_pool
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.demo.newswap import DEPLOYER
from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE, Fragment, encode
from workbench.evm.proof import verify_storage
from workbench.risk import layout
from workbench.risk.errors import UnknownTicksError
from workbench.risk.layout import Slot
from workbench.risk.pool import Pool, Swapped, swap
from workbench.risk.ticks import price_of
from workbench.risk.venue import Venue

SWAPS = 60  # in each of two pools
START, END = 198_079, 887_000
SPREADS = (8, 1_000)  # ticks around the price for price limits
MORE = {
    500: [(198_030, 198_040), (198_060, 198_070), (198_070, 198_080), (198_080, 198_090), (197_120, 197_130)],
    3000: [
        (197_940, 198_060),
        (198_060, 198_180),
        (184_320, 199_680),
        (195_000, 201_000),
        (198_060, 198_120),
    ],
}


@dataclass
class Market:
    """A real pool, and how to trade in it."""

    world: World
    venue: Venue

    def read(self) -> Pool:
        """Return the pool by its proofs, wide enough both ways."""
        values: dict[Slot, int] = {}
        for down, amount in ((True, 25 * 10**12), (False, 10**22)):
            header = self.world.node.head()
            proven = proven_pool(self.world.node, header, self.venue, amount_in=amount, zero_for_one=down)
            roots = {each.address: each.account.storage_root for each in proven.accounts}
            for slot, proof in proven.proofs.items():
                values[slot] = verify_storage(roots[slot.address], slot.key, proof)
        return layout.read(self.venue, values)

    def execute(self, amount: int, *, down: bool, limit: int | None) -> tuple[int, ...]:
        """Swap by the router; return what the pool's own event says."""
        venue = self.venue
        params = {
            "tokenIn": venue.token0 if down else venue.token1,
            "tokenOut": venue.token1 if down else venue.token0,
            "fee": str(venue.fee),
            "recipient": DEPLOYER,
            "deadline": str(self.world.node.head().timestamp + 3600),
            "amountIn": str(amount),
            "amountOutMinimum": "0",
            "sqrtPriceLimitX96": str(limit or 0),
        }
        data = encode(EXACT_INPUT_SINGLE, {"params": params})
        receipt = chain.send(self.world.node, sender=DEPLOYER, to=self.world.deployment.router, data=data)
        (event,) = [log for log in receipt["logs"] if log["address"] == venue.address.lower()]
        raw = bytes.fromhex(event["data"][2:])
        return tuple(int.from_bytes(raw[at : at + 32], signed=True) for at in range(0, 160, 32))


def fragment(name: str) -> dict[str, Any]:
    """Return a function of the position manager."""
    abi = json.loads((PACKAGES / newswap._ARTIFACTS["positions"]).read_bytes())["abi"]
    return newswap._fragment(abi, name)


def opened(
    world: World,
    fee: int,
    ranges: Sequence[tuple[int, int]],
    *,
    price: int = newswap.SQRT_PRICE_X96,
    amounts: tuple[int, int] = (10**12, 4 * 10**20),
) -> Market:
    """Open further positions in a pool, which is made if there is none."""
    deployment, node = world.deployment, world.node
    venue = Venue.of(deployment.factory, deployment.usdc, deployment.weth, fee)
    create = {"token0": venue.token0, "token1": venue.token1, "fee": str(fee)}
    create["sqrtPriceX96"] = str(price)
    newswap._send(node, deployment.positions, fragment("createAndInitializePoolIfNecessary"), create)
    for token in (venue.token0, venue.token1):
        newswap._send(node, token, APPROVE, {"spender": deployment.router, "amount": str(2**256 - 1)})
    for number, (lower, upper) in enumerate(ranges):
        params = {"token0": venue.token0, "token1": venue.token1, "fee": fee, "tickLower": lower}
        params |= {"tickUpper": upper, "amount0Desired": amounts[0] + number, "amount1Desired": amounts[1]}
        params |= {"amount0Min": 0, "amount1Min": 0, "recipient": DEPLOYER, "deadline": 2**40}
        newswap._send(
            node,
            deployment.positions,
            fragment("mint"),
            {"params": {name: str(value) for name, value in params.items()}},
        )
    return Market(world, venue)


def told(done: Swapped, *, down: bool) -> tuple[int, ...]:
    """Return a computed swap as the contract's event tells it."""
    moved = (done.amount_in, -done.amount_out) if down else (-done.amount_out, done.amount_in)
    return (*moved, done.pool.sqrt_price_x96, done.pool.liquidity, done.pool.tick)


def drawn(chance: random.Random, tick: int) -> tuple[bool, int, int | None]:
    """Draw a swap: mostly back towards where everything began, and always from the end of all prices."""
    home = chance.random() < 0.6 or abs(tick) > END
    down = tick > START if home else chance.random() < 0.5
    digits = chance.choice([chance.uniform(0, 12), chance.uniform(11, 12.9)])
    amount = int(10**digits) * (1 if down else 4 * 10**8) + chance.randint(0, 7)
    if chance.random() < 0.5:
        return down, amount, None
    limit = price_of(tick + chance.randint(1, chance.choice(SPREADS)) * (-1 if down else 1))
    return down, amount * chance.choice([1, 30]), limit + chance.choice([0, -1 if down else 1])


@pytest.mark.parametrize("fee", MORE)
def test_computed_is_executed(world: World, fee: int) -> None:
    """Amounts, price, liquidity and tick of random swaps, both ways and across ticks, are the contract's."""
    market = opened(world, fee, MORE[fee])
    pool = market.read()
    chance = random.Random(f"swaps {fee}")  # noqa: S311
    crossed = limited = 0
    for _ in range(SWAPS):
        down, amount, limit = drawn(chance, pool.tick)
        try:
            done = swap(pool, amount, zero_for_one=down, price_limit=limit)
        except UnknownTicksError:
            pool = market.read()
            done = swap(pool, amount, zero_for_one=down, price_limit=limit)
        if done.amount_in == 0:
            continue  # in a gap, to a limit: the router does not pay nothing
        assert market.execute(amount, down=down, limit=limit) == told(done, down=down)
        crossed += done.pool.liquidity != pool.liquidity
        limited += done.pool.sqrt_price_x96 == limit
        pool = done.pool
    assert min(crossed, limited) >= SWAPS // 10
    seen = market.read()
    assert (seen.sqrt_price_x96, seen.tick) == (pool.sqrt_price_x96, pool.tick)


def test_at_a_tick_that_was_reached_from_above(fresh_world: World) -> None:
    """Exactly at a tick's price the pool is below it: it stays there while the price does, and comes back."""
    market = opened(fresh_world, 500, [])
    pool = market.read()
    for amount, down, limit in ((10**13, True, price_of(198_040)), (1, True, None), (1, False, None)):
        done = swap(pool, amount, zero_for_one=down, price_limit=limit)
        assert market.execute(amount, down=down, limit=limit) == told(done, down=down)
        pool = done.pool
    assert pool.tick == 198_040


ENABLE: Fragment = {
    "type": "function",
    "name": "enableFeeAmount",
    "inputs": [{"name": "fee", "type": "uint24"}, {"name": "tickSpacing", "type": "int24"}],
}
HUGE = 2**190


def test_where_256_bits_are_too_few(fresh_world: World) -> None:
    """In a pool of the widest spacing a step can need more bits than there are: contracts round otherwise."""
    world, fee = fresh_world, 777
    for token in (world.deployment.usdc, world.deployment.weth):
        newswap._mint(world.node, token, DEPLOYER, HUGE)
        newswap._send(
            world.node, token, APPROVE, {"spender": world.deployment.positions, "amount": str(HUGE)}
        )
    newswap._send(world.node, world.deployment.factory, ENABLE, {"fee": str(fee), "tickSpacing": "16000"})
    market = opened(world, fee, [(-880_000, 880_000)], price=price_of(879_000), amounts=(2**53, 2**182))
    pool, amount = market.read(), 2**98 + 5
    usable = amount * (10**6 - fee) // 10**6
    assert usable * pool.sqrt_price_x96 >= 2**256
    done = swap(pool, amount, zero_for_one=True)
    assert market.execute(amount, down=True, limit=None) == told(done, down=True)
    scaled = pool.liquidity * 2**96
    exact = -(-scaled * pool.sqrt_price_x96 // (scaled + usable * pool.sqrt_price_x96))
    assert done.pool.sqrt_price_x96 != exact
