"""The state that a simulation started from, proven: a fork reads its upstream node without proofs.

(1) What the transactions of a sequence read is what the tracer says they found: the account, or the storage
    slot, as it was before the first of them that touched it. That value was used, not one that is asked for
    afterwards.
(2) Each of them is compared with a proof under the state root of the header that the fork stands on. The
    proofs may come from any node; the root decides.
(3) One difference, or one value that cannot be proven, and the simulation is not one of this chain: the node
    is named in the error, and nothing is signed.

Left out: the hashes of older blocks that a contract may ask for, and what a contract finds in the two system
contracts that each block writes to (EIP-2935, EIP-4788) behind the first transaction: that is no state of
the header's, and such a simulation is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import Json, Node
from workbench.evm.errors import ProofError
from workbench.evm.fields import HASH_BYTES, checksummed, to_rpc
from workbench.evm.header import Header
from workbench.evm.proof import EMPTY_ROOT, Account, verify_account, verify_storage

# Sequences of swaps touch a few dozen; each slot is a proof of some milliseconds.
ACCOUNTS_MAX: Final = 512
SLOTS_MAX: Final = 4096


class StateError(NodeError):
    """A simulation ran on values that the state root does not have, or that the node does not prove."""


@dataclass(slots=True)
class _Found:
    """An account as the first transaction that touched it found it."""

    nonce: int
    balance: int
    code_hash: bytes
    slots: dict[bytes, int] = field(default_factory=dict)


def prove(fork: Node, node: Node, header: Header, tx_hashes: Sequence[str]) -> None:
    """Return if everything that these transactions of the fork read is under the header's state root."""
    found: dict[str, _Found] = {}
    for tx_hash in tx_hashes:
        traced = fork.call("debug_traceTransaction", tx_hash, {"tracer": "prestateTracer"})
        if not isinstance(traced, dict):
            raise NodeError("a prestate is an object")
        for address, told in traced.items():
            _see(fork, header, found, checksummed(fork.read_hex(address, size=20)), told)
    slots = sum(len(each.slots) for each in found.values())
    if len(found) > ACCOUNTS_MAX or slots > SLOTS_MAX:
        raise NodeError(f"a prestate of {len(found)} accounts and {slots} slots")
    try:
        _compare(node, header, found)
    except NodeError as error:
        # of the node alone: what went wrong on our own fork is no fault of a node's
        raise StateError(str(error)) from error


def _see(fork: Node, header: Header, found: dict[str, _Found], address: str, told: Json) -> None:
    if not isinstance(told, dict):
        raise NodeError("an account's prestate is an object")
    storage = told.get("storage", {})
    if not isinstance(storage, dict):
        raise NodeError("a prestate's storage is an object")
    if address not in found:  # (1)
        # The tracer leaves out the nonce of a contract; the fork has read it together with the balance.
        nonce = told["nonce"] if "nonce" in told else fork.nonce(address, hex(header.number))
        found[address] = _Found(
            nonce=nonce if type(nonce) is int else fork.read_quantity(nonce),
            balance=fork.read_quantity(told.get("balance", "0x0")),
            code_hash=keccak(fork.read_hex(told.get("code", "0x"))),
        )
    known = found[address].slots
    for slot, value in storage.items():
        known.setdefault(
            fork.read_hex(slot, size=HASH_BYTES), int.from_bytes(fork.read_hex(value, size=HASH_BYTES))
        )


def _compare(node: Node, header: Header, found: Mapping[str, _Found]) -> None:  # (2)
    answers = node.batch(
        [
            ("eth_getProof", [address, [to_rpc(slot) for slot in each.slots], hex(header.number)])
            for address, each in found.items()
        ]
    )
    for (address, each), answer in zip(found.items(), answers, strict=True):
        if isinstance(answer, RpcError):
            raise answer
        account = _account(node, header, address, answer)
        if (account.nonce, account.balance, account.code_hash) != (each.nonce, each.balance, each.code_hash):
            raise NodeError(f"{address}: simulated with nonce, balance or code it does not have")  # (3)
        for slot, value in _slots(node, account, address, list(each.slots), answer).items():
            if each.slots[slot] != value:
                raise NodeError(f"{address}: simulated with another value in slot {slot.hex()}")


def _account(node: Node, header: Header, address: str, answer: Json) -> Account:
    proof = answer.get("accountProof") if isinstance(answer, dict) else None
    if not isinstance(proof, list):
        raise NodeError(f"{address}: an answer without a proof")
    try:
        return verify_account(header.state_root, address, [node.read_hex(each) for each in proof])
    except ProofError as error:
        raise NodeError(f"{address} at block {header.number}: the node's proof fails: {error}") from error


def _slots(
    node: Node, account: Account, address: str, asked: Sequence[bytes], answer: Json
) -> dict[bytes, int]:
    if account.storage_root == EMPTY_ROOT:
        return dict.fromkeys(asked, 0)
    told = answer.get("storageProof")
    if not isinstance(told, list) or len(told) != len(asked):
        raise NodeError(f"{address}: not one proof for each slot")
    proven = {}
    for slot, each in zip(asked, told, strict=True):
        proof = each.get("proof") if isinstance(each, dict) else None
        if not isinstance(proof, list):
            raise NodeError(f"{address}: a slot without a proof")
        try:
            nodes = [node.read_hex(one) for one in proof]
            proven[slot] = verify_storage(account.storage_root, slot, nodes)
        except ProofError as error:
            raise NodeError(f"{address}: the proof of a slot fails: {error}") from error
    return proven
