"""Whether all controls fail together: causes, parts and correlation against other ways to count."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.risk.portfolios import cause, gate, portfolio, scenario
from workbench.risk.exposure import gates
from workbench.risk.exposure.annual import residual
from workbench.risk.exposure.scenarios import Scenario


def made(*controls: dict[str, Any], **fields: Any) -> Scenario:
    """Return a scenario with these controls."""
    return portfolio(scenario(controls=list(controls), **fields)).scenarios[0]


def counted(parts: int, threshold: int, failure: float, causes: list[tuple[float, frozenset[int]]]) -> float:
    """Return the probability that so many parts fail, by every state of every part and cause."""
    total = 0.0
    for struck in itertools.product((False, True), repeat=len(causes)):
        for own in itertools.product((False, True), repeat=parts):
            taken = {part for yes, (_, taken) in zip(struck, causes, strict=True) if yes for part in taken}
            failed = taken | {part for part, yes in enumerate(own) if yes}
            if len(failed) >= threshold:
                chance = np.prod(
                    [one if yes else 1 - one for yes, (one, _) in zip(struck, causes, strict=True)]
                )
                total += float(chance * np.prod([failure if yes else 1 - failure for yes in own]))
    return total


@pytest.mark.parametrize("parts", [1, 3, 5])
@pytest.mark.parametrize("failure", [0.005, 0.3])
def test_so_many_of_so_many(parts: int, failure: float) -> None:
    """A threshold is the binomial's upper tail."""
    for threshold in range(1, parts + 1):
        own = made(gate("shares", failure, parts=parts, threshold=threshold))
        assert gates.all_fail(own) == pytest.approx(stats.binom(parts, failure).sf(threshold - 1), rel=1e-12)


@pytest.mark.parametrize(
    ("share", "yearly"),
    [pytest.param(0, 12, id="independent"), (1, 512), (5, 2_511), (10, 5_009)],
)
def test_what_one_percent_in_common_does(share: int, yearly: int) -> None:
    """Three of five shares at 0.5 % each: a hundredth of it in common costs 40 times the independent part."""
    failure, beta = 0.005, share / 100
    own = made(
        gate("shares", failure * (1 - beta), cause("same-build", failure * beta), parts=5, threshold=3)
    )
    assert round(gates.all_fail(own) * 10_000_000) == pytest.approx(yearly, abs=1)


@pytest.mark.parametrize(
    ("sites", "like"),
    [pytest.param((2, 2, 1), 7.3e-4, id="two, two, one"), pytest.param((3, 2), 1.7e-3, id="three, two")],
)
def test_how_many_shares_a_site_may_hold(sites: tuple[int, ...], like: float) -> None:
    """A site that holds the threshold is a key: what it adds is the site's own probability."""
    causes = [cause(f"site-{place}", 0.001, parts=count) for place, count in enumerate(sites)]
    own = made(
        gate(
            "shares",
            0.0,
            *causes,
            cause("vendor", 0.0005, parts=4),
            cause("admin", 0.0002),
            parts=5,
            threshold=3,
        )
    )
    assert gates.all_fail(own) == pytest.approx(like, rel=0.05)


def test_against_every_state() -> None:
    """Causes that take different parts, counted state by state."""
    own = made(gate("shares", 0.1, cause("a", 0.2, parts=2), cause("b", 0.3, parts=1), parts=4, threshold=3))
    causes = [(0.2, frozenset({0, 1})), (0.3, frozenset({2}))]
    assert gates.all_fail(own) == pytest.approx(counted(4, 3, 0.1, causes), rel=1e-12)


def test_a_cause_takes_what_names_it_at_once() -> None:
    """Two controls with one cause fail together with it; what is left fails by itself."""
    own = made(gate("a", 0.1, cause("c", 0.05)), gate("b", 0.2, cause("c", 0.05)))
    assert gates.all_fail(own) == pytest.approx(0.05 + 0.95 * 0.1 * 0.2, rel=1e-12)


