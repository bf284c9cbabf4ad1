"""What an observer does, without its socket and its configuration.

* attest: the newest header, hashed again, with a proof for each account asked about; the header is signed.
  So is one that another observer has just called the newest: the trust root may demand the word of several.
* pool: the same with proofs of every slot that one swap in a pool depends on.
* safe: the same with proofs of the slots in which a Safe keeps its owners, its settings and its nonce.
* prices: what each configured source says of a pair, at that header's block; the quotes are signed.
* allowances: what others may take from accounts, each value proven at that header's block; signed.
* simulate: what a sequence would do on a private fork of such a block; the result is signed.
* broadcast: sends signed bytes, by the nodes or by a relay alone. Asking twice is harmless: bytes that are
  there already are a success.
* recall: has the relay forget bytes.
* confirm: whether a transaction is in a block that stands in the chain, with proofs under that block's
  header.
* descent: that a block comes from older ones, as the chain's own record of its hashes proves it.
* finality: which blocks are safe, and finalized, as a quorum of the nodes says.

It decides nothing and holds no asset: its key signs statements about the chain, under their own domain lines.
What it could not find out it does not sign; there is no statement "unknown". Which header is the newest is
what a quorum of its nodes says; everything else is proven under that header. What happens to a node it
signs, too.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final, Protocol

from ledger import clock as ledger_clock
from ledger.encoding import canonical
from workbench.chain.allowances import Asked, inventory
from workbench.chain.confirm import Inclusion, inclusion, known
from workbench.chain.errors import ChainError, NodeError, OtherBlockError, RpcError, SimulationError
from workbench.chain.history import descent
from workbench.chain.node import Json, Node
from workbench.chain.nodes import Agreed, Event, Nodes, NoQuorumError
from workbench.chain.pool import proven_pool
from workbench.chain.prestate import StateError
from workbench.chain.relay import Relay
from workbench.chain.safe import proven_safe
from workbench.chain.simulator import Simulator, Transaction
from workbench.chain.state import proven_account
from workbench.evm.fields import address_bytes, to_rpc
from workbench.evm.header import Header
from workbench.evm.transaction import SignedTransaction
from workbench.observer.feeds import Feed, quotes_of
from workbench.risk.venue import Venue
from workbench.rules.carriage import RELAY_BLOCKS_MAX

SIMULATION_LINE: Final = b"oms-simulation/v1\n"
HEADER_LINE: Final = b"oms-header/v1\n"
NODE_LINE: Final = b"oms-node/v1\n"
QUOTES_LINE: Final = b"oms-quotes/v1\n"
ALLOWANCES_LINE: Final = b"oms-allowances/v1\n"
# An intent touches its key, its contract and a few tokens; readers of a statement refuse more.
ADDRESSES_MAX: Final = 16
# A co-signer knows a final block and a newer one.
ANCESTORS_MAX: Final = 2
# Each step of a long way is two questions.
DESCENT_S: Final = 30.0
EVENTS_MAX: Final = 256
DETAIL_MAX: Final = 300
# The newest block of another observer is a few behind ours at most; what is older is nobody's newest.
BEHIND_MAX: Final = 8
# Each fork is a process of its own; more at once would only make all of them late.
FORKS_MAX: Final = 4
# A wide swap takes a node some twenty questions one after the other.
POOL_S: Final = 20.0
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


@dataclass(slots=True)
class Journal:
    """What happened to the nodes since this process began, numbered and signed; the newest only.

    `run` names the process's life: whoever has read up to a number of it asks for those behind.
    """

    name: str
    signer: Signer
    clock: Callable[[], datetime]
    run: str
    _last: int = 0
    _kept: deque[Document] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: Event) -> None:
        """Sign and keep an event."""
        with self._lock:
            self._last += 1
            document: Document = {
                "v": 1,
                "run": self.run,
                "number": self._last,
                "kind": event.kind,
                "node": event.node,
                # part of it may be a node's own words
                "detail": "".join(each if " " <= each <= "~" else "?" for each in event.detail[:DETAIL_MAX]),
                "at": ledger_clock.text(self.clock()),
            }
            self._kept.append(statement(self.name, self.signer, NODE_LINE, document))

    def after(self, run: str, number: int) -> list[Document]:
        """Return what happened behind a number of this run; of another run, everything there is."""
        with self._lock:
            behind = number if run == self.run else 0
            return [each for each in self._kept if each["document"]["number"] > behind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """One observer: its name in the trust root, its key, its nodes, its simulator, its clock."""

    name: str
    signer: Signer
    nodes: Nodes
    journal: Journal
    simulator: Simulator
    clock: Callable[[], datetime]
    feeds: tuple[Feed, ...] = ()
    relay: Relay | None = None
    _forks: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(FORKS_MAX), init=False
    )

    def attest(self, addresses: Sequence[str], block: tuple[int, bytes] | None = None) -> Document:
        """Return the newest header, or a recent block's, signed, and a proof for each address."""
        if len(addresses) > ADDRESSES_MAX:
            raise ChainError(f"{len(addresses)} accounts, at most {ADDRESSES_MAX}")
        for address in addresses:
            _check(address)  # before any node could fail over it
        agreed = self._agreed(block)

        def proven(node: Node) -> list[Json]:
            return [proven_account(node, agreed.header, each).document() for each in addresses]

        return {**self._attested(agreed.header), "accounts": self.nodes.first(agreed, proven)}

    def pool(self, venue: Venue, *, token_in: str, amount_in: int) -> Document:
        """Return the newest header, signed, and proofs of everything that a swap in a pool depends on."""
        zero_for_one = venue.zero_for_one(token_in)
        agreed = self.nodes.head()

        def proven(node: Node) -> Document:
            found = proven_pool(node, agreed.header, venue, amount_in=amount_in, zero_for_one=zero_for_one)
            return found.document()

        return {**self._attested(agreed.header), **self.nodes.first(agreed, proven, seconds=POOL_S)}

    def safe(self, address: str, addresses: Sequence[str]) -> Document:
        """Return the newest header, signed, with proofs of what a Safe holds and of other accounts."""
        if len(addresses) >= ADDRESSES_MAX:
            raise ChainError(f"{len(addresses)} accounts beside a Safe, at most {ADDRESSES_MAX - 1}")
        for each in (address, *addresses):
            _check(each)
        agreed = self.nodes.head()

        def proven(node: Node) -> Document:
            try:
                return proven_safe(node, agreed.header, address, others=addresses).document()
            except RpcError as error:
                # whoever asks for what is no Safe must not be able to have nodes sent away
                raise ChainError(node.hidden(f"{address}: {error}")) from None

        return {**self._attested(agreed.header), **self.nodes.first(agreed, proven, seconds=POOL_S)}

    def prices(self, base: str, quote: str) -> Document:
        """Return what each source of a pair says at the newest block, signed; nothing is averaged here."""
        feeds = [each for each in self.feeds if (each.base, each.quote) == (base, quote)]
        if not feeds:
            raise ChainError(f"no source of {base!r:.20}/{quote!r:.20} is configured")
        with self._forks:
            agreed = self.nodes.head()
            quotes, missing = quotes_of(feeds, self.nodes, agreed, self.simulator.forks)
        return self._statement(
            QUOTES_LINE,
            {
                "v": 1,
                "chain_id": self.nodes.chain_id,
                "block": {"number": agreed.header.number, "hash": agreed.header.hash().hex()},
                "base": base,
                "quote": quote,
                "quotes": [each.dump() for each in quotes],
                "missing": [each.dump() for each in missing],
                "at": ledger_clock.text(self.clock()),
            },
        )

    def allowances(self, asked: Asked) -> Document:
        """Return what others may take from these accounts, signed with the question."""
        with self._forks:
            agreed = self.nodes.head()
            found = inventory(self.nodes, agreed, self.simulator.forks, asked)
        return self._statement(
            ALLOWANCES_LINE,
            {
                "v": 1,
                "chain_id": self.nodes.chain_id,
                "block": {"number": agreed.header.number, "hash": agreed.header.hash().hex()},
                "asked": {
                    "owners": list(asked.owners),
                    "tokens": list(asked.tokens),
                    "since": asked.since,
                    "spenders": list(asked.spenders),
                },
                "grants": [
                    asdict(each) | {"allowed": str(each.allowed), "balance": str(each.balance)}
                    for each in found.grants
                ],
                "permit_nonces": [
                    {"owner": owner, "token": token, "nonce": str(number)}
                    for (owner, token), number in found.permit_nonces.items()
                ],
                "at": ledger_clock.text(self.clock()),
            },
        )

    def simulate(
        self,
        transactions: Sequence[Document],
        target: int,
        accounts: Sequence[str] = (),
        block: tuple[int, bytes] | None = None,
    ) -> Document:
        """Return the signed simulation of transaction `target` behind those before it, on a recent block.

        `accounts` are further accounts, besides the sender, whose balances and allowances are looked at.
        """
        for address in accounts:
            _check(address)
        parsed = [Transaction.parse(document) for document in transactions]
        with self._forks:
            agreed = self._agreed(block)

            def simulated(node: Node) -> Document:
                try:
                    return self.simulator.run(
                        node, agreed.header, parsed, target=target, accounts=accounts, at=self.clock()
                    )
                except StateError:
                    raise
                except SimulationError as error:
                    raise SimulationError(node.hidden(str(error))) from None
                except NodeError as error:
                    # whoever asks for a strange transaction must not be able to have nodes sent away
                    raise ChainError(node.hidden(f"the fork: {error}")) from None

            seconds = 2 * self.simulator.seconds_max
            document = self.nodes.first(agreed, simulated, seconds=seconds)
        return self._statement(SIMULATION_LINE, document)

    def broadcast(self, raw: bytes) -> Document:
        """Send signed bytes by every node and return their hash; they may have been sent before."""
        signed = self._read(raw)
        answers = self.nodes.every(lambda node: _send(node, raw, signed.tx_hash))
        failed = [each for each in answers.values() if each is not None]
        if len(failed) == len(answers):
            raise failed[0] if failed else NoQuorumError("no node is left to send by")
        return {"tx_hash": signed.tx_hash.hex()}

    def relayed(self, raw: bytes, last_block: int) -> Document:
        """Give signed bytes to the relay until a block, and to nobody else; return their hash."""
        signed, relay = self._read(raw), self._relay()
        head = self.nodes.head().header.number
        # a relay would shorten what is too long and say nothing of it
        if not head < last_block <= head + RELAY_BLOCKS_MAX:
            raise ChainError(
                f"until block {last_block}, but the newest is {head}, and {RELAY_BLOCKS_MAX} more the most"
            )
        relay.send(raw, last_block=last_block)
        return {"tx_hash": signed.tx_hash.hex()}

    def recall(self, tx_hash: bytes) -> Document:
        """Have the relay forget bytes; what they were is not asked, since it only ever takes away."""
        self._relay().cancel(tx_hash)
        return {"tx_hash": tx_hash.hex()}

    def _read(self, raw: bytes) -> SignedTransaction:
        """Decode signed bytes again before they go anywhere: one canonical form, a signature, this chain."""
        signed = SignedTransaction.parse(raw)
        if signed.unsigned.chain_id != self.nodes.chain_id:
            raise ChainError(
                f"a transaction of chain {signed.unsigned.chain_id}, this is {self.nodes.chain_id}"
            )
        return signed

    def _relay(self) -> Relay:
        # no fallback: who asks for the relay must not get the nodes
        if self.relay is None:
            raise ChainError("no relay is configured")
        return self.relay

    def confirm(self, tx_hash: bytes) -> Document:
        """Return what became of a transaction, with its proofs when it is in an agreed block."""
        agreed = self.nodes.head()
        answers = self.nodes.each(agreed, lambda node: inclusion(node, tx_hash))
        for found in answers.values():
            if found is not None and self._stands(agreed, found.header):
                for name in [name for name, each in answers.items() if each is None]:
                    self.nodes.out(name, f"it withholds a receipt of block {found.header.number}")
                return self._confirmed(found)
        pooled = self.nodes.each(agreed, lambda node: known(node, tx_hash))
        return {"status": "pending" if any(pooled.values()) else "unknown"}

    def finality(self) -> Document:
        """Return the newest blocks that a quorum of nodes calls safe, and finalized; both are signed."""
        agreed = self.nodes.head()
        blocks = {tag: self.nodes.tagged(agreed, tag).header for tag in ("safe", "finalized")}
        return {tag: {**self._attested(header), "accounts": []} for tag, header in blocks.items()}

    def descent(self, number: int, block_hash: bytes, ancestors: Sequence[int]) -> Document:
        """Return the ways from an agreed block down to older numbers."""
        if len(ancestors) > ANCESTORS_MAX or not all(0 <= each < number for each in ancestors):
            raise ChainError(f"{len(ancestors)} older blocks, at most {ANCESTORS_MAX}, below {number}")
        agreed = self.nodes.head()
        header = self.nodes.at(agreed, number).header
        if header.hash() != block_hash:
            raise OtherBlockError(f"block {number} is another one")

        def proven(node: Node) -> list[Json]:
            return [descent(node, header, each) for each in ancestors]

        return {"descent": self.nodes.first(agreed, proven, seconds=DESCENT_S)}

    def watch(self) -> None:
        """Look at the nodes, so that what happens to one is known also when nobody asks for anything."""
        with contextlib.suppress(ChainError):
            self.nodes.head()

    def _agreed(self, block: tuple[int, bytes] | None) -> Agreed:
        """Return the newest block, or the one that another observer has found to be that."""
        agreed = self.nodes.head()
        if block is None:
            return agreed
        number, block_hash = block
        if number < agreed.header.number - BEHIND_MAX:
            raise ChainError(f"block {number} is far behind {agreed.header.number}")
        found = self.nodes.at(agreed, number)
        if found.header.hash() != block_hash:
            raise OtherBlockError(f"block {number} is another one")
        return found

    def _stands(self, agreed: Agreed, header: Header) -> bool:
        return (
            header.number <= agreed.header.number
            and self.nodes.at(agreed, header.number).header.hash() == header.hash()
        )

    def _confirmed(self, found: Inclusion) -> Document:
        return {
            "status": "confirmed" if found.receipt.succeeded else "reverted",
            **self._attested(found.header),
            "index": found.index,
            "receipt": found.receipt.encode().hex(),
            "receipt_proof": [node.hex() for node in found.receipt_proof],
            "raw": found.raw.hex(),
            "transaction_proof": [node.hex() for node in found.transaction_proof],
            "before": found.before.encode().hex() if found.before else None,
            "before_proof": [node.hex() for node in found.before_proof],
        }

    def _attested(self, header: Header) -> Document:
        document = {
            "v": 1,
            "chain_id": self.nodes.chain_id,
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
        return statement(self.name, self.signer, line, document)


def statement(name: str, signer: Signer, line: bytes, document: Document) -> Document:
    """Return a document as an observer signs it."""
    signature = signer.sign(line + canonical(document, limit=STATEMENT_MAX))
    return {"document": document, "observer": name, "signature": signature.hex()}


def _check(address: str) -> None:
    try:
        address_bytes(address)
    except ValueError as error:
        raise ChainError(str(error)) from error


def _send(node: Node, raw: bytes, tx_hash: bytes) -> None:
    try:
        answer = node.read_hex(node.call("eth_sendRawTransaction", to_rpc(raw)), size=32)
    except RpcError:
        # "already known", "nonce too low" of the same transaction mined: nodes word it differently, so look.
        if not known(node, tx_hash):
            raise
    else:
        if answer != tx_hash:
            raise NodeError(f"sent {tx_hash.hex()}, the node answered {answer.hex()}")
