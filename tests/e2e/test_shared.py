"""A treasury whose key is shared by five co-signers: three sign, and nobody ever has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e import stolen
from tests.e2e.test_stuck import LOW, block, pooled, stuck, told, until, wait_for
from tests.world import Living, living, refused
from workbench.demo import charter
from workbench.evm.transaction import address_of
from workbench.process.frames import call
from workbench.rules.receipt import verify_receipt

NAMES = charter.COSIGNERS
POINTS = ("received", "decided", "persisted", "open", "begin", "take", "given", "signed", "answer")


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One living world, its key made by five processes."""
    with living(engine="mpc") as built:
        yield built


def sent(world: Living, amount: int) -> str:
    """Have an allowance approved, signed and confirmed; return the intent's digest."""
    view = world.outstanding(world.allowance(amount))
    assert world.approve(view.digest).state in {"broadcast", "confirmed"}
    return view.digest


def signers(world: Living, digest: str, kind: str = "transaction.signed") -> set[str]:
    """Return whose answers the ledger holds for an intent's signature."""
    *_, entry = [each for each in world.entries() if each.get("subject") == digest and each["type"] == kind]
    answers = [entry["data"], *entry["data"].get("answers", [])]
    return {each["answer"]["answer"]["cosigner"] for each in answers}


def test_three_of_five_sign(world: Living) -> None:
    """An approved transaction is signed by the first three, mined, and confirmed."""
    before = world.transactions()
    digest = sent(world, 1_000)
    assert signers(world, digest) == set(NAMES[:3])
    assert world.transactions() == before + 1
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    receipt = world.pm.receipt(digest)
    lines = verify_receipt(receipt, trust_root=world.world.trust_root, now=datetime.now(UTC))
    assert "transaction.signed" in {line.type for line in lines}


def test_two_are_away(world: Living) -> None:
    """Any three do: with the first two gone the others sign."""
    for name in NAMES[:2]:
        world.stack.kill(name)
    digest = sent(world, 2_000)
    assert signers(world, digest) == set(NAMES[2:])
    world.revive()


def test_three_are_away(world: Living) -> None:
    """Two are not enough: nothing is signed, and it is said who is missing; with them back it goes on."""
    view = world.outstanding(world.allowance(3_000))
    for name in NAMES[2:]:
        world.stack.kill(name)
    before = world.transactions()
    problem = refused("unavailable", lambda: world.approve(view.digest))
    assert [name for name in NAMES if name in problem.detail] == list(NAMES[2:]), problem.detail
    assert world.transactions() == before
    world.revive()
    assert world.push(view.intent).state == "confirmed"
    assert world.transactions() == before + 1


@pytest.mark.parametrize("point", POINTS)
def test_a_party_dies(world: Living, point: str) -> None:
    """Killed at any point of its part: one transaction comes of it, and the party goes on afterwards."""
    before, victim = world.transactions(), NAMES[1]
    world.stack.stop_one(victim)
    world.stack.start(victim, crash_at=f"4-{point}")
    intent = world.allowance(4_000 + POINTS.index(point))
    assert world.push(intent).state == "confirmed"
    assert (victim, f"4-{point}") in world.crashed or not world.stack.alive(victim)
    world.revive()
    assert world.transactions() == before + 1
    digest = sent(world, 5_000 + POINTS.index(point))
    assert victim in signers(world, digest)


def test_a_party_that_is_set_back(world: Living, tmp_path: Path) -> None:
    """Yesterday's disk: its peers know of later openings of it, and sign without it."""
    victim = NAMES[1]
    root = world.world.places.root(victim)
    world.stack.stop_one(victim)
    shutil.copytree(root, tmp_path / "yesterday")
    world.stack.start(victim)
    assert victim in signers(world, sent(world, 6_000))
    world.stack.stop_one(victim)
    today = tmp_path / "today"
    shutil.move(root, today)
    shutil.copytree(tmp_path / "yesterday", root)
    world.stack.start(victim)
    digest = sent(world, 6_001)
    assert signers(world, digest) == {NAMES[0], NAMES[2], NAMES[3]}
    # it knows by now, and keeps to it: no other set signs with it either
    known = json.loads((root / "peers.json").read_text())
    assert "which knows of" in known["set_back"]
    for name in (NAMES[0], NAMES[2]):
        world.stack.kill(name)
    view = world.outstanding(world.allowance(6_003))
    refused("unavailable", lambda: world.approve(view.digest))
    world.revive()
    assert world.push(view.intent).state == "confirmed"
    assert victim not in signers(world, view.digest)
    world.stack.stop_one(victim)
    shutil.rmtree(root)
    shutil.move(today, root)
    world.stack.start(victim)
    assert victim in signers(world, sent(world, 6_002))


def heard(world: Living, name: str) -> list[str]:
    """Return who has told a co-signer what it remembers of it, since it started."""
    status = call(world.world.places.socket(name), {"v": 1, "operation": "status"}, timeout_s=30)
    return list(status["recall"]["heard"])


