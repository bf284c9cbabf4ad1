"""The TLS listener of service accounts: a port, a certificate of ours, and whose certificates it takes.

Off unless the configuration names all of it. TLS 1.3 and a client certificate that the authorities in
`client_ca` have issued, or there is no connection; which account that is, `accounts` asks the policy set.
No session is resumed: each connection shows its certificate, and whether it still counts is looked at then.
It runs beside the people's socket in a thread with a loop of its own, so that a hostile network cannot
take that one's turn; and a handshake that does not end costs nobody more than a few seconds. Of the
process's file descriptors, which people and the ledger need as well, it takes a bounded number: what
comes above that is closed before a byte of it is read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from workbench.process.config import ConfigError
from workbench.process.http import configured
from workbench.service.accounts import CERTIFICATE

FIELDS: Final = {
    "address": str,
    "certificate": str,
    "certificate_key": str,
    "client_ca": str,
    "port": int,
}
CONNECTIONS_MAX: Final = 64
OPEN_MAX: Final = 4 * CONNECTIONS_MAX
"""Also those whose handshake is not over: a quarter of what a process usually may open."""
BACKLOG: Final = 64
HANDSHAKE_S: Final = 5.0
IDLE_S: Final = 5.0
"""A connection that asks nothing for so long, or does not finish asking, makes room for others."""
GRACE_S: Final = 5


class CertifiedProtocol(H11Protocol):
    """HTTP that tells the application which certificate the other end has shown."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
        """Take the certificate from the handshake, which is over before the first byte is read."""
        super().connection_made(transport)
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        inner = self.app

        async def with_certificate(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
            scope[CERTIFICATE] = shown
            await inner(scope, receive, send)

        self.app = with_certificate
        self.loop.call_later(IDLE_S, self._look, self.cycle)

    def _look(self, before: object) -> None:
        """Close the connection where no request has begun since the last look, and none is being answered."""
        if self.transport.is_closing():
            return
        if self.cycle is before and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
            return
        self.loop.call_later(IDLE_S, self._look, self.cycle)


class _Bound(socket.socket):
    """A listening socket that hangs up where too many of its connections are open."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(fileno=bound.detach())
        self._taken: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection, or let it go."""
        taken, address = super().accept()
        # those that were closed are gone, also where somebody still holds the object
        self._taken = WeakSet(each for each in self._taken if each.fileno() >= 0)
        if len(self._taken) >= OPEN_MAX:
            taken.close()
            raise ConnectionAbortedError(f"{OPEN_MAX} connections are open")
        self._taken.add(taken)
        return taken, address


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose servers give a handshake less time than asyncio's minute."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:  # noqa: ANN401 - asyncio's
        """Listen."""
        return await super().create_server(*args, ssl_handshake_timeout=HANDSHAKE_S, **options)


@dataclass(slots=True)
class Listener:
    """A bound port that answers from `start` to `stop`."""

    secured: ssl.SSLContext
    bound: socket.socket
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = field(default=None)

    def start(self, app: Starlette) -> None:
        """Answer, in a thread of its own."""
        made = configured(
            app, connections_max=CONNECTIONS_MAX, grace_s=GRACE_S, http=CertifiedProtocol, backlog=BACKLOG
        )
        made.load()
        made.ssl = self.secured
        self._server = uvicorn.Server(made)
        self._thread = threading.Thread(target=self._run, args=(self._server,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what was taken, and no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(2 * GRACE_S)

    def _run(self, server: uvicorn.Server) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(server.serve(sockets=[self.bound]))


def opened(config: object) -> Listener | None:
    """Return the listener of a configuration's `accounts`, bound and silent; None where it is empty.

    Raises:
        ConfigError: where a field is missing, unknown or of another type, or others may read the key.
        OSError: where the port is taken or a file cannot be used (ssl.SSLError is one).

    """
    if config == {}:
        return None
    if not isinstance(config, Mapping) or {name: type(value) for name, value in config.items()} != FIELDS:
        raise ConfigError(f"accounts: {{}} (no listener), or exactly {', '.join(FIELDS)}")
    secured = _secured(
        Path(config["certificate"]), Path(config["certificate_key"]), Path(config["client_ca"])
    )
    address = config["address"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Listener(secured, _Bound(socket.create_server((address, config["port"]), family=family)))


def _secured(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{key}: others may read the key; chmod 400 it")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.num_tickets = 0
    # an encrypted key is an error, not a question to whoever sits at the terminal
    made.load_cert_chain(certificate, key, password="")
    made.load_verify_locations(cafile=client_ca)
    return made
