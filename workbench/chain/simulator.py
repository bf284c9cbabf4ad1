"""What a sequence of transactions would do, found by running it on a private fork of the chain.

(1) One fork for one simulation at a time (`fork`), at a block whose header was re-hashed. The chain's node
    sees reads only: nothing simulated can leak into a pool.
(2) Every transaction really runs, each in a block of its own, with the sender's own nonce and balance, its
    gas limit, and the most that it may pay. A private fork can do that, and it is traced afterwards like any
    transaction: a storage slot changed without an event is seen, also behind the earlier steps of a sequence.
    `eth_simulateV1` gives neither traces nor the storage diff of its steps, and runs them without a gas
    price.
(3) Block numbers follow the fork's block; the first block's time is the observer's clock, the next ones 12 s
    later. Whoever makes the blocks is who made the last one; the first one's base fee follows from it.
(4) Slippage is measured against the price before the first transaction.
(5) A simulation that could not be completed raises. A transaction that reverts is a result, with its reason.
(6) Everything runs a second time, one block later, in blocks that somebody else makes, for half the tip (the
    fees are caps), and is looked at more closely (`traced`): what differs is told as `again`.
(7) What the traces show that honest code rarely does (`conduct`), what the gains turn out to be worth
    (`probe`), and where events and answers contradict each other (`items`), are the findings.
(8) The fork reads its node without proofs, so whatever a transaction read is proven under the header's state
    root afterwards (`prestate`): a node that lies about a balance gives no simulation.
(9) A Safe's transaction is run before its owners have signed it: on the fork alone, and for that transaction
    alone, these owners' approvals of it are put into the Safe's storage. The document says so (`assumed`).
    It has so much less gas as real signatures cost more. Whose gains are tried, and whose swap is priced, is
    the Safe.
(10) Each token that an effect names is asked what it calls itself, and for its decimals (`token_names`).

The document is a claim until an observer signs it. Left to others: whether the effects are the wanted ones.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from eth_hash.auto import keccak

from ledger import clock
from workbench.chain.conduct import findings
from workbench.chain.effects import ETHER, Effects, effects
from workbench.chain.errors import NodeError, RpcError, SimulationError
from workbench.chain.finding import Finding
from workbench.chain.fork import Forks, remember
from workbench.chain.node import Json, Node
from workbench.chain.prestate import prove_found, without
from workbench.chain.probe import BLOCKS_LATER, SECONDS_LATER, Probe, Trial
from workbench.chain.readings import Executed
from workbench.chain.slippage import Cost, Swap, swaps_of
from workbench.chain.token_names import token_names
from workbench.chain.traced import WORD, Traced, traced
from workbench.evm.call import call_digest
from workbench.evm.calldata import decode
from workbench.evm.errors import CalldataError, EvmError
from workbench.evm.fields import address_bytes, checksummed, from_decimal, from_hex, from_rpc_hex, to_rpc
from workbench.evm.header import Header
from workbench.evm.safe import OWNERS_MAX, SafeTx, read_execution
from workbench.evm.safe_storage import NONCE, approval_slot

# A programme of tranches with its approvals; each costs some 20 ms.
TRANSACTIONS_MAX: Final = 16
ACCOUNTS_MAX: Final = 16
# EIP-7825: no transaction may have more since Osaka.
GAS_MAX: Final = 2**24
FEE_MAX: Final = 2**64
SECONDS_MAX: Final = 30
BLOCK_S: Final = 12
REASON_CHARS_MAX: Final = 200
APPROVED_BY: Final = "approved_by"
# A signature costs its recovery and bytes that are not zero, an approval one slot: some 1,300 less.
SIGNATURE_GAS: Final = 2_500

_ERROR: Final = {
    "type": "function",
    "name": "Error",
    "inputs": [{"name": "reason", "type": "string"}],
}
_PANIC: Final = {"type": "function", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]}
_FIELDS: Final = frozenset(
    {"intent", "from", "to", "value", "data", "gas", "max_fee_per_gas", "max_priority_fee_per_gas"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction to simulate, with its gas limit and the caps of its fees (wei a gas)."""

    intent: str | None
    sender: str
    to: str
    value: int
    data: bytes
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    approved_by: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Json]) -> "Transaction":
        """Read a transaction as it is asked for; unknown or missing fields are refused."""
        if set(document) - {APPROVED_BY} != _FIELDS:
            raise SimulationError(f"got fields {sorted(document)}, expected {sorted(_FIELDS)}")
        owners = document.get(APPROVED_BY)
        if owners is not None and (not isinstance(owners, list) or not 1 <= len(owners) <= OWNERS_MAX):
            raise SimulationError(f"{APPROVED_BY}: a list of at most {OWNERS_MAX} owners is expected")
        intent, gas = document["intent"], document["gas"]
        fee, tip = document["max_fee_per_gas"], document["max_priority_fee_per_gas"]
        try:
            if intent is not None:
                from_hex(intent)
            address_bytes(document["from"])
            address_bytes(document["to"])
            for owner in owners or ():
                address_bytes(owner)
            value, data = from_decimal(document["value"]), from_hex(document["data"])
        except (ValueError, TypeError) as error:
            raise SimulationError(str(error)) from error
        if type(gas) is not int or not 0 < gas <= GAS_MAX or value < 0:
            raise SimulationError(f"gas {gas}, value {value}: out of range")
        if type(fee) is not int or type(tip) is not int or not 0 <= tip <= fee <= FEE_MAX:
            raise SimulationError(f"fees {fee!r:.40} and {tip!r:.40}: out of range")
        return cls(
            intent=intent,
            sender=document["from"],
            to=document["to"],
            value=value,
            data=data,
            gas=gas,
            max_fee_per_gas=fee,
            max_priority_fee_per_gas=tip,
            approved_by=None if owners is None else tuple(owners),
        )

    @property
    def holder(self) -> str:
        """Whose assets it moves: the sender's, or the Safe's that it has carry something out (9)."""
        return self.sender if self.approved_by is None else self.to

    @property
    def inner(self) -> tuple[str, bytes]:
        """The contract and calldata that the holder calls."""
        if self.approved_by is None:
            return self.to, self.data
        tx = self.safe_tx(0)
        return tx.to, tx.data

    def safe_tx(self, nonce: int) -> SafeTx:
        """Return what the Safe carries out under this nonce (9)."""
        try:
            return read_execution(self.data, nonce=nonce).tx
        except EvmError as error:
            raise SimulationError(f"nothing that a Safe carries out: {error}") from error

    @property
    def digest(self) -> str:
        """What was run; the intent's name is only what the asker called it."""
        return call_digest(
            sender=self.sender,
            to=self.to,
            value=self.value,
            data=self.data,
            gas=self.gas,
            max_fee_per_gas=self.max_fee_per_gas,
            max_priority_fee_per_gas=self.max_priority_fee_per_gas,
        )

    def request(self, *, tip: int) -> dict[str, Json]:
        """Return it as a node is asked to send it, for this tip."""
        return {
            "from": self.sender,
            "to": self.to,
            "value": hex(self.value),
            "data": to_rpc(self.data),
            "gas": hex(self.gas - SIGNATURE_GAS * len(self.approved_by or ())),
            "maxFeePerGas": hex(self.max_fee_per_gas),
            "maxPriorityFeePerGas": hex(tip),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One transaction after it ran."""

    transaction: Transaction
    executed: Executed
    traced: Traced
    gas: int
    revert: str | None
    cost: Cost | None

    def document(self) -> dict[str, Json]:
        return {
            "intent": self.transaction.intent,
            "call": self.transaction.digest,
            "gas": self.gas,
            "slippage_ppm": self.cost.slippage_ppm if self.cost else None,
            "loss": self.cost.loss() if self.cost else None,
            "reverted": self.revert is not None,
        }


@dataclass(slots=True, kw_only=True)
class _Pass:
    """The sequence run once: its steps, the target's effects, and what the trials of its gains found."""

    steps: list[_Step]
    told: Effects
    target: int
    assumed: dict[str, Json] = field(default_factory=dict)
    tried: list[Traced] = field(default_factory=list)
    wrong: list[Finding] = field(default_factory=list)

    @property
    def ran(self) -> list[Traced]:
        return [step.traced for step in self.steps] + self.tried

    def outcome(self) -> dict[str, Json]:
        return {
            "deltas": self.told.deltas,
            "allowances": self.told.allowances,
            "items": self.told.items.moves,
            "rights": self.told.items.rights,
            "admin_changes": self.told.admin_changes,
            "revert": self.steps[self.target].revert,
        }


@dataclass(slots=True)
class Simulator:
    """Simulates on forks that are kept warm."""

    binary: Path
    seconds_max: int = SECONDS_MAX
    forks: Forks = field(init=False)

    def __post_init__(self) -> None:
        self.forks = Forks(self.binary, self.seconds_max)

    def run(
        self,
        node: Node,
        header: Header,
        transactions: Sequence[Transaction],
        *,
        target: int,
        accounts: Collection[str] = (),
        at: datetime,
    ) -> dict[str, Json]:
        """Return the simulation document of transaction `target`, run behind those before it.

        Transactions behind the target run too: they are part of the sequence's cost. `accounts` are further
        ones whose balances and allowances must be looked at.
        """
        if not 0 <= target < len(transactions) <= TRANSACTIONS_MAX:
            raise SimulationError(f"target {target} of {len(transactions)}, at most {TRANSACTIONS_MAX}")
        if len(accounts) > ACCOUNTS_MAX:
            raise SimulationError(f"{len(accounts)} accounts, at most {ACCOUNTS_MAX}")
        watched = sorted({*accounts, transactions[target].sender})
        with self.forks.at(node, header) as fork:  # (1)
            run = _Run(fork, header, transactions, target, watched, time.monotonic() + self.seconds_max)
            document, ran = run.document(int(at.timestamp()))
            tokens, read = token_names(fork, node, header, _tokens(document))  # (10)
            found = [[without(each.found, run.assumed) for each in one] for one in ran]
            prove_found(fork, node, header, found + [[each] for each in read])  # (8)
        return {"v": 1, "chain_id": node.chain_id(), "at": clock.text(at), **document, "tokens": tokens}

    def close(self) -> None:
        """End the forks."""
        self.forks.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """One sequence on one fork."""

    fork: Node
    header: Header
    transactions: Sequence[Transaction]
    target: int
    watched: Collection[str]
    deadline: float
    assumed: dict[tuple[str, bytes], int] = field(default_factory=dict)
    """The slots that were written on the fork for a Safe's transactions, and under which of its nonces."""

    def document(self, now: int) -> tuple[dict[str, Json], list[list[Traced]]]:
        calls = [each.inner for each in self.transactions]
        swaps = swaps_of(self.fork, calls, block=hex(self.header.number))  # (4)
        seconds = max(now, self.header.timestamp + 1)  # (3)
        snapshot = self.fork.call("evm_snapshot")
        self._made_by(self.header.beneficiary)
        self._priced()
        first = self._pass(swaps, seconds, behind=0, closely=False)
        self._try_gains(first, swaps, when="at once")
        self.fork.call("evm_revert", snapshot)
        remember(self.fork, self.header, _read(first.ran))
        snapshot = self.fork.call("evm_snapshot")
        self._made_by(self._salt()[12:])  # (6)
        self._priced()
        self.fork.call("evm_mine", hex(seconds))
        second = self._pass(swaps, seconds + BLOCK_S, behind=1, closely=True)
        if self._has_gains(second):
            self.fork.call("anvil_mine", hex(BLOCKS_LATER), hex(SECONDS_LATER // BLOCKS_LATER))
        self._try_gains(second, swaps, when="an hour later")
        self.fork.call("evm_revert", snapshot)
        step = first.steps[self.target]
        found = {*findings(first.ran), *findings(second.ran), *first.wrong, *second.wrong}  # (7)
        found |= first.told.items.findings | second.told.items.findings
        told = {
            "intent": step.transaction.intent,
            "block": {"number": self.header.number, "hash": self.header.hash().hex()},
            "sender": step.transaction.sender,
            "call": step.transaction.digest,
            "accounts": list(self.watched),
            **first.outcome(),
            "again": second.outcome(),
            "findings": [each.document() for each in sorted(found)],
            "gas": step.gas,
            "slippage_bps": step.cost.slippage_bps if step.cost else None,
            "slippage_ppm": step.cost.slippage_ppm if step.cost else None,
            "loss": step.cost.loss() if step.cost else None,
            "sequence": _sequence(first.steps) if len(first.steps) > 1 else None,
            **first.assumed,
        }
        return told, [first.ran, second.ran]

    def _pass(self, swaps: Sequence[Swap | None], seconds: int, *, behind: int, closely: bool) -> _Pass:
        steps = []
        assumed: dict[str, Json] = {}
        for index, transaction in enumerate(self.transactions):
            if transaction.approved_by is not None:
                approved = self._approved(transaction, transaction.approved_by)
                assumed = {"assumed": approved} if index == self.target else assumed
            number = self.header.number + behind + index + 1
            at = seconds + BLOCK_S * index
            tip = transaction.max_priority_fee_per_gas // (2 if behind else 1)
            receipt = self._execute(transaction, number, at, tip=tip)
            close = closely and index == self.target
            steps.append(self._step(transaction, swaps[index], receipt, number, closely=close))
        step = steps[self.target]
        told = effects(self.fork, step.executed, step.traced, self.watched)
        return _Pass(steps=steps, told=told, target=self.target, assumed=assumed)

    def _approved(self, transaction: Transaction, owners: Sequence[str]) -> dict[str, Json]:  # (9)
        safe = transaction.to
        told = self.fork.call("eth_getStorageAt", safe, to_rpc(NONCE), "latest")
        nonce = int.from_bytes(self.fork.read_hex(told, size=WORD))
        digest = transaction.safe_tx(nonce).digest(chain_id=self.fork.chain_id(), safe=safe)
        for owner in owners:
            slot = approval_slot(owner, digest)
            self.fork.call("anvil_setStorageAt", safe, to_rpc(slot), to_rpc((1).to_bytes(WORD)))
            self.assumed[safe, slot] = nonce
        return {"safe": safe, "nonce": nonce, "owners": list(owners)}

    def _step(
        self,
        transaction: Transaction,
        swap: Swap | None,
        receipt: dict[str, Json],
        number: int,
        *,
        closely: bool,
    ) -> _Step:
        gas = self.fork.read_quantity(receipt["gasUsed"])
        executed = Executed(
            tx_hash=receipt["transactionHash"],
            sender=transaction.sender,
            number=number,
            gas_cost=gas * self.fork.read_quantity(receipt["effectiveGasPrice"]),
        )
        revert = None if self.fork.read_quantity(receipt["status"]) == 1 else self._reason(executed)
        return _Step(
            transaction=transaction,
            executed=executed,
            traced=traced(self.fork, executed.tx_hash, closely=closely),
            gas=gas,
            revert=revert,
            cost=self._cost(executed, transaction.holder, swap) if swap and revert is None else None,
        )

    def _execute(
        self, transaction: Transaction, number: int, seconds: int, *, tip: int
    ) -> dict[str, Json]:  # (2)
        if time.monotonic() > self.deadline:
            raise SimulationError("the simulation took too long")
        try:
            tx_hash = self.fork.call("eth_sendTransaction", transaction.request(tip=tip))
        except RpcError as error:
            # too little ether, gas below the intrinsic cost, a fee below the base fee: no chain would take it
            raise SimulationError(f"not executable: {error.message}") from error
        self.fork.call("evm_mine", hex(seconds))
        receipt = self.fork.call("eth_getTransactionReceipt", tx_hash)
        if not isinstance(receipt, dict):
            raise SimulationError("the fork did not run the transaction")
        if self.fork.read_quantity(receipt["blockNumber"]) != number:
            raise NodeError(f"the transaction ran in block {receipt['blockNumber']!r:.20}, not in {number}")
        return receipt

    def _cost(self, executed: Executed, holder: str, swap: Swap) -> Cost:
        owner = bytes(12) + address_bytes(holder)
        calls = [
            ("eth_call", [{"to": asset, "data": to_rpc(_BALANCE_OF + owner)}, hex(block)])
            for asset in (swap.token_in, swap.token_out)
            for block in (executed.number - 1, executed.number)
        ]
        before_in, after_in, before_out, after_out = (self._word(each) for each in self.fork.batch(calls))
        return Cost.of(swap, paid=before_in - after_in, received=after_out - before_out)

    def _word(self, answer: Json | RpcError) -> int:
        if isinstance(answer, RpcError):
            raise SimulationError(f"a balance that cannot be read: {answer.message}")
        return int.from_bytes(self.fork.read_hex(answer, size=32))

    def _reason(self, executed: Executed) -> str:
        config = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
        frame = self.fork.call("debug_traceTransaction", executed.tx_hash, config)
        return revert_reason(from_rpc_hex(frame.get("output", "0x")), str(frame.get("error", "reverted")))

    def _has_gains(self, run: _Pass) -> bool:
        # behind the target others may have spent them; and such a simulation is nothing to be signed
        return self.target == len(self.transactions) - 1 and any(_gains(run))

    def _try_gains(self, run: _Pass, swaps: Sequence[Swap | None], *, when: str) -> None:
        if not self._has_gains(run):
            return
        transaction, swap = self.transactions[self.target], swaps[self.target]
        paid = [
            -int(each["amount"])
            for each in run.told.deltas
            if swap is not None and each["asset"] == swap.token_in and each["account"] == transaction.holder
        ]
        trial = Trial(
            sender=transaction.holder,
            gains=dict(_gains(run)),
            swap=swap,
            router=transaction.inner[0],
            paid=paid[0] if paid else 0,
            salt=self._salt(),
        )
        probe = Probe(self.fork, 2 * self.fork.head().base_fee_per_gas + 1, run.tried)
        run.wrong += probe.findings(trial, when=when)

    def _salt(self) -> bytes:
        return keccak(self.header.hash() + bytes.fromhex(self.transactions[self.target].digest))

    def _priced(self) -> None:
        # a fork that was set to another block goes on with the base fee that it had before
        self.fork.call("anvil_setNextBlockBaseFeePerGas", hex(self.header.next_base_fee()))

    def _made_by(self, beneficiary: bytes) -> None:
        self.fork.call("anvil_setCoinbase", checksummed(beneficiary))


def _read(ran: Sequence[Traced]) -> set[tuple[str, str | None]]:
    found = [(address, each) for traced in ran for address, each in traced.found.items()]
    slots = {(address, to_rpc(slot)) for address, each in found for slot in each.slots}
    return slots | {(address, None) for address, _ in found}


def _gains(run: _Pass) -> Iterator[tuple[str, int]]:
    holder = run.steps[run.target].transaction.holder
    for each in run.told.deltas:
        if each["account"] == holder and each["asset"] != ETHER and int(each["amount"]) > 0:
            yield each["asset"], int(each["amount"])


def _tokens(document: dict[str, Json]) -> list[str]:
    effects = ("deltas", "allowances", "items", "rights")
    told = [each for outcome in (document, document["again"]) for name in effects for each in outcome[name]]
    return sorted({each["asset"] for each in told} - {ETHER})


_BALANCE_OF: Final = bytes.fromhex("70a08231")


def revert_reason(output: bytes, error: str) -> str:
    """Return why a call failed: its reason or panic code, else its raw error, else the EVM's word."""
    try:
        call = decode(output, [_ERROR, _PANIC])
    except CalldataError:
        reason = f"0x{output.hex()}" if output else error
    else:
        reason = str(call.arguments.get("reason") or f"panic {call.arguments.get('code')}")
    # A contract chooses this text: what a screen could render otherwise than as a letter is replaced.
    return "".join(each if " " <= each <= "~" else "?" for each in reason[:REASON_CHARS_MAX])


def _sequence(steps: Sequence[_Step]) -> dict[str, Json]:
    total: Cost | None = None
    costs = [step.cost for step in steps if step.cost]
    # A sum over two tokens, or over a sequence that breaks off, would be a number without a meaning.
    if costs and len({cost.asset for cost in costs}) == 1 and all(step.revert is None for step in steps):
        total = costs[0]
        for cost in costs[1:]:
            total = total.plus(cost)
    return {
        "steps": [step.document() for step in steps],
        "slippage_ppm": total.slippage_ppm if total else None,
        "loss": total.loss() if total else None,
    }
