"""The policy chain, rule by rule: (1) files, (2) succession, (3) both quorums, (4) time."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.rules.build import CHAIN_ID, DEPLOYMENT, NOW, World, address, flip, refused
from workbench.demo import charter
from workbench.rules import keys
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import write_time
from workbench.rules.policy import SIGNATURES_MAX, PolicySet, Signature, verify_chain
from workbench.rules.trust import UNSAFE_AAGUID

Json = dict[str, Any]


def verified(world: World, *sets: PolicySet, **changes: Any) -> PolicySet:
    """Return the set in force under the world's trust root, at noon."""
    return verify_chain(sets, trust_root=world.root(**changes), now=NOW)


def second(world: World, **options: Any) -> PolicySet:
    """Return a good second version: the same files, a day's limit lower."""
    files = world.with_file("limits.json", lambda value: value | {"daily_usd_cents_max": 1})
    return world.sign_set(files, **({"after": world.policy} | options))


def test_where_nothing_is_said_of_the_way(world: World) -> None:
    """A set without the fields is as those before them: by the nodes; one with them says what it says."""
    assert (world.policy.limits.broadcast, world.policy.limits.relay_blocks_max) == ("nodes", 25)
    said = {"broadcast": "relay", "relay_blocks_max": 1}
    files = world.with_file("limits.json", lambda value: value | said)
    limits = world.sign_set(files, after=world.policy).limits
    assert {name: value for name, value in limits.dump().items() if name in said} == said


def newcomers(folder: Path, *names: str) -> list[Json]:
    """Return people with fresh credentials, all of the committee."""
    return [
        {
            "id": name,
            "name": name,
            "roles": ["committee"],
            "team": "new",
            "site": "new",
            "credentials": [
                charter.authenticator(folder, name, charter.APPROVAL)
                .enrol(person=name, name=name, path="approval", aaguids=[UNSAFE_AAGUID])
                .dump()
            ],
        }
        for name in names
    ]


def test_the_genesis_set_and_its_successor(world: World) -> None:
    """A set signed by both quorums is in force; the last of the chain is returned."""
    assert verified(world, world.policy) is world.policy
    next_set = second(world)
    assert verified(world, world.policy, next_set) is next_set
    assert PolicySet.load(next_set.dump()).digest == next_set.digest


def test_a_quorum_of_everybody(world: World) -> None:
    """As many as there are is still reachable."""
    files = world.with_file("limits.json", lambda value: value | {"policy_quorum": 3})
    everybody = PolicySet.load(world.sign_set(files).dump())
    assert verified(world, everybody, genesis_policy=everybody.digest) is everybody


# (1)


def _put(place: str, name: str, text: str) -> Callable[[Json], None]:
    return lambda value: value[place].update({name: text})


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(
            _put("files", "policies.cedar", "permit(principal,action,resource);"),
            Refusal.POLICY_INVALID,
            id="a file changed",
        ),
        pytest.param(_put("files", "extra.json", "[]"), Refusal.POLICY_INVALID, id="an extra file"),
        pytest.param(
            lambda value: value["files"].pop("limits.json"), Refusal.POLICY_INVALID, id="a missing file"
        ),
        pytest.param(
            lambda value: (value["files"].pop("limits.json"), value["manifest"]["files"].pop("limits.json")),
            Refusal.POLICY_INVALID,
            id="a file missing in both",
        ),
        pytest.param(
            lambda value: value["manifest"].update(extra=1), Refusal.MALFORMED, id="an unknown field"
        ),
        pytest.param(
            lambda value: value["manifest"].update(version=0), Refusal.MALFORMED, id="version nought"
        ),
        pytest.param(
            lambda value: value["manifest"].update(version="1"), Refusal.MALFORMED, id="a version as text"
        ),
        pytest.param(lambda value: value.pop("signatures"), Refusal.MALFORMED, id="no signatures"),
        pytest.param(
            lambda value: value.update(signatures=value["signatures"] * (SIGNATURES_MAX // 3 + 1)),
            Refusal.MALFORMED,
            id="too many signatures",
        ),
    ],
)
def test_rule_1_files_and_manifest(world: World, attack: Callable[[Json], Any], code: Refusal) -> None:
    """The manifest names every file by its digest; nothing more is there, and nothing less."""
    value = json.loads(json.dumps(world.policy.dump()))
    attack(value)
    with refused(code):
        PolicySet.load(value, at="/policy_chain/0")


