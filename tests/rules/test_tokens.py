"""What tokens say of themselves: held against the policy set, never shown as if it were ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.rules.build import DEPLOYMENT, NOW, TREASURY, World, address, attest, refused
from tests.rules.test_items import rows
from workbench.rules import approval, cedar, facts, shown
from workbench.rules.approval import Asked
from workbench.rules.attestation import Simulation
from workbench.rules.cedar import REQUIRED
from workbench.rules.codes import Refusal
from workbench.rules.facts import compute
from workbench.rules.rows import amount, spelled

USDC, WETH = DEPLOYMENT.usdc, DEPLOYMENT.weth
BAIT = address("a token that nobody listed")
GAIN = {"account": TREASURY, "asset": BAIT, "amount": "5000000"}

Said = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def says(asset: str, **changes: Any) -> Said:
    """Return what changes one token's words."""
    return lambda told: [{**each, **changes} if each["asset"] == asset else each for each in told]


def simulated(world: World, change: Said = list, **changes: Any) -> Simulation:
    """Return the swap's simulation with other words of its tokens."""
    honest = world.simulation(world.swap(), **changes).dump()
    return Simulation.load({**honest, "tokens": change(honest["tokens"])})


def asked(world: World, simulation: Simulation) -> Asked:
    """Return what a person is asked of it."""
    request = world.request("cro-1", world.swap(), simulations=[attest(simulation).dump()])
    return approval.verify(request, trust_root=world.trust_root, now=NOW)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        pytest.param(list, None, id="as it is listed"),
        pytest.param(says(USDC, symbol="USDX"), None, id="another symbol denies nothing"),
        pytest.param(says(USDC, symbol=None), None, id="nor does none"),
        pytest.param(
            says(USDC, decimals=18), "says 6 decimals, its contract answers 18", id="twelve too many"
        ),
        pytest.param(says(USDC, decimals=5), "says 6 decimals, its contract answers 5", id="one too few"),
        pytest.param(
            says(USDC, decimals=0), "says 6 decimals, its contract answers 0", id="nought is no none"
        ),
        pytest.param(says(USDC, decimals=255), "its contract answers 255", id="the most"),
        pytest.param(says(USDC, decimals=None), "its contract answers none", id="none at all"),
        pytest.param(
            lambda told: [each for each in told if each["asset"] != USDC], "nobody asked", id="left out"
        ),
        pytest.param(lambda told: [*told, told[0]], "nobody asked", id="told twice"),
        pytest.param(lambda _: [], "nobody asked", id="nothing told"),
    ],
)
def test_decimals_that_are_not_the_lists(world: World, change: Said, detail: str | None) -> None:
    """It is one more finding, named on the page, and both actions are denied whatever else there is."""
    simulation = simulated(world, change)
    wrong = facts.contradictions(simulation, world.policy)
    assert bool(wrong) == (detail is not None)
    found = compute(world.given(fresh=simulation))
    assert found["findings"] == len(wrong)
    person, key = world.policy.people["pm-1"], world.policy.keys["treasury"]
    for action in REQUIRED:
        told = cedar.explain(world.policy, action, proposer=person, key=key, facts=found)
        assert ("simulation.findings" in told.denying) == bool(wrong)
    told_of = rows(asked(world, simulation), "NOT AS IT IS LISTED")
    assert all(row.alarm for row in told_of)
    assert detail is None or any(detail in row.says for row in told_of)


