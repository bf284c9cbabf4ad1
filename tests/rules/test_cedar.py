"""Cedar: fails closed on every absent fact, wrong type and broken rule; each rule denies as its @id says."""

import re
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.rules.build import World, refused
from workbench.rules import cedar
from workbench.rules.cedar import RELEASE_FACTS, SIGN_FACTS, Action, Verdict
from workbench.rules.codes import Refusal
from workbench.rules.policy import PolicySet

Facts = dict[str, Any]

GOOD: Facts = {
    "amount_usd_cents": 100_000_000,
    "approvals": 1,
    "approvals_cro": 0,
    "approvals_console": 0,
    "contract_whitelisted": True,
    "function_permitted": True,
    "arguments_within_bounds": True,
    "calls_understood": True,
    "code_unchanged": True,
    "nonce_reserved": True,
    "nonce_unspent": True,
    "gas_affordable": True,
    "bytes_are_intent": True,
    "simulation_succeeds": True,
    "simulation_alone": True,
    "simulation_age_s": 60,
    "attestation_age_s": 60,
    "state_diff_declared": True,
    "within_tolerance": True,
    "slippage_bps": 50,
    "floor_bps": 50,
    "admin_changes": 0,
    "findings": 0,
    "steady": True,
    "session_active": True,
    "daily_usd_cents": 2_500_000_000,
}
BOTH: tuple[Action, ...] = ("sign", "release")
NEEDED = [("sign", name) for name in SIGN_FACTS] + [("release", name) for name in RELEASE_FACTS]


def asked(
    world: World, action: str, facts: Facts, *, policy: PolicySet | None = None, person: str = "pm-1"
) -> Verdict:
    """Ask the desk's rules."""
    policy = policy or world.policy
    return cedar.evaluate(
        policy,
        cast("Action", action),
        proposer=world.policy.proposer(person),
        key=world.policy.key("treasury"),
        facts=facts,
    )


def ruled(
    world: World, *, add: str = "", replace: tuple[str, str] = ("", ""), schema: tuple[str, str] = ("", "")
) -> PolicySet:
    """Return the desk's set with other rules or another schema."""
    rules = world.files["policies.cedar"].decode().replace(*replace) + add
    text = world.files["schema.cedarschema"].decode().replace(*schema)
    return world.policy_of(
        {**world.files, "policies.cedar": rules.encode(), "schema.cedarschema": text.encode()}
    )


def refused_without(world: World, policy: PolicySet, file: str, bend: Callable[[str], str]) -> None:
    """Assert that a set is good as it is, and is refused with this file bent."""
    cedar.check(policy)
    text = bend(policy.files[file].decode())
    assert text != policy.files[file].decode()
    with refused(Refusal.POLICY_INVALID):
        cedar.check(world.policy_of({**policy.files, file: text.encode()}))


@pytest.mark.parametrize("action", BOTH)
def test_all_good_is_allowed(world: World, action: str) -> None:
    """At every limit, and with a consent: yes; and a yes needs nothing."""
    verdict = asked(world, action, GOOD)
    assert verdict == Verdict(allowed=True, denying=(), needs=())
    verdict.require()


def test_the_facts_are_those_of_the_schema(world: World) -> None:
    """The list in the code and the contexts in the schema name the same facts and types."""
    text = world.files["schema.cedarschema"].decode()
    for action, names in (("sign", SIGN_FACTS), ("release", RELEASE_FACTS)):
        block = text.split(f'action "{action}"')[1].split("};")[0]
        found = dict(re.findall(r'"(\w+)": (Long|Bool)', block))
        assert found == {name: {int: "Long", bool: "Bool"}[kind] for name, kind in names.items()}


@pytest.mark.parametrize(("action", "name"), NEEDED)
def test_each_missing_fact_is_refused_by_name(world: World, action: str, name: str) -> None:
    """One fact fewer, and Cedar is not even asked."""
    facts = {key: value for key, value in GOOD.items() if key != name}
    with refused(Refusal.FACT_MISSING, f"/facts/{name}"):
        asked(world, action, facts)


