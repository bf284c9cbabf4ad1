"""A key's life as entries tell it: every state, what is due, and what does not move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import NOW, TREASURY, TREASURY_KEY, World
from tests.rules.test_concentration import NAMES, set_with
from tests.rules.test_recovery import kept_by, three
from workbench.demo import charter
from workbench.evm.transaction import address_of
from workbench.rules.key_life import TABLE, TRIED_DAYS_MAX, Done, KeyEvent, KeyState, Life, Told, lives
from workbench.rules.policy import PolicySet

Json = dict[str, Any]
KEY = charter.KEY_ID
RUN = "ab" * 32
WORDS = ("made", "generated", "backed-up", "tried", "restored")


class Book:
    """Entries, one after the other, a day apart."""

    def __init__(self, sets: Sequence[PolicySet]) -> None:
        self.sets, self.entries = list(sets), list[Told]()

    def tell(self, kind: str, name: str = "x", data: Json | None = None, *, days: int = 1) -> Book:
        """Write one more."""
        at = (self.entries[-1].at if self.entries else NOW) + timedelta(days=days)
        self.entries.append(Told(len(self.entries), at, kind, name, data))
        return self

    def active(self, number: int = 0) -> Book:
        """Activate one of the sets."""
        return self.tell("policy.activated", self.sets[number].digest)

    def said(self, kind: str, did: str, name: str = NAMES[0], *, epoch: int = 1, **changes: Any) -> Book:
        """Write what a co-signer testifies to."""
        mark = {"epoch": epoch, "run": RUN, "public_key": TREASURY_KEY}
        testimony = {
            "v": 1,
            "cosigner": name,
            "did": did,
            "order": None if did == "tried" else "cd" * 32,
            "key": KEY,
            "backup": "ef" * 32 if did in {"backed-up", "tried", "restored"} else None,
            "shares": [mark],
            "whole": [],
            "attributes": None,
            "ticket": None,
            **changes,
        }
        signed = {"testimony": testimony, "signature": "00" * 64}
        data = {"testimony": signed} if did == "tried" else {"testimonies": {name: signed}}
        return self.tell(kind, data=data)

    def pause(self, scope: str, epoch: int) -> Life:
        """Pause a scope; return the key."""
        return self.tell("pause.ordered", f"epoch-{epoch}", ordered(scope, epoch)).life()

    def release(self, scope: str, epoch: int) -> Life:
        """Release a scope; return the key."""
        return self.tell("pause.released", f"epoch-{epoch}", released(scope, epoch)).life()

    def life(self) -> Life:
        """Return the one key."""
        (found,) = lives(self.entries, self.sets)
        return found


OTHER = PrivateKey(b"\x43" * 32).public_key.format(compressed=False).hex()
NEW = address_of(bytes.fromhex(OTHER))


@pytest.fixture(scope="module")
def sets(world: World) -> list[PolicySet]:
    """Return a set that lists a shared key, one with recovery officers, and one that lists another key."""
    listed = set_with(world)

    def another(keys: list[Json]) -> list[Json]:
        whole = {"engine": "hsm", "cosigners": NAMES[:1]}
        return [{**keys[0], "id": "other", "public_key": OTHER, "address": NEW, **whole}]

    other = world.policy_of({**listed.files, "keys.json": world.with_file("keys.json", another)["keys.json"]})
    return [listed, kept_by(world, three()), other]


@pytest.fixture
def book(sets: list[PolicySet]) -> Book:
    """Return a ledger in which nothing has happened."""
    return Book(sets)


def ordered(scope: str, epoch: int) -> Json:
    """Return what the watcher tells of a pause; who ordered it is not looked at here."""
    return {
        "v": 1,
        "epoch": epoch,
        "at": "2026-11-21T12:00:00.000000Z",
        "release": None,
        "pause": {
            "pause": {
                "v": 1,
                "scope": scope,
                "person": "risk-1",
                "reason": "a test",
                "at": "2026-11-21T12:00:00.000000Z",
                "nonce": "ab" * 16,
            },
            "signature": "00",
            "session": SESSION,
        },
    }


def released(scope: str, epoch: int) -> Json:
    """Return what the watcher tells of a release."""
    release = {
        "v": 1,
        "scopes": [scope],
        "pause_epoch": epoch - 1,
        "policy": "ab" * 32,
        "reason": "a test",
        "nonce": "ab" * 16,
        "expires_at": "2026-11-21T12:00:00.000000Z",
    }
    at = "2026-11-21T12:00:00.000000Z"
    return {
        "v": 1,
        "epoch": epoch,
        "at": at,
        "pause": None,
        "release": {"release": release, "signatures": []},
    }


SESSION: Json = {}


@pytest.fixture(autouse=True, scope="module")
def session(world: World) -> None:
    """Have a session that pauses can name."""
    SESSION.update(world.certify("risk-1")[1].dump())


def test_listed_paused_released_delisted_destroyed(book: Book) -> None:
    """Each in its time; it is where it is since the entry that took it there."""
    assert book.active().life().state is KeyState.ACTIVE
    assert book.pause("contract:" + TREASURY, 1).state is KeyState.ACTIVE
    assert book.pause(f"key:{KEY}", 2).state is KeyState.SUSPENDED
    assert book.pause("all", 3).since == book.entries[2].at
    assert book.release(f"key:{KEY}", 4).state is KeyState.SUSPENDED
    assert book.release("all", 5).state is KeyState.ACTIVE
    book.active(2)
    gone, there = lives(book.entries, book.sets)
    assert (gone.state, there.state) == (KeyState.DEACTIVATED, KeyState.ACTIVE)
    assert gone.due(NOW) == ["destroy it"]
    for name in NAMES:
        assert lives(book.entries, book.sets)[0].state is KeyState.DEACTIVATED
        book.said("key.destroyed", "destroyed", name)
    gone, there = lives(book.entries, book.sets)
    assert (gone.state, there.state) == (KeyState.DESTROYED, KeyState.ACTIVE)
    assert [moment.event for moment in gone.moments][-2:] == ["delisted", "destroyed"]
    assert gone.due(NOW) == []


def test_what_is_paused_when_it_is_listed(book: Book) -> None:
    """A set does not take a pause away, and a mistake in a set does not end a key."""
    book.active().active(2).tell("pause.ordered", "epoch-1", ordered(f"key:{KEY}", 1)).active()
    assert lives(book.entries, book.sets)[0].state is KeyState.SUSPENDED


def test_one_word_again_and_again_is_one(book: Book) -> None:
    """A co-signer that says often that its share is gone says nothing of the others'."""
    book.active().active(2)
    for number in range(len(NAMES)):
        book.said("key.destroyed", "destroyed", order=f"{number:02x}" * 32)
    gone, _ = lives(book.entries, book.sets)
    assert gone.state is KeyState.DEACTIVATED
    assert gone.due(NOW) == [f"destroy it (no word yet of {', '.join(NAMES[1:])})"]


