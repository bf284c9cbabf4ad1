"""A shared key's co-signers, asked over their sockets: one that lies is passed over like one that is away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coincurve
import pytest

from tests.custody.courier import DIGEST, Cosigners
from workbench.custody.threshold import Answered as Stepped
from workbench.custody.threshold import Party
from workbench.evm.transaction import address_of
from workbench.process.frames import FrameServer
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.evidence import ANSWER_LINE, Answer
from workbench.rules.keys import SharedKey
from workbench.rules.threshold import (
    ENVELOPE_LINE,
    RECOLLECTION_LINE,
    Recollection,
    SignedEnvelope,
    SignedOpening,
    SignedRecollection,
    unasked_max,
)
from workbench.service.links import Links
from workbench.service.observers import Observers
from workbench.service.recalling import bring
from workbench.service.signing import Answered, Signing

Said = dict[str, Any]
Lie = Callable[["Cosigner", Said, Said], Said]
INTENT, BLOB, NONCE = "ef" * 32, "aa" * 32, "bb" * 32
LIAR = "cosigner-1"
OLD = "11" * 65
SECONDS = 5.0
"""For a run."""


@pytest.fixture(scope="module")
def cosigners() -> Cosigners:
    """Return three co-signers with a key of which two can sign."""
    made = Cosigners()
    made.generate()
    return made


@dataclass
class Cosigner:
    """One co-signer that agrees to everything; `lie` alters what it says."""

    cosigners: Cosigners
    number: int
    lie: Lie | None
    party: Party | None = field(default=None)

    @property
    def name(self) -> str:
        """Its name."""
        return self.cosigners.names[self.number - 1]

    def handle(self, request: Said) -> Said:
        """Answer a request."""
        try:
            said = self._do(request)
        except RefusedError as refusal:
            said = {"v": 1, "refused": {"code": refusal.code.value, "detail": refusal.detail}}
        return said if self.lie is None else self.lie(self, request, said)

    def _do(self, request: Said) -> Said:
        match request["operation"]:
            case "status":
                return {"v": 1, "recall": {"nonce": NONCE, "heard": []}}
            case "recollect":
                about = request["about"]
                said = Recollection(v=1, cosigner=self.name, about=about, nonce=NONCE, opening=None)
                signature = self.sign(RECOLLECTION_LINE, said.canonical())
                return {
                    "v": 1,
                    "recollection": SignedRecollection(recollection=said, signature=signature).dump(),
                }
            case "remember":
                assert all(SignedRecollection.load(each) for each in request["recollections"])
                return {"v": 1}
            case "open":
                terms = self.cosigners.terms("sign", request["signers"])
                self.party = self.cosigners.party(self.number, terms)
                return {"v": 1, "opening": self.party.opening.dump()}
            case "sign":
                return {"v": 1, "agreed": {}}
        return self._step(request)

    def _step(self, request: Said) -> Said:
        assert self.party is not None
        if request["operation"] == "take":
            return self._said(self.party.take([SignedEnvelope.load(each) for each in request["envelopes"]]))
        openings = [SignedOpening.load(each) for each in request["openings"]]
        self.party.begin(openings, counters={})
        return self._said(self.party.first())

    def _said(self, stepped: Stepped) -> Said:
        if isinstance(stepped.done, bytes):
            return self.answer(stepped.done.hex())
        envelopes = [each.dump() for each in stepped.envelopes]
        return {"v": 1, "run": self.party.name if self.party else "", "envelopes": envelopes}

    def sign(self, line: str, document: bytes) -> str:
        """Sign as this co-signer."""
        return self.cosigners.identities[self.number].sign(signed_bytes(line, document)).hex()

    def answer(self, raw_tx: str | None, **changes: Any) -> Said:
        """Return its answer: these are signed bytes; without bytes it refuses."""
        no = {"step": 6, "code": "policy_denied", "detail": "no"}
        value = {
            "v": 1,
            "cosigner": self.name,
            "evidence": BLOB,
            "intent": INTENT,
            "signature": "00" * 65 if raw_tx else None,
            "raw_tx": raw_tx,
            "refused": None if raw_tx else no,
            "signed_before": None,
            "others": [],
        }
        answer = Answer.load(value | changes)
        return {"answer": answer.dump(), "signature": self.sign(ANSWER_LINE, answer.canonical())}


@contextmanager
def asked(
    cosigners: Cosigners, lie: Lie | None, folder: Path, liars: Collection[str] = (LIAR,)
) -> Iterator[Signing]:
    """Give a question to three co-signers, of whom these lie."""
    address = address_of(cosigners.shares[1].public_key)

    def verify(raw_tx: str) -> None:
        raw = bytes.fromhex(raw_tx)
        try:
            point = coincurve.PublicKey.from_signature_and_message(raw, bytes.fromhex(DIGEST), hasher=None)
        except Exception as error:
            raise RefusedError(Refusal.BYTES_OTHER, "no signature") from error
        if address_of(point.format(compressed=False)) != address:
            raise RefusedError(Refusal.BYTES_OTHER, "another key's signature")

    key = SharedKey(
        id="treasury",
        address=address,
        public_key=cosigners.shares[1].public_key.hex(),
        tier="hot",
        engine="mpc",
        purpose="test",
        cosigners=list(cosigners.names),
        threshold=2,
    )
    with ExitStack() as ends:
        for number, name in enumerate(cosigners.names, 1):
            one = Cosigner(cosigners, number, lie if name in liars else None)
            server = FrameServer(folder / name, one.handle, uids={os.geteuid()})
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ends.callback(server.close)
        observers: Observers = Observers({}, None, lambda *_: None)
        links = Links(observers, {name: folder / name for name in cosigners.names})
        request = {"v": 1, "operation": "sign"}
        known = {OLD}
        yield Signing(
            links,
            cosigners.keys,
            key,
            INTENT,
            lambda _: (request, BLOB),
            verify,
            known,
            lambda _: None,
            SECONDS,
        )


def at(operation: str, change: Callable[[Cosigner, Said], Said]) -> Lie:
    """Return what lies in one operation and is honest in all others."""
    return lambda one, request, said: change(one, said) if request["operation"] == operation else said


def stuffed(one: Cosigner, said: Said) -> Said:
    """Say so much that what another is asked does not fit into a frame any more."""
    if not said.get("envelopes"):
        return said
    first = SignedEnvelope.load(said["envelopes"][0]).envelope
    more = first.model_copy(update={"body": "00" * 1_000_000})
    signed = SignedEnvelope(envelope=more, signature=one.sign(ENVELOPE_LINE, b"")).dump()
    return said | {"envelopes": [signed, signed]}


def dawdling(_: Cosigner, said: Said) -> Said:
    """Answer truly, and late."""
    time.sleep(SECONDS + 1)
    return said


def ask(cosigners: Cosigners, lie: Lie | None = None) -> Answered:
    """Ask for a signature."""
    with TemporaryDirectory(prefix="wb-") as folder, asked(cosigners, lie, Path(folder)) as question:
        return question.ask()


def test_one_that_dawdles(cosigners: Cosigners) -> None:
    """Late at a step, it is left out before what the others agreed to is over."""
    answered = ask(cosigners, at("begin", dawdling))
    assert [answered.cosigner, *(each.cosigner for each in answered.others)] == ["cosigner-2", "cosigner-3"]


def test_the_first_two_sign(cosigners: Cosigners) -> None:
    """Nobody lies: the first two do."""
    answered = ask(cosigners)
    assert [answered.cosigner, *(each.cosigner for each in answered.others)] == ["cosigner-1", "cosigner-2"]


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(at("open", lambda _, __: {"v": 1}), id="no opening"),
        pytest.param(at("open", lambda _, __: {"v": 1, "opening": {"opening": 1}}), id="no such opening"),
        pytest.param(at("open", lambda one, _: one.answer(OLD)), id="an answer before the run"),
        pytest.param(at("begin", lambda _, said: said | {"envelopes": 7}), id="envelopes that are no list"),
        pytest.param(at("begin", lambda _, said: said | {"envelopes": [{}]}), id="no envelope"),
        pytest.param(at("begin", lambda _, said: said | {"run": "11" * 32}), id="another run"),
        pytest.param(at("begin", stuffed), id="more than a frame holds for the others"),
        pytest.param(at("take", stuffed), id="more than a frame holds, later"),
        pytest.param(at("take", lambda one, _: one.answer("22" * 65)), id="a signature that is none"),
        pytest.param(at("take", lambda _, __: {"answer": {}, "signature": ""}), id="an answer that is none"),
        pytest.param(at("sign", lambda one, _: one.answer("22" * 65)), id="it pretends to have signed"),
        pytest.param(at("sign", lambda one, _: one.answer(OLD)), id="it repeats what the ledger has"),
        pytest.param(at("recollect", lambda _, __: {"recollection": {}}), id="it remembers nonsense"),
        pytest.param(
            at(
                "recollect",
                lambda _, said: {"recollection": said["recollection"] | {"signature": "00" * (2**21 - 300)}},
            ),
            id="it remembers more than a frame holds",
        ),
    ],
)
def test_one_that_lies_is_passed_over(cosigners: Cosigners, lie: Lie) -> None:
    """The first one asked lies; the other two sign all the same."""
    answered = ask(cosigners, lie)
    assert {answered.cosigner, *(each.cosigner for each in answered.others)} >= {"cosigner-2"}


@pytest.mark.parametrize(
    ("unheard_max", "asked_for"),
    [
        pytest.param(unasked_max(3), [], id="it has heard enough to sign"),
        pytest.param(0, ["e"], id="it is looked after: the last one is asked, too"),
    ],
)
def test_who_is_asked_what_it_remembers(unheard_max: int, asked_for: list[str]) -> None:
    """One of five that has heard three others waits for the fourth only when there is time."""
    remembering: list[str] = []

    def handle(name: str, request: Said) -> Said:
        if request["operation"] == "status":
            return {"v": 1, "recall": {"nonce": NONCE, "heard": ["b", "c", "d"]}}
        remembering.append(name)
        return {"v": 1}

    key = SharedKey(
        id="treasury",
        address=address_of(coincurve.PrivateKey(b"\x07" * 32).public_key.format(compressed=False)),
        public_key="04",
        tier="hot",
        engine="mpc",
        purpose="test",
        cosigners=list("abcde"),
        threshold=3,
    )
    with TemporaryDirectory(prefix="wb-") as folder, ExitStack() as ends:
        for name in key.cosigners:
            server = FrameServer(Path(folder) / name, partial(handle, name), uids={os.geteuid()})
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ends.callback(server.close)
        observers: Observers = Observers({}, None, lambda *_: None)
        links = Links(observers, {name: Path(folder) / name for name in key.cosigners})
        bring(links, key, "a", unheard_max=unheard_max)
    assert remembering == asked_for


def refusing(gave: Collection[int]) -> Lie:
    """Have those that are made to refuse do so; these say that they gave a part."""

    def change(one: Cosigner, _: Said) -> Said:
        return one.answer(None, **({"gave": True} if one.number in gave else {}))

    return at("sign", change)


def test_so_many_refuse_that_it_is_the_end(cosigners: Cosigners) -> None:
    """Two of three refuse and have given nothing: no signature exists, and none can come to be."""
    with TemporaryDirectory(prefix="wb-") as folder:
        liars = cosigners.names[:2]
        with asked(cosigners, refusing(()), Path(folder), liars) as question:
            answered = question.ask()
    assert answered.raw_tx is None
    assert [answered.cosigner, *(each.cosigner for each in answered.others)] == list(liars)


@pytest.mark.parametrize(
    ("liars", "gave"),
    [
        pytest.param(("cosigner-1", "cosigner-2"), (2,), id="one of them gave a part"),
        pytest.param(("cosigner-1", "cosigner-2", "cosigner-3"), (1,), id="all refuse, and one gave a part"),
    ],
)
def test_refusals_that_are_not_the_end(
    cosigners: Cosigners, liars: Collection[str], gave: Collection[int]
) -> None:
    """While anybody says that it gave a part a signature may exist: the intent stays as it is."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(prefix="wb-")))
        question = ends.enter_context(asked(cosigners, refusing(gave), folder, liars))
        with pytest.raises(RefusedError, match="co-signers must sign") as caught:
            question.ask()
    assert caught.value.code is Refusal.UNAVAILABLE
    assert all(name in caught.value.detail for name in liars)
