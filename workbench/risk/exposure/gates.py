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

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workbench.risk.exposure.scenarios import Control, Failure, Scenario, Uncertain
from workbench.risk.exposure.severity import Floats

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
    total = 0.0
    for chance, taken in _states(controls, varied.causes):  # (2)
        left = [_fails(control, own[control.id], taken[control.id]) for control in controls]
        total += chance * _together(left, float(scenario.correlation))
    return min(total, 1.0)


def _chances(controls: Sequence[Control]) -> dict[str, float]:
    return {cause.id: probability(cause.probability) for control in controls for cause in control.causes}


def _states(
    controls: Sequence[Control], causes: Mapping[str, float]
) -> Iterator[tuple[float, dict[str, int]]]:
    chances = {name: causes.get(name, chance) for name, chance in _chances(controls).items()}
    for struck in product((False, True), repeat=len(chances)):
        state = dict(zip(chances, struck, strict=True))
        chance = prod(chances[name] if is_struck else 1 - chances[name] for name, is_struck in state.items())
        if chance > 0:
            yield chance, {control.id: _taken(control, state) for control in controls}


def _taken(control: Control, state: Mapping[str, bool]) -> int:
    taken = sum(cause.parts or control.parts for cause in control.causes if state[cause.id])
    return min(taken, control.parts)


def _fails(control: Control, chance: float, taken: int) -> float:
    """(3) Return the probability to fail of what a state of the causes leaves of a control."""
    missing = control.threshold - taken
    if missing <= 0:
        return 1.0
    return float(special.bdtrc(missing - 1, control.parts - taken, chance))


def _together(chances: list[float], correlation: float) -> float:
    """(4) Return the probability that all fail."""
    if correlation == 0.0 or len(chances) < 2:  # noqa: PLR2004 - one correlates with nothing
        return float(np.prod(chances))
    levels = special.ndtri(np.array(chances))[:, None]
    given = special.ndtr((levels - np.sqrt(correlation) * FACTOR) / np.sqrt(1 - correlation))
    return float(DENSITY @ np.prod(given, axis=0))


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
