"""What a next policy set does to people: named, delayed, vetoed; and nothing but people makes a quorum."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.encoding import canonical
from tests.rules.build import NOW, World, press, refused
from workbench.demo import charter
from workbench.rules import change
from workbench.rules.change import Change, PersonChange, SignedVeto, Veto, between, verify_change, verify_veto
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import UNSAFE_AAGUID

Json = dict[str, Any]
People = list[Json]
Edit = Callable[[People], People]


def edited(person: str, **changes: Any) -> Edit:
    """Return the edit that gives a person other fields; a function gets the old value."""

    def edit(people: People) -> People:
        def new(each: Json, name: str, value: Any) -> Any:
            return value(each[name]) if callable(value) else value

        return [
            each | {name: new(each, name, value) for name, value in changes.items()}
            if each["id"] == person
            else each
            for each in people
        ]

    return edit


def leaves(person: str) -> Edit:
    """Return the edit that takes a person out."""
    return lambda people: [each for each in people if each["id"] != person]


def both(*edits: Edit) -> Edit:
    """Return one edit after the other."""

    def edit(people: People) -> People:
        for each in edits:
            people = each(people)
        return people

    return edit


def but(path: str, count: int = 1) -> Callable[[list[Json]], list[Json]]:
    """Take the first credentials of a path away."""

    def change_(credentials: list[Json]) -> list[Json]:
        gone = [each for each in credentials if each["path"] == path][:count]
        return [each for each in credentials if each not in gone]

    return change_


def fresh(world: World, person: str, path: str = "approval") -> Json:
    """Make another credential, which the world's keys then know."""
    made = charter.authenticator(world.folder, f"{person}-more", charter.PARTIES[path]).enrol(
        person=person, name=person, path=path, aaguids=[UNSAFE_AAGUID]
    )
    vars(world).pop("keys", None)
    return made.dump()


def gains(world: World, person: str, path: str = "approval") -> Edit:
    """Return the edit that gives a person another credential."""
    made = fresh(world, person, path)
    return edited(person, credentials=lambda listed: [*listed, made])


def joins(world: World, person: str, *roles: str) -> Edit:
    """Return the edit that brings somebody in, with one credential for each path."""
    made = [fresh(world, person, path) for path in charter.PARTIES]
    newcomer = {"id": person, "name": person, "roles": list(roles), "team": "new", "site": "new"}
    return lambda people: [*people, {**newcomer, "credentials": made}]


def following(
    world: World,
    edit: Edit = lambda people: people,
    *,
    after: PolicySet | None = None,
    files: Json | None = None,
    **changes: Any,
) -> PolicySet:
    """Return an unsigned next set, which activates in two days unless said otherwise."""
    current = after or world.policy
    people = json.loads(current.files["people.json"])
    made = {**current.files, "people.json": canonical(edit(people), limit=2**20), **(files or {})}
    changes = {"activates_at": write_time(NOW + timedelta(days=2)), **changes}
    return world.sign_set(made, after=current, signers=(), **changes)


def changed(world: World, next_set: PolicySet) -> Change:
    """Return what a set changes, proposed at noon."""
    return verify_change(world.policy, next_set, proposed_at=NOW)


TAKES_AWAY: list[Any] = [
    pytest.param(edited("risk-1", credentials=but("approval")), id="a credential is revoked"),
    pytest.param(edited("risk-1", credentials=[]), id="all of somebody's credentials are revoked"),
    pytest.param(edited("cro-1", roles=["committee"]), id="a role is lost"),
    pytest.param(leaves("trader-1"), id="somebody leaves"),
    pytest.param(both(leaves("pm-1"), edited("admin-1", credentials=but("login"))), id="several at once"),
]


@pytest.mark.parametrize("edit", TAKES_AWAY)
def test_rule_2_what_only_takes_away_acts_at_once(world: World, edit: Edit) -> None:
    """Revocation does not wait, and its time may be over when the last signature arrives."""
    at = write_time(NOW - timedelta(hours=1))
    found = changed(world, following(world, edit, activates_at=at))
    assert found.only_takes_away
    assert found.delay(world.policy.limits) == timedelta(0)


def limits(world: World, **changes: Any) -> Json:
    """Return limits.json with fields changed."""
    return {"limits.json": canonical(json.loads(world.files["limits.json"]) | changes)}


