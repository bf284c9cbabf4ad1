"""Several observers: what they must tell alike before it counts, and who is named when they do not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.e2e.test_stuck import wait_for
from tests.rules.build import World, attest, build, digest_of, public, statement
from tests.rules.test_confirmation import INDEX, RAW, included
from workbench.process.frames import FrameServer
from workbench.rules.attestation import HEADER_LINE
from workbench.rules.codes import Refusal, RefusedError
from workbench.service import observers as asking
from workbench.service.observers import Observers

Answer = dict[str, Any]
Says = Callable[[str, Answer], Answer]
NAMES = ("one", "three", "two")
"""In the order in which they lead."""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk's documents."""
    return build(tmp_path_factory.mktemp("rules"))


@contextmanager
def serving(path: Path, says: Callable[[Answer], Answer]) -> Iterator[None]:
    """Answer on a socket."""
    server = FrameServer(path, says, uids={os.geteuid()})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield
    server.close()
    thread.join(10)


@contextmanager
def observing(
    rules: World, folder: Path, answers: Mapping[str, Says], *, quorum: int = 2
) -> Iterator[tuple[Observers, list[tuple[str, str, str]]]]:
    """Give links to observers that answer so, and whom they name; one without an answer is away."""
    root = rules.root(observers={name: public(name) for name in NAMES}, observer_quorum=quorum)
    named: list[tuple[str, str, str]] = []
    with ExitStack() as ends:
        for name, says in answers.items():
            ends.enter_context(serving(folder / name, lambda asked, n=name, s=says: s(n, asked)))
        sockets = {name: folder / name for name in NAMES}
        yield Observers(sockets, root, lambda *told: named.append((*told[:2], told[2].code.value))), named


def header(rules: World, name: str, *, account: Answer | None = None, **block: Any) -> Answer:
    """Return the header of block 100 as this observer attests it, or of one like it in another chain."""
    state = rules.state(account=account)
    document = state.attestation.document
    told = document | {"block": document["block"] | block}
    return {
        "attestation": statement(name, HEADER_LINE, told).dump(),
        "header": state.header,
        "accounts": [],
    }


def simulating(rules: World, **changes: Any) -> Says:
    """Answer with this simulation."""

    def says(name: str, _: Answer) -> Answer:
        return {"result": attest(rules.simulation(rules.swap(), **changes), name).dump()}

    return says


def heading(rules: World, **block: Any) -> Says:
    """Attest this block; asked about another one, say that it is another one, as a true observer would."""

    def says(name: str, asked: Answer) -> Answer:
        found = header(rules, name, **block)
        mine = found["attestation"]["document"]["block"]
        wanted = asked.get("block")
        if wanted is not None and wanted["hash"] != mine["hash"]:
            return {"error": {"code": "block", "detail": "another one"}}
        return {"result": found}

    return says


def away(_: str, __: Answer) -> Answer:
    """Say that there is no answer."""
    return {"error": {"code": "chain", "detail": "no quorum of nodes"}}


def as_another(says: Says) -> Says:
    """Answer under the name and key of another observer."""
    return lambda _, asked: says("two", asked)


def forged(says: Says) -> Says:
    """Answer with another's signature under one's own name."""

    def told(name: str, asked: Answer) -> Answer:
        result = says("two", asked)["result"]
        return {"result": result | {"observer": name}}

    return told


