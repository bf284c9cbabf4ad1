"""Prices and ticks of a concentrated-liquidity pool, to the last bit as the published contracts have them.

A price is √(token1 per token0) · 2⁹⁶, rounded to an integer; tick i stands for the price 1.0001^i.

(1) The price of a tick is a product of at most twenty factors 1.0001^(−2ᵏ⁄2), one for each bit of |i|. Each
    factor is a fraction of 2¹²⁸ rounded to the nearest integer; each product is cut off at 128 bits.
(2) A positive tick is the reciprocal: (2²⁵⁶ − 1) divided by the product, cut off.
(3) The result is shortened from 128 to 96 fractional bits, rounded up.
(4) The tick of a price is the greatest one whose price is not above it.

The factors are computed here from their formula; that they are those of the contracts is a test's business.
Pure; callers are the rest of `workbench.risk` and whoever shows a price.
"""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from typing import Final

from workbench.risk.errors import PoolError

TICK_MAX: Final = 887_272
TICK_MIN: Final = -TICK_MAX
Q96: Final = 2**96
_BITS: Final = 20
_DIGITS: Final = 80  # 2¹²⁸ has 39; as many again keep the rounding out of doubt


def _factor(bit: int) -> int:
    with localcontext(prec=_DIGITS):
        exact = Decimal(2**128) / Decimal("1.0001") ** (Decimal(2**bit) / 2)
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


_FACTORS: Final = tuple(_factor(bit) for bit in range(_BITS))


@lru_cache(maxsize=4096)
def price_of(tick: int) -> int:
    """Return the price of a tick."""
    if not TICK_MIN <= tick <= TICK_MAX:
        raise PoolError(f"tick {tick} is outside ±{TICK_MAX}")
    product = 2**128
    for bit, factor in enumerate(_FACTORS):  # (1)
        if abs(tick) >> bit & 1:
            product = product * factor >> 128
    if tick > 0:
        product = (2**256 - 1) // product  # (2)
    return -(-product >> 32)  # (3)


PRICE_MIN: Final = price_of(TICK_MIN)
PRICE_MAX: Final = price_of(TICK_MAX)


def tick_of(price: int) -> int:
    """Return the tick that a price is in."""
    if not PRICE_MIN <= price < PRICE_MAX:
        raise PoolError(f"no pool has the price {price}")
    low, high = TICK_MIN, TICK_MAX  # (4) the price of `low` is never above, that of `high` always
    while high - low > 1:
        middle = (low + high) // 2
        if price_of(middle) <= price:
            low = middle
        else:
            high = middle
    return low
