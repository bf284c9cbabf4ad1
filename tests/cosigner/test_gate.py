"""What a lying service cannot get signed: the co-signer's refusals, by step and name.

The evidence is real: the service of a living world made it, its co-signer died before
looking at it. Each case changes something, hands it to the real co-signer process, and
asserts the step, the code, and that the co-signer's memory and the chain are as before.
In the end the untouched evidence is signed, which shows that nothing else was in the way.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical, parse
from tests.world import COSIGNER, Living, living, refused
from workbench.demo import charter
from workbench.demo.world import OBSERVER, SERVICE, WATCHER
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.process.frames import call
from workbench.rules.decision import Decision, SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, signed_bytes, verify_ed25519, write_time
from workbench.rules.evidence import ANSWER_LINE, SignedAnswer
from workbench.rules.intent import INTENT_LINE, Intent
from workbench.rules.policy import PolicySet, manifest_of

Evidence = dict[str, Any]
UNHURRIED = {"attestation_age_s_max": 900, "simulation_age_s_max": 900}


class Courier:
    """A service that lies: it holds genuine evidence and changes it."""

    def __init__(self, world: Living) -> None:
        """Have the genuine service make evidence that no co-signer has seen yet."""
        self.world = world
        for person in ("risk-1", "cro-1", "pm-1"):
            world.officer(person)
        (self.other_simulation,) = world.outstanding().simulations
        self.evidence = self._collect()

    def _collect(self) -> Evidence:
        """Let the co-signer die on receipt; the service keeps what it sent."""
        world, stack = self.world, self.world.stack
        stack.kill(COSIGNER)
        stack.start(COSIGNER, crash_at="4-received")
        digest = world.outstanding().digest
        refused("unavailable", lambda: world.approve(digest))
        stack.wait_for_end(COSIGNER)
        # the genuine service would bring its evidence again by itself: from here on a liar speaks
        stack.kill(SERVICE)
        stack.start(COSIGNER)
        blobs = world.world.places.root("service") / "blobs"
        newest = max(blobs.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        value: Evidence = parse(newest.read_bytes(), limit=DOCUMENT_MAX)
        assert value["intent"] == digest
        self.mislabelled = self._mislabel(value)
        return value

    def _mislabel(self, evidence: Evidence) -> Evidence:
        """Have the genuine observer run an allowance of nothing under the intent's name."""
        intent = self.world.allowance(0)
        transaction = {
            "intent": evidence["intent"],
            "from": self.world.world.treasury,
            "to": intent.to,
            "value": "0",
            "data": intent.data,
            "gas": intent.gas_max,
            "max_fee_per_gas": intent.max_fee_per_gas,
            "max_priority_fee_per_gas": intent.max_priority_fee_per_gas,
        }
        request = {
            "v": 1,
            "operation": "simulate",
            "step": 4,
            "transactions": [transaction],
            "target": 0,
            "accounts": [],
            "block": None,
        }
        statement: Evidence = call(self.world.world.places.socket(OBSERVER), request, timeout_s=60)["result"]
        return statement

    def hand_over(self, evidence: Evidence) -> SignedAnswer:
        """Give evidence to the co-signer; its answer must be signed by the key that the trust root pins."""
        if evidence["lease"] == self.evidence["lease"]:
            evidence = evidence | {"lease": self.lease()}
        signed = SignedAnswer.load(call(self.world.world.places.socket(COSIGNER), evidence, timeout_s=30))
        pinned = self.world.world.trust_root.cosigners[COSIGNER]
        verify_ed25519(pinned, signed.signature, ANSWER_LINE, signed.answer.canonical(), what="answer")
        return signed

    def lease(self) -> dict[str, Any]:
        """Return a lease of the genuine watcher: one lives for seconds, a table of lies takes minutes."""
        watcher = self.world.world.places.socket(WATCHER)
        lease: dict[str, Any] = call(watcher, {"v": 1, "operation": "lease"}, timeout_s=30)["lease"]
        return lease

    def decision(self, evidence: Evidence, **changes: Any) -> dict[str, Any]:
        """Return the first decision with fields changed, really signed by the person it names."""
        decision = Decision.load({**evidence["decisions"][0]["decision"], **changes})
        return self.world.officer(decision.person).sign(decision).dump()

    def resign(self, evidence: Evidence, **changes: Any) -> None:
        """Replace the decisions by one with fields changed."""
        evidence["decisions"] = [self.decision(evidence, **changes)]

    def memory(self) -> str:
        """Return the co-signer's memory and the treasury's account, as seen from outside."""
        return f"{self.world.memory()} {self.world.transactions()}"


