"""HTTP over the unix socket: requests in, canonical JSON or RFC 9457 problems out.

Every request but a login, `status` and the approver's carries a signed request document.
What is refused is recorded, with who asked and why, and changes nothing else. This module
knows HTTP; what a request means is `desk` and `sessions`.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

from pydantic import Field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from ledger import checkpoint as notes
from ledger.store import StoreError
from workbench.rules import roles
from workbench.rules.allowances import AllowancesQuestion
from workbench.rules.assertion import Assertion
from workbench.rules.change import Event as PolicyEvent
from workbench.rules.change import SignedVeto
from workbench.rules.change_request import Word
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, Digest, Document, Hex, Name, Prose, read_json
from workbench.rules.enrolment import Registration
from workbench.rules.events import CloudEvent
from workbench.rules.intent import Proposal
from workbench.rules.key_operation import SignedOperation
from workbench.rules.policy import Signature
from workbench.rules.price_feed import PriceQuestion
from workbench.rules.roles import Permission
from workbench.rules.session import CertifiedSession, Request
from workbench.rules.storage import PoolQuestion
from workbench.service import bringing
from workbench.service.answers import Strangers, about, answered, body_of, problem
from workbench.service.backing import TicketAsked, WayBack
from workbench.service.changes import Changes
from workbench.service.desk import Desk
from workbench.service.effects import effect
from workbench.service.enrolment import Enrolment, RegistrationAsked
from workbench.service.isolating import Isolating
from workbench.service.keeping import Keeping
from workbench.service.pools import Pools

BODY_MAX = DOCUMENT_MAX
STRANGER = "uid:"

OPEN = None
"""Open to whoever reaches the socket: a login has no session yet, and the approver has none at all."""
Permitted: TypeAlias = frozenset[Permission] | None
ANYBODY = frozenset(Permission)
"""Whoever has a session: about that session, and nothing else."""
AMEND = frozenset({Permission.AMEND})
READ, EXPORT, PROPOSE, APPROVE, RECORD, REVIEW = (
    frozenset({each})
    for each in (
        Permission.READ,
        Permission.EXPORT,
        Permission.PROPOSE,
        Permission.APPROVE,
        Permission.RECORD,
        Permission.REVIEW,
    )
)


class LoginRequest(Document):
    """A key that wants to speak for a person."""

    person: Name
    public_key: Digest


class NextKey(Document):
    """The key that is to speak in a session's place."""

    public_key: Digest


class Certificate(Document):
    """The person's assertion over an open login."""

    assertion: Assertion


class SequenceRequest(Document):
    """Which intents are simulated one after the other."""

    sequence: Annotated[list[Digest], Field(min_length=1, max_length=16)]


class Reported(Document):
    """A refusal of another process."""

    code: Name
    detail: Prose
    about: Annotated[str, Field(max_length=400)]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asks, what, and with which bytes."""

    speaker: CertifiedSession | None
    digest: str
    body: bytes
    os_user: int

    @property
    def session(self) -> CertifiedSession:
        """The session that speaks."""
        if self.speaker is None:
            raise RefusedError(Refusal.SESSION_UNKNOWN, "this needs a session")
        return self.speaker

    def read(self) -> Any:  # noqa: ANN401 - the JSON edge
        """Return the body's JSON."""
        return read_json(self.body, limit=BODY_MAX)


Action = Callable[[Call], dict[str, Any]]
Lost = Callable[[StoreError], NoReturn]


