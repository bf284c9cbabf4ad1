"""What it costs to buy in tranches, in three cases between which the truth lies.

(1) Every tranche is measured against the *first* price: slippage = 1 − out / (in · mid), fee included.
    Against the price before each tranche, tranches would look cheap although each spoils the price for the
    next.
(2) Back to back (`NONE`): nothing happens between the tranches. This is the worst case.
(3) `FULL`: between the tranches the price comes back to the first one. This is the best case.
(4) `BAND`: somebody who trades for profit alone brings the price back as far as that pays: to the first
    price less the pool's fee. This is the case to plan with.
(5) The arbitrageur trades after each tranche, the last one too. His profit is what he gets less what he
    pays, pool fees taken off, at the first price. He trades nowhere else and pays for no gas. Below nothing
    it says that nobody brings the price back so far for profit alone.
(6) A case meets the limit when all its tranches together cost no more than `limit_bps` of what they pay.
(7) A tranche's minimum output is what it would give in the case (4), less a margin, and never less than the
    limit allows for it alone: the chain itself then refuses a tranche whose pool has not recovered.
(8) A tranche's gate is how far below the first price the pool may stand, at most, for the tranche still to
    give its minimum output. None means that it would not even from the first price.

Exact: base units are integers, prices are fractions; parts per million are rounded half up, a loss in base
units and a minimum that the limit sets are rounded up. A swap that the known ticks or the pool's liquidity
cannot hold raises. Left out: whether the pool's price is the market's, which is an oracle's business; tokens
that take a part of what is sent; gas. What recovers, how far and when, is nobody's promise: whoever relies
on it reads the price again before each tranche. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Final

from workbench.risk.errors import SplitError, UnknownTicksError
from workbench.risk.pool import AMOUNT_MAX, Pool, Swapped, swap

TRANCHES_MAX: Final = 16  # as many as a simulated sequence has
MARGIN_BPS: Final = 5
BPS: Final = 10_000
PPM: Final = 1_000_000


class Recovery(StrEnum):
    """What happens to the price between two tranches."""

    NONE = "none"
    BAND = "band"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was paid and received, and what that lost against the first price."""

    paid: int
    received: int
    worth: Fraction  # base units received for one paid, at the first price

    @property
    def lost(self) -> Fraction:
        """Base units of the token paid."""
        return self.paid - self.received / self.worth

    @property
    def loss(self) -> int:
        """Whole base units of the token paid, rounded up."""
        return ceil(self.lost)

    @property
    def slippage_ppm(self) -> int:
        """Parts per million of what was paid, rounded half up."""
        return floor(self.lost / self.paid * PPM + Fraction(1, 2))

    def within(self, limit_bps: int) -> bool:
        """Whether this loses no more than the limit allows."""
        return self.lost * BPS <= limit_bps * self.paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The tranches in one case, what they cost together, and what the arbitrageur makes of them."""

    tranches: tuple[Cost, ...]
    arbitrage: Fraction  # base units of the token paid

    @property
    def total(self) -> Cost:
        """All tranches together."""
        paid, received = (
            sum(each) for each in zip(*((c.paid, c.received) for c in self.tranches), strict=True)
        )
        return Cost(paid=paid, received=received, worth=self.tranches[0].worth)

    def cumulative(self) -> Iterator[Fraction]:
        """Yield what is lost after each tranche."""
        lost = Fraction(0)
        for each in self.tranches:
            lost += each.lost
            yield lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one tranche is sent with (7), and when (8)."""

    amount_in: int
    minimum_out: int
    gate_ppm: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Everything there is to say of a split; `fewest` is None where no number of tranches meets the limit."""

    limit_bps: int
    margin_bps: int
    once: Cost
    courses: Mapping[Recovery, Course]
    fewest: Mapping[Recovery, int | None]
    terms: tuple[Terms, ...]

    @property
    def saved(self) -> Fraction:
        """What splitting alone saves, in base units of the token paid; below nothing when it costs."""
        return self.once.lost - self.courses[Recovery.NONE].total.lost


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be sold, and the pool as it stands before."""

    pool: Pool
    amount_in: int
    zero_for_one: bool

    @property
    def worth(self) -> Fraction:
        return self.pool.mid if self.zero_for_one else 1 / self.pool.mid

    def sizes(self, tranches: int) -> list[int]:
        """Return equal amounts; what does not divide goes to the first ones."""
        each, more = divmod(self.amount_in, tranches)
        return [each + (1 if place < more else 0) for place in range(tranches)]

    def sold(self, pool: Pool, amount: int) -> Swapped:
        done = swap(pool, amount, zero_for_one=self.zero_for_one)
        if done.amount_in != amount:
            raise SplitError(f"the pool takes {done.amount_in} of {amount}")
        return done

    def cost(self, done: Swapped) -> Cost:
        return Cost(paid=done.amount_in, received=done.amount_out, worth=self.worth)

    def below(self, ppm: int) -> int:
        """Return the pool's price when the token paid is worth so many parts per million less."""
        square = self.pool.sqrt_price_x96**2
        if self.zero_for_one:
            return isqrt(square * (PPM - ppm) // PPM)
        return isqrt(square * PPM // (PPM - ppm))

    def fallen(self, ppm: int) -> Pool:
        """Return the pool with its price moved that far against the order."""
        limit = self.below(ppm)
        if not self.beyond(limit):
            return self.pool
        return swap(self.pool, AMOUNT_MAX, zero_for_one=self.zero_for_one, price_limit=limit).pool

    def beyond(self, limit: int) -> bool:
        """Whether a price is worse for the order than the first one."""
        first = self.pool.sqrt_price_x96
        return limit < first if self.zero_for_one else limit > first


def advise(
    pool: Pool,
    *,
    amount_in: int,
    zero_for_one: bool,
    limit_bps: int,
    tranches: int,
    margin_bps: int = MARGIN_BPS,
) -> Advice:
    """Return what selling `amount_in` at once and in so many tranches would cost."""
    if not 1 <= tranches <= TRANCHES_MAX:
        raise SplitError(f"{tranches} tranches, at most {TRANCHES_MAX}")
    if not 0 < limit_bps < BPS or not 0 <= margin_bps < BPS:
        raise SplitError(f"a limit of {limit_bps} bps, a margin of {margin_bps} bps")
    if amount_in < TRANCHES_MAX:
        raise SplitError(f"{amount_in} base units cannot be split")
    order = _Order(pool, amount_in, zero_for_one)
    courses = {each: _course(order, each, tranches) for each in Recovery}
    return Advice(
        limit_bps=limit_bps,
        margin_bps=margin_bps,
        once=_course(order, Recovery.NONE, 1).total,
        courses=courses,
        fewest={each: _fewest(order, each, limit_bps) for each in Recovery},
        terms=tuple(_terms(order, each, limit_bps, margin_bps) for each in courses[Recovery.BAND].tranches),
    )


def _course(order: _Order, recovery: Recovery, tranches: int) -> Course:
    pool, costs, arbitrage = order.pool, [], Fraction(0)
    for size in order.sizes(tranches):
        done = order.sold(pool, size)
        costs.append(order.cost(done))
        pool = done.pool
        back = _back(order, recovery)
        if back is not None and _short_of(pool, back, order):
            taken = swap(pool, AMOUNT_MAX, zero_for_one=not order.zero_for_one, price_limit=back)
            arbitrage += taken.amount_out - taken.amount_in / order.worth  # (5)
            pool = taken.pool
    return Course(tranches=tuple(costs), arbitrage=arbitrage)


def _back(order: _Order, recovery: Recovery) -> int | None:
    """Return the price that the pool comes back to, or None."""
    if recovery is Recovery.NONE:
        return None
    # the pool's fee is in millionths, as `below` wants it
    return order.pool.sqrt_price_x96 if recovery is Recovery.FULL else order.below(order.pool.fee)


def _short_of(pool: Pool, back: int, order: _Order) -> bool:
    return pool.sqrt_price_x96 < back if order.zero_for_one else pool.sqrt_price_x96 > back


def _fewest(order: _Order, recovery: Recovery, limit_bps: int) -> int | None:
    for tranches in range(1, TRANCHES_MAX + 1):
        if _course(order, recovery, tranches).total.within(limit_bps):
            return tranches
    return None


def _terms(order: _Order, expected: Cost, limit_bps: int, margin_bps: int) -> Terms:
    allowed = ceil(expected.paid * order.worth * (BPS - limit_bps) / BPS)
    minimum = max(expected.received * (BPS - margin_bps) // BPS, allowed)  # (7)
    return Terms(
        amount_in=expected.paid,
        minimum_out=minimum,
        gate_ppm=_gate(order, expected.paid, minimum, limit_bps),
    )


def _gate(order: _Order, amount: int, minimum: int, limit_bps: int) -> int | None:
    def gives(ppm: int) -> bool:
        try:
            return order.sold(order.fallen(ppm), amount).amount_out >= minimum
        except (UnknownTicksError, SplitError):
            return False  # what cannot be told opens no gate

    if not gives(0):
        return None
    # (8) a tranche that began below the limit would end below it
    low, high = 0, limit_bps * (PPM // BPS)
    while high - low > 1:
        middle = (low + high) // 2
        if gives(middle):
            low = middle
        else:
            high = middle
    return low
