"""Confirmation: that exactly these signed bytes are in this block, by number and hash.

Observers attest the header; transaction and receipt are proven against the roots in
it, so whoever lies about inclusion would have to forge a header. What gas was used
is the difference to the receipt before (`before`, none for the first of a block).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from eth_hash.auto import keccak
from pydantic import Field

from workbench.evm.errors import EvmError
from workbench.evm.fields import address_bytes
from workbench.evm.header import Header
from workbench.evm.proof import verify_receipt, verify_transaction
from workbench.evm.receipt import Receipt
from workbench.evm.transaction import SignedTransaction
from workbench.rules import attestation
from workbench.rules.attestation import AttestedState, Simulation, Statements
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Hex, Whole
from workbench.rules.trust import TrustRoot

Proof = Annotated[list[Hex], Field(max_length=64)]
TRANSFER = keccak(b"Transfer(address,address,uint256)")
TRANSFER_TOPICS = 3
"""With four the last is an NFT's number."""
WORD = 32
BPS = 10_000


class Inclusion(Document):
    """What observers show of a mined transaction."""

    status: Literal["confirmed", "reverted"]
    attestations: Statements
    header: Hex
    index: Whole
    receipt: Hex
    receipt_proof: Proof
    raw: Hex
    transaction_proof: Proof
    before: Hex | None
    before_proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """Where the transaction is, and how it ended."""

    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    fee_wei: int
    receipt: Receipt


def verify_inclusion(
    inclusion: Inclusion, *, raw_tx: str, trust_root: TrustRoot, now: datetime, age_s_max: int
) -> Confirmed:
    """Verify that these bytes are in the attested block, and return how they ended and what that cost."""
    if inclusion.raw != raw_tx:
        raise RefusedError(Refusal.BYTES_OTHER, "the observers confirm other bytes", path="/raw")
    states = [
        AttestedState(attestation=each, header=inclusion.header, accounts=[])
        for each in inclusion.attestations
    ]
    attestation.verify_state(states, trust_root=trust_root, now=now, age_s_max=age_s_max)
    return verify_shown(inclusion)


def verify_shown(inclusion: Inclusion) -> Confirmed:
    """Verify that the bytes are in the block of the first attestation, whoever has signed that."""
    first = inclusion.attestations[0]
    header, _ = attestation.verify_proofs(
        AttestedState(attestation=first, header=inclusion.header, accounts=[])
    )
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
        used_before = _used_before(inclusion, header)
        signed = SignedTransaction.parse(bytes.fromhex(inclusion.raw))
        fee_per_gas = signed.unsigned.price(header.base_fee_per_gas)
    except EvmError as error:
        raise RefusedError(Refusal.PROOF, str(error)) from error
    gas_used = receipt.cumulative_gas_used - used_before
    if gas_used <= 0:
        raise RefusedError(Refusal.PROOF, f"{gas_used} gas used", path="/before")
    if receipt.succeeded != (inclusion.status == "confirmed"):
        raise RefusedError(Refusal.PROOF, "the observer's word differs from the receipt", path="/status")
    return Confirmed(
        block_number=header.number,
        block_hash=header.hash().hex(),
        succeeded=receipt.succeeded,
        gas_used=gas_used,
        fee_wei=gas_used * fee_per_gas,
        receipt=receipt,
    )


def _used_before(inclusion: Inclusion, header: Header) -> int:
    if (inclusion.before is None) != (inclusion.index == 0):
        raise RefusedError(Refusal.PROOF, "the receipt before is there for all but the first", path="/before")
    if inclusion.before is None:
        return 0
    proof = [bytes.fromhex(node) for node in inclusion.before_proof]
    before = verify_receipt(header.receipts_root, inclusion.index - 1, bytes.fromhex(inclusion.before), proof)
    return before.cumulative_gas_used


def transferred(receipt: Receipt, account: str) -> dict[str, int]:
    """Return what the receipt's ERC-20 transfers moved to or from an account, by token, in base units.

    The tokens' own words: a token that moves without an event, or says what it did not do, is not seen here.
    """
    who = bytes(12) + address_bytes(account)
    moved: dict[str, int] = {}
    for log in receipt.logs:
        if len(log.topics) != TRANSFER_TOPICS or log.topics[0] != TRANSFER or len(log.data) != WORD:
            continue
        amount = int.from_bytes(log.data)
        for place, sign in ((1, -1), (2, 1)):
            if log.topics[place] == who:
                moved[log.address] = moved.get(log.address, 0) + sign * amount
    return {asset: amount for asset, amount in sorted(moved.items()) if amount}


def short_of(simulation: Simulation, moved: Mapping[str, int], account: str) -> int | None:
    """Return how far an account's worst inflow is below the simulated one, in bps, rounded up, at least 0.

    None where the simulation saw no token come in.
    """
    gains = {each.asset: int(each.amount) for each in simulation.deltas if each.account == account}
    short = [
        -(-(amount - moved.get(asset, 0)) * BPS // amount)
        for asset, amount in gains.items()
        if amount > 0 and asset != "ETH"
    ]
    return max(0, *short) if short else None
