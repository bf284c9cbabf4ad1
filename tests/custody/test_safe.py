"""A Safe 1.4.1 on a real chain with five owners, each with a SoftHSM token in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings

from tests.chain.world import PACKAGES
from tests.custody.owner import Answer, Owner, Question, start
from tests.evm.plans import Plan, multi_send
from tests.evm.test_safe import SORTED, signed, transactions
from tests.rules.test_safe import CHANGES
from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import Node
from workbench.chain.safe import proven_safe
from workbench.chain.state import proven_account
from workbench.demo import node as chain
from workbench.demo import safe as demo
from workbench.demo.newswap import DEPLOYER
from workbench.evm import calldata, known, safe_storage
from workbench.evm import safe as safes
from workbench.evm.carriers import Operation
from workbench.evm.fields import address_bytes, checksummed, from_rpc_quantity
from workbench.evm.safe import OwnerSignature, SafeTx
from workbench.rules import safe as rules
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Proposed, Proven
from workbench.rules.safe_pins import Pinned

PAID, THIRD = checksummed(b"\x99" * 20), checksummed(b"\x98" * 20)
ETHER = 10**18
SALTS = count()
EXECUTION_SUCCESS = "0x442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e"


@dataclass(frozen=True)
class Desk:
    """A Safe with money in it, its owners, and the chain."""

    node: Node
    pinned: Pinned
    owners: Sequence[Owner]

    def proven(self) -> Proven:
        """Return what is proven of the Safe at the head."""
        found = proven_safe(self.node, self.node.head(), self.pinned.safe, others=self.pinned.code_hashes)
        return found.proven

    def tx(self, **changes: Any) -> SafeTx:
        """Return a payment under the next nonce, with changes."""
        nonce = self.proven().holding.nonce
        plain = SafeTx(to=PAID, value=ETHER, data=b"", operation=Operation.CALL, nonce=nonce)
        return replace(plain, **changes)

    def batch(self, *children: Plan) -> SafeTx:
        """Return a batch under the next nonce."""
        return self.tx(
            to=self.pinned.multi_send, value=0, data=multi_send(*children), operation=Operation.DELEGATECALL
        )

    def proposed(self, tx: SafeTx, **changes: Any) -> Proposed:
        """Return a transaction as it is put before owners."""
        return replace(Proposed(chain_id=self.pinned.chain_id, safe=self.pinned.safe, tx=tx), **changes)

    def ask(
        self, proposed: Proposed, *, pinned: Pinned | None = None, approvals: Sequence[str] = ()
    ) -> list[Answer]:
        """Ask every owner."""
        question = Question(proposed, pinned or self.pinned, self.proven(), approvals, {})
        return [owner.ask(question) for owner in self.owners]

    def signatures(self, tx: SafeTx, number: int, **asked: Any) -> list[OwnerSignature]:
        """Return so many owners' signatures, in ascending order of their addresses."""
        said = [answer.said for answer in self.ask(self.proposed(tx), **asked)]
        found = [each for each in said if isinstance(each, OwnerSignature)]
        assert len(found) == len(self.owners), said
        return sorted(found, key=lambda each: address_bytes(each.owner))[:number]

    def execute(self, tx: SafeTx, signatures: bytes) -> dict[str, Any]:
        """Have the Safe carry it out; anybody may."""
        return chain.send(
            self.node, sender=DEPLOYER, to=self.pinned.safe, data=safes.execution(tx, signatures)
        )

    def fails(self, tx: SafeTx, signatures: bytes, code: str) -> None:
        """Check that the contract refuses it with its code, and that nothing changes."""
        before = (self.proven().holding, self.balance(self.pinned.safe))
        with pytest.raises(RpcError, match=code):
            self.node.eth_call(self.pinned.safe, safes.execution(tx, signatures), "latest")
        with pytest.raises(NodeError, match="reverted"):
            self.execute(tx, signatures)
        assert (self.proven().holding, self.balance(self.pinned.safe)) == before

    def refused(self, proposed: Proposed, code: Refusal, **asked: Any) -> None:
        """Check that each owner refuses, no token has signed, and the Safe stands where it stood."""
        before = (self.proven(), self.balance(self.pinned.safe), self.signed())
        assert [answer.said for answer in self.ask(proposed, **asked)] == [code] * len(self.owners)
        assert (self.proven(), self.balance(self.pinned.safe), self.signed()) == before

    def signed(self) -> list[int]:
        """Return how often each token has signed."""
        nothing = self.proposed(self.tx(), chain_id=1)
        return [answer.signed for answer in self.ask(nothing)]

    def balance(self, address: str) -> int:
        """Return what an address has."""
        return from_rpc_quantity(self.node.call("eth_getBalance", address, "latest"))


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Owner]]:
    """Five owners, each with a token of its own."""
    folder = tmp_path_factory.mktemp("owners")
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda name: start(folder / name, name), [f"owner-{each}" for each in range(5)])
        )
    yield found
    for each in found:
        each.end()


