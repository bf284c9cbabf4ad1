"""The approver's process: a trust root and the service's socket in; two pages on loopback out.

State root: config.json, and nothing else: no key, no PIN, no ledger. In production it names the
vendors' metadata and its root, by which keys are judged that are registered here. It listens at its origins'
ports on both loopback families, or refuses to start: to a browser a process on the other
family is the same origin. Production wants TLS; its certificate and key are files.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn

from workbench.approver import app
from workbench.approver.core import Approver
from workbench.identity.registration import Metadata
from workbench.process.config import ConfigError, StateRoot
from workbench.process.http import configured
from workbench.rules.codes import RefusedError
from workbench.rules.trust import TrustRoot

CONFIG: Final = ("certificate", "certificate_key", "metadata", "metadata_root", "service")
LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
PORTS: Final = {"http": 80, "https": 443}
CONNECTIONS_MAX: Final = 128
GRACE_S: Final = 5
BACKLOG: Final = 64


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    parser = argparse.ArgumentParser(description="Approver: shows what is asked, asks for the key press.")
    parser.add_argument("--state", type=Path, required=True, help="this process's own state root")
    parser.add_argument(
        "--trust-root", type=Path, required=True, help="the trust root, as distributed by hand"
    )
    options = parser.parse_args()
    try:
        config = StateRoot(options.state).config(CONFIG)
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        server = uvicorn.Server(_server(config, trust_root))
        bound = listen(_ports(trust_root))
    except (ConfigError, RefusedError, OSError, ValueError) as error:
        print(f"approver: {error}", file=sys.stderr)
        return 2
    server.run(sockets=bound)
    return 0


def listen(ports: Iterable[int]) -> list[socket.socket]:
    """Hold ports on both loopback families, or raise: half of an origin is somebody else's."""
    bound: list[socket.socket] = []
    try:
        for port, (family, address) in product(ports, LOOPBACK):
            bound.append(socket.socket(family, socket.SOCK_STREAM))
            bound[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound[-1].bind((address, port))
        # only when all are ours: nobody must meet the one while the other is still free
        for each in bound:
            each.listen(BACKLOG)
    except OSError:
        for each in bound:
            each.close()
        raise
    return bound


def _ports(trust_root: TrustRoot) -> list[int]:
    parts = [urlsplit(party.origin) for party in (trust_root.approval, trust_root.login)]
    if len({part.scheme for part in parts}) != 1:
        raise ConfigError("one origin with TLS and one without")
    return sorted({part.port or PORTS[part.scheme] for part in parts})


def _server(config: dict[str, Any], trust_root: TrustRoot) -> uvicorn.Config:
    files = (config["certificate"], config["certificate_key"])
    secure = trust_root.approval.origin.startswith("https:")
    if secure != all(files) or (not secure and any(files)):
        raise ConfigError("a certificate and its key belong to an https origin, and only to one")
    made = configured(
        app.build(Approver(trust_root, Path(config["service"]), _clock, _vendors(config, trust_root))),
        connections_max=CONNECTIONS_MAX,
        grace_s=GRACE_S,
        http="h11",
        ssl_certfile=files[0],
        ssl_keyfile=files[1],
    )
    made.load()
    if made.ssl is not None:
        made.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def _vendors(config: dict[str, Any], trust_root: TrustRoot) -> Callable[[datetime], Metadata] | None:
    """Return what reads the vendors' metadata, each time anew: a next edition needs no restart."""
    files = (config["metadata"], config["metadata_root"])
    if not any(files) and trust_root.profile == "demo":
        return None
    if not all(files):
        raise ConfigError(
            "metadata and metadata_root: the vendors' file and its root, both or in a demo none"
        )
    blob, root = (Path(each) for each in files)

    def read(now: datetime) -> Metadata:
        return Metadata.read(blob.read_bytes(), root=root.read_bytes(), now=now)

    return read


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
