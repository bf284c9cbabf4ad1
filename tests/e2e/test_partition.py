"""A service that parts co-signers: two groups, an intent for each, both within the day's limit, not together.

Three sign, and two groups of three have one in common; of five witnesses two quorums have three. So one of
the intents is signed, and the other is refused by somebody who knows of it, or who is told too little.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint
from ledger.entry import Event as Entered
from ledger.store import Ledger
from tests.e2e.taken_over import LIMITS, NAMES, TakenOver, approved, memory, mined, remembered, taken_over
from tests.world import Living, living
from workbench.demo.world import SERVICE
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.courier import StepError
from workbench.service.record import open_ledger
from workbench.service.witnesses import Witnesses
from workbench.service.witnesses import _with as cosigned

ONE, OTHER = NAMES[:3], NAMES[2:]
USD = 100_000
CENTS = 100 * USD
RISK = ("risk-1", "risk_officer")
DARK = OTHER[1:]
"""The witnesses that the service shows nothing of what it does with the first group."""


def addresses(world: Living) -> dict[str, str]:
    """Return where all witnesses are."""
    config = json.loads((world.world.places.root(SERVICE) / "config.json").read_text())
    found: dict[str, str] = config["witnesses"]
    return found


def lit(world: Living) -> dict[str, str]:
    """Return where those are that are shown everything: as few as are a quorum."""
    return {name: address for name, address in addresses(world).items() if name not in DARK}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share, and in which a day's limit is one and a half intents."""
    with living(engine="mpc", limits=LIMITS) as built:
        yield built


@pytest.fixture(scope="module")
def intents(world: Living) -> dict[str, str]:
    """Three intents of 100,000 dollars each, approved and not signed."""
    return approved(world, {name: world.allowance(USD + place) for place, name in enumerate("abc")})


@pytest.fixture(scope="module")
def liar(world: Living, intents: dict[str, str]) -> Iterator[TakenOver]:
    """The service in the wrong hands, with a fresh look at each of them."""
    assert world.pm.intent(intents["a"]).state == "approved"
    with taken_over(world) as made:
        shutil.copytree(world.world.places.root(SERVICE), world.world.places.state / "fork")
        made.desk.lane.recorder.witnesses.addresses = lit(world)
        for digest in intents.values():
            made.look(digest)
        yield made


def test_one_nonce_for_two_groups(world: Living, intents: dict[str, str], liar: TakenOver) -> None:
    """Both groups are asked for the same nonce: who is in both says no, and one intent alone is signed."""
    first, second = intents["a"], intents["b"]
    for name in ONE:
        assert "agreed" in liar.ask(name, liar.evidence(name, first))
    for name in OTHER[1:]:
        assert "agreed" in liar.ask(name, liar.reserved(name, second, 0, RISK))
    liar.refuses(OTHER[0], liar.reserved(OTHER[0], second, 0, RISK), 7, "nonce_used")
    with pytest.raises(StepError, match="nothing is agreed to for this intent"):
        liar.signs(second, OTHER)
    signed = liar.signs(first, ONE)
    (raw_tx,) = {each["answer"]["raw_tx"] for each in signed.values()}
    mined(world, raw_tx)
    assert [remembered(world, name) for name in ONE] == [{0: (first, CENTS)}] * 3
    # what two have agreed to weighs with them, and is signed by nobody
    for name in OTHER[1:]:
        ((nonce, record),) = memory(world, name).items()
        assert (nonce, record["intent"], record["usd_cents"]) == (0, second, CENTS + 100)
        assert [each["raw_tx"] for each in record["bytes"]] == [None]


def test_what_two_agreed_to_is_taken_back(world: Living, intents: dict[str, str], liar: TakenOver) -> None:
    """Brought under the nonce that it had first, it is refused, and weighs nothing any more."""
    for name in OTHER[1:]:
        answer = liar.ask(name, liar.evidence(name, intents["b"]))["answer"]
        assert answer["refused"]["code"] == "intent_signed_under_another_nonce"
        assert memory(world, name) == {}


def test_the_first_is_kept_from_the_other_group(intents: dict[str, str], liar: TakenOver) -> None:
    """Under the next nonce: who signed adds it up, who is told nothing misses what came before."""
    liar.look(intents["b"])
    for name in ONE:
        liar.refuses(name, liar.evidence(name, intents["b"]), 7, "own_limit_exceeded")
    for name in OTHER[1:]:
        liar.refuses(name, liar.evidence(name, intents["b"]), 7, "nonces_before_unknown")


def test_the_other_group_is_told(world: Living, intents: dict[str, str], liar: TakenOver) -> None:
    """Then it remembers the first with what it weighs, and refuses for the same reason as all."""
    proposal = liar.matter(intents["a"]).proposal.dump()
    (raw_tx,) = (each["raw_tx"] for each in memory(world, ONE[0])[0]["bytes"])
    for name in OTHER[1:]:
        told = liar.evidence(name, intents["b"]) | {"spent": [{"proposal": proposal, "raw_tx": raw_tx}]}
        answer = liar.ask(name, told)["answer"]
        assert (answer["refused"]["step"], answer["refused"]["code"]) == (7, "own_limit_exceeded")
    for name in OTHER[1:]:
        liar.refuses(name, liar.evidence(name, intents["b"]), 7, "own_limit_exceeded")
    assert {tuple(remembered(world, name).items()) for name in NAMES} == {((0, (intents["a"], CENTS)),)}
    assert world.transactions() == 1


@pytest.fixture
def fork(world: Living) -> Iterator[Ledger]:
    """The ledger as it was when the service was taken over, and another entry after it."""
    pinned = world.world.places.trust_root.read_bytes()
    ledger = open_ledger(
        world.world.places.state / "fork", pinned, now=lambda: datetime.now(UTC), remembered=[]
    )
    data = {"v": 1, "reason": "another history"}
    ledger.append(
        [
            Entered(
                source="workbench/fork", id="1", type="external.note", actor="x", dataschema="x/v1", data=data
            )
        ]
    )
    yield ledger
    ledger.close()


def test_a_ledger_for_each_group(
    world: Living, intents: dict[str, str], liar: TakenOver, fork: Ledger
) -> None:
    """Witnesses that were kept in the dark cosign the other history; they are no quorum."""
    recorder = liar.desk.lane.recorder
    head, key = fork.head(), recorder.key
    state = Checkpoint(world.world.trust_root.origin, head.size, head.root, head.h)
    note = notes.sign(state, SERVICE, key.public_key, key.sign)
    everybody = Witnesses(recorder.witnesses.trust_root, addresses(world), lambda: datetime.now(UTC))
    with pytest.raises(RefusedError) as refused:
        everybody.cosigned(note, fork)
    assert refused.value.code is Refusal.UNAVAILABLE
    assert refused.value.detail.endswith(f"nothing from {', '.join(lit(world))}")
    lines = everybody._each(addresses(world), lambda name: everybody._line(name, note, fork))
    assert set(lines) == set(DARK)
    brought = {
        "from": 0,
        "leaves": [leaf.hex() for leaf in fork.leaves(0, head.size - 1)],
        "checkpoint": cosigned(note, lines),
        "consistency": {},
    }
    for name in NAMES:
        liar.refuses(name, liar.evidence(name, intents["b"]) | {"head": brought}, 2, "checkpoint_invalid")