@pytest.fixture(scope="module")
def contracts() -> Iterator[tuple[Node, demo.SafeContracts]]:
    """A chain with what Safes share."""
    with chain.start(PACKAGES) as anvil:
        node = Node(anvil.url)
        yield node, demo.deploy(node, PACKAGES)
        node.close()


@pytest.fixture
def desk(owners: list[Owner], contracts: tuple[Node, demo.SafeContracts]) -> Desk:
    """A fresh Safe, three of five, with ten ether."""
    node, shared = contracts
    names = [each.address for each in owners]
    pinned = demo.open_safe(node, shared, owners=names, threshold=3, salt=next(SALTS))
    chain.send(node, sender=DEPLOYER, to=pinned.safe, value=10 * ETHER)
    return Desk(node, pinned, owners)


def test_three_of_five_pay(desk: Desk) -> None:
    """Three signatures of HSM keys move the money, and the nonce is used up."""
    tx, before = desk.tx(), desk.balance(PAID)
    blob = safes.join(desk.signatures(tx, 3))
    assert len(rules.verify_signatures(blob, desk.proposed(tx), desk.pinned)) == 3
    receipt = desk.execute(tx, blob)
    assert EXECUTION_SUCCESS in [log["topics"][0] for log in receipt["logs"]]
    assert desk.balance(PAID) - before == ETHER
    assert desk.balance(desk.pinned.safe) == 9 * ETHER
    assert desk.proven().holding.nonce == 1


def test_a_batch_pays_two(desk: Desk) -> None:
    """The pinned MultiSend runs in the Safe's place, each of its operations a call."""
    tx, before = desk.batch(Plan(PAID, b"", value=1), Plan(THIRD, b"", value=2)), desk.balance(THIRD)
    desk.execute(tx, safes.join(desk.signatures(tx, 3)))
    assert desk.balance(THIRD) - before == 2


def test_a_cancel_uses_the_nonce_up(desk: Desk) -> None:
    """What was signed and not carried out is worth nothing afterwards."""
    tx = desk.tx()
    blob = safes.join(desk.signatures(tx, 3))
    cancel = desk.tx(to=desk.pinned.safe, value=0)
    desk.execute(cancel, safes.join(desk.signatures(cancel, 3)))
    assert desk.balance(desk.pinned.safe) == 10 * ETHER
    desk.fails(tx, blob, "GS026")


def test_two_of_five_do_not(desk: Desk) -> None:
    """The contract and our own reading refuse it alike."""
    tx = desk.tx()
    blob = safes.join(desk.signatures(tx, 2))
    with pytest.raises(RefusedError) as refused:
        rules.verify_signatures(blob, desk.proposed(tx), desk.pinned)
    assert refused.value.code is Refusal.SAFE_SIGNATURES
    desk.fails(tx, blob, "GS020")


def test_a_replay_does_not(desk: Desk) -> None:
    """The same signatures are another nonce's, and recover to nobody."""
    tx = desk.tx()
    blob = safes.join(desk.signatures(tx, 3))
    desk.execute(tx, blob)
    desk.fails(tx, blob, "GS026")
    with pytest.raises(RefusedError) as refused:
        rules.verify_signatures(blob, desk.proposed(desk.tx()), desk.pinned)
    assert refused.value.code is Refusal.SAFE_SIGNATURES


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2, 1], [0, 0, 1]], ids=["first", "last", "one twice"])
def test_the_wrong_order_does_not(desk: Desk, order: list[int]) -> None:
    """Descending owners, and one who signs twice, are refused by both."""
    tx = desk.tx()
    made = desk.signatures(tx, 3)
    blob = b"".join(made[place].encoded() for place in order)
    with pytest.raises(RefusedError) as refused:
        rules.verify_signatures(blob, desk.proposed(tx), desk.pinned)
    assert refused.value.code is Refusal.SAFE_SIGNATURES
    desk.fails(tx, blob, "GS026")


