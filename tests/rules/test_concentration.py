"""Too many shares in one hand: refused in a policy set, and where a key is to be made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rules.build import NOW, TREASURY_KEY, World, refused
from workbench.demo import charter
from workbench.evm.transaction import address_of
from workbench.rules import concentration
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.concentration import EVERYWHERE, PRODUCTION, Place
from workbench.rules.documents import write_time
from workbench.rules.key_operation import Arrangement, KeyOperation, arrangement, verify_ends
from workbench.rules.policy import PolicySet

NAMES = list(charter.COSIGNERS)
Json = dict[str, Any]


def places(**same: str) -> dict[str, Place]:
    """Return five co-signers of which nothing is the same but what is given, for the first three."""
    made = {}
    for number, name in enumerate(NAMES):
        fields = {each: f"{each}-{number}" for each in (*EVERYWHERE, *PRODUCTION)}
        made[name] = Place.load({"name": name, **fields, **(same if number < 3 else {})})
    return made


@pytest.mark.parametrize("hand", [*EVERYWHERE, *PRODUCTION])
def test_three_in_one_hand(hand: str) -> None:
    """Of a key that three sign for, two may be in one hand, and three may not."""
    hands = (*EVERYWHERE, *PRODUCTION)
    concentration.check("k", NAMES, 4, places=places(**{hand: "one"}), hands=hands)
    concentration.check("k", NAMES, 3, places=places(), hands=hands)
    with refused(Refusal.CONCENTRATED) as caught:
        concentration.check("k", NAMES, 3, places=places(**{hand: "one"}), hands=hands)
    assert f"{hand} one has 3 of k, and 3 sign together" in caught.detail


def test_a_place_that_nobody_tells() -> None:
    """A co-signer of which nothing is said could stand anywhere."""
    known = places()
    del known[NAMES[4]]
    with refused(Refusal.CONCENTRATED):
        concentration.check("k", NAMES, 3, places=known)


def set_with(world: World, *, threshold: int = 3, **same: str) -> PolicySet:
    """Return an unsigned set with a key that five share."""
    point = bytes.fromhex(TREASURY_KEY)
    key = {
        "id": charter.KEY_ID,
        "address": address_of(point),
        "public_key": TREASURY_KEY,
        "tier": "hot",
        "purpose": "test",
        "engine": "mpc",
        "cosigners": NAMES,
        "threshold": threshold,
    }
    files = world.with_file("keys.json", lambda _: [key])
    listed = [each.dump() for each in places(**same).values()]
    return world.policy_of(
        {**files, "cosigners.json": world.with_file("cosigners.json", lambda _: listed)["cosigners.json"]}
    )


@pytest.mark.parametrize("hand", EVERYWHERE)
def test_a_set_that_puts_a_key_into_one_hand(world: World, hand: str) -> None:
    """Whatever its signatures: it is no policy set."""
    set_with(world).validate()
    with refused(Refusal.CONCENTRATED):
        set_with(world, **{hand: "one"}).validate()
    with refused(Refusal.CONCENTRATED):
        PolicySet.load(set_with(world, **{hand: "one"}).dump())


@pytest.mark.parametrize("hand", PRODUCTION)
def test_one_host_is_for_demos(world: World, hand: str) -> None:
    """Hosts and vendors are looked at under a production trust root."""
    made = set_with(world, **{hand: "one"})
    made.validate()
    with refused(Refusal.CONCENTRATED):
        made.verify_apart(PRODUCTION)


def test_the_demo_says_what_it_is(world: World) -> None:
    """Its five would pass as a demo, and not in production: one host, one make of token."""
    listed = charter.places("mpc")
    made = world.policy_of(
        {
            **set_with(world).files,
            "cosigners.json": world.with_file("cosigners.json", lambda _: listed)["cosigners.json"],
        }
    )
    made.validate()
    with refused(Refusal.CONCENTRATED):
        made.verify_apart(PRODUCTION)


def operation(world: World, what: str = "dkg", **changes: Any) -> KeyOperation:
    """Draft an operation."""
    return KeyOperation.load(
        {
            "v": 1,
            "operation": what,
            "key": "sweep",
            "epoch": 1,
            "parameters": {"parties": NAMES, "threshold": 3} if what == "dkg" else None,
            "policy": world.policy.digest,
            "reason": "test",
            "nonce": "ab" * 16,
            "expires_at": write_time(NOW),
            **changes,
        }
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"parameters": {"parties": NAMES, "threshold": 2}}, id="two sets without one in common"),
        pytest.param({"parameters": {"parties": NAMES, "threshold": 6}}, id="more than there are"),
        pytest.param({"parameters": {"parties": NAMES[:1] * 3, "threshold": 2}}, id="one party thrice"),
        pytest.param({"parameters": None}, id="a key of nobody"),
        pytest.param({"operation": "refresh"}, id="a refresh with other parties"),
        pytest.param({"operation": "export"}, id="what there is no such operation for"),
        pytest.param({"epoch": 0}, id="no epoch"),
        pytest.param({"reason": ""}, id="no reason"),
    ],
)
def test_operations_that_cannot_be(world: World, changes: Json) -> None:
    """Refused before anybody looks at their signatures."""
    with pytest.raises(RefusedError):
        operation(world, **changes)


def root(world: World, profile: str = "demo") -> Any:
    """Return a trust root with five co-signers; only its profile is production's."""
    names = {name: f"{number:064x}" for number, name in enumerate(NAMES, 1)}
    return world.root(cosigners=names).model_copy(update={"profile": profile})


def test_who_makes_a_key(world: World) -> None:
    """Five co-signers of the trust root, in no hand too many."""
    policy = set_with(world)
    made = arrangement(operation(world), policy=policy, trust_root=root(world))
    assert made == Arrangement(parties=NAMES, threshold=3)


@pytest.mark.parametrize(
    ("same", "profile", "changes", "code"),
    [
        pytest.param({"site": "one"}, "demo", {}, Refusal.CONCENTRATED, id="one site"),
        pytest.param({"host": "one"}, "production", {}, Refusal.CONCENTRATED, id="one host, in production"),
        pytest.param({}, "demo", {"key": charter.KEY_ID}, Refusal.STATE, id="a key that there is"),
        pytest.param(
            {},
            "demo",
            {"parameters": {"parties": [*NAMES[:2], "mallory"], "threshold": 2}},
            Refusal.TRUST_ROOT,
            id="a stranger",
        ),
    ],
)
def test_who_cannot_make_a_key(world: World, same: Json, profile: str, changes: Json, code: Refusal) -> None:
    """The policy set is a good one for the keys that it has; this one is refused."""
    policy = set_with(world, threshold=4, **same)
    policy.validate()
    with refused(code):
        arrangement(operation(world, **changes), policy=policy, trust_root=root(world, profile))


def test_what_is_refreshed_and_what_ends(world: World) -> None:
    """Only a shared key that is listed has epochs; only one that is not listed ends."""
    shared, whole = set_with(world), world.policy
    listed = operation(world, "refresh", key=charter.KEY_ID, epoch=2)
    assert arrangement(listed, policy=shared, trust_root=root(world)).threshold == 3
    with refused(Refusal.STATE):
        arrangement(listed, policy=whole, trust_root=root(world))
    with refused(Refusal.KEY_UNKNOWN):
        arrangement(operation(world, "refresh"), policy=shared, trust_root=root(world))
    verify_ends(operation(world, "destroy"), policy=shared)
    with refused(Refusal.STATE):
        verify_ends(operation(world, "destroy", key=charter.KEY_ID), policy=shared)
    with refused(Refusal.MALFORMED):
        verify_ends(listed, policy=shared)
