"""A made-up market of thefts, from a seed, with figures like the published ones. No incident is real."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from workbench.risk.exposure.calibrating import Sample
from workbench.risk.exposure.incidents import COLUMNS, Incident, IncidentClass

COUNTS = {2021: 71, 2022: 65, 2023: 96, 2024: 91, 2025: 95}
MU, SIGMA = 15.16, 2.06
DOORS = {
    IncidentClass.KEYS: 0.251,
    IncidentClass.BLIND_SIGNING: 0.005,
    IncidentClass.CONTRACT: 0.398,
    IncidentClass.ACCESS_CONTROL: 0.059,
    IncidentClass.ORACLE: 0.133,
    IncidentClass.REENTRANCY: 0.084,
    IncidentClass.INSIDER: 0.061,
    IncidentClass.GOVERNANCE: 0.009,
}
SOURCE = "synthetic"


def market(
    seed: int, counts: dict[int, int] = COUNTS, *, mu: float = MU, sigma: float = SIGMA
) -> tuple[Incident, ...]:
    """Return that many incidents in each year, with lognormal losses in whole dollars."""
    random = np.random.default_rng(seed)
    chances = np.array(list(DOORS.values()))
    made = []
    for year, count in counts.items():
        days = np.sort(random.integers(0, 365, count))
        amounts = np.maximum(random.lognormal(mu, sigma, count), 1)
        doors = random.choice(len(DOORS), count, p=chances / chances.sum())
        for number, (day, amount, door) in enumerate(zip(days, amounts, doors, strict=True)):
            made.append(
                Incident(
                    id=f"synthetic-{year}-{number}",
                    date=date(year, 1, 1) + timedelta(days=int(day)),
                    loss_usd=Decimal(round(float(amount))),
                    door=list(DOORS)[door],
                    source=SOURCE,
                )
            )
    return tuple(made)


def sample(incidents: tuple[Incident, ...]) -> Sample:
    """Return them as all there were, which is true of what was made up here."""
    years = sorted({each.date.year for each in incidents})
    counted = {year: sum(each.date.year == year for each in incidents) for year in years}
    return Sample(incidents=incidents, counted=counted, counted_by=SOURCE)


def counts(seed: int, years: int, *, mean: float = 84, size: float = 55) -> dict[int, int]:
    """Return counts of years from a negative binomial."""
    random = np.random.default_rng(seed)
    rates = random.gamma(size, mean / size, years)
    return {2026 - years + place: int(count) for place, count in enumerate(random.poisson(rates))}


def csv(incidents: tuple[Incident, ...]) -> bytes:
    """Return them as a file."""
    lines = [f"{each.id},{each.date},{each.loss_usd},{each.door.value},{each.source}" for each in incidents]
    return "\n".join([",".join(COLUMNS), *lines, ""]).encode()
