"""A portfolio of scenarios as it stands in a file: every figure has an author, a date, a source, an expiry.

(1) A file is YAML, or JSON: a list of scenarios, or a portfolio that holds such a list (`plain_yaml`).
(2) A field that is unknown, missing or out of its range is refused with its path.
(3) `assumption` says where figures come from: for a whole scenario, or for one figure beside its value. A
    figure that neither speaks for cannot be written. Assumptions whose expiry is past are told, not hidden.
(4) A common cause is one event that takes several controls, or several parts of one, at once. Named twice
    it is the same: two probabilities for one name are refused.

Rates are per year and per unit of exposure; amounts are USD. FAIR's words: likelihood × exposure is the loss
event frequency, severity the loss magnitude. Left to others: whether a figure is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from workbench.risk.exposure.plain_yaml import ScenarioError, parse

SCENARIOS_MAX: Final = 64
CONTROLS_MAX: Final = 12
"""In one scenario: states of common causes are enumerated."""
CAUSES_MAX: Final = 12
CORRELATION_MAX: Final = Decimal("0.99")
"""Above it two controls are one."""
USD_MAX: Final = 10**15
UNITS_MAX: Final = 10**6
PARTS_MAX: Final = 64
INTERVAL_MIN: Final = Decimal("1.001")
"""Ends of an interval whose ratio is smaller say one number; nothing can be fitted between them."""
RANGE_MIN: Final = Decimal("1.000001")
"""The same of a range of amounts: floats must tell its ends apart."""
STATES_MAX: Final = 2**21
"""Of common causes, a control each, in all scenarios: some seconds, with credible bands."""
CORRELATED: Final = 40
"""So many times as long a state takes where the controls are correlated."""


def _day(value: str) -> str:
    if date.fromisoformat(value).isoformat() != value:
        raise ValueError("not a day as YYYY-MM-DD")
    return value


def _said(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("empty, or not printable")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A number between bounds: `Decimal`, or the whole number that a file has for one."""

    ge: int | None = None
    gt: int | None = None
    le: int | Decimal | None = None
    lt: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - the library's
        del source, handler
        number = core_schema.decimal_schema(
            strict=True, ge=_exact(self.ge), gt=_exact(self.gt), le=_exact(self.le), lt=_exact(self.lt)
        )
        return core_schema.no_info_before_validator_function(_number, number)

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = {
            "minimum": self.ge,
            "exclusiveMinimum": self.gt,
            "maximum": self.le,
            "exclusiveMaximum": self.lt,
        }
        return {"type": "number"} | {
            name: bound if isinstance(bound, int) else float(bound)
            for name, bound in bounds.items()
            if bound is not None
        }


def _exact(bound: int | Decimal | None) -> Decimal | None:
    return None if bound is None else Decimal(bound)


def _number(value: object) -> object:
    # a file's whole numbers are `int`; `True` is one for Python alone
    return Decimal(value) if type(value) is int else value


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
IndicatorName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
"""What is told, a dot, and of which key, whose name may have 64 characters itself."""
Said = Annotated[str, Field(max_length=500), AfterValidator(_said)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_day)]
Probability = Annotated[Decimal, Bounds(ge=0, le=1)]
OpenProbability = Annotated[Decimal, Bounds(gt=0, lt=1)]
Usd = Annotated[Decimal, Bounds(ge=0, le=USD_MAX)]
UsdAboveNothing = Annotated[Decimal, Bounds(gt=0, le=USD_MAX)]
Rate = Annotated[Decimal, Bounds(gt=0, le=1000)]
Positive = Annotated[Decimal, Bounds(gt=0, le=10**9)]
Count = Annotated[Decimal, Bounds(ge=0, le=10**9)]
Pair = Field(min_length=2, max_length=2)


def _ascend(interval: list[Decimal]) -> None:
    if not interval[0] < interval[1]:
        raise ValueError("not in ascending order")
    if interval[1] < interval[0] * INTERVAL_MIN:
        raise ValueError("ends so near say one number: give that")


