"""What a nonce may carry when a signature may exist that this co-signer never saw."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.address import to_checksum_address

from workbench.cosigner import nonces
from workbench.cosigner.memory import Bytes, Head, Record, Snapshot
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules.codes import Refusal, RefusedError

ADDRESS = "0x" + "ab" * 20
TO = to_checksum_address("0x" + "cd" * 20)
LANE = (1, ADDRESS, 0)
INTENT = "11" * 32
AT = "2026-01-01T00:00:00.000000Z"
HEAD = Head(size=0, hashes=(), chain=bytes(32), policy="", policy_version=0, time_floor="", records=1)


def transaction(fee: int = 100, *, value: int = 1) -> UnsignedTransaction:
    """Return a transaction that pays so much for a unit of gas."""
    return UnsignedTransaction(
        chain_id=1,
        nonce=0,
        max_priority_fee_per_gas=fee,
        max_fee_per_gas=fee,
        gas=21_000,
        to=TO,
        value=value,
        data=b"",
    )


def memory(*each: Bytes) -> Snapshot:
    """Return a memory in which the nonce carries these bytes."""
    record = Record(
        chain_id=1, address=ADDRESS, nonce=0, intent=INTENT, usd_cents=5, at=AT, bytes=tuple(each)
    )
    return Snapshot(HEAD, (record,))


def out(fee: int, *, cancels: bool = False) -> Bytes:
    """Return bytes of whose signature a part has left."""
    unsigned = transaction(fee, value=0 if cancels else 1).encode().hex()
    return Bytes(unsigned_tx=unsigned, cancels=cancels, raw_tx=None, signature=None, given=True)


def admit(there: Snapshot, fee: int, intent: str = INTENT) -> Record:
    """Ask whether the intent's bytes may be signed at this fee."""
    return nonces.admit(there, LANE, transaction(fee), intent=intent, usd_cents=7, at=AT)


def test_the_same_bytes_again() -> None:
    """A run that failed after a part had left is tried again over the very same bytes."""
    there = memory(out(100))
    assert admit(there, 100) == there.records[0]
    cancelled = memory(out(100), out(200, cancels=True))
    again = nonces.cancel(cancelled, LANE, transaction(200, value=0), intent=INTENT)
    assert again == cancelled.records[0]


@pytest.mark.parametrize(
    ("there", "fee", "intent", "code"),
    [
        pytest.param(memory(out(100)), 101, INTENT, Refusal.FEE_LOW, id="no eighth more"),
        pytest.param(memory(out(100)), 99, INTENT, Refusal.FEE_LOW, id="bytes that pay less"),
        pytest.param(memory(out(100), out(200)), 100, INTENT, Refusal.FEE_LOW, id="bytes that were replaced"),
        pytest.param(memory(out(100)), 100, "22" * 32, Refusal.NONCE_USED, id="another intent"),
        pytest.param(
            memory(out(100), out(200, cancels=True)),
            400,
            INTENT,
            Refusal.CANCELLED,
            id="after a cancel may exist",
        ),
    ],
)
def test_bytes_in_doubt_count_as_signed(there: Snapshot, fee: int, intent: str, code: Refusal) -> None:
    """What may have been signed binds as what was."""
    with pytest.raises(RefusedError) as caught:
        admit(there, fee, intent)
    assert caught.value.code is code


def test_what_takes_their_place() -> None:
    """A replacement that outbids them is admitted after them; a cancel, too."""
    there = memory(out(100))
    replaced = admit(there, 200)
    assert [each.given for each in replaced.bytes] == [True, False]
    cancelled = nonces.cancel(there, LANE, transaction(200, value=0), intent=INTENT)
    assert [each.cancels for each in cancelled.bytes] == [False, True]


def test_bytes_of_which_nothing_has_left() -> None:
    """They give way to any others, as ever."""
    kept = replace(out(100), given=False)
    assert [each.unsigned_tx for each in admit(memory(kept), 50).bytes] == [transaction(50).encode().hex()]
