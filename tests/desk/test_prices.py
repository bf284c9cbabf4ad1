"""A price at the desk: each source in its row, on a telephone and a wide page, in light and in dark."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.desk.conftest import Put
from workbench.client import SeenPrice
from workbench.desk import prices
from workbench.risk.prices import Gates, Quote, agree
from workbench.rules.attestation import Block
from workbench.rules.documents import write_time
from workbench.rules.price_feed import Missing, Quotes, Told, ToldQuote

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
GATES = Gates(age_s_max=3600, deviation_bps_max=100)
SAID = [
    ("chainlink", "aggregator", "2501.37", 1200, "round 18446744073709562000"),
    ("newswap-5bp", "pool", "2500.102938475610293847", 4, "mean of 1800 s, last trade 45 s before"),
    ("desk-feed", "signed", "2498.9", 11, "signed by 0123456789ab"),
    ("<b>evil", "signed", "2498900000", 11, "signed by ba9876543210"),
    ("old-feed", "signed", "2497", 9000, "signed by 55aa55aa55aa"),
]


def seen() -> SeenPrice:
    """Return a price with sources of every kind and fate."""
    quotes = [
        Quote(
            source=source,
            base="ETH",
            quote="USD",
            price=Decimal(price),
            at=NOW - timedelta(seconds=age),
            detail=detail,
        )
        for source, _, price, age, detail in SAID
    ]
    told = [
        ToldQuote.model_construct(source=source, kind=kind, price=price, at=write_time(NOW), detail=detail)
        for source, kind, price, _, detail in SAID
    ]
    statement = Quotes.model_construct(
        block=Block(number=18_000_123, hash="ab" * 32),
        base="ETH",
        quote="USD",
        quotes=told,
        missing=[Missing(source="backup", reason="no answer: TimeoutError")],
    )
    price = agree(quotes, now=NOW, age_s_max=3600, deviation_bps_max=100)
    return SeenPrice(price, Told((statement,), ("observer",)), NOW, GATES)


def test_what_it_says() -> None:
    """The median with its spread and its gates; who was left out, and why; nobody's markup is the page's."""
    markup = prices.shown(seen()).markup
    assert prices.sentence(seen()) == (
        "1 ETH is 2,500.10 USD: the median of 3 sources, 10 bp apart; 3 left out. Read at block 18000123, "
        "12:00:00 UTC; at least 3 sources, at most 3600 s old and 100 bp from the median."
    )
    for text in (
        "LEFT OUT: 10^6 times the median: wrong decimals",
        "LEFT OUT: 9000 s old, at most 3600",
        "NO QUOTE: no answer: TimeoutError",
        "+5.1\u00a0bp",
        "−4.8\u00a0bp",
        "&lt;b&gt;evil",
    ):
        assert text in markup, text
    assert "<b>" not in markup


@pytest.mark.parametrize(
    ("value", "shown"), [("0.000012345678", "0.0000123457"), ("0.5", "0.500000"), ("1", "1.00")]
)
def test_small_prices_are_told_in_full(value: str, shown: str) -> None:
    """A price below one has six digits behind its zeros."""
    assert prices._figure(Decimal(value)) == shown


def test_on_a_page(put: Put) -> None:
    """Nothing is wider than the page, and the table's ink is the page's own."""
    page = put(prices.shown(seen()).markup)
    assert page.locator("td").count() > 0
