"""What an exchange is worth: a pool's own word is not enough, and neither is one source's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.build import (
    CHAIN_ID,
    DEPLOYMENT,
    MILLION,
    NOW,
    TREASURY,
    World,
    address,
    attest,
    digest_of,
    public,
    refused,
    statement,
)
from tests.rules.test_cedar import refused_without
from workbench.rules import approval, cedar, shown, shown_worth, worth
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.codes import Refusal
from workbench.rules.decision import Approvals
from workbench.rules.documents import write_time
from workbench.rules.facts import compute
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet
from workbench.rules.price_feed import QUOTES_LINE

USDC, WETH = DEPLOYMENT.usdc, DEPLOYMENT.weth
LIMIT = {
    "loss_bps_max": 25,
    "quote": "USD",
    "sources_min": 3,
    "age_s_max": 600,
    "deviation_bps_max": 100,
}
ETHER = 10**18
FAIR = {"alpha": "2500", "beta": "2500", "gamma": "2500"}
PAR = {"alpha": "1", "beta": "1", "gamma": "1"}
CONSENT = Approvals(
    roles={"risk-1": "risk_officer"}, counted=[], consoles=0, skipped={}, tolerance_inflow_bps=0
)
OTHER = address("somebody else")
SECOND = address("a second treasury")

Moves = Sequence[tuple[str, str, int]]


def demanding(world: World, *, assets: Callable[[Any], Any] = lambda value: value, **limit: Any) -> PolicySet:
    """Return the desk's policy set with a limit to what an exchange may lose."""
    files = world.with_file("limits.json", lambda value: value | {"worth": LIMIT | limit})
    changed = replace(world, files=files)
    return world.policy_of(changed.with_file("assets.json", assets))


def quotes(
    prices: Mapping[str, str],
    base: str = "ETH",
    *,
    quote: str = "USD",
    observer: str = "observer",
    age_s: float = 5,
    ages: Mapping[str, float] | None = None,
    **changes: Any,
) -> Statement:
    """Return what an observer attests that these sources say."""
    document = {
        "v": 1,
        "chain_id": CHAIN_ID,
        "block": {"number": 100, "hash": digest_of("block")},
        "base": base,
        "quote": quote,
        "quotes": [
            {
                "source": source,
                "kind": "signed",
                "price": price,
                "at": write_time(NOW - timedelta(seconds=(ages or {}).get(source, 10))),
                "detail": "",
            }
            for source, price in prices.items()
        ],
        "missing": [],
        "at": write_time(NOW - timedelta(seconds=age_s)),
    }
    return statement(observer, QUOTES_LINE, document | changes)


def said(eth: Mapping[str, str] = FAIR, usdc: Mapping[str, str] = PAR) -> list[Statement]:
    """Return honest statements of both pairs."""
    return [quotes(eth), quotes(usdc, "USDC")]


def moving(world: World, moves: Moves, *, declared: Moves | None = None) -> tuple[Intent, Simulation]:
    """Return an intent and its simulation, in which the pool's own price shows no slippage."""
    told = [_delta(*each) for each in (moves if declared is None else declared)]
    intent = world.swap(deltas=told)
    made = [_delta(*each) for each in moves]
    return intent, world.simulation(intent, deltas=made, slippage_bps=0, slippage_ppm=0)


def swapped(world: World, weth: int, usdc: int = MILLION) -> tuple[Intent, Simulation]:
    """Return a sale of USDC that brings in so much WETH."""
    return moving(world, [(TREASURY, USDC, -usdc), (TREASURY, WETH, weth)])


def weighed(
    world: World, weth: int, statements: Sequence[Statement], policy: PolicySet | None = None
) -> worth.Worth:
    """Return what a sale of a million USDC for so much WETH is worth."""
    intent, simulation = swapped(world, weth)
    return weigh(world, intent, simulation, statements, policy or demanding(world))


def weigh(
    world: World, intent: Intent, simulation: Simulation, statements: Sequence[Statement], policy: PolicySet
) -> worth.Worth:
    """Return what an exchange is worth under this policy set."""
    found = worth.weigh(
        intent,
        simulation,
        statements,
        policy=policy,
        trust_root=world.trust_root,
        now=NOW,
        age_s_max=60,
    )
    assert found is not None
    return found


