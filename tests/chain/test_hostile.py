"""Contracts that do something else than they show: each is flagged before anybody could sign."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chain.world import MILLION, TREASURY, World, close_world, open_world
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.calldata import APPROVE, encode
from workbench.evm.fields import UINT256_MAX, checksummed
from workbench.rules import facts
from workbench.rules.attestation import Simulation

ROOT = Path(__file__).parents[2]
THIEF = checksummed(b"\x66" * 20)
VAULT_KEY = newswap.DEPLOYER  # an account of ours that trusts somebody, in these tests
ETHER = 10**15

Made = Mapping[str, Any]


@pytest.fixture(scope="session")
def hostile() -> Made:
    """Compile the hostile contracts."""
    compiled = subprocess.run(
        [str(ROOT / ".venv/bin/node"), "compile.js", str(ROOT / "tests/chain/contracts/hostile.sol")],
        cwd=ROOT / "binder",
        capture_output=True,
        text=True,
        check=True,
    )
    made: Made = json.loads(compiled.stdout)
    return made


@pytest.fixture
def victim(fresh_world: World) -> World:
    """Give a world for one hostile contract."""
    return fresh_world


@pytest.fixture(scope="module")
def shared(newswap_cache: Path) -> Iterator[World]:
    """Give a world in which hostile contracts stand beside each other."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)


def call(name: str, *types: str) -> dict[str, Any]:
    """Return the fragment of a function whose parameters are a, b, …."""
    inputs = [{"name": chr(97 + place), "type": each} for place, each in enumerate(types)]
    return {"type": "function", "name": name, "inputs": inputs}


def kinds(simulation: Mapping[str, Any]) -> set[str]:
    """Return the kinds of what was found."""
    return {each["kind"] for each in simulation["findings"]}


def refusable(simulation: Mapping[str, Any]) -> Simulation:
    """Return the simulation as the rules read it."""
    return Simulation.load({**simulation, "intent": "ab" * 32})


def test_a_hidden_approval_is_found_by_what_was_hashed(shared: World, hostile: Made) -> None:
    """A spender that no argument, event or constant names appears in the close look."""
    token = shared.create(hostile["HiddenApproval"], spender=THIEF)
    simulation = shared.simulate(shared.transaction(token, encode(call("claim"), {})))
    assert simulation["allowances"] == []
    assert simulation["again"]["allowances"] == [
        {"owner": TREASURY, "spender": THIEF, "asset": token, "amount": str(UINT256_MAX)}
    ]
    assert not facts.steady(refusable(simulation))


def test_ownership_grabbed_by_borrowed_code(shared: World, hostile: Made) -> None:
    """Code that the caller names runs as the vault's own: a finding, and the vault answers another owner."""
    vault, grab = shared.create(hostile["Vault"]), shared.create(hostile["Grab"])
    inner = encode(call("take"), {})
    data = encode(call("execute", "address", "bytes"), {"a": grab, "b": inner.hex()})
    simulation = shared.simulate(shared.transaction(vault, data))
    assert kinds(simulation) == {"borrowed_code"}
    assert simulation["admin_changes"] == [{"contract": vault, "change": "owner()"}]


def test_a_proxy_is_no_finding(shared: World, hostile: Made) -> None:
    """Borrowed code that the contract's own storage names, and that stays, is how proxies work."""
    proxy = shared.create(hostile["Proxy"], code=shared.create(hostile["Token"]))
    data = encode(newswap._MINT, {"account": TREASURY, "value": "9"})
    simulation = shared.simulate(shared.transaction(proxy, data))
    assert simulation["findings"] == []
    assert simulation["deltas"] == [{"account": TREASURY, "asset": proxy, "amount": "9"}]


def test_another_owner_without_an_event(shared: World, hostile: Made) -> None:
    """Whoever governs a contract is asked of the contract itself, wherever it keeps it."""
    quiet = shared.create(hostile["Quiet"])
    simulation = shared.simulate(shared.transaction(quiet, encode(call("work"), {})))
    assert simulation["admin_changes"] == [{"contract": quiet, "change": "owner()"}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("KeepsAPart", {"transfer_fee"}, id="a part is kept of each transfer"),
        pytest.param("LiesAboutIt", {"transfer_fee"}, id="it says that it moved, and did not"),
        pytest.param("Blacklist", {"held_fast"}, id="it can never be passed on"),
    ],
)
def test_what_was_bought_is_tried(shared: World, hostile: Made, name: str, expected: set[str]) -> None:
    """Each bait shows its buyer a fine balance, and fails when it is passed on."""
    bait = shared.create(hostile[name])
    simulation = shared.simulate(shared.transaction(bait, encode(call("buy"), {}), value=ETHER))
    assert [each["amount"] for each in simulation["deltas"] if each["asset"] == bait] == [str(ETHER)]
    assert kinds(simulation) == expected


@pytest.mark.parametrize("name", ["ClosesInBlocks", "ClosesInTime"])
def test_it_closes_later(shared: World, hostile: Made, name: str) -> None:
    """The trap that closes later is found later, and only then."""
    bait = shared.create(hostile[name])
    simulation = shared.simulate(shared.transaction(bait, encode(call("buy"), {}), value=ETHER))
    (found,) = simulation["findings"]
    assert (found["kind"], "an hour later" in found["detail"]) == ("held_fast", True)


