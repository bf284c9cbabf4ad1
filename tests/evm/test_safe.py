"""A Safe's transaction: its hash against an independent encoder, its signatures and its calldata by table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from coincurve import PrivateKey
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from workbench.evm import safe
from workbench.evm.calldata import DATA_BYTES_MAX
from workbench.evm.carriers import Operation
from workbench.evm.errors import CalldataError, SafeError
from workbench.evm.fields import UINT256_MAX, address_bytes, checksummed
from workbench.evm.safe import OwnerSignature, SafeTx
from workbench.evm.transaction import CURVE_ORDER, address_of

KEYS = [PrivateKey(bytes([number]) * 32) for number in range(1, 6)]
OWNERS = {address_of(key.public_key.format(compressed=False)): key for key in KEYS}
SORTED = sorted(OWNERS, key=address_bytes)
CHAIN, SAFE = 31337, checksummed(b"\x5a" * 20)
PLAIN = SafeTx(to=checksummed(b"\x11" * 20), value=7, data=b"\x01\x02", operation=Operation.CALL, nonce=3)
DIGEST = PLAIN.digest(chain_id=CHAIN, safe=SAFE)

addresses = st.binary(min_size=20, max_size=20).map(checksummed)
words = st.integers(min_value=0, max_value=UINT256_MAX)
transactions = st.builds(
    SafeTx,
    to=addresses,
    value=words,
    data=st.binary(max_size=100),
    operation=st.sampled_from([Operation.CALL, Operation.DELEGATECALL]),
    nonce=words,
    safe_tx_gas=words,
    base_gas=words,
    gas_price=words,
    gas_token=addresses,
    refund_receiver=addresses,
)


def typed_data(tx: SafeTx, chain_id: int, address: str) -> dict[str, Any]:
    """Return the message as a wallet would show it."""
    fields = safe.SAFE_TX_TYPE.removeprefix("SafeTx(").removesuffix(")").split(",")
    kinds = [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields]
    values = [tx.to, tx.value, tx.data, int(tx.operation is Operation.DELEGATECALL), tx.safe_tx_gas]
    values += [tx.base_gas, tx.gas_price, tx.gas_token, tx.refund_receiver, tx.nonce]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "SafeTx": kinds,
        },
        "primaryType": "SafeTx",
        "domain": {"chainId": chain_id, "verifyingContract": address},
        "message": {kind["name"]: value for kind, value in zip(kinds, values, strict=True)},
    }


def signed(owner: str, digest: bytes = DIGEST) -> OwnerSignature:
    """Return an owner's signature."""
    key = OWNERS[owner]
    rs = key.sign_recoverable(digest, hasher=None)[:64]
    return safe.owner_signature(digest, rs, key.public_key.format(compressed=False), owner=owner)


def concatenated(signatures: Sequence[OwnerSignature]) -> bytes:
    """Return signatures in the order they are given."""
    return b"".join(each.encoded() for each in signatures)


def with_v(v: int) -> bytes:
    """Return three good signatures, the first with another v."""
    good = safe.join(map(signed, SORTED[:3]))
    return good[:64] + bytes([v]) + good[65:]


def high(signature: OwnerSignature) -> OwnerSignature:
    """Return the signature's other spelling, which the curve takes too."""
    return replace(signature, s=CURVE_ORDER - signature.s, v=27 + 28 - signature.v)


@pytest.mark.parametrize(
    ("text", "digest"),
    [(safe.DOMAIN_TYPE, safe.DOMAIN_TYPE_HASH), (safe.SAFE_TX_TYPE, safe.SAFE_TX_TYPE_HASH)],
    ids=["domain", "SafeTx"],
)
def test_type_hashes_are_those_of_their_texts(text: str, digest: bytes) -> None:
    """A constant has its preimage beside it."""
    assert keccak(text.encode()) == digest


@given(transactions, st.integers(min_value=1, max_value=2**64 - 1), addresses)
def test_the_hash_is_what_a_wallet_computes(tx: SafeTx, chain_id: int, address: str) -> None:
    """Another library's encoder of typed data gives the same hash for every transaction."""
    message = encode_typed_data(full_message=typed_data(tx, chain_id, address))
    expected = keccak(b"\x19" + message.version + message.header + message.body)
    assert tx.digest(chain_id=chain_id, safe=address) == expected


