"""What a set has ended is told from the ledger: the same after a restart, and each set for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.encoding import canonical
from tests.rules.build import NOW, World, build, refused
from tests.rules.test_change import following, leaves
from tests.service.test_changes import AT, Office, wait
from workbench.client import Effect
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.policy import PolicySet
from workbench.rules.revocation import without
from workbench.service.changes import keep
from workbench.service.effects import effect


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return people with credentials, and the policy set that knows them."""
    return build(tmp_path_factory.mktemp("officers"))


@pytest.fixture
def office(world: World, tmp_path: Path) -> Iterator[Office]:
    """Return an office on its first day."""
    keep(tmp_path / "policies", world.policy)
    made = Office(world, tmp_path)
    yield made
    made.hall.recorder.close()


def ended(office: Office, policy: PolicySet) -> Effect:
    """Return what a set has ended, as a client reads it."""
    told = effect(office.changes, policy.digest)
    canonical(told)  # plain values, which an answer can carry
    return Effect.load(told)


def test_before_it_acts(office: Office) -> None:
    """A set that is proposed, vetoed or void has ended nothing; one that nobody knows is none."""
    policy = without(office.in_force, "trader-1", activates_at=NOW)
    with refused(Refusal.NOT_FOUND):
        effect(office.changes, policy.digest)
    office.hall.login("trader-1")
    office.proposes(policy)
    office.signs(policy, "cro-1")
    told = ended(office, policy)
    assert (told.standing, told.since, told.at, told.sessions, told.void) == ("pending", None, None, [], [])


def test_each_set_for_itself(office: Office, world: World) -> None:
    """Sessions are told of the set that ended them: not what ended before, between or for another reason."""
    trader, pm, other = (office.hall.login(person) for person in ("trader-1", "pm-1", "pm-1"))
    auditor = office.hall.login("auditor-1")
    pm.ends(other)
    first = without(world.policy, "trader-1", activates_at=NOW)
    office.proposes(first)
    office.after(seconds=1)
    office.signs(first, "cro-1", "risk-1")
    office.hall.sessions.end_overdue()
    second = without(office.in_force, "pm-1", activates_at=NOW)
    office.proposes(second)
    office.signs(second, "cro-1", "risk-1")
    # a double's session is revoked as well, and no set did that
    office.desk.lane.books.frozen.add(auditor.certified.assertion.credential)
    office.hall.sessions.end_overdue()
    assert [end[1] for end in office.hall.ends()] == ["logout", "revoked", "revoked", "revoked"]
    activated = [each for each in office.hall.recorder.entries() if each.type == "policy.activated"]
    for again in (office, office.restarted()):
        for policy, entry, gone in zip((first, second), activated, (trader, pm), strict=True):
            told = ended(again, policy)
            assert (told.standing, told.since, told.void) == ("activated", entry.seq, [])
            assert told.at == write_time(entry.time)
            assert [(each.session, each.person) for each in told.sessions] == [
                (gone.digest, gone.certified.session.person)
            ]
            assert all(each.seq > entry.seq for each in told.sessions)
    again.hall.recorder.close()


def test_the_same_person_twice(office: Office, world: World) -> None:
    """Of one person's sessions each is told of the set that ended it, and none of those that he ended."""
    first = office.hall.login("cro-1")
    role = without(world.policy, "cro-1", roles=["cro"], activates_at=NOW)
    office.proposes(role)
    office.signs(role, "committee-1", "risk-1")
    second, out = office.hall.login("cro-1"), office.hall.login("cro-1")
    out.ends(out)
    whole = without(office.in_force, "cro-1", activates_at=NOW)
    office.proposes(whole)
    office.signs(whole, "committee-1", "risk-1")
    assert [end[:2] for end in office.hall.ends()] == [
        (first.digest, "revoked"),
        (out.digest, "logout"),
        (second.digest, "revoked"),
    ]
    assert [each.session for each in ended(office, role).sessions] == [first.digest]
    assert [each.session for each in ended(office, whole).sessions] == [second.digest]


def test_a_set_that_gives(office: Office, world: World) -> None:
    """Also a set that does more than take away is told of."""
    trader = office.hall.login("trader-1")
    edit = leaves("trader-1")
    policy = following(world, edit, files={"whitelist.json": b"[]"}, activates_at=write_time(AT))
    office.proposes(policy)
    office.signs(policy, "cro-1", "risk-1")
    trader.speaks()
    wait(office)
    told = ended(office, policy)
    assert told.since is not None
    assert [each.session for each in told.sessions] == [trader.digest]
