"""Anchors: only the desk's own event, under the header's receipts root, of a counted checkpoint, is proof."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from ledger import anchor
from ledger.anchor import ANCHORED, Anchored, AnchorError, decode, lookup, verify
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from ledger.keccak import _round_constants, keccak256
from ledger.trust import Anchoring, TrustRoot, TrustRootError
from ledger.verifier import Step, VerificationError
from ledger.verifier import verify as verify_bundle
from tests.ledger.world import Folder, World, trust_root
from workbench.anchor.core import calldata
from workbench.evm.fields import checksummed
from workbench.evm.header import Header
from workbench.evm.proof import prove_index
from workbench.evm.receipt import Log, Receipt

CHAIN, CONTRACT, SENDER, STRANGER = 31337, b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
ANCHORING = Anchoring(chain_id=CHAIN, contract=CONTRACT, sender=SENDER)
GENESIS = b"\x44" * 32
WANTED = Checkpoint("custody.example/ledger", 7, b"\x55" * 32, b"\x66" * 32)
TIME = 1_795_222_923


def word(address: bytes) -> bytes:
    """Return an address as an indexed argument."""
    return bytes(12) + address


def log(**changes: Any) -> Log:
    """Return the contract's event."""
    said = {"contract": CONTRACT, "event": ANCHORED, "sender": SENDER, "ledger": GENESIS, "wanted": WANTED}
    said |= changes
    wanted: Checkpoint = said["wanted"]
    data = wanted.size.to_bytes(32, "big") + wanted.root + wanted.chain
    topics = (said["event"], word(said["sender"]), said["ledger"])
    return Log(checksummed(said["contract"]), topics, said.get("data", data))


def receipt(*logs: Log, succeeded: bool = True, kind: int = 2) -> Receipt:
    """Return a receipt with these events."""
    return Receipt(type=kind, succeeded=succeeded, cumulative_gas_used=27_000, bloom=bytes(256), logs=logs)


def block(receipts: list[bytes], index: int) -> tuple[Header, list[str]]:
    """Return a block's header over these receipts, and the proof of one."""
    root, proof = prove_index(receipts, index)
    zero = bytes(32)
    header = Header(
        parent_hash=zero,
        ommers_hash=zero,
        beneficiary=bytes(20),
        state_root=zero,
        transactions_root=zero,
        receipts_root=root,
        logs_bloom=bytes(256),
        difficulty=0,
        number=19,
        gas_limit=30_000_000,
        gas_used=27_000,
        timestamp=TIME,
        extra_data=b"",
        mix_hash=zero,
        nonce=bytes(8),
        base_fee_per_gas=7,
        withdrawals_root=zero,
        blob_gas_used=0,
        excess_blob_gas=0,
        parent_beacon_block_root=zero,
        requests_hash=zero,
    )
    return header, [node.hex() for node in proof]


def document(own: Receipt, *, index: int = 1, others: int = 3, place: int = 0) -> dict[str, Any]:
    """Return an anchor's document: the receipt among others in a block."""
    receipts = [receipt(log(sender=STRANGER)).encode() for _ in range(others)]
    receipts.insert(index, own.encode())
    header, proof = block(receipts, index)
    return {
        "v": 1,
        "chain_id": CHAIN,
        "size": WANTED.size,
        "header": header.encode().hex(),
        "index": index,
        "receipt": own.encode().hex(),
        "proof": proof,
        "log": place,
    }


def of_bytes(raw: bytes) -> dict[str, Any]:
    """Return the document of a block whose only receipt is these bytes."""
    header, proof = block([raw], 0)
    made = document(receipt(log()), index=0, others=0)
    return made | {"header": header.encode().hex(), "receipt": raw.hex(), "proof": proof}


def with_field(made: dict[str, Any], place: int, value: Any) -> dict[str, Any]:
    """Return the document with another field of its header."""
    fields = list(rlp.decode(bytes.fromhex(made["header"])))
    fields[place] = value
    return made | {"header": rlp.encode(fields).hex()}


def judged(made: dict[str, Any], **changes: Any) -> Anchored:
    """Verify a document."""
    known: dict[str, Any] = {"genesis_hash": GENESIS, "checkpoints": {WANTED.size: WANTED}} | changes
    return verify(canonical(made, limit=2**20), ANCHORING, **known)


@pytest.mark.parametrize(("index", "others"), [(0, 0), (1, 3), (0, 200), (127, 200), (128, 200), (199, 200)])
@pytest.mark.parametrize("kind", [0, 2, 0x7F])
def test_proven(index: int, others: int, kind: int) -> None:
    """Wherever the receipt stands in its block, and of whichever type, the anchor names that block."""
    made = document(receipt(log(), kind=kind), index=index, others=others)
    expected = Anchored(
        size=7,
        chain_id=CHAIN,
        block_number=19,
        block_hash=keccak(bytes.fromhex(made["header"])),
        time=datetime.fromtimestamp(TIME, UTC),
    )
    assert judged(made) == expected


