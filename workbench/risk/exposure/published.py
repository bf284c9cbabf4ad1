"""Figures about incidents as somebody published them, where the incidents themselves are not at hand.

A file of yearly counts, of quantiles and of classes, each positive and with one assumption for all: it serves
fits of counts, class shares and, by the published lognormal, a severity; and it is what an incident list is
held against (`calibrating.Sample`). Nothing is recomputed from it that it does not say.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workbench.risk.exposure.incidents import IncidentClass
from workbench.risk.exposure.plain_yaml import ScenarioError, parse
from workbench.risk.exposure.scenarios import Assumption, Positive, Probability, Said, UsdAboveNothing
from workbench.risk.exposure.tails import Hill, Tail, index

Number = Annotated[int, Field(ge=1, le=10**6)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Year(_Model):
    """How many incidents a year had, how many of them with a known loss, and what was lost."""

    year: Annotated[int, Field(ge=2009, le=2100)]
    incidents: Number
    with_loss: Number
    loss_usd: UsdAboveNothing


class Quantile(_Model):
    """A loss that this share of losses does not exceed."""

    probability: Probability
    loss_usd: UsdAboveNothing


class Index(_Model):
    """A tail index."""

    k: Number
    alpha: Positive


class Losses(_Model):
    """What the losses are like: quantiles, a lognormal fit, tail indices."""

    number: Number
    mu: Positive
    sigma: Positive
    quantiles: Annotated[list[Quantile], Field(min_length=1, max_length=32)]
    hill: Annotated[list[Index], Field(max_length=32)]

    def tail(self) -> Tail:
        """Return the published fit, as well known as so many losses make it."""
        variance = float(self.sigma) ** 2 / self.number
        return Tail(self.number, 0, float(self.mu), float(self.sigma), (variance, 0.0, variance / 2))

    def indices(self) -> tuple[Hill, ...]:
        """Return the published tail indices, with the intervals that so many losses give them."""
        return tuple(index(each.k, each.k / float(each.alpha)) for each in self.hill)


class Class(_Model):
    """A class's incidents and its share of what was lost."""

    door: Annotated[IncidentClass, BeforeValidator(IncidentClass), Field(alias="class")]
    incidents: Number
    loss_share: Probability


class Published(_Model):
    """The file."""

    says: Said
    years: Annotated[list[Year], Field(min_length=2, max_length=100)]
    losses: Losses
    classes: Annotated[list[Class], Field(min_length=1, max_length=len(IncidentClass))]
    assumption: Assumption

    @model_validator(mode="after")
    def _consecutive(self) -> Self:
        years = [each.year for each in self.years]
        if years != list(range(years[0], years[0] + len(years))):
            raise ValueError("years that do not follow each other")
        if any(each.with_loss > each.incidents for each in self.years):
            raise ValueError("more incidents with a loss than incidents")
        if len({each.door for each in self.classes}) != len(self.classes):
            raise ValueError("a class twice")
        return self

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Read a file, or refuse it with the first wrong field's path."""
        try:
            return cls.model_validate(parse(raw))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            path = "".join(f"/{part}" for part in first["loc"])
            raise ScenarioError(str(first["msg"]), path=path) from error

    def counts(self) -> tuple[int, ...]:
        """Return how many incidents with a known loss there were, year by year."""
        return tuple(each.with_loss for each in self.years)

    def counted(self) -> dict[int, int]:
        """Return how many incidents each year had."""
        return {each.year: each.incidents for each in self.years}

    def doors(self) -> dict[IncidentClass, int]:
        """Return how many incidents each class had."""
        return {each.door: each.incidents for each in self.classes}
