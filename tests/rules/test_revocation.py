"""The next set without somebody, or without a key: nothing else differs, and what remains can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.rules.build import NOW, World, refused
from tests.rules.test_change import Edit, both, edited, leaves
from workbench.rules import change
from workbench.rules.change import between, verify_change
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.policy import FILES, PolicySet, verify_chain
from workbench.rules.revocation import without


def ids(world: World, person: str, path: str = "") -> list[str]:
    """Return the ids of a person's credentials."""
    return [each.id for each in world.policy.people[person].credentials if path in {"", each.path}]


def gone(policy: PolicySet, person: str, **what: Any) -> PolicySet:
    """Return the next set, dated now."""
    return without(policy, person, activates_at=NOW, **what)


def test_a_leaver(world: World) -> None:
    """He is gone with all he had, and every other byte is the same."""
    made = gone(world.policy, "pm-1")
    assert set(made.people) == set(world.policy.people) - {"pm-1"}
    assert {name: raw for name, raw in made.files.items() if name != "people.json"} == {
        name: raw for name, raw in world.files.items() if name != "people.json"
    }
    assert set(made.files) == FILES
    assert (made.manifest.version, made.manifest.previous) == (2, world.policy.digest)
    assert (made.manifest.activates_at, made.manifest.name) == (write_time(NOW), "desk")
    assert made.signatures == []
    assert change.words(between(world.policy, made))[0] == "pm-1 leaves"


def test_a_program_leaves_with_its_owner(world: World) -> None:
    """What he answered for goes with him, or with his right to propose; others' programs stay."""
    accounts = [
        {
            "id": name,
            "purpose": "orders",
            "owner": owner,
            "certificate": digit * 64,
            "public_key": digit * 63 + "0",
            "keys": ["treasury"],
            "proposals_per_minute": 1,
            "expires_at": write_time(NOW + timedelta(days=9)),
        }
        for name, owner, digit in (("oms-1", "pm-1", "a"), ("oms-2", "trader-1", "b"))
    ]
    current = world.policy_of(world.with_file("service_accounts.json", lambda _: accounts))
    made = gone(current, "pm-1")
    assert list(made.service_accounts) == ["oms-2"]
    assert between(current, made).only_takes_away
    assert list(gone(current, "pm-1", credentials=ids(world, "pm-1")).service_accounts) == ["oms-1", "oms-2"]
    roles = {"pm-1": ["portfolio_manager", "compliance"]}
    files = world.with_file(
        "people.json",
        lambda people: [each | {"roles": roles.get(each["id"], each["roles"])} for each in people],
    )
    current = world.policy_of({**current.files, "people.json": files["people.json"]})
    made = gone(current, "pm-1", roles=["portfolio_manager"])
    assert list(made.service_accounts) == ["oms-2"]


@pytest.mark.parametrize("index", range(4))
def test_a_lost_key(world: World, index: int) -> None:
    """That credential goes; the person's others stay, in their order."""
    held = ids(world, "trader-1")
    made = gone(world.policy, "trader-1", credentials=[held[index]])
    left = [each.id for each in made.people["trader-1"].credentials]
    assert left == [each for each in held if each != held[index]]
    assert made.people["trader-1"].roles == world.policy.people["trader-1"].roles
    (told,) = change.words(between(world.policy, made))
    assert told.startswith("trader-1 loses a credential for ")


def test_an_authenticator(world: World) -> None:
    """Several credentials of one person go at once, by how they begin; twice the same is once."""
    held = ids(world, "pm-1")
    made = gone(world.policy, "pm-1", credentials=[held[0], held[1][:12], held[0][:20]])
    assert [each.id for each in made.people["pm-1"].credentials] == held[2:]


def test_every_credential(world: World) -> None:
    """Somebody can lose all his keys and stay a person of the desk: he gets others by a later set."""
    made = gone(world.policy, "pm-1", credentials=ids(world, "pm-1"))
    assert made.people["pm-1"].credentials == []


def test_a_role(world: World) -> None:
    """A role goes, alone or with a key."""
    made = gone(world.policy, "cro-1", roles=["cro"])
    assert made.people["cro-1"].roles == ["committee"]
    key = ids(world, "cro-1", "console")
    made = gone(world.policy, "cro-1", roles=["cro"], credentials=key)
    assert [each.id for each in made.people["cro-1"].credentials] == ids(world, "cro-1")[:-1]


@pytest.mark.parametrize("person", ["pm-1", "trader-1", "admin-1", "auditor-1", "cro-1", "committee-1"])
def test_it_acts_at_once(world: World, person: str) -> None:
    """Two officers who stay sign it, and the chain is valid the same moment, however late they are."""
    made = gone(world.policy, person)
    found = verify_change(world.policy, made, proposed_at=NOW + timedelta(hours=1))
    assert found.only_takes_away
    signers = [each for each in ("risk-1", "cro-1", "committee-1") if each != person][:2]
    signed = world.sign_set(made.files, after=world.policy, signers=signers)
    chain = [world.policy, signed]
    assert verify_chain(chain, trust_root=world.trust_root, now=NOW).digest == made.digest


def in_force(world: World, edit: Edit, **limits: int) -> PolicySet:
    """Return another set to start from."""
    files = world.with_file("people.json", edit)
    files["limits.json"] = canonical(json.loads(files["limits.json"]) | limits)
    return world.policy_of(files)