def denying(world: World, weth: int, action: cedar.Action, policy: PolicySet) -> tuple[str, ...]:
    """Return which rules deny this sale, with honest prices and somebody's consent."""
    intent, simulation = swapped(world, weth)
    given = world.given(
        intent,
        policy=policy,
        approved=simulation,
        fresh=simulation,
        approvals=CONSENT,
        worth=weigh(world, intent, simulation, said(), policy),
    )
    known = compute(given) | {"session_active": True, "daily_usd_cents": 0}
    proposer, key = policy.proposer(intent.proposer), policy.key(intent.key)
    return cedar.evaluate(policy, action, proposer=proposer, key=key, facts=known).denying


LOSSES = [
    pytest.param(400 * ETHER, FAIR, PAR, 0, id="fair: nothing is lost"),
    pytest.param(401 * ETHER, FAIR, PAR, 0, id="a gain is no loss"),
    pytest.param(399 * ETHER, FAIR, PAR, 25, id="a quarter of a percent, exactly"),
    pytest.param(399 * ETHER - 1, FAIR, PAR, 26, id="one base unit less is rounded against us"),
    pytest.param(400 * ETHER - 1, FAIR, PAR, 1, id="the smallest loss is a basis point"),
    pytest.param(368 * ETHER, FAIR, PAR, 800, id="a pushed pool: eight percent"),
    pytest.param(1, FAIR, PAR, 10_000, id="all but nothing comes in"),
    pytest.param(400 * 10**6, FAIR, PAR, 10_000, id="18 decimals are not 6"),
    pytest.param(
        400 * ETHER, FAIR, dict.fromkeys(PAR, "0.98"), 0, id="a stablecoin below par: we sell it dear"
    ),
    pytest.param(400 * ETHER, FAIR, dict.fromkeys(PAR, "1.02"), 197, id="a stablecoin above par is not one"),
    pytest.param(400 * ETHER, FAIR | {"gamma": "2480"}, PAR, 0, id="the median, not the lowest"),
    pytest.param(
        400 * ETHER, dict(zip("ab", ("2500", "2480"), strict=True)) | {"c": "2490"}, PAR, 40, id="median"
    ),
]


@pytest.mark.parametrize(("weth", "eth", "usdc", "loss"), LOSSES)
def test_what_is_lost(
    world: World, weth: int, eth: Mapping[str, str], usdc: Mapping[str, str], loss: int
) -> None:
    """A million USDC for so much WETH, at these prices: exact, in basis points, rounded up."""
    assert weighed(world, weth, said(eth, usdc)).loss_bps == loss


@pytest.mark.parametrize("action", ["release", "sign"])
@pytest.mark.parametrize(
    ("weth", "rules"),
    [
        pytest.param(399 * ETHER, (), id="at the limit"),
        pytest.param(399 * ETHER - 1, ("exchange.worth",), id="one basis point more"),
        pytest.param(
            368 * ETHER, ("exchange.worth",), id="a pushed pool, whose own price says nothing is lost"
        ),
    ],
)
def test_the_rule(world: World, weth: int, rules: tuple[str, ...], action: cedar.Action) -> None:
    """What loses more than the limit is denied by name, and by this rule alone; the slippage is 0."""
    assert denying(world, weth, action, demanding(world)) == rules


NO_PRICE: list[Any] = [
    pytest.param([], Refusal.FACT_MISSING, "ETH/USD: 0 of 1 observers", id="no quotes at all"),
    pytest.param(said()[:1], Refusal.FACT_MISSING, "USDC/USD: 0 of 1", id="a stablecoin has no quotes"),
    pytest.param(
        [quotes(FAIR, quote="EUR"), quotes(PAR, "USDC")],
        Refusal.FACT_MISSING,
        "ETH/USD: 0 of 1 observers",
        id="another pair",
    ),
    pytest.param(
        [quotes(FAIR | {"gamma": "2300"}), quotes(PAR, "USDC")],
        Refusal.FACT_MISSING,
        "2 of 3 sources agree (gamma: 800 bps from the median",
        id="one of three lies, and three are needed",
    ),
    pytest.param(
        [quotes(FAIR | {"gamma": "2500000000"}), quotes(PAR, "USDC")],
        Refusal.FACT_MISSING,
        "gamma: 10^6 times the median: wrong decimals",
        id="one of three has other decimals",
    ),
    pytest.param(
        [quotes(FAIR, ages={"beta": 601}), quotes(PAR, "USDC")],
        Refusal.FACT_MISSING,
        "2 of 3 sources agree (beta: 601 s old",
        id="a stale source",
    ),
    pytest.param(
        [quotes({"alpha": "2500", "beta": "2500"}), quotes(PAR, "USDC")],
        Refusal.FACT_MISSING,
        "2 of 3 sources agree",
        id="too few sources",
    ),
    pytest.param(
        [quotes(FAIR, age_s=61), quotes(PAR, "USDC")],
        Refusal.ATTESTATION_STALE,
        "attested 61 s ago",
        id="old",
    ),
    pytest.param(
        [quotes(FAIR, observer="eve"), quotes(PAR, "USDC")], Refusal.OBSERVER_UNKNOWN, "eve", id="no observer"
    ),
    pytest.param(
        [quotes(FAIR, chain_id=1), quotes(PAR, "USDC")], Refusal.CHAIN_OTHER, "chain 1", id="of another chain"
    ),
    pytest.param(
        [quotes(FAIR | {"gamma": "0"}), quotes(PAR, "USDC")], Refusal.FACT_MISSING, "a price of 0", id="zero"
    ),
]