@pytest.mark.parametrize(("action", "name"), NEEDED)
def test_each_fact_has_its_type(world: World, action: str, name: str) -> None:
    """True is not one, one is not true, and nothing is nothing."""
    wrong = 1 if isinstance(GOOD[name], bool) else True
    for value in (wrong, None, str(GOOD[name]), float(GOOD[name]), [GOOD[name]]):
        with refused(Refusal.FACT_MISSING, f"/facts/{name}"):
            asked(world, action, {**GOOD, name: value})


def test_no_facts_at_all(world: World) -> None:
    """Nothing known, nothing allowed."""
    with refused(Refusal.FACT_MISSING):
        asked(world, "sign", {})


def test_a_fact_that_the_schema_does_not_name_is_not_heard(world: World) -> None:
    """What else somebody claims changes nothing."""
    assert asked(world, "sign", {**GOOD, "approvals_pope": 9, "daily_usd_cents": 2**62}).allowed
    assert not asked(world, "sign", {**GOOD, "approvals": 0, "override": True}).allowed


RULES = [
    pytest.param(
        {"amount_usd_cents": 1_000_000_000, "approvals_cro": 1},
        "approval.second-path",
        "approve:console:1",
        BOTH,
        id="ten million and no consent by the second path",
    ),
    pytest.param({"approvals": 0}, "approval.four-eyes", "approve:any:1", BOTH, id="nobody else consents"),
    pytest.param({"approvals": -1}, "approval.four-eyes", "approve:any:1", BOTH, id="fewer than nobody"),
    pytest.param(
        {"amount_usd_cents": 100_000_001},
        "limit.single-transaction",
        "approve:cro:1",
        BOTH,
        id="a cent over the single limit",
    ),
    pytest.param(
        {"amount_usd_cents": 2**62, "approvals_console": 1},
        "limit.single-transaction",
        "approve:cro:1",
        BOTH,
        id="the largest amount there is",
    ),
    pytest.param(
        {"daily_usd_cents": 2_500_000_001},
        "limit.daily",
        "approve:cro:1",
        ("release",),
        id="a cent over the day's limit",
    ),
    pytest.param(
        {"session_active": False}, "session.active", "session:renew", ("release",), id="the session ended"
    ),
    pytest.param(
        {"contract_whitelisted": False}, "contract.whitelisted", "review:contract", BOTH, id="not whitelisted"
    ),
    pytest.param(
        {"code_unchanged": False}, "contract.code-unchanged", "review:contract", BOTH, id="other code"
    ),
    pytest.param(
        {"function_permitted": False}, "contract.function", "review:function", BOTH, id="another function"
    ),
    pytest.param(
        {"arguments_within_bounds": False},
        "contract.arguments",
        "propose:within-bounds",
        BOTH,
        id="arguments out of bounds",
    ),
    pytest.param(
        {"calls_understood": False}, "contract.calls", "review:calls", BOTH, id="a call that is a guess"
    ),
    pytest.param({"bytes_are_intent": False}, "payload.binding", "propose:again", BOTH, id="other bytes"),
    pytest.param({"nonce_reserved": False}, "nonce.binding", "reserve:nonce", BOTH, id="another nonce"),
    pytest.param({"nonce_unspent": False}, "nonce.binding", "reserve:nonce", BOTH, id="a spent nonce"),
    pytest.param({"gas_affordable": False}, "gas.affordable", "fund:gas", BOTH, id="no ether for gas"),
    pytest.param(
        {"simulation_succeeds": False}, "simulation.succeeds", "simulate:again", BOTH, id="it reverts"
    ),
    pytest.param(
        {"simulation_alone": False},
        "simulation.succeeds",
        "simulate:again",
        BOTH,
        id="simulated behind others",
    ),
    pytest.param(
        {"simulation_age_s": 61}, "simulation.fresh", "simulate:again", BOTH, id="an old simulation"
    ),
    pytest.param(
        {"attestation_age_s": 61}, "simulation.fresh", "simulate:again", BOTH, id="an old attestation"
    ),
    pytest.param(
        {"state_diff_declared": False},
        "simulation.state-diff",
        "propose:declare",
        BOTH,
        id="an undeclared state diff",
    ),
    pytest.param({"findings": 1}, "simulation.findings", "review:findings", BOTH, id="a finding"),
    pytest.param({"findings": -1}, "simulation.findings", "review:findings", BOTH, id="less than none"),
    pytest.param(
        {"steady": False}, "simulation.findings", "review:findings", BOTH, id="another block, another outcome"
    ),
    pytest.param(
        {"admin_changes": 1}, "simulation.state-diff", "propose:declare", BOTH, id="an admin change"
    ),
    pytest.param(
        {"admin_changes": -1},
        "simulation.state-diff",
        "propose:declare",
        BOTH,
        id="fewer admin changes than none",
    ),
    pytest.param(
        {"within_tolerance": False}, "simulation.tolerance", "approve:again", BOTH, id="worse than approved"
    ),
    pytest.param(
        {"slippage_bps": 51}, "simulation.slippage", "propose:smaller", BOTH, id="a basis point too much"
    ),
    pytest.param(
        {"floor_bps": 51}, "simulation.floor", "propose:tighter", BOTH, id="a minimum a basis point too low"
    ),
]


