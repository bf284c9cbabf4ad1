"""What the ledger tells of a control moves its failure probability, by the rules that the control states.

With f the probability before a rule, and v what its indicator says:

    fresh, half_life    v ≤ fresh: f; else 1 − (1 − f)·2^−((v − fresh)/half_life)   a drill that grows stale
    each                1 − (1 − f)·(1 − each)^v      every overdue item is one more way to fail by itself
    at_most             v ≤ at_most: f; else 1         what was measured says that the control does not hold
    prior [a, b]        Beta(a + p, b + v), p what `passed` says      v demands were refused, p got through

(1) The prior comes first, in the place of what was stated. The others follow; in which order is the same.
(2) No other rule lowers a probability below the stated one: a clean record is the prior's to tell.
(3) What a rule names and nobody can say fails the control (1): a drill that never was is no fresh one. Of the
    prior both counts must be there; else it stays the prior.
(4) A Beta distribution that another rule moves keeps its weight, a + b; at certainty it is a number.
(5) Results are rounded up, to PLACES digits. Of a control in parts, f is each part's.

Pure. Whether an indicator is true is for who read it (`workbench.audit.indicators` reads a sound bundle).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, Context, Decimal, localcontext
from typing import Final

from workbench.risk.exposure.scenarios import (
    Control,
    Failure,
    FailureOnDemand,
    Portfolio,
    Rule,
    Scenario,
    Uncertain,
)

COUNT_MAX: Final = Decimal(10**9)
"""Of a Beta distribution: what a file may say at most."""
PLACES: Final = Decimal("1e-12")
EXACT: Final = Context(prec=40)
NOTHING, CERTAIN = Decimal(0), Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """A figure, the entries that it was read from (the first and the last), and for when it is true."""

    value: Decimal
    unit: str
    first: int
    last: int
    at: datetime
    said: str = ""

    def __post_init__(self) -> None:
        if not self.value.is_finite() or self.value < 0:
            raise ValueError(f"{self.value} is no number of {self.unit}")
        if not 0 <= self.first <= self.last:
            raise ValueError(f"entries {self.first} to {self.last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One rule of one control: what it read, None where nobody can say, what it did, what was missing."""

    scenario: str
    control: str
    indicator: str
    rule: str
    read: Indicator | None
    before: Decimal
    after: Decimal
    missing: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether the rule moved the probability."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Fed:
    """A portfolio whose failure probabilities are those of the evidence, and every rule that was weighed."""

    portfolio: Portfolio
    weighed: tuple[Weighed, ...]

    @property
    def changes(self) -> tuple[Weighed, ...]:
        """What was changed, and why."""
        return tuple(each for each in self.weighed if each.is_changed)

    @property
    def missing(self) -> tuple[str, ...]:
        """(3) The indicators that a rule names and nobody can say."""
        return tuple(sorted({name for each in self.weighed for name in each.missing}))


def feed(portfolio: Portfolio, indicators: Mapping[str, Indicator]) -> Fed:
    """Return a portfolio after its controls' rules, and what each of them did."""
    weighed: list[Weighed] = []
    with localcontext(EXACT):
        scenarios = [_scenario(each, indicators, weighed) for each in portfolio.scenarios]
    return Fed(portfolio.model_copy(update={"scenarios": scenarios}), tuple(weighed))


def mean(failure: FailureOnDemand) -> Decimal:
    """Return a failure probability as one number."""
    if isinstance(failure, Uncertain):
        failed, held = failure.beta
        return EXACT.divide(failed, EXACT.add(failed, held))
    return failure.probability if isinstance(failure, Failure) else failure


def words(rule: Rule) -> str:
    """Return a rule in words."""
    if rule.prior is not None:
        failed, held = rule.prior
        return f"Beta({failed:f}, {held:f}), and what was refused against what passed ({rule.passed})"
    if rule.each is not None:
        return f"each one fails it with {rule.each:f}"
    if rule.at_most is not None:
        return f"at most {rule.at_most:f}, or it does not hold"
    return f"fresh for {rule.fresh:f}, then half as effective every {rule.half_life:f}"


def _scenario(scenario: Scenario, indicators: Mapping[str, Indicator], weighed: list[Weighed]) -> Scenario:
    controls = []
    for control in scenario.controls:
        fed, told = _control(control, indicators)
        controls.append(fed)
        weighed += [replace(each, scenario=scenario.id) for each in told]
    return scenario.model_copy(update={"controls": controls})


def _control(control: Control, indicators: Mapping[str, Indicator]) -> tuple[Control, list[Weighed]]:
    failure, told = control.failure, []
    for rule in sorted(control.evidence, key=lambda each: each.prior is None):  # (1)
        before, read = mean(failure), indicators.get(rule.indicator)
        failure = _after(failure, rule, read, indicators.get(rule.passed or ""))
        named = [rule.indicator, *([rule.passed] if rule.passed else [])]
        told.append(
            Weighed(
                scenario="",
                control=control.id,
                indicator=rule.indicator,
                rule=words(rule),
                read=read,
                before=before,
                after=mean(failure),
                missing=tuple(name for name in named if name not in indicators),
            )
        )
    return control.model_copy(update={"failure": failure}), told


def _after(
    failure: FailureOnDemand, rule: Rule, read: Indicator | None, passed: Indicator | None
) -> FailureOnDemand:
    if rule.prior is None:
        return _moved(failure, _kept(rule, read))
    failed, held = rule.prior
    if read is not None and passed is not None:  # (3)
        failed, held = failed + passed.value, held + read.value
    sourced = None if isinstance(failure, Decimal) else failure.assumption
    return Uncertain(beta=[min(failed, COUNT_MAX), min(held, COUNT_MAX)], assumption=sourced)


def _kept(rule: Rule, read: Indicator | None) -> Decimal:
    """Return which part of its effectiveness a control keeps."""
    if read is None:  # (3)
        return NOTHING
    if rule.each is not None:
        # 0 to the power of 0 is nothing that `Decimal` knows
        return (CERTAIN - rule.each) ** read.value if read.value else CERTAIN
    if rule.at_most is not None:
        return CERTAIN if read.value <= rule.at_most else NOTHING
    if rule.fresh is None or rule.half_life is None:
        raise ValueError(f"{rule.indicator}: a rule of no kind")
    late = max(NOTHING, read.value - rule.fresh)
    return Decimal(2) ** -(late / rule.half_life)


def _moved(failure: FailureOnDemand, kept: Decimal) -> FailureOnDemand:
    """Return a failure probability after a control has kept this part of its effectiveness."""
    if kept == CERTAIN:
        return failure
    before = mean(failure)
    exact = CERTAIN - (CERTAIN - before) * kept
    after = max(before, min(CERTAIN, exact.quantize(PLACES, rounding=ROUND_CEILING)))  # (2) (5)
    if isinstance(failure, Decimal):
        return after
    if isinstance(failure, Uncertain) and after < CERTAIN:  # (4)
        weight = min(sum(failure.beta), COUNT_MAX)
        return Uncertain(beta=[after * weight, (CERTAIN - after) * weight], assumption=failure.assumption)
    return Failure(probability=after, assumption=failure.assumption)
