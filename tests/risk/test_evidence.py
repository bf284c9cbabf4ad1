"""Evidence of the ledger moves failure probabilities by stated rules, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.risk.exposure.annual import inherent, residual
from workbench.risk.exposure.evidence import COUNT_MAX, PLACES, Fed, Indicator, feed, mean, words
from workbench.risk.exposure.plain_yaml import ScenarioError
from workbench.risk.exposure.scenarios import Failure, Portfolio, Rule, Uncertain

NOW = datetime(2026, 11, 27, tzinfo=UTC)
SCENARIOS = Path(__file__).parents[2] / "policies" / "scenarios"
SEED, DESK = SCENARIOS / "seed.yaml", SCENARIOS / "desk.yaml"
SOURCE = {"author": "a", "date": "2026-11-27", "source": "a test", "expiry": "2027-11-27"}
OTHER = {**SOURCE, "source": "a drill"}
Json = dict[str, Any]

DRILL = {"indicator": "drill-days.treasury", "fresh": 90, "half_life": 30}
REVIEWS = {"indicator": "overdue-reviews", "each": Decimal("0.1")}
SECONDS = {"indicator": "restore-seconds.treasury", "at_most": 3600}
DEMANDS = {"indicator": "refused-requests", "prior": [1, 9], "passed": "incidents"}


def number(value: Any, first: int = 3, last: int = 7) -> Indicator:
    """Return an indicator."""
    return Indicator(value=Decimal(value), unit="days", first=first, last=last, at=NOW)


def portfolio(*rules: Json, failure: Any = Decimal("0.1"), **control: Any) -> Portfolio:
    """Return a portfolio of one scenario with one control."""
    stated = {"id": "backups", "failure": failure, "evidence": list(rules), **control}
    scenario = {
        "id": "lost-shares",
        "likelihood": Decimal("0.05"),
        "exposure": 1,
        "severity": 1_000_000,
        "controls": [stated],
        "residual_severity": 0,
        "assumption": SOURCE,
    }
    return Portfolio.load([scenario])


def after(fed: Fed) -> Any:
    """Return the failure of the one control."""
    return fed.portfolio.scenarios[0].controls[0].failure


HALF = Decimal("0.5")
MOVED = [
    pytest.param(DRILL, "0", "0.1", id="fresh: today's drill"),
    pytest.param(DRILL, "90", "0.1", id="fresh: the last day"),
    pytest.param(DRILL, "120", "0.55", id="half_life: half of 0.9 is left"),
    pytest.param(DRILL, "150", "0.775", id="half_life: a quarter of 0.9 is left"),
    pytest.param(DRILL, "1e9", "1", id="half_life: nothing is left"),
    pytest.param(DRILL, None, "1", id="fresh: never drilled"),
    pytest.param(REVIEWS, "0", "0.1", id="each: nothing is overdue"),
    pytest.param(REVIEWS, "1", "0.19", id="each: one is"),
    pytest.param(REVIEWS, "3", "0.3439", id="each: three are"),
    pytest.param({**REVIEWS, "each": 1}, "0", "0.1", id="each: certain, and nothing is overdue"),
    pytest.param({**REVIEWS, "each": 1}, "1", "1", id="each: certain"),
    pytest.param(REVIEWS, None, "1", id="each: nobody knows what is overdue"),
    pytest.param(SECONDS, "3600", "0.1", id="at_most: just in time"),
    pytest.param(SECONDS, "3601", "1", id="at_most: a second too late"),
    pytest.param({**SECONDS, "at_most": 0}, "0", "0.1", id="at_most: none is none"),
    pytest.param(SECONDS, None, "1", id="at_most: never measured"),
]


@pytest.mark.parametrize(("rule", "value", "expected"), MOVED)
def test_moved(rule: Json, value: str | None, expected: str) -> None:
    """Each rule by its formula, and why is told with the entries."""
    known = {} if value is None else {rule["indicator"]: number(value)}
    fed = feed(portfolio(rule), known)
    assert after(fed) == Decimal(expected)
    (told,) = fed.weighed
    assert (told.scenario, told.control, told.indicator) == ("lost-shares", "backups", rule["indicator"])
    assert (told.before, told.after) == (Decimal("0.1"), Decimal(expected))
    assert told.read == known.get(rule["indicator"])
    assert fed.changes == ((told,) if expected != "0.1" else ())
    assert fed.missing == (() if known else (rule["indicator"],))


@pytest.mark.parametrize(
    ("refused", "passed", "expected"),
    [
        pytest.param("90", "0", ["1", "99"], id="all were refused"),
        pytest.param("0", "10", ["11", "9"], id="all got through"),
        pytest.param("0", "0", ["1", "9"], id="nobody tried"),
        pytest.param(None, "0", ["1", "9"], id="nobody knows what was refused"),
        pytest.param("90", None, ["1", "9"], id="nobody knows what got through"),
        pytest.param("1e12", "0", ["1", str(COUNT_MAX)], id="more than can be counted"),
    ],
)
def test_demands(refused: str | None, passed: str | None, expected: list[str]) -> None:
    """What was refused and what got through make a Beta distribution in the place of what was stated."""
    known = {"refused-requests": refused, "incidents": passed}
    indicators = {name: number(value) for name, value in known.items() if value is not None}
    fed = feed(portfolio(DEMANDS), indicators)
    assert after(fed) == Uncertain(beta=[Decimal(each) for each in expected])
    assert fed.missing == tuple(sorted(name for name, value in known.items() if value is None))
    assert fed.weighed[0].after == mean(after(fed))


@pytest.mark.parametrize(
    ("failure", "value", "expected"),
    [
        pytest.param({"probability": HALF}, "120", Failure(probability=Decimal("0.75")), id="a number"),
        pytest.param(
            {"beta": [2, 2]}, "120", Uncertain(beta=[Decimal(3), Decimal(1)]), id="keeps its weight"
        ),
        pytest.param({"beta": [2, 2]}, "1e9", Failure(probability=Decimal(1)), id="certain is a number"),
        pytest.param({"beta": [2, 2]}, "90", Uncertain(beta=[Decimal(2), Decimal(2)]), id="fresh"),
    ],
)
def test_a_form_is_kept_with_its_source(failure: Json, value: str, expected: Any) -> None:
    """What was stated as a distribution stays one, and whose word it was stands beside it."""
    fed = feed(
        portfolio(DRILL, failure={**failure, "assumption": OTHER}), {DRILL["indicator"]: number(value)}
    )
    found = after(fed)
    assert found.model_copy(update={"assumption": None}) == expected
    assert found.assumption.source == "a drill"


def test_rules_come_together() -> None:
    """The record of demands comes first, wherever it stands; each other rule takes its part."""
    known = {
        "refused-requests": number(90),
        "incidents": number(0),
        "drill-days.treasury": number(120),
        "overdue-reviews": number(1),
    }
    rules = [DRILL, DEMANDS, REVIEWS]
    fed = feed(portfolio(*rules, failure=Decimal("0.9")), known)
    assert [each.indicator for each in fed.weighed] == [
        "refused-requests",
        "drill-days.treasury",
        "overdue-reviews",
    ]
    # 1 − 0.99 · 0.5 · 0.9
    assert mean(after(fed)) == Decimal("0.5545")
    other = feed(portfolio(*reversed(rules), failure=Decimal("0.9")), known)
    assert mean(after(other)) == mean(after(fed))
    assert [each.before for each in fed.weighed] == [Decimal("0.9"), *(e.after for e in fed.weighed[:2])]


def test_without_a_rule_nothing_moves() -> None:
    """Whatever the ledger tells: a portfolio that asks for nothing stays as it is."""
    seed = Portfolio.read(SEED.read_bytes())
    known = {name: number(10**6) for name in ("drill-days.treasury", "overdue-reviews")}
    fed = feed(seed, known)
    assert fed.portfolio == seed
    assert fed.weighed == fed.changes == fed.missing == ()


def test_only_the_control_that_asks() -> None:
    """Of two scenarios with the same control each is moved by its own rules; the rest is as it was."""
    one, other = portfolio(DRILL).scenarios[0], portfolio().scenarios[0]
    both = Portfolio(scenarios=[one, other.model_copy(update={"id": "other"})])
    fed = feed(both, {})
    assert [each.controls[0].failure for each in fed.portfolio.scenarios] == [1, Decimal("0.1")]
    assert fed.portfolio.scenarios[1] == both.scenarios[1]
    assert both.scenarios[0].controls[0].failure == Decimal("0.1"), "the stated one is not written over"


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"indicator": "x", "prior": [1, 9]}, id="refusals alone"),
        pytest.param({"indicator": "x", "each": 0, "passed": "y"}, id="passed without a prior"),
        pytest.param({"indicator": "x", "fresh": 1}, id="fresh without end"),
        pytest.param({"indicator": "x"}, id="no kind"),
        pytest.param({"indicator": "x", "each": 0, "at_most": 1}, id="two kinds"),
        pytest.param({"indicator": "x" * 129, "each": 0}, id="a name too long"),
    ],
)
def test_rules_that_are_none(rule: Json) -> None:
    """A rule is of one kind, whole."""
    with pytest.raises(ScenarioError) as refused:
        portfolio(rule)
    assert refused.value.path.startswith("/0/controls/0/evidence/0")


def test_two_priors() -> None:
    """One control has one record of what it was asked."""
    with pytest.raises(ScenarioError, match="two priors"):
        portfolio(DEMANDS, {**DEMANDS, "indicator": "refused-signatures"})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (DRILL, "fresh for 90, then half as effective every 30"),
        (REVIEWS, "each one fails it with 0.1"),
        (SECONDS, "at most 3600, or it does not hold"),
        (DEMANDS, "Beta(1, 9), and what was refused against what passed (incidents)"),
    ],
)
def test_in_words(rule: Json, expected: str) -> None:
    """A rule is told in words."""
    stated = portfolio(rule).scenarios[0].controls[0].evidence[0]
    assert isinstance(stated, Rule)
    assert words(stated) == expected


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"value": Decimal(-1)}, id="less than nothing"),
        pytest.param({"value": Decimal("NaN")}, id="no number"),
        pytest.param({"value": Decimal("Infinity")}, id="without end"),
        pytest.param({"first": 8}, id="entries backwards"),
        pytest.param({"first": -1}, id="before the first entry"),
    ],
)
def test_indicators_that_are_none(fields: Json) -> None:
    """A figure is a number from entries that can be."""
    with pytest.raises(ValueError, match=r"no number|entries"):
        Indicator(**{"value": Decimal(1), "unit": "days", "first": 3, "last": 7, "at": NOW} | fields)


# properties

probability = st.decimals(0, 1, places=6)
stated = st.one_of(
    probability,
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)).map(lambda pair: {"beta": list(pair)}),
)
days = st.decimals(0, 10**6, places=3)
rules = st.one_of(
    st.builds(
        lambda fresh, life: {"indicator": "n", "fresh": fresh, "half_life": life},
        st.integers(0, 400),
        st.integers(1, 400),
    ),
    st.builds(lambda each: {"indicator": "n", "each": each}, probability),
    st.builds(lambda most: {"indicator": "n", "at_most": most}, st.integers(0, 10**6)),
)


@given(failure=stated, rule=rules, values=st.tuples(days, days))
def test_more_is_never_better(failure: Any, rule: Json, values: tuple[Decimal, Decimal]) -> None:
    """More days, more overdue, more of what should be little: never a lower failure probability."""
    made = portfolio(rule, failure=failure)
    low, high = (mean(after(feed(made, {"n": number(value)}))) for value in sorted(values))
    none = mean(after(feed(made, {})))
    assert 0 <= low <= high + PLACES**2
    assert high <= none == 1


@given(failure=stated, made=st.lists(rules, max_size=4), value=days)
def test_never_below_what_was_stated(failure: Any, made: list[Json], value: Decimal) -> None:
    """No rule but the prior makes a control look better, and what comes out is a portfolio again."""
    before = portfolio(*made, failure=failure)
    fed = feed(before, {"n": number(value)})
    found = mean(after(fed))
    assert mean(before.scenarios[0].controls[0].failure) - PLACES**2 <= found <= 1
    assert Portfolio.load(fed.portfolio.model_dump(exclude_none=True, exclude_defaults=True))


@given(
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    prior=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_demands_move_it_their_way(counts: tuple[int, int], prior: tuple[int, int]) -> None:
    """One more that got through never lowers it, one more that was refused never raises it."""

    def found(refused: int, passed: int) -> Decimal:
        known = {"refused-requests": number(refused), "incidents": number(passed)}
        return mean(after(feed(portfolio({**DEMANDS, "prior": list(prior)}), known)))

    refused, passed = counts
    assert found(refused + 1, passed) < found(refused, passed) < found(refused, passed + 1)


def test_what_a_year_costs_then() -> None:
    """With nothing known the desk's scenarios cost more than stated, and no more than without controls."""
    stated = Portfolio.read(DESK.read_bytes())
    fed = feed(stated, {})
    known = feed(stated, {name: number(0) for name in fed.missing})
    assert fed.missing
    assert not known.missing
    means = [[each.mean for each in residual(made)] for made in (stated, fed.portfolio)]
    most = [each.mean for each in inherent(stated)]
    assert all(as_stated <= then <= limit for as_stated, then, limit in zip(*means, most, strict=True))
    assert sum(means[0]) < sum(means[1])
    assert sum(each.mean for each in residual(known.portfolio)) == pytest.approx(sum(means[0]))
