"""Confirmation: exactly these bytes, in an attested block, with the receipt that the block holds."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import (
    CHAIN_ID,
    NOW,
    World,
    attested_document,
    chain_state,
    flip,
    refused,
    statement,
)
from workbench.evm.proof import prove_index
from workbench.evm.receipt import Log, Receipt
from workbench.evm.transaction import UnsignedTransaction, address_of, assemble, signature_for
from workbench.rules.attestation import HEADER_LINE
from workbench.rules.codes import Refusal
from workbench.rules.confirmation import (
    TRANSFER,
    Confirmed,
    Inclusion,
    short_of,
    transferred,
    verify_inclusion,
)

KEY = PrivateKey(b"\x07" * 32)
SENDER = address_of(KEY.public_key.format(compressed=False))
TOKEN = "0x1111111111111111111111111111111111111111"
PRICE = 9_000_000_000


def signed(nonce: int, *, fee: int = PRICE) -> bytes:
    """Return a transaction's signed bytes."""
    unsigned = UnsignedTransaction(
        chain_id=CHAIN_ID,
        nonce=nonce,
        max_priority_fee_per_gas=fee,
        max_fee_per_gas=fee,
        gas=100_000,
        to=TOKEN,
        value=0,
        data=b"",
    )
    digest = unsigned.digest()
    rs = KEY.sign_recoverable(digest, hasher=None)[:64]
    return assemble(unsigned, *signature_for(digest, rs, KEY.public_key.format(compressed=False)))


RAW = [signed(number) for number in range(4)]
INDEX = 2
Json = dict[str, Any]


def receipts(*, succeeded: bool = True) -> list[bytes]:
    """Return the receipts of a block; ours ends as told, the others the other way."""
    return [
        Receipt(
            type=2,
            succeeded=succeeded == (number == INDEX),
            cumulative_gas_used=21_000 * (number + 1),
            bloom=bytes(256),
            logs=(),
        ).encode()
        for number in range(4)
    ]


def included(*, succeeded: bool = True, age_s: int = 1) -> Json:
    """Return an honest observer's document."""
    ours = receipts(succeeded=succeeded)
    transactions_root, transaction_proof = prove_index(RAW, INDEX)
    receipts_root, receipt_proof = prove_index(ours, INDEX)
    _, header = chain_state(transactions_root=transactions_root, receipts_root=receipts_root)
    document = attested_document(header, NOW - timedelta(seconds=age_s))
    return {
        "status": "confirmed" if succeeded else "reverted",
        "attestations": [statement("observer", HEADER_LINE, document).dump()],
        "header": header.encode().hex(),
        "index": INDEX,
        "receipt": ours[INDEX].hex(),
        "receipt_proof": [node.hex() for node in receipt_proof],
        "raw": RAW[INDEX].hex(),
        "transaction_proof": [node.hex() for node in transaction_proof],
        "before": ours[INDEX - 1].hex(),
        "before_proof": [node.hex() for node in prove_index(ours, INDEX - 1)[1]],
    }


def check(world: World, document: Json, *, raw_tx: str = RAW[INDEX].hex()) -> Confirmed:
    """Verify an inclusion at noon."""
    inclusion = Inclusion.load(document)
    return verify_inclusion(inclusion, raw_tx=raw_tx, trust_root=world.trust_root, now=NOW, age_s_max=60)


@pytest.mark.parametrize("succeeded", [True, False])
def test_what_became_of_it(world: World, succeeded: bool) -> None:  # noqa: FBT001 - the case
    """Block and outcome come from the proven receipt."""
    confirmed = check(world, included(succeeded=succeeded))
    assert (confirmed.block_number, confirmed.succeeded) == (100, succeeded)
    assert (confirmed.gas_used, confirmed.fee_wei) == (21_000, 21_000 * PRICE)
    (attested,) = included(succeeded=succeeded)["attestations"]
    assert confirmed.block_hash == attested["document"]["block"]["hash"]


def _put(**fields: Any) -> Callable[[Json], Json]:
    return lambda document: document | fields


def _other_header(document: Json) -> Json:
    _, header = chain_state()
    return document | {"header": header.encode().hex()}


