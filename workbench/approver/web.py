"""What the approver's pages have in common: one origin each, nothing to frame, nothing from elsewhere.

(1) The Host header is our origin's: a name that was re-bound to this address is another site.
(2) A page is a document of its own: nothing is answered into a frame, an image or a script tag.
(3) What acts is JSON, sent by our own page: Origin and Sec-Fetch-Site say so.
(4) The browser is told to run our own files and nothing else, and to send nothing elsewhere.
What is refused here is reported to the service, which records it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fido2.utils import websafe_encode
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.approver.core import Approver
from workbench.client import ProblemError, ServiceUnavailableError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.trust import RelyingParty

BODY_MAX: Final = 32 * 1024
CHUNK: Final = 4
STATIC: Final = Path(__file__).parent / "static"
KINDS: Final = {".css": "text/css", ".js": "text/javascript"}
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "publickey-credentials-create=(self), publickey-credentials-get=(self), "
        "camera=(), geolocation=(), microphone=()"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STATUS: Final = {
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
PAGES: Final = Environment(
    loader=PackageLoader("workbench.approver"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
"""A field that is missing is an error, not an empty cell."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Site:
    """One origin and what it answers."""

    party: RelyingParty
    approver: Approver

    def build(self, pages: Mapping[str, Endpoint], acts: Mapping[str, Endpoint]) -> Starlette:
        """Return the application: pages are looked at, acts are posted, both by path."""
        files = {path.name for path in STATIC.iterdir()}
        for name in PAGES.list_templates():
            PAGES.get_template(name)  # compiled before anybody waits for it

        async def status(_: Request) -> Response:
            return answer({"v": 1, "trust_root": self.approver.trust_root.digest})

        async def static(request: Request) -> Response:
            name = request.path_params["name"]
            if name not in files:
                return await nothing(request)
            return FileResponse(STATIC / name, media_type=KINDS[Path(name).suffix])

        async def nothing(_: Request) -> Response:
            # not worth an entry: browsers ask for icons
            return refusal(Refusal.NOT_FOUND, "no such page", page=True)

        return Starlette(
            routes=[
                Route("/status", self._guarded(status)),
                Route("/static/{name}", self._guarded(static)),
                *(Route(path, self._guarded(each, page=True)) for path, each in pages.items()),
                *(Route(path, self._guarded(each), methods=["POST"]) for path, each in acts.items()),
                Route("/{rest:path}", self._guarded(nothing), methods=["GET", "POST"]),
            ]
        )

    def options(self, challenge: bytes, credentials: list[str]) -> dict[str, Any]:
        """Return what the browser has to ask the authenticator."""
        return {
            "challenge": websafe_encode(challenge),
            "rpId": self.party.id,
            "userVerification": "required",
            "allowCredentials": [{"type": "public-key", "id": each} for each in credentials],
        }

    def _guarded(self, endpoint: Endpoint, *, page: bool = False) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                _check(request, self.party.origin, page=page)
                response = await endpoint(request)
            except RefusedError as refused:
                # no more of the path: what follows opens a page
                about = f"{request.method} /{request.url.path.split('/')[1][:40]}"
                await run_in_threadpool(self.approver.report, refused, about=about)
                response = refusal(refused.code, refused.detail, page=page)
            except ProblemError as problem:
                known = {code.value: code for code in Refusal}.get(str(problem.code), Refusal.UNAVAILABLE)
                response = refusal(known, str(problem.detail), page=page)
            except ServiceUnavailableError as error:
                response = refusal(Refusal.UNAVAILABLE, str(error), page=page)
            response.headers.update(HEADERS)
            return response

        return guarded


@dataclass(frozen=True, slots=True)
class Sites:
    """Several origins behind one door; who names none of them is refused by the first."""

    sites: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the site whose host it names."""
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", []) if name == b"host"]
        named = self.sites.get(hosts[0]) if len(hosts) == 1 else None
        await (named or next(iter(self.sites.values())))(scope, receive, send)


def netloc(origin: str) -> str:
    """Return host and port of an origin, as a Host header has them."""
    return origin.partition("://")[2]


def answer(value: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return a value as JSON."""
    return Response(json.dumps(value), status_code=status, media_type="application/json")


def rendered(template: str, **values: Any) -> Response:  # noqa: ANN401 - a template's values
    """Return a page."""
    return Response(PAGES.get_template(template).render(**values), media_type="text/html")


def refusal(code: Refusal, detail: str, *, page: bool) -> Response:
    """Return what is told of a refusal, as a page or as JSON."""
    status = STATUS.get(code, HTTPStatus.FORBIDDEN)
    if code is Refusal.ORIGIN:
        # another site gets nothing of ours, not even a style sheet
        return Response(f"{code.value}: {detail}\n", status_code=status, media_type="text/plain")
    if not page:
        return answer({"code": code.value, "detail": detail}, status)
    response = rendered("refused.html", code=code.value.replace("_", " "), detail=detail)
    response.status_code = status
    return response


async def body(request: Request) -> Any:  # noqa: ANN401 - the JSON edge
    """Return the JSON that a page sent, or refuse."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX:
            raise RefusedError(Refusal.TOO_LARGE, f"a body of over {BODY_MAX} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(Refusal.MALFORMED, f"the body is not JSON: {error}") from error


def chunked(text: str) -> list[str]:
    """Return hexadecimal in pieces that an eye can follow: "0x", then four digits each."""
    prefix = "0x" if text.startswith("0x") else ""
    digits = text.removeprefix("0x")
    pieces = [digits[place : place + CHUNK] for place in range(0, len(digits), CHUNK)]
    return [prefix, *pieces] if prefix else pieces


PAGES.filters["chunked"] = chunked


def _check(request: Request, origin: str, *, page: bool) -> None:
    headers = request.headers
    # (1)
    if headers.getlist("host") != [netloc(origin)]:
        raise RefusedError(Refusal.ORIGIN, f"Host {headers.get('host', '')[:100]!r}")
    # (2) a browser always says what it wants a document for
    if page and headers.get("sec-fetch-dest") != "document":
        raise RefusedError(Refusal.ORIGIN, f"asked for as {headers.get('sec-fetch-dest', 'nothing')[:40]!r}")
    # (3)
    if request.method == "POST":
        told = (headers.get("origin"), headers.get("sec-fetch-site"), headers.get("content-type"))
        if told != (origin, "same-origin", "application/json"):
            raise RefusedError(Refusal.ORIGIN, f"sent by {str(told)[:200]}")
