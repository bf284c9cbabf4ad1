"""The anchor's process on a real chain: one kind of call, once for each size, whatever is killed when."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_hash.auto import keccak

from ledger import anchor, checkpoint
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from ledger.trust import TrustRoot
from tests.rules import build
from workbench.anchor.core import artifact
from workbench.chain.node import Node
from workbench.demo import node as chain
from workbench.demo.newswap import DEPLOYER
from workbench.demo.provision import configured, provision
from workbench.evm.fields import address_bytes, to_rpc
from workbench.evm.transaction import address_of
from workbench.process.frames import FrameError, call

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "binder" / "node_modules"
SERVICE, WITNESS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
ETHER, SECONDS = 10**18, 30.0


def public(key: Ed25519PrivateKey) -> bytes:
    """Return a public key's bytes."""
    return key.public_key().public_bytes_raw()


@dataclass
class Anchoring:
    """An anchor process on a chain of its own, and the notes that it is brought."""

    folder: Path
    node_url: str
    process: subprocess.Popen[bytes] | None = None
    trust: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.node = Node(self.node_url)
        keys = provision(self.folder / "anchor", "anchor", secp256k1="gas/1")
        self.sender = address_of(bytes.fromhex(keys["secp256k1"]))
        chain.send(self.node, sender=DEPLOYER, to=self.sender, value=ETHER)
        code = bytes.fromhex(artifact()["bytecode"][2:])
        made = chain.send(self.node, sender=DEPLOYER, to=None, data=code)
        contract = self.node.read_hex(made["contractAddress"], size=20)
        self.trust = build.trust_document(SimpleNamespace(digest="00" * 32)) | {
            "checkpoint_keys": {"service": public(SERVICE).hex()},
            "witnesses": {"auditor": public(WITNESS).hex()},
            "witness_quorum": 1,
            "anchor": {
                "chain_id": chain.CHAIN_ID,
                "contract": contract.hex(),
                "sender": address_bytes(self.sender).hex(),
            },
        }
        self.trust_root = TrustRoot.of(self.trust)
        (self.folder / "trust-root.json").write_bytes(canonical(self.trust, limit=2**20))
        genesis = {"v": 1, "ledger_id": self.trust_root.ledger_id, "created": "2026-11-21T00:00:00.000000Z"}
        self.genesis = Genesis.of(genesis | {"trust_root": self.trust_root.digest.hex()})
        (self.folder / "anchor" / "genesis.json").write_bytes(self.genesis.encode())
        config: dict[str, Any] = {"node": self.node_url, "peers": []}
        config["token"] = configured("anchor", keys["serial"])
        config["gas_key"] = keys["secp256k1"]
        (self.folder / "anchor" / "config.json").write_text(json.dumps(config))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.node.close()

    @property
    def socket(self) -> Path:
        """The process's socket."""
        return self.folder / "a.sock"

    def start(self, *options: str) -> None:
        """Start the process and wait for it."""
        command = [sys.executable, "-m", "workbench.anchor", "--state", str(self.folder / "anchor")]
        command += ["--trust-root", str(self.folder / "trust-root.json"), "--socket", str(self.socket)]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self.ask(operation="status")
            except FrameError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the process did not come up")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=SECONDS)
            self.process = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Make one request."""
        return call(self.socket, {"v": 1, **request}, timeout_s=SECONDS)

    def note(self, size: int, *, root: bytes = b"\x55" * 32, witnessed: bool = True) -> str:
        """Sign a checkpoint, as service and witness would."""
        body = Checkpoint(self.trust_root.origin, size, root, b"\x66" * 32)
        note = checkpoint.sign(body, "service", public(SERVICE), SERVICE.sign)
        if not witnessed:
            return note
        return checkpoint.cosign(note, "auditor", public(WITNESS), WITNESS.sign, at=datetime.now(UTC))

    def proof(self, size: int) -> dict[str, Any]:
        """Wait for the proof."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            answer = self.ask(operation="proof", size=size)
            if not answer.get("pending"):
                return answer
            time.sleep(0.05)
        raise AssertionError("no proof")

    def transactions(self) -> int:
        """Return how many transactions the key has sent."""
        return self.node.nonce(self.sender)

    def events(self) -> int:
        """Return how many anchors stand in the chain."""
        asked = {"fromBlock": "0x0", "address": "0x" + self.trust["anchor"]["contract"]}
        return len(self.node.call("eth_getLogs", asked))


@pytest.fixture(scope="module")
def node_url() -> Iterator[str]:
    """Return a fresh chain."""
    with chain.start(PACKAGES) as anvil:
        yield anvil.url


@pytest.fixture
def anchoring(node_url: str, tmp_path: Path) -> Iterator[Anchoring]:
    """Return a prepared anchor whose process has not started."""
    with Anchoring(tmp_path, node_url) as made:
        yield made


def test_from_note_to_proof(anchoring: Anchoring) -> None:
    """A counted checkpoint becomes one event in one block, and an auditor's verification accepts it."""
    anchoring.start()
    note = anchoring.note(7)
    first = anchoring.ask(operation="anchor", note=note)
    assert first == anchoring.ask(operation="anchor", note=note)
    answer = anchoring.proof(7)
    known = {7: checkpoint.split(note)[0]}
    rules = anchoring.trust_root.anchoring
    assert rules is not None
    raw = canonical(answer["anchor"], limit=2**20)
    proven = anchor.verify(raw, rules, genesis_hash=anchoring.genesis.hash(), checkpoints=known)
    block = anchoring.node.call("eth_getBlockByNumber", hex(proven.block_number), False)
    assert block["hash"] == to_rpc(proven.block_hash)
    assert (anchoring.transactions(), anchoring.events()) == (1, 1)
    anchoring.ask(operation="anchor", note=anchoring.note(9))
    assert "anchor" in anchoring.proof(9)
    assert (anchoring.transactions(), anchoring.events()) == (2, 2)