@pytest.fixture(scope="module")
def courier() -> Iterator[Courier]:
    """One living world with evidence in a liar's hands."""
    # a table of lies takes longer than evidence stays fresh at the desk
    with living(second_key=("risk-1",), limits=UNHURRIED) as world:
        yield Courier(world)


def no_decisions(_: Courier, e: Evidence) -> None:
    """The service asks by itself."""
    e["decisions"] = []


def forged_assertion(_: Courier, e: Evidence) -> None:
    """A signature over something else."""
    e["decisions"][0]["assertion"]["signature"] = e["policy_chain"][0]["signatures"][0]["assertion"][
        "signature"
    ]


def flipped_verb(c: Courier, e: Evidence) -> None:
    """A real rejection, called an approval afterwards."""
    c.resign(e, verb="reject")
    e["decisions"][0]["decision"]["verb"] = "approve"


def rejection(c: Courier, e: Evidence) -> None:
    """Somebody said no; the service sends the approval beside it."""
    e["decisions"].append(c.decision(e, verb="reject", person="cro-1", role="cro", id="0" * 32))


def by_the_proposer(c: Courier, e: Evidence) -> None:
    """The proposer approves himself."""
    c.resign(e, person="pm-1", role="portfolio_manager")


def other_policy(c: Courier, e: Evidence) -> None:
    """Consent under other rules."""
    c.resign(e, policy="ab" * 32)


def other_intent(c: Courier, e: Evidence) -> None:
    """Consent to something else."""
    c.resign(e, intent="ab" * 32)


def other_simulation(c: Courier, e: Evidence) -> None:
    """Consent to another outcome."""
    c.resign(e, simulation="ab" * 32)


def expired_decision(c: Courier, e: Evidence) -> None:
    """Consent that has run out."""
    c.resign(e, expires_at=write_time(datetime.now(UTC) - timedelta(seconds=1)))


def unheld_role(c: Courier, e: Evidence) -> None:
    """A risk officer signs as chief."""
    c.resign(e, role="cro")


def decision_for_another_nonce(c: Courier, e: Evidence) -> None:
    """Consent under another nonce."""
    c.resign(e, nonce=7)


def another_ledger(c: Courier, e: Evidence) -> None:
    """The approver was shown a ledger that does not exist."""
    c.resign(e, ledger={**e["decisions"][0]["decision"]["ledger"], "root": "ab" * 32})


def later_ledger(c: Courier, e: Evidence) -> None:
    """The approver was shown more ledger than there is."""
    c.resign(e, ledger={**e["decisions"][0]["decision"]["ledger"], "size": 10**6})


def login_assertion(c: Courier, e: Evidence) -> None:
    """A press for the login origin over the decision's challenge."""
    decision = Decision.load(e["decisions"][0]["decision"])
    person = c.world.world.policy.person("risk-1")
    credential = next(each.id for each in person.credentials if each.path == "login")
    device = charter.authenticator(c.world.world.places.officers, "risk-1", c.world.world.trust_root.login)
    assertion = device.sign(decision.challenge, credential=credential)
    e["decisions"] = [SignedDecision(decision=decision, assertion=assertion).dump()]


def invented_proposal(_: Courier, e: Evidence) -> None:
    """The service signs a proposal with a key of its own."""
    intent = Intent.load(e["proposal"]["intent"])
    e["proposal"]["signature"] = (
        Ed25519PrivateKey.generate().sign(signed_bytes(INTENT_LINE, intent.canonical())).hex()
    )


