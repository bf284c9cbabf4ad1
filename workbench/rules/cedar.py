"""The policy engine: Cedar behind a wrapper that fails closed.

Cedar skips a policy that errs, so a `forbid` over a missing or overflowing value would
allow. Therefore: (1) every fact that the schema names must be there, with its type,
before Cedar is asked, and so must the worth of an exchange where the limits speak of
it; (2) the schema is always passed and the policies must validate against it; (3) only
`allowed and not errors` is yes. Every `forbid` carries an @id and the obligation that
lifts it (@needs), so the same rules route, gate and explain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cedarpy

from workbench.rules.account import ServiceAccount
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.keys import Key, SafeKey
from workbench.rules.policy import Limits, PolicySet, Proposer

Action = Literal["release", "sign"]

SIGN_FACTS: Mapping[str, type] = {
    "amount_usd_cents": int,
    "approvals": int,
    "approvals_cro": int,
    "approvals_console": int,
    "contract_whitelisted": bool,
    "function_permitted": bool,
    "arguments_within_bounds": bool,
    "calls_understood": bool,
    "code_unchanged": bool,
    "nonce_reserved": bool,
    "nonce_unspent": bool,
    "gas_affordable": bool,
    "bytes_are_intent": bool,
    "simulation_succeeds": bool,
    "simulation_alone": bool,
    "simulation_age_s": int,
    "attestation_age_s": int,
    "state_diff_declared": bool,
    "within_tolerance": bool,
    "slippage_bps": int,
    "floor_bps": int,
    "admin_changes": int,
    "findings": int,
    "steady": bool,
}
RELEASE_FACTS: Mapping[str, type] = {**SIGN_FACTS, "session_active": bool, "daily_usd_cents": int}
WORTH_FACTS: Mapping[str, type] = {"worth_loss_bps": int}
"""What is demanded besides where the limits say what an exchange may lose."""
CRITICAL_FACTS: Mapping[str, type] = {"critical_approvals_missing": int}
"""What is demanded besides where the pins of a Safe say how many must approve its change."""
SILENT: Mapping[str, int] = {"approvals": 0, "approvals_cro": 0, "approvals_console": 0}
"""Counts start at nothing; every other unknown is true or zero, where rules are silent."""
REQUIRED: Mapping[Action, Mapping[str, type]] = {"sign": SIGN_FACTS, "release": RELEASE_FACTS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Cedar said: allowed, or which rules forbid and what would lift them."""

    allowed: bool
    denying: tuple[str, ...]
    needs: tuple[str, ...]

    def require(self) -> None:
        """Refuse unless allowed."""
        if not self.allowed:
            raise RefusedError(Refusal.POLICY_DENIED, ", ".join(self.denying) or "no rule permits it")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is outstanding as far as is known: for people's eyes, never a permission."""

    denying: tuple[str, ...]
    needs: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Engine:
    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    schema_text: str
    annotations: Mapping[str, Mapping[str, str]]


def check(policy: PolicySet) -> None:
    """Refuse a set whose rules cannot be read, do not fit their schema, or cannot judge its accounts."""
    _engine(policy.files["policies.cedar"].decode(), policy.files["schema.cedarschema"].decode())
    _limits_worth(policy)
    for safe in _quorums(policy):
        _denies(policy, safe, {"critical_approvals_missing": 1}, "what too few approve of a Safe's change")
    for account in policy.service_accounts.values():
        for action in REQUIRED:
            # a schema without the kind refuses every question: better now than at its first intent
            explain(policy, action, proposer=account, key=policy.key(account.keys[0]), facts={})


def _limits_worth(policy: PolicySet) -> None:
    """Refuse a set that says what an exchange may lose, and has no rule that denies what loses more."""
    if policy.limits.worth is None:
        return
    lost = {"worth_loss_bps": policy.limits.worth.loss_bps_max + 1}
    for key in policy.keys.values():
        _denies(policy, key, lost, "what loses more than limits.worth says")


def _denies(policy: PolicySet, key: Key, facts: Mapping[str, int | bool], what: str) -> None:
    """Refuse a set none of whose rules denies such facts."""
    person = next(iter(policy.people.values()))  # a forbid names itself, whoever is permitted anything
    for action in REQUIRED:
        within = explain(policy, action, proposer=person, key=key, facts={})
        beyond = explain(policy, action, proposer=person, key=key, facts=facts)
        if within.denying == beyond.denying:
            raise RefusedError(Refusal.POLICY_INVALID, f"no rule denies to {action} {what}")


def required(policy: PolicySet, action: Action) -> Mapping[str, type]:
    """Return the facts that must be there under this policy set, with their types."""
    worth = {} if policy.limits.worth is None else WORTH_FACTS
    return {**REQUIRED[action], **worth, **(CRITICAL_FACTS if _quorums(policy) else {})}


def _quorums(policy: PolicySet) -> list[SafeKey]:
    """Return the Safes that a quorum may change."""
    safes = [each for each in policy.keys.values() if isinstance(each, SafeKey)]
    return [each for each in safes if each.pins.critical_quorum is not None]


