"""A policy set changes under a living desk: what people see, what counts, and what the co-signer believes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.encoding import canonical, parse
from tests.rules.test_change import Edit, but, edited, leaves
from tests.world import COSIGNER, Living, living, refused
from workbench import cli, client, commands
from workbench.client import ServiceUnavailableError
from workbench.demo import charter, people
from workbench.demo.world import SERVICE
from workbench.evm.transaction import UnsignedTransaction
from workbench.identity import registration
from workbench.identity.ctap import Authenticator
from workbench.process.frames import call
from workbench.rules import enrolment
from workbench.rules.assertion import Credential
from workbench.rules.change import SignedVeto, Veto
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, write_time
from workbench.rules.enrolment import BrowserAnswer, Registration
from workbench.rules.evidence import SignedAnswer
from workbench.rules.policy import PolicySet, manifest_of
from workbench.rules.receipt import verify_receipt
from workbench.rules.trust import UNSAFE_AAGUID

DELAY_S = 2
WITHIN_S = 30.0
NEWEST = "decision_over_another_nonce"
"""Under the newest chain the co-signer goes on to the bytes, which have another nonce than was approved."""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One world, whose policy set changes from test to test; everybody in it signs under the newest."""
    with living(limits={"change_delay_s_min": DELAY_S}) as built:
        yield built


def in_force(world: Living) -> PolicySet:
    """Return the set in force, as the service carries it."""
    newest = max(world.world.places.policies.iterdir())
    return PolicySet.load(parse(newest.read_bytes(), limit=DOCUMENT_MAX))


def following(world: Living, edit: Edit, *, wait_s: float = 0) -> PolicySet:
    """Return a next set with other people, without signatures."""
    current = in_force(world)
    value = edit(json.loads(current.files["people.json"]))
    files = {**current.files, "people.json": canonical(value, limit=2**20)}
    manifest = manifest_of(
        files,
        name="desk",
        version=current.manifest.version + 1,
        previous=current.digest,
        at=write_time(datetime.now(UTC) + timedelta(seconds=wait_s)),
    )
    return PolicySet(manifest, files, [])


def press(world: Living, person: str, challenge: bytes) -> Any:
    """Let a person press his key for approvals."""
    officer = world.officer(person)
    credential = next(
        each.id for each in officer.policy.people[person].credentials if each.path == "approval"
    )
    device = charter.authenticator(world.world.places.officers, person, world.world.trust_root.approval)
    return device.sign(challenge, credential=credential)


