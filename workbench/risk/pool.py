"""A concentrated-liquidity pool and what a swap of an exact input does to it, to the base unit.

The arithmetic is that of the published contracts: integers, and every rounding in favour of the pool. It was
written from the published formulas; the tests compare it with swaps that the contracts executed.

(1) A swap goes step by step. A step ends at the next initialised tick, at the end of its word of 256 ticks
    (the contracts look no further at once, and each step rounds), at the price limit, or where the input is
    used up.
(2) Over a step liquidity L is constant. From price p to q the pool takes L·(p−q)/(p·q) of token0 for L·(p−q)
    of token1, or the other way round: what comes in is rounded up, what goes out is rounded down.
(3) The fee is taken from the input, rounded up; a step that uses up the input keeps what is left as its fee.
(4) At an initialised tick its net liquidity is added on the way up, subtracted on the way down.
(5) Fail closed: the pool knows the ticks of some words only. A step may reach the first tick outside them,
    for there is nothing in between; a swap that would go through that tick raises.

`swap` returns what the contract would take and give, and the pool that is left; it takes less than it was
given only where the price limit or the end of all prices is reached. Left out: fees earned by others, the
oracle and the protocol's share of the fee, none of which changes an amount. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from workbench.risk.errors import PoolError, UnknownTicksError
from workbench.risk.ticks import PRICE_MAX, PRICE_MIN, Q96, TICK_MAX, TICK_MIN, price_of, tick_of

WORD_TICKS: Final = 256
FEE_WHOLE: Final = 1_000_000  # fees are in millionths
LIQUIDITY_MAX: Final = 2**128 - 1
AMOUNT_MAX: Final = 2**255 - 1  # the contracts' amounts are signed
_PRODUCT_MAX: Final = 2**256 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool's price, its liquidity, and the initialised ticks of the words that are known."""

    sqrt_price_x96: int
    tick: int
    liquidity: int
    fee: int
    spacing: int
    ticks: Mapping[int, int]  # tick → net liquidity
    words: range  # the words of 256 (spaced) ticks whose ticks are all in `ticks`

    def __post_init__(self) -> None:
        """Refuse what no pool is."""
        if not (0 <= self.fee < FEE_WHOLE and 0 < self.spacing <= TICK_MAX):
            raise PoolError(f"a fee of {self.fee} millionths, a spacing of {self.spacing}")
        if not 0 <= self.liquidity <= LIQUIDITY_MAX:
            raise PoolError(f"a liquidity of {self.liquidity}")
        # on its way down a swap that stops at a tick is already in the one below
        inside = tick_of(self.sqrt_price_x96)
        if self.tick != inside and not (self.tick == inside - 1 and price_of(inside) == self.sqrt_price_x96):
            raise PoolError(f"the price {self.sqrt_price_x96} is in tick {inside}, not in {self.tick}")
        for tick, net in self.ticks.items():
            if tick % self.spacing or abs(tick) > TICK_MAX or word_of(tick, self.spacing) not in self.words:
                raise PoolError(f"tick {tick} with a spacing of {self.spacing} and words {self.words}")
            if abs(net) > LIQUIDITY_MAX:
                raise PoolError(f"tick {tick} has a net liquidity of {net}")

    @property
    def mid(self) -> Fraction:
        """The price: base units of token1 for one of token0."""
        return Fraction(self.sqrt_price_x96**2, 2**192)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What a swap took and gave, and the pool behind it."""

    amount_in: int
    amount_out: int
    pool: Pool


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a step ended, and what it moved."""

    price: int
    taken: int  # fee included
    given: int


def word_of(tick: int, spacing: int) -> int:
    """Return which word of 256 ticks, each `spacing` apart, a tick stands in."""
    return tick // spacing // WORD_TICKS


