"""Calibration: known parameters come back, what cannot be learnt is refused, and years held out lie within.

Losses have tails so heavy that their means are compared nowhere: medians, quantiles and parameters are.
"""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.risk import market
from workbench.risk.exposure.backtest import FIGURES, Held, backtest, coverage
from workbench.risk.exposure.calibrating import (
    Calibration,
    Sample,
    calibrate,
    class_shares,
    fragment,
    losses,
    shares,
)
from workbench.risk.exposure.counting import CalibrationError, fit, foretell
from workbench.risk.exposure.incidents import IncidentClass, read
from workbench.risk.exposure.plain_yaml import ScenarioError
from workbench.risk.exposure.published import Published
from workbench.risk.exposure.rates import Gamma, clean_years, within
from workbench.risk.exposure.rates import market as market_rate
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.tails import Hill, Tail, hill, lognormal, quantiles

SCENARIOS = Path(__file__).parents[2] / "policies" / "scenarios"
TODAY = date(2026, 11, 27)
COUNTS = list(market.COUNTS.values())
CAP = Decimal(50_000_000)


@pytest.fixture(scope="module")
def published() -> Published:
    """The figures that are shipped."""
    return Published.read((SCENARIOS / "incident-figures.yaml").read_bytes())


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """A synthetic market, calibrated."""
    return calibrate(market.sample(market.market(7)))


# How often.


def test_the_published_counts_scatter_too_much_for_chance_alone(published: Published) -> None:
    """Mean 83.6, variance 211, Fano 2.5: negative binomial by both methods, and rarely Poisson."""
    made = fit(published.counts())
    assert list(published.counts()) == COUNTS
    assert (made.mean, made.variance) == (pytest.approx(83.6), pytest.approx(210.8))
    assert made.fano == pytest.approx(2.52, abs=0.005)
    assert made.chance == pytest.approx(0.039, abs=0.0005)
    assert made.moments.size == pytest.approx(54.9, abs=0.1)
    assert made.moments.variance == pytest.approx(made.variance)
    assert made.likelihood.size is not None
    assert made.likelihood.log_likelihood > made.moments.log_likelihood


def test_the_likelihood_is_scipys_and_no_other_size_is_likelier() -> None:
    """The log-likelihood is that of scipy's distribution, at its top."""
    size = fit(COUNTS).likelihood.size
    assert size is not None

    def by_scipy(size: float) -> float:
        return float(stats.nbinom.logpmf(COUNTS, size, size / (size + np.mean(COUNTS))).sum())

    assert fit(COUNTS).likelihood.log_likelihood == pytest.approx(by_scipy(size), abs=1e-9)
    assert by_scipy(size) > max(by_scipy(size * 0.99), by_scipy(size * 1.01))


POISSON: dict[str, tuple[list[int], tuple[bool, bool]]] = {
    "all alike": ([84, 84, 84], (True, True)),
    "less scatter than chance has": ([80, 84, 88, 84], (True, True)),
    "a sample's variance above its mean, the counts' own below": ([0, 0, 1, 1, 1, 3], (False, True)),
    "more than chance has": ([40, 84, 140], (False, False)),
}


@pytest.mark.parametrize("case", POISSON)
def test_without_excess_scatter_it_is_poisson(case: str) -> None:
    """Each method ends in Poisson where its own variance is not above the mean."""
    counts, (moments, likelihood) = POISSON[case]
    made = fit(counts)
    assert (made.moments.size is None, made.likelihood.size is None) == (moments, likelihood)
    for each in (made.moments, made.likelihood):
        if each.size is None:
            assert each.variance == each.mean
            assert each.log_likelihood == pytest.approx(stats.poisson.logpmf(counts, each.mean).sum())


def test_a_known_size_comes_back() -> None:
    """From many years both methods find mean and size within what a bootstrap of those years allows."""
    counts = list(market.counts(3, 400, mean=84, size=20).values())
    random = np.random.default_rng(3)
    resampled = [fit([int(each) for each in random.choice(counts, len(counts))]) for _ in range(200)]
    for method in ("moments", "likelihood"):
        sizes = [getattr(each, method).size for each in resampled]
        low, high = np.quantile(sizes, [0.005, 0.995])
        assert low < 20 < high
        assert low < getattr(fit(counts), method).size < high
        assert high / low < 2


