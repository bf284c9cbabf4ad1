"""What service accounts may ask, and nothing else: propose, list their own intents, look at one of their own.

For each request
(1) the account is the one whose certificate the policy set in force names: a set without it, or with
    another certificate, counts from the next request on, also on a connection that is open;
(2) it has not asked too often in the last minute; proposals by its own rate, everything else by ours;
(3) its time is not over;
(4) the body ends, in time and within its limit; then (1) and (3) again, since the set may have changed;
(5) only what it proposed itself is there for it: another's intent is not found, as one that is nowhere.
Whatever path or method is none of the three routes is not found either. Refusals are recorded as
elsewhere: under the account's id, or under the beginning of the certificate's digest where no account has
it, only so many a minute. Going too fast is recorded once a minute, not each time.

An account has no session: TLS says who asks, its signature over each intent is what others believe. The
certificate of the other end, which `listener` has verified, stands in the ASGI scope.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ledger.store import StoreError
from workbench.rules.account import ServiceAccount, connected, verify_in_force
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_json
from workbench.rules.intent import INTENT_MAX, Proposal
from workbench.service.answers import Strangers, about, answered, body_of, problem
from workbench.service.books import Matter
from workbench.service.desk import Desk

CERTIFICATE: Final = "peer_certificate"
"""Where the ASGI scope has the certificate of the other end, in DER."""
BODY_MAX: Final = 2 * INTENT_MAX
"""An intent and a signature; people's requests carry logins and policy sets, a program's do not."""
READS_PER_MINUTE: Final = 120
"""A program that looks twice a second after what it proposed sees everything that people do."""
WINDOW: Final = timedelta(minutes=1)
STRANGER: Final = "certificate:"
NAMED: Final = 16


class Use(StrEnum):
    """What a request counts as."""

    PROPOSAL = "proposals"
    READ = "reads"


@dataclass(slots=True)
class Rates:
    """How often each account has asked in the last minute, and when it was last written down as too fast."""

    _asked: dict[tuple[str, Use], deque[datetime]] = field(default_factory=dict)
    _told: dict[tuple[str, Use], datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, account: ServiceAccount, use: Use, now: datetime) -> None:
        """(2) Count a request, or refuse it; what is refused does not count."""
        most = account.proposals_per_minute if use is Use.PROPOSAL else READS_PER_MINUTE
        with self._lock:
            asked = self._asked.setdefault((account.id, use), deque())
            while asked and now - asked[0] >= WINDOW:
                asked.popleft()
            if len(asked) >= most:
                raise RefusedError(Refusal.RATE, f"{account.id}: {most} {use.value} a minute")
            asked.append(now)

    def tells(self, account: str, use: Use, now: datetime) -> bool:
        """Whether this refusal for going too fast is the first of a window, which is recorded."""
        with self._lock:
            told = self._told.get((account, use))
            if told is not None and now - told < WINDOW:
                return False
            self._told[account, use] = now
            return True


Action: TypeAlias = Callable[[ServiceAccount, str, bytes], dict[str, Any]]
Lost = Callable[[StoreError], NoReturn]


@dataclass(frozen=True, slots=True)
class Door:
    """The three routes over one desk."""

    desk: Desk
    lost: Lost
    rates: Rates = field(default_factory=Rates)
    strangers: Strangers = field(default_factory=Strangers)

    def routes(self) -> list[Route]:
        """Return the routes."""
        intents = "/v1/intents"
        return [
            Route(intents, self._endpoint(self.propose), methods=["POST"]),
            Route(intents, self._endpoint(self.intents), methods=["GET"]),
            Route(intents + "/{digest}", self._endpoint(self.intent), methods=["GET"]),
        ]

    def propose(self, account: ServiceAccount, _: str, body: bytes) -> dict[str, Any]:
        """Propose."""
        proposal = Proposal.sized(read_json(body, limit=BODY_MAX))
        return self.desk.propose_as(account.id, proposal)

    def intents(self, account: ServiceAccount, _: str, __: bytes) -> dict[str, Any]:
        """(5) List the account's own intents with their states, oldest first."""
        own = [
            {"digest": digest, "state": matter.state.value}
            for digest, matter in list(self.desk.lane.books.matters.items())
            if _own(matter, account)
        ]
        return {"intents": own}

    def intent(self, account: ServiceAccount, digest: str, _: bytes) -> dict[str, Any]:
        """(5) Return one of the account's own intents."""
        matter = self.desk.lane.books.matters.get(digest)
        if matter is None or not _own(matter, account):
            raise RefusedError(Refusal.NOT_FOUND, f"no intent {digest}")
        return self.desk.view(digest)

    def nothing(self, _: ServiceAccount, __: str, ___: bytes) -> dict[str, Any]:
        """Refuse whatever else is asked for."""
        raise RefusedError(Refusal.NOT_FOUND, "service accounts propose, and read what they proposed")

    async def elsewhere(self, request: Request, _: Exception) -> Response:
        """Answer a request that no route is for."""
        return await self._served(request, self.nothing)

    def _endpoint(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self._served(request, action)

        return endpoint

    async def _served(self, request: Request, action: Action) -> Response:
        actor = f"{STRANGER}{hashlib.sha256(_certificate(request)).hexdigest()[:NAMED]}"
        try:
            account = self._account(request)
            actor = account.id
            self.rates.spend(account, _use(request), self.desk.lane.clock())  # (2)
            verify_in_force(account, now=self.desk.lane.clock())  # (3)
            body = await body_of(request, limit=BODY_MAX)  # (4)
            return await run_in_threadpool(self._done, request, action, body)
        except RefusedError as refused:
            return await run_in_threadpool(self._refuse, request, refused, actor)
        except (ClientDisconnect, TimeoutError):
            return Response(status_code=HTTPStatus.REQUEST_TIMEOUT)
        except StoreError as error:
            self.lost(error)

    def _done(self, request: Request, action: Action, body: bytes) -> Response:
        account = self._account(request)
        verify_in_force(account, now=self.desk.lane.clock())
        return answered(action(account, str(request.path_params.get("digest", "")), body))

    def _account(self, request: Request) -> ServiceAccount:
        """(1) Return the account that the set in force has for the other end's certificate."""
        return connected(_certificate(request), self.desk.lane.policy.service_accounts.values())

    def _refuse(self, request: Request, refused: RefusedError, actor: str) -> Response:
        return problem(refused, self._record(request, refused, actor))

    def _record(self, request: Request, refused: RefusedError, actor: str) -> int | None:
        """Record a refusal; return its entry, or None where it is only counted."""
        now, asked = self.desk.lane.clock(), about(request)
        if refused.code is Refusal.BUSY:
            return None  # what is too busy to record an event is too busy to record that
        if refused.code is Refusal.RATE and not self.rates.tells(actor, _use(request), now):
            return None
        if actor.startswith(STRANGER):
            left_out = self.strangers.admit(now)
            if left_out is None:
                return None
            asked += f" ({left_out} more before it)" if left_out else ""
        return self.desk.lane.recorder.refusal(refused, actor=actor, about=asked)


def build(desk: Desk, lost: Lost) -> Starlette:
    """Return the application; `lost` ends the process when the ledger cannot be written any more."""
    door = Door(desk, lost)
    unknown = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    made = Starlette(
        routes=door.routes(), exception_handlers={int(status): door.elsewhere for status in unknown}
    )
    # a path with a slash too many is another path
    made.router.redirect_slashes = False
    return made


def _own(matter: Matter, account: ServiceAccount) -> bool:
    """(5) A person may have had the account's name in an earlier set: what a session proposed is his."""
    proposal = matter.proposal
    return proposal.intent.proposer == account.id and proposal.session is None


def _use(request: Request) -> Use:
    return Use.PROPOSAL if request.method == "POST" else Use.READ


def _certificate(request: Request) -> bytes:
    """Return the other end's certificate; nobody has the empty one."""
    found = request.scope.get(CERTIFICATE)
    return found if isinstance(found, bytes) else b""
