"""What a call inside a call may be: every one is judged as if it were the only one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.evm.plans import (
    Packed,
    Plan,
    aggregate3,
    command,
    fragment_of,
    multi_send,
    multicall,
    router,
    safe,
)
from tests.rules.build import (
    DEPLOYMENT,
    NOW,
    World,
    accounts,
    address,
    digest_of,
)
from workbench.evm import calldata
from workbench.evm.carriers import Operation
from workbench.evm.proof import Account
from workbench.evm.tree import Source
from workbench.rules import calls, cedar
from workbench.rules.attestation import State
from workbench.rules.documents import write_time
from workbench.rules.facts import compute

Json = dict[str, Any]

USDC, ROUTER = DEPLOYMENT.usdc, DEPLOYMENT.router
SAFE, BATCHES, MANY = address("safe"), address("batches"), address("many")
STRANGER = address("stranger")
AMOUNT = 1_000_000 * 10**6
TRANSFER = Packed("a9059cbb", ["address", "uint256"], [STRANGER, AMOUNT]).data()
CALL, DELEGATED = Operation.CALL, Operation.DELEGATECALL
CARRIERS = {
    ROUTER: ["ac9650d8", "3593564c"],
    SAFE: ["6a761202"],
    BATCHES: ["8d80ff0a"],
    MANY: ["82ad56cb"],
}


def entry(to: str, **changes: Any) -> Json:
    """Return a whitelist entry of carriers, every argument of which may be anything."""
    functions = []
    for selector in CARRIERS[to]:
        fragment = fragment_of(selector)
        names = [each["name"] for each in fragment["inputs"]]
        functions.append({"fragment": fragment, "bounds": {name: {"any": True} for name in names}})
    return {
        "address": to,
        "name": f"carrier {to[:6]}",
        "chain_id": DEPLOYMENT.chain_id,
        "code_hash": digest_of(to),
        "expires_at": write_time(NOW + timedelta(days=1)),
        "audit": "reviewed",
        "functions": functions,
    } | changes


def carrying(world: World, **changes: Any) -> World:
    """Return the desk with carriers on its whitelist; `changes` bend the entry of the batches."""

    def change(entries: list[Json]) -> list[Json]:
        first = entries[0] | {"functions": entries[0]["functions"] + entry(ROUTER)["functions"]}
        return [first, *entries[1:], entry(SAFE), entry(BATCHES, **changes), entry(MANY)]

    return replace(world, policy=world.policy_with("whitelist.json", change))


def swap(world: World, **params: Any) -> Plan:
    """Return the desk's swap, with other arguments."""
    data = bytes.fromhex(world.swap().data)
    arguments = calldata.decode(data, [calldata.EXACT_INPUT_SINGLE]).arguments
    bent = {"params": arguments["params"] | params}
    return Plan(ROUTER, calldata.encode(calldata.EXACT_INPUT_SINGLE, bent))


def approve(world: World, **changes: Any) -> Plan:
    """Return the approval of the router for a million."""
    return Plan(USDC, bytes.fromhex(world.approval().data), **changes)


def batch(*children: Plan, operation: Operation = DELEGATED, value: int = 0, to: str = BATCHES) -> Plan:
    """Return a Safe's batch, run as Safe runs it."""
    return Plan(SAFE, safe(Plan(to, multi_send(*children), operation=operation, value=value)))


Make = Callable[[World], Plan]


