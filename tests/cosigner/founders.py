"""Three co-signers that make a key in one process: real runs, files and token, and no sockets between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hsm import token_here
from workbench.cosigner import peers
from workbench.cosigner.epochs import Epochs
from workbench.cosigner.founding import Founder, Founding
from workbench.cosigner.peers import Peers
from workbench.cosigner.runs import Runs
from workbench.custody.sealing import SealingKey
from workbench.custody.shares import Shares
from workbench.demo.founding import carry
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import WORD_LINE, Word

KEY = "treasury"
NAMES = ("cosigner-1", "cosigner-2", "cosigner-3")
LIAR = NAMES[2]


@contextmanager
def sealing_key(folder: Path) -> Iterator[SealingKey]:
    """Make a sealing key in a token of this process."""
    with token_here(folder, "room") as opened:
        yield opened.generate_sealing("seal/1")


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


def founded(
    tmp_path: Path, sealing: SealingKey, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Room:
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
            clock=clock,
        )
        epochs = Epochs(runs, identities[name].sign)
        founders[name] = Founder(founding, runs, epochs, threading.Lock())
    return Room(founders, identities)
