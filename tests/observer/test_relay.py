"""Signed bytes by a private relay: read again before they go, for so many blocks, never by a node instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from eth_hash.auto import keccak

from tests.chain.relay import Running, TestKey, relaying
from tests.chain.test_relay import nobody_knows
from tests.chain.world import TREASURY, World
from workbench.chain.errors import ChainError
from workbench.chain.relay import Relay
from workbench.evm.errors import TransactionError
from workbench.observer.__main__ import Desk
from workbench.observer.core import Observer
from workbench.process.crash import NEVER
from workbench.rules.carriage import RELAY_BLOCKS_MAX

STRANGER = "0x1111111111111111111111111111111111111111"
TIMEOUT_S = 1.0


@pytest.fixture
def running(fresh_world: World) -> Iterator[Running]:
    """Give a relay before the fresh world's node, which mines when it is told to."""
    fresh_world.node.call("evm_setAutomine", False)  # JSON-RPC's own form
    with relaying(fresh_world.node.url) as process:
        yield process


@pytest.fixture
def relayed(observer: Observer, running: Running) -> Observer:
    """Give an observer that has the relay."""
    key = TestKey(b"\x07" * 32)
    return replace(observer, relay=Relay(url=running.url, key=key, timeout_s=TIMEOUT_S))


def ahead(world: World, blocks: int) -> int:
    """Return the number of a block that comes."""
    return world.node.head().number + blocks


def test_by_the_relay_and_mined(relayed: Observer, running: Running, fresh_world: World) -> None:
    """The nodes have the bytes when the relay hands them over, not before; then the block proves it."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    request = {"v": 1, "operation": "broadcast", "raw": raw.hex()}
    way = {"by": "relay", "last_block": ahead(fresh_world, 3)}
    told = Desk(relayed, NEVER).handle(request | way)
    assert told == {"result": {"tx_hash": keccak(raw).hex()}}
    assert nobody_knows(fresh_world, raw)
    assert relayed.confirm(keccak(raw)) == {"status": "unknown"}
    running.tell(hand_over=True)
    fresh_world.node.call("anvil_mine", "0x1")
    assert relayed.confirm(keccak(raw))["status"] == "confirmed"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda raw: raw[:-1], TransactionError, id="cut short"),
        pytest.param(lambda raw: raw + b"\0", TransactionError, id="a trailing byte"),
        pytest.param(lambda _: b"", TransactionError, id="nothing"),
    ],
)
def test_bytes_that_are_not_given(
    relayed: Observer,
    running: Running,
    fresh_world: World,
    change: Callable[[bytes], bytes],
    error: type[Exception],
) -> None:
    """What is no signed transaction in its one form reaches neither the relay nor a node."""
    with pytest.raises(error):
        relayed.relayed(change(fresh_world.signed(STRANGER, nonce=0)), ahead(fresh_world, 3))
    assert running.tell()["asked"] == []


def test_another_chains_bytes_are_not_given(relayed: Observer, running: Running, fresh_world: World) -> None:
    """Bytes signed for another chain are refused here, whatever the relay would do."""
    with pytest.raises(ChainError, match="chain 1"):
        relayed.relayed(fresh_world.signed(STRANGER, nonce=0, chain_id=1), ahead(fresh_world, 3))
    assert running.tell()["asked"] == []


@pytest.mark.parametrize("blocks", [-1, 0, RELAY_BLOCKS_MAX + 1, 2**64])
def test_ends_that_are_none(relayed: Observer, running: Running, fresh_world: World, blocks: int) -> None:
    """A block that is mined, or that a relay would put nearer without a word, is no end."""
    with pytest.raises(ChainError, match="until block"):
        relayed.relayed(fresh_world.signed(STRANGER, nonce=0), ahead(fresh_world, blocks))
    assert running.tell()["asked"] == []


@pytest.mark.parametrize("behaves", ["refuses", "another hash", "silent", "too much", "dead", "none"])
def test_no_node_instead(relayed: Observer, running: Running, fresh_world: World, behaves: str) -> None:
    """A relay that fails, or that is not configured, is an error: there is no other way."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    asked = replace(relayed, relay=None) if behaves == "none" else relayed
    if behaves == "dead":
        running.kill()
    else:
        running.tell(behaves=behaves)
    with pytest.raises(ChainError, match="relay"):
        asked.relayed(raw, ahead(fresh_world, 3))
    assert nobody_knows(fresh_world, raw)
    fresh_world.node.call("anvil_mine", "0x1")
    assert fresh_world.node.nonce(TREASURY) == 0


def test_recalled(relayed: Observer, running: Running, fresh_world: World) -> None:
    """The relay forgets what it is asked to; what it does not have is an error."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    relayed.relayed(raw, ahead(fresh_world, 3))
    request = {"v": 1, "operation": "recall", "tx_hash": keccak(raw).hex()}
    assert Desk(relayed, NEVER).handle(request) == {"result": {"tx_hash": keccak(raw).hex()}}
    assert Desk(relayed, NEVER).handle(request)["error"]["code"] == "chain"
    running.tell(hand_over=True)
    assert nobody_knows(fresh_world, raw)
