"""A price as an aggregator on chain answers it: `latestRoundData()`, what published feeds share.

(1) The answer must be positive, of a round that was answered in itself, and of a moment that is not behind
    the block's own time. Where no round has been completed, the moment is zero.
(2) How many decimals the answer has is what configuration says, and the contract must say the same: a feed
    that was exchanged for one of other decimals is refused, not scaled.

Left out: how old is too old, which is the desk's gate (`prices`); that some aggregators stop at a smallest
and a largest answer, which only other sources show. Pure: the bytes are whatever the caller has proven.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from eth_hash.auto import keccak

from workbench.evm.fields import HASH_BYTES
from workbench.risk.errors import PriceError
from workbench.risk.prices import Quote

LATEST_ROUND: Final = keccak(b"latestRoundData()")[:4]
DECIMALS: Final = keccak(b"decimals()")[:4]
DECIMALS_MAX: Final = 18
_WORDS: Final = 5


def read(
    source: str,
    *,
    base: str,
    quote: str,
    answer: bytes,
    decimals_said: bytes,
    decimals: int,
    block_time: datetime,
) -> Quote:
    """Return the quote that an aggregator's two answers are."""
    if decimals_said != decimals.to_bytes(HASH_BYTES) or decimals > DECIMALS_MAX:  # (2)
        said = decimals_said.hex().lstrip("0")[:20]
        raise PriceError(f"{source}: it has 0x{said} decimals, not {decimals}")
    if len(answer) != _WORDS * HASH_BYTES:
        raise PriceError(f"{source}: an answer of {len(answer)} bytes")
    words = [answer[place : place + HASH_BYTES] for place in range(0, len(answer), HASH_BYTES)]
    round_id, updated, answered = (int.from_bytes(words[place]) for place in (0, 3, 4))
    value = int.from_bytes(words[1], signed=True)
    if value <= 0:  # (1)
        raise PriceError(f"{source}: an answer of {value}")
    if answered < round_id:
        raise PriceError(f"{source}: round {round_id} carries the answer of round {answered}")
    if not 0 < updated <= block_time.timestamp():
        raise PriceError(f"{source}: an answer of second {updated}, the block is of {block_time:%H:%M:%S}")
    return Quote(
        source=source,
        base=base,
        quote=quote,
        price=Decimal(value).scaleb(-decimals),
        at=datetime.fromtimestamp(updated, tz=UTC),
        detail=f"round {round_id}",
    )
