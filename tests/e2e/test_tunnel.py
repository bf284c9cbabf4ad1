"""A co-signer behind stunnel: a transaction over mutual TLS between two network namespaces."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.world import COSIGNER, Living, living
from workbench.process import tunnel
from workbench.process.frames import FrameError, call
from workbench.process.tunnel import TunnelError

FAR, NEAR, PORT = "10.77.6.2", "10.77.6.1", 8444
STATUS = {"v": 1, "operation": "status"}
WAIT_S = 20.0


@dataclass(frozen=True)
class Side:
    """A certificate and its key."""

    certificate: Path
    key: Path


def side(folder: Path, name: str) -> Side:
    """Make a certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    there = Side(folder / f"{name}.pem", folder / f"{name}.key")
    there.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    descriptor = os.open(there.key, os.O_WRONLY | os.O_CREAT, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return there


def run(*command: str) -> None:
    """Run a command of the system; it must succeed."""
    subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def networks() -> Iterator[tuple[str, str]]:
    """Make two network namespaces with a wire between them, and nothing else in them; give their names."""
    far, near = f"wbf{os.getpid()}", f"wbn{os.getpid()}"
    with ExitStack() as ends:
        for name in (far, near):
            run("ip", "netns", "add", name)
            ends.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", "wire", "netns", near, "type", "veth", "peer", "name", "wire", "netns", far)
        for name, address in ((far, FAR), (near, NEAR)):
            run("ip", "-n", name, "address", "add", f"{address}/30", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")
        yield far, near


@contextmanager
def running(network: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a network namespace."""
    process = subprocess.Popen(["ip", "netns", "exec", network, *command], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def answers(path: Path) -> bool:
    """Whether a co-signer answers there."""
    try:
        return "cosigner" in call(path, STATUS, timeout_s=5)
    except FrameError:
        return False


def until_answers(path: Path) -> None:
    """Wait until a co-signer answers there."""
    limit = time.monotonic() + WAIT_S
    while not answers(path):
        assert time.monotonic() < limit
        time.sleep(0.05)


@dataclass
class Far:
    """A world whose co-signer is on another host, as far as the network can tell."""

    world: Living
    near: str
    sides: dict[str, Side]
    folder: Path

    def shut_out(self, who: Side | None) -> str:
        """Knock at the far side's port from the near network; return what came of it."""
        given = [str(who.certificate), str(who.key)] if who else []
        command = ["ip", "netns", "exec", self.near, sys.executable, __file__, *given]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() or done.stderr


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    """Put stunnel between a living world and its co-signer."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="wbs-")))
        world = ends.enter_context(living())
        there, here = ends.enter_context(networks())
        sides = {name: side(folder, name) for name in ("far", "near", "stranger")}
        own, usual = folder / "own.sock", world.world.places.socket(COSIGNER)
        world.stack.stop_one(COSIGNER)
        command = world.stack.command(COSIGNER)
        command[command.index("--socket") + 1] = str(own)
        # no network but the one of the far host, in which it has nothing to do
        ends.enter_context(running(there, *command))
        usual.unlink(missing_ok=True)
        until_answers(own)
        texts = {
            "far": tunnel.far(
                accept=f"{FAR}:{PORT}",
                cosigner=own,
                certificate=sides["far"].certificate,
                key=sides["far"].key,
                peer=sides["near"].certificate,
            ),
            "near": tunnel.near(
                listen=usual,
                connect=f"{FAR}:{PORT}",
                certificate=sides["near"].certificate,
                key=sides["near"].key,
                peer=sides["far"].certificate,
            ),
        }
        for name, network in (("far", there), ("near", here)):
            (folder / f"{name}.conf").write_text(texts[name])
            ends.enter_context(running(network, "stunnel4", str(folder / f"{name}.conf")))
        until_answers(usual)
        yield Far(world, here, sides, folder)


def test_a_transaction_over_the_wire(far: Far) -> None:
    """Proposed, approved, signed by a co-signer that is reached by TLS alone, mined."""
    world = far.world
    assert world.push(world.allowance(1_000)).state == "confirmed"
    assert world.transactions() == 1


@pytest.mark.parametrize("who", [None, "stranger"])
def test_strangers_do_not_get_so_far(far: Far, who: str | None) -> None:
    """Without a certificate, or with one that nobody has named: no frame is answered, and nothing changes."""
    before = far.world.memory()
    assert far.shut_out(far.sides[who] if who else None) == "shut out"
    assert far.world.memory() == before


def test_who_is_named_is_let_in(far: Far) -> None:
    """The same knocking with the right certificate is answered: so it was the certificate."""
    assert far.shut_out(far.sides["near"]) == "answered"


def test_a_far_side_that_is_another(far: Far) -> None:
    """The near side speaks to the certificate that it was given, and to no other machine at that address."""
    config, listen = far.folder / "wrong.conf", far.folder / "wrong.sock"
    config.write_text(
        tunnel.near(
            listen=listen,
            connect=f"{FAR}:{PORT}",
            certificate=far.sides["near"].certificate,
            key=far.sides["near"].key,
            peer=far.sides["stranger"].certificate,
        )
    )
    with running(far.near, "stunnel4", str(config)):
        limit = time.monotonic() + WAIT_S
        while not listen.exists():
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert not answers(listen)


@pytest.mark.parametrize("value", ["", " a", "a\nconnect = 1", "a;b", "a#b"])
def test_values_that_would_be_something_else(value: str) -> None:
    """A line feed in a path would be another setting."""
    at = Path("/x")
    with pytest.raises(TunnelError):
        tunnel.near(listen=at, connect=value, certificate=at, key=at, peer=at)


def knock(given: list[str]) -> str:
    """Speak TLS to the far side, from within the near network."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if given:
        context.load_cert_chain(*given)
    body = json.dumps(STATUS, separators=(",", ":"), sort_keys=True).encode()
    try:
        with (
            socket.create_connection((FAR, PORT), timeout=10) as plain,
            context.wrap_socket(plain) as connection,
        ):
            connection.sendall(len(body).to_bytes(4, "big") + body)
            return "answered" if connection.recv(4) else "shut out"
    except OSError:
        return "shut out"


if __name__ == "__main__":
    sys.stdout.write(knock(sys.argv[1:]))
