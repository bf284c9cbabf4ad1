"""What one run of the demo leaves behind: figures, report, evidence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from ledger import verifier
from ledger.verifier import VerificationError
from tests import alone
from tests.approver.browser import chromium
from workbench import cli
from workbench.commands import COULD_NOT_RUN
from workbench.commands import demo as demo_command
from workbench.demo.run import Outcome
from workbench.runner import notebook
from workbench.runner.notebook import NotebookError


def shown(outcome: Outcome) -> str:
    """Return the report's text without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", outcome.report.read_text()))


def entries(outcome: Outcome) -> list[dict[str, object]]:
    """Return the heads of the bundle's entries with their data."""
    lines = [json.loads(line) for line in (outcome.bundle / "entries.jsonl").read_text().splitlines()]
    return [{**json.loads(line["head"]), "data": json.loads(line["data"])} for line in lines]


def test_states(outcome: Outcome) -> None:
    """The $5M swap is rejected; one tranche and its allowance are on chain; nothing else moved."""
    states = {purpose: state for purpose, state, _ in outcome.intents}
    assert states["swap of $5M"] == "rejected"
    assert states["allowance of exactly 1,000,000 for: swap of $1M"] == "confirmed"
    assert states["swap of $1M"] == "confirmed"
    assert sum(state == "confirmed" for state in states.values()) == 2
    assert len({tx for _, _, tx in outcome.intents if tx}) == 2


@pytest.mark.parametrize(
    "phrase",
    [
        pytest.param("outstanding approve:any:1, approve:cro:1", id="the CRO is outstanding"),
        pytest.param("slippage 3.0000 %", id="$5M at once"),
        pytest.param("cost $150,000", id="$5M at once, in dollars"),
        pytest.param(
            "cro-1 cro reject simulated slippage 3.0000 %, 150,000 USDC", id="rejected for that reason"
        ),
        pytest.param("together 3.0000 % $150,000", id="five back to back cost the same"),
        pytest.param("5 6.4995 %", id="the fifth pays for the four before it"),
        pytest.param("slippage 0.2000 %", id="one tranche"),
        pytest.param("The ledger verifies", id="evidence"),
        pytest.param("transaction.confirmed", id="receipt"),
        pytest.param("swap of $1M confirmed in block", id="conclusion"),
    ],
)
def test_report_says(outcome: Outcome, phrase: str) -> None:
    """The figures of the worked example stand in the report."""
    assert phrase in shown(outcome)


def test_simulated_figures_in_the_ledger(outcome: Outcome) -> None:
    """The observer's signed figures are the worked example's, to the part per million."""
    documents = [
        each["data"]["statements"][0]["document"]
        for each in entries(outcome)
        if each["type"] == "simulation.attested"
    ]  # type: ignore[index]
    alone = {each["slippage_ppm"] for each in documents if each["sequence"] is None}
    runs = [each["sequence"] for each in documents if each["sequence"] is not None]
    assert alone == {None, 2_000}
    assert [run["slippage_ppm"] for run in runs] == [30_000, 30_000]
    steps = [step["slippage_ppm"] for step in runs[1]["steps"] if step["slippage_ppm"] is not None]
    assert steps == [2_000, 8_881, 27_568, 46_557, 64_995]


