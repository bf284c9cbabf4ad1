"""An access review as tables: who holds what, what to ask about it, whose sessions are open."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.client import Access, ChangeView, Client, Effect, PolicyChanges
from workbench.desk.show import Shown, facts, table
from workbench.rules.change import words

SPARE_MIN = 4
"""A credential for logging in and one for deciding, on two authenticators: one can be lost."""
DECIDES = frozenset({"administer", "approve"})
LOOKED_AT = 50
"""So many of the newest sets are looked at: a review is about a quarter."""


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


def revocations(client: Client) -> Shown:
    """Return what was taken away, newest first: from which entry on it counts, and what that ended."""
    taken_over = [each.digest for each in client.changes().changes if each.standing == "activated"]
    views = [client.change(digest) for digest in reversed(taken_over[-LOOKED_AT:])]
    return table(
        "What was taken away",
        [_revoked(view, client.effect(view.digest)) for view in views if view.compared().only_takes_away],
    )


def _revoked(view: ChangeView, effect: Effect) -> dict[str, object]:
    people = {each.person for each in view.compared().people}
    theirs = [each for each in effect.void if each.person in people]
    return {
        "from entry": effect.since,
        "at": (effect.at or "")[:16].replace("T", " "),
        "what": "; ".join(words(view.compared())),
        "signed by": ", ".join(view.signed_by),
        "sessions ended": ", ".join(f"{each.session[:12]} (entry {each.seq})" for each in effect.sessions)
        or "none",
        "void for open intents": ", ".join(f"{each.verb} {each.intent}" for each in theirs) or "nothing",
    }


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
