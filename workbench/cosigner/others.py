"""(7) What others signed with a key that this co-signer shares: told by the courier, proven by the key.

Sets of signers take turns, so nobody's own memory has everything that was signed. But an account's nonces
have no gaps: who knows what every nonce before this one carried knows everything that the key has done.
(a) Bytes count that carry the key's signature and are an intent's, or its cancel; nobody's word is asked.
(b) The intent must be its proposer's, under some set of the chain of policy sets: else a courier could find
    another intent that the same bytes carry out, and that weighs less.
(c) What was signed for a nonce counts towards the day as the intent weighs today, and for as long as it could
    have been signed: until its expiry. A cancel lifts nothing of it: which of them was mined is not asked.
(d) One nonce, one intent, as for what is signed here; what is known already is known.
(e) Nothing is signed for a nonce while another before it is unknown.

Told is told: it is remembered whatever comes of the evidence that it came with. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from workbench.cosigner.memory import BYTES_MAX, Bytes, Record, Snapshot
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.rules import carried, facts
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, write_time
from workbench.rules.evidence import Spent
from workbench.rules.intent import Proposal, verify_author
from workbench.rules.keys import SharedKey
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot

Lane = tuple[int, str, int]


def learn(
    told: Sequence[Spent],
    memory: Snapshot,
    *,
    key: SharedKey,
    sets: Sequence[PolicySet],
    trust_root: TrustRoot,
    now: datetime,
) -> tuple[Record, ...]:
    """Return the records that are new or have more in them, by (a) to (d); `sets` are oldest first."""
    learned: dict[Lane, Record] = {}
    for each in told:
        intent = each.proposal.intent
        transaction = SignedTransaction.parse(bytes.fromhex(each.raw_tx))
        lane = (intent.chain_id, key.address, transaction.unsigned.nonce)
        if intent.key != key.id:
            raise RefusedError(Refusal.KEY_UNKNOWN, f"told of an intent for {intent.key}, this is {key.id}")
        found = carried.read(each.raw_tx, intent, nonce=lane[2], address=key.address)
        there = learned.get(lane) or memory.at(lane)
        _one_intent(intent.digest, lane, there, [*learned.values(), *memory.records])
        if there is not None and there.of(found.transaction.unsigned.encode().hex()) is not None:
            continue
        _authored(each.proposal, sets, trust_root)
        record = there or Record(
            chain_id=lane[0],
            address=lane[1],
            nonce=lane[2],
            intent=intent.digest,
            usd_cents=facts.amount_usd_cents(intent, sets[-1]),
            at=write_time(min(now, read_time(intent.expires_at))),
            bytes=(),
        )
        learned[lane] = _with(record, found.transaction, each.raw_tx, cancels=found.cancels)
    return tuple(learned.values())


def verify_all_known(memory: Snapshot, lane: Lane) -> None:
    """Refuse while a nonce before this one is unknown, by (e)."""
    chain_id, address, nonce = lane
    known = {each.nonce for each in memory.records if (each.chain_id, each.address) == (chain_id, address)}
    missing = next((number for number in range(nonce) if number not in known), None)
    if missing is not None:
        raise RefusedError(
            Refusal.NONCE_UNKNOWN, f"not told what nonce {missing} of {address} carried", path="/spent"
        )


def first_unknown(memory: Snapshot) -> dict[str, int]:
    """Return, for each account that something is known of, the first nonce of which nothing is."""
    known: dict[str, set[int]] = {}
    for each in memory.records:
        known.setdefault(each.address, set()).add(each.nonce)
    return {
        address: next(number for number in range(len(nonces) + 1) if number not in nonces)
        for address, nonces in known.items()
    }


def _one_intent(intent: str, lane: Lane, there: Record | None, records: Sequence[Record]) -> None:
    if there is not None and there.intent != intent:
        raise RefusedError(Refusal.NONCE_USED, f"nonce {lane[2]} belongs to intent {there.intent[:12]}")
    elsewhere = next((each for each in records if each.intent == intent and each.lane != lane), None)
    if elsewhere is not None:
        raise RefusedError(Refusal.INTENT_SPENT, f"this intent holds nonce {elsewhere.nonce}")


def _authored(proposal: Proposal, sets: Sequence[PolicySet], trust_root: TrustRoot) -> None:
    """(b) Its author may have left since: some set of the chain must know him."""
    when = read_time(proposal.intent.expires_at)
    for policy in reversed(sets):
        try:
            verify_author(proposal, policy=policy, trust_root=trust_root, now=when)
        except RefusedError as refusal:
            last = refusal
        else:
            return
    raise last


def _with(record: Record, transaction: SignedTransaction, raw_tx: str, *, cancels: bool) -> Record:
    """Return a record with these signed bytes, cheapest first; what was only decided on here gives way."""
    unsigned = transaction.unsigned.encode().hex()
    new = Bytes(
        unsigned_tx=unsigned, cancels=cancels, raw_tx=raw_tx, signature=_signature(raw_tx), given=True
    )
    others = [each for each in record.bytes if each.is_out and each.unsigned_tx != unsigned]
    if len(others) >= BYTES_MAX:
        raise RefusedError(Refusal.REPLACED_OFTEN, f"{len(others)} transactions, at most {BYTES_MAX}")
    return replace(record, bytes=tuple(sorted([*others, new], key=_fee)))


def _fee(each: Bytes) -> int:
    return UnsignedTransaction.parse(bytes.fromhex(each.unsigned_tx)).max_fee_per_gas


def _signature(raw_tx: str) -> str:
    transaction = SignedTransaction.parse(bytes.fromhex(raw_tx))
    r, s = transaction.r.to_bytes(32, "big"), transaction.s.to_bytes(32, "big")
    return (r + s + bytes([transaction.y_parity])).hex()
