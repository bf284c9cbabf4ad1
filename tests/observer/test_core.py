"""The observer: what it signs, what it refuses to, and that asking twice is harmless."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_hash.auto import keccak

from ledger.encoding import canonical
from tests.chain.world import FEE, GAS, MILLION, TREASURY, World
from workbench.chain.confirm import known
from workbench.chain.errors import ChainError, NodeError, OtherBlockError, SimulationError
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.errors import TransactionError
from workbench.evm.header import Header
from workbench.evm.proof import verify_account, verify_receipt, verify_transaction
from workbench.observer.core import (
    ADDRESSES_MAX,
    BEHIND_MAX,
    HEADER_LINE,
    SIMULATION_LINE,
    Document,
    Observer,
)

STRANGER = "0x1111111111111111111111111111111111111111"


def verified(observer: Observer, statement: Document, line: bytes) -> Document:
    """Return a statement's document after checking its signature."""
    key = Ed25519PublicKey.from_public_bytes(observer.signer.public_key)
    key.verify(bytes.fromhex(statement["signature"]), line + canonical(statement["document"]))
    assert statement["observer"] == observer.name
    return statement["document"]


def attested_header(observer: Observer, answer: Document) -> Header:
    """Return the header that an answer attests."""
    document = verified(observer, answer["attestation"], HEADER_LINE)
    header = Header.parse(bytes.fromhex(answer["header"]))
    assert document["block"] == {
        "number": header.number,
        "hash": header.hash().hex(),
        "state_root": header.state_root.hex(),
        "receipts_root": header.receipts_root.hex(),
    }
    return header


def request(world: World, data: bytes, to: str | None = None, intent: str | None = "cd" * 32) -> Document:
    """Return a transaction as the observer is asked about it."""
    return {
        "intent": intent,
        "from": TREASURY,
        "to": to or world.deployment.router,
        "value": "0",
        "data": data.hex(),
        "gas": GAS,
        "max_fee_per_gas": FEE,
        "max_priority_fee_per_gas": 1,
    }


def test_the_block_of_another_observer(observer: Observer, fresh_world: World) -> None:
    """A recent block is attested and simulated on by its hash; one of another hash, or far behind, is not."""
    header = attested_header(observer, observer.attest([]))
    block = (header.number, header.hash())
    fresh_world.node.call("anvil_mine", "0x1")
    assert attested_header(observer, observer.attest([TREASURY], block)) == header
    asked = [request(fresh_world, b"", to=STRANGER)]
    first = verified(observer, observer.simulate(asked, 0, block=block), SIMULATION_LINE)
    again = verified(observer, observer.simulate(asked, 0, block=block), SIMULATION_LINE)
    assert first["block"] == {"number": header.number, "hash": header.hash().hex()}
    assert {**first, "at": ""} == {**again, "at": ""}
    with pytest.raises(OtherBlockError):
        observer.attest([], (header.number, bytes(32)))
    with pytest.raises(OtherBlockError):
        observer.simulate(asked, 0, block=(header.number, bytes(32)))
    with pytest.raises(ChainError, match="not agreed"):
        observer.attest([], (header.number + 2, bytes(32)))
    for _ in range(BEHIND_MAX - 1):
        fresh_world.node.call("anvil_mine", "0x1")
    assert attested_header(observer, observer.attest([], block)) == header
    fresh_world.node.call("anvil_mine", "0x1")
    with pytest.raises(ChainError, match="far behind"):
        observer.attest([], block)


def test_an_attestation_convinces_whoever_has_the_key(observer: Observer, fresh_world: World) -> None:
    """Signature, header and proofs together give the accounts, absent ones too."""
    answer = observer.attest([TREASURY, fresh_world.deployment.pool, STRANGER])
    header = attested_header(observer, answer)
    for told in answer["accounts"]:
        proof = [bytes.fromhex(node) for node in told["proof"]]
        account = verify_account(header.state_root, told["address"], proof)
        assert (account.nonce, str(account.balance)) == (told["nonce"], told["balance"])
        assert account.code_hash.hex() == told["code_hash"]
        assert account.storage_root.hex() == told["storage_root"]
    assert [each["balance"] for each in answer["accounts"]] == [str(10 * newswap.ETHER), "0", "0"]


