"""What one key of ours gives another: declared as what it is, and a way out for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rules.build import DEPLOYMENT, MILLION, TREASURY, World, address, build, refused
from workbench.rules import calls, facts, intent
from workbench.rules.codes import Refusal

OWN, STRANGER = address("second"), address("stranger")
USDC, WETH = DEPLOYMENT.usdc, DEPLOYMENT.weth
Json = dict[str, Any]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk with a second key."""
    made = build(tmp_path_factory.mktemp("officers"))
    files = made.with_file("keys.json", lambda there: [*there, there[0] | {"id": "second", "address": OWN}])
    return replace(made, files=dict(files), policy=made.policy_of(files))


def moved(account: str, amount: int, asset: str = USDC) -> Json:
    """Return a delta."""
    return {"account": account, "asset": asset, "amount": str(amount)}


LEAVES, COMES = moved(TREASURY, -MILLION), moved(OWN, MILLION)
DECLARED: list[tuple[str, list[Json]]] = [
    ("a stranger gains", [LEAVES, moved(STRANGER, MILLION)]),
    ("another key loses", [moved(OWN, -MILLION), moved(TREASURY, MILLION)]),
    ("another key gains nothing", [LEAVES, moved(OWN, 0)]),
    ("it gains twice", [LEAVES, COMES, moved(OWN, 1)]),
    ("it gains and loses", [LEAVES, COMES, moved(OWN, -1)]),
]


@pytest.mark.parametrize("deltas", [each[1] for each in DECLARED], ids=[each[0] for each in DECLARED])
def test_what_is_not_declared(desk: World, deltas: list[Json]) -> None:
    """Another key of the set may gain, once for each asset; nothing else of another account."""
    intent._verify_assets(desk.swap(deltas=[LEAVES, COMES], allowances=[]), desk.policy, TREASURY)
    with refused(Refusal.MALFORMED):
        intent._verify_assets(desk.swap(deltas=deltas, allowances=[]), desk.policy, TREASURY)


def test_a_key_that_is_not_in_the_set_any_more(desk: World) -> None:
    """It is a stranger."""
    alone = desk.with_file("keys.json", lambda there: [each for each in there if each["address"] == TREASURY])
    with refused(Refusal.MALFORMED):
        intent._verify_assets(
            desk.swap(deltas=[LEAVES, COMES], allowances=[]), desk.policy_of(alone), TREASURY
        )


SEEN: list[tuple[str, list[Json], bool]] = [
    ("as declared", [LEAVES, COMES], True),
    ("a stranger is paid", [LEAVES], False),
    ("a stranger is paid a part", [LEAVES, moved(OWN, MILLION - 1)], False),
    ("a stranger is told of", [LEAVES, moved(STRANGER, MILLION)], False),
    ("a stranger makes up for it", [LEAVES, COMES, moved(OWN, -1), moved(STRANGER, 1)], False),
    ("another asset goes with it", [LEAVES, COMES, moved(OWN, -1, WETH)], False),
    ("another asset for it", [LEAVES, moved(OWN, MILLION, WETH)], False),
    ("more leaves than was declared", [moved(TREASURY, -MILLION - 1), COMES], False),
    ("more leaves, and comes", [moved(TREASURY, -MILLION - 1), moved(OWN, MILLION + 1)], False),
    ("told in two pieces", [LEAVES, moved(OWN, MILLION // 2), moved(OWN, MILLION // 2)], False),
]


@pytest.mark.parametrize(("deltas", "declared"), [each[1:] for each in SEEN], ids=[each[0] for each in SEEN])
def test_what_is_simulated(desk: World, deltas: list[Json], *, declared: bool) -> None:
    """It is what was declared or it is not; what leaves by no payment has to be priced by somebody."""
    sweep = desk.swap(deltas=[LEAVES, COMES], allowances=[])
    seen = desk.simulation(sweep, deltas=deltas, slippage_bps=None)
    assert facts.state_diff_declared(sweep, seen, desk.policy) is declared
    assert facts.slippage_bps(calls.read(sweep, desk.policy), seen) is None


@pytest.mark.parametrize(
    ("deltas", "outflow", "inflow"),
    [
        pytest.param([LEAVES, COMES], MILLION, None, id="another's gain is no inflow"),
        pytest.param([LEAVES, moved(TREASURY, 7, WETH), moved(OWN, 9)], MILLION, 7, id="one's own is"),
        pytest.param([COMES], None, None, id="nothing of one's own"),
        pytest.param([LEAVES, moved(TREASURY, -1, WETH), COMES], None, None, id="two that leave"),
    ],
)
def test_what_binds_a_call(desk: World, deltas: list[Json], outflow: int | None, inflow: int | None) -> None:
    """The calldata's amounts are held to what this key declares of itself."""
    sweep = desk.swap(deltas=deltas, allowances=[])
    assert calls._declared(sweep, "declared_outflow", desk.policy) == outflow
    assert calls._declared(sweep, "declared_inflow", desk.policy) == inflow
