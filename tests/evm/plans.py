"""Calls within calls, written by a second hand: selectors, type lists and packing stand here once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode as abi_encode
from hypothesis import strategies as st

from tests.evm.test_any_call import Json, calls, plain
from workbench.evm import calldata
from workbench.evm.carriers import Operation
from workbench.evm.tree import Abi, Node, Source

ROOT = "0x1111111111111111111111111111111111111111"
VALUE = st.sampled_from([0, 1, 10**18, 2**256 - 1])
DEADLINE = 2**64
NONE = "0x0000000000000000000000000000000000000000"
SAFE = [
    "address",
    "uint256",
    "bytes",
    "uint8",
    "uint256",
    "uint256",
    "uint256",
    "address",
    "address",
    "bytes",
]

COMMANDS: dict[int, list[str]] = {
    0x02: ["address", "address", "uint160"],
    0x03: ["((address,uint160,uint48,uint48)[],address,uint256)", "bytes"],
    0x04: ["address", "address", "uint256"],
    0x05: ["address", "address", "uint256"],
    0x06: ["address", "address", "uint256"],
    0x08: ["address", "uint256", "uint256", "address[]", "bool"],
    0x09: ["address", "uint256", "uint256", "address[]", "bool"],
    0x0A: ["((address,uint160,uint48,uint48),address,uint256)", "bytes"],
    0x0B: ["address", "uint256"],
    0x0C: ["address", "uint256"],
    0x0D: ["(address,address,uint160,address)[]"],
    0x0E: ["address", "address", "uint256"],
}
PERMIT = (NONE, 7, 8, 9)
FILLED: dict[str, Any] = {
    "address": ROOT,
    "uint160": 2**160 - 1,
    "uint256": 2**255,
    "bytes": b"\xab" * 65,
    "bool": True,
    "address[]": [ROOT, NONE],
    "(address,address,uint160,address)[]": [(ROOT, NONE, 5, ROOT)],
    "((address,uint160,uint48,uint48),address,uint256)": (PERMIT, ROOT, 10),
    "((address,uint160,uint48,uint48)[],address,uint256)": ([PERMIT, PERMIT], ROOT, 10),
}


@dataclass(frozen=True)
class Plan:
    """What somebody means to call: the bytes, and the calls that lie in them."""

    to: str
    data: bytes
    value: int = 0
    operation: Operation = Operation.CALL
    children: Sequence[Plan] = ()
    command: int | None = None
    arguments: Json | None = None
    fragments: Sequence[Json] = ()

    def walk(self) -> list[Plan]:
        """Return this call and all within it, in the order of their bytes."""
        return [self, *(each for child in self.children for each in child.walk())]

    def abis(self) -> dict[str, Abi]:
        """Return what reviewers would have written down of the contracts that are called."""
        found: dict[str, list[Json]] = {}
        for each in self.walk():
            found.setdefault(each.to, []).extend(each.fragments)
        return {to: Abi(Source.WHITELIST, fragments) for to, fragments in found.items()}


@dataclass(frozen=True)
class Packed:
    """Calldata made by type lists alone."""

    selector: str
    types: list[str]
    values: list[Any] = field(default_factory=list)

    def data(self) -> bytes:
        """Return the bytes."""
        return bytes.fromhex(self.selector) + abi_encode(self.types, self.values)


def packed(children: Sequence[Plan]) -> bytes:
    """Return calls as MultiSend takes them."""
    return b"".join(
        bytes([each.operation is Operation.DELEGATECALL])
        + bytes.fromhex(each.to[2:])
        + each.value.to_bytes(32)
        + len(each.data).to_bytes(32)
        + each.data
        for each in children
    )


def multi_send(*children: Plan) -> bytes:
    """Return a batch of a Safe."""
    return Packed("8d80ff0a", ["bytes"], [packed(children)]).data()


def safe(child: Plan) -> bytes:
    """Return a Safe's transaction."""
    operation = int(child.operation is Operation.DELEGATECALL)
    rest = [operation, 1, 2, 3, NONE, ROOT, b"\x01" * 65]
    return Packed("6a761202", SAFE, [child.to, child.value, child.data, *rest]).data()


def multicall(*children: Plan) -> bytes:
    """Return a multicall of the plain kind."""
    return Packed("ac9650d8", ["bytes[]"], [[each.data for each in children]]).data()


def aggregate3(*children: Plan) -> bytes:
    """Return a Multicall3 in which every second call may fail."""
    calls3 = [(each.to, bool(number % 2), each.data) for number, each in enumerate(children)]
    return Packed("82ad56cb", ["(address,bool,bytes)[]"], [calls3]).data()


def plan_of_router(children: Sequence[Plan]) -> tuple[bytes, list[bytes]]:
    """Return commands and inputs; every second command may fail."""
    numbers = bytes((each.command or 0) | 0x80 * (place % 2) for place, each in enumerate(children))
    return numbers, [each.data for each in children]


def router(*children: Plan) -> bytes:
    """Return what the universal router is told, with a deadline."""
    values = [*plan_of_router(children), DEADLINE]
    return Packed("3593564c", ["bytes", "bytes[]", "uint256"], values).data()


def command(number: int, to: str) -> Plan:
    """Return a command with every argument filled."""
    types = COMMANDS[number]
    data = abi_encode(types, [FILLED[kind] for kind in types])
    return Plan(to, data, operation=Operation.COMMAND, command=number)


