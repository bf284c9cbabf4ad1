"""The commands over one process's token: what they print, what they refuse, and that they leave no object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.custody import attempts
from workbench.demo.provision import configured, provision

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a process's state root."""
    root = tmp_path / "cosigner-1"
    keys = provision(root, "cosigner-1", secp256k1="treasury/1", sealing="seal/1")
    config = {"name": "cosigner-1", "token": configured("cosigner-1", keys["serial"])}
    (root / "config.json").write_text(json.dumps(config))
    return root


def run(*words: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it says."""
    command = [sys.executable, "-m", "workbench.cli", "custody", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def objects(state: Path) -> set[str]:
    """Return the token's files."""
    return {path.name for path in (state / "tokens").rglob("*.object")}


def test_a_token_is_shown(state: Path) -> None:
    """What it is, what it can do, that it keeps its keys, and each key with what is claimed of it."""
    before = objects(state)
    code, said, errors = run("token", str(state))
    assert (code, errors) == (0, "")
    words = [line.split() for line in said.splitlines()]
    for line in (
        ["secp256k1", "yes", "listed"],
        ["aes-key-wrap-pad", "no", "listed"],
        ["seals", "by", "aes-gcm"],
        ["refuses-to-wrap-a-key", "passed"],
        ["label", "cosigner-1"],
    ):
        assert line in words
    assert words.count(["NEVER_EXTRACTABLE", "true"]) == 3
    assert words.count(["EXTRACTABLE", "false"]) == 3
    assert {line[0] for line in words if line and line[0].startswith("'")} == {
        "'identity/1'",
        "'seal/1'",
        "'treasury/1'",
    }
    assert (state / "pin").read_text() not in said
    assert objects(state) == before
    assert attempts.read(state).wrong == 0


def test_locked_and_unlocked(state: Path) -> None:
    """A wrong PIN is refused and counted; unlocking says how many there were."""
    pin = (state / "pin").read_text()
    (state / "pin").chmod(0o600)
    (state / "pin").write_text("00000000")
    code, said, errors = run("token", str(state))
    assert (code, said) == (1, "")
    assert errors.startswith("workbench: token_pin_wrong: ")
    assert attempts.read(state).wrong == 1
    assert run("unlock", str(state)) == (0, "1 wrong PINs in a row; counted from none again\n", "")
    (state / attempts.NAME).unlink()
    (state / "pin").write_text(pin)
    code, _, errors = run("token", str(state))
    assert code == 1
    assert errors.startswith("workbench: token_locked: ")
    said = "the count was missing or malformed; counted from none again\n"
    assert run("unlock", str(state)) == (0, said, "")
    assert run("token", str(state))[0] == 0


@pytest.mark.parametrize("command", ["token", "unlock"])
def test_no_state_root(tmp_path: Path, command: str) -> None:
    """It could not run, and says why; it makes none."""
    code, said, errors = run(command, str(tmp_path / "nowhere"))
    assert (code, said) == (2, "")
    assert "no such state root" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        pytest.param("[]", 2, "no object", id="no object"),
        pytest.param("{", 2, "workbench: ", id="no JSON"),
        pytest.param("{}", 1, "malformed: ", id="no token in it"),
    ],
)
def test_no_configuration(state: Path, config: str, code: int, words: str) -> None:
    """The token is the one that the process's configuration names."""
    (state / "config.json").write_text(config)
    got, said, errors = run("token", str(state))
    assert (got, said) == (code, "")
    assert words in errors