def test_rule_1_a_file_added_to_both(world: World) -> None:
    """A set holds the files that we read, not a place for others."""
    files = {**world.files, "more.json": b"[]"}
    with refused(Refusal.POLICY_INVALID, "/files"):
        PolicySet.load(world.sign_set(files).dump())


# (2)


def test_rule_2_the_first_set_is_the_trust_roots(world: World) -> None:
    """Another first set is refused, however well it is signed."""
    other = world.sign_set(world.with_file("limits.json", lambda value: value | {"gas_max": 1}))
    with refused(Refusal.POLICY_CHAIN):
        verified(world, other)
    with refused(Refusal.POLICY_CHAIN):
        verified(world, second(world))
    with refused(Refusal.POLICY_CHAIN):
        verified(world)
    claims_one = world.sign_set(world.files, after=second(world))
    with refused(Refusal.POLICY_CHAIN):
        verified(world, claims_one, genesis_policy=claims_one.digest)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"previous": "00" * 32}, id="another predecessor"),
        pytest.param({"previous": None}, id="no predecessor"),
        pytest.param({"version": 3}, id="a version left out"),
        pytest.param({"version": 1}, id="the same version again"),
    ],
)
def test_rule_2_each_set_follows_the_last(world: World, changes: Json) -> None:
    """A gap would hide a set; a wrong predecessor would splice two histories."""
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, second(world, **changes))


def test_rule_2_no_set_is_left_out_or_turned_round(world: World) -> None:
    """The third set does not follow the first, and the chain runs one way."""
    two = second(world)
    three = world.sign_set(world.files, after=two)
    assert verified(world, world.policy, two, three) is three
    for sets in (
        [world.policy, three],
        [two, world.policy],
        [world.policy, world.policy],
        [world.policy, three, two],
    ):
        with refused(Refusal.POLICY_CHAIN):
            verified(world, *sets)


# (3)


@pytest.mark.parametrize(
    ("signers", "counts"),
    [
        pytest.param(["committee-1", "cro-1"], True, id="two of the committee"),
        pytest.param(["committee-1", "cro-1", "risk-1"], True, id="all of them"),
        pytest.param(["committee-1"], False, id="one"),
        pytest.param([], False, id="nobody"),
        pytest.param(["committee-1", "committee-1"], False, id="one twice"),
        pytest.param([("committee-1", 0), ("committee-1", 1)], False, id="one with two keys"),
        pytest.param(["committee-1", "trader-1"], False, id="a trader is not of the committee"),
        pytest.param(["auditor-1", "pm-1", "trader-1"], False, id="nobody of the committee"),
    ],
)
def test_rule_3_who_counts(world: World, signers: list[Any], counts: bool) -> None:  # noqa: FBT001 - the table's
    """A quorum of distinct people of the role."""
    candidate = second(world, signers=signers)
    if counts:
        assert verified(world, world.policy, candidate) is candidate
    else:
        with refused(Refusal.POLICY_CHAIN):
            verified(world, world.policy, candidate)


def test_rule_3_new_people_do_not_vote_themselves_in(world: World) -> None:
    """A set signed only by those whom it brings lacks its predecessor's quorum; with both it stands."""
    people = newcomers(world.folder, "new-1", "new-2")
    files = world.with_file("people.json", lambda value: value + people)
    keys = World(world.folder, world.files, world.policy, world.trust_root).keys
    alone = world.sign_set(files, after=world.policy, signers=["new-1", "new-2"], keys=keys)
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, alone)
    half = world.sign_set(files, after=world.policy, signers=["new-1", "cro-1"], keys=keys)
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, half)
    both = world.sign_set(files, after=world.policy, signers=["new-1", "cro-1", "risk-1"], keys=keys)
    assert verified(world, world.policy, both) is both


