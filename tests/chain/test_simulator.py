"""Simulations: what a transaction does, also when its contract would rather not say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_hash.auto import keccak

from ledger.encoding import canonical
from tests.chain.world import GAS, MILLION, PACKAGES, TREASURY, World
from workbench.chain.errors import NodeError, SimulationError
from workbench.chain.simulator import Simulator, Transaction, revert_reason
from workbench.demo import newswap
from workbench.evm.call import call_digest
from workbench.evm.calldata import encode
from workbench.evm.fields import UINT256_MAX, address_bytes

TRANSFER = {
    "type": "function",
    "name": "transfer",
    "inputs": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
}
THIEF = "0x1111111111111111111111111111111111111111"
TREASURY_WORD = bytes(12) + address_bytes(TREASURY)
# balanceOf reads slot[owner]; every other call empties the caller's slot, without an event.
SILENT_THIEF = bytes.fromhex("5f3560e01c6370a0823114601257" + "5f335500" + "5b600435545f5260205ff3")
# approve writes slot[spender] = amount, allowance reads it, balanceOf is 0; no event.
SILENT_APPROVAL = bytes.fromhex(
    "5f3560e01c8063dd62ed3e14602157806370a0823114602c5760243560043555005b602435545f5260205ff35b5f5f5260205ff3"
)
# balanceOf answers 0 until any other call has been made, then nothing.
FALLS_SILENT = bytes.fromhex("5f3560e01c6370a082311460135760015f55005b5f54601d5760205ff35b00")
IMPLEMENTATION = int.from_bytes(keccak(b"eip1967.proxy.implementation")) - 1
WRITES_IMPLEMENTATION = bytes.fromhex("60017f" + IMPLEMENTATION.to_bytes(32).hex() + "5500")


def emits(event: str, topics: int = 0) -> bytes:
    """Return code that emits an event whose further topics are all the caller."""
    return (
        b"\x33" * topics
        + b"\x7f"
        + keccak(event.encode())
        + bytes.fromhex("5f5f")
        + bytes([0xA1 + topics, 0])
    )


def delta(asset: str, amount: int) -> dict[str, str]:
    """Return the treasury's delta."""
    return {"account": TREASURY, "asset": asset, "amount": str(amount)}


def test_a_swap_shows_what_leaves_and_what_arrives(world: World) -> None:
    """Both sides of a swap are deltas, the used allowance is shown, and nothing else."""
    simulation = world.simulate(world.approval(MILLION), world.swap(MILLION))
    received = 399200000059612681155
    assert simulation["deltas"] == [
        delta(world.deployment.usdc, -MILLION),
        delta(world.deployment.weth, received),
    ]
    allowance = {"owner": TREASURY, "spender": world.deployment.router, "asset": world.deployment.usdc}
    assert simulation["allowances"] == [{**allowance, "amount": "0"}]
    assert (simulation["admin_changes"], simulation["revert"]) == ([], None)


def test_the_document_is_canonical_and_complete(world: World) -> None:
    """The document has exactly the agreed fields and a canonical form."""
    intent = "ab" * 32
    data = world.deployment.approval(5)
    simulation = world.simulate(world.transaction(world.deployment.usdc, data, intent=intent))
    assert canonical(simulation)
    assert set(simulation) == {
        "v", "intent", "chain_id", "block", "sender", "call", "deltas", "allowances", "items", "rights",
        "admin_changes", "gas", "tokens", "accounts", "again",
        "findings", "slippage_bps", "slippage_ppm", "loss", "sequence", "revert", "at",
    }  # fmt: skip
    assert (simulation["intent"], simulation["sequence"], simulation["sender"]) == (intent, None, TREASURY)
    transaction = world.transaction(world.deployment.usdc, data)
    ran = call_digest(
        sender=TREASURY,
        to=transaction.to,
        value=transaction.value,
        data=data,
        gas=transaction.gas,
        max_fee_per_gas=transaction.max_fee_per_gas,
        max_priority_fee_per_gas=transaction.max_priority_fee_per_gas,
    )
    assert simulation["call"] == ran
    assert simulation["block"]["hash"] == world.node.head().hash().hex()


