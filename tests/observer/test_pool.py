"""A pool as the observer proves it: it convinces whoever has the key, and nothing that was changed does."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical, parse
from tests.chain.trio import Trio, trio
from tests.chain.world import MILLION, World
from tests.observer.conftest import TestKey, observing
from tests.observer.test_process import trust_root
from tests.rules.build import refused
from workbench.chain.errors import ChainError
from workbench.chain.node import Node
from workbench.chain.nodes import NoQuorumError
from workbench.observer.__main__ import Desk
from workbench.observer.core import HEADER_LINE, Document, Observer, statement
from workbench.risk import layout
from workbench.risk.errors import UnknownTicksError
from workbench.risk.layout import TICKS, Slot, mapped
from workbench.risk.pool import Pool, swap
from workbench.risk.venue import Venue
from workbench.rules.codes import Refusal
from workbench.rules.storage import SLOTS_MAX, AttestedStorage, verify_slots
from workbench.rules.trust import TrustRoot

AGE = 60
INNER = mapped(TICKS, 198_040).hex()
NAMES = ("node-1", "node-2", "node-3")


def venue_of(world: World) -> Venue:
    """Return the worked example's pool."""
    deployment = world.deployment
    return Venue.of(deployment.factory, deployment.usdc, deployment.weth, deployment.fee)


def asked(observer: Observer, world: World, amount: int = 5 * MILLION) -> Document:
    """Return what the observer says of the pool, as it crosses a boundary."""
    told = observer.pool(venue_of(world), token_in=world.deployment.usdc, amount_in=amount)
    return parse(canonical(told, limit=SLOTS_MAX * 8192))


def read(told: Document, observer: Observer, world: World, **given: Any) -> Pool:
    """Return the pool, as somebody reads it who has the observer's key and nothing else."""
    root = TrustRoot.load(trust_root(observer.signer.public_key) | given.get("root", {}))
    now = datetime.now(UTC) + timedelta(seconds=given.get("later_s", 0))
    seen = verify_slots([AttestedStorage.load(told)], trust_root=root, now=now, age_s_max=AGE)
    return layout.read(venue_of(world), {Slot(*place): value for place, value in seen.values.items()})


def test_it_convinces_whoever_has_the_key(observer: Observer, fresh_world: World) -> None:
    """Header, accounts and slots give the pool, and that gives the worked example's figures."""
    pool = read(asked(observer, fresh_world), observer, fresh_world)
    done = swap(pool, 5 * MILLION, zero_for_one=True)
    assert round((1 - done.amount_out / (done.amount_in * pool.mid)) * 1_000_000) == 30_000


def _changed(name: str, value: object) -> Callable[[Document], object]:
    return lambda told: told.__setitem__(name, value)


def _slot(told: Document, key: str = INNER) -> Document:
    return next(each for each in told["slots"] if each["slot"] == key)


def _other_tick(told: Document) -> None:
    # the tick above has the same gross liquidity and the opposite net
    _slot(told)["proof"] = _slot(told, mapped(TICKS, 198_120).hex())["proof"]


def _without_tick(told: Document) -> None:
    told["slots"].remove(_slot(told))


def _flipped(told: Document) -> None:
    last = _slot(told)["proof"][-1]
    _slot(told)["proof"][-1] = last[:-2] + f"{int(last[-2:], 16) ^ 1:02x}"


def _factorys(told: Document) -> None:
    _slot(told)["account"] = told["accounts"][0]["address"]


def _no_account(told: Document) -> None:
    told["accounts"].pop()


def _other_root(told: Document) -> None:
    told["accounts"][1]["storage_root"] = told["accounts"][0]["storage_root"]


