"""What an intent's steps ask the observers for: its call, its accounts, the newest block, how firm it is.

Everything here is attested by observers and proven under headers; what is asked for is chosen so that each
co-signer can verify by itself what it needs (`rules.storage`, `rules.execution`). Nothing is recorded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.evm.safe_storage import NONCE
from workbench.rules import attestation, calls, execution, storage
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.intent import Intent
from workbench.rules.keys import SafeKey
from workbench.rules.policy import PolicySet
from workbench.rules.storage import AttestedStorage, Held, SafeQuestion
from workbench.service.books import Matter
from workbench.service.lane import Lane

CANCELS = frozenset({"cancel", "execute-cancel"})
ACCOUNTS_MAX = 16
"""As many as one statement of an observer may prove."""
ANY_AGE_S = 10**9
"""For what the ledger holds: how old it is, is the rules' to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How firmly a block stands, and what an entry says of it."""

    is_safe: bool
    is_final: bool
    said: dict[str, Any]


def call(lane: Lane, digest: str) -> dict[str, Any]:
    """Return what an observer simulates for an intent."""
    intent = lane.books.matter(digest).proposal.intent
    made = execution.simulated(intent, lane.policy)
    approved = {} if made.approved_by is None else {"approved_by": list(made.approved_by)}
    return approved | {
        "intent": digest,
        "from": made.sender,
        "to": made.to,
        "value": str(made.value),
        "data": made.data.hex(),
        "gas": intent.gas_max,
        "max_fee_per_gas": intent.max_fee_per_gas,
        "max_priority_fee_per_gas": intent.max_priority_fee_per_gas,
    }


def held(lane: Lane, intent: Intent, called: Sequence[str]) -> list[Held]:
    """Have the accounts proven that an intent depends on, and of a Safe what it holds."""
    key = lane.policy.key(intent.key)
    # what is not proven counts as other code: a long row of contracts is no way round
    accounts = list(dict.fromkeys([*execution.accounts(intent, lane.policy), *called]))[:ACCOUNTS_MAX]
    if not isinstance(key, SafeKey):
        return list(lane.links.observers.attest(accounts))
    beside = [each for each in accounts if each != key.address]
    return list(lane.links.observers.safe(SafeQuestion(safe=key.address, accounts=beside)))


def look(lane: Lane, matter: Matter) -> attestation.State:
    """Return the newest block, with the intent's account proven under it."""
    return storage.verify_held(
        held(lane, matter.proposal.intent, ()),
        trust_root=lane.trust_root,
        now=lane.clock(),
        age_s_max=lane.policy.limits.attestation_age_s_max,
    )


def base_fee(lane: Lane, matter: Matter) -> int:
    """Return the base fee of the block that the intent was simulated on last."""
    if not matter.attested:
        raise RefusedError(Refusal.FACT_MISSING, "no proven block to take a base fee from", path="/state")
    return storage.verify_held(
        matter.attested, trust_root=lane.trust_root, now=lane.clock(), age_s_max=ANY_AGE_S
    ).base_fee_per_gas


def account_nonce(lane: Lane, matter: Matter, look: attestation.State) -> int:
    """Return the next nonce of the intent's account, as it is proven there."""
    return execution.next_nonce(look, lane.policy.key(matter.proposal.intent.key))


def attestations(lane: Lane, matter: Matter, operation: str) -> dict[str, Any]:
    """Return the looks at an intent that its signature needs.

    A cancel needs no more than that the nonce is not spent, proven at the newest head. What a Safe holds
    is proven anew each time: it is too much for an entry of the ledger.
    """
    intent = matter.proposal.intent
    if operation in CANCELS:
        states = held(lane, intent, ())
        return {"approved": [], "fresh": [], "state": [each.dump() for each in states], "quotes": []}
    looked = _recorded(matter)
    if isinstance(lane.policy.key(intent.key), SafeKey):
        proven = held(lane, intent, calls.targets(calls.read(intent, lane.policy)))
        looked |= {"state": [each.dump() for each in proven]}
    return looked


def standing(lane: Lane, number: int, head: int) -> Standing:
    """(6) Say how a block of this number stands under the head: by depth, and by the chain's own word."""
    limits = lane.policy.limits
    said: dict[str, Any] = {"depth": head - number + 1}
    is_deep = head - number + 1 >= limits.confirmations_min
    if limits.finality == "depth":
        return Standing(is_safe=False, is_final=is_deep, said=said)
    reached = {
        tag: attestation.verify_state(
            attested,
            trust_root=lane.trust_root,
            now=lane.clock(),
            age_s_max=limits.attestation_age_s_max,
        )
        for tag, attested in lane.links.observers.finality().items()
    }
    final = reached["finalized"]
    said["finalized"] = {"number": final.block_number, "hash": final.block_hash}
    return Standing(
        is_safe=reached["safe"].block_number >= number,
        is_final=is_deep and final.block_number >= number,
        said=said,
    )


def is_final(lane: Lane, number: int, head: int) -> bool:
    """(6) Whether a block of this number is as final as a confirmation must be."""
    return standing(lane, number, head).is_final


def _recorded(matter: Matter) -> dict[str, Any]:
    """Return those that the ledger has."""
    if not matter.approved or not matter.fresh:
        raise RefusedError(Refusal.STATE, "not everything is there that a co-signer must see")
    return {
        "approved": [each.dump() for each in matter.approved],
        "fresh": [each.dump() for each in matter.fresh],
        "state": [each.dump() for each in matter.attested],
        "quotes": [each.dump() for each in matter.quotes],
    }


def kept(state: Held, intent: Intent, policy: PolicySet) -> Held:
    """Return what the ledger keeps of a state: of a Safe its nonce, and no pinned code that nobody calls."""
    key = policy.key(intent.key)
    if not isinstance(state, AttestedStorage) or not isinstance(key, SafeKey):
        return state
    wanted = {key.address, policy.sender(key.id).address, *calls.targets(calls.read(intent, policy))}
    return AttestedStorage.load(
        {
            **state.dump(),
            "accounts": [each.dump() for each in state.accounts if each.address in wanted],
            "slots": [each.dump() for each in state.slots if bytes.fromhex(each.slot) == NONCE],
        }
    )
