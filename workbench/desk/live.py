"""The desk in a living notebook: log in, watch the queue, open the page, wait for the decision.

Everything here is the kernel's and so a claim. A link leads to the approver's page; what
is decided there comes back through the ledger. Nothing waits without somebody looking:
where no browser draws the link (papermill, a script) there is nobody to press a key, and
that is said at once. All waiting is `await`: the kernel goes on hearing its widgets.

Watching makes requests, and requests keep a session from being idle; so the queue stops
by itself when nobody has touched it for some minutes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets
from IPython.display import display

from workbench import client
from workbench.client import Client, IntentView, ProblemError, ServiceUnavailableError
from workbench.desk import show
from workbench.rules.lifecycle import State
from workbench.rules.session import CertifiedSession, Session
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

SOCKET, TRUST_ROOT = "WORKBENCH_SOCKET", "WORKBENCH_TRUST_ROOT"
"""Where the service is, and what is believed: for kernels that were started with them."""
STATIC: Final = Path(__file__).parent / "static"
SEEN_S, LOGIN_S, DECISION_S = 20.0, 120.0, 900.0
POLL_S, REFRESH_S = 0.3, 1.0
LIVE_S = 300.0
LISTED_MAX = 50
OPEN = frozenset({State.PROPOSED.value, State.OUTSTANDING.value, State.APPROVED.value})


class HeadlessError(Exception):
    """Nobody looks at this notebook: whoever is to decide has to."""


class NotLoggedInError(Exception):
    """`login` comes first."""


class Link(anywidget.AnyWidget):
    """A link to a page of the approver's, the words that stand there, and what has become of it."""

    _esm = STATIC / "link.js"
    _css = STATIC / "desk.css"
    title = traitlets.Unicode().tag(sync=True)
    url = traitlets.Unicode().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    seen = traitlets.Bool(default_value=False).tag(sync=True)

    async def await_seen(self) -> None:
        """Wait until a browser has drawn it."""
        deadline = time.monotonic() + SEEN_S
        while not self.seen:
            if time.monotonic() > deadline:
                self.status = "nobody has seen this"
                raise HeadlessError("no browser shows this notebook: approvals and logins need a person")
            await asyncio.sleep(POLL_S)


class Queue(anywidget.AnyWidget):
    """The intents that are not at their end, newest first; each asks for a link of its own."""

    _esm = STATIC / "queue.js"
    _css = STATIC / "desk.css"
    rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    link = traitlets.Dict().tag(sync=True)

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._touched = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self.on_msg(self._told)
        self.refresh()

    def refresh(self) -> None:
        """Look once."""
        try:
            self.rows, self.note = self._desk.rows(), ""
        except (ProblemError, ServiceUnavailableError) as error:
            self.note = str(error)

    def watch(self) -> None:
        """Go on looking until nobody has touched the queue for some minutes."""
        self._touched = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while time.monotonic() - self._touched < LIVE_S:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(REFRESH_S)
        self.note = "paused: nobody has touched this for a while"

    def _told(self, _: object, told: dict[str, Any], __: object) -> None:
        self._touched = time.monotonic()
        digest = told.get("ask")
        if isinstance(digest, str) and any(row["digest"] == digest for row in self.rows):
            try:
                self.link = {"digest": digest, "url": self._desk.url(digest)}
            except (ProblemError, ServiceUnavailableError) as error:
                self.note = str(error)
        self._desk.loop.call_soon_threadsafe(self.watch)


