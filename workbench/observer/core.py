"""What an observer does, without its socket and its configuration.

* attest: the newest header, hashed again, with a proof for each account asked about; the header is signed.
* simulate: what a sequence would do on a private fork of that header's block; the result is signed.
* broadcast: sends signed bytes. Asking twice is harmless: bytes that the node already has are a success.
* confirm: whether a transaction is in a block that stands in the chain, with proofs under that block's
  header.

It decides nothing and holds no asset: its key signs statements about the chain, under their own domain lines.
What it could not find out it does not sign; there is no statement "unknown". It believes one node as to which
header is the newest: agreement of several observers is what stands against a lying one.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from ledger import clock as ledger_clock
from ledger.encoding import canonical
from workbench.chain.confirm import Inclusion, inclusion, known
from workbench.chain.errors import ChainError, NodeError, RpcError
from workbench.chain.node import Json, Node
from workbench.chain.simulator import Simulator, Transaction
from workbench.chain.state import proven_account
from workbench.evm.fields import to_rpc
from workbench.evm.header import Header
from workbench.evm.transaction import SignedTransaction

SIMULATION_LINE: Final = b"oms-simulation/v1\n"
HEADER_LINE: Final = b"oms-header/v1\n"
# An intent touches its key, its contract and a few tokens; readers of a statement refuse more.
ADDRESSES_MAX: Final = 16
# Each fork is a process of its own; more at once would only make all of them late.
FORKS_MAX: Final = 4
# Readers of a statement accept this many bytes.
STATEMENT_MAX: Final = 1024 * 1024

Document = dict[str, Json]


class Signer(Protocol):
    """An Ed25519 key, wherever it lives."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that the trust root names."""
        ...

    def sign(self, message: bytes, /) -> bytes:
        """Return the signature over `message`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """One observer: its name in the trust root, its key, its node, its simulator, its clock."""

    name: str
    signer: Signer
    node: Node
    simulator: Simulator
    chain_id: int
    clock: Callable[[], datetime]
    _forks: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(FORKS_MAX), init=False
    )

    def attest(self, addresses: Sequence[str]) -> Document:
        """Return the newest header, signed, and a proof for each address."""
        if len(addresses) > ADDRESSES_MAX:
            raise ChainError(f"{len(addresses)} accounts, at most {ADDRESSES_MAX}")
        header = self._head()
        accounts = [proven_account(self.node, header, address).document() for address in addresses]
        return {**self._attested(header), "accounts": accounts}

    def simulate(self, transactions: Sequence[Document], target: int) -> Document:
        """Return the signed simulation of transaction `target` behind those before it."""
        parsed = [Transaction.parse(document) for document in transactions]
        with self._forks:
            header = self._head()
            document = self.simulator.run(self.node, header, parsed, target=target, at=self.clock())
        return self._statement(SIMULATION_LINE, document)

    def broadcast(self, raw: bytes) -> Document:
        """Send signed bytes and return their hash; they may have been sent before."""
        signed = SignedTransaction.parse(raw)
        if signed.unsigned.chain_id != self.chain_id:
            raise ChainError(f"a transaction of chain {signed.unsigned.chain_id}, this is {self.chain_id}")
        try:
            answer = self.node.read_hex(self.node.call("eth_sendRawTransaction", to_rpc(raw)), size=32)
        except RpcError:
            # "already known", "nonce too low" of the same transaction mined: nodes word it differently, so
            # look.
            if not known(self.node, signed.tx_hash):
                raise
        else:
            if answer != signed.tx_hash:
                raise NodeError(f"sent {signed.tx_hash.hex()}, the node answered {answer.hex()}")
        return {"tx_hash": signed.tx_hash.hex()}

    def confirm(self, tx_hash: bytes) -> Document:
        """Return what became of a transaction, with its proofs when it is in a block."""
        found = inclusion(self.node, tx_hash)
        if found is None:
            return {"status": "pending" if known(self.node, tx_hash) else "unknown"}
        return self._confirmed(found)

    def _confirmed(self, found: Inclusion) -> Document:
        return {
            "status": "confirmed" if found.receipt.succeeded else "reverted",
            **self._attested(found.header),
            "index": found.index,
            "receipt": found.receipt.encode().hex(),
            "receipt_proof": [node.hex() for node in found.receipt_proof],
            "raw": found.raw.hex(),
            "transaction_proof": [node.hex() for node in found.transaction_proof],
        }

    def _head(self) -> Header:
        # A node that was moved to another chain would give headers, proofs and simulations of that one.
        claimed = self.node.chain_id()
        if claimed != self.chain_id:
            raise NodeError(f"the node is on chain {claimed}, this observer watches {self.chain_id}")
        return self.node.head()

    def _attested(self, header: Header) -> Document:
        document = {
            "v": 1,
            "chain_id": self.chain_id,
            "block": {
                "number": header.number,
                "hash": header.hash().hex(),
                "state_root": header.state_root.hex(),
                "receipts_root": header.receipts_root.hex(),
            },
            "at": ledger_clock.text(self.clock()),
        }
        return {"attestation": self._statement(HEADER_LINE, document), "header": header.encode().hex()}

    def _statement(self, line: bytes, document: Document) -> Document:
        signature = self.signer.sign(line + canonical(document, limit=STATEMENT_MAX))
        return {"document": document, "observer": self.name, "signature": signature.hex()}
