"""Co-signers that are shut in do all that a co-signer does; who should not reach them does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_start import production_root
from tests.world import COSIGNER, Living, living
from workbench import cli
from workbench.demo import charter
from workbench.demo.world import SERVICE
from workbench.process.frames import call
from workbench.rules.isolation import MEASURES, Isolation
from workbench.service.isolating import ISOLATION

OTHER = 61999
ASK = """
import os, sys
from pathlib import Path
from workbench.process.frames import FrameError, call
os.setgroups([]); os.setgid({0}); os.setuid({0})
try:
    print(call(Path(sys.argv[1]), {{"v": 1, "operation": "status"}}, timeout_s=10))
except FrameError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One co-signer with a whole key, in the jail."""
    with living(jailed=True) as built:
        yield built


@pytest.fixture(scope="module")
def shared() -> Iterator[Living]:
    """Five co-signers that share a key, each in its jail."""
    with living(jailed=True, engine="mpc") as built:
        yield built


def isolation(world: Living, name: str) -> Isolation:
    """Ask a co-signer what it found of itself."""
    status = call(world.world.places.socket(name), {"v": 1, "operation": "status"}, timeout_s=30)
    return Isolation.load(status["isolation"])


def asked_by(uid: int, socket: Path) -> str:
    """Let another OS user ask for a status; return what came of it."""
    command = [sys.executable, "-c", ASK.format(uid), str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_a_whole_key_signs(world: Living) -> None:
    """From proposal to confirmation, under a checkpoint that it cosigned as a witness."""
    before = world.transactions()
    assert world.push(world.allowance(100)).state == "confirmed"
    assert world.transactions() == before + 1
    assert isolation(world, COSIGNER).missing == ()


def test_it_remembers(world: Living) -> None:
    """What it persisted inside is what it starts with again, after a kill from outside."""
    before = world.memory()
    world.stack.kill(COSIGNER)
    world.stack.start(COSIGNER)
    assert world.memory() == before
    assert world.push(world.allowance(200)).state == "confirmed"
    assert world.memory() != before


@pytest.mark.parametrize(("point", "amount"), [("4-persisted", 300), ("4-signed", 400)])
def test_it_crashes_and_goes_on(world: Living, point: str, amount: int) -> None:
    """Killed at a step, from inside, it signs once when it is there again."""
    before = world.transactions()
    world.stack.stop_one(COSIGNER)
    world.stack.start(COSIGNER, crash_at=point)
    assert world.push(world.allowance(amount)).state == "confirmed"
    assert (COSIGNER, point) in world.crashed
    assert world.transactions() == before + 1


def test_a_shared_key_signs(shared: Living) -> None:
    """Three run the rounds of a signature, each in a jail of its own."""
    before = shared.transactions()
    assert shared.push(shared.allowance(100)).state == "confirmed"
    assert shared.transactions() == before + 1
    users = set()
    for name in charter.COSIGNERS:
        assert isolation(shared, name).missing == ()
        users.add(shared.world.places.root(name).stat().st_uid)
    assert len(users) == len(charter.COSIGNERS)
    assert 0 not in users


def test_a_stranger_does_not_come_in(world: Living) -> None:
    """The folder is its user's and the service's group's: another user does not find the socket."""
    with world.unchanged(refusals=0):
        assert "Permission denied" in asked_by(OTHER, world.world.places.socket(COSIGNER))


def test_a_stranger_is_named(world: Living) -> None:
    """Where every file mode lets him through, he is refused by what the kernel says of him."""
    socket = world.world.places.socket(COSIGNER)
    modes = {path: path.stat().st_mode & 0o7777 for path in (socket.parent.parent, socket.parent, socket)}
    for path in modes:
        path.chmod(0o777)
    try:
        with world.unchanged(refusals=0):
            said = asked_by(OTHER, socket)
            assert said == f"{COSIGNER}.sock: caller_not_admitted: uid {OTHER}"
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_co_signer_does_not_reach_another(shared: Living) -> None:
    """One that was taken over is a stranger to the next."""
    one, two = (shared.world.jails[name] for name in charter.COSIGNERS[:2])
    assert one.uid is not None
    assert "Permission denied" in asked_by(one.uid, shared.world.places.socket(charter.COSIGNERS[1]))
    assert one.state.stat().st_uid != two.state.stat().st_uid


def give(folder: Path, uid: int) -> None:
    """Make a folder somebody's."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


def production(world: Living, folder: Path) -> Path:
    """Put a production trust root into a folder, and a genesis that names it into the co-signer's state."""
    root = production_root(world)
    path = folder / "production.json"
    path.write_bytes(root.canonical())
    genesis = folder / "state" / "genesis.json"
    genesis.write_text(genesis.read_text().replace(world.world.trust_root.digest, root.digest))
    return path