@pytest.mark.parametrize(("bad", "rule", "needs", "actions"), RULES)
def test_each_rule_denies_alone(
    world: World, bad: Facts, rule: str, needs: str, actions: tuple[str, ...]
) -> None:
    """One bad fact: exactly this rule denies, and it says what would lift it; others do not speak."""
    for action in BOTH:
        verdict = asked(world, action, {**GOOD, **bad})
        if action in actions:
            assert verdict == Verdict(allowed=False, denying=(rule,), needs=(needs,))
            with refused(Refusal.POLICY_DENIED) as caught:
                verdict.require()
            assert caught.detail == rule
        else:
            assert verdict.allowed


def test_every_rule_of_the_desk_has_a_row(world: World) -> None:
    """A forbid that nothing here denies by would be a rule nobody tried."""
    text = world.files["policies.cedar"].decode()
    written = set(re.findall(r'@id\("([^"]+)"\)\n@needs\([^\n]+\nforbid', text))
    # what speaks only where a set demands it is tried by `test_worth` and `test_critical`
    assert written == {case.values[1] for case in RULES} | {"exchange.worth", "safe.critical"}


def test_who_neither_trades_nor_manages_is_permitted_nothing(world: World) -> None:
    """No permit opens the door: denied without a rule to blame."""
    for action in BOTH:
        verdict = asked(world, action, GOOD, person="auditor-1")
        assert verdict == Verdict(allowed=False, denying=(), needs=())
        with refused(Refusal.POLICY_DENIED) as caught:
            verdict.require()
        assert caught.detail == "no rule permits it"


def test_the_officers_consent_lifts_the_limits(world: World) -> None:
    """Over both limits: denied by both without, allowed with the chief risk officer's consent."""
    over = {**GOOD, "amount_usd_cents": 500_000_000, "daily_usd_cents": 9_000_000_000}
    verdict = asked(world, "release", over)
    assert verdict.denying == ("limit.daily", "limit.single-transaction")
    assert verdict.needs == ("approve:cro:1",)
    assert asked(world, "release", {**over, "approvals_cro": 1}).allowed


def test_all_that_is_wrong_is_named(world: World) -> None:
    """Everything bad at once: every rule is listed, none hides another."""
    worst = {**GOOD}
    for case in RULES:
        worst |= case.values[0]  # type: ignore[operator] - the row's facts
    worst |= {"approvals_cro": 0, "approvals_console": 0}
    verdict = asked(world, "release", worst)
    assert set(verdict.denying) == {case.values[1] for case in RULES}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 2**200])
def test_an_integer_beyond_cedars(world: World, value: int) -> None:
    """A number that Cedar cannot hold is an error, never a wrapped number that is under the limit."""
    for name in ("amount_usd_cents", "slippage_bps", "approvals"):
        with refused(Refusal.POLICY_INVALID):
            asked(world, "sign", {**GOOD, name: value})


def test_the_largest_integers_that_cedar_holds(world: World) -> None:
    """They are over every limit, and are said to be."""
    assert asked(world, "sign", {**GOOD, "slippage_bps": 2**63 - 1}).denying == ("simulation.slippage",)
    assert asked(world, "sign", {**GOOD, "slippage_bps": -(2**63)}).allowed


