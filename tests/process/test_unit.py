"""The unit that starts a co-signer under systemd: how much it leaves open, judged by systemd itself."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from workbench.process import config
from workbench.process.config import CREDENTIALS, arguments

UNIT = Path(config.__file__).with_name("custody-cosigner@.service")
TEXT = UNIT.read_text()
EXPOSURE_MAX = 1.0


def exposure(unit: Path) -> float:
    """Return what systemd says of a unit's exposure, from 0 to 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    return float(found[1])


def settings(name: str) -> list[str]:
    """Return every value of a setting, in the unit's order."""
    return re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)


def test_it_leaves_little_open() -> None:
    """Below one of ten."""
    assert exposure(UNIT) < EXPOSURE_MAX


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("PrivateNetwork=yes", id="a network"),
        pytest.param("NoNewPrivileges=yes", id="privileges to gain"),
        pytest.param("User=custody-%i", id="root"),
        pytest.param("CapabilityBoundingSet=", id="capabilities"),
        pytest.param("SystemCallFilter=~@privileged", id="calls that only root needs"),
    ],
)
def test_each_counts(tmp_path: Path, setting: str) -> None:
    """Without one of them systemd says a higher number: the threshold is not met by what is left out."""
    kept = [line for line in TEXT.splitlines() if not line.startswith(setting)]
    assert len(kept) < len(TEXT.splitlines())
    less = tmp_path / UNIT.name
    less.write_text("\n".join(kept) + "\n")
    assert exposure(less) > exposure(UNIT)


def test_what_it_starts() -> None:
    """The co-signer takes these options, and its paths are those that it may write and read."""
    (line,) = settings("ExecStart")
    interpreter, *command = shlex.split(line)
    assert command[:2] == ["-m", "workbench.cosigner"]
    told = arguments("test").parse_args(command[2:])
    assert settings("BindPaths") == [f"{told.state} {told.socket.parent}"]
    assert Path(interpreter).is_absolute()
    assert told.trust_root.is_absolute()


def test_the_pin_is_a_credential() -> None:
    """Encrypted on disk, under the name that the co-signer looks for, and not in the environment."""
    (credential,) = settings("LoadCredentialEncrypted")
    assert credential.split(":")[0] == "hsm-pin"
    assert CREDENTIALS == "CREDENTIALS_DIRECTORY"
    assert settings("Environment") == settings("EnvironmentFile") == settings("PassEnvironment") == []


def test_nothing_is_tried_again_that_was_refused() -> None:
    """A co-signer that names what is missing ends with 2, and is not started over and over."""
    assert settings("RestartPreventExitStatus") == ["2"]


def test_what_it_does_to_itself_is_allowed() -> None:
    """The unit's filter comes first: it must let the co-signer's own be loaded, and memory be locked."""
    first, without, again = settings("SystemCallFilter")
    assert "seccomp" in first.split()
    assert without.startswith("~")
    assert {"mlockall", "prlimit64", "setrlimit"} <= set(again.split())
    assert settings("LimitMEMLOCK") == ["infinity"]
