"""One swap: where it ends, what it may not do, and what no order of swaps may change."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.risk.build import ETHER, MILLION, SPACING, pool_of
from workbench.demo.newswap import POSITIONS, SQRT_PRICE_X96
from workbench.risk.errors import PoolError, UnknownTicksError
from workbench.risk.pool import AMOUNT_MAX, Pool, swap
from workbench.risk.ticks import PRICE_MAX, PRICE_MIN, TICK_MAX, price_of

NEWSWAP = pool_of()
FREE = pool_of(fee=0)
GAP = pool_of([(198_000, 198_200, 10**19), (196_000, 197_000, 10**19), (199_000, 200_000, 10**19)])
ENDLESS = pool_of([(-887_270, 887_270, 10**19)])
DIRECTIONS = pytest.mark.parametrize("down", [True, False], ids=["down", "up"])


@DIRECTIONS
@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_no_input(amount: int, *, down: bool) -> None:
    """Nothing, less than nothing and more than the contract can count are refused, as it does."""
    with pytest.raises(PoolError, match="an input of"):
        swap(NEWSWAP, amount, zero_for_one=down)


@DIRECTIONS
def test_one_base_unit(*, down: bool) -> None:
    """The smallest input is all fee: it is taken, nothing is given, the price stays."""
    done = swap(NEWSWAP, 1, zero_for_one=down)
    assert (done.amount_in, done.amount_out, done.pool) == (1, 0, NEWSWAP)


LIMITS = {
    "the price itself": (True, SQRT_PRICE_X96),
    "above it on the way down": (True, SQRT_PRICE_X96 + 1),
    "below it on the way up": (False, SQRT_PRICE_X96 - 1),
    "the smallest price": (True, PRICE_MIN),
    "the greatest price": (False, PRICE_MAX),
    "zero": (True, 0),
}


@pytest.mark.parametrize(("down", "limit"), LIMITS.values(), ids=LIMITS)
def test_limits_that_are_refused(limit: int, *, down: bool) -> None:
    """A limit on the wrong side is refused; zero is no spelling of "none" here."""
    with pytest.raises(PoolError, match="wrong side"):
        swap(NEWSWAP, MILLION, zero_for_one=down, price_limit=limit)


@DIRECTIONS
@pytest.mark.parametrize("tick", [5, 60, 700], ids=["before a tick", "behind one", "far behind"])
def test_a_limit_that_is_reached(tick: int, *, down: bool) -> None:
    """The swap stops at the limit to the bit and takes no more than that needs."""
    limit = price_of(NEWSWAP.tick + (-tick if down else tick))
    plenty = swap(NEWSWAP, 10**30, zero_for_one=down, price_limit=limit)
    assert plenty.pool.sqrt_price_x96 == limit
    exact = swap(NEWSWAP, plenty.amount_in, zero_for_one=down, price_limit=limit)
    assert exact == plenty
    less = swap(NEWSWAP, plenty.amount_in - MILLION // 10**6, zero_for_one=down, price_limit=limit)
    assert less.amount_out <= plenty.amount_out
    assert less.amount_in < plenty.amount_in


@DIRECTIONS
def test_a_gap_is_crossed_for_nothing(*, down: bool) -> None:
    """Where there is no liquidity the price moves and nothing changes hands."""
    edge, far = (198_000, 197_000) if down else (198_200, 199_000)
    before = swap(GAP, 10**30, zero_for_one=down, price_limit=price_of(edge))
    assert before.pool.liquidity == 0
    behind = swap(before.pool, 10**30, zero_for_one=down, price_limit=price_of(far))
    assert (behind.amount_in, behind.amount_out) == (0, 0)
    assert behind.pool.liquidity == 10**19
    through = swap(GAP, before.amount_in + 10**12, zero_for_one=down)
    assert through.amount_out > before.amount_out
    assert (through.pool.tick < far) if down else (through.pool.tick >= far)


def test_inside_a_gap_there_is_no_price_to_pay() -> None:
    """In a gap the first base unit already moves the price to the other side."""
    inside = swap(GAP, 10**30, zero_for_one=True, price_limit=price_of(197_500)).pool
    assert inside.liquidity == 0
    assert swap(inside, 10**6, zero_for_one=True).pool.tick < 197_000


@DIRECTIONS
def test_the_last_known_tick(*, down: bool) -> None:
    """A swap that would go through a tick nobody has shown raises; one that ends before it does not."""
    known = pool_of(margin=0)
    edge = known.words[0] * 256 * SPACING - SPACING if down else (known.words[-1] + 1) * 256 * SPACING
    with pytest.raises(UnknownTicksError, match=f"at tick {edge}"):
        swap(known, 10**30, zero_for_one=down)
    before = price_of(edge) + (1 if down else -1)
    assert swap(known, 10**30, zero_for_one=down, price_limit=before).pool.sqrt_price_x96 == before
    told, seen = (swap(each, 5 * MILLION, zero_for_one=down) for each in (NEWSWAP, known))
    assert told.amount_out == seen.amount_out


@DIRECTIONS
def test_the_end_of_all_prices(*, down: bool) -> None:
    """Where everything is known the swap ends at the last price and leaves the rest of its input."""
    done = swap(ENDLESS, AMOUNT_MAX, zero_for_one=down)
    assert done.pool.sqrt_price_x96 == (PRICE_MIN + 1 if down else PRICE_MAX - 1)
    assert done.amount_in < AMOUNT_MAX
    assert done.pool.liquidity == 0
    with pytest.raises(PoolError, match="wrong side"):
        swap(done.pool, 1, zero_for_one=down)


POOLS: dict[str, Callable[[], object]] = {
    "a price in another tick": lambda: replace(NEWSWAP, tick=NEWSWAP.tick + 1),
    "a price in the tick below": lambda: replace(NEWSWAP, tick=NEWSWAP.tick - 1),
    "no price": lambda: replace(NEWSWAP, sqrt_price_x96=0),
    "a fee of everything": lambda: replace(NEWSWAP, fee=1_000_000),
    "a fee below nothing": lambda: replace(NEWSWAP, fee=-1),
    "no spacing": lambda: replace(NEWSWAP, spacing=0),
    "liquidity below nothing": lambda: replace(NEWSWAP, liquidity=-1),
    "more liquidity than the contract counts": lambda: replace(NEWSWAP, liquidity=2**128),
    "a tick between two": lambda: replace(NEWSWAP, ticks={198_041: 1}),
    "a tick outside the words": lambda: replace(NEWSWAP, ticks={0: 1}),
    "a tick beyond the end": lambda: replace(NEWSWAP, ticks={TICK_MAX + 8: 1}, words=range(400)),
    "a tick with too much": lambda: replace(NEWSWAP, ticks={198_040: 2**128}),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_no_pool(pool: Callable[[], object]) -> None:
    """Figures that no pool of the contracts has cannot become one."""
    with pytest.raises(PoolError):
        pool()


def test_liquidity_that_would_fall_below_nothing() -> None:
    """Ticks that take away more than there is are found when they are crossed."""
    broken = replace(NEWSWAP, ticks={198_040: 10**30})
    with pytest.raises(PoolError, match="liquidity"):
        swap(broken, 5 * MILLION, zero_for_one=True)


amounts = st.integers(1, 11 * MILLION)


@given(one=amounts, other=amounts, down=st.booleans())
def test_the_way_does_not_matter(one: int, other: int, *, down: bool) -> None:
    """Without a fee two swaps are one, but for the roundings, which are the pool's gain."""
    scale = 1 if down else ETHER // MILLION
    first = swap(FREE, one * scale, zero_for_one=down)
    second = swap(first.pool, other * scale, zero_for_one=down)
    both = swap(FREE, (one + other) * scale, zero_for_one=down)
    given_up = both.amount_out - first.amount_out - second.amount_out
    # a base unit of what comes in, at the worst price on the way, and one of what goes out
    unit = 3 + 3 * (first.pool.mid if down else 1 / both.pool.mid)
    assert -2 <= given_up <= 2 + unit


