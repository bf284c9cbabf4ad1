"""The state that a simulation started from, proven: a fork reads its upstream node without proofs.

(1) What the transactions of a run read is what the tracer says they found: the account, or the storage slot,
    as it was before the first of them that touched it. That value was used, not one that is asked for
    afterwards. Several runs from one state must have found the same.
(2) Each of them is compared with a proof under the state root of the header that the fork stands on. The
    proofs may come from any node; the root decides.
(3) One difference, or one value that cannot be proven, and the simulation is not one of this chain: the node
    is named in the error, and nothing is signed.

Left out: the hashes of older blocks that a contract may ask for, and what a contract finds in the two system
contracts that each block writes to (EIP-2935, EIP-4788) behind the first transaction: that is no state of
the header's, and such a simulation is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import Json, Node
from workbench.chain.traced import Found
from workbench.evm.errors import ProofError
from workbench.evm.fields import to_rpc
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

    nonce: int | None
    balance: int
    code_hash: bytes
    slots: dict[bytes, int] = field(default_factory=dict)


def prove_found(
    fork: Node, node: Node, header: Header, runs: Sequence[Sequence[Mapping[str, Found]]]
) -> None:
    """Return if all that was found, transaction by transaction of each run, is under the state root."""
    found: dict[str, _Found] = {}
    for run in runs:
        _merge(found, _first(run))
    slots = sum(len(each.slots) for each in found.values())
    if len(found) > ACCOUNTS_MAX or slots > SLOTS_MAX:
        raise NodeError(f"a prestate of {len(found)} accounts and {slots} slots")
    _fill_nonces(fork, header, found)
    try:
        _compare(node, header, found)
    except NodeError as error:
        # of the node alone: what went wrong on our own fork is no fault of a node's
        raise StateError(str(error)) from error


def without(found: Mapping[str, Found], assumed: Collection[tuple[str, bytes]]) -> dict[str, Found]:
    """Return what was found, but for slots that were written on the fork for the run."""
    return {
        address: replace(
            told, slots={slot: value for slot, value in told.slots.items() if (address, slot) not in assumed}
        )
        for address, told in found.items()
    }


def _first(run: Sequence[Mapping[str, Found]]) -> dict[str, _Found]:  # (1)
    first: dict[str, _Found] = {}
    for transaction in run:
        for address, told in transaction.items():
            if address not in first:
                first[address] = _Found(told.nonce, told.balance, keccak(told.code))
            for slot, value in told.slots.items():
                first[address].slots.setdefault(slot, value)
    return first


def _merge(found: dict[str, _Found], other: Mapping[str, _Found]) -> None:
    for address, each in other.items():
        known = found.setdefault(address, each)
        if known.nonce is None:
            known.nonce = each.nonce
        same = each.nonce in (known.nonce, None)
        same = same and (known.balance, known.code_hash) == (each.balance, each.code_hash)
        if not same or any(
            known.slots.setdefault(slot, value) != value for slot, value in each.slots.items()
        ):
            raise NodeError(f"{address}: two runs from one state found two")


def _fill_nonces(fork: Node, header: Header, found: Mapping[str, _Found]) -> None:
    # The tracer leaves out the nonce of a contract; the fork has read it together with the balance.
    untold = [address for address, each in found.items() if each.nonce is None]
    answers = fork.batch([("eth_getTransactionCount", [each, hex(header.number)]) for each in untold])
    for address, answer in zip(untold, answers, strict=True):
        if isinstance(answer, RpcError):
            raise answer
        found[address].nonce = fork.read_quantity(answer)


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
