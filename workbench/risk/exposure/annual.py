"""The exact distribution of what a year costs, by one Fourier transform.

(1) Each scenario is a number of events and what one of them costs. A probability gives a binomial number, a
    rate a Poisson one, an uncertain rate the negative binomial that a Gamma distribution of rates predicts.
(2) Losses lie on a lattice of equal steps (`severity.masses`); if all of them are single amounts, the lattice
    is chosen so that each lies on it, and nothing is rounded. Caps lie on it where it is fine enough.
(3) The generating function of the sum is the product of the scenarios' own, at the transform of the tilted
    lattice. Tilting by exp(−10·k/n) and back puts what wraps around below 5·10⁻⁵ of the little that it is,
    and raises the rounding of the transform to 10⁻¹² at most: more of the one would be less of the other.
(4) A stress factor multiplies several rates by one Gamma variable of mean 1 and variance 1/shape: in closed
    form for plain rates, by Gauss-Laguerre where rates are uncertain besides.
(5) VaR at p is the least loss that is not exceeded with p; TVaR the mean of the worst 1 − p, which takes its
    part of an atom; from the exact mean, so that what lies beyond the lattice counts.

Expected values are exact sums of products, not read off the lattice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import Final

import numpy as np
from scipy import linalg

from workbench.risk.exposure import gates, severity
from workbench.risk.exposure.events import Complexes, NegativeBinomial, Number, Poisson, number
from workbench.risk.exposure.scenarios import Lognormal, Pert, Portfolio, Scenario
from workbench.risk.exposure.severity import Floats, Severity

SIZE_MIN: Final = 2**10
SIZE: Final = 2**14
SIZE_MAX: Final = 2**17
TILT: Final = 10.0
ROUNDING: Final = 1e-12
"""Sums of probabilities are this exact; a level is reached when the sum comes so near."""
REACH: Final = 10.0
LAGUERRE: Final = 64
BEYOND_MAX: Final = 1e-8
"""So rare are the years that the lattice need not hold."""
DOUBLED_MAX: Final = 8
CENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Risk:
    """A scenario as the engine sees it: how many events, and the losses of one with their weights."""

    number: Number
    losses: tuple[tuple[float, Severity], ...]
    is_stressed: bool = False

    @property
    def mean(self) -> float:
        """The expected loss of a year, in USD."""
        return self.number.mean * sum(weight * severity.mean(loss) for weight, loss in self.losses)

    def limited(self, limit: float) -> Risk:
        """Return the same with no event that takes more than a limit."""
        losses = tuple((weight, _limited(loss, limit)) for weight, loss in self.losses)
        return Risk(self.number, losses, self.is_stressed)


def _limited(loss: Severity, limit: float) -> Severity:
    if isinstance(loss, severity.Limited):
        return severity.Limited(loss.loss, min(loss.limit, limit))
    return severity.Limited(loss, limit)


def inherent(portfolio: Portfolio) -> list[Risk]:
    """Return the scenarios as they are without any control."""
    return [risk(portfolio, each, number(each), 1.0) for each in portfolio.scenarios]


def residual(portfolio: Portfolio, *, kept: Collection[str] | None = None) -> list[Risk]:
    """Return the scenarios with their controls, or with those alone that are `kept`."""
    return [
        risk(portfolio, each, number(each), gates.all_fail(each, gates.Varied(kept=kept)))
        for each in portfolio.scenarios
    ]


def risk(portfolio: Portfolio, scenario: Scenario, events: Number, fails: float) -> Risk:
    """Return a scenario with so many events, whose controls all fail with this probability."""
    losses = ((fails, scenario.severity), (1 - fails, scenario.residual_severity))
    return Risk(events, losses, _is_stressed(portfolio, scenario))


def _is_stressed(portfolio: Portfolio, scenario: Scenario) -> bool:
    return portfolio.stress is not None and scenario.id in portfolio.stress.scenarios


@dataclass(frozen=True, slots=True)
class Annual:
    """What a year costs: probabilities on 0, step, 2·step, … (USD), and the exact mean."""

    step: float
    mass: Floats
    mean: float

    def var(self, level: float) -> float:
        """(5) Return the least loss not exceeded with this probability; infinite behind the lattice."""
        place = self._place(level)
        return np.inf if place == len(self.mass) else place * self.step

    def tvar(self, level: float) -> float:
        """(5) Return the mean of the worst 1 − level of all years."""
        place = self._place(level)
        if place == len(self.mass):
            return np.inf
        at, up_to = np.arange(place + 1) * self.step, self.mass[: place + 1]
        above = max(self.mean - float(at @ up_to), 0.0)
        return (above + place * self.step * max(float(up_to.sum()) - level, 0.0)) / (1 - level)

    def above(self, loss: float) -> float:
        """Return the probability that a year costs more."""
        places = int(np.floor(loss / self.step * (1 + ROUNDING) + ROUNDING)) + 1
        return float(max(1 - self.mass[:places].sum(), 0.0))

    def _place(self, level: float) -> int:
        return int(np.searchsorted(np.cumsum(self.mass), level - ROUNDING))


def annual(risks: Sequence[Risk], *, stress: float | None = None, size: int | None = None) -> Annual:
    """Return the exact distribution of the sum.

    Args:
        risks: the scenarios, independent but for the stress factor.
        stress: the shape of the factor that raises the stressed ones' rates.
        size: places of the lattice; without it as many as exact amounts need, or 16,384.

    """
    return Prepared.of(risks, stress=stress, size=size).annual(risks, stress=stress)


def lattice(risks: Sequence[Risk], size: int | None = None) -> tuple[float, int]:
    """Return step and number of places on which these risks are told."""
    prepared = Prepared.of(risks, size=size)
    return prepared.step, len(prepared.tilt)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A lattice and the transform of every loss: for portfolios that differ in numbers and weights only."""

    step: float
    tilt: Floats
    transforms: tuple[tuple[Complexes, ...], ...]
    means: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, risks: Sequence[Risk], *, stress: float | None = None, size: int | None = None) -> Prepared:
        """Lay a lattice that is long enough for these risks, and for whatever is no worse."""
        reach = _reach(risks)
        for _ in range(DOUBLED_MAX):
            year = cls._on(risks, reach / (SIZE_MIN - 1), SIZE_MIN).annual(risks, stress=stress)
            if 1 - year.mass.sum() < BEYOND_MAX:
                break
            reach *= 2
        return cls._on(risks, *_lattice(risks, reach, size))

    @classmethod
    def _on(cls, risks: Sequence[Risk], step: float, places: int) -> Prepared:
        tilt = np.exp(-TILT / places * np.arange(places))
        transforms = tuple(
            tuple(
                np.fft.rfft(severity.masses(loss, step=step, size=places) * tilt) for _, loss in each.losses
            )
            for each in risks
        )
        means = tuple(tuple(severity.mean(loss) for _, loss in each.losses) for each in risks)
        return cls(step, tilt, transforms, means)

    def annual(self, risks: Sequence[Risk], *, stress: float | None = None) -> Annual:
        """Return the exact distribution of risks whose losses are those it was made of."""
        excess = [_mixed(each, own) - 1 for each, own in zip(risks, self.transforms, strict=True)]
        whole = _generated(risks, excess, stress)
        mass = np.fft.irfft(whole, len(self.tilt)) / self.tilt
        return Annual(self.step, np.maximum(mass, 0.0), self.mean(risks))

    def mean(self, risks: Sequence[Risk]) -> float:
        """Return the expected loss of a year."""
        return sum(
            each.number.mean * sum(weight * one for (weight, _), one in zip(each.losses, own, strict=True))
            for each, own in zip(risks, self.means, strict=True)
        )