@pytest.mark.parametrize(("statements", "code", "says"), NO_PRICE)
def test_without_a_price(world: World, statements: list[Statement], code: Refusal, says: str) -> None:
    """There is no fact, and the refusal says which pair and which source; the rules refuse its absence."""
    policy = demanding(world)
    intent, simulation = swapped(world, 400 * ETHER)
    with refused(code, "/facts/worth_loss_bps") as caught:
        weigh(world, intent, simulation, statements, policy)
    assert says in caught.detail
    known = compute(
        world.given(intent, policy=policy, fresh=simulation, approved=simulation, approvals=CONSENT)
    )
    known |= {"session_active": True, "daily_usd_cents": 0}
    for action in cedar.REQUIRED:
        with refused(Refusal.FACT_MISSING, "/facts/worth_loss_bps"):
            cedar.evaluate(
                policy,
                action,
                proposer=policy.proposer(intent.proposer),
                key=policy.key(intent.key),
                facts=known,
            )


def test_a_statement_that_was_bent(world: World) -> None:
    """The service puts another price into a signed statement."""
    honest = quotes(FAIR)
    bent = [each | {"price": "2300"} for each in honest.document["quotes"]]
    forged = honest.model_copy(update={"document": honest.document | {"quotes": bent}})
    with refused(Refusal.SIGNATURE):
        weighed(world, 368 * ETHER, [forged, quotes(PAR, "USDC")])


def test_a_liar_is_outvoted_and_named(world: World) -> None:
    """Where two of three suffice the third moves nothing, whatever it says in favour of a pushed pool."""
    lying = [quotes(FAIR | {"gamma": "2717.4"}), quotes(PAR, "USDC")]
    policy = demanding(world, sources_min=2)
    found = weighed(world, 368 * ETHER, lying, policy)
    assert found.loss_bps == 800
    assert [each.quote.source for each in found.prices["ETH"][0].price.left_out] == ["gamma"]


def watched_by_two(world: World) -> World:
    """Return the desk with two observers, both of whom are needed."""
    names = world.trust_root.observers | {"second": public("second")}
    return replace(world, trust_root=world.root(observers=dict(names), observer_quorum=2))


def test_as_many_observers_as_the_trust_root_demands(world: World) -> None:
    """One observer of two is too few, with both there is a price; a source that two tell otherwise is out."""
    two = watched_by_two(world)
    with refused(Refusal.FACT_MISSING) as caught:
        weighed(two, 400 * ETHER, said())
    assert "1 of 2 observers" in caught.detail
    both = [*said(), quotes(FAIR, observer="second"), quotes(PAR, "USDC", observer="second")]
    assert weighed(two, 399 * ETHER, both).loss_bps == 25
    other = [*both[:2], quotes(FAIR | {"gamma": "2499"}, observer="second"), both[3]]
    with refused(Refusal.FACT_MISSING) as caught:
        weighed(two, 399 * ETHER, other)
    assert "2 of 3 sources agree (gamma: two prices at one moment)" in caught.detail