def invented_session(_: Courier, e: Evidence) -> None:
    """The service makes a session out of a real one and a key of its own."""
    key = Ed25519PrivateKey.generate()
    intent = Intent.load(e["proposal"]["intent"])
    e["proposal"]["session"]["session"]["public_key"] = key.public_key().public_bytes_raw().hex()
    e["proposal"]["signature"] = key.sign(signed_bytes(INTENT_LINE, intent.canonical())).hex()


def no_login(_: Courier, e: Evidence) -> None:
    """The service leaves the login out, as if a program had proposed."""
    del e["proposal"]["session"]


def swapped_intent(_: Courier, e: Evidence) -> None:
    """The intent's calldata changes after everybody has signed."""
    e["proposal"]["intent"]["data"] = e["proposal"]["intent"]["data"][:-2] + "ff"


def renamed_intent(_: Courier, e: Evidence) -> None:
    """As above, with the digest put right."""
    swapped_intent(_, e)
    e["intent"] = Intent.load(e["proposal"]["intent"]).digest


def _transaction(e: Evidence, **changes: Any) -> None:
    unsigned = UnsignedTransaction.parse(bytes.fromhex(e["unsigned_tx"]))
    values = {name: getattr(unsigned, name) for name in UnsignedTransaction.__slots__} | changes
    e["unsigned_tx"] = UnsignedTransaction(**values).encode().hex()


def swapped_calldata(_: Courier, e: Evidence) -> None:
    """The bytes carry another allowance than the intent."""
    data = bytes.fromhex(e["proposal"]["intent"]["data"])
    _transaction(e, data=data[:-1] + b"\xff")


def swapped_recipient(c: Courier, e: Evidence) -> None:
    """The bytes go elsewhere."""
    _transaction(e, to=c.world.world.deployment.weth)


def with_value(_: Courier, e: Evidence) -> None:
    """The bytes carry ether too."""
    _transaction(e, value=1)


def higher_fee(_: Courier, e: Evidence) -> None:
    """The bytes pay more than was approved."""
    _transaction(e, max_fee_per_gas=400 * 10**9)


def other_chain(_: Courier, e: Evidence) -> None:
    """The bytes are for another chain."""
    _transaction(e, chain_id=1)


def second_nonce(_: Courier, e: Evidence) -> None:
    """The same approval, the next nonce."""
    _transaction(e, nonce=UnsignedTransaction.parse(bytes.fromhex(e["unsigned_tx"])).nonce + 1)


def trailing_bytes(_: Courier, e: Evidence) -> None:
    """Bytes that decode, and then some."""
    e["unsigned_tx"] += "00"


def reservation_of_another_nonce(_: Courier, e: Evidence) -> None:
    """The ledger's entry says another nonce than the service shows."""
    data = json.loads(e["reservation"]["data"])
    e["reservation"]["data"] = canonical({**data, "nonce": data["nonce"] + 1}).decode()


def unproven_reservation(_: Courier, e: Evidence) -> None:
    """The reservation does not lie under the checkpoint."""
    e["reservation"]["proof"] = ["00" * 32 for _ in e["reservation"]["proof"]]


def forged_checkpoint(_: Courier, e: Evidence) -> None:
    """A checkpoint that the service's key did not sign."""
    e["head"]["checkpoint"] = e["head"]["checkpoint"].replace("\n— ", "\nextra\n\n— ", 1)


def missing_leaves(_: Courier, e: Evidence) -> None:
    """History with a hole."""
    e["head"]["leaves"] = e["head"]["leaves"][1:]


def other_leaves(_: Courier, e: Evidence) -> None:
    """Another history of the same length."""
    e["head"]["leaves"][0] = "00" * 32


def fewer_policies(_: Courier, e: Evidence) -> None:
    """No policy set at all."""
    e["policy_chain"] = []


