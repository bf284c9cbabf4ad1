"""The sources of prices that an observer is configured with, each read in its own way.

* `aggregator`: `latestRoundData()` and `decimals()` of a contract, by proven calls.
* `pool`: the mean over a window of a Uniswap v3 pool, from proven observations. That its tokens are the pair
  is the configuration's word.
* `signed`: a document that a key signed, from a file or over HTTP.

A source that gives no quote does not stop the others: the reason takes its place. Chain facts stand under the
quorum's header; a node that lies about one is out, as everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from workbench.chain.errors import ChainError
from workbench.chain.fork import Forks
from workbench.chain.node import Node
from workbench.chain.nodes import Agreed, Nodes, NoQuorumError
from workbench.chain.observations import proven_mean
from workbench.chain.proven_call import View, proven_calls
from workbench.evm.fields import address_bytes
from workbench.evm.header import Header
from workbench.process import fetch
from workbench.process.config import ConfigError
from workbench.process.fetch import FetchError
from workbench.risk import aggregator, twap
from workbench.risk.errors import RiskError
from workbench.risk.prices import Quote
from workbench.risk.venue import Venue
from workbench.rules.codes import RefusedError
from workbench.rules.documents import read_time
from workbench.rules.price_feed import FEED_BYTES_MAX, SOURCES_MAX, Missing, ToldQuote, verify_feed

FETCH_S: Final = 3.0
# A fork that has to be started first takes seconds on a loaded machine.
CALL_S: Final = 20.0
REASON_MAX: Final = 200
Kind = Literal["aggregator", "pool", "signed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregator:
    """A contract with rounds."""

    name: str
    base: str
    quote: str
    address: str
    decimals: int
    kind: Kind = "aggregator"

    def read(self, nodes: Nodes, agreed: Agreed, forks: Forks) -> Quote:
        """Return the latest round's quote."""
        calls = [View(self.address, data) for data in (aggregator.LATEST_ROUND, aggregator.DECIMALS)]

        def ask(node: Node) -> list[bytes | None]:
            return proven_calls(forks, node, agreed.header, calls)

        answer, decimals = nodes.first(agreed, ask, seconds=CALL_S)
        if answer is None or decimals is None:
            raise ChainError("it reverts")
        return aggregator.read(
            self.name,
            base=self.base,
            quote=self.quote,
            answer=answer,
            decimals_said=decimals,
            decimals=self.decimals,
            block_time=_time(agreed.header),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMean:
    """A pool, one of whose tokens stands for the base and the other for the quote."""

    name: str
    base: str
    quote: str
    factory: str
    token_base: str
    token_quote: str
    fee: int
    decimals_base: int
    decimals_quote: int
    window_s: int
    quiet_s_max: int
    kind: Kind = "pool"

    @property
    def venue(self) -> Venue:
        """The pool itself."""
        return Venue.of(self.factory, self.token_base, self.token_quote, self.fee)

    def read(self, nodes: Nodes, agreed: Agreed, _: Forks) -> Quote:
        """Return the mean price of the window before the agreed block."""
        venue = self.venue

        def ask(node: Node) -> twap.Mean:
            return proven_mean(
                node, agreed.header, venue, window_s=self.window_s, quiet_s_max=self.quiet_s_max
            )

        mean = nodes.first(agreed, ask, seconds=CALL_S)
        first = venue.zero_for_one(self.token_base)
        decimals = (self.decimals_base, self.decimals_quote)
        one, other = decimals if first else decimals[::-1]
        return Quote(
            source=self.name,
            base=self.base,
            quote=self.quote,
            price=twap.price(mean.tick, decimals0=one, decimals1=other, of_token0=first),
            at=_time(agreed.header),
            detail=f"mean of {self.window_s} s, last trade {mean.newest_age_s} s before",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A document at a path or an address, and whose key signs it."""

    name: str
    base: str
    quote: str
    key: str
    place: str
    kind: Kind = "signed"

    def read(self, *_: object) -> Quote:
        """Return the quote that the document is."""
        if self.place.startswith("/"):
            raw = fetch.read(Path(self.place), limit=FEED_BYTES_MAX)
        else:
            raw = fetch.get(self.place, limit=FEED_BYTES_MAX, timeout_s=FETCH_S)
        told = verify_feed(raw, public_key=self.key, base=self.base, quote=self.quote)
        return Quote(
            source=self.name,
            base=self.base,
            quote=self.quote,
            price=Decimal(told.price),
            at=read_time(told.at),
            detail=f"signed by {self.key[:12]}",
        )


Feed = Aggregator | PoolMean | Signed
_KINDS: Final[Mapping[str, Callable[..., Feed]]] = {
    "aggregator": Aggregator,
    "pool": PoolMean,
    "signed": Signed,
}


def configured(value: object) -> tuple[Feed, ...]:
    """Return the feeds of a configuration, or refuse to start with them."""
    if not isinstance(value, list) or len(value) > SOURCES_MAX:
        raise ConfigError(f"feeds: a list of at most {SOURCES_MAX} is expected")
    feeds = tuple(_feed(each) for each in value)
    if len({each.name for each in feeds}) != len(feeds):
        raise ConfigError("feeds: two of one name")
    # One contract, pool or key under two names would count twice.
    if len({_origin(each) for each in feeds}) != len(feeds):
        raise ConfigError("feeds: one source under two names")
    return feeds


def quotes_of(
    feeds: Sequence[Feed], nodes: Nodes, agreed: Agreed, forks: Forks
) -> tuple[list[ToldQuote], list[Missing]]:
    """Return each feed's quote, or why there is none."""
    told, missing = [], []
    for feed in feeds:
        try:
            quote = feed.read(nodes, agreed, forks)
        except NoQuorumError:
            raise
        except (ChainError, RiskError, RefusedError, FetchError) as error:
            missing.append(Missing(source=feed.name, reason=_printed(str(error))))
        else:
            told.append(
                ToldQuote(
                    source=feed.name,
                    kind=feed.kind,
                    price=_written(quote.price),
                    at=quote.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    detail=_printed(quote.detail),
                )
            )
    return told, missing


def _feed(value: Any) -> Feed:  # noqa: ANN401  # the JSON edge
    fields = dict(value) if isinstance(value, dict) else {}
    kind = fields.pop("kind", None)
    try:
        feed = _KINDS[kind](**fields)
        ToldQuote(source=feed.name, kind=feed.kind, price="1", at="2026-01-01T00:00:00.000000Z", detail="")
        _check(feed)
    except (KeyError, TypeError, ValueError, FetchError) as error:
        raise ConfigError(f"feeds: {value!r:.200}: {error!s:.200}") from error
    return feed


def _check(feed: Feed) -> None:
    if isinstance(feed, Aggregator):
        address_bytes(feed.address)
        if type(feed.decimals) is not int or not 0 <= feed.decimals <= aggregator.DECIMALS_MAX:
            raise ValueError(f"{feed.decimals!r} decimals")
    elif isinstance(feed, PoolMean):
        _ = feed.venue.address
        twap.price(0, decimals0=feed.decimals_base, decimals1=feed.decimals_quote, of_token0=True)
        if not twap.WINDOW_S_MIN <= feed.window_s <= twap.WINDOW_S_MAX or feed.quiet_s_max < 1:
            raise ValueError(f"a window of {feed.window_s} s")
    else:
        if len(bytes.fromhex(feed.key)) != 32:  # noqa: PLR2004  # an Ed25519 key
            raise ValueError("not an Ed25519 key")
        if not feed.place.startswith("/"):
            fetch.check(feed.place)


def _origin(feed: Feed) -> tuple[str, str, str]:
    if isinstance(feed, Aggregator):
        origin = feed.address
    else:
        origin = feed.venue.address if isinstance(feed, PoolMean) else feed.key
    return origin, feed.base, feed.quote


def _time(header: Header) -> datetime:
    return datetime.fromtimestamp(header.timestamp, tz=UTC)


def _written(price: Decimal) -> str:
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _printed(text: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in text[:REASON_MAX])
