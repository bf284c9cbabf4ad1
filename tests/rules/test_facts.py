"""Facts: each one's true and false case, and what makes it absent."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules.build import (
    DEPLOYMENT,
    MILLION,
    NONCE,
    NOW,
    TREASURY,
    WETH_OUT,
    World,
    accounts,
    address,
    digest_of,
    refused,
)
from workbench.evm import calldata
from workbench.evm.known import fragment
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules import calls, facts
from workbench.rules.attestation import State
from workbench.rules.codes import Refusal
from workbench.rules.decision import Approvals
from workbench.rules.documents import write_time
from workbench.rules.facts import CENTS_MAX, Given, compute
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent
from workbench.rules.items import NOBODY

USDC, WETH, ROUTER = DEPLOYMENT.usdc, DEPLOYMENT.weth, DEPLOYMENT.router
OUT = {"account": TREASURY, "asset": USDC, "amount": str(-MILLION)}
IN = {"account": TREASURY, "asset": WETH, "amount": str(WETH_OUT)}
SPENT = {"owner": TREASURY, "spender": ROUTER, "asset": USDC, "amount": "0"}
USDC2 = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
INTEREST = {**IN, "amount": str(WETH_OUT - WETH_OUT // 10_000)}
LEAVES = {
    "standard": "erc721", "asset": USDC2, "id": "17", "from": TREASURY, "to": ROUTER, "amount": "1",
}  # fmt: skip
ARRIVES = {**LEAVES, "from": ROUTER, "to": TREASURY}
MADE = {**LEAVES, "from": NOBODY, "to": TREASURY}
ONE_OF = {"owner": TREASURY, "spender": ROUTER, "asset": USDC2, "id": "17", "approved": True}
ALL_OF = {**ONE_OF, "id": None}
FOUND = {"kind": "reentered", "contract": USDC2, "detail": "entered again"}
Bend = Callable[[World], Given]


def approvals(inflow_bps: int = 10, **roles: str) -> Approvals:
    """Return counted approvals."""
    return Approvals(roles=roles, counted=[], consoles=0, skipped={}, tolerance_inflow_bps=inflow_bps)


def intent(**changes: Any) -> Bend:
    """Return the swap with fields changed, simulated honestly; of another contract nothing is proven."""
    nothing = {"state": None} if "to" in changes else {}
    return lambda world: world.given(world.swap(**changes), **nothing)


def shown(**changes: Any) -> Bend:
    """Return the swap with another fresh simulation than its intent declares."""
    return lambda world: world.given(fresh=world.simulation(world.swap(), **changes))


def later(**changes: Any) -> Bend:
    """Return the swap with another outcome one block later."""

    def bend(world: World) -> Given:
        again = world.simulation(world.swap()).again.dump() | changes
        return world.given(fresh=world.simulation(world.swap(), again=again))

    return bend


def paying(intent: Intent, *, fee: int = 0, tip: int = 0) -> UnsignedTransaction:
    """Return an intent's transaction that pays so much more than the caps."""
    caps = intent.caps
    fees = Fees(
        max_fee_per_gas=caps.max_fee_per_gas + fee,
        max_priority_fee_per_gas=caps.max_priority_fee_per_gas + tip,
    )
    return intent.transaction(NONCE, fees)


def base_fee(wei: int) -> Bend:
    """Return the swap at another base fee; its cap is 50 gwei."""

    def bend(world: World) -> Given:
        given = world.given(world.swap(max_fee_per_gas=50 * 10**9))
        assert given.state is not None
        return replace(given, state=replace(given.state, base_fee_per_gas=wei))

    return bend


def gains(amount: int) -> Bend:
    """Return the swap with a fresh simulation that gains so much."""
    return shown(deltas=[OUT, {**IN, "amount": str(amount)}])


def known(**changes: Any) -> Bend:
    """Return the swap with something else given."""
    return lambda world: world.given(**changes)


def state(*, seconds: int = 4, **treasury: Any) -> Bend:
    """Return the swap with another proven treasury."""
    return lambda world: world.given(
        state=State(100, "ab" * 32, NOW, NOW - timedelta(seconds=seconds), 10**9, accounts(**treasury))
    )


def ruled(file: str, change: Callable[[Any], Any], make: str = "swap") -> Bend:
    """Return the swap under a policy with one file changed."""
    return lambda world: world.given(getattr(world, make)(), policy=world.policy_with(file, change))