def test_a_part_that_came_back(book: Book) -> None:
    """A share that is restored is there again: what its co-signer said before ends nothing."""
    book.active().active(2).said("key.destroyed", "destroyed", NAMES[0], order="01" * 32)
    book.active().said("key.restored", "restored", NAMES[0]).active(2)
    for name in NAMES[1:]:
        book.said("key.destroyed", "destroyed", name)
    gone, _ = lives(book.entries, book.sets)
    assert gone.state is KeyState.DEACTIVATED
    assert gone.due(NOW) == [f"destroy it (no word yet of {NAMES[0]})"]
    book.said("key.destroyed", "destroyed", NAMES[0], order="02" * 32)
    assert lives(book.entries, book.sets)[0].state is KeyState.DESTROYED


def test_a_listed_key_is_not_destroyed_by_a_word(book: Book) -> None:
    """Of a key that the set in force lists an entry cannot say that it is gone."""
    assert book.active().said("key.destroyed", "destroyed").life().state is KeyState.ACTIVE


def test_made_before_it_is_listed(book: Book) -> None:
    """By order: pre-activation until a set lists it; a refresh changes its epoch and nothing else."""
    made = {"address": TREASURY, "key": KEY, "epoch": 1}
    assert book.tell("key.made", data=made).life().state is KeyState.PRE_ACTIVATION
    assert book.active().life().state is KeyState.ACTIVE
    assert book.tell("key.made", data={**made, "epoch": 2}).life().epoch == 2
    assert book.life().state is KeyState.ACTIVE


def test_a_successor(book: Book) -> None:
    """Whole, generated by order, named after the one that it follows until a set lists it."""
    book.said("key.generated", "generated", shares=[], whole=[OTHER], attributes={"LOCAL": True})
    assert (book.life().address, book.life().name) == (NEW, f"successor of {KEY}")
    book.active(2)
    assert (book.life().state, book.life().name) == (KeyState.ACTIVE, "other")


def test_what_is_due(book: Book) -> None:
    """Keepers, then backups of the epoch in use, then drills that are not too old."""
    assert book.active(0).life().due(NOW) == [f"nobody keeps {', '.join(NAMES)}"]
    assert book.active(1).life().due(NOW) == [f"back up epoch 1 of {', '.join(NAMES)}"]
    for name in NAMES:
        book.said("key.backed-up", "backed-up", name)
    assert book.life().due(NOW) == [f"try the backups of {', '.join(NAMES)}"]
    for name in NAMES:
        book.said("key.tried", "tried", name)
    now = book.entries[-1].at
    assert book.life().due(now) == []
    assert book.life().due(now + timedelta(days=TRIED_DAYS_MAX - len(NAMES) + 2)) != []
    book.tell("key.made", data={"address": TREASURY, "key": KEY, "epoch": 2})
    assert book.life().due(now) == [f"back up epoch 2 of {', '.join(NAMES)}"]
    # a backup of the epoch before is none
    assert book.said("key.backed-up", "backed-up", NAMES[0]).life().due(now) == [
        f"back up epoch 2 of {', '.join(NAMES)}"
    ]


