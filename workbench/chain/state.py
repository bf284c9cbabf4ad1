"""Accounts and slots with their proofs, checked against the state root of a re-hashed header before use.

The node's own figures beside the proof are never read: a node that lies about a balance can only send a proof
that does not verify. Which header to believe is the caller's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.chain.errors import NodeError
from workbench.chain.node import Json, Node
from workbench.evm.errors import ProofError
from workbench.evm.fields import to_rpc
from workbench.evm.header import Header
from workbench.evm.proof import Account, verify_account, verify_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenAccount:
    """An account under a state root, and the proof that convinces others too."""

    address: str
    account: Account
    proof: tuple[bytes, ...]

    def document(self) -> dict[str, Json]:
        """Return the account as it travels beside an attestation."""
        return {
            "address": self.address,
            "nonce": self.account.nonce,
            "balance": str(self.account.balance),
            "storage_root": self.account.storage_root.hex(),
            "code_hash": self.account.code_hash.hex(),
            "proof": [node.hex() for node in self.proof],
        }


def proven_account(node: Node, header: Header, address: str) -> ProvenAccount:
    """Return the account that the header's state root proves, or raise."""
    return proven_slots(node, header, address, [])[0]


def proven_slots(
    node: Node, header: Header, address: str, slots: Sequence[bytes]
) -> tuple[ProvenAccount, dict[bytes, tuple[int, tuple[bytes, ...]]]]:
    """Return an account and, of each of its slots, the value and the proof under the account's own root."""
    answer = node.call("eth_getProof", address, [to_rpc(slot) for slot in slots], hex(header.number))
    told = answer if isinstance(answer, dict) else {}
    proof = _nodes(node, address, told.get("accountProof"))
    storage = told.get("storageProof") if slots else []
    if not isinstance(storage, list) or len(storage) != len(slots):
        raise NodeError(f"{address}: not one proof for each of {len(slots)} slots")
    try:
        account = verify_account(header.state_root, address, proof)
        values = {}
        for slot, each in zip(slots, storage, strict=True):
            nodes = _nodes(node, address, each.get("proof") if isinstance(each, dict) else None)
            values[slot] = verify_storage(account.storage_root, slot, nodes), nodes
    except ProofError as error:
        raise NodeError(f"{address} at block {header.number}: the node's proof fails: {error}") from error
    return ProvenAccount(address=address, account=account, proof=proof), values


def _nodes(node: Node, address: str, told: Json) -> tuple[bytes, ...]:
    if not isinstance(told, list):
        raise NodeError(f"{address}: an answer without a proof")
    return tuple(node.read_hex(each) for each in told)
