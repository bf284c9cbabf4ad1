"""Confirmation: that exactly these signed bytes are in this block, by number and hash.

The observer attests the header; transaction and receipt are proven against the roots in
it, so an observer that lies about inclusion would have to forge a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from workbench.evm.errors import EvmError
from workbench.evm.header import Header
from workbench.evm.proof import verify_receipt, verify_transaction
from workbench.rules import attestation
from workbench.rules.attestation import AttestedState, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Hex, Whole
from workbench.rules.trust import TrustRoot

Proof = Annotated[list[Hex], Field(max_length=64)]


class Inclusion(Document):
    """What the observer shows of a mined transaction."""

    status: Literal["confirmed", "reverted"]
    attestation: Statement
    header: Hex
    index: Whole
    receipt: Hex
    receipt_proof: Proof
    raw: Hex
    transaction_proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """Where the transaction is, and how it ended."""

    block_number: int
    block_hash: str
    succeeded: bool


def verify_inclusion(
    inclusion: Inclusion, *, raw_tx: str, trust_root: TrustRoot, now: datetime, age_s_max: int
) -> Confirmed:
    """Verify that these bytes are in the attested block, and return how they ended."""
    if inclusion.raw != raw_tx:
        raise RefusedError(Refusal.BYTES_OTHER, "the observer confirms other bytes", path="/raw")
    state = AttestedState(attestation=inclusion.attestation, header=inclusion.header, accounts=[])
    attestation.verify_state([state], trust_root=trust_root, now=now, age_s_max=age_s_max)
    header = Header.parse(bytes.fromhex(inclusion.header))
    try:
        verify_transaction(
            header.transactions_root,
            inclusion.index,
            bytes.fromhex(inclusion.raw),
            [bytes.fromhex(node) for node in inclusion.transaction_proof],
        )
        receipt = verify_receipt(
            header.receipts_root,
            inclusion.index,
            bytes.fromhex(inclusion.receipt),
            [bytes.fromhex(node) for node in inclusion.receipt_proof],
        )
    except EvmError as error:
        raise RefusedError(Refusal.PROOF, str(error)) from error
    if receipt.succeeded != (inclusion.status == "confirmed"):
        raise RefusedError(Refusal.PROOF, "the observer's word differs from the receipt", path="/status")
    return Confirmed(block_number=header.number, block_hash=header.hash().hex(), succeeded=receipt.succeeded)
