"""Two of three observers are believed, each with price sources and a relay: one that lies or falls silent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical
from tests.chain.relay import Running, relaying
from tests.cosigner.test_gate import UNHURRIED
from tests.cosigner.test_worth import BASES, LIMIT, NAMES
from tests.e2e.test_observers import FIRST, SECOND, THIRD, Answer, Lie, Taken, lying, refusals, restart
from tests.e2e.test_stuck import entries, story, told, until, wait_for
from tests.world import Living, living, refused
from workbench.client import ProblemError
from workbench.demo.world import SERVICE
from workbench.observer.core import QUOTES_LINE
from workbench.rules.documents import read_time, signed_bytes, write_time
from workbench.rules.intent import Intent
from workbench.rules.price_feed import PRICE_LINE

BLOCKS = 20
PRICES = {"ETH": "2500", "USDC": "1"}
PUSHED = "2720"
LIMITS = UNHURRIED | {"worth": LIMIT, "broadcast": "relay", "relay_blocks_max": BLOCKS}


@dataclass
class Desk:
    """A desk, the relays of its three observers, and what the sources say."""

    world: Living
    relays: tuple[Running, ...]
    folder: Path
    keys: Mapping[tuple[str, str], Ed25519PrivateKey]

    def say(self) -> None:
        """Have every source say what is fair, as of three seconds ago."""
        at = write_time(datetime.now(UTC) - timedelta(seconds=3))
        for (name, base), key in self.keys.items():
            document = {"v": 1, "base": base, "quote": "USD", "price": PRICES[base], "at": at}
            signature = key.sign(signed_bytes(PRICE_LINE, canonical(document))).hex()
            place = self.folder / f"{name}-{base}"
            place.write_bytes(canonical({"document": document, "signature": signature}))

    def swap(self, amount: int) -> Intent:
        """Return a swap whose allowance is confirmed."""
        tranche = self.world.swap(amount)
        allowance = self.approved(tranche.allowance)
        self.handed_over(allowance)
        return tranche.swap

    def approved(self, intent: Intent) -> str:
        """Have an intent approved, released and signed, also where its relays fail; return its digest."""
        digest = self.world.outstanding(intent).digest
        with suppress(ProblemError):
            self.world.approve(digest)
        until(self.world, digest, "broadcast")
        return digest

    def handed_over(self, digest: str) -> None:
        """Have the relays hand over what they have, until it is confirmed."""
        self.mined(*self.relays)
        until(self.world, digest, "confirmed")

    def mined(self, *relays: Running) -> None:
        """Have relays hand over what they have; the chain mines it."""
        for relay in relays:
            relay.tell(hand_over=True)

    def quoted_by(self, digest: str) -> list[list[str]]:
        """Return who signed the quotes of each simulation of an intent, once for each pair."""
        about = [entry["data"] for entry in self.world.entries() if entry.get("subject") == digest]
        return [[each["observer"] for each in data["quotes"]] for data in about if "quotes" in data]

    def kept(self) -> list[list[str]]:
        """Return the hashes that each relay has."""
        return [[each[2:] for each in relay.kept()] for relay in self.relays]

    def signed_once(self, digest: str, before: int) -> None:
        """Assert that one transaction came of an intent, and that its bytes were signed once."""
        assert self.world.transactions() == before + 1
        assert story(self.world, digest).count("signed") == 1
        assert "replaced" not in story(self.world, digest)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Bring it to life: three observers over six feeds, each with a relay of its own."""
    folder = tmp_path_factory.mktemp("feeds")
    keys = {(name, base): Ed25519PrivateKey.generate() for name in NAMES for base in BASES}
    feeds = [
        {
            "kind": "signed",
            "name": f"{name}-{base.lower()}",
            "base": base,
            "quote": "USD",
            "key": key.public_key().public_bytes_raw().hex(),
            "place": str(folder / f"{name}-{base}"),
        }
        for (name, base), key in keys.items()
    ]
    with ExitStack() as ends:
        relays = tuple(ends.enter_context(relaying()) for _ in range(3))
        world = ends.enter_context(living(observers=3, observer_quorum=2, limits=LIMITS, relay=relays[0].url))
        for name, relay in zip((FIRST, SECOND, THIRD), relays, strict=True):
            path = world.world.places.root(name) / "config.json"
            config = json.loads(path.read_text())
            config["feeds"] = feeds
            config["relay"]["url"] = relay.url
            world.stack.stop_one(name)
            path.write_text(json.dumps(config))
            world.stack.start(name)
        for person in ("pm-1", "risk-1", "cro-1", "auditor-1"):
            world.officer(person)
        chain = world.chain()
        for relay in relays:
            relay.behind(chain.url)
        chain.close()
        yield Desk(world, relays, folder, keys)


