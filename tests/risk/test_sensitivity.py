"""Which figures matter: against a case whose indices are known, and by their direction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.risk.portfolios import cause, gate, portfolio, scenario, seed
from workbench.risk.errors import RiskError
from workbench.risk.exposure import gates
from workbench.risk.exposure.figures import bands
from workbench.risk.exposure.parameters import Parameters
from workbench.risk.exposure.sensitivity import Figure, sobol, tornado

TWO = portfolio(
    scenario("often", likelihood={"shape": 4, "years": 2}, severity=3_000),
    scenario("seldom", likelihood={"shape": 9, "years": 30}, severity=10_000),
)
GUARDED = portfolio(
    scenario(
        "theft",
        likelihood={"interval": [0.05, 0.5]},
        severity=100_000,
        controls=[
            gate("shares", {"beta": [1, 9]}, cause("build", {"beta": [1, 19]})),
            gate("review", 0.2, cause("build", {"beta": [1, 19]})),
        ],
    )
)


def test_against_what_is_known() -> None:
    """Of a sum of independent terms each one's index is its share of the variance, alone and in total."""
    variances = {"often: rate": 4 / 2**2 * 3_000**2, "seldom: rate": 9 / 30**2 * 10_000**2}
    found = {each.name: each for each in sobol(TWO, Figure.ALE, seed=1, draws=2048)}
    for name, variance in variances.items():
        share = variance / sum(variances.values())
        assert found[name].first == pytest.approx(share, abs=0.04)
        assert found[name].total == pytest.approx(share, abs=0.04)


def test_the_same_seed_the_same_indices() -> None:
    """Chance is the seed's."""
    assert sobol(GUARDED, seed=3, draws=32) == sobol(GUARDED, seed=3, draws=32)
    assert sobol(GUARDED, seed=3, draws=32) != sobol(GUARDED, seed=4, draws=32)


def test_every_figure_has_a_place() -> None:
    """Rates, failures and causes, a cause once; those that are stated as certain are marked."""
    found = {each.name: each.is_assumed for each in Parameters.every(GUARDED).varying}
    assert found == {
        "theft: rate": False,
        "theft: shares fails": False,
        "common cause: build": False,
        "theft: review fails": True,
    }
    assert {each.name for each in Parameters.uncertain(GUARDED).varying} == set(found) - {
        "theft: review fails"
    }


def test_quantiles() -> None:
    """A parameter's quantiles are its distribution's; a certain one lies between half and double."""
    by_name = {each.name: each.quantile for each in Parameters.every(GUARDED).varying}
    assert by_name["theft: shares fails"](0.3) == pytest.approx(stats.beta(1, 9).ppf(0.3))
    assert [by_name["theft: rate"](at) for at in (0.05, 0.95)] == pytest.approx([0.05, 0.5])
    assert [by_name["theft: review fails"](at) for at in (0, 0.5, 1)] == pytest.approx([0.1, 0.2, 0.4])
    assert Parameters.every(portfolio(scenario(likelihood=0.8))).varying[0].quantile(1) == 1


def test_a_cause_moves_every_control_that_names_it() -> None:
    """At one quantile of all, the portfolio is the one with these figures written out."""
    parameters = Parameters.every(GUARDED)
    (risk,) = parameters.risks([0.5] * len(parameters))
    values = {each.name: each.quantile(0.5) for each in parameters.varying}
    build = values["common cause: build"]
    fails = build + (1 - build) * values["theft: shares fails"] * values["theft: review fails"]
    assert risk.number.mean == pytest.approx(values["theft: rate"])
    assert risk.losses[0][0] == pytest.approx(fails)
    assert gates.all_fail(GUARDED.scenarios[0]) != pytest.approx(fails)


@pytest.mark.parametrize("figure", [Figure.ALE, Figure.TVAR])
def test_a_tornado_has_a_direction(figure: Figure) -> None:
    """Likelier events and weaker controls never lower the figure; the longest bar comes first."""
    bars = tornado(GUARDED, figure)
    assert all(each.low <= each.middle <= each.high for each in bars)
    assert [each.reach for each in bars] == sorted((each.reach for each in bars), reverse=True)
    assert {each.name for each in bars if each.is_assumed} == {"theft: review fails"}


def test_the_five_rows() -> None:
    """Controls that never fail leave the rates alone; each is assumed."""
    bars = tornado(seed(), Figure.ALE)
    assert {each.name for each in bars if each.reach > 0} == {
        "contract-exploit: rate",
        "oracle-manipulation: rate",
    }
    assert all(each.is_assumed for each in bars)


@pytest.mark.parametrize("draws", [2**16, 0])
def test_how_many_portfolios(draws: int) -> None:
    """As many as nobody waits for are refused, and nothing to vary as well."""
    with pytest.raises(RiskError):
        sobol(GUARDED if draws else portfolio(scenario(likelihood=0)), seed=1, draws=draws or 8)


def test_credible_bands() -> None:
    """The band of the expected loss is that of the rates behind it; what is certain has none."""
    found = bands(TWO, seed=1, draws=2_000)
    assert found is not None
    random = np.random.default_rng(5)
    means = 3_000 * random.gamma(4, 1 / 2, 100_000) + 10_000 * random.gamma(9, 1 / 30, 100_000)
    assert found.ale == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), rel=0.05)
    assert bands(seed(), seed=1) is None
