"""What a service that was taken over cannot get signed for a Safe: by an owner, and by the executor.

The evidence is real, as in `test_gate`: a living world's service made it, and whoever was to look at it died
on receipt. Each case changes something and hands it to the real process. In the end the untouched evidence
is signed, which shows that nothing else was in the way.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import checkpoint
from ledger.encoding import parse
from tests.e2e.test_safe import (
    NAMES,
    changing_an_owner,
    hidden_delegatecall,
    key,
    memories,
    payment,
    safe_nonce,
)
from tests.e2e.test_stuck import wait_for
from tests.world import Living, living, refused
from workbench import client
from workbench.client import IntentView
from workbench.demo import charter
from workbench.demo.newswap import ETHER
from workbench.demo.world import SERVICE, WATCHER
from workbench.evm import safe as safes
from workbench.evm.carriers import Operation
from workbench.evm.safe import SafeTx
from workbench.evm.transaction import UnsignedTransaction
from workbench.process.frames import call
from workbench.rules.attestation import Simulation
from workbench.rules.decision import Decision
from workbench.rules.documents import DOCUMENT_MAX, verify_ed25519, write_time
from workbench.rules.evidence import ANSWER_LINE, SignedAnswer
from workbench.rules.intent import Intent
from workbench.rules.safe import Proposed

Evidence = dict[str, Any]
UNHURRIED = {"attestation_age_s_max": 900, "simulation_age_s_max": 900}
ROOT = Path(__file__).resolve().parents[2]
OWNER, EXECUTOR = NAMES[0], charter.EXECUTOR


@dataclass
class Courier:
    """A service that lies to one co-signer: it holds genuine evidence and changes it."""

    world: Living
    cosigner: str
    evidence: Evidence

    def hand_over(self, evidence: Evidence) -> SignedAnswer:
        """Give evidence to the co-signer, under a lease of the genuine watcher."""
        places = self.world.world.places
        lease = call(places.socket(WATCHER), {"v": 1, "operation": "lease"}, timeout_s=30)["lease"]
        answer = call(places.socket(self.cosigner), evidence | {"lease": lease}, timeout_s=30)
        signed = SignedAnswer.load(answer)
        pinned = self.world.world.trust_root.cosigners[self.cosigner]
        verify_ed25519(pinned, signed.signature, ANSWER_LINE, signed.answer.canonical(), what="answer")
        return signed

    @property
    def execution(self) -> safes.Execution:
        """What the genuine evidence asks to sign, or to carry out."""
        raw = bytes.fromhex(self.evidence["unsigned_tx"])
        if self.cosigner == EXECUTOR:
            return safes.read_execution(UnsignedTransaction.parse(raw).data, nonce=safe_nonce(self.world))
        return safes.read_carried(raw)[2]

    def asks(self, e: Evidence, *, tx: SafeTx | None = None, signatures: bytes = b"", **where: Any) -> None:
        """Have an owner asked for another transaction of a Safe."""
        place = {"chain_id": self.world.world.deployment.chain_id, "safe": self.world.world.treasury} | where
        made = Proposed(tx=tx or self.execution.tx, **place)
        e["unsigned_tx"] = made.encode(signatures).hex()

    def pays(self, e: Evidence, *, signatures: bytes | None = None, **changes: Any) -> None:
        """Have the executor asked for other bytes."""
        genuine = UnsignedTransaction.parse(bytes.fromhex(self.evidence["unsigned_tx"]))
        if signatures is not None:
            changes["data"] = safes.execution(self.execution.tx, signatures)
        e["unsigned_tx"] = replace(genuine, **changes).encode().hex()


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One living world, its treasury a Safe."""
    with living(engine="safe", limits=UNHURRIED) as built:
        for person in ("risk-1", "cro-1", "committee-1", "pm-1", "auditor-1"):
            built.officer(person)
        yield built


@pytest.fixture
def there(world: Living) -> Iterator[Living]:
    """The world with everybody up, before and after."""
    world.revive()
    yield world
    world.revive()


def collected(world: Living, victim: str, operation: str, *, away: tuple[str, ...] = ()) -> Courier:
    """Let one die on receipt of genuine evidence, and keep what it was sent; from here on a liar speaks."""
    stack = world.stack
    stack.stop_one(victim)
    stack.start(victim, crash_at="4-received")
    for name in away:
        stack.kill(name)
    digest = world.outstanding(payment(world, 50)).digest
    refused("unavailable", lambda: world.approve(digest))
    stack.wait_for_end(victim)
    stack.kill(SERVICE)
    stack.crash_points.pop(victim, None)
    stack.start(victim)
    found = []
    for path in (world.world.places.root(SERVICE) / "blobs").iterdir():
        value = parse(path.read_bytes(), limit=DOCUMENT_MAX)
        if isinstance(value, dict) and (value.get("intent"), value.get("operation")) == (digest, operation):
            found.append((path.stat().st_mtime_ns, value))
    return Courier(world, victim, min(found, key=lambda each: each[0])[1])


