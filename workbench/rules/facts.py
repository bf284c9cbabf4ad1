"""Facts: what is true of an intent, in the numbers and truths that the rules read.

Everything here is computed from documents that were verified before: bytes, whitelist
entry, attested state, attested simulations, counted approvals. Cedar cannot sum, count
or compare 256-bit integers, so that is done here, exactly, and handed over as cents,
counts and truths. A fact that cannot be computed is absent, never a default: the
evaluation refuses an absent fact by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workbench.evm.transaction import UnsignedTransaction
from workbench.evm.tree import Node
from workbench.rules import calls, execution, items, tokens
from workbench.rules.attestation import Finding, Outcome, Simulation, State, borrowed
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Approvals
from workbench.rules.documents import read_time
from workbench.rules.fees import FEE_HEADROOM
from workbench.rules.intent import Intent
from workbench.rules.keys import SafeKey
from workbench.rules.policy import BPS, PolicySet
from workbench.rules.safe import Proposed
from workbench.rules.worth import Worth

Facts = Mapping[str, int | bool]

STEADY_BPS = 1
"""What a block may change of what comes in: interest, and nothing that anybody would bend."""
PRICE_DECIMALS = 36
PRICE_SCALE: int = 10**PRICE_DECIMALS
CENTS_MAX: int = 2**62
"""Cedar's integers end at 2^63 - 1; what is larger is over every limit anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the facts are computed from; None where nothing was shown."""

    intent: Intent
    policy: PolicySet
    transaction: UnsignedTransaction | Proposed | None
    reserved_nonce: int | None
    state: State | None
    approved: Simulation | None
    fresh: Simulation | None
    approvals: Approvals | None
    now: datetime
    worth: Worth | None = None


def compute(given: Given) -> dict[str, int | bool]:
    """Return every fact that can be computed."""
    found: dict[str, int | bool] = {"amount_usd_cents": amount_usd_cents(given.intent, given.policy)}
    entry = given.policy.whitelist.get(given.intent.to)
    root = calls.read(given.intent, given.policy)
    found["contract_whitelisted"] = entry is not None and calls.in_force(entry, given.intent, given.now)
    found["function_permitted"] = calls.function_of(entry, given.intent.data) is not None
    found["arguments_within_bounds"] = calls.within_bounds(root, intent=given.intent, policy=given.policy)
    found["calls_understood"] = calls.understood(
        root, intent=given.intent, policy=given.policy, now=given.now
    )
    if given.approvals is not None:
        found["approvals"] = len(given.approvals.roles)
        found["approvals_cro"] = given.approvals.holding("cro")
        found["approvals_console"] = given.approvals.consoles
        quorum = execution.quorum(given.intent, given.policy) or 0
        found["critical_approvals_missing"] = max(0, quorum - len(given.approvals.roles))
    if given.transaction is not None and given.reserved_nonce is not None:
        found["nonce_reserved"] = execution.nonce_of(given.transaction) == given.reserved_nonce
        found["bytes_are_intent"] = execution.is_intents(given.transaction, given.intent, given.policy)
    if given.state is not None:
        found |= _state_facts(given, given.state)
        found["code_unchanged"] = calls.code_unchanged(root, policy=given.policy, state=given.state)
    if given.fresh is not None:
        found |= _simulation_facts(given, given.fresh, root)
    if given.worth is not None:
        found["worth_loss_bps"] = given.worth.loss_bps
    if given.fresh is not None and given.approved is not None and given.approvals is not None:
        found["within_tolerance"] = within_tolerance(
            given.approved, given.fresh, inflow_bps=given.approvals.tolerance_inflow_bps
        )
    return found