def _mixed(risk: Risk, transforms: Sequence[Complexes]) -> Complexes:
    mixed = np.zeros_like(transforms[0])
    for (weight, _), one in zip(risk.losses, transforms, strict=True):
        mixed += weight * one
    return mixed


def _generated(risks: Sequence[Risk], excess: Sequence[Complexes], stress: float | None) -> Complexes:
    pairs = list(zip(risks, excess, strict=True))
    whole = np.ones_like(excess[0])
    stressed = [(risk.number, at) for risk, at in pairs if stress is not None and risk.is_stressed]
    for risk, at in pairs:
        if stress is None or not risk.is_stressed:
            whole *= risk.number.generate(at)
    if stress is None or not stressed:
        return whole
    return whole * _stressed(stressed, stress)


def _stressed(stressed: Sequence[tuple[Number, Complexes]], shape: float) -> Complexes:
    """(4) Return the generating function of the scenarios that share the factor."""
    known = sum(each.mean * at for each, at in stressed if isinstance(each, Poisson))
    uncertain = [(each, at) for each, at in stressed if isinstance(each, NegativeBinomial)]
    if not uncertain:
        return np.asarray((1 - known / shape) ** -shape)
    whole = np.zeros_like(uncertain[0][1])
    for node, weight in _factors(shape):
        # by logarithms: one exponential a node instead of a power a scenario
        given = node * known + np.zeros_like(whole)
        for each, at in uncertain:
            given -= each.shape * np.log(1 - node * each.mean / each.shape * at)
        whole += weight * np.exp(given)
    return whole


