"""The observer's process: a token, a socket, and what happens when it is killed in between."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from eth_hash.auto import keccak

from ledger.encoding import canonical
from tests.chain.liar import lying
from tests.chain.world import FEE, GAS, PACKAGES, TREASURY, World
from workbench.chain.confirm import known
from workbench.custody.token import create_softhsm
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.observer.__main__ import Desk, main
from workbench.observer.core import HEADER_LINE, NODE_LINE, SIMULATION_LINE, Document
from workbench.process.frames import FrameError, call

ROOT = Path(__file__).parents[2]
STRANGER = "0x1111111111111111111111111111111111111111"
PIN = "4711"
BY_NODES: dict[str, object] = {"by": "nodes", "last_block": None}
START_S = 15.0
TOKEN: dict[str, object] = {
    "module": None,
    "environment": {},
    "label": "observer",
    "serial": None,
    "pin": "file:pin",
}
RELAY: dict[str, object] = {"url": "https://relay.example", "key": "04" * 65, "hints": []}
# One process opens one token, so the test's own process never opens this one.
GENERATE = """
import sys
from pathlib import Path
from tests.hsm import open_softhsm
token = open_softhsm(Path(sys.argv[1]), "observer", sys.argv[2])
print(token.generate_ed25519("observer").public_key.hex())
token.close()
"""


@dataclass
class Home:
    """A state root with a token, a trust root that names its key, and a socket."""

    state: Path
    trust_root: Path
    socket: Path
    public_key: bytes

    def command(self, *more: str) -> list[str]:
        """Return the command line of the process."""
        options = ["--state", self.state, "--trust-root", self.trust_root, "--socket", self.socket]
        return [sys.executable, "-m", "workbench.observer", *map(str, options), *more]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start the process and return when it answers."""
        process = subprocess.Popen(self.command(*more), cwd=ROOT)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                self.ask("status")
            except FrameError:
                time.sleep(0.02)
            else:
                return process
        process.kill()
        process.wait()
        raise AssertionError("the observer did not start")

    def ask(self, operation: str, **fields: object) -> dict[str, Any]:
        """Ask the process over its socket."""
        return call(self.socket, {"v": 1, "operation": operation, **fields}, timeout_s=10)

    def verified(self, statement: Document, line: bytes) -> Document:
        """Return a statement's document after checking its signature."""
        key = Ed25519PublicKey.from_public_bytes(self.public_key)
        key.verify(bytes.fromhex(statement["signature"]), line + canonical(statement["document"]))
        return statement["document"]


def trust_root(public_key: bytes, profile: str = "demo") -> dict[str, Any]:
    """Return a trust root that names this observer."""

    def other() -> str:
        return Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()

    production = profile == "production"
    scheme = "https" if production else "http"
    return {
        "v": 1,
        "profile": profile,
        "ledger_id": "11" * 16,
        "chain_id": chain.CHAIN_ID,
        "origin": "example.org/ledger",
        "checkpoint_keys": {"service": other()},
        "witnesses": {f"auditor-{number}": other() for number in range(3)} if production else {},
        "witness_quorum": 3 * production,
        "cosigners": {"one": other()},
        "observers": {"observer-1": public_key.hex(), "observer-2": other()},
        "observer_quorum": 2 if production else 1,
        "node_quorum": 2 if production else 1,
        "watcher": other() if production else None,
        "login": {"id": "login.localhost", "origin": f"{scheme}://login.localhost:8443"},
        "approval": {"id": "approve.localhost", "origin": f"{scheme}://approve.localhost:8444"},
        "aaguids": ["22" * 16],
        "genesis_policy": "33" * 32,
    }


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Make a token with an observer's key; each test gets a copy of it."""
    folder = tmp_path_factory.mktemp("token")
    create_softhsm(folder, label="observer", pin=PIN, so_pin="12345678")
    command = [sys.executable, "-c", GENERATE, str(folder), PIN]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return folder, bytes.fromhex(made.stdout.strip())


