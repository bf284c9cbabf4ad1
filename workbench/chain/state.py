"""Account facts with their proofs, checked against the state root of a re-hashed header before use.

The node's own figures beside the proof are never read: a node that lies about a balance can only send a proof
that does not verify. Which header to believe is the caller's business.
"""

from dataclasses import dataclass

from workbench.chain.errors import NodeError
from workbench.chain.node import Json, Node
from workbench.evm.errors import ProofError
from workbench.evm.header import Header
from workbench.evm.proof import Account, verify_account


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
    answer = node.call("eth_getProof", address, [], hex(header.number))
    nodes = answer.get("accountProof") if isinstance(answer, dict) else None
    if not isinstance(nodes, list):
        raise NodeError(f"{address}: an answer without a proof")
    proof = tuple(node.read_hex(each) for each in nodes)
    try:
        account = verify_account(header.state_root, address, proof)
    except ProofError as error:
        raise NodeError(f"{address} at block {header.number}: the node's proof fails: {error}") from error
    return ProvenAccount(address=address, account=account, proof=proof)