NO_COUNTS: dict[str, Any] = {
    "one year": [71],
    "none": [],
    "nothing ever": [0, 0, 0],
    "less than nothing": [71, -1],
    "a part of one": [71, 2.5],
    "a truth": [71, True],
    "more than there can be": [71, 10**7],
}


@pytest.mark.parametrize("case", NO_COUNTS)
def test_counts_that_say_nothing(case: str) -> None:
    """They are refused, for a fit and for a prediction."""
    with pytest.raises(CalibrationError):
        fit(NO_COUNTS[case])
    with pytest.raises(CalibrationError):
        foretell(NO_COUNTS[case], np.random.default_rng(1), 10)


@pytest.mark.parametrize("size", [10, 55, 1e9], ids=["wild", "as published", "Poisson"])
def test_what_is_foretold_of_a_count_comes(size: float) -> None:
    """In 300 markets the next year lies in the 90 % interval at least as often as that says, less chance."""
    within_it = 0
    for seed in range(300):
        *past, came = market.counts(seed, 5, size=size).values()
        drawn = foretell(past, np.random.default_rng(seed), 2000)
        low, high = np.quantile(drawn, [0.05, 0.95], method="inverted_cdf")
        within_it += bool(low <= came <= high)
    assert within_it >= stats.binom.ppf(0.005, 300, 0.9)


def test_with_many_years_what_is_foretold_is_the_negative_binomial() -> None:
    """What the years leave uncertain vanishes: quantiles are those of the distribution they came from."""
    counts = list(market.counts(5, 2000, mean=84, size=20).values())
    drawn = foretell(counts, np.random.default_rng(5), 50_000)
    for probability in (0.05, 0.5, 0.95):
        expected = stats.nbinom.ppf(probability, 20, 20 / (20 + 84))
        assert np.quantile(drawn, probability) == pytest.approx(expected, abs=3)


