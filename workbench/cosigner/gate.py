"""The gate: one co-signer's own decision, from evidence and memory to yes or a refusal.

(1) a fresh lease of the watcher names this policy set, is not behind what I have heard, and no pause that
    I have heard of covers the intent
(2) the reservation lies in the ledger, under a checkpoint that counts and extends my head
(3) the policy set descends from my trust root and is not older than one I have seen
(4) the proposer's signature and each approval verify
(5) the bytes are the intent, and the intent is the attested state diff, within tolerance
(6) attested facts and rules say yes (Cedar action `sign`); an exchange is weighed here, at attested prices
(7) the nonce may carry these bytes (`nonces`: unused, or a replacement), my own limits hold; of a shared key
    I know what every nonce before carried, whoever signed it (`others`)
(8) persist and (9) sign are the process's; it does exactly what the gate returns.

Of a Safe each owner decides by the same steps, about the Safe's transaction under the Safe's nonce; in (5)
the Safe is proven to be as it was pinned, and what would run foreign code in its place, or change it, is
refused (`rules.safe`). Its executor decides once more, by the same steps: (5) is besides that the bytes carry
out exactly what owners have signed, and (7) is about the executor's own nonce.

A cancel takes the nonce of bytes that I have signed and does nothing: it was approved with them. Of the
steps it keeps (0) to (3), though no pause stops it: it is what an emergency needs. (4) is that the intent
is expired, by the latest of the clocks, or that somebody entitled has rejected it since; (5)
that the bytes are its cancel; (7) that I signed for this very intent and
nonce, that the nonce is not spent, and that the fees outbid what I signed last (an owner of a Safe, who pays
no fee, may not have signed: others have). Who proposed is not asked
again, nor what was simulated: a cancel moves nothing, and must be possible also when its proposer has left.

Everything arrives through the service, which is not believed: each part is verified
under this co-signer's own copy of the trust root. Pure: memory, evidence and `now` in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from ledger.checkpoint import Checkpoint
from ledger.merkle import ProofError, verify_consistency
from workbench.cosigner import nonces, others
from workbench.cosigner.ground import (
    Extended,
    GateError,
    Identity,
    extend,
    floored,
    in_force,
    leased,
    proven_entry,
    step,
)
from workbench.cosigner.memory import Head, Record, Snapshot
from workbench.evm.header import Header
from workbench.evm.transaction import UnsignedTransaction, address_of
from workbench.rules import (
    attestation,
    calls,
    carried,
    cedar,
    decision,
    execution,
    facts,
    safe,
    storage,
    worth,
)
from workbench.rules.attestation import Simulation, State, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.descent import Seen, verify_descent
from workbench.rules.documents import read_time, write_time
from workbench.rules.evidence import Evidence, HeadUpdate, Reservation
from workbench.rules.intent import Intent, outflows, verify_proposal
from workbench.rules.keys import Key, SafeKey, SharedKey
from workbench.rules.lease import Lease, verify_names
from workbench.rules.lifecycle import Event
from workbench.rules.pause import Orders
from workbench.rules.policy import PolicySet
from workbench.rules.safe import Proposed
from workbench.rules.trust import TrustRoot

LIMIT_WINDOW = timedelta(hours=24)


Payload: TypeAlias = UnsignedTransaction | Proposed
"""What is signed: an account's transaction, or a Safe's by one of its owners."""


@dataclass(frozen=True, slots=True)
class Hand:
    """The key that this co-signer is asked to use, and the point of what its token holds of it."""

    key: Key
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """The gate's yes: what to persist, then what to sign, with which key."""

    intent: Intent
    lease: Lease | None
    head: Head
    record: Record
    transaction: Payload
    key: Key
    public_key: bytes
    seen: Seen
    learned: tuple[Record, ...]


def decide(
    evidence: Evidence,
    *,
    memory: Snapshot,
    orders: Orders,
    seen: Seen,
    identity: Identity,
    now: datetime,
) -> Permission:
    """Return the permission to sign, or raise GateError with the step and its refusal."""
    trust_root = identity.trust_root
    with step(0):
        # time never goes back for this co-signer, whatever its clock says after a restart
        now = floored(memory, now)
        intent = evidence.proposal.intent
        if intent.digest != evidence.intent:
            raise RefusedError(
                Refusal.DECISION_OTHER_INTENT, "the evidence names another intent than it carries"
            )
    with step(1):
        lease = leased(evidence.lease, orders=orders, trust_root=trust_root, now=now)
    try:
        return _decide(evidence, lease, memory=memory, orders=orders, seen=seen, identity=identity, now=now)
    except GateError as error:
        # what the watcher says is remembered also where the answer is no
        error.lease = lease
        raise


