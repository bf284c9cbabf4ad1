"""What became of a transaction, by (number, hash), with proofs that anyone can check again.

(1) The receipt's block is fetched by hash and hashed again; the same hash must stand at its number, else the
    block has been replaced and the transaction is not confirmed by it.
(2) Receipts and transactions root are rebuilt from all of the block's receipts and transactions and must
    equal the header's: the node cannot invent, change or leave out one.
(3) The proofs handed out are taken from those tries, for the position at which these very bytes stand, and
    for the receipt before: gas is counted through a block, so its own gas is the difference.

Left to others: how many blocks must follow before a confirmation is final.
"""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import Json, Node
from workbench.evm.errors import EvmError
from workbench.evm.fields import to_rpc
from workbench.evm.header import Header
from workbench.evm.proof import prove_index
from workbench.evm.receipt import Receipt

# A block of 36 M gas holds at most 1,714 plain transfers.
TRANSACTIONS_MAX: Final = 4096
ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """A transaction in a block: its bytes, its receipt, and both proofs."""

    header: Header
    index: int
    raw: bytes
    transaction_proof: tuple[bytes, ...]
    receipt: Receipt
    receipt_proof: tuple[bytes, ...]
    before: Receipt | None
    before_proof: tuple[bytes, ...]


def known(node: Node, tx_hash: bytes) -> bool:
    """Return whether the node has the transaction, in its pool or in a block."""
    return isinstance(node.call("eth_getTransactionByHash", to_rpc(tx_hash)), dict)


def inclusion(node: Node, tx_hash: bytes) -> Inclusion | None:
    """Return where the transaction stands in the chain, None if it is in no block."""
    header = _claimed(node, tx_hash)
    if header is None:
        return None
    if node.header_at(header.number).hash() != header.hash():  # (1)
        return None
    hashes = node.block_transaction_hashes(header.hash())
    if len(hashes) > TRANSACTIONS_MAX or tx_hash not in hashes:
        raise NodeError(f"block {header.number} of {len(hashes)} transactions without the one it should hold")
    index = hashes.index(tx_hash)
    raws = _raw_transactions(node, hashes)
    receipts = _receipts(node, header)
    transactions_root, transaction_proof = _prove(raws, index)
    encoded = [receipt.encode() for receipt in receipts]
    receipts_root, receipt_proof = _prove(encoded, index)
    if transactions_root != header.transactions_root or receipts_root != header.receipts_root:  # (2)
        raise NodeError(f"block {header.number}: its transactions or receipts are not those under its roots")
    return Inclusion(  # (3)
        header=header,
        index=index,
        raw=raws[index],
        transaction_proof=tuple(transaction_proof),
        receipt=receipts[index],
        receipt_proof=tuple(receipt_proof),
        before=receipts[index - 1] if index else None,
        before_proof=tuple(_prove(encoded, index - 1)[1]) if index else (),
    )


def _claimed(node: Node, tx_hash: bytes) -> Header | None:
    """Return the header of the block that the transaction's receipt names, None if there is no receipt."""
    named = _block_named(node, tx_hash)
    for _ in range(ROUNDS):
        if named is None:
            return None
        try:
            return node.header_of(named)
        except NodeError:
            again = _block_named(node, tx_hash)
            # between two questions an honest node may have lost the block, and the receipt with it
            if again == named:
                raise
            named = again
    raise NodeError("its receipt names one block after another, and it has none of them")


def _block_named(node: Node, tx_hash: bytes) -> bytes | None:
    claimed = node.call("eth_getTransactionReceipt", to_rpc(tx_hash))
    return node.read_hex(claimed.get("blockHash"), size=32) if isinstance(claimed, dict) else None


def _raw_transactions(node: Node, hashes: list[bytes]) -> list[bytes]:
    answers = node.batch([("eth_getRawTransactionByHash", [to_rpc(each)]) for each in hashes])
    raws = []
    for tx_hash, answer in zip(hashes, answers, strict=True):
        if isinstance(answer, RpcError):
            raise answer
        raw = node.read_hex(answer)
        if keccak(raw) != tx_hash:
            raise NodeError(f"transaction {tx_hash.hex()} hashes to {keccak(raw).hex()}")
        raws.append(raw)
    return raws


def _receipts(node: Node, header: Header) -> list[Receipt]:
    answer: Json = node.call("eth_getBlockReceipts", to_rpc(header.hash()))
    if not isinstance(answer, list) or len(answer) > TRANSACTIONS_MAX:
        raise NodeError(f"block {header.number}: no usable list of receipts")
    try:
        return [Receipt.from_rpc(each) for each in answer]
    except (EvmError, AttributeError) as error:
        raise NodeError(f"block {header.number}: {error}") from error


def _prove(items: list[bytes], index: int) -> tuple[bytes, list[bytes]]:
    try:
        return prove_index(items, index)
    except EvmError as error:
        raise NodeError(str(error)) from error