def test_the_same_seed_foretells_the_same() -> None:
    """Chance comes from the generator alone."""
    one, again, other = (foretell(COUNTS, np.random.default_rng(seed), 100) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()


# How much.


def drawn(seed: int, count: int, mu: float = market.MU, sigma: float = market.SIGMA) -> np.ndarray[Any, Any]:
    """Return lognormal losses."""
    return np.random.default_rng(seed).lognormal(mu, sigma, count)


def test_a_known_lognormal_comes_back() -> None:
    """µ and σ of 442 losses lie within a bootstrap's bounds, and the intervals are as wide as it says."""
    amounts = drawn(11, 442)
    made = lognormal(amounts)
    assert (made.mu, made.sigma) == (np.log(amounts).mean(), np.log(amounts).std())
    random = np.random.default_rng(11)
    resampled = [lognormal(random.choice(amounts, len(amounts))) for _ in range(300)]
    for name, known in (("mu", market.MU), ("sigma", market.SIGMA)):
        values = [getattr(each, name) for each in resampled]
        low, high = np.quantile(values, [0.005, 0.995])
        assert low < known < high
        told = getattr(made, f"{name}_interval")()
        assert told[1] - told[0] == pytest.approx(np.subtract(*np.quantile(values, [0.95, 0.05])), rel=0.25)


@pytest.mark.parametrize("share", [0.1, 0.5], ids=["a tenth at the cap", "half at the cap"])
def test_the_cap_is_seen_through(share: float) -> None:
    """Losses at the cap count as at least the cap: µ and σ come back, where taking them for sizes fails."""
    cap = float(np.exp(market.MU + market.SIGMA * stats.norm.ppf(1 - share)))
    inside = {"mu": 0, "sigma": 0}
    for seed in range(100):
        made = lognormal(np.minimum(drawn(seed, 442), cap), cap=cap)
        assert made.censored == pytest.approx(share * 442, rel=0.5)
        inside["mu"] += made.mu_interval()[0] < market.MU < made.mu_interval()[1]
        inside["sigma"] += made.sigma_interval()[0] < market.SIGMA < made.sigma_interval()[1]
    for hits in inside.values():
        assert stats.binom.ppf(0.005, 100, 0.9) <= hits <= stats.binom.ppf(0.995, 100, 0.9)
    taken_for_sizes = lognormal(np.minimum(drawn(1, 442), cap))
    assert taken_for_sizes.sigma_interval()[1] < market.SIGMA


def test_the_information_is_the_likelihoods_curvature() -> None:
    """The covariance of a capped fit is that of numerical second derivatives of scipy's likelihood."""
    cap = 2e7
    amounts = np.minimum(drawn(2, 300), cap)
    made = lognormal(amounts, cap=cap)
    below = np.log(amounts[amounts < cap])

    def against(mu: float, sigma: float) -> float:
        known = stats.norm.logpdf(below, mu, sigma).sum()
        return -float(known + made.censored * stats.norm.logsf(np.log(cap), mu, sigma))

    h, m, s = 1e-3, made.mu, made.sigma
    middle = against(m, s)
    mm = (against(m + h, s) - 2 * middle + against(m - h, s)) / h**2
    ss = (against(m, s + h) - 2 * middle + against(m, s - h)) / h**2
    corners = against(m + h, s + h) + against(m - h, s - h) - against(m + h, s - h) - against(m - h, s + h)
    ms = corners / (4 * h**2)
    inverse = np.linalg.inv([[mm, ms], [ms, ss]])
    assert made.covariance == pytest.approx((inverse[0, 0], inverse[0, 1], inverse[1, 1]), rel=1e-3)


def test_a_cap_above_everything_changes_nothing() -> None:
    """What censors nothing gives the plain fit."""
    assert lognormal(drawn(1, 50), cap=1e30) == lognormal(drawn(1, 50))


NO_LOSSES: dict[str, tuple[Any, float | None]] = {
    "too few": ([1.0, 2.0], None),
    "nothing": ([0.0, *range(1, 20)], None),
    "less than nothing": ([-1.0, *range(1, 20)], None),
    "not a number": ([float("nan"), *range(1, 20)], None),
    "without end": ([float("inf"), *range(1, 20)], None),
    "all alike": ([5.0] * 20, None),
    "nearly all at the cap": (range(1, 30), 9.0),
    "a cap of nothing": (range(1, 30), 0.0),
}


@pytest.mark.parametrize("case", NO_LOSSES)
def test_losses_that_say_nothing(case: str) -> None:
    """They are refused."""
    amounts, cap = NO_LOSSES[case]
    with pytest.raises(CalibrationError):
        lognormal(amounts, cap=cap)


@pytest.mark.parametrize("alpha", [0.8, 1.15, 2.5])
def test_a_paretos_index_comes_back(alpha: float) -> None:
    """Hill's interval covers a Pareto's index nine times in ten, for each k."""
    hits = {20: 0, 45: 0, 90: 0}
    for seed in range(200):
        amounts = 1e6 * (1 + np.random.default_rng(seed).pareto(alpha, 442))
        for each in hill(amounts, list(hits)):
            hits[each.k] += each.low < alpha < each.high
    for count in hits.values():
        assert stats.binom.ppf(0.005, 200, 0.9) <= count <= stats.binom.ppf(0.995, 200, 0.9)


def test_hills_index_by_hand() -> None:
    """Of 8, 4, 2, 1 the two largest are log 4 and log 2 above the third."""
    (made,) = hill([1, 8, 2, 4], [2])
    assert made.alpha == pytest.approx(2 / np.log(8))


def test_the_published_tail_has_hardly_a_mean(published: Published) -> None:
    """A market with the published lognormal gives the published indices, within their intervals."""
    told = {each.k: float(each.alpha) for each in published.losses.hill}
    assert told == {20: 1.15, 45: 0.95, 90: 0.81}
    made = hill(losses(market.market(7)), list(told))
    for each in made:
        assert each.low < told[each.k] < each.high
        assert not each.has_mean
    assert Hill(k=9, alpha=2, low=1.1, high=3).has_mean


@pytest.mark.parametrize(("amounts", "k"), [([1, 2, 3], 3), ([1, 2, 3], 0), ([5, 5, 5, 1], 2)])
def test_no_index_without_a_tail(amounts: list[float], k: int) -> None:
    """All of the losses, none of them, or equal ones have no index."""
    with pytest.raises(CalibrationError):
        hill(amounts, [k])


def test_the_published_lognormal_has_the_published_quantiles(published: Published) -> None:
    """Median, p90 and p95 are the fit's within a fifth."""
    tail = published.losses.tail()
    for each in published.losses.quantiles[:3]:
        assert tail.quantile(float(each.probability)) == pytest.approx(float(each.loss_usd), rel=0.2)
    assert tail.mu_interval() == (pytest.approx(15.0, abs=0.01), pytest.approx(15.32, abs=0.01))
    assert tail.sigma_interval() == (pytest.approx(1.946, abs=0.001), pytest.approx(2.174, abs=0.001))


def test_quantiles_stand_side_by_side() -> None:
    """Rows for a chart: as seen and as fitted, near each other where the fit is true."""
    amounts = drawn(4, 5000)
    for row in quantiles(amounts, lognormal(amounts), (0.1, 0.5, 0.9)):
        assert row.fitted == pytest.approx(row.seen, rel=0.15)
        assert row.seen == np.quantile(amounts, row.probability)


# By which door, and at what rate.


def test_class_shares(published: Published) -> None:
    """Jeffreys' intervals: a class that never came may come, and shares are the published ones."""
    made = shares(published.doors())
    assert sum(published.doors().values()) == published.losses.number == 442
    assert made[IncidentClass.KEYS][0] == pytest.approx(0.251, abs=0.0005)
    assert made[IncidentClass.CONTRACT][0] == pytest.approx(0.398, abs=0.0005)
    none, low, high = made[IncidentClass.OTHER]
    assert none == 0 < low < high < 0.01
    alpha = 111 + 0.5
    expected = stats.beta.ppf([0.05, 0.95], alpha, 442 + 4.5 - alpha)
    assert made[IncidentClass.KEYS][1:] == pytest.approx(tuple(expected))


def test_class_rows(calibration: Calibration) -> None:
    """A row for each class; incidents, losses and shares add up, and a class without any has no median."""
    rows = calibration.classes
    assert [each.door for each in rows] == list(IncidentClass)
    assert sum(each.incidents for each in rows) == sum(COUNTS)
    assert sum(each.loss_share for each in rows) == pytest.approx(1)
    other = next(each for each in rows if each.door is IncidentClass.OTHER)
    assert (other.incidents, other.loss_usd, other.loss_share, other.median_usd) == (0, 0, 0, None)
    keys = [each for each in calibration.sample.incidents if each.door is IncidentClass.KEYS]
    assert rows[0].median_usd == pytest.approx(
        Decimal(np.median([float(each.loss_usd or 0) for each in keys]))
    )


@pytest.mark.parametrize(
    "numbers", [{}, {IncidentClass.KEYS: 0}, {IncidentClass.KEYS: -1, IncidentClass.OTHER: 2}]
)
def test_no_shares_of_nothing(numbers: dict[IncidentClass, int]) -> None:
    """Without incidents there are no shares."""
    with pytest.raises(CalibrationError):
        shares(numbers)
    with pytest.raises(CalibrationError):
        class_shares([])


def test_a_clean_year_is_worth_nothing() -> None:
    """0.2 % to 2 % a year is Gamma(2.44, 272): three clean years .90 to .89 %, one incident 1.25 %."""
    prior = within(0.002, 0.02)
    assert (round(prior.shape, 2), round(prior.years)) == (2.44, 272)
    assert prior.interval() == (pytest.approx(0.002), pytest.approx(0.02))
    (after,) = clean_years(prior, (3.0,))
    assert f"{prior.mean:.2%}" == "0.90%"
    assert (f"{after.none:.2%}", f"{after.one:.2%}") == ("0.89%", "1.25%")
    assert prior.observed(incidents=1, years=3) == Gamma(prior.shape + 1, prior.years + 3)


def test_the_number_of_units_is_the_rates_uncertainty() -> None:
    """The same 292 incidents are 6.1 % a year among 500 and 0.9 % among 3,469: the interval says so."""
    made = market_rate(292, years=9.56, units=(500, 3469))
    assert made.interval == (pytest.approx(0.0088, abs=0.0001), pytest.approx(0.0608, abs=0.0005))
    assert made.prior.interval() == pytest.approx(made.interval)
    assert "500 to 3,469 units, which nobody counted" in made.says()


def test_a_rate_is_the_quotient_of_its_parts() -> None:
    """The exact interval is that of simulated quotients, few incidents and clusters included."""
    random = np.random.default_rng(1)
    for incidents, fano in ((0, 1.0), (4, 1.0), (40, 2.5)):
        made = market_rate(incidents, years=5, units=(100, 400), fano=fano)
        number = np.exp(random.normal(np.log(200), np.log(4) / (2 * stats.norm.ppf(0.95)), 400_000))
        rates = random.gamma((incidents + 0.5) / fano, fano / 5, 400_000) / number
        assert made.interval == pytest.approx(tuple(np.quantile(rates, [0.05, 0.95])), rel=0.03)


def test_clusters_are_worth_fewer_incidents() -> None:
    """A Fano factor above 1 widens the interval; one below 1 earns nothing."""
    plain, clustered, even = (market_rate(20, years=5, units=(100, 110), fano=fano) for fano in (1, 2.5, 0.2))
    assert clustered.interval[0] < plain.interval[0] < plain.interval[1] < clustered.interval[1]
    assert even == plain


NO_RATE: dict[str, dict[str, Any]] = {
    "one number of units": {"units": (500, 500)},
    "units that descend": {"units": (500, 100)},
    "no units": {"units": (0, 100)},
    "no years": {"years": 0},
    "years without end": {"years": float("inf")},
    "fewer incidents than none": {"incidents": -1},
}


@pytest.mark.parametrize("case", NO_RATE)
def test_no_rate_without_an_interval(case: str) -> None:
    """The number of units is an interval or there is no rate."""
    given: dict[str, Any] = {"incidents": 5, "years": 5, "units": (100, 200)} | NO_RATE[case]
    with pytest.raises(CalibrationError):
        market_rate(given.pop("incidents"), **given)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 1), (2, 1), (1, float("inf")), (1, 1 + 1e-9)])