def test_what_moves_nothing(book: Book) -> None:
    """A stranger's testimony, a set that nobody knows, an entry whose data was redacted, an order."""
    book.active(1)
    before = book.life()
    book.said("key.backed-up", "backed-up", "cosigner-9").tell("policy.activated", "ab" * 32)
    book.tell("key.tried").tell("key.ordered", data={}).tell("external.key-ceremony", data={})
    assert book.life() == before


def lived(sets: Sequence[PolicySet]) -> Book:
    """Return a key that was made and refreshed; its shares were backed up and tried, one came back."""
    made = {"address": TREASURY, "key": KEY}
    book = Book(sets).tell("key.made", data={**made, "epoch": 1}).active(1)
    for epoch in (1, 2):
        if epoch > 1:
            book.tell("key.made", data={**made, "epoch": epoch})
        for name in NAMES:
            book.said("key.backed-up", "backed-up", name, epoch=epoch)
        for name in NAMES:
            book.said("key.tried", "tried", name, epoch=epoch)
        book.said("key.restored", "restored", NAMES[0], epoch=epoch)
    return book.said("key.generated", "generated", shares=[], whole=[OTHER], attributes={"LOCAL": True})


def test_what_is_written_down_again(sets: Sequence[PolicySet]) -> None:
    """Whichever word a service records once more, no key looks newer, older or less due."""
    book = lived(sets)
    before = lives(book.entries, book.sets)
    words = [each for each in book.entries if each.type.startswith("key.")]
    assert {each.type for each in words} == {f"key.{word}" for word in WORDS}
    for again in words:
        book.tell(again.type, again.id, dict(again.data or {}), days=TRIED_DAYS_MAX)
        assert lives(book.entries, book.sets) == before
    assert f"try the backups of {', '.join(NAMES)}" in before[0].due(book.entries[-1].at)


def test_an_older_epoch(sets: Sequence[PolicySet]) -> None:
    """One that is told after a newer one does not have backups of its time count."""
    book = Book(sets).active(1)
    for epoch in (2, 1):
        book.tell("key.made", data={"address": TREASURY, "key": KEY, "epoch": epoch})
    assert book.life().epoch == 2


def test_a_word_within_the_same_entry(sets: Sequence[PolicySet]) -> None:
    """What stands in an entry beside what is new is as old as it was."""
    book = Book(sets).active(1).said("key.backed-up", "backed-up", NAMES[0])
    first = book.entries[-1]
    book.said("key.backed-up", "backed-up", NAMES[1])
    both = {**(first.data or {})["testimonies"], **(book.entries[-1].data or {})["testimonies"]}
    book.entries[-1] = replace(book.entries[-1], data={"testimonies": both})
    shares = book.life().shares
    assert [shares[name].backed_up for name in NAMES[:2]] == [Done(1, each.at) for each in book.entries[-2:]]


def test_a_trial_that_is_another(sets: Sequence[PolicySet]) -> None:
    """By another ticket a backup is tried anew, and is not due any more."""
    book = lived(sets).tell("key.ordered", days=TRIED_DAYS_MAX)
    for name in NAMES:
        book.said("key.tried", "tried", name, epoch=2, ticket="01" * 32)
    life, now = lives(book.entries, book.sets)[0], book.entries[-1].at
    assert life.due(now) == []
    assert life.shares[NAMES[-1]].tried == Done(2, now)


@pytest.mark.parametrize(
    ("kind", "did"),
    [
        pytest.param("key.tried", "backed-up", id="a backup is no trial"),
        pytest.param("key.tried", "restored", id="nor is what came back"),
        pytest.param("key.backed-up", "tried", id="a trial is no backup"),
        pytest.param("key.restored", "tried", id="nor does it come back by one"),
        pytest.param("key.destroyed", "backed-up", id="nothing is gone by a backup"),
    ],
)
def test_a_word_under_another_name(sets: Sequence[PolicySet], kind: str, did: str) -> None:
    """A testimony counts in the entry that is called after what was done."""
    book = Book(sets).active(1).active(2)
    before = lives(book.entries, book.sets)
    assert lives(book.said(kind, did).entries, book.sets) == before


def test_the_table_has_an_end() -> None:
    """From every state some way leads to destroyed, and none leads on from there."""
    reached, states = {KeyState.DESTROYED}, set(KeyState)
    while True:
        more = {state for (state, _), after in TABLE.items() if after in reached} | reached
        if more == reached:
            break
        reached = more
    assert reached == states
    assert not [state for state, _ in TABLE if state is KeyState.DESTROYED]
    assert {event for _, event in TABLE} == set(KeyEvent)
    assert {after for (state, _), after in TABLE.items() if state is KeyState.COMPROMISED} == {
        KeyState.DESTROYED
    }