CHANGED: dict[str, tuple[Callable[[Document], object], Refusal | None]] = {
    "a tick left out": (_without_tick, None),
    "another tick's proof": (_other_tick, Refusal.PROOF),
    "a flipped bit of a tick": (_flipped, Refusal.PROOF),
    "a tick of another contract": (_factorys, Refusal.PROOF),
    "the pool's account left out": (_no_account, Refusal.FACT_MISSING),
    "another storage root": (_other_root, Refusal.PROOF),
    "another header": (lambda told: _changed("header", told["header"][:-2] + "00")(told), Refusal.PROOF),
    "a value beside a proof": (lambda told: _slot(told).update(value="1"), Refusal.MALFORMED),
    "too many slots": (
        lambda told: told.update(slots=told["slots"] * (SLOTS_MAX // len(told["slots"]) + 1)),
        Refusal.MALFORMED,
    ),
}


@pytest.mark.parametrize(("change", "code"), CHANGED.values(), ids=CHANGED)
def test_whatever_a_courier_changes(
    observer: Observer, fresh_world: World, change: Callable[[Document], object], code: Refusal | None
) -> None:
    """No part can be changed, exchanged or left out: then there is no pool."""
    told = asked(observer, fresh_world)
    honest = read(told, observer, fresh_world)
    change(told)
    if code is None:
        with pytest.raises(UnknownTicksError, match="not proven"):
            read(told, observer, fresh_world)
    else:
        with refused(code):
            read(told, observer, fresh_world)
    assert read(asked(observer, fresh_world), observer, fresh_world) == honest


OTHERS: dict[str, tuple[dict[str, Any], Refusal]] = {
    "too old": ({"later_s": AGE + 1}, Refusal.ATTESTATION_STALE),
    "an observer that is not known": (
        {"root": {"observers": {"observer-1": "55" * 32}}},
        Refusal.SIGNATURE,
    ),
    "one where two must attest": ({"root": {"observer_quorum": 2}}, Refusal.FACT_MISSING),
    "another chain": ({"root": {"chain_id": 1}}, Refusal.CHAIN_OTHER),
}


@pytest.mark.parametrize(("given", "code"), OTHERS.values(), ids=OTHERS)
def test_who_does_not_believe_it(
    observer: Observer, fresh_world: World, given: dict[str, Any], code: Refusal
) -> None:
    """Under another trust root, or too late, the same document says nothing."""
    told = asked(observer, fresh_world)
    with refused(code):
        read(told, observer, fresh_world, **given)


def test_a_courier_cannot_sign(observer: Observer, fresh_world: World) -> None:
    """An attestation of one's own, over another state root, is nobody's word."""
    told = asked(observer, fresh_world)
    document = told["attestation"]["document"]
    told["attestation"] = statement("observer-1", TestKey(), HEADER_LINE, document)
    with refused(Refusal.SIGNATURE):
        read(told, observer, fresh_world)


@pytest.fixture
def three(fresh_world: World, tmp_path: Path) -> Iterator[Trio]:
    """Return three nodes with one history."""
    with trio(fresh_world, tmp_path) as made:
        yield made


@pytest.fixture
def looking(three: Trio) -> Iterator[Observer]:
    """Return an observer that looks by all three, of which two must agree."""
    nodes = {name: Node(liar.url) for name, liar in zip(NAMES, three.liars, strict=True)}
    made = observing(three.world, nodes, quorum=2, clock=lambda: 0.0)
    yield made
    made.nodes.close()


def tick_lie(method: str, _: list[Any], result: Any) -> Any:
    """Lie about one tick."""
    if method == "eth_getProof":
        for each in result["storageProof"]:
            if int(each["key"], 16) == int(INNER, 16):
                each["proof"] = each["proof"][:-1]
    return result


def test_one_of_three_that_lies_about_a_tick(looking: Observer, three: Trio) -> None:
    """It is out by its name, and the pool that is told is the true one."""
    three.liars[1].lie = tick_lie
    for _ in NAMES:
        pool = read(asked(looking, three.world), looking, three.world)
        assert pool.ticks[198_040] == 11_310_131_319_813_847_330
    ((kind, node),) = [
        (each["document"]["kind"], each["document"]["node"]) for each in looking.journal.after("", 0)
    ]
    assert (kind, node) == ("out", "node-2")


@pytest.mark.parametrize("liars", [(0, 1), (1, 2), (0, 2)])
def test_two_of_three_that_lie_about_a_tick(looking: Observer, three: Trio, liars: tuple[int, int]) -> None:
    """Below the quorum nothing is said of the pool."""
    for number in liars:
        three.liars[number].lie = tick_lie

    def each_in_its_turn() -> None:
        for _ in NAMES:
            asked(looking, three.world)

    with pytest.raises(NoQuorumError):
        each_in_its_turn()


def test_what_does_not_exist_blames_no_node(observer: Observer, fresh_world: World) -> None:
    """A pool that there is none of, or a swap too wide for one, leaves every node in place."""
    elsewhere = replace(venue_of(fresh_world), fee=3000)
    with pytest.raises(ChainError, match="has no price"):
        observer.pool(elsewhere, token_in=fresh_world.deployment.usdc, amount_in=1)
    with pytest.raises(ChainError, match="more than 256"):
        observer.pool(venue_of(fresh_world), token_in=fresh_world.deployment.weth, amount_in=10**30)
    assert observer.journal.after("", 0) == []
    assert observer.nodes.standing() == {"node-1": True}


QUESTION = {"factory": "", "token_in": "", "token_out": "", "fee": 500, "amount": "1"}
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no addresses": ({}, "request"),
    "an amount with a sign": ({"amount": "+1"}, "request"),
    "an amount that is a number": ({"amount": 1}, "request"),
    "a fee that is text": ({"fee": "500"}, "request"),
    "a fee that is true": ({"fee": True}, "request"),
    "no amount": ({"amount": "0"}, "chain"),
    "one token twice": ({"token_out": "usdc"}, "request"),
}


@pytest.mark.parametrize(("change", "code"), REQUESTS.values(), ids=REQUESTS)
def test_requests_that_are_refused(desk: Desk, fresh_world: World, change: dict[str, Any], code: str) -> None:
    """A question about no pool gets an error with its code, and no signature."""
    deployment = fresh_world.deployment
    named = {"factory": deployment.factory, "token_in": deployment.usdc, "token_out": deployment.weth}
    if change.get("token_out") == "usdc":
        change = {"token_out": deployment.usdc}
    question = QUESTION | (named if change else {}) | change
    answer = desk.handle({"v": 1, "operation": "pool", **question})
    assert answer["error"]["code"] == code
