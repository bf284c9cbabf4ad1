"""Parties at their founding, in one process: what a lying party and its courier can do to a key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cosigner.founders import KEY, LIAR, NAMES, Room, founded, sealing_key
from workbench.custody.sealing import SealingKey
from workbench.demo.founding import carry
from workbench.service.courier import StepError


@pytest.fixture(scope="module")
def sealing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SealingKey]:
    """Make a sealing key in a token of this process."""
    with sealing_key(tmp_path_factory.mktemp("hsm")) as made:
        yield made


@pytest.fixture
def room(tmp_path: Path, sealing: SealingKey) -> Room:
    """Return three co-signers with their documents, of which two sign."""
    return founded(tmp_path, sealing)


def test_a_key_that_is_in_use_is_not_replaced(room: Room) -> None:
    """Two runs whose words a courier keeps, by one party's lie: the key that all hold stays the key."""
    first = room.made(1)
    run = first[0]["word"]["run"]
    for name in NAMES:
        room.say(name, "settle", run=run, word=room.lie(run, 1))
    # the liar's own process would not settle by its own word: its share does not matter here
    room.founders[LIAR].runs.shares.settle(KEY, run)
    second = room.made(2)
    for name in NAMES:
        held = room.say(name, "words", run=run, words=first)
        assert held["word"]["word"]["stage"] == "held"
    (believed,) = {room.public_key(name) for name in NAMES}
    # the desk has read the key from everybody's words, and sends its money there
    for name in NAMES:
        room.say(name, "words", run=second[0]["word"]["run"], words=second)
    assert {room.public_key(name) for name in NAMES} == {believed}


def test_who_promised_never_is_never_ready(room: Room) -> None:
    """A courier that asks for promises without an end makes nobody forget one."""
    promised: dict[str, Any] = {}

    def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "take" and name == NAMES[0] and not promised:
            promised.update(room.say(name, "never", run=request["run"], epoch=1)["word"])
            for _ in range(70):
                room.say(name, "never", run=os.urandom(32).hex(), epoch=1)
        return room.ask(name, request)

    with pytest.raises(StepError, match="no run over treasury is open here"):
        carry(lambda _: Path(), NAMES, ask)
    assert promised["word"]["stage"] == "never"
    assert [room.founders[name].runs.shares.index(KEY).made_to for name in NAMES[:1]] == [0]
    # the promise is kept, and another run makes the key
    assert carry(lambda _: Path(), NAMES, room.ask, epoch=2) == room.public_key(NAMES[0])
