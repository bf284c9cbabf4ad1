"""What others signed with a shared key: nobody is believed, and nothing of it is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import CHAIN_ID, NOW, TREASURY, World, build, observer_key, refused
from tests.rules.test_receipt_bytes import raw
from workbench.cosigner import nonces, others
from workbench.cosigner.memory import Bytes, Head, Record, Snapshot
from workbench.rules import carried, facts
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.evidence import Spent
from workbench.rules.fees import Fees
from workbench.rules.intent import INTENT_LINE, Intent, Proposal

HEAD = Head(size=0, hashes=(), chain=bytes(32), policy="", policy_version=0, time_floor="", records=0)
EMPTY = Snapshot(HEAD, ())
GWEI = 10**9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the desk; that its key is a whole one is nothing that is asked here."""
    return build(tmp_path_factory.mktemp("officers"))


def fees(gwei: int) -> Fees:
    """Return what a transaction pays."""
    return Fees(max_fee_per_gas=gwei * GWEI, max_priority_fee_per_gas=GWEI)


def bytes_of(intent: Intent, nonce: int = 0, gwei: int = 10) -> str:
    """Return an intent's bytes, signed by the key."""
    return raw(intent.transaction(nonce, fees(gwei)))


def told(world: World, intent: Intent, nonce: int = 0, gwei: int = 10) -> Spent:
    """Return what a courier says of an intent's nonce."""
    return Spent(proposal=world.propose(intent), raw_tx=bytes_of(intent, nonce, gwei))


def cancel(world: World, intent: Intent, nonce: int = 0, gwei: int = 20) -> Spent:
    """Return the same of its cancel."""
    unsigned = carried.cancel_of(intent, nonce=nonce, address=TREASURY, fees=fees(gwei))
    return Spent(proposal=world.propose(intent), raw_tx=raw(unsigned))


def learn(world: World, *said: Spent, memory: Snapshot = EMPTY, **changes: Any) -> Snapshot:
    """Return a memory after it was told."""
    fields: dict[str, Any] = {
        "key": world.policy.key("treasury"),
        "sets": [world.policy],
        "trust_root": world.trust_root,
        "now": NOW,
    }
    return memory.with_records(others.learn(said, memory, **(fields | changes)))


def test_what_was_signed_is_remembered(world: World) -> None:
    """An intent's bytes and its cancel are known as if they had been signed here, and weigh as much."""
    intent = world.swap()
    known = learn(world, told(world, intent), cancel(world, intent))
    (record,) = known.records
    assert (record.lane, record.intent) == ((CHAIN_ID, TREASURY, 0), intent.digest)
    assert record.usd_cents == facts.amount_usd_cents(intent, world.policy) > 0
    assert record.at == write_time(NOW)
    assert [each.cancels for each in record.signed] == [False, True]
    assert learn(world, told(world, intent), memory=known) == known


def test_it_binds_as_what_was_signed_here(world: World) -> None:
    """Another intent does not get the nonce, a replacement must outbid, a cancel is the end of it."""
    intent, other = world.swap(), world.swap(id="cd" * 16)
    known = learn(world, told(world, intent, gwei=10))
    lane, at = (CHAIN_ID, TREASURY, 0), write_time(NOW)

    def admit(wanted: Intent, gwei: int, memory: Snapshot) -> Record:
        transaction = wanted.transaction(
            0, Fees(max_fee_per_gas=gwei * GWEI, max_priority_fee_per_gas=2 * GWEI)
        )
        return nonces.admit(memory, lane, transaction, intent=wanted.digest, usd_cents=1, at=at)

    with refused(Refusal.NONCE_USED):
        admit(other, 99, known)
    with refused(Refusal.FEE_LOW):
        admit(intent, 11, known)
    assert len(admit(intent, 12, known).bytes) == 2
    unsigned = carried.cancel_of(
        intent,
        nonce=0,
        address=TREASURY,
        fees=Fees(max_fee_per_gas=12 * GWEI, max_priority_fee_per_gas=2 * GWEI),
    )
    assert nonces.cancel(known, lane, unsigned, intent=intent.digest).bytes[-1].cancels
    with refused(Refusal.CANCELLED):
        admit(intent, 99, learn(world, cancel(world, intent), memory=known))


def test_it_counts_until_it_could_not_be_signed_any_more(world: World) -> None:
    """What is over counts from its expiry on: an old transaction does not fill today's limit."""
    old = world.swap(expires_at=write_time(NOW - timedelta(days=2)))
    (record,) = learn(world, told(world, old)).records
    assert record.at == old.expires_at


def test_every_nonce_before_must_be_known(world: World) -> None:
    """Nothing is left out: a gap is named, and closed by being told."""
    known = learn(world, told(world, world.swap(id="01" * 16), 0), told(world, world.swap(id="03" * 16), 2))
    others.verify_all_known(known, (CHAIN_ID, TREASURY, 1))
    with refused(Refusal.NONCE_UNKNOWN, "/spent") as no:
        others.verify_all_known(known, (CHAIN_ID, TREASURY, 3))
    assert "nonce 1" in no.detail
    assert others.first_unknown(known) == {TREASURY: 1}
    whole = learn(world, told(world, world.swap(id="02" * 16), 1), memory=known)
    others.verify_all_known(whole, (CHAIN_ID, TREASURY, 3))
    assert others.first_unknown(whole) == {TREASURY: 3}
    with refused(Refusal.NONCE_UNKNOWN):
        others.verify_all_known(EMPTY, (CHAIN_ID, TREASURY, 1))


