"""A price that somebody signs, and what an observer signs of the prices that it read.

(1) A feed's document names pair, price and moment; it is signed with Ed25519 under `oms-price/v1`, by the key
    that the observer's configuration names for that feed. How it came, by file or by HTTP, proves nothing.
(2) A price is written in one way: decimal, without sign, exponent or leading zeros, at most 18 places.
(3) An observer's statement, `oms-quotes/v1`, has every quote of a pair at one block, and each source that is
    configured and gave none, with the reason: a source does not go missing in silence.
(4) Whoever needs a price verifies the statements of as many observers as the trust root demands, and lets the
    quotes agree by `workbench.risk.prices`: nobody's median is believed.
(5) Several observers must tell of the same pair; what they say of one source counts once (`risk.prices`).

Left out: that a quote is true. An observer says which answers it got, as it says what a simulation gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from workbench.risk.prices import Quote
from workbench.rules.attestation import Block, Statement, Timed, verify_statements
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Document,
    Hex,
    Name,
    Symbol,
    Time,
    Whole,
    read_time,
    verify_ed25519,
)
from workbench.rules.trust import TrustRoot

PRICE_LINE = "oms-price/v1"
QUOTES_LINE = "oms-quotes/v1"
FEED_BYTES_MAX = 4096
SOURCES_MAX = 32
PLACES = 18


def _decimal(value: str) -> str:
    whole, point, places = value.partition(".")
    written = value.isascii() and whole.isdigit() and (whole == "0" or not whole.startswith("0"))
    if point:
        written = written and places.isdigit() and len(places) <= PLACES
    if not written or len(whole) > PLACES + 1:
        raise ValueError("not a decimal price")
    return value


PriceText = Annotated[str, AfterValidator(_decimal)]
Printed = Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")]


class FeedPrice(Document):
    """What `oms-price/v1` signs."""

    v: Literal[1]
    base: Symbol
    quote: Symbol
    price: PriceText
    at: Time


class SignedPrice(Document):
    """A feed's document and its signature."""

    document: FeedPrice
    signature: Hex


class PriceQuestion(Document):
    """A pair."""

    base: Symbol
    quote: Symbol


class ToldQuote(Document):
    """What a source said: its price, of which moment, and how it was read."""

    source: Name
    kind: Literal["aggregator", "pool", "signed"]
    price: PriceText
    at: Time
    detail: Printed


class Missing(Document):
    """A source that gave no quote, and why."""

    source: Name
    reason: Printed


class Quotes(Timed):
    """What `oms-quotes/v1` signs: a pair at a block, with every source that is configured for it."""

    v: Literal[1]
    chain_id: Whole
    block: Block
    base: Symbol
    quote: Symbol
    quotes: Annotated[list[ToldQuote], Field(max_length=SOURCES_MAX)]
    missing: Annotated[list[Missing], Field(max_length=SOURCES_MAX)]


@dataclass(frozen=True, slots=True)
class Told:
    """Verified statements of a pair, one an observer."""

    statements: tuple[Quotes, ...]

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """What every source told every observer, as `risk.prices.agree` takes it."""
        return tuple(_quote(each, statement) for statement in self.statements for each in statement.quotes)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The sources that gave no observer a quote."""
        told = {each.source for statement in self.statements for each in statement.quotes}
        absent = {each.source: each for statement in self.statements for each in statement.missing}
        return tuple(each for source, each in sorted(absent.items()) if source not in told)


def _quote(told: ToldQuote, statement: Quotes) -> Quote:
    return Quote(
        source=told.source,
        base=statement.base,
        quote=statement.quote,
        price=Decimal(told.price),
        at=read_time(told.at),
        detail=told.detail,
    )


def verify_feed(raw: bytes, *, public_key: str, base: str, quote: str) -> FeedPrice:
    """Return what a feed signed of this pair, or refuse (1)."""
    told = SignedPrice.read(raw, limit=FEED_BYTES_MAX)
    document = told.document
    verify_ed25519(public_key, told.signature, PRICE_LINE, document.canonical(), what="price feed")
    if (document.base, document.quote) != (base, quote):
        raise RefusedError(Refusal.FACT_MISSING, f"a price of {document.base}/{document.quote}")
    return document


def verify_quotes(
    statements: Sequence[Statement],
    *,
    question: PriceQuestion,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> Told:
    """Verify that the observers attest, lately, what sources said of this pair (4)."""
    told = verify_statements(
        statements, QUOTES_LINE, Quotes, trust_root=trust_root, now=now, age_s_max=age_s_max
    )
    for each in told:
        if each.chain_id != trust_root.chain_id:
            raise RefusedError(Refusal.CHAIN_OTHER, f"quotes at a block of chain {each.chain_id}")
        if (each.base, each.quote) != (question.base, question.quote):
            raise RefusedError(Refusal.FACT_MISSING, f"quotes of {each.base}/{each.quote}")
    return Told(tuple(told))
