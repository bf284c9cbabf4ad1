"""One owner of a Safe in a process of its own: a SoftHSM token, the rules, and a count of what it signed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from workbench.custody.attempts import Attempts
from workbench.custody.config import softhsm
from workbench.custody.safe import owner_signature
from workbench.custody.token import Secp256k1Key, Token
from workbench.demo.provision import provision
from workbench.evm.safe import OwnerSignature
from workbench.evm.transaction import address_of
from workbench.evm.tree import Abi
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Proposed, Proven, verify_may_sign
from workbench.rules.safe_pins import Pinned

SECONDS = 60


@dataclass(frozen=True)
class Question:
    """What an owner is asked."""

    proposed: Proposed
    pinned: Pinned
    proven: Proven
    approvals: Sequence[str]
    abis: Mapping[str, Abi]


@dataclass(frozen=True)
class Answer:
    """A signature or a refusal, and how often the token has signed since it was opened."""

    said: OwnerSignature | Refusal
    signed: int


@dataclass(frozen=True)
class Owner:
    """An owner's process, seen from outside."""

    address: str
    process: SpawnProcess
    pipe: Connection

    def ask(self, question: Question) -> Answer:
        """Ask for a signature."""
        self.pipe.send(question)
        if not self.pipe.poll(SECONDS):
            raise TimeoutError(f"owner {self.address} is silent")
        answer: Answer = self.pipe.recv()
        return answer

    def end(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(SECONDS)


def start(folder: Path, label: str) -> Owner:
    """Make a token with a key and open it in a process of its own."""
    public_key = bytes.fromhex(provision(folder, label, secp256k1="owner/1")["secp256k1"])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder, label, public_key), daemon=True)
    process.start()
    theirs.close()
    return Owner(address_of(public_key), process, ours)


def serve(pipe: Connection, folder: Path, label: str, public_key: bytes) -> None:
    """Answer until the other side is gone."""
    token = Token(
        softhsm(folder, label=label),
        pin=(folder / "pin").read_text(),
        tries=Attempts(folder, lambda: datetime.now(UTC)),
    )
    inside, signed = token.secp256k1(public_key), 0

    def sign(digest: bytes) -> bytes:
        nonlocal signed
        signed += 1
        return inside.sign_digest(digest)

    key = Secp256k1Key(public_key, sign)
    while True:
        try:
            asked: Question = pipe.recv()
        except EOFError:
            break
        pipe.send(Answer(_answer(key, asked), signed))
    token.close()


def _answer(key: Secp256k1Key, asked: Question) -> OwnerSignature | Refusal:
    try:
        verify_may_sign(
            asked.proposed,
            pinned=asked.pinned,
            proven=asked.proven,
            approvals=asked.approvals,
            abis=asked.abis,
        )
    except RefusedError as error:
        return error.code
    return owner_signature(asked.proposed, key.sign_digest(asked.proposed.digest()), key.public_key)