def refused(anchoring: Anchoring, code: str, **request: Any) -> None:
    """Assert a refusal, and that nothing was sent for it."""
    before = anchoring.transactions()
    assert anchoring.ask(**request)["refused"]["code"] == code
    assert anchoring.transactions() == before


def test_refusals(anchoring: Anchoring) -> None:
    """The key signs nothing for a note that does not count, an older one, or a second state of one size."""
    anchoring.start()
    refused(anchoring, "checkpoint", operation="anchor", note=anchoring.note(7, witnessed=False))
    refused(anchoring, "checkpoint", operation="anchor", note=anchoring.note(7).replace("\n7\n", "\n8\n"))
    refused(anchoring, "checkpoint", operation="anchor", note="")
    refused(anchoring, "malformed", operation="anchor", note=7)
    refused(anchoring, "malformed", operation="anchor", note=anchoring.note(7), to="0x" + "11" * 20)
    refused(anchoring, "malformed", operation="sign", digest="00" * 32)
    refused(anchoring, "not_found", operation="proof", size=7)
    anchoring.ask(operation="anchor", note=anchoring.note(7))
    anchoring.proof(7)
    refused(anchoring, "older", operation="anchor", note=anchoring.note(6))
    refused(anchoring, "equivocation", operation="anchor", note=anchoring.note(7, root=b"\x01" * 32))
    refused(anchoring, "not_found", operation="proof", size=8)
    assert anchoring.events() == 1


def test_one_at_a_time(anchoring: Anchoring) -> None:
    """The next checkpoint waits until the one before is in a block."""
    anchoring.start()
    anchoring.node.call("evm_setAutomine", False)
    try:
        anchoring.ask(operation="anchor", note=anchoring.note(7))
        refused(anchoring, "pending", operation="anchor", note=anchoring.note(8))
        assert anchoring.ask(operation="proof", size=7)["pending"]
        anchoring.node.call("evm_mine")
        assert "anchor" in anchoring.proof(7)
    finally:
        anchoring.node.call("evm_setAutomine", True)


@pytest.mark.parametrize("point", ["persisted", "signed", "unsent", "sent"])
def test_killed(anchoring: Anchoring, point: str) -> None:
    """Killed anywhere between the note and the chain, asking again leads to one transaction."""
    anchoring.start("--testing-only-crash-at", point)
    note = anchoring.note(7)
    with pytest.raises(FrameError):
        anchoring.ask(operation="anchor", note=note)
    assert anchoring.process is not None
    assert anchoring.process.wait(SECONDS) == -signal.SIGKILL
    anchoring.stop()
    anchoring.start()
    anchoring.ask(operation="anchor", note=note)
    assert "anchor" in anchoring.proof(7)
    assert (anchoring.transactions(), anchoring.events()) == (1, 1)


def test_killed_and_overtaken(anchoring: Anchoring) -> None:
    """A transaction that was never signed does not stand in the way of the next checkpoint."""
    anchoring.start("--testing-only-crash-at", "persisted")
    with pytest.raises(FrameError):
        anchoring.ask(operation="anchor", note=anchoring.note(7))
    anchoring.stop()
    anchoring.start()
    assert anchoring.ask(operation="status")["size"] == 0
    anchoring.ask(operation="anchor", note=anchoring.note(9))
    assert "anchor" in anchoring.proof(9)
    assert (anchoring.transactions(), anchoring.events()) == (1, 1)


def says(anchoring: Anchoring, *options: str) -> str:
    """Return what the process says when it does not start."""
    command = [
        sys.executable,
        "-m",
        "workbench.anchor",
        "--state",
        str(anchoring.folder / "anchor"),
        *options,
    ]
    command += ["--trust-root", str(anchoring.folder / "trust-root.json"), "--socket", str(anchoring.socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 2
    return done.stderr


def test_it_does_not_start(anchoring: Anchoring) -> None:
    """Without a contract, as another sender, under another genesis, with a broken memory: no start."""
    path = anchoring.folder / "trust-root.json"
    genuine = path.read_bytes()
    path.write_bytes(canonical({k: v for k, v in anchoring.trust.items() if k != "anchor"}, limit=2**20))
    assert "names no anchor contract" in says(anchoring)
    other = {**anchoring.trust, "anchor": anchoring.trust["anchor"] | {"sender": "33" * 20}}
    path.write_bytes(canonical(other, limit=2**20))
    assert "another trust root" in says(anchoring)
    genesis = anchoring.folder / "anchor" / "genesis.json"
    kept = genesis.read_bytes()
    told = Genesis(
        ledger_id=anchoring.genesis.ledger_id,
        created=anchoring.genesis.created,
        trust_root=TrustRoot.of(other).digest,
    )
    genesis.write_bytes(told.encode())
    assert "another sender" in says(anchoring)
    path.write_bytes(genuine)
    genesis.write_bytes(kept)
    (anchoring.folder / "anchor" / "anchored.json").write_bytes(b"{}")
    assert "anchored.json" in says(anchoring)


def test_the_artifact_is_the_source() -> None:
    """The bytecode in the tree is what solc makes of the source beside it; the selector is the function's."""
    compiled = subprocess.run(
        [str(ROOT / ".venv/bin/node"), "compile.js", str(ROOT / "workbench/anchor/Anchor.sol")],
        cwd=ROOT / "binder",
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(compiled.stdout)["Anchor"]
    assert (artifact()["abi"], artifact()["bytecode"]) == (made["abi"], "0x" + made["bytecode"])
    assert keccak(b"anchor(bytes32,uint64,bytes32,bytes32)")[:4].hex() in made["bytecode"]
