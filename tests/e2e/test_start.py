"""What a process refuses to start with, and that it says how to mend it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.world import COSIGNER, Living, living
from workbench.demo.world import OBSERVER, SERVICE, WATCHER, WITNESSES
from workbench.rules.trust import TrustRoot

PROCESSES = (OBSERVER, COSIGNER, SERVICE)


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A world that has done something and is then stopped; each case starts one process of a copy."""
    with living() as built:
        assert built.push(built.allowance(100)).state == "confirmed"
        built.stack.stop()
        service = built.world.places.root(SERVICE)
        older = service.parent / "older"
        older.mkdir()
        for path in service.glob("ledger.duckdb*"):
            shutil.copy(path, older)
        shutil.copytree(service / "checkpoints", older / "checkpoints")
        for name in built.stack.order:
            built.stack.start(name)
        assert built.push(built.allowance(200)).state == "confirmed"
        built.stack.stop()
        # what they remember is asked for by every service that starts
        for name in (WATCHER, *WITNESSES):
            built.stack.start(name)
        yield built


@pytest.fixture
def root(world: Living, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a process's state root, to be damaged."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(world.world.places.root(name), folder)
        # the token's configuration names its folder
        config = folder / "softhsm2.conf"
        config.write_text(config.read_text().replace(str(world.world.places.root(name)), str(folder)))
        return folder

    return copy


def start(
    world: Living, name: str, state: Path, *more: str, trust_root: Path | None = None
) -> tuple[int, str]:
    """Start a process that is expected to refuse; return its exit code and what it says."""
    command = world.stack.command(name)
    command[command.index("--state") + 1] = str(state)
    if trust_root is not None:
        command[command.index("--trust-root") + 1] = str(trust_root)
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


def listens(path: Path) -> bool:
    """Whether anybody answers on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def configure(folder: Path, **changes: Any) -> None:
    """Change fields of a configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_token(folder: Path) -> None:
    """Take the token's configuration away."""
    (folder / "softhsm2.conf").unlink()


def empty_token(folder: Path) -> None:
    """Take the token's contents away."""
    shutil.rmtree(folder / "tokens")
    (folder / "tokens").mkdir()


def no_module(folder: Path) -> None:
    """Name a PKCS#11 module that is not installed, as on a machine without SoftHSM."""
    token = json.loads((folder / "config.json").read_text())["token"]
    configure(folder, token=token | {"module": "/usr/lib/softhsm/not-installed.so"})


def no_pin(folder: Path) -> None:
    """Take the PIN away."""
    (folder / "pin").unlink()


def open_pin(folder: Path) -> None:
    """Let everybody read the PIN."""
    (folder / "pin").chmod(0o444)


def wrong_pin(folder: Path) -> None:
    """Put another PIN there."""
    (folder / "pin").chmod(0o600)
    (folder / "pin").write_text("00000000")


def open_root(folder: Path) -> None:
    """Let everybody into the state root."""
    folder.chmod(0o755)


def surplus_config(folder: Path) -> None:
    """Add a field that nobody knows."""
    configure(folder, surprise=True)


DAMAGE = [
    pytest.param(no_token, "makes one", id="no token"),
    pytest.param(empty_token, "token", id="empty token"),
    pytest.param(no_module, "apt-get install softhsm2", id="no SoftHSM"),
    pytest.param(no_pin, "pin", id="no PIN"),
    pytest.param(open_pin, "chmod 400", id="a PIN that others read"),
    pytest.param(wrong_pin, "PinIncorrect", id="wrong PIN"),
    pytest.param(open_root, "only the owner may enter", id="a state root that others enter"),
    pytest.param(surplus_config, "expected", id="unknown configuration"),
]


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_refuses_to_start(
    world: Living, root: Callable[[str], Path], name: str, damage: Callable[[Path], None], words: str
) -> None:
    """There is no path without the token, the PIN or the right file modes."""
    folder = root(name)
    damage(folder)
    code, said = start(world, name, folder)
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert not listens(world.world.places.socket(name))


def test_observer_without_anvil(world: Living, root: Callable[[str], Path]) -> None:
    """Without the simulator the observer does not start, and says how to get it."""
    folder = root(OBSERVER)
    configure(folder, anvil="/usr/bin/not-anvil")
    code, said = start(world, OBSERVER, folder)
    assert code == 2
    assert "npm" in said


@pytest.mark.parametrize("name", PROCESSES)
def test_crash_points_are_for_demo_roots(
    world: Living, root: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    """Under a production trust root nothing can be told to crash."""
    production = production_root(world)
    path = tmp_path / "production.json"
    path.write_bytes(production.canonical())
    code, said = start(world, name, root(name), "--testing-only-crash-at", "4", trust_root=path)
    assert code == 2
    assert "--testing-only-crash-at" in said


def test_service_does_not_serve_the_demo_world_in_production(
    world: Living, root: Callable[[str], Path], tmp_path: Path
) -> None:
    """The demo's policy set is signed by software authenticators: a production root does not believe it."""
    path = tmp_path / "production.json"
    path.write_bytes(production_root(world).canonical())
    code, said = start(world, SERVICE, root(SERVICE), trust_root=path)
    assert code == 2
    assert "policy_chain_broken" in said


def production_root(world: Living) -> TrustRoot:
    """Return the world's trust root as a production one would have to be."""
    demo = world.world.trust_root.dump()
    return TrustRoot.load(
        {
            **demo,
            "profile": "production",
            "observers": {**demo["observers"], "observer-2": "ab" * 32},
            "observer_quorum": 2,
            "node_quorum": 2,
            "watcher": "cd" * 32,
            "witnesses": {f"auditor-{name}": name * 32 for name in ("ed", "ee", "ef")},
            "witness_quorum": 3,
            "login": {"id": "login.example.org", "origin": "https://login.example.org"},
            "approval": {"id": "approve.example.org", "origin": "https://approve.example.org"},
            "aaguids": ["00" * 15 + "01"],
        }
    )


def other_genesis(folder: Path) -> None:
    """Give the co-signer the genesis of a ledger under another trust root."""
    path = folder / "genesis.json"
    genesis = json.loads(path.read_text())
    path.write_bytes(canonical({**genesis, "trust_root": "00" * 32}))


def lost_head(folder: Path) -> None:
    """Take the co-signer's head away beside its signed records."""
    (folder / "head.json").unlink()


def lost_records(folder: Path) -> None:
    """Take the co-signer's signed records away."""
    shutil.rmtree(folder / "signed")


def lost_newest_record(folder: Path) -> None:
    """Take the newest signed record away, and nothing else."""
    max((folder / "signed").glob("*.json")).unlink()


def half_a_record(folder: Path) -> None:
    """Take a field out of a signed record."""
    path = min((folder / "signed").glob("*.json"))
    record = json.loads(path.read_text())
    del record["usd_cents"]
    path.write_bytes(canonical(record))


def moved_record(folder: Path) -> None:
    """Pass one nonce's record off as another's."""
    record = min((folder / "signed").glob("*.json"))
    record.rename(record.with_name(record.name.replace("-0.json", "-7.json")))


def lost_orders(folder: Path) -> None:
    """Take away what the co-signer has heard of pauses."""
    (folder / "orders.json").unlink()


def damaged_head(folder: Path) -> None:
    """Cut the co-signer's head off."""
    path = folder / "head.json"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(other_genesis, "another trust root", id="genesis of another ledger"),
        pytest.param(lost_head, "head.json", id="memory without its head"),
        pytest.param(lost_records, "signed/", id="memory without its signatures"),
        pytest.param(lost_newest_record, "signed/", id="memory without its newest signature"),
        pytest.param(half_a_record, "json", id="a record without a field"),
        pytest.param(moved_record, "another nonce", id="a record under another name"),
        pytest.param(damaged_head, "head.json", id="a damaged head"),
        pytest.param(lost_orders, "orders.json", id="memory without its pauses"),
    ],
)
def test_cosigner_without_its_memory(
    world: Living, root: Callable[[str], Path], damage: Callable[[Path], None], words: str
) -> None:
    """A co-signer that cannot trust its own memory signs nothing."""
    folder = root(COSIGNER)
    damage(folder)
    code, said = start(world, COSIGNER, folder)
    assert code == 2
    assert words in said