def evaluate(
    policy: PolicySet, action: Action, *, proposer: Proposer, key: Key, facts: Mapping[str, int | bool]
) -> Verdict:
    """Ask the policy set whether this proposer's intent may be released or signed with this key.

    Raises:
        RefusedError: FACT_MISSING for the first absent or mistyped fact, POLICY_INVALID when the
            rules do not fit the schema.

    """
    return _ask(policy, action, proposer, key, _complete(policy, action, facts))


def explain(
    policy: PolicySet, action: Action, *, proposer: Proposer, key: Key, facts: Mapping[str, int | bool]
) -> Explanation:
    """Say which rules deny because of what is known, and which facts are not known yet.

    An unknown fact is given the value at which no rule speaks of it, so that the list holds
    only what somebody can already act on. That is why the result permits nothing.
    """
    asked = required(policy, action)
    missing = tuple(name for name, kind in asked.items() if type(facts.get(name)) is not kind)
    silent = {name: SILENT.get(name, asked[name](asked[name] is bool)) for name in missing}
    known = {name: silent[name] if name in silent else facts[name] for name in asked}
    verdict = _ask(policy, action, proposer, key, known)
    return Explanation(denying=verdict.denying, needs=verdict.needs, missing=missing)


def _ask(
    policy: PolicySet, action: Action, proposer: Proposer, key: Key, context: Mapping[str, int | bool]
) -> Verdict:
    engine = _engine(policy.files["policies.cedar"].decode(), policy.files["schema.cedarschema"].decode())
    request = {
        "principal": _uid(proposer),
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Key", "id": key.id},
        "context": dict(context),
    }
    entities = json.dumps(_entities(proposer, key, policy.limits))
    result = cedarpy.is_authorized(request, engine.policies, entities, engine.schema)
    # (3)
    if result.diagnostics.errors:
        raise RefusedError(Refusal.POLICY_INVALID, "; ".join(result.diagnostics.errors)[:500])
    if result.allowed:
        return Verdict(allowed=True, denying=(), needs=())
    reasons = sorted(result.diagnostics.reasons)
    denying = tuple(sorted({engine.annotations[reason]["id"] for reason in reasons}))
    needs = tuple(sorted({engine.annotations[reason]["needs"] for reason in reasons}))
    return Verdict(allowed=False, denying=denying, needs=needs)


def _complete(policy: PolicySet, action: Action, facts: Mapping[str, int | bool]) -> dict[str, int | bool]:
    # (1)
    asked = required(policy, action)
    for name, kind in asked.items():
        if type(facts.get(name)) is not kind:
            raise RefusedError(Refusal.FACT_MISSING, f"{action} needs the fact {name}", path=f"/facts/{name}")
    return {name: facts[name] for name in asked}


def _uid(proposer: Proposer) -> dict[str, str]:
    # a kind of its own: a rule about a person's roles must not come to mean a program
    kind = "ServiceAccount" if isinstance(proposer, ServiceAccount) else "Person"
    return {"type": kind, "id": proposer.id}


def _said_of(proposer: Proposer) -> dict[str, Any]:
    if isinstance(proposer, ServiceAccount):
        return {"owner": proposer.owner}
    return {"roles": list(proposer.roles)}


def _entities(proposer: Proposer, key: Key, limits: Limits) -> list[dict[str, Any]]:
    amounts = limits.amounts(key.tier)
    return [
        {"uid": _uid(proposer), "attrs": _said_of(proposer), "parents": []},
        {
            "uid": {"type": "Key", "id": key.id},
            "attrs": {
                "tier": key.tier,
                "single_usd_cents_max": amounts.single_usd_cents_max,
                "daily_usd_cents_max": amounts.daily_usd_cents_max,
                "second_path_usd_cents_min": amounts.second_path_usd_cents_min,
                "slippage_bps_max": limits.slippage_bps_max,
                "attestation_age_s_max": limits.attestation_age_s_max,
                "simulation_age_s_max": limits.simulation_age_s_max,
                # a schema from before the limit knows no such attribute
                **({"worth_loss_bps_max": limits.worth.loss_bps_max} if limits.worth else {}),
            },
            "parents": [],
        },
    ]


@lru_cache(maxsize=8)
def _engine(policies: str, schema: str) -> _Engine:
    # (2)
    try:
        result = cedarpy.validate_policies(policies, schema)
    except ValueError as error:
        raise RefusedError(Refusal.POLICY_INVALID, str(error)[:500]) from error
    if not result.validation_passed:
        raise RefusedError(Refusal.POLICY_INVALID, "; ".join(str(error) for error in result.errors)[:500])
    parsed = json.loads(cedarpy.policies_to_json_str(policies))["staticPolicies"]
    annotations = {name: value.get("annotations", {}) for name, value in parsed.items()}
    for name, value in parsed.items():
        if value["effect"] == "forbid" and not {"id", "needs"} <= annotations[name].keys():
            raise RefusedError(
                Refusal.POLICY_INVALID, f"{name}: a forbid without @id or @needs explains nothing"
            )
    return _Engine(cedarpy.PolicySet.from_str(policies), cedarpy.Schema.from_str(schema), schema, annotations)
