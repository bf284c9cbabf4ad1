"""What a Safe's slots say: a whole reading, and each way in which slots are none of a Safe's."""

from itertools import pairwise
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.evm.test_safe import SORTED
from workbench.evm import safe_storage
from workbench.evm.carriers import NOBODY
from workbench.evm.errors import SafeError
from workbench.evm.fields import checksummed
from workbench.evm.safe import OWNERS_MAX
from workbench.evm.safe_storage import Holding

MODULE, SINGLETON = checksummed(b"\x0d" * 20), checksummed(b"\x51" * 20)


def of(mapping: bytes, name: str) -> bytes:
    """Return the slot of a name in a list, as the language's documentation says it."""
    return keccak(bytes(12) + bytes.fromhex(name[2:]) + mapping)


def linked(mapping: bytes, names: list[str]) -> dict[bytes, int]:
    """Return a list's slots."""
    ring = [safe_storage.SENTINEL, *names, safe_storage.SENTINEL]
    return {of(mapping, at): int(after, 16) for at, after in pairwise(ring)}


def values(changed: dict[bytes, int] | None = None, without: bytes | None = None) -> dict[bytes, int]:
    """Return what a Safe of three owners and a module holds, with changes."""
    held = {
        safe_storage.SINGLETON: int(SINGLETON, 16),
        safe_storage.OWNER_COUNT: 3,
        safe_storage.THRESHOLD: 2,
        safe_storage.NONCE: 9,
        safe_storage.GUARD: 0,
        safe_storage.FALLBACK: int(MODULE, 16),
        **linked(safe_storage.OWNERS, SORTED[:3]),
        **linked(safe_storage.MODULES, [MODULE]),
        **(changed or {}),
    }
    return {slot: value for slot, value in held.items() if slot != without}


def test_a_whole_reading() -> None:
    """Each value comes out under its name, lists in their order."""
    assert Holding.read(values()) == Holding(
        singleton=SINGLETON,
        owners=tuple(SORTED[:3]),
        threshold=2,
        nonce=9,
        guard=NOBODY,
        fallback_handler=MODULE,
        modules=(MODULE,),
    )


def test_the_slots_to_ask_for_are_those_that_are_read() -> None:
    """No more, no fewer."""
    assert set(safe_storage.slots(owners=SORTED[:3], modules=[MODULE])) == set(values())


@pytest.mark.parametrize("slot", sorted(values()), ids=lambda slot: slot.hex()[:8])
def test_a_slot_that_was_not_proven(slot: bytes) -> None:
    """Any missing slot refuses the whole; none is taken for empty."""
    with pytest.raises(SafeError, match=f"slot {slot.hex()} was not proven"):
        Holding.read(values(without=slot))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({safe_storage.THRESHOLD: 0}, "threshold of 0", id="nobody must sign"),
        pytest.param({safe_storage.THRESHOLD: 4}, "threshold of 4", id="more must sign than own"),
        pytest.param({safe_storage.OWNER_COUNT: 4}, "4 counted", id="an owner counted, not listed"),
        pytest.param({safe_storage.OWNER_COUNT: 2}, "2 counted", id="an owner listed, not counted"),
        pytest.param(
            {of(safe_storage.OWNERS, SORTED[2]): int(SORTED[0], 16)}, "each once", id="a list in a circle"
        ),
        pytest.param({of(safe_storage.OWNERS, SORTED[2]): 0}, NOBODY, id="a list into nothing"),
        pytest.param({of(safe_storage.MODULES, safe_storage.SENTINEL): 0}, NOBODY, id="modules not set up"),
        pytest.param({safe_storage.GUARD: 1 << 160}, "is no address", id="more than an address"),
    ],
)
def test_slots_that_are_no_safes(changed: dict[bytes, int], said: str) -> None:
    """What the contract cannot have written is refused."""
    with pytest.raises(SafeError, match=said):
        Holding.read(values(changed))


@pytest.mark.parametrize(
    ("mapping", "most", "more"),
    [
        pytest.param(safe_storage.OWNERS, OWNERS_MAX, {safe_storage.THRESHOLD: 1}, id="owners"),
        pytest.param(safe_storage.MODULES, safe_storage.MODULES_MAX, {}, id="modules"),
    ],
)
def test_lists_end(mapping: bytes, most: int, more: dict[bytes, int]) -> None:
    """A list may have so many names and not one more."""
    names = [checksummed(number.to_bytes(20)) for number in range(100, 101 + most)]
    counted: dict[bytes, Any] = {safe_storage.OWNER_COUNT: most} if mapping == safe_storage.OWNERS else {}
    Holding.read(values(linked(mapping, names[:most]) | counted | more))
    with pytest.raises(SafeError, match="at most"):
        Holding.read(values(linked(mapping, names) | counted | more))


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        (safe_storage.GUARD_TEXT, safe_storage.GUARD),
        (safe_storage.FALLBACK_TEXT, safe_storage.FALLBACK),
    ],
    ids=["guard", "fallback handler"],
)
def test_hashed_slots_are_those_of_their_texts(text: str, slot: bytes) -> None:
    """A constant has its preimage beside it."""
    assert keccak(text.encode()) == slot
