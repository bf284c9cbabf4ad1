"""Tranches: the worked example's figures, which number suffices, and what a tranche may be sent with."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.risk.build import ETHER, MILLION, pool_of
from workbench.demo.newswap import SQRT_PRICE_X96
from workbench.risk.errors import SplitError, UnknownTicksError
from workbench.risk.pool import AMOUNT_MAX, Pool, swap
from workbench.risk.split import BPS, PPM, TRANCHES_MAX, Advice, Cost, Recovery, advise
from workbench.risk.ticks import price_of

NEWSWAP = pool_of()
USDC = 10**6
NONE, BAND, FULL = Recovery


def advised(
    millions: float = 5, tranches: int = 5, limit_bps: int = 50, *, pool: Pool = NEWSWAP, down: bool = True
) -> Advice:
    """Return the advice for selling so many million dollars' worth."""
    unit = MILLION if down else 400 * ETHER
    amount = int(Fraction(millions) * unit)
    return advise(pool, amount_in=amount, zero_for_one=down, limit_bps=limit_bps, tranches=tranches)


def dollars(value: Fraction | int) -> int:
    """Return base units of USDC in whole dollars."""
    return round(value / USDC)


@pytest.mark.parametrize(
    ("millions", "ppm", "loss"),
    [
        (Fraction(1, 10), 650, 65),
        (1, 2_000, 2_000),
        (Fraction(5, 4), 2_374, 2_968),
        (Fraction(3, 2), 2_930, 4_396),
        (2, 5_440, 10_881),
        (3, 12_816, 38_448),
        (4, 21_251, 85_005),
        (5, 30_000, 150_000),
    ],
)
def test_in_one_go(millions: Fraction, ppm: int, loss: int) -> None:
    """One swap costs what the contracts' own figures say."""
    once = advised(float(millions)).once
    assert (once.slippage_ppm, dollars(once.loss)) == (ppm, loss)


FIVE = {
    NONE: ([2_000, 8_881, 27_568, 46_557, 64_995], 30_000, 150_000, 0),
    BAND: ([2_000, 2_499, 2_499, 2_499, 2_499], 2_399, 11_995, 7_041),
    FULL: ([2_000] * 5, 2_000, 10_000, 5_004),
}


@pytest.mark.parametrize("recovery", Recovery)
def test_five_tranches_of_a_million(recovery: Recovery) -> None:
    """Each tranche, the whole, its loss and the arbitrageur's profit, in each case."""
    course = advised().courses[recovery]
    each, whole, loss, arbitrage = FIVE[recovery]
    assert [tranche.slippage_ppm for tranche in course.tranches] == each
    assert course.total.slippage_ppm == whole
    assert abs(dollars(course.total.loss) - loss) <= 1
    assert abs(dollars(course.arbitrage) - arbitrage) <= 1
    assert list(course.cumulative())[-1] == course.total.lost


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_splitting_alone_saves_nothing(*, down: bool) -> None:
    """Back to back, any number of tranches costs what one does, but for roundings that the pool gains."""
    for tranches in range(1, TRANCHES_MAX + 1):
        advice = advised(tranches=tranches, down=down)
        rounding = 4 * tranches if down else Fraction(4 * tranches) * 10**9
        assert -rounding <= advice.saved <= 2 / advice.once.worth
        assert sum(each.amount_in for each in advice.terms) == advice.once.paid


FEWEST = {
    "as one swap costs": (300, (1, 1, 1)),
    "a base point less": (299, (None, 2, 2)),
    "half of a percent": (50, (None, 3, 3)),
    "what the band leaves": (25, (None, 5, 4)),
    "less than the band leaves": (10, (None, None, 16)),
    "hardly above the fee": (6, (None, None, None)),
    "the fee itself": (5, (None, None, None)),
}


@pytest.mark.parametrize(("limit", "expected"), FEWEST.values(), ids=FEWEST)
def test_the_fewest_tranches(limit: int, expected: tuple[int | None, ...]) -> None:
    """The smallest number that meets the limit does, and one less does not."""
    advice = advised(limit_bps=limit)
    assert tuple(advice.fewest[each] for each in Recovery) == expected
    for recovery, fewest in advice.fewest.items():
        if fewest is not None:
            assert advised(tranches=fewest).courses[recovery].total.within(limit)
        if fewest is not None and fewest > 1:
            assert not advised(tranches=fewest - 1).courses[recovery].total.within(limit)


def gated(advice: Advice, number: int, ppm: int) -> int:
    """Return what a tranche gives from so far below the first price."""
    limit = price_below(ppm)
    fallen = swap(NEWSWAP, AMOUNT_MAX, zero_for_one=True, price_limit=limit).pool if ppm else NEWSWAP
    return swap(fallen, advice.terms[number].amount_in, zero_for_one=True).amount_out


def price_below(ppm: int) -> int:
    """Return the price so many millionths below the worked example's."""
    low, high = 0, SQRT_PRICE_X96
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**2 * PPM <= SQRT_PRICE_X96**2 * (PPM - ppm) else (low, middle)
    return low


