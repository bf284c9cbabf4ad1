"""The token: keys that were made in it sign, whatever else is in it does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.custody.child import LABEL, SIGNATURES, THREADS
from workbench.custody.token import INSTALL_HINT, Token, TokenError, create_softhsm, key_id, softhsm_module
from workbench.demo.provision import provision

ROOT = Path(__file__).parents[2]


def run(task: str, folder: Path) -> dict[str, Any]:
    """Provision a token and run a task on it, each in a process of its own."""
    state = folder / "hsm"
    provision(state, LABEL)
    command = [sys.executable, "-m", "tests.custody.child", task, str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_eight_threads_hammer_one_signer(tmp_path: Path) -> None:
    """The library corrupts the heap under two threads; behind our lock every signature verifies."""
    assert run("hammer", tmp_path) == {"good": THREADS * SIGNATURES, "bad": 0}


def test_a_key_made_in_the_token(tmp_path: Path) -> None:
    """It is local, was never extractable, cannot be read, loosened, renamed or copied, and is found again."""
    told = run("attributes", tmp_path)
    assert told["attributes"] == {
        "LOCAL": True,
        "SENSITIVE": True,
        "ALWAYS_SENSITIVE": True,
        "EXTRACTABLE": False,
        "NEVER_EXTRACTABLE": True,
        "PRIVATE": True,
        "MODIFIABLE": False,
        "SIGN": True,
        "DERIVE": False,
    }
    assert told["done"] == []
    # the identity key that provisioning made, and this one: no copy is left behind
    assert told["keys"] == 2
    assert told["again"] is True
    assert told["short digest"] == "a digest has 32 bytes, got 31"
    assert told["unknown"] == f"0 private keys with id {key_id(bytes(32)).hex()}, expected one"


def test_an_imported_key_is_refused(tmp_path: Path) -> None:
    """Whatever its label and id say: somebody has seen it outside."""
    told = run("imported", tmp_path)
    assert {name: told["claims"][name] for name in ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")} == {
        "LOCAL": False,
        "ALWAYS_SENSITIVE": False,
        "NEVER_EXTRACTABLE": False,
    }
    assert told["refusal"].endswith("LOCAL is False, must be True")


def test_two_keys_under_one_id_are_refused(tmp_path: Path) -> None:
    """A key slipped in beside ours under its id makes the token ambiguous, and ambiguity does not sign."""
    told = run("twin", tmp_path)
    assert told["moved"]
    assert told["refusal"].startswith("2 private keys with id")


def test_a_token_opened_wrongly(tmp_path: Path) -> None:
    """Each refusal says what to mend, none repeats the PIN, and the right PIN opens it afterwards."""
    told = run("wrong", tmp_path)
    assert told["pin"].startswith("token hammer: PinIncorrect")
    assert told["label"].startswith("token other: NoSuchToken")
    assert told["module"] == f"/nowhere/libhsm.so: no such PKCS#11 module; {INSTALL_HINT}"
    assert "no token here; " in told["folder"]
    assert "`workbench demo` makes one" in told["folder"]
    assert told["signed"] == 64
    assert not any("0000" in said for said in (told["pin"], told["label"], told["module"]))


def test_a_token_is_made_once(tmp_path: Path) -> None:
    """A folder that holds a token is not initialised again, and the first one is left as it was."""
    create_softhsm(tmp_path, label="a", pin="1234", so_pin="5678")
    before = sorted(path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file())
    with pytest.raises(FileExistsError):
        create_softhsm(tmp_path, label="a", pin="1234", so_pin="5678")
    assert sorted(path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file()) == before


def test_a_pin_that_the_token_refuses(tmp_path: Path) -> None:
    """What softhsm2-util says is passed on."""
    with pytest.raises(TokenError, match="softhsm2-util"):
        create_softhsm(tmp_path, label="a", pin="1", so_pin="1")


def test_without_a_module_there_is_no_token(tmp_path: Path) -> None:
    """No fallback: the message says how to install it."""
    with pytest.raises(TokenError, match="apt-get install softhsm2"):
        Token(tmp_path, module=tmp_path / "absent.so", label="a", pin="1234")
    assert softhsm_module().exists()
    assert list(tmp_path.iterdir()) == []


def test_without_the_tool_there_is_no_token(tmp_path: Path) -> None:
    """A machine without softhsm2-util is told what to install, and gets no half-made token."""
    script = (
        "import sys, pathlib\n"
        "from workbench.custody.token import TokenError, create_softhsm\n"
        "try:\n"
        "    create_softhsm(pathlib.Path(sys.argv[1]), label='a', pin='1234', so_pin='5678')\n"
        "except TokenError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert done.stdout.strip() == f"no softhsm2-util; {INSTALL_HINT}"
    assert list(tmp_path.iterdir()) == []