def test_no_gamma_without_an_interval(low: float, high: float) -> None:
    """A rate lies between two that are told."""
    with pytest.raises(CalibrationError):
        within(low, high)


@pytest.mark.parametrize(("incidents", "years"), [(-1, 1), (0, -1), (1, 0), (0, float("inf"))])
def test_no_years_of_our_own_that_cannot_be(incidents: int, years: float) -> None:
    """Incidents need years in which they happened."""
    with pytest.raises(CalibrationError):
        Gamma(2, 100).observed(incidents=incidents, years=years)


# The sample, and what a scenario takes over.


def test_the_shipped_list_is_no_sample(published: Published) -> None:
    """Nothing can be fitted from a list of the largest: it has one of the 71 incidents of its first year."""
    incidents = read((SCENARIOS / "incidents.csv").read_bytes(), today=TODAY)
    with pytest.raises(
        CalibrationError, match=r"1 of 71 incidents in 2021: a list of chosen ones is no sample"
    ):
        Sample(incidents=incidents, counted=published.counted(), counted_by="the published counts")


def test_why_a_list_of_the_largest_is_refused() -> None:
    """Its median would be ten times too large: what is refused would have been wrong."""
    everything = losses(market.market(7))
    largest = sorted(everything)[-42:]
    assert np.median(largest) > 10 * np.median(everything)
    assert lognormal(largest).mu_interval()[0] > market.MU + 2