def _twice(path: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield f"{path}/{place}", f"{name!r} twice"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Assumption(_Model):
    """Where a figure comes from, and until when it may be used without another look."""

    author: Said
    date: Day
    source: Said
    expiry: Day


class _Sourced(_Model):
    """A figure that may have a source of its own; without one it has its scenario's."""

    assumption: Assumption | None = None


class RatePoint(_Sourced):
    """So many events a year and unit: any number may come in one year (Poisson)."""

    rate: Rate


class RateInterval(_Sourced):
    """A rate that is only known to lie in an interval, with 90 %: a Gamma distribution is fitted."""

    interval: Annotated[list[Rate], Pair]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _ascend(self.interval)
        return self


class RatePosterior(_Sourced):
    """A rate as a Gamma distribution: `shape` events in `years` unit-years."""

    shape: Positive
    years: Positive


class Chance(_Sourced):
    """With this probability it happens to a unit in a year, and at most once."""

    probability: Probability


class Point(_Sourced):
    """Always this loss."""

    amount: Usd


class Pert(_Sourced):
    """Least, most likely and largest loss, as a PERT distribution (a beta with weight 4 on the mode)."""

    pert: Annotated[list[Usd], Field(min_length=3, max_length=3)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, mode, high = self.pert
        if low <= high < low * RANGE_MIN or low == high:
            raise ValueError("one amount is no range")
        if not low <= mode <= high:
            raise ValueError("not in ascending order")
        return self


class Lognormal(_Sourced):
    """A lognormal loss by its 90 % interval, and never more than the position that it can hit."""

    interval: Annotated[list[UsdAboveNothing], Pair]
    cap: UsdAboveNothing

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _ascend(self.interval)
        return self


class Uncertain(_Sourced):
    """A failure probability as a Beta distribution: so many failures and so many successes on demand."""

    beta: Annotated[list[Positive], Pair]


class Failure(_Sourced):
    """A failure probability on demand."""

    probability: Probability


def _form(**forms: str) -> Discriminator:
    """Return how a value's form is told: a bare number, or by the field that only this form has."""

    def tell(value: object) -> str | None:
        if isinstance(value, Mapping):
            return next((tag for field, tag in forms.items() if field in value), None)
        if isinstance(value, BaseModel):
            return next((tag for field, tag in forms.items() if field in type(value).model_fields), None)
        return NUMBER

    fields = ", ".join(dict.fromkeys(forms))
    return Discriminator(
        tell,
        custom_error_type="form",
        custom_error_message=f"a number, or an object with one of: {fields}",
    )


NUMBER: Final = "(number)"
FORMS: Final = frozenset(
    {NUMBER, "(probability)", "(rate)", "(interval)", "(shape)", "(amount)", "(pert)", "(beta)"}
)
Likelihood = Annotated[
    Annotated[Probability, Tag(NUMBER)]
    | Annotated[Chance, Tag("(probability)")]
    | Annotated[RatePoint, Tag("(rate)")]
    | Annotated[RateInterval, Tag("(interval)")]
    | Annotated[RatePosterior, Tag("(shape)")],
    _form(probability="(probability)", rate="(rate)", interval="(interval)", shape="(shape)"),
]
Severity = Annotated[
    Annotated[Usd, Tag(NUMBER)]
    | Annotated[Point, Tag("(amount)")]
    | Annotated[Pert, Tag("(pert)")]
    | Annotated[Lognormal, Tag("(interval)")],
    _form(amount="(amount)", pert="(pert)", interval="(interval)"),
]
CauseProbability = Annotated[
    Annotated[Probability, Tag(NUMBER)] | Annotated[Uncertain, Tag("(beta)")],
    _form(beta="(beta)"),
]
FailureOnDemand = Annotated[
    Annotated[Probability, Tag(NUMBER)]
    | Annotated[Failure, Tag("(probability)")]
    | Annotated[Uncertain, Tag("(beta)")],
    _form(probability="(probability)", beta="(beta)"),
]


class Cause(_Model):
    """One event that takes a control, or `parts` of its parts, with whatever else names it."""

    id: Name
    probability: CauseProbability
    parts: Annotated[int, Field(ge=1, le=PARTS_MAX)] | None = None


class Rule(_Model):
    """How an indicator changes a control's failure probability; `exposure.evidence` applies it.

    `prior` counts what `indicator` says was refused against what `passed` says got through: refusals alone
    would make any control look better with time.
    """

    indicator: IndicatorName
    fresh: Count | None = None
    half_life: Positive | None = None
    each: Probability | None = None
    at_most: Count | None = None
    prior: Annotated[list[Positive], Pair] | None = None
    passed: IndicatorName | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [
            (self.fresh is not None) and (self.half_life is not None),
            self.each is not None,
            self.at_most is not None,
            (self.prior is not None) and (self.passed is not None),
        ]
        fields = len(self.model_fields_set - {"indicator"})
        if sum(kinds) != 1 or fields != (2 if kinds[0] or kinds[3] else 1):
            raise ValueError("one of: fresh and half_life · each · at_most · prior and passed")
        return self


class Control(_Model):
    """A gate that the event has to pass: it holds, or it fails; of several parts, `threshold` must fail."""

    id: Name
    failure: FailureOnDemand
    causes: Annotated[list[Cause], Field(max_length=CAUSES_MAX)] = []
    parts: Annotated[int, Field(ge=1, le=PARTS_MAX)] = 1
    threshold: Annotated[int, Field(ge=1, le=PARTS_MAX)] = 1
    evidence: Annotated[list[Rule], Field(max_length=8)] = []

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.threshold > self.parts:
            raise ValueError(f"threshold {self.threshold} of {self.parts} parts")
        if any((cause.parts or 1) > self.parts for cause in self.causes):
            raise ValueError(f"a cause takes more than {self.parts} parts")
        if len({cause.id for cause in self.causes}) != len(self.causes):
            raise ValueError("one cause twice")
        if sum(rule.prior is not None for rule in self.evidence) > 1:
            raise ValueError("two priors: one control has one record of what it was asked")
        return self


class Scenario(_Model):
    """What may happen, how often to how many, what it costs, what stands in its way, what is left then."""

    id: Name
    title: Said | None = None
    likelihood: Likelihood
    exposure: Annotated[Decimal, Bounds(ge=0, le=UNITS_MAX)]
    severity: Severity
    controls: Annotated[list[Control], Field(max_length=CONTROLS_MAX)]
    residual_severity: Severity
    correlation: Annotated[Decimal, Bounds(ge=0, le=CORRELATION_MAX)] = Decimal(0)
    position: Name | None = None
    assumption: Assumption

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.likelihood, Decimal | Chance) and self.exposure != int(self.exposure):
            raise ValueError("a probability is one of whole units: give a rate for a part of one")
        if len({control.id for control in self.controls}) != len(self.controls):
            raise ValueError("one control twice")
        if len({cause.id for control in self.controls for cause in control.causes}) > CAUSES_MAX:
            raise ValueError(f"more than {CAUSES_MAX} causes in one scenario")
        return self

    @property
    def states(self) -> int:
        """What its common causes' states cost to look at."""
        causes = {cause.id for control in self.controls for cause in control.causes}
        return (1 << len(causes)) * len(self.controls) * (CORRELATED if self.correlation else 1)


class Position(_Model):
    """What is there to lose in one place in a year, and which number of `limits.json` bounds it."""

    id: Name
    value: Usd
    limit: Literal["daily_usd_cents_max", "single_usd_cents_max"] | None = None
    tier: Literal["hot", "warm", "cold"] = "hot"
    assumption: Assumption


class Stress(_Model):
    """One factor that raises these scenarios' rates together: mean 1, variance 1/`shape` (Gamma)."""

    shape: Positive
    scenarios: Annotated[list[Name], Field(min_length=1, max_length=SCENARIOS_MAX)]
    assumption: Assumption


class Appetite(_Model):
    """A year that loses more than `loss` may come with this probability and no more."""

    loss: Usd
    probability: OpenProbability
    assumption: Assumption


class Cost(_Model):
    """What a control costs a year."""

    control: Name
    per_year: Usd
    assumption: Assumption


class Portfolio(_Model):
    """All scenarios, and what they have in common."""

    scenarios: Annotated[list[Scenario], Field(min_length=1, max_length=SCENARIOS_MAX)]
    positions: Annotated[list[Position], Field(max_length=SCENARIOS_MAX)] = []
    stress: Stress | None = None
    appetite: Appetite | None = None
    costs: Annotated[list[Cost], Field(max_length=SCENARIOS_MAX * CONTROLS_MAX)] = []
    budget: Usd | None = None

    @property
    def stress_shape(self) -> float | None:
        """The shape of the factor that raises several rates together, if there is one."""
        return None if self.stress is None else float(self.stress.shape)

    @classmethod
    def load(cls, value: object) -> Self:
        """Build from what a file holds, or refuse with the first wrong field's path."""
        is_list = isinstance(value, list)
        try:
            made = cls.model_validate({"scenarios": value} if is_list else value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            parts = [part for part in first["loc"] if part not in FORMS]
            path = "".join(f"/{part}" for part in (parts[1:] if is_list else parts))
            raise ScenarioError(str(first["msg"]), path=path) from error
        for path, detail in made.contradictions():
            raise ScenarioError(detail, path=path.removeprefix("/scenarios") if is_list else path)
        return made

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Build from a file's bytes."""
        return cls.load(parse(raw))

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """(4) Yield what only the whole portfolio shows, with its path."""
        yield from _twice("/scenarios", [each.id for each in self.scenarios])
        yield from _twice("/positions", [each.id for each in self.positions])
        yield from _twice("/costs", [each.control for each in self.costs])
        places = {each.id for each in self.positions}
        for place, scenario in enumerate(self.scenarios):
            if scenario.position is not None and scenario.position not in places:
                yield f"/scenarios/{place}/position", f"no position {scenario.position!r}"
        for place, name in enumerate(self.stress.scenarios if self.stress else []):
            yield from self._stressed(f"/stress/scenarios/{place}", name)
        controls = {control.id for scenario in self.scenarios for control in scenario.controls}
        for place, cost in enumerate(self.costs):
            if cost.control not in controls:
                yield f"/costs/{place}/control", f"no control {cost.control!r}"
        states = 0
        for place, scenario in enumerate(self.scenarios):
            states += scenario.states
            if states > STATES_MAX:
                yield (
                    f"/scenarios/{place}/controls",
                    f"{states} states of common causes, at most {STATES_MAX}",
                )
        known: dict[str, Decimal | Uncertain] = {}
        for path, cause in self._causes():
            if known.setdefault(cause.id, cause.probability) != cause.probability:
                yield (
                    path,
                    f"{cause.probability} here, {known[cause.id]} before: one cause, one probability",
                )

    def _stressed(self, path: str, name: str) -> Iterator[tuple[str, str]]:
        found = [each for each in self.scenarios if each.id == name]
        if not found:
            yield path, f"no scenario {name!r}"
        elif isinstance(found[0].likelihood, Decimal | Chance):
            yield path, f"{name!r} has a probability: only a rate can be raised without end"

    def _causes(self) -> Iterator[tuple[str, Cause]]:
        for row, scenario in enumerate(self.scenarios):
            for place, control in enumerate(scenario.controls):
                for number, cause in enumerate(control.causes):
                    at = f"/scenarios/{row}/controls/{place}/causes/{number}/probability"
                    yield at, cause

    def assumptions(self) -> Iterator[tuple[str, Assumption]]:
        """Yield every assumption with the path of what it speaks for."""
        yield from _assumptions("", self)


def _assumptions(path: str, value: object) -> Iterator[tuple[str, Assumption]]:
    if isinstance(value, BaseModel):
        found = getattr(value, "assumption", None)
        if found is not None:
            yield path, found
        for name in type(value).model_fields:
            if name != "assumption":
                yield from _assumptions(f"{path}/{name}", getattr(value, name))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _assumptions(f"{path}/{getattr(each, 'id', place)}", each)


@dataclass(frozen=True, slots=True)
class Aged:
    """An assumption, what it speaks for, and whether its time is over."""

    path: str
    assumption: Assumption
    expired: bool


def aged(portfolio: Portfolio, today: date) -> list[Aged]:
    """(3) Return every assumption, and which of them are past their expiry."""
    return [
        Aged(path, each, date.fromisoformat(each.expiry) < today) for path, each in portfolio.assumptions()
    ]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a file: a portfolio, or a list of scenarios alone."""
    whole = Portfolio.model_json_schema()
    names = whole.pop("$defs")
    scenarios = whole["properties"]["scenarios"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenarios",
        "anyOf": [scenarios | {"title": "A list of scenarios"}, whole],
        "$defs": names,
    }
