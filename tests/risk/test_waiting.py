"""How long until a loss: against what is known of Poisson events, and where events come in clusters."""

from __future__ import annotations

import numpy as np
import pytest

from tests.risk.portfolios import SOURCE, gate, portfolio, scenario
from workbench.risk.errors import RiskError
from workbench.risk.exposure.waiting import DAYS, YEARS_MAX, waiting

THEFT = scenario(likelihood={"rate": 0.5}, severity={"pert": [0, 50, 100]}, controls=[gate("g", 0.4)])


def test_poisson_events() -> None:
    """The rate of what costs more is the thinned rate; one within d days after another is 1 − exp(−λd)."""
    held = 0
    rate = 0.5 * 0.4 * 0.5  # half of the losses lie above the middle of the PERT
    for seed in range(40):
        found = waiting(portfolio(THEFT), 50, days=90, seed=seed, years=100_000)
        held += found.a_year.covers(rate)
        held += found.soon_after.covers(1 - np.exp(-rate * 90 / DAYS))
        assert found.years_between == pytest.approx(1 / found.a_year.value)
    assert held >= 70


def test_without_controls() -> None:
    """As if there were none: more events, sooner after each other."""
    bare = waiting(portfolio(THEFT), 50, days=90, seed=1, controlled=False)
    held = waiting(portfolio(THEFT), 50, days=90, seed=1)
    assert bare.a_year.low > held.a_year.high
    assert bare.soon_after.low > held.soon_after.high


def test_events_in_clusters() -> None:
    """Rates that are uncertain, or raised together, bring events upon each other at the same mean."""
    apart = portfolio(scenario(likelihood={"rate": 0.2}))
    uncertain = portfolio(scenario(likelihood={"shape": 0.5, "years": 2.5}))
    stress = {"shape": 0.5, "scenarios": ["theft"], "assumption": SOURCE}
    raised = portfolio(scenario(likelihood={"rate": 0.2}), stress=stress)
    found = [waiting(each, 0, days=90, seed=1) for each in (apart, uncertain, raised)]
    assert all(each.a_year.value == pytest.approx(0.2, rel=0.02) for each in found)
    assert found[0].soon_after.high < min(found[1].soon_after.low, found[2].soon_after.low)


def test_at_most_once_a_year() -> None:
    """A probability of one is one event a year, anywhere in it."""
    found = waiting(portfolio(scenario(likelihood=1)), 0, days=365, seed=1, years=50_000)
    assert (found.events, found.a_year.value) == (50_000, 1)
    # the distance of two uniform moments in neighbouring years is below one for half of the pairs
    assert found.soon_after.value == pytest.approx(0.5, abs=0.01)


def test_nothing_ever() -> None:
    """No event is no rate, and nothing is known of what would follow it."""
    found = waiting(portfolio(scenario(likelihood=0)), 0, days=1, seed=1)
    assert (found.events, found.a_year.value, found.years_between) == (0, 0, np.inf)
    assert (found.soon_after.low, found.soon_after.high) == (0, 1)


def test_more_events_than_fit() -> None:
    """They are refused before anything is drawn."""
    with pytest.raises(RiskError, match="too many"):
        waiting(portfolio(scenario(likelihood={"rate": 1000}, exposure=10**6)), 0, days=1, seed=1)


@pytest.mark.parametrize(("years", "days"), [(10, 1), (YEARS_MAX + 1, 1), (1_000, 0)])
def test_what_is_refused(years: int, days: float) -> None:
    """A history too short for an interval, one that nobody waits for, no days."""
    with pytest.raises(RiskError):
        waiting(portfolio(THEFT), 0, days=days, seed=1, years=years)
