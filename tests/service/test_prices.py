"""A price by way of the service: verified and agreed on here, and the ledger stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical
from tests.rules.build import refused as refuses
from tests.world import Living, living, refused
from workbench.client import Client, SeenPrice
from workbench.demo.world import OBSERVER
from workbench.desk import prices
from workbench.risk.errors import PriceError
from workbench.risk.prices import Gates
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.price_feed import PRICE_LINE

NAMES = ("alpha", "beta", "gamma", "delta", "silent")
GATES = Gates(age_s_max=60, deviation_bps_max=100)


@dataclass
class Told:
    """A living desk whose observer reads five signed files, and the keys behind them."""

    desk: Living
    folder: Path
    keys: dict[str, Ed25519PrivateKey]

    def say(self, name: str, price: str, *, age_s: float = 3) -> None:
        """Have a source say a price."""
        at = write_time(datetime.now(UTC) - timedelta(seconds=age_s))
        document = {"v": 1, "base": "ETH", "quote": "USD", "price": price, "at": at}
        signature = self.keys[name].sign(signed_bytes(PRICE_LINE, canonical(document))).hex()
        (self.folder / name).write_bytes(canonical({"document": document, "signature": signature}))

    def seen(self, client: Client | None = None, gates: Gates = GATES) -> SeenPrice:
        """Have a client read the price."""
        speaks = client or self.desk.pm
        return prices.price(speaks, "ETH", "USD", trust_root=self.desk.world.trust_root, gates=gates)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Give a desk with prices."""
    folder = tmp_path_factory.mktemp("prices")
    keys = {name: Ed25519PrivateKey.generate() for name in NAMES}
    with living() as desk:
        path = desk.world.places.root(OBSERVER) / "config.json"
        config = json.loads(path.read_text())
        config["feeds"] = [
            {
                "kind": "signed",
                "name": name,
                "base": "ETH",
                "quote": "USD",
                "key": key.public_key().public_bytes_raw().hex(),
                "place": str(folder / name),
            }
            for name, key in keys.items()
        ]
        desk.stack.stop_one(OBSERVER)
        path.write_text(json.dumps(config))
        desk.stack.start(OBSERVER)
        yield Told(desk, folder, keys)


@pytest.fixture(autouse=True)
def spoken(told: Told) -> None:
    """Have four say nearly the same; the fifth says nothing."""
    for name, price in zip(NAMES, ("2500", "2501.5", "2503", "2502"), strict=False):
        told.say(name, price)


def test_the_median_of_four(told: Told) -> None:
    """Whoever may read gets the median with its spread, and who said nothing; the ledger stays."""
    with told.desk.unchanged(refusals=0):
        seen = told.seen(told.desk.officer("auditor-1").speaks)
    assert (seen.price.median, seen.price.spread_bps) == (Decimal("2501.75"), 12)
    assert [each.source for each in seen.told.missing] == ["silent"]
    assert "1 ETH is 2,501.75 USD: the median of 4 sources, 12 bp apart; 1 left out." in prices.sentence(seen)


def test_a_liar_and_a_straggler(told: Told) -> None:
    """One whose decimals are wrong is left out by its name; when another is stale too, there is no price."""
    told.say("delta", "250200000")
    seen = told.seen()
    assert [(each.quote.source, each.reason) for each in seen.price.left_out] == [
        ("delta", "10^5 times the median: wrong decimals")
    ]
    assert seen.price.median == Decimal("2501.5")
    told.say("alpha", "2500", age_s=100)
    with pytest.raises(PriceError, match=r"2 of 3 sources agree .*alpha: 10\d s old"):
        told.seen()


@dataclass(slots=True)
class Between(Client):
    """A client whose service changes what the observer has said."""

    change: Callable[[dict[str, Any]], object] = lambda _: None

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """Return the true answer, changed."""
        answer = Client.post(self, path, value)
        self.change(answer["told"][0])
        return answer


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], Refusal]] = {
    "another price": (lambda told: told["document"]["quotes"][0].update(price="9"), Refusal.SIGNATURE),
    "a quote left out": (lambda told: told["document"]["quotes"].pop(), Refusal.SIGNATURE),
    "another observer": (lambda told: told.update(observer="eve"), Refusal.OBSERVER_UNKNOWN),
    "something beside it": (lambda told: told.update(median="9"), Refusal.MALFORMED),
}


@pytest.mark.parametrize(("change", "code"), LIES.values(), ids=LIES)
def test_a_service_that_lies(told: Told, change: Callable[[dict[str, Any]], object], code: Refusal) -> None:
    """The client refuses by itself what the service has changed."""
    honest = told.desk.pm
    with refuses(code):
        told.seen(Between(honest.service, honest.key, honest.certified, change))


def test_what_is_refused(told: Told) -> None:
    """A pair without sources, and a question that is none, are refused and recorded."""
    root = told.desk.world.trust_root
    with told.desk.unchanged(refusals=2):
        refused("unavailable", lambda: told.desk.pm.prices("BTC", "USD", trust_root=root, gates=GATES))
        refused("malformed", lambda: told.desk.pm.post("/v1/prices", {"base": "eth"}), path="/base")


def test_the_table(told: Told) -> None:
    """Each source has its price, age and deviation, and what became of it."""
    told.say("delta", "9000")
    markup = prices.shown(told.seen()).markup
    for text in ("LEFT OUT: 25,", "NO QUOTE: No such file", "signed by", "+0.0\u00a0bp", "2,501.50"):
        assert text in markup, text
    (told.folder / "shown.html").write_text(markup)
