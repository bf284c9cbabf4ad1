"""Backups of shares in a living world: made by order, kept by officers, tried, and brought back by order."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.e2e.test_key_operations import KEY, done, ended, index, operation, refuses, signed
from tests.e2e.test_shared import NAMES, sent, signers
from tests.e2e.test_watcher import said
from tests.world import Living, living
from workbench import client
from workbench.audit.indicators import indicators
from workbench.client import ProblemError
from workbench.custody.backups import SignedBackup
from workbench.demo import charter
from workbench.process.frames import call
from workbench.risk.exposure.evidence import Indicator
from workbench.rules.recovery import SignedTestimony, verify_testimony

STATUS = {"v": 1, "operation": "status"}
OFFICER = {name: officer for officer, names in charter.KEEPS.items() for name in names}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share, and of whose shares three officers have backups."""
    with living(engine="mpc", recovery=True) as built:
        yield built


@pytest.fixture(scope="module")
def home(world: Living, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the officers took home of epoch 1: a file for each co-signer's share."""
    folder = tmp_path_factory.mktemp("home")
    assert done(world, operation(world, "backup", epoch=1)) == "backed-up"
    fetch(world, folder)
    return folder


def last(world: Living, kind: str) -> dict[str, Any]:
    """Return the data of the newest entry of a type."""
    return [entry["data"] for entry in world.entries() if entry["type"] == kind][-1]


def words_of(world: Living, kind: str) -> dict[str, Any]:
    """Return what each co-signer said, verified under the trust root, of the newest entry of a type."""
    pinned = world.world.trust_root.cosigners
    found = {
        name: verify_testimony(SignedTestimony.load(each), cosigners=pinned)
        for name, each in last(world, kind)["testimonies"].items()
    }
    assert all(name == each.cosigner for name, each in found.items())
    return found


def fetch(world: Living, folder: Path) -> dict[str, Path]:
    """Have every officer take its backups home; return the files by co-signer."""
    files = {}
    for name, each in words_of(world, "key.backed-up").items():
        files[name] = folder / f"{name}.json"
        asked = said(
            *("recovery", "fetch", each.backup, "--out", files[name]),
            *("--trust-root", world.world.places.trust_root, "--socket", world.socket),
        )
        assert asked.returncode == 0, asked.stderr
        assert f"share of {name}, of {KEY}" in asked.stdout
    return files


def officer(world: Living, what: str, file: Path, *more: object, who: str = "") -> Any:
    """Run a recovery officer's command over a backup of its own, or as somebody else."""
    keeper = who or OFFICER[SignedBackup.read(file.read_bytes()).backup.cosigner]
    return said(
        *("recovery", what, file, *more, "--state", world.world.places.root(keeper)),
        *("--trust-root", world.world.places.trust_root, "--socket", world.socket),
    )


def shares(world: Living, name: str) -> Path:
    """Return the folder of a co-signer's shares."""
    return world.world.places.root(name) / "shares"


def lose(world: Living, name: str) -> None:
    """Take a co-signer's shares away: the disk on which they lay is gone."""
    world.stack.stop_one(name)
    shutil.rmtree(shares(world, name) / KEY)
    world.stack.start(name)
    assert index(world, name) is None


def remembered(world: Living, name: str) -> None:
    """Wait until a co-signer that was started anew has heard what all others remember of it."""
    deadline = time.monotonic() + 60
    while (
        len(call(world.world.places.socket(name), STATUS, timeout_s=30)["recall"]["heard"]) < len(NAMES) - 1
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def restoring(world: Living, file: Path, **changes: Any) -> Any:
    """Draft the order that brings a backup back."""
    kept = SignedBackup.read(file.read_bytes())
    given = {"cosigner": kept.backup.cosigner, "backup": kept.digest, "run": kept.backup.run}
    parameters = {**given, **changes.pop("given", {})}
    return operation(world, "restore", **{"epoch": kept.backup.epoch, "parameters": parameters, **changes})


def test_every_share_is_kept_by_its_officer(world: Living, home: Path) -> None:
    """Five backups, each sealed to the one who keeps it, each under its co-signer's word."""
    for name, each in words_of(world, "key.backed-up").items():
        kept = SignedBackup.read((home / f"{name}.json").read_bytes())
        assert kept.digest == each.backup
        assert (kept.backup.cosigner, kept.backup.epoch) == (name, 1)
        assert set(kept.backup.keys) == {OFFICER[name]}
        used = index(world, name)["epochs"][0]["run"]
        assert [mark.run for mark in each.shares] == [used] == [kept.backup.run]


@pytest.mark.parametrize("name", NAMES)
def test_a_drill(world: Living, home: Path, name: str) -> None:
    """Each officer has its backups tried: they open, they are the shares in use, and nothing changes."""
    before = index(world, name), sorted(shares(world, name).rglob("*"))
    tried = officer(world, "try", home / f"{name}.json")
    assert tried.returncode == 0, tried.stderr
    assert f"tried: {name} has opened it" in tried.stdout
    assert (index(world, name), sorted(shares(world, name).rglob("*"))) == before
    recorded = SignedTestimony.load(last(world, "key.tried")["testimony"]).testimony
    assert (recorded.cosigner, recorded.did, recorded.order) == (name, "tried", None)


def test_who_does_not_keep_it(world: Living, home: Path) -> None:
    """An officer who keeps other shares opens nothing, and no trial is recorded."""
    before = len([entry for entry in world.entries() if entry["type"] == "key.tried"])
    tried = officer(world, "try", home / f"{NAMES[0]}.json", who="recovery-2")
    assert tried.returncode == 1
    assert "recovery-2 keeps another share" in tried.stderr
    assert len([entry for entry in world.entries() if entry["type"] == "key.tried"]) == before


def test_without_an_order_nothing_comes_back(world: Living, home: Path) -> None:
    """A trial where the share is gone is refused; so is a restoration that officers did not order."""
    name = NAMES[0]
    kept = SignedBackup.read((home / f"{name}.json").read_bytes())
    safe = shares(world, name).parent / "shares.safe"
    shutil.copytree(shares(world, name), safe)
    lose(world, name)
    assert name not in signers(world, sent(world, 1_000))
    tried = officer(world, "try", home / f"{name}.json")
    assert tried.returncode == 1
    assert "no share of treasury" in tried.stderr
    asked = officer(world, "restore", home / f"{name}.json", "--order", "ab" * 32)
    assert asked.returncode == 1
    assert "not_found" in asked.stderr
    direct = {"v": 1, "operation": "key-ticket", "backup": kept.digest, "order": "ab" * 32}
    assert (
        call(world.world.places.socket(name), direct, timeout_s=30)["refused"]["code"] == "run_not_as_agreed"
    )
    assert index(world, name) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"given": {"backup": "ab" * 32}}, id="another backup"),
        pytest.param({"given": {"run": "ab" * 32}}, id="another run"),
        pytest.param({"epoch": 2}, id="another epoch"),
        pytest.param({"given": {"cosigner": NAMES[1]}}, id="another co-signer"),
    ],
)
def test_an_order_for_something_else(world: Living, home: Path, changes: Mapping[str, Any]) -> None:
    """A quorum has signed, for another share than the officer brings: it stays away."""
    name, file = NAMES[0], home / f"{NAMES[0]}.json"
    work = client.order_key(world.socket, signed(world, restoring(world, file, **changes)))
    asked = officer(world, "restore", file, "--order", work.digest)
    assert asked.returncode == 1, asked.stdout
    assert index(world, name) is None
    assert world.officer("risk-1").speaks.key_operation(work.digest).state == "ordered"


