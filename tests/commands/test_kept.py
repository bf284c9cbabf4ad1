"""The file of a session: what it must be to be believed, and where it may lie."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.rules.build import World, build, refused
from workbench.client import Client
from workbench.commands import kept
from workbench.commands.kept import FOLDER, KEPT_MAX, Kept, Place
from workbench.commands.said import NothingToDoError
from workbench.rules.codes import Refusal

SOCKET = Path("/run/desk/service.sock")
NOBODY = 65534


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return people with credentials."""
    return build(tmp_path_factory.mktemp("officers"))


@pytest.fixture(scope="module")
def client(desk: World) -> Client:
    """Return a session of the portfolio manager's."""
    return speaks(desk)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return where it would be kept, in a runtime folder of the test's own."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    return kept.place(runtime, socket=SOCKET, person="pm-1")


@pytest.fixture
def full(place: Place, client: Client) -> Place:
    """Return a place where it is kept."""
    place.create(client)
    return place


def speaks(desk: World, **changes: Any) -> Client:
    """Return a session of this OS user's."""
    key, certified = desk.certify("pm-1", os_user=os.getuid(), **changes)
    return Client(SOCKET, key, certified)


def seed(client: Client) -> str:
    """Return what must not be read by anybody else."""
    return client.key.private_bytes_raw().hex()


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def photograph(folder: Path) -> list[tuple[Any, ...]]:
    """Look at everything below a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found.append((path, status.st_mode, status.st_uid, status.st_ino, content))
    return found


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_round_trip(place: Place, client: Client, mask: int) -> None:
    """What is kept is read again; file and folder are its owner's only, whatever the umask."""
    assert place.read() is None
    before = os.umask(mask)
    try:
        place.create(client)
    finally:
        os.umask(before)
    found = place.read()
    assert found is not None
    assert (found.service, found.certified, seed(found)) == (SOCKET, client.certified, seed(client))
    assert (mode(place.folder), mode(place.path)) == (0o700, 0o600)
    assert [path.name for path in place.folder.iterdir()] == [place.path.name]
    assert set(json.loads(place.path.read_bytes())) == {"v", "socket", "key", "certified"}


def test_another_takes_its_place(full: Place, desk: World, client: Client) -> None:
    """A renewal replaces it whole; a second login does not write over it."""
    before = photograph(full.runtime)
    other = speaks(desk, nonce="cd" * 32)
    with pytest.raises(FileExistsError):
        full.create(other)
    assert photograph(full.runtime) == before
    full.replace(other)
    found = full.read()
    assert found is not None
    assert seed(found) == seed(other) != seed(client)
    assert mode(full.path) == 0o600
    full.remove(other)
    full.remove(other)
    assert (full.read(), list(full.folder.iterdir())) == (None, [])


def test_a_successor_is_not_forgotten(full: Place, client: Client, desk: World) -> None:
    """A command that finds its session over leaves what a renewal has put in its place meanwhile."""
    successor = speaks(desk)
    full.replace(successor)
    full.remove(client)
    found = full.read()
    assert found is not None
    assert found.certified == successor.certified
    full.remove(successor)
    assert full.read() is None


def test_each_has_a_file_of_its_own(place: Place) -> None:
    """Another person and another service have other names; a name is no path that somebody gave."""
    others = [replace(place, person="pm-2"), replace(place, socket=Path("/run/other.sock"))]
    strange = replace(place, person="../../etc/passwd")
    assert len({each.path for each in [place, *others, strange]}) == 4
    assert {each.path.parent for each in [place, *others, strange]} == {place.folder}


def test_the_key_is_not_shown(client: Client) -> None:
    """What describes the document for a traceback leaves the key out."""
    made = Kept(v=1, socket="s", key=seed(client), certified=client.certified)
    assert seed(client) not in repr(made)


# what a file may not be


def linked(place: Place) -> None:
    """Put a symbolic link to the very file in its place."""
    place.path.rename(place.folder / "elsewhere")
    place.path.symlink_to(place.folder / "elsewhere")


def dangling(place: Place) -> None:
    """Put a symbolic link to nothing in its place."""
    place.path.unlink()
    place.path.symlink_to(place.folder / "nothing")


def a_folder(place: Place) -> None:
    """Put a folder in its place."""
    place.path.unlink()
    place.path.mkdir(mode=0o600)


def a_pipe(place: Place) -> None:
    """Put a pipe in its place, at which a reader would wait."""
    place.path.unlink()
    os.mkfifo(place.path, 0o600)


def a_socket(place: Place) -> None:
    """Put a socket in its place."""
    place.path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        descriptor = os.open(place.folder, os.O_PATH)
        listening.bind(f"/proc/self/fd/{descriptor}/{place.path.name}")
        os.close(descriptor)


def owned(place: Place) -> None:
    """Let the file belong to somebody else."""
    os.chown(place.path, NOBODY, -1)


def folder_owned(place: Place) -> None:
    """Let the folder belong to somebody else."""
    os.chown(place.folder, NOBODY, -1)


def runtime_owned(place: Place) -> None:
    """Let the folder above belong to somebody else."""
    os.chown(place.runtime, NOBODY, -1)


def with_mode(bits: int, name: str = "path") -> Callable[[Place], None]:
    """Give the file, or a folder, other permissions."""

    def change(place: Place) -> None:
        getattr(place, name).chmod(bits)

    return change


def folder_linked(place: Place) -> None:
    """Put a symbolic link in the folder's place."""
    place.folder.rename(place.runtime / "elsewhere")
    place.folder.symlink_to(place.runtime / "elsewhere")


