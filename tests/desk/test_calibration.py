"""What is shown of incidents: the figures that were computed, from what, and where there are none."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.desk.conftest import Put
from tests.risk import market
from workbench.desk import calibrated, calibration, exposure_chart
from workbench.desk.show import Shown
from workbench.risk.exposure.backtest import coverage
from workbench.risk.exposure.counting import CalibrationError
from workbench.risk.exposure.incidents import Incident, IncidentError
from workbench.risk.exposure.plain_yaml import parse
from workbench.risk.exposure.scenarios import Portfolio
from workbench.runner.notebook import STYLE

TODAY, LAST_DAY = "2026-11-27", "2026-12-31"
NOT_HELD = "no list of all incidents, so no year's losses could be held out"


def text(shown: Shown) -> str:
    """Return what a reader reads."""
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown.markup))
    return told.replace("&#x27;", "'").replace("&quot;", '"')


def listed(folder: Path, incidents: tuple[Incident, ...]) -> str:
    """Return the path of a file of these incidents."""
    path = folder / "own.csv"
    path.write_bytes(market.csv(incidents))
    return str(path)


@pytest.fixture(scope="module")
def shipped() -> calibrated.Read:
    """The published figures, beside a list of the largest."""
    return calibrated.read(today=TODAY)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> calibrated.Read:
    """A made-up market, whole."""
    folder = tmp_path_factory.mktemp("own")
    return calibrated.read(incidents=listed(folder, market.market(7)), today=TODAY)


@pytest.fixture(scope="module")
def rate(shipped: calibrated.Read) -> calibrated.Rate:
    """The published rate, with six clean unit-years."""
    return calibrated.rate(shipped, units_low=500, units_high=3469, own_years=6.0)


# The shipped files.


def test_a_list_of_the_largest_is_no_sample(shipped: calibrated.Read) -> None:
    """How little of each year is listed, how much larger its losses are, and that nothing is fitted to it."""
    said = text(calibration.whole(shipped))
    assert "2021 1 71 1% $611,000,000 $2,360,000,000" in said
    assert "No sample: 1 of 71 incidents in 2021: a list of chosen ones is no sample" in said
    assert "above $100,000,000, half of all above $3,900,000" in said
    assert "26 times as large" in said
    assert shipped.calibration is None


def test_counts(shipped: calibrated.Read) -> None:
    """Mean, scatter, both fits, and the next year's interval, which stands in the drawing's words too."""
    shown = calibration.counts(shipped)
    said = text(shown)
    assert "moments 83.6 210.8 54.9 5" in said
    assert "Fano factor 2.52" in said
    assert "chance of 3.9%" in said
    low, high = calibrated.foretold(shipped)[2026]
    assert f"2026 has {low} to {high} incidents with 90 %" in said
    assert f"foretold of 2026: {low} to {high}" in shown.markup


def test_intervals_come_from_the_years_before_alone(shipped: calibrated.Read) -> None:
    """Three years are needed; one more year changes no earlier interval; a seed is an interval."""
    made = calibrated.foretold(shipped)
    assert sorted(made) == [2024, 2025, 2026]
    cut = shipped.published.model_copy(update={"years": shipped.published.years[:4]})
    assert calibrated.foretold(replace(shipped, published=cut)) == {each: made[each] for each in (2024, 2025)}
    assert calibrated.foretold(replace(shipped, seed=2)) != made


def test_severities(shipped: calibrated.Read) -> None:
    """Quantiles beside those of the fit, and an index of the tail that speaks for no mean."""
    said = text(calibration.severities(shipped))
    assert f"90% $57,000,000 {calibration.rough(shipped.tail.quantile(0.9))}" in said
    assert "µ 15.16 (15.00 to 15.32), σ 2.06 (1.95 to 2.17)" in said
    assert "20 1.15 0.76 to 1.60 speaks for no mean" in said
    assert "How many losses nobody knows is not published" in said


def test_classes(shipped: calibrated.Read) -> None:
    """Each class with its interval; one that nobody saw may still come."""
    said = text(calibration.classes(shipped))
    assert "contract 176 39.8% 35.8% to 43.4% 20.9%" in said
    assert "other 0 0.0% 0.0% to 0.4% 0.0%" in said
    assert said.index("contract") < said.index("keys") < said.index("blind-signing")


def test_what_the_rate_is_divided_by(rate: calibrated.Rate) -> None:
    """Both ends of the assumed number, and the prior that comes of them."""
    said = text(calibration.divided(rate))
    assert "418 incidents in 5 years" in said
    assert "500 units 16.72% 3,469 units 2.41%" in said
    assert "as a prior 8.19% (2.39% to 16.78% with 90 %)" in said
    assert "is assumed" in said


def test_what_own_years_are_worth(rate: calibrated.Rate) -> None:
    """Prior and posterior; a clean year says little, an incident much."""
    said = text(calibration.own_years(rate))
    prior, posterior = rate.market.prior, rate.posterior
    assert f"prior {prior.mean:.2%}" in said
    assert f"0 incidents in 6 unit-years posterior {posterior.mean:.2%}" in said
    none, one = (prior.observed(incidents=number, years=1).mean for number in (0, 1))
    assert f"1 {none:.2%} {one:.2%}" in said
    assert f"{prior.years:.1f} {prior.mean / 2:.2%}" in said


def test_nothing_is_held_out_of_published_figures(shipped: calibrated.Read) -> None:
    """It is said, in the section and in the end."""
    assert f"Nothing is tested: {NOT_HELD}" in text(calibration.held_out(shipped))
    rate = calibrated.rate(shipped, units_low=500, units_high=3469)
    said = text(calibration.verdict(shipped, rate))
    assert f"held out nothing: {NOT_HELD}" in said
    assert "incidents.csv: no sample, 1 of 71" in said
    assert "nothing speaks for a mean" in said
    assert "at the desk at most $10,000,000" in said


# A sample of one's own.


def test_a_sample(own: calibrated.Read) -> None:
    """It says who counted, and every figure is the sample's."""
    assert own.calibration is not None
    assert "A sample: at least nine of ten" in text(calibration.whole(own))
    assert "from own.csv" in text(calibration.counts(own))
    said = text(calibration.severities(own))
    known = sorted(float(each.loss_usd or 0) for each in own.incidents)
    assert f"50% {calibration.rough((known[208] + known[209]) / 2)}" in said
    assert "Unknown, and not guessed: 0 losses" in said
    keys = sum(each.door.value == "keys" for each in own.incidents)
    assert f"keys {keys} {keys / len(own.incidents):.1%}" in text(calibration.classes(own))


