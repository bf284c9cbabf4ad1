"""The exact distribution of a year's losses against five other ways to have it, and what must always hold."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.risk.portfolios import SOURCE, gate, portfolio, scenario, seed
from workbench.risk.exposure import severity
from workbench.risk.exposure.annual import Annual, Prepared, annual, inherent, residual
from workbench.risk.exposure.events import NegativeBinomial, posterior
from workbench.risk.exposure.scenarios import Lognormal, Pert, RateInterval, RatePosterior

LEVELS = (0.95, 0.99, 0.995, 0.999)
HEAVY = {"interval": [100_000, 10_000_000], "cap": 50_000_000}
FIVE = [
    scenario("key", likelihood={"rate": 0.005}, severity=10_000_000),
    scenario(
        "phishing", likelihood={"rate": 0.05}, severity={"interval": [50_000, 2_000_000], "cap": 5_000_000}
    ),
    scenario("contract", likelihood={"rate": 0.1}, severity=HEAVY),
    scenario("oracle", likelihood={"rate": 0.03}, severity={"pert": [100_000, 1_000_000, 5_000_000]}),
    scenario("insiders", likelihood={"rate": 0.001}, severity=10_000_000),
]


def test_the_five_rows() -> None:
    """$330,000 and $3,500 a year; VaR and TVaR of the years without any control."""
    before, after = annual(inherent(seed())), annual(residual(seed()))
    assert (before.mean, after.mean) == (330_000, 3_500)
    assert [before.var(level) for level in LEVELS] == [2_000_000, 2_500_000, 10_000_000, 10_500_000]
    assert before.tvar(0.99) == pytest.approx(7_468_771.54, abs=0.01)
    assert before.tvar(0.999) == pytest.approx(11_655_053.25, abs=0.01)
    assert [after.var(level) for level in LEVELS] == [20_000, 50_000, 50_000, 70_000]


def test_every_row_by_itself() -> None:
    """What a year costs without and with the control, row by row; the last column is per event."""
    rows = zip(inherent(seed()), residual(seed()), seed().scenarios, strict=True)
    table = [
        (round(one.mean, 6), round(two.mean, 6), severity.mean(each.residual_severity))
        for one, two, each in rows
    ]
    assert table == [
        (50_000, 0, 0),
        (25_000, 0, 0),
        (200_000, 2_000, 20_000),
        (45_000, 1_500, 50_000),
        (10_000, 0, 0),
    ]


def enumerated() -> dict[float, float]:
    """Return the five rows' losses by all 2⁵ years there can be."""
    found: dict[float, float] = defaultdict(float)
    rows = [(float(each.likelihood), float(each.severity)) for each in seed().scenarios]  # type: ignore[arg-type]
    for happens in itertools.product((False, True), repeat=len(rows)):
        chance = prod(one if yes else 1 - one for yes, (one, _) in zip(happens, rows, strict=True))
        found[sum(loss for yes, (_, loss) in zip(happens, rows, strict=True) if yes)] += chance
    return found


def test_against_enumeration() -> None:
    """Each of the sums has the probability that counting gives, and nothing else has any."""
    found, made = enumerated(), annual(inherent(seed()))
    for loss, chance in found.items():
        assert made.mass[round(loss / made.step)] == pytest.approx(chance, rel=1e-6, abs=1e-15)
    assert made.mass.sum() == pytest.approx(1, abs=1e-11)
    losses = np.array(sorted(found))
    chances = np.array([found[loss] for loss in losses])
    for level in LEVELS:
        assert made.var(level) == losses[np.searchsorted(np.cumsum(chances), level)]
        assert made.above(made.var(level)) == pytest.approx(chances[losses > made.var(level)].sum(), rel=1e-9)


