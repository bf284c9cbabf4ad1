"""Storage that an observer's header proves: what slots hold, and the question about a pool that needs it.

(1) Header, signatures, age and accounts are verified as any attested state is.
(2) Each slot is proven under the storage root of its account, which is among those accounts.
(3) No value travels: what a slot holds is what its proof says, 0 where the proof excludes it.

What the values mean is the caller's business. Left out: whether the slots suffice for anything; whoever
reads them refuses what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import Field

from workbench.evm.errors import ProofError
from workbench.evm.proof import verify_storage
from workbench.rules.attestation import OBSERVERS_MAX, AttestedState, State, verify_state
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Address, Amount, Digest, Document, Hex, Whole
from workbench.rules.trust import TrustRoot

SLOTS_MAX = 256
"""Four words of ticks that are all in use are more than any swap needs that could be approved."""


class PoolQuestion(Document):
    """A pool of a factory, and the swap for which its ticks are to be proven."""

    factory: Address
    token_in: Address
    token_out: Address
    fee: Whole
    amount: Amount


class ProvenSlot(Document):
    """A storage slot of an account, and the proof that says what it holds."""

    account: Address
    slot: Digest
    proof: Annotated[list[Hex], Field(max_length=80)]


class AttestedStorage(AttestedState):
    """Accounts under one attested header, and slots of theirs."""

    slots: Annotated[list[ProvenSlot], Field(max_length=SLOTS_MAX)]


Held: TypeAlias = AttestedStorage | AttestedState
"""Accounts under one header, with slots of theirs where somebody asked for any."""
HeldStates = Annotated[list[Held], Field(min_length=1, max_length=OBSERVERS_MAX)]


class SafeQuestion(Document):
    """A Safe whose settings are to be proven, and the other accounts that are to be proven with it."""

    safe: Address
    accounts: Annotated[list[Address], Field(max_length=15)]


@dataclass(frozen=True, slots=True)
class Storage:
    """The state under a header, and the proven slots by (address, slot)."""

    state: State
    values: Mapping[tuple[str, bytes], int]


def verify_slots(
    states: Sequence[AttestedStorage], *, trust_root: TrustRoot, now: datetime, age_s_max: int
) -> Storage:
    """Verify the attested state and every slot under it; return what holds."""
    state = verify_state(states, trust_root=trust_root, now=now, age_s_max=age_s_max)  # (1)
    values = {}
    for each in states[0].slots:
        root = state.account(each.account).storage_root  # (2)
        slot = bytes.fromhex(each.slot)
        try:
            values[each.account, slot] = verify_storage(
                root, slot, [bytes.fromhex(node) for node in each.proof]
            )
        except ProofError as error:
            raise RefusedError(Refusal.PROOF, f"slot {each.slot} of {each.account}: {error}") from error
    return Storage(state, values)


def verify_held(states: Sequence[Held], *, trust_root: TrustRoot, now: datetime, age_s_max: int) -> State:
    """Verify an attested state, and the slots beside it where there are any; return what holds."""
    if not states or not isinstance(states[0], AttestedStorage):
        return verify_state(states, trust_root=trust_root, now=now, age_s_max=age_s_max)
    storages = [_storage(each) for each in states]
    found = verify_slots(storages, trust_root=trust_root, now=now, age_s_max=age_s_max)
    return replace(found.state, slots=found.values)


def load(value: object, *, at: str = "") -> Held:
    """Build an attested state, with its slots where it has any."""
    has_slots = isinstance(value, dict) and "slots" in value
    return AttestedStorage.load(value, at=at) if has_slots else AttestedState.load(value, at=at)


def _storage(held: Held) -> AttestedStorage:
    return held if isinstance(held, AttestedStorage) else AttestedStorage.load({**held.dump(), "slots": []})
