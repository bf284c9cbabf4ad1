"""A price that somebody signs, and what an observer signs of the prices that it read.

(1) A feed's document names pair, price and moment; it is signed with Ed25519 under `oms-price/v1`, by the key
    that the observer's configuration names for that feed. How it came, by file or by HTTP, proves nothing.
(2) A price is written in one way: decimal, without sign, exponent or leading zeros, at most 18 places.
(3) An observer's statement, `oms-quotes/v1`, has every quote of a pair at one block, and each source that is
    configured and gave none, with the reason: a source does not go missing in silence.
(4) Whoever needs a price verifies the statements of as many observers as the trust root demands, and lets the
    quotes of each agree by `workbench.risk.prices`: nobody's median is believed.
(5) Several observers must tell of the same pair. The sources of each, by themselves, come to a price, and
    these lie no further apart than a source may from the median. In one heap, an observer that dates its
    quotes a second later than the others would have replaced all that these were told. A source that is said
    to have two prices at one moment counts for nobody.

Left out: that a quote is true. An observer says which answers it got, as it says what a simulation gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from workbench.risk.errors import PriceError
from workbench.risk.prices import Gates, Price, Quote, agree, deviation_bps
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
    """Verified statements of a pair, one an observer, and their observers' names in the same order."""

    statements: tuple[Quotes, ...]
    observers: tuple[str, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The sources that gave no observer a quote."""
        told = {each.source for statement in self.statements for each in statement.quotes}
        absent = {each.source: each for statement in self.statements for each in statement.missing}
        return tuple(each for source, each in sorted(absent.items()) if source not in told)


@dataclass(frozen=True, slots=True)
class Attested:
    """What the sources of one observer come to."""

    observer: str
    price: Price


def agreed(told: Told, *, now: datetime, gates: Gates) -> tuple[Attested, ...]:
    """Return what the sources of each observer come to, near each other, or raise `PriceError` (5)."""
    found = []
    for observer, statement in zip(told.observers, told.statements, strict=True):
        try:
            price = agree(_of_one(statement, told.statements), now=now, **asdict(gates))
        except PriceError as error:
            if len(told.observers) == 1:
                raise
            raise PriceError(f"{observer}: {error}") from error
        found.append(Attested(observer, price))
    low, high = (choose(found, key=lambda each: each.price.median) for choose in (min, max))
    apart = deviation_bps(high.price.median, low.price.median)
    if apart > gates.deviation_bps_max:
        raise PriceError(
            f"by {low.observer} it is {low.price.median:f}, by {high.observer} {high.price.median:f}: "
            f"{ceil(apart):,} bps apart, at most {gates.deviation_bps_max:,}"
        )
    return tuple(found)


def check_alike(statements: Sequence[Statement], *, now: datetime, gates: Gates) -> None:
    """Refuse statements of a pair that do not come to a price together; signatures are not looked at.

    One without a price of its own is of no use and contradicts nobody: that is `unavailable`.
    """
    documents = [Quotes.load(each.document) for each in statements]
    names = [each.observer for each in statements]
    for name, document in zip(names, documents, strict=True):
        _priced(Told((document,), (name,)), Refusal.UNAVAILABLE, now=now, gates=gates)
    _priced(Told(tuple(documents), tuple(names)), Refusal.FACT_MISSING, now=now, gates=gates)


def _priced(told: Told, code: Refusal, *, now: datetime, gates: Gates) -> None:
    try:
        agreed(told, now=now, gates=gates)
    except PriceError as error:
        raise RefusedError(code, f"{told.statements[0].base}/{told.statements[0].quote}: {error}") from error


def _of_one(statement: Quotes, all_of_them: Sequence[Quotes]) -> list[Quote]:
    """Return the quotes of one, and what others say of the same sources at the same moments."""
    moments = {(each.source, each.at) for each in statement.quotes}
    return [
        _quote(each, other)
        for other in all_of_them
        for each in other.quotes
        if other is statement or (each.source, each.at) in moments
    ]


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
    # `verify_statements` keeps one document an observer, in the order of their first statements
    return Told(tuple(told), tuple(dict.fromkeys(each.observer for each in statements)))
