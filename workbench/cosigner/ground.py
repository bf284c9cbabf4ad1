"""The ground a co-signer stands on: what it was given by hand, and the steps that every decision begins with.

(1) A lease that holds and is not behind what was heard; (2) the ledger grows from the head that is remembered
into a checkpoint that counts, and an entry lies in it; (3) the policy sets descend from the trust root.
What is decided on that ground is `gate`'s, for transactions, and `operations`', for keys. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from ledger import chain
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.encoding import EncodingError
from ledger.entry import EntryError, datahash, leaf_of, parse_data, parse_head
from ledger.merkle import Frontier, ProofError, verify_inclusion
from ledger.trust import TrustRoot as LedgerTrustRoot
from workbench.cosigner.memory import Head, Record, Snapshot
from workbench.evm.errors import EvmError
from workbench.rules import officers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.evidence import EntryProof, HeadUpdate
from workbench.rules.lease import Lease, SignedLease, verify_lease, verify_names, verify_not_shorter
from workbench.rules.pause import Orders, SignedRelease
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What this co-signer was given by hand: its name, its trust root, the ledger's genesis."""

    name: str
    trust_root: TrustRoot
    ledger_trust_root: LedgerTrustRoot


class GateError(Exception):
    """The gate's no, and the step that said it."""

    def __init__(self, step: int, refusal: RefusedError) -> None:
        super().__init__(f"step {step}: {refusal}")
        self.step = step
        self.refusal = refusal
        self.lease: Lease | None = None
        self.seen: PolicySet | None = None
        self.learned: tuple[Record, ...] = ()


@contextmanager
def step(number: int) -> Iterator[None]:
    """Attribute every refusal inside to this step."""
    try:
        yield
    except RefusedError as refusal:
        raise GateError(number, refusal) from refusal
    except (CheckpointError, ProofError) as error:
        raise GateError(number, RefusedError(Refusal.CHECKPOINT, str(error))) from error
    except (EntryError, EncodingError, EvmError) as error:
        raise GateError(number, RefusedError(Refusal.MALFORMED, str(error))) from error


@dataclass(frozen=True, slots=True)
class Extended:
    """What a head has grown to."""

    hashes: tuple[bytes, ...]
    chain: bytes


def floored(memory: Snapshot, now: datetime) -> datetime:
    """Return the time that counts for a co-signer: its clock's, or what it has reached before."""
    return max(now, read_time(memory.head.time_floor)) if memory.head.time_floor else now


def leased(
    brought: SignedLease | None, *, orders: Orders, trust_root: TrustRoot, now: datetime
) -> Lease | None:
    """(1) Return the lease: silence is a pause; only a demo trust root may name no watcher."""
    if trust_root.watcher is None:
        if brought is not None:
            raise RefusedError(Refusal.MALFORMED, "a lease, and no watcher to sign it", path="/lease")
        return None
    if brought is None:
        raise RefusedError(Refusal.LEASE_MISSING, "no lease of the watcher")
    return verify_lease(brought, orders=orders, trust_root=trust_root, now=now)


def proven_entry(proof: EntryProof, checkpoint: Checkpoint, *, kind: str) -> object:
    """(2) Return the data of an entry of this kind, which lies under the checkpoint."""
    head = proof.head.encode()
    envelope = parse_head(head)
    data = parse_data(proof.data.encode())
    if envelope["seq"] != proof.seq or envelope["type"] != kind:
        raise RefusedError(Refusal.RESERVATION, f"entry {proof.seq} is no {kind}")
    if envelope["datahash"] != datahash(bytes.fromhex(proof.salt), data):
        raise RefusedError(Refusal.RESERVATION, f"entry {proof.seq} commits to other data")
    path = [bytes.fromhex(node) for node in proof.proof]
    verify_inclusion(leaf_of(head), proof.seq, checkpoint.size, path, checkpoint.root)
    return data