def amount_usd_cents(intent: Intent, policy: PolicySet) -> int:
    """Return what the intent puts at stake, in cents, rounded up: outflows and allowances left behind."""
    total = int(intent.value) * _price(policy, "ETH")
    for delta in intent.deltas:
        if delta.asset != "ETH" and int(delta.amount) < 0:
            total += -int(delta.amount) * _price(policy, delta.asset)
    for allowance in intent.allowances:
        total += int(allowance.amount) * _price(policy, allowance.asset)
    return min(-(-total // PRICE_SCALE), CENTS_MAX)


def _price(policy: PolicySet, asset: str) -> int:
    """Return the price of one base unit in 10^-36 cents, exactly."""
    facts = policy.assets.get(asset)
    if facts is None:
        raise RefusedError(Refusal.ASSET_UNKNOWN, f"no asset {asset}")
    scale: int = 10 ** (PRICE_DECIMALS - facts.decimals)
    return facts.unit_usd_cents * scale


def _state_facts(given: Given, state: State) -> dict[str, int | bool]:
    key = given.policy.key(given.intent.key)
    facts: dict[str, int | bool] = {
        "attestation_age_s": age_s(given.now, state.attested_at),
        "gas_affordable": _affordable(given, state) and covers_fee(given.intent, state.base_fee_per_gas),
    }
    if given.reserved_nonce is not None:
        facts["nonce_unspent"] = execution.next_nonce(state, key) <= given.reserved_nonce
    return facts


def _affordable(given: Given, state: State) -> bool:
    """Whether who sends along what the intent sends has it, and who pays the gas as well."""
    intent, policy = given.intent, given.policy
    needed = {policy.key(intent.key).address: int(intent.value)}
    payer = policy.sender(intent.key).address
    needed[payer] = needed.get(payer, 0) + intent.gas_max * intent.max_fee_per_gas
    return all(state.account(address).balance >= cost for address, cost in needed.items())


def covers_fee(intent: Intent, base_fee_per_gas: int) -> bool:
    """Whether the fee cap leaves room for the base fee to rise: a transaction below it is never mined."""
    return intent.max_fee_per_gas >= FEE_HEADROOM * base_fee_per_gas


def _simulation_facts(given: Given, fresh: Simulation, root: Node) -> dict[str, int | bool]:
    facts: dict[str, int | bool] = {
        "simulation_succeeds": fresh.revert is None,
        "simulation_alone": fresh.sequence is None,
        "simulation_age_s": age_s(given.now, read_time(fresh.at)),
        "state_diff_declared": state_diff_declared(given.intent, fresh, given.policy),
        "admin_changes": len(unexpected_changes(fresh, given.intent, given.policy)),
        "findings": len(unexpected(fresh, given.intent, given.policy))
        + items.undeclared(fresh, ours(fresh, given.policy))
        + len(contradictions(fresh, given.policy)),
        "steady": steady(fresh),
        "floor_bps": floor_bps(given.intent, fresh),
    }
    slippage = slippage_bps(root, fresh)
    if slippage is not None:
        facts["slippage_bps"] = slippage
    return facts


def unexpected(simulation: Simulation, intent: Intent, policy: PolicySet) -> list[Finding]:
    """Return the findings, but for the one that a Safe's batch is: the pinned code, in the Safe's place."""
    key = policy.key(intent.key)
    if not isinstance(key, SafeKey) or intent.to != key.pins.multi_send:
        return list(simulation.findings)
    expected = ("borrowed_code", key.address, borrowed(key.pins.multi_send))
    return [each for each in simulation.findings if (each.kind, each.contract, each.detail) != expected]


def unexpected_changes(simulation: Simulation, intent: Intent, policy: PolicySet) -> list[Mapping[str, Any]]:
    """Return who else comes to govern what, but for the Safe itself where so many must approve that."""
    if execution.quorum(intent, policy) is None:
        return list(simulation.admin_changes)
    safe = policy.key(intent.key).address
    return [each for each in simulation.admin_changes if each["contract"] != safe]


def ours(simulation: Simulation, policy: PolicySet) -> frozenset[str]:
    """Return the accounts whose losses are ours."""
    return frozenset({simulation.sender, *(key.address for key in policy.keys.values())})


def contradictions(simulation: Simulation, policy: PolicySet) -> dict[str, str]:
    """Return what tokens of this simulation say of themselves against what the policy set says of them."""
    assets = _assets(simulation) | _assets(simulation.again)
    return tokens.contradictions(simulation.tokens, assets, policy.assets)


def _assets(outcome: Simulation | Outcome) -> set[str]:
    amounts = {each.asset for each in outcome.deltas} | {each.asset for each in outcome.allowances}
    return amounts | {each.asset for each in outcome.items} | {each.asset for each in outcome.rights}


def floor_bps(intent: Intent, simulation: Simulation) -> int:
    """Return how far the declared inflow lies below the simulated one, in basis points, rounded up.

    What is declared is what the chain itself enforces: everything between it and the simulation
    is what somebody who trades around the transaction can take.
    """
    declared = {(delta.account, delta.asset): int(delta.amount) for delta in intent.deltas}
    worst = 0
    for delta in simulation.deltas:
        gained, promised = int(delta.amount), declared.get((delta.account, delta.asset), 0)
        if gained > 0:
            worst = max(worst, -(-(gained - promised) * BPS // gained))
    return worst


def slippage_bps(root: Node, simulation: Simulation) -> int | None:
    """Return the slippage; None where assets leave and the observer could not price the exchange.

    What only pays exchanges nothing, and has none: also where one key of ours gives to another.
    """
    if calls.only_pays(root):
        return 0
    if simulation.slippage_bps is not None:
        return simulation.slippage_bps
    gives_up = any(int(delta.amount) < 0 for delta in simulation.deltas)
    return None if gives_up else 0


def state_diff_declared(intent: Intent, simulation: Simulation, policy: PolicySet) -> bool:
    """Whether the simulated state diff is what the intent declares, and nothing else.

    Outflows are exact, inflows at least as declared, allowances exact. An outflow or an
    allowance that nobody declared is how approvals drain a wallet. All accounts of the set
    must have been looked at: what one key sends can move what another has approved. Single
    tokens have no place in an intent (`items`): they may come in, and rights may be taken back.
    """
    if simulation.sender != policy.sender(intent.key).address:
        return False
    if not {key.address for key in policy.keys.values()} <= set(simulation.accounts):
        return False
    if items.undeclared(simulation, ours(simulation, policy)):
        return False
    declared = {(delta.account, delta.asset): int(delta.amount) for delta in intent.deltas}
    simulated = {(delta.account, delta.asset): int(delta.amount) for delta in simulation.deltas}
    # told twice, one of the two would be overlooked
    if len(declared) != len(intent.deltas) or len(simulated) != len(simulation.deltas):
        return False
    for place in declared.keys() | simulated.keys():
        promised, got = declared.get(place, 0), simulated.get(place, 0)
        if got != promised if promised < 0 or got < 0 else got < promised:
            return False
    wanted = {(item.owner, item.asset, item.spender, item.amount) for item in intent.allowances}
    made = {(item.owner, item.asset, item.spender, item.amount) for item in simulation.allowances}
    return wanted == made


def steady(simulation: Simulation) -> bool:
    """Whether the same comes of it one block later: what depends on the block depends on who makes it."""
    again = simulation.again
    return (
        simulation.revert == again.revert
        and simulation.admin_changes == again.admin_changes
        and within_tolerance(simulation, again, inflow_bps=STEADY_BPS)
    )


def within_tolerance(approved: Simulation, fresh: Simulation | Outcome, *, inflow_bps: int) -> bool:
    """Whether the fresh simulation is as good as the approved one, within the approved tolerance."""
    before = {(delta.account, delta.asset): int(delta.amount) for delta in approved.deltas}
    after = {(delta.account, delta.asset): int(delta.amount) for delta in fresh.deltas}
    if len(before) != len(approved.deltas) or len(after) != len(fresh.deltas):
        return False
    if before.keys() != after.keys() or approved.allowances != fresh.allowances:
        return False
    if approved.items != fresh.items or approved.rights != fresh.rights:
        return False
    for place, amount in before.items():
        got = after[place]
        if min(amount, got) < 0 and got != amount:
            return False
        if amount > 0 and got * BPS < amount * (BPS - inflow_bps):
            return False
    return True


def age_s(now: datetime, at: datetime) -> int:
    """Return whole seconds, rounded up, never below zero."""
    return max(0, -int((at - now).total_seconds() // 1))
