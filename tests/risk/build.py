"""Pools made from positions, as the contracts would keep them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workbench.demo.newswap import FEE, POSITIONS, SQRT_PRICE_X96
from workbench.risk.pool import Pool, word_of
from workbench.risk.ticks import tick_of

MILLION = 10**6 * 10**6  # base units of USDC
ETHER = 10**18
SPACING = 10


def pool_of(
    positions: Sequence[tuple[int, int, int]] = POSITIONS,
    *,
    price: int = SQRT_PRICE_X96,
    fee: int = FEE,
    spacing: int = SPACING,
    margin: int = 1,
) -> Pool:
    """Return a pool with these (lower tick, upper tick, liquidity); `margin` words around them are known."""
    tick = tick_of(price)
    net: Counter[int] = Counter()
    for lower, upper, liquidity in positions:
        net[lower] += liquidity
        net[upper] -= liquidity
    words = [word_of(each, spacing) for each in (tick, *net)]
    return Pool(
        sqrt_price_x96=price,
        tick=tick,
        liquidity=sum(liquidity for lower, upper, liquidity in positions if lower <= tick < upper),
        fee=fee,
        spacing=spacing,
        ticks=dict(net),
        words=range(min(words) - margin, max(words) + margin + 1),
    )