@dataclass(frozen=True, slots=True)
class Api:
    """The routes over one desk; `lost` ends the process when the ledger cannot be written any more."""

    desk: Desk
    changes: Changes
    enrolment: Enrolment
    keeping: Keeping
    bundles: Path
    lost: Lost
    pools: Pools
    isolating: Isolating
    strangers: Strangers = field(default_factory=Strangers)

    def routes(self) -> list[Route]:
        """Return the routes: method, path, what the speaker's roles must permit (one of), what is done.

        This table is the one place where the desk's matrix is asked; what an intent demands beyond that
        (its own proposer, its own approvers) is the desk's.
        """
        intents, one, session = "/v1/intents", "/v1/intents/{digest}", "/v1/sessions/{digest}"
        table: list[tuple[str, str, Permitted, Action]] = [
            ("GET", "/v1/status", OPEN, self.status),
            ("POST", "/v1/sessions", OPEN, self.login),
            ("GET", "/v1/sessions", ANYBODY, self.own_sessions),
            ("GET", "/v1/sessions/waiting/{digest}", OPEN, self.waiting),
            ("GET", "/v1/logins/{digest}", OPEN, self.asked_login),
            ("POST", session, OPEN, self.certify),
            ("GET", session, OPEN, self.session),
            ("DELETE", session, ANYBODY, self.end_session),
            ("POST", session + "/renewal", ANYBODY, self.renew),
            ("GET", "/v1/access", REVIEW, self.access),
            ("POST", intents, PROPOSE, self.propose),
            ("GET", intents, READ, self.intents),
            ("GET", one, READ, self.intent),
            ("POST", one + "/simulation", PROPOSE | APPROVE, self.simulate),
            ("POST", one + "/tickets", PROPOSE | APPROVE, self.ask),
            ("POST", "/v1/refusals", OPEN, self.reported),
            ("GET", "/v1/tickets/{digest}", OPEN, self.asked),
            ("POST", "/v1/tickets/{digest}", OPEN, self.answer),
            ("POST", one + "/decisions", PROPOSE | APPROVE, self.decide),
            ("POST", one + "/resume", PROPOSE | APPROVE, self.resume),
            *self._policy_routes(),
            ("POST", "/v1/key-operations", OPEN, self.order_key),
            ("GET", "/v1/key-operations/{digest}", READ, self.key_operation),
            ("GET", "/v1/backups/{digest}", OPEN, self.backup),
            ("POST", "/v1/backups/{digest}/tickets", OPEN, self.backup_ticket),
            ("POST", "/v1/backups/{digest}/shares", OPEN, self.bring_back),
            ("POST", "/v1/pools", READ, self.pool),
            ("POST", "/v1/prices", READ, self.prices),
            ("POST", "/v1/allowances", READ, self.allowances),
            ("POST", "/v1/registrations", AMEND, self.register),
            ("GET", "/v1/registrations", AMEND, self.registrations),
            ("GET", "/v1/registrations/{digest}", OPEN, self.asked_registration),
            ("POST", "/v1/registrations/{digest}", OPEN, self.answer_registration),
            ("POST", "/v1/entries", RECORD, self.entries),
            ("GET", "/v1/head", READ, self.head),
            ("GET", "/v1/receipts/{digest}", READ, self.receipt),
            ("POST", "/v1/bundles", EXPORT, self.bundle),
        ]
        return [
            Route(path, self._endpoint(action, permitted=permitted), methods=[method])
            for method, path, permitted, action in table
        ]

    def _policy_routes(self) -> list[tuple[str, str, Permitted, Action]]:
        """Return the routes of policy sets: whose word a signature or veto is, its assertion says."""
        sets, one = "/v1/policies", "/v1/policies/{digest}"
        return [
            ("GET", sets, READ, self.policies),
            ("POST", sets, AMEND, self.amend),
            ("GET", one, READ, self.policy),
            ("POST", one + "/signatures", ANYBODY, self.sign_policy),
            ("POST", one + "/veto", ANYBODY, self.veto),
            ("POST", one + "/activation", AMEND, self.activate),
            ("POST", one + "/tickets", ANYBODY, self.ask_change),
            ("GET", "/v1/policy-tickets/{digest}", OPEN, self.asked_change),
            ("POST", "/v1/policy-tickets/{digest}", OPEN, self.answer_change),
            ("GET", one + "/effect", READ, self.policy_effect),
            ("GET", "/v1/policy", READ, self.in_force),
        ]

    def order_key(self, call: Call) -> dict[str, Any]:
        """Record an operation on a key: whose word it is, its signatures say."""
        return self.keeping.order(SignedOperation.load(call.read())).dump()

    def key_operation(self, call: Call) -> dict[str, Any]:
        """Say how far an operation on a key is."""
        return self.keeping.view(call.digest).dump()

    def backup(self, call: Call) -> dict[str, Any]:
        """Return a backup: sealed, it says nothing to whom it is not for."""
        return self.keeping.backing.backup(call.digest).dump()

    def backup_ticket(self, call: Call) -> dict[str, Any]:
        """Carry a ticket from the co-signer that made a backup."""
        return self.keeping.ticket(call.digest, TicketAsked.load(call.read())).dump()

    def bring_back(self, call: Call) -> dict[str, Any]:
        """Carry what a recovery officer has opened: to be tried, or restored by order."""
        return self.keeping.back(call.digest, WayBack.load(call.read())).dump()

    def status(self, _: Call) -> dict[str, Any]:
        """Say that the service is up, under what, and what co-signers say of themselves."""
        lane = self.desk.lane
        return {
            "v": 1,
            "ledger_size": lane.recorder.ledger.head().size,
            "policy": lane.policy.digest,
            "trust_root": lane.trust_root.digest,
            "isolation": dict(self.isolating.said()),
        }

    def login(self, call: Call) -> dict[str, Any]:
        """Open a login for a key."""
        asked = LoginRequest.load(call.read())
        session = self.desk.sessions.challenge(
            person=asked.person, public_key=asked.public_key, os_user=call.os_user
        )
        return {"session": session.dump()}

    def waiting(self, call: Call) -> dict[str, Any]:
        """List the open logins of a person."""
        return {"sessions": [session.dump() for session in self.desk.sessions.waiting(call.digest)]}

    def asked_login(self, call: Call) -> dict[str, Any]:
        """Return what the person of an open login is to see."""
        session = self.desk.sessions.opened(call.digest)
        chain = [policy.dump() for policy in self.desk.lane.policies]
        return {"v": 1, "session": session.dump(), "policy_chain": chain}

    def certify(self, call: Call) -> dict[str, Any]:
        """Start a session with its person's assertion."""
        return self.desk.sessions.certify(call.digest, Certificate.load(call.read()).assertion).dump()

    def session(self, call: Call) -> dict[str, Any]:
        """Return a started session, or that its person has not signed yet."""
        if self.desk.sessions.pending(call.digest):
            return {"pending": True}
        return self.desk.sessions.get(call.digest).dump()

    def own_sessions(self, call: Call) -> dict[str, Any]:
        """List the speaker's own sessions."""
        return {"sessions": self.desk.sessions.of(call.session.session.person)}

    def end_session(self, call: Call) -> dict[str, Any]:
        """End a session: one's own, or anybody's where that is permitted."""
        self.desk.sessions.end(call.digest, call.session)
        return {"ended": call.digest}

    def renew(self, call: Call) -> dict[str, Any]:
        """Open the login that is to take the place of the session that asks."""
        key = NextKey.load(call.read()).public_key
        return {
            "session": self.desk.sessions.renewal(call.digest, public_key=key, speaker=call.session).dump()
        }

    def access(self, _: Call) -> dict[str, Any]:
        """Say who holds what, and when it was used last."""
        return {"people": self.desk.sessions.access()}

    def propose(self, call: Call) -> dict[str, Any]:
        """(1)."""
        return self.desk.propose(Proposal.sized(call.read()), call.session)

    def intents(self, _: Call) -> dict[str, Any]:
        """List the intents with their states, oldest first."""
        matters = self.desk.lane.books.matters
        listed = [{"digest": digest, "state": matter.state.value} for digest, matter in list(matters.items())]
        return {"intents": listed}

    def intent(self, call: Call) -> dict[str, Any]:
        """Return one intent."""
        return self.desk.view(call.digest)

    def simulate(self, call: Call) -> dict[str, Any]:
        """(3) Simulate."""
        return self.desk.simulate(call.digest, SequenceRequest.load(call.read()).sequence, call.session)

    def ask(self, call: Call) -> dict[str, Any]:
        """(3) Return a ticket for the approver's page."""
        return self.desk.ask(call.digest, call.session)

    def asked(self, call: Call) -> dict[str, Any]:
        """(3) Return what the holder of a ticket is to see."""
        return self.desk.request(call.digest)

    def answer(self, call: Call) -> dict[str, Any]:
        """(3) Take the decision that the holder of a ticket brings."""
        return self.desk.answer(call.digest, SignedDecision.load(call.read()))

    def reported(self, call: Call) -> dict[str, Any]:
        """Record what another process of the desk has refused: it is that process's word."""
        told = Reported.load(call.read())
        try:
            refused = RefusedError(Refusal(told.code), told.detail)
        except ValueError:
            raise RefusedError(Refusal.MALFORMED, "not a code of refusal", path="/code") from None
        return {"entry_seq": self._record(refused, f"{STRANGER}{call.os_user}", f"reported: {told.about}")}

    def decide(self, call: Call) -> dict[str, Any]:
        """(3) Take a decision that its person's session brings."""
        signed = SignedDecision.load(call.read())
        return self.desk.decide(call.digest, signed, person=call.session.session.person)

    def resume(self, call: Call) -> dict[str, Any]:
        """(4) (5) (6)."""
        return self.desk.resume(call.digest)

    def pool(self, call: Call) -> dict[str, Any]:
        """Carry proofs of a pool's state from the observers."""
        return _told(self.pools.ask(PoolQuestion.load(call.read())))

    def prices(self, call: Call) -> dict[str, Any]:
        """Carry signed quotes of a pair from the observers."""
        return _told(self.pools.prices(PriceQuestion.load(call.read())))

    def allowances(self, call: Call) -> dict[str, Any]:
        """Carry the signed rights of others in accounts from the observers."""
        return _told(self.pools.allowances(AllowancesQuestion.load(call.read())))

    def policies(self, _: Call) -> dict[str, Any]:
        """List the sets that were in force, and every proposed one."""
        return self.changes.listed()

    def policy(self, call: Call) -> dict[str, Any]:
        """Return a proposed set, its predecessor, and what it changes."""
        return self.changes.view(call.digest)

    def amend(self, call: Call) -> dict[str, Any]:
        """Propose a set."""
        return self.changes.propose(call.read(), call.session)

    def sign_policy(self, call: Call) -> dict[str, Any]:
        """Take an officer's signature over a proposed set."""
        return self.changes.sign(call.digest, Signature.load(call.read()), call.session.session.person)

    def veto(self, call: Call) -> dict[str, Any]:
        """Take a veto of a proposed set."""
        return self.changes.veto(call.digest, SignedVeto.load(call.read()), call.session.session.person)

    def ask_change(self, call: Call) -> dict[str, Any]:
        """Return a ticket for the approver's page about a proposed set."""
        return self.changes.ask(call.digest, call.session)

    def asked_change(self, call: Call) -> dict[str, Any]:
        """Return what the holder of a ticket about a proposed set is to see."""
        return self.changes.request(call.digest)

    def answer_change(self, call: Call) -> dict[str, Any]:
        """Take the signature or the veto that the holder of a ticket brings."""
        return self.changes.answer(call.digest, Word.load(call.read()))

    def activate(self, call: Call) -> dict[str, Any]:
        """Take a proposed set over, or say what is missing."""
        return self.changes.activate(call.digest)

    def register(self, call: Call) -> dict[str, Any]:
        """Return a ticket for the registration of a person's key."""
        asked = RegistrationAsked.load(call.read())
        return self.enrolment.ask(asked.person, asked.path, call.session)

    def registrations(self, _: Call) -> dict[str, Any]:
        """List what was registered."""
        return {"registrations": self.enrolment.listed()}

    def asked_registration(self, call: Call) -> dict[str, Any]:
        """Return what the holder of a ticket for a registration is to see."""
        return self.enrolment.request(call.digest)

    def answer_registration(self, call: Call) -> dict[str, Any]:
        """Record what the holder of a ticket has registered."""
        return self.enrolment.answer(call.digest, Registration.load(call.read()))

    def policy_effect(self, call: Call) -> dict[str, Any]:
        """Say from which entry on a set counts, and which sessions and whose consent it has ended."""
        return effect(self.changes, call.digest)

    def in_force(self, _: Call) -> dict[str, Any]:
        """Return the set in force and those before it."""
        return {"policy_chain": [policy.dump() for policy in self.desk.lane.policies]}

    def entries(self, call: Call) -> dict[str, Any]:
        """Record a batch of a person's own events; the receipts come after the disk has them."""
        events = CloudEvent.batch(call.read())
        receipts = self.desk.lane.recorder.external(events, person=call.session.session.person)
        return {
            "receipts": [
                {"seq": receipt.seq, "h": receipt.h.hex(), "leaf": receipt.leaf.hex()} for receipt in receipts
            ]
        }

    def head(self, _: Call) -> dict[str, Any]:
        """Return the ledger's head and the newest checkpoint."""
        recorder = self.desk.lane.recorder
        head = recorder.ledger.head()
        return {
            "size": head.size,
            "root": head.root.hex(),
            "h": head.h.hex(),
            "checkpoint": recorder.checkpoint(),
        }

    def receipt(self, call: Call) -> dict[str, Any]:
        """Return the ledger's entries about an intent, proven under a checkpoint."""
        lane = self.desk.lane
        lane.books.matter(call.digest)
        note = lane.recorder.checkpoint()
        size = notes.split(note)[0].size
        entries = [
            entry for entry in lane.recorder.entries() if entry.subject == call.digest and entry.seq < size
        ]
        return {
            "v": 1,
            "intent": call.digest,
            "checkpoint": note,
            "entries": [bringing.entry_proof(lane, entry.seq, size) for entry in entries],
            "policy_chain": [policy.dump() for policy in lane.policies],
            "activations": [
                bringing.entry_proof(lane, entry.seq, size)
                for entry in lane.books.changes
                if entry.type == PolicyEvent.ACTIVATED and entry.seq < size
            ],
        }

    def bundle(self, _: Call) -> dict[str, Any]:
        """Write a bundle and say where it is."""
        recorder = self.desk.lane.recorder
        self.bundles.mkdir(mode=0o700, exist_ok=True)
        size = notes.split(recorder.checkpoint())[0].size
        path = self.bundles / f"{size:012d}"
        if not path.exists():
            recorder.bundle(path)
        return {"path": str(path), "size": size}

    def _endpoint(
        self, action: Action, *, permitted: Permitted
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def endpoint(request: HttpRequest) -> Response:
            os_user = int(request.scope["peer_uid"])
            try:
                if permitted is not None:
                    # whoever brings no session brings no body either
                    _signed_request(request)
                body = await body_of(request, limit=BODY_MAX)
                return await run_in_threadpool(
                    self._run, request, action, body, permitted=permitted, os_user=os_user
                )
            except RefusedError as refused:
                return await run_in_threadpool(self._refuse, request, refused, f"{STRANGER}{os_user}")
            except (ClientDisconnect, TimeoutError):
                # nobody is there to be answered, or only to be waited for
                return Response(status_code=HTTPStatus.REQUEST_TIMEOUT)
            except StoreError as error:
                self.lost(error)

        return endpoint

    def _run(
        self,
        request: HttpRequest,
        action: Action,
        body: bytes,
        *,
        permitted: Permitted,
        os_user: int,
    ) -> Response:
        actor = f"{STRANGER}{os_user}"
        try:
            speaker = None
            if permitted is not None:
                speaker = self._speaker(request, body, os_user)
                actor = speaker.session.person
                roles.require(self.desk.lane.policy.roles, speaker.session.roles, permitted, person=actor)
            digest = str(request.path_params.get("digest", ""))
            return answered(action(Call(speaker, digest, body, os_user)))
        except RefusedError as refused:
            return self._refuse(request, refused, actor)

    def _speaker(self, request: HttpRequest, body: bytes, os_user: int) -> CertifiedSession:
        signed, signature = _signed_request(request)
        if (signed.method, signed.path) != (request.method, request.url.path):
            raise RefusedError(Refusal.SIGNATURE, "the signed request is another one")
        return self.desk.sessions.speaking(signed, signature, body=body, os_user=os_user)

    def _refuse(self, request: HttpRequest, refused: RefusedError, actor: str) -> Response:
        return problem(refused, self._record(refused, actor, about(request)))

    def _record(self, refused: RefusedError, actor: str, asked: str) -> int | None:
        """Record a refusal; return its entry, or None where strangers have caused too many."""
        lane = self.desk.lane
        if refused.code is Refusal.BUSY:
            return None  # what is too busy to record an event is too busy to record that
        if actor.startswith(STRANGER):
            left_out = self.strangers.admit(lane.clock())
            if left_out is None:
                return None
            asked += f" ({left_out} more before it)" if left_out else ""
        return lane.recorder.refusal(refused, actor=actor, about=asked)


def build(api: Api) -> Starlette:
    """Return the application."""
    return Starlette(routes=api.routes())


def _told(told: Sequence[Document]) -> dict[str, Any]:
    """Return what several observers tell, first the one that the others follow."""
    return {"told": [each.dump() for each in told]}


def _signed_request(request: HttpRequest) -> tuple[Request, Hex]:
    try:
        document = base64.b64decode(request.headers["workbench-request"], validate=True)
        signature = request.headers["workbench-signature"]
    except KeyError:
        raise RefusedError(Refusal.SESSION_UNKNOWN, "this needs a session's signature") from None
    except ValueError as error:
        raise RefusedError(Refusal.MALFORMED, f"Workbench-Request: {error}") from error
    return Request.read(document, limit=4096), signature