def test_among_other_logs() -> None:
    """The document says which log it means."""
    made = document(receipt(log(contract=STRANGER), log()), place=1)
    assert judged(made).size == 7
    with pytest.raises(AnchorError, match="contract"):
        judged(made | {"log": 0})


def test_a_header_before_later_forks() -> None:
    """Fifteen fields are a header; what forks have added is not wanted."""
    made = document(receipt(log()))
    fields = rlp.decode(bytes.fromhex(made["header"]))
    assert judged(made | {"header": rlp.encode(fields[:15]).hex()}).block_number == 19


def test_the_largest_numbers() -> None:
    """A block number has six bytes at most, a time the last second that a calendar has."""
    made = with_field(document(receipt(log())), 8, b"\xff" * 6)
    last = with_field(made, 11, (253_402_300_799).to_bytes(5, "big"))
    assert judged(last).block_number == 2**48 - 1
    assert judged(last).time == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


LIES: dict[str, tuple[Receipt, str]] = {
    "another contract": (receipt(log(contract=STRANGER)), "contract"),
    "a stranger's call of our contract": (receipt(log(sender=STRANGER)), "another sender"),
    "another event": (receipt(log(event=keccak(b"Other()"))), "another event"),
    "another ledger": (receipt(log(ledger=b"\x77" * 32)), "another ledger"),
    "another size": (receipt(log(wanted=replace(WANTED, size=8))), "something else"),
    "another root": (receipt(log(wanted=replace(WANTED, root=b"\x01" * 32))), "something else"),
    "another chain": (receipt(log(wanted=replace(WANTED, chain=b"\x01" * 32))), "something else"),
    "data behind": (receipt(log(data=b"\x00" * 128)), "something else"),
    "a call that failed": (receipt(log(), succeeded=False), "did not succeed"),
    "no log": (receipt(), "no log 0"),
}


@pytest.mark.parametrize("name", LIES)
def test_true_receipts_of_something_else(name: str) -> None:
    """A receipt that really is in its block, but does not say what it must, proves nothing."""
    own, message = LIES[name]
    with pytest.raises(AnchorError, match=message):
        judged(document(own))


