"""How many events a year has: binomial, Poisson or negative binomial, each by its generating function.

A probability gives each unit at most one event a year (binomial). A rate gives any number (Poisson). A rate
that is uncertain has a Gamma distribution, which all units of the scenario share: what it predicts is the
negative binomial. Numbers are per year.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.risk.exposure.rates import within
from workbench.risk.exposure.scenarios import Chance, RateInterval, RatePoint, RatePosterior, Scenario

Complexes: TypeAlias = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Binomial:
    """Of so many units each has at most one event."""

    units: int
    chance: float

    @property
    def mean(self) -> float:
        """Events a year."""
        return self.units * self.chance

    @property
    def variance(self) -> float:
        """Of the number of events."""
        return self.mean * (1 - self.chance)

    def generate(self, excess: Complexes) -> Complexes:
        """Return the generating function where z − 1 is `excess`."""
        return np.asarray((1 + self.chance * excess) ** self.units)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Any number of events at a known rate."""

    mean: float

    @property
    def variance(self) -> float:
        """Of the number of events."""
        return self.mean

    def generate(self, excess: Complexes) -> Complexes:
        """Return the generating function where z − 1 is `excess`."""
        return np.exp(self.mean * excess)


@dataclass(frozen=True, slots=True)
class NegativeBinomial:
    """Any number of events at a rate that a Gamma distribution of this shape gives."""

    shape: float
    mean: float

    @property
    def variance(self) -> float:
        """Of the number of events."""
        return self.mean * (1 + self.mean / self.shape)

    def generate(self, excess: Complexes) -> Complexes:
        """Return the generating function where z − 1 is `excess`."""
        return np.asarray((1 - self.mean / self.shape * excess) ** -self.shape)


Number: TypeAlias = Binomial | Poisson | NegativeBinomial


def number(scenario: Scenario) -> Number:
    """(1) Return how many events a year has."""
    likelihood, units = scenario.likelihood, float(scenario.exposure)
    if isinstance(likelihood, Decimal | Chance):
        chance = likelihood if isinstance(likelihood, Decimal) else likelihood.probability
        return Binomial(int(scenario.exposure), float(chance))
    if isinstance(likelihood, RatePoint):
        return Poisson(float(likelihood.rate) * units)
    shape, years = posterior(likelihood)
    return NegativeBinomial(shape, shape / years * units)


def posterior(likelihood: RateInterval | RatePosterior) -> tuple[float, float]:
    """Return shape and years of the Gamma distribution of a rate, fitted to its 90 % interval if need be."""
    if isinstance(likelihood, RatePosterior):
        return float(likelihood.shape), float(likelihood.years)
    fitted = within(*(float(each) for each in likelihood.interval))
    return fitted.shape, fitted.years
