"""Before there is a ledger: the co-signers of a desk make its first shared key.

The address of the first key stands in the first policy set, whose digest stands in the trust root, so neither
can say who takes part. A founding document does, given to each co-signer by hand: the key's name, the
co-signers with their identity keys in the order of their parties, and the threshold. It does for one key; a
co-signer whose memory has begun (`head.json`) is never founded again, and a later key is made by a decision
of the desk.

Requests, one at a time: {v, operation} with status · open {epoch} · begin {openings} · take {run, envelopes}
· never {run, epoch} · settle {run, word} · words {run, words}. Answers carry what the operation gives, or
{v, refused: {code, detail}}.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from workbench_tss import Share

from workbench.cosigner import peers
from workbench.cosigner.epochs import Epochs
from workbench.cosigner.memory import MemoryCorruptError
from workbench.cosigner.peers import Peers
from workbench.cosigner.runs import Runs
from workbench.custody.errors import TokenError
from workbench.custody.shares import Shares
from workbench.custody.token import opened
from workbench.process import confine
from workbench.process.config import ConfigError, StateRoot
from workbench.process.frames import FrameError, FrameServer
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Name
from workbench.rules.threshold import (
    PARTIES_MAX,
    Basis,
    Number,
    SignedEnvelope,
    SignedOpening,
    SignedWord,
    Terms,
)

DOCUMENT = "founding.json"
FILE_MAX = 16 * 1024
NOTHING = "0" * 64
EPOCH_MAX = 2**31
CONFIG = ("identity_key", "name", "sealing_key", "token")


class Party(Document):
    """A co-signer and its identity key."""

    name: Name
    identity_key: Digest


class Founding(Document):
    """What a custodian gives to a co-signer by hand."""

    v: Literal[1]
    key: Name
    parties: Annotated[list[Party], Field(min_length=2, max_length=PARTIES_MAX)]
    threshold: Number

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({each.identity_key for each in self.parties}) != len(self.parties):
            raise ValueError("two parties share an identity key")
        if len({each.name for each in self.parties}) != len(self.parties):
            raise ValueError("two parties share a name")
        if not 1 < self.threshold <= len(self.parties):
            raise ValueError("the threshold is above 1 and at most the number of parties")
        if 2 * self.threshold <= len(self.parties):
            raise ValueError("the threshold is more than half: two sets of signers have one in common")
        return self

    def terms(self, epoch: int) -> Terms:
        """Return what all agree on: a key of nobody's yet, under no ledger and no policy set.

        The epoch is 1, or a later one after a run that was given up when some were ready.
        """
        return Terms(
            v=1,
            protocol="dkg",
            key=self.key,
            epoch=epoch,
            share=None,
            subject=hashlib.sha256(self.canonical()).hexdigest(),
            digest=None,
            parties=[each.name for each in self.parties],
            threshold=self.threshold,
            signers=list(range(1, len(self.parties) + 1)),
            basis=Basis(
                size=0,
                root=NOTHING,
                policy=NOTHING,
                policy_version=0,
                revocation_epoch=0,
                pause_epoch=0,
            ),
        )


@dataclass(slots=True)
class Founder:
    """One co-signer at its founding."""

    founding: Founding
    runs: Runs
    epochs: Epochs
    _lock: threading.Lock

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of whoever carries the messages."""
        with self._lock:
            try:
                return {"v": 1, **self._do(request)}
            except RefusedError as refusal:
                return {"v": 1, "refused": {"code": refusal.code.value, "detail": refusal.detail}}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"v": 1, "operation": "status", **rest} if not rest:
                index = self.runs.shares.index(self.founding.key)
                return {"cosigner": self.runs.name, "made_to": index.made_to if index else 0}
            case {"v": 1, "operation": "open", "epoch": int(epoch), **rest} if not rest:
                return {"opening": self.runs.open(self._terms(epoch)).dump()}
            case {"v": 1, "operation": "begin", "openings": list(openings), **rest} if not rest:
                under, answered = self.runs.begin([SignedOpening.load(each) for each in openings])
                return {"run": under.party.name, "envelopes": [each.dump() for each in answered.envelopes]}
            case {"v": 1, "operation": "take", "run": str(run), "envelopes": list(sent), **rest} if not rest:
                return self._take(run, [SignedEnvelope.load(each) for each in sent])
            case _:
                return self._speak(request)

    def _take(self, run: str, envelopes: list[SignedEnvelope]) -> dict[str, Any]:
        under, answered = self.runs.take(self.founding.key, run, envelopes)
        if not isinstance(answered.done, Share):
            return {"envelopes": [each.dump() for each in answered.envelopes]}
        self.runs.shares.keep(
            self.founding.key, answered.done, epoch=under.terms.epoch, run=run, parties=under.terms.parties
        )
        return {"word": self.epochs.ready(under.terms, run).dump(), "transcript": under.party.transcript}

    def _speak(self, request: dict[str, Any]) -> dict[str, Any]:
        """Speak of a share that a run has made, or has not."""
        key = self.founding.key
        match request:
            case {"v": 1, "operation": "never", "run": str(run), "epoch": int(epoch), **rest} if not rest:
                return {"word": self.epochs.never(self._terms(epoch), run).dump()}
            case {"v": 1, "operation": "settle", "run": str(run), "word": dict(word), **rest} if not rest:
                self.epochs.settle(key, run, SignedWord.load(word))
                return {}
            case {"v": 1, "operation": "words", "run": str(run), "words": list(words), **rest} if not rest:
                heard = self.epochs.hear(key, run, [SignedWord.load(each) for each in words])
                return {"word": heard.dump()}
            case _:
                raise RefusedError(Refusal.MALFORMED, "no such operation, or other fields than it has")

    def _terms(self, epoch: int) -> Terms:
        if not 1 <= epoch <= EPOCH_MAX:
            raise RefusedError(Refusal.MALFORMED, f"epoch {epoch}", path="/epoch")
        return self.founding.terms(epoch)


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    parser = argparse.ArgumentParser(
        description="A co-signer at its founding: it makes the first shared key."
    )
    parser.add_argument("--state", type=Path, required=True, help="this co-signer's own state root")
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    options = parser.parse_args()
    confine.harden()
    try:
        server = _server(options.state, options.socket)
    except (ConfigError, TokenError, MemoryCorruptError, FrameError, RefusedError, OSError) as error:
        print(f"founding: {error}", file=sys.stderr)  # noqa: T201 - a process's last word
        return 2
    server.serve_forever()
    return 0


def _server(state: Path, socket: Path) -> FrameServer:
    root = StateRoot(state)
    if (state / "head.json").exists():
        raise ConfigError("this co-signer's memory has begun: later keys are made by a decision of the desk")
    founding = Founding.read((state / DOCUMENT).read_bytes(), limit=FILE_MAX)
    config = root.config(CONFIG)
    token = opened(state, config["token"], pin=root.pin, clock=_clock)
    key = token.ed25519(bytes.fromhex(config["identity_key"]))
    keys = {each.name: each.identity_key for each in founding.parties}
    if keys.get(config["name"]) != key.public_key.hex():
        raise ConfigError(f"the founding document names another identity key for {config['name']}")
    if not (state / peers.NAME).exists():
        peers.found(state)
    runs = Runs(
        name=config["name"],
        sign=key.sign,
        keys=keys,
        peers=Peers(state),
        shares=Shares(state / "shares", sealing=token.sealing(config["sealing_key"])),
        clock=_clock,
    )
    epochs = Epochs(runs, key.sign)
    founder = Founder(founding, runs, epochs, threading.Lock())
    server = FrameServer(socket, founder.handle, uids={os.geteuid()})
    confine.shut()
    return server


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