def shorter_ledger(folder: Path) -> None:
    """Put an empty database under checkpoints that have seen more: what a lost WAL looks like."""
    for path in folder.glob("ledger.duckdb*"):
        path.unlink()


def no_policy(folder: Path) -> None:
    """Take the policy sets away."""
    shutil.rmtree(folder / "policies")


def edited_policy(folder: Path) -> None:
    """Raise a limit without anybody's signature."""
    (path,) = (folder / "policies").iterdir()
    path.write_bytes(path.read_bytes().replace(b'slippage_bps_max\\":50', b'slippage_bps_max\\":5000'))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(shorter_ledger, "ledger.duckdb", id="no database"),
        pytest.param(no_policy, "no policy set", id="no policy set"),
        pytest.param(edited_policy, "policy_invalid", id="an edited policy set"),
    ],
)
def test_service_without_its_evidence(
    world: Living, root: Callable[[str], Path], damage: Callable[[Path], None], words: str
) -> None:
    """A service whose ledger or policy is not what was signed does not start."""
    folder = root(SERVICE)
    damage(folder)
    code, said = start(world, SERVICE, folder)
    assert code == 2
    assert words in said


def test_rolled_back_ledger(world: Living, root: Callable[[str], Path]) -> None:
    """An older copy of the database is a sound chain; the checkpoints kept outside it know better."""
    folder = root(SERVICE)
    for path in folder.glob("ledger.duckdb*"):
        path.unlink()
    for path in older_ledger(world):
        shutil.copy(path, folder)
    code, said = start(world, SERVICE, folder)
    assert code == 2
    assert "checkpoint" in said