def taken_over(world: Living, policy: PolicySet) -> None:
    """Assert that a set is in force, and let everybody work under it."""
    assert client.status(world.socket)["policy"] == policy.digest
    # a set is in force once it is recorded; its file follows
    until(lambda: in_force(world).digest == policy.digest)
    for officer in world._officers.values():
        officer.policy = in_force(world)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(world: Living, capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """Run a command of the CLI while its person signs the login."""
    places, codes = world.world.places, []
    asked = ["policy", *command, "--socket", str(world.socket), "--person", "auditor-1"]
    running = threading.Thread(target=lambda: codes.append(cli.main(asked)))
    running.start()
    while running.is_alive():
        for session in client.waiting_logins(world.socket, "auditor-1"):
            people.sign_login(
                session,
                person="auditor-1",
                folder=places.officers,
                socket=world.socket,
                policy=world.world.policy,
                party=world.world.trust_root.login,
            )
        running.join(0.05)
    return codes[0], capsys.readouterr().out


def register(world: Living, person: str, device: Authenticator) -> Credential:
    """Have a key registered by somebody who stands in for the approver; nothing else than it is recorded."""
    ticket = world.officer("admin-1").speaks.register(person, "approval").ticket
    root, now, challenge = world.world.trust_root, datetime.now(UTC), b"\x07" * 32
    asked = enrolment.verify(client.asked_registration(world.socket, ticket), trust_root=root, now=now)
    answered = BrowserAnswer.load(
        device.register(registration.ask(asked, challenge=challenge, trust_root=root))
    )
    done = registration.judge(
        asked, answered, challenge=challenge, trust_root=root, metadata=None, now=now
    ).dump()
    made = done["registered"]["credential"]
    key = world.officer(person).policy.people[person].credentials[0].cose
    forged = (
        {"challenge": "AA"},
        {"registered": done["registered"] | {"credential": made | {"cose": key}}},
        {
            "registered": done["registered"]
            | {"credential": made | {"id": "AB"[made["id"][0] == "A"] + made["id"][1:]}}
        },
        {"answer": done["answer"] | {"response": done["answer"]["response"] | {"attestationObject": "AA"}}},
    )
    with world.unchanged(refusals=len(forged)):
        for changes in forged:
            bent = Registration.load(done | changes)
            refused("registration_invalid", lambda b=bent: client.registered(world.socket, ticket, b))
    return client.registered(world.socket, ticket, Registration.load(done)).credential


def test_who_may_change_anything(world: Living) -> None:
    """Proposing and activating are for those whom the set permits it; a session is needed for everything."""
    next_set = following(world, leaves("trader-1"))
    world.officer("auditor-1")
    with world.unchanged(refusals=4):
        refused("role_not_held", lambda: world.pm.amend(next_set))
        refused("role_not_held", lambda: world.officer("auditor-1").speaks.amend(next_set))
        refused("role_not_held", lambda: world.pm.activate(next_set.digest))
        path = f"/v1/policies/{next_set.digest}/veto"
        refused("session_unknown", lambda: client.send(world.socket, "POST", path, b"{}", {}))
    assert world.pm.changes().in_force == [world.world.policy.digest]


def test_a_false_key(world: Living, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is not his is seen in words, vetoed by its owner, and never comes into force."""
    device = charter.authenticator(world.world.places.officers, "admin-1", world.world.trust_root.approval)
    false = register(world, "trader-1", device)
    edit = edited("trader-1", credentials=lambda own: [*own, false.dump()])
    assert told(world, capsys, "pending") == (commands.DONE, "nothing is proposed\n")
    hasty = following(world, edit, wait_s=DELAY_S / 2)
    admin = world.officer("admin-1").speaks
    with world.unchanged(refusals=1):
        refused("change_delay_not_kept", lambda: admin.amend(hasty), path="/manifest/activates_at")
    next_set = following(world, edit, wait_s=DELAY_S + 20)
    view = admin.amend(next_set)
    assert (view.standing, view.compared()) == ("pending", view.change)
    world.signs(next_set, "risk-1")
    code, listed = told(world, capsys, "pending")
    assert (code, listed.split()[0]) == (commands.DONE, next_set.digest)
    assert "signed by risk-1" in listed
    code, shown = told(world, capsys, "show", next_set.digest)
    assert code == commands.DONE
    assert f"trader-1 gains a credential for approval: {false.id[:12]}, model {UNSAFE_AAGUID}" in shown
    assert "It lies open for at least 0:00:02" in shown
    assert world.signs(next_set, "cro-1").standing == "pending"
    document = {"v": 1, "policy": next_set.digest, "person": "trader-1", "reason": "that key is not mine"}
    veto = Veto.load(document)
    signed = SignedVeto(veto=veto, assertion=press(world, "trader-1", veto.challenge))
    refused("session_of_another", lambda: world.pm.veto(signed))
    assert world.officer("trader-1").speaks.veto(signed).standing == "vetoed"
    with world.unchanged(refusals=1):
        refused("change_vetoed", lambda: admin.activate(next_set.digest))
    code, shown = told(world, capsys, "show", next_set.digest)
    assert "vetoed by trader-1: that key is not mine" in shown
    assert told(world, capsys, "show", "ab" * 32)[0] == commands.REFUSED


def test_a_set_that_lay_open(world: Living) -> None:
    """What adds something is in force when its delay is over, without anybody's asking."""
    next_set = following(world, edited("trader-1", site="south"), wait_s=DELAY_S + 1)
    world.officer("admin-1").speaks.amend(next_set)
    world.signs(next_set, "risk-1")
    assert world.signs(next_set, "cro-1").standing == "pending"
    until(lambda: client.status(world.socket)["policy"] == next_set.digest)
    taken_over(world, next_set)


def test_consent_under_an_older_set(world: Living) -> None:
    """It is shown as void, its people are asked again, and the co-signer takes the longer chain."""
    digest = world.outstanding(world.allowance(2_000_000)).digest
    view = world.approve(digest)
    assert (view.needs, view.void) == (["approve:cro:1"], {})
    cro = world.officer("cro-1")
    late = cro.sign(cro.decision(digest, verb="approve", role="cro", reason="a test"))
    next_set = following(world, edited("trader-1", credentials=but("approval")))
    world.officer("admin-1").speaks.amend(next_set)
    world.signs(next_set, "risk-1")
    assert world.signs(next_set, "committee-1").standing == "activated"
    taken_over(world, next_set)
    view = world.pm.intent(digest)
    (given,) = view.decisions
    assert view.void == {given.decision.id: "decision_under_another_policy"}
    assert view.needs == ["approve:any:1", "approve:cro:1"]
    with world.unchanged(refusals=1):
        refused("decision_under_another_policy", lambda: hand_in(world, digest, late))
    assert world.approve(digest).state == "outstanding"
    view = world.settled(world.approve(digest, person="cro-1", role="cro"))
    assert (view.state, view.void) == ("confirmed", {})
    receipt = world.pm.receipt(digest)
    assert [each["manifest"]["version"] for each in receipt.policy_chain] == [1, 2, 3]
    assert len(receipt.activations) == 2
    lines = verify_receipt(receipt, trust_root=world.world.trust_root, now=datetime.now(UTC))
    assert [line.actor for line in lines if line.type == "decision.recorded"] == ["risk-1", "risk-1", "cro-1"]


def hand_in(world: Living, digest: str, signed: SignedDecision) -> object:
    """Hand the chief risk officer's decision in."""
    return world.officer("cro-1").speaks.post(f"/v1/intents/{digest}/decisions", signed.dump())


def test_step_3_the_older_chain_is_refused(world: Living) -> None:
    """What the co-signer has seen it does not forget: the chain without its newest set is too old."""
    blobs = [path.read_bytes() for path in (world.world.places.root(SERVICE) / "blobs").iterdir()]
    evidence = next(value for raw in blobs if "policy_chain" in (value := parse(raw, limit=DOCUMENT_MAX)))
    assert len(evidence["policy_chain"]) == 3
    evidence["head"] |= {"from": cosigners_size(world), "leaves": []}
    # the very bytes that it has signed are only what it has signed: these are others
    signed = UnsignedTransaction.parse(bytes.fromhex(evidence["unsigned_tx"]))
    evidence["unsigned_tx"] = replace(signed, nonce=signed.nonce + 1).encode().hex()
    before = world.memory()
    for length, step, code in ((3, 5, NEWEST), (2, 3, "policy_superseded"), (1, 3, "policy_superseded")):
        older = {**evidence, "policy_chain": evidence["policy_chain"][:length]}
        answer = SignedAnswer.load(call(world.world.places.socket(COSIGNER), older, timeout_s=30)).answer
        assert answer.refused is not None
        assert (answer.refused.step, answer.refused.code) == (step, code), answer.refused.detail
        assert answer.raw_tx is None
    assert world.memory() == before


def cosigners_size(world: Living) -> int:
    """Return the size of the ledger that the co-signer knows."""
    status = call(world.world.places.socket(COSIGNER), {"v": 1, "operation": "status"}, timeout_s=30)
    return int(status["size"])


def test_a_crash_while_taking_over(world: Living) -> None:
    """The process dies between record and file: it comes up under the new set, and whoever left has left."""
    trader = world.officer("trader-1").speaks
    theirs = trader.propose(world.allowance(10, proposer="trader-1")).digest
    next_set = following(world, leaves("trader-1"))
    world.officer("admin-1").speaks.amend(next_set)
    world.signs(next_set, "risk-1")
    world.stack.kill(SERVICE)
    world.stack.start(SERVICE, crash_at="policy-activated")
    with pytest.raises(ServiceUnavailableError):
        world.signs(next_set, "cro-1")
    world.stack.wait_for_end(SERVICE)
    assert in_force(world).digest == next_set.manifest.previous
    world.stack.start(SERVICE)
    taken_over(world, next_set)
    refused("session_ended", trader.intents)
    view = world.pm.intent(theirs)
    assert (view.state, view.needs, view.missing) == ("proposed", ["propose:again"], ["proposer"])
    assert world.push(world.allowance(20)).state == "confirmed"
    kinds = [entry["type"] for entry in world.entries()]
    changes = {kind: kinds.count(kind) for kind in kinds if kind.startswith("policy.")}
    assert changes == {
        "policy.adopted": 1,
        "policy.proposed": 4,
        "policy.signed": 8,
        "policy.vetoed": 1,
        "policy.activated": 3,
    }