def router(**changes: Any) -> Callable[[Any], Any]:
    """Return a change of the router's whitelist entry."""
    return lambda entries: [entries[0] | changes, *entries[1:]]


def bounds(**changes: Any) -> Callable[[Any], Any]:
    """Return a change of the swap's bounds; None takes one away."""

    def change(entries: Any) -> Any:
        function = entries[0]["functions"][0]
        new = function["bounds"] | changes
        kept = {name: bound for name, bound in new.items() if bound is not None}
        return router(functions=[function | {"bounds": kept}])(entries)

    return change


def swap_data(world: World, **params: Any) -> Given:
    """Return the swap with other arguments."""
    fragment = calldata.EXACT_INPUT_SINGLE
    arguments = calldata.decode(bytes.fromhex(world.swap().data), [fragment]).arguments["params"]
    data = calldata.encode(fragment, {"params": arguments | params})
    return world.given(world.swap(data=data.hex()))


def params(**changes: Any) -> Bend:
    """Return the swap with other arguments."""
    return lambda world: swap_data(world, **changes)


def test_everything_is_known_of_a_good_swap(world: World) -> None:
    """With everything given, every fact that a co-signer asks for is there."""
    from_all = compute(world.given(approvals=approvals(a="cro", b="committee")))
    assert from_all == {
        "amount_usd_cents": 100_000_000,
        "approvals": 2,
        "approvals_cro": 1,
        "approvals_console": 0,
        "critical_approvals_missing": 0,
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
        "simulation_age_s": 5,
        "attestation_age_s": 4,
        "state_diff_declared": True,
        "within_tolerance": True,
        "slippage_bps": 20,
        "floor_bps": 0,
        "admin_changes": 0,
        "findings": 0,
        "steady": True,
    }


@pytest.mark.parametrize(
    ("nothing", "absent"),
    [
        pytest.param(
            "approvals",
            {
                "approvals",
                "approvals_cro",
                "approvals_console",
                "critical_approvals_missing",
                "within_tolerance",
            },
            id="no decisions",
        ),
        pytest.param(
            "state", {"code_unchanged", "gas_affordable", "nonce_unspent", "attestation_age_s"}, id="no state"
        ),
        pytest.param(
            "fresh",
            {
                "simulation_succeeds",
                "simulation_alone",
                "simulation_age_s",
                "state_diff_declared",
                "admin_changes",
                "findings",
                "steady",
                "slippage_bps",
                "floor_bps",
                "within_tolerance",
            },
            id="no fresh simulation",
        ),
        pytest.param("approved", {"within_tolerance"}, id="no approved simulation"),
        pytest.param("transaction", {"nonce_reserved", "bytes_are_intent"}, id="no bytes"),
        pytest.param(
            "reserved_nonce", {"nonce_reserved", "bytes_are_intent", "nonce_unspent"}, id="no reservation"
        ),
    ],
)
def test_what_cannot_be_computed_is_absent(world: World, nothing: str, absent: set[str]) -> None:
    """A missing input takes its facts away and gives none of them a default."""
    everything = compute(world.given(approvals=approvals(a="cro")))
    assert (
        everything.keys() - compute(world.given(**{"approvals": approvals(a="cro"), nothing: None})).keys()
        == absent
    )


