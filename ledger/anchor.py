"""Anchors: proof that a checkpoint's root stands in a block of a public chain, checked without that chain.

The desk's anchor contract emits `Anchored(sender, ledger, size, root, chain)`. An anchor document carries the
block's header, the transaction's receipt and the receipt's path in the block's receipts trie:

    {v, chain_id, size, header, index, receipt, proof: [node, …], log}     binary in hex; index and log from 0

(1) The document has its form, and names the trust root's chain.
(2) The receipt is the one at `index` under the header's receipts root (a Merkle-Patricia path, keccak-256).
(3) It succeeded, and its log number `log` was emitted by the trust root's contract, for its sender.
(4) The log says the ledger's h[-1], and size, root and chain of a checkpoint that counts.

What is left is one question that no document answers: is this block hash in the chain? The result names
number, hash and time of the block; compare them with a node of your own. Once that is done, nobody can have
made this checkpoint later than the block, nor another one of the same size for your eyes only.

Readers of RLP and tries here read what is canonical and nothing else. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from ledger.checkpoint import SECONDS_MAX, Checkpoint
from ledger.encoding import JSON, EncodingError, parse
from ledger.keccak import keccak256
from ledger.trust import Anchoring

DOCUMENT_MAX = 1024 * 1024  # bytes; a proof is below 10 KiB
HEADER_FIELDS_MIN, RECEIPTS_ROOT, NUMBER, TIMESTAMP = 15, 5, 8, 11  # later forks add fields behind these
FIELDS = {"v", "chain_id", "size", "header", "index", "receipt", "proof", "log"}
TYPED_MAX = 0x7F  # a receipt's first byte below this is its transaction's type (EIP-2718)
DEPTH_MAX = 64  # nibbles of a path; also of lists inside each other
HASH = 32
ANCHORED = keccak256(b"Anchored(address,bytes32,uint64,bytes32,bytes32)")

Item: TypeAlias = "bytes | list[Item]"


class AnchorError(ValueError):
    """An anchor does not prove what it claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """A checkpoint's size and the block that fixes it, if that block is in the chain."""

    size: int
    chain_id: int
    block_number: int
    block_hash: bytes
    time: datetime


def verify(
    raw: bytes, anchoring: Anchoring, *, genesis_hash: bytes, checkpoints: Mapping[int, Checkpoint]
) -> Anchored:
    """Return the block that anchors a checkpoint, or raise AnchorError."""
    document = _document(raw)  # (1)
    if document["chain_id"] != anchoring.chain_id:
        raise AnchorError(f"chain {document['chain_id']}, the trust root's is {anchoring.chain_id}")
    header = _bytes(document["header"])
    fields = _list(decode(header))
    if len(fields) < HEADER_FIELDS_MIN:
        raise AnchorError(f"a header of {len(fields)} fields")
    receipt = _bytes(document["receipt"])
    nodes = [_bytes(node) for node in document["proof"]]
    found = lookup(_word(fields[RECEIPTS_ROOT]), _encode_index(document["index"]), nodes)  # (2)
    if found != receipt:
        raise AnchorError("another receipt stands in that place")
    checkpoint = checkpoints.get(document["size"])
    if checkpoint is None:
        raise AnchorError(f"no checkpoint of {document['size']} entries counts")
    _check_log(_log(receipt, document["log"]), anchoring, genesis_hash, checkpoint)
    return Anchored(
        size=checkpoint.size,
        chain_id=anchoring.chain_id,
        block_number=_number(fields[NUMBER]),
        block_hash=keccak256(header),
        time=_time(fields[TIMESTAMP]),
    )


def _document(raw: bytes) -> dict[str, JSON]:
    try:
        document: JSON = parse(raw, limit=DOCUMENT_MAX)
    except EncodingError as error:
        raise AnchorError(str(error)) from None
    if type(document) is not dict or set(document) != FIELDS:
        raise AnchorError(f"fields are not {sorted(FIELDS)}")
    for name in ("v", "chain_id", "size", "index", "log"):
        if type(document[name]) is not int or document[name] < 0:
            raise AnchorError(f"{name} is not a count")
    if document["v"] != 1 or type(document["proof"]) is not list or len(document["proof"]) > DEPTH_MAX + 1:
        raise AnchorError("v is not 1 or proof is not an array of nodes")
    return document


def _log(receipt: bytes, index: int) -> list[Item]:  # (3)
    typed = receipt[:1] and receipt[0] <= TYPED_MAX
    fields = _list(decode(receipt[1:] if typed else receipt))
    if len(fields) != 4 or fields[0] != b"\x01":  # noqa: PLR2004 - status, gas, bloom, logs
        raise AnchorError("the transaction did not succeed")
    logs = _list(fields[3])
    if index >= len(logs):
        raise AnchorError(f"there is no log {index} among {len(logs)}")
    return _list(logs[index])


def _check_log(log: list[Item], anchoring: Anchoring, genesis_hash: bytes, checkpoint: Checkpoint) -> None:
    if len(log) != 3 or log[0] != anchoring.contract:  # noqa: PLR2004 - address, topics, data
        raise AnchorError("the log is not of the trust root's contract")
    # A stranger may call the contract with anything: only the desk's own anchor key counts.
    if log[1] != [ANCHORED, bytes(HASH - len(anchoring.sender)) + anchoring.sender, genesis_hash]:
        raise AnchorError("the log is of another event, another sender or another ledger")
    if log[2] != checkpoint.size.to_bytes(HASH, "big") + checkpoint.root + checkpoint.chain:  # (4)
        raise AnchorError(f"the log says something else than the checkpoint of {checkpoint.size}")