@given(transactions, st.binary(max_size=200))
def test_calldata_comes_back(tx: SafeTx, signatures: bytes) -> None:
    """What was written is what is read, and only that."""
    data = safe.execution(tx, signatures)
    assert safe.read_execution(data, nonce=tx.nonce) == safe.Execution(tx, signatures)
    with pytest.raises(CalldataError):
        safe.read_execution(data + bytes(32), nonce=tx.nonce)


def test_an_operation_that_is_none_is_not_read() -> None:
    """The contract's enum has two values; the calldata of a third is refused."""
    data = bytearray(safe.execution(PLAIN, b""))
    data[4 + 4 * 32 - 1] = 2
    with pytest.raises(SafeError, match="operation 2 is neither"):
        safe.read_execution(bytes(data), nonce=3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": -1}, "-1 is no unsigned"),
        ({"nonce": UINT256_MAX + 1}, "is no unsigned"),
        ({"gas_price": -1}, "is no unsigned"),
        ({"to": PLAIN.to.lower().replace("1", "a")}, "not in EIP-55"),
        ({"gas_token": "0x"}, "not an address"),
        ({"refund_receiver": "nobody"}, "not an address"),
        ({"operation": Operation.SELF}, "is neither"),
        ({"data": bytes(DATA_BYTES_MAX + 1)}, "at most"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_what_no_transaction_can_hold(changes: dict[str, Any], said: str) -> None:
    """A field outside its type cannot be built."""
    with pytest.raises(SafeError, match=said):
        replace(PLAIN, **changes)


def test_as_much_data_as_there_may_be() -> None:
    """The bound itself is within it."""
    assert len(replace(PLAIN, data=bytes(DATA_BYTES_MAX)).data) == DATA_BYTES_MAX


def test_a_chain_id_out_of_range() -> None:
    """There is no chain zero to sign for."""
    with pytest.raises(SafeError, match="chain id 0"):
        PLAIN.digest(chain_id=0, safe=SAFE)


def test_owners_signatures_are_joined_in_order() -> None:
    """Whatever order they come in, the contract gets them by address, and each is its owner's."""
    blob = safe.join([signed(SORTED[2]), signed(SORTED[0]), signed(SORTED[1])])
    found = safe.read_signatures(blob, DIGEST, owners=OWNERS, threshold=3)
    assert [each.owner for each in found] == SORTED[:3]
    assert {each.v for each in found} <= {27, 28}


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        pytest.param(safe.join(map(signed, SORTED[:2])), "3 of 65 bytes are due", id="one too few"),
        pytest.param(safe.join(map(signed, SORTED[:4])), "3 of 65 bytes are due", id="one too many"),
        pytest.param(safe.join(map(signed, SORTED[:3])) + b"\0", "are due", id="a byte behind"),
        pytest.param(safe.join([signed(SORTED[0])] * 2 + [signed(SORTED[1])]), "twice", id="one owner twice"),
        pytest.param(
            concatenated([signed(SORTED[1]), signed(SORTED[0]), signed(SORTED[2])]),
            "ascending",
            id="wrong order",
        ),
        pytest.param(
            safe.join([high(signed(SORTED[0])), *map(signed, SORTED[1:3])]),
            "s is out of range or high",
            id="high s",
        ),
        pytest.param(
            safe.join([replace(signed(SORTED[0]), s=0), *map(signed, SORTED[1:3])]),
            "s is out",
            id="s of nothing",
        ),
        pytest.param(
            safe.join([replace(signed(SORTED[0]), r=0), *map(signed, SORTED[1:3])]),
            "r is out",
            id="r of nothing",
        ),
        pytest.param(with_v(0), "v is 0, a contract's signature", id="a contract's signature"),
        pytest.param(with_v(1), "v is 1, an approved hash", id="an approved hash"),
        pytest.param(with_v(31), "v is 31, a signature by eth_sign", id="eth_sign"),
        pytest.param(with_v(26), "v is 26, of no kind", id="no kind"),
        pytest.param(with_v(29), "v is 29, of no kind", id="no kind above"),
        pytest.param(with_v(30), "v is 30, of no kind", id="the last of no kind"),
    ],
)
def test_signatures_that_do_not_count(blob: bytes, said: str) -> None:
    """Too few, too many, twice, out of order, malleable, or of a kind that nobody here makes."""
    with pytest.raises(SafeError, match=said):
        safe.read_signatures(blob, DIGEST, owners=OWNERS, threshold=3)


