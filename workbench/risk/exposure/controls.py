"""What each control is worth, and which to have for a budget.

(1) The worth of a set of controls is what a year costs less with it than with none: by expected loss (ALE),
    or by the worst hundredth of years (TVaR at 99 %). A control is one wherever it is named.
(2) Shapley: what a control adds on average over all orders in which controls could come. The values add up to
    what all of them are worth. Last in: what it adds to all the others, which for two that guard the same is
    near nothing for either; alone: what it does by itself. The three together say what one figure cannot.
(3) A choice: of the controls with a cost, every set that the budget pays for is tried; controls without a
    cost are there in any case. The best loses least; among those that lose the same, the cheapest.
(4) ROSI, the return on security investment: (what it saves − what it costs) / what it costs, last in. Above 0
    it pays for itself, by expected loss alone.

All sets are tried, so their number is bounded; what is above is refused, not sampled. A control that costs
more than it saves may still be right: expected loss says nothing about ruin, so both measures are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import factorial
from typing import Final

from workbench.risk.errors import RiskError
from workbench.risk.exposure import gates
from workbench.risk.exposure.annual import Prepared, Risk, inherent, risk
from workbench.risk.exposure.events import number
from workbench.risk.exposure.scenarios import Portfolio

CONTROLS_MAX: Final = 12
"""4,096 sets: four seconds by TVaR."""
LEVEL: Final = 0.99
COARSE: Final = 2**12
SAME: Final = 1e-9


class Measure(StrEnum):
    """By what a year is judged."""

    ALE = "ALE"
    TVAR = "TVaR 99 %"


@dataclass(frozen=True, slots=True)
class Worth:
    """What a control saves a year (USD), and what it costs."""

    control: str
    shapley: float
    last_in: float
    alone: float
    cost: float | None

    @property
    def rosi(self) -> float | None:
        """(4) Return on what it costs, last in; None without a cost."""
        return None if not self.cost else (self.last_in - self.cost) / self.cost


@dataclass(frozen=True, slots=True)
class Choice:
    """(3) Controls that a budget pays for, what they cost, and what a year then loses."""

    measure: Measure
    controls: tuple[str, ...]
    cost: float
    loss: float
    without: float

    @property
    def saved(self) -> float:
        """What a year loses less than with none of the controls to choose from."""
        return self.without - self.loss


Game = Callable[[frozenset[str]], float]


def names(portfolio: Portfolio) -> list[str]:
    """Return every control once, in the order of the file."""
    return list(
        dict.fromkeys(control.id for scenario in portfolio.scenarios for control in scenario.controls)
    )


def game(portfolio: Portfolio, measure: Measure) -> Game:
    """Return what a year costs with a set of controls; each set is computed once."""
    stress = portfolio.stress_shape
    prepared = Prepared.of(inherent(portfolio), stress=stress, size=COARSE)
    known: dict[frozenset[str], float] = {}
    fails = _Fails(portfolio)

    def cost(kept: frozenset[str]) -> float:
        if kept not in known:
            risks = fails.risks(kept)
            is_mean = measure is Measure.ALE
            known[kept] = (
                prepared.mean(risks) if is_mean else prepared.annual(risks, stress=stress).tvar(LEVEL)
            )
        return known[kept]

    return cost


class _Fails:
    """The scenarios with a set of controls; of each scenario's own sets each is computed once."""

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.events = [number(each) for each in portfolio.scenarios]
        self.own = [frozenset(control.id for control in each.controls) for each in portfolio.scenarios]
        self.known: dict[tuple[int, frozenset[str]], float] = {}

    def risks(self, kept: frozenset[str]) -> list[Risk]:
        return [
            risk(self.portfolio, each, self.events[place], self._fails(place, kept & self.own[place]))
            for place, each in enumerate(self.portfolio.scenarios)
        ]

    def _fails(self, place: int, kept: frozenset[str]) -> float:
        if (place, kept) not in self.known:
            scenario = self.portfolio.scenarios[place]
            self.known[place, kept] = gates.all_fail(scenario, gates.Varied(kept=kept))
        return self.known[place, kept]


def worths(portfolio: Portfolio, measure: Measure = Measure.ALE) -> list[Worth]:
    """(2) Return the worth of each control, the greatest first."""
    players, loses = _bounded(names(portfolio)), game(portfolio, measure)
    costs = {each.control: float(each.per_year) for each in portfolio.costs}
    everything, fair = frozenset(players), shapley(players, loses)
    found = [
        Worth(
            control=name,
            shapley=fair[name],
            last_in=loses(everything - {name}) - loses(everything),
            alone=loses(frozenset()) - loses(frozenset({name})),
            cost=costs.get(name),
        )
        for name in players
    ]
    return sorted(found, key=lambda each: -each.shapley)


def shapley(players: Sequence[str], loses: Game) -> dict[str, float]:
    """(2) Return the Shapley value of each player in a game of losses."""
    return {name: _shapley(name, players, loses) for name in players}


def _shapley(name: str, players: Sequence[str], loses: Game) -> float:
    others = [each for each in players if each != name]
    total = 0.0
    for chosen in _subsets(others):
        weight = factorial(len(chosen)) * factorial(len(others) - len(chosen)) / factorial(len(players))
        total += weight * (loses(chosen) - loses(chosen | {name}))
    return total


def choose(portfolio: Portfolio, budgets: Sequence[float], measure: Measure = Measure.ALE) -> list[Choice]:
    """(3) Return for each budget the best controls that it pays for."""
    if any(budget < 0 for budget in budgets):
        raise RiskError("a budget below nothing")
    loses = game(portfolio, measure)
    costs = {each.control: float(each.per_year) for each in portfolio.costs}
    given = frozenset(names(portfolio)).difference(costs)
    sets = [
        (loses(given | chosen), sum(costs[name] for name in chosen), chosen)
        for chosen in _subsets(_bounded(list(costs)))
        if sum(costs[name] for name in chosen) <= max(budgets, default=0.0)
    ]
    return [_best(measure, [each for each in sets if each[1] <= budget], loses(given)) for budget in budgets]


def _best(measure: Measure, bought: Sequence[tuple[float, float, frozenset[str]]], without: float) -> Choice:
    least = min(loss for loss, _, _ in bought)
    near = [each for each in bought if each[0] <= least * (1 + SAME) + SAME]
    loss, cost, chosen = min(near, key=lambda each: (each[1], sorted(each[2])))
    return Choice(measure, tuple(sorted(chosen)), cost, loss, without)


def _bounded(players: list[str]) -> list[str]:
    if len(players) > CONTROLS_MAX:
        raise RiskError(f"{len(players)} controls are too many to try every set: at most {CONTROLS_MAX}")
    return players


def _subsets(players: Sequence[str]) -> list[frozenset[str]]:
    return [
        frozenset(name for place, name in enumerate(players) if number >> place & 1)
        for number in range(1 << len(players))
    ]
