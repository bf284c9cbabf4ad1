"""Event logs as columns: thousands a second, and each one checked before anybody counts on it.

(1) A node's answer to `eth_getLogs` becomes one polars frame: block, index, address, up to four topics, data.
    All are bytes or numbers; what a topic means is the reader's business.
(2) Shapes are checked column by column: an address of 20 bytes, topics of 32, at most four of them, a block
    and an index that are quantities, no log that was removed. One wrong log and the node is refused.
(3) A log is a hint: nothing proves that it is there, and nothing that none is missing. Who reads logs of
    several nodes takes all of them together (`union`), and proves every value afterwards.

web3's event classes decode some thousand logs a second; this is for what is read by the ten thousand.
"""

from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from workbench.chain.errors import NodeError
from workbench.chain.node import Json

TOPICS_MAX: Final = 4
# A node's answer is read whole; more logs than this are asked for in smaller ranges.
LOGS_MAX: Final = 200_000
DATA_MAX: Final = 64 * 1024
_TOPICS: Final = tuple(f"topic{place}" for place in range(TOPICS_MAX))
_TEXT: Final = ("address", *_TOPICS, "data", "block", "index")
SCHEMA: Final = {
    "block": pl.UInt64,
    "index": pl.UInt32,
    "address": pl.Binary,
    **dict.fromkeys(_TOPICS, pl.Binary),
    "data": pl.Binary,
}


def logs_to_columns(told: Json) -> pl.DataFrame:
    """Return a node's answer to `eth_getLogs` as columns, or refuse the node."""
    if not isinstance(told, list) or len(told) > LOGS_MAX:
        raise NodeError(f"logs: not a list of at most {LOGS_MAX}")
    try:
        rows = [
            (
                each["address"],
                *each["topics"],
                *(None,) * (TOPICS_MAX - len(each["topics"])),
                each["data"],
                each["blockNumber"],
                each["logIndex"],
            )
            for each in told
            if not each.get("removed")
        ]
        text = pl.DataFrame(rows, schema=dict.fromkeys(_TEXT, pl.String), orient="row", strict=True)
        frame = text.select(
            *(_quantity(name).cast(SCHEMA[name]) for name in ("block", "index")),
            *(_bytes(name) for name in ("address", *_TOPICS, "data")),
        )
    except (KeyError, TypeError, AttributeError, ValueError, pl.exceptions.PolarsError) as error:
        raise NodeError(f"logs: {type(error).__name__}") from None
    if len(rows) != len(told):
        raise NodeError("logs: some that were removed")
    # a quantity without its prefix, or a number that became a text, would be read as another number
    if not text.select(pl.all().str.starts_with("0x").all()).row(0) == (True,) * len(_TEXT):
        raise NodeError("logs: values without 0x")
    _check(frame)
    return frame


def union(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the logs that any of several nodes has told, each once."""
    return pl.concat(list(frames)).unique(maintain_order=False).sort("block", "index", "address")


def _quantity(name: str) -> pl.Expr:
    return pl.col(name).str.strip_prefix("0x").str.to_integer(base=16, dtype=pl.UInt64, strict=True)


def _bytes(name: str) -> pl.Expr:
    return pl.col(name).str.strip_prefix("0x").str.decode("hex", strict=True).alias(name)


def _check(frame: pl.DataFrame) -> None:
    def wrong(name: str, size: int) -> pl.Expr:
        return (pl.col(name).bin.size() != size).any()

    found: dict[str, Any] = frame.select(
        wrong("address", 20).alias("address"),
        *(wrong(name, 32).alias(name) for name in _TOPICS),
        (pl.col("data").bin.size() > DATA_MAX).any().alias("data"),
        pl.col("address").is_null().any().alias("no address"),
        pl.col("data").is_null().any().alias("no data"),
        pl.col("block").is_null().any().alias("no block"),
    ).row(0, named=True)
    if faults := [name for name, is_wrong in found.items() if is_wrong]:
        raise NodeError(f"logs: {', '.join(faults)} of another shape")
