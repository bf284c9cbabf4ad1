"""Merkle proofs: the right value under the right key, or nothing."""

import pytest
import rlp
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from trie import HexaryTrie

from workbench.evm.errors import ProofError, ReceiptError
from workbench.evm.proof import (
    ABSENT,
    EMPTY_CODE_HASH,
    EMPTY_ROOT,
    Account,
    prove_index,
    verify_account,
    verify_receipt,
    verify_storage,
    verify_transaction,
)
from workbench.evm.receipt import Log, Receipt

ALICE = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
BOB = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
NOBODY = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"
ACCOUNT = Account(nonce=3, balance=10**18, storage_root=EMPTY_ROOT, code_hash=EMPTY_CODE_HASH)
SLOT = bytes(31) + b"\1"


def built(pairs: dict[bytes, bytes]) -> HexaryTrie:
    """Return a trie over hashed keys."""
    trie = HexaryTrie({})
    for key, value in pairs.items():
        trie[keccak(key)] = value
    return trie


def proof_of(trie: HexaryTrie, key: bytes) -> list[bytes]:
    """Return the proof of a key."""
    return [rlp.encode(node) for node in trie.get_proof(keccak(key))]


def account_rlp(account: Account) -> bytes:
    """Return an account as the state trie holds it."""
    return rlp.encode([account.nonce, account.balance, account.storage_root, account.code_hash])


FILLER = {bytes([n]) * 20: account_rlp(ACCOUNT) for n in range(1, 40)}
STATE = built({**FILLER, bytes.fromhex(ALICE[2:]): account_rlp(ACCOUNT)})
PROOF = proof_of(STATE, bytes.fromhex(ALICE[2:]))
STORAGE = built({SLOT: rlp.encode(42), bytes(32): rlp.encode(1)})
RECEIPTS = [
    Receipt(
        type=kind,
        succeeded=bool(kind % 2),
        cumulative_gas_used=21_000 * (kind + 1),
        bloom=bytes(256),
        logs=(Log(ALICE, (b"\1" * 32, b"\2" * 32), b"\3" * kind),),
    ).encode()
    for kind in (0, 1, 2, 3, 4)
]


def flipped(proof: list[bytes], node: int, bit: int) -> list[bytes]:
    """Return the proof with one bit of one node changed."""
    raw = bytearray(proof[node])
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return [*proof[:node], bytes(raw), *proof[node + 1 :]]


def test_an_account_is_proven() -> None:
    """The account is the one under the root."""
    assert verify_account(STATE.root_hash, ALICE, PROOF) == ACCOUNT


def test_absence_is_proven() -> None:
    """An address that the proof excludes has no nonce, ether, code or storage."""
    assert verify_account(STATE.root_hash, NOBODY, proof_of(STATE, bytes.fromhex(NOBODY[2:]))) == ABSENT


def test_storage_is_proven() -> None:
    """A slot has the value under the root, zero where the proof excludes it."""
    assert verify_storage(STORAGE.root_hash, SLOT, proof_of(STORAGE, SLOT)) == 42
    absent = b"\x07" * 32
    assert verify_storage(STORAGE.root_hash, absent, proof_of(STORAGE, absent)) == 0


@pytest.mark.parametrize(
    ("root", "address", "proof"),
    [
        pytest.param(STATE.root_hash, ALICE, [], id="no proof"),
        pytest.param(STATE.root_hash, ALICE, PROOF[:-1], id="the leaf dropped"),
        pytest.param(STATE.root_hash, ALICE, PROOF[1:], id="the root node dropped"),
        pytest.param(b"\1" * 32, ALICE, PROOF, id="another root"),
        pytest.param(b"\1" * 31, ALICE, PROOF, id="half a root"),
        pytest.param(STATE.root_hash, BOB, PROOF, id="another address"),
        pytest.param(STATE.root_hash, ALICE.lower(), PROOF, id="an address without its checksum"),
        pytest.param(STATE.root_hash, ALICE, [*PROOF[:-1], b"\xc0"], id="an empty node"),
        pytest.param(STATE.root_hash, ALICE, [b"\xc1" * 2000], id="a nesting bomb"),
        pytest.param(STATE.root_hash, ALICE, [b"junk"], id="junk"),
        pytest.param(STATE.root_hash, ALICE, PROOF + [b"\x80"] * 65, id="too many nodes"),
        pytest.param(STATE.root_hash, ALICE, [bytes(4 * 1024 * 1024 + 1)], id="too many bytes"),
        pytest.param(
            built({bytes.fromhex(ALICE[2:]): rlp.encode([1, 2, 3])}).root_hash,
            ALICE,
            proof_of(built({bytes.fromhex(ALICE[2:]): rlp.encode([1, 2, 3])}), bytes.fromhex(ALICE[2:])),
            id="a value that is no account",
        ),
    ],
)
def test_proofs_that_prove_nothing(root: bytes, address: str, proof: list[bytes]) -> None:
    """A proof that is cut, tampered with or about something else is refused."""
    with pytest.raises(ProofError):
        verify_account(root, address, proof)


