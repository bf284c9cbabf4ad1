"""What co-signers say of what shuts them in: one entry for each change, and none that nobody said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.process.test_frames import serving
from tests.rules.build import World, build
from tests.rules.test_isolation import without
from tests.service.test_sessions import Hall
from workbench.rules.isolation import Measure
from workbench.service.isolating import ISOLATION, Isolating
from workbench.service.links import Links
from workbench.service.observers import Observers

ONE, TWO = "cosigner-1", "cosigner-2"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the policy set that a ledger is opened under."""
    return build(tmp_path_factory.mktemp("officers"))


@dataclass
class Room:
    """Two sockets, what is said on each, and a real ledger; who says nothing hangs up."""

    hall: Hall
    folder: Path
    says: dict[str, Any] = field(default_factory=dict)

    def begun(self) -> Isolating:
        """Return the service's side as a start makes it."""
        links = Links(Observers({}, None, lambda *_: None), {name: self.folder / name for name in (ONE, TWO)})
        return Isolating.of(self.hall.recorder, links, self.hall.recorder.entries())

    def answer(self, name: str) -> dict[str, Any]:
        """Answer a status."""
        return {"v": 1, "isolation": self.says[name]}

    def recorded(self, kind: str = ISOLATION) -> list[tuple[str, str | None, Any]]:
        """Return (actor, subject, data) of the entries of a kind."""
        entries = [entry for entry in self.hall.recorder.entries() if entry.type == kind]
        return [(entry.actor, entry.subject, entry.data) for entry in entries]


@pytest.fixture
def room(desk: World, tmp_path: Path) -> Iterator[Room]:
    """Return the room with both at their sockets."""
    with TemporaryDirectory(prefix="wbi-") as folder, ExitStack() as ends:
        made = Room(Hall(desk, tmp_path, desk.policy), Path(folder))
        for name in (ONE, TWO):
            ends.enter_context(serving(made.folder / name, lambda _, n=name: made.answer(n)))
        yield made
        made.hall.recorder.close()


def said(*missing: Measure) -> dict[str, Any]:
    """Return a statement in which these are missing."""
    return without(*missing).dump()


def test_one_entry_for_a_change(room: Room) -> None:
    """The first word of each is recorded; the same again is not, and another is."""
    room.says = {ONE: said(), TWO: said("no_network")}
    asking = room.begun()
    for _ in range(3):
        asking.step()
    first = [("service", ONE, said()), ("service", TWO, said("no_network"))]
    assert room.recorded() == first
    room.says[ONE] = said("no_core_file")
    for _ in range(3):
        asking.step()
    assert room.recorded() == [*first, ("service", ONE, said("no_core_file"))]
    room.says[ONE] = said()
    asking.step()
    assert room.recorded()[-1] == ("service", ONE, said())


def test_what_was_seen_is_no_change(room: Room) -> None:
    """Numbers move all the time; an entry tells of a measure."""
    room.says = {ONE: said("no_network"), TWO: said()}
    asking = room.begun()
    asking.step()
    before = room.recorded()
    room.says[ONE]["measures"][0]["seen"] = "eth0, eth1"
    asking.step()
    assert room.recorded() == before
    shown = asking.said()[ONE]
    assert shown is not None
    assert shown["measures"][0]["seen"] == "eth0, eth1"


def test_another_start_of_the_service(room: Room) -> None:
    """It knows from the ledger what it has recorded, and numbers go on."""
    room.says = {ONE: said("no_network"), TWO: said()}
    room.begun().step()
    before = room.recorded()
    again = room.begun()
    again.step()
    assert room.recorded() == before
    room.says[ONE] = said()
    again.step()
    assert room.recorded() == [*before, ("service", ONE, said())]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(None, id="none"),
        pytest.param({"v": 1, "measures": []}, id="no measure"),
        pytest.param({**said(), "sound": True}, id="another field"),
        pytest.param({"v": 1, "measures": said()["measures"][:-1]}, id="one left out"),
    ],
)
def test_a_statement_that_is_none(room: Room, statement: object) -> None:
    """Who says what cannot be is named once, is shown as silent, and has no entry; the other has his."""
    room.says = {ONE: statement, TWO: said()}
    asking = room.begun()
    for _ in range(3):
        asking.step()
    assert room.recorded() == [("service", TWO, said())]
    ((actor, _, data),) = room.recorded("request.refused")
    assert (actor, data["code"], data["about"]) == ("service", "malformed", f"isolation of {ONE}")
    assert asking.said() == {ONE: None, TWO: said()}


def test_silence_is_shown(room: Room) -> None:
    """Who is away has no last word, and makes no entry."""
    room.says = {ONE: said(), TWO: said()}
    asking = room.begun()
    assert asking.said() == {ONE: None, TWO: None}
    asking.step()
    before = room.recorded()
    (room.folder / ONE).unlink()
    asking.step()
    assert asking.said() == {ONE: None, TWO: said()}
    assert room.recorded() == before
    assert room.recorded("request.refused") == []
