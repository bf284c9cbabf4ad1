"""Logs as columns: what a node sends in another shape is refused, and the rest is there, each once."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tests.chain.world import MILLION, TREASURY, World
from workbench.chain.errors import NodeError
from workbench.chain.logs import SCHEMA, logs_to_columns, union
from workbench.demo import newswap
from workbench.evm.fields import UINT256_MAX, address_bytes

WORD = "0x" + "ab" * 32


def log(**changed: Any) -> dict[str, Any]:
    """Return a log as nodes send it."""
    return {
        "address": "0x" + "11" * 20,
        "topics": [WORD, WORD],
        "data": "0x" + "ff" * 32,
        "blockNumber": "0x12",
        "logIndex": "0x0",
        "transactionHash": WORD,
        "removed": False,
    } | changed


def test_what_a_node_sends(world: World) -> None:
    """Two real transfers: block, contract, topics and value as they are."""
    newswap.fund(world.anvil.url, world.deployment, TREASURY, usdc=MILLION, ether=0)
    told = world.node.call("eth_getLogs", {"fromBlock": "0x0", "address": world.deployment.usdc})
    frame = logs_to_columns(told)
    assert frame.height == len(told) > 1
    last = frame.row(-1, named=True)
    assert last["address"] == address_bytes(world.deployment.usdc)
    assert last["topic2"] == bytes(12) + address_bytes(TREASURY)
    assert (last["block"], last["topic3"]) == (world.node.head().number, None)
    assert int.from_bytes(last["data"]) == MILLION


def test_nothing() -> None:
    """An empty answer is a frame without rows."""
    frame = logs_to_columns([])
    assert (frame.height, dict(frame.schema)) == (0, SCHEMA)


def test_the_extremes() -> None:
    """No topics and four, no data, the highest block: all bytes, no number lost."""
    frame = logs_to_columns([log(topics=[]), log(topics=[WORD] * 4, data="0x", blockNumber=hex(2**63))])
    assert frame["block"].to_list() == [18, 2**63]
    assert frame["topic0"].to_list() == [None, bytes.fromhex("ab" * 32)]
    assert frame["data"].to_list()[1] == b""
    assert int.from_bytes(frame["data"][0]) == UINT256_MAX


def test_several_nodes_together() -> None:
    """What two nodes tell is there once, in the chain's order, and what one left out as well."""
    one, other = log(logIndex="0x1"), log(blockNumber="0x2")
    both = union([logs_to_columns([one]), logs_to_columns([one, other]), logs_to_columns([])])
    assert both["block"].to_list() == [2, 18]


WRONG: dict[str, Any] = {
    "no list": {},
    "null": None,
    "no log": ["0x"],
    "a short address": [log(address="0x11")],
    "no address": [log(address=None)],
    "a short topic": [log(topics=["0xab"])],
    "a topic that is no hex": [log(topics=["0x" + "zz" * 32])],
    "five topics": [log(topics=[WORD] * 5)],
    "topics that are a text": [log(topics=WORD)],
    "no data": [log(data=None)],
    "data that is a number": [log(data=7)],
    "endless data": [log(data="0x" + "00" * 70_000)],
    "a block that is a number": [log(blockNumber=18)],
    "no block yet": [log(blockNumber=None)],
    "a block without end": [log(blockNumber=hex(2**64))],
    "a negative index": [log(logIndex="-0x1")],
    "a log that was removed": [log(), log(removed=True)],
    "a field too few": [{"address": "0x" + "11" * 20}],
}


@pytest.mark.parametrize("told", WRONG.values(), ids=WRONG)
def test_another_shape(told: Any) -> None:
    """One wrong log, and the node is refused."""
    with pytest.raises(NodeError, match="logs"):
        logs_to_columns(told)


@pytest.mark.parametrize(
    "spoil",
    [lambda told: told[500].update(address="0x"), lambda told: told[999].update(data="0x0")],
    ids=["in the middle", "at the end"],
)
def test_one_among_many(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    """One wrong log among a thousand is found."""
    told = [log(logIndex=hex(number)) for number in range(1000)]
    assert logs_to_columns(told)["index"].to_list() == list(range(1000))
    spoil(told)
    with pytest.raises(NodeError):
        logs_to_columns(told)


def test_columns_are_what_others_read() -> None:
    """The frame is polars', with the columns that are promised."""
    assert isinstance(logs_to_columns([log()]), pl.DataFrame)
    assert logs_to_columns([log()]).columns == list(SCHEMA)
