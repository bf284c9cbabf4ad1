"""One request over the service's socket and what its answer says: a value, a problem, or nobody there.

Nothing of an answer is believed beyond that it is JSON of a bounded size; who asked says what it must be.
"""

from __future__ import annotations

import socket
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ledger.encoding import parse
from workbench.rules.documents import DOCUMENT_MAX

ANSWER_MAX = 4 * DOCUMENT_MAX
TIMEOUT_S = 180.0


class ServiceUnavailableError(Exception):
    """Nobody answers on the service's socket."""


class ProblemError(Exception):
    """The service refused: its code, the facts, the field, and the entry that records it."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(
            f"{problem['code']}: {problem['detail']}" + (f" at {problem['path']}" if problem["path"] else "")
        )
        self.code: str = problem["code"]
        self.detail: str = problem["detail"]
        self.path: str = problem["path"]
        self.status: int = problem["status"]
        self.entry_seq: int | None = problem["entry_seq"]


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("service", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect, or leave nothing open."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        self.sock = connection


def send(service: Path, method: str, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Ask the service once; return what it says, or raise the problem that it is."""
    with closing(UnixConnection(service)) as http:
        try:
            http.request(method, path, body, headers)
            response = http.getresponse()
            content = response.read(ANSWER_MAX + 1)
        except (OSError, HTTPException) as error:
            raise ServiceUnavailableError(f"{service.name}: {error}") from error
    return answered(response.status, content)


def answered(status: int, content: bytes) -> dict[str, Any]:
    """Return what an answer says, or raise the problem that it is."""
    if len(content) > ANSWER_MAX:
        raise ServiceUnavailableError(f"an answer of over {ANSWER_MAX} bytes")
    try:
        value = parse(content, limit=ANSWER_MAX)
    except ValueError as error:
        raise ServiceUnavailableError(f"HTTP {status}: {error}") from error
    if not isinstance(value, dict):
        raise ServiceUnavailableError(f"HTTP {status}: no object")
    if status >= HTTPStatus.BAD_REQUEST:
        try:
            problem = ProblemError(value)
        except KeyError as error:
            raise ServiceUnavailableError(f"HTTP {status}: no problem document") from error
        raise problem
    return value


def status(service: Path) -> dict[str, Any]:
    """Ask whether the service is up."""
    return send(service, "GET", "/v1/status", b"", {})
