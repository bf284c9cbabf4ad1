"""The token: keys that were made in it sign, whatever else is in it does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.custody.child import LABEL, SIGNATURES, THREADS
from workbench.custody.attempts import NAME, WRONG_MAX
from workbench.custody.config import INSTALL_HINT, TokenConfig, softhsm_module
from workbench.custody.errors import TokenError
from workbench.custody.token import create_softhsm, key_id
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
    assert told["short digest"] == "malformed: a digest has 32 bytes, got 31"
    unknown = f"token_key_not_attested: 0 private keys with id {key_id(bytes(32)).hex()}, expected one"
    assert told["unknown"] == unknown


def test_an_imported_key_is_refused(tmp_path: Path) -> None:
    """Whatever its label and id say: somebody has seen it outside."""
    told = run("imported", tmp_path)
    assert {name: told["claims"][name] for name in ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")} == {
        "LOCAL": False,
        "ALWAYS_SENSITIVE": False,
        "NEVER_EXTRACTABLE": False,
    }
    assert told["refusal"].endswith("LOCAL is False, must be True")
    assert told["refusal"].startswith("token_key_not_attested: key ")


def test_keys_that_are_looser_than_ours(tmp_path: Path) -> None:
    """Made in the token and never outside, but one attribute away from it: each is refused by its name."""
    told = run("extractable", tmp_path)
    ends = {name: said.rsplit(": ", 1)[-1] for name, said in told.items()}
    assert ends == {
        "extractable": "EXTRACTABLE is True, must be False",
        "not sensitive": "SENSITIVE is False, must be True",
        "modifiable": "MODIFIABLE is True, must be False",
        "derives": "DERIVE is True, must be False",
    }
    assert all(said.startswith("token_key_not_attested") for said in told.values())


def test_a_public_key_that_is_not_ours(tmp_path: Path) -> None:
    """The id says nothing: the public key in the token is compared each time a key is opened."""
    told = run("swapped", tmp_path)
    assert "0 public keys with id" in told["none"]
    assert told["another"].endswith("another public key lies under its id")


def test_two_keys_under_one_id_are_refused(tmp_path: Path) -> None:
    """A key slipped in beside ours under its id makes the token ambiguous, and ambiguity does not sign."""
    told = run("twin", tmp_path)
    assert told["moved"]
    assert told["refusal"].startswith("token_key_not_attested: 2 private keys with id")


def test_two_tokens_of_one_label(tmp_path: Path) -> None:
    """Nothing is tried on either: exactly one must match, and the serial says which."""
    told = run("same_label", tmp_path)
    assert told["both"] == "token_not_as_configured: token hammer: 2 of 3 match, expected one"
    assert told["found"] is True


def test_a_copied_token(tmp_path: Path) -> None:
    """Where the tries are not counted it is not opened. Else it is the same token: nothing in it tells."""
    told = run("copied", tmp_path)
    assert told["without"].startswith("token_locked: ")
    assert told["same"] is True


def test_what_the_token_can_do(tmp_path: Path) -> None:
    """SoftHSM: all curves, sealing by GCM; it lists key wrap, for keys only. Nothing stays behind."""
    told = run("probed", tmp_path)
    assert told["words"] == (
        "secp256k1, ed25519, p256, aes-gcm, aes-gcm-300k, "
        "no rsa-oaep-sha256, rsa-oaep-sha1, no aes-key-wrap-pad"
    )
    assert told["again"] is True
    assert told["sealing"] == "aes-gcm"
    assert told["objects"] == 0
    assert {"rsa-oaep-sha256", "aes-key-wrap-pad"} < set(told["listed"])


def test_a_wrong_pin_ten_times(tmp_path: Path) -> None:
    """Each wait is longer; after ten not even the right PIN is tried, until an operator says so."""
    told = run("locked", tmp_path)
    assert [said.split(":")[0] for said in told["said"]] == ["token_pin_wrong"] * WRONG_MAX + [
        "token_locked"
    ] * 2
    assert told["waits"][:10] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]
    assert told["right"].startswith("token_locked: 10 wrong PINs in a row")
    assert '"wrong":10' in told["kept"]
    assert (told["before"], told["signed"]) == (10, 64)


def test_what_counts_as_a_try(tmp_path: Path) -> None:
    """A right PIN begins anew; too early, or with the clock set back, nothing is tried and nothing counts."""
    told = run("restarted", tmp_path)
    assert told["wrong"] == 2
    assert told["early"].startswith("token_pin_too_soon: 2 wrong PINs in a row")
    assert told["back"].startswith("token_pin_too_soon")
    assert (told["label"], told["right"]) == (2, 0)


def test_a_token_opened_wrongly(tmp_path: Path) -> None:
    """Each refusal says what to mend, none repeats the PIN, and the right PIN opens it afterwards."""
    told = run("wrong", tmp_path)
    assert told["pin"] == "token_pin_wrong: token hammer: PinIncorrect"
    assert told["label"] == "token_not_as_configured: token other: 0 of 2 match, expected one"
    serial = "token_not_as_configured: token hammer serial 0000000000000000: 0 of 2 match, expected one"
    assert told["serial"] == serial
    assert told["both"] == "token_not_as_configured: neither label nor serial: any token would do"
    missing = f"token_not_as_configured: /nowhere/libhsm.so: no such PKCS#11 module; {INSTALL_HINT}"
    assert told["module"] == missing
    assert "no token here; " in told["folder"]
    assert "`workbench demo` makes one" in told["folder"]
    assert told["signed"] == 64
    assert not any("0000" in said for said in (told["pin"], told["label"], told["module"]))


def test_a_token_is_made_once(tmp_path: Path) -> None:
    """A folder that holds a token is not initialised again, and the first one is left as it was."""
    create_softhsm(tmp_path, label="a", pin="1234", so_pin="5678")
    before = sorted(path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file())
    assert (tmp_path / NAME).exists()
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
        TokenConfig(module=tmp_path / "absent.so", environment={}, label="a")
    assert softhsm_module().exists()
    assert list(tmp_path.iterdir()) == []


def test_without_the_tool_there_is_no_token(tmp_path: Path) -> None:
    """A machine without softhsm2-util is told what to install, and gets no half-made token."""
    script = (
        "import sys, pathlib\n"
        "from workbench.custody.errors import TokenError\n"
        "from workbench.custody.token import create_softhsm\n"
        "try:\n"
        "    create_softhsm(pathlib.Path(sys.argv[1]), label='a', pin='1234', so_pin='5678')\n"
        "except TokenError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert done.stdout.strip() == f"token_not_as_configured: no softhsm2-util; {INSTALL_HINT}"
    assert list(tmp_path.iterdir()) == []
