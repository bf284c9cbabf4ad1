"""A visitor of the demo world brings a security key: registered on the pages, enrolled by the demo's people.

What the visitor does is what anybody does: opens two pages, presses twice. What the demo's people do is
what a committee does, but for reading: one proposes the set, two sign it, one of them by the second path,
and it lies open for the demo's few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from workbench import client
from workbench.demo.people import Officer
from workbench.demo.world import SERVICE, World
from workbench.rules import enrolment
from workbench.rules.assertion import CONSOLE
from workbench.rules.enrolment import CredentialPath, Newcomer
from workbench.rules.policy import PolicySet

VISITOR: Final = "visitor-1"
NEWCOMER: Final = Newcomer(name="Visitor", roles=["committee"], team="security", site="elsewhere")
PATHS: Final[tuple[CredentialPath, ...]] = ("login", "approval")
LIMITS: Final[Mapping[str, int]] = {"change_delay_s_min": 5, "credentials_min": 1}
"""A visitor has one key, and no day to wait."""
POLL_S, MARGIN_S, ACTIVATION_S = 0.5, 3, 60.0


class NoVisitorError(Exception):
    """Nobody has registered in time."""


def invited(admin: Officer) -> dict[CredentialPath, str]:
    """Return the addresses of the pages on which the visitor registers, by path."""
    found = {}
    for path in PATHS:
        ticket = admin.speaks.register(VISITOR, path).ticket
        origin = enrolment.party_of(path, admin.trust_root).origin
        found[path] = f"{origin}/register/{ticket}"
    return found


def awaited(admin: Officer, *, seconds: float) -> list[client.RegisteredKey]:
    """Wait until the visitor has registered for every path; return what was registered."""
    deadline = time.monotonic() + seconds
    while True:
        made = [each for each in admin.speaks.registrations() if each.person == VISITOR]
        if {each.credential.path for each in made} >= set(PATHS):
            return made
        if time.monotonic() > deadline:
            raise NoVisitorError(f"no visitor has registered within {seconds:.0f} s")
        time.sleep(POLL_S)


def enrolled(world: World, admin: Officer, made: list[client.RegisteredKey]) -> PolicySet:
    """Have the visitor's keys listed by a policy set; return it when it is in force."""
    delay = timedelta(seconds=world.policy.limits.change_delay_s_min + MARGIN_S)
    following = enrolment.including(
        world.policy,
        VISITOR,
        [each.credential for each in made],
        newcomer=NEWCOMER,
        activates_at=datetime.now(UTC) + delay,
    )
    admin.speaks.amend(following)
    for person, path in (("cro-1", "approval"), ("risk-1", CONSOLE)):
        officer = officer_of(world, person)
        officer.speaks.sign_policy(following.digest, officer.sign_policy(following, path=path))
        officer.speaks.logout()
    deadline = time.monotonic() + ACTIVATION_S
    while client.status(world.places.socket(SERVICE))["policy"] != following.digest:
        if time.monotonic() > deadline:
            raise NoVisitorError("the set that lists the visitor's keys is not in force")
        time.sleep(POLL_S)
    return following


def officer_of(world: World, person: str) -> Officer:
    """Return one of the demo's people with a session."""
    return Officer.log_in(
        person,
        folder=world.places.officers,
        socket=world.places.socket(SERVICE),
        policy=world.policy,
        trust_root=world.trust_root,
    )