PUSHED = dict.fromkeys(FAIR, "2717.4")
LATER = dict.fromkeys(FAIR, 9.0)
ALONE: list[Any] = [
    pytest.param({"prices": PUSHED, "ages": LATER}, "870 bps apart", id="dates its quotes later"),
    pytest.param({"prices": PUSHED, "ages": dict.fromkeys(FAIR, -4.0)}, "870 bps apart", id="from tomorrow"),
    pytest.param({"prices": PUSHED}, "0 of 3 sources agree", id="says otherwise of the same moments"),
    pytest.param(
        {"prices": {"x": "2717.4", "y": "2717.4", "z": "2717.4"}},
        "870 bps apart",
        id="has sources of its own",
    ),
    pytest.param({"prices": FAIR | {"gamma": "2000"}, "ages": LATER}, "second: 2 of 3", id="spoils a source"),
    pytest.param({"prices": {}}, "second: 0 of 3 sources agree", id="says nothing"),
]


@pytest.mark.parametrize("first", [True, False], ids=["told first", "told last"])
@pytest.mark.parametrize(("told", "says"), ALONE)
def test_one_observer_alone_sets_no_price(
    world: World, told: dict[str, Any], says: str, *, first: bool
) -> None:
    """Whatever one of two says in favour of a pushed pool, nothing is worth what it says, and it is named."""
    two = watched_by_two(world)
    lie = quotes(**told, observer="second")
    statements = [*said(), quotes(PAR, "USDC", observer="second")]
    statements.insert(0 if first else len(statements), lie)
    with refused(Refusal.FACT_MISSING, "/facts/worth_loss_bps") as caught:
        weighed(two, 368 * ETHER, statements)
    assert says in caught.detail
    assert "second" in caught.detail or "two prices at one moment" in caught.detail


@pytest.mark.parametrize(
    ("eth", "usdc", "loss"),
    [
        pytest.param("2510", "0.995", 0, id="both in our favour: it changes nothing"),
        pytest.param("2525", "1", 0, id="what comes in is dearer: it changes nothing"),
        pytest.param("2480", "1", 80, id="what comes in is cheaper"),
        pytest.param("2500", "1.01", 100, id="what goes out is dearer"),
        pytest.param("2480", "1.008", 159, id="both against us"),
    ],
)
def test_of_two_prices_the_worse_counts(world: World, eth: str, usdc: str, loss: int) -> None:
    """Within the gates one observer can have an exchange refused, and none let through."""
    two = watched_by_two(world)
    other = [
        quotes(dict.fromkeys(FAIR, eth), observer="second", ages=LATER),
        quotes(dict.fromkeys(PAR, usdc), "USDC", observer="second", ages=LATER),
    ]
    found = weighed(two, 400 * ETHER, [*said(), *other])
    assert found.loss_bps == max(loss, weighed(world, 400 * ETHER, said()).loss_bps)
    assert [each.observer for each in found.prices["ETH"]] == ["observer", "second"]


FREE: list[Any] = [
    pytest.param([], id="an allowance"),
    pytest.param([(TREASURY, USDC, -MILLION)], id="a payment"),
    pytest.param([(TREASURY, WETH, ETHER)], id="a claim"),
    pytest.param([(TREASURY, USDC, -5), (SECOND, USDC, 5)], id="from one account of ours to another"),
    pytest.param([(TREASURY, USDC, -5), (OTHER, WETH, 5)], id="somebody else's gain is not ours"),
]


@pytest.mark.parametrize("moves", FREE)
def test_what_is_no_exchange(world: World, moves: Moves) -> None:
    """It loses nothing in exchange, and nobody is asked for a price."""
    policy = two_keys(world)
    intent, simulation = moving(world, moves)
    assert worth.questions(intent, simulation, policy) == []
    assert weigh(world, intent, simulation, [], policy) == worth.Worth(loss_bps=0, prices={})


EXCHANGES: list[Any] = [
    pytest.param(
        [(TREASURY, USDC, -MILLION), (TREASURY, WETH, 1)],
        [(TREASURY, USDC, -MILLION)],
        10_000,
        id="a base unit of return makes an exchange of a payment",
    ),
    pytest.param(
        [(TREASURY, USDC, -MILLION)],
        [(TREASURY, USDC, -MILLION), (TREASURY, WETH, 400 * ETHER)],
        10_000,
        id="what was declared does not come in",
    ),
    pytest.param(
        [(TREASURY, USDC, -MILLION), (SECOND, WETH, 400 * ETHER)], None, 0, id="another account of ours gains"
    ),
    pytest.param(
        [(TREASURY, USDC, -MILLION), (TREASURY, WETH, 200 * ETHER), (TREASURY, "ETH", 199 * ETHER)],
        None,
        25,
        id="two assets come in, of one pair",
    ),
    pytest.param([(TREASURY, "ETH", -ETHER), (TREASURY, WETH, ETHER)], None, 0, id="ether is wrapped"),
    pytest.param(
        [
            (TREASURY, USDC, -MILLION),
            (TREASURY, WETH, 400 * ETHER),
            (TREASURY, OTHER, -5),
            (SECOND, OTHER, 5),
        ],
        None,
        0,
        id="what only changes its account among ours needs no price",
    ),
]


