"""Transactions: one shape, one encoding, one signature, against eth-account as an independent oracle."""

from typing import Any

import pytest
import rlp
from coincurve import PrivateKey
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm.errors import TransactionError
from workbench.evm.transaction import (
    CURVE_ORDER,
    RAW_BYTES_MAX,
    SignedTransaction,
    UnsignedTransaction,
    address_of,
    assemble,
    signature_for,
)

KEY = PrivateKey(bytes(31) + b"\x07")
PUBLIC = KEY.public_key.format(compressed=False)
TO = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def unsigned(**changes: object) -> UnsignedTransaction:
    """Return a transaction, with some fields changed."""
    fields = {
        "chain_id": 31337,
        "nonce": 5,
        "max_priority_fee_per_gas": 1,
        "max_fee_per_gas": 2_000_000_000,
        "gas": 100_000,
        "to": TO,
        "value": 3,
        "data": b"\x01\x02",
    }
    return UnsignedTransaction(**{**fields, **changes})


def signed(transaction: UnsignedTransaction | None = None, key: PrivateKey = KEY) -> bytes:
    """Return its signed bytes."""
    transaction = transaction or unsigned()
    digest = transaction.digest()
    rs = key.sign_recoverable(digest, hasher=None)[:64]
    return assemble(transaction, *signature_for(digest, rs, key.public_key.format(compressed=False)))


def encoded(*fields: object, prefix: bytes = b"\x02") -> bytes:
    """Return fields as the bytes of a typed transaction."""
    return prefix + rlp.encode(list(fields))


def nine(**changes: object) -> list[object]:
    """Return the nine raw fields, with some changed."""
    fields = {
        "chain_id": b"\x7a\x69",
        "nonce": b"\x05",
        "tip": b"\x01",
        "fee": b"\x02",
        "gas": b"\x52\x08",
        "to": bytes.fromhex(TO[2:]),
        "value": b"",
        "data": b"",
        "access": [],
    }
    return list({**fields, **changes}.values())


def test_eth_account_signs_the_same_bytes() -> None:
    """An independent implementation gives the same digest, signature, hash and sender."""
    transaction = unsigned()
    fields = {
        "type": 2,
        "chainId": 31337,
        "nonce": 5,
        "maxPriorityFeePerGas": 1,
        "maxFeePerGas": 2_000_000_000,
        "gas": 100_000,
        "to": TO,
        "value": 3,
        "data": "0x0102",
    }
    theirs = Account.sign_transaction(fields, KEY.secret)
    ours = SignedTransaction.parse(signed(transaction))
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.tx_hash == bytes(theirs.hash)
    assert ours.sender == Account.from_key(KEY.secret).address == address_of(PUBLIC)
    assert ours.unsigned == transaction


@given(
    nonce=st.integers(0, 2**64 - 2),
    value=st.integers(0, 2**256 - 1),
    data=st.binary(max_size=200),
    gas=st.integers(1, 2**64 - 1),
)
def test_every_transaction_survives_the_round_trip(nonce: int, value: int, data: bytes, gas: int) -> None:
    """What is encoded is read back as the same transaction."""
    transaction = unsigned(nonce=nonce, value=value, data=data, gas=gas)
    assert UnsignedTransaction.parse(transaction.encode()) == transaction


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_the_sender(position: int, bit: int) -> None:
    """No bit of the signed bytes can change and still be the same person's transaction."""
    raw = bytearray(signed())
    raw[position % len(raw)] ^= 1 << bit
    try:
        parsed = SignedTransaction.parse(bytes(raw))
    except TransactionError:
        return
    assert parsed.sender != address_of(PUBLIC)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02", id="only the type"),
        pytest.param(b"\x02\xc0", id="an empty list"),
        pytest.param(b"\x02\x80", id="no list"),
        pytest.param(b"\x02" + b"\xc1" * 5000, id="a nesting bomb"),
        pytest.param(b"\x02" + bytes(RAW_BYTES_MAX + 1), id="too long"),
        pytest.param(unsigned().encode() + b"\0", id="trailing byte"),
        pytest.param(unsigned().encode()[:-1], id="cut short"),
        pytest.param(encoded(*nine(), prefix=b"\x01"), id="an access-list transaction"),
        pytest.param(encoded(*nine(), prefix=b"\x03"), id="a blob transaction"),
        pytest.param(encoded(*nine(), prefix=b"\x04"), id="a delegation"),
        pytest.param(encoded(*nine(), prefix=b""), id="a legacy transaction"),
        pytest.param(encoded(*nine(to=b"")), id="contract creation"),
        pytest.param(encoded(*nine(to=bytes(19))), id="a short address"),
        pytest.param(encoded(*nine(to=[])), id="a list as address"),
        pytest.param(encoded(*nine(access=[[bytes(20), []]])), id="an access list"),
        pytest.param(encoded(*nine(access=b"")), id="no access list"),
        pytest.param(encoded(*nine(nonce=b"\0")), id="a zero with a byte"),
        pytest.param(encoded(*nine(gas=b"\0\x52\x08")), id="leading zeros"),
        pytest.param(encoded(*nine(value=b"\1" + bytes(32))), id="a value above 256 bits"),
        pytest.param(encoded(*nine(tip=b"\x03")), id="a tip above the fee"),
        pytest.param(encoded(*nine(gas=b"")), id="no gas"),
        pytest.param(encoded(*nine(chain_id=b"")), id="no chain"),
        pytest.param(encoded(*nine(nonce=b"\xff" * 8)), id="a nonce no account can use"),
        pytest.param(encoded(*nine(), b"", b"", b""), id="signed bytes"),
        pytest.param(encoded(*nine()[:-1]), id="a field missing"),
        pytest.param(encoded(*nine(data=[b"x"])), id="a list as data"),
    ],
)
def test_bytes_that_are_no_unsigned_transaction(raw: bytes) -> None:
    """Whatever is not the one encoding of the one shape is refused."""
    with pytest.raises(TransactionError):
        UnsignedTransaction.parse(raw)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"to": TO.lower()}, id="an address without its checksum"),
        pytest.param({"to": TO[2:]}, id="an address without prefix"),
        pytest.param({"to": ""}, id="no address"),
        pytest.param({"value": -1}, id="a negative value"),
        pytest.param({"value": 2**256}, id="a value above 256 bits"),
        pytest.param({"gas": 0}, id="no gas"),
        pytest.param({"nonce": -1}, id="a negative nonce"),
        pytest.param({"chain_id": 0}, id="no chain: replayable on any"),
        pytest.param({"max_priority_fee_per_gas": 2_000_000_001}, id="a tip above the fee"),
        pytest.param({"data": bytes(RAW_BYTES_MAX + 1)}, id="too much calldata"),
    ],
)
def test_values_that_are_no_transaction(changes: dict[str, Any]) -> None:
    """An illegal transaction cannot be built."""
    with pytest.raises(TransactionError):
        unsigned(**changes)