UNSAFE: list[Any] = [
    pytest.param(linked, id="a link to the file"),
    pytest.param(dangling, id="a link to nothing"),
    pytest.param(a_folder, id="a folder"),
    pytest.param(a_pipe, id="a pipe"),
    pytest.param(a_socket, id="a socket"),
    pytest.param(owned, id="of another user"),
    pytest.param(folder_owned, id="in a folder of another user"),
    pytest.param(runtime_owned, id="below a folder of another user"),
    pytest.param(folder_linked, id="in a folder that is a link"),
    *(
        pytest.param(with_mode(0o600 | bit), id=f"mode {0o600 | bit:o}")
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001)
    ),
    *(
        pytest.param(with_mode(0o700 | bit, name), id=f"{name} {0o700 | bit:o}")
        for name in ("folder", "runtime")
        for bit in (0o020, 0o002)
    ),
]


@pytest.mark.parametrize("attack", UNSAFE)
def test_what_is_not_safe_is_not_read(full: Place, attack: Callable[[Place], None]) -> None:
    """Whatever somebody else could have read or written is refused, and left for its owner to look at."""
    attack(full)
    before = photograph(full.runtime)
    with refused(Refusal.SESSION_FILE):
        full.read()
    assert photograph(full.runtime) == before


@pytest.mark.parametrize("name", ["folder", "runtime"])
def test_nothing_is_written_where_others_write(full: Place, client: Client, name: str) -> None:
    """A key is not put where somebody else could take the file's place."""
    getattr(full, name).chmod(0o770)
    before = photograph(full.runtime)
    for write in (full.replace, full.create):
        with refused(Refusal.SESSION_FILE):
            write(client)
    assert photograph(full.runtime) == before


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Place], None]:
    """Write other content into the file."""

    def attack(place: Place) -> None:
        value = change(json.loads(place.path.read_bytes()))
        place.path.write_bytes(value if isinstance(value, bytes) else canonical(value, limit=2**20))

    return attack


def session(**changes: Any) -> Callable[[Place], None]:
    """Write another session document into the file."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        value["certified"]["session"] |= changes
        return value

    return rewritten(change)


OTHERS: list[Any] = [
    pytest.param(rewritten(lambda _: b""), Refusal.MALFORMED, id="empty"),
    pytest.param(rewritten(lambda _: b"\xff\xfe"), Refusal.MALFORMED, id="no text"),
    pytest.param(rewritten(lambda _: []), Refusal.MALFORMED, id="no object"),
    pytest.param(rewritten(lambda v: canonical(v) + b"\n"), Refusal.MALFORMED, id="a line feed more"),
    pytest.param(rewritten(lambda v: canonical(v)[:-1]), Refusal.MALFORMED, id="cut off"),
    pytest.param(rewritten(lambda v: v | {"v": 2}), Refusal.MALFORMED, id="another version"),
    pytest.param(rewritten(lambda v: v | {"more": 1}), Refusal.MALFORMED, id="a field more"),
    pytest.param(rewritten(lambda v: v | {"key": v["key"][:-1]}), Refusal.MALFORMED, id="a short key"),
    pytest.param(rewritten(lambda v: v | {"key": "ab" * 32}), Refusal.SIGNATURE, id="another key"),
    pytest.param(session(public_key="ab" * 32), Refusal.SIGNATURE, id="another key was certified"),
    pytest.param(rewritten(lambda _: b" " * (KEPT_MAX + 1)), Refusal.TOO_LARGE, id="too long"),
    pytest.param(rewritten(lambda v: v | {"socket": "/run/x"}), Refusal.SESSION_FOREIGN, id="another socket"),
    pytest.param(session(person="pm-2"), Refusal.SESSION_FOREIGN, id="another person"),
    pytest.param(session(os_user=NOBODY), Refusal.SESSION_FOREIGN, id="another OS user"),
]


@pytest.mark.parametrize(("attack", "code"), OTHERS)
def test_what_is_no_session_of_ours_is_not_used(
    full: Place, attack: Callable[[Place], None], code: Refusal
) -> None:
    """Whatever is not the session that was asked for is refused."""
    attack(full)
    before = photograph(full.runtime)
    with refused(code):
        full.read()
    assert photograph(full.runtime) == before


@pytest.mark.parametrize("other", ["person", "socket"])
def test_a_file_that_was_moved(full: Place, other: str) -> None:
    """A session under another's name does not speak there."""
    changed = replace(full, person="pm-2") if other == "person" else replace(full, socket=Path("/run/x"))
    full.path.rename(changed.path)
    with refused(Refusal.SESSION_FOREIGN):
        changed.read()


# where it may lie


def test_the_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime folder of the OS session is asked first."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert kept.place(None, socket=SOCKET, person="pm-1").folder == tmp_path / FOLDER


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user for whom the system has made no runtime folder."""
    monkeypatch.setattr(os, "getuid", lambda: 4_294_967_000)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("named", [None, "", "nowhere", "/nowhere/at/all"])
def test_no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str | None) -> None:
    """Without a runtime folder nothing is kept: not in the temporary folder, not at home, not here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    if named is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", named)
    with pytest.raises(NothingToDoError, match="no runtime folder"):
        kept.place(None, socket=SOCKET, person="pm-1")


@pytest.mark.usefixtures("bare")
def test_a_place_that_is_named(tmp_path: Path) -> None:
    """The option names one, which must be there."""
    assert kept.place(tmp_path, socket=SOCKET, person="pm-1").folder == tmp_path / FOLDER
    with pytest.raises(NothingToDoError, match="nothing-there"):
        kept.place(tmp_path / "nothing-there", socket=SOCKET, person="pm-1")