def older_ledger(world: Living) -> list[Path]:
    """Return the files of the older copy of the database."""
    return [path for path in (world.world.places.state / "older").iterdir() if path.is_file()]


def test_rolled_back_state(world: Living, root: Callable[[str], Path]) -> None:
    """A whole older state, checkpoints and all, contradicts nothing of its own; the witnesses know better."""
    folder = root(SERVICE)
    for path in [*folder.glob("ledger.duckdb*"), *(folder / "checkpoints").iterdir()]:
        path.unlink()
    for path in older_ledger(world):
        shutil.copy(path, folder)
    shutil.copytree(
        world.world.places.state / "older" / "checkpoints", folder / "checkpoints", dirs_exist_ok=True
    )
    code, said = start(world, SERVICE, folder)
    assert code == 2
    assert "is behind its checkpoint" in said


def test_too_few_witnesses(world: Living, root: Callable[[str], Path]) -> None:
    """When those that do not answer could be all who know of a newer ledger, the service does not start."""
    folder = root(SERVICE)
    world.stack.stop_one(WITNESSES[0])
    try:
        code, said = start(world, SERVICE, folder)
    finally:
        world.stack.start(WITNESSES[0])
    assert code == 2
    assert "1 of 3 witnesses answer, 2 must" in said


def test_whole_copy_starts(world: Living, root: Callable[[str], Path]) -> None:
    """The copies that the cases damage are good ones: undamaged they start."""
    for name in PROCESSES:
        folder = root(name)
        command = world.stack.command(name)
        command[command.index("--state") + 1] = str(folder)
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            world.stack.await_ready(name, process)
            process.terminate()


@pytest.mark.parametrize("name", PROCESSES)
def test_trust_root_of_another_ledger(
    world: Living, root: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    """A process takes no other trust root than the one that its ledger and its key belong to."""
    path = tmp_path / "other.json"
    other = world.world.trust_root.dump()
    path.write_bytes(TrustRoot.load({**other, "observers": {OBSERVER: "ab" * 32}}).canonical())
    code, said = start(world, name, root(name), trust_root=path)
    assert code == 2
    assert "trust root" in said
