"""Where the published contracts keep what a swap depends on, and what proven slots say of a pool.

(1) Of the factory one value is read: the tick spacing of the fee (mapping in slot 4, written once for ever).
(2) Of the pool: slot 0 holds price, tick and, above them, the lock; slot 4 the liquidity; slot 5 maps a tick
    to its liquidity, the net in the upper half of the first word; slot 6 maps a word of 256 ticks to its
    bits.
(3) `read` takes the words in a row around the present tick, as far as they are there, and of each the ticks
    whose bits are set. A tick that is missing is refused: a pool without it would promise a better price.
(4) `wanted` says which slots are still missing for a swap: whoever asks and whoever verifies agree by
    calling the same function.

The values are whatever the caller has proven, by (address, slot); this module asks nobody and proves
nothing.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from eth_hash.auto import keccak

from workbench.evm.fields import HASH_BYTES
from workbench.risk.errors import PoolError, UnknownTicksError
from workbench.risk.pool import WORD_TICKS, Pool, swap, word_of
from workbench.risk.ticks import TICK_MAX
from workbench.risk.venue import Venue

SPACINGS: Final = 4  # of the factory
PRICE: Final = 0  # of the pool, as the rest
LIQUIDITY: Final = 4
TICKS: Final = 5
WORDS: Final = 6
WORDS_AT_ONCE: Final = 16
_PRICE_BITS, _TICK_BITS, _LOCK_BIT = 160, 24, 240


class Slot(NamedTuple):
    """A storage slot of a contract."""

    address: str
    key: bytes


Values = Mapping[Slot, int]


def mapped(position: int, key: int) -> bytes:
    """Return the slot of a mapping's value under an integer key."""
    return keccak(key.to_bytes(HASH_BYTES, signed=key < 0) + position.to_bytes(HASH_BYTES))


def read(venue: Venue, values: Values) -> Pool:
    """Return the pool that these values are, with all words that they cover (3)."""
    spacing, price, tick = _opened(venue, values)
    words = _words(venue, values, word_of(tick, spacing))
    return Pool(
        sqrt_price_x96=price,
        tick=tick,
        liquidity=_value(values, _slot(venue, LIQUIDITY)),
        fee=venue.fee,
        spacing=spacing,
        ticks={each: _net(venue, values, each) for each in _initialised(venue, values, words, spacing)},
        words=words,
    )


def wanted(venue: Venue, values: Values, *, amount_in: int, zero_for_one: bool) -> list[Slot]:
    """Return the slots that are to be proven next for this swap; none when all are there (4)."""
    first = [Slot(venue.factory, mapped(SPACINGS, venue.fee)), _slot(venue, PRICE), _slot(venue, LIQUIDITY)]
    if missing := [slot for slot in first if slot not in values]:
        return missing
    spacing, _, tick = _opened(venue, values)
    words = _words(venue, values, word_of(tick, spacing))
    if not words:
        return [_slot(venue, WORDS, word_of(tick, spacing))]
    ticks = _initialised(venue, values, words, spacing)
    if missing := [slot for slot in (_slot(venue, TICKS, each) for each in ticks) if slot not in values]:
        return missing
    try:
        swap(read(venue, values), amount_in, zero_for_one=zero_for_one)
    except UnknownTicksError:
        # as many again as are known, so that a thin pool does not take a question for each word
        more = min(len(words), WORDS_AT_ONCE)
        next_ones = (
            range(words[0] - more, words[0]) if zero_for_one else range(words[-1] + 1, words[-1] + 1 + more)
        )
        return [_slot(venue, WORDS, each) for each in next_ones]
    return []


def _opened(venue: Venue, values: Values) -> tuple[int, int, int]:
    """Return spacing, price and tick of a pool that exists and is not in the middle of something."""
    spacing = _value(values, Slot(venue.factory, mapped(SPACINGS, venue.fee)))
    packed = _value(values, _slot(venue, PRICE))
    price = packed & (1 << _PRICE_BITS) - 1
    tick = _signed(packed >> _PRICE_BITS & (1 << _TICK_BITS) - 1, _TICK_BITS)
    if not 0 < spacing <= TICK_MAX:
        raise PoolError(f"the factory {venue.factory} has no fee of {venue.fee}")
    if price == 0 or not packed >> _LOCK_BIT & 1:
        raise PoolError(f"the pool {venue.address} has no price")
    return spacing, price, tick


def _words(venue: Venue, values: Values, middle: int) -> range:
    """Return the words in a row around the middle one whose bits are known."""

    def known(word: int) -> bool:
        return _slot(venue, WORDS, word) in values

    first, after = middle, middle
    while known(after):
        after += 1
    while after > middle and known(first - 1):
        first -= 1
    return range(first, after)


def _initialised(venue: Venue, values: Values, words: range, spacing: int) -> list[int]:
    found = []
    for word in words:
        bits = _value(values, _slot(venue, WORDS, word))
        found += [(word * WORD_TICKS + bit) * spacing for bit in range(WORD_TICKS) if bits >> bit & 1]
    return found


def _net(venue: Venue, values: Values, tick: int) -> int:
    packed = _value(values, _slot(venue, TICKS, tick))
    if packed & (1 << 128) - 1 == 0:
        raise PoolError(f"tick {tick} is marked and has no liquidity")
    return _signed(packed >> 128, 128)


def _slot(venue: Venue, position: int, key: int | None = None) -> Slot:
    at = position.to_bytes(HASH_BYTES) if key is None else mapped(position, key)
    return Slot(venue.address, at)


def _value(values: Values, slot: Slot) -> int:
    try:
        return values[slot]
    except KeyError:
        raise UnknownTicksError(f"slot {slot.key.hex()} of {slot.address} is not proven") from None


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
