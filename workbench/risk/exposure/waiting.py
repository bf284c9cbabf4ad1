"""How long until a loss, and how often one comes upon another: what a year's sum cannot tell.

(1) Events get moments within their years: of a probability anywhere in the year, of a rate anywhere; a
    stress factor holds for a whole year, and so does a rate that is uncertain, which is drawn anew for each:
    the share of (3) is that of a year whose rate nobody knows. Controls and losses are drawn for each event.
(2) How often an event costs more than `loss`, and how many years lie between two of them, in the mean.
(3) Of the events that cost more than `loss`, the share that comes within `days` after another one: before who
    was hit has recovered, a control has been mended, or a position has been closed.

Only by chance, from the seed, each with its 95 % interval; events of one cluster (an uncertain rate, a
stress) are not independent, so the intervals are from the years as blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from workbench.risk.errors import RiskError
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.severity import Floats
from workbench.risk.exposure.simulated import Interval, history, z

YEARS: Final = 1_000_000
YEARS_MAX: Final = 10**7
BLOCKS: Final = 200
DAYS: Final = 365.25


@dataclass(frozen=True, slots=True)
class Waiting:
    """(2) (3) Events a year that cost more, years between them, and how many come upon another."""

    events: int
    a_year: Interval
    years_between: float
    soon_after: Interval


def waiting(
    portfolio: Portfolio,
    loss: float,
    *,
    days: float,
    seed: int,
    years: int = YEARS,
    controlled: bool = True,
) -> Waiting:
    """Return how events that cost more than `loss` come.

    Args:
        portfolio: the scenarios.
        loss: of one event, in USD.
        days: what counts as soon after another.
        seed: of all chance.
        years: of one long history.
        controlled: with controls, or as if there were none.

    """
    if not (BLOCKS <= years <= YEARS_MAX and days > 0):
        raise RiskError(f"{years} years and {days} days: {BLOCKS} to {YEARS_MAX} years")
    moments, losses = history(portfolio, seed=seed, years=years, controlled=controlled)
    at = np.sort(moments[losses > loss])
    soon = np.diff(at, prepend=-np.inf) <= days / DAYS
    count, close = _blocks(at, years), _blocks(at[soon], years)
    return Waiting(
        events=len(at),
        a_year=_ratio(count, np.full(BLOCKS, years / BLOCKS)),
        years_between=years / len(at) if len(at) else np.inf,
        soon_after=_ratio(close, count),
    )


def _blocks(at: Floats, years: int) -> Floats:
    return np.histogram(at, BLOCKS, (0, years))[0].astype(np.float64)


def _ratio(above: Floats, below: Floats) -> Interval:
    """Return the ratio of sums over blocks, with the interval of a ratio estimate."""
    if below.sum() == 0:
        return Interval(0.0, 0.0, 1.0)
    ratio = float(above.sum() / below.sum())
    spread = above - ratio * below
    reach = z() * float(np.sqrt((spread @ spread) / (BLOCKS - 1) * BLOCKS)) / float(below.sum())
    return Interval(ratio, max(ratio - reach, 0.0), ratio + reach)