SWAPS: Sequence[Any] = [
    pytest.param(swap, (True, True), id="the swap alone"),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w))), (True, True), id="the swap in the router's multicall"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(Plan(ROUTER, multicall(swap(w))))),
        (True, True),
        id="the swap two deep",
    ),
    pytest.param(lambda _: Plan(ROUTER, multicall()), (True, True), id="a multicall of nothing"),
    pytest.param(lambda w: Plan(MANY, aggregate3(swap(w))), (True, True), id="the swap by Multicall3"),
    pytest.param(lambda w: batch(swap(w)), (True, True), id="the swap in a Safe's batch"),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w, recipient=STRANGER))),
        (True, False),
        id="(4) an inner recipient that is not ours",
    ),
    pytest.param(
        lambda w: batch(swap(w, amountOutMinimum="0")), (True, False), id="(4) no minimum, two deep"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w), swap(w))),
        (True, False),
        id="(5) the declared outflow twice",
    ),
    pytest.param(
        lambda w: batch(swap(w), approve(w)),
        (True, True),
        id="(5) one outflow and one allowance, each declared once",
    ),
    pytest.param(
        lambda w: batch(approve(w), approve(w)), (True, False), id="(5) the declared allowance twice"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w), Plan(ROUTER, TRANSFER))),
        (False, False),
        id="(1) a guess beside the swap",
    ),
    pytest.param(
        lambda w: batch(swap(w), Plan(USDC, TRANSFER)),
        (False, False),
        id="(1) a transfer of a token whose entry allows approvals only",
    ),
    pytest.param(
        lambda w: batch(Plan(STRANGER, swap(w).data)), (False, False), id="(1) the swap at a stranger's"
    ),
    pytest.param(
        lambda _: batch(Plan(USDC, b"\xde\xad\xbe\xef")), (False, False), id="(1) a function of nobody's"
    ),
    pytest.param(lambda _: batch(Plan(USDC, b"")), (False, False), id="(1) ether sent without a call"),
    pytest.param(
        lambda _: Plan(ROUTER, router(command(0x05, ROUTER))),
        (False, False),
        id="(1) a command of the universal router",
    ),
    pytest.param(lambda _: Plan(ROUTER, router()), (True, True), id="a router that is told nothing"),
    pytest.param(
        lambda w: Plan(STRANGER, multicall(swap(w))), (False, False), id="(1) a multicall of a stranger's"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w)) + b"\0"), (False, False), id="a byte behind a multicall"
    ),
    pytest.param(
        lambda w: batch(approve(w, operation=DELEGATED)),
        (False, True),
        id="(2) a reviewed function as foreign code in the Safe's place",
    ),
    pytest.param(
        lambda _: batch(Plan(STRANGER, TRANSFER, operation=DELEGATED)),
        (False, False),
        id="(2) a stranger's code in the Safe's place",
    ),
    pytest.param(
        lambda w: batch(swap(w), to=STRANGER), (False, False), id="(2) a batch by a stranger's code"
    ),
    pytest.param(lambda w: batch(swap(w), operation=CALL), (True, True), id="(2) a batch that is called"),
    pytest.param(
        lambda w: Plan(MANY, aggregate3(swap(w), approve(w))),
        (False, True),
        id="(3) an approval that may fail alone",
    ),
    pytest.param(
        lambda w: batch(replace(swap(w), value=5)), (True, True), id="(6) as much ether as the intent sends"
    ),
    pytest.param(
        lambda w: batch(replace(swap(w), value=6)), (True, False), id="(6) a wei more than the intent sends"
    ),
    pytest.param(
        lambda w: batch(replace(swap(w), value=3), approve(w, value=3)),
        (True, False),
        id="(6) more than the intent sends, in two parts",
    ),
    pytest.param(
        lambda w: batch(swap(w), value=1), (True, False), id="(6) ether beside a delegated call, unsent"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w), Plan(ROUTER, multicall()))),
        (True, True),
        id="(6) a multicall's own value is not counted again",
    ),
]


@pytest.mark.parametrize(("make", "expected"), SWAPS)
def test_what_is_understood_and_within_bounds(world: World, make: Make, expected: tuple[bool, bool]) -> None:
    """Each call within is read by its own contract's entry, and bounded by it."""
    desk = carrying(world)
    plan = make(desk)
    allowance = desk.approval().dump()["allowances"]
    intent = desk.swap(to=plan.to, data=plan.data.hex(), value="5", allowances=allowance)
    found = compute(desk.given(intent, state=None))
    assert (found["calls_understood"], found["arguments_within_bounds"]) == expected


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"expires_at": write_time(NOW)}, id="over"),
        pytest.param({"chain_id": 1}, id="for another chain"),
    ],
)
def test_an_entry_that_is_not_in_force(world: World, changes: Json) -> None:
    """The outermost contract's entry stands; that of a contract inside does not."""
    desk = carrying(world, **changes)
    intent = desk.swap(to=SAFE, data=batch(swap(desk)).data.hex())
    found = compute(desk.given(intent, state=None))
    assert found["contract_whitelisted"] is True
    assert found["calls_understood"] is False


FORWARD = {
    "type": "function",
    "name": "forward",
    "inputs": [{"name": "to", "type": "address"}, {"name": "data", "type": "bytes"}],
}
PARTS = [{"name": "to", "type": "address"}, {"name": "data", "type": "bytes"}]
EVERY = {
    "type": "function",
    "name": "every",
    "inputs": [{"name": "all", "type": "tuple[]", "components": PARTS}],
}
WITHIN = {
    "type": "function",
    "name": "within",
    "inputs": [{"name": "one", "type": "tuple", "components": PARTS}],
}
HASHED = {"type": "function", "name": "hashed", "inputs": [{"name": "hash", "type": "bytes32"}]}
ANY: Json = {"any": True}


