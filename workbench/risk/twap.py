"""A pool's price over a window of time, from the observations that the pool keeps, as its published oracle.

(1) Slot 0 says the present tick, which observation is the newest, and how many there are. They stand in a
    ring from slot 8 on: a time, and the sum of (tick × seconds) up to it, signed, in 56 bits that wrap.
(2) Behind the newest observation the tick has been the present one. Between two observations the sum grows
    evenly; the step for one second is cut off towards zero, as the contracts divide.
(3) The mean tick is the difference of the sums over the window, divided by it and rounded down.
(4) A window that begins before the oldest observation is refused: there is no price over it. So is a pool
    whose newest observation is older than `quiet_s_max`: nobody has traded, and its price is nobody's.
(5) `wanted` says which slots are still missing: whoever asks and whoever reads agree by calling the same
    function. The ring is searched by narrowing, a few slots at a time.

One block's trades move a mean over minutes by little; whoever can hold a pool off its price for a part of the
window moves it by that part. The values are whatever the caller has proven. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final

from workbench.evm.fields import HASH_BYTES
from workbench.risk.errors import PoolError
from workbench.risk.layout import PRICE, Slot
from workbench.risk.ticks import price_of
from workbench.risk.venue import Venue

OBSERVATIONS: Final = 8
WINDOW_S_MIN: Final = 60
WINDOW_S_MAX: Final = 7 * 86_400
AT_ONCE: Final = 15
DECIMALS_MAX: Final = 36
PLACES: Final = 18
_TIME, _SUM = 2**32, 2**56

Values = Mapping[Slot, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean tick over a window, how old the newest observation is, and how many the pool keeps."""

    tick: int
    newest_age_s: int
    cardinality: int


@dataclass(frozen=True, slots=True)
class _Observation:
    """The sum of ticks at a moment, which is told by its distance from now."""

    age_s: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class _Ring:
    """What slot 0 says of the observations; places in the ring count from the oldest, 0, to the newest."""

    venue: Venue
    values: Values
    now: int
    tick: int
    newest: int
    cardinality: int

    def slot(self, place: int) -> Slot:
        index = (self.newest + 1 + place) % self.cardinality
        return Slot(self.venue.address, (OBSERVATIONS + index).to_bytes(HASH_BYTES))

    def known(self, place: int) -> bool:
        return self.slot(place) in self.values

    def places(self) -> list[int]:
        """Return the places that are proven, the oldest first."""
        indexes = (int.from_bytes(slot.key) - OBSERVATIONS for slot in self.values)
        inside = (each for each in indexes if 0 <= each < self.cardinality)
        return sorted((each - self.newest - 1) % self.cardinality for each in inside)

    def at(self, place: int) -> _Observation | None:
        """Return an observation; None where the ring has grown and nothing was written yet."""
        packed = _value(self.values, self.slot(place))
        if not packed >> 248:
            return None
        # times wrap, too; none is as far away as half of what they count
        age = (self.now - packed % _TIME) % _TIME
        return _Observation(age, packed >> 32 & _SUM - 1)