WAITS: list[Any] = [
    pytest.param(lambda w: following(w, gains(w, "risk-1")), id="a credential"),
    pytest.param(lambda w: following(w, gains(w, "trader-1", "login")), id="a credential for logins"),
    pytest.param(
        lambda w: following(w, both(edited("risk-1", credentials=but("approval")), gains(w, "risk-1"))),
        id="a credential in another's place",
    ),
    pytest.param(lambda w: following(w, edited("trader-1", roles=["trader", "compliance"])), id="a role"),
    pytest.param(lambda w: following(w, edited("trader-1", roles=["compliance"])), id="another role"),
    pytest.param(lambda w: following(w, joins(w, "trader-2", "trader")), id="somebody new"),
    pytest.param(lambda w: following(w, edited("trader-1", team="risk")), id="another team"),
    pytest.param(lambda w: following(w, edited("trader-1", name="Trader ")), id="another name"),
    pytest.param(lambda w: following(w, edited("trader-1", site="south")), id="another site"),
    pytest.param(lambda w: following(w, lambda people: people[::-1]), id="the same people in another order"),
    pytest.param(lambda w: following(w, files=limits(w, gas_max=1)), id="a limit, also a lower one"),
    pytest.param(lambda w: following(w, leaves("trader-1"), name="other"), id="another name of the set"),
    pytest.param(
        lambda w: following(w, files={"whitelist.json": b"[]"}), id="the whitelist, also a shorter one"
    ),
    pytest.param(
        lambda w: following(w, leaves("trader-1"), files=limits(w, gas_max=1)),
        id="a limit behind somebody who leaves",
    ),
]


@pytest.mark.parametrize("make", WAITS)
def test_rule_2_everything_else_waits(world: World, make: Callable[[World], PolicySet]) -> None:
    """What adds or alters anything lies open for a day from its proposal on, and not a moment less."""
    patient = make(world)
    manifest = patient.manifest
    at_the_earliest = NOW + timedelta(days=1)
    good = PolicySet(
        type(manifest).load(manifest.dump() | {"activates_at": write_time(at_the_earliest)}),
        patient.files,
        [],
    )
    assert not changed(world, good).only_takes_away
    for early in (at_the_earliest - timedelta(microseconds=1), NOW, NOW - timedelta(days=9)):
        hasty = type(manifest).load(manifest.dump() | {"activates_at": write_time(early)})
        with refused(Refusal.CHANGE_DELAY, "/manifest/activates_at"):
            changed(world, PolicySet(hasty, patient.files, []))


def test_rule_2_the_delay_is_that_of_the_set_in_force(world: World) -> None:
    """A set that shortens the delay waits for the long one itself."""
    shorter = limits(world, change_delay_s_min=0)
    with refused(Refusal.CHANGE_DELAY):
        changed(world, following(world, files=shorter, activates_at=write_time(NOW + timedelta(hours=23))))
    changed(world, following(world, files=shorter))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"version": 3}, Refusal.POLICY_CHAIN, id="a version too many"),
        pytest.param({"version": 1}, Refusal.POLICY_CHAIN, id="the version in force"),
        pytest.param({"previous": "ab" * 32}, Refusal.POLICY_CHAIN, id="another predecessor"),
        pytest.param({"previous": None}, Refusal.POLICY_CHAIN, id="no predecessor"),
        pytest.param({}, Refusal.POLICY_INVALID, id="nothing is changed"),
    ],
)
def test_rule_1_it_follows_the_set_in_force(world: World, changes: Json, code: Refusal) -> None:
    """A set that belongs elsewhere, or that does nothing, is none."""
    with refused(code):
        changed(world, following(world, **changes))


@pytest.mark.parametrize(
    ("edit", "few"),
    [
        pytest.param(edited("risk-1", credentials=but("approval")), "risk-1", id="one for approvals"),
        pytest.param(edited("risk-1", credentials=but("login")), "risk-1", id="one for logins"),
        pytest.param(edited("admin-1", credentials=but("login", 2)), "admin-1", id="an administrator"),
        pytest.param(edited("committee-1", credentials=but("approval", 2)), "committee-1", id="one of three"),
        pytest.param(edited("committee-1", credentials=but("approval")), None, id="two of three"),
        pytest.param(edited("trader-1", credentials=but("login", 2)), None, id="who does not consent"),
        pytest.param(edited("auditor-1", credentials=[]), None, id="who only reads"),
    ],
)
def test_rule_3_nobody_falls_silent_with_one_key(world: World, edit: Edit, few: str | None) -> None:
    """Who consents or administers has two credentials for each path in every set that adds something."""
    changed(world, following(world, edit))
    alters = following(world, both(edit, edited("trader-1", team="risk")))
    if few is None:
        changed(world, alters)
        return
    with refused(Refusal.CREDENTIALS_FEW, "/files/people.json") as told:
        changed(world, alters)
    assert told.detail.startswith(few)


