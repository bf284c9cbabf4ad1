"""(4) What a co-signer is brought, so that it decides over what it received itself and nothing else.

The ground is common to all that sign together: a lease, and a checkpoint of the witnesses beyond the lease's
head. On it stands what is asked: an intent with its reservation, decisions, attestations and what others have
signed (`evidence`), or an operation on a key (`ordered`). A co-signer whose head is far behind is brought up
first, in pieces. Nothing is judged here, and nothing believed of what comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ledger import checkpoint as notes
from ledger.encoding import canonical
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules import storage
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.evidence import SPENT_MAX
from workbench.rules.keys import SharedKey
from workbench.rules.safe import Proposed
from workbench.service.books import Matter
from workbench.service.lane import Lane, nonce_of, signed_raws

LEAVES_AT_ONCE = 40_000
GROUND_LIFE = timedelta(seconds=10)
"""A lease lives for seconds; who is asked later is asked under another."""
SPENT_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What several co-signers are asked under: those that sign together must know of the same head."""

    since: datetime
    lease: dict[str, Any] | None
    note: str
    size: int


def ground(lane: Lane) -> Ground:
    """(4) Return a lease and a checkpoint, in this order: a lease names a head that must be reached."""
    since, lease = lane.clock(), lane.links.lease(lane.policies)
    note = lane.recorder.checkpoint()
    return Ground(since=since, lease=lease, note=note, size=notes.split(note)[0].size)


def evidence(
    lane: Lane,
    digest: str,
    cosigner: str,
    operation: str,
    *,
    unsigned: UnsignedTransaction | Proposed,
    ground: Ground,
    attestations: dict[str, Any],
) -> dict[str, Any]:
    """(4) Return everything that a co-signer must see of what it is asked to sign."""
    matter = lane.books.matter(digest)
    if matter.reservation_seq is None:
        raise RefusedError(Refusal.STATE, "not everything is there that a co-signer must see")
    note, size = ground.note, ground.size
    start = _bring_up(lane, cosigner, size)
    spent = _spent(lane, matter, cosigner)
    return {
        **({"spent": spent} if spent else {}),
        "v": 1,
        "operation": operation,
        "intent": digest,
        "proposal": matter.proposal.dump(),
        "unsigned_tx": unsigned.encode().hex(),
        "reservation": entry_proof(lane, matter.reservation_seq, size),
        "decisions": [signed.dump() for signed in matter.decisions],
        "policy_chain": [policy.dump() for policy in lane.policies],
        "attestations": attestations | {"descent": _descent(lane, cosigner, attestations["state"])},
        "lease": ground.lease,
        "head": _head_update(lane, start, note, matter.decisions),
    }


def ordered(lane: Lane, signed: dict[str, Any], seq: int, cosigner: str, ground: Ground) -> dict[str, Any]:
    """Return what a co-signer must see of an operation on a key."""
    start = _bring_up(lane, cosigner, ground.size)
    return {
        "v": 1,
        "operation": "order",
        "ordered": signed,
        "entry": entry_proof(lane, seq, ground.size),
        "policy_chain": [policy.dump() for policy in lane.policies],
        "lease": ground.lease,
        "head": _head_update(lane, start, ground.note),
    }


def _spent(lane: Lane, matter: Matter, cosigner: str) -> list[dict[str, Any]]:
    """(4) Return what was signed with a shared key that a co-signer does not know, up to this nonce."""
    intent, nonce = matter.proposal.intent, nonce_of(matter)
    key = lane.policy.key(intent.key)
    if not isinstance(key, SharedKey):
        return []
    start = lane.links.unknown_from(cosigner, key.address)
    by_nonce = {
        each.nonce: each
        for each in list(lane.books.matters.values())
        if each.nonce is not None
        and each.sent
        and (each.proposal.intent.key, each.proposal.intent.chain_id) == (key.id, intent.chain_id)
    }
    # of this nonce everything that may be mined; of each before, what shows whose it was
    spent = [_spent_by(matter, raw) for raw in signed_raws(matter)]
    size = 0
    for each in (by_nonce[number] for number in range(start, nonce) if number in by_nonce):
        told = [_spent_by(each, raw) for raw in signed_raws(each)[:1]]
        size += len(canonical(told))
        if len(spent) >= SPENT_MAX or size > SPENT_BYTES_MAX:
            break
        spent += told
    return spent


def _descent(lane: Lane, cosigner: str, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the ways from the attested header down to the blocks that a co-signer has seen."""
    if not states:
        return []
    state = storage.load(states[0])
    return [way.dump() for way in lane.links.observers.descent(state, lane.links.seen(cosigner))]


def _bring_up(lane: Lane, cosigner: str, size: int) -> int:
    """Bring a co-signer's head so near to `size` that the rest fits into one piece of evidence."""
    start = lane.links.head_size(cosigner)
    for note in lane.recorder.ledger.checkpoints():
        reach = notes.split(note)[0].size
        if size - start <= LEAVES_AT_ONCE:
            break
        if start < reach <= start + LEAVES_AT_ONCE and reach < size:
            start = lane.links.advance(cosigner, _head_update(lane, start, note))
    return start


def _head_update(
    lane: Lane, start: int, note: str, decisions: Sequence[SignedDecision] = ()
) -> dict[str, Any]:
    size = notes.split(note)[0].size
    ledger = lane.recorder.ledger
    leaves = ledger.leaves(start, size - 1) if size > start else []
    seen = {signed.decision.ledger.size for signed in decisions}
    return {
        "from": start,
        "leaves": [leaf.hex() for leaf in leaves],
        "checkpoint": note,
        "consistency": {str(old): [node.hex() for node in ledger.consistency(old, size)] for old in seen},
    }


def entry_proof(lane: Lane, seq: int, size: int) -> dict[str, Any]:
    """Return an entry with its inclusion proof in the tree of `size` entries."""
    entry = next(lane.recorder.ledger.entries(seq, seq))
    return {
        "seq": seq,
        "head": entry.head.decode(),
        "data": entry.payload.decode() if entry.payload else None,
        "salt": (entry.salt or b"").hex(),
        "proof": [node.hex() for node in lane.recorder.ledger.inclusion(seq, size)],
    }


def _spent_by(matter: Matter, raw_tx: str) -> dict[str, Any]:
    return {"proposal": matter.proposal.dump(), "raw_tx": raw_tx}
