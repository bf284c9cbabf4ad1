"""Asking a witness: what comes back is a line or a size, strictly read and never believed by itself.

Addresses are `unix:PATH` and `http://127.0.0.1:PORT`. A witness that is slow, lies or talks too much costs
`timeout_s` and nothing else, whatever part of its answer it is slow with. Whether its line is a cosignature
is for `ledger.checkpoint` to say.
"""

import base64
import re
import socket
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from ledger.checkpoint import CheckpointError, Signature
from ledger.encoding import EncodingError, parse
from ledger.exchange import exchange
from ledger.witness import (
    ConflictError,
    EquivocationError,
    NotConsistentError,
    UnknownLogError,
    UnsignedError,
    WitnessError,
)

ANSWER_MAX = 256 * 1024  # bytes; a status with its note is below 16 KiB
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
    head = [f"{method} {path} HTTP/1.1", "Host: witness"]
    try:
        answer = exchange(partial(_connected, address), head, body, limit=ANSWER_MAX, timeout_s=timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{address!r:.200}: {printable(str(error).encode())}") from None
    return answer.status, answer.body


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