def no_keys(*people: str, path: str) -> Edit:
    """Return the edit that takes people's keys for a path."""

    def kept(listed: list[Any]) -> list[Any]:
        return [each for each in listed if each["path"] != path]

    return both(*(edited(person, credentials=kept) for person in people))


def one_officer(world: World) -> PolicySet:
    """Return what is left when an officer leaves a committee of two."""
    return gone(in_force(world, leaves("committee-1")), "cro-1")


def no_officer_role(world: World) -> PolicySet:
    """Return what is left when an officer of two loses that role."""
    return gone(in_force(world, leaves("committee-1")), "cro-1", roles=["committee"])


def no_officer_key(world: World) -> PolicySet:
    """Return what is left when an officer of two loses every key that decides."""
    current = in_force(world, leaves("committee-1"))
    lost = [*ids(world, "cro-1", "approval"), *ids(world, "cro-1", "console")]
    return gone(current, "cro-1", credentials=lost)


def no_second_path(world: World) -> PolicySet:
    """Return what is left when the last officer with a key of the second path loses it."""
    current = in_force(world, no_keys("cro-1", "committee-1", path="console"))
    return gone(current, "risk-1", credentials=ids(world, "risk-1", "console"))


def nobody_logs_in(world: World) -> PolicySet:
    """Return what is left when the last who could propose a set loses his keys for logins."""
    current = in_force(world, no_keys("cro-1", "risk-1", "committee-1", path="login"))
    return gone(current, "admin-1", credentials=ids(world, "admin-1", "login"))


def nobody_proposes(world: World) -> PolicySet:
    """Return what is left when the last who could propose a set leaves."""
    current = in_force(world, no_keys("cro-1", "risk-1", "committee-1", path="login"))
    return gone(current, "admin-1")


REFUSED: list[Any] = [
    pytest.param(lambda w: gone(w.policy, "nobody-1"), Refusal.PERSON_UNKNOWN, id="nobody of this name"),
    pytest.param(lambda w: gone(w.policy, ""), Refusal.PERSON_UNKNOWN, id="no name"),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", credentials=["A" * 43]), Refusal.CREDENTIAL_UNKNOWN, id="no such key"
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", credentials=ids(w, "trader-1")[:1]),
        Refusal.CREDENTIAL_UNKNOWN,
        id="somebody else's key",
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", credentials=[ids(w, "pm-1")[0][:11]]),
        Refusal.CREDENTIAL_UNKNOWN,
        id="too short a name",
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", credentials=[""]), Refusal.CREDENTIAL_UNKNOWN, id="an empty name"
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", credentials=[ids(w, "pm-1")[0], "A" * 43]),
        Refusal.CREDENTIAL_UNKNOWN,
        id="one of two keys",
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", roles=["trader"]),
        Refusal.ROLE_NOT_HELD,
        id="a role he lacks",
    ),
    pytest.param(
        lambda w: gone(w.policy, "pm-1", roles=["portfolio_manager"]),
        Refusal.POLICY_INVALID,
        id="his last role",
    ),
    pytest.param(
        lambda w: gone(w.policy, "cro-1", roles=["cro", "committee"]),
        Refusal.POLICY_INVALID,
        id="all his roles",
    ),
    pytest.param(one_officer, Refusal.POLICY_INVALID, id="fewer officers than the quorum"),
    pytest.param(no_officer_role, Refusal.POLICY_INVALID, id="an officer's role too many"),
    pytest.param(no_officer_key, Refusal.POLICY_INVALID, id="fewer officers with a key than the quorum"),
    pytest.param(no_second_path, Refusal.POLICY_INVALID, id="nobody left who signs by the second path"),
    pytest.param(nobody_logs_in, Refusal.POLICY_INVALID, id="nobody left who can log in to propose"),
    pytest.param(nobody_proposes, Refusal.POLICY_INVALID, id="nobody left who can propose"),
]


@pytest.mark.parametrize(("make", "code"), REFUSED)
def test_what_is_refused(world: World, make: Callable[[World], PolicySet], code: Refusal) -> None:
    """What is not there is not taken away, and no set is made that nobody could follow."""
    before = world.policy.dump()
    with refused(code):
        make(world)
    assert world.policy.dump() == before


def test_what_is_there_is_named(world: World) -> None:
    """Whoever mistypes a key is told which there are."""
    with refused(Refusal.CREDENTIAL_UNKNOWN) as told:
        gone(world.policy, "pm-1", credentials=["mistyped"])
    for each in world.policy.people["pm-1"].credentials:
        assert f"{each.id[:12]} for {each.path}" in told.detail


def test_the_edges_of_what_is_usable(world: World) -> None:
    """As many officers with a key as the quorum are enough, and one who can propose."""
    current = in_force(world, no_keys("committee-1", path="approval"))
    assert set(gone(current, "committee-1").people) == set(current.people) - {"committee-1"}
    last = in_force(world, no_keys("cro-1", "risk-1", path="login"))
    assert "admin-1" not in gone(last, "admin-1").people


def test_a_set_in_other_bytes(world: World) -> None:
    """The order of the people who stay, and what is said of them, is kept."""
    current = in_force(world, lambda people: people[::-1])
    made = json.loads(gone(current, "trader-1").files["people.json"])
    assert made == [each for each in json.loads(current.files["people.json"]) if each["id"] != "trader-1"]
