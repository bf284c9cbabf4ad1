"""What the service's HTTP interfaces share: bodies with an end, refusals as RFC 9457 problems, strangers.

Who asks and what he may is each interface's own: `app` is the unix socket of people, `accounts` the
TLS listener of programs.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ledger.encoding import canonical
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX

BODY_S = 10.0
ANSWER_MAX = 4 * DOCUMENT_MAX
STRANGERS_MAX = 120
STRANGERS_WINDOW = timedelta(minutes=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""Whoever reaches a socket can be refused for ever; two entries a second bound what that costs."""
STATUS = {
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.STATE: HTTPStatus.CONFLICT,
    Refusal.ID_REUSED: HTTPStatus.CONFLICT,
    Refusal.SESSION_UNKNOWN: HTTPStatus.UNAUTHORIZED,
    Refusal.SESSION_ENDED: HTTPStatus.UNAUTHORIZED,
    Refusal.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.CHANGE_VETOED: HTTPStatus.CONFLICT,
    Refusal.CHANGE_VOID: HTTPStatus.CONFLICT,
}


@dataclass(slots=True)
class Strangers:
    """How many refusals of callers whom nobody knows are recorded: anybody can cause them, without end."""

    since: datetime = LONG_AGO
    recorded: int = 0
    left_out: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, now: datetime) -> int | None:
        """Return how many were left out before this one is recorded, or None when it is left out too."""
        with self._lock:
            if now - self.since >= STRANGERS_WINDOW:
                self.since, self.recorded = now, 0
            if self.recorded >= STRANGERS_MAX:
                self.left_out += 1
                return None
            self.recorded += 1
            left_out, self.left_out = self.left_out, 0
            return left_out


async def body_of(request: Request, *, limit: int) -> bytes:
    """Return a request's body, or refuse one that is too large; raises TimeoutError for one that is slow."""
    return await asyncio.wait_for(_read(request, limit), BODY_S)


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise RefusedError(Refusal.TOO_LARGE, f"a body of over {limit} bytes")
    return bytes(body)


def about(request: Request) -> str:
    """Say what was asked, for the record of a refusal."""
    return f"{request.method} {request.url.path}"[:400]


def answered(value: dict[str, Any]) -> Response:
    """Return a canonical JSON answer."""
    return _json(HTTPStatus.OK, value, "application/json")


def problem(refused: RefusedError, seq: int | None) -> Response:
    """Return a refusal as a problem document; `seq` is the entry that records it."""
    status = STATUS.get(refused.code, HTTPStatus.FORBIDDEN)
    value = {
        "type": f"urn:custody-workbench:refusal:{refused.code.value}",
        "title": refused.code.value.replace("_", " "),
        "status": int(status),
        "detail": refused.detail,
        "code": refused.code.value,
        "path": refused.path,
        "entry_seq": seq,
    }
    return _json(status, value, "application/problem+json")


def _json(status: HTTPStatus, value: dict[str, Any], kind: str) -> Response:
    return Response(canonical(value, limit=ANSWER_MAX), status_code=status, media_type=kind)