@pytest.mark.parametrize("limit", [24, 25, 27, 50, 300])
def test_minimum_and_gate(limit: int) -> None:
    """At the gate a tranche gives its minimum, and within the limit; a millionth further it does not."""
    advice = advised(limit_bps=limit)
    for number, terms in enumerate(advice.terms):
        assert terms.gate_ppm is not None
        assert gated(advice, number, terms.gate_ppm) >= terms.minimum_out
        assert gated(advice, number, terms.gate_ppm + 1) < terms.minimum_out
        least = Cost(paid=terms.amount_in, received=terms.minimum_out, worth=NEWSWAP.mid)
        assert least.within(limit)
        less = replace(least, received=terms.minimum_out - 1)
        planned = advice.courses[BAND].tranches[number].received
        stated = planned * (BPS - advice.margin_bps) // BPS
        assert terms.minimum_out >= stated
        assert terms.minimum_out == stated or not less.within(limit)


def test_a_tranche_that_no_price_suffices_for() -> None:
    """Where a tranche would miss the limit from the first price, there is no gate to wait for."""
    advice = advised(tranches=2, limit_bps=30)
    assert [terms.gate_ppm for terms in advice.terms] == [None, None]
    assert all(terms.minimum_out > advice.courses[FULL].tranches[0].received for terms in advice.terms)


def test_a_gate_ends_where_knowledge_ends() -> None:
    """What lies behind the known ticks opens no gate: it is only as wide as what can be told."""

    def gate(words: range) -> int:
        pool = replace(NEWSWAP, words=words, ticks={198_040: 0, 198_120: 0})
        amount, wide = 5 * MILLION, 3_000
        advice = advise(
            pool, amount_in=amount, zero_for_one=True, limit_bps=wide, tranches=5, margin_bps=wide - 1
        )
        return advice.terms[0].gate_ppm or 0

    assert 0 < gate(range(77, 80)) < gate(range(76, 80)) < gate(range(74, 80))


REFUSED: dict[str, Callable[[], object]] = {
    "no tranche": lambda: advised(tranches=0),
    "more than a sequence has": lambda: advised(tranches=TRANCHES_MAX + 1),
    "no limit": lambda: advised(limit_bps=0),
    "a limit of everything": lambda: advised(limit_bps=BPS),
    "less than a unit for each": lambda: advise(
        NEWSWAP, amount_in=TRANCHES_MAX - 1, zero_for_one=True, limit_bps=50, tranches=2
    ),
    "a margin of everything": lambda: advise(
        NEWSWAP, amount_in=MILLION, zero_for_one=True, limit_bps=50, tranches=2, margin_bps=BPS
    ),
    "more than the pool takes": lambda: advise(
        pool_of([(-887_270, 887_270, 10**6)]), amount_in=10**60, zero_for_one=True, limit_bps=50, tranches=2
    ),
}


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED)
def test_no_advice(asked: Callable[[], object]) -> None:
    """A plan that cannot be judged is refused, not judged as good."""
    with pytest.raises(SplitError):
        asked()


def test_no_advice_beyond_what_is_known() -> None:
    """An amount that leaves the known ticks gets no figure at all."""
    with pytest.raises(UnknownTicksError):
        advised(millions=60)


@given(
    millions=st.integers(1, 80),
    tranches=st.integers(1, TRANCHES_MAX),
    limit=st.integers(1, 500),
    down=st.booleans(),
)
def test_the_cases_are_in_order(millions: int, tranches: int, limit: int, *, down: bool) -> None:
    """The worse the recovery, the higher the cost; and no minimum is below what the limit allows."""
    advice = advised(millions / 10, tranches, limit, down=down)
    none, band, full = (advice.courses[each].total.lost for each in (NONE, BAND, FULL))
    unit = Fraction(4 * tranches) * max(1, 1 / advice.once.worth)
    assert none + unit >= band >= full - unit
    assert advice.courses[NONE].arbitrage == 0
    for terms in advice.terms:
        least = Cost(paid=terms.amount_in, received=terms.minimum_out, worth=advice.once.worth)
        assert least.within(limit)


@pytest.mark.parametrize("tranches", range(1, TRANCHES_MAX + 1))
def test_nobody_pays_for_the_arbitrage_but_the_order(tranches: int) -> None:
    """To the band it pays, and no more than the order loses; from there on to the first price it costs."""
    courses = advised(tranches=tranches).courses
    assert 0 <= courses[BAND].arbitrage < courses[BAND].total.lost
    assert courses[FULL].arbitrage < courses[BAND].arbitrage


def test_full_recovery_is_not_always_for_profit() -> None:
    """A small tranche leaves the price so near that bringing it back costs more than it earns."""
    courses = advised(tranches=TRANCHES_MAX).courses
    assert courses[FULL].arbitrage < 0
    assert dollars(courses[FULL].total.loss) < dollars(courses[BAND].total.loss)


def test_a_pool_at_the_edge_of_a_tick() -> None:
    """Begun exactly at an initialised tick, recovery brings the price back to it and not across."""
    pool = pool_of([(198_000, 198_200, 10**20)], price=price_of(198_200) - 1)
    course = advise(pool, amount_in=MILLION, zero_for_one=True, limit_bps=50, tranches=4).courses[FULL]
    assert len({tranche.slippage_ppm for tranche in course.tranches}) == 1
