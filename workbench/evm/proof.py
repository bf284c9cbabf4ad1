"""Merkle-Patricia proofs: from a root that a header carries to one account, slot, receipt or transaction.

(1) The key is computed here from what the caller asks about; a proof for another key proves nothing.
(2) The value is the one under the root; what a node says beside its proof is not an argument of any function
    here.
(3) Absence is a value: an account that the proof excludes is `ABSENT`, a slot is 0. A receipt or transaction
    must exist.
(4) Whatever the trie library raises on a crafted proof means refusal.

Left out: a proof may carry nodes that were not needed. They hash to their own keys and cannot change the
result; their number and size are limited. Pure; only the root is believed, and only as far as its header is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import rlp
from eth_hash.auto import keccak
from trie.hexary import HexaryTrie

from workbench.evm.errors import ProofError
from workbench.evm.fields import HASH_BYTES, address_bytes, uint
from workbench.evm.receipt import Receipt

EMPTY_ROOT: Final = keccak(b"\x80")
EMPTY_CODE_HASH: Final = keccak(b"")
# A path has at most 64 nibbles; a branch node is 17 items of at most 33 bytes, a leaf carries the value
# itself.
NODES_MAX: Final = 65
PROOF_BYTES_MAX: Final = 4 * 1024 * 1024
_ACCOUNT_FIELDS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the state root says about an address."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


ABSENT: Final = Account(nonce=0, balance=0, storage_root=EMPTY_ROOT, code_hash=EMPTY_CODE_HASH)


def verify_account(state_root: bytes, address: str, proof: Sequence[bytes]) -> Account:
    """Return the account under `state_root`, `ABSENT` if the proof excludes it."""
    try:
        key = keccak(address_bytes(address))  # (1)
    except ValueError as error:
        raise ProofError(str(error)) from error
    value = _value(state_root, key, proof)
    if value == b"":
        return ABSENT  # (3)
    return _account(value)


def verify_storage(storage_root: bytes, slot: bytes, proof: Sequence[bytes]) -> int:
    """Return the value of a 32-byte storage slot, 0 if the proof excludes it."""
    if len(slot) != HASH_BYTES:
        raise ProofError(f"a slot has {HASH_BYTES} bytes, got {len(slot)}")
    value = _value(storage_root, keccak(slot), proof)
    if value == b"":
        return 0
    try:
        return uint(rlp.decode(value, strict=True))
    except (rlp.exceptions.RLPException, ValueError) as error:
        raise ProofError(f"not a storage value: {error}") from error


def verify_receipt(receipts_root: bytes, index: int, receipt: bytes, proof: Sequence[bytes]) -> Receipt:
    """Return the receipt read from `receipt`, which must be the bytes at `index` under the root."""
    _verify_bytes(receipts_root, index, receipt, proof)
    return Receipt.parse(receipt)


def verify_transaction(transactions_root: bytes, index: int, raw: bytes, proof: Sequence[bytes]) -> None:
    """Return if `raw` is the transaction at `index` under the root, else raise."""
    _verify_bytes(transactions_root, index, raw, proof)


def prove_index(items: Sequence[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """Return the root over a block's receipts or transactions, and the proof of one of them."""
    if not 0 <= index < len(items):
        raise ProofError(f"there is no item {index} among {len(items)}")
    trie = HexaryTrie({})
    for position, item in enumerate(items):
        trie[_index_key(position)] = item
    nodes = trie.get_proof(_index_key(index))  # type: ignore[no-untyped-call]  # trie's proofs are not annotated
    return trie.root_hash, [cast("bytes", rlp.encode(node)) for node in nodes]


def _verify_bytes(root: bytes, index: int, item: bytes, proof: Sequence[bytes]) -> None:
    if index < 0 or not item:
        raise ProofError(f"no item can stand at {index} with {len(item)} bytes")
    if _value(root, _index_key(index), proof) != item:
        raise ProofError(f"other bytes stand at index {index}")


def _index_key(index: int) -> bytes:
    return cast("bytes", rlp.encode(index))


def _account(value: bytes) -> Account:
    try:
        items = rlp.decode(value, strict=True)
        if not isinstance(items, list) or len(items) != _ACCOUNT_FIELDS:
            raise ProofError("an account has four fields")
        nonce, balance, storage_root, code_hash = items
        account = Account(
            nonce=uint(nonce),
            balance=uint(balance),
            storage_root=bytes(storage_root),
            code_hash=bytes(code_hash),
        )
    except (rlp.exceptions.RLPException, ValueError, TypeError) as error:
        raise ProofError(f"not an account: {error}") from error
    if len(account.storage_root) != HASH_BYTES or len(account.code_hash) != HASH_BYTES:
        raise ProofError("an account's roots have 32 bytes")
    return account


def _value(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes:
    if len(root) != HASH_BYTES:
        raise ProofError(f"a root has {HASH_BYTES} bytes, got {len(root)}")
    if len(proof) > NODES_MAX or sum(map(len, proof)) > PROOF_BYTES_MAX:
        raise ProofError(f"a proof of {len(proof)} nodes, {sum(map(len, proof))} bytes")
    try:
        nodes = [rlp.decode(node, strict=True) for node in proof]
        value: object = HexaryTrie.get_from_proof(root, key, nodes)  # type: ignore[no-untyped-call]  # as above
    except (
        Exception
    ) as error:  # (4) the library raises KeyError, TypeError, RecursionError and its own on crafted nodes
        raise ProofError(f"{type(error).__name__}: {error}") from error
    if not isinstance(value, bytes):
        raise ProofError("the proof leads to a node, not to a value")
    return value
