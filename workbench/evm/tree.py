"""Calldata as a tree: a call, the calls that it carries, and theirs, each read strictly or said to be unread.

(1) The outermost call is read by the ABI that is given for its contract, or not at all.
(2) An inner call is read by the ABI given for *its* contract. Where that has no such function, it is read as
    the well-known function of its selector, and its source says that this is a guess.
(3) Each level is its own encoding (`calldata`), and what it carries is put back and gives its bytes again.
(4) What cannot be read is a leaf that says why and keeps its bytes; it hides nothing beside it. Nothing is
    left out, so `encode` gives the bytes back, whatever they were.
(5) Depth, number and bytes are bounded. What is over a bound cannot be read: a page of two hundred calls is
    read by nobody, and depth is how a call is hidden.

Who may call what is decided in `workbench.rules`, which takes no guess for an answer. Functions that carry
calls in a form unknown to `carriers` are leaves; the rules there take no free bytes of such a function.
Pure; bytes and ABIs are taken as hostile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from workbench.evm import calldata, known
from workbench.evm.calldata import FRAGMENTS_MAX, SELECTOR_BYTES, Call, Fragment
from workbench.evm.carriers import CARRIERS, Hop, Operation, Part, hops
from workbench.evm.errors import CalldataError

DEPTH_MAX: Final = 8
"""A Safe that sends a batch to a router that runs a plan is four deep."""
NODES_MAX: Final = 128
"""The largest calldata holds about 250 empty calls; nobody reads half of that."""


Guesses = Mapping[str, tuple[Fragment, ...]]


class Source(StrEnum):
    """Where a node's ABI came from; `SELECTOR` knows nothing of the contract."""

    WHITELIST = "whitelist"
    VERIFIED = "verified source"
    SELECTOR = "selector"


@dataclass(frozen=True, slots=True)
class Abi:
    """What is known of one contract's functions, and whence."""

    source: Source
    fragments: Sequence[Fragment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One call of the tree; without `call` it could not be read, and `reason` says why."""

    part: Part
    source: Source | None = None
    fragment: Fragment | None = None
    call: Call | None = None
    hops: tuple[Hop, ...] = ()
    children: tuple[Node, ...] = ()
    reason: str = ""

    @property
    def to(self) -> str:
        """The contract that is called."""
        return self.part.to

    @property
    def operation(self) -> Operation:
        """How it is called."""
        return self.part.operation

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, in the order of the bytes."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(
    to: str,
    data: bytes,
    *,
    value: str,
    abis: Mapping[str, Abi],
    guesses: Guesses = known.KNOWN,
) -> Node:
    """Return the call that `data` makes on `to`, and every call inside it; it never raises."""
    part = Part(carried_by="", to=to, value=value, operation=Operation.CALL, data=data)
    return _Reading(abis, guesses, NODES_MAX - 1, {}).node(part, 0)


def encode(node: Node) -> bytes:
    """Return the bytes of a call, written anew from what was read of it and of its children."""
    if node.call is None or node.fragment is None:
        return node.part.data
    arguments = node.call.arguments
    carrier = CARRIERS.get(node.call.signature)
    if carrier is not None:
        parts = [replace(child.part, data=encode(child)) for child in node.children]
        arguments = carrier.fold(arguments, parts)
    body = calldata.encode_arguments(node.fragment, arguments)
    return body if node.operation is Operation.COMMAND else bytes.fromhex(node.call.selector) + body


@dataclass(slots=True)
class _Reading:
    """One reading: the ABIs, the guesses, how many nodes there may still be, the ABIs by selector."""

    abis: Mapping[str, Abi]
    guesses: Guesses
    left: int
    indexed: dict[str, Guesses]

    def node(self, part: Part, depth: int) -> Node:
        try:
            source, fragment = self._fragment(part, depth)
            call = _call(part, fragment)
            path = hops(call.signature, call.arguments)
            parts = self._parts(part, call)
        except CalldataError as error:
            return Node(part=part, reason=str(error))  # (4)
        children = tuple(self.node(each, depth + 1) for each in parts)
        return Node(part=part, source=source, fragment=fragment, call=call, hops=path, children=children)

    def _fragment(self, part: Part, depth: int) -> tuple[Source, Fragment]:
        if depth > DEPTH_MAX:  # (5)
            raise CalldataError(f"calls within calls, more than {DEPTH_MAX} deep")
        if part.command is not None:
            if part.command not in known.COMMANDS:
                raise CalldataError(f"command 0x{part.command:02x} of the router is not known")
            return Source.SELECTOR, known.COMMANDS[part.command]
        if not part.data:
            raise CalldataError("no calldata: it sends its value, or wakes the contract")
        if len(part.data) < SELECTOR_BYTES:
            raise CalldataError(f"{len(part.data)} bytes are no selector")
        selector = part.data[:SELECTOR_BYTES].hex()
        abi = self.abis.get(part.to)
        if abi is None and depth == 0:  # (1)
            raise CalldataError(f"no ABI is given for {part.to}")
        functions = {} if abi is None else self._functions(part.to, abi)
        if abi is not None and (depth == 0 or selector in functions):
            return abi.source, _only(selector, functions)
        return Source.SELECTOR, _only(selector, self.guesses)  # (2)

    def _functions(self, to: str, abi: Abi) -> Guesses:
        if to not in self.indexed:
            if len(abi.fragments) > FRAGMENTS_MAX:
                raise CalldataError(f"{len(abi.fragments)} fragments, at most {FRAGMENTS_MAX}")
            functions = [each for each in abi.fragments if each.get("type") == "function"]
            self.indexed[to] = known.by_selector(functions)
        return self.indexed[to]

    def _parts(self, part: Part, call: Call) -> list[Part]:
        carrier = CARRIERS.get(call.signature)
        if carrier is None:
            return []
        parts = carrier.unfold(part, call.arguments)
        # (3) no carrier of today loses anything; one that did would hide it, and is refused
        if carrier.fold(call.arguments, parts) != call.arguments:
            raise CalldataError(f"{call.function}: the calls it carries are not their own encoding")
        if len(parts) > self.left:  # (5)
            raise CalldataError(f"{len(parts)} more calls, at most {NODES_MAX} in all")
        self.left -= len(parts)
        return parts


def _only(selector: str, functions: Guesses) -> Fragment:
    found = functions.get(selector, ())
    if len(found) != 1:
        raise CalldataError(f"selector {selector} names {len(found)} functions that are known, expected one")
    return found[0]


def _call(part: Part, fragment: Fragment) -> Call:
    if part.command is None:
        return calldata.decode(part.data, [fragment])
    return Call(
        function=str(fragment["name"]),
        signature=calldata.signature(fragment),
        selector=f"{part.command:02x}",
        arguments=calldata.decode_arguments(fragment, part.data),
    )
