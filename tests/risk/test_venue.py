"""A pool's address follows from factory, tokens and fee: vectors from the main chain, and what is refused."""

from collections.abc import Callable

import pytest

from tests.chain.world import World
from workbench.risk.errors import PoolError
from workbench.risk.venue import Venue

FACTORY = "0x1F98431c8aD98523631AE4a59f267346ea31F984"
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
WETH = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"

KNOWN = {
    500: "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640",
    3000: "0x8ad599c3A0ff1De082011EFDDc58f1908eb6e6D8",
}


@pytest.mark.parametrize(("fee", "address"), KNOWN.items())
def test_the_main_chains_pools(fee: int, address: str) -> None:
    """Two pools that everybody knows have the addresses that everybody knows, in either order of tokens."""
    assert Venue.of(FACTORY, USDC, WETH, fee).address == address
    assert Venue.of(FACTORY, WETH, USDC, fee) == Venue.of(FACTORY, USDC, WETH, fee)


def test_the_deployed_pool(world: World) -> None:
    """The factory that runs here puts its pool where the formula says."""
    deployment = world.deployment
    venue = Venue.of(deployment.factory, deployment.weth, deployment.usdc, deployment.fee)
    assert venue.address == deployment.pool


def test_the_direction() -> None:
    """Selling the first token moves the price down, the second up; a third is none of the pool's."""
    venue = Venue.of(FACTORY, USDC, WETH, 500)
    assert venue.zero_for_one(USDC)
    assert not venue.zero_for_one(WETH)
    with pytest.raises(PoolError, match="no token of the pool"):
        venue.zero_for_one(FACTORY)


REFUSED: dict[str, Callable[[], object]] = {
    "one token": lambda: Venue.of(FACTORY, USDC, USDC, 500),
    "the wrong order": lambda: Venue(factory=FACTORY, token0=WETH, token1=USDC, fee=500),
    "a fee of everything": lambda: Venue.of(FACTORY, USDC, WETH, 1_000_000),
    "a fee below nothing": lambda: Venue.of(FACTORY, USDC, WETH, -1),
    "no address": lambda: Venue.of("0x1", USDC, WETH, 500),
    "another spelling": lambda: Venue.of(FACTORY, USDC.lower(), WETH, 500),
}


@pytest.mark.parametrize("named", REFUSED.values(), ids=REFUSED)
def test_no_venue(named: Callable[[], object]) -> None:
    """What the factory would not create has no address."""
    with pytest.raises(PoolError):
        named()
