"""What tokens call themselves in a simulation: read on the fork, proven, and harmless."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chain.compiled import calldata, compiled
from tests.chain.liar import lying
from tests.chain.world import MILLION, World, close_world, open_world
from workbench.chain.node import Node
from workbench.chain.prestate import StateError
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import to_rpc


@pytest.fixture(scope="module")
def made() -> Mapping[str, Any]:
    """Compile the tokens."""
    return compiled("names.sol")


@pytest.fixture(scope="module")
def shared(newswap_cache: Path) -> Iterator[World]:
    """Give a world in which tokens stand beside each other."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)


def claimed(world: World, token: str) -> list[dict[str, Any]]:
    """Simulate a claim, which brings in one token; return what the tokens of it call themselves."""
    simulation = world.simulate(world.transaction(token, calldata("claim")))
    assert [each["asset"] for each in simulation["deltas"]] == [token]
    tokens: list[dict[str, Any]] = simulation["tokens"]
    return tokens


@pytest.mark.parametrize(
    ("name", "symbol", "decimals"),
    [
        pytest.param("Six", "USDC", 6, id="it claims to be USDC"),
        pytest.param("Early", "MKR", 18, id="32 bytes"),
        pytest.param("Nameless", None, None, id="no such functions"),
        pytest.param("Reverting", None, None, id="they revert"),
        pytest.param("Endless", None, None, id="they never end"),
        pytest.param("Megabyte", None, None, id="a megabyte each"),
        pytest.param("Long", None, None, id="as long as gas allows, and 256 decimals"),
        pytest.param("Dicing", None, None, id="they hang on what has no proof"),
        pytest.param("Changing", "USDC", None, id="it writes while it answers"),
    ],
)
def test_what_it_calls_itself(
    shared: World, made: Mapping[str, Any], name: str, symbol: str | None, decimals: int | None
) -> None:
    """What a contract does to its name stops no simulation, and no name comes of it."""
    token = shared.create(made[name])
    assert claimed(shared, token) == [{"asset": token, "symbol": symbol, "decimals": decimals}]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("\u202eCDSU", "\\u202eCDSU", id="letters turned around"),
        pytest.param("USD\u0421", "USD\\u0421", id="a Cyrillic letter"),
        pytest.param("X', our 'USDC", "X\\x27, our \\x27USDC", id="quotation marks"),
        pytest.param("A" * 32, "A" * 32, id="32 letters"),
        pytest.param("A" * 33, None, id="33 letters"),
    ],
)
def test_how_it_is_written(shared: World, made: Mapping[str, Any], said: str, shown: str | None) -> None:
    """A name from storage, as a contract chooses it."""
    token = shared.create(made["Named"], a=said, b="6")
    assert claimed(shared, token) == [{"asset": token, "symbol": shown, "decimals": 6}]


def test_decimals_that_an_upgrade_changed(shared: World, made: Mapping[str, Any]) -> None:
    """Other code behind the same address answers otherwise, and that is what is told."""
    token = shared.create(made["Exchangeable"], code=shared.create(made["Six"]))
    assert claimed(shared, token) == [{"asset": token, "symbol": "USDC", "decimals": 6}]
    other = shared.create(made["Eighteen"])
    data = calldata("become", ("address", other))
    chain.send(shared.node, sender=newswap.DEPLOYER, to=token, data=data)
    assert claimed(shared, token) == [{"asset": token, "symbol": "USDC", "decimals": 18}]


def test_it_is_asked_before_the_transaction(shared: World, made: Mapping[str, Any]) -> None:
    """What a transaction makes of a name is not what stood there when people looked."""
    token = shared.create(made["Named"], a="OLD", b="6")
    simulation = shared.simulate(
        shared.transaction(token, calldata("become", ("string", "NEW"), ("uint8", "18"))),
        shared.transaction(token, calldata("claim")),
    )
    assert simulation["tokens"] == [{"asset": token, "symbol": "OLD", "decimals": 6}]


def test_a_swap_names_both_of_its_tokens(shared: World) -> None:
    """Every token of the effects is told once, in the order of the addresses; ether is none."""
    simulation = shared.simulate(shared.approval(MILLION), shared.swap(MILLION))
    named = {each["asset"]: (each["symbol"], each["decimals"]) for each in simulation["tokens"]}
    assert list(named) == sorted(named)
    assert named == {shared.deployment.usdc: ("USDC", 6), shared.deployment.weth: ("WETH", 18)}


def test_nothing_is_asked_where_nothing_moves(shared: World) -> None:
    """Ether alone has no contract."""
    simulation = shared.simulate(shared.transaction("0x1111111111111111111111111111111111111111", value=5))
    assert simulation["tokens"] == []


BAIT, USDC = (name.ljust(31, b"\0") + bytes([2 * len(name)]) for name in (b"BAIT", b"USDC"))


def renamed(method: str, _: list[Any], result: Any) -> Any:
    """Lie about one name as a contract keeps it, and about nothing else."""
    return to_rpc(USDC) if method == "eth_getStorageAt" and result == to_rpc(BAIT) else result


def test_a_node_that_lies_about_a_name(shared: World, made: Mapping[str, Any]) -> None:
    """The transaction reads no name; what the answer read is proven all the same, and the lie is found."""
    token = shared.create(made["Named"], a="BAIT", b="9")
    with lying(shared.node.url) as between:
        node = Node(between.url)
        world = replace(shared, node=node)
        assert claimed(world, token)[0]["symbol"] == "BAIT"
        between.lie = renamed
        shared.node.call("anvil_mine", "0x1")  # what was read for one block is not asked for again
        with pytest.raises(StateError, match=f"{token}: simulated with another value"):
            claimed(world, token)
        node.close()
