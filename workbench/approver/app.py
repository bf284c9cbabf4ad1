"""The approver's two sites: at one origin people decide and sign policy sets, at the other they log in.

At each of them keys are registered for it.

Both show what a key press would sign, made from what was verified, and carry the press to
the service. They have an RP id each: a press for the one is worth nothing at the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from workbench.approver.core import Approver, credentials_of
from workbench.approver.web import Endpoint, Site, Sites, answer, body, netloc, rendered
from workbench.rules import shown, shown_change
from workbench.rules.assertion import Assertion
from workbench.rules.change_request import WordVerb
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Name, Prose
from workbench.rules.enrolment import BrowserAnswer, party_of


class Said(Document):
    """What the person is about to say."""

    verb: Literal["approve", "reject", "abstain"]
    role: Name
    reason: Prose


class SaidOfChange(Document):
    """What the person is about to say of a next policy set."""

    verb: WordVerb
    reason: Prose


class Answered(Document):
    """The browser's answer to a registration."""

    answer: BrowserAnswer


class Pressed(Document):
    """The browser's answer."""

    assertion: Assertion


@dataclass(frozen=True, slots=True)
class Reviews:
    """The approval page."""

    site: Site

    async def page(self, request: Request) -> Response:
        """Show what a ticket asks."""
        approver = self.site.approver
        look = await run_in_threadpool(approver.look, request.path_params["ticket"])
        return rendered(
            "review.html",
            act=f"/looks/{look.name}/decision",
            answer=f"/looks/{look.name}/assertion",
            title=shown.title(look.asked),
            person=look.asked.person,
            roles=look.asked.roles,
            verbs=look.asked.verbs,
            sections=shown.sections(look.asked, now=approver.clock()),
            rp=self.site.party,
        )

    async def decision(self, request: Request) -> Response:
        """Make the decision that will be signed, and say what the browser has to ask the authenticator."""
        said = Said.load(await body(request))
        look, made = await run_in_threadpool(
            self.site.approver.draft,
            request.path_params["look"],
            verb=said.verb,
            role=said.role,
            reason=said.reason,
        )
        return answer({"publicKey": self.site.options(made.challenge, credentials_of(look.asked.person))})

    async def assertion(self, request: Request) -> Response:
        """Bring the key press to the service."""
        pressed = Pressed.load(await body(request))
        view = await run_in_threadpool(
            self.site.approver.answer, request.path_params["look"], pressed.assertion
        )
        return answer({"told": f"Recorded as entry {view.entry_seq}. The intent is now: {view.state}."})


@dataclass(frozen=True, slots=True)
class Changes:
    """The page of a next policy set."""

    site: Site

    async def page(self, request: Request) -> Response:
        """Show what a ticket asks."""
        approver = self.site.approver
        look = await run_in_threadpool(approver.look_at_change, request.path_params["ticket"])
        return rendered(
            "review.html",
            act=f"/changes/{look.name}/word",
            answer=f"/changes/{look.name}/assertion",
            title=shown_change.title(look.asked),
            person=look.asked.person,
            roles=[],
            verbs=look.asked.verbs,
            sections=shown_change.sections(look.asked, now=approver.clock()),
            rp=self.site.party,
        )

    async def word(self, request: Request) -> Response:
        """Make the word that will be signed, and say what the browser has to ask the authenticator."""
        said = SaidOfChange.load(await body(request))
        look, made = await run_in_threadpool(
            self.site.approver.say, request.path_params["look"], verb=said.verb, reason=said.reason
        )
        return answer({"publicKey": self.site.options(made.challenge, credentials_of(look.asked.person))})

    async def assertion(self, request: Request) -> Response:
        """Bring the key press to the service."""
        pressed = Pressed.load(await body(request))
        view = await run_in_threadpool(
            self.site.approver.spoken, request.path_params["look"], pressed.assertion
        )
        return answer({"told": f"Recorded. The policy set is now: {view.standing}."})


@dataclass(frozen=True, slots=True)
class Registrations:
    """The page on which a key is registered, at the origin that the key is for."""

    site: Site

    async def page(self, request: Request) -> Response:
        """Show whose key is to be registered, and for what."""
        approver = self.site.approver
        look = await run_in_threadpool(approver.look_at_registration, request.path_params["ticket"])
        if party_of(look.asked.path, approver.trust_root) != self.site.party:
            raise RefusedError(Refusal.REGISTRATION, f"a key for {look.asked.path} is not registered here")
        return rendered(
            "register.html",
            act=f"/registrations/{look.name}/options",
            answer=f"/registrations/{look.name}/answer",
            name=look.asked.name,
            sections=shown.registration(look.asked, now=approver.clock()),
            rp=self.site.party,
        )

    async def options(self, request: Request) -> Response:
        """Say what the browser has to ask the authenticator for."""
        return answer(await run_in_threadpool(self.site.approver.begin, request.path_params["look"]))

    async def answer(self, request: Request) -> Response:
        """Judge what the authenticator has made, and bring it to the service."""
        answered = Answered.load(await body(request)).answer
        made = await run_in_threadpool(self.site.approver.register, request.path_params["look"], answered)
        return answer({"told": shown.registered(made)})


@dataclass(frozen=True, slots=True)
class Logins:
    """The login page."""

    site: Site

    async def page(self, request: Request) -> Response:
        """Show who is to be logged in, where, and with which key."""
        approver = self.site.approver
        login = await run_in_threadpool(approver.login, request.path_params["session"])
        return rendered(
            "login.html",
            session=login.session,
            person=login.person,
            sections=shown.login(login, now=approver.clock()),
            rp=self.site.party,
        )

    async def challenge(self, request: Request) -> Response:
        """Say what the browser has to ask the authenticator."""
        login = await run_in_threadpool(self.site.approver.login, request.path_params["session"])
        challenge = bytes.fromhex(login.session.digest)
        return answer({"publicKey": self.site.options(challenge, login.credentials)})

    async def assertion(self, request: Request) -> Response:
        """Bring the key press to the service."""
        pressed = Pressed.load(await body(request))
        session = request.path_params["session"]
        certified = await run_in_threadpool(self.site.approver.certify, session, pressed.assertion)
        return answer({"person": certified.session.person, "expires_at": certified.session.expires_at})


def build(approver: Approver) -> Sites:
    """Return both sites."""
    root = approver.trust_root
    deciding, entrance = Site(root.approval, approver), Site(root.login, approver)
    reviews, changes, logins = Reviews(deciding), Changes(deciding), Logins(entrance)
    return Sites(
        {
            netloc(root.approval.origin): deciding.build(
                {
                    "/review/{ticket}": reviews.page,
                    "/change/{ticket}": changes.page,
                    "/register/{ticket}": Registrations(deciding).page,
                },
                {
                    **_registering(deciding),
                    "/looks/{look}/decision": reviews.decision,
                    "/looks/{look}/assertion": reviews.assertion,
                    "/changes/{look}/word": changes.word,
                    "/changes/{look}/assertion": changes.assertion,
                },
            ),
            netloc(root.login.origin): entrance.build(
                {"/login/{session}": logins.page, "/register/{ticket}": Registrations(entrance).page},
                {
                    **_registering(entrance),
                    "/logins/{session}/challenge": logins.challenge,
                    "/logins/{session}/assertion": logins.assertion,
                },
            ),
        }
    )


def _registering(site: Site) -> dict[str, Endpoint]:
    registrations = Registrations(site)
    return {
        "/registrations/{look}/options": registrations.options,
        "/registrations/{look}/answer": registrations.answer,
    }