def test_rule_3_those_who_leave_do_not_suffice(world: World) -> None:
    """A set must be signed by a quorum of itself too: nobody is left who will not answer for it."""
    leaving = {"committee-1", "cro-1"}
    people = newcomers(world.folder, "next-1")
    files = world.with_file(
        "people.json", lambda value: [each for each in value if each["id"] not in leaving] + people
    )
    keys = World(world.folder, world.files, world.policy, world.trust_root).keys
    old = world.sign_set(files, after=world.policy, signers=sorted(leaving), keys=keys)
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, old)
    all_of_them = [*sorted(leaving), "risk-1", "next-1"]
    good = world.sign_set(files, after=world.policy, signers=all_of_them, keys=keys)
    assert verified(world, world.policy, good) is good


def test_rule_3_the_old_quorum_is_not_lowered_by_the_new_set(world: World) -> None:
    """A set that says one signature suffices still needs its predecessor's two."""
    files = world.with_file("limits.json", lambda value: value | {"policy_quorum": 1})
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, world.sign_set(files, after=world.policy, signers=["cro-1"]))
    lowered = world.sign_set(files, after=world.policy)
    after = world.sign_set(world.files, after=lowered, signers=["cro-1"])
    with refused(Refusal.POLICY_CHAIN):
        # the third set asks for two again, so its own quorum is missing
        verified(world, world.policy, lowered, after)


def test_rule_3_junk_does_not_veto(world: World) -> None:
    """Unknown people, foreign assertions and forgeries are skipped, a good quorum stands."""
    good = second(world)
    first = good.signatures[0]
    forged = first.assertion.model_copy(update={"signature": flip(first.assertion.signature)})
    junk = [
        Signature(person="nobody", assertion=first.assertion),
        Signature(person="pm-1", assertion=first.assertion),
        Signature(person="risk-1", assertion=world.policy.signatures[0].assertion),
        Signature(person="cro-1", assertion=forged),
    ]
    noisy = PolicySet(good.manifest, good.files, [*junk, *good.signatures])
    assert verified(world, world.policy, noisy) is noisy
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, PolicySet(good.manifest, good.files, junk))


def test_rule_3_signatures_over_another_set(world: World) -> None:
    """The officers' assertions over one manifest do not serve another."""
    good = second(world)
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, PolicySet(good.manifest, good.files, world.policy.signatures))


def test_rule_3_login_credentials_do_not_sign_policy(world: World) -> None:
    """A credential of the login path changes nothing."""
    good = second(world)
    signatures = [
        Signature(person=each, assertion=world.sign_as(each, good.challenge, path="login"))
        for each in charter.SIGNERS
    ]
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, PolicySet(good.manifest, good.files, signatures))


# (4)


def test_rule_4_a_set_of_the_future(world: World) -> None:
    """A set that activates later is not one yet; at its second it is."""
    later = NOW + timedelta(minutes=1)
    future = second(world, activates_at=write_time(later))
    with refused(Refusal.POLICY_CHAIN):
        verified(world, world.policy, future)
    assert verify_chain([world.policy, future], trust_root=world.trust_root, now=later) is future


# the files themselves


def _same_key(people: list[Json]) -> list[Json]:
    """Give the trader the portfolio manager's key under another credential id."""
    copy = json.loads(json.dumps(people))
    copy[1]["credentials"][1]["cose"] = copy[0]["credentials"][1]["cose"]
    return list(copy)


def _same_id(people: list[Json]) -> list[Json]:
    copy = json.loads(json.dumps(people))
    copy[1]["credentials"][1]["id"] = copy[0]["credentials"][1]["id"]
    return list(copy)


def _bad_key(people: list[Json]) -> list[Json]:
    copy = json.loads(json.dumps(people))
    copy[1]["credentials"][1]["cose"] += "00"
    return list(copy)