@pytest.mark.parametrize("deep", [1, 2], ids=["in a batch", "in a batch in a batch"])
def test_a_hidden_delegatecall_gets_no_signature(desk: Desk, deep: int) -> None:
    """Behind a harmless payment, code of a stranger: no owner signs, and the nonce stays."""
    hidden = Plan(THIRD, b"\xde\xad\xbe\xef", operation=Operation.DELEGATECALL)
    data = multi_send(Plan(PAID, b"", value=1), hidden)
    for _ in range(deep - 1):
        data = multi_send(Plan(desk.pinned.multi_send, data))
    tx = desk.tx(to=desk.pinned.multi_send, value=0, data=data, operation=Operation.DELEGATECALL)
    desk.refused(desk.proposed(tx), Refusal.SAFE_DELEGATECALL)


@pytest.mark.parametrize("name", CHANGES)
def test_a_critical_change_gets_no_signature(desk: Desk, name: str) -> None:
    """Alone or in a batch, whoever approves: no quorum is stated for it."""
    data = CHANGES[name].data()
    approvals = ["cro", "ciso", "coo", "pm"]
    alone = desk.tx(to=desk.pinned.safe, value=0, data=data)
    desk.refused(desk.proposed(alone), Refusal.SAFE_CRITICAL, approvals=approvals)
    together = desk.batch(Plan(PAID, b"", value=1), Plan(desk.pinned.safe, data))
    desk.refused(desk.proposed(together), Refusal.SAFE_CRITICAL, approvals=approvals)


def test_a_critical_change_by_its_own_quorum(desk: Desk) -> None:
    """Where a higher quorum is stated and kept it goes through; then the Safe is not as pinned."""
    higher = replace(desk.pinned, critical_quorum=4)
    data = CHANGES["changeThreshold(uint256)"].data()
    tx = desk.tx(to=desk.pinned.safe, value=0, data=data)
    approvals = ["cro", "ciso", "coo", "pm"]
    desk.refused(desk.proposed(tx), Refusal.SAFE_CRITICAL, pinned=higher, approvals=approvals[:3])
    desk.execute(tx, safes.join(desk.signatures(tx, 3, pinned=higher, approvals=approvals)))
    assert desk.proven().holding.threshold == 1
    desk.refused(desk.proposed(desk.tx()), Refusal.SAFE_CHANGED)


@pytest.mark.parametrize(
    ("tx", "where", "code"),
    [
        pytest.param({}, {"chain_id": 1}, Refusal.CHAIN_OTHER, id="another chain"),
        pytest.param({}, {"safe": THIRD}, Refusal.SAFE_OTHER, id="another Safe"),
        pytest.param({"nonce": 1}, {}, Refusal.NONCE_GAP, id="a later nonce"),
        pytest.param({"gas_price": 1}, {}, Refusal.SAFE_REFUND, id="a refund"),
        pytest.param({"gas_token": THIRD}, {}, Refusal.SAFE_REFUND, id="a refund in a token"),
        pytest.param({"refund_receiver": THIRD}, {}, Refusal.SAFE_REFUND, id="a refund's receiver"),
        pytest.param({"safe_tx_gas": 1}, {}, Refusal.SAFE_MAY_FAIL, id="gas of its own"),
        pytest.param(
            {"operation": Operation.DELEGATECALL}, {}, Refusal.SAFE_DELEGATECALL, id="a stranger's code"
        ),
    ],
)
def test_what_no_owner_signs(desk: Desk, tx: dict[str, Any], where: dict[str, Any], code: Refusal) -> None:
    """Each is refused by every owner before its token is asked."""
    desk.refused(desk.proposed(desk.tx(**tx), **where), code)


def test_a_spent_nonce(desk: Desk) -> None:
    """No owner signs again under a nonce that the Safe has used."""
    tx = desk.tx()
    desk.execute(tx, safes.join(desk.signatures(tx, 3)))
    desk.refused(desk.proposed(replace(tx, value=2)), Refusal.NONCE_USED)


@pytest.mark.parametrize(
    "slot",
    [safe_storage.SINGLETON, safe_storage.GUARD, safe_storage.FALLBACK],
    ids=["singleton", "guard", "handler"],
)
def test_a_safe_that_is_not_as_pinned(desk: Desk, slot: bytes) -> None:
    """Whoever changed the Safe, by whatever way: what is proven is not what is pinned, and nobody signs."""
    proposed, seen = desk.proposed(desk.tx()), desk.proven()
    changed = {
        safe_storage.SINGLETON: replace(seen.holding, singleton=THIRD),
        safe_storage.GUARD: replace(seen.holding, guard=THIRD),
        safe_storage.FALLBACK: replace(seen.holding, fallback_handler=THIRD),
    }[slot]
    signed = desk.signed()
    desk.node.call(
        "anvil_setStorageAt", desk.pinned.safe, "0x" + slot.hex(), "0x" + bytes(12).hex() + THIRD[2:]
    )
    desk.node.call("anvil_mine", "0x1")
    if slot == safe_storage.SINGLETON:  # nobody answers as a Safe any more
        with pytest.raises(NodeError):
            desk.proven()
        proven = replace(seen, holding=changed)
    else:
        proven = desk.proven()
        assert proven.holding == changed
    question = Question(proposed, desk.pinned, proven, (), {})
    answers = [owner.ask(question) for owner in desk.owners]
    assert [answer.said for answer in answers] == [Refusal.SAFE_CHANGED] * 5
    assert [answer.signed for answer in answers] == signed


