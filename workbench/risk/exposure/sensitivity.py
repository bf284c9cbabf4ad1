"""Which figures matter: one at a time, and all together.

(1) Tornado: the residual figure with one parameter at 5 % and at 95 % of its distribution, the others at
    their medians. It shows direction and reach, and nothing of what two do together.
(2) Sobol indices (SALib, Saltelli's sampling): which share of the figure's variance a parameter explains
    alone (first order) and with all that it does together with others (total). Each portfolio is computed
    exactly, so that no noise is taken for sensitivity; each index has SALib's 95 % interval.

Parameters are those of `parameters.every`: figures that are stated as certain are varied too, and marked as
assumed. Chance is that of the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from SALib.analyze import sobol as analyzed
from SALib.sample import sobol as sampled

from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import Prepared, inherent
from workbench.risk.exposure.parameters import Parameters
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.severity import Floats

COARSE: Final = 2**12
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95
DRAWS: Final = 128
PORTFOLIOS_MAX: Final = 100_000
REACH: Final = 0.999
"""Quantiles that Sobol samples stay within: a rate at its very end is no rate."""


class Figure(StrEnum):
    """What is looked at."""

    ALE = "ALE"
    VAR = "VaR 99 %"
    TVAR = "TVaR 99 %"


@dataclass(frozen=True, slots=True)
class Bar:
    """(1) A parameter, the figure at its 5 % and at its 95 % (USD), and whether its range is assumed."""

    name: str
    low: float
    high: float
    middle: float
    is_assumed: bool

    @property
    def reach(self) -> float:
        """How far the figure moves."""
        return abs(self.high - self.low)


@dataclass(frozen=True, slots=True)
class Index:
    """(2) A parameter's share of the variance, alone and in total, each with the half of its interval."""

    name: str
    first: float
    first_reach: float
    total: float
    total_reach: float
    is_assumed: bool


def tornado(portfolio: Portfolio, figure: Figure = Figure.TVAR) -> list[Bar]:
    """(1) Return a bar for each parameter, the longest first."""
    parameters = Parameters.every(portfolio)
    tells = _figure(parameters, figure)
    middle = np.full(len(parameters), MIDDLE)

    def at(place: int, quantile: float) -> float:
        changed = middle.copy()
        changed[place] = quantile
        return tells(changed)

    centre = tells(middle)
    bars = [
        Bar(each.name, at(place, LOW), at(place, HIGH), centre, each.is_assumed)
        for place, each in enumerate(parameters.varying)
    ]
    return sorted(bars, key=lambda each: -each.reach)


def sobol(
    portfolio: Portfolio, figure: Figure = Figure.TVAR, *, seed: int, draws: int = DRAWS
) -> list[Index]:
    """(2) Return the indices of each parameter, the greatest total first.

    Args:
        portfolio: the scenarios.
        figure: what is looked at.
        seed: of the sample and of its intervals.
        draws: a power of two; (number of parameters + 2) times as many portfolios are computed.

    """
    parameters = Parameters.every(portfolio)
    size = len(parameters)
    if size == 0 or draws * (size + 2) > PORTFOLIOS_MAX:
        raise RiskError(
            f"{draws} draws of {size} parameters: from one, and at most {PORTFOLIOS_MAX} portfolios"
        )
    problem: dict[str, Any] = {
        "num_vars": size,
        "names": [each.name for each in parameters.varying],
        "bounds": [[1 - REACH, REACH]] * size,
    }
    places = sampled.sample(problem, draws, calc_second_order=False, seed=seed)
    tells = _figure(parameters, figure)
    values = np.array([tells(row) for row in places])
    if np.ptp(values) == 0.0:
        return [Index(each.name, 0.0, 0.0, 0.0, 0.0, each.is_assumed) for each in parameters.varying]
    found = analyzed.analyze(problem, values, calc_second_order=False, seed=seed)
    indices = [
        Index(
            each.name,
            first=float(found["S1"][place]),
            first_reach=float(found["S1_conf"][place]),
            total=float(found["ST"][place]),
            total_reach=float(found["ST_conf"][place]),
            is_assumed=each.is_assumed,
        )
        for place, each in enumerate(parameters.varying)
    ]
    return sorted(indices, key=lambda each: -each.total)


def _figure(parameters: Parameters, figure: Figure) -> Callable[[Floats], float]:
    portfolio = parameters.portfolio
    stress = portfolio.stress_shape
    prepared = Prepared.of(inherent(portfolio), stress=stress, size=COARSE)

    def tell(at: Floats) -> float:
        risks = parameters.risks(at.tolist())
        if figure is Figure.ALE:
            return prepared.mean(risks)
        year = prepared.annual(risks, stress=stress)
        return year.var(0.99) if figure is Figure.VAR else year.tvar(0.99)

    return tell
