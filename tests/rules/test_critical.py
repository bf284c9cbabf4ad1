"""A change of a Safe waits for the people whom its pins demand: the fact, the rule, and a set without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.evm.plans import Plan, multi_send
from tests.rules.build import World, address, refused
from tests.rules.test_cedar import BOTH, GOOD, refused_without
from tests.rules.test_facts import approvals
from tests.rules.test_keys import MULTI_SEND, SAFE, with_a_safe
from workbench.demo import charter
from workbench.evm import calldata, known
from workbench.rules import cedar, execution, facts
from workbench.rules.cedar import Action, Verdict
from workbench.rules.codes import Refusal
from workbench.rules.intent import Intent

FACT, RULE = "critical_approvals_missing", "safe.critical"
QUORUM = 4
PEOPLE = ("a", "b", "c", "d", "e")
THRESHOLD = calldata.encode(known.fragment("changeThreshold(uint256 threshold)"), {"threshold": "4"})
BATCH = multi_send(Plan(address("token"), b"\x12\x34\x56\x78"), Plan(SAFE, THRESHOLD))


def change(world: World, *, batched: bool = False) -> Intent:
    """Return an intent that makes the Safe ask for four owners."""
    return world.approval(
        to=MULTI_SEND if batched else SAFE, data=(BATCH if batched else THRESHOLD).hex(), allowances=[]
    )


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("count", range(6))
def test_how_many_are_missing(world: World, count: int, *, batched: bool) -> None:
    """Each person's consent counts once, wherever in the intent the change stands; more are no credit."""
    policy, intent = with_a_safe(world, QUORUM), change(world, batched=batched)
    consent = approvals(**dict.fromkeys(PEOPLE[:count], "committee"))
    computed = facts.compute(
        world.given(intent, policy=policy, approvals=consent, transaction=None, state=None)
    )
    assert computed[FACT] == max(0, QUORUM - count)


def test_what_is_no_change(world: World) -> None:
    """A payment of the Safe lacks nobody, nor does an intent for a key that is none."""
    policy = with_a_safe(world, QUORUM)
    assert execution.critical(world.approval(), policy) == ()
    assert execution.quorum(world.approval(), policy) is None
    assert execution.quorum(change(world), world.policy) is None
    assert execution.quorum(change(world), policy) == QUORUM
    with refused(Refusal.SAFE_CRITICAL):
        execution.verify_proposable(change(world), with_a_safe(world))
    execution.verify_proposable(change(world), policy)


@pytest.mark.parametrize("action", BOTH)
def test_the_rule(world: World, action: Action) -> None:
    """One missing denies by name, whatever else is good; none missing does not; not known is refused."""
    policy = with_a_safe(world, QUORUM)
    asked: dict[str, Any] = {"proposer": policy.proposer("pm-1"), "key": policy.key(charter.KEY_ID)}
    assert cedar.evaluate(policy, action, facts={**GOOD, FACT: 0}, **asked).allowed
    denied = cedar.evaluate(policy, action, facts={**GOOD, FACT: 1}, **asked)
    assert denied == Verdict(allowed=False, denying=(RULE,), needs=("approve:any:more",))
    with refused(Refusal.FACT_MISSING, f"/facts/{FACT}"):
        cedar.evaluate(policy, action, facts=GOOD, **asked)
    assert FACT not in cedar.required(world.policy, action)


def test_who_governs_the_safe_is_expected_then(world: World) -> None:
    """Of the Safe itself, where a quorum decides on it and the intent says so; of nobody else."""
    own, other = ({"contract": each, "change": "ChangedThreshold"} for each in (SAFE, address("token")))
    fresh = world.simulation(world.approval()).model_copy(update={"admin_changes": [own, other]})
    policy = with_a_safe(world, QUORUM)
    assert facts.unexpected_changes(fresh, change(world), policy) == [other]
    assert facts.unexpected_changes(fresh, world.approval(), policy) == [own, other]
    assert facts.unexpected_changes(fresh, change(world), with_a_safe(world)) == [own, other]
    assert facts.unexpected_changes(fresh, change(world), world.policy) == [own, other]


WITHOUT: list[Any] = [
    pytest.param("policies.cedar", lambda text: text.replace(f"context.{FACT} > 0", "false"), id="no rule"),
    pytest.param("policies.cedar", lambda text: text.replace(f"{FACT} > 0", f"{FACT} > 1"), id="one short"),
    pytest.param(
        "schema.cedarschema", lambda text: text.replace(f'    "{FACT}"?: Long,\n', ""), id="no fact"
    ),
]


@pytest.mark.parametrize(("file", "bend"), WITHOUT)
def test_a_quorum_without_its_rule(world: World, file: str, bend: Callable[[str], str]) -> None:
    """A set that says how many must approve a change of its Safe, and waits for none of them, is refused."""
    refused_without(world, with_a_safe(world, QUORUM), file, bend)
