"""One HTTP request to a stranger: whatever he does, it ends at the deadline and within so many bytes.

Sockets are made by the caller, who knows what an address means; nothing here follows a redirection, keeps a
connection or believes an answer.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from typing import cast

CHUNK = 16 * 1024


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