def edited_policy(_: Courier, e: Evidence) -> None:
    """A rule is taken out, the digest left."""
    files = e["policy_chain"][0]["files"]
    files["policies.cedar"] = files["policies.cedar"].replace(
        '@id("approval.four-eyes")', '@id("approval.none")'
    )


def edited_policy_with_digest(_: Courier, e: Evidence) -> None:
    """A rule is taken out and the digest put right: nobody signed that manifest."""
    edited_policy(_, e)
    policy = e["policy_chain"][0]
    policy["manifest"]["files"]["policies.cedar"] = hashlib.sha256(
        policy["files"]["policies.cedar"].encode()
    ).hexdigest()


def no_fresh_simulation(_: Courier, e: Evidence) -> None:
    """Nobody looked again."""
    e["attestations"]["fresh"] = []


def no_approved_simulation(_: Courier, e: Evidence) -> None:
    """What was approved is not shown."""
    e["attestations"]["approved"] = []


def no_state(_: Courier, e: Evidence) -> None:
    """No proof of the chain's state."""
    e["attestations"]["state"] = []


def no_proof_of_the_contract(_: Courier, e: Evidence) -> None:
    """The contract's code is not proven."""
    state = e["attestations"]["state"][0]
    state["accounts"] = [
        each for each in state["accounts"] if each["address"] != e["proposal"]["intent"]["to"]
    ]


def no_proof_of_the_owner(_: Courier, e: Evidence) -> None:
    """The treasury's nonce and balance are not proven."""
    state = e["attestations"]["state"][0]
    state["accounts"] = [
        each for each in state["accounts"] if each["address"] == e["proposal"]["intent"]["to"]
    ]


def richer_owner(_: Courier, e: Evidence) -> None:
    """The told balance is not the proven one."""
    e["attestations"]["state"][0]["accounts"][0]["balance"] = str(10**30)


def edited_simulation(_: Courier, e: Evidence) -> None:
    """The observer's words are changed."""
    e["attestations"]["fresh"][0]["document"]["gas"] += 1


def simulation_by_nobody(_: Courier, e: Evidence) -> None:
    """An observer that the trust root does not know."""
    e["attestations"]["fresh"][0]["observer"] = "observer-9"


def swapped_simulation(c: Courier, e: Evidence) -> None:
    """A genuine simulation of another intent."""
    e["attestations"]["fresh"] = [c.other_simulation.dump()]


def mislabelled_simulation(c: Courier, e: Evidence) -> None:
    """The observer really ran a call, a harmless one, under this intent's name."""
    harmless = e["attestations"]["approved"][0]["document"]
    signed = c.mislabelled
    assert signed["document"]["intent"] == harmless["intent"]
    e["attestations"]["fresh"] = [signed]


def bent_copy_of_a_decision(c: Courier, e: Evidence) -> None:
    """Another ledger was shown, and the decision is repeated so that its id is among those skipped."""
    another_ledger(c, e)
    e["decisions"] = [e["decisions"][0], e["decisions"][0]]


def no_consistency(_: Courier, e: Evidence) -> None:
    """What the approver was shown is not shown to grow into the checkpoint."""
    e["head"]["consistency"] = {}


def unknown_field(_: Courier, e: Evidence) -> None:
    """A field that nobody knows."""
    e["surprise"] = True


def other_operation(_: Courier, e: Evidence) -> None:
    """An operation that this co-signer does not have."""
    e["operation"] = "backup"