def lighter(world: World) -> Spent:
    """Find another intent that the same bytes carry out and that declares less; nobody has proposed it."""
    intent = world.swap()
    nothing = [delta.model_copy(update={"amount": "-1"}) for delta in intent.deltas]
    light = Intent.load(intent.dump() | {"deltas": [each.dump() for each in nothing]})
    genuine = world.propose(intent)
    return Spent(proposal=genuine.model_copy(update={"intent": light}), raw_tx=bytes_of(intent))


def by_the_courier(world: World) -> Spent:
    """Propose the lighter one with a key of the courier's, under the session of the proposer."""
    light = lighter(world).proposal
    signature = observer_key("courier").sign(signed_bytes(INTENT_LINE, light.intent.canonical()))
    proposal = Proposal(intent=light.intent, signature=signature.hex(), session=light.session)
    return Spent(proposal=proposal, raw_tx=bytes_of(world.swap()))


def unsigned_by_the_key(world: World) -> Spent:
    """Bring bytes that another key has signed."""
    intent = world.swap()
    said = told(world, intent)
    return said.model_copy(update={"raw_tx": said.raw_tx[:-2] + ("01" if said.raw_tx[-2:] != "01" else "02")})


def of_another_intent(world: World) -> Spent:
    """Bring bytes of one intent as another's."""
    return Spent(proposal=world.propose(world.approval()), raw_tx=bytes_of(world.swap()))


def of_another_key(world: World) -> Spent:
    """Bring what an intent for another key carries."""
    intent = world.swap(key="hot")
    return Spent(proposal=world.propose(intent), raw_tx=bytes_of(intent))


def by_nobody(world: World) -> Spent:
    """Bring an intent of somebody whom no set knows."""
    said = told(world, world.swap())
    session = said.proposal.session
    assert session is not None
    nobody = session.session.model_copy(update={"person": "nobody-1"})
    changed = session.model_copy(update={"session": nobody})
    return said.model_copy(update={"proposal": said.proposal.model_copy(update={"session": changed})})


@pytest.mark.parametrize(
    ("say", "code"),
    [
        pytest.param(lighter, Refusal.SIGNATURE, id="a lighter intent that nobody proposed"),
        pytest.param(by_the_courier, Refusal.SIGNATURE, id="a lighter intent of the courier's"),
        pytest.param(unsigned_by_the_key, Refusal.BYTES_OTHER, id="bytes without the key's signature"),
        pytest.param(of_another_intent, Refusal.BYTES_OTHER, id="bytes of another intent"),
        pytest.param(of_another_key, Refusal.KEY_UNKNOWN, id="an intent for another key"),
        pytest.param(by_nobody, Refusal.PERSON_UNKNOWN, id="an intent of nobody's"),
    ],
)
def test_what_is_not_believed(world: World, say: Callable[[World], Spent], code: Refusal) -> None:
    """Only the key's signature and the proposer's make it count."""
    with refused(code):
        learn(world, say(world))


def test_one_nonce_one_intent(world: World) -> None:
    """What contradicts what is known, or itself, is refused whole."""
    first, second = world.swap(id="01" * 16), world.swap(id="02" * 16)
    known = learn(world, told(world, first))
    with refused(Refusal.NONCE_USED):
        learn(world, told(world, second), memory=known)
    with refused(Refusal.INTENT_SPENT):
        learn(world, told(world, first, nonce=1), memory=known)
    with refused(Refusal.NONCE_USED):
        learn(world, told(world, first), told(world, second))


def test_bytes_in_doubt_become_known(world: World) -> None:
    """A signature to which a part was given and that came back over the ledger is no doubt any more."""
    intent = world.swap()
    unsigned = intent.transaction(0, fees(10)).encode().hex()
    doubt = Bytes(unsigned_tx=unsigned, cancels=False, raw_tx=None, signature=None, given=True)
    (record,) = learn(world, told(world, intent)).records
    memory = Snapshot(HEAD, (replace(record, bytes=(doubt,)),))
    (after,) = learn(world, told(world, intent), memory=memory).records
    assert (after.in_doubt, [each.raw_tx for each in after.bytes]) == (False, [bytes_of(intent)])


def test_what_was_only_decided_gives_way(world: World) -> None:
    """Bytes of which nothing has left are not kept beside what others signed for the nonce."""
    intent = world.swap()
    pending = Bytes(
        unsigned_tx=intent.transaction(0, fees(50)).encode().hex(), cancels=False, raw_tx=None, signature=None
    )
    (record,) = learn(world, told(world, intent)).records
    memory = Snapshot(HEAD, (replace(record, bytes=(pending,)),))
    (after,) = learn(world, told(world, intent), memory=memory).records
    assert [each.raw_tx for each in after.bytes] == [bytes_of(intent)]
