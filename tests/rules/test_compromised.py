"""A key that a set calls compromised: it gives to ours, and no later set forgets it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import DEPLOYMENT, NOW, TREASURY, World, address, refused
from workbench.demo import charter
from workbench.evm.transaction import address_of
from workbench.rules.change import Change, between, revocation_epoch, words
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.intent import verify_proposal
from workbench.rules.policy import PolicySet, verify_chain

USDC, WETH = DEPLOYMENT.usdc, DEPLOYMENT.weth
POINT = PrivateKey(b"\x43" * 32).public_key.format(compressed=False).hex()
NEW = address_of(bytes.fromhex(POINT))
LOST = "lost-2"
LOST_POINT = PrivateKey(b"\x44" * 32).public_key.format(compressed=False).hex()
Json = dict[str, Any]
Keys = list[Json]


def three(keys: Keys) -> Keys:
    """Return the treasury, a sound key beside it, and another that is compromised."""
    sound = {**keys[0], "id": "treasury-2", "public_key": POINT, "address": NEW}
    lost = {**keys[0], "id": LOST, "public_key": LOST_POINT, "address": address_of(bytes.fromhex(LOST_POINT))}
    return [keys[0], sound, {**lost, "compromised": True}]


def marked(keys: Keys) -> Keys:
    """Return them with the treasury called compromised, too."""
    first, *rest = three(keys)
    return [{**first, "compromised": True}, *rest]


def signed(
    world: World, edit: Callable[[Keys], Keys], after: PolicySet | None = None, *, hours: int
) -> PolicySet:
    """Return a signed set with these keys."""
    files = world.with_file("keys.json", edit)
    return world.sign_set(files, activates_at=write_time(NOW - timedelta(hours=hours)), after=after)


@pytest.fixture(scope="module")
def before(world: World) -> PolicySet:
    """Return the set before it was known."""
    return signed(world, three, hours=3)


@pytest.fixture(scope="module")
def known(world: World, before: PolicySet) -> PolicySet:
    """Return the set that says so."""
    return signed(world, marked, before, hours=2)


def gives(*deltas: tuple[str, str, int]) -> list[Json]:
    """Return what is declared to move."""
    return [{"account": who, "asset": asset, "amount": str(amount)} for who, asset, amount in deltas]


def propose(world: World, policy: PolicySet, deltas: list[Json], **changes: Any) -> None:
    """Have an intent of the treasury's looked at under a set."""
    intent = world.approval(**{"deltas": deltas, "allowances": [], **changes})
    root = world.root(genesis_policy=policy.digest)
    verify_proposal(world.propose(intent), policy=policy, trust_root=root, now=NOW)


def test_it_gives_to_sound_keys_of_ours(world: World, known: PolicySet) -> None:
    """What it has may go to one that is not compromised, one asset or two."""
    propose(world, known, gives((TREASURY, USDC, -5), (NEW, USDC, 5)))
    propose(world, known, gives((TREASURY, USDC, -5), (NEW, USDC, 5), (TREASURY, WETH, -1), (NEW, WETH, 1)))
    zero = [{"owner": TREASURY, "spender": DEPLOYMENT.router, "asset": USDC, "amount": "0"}]
    propose(world, known, gives((TREASURY, USDC, -5), (NEW, USDC, 5)), allowances=zero)


LOST_ADDRESS = address_of(bytes.fromhex(LOST_POINT))
ONE = [{"owner": TREASURY, "spender": DEPLOYMENT.router, "asset": USDC, "amount": "1"}]
STOPPED: list[tuple[str, list[Json], Json]] = [
    ("a payment", gives((TREASURY, USDC, -5)), {}),
    ("less than it gives", gives((TREASURY, USDC, -5), (NEW, USDC, 4)), {}),
    ("more than it gives", gives((TREASURY, USDC, -5), (NEW, USDC, 6)), {}),
    ("an exchange", gives((TREASURY, USDC, -5), (TREASURY, WETH, 5)), {}),
    ("another asset", gives((TREASURY, USDC, -5), (NEW, WETH, 5)), {}),
    ("to a key that is compromised as well", gives((TREASURY, USDC, -5), (LOST_ADDRESS, USDC, 5)), {}),
    ("nothing at all", [], {}),
    ("an allowance", [], {"allowances": ONE}),
    ("an allowance beside", gives((TREASURY, USDC, -5), (NEW, USDC, 5)), {"allowances": ONE}),
]