NO_SAMPLE: dict[str, dict[str, Any]] = {
    "no years": {"counted": {}},
    "a year between is missing": {"counted": {2021: 71, 2023: 96}},
    "nobody counted": {"counted_by": " "},
    "more listed than there were": {"counted": market.COUNTS | {2024: 90}},
    "fewer than nine of ten": {"counted": market.COUNTS | {2024: 102}},
}


@pytest.mark.parametrize("case", NO_SAMPLE)
def test_what_is_no_sample(case: str) -> None:
    """Years follow each other, somebody counted, and the list has what was counted."""
    given = {"incidents": market.market(7), "counted": market.COUNTS, "counted_by": "a test"}
    with pytest.raises(CalibrationError):
        Sample(**(given | NO_SAMPLE[case]))


def test_a_sample_leaves_other_years_out() -> None:
    """Nine of ten are enough, counts are the counted ones, and a year that was not counted is left out."""
    counted = {2023: 96, 2024: 101}
    made = Sample(incidents=market.market(7), counted=counted, counted_by="a test")
    assert (made.years, made.counts(), len(made.incidents)) == ((2023, 2024), (96, 101), 96 + 91)


def test_unknown_losses_are_counted_and_not_guessed() -> None:
    """What nobody knows, or cost nothing, is told, and in no fit of sizes."""
    incidents = list(market.market(7))
    incidents[:3] = [replace(each, loss_usd=None) for each in incidents[:3]]
    incidents[3] = replace(incidents[3], loss_usd=Decimal(0))
    made = calibrate(market.sample(tuple(incidents)))
    assert (made.unknown, made.nothing, made.tail.losses) == (3, 1, sum(COUNTS) - 4)
    assert made.counted.counts == tuple(COUNTS)


