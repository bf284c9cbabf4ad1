"""What a nonce may carry: bytes in doubt, what owners of a Safe sign, and what their executor does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from workbench.cosigner import nonces
from workbench.cosigner.memory import Bytes, Head, Record, Snapshot
from workbench.evm.carriers import Operation
from workbench.evm.safe import SafeTx
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Proposed

ADDRESS = "0x" + "ab" * 20
TO = to_checksum_address("0x" + "cd" * 20)
SAFE = to_checksum_address(ADDRESS)
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


def proposed(value: int = 1) -> Proposed:
    """Return a Safe's transaction; of nothing, the cancel."""
    tx = SafeTx(to=TO if value else SAFE, value=value, data=b"", operation=Operation.CALL, nonce=0)
    return Proposed(chain_id=1, safe=SAFE, tx=tx)


def owned(*values: int) -> Snapshot:
    """Return an owner's memory, in which it has signed these for the nonce; of nothing, the cancel."""
    signed = (
        Bytes(unsigned_tx=proposed(each).encode().hex(), cancels=not each, raw_tx="19", signature="00")
        for each in values
    )
    return memory(*signed)


def own(there: Snapshot, value: int, intent: str = INTENT, lane: nonces.Lane = LANE) -> Record:
    """Ask whether an owner may sign this."""
    return nonces.own(there, lane, proposed(value), intent=intent, usd_cents=7, at=AT, cancels=not value)


@pytest.mark.parametrize(
    ("there", "value", "cancels"),
    [
        pytest.param(Snapshot(HEAD, ()), 1, [False], id="the first"),
        pytest.param(Snapshot(HEAD, ()), 0, [True], id="the cancel of what only others have signed"),
        pytest.param(owned(1), 0, [False, True], id="the cancel of what it has signed"),
        pytest.param(owned(0), 0, [True, True], id="a cancel again"),
    ],
)
def test_what_an_owner_signs(there: Snapshot, value: int, cancels: list[bool]) -> None:
    """One intent for a nonce of the Safe, and its cancel; neither pays, so neither has to pay more."""
    assert [each.cancels for each in own(there, value).bytes] == cancels


@pytest.mark.parametrize(
    ("there", "value", "intent", "lane", "code"),
    [
        pytest.param(owned(1), 2, "22" * 32, LANE, Refusal.NONCE_USED, id="another intent for its nonce"),
        pytest.param(owned(1), 0, "22" * 32, LANE, Refusal.NONCE_USED, id="another intent's cancel"),
        pytest.param(owned(1), 1, INTENT, (1, ADDRESS, 1), Refusal.INTENT_SPENT, id="its intent once more"),
        pytest.param(owned(1, 0), 1, INTENT, LANE, Refusal.CANCELLED, id="after the cancel"),
        pytest.param(owned(0), 1, INTENT, LANE, Refusal.CANCELLED, id="after a cancel of others' bytes"),
    ],
)
def test_what_an_owner_does_not_sign(
    there: Snapshot, value: int, intent: str, lane: nonces.Lane, code: Refusal
) -> None:
    """Two sets of owners have one in common: it is this memory that keeps two intents from one nonce."""
    with pytest.raises(RefusedError) as caught:
        own(there, value, intent, lane)
    assert caught.value.code is code


def execute(
    there: Snapshot, fee: int, *, nonce: int = 0, cancels: bool = False, intent: str = INTENT
) -> Record:
    """Ask whether an executor may sign this."""
    return nonces.execute(
        there, (1, ADDRESS, nonce), transaction(fee), intent=intent, usd_cents=7, at=AT, cancels=cancels
    )


def test_what_an_executor_signs() -> None:
    """It outbids itself, with the intent or its cancel; behind a spent nonce the same intent goes on."""
    assert [each.given for each in execute(memory(out(100)), 200).bytes] == [True, False]
    assert [each.cancels for each in execute(memory(out(100)), 200, cancels=True).bytes] == [False, True]
    behind = execute(memory(out(100)), 100, nonce=1, cancels=True)
    assert (behind.nonce, [each.cancels for each in behind.bytes]) == (1, [True])


@pytest.mark.parametrize(
    ("there", "asked", "code"),
    [
        pytest.param(memory(out(100)), {"fee": 200, "intent": "22" * 32}, Refusal.NONCE_USED, id="another"),
        pytest.param(memory(out(100)), {"fee": 101}, Refusal.FEE_LOW, id="no eighth more"),
        pytest.param(memory(out(100)), {"fee": 101, "cancels": True}, Refusal.FEE_LOW, id="a cheap cancel"),
        pytest.param(
            memory(out(100), out(200, cancels=True)), {"fee": 400}, Refusal.CANCELLED, id="after its cancel"
        ),
    ],
)
def test_what_an_executor_does_not_sign(there: Snapshot, asked: dict[str, Any], code: Refusal) -> None:
    """One intent for a nonce of its own, and no way back from a cancel."""
    with pytest.raises(RefusedError) as caught:
        execute(there, **asked)
    assert caught.value.code is code


def test_the_newest_of_an_executors_records_is_the_intents() -> None:
    """An intent that failed has a second nonce: what is withdrawn or answered again is the newest."""
    first = memory(out(100))
    second = execute(first, 100, nonce=1)
    assert first.with_records((second,)).of(INTENT) == second
