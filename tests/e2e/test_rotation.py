"""A whole key gets a successor in a living world: made, listed, swept to; then the old one is destroyed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.e2e.test_key_operations import KEY, done, ended, operation, signed
from tests.e2e.test_policy_change import in_force, taken_over
from tests.e2e.test_watcher import pause, release, said
from tests.world import COSIGNER, Living, living
from workbench import client
from workbench.demo import newswap
from workbench.demo.world import ANCHOR
from workbench.evm.transaction import address_of
from workbench.rules.codes import RefusedError
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet, next_set
from workbench.rules.recovery import SignedTestimony, verify_testimony

SUCCESSOR = "treasury-2"
DELAY_S = 2
LIMIT = 10**12
Files = dict[str, Any]
TRANSFER = {
    "type": "function",
    "name": "transfer",
    "stateMutability": "nonpayable",
    "inputs": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
    "outputs": [{"name": "", "type": "bool"}],
}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key is whole, and whose limits let all of it be moved at once."""
    limits = {
        "change_delay_s_min": DELAY_S,
        "single_usd_cents_max": LIMIT,
        "daily_usd_cents_max": LIMIT,
        "second_path_usd_cents_min": LIMIT,
    }
    with living(limits=limits) as built:
        yield built


@pytest.fixture(scope="module")
def made(world: Living) -> str:
    """The successor's public key, as its co-signer testified to it."""
    assert done(world, rotating(world)) == "generated"
    return said_of(world, "key.generated").whole[0]


def rotating(world: Living, **changes: Any) -> Any:
    """Draft the order for a successor."""
    drafted = {"epoch": 1, "parameters": {"successor": SUCCESSOR}, "policy": in_force(world).digest}
    return operation(world, "rotate", **{**drafted, **changes})


def ending(world: Living, **changes: Any) -> Any:
    """Draft the end of the old key."""
    return operation(world, "destroy", **{"epoch": 1, "policy": in_force(world).digest, **changes})


def said_of(world: Living, kind: str) -> Any:
    """Return what the co-signer said, verified, in the newest entry of a type."""
    data = [entry["data"] for entry in world.entries() if entry["type"] == kind][-1]
    signed_ = SignedTestimony.load(data["testimonies"][COSIGNER])
    return verify_testimony(signed_, cosigners=world.world.trust_root.cosigners)


def adopt(
    world: Living, edits: Mapping[str, Callable[[Any], Any]], *, delay_s: int = DELAY_S + 1
) -> PolicySet:
    """Have a next set proposed, signed and activated."""
    current = in_force(world)
    changed = {
        name: canonical(edit(json.loads(current.files[name])), limit=2**20) for name, edit in edits.items()
    }
    following = next_set(current, changed, activates_at=datetime.now(UTC) + timedelta(seconds=delay_s))
    world.officer("admin-1").speaks.amend(following)
    for person in ("risk-1", "cro-1"):
        world.signs(following, person)
    deadline = time.monotonic() + 30
    while in_force(world).digest != following.digest:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    taken_over(world, following)
    return following


def in_token(world: Living) -> set[str]:
    """Return the public keys of the transaction keys in the co-signer's token, as its owner sees them."""
    world.stack.stop_one(COSIGNER)
    told = said("custody", "token", world.world.places.root(COSIGNER))
    world.stack.start(COSIGNER)
    assert told.returncode == 0, told.stderr
    return {line.split("'")[1] for line in told.stdout.splitlines() if "private_key" in line}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"parameters": {"successor": KEY}}, "not_in_this_state", id="by itself"),
        pytest.param({"epoch": 2}, "not_in_this_state", id="an epoch that whole keys do not have"),
        pytest.param({"key": "other"}, "key_unknown", id="of a key that is not there"),
    ],
)
def test_what_is_not_rotated(world: Living, changes: dict[str, Any], code: str) -> None:
    """A quorum has signed, and it is refused all the same; the token has what it had."""
    problem_of(world, signed(world, rotating(world, **changes)), code)