Lie = Callable[[Courier, Evidence], None]
LIES: list[tuple[Lie, int, str]] = [
    (unknown_field, 0, "malformed"),
    (other_operation, 0, "malformed"),
    (fewer_policies, 0, "malformed"),
    (swapped_intent, 0, "decision_over_another_intent"),
    (forged_checkpoint, 2, "checkpoint_invalid"),
    (missing_leaves, 2, "ledger_head_behind"),
    (other_leaves, 2, "ledger_head_forked"),
    (reservation_of_another_nonce, 2, "reservation_not_in_ledger"),
    (unproven_reservation, 2, "checkpoint_invalid"),
    (renamed_intent, 2, "reservation_not_in_ledger"),
    (edited_policy, 3, "policy_invalid"),
    (edited_policy_with_digest, 3, "policy_chain_broken"),
    (no_state, 4, "fact_missing"),
    (richer_owner, 4, "proof_invalid"),
    (invented_proposal, 4, "signature_invalid"),
    (invented_session, 4, "assertion_over_something_else"),
    (no_login, 4, "account_unknown"),
    (no_approved_simulation, 4, "fact_missing"),
    (no_decisions, 4, "no_approval_counts"),
    (forged_assertion, 4, "assertion_invalid"),
    (flipped_verb, 4, "assertion_over_something_else"),
    (rejection, 4, "rejected"),
    (by_the_proposer, 4, "decision_by_the_proposer"),
    (other_policy, 4, "decision_under_another_policy"),
    (other_intent, 4, "decision_over_another_intent"),
    (other_simulation, 4, "decision_over_another_simulation"),
    (decision_for_another_nonce, 4, "decision_over_another_nonce"),
    (expired_decision, 4, "expired"),
    (unheld_role, 4, "role_not_held"),
    (another_ledger, 4, "ledger_head_forked"),
    (bent_copy_of_a_decision, 4, "ledger_head_forked"),
    (no_consistency, 4, "ledger_head_forked"),
    (later_ledger, 4, "ledger_head_forked"),
    (login_assertion, 4, "credential_unknown"),
    (trailing_bytes, 5, "malformed"),
    (second_nonce, 5, "decision_over_another_nonce"),
    (swapped_calldata, 5, "bytes_differ_from_intent"),
    (swapped_recipient, 5, "bytes_differ_from_intent"),
    (with_value, 5, "bytes_differ_from_intent"),
    (higher_fee, 5, "bytes_differ_from_intent"),
    (other_chain, 5, "bytes_differ_from_intent"),
    (no_fresh_simulation, 5, "fact_missing"),
    (edited_simulation, 5, "signature_invalid"),
    (simulation_by_nobody, 5, "observer_unknown"),
    (swapped_simulation, 5, "simulation_of_something_else"),
    (mislabelled_simulation, 5, "simulation_of_something_else"),
    (no_proof_of_the_contract, 6, "fact_missing"),
    (no_proof_of_the_owner, 6, "fact_missing"),
]


@pytest.mark.parametrize(("lie", "step", "code"), [pytest.param(*each, id=each[0].__name__) for each in LIES])
def test_step_refuses(courier: Courier, lie: Lie, step: int, code: str) -> None:
    """A lie is refused at its step, by name, and leaves no trace."""
    evidence = copy.deepcopy(courier.evidence)
    lie(courier, evidence)
    before = courier.memory()
    answer = courier.hand_over(evidence).answer
    assert answer.refused is not None
    assert (answer.refused.step, answer.refused.code) == (step, code), answer.refused.detail
    assert answer.raw_tx is None
    assert answer.signature is None
    assert courier.memory() == before


def test_head_comes_in_pieces(courier: Courier) -> None:
    """A long history travels ahead of the evidence, from checkpoint to checkpoint, and signs nothing."""
    world, evidence = courier.world, courier.evidence
    update = evidence["head"]
    kept = world.world.places.root(SERVICE) / "checkpoints"
    first = min(kept.glob("[0-9]*.txt"))
    size = int(first.stem)
    piece = {"from": 0, "leaves": update["leaves"][:size], "checkpoint": first.read_text(), "consistency": {}}
    socket, before = world.world.places.socket(COSIGNER), courier.memory()
    for lie in ({**piece, "from": 1}, {**piece, "leaves": update["leaves"][1 : size + 1]}, {}):
        answer = call(socket, {"v": 1, "operation": "advance", "head": lie}, timeout_s=30)
        assert set(answer) == {"v", "refused"}
        assert courier.memory() == before
    answer = call(socket, {"v": 1, "operation": "advance", "head": piece}, timeout_s=30)
    assert answer["size"] == size
    again = call(socket, {"v": 1, "operation": "advance", "head": piece}, timeout_s=30)
    assert again["refused"]["code"] == "ledger_head_behind"
    assert world.transactions() == 0
    update |= {"from": size, "leaves": update["leaves"][size:]}


