"""The notebooks as delivered reports: they say what was found, ask for nothing, and reproduce elsewhere."""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from tests.audit.world import SIZE, Desk, rewritten
from tests.ledger.world import Folder
from workbench.runner import notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "audit"
INTEGRITY, ENTRY = NOTEBOOKS / "ledger-integrity.ipynb", NOTEBOOKS / "entry-proof.ipynb"


@dataclass(frozen=True)
class Delivered:
    """A folder as an auditor gets it: report, executed notebook, bundle, trust root."""

    folder: Path

    def copy(self, target: Path) -> "Delivered":
        """Return a copy elsewhere."""
        return Delivered(Path(shutil.copytree(self.folder, target)))

    @property
    def bundle(self) -> Folder:
        """The bundle."""
        return Folder(self.folder / "bundle")


@pytest.fixture(scope="module")
def delivered(desk: Desk, genuine: Folder, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """What is delivered about the genuine bundle."""
    folder = tmp_path_factory.mktemp("delivered")
    shutil.copytree(genuine.path, folder / "bundle")
    shutil.copy(desk.trust_root, folder)
    # Named relative to the folder, so that it can be run again wherever it was delivered to.
    parameters = {"bundle": "bundle", "trust_root": "trust-root.json"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        notebook.run(INTEGRITY, folder, parameters)
        notebook.run(ENTRY, folder, parameters | {"seq": 3})
    return Delivered(folder)


def shown(path: Path) -> str:
    """Return a report's text without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", path.with_suffix(".html").read_text()))


@pytest.mark.parametrize(
    ("name", "phrases"),
    [
        pytest.param(
            "ledger-integrity",
            [
                "Findings of the verifier : nothing",
                "all say the same",
                "2 of 2 needed",
                "not asked: no blocks listed",
                "2 10 erasure request 7",
                "Cited and missing : nothing",
                "actor known yes 0",
                "Faults : nothing",
                "bundle sound",
                f'"size":{SIZE}',
            ],
            id="integrity",
        ),
        pytest.param(
            "entry-proof",
            [
                "intent.proposed",
                "a test",
                "witness-2",
                "yes, under the checkpoint of 5 entries",
            ],
            id="entry",
        ),
    ],
)
def test_report_says(delivered: Delivered, name: str, phrases: list[str]) -> None:
    """A sound bundle's report says so, and of what."""
    said = shown(delivered.folder / name)
    assert [phrase for phrase in phrases if phrase not in said] == []


def test_reports_ask_for_nothing(delivered: Delivered) -> None:
    """A browser opens each report without one request, script or complaint, narrow and wide."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme, width in (("light", 1280), ("dark", 420)):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            for source in (INTEGRITY, ENTRY):
                report = (delivered.folder / source.name).with_suffix(".html")
                asked: list[str] = []
                said: list[str] = []
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.on("console", lambda message, said=said: said.append(message.text))
                page.goto(report.as_uri())
                assert set(asked) == {report.as_uri()}
                assert said == []
                assert page.evaluate("document.scripts.length") == 0
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.locator("svg").count() == (2 if source is INTEGRITY else 0)
        browser.close()


def test_nothing_of_the_run_is_in_it(delivered: Delivered) -> None:
    """No output holds a path or the noise of a library."""
    for source in (INTEGRITY, ENTRY):
        cells = nbformat.read(delivered.folder / source.name, as_version=4).cells
        made = [output for cell in cells for output in cell.get("outputs", [])]
        assert {output.output_type for output in made} <= {"display_data", "execute_result"}
        assert not any(
            word in str(made) for word in (str(delivered.folder), tempfile.gettempdir(), "site-packages")
        )


def nbval(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run delivered notebooks again and compare every output, as an auditor does."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(
        [*command, "--rootdir", str(folder), "-c", "/dev/null", *names],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_delivered_reproduces(delivered: Delivered, tmp_path: Path) -> None:
    """A delivered report, run again elsewhere against the delivered bundle, gives the same to the letter."""
    again = delivered.copy(tmp_path / "elsewhere")
    done = nbval(again.folder, INTEGRITY.name, ENTRY.name)
    assert done.returncode == 0, done.stdout


def test_a_report_of_another_bundle(delivered: Delivered, tmp_path: Path) -> None:
    """A report does not reproduce against a bundle that an insider with all keys has changed since."""
    again = delivered.copy(tmp_path / "elsewhere")
    rewritten(lambda drafts: drafts[3].update(data=b'{"purpose":"another"}'))(again.bundle)
    done = nbval(again.folder, ENTRY.name)
    assert done.returncode == 1
    assert "mismatch" in done.stdout