@pytest.mark.parametrize(("moves", "declared", "loss"), EXCHANGES)
def test_what_is_an_exchange(world: World, moves: Moves, declared: Moves | None, loss: int) -> None:
    """Something goes out, and something comes in, somewhere of ours, or was declared to."""
    policy = two_keys(world)
    intent, simulation = moving(world, moves, declared=declared)
    assert worth.questions(intent, simulation, policy)
    assert weigh(world, intent, simulation, said(), policy).loss_bps == loss


def test_the_pairs_are_the_policy_sets(world: World) -> None:
    """One question a pair; of an asset without one nothing is known, whoever has quotes of it."""
    intent, simulation = swapped(world, 400 * ETHER)
    policy = demanding(world)
    asked = [(each.base, each.quote) for each in worth.questions(intent, simulation, policy)]
    assert asked == [("ETH", "USD"), ("USDC", "USD")]
    bare = demanding(world, assets=lambda value: [_without_pair(each, WETH) for each in value])
    assert [each.base for each in worth.questions(intent, simulation, bare)] == ["USDC"]
    with refused(Refusal.FACT_MISSING, "/facts/worth_loss_bps") as caught:
        weigh(world, intent, simulation, said(), bare)
    assert f"prices no {WETH}" in caught.detail


def test_a_set_that_does_not_ask(world: World) -> None:
    """Nothing is asked, there is no fact, and the rules need none."""
    intent, simulation = swapped(world, 368 * ETHER)
    assert worth.questions(intent, simulation, world.policy) == []
    found = worth.weigh(
        intent,
        simulation,
        said(),
        policy=world.policy,
        trust_root=world.trust_root,
        now=NOW,
        age_s_max=60,
    )
    assert found is None
    assert "worth_loss_bps" not in compute(world.given(intent, fresh=simulation))
    assert "worth_loss_bps" not in cedar.required(world.policy, "sign")


LIMITS: list[Any] = [
    pytest.param({"loss_bps_max": 10_000}, id="everything may be lost"),
    pytest.param({"loss_bps_max": -1}, id="a limit below zero"),
    pytest.param({"sources_min": 1}, id="a lone source"),
    pytest.param({"sources_min": 33}, id="more sources than there can be"),
    pytest.param({"deviation_bps_max": 10_000}, id="any deviation"),
    pytest.param({"age_s_max": -1}, id="an age below zero"),
    pytest.param({"quote": "usd"}, id="no symbol"),
    pytest.param({"loss_bps": 5}, id="a field that nobody knows"),
]


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_that_are_none(world: World, limit: dict[str, Any]) -> None:
    """A set with such a limit is not read."""
    with refused(Refusal.MALFORMED):
        demanding(world, **limit).validate()


def test_nothing_is_worth_one_by_decree(world: World) -> None:
    """An asset that is priced as the quote itself would be worth one because somebody says so."""
    bent = demanding(world, assets=lambda value: [each | {"priced_as": "USD"} for each in value])
    with refused(Refusal.POLICY_INVALID, "/files/assets.json"):
        bent.validate()
    demanding(world).validate()


SCHEMA, RULES = "schema.cedarschema", "policies.cedar"
WITHOUT: list[Any] = [
    pytest.param(RULES, lambda text: text.split("// What comes in is worth")[0], id="no rule"),
    pytest.param(
        RULES,
        lambda text: text.replace("context.worth_loss_bps <=", "0 <="),
        id="a rule that looks elsewhere",
    ),
    pytest.param(SCHEMA, lambda text: text.replace('    "worth_loss_bps"?: Long,\n', ""), id="no such fact"),
    pytest.param(
        SCHEMA, lambda text: text.replace('  "worth_loss_bps_max"?: Long,\n', ""), id="no such limit"
    ),
]


