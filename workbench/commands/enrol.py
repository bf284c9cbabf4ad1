"""Somebody comes, or gets another key: have it registered, then propose the set that lists it.

(1) A ticket opens the registration to whoever brings it: on a page at the origin that the key is for, or
    for the second path in a file for `workbench register`. It ends with the session that asked, or in
    a quarter of an hour.
(2) What was registered is listed by a next set, made here from the set in force and compared here. It
    lies open, and the officers sign it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from workbench.client import Client
from workbench.commands.said import NothingToDoError, outcome
from workbench.commands.session import lasting, speaking, written
from workbench.rules import change
from workbench.rules.assertion import CONSOLE
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.enrolment import Newcomer, including, party_of
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

MARGIN: Final = timedelta(minutes=5)
"""A set that is proposed a moment later than it was made must still lie open long enough."""


def enrol(options: argparse.Namespace) -> int:
    """Have a key registered, or propose the set that lists what was."""
    return outcome(_propose(options) if options.propose else _register(options))


def _register(options: argparse.Namespace) -> Iterator[str]:
    # (1)
    trust_root = TrustRoot.read(options.trust_root.read_bytes())
    if (options.path == CONSOLE) != (options.out is not None):
        raise NothingToDoError("--out goes with --path console: a page needs no file, a terminal does")
    client = lasting(options)
    if options.path == CONSOLE:
        exported = client.export_registration(options.who)
        yield from written(options.out, exported, how=f"on the machine of {options.who}: workbench register")
        return
    ticket = client.register(options.who, options.path)
    yield f"Let {options.who} open this page and press the key there:"
    yield f"{party_of(options.path, trust_root).origin}/register/{ticket.ticket}"
    yield f"until {ticket.expires_at}, or until your session ends"


def _propose(options: argparse.Namespace) -> Iterator[str]:
    # (2)
    trust_root, now = TrustRoot.read(options.trust_root.read_bytes()), datetime.now(UTC)
    with speaking(options) as client:
        current = verify_chain(client.policy_chain(), trust_root=trust_root, now=now)
        following = _listing(options, client, current, now)
        view = client.amend(following)
        if view.compared() != change.between(current, following):
            raise RefusedError(Refusal.POLICY_CHAIN, "the service has recorded another set")
        yield from (f"  {each}" for each in change.words(view.compared()))
        yield f"{view.standing}: version {view.version}, comes into force at {view.activates_at}"
        yield f"  {view.digest}"
        yield f"  {words(view.digest)}"
        limits = current.limits
        yield f"{limits.policy_quorum} of {limits.policy_quorum_role} have to sign, one by the second path."


def _listing(options: argparse.Namespace, client: Client, current: PolicySet, now: datetime) -> PolicySet:
    listed = {each.id for person in current.people.values() for each in person.credentials}
    made = [each.credential for each in client.registrations() if each.person == options.who]
    fresh = [each for each in made if each.id not in listed]
    if not fresh:
        raise NothingToDoError(f"nothing was registered for {options.who} that the set does not list")
    delay = timedelta(seconds=current.limits.change_delay_s_min)
    return including(
        current, options.who, fresh, newcomer=_newcomer(options, current), activates_at=now + delay + MARGIN
    )


def _newcomer(options: argparse.Namespace, current: PolicySet) -> Newcomer | None:
    told = {"name": options.name, "roles": options.role, "team": options.team, "site": options.site}
    if options.who in current.people:
        if any(told.values()):
            raise NothingToDoError(f"{options.who} is in the set: no --name, --role, --team or --site")
        return None
    if not all(told.values()):
        raise NothingToDoError(f"{options.who} is a newcomer: --name, --role, --team and --site")
    return Newcomer.load(told)
