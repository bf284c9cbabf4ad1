"""Prices as the observer signs them: every source by its own way, and a source that fails by its name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical, parse
from tests.chain.compiled import calldata, compiled
from tests.chain.trio import Trio, trio
from tests.chain.world import World
from tests.observer.conftest import TestKey, observing
from tests.observer.test_process import trust_root
from tests.rules.build import refused
from workbench.chain.errors import ChainError
from workbench.chain.node import Node
from workbench.chain.nodes import NoQuorumError
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.observer.core import Document, Observer
from workbench.observer.feeds import configured
from workbench.process.config import ConfigError
from workbench.rules.attestation import Statement
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.price_feed import PRICE_LINE, PriceQuestion, Quotes, verify_quotes
from workbench.rules.trust import TrustRoot

QUESTION = PriceQuestion(base="ETH", quote="USD")
NAMES = ("node-1", "node-2", "node-3")


@dataclass
class Sources:
    """An aggregator, a pool and a signed file of one pair, and an observer that reads them."""

    world: World
    observer: Observer
    aggregator: str
    file: Path
    key: TestKey

    def sign(self, price: str, *, line: str = PRICE_LINE, age_s: float = 1, **other: Any) -> None:
        """Have the file say this price."""
        document = {"v": 1, "base": "ETH", "quote": "USD", "price": price}
        document |= {"at": write_time(datetime.now(UTC) - timedelta(seconds=age_s))} | other
        signature = self.key.sign(signed_bytes(line, canonical(document))).hex()
        self.file.write_bytes(canonical({"document": document, "signature": signature}))

    def told(self) -> Quotes:
        """Return what the observer signs, as somebody reads it who has its key and nothing else."""
        told = parse(canonical(self.observer.prices("ETH", "USD")), limit=2**20)
        return read(told, self.observer)


def read(told: Document, observer: Observer, later_s: float = 0, **root: Any) -> Quotes:
    """Verify a statement."""
    believed = TrustRoot.load(trust_root(observer.signer.public_key) | root)
    now = datetime.now(UTC) + timedelta(seconds=later_s)
    return verify_quotes(
        [Statement.load(told)], question=QUESTION, trust_root=believed, now=now, age_s_max=60
    ).statements[0]


def feeds_of(world: World, aggregator: str, file: Path, key: TestKey) -> list[Document]:
    """Return the configuration of three sources."""
    deployment, pair = world.deployment, {"base": "ETH", "quote": "USD"}
    return [
        {"kind": "aggregator", "name": "rounds", **pair, "address": aggregator, "decimals": 8},
        {
            "kind": "pool",
            "name": "newswap",
            **pair,
            "factory": deployment.factory,
            "token_base": deployment.weth,
            "token_quote": deployment.usdc,
            "fee": 500,
            "decimals_base": 18,
            "decimals_quote": 6,
            "window_s": 1800,
            "quiet_s_max": 86_400,
        },
        {"kind": "signed", "name": "desk-feed", **pair, "key": key.public_key.hex(), "place": str(file)},
    ]


def prepared(world: World) -> str:
    """Deploy an aggregator that says $2,501, and let an hour pass; return its address."""
    made = world.create(compiled("feeds.sol")["Aggregator"], b="8")
    world.node.call("evm_setNextBlockTimestamp", world.node.head().timestamp + 3600)
    moment = world.node.head().timestamp + 3600
    data = calldata("put", ("int256", str(2501 * 10**8)), ("uint64", str(moment)))
    chain.send(world.node, sender=newswap.DEPLOYER, to=made, data=data)
    return made


@pytest.fixture
def sources(fresh_world: World, tmp_path: Path) -> Sources:
    """Give three sources that agree."""
    key, file = TestKey(), tmp_path / "price.json"
    contract = prepared(fresh_world)
    feeds = configured(feeds_of(fresh_world, contract, file, key))
    made = observing(fresh_world, {"node-1": fresh_world.node})
    found = Sources(fresh_world, replace(made, feeds=feeds), contract, file, key)
    found.sign("2499.5")
    return found


def test_three_sources(sources: Sources) -> None:
    """An aggregator, a pool's mean and a signed file say a price each, at one block."""
    told = sources.told()
    prices = {each.source: float(each.price) for each in told.quotes}
    assert set(prices) == {"rounds", "newswap", "desk-feed"}
    assert (prices["rounds"], prices["desk-feed"]) == (2501.0, 2499.5)
    assert abs(prices["newswap"] - 2500) < 0.25
    assert told.missing == []
    assert told.block.hash == sources.world.node.head().hash().hex()


def _unsigned(sources: Sources) -> None:
    sources.key = TestKey()
    sources.sign("2499.5")


def _gone(sources: Sources) -> None:
    sources.file.unlink()


def _changed(sources: Sources) -> None:
    sources.file.write_bytes(sources.file.read_bytes().replace(b"2499.5", b"9499.5"))