def swap(pool: Pool, amount_in: int, *, zero_for_one: bool, price_limit: int | None = None) -> Swapped:
    """Return what the contract would do with this input, fee included."""
    if not 0 < amount_in <= AMOUNT_MAX:
        raise PoolError(f"an input of {amount_in}")
    limit = _limit(pool, zero_for_one, price_limit)
    left, out = amount_in, 0
    while left and pool.sqrt_price_x96 != limit:
        tick, net = _next(pool, zero_for_one)
        end = price_of(tick)
        target = max(end, limit) if zero_for_one else min(end, limit)
        step = _step(pool, target, left, zero_for_one)
        left -= step.taken
        out += step.given
        if step.price != end:
            # a price that did not move stays in its tick, which may be the one below (see `Pool`)
            tick = pool.tick if step.price == pool.sqrt_price_x96 else tick_of(step.price)
            pool = replace(pool, sqrt_price_x96=step.price, tick=tick)
            continue
        if net is None:  # (5)
            raise UnknownTicksError(f"{left} of {amount_in} are left at tick {tick}, which is not known")
        liquidity = pool.liquidity + (-net if zero_for_one else net)  # (4)
        pool = replace(
            pool,
            sqrt_price_x96=step.price,
            tick=tick - 1 if zero_for_one else tick,
            liquidity=liquidity,
        )
    return Swapped(amount_in=amount_in - left, amount_out=out, pool=pool)


def _limit(pool: Pool, zero_for_one: bool, asked: int | None) -> int:  # noqa: FBT001  # as in `swap`
    price = pool.sqrt_price_x96
    last = PRICE_MIN + 1 if zero_for_one else PRICE_MAX - 1
    limit = last if asked is None else asked
    if not (last <= limit < price if zero_for_one else price < limit <= last):
        raise PoolError(f"a price limit of {limit} on the wrong side of {price}")
    return limit


def _next(pool: Pool, zero_for_one: bool) -> tuple[int, int | None]:  # noqa: FBT001  # as in `swap`
    """Return the tick that ends a step, and its net liquidity: 0 at a word's end, None where unknown."""
    spaced = pool.tick // pool.spacing + (0 if zero_for_one else 1)
    word = spaced // WORD_TICKS
    if word not in pool.words:
        return _inside(spaced * pool.spacing), None
    first = word * WORD_TICKS
    within = range(spaced, first - 1, -1) if zero_for_one else range(spaced, first + WORD_TICKS)
    for each in within:
        tick = each * pool.spacing
        if tick in pool.ticks:
            return _inside(tick), pool.ticks[tick]
    return _inside(within[-1] * pool.spacing), 0


def _inside(tick: int) -> int:
    return max(TICK_MIN, min(TICK_MAX, tick))


def _step(pool: Pool, target: int, left: int, zero_for_one: bool) -> _Step:  # noqa: FBT001  # as in `swap`
    price, liquidity = pool.sqrt_price_x96, pool.liquidity
    into, out_of = (_token0, _token1) if zero_for_one else (_token1, _token0)
    usable = left * (FEE_WHOLE - pool.fee) // FEE_WHOLE
    needed = -into(price, target, -liquidity)
    if usable >= needed:
        fee = -(-needed * pool.fee // (FEE_WHOLE - pool.fee))  # (3)
        return _Step(target, needed + fee, out_of(price, target, liquidity))
    reached = _moved(price, liquidity, usable, zero_for_one)
    return _Step(reached, left, out_of(price, reached, liquidity))  # (3)


def _token0(one: int, other: int, liquidity: int) -> int:
    """Return the token0 between two prices, rounded down: what is owed is of negative liquidity."""
    low, high = min(one, other), max(one, other)
    return liquidity * Q96 * (high - low) // high // low


def _token1(one: int, other: int, liquidity: int) -> int:
    """Return the token1 between two prices, rounded as `_token0`."""
    return liquidity * abs(one - other) // Q96


def _moved(price: int, liquidity: int, amount: int, zero_for_one: bool) -> int:  # noqa: FBT001  # as in `swap`
    """Return the price after an input, rounded so that the pool gives less rather than more."""
    if not zero_for_one:
        return price + amount * Q96 // liquidity
    product = amount * price
    scaled = liquidity * Q96
    # the contracts fall back to a coarser formula where 256 bits do not hold the product
    if product > _PRODUCT_MAX or scaled + product > _PRODUCT_MAX:
        return -(-scaled // (scaled // price + amount))
    return -(-scaled * price // (scaled + product))
