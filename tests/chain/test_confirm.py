"""Confirmations: in a block that stands in the chain, with proofs, or not at all."""

from collections.abc import Callable
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.chain.world import TREASURY, World
from workbench.chain.confirm import inclusion, known
from workbench.chain.errors import NodeError
from workbench.chain.node import Node
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.errors import ProofError
from workbench.evm.fields import to_rpc
from workbench.evm.proof import verify_receipt, verify_transaction

STRANGER = "0x1111111111111111111111111111111111111111"

Json = Any
Edit = Callable[[Json], Json]


@pytest.fixture
def mined(fresh_world: World) -> tuple[World, list[bytes]]:
    """Mine three transactions of the treasury in one block, between those of others."""
    node = fresh_world.node
    node.call("evm_setAutomine", False)  # JSON-RPC's own form
    raws = [
        fresh_world.signed(fresh_world.deployment.usdc, nonce=0, data=fresh_world.deployment.approval(5)),
        fresh_world.signed(STRANGER, nonce=1, value=1),
        fresh_world.signed(fresh_world.deployment.router, nonce=2, data=b"\1\2\3\4"),
    ]
    for raw in raws:
        node.call("eth_sendRawTransaction", to_rpc(raw))
    assert all(known(node, keccak(raw)) for raw in raws)
    assert inclusion(node, keccak(raws[0])) is None
    node.call("anvil_mine", "0x1")
    return fresh_world, raws


class _Edited(Node):
    """A node whose answers to one method are edited on their way: a man in the middle, or a liar."""

    def __init__(self, url: str, method: str, edit: Edit) -> None:
        super().__init__(url)
        self._method, self._edit = method, edit

    def call(self, method: str, *params: Json) -> Json:
        answer = super().call(method, *params)
        return self._edit(answer) if method == self._method else answer


def changed(path: list[Any], value: object) -> Edit:
    """Return an edit that replaces one value of an answer."""

    def edit(answer: Json) -> Json:
        *parents, last = path
        inner = answer
        for key in parents:
            inner = inner[key]
        inner[last] = value
        return answer

    return edit


def reordered(block: Json) -> Json:
    """Return a block whose transactions are listed backwards."""
    return {**block, "transactions": block["transactions"][::-1]}


@pytest.mark.parametrize("index", range(3))
def test_every_transaction_of_a_block_is_proven(mined: tuple[World, list[bytes]], index: int) -> None:
    """Bytes and receipt stand at their place under the header's roots."""
    world, raws = mined
    found = inclusion(world.node, keccak(raws[index]))
    assert (found.index, found.raw) == (index, raws[index])
    verify_transaction(found.header.transactions_root, index, raws[index], found.transaction_proof)
    receipt = verify_receipt(found.header.receipts_root, index, found.receipt.encode(), found.receipt_proof)
    assert receipt.succeeded == (index < 2)
    assert [log.address for log in receipt.logs] == [world.deployment.usdc][: index == 0]


def test_proofs_hold_for_nothing_else(mined: tuple[World, list[bytes]]) -> None:
    """The proof of one transaction proves neither another nor another receipt."""
    world, raws = mined
    first, second = (inclusion(world.node, keccak(raw)) for raw in raws[:2])
    with pytest.raises(ProofError):
        verify_transaction(first.header.transactions_root, 0, raws[1], first.transaction_proof)
    with pytest.raises(ProofError):
        verify_receipt(first.header.receipts_root, 0, second.receipt.encode(), first.receipt_proof)
    with pytest.raises(ProofError):
        verify_receipt(first.header.receipts_root, 1, second.receipt.encode(), first.receipt_proof)


