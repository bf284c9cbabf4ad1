"""What calibration starts from: figures that somebody published and a list of incidents, read and fitted.

If the list holds all incidents of some years it is a sample, and everything is computed from it. A list of
the largest is none: then all figures are those that were published. A list with a row that cannot be is
refused, and replaced by nothing. The rate for one of us, and the fragment that a scenario takes over, are
made here, too; how they are shown is `calibration`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from workbench.desk.exposure import SCENARIOS
from workbench.risk.exposure import rates
from workbench.risk.exposure.backtest import DRAWS, YEARS_MIN, Held, backtest
from workbench.risk.exposure.calibrating import Calibration, Sample, calibrate, fragment
from workbench.risk.exposure.counting import CalibrationError, Counted, fit, foretell
from workbench.risk.exposure.incidents import Incident
from workbench.risk.exposure.incidents import read as read_incidents
from workbench.risk.exposure.published import Published
from workbench.risk.exposure.rates import Gamma, MarketRate
from workbench.risk.exposure.tails import Hill, Tail

YEAR_D: Final = 365
HELD_CAP: Final = Decimal(1_000_000_000)
"""USD. What one loss counts for at most in the back-test: with less, a year's figures would be the cap's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Both files, read, and what of them is calibrated from."""

    name: str
    incidents: tuple[Incident, ...]
    published: Published
    calibration: Calibration | None  # None: the list is no sample
    why: str  # it is none
    held: tuple[Held, ...]
    not_held: str  # why nothing was held out
    today: date
    seed: int
    cap: Decimal

    @property
    def origin(self) -> str:
        """Say what the figures are computed from."""
        return self.name if self.calibration else "the published figures"

    @property
    def counts(self) -> dict[int, int]:
        """How many incidents each year had; of the published ones those with a known loss."""
        if self.calibration is None:
            return {each.year: each.with_loss for each in self.published.years}
        return dict(self.calibration.sample.counted)

    @property
    def counted(self) -> Counted:
        """The fits to these."""
        return self.calibration.counted if self.calibration else fit(self.published.counts())

    @property
    def tail(self) -> Tail:
        """The lognormal fit of one loss."""
        return self.calibration.tail if self.calibration else self.published.losses.tail()

    @property
    def hill(self) -> tuple[Hill, ...]:
        """Hill's indices of the tail."""
        return self.calibration.hill if self.calibration else self.published.losses.indices()

    @property
    def says(self) -> str:
        """Where it comes from, for an assumption."""
        if self.calibration is not None:
            return self.calibration.says()
        said = self.published
        return (
            f"{said.says} ({said.assumption.source}); lognormal µ {self.tail.mu:.2f} σ {self.tail.sigma:.2f} "
            f"of {said.losses.number} losses"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The market's rate, and what it is with our own years."""

    market: MarketRate
    incidents: int  # of our own
    years: float  # unit-years of our own

    @property
    def posterior(self) -> Gamma:
        """Return the rate that a scenario takes over."""
        return self.market.prior.observed(incidents=self.incidents, years=self.years)


def given(incidents: str = "incidents.csv", today: str = "") -> tuple[bytes, date]:
    """Return a list as it lies there, and the day by which it is judged."""
    return _path(incidents).read_bytes(), _day(today)


def read(
    figures: str = "incident-figures.yaml",
    incidents: str = "incidents.csv",
    *,
    whole_by: str = "",
    today: str = "",
    seed: int = 1,
    cap: int = 10_000_000,
) -> Read:
    """Read both files; a name without a folder is one that is shipped.

    Args:
        figures: what somebody published.
        incidents: a list, CSV or JSON.
        whole_by: who says that the list has all incidents of its years; empty: the figures' counts decide.
        today: YYYY-MM-DD; empty: today. Its year is not over, and never counted.
        seed: of all that is drawn.
        cap: the most that the desk can lose at once, USD.

    """
    raw, day = given(incidents, today)
    published = Published.read(_path(figures).read_bytes())
    listed = read_incidents(raw, today=day)
    try:
        counted = _listed_by_year(listed, day) if whole_by else published.counted()
        sample = Sample(incidents=listed, counted=counted, counted_by=whole_by or published.assumption.source)
        found, why = calibrate(sample), ""
    except CalibrationError as error:
        found, why = None, str(error)
    held, not_held = _held(found, seed)
    return Read(
        name=_path(incidents).name,
        incidents=listed,
        published=published,
        calibration=found,
        why=why,
        held=held,
        not_held=not_held,
        today=day,
        seed=seed,
        cap=Decimal(cap),
    )


def _held(found: Calibration | None, seed: int) -> tuple[tuple[Held, ...], str]:
    if found is None:
        return (), "no list of all incidents, so no year's losses could be held out"
    try:
        return backtest(found.sample, cap=HELD_CAP, seed=seed), ""
    except CalibrationError as error:
        return (), str(error)


def foretold(read: Read) -> dict[int, tuple[int, int]]:
    """Return the 90 % interval of each year's count that has enough years before it, and of the next."""
    seen = read.counts
    years = [*sorted(seen), max(seen) + 1]
    found = {}
    for place, year in enumerate(years):
        past = [seen[each] for each in years[:place]]
        if len(past) >= YEARS_MIN and any(past):
            drawn = foretell(past, np.random.default_rng([read.seed, year]), DRAWS)
            low, high = np.quantile(drawn, [0.05, 0.95], method="inverted_cdf")
            found[year] = (int(low), int(high))
    return found


def rate(
    read: Read, *, units_low: int, units_high: int, own_years: float = 0.0, own_incidents: int = 0
) -> Rate:
    """Return the rate for one unit: the market's, among so many units, and with our own years."""
    seen = read.counts
    made = rates.market(
        sum(seen.values()),
        years=len(seen),
        units=(float(units_low), float(units_high)),
        fano=read.counted.fano,
    )
    return Rate(market=made, incidents=own_incidents, years=own_years)


def fragment_text(read: Read, rate: Rate, *, author: str, expiry: str = "") -> str:
    """Return the fragment as YAML; without an expiry it ends in a year, or with the published figures."""
    last = read.today + timedelta(days=YEAR_D)
    if read.calibration is None:
        last = min(last, date.fromisoformat(read.published.assumption.expiry))
    made = fragment(
        rate.posterior,
        read.tail,
        cap=read.cap,
        author=author,
        day=read.today,
        expiry=date.fromisoformat(expiry) if expiry else last,
        source=f"{rate.market.says()}; {read.says}",
    )
    lines = []
    for name, fields in made.document().items():
        lines += [f"{name}:", *(f"  {field}: {_yaml(value)}" for field, value in fields.items())]
    return "\n".join(lines)


def _day(today: str) -> date:
    return date.fromisoformat(today) if today else datetime.now(UTC).date()


def _path(name: str) -> Path:
    return Path(name) if "/" in name else SCENARIOS / name


def _listed_by_year(incidents: Sequence[Incident], day: date) -> dict[int, int]:
    """Return the counts of the years that are over; one in between without any has none."""
    years = [each.date.year for each in incidents if each.date.year < day.year]
    return {year: years.count(year) for year in range(min(years, default=0), max(years, default=-1) + 1)}


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        return f"[{', '.join(_yaml(each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_yaml(each)}' for name, each in value.items())}}}"
    return str(value)