@pytest.mark.parametrize(
    ("fact", "bend", "expected"),
    [
        # amounts
        pytest.param(
            "amount_usd_cents",
            intent(deltas=[{**OUT, "amount": "-1"}]),
            1,
            id="a millionth of a dollar is a cent",
        ),
        pytest.param(
            "amount_usd_cents", intent(deltas=[{**OUT, "amount": "-10000"}]), 1, id="a cent is a cent"
        ),
        pytest.param(
            "amount_usd_cents", intent(deltas=[{**OUT, "amount": "-10001"}]), 2, id="a cent and a bit is two"
        ),
        pytest.param("amount_usd_cents", intent(deltas=[IN]), 0, id="what comes in is not at stake"),
        pytest.param("amount_usd_cents", intent(deltas=[], value=str(10**18)), 250_000, id="ether sent"),
        pytest.param(
            "amount_usd_cents",
            intent(deltas=[{**OUT, "asset": "ETH", "amount": str(-(10**18))}], value=str(10**18)),
            250_000,
            id="ether counted once",
        ),
        pytest.param(
            "amount_usd_cents",
            intent(deltas=[OUT], value=str(10**18)),
            100_250_000,
            id="ether and dollars together",
        ),
        pytest.param(
            "amount_usd_cents",
            intent(deltas=[], allowances=[{**SPENT, "amount": str(MILLION)}]),
            100_000_000,
            id="an allowance left behind",
        ),
        pytest.param(
            "amount_usd_cents",
            intent(deltas=[], allowances=[{**SPENT, "amount": str(2**256 - 1)}]),
            CENTS_MAX,
            id="an unlimited allowance is over every limit",
        ),
        # whitelist
        pytest.param("contract_whitelisted", intent(to=address("other")), False, id="another contract"),
        pytest.param(
            "contract_whitelisted",
            ruled("whitelist.json", router(chain_id=1)),
            False,
            id="an entry for another chain",
        ),
        pytest.param(
            "contract_whitelisted",
            ruled("whitelist.json", router(expires_at=write_time(NOW))),
            False,
            id="an entry that expires this second",
        ),
        pytest.param(
            "contract_whitelisted",
            ruled("whitelist.json", router(expires_at=write_time(NOW + timedelta(microseconds=1)))),
            True,
            id="an entry in its last moment",
        ),
        pytest.param("function_permitted", intent(data="deadbeef"), False, id="another function"),
        pytest.param("function_permitted", intent(data=""), False, id="no function"),
        pytest.param("function_permitted", intent(data="414bf3"), False, id="three bytes of a selector"),
        pytest.param(
            "function_permitted",
            intent(to=address("other")),
            False,
            id="a function of a contract we do not know",
        ),
        # bounds
        pytest.param(
            "arguments_within_bounds",
            intent(to=address("other")),
            False,
            id="arguments to a contract we do not know",
        ),
        pytest.param(
            "arguments_within_bounds", intent(data="deadbeef"), False, id="arguments of another function"
        ),
        pytest.param("arguments_within_bounds", params(tokenIn=WETH), False, id="one_of: another token in"),
        pytest.param("arguments_within_bounds", params(tokenOut=USDC), False, id="one_of: another token out"),
        pytest.param("arguments_within_bounds", params(fee="3000"), False, id="one_of: another pool"),
        pytest.param(
            "arguments_within_bounds", params(recipient=ROUTER), False, id="equals: another recipient"
        ),
        pytest.param(
            "arguments_within_bounds",
            params(deadline=str(int((NOW + timedelta(hours=2)).timestamp()))),
            True,
            id="at_most: the deadline at expiry",
        ),
        pytest.param(
            "arguments_within_bounds",
            params(deadline=str(int((NOW + timedelta(hours=2)).timestamp()) + 1)),
            False,
            id="at_most: a deadline a second later",
        ),
        pytest.param(
            "arguments_within_bounds",
            params(amountIn="1"),
            False,
            id="equals: less than the declared outflow",
        ),
        pytest.param(
            "arguments_within_bounds",
            params(amountIn=str(5_000_000 * 10**6)),
            False,
            id="equals: more than the declared outflow",
        ),
        pytest.param(
            "arguments_within_bounds", params(amountOutMinimum="0"), False, id="at_least: no minimum"
        ),
        pytest.param(
            "arguments_within_bounds",
            params(amountOutMinimum=str(10**30)),
            True,
            id="at_least: a higher minimum than declared",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.recipient": {"at_least": "declared_inflow"}})),
            False,
            id="at_least: of something that is no number",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.recipient": {"equals": "declared_outflow"}})),
            False,
            id="equals: an address is no amount",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.amountIn": {"equals": "declared_allowance"}})),
            False,
            id="equals: another kind of amount",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.amountIn": {"any": True}})),
            True,
            id="any: whatever it is",
        ),
        pytest.param(
            "arguments_within_bounds", params(sqrtPriceLimitX96="1"), False, id="one_of: a price limit"
        ),
        pytest.param(
            "arguments_within_bounds",
            lambda world: world.given(world.swap(data=world.swap().data + "00")),
            False,
            id="a trailing byte",
        ),
        pytest.param(
            "arguments_within_bounds",
            lambda world: world.given(world.swap(data=world.swap().data[:-2])),
            False,
            id="a byte too few",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.amountIn": None})),
            False,
            id="an argument that no bound names",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(extra={"any": True})),
            False,
            id="a bound that names no argument",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.recipient": {"one_of": []}})),
            False,
            id="one_of nothing",
        ),
        pytest.param(
            "arguments_within_bounds",
            ruled("whitelist.json", bounds(**{"params.recipient": {"at_most": "expires_at"}})),
            False,
            id="at_most over an address",
        ),
        # bytes and nonce
        pytest.param(
            "bytes_are_intent",
            lambda world: world.given(transaction=paying(world.swap(value="1"))),
            False,
            id="bytes of another value",
        ),
        pytest.param(
            "bytes_are_intent",
            lambda world: world.given(transaction=paying(world.approval())),
            False,
            id="bytes of another call",
        ),
        pytest.param(
            "bytes_are_intent",
            lambda world: world.given(transaction=paying(world.swap(), fee=-1, tip=-1)),
            True,
            id="bytes that pay less than the caps",
        ),
        pytest.param(
            "bytes_are_intent",
            lambda world: world.given(transaction=paying(world.swap(), fee=1)),
            False,
            id="bytes that pay a wei over the cap",
        ),
        pytest.param(
            "bytes_are_intent",
            lambda world: world.given(transaction=paying(world.swap(), tip=1)),
            False,
            id="bytes that tip a wei over the cap",
        ),
        pytest.param(
            "nonce_reserved",
            lambda world: world.given(transaction=replace(paying(world.swap()), nonce=NONCE + 1)),
            False,
            id="bytes under another nonce",
        ),
        pytest.param("nonce_reserved", known(reserved_nonce=NONCE + 1), False, id="another nonce reserved"),
        pytest.param("gas_affordable", base_fee(25 * 10**9), True, id="a fee cap of twice the base fee"),
        pytest.param("gas_affordable", base_fee(25 * 10**9 + 1), False, id="a fee cap with less room"),
        pytest.param("nonce_unspent", state(nonce=NONCE + 1), False, id="a nonce the chain has seen"),
        pytest.param("nonce_unspent", state(nonce=NONCE - 1), True, id="a nonce still to come"),
        # state
        pytest.param(
            "code_unchanged",
            ruled("whitelist.json", router(code_hash=digest_of("reviewed"))),
            False,
            id="code that was not reviewed",
        ),
        pytest.param("gas_affordable", state(balance=4 * 10**16), True, id="just enough ether for gas"),
        pytest.param("gas_affordable", state(balance=4 * 10**16 - 1), False, id="a wei too little"),
        pytest.param(
            "gas_affordable",
            lambda world: world.given(world.swap(value=str(10**19))),
            False,
            id="ether for the value but not for gas",
        ),
        pytest.param("attestation_age_s", state(seconds=0), 0, id="attested this moment"),
        pytest.param("attestation_age_s", state(seconds=-3), 0, id="attested a little ahead"),
        # simulation
        pytest.param("simulation_succeeds", shown(revert="STF"), False, id="a simulation that reverts"),
        pytest.param("simulation_succeeds", shown(revert=""), False, id="a revert without reason"),
        pytest.param(
            "simulation_alone",
            shown(
                sequence={
                    "steps": [
                        {
                            "intent": None,
                            "call": "ab" * 32,
                            "gas": 1,
                            "slippage_ppm": None,
                            "loss": None,
                            "reverted": False,
                        }
                    ],
                    "slippage_ppm": None,
                    "loss": None,
                }
            ),
            False,
            id="simulated behind others",
        ),
        pytest.param(
            "simulation_age_s",
            shown(at=write_time(NOW - timedelta(milliseconds=5001))),
            6,
            id="an age is rounded up",
        ),
        pytest.param("admin_changes", shown(admin_changes=[{"kind": "Upgraded"}]), 1, id="an admin change"),
        pytest.param("findings", shown(findings=[FOUND]), 1, id="a finding"),
        pytest.param("findings", shown(items=[LEAVES]), 1, id="a single token leaves"),
        pytest.param(
            "findings", shown(items=[{**LEAVES, "standard": "erc1155"}]), 1, id="an amount of one leaves"
        ),
        pytest.param(
            "findings", shown(items=[{**LEAVES, "to": None}]), 1, id="a token leaves for nobody knows"
        ),
        pytest.param("findings", shown(items=[{**LEAVES, "to": NOBODY}]), 1, id="a token is destroyed"),
        pytest.param(
            "findings", shown(items=[{**ARRIVES, "to": ROUTER, "from": None}]), 1, id="not ours at all"
        ),
        pytest.param("findings", shown(items=[ARRIVES, MADE]), 0, id="single tokens come in"),
        pytest.param("findings", shown(rights=[ONE_OF]), 1, id="a right to one token"),
        pytest.param("findings", shown(rights=[ALL_OF]), 1, id="an operator"),
        pytest.param(
            "findings",
            shown(rights=[{**ALL_OF, "approved": False}]),
            0,
            id="an operator that is one no longer",
        ),
        pytest.param(
            "findings",
            shown(findings=[FOUND], items=[LEAVES, LEAVES], rights=[ONE_OF, ALL_OF]),
            5,
            id="each of them counts",
        ),
        pytest.param(
            "state_diff_declared", shown(items=[LEAVES]), False, id="a single token was declared by none"
        ),
        pytest.param("state_diff_declared", shown(rights=[ONE_OF]), False, id="nor was a right to one"),
        pytest.param("state_diff_declared", shown(rights=[ALL_OF]), False, id="nor was an operator"),
        pytest.param(
            "state_diff_declared", shown(items=[ARRIVES]), True, id="what comes in needs no declaring"
        ),
        pytest.param("floor_bps", shown(items=[ARRIVES]), 0, id="floor: a single token is no amount"),
        pytest.param("steady", later(items=[LEAVES]), False, id="steady: a single token leaves later"),
        pytest.param("steady", later(items=[MADE]), False, id="steady: a single token comes in later"),
        pytest.param("steady", later(rights=[ALL_OF]), False, id="steady: an operator later"),
        pytest.param("steady", later(), True, id="steady: the same"),
        pytest.param("steady", later(deltas=[OUT, INTEREST]), True, id="steady: one part in ten thousand"),
        pytest.param("steady", later(deltas=[OUT]), False, id="steady: nothing comes in"),
        pytest.param(
            "steady",
            later(deltas=[OUT, {**IN, "amount": str(WETH_OUT - WETH_OUT // 9_000)}]),
            False,
            id="steady: more than interest is missing",
        ),
        pytest.param(
            "steady",
            later(deltas=[{**OUT, "amount": str(int(OUT["amount"]) - 1)}, IN]),
            False,
            id="steady: a base unit more goes out",
        ),
        pytest.param("steady", later(allowances=[]), False, id="steady: the allowance is another"),
        pytest.param("steady", later(revert="not at this block"), False, id="steady: it fails later"),
        pytest.param(
            "steady",
            later(admin_changes=[{"contract": USDC2, "change": "owner()"}]),
            False,
            id="steady: another owner later",
        ),
        pytest.param("state_diff_declared", shown(accounts=[]), False, id="not all accounts were looked at"),
        pytest.param("slippage_bps", shown(slippage_bps=0), 0, id="no slippage is nought, not unknown"),
        pytest.param("floor_bps", shown(), 0, id="floor: declared what is simulated"),
        pytest.param("floor_bps", gains(WETH_OUT * 2), 5_000, id="floor: half of what is simulated"),
        pytest.param("floor_bps", gains(WETH_OUT + 1), 1, id="floor: a base unit too low rounds up"),
        pytest.param("floor_bps", gains(WETH_OUT - 1), 0, id="floor: less than declared"),
        pytest.param(
            "floor_bps",
            shown(deltas=[OUT, IN, {**IN, "asset": USDC2, "amount": "5"}]),
            10_000,
            id="floor: an inflow that was not declared at all",
        ),
        pytest.param("slippage_bps", shown(slippage_bps=-3), -3, id="a gain"),
        pytest.param(
            "slippage_bps", lambda world: world.given(world.approval()), 0, id="nothing leaves: no slippage"
        ),
        # declared state diff
        pytest.param("state_diff_declared", shown(sender=ROUTER), False, id="a simulation of another sender"),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[OUT, {**IN, "amount": str(WETH_OUT + 1)}]),
            True,
            id="a larger inflow",
        ),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[OUT, {**IN, "amount": str(WETH_OUT - 1)}]),
            False,
            id="a smaller inflow",
        ),
        pytest.param("state_diff_declared", shown(deltas=[OUT]), False, id="no inflow"),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[{**OUT, "amount": str(-MILLION - 1)}, IN]),
            False,
            id="a larger outflow",
        ),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[{**OUT, "amount": str(1 - MILLION)}, IN]),
            False,
            id="a smaller outflow",
        ),
        pytest.param("state_diff_declared", shown(deltas=[IN]), False, id="no outflow"),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[OUT, IN, {**OUT, "asset": "ETH", "amount": "-1"}]),
            False,
            id="an undeclared outflow of a wei",
        ),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[OUT, IN, {**OUT, "asset": "ETH", "amount": "1"}]),
            True,
            id="an undeclared inflow",
        ),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[OUT, IN, {**OUT, "account": ROUTER}]),
            False,
            id="an outflow of another account",
        ),
        pytest.param(
            "state_diff_declared",
            shown(deltas=[{**OUT, "amount": "-9"}, OUT, IN]),
            False,
            id="an outflow told twice",
        ),
        pytest.param(
            "state_diff_declared",
            lambda world: world.given(
                world.swap(deltas=[{**OUT, "amount": "-9"}, OUT, IN]), fresh=world.simulation(world.swap())
            ),
            False,
            id="an outflow declared twice",
        ),
        pytest.param(
            "slippage_bps",
            shown(slippage_bps=None, deltas=[{**OUT, "amount": "0"}]),
            0,
            id="nothing is no outflow",
        ),
        pytest.param(
            "state_diff_declared", shown(allowances=[]), False, id="a declared allowance that is not made"
        ),
        pytest.param(
            "state_diff_declared",
            shown(allowances=[{**SPENT, "amount": "1"}]),
            False,
            id="an allowance a unit larger",
        ),
        pytest.param(
            "state_diff_declared",
            shown(allowances=[SPENT, {**SPENT, "spender": WETH}]),
            False,
            id="an undeclared allowance",
        ),
        pytest.param(
            "state_diff_declared",
            shown(allowances=[{**SPENT, "spender": WETH}]),
            False,
            id="an allowance to another",
        ),
        pytest.param(
            "state_diff_declared",
            shown(allowances=[SPENT, {**SPENT, "amount": "5"}]),
            False,
            id="an allowance told twice",
        ),
    ],
)
def test_each_fact(world: World, fact: str, bend: Bend, expected: int | bool) -> None:  # noqa: FBT001 - a fact
    """The fact has this value and type, and computing it again gives the same."""
    given_ = bend(world)
    found = compute(given_)
    assert (found[fact], type(found[fact])) == (expected, type(expected))
    assert compute(given_) == found


