"""The anchor's process: a gas-only key, the trust root and a node in; a unix socket out.

State root: config.json, pin, token, genesis.json, anchored.json.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from ledger.chain import Genesis
from ledger.trust import TrustRoot as LedgerTrustRoot
from workbench.anchor.core import Anchorer
from workbench.anchor.memory import Memory, MemoryCorruptError
from workbench.chain.node import Node
from workbench.custody.errors import TokenError
from workbench.custody.token import opened
from workbench.evm.fields import address_bytes
from workbench.evm.transaction import address_of
from workbench.process.config import ConfigError, StateRoot, arguments
from workbench.process.crash import CrashPoint
from workbench.process.frames import FrameError, FrameServer
from workbench.rules.codes import RefusedError
from workbench.rules.trust import TrustRoot

CONFIG = ("gas_key", "node", "peers", "token")


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    options = arguments(
        "Anchor: puts counted checkpoints into blocks of the trust root's chain."
    ).parse_args()
    try:
        server = _server(options.state, options.trust_root, options.socket, options.testing_only_crash_at)
    except (
        ConfigError,
        TokenError,
        MemoryCorruptError,
        FrameError,
        RefusedError,
        OSError,
        ValueError,
    ) as error:
        print(f"anchor: {error}", file=sys.stderr)
        return 2
    server.serve_forever()
    return 0


def _server(state: Path, trust_root: Path, socket: Path, crash_at: str | None) -> FrameServer:
    root = StateRoot(state)
    config = root.config(CONFIG)
    pinned = trust_root.read_bytes()
    if crash_at is not None and TrustRoot.read(pinned).profile != "demo":
        raise ConfigError("--testing-only-crash-at is refused under a production trust root")
    believed = LedgerTrustRoot.parse(pinned)
    if believed.anchoring is None:
        raise ConfigError("the trust root names no anchor contract")
    genesis = Genesis.parse((state / "genesis.json").read_bytes())
    if genesis.trust_root != believed.digest:
        raise ConfigError("the ledger's genesis names another trust root")
    public_key = bytes.fromhex(config["gas_key"])
    # A key that the trust root does not name would pay for anchors that prove nothing.
    if address_bytes(address_of(public_key)) != believed.anchoring.sender:
        raise ConfigError("the trust root names another sender")
    token = opened(state, config["token"], pin=root.pin, clock=_clock)
    anchorer = Anchorer(
        trust_root=believed,
        anchoring=believed.anchoring,
        genesis_hash=genesis.hash(),
        memory=Memory(state),
        key=token.secp256k1(public_key),
        node=Node(config["node"]),
        crash=CrashPoint(crash_at),
    )
    return FrameServer(socket, anchorer.handle, uids={os.geteuid(), *config["peers"]})


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
