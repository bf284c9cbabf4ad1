"""Replacement and cancel at the gate: what a lying service cannot get signed over an approval that is used.

The co-signer has signed an intent once; the service is dead, and its evidence in a liar's hands. Each case
asserts step, code, and that the co-signer's memory and the chain are as before. In the end what is legal is
signed, through crashes too, and everything that was ever signed is remembered in order.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cosigner.test_gate import UNHURRIED, Courier, Evidence
from tests.e2e.test_stuck import wait_for
from tests.world import COSIGNER, living
from workbench.demo.world import OBSERVER
from workbench.evm.fields import to_rpc
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.process.frames import FrameError, call
from workbench.rules import carried, fees
from workbench.rules.documents import write_time
from workbench.rules.evidence import Answer
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent

ELSEWHERE = "0x1111111111111111111111111111111111111111"
NO_ID = "0" * 32


class Signed(Courier):
    """A courier whose evidence the co-signer has signed over already."""

    def __init__(self, *args: Any) -> None:
        """Cancel nothing that was never signed, then have the first bytes signed."""
        super().__init__(*args)
        self.intent = Intent.load(self.evidence["proposal"]["intent"])
        self.nonce = self.first.nonce
        before = self.memory()
        self.unsigned_refusal = self.hand_over(self.cancel(self.evidence)).answer
        assert self.memory() == before
        answer = self.hand_over(self.evidence).answer
        assert answer.refused is None, answer.refused
        self.raw = [str(answer.raw_tx)]
        # the co-signer has grown to the checkpoint: nothing more to bring
        head = self.evidence["head"]
        head |= {"from": head["from"] + len(head["leaves"]), "leaves": []}

    @property
    def first(self) -> UnsignedTransaction:
        """The bytes of the evidence."""
        return UnsignedTransaction.parse(bytes.fromhex(self.evidence["unsigned_tx"]))

    @property
    def paid(self) -> Fees:
        """What the bytes pay that were signed last."""
        return carried.fees_of(SignedTransaction.parse(bytes.fromhex(self.raw[-1])).unsigned)

    def replacement(self) -> Evidence:
        """Return evidence for the cheapest replacement."""
        evidence = copy.deepcopy(self.evidence)
        evidence["unsigned_tx"] = self.intent.transaction(self.nonce, fees.raised(self.paid)).encode().hex()
        return evidence

    def cancel(self, genuine: Evidence, paid: Fees | None = None) -> Evidence:
        """Return evidence for the cheapest cancel, which the chief risk officer asks for."""
        evidence = copy.deepcopy(genuine)
        treasury = self.world.world.treasury
        paying = fees.raised(carried.fees_of(self.first) if paid is None else paid)
        unsigned = carried.cancel_of(self.intent, nonce=self.nonce, address=treasury, fees=paying)
        evidence |= {"operation": "cancel", "unsigned_tx": unsigned.encode().hex()}
        evidence["decisions"] = [self.rejection(genuine)]
        evidence["attestations"] |= {"approved": [], "fresh": []}
        return evidence

    def rejection(self, evidence: Evidence, **changes: Any) -> dict[str, Any]:
        """Return a decision of the chief risk officer against the intent."""
        said = {"verb": "reject", "person": "cro-1", "role": "cro", "id": NO_ID, **changes}
        return self.decision(evidence, **said)

    def observed(self, operation: str, **asked: Any) -> Any:  # the JSON edge
        """Ask the genuine observer."""
        request = {"v": 1, "operation": operation, **asked}
        return call(self.world.world.places.socket(OBSERVER), request, timeout_s=60)["result"]

    def attested(self) -> dict[str, Any]:
        """Return the treasury's account and the contract's as the chain has them at this moment."""
        accounts = [self.world.world.treasury, self.intent.to]
        state: dict[str, Any] = self.observed("attest", accounts=accounts, block=None)
        return state

    def descent(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the ways from a state's header down to what the co-signer has seen."""
        block = state["attestation"]["document"]["block"]
        socket = self.world.world.places.socket(COSIGNER)
        seen = call(socket, {"v": 1, "operation": "status"}, timeout_s=30)["seen"]
        known = [each["number"] for each in (seen["final"], seen["newer"]) if each is not None]
        asked = {"number": block["number"], "hash": block["hash"]}
        ancestors = [number for number in known if number < block["number"]]
        ways: list[dict[str, Any]] = self.observed("descent", **asked, ancestors=ancestors)["descent"]
        return ways


@pytest.fixture(scope="module")
def courier() -> Iterator[Signed]:
    """One living world whose co-signer has signed."""
    with living(second_key=("risk-1",), limits=UNHURRIED) as world:
        yield Signed(world)


