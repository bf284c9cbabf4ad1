"""(7) What a nonce may carry: one intent, its bytes, those that replace them, those that cancel them.

(a) One nonce, one intent; one intent, one nonce.
(b) Bytes that were persisted and never signed left nobody: whatever is admitted takes their place. Bytes of
    whose signature a part was given, and nothing is known, may be signed again as they are.
(c) Once bytes are signed, others are admitted only when nodes would take them for a replacement: both fees
    an eighth higher than those signed last. Any of them may be mined, and by the nonce only one is.
(d) A cancel is for a nonce that carries signed bytes of this very intent, and outbids them as well.
(e) After a cancel nothing of the intent is signed any more, only a cancel that pays more.
(f) So many bytes for a nonce and no more: the memory has an end, and the last of its places are a cancel's.
(g) Only the account's next nonce: everything before it is mined, and it is not. Bytes signed for a later
    nonce would wait, without an end, for whoever fills the gap; and a row of them, each simulated alone,
    would together cost what none of them shows.
(h) An owner of a Safe signs for one of its nonces an intent's transaction, and its cancel. Neither pays a
    fee, and whichever is carried out first is the only one. An owner may sign the cancel of what only others
    have signed: it does nothing.
(i) An executor pays for one intent at a time; one that failed leaves its nonce spent, and the same intent, or
    its cancel, may have the next: that it is carried out once is the Safe's nonce's to keep.

Whether the bytes are the intent's, or its cancel, was verified before (`rules.carried`). Pure.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.cosigner.memory import BYTES_MAX, Bytes, Record, Snapshot
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules import carried
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Proposed

Lane = tuple[int, str, int]
REPLACEMENTS_MAX = BYTES_MAX // 2


def admit(
    memory: Snapshot, lane: Lane, transaction: UnsignedTransaction, *, intent: str, usd_cents: int, at: str
) -> Record:
    """Return the record with which bytes of an intent may be signed, by (a) to (c), (e) and (f)."""
    there = _one_intent(memory, lane, intent)
    unsigned = transaction.encode().hex()
    if there is None:
        return _first(lane, unsigned, intent=intent, usd_cents=usd_cents, at=at, cancels=False)
    last = there.bytes[-1]
    if last.unsigned_tx == unsigned and last.given and not last.cancels:
        return there  # (b)
    _not_after_cancel(there, cancels=False)
    _outbids(there, transaction, most=REPLACEMENTS_MAX)
    # the day's sum counts it from its last signature on
    return replace(there.then(unsigned, cancels=False), usd_cents=usd_cents, at=at)


def cancel(memory: Snapshot, lane: Lane, transaction: UnsignedTransaction, *, intent: str) -> Record:
    """Return the record with which a cancel may be signed, by (d) and (f)."""
    there = memory.at(lane)
    if there is None or there.intent != intent or not there.signed:
        raise RefusedError(Refusal.NEVER_SIGNED, f"nothing of this intent is signed for nonce {lane[2]}")
    unsigned, last = transaction.encode().hex(), there.bytes[-1]
    if last.unsigned_tx == unsigned and last.given and last.cancels:
        return there  # (b)
    _outbids(there, transaction, most=BYTES_MAX)
    return there.then(unsigned, cancels=True)


def own(
    memory: Snapshot, lane: Lane, proposed: Proposed, *, intent: str, usd_cents: int, at: str, cancels: bool
) -> Record:
    """Return the record with which an owner of a Safe may sign, by (a), (e) and (h)."""
    there = _one_intent(memory, lane, intent)
    unsigned = proposed.encode().hex()
    if there is None:
        return _first(lane, unsigned, intent=intent, usd_cents=usd_cents, at=at, cancels=cancels)
    _not_after_cancel(there, cancels=cancels)
    return there.then(unsigned, cancels=cancels)


def execute(
    memory: Snapshot,
    lane: Lane,
    transaction: UnsignedTransaction,
    *,
    intent: str,
    usd_cents: int,
    at: str,
    cancels: bool,
) -> Record:
    """Return the record with which an executor may carry out what owners signed, by (c), (e), (f), (i)."""
    there = memory.at(lane)
    if there is not None and there.intent != intent:
        raise RefusedError(Refusal.NONCE_USED, f"nonce {lane[2]} belongs to intent {there.intent[:12]}")
    unsigned = transaction.encode().hex()
    if there is None:
        return _first(lane, unsigned, intent=intent, usd_cents=usd_cents, at=at, cancels=cancels)
    _not_after_cancel(there, cancels=cancels)
    _outbids(there, transaction, most=BYTES_MAX if cancels else REPLACEMENTS_MAX)
    return replace(there.then(unsigned, cancels=cancels), usd_cents=usd_cents or there.usd_cents, at=at)


def verify_next(lane: Lane, next_nonce: int) -> None:
    """Verify that the lane's next nonce, as it is proven, is this one, by (g)."""
    if next_nonce != lane[2]:
        raise RefusedError(Refusal.NONCE_GAP, f"nonce {lane[2]}, the account's next is {next_nonce}")


def _one_intent(memory: Snapshot, lane: Lane, intent: str) -> Record | None:
    """Return what this nonce carries, by (a)."""
    there, before = memory.at(lane), memory.of(intent)
    if there is not None and there.intent != intent:
        raise RefusedError(Refusal.NONCE_USED, f"nonce {lane[2]} belongs to intent {there.intent[:12]}")
    if before is not None and before.lane != lane:
        raise RefusedError(Refusal.INTENT_SPENT, f"this intent holds nonce {before.nonce}")
    return there


def _first(lane: Lane, unsigned: str, *, intent: str, usd_cents: int, at: str, cancels: bool) -> Record:
    chain_id, address, nonce = lane
    first = Bytes(unsigned_tx=unsigned, cancels=cancels, raw_tx=None, signature=None)
    return Record(
        chain_id=chain_id,
        address=address,
        nonce=nonce,
        intent=intent,
        usd_cents=usd_cents,
        at=at,
        bytes=(first,),
    )


def _not_after_cancel(there: Record, *, cancels: bool) -> None:
    if not cancels and any(each.cancels for each in there.signed):
        raise RefusedError(Refusal.CANCELLED, f"a cancel of nonce {there.nonce} is signed")  # (e)


def _outbids(there: Record, transaction: UnsignedTransaction, *, most: int) -> None:
    if not there.signed:
        return
    if len(there.signed) >= most:
        raise RefusedError(Refusal.REPLACED_OFTEN, f"{len(there.signed)} transactions, at most {most}")  # (f)
    last = carried.fees_of(UnsignedTransaction.parse(bytes.fromhex(there.signed[-1].unsigned_tx)))
    fees = carried.fees_of(transaction)
    if not fees.outbids(last):
        raise RefusedError(
            Refusal.FEE_LOW,
            f"{fees.max_fee_per_gas} and {fees.max_priority_fee_per_gas} wei a gas over"
            f" {last.max_fee_per_gas} and {last.max_priority_fee_per_gas}",
            path="/unsigned_tx",
        )