def problem_of(world: Living, ordered: Any, code: str) -> None:
    """Assert that the service does not take an order."""
    with pytest.raises(client.ProblemError) as problem:
        client.order_key(world.socket, ordered)
    assert problem.value.code == code, problem.value


def test_a_key_in_use_does_not_end(world: Living) -> None:
    """The policy set lists it: nobody destroys what may own something."""
    problem_of(world, signed(world, ending(world)), "not_in_this_state")


@pytest.mark.parametrize("point", ["key-generated"])
def test_killed_when_it_was_made(world: Living, point: str) -> None:
    """Between the token and the word there is one successor: the next start finds it by its label."""
    world.stack.stop_one(COSIGNER)
    world.stack.start(COSIGNER, crash_at=point)
    order = rotating(world, parameters={"successor": "treasury-1b"})
    work = client.order_key(world.socket, signed(world, order))
    assert world.stack.wait_for_end(COSIGNER) != 0
    world.stack.crash_points.pop(COSIGNER)
    world.stack.start(COSIGNER)
    assert ended(world, work) == "generated"
    assert [label for label in in_token(world) if label.startswith("treasury-1b/1 ")] == [
        f"treasury-1b/1 {work.digest[:16]}"
    ]


def test_the_successor_is_the_tokens_own(world: Living, made: str) -> None:
    """Made in the token, never extractable; the testimony says so under the co-signer's identity."""
    told = said_of(world, "key.generated")
    assert (told.did, told.key, told.whole) == ("generated", KEY, [made])
    assert told.attributes is not None
    assert told.attributes["NEVER_EXTRACTABLE"] is True
    assert told.attributes["LOCAL"] is True
    assert address_of(bytes.fromhex(made)) != world.world.treasury


def listing(world: Living, point: str, name: str) -> dict[str, Callable[[Any], Any]]:
    """Return the edits that list a key, and let USDC go to it and nowhere else."""
    usdc, new = world.world.deployment.usdc, address_of(bytes.fromhex(point))
    bounds = {"to": {"one_of": [new]}, "amount": {"equals": "declared_outflow"}}

    def entry(each: Files) -> Files:
        kept = [one for one in each["functions"] if one["fragment"]["name"] != TRANSFER["name"]]
        return {**each, "functions": [*kept, {"fragment": TRANSFER, "bounds": bounds}]}

    return {
        "keys.json": lambda keys: [
            *keys,
            {
                **{field: each for field, each in keys[0].items() if field != "compromised"},
                "id": name,
                "address": new,
                "public_key": point,
            },
        ],
        "whitelist.json": lambda all_: [entry(each) if each["address"] == usdc else each for each in all_],
    }


def swept(world: Living, key: str, new: str) -> None:
    """Move all USDC of a key to another address of ours."""
    usdc, old = world.world.deployment.usdc, in_force(world).keys[key].address
    node = world.chain()
    try:
        all_of_it = balance(node, usdc, old)
        assert all_of_it > 0
        view = world.push(transfer(world, key, new, all_of_it))
        assert view.state == "confirmed", (view.denying, view.needs, view.missing)
        assert balance(node, usdc, old) == 0
        assert balance(node, usdc, new) == all_of_it
    finally:
        node.close()


def test_swept_delisted_and_destroyed(world: Living, made: str) -> None:
    """Listed by a set, all tokens moved there, no set lists the old key any more: then it is destroyed."""
    adopt(world, listing(world, made, SUCCESSOR))
    swept(world, KEY, address_of(bytes.fromhex(made)))
    # not while a set lists it
    problem_of(world, signed(world, ending(world)), "not_in_this_state")
    adopt(world, {"keys.json": lambda listed: [each for each in listed if each["id"] != KEY]})
    assert done(world, ending(world)) == "destroyed"
    told = said_of(world, "key.destroyed")
    assert (told.did, told.whole, told.shares) == ("destroyed", [old_key(world)], [])
    labels = in_token(world)
    assert not [label for label in labels if label.startswith("treasury/")]
    assert [label for label in labels if label.startswith(f"{SUCCESSOR}/1 ")]
    assert "identity/1" in labels


