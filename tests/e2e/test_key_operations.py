"""Operations on keys in a living world: ordered by officers, done by five processes, recorded."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.approver.test_console import approve as at_console
from tests.e2e.test_shared import NAMES, sent, signers
from tests.e2e.test_watcher import pause, release, said, two_words
from tests.world import Living, living
from workbench import client
from workbench.client import KeyWork, ProblemError
from workbench.demo import charter
from workbench.demo.world import SERVICE, WATCHER
from workbench.process.frames import call
from workbench.rules.assertion import CONSOLE
from workbench.rules.documents import write_time
from workbench.rules.key_operation import KeyOperation, SignedOperation
from workbench.rules.order_request import OrderRequest

KEY = charter.KEY_ID
MADE_S = 150.0
OFFICERS = (("risk-1", CONSOLE), ("committee-1", "approval"))
Presses = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share."""
    with living(engine="mpc") as built:
        yield built


def operation(world: Living, what: str, **changes: Any) -> KeyOperation:
    """Draft an operation."""
    return KeyOperation.load(
        {
            "v": 1,
            "operation": what,
            "key": KEY,
            "epoch": 2,
            "parameters": None,
            "policy": world.world.policy.digest,
            "reason": "a test",
            "nonce": secrets.token_hex(16),
            "expires_at": write_time(datetime.now(UTC) + timedelta(minutes=5)),
            **changes,
        }
    )


def signed(world: Living, what: KeyOperation, presses: Presses = OFFICERS) -> SignedOperation:
    """Have officers sign it."""
    signatures = [world.officer(person).press(what.challenge, path=path).dump() for person, path in presses]
    return SignedOperation.load({"operation": what.dump(), "signatures": signatures})


def index(world: Living, name: str, key: str = KEY) -> dict[str, Any]:
    """Return what a co-signer says of its epochs."""
    request = {"v": 1, "operation": "key-status", "key": key}
    said: dict[str, Any] = call(world.world.places.socket(name), request, timeout_s=30)["index"]
    return said


def ended(world: Living, work: KeyWork) -> str:
    """Wait for the end of an operation; return how it ended."""
    deadline = time.monotonic() + MADE_S
    while True:
        state = world.officer("risk-1").speaks.key_operation(work.digest).state
        if state != "ordered":
            return state
        assert time.monotonic() < deadline, [index(world, name) for name in NAMES]
        time.sleep(0.2)


def done(world: Living, what: KeyOperation) -> str:
    """Order, and wait for the end."""
    return ended(world, client.order_key(world.socket, signed(world, what)))


def refuses(world: Living, ordered: SignedOperation, code: str) -> None:
    """Assert that the service does not take it, and that no share has changed."""
    before = [index(world, name) for name in NAMES]
    with pytest.raises(ProblemError) as problem:
        client.order_key(world.socket, ordered)
    assert problem.value.code == code, problem.value
    assert [index(world, name) for name in NAMES] == before


@pytest.mark.parametrize(
    ("presses", "code"),
    [
        pytest.param(OFFICERS[:1], "policy_chain_broken", id="one officer"),
        pytest.param((OFFICERS[0], OFFICERS[0]), "policy_chain_broken", id="one officer twice"),
        pytest.param((("risk-1", "approval"), ("cro-1", "approval")), "policy_chain_broken", id="pages only"),
        pytest.param((OFFICERS[0], ("pm-1", "approval")), "policy_chain_broken", id="one who is no officer"),
    ],
)
def test_who_cannot_order(world: Living, presses: Presses, code: str) -> None:
    """Not a quorum: nothing is recorded as ordered."""
    refuses(world, signed(world, operation(world, "refresh"), presses), code)


