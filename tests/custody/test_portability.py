"""The same code on other tokens: NSS, without our curve and GCM, and SoftHSM behind p11-kit's wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.custody import attempts
from workbench.custody.config import softhsm_module
from workbench.demo.provision import provision

ROOT = Path(__file__).parents[2]
MODULES = Path("/usr/share/p11-kit/modules")
"""Where p11-kit looks for modules, whoever asks; a home folder's it does not read for root."""
OVER_IT = 'mount --bind "$0" ' + str(MODULES) + ' && exec "$@"'
SECONDS = 120
PIN = "12345678"
Ask = Callable[[str], dict[str, Any]]


def library(name: str) -> str:
    """Return where Debian has put a module, by this machine's architecture."""
    (path,) = (path for path in Path("/usr/lib").glob(f"*-linux-gnu/{name}"))
    return str(path)


def ask(task: str, folder: Path, config: dict[str, Any], pin: str, *, under: tuple[str, ...] = ()) -> Any:
    """Have a child do one task."""
    child = [
        sys.executable,
        "-m",
        "tests.custody.portability_child",
        task,
        str(folder),
        json.dumps(config),
        pin,
    ]
    done = subprocess.run(
        [*under, *child], capture_output=True, text=True, check=False, timeout=SECONDS, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def nss(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Return an NSS database behind p11-kit's proxy, which hands over what its C_Initialize wants."""
    folder = tmp_path_factory.mktemp("nss")
    (folder / "modules").mkdir()
    (folder / "db").mkdir()
    reserved = f"configdir='sql:{folder / 'db'}' certPrefix='' keyPrefix='' secmod=''"
    said = f"module: {library('libsoftokn3.so')}\nx-init-reserved: {reserved}\n"
    (folder / "modules" / "nss.module").write_text(said)
    config = {
        "module": library("p11-kit-proxy.so"),
        "environment": {},
        "label": "NSS Certificate DB",
        "serial": None,
        "pin": "file:pin",
    }
    under = ("unshare", "--map-root-user", "--mount", "sh", "-c", OVER_IT, str(folder / "modules"))
    ask("found", folder, config, PIN, under=under)
    attempts.found(folder)
    return lambda task: ask(task, folder, config, PIN, under=under)


def test_nss_says_what_it_has_not(nss: Ask) -> None:
    """No curve of ours, no Ed25519, no GCM, plainly; it seals by OAEP; nothing stays behind."""
    told = nss("probed")
    assert told["words"] == (
        "no secp256k1, no ed25519, p256, no aes-gcm, no aes-gcm-300k, "
        "rsa-oaep-sha256, rsa-oaep-sha1, aes-key-wrap-pad"
    )
    assert told["sealing"] == "rsa-oaep-sha256"
    assert told["objects"] == 0
    # it lists both, and does neither: only a trial tells
    assert {"secp256k1", "aes-gcm"} < set(told["listed"])
    assert told["said"]["secp256k1"].startswith("DomainParamsInvalid")


def test_nss_holds_no_key_of_ours(nss: Ask) -> None:
    """It makes none, and what it makes it does not vouch for: false is refused, and so is unknown."""
    told = nss("keys")
    assert told["secp256k1"].startswith("token_failed: no key treasury/1 was made: DomainParamsInvalid")
    assert told["ed25519"].startswith("token_failed: no key identity/1 was made: ")
    for name in ("sealing", "pair", "wraps"):
        assert told[name].startswith("token_key_not_attested: ")
    assert told["left"] == 0
    assert told["claims"]["LOCAL"] is False
    assert told["p256"] == "token_key_not_attested: p256: LOCAL is False, must be True"
    assert told["aes"] == "token_key_not_attested: aes: LOCAL is False, must be True"
    assert told["missing"] is None


def test_sealing_by_the_other_mechanisms(nss: Ask) -> None:
    """OAEP with SHA-256, and key wrap: neither binds a purpose in the token, and the envelope does."""
    told = nss("seals")
    assert {name: each["parameters"] for name, each in told.items()} == {
        "rsa-oaep-sha256": {"hash": "SHA-256", "mgf": "MGF1-SHA-256"},
        "aes-key-wrap-pad": {},
    }
    for each in told.values():
        assert each["opens"] is True
        assert set(each["refused"].values()) == {"sealed_otherwise"}


def test_one_serial_for_two_tokens(nss: Ask) -> None:
    """NSS gives all of its tokens the same: exactly one must match."""
    assert (
        nss("both")["said"] == "token_not_as_configured: serial 0000000000000000: 2 of 2 match, expected one"
    )


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Ask]:
    """Return a SoftHSM that a p11-kit server holds; who asks has no file of it, only the socket."""
    keys = provision(tmp_path / "hsm", "remote", secp256k1="treasury/1")
    pin = (tmp_path / "hsm" / "pin").read_text()
    here = tmp_path / "client"
    here.mkdir()
    attempts.found(here)
    (here / "public-key").write_text(keys["secp256k1"])
    # a socket's path ends at 108 bytes
    with tempfile.TemporaryDirectory() as short:
        socket = Path(short) / "p11"
        command = ["p11-kit", "server", "--provider", str(softhsm_module()), "--foreground", "--name"]
        environment = {**os.environ, "SOFTHSM2_CONF": str(tmp_path / "hsm" / "softhsm2.conf")}
        server = subprocess.Popen(
            [*command, str(socket), "pkcs11:token=remote"], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + SECONDS
        while not socket.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        config = {
            "module": library("pkcs11/p11-kit-client.so"),
            "environment": {"P11_KIT_SERVER_ADDRESS": f"unix:path={socket}"},
            "label": "remote",
            "serial": keys["serial"],
            "pin": "file:pin",
        }
        yield lambda task: ask(task, here, config, pin)
        server.terminate()
        server.wait(SECONDS)


def test_softhsm_behind_a_wire(remote: Ask) -> None:
    """p11-kit's wire carries our curve and attributes, and neither GCM nor Ed25519: sealing falls to OAEP."""
    told = remote("probed")
    assert told["words"] == (
        "secp256k1, no ed25519, p256, no aes-gcm, no aes-gcm-300k, "
        "no rsa-oaep-sha256, rsa-oaep-sha1, no aes-key-wrap-pad"
    )
    assert told["sealing"] == "rsa-oaep-sha1"
    assert told["objects"] == 0
    assert "aes-gcm" not in told["listed"]
    used = remote("remote")
    assert used["ed25519"].startswith("token_failed: no key identity/2 was made: ")
    assert {name: used[name] for name in ("mechanism", "opens", "purpose", "environment")} == {
        "mechanism": "rsa-oaep-sha1",
        "opens": True,
        "purpose": "sealed_otherwise",
        "environment": False,
    }