def _factors(shape: float) -> list[tuple[float, float]]:
    """Return values of the factor and their weights by a matrix that no Γ(shape) overflows in."""
    row = np.arange(LAGUERRE)
    nodes, vectors = linalg.eigh_tridiagonal(2 * row + shape, np.sqrt(row[1:] * (row[1:] + shape - 1)))
    weights = vectors[0] ** 2
    counted = weights > ROUNDING * ROUNDING
    return list(zip((nodes[counted] / shape).tolist(), weights[counted].tolist(), strict=True))


def _lattice(risks: Sequence[Risk], reach: float, size: int | None) -> tuple[float, int]:
    """(2) Return step and number of places."""
    common, is_all = _common(risks)
    if is_all and (size is None or reach / common < size):
        wanted = max(int(reach / common) + 2, SIZE_MIN)
        places = 2 ** (wanted - 1).bit_length()
        if places <= SIZE_MAX:
            return common, places
    places = size or SIZE
    step = reach / (places - 1)
    # a step that divides them keeps the atoms whole; it is a longer one, never so long that it doubles
    return (common / int(common / step) if common >= step else step), places


def _reach(risks: Sequence[Risk]) -> float:
    """Return how far the lattice goes at first; heavy tails have it doubled."""
    variance, most = 0.0, 0.0
    for risk in risks:
        for weight, loss in risk.losses:
            if weight == 0.0:
                continue
            largest = severity.largest(loss)
            variance += weight * risk.number.mean * largest * severity.mean(loss)
            most = max(most, largest if risk.number.mean > 0 else 0.0)
        one = risk.mean / risk.number.mean if risk.number.mean > 0 else 0.0
        variance += max(risk.number.variance - risk.number.mean, 0.0) * one**2
    return max(sum(risk.mean for risk in risks) + REACH * float(np.sqrt(variance)) + 2 * most, 1.0)


def _common(risks: Sequence[Risk]) -> tuple[float, bool]:
    """Return the largest step on whose multiples every atom lies, and whether there is nothing but atoms."""
    cents, is_all = [], True
    for risk in risks:
        for weight, loss in risk.losses:
            if weight > 0.0 and isinstance(loss, Pert):
                is_all = False
            elif weight > 0.0:
                is_all &= not isinstance(loss, Lognormal | severity.Limited)
                scaled = Decimal(str(severity.largest(loss))) * CENTS
                cents.append(int(scaled))
                is_all &= scaled == int(scaled)
    return (gcd(*cents) / CENTS if any(cents) else 1.0), is_all
