"""An access review as tables: who holds what, what to ask about it, whose sessions are open."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.client import Access, PolicyChanges
from workbench.desk.show import Shown, facts, table

SPARE_MIN = 4
"""A credential for logging in and one for deciding, on two authenticators: one can be lost."""
DECIDES = frozenset({"administer", "approve"})


def held(people: Sequence[Access]) -> Shown:
    """Return who holds what."""
    return table(
        "Who holds what",
        [
            {
                "person": each.person,
                "roles": ", ".join(each.roles) or "none",
                "credentials": each.credentials,
                "last login": (each.last_login or "never")[:16].replace("T", " "),
                "may": ", ".join(each.permissions) or "nothing",
            }
            for each in people
        ],
    )


def questions(people: Sequence[Access]) -> Shown:
    """Return what a reviewer should ask."""
    asked = []
    for each in people:
        if each.left:
            asked.append((each.person, "has left: is every session ended, every key handed back?"))
        elif each.stale:
            asked.append((each.person, "has not logged in for a quarter: are the roles still needed?"))
        if not each.left and DECIDES & set(each.permissions) and each.credentials < SPARE_MIN:
            asked.append((each.person, f"decides with {each.credentials} credentials: a lost key stops him"))
    return table("What to ask", [{"person": person, "question": question} for person, question in asked])


def sessions(people: Sequence[Access]) -> Shown:
    """Return the open sessions."""
    return table(
        "Open sessions",
        [
            {
                "person": each.person,
                "until": session.expires_at,
                "last used": session.last_used,
                "session": session.session,
            }
            for each in people
            for session in each.sessions
        ],
    )


def conclusion(people: Sequence[Access], changes: PolicyChanges) -> Shown:
    """Return the review in figures, with the policy set that it is about."""
    present = [each for each in people if not each.left]
    return facts(
        "Access review",
        {
            "policy set": changes.in_force[-1],
            "people": len(present),
            "may decide": sum("approve" in each.permissions for each in present),
            "stale": ", ".join(each.person for each in present if each.stale) or "nobody",
            "left": ", ".join(each.person for each in people if each.left) or "nobody",
            "open sessions": sum(len(each.sessions) for each in people),
            "changes proposed": sum(each.standing == "pending" for each in changes.changes),
        },
    )