def test_one_that_started_anew_waits_for_its_peers(world: Living) -> None:
    """With two away and a third restarted nothing is signed: nobody is there who knows what it forgot."""
    view = world.outstanding(world.allowance(6_400))
    for name in NAMES[:3]:
        world.stack.kill(name)
    world.stack.start(NAMES[2])
    problem = refused("unavailable", lambda: world.approve(view.digest))
    assert "not heard what is remembered of me by" in problem.detail
    assert heard(world, NAMES[2]) == list(NAMES[3:])
    world.revive()
    assert world.push(view.intent).state == "confirmed"


def known(world: Living, name: str) -> dict[int, str]:
    """Return what a co-signer remembers: intents by nonce."""
    folder = world.world.places.root(name) / "signed"
    records = [json.loads(path.read_text()) for path in folder.iterdir()]
    return {each["nonce"]: each["intent"] for each in records}


def test_those_who_take_turns_know_all(world: Living) -> None:
    """Who signs knows what every nonce before carried, whoever signed it: a limit is not spent set by set."""
    first = sent(world, 6_500)
    assert signers(world, first) == set(NAMES[:3])
    for name in NAMES[:2]:
        world.stack.kill(name)
    second = sent(world, 6_501)
    for name in NAMES[2:]:
        memory = known(world, name)
        assert sorted(memory) == list(range(len(memory)))
        assert [first, second] == [memory[number] for number in sorted(memory)[-2:]]
    world.revive()


def test_another_set_replaces_and_cancels(world: Living) -> None:
    """Bytes that three have signed are replaced, and cancelled, by three of whom two took no part."""
    chain = world.chain()
    block(chain, LOW)
    chain.call("evm_setAutomine", False)  # JSON-RPC's own form
    before = world.transactions()
    digest = stuck(world, chain, 6_600)
    for name in NAMES[:2]:
        world.stack.kill(name)
    replaced = told(world, digest, "replaced")
    assert signers(world, digest, "transaction.replaced") == set(NAMES[2:])
    pooled(chain, replaced["data"]["tx_hash"])
    world.revive()
    for name in NAMES[:2]:
        wait_for(lambda name=name: len(heard(world, name)) >= 3)
    for name in NAMES[3:]:
        world.stack.kill(name)
    world.officer("risk-1").decide(digest, verb="reject", role="risk_officer", reason="a test")
    cancelled = told(world, digest, "cancel.signed")
    assert signers(world, digest, "cancel.signed") == set(NAMES[:3])
    pooled(chain, cancelled["data"]["tx_hash"])
    chain.call("evm_setAutomine", True)  # JSON-RPC's own form
    block(chain, LOW)
    world.revive()
    assert until(world, digest, "cancelled").state == "cancelled"
    assert world.transactions() == before + 1
    chain.close()


def test_a_share_that_was_touched(world: Living) -> None:
    """A co-signer whose sealed share is not what it sealed takes no part, and says so; the others sign."""
    victim = NAMES[0]
    (path,) = (world.world.places.root(victim) / "shares").rglob("*.share")
    genuine = path.read_bytes()
    world.stack.stop_one(victim)
    path.write_bytes(genuine.replace(b"0", b"1", 1))
    world.stack.start(victim)
    assert signers(world, sent(world, 7_000)) == set(NAMES[1:4])
    world.stack.stop_one(victim)
    path.write_bytes(genuine)
    world.stack.start(victim)
    assert victim in signers(world, sent(world, 7_001))


def test_what_a_courier_asks_for(world: Living) -> None:
    """Without its own decision a co-signer opens nothing, begins nothing, takes nothing."""
    socket = world.world.places.socket(NAMES[0])
    for request, code in (
        ({"operation": "open", "intent": "11" * 32, "signers": [1, 2, 3]}, "run_not_as_agreed"),
        ({"operation": "open", "intent": "11" * 32, "signers": [1, 2, 3], "digest": "22" * 32}, "malformed"),
        ({"operation": "begin", "openings": []}, "run_not_as_agreed"),
        ({"operation": "take", "key": "treasury", "run": "11" * 32, "envelopes": []}, "run_not_as_agreed"),
    ):
        assert call(socket, {"v": 1, **request}, timeout_s=30)["refused"]["code"] == code


def test_nobody_ever_has_the_key(world: Living) -> None:
    """Put together from three disks by the test alone, it is in no process's memory and in no file."""
    sent(world, 8_000)
    places = world.world.places
    shares = {}
    for name in NAMES[:3]:
        root = places.root(name)
        sealing = json.loads((root / "config.json").read_text())["sealing_key"]
        party, secret = stolen.share_of(root, name, sealing, charter.KEY_ID)
        shares[party] = secret
    key = stolen.whole(shares)
    assert address_of(stolen.point(key)) == world.world.treasury
    wanted = stolen.forms(key)
    assert stolen.in_files(places.state, wanted) == []
    assert [name for name in world.stack.order if stolen.in_memory(world.stack.pid(name), wanted)] == []
    # the search finds what is there: a share is open in its own process, and in no other, and on no disk
    for party, secret in shares.items():
        found = [
            name
            for name in world.stack.order
            if stolen.in_memory(world.stack.pid(name), stolen.forms(secret) + stolen.limbs(secret))
        ]
        assert found == [NAMES[party - 1]]
        assert stolen.in_files(places.state, stolen.forms(secret)) == []