def panjer(rate: float, mass: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Return the compound Poisson distribution by Panjer's recursion."""
    made = np.zeros(count)
    made[0] = np.exp(rate * (mass[0] - 1))
    for place in range(1, count):
        upper = min(place, len(mass) - 1)
        j = np.arange(1, upper + 1)
        made[place] = rate / place * np.sum(j * mass[1 : upper + 1] * made[place - j])
    return made


def test_against_panjer() -> None:
    """The recursion, which shares nothing with a Fourier transform, gives the same probabilities."""
    (risk,) = inherent(portfolio(FIVE[2] | {"likelihood": {"rate": 3}}))
    made = annual([risk], size=2**12)
    mass = severity.masses(risk.losses[0][1], step=made.step, size=len(made.mass))
    half = len(made.mass) // 2
    np.testing.assert_allclose(made.mass[:half], panjer(3, mass, half), rtol=1e-6, atol=1e-13)


def aggregated(made: Annual, risk: Any, mixing: str) -> Any:
    """Return what the package `aggregate` makes of the same losses on the same lattice."""
    mass = severity.masses(risk.losses[0][1], step=made.step, size=len(made.mass))
    places = np.flatnonzero(mass)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from aggregate import Aggregate  # noqa: PLC0415 - it takes a second, and warns

        return Aggregate(
            "it",
            exp_en=risk.number.mean,
            sev_name="dhistogram",
            sev_xs=places * made.step,
            sev_ps=mass[places] / mass[places].sum(),
            freq_name=mixing,
            freq_a=risk.number.shape**-0.5 if isinstance(risk.number, NegativeBinomial) else 0,
        )


@pytest.mark.parametrize(
    ("likelihood", "mixing"),
    [
        pytest.param({"rate": 0.8}, "poisson", id="Poisson"),
        pytest.param({"shape": 4, "years": 5}, "gamma", id="negative binomial"),
    ],
)
@pytest.mark.parametrize(
    "loss", [HEAVY, {"pert": [100_000, 1_000_000, 5_000_000]}, 700_000], ids=["lognormal", "PERT", "point"]
)
def test_against_aggregate(likelihood: Any, mixing: str, loss: Any) -> None:
    """An independent engine gives the same mean, VaR and TVaR to 10⁻⁶."""
    (risk,) = inherent(portfolio(scenario(likelihood=likelihood, severity=loss)))
    made = annual([risk], size=2**13)
    other = aggregated(made, risk, mixing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.update(log2=14, bs=made.step, padding=1)
        assert made.mean == pytest.approx(other.est_m, rel=1e-6)
        for level in LEVELS:
            assert made.var(level) == pytest.approx(other.q(level), rel=1e-6)
        worst = {level: other.tvar(level) for level in LEVELS}
    for level in LEVELS:
        assert made.tvar(level) == pytest.approx(tail(other, level), rel=1e-6), worst


def tail(other: Any, level: float) -> float:
    """Return the mean of the worst years from the other engine's own probabilities."""
    losses, chances = np.asarray(other.xs), np.asarray(other.agg_density)
    at = float(other.q(level))
    above = losses > at
    return float((losses[above] @ chances[above] + at * (1 - level - chances[above].sum())) / (1 - level))


def test_of_each_other_lattice() -> None:
    """A lattice sixteen times as fine moves VaR by less than two coarse steps, and the mean not at all."""
    risks = inherent(portfolio(*FIVE))
    coarse, fine = annual(risks, size=2**13), annual(risks, size=2**17)
    assert coarse.mean == fine.mean
    for level in LEVELS:
        assert coarse.var(level) == pytest.approx(fine.var(level), abs=2 * coarse.step)
        assert coarse.tvar(level) == pytest.approx(fine.tvar(level), rel=1e-3)


def test_a_rate_that_is_uncertain() -> None:
    """Its 90 % interval is the interval; what it predicts is the negative binomial of scipy."""
    shape, years = posterior(RateInterval.model_validate({"interval": [2, 20]}))
    rates = stats.gamma(shape, scale=1 / years)
    assert rates.ppf([0.05, 0.95]) == pytest.approx([2, 20], rel=1e-9)
    made = annual(inherent(portfolio(scenario(likelihood={"interval": [2, 20]}, severity=1))))
    events = stats.nbinom(shape, years / (1 + years))
    np.testing.assert_allclose(made.mass[:60], events.pmf(np.arange(60)), rtol=1e-8)


def test_one_factor_for_several_rates() -> None:
    """Two rates that are raised together are one negative binomial: of uncertain ones, by quadrature."""
    pair = [
        scenario("a", likelihood={"rate": 2}, severity=1),
        scenario("b", likelihood={"rate": 3}, severity=1),
    ]
    stress = {"shape": 4, "scenarios": ["a", "b"], "assumption": SOURCE}
    made = annual(inherent(portfolio(*pair, stress=stress)), stress=4)
    np.testing.assert_allclose(
        made.mass[:60], stats.nbinom(4, 4 / 9).pmf(np.arange(60)), rtol=1e-8, atol=1e-15
    )
    # a rate that is as good as certain gives the same by the other way
    sure = [
        each | {"likelihood": {"shape": rate * 10**8, "years": 10**8}}
        for each, rate in zip(pair, (2, 3), strict=True)
    ]
    other = annual(inherent(portfolio(*sure, stress=stress)), stress=4)
    np.testing.assert_allclose(other.mass[:40], made.mass[:40], rtol=1e-5, atol=1e-9)
    apart = annual(inherent(portfolio(*pair)))
    assert made.mean == apart.mean
    assert made.tvar(0.999) > apart.tvar(0.999)


def test_a_posterior_is_taken_as_it_is() -> None:
    """So many events in so many years."""
    assert posterior(RatePosterior.model_validate({"shape": 3, "years": 7})) == (3, 7)


@pytest.mark.parametrize(
    ("loss", "like"),
    [
        pytest.param(
            Lognormal.model_validate({"interval": [100_000, 10_000_000], "cap": 10**15}),
            stats.lognorm(np.log(100) / (2 * severity.Z90), scale=10**6),
            id="lognormal",
        ),
        pytest.param(Pert.model_validate({"pert": [0, 2, 10]}), stats.beta(1.8, 4.2, scale=10), id="PERT"),
    ],
)
def test_severities(loss: Any, like: Any) -> None:
    """Limited expected values are the integrals of scipy's survival functions."""
    for place in (0.3, 0.7, 0.95):
        at = float(like.ppf(place))
        integral, _ = _integrated(like, at)
        assert severity.limited(loss, np.array([at]))[0] == pytest.approx(integral, rel=1e-7)


def _integrated(like: Any, at: float) -> tuple[float, float]:
    from scipy import integrate  # noqa: PLC0415 - one use

    found: tuple[float, float] = integrate.quad(like.sf, 0, at, limit=500)
    return found


losses = st.one_of(
    st.integers(0, 10**7),
    st.tuples(st.integers(1, 10**6), st.integers(2, 100), st.integers(1, 10**8)).map(
        lambda made: {"interval": [made[0], made[0] * made[1]], "cap": made[2]}
    ),
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6)).map(
        lambda made: {"pert": [made[0], made[0] + made[1], made[0] + made[1] + made[2]]}
    ),
)
likelihoods = st.one_of(
    st.integers(0, 100).map(lambda value: value / 100),
    st.integers(1, 300).map(lambda value: {"rate": value / 100}),
    st.tuples(st.integers(1, 50), st.integers(1, 100)).map(
        lambda made: {"shape": made[0] / 10, "years": made[1]}
    ),
)