@pytest.mark.parametrize(
    ("what", "changes", "code"),
    [
        pytest.param("refresh", {"key": "other"}, "key_unknown", id="a key that is not there"),
        pytest.param("destroy", {"epoch": 1}, "not_in_this_state", id="a key that the policy set lists"),
        pytest.param(
            "dkg",
            {"parameters": {"parties": list(NAMES), "threshold": 3}},
            "not_in_this_state",
            id="another key under a name that is taken",
        ),
        pytest.param(
            "dkg",
            {
                "key": "sweep",
                "epoch": 1,
                "parameters": {"parties": ["mallory", "cosigner-1"], "threshold": 2},
            },
            "trust_root_invalid",
            id="a party that nobody knows",
        ),
        pytest.param(
            "refresh", {"policy": "ab" * 32}, "decision_under_another_policy", id="another policy set"
        ),
        pytest.param(
            "refresh",
            {"expires_at": write_time(datetime(2020, 1, 1, tzinfo=UTC))},
            "expired",
            id="an order that has run out",
        ),
    ],
)
def test_what_cannot_be_ordered(world: Living, what: str, changes: dict[str, Any], code: str) -> None:
    """A quorum has signed it, and it is refused all the same."""
    refuses(world, signed(world, operation(world, what, **changes)), code)


def test_nobody_takes_part_unasked(world: Living) -> None:
    """Without an operation that it has decided on, a co-signer opens no run over its key."""
    socket = world.world.places.socket(NAMES[0])
    for request in (
        {"operation": "key-open", "order": "ab" * 32},
        {"operation": "key-never", "order": "ab" * 32, "run": "cd" * 32},
        {"operation": "key-over", "run": "cd" * 32, "evidence": {}},
        {"operation": "key-words", "key": KEY, "run": "cd" * 32, "words": []},
        {"operation": "key-settle", "key": KEY, "run": "cd" * 32, "word": {}},
        {"operation": "key-word", "key": KEY, "run": "cd" * 32},
        {"operation": "order"},
    ):
        before = index(world, NAMES[0])
        assert "refused" in call(socket, {"v": 1, **request}, timeout_s=60)
        assert index(world, NAMES[0]) == before


def test_paused_nothing_is_renewed(world: Living) -> None:
    """An order waits while its key is paused, and lapses or goes on; released, it is done."""
    pause(world, f"key:{KEY}")
    work = client.order_key(world.socket, signed(world, operation(world, "refresh")))
    time.sleep(5)
    assert world.officer("risk-1").speaks.key_operation(work.digest).state == "ordered"
    assert {index(world, name)["used"] for name in NAMES} == {1}
    release(world, f"key:{KEY}")
    assert ended(world, work) == "made"
    assert {index(world, name)["used"] for name in NAMES} == {2}


def test_the_same_address_signs_with_the_next_epoch(world: Living) -> None:
    """The refreshed shares sign a mined transaction for the same key; the old ones are gone from disk."""
    for name in NAMES:
        assert index(world, name)["before"] == 0
        shares = list((world.world.places.root(name) / "shares" / KEY).glob("*.share"))
        assert len(shares) == 1
    assert len(signers(world, sent(world, 1_000))) == 3
    (made,) = [entry for entry in world.entries() if entry["type"] == "key.made"]
    assert made["data"]["address"] == world.world.treasury
    assert len(made["data"]["words"]) == 5


def test_an_epoch_is_made_once(world: Living) -> None:
    """Another order over an epoch that was made is refused; one that was given already is the same."""
    refuses(world, signed(world, operation(world, "refresh")), "not_in_this_state")
    refuses(world, signed(world, operation(world, "refresh", epoch=1)), "not_in_this_state")


def test_yesterdays_share(world: Living, tmp_path: Path) -> None:
    """One is set back to the epoch before: it takes no part, and the others sign without it."""
    victim = NAMES[0]
    root = world.world.places.root(victim)
    world.stack.stop_one(victim)
    shutil.copytree(root / "shares", tmp_path / "shares")
    world.stack.start(victim)
    assert done(world, operation(world, "refresh", epoch=3)) == "made"
    world.stack.stop_one(victim)
    shutil.move(root / "shares", tmp_path / "newest")
    shutil.copytree(tmp_path / "shares", root / "shares")
    world.stack.start(victim)
    assert victim not in signers(world, sent(world, 1_100))
    # brought back for what follows
    world.stack.stop_one(victim)
    shutil.rmtree(root / "shares")
    shutil.copytree(tmp_path / "newest", root / "shares")
    world.stack.start(victim)


