"""A small world on a chain: NewSwap, a treasury with money and a key, and contracts that misbehave."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_hash.auto import keccak

from workbench.chain.anvil import Anvil
from workbench.chain.node import Node
from workbench.chain.simulator import Simulator, Transaction
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import UINT256_MAX, checksummed
from workbench.evm.transaction import UnsignedTransaction, address_of, assemble, signature_for

PACKAGES = Path(__file__).parents[2] / "binder" / "node_modules"
KEY = PrivateKey(b"\x42" * 32)
TREASURY = address_of(KEY.public_key.format(compressed=False))
MILLION = 1_000_000 * newswap.USDC_UNIT
GAS = 500_000
FEE = 10**10


@dataclass(frozen=True)
class World:
    """The chain, NewSwap on it, and a funded treasury."""

    anvil: Anvil
    node: Node
    deployment: newswap.Deployment
    simulator: Simulator

    def transaction(
        self,
        to: str,
        data: bytes = b"",
        *,
        value: int = 0,
        gas: int = GAS,
        sender: str = TREASURY,
        intent: str | None = None,
    ) -> Transaction:
        """Return a transaction of the treasury."""
        return Transaction(
            intent=intent,
            sender=sender,
            to=to,
            value=value,
            data=data,
            gas=gas,
            max_fee_per_gas=FEE,
            max_priority_fee_per_gas=1,
        )

    def approval(self, amount: int) -> Transaction:
        """Return the approval that a swap needs."""
        return self.transaction(self.deployment.usdc, self.deployment.approval(amount))

    def swap(self, amount: int, minimum: int = 0, recipient: str = TREASURY) -> Transaction:
        """Return a sale of USDC."""
        return self.transaction(self.deployment.router, self.swap_data(amount, minimum, recipient))

    def swap_data(self, amount: int, minimum: int = 0, recipient: str = TREASURY) -> bytes:
        """Return the calldata of a sale that is valid for ten minutes."""
        deadline = int(datetime.now(UTC).timestamp()) + 600
        return self.deployment.swap(
            recipient=recipient, amount_in=amount, amount_out_minimum=minimum, deadline=deadline
        )

    def simulate(
        self, *transactions: Transaction, target: int = -1, accounts: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Simulate at the head; the last transaction is the target unless another is named."""
        target = target % len(transactions)
        now = datetime.now(UTC)
        return self.simulator.run(
            self.node, self.node.head(), transactions, target=target, accounts=accounts, at=now
        )

    def contract(self, code: bytes, number: int = 0) -> str:
        """Put code at an address and return it."""
        address = checksummed(keccak(bytes([number]) + code)[12:])
        self.node.call("anvil_setCode", address, "0x" + code.hex())
        self.node.call("anvil_mine", "0x1")  # so that a state root has it
        return address

    def create(self, made: Mapping[str, Any], **arguments: Any) -> str:
        """Deploy a compiled contract and return its address."""
        return newswap._create(self.node, made, arguments)

    def pool(self, token: str) -> str:
        """Open a pool of USDC against a token whose address is the greater one; return its address."""
        contracts = {
            name: json.loads((PACKAGES / path).read_bytes()) for name, path in newswap._ARTIFACTS.items()
        }
        positions, abi = self.deployment.positions, contracts["positions"]["abi"]
        pair = {"tokenA": self.deployment.usdc, "tokenB": token, "fee": str(newswap.FEE)}
        opening = {
            "token0": self.deployment.usdc,
            "token1": token,
            "fee": str(newswap.FEE),
            "sqrtPriceX96": str(newswap.SQRT_PRICE_X96),
        }
        create = newswap._fragment(abi, "createAndInitializePoolIfNecessary")
        newswap._send(self.node, positions, create, opening)
        newswap._mint(self.node, token, newswap.DEPLOYER, 10**30)
        newswap._send(self.node, token, newswap.APPROVE, {"spender": positions, "amount": str(UINT256_MAX)})
        for place in newswap.POSITIONS:
            mint = newswap._fragment(abi, "mint")
            newswap._open(self.node, positions, mint, (self.deployment.usdc, token), place)
        asked = newswap._call(contracts["factory"]["abi"], "getPool", pair)
        return checksummed(self.node.eth_call(self.deployment.factory, asked, "latest")[12:])

    def store(self, contract: str, slot: bytes, value: int) -> None:
        """Write one storage slot."""
        self.node.call("anvil_setStorageAt", contract, "0x" + slot.hex(), "0x" + value.to_bytes(32).hex())
        self.node.call("anvil_mine", "0x1")

    def signed(
        self,
        to: str,
        *,
        nonce: int,
        data: bytes = b"",
        value: int = 0,
        gas: int = GAS,
        chain_id: int = chain.CHAIN_ID,
    ) -> bytes:
        """Return signed bytes of the treasury."""
        unsigned = UnsignedTransaction(
            chain_id=chain_id,
            nonce=nonce,
            max_priority_fee_per_gas=0,
            max_fee_per_gas=10**11,
            gas=gas,
            to=to,
            value=value,
            data=data,
        )
        digest = unsigned.digest()
        rs = KEY.sign_recoverable(digest, hasher=None)[:64]
        return assemble(unsigned, *signature_for(digest, rs, KEY.public_key.format(compressed=False)))


def open_world(cache: Path) -> World:
    """Start a chain from the cached state and fund the treasury."""
    state, deployment = newswap.prepared(PACKAGES, cache)
    anvil = chain.start(PACKAGES, state=state)
    newswap.fund(anvil.url, deployment, TREASURY, usdc=20 * MILLION, ether=10 * newswap.ETHER)
    return World(anvil, Node(anvil.url), deployment, Simulator(chain.anvil_binary(PACKAGES)))


def close_world(world: World) -> None:
    """End the chain and the connections to it."""
    world.simulator.close()
    world.node.close()
    world.anvil.stop()
