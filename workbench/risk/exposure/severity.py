"""What one event costs: a loss as a distribution, by its limited expected value.

Every form is described by E[min(X, x)] alone: mean, mass on a lattice and largest value follow from it, also
where a cap makes an atom. Amounts are float64 USD. The PERT distribution has shape 1 + 4·(mode − low)/(high −
low) and its mirror; a lognormal by its 90 % interval has µ the mean of the logarithms and σ their distance
over 2·1.6449; above the cap is the cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workbench.risk.exposure.scenarios import Lognormal, Pert, Point

Floats: TypeAlias = NDArray[np.float64]
Stated: TypeAlias = Decimal | Point | Pert | Lognormal


@dataclass(frozen=True, slots=True)
class Limited:
    """A loss that takes no more than a limit, whatever it would be."""

    loss: Stated
    limit: float


Severity: TypeAlias = Stated | Limited

Z90: Final = float(special.ndtri(0.95))
"""Half of a 90 % interval, in standard deviations."""


def amount(severity: Decimal | Point) -> float:
    """Return the one loss that a point severity has."""
    return float(severity.amount if isinstance(severity, Point) else severity)


def shapes(pert: Pert) -> tuple[float, float, float, float]:
    """Return low, high and the two shapes of the beta distribution between them."""
    low, mode, high = (float(each) for each in pert.pert)
    return low, high, 1 + 4 * (mode - low) / (high - low), 1 + 4 * (high - mode) / (high - low)


def logarithmic(lognormal: Lognormal) -> tuple[float, float]:
    """Return µ and σ of the logarithm."""
    low, high = (float(np.log(float(each))) for each in lognormal.interval)
    return (low + high) / 2, (high - low) / (2 * Z90)


def largest(severity: Severity) -> float:
    """Return what is never exceeded."""
    if isinstance(severity, Limited):
        return min(largest(severity.loss), severity.limit)
    if isinstance(severity, Pert):
        return float(severity.pert[2])
    if isinstance(severity, Lognormal):
        return float(severity.cap)
    return amount(severity)


def mean(severity: Severity) -> float:
    """Return the expected loss."""
    return float(limited(severity, np.array([largest(severity)]))[0])


def limited(severity: Severity, at: Floats) -> Floats:
    """Return E[min(X, x)] for each x."""
    if isinstance(severity, Limited):
        return limited(severity.loss, np.minimum(at, severity.limit))
    if isinstance(severity, Pert):
        return _limited_pert(severity, at)
    if isinstance(severity, Lognormal):
        return _limited_lognormal(severity, np.minimum(at, float(severity.cap)))
    return np.minimum(at, amount(severity))


def _limited_pert(pert: Pert, at: Floats) -> Floats:
    low, high, left, right = shapes(pert)
    place = np.clip((at - low) / (high - low), 0, 1)
    below = left / (left + right) * special.betainc(left + 1, right, place)
    inside = below + place * special.betaincc(left, right, place)
    return np.asarray(np.where(at < low, at, low + (high - low) * inside), dtype=np.float64)


def _limited_lognormal(lognormal: Lognormal, at: Floats) -> Floats:
    mu, sigma = logarithmic(lognormal)
    with np.errstate(divide="ignore"):  # log 0 is −∞, where both terms are 0
        place = (np.log(at) - mu) / sigma
    whole = np.exp(mu + sigma**2 / 2)
    return np.asarray(whole * special.ndtr(place - sigma) + at * special.ndtr(-place), dtype=np.float64)


def masses(severity: Severity, *, step: float, size: int) -> Floats:
    """Return the loss on the lattice 0, step, 2·step, …: every loss is split between its two neighbours.

    The split keeps the mean exactly. What lies beyond the lattice is put on its last place.
    """
    at = np.arange(size + 1, dtype=np.float64) * step
    expected = limited(severity, at)
    rise = np.diff(expected) / step  # the mean share of losses above, between two places
    rise[-1] = 0.0
    return np.maximum(np.concatenate(([1.0], rise[:-1])) - rise, 0.0)


def sample(severity: Stated, random: np.random.Generator, count: int) -> Floats:
    """Return so many losses, by other formulae than the expected values."""
    if isinstance(severity, Pert):
        low, high, left, right = shapes(severity)
        return low + (high - low) * random.beta(left, right, count)
    if isinstance(severity, Lognormal):
        mu, sigma = logarithmic(severity)
        return np.minimum(np.exp(mu + sigma * random.standard_normal(count)), float(severity.cap))
    return np.full(count, amount(severity))