@pytest.fixture
def desk(built: Desk) -> Desk:
    """Give it with everybody awake, fair prices and relays that have nothing and behave."""
    for relay in built.relays:
        relay.kill()
        relay.start()
    built.world.revive()
    built.say()
    return built


@pytest.fixture(scope="module")
def taken(built: Desk) -> Iterator[Taken]:
    """Have the service ask somebody else in the place of the first observer, who has its key."""
    made = Taken(built.world)
    path = built.world.world.places.root(SERVICE) / "config.json"
    before = path.read_text()
    config = json.loads(before)
    config["observers"][FIRST] = str(made.socket)
    path.write_text(json.dumps(config))
    restart(built.world)
    yield made
    made.close()
    path.write_text(before)
    restart(built.world)


def test_an_exchange_at_the_prices_of_two(desk: Desk) -> None:
    """Both sign the quotes of both pairs, each gives the bytes to its relay, and it happens once."""
    swap = desk.swap(1_000)
    before = desk.world.transactions()
    digest = desk.approved(swap)
    tx_hash = told(desk.world, digest, "signed")["data"]["tx_hash"]
    assert all(each == [FIRST, SECOND] * len(BASES) for each in desk.quoted_by(digest))
    assert len(desk.quoted_by(digest)) >= 2
    wait_for(lambda: all(tx_hash in each for each in desk.kept()), desk.kept)
    desk.handed_over(digest)
    desk.signed_once(digest, before)