@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.8, 0.95, 0.99])
def test_the_copula(correlation: float) -> None:
    """Against the bivariate normal distribution, and against Gauss-Hermite where that is good."""
    own = made(gate("a", 0.05), gate("b", 0.02), correlation=correlation)
    levels = stats.norm.ppf([0.05, 0.02])
    both = stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], abseps=1e-13, releps=1e-13)
    assert gates.all_fail(own) == pytest.approx(float(both.cdf(levels)), rel=1e-7)
    if correlation <= 0.5:
        nodes, weights = np.polynomial.hermite_e.hermegauss(128)
        given_factor = stats.norm.cdf(
            (levels[:, None] - np.sqrt(correlation) * nodes) / np.sqrt(1 - correlation)
        )
        hermite = float(weights @ np.prod(given_factor, axis=0) / np.sqrt(2 * np.pi))
        assert gates.all_fail(own) == pytest.approx(hermite, rel=1e-9)


@pytest.mark.parametrize(("correlation", "both"), [(0, 0.0010), (0.2, 0.0024), (0.5, 0.0062), (0.8, 0.0134)])
def test_six_times_worse(correlation: float, both: float) -> None:
    """Two controls that look independent, at several correlations."""
    own = made(gate("a", 0.05), gate("b", 0.02), correlation=correlation)
    assert gates.all_fail(own) == pytest.approx(both, abs=5e-5)


controls = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.integers(1, 4),
        st.lists(st.sampled_from(["c1", "c2", "c3"]), unique=True, max_size=3),
    ),
    max_size=4,
)


def built(drawn: list[tuple[int, int, list[str]]]) -> list[dict[str, Any]]:
    """Return controls of up to four parts, any two of which fail it."""
    chances = {"c1": 0.01, "c2": 0.1, "c3": 0.4}
    return [
        gate(
            f"g{place}",
            percent / 100,
            *(cause(name, chances[name], parts=1) for name in names),
            parts=parts,
            threshold=min(parts, 2),
        )
        for place, (percent, parts, names) in enumerate(drawn)
    ]


@settings(max_examples=60, deadline=None)
@given(drawn=controls, correlation=st.sampled_from([0, 0.3, 0.9]))
def test_more_controls_never_cost_more(drawn: list[tuple[int, int, list[str]]], correlation: float) -> None:
    """With each control that is added all fail less often, and a year loses no more."""
    whole = portfolio(scenario(controls=built(drawn), correlation=correlation, residual_severity=10))
    means, fails = [], []
    for count in range(len(drawn) + 1):
        kept = {f"g{place}" for place in range(count)}
        means.append(sum(each.mean for each in residual(whole, kept=kept)))
        fails.append(gates.all_fail(whole.scenarios[0], gates.Varied(kept=kept)))
    assert all(later <= earlier * (1 + 1e-9) + 1e-12 for earlier, later in itertools.pairwise(means))
    assert all(later <= earlier * (1 + 1e-9) + 1e-12 for earlier, later in itertools.pairwise(fails))


@settings(max_examples=60, deadline=None)
@given(drawn=controls)
def test_correlation_never_makes_it_better(drawn: list[tuple[int, int, list[str]]]) -> None:
    """The more controls have in common, the likelier all fail."""
    fails = [gates.all_fail(made(*built(drawn), correlation=each)) for each in (0, 0.1, 0.4, 0.8, 0.99)]
    assert all(earlier <= later * (1 + 1e-7) + 1e-12 for earlier, later in itertools.pairwise(fails))


@pytest.mark.parametrize("correlation", [0, 0.6])
def test_event_by_event(correlation: float) -> None:
    """Thrown causes, parts and factors fail as often as the formula says."""
    own = made(
        gate("shares", 0.2, cause("c", 0.05, parts=2), parts=5, threshold=3),
        gate("review", 0.5, cause("c", 0.05)),
        correlation=correlation,
    )
    count = 1_000_000
    found = gates.simulate(own, np.random.default_rng(5), count).sum()
    low, high = stats.binom(count, gates.all_fail(own)).ppf([1e-6, 1 - 1e-6])
    assert low <= found <= high
