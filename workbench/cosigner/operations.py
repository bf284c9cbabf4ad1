"""What a co-signer decides over operations on keys, on the same ground as over transactions.

(1) A lease that holds and names the policy set; a pause of the key stops what makes an epoch, not its end
(2) the operation lies in the ledger, under a checkpoint that counts and extends my head
(3) the policy set descends from my trust root
(4) a quorum of its officers has signed the operation, one by the second path, and it has not run out
(5) the policy set allows it, and I take part
(7) the epoch is one that was not made here, where one is made
(8) persist; then the process takes part in the run, gives or takes a share, makes a key, or destroys.

An order that has run out makes nothing any more, but a run of it may have come to shares at some. Of who has
none it can be asked to promise never to be ready (`over`): that holds for ever, since no run that has begun
begins again, and lets the others go on. So (1) to (3) and (5) stand as above, and no pause is asked; (4) is
that officers of the set which the order names, one of the chain, have signed it, and that it has run out. Who
carries could end a run of an order that still counts by keeping messages back; by a promise it cannot.

Pure: memory, evidence and `now` in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from workbench.cosigner.ground import (
    GateError,
    Identity,
    extend,
    floored,
    in_force,
    leased,
    proven_entry,
    step,
)
from workbench.cosigner.memory import Head, Snapshot
from workbench.rules import key_operation, officers, recovery
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.key_operation import (
    ORDERED,
    Arrangement,
    KeyOperation,
    OperationEvidence,
    SignedOperation,
)
from workbench.rules.keys import Key, points
from workbench.rules.lease import Lease, verify_names
from workbench.rules.pause import EVERYTHING, KEY, Orders
from workbench.rules.policy import PolicySet
from workbench.rules.recovery import RecoveryOfficer
from workbench.rules.threshold import Basis, Terms

POINT_HEX = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A yes to an operation: what to persist, and what the operation needs beside.

    `made_by` makes the epoch (None, where none is made); `keepers` get a backup of my share; `whole` are the
    public keys of whole keys of mine that go by the name of a key that ends. `listed` is what the policy set
    in force has under the operation's key, `owning` the public keys of all that it lists.
    """

    operation: KeyOperation
    lease: Lease | None
    head: Head
    made_by: Arrangement | None
    keepers: tuple[RecoveryOfficer, ...] = ()
    whole: tuple[str, ...] = ()
    listed: Key | None = None
    owning: frozenset[str] = frozenset()

    def terms(self, orders: Orders, *, share: str | None) -> Terms:
        """Return the terms of the run that makes the epoch."""
        if self.made_by is None:
            raise RefusedError(Refusal.STATE, "no epoch is made")
        parties = list(self.made_by.parties)
        return Terms.load(
            {
                "v": 1,
                "protocol": self.operation.operation,
                "key": self.operation.key,
                "epoch": self.operation.epoch,
                "share": share,
                "subject": self.operation.digest,
                "digest": None,
                "parties": parties,
                "threshold": self.made_by.threshold,
                "signers": list(range(1, len(parties) + 1)),
                "basis": Basis(
                    size=self.head.size,
                    root=self.head.frontier().root().hex(),
                    policy=self.head.policy,
                    policy_version=self.head.policy_version,
                    revocation_epoch=orders.revocation_epoch,
                    pause_epoch=orders.pause_epoch,
                ).dump(),
            }
        )


def decide(
    evidence: OperationEvidence,
    *,
    memory: Snapshot,
    orders: Orders,
    made_to: int,
    identity: Identity,
    now: datetime,
) -> Allowed:
    """Return the permission to take part, or raise GateError with the step and its refusal.

    Args:
        evidence: what the courier brings.
        memory: what this co-signer remembers of the ledger.
        orders: what it has heard of pauses.
        made_to: the latest epoch of this key of which there was a share here.
        identity: what it was given by hand.
        now: its clock.

    """
    operation, now = evidence.ordered.operation, floored(memory, now)
    with _under_lease(evidence, orders, identity, now) as lease:
        head, sets = _ground(evidence, memory, identity, lease, now)
        policy = sets[-1]
        with step(1):
            if lease is not None:
                _free(operation, lease.added_to(orders))
        with step(4):
            _signed(evidence.ordered, policy, identity)
            officers.verify_dated(operation, policy=policy, now=now)
        with step(5):
            _takes_part(operation, policy, identity)
        with step(7):
            if operation.operation in key_operation.MAKING and operation.epoch <= made_to:
                raise RefusedError(
                    Refusal.SHARE, f"epoch {operation.epoch} of {operation.key} was made before"
                )
    return Allowed(
        operation=operation,
        lease=lease,
        head=head,
        made_by=_made_by(operation, policy, identity),
        keepers=tuple(recovery.keepers(policy.recovery.values(), operation.key, identity.name)),
        whole=_ending(operation, sets, identity),
        listed=policy.keys.get(operation.key),
        owning=_owning(policy),
    )