def test_rule_3_the_number_is_the_sets(world: World) -> None:
    """How many are enough is said by the set itself."""
    edit = edited("risk-1", credentials=but("login"))
    changed(world, following(world, edit, files=limits(world, credentials_min=1)))
    with refused(Refusal.CREDENTIALS_FEW):
        changed(world, following(world, files=limits(world, credentials_min=3)))


def vetoed(
    world: World,
    next_set: PolicySet,
    person: str,
    *,
    credential: str | None = None,
    sets: Sequence[PolicySet] | None = None,
    path: str = "approval",
    **changes: Any,
) -> None:
    """Let a person veto a set with a credential of his."""
    document = {"v": 1, "policy": next_set.digest, "person": person, "reason": "not mine"} | changes
    veto = Veto.load(document)
    used = credential or world.credential(person, path).id
    assertion = press(world.keys, used, veto.challenge, party=charter.PARTIES[path])
    verify_veto(
        SignedVeto(veto=veto, assertion=assertion),
        following=next_set,
        sets=sets or [world.policy],
        trust_root=world.trust_root,
    )


@pytest.mark.parametrize("person", ["trader-1", "committee-1", "cro-1", "risk-1"])
def test_rule_4_the_owner_and_the_committee_veto(world: World, person: str) -> None:
    """Whoever is to get a credential may say that it is not his; so may anybody of the committee."""
    vetoed(world, following(world, gains(world, "trader-1")), person)


def test_rule_4_who_gets_no_credential_owns_nothing(world: World) -> None:
    """Another team or role is for the committee to stop, not for the person."""
    with refused(Refusal.CHANGE_NO_VETO):
        vetoed(world, following(world, edited("trader-1", site="south")), "trader-1")


def test_nothing_takes_nothing_away() -> None:
    """An empty change acts no sooner than any other, and whoever joins has gained by that."""
    assert not Change(people=[], accounts=[], altered=[]).only_takes_away
    nothing: Json = {"roles_gained": [], "roles_lost": [], "credentials_added": [], "credentials_removed": []}
    joined = PersonChange.load({"person": "pm-9", "kind": "joins", "described": False} | nothing)
    assert not joined.only_loses


def test_rule_4_who_does_not_veto(world: World) -> None:
    """Strangers, administrators, the new key itself, a login press, another set: none of them counts."""
    next_set = following(world, gains(world, "trader-1"))
    added = next_set.people["trader-1"].credentials[-1].id
    cases: list[tuple[Json, Refusal]] = [
        ({"person": "pm-1"}, Refusal.CHANGE_NO_VETO),
        ({"person": "admin-1"}, Refusal.CHANGE_NO_VETO),
        ({"person": "nobody", "credential": added}, Refusal.CHANGE_NO_VETO),
        ({"person": "trader-1", "credential": added}, Refusal.CREDENTIAL_UNKNOWN),
        ({"person": "trader-1", "path": "login"}, Refusal.CREDENTIAL_UNKNOWN),
        ({"person": "cro-1", "credential": world.credential("risk-1").id}, Refusal.CREDENTIAL_UNKNOWN),
        ({"person": "cro-1", "policy": "ab" * 32}, Refusal.ASSERTION_OTHER),
    ]
    for case, code in cases:
        with refused(code):
            vetoed(world, next_set, **case)


def test_rule_4_the_assertion_is_over_this_veto(world: World) -> None:
    """A press for something else, or a document that was changed after the press, vetoes nothing."""
    next_set = following(world, gains(world, "trader-1"))
    veto = Veto.load({"v": 1, "policy": next_set.digest, "person": "cro-1", "reason": "no"})
    for challenge in (next_set.challenge, Veto.load(veto.dump() | {"reason": "yes"}).challenge):
        signed = SignedVeto(veto=veto, assertion=world.sign_as("cro-1", challenge))
        with refused(Refusal.ASSERTION_OTHER):
            verify_veto(signed, following=next_set, sets=[world.policy], trust_root=world.trust_root)