def test_an_approval_without_limit_is_seen(world: World) -> None:
    """The resulting allowance is the amount itself."""
    simulation = world.simulate(world.approval(UINT256_MAX))
    (allowance,) = simulation["allowances"]
    assert (allowance["spender"], allowance["amount"]) == (world.deployment.router, str(UINT256_MAX))
    assert (simulation["deltas"], simulation["slippage_ppm"], simulation["loss"]) == ([], None, None)


def test_an_undeclared_outflow_is_a_delta(world: World) -> None:
    """A transfer to a stranger shows, whatever the intent may have declared."""
    data = encode(TRANSFER, {"to": THIEF, "amount": "7"})
    simulation = world.simulate(world.transaction(world.deployment.usdc, data))
    assert simulation["deltas"] == [delta(world.deployment.usdc, -7)]


def test_ether_is_counted_without_the_gas(world: World) -> None:
    """The sender's ether falls by the value; what the gas costs is not a delta."""
    simulation = world.simulate(world.transaction(THIEF, value=5))
    assert (simulation["deltas"], simulation["gas"]) == ([delta("ETH", -5)], 21_000)


def test_proceeds_that_go_to_a_stranger(world: World) -> None:
    """A swap whose recipient is someone else is a total loss of its sender."""
    simulation = world.simulate(world.approval(MILLION), world.swap(MILLION, recipient=THIEF))
    assert simulation["deltas"] == [delta(world.deployment.usdc, -MILLION)]
    assert simulation["slippage_bps"] == 10_000


def test_a_theft_without_an_event_is_seen(fresh_world: World) -> None:
    """A token that empties its caller silently is found by reading balances."""
    token = fresh_world.contract(SILENT_THIEF)
    fresh_world.store(token, TREASURY_WORD, 900)
    simulation = fresh_world.simulate(fresh_world.transaction(token, b"\1\2\3\4"))
    assert simulation["deltas"] == [delta(token, -900)]


def test_an_approval_without_an_event_is_seen(fresh_world: World) -> None:
    """An allowance that appears silently for an address in the calldata is found by reading it."""
    token = fresh_world.contract(SILENT_APPROVAL)
    data = newswap.encode(newswap.APPROVE, {"spender": THIEF, "amount": "12"})
    simulation = fresh_world.simulate(fresh_world.transaction(token, data))
    assert simulation["allowances"] == [{"owner": TREASURY, "spender": THIEF, "asset": token, "amount": "12"}]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        pytest.param(WRITES_IMPLEMENTATION, "eip1967.implementation", id="an implementation slot, silently"),
        pytest.param(
            emits("OwnershipTransferred(address,address)", 2), "OwnershipTransferred", id="ownership"
        ),
        pytest.param(emits("RoleGranted(bytes32,address,address)", 3), "RoleGranted", id="a role"),
        pytest.param(emits("Upgraded(address)", 1), "Upgraded", id="an upgrade"),
        pytest.param(emits("AddedOwner(address)"), "AddedOwner", id="a Safe's owner"),
    ],
)
def test_changes_of_who_governs(fresh_world: World, code: bytes, change: str) -> None:
    """Ownership, roles and implementations that change are listed, with or without an event."""
    contract = fresh_world.contract(code)
    simulation = fresh_world.simulate(fresh_world.transaction(contract))
    assert simulation["admin_changes"] == [{"contract": contract, "change": change}]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(emits("TransferSingle(address,address,address,uint256,uint256)", 3), id="ERC-1155"),
        pytest.param(
            emits("TransferBatch(address,address,address,uint256[],uint256[])", 3), id="ERC-1155 batch"
        ),
        pytest.param(emits("Transfer(address,address,uint256)", 3), id="an NFT leaves"),
        pytest.param(emits("Approval(address,address,uint256)", 3), id="an NFT is approved"),
        pytest.param(emits("Approval(address,address,address,uint160,uint48)", 3), id="Permit2"),
        pytest.param(emits("AuthorizedOperator(address,address)", 2), id="ERC-777"),
    ],
)
def test_effects_that_cannot_be_told_raise(fresh_world: World, code: bytes) -> None:
    """What balances and allowances cannot express stops the simulation instead of being left out."""
    contract = fresh_world.contract(code)
    with pytest.raises(SimulationError, match=contract):
        fresh_world.simulate(fresh_world.transaction(contract))