def over(
    evidence: OperationEvidence, *, memory: Snapshot, orders: Orders, identity: Identity, now: datetime
) -> Allowed:
    """Return what a run was under whose order has run out: nothing is allowed by it but a promise.

    Raises:
        GateError: the step and its refusal, as of `decide`.

    """
    operation, now = evidence.ordered.operation, floored(memory, now)
    with _under_lease(evidence, orders, identity, now) as lease:
        head, sets = _ground(evidence, memory, identity, lease, now)
        with step(4):
            # its officers may have changed since it ran out: whoever signed it then has signed it
            judge = next((each for each in sets if each.digest == operation.policy), sets[-1])
            _signed(evidence.ordered, judge, identity)
            if now < read_time(operation.expires_at):
                raise RefusedError(Refusal.STATE, f"it counts until {operation.expires_at}")
        with step(5):
            _takes_part(operation, judge, identity)
            made_by = _made_by(operation, judge, identity)
            if made_by is None:
                raise RefusedError(Refusal.STATE, "no epoch was to be made")
    return Allowed(operation=operation, lease=lease, head=head, made_by=made_by)


@contextmanager
def _under_lease(
    evidence: OperationEvidence, orders: Orders, identity: Identity, now: datetime
) -> Iterator[Lease | None]:
    """(1) Hold the block under a lease; what the watcher says is remembered also where the answer is no."""
    with step(1):
        lease = leased(evidence.lease, orders=orders, trust_root=identity.trust_root, now=now)
    try:
        yield lease
    except GateError as error:
        error.lease = lease
        raise


def _ground(
    evidence: OperationEvidence, memory: Snapshot, identity: Identity, lease: Lease | None, now: datetime
) -> tuple[Head, list[PolicySet]]:
    """(2) and (3), and that the lease names what they end in; return the head, and all sets from genesis."""
    with step(2):
        checkpoint, extended = extend(evidence.head, memory, identity, lease=lease)
        data = proven_entry(evidence.entry, checkpoint, kind=ORDERED)
        if SignedOperation.load(data, at="/entry") != evidence.ordered:
            raise RefusedError(Refusal.RESERVATION, "the ledger has another operation there")
    with step(3):
        sets = [PolicySet.load(value, at="/policy_chain") for value in evidence.policy_chain]
        policy = in_force(sets, memory, identity.trust_root, now)
    with step(1):
        if lease is not None:
            verify_names(lease, policy)
    head = replace(
        memory.head,
        size=checkpoint.size,
        hashes=extended.hashes,
        chain=extended.chain,
        policy=policy.digest,
        policy_version=policy.manifest.version,
    )
    return head, sets


def _signed(ordered: SignedOperation, judge: PolicySet, identity: Identity) -> None:
    """(4) A quorum of the officers of the set has signed it."""
    officers.verify_signed(
        ordered.operation,
        ordered.signatures,
        policy=judge,
        trust_root=identity.trust_root,
        what="the operation",
    )


def _free(operation: KeyOperation, orders: Orders) -> None:
    """(1) A key that may be in danger is not spread again; its end, or a successor, is no danger."""
    stopped = {EVERYTHING, KEY + operation.key} & set(orders.paused)
    if stopped and operation.operation not in {"destroy", "rotate"}:
        raise RefusedError(Refusal.PAUSED, f"paused: {min(stopped)}")


def _takes_part(operation: KeyOperation, policy: PolicySet, identity: Identity) -> None:
    parties = key_operation.parties(operation, policy=policy, trust_root=identity.trust_root)
    if identity.name not in parties:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"{identity.name} takes no part in {operation.key}")


def _made_by(operation: KeyOperation, policy: PolicySet, identity: Identity) -> Arrangement | None:
    if operation.operation not in key_operation.MAKING:
        return None
    return key_operation.arrangement(operation, policy=policy, trust_root=identity.trust_root)


def _ending(operation: KeyOperation, sets: Sequence[PolicySet], identity: Identity) -> tuple[str, ...]:
    """Return the whole keys of mine that any set listed under this name; none that one in force lists."""
    if operation.operation != "destroy":
        return ()
    named = [policy.keys[operation.key] for policy in sets if operation.key in policy.keys]
    mine = {key.public_key for key in named if key.engine == "hsm" and key.cosigners == [identity.name]}
    # what no token has made under a key's name is no key of mine, whatever a set once said of it
    return tuple(sorted(each for each in mine - _owning(sets[-1]) if len(each) == POINT_HEX))


def _owning(policy: PolicySet) -> frozenset[str]:
    return frozenset(point for key in policy.keys.values() for point in points(key))
