"""What a calibration would have foretold of years that came: each is held out, and fitted on those before it.

For each held-out year four 90 % intervals: of the number of incidents, of the total of known losses, of
their median and of their ninth decile. A single loss counts up to the cap, in what is foretold and in what
came, since without it a total has no bounds worth telling. Numbers, µ and σ are as uncertain as the earlier
years leave them. Chance comes from a seed, another for each year, so that one more year changes no other's
interval.

Four intervals of a year are not independent, and few years are few: how often the years fell within is told
for each figure by itself, with the exact interval of that share (Clopper-Pearson).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workbench.risk.exposure.calibrating import Sample, losses
from workbench.risk.exposure.counting import CalibrationError, foretell
from workbench.risk.exposure.tails import lognormal

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

YEARS_MIN: Final = 3
"""Before the first held-out year."""
DRAWS: Final = 4000
DRAWS_MAX: Final = 100_000
NUMBER, TOTAL, MEDIAN, DECILE = "incidents", "total", "median", "ninth decile"
FIGURES: Final = (NUMBER, TOTAL, MEDIAN, DECILE)
_CELLS_MAX: Final = 2**24


@dataclass(frozen=True, slots=True)
class Held:
    """One figure of one held-out year: incidents, or USD."""

    year: int
    figure: str
    low: Decimal
    high: Decimal
    seen: Decimal

    @property
    def within(self) -> bool:
        """Return whether what came lies in what was foretold."""
        return self.low <= self.seen <= self.high


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often a figure fell within its 90 % interval, and what that says of how often it would."""

    figure: str
    within: int
    of: int
    low: float
    high: float


def backtest(
    sample: Sample, *, cap: Decimal, seed: int, years_min: int = YEARS_MIN, draws: int = DRAWS
) -> tuple[Held, ...]:
    """Return four rows for each year that has enough years before it.

    Args:
        sample: all incidents of consecutive years.
        cap: the most that one loss counts for, USD.
        seed: of the simulation.
        years_min: how many years come before the first held-out one.
        draws: simulated years for each.

    """
    held_out = sample.years[years_min:]
    if not held_out or years_min < 2 or not 1 <= draws <= DRAWS_MAX or cap <= 0:  # noqa: PLR2004 - for a scatter
        raise CalibrationError(f"{len(sample.years)} years, the first {years_min} never held out, cap {cap}")
    return tuple(row for year in held_out for row in _held(sample, year, float(cap), seed, draws))


def _held(sample: Sample, year: int, cap: float, seed: int, draws: int) -> list[Held]:
    random = np.random.default_rng([seed, year])
    foretold = _foretold(sample.before(year), cap, random, draws)
    came = np.minimum(losses(sample.of(year)), cap)
    if not len(came):
        raise CalibrationError(f"no loss is known in {year}")
    seen = _figures(came[None, :], np.array([len(came)]))
    seen[NUMBER] = np.array([sample.counted[year]])
    return [_row(year, figure, foretold[figure], float(seen[figure][0])) for figure in FIGURES]


def _row(year: int, figure: str, foretold: Floats, seen: float) -> Held:
    low, high = np.quantile(foretold, [0.05, 0.95], method="inverted_cdf")
    return Held(year, figure, _whole(low), _whole(high), _whole(seen))


def _whole(value: float) -> Decimal:
    return Decimal(round(float(value)))


def _foretold(past: Sample, cap: float, random: np.random.Generator, draws: int) -> dict[str, Floats]:
    known = losses(past.incidents)
    tail = lognormal(known, cap=cap)
    number = foretell(past.counts(), random, draws)
    # An incident whose loss nobody learns is in no total.
    told = np.maximum(random.binomial(number, len(known) / sum(past.counts())), 1)
    if draws * int(told.max()) > _CELLS_MAX:
        raise CalibrationError(f"{draws} years of up to {told.max()} losses: fewer draws")
    mu, sigma = tail.parameters(random, draws)
    normal = random.standard_normal((draws, int(told.max())))
    amounts = np.minimum(np.exp(mu[:, None] + sigma[:, None] * normal), cap)
    figures = _figures(amounts, told)
    figures[NUMBER] = number.astype(np.float64)
    return figures


def _figures(amounts: Floats, numbers: Ints) -> dict[str, Floats]:
    """Return the figures of each row's first so many amounts; both quantiles are one of the losses."""
    counts = np.arange(amounts.shape[1]) < numbers[:, None]
    ordered = np.sort(np.where(counts, amounts, np.inf), axis=1)
    at = np.arange(len(amounts))
    return {
        TOTAL: np.where(counts, amounts, 0.0).sum(axis=1),
        MEDIAN: ordered[at, (numbers + 1) // 2 - 1],
        DECILE: ordered[at, -(-9 * numbers // 10) - 1],
    }


def coverage(held: Sequence[Held]) -> tuple[Coverage, ...]:
    """Return for each figure how often it fell within, with the 90 % interval of that share."""
    return tuple(
        _covered(figure, [each.within for each in held if each.figure == figure]) for figure in FIGURES
    )


def _covered(figure: str, within: Sequence[bool]) -> Coverage:
    hits, of = sum(within), len(within)
    if not of:
        raise CalibrationError(f"no held-out year for {figure!r}")
    low = float(special.betaincinv(hits, of - hits + 1, 0.05)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, of - hits, 0.95)) if hits < of else 1.0
    return Coverage(figure, hits, of, low, high)
