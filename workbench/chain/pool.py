"""A pool's state as a node proves it under an agreed header: as many ticks as one swap needs, and no more.

Which slots to ask for is `workbench.risk.layout`'s business, from the values proven so far: the spacing of
the fee, price and liquidity, then word by word of ticks in the swap's direction until the swap fits. A node
that lies about one of them, leaves one out or sends more than it was asked for gives a `NodeError`. That
there is no such pool, or that the swap needs too many slots, is nobody's lie: it is proven, and a
`ChainError`.
"""

from dataclasses import dataclass
from typing import Final

from workbench.chain.errors import ChainError, NodeError
from workbench.chain.node import Json, Node
from workbench.chain.state import ProvenAccount, proven_slots
from workbench.evm.header import Header
from workbench.risk.errors import RiskError
from workbench.risk.layout import Slot, wanted
from workbench.risk.venue import Venue
from workbench.rules.storage import SLOTS_MAX

# Proofs of 256 slots in the largest storage there is; with their hex they must fit an answer of 4 MiB.
PROOFS_BYTES_MAX: Final = 1536 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenPool:
    """The factory's and the pool's accounts, and the proof of each slot."""

    accounts: tuple[ProvenAccount, ...]
    proofs: dict[Slot, tuple[bytes, ...]]

    def document(self) -> dict[str, Json]:
        """Return everything as it travels beside an attestation."""
        slots = [
            {"account": slot.address, "slot": slot.key.hex(), "proof": [node.hex() for node in proof]}
            for slot, proof in self.proofs.items()
        ]
        return {"accounts": [each.document() for each in self.accounts], "slots": slots}


def proven_pool(
    node: Node, header: Header, venue: Venue, *, amount_in: int, zero_for_one: bool
) -> ProvenPool:
    """Return proofs of everything that this swap depends on."""
    accounts: dict[str, ProvenAccount] = {}
    values: dict[Slot, int] = {}
    proofs: dict[Slot, tuple[bytes, ...]] = {}
    while slots := _wanted(venue, values, amount_in, zero_for_one):
        if len(values) + len(slots) > SLOTS_MAX:
            raise ChainError(f"this swap depends on more than {SLOTS_MAX} slots of {venue.address}")
        for address in dict.fromkeys(slot.address for slot in slots):
            keys = [slot.key for slot in slots if slot.address == address]
            accounts[address], proven = proven_slots(node, header, address, keys)
            values |= {Slot(address, key): value for key, (value, _) in proven.items()}
            proofs |= {Slot(address, key): proof for key, (_, proof) in proven.items()}
        size = sum(len(each) for proof in proofs.values() for each in proof)
        if size > PROOFS_BYTES_MAX:
            raise NodeError(f"proofs of {size} bytes for {len(proofs)} slots")
    return ProvenPool(accounts=tuple(accounts.values()), proofs=proofs)


def _wanted(
    venue: Venue,
    values: dict[Slot, int],
    amount_in: int,
    zero_for_one: bool,  # noqa: FBT001  # as in `swap`
) -> list[Slot]:
    try:
        return wanted(venue, values, amount_in=amount_in, zero_for_one=zero_for_one)
    except RiskError as error:
        raise ChainError(str(error)) from error
