"""A private relay: what it is asked, who asks, and that only the hash is an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests
from eth_hash.auto import keccak

from tests.chain.relay import Running, TestKey, relaying
from tests.chain.world import TREASURY, World
from workbench.chain.relay import Relay, RelayError
from workbench.evm.transaction import address_of

STRANGER = "0x1111111111111111111111111111111111111111"
TIMEOUT_S = 1.0


KEY, OTHER = TestKey(b"\x07" * 32), TestKey(b"\x08" * 32)


@pytest.fixture(scope="module")
def process() -> Iterator[Running]:
    """Run one relay for all tests."""
    with relaying() as running:
        yield running


@pytest.fixture
def running(process: Running, fresh_world: World) -> Running:
    """Give the relay before the fresh world's node, well-behaved and with nothing kept."""
    process.kill()
    process.start()
    process.behind(fresh_world.node.url)
    fresh_world.node.call("evm_setAutomine", False)  # JSON-RPC's own form
    return process


@pytest.fixture
def relay(running: Running) -> Relay:
    """Give the client."""
    return Relay(url=running.url, key=KEY, timeout_s=TIMEOUT_S)


def nobody_knows(world: World, raw: bytes) -> bool:
    """Whether the node has bytes neither in its pool nor in a block."""
    pools = world.node.call("txpool_content")
    known = world.node.call("eth_getTransactionByHash", "0x" + keccak(raw).hex())
    return not pools["pending"] and not pools["queued"] and known is None


def test_it_is_mined_and_was_in_no_pool(relay: Relay, running: Running, fresh_world: World) -> None:
    """The relay has the bytes alone, with no hints and until the block that was said; then they are mined."""
    raw, head = fresh_world.signed(STRANGER, nonce=0, value=7), fresh_world.node.head().number
    relay.send(raw, last_block=head + 3)
    assert nobody_knows(fresh_world, raw)
    (kept,) = running.kept().values()
    assert kept == {
        "raw": "0x" + raw.hex(),
        "last_block": head + 3,
        "by": address_of(KEY.public_key),
        "hints": [],
    }
    running.tell(hand_over=True)
    fresh_world.node.call("anvil_mine", "0x1")
    assert fresh_world.node.nonce(TREASURY) == 1


def test_sending_twice_is_once(relay: Relay, running: Running, fresh_world: World) -> None:
    """The same bytes again are the same bytes, until the newer block."""
    raw, head = fresh_world.signed(STRANGER, nonce=0, value=7), fresh_world.node.head().number
    relay.send(raw, last_block=head + 1)
    relay.send(raw, last_block=head + 2)
    assert [each["last_block"] for each in running.kept().values()] == [head + 2]


def test_behind_the_last_block_it_is_forgotten(relay: Relay, running: Running, fresh_world: World) -> None:
    """What was not included in time is included no more."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    relay.send(raw, last_block=fresh_world.node.head().number + 2)
    fresh_world.node.call("anvil_mine", "0x2")
    running.tell(hand_over=True)
    assert running.kept() == {}
    assert nobody_knows(fresh_world, raw)


def test_hints_are_those_that_are_named(running: Running, fresh_world: World) -> None:
    """What the relay may tell others is told to it, word for word."""
    told = Relay(url=running.url, key=KEY, hints=("hash", "logs"))
    told.send(fresh_world.signed(STRANGER, nonce=0), last_block=fresh_world.node.head().number + 1)
    assert [each["hints"] for each in running.kept().values()] == [["hash", "logs"]]


def test_only_who_brought_it_cancels(relay: Relay, running: Running, fresh_world: World) -> None:
    """Another key, or another hash, cancels nothing; the same key does, once."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    relay.send(raw, last_block=fresh_world.node.head().number + 9)
    for client, tx_hash in ((Relay(url=running.url, key=OTHER), keccak(raw)), (relay, keccak(b"other"))):
        with pytest.raises(RelayError, match="does not say"):
            client.cancel(tx_hash)
        assert len(running.kept()) == 1
    relay.cancel(keccak(raw))
    with pytest.raises(RelayError, match="does not say"):
        relay.cancel(keccak(raw))
    running.tell(hand_over=True)
    assert nobody_knows(fresh_world, raw)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="nothing"),
        pytest.param("0x00:0x00", id="no signature"),
        pytest.param(f"{address_of(KEY.public_key)}:0x{'11' * 64}1b", id="a signature of nobody"),
    ],
)
def test_the_relay_wants_a_signature(running: Running, header: str) -> None:
    """The relay that the other tests speak to looks at the header: an unsigned request gets nothing."""
    headers = {"X-Flashbots-Signature": header} if header else {}
    answer = requests.post(running.url, json={}, headers=headers, timeout=5)
    assert answer.status_code == 403
    assert running.tell()["asked"] == []


MISBEHAVES = {
    "refuses": "it refuses",
    "another hash": "not the hash",
    "silent": "no answer: TimeoutError",
    "drips": "no answer: TimeoutError",
    "too much": "no answer: ValueError",
    "no JSON": "not JSON",
    "a list": "not an object",
    "fails": "HTTP 500",
}


@pytest.mark.parametrize(("behaves", "said"), MISBEHAVES.items(), ids=MISBEHAVES)
def test_what_is_no_answer(
    relay: Relay, running: Running, fresh_world: World, behaves: str, said: str
) -> None:
    """Whatever it does ends in time and is an error without its address; no node has the bytes."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    running.tell(behaves=behaves)
    began = time.monotonic()
    with pytest.raises(RelayError, match=said) as caught:
        relay.send(raw, last_block=fresh_world.node.head().number + 3)
    assert time.monotonic() - began < 3 * TIMEOUT_S
    assert "127.0.0.1" not in str(caught.value)
    assert "secret-path" not in str(caught.value)
    assert nobody_knows(fresh_world, raw)


def test_a_dead_relay(relay: Relay, running: Running, fresh_world: World) -> None:
    """Nobody there is an error, and no node has the bytes."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    running.kill()
    with pytest.raises(RelayError, match="no answer: ConnectionRefusedError"):
        relay.send(raw, last_block=9)
    assert nobody_knows(fresh_world, raw)


@pytest.mark.parametrize(
    ("url", "hints"),
    [
        pytest.param("ftp://relay.example", (), id="no HTTP"),
        pytest.param("https://user@relay.example", (), id="a name in the address"),
        pytest.param("https://relay.example", ("everything",), id="a hint that is none"),
        pytest.param("https://relay.example", ("hash", "hash"), id="a hint twice"),
    ],
)
def test_what_is_no_relay(url: str, hints: tuple[str, ...]) -> None:
    """A wrong address or hint is found when the process starts, not when bytes are to be sent."""
    with pytest.raises(RelayError):
        Relay(url=url, key=KEY, hints=hints)