@pytest.mark.parametrize(
    ("method", "edit"),
    [
        pytest.param("eth_getBlockReceipts", changed([2, "status"], "0x1"), id="a failure called success"),
        pytest.param("eth_getBlockReceipts", changed([0, "logs"], []), id="an event left out"),
        pytest.param("eth_getBlockReceipts", changed([1, "cumulativeGasUsed"], "0x1"), id="another gas"),
        pytest.param("eth_getBlockReceipts", lambda answer: answer[:-1], id="a receipt left out"),
        pytest.param("eth_getBlockReceipts", lambda answer: answer[::-1], id="receipts in another order"),
        pytest.param("eth_getBlockReceipts", lambda _: None, id="no receipts"),
        pytest.param("eth_getBlockReceipts", lambda _: ["x"], id="receipts that are none"),
        pytest.param("eth_getBlockByHash", changed(["receiptsRoot"], "0x" + "00" * 32), id="a false root"),
        pytest.param("eth_getBlockByHash", changed(["transactions"], []), id="a block without it"),
        pytest.param("eth_getBlockByHash", reordered, id="transactions in another order"),
        pytest.param("eth_getBlockByHash", lambda _: None, id="no such block"),
        pytest.param(
            "eth_getTransactionReceipt", changed(["blockHash"], "0x" + "11" * 32), id="another block"
        ),
        pytest.param("eth_getTransactionReceipt", changed(["blockHash"], None), id="no block hash"),
    ],
)
def test_a_node_that_lies_about_a_block(mined: tuple[World, list[bytes]], method: str, edit: Edit) -> None:
    """A changed, missing or reordered receipt does not give the header's root."""
    world, raws = mined
    node = _Edited(world.node.url, method, edit)
    with pytest.raises(NodeError):
        inclusion(node, keccak(raws[0]))
    node.close()


def test_a_block_that_was_replaced(mined: tuple[World, list[bytes]]) -> None:
    """After a reorganisation the transaction is in no block, and the node no longer knows it."""
    world, raws = mined
    assert inclusion(world.node, keccak(raws[0])) is not None
    world.node.call("anvil_reorg", 1, [])
    assert inclusion(world.node, keccak(raws[0])) is None


def test_another_block_at_its_number(mined: tuple[World, list[bytes]]) -> None:
    """A block that no longer stands at its number confirms nothing."""
    world, raws = mined
    other = world.node.call("eth_getBlockByNumber", "0x1", False)  # JSON-RPC's own form
    node = _Edited(world.node.url, "eth_getBlockByNumber", lambda _: other)
    with pytest.raises(NodeError):
        inclusion(node, keccak(raws[0]))
    node.close()


def test_another_block_than_the_one_asked_for(mined: tuple[World, list[bytes]]) -> None:
    """A sound block under another hash is not the block that was asked for."""
    world, _ = mined
    other = world.node.call("eth_getBlockByNumber", "0x1", False)  # JSON-RPC's own form
    node = _Edited(world.node.url, "eth_getBlockByHash", lambda _: other)
    with pytest.raises(NodeError, match="asked for"):
        node.header_of(world.node.head().hash())
    node.close()


def test_a_transaction_nobody_knows(fresh_world: World) -> None:
    """An unknown hash is neither pending nor confirmed."""
    assert not known(fresh_world.node, b"\1" * 32)
    assert inclusion(fresh_world.node, b"\1" * 32) is None


def test_blocks_with_one_transaction(fresh_world: World) -> None:
    """The smallest trie, a single leaf, is proven like any other."""
    receipt = chain.send(fresh_world.node, sender=newswap.DEPLOYER, to=TREASURY, value=1)
    tx_hash = fresh_world.node.read_hex(receipt["transactionHash"])
    found = inclusion(fresh_world.node, tx_hash)
    assert (found.index, found.receipt.succeeded, keccak(found.raw)) == (0, True, tx_hash)


def test_a_block_that_goes_between_two_questions(fresh_world: World) -> None:
    """The receipt was there and its block is not: asked again, the honest node has neither."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    fresh_world.node.call("eth_sendRawTransaction", "0x" + raw.hex())
    fresh_world.node.call("anvil_mine", "0x1")

    def taken_back(answer: Json) -> Json:
        if isinstance(answer, dict):
            fresh_world.node.call("anvil_reorg", 2, [])
        return answer

    node = _Edited(fresh_world.node.url, "eth_getTransactionReceipt", taken_back)
    assert inclusion(node, keccak(raw)) is None
    node.close()


@pytest.mark.parametrize("blocks", [1, 100], ids=["the same one again", "always another"])
def test_a_receipt_of_a_block_that_never_was(fresh_world: World, blocks: int) -> None:
    """A node that has no block for its receipt, however often it is asked, is a node that fails."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    fresh_world.node.call("eth_sendRawTransaction", "0x" + raw.hex())
    fresh_world.node.call("anvil_mine", "0x1")
    asked: list[int] = []

    def invented(answer: Json) -> Json:
        asked.append(len(asked) % blocks)
        return {**answer, "blockHash": f"0x{asked[-1] + 1:064x}"}

    node = _Edited(fresh_world.node.url, "eth_getTransactionReceipt", invented)
    with pytest.raises(NodeError):
        inclusion(node, keccak(raw))
    assert len(asked) < 5
    node.close()
