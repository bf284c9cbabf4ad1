"""From a checkpoint to a transaction, and from its receipt to a proof.

The process owns a key that pays for gas and owns nothing. Whoever may speak to its socket can have it
sign one kind of bytes: a call of the trust root's anchor contract with size, root and chain of a checkpoint
that counts under the trust root (service key and witness quorum).

(1) The note is verified here; its size never goes back, and one size has one root.
(2) The transaction is built here, from the verified note, at the account's next nonce, its fee below a cap.
(3) It is persisted, then signed, then persisted with its signature, then sent. A crash at any point goes on
    with the same bytes: asking again with the same note is always right.
(4) One transaction at a time: the next checkpoint waits until the one before is in a block.
(5) The proof is taken from tries rebuilt over the whole block (`workbench.chain.confirm`) and checked as a
    verifier checks it before it is handed out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from ledger import anchor, checkpoint
from ledger.anchor import AnchorError
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.encoding import canonical, parse
from ledger.trust import Anchoring, TrustRoot
from workbench.anchor.memory import Memory, Pending
from workbench.chain import confirm
from workbench.chain.errors import ChainError
from workbench.chain.node import Node
from workbench.custody.token import Secp256k1Key
from workbench.evm.fields import checksummed, to_rpc
from workbench.evm.receipt import Receipt
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction, assemble, signature_for
from workbench.process.crash import CrashPoint

SELECTOR = keccak(b"anchor(bytes32,uint64,bytes32,bytes32)")[:4]
GAS = 60_000  # the call needs 27,000
FEE_MAX = 200 * 10**9  # wei for a unit of gas: an anchor can wait for a quieter hour
TIP = 10**9


class AnchorRefusedError(Exception):
    """A checkpoint is not anchored; the code is for machines."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class Anchorer:
    """One anchor key at work."""

    trust_root: TrustRoot
    anchoring: Anchoring
    genesis_hash: bytes
    memory: Memory
    key: Secp256k1Key
    node: Node
    crash: CrashPoint
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: `status`, `anchor` with a note, or `proof` of a size."""
        operations: dict[Any, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "status": self._status,
            "anchor": self._anchor,
            "proof": self._proof,
        }
        operation = operations.get(request.get("operation"))
        if request.get("v") != 1 or operation is None:
            return _refused(AnchorRefusedError("malformed", "no such operation"))
        try:
            with self._lock:
                return operation(request)
        except AnchorRefusedError as error:
            return _refused(error)
        except (ChainError, AnchorError) as error:
            return _refused(AnchorRefusedError("unavailable", str(error)[:500]))

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        pending = self.memory.pending
        return {
            "v": 1,
            "sender": self.anchoring.sender.hex(),
            "size": 0 if pending is None or pending.raw_tx is None else _checkpoint(pending.note).size,
        }

    def _anchor(self, request: dict[str, Any]) -> dict[str, Any]:
        note = request.get("note")
        if not isinstance(note, str) or set(request) != {"v", "operation", "note"}:
            raise AnchorRefusedError("malformed", "a note is wanted")
        try:
            wanted = self.trust_root.verify(note)  # (1)
        except CheckpointError as error:
            raise AnchorRefusedError("checkpoint", str(error)) from error
        pending = self._taken(wanted, note)
        if pending.raw_tx is None:
            pending = self._sign(pending)
        self._send(pending)
        return {"v": 1, "size": wanted.size, "tx_hash": _hash(pending).hex()}

    def _taken(self, wanted: Checkpoint, note: str) -> Pending:
        """Return the transaction of this checkpoint: the one that is under way, or a new one."""
        before = self.memory.pending
        if before is None:
            return self._new(note, wanted)
        known = _checkpoint(before.note)
        if wanted.size < known.size:
            raise AnchorRefusedError("older", f"size {wanted.size}, {known.size} is anchored")
        if wanted.size == known.size:
            if wanted != known:
                raise AnchorRefusedError("equivocation", f"another checkpoint of {known.size} is anchored")
            return before
        if before.raw_tx is None:  # it never left this process: nothing of it can be in a block
            return self._new(note, wanted)
        if confirm.inclusion(self.node, _hash(before)) is None:  # (4)
            raise AnchorRefusedError("pending", f"the anchor of {known.size} is not in a block yet")
        return self._new(note, wanted)

    def _new(self, note: str, wanted: Checkpoint) -> Pending:  # (2)
        fee = 2 * self.node.head().base_fee_per_gas + TIP
        if fee > FEE_MAX:
            raise AnchorRefusedError("fee", f"{fee} wei for a unit of gas, at most {FEE_MAX}")
        unsigned = UnsignedTransaction(
            chain_id=self.anchoring.chain_id,
            nonce=self.node.nonce(checksummed(self.anchoring.sender)),
            max_priority_fee_per_gas=TIP,
            max_fee_per_gas=fee,
            gas=GAS,
            to=checksummed(self.anchoring.contract),
            value=0,
            data=calldata(self.genesis_hash, wanted),
        )
        pending = Pending(note=note, unsigned_tx=unsigned.encode().hex(), raw_tx=None)
        self.memory.keep(pending)  # (3)
        self.crash.reached("persisted")
        return pending

    def _sign(self, pending: Pending) -> Pending:
        unsigned = UnsignedTransaction.parse(bytes.fromhex(pending.unsigned_tx))
        digest = unsigned.digest()
        r, s, y_parity = signature_for(digest, self.key.sign_digest(digest), self.key.public_key)
        signed = replace(pending, raw_tx=assemble(unsigned, r, s, y_parity).hex())
        self.crash.reached("signed")
        self.memory.keep(signed)
        return signed

    def _send(self, pending: Pending) -> None:
        if not confirm.known(self.node, _hash(pending)):
            self.crash.reached("unsent")
            self.node.call("eth_sendRawTransaction", to_rpc(bytes.fromhex(str(pending.raw_tx))))
            self.crash.reached("sent")

    def _proof(self, request: dict[str, Any]) -> dict[str, Any]:
        pending = self.memory.pending
        size = request.get("size")
        if pending is None or pending.raw_tx is None or _checkpoint(pending.note).size != size:
            raise AnchorRefusedError("not_found", "no anchor of this size is under way")
        self._send(pending)
        found = confirm.inclusion(self.node, _hash(pending))
        if found is None:
            return {"v": 1, "size": size, "pending": True}
        if not found.receipt.succeeded:
            raise AnchorRefusedError("reverted", "the anchor's transaction failed")
        raw = canonical(document(found, _checkpoint(pending.note), self.anchoring), limit=anchor.DOCUMENT_MAX)
        known = {_checkpoint(pending.note).size: _checkpoint(pending.note)}
        anchor.verify(raw, self.anchoring, genesis_hash=self.genesis_hash, checkpoints=known)  # (5)
        return {"v": 1, "size": size, "anchor": parse(raw, limit=anchor.DOCUMENT_MAX)}


def calldata(genesis_hash: bytes, wanted: Checkpoint) -> bytes:
    """Return the call that anchors a checkpoint."""
    return SELECTOR + genesis_hash + wanted.size.to_bytes(32, "big") + wanted.root + wanted.chain


def document(found: confirm.Inclusion, wanted: Checkpoint, anchoring: Anchoring) -> dict[str, Any]:
    """Return the anchor's document (`ledger.anchor`)."""
    return {
        "v": 1,
        "chain_id": anchoring.chain_id,
        "size": wanted.size,
        "header": found.header.encode().hex(),
        "index": found.index,
        "receipt": found.receipt.encode().hex(),
        "proof": [node.hex() for node in found.receipt_proof],
        "log": _log_of(found.receipt, anchoring),
    }


def artifact() -> dict[str, Any]:
    """Return the contract's ABI and creation bytecode, as solc makes them from `Anchor.sol`."""
    made: dict[str, Any] = json.loads(Path(__file__).with_name("Anchor.json").read_bytes())
    return made


def _log_of(receipt: Receipt, anchoring: Anchoring) -> int:
    for place, log in enumerate(receipt.logs):
        if log.address == checksummed(anchoring.contract):
            return place
    raise AnchorError("the receipt has no log of the anchor contract")


def _checkpoint(note: str) -> Checkpoint:
    return checkpoint.split(note)[0]


def _hash(pending: Pending) -> bytes:
    return SignedTransaction.parse(bytes.fromhex(str(pending.raw_tx))).tx_hash


def _refused(error: AnchorRefusedError) -> dict[str, Any]:
    return {"v": 1, "refused": {"code": error.code, "detail": error.detail[:500]}}