def finished(world: Living, courier: Courier) -> None:
    """Let the genuine service take it up again: it is carried out, once."""
    world.revive()
    digest = courier.evidence["intent"]
    wait_for(lambda: world.pm.intent(digest).state == "confirmed", lambda: world.pm.intent(digest))


def another_call(c: Courier, e: Evidence) -> None:
    """Another payment than was approved."""
    c.asks(e, tx=replace(c.execution.tx, data=bytes.fromhex(payment(c.world, 51).data)))


def another_target(c: Courier, e: Evidence) -> None:
    """The same bytes for another contract."""
    c.asks(e, tx=replace(c.execution.tx, to=c.world.world.deployment.weth))


def foreign_code(c: Courier, e: Evidence) -> None:
    """The same bytes, run in the Safe's place."""
    c.asks(e, tx=replace(c.execution.tx, operation=Operation.DELEGATECALL))


def a_refund(c: Courier, e: Evidence) -> None:
    """The same call, and a price for its gas."""
    c.asks(e, tx=replace(c.execution.tx, gas_price=1))


def later(c: Courier, e: Evidence) -> None:
    """The Safe's nonce after this one."""
    c.asks(e, tx=replace(c.execution.tx, nonce=c.execution.tx.nonce + 1))


def another_safe(c: Courier, e: Evidence) -> None:
    """Somebody else's Safe."""
    c.asks(e, safe=charter.PAYEE)


def another_chain(c: Courier, e: Evidence) -> None:
    """The same Safe on another chain."""
    c.asks(e, chain_id=1)


def with_signatures(c: Courier, e: Evidence) -> None:
    """Bytes that say already who has signed."""
    c.asks(e, signatures=bytes(65))


def too_early(c: Courier, e: Evidence) -> None:
    """The cancel of what lives."""
    nothing = SafeTx(
        to=c.world.world.treasury, value=0, data=b"", operation=Operation.CALL, nonce=c.execution.tx.nonce
    )
    c.asks(e, tx=nothing)
    e["operation"] = "cancel"


def as_executor(_: Courier, e: Evidence) -> None:
    """An owner asked to carry it out."""
    e["operation"] = "execute"


Lie = Callable[[Courier, Evidence], None]


def unproven(slot: int) -> Lie:
    """A Safe of which one slot is not proven."""

    def change(_: Courier, e: Evidence) -> None:
        slots = e["attestations"]["state"][0]["slots"]
        del slots[next(place for place, each in enumerate(slots) if int(each["slot"], 16) == slot)]

    return change


def without_slots(_: Courier, e: Evidence) -> None:
    """A Safe of which only the account is proven."""
    del e["attestations"]["state"][0]["slots"]


def of_another(c: Courier, e: Evidence) -> None:
    """The slots of another account."""
    for each in e["attestations"]["state"][0]["slots"]:
        each["account"] = key(c.world).pins.singleton


def unproven_code(c: Courier, e: Evidence) -> None:
    """A Safe whose MultiSend may be anything."""
    accounts = e["attestations"]["state"][0]["accounts"]
    multi_send = key(c.world).pins.multi_send
    e["attestations"]["state"][0]["accounts"] = [each for each in accounts if each["address"] != multi_send]


def nobody_approves(_: Courier, e: Evidence) -> None:
    """The service asks by itself."""
    e["decisions"] = []


def all_refused(there: Living, courier: Courier, lies: Mapping[str, tuple[Lie, int, str]]) -> None:
    """Assert that each lie is refused at its step, by its name, and leaves nothing behind."""
    before = (memories(there), safe_nonce(there))
    for name, (lie, step, code) in lies.items():
        evidence = copy.deepcopy(courier.evidence)
        lie(courier, evidence)
        answer = courier.hand_over(evidence).answer
        assert answer.refused is not None, name
        assert (answer.refused.step, answer.refused.code) == (step, code), (name, answer.refused)
        assert (answer.signature, answer.raw_tx, answer.signed_before) == (None, None, None), name
        assert (memories(there), safe_nonce(there)) == before, name


