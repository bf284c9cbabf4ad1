"""(6) From bytes in a block to the end of an intent: proven by number and hash, recorded, taken back, final.

Whichever of an intent's bytes are included count, be they replaced or a cancel. A block that is no longer one
of the chain puts the intent back to where it was; the end is recorded once the block is as final as the
policy set in force demands. Of a Safe the end is what the Safe itself says, by its log and its nonce.
"""

from __future__ import annotations

from typing import Any

from workbench.rules import confirmation, execution
from workbench.rules.attestation import Simulation
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.keys import SafeKey
from workbench.rules.lifecycle import Event, State
from workbench.service import looking
from workbench.service.books import Matter, Sent
from workbench.service.lane import SERVICE, Lane, nonce_of


def confirm(lane: Lane, digest: str) -> str:
    """(6) Record where its bytes stand, whichever they are; return what nodes know of the newest."""
    matter = lane.books.matter(digest)
    found, newest = _found(lane, matter)
    if found is None:
        if matter.state is State.INCLUDED:
            _displaced(lane, digest, matter, f"{newest} again")
        return newest
    inclusion, sent = found
    read = lane.read(inclusion.raw, matter)
    if read.transaction.tx_hash.hex() != sent.tx_hash:
        raise RefusedError(Refusal.BYTES_OTHER, "the observers confirm other bytes", path="/raw")
    confirmed = confirmation.verify_inclusion(
        inclusion,
        raw_tx=inclusion.raw,
        trust_root=lane.trust_root,
        now=lane.clock(),
        age_s_max=lane.policy.limits.attestation_age_s_max,
    )
    place = (confirmed.block_number, confirmed.block_hash)
    if matter.state is State.INCLUDED and (matter.block, matter.mined) != (place, sent.tx_hash):
        _displaced(lane, digest, matter, f"in block {place[0]} {place[1]}")
    which = {"tx_hash": sent.tx_hash, "cancels": read.cancels}
    if matter.state is State.BROADCAST:
        data = _place(confirmed) | which | {"inclusion": lane.recorder.blob(inclusion.canonical())}
        lane.happened(Event.INCLUDED, digest, data, actor=inclusion.attestations[0].observer)
    _settle(lane, digest, matter, inclusion, confirmed, cancels=read.cancels)
    return newest


def _found(lane: Lane, matter: Matter) -> tuple[tuple[confirmation.Inclusion, Sent] | None, str]:
    """(6) Look for each of the bytes that were signed, newest first: any of them may be mined."""
    newest = ""
    for sent in reversed(matter.sent):
        status, inclusion = lane.links.observers.confirm(sent.tx_hash)
        newest = newest or status
        if inclusion is not None:
            return (inclusion, sent), newest
    return None, newest


def _displaced(lane: Lane, digest: str, matter: Matter, where: str) -> None:
    """(6) Its block is no longer one of the chain: it is as if it had been sent and not seen."""
    number, block_hash = matter.block or (0, "")
    data = {"tx_hash": matter.tx_hash, "block_number": number, "block_hash": block_hash, "now": where}
    lane.happened(Event.DISPLACED, digest, data, actor=SERVICE)


def _settle(
    lane: Lane,
    digest: str,
    matter: Matter,
    inclusion: confirmation.Inclusion,
    confirmed: confirmation.Confirmed,
    *,
    cancels: bool,
) -> None:
    """(6) Record that its block is safe, and, once it is final, the end."""
    standing = looking.standing(lane, confirmed.block_number, looking.look(lane, matter).block_number)
    if standing.is_safe and not matter.is_safe:
        observer = inclusion.attestations[0].observer
        lane.happened(Event.SAFE, digest, _place(confirmed), actor=observer)
    if not standing.is_final:
        return
    lane.crash.reached("6")
    event = Event.CONFIRMED if confirmed.succeeded else Event.REVERTED
    if cancels:
        event = Event.CANCELLED
    key = lane.policy.key(matter.proposal.intent.key)
    if isinstance(key, SafeKey):
        event = _executed(lane, matter, key, inclusion.raw, confirmed, cancels=cancels)
    data = _place(confirmed) | {
        "tx_hash": matter.tx_hash,
        "inclusion": lane.recorder.blob(inclusion.canonical()),
        "final": standing.said,
        **_realised(lane, matter, confirmed),
    }
    observer = inclusion.attestations[0].observer
    if event is Event.UNEXECUTED:
        lane.happened(event, digest, data, actor=observer)
    else:
        lane.enter(event, digest, data | _taken(lane, matter, event), actor=observer)
    lane.recorder.checkpoint()


def _executed(
    lane: Lane,
    matter: Matter,
    key: SafeKey,
    raw: str,
    confirmed: confirmation.Confirmed,
    *,
    cancels: bool,
) -> Event:
    """(6) Say what an executor's transaction came to: by the Safe's own word, and its nonce."""
    intent, nonce = matter.proposal.intent, nonce_of(matter)
    if execution.carried_out(confirmed.receipt, raw, intent, key, nonce=nonce, cancels=cancels):
        return Event.CANCELLED if cancels else Event.CONFIRMED
    if confirmed.succeeded:
        return Event.REVERTED  # the Safe tried, failed, and has used its nonce up
    # whoever has what owners signed may carry it out: then it is done, and not by us
    used = looking.account_nonce(lane, matter, looking.look(lane, matter)) > nonce
    return Event.NONCE_TAKEN if used else Event.UNEXECUTED


def _taken(lane: Lane, matter: Matter, event: Event) -> dict[str, Any]:
    return {"nonce": matter.nonce, "policy": lane.policy.digest} if event is Event.NONCE_TAKEN else {}


def _realised(lane: Lane, matter: Matter, confirmed: confirmation.Confirmed) -> dict[str, Any]:
    """(6) What it cost and moved, beside what the last simulation had said."""
    moved = confirmation.transferred(confirmed.receipt, lane.account(matter))
    simulated = Simulation.load(matter.fresh[0].document) if matter.fresh else None
    return {
        "gas_used": confirmed.gas_used,
        "fee_wei": str(confirmed.fee_wei),
        "transferred": [{"asset": asset, "amount": str(amount)} for asset, amount in moved.items()],
        "short_of_simulation_bps": confirmation.short_of(simulated, moved, lane.account(matter))
        if simulated
        else None,
    }


def _place(confirmed: confirmation.Confirmed) -> dict[str, Any]:
    return {"block_number": confirmed.block_number, "block_hash": confirmed.block_hash}
