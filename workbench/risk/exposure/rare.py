"""How likely a year is that hardly ever comes: years drawn where they are rare, and weighed back.

(1) The annual loss is tilted exponentially: a loss x becomes e^(θx) times as likely, θ so that the mean of
    the tilted year is the loss that is asked about. Each number of events stays of its family.
(2) Every drawn year counts with e^(K(θ) − θL), K the logarithm of the year's moment generating function: what
    exceeds the loss is told without bias, and with a variance far below that of plain draws.
    The tilt makes one great loss likely, not a few small ones: below a tenth of the greatest loss of one
    event the estimate would miss what it does not see, and is refused.
(3) Losses are on the lattice of the exact engine, their tilted probabilities drawn by their sums. What is
    independent of that engine is how years are put together.

Told: the estimate, its 95 % interval, and by how much its variance is below that of as many plain draws. A
stress factor has no place here: it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize

from workbench.risk.errors import RiskError
from workbench.risk.exposure import severity
from workbench.risk.exposure.annual import Risk, lattice
from workbench.risk.exposure.events import Binomial, NegativeBinomial, Poisson
from workbench.risk.exposure.severity import Floats
from workbench.risk.exposure.simulated import Interval, Years, z

DRAWS: Final = 100_000
DRAWS_MAX: Final = 10**7
SIZE: Final = 2**13
SMALLEST: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rare:
    """The probability that a year costs more, and how much was gained over plain draws."""

    probability: Interval
    draws: int
    gain: float


@dataclass(frozen=True, slots=True)
class _Part:
    """A scenario on the lattice: losses, their probabilities, and how many events there are."""

    risk: Risk
    losses: Floats
    chances: Floats

    def moment(self, tilt: float) -> float:
        """Return E[e^(θx)] of one loss."""
        return float(self.chances @ np.exp(tilt * self.losses))

    def slope(self, tilt: float) -> float:
        """Return E[x·e^(θx)]."""
        return float(self.chances @ (self.losses * np.exp(tilt * self.losses)))

    def cumulant(self, tilt: float) -> float:
        """Return the logarithm of the moment generating function of its year."""
        excess, events = self.moment(tilt) - 1, self.risk.number
        if isinstance(events, Binomial):
            return events.units * float(np.log1p(events.chance * excess))
        if isinstance(events, Poisson):
            return events.mean * excess
        return -events.shape * float(np.log1p(-events.mean / events.shape * excess))

    def tilted_mean(self, tilt: float) -> float:
        """Return the mean of its tilted year."""
        excess, slope, events = self.moment(tilt) - 1, self.slope(tilt), self.risk.number
        if isinstance(events, Binomial):
            return events.units * events.chance * slope / (1 + events.chance * excess)
        if isinstance(events, Poisson):
            return events.mean * slope
        return events.mean * slope / (1 - events.mean / events.shape * excess)

    def drawn(self, tilt: float, random: np.random.Generator, years: int) -> Floats:
        """Return what each of so many tilted years loses by it."""
        count = self._events(tilt, random, years)
        weights = np.cumsum(self.chances * np.exp(tilt * (self.losses - self.losses[-1])))
        places = np.searchsorted(weights, random.random(int(count.sum())) * weights[-1], side="right")
        at = np.repeat(np.arange(years), count)
        return np.asarray(
            np.bincount(at, self.losses[places.clip(0, len(self.losses) - 1)], years), dtype=np.float64
        )

    def _events(self, tilt: float, random: np.random.Generator, years: int) -> Years:
        moment, events = self.moment(tilt), self.risk.number
        if isinstance(events, Binomial):
            chance = events.chance * moment / (1 + events.chance * (moment - 1))
            return random.binomial(events.units, chance, years)
        if isinstance(events, Poisson):
            return random.poisson(events.mean * moment, years)
        ratio = events.mean / (events.mean + events.shape) * moment
        return random.negative_binomial(events.shape, 1 - ratio, years)

    @property
    def steepest(self) -> float:
        """The tilt at which the moment generating function ends; infinite for most."""
        if not isinstance(self.risk.number, NegativeBinomial):
            return np.inf
        limit = 1 + self.risk.number.shape / self.risk.number.mean
        top = float(self.losses[-1])
        return float(
            optimize.brentq(
                lambda tilt: self.moment(tilt) - limit, 0, np.log(limit / self.chances[-1]) / top + 1 / top
            )
        )


def above(risks: Sequence[Risk], loss: float, *, seed: int, draws: int = DRAWS) -> Rare:
    """Return the probability that a year costs more than `loss`.

    Args:
        risks: the scenarios, without a stress factor.
        loss: above the mean of a year, in USD.
        seed: of all chance.
        draws: how many tilted years.

    """
    mean = sum(each.mean for each in risks)
    if any(each.is_stressed for each in risks):
        raise RiskError("a stress factor cannot be tilted here")
    parts = _parts(risks)
    least = max(mean, SMALLEST * max((float(part.losses[-1]) for part in parts), default=0.0))
    if not (0 < draws <= DRAWS_MAX and parts and loss > least):
        raise RiskError(f"{draws} draws above {loss:,.0f}: at least one, above {least:,.0f}")
    tilt = _tilt(parts, loss)
    random = np.random.default_rng(seed)
    total = np.sum([part.drawn(tilt, random, draws) for part in parts], axis=0)
    cumulant = sum(part.cumulant(tilt) for part in parts)
    weighed = np.where(total > loss * (1 + 1e-12), np.exp(cumulant - tilt * total), 0.0)  # (2)
    estimate, variance = float(weighed.mean()), float(weighed.var())
    reach = z() * float(np.sqrt(variance / draws))
    plain = estimate * (1 - estimate)
    return Rare(
        Interval(estimate, estimate - reach, estimate + reach),
        draws,
        plain / variance if variance else np.inf,
    )


def _parts(risks: Sequence[Risk]) -> list[_Part]:
    step, places = lattice(risks, SIZE)
    parts = []
    for risk in risks:
        mass = np.zeros(places)
        for weight, one in risk.losses:
            mass += weight * severity.masses(one, step=step, size=places)
        held = np.flatnonzero(mass)
        if risk.number.mean > 0 and held[-1] > 0:
            parts.append(_Part(risk, np.asarray(held * step, dtype=np.float64), mass[held] / mass.sum()))
    return parts


def _tilt(parts: Sequence[_Part], loss: float) -> float:
    """(1) Return the tilt whose mean is the loss."""

    def off(tilt: float) -> float:
        return sum(part.tilted_mean(tilt) for part in parts) - loss

    end = min(part.steepest for part in parts) * (1 - 1e-9)
    high = 1 / max(float(part.losses[-1]) for part in parts)
    while high < end and off(high) < 0:
        high *= 2
    return float(optimize.brentq(off, 0, min(high, end)))
