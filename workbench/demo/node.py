"""The demo world's chain: a plain anvil on a free loopback port.

Plain, never a fork: only then do its blocks have state roots, and every chain fact its proof. Its ten
accounts hold keys that everybody knows, which is why no production trust root accepts this chain.
"""

import time
from pathlib import Path
from typing import Any, Final

from workbench.chain.anvil import Anvil
from workbench.chain.errors import NodeError
from workbench.chain.node import Node
from workbench.evm.fields import to_rpc

CHAIN_ID: Final = 31337
# Above every deployment here, below the cap of one transaction (EIP-7825).
GAS: Final = 8_000_000
MINED_S: Final = 10.0
_POLL_S: Final = 0.002


def anvil_binary(packages: Path) -> Path:
    """Return where npm puts anvil inside `node_modules`."""
    return packages / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"


def start(packages: Path, *, state: Path | None = None) -> Anvil:
    """Start the chain, from a saved state if one is given; `stop()` or a `with` block ends it."""
    arguments = ["--chain-id", str(CHAIN_ID), "--order", "fifo"]
    if state is not None:
        arguments += ["--load-state", str(state)]
    return Anvil(anvil_binary(packages), arguments)


def send(node: Node, *, sender: str, to: str | None, data: bytes = b"", value: int = 0) -> dict[str, Any]:
    """Send from one of anvil's own accounts and return the receipt once mined; `to` None creates."""
    request = {"from": sender, "data": to_rpc(data), "value": hex(value), "gas": hex(GAS)}
    if to is not None:
        request["to"] = to
    tx_hash = node.call("eth_sendTransaction", request)
    deadline = time.monotonic() + MINED_S
    while time.monotonic() < deadline:
        receipt = node.call("eth_getTransactionReceipt", tx_hash)
        if isinstance(receipt, dict):
            if receipt.get("status") != "0x1":
                raise NodeError(f"transaction {tx_hash} to {to} reverted")
            return receipt
        time.sleep(_POLL_S)
    raise NodeError(f"transaction {tx_hash} was not mined in {MINED_S} s")
