"""What was bought is tried: whether it can be passed on whole, and whether it can be sold again.

After the transaction, on the same private fork, for each token that one of its effects brings in:
(1) the sender passes all of it on to an address that nobody could have known before. It must arrive whole:
    a token that keeps a part, or that does not let its buyer pass it on, is a finding.
(2) if the transaction was a swap, the sender sells everything back by the same pool. What comes back must be
    what was paid less two fees: a pool gives the way back what it took on the way there, so anything beyond
    is the token's own doing.

Both are tried at once, and again ten blocks and an hour later: a trap that closes after the purchase is one,
too. The sender's ether for the gas of the trials is made up; it was looked at before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import NodeError, SimulationError
from workbench.chain.finding import Finding
from workbench.chain.node import Node
from workbench.chain.slippage import Swap
from workbench.chain.traced import Traced, traced
from workbench.evm.calldata import APPROVE, Fragment, encode
from workbench.evm.fields import address_bytes, checksummed, to_rpc

# Each block reads slots of the system contracts from the node, so more of them would cost it hundreds of
# questions; the time can be set.
BLOCKS_LATER: Final = 10
SECONDS_LATER: Final = 3600
GAS: Final = 2_000_000
ETHER: Final = 10**21
# Rounding, and the reserve that a pool's tick boundaries keep, both ways.
SOLD_LESS: Final = Fraction(1, 1000)

_TRANSFER: Final[Fragment] = {
    "type": "function",
    "name": "transfer",
    "inputs": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
}
_BALANCE_OF: Final[Fragment] = {
    "type": "function",
    "name": "balanceOf",
    "inputs": [{"name": "owner", "type": "address"}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried: the sender's gains, and the swap that brought them, if it was one."""

    sender: str
    gains: dict[str, int]
    swap: Swap | None
    router: str
    paid: int
    salt: bytes


@dataclass(slots=True)
class Probe:
    """Tries things out on a fork; every transaction of it is kept for the proof of what it read."""

    fork: Node
    gas_price: int
    ran: list[Traced]

    def findings(self, trial: Trial, *, when: str) -> Iterator[Finding]:
        """Yield what is wrong with the gains; the fork is as before afterwards."""
        for asset, amount in sorted(trial.gains.items()):
            snapshot = self._fork_snapshot(trial.sender)
            yield from self._passed_on(trial, asset, amount, when)
            self.fork.call("evm_revert", snapshot)
        if trial.swap is not None and trial.gains.get(trial.swap.token_out):
            snapshot = self._fork_snapshot(trial.sender)
            yield from self._sold(trial, trial.swap, when)
            self.fork.call("evm_revert", snapshot)

    def _passed_on(self, trial: Trial, asset: str, amount: int, when: str) -> Iterator[Finding]:  # (1)
        to = checksummed(keccak(trial.salt + address_bytes(asset))[12:])
        before = self._balance(asset, trial.sender), self._balance(asset, to)
        if not self._run(trial.sender, asset, encode(_TRANSFER, {"to": to, "amount": str(amount)})):
            yield Finding("held_fast", asset, f"it cannot be passed on {when}")
            return
        left = before[0] - self._balance(asset, trial.sender)
        arrived = self._balance(asset, to) - before[1]
        if (left, arrived) != (amount, amount):
            yield Finding(
                "transfer_fee", asset, f"of {amount} passed on {when}, {left} leave, {arrived} arrive"
            )

    def _sold(self, trial: Trial, swap: Swap, when: str) -> Iterator[Finding]:  # (2)
        amount = trial.gains[swap.token_out]
        before = self._balance(swap.token_in, trial.sender)
        approved = encode(APPROVE, {"spender": trial.router, "amount": str(amount)})
        sold = self._run(trial.sender, swap.token_out, approved) and self._run(
            trial.sender, trial.router, swap.back(sender=trial.sender, amount=amount)
        )
        if not sold:
            yield Finding("unsaleable", swap.token_out, f"it cannot be sold again {when}")
            return
        returned = self._balance(swap.token_in, trial.sender) - before
        if returned < trial.paid * (1 - swap.fee) ** 2 * (1 - SOLD_LESS):
            detail = f"sold again {when}, it brings {returned} of {trial.paid} paid"
            yield Finding("sold_at_a_loss", swap.token_out, detail)

    def _fork_snapshot(self, sender: str) -> str:
        snapshot = self.fork.call("evm_snapshot")
        self.fork.call("anvil_setBalance", sender, hex(ETHER))
        return str(snapshot)

    def _run(self, sender: str, to: str, data: bytes) -> bool:
        request = {
            "from": sender,
            "to": to,
            "data": to_rpc(data),
            "gas": hex(GAS),
            "maxFeePerGas": hex(self.gas_price),
            "maxPriorityFeePerGas": "0x0",
        }
        tx_hash = self.fork.call("eth_sendTransaction", request)
        self.fork.call("evm_mine")
        receipt = self.fork.call("eth_getTransactionReceipt", tx_hash)
        if not isinstance(receipt, dict):
            raise SimulationError("the fork did not run a trial")
        self.ran.append(traced(self.fork, tx_hash, closely=False))
        return self.fork.read_quantity(receipt["status"]) == 1

    def _balance(self, asset: str, owner: str) -> int:
        answer = self.fork.eth_call(asset, encode(_BALANCE_OF, {"owner": owner}), "latest")
        if not answer:
            raise NodeError(f"{asset} no longer tells a balance")
        return int.from_bytes(answer)