FORBID = "(principal, action, resource)"


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"add": "\nforbid"}, id="half a rule"),
        pytest.param(
            {"add": f'\n@id("x") @needs("y") forbid {FORBID} when {{ context.misspelt }};'},
            id="a misspelt fact",
        ),
        pytest.param(
            {"add": f'\n@id("x") @needs("y") forbid {FORBID} when {{ context.approvals }};'},
            id="a count for a truth",
        ),
        pytest.param(
            {"add": f'\n@id("x") @needs("y") forbid {FORBID} when {{ context.daily_usd_cents > 1 }};'},
            id="a fact that only one action has",
        ),
        pytest.param(
            {"add": f'\n@id("x") @needs("y") forbid {FORBID} when {{ principal.site == "north" }};'},
            id="an attribute we do not hand over",
        ),
        pytest.param({"add": f'\n@id("x") forbid {FORBID};'}, id="a forbid without @needs"),
        pytest.param({"add": f'\n@needs("x") forbid {FORBID};'}, id="a forbid without @id"),
        pytest.param({"add": f"\nforbid {FORBID};"}, id="a forbid that explains nothing"),
        pytest.param(
            {"add": '\n@id("x") @needs("y") forbid (principal, action == Action::"sing", resource);'},
            id="an action that does not exist",
        ),
        pytest.param({"schema": ('action "sign"', 'action "sing"')}, id="a schema without the action"),
        pytest.param({"schema": ("entity Person", "entity Human")}, id="a schema without people"),
        pytest.param({"schema": ('"approvals": Long,', "")}, id="a schema without a fact"),
        pytest.param({"schema": ("entity Key", "entity")}, id="a schema that is none"),
        pytest.param({"replace": ("permit", "allow")}, id="a word that is not Cedar's"),
    ],
)
def test_rules_that_cannot_be_asked(world: World, rules: dict[str, Any]) -> None:
    """A rule set that is broken anywhere refuses everything, good facts or not."""
    broken = ruled(world, **rules)
    for _ in range(2):
        with refused(Refusal.POLICY_INVALID):
            asked(world, "sign", GOOD, policy=broken)
        with refused(Refusal.POLICY_INVALID):
            cedar.explain(
                broken,
                "sign",
                proposer=world.policy.proposer("pm-1"),
                key=world.policy.key("treasury"),
                facts=GOOD,
            )
    assert asked(world, "sign", GOOD).allowed


def test_a_forbid_that_errs_is_not_skipped(world: World) -> None:
    """Cedar skips a policy that overflows, which would allow: the wrapper refuses."""
    rule = f'\n@id("x") @needs("y") forbid {FORBID} when {{ context.amount_usd_cents * 1000000000000 > 1 }};'
    overflowing = ruled(world, add=rule)
    assert asked(world, "sign", {**GOOD, "amount_usd_cents": 0}, policy=overflowing).allowed
    with refused(Refusal.POLICY_INVALID):
        asked(world, "sign", GOOD, policy=overflowing)


def test_a_permit_that_errs_is_not_skipped_either(world: World) -> None:
    """Any error is a no, even where another rule would say yes."""
    rule = "\npermit (principal, action, resource) when { context.amount_usd_cents * 1000000000000 > 1 };"
    with refused(Refusal.POLICY_INVALID):
        asked(world, "sign", GOOD, policy=ruled(world, add=rule))


def test_without_a_permit_nothing_is_allowed(world: World) -> None:
    """A set of forbids alone denies."""
    text = world.files["policies.cedar"].decode()
    forbids = text[text.index("// Four eyes") :]
    policy = world.policy_of({**world.files, "policies.cedar": forbids.encode()})
    assert asked(world, "sign", GOOD, policy=policy) == Verdict(allowed=False, denying=(), needs=())


def test_a_permit_needs_no_name(world: World) -> None:
    """Only a rule that denies has something to explain."""
    assert asked(world, "sign", GOOD, policy=ruled(world, add=f"\npermit {FORBID} when {{ false }};")).allowed


def explained(world: World, action: Action, facts: Facts) -> cedar.Explanation:
    """Explain what is outstanding."""
    person, key = world.policy.person("pm-1"), world.policy.key("treasury")
    return cedar.explain(world.policy, action, proposer=person, key=key, facts=facts)


