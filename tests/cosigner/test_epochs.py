"""Parties at their founding, in one process: what a lying party and its courier can do to a key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cosigner.founders import KEY, LIAR, NAMES, Room, founded, sealing_key
from tests.rules.build import refused
from workbench.cosigner.runs import RUN_SECONDS
from workbench.custody.sealing import SealingKey
from workbench.demo.founding import carry
from workbench.rules.codes import Refusal
from workbench.rules.threshold import Word
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


def never(room: Room, name: str, run: str, *, order: str | None = None) -> Word:
    """Have one promise never to be ready, under its founding or for a run of another order."""
    founder = room.founders[name]
    terms = founder.founding.terms(1)
    terms = terms if order is None else terms.model_copy(update={"subject": order})
    return founder.epochs.never(terms, run).word


def test_a_promise_ends_no_run_of_another_order(room: Room) -> None:
    """Asked in each step for one that has run out, a party refuses, and the run makes its key."""
    kept_back = []

    def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] in {"begin", "take"}:
            with refused(Refusal.RUN) as refusal:
                never(room, name, "ab" * 32, order="cd" * 32)
            kept_back.append(refusal.detail)
            assert room.founders[name].runs.shares.index(KEY) is None
        return room.ask(name, request)

    public_key = carry(lambda _: Path(), NAMES, ask)
    assert set(kept_back) == {"another run over treasury is open here"}
    assert {room.public_key(name) for name in NAMES} == {public_key}


def test_who_has_a_share_does_not_promise(room: Room) -> None:
    """It says how far it is with it, whatever order it is asked for; nobody's share is settled by that."""
    words = room.made(1)
    run = words[0]["word"]["run"]
    before = [room.founders[name].runs.shares.index(KEY) for name in NAMES]
    assert {never(room, name, run, order="cd" * 32).stage for name in NAMES} == {"ready"}
    asked = room.say(NAMES[0], "never", run=run, epoch=1)["word"]
    assert room.say(NAMES[1], "settle", run=run, word=asked)["refused"]["code"] == "run_not_as_agreed"
    assert [room.founders[name].runs.shares.index(KEY) for name in NAMES] == before
    for name in NAMES:
        room.say(name, "words", run=run, words=words)
    assert {never(room, name, run, order="cd" * 32).stage for name in NAMES} == {"held"}


def test_what_takes_too_long_keeps_no_promise_back(tmp_path: Path, sealing: SealingKey) -> None:
    """A run that nobody carries on is open for a minute; then the promise is given, and another follows."""
    late = [timedelta()]
    room = founded(tmp_path, sealing, clock=lambda: datetime.now(UTC) + late[0])
    assert "opening" in room.say(NAMES[0], "open", epoch=1)
    with refused(Refusal.RUN):
        never(room, NAMES[0], "ab" * 32, order="cd" * 32)
    late[0] = timedelta(seconds=RUN_SECONDS)
    assert never(room, NAMES[0], "ab" * 32, order="cd" * 32).stage == "never"
    assert carry(lambda _: Path(), NAMES, room.ask) == room.public_key(NAMES[0])
