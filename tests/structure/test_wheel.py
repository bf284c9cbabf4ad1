"""The wheel: built from this checkout without a network, with what an auditor needs in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Build the wheel and return the names in it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.mark.parametrize("pattern", ["ledger/SPEC.md", "ledger/vectors/*.json", "ledger/**/*.py"])
def test_the_ledger_is_whole(names: frozenset[str], pattern: str) -> None:
    """Specification, vectors and modules travel together."""
    wanted = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
    assert wanted
    assert wanted <= names


def test_every_module_is_in_it(names: frozenset[str]) -> None:
    """No package is forgotten; the Rust crate is a distribution of its own."""
    modules = {path.relative_to(ROOT) for path in (ROOT / "workbench").rglob("*.py")}
    native = {path for path in modules if path.is_relative_to("workbench/native")}
    assert {str(path) for path in modules - native} <= names
    assert native
    assert not any(name.startswith("workbench/native") for name in names)


def test_the_threats_and_the_licence_travel_too(names: frozenset[str]) -> None:
    """Who installs the processes gets the table of what they can do, the unit, and the terms."""
    assert "workbench/THREATS.md" in names
    assert "workbench/process/custody-cosigner@.service" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nothing_else_is_in_it(names: frozenset[str]) -> None:
    """Neither tests nor state nor notebooks are distributed."""
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ledger", "workbench"}