def test_the_synthetic_market_gives_the_published_figures_back(calibration: Calibration) -> None:
    """Counts, lognormal and shares of what was made up come back."""
    assert calibration.counted.fano == pytest.approx(2.52, abs=0.005)
    low, high = calibration.tail.mu_interval()
    assert low < market.MU < high
    low, high = calibration.tail.sigma_interval()
    assert low < market.SIGMA < high
    assert [each.k for each in calibration.hill] == [20, 45, 90]
    hits = [each.low < market.DOORS.get(each.door, 0) < each.high for each in calibration.classes]
    assert sum(hits) >= 6


GIVEN: dict[str, Any] = {
    "cap": CAP,
    "author": "risk officer",
    "day": TODAY,
    "expiry": date(2027, 11, 27),
    "source": "a test",
}


def test_a_fragment_is_what_a_scenario_holds(calibration: Calibration) -> None:
    """It is taken over as it stands: a portfolio with it is read, and its assumption is among the others."""
    rate = market_rate(292, years=9.56, units=(500, 3469), fano=calibration.counted.fano)
    source = f"{rate.says()}; {calibration.says()}"
    made = fragment(rate.prior, calibration.tail, **(GIVEN | {"source": source}))
    row = made.document() | {"id": "keys", "exposure": 1, "controls": [], "residual_severity": 0}
    portfolio = Portfolio.load([row])
    (scenario,) = portfolio.scenarios
    assert (scenario.likelihood, scenario.severity) == (made.likelihood, made.severity)
    assert [each.source for _, each in portfolio.assumptions()] == [source]
    assert float(made.likelihood.shape / made.likelihood.years) == pytest.approx(rate.prior.mean, rel=1e-3)
    low, high = (float(each) for each in made.severity.interval)
    assert (low, high) == pytest.approx(calibration.tail.interval(), rel=1e-3)
    assert made.severity.cap == CAP


NO_FRAGMENT: dict[str, tuple[dict[str, Any], Tail]] = {
    "no cap": ({"cap": Decimal(0)}, Tail(9, 0, 15, 2, (1, 0, 1))),
    "no author": ({"author": ""}, Tail(9, 0, 15, 2, (1, 0, 1))),
    "no source": ({"source": " "}, Tail(9, 0, 15, 2, (1, 0, 1))),
    "expired on its day": ({"expiry": TODAY}, Tail(9, 0, 15, 2, (1, 0, 1))),
    "losses beyond all there is": ({}, Tail(9, 0, 40, 2, (1, 0, 1))),
}


@pytest.mark.parametrize("case", NO_FRAGMENT)
def test_a_fragment_that_no_scenario_would_take(case: str) -> None:
    """It is refused when it is made."""
    change, tail = NO_FRAGMENT[case]
    with pytest.raises(CalibrationError):
        fragment(Gamma(2.44, 272), tail, **(GIVEN | change))


