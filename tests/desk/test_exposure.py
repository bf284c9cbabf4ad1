"""What the committee sees of a file of scenarios: the figures that were computed, and what they are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.risk.portfolios import SEED, SOURCE, gate, portfolio, scenario
from workbench.desk import explore, exposure, exposure_chart, investment
from workbench.risk.exposure.annual import annual, inherent, residual
from workbench.risk.exposure.controls import worths
from workbench.risk.exposure.figures import Whole
from workbench.risk.exposure.scenarios import Portfolio, ScenarioError

TODAY = "2026-11-27"


@pytest.fixture(scope="module")
def five() -> exposure.Read:
    """The five rows, read."""
    return exposure.read("seed.yaml", years=10_000, today=TODAY)


@pytest.fixture(scope="module")
def desk() -> exposure.Read:
    """The desk's own scenarios, read."""
    return exposure.read("desk.yaml", years=10_000, today=TODAY)


def text(shown: Any) -> str:
    """Return what a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown.markup))


def test_the_five_rows(five: exposure.Read) -> None:
    """Row by row, and what is left if a control holds is said to be no yearly figure."""
    said = text(exposure.rows(five))
    for amounts in ("$50,000 $0 never $0", "$200,000 $20,000 never $2,000", "$45,000 $50,000 never $1,500"):
        assert amounts in said
    assert "together $330,000 $3,500" in said
    said = text(exposure.not_yearly(five))
    assert "Its sum, $70,000, means nothing" in said
    assert "$50,000 with the control would be more than the $45,000 without it" in said


def test_the_verdict(five: exposure.Read) -> None:
    """The figures of the whole, and that a control that never fails is an assumption."""
    said = text(exposure.verdict(five))
    for figure in ("$330,000", "$3,500", "$2,500,000, $10,500,000", "5, 0 past their expiry", "no evidence"):
        assert figure in said


def test_an_appetite(desk: exposure.Read) -> None:
    """Kept or not is said, with the band of what is uncertain."""
    said = text(exposure.verdict(desk))
    assert "within the appetite of 2.00%" in said
    assert re.search(r"between [\d.]+% and [\d.]+%", said)
    assert "no limit here is enough" not in text(investment.limits(desk))


def test_expired_assumptions(desk: exposure.Read) -> None:
    """They are marked, one by one and in the end."""
    late = exposure.read("desk.yaml", years=1_000, today="2027-06-01")
    count = len(late.found.assumptions)
    assert text(exposure.assumptions(late)).count("EXPIRED") == count
    assert f"{count}, {count} past their expiry" in text(exposure.verdict(late))
    assert "EXPIRED" not in text(exposure.assumptions(desk))


def test_what_is_in_common() -> None:
    """One percent of common cause, and a site that holds the threshold."""
    said = text(exposure.in_one_place())
    for figure in ("$12.41", "$512", "$2,511", "$5,009", "3 + 2 0.10% $10,161 a site holds the threshold"):
        assert figure in said


def test_values_and_choices(desk: exposure.Read) -> None:
    """Shapley values as computed, and the budget of the file among those that are tried."""
    said = text(investment.worths(desk))
    for each in worths(desk.portfolio):
        assert f"{each.control} {exposure.usd(each.shapley)}" in said
    assert "$250,000 ALE" in text(investment.choices(desk))


def test_without_costs_or_positions(five: exposure.Read) -> None:
    """What the file does not hold is said to be missing, and not shown as nothing."""
    assert "no control has a cost" in text(investment.choices(five))
    assert "no appetite" in text(investment.limits(five))


def test_drawings_say_it_in_words(desk: exposure.Read) -> None:
    """Whoever cannot see a drawing is told its figures; ink is the page's own."""
    for shown in (exposure.curve(desk), investment.worth_chart(desk), investment.reach(desk)):
        assert re.search(r'aria-label="[^"]{20,}"', shown.markup)
        assert "currentColor" in shown.markup
        assert "<script" not in shown.markup


def year_curve(whole: Portfolio) -> list[tuple[float, float]]:
    """Return a portfolio's exceedance curve."""
    return Whole(annual(residual(whole))).curve()


def test_nothing_to_draw() -> None:
    """A portfolio that never loses anything has no curve, and says so."""
    never = portfolio(scenario(likelihood=0))
    assert "nothing" in text(exposure_chart.bars("Bars", {}))
    assert "nothing is ever lost" in text(exposure_chart.curves("Curve", {"all": year_curve(never)}))


def test_a_name_is_of_a_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a folder is never one of the folder that one happens to be in."""
    (tmp_path / "seed.yaml").write_text("- {id: other}")
    monkeypatch.chdir(tmp_path)
    assert len(exposure.read("seed.yaml", years=10).portfolio.scenarios) == 5
    with pytest.raises(ScenarioError):
        exposure.read("./seed.yaml", years=10)


GUARDED = portfolio(
    scenario("theft", likelihood={"rate": 0.2}, severity=70_000, controls=[gate("a", 0.1), gate("b", 0.2)]),
    appetite={"loss": 50_000, "probability": 0.05, "assumption": SOURCE},
)


def starts(whole: Portfolio) -> dict[str, float]:
    """Return where the sliders stand in the file."""
    return {each.name: each.start for each in explore.sliders(whole)}


def test_sliders_start_at_the_file() -> None:
    """Nothing moved gives the file's own figures."""
    drawn = explore.redrawn(GUARDED, starts(GUARDED))
    ale = next(row for row in drawn["figures"] if row[0] == "ALE")
    assert ale[1:] == [exposure.usd(annual(risks(GUARDED)).mean) for risks in (inherent, residual)]
    assert {name: value for name, value, _ in drawn["worths"]} == pytest.approx(
        {each.control: each.shapley for each in worths(GUARDED)}
    )


@pytest.mark.parametrize(
    ("moved", "row"),
    [
        pytest.param(
            {"rate/theft": 1.0}, ["theft", "2", "$140,000", "2.00%", "$2,800"], id="ten times as often"
        ),
        pytest.param(
            {"failure/theft/a": 1.0}, ["theft", "0.2", "$14,000", "20.00%", "$2,800"], id="one control less"
        ),
        pytest.param(
            {"common": 1.0}, ["theft", "0.2", "$14,000", "11.80%", "$1,652"], id="a tenth in common"
        ),
    ],
)
def test_a_move(moved: dict[str, float], row: list[str]) -> None:
    """Each slider changes what it says, and nothing else."""
    assert explore.redrawn(GUARDED, starts(GUARDED) | moved)["rows"] == [row]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(
            {"number": 1, "places": {"rate/none": 1, "common": 7, "failure/theft/a": "x"}}, id="odd places"
        ),
        pytest.param({"number": 1, "places": {"common": float("nan")}}, id="no number"),
        pytest.param({"number": "1", "places": {}}, id="no count"),
        pytest.param({"places": [1]}, id="no places"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_a_page_may_not_ask(asked: dict[str, Any]) -> None:
    """What is no slider or no place moves nothing."""
    explorer = explore.explore(exposure.read("seed.yaml", years=10))
    before = {key: value for key, value in explorer.drawn.items() if key != "number"}
    explorer.asked = asked
    assert {key: value for key, value in explorer.drawn.items() if key != "number"} == before


def test_the_shipped_files_are_in_the_checkout() -> None:
    """Where the page looks for them."""
    assert SEED.parent == exposure.SCENARIOS
