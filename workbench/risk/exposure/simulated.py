"""A year's losses by chance: the independent check of the exact figures, and what those cannot carry.

(1) Event by event: the number of events of all years together is drawn, each gets its year, its causes, its
    controls (`gates.simulate`) and its loss (`severity.sample`); nothing is drawn for years without events. A
    probability gives each unit-year at most one event (geometric gaps), a rate a Poisson number at uniform
    times, an uncertain rate clusters of a logarithmic size, which is the same negative binomial.
(2) Rates that a stress factor raises are drawn year by year, given the year's factor.
(3) A position caps what all scenarios that hit it take in one year together; only here, never in the exact
    figures.
(4) Every figure has its confidence interval: of a mean by its standard error, of VaR by order statistics, of
    TVaR by the standard error of the excess over VaR plus that of the level.
(5) Years come in blocks with a seed of their own each: the same seed gives the same figures, however many
    workers draw the blocks.

Memory: the losses of years that lost something are kept, 8 bytes each, and one block a worker.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workbench.risk.errors import RiskError
from workbench.risk.exposure import gates, severity
from workbench.risk.exposure.events import Binomial, NegativeBinomial, Number, number
from workbench.risk.exposure.scenarios import Portfolio, Scenario
from workbench.risk.exposure.severity import Floats

YEARS: Final = 1_000_000
YEARS_MAX: Final = 10**8
"""Their losses take 800 MB."""
BLOCK: Final = 2**18
"""Small enough for a processor's cache."""
LEVEL: Final = 0.95
EVENTS_MAX: Final = 10**7
"""Of all scenarios in one block: 160 MB of losses and their years."""

Years = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and between which two it lies with 95 %."""

    value: float
    low: float
    high: float

    def covers(self, exact: float) -> bool:
        """Whether the exact value lies inside."""
        return self.low <= exact <= self.high


@dataclass(frozen=True, slots=True)
class Simulated:
    """So many years, and the losses of those that lost something, ascending (USD)."""

    years: int
    losses: Floats = field(repr=False)

    def mean(self) -> Interval:
        """Return the mean loss of a year."""
        return self._around(float(self.losses.sum()) / self.years, float(self.losses @ self.losses))

    def var(self, level: float) -> Interval:
        """(4) Return the least loss that so many of the years do not exceed."""
        spread = z() * np.sqrt(level * (1 - level) * self.years)
        place = int(np.ceil(level * self.years)) - 1
        low, high = int(np.floor(place - spread)), int(np.ceil(place + spread))
        return Interval(self._at(place), self._at(low), self._at(high))

    def tvar(self, level: float) -> Interval:
        """(4) Return the mean of the worst 1 − level of the years."""
        threshold = self.var(level).value
        excess = self.losses[np.searchsorted(self.losses, threshold) :] - threshold
        over = self._around(float(excess.sum()) / self.years, float(excess @ excess))
        share = 1 - level
        return Interval(*(threshold + each / share for each in (over.value, over.low, over.high)))

    def above(self, loss: float) -> Interval:
        """Return the share of years that lost more, by Wilson's interval."""
        count = len(self.losses) - int(np.searchsorted(self.losses, loss, side="right"))
        share, z2 = count / self.years, z() ** 2 / self.years
        centre = (share + z2 / 2) / (1 + z2)
        reach = np.sqrt(share * (1 - share) * z2 + z2**2 / 4) / (1 + z2)
        return Interval(share, float(centre - reach), float(centre + reach))

    def _at(self, place: int) -> float:
        row = place - (self.years - len(self.losses))
        return float(self.losses[min(row, len(self.losses) - 1)]) if row >= 0 and len(self.losses) else 0.0

    def _around(self, mean: float, squares: float) -> Interval:
        variance = max(squares / self.years - mean**2, 0.0)
        reach = z() * float(np.sqrt(variance / self.years))
        return Interval(mean, mean - reach, mean + reach)


def z() -> float:
    """Return half of a 95 % interval, in standard errors."""
    return float(special.ndtri((1 + LEVEL) / 2))


