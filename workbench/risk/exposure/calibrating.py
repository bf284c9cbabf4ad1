"""From incidents to the likelihood and the severity of a scenario, with the assumption that speaks for them.

(1) A sample is all incidents of some years. How many there were is told from a source that counts all of
    them; a list that has fewer than nine of ten in any year is none, and nothing is fitted from it. A list
    of the largest thefts would make each as large as the largest, and their number that of those who chose.
(2) Counts give a negative binomial (`counting`), known losses a lognormal with a tail index (`tails`),
    classes their shares with 90 % intervals (Jeffreys' Dirichlet). Unknown losses are counted and told, not
    guessed.
(3) `fragment` makes what a scenario holds of it: the rate as {shape, years}, per unit and year (`rates`),
    the severity as its 90 % interval with the desk's own cap, and one assumption that says where it comes
    from.

Left to others: the yearly loss (`annual`), and how well such fits foretold years that came (`backtest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Any, Final

from pydantic import ValidationError
from scipy import special

from workbench.risk.exposure.counting import CalibrationError, Counted, fit
from workbench.risk.exposure.incidents import Incident, IncidentClass
from workbench.risk.exposure.rates import Gamma
from workbench.risk.exposure.scenarios import Assumption, Lognormal, RatePosterior
from workbench.risk.exposure.tails import Hill, Tail, hill, lognormal

WHOLE_MIN: Final = Decimal("0.9")
"""Of the incidents that a year had: fewer listed are a choice of somebody's."""
HILL_KS: Final = (20, 45, 90)
_DIGITS: Final = 4  # of what a fragment says: more would claim more than is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """(1) All incidents of consecutive years; those of other years are left out."""

    incidents: tuple[Incident, ...]
    counted: Mapping[int, int]  # how many each year had
    counted_by: str  # who says so
    years: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        years = tuple(sorted(self.counted))
        if not years or years != tuple(range(years[0], years[-1] + 1)) or not self.counted_by.strip():
            raise CalibrationError("counts of consecutive years, and who counted, are needed")
        kept = tuple(each for each in self.incidents if each.date.year in self.counted)
        object.__setattr__(self, "incidents", kept)
        object.__setattr__(self, "years", years)
        for year in years:
            listed, there_were = len(self.of(year)), self.counted[year]
            if listed < WHOLE_MIN * there_were:
                detail = "a list of chosen ones is no sample"
                raise CalibrationError(f"{listed} of {there_were} incidents in {year}: {detail}")
            if listed > there_were:
                raise CalibrationError(f"{listed} incidents in {year}, where {there_were} were counted")

    def of(self, year: int) -> tuple[Incident, ...]:
        """Return the incidents of a year."""
        return tuple(each for each in self.incidents if each.date.year == year)

    def counts(self) -> tuple[int, ...]:
        """Return how many there were, year by year."""
        return tuple(self.counted[year] for year in self.years)

    def before(self, year: int) -> Sample:
        """Return what was known when this year began."""
        counted = {each: number for each, number in self.counted.items() if each < year}
        return Sample(incidents=self.incidents, counted=counted, counted_by=self.counted_by)


def losses(incidents: Iterable[Incident]) -> list[float]:
    """Return the losses that are known and not nothing."""
    return [float(each.loss_usd) for each in incidents if each.loss_usd]


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How many incidents, and how much of what was lost, went by one door."""

    door: IncidentClass
    incidents: int
    share: float
    low: float
    high: float
    loss_usd: Decimal
    loss_share: float  # made by the largest few: it tells what was, not what will be
    median_usd: Decimal | None


def shares(numbers: Mapping[IncidentClass, int]) -> dict[IncidentClass, tuple[float, float, float]]:
    """Return each class's share of incidents with its 90 % interval; every class may come."""
    whole = sum(numbers.values())
    if not whole or min(numbers.values()) < 0:
        raise CalibrationError("no incidents of any class")
    half = 0.5
    rest = half * (len(IncidentClass) - 1)
    found = {}
    for door in IncidentClass:
        number = numbers.get(door, 0)
        low, high = (
            float(special.betaincinv(number + half, whole - number + rest, each)) for each in (0.05, 0.95)
        )
        found[door] = (number / whole, low, high)
    return found