@pytest.mark.parametrize(
    ("fragment", "arguments", "bounds", "expected"),
    [
        pytest.param(
            FORWARD,
            {"to": STRANGER, "data": TRANSFER.hex()},
            {"to": ANY, "data": ANY},
            False,
            id="bytes that may be anything",
        ),
        pytest.param(
            FORWARD,
            {"to": STRANGER, "data": TRANSFER.hex()},
            {"to": ANY, "data": {"one_of": [TRANSFER.hex()]}},
            True,
            id="bytes that were reviewed, one by one",
        ),
        pytest.param(
            EVERY, {"all": [{"to": STRANGER, "data": ""}]}, {"all": ANY}, False, id="a list with bytes in it"
        ),
        pytest.param(
            WITHIN,
            {"one": {"to": STRANGER, "data": ""}},
            {"one.to": ANY, "one.data": ANY},
            False,
            id="bytes in a tuple",
        ),
        pytest.param(
            HASHED, {"hash": "11" * 32}, {"hash": ANY}, True, id="bytes of one length carry nothing"
        ),
    ],
)
def test_bytes_that_nobody_reads(
    world: World, fragment: Json, arguments: Json, bounds: Json, *, expected: bool
) -> None:
    """(4) A function that is not well known could forward its bytes: `any` does not bound them."""
    function = {"fragment": fragment, "bounds": bounds}

    def change(entries: list[Json]) -> list[Json]:
        return [entries[0] | {"functions": [function]}, *entries[1:]]

    policy = world.policy_with("whitelist.json", change)
    intent = world.swap(data=calldata.encode(fragment, arguments).hex())
    assert compute(world.given(intent, policy=policy))["arguments_within_bounds"] is expected


def coded(**changed: str) -> State:
    """Return a state in which the contracts have their reviewed code; `changed` names others, "" none."""
    known = {
        name: replace(accounts()[ROUTER], code_hash=bytes.fromhex(digest_of(name)))
        for name in (SAFE, BATCHES)
    }
    proven: dict[str, Account] = accounts() | known
    for name, code in changed.items():
        to = {"batches": BATCHES, "safe": SAFE, "router": ROUTER}[name]
        if code:
            proven[to] = replace(proven[to], code_hash=bytes.fromhex(digest_of(code)))
        else:
            del proven[to]
    return State(100, digest_of("block"), NOW, NOW, 10**9, proven)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, True, id="all as reviewed"),
        pytest.param({"batches": "other"}, False, id="other code in the middle"),
        pytest.param({"router": "other"}, False, id="other code at the end"),
        pytest.param({"safe": "other"}, False, id="other code at the beginning"),
        pytest.param({"router": ""}, False, id="nothing proven of the last"),
    ],
)
def test_the_code_of_every_contract(world: World, changed: dict[str, str], expected: bool) -> None:  # noqa: FBT001
    """(7) Each contract that is called is proven to be what was reviewed."""
    desk = carrying(world)
    intent = desk.swap(to=SAFE, data=batch(swap(desk)).data.hex())
    assert calls.targets(calls.read(intent, desk.policy)) == [SAFE, BATCHES, ROUTER]
    found = compute(desk.given(intent, state=coded(**changed)))
    assert found["code_unchanged"] is expected


def test_the_desk_denies_what_is_not_understood(world: World) -> None:
    """A transfer hidden in a multicall is denied by the rule's name, at release and at signature."""
    desk = carrying(world)
    plan = Plan(ROUTER, multicall(swap(desk), Plan(ROUTER, TRANSFER)))
    intent = desk.swap(data=plan.data.hex())
    root = calls.read(intent, desk.policy)
    assert [each.source for each in root.children] == [Source.WHITELIST, Source.SELECTOR]
    known = compute(desk.given(intent))
    for action in cedar.REQUIRED:
        said = cedar.explain(
            desk.policy,
            action,
            proposer=desk.policy.proposer(intent.proposer),
            key=desk.policy.key(intent.key),
            facts=known,
        )
        assert {"contract.calls", "contract.arguments"} <= set(said.denying)
        assert "review:calls" in said.needs
