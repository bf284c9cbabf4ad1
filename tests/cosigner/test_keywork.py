"""When a co-signer promises never to be ready: a courier ends nothing that goes on by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cosigner.founders import NAMES, Room, founded, sealing_key
from tests.rules.build import refused
from workbench.cosigner import orders
from workbench.cosigner.keywork import KeyWork
from workbench.cosigner.memory import Head
from workbench.cosigner.operations import Allowed
from workbench.cosigner.orders import Heard
from workbench.cosigner.runs import RUN_SECONDS
from workbench.custody.sealing import SealingKey
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.key_operation import Arrangement, KeyOperation
from workbench.rules.threshold import SignedEnvelope, SignedOpening

KEY, RUN = "sweep", "ab" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = Head(size=0, hashes=(), chain=bytes(32), policy="cd" * 32, policy_version=1, time_floor="", records=0)


@pytest.fixture(scope="module")
def sealing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SealingKey]:
    """Make a sealing key in a token of this process."""
    with sealing_key(tmp_path_factory.mktemp("hsm")) as made:
        yield made


def allowed(nonce: str = "ab", *, life_s: int = 3600) -> Allowed:
    """Return an operation that makes a key, as the officers' order of it was allowed."""
    operation = {
        "v": 1,
        "operation": "dkg",
        "key": KEY,
        "epoch": 1,
        "parameters": {"parties": list(NAMES), "threshold": 2},
        "policy": "cd" * 32,
        "reason": "test",
        "nonce": nonce * 16,
        "expires_at": write_time(NOW + timedelta(seconds=life_s)),
    }
    made_by = Arrangement(parties=list(NAMES), threshold=2)
    return Allowed(operation=KeyOperation.load(operation), lease=None, head=HEAD, made_by=made_by)


@dataclass
class Works:
    """Three co-signers' work on keys, and a clock by hand."""

    room: Room
    each: dict[str, KeyWork] = field(default_factory=dict)

    def open(self, order: Allowed) -> list[SignedOpening]:
        """Have all allow it, and open its run."""
        said = []
        for name in NAMES:
            self.each[name].allow(order)
            said.append(self.each[name].open(order.operation.digest)["opening"])
        return [SignedOpening.load(each) for each in said]

    def never(self, name: str, order: Allowed, run: str = RUN) -> dict[str, Any]:
        """Ask one for a promise under an order that counts."""
        request = {"v": 1, "operation": "key-never", "order": order.operation.digest, "run": run}
        word: dict[str, Any] = self.each[name].speak(request)["word"]["word"]
        return word

    def carry(self, openings: list[SignedOpening]) -> list[dict[str, Any]]:
        """Carry a run to its shares; return the words."""
        said = {name: self.each[name].begin(openings) for name in NAMES}
        run = said[NAMES[0]]["run"]
        while "word" not in said[NAMES[0]]:
            sent = [SignedEnvelope.load(one) for each in said.values() for one in each["envelopes"]]
            said = {
                name: self.each[name].take(
                    KEY,
                    run,
                    [
                        one
                        for one in sent
                        if one.envelope.sender != number and one.envelope.to in {None, number}
                    ],
                )
                for number, name in enumerate(NAMES, 1)
            }
        return [each["word"] for each in said.values()]


@pytest.fixture
def now() -> list[datetime]:
    """Return the clock's time, to be moved."""
    return [NOW]


@pytest.fixture
def works(tmp_path: Path, sealing: SealingKey, now: list[datetime]) -> Works:
    """Return three co-signers that have allowed nothing yet."""
    room = founded(tmp_path, sealing, clock=lambda: now[0])
    made = Works(room)
    for name in NAMES:
        folder = tmp_path / name
        orders.found(folder)
        founder = room.founders[name]
        made.each[name] = KeyWork(founder.runs, founder.epochs, Heard(folder), lambda: now[0])
    return made


def test_a_courier_ends_no_run_that_goes_on(works: Works) -> None:
    """Asked while the run of its order is open, a party refuses, and the run makes the key."""
    order = allowed()
    openings = works.open(order)
    for name in NAMES:
        with refused(Refusal.RUN) as refusal:
            works.never(name, order)
        assert refusal.detail == "a run over sweep is open here"
    words = works.carry(openings)
    assert {each["word"]["stage"] for each in words} == {"ready"}
    assert len({each["word"]["public_key"] for each in words}) == 1


def test_a_run_that_nobody_carries_on(works: Works, now: list[datetime]) -> None:
    """It is open for a minute; after that the promise is given, and what comes late makes no share."""
    order = allowed()
    openings = works.open(order)
    now[0] += timedelta(seconds=RUN_SECONDS)
    assert works.never(NAMES[0], order)["stage"] == "never"
    with refused(Refusal.RUN):
        works.each[NAMES[0]].begin(openings)
    assert works.each[NAMES[0]].made_to(KEY) == 0


def test_what_has_run_out_is_put_away(works: Works, now: list[datetime]) -> None:
    """Of an order that has run out a run that is open still is ended by the promise."""
    order = allowed(life_s=1)
    openings = works.open(order)
    now[0] += timedelta(seconds=1)
    with refused(Refusal.RUN):
        works.never(NAMES[0], order)
    assert works.each[NAMES[0]].give_up(order, RUN)["word"]["word"]["stage"] == "never"
    with refused(Refusal.RUN) as refusal:
        works.each[NAMES[0]].begin(openings)
    assert refusal.detail == "no run over sweep is open here"


def test_what_has_run_out_ends_nothing_of_another(works: Works) -> None:
    """The run of a later order goes on, whatever the courier brings of an earlier one."""
    openings = works.open(allowed())
    for name in NAMES:
        with refused(Refusal.RUN) as refusal:
            works.each[name].give_up(allowed("cd", life_s=1), RUN)
        assert refusal.detail == "another run over sweep is open here"
    assert len(works.carry(openings)) == len(NAMES)


def test_what_owns_something_does_not_end(works: Works) -> None:
    """A set lists the same key by another name: its shares stay; without such a set they end."""
    words, ending = works.carry(works.open(allowed())), allowed("ef")
    work, shares = works.each[NAMES[0]], works.room.founders[NAMES[0]].runs.shares
    owning = frozenset({words[0]["word"]["public_key"]})
    with refused(Refusal.STATE):
        work.end(replace(ending, owning=owning))
    index = shares.index(KEY)
    assert index is not None
    assert (len(index.waiting), index.destroyed) == (1, [])
    assert len(work.end(ending)) == 1


def test_a_promise_is_kept(works: Works) -> None:
    """It stands on the disk, it can be asked for again, and the run that it names makes no share here."""
    order = allowed()
    works.each[NAMES[0]].allow(order)
    first = works.never(NAMES[0], order)
    assert works.never(NAMES[0], order) == first
    index = works.room.founders[NAMES[0]].runs.shares.index(KEY)
    assert index is not None
    assert (index.never, index.made_to) == ([RUN], 0)
