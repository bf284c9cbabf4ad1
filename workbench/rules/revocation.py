"""The next policy set when somebody leaves or a key is lost: the set in force, without that.

(1) Whoever and whatever is to go is there: a person of the set, a credential or a role of his own.
(2) A person leaves whole, or loses what is named and keeps something: his last role is his leaving.
(3) What remains can be used: as many officers as the quorum wants can press a key for it, and somebody
    who may propose the set after it can log in. Else nobody could ever mend what the revocation left.
(4) A program leaves with whoever answers for it, or with his right to propose: nobody answers for it then.
(5) Nothing else differs. So the set only takes away, in the sense of `change`: it acts at once when the
    officers of both sets have signed it, and nobody can veto it.

Who signs is `policy`'s, who may propose is the service's. Left out: whether the one who is to go is one
without whom some rule could not be met, the only chief risk officer say; a set can lack him for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from ledger.encoding import canonical
from workbench.rules import roles as matrix
from workbench.rules.account import FILE as ACCOUNTS
from workbench.rules.assertion import APPROVAL, CONSOLE, Credential
from workbench.rules.change import PEOPLE, SHOWN, between
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_json
from workbench.rules.policy import Person, PolicySet, next_set
from workbench.rules.roles import Permission

DECIDING = (APPROVAL, CONSOLE)
PROPOSES = frozenset({Permission.PROPOSE})


def without(
    policy: PolicySet,
    person_id: str,
    *,
    credentials: Collection[str] = (),
    roles: Collection[str] = (),
    activates_at: datetime,
) -> PolicySet:
    """Return the unsigned next set in which a person, or only what is named of him, is missing.

    Args:
        policy: the set in force.
        person_id: who leaves, or loses something.
        credentials: the ids of those that go, or how they begin (12 characters, as a change is told).
        roles: those that go.
        activates_at: when it may act; what only takes away may be dated now.

    """
    person = policy.person(person_id)  # (1)
    gone = {_credential(person, given).id for given in credentials}
    _held(person, roles)
    listed = read_json(policy.files[PEOPLE], limit=DOCUMENT_MAX)
    whole = not gone and not roles  # (2)
    people = [
        each if each["id"] != person_id else _less(each, gone, roles)
        for each in listed
        if not (whole and each["id"] == person_id)
    ]
    changed = {PEOPLE: people, ACCOUNTS: _answered_for(policy, people)}
    files = {name: canonical(value, limit=DOCUMENT_MAX) for name, value in changed.items()}
    # what the files say of each other, too: another one may name whoever leaves
    following = next_set(policy, files, activates_at=activates_at)
    _usable(following)
    # (5) by its own comparison, not by how it was made
    if not between(policy, following).only_takes_away:
        raise RefusedError(Refusal.POLICY_INVALID, "this set does not only take away")
    return following


def _credential(person: Person, given: str) -> Credential:
    found = [each for each in person.credentials if each.id.startswith(given)]
    if len(given) < SHOWN or len(found) != 1:
        held = ", ".join(f"{each.id[:SHOWN]} for {each.path}" for each in person.credentials) or "none"
        raise RefusedError(
            Refusal.CREDENTIAL_UNKNOWN,
            f"{given[:64]!r} names no credential of {person.id}, who has {held}",
        )
    return found[0]


def _held(person: Person, roles: Iterable[str]) -> None:
    unknown = sorted(set(roles) - set(person.roles))
    if unknown:
        raise RefusedError(
            Refusal.ROLE_NOT_HELD, f"{person.id} does not hold {unknown}, but {', '.join(person.roles)}"
        )
    if set(roles) == set(person.roles):
        raise RefusedError(
            Refusal.POLICY_INVALID, f"{person.id} would hold no role: who has none leaves, with his keys"
        )


def _less(listed: dict[str, Any], credentials: Collection[str], roles: Collection[str]) -> dict[str, Any]:
    return listed | {
        "credentials": [each for each in listed["credentials"] if each["id"] not in credentials],
        "roles": [each for each in listed["roles"] if each not in roles],
    }


def _usable(policy: PolicySet) -> None:
    # (3) `policy` counts the officers; an officer without a key is none
    limits, people = policy.limits, list(policy.people.values())
    officers = [each for each in people if limits.policy_quorum_role in each.roles and _can(each, *DECIDING)]
    if len(officers) < limits.policy_quorum:
        raise RefusedError(
            Refusal.POLICY_INVALID,
            f"{len(officers)} of {limits.policy_quorum_role} could press a key for a quorum of "
            f"{limits.policy_quorum}",
        )
    if not any(_can(each, CONSOLE) for each in officers):
        raise RefusedError(
            Refusal.POLICY_INVALID, f"nobody of {limits.policy_quorum_role} could sign by the second path"
        )
    proposing = frozenset({Permission.AMEND})
    if not any(proposing <= matrix.held(policy.roles, each.roles) and _can(each, "login") for each in people):
        raise RefusedError(Refusal.POLICY_INVALID, "nobody could log in and propose another set")


def _answered_for(policy: PolicySet, people: list[dict[str, Any]]) -> list[Any]:
    """Return the service accounts that somebody still answers for."""
    proposing = {each["id"] for each in people if matrix.held(policy.roles, each["roles"]) >= PROPOSES}
    listed: list[Any] = read_json(policy.files[ACCOUNTS], limit=DOCUMENT_MAX)
    return [each for each in listed if each["owner"] in proposing]


def _can(person: Person, *paths: str) -> bool:
    return any(each.path in paths for each in person.credentials)