def _function(name: str = "transfer", kind: str = "uint256") -> Json:
    inputs = [{"name": "to", "type": "address"}, {"name": "amount", "type": kind}]
    return {"fragment": {"type": "function", "name": name, "inputs": inputs}, "bounds": {}}


def _with_functions(*functions: Json) -> Callable[[list[Json]], list[Json]]:
    return lambda value: [value[0] | {"functions": list(functions)}, *value[1:]]


def _bound(bound: Json) -> Callable[[list[Json]], list[Json]]:
    return _with_functions({**_function(), "bounds": {"to": bound}})


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        pytest.param(
            "limits.json",
            lambda value: value | {"policy_quorum": 4},
            Refusal.POLICY_INVALID,
            id="a quorum larger than its holders",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"policy_quorum_role": "pope"},
            Refusal.POLICY_INVALID,
            id="a role nobody holds",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"policy_quorum": 0},
            Refusal.MALFORMED,
            id="a quorum of nobody",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"single_usd_cents_max": -1},
            Refusal.MALFORMED,
            id="a negative limit",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"decision_life_s_max": 2**53 - 1},
            Refusal.MALFORMED,
            id="a life beyond the calendar",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"daily": 1},
            Refusal.MALFORMED,
            id="a limit that no rule reads",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"broadcast": "nodes_then_relay"},
            Refusal.MALFORMED,
            id="a way that there is not",
        ),
        pytest.param(
            "limits.json",
            lambda value: value | {"broadcast": None},
            Refusal.MALFORMED,
            id="a way that is nothing",
        ),
        *(
            pytest.param(
                "limits.json",
                lambda value, blocks=blocks: value | {"relay_blocks_max": blocks},
                Refusal.MALFORMED,
                id=f"{blocks} blocks with a relay",
            )
            for blocks in (0, 26)
        ),
        pytest.param("limits.json", lambda _: [], Refusal.MALFORMED, id="a list of limits"),
        pytest.param("people.json", _same_id, Refusal.POLICY_INVALID, id="two people share a credential"),
        pytest.param(
            "people.json", _same_key, Refusal.POLICY_INVALID, id="two people share a key under two ids"
        ),
        pytest.param("people.json", _bad_key, Refusal.POLICY_INVALID, id="a key that is not canonical"),
        pytest.param(
            "people.json", lambda value: [*value, value[0]], Refusal.POLICY_INVALID, id="a person twice"
        ),
        pytest.param(
            "people.json",
            lambda value: [value[0] | {"roles": []}],
            Refusal.MALFORMED,
            id="a person without a role",
        ),
        pytest.param("people.json", lambda _: {}, Refusal.POLICY_INVALID, id="people as an object"),
        pytest.param("assets.json", lambda _: {}, Refusal.POLICY_INVALID, id="assets as an object"),
        pytest.param("keys.json", lambda value: value * 2, Refusal.POLICY_INVALID, id="a key twice"),
        pytest.param(
            "keys.json",
            lambda value: [value[0], value[0] | {"id": "other"}],
            Refusal.POLICY_INVALID,
            id="two keys over one address",
        ),
        pytest.param(
            "keys.json",
            lambda value: [value[0] | {"cosigners": []}],
            Refusal.MALFORMED,
            id="a key without co-signer",
        ),
        pytest.param(
            "keys.json",
            lambda value: [value[0] | {"engine": "file"}],
            Refusal.MALFORMED,
            id="a key in a file",
        ),
        pytest.param("assets.json", lambda value: value * 2, Refusal.POLICY_INVALID, id="an asset twice"),
        pytest.param(
            "assets.json",
            lambda value: [value[0] | {"unit_usd_cents": 0}],
            Refusal.MALFORMED,
            id="an asset worth nothing",
        ),
        pytest.param(
            "assets.json",
            lambda value: [value[0] | {"decimals": 37}],
            Refusal.MALFORMED,
            id="more decimals than are exact",
        ),
        pytest.param(
            "whitelist.json", lambda value: value * 2, Refusal.POLICY_INVALID, id="a whitelist entry twice"
        ),
        pytest.param(
            "whitelist.json",
            lambda value: [value[0] | {"functions": []}],
            Refusal.MALFORMED,
            id="an entry without function",
        ),
        pytest.param(
            "whitelist.json",
            _with_functions(_function(kind="uint7")),
            Refusal.POLICY_INVALID,
            id="a function that cannot be read",
        ),
        pytest.param(
            "whitelist.json",
            _with_functions(_function(), _function()),
            Refusal.POLICY_INVALID,
            id="two functions of one selector",
        ),
        pytest.param("whitelist.json", _bound({}), Refusal.MALFORMED, id="a bound that bounds nothing"),
        pytest.param("whitelist.json", _bound({"any": False}), Refusal.MALFORMED, id="any that is not any"),
        pytest.param(
            "whitelist.json", _bound({"any": True, "one_of": []}), Refusal.MALFORMED, id="two bounds in one"
        ),
        pytest.param(
            "whitelist.json",
            _bound({"equals": "owner"}),
            Refusal.MALFORMED,
            id="equal to what we do not know",
        ),
    ],
)
def test_a_malformed_set_stops_everything(world: World, name: str, change: Any, code: Refusal) -> None:
    """What is wrong in any file is found before a single rule is asked, with quorum or without."""
    with refused(code):
        PolicySet.load(world.policy_with(name, change).dump())


