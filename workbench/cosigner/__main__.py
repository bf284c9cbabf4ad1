"""The co-signer's process: token, memory and trust root in; a unix socket out.

State root: config.json, pin, token, genesis.json, head.json, orders.json, signed/, deeds/,
witness/; where it shares keys also
peers.json and shares/.

It shuts itself in before it hears anybody (`workbench.process.confine`), says in its status which measures
hold, and does not start without each of them under a production trust root. What is around it, namespaces
and read-only files, comes from whoever starts it: `workbench.process.jail`, or systemd with the unit there.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from ledger.chain import Genesis
from ledger.trust import TrustRoot as LedgerTrustRoot
from ledger.witness import MemoryLostError
from workbench.cosigner import core
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.deeds import Deeds
from workbench.cosigner.epochs import Epochs
from workbench.cosigner.ground import Identity
from workbench.cosigner.keywork import KeyWork
from workbench.cosigner.memory import Memory, MemoryCorruptError
from workbench.cosigner.orders import Heard
from workbench.cosigner.peers import Peers
from workbench.cosigner.runs import Runs
from workbench.cosigner.shared import SharedKeys
from workbench.custody.errors import TokenError
from workbench.custody.shares import Shares
from workbench.custody.token import Ed25519Key, Token, opened
from workbench.process import confine, witnessing
from workbench.process.config import ConfigError, StateRoot, arguments
from workbench.process.crash import CrashPoint
from workbench.process.frames import FrameError, FrameServer
from workbench.process.measures import Own
from workbench.rules import isolation
from workbench.rules.codes import RefusedError
from workbench.rules.trust import TrustRoot

CONFIG = ("identity_key", "name", "peers", "sealing_key", "token")


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    options = arguments("Co-signer: decides alone over evidence, signs in its own token.").parse_args()
    # before the PIN is read: a core file or another process's eyes would have it, and a software token's key
    confine.harden()
    try:
        server = _server(options.state, options.trust_root, options.socket, options.testing_only_crash_at)
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
        print(f"cosigner: {error}", file=sys.stderr)
        return 2
    server.serve_forever()
    return 0


def _server(state: Path, trust_root: Path, socket: Path, crash_at: str | None) -> FrameServer:
    root = StateRoot(state)
    config = root.config(CONFIG)
    pinned = trust_root.read_bytes()
    believed = TrustRoot.read(pinned)
    if crash_at is not None and believed.profile != "demo":
        raise ConfigError("--testing-only-crash-at is refused under a production trust root")
    genesis = Genesis.parse((state / "genesis.json").read_bytes())
    if genesis.trust_root.hex() != believed.digest:
        raise ConfigError("the ledger's genesis names another trust root")
    token = opened(state, config["token"], pin=root.pin, clock=_clock)
    identity = Identity(
        name=config["name"], trust_root=believed, ledger_trust_root=LedgerTrustRoot.parse(pinned)
    )
    key = token.ed25519(bytes.fromhex(config["identity_key"]))
    heard, runs = Heard(state), _runs(state, identity, token, key, config["sealing_key"])
    own = Own(state, socket, frozenset(config["peers"]))
    cosigner = core.start(
        identity=identity,
        memory=Memory(state, genesis_hash=genesis.hash()),
        blocks=Blocks(state),
        heard=heard,
        token=token,
        key=key,
        clock=_clock,
        crash=CrashPoint(crash_at),
        witness=witnessing.opened(
            state / "witness", name=identity.name, key=key, trust_root=identity.ledger_trust_root, now=_clock
        ),
        shared=SharedKeys(runs, _clock) if runs else None,
        keywork=KeyWork(runs, Epochs(runs, key.sign), heard, _clock) if runs else None,
        isolation=own.isolation,
        deeds=Deeds(state),
    )
    server = FrameServer(socket, cosigner.handle, uids={os.geteuid(), *own.peers})
    confine.shut()
    try:
        isolation.check(own.isolation(), profile=believed.profile)
    except RefusedError:
        server.close()
        raise
    return server


def _runs(state: Path, identity: Identity, token: Token, key: Ed25519Key, sealing: str | None) -> Runs | None:
    """Return the runs over keys that this co-signer shares; None where it has no sealing key."""
    if sealing is None:
        return None
    return Runs(
        name=identity.name,
        sign=key.sign,
        keys=identity.trust_root.cosigners,
        peers=Peers(state),
        shares=Shares(state / "shares", sealing=token.sealing(sealing)),
        clock=_clock,
    )


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