OTHER = {"gas": 1}
SIMULATED: dict[str, tuple[list[Callable[[World], Says]], set[tuple[str, str, str]], list[str]]] = {
    "all alike": ([simulating] * 3, set(), ["one", "three"]),
    "the lead tells otherwise": (
        [lambda w: simulating(w, **OTHER), simulating, simulating],
        {
            ("three", "one", "simulation_of_something_else"),
            ("two", "one", "simulation_of_something_else"),
            ("one", "three", "simulation_of_something_else"),
        },
        ["three", "two"],
    ),
    "the second tells otherwise": (
        [simulating, lambda w: simulating(w, **OTHER), simulating],
        {("three", "one", "simulation_of_something_else")},
        ["one", "two"],
    ),
    "the lead answers under another's name": (
        [lambda w: as_another(simulating(w)), simulating, simulating],
        {("one", "one", "observer_unknown"), ("one", "three", "observer_unknown")},
        ["three", "two"],
    ),
    "the lead's signature is another's": (
        [lambda w: forged(simulating(w)), simulating, simulating],
        {("one", "one", "signature_invalid"), ("one", "three", "signature_invalid")},
        ["three", "two"],
    ),
    "the lead is away": ([lambda _: away, simulating, simulating], set(), ["three", "two"]),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_two_of_three(rules: World, tmp_path: Path, name: str) -> None:
    """Two that tell the same are found, whoever leads, and who tells otherwise is named."""
    makes, named, counted = SIMULATED[name]
    answers = {each: make(rules) for each, make in zip(NAMES, makes, strict=True)}
    with observing(rules, tmp_path, answers) as (observers, told):
        statements = observers.simulate(4, [], 0, [])
    assert [each.observer for each in statements] == counted
    assert set(told) == named


@pytest.mark.parametrize(
    ("makes", "code"),
    [
        ([simulating, lambda w: simulating(w, **OTHER), lambda _: away], Refusal.UNAVAILABLE),
        ([simulating, lambda _: away, lambda _: away], Refusal.UNAVAILABLE),
        ([partial(simulating, gas=each) for each in (1, 2, 3)], Refusal.SIMULATION_OTHER),
    ],
    ids=["two differ and one is away", "one alone", "three differ"],
)
def test_too_few(rules: World, tmp_path: Path, makes: list[Callable[[World], Says]], code: Refusal) -> None:
    """Below the quorum there is no answer, and the reasons are told."""
    answers = {each: make(rules) for each, make in zip(NAMES, makes, strict=True)}
    with observing(rules, tmp_path, answers) as (observers, _), pytest.raises(RefusedError) as caught:
        observers.simulate(4, [], 0, [])
    assert caught.value.code is code
    assert "2 observers must tell the same" in caught.value.detail


def test_a_transaction_that_cannot_be_simulated(rules: World, tmp_path: Path) -> None:
    """What all of them say is not taken for silence: asking again would not help."""

    def fails(_: str, __: Answer) -> Answer:
        return {"error": {"code": "simulation", "detail": "no money"}}

    with observing(rules, tmp_path, dict.fromkeys(NAMES, fails)) as (observers, named):
        with pytest.raises(RefusedError) as caught:
            observers.simulate(4, [], 0, [])
        assert caught.value.code is Refusal.SIMULATION_FAILED
        assert named == []


def test_a_made_up_block(rules: World, tmp_path: Path) -> None:
    """The lead's block that the others do not have is not attested by them, and that is told of them."""
    made_up = heading(rules, account={"nonce": 77})
    answers = {"one": made_up, "two": heading(rules), "three": heading(rules)}
    with observing(rules, tmp_path, answers) as (observers, named):
        states = observers.attest([])
    assert [each.attestation.observer for each in states] == ["three", "two"]
    assert named == [
        (*each, "proof_invalid") for each in (("three", "one"), ("two", "one"), ("one", "three"))
    ]


def test_a_header_that_is_not_the_block(rules: World, tmp_path: Path) -> None:
    """A lead whose header has another hash than it signs is named itself."""
    answers = {
        "one": heading(rules, hash=digest_of("made up")),
        "two": heading(rules),
        "three": heading(rules),
    }
    with observing(rules, tmp_path, answers) as (observers, named):
        states = observers.attest([])
    assert [each.attestation.observer for each in states] == ["three", "two"]
    assert ("one", "one", "proof_invalid") in named


def test_one_that_follows_to_another_block(rules: World, tmp_path: Path) -> None:
    """An attestation of another block than was asked for does not count."""

    def stubborn(name: str, _: Answer) -> Answer:
        return {"result": header(rules, name, account={"nonce": 78})}

    answers = {"one": heading(rules), "three": stubborn, "two": heading(rules)}
    with observing(rules, tmp_path, answers) as (observers, named):
        assert [each.attestation.observer for each in observers.attest([])] == ["one", "two"]
    assert named == [("three", "one", "proof_invalid")]


BY_NODES: Answer = {"by": "nodes", "last_block": None}
TWO = keccak(b"\x02").hex()
DONE: Answer = {"result": {"tx_hash": TWO}}


# where a transaction stands


def mined(*, succeeded: bool = True, **changed: Any) -> Says:
    """Tell that it is in the block in which it succeeded, or in the one in which it failed."""

    def says(name: str, _: Answer) -> Answer:
        shown = included(succeeded=succeeded)
        (attested,) = shown.pop("attestations")
        signed = statement(name, HEADER_LINE, attested["document"]).dump()
        return {"result": {**shown, "attestation": signed, **changed}}

    return says


def waiting(status: str) -> Says:
    """Tell that it is in no block."""
    return lambda _, __: {"result": {"status": status}}


OURS = keccak(RAW[INDEX]).hex()
PLACES: dict[str, tuple[list[Says], str | None]] = {
    "two in one block": ([mined(), waiting("pending"), mined()], "confirmed"),
    "two in no block": ([mined(), waiting("pending"), waiting("unknown")], "pending"),
    "nobody knows it": ([waiting("unknown")] * 3, "unknown"),
    "one in no block, one away": ([waiting("pending"), away, away], None),
    "in two blocks": ([mined(), mined(succeeded=False), away], None),
    "in a block, in none, and away": ([mined(), waiting("unknown"), away], None),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_it_stands(rules: World, tmp_path: Path, name: str) -> None:
    """It is where two say that it is; while they differ there is no answer, not even `unknown`."""
    says, status = PLACES[name]
    with observing(rules, tmp_path, dict(zip(NAMES, says, strict=True))) as (observers, named):
        if status is None:
            with pytest.raises(RefusedError) as caught:
                observers.confirm(OURS)
            assert caught.value.code is Refusal.UNAVAILABLE
            return
        told, inclusion = observers.confirm(OURS)
    assert (told, named) == (status, [])
    signed = [] if inclusion is None else [each.observer for each in inclusion.attestations]
    assert signed == (["one", "two"] if status == "confirmed" else [])


NO_PLACES: dict[str, tuple[Says, str]] = {
    "other bytes": (mined(raw=RAW[INDEX - 1].hex()), "proof_invalid"),
    "a receipt that is not in the block": (mined(receipt_proof=[]), "proof_invalid"),
    "another outcome than the receipt's": (mined(status="reverted"), "proof_invalid"),
    "no header": (mined(header="c0"), "proof_invalid"),
    "under another's name": (lambda _, asked: mined()("two", asked), "observer_unknown"),
    "something beside it": (mined(more=1), "malformed"),
    "no status": (lambda _, __: {"result": {}}, "malformed"),
}


@pytest.mark.parametrize("name", NO_PLACES)
def test_a_place_that_is_none(rules: World, tmp_path: Path, name: str) -> None:
    """What an observer shows must prove itself, or it counts for nothing, and it is named."""
    says, code = NO_PLACES[name]
    with observing(rules, tmp_path, {"one": says, "three": mined(), "two": mined()}) as (observers, named):
        status, inclusion = observers.confirm(OURS)
    assert inclusion is not None
    assert (status, [each.observer for each in inclusion.attestations]) == ("confirmed", ["three", "two"])
    assert named == [("one", "one", code)]


def test_the_place_of_another_transaction(rules: World, tmp_path: Path) -> None:
    """A genuine inclusion of something else is no answer."""
    with observing(rules, tmp_path, dict.fromkeys(NAMES, mined())) as (observers, named):
        with pytest.raises(RefusedError) as caught:
            observers.confirm("00" * 32)
        assert caught.value.code is Refusal.UNAVAILABLE
        assert named == [(each, each, "bytes_differ_from_intent") for each in NAMES]


# what convinces by itself, and what harms nobody


def test_bytes_are_sent_by_all(rules: World, tmp_path: Path) -> None:
    """One that only says that it has sent them keeps nobody from the chain, and one that is away neither."""
    sent: list[str] = []

    def sends(name: str, asked: Answer) -> Answer:
        assert asked["operation"] == "broadcast"
        sent.append(name)
        return DONE

    with observing(rules, tmp_path, {"one": lambda _, __: DONE, "three": away, "two": sends}) as (
        observers,
        _,
    ):
        observers.broadcast("02", **BY_NODES)
    assert sent == ["two"]


@pytest.mark.parametrize("result", [{}, {"tx_hash": None}, {"tx_hash": "ab" * 32}], ids=repr)
def test_bytes_that_nobody_says_were_sent(rules: World, tmp_path: Path, result: Answer) -> None:
    """An answer without their hash is no word that they were sent, or forgotten."""
    answers = {"one": lambda _, __: {"result": result}, "three": away, "two": away}
    with observing(rules, tmp_path, answers) as (observers, named):
        with pytest.raises(RefusedError) as caught:
            observers.broadcast("02", **BY_NODES)
        assert caught.value.code is Refusal.UNAVAILABLE
        with pytest.raises(RefusedError):
            observers.recall(TWO)
        assert named == [("one", "one", "malformed")] * 2


def test_all_relays_forget(rules: World, tmp_path: Path) -> None:
    """Each relay forgets for its own sender: one that does not is told of, after all were asked."""
    asked: list[str] = []

    def forgets(name: str, _: Answer) -> Answer:
        asked.append(name)
        return DONE

    with observing(rules, tmp_path, dict.fromkeys(NAMES, forgets)) as (observers, _):
        observers.recall(TWO)
    assert asked == [*NAMES]
    with observing(rules, tmp_path, {"one": away, "three": forgets, "two": forgets}) as (observers, _):
        with pytest.raises(RefusedError):
            observers.recall(TWO)
        assert asked == [*NAMES, "three", "two"]


def test_a_lead_without_proofs(rules: World, tmp_path: Path) -> None:
    """A lead that signs the true block and shows false accounts gives way, and is named."""

    def false(name: str, _: Answer) -> Answer:
        state = rules.state(observer=name).dump()
        state["accounts"][0]["balance"] = "1"
        return {"result": state}

    def true(name: str, asked: Answer) -> Answer:
        state = rules.state(observer=name).dump()
        return {"result": state if asked["accounts"] else {**state, "accounts": []}}

    with observing(rules, tmp_path, {"one": false, "three": true, "two": true}) as (observers, named):
        states = observers.attest(["0x" + "11" * 20])
    assert [each.attestation.observer for each in states] == ["three", "two"]
    assert states[0].accounts
    assert named[0] == ("one", "one", "proof_invalid")


@pytest.mark.parametrize("status", [[], {}, None, 7, "confirmed"], ids=repr)
def test_an_answer_that_is_none(rules: World, tmp_path: Path, status: Any) -> None:
    """Whatever stands in it, it counts for nothing."""
    answers = {"one": lambda _, __: {"result": {"status": status}}}
    answers |= {"two": waiting("pending"), "three": waiting("unknown")}
    with observing(rules, tmp_path, answers) as (observers, _):
        assert observers.confirm("00" * 32) == ("pending", None)


def test_one_that_is_silent(rules: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for once: then the others come first in all things, until it had time to mend.

    Bytes it is given all the same: those who come first may have kept them.
    """
    monkeypatch.setattr(asking, "OBSERVER_SECONDS", 0.3)
    monkeypatch.setattr(asking, "LATE_WAIT_SECONDS", 0.1)
    asked: list[str] = []

    def silent(_: str, request: Answer) -> Answer:
        asked.append(request["operation"])
        time.sleep(1)
        return {}

    def talks(name: str, asked: Answer) -> Answer:
        says = {"simulate": simulating(rules), "confirm": waiting("pending")}
        return says[asked["operation"]](name, asked) if asked["operation"] in says else DONE

    with observing(rules, tmp_path, {"one": silent, "three": talks, "two": talks}) as (observers, named):
        for _ in range(3):
            statements = observers.simulate(4, [], 0, [])
            assert [each.observer for each in statements] == ["three", "two"]
        assert observers.confirm(OURS) == ("pending", None)
        assert (asked, named) == (["simulate"], [])
        observers.broadcast("02", **BY_NODES)
        wait_for(lambda: asked == ["simulate", "broadcast"])
        monkeypatch.setattr(asking, "LATE_SECONDS", 0.0)
        observers.simulate(4, [], 0, [])
        wait_for(lambda: len(asked) > 2)
        assert named == []


def test_one_that_starts_again(rules: World, tmp_path: Path) -> None:
    """It was away for a moment, which kept nobody waiting: it leads as before."""
    answers = {name: simulating(rules) for name in NAMES}
    with observing(rules, tmp_path, {name: answers[name] for name in ("three", "two")}) as (observers, _):
        before = observers.simulate(4, [], 0, [])
        with serving(tmp_path / "one", partial(answers["one"], "one")):
            after = observers.simulate(4, [], 0, [])
    assert [each.observer for each in before] == ["three", "two"]
    assert [each.observer for each in after] == ["one", "three"]


def test_one_that_is_slow(rules: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says counts, and the others lead from then on."""
    monkeypatch.setattr(asking, "SLOW_SECONDS", 0.3)

    def slow(name: str, asked: Answer) -> Answer:
        time.sleep(0.5)
        return simulating(rules)(name, asked)

    answers = {"one": slow, "three": simulating(rules), "two": simulating(rules)}
    with observing(rules, tmp_path, answers) as (observers, _):
        first, then = (observers.simulate(4, [], 0, []) for _ in range(2))
    assert [each.observer for each in first] == ["one", "three"]
    assert [each.observer for each in then] == ["three", "two"]


def test_one_alone_where_one_is_enough(rules: World, tmp_path: Path) -> None:
    """With a quorum of one nobody else is asked."""
    answers = {"one": simulating(rules), "two": away, "three": away}
    with observing(rules, tmp_path, answers, quorum=1) as (observers, named):
        (told,) = observers.simulate(4, [], 0, [])
    assert (told, named) == (attest(rules.simulation(rules.swap()), "one"), [])