def lookup(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the value that a Merkle-Patricia trie has under a key; every node of the proof must be used."""
    path = [nibble for byte in key for nibble in (byte >> 4, byte & 15)]
    waiting = list(proof)
    node: Item = root
    while True:
        if isinstance(node, bytes):
            node = _node(node, waiting)
        step = _descend(node, path)
        if isinstance(step, bytes):
            if waiting:
                raise AnchorError(f"{len(waiting)} nodes of the proof lead nowhere")
            return step
        node, path = step


def _node(reference: bytes, waiting: list[bytes]) -> list[Item]:
    if not waiting or keccak256(waiting[0]) != reference:
        raise AnchorError("the proof's next node is not the one that its parent names")
    return _list(decode(waiting.pop(0)))


def _descend(node: Item, path: list[int]) -> "bytes | tuple[Item, list[int]]":
    # The value, or the node below and what is left of the path.
    items = _list(node)
    if len(items) == 17:  # noqa: PLR2004 - a branch: 16 children and a value
        below = items[path[0]] if path else items[16]
        if below == b"":
            raise AnchorError("the key is not in the trie")
        return (below, path[1:]) if path else _leaf(below)
    if len(items) != 2 or not isinstance(items[0], bytes) or not items[0]:  # noqa: PLR2004 - path and below
        raise AnchorError("a node is neither branch, extension nor leaf")
    flag, part = items[0][0] >> 4, [nibble for byte in items[0] for nibble in (byte >> 4, byte & 15)]
    part = part[1:] if flag & 1 else part[2:]
    if flag & 2:
        if part != path:
            raise AnchorError("the leaf is another key's")
        return _leaf(items[1])
    if not part or path[: len(part)] != part:
        raise AnchorError("the key is not in the trie")
    return items[1], path[len(part) :]


def _leaf(item: Item) -> bytes:
    if not isinstance(item, bytes):
        raise AnchorError("the value is a list")
    return item


def decode(raw: bytes) -> Item:
    """Read RLP, refusing every other spelling of it and what follows it."""
    item, rest = _decode(raw, DEPTH_MAX)
    if rest:
        raise AnchorError(f"{len(rest)} bytes behind an RLP item")
    return item


def _decode(raw: bytes, depth: int) -> tuple[Item, bytes]:
    if not raw or not depth:
        raise AnchorError("RLP ends too early or is too deep")
    first = raw[0]
    if first < 0x80:  # noqa: PLR2004 - a byte that is itself
        return raw[:1], raw[1:]
    size, start = _length(raw, 0xC0 if first >= 0xC0 else 0x80)  # noqa: PLR2004 - a list, or a string
    body, rest = raw[start : start + size], raw[start + size :]
    if len(body) != size:
        raise AnchorError("RLP ends too early")
    if first < 0xC0:  # noqa: PLR2004 - as above
        if size == 1 and body[0] < 0x80:  # noqa: PLR2004 - as above
            raise AnchorError("a byte that is itself was written as a string")
        return body, rest
    items: list[Item] = []
    while body:
        item, body = _decode(body, depth - 1)
        items.append(item)
    return items, rest


def _length(raw: bytes, base: int) -> tuple[int, int]:
    # The size of the body and where it starts.
    short = raw[0] - base
    if short < 56:  # noqa: PLR2004 - RLP's limit of a short length
        return short, 1
    digits = raw[1 : 1 + short - 55]
    size = int.from_bytes(digits, "big")
    if len(digits) != short - 55 or not digits[0] or size < 56:  # noqa: PLR2004 - as above
        raise AnchorError("an RLP length has another spelling")
    return size, 1 + len(digits)


def _encode_index(index: int) -> bytes:
    raw = index.to_bytes((index.bit_length() + 7) // 8, "big")
    return raw if len(raw) == 1 and raw[0] < 0x80 else bytes([0x80 + len(raw)]) + raw  # noqa: PLR2004 - as above


def _list(item: Item) -> list[Item]:
    if not isinstance(item, list):
        raise AnchorError("a list was expected")
    return item


def _word(item: Item) -> bytes:
    if not isinstance(item, bytes) or len(item) != HASH:
        raise AnchorError(f"{HASH} bytes were expected")
    return item


def _number(item: Item) -> int:
    if not isinstance(item, bytes) or len(item) > 6 or item[:1] == b"\x00":  # noqa: PLR2004 - 2^48 is far off
        raise AnchorError("a number was expected")
    return int.from_bytes(item, "big")


def _time(item: Item) -> datetime:
    # A crash would hide what else a hostile bundle holds.
    seconds = _number(item)
    if seconds > SECONDS_MAX:
        raise AnchorError("a time that no calendar has")
    return datetime.fromtimestamp(seconds, UTC)


def _bytes(value: JSON) -> bytes:
    if type(value) is not str or len(value) % 2 or not set(value) <= set("0123456789abcdef"):
        raise AnchorError("bytes in lower-case hex were expected")
    return bytes.fromhex(value)
