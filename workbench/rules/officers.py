"""What officers sign beside policy sets: orders that need the same quorum, once by the second path.

An order names the policy set whose officers sign it, and a date: consent without an end would be consent to
whatever the world is then. What an order does is its own module's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.policy import PolicySet, Signature, signed_by_quorum, verify_signature
from workbench.rules.trust import TrustRoot

SKEW_S = 30
"""Whoever drafts an order may be this far ahead of our clock."""


class Order(Protocol):
    """A document that officers sign; `challenge` is what their assertions sign."""

    @property
    def policy(self) -> str:
        """The digest of the policy set whose officers sign."""

    @property
    def reason(self) -> str:
        """What whoever drafted it says."""

    @property
    def expires_at(self) -> str:
        """Until when it counts."""

    @property
    def challenge(self) -> bytes:
        """What is signed; in hex it names the order."""


def verify_signed(
    order: Order, signatures: Sequence[Signature], *, policy: PolicySet, trust_root: TrustRoot, what: str
) -> None:
    """Verify that a quorum of the officers of the policy set in force has signed this."""
    if order.policy != policy.digest:
        raise RefusedError(Refusal.DECISION_OTHER_POLICY, f"{what} is signed under another policy set")
    signed_by_quorum(
        signatures, order.challenge, judge=policy, trust_root=trust_root, second_path=True, what=what
    )


def verify_dated(order: Order, *, policy: PolicySet, now: datetime) -> None:
    """Refuse an order that has run out, or that would count for longer than consent may."""
    expires = read_time(order.expires_at)
    latest = now + timedelta(seconds=policy.limits.decision_life_s_max + SKEW_S)
    if not now < expires <= latest:
        raise RefusedError(Refusal.EXPIRED, f"it counts until {order.expires_at}", path="/expires_at")


def signers(
    order: Order, signatures: Sequence[Signature], *, policy: PolicySet, trust_root: TrustRoot
) -> Mapping[str, str]:
    """Return whose signatures count, and where each was made."""
    found = {}
    for signature in signatures:
        with suppress(RefusedError):
            found[signature.person] = verify_signature(
                signature, order.challenge, judge=policy, trust_root=trust_root
            )
    return found