def _honest_header_without_us(document: Json) -> Json:
    _, header = chain_state()
    attested = statement("observer", HEADER_LINE, attested_document(header))
    return document | {"header": header.encode().hex(), "attestations": [attested.dump()]}


def _resigned(document: Json, **block: Any) -> Json:
    told = document["attestations"][0]["document"]
    return document | {
        "attestations": [statement("observer", HEADER_LINE, told | {"block": told["block"] | block}).dump()]
    }


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(_put(raw=RAW[1].hex()), Refusal.BYTES_OTHER, id="other bytes"),
        pytest.param(_put(status="reverted"), Refusal.PROOF, id="a success called a failure"),
        pytest.param(_put(index=1), Refusal.PROOF, id="another place in the block"),
        pytest.param(_put(index=9), Refusal.PROOF, id="behind the last"),
        pytest.param(_put(receipt=receipts()[1].hex()), Refusal.PROOF, id="another transaction's receipt"),
        pytest.param(
            _put(receipt=receipts(succeeded=False)[INDEX].hex()), Refusal.PROOF, id="a receipt of failure"
        ),
        pytest.param(_put(receipt=""), Refusal.PROOF, id="no receipt"),
        pytest.param(_put(before=None), Refusal.PROOF, id="no receipt before, though it is not the first"),
        pytest.param(_put(before=receipts()[0].hex()), Refusal.PROOF, id="not the receipt before"),
        pytest.param(_put(before_proof=[]), Refusal.PROOF, id="no proof of the receipt before"),
        pytest.param(_put(receipt_proof=[]), Refusal.PROOF, id="no proof of the receipt"),
        pytest.param(_put(transaction_proof=[]), Refusal.PROOF, id="no proof of the transaction"),
        pytest.param(_put(transaction_proof=["c1" * 40]), Refusal.PROOF, id="junk for a proof"),
        pytest.param(
            lambda document: document | {"receipt_proof": [flip(node) for node in document["receipt_proof"]]},
            Refusal.PROOF,
            id="a tampered proof",
        ),
        pytest.param(
            lambda document: document | {"transaction_proof": document["receipt_proof"]},
            Refusal.PROOF,
            id="the receipt's proof for the transaction",
        ),
        pytest.param(_other_header, Refusal.PROOF, id="a header that was not attested"),
        pytest.param(_honest_header_without_us, Refusal.PROOF, id="an honest block without the transaction"),
        pytest.param(
            lambda document: _resigned(document, number=99), Refusal.PROOF, id="another block number"
        ),
        pytest.param(
            lambda document: _resigned(document, hash="00" * 32), Refusal.PROOF, id="another block hash"
        ),
        pytest.param(lambda _: included(age_s=61), Refusal.ATTESTATION_STALE, id="a stale attestation"),
        pytest.param(
            lambda document: (
                document | {"attestations": [document["attestations"][0] | {"observer": "stranger"}]}
            ),
            Refusal.OBSERVER_UNKNOWN,
            id="an unknown observer",
        ),
        pytest.param(_put(status="final"), Refusal.MALFORMED, id="a status that is none"),
        pytest.param(_put(extra=1), Refusal.MALFORMED, id="an unknown field"),
        pytest.param(_put(index=-1), Refusal.MALFORMED, id="a negative index"),
    ],
)
def test_what_confirms_nothing(world: World, attack: Callable[[Json], Json], code: Refusal) -> None:
    """An observer that lies about inclusion would have to forge a header."""
    with refused(code):
        check(world, attack(included()))


def test_a_failure_called_a_success(world: World) -> None:
    """The receipt's word stands against the observer's."""
    with refused(Refusal.PROOF, "/status"):
        check(world, included(succeeded=False) | {"status": "confirmed"})


def test_the_bytes_are_those_that_were_signed(world: World) -> None:
    """A block that holds another transaction of ours confirms that one only."""
    with refused(Refusal.BYTES_OTHER, "/raw"):
        check(world, included(), raw_tx=RAW[0].hex())


