"""The keys of a policy set: what each engine needs, and what gets in each other's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import NOW, TREASURY_KEY, World, address, digest_of, refused
from workbench.demo import charter
from workbench.evm.carriers import NOBODY
from workbench.rules import keys, policy
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import write_time
from workbench.rules.intent import verify_proposal
from workbench.rules.keys import SafeKey, SharedKey, WholeKey
from workbench.rules.safe_pins import Pinned

Json = dict[str, Any]
POINTS = {
    f"cosigner-{number}": PrivateKey(bytes([number]) * 32).public_key.format(compressed=False).hex()
    for number in range(1, 7)
}
OWNERS = {name: POINTS[name] for name in charter.COSIGNERS}
SAFE, SINGLETON, MULTI_SEND = address("safe"), address("singleton"), address("multi send")


def listed(critical_quorum: int | None = None) -> list[Json]:
    """Return a Safe that five own, and its executor, as a policy set lists them."""
    pinned = Pinned(
        chain_id=1,
        safe=SAFE,
        singleton=SINGLETON,
        multi_send=MULTI_SEND,
        owners=frozenset(address(name) for name in OWNERS),
        threshold=3,
        guard=NOBODY,
        fallback_handler=NOBODY,
        modules=frozenset(),
        code_hashes={each: bytes.fromhex(digest_of(each)) for each in (SAFE, SINGLETON, MULTI_SEND)},
        critical_quorum=critical_quorum,
    )
    return charter.owned(pinned, OWNERS, POINTS[charter.EXECUTOR])


def checked(values: list[Json]) -> dict[str, keys.Key]:
    """Load keys, and check that they are not in each other's way."""
    made = {key.id: key for key in map(keys.load, values)}
    keys.check(made)
    return made


def test_what_there_is() -> None:
    """Each engine is a kind of its own, and a Safe has no point."""
    safe, executor = checked(listed()).values()
    assert isinstance(safe, SafeKey)
    assert isinstance(executor, WholeKey)
    assert (safe.cosigners, safe.signers) == (list(charter.COSIGNERS), 3)
    assert isinstance(keys.load(charter.whole(TREASURY_KEY, engine="mpc")[0]), SharedKey)
    assert "public_key" not in safe.dump()


def test_who_sends() -> None:
    """What is intended for a Safe is its executor's transaction; any other key's is its own."""
    made = checked(listed())
    safe, executor = made[charter.KEY_ID], made[charter.EXECUTOR_ID]
    assert keys.sender(safe, made) is executor
    assert keys.sender(executor, made) is executor
    assert keys.executors(made) == {charter.EXECUTOR_ID}


def test_an_owner_is_known_by_its_co_signer() -> None:
    """A co-signer that has no owner's key is refused by name."""
    safe = checked(listed())[charter.KEY_ID]
    assert isinstance(safe, SafeKey)
    assert safe.owner("cosigner-2").public_key == OWNERS["cosigner-2"]
    with refused(Refusal.SAFE_OWNER):
        safe.owner(charter.EXECUTOR)


def test_the_pins_are_those_of_the_set() -> None:
    """What a proof is held against has every pin, for the chain that is meant."""
    safe = checked(listed())[charter.KEY_ID]
    assert isinstance(safe, SafeKey)
    pinned = safe.pinned(7)
    assert (pinned.chain_id, pinned.safe, pinned.threshold, pinned.critical_quorum) == (7, SAFE, 3, None)
    assert pinned.owners == {each.address for each in safe.owners}
    assert pinned.code_hashes[MULTI_SEND] == bytes.fromhex(digest_of(MULTI_SEND))


Change = Callable[[Json, Json], None]


def pins(**changes: Any) -> Change:
    """Change the pins."""
    return lambda safe, _: safe["pins"].update(changes)


def of_the_safe(**changes: Any) -> Change:
    """Change the Safe."""
    return lambda safe, _: safe.update(changes)


def of_the_executor(**changes: Any) -> Change:
    """Change the executor's key."""
    return lambda _, executor: executor.update(changes)