def test_a_token_that_is_bought_and_cannot_be_sold(victim: World, hostile: Made) -> None:
    """It trades in a real pool, the purchase is cheap, and the way back is closed."""
    token = victim.create(hostile["OneWay"])
    while token < victim.deployment.usdc:
        token = victim.create(hostile["OneWay"])
    pool = victim.pool(token)
    chain.send(
        victim.node,
        sender=newswap.DEPLOYER,
        to=token,
        data=encode(call("closed", "address"), {"a": pool}),
    )
    bought = victim.deployment.swap(
        recipient=TREASURY, amount_in=MILLION, amount_out_minimum=0, deadline=UINT256_MAX
    )
    weth, other = bytes.fromhex(victim.deployment.weth[2:]), bytes.fromhex(token[2:])
    simulation = victim.simulate(
        victim.approval(MILLION),
        victim.transaction(victim.deployment.router, bought.replace(weth, other)),
    )
    assert simulation["slippage_bps"] == 20
    assert kinds(simulation) == {"unsaleable"}


@pytest.mark.parametrize("ahead", [1, 2])
def test_what_depends_on_the_block_is_told_apart(shared: World, hostile: Made, ahead: int) -> None:
    """A contract that is generous in one block only is seen in another, whichever of the two it chose."""
    number = shared.node.head().number + 1 + ahead  # one more for its own creation
    token = shared.create(hostile["OneBlock"], number=str(number))
    simulation = shared.simulate(shared.transaction(token, encode(call("claim"), {})))
    amounts = [simulation["deltas"][0]["amount"], simulation["again"]["deltas"][0]["amount"]]
    assert sorted(amounts) == ["1", "1000"]
    assert facts.steady(refusable(simulation)) is (
        ahead == 2
    )  # more later is no loss; the floor is the first
    if ahead == 2:
        assert simulation["deltas"][0]["amount"] == "1"


def test_a_fork_cannot_be_told_by_what_a_block_lacks(victim: World, hostile: Made) -> None:
    """Somebody makes the simulated blocks and is tipped, so a contract that looks for a fork finds none."""
    victim.node.call("anvil_setCoinbase", THIEF)
    token = victim.create(hostile["Unpaid"])
    simulation = victim.simulate(victim.transaction(token, encode(call("claim"), {})))
    assert simulation["deltas"] == [{"account": TREASURY, "asset": token, "amount": "1"}]
    assert facts.steady(refusable(simulation))


def test_what_depends_on_the_price_of_gas_is_told_apart(shared: World, hostile: Made) -> None:
    """Fees are caps, and bytes that pay less may be signed: the second run pays half the tip."""
    token = shared.create(hostile["Tipped"])
    asked = shared.transaction(token, encode(call("claim"), {}))
    simulation = shared.simulate(replace(asked, max_priority_fee_per_gas=1000))
    amounts = [simulation["deltas"][0]["amount"], simulation["again"]["deltas"][0]["amount"]]
    assert amounts == ["1000", "1"]
    assert not facts.steady(refusable(simulation))


def test_what_one_key_sends_can_move_what_another_approved(shared: World, hostile: Made) -> None:
    """The loss of another account of ours is told; a simulation that did not look there says so."""
    token, collector = shared.create(hostile["Token"]), shared.create(hostile["Collector"])
    newswap._mint(shared.node, token, VAULT_KEY, 500)
    newswap._send(shared.node, token, APPROVE, {"spender": collector, "amount": "500"})
    data = encode(call("work", "address", "address", "uint256"), {"a": token, "b": VAULT_KEY, "c": "400"})
    theft = shared.transaction(collector, data)
    simulation = shared.simulate(theft, accounts=[VAULT_KEY])
    assert simulation["deltas"] == [{"account": VAULT_KEY, "asset": token, "amount": "-400"}]
    assert [each["amount"] for each in simulation["allowances"]] == ["100"]
    unaware = shared.simulate(theft)
    assert (unaware["deltas"], unaware["accounts"]) == ([], [TREASURY])


def test_a_callback_into_what_is_being_executed(shared: World, hostile: Made) -> None:
    """A token that enters its seller again before the sale has been written down is named."""
    shop, token = shared.create(hostile["Shop"]), shared.create(hostile["Hooked"])
    data = encode(call("buy", "address"), {"a": token})
    simulation = shared.simulate(shared.transaction(shop, data, value=ETHER))
    assert "reentered" in kinds(simulation)
    assert shop in {each["contract"] for each in simulation["findings"] if each["kind"] == "reentered"}


def test_calls_to_oneself_are_no_finding(shared: World, hostile: Made) -> None:
    """Several calls in one, a call of one's own, and ether that comes back are how honest contracts work."""
    busy = shared.create(hostile["Busy"])
    chain.send(shared.node, sender=newswap.DEPLOYER, to=busy, value=5)
    simulation = shared.simulate(shared.transaction(busy, encode(call("work"), {})))
    assert (simulation["revert"], simulation["findings"]) == (None, [])


def test_a_contract_that_ends_itself(shared: World, hostile: Made) -> None:
    """Self-destruction is told even where the code stays."""
    ends = shared.create(hostile["Ends"])
    simulation = shared.simulate(shared.transaction(ends, encode(call("work"), {})))
    assert "ended" in kinds(simulation)


def test_an_honest_swap_has_no_findings(shared: World) -> None:
    """NewSwap's router, its pool's callback, and two honest tokens: nothing is found, and it is steady."""
    simulation = shared.simulate(shared.approval(MILLION), shared.swap(MILLION, minimum=399 * newswap.ETHER))
    assert simulation["findings"] == []
    assert facts.steady(refusable(simulation))