@pytest.fixture
def home(tmp_path: Path, fresh_world: World, token: tuple[Path, bytes]) -> Home:
    """Give a home whose observer watches the fresh world."""
    folder, public_key = token
    state = tmp_path / "observer"
    shutil.copytree(folder, state)
    state.chmod(0o700)
    settings = state / "softhsm2.conf"
    settings.write_text(settings.read_text().replace(str(folder), str(state)))
    pin = state / "pin"
    pin.write_text(PIN)
    pin.chmod(0o400)
    config = {
        "anvil": str(chain.anvil_binary(PACKAGES)),
        "feeds": [],
        "identity_key": public_key.hex(),
        "name": "observer-1",
        "nodes": {"node-1": fresh_world.node.url},
        "peers": [],
        "relay": None,
        "token": TOKEN,
    }
    (state / "config.json").write_text(json.dumps(config))
    believed = tmp_path / "trust-root.json"
    believed.write_bytes(canonical(trust_root(public_key)))
    return Home(state, believed, tmp_path / "s", public_key)


@pytest.fixture
def running(home: Home) -> Iterator[Home]:
    """Give the home's process, at work."""
    process = home.start()
    yield home
    process.terminate()
    process.wait()


def approval(world: World) -> dict[str, Any]:
    """Return an approval as the observer is asked about it."""
    return {
        "intent": None,
        "from": TREASURY,
        "to": world.deployment.usdc,
        "value": "0",
        "data": world.deployment.approval(5).hex(),
        "gas": GAS,
        "max_fee_per_gas": FEE,
        "max_priority_fee_per_gas": 1,
    }


def test_every_operation_over_the_socket(running: Home, fresh_world: World) -> None:
    """Status, attestation, simulation, broadcast and confirmation, signed by the token's key."""
    assert running.ask("status")["result"]["chain_id"] == chain.CHAIN_ID
    attested = running.ask("attest", accounts=[TREASURY], block=None)["result"]
    assert running.verified(attested["attestation"], HEADER_LINE)["chain_id"] == chain.CHAIN_ID
    assert attested["accounts"][0]["balance"] == str(10 * newswap.ETHER)
    sold = {"token_in": fresh_world.deployment.usdc, "token_out": fresh_world.deployment.weth}
    pool = {"factory": fresh_world.deployment.factory, "fee": fresh_world.deployment.fee, "amount": "7"}
    proven = running.ask("pool", **sold, **pool)["result"]
    assert running.verified(proven["attestation"], HEADER_LINE)["chain_id"] == chain.CHAIN_ID
    assert {each["account"] for each in proven["slots"]} == {pool["factory"], fresh_world.deployment.pool}
    for step in (3, 4):
        answer = running.ask(
            "simulate", step=step, transactions=[approval(fresh_world)], target=0, accounts=[], block=None
        )
        assert running.verified(answer["result"], SIMULATION_LINE)["allowances"][0]["amount"] == "5"
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    tx_hash = running.ask("broadcast", raw=raw.hex(), **BY_NODES)["result"]["tx_hash"]
    fresh_world.node.call("anvil_mine", "0x1")
    assert running.ask("confirm", tx_hash=tx_hash)["result"]["status"] == "confirmed"


ATTEST: dict[str, Any] = {"v": 1, "operation": "attest", "accounts": [], "block": None}
NOWHERE = {"number": 0, "hash": "00" * 32}
SIMULATE: dict[str, Any] = {
    "v": 1,
    "operation": "simulate",
    "step": 3,
    "transactions": [],
    "target": 0,
    "accounts": [],
    "block": None,
}


