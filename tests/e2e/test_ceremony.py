"""The record of a key ceremony: run headless over a living desk, and looked at as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_key_operations import done, operation
from tests.e2e.test_recovery import fetch, officer
from tests.e2e.test_shared import NAMES
from tests.e2e.test_watcher import said
from tests.world import Living, living
from workbench.audit.keys import inventory
from workbench.demo import charter
from workbench.rules.documents import write_time
from workbench.rules.words import words
from workbench.runner import notebook

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "committee" / "key-ceremony.ipynb"
SHARED = {"parties": list(NAMES), "threshold": 3}
LEADER = "committee-1"
LIFE_S = 15


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share, and of whose shares three officers have backups."""
    with living(engine="mpc", recovery=True) as built:
        yield built


@pytest.fixture(scope="module")
def order(world: Living, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The order of a key that was made; the desk's first key is backed up, and one backup of it tried."""
    made = operation(world, "dkg", key="reserve", epoch=1, parameters=SHARED)
    assert done(world, made) == "made"
    assert done(world, operation(world, "backup", epoch=1)) == "backed-up"
    files = fetch(world, tmp_path_factory.mktemp("home"))
    assert officer(world, "try", files[NAMES[0]]).returncode == 0
    return made.digest


def run(world: Living, folder: Path, leader: str = LEADER, **parameters: Any) -> Path:
    """Run the notebook while its leader signs the login; return the report."""
    given = {
        "socket": str(world.socket),
        "person": leader,
        "trust_root": str(world.world.places.trust_root),
        **parameters,
    }
    with world.signing_logins(leader):
        return notebook.run(NOTEBOOK, folder, given)


def test_the_record(world: Living, order: str, tmp_path: Path) -> None:
    """Who ordered it, where it is, one address of five, backups, the life of it, and what is due."""
    report = run(world, tmp_path, order=order, witnesses=["auditor-1", "risk-1"])
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", report.read_text()))
    (made,) = [each["data"] for each in world.entries() if each["type"] == "key.made"]
    assert text.count(made["address"]) >= len(NAMES) + 1
    assert "risk-1 (second path)" in text
    assert "committee-1 (page)" in text
    assert words(order) in text
    for name in NAMES:
        assert name in text
    assert text.count("passed") >= len(NAMES)
    assert "NO REPORT" not in text
    assert "NOBODY" not in text, "a key that no set lists has no keepers to be told of"
    assert "pre-activation" in text
    assert f"try the backups of {', '.join(NAMES[1:])}" in text
    assert "whitelist entry" in text
    recorded = [each for each in world.entries() if each["type"] == "external.key-ceremony"]
    assert [each["actor"] for each in recorded] == [LEADER]
    assert recorded[0]["data"]["address"] == made["address"]
    assert recorded[0]["data"]["witnesses"] == ["auditor-1", "risk-1"]


def test_a_key_that_was_not_made(world: Living, order: str, tmp_path: Path) -> None:
    """Of an order that made none there is no record, and no conclusion."""
    del order
    with pytest.raises(notebook.NotebookError, match="0 entries key"):
        run(world, tmp_path, "cro-1", order="ab" * 32)
    assert not [each for each in world.entries() if each["id"] == "ab" * 32]


def test_the_inventory_at_the_command_line(world: Living, order: str) -> None:
    """With nothing of the desk running but its bundle: states, keepers, what is due."""
    del order
    bundle = world.officer("auditor-1").speaks.bundle()
    told = said("audit", "keys", bundle, "--trust-root", world.world.places.trust_root)
    assert told.returncode == 0, told.stderr
    assert f"{charter.KEY_ID}  active since" in told.stdout
    assert "reserve  pre-activation since" in told.stdout
    assert f"share of {NAMES[0]}: kept by recovery-1" in told.stdout
    assert f"DUE: try the backups of {', '.join(NAMES[1:])}" in told.stdout
    assert "proven: a sound bundle" in told.stdout


def test_a_bundle_that_somebody_changed(world: Living, tmp_path: Path) -> None:
    """Nothing is told of keys by a bundle that is not sound, or under another trust root."""
    bundle = world.officer("auditor-1").speaks.bundle()
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in Path(bundle).rglob("*"):
        target = copy / path.relative_to(bundle)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    lines = (copy / "entries.jsonl").read_bytes()
    (copy / "entries.jsonl").write_bytes(lines.replace(b"reserve", b"reserva", 1))
    told = said("audit", "keys", copy, "--trust-root", world.world.places.trust_root)
    assert (told.returncode, "NOT PROVEN" in told.stdout) == (1, True)
    assert "active since" not in told.stdout


def test_a_backup_that_one_has_missed(world: Living, order: str) -> None:
    """Four give theirs while the order counts, as the ledger has it; the older one of the fifth stands."""
    del order
    world.stack.stop_one(NAMES[4])
    until = write_time(datetime.now(UTC) + timedelta(seconds=LIFE_S))
    asked = operation(world, "backup", epoch=1, expires_at=until)
    assert done(world, asked) == "partly"
    world.stack.start(NAMES[4])
    (made,) = [each["data"] for each in world.entries() if each["data"].get("order") == asked.digest]
    assert set(made["testimonies"]) == set(NAMES[:4])
    assert NAMES[4] in made["reason"]
    bundle = world.officer("auditor-1").speaks.bundle()
    told = inventory(bundle, world.world.places.trust_root, now=datetime.now(UTC))
    (key,) = [each for each in told.keys if each.name == charter.KEY_ID]
    dates = {name: share.backed_up.at for name, share in key.shares.items() if share.backed_up is not None}
    assert set(dates) == set(NAMES)
    assert len(set(dates.values())) == 2
    assert min(dates, key=lambda name: dates[name]) == NAMES[4]
