"""The worked example's figures, from the real contracts."""

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.chain.world import MILLION, PACKAGES, TREASURY, World
from workbench.chain.errors import NodeError
from workbench.chain.node import Node
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import address_bytes

LIQUIDITY = {
    "type": "function",
    "name": "positions",
    "inputs": [{"name": "tokenId", "type": "uint256"}],
}


def dollars(loss: dict[str, str]) -> int:
    """Return a loss in whole dollars."""
    return round(int(loss["amount"]) / newswap.USDC_UNIT)


@pytest.mark.parametrize(
    ("amount", "slippage_ppm", "loss"),
    [
        (MILLION // 10, 650, 65),
        (MILLION, 2_000, 2_000),
        (MILLION * 5 // 4, 2_374, 2_968),
        (MILLION * 3 // 2, 2_930, 4_396),
        (MILLION * 2, 5_440, 10_881),
        (MILLION * 3, 12_816, 38_448),
        (MILLION * 4, 21_251, 85_005),
        (MILLION * 5, 30_000, 150_000),
    ],
    ids=["0.1M", "1M", "1.25M", "1.5M", "2M", "3M", "4M", "5M"],
)
def test_one_swap_costs_what_the_table_says(world: World, amount: int, slippage_ppm: int, loss: int) -> None:
    """Slippage and loss of one swap, fee included."""
    simulation = world.simulate(world.approval(amount), world.swap(amount))
    assert (simulation["slippage_ppm"], dollars(simulation["loss"])) == (slippage_ppm, loss)
    assert simulation["slippage_bps"] == -(-slippage_ppm // 100)


def test_five_tranches_back_to_back_cost_as_much_as_one(world: World) -> None:
    """Splitting alone saves nothing: the pool does not recover by itself."""
    simulation = world.simulate(world.approval(5 * MILLION), *[world.swap(MILLION)] * 5)
    sequence = simulation["sequence"]
    steps = [step["slippage_ppm"] for step in sequence["steps"]]
    assert steps == [None, 2_000, 8_881, 27_568, 46_557, 64_995]
    assert (sequence["slippage_ppm"], dollars(sequence["loss"])) == (30_000, 150_000)


def test_five_simulations_of_the_same_state_hide_the_cost(world: World) -> None:
    """Each tranche alone looks like 0.2 %: only the sequence tells the truth."""
    alone = [world.simulate(world.approval(MILLION), world.swap(MILLION)) for _ in range(5)]
    assert [each["slippage_ppm"] for each in alone] == [2_000] * 5
    assert sum(dollars(each["loss"]) for each in alone) == 10_000


def test_the_pool_is_what_the_notes_say(world: World) -> None:
    """Both positions have their exact liquidity, and USDC is token0."""
    held = []
    for number in (1, 2):
        data = newswap.encode(LIQUIDITY, {"tokenId": str(number)})
        answer = world.node.eth_call(world.deployment.positions, data, "latest")
        words = [int.from_bytes(answer[i : i + 32], signed=True) for i in range(0, len(answer), 32)]
        held.append((words[5], words[6], words[7]))
    assert tuple(held) == newswap.POSITIONS
    assert address_bytes(world.deployment.usdc) < address_bytes(world.deployment.weth)


def test_addresses_are_the_same_on_every_machine(tmp_path: Path, newswap_cache: Path) -> None:
    """A deployment made afresh has the addresses of the one made before."""
    state, again = newswap.prepared(PACKAGES, tmp_path)
    kept, first = newswap.prepared(PACKAGES, newswap_cache)
    assert (asdict(again), state.name) == (asdict(first), kept.name)
    assert again.usdc == "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def test_the_cache_is_made_once_and_left_whole(tmp_path: Path) -> None:
    """A second call reads the file; no partial file is left beside it."""
    state, _ = newswap.prepared(PACKAGES, tmp_path)
    made = state.stat().st_mtime_ns
    newswap.prepared(PACKAGES, tmp_path)
    assert state.stat().st_mtime_ns == made
    assert not list(tmp_path.glob("*.partial"))


def test_a_used_chain_is_refused(world: World) -> None:
    """On a chain where the deployer has acted, the addresses would be others."""
    with pytest.raises(NodeError, match="not fresh"):
        newswap.deploy(world.node, PACKAGES)


def test_missing_packages_say_how_to_install(tmp_path: Path) -> None:
    """Without the npm packages there is no demo chain, and the error says what to do."""
    with pytest.raises(NodeError, match="run `make`"):
        newswap.prepared(tmp_path, tmp_path)
    with pytest.raises(NodeError, match="run `make`"):
        chain.start(tmp_path)


def test_a_broken_state_file_is_an_error(tmp_path: Path) -> None:
    """A state that anvil cannot load is no empty chain."""
    broken = tmp_path / "state.json"
    broken.write_text("{}")
    with pytest.raises(NodeError, match="did not start"):
        chain.start(PACKAGES, state=broken)


def test_funding_is_ordinary_transactions(world: World) -> None:
    """The treasury has its USDC and ether, and blocks keep their state roots."""
    node = Node(world.anvil.url)
    balance = node.read_quantity(node.call("eth_getBalance", TREASURY, "latest"))
    assert balance == 10 * newswap.ETHER
    assert node.head().state_root != bytes(32)
    node.close()