@pytest.mark.parametrize("point", ["key-restoring", "key-restored"])
def test_a_lost_share_comes_back(world: Living, home: Path, point: str) -> None:
    """Ordered, brought by its officer, killed on the way, brought again: in use, and it signs."""
    name, file = NAMES[0], home / f"{NAMES[0]}.json"
    world.stack.stop_one(name)
    shutil.rmtree(shares(world, name) / KEY, ignore_errors=True)
    world.stack.start(name, crash_at=point)
    work = client.order_key(world.socket, signed(world, restoring(world, file)))
    assert officer(world, "restore", file, "--order", work.digest).returncode != 0
    assert world.stack.wait_for_end(name) != 0
    world.stack.crash_points.pop(name)
    world.stack.start(name)
    assert (index(world, name) is None) == (point == "key-restoring")
    asked = officer(world, "restore", file, "--order", work.digest)
    assert asked.returncode == 0, asked.stderr
    assert f"restored: {name} uses it from now on" in asked.stdout
    assert ended(world, work) == "restored"
    assert index(world, name)["used"] == 1
    assert words_of(world, "key.restored")[name].did == "restored"
    again = officer(world, "restore", file, "--order", work.digest)
    assert again.returncode == 1
    assert "not_in_this_state" in again.stderr
    remembered(world, name)
    for other in NAMES[1:3]:
        world.stack.kill(other)
    assert name in signers(world, sent(world, 1_100 if point == "key-restored" else 1_200))
    world.revive()


def told(world: Living) -> dict[str, Indicator]:
    """Return what an auditor's bundle tells by this moment."""
    bundle = world.officer("auditor-1").speaks.bundle()
    return indicators(bundle, world.world.places.trust_root, now=datetime.now(UTC))


def test_what_the_ledger_tells_of_drills(world: Living) -> None:
    """All five backups were tried, a share came back, people logged in; of a second epoch nothing is told."""
    found = told(world)
    assert found[f"drill-days.{KEY}"].value < 1
    assert found[f"restore-seconds.{KEY}"].said == f"share of {NAMES[0]}"
    assert 0 < found[f"restore-seconds.{KEY}"].value < 3600
    assert f"epoch-days.{KEY}" not in found
    roles = sum(len(each.roles) for each in world.world.policy.people.values())
    assert found["unused-grants"].value < roles
    assert found[f"excess-shares.{KEY}"].said.endswith("has 5, and 3 sign together"), "a demo is one host"
    assert found["refused-requests"].value > 0


