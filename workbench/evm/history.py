"""Older blocks, proven from a newer header: the chain keeps the hashes of its last 8,191 blocks in its state.

(1) Since Prague each block writes the hash of the one before it into a system contract (EIP-2935), in a ring
    of slots. The slot of a number, proven under a header's state root, says which block of that number the
    header descends from.
(2) The contract must have the code that the protocol gives it: otherwise its slots mean something else.
(3) Only the blocks of the ring can be told: a number that is not below the header's, or is too far below it,
    is another block's slot.

Pure; the header is believed as far as the caller believes it.
"""

from collections.abc import Sequence
from typing import Final

from workbench.evm.errors import ProofError
from workbench.evm.fields import HASH_BYTES
from workbench.evm.header import Header
from workbench.evm.proof import verify_account, verify_storage

ADDRESS: Final = "0x0000F90827F1C53a10cb7A02335B175320002935"
CODE_HASH: Final = bytes.fromhex("6e49e66782037c0555897870e29fa5e552daf4719552131a0abce779daec0a5d")
WINDOW: Final = 8191


def slot_of(number: int) -> bytes:
    """Return the slot that holds the hash of the block of this number."""
    return (number % WINDOW).to_bytes(HASH_BYTES)


def verify_ancestor(
    header: Header, number: int, *, account_proof: Sequence[bytes], slot_proof: Sequence[bytes]
) -> bytes:
    """Return the hash of the block of this number that the header descends from, or raise."""
    if not 0 < header.number - number <= WINDOW or number < 0:  # (3)
        raise ProofError(f"block {header.number} cannot tell the hash of block {number}")
    account = verify_account(header.state_root, ADDRESS, account_proof)
    if account.code_hash != CODE_HASH:  # (2)
        raise ProofError("this chain does not keep the hashes of its blocks")
    found = verify_storage(account.storage_root, slot_of(number), slot_proof)  # (1)
    if found == 0:
        raise ProofError(f"block {header.number} keeps no hash of block {number}")
    return found.to_bytes(HASH_BYTES)