def bent(e: Evidence, **changes: Any) -> None:
    """Change fields of the unsigned bytes; numbers of fees are added to what is there."""
    unsigned = UnsignedTransaction.parse(bytes.fromhex(e["unsigned_tx"]))
    for name in ("max_fee_per_gas", "max_priority_fee_per_gas"):
        if name in changes:
            changes[name] += getattr(unsigned, name)
    e["unsigned_tx"] = replace(unsigned, **changes).encode().hex()


def to(**changes: Any) -> Callable[[Signed, Evidence], None]:
    """Return a lie that changes fields of the bytes."""
    return lambda _, e: bent(e, **changes)


def over_the_cap(name: str) -> Callable[[Signed, Evidence], None]:
    """Return a lie that pays a wei more than was approved."""

    def lie(c: Signed, e: Evidence) -> None:
        caps = {"max_fee_per_gas": c.intent.max_fee_per_gas, name: getattr(c.intent, name) + 1}
        unsigned = UnsignedTransaction.parse(bytes.fromhex(e["unsigned_tx"]))
        e["unsigned_tx"] = replace(unsigned, **caps).encode().hex()

    return lie


def expired_approval(c: Signed, e: Evidence) -> None:
    """Consent that has run out since the first signature."""
    e["decisions"] = [c.decision(e, expires_at=write_time(datetime.now(UTC) - timedelta(seconds=1)))]


def rejected_since(c: Signed, e: Evidence) -> None:
    """Somebody has said no since the first signature."""
    e["decisions"].append(c.rejection(e))


def unlooked(_: Signed, e: Evidence) -> None:
    """No fresh look."""
    e["attestations"]["fresh"] = []


def unproven(_: Signed, e: Evidence) -> None:
    """No proof of the account."""
    e["attestations"]["state"] = []


def older_state(c: Signed, e: Evidence) -> None:
    """A fresh look, and the account as it was a block before."""
    chain = c.world.chain()
    chain.call("anvil_mine", "0x1")
    chain.close()
    transaction = {
        "intent": c.intent.digest,
        "from": c.world.world.treasury,
        "to": c.intent.to,
        "value": c.intent.value,
        "data": c.intent.data,
        "gas": c.intent.gas_max,
        "max_fee_per_gas": c.intent.max_fee_per_gas,
        "max_priority_fee_per_gas": c.intent.max_priority_fee_per_gas,
    }
    accounts = [key.address for key in c.world.world.policy.keys.values()]
    fresh = c.observed(
        "simulate", step=4, transactions=[transaction], target=0, accounts=accounts, block=None
    )
    e["attestations"]["fresh"] = [fresh]


def as_a_cancel(_: Signed, e: Evidence) -> None:
    """The intent's own bytes, called a cancel: they need no fresh look then."""
    e["operation"] = "cancel"


REPLACEMENTS = [
    pytest.param(to(max_fee_per_gas=-1), 7, "fee_too_low_to_replace", id="a fee too small by one wei"),
    pytest.param(to(max_priority_fee_per_gas=-1), 7, "fee_too_low_to_replace", id="a tip too small by a wei"),
    pytest.param(over_the_cap("max_fee_per_gas"), 5, "bytes_differ_from_intent", id="a fee over the cap"),
    pytest.param(
        over_the_cap("max_priority_fee_per_gas"), 5, "bytes_differ_from_intent", id="a tip over the cap"
    ),
    pytest.param(to(data=b"\x01"), 5, "bytes_differ_from_intent", id="other data"),
    pytest.param(to(value=1), 5, "bytes_differ_from_intent", id="with value"),
    pytest.param(to(to=ELSEWHERE), 5, "bytes_differ_from_intent", id="to another address"),
    pytest.param(to(gas=21_000), 5, "bytes_differ_from_intent", id="other gas"),
    pytest.param(to(nonce=1), 5, "decision_over_another_nonce", id="another nonce"),
    pytest.param(expired_approval, 4, "expired", id="an expired approval"),
    pytest.param(rejected_since, 4, "rejected", id="rejected since"),
    pytest.param(unlooked, 5, "fact_missing", id="no fresh simulation"),
    pytest.param(unproven, 4, "fact_missing", id="no proven state"),
    pytest.param(older_state, 5, "attestation_stale", id="an older state"),
    pytest.param(as_a_cancel, 4, "cancel_before_expiry", id="called a cancel"),
]


def refused(c: Signed, evidence: Evidence, step: int, code: str) -> Answer:
    """Assert a refusal at this step by this name that leaves no trace, and names what was signed."""
    before = c.memory()
    answer = c.hand_over(evidence).answer
    assert answer.refused is not None
    assert (answer.refused.step, answer.refused.code) == (step, code), answer.refused.detail
    assert (answer.raw_tx, answer.signature, answer.signed_before) == (None, None, c.raw[-1])
    assert c.memory() == before
    return answer


