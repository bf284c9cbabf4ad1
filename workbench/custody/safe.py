"""What an owner's token says, as a Safe reads it: the signature that a co-signer's gate has allowed.

The owner's co-signer is one of several, none of whom counts on another: each has its own token, reads its
own proofs and asks the same rules (`rules.safe`, at its gate) before its token is asked. What the digest is
over is derived from what was judged; a digest from elsewhere reaches no key.
"""

from __future__ import annotations

from workbench.evm import safe
from workbench.evm.safe import OwnerSignature
from workbench.evm.transaction import address_of
from workbench.rules.safe import Proposed


def owner_signature(proposed: Proposed, raw: bytes, public_key: bytes) -> OwnerSignature:
    """Return a token's raw `r ‖ s` as the signature of the owner with this point."""
    return safe.owner_signature(proposed.digest(), raw, public_key, owner=address_of(public_key))
