"""A pool that somebody has pushed: its own price says nothing is lost, three sources say eight percent.

Everything is real: a pool on a chain, an observer that reads six signed feeds, a service, a co-signer with
its token. First the honest service asks and refuses to release; then its evidence is in a liar's hands, and
the co-signer refuses by itself. The observer's statements are genuine, also those that do not suffice.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical, parse
from tests.cosigner.test_gate import UNHURRIED, Courier, Evidence
from tests.world import COSIGNER, Living, living, refused
from workbench.client import IntentView
from workbench.demo import node as anvil
from workbench.demo.newswap import DEPLOYER
from workbench.demo.run import market
from workbench.demo.world import OBSERVER, SERVICE
from workbench.desk import drafts, review
from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE, encode
from workbench.evm.transaction import SignedTransaction
from workbench.process.frames import call
from workbench.rules import shown_worth
from workbench.rules.documents import DOCUMENT_MAX, signed_bytes, write_time
from workbench.rules.intent import Intent
from workbench.rules.price_feed import PRICE_LINE

LOSS_BPS_MAX = 100
LIMIT = {
    "loss_bps_max": LOSS_BPS_MAX,
    "quote": "USD",
    "sources_min": 3,
    "age_s_max": 600,
    "deviation_bps_max": 100,
}
NAMES = ("alpha", "beta", "gamma")
BASES = ("ETH", "USDC")
BEFORE = Decimal(2500)
PUSHED = Decimal(2720)
AMOUNT = Decimal(1000)
SLOT0 = bytes.fromhex("3850c7bd")
STEP = 2 * 10**12
QUANTUM = Fraction(1, 10**18)


@dataclass
class Desk:
    """A living desk under a set that demands prices, and the keys of its observer's six feeds."""

    world: Living
    folder: Path
    keys: Mapping[tuple[str, str], Ed25519PrivateKey]

    def say(self, base: str, price: Decimal | str, *, age_s: float = 3, only: str | None = None) -> None:
        """Have the sources of a pair say a price, or one of them alone."""
        at = write_time(datetime.now(UTC) - timedelta(seconds=age_s))
        document = {"v": 1, "base": base, "quote": "USD", "price": str(price), "at": at}
        for name in NAMES if only is None else (only,):
            signature = self.keys[name, base].sign(signed_bytes(PRICE_LINE, canonical(document))).hex()
            place = self.folder / f"{name}-{base}"
            place.write_bytes(canonical({"document": document, "signature": signature}))

    def fall_silent(self, name: str, base: str) -> None:
        """Have one source say nothing."""
        (self.folder / f"{name}-{base}").unlink()

    def push(self) -> Decimal:
        """Buy WETH as a stranger until the pool says 2,720 dollars; return what it says then."""
        deployment, node = self.world.world.deployment, self.world.chain()
        approve = encode(APPROVE, {"spender": deployment.router, "amount": str(10**30)})
        anvil.send(node, sender=DEPLOYER, to=deployment.usdc, data=approve)
        price = BEFORE
        while price < PUSHED:
            params = {
                "tokenIn": deployment.usdc,
                "tokenOut": deployment.weth,
                "fee": str(deployment.fee),
                "recipient": DEPLOYER,
                "deadline": str(2**40),
                "amountIn": str(STEP),
                "amountOutMinimum": "0",
                "sqrtPriceLimitX96": "0",
            }
            bought = encode(EXACT_INPUT_SINGLE, {"params": params})
            anvil.send(node, sender=DEPLOYER, to=deployment.router, data=bought)
            root = int.from_bytes(node.eth_call(deployment.pool, SLOT0, "latest")[:32])
            price = Decimal(10**12 * 2**192) / Decimal(root**2)
        node.close()
        return price

    def draft(self, mid: Decimal) -> drafts.Tranche:
        """Draft a swap of a thousand USDC and its allowance."""
        return drafts.draft_swap(
            drafts.Market.of(market(self.world.world)),
            "pm-1",
            amount_in=AMOUNT,
            mid=mid,
            slippage_bps_max=40,
            purpose="a test of worth",
        )

    def outside(self) -> tuple[str, int]:
        """Return what a refusal must not change outside the service."""
        return self.world.memory(), self.world.transactions()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Give a desk whose set demands prices, with its pool pushed and a stranger's profit waiting."""
    folder = tmp_path_factory.mktemp("feeds")
    keys = {(name, base): Ed25519PrivateKey.generate() for name in NAMES for base in BASES}
    with living(second_key=("risk-1",), limits=UNHURRIED | {"worth": LIMIT}) as world:
        path = world.world.places.root(OBSERVER) / "config.json"
        config = json.loads(path.read_text())
        config["feeds"] = [
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
        world.stack.stop_one(OBSERVER)
        path.write_text(json.dumps(config))
        world.stack.start(OBSERVER)
        yield Desk(world, folder, keys)


@dataclass
class Pushed:
    """A swap in the pushed pool: approved, and not released."""

    desk: Desk
    swap: Intent
    price: Decimal

    @property
    def view(self) -> IntentView:
        """What the service says of it."""
        return self.desk.world.pm.intent(self.swap.digest)


@pytest.fixture(scope="module")
def pushed(desk: Desk) -> Pushed:
    """Give a swap that people have approved while nobody could say what it is worth."""
    for person in ("risk-1", "pm-1", "auditor-1"):
        desk.world.officer(person)
    # no source says anything yet: what gives nothing in exchange needs no price
    price = desk.push()
    tranche = desk.draft(price)
    assert desk.world.push(tranche.allowance).state == "confirmed"
    unpriced = desk.outside()
    view = desk.world.outstanding(tranche.swap)
    assert "worth_loss_bps" in view.missing
    problem = refused("fact_missing", lambda: desk.world.approve(view.digest), path="/facts/worth_loss_bps")
    assert "ETH/USD: 0 of 3 sources agree" in str(problem)
    assert desk.outside() == unpriced
    return Pushed(desk, tranche.swap, price)


def one_liar(desk: Desk) -> None:
    """One of three says what the pool says."""
    desk.say("ETH", BEFORE)
    desk.say("ETH", PUSHED, only="gamma")


def one_stale(desk: Desk) -> None:
    """One of three is old."""
    desk.say("ETH", BEFORE)
    desk.say("ETH", BEFORE, age_s=700, only="beta")


def one_silent(desk: Desk) -> None:
    """One of three says nothing."""
    desk.say("ETH", BEFORE)
    desk.fall_silent("alpha", "ETH")


UNPRICED = [
    pytest.param(one_liar, "ETH/USD: 2 of 3 sources agree (gamma-eth: 8", id="one lies, and is named"),
    pytest.param(one_stale, "ETH/USD: 2 of 3 sources agree (beta-eth: 70", id="one is stale"),
    pytest.param(one_silent, "ETH/USD: 2 of 3 sources agree", id="one is silent"),
]


@pytest.mark.parametrize(("said", "says"), UNPRICED)
def test_nothing_is_released_without_a_price(pushed: Pushed, said: Callable[[Desk], None], says: str) -> None:
    """The refusal names the pair and the source; nothing is released, nothing signed."""
    desk, before = pushed.desk, pushed.desk.outside()
    desk.say("USDC", "1")
    said(desk)
    problem = refused(
        "fact_missing", lambda: desk.world.pm.resume(pushed.swap.digest), path="/facts/worth_loss_bps"
    )
    assert says in str(problem)
    assert pushed.view.state == "outstanding"
    assert desk.outside() == before


def test_a_pushed_pool_is_refused_at_release(pushed: Pushed) -> None:
    """The pool says that next to nothing is lost; three sources say eight percent: denied by name."""
    desk, before = pushed.desk, pushed.desk.outside()
    desk.say("ETH", BEFORE)
    desk.say("USDC", "1")
    for _ in range(2):  # the first resume looks again; the second is told what that found
        view = desk.world.pm.resume(pushed.swap.digest)
        assert (view.state, list(view.denying), list(view.missing)) == ("outstanding", ["exchange.worth"], [])
    slippage = view.simulated.slippage_bps
    assert slippage is not None
    assert slippage <= 10
    world = desk.world.world
    markup = review.transaction(desk.world.pm, view.digest, world.places.trust_root).outcome().markup
    assert shown_worth.LABEL in markup
    assert re.search(r"[89]\.\d\d %, limit 1\.00 %", markup)
    assert desk.outside() == before


class Weighing(Courier):
    """A service that lies about worth: its evidence is genuine, from a moment of fair prices."""

    def __init__(self, pushed: Pushed) -> None:
        """Let the sources say what the pool says, and the co-signer die on receipt of the evidence."""
        desk, world = pushed.desk, pushed.desk.world
        self.world, self.desk = world, desk
        desk.say("ETH", pushed.price.quantize(Decimal("0.01")))
        desk.say("USDC", "1")
        world.pm.simulate(pushed.swap.digest)
        world.stack.kill(COSIGNER)
        world.stack.start(COSIGNER, crash_at="4-received")
        refused("unavailable", lambda: world.approve(pushed.swap.digest))
        world.stack.wait_for_end(COSIGNER)
        world.stack.kill(SERVICE)
        world.stack.start(COSIGNER)
        blobs = world.world.places.root("service") / "blobs"
        newest = max(blobs.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        self.evidence: Evidence = parse(newest.read_bytes(), limit=DOCUMENT_MAX)
        assert self.evidence["intent"] == pushed.swap.digest

    def attested(self, base: str) -> dict[str, Any]:
        """Return what the genuine observer attests of a pair at this moment."""
        request = {"v": 1, "operation": "prices", "base": base, "quote": "USD"}
        answer: dict[str, Any] = call(self.world.world.places.socket(OBSERVER), request, timeout_s=60)
        statement: dict[str, Any] = answer["result"]
        return statement

    def requote(self, evidence: Evidence) -> None:
        """Bring what the observer attests at this moment."""
        evidence["attestations"]["quotes"] = [self.attested(base) for base in BASES]

    def price_of_loss(self, bps: int) -> Fraction:
        """Return the lowest price of ether, to 18 places, at which the swap loses no more than this."""
        moved = self.evidence["attestations"]["fresh"][0]["document"]["deltas"]
        (weth,) = (int(each["amount"]) for each in moved if not each["amount"].startswith("-"))
        exact = Fraction(int(AMOUNT)) * (10_000 - bps) / 10_000 / Fraction(weth, 10**18)
        return ceil(exact / QUANTUM) * QUANTUM

    def say_exactly(self, price: Fraction) -> None:
        """Have the sources of ether say a price of 18 places."""
        whole, places = divmod(price.numerator * (10**18 // price.denominator), 10**18)
        self.desk.say("ETH", f"{whole}.{places:018}")


@pytest.fixture(scope="module")
def courier(pushed: Pushed) -> Weighing:
    """Give evidence in a liar's hands."""
    return Weighing(pushed)


def no_quotes(_: Weighing, e: Evidence) -> None:
    """The service leaves out what it was told."""
    e["attestations"]["quotes"] = []


def no_field(_: Weighing, e: Evidence) -> None:
    """The service speaks as if there were no such thing."""
    del e["attestations"]["quotes"]


def one_pair(_: Weighing, e: Evidence) -> None:
    """A stablecoin is passed off as worth one."""
    e["attestations"]["quotes"] = e["attestations"]["quotes"][:1]


def other_pair(_: Weighing, e: Evidence) -> None:
    """Another pair's prices in the place of one's."""
    usdc = e["attestations"]["quotes"][1]
    e["attestations"]["quotes"] = [usdc, usdc]


def bent_price(_: Weighing, e: Evidence) -> None:
    """The observer's words are changed."""
    e["attestations"]["quotes"][0]["document"]["quotes"][0]["price"] = "2500"


def by_nobody(_: Weighing, e: Evidence) -> None:
    """An observer that the trust root does not know."""
    e["attestations"]["quotes"][0]["observer"] = "observer-9"


def really(said: Callable[[Desk], None]) -> Callable[[Weighing, Evidence], None]:
    """Return a lie made of what the observer really attests while the sources say this."""

    def lie(c: Weighing, e: Evidence) -> None:
        c.desk.say("USDC", "1")
        said(c.desk)
        c.requote(e)

    return lie


def below_the_limit(c: Weighing, e: Evidence) -> None:
    """The smallest price step below the limit: a basis point too much."""
    c.desk.say("USDC", "1")
    c.say_exactly(c.price_of_loss(LOSS_BPS_MAX) - QUANTUM)
    c.requote(e)


Lie = Callable[[Weighing, Evidence], None]
LIES: list[tuple[str, Lie, tuple[int, str], str]] = [
    ("no quotes", no_quotes, (6, "fact_missing"), "ETH/USD: 0 of 1 observers"),
    ("no such field", no_field, (0, "malformed"), "/attestations/quotes"),
    ("a stablecoin without quotes", one_pair, (6, "fact_missing"), "USDC/USD: 0 of 1 observers"),
    ("another pair", other_pair, (6, "fact_missing"), "ETH/USD: 0 of 1 observers"),
    ("a bent price", bent_price, (6, "signature_invalid"), "ETH/USD"),
    ("an observer of nobody's", by_nobody, (6, "observer_unknown"), "observer-9"),
    ("one of three lies", really(one_liar), (6, "fact_missing"), "gamma-eth: 8"),
    ("one of three is stale", really(one_stale), (6, "fact_missing"), "beta-eth: 70"),
    ("one of three is silent", really(one_silent), (6, "fact_missing"), "2 of 3 sources"),
    (
        "a pushed pool, released by a liar",
        really(lambda desk: desk.say("ETH", BEFORE)),
        (6, "policy_denied"),
        "exchange.worth",
    ),
    ("a basis point too much", below_the_limit, (6, "policy_denied"), "exchange.worth"),
]


@pytest.mark.parametrize(("lie", "expected", "says"), [pytest.param(*each[1:], id=each[0]) for each in LIES])
def test_step_6_the_co_signer_weighs_by_itself(
    courier: Weighing, lie: Lie, expected: tuple[int, str], says: str
) -> None:
    """A lie about worth is refused by name and leaves no trace."""
    evidence, before = copy.deepcopy(courier.evidence), courier.memory()
    lie(courier, evidence)
    answer = courier.hand_over(evidence).answer
    assert answer.refused is not None
    assert (answer.refused.step, answer.refused.code) == expected, answer.refused.detail
    assert says in answer.refused.detail
    assert (answer.raw_tx, answer.signature) == (None, None)
    assert courier.memory() == before


def test_at_the_limit_it_is_signed(courier: Weighing) -> None:
    """The lowest price at which the loss is the limit: nothing else was in the way of a signature."""
    courier.desk.say("USDC", "1")
    courier.say_exactly(courier.price_of_loss(LOSS_BPS_MAX))
    evidence = copy.deepcopy(courier.evidence)
    courier.requote(evidence)
    answer = courier.hand_over(evidence).answer
    assert answer.refused is None, answer.refused
    signed = SignedTransaction.parse(bytes.fromhex(answer.raw_tx or ""))
    assert signed.unsigned.encode().hex() == evidence["unsigned_tx"]
