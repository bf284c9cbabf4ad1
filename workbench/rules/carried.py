"""Whether bytes carry an intent: the one rule that gate, service, confirmation and auditors share.

(1) A transaction is the intent's when everything in it is as the intent says, under the reserved nonce, and
    both fees are at most those that people approved: the caps. Lower ones are the same effect, cheaper.
(2) A transaction is the intent's cancel when it has the same nonce and chain, sends nothing, with no data, to
    the key's own address, with the gas of a plain transfer, and both fees are within the same caps. It can
    move nothing; it takes the place of what would.
(3) Signed bytes count only with the signature of the key's address.

Pure. Which of them may be signed, and when, is the co-signer's gate; in which order, its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.evm.errors import EvmError
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent

CANCEL_GAS = 21_000
"""What a transfer without data costs, always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Signed bytes that are an intent's, or its cancel."""

    transaction: SignedTransaction
    cancels: bool


def fees_of(transaction: UnsignedTransaction) -> Fees:
    """Return what a transaction pays at most."""
    return Fees(
        max_fee_per_gas=transaction.max_fee_per_gas,
        max_priority_fee_per_gas=transaction.max_priority_fee_per_gas,
    )


def cancel_of(intent: Intent, *, nonce: int, address: str, fees: Fees) -> UnsignedTransaction:
    """Return the transaction that takes an intent's nonce and does nothing."""
    return UnsignedTransaction(
        chain_id=intent.chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=fees.max_priority_fee_per_gas,
        max_fee_per_gas=fees.max_fee_per_gas,
        gas=CANCEL_GAS,
        to=address,
        value=0,
        data=b"",
    )


def verify_carries(transaction: UnsignedTransaction, intent: Intent, *, nonce: int) -> None:
    """(1) Verify that a transaction is the intent's under this nonce."""
    _verify(transaction, intent.transaction(nonce, fees_of(transaction)), intent, nonce)


def verify_cancels(transaction: UnsignedTransaction, intent: Intent, *, nonce: int, address: str) -> None:
    """(2) Verify that a transaction is the intent's cancel under this nonce."""
    expected = cancel_of(intent, nonce=nonce, address=address, fees=fees_of(transaction))
    _verify(transaction, expected, intent, nonce)


def carries(transaction: UnsignedTransaction, intent: Intent) -> bool:
    """(1) Whether a transaction is the intent's, under whatever nonce: a fact for the rules to judge."""
    try:
        verify_carries(transaction, intent, nonce=transaction.nonce)
    except RefusedError:
        return False
    return True


def read(raw_tx: str, intent: Intent, *, nonce: int, address: str) -> Carried:
    """(1) (2) (3) Read signed bytes, which must be the intent's or its cancel, signed by this address."""
    transaction = signed_by(raw_tx, address)
    fees = fees_of(transaction.unsigned)
    own = intent.transaction(nonce, fees)
    nothing = cancel_of(intent, nonce=nonce, address=address, fees=fees)
    # an intent that does nothing at all is its own cancel
    cancels = transaction.unsigned == nothing != own
    _verify(transaction.unsigned, nothing if cancels else own, intent, nonce)
    return Carried(transaction=transaction, cancels=cancels)


def signed_by(raw_tx: str, address: str) -> SignedTransaction:
    """(3) Return the transaction in signed bytes, which this address has signed."""
    try:
        transaction = SignedTransaction.parse(bytes.fromhex(raw_tx))
    except EvmError as error:
        raise RefusedError(Refusal.BYTES_OTHER, f"no signed transaction: {error}") from error
    if transaction.sender != address:
        raise RefusedError(Refusal.BYTES_OTHER, f"signed by {transaction.sender}, the key's is {address}")
    return transaction


def verify_paid(fees: Fees, intent: Intent) -> None:
    """(1) Verify that no more is paid for a gas than was approved."""
    caps = intent.caps
    if not fees.within(caps):
        raise RefusedError(
            Refusal.BYTES_OTHER,
            f"it pays {fees.max_fee_per_gas} and {fees.max_priority_fee_per_gas} wei a gas,"
            f" approved are {caps.max_fee_per_gas} and {caps.max_priority_fee_per_gas}",
            path="/unsigned_tx",
        )


def _verify(
    transaction: UnsignedTransaction, expected: UnsignedTransaction, intent: Intent, nonce: int
) -> None:
    if transaction.nonce != nonce:
        raise RefusedError(
            Refusal.DECISION_OTHER_NONCE, f"nonce {transaction.nonce}, reserved and approved is {nonce}"
        )
    if transaction != expected:
        raise RefusedError(Refusal.BYTES_OTHER, "the transaction is not the intent's", path="/unsigned_tx")
    verify_paid(fees_of(transaction), intent)