def test_a_strangers_signature() -> None:
    """A good signature of a key that owns nothing is named as such."""
    with pytest.raises(SafeError, match="no owner"):
        safe.read_signatures(safe.join(map(signed, SORTED[:3])), DIGEST, owners=SORTED[1:], threshold=3)


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param(replace(PLAIN, nonce=4).digest(chain_id=CHAIN, safe=SAFE), id="another nonce"),
        pytest.param(PLAIN.digest(chain_id=1, safe=SAFE), id="another chain"),
        pytest.param(PLAIN.digest(chain_id=CHAIN, safe=PLAIN.to), id="another Safe"),
    ],
)
def test_signatures_over_something_else(digest: bytes) -> None:
    """They recover to nobody that is known."""
    with pytest.raises(SafeError, match="no owner, or over something else"):
        safe.read_signatures(safe.join(map(signed, SORTED[:3])), digest, owners=OWNERS, threshold=3)


@pytest.mark.parametrize(
    ("owners", "threshold"),
    [
        pytest.param(SORTED, 0, id="a threshold of nobody"),
        pytest.param(SORTED, 6, id="more than there are"),
        pytest.param([SORTED[0], SORTED[0], SORTED[1]], 3, id="an owner who counts twice"),
        pytest.param([], 0, id="no owners"),
        pytest.param([*SORTED, *(checksummed(bytes([each]) * 20) for each in range(28))], 3, id="too many"),
    ],
)
def test_quorums_that_are_none(owners: list[str], threshold: int) -> None:
    """Nothing is satisfied by an empty or impossible quorum."""
    with pytest.raises(SafeError, match="a threshold of"):
        safe.read_signatures(b"", DIGEST, owners=owners, threshold=threshold)


MANY = [*SORTED, *(checksummed(bytes([number]) * 20) for number in range(1, 40))]


@pytest.mark.parametrize(
    ("owners", "threshold"),
    [
        pytest.param(SORTED[:1], 1, id="one of one"),
        pytest.param(SORTED, 5, id="all of five"),
        pytest.param(MANY[: safe.OWNERS_MAX], 2, id="as many owners as there may be"),
    ],
)
def test_quorums_at_their_bounds(owners: list[str], threshold: int) -> None:
    """The smallest and the largest that there are."""
    made = tuple(map(signed, SORTED[:threshold]))
    assert safe.read_signatures(safe.join(made), DIGEST, owners=owners, threshold=threshold) == made


def test_another_keys_signature_is_not_passed_off() -> None:
    """A signature becomes an owner's only if it recovers to that owner."""
    key = OWNERS[SORTED[0]]
    rs = key.sign_recoverable(DIGEST, hasher=None)[:64]
    public_key = key.public_key.format(compressed=False)
    with pytest.raises(SafeError, match="is not"):
        safe.owner_signature(DIGEST, rs, public_key, owner=SORTED[1])
    with pytest.raises(SafeError, match="is not one of"):
        safe.owner_signature(PLAIN.struct_hash(), rs, public_key, owner=SORTED[0])


@pytest.mark.parametrize(
    ("behind", "digest"),
    [(b"\0", DIGEST), (b"", DIGEST + b"\0"), (b"", DIGEST[:31])],
    ids=["a byte behind the signature", "a digest too long", "a digest too short"],
)
def test_sizes(behind: bytes, digest: bytes) -> None:
    """A signature has 65 bytes, and is over 32."""
    raw = signed(SORTED[0]).encoded()
    with pytest.raises(SafeError, match="over a digest of"):
        safe.read_signature(raw + behind, digest)


def test_a_token_that_returns_high_s() -> None:
    """What a token returns is brought to low s."""
    key = OWNERS[SORTED[0]]
    rs = key.sign_recoverable(DIGEST, hasher=None)[:64]
    other = rs[:32] + (CURVE_ORDER - int.from_bytes(rs[32:])).to_bytes(32)
    assert safe.owner_signature(
        DIGEST, other, key.public_key.format(compressed=False), owner=SORTED[0]
    ) == signed(SORTED[0])
