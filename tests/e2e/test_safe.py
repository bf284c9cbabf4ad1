"""A treasury that is a Safe: five owners judge, three sign, and an executor carries out exactly that."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e import test_stuck as stuck
from tests.evm.plans import Plan, multi_send
from tests.world import Living, living, refused
from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import Node
from workbench.demo import charter, newswap
from workbench.demo import node as chain
from workbench.demo.world import SERVICE
from workbench.evm import calldata, known, safe_storage
from workbench.evm.carriers import Operation
from workbench.evm.transaction import SignedTransaction
from workbench.rules.documents import write_time
from workbench.rules.intent import Intent
from workbench.rules.keys import SafeKey
from workbench.rules.receipt import verify_receipt

NAMES = charter.COSIGNERS
USDC = 10**6
GAS = 300_000
LIFE_S = 25
NONCE = calldata.encode(known.fragment("nonce()"), {})


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One living world, its treasury owned by five processes."""
    with living(engine="safe") as built:
        yield built


def key(world: Living) -> SafeKey:
    """Return the treasury as the policy set has it."""
    found = world.world.policy.key(charter.KEY_ID)
    assert isinstance(found, SafeKey)
    return found


def payment(world: Living, amount: int, **changes: Any) -> Intent:
    """Return a payment of so many USDC to whom the Safe may pay."""
    paid = {"to": charter.PAYEE, "amount": str(amount * USDC)}
    data = calldata.encode(charter.PAY["fragment"], paid).hex()
    usdc = world.world.deployment.usdc
    delta = {"account": world.world.treasury, "asset": usdc, "amount": str(-amount * USDC)}
    fields = {"to": usdc, "data": data, "deltas": [delta], "allowances": [], "gas_max": GAS}
    return world.allowance(**{**fields, **changes})


def balance(world: Living, address: str) -> int:
    """Return what an address has of the token that is paid in."""
    node = world.chain()
    data = calldata.encode(known.fragment("balanceOf(address owner)"), {"owner": address})
    try:
        return int.from_bytes(node.eth_call(world.world.deployment.usdc, data, "latest"))
    finally:
        node.close()


def safe_nonce(world: Living) -> int:
    """Return how many transactions the Safe has carried out."""
    node = world.chain()
    try:
        return int.from_bytes(node.eth_call(world.world.treasury, NONCE, "latest"))
    finally:
        node.close()


def memories(world: Living) -> str:
    """Return a digest of what all co-signers have signed."""
    seen = hashlib.sha256()
    for name in (*NAMES, charter.EXECUTOR):
        for path in sorted((world.world.places.root(name) / "signed").glob("*.json")):
            seen.update(f"{name} {path.name}".encode() + path.read_bytes())
    return seen.hexdigest()


def sent(world: Living, intent: Intent) -> str:
    """Have an intent approved, signed and confirmed; return its digest."""
    view = world.outstanding(intent)
    assert list(view.denying) == ["approval.four-eyes"], view.denying
    assert world.approve(view.digest).state in {"broadcast", "included", "confirmed"}
    return view.digest


def types(world: Living, digest: str) -> list[str]:
    """Return what the ledger says of an intent, in one word each."""
    return [each["type"] for each in world.entries() if each.get("subject") == digest]


def owners(world: Living, digest: str) -> list[str]:
    """Return whose signatures the ledger has, as they came."""
    entries = [each for each in world.entries() if each.get("subject") == digest]
    return [each["actor"] for each in entries if each["type"] == "owner.signed"]


def test_three_of_five_pay(world: Living) -> None:
    """An approved payment is signed by the first three owners, carried out by the executor, and confirmed."""
    before = balance(world, charter.PAYEE)
    digest = sent(world, payment(world, 1_000))
    assert owners(world, digest) == list(NAMES[:3])
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    assert balance(world, charter.PAYEE) - before == 1_000 * USDC
    receipt = world.pm.receipt(digest)
    lines = verify_receipt(receipt, trust_root=world.world.trust_root, now=datetime.now(UTC))
    assert "transaction.signed" in {line.type for line in lines}


def batch(world: Living, *calls: Plan, **fields: Any) -> Intent:
    """Return several calls at once, which the pinned MultiSend makes in the Safe's place."""
    to = key(world).pins.multi_send
    return world.allowance(**{"to": to, "data": multi_send(*calls).hex(), "gas_max": GAS, **fields})


def test_a_batch(world: Living) -> None:
    """A payment and an allowance in one transaction: each call is judged alone, and both are done."""
    before = balance(world, charter.PAYEE)
    pays, allows = payment(world, 2_000), world.allowance(2_500)
    both = [Plan(each.to, bytes.fromhex(each.data)) for each in (pays, allows)]
    moves = {"deltas": pays.dump()["deltas"], "allowances": allows.dump()["allowances"]}
    digest = sent(world, batch(world, *both, **moves))
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    assert balance(world, charter.PAYEE) - before == 2_000 * USDC