def broadcast(**changes: object) -> dict[str, object]:
    """Return a request to send bytes, with fields changed."""
    return {"v": 1, "operation": "broadcast", "raw": "02c0", **BY_NODES, **changes}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({}, "request", id="nothing"),
        pytest.param({"v": 1, "operation": "sign"}, "request", id="an operation it does not have"),
        pytest.param({"v": 2, "operation": "status"}, "request", id="another version"),
        pytest.param({"v": True, "operation": "status"}, "request", id="a truth as version"),
        pytest.param({"v": 1, "operation": "status", "more": 1}, "request", id="an unknown field"),
        pytest.param({"v": 1, "operation": "attest"}, "request", id="a field missing"),
        pytest.param(ATTEST | {"accounts": "x"}, "request", id="text for a list"),
        pytest.param(ATTEST | {"accounts": [7]}, "request", id="a number as address"),
        pytest.param(ATTEST | {"accounts": ["0x1"]}, "chain", id="no address"),
        pytest.param(ATTEST | {"block": 7}, "request", id="a number for a block"),
        pytest.param(ATTEST | {"block": {"number": 0}}, "request", id="a block without its hash"),
        pytest.param(ATTEST | {"block": NOWHERE | {"number": True}}, "request", id="a block of no number"),
        pytest.param(ATTEST | {"block": NOWHERE}, "chain", id="another block"),
        pytest.param(ATTEST | {"block": NOWHERE | {"number": -1}}, "chain", id="a block before the first"),
        pytest.param(ATTEST | {"block": NOWHERE | {"number": 10**6}}, "chain", id="a block to come"),
        pytest.param(SIMULATE | {"block": NOWHERE}, "chain", id="a simulation on another block"),
        pytest.param(broadcast(raw="0x02"), "request", id="prefixed hex"),
        pytest.param(broadcast(raw="02c0"), "request", id="no transaction"),
        pytest.param({"v": 1, "operation": "broadcast", "raw": "02"}, "request", id="by no way"),
        pytest.param(broadcast(by="post"), "request", id="by another way"),
        pytest.param(broadcast(by=["nodes"]), "request", id="by a list of ways"),
        pytest.param(broadcast(last_block=9), "request", id="by nodes until a block"),
        pytest.param(broadcast(by="relay"), "request", id="by the relay without an end"),
        pytest.param(broadcast(by="relay", last_block=True), "request", id="a truth as block"),
        pytest.param({"v": 1, "operation": "recall", "tx_hash": "ab"}, "request", id="recall half a hash"),
        pytest.param(
            {"v": 1, "operation": "recall", "tx_hash": "ab" * 32}, "chain", id="recall without a relay"
        ),
        pytest.param({"v": 1, "operation": "confirm", "tx_hash": 1}, "request", id="a number as hash"),
        pytest.param({"v": 1, "operation": "confirm", "tx_hash": "ab"}, "request", id="half a hash"),
        pytest.param(SIMULATE | {"step": 5}, "request", id="step 5"),
        pytest.param(SIMULATE | {"transactions": ["x"]}, "request", id="text"),
        pytest.param(SIMULATE, "simulation", id="none"),
    ],
)
def test_requests_that_are_refused(desk: Desk, request_: dict[str, Any], code: str) -> None:
    """A request it cannot answer gets an error with its code, and no signature."""
    answer = desk.handle(request_)
    assert answer["error"]["code"] == code
    assert canonical(answer)


def test_killed_at_each_step_and_asked_again(home: Home, fresh_world: World) -> None:
    """After kill -9 at any point the next process answers the same request; nothing is sent twice."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    simulate = {name: value for name, value in SIMULATE.items() if name != "v"}
    simulate["transactions"] = [approval(fresh_world)]
    kills = [
        ("2", {"operation": "attest", "accounts": [TREASURY], "block": None}),
        (
            "3",
            simulate | {"step": 3},
        ),
        (
            "4",
            simulate | {"step": 4},
        ),
        ("5-before", {"operation": "broadcast", "raw": raw.hex(), **BY_NODES}),
        ("5-after", {"operation": "broadcast", "raw": raw.hex(), **BY_NODES}),
        ("6", {"operation": "confirm", "tx_hash": keccak(raw).hex()}),
    ]
    lost = {"operation": "status"}
    for point, request in kills:
        process = home.start("--testing-only-crash-at", point)
        if request != lost:
            assert "result" in home.ask(**lost)
        sent = known(fresh_world.node, keccak(raw))
        with pytest.raises(FrameError):
            home.ask(**request)
        assert process.wait() == -signal.SIGKILL
        # Only the point behind the sending leaves the bytes with the node.
        assert known(fresh_world.node, keccak(raw)) == (sent or point == "5-after")
        lost = request
    process = home.start()
    assert home.ask(**lost)["result"]["status"] in ("pending", "confirmed")
    process.terminate()
    process.wait()
    fresh_world.node.call("anvil_mine", "0x1")
    assert fresh_world.node.nonce(TREASURY) == 1


DEEP: dict[str, tuple[bytes, str]] = {
    "brackets without an end": (b"[" * 100_000, "RecursionError"),
    "brackets with an end": (b"[" * 100_000 + b"]" * 100_000, "RecursionError"),
    "objects": (b'{"result":' * 100_000, "RecursionError"),
    "as deep as is read": (
        b'{"jsonrpc":"2.0","id":0,"result":' + b"[" * 900 + b"]" * 900 + b"}",
        "not a JSON-RPC quantity",
    ),
}


@pytest.mark.parametrize("case", DEEP)
def test_a_node_cannot_end_the_process_by_depth(home: Home, fresh_world: World, case: str) -> None:
    """Whatever depth it answers in, the node is out by name, and the process tells of it and lives."""
    says, why = DEEP[case]
    with lying(fresh_world.node.url) as liar, ExitStack() as ends:
        configured(nodes={"node-1": liar.url})(home)
        process = home.start()
        ends.callback(process.wait)
        ends.callback(process.terminate)
        liar.says = says
        refused = home.ask("attest", accounts=[TREASURY], block=None)
        assert refused["error"]["code"] == "chain"
        assert process.poll() is None
        events = home.ask("events", run="", after=0)["result"]["events"]
        told = [home.verified(each, NODE_LINE) for each in events]
        assert [(each["kind"], each["node"]) for each in told] == [("out", "node-1"), ("quorum_lost", "")]
        assert why in told[0]["detail"]


def configured(**changes: object) -> Callable[[Home], object]:
    """Return a change of the configuration."""

    def change(home: Home) -> None:
        path = home.state / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(configured(name="observer-2"), "does not know observer-2", id="another's name"),
        pytest.param(configured(identity_key="44" * 32), "does not know", id="another key"),
        pytest.param(configured(more=1), "fields", id="an unknown setting"),
        pytest.param(configured(token=TOKEN | {"module": "/no/such.so"}), "PKCS#11", id="no token module"),
        pytest.param(lambda home: (home.state / "pin").chmod(0o644), "PIN", id="a PIN that others can read"),
        pytest.param(lambda home: home.state.chmod(0o755), "owner", id="a state root that others enter"),
    ],
)
def test_a_process_that_does_not_start(
    home: Home,
    change: Callable[[Home], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A wrong key, name, token or mode stops it before it listens, with exit code 2."""
    change(home)
    monkeypatch.setattr(sys, "argv", home.command()[2:])
    assert main() == 2
    assert message in capsys.readouterr().err
    assert not home.socket.exists()