def test_a_token_that_falls_silent(fresh_world: World) -> None:
    """A balance that can no longer be read afterwards is not taken for unchanged."""
    token = fresh_world.contract(FALLS_SILENT)
    with pytest.raises(SimulationError, match="no longer answers"):
        fresh_world.simulate(fresh_world.transaction(token, b"\1\2\3\4"))


def test_what_a_failed_inner_call_did_is_undone(fresh_world: World) -> None:
    """An event behind which everything was reverted has not happened."""
    inner = fresh_world.contract(emits("Upgraded(address)", 1)[:-1] + bytes.fromhex("5f5ffd"))
    outer = bytes.fromhex("5f5f5f5f5f73") + address_bytes(inner) + bytes.fromhex("5af100")
    simulation = fresh_world.simulate(fresh_world.transaction(fresh_world.contract(outer)))
    assert (simulation["admin_changes"], simulation["revert"]) == ([], None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("5f5ffd", "execution reverted", id="no reason"),
        pytest.param("60aa5f5360015ffd", "0xaa", id="a custom error"),
        pytest.param("634e487b715f5260116020526024601cfd", "panic 17", id="a panic"),
        pytest.param("5b5f56", "out of gas", id="an endless loop"),
    ],
)
def test_reverts_are_results_with_their_reason(fresh_world: World, code: str, reason: str) -> None:
    """A transaction that fails is simulated all the same, and says why."""
    contract = fresh_world.contract(bytes.fromhex(code))
    simulation = fresh_world.simulate(fresh_world.transaction(contract, value=5))
    assert reason in simulation["revert"].lower()
    assert (simulation["deltas"], simulation["allowances"]) == ([], [])


def test_a_reverted_swap_has_a_reason_and_no_slippage(world: World) -> None:
    """Without an approval the router cannot take the tokens."""
    simulation = world.simulate(world.swap(MILLION))
    assert (simulation["revert"], simulation["slippage_ppm"], simulation["deltas"]) == ("STF", None, [])


def test_a_minimum_out_that_is_not_reached(world: World) -> None:
    """The on-chain minimum stops the second tranche in its sequence, and the sum is not given."""
    minimum = 399 * newswap.ETHER
    tranches = [world.swap(MILLION, minimum=minimum)] * 2
    simulation = world.simulate(world.approval(2 * MILLION), *tranches)
    steps = simulation["sequence"]["steps"]
    assert [step["reverted"] for step in steps] == [False, False, True]
    assert simulation["revert"] == "Too little received"
    assert (simulation["sequence"]["slippage_ppm"], simulation["sequence"]["loss"]) == (None, None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", "reverted"),
        (
            encode(
                {"type": "function", "name": "Error", "inputs": [{"name": "r", "type": "string"}]},
                {"r": "a\n\u202eb"},
            ),
            "a??b",
        ),
        (b"\xff" * 500, "0x" + "f" * 198),
    ],
    ids=["nothing", "text that would turn a line around", "a long error"],
)
def test_reasons_are_harmless_text(output: bytes, expected: str) -> None:
    """A contract's words are cut and reduced to letters before anyone sees them."""
    assert revert_reason(output, "reverted") == expected


def test_what_calls_itself_a_swap_must_have_a_pool(world: World) -> None:
    """The swap's selector on a contract without a factory is refused: no slippage would read as no swap."""
    with pytest.raises(SimulationError, match="pool cannot be read"):
        world.simulate(world.transaction(world.deployment.usdc, world.swap_data(MILLION)))


