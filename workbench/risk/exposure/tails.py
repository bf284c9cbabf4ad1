"""How large a loss is: a lognormal distribution by maximum likelihood, and an index of its tail.

A loss at the cap is a loss of at least the cap: whoever had no more to lose shows no more. Such losses enter
the likelihood as what they are (censored), not as if the cap were their size.

Losses of thefts have tails so heavy that their mean hardly exists (Hill's index about 1): figures are
compared and told by quantiles, never by mean ± deviation. Each index has its interval, exact for a Pareto
tail; where that reaches down to 1 nothing speaks for a mean. A position that caps the loss gives every mean
back. Losses of 0 are no sizes and are refused: how many there are belongs to the count. Amounts are float64
USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from workbench.risk.exposure.counting import CalibrationError

Floats: TypeAlias = NDArray[np.float64]

LOSSES_MIN: Final = 10
"""Fewer say nothing of a tail."""
Z90: Final = float(special.ndtri(0.95))
_SIGMA_MIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Tail:
    """A lognormal fit: µ and σ of the logarithm of USD, and how well they are known."""

    losses: int
    censored: int
    mu: float
    sigma: float
    covariance: tuple[float, float, float]  # of (µ, µ), (µ, σ), (σ, σ)

    def quantile(self, probability: float) -> float:
        """Return the loss that is not exceeded with this probability."""
        return float(np.exp(self.mu + self.sigma * special.ndtri(probability)))

    def interval(self) -> tuple[float, float]:
        """Return the 90 % interval of one loss."""
        return self.quantile(0.05), self.quantile(0.95)

    def mu_interval(self) -> tuple[float, float]:
        """Return the 90 % interval of µ."""
        half = Z90 * self.covariance[0] ** 0.5
        return self.mu - half, self.mu + half

    def sigma_interval(self) -> tuple[float, float]:
        """Return the 90 % interval of σ."""
        half = Z90 * self.covariance[2] ** 0.5
        return self.sigma - half, self.sigma + half

    def parameters(self, random: np.random.Generator, draws: int) -> tuple[Floats, Floats]:
        """Return draws of µ and σ as far as they are known."""
        both, between, last = self.covariance
        drawn = random.multivariate_normal([self.mu, self.sigma], [[both, between], [between, last]], draws)
        return drawn[:, 0], np.maximum(drawn[:, 1], _SIGMA_MIN)


def lognormal(losses: Iterable[float], *, cap: float | None = None) -> Tail:
    """Fit a lognormal distribution; what is at the cap or above counts as at least the cap."""
    amounts = _checked(losses)
    if cap is not None and cap <= 0:
        raise CalibrationError(f"a cap of {cap}")
    below = np.log(amounts if cap is None else amounts[amounts < cap])
    censored = len(amounts) - len(below)
    if len(below) < LOSSES_MIN or np.ptp(below) == 0:
        raise CalibrationError(f"{len(below)} losses below the cap, at least {LOSSES_MIN}, not all alike")
    top = float(np.log(cap)) if cap is not None else np.inf
    mu, sigma = float(below.mean()), float(below.std())
    if censored:
        mu, sigma = _likeliest(below, censored, top, start=(mu, sigma))
    return Tail(len(amounts), censored, mu, sigma, _covariance(below, censored, top, mu, sigma))


def _checked(losses: Iterable[float]) -> Floats:
    amounts = np.array([float(each) for each in losses], dtype=np.float64)
    if not (np.isfinite(amounts) & (amounts > 0)).all():
        raise CalibrationError("a loss that is not above 0")
    return amounts


def _likeliest(
    below: Floats, censored: int, top: float, *, start: tuple[float, float]
) -> tuple[float, float]:
    def against(place: Floats) -> float:
        mu, sigma = place[0], np.exp(place[1])
        squares = (((below - mu) / sigma) ** 2).sum() / 2
        return float(squares + len(below) * place[1] - censored * special.log_ndtr((mu - top) / sigma))

    found = optimize.minimize(
        against,
        x0=np.array([start[0], np.log(start[1])]),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000, "maxfev": 4000},
    )
    if not found.success:
        raise CalibrationError(f"no likeliest lognormal: {found.message}")
    return float(found.x[0]), float(np.exp(found.x[1]))


def _covariance(
    below: Floats, censored: int, top: float, mu: float, sigma: float
) -> tuple[float, float, float]:
    """Return the inverse of the observed information."""
    place = (below - mu) / sigma
    first, mixed, last = float(len(below)), 2 * place.sum(), 3 * (place**2).sum() - len(below)
    if censored:
        at = (top - mu) / sigma
        hazard = float(np.exp(-(at**2) / 2 - np.log(2 * np.pi) / 2 - special.log_ndtr(-at)))
        bend = hazard * (hazard - at)
        first += censored * bend
        mixed += censored * (hazard + at * bend)
        last += censored * (2 * at * hazard + at**2 * bend)
    inverse = np.linalg.inv(np.array([[first, mixed], [mixed, last]]) / sigma**2)
    return float(inverse[0, 0]), float(inverse[0, 1]), float(inverse[1, 1])


@dataclass(frozen=True, slots=True)
class Hill:
    """Hill's index of the tail from the k largest losses, with its 90 % interval."""

    k: int
    alpha: float
    low: float
    high: float

    @property
    def has_mean(self) -> bool:
        """Return whether the whole interval lies above 1."""
        return self.low > 1


def hill(losses: Iterable[float], ks: Sequence[int]) -> tuple[Hill, ...]:
    """Return the index for each k: one k alone is a choice, several show whether it matters."""
    logarithms = np.sort(np.log(_checked(losses)))[::-1]
    return tuple(_hill(logarithms, k) for k in ks)


def _hill(logarithms: Floats, k: int) -> Hill:
    if not 1 <= k < len(logarithms):
        raise CalibrationError(f"the {k} largest of {len(logarithms)} losses")
    excess = float((logarithms[:k] - logarithms[k]).sum())
    if excess == 0:
        raise CalibrationError(f"the {k + 1} largest losses are alike")
    return index(k, excess)


def index(k: int, excess: float) -> Hill:
    """Return the index of which the k largest logarithms exceed the next by so much together."""
    # The sum of k exponential excesses is Gamma(k).
    low, high = (float(special.gammaincinv(k, each)) / excess for each in (0.05, 0.95))
    return Hill(k, k / excess, low, high)


@dataclass(frozen=True, slots=True)
class QuantileRow:
    """A quantile as seen and as fitted."""

    probability: float
    seen: float
    fitted: float


def quantiles(losses: Iterable[float], tail: Tail, probabilities: Sequence[float]) -> tuple[QuantileRow, ...]:
    """Return quantiles side by side, which is how heavy tails are compared."""
    amounts = _checked(losses)
    return tuple(
        QuantileRow(each, float(np.quantile(amounts, each)), tail.quantile(each)) for each in probabilities
    )
