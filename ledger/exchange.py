"""One HTTP request to a stranger: whatever he does, it ends at the deadline and within so many bytes.

Sockets are made by the caller, who knows what an address means (`target` and `connected` are for HTTP's own);
nothing here follows a redirection, asks a proxy, keeps a connection or believes an answer.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from typing import cast
from urllib.parse import SplitResult

CHUNK = 16 * 1024
PORTS = {"http": 80, "https": 443}
ADDRESS = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the type that it claims to have, the body."""

    status: int
    kind: str
    body: bytes


def exchange(
    connect: Callable[[float], socket.socket], head: list[str], body: bytes, *, limit: int, timeout_s: float
) -> Answer:
    """Send a request and return the answer; raises OSError, HTTPException or ValueError when there is none.

    The head's first line is the request line; how the body is framed is added here.
    """
    # One deadline for all of it: a byte now and then would hold us for ever, in the headers as well.
    deadline = time.monotonic() + timeout_s
    lines = [*head, "Connection: close", f"Content-Length: {len(body)}"]
    with connect(timeout_s) as peer:
        _await(peer, deadline)
        peer.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        heard = _Heard(_heard(peer, deadline, limit))
    response = HTTPResponse(cast("socket.socket", heard), method=head[0].split(" ", maxsplit=1)[0])
    response.begin()
    return Answer(response.status, response.headers.get("Content-Type", ""), response.read())


def target(parts: SplitResult) -> str:
    """Return what to ask for at an `http://` or `https://` address; raises ValueError for any other."""
    asked = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("not http://HOST/PATH or https://HOST/PATH")
    # A space or a line's end in a configured address would write the rest of the request.
    if not ADDRESS.fullmatch(asked + parts.netloc) or parts.port == 0:
        raise ValueError("not an address of printable ASCII")
    return asked


def connected(parts: SplitResult, timeout_s: float) -> socket.socket:
    """Return a connection to the host of such an address, through TLS where it says so."""
    peer = socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), timeout_s)
    if parts.scheme == "http":
        return peer
    try:
        return ssl.create_default_context().wrap_socket(peer, server_hostname=parts.hostname)
    except BaseException:
        peer.close()
        raise


def _heard(peer: socket.socket, deadline: float, limit: int) -> bytes:
    heard = bytearray()
    while chunk := peer.recv(CHUNK):
        heard += chunk
        if len(heard) > limit:
            raise ValueError(f"more than {limit} bytes")
        _await(peer, deadline)
    return bytes(heard)


def _await(peer: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    peer.settimeout(left)


class _Heard:
    """What a peer said, in the one shape that HTTPResponse reads from."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _: str) -> BytesIO:
        """Return it as a file."""
        return BytesIO(self._raw)