class Forgetful(Node):
    """A node that leaves an owner out, and everything else as it is."""

    def eth_call(self, to: str, data: bytes, block: str) -> bytes:
        """Return the answer, a list of owners without its last."""
        answer = super().eth_call(to, data, block)
        if data != calldata.encode(known.fragment("getOwners()"), {}):
            return answer
        number = int.from_bytes(answer[32:64])
        return answer[:32] + (number - 1).to_bytes(32) + answer[64:-32]


def test_a_node_that_leaves_an_owner_out(desk: Desk) -> None:
    """Its list only says which slots to prove; the one that is missing refuses the reading."""
    node = Forgetful(desk.node.url)
    with pytest.raises(NodeError, match="was not proven"):
        proven_safe(node, node.head(), desk.pinned.safe, others=())
    node.close()


def test_what_is_no_safe(desk: Desk) -> None:
    """An account without code is not read as one."""
    with pytest.raises(NodeError, match="does not answer as a Safe"):
        proven_safe(desk.node, desk.node.head(), THIRD, others=())


HASH = known.fragment(
    "getTransactionHash(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, "
    "uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, uint256 nonce)"
)


def test_the_hash_is_the_contracts(contracts: tuple[Node, demo.SafeContracts], owners: list[Owner]) -> None:
    """Fifty random transactions: what we derive is what the contract itself says."""
    node, shared = contracts
    names = [each.address for each in owners]
    pinned = demo.open_safe(node, shared, owners=names, threshold=3, salt=next(SALTS))

    @settings(max_examples=50, deadline=None)
    @given(transactions)
    def same(tx: SafeTx) -> None:
        given = calldata.decode(safes.execution(tx, b""), [safes.EXECUTE]).arguments
        del given["signatures"]
        asked = calldata.encode(HASH, given | {"nonce": str(tx.nonce)})
        told = node.eth_call(pinned.safe, asked, "latest")
        assert tx.digest(chain_id=pinned.chain_id, safe=pinned.safe) == told

    same()


TAKING = bytes.fromhex("73" + THIRD[2:] + "5f5500")
"""PUSH20, PUSH0, SSTORE, STOP: code that puts a stranger in the singleton's place."""


def test_what_a_blind_owner_would_have_signed(contracts: tuple[Node, demo.SafeContracts]) -> None:
    """A hidden call, signed by keys that ask no rule, run by the MultiSend that delegates: all is lost."""
    node, shared = contracts
    delegating = demo._create(node, demo._artifact(PACKAGES, "libraries/MultiSend.sol/MultiSend.json"))
    code = proven_account(node, node.head(), delegating).account.code_hash
    opened = demo.open_safe(node, shared, owners=SORTED, threshold=3, salt=next(SALTS))
    pinned = replace(opened, multi_send=delegating, code_hashes={**opened.code_hashes, delegating: code})
    stranger = checksummed(b"\xbe" * 20)
    node.call("anvil_setCode", stranger, "0x" + TAKING.hex())
    node.call("anvil_mine", "0x1")  # so that a state root has it
    data = multi_send(Plan(PAID, b""), Plan(stranger, b"", operation=Operation.DELEGATECALL))
    tx = SafeTx(to=delegating, value=0, data=data, operation=Operation.DELEGATECALL, nonce=0)
    proposed = Proposed(chain_id=pinned.chain_id, safe=pinned.safe, tx=tx)
    proven = proven_safe(node, node.head(), pinned.safe, others=pinned.code_hashes).proven
    with pytest.raises(RefusedError) as refused:
        rules.verify_may_sign(proposed, pinned=pinned, proven=proven, approvals=(), abis={})
    assert refused.value.code is Refusal.SAFE_DELEGATECALL
    blob = safes.join(signed(owner, proposed.digest()) for owner in SORTED[:3])
    chain.send(node, sender=DEPLOYER, to=pinned.safe, data=safes.execution(tx, blob))
    singleton = node.call("eth_getStorageAt", pinned.safe, "0x0", "latest")
    assert checksummed(node.read_hex(singleton, size=32)[12:]) == THIRD