@pytest.mark.parametrize(("lie", "step", "code"), REPLACEMENTS)
def test_no_replacement(
    courier: Signed, lie: Callable[[Signed, Evidence], None], step: int, code: str
) -> None:
    """What is not the same intent for more, still approved, is refused by name."""
    evidence = courier.replacement()
    lie(courier, evidence)
    refused(courier, evidence, step, code)


def by(**changes: Any) -> Callable[[Signed, Evidence], None]:
    """Return a lie with another ground for the cancel."""

    def lie(c: Signed, e: Evidence) -> None:
        e["decisions"] = [c.rejection(c.evidence, **changes)]

    return lie


def nobody(_: Signed, e: Evidence) -> None:
    """Nobody rejects it, and it lives."""
    e["decisions"] = []


def approved(c: Signed, e: Evidence) -> None:
    """The approvals are shown as the ground."""
    e["decisions"] = c.evidence["decisions"]


def forged_rejection(_: Signed, e: Evidence) -> None:
    """A rejection that nobody pressed a key for."""
    e["decisions"][0]["assertion"]["signature"] = e["policy_chain"][0]["signatures"][0]["assertion"][
        "signature"
    ]


def turned_approval(c: Signed, e: Evidence) -> None:
    """A real approval, called a rejection afterwards."""
    e["decisions"] = copy.deepcopy(c.evidence["decisions"])
    e["decisions"][0]["decision"]["verb"] = "reject"


def carrying(c: Signed, e: Evidence) -> None:
    """The intent's own bytes."""
    e["unsigned_tx"] = c.intent.transaction(c.nonce, fees.raised(c.paid)).encode().hex()


def as_the_intent(c: Signed, e: Evidence) -> None:
    """The cancel's bytes, under the approvals of the intent."""
    e |= {"operation": "sign", "decisions": c.evidence["decisions"]}
    e["attestations"] = c.evidence["attestations"]


EARLY = "cancel_before_expiry"
PAST = write_time(datetime(2026, 1, 1, tzinfo=UTC))
CANCELS = [
    pytest.param(to(to=ELSEWHERE), 5, "bytes_differ_from_intent", id="to another address"),
    pytest.param(to(value=1), 5, "bytes_differ_from_intent", id="with value"),
    pytest.param(to(data=b"\x00"), 5, "bytes_differ_from_intent", id="with data"),
    pytest.param(to(gas=21_001), 5, "bytes_differ_from_intent", id="with more gas"),
    pytest.param(to(chain_id=1), 5, "bytes_differ_from_intent", id="on another chain"),
    pytest.param(to(nonce=1), 5, "decision_over_another_nonce", id="another nonce"),
    pytest.param(over_the_cap("max_fee_per_gas"), 5, "bytes_differ_from_intent", id="a fee over the cap"),
    pytest.param(carrying, 5, "bytes_differ_from_intent", id="the intent's own bytes"),
    pytest.param(as_the_intent, 5, "bytes_differ_from_intent", id="a cancel, called the intent"),
    pytest.param(to(max_fee_per_gas=-1), 7, "fee_too_low_to_replace", id="a fee too small by one wei"),
    pytest.param(to(max_priority_fee_per_gas=-1), 7, "fee_too_low_to_replace", id="a tip too small by a wei"),
    pytest.param(nobody, 4, EARLY, id="before expiry, without a reject"),
    pytest.param(approved, 4, EARLY, id="before expiry, with the approvals"),
    pytest.param(forged_rejection, 4, EARLY, id="a forged reject"),
    pytest.param(turned_approval, 4, EARLY, id="an approval, called a reject"),
    pytest.param(by(intent="ab" * 32), 4, EARLY, id="a reject of another intent"),
    pytest.param(by(nonce=7), 4, EARLY, id="a reject of another nonce"),
    pytest.param(by(policy="ab" * 32), 4, EARLY, id="a reject under another policy set"),
    pytest.param(by(expires_at=PAST), 4, EARLY, id="a reject that has run out"),
    pytest.param(by(role="risk_officer"), 4, EARLY, id="a reject in a role that is not held"),
    pytest.param(by(verb="abstain"), 4, EARLY, id="an abstention"),
    pytest.param(unproven, 4, "fact_missing", id="no proof that the nonce is not spent"),
]


