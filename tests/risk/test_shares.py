"""What shares have in common decides: the figures a committee is shown."""

from __future__ import annotations

import pytest
from scipy import stats

from workbench.risk.errors import RiskError
from workbench.risk.exposure.shares import Shares, at_sites, in_common

FIVE = Shares(5, 3, 0.005)


def test_one_percent_in_common() -> None:
    """Of ten millions: $12 a year if independent, $512 with one percent in common, $5,009 with ten."""
    found = list(in_common(FIVE))
    assert [round(each.probability * 10_000_000) for each in found] == [12, 512, 2_511, 5_009]
    assert found[0].probability == pytest.approx(stats.binom(5, 0.005).sf(2))
    assert [each.times >= 1 for each in found] == [True] * 4
    assert found[1].times > 40


def test_a_site_that_holds_the_threshold() -> None:
    """It is the key; as long as no site does, two have to be breached."""
    layouts = [(1, 1, 1, 1, 1), (2, 2, 1), (3, 2), (5,)]
    found = list(at_sites(FIVE, layouts, breached=0.001))
    assert [each.within for each in found] == [True, True, False, False]
    assert [each.probability < 0.0001 for each in found] == [True, True, False, False]
    assert found[3].probability == pytest.approx(0.001 + 0.999 * FIVE.fail())


@pytest.mark.parametrize("sites", [(2, 2), (5, 0), (), (6,), (1,) * 13])
def test_what_is_no_layout(sites: tuple[int, ...]) -> None:
    """Every share stands somewhere, and every site has one."""
    with pytest.raises(RiskError):
        list(at_sites(FIVE, [sites], breached=0.001))


@pytest.mark.parametrize(("parts", "threshold", "lost"), [(5, 0, 0.1), (5, 6, 0.1), (5, 3, 1.5)])
def test_what_are_no_shares(parts: int, threshold: int, lost: float) -> None:
    """A threshold lies between one and all, a probability between nothing and one."""
    with pytest.raises(RiskError):
        Shares(parts, threshold, lost)