def altered(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a change of some fields."""
    return lambda made: made | changes


def without(made: dict[str, Any], place: int) -> list[str]:
    """Return a proof that lacks a node."""
    return [node for number, node in enumerate(made["proof"]) if number != place]


FORGERIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another version": altered(v=2),
    "a version that is a truth": altered(v=True),
    "another chain's id": altered(chain_id=1),
    "a checkpoint that is not there": altered(size=8),
    "a negative index": altered(index=-1),
    "another index": altered(index=0),
    "an index beyond the block": altered(index=77),
    "a log beyond the receipt": altered(log=1),
    "a field too many": altered(more=1),
    "no proof": altered(proof=[]),
    "a proof that is text": altered(proof="00"),
    "a proof of 66 nodes": lambda made: made | {"proof": made["proof"] * 40},
    "the first node missing": lambda made: made | {"proof": without(made, 0)},
    "the last node missing": lambda made: made | {"proof": without(made, len(made["proof"]) - 1)},
    "a node too many": lambda made: made | {"proof": [*made["proof"], made["proof"][-1]]},
    "nodes in another order": lambda made: made | {"proof": made["proof"][::-1]},
    "upper-case hex": lambda made: made | {"header": made["header"].upper()},
    "half a byte": lambda made: made | {"receipt": made["receipt"][:-1]},
    "a header cut": lambda made: made | {"header": made["header"][:-2]},
    "a header of few fields": altered(header=rlp.encode([b""] * 14).hex()),
    "a header without its last field": lambda made: (
        made | {"header": rlp.encode(rlp.decode(bytes.fromhex(made["header"]))[:14]).hex()}
    ),
    "a number that is a list": lambda made: with_field(made, 8, [b"\x13"]),
    "a number of seven bytes": lambda made: with_field(made, 8, b"\x01" * 7),
    "a number that begins with zero": lambda made: with_field(made, 8, b"\x00\x13"),
    "a time that no calendar has": lambda made: with_field(made, 11, (253_402_300_800).to_bytes(5, "big")),
    "a receipts root that is a trie of its own": lambda made: (
        with_field(made, 5, [b"\x20\x01", bytes.fromhex(made["receipt"])]) | {"proof": []}
    ),
    "logs that are text": lambda _: of_bytes(rlp.encode([b"\x01", b"", b"", b"abc"])),
    "a receipt of five fields": lambda made: of_bytes(
        b"\x02" + rlp.encode([*rlp.decode(bytes.fromhex(made["receipt"])[1:]), b""])
    ),
    "a header that is text": altered(header=rlp.encode(b"header").hex()),
    "bytes behind the header": lambda made: made | {"header": made["header"] + "00"},
    "an empty receipt": altered(receipt=""),
    "another receipt": altered(receipt=receipt(log(), log()).encode().hex()),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_documents(name: str) -> None:
    """A document that was changed in any part is refused, and never by a crash."""
    made = FORGERIES[name](document(receipt(log()), others=200))
    with pytest.raises(AnchorError):
        judged(made)


def test_how_many_nodes() -> None:
    """A proof of 65 nodes is looked at, one of 66 is not."""
    made = document(receipt(log()))
    for nodes, message in ((65, "lead nowhere"), (66, "array of nodes")):
        with pytest.raises(AnchorError, match=message):
            judged(made | {"proof": (made["proof"] * 66)[:nodes]})


def test_every_flipped_byte() -> None:
    """No byte of header, receipt or proof can change unnoticed, but in the header it makes another block."""
    made = document(receipt(log()))
    genuine = judged(made).block_hash
    for name in ("header", "receipt", "proof"):
        raw = bytes.fromhex("".join(made[name]) if name == "proof" else made[name])
        for place in range(0, len(raw), 7):
            flipped = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
            changed = [flipped.hex()] if name == "proof" and len(made["proof"]) == 1 else flipped.hex()
            if name == "proof" and len(made["proof"]) != 1:
                sizes = [len(node) // 2 for node in made["proof"]]
                starts = [sum(sizes[:number]) for number in range(len(sizes))]
                changed = [flipped[a : a + size].hex() for a, size in zip(starts, sizes, strict=True)]
            try:
                assert judged(made | {name: changed}).block_hash != genuine
            except AnchorError:
                continue
            assert name == "header"


@given(st.binary(max_size=300))
def test_keccak(data: bytes) -> None:
    """Ours and the library's hash agree."""
    assert keccak256(data) == keccak(data)


def test_the_constants_of_keccak() -> None:
    """The shift register gives the constants that FIPS 202 lists."""
    constants = _round_constants()
    assert (len(constants), constants[:3]) == (24, [0x1, 0x8082, 0x800000000000808A])
    assert constants[-3:] == [0x8000000000008080, 0x80000001, 0x8000000080008008]


nested = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=20)


@given(nested)
def test_rlp(item: Any) -> None:
    """What the library writes is read back, and no cut of it."""
    raw = rlp.encode(item)
    assert decode(raw) == item
    for cut in (raw[:-1], raw + b"\x00"):
        with pytest.raises(AnchorError):
            decode(cut)


@pytest.mark.parametrize(
    "spelling",
    ["8100", "817f", "b80100", "b83700", "f80100", "b90000", "c180ff", "", "bf", "c2c1", "ff" + "ff" * 8],
)
def test_other_spellings_of_rlp(spelling: str) -> None:
    """RLP has one spelling; the others are refused."""
    with pytest.raises(AnchorError):
        decode(bytes.fromhex(spelling))


def test_deep_rlp() -> None:
    """Lists inside lists end somewhere."""
    raw = b"\xc0"
    for _ in range(80):
        raw = rlp.codec.length_prefix(len(raw), 0xC0) + raw
    with pytest.raises(AnchorError, match="too deep"):
        decode(raw)


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=4), st.binary(min_size=1, max_size=60), min_size=1, max_size=40
    )
)
def test_tries(items: dict[bytes, bytes]) -> None:
    """Every value of a trie is found with the library's own proof; what is not in it is not."""
    trie = HexaryTrie({})
    for key, value in items.items():
        trie[key] = value
    for key, value in items.items():
        proof = [rlp.encode(node) for node in trie.get_proof(key)]
        # A library's proof lists embedded nodes once more; they are read inside their parents.
        proof = [node for number, node in enumerate(proof) if not number or len(node) >= 32]
        assert lookup(trie.root_hash, key, proof) == value
        with pytest.raises(AnchorError):
            lookup(trie.root_hash, key + b"\x01" * 5, proof)


