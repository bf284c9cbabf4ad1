"""Slots and what they say of a pool: everything that is missing or contradicts itself is refused."""

from collections.abc import Callable

import pytest

from tests.risk.build import MILLION, pool_of
from tests.risk.test_venue import FACTORY, USDC, WETH
from workbench.risk import layout
from workbench.risk.errors import PoolError, UnknownTicksError
from workbench.risk.layout import LIQUIDITY, PRICE, SPACINGS, TICKS, WORDS, Slot, mapped, read, wanted
from workbench.risk.pool import WORD_TICKS, Pool, swap, word_of
from workbench.risk.ticks import price_of
from workbench.risk.venue import Venue

VENUE = Venue.of(FACTORY, USDC, WETH, 500)
UNLOCKED = 1 << 240
OBSERVATIONS = 0xFFFF_FFFF_FFFF << 184  # and what else stands above the tick
NEWSWAP = pool_of()
# a price below one: ticks and words are negative
BELOW = pool_of([(-2_600, -2_500, 10**18), (-10_000, 20_000, 10**18)], price=price_of(-2_555))


def slot(position: int, key: int | None = None) -> Slot:
    """Return a slot of the pool."""
    return Slot(VENUE.address, position.to_bytes(32) if key is None else mapped(position, key))


SPACING = Slot(FACTORY, mapped(SPACINGS, 500))


def packed(pool: Pool, words: range | None = None) -> dict[Slot, int]:
    """Return a pool as the contracts keep it."""
    slot0 = pool.sqrt_price_x96 | pool.tick % 2**24 << 160 | OBSERVATIONS | UNLOCKED
    values = {SPACING: pool.spacing, slot(PRICE): slot0, slot(LIQUIDITY): pool.liquidity}
    for word in pool.words if words is None else words:
        values[slot(WORDS, word)] = 0
    for tick, net in pool.ticks.items():
        word, bit = divmod(tick // pool.spacing, WORD_TICKS)
        values[slot(WORDS, word)] = values.get(slot(WORDS, word), 0) | 1 << bit
        values[slot(TICKS, tick)] = net % 2**128 << 128 | abs(net)
    return values


@pytest.mark.parametrize("pool", [NEWSWAP, BELOW], ids=["ticks above nought", "below it"])
def test_a_pool_is_read(pool: Pool) -> None:
    """Price, tick, liquidity, spacing and every tick come back, signs included."""
    assert read(VENUE, packed(pool)) == pool


def test_words_that_do_not_join_are_not_known() -> None:
    """A word beyond one that is missing does not count: between them anything may stand."""
    values = packed(NEWSWAP, range(70, 90))
    del values[slot(WORDS, 76)]
    del values[slot(WORDS, 79)]
    assert read(VENUE, values).words == range(77, 79)


def changed(place: Slot, change: Callable[[int], int]) -> dict[Slot, int]:
    """Return the worked example's slots with one of them changed."""
    values = packed(NEWSWAP)
    return {**values, place: change(values[place])}


def without(place: Slot) -> dict[Slot, int]:
    """Return the worked example's slots without one of them."""
    values = packed(NEWSWAP)
    del values[place]
    return values


PRESENT = word_of(NEWSWAP.tick, NEWSWAP.spacing)
INNER = slot(TICKS, 198_040)
REFUSED = {
    "without the spacing": (without(SPACING), UnknownTicksError, "not proven"),
    "without the price": (without(slot(PRICE)), UnknownTicksError, "not proven"),
    "without the liquidity": (without(slot(LIQUIDITY)), UnknownTicksError, "not proven"),
    "without a tick that is marked": (without(INNER), UnknownTicksError, "not proven"),
    "a fee that the factory does not have": (changed(SPACING, lambda _: 0), PoolError, "no fee of 500"),
    "a spacing of too much": (changed(SPACING, lambda _: 2**24), PoolError, "no fee of 500"),
    "no price": (changed(slot(PRICE), lambda _: 0), PoolError, "has no price"),
    "locked": (changed(slot(PRICE), lambda each: each ^ UNLOCKED), PoolError, "has no price"),
    "another tick": (changed(slot(PRICE), lambda each: each + (1 << 160)), PoolError, "is in tick"),
    "a tick that is marked and empty": (changed(INNER, lambda _: 0), PoolError, "has no liquidity"),
    "too much liquidity": (changed(slot(LIQUIDITY), lambda _: 2**128), PoolError, "a liquidity of"),
}


@pytest.mark.parametrize(("values", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_slots_that_are_no_pool(values: dict[Slot, int], error: type[Exception], said: str) -> None:
    """What is left out or contradicts itself does not become a pool."""
    with pytest.raises(error, match=said):
        read(VENUE, values)


def test_without_the_present_word_nothing_can_be_sold() -> None:
    """A pool whose own word is missing has a price and no depth."""
    with pytest.raises(UnknownTicksError):
        swap(read(VENUE, without(slot(WORDS, PRESENT))), MILLION, zero_for_one=True)


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
@pytest.mark.parametrize("amount", [1, MILLION, 5 * MILLION, 20 * MILLION])
def test_whoever_asks_for_what_is_wanted_gets_there(amount: int, *, down: bool) -> None:
    """Slot after slot as wanted, until nothing is: the figures are those of the whole pool."""
    whole = packed(pool_of(margin=300), range(-50, 200))
    values: dict[Slot, int] = {}
    for _ in range(12):
        more = wanted(VENUE, values, amount_in=amount, zero_for_one=down)
        assert not set(more) & set(values)
        values |= {each: whole[each] for each in more}
        if not more:
            break
    assert wanted(VENUE, values, amount_in=amount, zero_for_one=down) == []
    seen = swap(read(VENUE, values), amount, zero_for_one=down)
    told = swap(pool_of(margin=40), amount, zero_for_one=down)
    assert (seen.amount_out, seen.pool.sqrt_price_x96) == (told.amount_out, told.pool.sqrt_price_x96)


def test_a_thin_pool_is_asked_for_in_few_rounds() -> None:
    """The further the swap goes, the more words at once, up to a limit."""
    whole = packed(pool_of([(198_000, 198_200, 10**18)], margin=100), range(-150, 250))
    values: dict[Slot, int] = {}
    asked = []
    while more := wanted(VENUE, values, amount_in=50 * MILLION, zero_for_one=True):
        values |= {each: whole[each] for each in more}
        asked.append(len(more))
        if len(values) > 120:
            break
    assert asked[:9] == [3, 1, 2, 1, 2, 4, 8, 16, 16]
    assert max(asked) == layout.WORDS_AT_ONCE
