"""One price from several sources, none of which is believed alone.

(1) A quote is a positive, finite price of one base unit in quote units, with its source and the moment it is
    of. Zero, a negative, NaN, an infinity, or anything beyond 10^±18 cannot be built.
(2) A source counts once, with its newest quote. One that says two prices at one moment is left out.
(3) Staleness: a quote older than `age_s_max`, or from the future, is left out.
(4) Deviation: a quote further than `deviation_bps_max` from the median of all fresh ones is left out. One
    that is a power of ten away is called what it is: wrong decimals.
(5) The price is the median of what is left, and its spread is shown with it. With fewer than `sources_min`
    left there is no price; the error says who was left out and why.
(6) Neither the order of the quotes nor their repetition changes anything.

One liar cannot move the price beyond what the others say, and is named. Two that agree are, among three, the
majority: the third is then the one that is left out, and what they say is the price where two suffice. With
`sources_min` of three among three they can stop it, and no more. Whether sources are independent is no
question of arithmetic: whoever configures them answers for that. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil
from typing import Final

from workbench.risk.errors import PriceError

SOURCES_MIN: Final = 3
PRICE_MAX: Final = Decimal(10) ** 18
PRICE_MIN: Final = Decimal(10) ** -18
QUOTES_MAX: Final = 64
FUTURE_S: Final = 5  # two clocks of one host
BPS: Final = 10_000
_DIGITS_MAX: Final = 37
_DIGITS: Final = 80  # sums and halves of prices stay exact
_POWERS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one source says one base unit is worth, and when."""

    source: str
    base: str
    quote: str
    price: Decimal
    at: datetime
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no price (1)."""
        if not self.price.is_finite() or not PRICE_MIN <= self.price <= PRICE_MAX:
            raise PriceError(f"{self.source}: a price of {self.price!s:.40}")
        if len(self.price.as_tuple().digits) > _DIGITS_MAX:
            raise PriceError(f"{self.source}: a price of more than {_DIGITS_MAX} digits")
        if self.at.utcoffset() is None:
            raise PriceError(f"{self.source}: a moment of no time zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """How many sources a price needs, how old a quote may be, and how far from the median."""

    age_s_max: int
    deviation_bps_max: int
    sources_min: int = SOURCES_MIN

    def __post_init__(self) -> None:
        """Refuse gates through which a lone source, or anything at all, would pass."""
        few = self.sources_min < 2  # noqa: PLR2004  # one source alone is no agreement
        if few or self.age_s_max < 0 or not 0 <= self.deviation_bps_max < BPS:
            raise PriceError(
                f"{self.sources_min} sources, {self.age_s_max} s, {self.deviation_bps_max} bps: no gates"
            )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A quote that does not count, and why."""

    quote: Quote
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The median, how far the quotes behind it lie apart, and what became of each quote."""

    median: Decimal
    spread_bps: int  # rounded up: the quotes are never further apart than it says
    used: tuple[Quote, ...]
    left_out: tuple[LeftOut, ...]


def agree(
    quotes: Iterable[Quote],
    *,
    now: datetime,
    sources_min: int = SOURCES_MIN,
    age_s_max: int,
    deviation_bps_max: int,
) -> Price:
    """Return the price that these quotes come to, or raise."""
    told = list(dict.fromkeys(quotes))
    Gates(age_s_max=age_s_max, deviation_bps_max=deviation_bps_max, sources_min=sources_min)
    if len(told) > QUOTES_MAX or len({(each.base, each.quote) for each in told}) > 1:
        raise PriceError(f"{len(told)} quotes, not at most {QUOTES_MAX} of one pair")
    newest, left_out = _one_each(told)
    fresh, stale = _fresh(newest, now, age_s_max)
    near, far = _near(fresh, deviation_bps_max)
    left_out = sorted((*left_out, *stale, *far), key=lambda each: each.quote.source)
    if len(near) < sources_min:
        reasons = "; ".join(f"{each.quote.source}: {each.reason}" for each in left_out)
        raise PriceError(f"{len(near)} of {sources_min} sources agree" + (f" ({reasons})" if reasons else ""))
    middle = _median([each.price for each in near])
    prices = [Fraction(each.price) for each in near]
    spread = ceil((max(prices) - min(prices)) / Fraction(middle) * BPS)
    return Price(median=middle, spread_bps=spread, used=tuple(near), left_out=tuple(left_out))


def deviation_bps(price: Decimal, median: Decimal) -> Fraction:
    """Return how far a price lies from the median, in basis points of the median."""
    return abs(Fraction(price) - Fraction(median)) / Fraction(median) * BPS


def _one_each(quotes: Sequence[Quote]) -> tuple[list[Quote], list[LeftOut]]:  # (2)
    kept, left_out = [], []
    for source in sorted({each.source for each in quotes}):
        own = [each for each in quotes if each.source == source]
        last = max(each.at for each in own)
        # the shortest detail, by the alphabet: which of several is shown must not hang on the order
        newest = sorted((each for each in own if each.at == last), key=lambda each: (each.price, each.detail))
        if newest[0].price != newest[-1].price:
            left_out.append(LeftOut(newest[0], "two prices at one moment"))
        else:
            kept.append(newest[0])
    return kept, left_out


def _fresh(  # (3)
    quotes: Sequence[Quote], now: datetime, age_s_max: int
) -> tuple[list[Quote], list[LeftOut]]:
    fresh, stale = [], []
    for each in quotes:
        age = (now - each.at).total_seconds()
        if age < -FUTURE_S:
            stale.append(LeftOut(each, f"{-age:.0f} s in the future"))
        elif age > age_s_max:
            stale.append(LeftOut(each, f"{age:.0f} s old, at most {age_s_max}"))
        else:
            fresh.append(each)
    return fresh, stale


def _near(quotes: Sequence[Quote], bps_max: int) -> tuple[list[Quote], list[LeftOut]]:  # (4)
    if not quotes:
        return [], []
    middle = _median([each.price for each in quotes])
    near, far = [], []
    for each in quotes:
        away = deviation_bps(each.price, middle)
        if away <= bps_max:
            near.append(each)
        else:
            far.append(LeftOut(each, _far(each.price, middle, away, bps_max)))
    return near, far


def _far(price: Decimal, middle: Decimal, away: Fraction, bps_max: int) -> str:
    for power in (each for each in range(-_POWERS, _POWERS + 1) if each):
        if deviation_bps(price, middle.scaleb(power)) <= bps_max:
            return f"10^{power} times the median: wrong decimals"
    return f"{ceil(away):,} bps from the median, at most {bps_max:,}"


def _median(prices: Sequence[Decimal]) -> Decimal:
    ordered = sorted(prices)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    with localcontext(prec=_DIGITS):
        return (ordered[half - 1] + ordered[half]) / 2