def path(hops: int) -> bytes:
    """Return a packed path over so many pools."""
    return b"".join(bytes([hop]) * 20 + (500).to_bytes(3) for hop in range(1, hops + 1)) + b"\xff" * 20


@st.composite
def leaf(draw: st.DrawFn, to: str) -> Plan:
    """Any call of a function that nobody has written."""
    fragment, arguments = draw(calls())
    return Plan(to, calldata.encode(fragment, arguments), arguments=arguments, fragments=[fragment])


@st.composite
def commands(draw: st.DrawFn, to: str, depth: int) -> Plan:
    """Any command of the universal router: a swap, a filled one, or a plan of commands."""
    kinds = ["swap", *COMMANDS] + (["plan"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "plan":
        children = draw(st.lists(commands(to, depth - 1), max_size=2))
        data = abi_encode(["bytes", "bytes[]"], list(plan_of_router(children)))
        return Plan(to, data, operation=Operation.COMMAND, command=0x21, children=children)
    if kind == "swap":
        types, way = ["address", "uint256", "uint256", "bytes", "bool"], path(draw(st.integers(1, 3)))
        data = abi_encode(types, [ROOT, draw(VALUE), 0, way, draw(st.booleans())])
        return Plan(to, data, operation=Operation.COMMAND, command=draw(st.sampled_from([0, 1])))
    return command(int(kind), to)


@st.composite
def plans(draw: st.DrawFn, to: str = ROOT, depth: int = 2) -> Plan:
    """Any call, and any calls within it; the outermost is known to the whitelist, the rest by chance."""
    kinds = ["leaf"] if depth == 0 else ["leaf", "multicall", "multiSend", "safe", "aggregate3", "router"]
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        return draw(leaf(to))
    known = to == ROOT or draw(st.booleans())
    if kind == "router":
        children = draw(st.lists(commands(to, depth - 1), max_size=3))
        return Plan(to, router(*children), children=children, fragments=_given(router(), known=known))
    if kind == "multicall":
        children = draw(st.lists(plans(to, depth - 1), max_size=2))
        inside = [_with(each, operation=Operation.SELF) for each in children]
        return Plan(to, multicall(*inside), children=inside, fragments=_given(multicall(), known=known))
    targets = plain("address").filter(lambda other: other != NONE)
    somewhere = targets.flatmap(lambda other: plans(other, depth - 1))
    if kind == "safe":
        inside = [draw(_sent(somewhere))]
        return Plan(to, safe(inside[0]), children=inside, fragments=_given(safe(inside[0]), known=known))
    if kind == "multiSend":
        inside = draw(st.lists(_sent(somewhere), max_size=2))
        return Plan(to, multi_send(*inside), children=inside, fragments=_given(multi_send(), known=known))
    inside = draw(st.lists(somewhere, max_size=2))
    return Plan(to, aggregate3(*inside), children=inside, fragments=_given(aggregate3(), known=known))


def _sent(somewhere: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    return st.builds(
        lambda plan, value, operation: _with(plan, value=value, operation=operation),
        somewhere,
        VALUE,
        st.sampled_from([Operation.CALL, Operation.DELEGATECALL]),
    )


def _with(plan: Plan, **changes: Any) -> Plan:
    return Plan(**(plan.__dict__ | changes))


def _given(data: bytes, *, known: bool) -> list[Json]:
    return [fragment_of(data[:4].hex())] if known else []


def fragment_of(selector: str) -> Json:
    """Return the fragment of a carrier as another compiler would name its parameters."""
    types = {
        "8d80ff0a": ("multiSend", ["bytes"]),
        "6a761202": ("execTransaction", SAFE),
        "ac9650d8": ("multicall", ["bytes[]"]),
        "82ad56cb": ("aggregate3", ["(address,bool,bytes)[]"]),
        "3593564c": ("execute", ["bytes", "bytes[]", "uint256"]),
    }
    name, kinds = types[selector]
    inputs: list[Json] = [{"name": f"a{place}", "type": kind} for place, kind in enumerate(kinds)]
    if name == "aggregate3":
        parts = [
            {"name": f"b{place}", "type": kind} for place, kind in enumerate(["address", "bool", "bytes"])
        ]
        inputs = [{"name": "a0", "type": "tuple[]", "components": parts}]
    return {"type": "function", "name": name, "inputs": inputs}


def agrees(node: Node, plan: Plan, abis: Mapping[str, Abi]) -> None:
    """Compare what was read with what was meant, to the last leaf."""
    part = node.part
    assert node.call is not None, node.reason
    assert (part.to, part.operation, part.data) == (plan.to, plan.operation, plan.data)
    assert part.command == plan.command
    if plan.operation in (Operation.CALL, Operation.DELEGATECALL):
        assert part.value == str(plan.value)
    if plan.arguments is not None:
        assert node.call.arguments == plan.arguments
    told = {calldata.selector(each) for each in abis[plan.to].fragments}
    reviewed = plan.command is None and plan.data[:4].hex() in told
    assert node.source is (Source.WHITELIST if reviewed else Source.SELECTOR)
    assert len(node.children) == len(plan.children)
    for child, meant in zip(node.children, plan.children, strict=True):
        agrees(child, meant, abis)