def simulate(
    portfolio: Portfolio,
    *,
    seed: int,
    years: int = YEARS,
    controlled: bool = True,
    capped: bool = False,
    executor: Executor | None = None,
) -> Simulated:
    """Draw years.

    Args:
        portfolio: the scenarios.
        seed: of all chance.
        years: how many; (5) in blocks of a quarter of a million.
        controlled: with controls, or the scenarios as they are without any.
        capped: (3) whether positions cap what is lost.
        executor: who draws the blocks; without one they are drawn one after the other.

    """
    if not 0 < years <= YEARS_MAX:
        raise RiskError(f"{years} years, from 1 to {YEARS_MAX}")
    _bound(portfolio, min(BLOCK, years))
    sizes = [min(BLOCK, years - done) for done in range(0, years, BLOCK)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    pool = map if executor is None else executor.map
    blocks = pool(lambda size, own: _block(portfolio, size, own, controlled, capped), sizes, seeds)
    losses = np.concatenate(list(blocks))
    losses.sort()
    return Simulated(years, losses)


def _bound(portfolio: Portfolio, years: int) -> None:
    """Refuse more events than fit into memory at once."""
    events = [number(each).mean for each in portfolio.scenarios]
    if sum(events) * years > EVENTS_MAX:
        most = portfolio.scenarios[int(np.argmax(events))].id
        raise RiskError(f"{most}: of {sum(events):g} events a year, too many to draw one by one, it has most")


def history(portfolio: Portfolio, *, seed: int, years: int, controlled: bool) -> tuple[Floats, Floats]:
    """Return the moment (in years) and the loss of each event of one long history, in no order."""
    _bound(portfolio, years)
    random = np.random.Generator(np.random.SFC64(seed))
    factor = _factor(portfolio, random, years)
    moments, losses = [], []
    for scenario in portfolio.scenarios:
        at = _when(portfolio, scenario, random, years, factor)
        moments.append(at + random.random(len(at)))
        losses.append(_losses(scenario, random, len(at), controlled=controlled))
    return np.concatenate(moments), np.concatenate(losses)


def _block(
    portfolio: Portfolio,
    years: int,
    seed: np.random.SeedSequence,
    controlled: bool,  # noqa: FBT001 - called by position through a pool
    capped: bool,  # noqa: FBT001 - as above
) -> Floats:
    random = np.random.Generator(np.random.SFC64(seed))
    factor = _factor(portfolio, random, years)
    when: dict[str | None, list[Years]] = defaultdict(list)
    lost: dict[str | None, list[Floats]] = defaultdict(list)
    for scenario in portfolio.scenarios:
        place = scenario.position if capped else None
        at = _when(portfolio, scenario, random, years, factor)
        when[place].append(at)
        lost[place].append(_losses(scenario, random, len(at), controlled=controlled))
    values = {each.id: float(each.value) for each in portfolio.positions}
    total = _yearly(when.pop(None, []), lost.pop(None, []), years)
    for place, held in values.items():
        total += np.minimum(_yearly(when[place], lost[place], years), held)
    return np.compress(total > 0, total)  # five times as fast as an index of truths


def _yearly(when: list[Years], lost: list[Floats], years: int) -> Floats:
    """Return what each year loses; all events are counted in one pass, which is what takes the time."""
    if not when:
        return np.zeros(years)
    return np.asarray(np.bincount(np.concatenate(when), np.concatenate(lost), years), dtype=np.float64)


def _losses(scenario: Scenario, random: np.random.Generator, count: int, *, controlled: bool) -> Floats:
    if not controlled:
        return severity.sample(scenario.severity, random, count)
    failed = gates.simulate(scenario, random, count)
    lost = np.empty(count)
    full = int(failed.sum())
    lost[failed] = severity.sample(scenario.severity, random, full)
    lost[~failed] = severity.sample(scenario.residual_severity, random, count - full)
    return lost


def _factor(portfolio: Portfolio, random: np.random.Generator, years: int) -> Floats | None:
    if portfolio.stress is None:
        return None
    shape = float(portfolio.stress.shape)
    return random.gamma(shape, 1 / shape, years)


def _when(
    portfolio: Portfolio,
    scenario: Scenario,
    random: np.random.Generator,
    years: int,
    factor: Floats | None,
) -> Years:
    """Return the year of each event."""
    drawn = number(scenario)
    if factor is not None and portfolio.stress is not None and scenario.id in portfolio.stress.scenarios:
        return _stressed(drawn, random, factor)
    if isinstance(drawn, Binomial):
        return _binomial(drawn, random, years)
    if isinstance(drawn, NegativeBinomial):
        return _negative_binomial(drawn, random, years)
    return random.integers(0, years, random.poisson(drawn.mean * years))


def _stressed(drawn: Number, random: np.random.Generator, factor: Floats) -> Years:
    rates = factor * drawn.mean
    if isinstance(drawn, NegativeBinomial):
        rates *= random.gamma(drawn.shape, 1 / drawn.shape, len(factor))
    if float(rates.sum()) > EVENTS_MAX:
        raise RiskError("the stress factor's tail is too heavy to draw events one by one")
    return np.repeat(np.arange(len(factor)), random.poisson(rates))


def _negative_binomial(drawn: NegativeBinomial, random: np.random.Generator, years: int) -> Years:
    ratio = drawn.mean / drawn.shape
    clusters = random.poisson(drawn.shape * np.log1p(ratio) * years)
    at = random.integers(0, years, clusters)
    share = ratio / (1 + ratio)
    sizes = random.logseries(share, clusters) if share < 1 else np.full(1, np.iinfo(np.int64).max)
    if float(sizes.sum(dtype=np.float64)) > EVENTS_MAX:
        raise RiskError("an uncertain rate's tail is too heavy to draw events one by one")
    return np.repeat(at, sizes)


def _binomial(drawn: Binomial, random: np.random.Generator, years: int) -> Years:
    if drawn.chance == 0.0 or drawn.units == 0:
        return np.zeros(0, dtype=np.int64)
    slots = years * drawn.units
    expected = slots * drawn.chance
    margin = int(expected + 6 * np.sqrt(expected) + 10)

    def gaps() -> Years:
        # a gap as long as an integer goes would begin anew when another is added
        return np.cumsum(np.minimum(random.geometric(drawn.chance, margin), slots + 1))

    found = gaps() - 1
    while found[-1] < slots:
        found = np.concatenate([found, found[-1] + gaps()])
    return np.asarray(found[: np.searchsorted(found, slots)] // drawn.units)