def test_a_swap(world: Living) -> None:
    """What the desk did with one key it does with five owners: what comes in comes to the Safe."""
    tranche = world.swap(10_000)
    for intent in (tranche.allowance, tranche.swap):
        changed = Intent.load({**intent.dump(), "gas_max": 2 * GAS})
        assert world.push(changed).state == "confirmed"


def test_two_are_reachable(world: Living) -> None:
    """Two owners are not enough: it is said who is missing, and with a third it goes on."""
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    view = world.outstanding(payment(world, 3_000))
    for name in NAMES[2:]:
        world.stack.kill(name)
    problem = refused("unavailable", lambda: world.approve(view.digest))
    assert "3 of 5 owners must sign, 2 have" in problem.detail
    assert [name for name in NAMES if name in problem.detail] == list(NAMES[2:]), problem.detail
    assert owners(world, view.digest) == list(NAMES[:2])
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == before
    world.revive()
    assert world.push(view.intent).state == "confirmed"
    # those who had signed were not asked again
    assert owners(world, view.digest) == list(NAMES[:3])
    assert safe_nonce(world) == before[0] + 1


@pytest.mark.parametrize(
    ("victim", "point"),
    [
        (SERVICE, "4-owners"),
        (NAMES[1], "4-persisted"),
        (NAMES[1], "4-signed"),
        (charter.EXECUTOR, "4-signed"),
        (charter.EXECUTOR, "4-answer"),
    ],
)
def test_somebody_dies(world: Living, victim: str, point: str) -> None:
    """Killed between two signatures: one payment comes of it, under one nonce of the Safe."""
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    world.stack.stop_one(victim)
    world.stack.start(victim, crash_at=point)
    assert world.push(payment(world, 10)).state == "confirmed"
    assert (victim, point) in world.crashed or not world.stack.alive(victim)
    world.revive()
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == (before[0] + 1, before[1] + 10 * USDC)


def test_a_batch_is_not_carried_out_twice(world: Living) -> None:
    """Whoever has the signed bytes sends them again: the contract says GS026, under its next nonce."""
    digest = sent(world, payment(world, 4_000))
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    signed = [each for each in world.entries() if each.get("subject") == digest]
    (raw,) = [each["data"]["raw_tx"] for each in signed if each["type"] == "transaction.signed"]
    data = SignedTransaction.parse(bytes.fromhex(raw)).unsigned.data
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    node = world.chain()
    with pytest.raises(RpcError, match="GS026"):
        node.eth_call(world.world.treasury, data, "latest")
    with pytest.raises(NodeError, match="reverted"):
        chain.send(node, sender=newswap.DEPLOYER, to=world.world.treasury, data=data)
    node.close()
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == before


def hidden_delegatecall(world: Living) -> Intent:
    """A payment, and beside it code of somebody else's in the Safe's place."""
    pays = payment(world, 1)
    foreign = Plan(world.world.deployment.router, b"", operation=Operation.DELEGATECALL)
    children = [Plan(pays.to, bytes.fromhex(pays.data)), foreign]
    return batch(world, *children, deltas=pays.dump()["deltas"], allowances=[])


def changing_an_owner(world: Living) -> Intent:
    """One more owner, and as many signatures as before."""
    fragment = known.fragment("addOwnerWithThreshold(address owner, uint256 threshold)")
    data = calldata.encode(fragment, {"owner": charter.PAYEE, "threshold": "3"}).hex()
    return world.allowance(to=world.world.treasury, data=data, allowances=[], gas_max=GAS)


def a_change_in_a_batch(world: Living) -> Intent:
    """A payment, and beside it a threshold of one."""
    fragment = known.fragment("changeThreshold(uint256 threshold)")
    data = calldata.encode(fragment, {"threshold": "1"})
    return batch(world, Plan(world.world.treasury, data), allowances=[])


def executors_own(world: Living) -> Intent:
    """An intent for the executor's key itself."""
    return world.allowance(key=charter.EXECUTOR_ID, allowances=[])


@pytest.mark.parametrize(
    ("made", "code"),
    [
        pytest.param(hidden_delegatecall, "safe_runs_foreign_code", id="a delegatecall hidden in a batch"),
        pytest.param(changing_an_owner, "safe_would_be_changed", id="one more owner"),
        pytest.param(a_change_in_a_batch, "safe_would_be_changed", id="a threshold of one in a batch"),
        pytest.param(executors_own, "key_is_an_executors", id="what the executor would do by itself"),
    ],
)
def test_what_is_not_even_proposed(world: Living, made: Callable[[Living], Intent], code: str) -> None:
    """Refused by name before anybody is asked, and recorded; no owner has anything of it in its memory."""
    intent, before = made(world), (safe_nonce(world), memories(world))
    with world.unchanged(refusals=1):
        refused(code, lambda: world.pm.propose(intent))
    assert (safe_nonce(world), memories(world)) == before