def test_the_command_prints_it(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    """`workbench demo` prints a line for each intent, the report, the bundle, the head and the verdict."""
    demo_command.show(outcome)
    said = capsys.readouterr().out
    for purpose, state, tx_hash in outcome.intents:
        assert re.search(
            rf"^{re.escape(purpose)} +{state} +{'0x' + tx_hash if tx_hash else '-'}$", said, re.MULTILINE
        )
    assert f"report        {outcome.report}" in said
    assert f"ledger head   {outcome.size} entries, h {outcome.h}" in said
    assert "verification  sound: ledger " in said


def test_the_command_wants_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something in it is refused before anything starts."""
    (tmp_path / "something").touch()
    assert cli.main(["demo", "--state", str(tmp_path)]) == COULD_NOT_RUN
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_the_notebook_waited_for_people(outcome: Outcome) -> None:
    """Every approval was signed by somebody else than the proposer, in a session of his own."""
    made = [each for each in entries(outcome) if each["type"] == "decision.recorded"]
    assert len(made) == 2
    assert {each["actor"] for each in made} == {"risk-1"}


def test_report_asks_for_nothing(outcome: Outcome) -> None:
    """A browser opens the report under its strict policy without one request, script or complaint."""
    with chromium() as browser:
        for scheme in ("light", "dark"):
            for width in (1280, 420):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
                asked: list[str] = []
                said: list[str] = []
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.on("console", lambda message, said=said: said.append(message.text))
                page.goto(outcome.report.as_uri())
                assert asked == [outcome.report.as_uri()]
                assert said == []
                assert page.evaluate("document.scripts.length") == 0
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.locator(".workbench table").count() >= 8
                assert page.locator("svg").count() == 1


ON_PAPER = """() => {
  const of = (which, what) => [...new Set([...document.querySelectorAll(which)].map(
    (each) => getComputedStyle(each)[what]))];
  return {
    ground: of("body", "backgroundColor"), inks: of("h1, h2, p, td, th, svg", "color"),
    heads: of("h1, h2, .workbench > p", "breakAfter"), rows: of("tr, svg", "breakInside"),
    scrolled: of("main *", "overflowX"),
  };
}"""


def test_report_on_paper(outcome: Outcome) -> None:
    """Dark ink on white whatever the screen is; a head stays with what it heads; nothing is scrolled."""
    with chromium() as browser:
        page = browser.new_page(color_scheme="dark")
        page.goto(outcome.report.as_uri())
        page.emulate_media(media="print")
        paper = page.evaluate(ON_PAPER)
    assert (paper["ground"], paper["inks"]) == (["rgb(255, 255, 255)"], ["rgb(28, 28, 28)"])
    assert (paper["heads"], paper["rows"]) == (["avoid"], ["avoid"])
    assert "auto" not in paper["scrolled"]


def test_bundle_verifies_alone(outcome: Outcome, tmp_path: Path) -> None:
    """An auditor's machine has `ledger`, cryptography and orjson; that is enough."""
    lone = alone.furnish(tmp_path)
    done = alone.run(lone, "verify", str(outcome.bundle), "--keys", str(outcome.trust_root))
    assert (done.returncode, done.stderr) == (0, "")
    assert outcome.h in done.stdout


def test_flipped_bytes_of_the_bundle(outcome: Outcome, tmp_path: Path) -> None:
    """A bit of any entry or checkpoint makes the bundle unsound: a sample of the bytes of both."""
    bundle = tmp_path / "bundle"
    shutil.copytree(outcome.bundle, bundle)
    for path in [*sorted((bundle / "checkpoints").iterdir()), bundle / "entries.jsonl"]:
        genuine = path.read_bytes()
        # `tests/ledger` flips each byte of a small bundle
        stride = 13 if path.parent.name == "checkpoints" else 97
        for place in range(0, len(genuine), stride):
            damaged = bytearray(genuine)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(VerificationError) as caught:
                verifier.verify(bundle, outcome.trust_root)
            assert caught.value.report.findings
        path.write_bytes(genuine)
    verifier.verify(bundle, outcome.trust_root)


def test_executed_notebook_has_no_error(outcome: Outcome) -> None:
    """The executed copy stands beside the report, run from top to bottom."""
    executed = nbformat.read(outcome.report.with_suffix(".ipynb"), as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is not None for cell in code)
    assert not [each for cell in code for each in cell.outputs if each.output_type == "error"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"surprise": 1}, "no parameter 'surprise'", id="unknown"),
        pytest.param({"socket": 1}, "declared str", id="of another type"),
        pytest.param({"x=1;print('injected')\ny": 1}, "no parameter", id="code in a name"),
    ],
)
def test_notebook_parameters_are_checked(parameters: dict[str, object], message: str, tmp_path: Path) -> None:
    """What a notebook does not declare is refused before anything runs."""
    source = Path(__file__).parents[2] / "notebooks" / "committee" / "newswap.ipynb"
    with pytest.raises(NotebookError, match=re.escape(message)):
        notebook.run(source, tmp_path / "out", parameters)
    assert list((tmp_path / "out").iterdir()) == []