def test_high_s_from_a_token_becomes_low() -> None:
    """Both forms of a token's signature give the one that a chain takes."""
    digest = unsigned().digest()
    rs = KEY.sign_recoverable(digest, hasher=None)[:64]
    high = rs[:32] + (CURVE_ORDER - int.from_bytes(rs[32:])).to_bytes(32)
    assert signature_for(digest, high, PUBLIC) == signature_for(digest, rs, PUBLIC)


@pytest.mark.parametrize(
    ("rs", "public_key"),
    [
        pytest.param(bytes(64), PUBLIC, id="zeros"),
        pytest.param(b"\xff" * 64, PUBLIC, id="out of range"),
        pytest.param(b"\1" * 63, PUBLIC, id="a byte short"),
        pytest.param(
            None, PrivateKey(bytes(31) + b"\x08").public_key.format(compressed=False), id="another key"
        ),
        pytest.param(None, PUBLIC[1:], id="a key without its prefix"),
        pytest.param(None, b"\x04" + bytes(64), id="not a point"),
        pytest.param(None, KEY.public_key.format(), id="a compressed key"),
    ],
)
def test_signatures_that_are_not_the_keys(rs: bytes | None, public_key: bytes) -> None:
    """A signature is only assembled when recovering it gives the key that should have made it."""
    digest = unsigned().digest()
    with pytest.raises(TransactionError):
        signature_for(digest, rs or KEY.sign_recoverable(digest, hasher=None)[:64], public_key)


def test_an_access_list_is_named_as_the_reason() -> None:
    """The refusal says what is wrong, not only that something is."""
    with pytest.raises(TransactionError, match="access lists are refused"):
        UnsignedTransaction.parse(encoded(*nine(access=[[bytes(20), []]])))


def test_high_s_in_signed_bytes_is_refused() -> None:
    """The second form of a signature would be a second transaction hash for one approval."""
    parsed = SignedTransaction.parse(signed())
    numbers = (1 - parsed.y_parity, parsed.r, CURVE_ORDER - parsed.s)
    raw = b"\x02" + rlp.encode([*parsed.unsigned.fields(), *numbers])
    with pytest.raises(TransactionError, match="high"):
        SignedTransaction.parse(raw)


@pytest.mark.parametrize(
    "numbers", [(2, 1, 1), (0, 0, 1), (0, 1, 0), (0, CURVE_ORDER, 1)], ids=["parity 2", "r 0", "s 0", "r n"]
)
def test_signature_numbers_out_of_range(numbers: tuple[int, ...]) -> None:
    """Numbers no signature has are refused before anything is recovered."""
    with pytest.raises(TransactionError):
        SignedTransaction.parse(b"\x02" + rlp.encode([*unsigned().fields(), *numbers]))


def test_unsigned_bytes_are_not_signed_ones() -> None:
    """Unsigned bytes cannot be broadcast by mistake."""
    with pytest.raises(TransactionError):
        SignedTransaction.parse(unsigned().encode())
