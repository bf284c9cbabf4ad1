"""THREATS.md has every process, socket, file and key there is, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.demo.charter import MEMBERS
from workbench.demo.stack import COSIGNING, MODULES, OBSERVING, Stack
from workbench.demo.world import APPROVER, WITNESSES, World
from workbench.rules.trust import TrustRoot

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "workbench" / "THREATS.md").read_text()
PLACES = {
    "<root>": "(?:service|anchor|watcher|cosigners/[^/]+|observers/[^/]+)",
    "<any>": ".+",
    "<size>": "[0-9]+",
    "<version>": "[0-9]+",
    "<sha256>": "[0-9a-f]{64}",
    "<nonce>": "[0-9]+-0x[0-9a-fA-F]{40}-[0-9]+",
    "<person>": "[a-z]+-[0-9]+",
}
KEPT = "custody-workbench/<session>.json`, below `$XDG_RUNTIME_DIR` or `/run/user/<uid>"
# Only a run of the notebook makes these, a world with a time-stamp authority, and a command of a person's.
# The key of this world is whole.
NOT_IN_THIS_WORLD = {
    "cosigners/<cosigner>/founding.json",
    "cosigners/<cosigner>/peers.json",
    "cosigners/<cosigner>/shares/<key>/<run>.share",
    "cosigners/<cosigner>/shares/<key>/index.json",
    "cosigners/<cosigner>/deeds/<order>.json",
    "service/backups/<digest>.json",
    "recovery/<officer>/config.json",
    "reports/<notebook>",
    "watcher/ordered/<epoch>.json",
    "service/ledger.duckdb.journal",
    "service/timestamps/<size>.<authority>.tsr",
    KEPT,
}


def first_column(section: str) -> list[str]:
    """Return what the table of a section is about, row by row."""
    body = TEXT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in lines[2:]]


def pattern(row: str) -> re.Pattern[str]:
    """Return what a row's path stands for; an unnamed place is one part of a path."""
    parts = re.split(r"(<[a-z0-9]+>)", row.strip("`"))
    return re.compile(
        "".join(
            PLACES.get(part, "[^/]+") if re.fullmatch(r"<[a-z0-9]+>", part) else re.escape(part)
            for part in parts
        )
    )


FILES = {row.strip("`"): pattern(row) for row in first_column("Files")}


def test_every_process_is_listed() -> None:
    """Each package that can be started, and each module of the demo that can, stands in the table."""
    listed = " ".join(first_column("Processes"))
    packages = {f"workbench.{path.parent.name}" for path in (ROOT / "workbench").glob("*/__main__.py")}
    assert "python -m ledger witness" in listed
    assert packages == {COSIGNING, OBSERVING, *MODULES.values()}
    started = {
        f"workbench.{path.parent.name}.{path.stem}"
        for path in (ROOT / "workbench").glob("*/*.py")
        if '__name__ == "__main__"' in path.read_text() and path.stem != "__main__"
    }
    for name in packages | started | {"workbench.demo", "workbench.runner", "workbench.client"}:
        assert f"`{name}`" in listed, name


def test_every_file_is_listed(lived: tuple[World, Stack]) -> None:
    """Whatever a world leaves on disk is matched by exactly one row."""
    state = lived[0].places.state
    for path in state.rglob("*"):
        name = str(path.relative_to(state))
        if path.is_file() and not path.name.startswith("."):
            assert len([row for row, each in FILES.items() if each.fullmatch(name)]) == 1, name


def test_every_row_is_a_file(lived: tuple[World, Stack]) -> None:
    """A row whose file is gone is found."""
    state = lived[0].places.state
    names = [str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()]
    unused = {row for row, each in FILES.items() if not any(each.fullmatch(name) for name in names)}
    assert unused == NOT_IN_THIS_WORLD


def test_every_socket_is_listed(lived: tuple[World, Stack]) -> None:
    """Each socket of the runtime folder has its row."""
    rows = [row.strip("`") for row in first_column("Sockets")]
    listed = {row.replace("<n>", number) for row in rows for number in ("1", "2")}
    sockets = {path.name for path in lived[0].places.runtime.rglob("*") if path.is_socket()}
    assert sockets == {f"{name}.sock" for name in lived[1].order if name != APPROVER}
    assert sockets <= listed


def test_every_kind_of_key_is_listed(lived: tuple[World, Stack]) -> None:
    """The trust root's keys, the paths of credentials, and the keys that own assets each have a row."""
    listed = " ".join(first_column("Keys"))
    kinds = {
        "checkpoint_keys": "checkpoint key",
        "witnesses": "witness keys",
        "cosigners": "co-signer identity",
        "observers": "observer identity",
        "watcher": "watcher key",
    }
    # "Digest" is a key in hex, but for the genesis set's digest
    holding = {name for name, text in TrustRoot.__annotations__.items() if "Digest" in text}
    assert holding - {"genesis_policy"} == set(kinds)
    paths = {each.path for person in lived[0].policy.people.values() for each in person.credentials}
    wanted = {
        *kinds.values(),
        *lived[0].policy.keys,
        *(f"{path} credential" for path in paths),
        "session key",
    }
    assert {name for name in wanted if name not in listed} == set()
    assert set(lived[0].policy.people) == {member.id for member in MEMBERS}


def test_the_tests_that_are_named_exist() -> None:
    """Whoever looks a line up finds its test."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT))
    assert named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_roots_are_closed_to_others(lived: tuple[World, Stack]) -> None:
    """The modes that the text claims are those on disk."""
    places = lived[0].places
    for name in lived[1].order:
        assert places.root(name).stat().st_mode & 0o777 == 0o700
        if name == APPROVER:
            assert {path.name for path in places.root(name).iterdir()} == {"config.json"}
            continue
        secret = places.root(name) / ("key.pem" if name in WITNESSES else "pin")
        assert secret.stat().st_mode & 0o077 == 0
        assert places.socket(name).stat().st_mode & 0o777 == 0o660
    assert places.runtime.stat().st_mode & 0o777 == 0o700


def test_the_test_functions_that_are_named_exist() -> None:
    """A file that is named with its functions has them."""
    for path, names in re.findall(r"`(tests/[\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", TEXT):
        text = (ROOT / path).read_text()
        for name in re.findall(r"test_\w+", names):
            assert f"def {name}(" in text, f"{path}: {name}"