LIES_TO_AN_OWNER = {
    "another payment": (another_call, 5, "bytes_differ_from_intent"),
    "another contract": (another_target, 5, "bytes_differ_from_intent"),
    "in the Safe's place": (foreign_code, 5, "bytes_differ_from_intent"),
    "with a refund": (a_refund, 5, "bytes_differ_from_intent"),
    "under a later nonce": (later, 5, "decision_over_another_nonce"),
    "of another Safe": (another_safe, 5, "bytes_differ_from_intent"),
    "on another chain": (another_chain, 5, "bytes_differ_from_intent"),
    "signed by somebody already": (with_signatures, 5, "bytes_differ_from_intent"),
    "a cancel before the end": (too_early, 4, "cancel_before_expiry"),
    "to be carried out by an owner": (as_executor, 3, "key_unknown"),
    "a threshold that nobody proves": (unproven(4), 5, "proof_invalid"),
    "a singleton that nobody proves": (unproven(0), 5, "proof_invalid"),
    "no slots": (without_slots, 5, "proof_invalid"),
    "slots of another account": (of_another, 4, "proof_invalid"),
    "code that nobody proves": (unproven_code, 5, "safe_not_as_pinned"),
    "no approval": (nobody_approves, 4, "no_approval_counts"),
}


def test_an_owner(there: Living) -> None:
    """Each lie is refused at its step, by its name, and leaves nothing in the owner's memory."""
    courier = collected(there, OWNER, "sign", away=NAMES[2:])
    before = safe_nonce(there)
    all_refused(there, courier, LIES_TO_AN_OWNER)
    signed = courier.hand_over(courier.evidence).answer
    assert signed.signature is not None
    found = safes.read_signature(
        bytes.fromhex(signed.signature),
        Proposed(
            chain_id=there.world.deployment.chain_id, safe=there.world.treasury, tx=courier.execution.tx
        ).digest(),
    )
    assert found.owner == key(there).owner(OWNER).address
    # the same again is the same answer, and nothing else is signed for this nonce
    assert courier.hand_over(courier.evidence).answer.signature == signed.signature
    finished(there, courier)
    assert safe_nonce(there) == before + 1


def one_less(c: Courier, e: Evidence) -> None:
    """Two owners' signatures."""
    c.pays(e, signatures=c.execution.signatures[: 2 * safes.SIGNATURE_BYTES])


def twice(c: Courier, e: Evidence) -> None:
    """One owner's signature a second time."""
    first = c.execution.signatures[: safes.SIGNATURE_BYTES]
    c.pays(e, signatures=first + first + c.execution.signatures[2 * safes.SIGNATURE_BYTES :])


def out_of_order(c: Courier, e: Evidence) -> None:
    """The same signatures in another order."""
    first, rest = (
        c.execution.signatures[: safes.SIGNATURE_BYTES],
        c.execution.signatures[safes.SIGNATURE_BYTES :],
    )
    c.pays(e, signatures=rest + first)


def one_more(c: Courier, e: Evidence) -> None:
    """Bytes behind the signatures that the contract reads."""
    c.pays(e, signatures=c.execution.signatures + bytes(65))


def approved_on_chain(c: Courier, e: Evidence) -> None:
    """What a simulation counts on, in the place of signatures."""
    owners = [each.address for each in key(c.world).owners[: charter.THRESHOLD]]
    c.pays(e, signatures=safes.approved(owners))


def carrying_another(c: Courier, e: Evidence) -> None:
    """Another payment with these signatures."""
    tx = replace(c.execution.tx, data=bytes.fromhex(payment(c.world, 51).data))
    c.pays(e, data=safes.execution(tx, c.execution.signatures))


def sending_along(c: Courier, e: Evidence) -> None:
    """The executor's own ether."""
    c.pays(e, value=ETHER)


def elsewhere(c: Courier, e: Evidence) -> None:
    """The same bytes for another contract."""
    c.pays(e, to=charter.PAYEE)


def any_call(c: Courier, e: Evidence) -> None:
    """Something that is no execution at all."""
    c.pays(e, data=bytes.fromhex(payment(c.world, 50).data), to=c.world.world.deployment.usdc)


def dearer(c: Courier, e: Evidence) -> None:
    """A fee that nobody has approved."""
    c.pays(e, max_fee_per_gas=10**12)


def more_gas(c: Courier, e: Evidence) -> None:
    """More gas than was approved."""
    c.pays(e, gas=1_000_000)


def a_nonce_ahead(c: Courier, e: Evidence) -> None:
    """The executor's nonce after its next."""
    genuine = UnsignedTransaction.parse(bytes.fromhex(c.evidence["unsigned_tx"]))
    c.pays(e, nonce=genuine.nonce + 1)


def as_owner(_: Courier, e: Evidence) -> None:
    """The executor asked for an owner's signature."""
    e["operation"] = "sign"


def its_own_cancel(_: Courier, e: Evidence) -> None:
    """The executor asked for a cancel of its own."""
    e["operation"] = "cancel"


