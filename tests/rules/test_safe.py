"""What an owner of a Safe may sign: each rule with the transaction that breaks it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evm.plans import Packed, Plan, aggregate3, multi_send, multicall, plans
from tests.evm.plans import safe as other_safe
from tests.evm.test_safe import OWNERS, SAFE, SORTED, signed
from workbench.evm import safe as safes
from workbench.evm import safe_storage
from workbench.evm.calldata import DATA_BYTES_MAX
from workbench.evm.carriers import NOBODY, Operation
from workbench.evm.fields import checksummed
from workbench.evm.proof import ABSENT, Account
from workbench.evm.safe import SafeTx
from workbench.evm.safe_storage import Holding
from workbench.evm.tree import Abi
from workbench.rules import safe as rules
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe import Judged, Proposed, Proven
from workbench.rules.safe_pins import Pinned

CHAIN = 31337
SINGLETON, MULTI_SEND, HANDLER, OTHER = (checksummed(bytes([each]) * 20) for each in (0x51, 0x35, 0xFA, 0x77))
CODES = {address: bytes([number]) * 32 for number, address in enumerate((SAFE, SINGLETON, MULTI_SEND), 1)}
PINNED = Pinned(
    chain_id=CHAIN,
    safe=SAFE,
    singleton=SINGLETON,
    multi_send=MULTI_SEND,
    owners=frozenset(SORTED),
    threshold=3,
    guard=NOBODY,
    fallback_handler=HANDLER,
    modules=frozenset(),
    code_hashes=CODES,
    critical_quorum=None,
)
HOLDING = Holding(
    singleton=SINGLETON,
    owners=tuple(SORTED),
    threshold=3,
    nonce=3,
    guard=NOBODY,
    fallback_handler=HANDLER,
    modules=(),
)
ACCOUNTS: Mapping[str, Account] = {
    address: replace(ABSENT, code_hash=code_hash) for address, code_hash in CODES.items()
}
PROVEN = Proven(holding=HOLDING, accounts=ACCOUNTS)
WORD, DELEGATE = "address", Operation.DELEGATECALL
TRANSFER = Packed("a9059cbb", [WORD, "uint256"], [OTHER, 5]).data()
APPROVE = Packed("095ea7b3", [WORD, "uint256"], [OTHER, 5]).data()
PLAIN = SafeTx(to=OTHER, value=0, data=TRANSFER, operation=Operation.CALL, nonce=3)
QUORUM = ["cro", "ciso", "coo", "pm"]

CHANGES = {
    # by their published selectors, so that the rule's own table is not what says them
    "setGuard(address)": Packed("e19a9dd9", [WORD], [OTHER]),
    "setModuleGuard(address)": Packed("e068df37", [WORD], [OTHER]),
    "setFallbackHandler(address)": Packed("f08a0323", [WORD], [OTHER]),
    "enableModule(address)": Packed("610b5925", [WORD], [OTHER]),
    "disableModule(address,address)": Packed("e009cfde", [WORD, WORD], [OTHER, OTHER]),
    "addOwnerWithThreshold(address,uint256)": Packed("0d582f13", [WORD, "uint256"], [OTHER, 1]),
    "removeOwner(address,address,uint256)": Packed("f8dc5dd9", [WORD, WORD, "uint256"], [OTHER, OTHER, 1]),
    "swapOwner(address,address,address)": Packed("e318b52b", [WORD] * 3, [OTHER] * 3),
    "changeThreshold(uint256)": Packed("694e80c3", ["uint256"], [1]),
}


def batch(*children: Plan) -> SafeTx:
    """Return a batch as the Safe runs it."""
    return SafeTx(to=MULTI_SEND, value=0, data=multi_send(*children), operation=DELEGATE, nonce=3)


def judged(
    tx: SafeTx,
    *,
    pinned: Pinned = PINNED,
    proven: Proven = PROVEN,
    approvals: list[str] = QUORUM,
    abis: Mapping[str, Abi] | None = None,
    chain_id: int = CHAIN,
    safe: str = SAFE,
) -> Judged:
    """Return what the rules say."""
    proposed = Proposed(chain_id=chain_id, safe=safe, tx=tx)
    return rules.verify_may_sign(proposed, pinned=pinned, proven=proven, approvals=approvals, abis=abis or {})


def refusal(tx: SafeTx, **changes: Any) -> RefusedError:
    """Return what it is refused with."""
    with pytest.raises(RefusedError) as refused:
        judged(tx, **changes)
    return refused.value


@pytest.mark.parametrize(
    ("tx", "calls"),
    [
        pytest.param(PLAIN, [OTHER], id="a call"),
        pytest.param(replace(PLAIN, value=5, data=b""), [OTHER], id="ether"),
        pytest.param(
            batch(Plan(OTHER, APPROVE), Plan(OTHER, TRANSFER, value=7)),
            [MULTI_SEND, OTHER, OTHER],
            id="a batch of the pinned MultiSend",
        ),
        pytest.param(
            batch(Plan(MULTI_SEND, multi_send(Plan(OTHER, APPROVE)))),
            [MULTI_SEND, MULTI_SEND, OTHER],
            id="a batch in a batch, by calls",
        ),
        pytest.param(batch(), [MULTI_SEND], id="an empty batch"),
    ],
)
def test_what_may_be_signed(tx: SafeTx, calls: list[str]) -> None:
    """Every call is told, and nothing is critical."""
    found = judged(tx, approvals=[])
    assert [node.to for node in found.root.walk()] == calls
    assert (found.critical, found.cancels) == ((), False)


@pytest.mark.parametrize(
    ("where", "code"),
    [({"chain_id": 1}, Refusal.CHAIN_OTHER), ({"safe": OTHER}, Refusal.SAFE_OTHER)],
    ids=["another chain", "another Safe"],
)
def test_step_1_ours(where: dict[str, Any], code: Refusal) -> None:
    """A signature for another chain or Safe is never made."""
    assert refusal(PLAIN, **where).code is code


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"singleton": OTHER}, "singleton"),
        ({"owners": (*SORTED[:4], OTHER)}, "owners"),
        ({"owners": tuple(SORTED[:4])}, "owners"),
        ({"threshold": 2}, "threshold"),
        ({"guard": OTHER}, "guard"),
        ({"fallback_handler": NOBODY}, "fallback handler"),
        ({"modules": (OTHER,)}, "modules"),
    ],
    ids=["singleton", "an owner swapped", "an owner gone", "threshold", "a guard", "no handler", "a module"],
)
def test_step_1_pinned(changes: dict[str, Any], said: str) -> None:
    """A Safe that is proven to be otherwise gets no signature, whoever changed it."""
    refused = refusal(PLAIN, proven=replace(PROVEN, holding=replace(HOLDING, **changes)))
    assert (refused.code, refused.detail) == (Refusal.SAFE_CHANGED, f"not as pinned: {said}")


@pytest.mark.parametrize("address", CODES, ids=["the Safe", "the singleton", "MultiSend"])
@pytest.mark.parametrize("proven", [True, False], ids=["other code", "nothing proven"])
def test_step_1_code(address: str, *, proven: bool) -> None:
    """Other code, and code of which nothing is proven, is not as pinned."""
    accounts = {each: account for each, account in ACCOUNTS.items() if each != address}
    if proven:
        accounts[address] = replace(ABSENT, code_hash=bytes(32))
    refused = refusal(PLAIN, proven=replace(PROVEN, accounts=accounts))
    assert (refused.code, refused.detail) == (Refusal.SAFE_CHANGED, f"not as pinned: code of {address}")


@pytest.mark.parametrize(
    ("nonce", "code"), [(2, Refusal.NONCE_USED), (4, Refusal.NONCE_GAP)], ids=["spent", "ahead"]
)
def test_step_2_nonce(nonce: int, code: Refusal) -> None:
    """Only the next one is signed for."""
    assert refusal(replace(PLAIN, nonce=nonce)).code is code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"gas_price": 1}, Refusal.SAFE_REFUND),
        ({"gas_token": OTHER}, Refusal.SAFE_REFUND),
        ({"refund_receiver": OTHER}, Refusal.SAFE_REFUND),
        ({"base_gas": 1}, Refusal.SAFE_REFUND),
        ({"safe_tx_gas": 1}, Refusal.SAFE_MAY_FAIL),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_step_3_refunds(changes: dict[str, Any], code: Refusal) -> None:
    """Nobody is paid from the Safe for carrying it out, and nothing fails and is done."""
    refused = refusal(replace(PLAIN, **changes))
    assert (refused.code, refused.path) == (code, f"/{next(iter(changes))}")


HIDDEN = Plan(OTHER, TRANSFER, operation=DELEGATE)


@pytest.mark.parametrize(
    ("tx", "code"),
    [
        pytest.param(replace(PLAIN, operation=DELEGATE), Refusal.SAFE_DELEGATECALL, id="other code"),
        pytest.param(
            replace(batch(Plan(OTHER, APPROVE)), to=OTHER), Refusal.SAFE_DELEGATECALL, id="another MultiSend"
        ),
        pytest.param(
            replace(batch(), data=TRANSFER), Refusal.SAFE_DELEGATECALL, id="the pinned one's other function"
        ),
        pytest.param(replace(batch(), data=b""), Refusal.SAFE_DELEGATECALL, id="the pinned one without data"),
        pytest.param(replace(batch(), value=1), Refusal.ARGUMENT, id="a value that is not sent"),
        pytest.param(
            batch(Plan(OTHER, APPROVE), HIDDEN), Refusal.SAFE_DELEGATECALL, id="hidden behind a call"
        ),
        pytest.param(
            batch(Plan(MULTI_SEND, multi_send(HIDDEN))), Refusal.SAFE_DELEGATECALL, id="hidden two deep"
        ),
        pytest.param(
            batch(Plan(MULTI_SEND, multi_send(Plan(OTHER, APPROVE)), operation=DELEGATE)),
            Refusal.SAFE_DELEGATECALL,
            id="a batch in a batch, delegated",
        ),
        pytest.param(
            replace(PLAIN, data=multi_send(HIDDEN)), Refusal.SAFE_DELEGATECALL, id="in a batch of a stranger"
        ),
        pytest.param(
            replace(PLAIN, data=other_safe(HIDDEN)), Refusal.SAFE_DELEGATECALL, id="by another Safe"
        ),
        pytest.param(
            replace(PLAIN, data=aggregate3(Plan(OTHER, multi_send(HIDDEN)))),
            Refusal.SAFE_DELEGATECALL,
            id="within Multicall3",
        ),
        pytest.param(
            replace(PLAIN, data=multicall(Plan(OTHER, multi_send(HIDDEN)))),
            Refusal.SAFE_DELEGATECALL,
            id="within a multicall",
        ),
        pytest.param(
            replace(batch(Plan(OTHER, APPROVE)), data=batch(Plan(OTHER, APPROVE)).data + b"\0"),
            Refusal.CALLDATA,
            id="a batch with a byte behind",
        ),
        pytest.param(
            replace(batch(), data=Packed("8d80ff0a", ["bytes"], [b"\0" * 84]).data()),
            Refusal.CALLDATA,
            id="a packed call cut short",
        ),
        pytest.param(
            replace(batch(), data=Packed("8d80ff0a", ["bytes"], [b"\2" + bytes(84)]).data()),
            Refusal.CALLDATA,
            id="a third operation",
        ),
        pytest.param(batch(*[Plan(OTHER, b"")] * 128), Refusal.CALLDATA, id="more calls than anybody reads"),
    ],
)
def test_step_4_foreign_code(tx: SafeTx, code: Refusal) -> None:
    """No code but the pinned batch's runs in the Safe's place, however deep it lies."""
    assert refusal(tx).code is code


def test_step_4_size() -> None:
    """A transaction that is too large to be read with what carries it out is refused."""
    assert refusal(replace(PLAIN, data=bytes(DATA_BYTES_MAX))).code is Refusal.CALLDATA


def test_step_4_depth() -> None:
    """A batch deeper than the tree is opened is refused, whatever is in it."""
    data = multi_send(HIDDEN)
    for _ in range(9):
        data = multi_send(Plan(MULTI_SEND, data))
    assert refusal(replace(batch(), data=data)).code is Refusal.CALLDATA


@given(plans(), st.sampled_from([Operation.CALL, Operation.DELEGATECALL]))
def test_step_4_however_it_lies(plan: Plan, operation: Operation) -> None:
    """Of any calls within calls: foreign code anywhere is refused, and none is blamed where there is none."""
    tx = batch(Plan(OTHER, APPROVE), replace(plan, operation=operation))
    hidden = operation is DELEGATE or any(each.operation is DELEGATE for each in plan.walk())
    code = None
    try:
        judged(tx, abis=plan.abis())
    except RefusedError as error:
        code = error.code
    if hidden:
        assert code in (Refusal.SAFE_DELEGATECALL, Refusal.CALLDATA)
    else:
        assert code is not Refusal.SAFE_DELEGATECALL


def carried(data: bytes) -> dict[str, SafeTx]:
    """Return the same change in each place where it could stand."""
    own = Plan(SAFE, data)
    return {
        "alone": replace(PLAIN, to=SAFE, data=data),
        "in a batch": batch(Plan(OTHER, APPROVE), own),
        "two deep": batch(Plan(MULTI_SEND, multi_send(own))),
        "with bytes behind": replace(PLAIN, to=SAFE, data=data + b"\0" * 32),
        "of another Safe": replace(PLAIN, data=data),
    }


@pytest.mark.parametrize("place", carried(b""))
@pytest.mark.parametrize("name", CHANGES)
def test_step_5_each_change(name: str, place: str) -> None:
    """It is found and named wherever it stands, and denied whoever approves, unless a quorum is stated."""
    tx = carried(CHANGES[name].data())[place]
    refused = refusal(tx)
    assert refused.code is Refusal.SAFE_CRITICAL
    assert refused.detail == f"{name}: no quorum for it, 4 approve"
    higher = replace(PINNED, critical_quorum=4)
    assert refusal(tx, pinned=higher, approvals=QUORUM[:3]).code is Refusal.SAFE_CRITICAL
    assert refusal(tx, pinned=higher, approvals=[*QUORUM[:3], "cro"]).code is Refusal.SAFE_CRITICAL
    assert judged(tx, pinned=higher).critical == (name,)


@pytest.mark.parametrize(
    ("tx", "found"),
    [
        pytest.param(replace(PLAIN, to=SAFE), ("call to itself",), id="a transfer"),
        pytest.param(replace(PLAIN, to=SAFE, data=b"", value=1), ("call to itself",), id="ether to itself"),
        pytest.param(batch(Plan(SAFE, b"")), ("call to itself",), id="an empty call in a batch"),
        pytest.param(
            batch(Plan(SAFE, CHANGES["changeThreshold(uint256)"].data()), Plan(SAFE, b"\x01")),
            ("changeThreshold(uint256)", "call to itself"),
            id="two, in their order",
        ),
        pytest.param(
            batch(Plan(SAFE, other_safe(Plan(OTHER, APPROVE)))),
            ("call to itself",),
            id="its own execTransaction",
        ),
    ],
)
def test_step_5_calls_to_itself(tx: SafeTx, found: tuple[str, ...]) -> None:
    """Whatever a Safe tells itself is critical."""
    assert refusal(tx).code is Refusal.SAFE_CRITICAL
    assert judged(tx, pinned=replace(PINNED, critical_quorum=4)).critical == found


def test_step_6_the_cancel() -> None:
    """An empty call to itself uses the nonce up, and needs no more than any other."""
    found = judged(replace(PLAIN, to=SAFE, data=b""), approvals=[])
    assert (found.critical, found.cancels) == ((), True)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"threshold": 0}, id="nobody must sign"),
        pytest.param({"threshold": 6}, id="more than own it"),
        pytest.param({"critical_quorum": 3}, id="a critical quorum that is not higher"),
        pytest.param({"code_hashes": {SAFE: b""}}, id="no code pinned"),
    ],
)
def test_pins_that_are_none(changes: dict[str, Any]) -> None:
    """What would let anything pass cannot be pinned."""
    with pytest.raises(RefusedError) as refused:
        replace(PINNED, **changes)
    assert refused.value.code is Refusal.POLICY_INVALID


def test_signatures_count_by_the_pins() -> None:
    """Three owners' signatures are a quorum; two are refused by a code."""
    proposed = Proposed(chain_id=CHAIN, safe=SAFE, tx=PLAIN)
    three = [signed(owner, proposed.digest()) for owner in SORTED[:3]]
    assert rules.verify_signatures(safes.join(three), proposed, PINNED) == tuple(three)
    with pytest.raises(RefusedError) as refused:
        rules.verify_signatures(safes.join(three[:2]), proposed, PINNED)
    assert refused.value.code is Refusal.SAFE_SIGNATURES


def test_the_critical_are_nine() -> None:
    """The table has each change by its published selector, and no other."""
    assert set(rules.CRITICAL) == {each.selector for each in CHANGES.values()}
    assert set(OWNERS) == set(PINNED.owners)
    assert safe_storage.SENTINEL not in OWNERS
