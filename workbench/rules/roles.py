"""Roles: what each may do at the desk, as data of the signed policy set (`roles.json`).

A matrix names for each role its permissions, and nothing is permitted that no line names.
It is believed when
(1) it knows every permission that it names, and every role has one at least;
(2) the auditor's role only reads: whoever judges the books must not write them;
(3) nobody holds permissions that are kept apart (`APART`), through whatever roles: who can
    end a colleague's session or take part in enrolment must not be able to consent as well.
That a proposer does not approve his own intent is a rule of `decision`: it is about one
intent, not about a role. What a permission leads to is each service's or co-signer's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from workbench.rules.codes import Refusal, RefusedError


class Permission(StrEnum):
    """What can be permitted; the value is what `roles.json` says."""

    ADMINISTER = "administer"  # end the sessions of others
    AMEND = "amend"  # propose another policy set
    APPROVE = "approve"  # consent, refuse or abstain, so that it counts
    EXPORT = "export"  # take a bundle of the whole ledger away
    PAUSE = "pause"  # order that nothing is signed for a key, a contract, or at all
    PROPOSE = "propose"  # propose intents, and withdraw one's own
    READ = "read"  # see intents, receipts and the ledger's head
    RECORD = "record"  # leave events of one's own programs in the audit trail
    REVIEW = "review_access"  # see who holds what, and when it was used last


Matrix = Mapping[str, frozenset[Permission]]

READING = frozenset({Permission.EXPORT, Permission.READ, Permission.REVIEW})
READS_ONLY = "auditor"
APART = (
    (Permission.ADMINISTER, Permission.APPROVE),
    (Permission.ADMINISTER, Permission.PROPOSE),
)


def read(document: object) -> Matrix:
    """Return the matrix of a parsed `roles.json`, or refuse (1) (2)."""
    if not isinstance(document, dict) or not document:
        raise _invalid("not an object with roles", "")
    return {role: _permissions(role, listed) for role, listed in document.items()}


def _permissions(role: str, listed: object) -> frozenset[Permission]:
    known = {permission.value for permission in Permission}
    # (1)
    if not isinstance(listed, list) or not listed or not all(type(each) is str for each in listed):
        raise _invalid("not a list of permissions", role)
    if len(set(listed)) != len(listed) or not set(listed) <= known:
        raise _invalid(f"unknown or repeated: {sorted(set(listed) - known)}", role)
    found = frozenset(Permission(each) for each in listed)
    if role == READS_ONLY and not found <= READING:  # (2)
        raise _invalid(f"who only reads holds {sorted(found - READING)}", role)
    return found


def held(matrix: Matrix, roles: Iterable[str]) -> frozenset[Permission]:
    """Return what these roles permit together; a role that the matrix does not know permits nothing."""
    return frozenset().union(*(matrix.get(role, frozenset()) for role in roles))


def check_person(matrix: Matrix, person: str, roles: Iterable[str]) -> None:
    """Refuse roles that are unknown, or that nobody may hold together (2) (3)."""
    roles = list(roles)
    unknown = sorted(set(roles) - set(matrix))
    if unknown:
        raise _invalid(f"{person} holds roles that roles.json does not know: {unknown}", "")
    if READS_ONLY in roles and len(roles) > 1:
        raise _invalid(f"{person} is {READS_ONLY} and something else", READS_ONLY)
    found = held(matrix, roles)
    for one, other in APART:
        if one in found and other in found:
            raise _invalid(f"{person} holds both {one.value} and {other.value}", "")


def require(matrix: Matrix, roles: Iterable[str], any_of: Iterable[Permission], *, person: str) -> None:
    """Refuse unless these roles permit one of the things asked for."""
    wanted = frozenset(any_of)
    if not wanted & held(matrix, roles):
        words = " or ".join(sorted(permission.value for permission in wanted))
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{person} is not permitted to {words}")


def _invalid(detail: str, role: str) -> RefusedError:
    path = f"/files/roles.json/{role}" if role else "/files/roles.json"
    return RefusedError(Refusal.POLICY_INVALID, detail, path=path)