def _decide(
    evidence: Evidence,
    lease: Lease | None,
    *,
    memory: Snapshot,
    orders: Orders,
    seen: Seen,
    identity: Identity,
    now: datetime,
) -> Permission:
    """(2) to (7), under a lease that holds."""
    trust_root, intent = identity.trust_root, evidence.proposal.intent
    with step(2):
        checkpoint, head = extend(evidence.head, memory, identity, lease=lease)
        reservation = _reservation(evidence, checkpoint)
    with step(3):
        policy, sets = _policy(evidence, memory, trust_root, now)
        key, hand = policy.key(intent.key), _hand(policy, evidence, identity.name)
    with step(1):
        _free(evidence, lease, orders, policy)
    with step(7):
        learned = _learn(evidence, memory, hand.key, sets=sets, trust_root=trust_root, now=now)
        memory = memory.with_records(learned)
    ground = _Ground(
        evidence=evidence,
        lease=lease,
        policy=policy,
        key=key,
        hand=hand,
        reservation=reservation,
        checkpoint=checkpoint,
        head=head,
        memory=memory,
        seen=seen,
        trust_root=trust_root,
        now=now,
        learned=learned,
    )
    try:
        return _weigh_cancel(ground) if evidence.cancels else _weigh(ground)
    except GateError as error:
        # what is refused under a newer policy set must not be tried again under an older one
        error.seen = policy
        error.learned = learned
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What (1) to (3) have established."""

    evidence: Evidence
    lease: Lease | None
    policy: PolicySet
    key: Key
    hand: Hand
    reservation: Reservation
    checkpoint: Checkpoint
    head: Extended
    memory: Snapshot
    seen: Seen
    trust_root: TrustRoot
    now: datetime
    learned: tuple[Record, ...]


def _weigh(ground: _Ground) -> Permission:
    """(4) to (7), under a policy set and a ledger head that count."""
    evidence, policy, key, memory = ground.evidence, ground.policy, ground.key, ground.memory
    intent, trust_root, now = evidence.proposal.intent, ground.trust_root, ground.now
    reservation = ground.reservation
    with step(4):
        state = _state(evidence, policy, trust_root, now)
        seen = _descends(ground)
        # expiries count from the latest of the clocks: a slow clock must not keep an intent alive
        latest = max(now, state.block_time)
        verify_proposal(evidence.proposal, policy=policy, trust_root=trust_root, now=latest)
        approved = _simulation(ground, evidence.attestations.approved, policy.limits.decision_life_s_max)
        subject = decision.Subject(
            intent=intent.digest,
            nonce=reservation.nonce,
            simulation=approved.digest,
            proposer=intent.proposer,
        )
        approvals = decision.count(
            evidence.decisions, subject=subject, policy=policy, trust_root=trust_root, now=latest
        )
        _somebody(approvals)
        _same_ledger(evidence.head, approvals, ground.checkpoint)
    with step(5):
        payload, carries = _bytes(ground)
        _judge(ground, state, carries, approvals=approvals.roles)
        fresh = _simulation(ground, evidence.attestations.fresh, policy.limits.simulation_age_s_max)
        _same_chain(approved, fresh, state)
        _state_diff(intent, approved, fresh, policy, approvals)
    with step(6):
        weighed = worth.weigh(
            intent,
            fresh,
            evidence.attestations.quotes,
            policy=policy,
            trust_root=trust_root,
            now=now,
            age_s_max=policy.limits.attestation_age_s_max,
        )
        given = facts.Given(
            intent=intent,
            policy=policy,
            transaction=carries,
            reserved_nonce=reservation.nonce,
            state=state,
            approved=approved,
            fresh=fresh,
            approvals=approvals,
            now=latest,
            worth=weighed,
        )
        computed = facts.compute(given)
        cedar.evaluate(
            policy, "sign", proposer=policy.proposer(intent.proposer), key=key, facts=computed
        ).require()
    with step(7):
        lane = _lane(ground, payload)
        _all_known(ground, lane)
        cents = int(computed["amount_usd_cents"])
        record = _admit(ground, lane, payload, usd_cents=cents)
        nonces.verify_next(lane, execution.next_nonce(state, ground.hand.key))
        limit = policy.limits.amounts(key.tier).daily_usd_cents_max
        _own_limit(record, memory, limit, approvals, now)
    return _permission(ground, record, payload, seen)


def _weigh_cancel(ground: _Ground) -> Permission:
    """(4), (5) and (7) of a cancel."""
    evidence, policy = ground.evidence, ground.policy
    with step(4):
        state = _state(evidence, policy, ground.trust_root, ground.now)
        seen = _descends(ground)
        _no_longer_wanted(ground, max(ground.now, state.block_time))
    with step(5):
        payload, carries = _bytes(ground)
        _judge(ground, state, carries, approvals=())
    with step(7):
        lane = _lane(ground, payload)
        _all_known(ground, lane)
        record = _admit(ground, lane, payload, usd_cents=0)
        nonces.verify_next(lane, execution.next_nonce(state, ground.hand.key))
    return _permission(ground, record, payload, seen)


def _no_longer_wanted(ground: _Ground, latest: datetime) -> None:
    """(4) The same moment ends what may be signed of an intent and begins what may be cancelled."""
    evidence, intent = ground.evidence, ground.evidence.proposal.intent
    if read_time(intent.expires_at) <= latest:
        return
    refusals = []
    for signed in evidence.decisions:
        try:
            decision.verify_withdrawal(
                signed,
                intent=intent.digest,
                nonce=ground.reservation.nonce,
                proposer=intent.proposer,
                policy=ground.policy,
                trust_root=ground.trust_root,
                now=latest,
            )
        except RefusedError as refusal:
            refusals.append(str(refusal))
        else:
            return
    raise RefusedError(
        Refusal.CANCEL_EARLY, f"it lives until {intent.expires_at}, and nobody rejects it {refusals}"
    )


def _permission(ground: _Ground, record: Record, payload: Payload, seen: Seen) -> Permission:
    head, policy = ground.head, ground.policy
    return Permission(
        intent=ground.evidence.proposal.intent,
        lease=ground.lease,
        head=Head(
            size=ground.checkpoint.size,
            hashes=head.hashes,
            chain=head.chain,
            policy=policy.digest,
            policy_version=policy.manifest.version,
            time_floor=write_time(ground.now),
            records=ground.memory.head.records,
        ),
        record=record,
        transaction=payload,
        key=ground.hand.key,
        public_key=ground.hand.public_key,
        seen=seen,
        learned=ground.learned,
    )


def _free(evidence: Evidence, lease: Lease | None, orders: Orders, policy: PolicySet) -> None:
    """(1) Held against the lease: the set that is in force, and what is paused by all that was heard."""
    if lease is None:
        return
    verify_names(lease, policy)
    if not evidence.cancels:
        lease.added_to(orders).verify_free(evidence.proposal.intent)


def _reservation(evidence: Evidence, checkpoint: Checkpoint) -> Reservation:
    intent = evidence.proposal.intent
    data = proven_entry(evidence.reservation, checkpoint, kind=Event.RESERVED.value)
    reservation = Reservation.load(data, at="/reservation")
    if (reservation.intent, reservation.key, reservation.chain_id) != (
        intent.digest,
        intent.key,
        intent.chain_id,
    ):
        raise RefusedError(Refusal.RESERVATION, "the reservation is of another intent, key or chain")
    if [(item.asset, item.amount) for item in reservation.amounts] != outflows(intent):
        raise RefusedError(
            Refusal.RESERVATION, "the reservation sets aside something else than the intent spends"
        )
    return reservation


def _learn(
    evidence: Evidence,
    memory: Snapshot,
    key: Key,
    *,
    sets: Sequence[PolicySet],
    trust_root: TrustRoot,
    now: datetime,
) -> tuple[Record, ...]:
    """(7) Take what others signed; a whole key has no others."""
    if not isinstance(key, SharedKey):
        if evidence.spent:
            raise RefusedError(Refusal.MALFORMED, "a whole key has no other signers", path="/spent")
        return ()
    told = evidence.spent or []
    return others.learn(told, memory, key=key, sets=sets, trust_root=trust_root, now=now)


def _all_known(ground: _Ground, lane: tuple[int, str, int]) -> None:
    if isinstance(ground.hand.key, SharedKey):
        others.verify_all_known(ground.memory, lane)


def _policy(
    evidence: Evidence, memory: Snapshot, trust_root: TrustRoot, now: datetime
) -> tuple[PolicySet, list[PolicySet]]:
    """(3) Return the set that holds now, and all sets from the genesis set on."""
    sets = [
        PolicySet.load(value, at=f"/policy_chain/{index}")
        for index, value in enumerate(evidence.policy_chain)
    ]
    return in_force(sets, memory, trust_root, now), sets


def _hand(policy: PolicySet, evidence: Evidence, name: str) -> Hand:
    """(3) Return the key that this co-signer is asked to use: the intent's own, or a Safe's executor's."""
    key = policy.key(evidence.proposal.intent.key)
    if evidence.executes and not isinstance(key, SafeKey):
        raise RefusedError(Refusal.KEY_UNKNOWN, f"nobody carries out what {key.id} signs")
    used = policy.sender(key.id) if evidence.executes else key
    if isinstance(used, SafeKey):
        return Hand(used, bytes.fromhex(used.owner(name).public_key))
    if name not in used.cosigners:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"{name} is no co-signer of {used.id}")
    public_key = bytes.fromhex(used.public_key)
    if address_of(public_key) != used.address:
        raise RefusedError(Refusal.POLICY_INVALID, f"the address of {used.id} is not that of its public key")
    return Hand(used, public_key)


