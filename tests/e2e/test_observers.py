"""A desk that believes two of three observers: one that is away, or lies, neither stops nor deceives it."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.hsm import no_token_open, open_softhsm
from tests.world import Living, living, refused
from workbench.demo.world import SERVICE
from workbench.observer.core import HEADER_LINE, SIMULATION_LINE, statement
from workbench.process.config import StateRoot
from workbench.process.frames import FrameServer, call

FIRST, SECOND, THIRD = (f"observer-{number}" for number in (1, 2, 3))
Answer = dict[str, Any]
Lie = Callable[["Taken", Answer, Answer], Answer]


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return such a desk."""
    with living(observers=3, observer_quorum=2) as built:
        yield built


def signers(world: Living, digest: str, kind: str) -> list[list[str]]:
    """Return who signed each simulation, state or inclusion that the ledger has of an intent."""
    about = [entry["data"] for entry in world.entries() if entry.get("subject") == digest]
    if kind == "attestations":
        return [
            [each["attestation"]["observer"] for each in data["states"]] for data in about if "states" in data
        ]
    return [[each["observer"] for each in data["statements"]] for data in about if "statements" in data]


def test_two_tell_the_same(world: Living) -> None:
    """Every simulation and every state is in the ledger with two signatures."""
    view = world.push(world.allowance())
    assert view.state == "confirmed"
    for kind in ("attestations", "statements"):
        found = signers(world, view.digest, kind)
        assert len(found) >= 2
        # on a busy machine the third takes the place of one that is late
        assert {(len(each), len(set(each) & {FIRST, SECOND, THIRD})) for each in found} == {(2, 2)}


def test_one_is_away(world: Living) -> None:
    """The other two go on, with the first of them in the lead."""
    world.stack.kill(FIRST)
    view = world.push(world.allowance(1001))
    assert view.state == "confirmed"
    assert signers(world, view.digest, "statements")[0] in ([SECOND, THIRD], [FIRST, SECOND])


def test_two_are_away(world: Living) -> None:
    """One alone is not believed: nothing that needs the chain goes on, and nothing changes."""
    view = world.pm.propose(world.allowance(1002))
    for name in (FIRST, SECOND):
        if world.stack.alive(name):
            world.stack.kill(name)
    with world.unchanged(refusals=1):
        problem = refused("unavailable", lambda: world.pm.simulate(view.digest))
    assert "2 observers must tell the same" in problem.detail
    world.revive()
    assert world.pm.simulate(view.digest).simulations


class Taken:
    """The first observer in somebody's hands: it answers what it likes, under its own key."""

    def __init__(self, world: Living) -> None:
        places = world.world.places
        root = places.root(FIRST)
        no_token_open()
        token = open_softhsm(root, FIRST, StateRoot(root).pin())
        key = world.world.trust_root.observers[FIRST]
        self._signer = token.ed25519(bytes.fromhex(key))
        self._genuine, self.socket = places.socket(FIRST), places.runtime / "taken.sock"
        self.lie: Lie = lambda _, __, answer: answer
        self._server = FrameServer(self.socket, self._answer, uids={os.geteuid()})
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def signed(self, line: bytes, document: Answer) -> Answer:
        """Return a document as this observer signs it."""
        return statement(FIRST, self._signer, line, document)

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _answer(self, asked: Answer) -> Answer:
        if self.lie is keeping and asked["operation"] == "broadcast":
            return keeping(self, asked, {})
        return self.lie(self, asked, copy.deepcopy(call(self._genuine, asked, timeout_s=60)))


@pytest.fixture(scope="module")
def taken(world: Living) -> Iterator[Taken]:
    """Have the service ask it in the place of the first observer."""
    made = Taken(world)
    path = world.world.places.root(SERVICE) / "config.json"
    before = path.read_text()
    config = json.loads(before)
    config["observers"][FIRST] = str(made.socket)
    path.write_text(json.dumps(config))
    restart(world)
    yield made
    made.close()
    path.write_text(before)
    restart(world)


def restart(world: Living) -> None:
    """Have the service read its configuration again."""
    world.stack.stop_one(SERVICE)
    world.stack.start(SERVICE)