@settings(max_examples=60, deadline=None)
@given(likelihood=likelihoods, loss=losses, left=losses, failure=st.integers(0, 100), units=st.integers(0, 5))
def test_always(likelihood: Any, loss: Any, left: Any, failure: int, units: int) -> None:
    """Probabilities add up, the lattice has the mean, TVaR is not below VaR, both rise with the level."""
    made = portfolio(
        scenario(
            likelihood=likelihood,
            exposure=units,
            severity=loss,
            residual_severity=left,
            controls=[gate("g", failure / 100)],
        )
    )
    year = annual(residual(made), size=2**12)
    assert year.mass.sum() == pytest.approx(1, abs=1e-6)
    assert float(np.arange(len(year.mass)) * year.step @ year.mass) == pytest.approx(
        year.mean, rel=1e-3, abs=1e-6
    )
    found = [year.var(level) for level in LEVELS]
    worst = [year.tvar(level) for level in LEVELS]
    assert found == sorted(found)
    assert all(one <= two * (1 + 1e-9) + year.step for one, two in itertools.pairwise(worst))
    assert all(tvar >= var * (1 - 1e-9) for tvar, var in zip(worst, found, strict=True))
    assert all(year.above(var) <= 1 - level + 1e-9 for var, level in zip(found, LEVELS, strict=True))


def test_one_lattice_for_many_portfolios() -> None:
    """Prepared once, a portfolio with other numbers and weights gives what it gives by itself."""
    made = portfolio(*(each | {"controls": [gate("g", 0.1)], "residual_severity": 10_000} for each in FIVE))
    prepared = Prepared.of(inherent(made), size=2**14)
    together, alone = prepared.annual(residual(made)), annual(residual(made), size=2**14)
    assert together.mean == pytest.approx(alone.mean, rel=1e-12)
    assert together.tvar(0.99) == pytest.approx(alone.tvar(0.99), rel=1e-3)
