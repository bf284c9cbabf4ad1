"""What a policy set that was taken over has ended: from which entry on it counts, sessions, consent.

The ledger says when it was activated and which sessions ended for that; whose consent is void is told
as it is when somebody asks: an intent that was decided again, or is over, is not in the list any more.
"""

from __future__ import annotations

from typing import Any

from workbench.rules.change import Event
from workbench.rules.documents import write_time
from workbench.service.books import Books
from workbench.service.changes import Changes
from workbench.service.desk import Desk
from workbench.service.sessions import End


def effect(changes: Changes, digest: str) -> dict[str, Any]:
    """Return what a proposed set has ended; before it is activated, nothing."""
    told = changes.view(digest)
    books = changes.desk.lane.books
    activations = [entry for entry in list(books.changes) if entry.type == Event.ACTIVATED]
    place = next((index for index, entry in enumerate(activations) if entry.subject == digest), None)
    found = {"digest": digest, "standing": told["standing"]}
    if place is None:
        return found | {"since": None, "at": None, "sessions": [], "void": []}
    entry, later = activations[place], activations[place + 1 :]
    people = {each["person"] for each in told["change"]["people"]}
    return found | {
        "since": entry.seq,
        "at": write_time(entry.time),
        "sessions": _ended(books, people, entry.seq, later[0].seq if later else None),
        "void": _void(changes.desk, digest),
    }


def _ended(books: Books, people: set[str], since: int, until: int | None) -> list[dict[str, Any]]:
    """Return the sessions of these people that were revoked between this activation and the next one."""
    ended = [
        {"session": digest, "person": each.person, "seq": each.seq, "at": write_time(each.at)}
        for digest, each in list(books.ended.items())
        if each.reason == End.REVOKED
        and each.person in people
        and each.seq > since
        and (until is None or each.seq < until)
    ]
    return sorted(ended, key=lambda each: int(str(each["seq"])))


def _void(desk: Desk, digest: str) -> list[dict[str, Any]]:
    """Return the decisions on open intents that were made under a set before this one."""
    chain = [policy.digest for policy in desk.lane.policies]
    before = set(chain[: chain.index(digest)])
    return [
        {"intent": intent, "decision": made.id, "person": made.person, "verb": made.verb}
        for intent, made in desk.void()
        if made.policy in before
    ]
