"""Years that hardly ever come: told without bias, with far less chance than plain draws have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.risk.portfolios import SOURCE, cause, gate, portfolio, scenario, seed
from workbench.risk.errors import RiskError
from workbench.risk.exposure import severity
from workbench.risk.exposure.annual import annual, inherent, residual
from workbench.risk.exposure.rare import SIZE, above

KINDS: dict[str, Any] = {
    "binomial": scenario(likelihood=0.02, exposure=3, severity=100_000),
    "Poisson": scenario(likelihood={"rate": 0.5}, severity={"pert": [0, 20_000, 90_000]}),
    "negative binomial": scenario(
        likelihood={"shape": 2, "years": 8}, severity={"interval": [1_000, 50_000], "cap": 200_000}
    ),
    "a rare failure of everything": scenario(
        likelihood={"rate": 0.01},
        severity=1_000_000,
        residual_severity=100,
        controls=[gate("shares", 0.005, cause("build", 0.00005), parts=5, threshold=3), gate("review", 0.5)],
    ),
}
CHANCES = (1e-3, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chance", CHANCES)
def test_intervals_cover(kind: str, chance: float) -> None:
    """At 95 %, at least 90 of 100 seeded estimates of a rare year have the exact value inside."""
    risks = residual(portfolio(KINDS[kind]))
    year = annual(risks, size=SIZE)
    largest = max(severity.largest(loss) for risk in risks for _, loss in risk.losses)
    loss = min(max(year.var(1 - chance), largest / 5), 0.99 * largest if "everything" in kind else np.inf)
    exact = year.above(loss)
    assert 0 < exact <= chance * 1.000001
    found = [above(risks, loss, seed=number, draws=4_000) for number in range(100)]
    assert sum(each.probability.covers(exact) for each in found) >= 90
    assert sum(each.probability.value for each in found) / 100 == pytest.approx(exact, rel=0.02)


def test_what_is_gained() -> None:
    """A year of twenty millions comes once in a million: told to two percent, with draws that see none."""
    risks = inherent(seed())
    found = above(risks, 20_000_000, seed=1)
    exact = annual(risks).above(20_000_000)
    assert exact < 1e-6
    assert found.probability.value == pytest.approx(exact, rel=0.02)
    assert found.gain > 8_000


def test_the_same_seed() -> None:
    """Chance is the seed's."""
    risks = inherent(seed())
    assert above(risks, 10**7, seed=1) == above(risks, 10**7, seed=1)
    assert above(risks, 10**7, seed=1) != above(risks, 10**7, seed=2)


@pytest.mark.parametrize(("loss", "draws"), [(1_000, 100), (990_000, 100), (10**7, 0), (10**7, 10**9)])
def test_what_is_refused(loss: float, draws: int) -> None:
    """A loss that is no rare one, or small beside one event's; no draws, or more than anybody waits for."""
    with pytest.raises(RiskError):
        above(inherent(seed()), loss, seed=1, draws=draws)


def test_stress_is_refused() -> None:
    """What several rates share cannot be tilted scenario by scenario."""
    stress = {"shape": 2, "scenarios": ["theft"], "assumption": SOURCE}
    with pytest.raises(RiskError, match="stress"):
        above(inherent(portfolio(scenario(), stress=stress)), 10_000, seed=1)
