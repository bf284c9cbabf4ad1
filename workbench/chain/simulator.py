"""What a sequence of transactions would do, found by running it on a private fork of the chain.

(1) One fork for one simulation, at a block whose header was re-hashed; it ends with the simulation. The
    chain's node sees reads only: nothing simulated can leak into a pool.
(2) Every transaction really runs, each in a block of its own, with the sender's own nonce and balance, its
    gas limit and the base fee of the moment. A private fork can do that, and it is traced afterwards like any
    transaction: a storage slot changed without an event is seen, also behind the earlier steps of a sequence.
    `eth_simulateV1` gives neither traces nor the storage diff of its steps, and runs them without a gas
    price.
(3) Block numbers follow the fork's block; the first block's time is the observer's clock, the next ones 12 s
    later.
(4) Slippage is measured against the price before the first transaction.
(5) A simulation that could not be completed raises. A transaction that reverts is a result, with its reason.

(6) The fork reads its node without proofs, so whatever a transaction read is proven under the header's state
    root afterwards (`prestate`): a node that lies about a balance gives no simulation.

The document is a claim until an observer signs it. Left to others: whether the effects are the wanted ones.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ledger import clock
from workbench.chain.anvil import Anvil
from workbench.chain.effects import Effects, Executed, effects
from workbench.chain.errors import NodeError, RpcError, SimulationError
from workbench.chain.node import Json, Node
from workbench.chain.prestate import prove
from workbench.chain.slippage import Cost, Swap, swap_of
from workbench.evm.call import call_digest
from workbench.evm.calldata import decode
from workbench.evm.errors import CalldataError, EvmError
from workbench.evm.fields import address_bytes, from_decimal, from_hex, from_rpc_hex, to_rpc
from workbench.evm.header import Header

# A programme of tranches with its approvals; each costs some 20 ms.
TRANSACTIONS_MAX: Final = 16
# EIP-7825: no transaction may have more since Osaka.
GAS_MAX: Final = 2**24
SECONDS_MAX: Final = 30
BLOCK_S: Final = 12
REASON_CHARS_MAX: Final = 200

_ERROR: Final = {
    "type": "function",
    "name": "Error",
    "inputs": [{"name": "reason", "type": "string"}],
}
_PANIC: Final = {"type": "function", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]}
_FIELDS: Final = frozenset({"intent", "from", "to", "value", "data", "gas"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction to simulate; no fees, because the fork's own are used."""

    intent: str | None
    sender: str
    to: str
    value: int
    data: bytes
    gas: int

    @classmethod
    def parse(cls, document: Mapping[str, Json]) -> "Transaction":
        """Read a transaction as it is asked for; unknown or missing fields are refused."""
        if set(document) != _FIELDS:
            raise SimulationError(f"got fields {sorted(document)}, expected {sorted(_FIELDS)}")
        intent, gas = document["intent"], document["gas"]
        try:
            if intent is not None:
                from_hex(intent)
            address_bytes(document["from"])
            address_bytes(document["to"])
            value, data = from_decimal(document["value"]), from_hex(document["data"])
        except (ValueError, TypeError) as error:
            raise SimulationError(str(error)) from error
        if type(gas) is not int or not 0 < gas <= GAS_MAX or value < 0:
            raise SimulationError(f"gas {gas}, value {value}: out of range")
        return cls(intent=intent, sender=document["from"], to=document["to"], value=value, data=data, gas=gas)

    @property
    def digest(self) -> str:
        """What was run; the intent's name is only what the asker called it."""
        return call_digest(sender=self.sender, to=self.to, value=self.value, data=self.data, gas=self.gas)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One transaction after it ran."""

    transaction: Transaction
    executed: Executed
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


@dataclass(frozen=True, slots=True)
class Simulator:
    """Makes forks with the anvil at `binary`."""

    binary: Path
    seconds_max: int = SECONDS_MAX

    def run(
        self, node: Node, header: Header, transactions: Sequence[Transaction], *, target: int, at: datetime
    ) -> dict[str, Json]:
        """Return the simulation document of transaction `target`, run behind those before it.

        Transactions behind the target run too: they are part of the sequence's cost.
        """
        if not 0 <= target < len(transactions) <= TRANSACTIONS_MAX:
            raise SimulationError(f"target {target} of {len(transactions)}, at most {TRANSACTIONS_MAX}")
        arguments = ["--fork-url", node.url, "--fork-block-number", str(header.number), "--no-mining"]
        arguments += ["--no-storage-caching", "--no-rate-limit", "--auto-impersonate", "--order", "fifo"]
        with Anvil(self.binary, arguments, lifetime_s=self.seconds_max) as anvil:  # (1)
            fork = Node(anvil.url, timeout_s=self.seconds_max)
            try:
                run = _Run(fork, node, header, time.monotonic() + self.seconds_max)
                return run.document(transactions, target=target, at=at)
            finally:
                fork.close()


class _Run:
    """One sequence on one fork."""

    def __init__(self, fork: Node, node: Node, header: Header, deadline: float) -> None:
        self._fork = fork
        self._node = node
        self._header = header
        self._chain_id = node.chain_id()
        self._deadline = deadline

    def document(self, transactions: Sequence[Transaction], *, target: int, at: datetime) -> dict[str, Json]:
        if self._fork.head().hash() != self._header.hash() or self._fork.chain_id() != self._chain_id:
            raise SimulationError("the fork does not stand at the block it was made for")
        start = hex(self._header.number)
        swaps = [swap_of(self._fork, to=t.to, data=t.data, block=start) for t in transactions]  # (4)
        seconds = max(int(at.timestamp()), self._header.timestamp + 1)
        steps = [
            self._step(transaction, swap, seconds + BLOCK_S * index)  # (3)
            for index, (transaction, swap) in enumerate(zip(transactions, swaps, strict=True))
        ]
        prove(self._fork, self._node, self._header, [each.executed.tx_hash for each in steps])  # (6)
        step = steps[target]
        changed = self._effects(step)
        return {
            "v": 1,
            "intent": step.transaction.intent,
            "chain_id": self._chain_id,
            "block": {"number": self._header.number, "hash": self._header.hash().hex()},
            "sender": step.transaction.sender,
            "call": step.transaction.digest,
            "deltas": changed.deltas,
            "allowances": changed.allowances,
            "admin_changes": changed.admin_changes,
            "gas": step.gas,
            "slippage_bps": step.cost.slippage_bps if step.cost else None,
            "slippage_ppm": step.cost.slippage_ppm if step.cost else None,
            "loss": step.cost.loss() if step.cost else None,
            "sequence": _sequence(steps) if len(steps) > 1 else None,
            "revert": step.revert,
            "at": clock.text(at),
        }

    def _effects(self, step: _Step) -> Effects:
        try:
            return effects(self._fork, step.executed)
        except (KeyError, TypeError, AttributeError, EvmError, ValueError) as error:
            raise SimulationError(f"a trace that cannot be read: {error!r:.200}") from error

    def _step(self, transaction: Transaction, swap: Swap | None, seconds: int) -> _Step:
        if time.monotonic() > self._deadline:
            raise SimulationError("the simulation took too long")
        number, receipt = self._execute(transaction, seconds)
        gas = self._fork.read_quantity(receipt["gasUsed"])
        executed = Executed(
            tx_hash=receipt["transactionHash"],
            sender=transaction.sender,
            number=number,
            gas_cost=gas * self._fork.read_quantity(receipt["effectiveGasPrice"]),
        )
        revert = None if self._fork.read_quantity(receipt["status"]) == 1 else self._reason(executed)
        cost = self._cost(executed, swap) if swap and revert is None else None
        return _Step(transaction=transaction, executed=executed, gas=gas, revert=revert, cost=cost)

    def _execute(self, transaction: Transaction, seconds: int) -> tuple[int, dict[str, Json]]:  # (2)
        head = self._fork.head()
        request = {
            "from": transaction.sender,
            "to": transaction.to,
            "value": hex(transaction.value),
            "data": to_rpc(transaction.data),
            "gas": hex(transaction.gas),
            "nonce": hex(self._fork.nonce(transaction.sender)),
            # the base fee rises by at most an eighth from one block to the next
            "maxFeePerGas": hex(head.base_fee_per_gas * 9 // 8 + 1),
            "maxPriorityFeePerGas": "0x0",
        }
        try:
            tx_hash = self._fork.call("eth_sendTransaction", request)
        except RpcError as error:
            # too little ether, or gas below the intrinsic cost: no chain would take it
            raise SimulationError(f"not executable: {error.message}") from error
        self._fork.call("evm_setNextBlockTimestamp", seconds)
        self._fork.call("anvil_mine", "0x1")
        receipt = self._fork.call("eth_getTransactionReceipt", tx_hash)
        if not isinstance(receipt, dict):
            raise SimulationError("the fork did not run the transaction")
        number = self._fork.read_quantity(receipt["blockNumber"])
        if number != head.number + 1:
            raise NodeError(f"the transaction ran in block {number}, not in {head.number + 1}")
        return number, receipt

    def _cost(self, executed: Executed, swap: Swap) -> Cost:
        paid, received = (
            sign * (self._balance(executed, asset, 0) - self._balance(executed, asset, 1))
            for asset, sign in ((swap.token_in, 1), (swap.token_out, -1))
        )
        return Cost.of(swap, paid=paid, received=received)

    def _balance(self, executed: Executed, asset: str, blocks_later: int) -> int:
        data = _BALANCE_OF + bytes(12) + address_bytes(executed.sender)
        block = hex(executed.number - 1 + blocks_later)
        return int.from_bytes(self._fork.eth_call(asset, data, block))

    def _reason(self, executed: Executed) -> str:
        config = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
        frame = self._fork.call("debug_traceTransaction", executed.tx_hash, config)
        return revert_reason(from_rpc_hex(frame.get("output", "0x")), str(frame.get("error", "reverted")))


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
