"""How an intent for a Safe reaches the chain: what owners sign, what is sent, and what the Safe says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.evm.plans import Plan, multi_send
from tests.rules.build import NOW, TREASURY, World, address, attest, refused
from tests.rules.test_keys import MULTI_SEND, OWNERS, SAFE, SINGLETON, with_a_safe
from workbench.demo import charter
from workbench.evm import safe as safes
from workbench.evm import safe_storage
from workbench.evm.carriers import Operation
from workbench.evm.errors import EvmError
from workbench.evm.receipt import Log, Receipt
from workbench.evm.transaction import UnsignedTransaction, address_of, assemble, signature_for
from workbench.rules import execution, facts
from workbench.rules.attestation import Call, Simulation, State, borrowed, verify_simulation
from workbench.rules.codes import Refusal
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent
from workbench.rules.keys import SafeKey
from workbench.rules.policy import PolicySet
from workbench.rules.safe import Proposed

NONCE, TURN = 7, 3
KEYS = {name: PrivateKey(bytes([number]) * 32) for number, name in enumerate(OWNERS, 1)}
FEES = Fees(max_fee_per_gas=10**9, max_priority_fee_per_gas=10**9)


@pytest.fixture(scope="module")
def policy(world: World) -> PolicySet:
    """A set whose treasury is a Safe."""
    return with_a_safe(world)


@pytest.fixture(scope="module")
def key(policy: PolicySet) -> SafeKey:
    """The treasury."""
    found = policy.key(charter.KEY_ID)
    assert isinstance(found, SafeKey)
    return found


@pytest.fixture(scope="module")
def intent(world: World) -> Intent:
    """An allowance that the Safe gives."""
    return world.approval()


def signed(what: Proposed, name: str) -> safes.OwnerSignature:
    """Return one owner's signature."""
    raw = KEYS[name].sign_recoverable(what.digest(), hasher=None)[:64]
    point = bytes.fromhex(OWNERS[name])
    return safes.owner_signature(what.digest(), raw, point, owner=address_of(point))


def signatures(what: Proposed, *names: str) -> bytes:
    """Return these owners' signatures, joined; without names, those of as many as sign together."""
    return safes.join(signed(what, name) for name in names or charter.COSIGNERS[:3])


def executing(intent: Intent, key: SafeKey, *, cancels: bool = False, **changes: Any) -> UnsignedTransaction:
    """Return the executor's transaction, with changes."""
    what = execution.meant(intent, key, nonce=NONCE, cancels=cancels)
    made = execution.transaction(intent, what, signatures(what), nonce=TURN, fees=FEES)
    return replace(made, **changes)


def test_the_intent_is_the_safes_transaction(intent: Intent, key: SafeKey) -> None:
    """To, value and data are the intent's, under the Safe's nonce, without a refund; it is called."""
    tx = execution.proposed(intent, key, nonce=NONCE).tx
    assert (tx.to, tx.value, tx.data.hex(), tx.nonce) == (intent.to, 0, intent.data, NONCE)
    assert (tx.operation, tx.gas_price, tx.safe_tx_gas) == (Operation.CALL, 0, 0)


def test_only_the_pinned_batch_runs_in_its_place(world: World, key: SafeKey) -> None:
    """An intent for the pinned MultiSend is its code in the Safe's place; for any other contract, a call."""
    for to, operation in ((MULTI_SEND, Operation.DELEGATECALL), (SINGLETON, Operation.CALL)):
        assert execution.proposed(world.approval(to=to), key, nonce=NONCE).tx.operation is operation


def test_what_is_carried_is_read_again(intent: Intent, key: SafeKey) -> None:
    """Chain, Safe, nonce, fields and signatures come back; a byte more, or another head, is refused."""
    what = execution.proposed(intent, key, nonce=NONCE)
    raw = what.encode(signatures(what))
    chain_id, safe, found = safes.read_carried(raw)
    assert (chain_id, safe, found.tx) == (what.chain_id, SAFE, what.tx)
    assert found.signatures == signatures(what)
    for bent in (raw + b"\0", raw[:-1], b"\x02" + raw[1:], raw[:20], b""):
        with pytest.raises(EvmError):
            safes.read_carried(bent)


