"""What stands in the repository: its top level, its locks, its paths, its silenced checks."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = frozenset(
    {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "binder",
        "ledger",
        "notebooks",
        "policies",
        "pyproject.toml",
        "tests",
        "workbench",
    }
)
# A folder of one machine, a person's home, a registry's or an index's host.
MACHINE = re.compile(r"(?<![\w.>)])/(?:work|root|home/\w+|Users/\w+)/")
LOCKS = sorted(path for path in (ROOT / "binder").glob("*.txt") if path.name != "apt.txt")


def tracked() -> list[Path]:
    """Return the files of the repository, those that are not yet committed included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_is_the_agreed_one() -> None:
    """No other folder or file appears beside the named ones."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} == TOP


def test_no_path_of_a_machine() -> None:
    """What is checked in says nothing of where it was made."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param('x = "/' + 'work/main"', True, id="a checkout"),
        pytest.param("/" + "root/.local", True, id="root's home"),
        pytest.param("see /" + "home/alice/x", True, id="somebody's home"),
        pytest.param("docs/work/x", False, id="a relative folder"),
        pytest.param("/" + "usr/lib/softhsm", False, id="a folder that every machine has"),
    ],
)
def test_the_search_for_paths_bites(line: str, *, found: bool) -> None:
    """Absolute paths of a machine are found, others are not."""
    assert (MACHINE.search(line) is not None) == found


def requirements(lock: Path) -> list[str]:
    """Return the logical lines of a lock file."""
    joined = lock.read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_python_locks_are_exact_and_hashed(lock: Path) -> None:
    """Every package has one version and a hash, and comes from no named address."""
    lines = requirements(lock)
    assert lines
    for line in lines:
        assert re.match(r"[a-zA-Z0-9._-]+(\[[\w,-]+\])?==\S+ ", line), line[:80]
        assert "--hash=sha256:" in line, line[:80]
        assert not re.search(r"https?://|\s@\s|--(extra-)?index-url|--find-links", line), line[:80]


def test_the_npm_lock_is_hashed_and_names_no_host() -> None:
    """Every package has an integrity hash; where it comes from is the machine's configuration."""
    lock = json.loads((ROOT / "binder" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_the_rust_lock_is_exact_and_hashed() -> None:
    """Every crate but our own has one version, a hash, and comes from the one registry."""
    lock = tomllib.loads((ROOT / "workbench" / "native" / "Cargo.lock").read_text())
    crates = [crate for crate in lock["package"] if crate["name"] != "workbench-tss"]
    assert crates
    assert {crate["source"].partition("+")[0] for crate in crates} == {"registry"}
    assert len({crate["source"] for crate in crates}) == 1
    assert all(re.fullmatch("[0-9a-f]{64}", crate["checksum"]) for crate in crates)
    manifest = tomllib.loads((ROOT / "workbench" / "native" / "Cargo.toml").read_text())
    wanted = [
        each if isinstance(each, str) else each["version"] for each in manifest["dependencies"].values()
    ]
    assert all(version.startswith("=") for version in wanted)


def comments(path: Path) -> list[tuple[int, str]]:
    """Return a module's comments with their lines; text in strings is none."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore)\b", re.IGNORECASE)
NAMED = re.compile(r"#\s*(noqa:\s*[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*|type: ignore\[[a-z, -]+\])(\s|$)")


def test_silenced_checks_say_which() -> None:
    """Every `noqa` and `type: ignore` names the rule that it silences."""
    modules = [*(ROOT / "workbench").rglob("*.py"), *(ROOT / "ledger").rglob("*.py")]
    bare = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules
        for line, comment in comments(path)
        if SILENCED.search(comment) and not NAMED.search(comment)
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("comment", "named"),
    [
        pytest.param("# noqa", False, id="bare noqa"),
        pytest.param("# type: ignore", False, id="bare ignore"),
        pytest.param("# noqa: E501 - a table", True, id="rule and reason"),
        pytest.param("# type: ignore[arg-type]  # as above", True, id="code and reason"),
    ],
)
def test_the_search_for_silence_bites(comment: str, *, named: bool) -> None:
    """A rule without a name is found."""
    assert SILENCED.search(comment)
    assert (NAMED.search(comment) is not None) == named
