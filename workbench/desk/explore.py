"""What if: sliders over a file of scenarios, whose curve, table and control values follow at once.

(1) A slider multiplies a scenario's rate, sets a control's failure or a cause's probability, or gives all
    controls something in common: with that probability, given an event, none of a scenario's controls holds.
(2) Each move is computed exactly, on a coarser lattice (4,096 places): `redrawn` is pure, and the page shows
    what it returns. While one is computed only the newest of the moves that follow is kept.
(3) Nothing is written anywhere: a move is a question, and no assumption. The file stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from workbench.desk.exposure import Read, odds, usd
from workbench.risk.exposure import gates
from workbench.risk.exposure.annual import Annual, Risk, annual, risk
from workbench.risk.exposure.controls import shapley
from workbench.risk.exposure.events import Binomial, NegativeBinomial, Number, Poisson, number
from workbench.risk.exposure.figures import Whole
from workbench.risk.exposure.scenarios import Portfolio, Scenario

STATIC: Final = Path(__file__).parent / "static"
COARSE: Final = 2**12
TIMES_MAX: Final = 10.0
COMMON: Final = "common"
COMMON_MAX: Final = 0.1
CONTROLS_MAX: Final = 8
"""More controls have no Shapley values here: 256 sets are a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Slider:
    """One figure that may be moved: a position between 0 and 1 and what it stands for."""

    name: str
    label: str
    group: str
    start: float

    def dump(self) -> dict[str, Any]:
        """Return it as the page takes it."""
        return {"name": self.name, "label": self.label, "group": self.group, "value": self.start}


def sliders(portfolio: Portfolio) -> list[Slider]:
    """(1) Return what may be moved, at where it stands in the file."""
    found = [Slider(COMMON, "all controls fail together", "everything", 0.0)]
    for scenario in portfolio.scenarios:
        group = scenario.title or scenario.id
        found.append(Slider(f"rate/{scenario.id}", "rate", group, 0.5))
        for control in scenario.controls:
            start = gates.probability(control.failure)
            found.append(
                Slider(f"failure/{scenario.id}/{control.id}", f"{control.id} fails", group, _place(start))
            )
    causes = {
        cause.id: cause
        for each in portfolio.scenarios
        for control in each.controls
        for cause in control.causes
    }
    return found + [
        Slider(f"cause/{name}", name, "common causes", _place(gates.probability(cause.probability)))
        for name, cause in causes.items()
    ]


def _place(probability: float) -> float:
    # the cube: small probabilities have most of the slider
    return float(probability ** (1 / 3))


def _probability(place: float) -> float:
    return float(place**3)


def meaning(portfolio: Portfolio, name: str, place: float) -> str:
    """Return what a position of a slider stands for, in words."""
    kind, _, rest = name.partition("/")
    if kind == COMMON:
        return odds(place * COMMON_MAX)
    if kind == "rate":
        (scenario,) = [each for each in portfolio.scenarios if each.id == rest]
        return f"{_events(scenario, place).mean:.3g} a year"
    return odds(_probability(place))


def redrawn(portfolio: Portfolio, places: Mapping[str, float]) -> dict[str, Any]:
    """(2) Return what the page shows with the sliders at these places."""
    without = [
        risk(portfolio, each, _events(each, places.get(f"rate/{each.id}", 0.5)), 1.0)
        for each in portfolio.scenarios
    ]
    fails = [_fails(each, places) for each in portfolio.scenarios]
    within = [
        risk(portfolio, each, one.number, chance)
        for each, one, chance in zip(portfolio.scenarios, without, fails, strict=True)
    ]
    bare, held = (annual(risks, stress=portfolio.stress_shape, size=COARSE) for risks in (without, within))
    return {
        "curves": [Whole(bare).curve(), Whole(held).curve()],
        "rows": [_row(*each) for each in zip(portfolio.scenarios, without, within, fails, strict=True)],
        "figures": _figures(portfolio, bare, held),
        "worths": _worths(portfolio, places, [each.number for each in without]),
        "meanings": {name: meaning(portfolio, name, place) for name, place in places.items()},
    }