@pytest.mark.parametrize(("file", "change"), WITHOUT)
def test_a_limit_without_its_rule(world: World, file: str, change: Callable[[str], str]) -> None:
    """A set that says what an exchange may lose, and denies nothing for it, is refused."""
    refused_without(world, demanding(world), file, change)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**9), max_size=5),
    st.fractions(min_value=Fraction(1, 10**6), max_value=10**6),
)
def test_the_loss_never_flatters(worths: list[Fraction], price: Fraction) -> None:
    """It is never below the exact loss, by less than a basis point above it, and no unit changes it."""
    found = worth.loss_bps(worths)
    out = -sum(each for each in worths if each < 0)
    exact = max(Fraction(0), -sum(worths) / out * 10_000) if out else Fraction(0)
    assert exact <= found < exact + 1
    assert found <= 10_000
    assert worth.loss_bps([each * price for each in reversed(worths)]) == found


def asked(world: World, weth: int, statements: Sequence[Statement], **limit: Any) -> approval.Asked:
    """Return what the risk officer is asked about a sale, under a signed set that demands prices."""
    files = demanding(world, **limit).files
    policy = world.sign_set(files)
    root = world.root(genesis_policy=policy.digest)
    desk = replace(world, files=files, policy=policy, trust_root=root)
    intent, simulation = swapped(desk, weth)
    fields = {
        "simulations": [attest(simulation).dump()],
        "quotes": [each.dump() for each in statements],
    }
    return approval.verify(desk.request("risk-1", intent, **fields), trust_root=root, now=NOW)


SHOWN: list[Any] = [
    pytest.param(399 * ETHER, said(), "0.25 %", "", id="at the limit"),
    pytest.param(368 * ETHER, said(), "8.00 %", "exchange.worth", id="a pushed pool"),
    pytest.param(
        400 * ETHER,
        [],
        "NOT KNOWN: worth_loss_bps: ETH/USD: 0 of 1 observers attest",
        "",
        id="the service leaves the quotes out",
    ),
    pytest.param(
        400 * ETHER,
        [quotes(FAIR | {"gamma": "2300"}), quotes(PAR, "USDC")],
        "NOT KNOWN: worth_loss_bps: ETH/USD: 2 of 3 sources agree"
        " (gamma: 800 bps from the median, at most 100)",
        "",
        id="one of three lies",
    ),
]


@pytest.mark.parametrize(("weth", "statements", "says", "rule"), SHOWN)
def test_what_people_see(world: World, weth: int, statements: list[Statement], says: str, rule: str) -> None:
    """The figure stands beside the slippage of 0 that the pool shows, and an alarm where it is not known."""
    seen = asked(world, weth, statements)
    rows = {row.label: row for section in shown.sections(seen, now=NOW) for row in section.rows}
    assert (rows["Slippage"].says, rows["Slippage"].alarm) == ("0.0000 %", False)
    assert (rows[shown_worth.LABEL].says, rows[shown_worth.LABEL].alarm) == (says, says != "0.25 %")
    assert (rule in seen.outstanding.denying) is bool(rule)
    assert ("worth_loss_bps" in seen.outstanding.missing) is says.startswith("NOT KNOWN")


def test_who_was_left_out_is_shown(world: World) -> None:
    """Each pair has its price, its sources and the one that was not believed, with the reason."""
    lying = [quotes(FAIR | {"gamma": "2717.4"}), quotes(PAR, "USDC")]
    rows = {row.label: row for row in shown_worth.rows(asked(world, 399 * ETHER, lying, sources_min=2))}
    assert rows["1 ETH"].says == "2500 USD"
    assert rows["1 ETH"].remark == (
        "the median of alpha, beta, 0 bp apart; gamma LEFT OUT: 870 bps from the median, at most 100"
    )
    assert rows["1 USDC"].remark == "the median of alpha, beta, gamma, 0 bp apart"


def two_keys(world: World) -> PolicySet:
    """Return a demanding set with a second key."""
    policy = demanding(world)
    keys = replace(world, files=policy.files).with_file(
        "keys.json", lambda value: [*value, value[0] | {"id": "second", "address": SECOND}]
    )
    return world.policy_of(keys)


def _delta(account: str, asset: str, amount: int) -> dict[str, str]:
    return {"account": account, "asset": asset, "amount": str(amount)}


def _without_pair(facts: dict[str, Any], asset: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "priced_as" or facts["asset"] != asset}
