"""A Safe 1.4.1 on the demo world's chain, from the code that its makers published on npm.

Singleton, factory, fallback handler and MultiSendCallOnly are deployed, then a proxy whose owners are keys
of ours. The code that is pinned of each is the package's, not what the node says stands there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_hash.auto import keccak

from workbench.chain.errors import NodeError
from workbench.chain.node import Node
from workbench.demo import node as chain
from workbench.demo.newswap import DEPLOYER
from workbench.evm import calldata, known
from workbench.evm.carriers import NOBODY
from workbench.evm.fields import checksummed, from_rpc_hex, to_rpc
from workbench.rules.safe_pins import Pinned

_FOLDER: Final = "@safe-global/safe-contracts/build/artifacts/contracts"
_ARTIFACTS: Final = {
    "singleton": "Safe.sol/Safe.json",
    "factory": "proxies/SafeProxyFactory.sol/SafeProxyFactory.json",
    "proxy": "proxies/SafeProxy.sol/SafeProxy.json",
    "fallback_handler": "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json",
    "multi_send": "libraries/MultiSendCallOnly.sol/MultiSendCallOnly.json",
}
_SETUP: Final = known.fragment(
    "setup(address[] owners, uint256 threshold, address to, bytes data, address fallbackHandler, "
    "address paymentToken, uint256 payment, address paymentReceiver)"
)
_CREATE: Final = known.fragment(
    "createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce)"
)
_CREATED: Final = to_rpc(keccak(b"ProxyCreation(address,address)"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeContracts:
    """Where a Safe's shared contracts are, and the published code of each, its proxy's too."""

    singleton: str
    factory: str
    fallback_handler: str
    multi_send: str
    codes: dict[str, bytes]


def deploy(node: Node, packages: Path) -> SafeContracts:
    """Deploy what Safes share."""
    artifacts = {name: _artifact(packages, path) for name, path in _ARTIFACTS.items()}
    made = {name: _create(node, each) for name, each in artifacts.items() if name != "proxy"}
    codes = {name: keccak(from_rpc_hex(each["deployedBytecode"])) for name, each in artifacts.items()}
    return SafeContracts(**made, codes=codes)


def open_safe(
    node: Node, contracts: SafeContracts, *, owners: Sequence[str], threshold: int, salt: int = 0
) -> Pinned:
    """Make a Safe of these owners and return it as a policy set would pin it: critical changes are denied."""
    settings = {"owners": list(owners), "threshold": str(threshold), "to": NOBODY, "data": ""}
    settings |= {"fallbackHandler": contracts.fallback_handler, "paymentToken": NOBODY}
    settings |= {"payment": "0", "paymentReceiver": NOBODY}
    initializer = calldata.encode(_SETUP, settings)
    call = {"singleton": contracts.singleton, "initializer": initializer.hex(), "saltNonce": str(salt)}
    receipt = chain.send(node, sender=DEPLOYER, to=contracts.factory, data=calldata.encode(_CREATE, call))
    created = [log["topics"][1] for log in receipt["logs"] if log["topics"][0] == _CREATED]
    if len(created) != 1:
        raise NodeError(f"{len(created)} Safes were made, expected one")
    safe = checksummed(node.read_hex(created[0], size=32)[12:])
    places = {
        "proxy": safe,
        "singleton": contracts.singleton,
        "multi_send": contracts.multi_send,
        "fallback_handler": contracts.fallback_handler,
    }
    return Pinned(
        chain_id=node.chain_id(),
        safe=safe,
        singleton=contracts.singleton,
        multi_send=contracts.multi_send,
        owners=frozenset(owners),
        threshold=threshold,
        guard=NOBODY,
        fallback_handler=contracts.fallback_handler,
        modules=frozenset(),
        code_hashes={address: contracts.codes[name] for name, address in places.items()},
        critical_quorum=None,
    )


def _artifact(packages: Path, path: str) -> dict[str, Any]:
    file = packages / _FOLDER / path
    if not file.exists():
        raise NodeError(f"no {path} of Safe in {packages}: run `make`, or `npm ci` in binder/")
    read: dict[str, Any] = json.loads(file.read_bytes())
    return read


def _create(node: Node, artifact: dict[str, Any]) -> str:
    receipt = chain.send(node, sender=DEPLOYER, to=None, data=from_rpc_hex(artifact["bytecode"]))
    return checksummed(node.read_hex(receipt["contractAddress"], size=20))
