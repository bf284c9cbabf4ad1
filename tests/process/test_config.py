"""Configuration: what others could read or write is not believed, and nothing is guessed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.process.config import PIN_BYTES_MAX, ConfigError, StateRoot, arguments

FIELDS = ("module", "name")


def written(folder: Path, *, pin: bytes = b"123456", mode: int = 0o400, config: str = "") -> Path:
    """Return a state root with a PIN and a configuration."""
    root = folder / "state"
    root.mkdir(mode=0o700)
    (root / "pin").write_bytes(pin)
    (root / "pin").chmod(mode)
    (root / "config.json").write_text(config or json.dumps({"module": None, "name": "cosigner-1"}))
    return root


def test_a_state_root(tmp_path: Path) -> None:
    """PIN and configuration are read as they were written."""
    root = StateRoot(written(tmp_path, pin=b"123456\n"))
    assert root.pin() == "123456"
    assert root.config(FIELDS) == {"module": None, "name": "cosigner-1"}


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_pin_that_only_its_owner_reads(tmp_path: Path, mode: int) -> None:
    """Read-only, or writable by the owner."""
    assert StateRoot(written(tmp_path, mode=mode)).pin() == "123456"


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o640, 0o644, 0o666, 0o402, 0o410, 0o777, 0o700])
def test_a_pin_that_others_could_read(tmp_path: Path, mode: int) -> None:
    """It stops the process, and the message does not hold it."""
    root = StateRoot(written(tmp_path, mode=mode))
    with pytest.raises(ConfigError, match="chmod 400") as caught:
        root.pin()
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize(
    "pin",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="only blanks"),
        pytest.param(b"1" * (PIN_BYTES_MAX + 1), id="too long"),
    ],
)
def test_a_pin_that_is_none(tmp_path: Path, pin: bytes) -> None:
    """No PIN is not an empty PIN."""
    with pytest.raises(ConfigError, match="a PIN of"):
        StateRoot(written(tmp_path, pin=pin)).pin()


def test_no_pin_file(tmp_path: Path) -> None:
    """The message names the file."""
    root = written(tmp_path)
    (root / "pin").unlink()
    with pytest.raises(ConfigError, match="pin: No such file"):
        StateRoot(root).pin()


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o750, 0o770, 0o755, 0o777])
def test_a_root_that_others_may_enter(tmp_path: Path, mode: int) -> None:
    """Its memory is nobody else's to read or to write."""
    root = written(tmp_path)
    root.chmod(mode)
    with pytest.raises(ConfigError, match="only the owner"):
        StateRoot(root)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    """Absent, or a file: the message says what makes one."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(ConfigError, match="workbench demo"):
            StateRoot(path)


def test_a_root_of_another_user(tmp_path: Path) -> None:
    """A process that runs as somebody else than the root's owner does not start."""
    root = written(tmp_path)
    if os.geteuid() == 0:
        os.chown(root, 12345, 12345)
        with pytest.raises(ConfigError, match="belongs to uid 12345"):
            StateRoot(root)
        os.chown(root, 0, 0)
        os.chown(root / "pin", 12345, 12345)
        with pytest.raises(ConfigError, match="others may read"):
            StateRoot(root).pin()
    else:
        with pytest.raises(ConfigError, match="belongs to uid 0"):
            StateRoot(Path("/proc"))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param('{"module":null}', id="a field missing"),
        pytest.param('{"module":null,"name":"a","debug":true}', id="an unknown field"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="nothing"),
        pytest.param("{", id="no JSON"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, config: str) -> None:
    """Exactly the fields that the process knows: a misspelt one would be a default."""
    with pytest.raises(ConfigError, match=r"config\.json"):
        StateRoot(written(tmp_path, config=config)).config(FIELDS)


def test_no_configuration(tmp_path: Path) -> None:
    """Nothing has a default."""
    root = written(tmp_path)
    (root / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json"):
        StateRoot(root).config(FIELDS)


def test_what_every_process_is_told() -> None:
    """State, trust root and socket must be named; a crash point is off unless asked for."""
    parser = arguments("test")
    told = parser.parse_args(["--state", "s", "--trust-root", "t", "--socket", "x"])
    assert (told.state, told.trust_root, told.socket) == (Path("s"), Path("t"), Path("x"))
    assert told.testing_only_crash_at is None


@pytest.mark.parametrize("option", ["--state", "--trust-root", "--socket"])
def test_nothing_is_guessed(option: str) -> None:
    """A process that is not told where it lives ends with 2."""
    told = {"--state": "s", "--trust-root": "t", "--socket": "x"}
    del told[option]
    script = "from workbench.process.config import arguments; arguments('test').parse_args()"
    command = [sys.executable, "-c", script, *(part for pair in told.items() for part in pair)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2
    assert option in done.stderr
