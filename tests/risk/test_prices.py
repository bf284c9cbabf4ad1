"""One price from several sources: who counts, who is left out and why, and what no source can do alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.risk.errors import PriceError
from workbench.risk.prices import PRICE_MAX, PRICE_MIN, QUOTES_MAX, Price, Quote, agree

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
GATES: dict[str, Any] = {"now": NOW, "age_s_max": 60, "deviation_bps_max": 100}


def q(source: str, price: str, *, age_s: float = 10, **other: Any) -> Quote:
    """Return a quote of ether in dollars."""
    given = {"base": "ETH", "quote": "USD", "at": NOW - timedelta(seconds=age_s)} | other
    return Quote(source=source, price=Decimal(price), **given)


A, B, C, D = q("a", "2500"), q("b", "2501"), q("c", "2502"), q("d", "2503")

COUNTED = {
    "three that agree": ([A, B, C], 3, "2501", 8, {}),
    "four: the median lies between": ([A, B, C, D], 3, "2501.5", 12, {}),
    "a liar among four": (
        [A, B, C, q("liar", "9000")],
        3,
        "2501",
        8,
        {"liar": "25,979 bps from the median, at most 100"},
    ),
    "a liar among three, where two suffice": (
        [A, B, q("liar", "9000")],
        2,
        "2500.5",
        4,
        {"liar": "25,986 bps from the median, at most 100"},
    ),
    "too many decimals": (
        [A, B, C, q("liar", "2501000")],
        3,
        "2501",
        8,
        {"liar": "10^3 times the median: wrong decimals"},
    ),
    "too few decimals": (
        [A, B, C, q("liar", "0.000002501")],
        3,
        "2501",
        8,
        {"liar": "10^-9 times the median: wrong decimals"},
    ),
    "one that is stale": ([A, B, C, q("d", "2501", age_s=61)], 3, "2501", 8, {"d": "61 s old, at most 60"}),
    "one that is just fresh": ([A, B, q("c", "2502", age_s=60)], 3, "2501", 8, {}),
    "one from the future": ([A, B, C, q("d", "2501", age_s=-6)], 3, "2501", 8, {"d": "6 s in the future"}),
    "another clock of one host": ([A, B, q("c", "2502", age_s=-5)], 3, "2501", 8, {}),
    "just near enough": ([A, B, q("c", "2526.01")], 3, "2501", 104, {}),
    "a source's newest counts": ([A, B, C, q("a", "1", age_s=20)], 3, "2501", 8, {}),
    "a source that contradicts itself": (
        [A, B, C, D, q("a", "2504")],
        3,
        "2502",
        8,
        {"a": "two prices at one moment"},
    ),
    "two that lie alike among three are the majority": (
        [A, q("x", "9000"), q("y", "9000")],
        2,
        "9000",
        0,
        {"a": "7,223 bps from the median, at most 100"},
    ),
}


@pytest.mark.parametrize(("quotes", "sources", "median", "spread", "out"), COUNTED.values(), ids=COUNTED)
def test_who_counts(quotes: list[Quote], sources: int, median: str, spread: int, out: dict[str, str]) -> None:
    """The median, its spread, and each source that does not count with its reason."""
    price = agree(quotes, sources_min=sources, **GATES)
    assert (price.median, price.spread_bps) == (Decimal(median), spread)
    assert {each.quote.source: each.reason for each in price.left_out} == out
    assert {each.source for each in price.used} == {each.source for each in quotes} - set(out)


NO_PRICE: dict[str, tuple[list[Quote], str]] = {
    "nobody": ([], "0 of 3"),
    "two": ([A, B], "2 of 3"),
    "one source three times": ([A, q("a", "2500", detail="x"), q("a", "2500", age_s=11)], "1 of 3"),
    "a liar among three, by name": ([A, B, q("liar", "9000")], r"2 of 3 .*liar: 25,986 bps"),
    "two that lie alike among three": ([A, q("x", "9000"), q("y", "9000")], "2 of 3"),
    "all stale": ([q(each, "2500", age_s=99) for each in "abc"], "0 of 3 .*a: 99 s old"),
    "two camps": ([A, B, q("x", "9000"), q("y", "9000")], "0 of 3"),
    "two pairs": ([A, B, q("c", "2502", base="BTC")], "of one pair"),
    "too many": ([q(f"s{each}", "2500") for each in range(QUOTES_MAX + 1)], "at most 64"),
}


@pytest.mark.parametrize(("quotes", "said"), NO_PRICE.values(), ids=NO_PRICE)
def test_no_price(quotes: list[Quote], said: str) -> None:
    """Too few that agree are no price, and the error says who was left out."""
    with pytest.raises(PriceError, match=said):
        agree(quotes, **GATES)


@pytest.mark.parametrize(
    "gates",
    [{"sources_min": 1}, {"sources_min": 0}, {"age_s_max": -1}, {"deviation_bps_max": 10_000}],
    ids=["one source", "no source", "no age", "any deviation"],
)
def test_gates_that_are_none(gates: dict[str, Any]) -> None:
    """A lone source cannot be made to suffice, nor a gate be opened wide."""
    with pytest.raises(PriceError, match="no gates"):
        agree([A, B, C], **(GATES | gates))


ABSURD = ["0", "-0", "-2500", "NaN", "sNaN", "Infinity", "-Infinity", "1e19", "1e-19", "1." + "0" * 36 + "1"]


@pytest.mark.parametrize("price", ABSURD)
def test_what_is_no_price(price: str) -> None:
    """Zero, negatives, what is no number, and what nothing costs cannot be a quote."""
    with pytest.raises(PriceError, match="a price of"):
        q("a", price)


def test_a_moment_without_a_zone() -> None:
    """A quote whose moment means something else elsewhere is none."""
    with pytest.raises(PriceError, match="no time zone"):
        q("a", "1", at=NOW.replace(tzinfo=None))


prices = st.decimals(PRICE_MIN, PRICE_MAX, places=18, allow_nan=False, allow_infinity=False)
near = st.decimals("2490", "2510", places=6)
told = st.builds(
    Quote,
    source=st.sampled_from("abcdef"),
    base=st.just("ETH"),
    quote=st.just("USD"),
    price=near | prices,
    at=st.integers(-10, 70).map(lambda age: NOW - timedelta(seconds=age)),
    detail=st.sampled_from(["", "x"]),
)


def outcome(quotes: list[Quote]) -> Price | str:
    """Return the price, or why there is none."""
    try:
        return agree(quotes, **GATES)
    except PriceError as error:
        return str(error)


@given(st.lists(told, max_size=12), st.data())
def test_order_and_repetition_never_matter(quotes: list[Quote], data: st.DataObject) -> None:
    """The same quotes in any order, some of them twice, come to the same."""
    again = data.draw(st.permutations(quotes))
    more = data.draw(st.lists(st.sampled_from(quotes), max_size=4)) if quotes else []
    assert outcome([*again, *more]) == outcome(quotes)


@given(st.lists(near, min_size=3, max_size=9), prices | near)
def test_one_outlier_never_moves_the_median_beyond_the_others(honest: list[Decimal], lie: Decimal) -> None:
    """Whatever a single source says, the price stays between what the others say, or there is none."""
    others = [q(f"s{number}", str(price)) for number, price in enumerate(honest)]
    price = outcome([*others, q("liar", str(lie))])
    assert isinstance(price, Price)
    assert min(honest) <= price.median <= max(honest)


@given(st.lists(told, max_size=12))
def test_what_is_used_is_fresh_near_and_once(quotes: list[Quote]) -> None:
    """No price rests on a stale quote, on a source twice, or on quotes further apart than it says."""
    price = outcome(quotes)
    if isinstance(price, str):
        return
    assert len({each.source for each in price.used}) == len(price.used) >= 3
    assert all(-5 <= (NOW - each.at).total_seconds() <= 60 for each in price.used)
    values = [each.price for each in price.used]
    assert min(values) <= price.median <= max(values)
    assert max(values) - min(values) <= price.median * price.spread_bps / 10_000