def test_crash_points_are_refused_in_production(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a production trust root nobody can ask for a crash."""
    home.trust_root.write_bytes(canonical(trust_root(home.public_key, "production")))
    monkeypatch.setattr(sys, "argv", home.command("--testing-only-crash-at", "2")[2:])
    assert main() == 2
    assert "refused under a production trust root" in capsys.readouterr().err


A_NODE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("profile", "nodes", "said"),
    [
        pytest.param("production", {"a": A_NODE, "b": A_NODE + "/b"}, "2 nodes, at least 3", id="two nodes"),
        pytest.param("demo", A_NODE, "an object of names", id="an address alone"),
        pytest.param("demo", {"a b": A_NODE}, "an object of names", id="a name that is none"),
        pytest.param("demo", {"a": 1}, "an object of names", id="a number as address"),
        pytest.param("demo", {}, "more than half", id="none"),
        pytest.param("demo", {"a": A_NODE, "b": A_NODE + "/b"}, "more than half", id="one of two"),
    ],
)
def test_nodes_that_it_does_not_start_with(home: Home, profile: str, nodes: object, said: str) -> None:
    """Too few nodes, or what names no nodes, stops the start."""
    home.trust_root.write_bytes(canonical(trust_root(home.public_key, profile)))
    path = home.state / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": nodes}))
    process = subprocess.run(home.command(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert said in process.stderr
    assert not home.socket.exists()


@pytest.mark.parametrize(
    ("profile", "relay", "said"),
    [
        pytest.param("demo", "https://relay.example", "null or an object", id="an address alone"),
        pytest.param("demo", RELAY | {"more": 1}, "null or an object", id="an unknown setting"),
        pytest.param("demo", RELAY | {"hints": "hash"}, "a list of hints", id="a hint that is no list"),
        pytest.param("demo", RELAY | {"hints": [1]}, "a list of hints", id="a number as hint"),
        pytest.param("demo", RELAY, "private keys", id="a key that the token has not"),
        pytest.param("production", RELAY | {"url": "http://relay.example"}, "only https", id="in the clear"),
    ],
)
def test_relays_that_it_does_not_start_with(home: Home, profile: str, relay: object, said: str) -> None:
    """What names no relay, or one that others could listen to, stops the start."""
    home.trust_root.write_bytes(canonical(trust_root(home.public_key, profile)))
    configured(
        relay=relay, nodes={name: f"{A_NODE}/{name}" for name in "abc"[: 3 if profile != "demo" else 1]}
    )(home)
    process = subprocess.run(home.command(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert said in process.stderr
    assert not home.socket.exists()