def test_years_held_out(own: calibrated.Read) -> None:
    """Eight figures of two years, each within or outside, and what so few years say."""
    said = text(calibration.held_out(own))
    assert [(each.year, each.figure) for each in own.held][::4] == [(2024, "incidents"), (2025, "incidents")]
    assert said.count(" within ") + said.count("OUTSIDE") - 1 == len(own.held) == 8
    for each in coverage(own.held):
        assert f"{each.figure} {each.within} of {each.of} {each.low:.0%} to {each.high:.0%}" in said
    hits = sum(each.within for each in own.held)
    rate = calibrated.rate(own, units_low=500, units_high=3469)
    assert f"held out {hits} of 8 figures" in text(calibration.verdict(own, rate))


def test_the_drawing_foretells_what_the_back_test_does(own: calibrated.Read) -> None:
    """The interval of a year's count is the same in both."""
    drawn = calibrated.foretold(own)
    for each in own.held[::4]:
        assert (int(each.low), int(each.high)) == drawn[each.year]


def test_somebody_may_say_that_it_is_whole(tmp_path: Path) -> None:
    """Then its own counts are those of the years that are over; without that word, the figures decide."""
    incidents = market.market(1, {2018: 30, 2019: 0, 2020: 41, 2026: 50})
    path = listed(tmp_path, incidents)
    made = calibrated.read(incidents=path, whole_by="the insurer", today=LAST_DAY)
    assert made.counts == {2018: 30, 2019: 0, 2020: 41}
    assert "counted by the insurer" in text(calibration.whole(made))
    assert "2019 0 0 - $0 -" in text(calibration.whole(made))
    refused = calibrated.read(incidents=path, today=LAST_DAY)
    assert (refused.calibration, refused.origin) == (None, "the published figures")
    assert "Nothing is tested: 3 years, the first 3 never held out" in text(calibration.held_out(made))


FEW: dict[str, tuple[dict[int, int], str]] = {
    "too few losses": ({2024: 3, 2025: 4}, "7 losses below the cap, at least 10"),
    "one year": ({2025: 40}, "1 years, at least 2"),
    "none that is over": ({2026: 40}, "counts of consecutive years"),
}


@pytest.mark.parametrize("case", FEW)
def test_too_little_to_fit(tmp_path: Path, case: str) -> None:
    """A list from which nothing can be had is told as such, whoever calls it whole."""
    counts, why = FEW[case]
    made = calibrated.read(
        incidents=listed(tmp_path, market.market(1, counts)), whole_by="the insurer", today=LAST_DAY
    )
    assert made.calibration is None
    assert why in text(calibration.whole(made))