def test_the_simulation_says_on_whose_approval_it_counts(
    world: World, intent: Intent, policy: PolicySet, key: SafeKey
) -> None:
    """The executor calls the Safe as if as many owners had approved; what was put in place is told."""
    call = execution.simulated(intent, policy)
    executor = policy.sender(charter.KEY_ID)
    assert (call.sender, call.to, call.value) == (executor.address, SAFE, 0)
    assert call.approved_by == tuple(each.address for each in key.owners[:3])
    plain = execution.simulated(intent, world.policy)
    assert plain == Call.of(intent, TREASURY)
    assert plain.digest(intent) != call.digest(intent)


@pytest.mark.parametrize(
    ("assumed", "passes"),
    [
        pytest.param({}, True, id="these owners' approvals"),
        pytest.param(None, False, id="nothing"),
        pytest.param({"safe": SINGLETON}, False, id="another contract's slots"),
        pytest.param({"owners": [address("stranger")]}, False, id="a stranger's approval"),
    ],
)
def test_what_a_simulation_takes_for_granted(
    world: World, intent: Intent, policy: PolicySet, assumed: dict[str, Any] | None, *, passes: bool
) -> None:
    """More, less or other than these owners' approvals: it is another simulation."""
    call = execution.simulated(intent, policy)
    honest = {"safe": SAFE, "nonce": NONCE, "owners": list(call.approved_by or ())}
    told = {} if assumed is None else {"assumed": honest | assumed}
    shown = world.simulation(intent, sender=call.sender, call=call.digest(intent), **told)

    def verified() -> Simulation:
        return verify_simulation(
            [attest(shown)], intent=intent, call=call, trust_root=world.trust_root, now=NOW, age_s_max=60
        )

    if passes:
        assert verified() == shown
        return
    with refused(Refusal.SIMULATION_OTHER):
        verified()


def test_nothing_is_taken_for_granted_of_a_key(world: World, intent: Intent) -> None:
    """A simulation for which a Safe's slots were written says nothing of what an account does."""
    told = {"safe": SAFE, "nonce": NONCE, "owners": [address("owner")]}
    shown = attest(world.simulation(intent, assumed=told))
    with refused(Refusal.SIMULATION_OTHER):
        verify_simulation(
            [shown],
            intent=intent,
            call=execution.simulated(intent, world.policy),
            trust_root=world.trust_root,
            now=NOW,
            age_s_max=60,
        )


def test_what_an_executor_sends(intent: Intent, policy: PolicySet, key: SafeKey) -> None:
    """Its signed bytes are read back as the intent's, or as its cancel's."""
    executor = PrivateKey(bytes([6]) * 32)
    for cancels in (False, True):
        unsigned = executing(intent, key, cancels=cancels)
        raw = executor.sign_recoverable(unsigned.digest(), hasher=None)[:64]
        point = executor.public_key.format(compressed=False)
        bytes_ = assemble(unsigned, *signature_for(unsigned.digest(), raw, point))
        found = execution.read(bytes_.hex(), intent, policy, nonce=NONCE)
        assert (found.cancels, found.transaction.unsigned) == (cancels, unsigned)
        with refused(Refusal.SAFE_SIGNATURES):
            execution.read(bytes_.hex(), intent, policy, nonce=NONCE + 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"value": 1}, Refusal.BYTES_OTHER, id="ether of its own"),
        pytest.param({"to": SINGLETON}, Refusal.BYTES_OTHER, id="another contract"),
        pytest.param({"gas": 400_001}, Refusal.BYTES_OTHER, id="more gas"),
        pytest.param({"chain_id": 1}, Refusal.BYTES_OTHER, id="another chain"),
        pytest.param({"data": b"\x01\x02\x03\x04"}, Refusal.BYTES_OTHER, id="no execution"),
        pytest.param({"max_fee_per_gas": 10**12}, Refusal.BYTES_OTHER, id="a fee over the cap"),
    ],
)
def test_what_an_executor_does_not_send(
    intent: Intent, key: SafeKey, changes: dict[str, Any], code: Refusal
) -> None:
    """Anything beside the approved execution is refused."""
    execution.verify_executes(executing(intent, key), intent, key, nonce=NONCE, cancels=False)
    with refused(code):
        execution.verify_executes(executing(intent, key, **changes), intent, key, nonce=NONCE, cancels=False)


