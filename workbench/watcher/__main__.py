"""The watcher's process: a signing key, the trust root and a memory in; a socket out, and leases to others.

State root: config.json, pin, token, genesis.json, orders.json, policies/, ordered/, witness/.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from ledger.chain import Genesis
from ledger.trust import TrustRoot as LedgerTrustRoot
from ledger.witness import MemoryLostError
from workbench.custody.errors import TokenError
from workbench.custody.token import opened
from workbench.process import witnessing
from workbench.process.config import ConfigError, StateRoot, arguments
from workbench.process.crash import CrashPoint
from workbench.process.frames import FrameError, FrameServer
from workbench.rules.codes import RefusedError
from workbench.rules.lease import TTL_S_MAX
from workbench.rules.policy import verify_chain
from workbench.rules.trust import TrustRoot
from workbench.watcher.core import Watcher
from workbench.watcher.memory import Memory, MemoryCorruptError
from workbench.watcher.pushing import Pushing

NAME = "watcher"
CONFIG = ("cosigners", "identity_key", "lease_every_s", "lease_ttl_s", "peers", "token")


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    options = arguments("Watcher: without its leases nothing is signed; it can pause.").parse_args()
    try:
        server, ways = _server(
            options.state, options.trust_root, options.socket, options.testing_only_crash_at
        )
    except (
        ConfigError,
        TokenError,
        MemoryCorruptError,
        MemoryLostError,
        FrameError,
        RefusedError,
        OSError,
        ValueError,
    ) as error:
        print(f"watcher: {error}", file=sys.stderr)
        return 2
    for way in ways:
        threading.Thread(target=way.forever, daemon=True).start()
    server.serve_forever()
    return 0


def _server(
    state: Path, trust_root: Path, socket: Path, crash_at: str | None
) -> tuple[FrameServer, list[Pushing]]:
    root = StateRoot(state)
    config = root.config(CONFIG)
    pinned = trust_root.read_bytes()
    believed = TrustRoot.read(pinned)
    if crash_at is not None and believed.profile != "demo":
        raise ConfigError("--testing-only-crash-at is refused under a production trust root")
    genesis = Genesis.parse((state / "genesis.json").read_bytes())
    if genesis.trust_root.hex() != believed.digest:
        raise ConfigError("the ledger's genesis names another trust root")
    every, ttl = config["lease_every_s"], config["lease_ttl_s"]
    if type(ttl) is not int or not 1 <= every <= ttl / 2 <= TTL_S_MAX / 2:
        raise ConfigError(f"leases of {ttl} s every {every} s: at most {TTL_S_MAX} s, two of them in each")
    token = opened(state, config["token"], pin=root.pin, clock=_clock)
    key = token.ed25519(bytes.fromhex(config["identity_key"]))
    if believed.watcher != key.public_key.hex():
        raise ConfigError("the trust root pins another key for the watcher")
    memory = Memory(state)
    verify_chain(memory.sets, trust_root=believed, now=_clock())
    ledger_root = LedgerTrustRoot.parse(pinned)
    witness = witnessing.opened(state / "witness", name=NAME, key=key, trust_root=ledger_root, now=_clock)
    if witness is None:
        raise ConfigError("the trust root does not count the watcher as a witness")
    watcher = Watcher(
        trust_root=believed,
        memory=memory,
        witness=witness,
        key=key,
        clock=_clock,
        ttl_s=ttl,
        crash=CrashPoint(crash_at),
    )
    unknown = sorted(set(config["cosigners"]) - set(believed.cosigners))
    if unknown:
        raise ConfigError(f"no co-signer of the trust root: {unknown}")
    ways = [
        Pushing(watcher, name, Path(path), every, watcher.woken())
        for name, path in config["cosigners"].items()
    ]
    return FrameServer(socket, watcher.handle, uids={os.geteuid(), *config["peers"]}), ways


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