def later(taken: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say of ether what a pushed pool says, of a moment later than any that others were told."""
    if asked["operation"] != "prices" or asked["base"] != "ETH" or "result" not in answer:
        return answer
    document = answer["result"]["document"]
    for each in document["quotes"]:
        each["at"] = write_time(read_time(each["at"]) + timedelta(seconds=2))
        each["price"] = PUSHED
    return {"result": taken.signed(QUOTES_LINE, document)}


def nothing(taken: Taken, asked: Answer, answer: Answer) -> Answer:
    """Say that no source of ether said anything."""
    if asked["operation"] != "prices" or asked["base"] != "ETH" or "result" not in answer:
        return answer
    return {"result": taken.signed(QUOTES_LINE, answer["result"]["document"] | {"quotes": []})}


@pytest.mark.parametrize(
    ("lie", "amount", "named"),
    [
        pytest.param(later, 1_100, True, id="other prices, of a later moment"),
        pytest.param(nothing, 1_200, False, id="no prices"),
    ],
)
def test_one_that_lies_about_prices(desk: Desk, taken: Taken, lie: Lie, amount: int, *, named: bool) -> None:
    """The other two are asked, their prices are what is weighed, and who told otherwise is in the ledger."""
    swap = desk.swap(amount)
    before, noted = desk.world.transactions(), len(refusals(desk.world))
    with lying(taken, lie):
        digest = desk.approved(swap)
    assert all(each == [SECOND, THIRD, FIRST, SECOND] for each in desk.quoted_by(digest))
    about = [each for each in refusals(desk.world)[noted:] if "ETH/USD" in each["detail"]]
    assert bool(about) is named
    assert all(FIRST in each["about"] and "bps apart" in each["detail"] for each in about)
    desk.handed_over(digest)
    desk.signed_once(digest, before)


def test_one_that_lies_where_nobody_outvotes_it(desk: Desk, taken: Taken) -> None:
    """With the third away two differ: refused by both names; nothing is released, signed or sent."""
    swap = desk.swap(1_300)
    with lying(taken, later):
        desk.world.stack.kill(THIRD)
        digest = desk.world.outstanding(swap).digest
        outside = desk.world.memory(), desk.world.transactions()
        problem = refused("fact_missing", lambda: desk.world.approve(digest), path="/facts/worth_loss_bps")
        assert f"by {SECOND} it is 2500, by {FIRST} {PUSHED}" in str(problem)
        assert desk.world.pm.intent(digest).state == "outstanding"
        assert (desk.world.memory(), desk.world.transactions()) == outside
    desk.world.revive()
    before = desk.world.transactions()
    for _ in range(2):  # the first looks again, the second is told what that found
        with suppress(ProblemError):
            desk.world.pm.resume(digest)
    until(desk.world, digest, "broadcast")
    desk.handed_over(digest)
    desk.signed_once(digest, before)


@pytest.mark.parametrize(
    ("behaves", "amount"), [("refuses", 1_400), ("silent", 1_500), ("another hash", 1_600)]
)
def test_one_whose_relay_fails(desk: Desk, behaves: str, amount: int) -> None:
    """The others' relays have the bytes and hand them over; the first one's is not waited for."""
    before = desk.world.transactions()
    desk.relays[0].tell(behaves=behaves)
    digest = desk.approved(desk.world.allowance(amount))
    tx_hash = told(desk.world, digest, "signed")["data"]["tx_hash"]
    wait_for(lambda: all(tx_hash in each for each in desk.kept()[1:]), desk.kept)
    assert desk.kept()[0] == []
    desk.mined(*desk.relays[1:])
    until(desk.world, digest, "confirmed")
    ways = [each["data"] for each in entries(desk.world, digest) if each["type"].endswith(".broadcast")]
    assert [each["by"] for each in ways] == ["relay"]
    desk.signed_once(digest, before)


def test_all_relays_fail(desk: Desk) -> None:
    """The desk says so, no node has it, and when one relay is back, the same bytes go there."""
    before, noted = desk.world.transactions(), len(refusals(desk.world))
    for relay in desk.relays:
        relay.tell(behaves="refuses")
    digest = desk.approved(desk.world.allowance(1_700))
    tx_hash = told(desk.world, digest, "signed")["data"]["tx_hash"]
    wait_for(lambda: any("relay: " in each["detail"] for each in refusals(desk.world)[noted:]))
    detail = next(each["detail"] for each in refusals(desk.world)[noted:] if "relay: " in each["detail"])
    assert all(name in detail for name in (FIRST, SECOND, THIRD))
    chain = desk.world.chain()
    assert chain.call("eth_getTransactionByHash", f"0x{tx_hash}") is None
    chain.close()
    assert desk.world.transactions() == before
    desk.relays[0].tell(behaves="")
    wait_for(lambda: desk.kept()[0] == [tx_hash], desk.kept)
    desk.mined(desk.relays[0])
    until(desk.world, digest, "confirmed")
    desk.signed_once(digest, before)


def test_what_is_rejected_is_recalled_from_all(desk: Desk) -> None:
    """Each relay forgets the bytes that its observer brought; the cancel is all that anybody ever sees."""
    before = desk.world.transactions()
    digest = desk.approved(desk.world.allowance(1_800))
    first: dict[str, Any] = told(desk.world, digest, "signed")["data"]
    wait_for(lambda: desk.kept() == [[first["tx_hash"]]] * 3, desk.kept)
    desk.world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="a test")
    cancel = told(desk.world, digest, "cancel.signed")["data"]["tx_hash"]
    wait_for(lambda: desk.kept() == [[cancel]] * 3, desk.kept)
    desk.mined(*desk.relays)
    until(desk.world, digest, "cancelled")
    assert desk.world.transactions() == before + 1
    assert {"intent.rejected", "recalled", "cancel.signed"} <= set(story(desk.world, digest))
