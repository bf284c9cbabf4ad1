"""A transaction of a Safe 1.4.1: its hash, the owners' signatures, and the call that carries both out.

(1) The hash is derived from the fields, the chain and the Safe's address here; one from elsewhere is never
    believed. The two type hashes are keccak-256 of the texts that stand beside them.
(2) An owner's signature is r ‖ s ‖ v with v 27 or 28 and low s, and recovers to an owner. The contract takes
    three more kinds, all refused by name: a contract's word (v 0) is other code's, an approved hash (v 1)
    stands on chain before anybody here has judged, and `eth_sign` (v above 30) signs another text.
(3) Signatures stand in ascending order of their owners' addresses, one for each, and exactly as many as the
    threshold: the contract reads no more than those, so one behind them would be believed unread.
(4) Calldata is read by round trip. `execTransaction` names no nonce: the reader says under which one it
    means to judge it.
(5) What is carried between processes before anybody pays for it names chain, Safe and nonce as well; it
    begins with 0x19, as nothing does that a chain takes for a transaction.

Left to others: whether an owner may sign (`workbench.rules.safe`), and what a Safe holds (`safe_storage`).
Pure; all bytes are taken as hostile.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.evm import calldata
from workbench.evm.calldata import DATA_BYTES_MAX, Fragment
from workbench.evm.carriers import NOBODY, WORD, Operation
from workbench.evm.errors import SafeError, TransactionError
from workbench.evm.fields import ADDRESS_BYTES, HASH_BYTES, UINT256_MAX, address_bytes, checksummed
from workbench.evm.known import fragment
from workbench.evm.transaction import UINT64_MAX, recovered, signature_for

DOMAIN_TYPE: Final = "EIP712Domain(uint256 chainId,address verifyingContract)"
DOMAIN_TYPE_HASH: Final = bytes.fromhex("47e79534a245952e8b16893a336b85a3d9ea9fa8c573f3d803afb92a79469218")
SAFE_TX_TYPE: Final = (
    "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
    "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)
SAFE_TX_TYPE_HASH: Final = bytes.fromhex("bb8310d486368db6bd6f849402fdd73ad53d316b5a4b2644ad6efe0f941286d8")
EXECUTE: Final[Fragment] = fragment(
    "execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, "
    "uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures)"
)
CARRIED: Final = b"\x19"
EXECUTED: Final = keccak(b"ExecutionSuccess(bytes32,uint256)")
"""The first topic of what a Safe says of a transaction that it has carried out; the second is its hash."""
OWNERS_MAX: Final = 32
"""More owners than any desk has; a threshold is at most their number."""
SIGNATURE_BYTES: Final = 65
V: Final = (27, 28)
_OTHER_KINDS: Final = {0: "a contract's signature", 1: "an approved hash"}
_CARRIED_HEAD: Final = 1 + 3 * WORD
_NUMBERS: Final = {Operation.CALL: 0, Operation.DELEGATECALL: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeTx:
    """What the owners sign; without a refund unless one is named."""

    to: str
    value: int
    data: bytes
    operation: Operation
    nonce: int
    safe_tx_gas: int = 0
    base_gas: int = 0
    gas_price: int = 0
    gas_token: str = NOBODY
    refund_receiver: str = NOBODY

    def __post_init__(self) -> None:
        """Refuse what the contract's types cannot hold, and more data than any reader takes."""
        for number in (self.value, self.nonce, self.safe_tx_gas, self.base_gas, self.gas_price):
            if not 0 <= number <= UINT256_MAX:
                raise SafeError(f"{number} is no unsigned 256-bit integer")
        for address in (self.to, self.gas_token, self.refund_receiver):
            _address(address)
        if self.operation not in _NUMBERS:
            raise SafeError(f"a Safe calls or delegates, {self.operation} is neither")
        if len(self.data) > DATA_BYTES_MAX:
            raise SafeError(f"data of {len(self.data)} bytes, at most {DATA_BYTES_MAX}")

    def digest(self, *, chain_id: int, safe: str) -> bytes:
        """Return the EIP-712 hash that the owners of this Safe on this chain sign."""
        return keccak(b"\x19\x01" + domain_separator(chain_id=chain_id, safe=safe) + self.struct_hash())

    def struct_hash(self) -> bytes:
        """Return the hash of the fields alone, each a word in the order of the type."""
        return keccak(
            SAFE_TX_TYPE_HASH
            + _word(self.to)
            + _word(self.value)
            + keccak(self.data)
            + _word(_NUMBERS[self.operation])
            + _word(self.safe_tx_gas)
            + _word(self.base_gas)
            + _word(self.gas_price)
            + _word(self.gas_token)
            + _word(self.refund_receiver)
            + _word(self.nonce)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerSignature:
    """One owner's signature over one digest."""

    owner: str
    r: int
    s: int
    v: int

    def encoded(self) -> bytes:
        """Return it as the contract reads it."""
        return self.r.to_bytes(WORD) + self.s.to_bytes(WORD) + bytes([self.v])


@dataclass(frozen=True, slots=True)
class Execution:
    """A call of `execTransaction`: what it does, under the nonce its reader means, and its signatures."""

    tx: SafeTx
    signatures: bytes


def domain_separator(*, chain_id: int, safe: str) -> bytes:
    """Return what ties a signature to one Safe on one chain."""
    if not 1 <= chain_id <= UINT64_MAX:
        raise SafeError(f"chain id {chain_id} is out of range")
    return keccak(DOMAIN_TYPE_HASH + _word(chain_id) + _word(safe))


def owner_signature(digest: bytes, rs: bytes, public_key: bytes, *, owner: str) -> OwnerSignature:
    """Return a token's raw `r ‖ s` as an owner's signature, if it is this owner's over this digest."""
    try:
        r, s, y_parity = signature_for(digest, rs, public_key)
    except TransactionError as error:
        raise SafeError(str(error)) from error
    made = OwnerSignature(owner=owner, r=r, s=s, v=V[y_parity])
    if read_signature(made.encoded(), digest) != made:
        raise SafeError(f"the key that signed is not {owner}'s")
    return made


def join(signatures: Iterable[OwnerSignature]) -> bytes:
    """Return signatures in the order that the contract demands; `read_signatures` says whether they count."""
    return b"".join(each.encoded() for each in sorted(signatures, key=lambda each: address_bytes(each.owner)))


def read_signatures(
    blob: bytes, digest: bytes, *, owners: Collection[str], threshold: int
) -> tuple[OwnerSignature, ...]:
    """Return the signatures in `blob`, which are those of `threshold` different owners over `digest`."""
    if not 1 <= threshold <= len(set(owners)) == len(owners) <= OWNERS_MAX:
        raise SafeError(
            f"a threshold of {threshold} among {len(set(owners))} different of {len(owners)} owners"
        )
    if len(blob) != threshold * SIGNATURE_BYTES:  # (3)
        raise SafeError(f"{len(blob)} bytes of signatures, {threshold} of {SIGNATURE_BYTES} bytes are due")
    found = tuple(
        read_signature(blob[place : place + SIGNATURE_BYTES], digest)
        for place in range(0, len(blob), SIGNATURE_BYTES)
    )
    strangers = [each.owner for each in found if each.owner not in owners]
    if strangers:  # (2)
        raise SafeError(f"signed by {', '.join(strangers)}, no owner, or over something else")
    places = [address_bytes(each.owner) for each in found]
    if len(set(places)) != len(places):  # (3)
        raise SafeError("one owner's signature stands twice")
    if places != sorted(places):
        raise SafeError("signatures are not in ascending order of their owners")
    return found


def read_signature(raw: bytes, digest: bytes) -> OwnerSignature:
    """Return one signature with whom it recovers to over `digest`."""
    if len(raw) != SIGNATURE_BYTES or len(digest) != HASH_BYTES:
        raise SafeError(f"a signature of {len(raw)} bytes over a digest of {len(digest)}")
    r, s, v = int.from_bytes(raw[:WORD]), int.from_bytes(raw[WORD : 2 * WORD]), raw[-1]
    if v not in V:  # (2)
        kind = _OTHER_KINDS.get(v) or ("a signature by eth_sign" if v > 30 else "of no kind")  # noqa: PLR2004  # the contract's bound
        raise SafeError(f"v is {v}, {kind}: owners here sign with 27 or 28")
    try:
        # ranges and low s are checked there
        owner = recovered(digest, r, s, V.index(v))
    except TransactionError as error:
        raise SafeError(str(error)) from error
    return OwnerSignature(owner=owner, r=r, s=s, v=v)


def execution(tx: SafeTx, signatures: bytes) -> bytes:
    """Return the calldata that has the Safe carry this out (sent to the Safe by anybody)."""
    values = [
        tx.to,
        str(tx.value),
        tx.data.hex(),
        str(_NUMBERS[tx.operation]),
        str(tx.safe_tx_gas),
        str(tx.base_gas),
        str(tx.gas_price),
        tx.gas_token,
        tx.refund_receiver,
        signatures.hex(),
    ]
    names = [each["name"] for each in EXECUTE["inputs"]]
    return calldata.encode(EXECUTE, dict(zip(names, values, strict=True)))


def approved(owners: Iterable[str]) -> bytes:
    """Return the signatures of owners whose approval stands on chain (v 1), for a simulation alone: (2)."""
    names = sorted(address_bytes(each) for each in owners)
    return b"".join(name.rjust(WORD, b"\0") + bytes(WORD) + b"\x01" for name in names)


def carried(tx: SafeTx, signatures: bytes, *, chain_id: int, safe: str) -> bytes:
    """(5) Return a transaction and its signatures, with where and under which nonce it is meant."""
    return CARRIED + _word(chain_id) + _word(safe) + _word(tx.nonce) + execution(tx, signatures)


def read_carried(raw: bytes) -> tuple[int, str, Execution]:
    """(5) Return the chain, the Safe, and what it is to carry out; any other encoding is refused."""
    if raw[:1] != CARRIED or len(raw) < _CARRIED_HEAD:
        raise SafeError("no transaction of a Safe")
    chain_id, safe, nonce = (raw[place : place + WORD] for place in range(1, _CARRIED_HEAD, WORD))
    found = read_execution(raw[_CARRIED_HEAD:], nonce=int.from_bytes(nonce))
    address = checksummed(safe[-ADDRESS_BYTES:])
    chain = int.from_bytes(chain_id)
    if carried(found.tx, found.signatures, chain_id=chain, safe=address) != raw:
        raise SafeError("the bytes are not their own encoding")
    return chain, address, found


def read_execution(data: bytes, *, nonce: int) -> Execution:
    """Return what calldata has a Safe carry out, as a transaction under this nonce."""
    given = calldata.decode(data, [EXECUTE]).arguments  # (4)
    numbers = {number: operation for operation, number in _NUMBERS.items()}
    if int(given["operation"]) not in numbers:
        raise SafeError(f"operation {given['operation']} is neither a call nor a delegatecall")
    tx = SafeTx(
        to=given["to"],
        value=int(given["value"]),
        data=bytes.fromhex(given["data"]),
        operation=numbers[int(given["operation"])],
        nonce=nonce,
        safe_tx_gas=int(given["safeTxGas"]),
        base_gas=int(given["baseGas"]),
        gas_price=int(given["gasPrice"]),
        gas_token=given["gasToken"],
        refund_receiver=given["refundReceiver"],
    )
    return Execution(tx, bytes.fromhex(given["signatures"]))


def _word(value: int | str) -> bytes:
    return (value if isinstance(value, int) else int.from_bytes(_address(value))).to_bytes(WORD)


def _address(address: str) -> bytes:
    try:
        return address_bytes(address)
    except ValueError as error:
        raise SafeError(str(error)) from error