def _state(evidence: Evidence, policy: PolicySet, trust_root: TrustRoot, now: datetime) -> State:
    age = policy.limits.attestation_age_s_max
    return storage.verify_held(evidence.attestations.state, trust_root=trust_root, now=now, age_s_max=age)


def _descends(ground: _Ground) -> Seen:
    """(4) Refuse a header that does not come from what I have seen, whoever attests it."""
    attestations = ground.evidence.attestations
    header = Header.parse(bytes.fromhex(attestations.state[0].header))
    depth = ground.policy.limits.confirmations_min
    return verify_descent(ground.seen, attestations.descent, header, depth=depth)


def _simulation(ground: _Ground, statements: Sequence[Statement], age_s_max: int) -> Simulation:
    return attestation.verify_simulation(
        statements,
        intent=ground.evidence.proposal.intent,
        call=execution.simulated(ground.evidence.proposal.intent, ground.policy),
        trust_root=ground.trust_root,
        now=ground.now,
        age_s_max=age_s_max,
    )


def _somebody(approvals: decision.Approvals) -> None:
    """Refuse a request that no person stands behind, naming why each decision did not count."""
    if not approvals.roles:
        skipped = ", ".join(sorted(f"{key}: {code.value}" for key, code in approvals.skipped.items()))
        code = next(iter(approvals.skipped.values()), Refusal.NO_APPROVAL)
        raise RefusedError(code, f"no approval counts ({skipped or 'no decision at all'})")


