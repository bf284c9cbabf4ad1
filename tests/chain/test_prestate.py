"""A simulation on a node that lies about the state: found, named, and never signed."""

from collections.abc import Callable

import pytest
from eth_hash.auto import keccak

from tests.chain.world import MILLION, TREASURY, World
from workbench.chain.prestate import StateError
from workbench.evm.fields import address_bytes


def balance_slot(owner: str) -> bytes:
    """Return where the test token keeps an owner's balance: a mapping in its first slot."""
    return keccak(bytes(12) + address_bytes(owner) + bytes(32))


def _ether(world: World) -> None:
    world.node.call("anvil_setBalance", TREASURY, hex(10**24))


def _nonce(world: World) -> None:
    world.node.call("anvil_setNonce", TREASURY, hex(world.node.nonce(TREASURY) + 3))


def _write(world: World, slot: bytes, value: int) -> None:
    # as `World.store`, but for the block that would make it true
    words = ("0x" + slot.hex(), "0x" + value.to_bytes(32).hex())
    world.node.call("anvil_setStorageAt", world.deployment.usdc, *words)


def _token(world: World) -> None:
    _write(world, balance_slot(TREASURY), 10**18)


def _pool_ether(world: World) -> None:
    world.node.call("anvil_setBalance", world.deployment.pool, "0x1")


def _zero_slot(world: World) -> None:
    # an allowance that is none
    inner = keccak(bytes(12) + address_bytes(TREASURY) + (1).to_bytes(32))
    _write(world, keccak(bytes(12) + address_bytes(world.deployment.router) + inner), 1)


def _code(world: World) -> None:
    code = world.node.call("eth_getCode", world.deployment.usdc, "latest")
    world.node.call("anvil_setCode", world.deployment.usdc, code + "00")


LIES: dict[str, Callable[[World], None]] = {
    "more ether than there is": _ether,
    "another nonce": _nonce,
    "more tokens than there are": _token,
    "ether that nobody sends": _pool_ether,
    "a slot that is empty": _zero_slot,
    "other code": _code,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_lies(fresh_world: World, lie: Callable[[World], None]) -> None:
    """The block's hash stays what it was and still the simulation is refused: its root has other values."""
    world = fresh_world
    before = world.node.head().hash()
    lie(world)
    assert world.node.head().hash() == before
    with pytest.raises(StateError):
        world.simulate(world.approval(MILLION), world.swap(MILLION))


def test_truth(fresh_world: World) -> None:
    """Told the truth, approval and swap are simulated together and one by one."""
    world = fresh_world
    both = world.simulate(world.approval(MILLION), world.swap(MILLION))
    assert both["slippage_ppm"] == 2000
