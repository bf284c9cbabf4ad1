"""The notebooks on risk, run headless: their published figures stand in the report, and no script does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.risk import market
from workbench.desk import calibrated, exposure
from workbench.runner import notebook
from workbench.runner.notebook import NotebookError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "risk"
TODAY = "2026-11-27"
FIVE_ROWS = (
    "together $330,000 $3,500",
    "inherent VaR 99 %, 99.9 % $2,500,000, $10,500,000",
    "Its sum, $70,000, means nothing",
    "5, 0 past their expiry",
)
DESK = ("within the appetite of 2.00%", "with controls: TVaR, 90 % credible")
PAID = ("The best controls for a budget", "$250,000 ALE", "Sobol indices of", "Limits that keep the appetite")
PUBLISHED = (
    "No sample: 1 of 71 incidents in 2021",
    "26 times as large",
    "moments 83.6 210.8 54.9",
    "Fano factor 2.52",
    "µ 15.16 (15.00 to 15.32), σ 2.06",
    "90% $57,000,000",
    "contract 176 39.8%",
    "as a prior 8.19% (2.39% to 16.78% with 90 %)",
    "Nothing is tested: no list of all incidents",
    'expiry: "2027-11-27"',
    "nothing speaks for a mean",
)
RUNS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "the five rows": ("exposure", {}, FIVE_ROWS),
    "a desk's scenarios": ("exposure", {"scenarios": "desk.yaml", "years": 100_000}, DESK),
    "what to pay for": ("control-investment", {}, (*PAID, DESK[0])),
    "published figures": ("calibration", {}, PUBLISHED),
}


def report(name: str, folder: Path, **parameters: object) -> str:
    """Return what a reader reads of a report, which asks for nothing and runs nothing."""
    made = notebook.run(NOTEBOOKS / f"{name}.ipynb", folder, {"today": TODAY, **parameters}).read_text()
    assert "<script" not in made
    assert "jupyter.widget" not in made
    assert re.search(r"""(?:src|href)=["']https?:""", made) is None
    said = re.sub(r"<style.*?</style>|<svg.*?</svg>", " ", made, flags=re.DOTALL)
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", said))
    return said.replace("&#x27;", "'").replace("&quot;", '"').replace("&#39;", "'")


@pytest.mark.parametrize("case", RUNS)
def test_published_values(tmp_path: Path, case: str) -> None:
    """Each notebook says what was published of it."""
    name, parameters, values = RUNS[case]
    said = report(name, tmp_path / "out", **parameters)
    assert [each for each in values if each not in said] == []


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    """Its quality, counts, losses and back-test stand in the report, as they are computed here."""
    path = tmp_path / "own.csv"
    path.write_bytes(market.csv(market.market(7)))
    said = report("calibration", tmp_path / "out", incidents=str(path), own_years=6.0)
    read = calibrated.read(incidents=str(path), today=TODAY)
    assert read.calibration is not None
    posterior = calibrated.rate(read, units_low=500, units_high=3469, own_years=6.0).posterior
    hits = sum(each.within for each in read.held)
    for value in (
        "theft once yes 0",
        "A sample: at least nine of ten incidents of each year",
        f"Fano factor {read.counted.fano:.2f}",
        f"µ {read.tail.mu:.2f}",
        f"posterior {posterior.mean:.2%}",
        f"held out {hits} of 8 figures",
        "own.csv: a sample",
    ):
        assert value in said


def test_a_row_that_cannot_be_ends_the_run(tmp_path: Path) -> None:
    """There is no report, and no other figures in its place; the executed copy shows what is wrong."""
    path = tmp_path / "own.csv"
    path.write_bytes(market.csv(market.market(7)).replace(b",keys,", b",magic,", 1))
    with pytest.raises(NotebookError, match="IncidentError"):
        report("calibration", tmp_path / "out", incidents=str(path))
    assert "class</td>" in (tmp_path / "out" / "calibration.ipynb").read_text()
    assert not list((tmp_path / "out").glob("*.html"))


def test_the_figures_of_the_five_rows_are_computed_here_too() -> None:
    """What the report says is what the desk says in this process."""
    found = exposure.read(today=TODAY, years=1_000).found
    assert (round(found.inherent.ale), round(found.residual.ale)) == (330_000, 3_500)
    assert [found.inherent.annual.var(level) for level in (0.99, 0.999)] == [2_500_000, 10_500_000]