def test_a_token_of_the_second_run(world: World) -> None:
    """What appears one block later only is asked, too."""
    again = world.simulation(world.swap()).again.dump()
    again["deltas"] = [*again["deltas"], GAIN]
    assert facts.contradictions(simulated(world, again=again), world.policy) == {}
    unasked = simulated(world, lambda told: [each for each in told if each["asset"] != BAIT], again=again)
    assert set(facts.contradictions(unasked, world.policy)) == {BAIT}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(
            {"symbol": "PEPE", "decimals": 9}, "that calls itself 'PEPE' (with 9 decimals)", id="a name"
        ),
        pytest.param({"symbol": "PEPE", "decimals": None}, "that calls itself 'PEPE'", id="no decimals"),
        pytest.param({"symbol": None, "decimals": 6}, "that does not say what it is", id="no name"),
        pytest.param(
            {"symbol": "USDC", "decimals": 6},
            "that calls itself 'USDC' (with 6 decimals) and is NOT our USDC",
            id="it claims to be USDC",
        ),
        pytest.param(
            {"symbol": " usdc ", "decimals": 6},
            "that calls itself ' usdc ' (with 6 decimals) and is NOT our USDC",
            id="nearly",
        ),
        pytest.param(
            {"symbol": "USD\\u0421", "decimals": 6},
            "that calls itself 'USD\\u0421' (with 6 decimals)",
            id="a letter that looks like ours",
        ),
        pytest.param(
            {"symbol": "\\u202eCDSU", "decimals": 6},
            "that calls itself '\\u202eCDSU' (with 6 decimals)",
            id="letters turned around",
        ),
    ],
)
def test_an_unlisted_token(world: World, words: Mapping[str, Any], expected: str) -> None:
    """Its amounts are base units of an address, and its name stands in quotes behind 'unlisted'."""
    seen = asked(world, simulated(world, says(BAIT, **words), deltas=[GAIN]))
    assert (
        amount(seen, BAIT, "5000000")
        == f"5,000,000 base units of {spelled(BAIT)}, an unlisted token {expected}"
    )
    page = [row for section in shown.sections(seen, now=NOW) for row in section.rows]
    assert any(expected in row.says for row in page)
    assert "NOT AS IT IS LISTED" not in {row.label for row in page if row.hex == BAIT}


def test_a_listed_token_that_calls_itself_otherwise(world: World) -> None:
    """The set's symbol stands on the page; the other is told, and alarms nobody."""
    seen = asked(world, simulated(world, says(USDC, symbol="USDX")))
    (row,) = rows(seen, "Calls itself otherwise")
    assert (row.says, row.alarm) == ("'USDX', listed as USDC", False)
    assert amount(seen, USDC, "1000000") == "1 USDC"


@pytest.mark.parametrize(
    ("words", "path"),
    [
        pytest.param({"symbol": ""}, "symbol", id="an empty symbol"),
        pytest.param({"symbol": "A" * 33}, "symbol", id="33 characters"),
        pytest.param({"symbol": "\u202eUSDC"}, "symbol", id="letters turned around"),
        pytest.param({"symbol": "US\nDC"}, "symbol", id="two lines"),
        pytest.param({"symbol": "USDC\n"}, "symbol", id="a line feed behind it"),
        pytest.param({"symbol": "USD\u0421"}, "symbol", id="a letter of another alphabet"),
        pytest.param({"symbol": "X', our 'USDC"}, "symbol", id="quotation marks"),
        pytest.param({"symbol": '"'}, "symbol", id="double ones"),
        pytest.param({"symbol": "\\"}, "symbol", id="a bare backslash"),
        pytest.param({"symbol": "\\u20"}, "symbol", id="half a code point"),
        pytest.param({"decimals": 256}, "decimals", id="too many decimals"),
        pytest.param({"decimals": -1}, "decimals", id="fewer than none"),
        pytest.param({"decimals": "6"}, "decimals", id="decimals as text"),
        pytest.param({"decimals": True}, "decimals", id="a truth as decimals"),
        pytest.param({"asset": "ETH"}, "asset", id="ether is no token"),
        pytest.param({"name": "USD Coin"}, "name", id="an unknown field"),
    ],
)
def test_words_that_are_none(world: World, words: Mapping[str, Any], path: str) -> None:
    """An observer that did not write a symbol out is refused; nothing of it reaches a screen."""
    honest = world.simulation(world.swap()).dump()
    with refused(Refusal.MALFORMED, f"/tokens/0/{path}"):
        Simulation.load({**honest, "tokens": [{**honest["tokens"][0], **words}, *honest["tokens"][1:]]})


def test_the_most_that_is_read(world: World) -> None:
    """32 characters of ten signs each, and 64 tokens."""
    told = {"asset": BAIT, "symbol": "\\U0001f600" * 32, "decimals": 255}
    assert len(simulated(world, lambda _: [told] * 64).tokens) == 64
    with refused(Refusal.MALFORMED, "/tokens"):
        simulated(world, lambda _: [told] * 65)