def test_destroyed_is_told_again(world: Living) -> None:
    """Another order over the same name finds nothing more, and says what it ended; the successor stays."""
    assert done(world, ending(world)) == "destroyed"
    assert said_of(world, "key.destroyed").whole == [old_key(world)]
    assert [label for label in in_token(world) if label.startswith(f"{SUCCESSOR}/1 ")]


def test_compromised_swept_and_destroyed(world: Living, made: str) -> None:
    """Paused by one person, called compromised at once; all it does then is give what it has to the next."""
    usdc, address = world.world.deployment.usdc, address_of(bytes.fromhex(made))
    newswap.fund(node_url(world), world.world.deployment, address, usdc=0, ether=10**18)
    granted = {"owner": address, "spender": world.world.deployment.router, "asset": usdc, "amount": "5000000"}
    view = world.outstanding(world.allowance(5, key=SUCCESSOR, allowances=[granted]))
    pause(world, f"key:{SUCCESSOR}")

    def mark(keys: list[Files]) -> list[Files]:
        return [{**each, "compromised": True} for each in keys]

    adopt(world, {"keys.json": mark}, delay_s=0)
    # what nobody had released is over, and holds no nonce
    assert world.pm.resume(view.digest).state == "expired"
    with pytest.raises((client.ProblemError, RefusedError)):
        world.approve(view.digest)
    with pytest.raises(client.ProblemError) as problem:
        world.pm.propose(world.allowance(6, key=SUCCESSOR, allowances=[granted]))
    assert problem.value.code == "key_compromised"
    # a successor of it is made while it is paused, and is sound
    order = rotating(world, key=SUCCESSOR, parameters={"successor": "treasury-3"})
    assert done(world, order) == "generated"
    third = said_of(world, "key.generated").whole[0]
    adopt(world, listing(world, third, "treasury-3"))
    release(world, f"key:{SUCCESSOR}")
    swept(world, SUCCESSOR, address_of(bytes.fromhex(third)))
    # nobody can list it as sound again
    forgotten = {"keys.json": lambda keys: [{**each, "compromised": False} for each in keys]}
    with pytest.raises(client.ProblemError) as problem:
        adopt(world, forgotten)
    assert problem.value.code == "key_compromised"
    adopt(world, {"keys.json": lambda keys: [each for each in keys if each["id"] != SUCCESSOR]})
    assert done(world, ending(world, key=SUCCESSOR)) == "destroyed"
    bundle = world.officer("auditor-1").speaks.bundle()
    told = said("audit", "keys", bundle, "--trust-root", world.world.places.trust_root)
    assert told.returncode == 0, told.stderr
    lines = {line.split("  ")[0]: line for line in told.stdout.splitlines() if " since " in line}
    assert "destroyed since" in lines[KEY]
    assert "destroyed since" in lines[SUCCESSOR]
    assert "active since" in lines["treasury-3"]


def node_url(world: Living) -> str:
    """Return where the chain's node is."""
    url: str = json.loads((world.world.places.root(ANCHOR) / "config.json").read_text())["node"]
    return url


def old_key(world: Living) -> str:
    """Return the public key that the first policy set lists."""
    return world.world.policy.keys[KEY].public_key


def balance(node: Any, token: str, owner: str) -> int:
    """Return how much of a token somebody has."""
    data = "0x70a08231" + owner[2:].lower().rjust(64, "0")
    return int(node.call("eth_call", {"to": token, "data": data}, "latest"), 16)


def transfer(world: Living, key: str, to: str, amount: int) -> Intent:
    """Draft the transfer of so much from a key to an address of ours."""
    usdc, old = world.world.deployment.usdc, in_force(world).keys[key].address
    data = "a9059cbb" + to[2:].lower().rjust(64, "0") + f"{amount:064x}"
    moved = {old: -amount, to: amount}
    deltas = [{"account": who, "asset": usdc, "amount": str(each)} for who, each in moved.items()]
    return world.allowance(1, key=key, to=usdc, data=data, deltas=deltas, allowances=[])