def test_a_cancel(world: Living) -> None:
    """What waits for a block and is rejected is cancelled: owners sign an empty call under the same nonce."""
    node = world.chain()
    stuck.block(node, stuck.LOW)
    node.call("evm_setAutomine", False)  # JSON-RPC's own form
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    digest = sent(world, payment(world, 5_000))
    stuck.pooled(node, stuck.told(world, digest, "transaction.signed")["data"]["tx_hash"])
    stuck.block(node, stuck.HIGH)
    higher = stuck.told(world, digest, "replaced")
    assert owners(world, digest) == list(NAMES[:3])  # the executor pays more, and no owner is asked for it
    stuck.pooled(node, higher["data"]["tx_hash"])
    world.officer("risk-1").decide(digest, verb="reject", role="risk_officer", reason="a test")
    cancelled = stuck.told(world, digest, "cancel.signed")
    assert owners(world, digest) == [*NAMES[:3], *NAMES[:3]]
    stuck.pooled(node, cancelled["data"]["tx_hash"])
    node.call("evm_setAutomine", True)  # JSON-RPC's own form
    stuck.block(node, stuck.LOW)
    assert stuck.until(world, digest, "cancelled").state == "cancelled"
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == (before[0] + 1, before[1])
    node.close()
    verify_receipt(world.pm.receipt(digest), trust_root=world.world.trust_root, now=datetime.now(UTC))


def soon(seconds: int) -> str:
    """Return a time so many seconds from now."""
    return write_time(datetime.now(UTC) + timedelta(seconds=seconds))


def test_owners_have_signed_and_it_runs_out(world: Living) -> None:
    """Two owners' signatures are out when the intent ends: it does not just end, owners cancel the nonce."""
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    view = world.outstanding(payment(world, 6_000, expires_at=soon(LIFE_S)))
    for name in NAMES[2:]:
        world.stack.kill(name)
    refused("unavailable", lambda: world.approve(view.digest))
    assert owners(world, view.digest) == list(NAMES[:2])
    world.stack.kill(SERVICE)  # by itself it would ask the third as soon as there is one
    time.sleep(LIFE_S)
    world.revive()
    assert stuck.until(world, view.digest, "cancelled").state == "cancelled"
    assert owners(world, view.digest) == [*NAMES[:2], *NAMES[:3]]
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == (before[0] + 1, before[1])
    verify_receipt(world.pm.receipt(view.digest), trust_root=world.world.trust_root, now=datetime.now(UTC))


def demands(world: Living, node: Node, signatures: int) -> None:
    """Have the Safe demand so many signatures, as only a chain of our own lets anybody."""
    word = signatures.to_bytes(32).hex()
    node.call("anvil_setStorageAt", world.world.treasury, f"0x{safe_storage.THRESHOLD.hex()}", f"0x{word}")
    stuck.block(node, stuck.LOW)


def test_an_execution_that_fails(world: Living) -> None:
    """The executor's transaction reverts: the Safe's nonce is as before, and is cancelled in the end."""
    node = world.chain()
    stuck.block(node, stuck.LOW)
    node.call("evm_setAutomine", False)  # JSON-RPC's own form
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    digest = sent(world, payment(world, 8_000, expires_at=soon(LIFE_S)))
    stuck.pooled(node, stuck.told(world, digest, "transaction.signed")["data"]["tx_hash"])
    demands(world, node, 5)
    node.call("evm_setAutomine", True)  # JSON-RPC's own form
    stuck.wait_for(lambda: "execution.failed" in types(world, digest), lambda: types(world, digest))
    assert (safe_nonce(world), world.pm.intent(digest).state) == (before[0], "approved")
    demands(world, node, 3)
    assert stuck.until(world, digest, "cancelled").state == "cancelled"
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == (before[0] + 1, before[1])
    assert owners(world, digest) == [*NAMES[:3], *NAMES[:3]]
    node.close()
    verify_receipt(world.pm.receipt(digest), trust_root=world.world.trust_root, now=datetime.now(UTC))


def test_afterwards(world: Living) -> None:
    """The lane goes on behind all of it."""
    assert world.push(payment(world, 7)).state == "confirmed"


def test_a_stranger_carries_it_out(world: Living) -> None:
    """Who sees what owners signed is first with it: done, and not by us; the lane stops for people."""
    node = world.chain()
    stuck.block(node, stuck.LOW)
    node.call("evm_setAutomine", False)  # JSON-RPC's own form
    before = (safe_nonce(world), balance(world, charter.PAYEE))
    digest = sent(world, payment(world, 9_000))
    signed = stuck.told(world, digest, "transaction.signed")["data"]
    stuck.pooled(node, signed["tx_hash"])
    data = SignedTransaction.parse(bytes.fromhex(signed["raw_tx"])).unsigned.data
    world.stack.kill(SERVICE)
    node.call("anvil_dropTransaction", f"0x{signed['tx_hash']}")
    node.call("evm_setAutomine", True)  # JSON-RPC's own form
    chain.send(node, sender=newswap.DEPLOYER, to=world.world.treasury, data=data)
    world.revive()
    assert stuck.until(world, digest, "taken").state == "taken"
    assert (safe_nonce(world), balance(world, charter.PAYEE)) == (before[0] + 1, before[1] + 9_000 * USDC)
    view = world.outstanding(payment(world, 10))
    refused("lane_stopped", lambda: world.approve(view.digest))
    node.close()