@settings(max_examples=200)
@given(node=st.integers(0, len(PROOF) - 1), bit=st.integers(0, 5000))
def test_a_flipped_bit_is_refused(node: int, bit: int) -> None:
    """No bit of an account's proof can change."""
    with pytest.raises(ProofError):
        verify_account(STATE.root_hash, ALICE, flipped(PROOF, node, bit))


@pytest.mark.parametrize("index", range(5))
def test_receipts_of_every_type_are_proven(index: int) -> None:
    """Each receipt stands at its place, and nowhere else."""
    root, proof = prove_index(RECEIPTS, index)
    assert verify_receipt(root, index, RECEIPTS[index], proof).encode() == RECEIPTS[index]
    verify_transaction(root, index, RECEIPTS[index], proof)
    with pytest.raises(ProofError):
        verify_receipt(root, (index + 1) % 5, RECEIPTS[index], proof)


@pytest.mark.parametrize(
    ("index", "item"),
    [
        pytest.param(2, RECEIPTS[1], id="another receipt"),
        pytest.param(2, RECEIPTS[2] + b"\0", id="a trailing byte"),
        pytest.param(2, b"", id="nothing"),
        pytest.param(-1, RECEIPTS[2], id="a negative index"),
        pytest.param(5, RECEIPTS[2], id="behind the last"),
    ],
)
def test_receipts_that_are_not_there(index: int, item: bytes) -> None:
    """Absence is no receipt."""
    root, proof = prove_index(RECEIPTS, 2)
    with pytest.raises(ProofError):
        verify_receipt(root, index, item, proof)


@pytest.mark.parametrize("index", [-1, 5])
def test_there_is_no_proof_of_what_is_not_there(index: int) -> None:
    """Nothing can be proven about a position outside the block."""
    with pytest.raises(ProofError):
        prove_index(RECEIPTS, index)


BODY = [b"\1", b"\x52\x08", bytes(256), []]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02", id="only the type"),
        pytest.param(b"\x02" + rlp.encode(BODY[:3]), id="a field missing"),
        pytest.param(b"\x05" + rlp.encode(BODY), id="an unknown type"),
        pytest.param(b"\x02" + rlp.encode([b"\2", *BODY[1:]]), id="status 2"),
        pytest.param(b"\x02" + rlp.encode([bytes(32), *BODY[1:]]), id="a state root as status"),
        pytest.param(b"\x02" + rlp.encode([*BODY[:2], bytes(255), []]), id="a short bloom"),
        pytest.param(b"\x02" + rlp.encode([*BODY[:3], [[bytes(20), [bytes(31)], b""]]]), id="a short topic"),
        pytest.param(
            b"\x02" + rlp.encode([*BODY[:3], [[bytes(20), [bytes(32)] * 5, b""]]]), id="five topics"
        ),
        pytest.param(b"\x02" + rlp.encode([*BODY[:3], [[bytes(19), [], b""]]]), id="a short address"),
        pytest.param(b"\x02" + rlp.encode(BODY) + b"\0", id="a trailing byte"),
        pytest.param(b"\x02" + b"\xc1" * 3000, id="a nesting bomb"),
    ],
)
def test_bytes_that_are_no_receipt(raw: bytes) -> None:
    """A receipt in any other shape is refused."""
    with pytest.raises(ReceiptError):
        Receipt.parse(raw)
