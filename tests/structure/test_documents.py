"""The README says what is: commands, state table, coverage, packages and terms are compared with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.__main__ import main as ledger_main
from workbench import cli
from workbench.rules.key_life import TABLE as KEYS
from workbench.rules.lifecycle import TABLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# The rows of what was asked for; each stands in the coverage table once.
ASKED = [
    f"{letter}{number}"
    for letter, count in {"K": 7, "P": 5, "A": 4, "T": 6, "R": 5, "C": 5, "J": 5}.items()
    for number in range(1, count + 1)
]
STATES = ("works", "partly", "not yet")
# The project's words; those that the code uses are explained in the README.
TERMS = (
    "intent",
    "proposal",
    "programme",
    "decision",
    "lease",
    "lane",
    "attestation",
    "facts",
    "obligation",
    "approval",
    "quorum",
    "policy set",
    "whitelist entry",
    "counterparty card",
    "co-signer",
    "key ceremony",
    "session",
    "service account",
    "checkpoint",
    "witness",
    "anchor",
    "bundle",
    "segment",
    "breaker",
    "sweep",
    "drill",
    "scenario",
    "exposure",
    "residual loss",
    "report",
)


def section(title: str) -> str:
    """Return the text under a heading of the second level."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, header: str) -> list[list[str]]:
    """Return the rows of the table whose header line begins like this."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {header} |"):
            break
    else:
        raise AssertionError(f"no table {header!r}")
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return found


def test_the_state_table_is_the_codes() -> None:
    """Row for row, in the same order."""
    printed = [tuple(row) for row in rows(section("Six steps"), "state")]
    assert printed == [(state.value, event.value, after.value) for (state, event), after in TABLE.items()]


def test_the_table_of_a_keys_life_is_the_codes() -> None:
    """Row for row, in the same order."""
    printed = [tuple(row) for row in rows(section("Life of a key"), "key state")]
    assert printed == [(state.value, event.value, after.value) for (state, event), after in KEYS.items()]


def commands(prefix: str) -> set[str]:
    """Return the sub-commands that the README lists behind this prefix."""
    listed = [row[0] for row in rows(section("Commands"), "command")]
    return {row.strip("`").split()[len(prefix.split())] for row in listed if row.startswith(f"`{prefix} ")}


def offered(usage: str) -> set[str]:
    """Return the sub-commands of a usage text: the words that an indented help line begins with."""
    body = usage.split("positional arguments:", 1)[1].split("options:", 1)[0]
    return set(re.findall(r"^ {4}(\w[\w-]*)", body, re.MULTILINE))


def test_workbench_has_the_listed_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """README and `workbench --help` name the same commands."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert commands("workbench") == offered(capsys.readouterr().out)


def test_the_ledger_has_the_listed_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """README and `python -m ledger --help` name the same commands."""
    with pytest.raises(SystemExit):
        ledger_main(["--help"])
    assert commands("python -m ledger") == offered(capsys.readouterr().out)


def test_the_entry_point_is_installed() -> None:
    """`workbench` stands beside the interpreter and answers."""
    command = [str(Path(sys.executable).with_name("workbench")), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "usage: workbench" in done.stdout


@pytest.mark.parametrize("target", ["demo", "test", "lint", "lock"])
def test_make_targets_exist(target: str) -> None:
    """`make` knows every target that the README names, and would run the bootstrap first."""
    assert f"`make {target}`" in README
    command = ["make", "--no-print-directory", "--dry-run", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("binder/bootstrap\n")


def test_every_asked_for_row_is_covered_once() -> None:
    """Nothing that was asked for is left out, and each state is one of three."""
    table = rows(section("What is not there yet"), "id")
    assert sorted(each for row in table for each in row[0].split()) == sorted(ASKED)
    assert {row[2] for row in table if not row[2].startswith(STATES)} == set()


def test_every_package_is_described() -> None:
    """The layout names each package there is, and no other."""
    described = {
        name.strip("`") for row in rows(section("Development"), "package") for name in row[0].split(", ")
    }
    folders = {f"workbench.{path.parent.name}" for path in (ROOT / "workbench").glob("*/__init__.py")}
    modules = {
        f"workbench.{path.stem}" for path in (ROOT / "workbench").glob("*.py") if path.stem != "__init__"
    }
    assert described == folders | modules | {"ledger"}


def test_terms_that_the_code_uses_are_explained() -> None:
    """A word of the project that stands in the code stands in the glossary."""
    code = "\n".join(path.read_text().lower() for path in (ROOT / "workbench").rglob("*.py"))
    used = {term for term in TERMS if re.search(rf"\b{re.escape(term)}s?\b", code)}
    explained = {row[0] for row in rows(section("Glossary"), "term")}
    assert used - explained == set()


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "policies/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link is a file or folder of the repository, each anchor a heading."""
    path = ROOT / name
    text = path.read_text()
    headings = {"#" + re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in _headings(text)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target in headings
        elif not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def _headings(text: str) -> list[str]:
    return [line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")]


def test_decisions_are_one_page_each() -> None:
    """A decision record has its four parts, its number, and fits on a page."""
    records = sorted((ROOT / "workbench" / "decisions").glob("*.md"))
    for number, path in enumerate(records, 1):
        text = path.read_text()
        assert text.startswith(f"# {number:04d} ")
        assert path.name.startswith(f"{number:04d}-")
        for part in ("## Context", "## Options", "## Chosen", "## What would change our mind"):
            assert part in text, f"{path.name}: {part}"
        assert len(text.splitlines()) <= 60, path.name


def test_the_licence_is_whole() -> None:
    """LICENSE is the Apache-2.0 text that pyproject.toml names."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