def test_production_demands_every_measure(world: Living, tmp_path: Path) -> None:
    """Outside of the jail, under a production trust root, it names what is missing and ends with 2."""
    state = tmp_path / "state"
    shutil.copytree(world.world.places.root(COSIGNER), state)
    give(state, 0)
    config = state / "softhsm2.conf"
    config.write_text(config.read_text().replace(str(world.world.places.root(COSIGNER)), str(state)))
    trust_root = production(world, tmp_path)
    command = [sys.executable, "-m", "workbench.cosigner", "--state", str(state)]
    socket = world.world.places.runtime / "p.sock"
    command += ["--trust-root", str(trust_root), "--socket", str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "isolation_missing" in done.stderr
    named = {name for name in MEASURES if f"{name} (" in done.stderr}
    assert named >= {"files_read_only", "user_of_its_own", "other_processes_hidden", "other_states_hidden"}
    assert "system_calls_filtered" not in named
    assert not socket.exists()


def test_production_starts_in_the_jail(world: Living, tmp_path: Path) -> None:
    """Inside, under the same trust root, it starts and answers."""
    jail = world.world.jails[COSIGNER]
    root = production_root(world)
    trust_root = world.world.places.state / "production.json"
    trust_root.write_bytes(root.canonical())
    genesis = jail.state / "genesis.json"
    before = genesis.read_bytes()
    world.stack.stop_one(COSIGNER)
    try:
        genesis.write_bytes(before.replace(world.world.trust_root.digest.encode(), root.digest.encode()))
        line = world.stack.command(COSIGNER)
        line = [each.replace(str(world.world.places.trust_root), str(trust_root)) for each in line]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(line, stderr=log) as process:
            world.stack.await_ready(COSIGNER, process)
            assert isolation(world, COSIGNER).missing == ()
            process.kill()
    finally:
        genesis.write_bytes(before)
        trust_root.unlink()
        world.stack.start(COSIGNER)


def test_no_secret_in_its_command_line(world: Living) -> None:
    """Neither the arguments nor the environment hold the PIN, which everybody on the machine could read."""
    pin = (world.world.places.root(COSIGNER) / "pin").read_bytes()
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    seen = 0
    for pid in pids:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if str(world.world.places.root(COSIGNER)).encode() in line:
            seen += 1
            assert pin not in line
            assert pin not in Path(f"/proc/{pid}/environ").read_bytes()
    assert seen >= 2
    assert json.loads((world.world.places.root(COSIGNER) / "config.json").read_text())["peers"] == [0]


def recorded(world: Living) -> list[tuple[str, tuple[str, ...]]]:
    """Return of whom the ledger says what is missing, in its order."""
    entries = [entry for entry in world.entries() if entry["type"] == ISOLATION]
    assert {entry["actor"] for entry in entries} <= {"service"}
    return [(entry["subject"], Isolation.load(entry["data"]).missing) for entry in entries]


def until(world: Living, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    """Wait until the ledger says so."""
    deadline = time.monotonic() + 60
    while (said := recorded(world)) != expected:
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


def told(world: Living, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `workbench status` prints."""
    assert cli.main(["status", "--socket", str(world.socket)]) == 0
    return capsys.readouterr().out


def until_told(world: Living, capsys: pytest.CaptureFixture[str], words: str) -> str:
    """Wait until `workbench status` says so."""
    deadline = time.monotonic() + 60
    while words not in (said := told(world, capsys)):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    return said


def test_what_is_missing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Started without the jail, a co-signer is in the ledger as such, once; started with it, once more."""
    with living(jailed=True) as world:
        until(world, [(COSIGNER, ())])
        assert f"{COSIGNER}: every measure holds, by its own word" in told(world, capsys)
        # as root, with nothing around it
        jail = world.world.jails.pop(COSIGNER)
        world.stack.stop_one(COSIGNER)
        give(jail.state, 0)
        world.stack.start(COSIGNER)
        less = until_told(world, capsys, "MISSING user_of_its_own (uid 0, callers [0])")
        assert "holds   system_calls_filtered (Seccomp 2)" in less
        assert "MISSING files_read_only (" in less
        missing = isolation(world, COSIGNER).missing
        assert {"files_read_only", "other_processes_hidden", "user_of_its_own"} <= set(missing)
        until(world, [(COSIGNER, ()), (COSIGNER, missing)])
        # another start of either changes nothing
        for name in (COSIGNER, SERVICE):
            world.stack.stop_one(name)
            world.stack.start(name)
        until_told(world, capsys, "MISSING user_of_its_own")
        assert recorded(world) == [(COSIGNER, ()), (COSIGNER, missing)]
        world.stack.stop_one(COSIGNER)
        until_told(world, capsys, f"{COSIGNER}: silent, or not asked yet")
        assert recorded(world) == [(COSIGNER, ()), (COSIGNER, missing)]
        assert jail.uid is not None
        give(jail.state, jail.uid)
        world.world.jails[COSIGNER] = jail
        world.world.places.socket(COSIGNER).unlink()
        world.stack.start(COSIGNER)
        until(world, [(COSIGNER, ()), (COSIGNER, missing), (COSIGNER, ())])
        assert world.push(world.allowance(100)).state == "confirmed"
