"""A lease: the watcher's word, good for seconds, on which set is in force and what is paused.

(1) The trust root's watcher has signed it, it is not from the future, and it has not run out: whoever hears
    nothing of the watcher signs nothing, so silence is a pause.
(2) It is not behind what was heard before: a courier that keeps an older lease back cannot use it to hide a
    pause, a revocation or a newer policy set, once any of the signers has heard of that.
(3) It names the policy set that the evidence ends with: a set that the courier hides is missed here.
(4) Its head is a size that the watcher has cosigned: no ledger that is shorter counts beside it.

What is remembered of it is `pause`'s. A production trust root names a watcher; without one there is no lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Time, Whole, read_time, verify_ed25519
from workbench.rules.pause import SCOPES_MAX, Orders, Scope
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot

LEASE_LINE = "oms-lease/v1"
TTL_S_MAX = 60
"""A watcher that hands out longer ones would make its own silence harmless for as long."""
SKEW_S = 5
"""So far the watcher's clock may be ahead."""


class Paused(Document):
    """A scope, and the epoch at which it was ordered last."""

    scope: Scope
    epoch: Whole


class Head(Document):
    """The newest checkpoint that the watcher has cosigned."""

    size: Whole
    root: Digest


class Lease(Document):
    """FORMATS' lease; each scope in `paused` stands with the epoch of its order."""

    v: Literal[1]
    policy: Digest
    policy_version: Whole
    revocation_epoch: Whole
    pause_epoch: Whole
    paused: Annotated[list[Paused], Field(max_length=SCOPES_MAX)]
    head: Head
    at: Time
    ttl_s: Annotated[int, Field(ge=1, le=TTL_S_MAX)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({each.scope for each in self.paused}) != len(self.paused):
            raise ValueError("a scope stands twice")
        if any(each.epoch > self.pause_epoch for each in self.paused):
            raise ValueError("a scope is paused at an epoch that is not reached")
        return self

    @property
    def scopes(self) -> Mapping[Scope, int]:
        """What is paused, since which epoch."""
        return {each.scope: each.epoch for each in self.paused}

    @property
    def ends_at(self) -> datetime:
        """When it has run out."""
        return read_time(self.at) + timedelta(seconds=self.ttl_s)

    def added_to(self, orders: Orders) -> Orders:
        """Return what is remembered once this was heard."""
        return orders.heard(
            policy_version=self.policy_version,
            revocation_epoch=self.revocation_epoch,
            pause_epoch=self.pause_epoch,
            paused=self.scopes,
        )


class SignedLease(Document):
    """A lease and the watcher's Ed25519 signature."""

    lease: Lease
    signature: Annotated[Hex, Field(max_length=128)]


def verify_lease(signed: SignedLease, *, orders: Orders, trust_root: TrustRoot, now: datetime) -> Lease:
    """(1) (2) Return a lease that holds now and is not behind what is remembered."""
    lease = signed.lease
    if trust_root.watcher is None:
        raise RefusedError(Refusal.LEASE_MISSING, "the trust root names no watcher")
    verify_ed25519(trust_root.watcher, signed.signature, LEASE_LINE, lease.canonical(), what="lease")
    if read_time(lease.at) > now + timedelta(seconds=SKEW_S):
        raise RefusedError(Refusal.LEASE_STALE, f"a lease of {lease.at}, ahead of my clock")
    if now >= lease.ends_at:
        raise RefusedError(Refusal.LEASE_STALE, f"a lease of {lease.at}, for {lease.ttl_s} s")
    behind = [
        f"{name} {got}, heard of {had}"
        for name, got, had in (
            ("policy version", lease.policy_version, orders.policy_version),
            ("revocation epoch", lease.revocation_epoch, orders.revocation_epoch),
            ("pause epoch", lease.pause_epoch, orders.pause_epoch),
        )
        if got < had
    ]
    if behind:
        raise RefusedError(Refusal.LEASE_BEHIND, "; ".join(behind))
    return lease


def verify_names(lease: Lease, policy: PolicySet) -> None:
    """(3) Refuse a policy set that is not the one the watcher knows to be in force."""
    if (lease.policy, lease.policy_version) != (policy.digest, policy.manifest.version):
        raise RefusedError(
            Refusal.LEASE_OTHER_POLICY,
            f"the lease names version {lease.policy_version}, the evidence ends with"
            f" {policy.manifest.version}",
        )


def verify_not_shorter(lease: Lease, *, size: int) -> None:
    """(4) Refuse a ledger head below the one that the watcher has cosigned."""
    if size < lease.head.size:
        raise RefusedError(
            Refusal.HEAD_BEHIND, f"checkpoint of {size} entries, the watcher has cosigned {lease.head.size}"
        )