def extend(
    update: HeadUpdate, memory: Snapshot, identity: Identity, *, lease: Lease | None = None
) -> tuple[Checkpoint, Extended]:
    """(2) Grow my own head by the leaves that the courier brings; it must meet the checkpoint."""
    mine = memory.head
    checkpoint = identity.ledger_trust_root.verify(update.checkpoint)
    # rollback: a co-signer never signs under a smaller ledger than it has seen
    if checkpoint.size < mine.size:
        raise RefusedError(
            Refusal.HEAD_BEHIND, f"checkpoint of {checkpoint.size} entries, I have seen {mine.size}"
        )
    if update.start != mine.size or len(update.leaves) != checkpoint.size - mine.size:
        raise RefusedError(Refusal.HEAD_BEHIND, f"leaves must run from {mine.size} to {checkpoint.size}")
    if lease is not None:
        verify_not_shorter(lease, size=checkpoint.size)
    frontier, linked = mine.frontier(), mine.chain
    for offset, leaf in enumerate(update.leaves):
        _on_the_way(lease, frontier)
        raw = bytes.fromhex(leaf)
        linked = chain.link(linked, mine.size + offset, raw)
        frontier.append(raw)
    _on_the_way(lease, frontier)
    # fork: another history of the same length
    if frontier.root() != checkpoint.root or linked != checkpoint.chain:
        raise RefusedError(Refusal.HEAD_FORKED, f"my head of {mine.size} does not grow into this checkpoint")
    return checkpoint, Extended(frontier.hashes, linked)


def _on_the_way(lease: Lease | None, frontier: Frontier) -> None:
    """(2) The head that the watcher has cosigned is one that this ledger has had."""
    if lease is None or frontier.size != lease.head.size or not frontier.size:
        return
    if frontier.root().hex() != lease.head.root:
        raise RefusedError(Refusal.HEAD_FORKED, f"the watcher has cosigned another head of {frontier.size}")


def advance(update: HeadUpdate, *, memory: Snapshot, identity: Identity) -> Head:
    """Return the head that a checkpoint extends mine to; nothing else changes, nothing is signed."""
    with step(2):
        checkpoint, extended = extend(update, memory, identity)
    return replace(memory.head, size=checkpoint.size, hashes=extended.hashes, chain=extended.chain)


def in_force(sets: Sequence[PolicySet], memory: Snapshot, trust_root: TrustRoot, now: datetime) -> PolicySet:
    """(3) Return the last of the sets, which is not older than one that I have seen, nor beside it."""
    policy = verify_chain(sets, trust_root=trust_root, now=now)
    seen = memory.head
    # rollback of the rules: a set I have seen superseded never counts again
    if policy.manifest.version < seen.policy_version:
        raise RefusedError(
            Refusal.POLICY_OLD, f"version {policy.manifest.version}, I have seen {seen.policy_version}"
        )
    # nor may a chain grow past it on another branch: a set can be signed and void, and who has left since
    # would be an officer there
    if any(each.manifest.version == seen.policy_version and each.digest != seen.policy for each in sets):
        raise RefusedError(Refusal.POLICY_CHAIN, f"two sets of version {seen.policy_version}")
    return policy


def release(
    signed: SignedRelease,
    lease: Lease,
    sets: Sequence[PolicySet],
    *,
    memory: Snapshot,
    orders: Orders,
    identity: Identity,
    now: datetime,
) -> Orders:
    """Return what is paused after a release: the officers of the set in force have signed it.

    Beside it comes a lease that holds, in which the watcher has no pause any more that the release ends. So
    one that comes late, because this process was away, still counts, and one that never was handed to the
    watcher does not: its date was the watcher's to judge.
    """
    with step(3):
        policy = in_force(sets, memory, identity.trust_root, floored(memory, now))
    with step(1):
        verify_names(lease, policy)
        officers.verify_signed(
            signed.release,
            signed.signatures,
            policy=policy,
            trust_root=identity.trust_root,
            what="the release",
        )
        ended = orders.released(signed.release)
        if lease.added_to(ended).paused != ended.paused:
            raise RefusedError(Refusal.PAUSED, "the watcher pauses this still, or something else since")
    return ended
