"""One owner of a Safe, whose key is in a token: it judges the transaction itself, then signs it or nothing.

The owner's co-signer is one of several, none of whom counts on another: each has its own token, reads its
own proofs and asks the same rules. What the digest is over is derived here from what was judged; a digest
from elsewhere reaches no key. Left to the caller: its memory, which keeps one nonce from being signed for
twice, and everything that its gate asks of an intent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from workbench.custody.token import Secp256k1Key
from workbench.evm import safe
from workbench.evm.safe import OwnerSignature
from workbench.evm.transaction import address_of
from workbench.evm.tree import Abi
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Pinned, Proposed, Proven, verify_may_sign


def owner_signature(
    key: Secp256k1Key,
    proposed: Proposed,
    *,
    pinned: Pinned,
    proven: Proven,
    approvals: Collection[str],
    abis: Mapping[str, Abi],
) -> OwnerSignature:
    """Return the owner's signature, or refuse before the token is asked."""
    owner = address_of(key.public_key)
    if owner not in pinned.owners:
        raise RefusedError(Refusal.SAFE_OWNER, f"{owner} is no owner of {pinned.safe}")
    verify_may_sign(proposed, pinned=pinned, proven=proven, approvals=approvals, abis=abis)
    digest = proposed.digest()
    return safe.owner_signature(digest, key.sign_digest(digest), key.public_key, owner=owner)
