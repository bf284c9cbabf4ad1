"""What controls are worth adds up, and the best of all sets is the one that is chosen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.risk.portfolios import SOURCE, cause, gate, portfolio, scenario
from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import annual, residual
from workbench.risk.exposure.controls import CONTROLS_MAX, LEVEL, Measure, choose, game, worths
from workbench.risk.exposure.scenarios import Portfolio


def costing(**costs: float) -> list[dict[str, Any]]:
    """Return costs as a file has them."""
    return [{"control": name, "per_year": cost, "assumption": SOURCE} for name, cost in costs.items()]


def desk(**costs: float) -> Portfolio:
    """Return two scenarios that share a control, one of a rare ruin and one of a frequent nuisance."""
    return portfolio(
        scenario(
            "ruin",
            likelihood={"rate": 0.015},
            severity=10_000_000,
            controls=[gate("shares", 0.01), gate("review", 0.5)],
            residual_severity=0,
        ),
        scenario(
            "nuisance",
            likelihood={"rate": 5},
            severity=50_000,
            controls=[gate("review", 0.5), gate("filter", 0.1)],
            residual_severity=100,
        ),
        costs=costing(**costs),
    )


drawn = st.lists(
    st.tuples(
        st.integers(0, 100), st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["", "one", "two"])
    ),
    max_size=4,
    unique_by=lambda each: each[1],
)


def built(name: str, controls: list[tuple[int, str, str]], **fields: Any) -> dict[str, Any]:
    """Return a scenario with these controls, some of which have a cause in common."""
    chances = {"one": 0.1, "two": 0.3}
    return scenario(
        name,
        controls=[
            gate(of, percent / 100, *([cause(common, chances[common])] if common else []))
            for percent, of, common in controls
        ],
        **fields,
    )


@settings(max_examples=40, deadline=None)
@given(first=drawn, second=drawn, measure=st.sampled_from(list(Measure)))
def test_shapley_adds_up(first: Any, second: Any, measure: Measure) -> None:
    """The values sum to what all controls together save, by either measure."""
    whole = portfolio(
        built("x", first, likelihood={"rate": 0.5}, severity=70_000, residual_severity=100),
        built("y", second, likelihood=0.2, severity={"pert": [0, 10_000, 90_000]}),
    )
    found, loses = worths(whole, measure), game(whole, measure)
    names = frozenset(each.control for each in found)
    assert sum(each.shapley for each in found) == pytest.approx(
        loses(frozenset()) - loses(names), rel=1e-9, abs=1e-6
    )


def test_against_orders() -> None:
    """A Shapley value is the mean over all orders in which controls can come."""
    whole = desk()
    loses = game(whole, Measure.ALE)
    found = {each.control: each.shapley for each in worths(whole)}
    orders = list(itertools.permutations(found))
    for name, value in found.items():
        added = []
        for order in orders:
            before = frozenset(order[: order.index(name)])
            added.append(loses(before) - loses(before | {name}))
        assert value == pytest.approx(sum(added) / len(added), rel=1e-12)


def test_a_game_is_a_years_loss() -> None:
    """What a set loses is the exact figure of the portfolio with these controls alone."""
    whole = desk()
    year = annual(residual(whole, kept={"shares", "filter"}), size=2**16)
    kept = frozenset({"shares", "filter"})
    assert game(whole, Measure.ALE)(kept) == pytest.approx(year.mean, rel=1e-12)
    assert game(whole, Measure.TVAR)(kept) == pytest.approx(year.tvar(LEVEL), rel=1e-2)


def test_two_that_guard_the_same() -> None:
    """Either alone does all, the last of them next to nothing: that is why three figures are shown."""
    twins = portfolio(scenario(controls=[gate("a", 0.01), gate("b", 0.01)], severity=1_000_000))
    for each in worths(twins):
        assert each.alone == pytest.approx(990_000)
        assert each.last_in == pytest.approx(9_900)
        assert each.shapley == pytest.approx((990_000 + 9_900) / 2)


def test_a_choice_is_the_best_of_all() -> None:
    """No set that the budget pays for loses less, and what has no cost is there in any case."""
    whole = desk(shares=100, filter=60)
    costs = {"shares": 100.0, "filter": 60.0}
    loses = game(whole, Measure.ALE)
    for budget in (0, 59, 60, 100, 159, 160, 10**6):
        chosen = choose(whole, [budget])[0]
        sets = itertools.chain.from_iterable(itertools.combinations(costs, size) for size in range(3))
        possible = [
            loses(frozenset({"review", *each})) for each in sets if sum(map(costs.get, each)) <= budget
        ]  # type: ignore[arg-type]
        assert chosen.loss == min(possible)
        assert chosen.cost <= budget
        assert chosen.saved == loses(frozenset({"review"})) - chosen.loss


def test_ruin_and_nuisance() -> None:
    """By expected loss the budget goes to the nuisance, by the worst years to what ruins."""
    whole = desk(shares=100_000, filter=100_000)
    assert choose(whole, [100_000], Measure.ALE)[0].controls == ("filter",)
    assert choose(whole, [100_000], Measure.TVAR)[0].controls == ("shares",)


def test_what_saves_nothing_is_not_bought() -> None:
    """Among sets that lose the same the cheapest is chosen."""
    whole = portfolio(
        scenario(controls=[gate("perfect", 0), gate("idle", 0.5)]), costs=costing(perfect=10, idle=5)
    )
    assert choose(whole, [100])[0].controls == ("perfect",)


def test_return_on_what_it_costs() -> None:
    """(Saved − cost) / cost, last in; without a cost there is none."""
    found = {each.control: each for each in worths(desk(filter=1_000))}
    assert found["filter"].rosi == pytest.approx((found["filter"].last_in - 1_000) / 1_000)
    assert found["shares"].rosi is None


@pytest.mark.parametrize("count", [CONTROLS_MAX + 1, 20])
def test_too_many_sets(count: int) -> None:
    """More controls than can all be tried are refused, not sampled."""
    rows = [scenario(f"s{place}", controls=[gate(f"g{place}", 0.5)]) for place in range(count)]
    with pytest.raises(RiskError, match="too many"):
        worths(portfolio(*rows))
    with pytest.raises(RiskError, match="too many"):
        choose(portfolio(*rows, costs=costing(**{f"g{place}": 1 for place in range(count)})), [5])


def test_a_budget_below_nothing() -> None:
    """There is none."""
    with pytest.raises(RiskError, match="budget"):
        choose(desk(), [-1])