def test_a_row_that_cannot_be_ends_it(tmp_path: Path) -> None:
    """A wrong row is no reason to take other figures instead."""
    path = tmp_path / "own.csv"
    path.write_bytes(market.csv(market.market(1)).replace(b",keys,", b",magic,", 1))
    with pytest.raises(IncidentError) as refused:
        calibrated.read(incidents=str(path), today=TODAY)
    assert refused.value.path.endswith("/class")


# What is pasted.


@pytest.mark.parametrize("name", ["shipped", "own"])
def test_a_fragment_is_taken_by_a_scenario(name: str, request: pytest.FixtureRequest) -> None:
    """What is shown, pasted into a file, is the posterior, the tail and the assumption."""
    read: calibrated.Read = request.getfixturevalue(name)
    rate = calibrated.rate(read, units_low=500, units_high=3469, own_years=6.0, own_incidents=1)
    shown = text(calibration.to_paste(read, rate, author="risk: officer"))
    written = calibrated.fragment_text(read, rate, author="risk: officer")
    assert re.sub(r"\s+", " ", written) in shown
    row = parse(written.encode()) | {"id": "theft", "exposure": 1, "controls": [], "residual_severity": 0}
    (scenario,) = Portfolio.load([row]).scenarios
    likelihood, severity = scenario.likelihood, scenario.severity
    assert float(likelihood.shape) == pytest.approx(rate.posterior.shape, rel=1e-3)  # type: ignore[union-attr]
    assert float(likelihood.years) == pytest.approx(rate.posterior.years, rel=1e-3)  # type: ignore[union-attr]
    assert float(severity.interval[1]) == pytest.approx(read.tail.interval()[1], rel=1e-3)  # type: ignore[union-attr]
    assert severity.cap == Decimal(10_000_000)  # type: ignore[union-attr]
    assert scenario.assumption is not None
    assert (scenario.assumption.author, scenario.assumption.expiry) == ("risk: officer", "2027-11-27")
    assert read.says in scenario.assumption.source


def test_published_figures_that_have_run_out_give_no_fragment(rate: calibrated.Rate) -> None:
    """A fragment does not outlive what it was made of; a list of one's own does not run out."""
    late = calibrated.read(today="2027-11-27")
    assert "No fragment: it expires on 2027-11-27" in text(calibration.to_paste(late, rate, author="x"))
    with pytest.raises(CalibrationError):
        calibrated.fragment_text(late, rate, author="x")


def test_a_source_that_is_too_long_is_not_cut(tmp_path: Path, rate: calibrated.Rate) -> None:
    """Whoever reads a scenario reads the whole source, or there is no fragment."""
    path = listed(tmp_path, market.market(1))
    made = calibrated.read(incidents=path, whole_by="the insurer " * 40, today=TODAY)
    assert "No fragment: no fragment of a scenario: source" in text(
        calibration.to_paste(made, rate, author="x")
    )


# How it looks.


@pytest.mark.parametrize("name", ["shipped", "own"])
def test_on_any_page(name: str, request: pytest.FixtureRequest, put: Put) -> None:
    """Every section stands on a telephone and on a page, in light and in dark, with the page's own ink."""
    read: calibrated.Read = request.getfixturevalue(name)
    rate = calibrated.rate(read, units_low=500, units_high=3469)
    shown = [calibration.whole(read), calibration.counts(read), calibration.severities(read)]
    shown += [calibration.classes(read), calibration.divided(rate), calibration.own_years(rate)]
    shown += [calibration.held_out(read), calibration.to_paste(read, rate, author="x")]
    markup = "".join(each.markup for each in (*shown, calibration.verdict(read, rate)))
    page = put(f"<style>{STYLE}</style>{markup}")
    assert page.locator("svg").count() == 2
    assert markup.count('role="img" aria-label="') == 2
    assert "<script" not in markup


def test_a_year_alone_has_no_bar() -> None:
    """Without an interval there are points, and nothing is foretold in words."""
    shown = exposure_chart.counts("Counts", {2021: 7, 2022: 9}, {})
    assert "2021: 7. 2022: 9" in shown.markup
    assert "foretold" not in shown.markup


def test_the_day_is_told(tmp_path: Path) -> None:
    """Which day it is comes from outside, and an incident after it is refused."""
    assert calibrated.given(today=TODAY)[1] == date(2026, 11, 27)
    path = listed(tmp_path, market.market(1))
    with pytest.raises(IncidentError):
        calibrated.read(incidents=path, today="2025-01-01")
