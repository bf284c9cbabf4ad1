"""Parties at their founding, in one process: what a lying party and its courier can do to a key."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hsm import no_token_open
from workbench.cosigner import peers
from workbench.cosigner.epochs import Epochs
from workbench.cosigner.founding import Founder, Founding
from workbench.cosigner.peers import Peers
from workbench.cosigner.runs import Runs
from workbench.custody.shares import Shares
from workbench.custody.token import SealingKey, Token, create_softhsm, softhsm_module
from workbench.demo.founding import carry
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import WORD_LINE, Word
from workbench.service.courier import StepError

KEY = "treasury"
NAMES = ("cosigner-1", "cosigner-2", "cosigner-3")
LIAR = NAMES[2]


@pytest.fixture(scope="module")
def sealing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SealingKey]:
    """Make a sealing key in a token of this process."""
    folder = tmp_path_factory.mktemp("hsm")
    create_softhsm(folder, label="epochs", pin="1234", so_pin="123456")
    no_token_open()
    opened = Token(folder, module=softhsm_module(), label="epochs", pin="1234")
    yield opened.generate_sealing("seal/1")
    opened.close()


@dataclass
class Room:
    """Three co-signers at their founding; the liar's identity key is at hand."""

    founders: dict[str, Founder]
    identities: dict[str, Ed25519PrivateKey]

    def ask(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask one of them."""
        return self.founders[name].handle(request)

    def say(self, name: str, operation: str, **rest: object) -> dict[str, Any]:
        """Ask one of them for an operation."""
        return self.ask(name, {"v": 1, "operation": operation, **rest})

    def made(self, epoch: int) -> list[dict[str, Any]]:
        """Carry a run to where all are ready, and withhold the words; return them."""
        words: list[dict[str, Any]] = []

        def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
            if request["operation"] == "words":
                words[:] = request["words"]
                raise _WithheldError
            return self.ask(name, request)

        with pytest.raises(_WithheldError):
            carry(lambda _: Path(), NAMES, ask, epoch=epoch)
        return words

    def public_key(self, name: str) -> str | None:
        """Return the key that is in use at one of them."""
        index = self.founders[name].runs.shares.index(KEY)
        return index.current.public_key if index and index.current else None

    def lie(self, run: str, epoch: int) -> dict[str, Any]:
        """Return the liar's promise never to be ready for a run for which it is."""
        word = Word(v=1, run=run, key=KEY, epoch=epoch, party=3, stage="never", public_key=None, points=None)
        signature = self.identities[LIAR].sign(signed_bytes(WORD_LINE, word.canonical()))
        return {"word": word.dump(), "signature": signature.hex()}


class _WithheldError(Exception):
    """The courier keeps words for itself."""


@pytest.fixture
def room(tmp_path: Path, sealing: SealingKey) -> Room:
    """Return three co-signers with their documents, of which two sign."""
    identities = {name: Ed25519PrivateKey.generate() for name in NAMES}
    keys = {name: key.public_key().public_bytes_raw().hex() for name, key in identities.items()}
    founding = Founding.load(
        {
            "v": 1,
            "key": KEY,
            "parties": [{"name": name, "identity_key": keys[name]} for name in NAMES],
            "threshold": 2,
        }
    )
    founders = {}
    for name in NAMES:
        root = tmp_path / name
        root.mkdir()
        peers.found(root)
        runs = Runs(
            name=name,
            sign=identities[name].sign,
            keys=keys,
            peers=Peers(root),
            shares=Shares(root / "shares", sealing=sealing),
            clock=lambda: datetime.now(UTC),
        )
        epochs = Epochs(runs, identities[name].sign, lambda _: NAMES)
        founders[name] = Founder(founding, runs, epochs, threading.Lock())
    return Room(founders, identities)


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
