"""What a Safe 1.4.1 holds, read from its storage: who owns it, how many must sign, who else may move funds.

(1) The slots are the contract's: small numbers in the order of its variables, two hashes of a text, and one
    slot for each name in a list that is linked from a sentinel and ends there.
(2) Lists are followed slot by slot. A slot that was not proven is refused, never taken for empty; so are an
    owner twice, another number of owners than the Safe counts, and a threshold beyond them.
(3) A slot of an address holds one: anything above its twenty bytes is refused.

Which slots to ask for needs the lists, which is why `slots` takes what a node claims they are: a wrong claim
lacks a slot and is refused, it cannot lengthen or shorten what is read. Left out: hashes approved and
messages signed on chain, which `workbench.rules.safe` makes worthless or impossible. Pure; whoever has the
values has proven them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from eth_hash.auto import keccak

from workbench.evm.carriers import NOBODY, WORD
from workbench.evm.errors import SafeError
from workbench.evm.fields import ADDRESS_BYTES, address_bytes, checksummed
from workbench.evm.safe import OWNERS_MAX

SENTINEL: Final = checksummed((1).to_bytes(ADDRESS_BYTES))
MODULES_MAX: Final = 16
SINGLETON: Final = (0).to_bytes(WORD)
MODULES: Final = (1).to_bytes(WORD)
OWNERS: Final = (2).to_bytes(WORD)
OWNER_COUNT: Final = (3).to_bytes(WORD)
THRESHOLD: Final = (4).to_bytes(WORD)
NONCE: Final = (5).to_bytes(WORD)
APPROVED_HASHES: Final = (8).to_bytes(WORD)
GUARD_TEXT: Final = "guard_manager.guard.address"
GUARD: Final = bytes.fromhex("4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8")
FALLBACK_TEXT: Final = "fallback_manager.handler.address"
FALLBACK: Final = bytes.fromhex("6c9a6c4a39284e37ed1cf53d337577d14212a4870fb976a4366c693b939918d5")
_ALONE: Final = (SINGLETON, OWNER_COUNT, THRESHOLD, NONCE, GUARD, FALLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a Safe holds at one block; `NOBODY` where there is no guard or handler."""

    singleton: str
    owners: tuple[str, ...]
    threshold: int
    nonce: int
    guard: str
    fallback_handler: str
    modules: tuple[str, ...]

    @classmethod
    def read(cls, values: Mapping[bytes, int]) -> Self:
        """Return what proven slots say, or raise."""
        owners = tuple(_listed(values, OWNERS, OWNERS_MAX))
        threshold, count = _value(values, THRESHOLD), _value(values, OWNER_COUNT)
        if not 1 <= threshold <= len(owners) == count:  # (2)
            raise SafeError(f"{len(owners)} owners listed, {count} counted, a threshold of {threshold}")
        return cls(
            singleton=_address(_value(values, SINGLETON)),
            owners=owners,
            threshold=threshold,
            nonce=_value(values, NONCE),
            guard=_address(_value(values, GUARD)),
            fallback_handler=_address(_value(values, FALLBACK)),
            modules=tuple(_listed(values, MODULES, MODULES_MAX)),
        )


def slots(*, owners: Iterable[str], modules: Iterable[str]) -> list[bytes]:
    """Return the slots to have proven, if these are the owners and modules."""
    return [
        *_ALONE,
        *(_of(OWNERS, each) for each in (SENTINEL, *owners)),
        *(_of(MODULES, each) for each in (SENTINEL, *modules)),
    ]


def approval_slot(owner: str, digest: bytes) -> bytes:
    """Return the slot that says whether an owner has approved a hash on chain: a simulation writes there."""
    return keccak(digest + _of(APPROVED_HASHES, owner))


def _of(mapping: bytes, name: str) -> bytes:
    return keccak(address_bytes(name).rjust(WORD, b"\0") + mapping)


def _listed(values: Mapping[bytes, int], mapping: bytes, limit: int) -> Iterator[str]:
    seen = {SENTINEL}
    at = _address(_value(values, _of(mapping, SENTINEL)))
    while at != SENTINEL:
        # a list that runs in a circle, or into nothing, is none of the contract's
        if at in seen or at == NOBODY or len(seen) > limit:
            raise SafeError(f"the list goes to {at} after {len(seen) - 1}, at most {limit} and each once")
        seen.add(at)
        yield at
        at = _address(_value(values, _of(mapping, at)))


def _value(values: Mapping[bytes, int], slot: bytes) -> int:
    if slot not in values:  # (2)
        raise SafeError(f"slot {slot.hex()} was not proven")
    return values[slot]


def _address(word: int) -> str:
    if word >> 8 * ADDRESS_BYTES:  # (3)
        raise SafeError(f"{word:#x} is no address")
    return checksummed(word.to_bytes(ADDRESS_BYTES))