@pytest.mark.parametrize("name", ["people.json", "limits.json", "whitelist.json", "keys.json", "assets.json"])
def test_a_file_has_one_spelling(world: World, name: str) -> None:
    """A signed file that is not canonical JSON is refused."""
    with refused(Refusal.MALFORMED):
        PolicySet.load(world.policy_of({**world.files, name: world.files[name] + b"\n"}).dump())


def test_who_is_unknown_is_refused(world: World) -> None:
    """People, keys and credentials are looked up, never assumed."""
    with refused(Refusal.PERSON_UNKNOWN):
        world.policy.person("nobody")
    with refused(Refusal.KEY_UNKNOWN, "/key"):
        world.policy.key("nothing")
    person = world.policy.person("cro-1")
    for credential, path in (("AAAA", "approval"), (world.credential("cro-1").id, "login")):
        with refused(Refusal.CREDENTIAL_UNKNOWN):
            world.policy.credential(person, credential, path=path)
    theirs = world.credential("risk-1").id
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        world.policy.credential(person, theirs, path="approval")


def test_the_manifest_names_what_the_desk_signs(world: World) -> None:
    """The digest is over the canonical manifest, and so is every officer's challenge."""
    entry = world.policy.whitelist[DEPLOYMENT.router]
    assert (entry.chain_id, address("router")) == (CHAIN_ID, DEPLOYMENT.router)
    again = PolicySet.load(json.loads(canonical(world.policy.dump(), limit=2**22)))
    assert (again.digest, again.challenge) == (world.policy.digest, world.policy.challenge)


@pytest.mark.parametrize(
    ("parties", "threshold", "words"),
    [
        pytest.param(5, 3, None, id="three of five"),
        pytest.param(3, 2, None, id="two of three"),
        pytest.param(2, 2, None, id="both"),
        pytest.param(4, 2, "more than half", id="two pairs that do not know of each other"),
        pytest.param(5, 2, "more than half", id="two of five"),
        pytest.param(3, 4, "names how many", id="more than there are"),
        pytest.param(3, None, "required", id="unsaid"),
    ],
)
def test_how_many_share_a_key(world: World, parties: int, threshold: int | None, words: str | None) -> None:
    """So many sign together that any two sets have a co-signer in common, who remembers the nonce."""
    (key, *_) = world.policy.keys.values()
    value = key.dump() | {"engine": "mpc", "cosigners": [f"cosigner-{number}" for number in range(parties)]}
    value |= {"threshold": threshold} if threshold else {}
    if words is None:
        assert keys.load(value).signers == threshold
        return
    with pytest.raises(RefusedError, match=words):
        keys.load(value)