def mean(venue: Venue, values: Values, *, now: int, window_s: int, quiet_s_max: int) -> Mean:
    """Return the mean tick of the `window_s` seconds before `now`, the time of the proven block."""
    ring = _opened(venue, values, now)
    below, above = _around(ring, window_s)
    if below != above:
        raise PoolError(f"observations {below} to {above} of {ring.cardinality} are not proven")
    newest = _newest(ring)
    if newest.age_s > quiet_s_max:  # (4)
        raise PoolError(f"{venue.address}: the newest observation is {newest.age_s} s old")
    ended = newest.cumulative + ring.tick * newest.age_s  # (2)
    began = _cumulative(ring, below, window_s)
    difference = (ended - began) % _SUM
    signed = difference - _SUM if difference >= _SUM // 2 else difference
    return Mean(tick=signed // window_s, newest_age_s=newest.age_s, cardinality=ring.cardinality)  # (3)


def wanted(venue: Venue, values: Values, *, now: int, window_s: int) -> list[Slot]:
    """Return the slots that are to be proven next; none when all are there (5)."""
    first = Slot(venue.address, PRICE.to_bytes(HASH_BYTES))
    if first not in values:
        return [first]
    ring = _opened(venue, values, now)
    # the newest and the two that may be the oldest: what stands behind the newest, and the ring's first
    ends = [ring.slot(ring.cardinality - 1), ring.slot(0), Slot(venue.address, OBSERVATIONS.to_bytes(32))]
    if missing := [slot for slot in dict.fromkeys(ends) if slot not in values]:
        return missing
    below, above = _around(ring, window_s)
    if below == above:
        nexts = [ring.slot(place) for place in (below, below + 1) if place < ring.cardinality]
        return [slot for slot in nexts if slot not in values]
    step = max((above - below) // (AT_ONCE + 1), 1)
    return [ring.slot(place) for place in range(below + step, above + 1, step) if not ring.known(place)]


def price(tick: int, *, decimals0: int, decimals1: int, of_token0: bool) -> Decimal:
    """Return what one whole token of one kind is worth in the other at a tick, to 18 places."""
    if not 0 <= min(decimals0, decimals1) <= max(decimals0, decimals1) <= DECIMALS_MAX:
        raise PoolError(f"{decimals0} and {decimals1} decimals")
    units = Fraction(price_of(tick) ** 2, 2**192)  # base units of token1 for one of token0
    whole = units * Fraction(10) ** (decimals0 - decimals1)
    told = whole if of_token0 else 1 / whole
    with localcontext(prec=80):
        return (Decimal(told.numerator) / told.denominator).quantize(Decimal(1).scaleb(-PLACES))


def _opened(venue: Venue, values: Values, now: int) -> _Ring:
    packed = _value(values, Slot(venue.address, PRICE.to_bytes(HASH_BYTES)))
    tick = packed >> 160 & 2**24 - 1
    newest, cardinality = packed >> 184 & 0xFFFF, packed >> 200 & 0xFFFF
    if not packed >> 240 & 1 or packed & 2**160 - 1 == 0 or not newest < cardinality:
        raise PoolError(f"the pool {venue.address} has no price")
    return _Ring(venue, values, now, tick - (1 << 24) if tick >> 23 else tick, newest, cardinality)


def _newest(ring: _Ring) -> _Observation:
    newest = ring.at(ring.cardinality - 1)
    if newest is None:
        raise PoolError(f"the pool {ring.venue.address} has no observation")
    return newest


def _around(ring: _Ring, window_s: int) -> tuple[int, int]:
    """Return between which places the last observation before the window lies; the same twice when found."""
    if not WINDOW_S_MIN <= window_s <= WINDOW_S_MAX:
        raise PoolError(f"a window of {window_s} s")
    oldest = ring.at(0)
    first = 0 if oldest is not None else ring.cardinality - 1 - ring.newest
    oldest = oldest or ring.at(first)
    if oldest is None or oldest.age_s < window_s:  # (4)
        age = "no" if oldest is None else f"{oldest.age_s} s of"
        raise PoolError(f"{ring.venue.address}: {age} observations, the window is {window_s} s")
    below, above = first, ring.cardinality - 1
    for place in ring.places():
        if place < first:
            continue
        seen = ring.at(place)
        if seen is None:
            raise PoolError(f"{ring.venue.address}: a hole among its observations")
        if seen.age_s >= window_s:
            below = place
        else:
            above = place - 1
            break
    return below, above


def _cumulative(ring: _Ring, place: int, age_s: int) -> int:
    before = ring.at(place)
    if before is None:
        raise PoolError(f"{ring.venue.address}: a hole among its observations")
    since = before.age_s - age_s
    if since == 0:
        return before.cumulative
    if place == ring.cardinality - 1:
        return before.cumulative + ring.tick * since
    after = ring.at(place + 1)
    if after is None or not after.age_s < before.age_s:
        raise PoolError(f"{ring.venue.address}: observations out of order")
    grown = (after.cumulative - before.cumulative) % _SUM
    grown = grown - _SUM if grown >= _SUM // 2 else grown
    seconds = before.age_s - after.age_s
    each = abs(grown) // seconds * (1 if grown >= 0 else -1)  # cut off towards zero
    return before.cumulative + each * since


def _value(values: Values, slot: Slot) -> int:
    try:
        return values[slot]
    except KeyError:
        raise PoolError(f"slot {slot.key.hex()} of {slot.address} is not proven") from None
