"""EIP-1559 transactions: the unsigned bytes, their digest, and the signed bytes.

(1) The only transactions there are: type 2, with a destination, with an empty access list. Contract creation,
    access lists, legacy, blob and delegation transactions are refused, so no signature can ever be made for
    one.
(2) Parsing is a round trip: bytes that are not their own encoding are refused, whatever an RLP library
    accepts.
(3) The digest is derived from the fields here; a digest from elsewhere is never believed.
(4) Signatures are low-s (EIP-2): otherwise anyone could turn one signature into a second transaction hash.
(5) The recovery id is found by recovering the key and comparing: a signature of another key cannot be
    assembled.

Left to others: whether the transaction is what an intent asked for (`workbench.rules`), and nonces (the
co-signer's memory). Pure. Callers are the co-signers, the observer and the approver; the bytes are believed
by none of them.
"""

from dataclasses import dataclass
from typing import Final, cast

import rlp
from coincurve import PublicKey
from eth_hash.auto import keccak

from workbench.evm.errors import TransactionError
from workbench.evm.fields import UINT256_MAX, address_bytes, checksummed, uint, uint_bytes

TYPE: Final = b"\x02"
# An intent is at most 32 KiB, and its calldata is written in hex inside it.
RAW_BYTES_MAX: Final = 16 * 1024 + 512
# 2^64 - 2 is the largest nonce an account can use (EIP-2681); chain ids and gas are kept in the same range.
UINT64_MAX: Final = 2**64 - 1
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PUBLIC_KEY_BYTES: Final = 65
SIGNATURE_BYTES: Final = 64

_UNSIGNED_FIELDS: Final = 9
_SIGNED_FIELDS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """A type 2 transaction before its signature."""

    chain_id: int
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas: int
    to: str
    value: int
    data: bytes

    def __post_init__(self) -> None:
        """Refuse what no node would accept, and what the data model of an intent cannot say."""
        if not 1 <= self.chain_id <= UINT64_MAX:
            raise TransactionError(f"chain id {self.chain_id} is out of range")
        if not 0 <= self.nonce < UINT64_MAX:
            raise TransactionError(f"nonce {self.nonce} is out of range")
        if not 1 <= self.gas <= UINT64_MAX:
            raise TransactionError(f"gas {self.gas} is out of range")
        for amount in (self.value, self.max_fee_per_gas, self.max_priority_fee_per_gas):
            if not 0 <= amount <= UINT256_MAX:
                raise TransactionError(f"amount {amount} is out of range")
        if self.max_priority_fee_per_gas > self.max_fee_per_gas:
            raise TransactionError("the priority fee is above the whole fee")
        _address(self.to)
        if len(self.data) > RAW_BYTES_MAX:
            raise TransactionError(f"calldata of {len(self.data)} bytes, at most {RAW_BYTES_MAX}")

    def price(self, base_fee_per_gas: int) -> int:
        """Return what a gas costs in a block of this base fee, in wei; raises where it could not be there."""
        if self.max_fee_per_gas < base_fee_per_gas:
            raise TransactionError(f"fee {self.max_fee_per_gas} in a block of {base_fee_per_gas}")
        return min(self.max_fee_per_gas, base_fee_per_gas + self.max_priority_fee_per_gas)

    def fields(self) -> list[object]:
        """Return the nine fields in the order of EIP-1559."""
        return [
            uint_bytes(self.chain_id),
            uint_bytes(self.nonce),
            uint_bytes(self.max_priority_fee_per_gas),
            uint_bytes(self.max_fee_per_gas),
            uint_bytes(self.gas),
            _address(self.to),
            uint_bytes(self.value),
            self.data,
            [],
        ]

    def encode(self) -> bytes:
        """Return the bytes whose hash is signed."""
        return TYPE + _encode(self.fields())

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed."""
        return keccak(self.encode())

    @classmethod
    def parse(cls, raw: bytes) -> "UnsignedTransaction":
        """Read unsigned bytes; whatever is not its own encoding is refused."""
        transaction = _from_fields(_decode(raw, _UNSIGNED_FIELDS))
        if transaction.encode() != raw:
            raise TransactionError("the bytes are not their own encoding")
        return transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A type 2 transaction with its signature, and who made it."""

    unsigned: UnsignedTransaction
    r: int
    s: int
    y_parity: int
    sender: str
    tx_hash: bytes
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "SignedTransaction":
        """Read signed bytes and recover their sender; high-s and foreign encodings are refused."""
        fields = _decode(raw, _SIGNED_FIELDS)
        unsigned = _from_fields(fields[:_UNSIGNED_FIELDS])
        try:
            y_parity, r, s = (uint(field) for field in fields[_UNSIGNED_FIELDS:])
        except ValueError as error:
            raise TransactionError(f"signature: {error}") from error
        if assemble(unsigned, r, s, y_parity) != raw:
            raise TransactionError("the bytes are not their own encoding")
        sender = address_of(_recover(unsigned.digest(), r, s, y_parity))
        return cls(
            unsigned=unsigned, r=r, s=s, y_parity=y_parity, sender=sender, tx_hash=keccak(raw), raw=raw
        )