@given(amount=amounts, pool=st.sampled_from([NEWSWAP, FREE, GAP]), down=st.booleans())
def test_there_and_back_earns_nothing(amount: int, pool: Pool, *, down: bool) -> None:
    """Whoever sells what he just bought has no more than before."""
    done = swap(pool, amount, zero_for_one=down)
    if done.amount_out:
        back = swap(done.pool, done.amount_out, zero_for_one=not down)
        assert back.amount_out <= amount


@given(amount=amounts, more=st.integers(0, MILLION), down=st.booleans())
def test_more_in_is_never_less_out(amount: int, more: int, *, down: bool) -> None:
    """A greater input never buys less, and never at a better price, but for a base unit of it."""
    small = swap(NEWSWAP, amount, zero_for_one=down)
    great = swap(NEWSWAP, amount + more, zero_for_one=down)
    assert great.amount_out >= small.amount_out
    unit = 2 + 2 * (NEWSWAP.mid if down else 1 / NEWSWAP.mid)
    assert great.amount_out * small.amount_in <= (small.amount_out + unit) * great.amount_in


@given(amount=amounts, down=st.booleans())
def test_the_known_words_do_not_matter(amount: int, *, down: bool) -> None:
    """As long as a swap fits into what is known, more knowledge changes no figure."""
    wide, narrow = pool_of(margin=40), pool_of(margin=0)
    told, seen = (swap(each, amount, zero_for_one=down) for each in (wide, narrow))
    assert (told.amount_out, told.pool.sqrt_price_x96) == (seen.amount_out, seen.pool.sqrt_price_x96)


def test_newswap_is_the_notes_pool() -> None:
    """The pool that these tests use is the one that is deployed."""
    assert (NEWSWAP.tick, NEWSWAP.liquidity) == (198_079, sum(each[2] for each in POSITIONS))
