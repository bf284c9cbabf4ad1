"""The uncertain figures of a portfolio as one vector: each a quantile of its own distribution.

A rate has its Gamma distribution, a failure or a cause its Beta distribution. For sensitivity, figures that
are stated as certain are varied too: between half and twice of what they are, evenly on the logarithm; what
is nothing stays nothing. A cause is one figure wherever it is named; rates and failures are each scenario's
own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from workbench.risk.exposure import gates
from workbench.risk.exposure.annual import Risk, risk
from workbench.risk.exposure.events import Binomial, Number, Poisson, number, posterior
from workbench.risk.exposure.scenarios import (
    Portfolio,
    RateInterval,
    RatePosterior,
    Scenario,
    Uncertain,
)

SPREAD: Final = 2.0
"""A figure that is stated as certain lies between its half and its double."""

Quantile = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One figure: its name, what it stands for, how it follows from a number between 0 and 1."""

    name: str
    kind: str  # rate, failure, cause
    of: str  # a scenario's, a scenario's control's ("scenario/control") or a cause's id
    quantile: Quantile
    is_assumed: bool


@dataclass(frozen=True, slots=True)
class Parameters:
    """A portfolio and which of its figures vary."""

    portfolio: Portfolio
    varying: tuple[Parameter, ...]

    @classmethod
    def uncertain(cls, portfolio: Portfolio) -> Parameters:
        """Return the figures that are stated with a distribution."""
        return cls(portfolio, tuple(each for each in _all(portfolio) if not each.is_assumed))

    @classmethod
    def every(cls, portfolio: Portfolio) -> Parameters:
        """Return all figures that are not nothing, certain ones with the spread that sensitivity assumes."""
        return cls(portfolio, tuple(_all(portfolio)))

    def __len__(self) -> int:
        return len(self.varying)

    def risks(self, at: Iterable[float]) -> list[Risk]:
        """Return the portfolio with each figure at this quantile, the rates as certain."""
        values = {
            (each.kind, each.of): each.quantile(float(place))
            for each, place in zip(self.varying, at, strict=True)
        }
        causes = {of: value for (kind, of), value in values.items() if kind == "cause"}
        return [self._risk(scenario, values, causes) for scenario in self.portfolio.scenarios]

    def _risk(
        self, scenario: Scenario, values: dict[tuple[str, str], float], causes: dict[str, float]
    ) -> Risk:
        failures = {
            control.id: values[place]
            for control in scenario.controls
            if (place := ("failure", f"{scenario.id}/{control.id}")) in values
        }
        fails = gates.all_fail(scenario, gates.Varied(failures=failures, causes=causes))
        return risk(self.portfolio, scenario, _number(scenario, values.get(("rate", scenario.id))), fails)


def _number(scenario: Scenario, rate: float | None) -> Number:
    stated = number(scenario)
    if rate is None:
        return stated
    if isinstance(stated, Binomial):
        return Binomial(stated.units, min(rate, 1.0))
    return Poisson(rate * float(scenario.exposure))


def _all(portfolio: Portfolio) -> Iterator[Parameter]:
    seen: set[str] = set()
    for scenario in portfolio.scenarios:
        yield from _rate(scenario)
        for control in scenario.controls:
            yield from _chance(
                "failure",
                f"{scenario.id}/{control.id}",
                f"{scenario.id}: {control.id} fails",
                control.failure,
            )
            for cause in control.causes:
                if cause.id not in seen:
                    seen.add(cause.id)
                    yield from _chance("cause", cause.id, f"common cause: {cause.id}", cause.probability)


def _rate(scenario: Scenario) -> Iterator[Parameter]:
    likelihood, name = scenario.likelihood, f"{scenario.id}: rate"
    if isinstance(likelihood, RateInterval | RatePosterior):
        a, years = posterior(likelihood)
        yield Parameter(
            name, "rate", scenario.id, lambda at: float(special.gammaincinv(a, at)) / years, is_assumed=False
        )
    else:
        stated = number(scenario)
        one = (
            stated.chance
            if isinstance(stated, Binomial)
            else stated.mean / max(float(scenario.exposure), 1e-9)
        )
        if one > 0:
            cap = 1.0 if isinstance(stated, Binomial) else np.inf
            yield Parameter(name, "rate", scenario.id, _spread(one, cap), is_assumed=True)


def _chance(kind: str, of: str, name: str, stated: object) -> Iterator[Parameter]:
    if isinstance(stated, Uncertain):
        failed, held = (float(each) for each in stated.beta)
        yield Parameter(
            name, kind, of, lambda at: float(special.betaincinv(failed, held, at)), is_assumed=False
        )
        return
    one = gates.probability(stated)  # type: ignore[arg-type]
    if one > 0:
        yield Parameter(name, kind, of, _spread(one, 1.0), is_assumed=True)


def _spread(one: float, cap: float) -> Quantile:
    return lambda at: min(one * SPREAD ** (2 * at - 1), cap)