LEAF = [b"\x20\x56", b"value"]
NO_TRIES: dict[str, tuple[Any, bytes]] = {
    "a leaf whose value is a list": ([b"\x20\x56", [b"value"]], b"\x56"),
    "another key's leaf": (LEAF, b"\x57"),
    "a leaf of three items": ([*LEAF, b""], b"\x56"),
    "a leaf without a path": ([b"", b"value"], b"\x56"),
    "a leaf whose path is a list": ([[b"\x20\x56"], b"value"], b"\x56"),
    "another key's extension": ([b"\x00\x34", LEAF], b"\x12\x56"),
    "an extension of nothing": ([b"\x00", LEAF], b"\x56"),
    "a branch without a value": ([b""] * 17, b""),
    "a branch whose value is a list": ([b""] * 16 + [[b"value"]], b""),
    "a branch without this child": ([b""] * 17, b"\x56"),
    "text": (b"neither branch, extension nor leaf", b"\x56"),
}


@pytest.mark.parametrize("name", NO_TRIES)
def test_what_no_trie_has(name: str) -> None:
    """A node that leads nowhere, or is none, gives no value."""
    node, key = NO_TRIES[name]
    raw = rlp.encode(node)
    with pytest.raises(AnchorError):
        lookup(keccak(raw), key, [raw])


def test_tries_by_hand() -> None:
    """What the table above spoils gives its value as it is."""
    for node, key in ((LEAF, b"\x56"), ([b"\x00\x12", LEAF], b"\x12\x56"), ([b""] * 16 + [b"value"], b"")):
        raw = rlp.encode(node)
        assert lookup(keccak(raw), key, [raw]) == b"value"


TRUST = {"chain_id": CHAIN, "contract": CONTRACT.hex(), "sender": SENDER.hex()}


@pytest.fixture
def anchored(tmp_path: Path) -> tuple[World, Folder]:
    """Return a ledger with an anchored checkpoint, and its bundle."""
    world = World(tmp_path, trust=trust_root(anchor=TRUST))
    world.append(*range(7))
    world.check_point()
    world.ledger.record_anchor(7, canonical(of(world), limit=2**20))
    world.check_point()
    return world, world.write_bundle()


def of(world: World, **changes: Any) -> dict[str, Any]:
    """Return the document that anchors the world's head."""
    said = log(ledger=world.ledger.genesis.hash(), wanted=world.state(), **changes)
    return document(receipt(said)) | {"size": world.state().size}


def test_in_a_bundle(anchored: tuple[World, Folder]) -> None:
    """The verifier proves the anchors of a bundle and names their blocks; a restart keeps them."""
    world, bundle = anchored
    report = verify_bundle(bundle.path, world.trust)
    assert [(each.size, each.block_number) for each in report.anchors] == [(7, 19)]
    assert report.unproven == ()
    assert list(world.reopen().anchors()) == [7]
    world.ledger.close()


def test_a_bad_one_in_a_bundle(anchored: tuple[World, Folder]) -> None:
    """An anchor that does not prove what it claims makes the bundle unsound, by name."""
    world, bundle = anchored
    bundle.write("anchors/7.json", canonical(of(world, sender=STRANGER), limit=2**20))
    bundle.write("anchors/8.json", b"{}")
    with pytest.raises(VerificationError) as caught:
        verify_bundle(bundle.path, world.trust)
    assert [(found.step, found.place) for found in caught.value.report.findings] == [
        (Step.ANCHOR, "anchors/7.json"),
        (Step.ANCHOR, "anchors/8.json"),
    ]
    world.ledger.close()


def test_without_a_contract(tmp_path: Path) -> None:
    """Under a trust root that names no contract an anchor is one more document that nobody has proven."""
    world = World(tmp_path)
    world.append(0)
    world.check_point()
    bundle = world.write_bundle(files={"anchors/1.json": b"{}"})
    assert verify_bundle(bundle.path, world.trust).unproven == ("anchors/1.json",)
    world.ledger.close()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"chain_id": 0}, id="no chain"),
        pytest.param({"chain_id": True}, id="a truth"),
        pytest.param({"contract": "11" * 19}, id="a short address"),
        pytest.param({"sender": "0x" + "22" * 20}, id="a prefix"),
        pytest.param({"more": 1}, id="a field too many"),
    ],
)
def test_anchoring_that_is_refused(changes: dict[str, Any]) -> None:
    """A trust root that names its contract badly is no trust root; chain 1 is one."""
    assert TrustRoot.of(trust_root(anchor=TRUST | {"chain_id": 1})).anchoring is not None
    with pytest.raises(TrustRootError):
        TrustRoot.of(trust_root(anchor=TRUST | changes))


def test_the_call() -> None:
    """What the anchor process calls is what the event then says."""
    words = calldata(GENESIS, WANTED)[4:]
    assert words == GENESIS + WANTED.size.to_bytes(32, "big") + WANTED.root + WANTED.chain
    assert keccak(b"Anchored(address,bytes32,uint64,bytes32,bytes32)") == anchor.ANCHORED