def test_a_key_is_made_and_ended(world: Living) -> None:
    """A later key, of three of five, by order; and its end, which every co-signer carries out and says."""
    made_by = {"parties": list(NAMES), "threshold": 3}
    making = operation(world, "dkg", key="sweep", epoch=1, parameters=made_by)
    assert done(world, making) == "made"
    made = [entry["data"] for entry in world.entries() if entry["type"] == "key.made"][-1]
    assert made["key"] == "sweep"
    assert made["address"] != world.world.treasury
    for name in NAMES:
        assert index(world, name, "sweep")["used"] == 1
    assert done(world, operation(world, "destroy", key="sweep", epoch=1)) == "destroyed"
    for name in NAMES:
        assert index(world, name, "sweep")["used"] == 0
        assert not list((world.world.places.root(name) / "shares" / "sweep").glob("*.share"))
    (gone,) = [entry["data"] for entry in world.entries() if entry["type"] == "key.destroyed"]
    said = {name: each["testimony"] for name, each in gone["testimonies"].items()}
    assert {name: len(each["shares"]) for name, each in said.items()} == dict.fromkeys(NAMES, 1)
    assert {each["did"] for each in said.values()} == {"destroyed"}
    # the key that the desk lives by is not touched by that
    assert len(signers(world, sent(world, 1_200))) == 3


@pytest.mark.parametrize("point", ["key-open", "key-begin", "key-take-1-message", "key-kept", "key-words"])
def test_a_party_dies_while_an_epoch_is_made(world: Living, point: str) -> None:
    """Killed at any point of its part: all have the next epoch in the end, and sign."""
    victim = NAMES[2]
    epoch = max(index(world, name)["made_to"] for name in NAMES) + 1
    world.stack.stop_one(victim)
    world.stack.start(victim, crash_at=point)
    work = client.order_key(world.socket, signed(world, operation(world, "refresh", epoch=epoch)))
    assert world.stack.wait_for_end(victim) != 0
    world.stack.crash_points.pop(victim)
    world.stack.start(victim)
    assert ended(world, work) == "made"
    assert {index(world, name)["used"] for name in NAMES} == {epoch}
    assert len(signers(world, sent(world, 2_000 + epoch))) == 3


def test_the_service_dies_while_an_epoch_is_made(world: Living) -> None:
    """Kill -9 of the courier between the shares and the words: the next one brings them."""
    epoch = max(index(world, name)["made_to"] for name in NAMES) + 1
    work = client.order_key(world.socket, signed(world, operation(world, "refresh", epoch=epoch)))
    deadline = time.monotonic() + MADE_S
    while index(world, NAMES[0])["made_to"] < epoch:
        assert time.monotonic() < deadline
    world.stack.kill(SERVICE)
    world.stack.start(SERVICE)
    assert ended(world, work) == "made"
    assert {index(world, name)["used"] for name in NAMES} == {epoch}
    assert len(signers(world, sent(world, 3_000))) == 3


def test_the_commands(world: Living, tmp_path: Path) -> None:
    """Drafted, signed by two officers at their own machines, handed in, done."""
    epoch = max(index(world, name)["made_to"] for name in NAMES) + 1
    files = [tmp_path / f"{number}.json" for number in range(3)]
    watcher = world.world.places.socket(WATCHER)
    draft = said(
        "key", "refresh", KEY, "--epoch", epoch, "--reason", "due", "--watcher", watcher, "--out", files[0]
    )
    assert draft.returncode == 0, draft.stderr
    request = OrderRequest.load(json.loads(files[0].read_text()))
    for number, person in enumerate(("cro-1", "risk-1")):
        before, after = files[number : number + 2]
        code, screen = at_console(
            world, before, after, "--person", person, person=person, typed=two_words(request)
        )
        assert code == 0, screen
        assert f"Renew the shares of {KEY}, epoch {epoch}" in screen
    handed = said("hand-in", files[2], "--socket", world.socket)
    assert handed.returncode == 0, handed.stderr
    assert "the operation is ordered" in handed.stdout
    digest = request.order.challenge.hex()
    assert ended(world, KeyWork(digest=digest, state="ordered", entry_seq=0)) == "made"
    assert {index(world, name)["used"] for name in NAMES} == {epoch}