@contextmanager
def lying(taken: Taken, lie: Lie) -> Iterator[None]:
    """Have it lie for a while."""
    taken.lie = lie
    try:
        yield
    finally:
        taken.lie = lambda _, __, answer: answer


def harmless(taken: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say of every simulation that it leaves no allowance behind."""
    if asked["operation"] == "simulate" and "result" in answer:
        document = answer["result"]["document"] | {"allowances": []}
        return {"result": taken.signed(SIMULATION_LINE, document)}
    return answer


def made_up(taken: Taken, asked: Answer, answer: Answer) -> Answer:
    """Attest a block that there is not."""
    if asked["operation"] == "attest" and "result" in answer:
        document = answer["result"]["attestation"]["document"]
        document["block"]["hash"] = "ab" * 32
        answer["result"]["attestation"] = taken.signed(HEADER_LINE, document)
    return answer


def denying(_: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say of every transaction that nobody knows it."""
    return {"result": {"status": "unknown"}} if asked["operation"] == "confirm" else answer


def inventing(taken: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say of every transaction that it is in a block, before it is."""
    if asked["operation"] != "confirm" or "attestation" in answer.get("result", {}):
        return answer
    told = call(taken._genuine, {"v": 1, "operation": "attest", "accounts": [], "block": None}, timeout_s=60)
    document = told["result"]["attestation"]["document"]
    document["block"]["hash"] = "cd" * 32
    return {
        "result": {
            "status": "confirmed",
            "attestation": taken.signed(HEADER_LINE, document),
            "header": told["result"]["header"],
        }
    }


def keeping(_: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say that bytes were sent, and keep them."""
    if asked["operation"] == "broadcast":
        return {"result": {"tx_hash": keccak(bytes.fromhex(asked["raw"])).hex()}}
    return answer


def unproven(_: Taken, asked: Answer, answer: Answer) -> Answer:
    """Attest the true block, and show the desk a million ether in it."""
    if asked["operation"] == "attest" and asked["accounts"] and "result" in answer:
        answer["result"]["accounts"][0]["balance"] = str(10**24)
    return answer


def nowhere(_: Taken, asked: Answer, answer: Answer) -> Answer:
    """Show ways between blocks that lead nowhere."""
    if asked["operation"] == "descent" and "result" in answer:
        answer["result"]["descent"] = []
    return answer


def misproving(_: Taken, asked: Answer, answer: Answer) -> Answer:
    """Show the right block, and a receipt that is not in it."""
    if asked["operation"] == "confirm" and "receipt_proof" in answer.get("result", {}):
        answer["result"]["receipt_proof"] = answer["result"]["transaction_proof"]
    return answer


LIES: dict[str, tuple[Lie, str]] = {
    "a harmless simulation": (harmless, "simulation_of_something_else"),
    "a made-up block": (made_up, "proof_invalid"),
    "accounts that are not proven": (unproven, "proof_invalid"),
    "no way down to what was final": (nowhere, "fact_missing"),
    "no transaction is mined": (denying, ""),
    "a transaction is mined before it is": (inventing, "malformed"),
    "a receipt that is not proven": (misproving, "proof_invalid"),
    "bytes were sent": (keeping, ""),
    "nothing": (lambda _, __, ___: {}, ""),
}


@pytest.mark.parametrize("name", LIES)
def test_one_that_lies(world: Living, taken: Taken, name: str) -> None:
    """The intent is signed for what it does and confirmed where it is; a contradiction is in the ledger."""
    lie, named = LIES[name]
    before, sent = len(refusals(world)), world.transactions()
    with lying(taken, lie):
        view = world.push(world.allowance(2000 + list(LIES).index(name)))
    assert view.state == "confirmed"
    assert world.transactions() == sent + 1
    others = lie is harmless or name == "nothing"
    assert all(
        each == ([SECOND, THIRD] if others else [FIRST, SECOND])
        for each in signers(world, view.digest, "statements")
    )
    told = [each for each in refusals(world)[before:] if FIRST in each["about"]]
    assert {each["code"] for each in told} == ({named} if named else set())


def refusals(world: Living) -> list[Answer]:
    """Return what the service has recorded of refusals."""
    return [entry["data"] for entry in world.entries() if entry["type"] == "request.refused"]
