"""From the market's incidents to a rate of ours: what is counted, what is assumed, what our own years add.

The market's rate for one desk or protocol is n / (N·T): n incidents in T years among N that were exposed. N
is nowhere counted. Published rates of 6 % and of 0.9 % a year differ by it alone (500 or 3,469 protocols),
so N is an interval, lognormal with 90 %, and the rate inherits it. Incidents come in clusters: with a Fano
factor above 1 they count for fewer. A Gamma distribution with the same 90 % interval is the prior, and our
own years make a posterior of it: shape + our incidents, years + our unit-years.

A clean year is worth as much as one year beside the prior's: with 272 of them, nothing. `clean_years` shows
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize, special

from workbench.risk.exposure.counting import CalibrationError
from workbench.risk.exposure.tails import Z90

_SHAPES: Final = (-4.0, 18.0)  # logarithms: a rate known within 10^30, and one known within 0.05 %
_NODES: Final = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True, slots=True)
class Gamma:
    """A rate per unit and year: as if `shape` incidents had been seen in `years` unit-years."""

    shape: float
    years: float

    @property
    def mean(self) -> float:
        """Return the expected rate."""
        return self.shape / self.years

    def quantile(self, probability: float) -> float:
        """Return the rate that is not exceeded with this probability."""
        return float(special.gammaincinv(self.shape, probability)) / self.years

    def interval(self) -> tuple[float, float]:
        """Return the 90 % interval."""
        return self.quantile(0.05), self.quantile(0.95)

    def observed(self, *, incidents: int, years: float) -> Gamma:
        """Return what it becomes with incidents of our own in so many unit-years of our own."""
        if incidents < 0 or not 0 <= years < np.inf or (incidents and not years):
            raise CalibrationError(f"{incidents} incidents in {years} years")
        return Gamma(self.shape + incidents, self.years + years)


def within(low: float, high: float) -> Gamma:
    """Return the Gamma distribution whose 90 % interval this is."""
    if not 0 < low < high < np.inf:
        raise CalibrationError(f"a rate between {low} and {high}")
    wanted = np.log(high / low)

    def wider(logarithm: float) -> float:
        ends = special.gammaincinv(np.exp(logarithm), np.array([0.05, 0.95]))
        return float(np.log(ends[1]) - np.log(ends[0]) - wanted)

    if not wider(_SHAPES[1]) < 0 < wider(_SHAPES[0]):
        raise CalibrationError(f"no Gamma distribution between {low} and {high}")
    shape = float(np.exp(optimize.brentq(wider, *_SHAPES, xtol=1e-12)))
    return Gamma(shape, float(special.gammaincinv(shape, 0.95)) / high)


@dataclass(frozen=True, slots=True)
class MarketRate:
    """The market's rate for one of its units, and all that was put into it."""

    incidents: int
    years: float
    units: tuple[float, float]  # assumed: how many were exposed, with 90 %
    fano: float
    interval: tuple[float, float]
    prior: Gamma

    def says(self) -> str:
        """Return how it came about, for an assumption."""
        low, high = self.units
        return (
            f"{self.incidents} incidents in {self.years:g} years among {low:,.0f} to {high:,.0f} units, "
            f"which nobody counted: the 90 % interval of this number is assumed; Fano factor {self.fano:.2f}"
        )


def market(incidents: int, *, years: float, units: tuple[float, float], fano: float = 1.0) -> MarketRate:
    """Return the market's rate for one unit, as uncertain as the number of units makes it."""
    if incidents < 0 or not 0 < years < np.inf or not 0 < units[0] < units[1] < np.inf:
        raise CalibrationError(f"{incidents} incidents in {years} years among {units}: an interval is needed")
    # Clustered incidents are worth fewer independent ones; less scatter than chance has earns nothing.
    clustered = max(fano, 1.0)
    shape, exposed = (incidents + 0.5) / clustered, years / clustered
    logarithms = np.log(units)
    number = np.exp(logarithms.mean() + np.ptp(logarithms) / (2 * Z90) * _NODES[0])
    weights = _NODES[1] / _NODES[1].sum()

    def below(logarithm: float, probability: float) -> float:
        rates = np.exp(logarithm) * number * exposed
        return float(weights @ special.gammainc(shape, rates)) - probability

    around = float(np.log(shape / exposed) - logarithms.mean())
    low, high = (
        float(np.exp(optimize.brentq(below, around - 60, around + 60, args=(each,), xtol=1e-12)))
        for each in (0.05, 0.95)
    )
    return MarketRate(incidents, years, units, clustered, (low, high), within(low, high))


@dataclass(frozen=True, slots=True)
class CleanYears:
    """The expected rate after so many unit-years of our own, with no incident and with one."""

    years: float
    none: float
    one: float


def clean_years(prior: Gamma, years: tuple[float, ...]) -> tuple[CleanYears, ...]:
    """Return what years without an incident are worth, beside what one incident is."""
    return tuple(
        CleanYears(
            each,
            prior.observed(incidents=0, years=each).mean,
            prior.observed(incidents=1, years=each).mean,
        )
        for each in years
    )