FAULTS: dict[str, tuple[Callable[[Sources], object], str]] = {
    "another key": (_unsigned, "signature"),
    "no file": (_gone, "No such file"),
    "a changed figure": (_changed, "signature"),
    "another line": (lambda sources: sources.sign("2499.5", line="oms-header/v1"), "signature"),
    "another pair": (lambda sources: sources.sign("2499.5", base="BTC"), "a price of BTC/USD"),
    "zero": (lambda sources: sources.sign("0"), "a price of 0"),
    "a negative": (lambda sources: sources.sign("-1"), "not a decimal price"),
    "an exponent": (lambda sources: sources.sign("1e5"), "not a decimal price"),
    "leading zeros": (lambda sources: sources.sign("02499"), "not a decimal price"),
    "another script's digits": (lambda sources: sources.sign("٣"), "not a decimal price"),
    "more fields": (lambda sources: sources.sign("1", note="x"), "Extra inputs"),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_a_source_that_fails(sources: Sources, fault: Callable[[Sources], object], said: str) -> None:
    """It is missing by its name, with the reason, and the others are told all the same."""
    fault(sources)
    told = sources.told()
    assert {each.source for each in told.quotes} == {"rounds", "newswap"}
    ((source, reason),) = [(each.source, each.reason) for each in told.missing]
    assert source == "desk-feed"
    assert said in reason


def test_what_a_courier_changes(sources: Sources) -> None:
    """Neither a figure nor a missing source can be changed, nor another key or an old statement pass."""
    honest = sources.observer.prices("ETH", "USD")
    for name, value in (("quotes", []), ("base", "BTC"), ("at", "2030-01-01T00:00:00.000000Z")):
        changed = {**honest, "document": {**honest["document"], name: value}}
        with refused(Refusal.SIGNATURE):
            read(changed, sources.observer)
    with refused(Refusal.ATTESTATION_STALE):
        read(honest, sources.observer, later_s=61)
    with refused(Refusal.FACT_MISSING):
        read(honest, sources.observer, observer_quorum=2)
    with refused(Refusal.CHAIN_OTHER):
        read(honest, sources.observer, chain_id=1)
    other = Statement.load(honest)
    with refused(Refusal.FACT_MISSING):
        verify_quotes(
            [other],
            question=PriceQuestion(base="BTC", quote="USD"),
            trust_root=TrustRoot.load(trust_root(sources.observer.signer.public_key)),
            now=datetime.now(UTC),
            age_s_max=60,
        )


def test_a_pair_that_nobody_tells(sources: Sources) -> None:
    """Without a configured source there is no statement."""
    with pytest.raises(ChainError, match="no source of 'BTC'/'USD'"):
        sources.observer.prices("BTC", "USD")


@pytest.fixture
def three(fresh_world: World, tmp_path: Path) -> Iterator[tuple[Trio, str]]:
    """Give three nodes with one history, and the aggregator on their chain."""
    contract = prepared(fresh_world)
    with trio(fresh_world, tmp_path) as made:
        yield made, contract


def lie(method: str, _: list[Any], result: Any) -> Any:
    """Lie about what contracts keep."""
    return "0x" + (9 * 10**11).to_bytes(32).hex() if method == "eth_getStorageAt" else result


def test_nodes_that_lie(three: tuple[Trio, str], tmp_path: Path) -> None:
    """One of three is out by its name and the price is the true one; of two there is no statement."""
    made, contract = three
    nodes = {name: Node(liar.url) for name, liar in zip(NAMES, made.liars, strict=True)}
    looking = observing(made.world, nodes, quorum=2, clock=lambda: 0.0)
    feeds = configured(feeds_of(made.world, contract, tmp_path / "none", TestKey())[:1])
    looking = replace(looking, feeds=feeds)
    made.liars[1].lie = lie
    for _ in NAMES:
        told = read(looking.prices("ETH", "USD"), looking)
        assert [each.price for each in told.quotes] == ["2501"]
    assert [each["document"]["node"] for each in looking.journal.after("", 0)] == ["node-2"]
    looking.nodes.close()
    made.liars[0].lie = made.liars[2].lie = lie
    # by other connections: what was told before, and proven, is kept for a fork of the same block
    nodes = {name: Node(liar.url) for name, liar in zip(NAMES, made.liars, strict=True)}
    looking = replace(observing(made.world, nodes, quorum=2, clock=lambda: 0.0), feeds=feeds)
    with pytest.raises(NoQuorumError):
        looking.prices("ETH", "USD")
    looking.nodes.close()


CONFIGS: dict[str, Callable[[list[Document]], Any]] = {
    "no list": lambda _: {},
    "no kind": lambda feeds: [{**feeds[0], "kind": "rumour"}],
    "one name twice": lambda feeds: [feeds[0], {**feeds[2], "name": feeds[0]["name"]}],
    "one contract under two names": lambda feeds: [feeds[0], {**feeds[0], "name": "other"}],
    "one key under two names": lambda feeds: [feeds[2], {**feeds[2], "name": "other", "place": "/x"}],
    "a field more": lambda feeds: [{**feeds[0], "weight": 2}],
    "a field less": lambda feeds: [{key: feeds[0][key] for key in list(feeds[0])[:-1]}],
    "no address": lambda feeds: [{**feeds[0], "address": "0x1"}],
    "decimals of nothing": lambda feeds: [{**feeds[0], "decimals": 77}],
    "a window of a second": lambda feeds: [{**feeds[1], "window_s": 1}],
    "no key": lambda feeds: [{**feeds[2], "key": "ab"}],
    "an address with a password": lambda feeds: [{**feeds[2], "place": "http://a:b@c/"}],
    "a name that is none": lambda feeds: [{**feeds[2], "name": "Desk Feed"}],
}


@pytest.mark.parametrize("change", CONFIGS.values(), ids=CONFIGS)
def test_feeds_that_cannot_be_configured(sources: Sources, change: Callable[[list[Document]], Any]) -> None:
    """The observer does not start with a source that it could not read, or that would count twice."""
    feeds = feeds_of(sources.world, sources.aggregator, sources.file, sources.key)
    assert len(configured(feeds)) == 3
    with pytest.raises(ConfigError, match="feeds"):
        configured(change(feeds))