def test_untouched_evidence_is_signed(courier: Courier) -> None:
    """After all refusals the genuine evidence still leads to a signature, once, over the approved bytes."""
    world = courier.world
    evidence = courier.evidence
    answer = courier.hand_over(evidence).answer
    assert answer.refused is None, answer.refused
    signed = SignedTransaction.parse(bytes.fromhex(answer.raw_tx or ""))
    assert signed.unsigned.encode().hex() == evidence["unsigned_tx"]
    assert signed.sender == world.world.treasury
    again = courier.hand_over(evidence).answer
    assert again.raw_tx == answer.raw_tx
    # a refusal now says that a signature exists: without that word a refusal proves that there is none
    altered = copy.deepcopy(evidence)
    second_nonce(courier, altered)
    refusal = courier.hand_over(altered).answer
    assert refusal.refused is not None
    assert (refusal.raw_tx, refusal.signed_before) == (None, answer.raw_tx)


def test_step_3_an_older_policy_set_is_not_tried_again(courier: Courier) -> None:
    """What was refused under a newer policy set is refused under the older one for being older.

    So is a longer chain that leaves the newer one out: a set that was signed and never activated, and one
    after it by officers whom the newer one may have taken away.
    """
    world, evidence = courier.world, copy.deepcopy(courier.evidence)
    places, previous = world.world.places, world.world.policy

    def following(before: PolicySet, *, days: int = 0, second: str = "console") -> PolicySet:
        version, at = before.manifest.version + 1, write_time(datetime.now(UTC) - timedelta(days=days))
        manifest = manifest_of(previous.files, name="desk", version=version, previous=before.digest, at=at)
        unsigned = PolicySet(manifest, previous.files, [])
        pressed = (("cro-1", "approval"), ("risk-1", second))
        signatures = [world.officer(who).sign_policy(unsigned, path=path) for who, path in pressed]
        return PolicySet(manifest, previous.files, signatures)

    pages = following(previous, second="approval")
    newer, never = following(previous), following(previous, days=1)
    after_it = following(never)
    size = call(places.socket(COSIGNER), {"v": 1, "operation": "status"}, timeout_s=30)["size"]
    evidence["head"] |= {"from": size, "leaves": []}
    second_nonce(courier, evidence)
    before = courier.memory()
    for chain, refusal in (
        # two officers on pages are one machine's word
        ([previous.dump(), pages.dump()], (3, "policy_chain_broken")),
        # the watcher does not know of it: it may be in force, and is not shown to be
        ([previous.dump(), newer.dump()], (1, "lease_names_another_policy_set")),
        ("the watcher is told", None),
        # hidden from the co-signer, which has not seen it yet
        ([previous.dump()], (1, "lease_names_another_policy_set")),
        ([previous.dump(), newer.dump()], (4, "decision_under_another_policy")),
        ([previous.dump()], (3, "policy_superseded")),
        ([previous.dump(), never.dump()], (3, "policy_chain_broken")),
        ([previous.dump(), never.dump(), after_it.dump()], (3, "policy_chain_broken")),
    ):
        if refusal is None:
            told = {"v": 1, "operation": "policy", "sets": [previous.dump(), newer.dump()]}
            assert call(places.socket(WATCHER), told, timeout_s=30)["policy"] == newer.digest
            continue
        answer = courier.hand_over({**evidence, "policy_chain": chain}).answer
        assert answer.refused is not None
        assert (answer.refused.step, answer.refused.code) == refusal, answer.refused.detail
        assert answer.raw_tx is None
        assert courier.memory() == before


def test_the_service_goes_on(courier: Courier) -> None:
    """The genuine service comes back, asks once more, gets what was signed, and has it mined."""
    world = courier.world
    world.stack.start(SERVICE)
    assert world.pm.resume(courier.evidence["intent"]).state == "confirmed"
    assert world.transactions() == 1