def _same_ledger(update: HeadUpdate, approvals: decision.Approvals, checkpoint: Checkpoint) -> None:
    """Refuse when an approver was shown another ledger than the one that I am shown.

    What was seen must grow into the checkpoint, by a proof for each size; what is looked at
    is the decisions that count, not the ids that a courier may repeat.
    """
    for signed in approvals.counted:
        seen = signed.decision.ledger
        path = [bytes.fromhex(node) for node in update.consistency.get(str(seen.size), [])]
        try:
            verify_consistency(seen.size, checkpoint.size, bytes.fromhex(seen.root), checkpoint.root, path)
        except ProofError as error:
            raise RefusedError(
                Refusal.HEAD_FORKED, f"{signed.decision.person} was shown another ledger: {error}"
            ) from error


def _same_chain(approved: Simulation, fresh: Simulation, state: State) -> None:
    """Refuse an older look that passes for a newer one, or two looks at different chains."""
    if not approved.block.number <= fresh.block.number <= state.block_number:
        raise RefusedError(Refusal.ATTESTATION_STALE, "the fresh simulation is older than what was approved")
    blocks = {approved.block.number: approved.block.hash}
    for number, block_hash in (
        (fresh.block.number, fresh.block.hash),
        (state.block_number, state.block_hash),
    ):
        if blocks.setdefault(number, block_hash) != block_hash:
            raise RefusedError(Refusal.ATTESTATION_STALE, f"two blocks of number {number}")


