"""The six steps of a transaction, as one table of states.

(1) initiation · (2) policy · (3) approval · (4) signing · (5) broadcast · (6) confirmation.
An event that the table does not list for a state is refused. From APPROVED on there is no
expiry: a co-signer may have signed although its answer was lost, so only the co-signer's
own word (a signature or a signed refusal) leads on. A transaction that is in a block can
leave it again until the block is final. Its nonce stays the same; its bytes may be replaced by
some that pay more, or cancelled by some that do nothing, and whichever of them is final is the
end. A nonce that somebody else has used is an end, too, and an alarm.
What the owners of a Safe have signed stays good on chain. An executor's transaction that fails leaves the
Safe's nonce as it was: the intent is approved as before, and ends with its cancel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from workbench.rules.codes import Refusal, RefusedError


class State(StrEnum):
    """Where an intent stands."""

    PROPOSED = "proposed"
    OUTSTANDING = "outstanding"
    APPROVED = "approved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    INCLUDED = "included"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    TAKEN = "taken"


class Event(StrEnum):
    """What can happen to an intent; the values are the types of ledger entries."""

    SIMULATED = "simulation.attested"
    RESERVED = "reservation.made"
    DECIDED = "decision.recorded"
    REJECTED = "intent.rejected"
    RELEASED = "intent.released"
    EXPIRED = "intent.expired"
    OWNER_SIGNED = "owner.signed"
    SIGNED = "transaction.signed"
    SIGNING_REFUSED = "signature.refused"
    BROADCAST = "transaction.broadcast"
    DROPPED = "transaction.dropped"
    RECALLED = "transaction.recalled"
    REPLACED = "transaction.replaced"
    CANCEL_SIGNED = "cancel.signed"
    INCLUDED = "transaction.included"
    SAFE = "transaction.safe"
    DISPLACED = "transaction.displaced"
    UNEXECUTED = "execution.failed"
    CONFIRMED = "transaction.confirmed"
    REVERTED = "transaction.reverted"
    CANCELLED = "transaction.cancelled"
    NONCE_TAKEN = "nonce.taken"


PROPOSED_EVENT = "intent.proposed"
"""The entry that brings an intent into being."""

TABLE: Mapping[tuple[State, Event], State] = {
    (State.PROPOSED, Event.SIMULATED): State.PROPOSED,
    (State.PROPOSED, Event.RESERVED): State.OUTSTANDING,
    (State.PROPOSED, Event.EXPIRED): State.EXPIRED,
    (State.OUTSTANDING, Event.SIMULATED): State.OUTSTANDING,
    (State.OUTSTANDING, Event.DECIDED): State.OUTSTANDING,
    (State.OUTSTANDING, Event.REJECTED): State.REJECTED,
    (State.OUTSTANDING, Event.RELEASED): State.APPROVED,
    (State.OUTSTANDING, Event.EXPIRED): State.EXPIRED,
    (State.APPROVED, Event.SIMULATED): State.APPROVED,
    (State.APPROVED, Event.OWNER_SIGNED): State.APPROVED,
    (State.APPROVED, Event.SIGNED): State.SIGNED,
    (State.APPROVED, Event.CANCEL_SIGNED): State.SIGNED,
    (State.APPROVED, Event.SIGNING_REFUSED): State.REFUSED,
    (State.SIGNED, Event.BROADCAST): State.BROADCAST,
    (State.BROADCAST, Event.BROADCAST): State.BROADCAST,
    (State.BROADCAST, Event.DROPPED): State.BROADCAST,
    (State.BROADCAST, Event.RECALLED): State.BROADCAST,
    (State.BROADCAST, Event.SIMULATED): State.BROADCAST,
    (State.BROADCAST, Event.REPLACED): State.BROADCAST,
    (State.BROADCAST, Event.REJECTED): State.BROADCAST,
    (State.BROADCAST, Event.OWNER_SIGNED): State.BROADCAST,
    (State.BROADCAST, Event.CANCEL_SIGNED): State.BROADCAST,
    (State.BROADCAST, Event.NONCE_TAKEN): State.TAKEN,
    (State.BROADCAST, Event.INCLUDED): State.INCLUDED,
    (State.INCLUDED, Event.SAFE): State.INCLUDED,
    (State.INCLUDED, Event.DISPLACED): State.BROADCAST,
    (State.INCLUDED, Event.UNEXECUTED): State.APPROVED,
    (State.INCLUDED, Event.NONCE_TAKEN): State.TAKEN,
    (State.INCLUDED, Event.CONFIRMED): State.CONFIRMED,
    (State.INCLUDED, Event.REVERTED): State.REVERTED,
    (State.INCLUDED, Event.CANCELLED): State.CANCELLED,
}
FINAL = frozenset(
    {
        State.CONFIRMED,
        State.REVERTED,
        State.REJECTED,
        State.EXPIRED,
        State.REFUSED,
        State.CANCELLED,
        State.TAKEN,
    }
)
MINED = frozenset({State.INCLUDED, State.CONFIRMED, State.REVERTED, State.CANCELLED, State.TAKEN})
"""States in which a transaction of this nonce is in a block: the account's nonce is beyond it."""
HOLDS_NONCE = MINED | {State.OUTSTANDING, State.APPROVED, State.SIGNED, State.BROADCAST}
"""States in which the reserved nonce is not free for another intent."""


def after(state: State, event: Event) -> State:
    """Return the state that the event leads to, or refuse."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise RefusedError(Refusal.STATE, f"{event.value} while {state.value}") from None


def free_nonce(first: int, held: Iterable[int]) -> int:
    """Return the lowest nonce from `first` on that nobody holds: a gap would stop the lane."""
    taken = set(held)
    nonce = first
    while nonce in taken:
        nonce += 1
    return nonce
