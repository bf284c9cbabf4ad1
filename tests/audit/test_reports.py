"""The notebooks on bundles that are not sound: the run fails with the place, the tables show why."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.audit.world import Desk, rewritten
from tests.ledger.world import Folder
from workbench.runner import notebook
from workbench.runner.notebook import NotebookError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "audit"
INTEGRITY, ENTRY = NOTEBOOKS / "ledger-integrity.ipynb", NOTEBOOKS / "entry-proof.ipynb"
ZERO = "00" * 32
PREVIOUS = f'{{"h":"{ZERO}","root":"{ZERO}","size":9}}'

BAD: dict[str, tuple[Callable[[Folder], None], dict[str, object], str, str]] = {
    "a cut tail": (
        lambda folder: folder.write_lines(folder.lines()[:-1]),
        {},
        "not sound, first at entry 11",
        "is missing: checkpoint 12 covers 12 entries",
    ),
    "a stranger's entry, signed by everybody, on another branch": (
        rewritten(lambda drafts: drafts[5]["head"].update(actor="mallory-1")),
        {"previous": PREVIOUS},
        "not sound, first at entry 5",
        "actor known NO 1 entry 5",
    ),
}


def said(cells: list[nbformat.NotebookNode]) -> str:
    """Return the text of all tables."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    markup = " ".join(output["data"]["text/html"] for output in outputs if "data" in output)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


@pytest.mark.parametrize("case", BAD)
def test_report_fails(desk: Desk, copy: Callable[[], Folder], tmp_path: Path, case: str) -> None:
    """Only the last cell fails, with the place; there is no report, and the executed copy shows why."""
    attack, parameters, place, evidence = BAD[case]
    folder = copy()
    attack(folder)
    given = {"bundle": str(folder.path), "trust_root": str(desk.trust_root)} | parameters
    with pytest.raises(NotebookError, match=re.escape(place)):
        notebook.run(INTEGRITY, tmp_path / "out", given)
    cells = nbformat.read(tmp_path / "out" / INTEGRITY.name, as_version=4).cells
    failed = [cell for cell in cells if any(out.output_type == "error" for out in cell.get("outputs", []))]
    assert [cell.source for cell in failed] == ["show.verdict(found)"]
    assert evidence in said(cells)
    assert ("DOES NOT EXTEND IT" in said(cells)) == ("previous" in parameters)
    assert not list((tmp_path / "out").glob("*.html"))


def test_no_proof_of_an_entry(desk: Desk, copy: Callable[[], Folder], tmp_path: Path) -> None:
    """The proof of an entry fails before it shows anything, wherever in the bundle the fault is."""
    folder = copy()
    folder.write_lines(folder.lines()[:-1])
    given = {"bundle": str(folder.path), "trust_root": str(desk.trust_root), "seq": 3}
    with pytest.raises(NotebookError, match=r"not sound: 1 findings, first: \(11\) entry 11: is missing"):
        notebook.run(ENTRY, tmp_path / "out", given)
    cells = nbformat.read(tmp_path / "out" / ENTRY.name, as_version=4).cells
    assert said(cells) == ""
    assert not list((tmp_path / "out").glob("*.html"))