def test_what_was_carried_once(world: Living, home: Path) -> None:
    """What a courier makes up, or has recorded of a restoration, opens nothing, with a ticket or without."""
    name = NAMES[1]
    file = home / f"{name}.json"
    kept = SignedBackup.read(file.read_bytes())
    socket = world.world.places.socket(name)
    asked = {"v": 1, "operation": "key-restore", "order": None, "backup": kept.dump(), "secret": "ab" * 80}
    assert call(socket, asked, timeout_s=30)["refused"]["code"] == "share_unusable"
    ticket = {"v": 1, "operation": "key-ticket", "backup": kept.digest, "order": None}
    assert "ticket" in call(socket, ticket, timeout_s=30)
    assert call(socket, asked, timeout_s=30)["refused"]["code"] == "share_unusable"
    # a wrong secret uses nobody's ticket up
    tried = officer(world, "try", file)
    assert tried.returncode == 0, tried.stderr
    assert index(world, name)["used"] == 1


def test_a_backup_that_somebody_wrote(world: Living, home: Path) -> None:
    """An altered backup, or one under another name, is refused before anything is asked."""
    kept = SignedBackup.read((home / f"{NAMES[1]}.json").read_bytes()).dump()
    kept["backup"]["epoch"] = 7
    way = canonical({"order": None, "backup": kept, "secret": "ab" * 80}, limit=2**22)
    digest = SignedBackup.load(kept).digest
    with pytest.raises(ProblemError) as problem:
        client.bring_back(world.socket, digest, way)
    assert problem.value.code == "signature_invalid"
    with pytest.raises(ProblemError) as problem:
        client.bring_back(world.socket, "ab" * 32, way)
    assert problem.value.code == "malformed"
    with pytest.raises(ProblemError) as problem:
        client.backup(world.socket, "..config")
    assert problem.value.code == "not_found"


def test_an_epoch_that_is_over(world: Living, home: Path) -> None:
    """After a refresh a backup of before is refused by who holds the new share, tried or by order."""
    assert done(world, operation(world, "refresh", epoch=2)) == "made"
    name, file = NAMES[2], home / f"{NAMES[2]}.json"
    before = index(world, name)
    tried = officer(world, "try", file)
    assert tried.returncode == 1
    assert "epoch 1 of treasury, and 2 is in use" in tried.stderr
    work = client.order_key(world.socket, signed(world, restoring(world, file)))
    asked = officer(world, "restore", file, "--order", work.digest)
    assert asked.returncode == 1
    assert "epoch 1 of treasury is over here" in asked.stderr
    assert index(world, name) == before
    assert len(signers(world, sent(world, 1_300))) == 3


def test_what_is_not_ordered(world: Living) -> None:
    """What a policy set does not allow is not ordered."""
    refuses(world, signed(world, operation(world, "backup", key="other", epoch=1)), "key_unknown")
    successor = {"successor": "treasury-2"}
    refuses(
        world, signed(world, operation(world, "rotate", epoch=1, parameters=successor)), "not_in_this_state"
    )
    nobody = {"cosigner": "cosigner-9", "backup": "ab" * 32, "run": "ab" * 32}
    refuses(world, signed(world, operation(world, "restore", epoch=2, parameters=nobody)), "key_unknown")


def test_three_lost_shares(world: Living, tmp_path: Path) -> None:
    """With three disks gone nothing is signed; two officers bring them back, and the key signs."""
    assert done(world, operation(world, "backup", epoch=2)) == "backed-up"
    files = fetch(world, tmp_path)
    for name in NAMES[:3]:
        lose(world, name)
    view = world.outstanding(world.allowance(1_400))
    before = world.transactions()
    assert world.approve(view.digest).state == "refused"
    assert world.transactions() == before
    for name in NAMES[:3]:
        work = client.order_key(world.socket, signed(world, restoring(world, files[name])))
        asked = officer(world, "restore", files[name], "--order", work.digest)
        assert asked.returncode == 0, asked.stderr
        assert ended(world, work) == "restored"
    for name in NAMES[:3]:
        remembered(world, name)
    assert len(signers(world, sent(world, 1_500))) == 3
    # and the whole of them renews the key, so that what lay about in backups is worth nothing
    assert done(world, operation(world, "refresh", epoch=3)) == "made"
    assert {index(world, name)["used"] for name in NAMES} == {3}
    assert json.loads(files[NAMES[0]].read_text())["backup"]["epoch"] == 2


def test_what_the_ledger_tells_of_a_third_epoch(world: Living) -> None:
    """Its making is proven and its age told; drills of before count no more, and refusals are co-signers'."""
    found = told(world)
    assert found[f"epoch-days.{KEY}"].said == "epoch 3"
    assert f"drill-days.{KEY}" not in found
    assert found["refused-signatures"].value >= 1
    (last,) = [each for each in world.entries() if each["type"] == "signature.refused"][-1:]
    assert found["refused-signatures"].last == last["seq"]