# What would have been foretold.


@pytest.fixture(scope="module")
def tested() -> tuple[Held, ...]:
    """Two held-out years of each of 60 synthetic markets."""
    rows: list[Held] = []
    for seed in range(60):
        counts = market.counts(seed, 5)
        made = market.sample(market.market(seed, counts))
        rows += backtest(made, cap=CAP, seed=seed, draws=1000)
    return tuple(rows)


@pytest.mark.parametrize("figure", FIGURES)
def test_years_held_out_lie_within(tested: tuple[Held, ...], figure: str) -> None:
    """In 120 held-out years each figure lies within its 90 % interval as often as that says, or more."""
    (row,) = [each for each in coverage(tested) if each.figure == figure]
    assert row.of == 120
    assert row.within >= stats.binom.ppf(0.005, 120, 0.9)
    assert row.low < row.within / row.of < row.high


def test_intervals_are_not_for_ever_wide(tested: tuple[Held, ...]) -> None:
    """They say something: a year's median is foretold within a factor of four, its number within five."""
    for figure, factor in (("median", 4), ("incidents", 5)):
        ratios = [float(each.high / each.low) for each in tested if each.figure == figure]
        assert np.median(ratios) < factor


def test_a_year_that_is_another_world_lies_outside() -> None:
    """Ten times the losses, or five times the incidents, are told for what they are."""
    past = market.market(1, {2021: 71, 2022: 65, 2023: 96, 2024: 91})
    worse = market.market(2, {2025: 95}, mu=market.MU + np.log(10))
    more = market.market(2, {2025: 475})
    within_it = {
        name: {
            row.figure: row.within
            for row in backtest(market.sample((*past, *last)), cap=Decimal(10**9), seed=1)[4:]
        }
        for name, last in {"worse": worse, "more": more}.items()
    }
    assert within_it["worse"] == {"incidents": True, "total": False, "median": False, "ninth decile": False}
    assert not within_it["more"]["incidents"]
    assert not within_it["more"]["total"]