@pytest.mark.parametrize("line", [SIMULATION_LINE, b"oms-header/v2\n", b""])
def test_an_attestation_is_no_other_statement(observer: Observer, line: bytes) -> None:
    """The domain line keeps one kind of statement from serving as another."""
    with pytest.raises(InvalidSignature):
        verified(observer, observer.attest([])["attestation"], line)


def test_a_simulation_is_signed(observer: Observer, fresh_world: World) -> None:
    """The document is the simulator's, under the simulation line."""
    approve = request(fresh_world, fresh_world.deployment.approval(5 * MILLION), fresh_world.deployment.usdc)
    swap = request(fresh_world, fresh_world.swap_data(5 * MILLION))
    document = verified(observer, observer.simulate([approve, swap], 1), SIMULATION_LINE)
    assert (document["intent"], document["slippage_bps"]) == ("cd" * 32, 300)


def test_a_lying_node_gets_nothing_signed(observer: Observer, fresh_world: World) -> None:
    """A false balance has no proof, and without a proof there is no attestation."""
    fresh_world.node.call("anvil_setBalance", TREASURY, "0x1")
    with pytest.raises(ChainError, match="no quorum"):
        observer.attest([TREASURY])
    documents = [event["document"] for event in observer.journal.after("", 0)]
    assert [each["kind"] for each in documents] == ["out", "quorum_lost"]
    assert "proof fails" in documents[0]["detail"]


def test_another_chain_gets_nothing_signed(observer: Observer) -> None:
    """A node on another chain is refused before anything is read from it."""
    elsewhere = replace(observer, nodes=replace(observer.nodes, chain_id=1))
    with pytest.raises(ChainError, match="no quorum"):
        elsewhere.attest([])
    with pytest.raises(ChainError, match="no quorum"):
        elsewhere.simulate([], 0)
    assert "not on 1" in observer.journal.after("", 0)[0]["document"]["detail"]


def test_too_many_accounts(observer: Observer) -> None:
    """An attestation has a limit."""
    with pytest.raises(ChainError, match="at most"):
        observer.attest([TREASURY] * (ADDRESSES_MAX + 1))


def test_an_impossible_simulation_is_not_signed(observer: Observer, fresh_world: World) -> None:
    """A simulation that could not be made is an error, not a document."""
    with pytest.raises(SimulationError):
        observer.simulate([{**request(fresh_world, b""), "from": STRANGER}], 0)
    with pytest.raises(SimulationError):
        observer.simulate([], 0)


def test_broadcasting_twice_is_once(observer: Observer, fresh_world: World) -> None:
    """The same bytes again succeed while pending and when mined; the chain has them once."""
    fresh_world.node.call("evm_setAutomine", False)  # JSON-RPC's own form
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    expected = {"tx_hash": keccak(raw).hex()}
    assert observer.broadcast(raw) == observer.broadcast(raw) == expected
    assert observer.confirm(keccak(raw)) == {"status": "pending"}
    fresh_world.node.call("anvil_mine", "0x1")
    assert observer.broadcast(raw) == expected
    assert observer.confirm(keccak(raw))["status"] == "confirmed"
    assert fresh_world.node.nonce(TREASURY) == 1