def test_the_first_of_a_block_has_none_before(world: World) -> None:
    """Its gas is what the receipt itself says; a receipt before it would be another's."""
    ours, raws = receipts()[INDEX:], RAW[INDEX:]
    transactions_root, transaction_proof = prove_index(raws, 0)
    receipts_root, receipt_proof = prove_index(ours, 0)
    _, header = chain_state(transactions_root=transactions_root, receipts_root=receipts_root)
    document = included() | {
        "attestations": [statement("observer", HEADER_LINE, attested_document(header)).dump()],
        "header": header.encode().hex(),
        "index": 0,
        "receipt_proof": [node.hex() for node in receipt_proof],
        "transaction_proof": [node.hex() for node in transaction_proof],
        "before": None,
        "before_proof": [],
    }
    assert check(world, document).gas_used == 63_000
    with refused(Refusal.PROOF, "/before"):
        check(world, document | {"before": ours[1].hex()})


def test_bytes_that_could_not_be_in_that_block(world: World) -> None:
    """A fee below the block's base fee is no transaction of it, whatever the roots say."""
    raw = [*RAW[:INDEX], signed(INDEX, fee=1), RAW[3]]
    transactions_root, proof = prove_index(raw, INDEX)
    receipts_root, _ = prove_index(receipts(), INDEX)
    _, header = chain_state(transactions_root=transactions_root, receipts_root=receipts_root)
    document = included() | {
        "attestations": [statement("observer", HEADER_LINE, attested_document(header)).dump()],
        "header": header.encode().hex(),
        "raw": raw[INDEX].hex(),
        "transaction_proof": [node.hex() for node in proof],
    }
    with refused(Refusal.PROOF):
        check(world, document, raw_tx=raw[INDEX].hex())


def word(address: str) -> bytes:
    """Return an address as a topic."""
    return bytes(12) + bytes.fromhex(address[2:])


def log(*topics: bytes, amount: int = 5, size: int = 32) -> Log:
    """Return an event of the token's."""
    return Log(TOKEN, topics, amount.to_bytes(size))


@pytest.mark.parametrize(
    ("logs", "moved"),
    [
        pytest.param([log(TRANSFER, word(TOKEN), word(SENDER))], {TOKEN: 5}, id="in"),
        pytest.param([log(TRANSFER, word(SENDER), word(TOKEN))], {TOKEN: -5}, id="out"),
        pytest.param([log(TRANSFER, word(SENDER), word(SENDER))], {}, id="to itself"),
        pytest.param([log(TRANSFER, word(TOKEN), word(TOKEN))], {}, id="of others"),
        pytest.param([log(TRANSFER, word(TOKEN), word(SENDER), bytes(32), size=32)], {}, id="an NFT"),
        pytest.param([log(TRANSFER, word(TOKEN), word(SENDER), size=64)], {}, id="more than an amount"),
        pytest.param([log(b"\1" * 32, word(TOKEN), word(SENDER))], {}, id="another event"),
        pytest.param(
            [log(TRANSFER, word(TOKEN), word(SENDER)), log(TRANSFER, word(SENDER), word(TOKEN), amount=2)],
            {TOKEN: 3},
            id="both ways",
        ),
    ],
)
def test_what_a_receipt_says_was_moved(logs: list[Log], moved: dict[str, int]) -> None:
    """The token's transfers of one account, summed."""
    receipt = Receipt(type=2, succeeded=True, cumulative_gas_used=1, bloom=bytes(256), logs=tuple(logs))
    assert transferred(receipt, SENDER) == moved


@pytest.mark.parametrize(
    ("received", "bps"),
    [
        pytest.param(399_200, 0, id="as simulated"),
        pytest.param(400_000, 0, id="more"),
        pytest.param(399_199, 1, id="a base unit less"),
        pytest.param(199_600, 5_000, id="half"),
        pytest.param(0, 10_000, id="nothing"),
    ],
)
def test_how_far_it_fell_short(world: World, received: int, bps: int) -> None:
    """Against the last simulation, in basis points, rounded up; nothing is gained by luck."""
    intent = world.swap()
    gained = {"account": world.policy.key("treasury").address, "asset": TOKEN, "amount": "399200"}
    simulation = world.simulation(intent, deltas=[gained])
    assert short_of(simulation, {TOKEN: received}, simulation.sender) == bps
    nothing = world.simulation(intent, deltas=[])
    assert short_of(nothing, {TOKEN: received}, nothing.sender) is None
