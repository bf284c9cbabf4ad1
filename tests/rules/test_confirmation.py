"""Confirmation: exactly these bytes, in an attested block, with the receipt that the block holds."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import (
    NOW,
    World,
    attested_document,
    chain_state,
    flip,
    refused,
    statement,
)
from workbench.evm.proof import prove_index
from workbench.evm.receipt import Receipt
from workbench.rules.attestation import HEADER_LINE
from workbench.rules.codes import Refusal
from workbench.rules.confirmation import Confirmed, Inclusion, verify_inclusion

RAW = [b"\x02" + bytes([number]) * 40 for number in range(4)]
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
        "attestation": statement("observer", HEADER_LINE, document).dump(),
        "header": header.encode().hex(),
        "index": INDEX,
        "receipt": ours[INDEX].hex(),
        "receipt_proof": [node.hex() for node in receipt_proof],
        "raw": RAW[INDEX].hex(),
        "transaction_proof": [node.hex() for node in transaction_proof],
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
    assert confirmed.block_hash == included(succeeded=succeeded)["attestation"]["document"]["block"]["hash"]


def _put(**fields: Any) -> Callable[[Json], Json]:
    return lambda document: document | fields


def _other_header(document: Json) -> Json:
    _, header = chain_state()
    return document | {"header": header.encode().hex()}


def _honest_header_without_us(document: Json) -> Json:
    _, header = chain_state()
    attested = statement("observer", HEADER_LINE, attested_document(header))
    return document | {"header": header.encode().hex(), "attestation": attested.dump()}


def _resigned(document: Json, **block: Any) -> Json:
    told = document["attestation"]["document"]
    return document | {
        "attestation": statement("observer", HEADER_LINE, told | {"block": told["block"] | block}).dump()
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
            lambda document: document | {"attestation": document["attestation"] | {"observer": "stranger"}},
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