def test_another_transaction_with_a_used_nonce_fails(observer: Observer, fresh_world: World) -> None:
    """Only the very same bytes are "already known"."""
    chain_hash = observer.broadcast(fresh_world.signed(STRANGER, nonce=0, value=7))
    fresh_world.node.call("anvil_mine", "0x1")
    other = fresh_world.signed(STRANGER, nonce=0, value=8)
    with pytest.raises(NodeError):
        observer.broadcast(other)
    assert not known(fresh_world.node, keccak(other))
    assert observer.confirm(bytes.fromhex(chain_hash["tx_hash"]))["status"] == "confirmed"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda raw: raw[:-1], TransactionError, id="cut short"),
        pytest.param(lambda raw: raw + b"\0", TransactionError, id="a trailing byte"),
        pytest.param(lambda _: b"", TransactionError, id="nothing"),
        pytest.param(lambda raw: b"\x01" + raw[1:], TransactionError, id="another type"),
    ],
)
def test_bytes_that_are_not_sent(
    observer: Observer, fresh_world: World, change: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    """What is no signed transaction of ours never reaches a node."""
    with pytest.raises(error):
        observer.broadcast(change(fresh_world.signed(STRANGER, nonce=0)))
    assert fresh_world.node.nonce(TREASURY, "pending") == 0


def test_a_transaction_of_another_chain_is_not_sent(observer: Observer, fresh_world: World) -> None:
    """Bytes signed for another chain are refused here, whatever the node would do."""
    with pytest.raises(ChainError, match="chain 1"):
        observer.broadcast(fresh_world.signed(STRANGER, nonce=0, chain_id=1))


@pytest.mark.parametrize(("data", "status"), [(b"", "confirmed"), (b"\1\2\3\4", "reverted")])
def test_a_confirmation_convinces_whoever_has_the_key(
    observer: Observer, fresh_world: World, data: bytes, status: str
) -> None:
    """Signed header, receipt and bytes with their proofs; a revert is confirmed as one."""
    to = fresh_world.deployment.router if data else STRANGER
    raw = fresh_world.signed(to, nonce=0, data=data)
    observer.broadcast(raw)
    fresh_world.node.call("anvil_mine", "0x1")
    answer = observer.confirm(keccak(raw))
    header = attested_header(observer, answer)
    proofs = {
        name: [bytes.fromhex(node) for node in answer[name]]
        for name in ("receipt_proof", "transaction_proof")
    }
    receipt_raw, index = bytes.fromhex(answer["receipt"]), answer["index"]
    receipt = verify_receipt(header.receipts_root, index, receipt_raw, proofs["receipt_proof"])
    verify_transaction(header.transactions_root, index, raw, proofs["transaction_proof"])
    assert (answer["status"], answer["raw"], receipt.succeeded) == (status, raw.hex(), status == "confirmed")


def test_unknown_stays_unknown(observer: Observer) -> None:
    """What was never sent is unknown, with nothing signed about it."""
    assert observer.confirm(b"\1" * 32) == {"status": "unknown"}


def test_a_reorganised_confirmation_is_withdrawn(observer: Observer, fresh_world: World) -> None:
    """After its block was replaced a transaction is unknown again; sending the same bytes mines it again."""
    raw = fresh_world.signed(STRANGER, nonce=0, value=7)
    observer.broadcast(raw)
    fresh_world.node.call("anvil_mine", "0x1")
    first = observer.confirm(keccak(raw))
    depth = fresh_world.node.head().number - attested_header(observer, first).number + 1
    fresh_world.node.call("anvil_reorg", depth, [])
    assert observer.confirm(keccak(raw)) == {"status": "unknown"}
    observer.broadcast(raw)
    fresh_world.node.call("anvil_mine", "0x1")
    again = observer.confirm(keccak(raw))
    assert again["status"] == "confirmed"
    assert again["header"] != first["header"]
    assert fresh_world.node.chain_id() == chain.CHAIN_ID


def test_which_blocks_are_safe_and_final(observer: Observer, fresh_world: World) -> None:
    """Both headers are the chain's own at their numbers, and signed like any header."""
    fresh_world.node.call("anvil_mine", hex(80))
    told = observer.finality()
    head = fresh_world.node.head().number
    for tag, depth in (("safe", 32), ("finalized", 64)):
        document = verified(observer, told[tag]["attestation"], HEADER_LINE)
        assert document["block"]["number"] == head - depth
        assert document["block"]["hash"] == fresh_world.node.header_at(head - depth).hash().hex()
        assert told[tag]["accounts"] == []