def said(digest: bytes, *, succeeded: bool = True, by: str = SAFE) -> Receipt:
    """Return a receipt in which a contract says that it has carried this out."""
    log = Log(address=by, topics=(safes.EXECUTED, digest), data=bytes(32))
    return Receipt(type=2, succeeded=succeeded, cumulative_gas_used=1, bloom=bytes(256), logs=(log,))


def test_what_the_safe_says(intent: Intent, key: SafeKey) -> None:
    """Its own event with this transaction's hash, in a receipt that did not fail: nothing less is done."""
    executor = PrivateKey(bytes([6]) * 32)
    unsigned = executing(intent, key)
    raw = executor.sign_recoverable(unsigned.digest(), hasher=None)[:64]
    point = executor.public_key.format(compressed=False)
    sent = assemble(unsigned, *signature_for(unsigned.digest(), raw, point)).hex()
    digest = execution.proposed(intent, key, nonce=NONCE).digest()
    other = execution.cancelling(intent, key, nonce=NONCE).digest()
    for receipt, done in (
        (said(digest), True),
        (said(digest, succeeded=False), False),
        (said(other), False),
        (said(digest, by=SINGLETON), False),
        (replace(said(digest), logs=()), False),
    ):
        assert execution.carried_out(receipt, sent, intent, key, nonce=NONCE, cancels=False) is done


def test_the_next_nonce_is_the_safes_own(key: SafeKey) -> None:
    """It is what the slot proves; the account's count of contracts is none, and no proof is no nonce."""
    state = State(1, "00", NOW, NOW, 1, {}, {(SAFE, safe_storage.NONCE): NONCE})
    assert execution.next_nonce(state, key) == NONCE
    with refused(Refusal.FACT_MISSING):
        execution.next_nonce(replace(state, slots={}), key)


@pytest.mark.parametrize(
    ("made", "code"),
    [
        pytest.param(
            {"to": SAFE, "data": "694e80c3" + "01".zfill(64)}, Refusal.SAFE_CRITICAL, id="a threshold"
        ),
        pytest.param({"to": MULTI_SEND}, Refusal.SAFE_DELEGATECALL, id="the batch's contract, and no batch"),
        pytest.param(
            {
                "to": MULTI_SEND,
                "data": multi_send(Plan(SINGLETON, b"", operation=Operation.DELEGATECALL)).hex(),
            },
            Refusal.SAFE_DELEGATECALL,
            id="foreign code in a batch",
        ),
        pytest.param(
            {"to": MULTI_SEND, "data": multi_send(Plan(SINGLETON, b"")).hex(), "value": "1"},
            Refusal.ARGUMENT,
            id="ether along with a batch",
        ),
    ],
)
def test_what_is_not_even_proposed(
    world: World, policy: PolicySet, made: dict[str, Any], code: Refusal
) -> None:
    """What owners refuse whoever approves it is refused at once; of another key nothing is asked."""
    execution.verify_proposable(world.approval(), policy)
    with refused(code):
        execution.verify_proposable(world.approval(**made), policy)
    execution.verify_proposable(world.approval(**made), world.policy)


def test_the_safes_own_batch_is_no_finding(world: World, policy: PolicySet) -> None:
    """The pinned code in the Safe's place is expected of a batch; anything else is found."""
    batch, call = world.approval(to=MULTI_SEND), world.approval()
    for contract, code, intent, found in (
        (SAFE, MULTI_SEND, batch, 0),
        (SAFE, SINGLETON, batch, 1),
        (SINGLETON, MULTI_SEND, batch, 1),
        (SAFE, MULTI_SEND, call, 1),
    ):
        finding = {"kind": "borrowed_code", "contract": contract, "detail": borrowed(code)}
        shown = world.simulation(intent, findings=[finding])
        assert len(facts.unexpected(shown, intent, policy)) == found