def owner(place: int, **changes: Any) -> Change:
    """Change an owner."""
    return lambda safe, _: safe["owners"][place].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(of_the_safe(threshold=2), "more than half", id="two pairs of owners"),
        pytest.param(of_the_safe(threshold=6), "how many", id="more than own it"),
        pytest.param(of_the_safe(threshold=1), "greater than or equal to 2", id="one owner alone"),
        pytest.param(of_the_safe(engine="file"), "does not match any", id="an engine that nobody knows"),
        pytest.param(of_the_safe(public_key=TREASURY_KEY), "Extra inputs", id="a contract with a key"),
        pytest.param(of_the_safe(executor="nobody"), "no whole key of", id="no such executor"),
        pytest.param(of_the_safe(executor=charter.KEY_ID), "no whole key", id="a Safe that pays for itself"),
        pytest.param(
            of_the_executor(engine="mpc", cosigners=["a", "b"], threshold=2),
            "no whole key",
            id="a shared executor",
        ),
        pytest.param(of_the_executor(cosigners=["cosigner-1"]), "would be an owner", id="an owner that pays"),
        pytest.param(owner(1, cosigner="cosigner-1"), "holds a key once", id="one co-signer for two owners"),
        pytest.param(owner(1, public_key=POINTS["cosigner-1"]), "stands twice", id="one point for two"),
        pytest.param(owner(1, public_key=POINTS["cosigner-6"]), "stands twice", id="a key that is an owner"),
        pytest.param(owner(1, public_key="04"), "owner cosigner-2", id="an owner without a point"),
        pytest.param(of_the_executor(address=SAFE), "stands twice", id="two keys at one address"),
        pytest.param(pins(critical_quorum=3), "not above the threshold", id="no quorum above the threshold"),
        pytest.param(pins(code_hashes={}), "no code pinned", id="no code"),
        pytest.param(pins(guard="nobody"), "address", id="a guard that is no address"),
    ],
)
def test_what_is_refused(change: Change, words: str) -> None:
    """A set is refused that would let a Safe be signed for by too few, by others, or by anybody."""
    values = listed()
    change(*values)
    with pytest.raises(RefusedError, match=words):
        checked(values)


def test_two_safes_share_no_executor() -> None:
    """What one executor sends for two Safes would be one lane."""
    values = listed()
    points = [
        PrivateKey(bytes([number]) * 32).public_key.format(compressed=False).hex() for number in range(11, 16)
    ]
    others = [{**each, "public_key": point} for each, point in zip(values[0]["owners"], points, strict=True)]
    other = {**values[0], "id": "vault", "address": address("vault"), "owners": others}
    code = values[0]["pins"]["code_hashes"] | {address("vault"): digest_of("vault")}
    other["pins"] = {**values[0]["pins"], "code_hashes": code}
    with pytest.raises(RefusedError, match="carries out two Safes"):
        checked([*values, other])


def with_a_safe(world: World, critical_quorum: int | None = None, **hands: str) -> policy.PolicySet:
    """Return a set whose treasury is a Safe, its owners' places changed."""
    places = [{**each, **hands} for each in charter.places("safe")]
    files = world.with_file("keys.json", lambda _: listed(critical_quorum))
    files["cosigners.json"] = world.with_file("cosigners.json", lambda _: places)["cosigners.json"]
    return policy.PolicySet(
        policy.manifest_of(files, name="desk", version=1, previous=None, at=write_time(NOW)), files, []
    )


def test_owners_stand_apart(world: World) -> None:
    """Owners count like shares: as many as sign together are not in one hand."""
    with_a_safe(world).validate()
    for hand in ("site", "administrator", "team"):
        with refused(Refusal.CONCENTRATED, "/files/cosigners.json"):
            with_a_safe(world, **{hand: "same"}).validate()


def test_an_executor_has_no_intents_of_its_own(world: World) -> None:
    """Nothing is proposed for the executor's key, whoever proposes it."""
    made, proposal = with_a_safe(world), world.propose(world.approval(key=charter.EXECUTOR_ID))
    with refused(Refusal.KEY_EXECUTES, "/key"):
        verify_proposal(proposal, policy=made, trust_root=world.trust_root, now=NOW)
