"""What a Safe holds at a block, by proof: its lists, its settings, and the code of all that was pinned.

(1) Who owns it and which modules it has is asked of the Safe, as a claim: it only says which slots to prove.
(2) What counts is read from slots proven under the header's state root; a claim that left somebody out, or
    added one, lacks a slot or ends early, and is refused.

Whether the header is the chain's is the caller's to say, by a quorum of nodes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from workbench.chain.errors import NodeError
from workbench.chain.node import Json, Node
from workbench.chain.state import ProvenAccount, proven_account, proven_slots
from workbench.evm import calldata, safe_storage
from workbench.evm.calldata import Fragment
from workbench.evm.errors import EvmError
from workbench.evm.header import Header
from workbench.evm.known import fragment
from workbench.evm.safe_storage import MODULES_MAX, SENTINEL, Holding
from workbench.rules.safe import Proven

_OWNERS: Final = fragment("getOwners()")
_MODULES: Final = fragment("getModulesPaginated(address start, uint256 pageSize)")
_OWNERS_TOLD: Final = fragment("getOwners(address[] names)")
_MODULES_TOLD: Final = fragment("getModulesPaginated(address[] names, address next)")
"""What the two return, written as what they take, to be read as strictly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeProof:
    """A Safe and other accounts with their proofs, and the proofs of the slots that it was read from."""

    safe: str
    holding: Holding
    accounts: tuple[ProvenAccount, ...]
    slots: dict[bytes, tuple[bytes, ...]]

    @property
    def proven(self) -> Proven:
        """What it says, without its proofs."""
        return Proven(holding=self.holding, accounts={each.address: each.account for each in self.accounts})

    def document(self) -> dict[str, Json]:
        """Return everything as it travels beside an attestation."""
        slots = [
            {"account": self.safe, "slot": slot.hex(), "proof": [node.hex() for node in proof]}
            for slot, proof in self.slots.items()
        ]
        return {"accounts": [each.document() for each in self.accounts], "slots": slots}


def proven_safe(node: Node, header: Header, address: str, *, others: Iterable[str]) -> SafeProof:
    """Return what the Safe at this address holds under this header, with the accounts of these others."""
    page = {"start": SENTINEL, "pageSize": str(MODULES_MAX)}
    owners = _claimed(node, header, address, calldata.encode(_OWNERS, {}), _OWNERS_TOLD)
    modules = _claimed(node, header, address, calldata.encode(_MODULES, page), _MODULES_TOLD)
    try:
        wanted = safe_storage.slots(owners=owners, modules=modules)
        account, values = proven_slots(node, header, address, wanted)  # (2)
        holding = Holding.read({slot: value for slot, (value, _) in values.items()})
    except EvmError as error:
        raise NodeError(f"{address} at block {header.number} is no Safe: {error}") from error
    beside = [proven_account(node, header, each) for each in dict.fromkeys(others) if each != address]
    return SafeProof(
        safe=address,
        holding=holding,
        accounts=(account, *beside),
        slots={slot: proof for slot, (_, proof) in values.items()},
    )


def _claimed(node: Node, header: Header, address: str, data: bytes, told: Fragment) -> list[str]:
    answer = node.eth_call(address, data, hex(header.number))  # (1)
    try:
        names = calldata.decode_arguments(told, answer)["names"]
    except EvmError as error:
        raise NodeError(f"{address} does not answer as a Safe: {error}") from error
    return list(names)