def test_a_malformed_swap_is_refused(world: World) -> None:
    """Trailing bytes behind a swap are no swap of any kind."""
    with pytest.raises(SimulationError, match="pool cannot be read"):
        world.simulate(world.transaction(world.deployment.router, world.swap_data(MILLION) + b"\0"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"sender": THIEF}, "not executable", id="a sender without ether"),
        pytest.param({"value": 11 * newswap.ETHER}, "not executable", id="more ether than there is"),
        pytest.param({"gas": 20_000}, "not executable", id="less gas than a transfer needs"),
    ],
)
def test_what_no_chain_would_take_is_not_simulated(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    """A transaction that cannot be included has no effects to show."""
    with pytest.raises(SimulationError, match=reason):
        world.simulate(world.transaction(world.deployment.usdc, **changes))


def test_an_expired_deadline_is_seen(world: World) -> None:
    """The fork's clock is the observer's: a deadline in the past reverts."""
    later = datetime.now(UTC) + timedelta(hours=1)
    simulation = world.simulator.run(
        world.node, world.node.head(), [world.approval(MILLION), world.swap(MILLION)], target=1, at=later
    )
    assert simulation["revert"] == "Transaction too old"


def test_the_chain_itself_is_untouched(world: World) -> None:
    """Nothing simulated reaches the chain: not a block, not a pending transaction."""
    before = world.node.head()
    world.simulate(world.approval(MILLION), world.swap(MILLION))
    assert world.node.head() == before
    assert world.node.nonce(TREASURY, "pending") == 0


@pytest.mark.parametrize("target", [-1, 1, 2])
def test_targets_that_are_not_there(world: World, target: int) -> None:
    """The target is one of the transactions."""
    with pytest.raises(SimulationError):
        world.simulator.run(
            world.node, world.node.head(), [world.approval(1)], target=target, at=datetime.now(UTC)
        )


def test_too_many_transactions(world: World) -> None:
    """A sequence has a limit."""
    with pytest.raises(SimulationError, match="at most"):
        world.simulate(*[world.approval(1)] * 17)


def test_a_block_that_the_node_does_not_have(fresh_world: World) -> None:
    """A fork at a block that has been replaced is refused."""
    header = fresh_world.node.head()
    fresh_world.node.call("anvil_rollback", 1)
    with pytest.raises((SimulationError, NodeError)):
        fresh_world.simulator.run(
            fresh_world.node, header, [fresh_world.approval(1)], target=0, at=datetime.now(UTC)
        )


def test_no_simulator_no_simulation(world: World) -> None:
    """Without anvil there is an error, never an unsimulated result."""
    simulator = Simulator(PACKAGES / "no-such-anvil")
    with pytest.raises(NodeError, match="run `make`"):
        simulator.run(world.node, world.node.head(), [world.approval(1)], target=0, at=datetime.now(UTC))


DOCUMENT = {
    "intent": None,
    "from": TREASURY,
    "to": THIEF,
    "value": "0",
    "data": "",
    "gas": GAS,
    "max_fee_per_gas": 2,
    "max_priority_fee_per_gas": 1,
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"more": 1}, id="an unknown field"),
        pytest.param({"from": TREASURY.lower()}, id="an address without its checksum"),
        pytest.param({"to": None}, id="contract creation"),
        pytest.param({"value": 5}, id="a number as amount"),
        pytest.param({"value": "-5"}, id="a negative amount"),
        pytest.param({"data": "0x00"}, id="a prefix before hex"),
        pytest.param({"data": "AB"}, id="upper-case hex"),
        pytest.param({"gas": 0}, id="no gas"),
        pytest.param({"gas": 2**24 + 1}, id="more gas than a transaction may have"),
        pytest.param({"gas": True}, id="a truth as gas"),
        pytest.param({"max_fee_per_gas": 2**64 + 1}, id="a fee beyond everything"),
        pytest.param({"max_priority_fee_per_gas": 3}, id="a tip above the fee"),
        pytest.param({"max_fee_per_gas": "2"}, id="a fee as text"),
        pytest.param({"intent": "xyz"}, id="an intent that is no digest"),
    ],
)
def test_requests_that_are_no_transaction(changes: dict[str, Any]) -> None:
    """A transaction to simulate has one shape."""
    assert Transaction.parse(DOCUMENT).gas == GAS
    with pytest.raises(SimulationError):
        Transaction.parse({**DOCUMENT, **changes})