@pytest.mark.parametrize(
    ("before", "after", "inflow_bps", "good"),
    [
        pytest.param({}, {}, 0, True, id="the same"),
        pytest.param({"in": 10_000}, {"in": 9_990}, 10, True, id="ten basis points less, ten admitted"),
        pytest.param({"in": 10_000}, {"in": 9_989}, 10, False, id="a unit less than that"),
        pytest.param({"in": 10_000}, {"in": 9_999}, 0, False, id="no tolerance at all"),
        pytest.param({"in": 10_000}, {"in": 99_999}, 0, True, id="a larger inflow"),
        pytest.param({"in": 10_000}, {"in": -1}, 10_000, False, id="an inflow that turned into an outflow"),
        pytest.param({"in": 1}, {"in": 0}, 9_999, False, id="a small inflow that vanished"),
        pytest.param({"out": -100}, {"out": -101}, 10_000, False, id="a larger outflow"),
        pytest.param({"out": -100}, {"out": -99}, 10_000, False, id="a smaller outflow is another one"),
        pytest.param({"in": 0}, {"in": -5}, 10_000, False, id="nothing that turned into an outflow"),
        pytest.param({"in": 0}, {"in": 5}, 0, True, id="nothing that turned into an inflow"),
        pytest.param({"grant": 1}, {"grant": 2}, 10_000, False, id="another allowance"),
        pytest.param({"more": "ETH"}, {}, 10_000, False, id="an asset less"),
        pytest.param({}, {"more": "ETH"}, 10_000, False, id="an asset more"),
        pytest.param({}, {"hidden": -9}, 10_000, False, id="an outflow told twice"),
        pytest.param({"hidden": -9}, {}, 10_000, False, id="an outflow told twice before"),
    ],
)
def test_tolerance(
    world: World,
    before: dict[str, Any],
    after: dict[str, Any],
    inflow_bps: int,
    good: bool,  # noqa: FBT001 - the table's
) -> None:
    """Inflows may be worse by what the strictest person admitted; nothing else may differ."""

    def simulated(told: dict[str, Any]) -> Any:
        deltas = [
            {**OUT, "amount": str(told.get("out", -100))},
            {**IN, "amount": str(told.get("in", 10_000))},
        ]
        deltas += [{**OUT, "asset": told["more"], "amount": "1"}] if "more" in told else []
        if "hidden" in told:
            deltas.insert(0, {**OUT, "amount": str(told["hidden"])})
        grant = {**SPENT, "amount": str(told.get("grant", 0))}
        return world.simulation(world.swap(), deltas=deltas, allowances=[grant])

    assert facts.within_tolerance(simulated(before), simulated(after), inflow_bps=inflow_bps) is good


