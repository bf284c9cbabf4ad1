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


@pytest.mark.parametrize("source", ["credential:hsm-pin"])
def test_two_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A credential beside a file: neither is taken, one of them is a left-over."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (folder / "hsm-pin").write_bytes(b"654321")
    (folder / "hsm-pin").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with pytest.raises(ConfigError, match="two PINs") as caught:
        StateRoot(written(tmp_path)).pin(source)
    assert "654321" not in str(caught.value)
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize("name", ["PIN", "HSM_PIN", "WORKBENCH_PIN", "hsm-pin"])
def test_no_pin_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What stands there is read by whoever reads /proc: without the file there is none."""
    root = written(tmp_path)
    (root / "pin").unlink()
    monkeypatch.setenv(name, "123456")
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


@pytest.mark.parametrize("pin", [b"crypto_user:pass word", b"0001password", b" leading", "pässword".encode()])
def test_a_vendors_pin(tmp_path: Path, pin: bytes) -> None:
    """It passes through as it is; one line feed at the end is the editor's."""
    root = StateRoot(written(tmp_path, pin=pin + b"\n"))
    assert root.pin() == pin.decode()


def test_a_pin_in_another_file(tmp_path: Path) -> None:
    """In the state root, or by its absolute path."""
    root = written(tmp_path)
    (tmp_path / "elsewhere").write_text("4711")
    (tmp_path / "elsewhere").chmod(0o400)
    assert StateRoot(root).pin(f"file:{tmp_path / 'elsewhere'}") == "4711"
    assert StateRoot(root).pin("file:pin") == "123456"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o444, 0o404, 0o420])
def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    """Root's or the user's own, for nobody else to read: as systemd hands it over, and no looser."""
    (tmp_path / "credentials").mkdir()
    path = tmp_path / "credentials" / "hsm-pin"
    path.write_text("4711")
    path.chmod(mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    root = StateRoot(written(tmp_path))
    (root.path / "pin").unlink()
    if mode in (0o400, 0o440):
        assert root.pin("credential:hsm-pin") == "4711"
    else:
        with pytest.raises(ConfigError, match="others may read"):
            root.pin("credential:hsm-pin")


@pytest.mark.parametrize(
    "source",
    ["", "pin", "file:", "env:HSM_PIN", "argv:1", "credential:", "credential:../pin", "credential:a/b"],
)
def test_sources_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """The environment and the command line are read by others too; a credential is one file's name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HSM_PIN", "4711")
    with pytest.raises(ConfigError, match="a PIN's source is"):
        StateRoot(written(tmp_path)).pin(source)


@pytest.mark.parametrize("folder", [None, "", "relative"])
def test_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None) -> None:
    """Without systemd there are none, and nothing stands in for them."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if folder is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", folder)
    with pytest.raises(ConfigError, match="no CREDENTIALS_DIRECTORY"):
        StateRoot(written(tmp_path)).pin("credential:hsm-pin")


def test_a_pin_that_is_not_text(tmp_path: Path) -> None:
    """Neither other bytes nor control characters are a PIN."""
    with pytest.raises(ConfigError, match="not UTF-8"):
        StateRoot(written(tmp_path, pin=b"\xff\xfe")).pin()
    (tmp_path / "more").mkdir()
    with pytest.raises(ConfigError, match="a PIN of"):
        StateRoot(written(tmp_path / "more", pin=b"12\n34")).pin()