def _events(scenario: Scenario, place: float) -> Number:
    times, stated = TIMES_MAX ** (2 * place - 1), number(scenario)
    if isinstance(stated, Binomial):
        return Binomial(stated.units, min(stated.chance * times, 1.0))
    if isinstance(stated, NegativeBinomial):
        return NegativeBinomial(stated.shape, stated.mean * times)
    return Poisson(stated.mean * times)


def _fails(scenario: Scenario, places: Mapping[str, float], kept: frozenset[str] | None = None) -> float:
    failures = {
        control.id: _probability(places[name])
        for control in scenario.controls
        if (name := f"failure/{scenario.id}/{control.id}") in places
    }
    causes = {
        name.removeprefix("cause/"): _probability(place)
        for name, place in places.items()
        if name.startswith("cause/")
    }
    own = gates.all_fail(scenario, gates.Varied(kept=kept, failures=failures, causes=causes))
    common = places.get(COMMON, 0.0) * COMMON_MAX
    return common + (1 - common) * own


def _row(scenario: Scenario, without: Risk, within: Risk, fails: float) -> list[str]:
    return [
        scenario.title or scenario.id,
        f"{without.number.mean:.3g}",
        usd(without.mean),
        odds(fails),
        usd(within.mean),
    ]


def _figures(portfolio: Portfolio, bare: Annual, held: Annual) -> list[list[str]]:
    rows = [["", "without controls", "with controls"], ["ALE", usd(bare.mean), usd(held.mean)]]
    for level in (0.99, 0.999):
        rows.append([f"VaR {level * 100:g} %", usd(bare.var(level)), usd(held.var(level))])
        rows.append([f"TVaR {level * 100:g} %", usd(bare.tvar(level)), usd(held.tvar(level))])
    if portfolio.appetite is not None:
        loss = float(portfolio.appetite.loss)
        rows.append([f"a year over {usd(loss)}", odds(bare.above(loss)), odds(held.above(loss))])
    return rows


def _worths(portfolio: Portfolio, places: Mapping[str, float], events: list[Number]) -> list[list[Any]]:
    names = list(dict.fromkeys(control.id for each in portfolio.scenarios for control in each.controls))
    if len(names) > CONTROLS_MAX:
        return []
    known: dict[tuple[str, frozenset[str]], float] = {}

    def loses(kept: frozenset[str]) -> float:
        total = 0.0
        for scenario, one in zip(portfolio.scenarios, events, strict=True):
            own = kept & {control.id for control in scenario.controls}
            if (scenario.id, own) not in known:
                known[scenario.id, own] = risk(portfolio, scenario, one, _fails(scenario, places, own)).mean
            total += known[scenario.id, own]
        return total

    worths = sorted(shapley(names, loses).items(), key=lambda each: -each[1])
    return [[name, value, usd(value)] for name, value in worths]


class Explorer(anywidget.AnyWidget):
    """The sliders and what follows from them."""

    _esm = STATIC / "explore.js"
    _css = STATIC / "desk.css"
    sliders: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    drawn = traitlets.Dict().tag(sync=True)

    def __init__(self, portfolio: Portfolio) -> None:
        super().__init__()
        self._portfolio = portfolio
        self._starts = {each.name: each.start for each in sliders(portfolio)}
        self.sliders = [each.dump() for each in sliders(portfolio)]
        self.drawn = {"number": 0, **redrawn(portfolio, self._starts)}
        self.observe(self._answer, names="asked")

    def _answer(self, change: Mapping[str, Any]) -> None:
        number, places = change["new"].get("number"), change["new"].get("places")
        if not isinstance(number, int) or not isinstance(places, dict):
            return
        # what counts is a number between 0 and 1 for a slider that there is
        moved = {
            name: float(place)
            for name, place in places.items()
            if name in self._starts and isinstance(place, int | float) and 0 <= place <= 1
        }
        self.drawn = {"number": number, **redrawn(self._portfolio, self._starts | moved)}


def explore(read: Read) -> Explorer:
    """Return sliders over the scenarios that were read."""
    return Explorer(read.portfolio)