def test_slippage_that_nobody_could_price_is_absent(world: World) -> None:
    """Assets leave and the observer names no price: no fact, so no signature."""
    assert "slippage_bps" not in compute(shown(slippage_bps=None)(world))


PAY = fragment("transfer(address to, uint256 amount)")


def test_a_payment_exchanges_nothing(world: World) -> None:
    """Where every call hands a whitelisted token over there is no price to lose by; else there is."""

    def paying(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        bounds = {"to": {"one_of": [ROUTER]}, "amount": {"equals": "declared_outflow"}}
        return [
            {**each, "functions": [*each["functions"], {"fragment": PAY, "bounds": bounds}]}
            if each["address"] == DEPLOYMENT.usdc
            else each
            for each in entries
        ]

    policy = world.policy_with("whitelist.json", paying)
    data = calldata.encode(PAY, {"to": ROUTER, "amount": str(MILLION)}).hex()
    out = [{"account": TREASURY, "asset": DEPLOYMENT.usdc, "amount": str(-MILLION)}]
    pays = world.swap(to=DEPLOYMENT.usdc, data=data, deltas=out, allowances=[])
    shown_ = world.simulation(pays, slippage_bps=None, slippage_ppm=None, loss=None)
    assert facts.slippage_bps(calls.read(pays, policy), shown_) == 0
    # the same bytes without an entry for them are a guess, and a guess pays nobody
    assert facts.slippage_bps(calls.read(pays, world.policy), shown_) is None
    assert facts.slippage_bps(calls.read(world.swap(), policy), shown_) is None


def test_an_asset_without_price_stops_the_computation(world: World) -> None:
    """Nothing is worth nought because nobody priced it."""
    unpriced = ruled("assets.json", lambda assets: [each for each in assets if each["asset"] == "ETH"])
    with refused(Refusal.ASSET_UNKNOWN):
        compute(unpriced(world))
    unpriced = ruled("assets.json", lambda assets: assets[1:])
    with refused(Refusal.ASSET_UNKNOWN):
        compute(unpriced(world))


def test_an_unproven_account_stops_the_computation(world: World) -> None:
    """State without the key's own account is no state."""
    only_router = {ROUTER: accounts()[ROUTER]}
    with refused(Refusal.FACT_MISSING, "/accounts"):
        compute(world.given(state=State(100, "ab" * 32, NOW, NOW, 10**9, only_router)))


def test_a_call_is_shown_by_its_whitelist_entry(world: World) -> None:
    """What a person reads is decoded strictly, or refused."""
    assert calls.decoded(world.swap(), world.policy).arguments["params"]["amountIn"] == str(MILLION)
    for changes, code in (
        ({"to": address("other")}, Refusal.NOT_WHITELISTED),
        ({"data": "deadbeef"}, Refusal.NOT_WHITELISTED),
        ({"data": world.swap().data + "00"}, Refusal.CALLDATA),
    ):
        with refused(code):
            calls.decoded(world.swap(**changes), world.policy)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.integers(0, 2**256 - 1), out=st.integers(1, 2**256 - 1))
def test_more_at_stake_is_never_worth_less(world: World, value: int, out: int) -> None:
    """The amount rounds up, grows with what leaves, and never passes Cedar's integers."""
    deltas = [{**OUT, "amount": str(-out)}]
    cents = facts.amount_usd_cents(_intent(world, value, deltas), world.policy)
    more = facts.amount_usd_cents(_intent(world, value, [{**OUT, "amount": str(-out - 1)}]), world.policy)
    assert 0 < cents <= more <= CENTS_MAX
    exact = Fraction(value * 250_000, 10**18) + Fraction(out * 100, 10**6)
    assert cents == min(ceil(exact), CENTS_MAX)


def _intent(world: World, value: int, deltas: list[dict[str, str]]) -> Intent:
    return world.swap(value=str(value), deltas=deltas, allowances=[])