M = 10**6
BY_HAND: dict[str, tuple[list[int | None], list[int]]] = {
    "five known, one above the cap, one unknown": (
        [10 * M, 20 * M, 30 * M, 40 * M, 1000 * M, None],
        [6, 150 * M, 30 * M, 50 * M],
    ),
    "six known: the lower of both in the middle": (
        [6 * M, 5 * M, 4 * M, 3 * M, 2 * M, 1 * M],
        [6, 21 * M, 3 * M, 6 * M],
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_figures_by_hand(case: str) -> None:
    """Number, total, median and ninth decile of a held-out year."""
    amounts, expected = BY_HAND[case]
    past = market.market(1, {2021: 71, 2022: 65, 2023: 96})
    last = market.market(2, {2024: 6})
    changed = tuple(
        replace(each, loss_usd=None if amount is None else Decimal(amount))
        for each, amount in zip(last, amounts, strict=True)
    )
    rows = backtest(market.sample((*past, *changed)), cap=CAP, seed=1)
    assert [int(row.seen) for row in rows] == expected
    assert [row.figure for row in rows] == list(FIGURES)


def test_losses_that_nobody_learns_are_in_no_total() -> None:
    """Where half of the losses stay unknown, half as much of known losses is foretold."""
    whole = market.market(1, {2021: 200, 2022: 200, 2023: 200, 2024: 200})
    half = tuple(replace(each, loss_usd=None) if place % 2 else each for place, each in enumerate(whole))
    totals = [backtest(market.sample(each), cap=CAP, seed=1)[1] for each in (whole, half)]
    middles = [(row.low + row.high) / 2 for row in totals]
    assert float(middles[1] / middles[0]) == pytest.approx(0.5, abs=0.1)


def test_what_the_years_leave_uncertain_widens_what_is_foretold() -> None:
    """From thirty losses µ and σ are not known: the median's interval is wider than with both fixed."""
    made = market.market(1, dict.fromkeys((2021, 2022, 2023, 2024), 10))
    row = backtest(market.sample(made), cap=Decimal(10**12), seed=1, draws=20_000)[2]
    tail = lognormal(losses(made[:30]))
    random = np.random.default_rng(2)
    fixed = [
        np.sort(random.lognormal(tail.mu, tail.sigma, max(number, 1)))[(max(number, 1) + 1) // 2 - 1]
        for number in foretell([10, 10, 10], random, 20_000)
    ]
    width = np.subtract(*np.log(np.quantile(fixed, [0.95, 0.05])))
    assert np.log(float(row.high / row.low)) > 1.04 * width


def test_a_seed_is_a_backtest() -> None:
    """The same seed gives the same rows; a year's rows do not depend on the years after it."""
    incidents = market.market(1)
    made = backtest(market.sample(incidents), cap=CAP, seed=1)
    assert backtest(market.sample(incidents), cap=CAP, seed=1) == made
    assert backtest(market.sample(incidents), cap=CAP, seed=2) != made
    shorter = market.sample(tuple(each for each in incidents if each.date.year < 2025))
    assert backtest(shorter, cap=CAP, seed=1) == made[:4]


NO_TEST: dict[str, dict[str, Any]] = {
    "no year to hold out": {"years_min": 5},
    "one year before it": {"years_min": 1},
    "no cap": {"cap": Decimal(0)},
    "no draws": {"draws": 0},
    "more draws than there is patience": {"draws": 10**6},
}


@pytest.mark.parametrize("case", NO_TEST)
def test_what_cannot_be_held_out(case: str) -> None:
    """Too few years, no cap, no draws: refused."""
    given: dict[str, Any] = {"cap": CAP, "seed": 1} | NO_TEST[case]
    with pytest.raises(CalibrationError):
        backtest(market.sample(market.market(1)), **given)


@pytest.mark.parametrize("hits", range(6))
def test_coverage_has_its_own_interval(hits: int) -> None:
    """Five years are few, and the interval is scipy's exact one."""
    exact = stats.binomtest(hits, 5).proportion_ci(0.9, "exact")
    rows = [
        Held(2021 + year, figure, Decimal(0), Decimal(1), Decimal(0 if year < hits else 2))
        for year in range(5)
        for figure in FIGURES
    ]
    for each in coverage(rows):
        assert (each.within, each.of) == (hits, 5)
        assert (each.low, each.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    with pytest.raises(CalibrationError):
        coverage([])


# The published figures.

FIGURES_FILE = (SCENARIOS / "incident-figures.yaml").read_bytes()
NO_FIGURES: dict[str, tuple[bytes, bytes, str]] = {
    "a year twice": (b"year: 2022", b"year: 2021", ""),
    "more with a loss than there were": (b"with_loss: 65", b"with_loss: 67", ""),
    "a class twice": (b"class: oracle", b"class: keys", ""),
    "a class that is not known": (b"class: oracle", b"class: magic", "/classes/4/class"),
    "a share above one": (b"loss_share: 0.543", b"loss_share: 1.543", "/classes/0/loss_share"),
    "a field that is not known": (b"number: 442", b"number: 442\n  mean: 35", "/losses/mean"),
    "no source": (b"says: counts", b"said: counts", "/says"),
    "no incidents": (b"incidents: 71", b"incidents: 0", "/years/0/incidents"),
}


@pytest.mark.parametrize("case", NO_FIGURES)
def test_published_figures_that_are_refused(case: str) -> None:
    """With the path, as scenarios are."""
    before, after, path = NO_FIGURES[case]
    assert FIGURES_FILE.count(before) == 1
    with pytest.raises(ScenarioError) as refused:
        Published.read(FIGURES_FILE.replace(before, after))
    assert refused.value.path == path


def test_a_published_index_has_the_interval_of_one_that_is_computed(published: Published) -> None:
    """From k and the index alone: the sum of k exponential excesses is Gamma distributed."""
    found = published.losses.indices()
    assert [(each.k, each.alpha) for each in found] == [(20, 1.15), (45, 0.95), (90, 0.81)]
    for each in found:
        low, high = stats.gamma(each.k, scale=each.alpha / each.k).ppf([0.05, 0.95])
        assert (each.low, each.high) == (pytest.approx(low), pytest.approx(high))
        assert not each.has_mean
