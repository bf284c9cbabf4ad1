"""How many incidents a year: counts of some years, and what they say of the next.

Counts of thefts scatter more than chance alone would let them (their variance is above their mean: Fano >
1), so they are negative binomial: a Poisson count whose rate is itself Gamma. `size` is that Gamma's shape,
variance = mean + mean²/size; without excess scatter the size has no end, and the fit is the Poisson one
(None). Two estimates are told, moments and maximum likelihood, and how likely such scatter is without a
cause.

A handful of years says little of scatter. What is foretold therefore counts with every mean and every
scatter that the years leave possible, the scatter's coefficient of variation being half-normal beforehand
(`SCATTER`): an assumption, and with few years the wider one. Chance only from a generator that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from workbench.risk.errors import RiskError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

SCATTER: Final = 0.5
"""Of a yearly rate around its mean, before any year was seen: half of all markets within a third."""
YEARS_MIN: Final = 2
COUNT_MAX: Final = 10**6
_SIZE_MAX: Final = 1e6


class CalibrationError(RiskError):
    """Data from which this figure cannot be had."""


@dataclass(frozen=True, slots=True)
class CountFit:
    """One fit to the counts of some years."""

    method: str
    years: int
    mean: float
    size: float | None  # None: Poisson
    log_likelihood: float

    @property
    def variance(self) -> float:
        """Return the variance that it gives a year."""
        return self.mean + (self.mean**2 / self.size if self.size else 0.0)


@dataclass(frozen=True, slots=True)
class Counted:
    """What the counts are like, and both fits."""

    counts: tuple[int, ...]
    mean: float
    variance: float  # of a sample: over the years less one
    fano: float
    chance: float  # of scatter like this or more, were it Poisson
    moments: CountFit
    likelihood: CountFit


def fit(counts: Sequence[int]) -> Counted:
    """Fit counts of consecutive years."""
    seen = _checked(counts)
    mean, variance = float(seen.mean()), float(seen.var(ddof=1))
    scatter = float(((seen - mean) ** 2).sum() / mean)
    return Counted(
        counts=tuple(int(each) for each in seen),
        mean=mean,
        variance=variance,
        fano=variance / mean,
        chance=float(special.chdtrc(len(seen) - 1, scatter)),
        moments=_fitted("moments", seen, mean**2 / (variance - mean) if variance > mean else None),
        likelihood=_fitted("maximum likelihood", seen, _likeliest(seen, mean)),
    )


def _checked(counts: Sequence[int]) -> Ints:
    if len(counts) < YEARS_MIN:
        raise CalibrationError(f"{len(counts)} years, at least {YEARS_MIN}")
    if not all(type(each) is int and 0 <= each <= COUNT_MAX for each in counts) or not any(counts):
        raise CalibrationError(f"counts {list(counts)!r:.80}: whole numbers, and not all of them 0")
    return np.array(counts, dtype=np.int64)


def _fitted(method: str, seen: Ints, size: float | None) -> CountFit:
    mean = float(seen.mean())
    return CountFit(method, len(seen), mean, size, float(_log_pmf(seen, mean, size).sum()))


def _likeliest(seen: Ints, mean: float) -> float | None:
    # The likelihood has a highest point at a finite size only if the counts' own variance is above the mean.
    if float(seen.var()) <= mean:
        return None
    found = optimize.minimize_scalar(
        lambda logarithm: -_log_pmf(seen, mean, float(np.exp(logarithm))).sum(),
        bounds=(np.log(1e-3), np.log(_SIZE_MAX)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(found.x))


def _log_pmf(count: Ints, mean: float | Floats, size: float | Floats | None) -> Floats:
    if size is None:
        return np.asarray(count * np.log(mean) - mean - special.gammaln(count + 1), dtype=np.float64)
    return np.asarray(
        special.gammaln(count + size)
        - special.gammaln(size)
        - special.gammaln(count + 1)
        + special.xlog1py(-size, mean / size)
        + special.xlogy(count, mean / (size + mean)),
        dtype=np.float64,
    )


_SCATTERS: Final = np.linspace(0.01, 2.0, 60)
_AROUND: Final = np.exp(np.linspace(-3.0, 3.0, 401))


def foretell(counts: Sequence[int], random: np.random.Generator, draws: int) -> Ints:
    """Return draws of the next year's count: every mean and scatter by how well the years speak for it."""
    seen = _checked(counts)
    mean, scatter = np.meshgrid(float(seen.mean()) * _AROUND, _SCATTERS, indexing="ij")
    size = scatter**-2
    weight = -(scatter**2) / (2 * SCATTER**2)
    for each in seen:
        weight = weight + _log_pmf(each, mean, size)
    chance = np.exp(weight - weight.max()).ravel()
    chosen = random.choice(chance.size, size=draws, p=chance / chance.sum())
    rate = random.gamma(size.ravel()[chosen], (mean / size).ravel()[chosen])
    return np.asarray(random.poisson(rate), dtype=np.int64)