def class_shares(incidents: Sequence[Incident]) -> tuple[ClassShare, ...]:
    """(2) Return a row for each class."""
    by_door = {door: [each for each in incidents if each.door is door] for door in IncidentClass}
    all_shares = shares({door: len(each) for door, each in by_door.items()})
    whole = sum((each.loss_usd or Decimal(0) for each in incidents), Decimal(0))
    return tuple(_class_share(door, by_door[door], all_shares[door], whole) for door in IncidentClass)


def _class_share(
    door: IncidentClass, incidents: Sequence[Incident], share: tuple[float, float, float], whole: Decimal
) -> ClassShare:
    known = [each.loss_usd for each in incidents if each.loss_usd]
    lost = sum(known, Decimal(0))
    return ClassShare(
        door=door,
        incidents=len(incidents),
        share=share[0],
        low=share[1],
        high=share[2],
        loss_usd=lost,
        loss_share=float(lost / whole) if whole else 0.0,
        median_usd=median(known) if known else None,
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a sample says: how often, how large, by which doors, and what it does not say."""

    sample: Sample
    counted: Counted
    tail: Tail
    hill: tuple[Hill, ...]
    classes: tuple[ClassShare, ...]
    unknown: int  # incidents whose loss nobody knows
    nothing: int  # incidents that cost nothing

    def says(self) -> str:
        """Return where it comes from, for an assumption."""
        first, last = self.sample.years[0], self.sample.years[-1]
        return (
            f"{len(self.sample.incidents)} incidents {first} to {last}, counted by {self.sample.counted_by}; "
            f"{self.tail.losses} losses, {self.unknown} unknown; lognormal µ {self.tail.mu:.2f} "
            f"σ {self.tail.sigma:.2f}"
        )


def calibrate(sample: Sample, *, cap: float | None = None, ks: Sequence[int] = HILL_KS) -> Calibration:
    """(2) Fit a sample; a loss at the cap or above counts as at least the cap, in USD."""
    known = losses(sample.incidents)
    return Calibration(
        sample=sample,
        counted=fit(sample.counts()),
        tail=lognormal(known, cap=cap),
        hill=hill(known, [each for each in ks if each < len(known)]),
        classes=class_shares(sample.incidents),
        unknown=sum(each.loss_usd is None for each in sample.incidents),
        nothing=sum(each.loss_usd == 0 for each in sample.incidents),
    )


@dataclass(frozen=True, slots=True)
class Fragment:
    """(3) What a scenario takes over: likelihood, severity and the assumption that speaks for both."""

    likelihood: RatePosterior
    severity: Lognormal
    assumption: Assumption

    def document(self) -> dict[str, Any]:
        """Return it as it stands in a scenario's file."""
        return {
            name: getattr(self, name).model_dump(exclude_none=True)
            for name in ("likelihood", "severity", "assumption")
        }


def fragment(
    rate: Gamma, tail: Tail, *, cap: Decimal, author: str, day: date, expiry: date, source: str
) -> Fragment:
    """(3) Return the fragment of a scenario.

    Args:
        rate: per unit and year.
        tail: of one loss, before it is capped.
        cap: the most that the desk can lose at once, USD.
        author: who answers for it.
        day: when it was calibrated.
        expiry: until when it may be used.
        source: what it was calibrated from (`Calibration.says`, `MarketRate.says`).

    """
    if expiry <= day:
        raise CalibrationError(f"it expires on {expiry}, and is of {day}")
    made = {"author": author, "date": day.isoformat(), "source": source, "expiry": expiry.isoformat()}
    try:
        return Fragment(
            RatePosterior(shape=_told(rate.shape), years=_told(rate.years)),
            Lognormal(interval=[_told(each) for each in tail.interval()], cap=cap),
            Assumption.model_validate(made),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise CalibrationError(f"no fragment of a scenario: {place}: {first['msg']}") from error


def _told(value: float) -> Decimal:
    return Decimal(format(Decimal(f"{value:.{_DIGITS}g}"), "f"))