@pytest.mark.parametrize(
    ("deltas", "more"), [each[1:] for each in STOPPED], ids=[each[0] for each in STOPPED]
)
def test_it_does_nothing_else(
    world: World, before: PolicySet, known: PolicySet, deltas: list[Json], more: Json
) -> None:
    """What was possible for a sound key is refused by name."""
    propose(world, before, deltas, **more)
    with refused(Refusal.KEY_COMPROMISED):
        propose(world, known, deltas, **more)


def test_another_key_goes_on(world: World, known: PolicySet) -> None:
    """Of a key that nobody calls compromised nothing changes."""
    intent = world.approval(key="treasury-2", deltas=[], allowances=[])
    root = world.root(genesis_policy=known.digest)
    verify_proposal(world.propose(intent), policy=known, trust_root=root, now=NOW)


def renamed(keys: Keys) -> Keys:
    """Return the compromised key under another name."""
    return [{**keys[0], "id": "fresh"}, *three(keys)[1:]]


def moved(keys: Keys) -> Keys:
    """Return its point under another address."""
    return [{**keys[0], "address": address("elsewhere")}, *three(keys)[1:]]


def owned(keys: Keys) -> Keys:
    """Return its address with another point."""
    other = PrivateKey(b"\x45" * 32).public_key.format(compressed=False).hex()
    return [{**keys[0], "public_key": other}, *three(keys)[1:]]


@pytest.mark.parametrize("edit", [three, renamed, moved, owned], ids=lambda edit: edit.__name__)
def test_no_later_set_forgets_it(
    world: World, before: PolicySet, known: PolicySet, edit: Callable[[Keys], Keys]
) -> None:
    """Not even after a set that does not list it, nor under another name: such a chain is none."""
    gone = signed(world, lambda keys: three(keys)[1:], known, hours=1)
    root = world.root(genesis_policy=before.digest)
    verify_chain([before, known, gone], trust_root=root, now=NOW)
    for chain in ([before, known], [before, known, gone]):
        back = signed(world, edit, chain[-1], hours=0)
        with refused(Refusal.KEY_COMPROMISED):
            verify_chain([*chain, back], trust_root=root, now=NOW)


def test_saying_so_only_takes_away(before: PolicySet, known: PolicySet) -> None:
    """At once and without veto, and leases count it as a revocation."""
    change = between(before, known)
    assert (change.compromised, change.altered) == ([charter.KEY_ID], [])
    assert change.only_takes_away
    assert words(change) == [f"the key {charter.KEY_ID} is compromised, for good: it only gives to ours"]
    assert revocation_epoch([before, known]) == known.manifest.version


def test_what_hides_behind_it_waits(world: World, before: PolicySet) -> None:
    """With any other word about a key, or a key more or less, it is an alteration like any other."""
    for edit in (
        lambda keys: [{**each, "tier": "cold"} for each in marked(keys)],
        lambda keys: [*marked(keys)[:2]],
        lambda keys: [*marked(keys), {**three(keys)[1], "id": "more", "address": address("more")}],
        lambda keys: [{**marked(keys)[0], "id": "renamed"}, *marked(keys)[1:]],
    ):
        files = {**before.files, "keys.json": world.with_file("keys.json", edit)["keys.json"]}
        change = between(before, PolicySet(before.manifest, files, []))
        assert (change.compromised, change.altered) == ([], ["keys.json"])
        assert not change.only_takes_away


def test_it_does_not_come_back_by_a_change(before: PolicySet, known: PolicySet) -> None:
    """To call it sound again is an alteration, which the chain refuses anyway."""
    change: Change = between(known, before)
    assert (change.compromised, change.altered) == ([], ["keys.json"])
