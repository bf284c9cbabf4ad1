"""Sessions at the command line: log in, renew, list, end, log out.

Every beginning takes a key press of the person's, at the login page or wherever his authenticator is;
the words that are printed are those that the page shows. A command that needs a session takes the one
that is kept, and opens one for itself, which it ends, where none is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.client import Client, Exported, OpenSession, ProblemError, open_login
from workbench.commands import kept
from workbench.commands.kept import Place
from workbench.commands.said import NothingToDoError, complain, outcome
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.session import Session
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

OVER = frozenset({Refusal.SESSION_ENDED.value, Refusal.SESSION_UNKNOWN.value})
SHOWN = 12
NAMED = re.compile(r"[0-9a-f]{8,64}")
"""Eight hexadecimal digits name one of a few sessions."""


def login(options: argparse.Namespace) -> int:
    """Begin a session and keep it."""
    return outcome(_login(options))


def renew(options: argparse.Namespace) -> int:
    """Put another session in the place of the one that is kept."""
    return outcome(_renew(options))


def logout(options: argparse.Namespace) -> int:
    """End the session that is kept, and forget it."""
    return outcome(_logout(options))


def sessions(options: argparse.Namespace) -> int:
    """List the person's sessions, or end one."""
    return outcome(_end(options) if options.what == "end" else _sessions(options))


@contextmanager
def speaking(options: argparse.Namespace) -> Iterator[Client]:
    """Speak in the session that is kept, or in one that ends with the block."""
    kept_here = _speaks(_place_if_any(options))
    if kept_here is not None:
        yield kept_here
        return
    key, session = open_login(options.socket, options.person)
    complain(f"waiting for {options.person} to sign a login: {words(session.digest)}")
    client = Client.signed(options.socket, key, session, wait_s=options.wait)
    try:
        yield client
    finally:
        with _over_already():
            client.logout()


def lasting(options: argparse.Namespace) -> Client:
    """Return the session that is kept: what a ticket opens ends with the session that asked for it."""
    client = _speaks(_place(options))
    if client is None:
        raise NothingToDoError(f"{options.person} is not logged in: `workbench login`")
    return client


def written(out: Path, exported: Exported, *, how: str) -> Iterator[str]:
    """Write a request for another machine, over nothing that is there; say what is done with it."""
    with out.open("xb") as file:
        file.write(exported.raw)
    yield f"{how} {out}"
    yield f"until {exported.expires_at}, or until your session ends"


def believed(path: Path | None) -> TrustRoot | None:
    """Return the trust root that somebody names, if anybody does."""
    return None if path is None else TrustRoot.read(path.read_bytes())


def _login(options: argparse.Namespace) -> Iterator[str]:
    # before the press: a session that could not be kept afterwards would be nobody's
    place, trust_root = _place(options), believed(options.trust_root)
    if _speaks(place) is not None:
        raise RefusedError(
            Refusal.STATE, f"{options.person} is logged in: `workbench renew` or `workbench logout`"
        )
    key, session = open_login(place.socket, options.person)
    yield from _asked(session, trust_root)
    client = Client.signed(place.socket, key, session, wait_s=options.wait)
    _keep(client, place.create)
    yield from _began(client, place)


def _renew(options: argparse.Namespace) -> Iterator[str]:
    place, trust_root = _place(options), believed(options.trust_root)
    client = lasting(options)
    key, session = client.open_renewal()
    yield from _asked(session, trust_root)
    renewed = client.signed(place.socket, key, session, wait_s=options.wait)
    _keep(renewed, place.replace)
    yield from _began(renewed, place)


def _logout(options: argparse.Namespace) -> Iterator[str]:
    place = _place(options)
    client = place.read()
    if client is None:
        yield f"no session of {options.person} is kept here"
        return
    try:
        with _over_already():
            client.logout()
    finally:
        # also where nobody answers: without its key the session is idle, and ends
        place.remove(client)
    yield f"{options.person} is logged out"


def _sessions(options: argparse.Namespace) -> Iterator[str]:
    with speaking(options) as client:
        own = client.certified.session.digest
        yield f"{'session':{SHOWN}}  {'issued':16}  {'expires':16}  {'last used':16}"
        for each in client.sessions():
            yield _line(each) + ("  this one" if each.session == own else "")


def _end(options: argparse.Namespace) -> Iterator[str]:
    with speaking(options) as client:
        digest = _named(options.digest, client.sessions())
        client.end(digest)
        place = _place_if_any(options)
        if digest == client.certified.session.digest and place is not None:
            place.remove(client)
    yield f"ended {digest}"


def _line(each: OpenSession) -> str:
    times = (each.issued_at, each.expires_at, each.last_used)
    return "  ".join([each.session[:SHOWN], *(_minute(time) for time in times)])


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _named(given: str, own: list[OpenSession]) -> str:
    """Return the session that is meant: one's own by how it begins, or anybody's by its whole name."""
    if NAMED.fullmatch(given) is None:
        raise RefusedError(Refusal.MALFORMED, "a session is named by 8 to 64 lower-case hex digits")
    found = [each.session for each in own if each.session.startswith(given)]
    return found[0] if len(found) == 1 else given


def _place_if_any(options: argparse.Namespace) -> Place | None:
    """Return where a session may be kept; where there is no such place, none is."""
    try:
        return _place(options)
    except NothingToDoError:
        if options.runtime is not None:
            raise
        return None


def _place(options: argparse.Namespace) -> Place:
    return kept.place(options.runtime, socket=options.socket, person=options.person)


def _speaks(place: Place | None) -> Client | None:
    """Return the session that is kept if the service still hears it; one that is over is forgotten."""
    client = place.read() if place is not None else None
    if client is None or place is None:
        return None
    try:
        client.sessions()
    except ProblemError as problem:
        if problem.code not in OVER:
            raise
        place.remove(client)
        # none is left, or the one that a renewal has put there meanwhile
        return _speaks(place)
    return client


def _keep(client: Client, write: Callable[[Client], None]) -> None:
    """Keep a session that has begun, or end it."""
    try:
        write(client)
    except BaseException:
        with _over_already():
            client.logout()
        raise


@contextmanager
def _over_already() -> Iterator[None]:
    """Take what is over already for what was asked."""
    try:
        yield
    except ProblemError as problem:
        if problem.code not in OVER:
            raise


def _asked(session: Session, trust_root: TrustRoot | None) -> Iterator[str]:
    if trust_root is not None:
        yield "Open this page, compare the words, press your key:"
        yield f"{trust_root.login.origin}/login/{session.digest}"
    else:
        yield "Sign this login with your key, and compare the words:"
        yield f"  {session.digest}"
    yield f"  {words(session.digest)}"


def _began(client: Client, place: Place) -> Iterator[str]:
    session = client.certified.session
    yield f"{session.person} speaks as {', '.join(session.roles)} until {_minute(session.expires_at)} UTC"
    yield f"kept in {place.path}"
