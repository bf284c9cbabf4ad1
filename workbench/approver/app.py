"""The approver's two sites: at one origin people decide, at the other they log in.

Both show what a key press would sign, made from what was verified, and carry the press to
the service. They have an RP id each: a press for the one is worth nothing at the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from workbench.approver.core import Approver
from workbench.approver.web import Site, Sites, answer, body, netloc, rendered
from workbench.rules import shown
from workbench.rules.assertion import Assertion
from workbench.rules.documents import Document, Name, Prose


class Said(Document):
    """What the person is about to say."""

    verb: Literal["approve", "reject", "abstain"]
    role: Name
    reason: Prose


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
            look=look.name,
            title=shown.title(look.asked),
            asked=look.asked,
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
        return answer({"publicKey": self.site.options(made.challenge, look.credentials)})

    async def assertion(self, request: Request) -> Response:
        """Bring the key press to the service."""
        pressed = Pressed.load(await body(request))
        view = await run_in_threadpool(
            self.site.approver.answer, request.path_params["look"], pressed.assertion
        )
        return answer({"state": view.state, "needs": view.needs, "entry_seq": view.entry_seq})


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
    reviews, logins = Reviews(Site(root.approval, approver)), Logins(Site(root.login, approver))
    return Sites(
        {
            netloc(root.approval.origin): reviews.site.build(
                {"/review/{ticket}": reviews.page},
                {"/looks/{look}/decision": reviews.decision, "/looks/{look}/assertion": reviews.assertion},
            ),
            netloc(root.login.origin): logins.site.build(
                {"/login/{session}": logins.page},
                {
                    "/logins/{session}/challenge": logins.challenge,
                    "/logins/{session}/assertion": logins.assertion,
                },
            ),
        }
    )
