"""What the committee asks of a portfolio, in one value: each scenario, the whole, the check, the sources.

(1) Of each scenario: what a year costs without controls and with them, and what is lost given the event when
    a control holds. The last one is per event: added to yearly figures it means nothing.
(2) Of the whole: expected loss, VaR, TVaR and exceedance, inherent and residual, exactly.
(3) The same from drawn years with 95 % intervals; and, where positions are known, with their caps, which the
    exact figures do not have.
    Rare years without controls are drawn where they are rare, too (`rare`), unless rates share a factor.
(4) If anything is uncertain, 90 % credible bands: the figures of portfolios whose rates and failures are
    drawn from their distributions. Severities' own parameters count as known.
(5) Every assumption, and whether its time is over.

Amounts are USD, rounded to cents when told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from operator import methodcaller
from typing import Any, Final

import numpy as np

from workbench.risk.errors import RiskError
from workbench.risk.exposure import gates, severity
from workbench.risk.exposure.annual import Annual, Prepared, Risk, annual, inherent, residual
from workbench.risk.exposure.parameters import Parameters
from workbench.risk.exposure.rare import Rare
from workbench.risk.exposure.rare import above as rarely_above
from workbench.risk.exposure.scenarios import Aged, Portfolio, aged
from workbench.risk.exposure.simulated import YEARS, Interval, Simulated, simulate

RARE: Final = 0.999
LEVELS: Final = (0.95, 0.99, 0.995, 0.999)
POINTS: Final = 96
"""Of an exceedance curve."""
RAREST: Final = 1e-6
DRAWS: Final = 400
BAND: Final = (0.05, 0.95)
COARSE: Final = 2**12


@dataclass(frozen=True, slots=True)
class Row:
    """(1) One scenario; USD a year, but for what is lost given the event and the control."""

    id: str
    title: str
    events: float
    severity: float
    inherent_ale: float
    residual_severity_given_control: float
    all_controls_fail: float
    residual_ale: float


@dataclass(frozen=True, slots=True)
class Whole:
    """(2) All scenarios together, exactly."""

    annual: Annual = field(repr=False)

    @property
    def ale(self) -> float:
        """The expected loss of a year."""
        return self.annual.mean

    def curve(self) -> list[tuple[float, float]]:
        """Return losses, ascending, and the probability that a year costs more."""
        return list(_curve(self.annual))


@dataclass(frozen=True, slots=True)
class Bands:
    """(4) Figures with the uncertainty of what goes in: 5 % and 95 % of so many portfolios drawn."""

    draws: int
    ale: tuple[float, float]
    var: dict[float, tuple[float, float]]
    tvar: dict[float, tuple[float, float]]
    above_appetite: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """Everything there is to say of a portfolio."""

    rows: tuple[Row, ...]
    inherent: Whole
    residual: Whole
    chance_inherent: Simulated
    chance_residual: Simulated
    chance_capped: Simulated | None
    bands: Bands | None
    appetite: tuple[float, float] | None
    rare: tuple[float, Rare] | None
    assumptions: tuple[Aged, ...]
    seed: int

    @property
    def above_appetite(self) -> float | None:
        """The probability that a year with its controls loses more than the appetite."""
        return None if self.appetite is None else self.residual.annual.above(self.appetite[0])

    def dump(self) -> dict[str, Any]:
        """Return it as JSON values: the portfolio's figures are inherent, those with controls `residual`."""
        told: dict[str, Any] = {
            "scenarios": [_row(each) for each in self.rows],
            "portfolio": {**_whole(self.inherent), "residual": _whole(self.residual)},
            "monte_carlo": {
                "seed": self.seed,
                "years": self.chance_inherent.years,
                **_chance(self.chance_inherent),
                "residual": _chance(self.chance_residual),
            },
            "assumptions": [_aged(each) for each in self.assumptions],
        }
        if self.chance_capped is not None:
            told["monte_carlo"]["residual_capped"] = _chance(self.chance_capped)
        if self.rare is not None:
            told["monte_carlo"]["rare"] = self._rare(*self.rare)
        if self.bands is not None:
            told["portfolio"]["residual"]["credible"] = _bands(self.bands)
        if self.appetite is not None:
            loss, allowed = self.appetite
            told["appetite"] = {"loss": loss, "allowed": allowed, "probability": self.above_appetite}
        return told

    def _rare(self, loss: float, found: Rare) -> dict[str, Any]:
        return {
            "loss": _usd(loss),
            "exact": self.inherent.annual.above(loss),
            "probability": found.probability.value,
            "ci": [found.probability.low, found.probability.high],
            "gain": found.gain,
        }


def exposure(
    portfolio: Portfolio,
    *,
    today: date,
    seed: int,
    years: int = YEARS,
    executor: Executor | None = None,
) -> Exposure:
    """Return everything there is to say of a portfolio.

    Args:
        portfolio: the scenarios.
        today: by which assumptions are past their expiry.
        seed: of the drawn years and of the bands.
        years: how many are drawn.
        executor: who draws them.

    """
    without, with_controls = inherent(portfolio), residual(portfolio)
    stress = portfolio.stress_shape

    def drawn(*, controlled: bool, capped: bool = False) -> Simulated:
        return simulate(
            portfolio, seed=seed, years=years, controlled=controlled, capped=capped, executor=executor
        )

    appetite, whole = portfolio.appetite, Whole(annual(without, stress=stress))
    return Exposure(
        rows=tuple(rows(portfolio)),
        inherent=whole,
        residual=Whole(annual(with_controls, stress=stress)),
        chance_inherent=drawn(controlled=False),
        chance_residual=drawn(controlled=True),
        chance_capped=drawn(controlled=True, capped=True) if portfolio.positions else None,
        bands=bands(portfolio, seed=seed),
        appetite=(float(appetite.loss), float(appetite.probability)) if appetite else None,
        rare=_rarely(without, whole.annual.var(RARE), seed=seed),
        assumptions=tuple(aged(portfolio, today)),
        seed=seed,
    )