def _bytes(ground: _Ground) -> tuple[Payload, Payload]:
    """(5) Take the bytes apart myself: they must be this intent, or its cancel, under the reserved nonce.

    Returns what is to be signed, and what that carries out: of a Safe's executor not the same.
    """
    evidence, key, nonce = ground.evidence, ground.key, ground.reservation.nonce
    intent, raw = evidence.proposal.intent, bytes.fromhex(evidence.unsigned_tx)
    if isinstance(key, SafeKey) and not evidence.executes:
        proposed = execution.verify_owners_bytes(raw, intent, key, nonce=nonce, cancels=evidence.cancels)
        return proposed, proposed
    transaction = UnsignedTransaction.parse(raw)
    if isinstance(key, SafeKey):
        carries = execution.verify_executes(transaction, intent, key, nonce=nonce, cancels=evidence.cancels)
        return transaction, carries
    if evidence.cancels:
        carried.verify_cancels(transaction, intent, nonce=nonce, address=key.address)
    else:
        carried.verify_carries(transaction, intent, nonce=nonce)
    return transaction, transaction


def _judge(ground: _Ground, state: State, carries: Payload, *, approvals: Collection[str]) -> None:
    """(5) Refuse by name what a Safe is not to do, whoever has approved it."""
    key = ground.key
    if not isinstance(key, SafeKey) or isinstance(carries, UnsignedTransaction):
        return
    safe.verify_may_sign(
        carries,
        pinned=key.pinned(ground.trust_root.chain_id),
        proven=safe.proven(state, key.address),
        approvals=approvals,
        abis=calls.abis(ground.policy),
    )


def _lane(ground: _Ground, payload: Payload) -> nonces.Lane:
    """(7) A Safe's owners count its nonces, its executor those of an account of its own."""
    return (ground.trust_root.chain_id, ground.hand.key.address, execution.nonce_of(payload))


def _admit(ground: _Ground, lane: nonces.Lane, payload: Payload, *, usd_cents: int) -> Record:
    """(7) Return the record with which this may be signed."""
    evidence, memory = ground.evidence, ground.memory
    intent, at = evidence.intent, write_time(ground.now)
    if not isinstance(payload, UnsignedTransaction):
        return nonces.own(
            memory, lane, payload, intent=intent, usd_cents=usd_cents, at=at, cancels=evidence.cancels
        )
    if evidence.executes:
        return nonces.execute(
            memory, lane, payload, intent=intent, usd_cents=usd_cents, at=at, cancels=evidence.cancels
        )
    if evidence.cancels:
        return nonces.cancel(memory, lane, payload, intent=intent)
    return nonces.admit(memory, lane, payload, intent=intent, usd_cents=usd_cents, at=at)


def _state_diff(
    intent: Intent, approved: Simulation, fresh: Simulation, policy: PolicySet, approvals: decision.Approvals
) -> None:
    if fresh.revert is not None:
        raise RefusedError(Refusal.SIMULATION_FAILED, f"the transaction reverts: {fresh.revert}")
    if not facts.state_diff_declared(intent, fresh, policy):
        raise RefusedError(Refusal.STATE_DIFF, "the simulation moves something else than the intent declares")
    if not facts.within_tolerance(approved, fresh, inflow_bps=approvals.tolerance_inflow_bps):
        raise RefusedError(
            Refusal.TOLERANCE, f"worse than approved by over {approvals.tolerance_inflow_bps} bps"
        )


def _own_limit(
    record: Record, memory: Snapshot, limit: int, approvals: decision.Approvals, now: datetime
) -> None:
    """(7) What was signed in a day, as I know it, whatever the ledger says; lifted as `limit.daily` is."""
    since = now - LIMIT_WINDOW
    spent = sum(
        item.usd_cents
        for item in memory.records
        if item.address == record.address and read_time(item.at) > since and item.lane != record.lane
    )
    if spent + record.usd_cents > limit and not approvals.holding("cro"):
        raise RefusedError(Refusal.OWN_LIMIT, f"{spent + record.usd_cents} cents in a day, at most {limit}")
