"""Several observers: what they must tell alike before it counts, and who is named when they do not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.rules.build import World, attest, build, digest_of, public, statement
from workbench.process.frames import FrameServer
from workbench.rules.attestation import HEADER_LINE, Statement
from workbench.rules.codes import Refusal, RefusedError
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


def header(rules: World, name: str, **block: Any) -> Answer:
    """Return the header of block 100 as this observer attests it."""
    state = rules.state()
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
    made_up = heading(rules, hash=digest_of("made up"))
    answers = {"one": made_up, "two": heading(rules), "three": heading(rules)}
    with observing(rules, tmp_path, answers) as (observers, named):
        states = observers.attest([])
    assert [each.attestation.observer for each in states] == ["three", "two"]
    assert ("three", "one", "proof_invalid") in named


def test_one_that_follows_to_another_block(rules: World, tmp_path: Path) -> None:
    """An attestation of another block than was asked for does not count."""

    def stubborn(name: str, _: Answer) -> Answer:
        return {"result": header(rules, name, hash=digest_of("mine"))}

    answers = {"one": heading(rules), "three": stubborn, "two": heading(rules)}
    with observing(rules, tmp_path, answers) as (observers, named):
        assert [each.attestation.observer for each in observers.attest([])] == ["one", "two"]
    assert named == [("three", "one", "proof_invalid")]


# where a transaction stands


def mined(rules: World, **block: Any) -> Says:
    """Tell that it is in this block."""

    def says(name: str, _: Answer) -> Answer:
        shown = header(rules, name, **block)
        return {"result": {**{k: shown[k] for k in ("attestation", "header")}, "status": "confirmed"}}

    return says


def waiting(status: str) -> Says:
    """Tell that it is in no block."""
    return lambda _, __: {"result": {"status": status}}


PLACES: dict[str, tuple[Callable[[World], list[Says]], str | None]] = {
    "two in one block": (lambda w: [mined(w), waiting("pending"), mined(w)], "confirmed"),
    "two in no block": (lambda w: [mined(w), waiting("pending"), waiting("unknown")], "pending"),
    "nobody knows it": (lambda _: [waiting("unknown")] * 3, "unknown"),
    "one in no block, one away": (lambda _: [waiting("pending"), away, away], None),
    "in two blocks": (lambda w: [mined(w), mined(w, hash=digest_of("other")), away], None),
    "in a block, in none, and away": (lambda w: [mined(w), waiting("unknown"), away], None),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_it_stands(rules: World, tmp_path: Path, name: str) -> None:
    """It is where two say that it is; while they differ there is no answer, not even `unknown`."""
    make, status = PLACES[name]
    answers = dict(zip(NAMES, make(rules), strict=True))
    with observing(rules, tmp_path, answers) as (observers, _):
        if status is None:
            with pytest.raises(RefusedError) as caught:
                observers.confirm("00" * 32)
            assert caught.value.code is Refusal.UNAVAILABLE
            return
        answer = observers.confirm("00" * 32)
    assert answer["status"] == status
    signed = [Statement.load(each).observer for each in answer.get("attestations", [])]
    assert signed == (["one", "two"] if status == "confirmed" else [])


def test_one_alone_where_one_is_enough(rules: World, tmp_path: Path) -> None:
    """With a quorum of one nobody else is asked."""
    answers = {"one": simulating(rules), "two": away, "three": away}
    with observing(rules, tmp_path, answers, quorum=1) as (observers, named):
        (told,) = observers.simulate(4, [], 0, [])
    assert (told, named) == (attest(rules.simulation(rules.swap()), "one"), [])
