"""The approval page over HTTP: one origin, one page, nothing to frame, nothing from elsewhere.

(1) The Host header is our origin's: a name that was re-bound to this address is another site.
(2) A page is a document of its own: nothing is answered into a frame, an image or a script tag.
(3) What acts is JSON, sent by our own page: Origin and Sec-Fetch-Site say so.
(4) The browser is told to run our two files and nothing else, and to send nothing elsewhere.
What is refused here is reported to the service, which records it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from fido2.utils import websafe_encode
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from workbench.approver.core import Approver, Look
from workbench.client import IntentView, ProblemError, ServiceUnavailableError
from workbench.rules import shown
from workbench.rules.assertion import Assertion
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Name, Prose

BODY_MAX = 32 * 1024
STATIC = Path(__file__).parent / "static"
FILES = {"approve.css": "text/css", "approve.js": "text/javascript"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STATUS = {
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
PAGES = Environment(
    loader=PackageLoader("workbench.approver"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
"""A field that is missing is an error, not an empty cell."""
CHUNK = 4


def chunked(text: str) -> list[str]:
    """Return hexadecimal in pieces that an eye can follow: "0x", then four digits each."""
    prefix = "0x" if text.startswith("0x") else ""
    digits = text.removeprefix("0x")
    pieces = [digits[place : place + CHUNK] for place in range(0, len(digits), CHUNK)]
    return [prefix, *pieces] if prefix else pieces


PAGES.filters["chunked"] = chunked

Endpoint = Callable[[Request], Awaitable[Response]]


class Said(Document):
    """What the person is about to say."""

    verb: Literal["approve", "reject", "abstain"]
    role: Name
    reason: Prose


class Pressed(Document):
    """The browser's answer."""

    assertion: Assertion


@dataclass(frozen=True, slots=True)
class Site:
    """The routes over one approver."""

    approver: Approver

    def build(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/status", self._guarded(self.status)),
                Route("/static/{name}", self._guarded(self.static)),
                Route("/review/{ticket}", self._guarded(self.review, page=True)),
                Route("/looks/{look}/decision", self._guarded(self.decision), methods=["POST"]),
                Route("/looks/{look}/assertion", self._guarded(self.assertion), methods=["POST"]),
                Route("/{rest:path}", self._guarded(_nothing), methods=["GET", "POST"]),
            ]
        )

    async def status(self, _: Request) -> Response:
        """Say that the page is there, and under which trust root."""
        return _json({"v": 1, "trust_root": self.approver.trust_root.digest})

    async def static(self, request: Request) -> Response:
        """Return one of the page's two files."""
        name = request.path_params["name"]
        if name not in FILES:
            raise RefusedError(Refusal.NOT_FOUND, "no such file")
        return FileResponse(STATIC / name, media_type=FILES[name])

    async def review(self, request: Request) -> Response:
        """Show what a ticket asks."""
        look = await run_in_threadpool(self.approver.look, request.path_params["ticket"])
        return Response(self.page(look), media_type="text/html")

    async def decision(self, request: Request) -> Response:
        """Make the decision that will be signed, and say what the browser has to ask the authenticator."""
        said = Said.load(await _body(request))
        look, made = await run_in_threadpool(
            self.approver.draft,
            request.path_params["look"],
            verb=said.verb,
            role=said.role,
            reason=said.reason,
        )
        options = {
            "challenge": websafe_encode(made.challenge),
            "rpId": self.approver.trust_root.approval.id,
            "userVerification": "required",
            "allowCredentials": [{"type": "public-key", "id": each} for each in look.credentials],
        }
        return _json({"publicKey": options, "challenge": made.challenge.hex()})

    async def assertion(self, request: Request) -> Response:
        """Bring the key press to the service."""
        pressed = Pressed.load(await _body(request))
        view = await run_in_threadpool(self.approver.answer, request.path_params["look"], pressed.assertion)
        return _json(_told(view))

    def page(self, look: Look) -> str:
        """Return a look as HTML."""
        asked = look.asked
        return PAGES.get_template("review.html").render(
            look=look.name,
            title=shown.title(asked),
            asked=asked,
            sections=shown.sections(asked, now=self.approver.clock()),
            rp=self.approver.trust_root.approval,
        )

    def _guarded(self, endpoint: Callable[..., Awaitable[Response]], *, page: bool = False) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                _check(request, self.approver.trust_root.approval.origin, page=page)
                response = await endpoint(request)
            except RefusedError as refused:
                # no more of the path: what follows opens a page
                about = f"{request.method} /{request.url.path.split('/')[1][:40]}"
                await run_in_threadpool(self.approver.report, refused, about=about)
                response = _refusal(refused.code, refused.detail, page=page)
            except ProblemError as problem:
                response = _refusal(Refusal(problem.code), problem.detail, page=page)
            except ServiceUnavailableError as error:
                response = _refusal(Refusal.UNAVAILABLE, str(error), page=page)
            response.headers.update(HEADERS)
            return response

        return guarded


async def _nothing(_: Request) -> Response:
    # not worth an entry: browsers ask for icons
    return _refusal(Refusal.NOT_FOUND, "no such page", page=True)


def _check(request: Request, origin: str, *, page: bool) -> None:
    headers = request.headers
    # (1)
    if headers.getlist("host") != [origin.partition("://")[2]]:
        raise RefusedError(Refusal.ORIGIN, f"Host {headers.get('host', '')[:100]!r}")
    # (2) a browser always says what it wants a document for
    if page and headers.get("sec-fetch-dest") != "document":
        raise RefusedError(Refusal.ORIGIN, f"asked for as {headers.get('sec-fetch-dest', 'nothing')[:40]!r}")
    # (3)
    if request.method == "POST":
        told = (headers.get("origin"), headers.get("sec-fetch-site"), headers.get("content-type"))
        if told != (origin, "same-origin", "application/json"):
            raise RefusedError(Refusal.ORIGIN, f"sent by {str(told)[:200]}")


async def _body(request: Request) -> Any:  # noqa: ANN401 - the JSON edge
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX:
            raise RefusedError(Refusal.TOO_LARGE, f"a body of over {BODY_MAX} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(Refusal.MALFORMED, f"the body is not JSON: {error}") from error


def _told(view: IntentView) -> dict[str, Any]:
    return {"state": view.state, "needs": view.needs, "entry_seq": view.entry_seq}


def _json(value: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(json.dumps(value), status_code=status, media_type="application/json")


def _refusal(code: Refusal, detail: str, *, page: bool) -> Response:
    status = STATUS.get(code, HTTPStatus.FORBIDDEN)
    if code is Refusal.ORIGIN:
        # another site gets nothing of ours, not even a style sheet
        return Response(f"{code.value}: {detail}\n", status_code=status, media_type="text/plain")
    if not page:
        return _json({"code": code.value, "detail": detail}, status)
    markup = PAGES.get_template("refused.html").render(code=code.value.replace("_", " "), detail=detail)
    return Response(markup, status_code=status, media_type="text/html")