def _rarely(risks: Sequence[Risk], loss: float, *, seed: int) -> tuple[float, Rare] | None:
    try:
        return loss, rarely_above(risks, loss, seed=seed)
    except RiskError:  # a stress factor, or a loss that is no rare one: drawn years tell it
        return None


def rows(portfolio: Portfolio) -> Iterator[Row]:
    """(1) Yield each scenario's figures."""
    pairs = zip(portfolio.scenarios, inherent(portfolio), residual(portfolio), strict=True)
    for scenario, without, with_controls in pairs:
        yield Row(
            id=scenario.id,
            title=scenario.title or scenario.id,
            events=without.number.mean,
            severity=severity.mean(scenario.severity),
            inherent_ale=without.mean,
            residual_severity_given_control=severity.mean(scenario.residual_severity),
            all_controls_fail=gates.all_fail(scenario),
            residual_ale=with_controls.mean,
        )


def bands(portfolio: Portfolio, *, seed: int, draws: int = DRAWS) -> Bands | None:
    """(4) Return credible bands of the residual figures; None if every figure is certain."""
    parameters = Parameters.uncertain(portfolio)
    if not parameters:
        return None
    random = np.random.default_rng(seed)
    stress = portfolio.stress_shape
    prepared = Prepared.of(inherent(portfolio), stress=stress, size=COARSE)
    made = [
        prepared.annual(parameters.risks(random.random(len(parameters)).tolist()), stress=stress)
        for _ in range(draws)
    ]
    appetite = portfolio.appetite
    loss = float(appetite.loss) if appetite else None
    return Bands(
        draws=draws,
        ale=_band(made, lambda each: each.mean),
        var={level: _band(made, methodcaller("var", level)) for level in LEVELS},
        tvar={level: _band(made, methodcaller("tvar", level)) for level in LEVELS},
        above_appetite=None if loss is None else _band(made, lambda each: each.above(loss)),
    )


def _band(made: Sequence[Annual], figure: Callable[[Annual], float]) -> tuple[float, float]:
    low, high = np.quantile([figure(each) for each in made], BAND)
    return float(low), float(high)


def _curve(year: Annual) -> Iterator[tuple[float, float]]:
    above = np.maximum(1 - np.cumsum(year.mass), 0.0)
    seen = int(np.searchsorted(-above, -RAREST)) + 1
    atoms = np.flatnonzero(year.mass[:seen] > RAREST / POINTS)
    if len(atoms) > POINTS:
        wanted = np.geomspace(max(above[0], RAREST), RAREST, POINTS)
        atoms = np.unique(np.searchsorted(-above[:seen], -wanted).clip(0, seen - 1))
    for place in atoms:
        yield float(place) * year.step, float(above[place])


def _whole(whole: Whole) -> dict[str, Any]:
    year = whole.annual
    return {
        "ale": _usd(whole.ale),
        "var": {str(level): _usd(year.var(level)) for level in LEVELS},
        "tvar": {str(level): _usd(year.tvar(level)) for level in LEVELS},
        "exceedance": [{"loss": _usd(loss), "probability": above} for loss, above in whole.curve()],
        "step": year.step,
    }


def _chance(made: Simulated) -> dict[str, Any]:
    var = {str(level): made.var(level) for level in LEVELS}
    tvar = {str(level): made.tvar(level) for level in LEVELS}
    return {
        "ale": _usd(made.mean().value),
        "var": {level: _usd(each.value) for level, each in var.items()},
        "tvar": {level: _usd(each.value) for level, each in tvar.items()},
        "ci": {
            "level": 0.95,
            "ale": _ends(made.mean()),
            "var": {level: _ends(each) for level, each in var.items()},
            "tvar": {level: _ends(each) for level, each in tvar.items()},
        },
    }


def _bands(made: Bands) -> dict[str, Any]:
    told: dict[str, Any] = {
        "level": 0.9,
        "draws": made.draws,
        "ale": [_usd(each) for each in made.ale],
        "var": {str(level): [_usd(each) for each in band] for level, band in made.var.items()},
        "tvar": {str(level): [_usd(each) for each in band] for level, band in made.tvar.items()},
    }
    return told if made.above_appetite is None else told | {"above_appetite": list(made.above_appetite)}


def _row(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "events_per_year": row.events,
        "severity": _usd(row.severity),
        "inherent_ale": _usd(row.inherent_ale),
        "residual_severity_given_control": _usd(row.residual_severity_given_control),
        "all_controls_fail": row.all_controls_fail,
        "residual_ale": _usd(row.residual_ale),
    }


def _aged(each: Aged) -> dict[str, Any]:
    return {"path": each.path, **each.assumption.model_dump(), "expired": each.expired}


def _ends(interval: Interval) -> list[float]:
    return [_usd(interval.low), _usd(interval.high)]


def _usd(value: float) -> float:
    if not isfinite(value):
        raise RiskError("a figure lies beyond every lattice: the tail is too heavy to be told")
    return round(value, 2)
