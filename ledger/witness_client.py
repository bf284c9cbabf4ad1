"""Asking a witness: what comes back is a line or a size, strictly read and never believed by itself.

Addresses are `unix:PATH` and `http://127.0.0.1:PORT`. A witness that is slow, lies or talks too much costs
`timeout_s` and nothing else, whatever part of its answer it is slow with. Whether its line is a cosignature
is for `ledger.checkpoint` to say.
"""

import base64
import re
import socket
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any, cast
from urllib.parse import urlsplit

from ledger.checkpoint import CheckpointError, Signature
from ledger.encoding import EncodingError, parse
from ledger.witness import (
    ConflictError,
    EquivocationError,
    NotConsistentError,
    UnknownLogError,
    UnsignedError,
    WitnessError,
)

ANSWER_MAX = 256 * 1024  # bytes; a status with its note is below 16 KiB
CHUNK = 16 * 1024
HTTP_PORT = 80
SIZE = re.compile(rb"(0|[1-9][0-9]{0,15})\n")
STATUS_FIELDS = {
    "v": int,
    "origin": str,
    "name": str,
    "size": int,
    "root": str,
    "chain": str,
    "note": str,
    "equivocations": int,
}
ERRORS: dict[int, type[WitnessError]] = {
    HTTPStatus.BAD_REQUEST: WitnessError,
    HTTPStatus.FORBIDDEN: UnsignedError,
    HTTPStatus.NOT_FOUND: UnknownLogError,
    HTTPStatus.UNPROCESSABLE_ENTITY: NotConsistentError,
}


class UnreachableError(Exception):
    """The witness did not answer in time, or not in the protocol's form."""


def ask(address: str, note: str, *, old_size: int, proof: Sequence[bytes], timeout_s: float) -> str:
    """Return the witness's signature line for a note, unverified; raise WitnessError for its no."""
    lines = [f"old {old_size}", *(base64.b64encode(node).decode() for node in proof)]
    body = ("\n".join(lines) + "\n\n" + note).encode()
    status, answer = _exchange(address, "POST", "/add-checkpoint", body, timeout_s)
    if status == HTTPStatus.OK:
        return _line(answer)
    if status == HTTPStatus.CONFLICT:
        size = SIZE.fullmatch(answer)
        if size is None:
            raise UnreachableError("a conflict without a size")
        # Who remembers the very size that we come from, and still refuses, remembers another state of it.
        if int(size[1]) == old_size:
            raise EquivocationError(old_size)
        raise ConflictError(int(size[1]))
    if status not in ERRORS:
        raise UnreachableError(f"HTTP {status}: {printable(answer)}")
    raise ERRORS[status](printable(answer))


def status(address: str, *, timeout_s: float) -> dict[str, Any]:
    """Return what the witness says of itself, unverified."""
    code, answer = _exchange(address, "GET", "/status", b"", timeout_s)
    try:
        value = parse(answer, limit=ANSWER_MAX)
    except EncodingError as error:
        raise UnreachableError(f"status: {error}") from None
    if code != HTTPStatus.OK or type(value) is not dict:
        raise UnreachableError(f"status: HTTP {code}")
    if {name: type(field) for name, field in value.items()} != STATUS_FIELDS or value["v"] != 1:
        raise UnreachableError("not a witness's status")
    return value


def printable(answer: bytes) -> str:
    """Return the beginning of an answer as text that steers no terminal."""
    return ascii(answer[:200].decode(errors="replace"))[1:-1]


def _exchange(address: str, method: str, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    # One deadline for all of it: a byte now and then would hold us for ever, in the headers as well.
    deadline = time.monotonic() + timeout_s
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: witness",
        "Connection: close",
        f"Content-Length: {len(body)}",
    )
    head = "\r\n".join(lines) + "\r\n\r\n"
    try:
        with _connected(address, timeout_s) as peer:
            _await(peer, deadline)
            peer.sendall(head.encode() + body)
            response = HTTPResponse(cast("socket.socket", _Heard(_heard(peer, deadline))), method=method)
        response.begin()
        return response.status, response.read()
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{address!r:.200}: {printable(str(error).encode())}") from None


def _heard(peer: socket.socket, deadline: float) -> bytes:
    heard = bytearray()
    while chunk := peer.recv(CHUNK):
        heard += chunk
        if len(heard) > ANSWER_MAX:
            raise ValueError(f"more than {ANSWER_MAX} bytes")
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


def _connected(address: str, timeout_s: float) -> socket.socket:
    if address.startswith("unix:"):
        return _connected_unix(address.removeprefix("unix:"), timeout_s)
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("neither unix:PATH nor http://HOST:PORT")
    return socket.create_connection((parts.hostname, parts.port or HTTP_PORT), timeout_s)


def _connected_unix(path: str, timeout_s: float) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.settimeout(timeout_s)
        peer.connect(path)
    except BaseException:
        peer.close()
        raise
    return peer


def _line(answer: bytes) -> str:
    try:
        line = answer.decode()
        if not line.endswith("\n") or Signature.parse(line[:-1]).line != line:
            raise UnreachableError("an answer that is not a signature line")
    except (UnicodeDecodeError, CheckpointError):
        raise UnreachableError("an answer that is not a signature line") from None
    return line