LIES_TO_THE_EXECUTOR = {
    "two signatures": (one_less, 5, "safe_signatures_do_not_count"),
    "one owner twice": (twice, 5, "safe_signatures_do_not_count"),
    "out of order": (out_of_order, 5, "safe_signatures_do_not_count"),
    "one that is not read": (one_more, 5, "safe_signatures_do_not_count"),
    "approvals on chain": (approved_on_chain, 5, "safe_signatures_do_not_count"),
    "another payment": (carrying_another, 5, "bytes_differ_from_intent"),
    "its own ether": (sending_along, 5, "bytes_differ_from_intent"),
    "another contract": (elsewhere, 5, "bytes_differ_from_intent"),
    "no execution": (any_call, 5, "bytes_differ_from_intent"),
    "a higher fee": (dearer, 5, "bytes_differ_from_intent"),
    "more gas": (more_gas, 5, "bytes_differ_from_intent"),
    "a nonce ahead": (a_nonce_ahead, 7, "nonce_not_next"),
    "an owner's part": (as_owner, 3, "not_an_owner_of_the_safe"),
    "a cancel of its own": (its_own_cancel, 3, "not_an_owner_of_the_safe"),
    "a Safe that nobody proves": (unproven(4), 5, "proof_invalid"),
    "no approval": (nobody_approves, 4, "no_approval_counts"),
}


def test_the_executor(there: Living) -> None:
    """It carries out what three owners have signed, and not one byte else; refused, it remembers nothing."""
    courier = collected(there, EXECUTOR, "execute")
    before = safe_nonce(there)
    all_refused(there, courier, LIES_TO_THE_EXECUTOR)
    assert courier.hand_over(courier.evidence).answer.raw_tx is not None
    finished(there, courier)
    assert safe_nonce(there) == before + 1


def taken_over(world: Living) -> None:
    """Start the service of an attacker in the genuine one's place."""
    world.stack.stop_one(SERVICE)
    command = world.stack.command(SERVICE)
    command[command.index("workbench.service")] = "tests.e2e.lying_service"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with world.stack.log(SERVICE).open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env=environment)
    world.stack._running[SERVICE] = process
    world.stack.await_ready(SERVICE, process)


def talked_into(world: Living, digest: str, person: str, role: str) -> IntentView:
    """Have a person approve whatever the service shows, without a look at it."""
    officer = world.officer(person)
    request = client.asked(officer.speaks.service, officer.speaks.ask(digest).ticket)
    head = checkpoint.split(request.checkpoint)[0]
    decision = Decision.load(
        {
            "v": 1,
            "id": os.urandom(16).hex(),
            "verb": "approve",
            "intent": digest,
            "nonce": request.nonce,
            "policy": world.world.policy.digest,
            "simulation": Simulation.load(request.simulations[0].document).digest,
            "tolerance": {"inflow_bps": 0},
            "ledger": {"size": head.size, "root": head.root.hex(), "h": head.chain.hex()},
            "person": person,
            "role": role,
            "proposer": request.proposal.intent.proposer,
            "reason": "was told to",
            "server_nonce": request.server_nonce,
            "expires_at": write_time(datetime.now(UTC) + timedelta(seconds=600)),
        }
    )
    return officer.speaks.decide(officer.sign(decision))


@pytest.mark.parametrize(
    ("made", "code"),
    [
        pytest.param(hidden_delegatecall, "safe_runs_foreign_code", id="a delegatecall hidden in a batch"),
        pytest.param(changing_an_owner, "safe_would_be_changed", id="one more owner"),
    ],
)
def test_everybody_was_talked_into_it(there: Living, made: Callable[[Living], Intent], code: str) -> None:
    """A service that asks for anything, and an approver who looks at nothing: each owner refuses by name."""
    before = (memories(there), safe_nonce(there))
    taken_over(there)
    view = there.pm.simulate(there.pm.propose(made(there)).digest)
    assert talked_into(there, view.digest, "risk-1", "risk_officer").state == "refused"
    (entry,) = [
        each
        for each in there.entries()
        if each.get("subject") == view.digest and each["type"] == "signature.refused"
    ]
    answers = [each["answer"]["answer"] for each in (entry["data"], *entry["data"]["answers"])]
    assert [each["cosigner"] for each in answers] == list(NAMES)
    assert {(each["refused"]["step"], each["refused"]["code"]) for each in answers} == {(5, code)}
    # what is signed is persisted before: no token was asked
    assert (memories(there), safe_nonce(there)) == before
    assert json.dumps(answers).count('"signature": null') == len(NAMES)
    there.stack.stop_one(SERVICE)