@pytest.mark.parametrize(("lie", "step", "code"), CANCELS)
def test_no_cancel(courier: Signed, lie: Callable[[Signed, Evidence], None], step: int, code: str) -> None:
    """What is not a transfer of nothing to oneself, that somebody asked for, is refused by name."""
    evidence = courier.cancel(courier.evidence)
    lie(courier, evidence)
    refused(courier, evidence, step, code)


def test_no_cancel_without_a_record(courier: Signed) -> None:
    """A nonce for which nothing was signed is not cancelled: other intents may want it."""
    no = courier.unsigned_refusal.refused
    assert no is not None
    assert (no.step, no.code) == (7, "nothing_signed_to_cancel")
    assert (courier.unsigned_refusal.signed_before, courier.unsigned_refusal.others) == (None, [])


def test_a_crash_at_every_point_of_a_replacement(courier: Signed) -> None:
    """The same request again completes it, with the same bytes; each one before it is named."""
    stack = courier.world.stack
    evidence = courier.replacement()
    left = []
    for point in ("4-received", "4-decided", "4-persisted", "4-signed", "4-answer"):
        crashed(courier, evidence, point)
        left.append(remembered(courier)[1:])
    assert [len(each) for each in left] == [0, 0, 1, 1, 1]
    assert left[2:4] == [[None], [None]]
    stack.kill(COSIGNER)
    stack.start(COSIGNER)
    accepted(courier, evidence)
    assert left[4] == courier.raw[1:]


def crashed(c: Signed, evidence: Evidence, point: str) -> None:
    """Have the co-signer die at a point of this request, and start it again."""
    stack = c.world.stack
    stack.kill(COSIGNER)
    stack.start(COSIGNER, crash_at=point)
    with pytest.raises(FrameError):
        c.hand_over(evidence)
    stack.wait_for_end(COSIGNER)
    stack.start(COSIGNER)


def accepted(c: Signed, evidence: Evidence) -> None:
    """Assert that these bytes are signed, once, and that all others are named beside them."""
    answer = c.hand_over(evidence).answer
    assert answer.refused is None, answer.refused
    raw = str(answer.raw_tx)
    signed = SignedTransaction.parse(bytes.fromhex(raw))
    assert signed.unsigned.encode().hex() == evidence["unsigned_tx"]
    before = c.memory()
    assert c.hand_over(evidence).answer.raw_tx == raw
    assert c.memory() == before
    assert answer.others == [SignedTransaction.parse(bytes.fromhex(each)).tx_hash.hex() for each in c.raw]
    c.raw.append(raw)
    assert remembered(c) == c.raw


def remembered(c: Signed) -> list[str | None]:
    """Return what the co-signer remembers for the nonce."""
    (path,) = (c.world.world.places.root(COSIGNER) / "signed").iterdir()
    return [each["raw_tx"] for each in json.loads(path.read_bytes())["bytes"]]


def test_other_bytes_take_the_place_of_those_that_a_crash_left(courier: Signed) -> None:
    """Bytes that were persisted and never signed do not stand in the way of others that are legal."""
    crashed(courier, courier.replacement(), "4-persisted")
    other = courier.replacement()
    bent(other, max_fee_per_gas=1)
    accepted(courier, other)


def test_an_older_transaction_again(courier: Signed) -> None:
    """What was signed before is answered with the stored signature, also when others followed."""
    before = courier.memory()
    assert courier.hand_over(courier.evidence).answer.raw_tx == courier.raw[0]
    assert courier.memory() == before


def test_after_a_cancel_only_a_cancel(courier: Signed) -> None:
    """The proposer withdraws: a cancel is signed, then no replacement, but a cancel that pays more."""
    cancel = courier.cancel(courier.evidence, courier.paid)
    cancel["decisions"] = [courier.rejection(courier.evidence, person="pm-1", role="portfolio_manager")]
    accepted(courier, cancel)
    refused(courier, courier.replacement(), 7, "cancel_already_signed")
    accepted(courier, courier.cancel(courier.evidence, courier.paid))
    refused(
        courier,
        courier.cancel(courier.evidence, fees.raised(carried.fees_of(courier.first))),
        7,
        "fee_too_low_to_replace",
    )


def test_a_nonce_that_is_spent(courier: Signed) -> None:
    """Once one of them is mined, nothing more is signed for the nonce; there is one transaction."""
    chain = courier.world.chain()
    chain.call("eth_sendRawTransaction", to_rpc(bytes.fromhex(courier.raw[-1])))
    chain.close()
    # the node mines what it is given in a moment of its own
    wait_for(lambda: courier.world.transactions() == 1)
    evidence = courier.cancel(courier.evidence, courier.paid)
    state = courier.attested()
    evidence["attestations"] |= {"state": [state], "descent": courier.descent(state)}
    refused(courier, evidence, 7, "nonce_not_next")