def assemble(unsigned: UnsignedTransaction, r: int, s: int, y_parity: int) -> bytes:
    """Return the signed bytes; the signature must be in range and low-s."""
    _check_signature(r, s, y_parity)
    return TYPE + _encode([*unsigned.fields(), uint_bytes(y_parity), uint_bytes(r), uint_bytes(s)])


def signature_for(digest: bytes, rs: bytes, public_key: bytes) -> tuple[int, int, int]:
    """Return (r, low s, y parity) of a token's raw `r ‖ s` over `digest` by `public_key` (65 bytes)."""
    if len(rs) != SIGNATURE_BYTES:
        raise TransactionError(f"a signature has {SIGNATURE_BYTES} bytes, got {len(rs)}")
    r, s = int.from_bytes(rs[:32]), int.from_bytes(rs[32:])
    # PKCS#11 tokens return either of the two valid s; a chain takes only the low one.
    low_s = min(s, CURVE_ORDER - s)
    wanted = _point(public_key)
    for y_parity in (0, 1):
        _check_signature(r, low_s, y_parity)
        try:
            recovered = _recover(digest, r, low_s, y_parity)
        except TransactionError:
            continue
        if recovered == wanted:
            return r, low_s, y_parity
    raise TransactionError(f"the signature is not one of {address_of(public_key)}")


def recovered(digest: bytes, r: int, s: int, y_parity: int) -> str:
    """Return the address whose key made this signature over `digest`; range and low s are checked."""
    _check_signature(r, s, y_parity)
    return address_of(_recover(digest, r, s, y_parity))


def address_of(public_key: bytes) -> str:
    """Return the address of an uncompressed public key (65 bytes)."""
    return checksummed(keccak(_point(public_key)[1:])[12:])


def _point(public_key: bytes) -> bytes:
    if len(public_key) != PUBLIC_KEY_BYTES or public_key[:1] != b"\x04":
        raise TransactionError(f"not an uncompressed public key: {len(public_key)} bytes")
    try:
        return PublicKey(public_key).format(compressed=False)
    except ValueError as error:
        raise TransactionError("the public key is not a point of the curve") from error


def _recover(digest: bytes, r: int, s: int, y_parity: int) -> bytes:
    signature = r.to_bytes(32) + s.to_bytes(32) + bytes([y_parity])
    try:
        # The digest is already a hash: hasher=None keeps coincurve from hashing it once more.
        return PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)
    except Exception as error:
        # coincurve raises bare Exception when no key fits; whatever it was, there is no sender.
        raise TransactionError("no public key fits the signature") from error


def _check_signature(r: int, s: int, y_parity: int) -> None:
    if y_parity not in (0, 1):
        raise TransactionError(f"y parity is 0 or 1, got {y_parity}")
    if not 0 < r < CURVE_ORDER:
        raise TransactionError("r is out of range")
    # malleability: with s above half the order the same approval would have a second transaction hash
    if not 0 < s <= CURVE_ORDER // 2:
        raise TransactionError("s is out of range or high")


def _address(address: str) -> bytes:
    try:
        return address_bytes(address)
    except ValueError as error:
        raise TransactionError(f"to: {error}") from error


def _encode(fields: list[object]) -> bytes:
    return cast("bytes", rlp.encode(fields))


def _decode(raw: bytes, count: int) -> list[object]:
    if len(raw) > RAW_BYTES_MAX:
        raise TransactionError(f"{len(raw)} bytes, at most {RAW_BYTES_MAX}")
    if raw[:1] != TYPE:
        raise TransactionError(f"not a type 2 transaction: starts with {raw[:1].hex() or 'nothing'}")
    try:
        fields = rlp.decode(raw[1:], strict=True)
    except rlp.exceptions.RLPException as error:
        raise TransactionError(f"not RLP: {error}") from error
    except RecursionError as error:
        # nesting bomb: 16 KiB of list prefixes are deeper than Python's stack
        raise TransactionError("not RLP: nested too deeply") from error
    if not isinstance(fields, list) or len(fields) != count:
        raise TransactionError(f"a list of {count} fields was expected")
    return fields


def _from_fields(fields: list[object]) -> UnsignedTransaction:
    *numbers, to, value, data, access_list = fields
    if to == b"":
        raise TransactionError("contract creation is refused")
    if access_list != []:
        raise TransactionError("access lists are refused")
    if not isinstance(to, bytes) or not isinstance(data, bytes):
        raise TransactionError("a field is a list where bytes belong")
    try:
        chain_id, nonce, priority_fee, fee, gas = (uint(number) for number in numbers)
        return UnsignedTransaction(
            chain_id=chain_id,
            nonce=nonce,
            max_priority_fee_per_gas=priority_fee,
            max_fee_per_gas=fee,
            gas=gas,
            to=checksummed(to),
            value=uint(value),
            data=data,
        )
    except TransactionError:
        raise
    except ValueError as error:
        raise TransactionError(str(error)) from error