@dataclass(slots=True)
class Desk:
    """A session, the pages' origins, and the loop that the widgets live in."""

    client: Client
    trust_root: TrustRoot
    loop: asyncio.AbstractEventLoop

    def url(self, digest: str) -> str:
        """Return the address of the page on which this person decides about an intent."""
        return f"{self.trust_root.approval.origin}/review/{self.client.ask(digest).ticket}"

    def export(self, digest: str, path: str | Path) -> show.Shown:
        """Write what this person is asked to a file, for the second path: `workbench approve FILE`."""
        exported = self.client.export(digest)
        Path(path).write_bytes(exported.raw)
        return show.facts("Exported", {"file": path, "words": words(digest), "until": exported.expires_at})

    def receipt(self, digest: str) -> show.Shown:
        """Return what the ledger holds of an intent, verified under the trust root."""
        return show.receipt(self.client, digest, self.trust_root)

    def conclusion(self, digest: str) -> show.Shown:
        """Return what became of an intent, in one table."""
        view = self.client.intent(digest)
        return show.facts(
            "What became of it",
            {
                "intent": digest,
                "words": words(digest),
                "state": view.state,
                "outstanding": ", ".join(view.needs) or "nothing",
                "transaction": view.tx_hash or "none",
            },
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return what the queue shows of the newest open intents."""
        found = [digest for digest, state in reversed(self.client.intents()) if state in OPEN]
        return [_row(self.client.intent(digest)) for digest in found[:LISTED_MAX]]


def _row(view: IntentView) -> dict[str, Any]:
    return {
        "digest": view.digest,
        "purpose": view.intent.purpose,
        "proposer": view.intent.proposer,
        "state": view.state,
        "needs": list(view.needs),
        "decided": [f"{each.decision.person}: {each.decision.verb}" for each in view.decisions],
        "words": words(view.digest),
        "simulated": bool(view.simulations),
    }


_current: list[Desk] = []


async def login(person: str, *, socket: str = "", trust_root: str = "") -> show.Shown:
    """Make a session key and wait until its person has certified it on the login page."""
    service, believed = Path(socket or os.environ[SOCKET]), _believed(trust_root)
    key, session = client.open_login(service, person)
    certified = await _signed(service, session, believed, title=f"Log in as {person}", done="logged in")
    _current[:] = [Desk(Client(service, key, certified), believed, asyncio.get_running_loop())]
    return _session(certified)


async def renew() -> show.Shown:
    """Put another session in the place of this one, once its person has certified that on the login page.

    The desk and its queue go on with the new key; a page that was opened before asks for nothing more.
    """
    here = desk()
    key, session = await asyncio.to_thread(here.client.open_renewal)
    title = f"Renew the session of {here.client.person}"
    certified = await _signed(here.client.service, session, here.trust_root, title=title, done="renewed")
    here.client = Client(here.client.service, key, certified)
    return _session(certified)


def _session(certified: CertifiedSession) -> show.Shown:
    session = certified.session
    told = {"person": session.person, "as": ", ".join(session.roles), "until": session.expires_at}
    return show.facts("Session", told)


async def _signed(
    service: Path, session: Session, believed: TrustRoot, *, title: str, done: str
) -> CertifiedSession:
    """Show the link to the login page and wait until the person has pressed a key there."""
    link = Link(
        title=title,
        url=f"{believed.login.origin}/login/{session.digest}",
        words=words(session.digest),
        status="waiting for your key press",
    )
    display(link)
    await link.await_seen()
    deadline = time.monotonic() + LOGIN_S
    while (certified := await asyncio.to_thread(client.certified, service, session)) is None:
        if time.monotonic() > deadline:
            link.status = "nobody has pressed a key in time"
            raise TimeoutError(f"{session.person} did not sign the login within {LOGIN_S:.0f} s")
        await asyncio.sleep(POLL_S)
    link.url, link.status = "", done
    return certified


def _believed(path: str) -> TrustRoot:
    return TrustRoot.read(Path(path or os.environ[TRUST_ROOT]).read_bytes())


def desk() -> Desk:
    """Return the desk that `login` opened."""
    if not _current:
        raise NotLoggedInError("await login(person) first")
    return _current[0]


def queue() -> Queue:
    """Return the queue of open intents; it shows their states as they change."""
    made = Queue(desk())
    made.watch()
    return made


def review(digest: str) -> Link:
    """Return a link to the page that shows everything about an intent."""
    view = desk().client.intent(digest)
    return Link(
        title=view.intent.purpose,
        url=desk().url(digest),
        words=words(digest),
        status=f"{view.state}; outstanding: {', '.join(view.needs) or 'nothing'}",
    )


async def approve(digest: str, *, seconds: float = DECISION_S) -> show.Shown:
    """Show the link to the page and wait until this person has decided there.

    What is decided is the person's: also a rejection or an abstention ends the waiting.

    Raises:
        HeadlessError: nobody looks at this notebook.
        TimeoutError: nobody has decided in time.

    """
    here = desk()
    link = review(digest)
    link.status = "waiting for your decision"
    display(link)
    await link.await_seen()
    deadline = time.monotonic() + seconds
    while True:
        view = await asyncio.to_thread(here.client.intent, digest)
        mine = [each for each in view.decisions if each.decision.person == here.client.person]
        if mine or view.state not in OPEN:
            break
        if time.monotonic() > deadline:
            link.status = "nobody has decided in time"
            raise TimeoutError(f"no decision within {seconds:.0f} s")
        await asyncio.sleep(POLL_S)
    link.url, link.status = "", _outcome(mine[-1].decision.verb if mine else "", view)
    return show.decisions(view)


def _outcome(verb: str, view: IntentView) -> str:
    needs: Sequence[str] = view.needs
    said = {"approve": "you approved", "reject": "you rejected", "abstain": "you abstained"}.get(verb, "over")
    return f"{said}; the intent is {view.state}" + (f", outstanding: {', '.join(needs)}" if needs else "")
