"""Years drawn by chance agree with the exact ones as often as their intervals say, and carry caps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from tests.risk.portfolios import SOURCE, cause, gate, portfolio, scenario, seed
from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import annual, inherent, residual
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.simulated import BLOCK, Simulated, simulate

RUNS = 100
COVERED_MIN = 93

MIXED = portfolio(
    scenario(
        "theft",
        likelihood={"rate": 0.2},
        severity={"interval": [1_000, 100_000], "cap": 400_000},
        residual_severity=500,
        controls=[
            gate("shares", 0.3, cause("build", 0.1), parts=3, threshold=2),
            gate("review", {"beta": [2, 2]}, cause("build", 0.1)),
        ],
        correlation=0.3,
    ),
    scenario("fraud", likelihood={"interval": [0.1, 1]}, exposure=2, severity={"pert": [0, 3_000, 20_000]}),
    scenario("loss", likelihood=0.05, exposure=3, severity=7_000),
    scenario("run", likelihood={"rate": 0.1}, severity=50_000),
    stress={"shape": 2, "scenarios": ["run", "fraud"], "assumption": SOURCE},
)


def covered(whole: Portfolio, *, controlled: bool) -> dict[str, int]:
    """Return in how many of a hundred seeded runs the interval holds the exact value, by figure."""
    stress = float(whole.stress.shape) if whole.stress else None
    exact = annual(residual(whole) if controlled else inherent(whole), stress=stress, size=2**16)
    held = {"mean": 0, "VaR 95": 0, "TVaR 95": 0, "above": 0}
    at = exact.var(0.9) * 1.5
    for number in range(RUNS):
        made = simulate(whole, seed=number, years=100_000, controlled=controlled)
        held["mean"] += made.mean().covers(exact.mean)
        low, high = made.var(0.95).low, made.var(0.95).high
        held["VaR 95"] += low - exact.step <= exact.var(0.95) <= high + exact.step
        held["TVaR 95"] += made.tvar(0.95).covers(exact.tvar(0.95))
        held["above"] += made.above(at).covers(exact.above(at))
    return held


@pytest.mark.parametrize("controlled", [False, True], ids=["inherent", "residual"])
def test_intervals_cover(controlled: bool) -> None:  # noqa: FBT001 - a case
    """At 95 %, at least 93 of 100 runs have the exact value inside; of every form and cause there is."""
    held = covered(MIXED, controlled=controlled)
    assert {name: count for name, count in held.items() if count < COVERED_MIN} == {}


def test_the_five_rows() -> None:
    """A million years of the table have its figures."""
    made = simulate(seed(), seed=1, controlled=False)
    assert made.mean().covers(330_000)
    assert (made.var(0.99).value, made.var(0.999).value) == (2_500_000, 10_500_000)
    assert made.tvar(0.99).covers(7_468_771)


def test_the_same_seed_the_same_years() -> None:
    """Whoever draws the blocks; another seed draws others."""
    years = 2 * BLOCK + 17
    alone = simulate(MIXED, seed=3, years=years)
    with ThreadPoolExecutor(2) as pool:
        together = simulate(MIXED, seed=3, years=years, executor=pool)
    np.testing.assert_array_equal(alone.losses, together.losses)
    other = simulate(MIXED, seed=4, years=years)
    assert len(other.losses) != len(alone.losses) or (other.losses != alone.losses).any()


def test_a_position_is_lost_once() -> None:
    """What several scenarios take from one place in a year is never more than there is; apart, it adds up."""
    pair = [scenario(name, likelihood={"rate": 1}, severity=80, position="vault") for name in ("a", "b")]
    whole = portfolio(
        *pair,
        scenario("c", likelihood=1, severity=7),
        positions=[{"id": "vault", "value": 100, "assumption": SOURCE}],
    )
    draw = partial(simulate, whole, seed=1, years=50_000)
    assert set(np.unique(draw(capped=True).losses)) == {7, 87, 107}
    # by the number of thefts: none, one, more
    mean = 7 + 80 * 2 * np.exp(-2) + 100 * (1 - 3 * np.exp(-2))
    assert draw(capped=True).mean().covers(mean)
    assert draw().mean().covers(7 + 160)


@pytest.mark.parametrize("years", [0, -1, 10**10])
def test_how_many_years(years: int) -> None:
    """None, or more than anybody waits for, are refused."""
    with pytest.raises(RiskError):
        simulate(seed(), seed=1, years=years)


def test_too_many_events() -> None:
    """What would not fit into memory is refused before anything is drawn."""
    whole = portfolio(scenario(likelihood={"rate": 1000}, exposure=10**6))
    with pytest.raises(RiskError, match="too many"):
        simulate(whole, seed=1)


def test_years_without_losses() -> None:
    """They count: a year in which nothing happens is one."""
    made = simulate(portfolio(scenario(likelihood=0)), seed=1, years=1000)
    assert (made.mean().value, made.var(0.99).value, made.tvar(0.99).value) == (0, 0, 0)
    assert made.above(0).high > 0
    assert Simulated(10, np.array([5.0])).var(0.95).value == 5
