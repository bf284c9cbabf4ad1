"""What a verified change request says, in words and to the last value: for the page and the command line.

Who proposed it, and when, is the service's word and says so; everything else is computed from the
two sets. The words come first, because people read them; the values are all there, because they sign them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from workbench.rules.assertion import CONSOLE
from workbench.rules.change import Change
from workbench.rules.change import words as in_words
from workbench.rules.change_request import AskedChange
from workbench.rules.documents import printable, read_time, write_time
from workbench.rules.policy import PolicySet
from workbench.rules.rows import Row, Section
from workbench.rules.shown import moment, until
from workbench.rules.words import words

PLACES: Final = {CONSOLE: "by the second path"}


def title(asked: AskedChange) -> str:
    """Return the whole matter in one line."""
    count = len(in_words(asked.change))
    manifest = asked.following.manifest
    return f"Policy set {manifest.name}, version {manifest.version}: {count} {_plural('change', count)}"


def sections(asked: AskedChange, *, now: datetime) -> list[Section]:
    """Return everything that this person is to read, in the order in which it matters."""
    found = [
        Section("What is asked", list(_asked(asked, now))),
        Section("What changes", list(_changes(asked))),
    ]
    found += [Section(f"{name}, value by value", list(_values(asked, name))) for name in asked.differences]
    found += [
        Section("Who has signed", list(_signatures(asked))),
        Section("What your key signs", list(_signed(asked))),
    ]
    return [section for section in found if section.rows]


def _asked(asked: AskedChange, now: datetime) -> Iterator[Row]:
    person = asked.person
    yield Row(label="You are", says=f"{person.name} ({person.id})", remark=", ".join(person.roles))
    says = {
        ("sign", "veto"): "you may sign this set, or veto it for good",
        ("sign",): "you may sign this set",
        ("veto",): "you may veto this set, for good",
    }
    yield Row(
        label="You can",
        says=says.get(tuple(asked.verbs), "neither sign nor veto this set"),
        alarm=not asked.verbs,
    )
    yield Row(
        label="Proposed by",
        says=asked.proposer,
        remark=f"{moment(write_time(asked.proposed_at))} · the service's word",
    )
    activates = asked.following.manifest.activates_at
    delay = asked.change.delay(asked.policy.limits)
    yield Row(
        label="Comes into force",
        says=moment(activates),
        remark=f"{until(read_time(activates), now)}, when it is signed"
        + (f" and has lain open for {delay}" if delay else ": it only takes away and waits for nothing"),
    )


def _changes(asked: AskedChange) -> Iterator[Row]:
    for each in asked.change.people:
        gains = bool(each.roles_gained or each.credentials_added) or each.kind == "joins"
        label = {"joins": "Joins", "leaves": "Leaves", "changes": "Somebody changes"}[each.kind]
        for line in in_words(Change(people=[each], accounts=[], altered=[])):
            yield Row(label=label, says=line, alarm=gains)
        yield from (
            Row(label=f"New credential for {made.path}", says=f"model {made.aaguid}", hex=made.cose)
            for made in each.credentials_added
        )
    for account in asked.change.accounts:
        for line in in_words(Change(people=[], accounts=[account], altered=[])):
            yield Row(label="Service account", says=line, alarm=not account.only_loses)
    for line in in_words(Change(people=[], accounts=[], compromised=asked.change.compromised, altered=[])):
        yield Row(label="Key", says=line, alarm=True)
    for name in asked.change.altered:
        says = "the set has another name" if name == "name" else f"{name} is altered"
        yield Row(label="Rules", says=says, remark="every value stands below", alarm=True)


def _values(asked: AskedChange, name: str) -> Iterator[Row]:
    for each in asked.differences[name]:
        place, before, after = (printable(part or "") for part in (each.place, each.before, each.after))
        if each.before is None:
            yield Row(label="New", says=f"{place}: {after}")
        elif each.after is None:
            yield Row(label="Gone", says=f"{place}: {before}")
        else:
            yield Row(label="Other", says=f"{place}: {before} → {after}")


def _signatures(asked: AskedChange) -> Iterator[Row]:
    for person, path in sorted(asked.signed.items()):
        yield Row(label=person, says=f"has signed {PLACES.get(path, 'on this page')}")
    for label, judge in (
        ("Needed of the set in force", asked.policy),
        ("Needed of this set", asked.following),
    ):
        yield Row(label=label, says=_needed(asked, judge), remark="one of them by the second path")


def _needed(asked: AskedChange, judge: PolicySet) -> str:
    limits = judge.limits
    counted = sum(
        limits.policy_quorum_role in judge.people[each].roles for each in asked.signed if each in judge.people
    )
    return f"{limits.policy_quorum} of the role {limits.policy_quorum_role}; {counted} so far"


def _signed(asked: AskedChange) -> Iterator[Row]:
    yield Row(
        label="Read these aloud",
        says=words(asked.following.digest),
        remark="whoever is asked about the same set sees the same words",
    )
    yield Row(label="This set", hex=asked.following.digest)
    manifest = asked.policy.manifest
    yield Row(
        label="It follows", says=f"{manifest.name}, version {manifest.version}", hex=asked.policy.digest
    )


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