def test_an_explanation_permits_nothing(world: World) -> None:
    """Even of all good facts it has no word for yes."""
    explanation = explained(world, "sign", GOOD)
    assert (explanation.denying, explanation.needs, explanation.missing) == ((), (), ())
    assert not hasattr(explanation, "allowed")
    assert not hasattr(explanation, "require")


def test_an_explanation_of_nothing_known(world: World) -> None:
    """It lists every fact as missing, and only the consent that somebody can already give."""
    explanation = explained(world, "release", {})
    assert set(explanation.missing) == set(RELEASE_FACTS)
    assert explanation.denying == ("approval.four-eyes",)
    assert explanation.needs == ("approve:any:1",)


@pytest.mark.parametrize(("bad", "rule", "needs", "actions"), RULES)
def test_an_explanation_names_what_is_already_known(
    world: World, bad: Facts, rule: str, needs: str, actions: tuple[str, ...]
) -> None:
    """A single known fault is named, however little else is known."""
    explanation = explained(world, cast("Action", actions[0]), {"approvals": 1, **bad})
    others = () if rule == "approval.four-eyes" else (rule,)
    assert set(explanation.denying) == {rule, *others}
    assert needs in explanation.needs


def test_limits_come_from_the_policy_set(world: World) -> None:
    """The numbers in limits.json are what the rules compare with."""
    stricter = world.policy_with("limits.json", lambda value: value | {"slippage_bps_max": 49})
    assert asked(world, "sign", {**GOOD, "floor_bps": 0}, policy=stricter).denying == ("simulation.slippage",)


SINGLE, DAILY, SECOND = "limit.single-transaction", "limit.daily", "approval.second-path"
TIERS: list[tuple[str, str, int, int, Facts, set[str]]] = [
    ("hot, at its amounts", "hot", 100_000_000, 2_500_000_000, {}, set()),
    ("hot, over its single one", "hot", 100_000_001, 0, {}, {SINGLE}),
    ("warm, at its amounts", "warm", 10_000_000, 250_000_000, {}, set()),
    ("warm, over its single one", "warm", 10_000_001, 0, {}, {SINGLE}),
    ("warm, over its day", "warm", 0, 250_000_001, {}, {DAILY}),
    ("warm, where the second path begins", "warm", 100_000_000, 0, {}, {SINGLE, SECOND}),
    ("cold, nothing but gas", "cold", 0, 0, {}, {SECOND}),
    ("cold, a cent", "cold", 1, 1, {}, {SINGLE, DAILY, SECOND}),
    ("cold, with both consents", "cold", 1, 1, {"approvals_cro": 1, "approvals_console": 1}, set()),
]


@pytest.mark.parametrize("case", [each[1:] for each in TIERS], ids=[each[0] for each in TIERS])
def test_a_colder_key_needs_more_consent(world: World, case: tuple[str, int, int, Facts, set[str]]) -> None:
    """The same rules, over the amounts of the key's own tier."""
    tier, amount, day, more, denying = case
    policy = world.policy_of(world.with_file("keys.json", lambda keys: [{**keys[0], "tier": tier}]))
    facts = {**GOOD, "amount_usd_cents": amount, "daily_usd_cents": day, "approvals_console": 0, **more}
    verdict = cedar.evaluate(
        policy, "release", proposer=policy.proposer("pm-1"), key=policy.key("treasury"), facts=facts
    )
    assert set(verdict.denying) == denying


def test_no_colder_key_has_looser_amounts(world: World) -> None:
    """Whatever a set says of a tier: the tightest counts, and a tier that is not there has the hotter's."""
    loose = {"single_usd_cents_max": 10**12, "daily_usd_cents_max": 5, "second_path_usd_cents_min": 10**12}
    limits = world.policy.limits
    for tiers, tier in (({"warm": loose}, "warm"), ({"cold": loose}, "cold"), ({"warm": loose}, "cold")):
        made = type(limits).load({**limits.dump(), "tiers": tiers}).amounts(tier)
        assert (made.single_usd_cents_max, made.daily_usd_cents_max) == (limits.single_usd_cents_max, 5)
        assert made.second_path_usd_cents_min == limits.second_path_usd_cents_min