@pytest.mark.parametrize("edit", TAKES_AWAY)
@pytest.mark.parametrize("person", ["risk-1", "cro-1"])
def test_rule_4_a_revocation_is_not_vetoed(world: World, edit: Edit, person: str) -> None:
    """A stolen key does not keep itself."""
    with refused(Refusal.CHANGE_NO_VETO):
        vetoed(world, following(world, edit), person)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(leaves("trader-1"), id="he was taken out first"),
        pytest.param(edited("trader-1", credentials=but("approval", 9)), id="his keys were taken first"),
    ],
)
def test_rule_4_an_owner_who_was_silenced_first(world: World, first: Edit) -> None:
    """Taking somebody's keys away and giving him another later does not get round his veto."""
    without = world.sign_set(following(world, first).files, after=world.policy)
    back = gains(world, "trader-1") if "trader-1" in without.people else joins(world, "trader-1", "trader")
    next_set = following(world, back, after=without)
    vetoed(world, next_set, "trader-1", sets=[world.policy, without])
    with refused(Refusal.CHANGE_NO_VETO):
        vetoed(world, next_set, "pm-1", sets=[world.policy, without])


def test_rule_4_an_officer_whose_keys_were_stolen(world: World) -> None:
    """Of somebody who gets nothing, only credentials that are in force count: the thief vetoes nothing."""
    edit = edited("risk-1", credentials=but("approval", 9))
    signers = ("committee-1", "cro-1")
    without = world.sign_set(following(world, edit).files, after=world.policy, signers=signers)
    next_set = following(world, gains(world, "trader-1"), after=without)
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        vetoed(world, next_set, "risk-1", sets=[world.policy, without])


def test_a_newcomer_has_no_owner(world: World) -> None:
    """Nobody was there before: the committee may veto, the newcomer's own key may not."""
    next_set = following(world, joins(world, "trader-3", "trader"))
    with refused(Refusal.CHANGE_NO_VETO):
        own = next(each.id for each in next_set.people["trader-3"].credentials if each.path == "approval")
        vetoed(world, next_set, "trader-3", credential=own)
    vetoed(world, next_set, "cro-1")


def test_in_words(world: World) -> None:
    """What changes is said so that it can be read aloud, and nothing else is said."""
    edit = both(
        both(leaves("pm-1"), joins(world, "pm-9", "portfolio_manager")),
        both(
            edited("cro-1", roles=["cro", "custodian"]),
            both(edited("risk-1", credentials=but("login")), edited("trader-1", site="south")),
        ),
    )
    next_set = following(world, edit, files=limits(world, gas_max=1))
    lost = world.credential("risk-1", "login").id[:12]
    gained = [each.id[:12] for each in next_set.people["pm-9"].credentials]
    gone = [(each.path, each.id[:12]) for each in world.policy.people["pm-1"].credentials]
    model = f"model {UNSAFE_AAGUID}"
    assert change.words(between(world.policy, next_set)) == [
        "cro-1 gains the role custodian",
        "cro-1 loses the role committee",
        "pm-1 leaves",
        "pm-1 loses the role portfolio_manager",
        *(f"pm-1 loses a credential for {path}: {name}, {model}" for path, name in gone),
        "pm-9 joins",
        "pm-9 gains the role portfolio_manager",
        f"pm-9 gains a credential for login: {gained[0]}, {model}",
        f"pm-9 gains a credential for approval: {gained[1]}, {model}",
        f"risk-1 loses a credential for login: {lost}, {model}",
        "trader-1 has another name, team or site",
        "limits.json is altered",
    ]
    assert Change.load(json.loads(canonical(between(world.policy, next_set).dump()))).people


OFFICERS = ("committee-1", "cro-1", "risk-1")
HANDS = st.sampled_from(
    [
        *((name, index) for name in OFFICERS for index in (0, 1, None)),
        ("pm-1", 0),
        ("admin-1", 1),
        ("pm-1", 1),
    ]
)


@given(hands=st.lists(HANDS, max_size=8), data=st.data())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_people_make_a_quorum(
    world: World, hands: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    """In any order, however often, with whichever of their keys: two officers, one by the second path."""
    unsigned = following(world, leaves("trader-1"), activates_at=write_time(NOW))
    made = world.sign_set(unsigned.files, after=world.policy, signers=hands).signatures
    repeated = [*made, *data.draw(st.lists(st.sampled_from(made), max_size=8) if made else st.just([]))]
    next_set = PolicySet(unsigned.manifest, unsigned.files, data.draw(st.permutations(repeated)))
    sets, distinct = [world.policy, next_set], {name for name, _ in hands} & set(OFFICERS)
    if len(distinct) < 2 or not any(name in OFFICERS and index is None for name, index in hands):
        with refused(Refusal.POLICY_CHAIN):
            verify_chain(sets, trust_root=world.trust_root, now=NOW)
    else:
        assert verify_chain(sets, trust_root=world.trust_root, now=NOW) is next_set
