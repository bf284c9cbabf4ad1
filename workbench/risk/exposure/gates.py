"""Whether all controls of a scenario fail in one event: exactly, or event by event from a seed.

(1) Controls are gates on demand: the event costs `severity` if all of them fail, `residual_severity` if one
    holds. Without any, it costs `severity`.
(2) A common cause acts within one event: with its probability it takes every control that names it, or of a
    control with parts as many as it says. Several causes take different parts, up to all: the worst case.
    States of the causes are enumerated; what is left fails by itself.
(3) A control of n parts fails when `threshold` of them have: those that causes took, and of the rest a
    binomial number.
(4) `correlation` ρ is that of a one-factor Gaussian copula between the controls, given the causes: given the
    factor they are independent, and the factor is integrated by Gauss-Legendre.

Since all of this is within one event, a year's losses with controls are a compound sum as those without are:
its severity is a mixture. `simulate` throws causes, parts and factor for every event and shares no formula
with `all_fail`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workbench.risk.exposure.scenarios import Control, Failure, Scenario, Uncertain
from workbench.risk.exposure.severity import Floats

Counts: TypeAlias = NDArray[np.int64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
REACH: Final = 9.0
"""So many standard deviations of the common factor; beyond lie 10⁻¹⁹."""
FACTOR: Final = NODES * REACH
DENSITY: Final = WEIGHTS * REACH * np.exp(-(FACTOR**2) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Varied:
    """What differs from the file: which controls are there, their failures, probabilities of causes."""

    kept: Collection[str] | None = None
    failures: Mapping[str, float] = field(default_factory=dict)
    causes: Mapping[str, float] = field(default_factory=dict)


AS_STATED: Final = Varied()


def probability(stated: Decimal | Failure | Uncertain) -> float:
    """Return a stated probability: of an uncertain one, the mean."""
    if isinstance(stated, Uncertain):
        failed, held = (float(each) for each in stated.beta)
        return failed / (failed + held)
    return float(stated.probability if isinstance(stated, Failure) else stated)


def all_fail(scenario: Scenario, varied: Varied = AS_STATED) -> float:
    """Return the probability that no control holds, given the event."""
    controls = [each for each in scenario.controls if varied.kept is None or each.id in varied.kept]
    own = {each.id: varied.failures.get(each.id, probability(each.failure)) for each in controls}
    chance, taken = _states(controls, varied.causes)  # (2)
    fails = [_fails(control, own[control.id]) for control in controls]
    correlation = float(scenario.correlation)
    if correlation == 0.0 or len(controls) < 2:  # noqa: PLR2004 - one correlates with nothing
        left = [table[taken[:, place]] for place, table in enumerate(fails)]
        return min(float(chance @ np.prod([np.ones_like(chance), *left], axis=0)), 1.0)
    return min(_together(chance, taken, fails, correlation), 1.0)


def _chances(controls: Sequence[Control]) -> dict[str, float]:
    return {cause.id: probability(cause.probability) for control in controls for cause in control.causes}


def _states(controls: Sequence[Control], causes: Mapping[str, float]) -> tuple[Floats, Counts]:
    """Return of each state of the causes its probability, and how many parts of each control it takes."""
    chances = {name: causes.get(name, chance) for name, chance in _chances(controls).items()}
    struck = (np.arange(2 ** len(chances))[:, None] >> np.arange(len(chances))) & 1
    each = np.array(list(chances.values()))
    takes = np.zeros((len(chances), len(controls)), dtype=np.int64)
    for place, control in enumerate(controls):
        for cause in control.causes:
            takes[list(chances).index(cause.id), place] = cause.parts or control.parts
    enough = np.array([control.threshold for control in controls], dtype=np.int64)
    return np.prod(np.where(struck, each, 1 - each), axis=1), np.minimum(struck @ takes, enough)


def _fails(control: Control, chance: float) -> Floats:
    """(3) Return the probability to fail when causes have taken none, one, … as many parts as it needs."""
    taken = np.arange(control.threshold)
    missing = control.threshold - taken
    return np.append(special.bdtrc(missing - 1, control.parts - taken, chance), 1.0)


def _together(chance: Floats, taken: Counts, fails: Sequence[Floats], correlation: float) -> float:
    """(4) Return the probability that all fail: states that take the same parts are one."""
    patterns, which = np.unique(taken, axis=0, return_inverse=True)
    given = np.ones((len(patterns), len(FACTOR)))
    for place, table in enumerate(fails):
        levels = special.ndtri(table)[:, None]
        one = special.ndtr((levels - np.sqrt(correlation) * FACTOR) / np.sqrt(1 - correlation))
        given *= one[patterns[:, place]]
    return float(np.bincount(which.ravel(), chance) @ given @ DENSITY)


def simulate(scenario: Scenario, random: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """Return of each of so many events whether no control held."""
    chances = _chances(scenario.controls)
    struck = {name: random.random(count) < chance for name, chance in chances.items()}
    factor = random.standard_normal(count) if scenario.correlation else np.zeros(count)
    failed = np.ones(count, dtype=bool)
    for control in scenario.controls:
        taken = _struck_parts(control, struck, count)
        failed &= _failed(control, taken, factor, float(scenario.correlation), random)
    return failed


def _struck_parts(control: Control, struck: Mapping[str, NDArray[np.bool_]], count: int) -> NDArray[np.int64]:
    taken = np.zeros(count, dtype=np.int64)
    for cause in control.causes:
        taken += struck[cause.id] * (cause.parts or control.parts)
    return np.minimum(taken, control.parts)


def _failed(
    control: Control,
    taken: NDArray[np.int64],
    factor: Floats,
    correlation: float,
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    if control.parts == 1 and correlation == 0.0:
        return np.asarray(
            (taken == 1) | (random.random(len(taken)) < probability(control.failure)), dtype=bool
        )
    if control.parts == 1:
        own = np.sqrt(1 - correlation) * random.standard_normal(len(taken)) + np.sqrt(correlation) * factor
        return np.asarray((taken == 1) | (own < special.ndtri(probability(control.failure))), dtype=bool)
    if correlation == 0.0:
        return np.asarray(
            taken + random.binomial(control.parts - taken, probability(control.failure)) >= control.threshold
        )
    # a control of several parts is one variable of the copula: it fails as a whole
    wanted = control.threshold - taken
    chance = np.where(
        wanted <= 0, 1.0, special.bdtrc(wanted - 1, control.parts - taken, probability(control.failure))
    )
    own = np.sqrt(1 - correlation) * random.standard_normal(len(taken)) + np.sqrt(correlation) * factor
    return np.asarray(own < special.ndtri(chance), dtype=bool)
