"""The witness over HTTP: the C2SP tlog-witness protocol on a unix socket or a loopback port.

    POST /add-checkpoint   "old <size>", proof in base64 lines, an empty line, the note
                           200 the cosignature line
                           400 malformed · 403 no known signature · 404 another log · 409 another size: mine
                           is the body · 409 two states of one size (kept as evidence) · 422 the proof fails
                           no answer: it could not be persisted or signed, and standard error says why
    GET  /checkpoint       the newest note that was cosigned (404 before the first)
    GET  /status           who, size, root and chain, number of equivocations, in JSON
    GET  /equivocation     the evidence, in JSON

Everybody who reaches the socket may ask: what is asked is verified, and what is answered is public. So there
are limits on everything: bytes, seconds, connections. One request for each connection; a connection too many
is closed.
"""

import base64
import binascii
import io
import os
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

from ledger.encoding import canonical
from ledger.merkle import HASH_SIZE
from ledger.witness import PROOF_MAX, ConflictError, MemoryLostError, Witness, WitnessError, WrongKeyError

HEAD_MAX = 16 * 1024  # bytes of a request line and its headers, and of what is read ahead
BODY_MAX = 64 * 1024  # bytes; a note and 63 hashes are below 16 KiB
EVIDENCE_MAX = 64 * 1024 * 1024  # bytes of an answer
SECONDS = 10.0  # for a whole request
PROBE_SECONDS = 1.0
CONNECTIONS_MAX = 16
PORT_MAX = 65_535
WORDS_MAX = 500  # characters of one line on standard error
SIZE_TYPE, TEXT, JSON_TYPE = "text/x.tlog.size", "text/plain; charset=utf-8", "application/json"
OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")
STATUS = {
    "malformed": HTTPStatus.BAD_REQUEST,
    "unsigned": HTTPStatus.FORBIDDEN,
    "unknown_log": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "equivocation": HTTPStatus.CONFLICT,
    "proof": HTTPStatus.UNPROCESSABLE_ENTITY,
    "memory": HTTPStatus.INTERNAL_SERVER_ERROR,
    "key": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class AddressError(ValueError):
    """The witness cannot listen there."""


def parse_request(body: bytes) -> tuple[int, list[bytes], str]:
    """Read (old size, proof, note) from an add-checkpoint request, refusing other spellings of it."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise WitnessError("the request is not UTF-8") from None
    head, gap, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    old = OLD.fullmatch(first)
    if not gap or old is None or len(lines) > PROOF_MAX:
        raise WitnessError("a request is an old size, at most 63 hashes, an empty line and a note")
    return int(old[1]), [_hash(line) for line in lines], note


def serve(witness: Witness, *, path: Path | None = None, port: tuple[str, int] | None = None) -> "Server":
    """Return a server that listens on a unix socket, or on a loopback address; `serve_forever` runs it."""
    if (path is None) == (port is None):
        raise AddressError("a socket's path or a loopback port, one of the two")
    if port is not None:
        return _tcp_server(port, witness)
    return _unix_server(Path(str(path)), witness)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Threads, of which there are never more than a few."""

    daemon_threads = False
    block_on_close = True  # a request that was taken is answered before the process ends
    allow_reuse_address = True
    request_queue_size = 4 * CONNECTIONS_MAX  # a unix socket without room refuses, and does not let wait

    def __init__(self, address: Any, witness: Witness) -> None:  # noqa: ANN401 - a path or a port
        self.witness = witness
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    @property
    def address(self) -> str:
        """Where it listens, as a client says it."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        """Take a connection if there is room, else close it."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Answer one connection."""
        # Not a time for each read: a byte now and then would hold the connection for ever.
        end = threading.Timer(SECONDS, _hang_up, [request])
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Tell the operator why nothing was cosigned; a peer that hangs up is no event."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            _tell(error)


class _TcpServer(Server):
    address_family = socket.AF_INET


class _UnixServer(Server):
    address_family = socket.AF_UNIX

    @property
    def address(self) -> str:
        """Where it listens, as a client says it."""
        return f"unix:{self.server_address!s}"

    def server_bind(self) -> None:
        """Bind, without the name lookup that HTTP servers make for ports."""
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[Any, Any]:
        """Accept; a unix peer has no address."""
        request, _ = self.socket.accept()
        return request, ("unix", 0)


def _tcp_server(port: tuple[str, int], witness: Witness) -> Server:
    try:
        loopback = IPv4Address(port[0]).is_loopback
    except AddressValueError:
        loopback = False  # a name: what it leads to is somebody else's word
    if not loopback or not 0 <= port[1] <= PORT_MAX:
        raise AddressError(f"{port[0]}:{port[1]} is not 127.0.0.1 and a port: put a TLS proxy in front")
    return _TcpServer(port, witness)


def _unix_server(path: Path, witness: Witness) -> Server:
    # A sticky bit would not help: while this witness is down anybody could take the name.
    if path.parent.stat().st_mode & 0o002:
        raise AddressError(f"{path.parent}: anybody could put another socket in its place")
    if path.exists():
        _remove_dead(path)
    before = os.umask(0o117)
    try:
        return _UnixServer(str(path), witness)
    finally:
        os.umask(before)


def _remove_dead(path: Path) -> None:
    if not path.is_socket():
        raise AddressError(f"{path}: something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)  # a live one may have no room for another connection
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise AddressError(f"{path}: a process already listens there")


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Allowance(io.RawIOBase):
    """What a peer sends, up to the bytes that one request may have."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._left = connection, HEAD_MAX + BODY_MAX

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        """Read what fits into the buffer and into the allowance."""
        if not self._left:
            raise ConnectionAbortedError("the request is too long")
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.0"  # one request, one connection

    def setup(self) -> None:
        """Read no more than one request may have: the library allows a hundred headers of 64 KiB."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Allowance(self.connection))

    def do_POST(self) -> None:
        """Cosign, or say why not."""
        self._answer({"/add-checkpoint": self._add})

    def do_GET(self) -> None:
        """Say what is remembered."""
        self._answer(
            {"/checkpoint": self._checkpoint, "/status": self._status, "/equivocation": self._evidence}
        )

    def log_message(self, *_: object) -> None:
        """Keep quiet: whoever asks could fill a disk."""

    def _answer(self, routes: dict[str, Callable[[], tuple[int, str, bytes]]]) -> None:
        route = routes.get(self.path)
        try:
            status, kind, body = route() if route else (HTTPStatus.NOT_FOUND, TEXT, b"no such path\n")
        except ConflictError as error:
            status, kind, body = STATUS[error.code], SIZE_TYPE, f"{error.size}\n".encode()
        except (MemoryLostError, WrongKeyError) as error:
            _tell(error)  # the operator's to mend; the peer is told no paths
            status, kind, body = STATUS[error.code], TEXT, f"{error.code}\n".encode()
        except WitnessError as error:
            status, kind, body = STATUS[error.code], TEXT, f"{error}\n".encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _add(self) -> tuple[int, str, bytes]:
        old_size, proof, note = parse_request(self._body())
        return HTTPStatus.OK, TEXT, self.server.witness.add(note, old_size=old_size, proof=proof).encode()

    def _checkpoint(self) -> tuple[int, str, bytes]:
        note = self.server.witness.cosigned().encode()
        return (HTTPStatus.OK if note else HTTPStatus.NOT_FOUND), TEXT, note

    def _status(self) -> tuple[int, str, bytes]:
        return HTTPStatus.OK, JSON_TYPE, canonical(self.server.witness.status(), limit=EVIDENCE_MAX)

    def _evidence(self) -> tuple[int, str, bytes]:
        return HTTPStatus.OK, JSON_TYPE, canonical(self.server.witness.evidence(), limit=EVIDENCE_MAX)

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        length = lengths[0] if len(lengths) == 1 else ""
        if not re.fullmatch(r"0|[1-9][0-9]{0,6}", length) or int(length) > BODY_MAX:
            raise WitnessError(f"a body of at most {BODY_MAX} bytes with its length")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise WitnessError("the body ends too early")
        return body


def _tell(error: BaseException | None) -> None:
    sys.stderr.write(f"witness: {type(error).__name__}: {error}"[:WORDS_MAX] + "\n")
    sys.stderr.flush()


def _hash(line: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise WitnessError(f"{line!r:.80} is not base64") from None
    if len(raw) != HASH_SIZE or base64.b64encode(raw).decode() != line:
        raise WitnessError(f"{line!r:.80} is not {HASH_SIZE} bytes in canonical base64")
    return raw
