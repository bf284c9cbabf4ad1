"""Calls that carry calls: how the inner ones lie in the arguments, and how they are put back.

(1) A carrier is known by its whole signature, never by its name alone; arguments are found by their place,
    since a whitelist entry may name them as its compiler did.
(2) `unfold` reads parts out of the arguments, `fold` puts the parts' bytes back: what `unfold` read is then
    exactly what `fold` writes, and `tree` compares. Packed bytes have no padding and no second spelling, so
    a byte too few or too many is refused.
(3) What the chain would do otherwise than it looks is refused: another operation than call and delegatecall,
    and a packed call to nobody, which some versions of Safe take as one to the Safe itself.
(4) A part's value is the one written for it. A multicall hands its own whole value to each of its calls, a
    command has none of its own, and a delegated call sends none, whatever is written beside it.

Functions that carry calls in a form not listed in `CARRIERS` are flat here: their bytes stay bytes.
Pure; only `tree` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from workbench.evm.errors import CalldataError
from workbench.evm.fields import ADDRESS_BYTES, address_bytes, checksummed
from workbench.evm.known import ALLOW_REVERT, COMMAND_MASK

WORD: Final = 32
PACKED_HEAD: Final = 1 + ADDRESS_BYTES + 2 * WORD
FEE_BYTES: Final = 3
HOP_BYTES: Final = ADDRESS_BYTES + FEE_BYTES
NOBODY: Final = "0x" + "0" * (2 * ADDRESS_BYTES)

Arguments = dict[str, Any]


class Operation(StrEnum):
    """How bytes are run: as a call, as foreign code in one's own place, by oneself, as a router's command."""

    CALL = "call"
    DELEGATECALL = "delegatecall"
    SELF = "self"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One call before it is read: where it lay, where it goes, its bytes."""

    carried_by: str
    to: str
    value: str
    operation: Operation
    data: bytes
    may_fail: bool = False
    command: int | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a swap: through the pool of two tokens and a fee, in millionths."""

    token_in: str
    fee: int
    token_out: str


@dataclass(frozen=True, slots=True)
class Carrier:
    """How one function carries calls."""

    unfold: Callable[[Part, Arguments], list[Part]]
    fold: Callable[[Arguments, Sequence[Part]], Arguments]


def _named(arguments: Arguments, place: int) -> str:
    return list(arguments)[place]


def _within(place: int) -> Carrier:
    """Return how a list of calls to the contract itself is carried."""

    def unfold(at: Part, arguments: Arguments) -> list[Part]:
        name = _named(arguments, place)
        return [
            Part(
                carried_by=f"{name}[{number}]",
                to=at.to,
                value=at.value,  # (4)
                operation=Operation.SELF,
                data=bytes.fromhex(each),
            )
            for number, each in enumerate(arguments[name])
        ]

    def fold(arguments: Arguments, parts: Sequence[Part]) -> Arguments:
        return {**arguments, _named(arguments, place): [part.data.hex() for part in parts]}

    return Carrier(unfold, fold)


def _batch(place: int, *, may_fail: Callable[[Arguments, list[Any]], bool], value: int | None) -> Carrier:
    """Return how a list of tuples is carried that begin with the target and end with the data."""

    def unfold(_: Part, arguments: Arguments) -> list[Part]:
        name = _named(arguments, place)
        parts = []
        for number, each in enumerate(arguments[name]):
            fields = list(each.values())
            parts.append(
                Part(
                    carried_by=f"{name}[{number}].{list(each)[-1]}",
                    to=fields[0],
                    value="0" if value is None else fields[value],
                    operation=Operation.CALL,
                    data=bytes.fromhex(fields[-1]),
                    may_fail=may_fail(arguments, fields),
                )
            )
        return parts

    def fold(arguments: Arguments, parts: Sequence[Part]) -> Arguments:
        name = _named(arguments, place)
        pairs = zip(arguments[name], parts, strict=True)
        return {**arguments, name: [{**each, list(each)[-1]: part.data.hex()} for each, part in pairs]}

    return Carrier(unfold, fold)


def _unfold_one(_: Part, arguments: Arguments) -> list[Part]:
    """Return the one call of a Safe: target, value, data, operation stand first."""
    to, value, data, operation = list(arguments.values())[:4]
    return [
        Part(
            carried_by=_named(arguments, 2),
            to=to,
            value=value,
            operation=_operation(int(operation)),
            data=bytes.fromhex(data),
        )
    ]


def _fold_one(arguments: Arguments, parts: Sequence[Part]) -> Arguments:
    (part,) = parts
    return {**arguments, _named(arguments, 2): part.data.hex()}


def _operation(number: int) -> Operation:
    if number not in (0, 1):  # (3)
        raise CalldataError(f"operation {number} is neither a call nor a delegatecall")
    return Operation.DELEGATECALL if number else Operation.CALL


def _unfold_packed(_: Part, arguments: Arguments) -> list[Part]:
    name = _named(arguments, 0)
    raw = bytes.fromhex(arguments[name])
    return [
        Part(
            carried_by=f"{name}[{number}]",
            to=to,
            value=str(value),
            operation=operation,
            data=data,
        )
        for number, (operation, to, value, data) in enumerate(_packed(raw))
    ]


def _packed(raw: bytes) -> Iterator[tuple[Operation, str, int, bytes]]:
    place = 0
    while place < len(raw):
        head = raw[place : place + PACKED_HEAD]
        if len(head) != PACKED_HEAD:  # (2)
            raise CalldataError(f"{len(head)} bytes at {place} are no packed call, which has {PACKED_HEAD}")
        to = checksummed(head[1 : 1 + ADDRESS_BYTES])
        if to == NOBODY:  # (3)
            raise CalldataError(f"the packed call at {place} goes to nobody, or to the Safe itself")
        length = int.from_bytes(head[-WORD:])
        data = raw[place + PACKED_HEAD : place + PACKED_HEAD + length]
        if len(data) != length:  # (2)
            raise CalldataError(f"the packed call at {place} says {length} bytes, {len(data)} are left")
        yield _operation(head[0]), to, int.from_bytes(head[1 + ADDRESS_BYTES : -WORD]), data
        place += PACKED_HEAD + length


def _fold_packed(arguments: Arguments, parts: Sequence[Part]) -> Arguments:
    return {**arguments, _named(arguments, 0): b"".join(_pack(part) for part in parts).hex()}


def _pack(part: Part) -> bytes:
    operation = int(part.operation is Operation.DELEGATECALL)
    words = int(part.value).to_bytes(WORD) + len(part.data).to_bytes(WORD)
    return bytes([operation]) + address_bytes(part.to) + words + part.data


def _unfold_commands(at: Part, arguments: Arguments) -> list[Part]:
    (commands, inputs), (_, name) = list(arguments.values())[:2], list(arguments)[:2]
    numbers = bytes.fromhex(commands)
    if len(numbers) != len(inputs):
        raise CalldataError(f"{len(numbers)} commands with {len(inputs)} inputs")
    return [
        Part(
            carried_by=f"{name}[{number}]",
            to=at.to,
            value="0",
            operation=Operation.COMMAND,
            data=bytes.fromhex(each),
            may_fail=bool(command & ALLOW_REVERT),
            command=command & COMMAND_MASK,
        )
        for number, (command, each) in enumerate(zip(numbers, inputs, strict=True))
    ]


def _fold_commands(arguments: Arguments, parts: Sequence[Part]) -> Arguments:
    commands, inputs = list(arguments)[:2]
    numbers = bytes((part.command or 0) | (ALLOW_REVERT if part.may_fail else 0) for part in parts)
    return {**arguments, commands: numbers.hex(), inputs: [part.data.hex() for part in parts]}


def _never(_: Arguments, __: list[Any]) -> bool:
    return False


_CALLS = "(address,bytes)[]"
_COMMANDS = Carrier(_unfold_commands, _fold_commands)
_ONE = Carrier(_unfold_one, _fold_one)

CARRIERS: Final[Mapping[str, Carrier]] = {
    "multicall(bytes[])": _within(0),
    "multicall(uint256,bytes[])": _within(1),
    "multicall(bytes32,bytes[])": _within(1),
    f"aggregate({_CALLS})": _batch(0, may_fail=_never, value=None),
    f"tryAggregate(bool,{_CALLS})": _batch(
        1, may_fail=lambda arguments, _: not next(iter(arguments.values())), value=None
    ),
    "aggregate3((address,bool,bytes)[])": _batch(0, may_fail=lambda _, fields: bool(fields[1]), value=None),
    "aggregate3Value((address,bool,uint256,bytes)[])": _batch(
        0, may_fail=lambda _, fields: bool(fields[1]), value=2
    ),
    "multiSend(bytes)": Carrier(_unfold_packed, _fold_packed),
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)": _ONE,
    "execTransactionFromModule(address,uint256,bytes,uint8)": _ONE,
    "execute(bytes,bytes[])": _COMMANDS,
    "execute(bytes,bytes[],uint256)": _COMMANDS,
    "EXECUTE_SUB_PLAN(bytes,bytes[])": _COMMANDS,
}

_EXACT_IN = "(address,uint256,uint256,bytes,bool)"
PATHS: Final[Mapping[str, tuple[tuple[int, ...], bool]]] = {
    "exactInput((bytes,address,uint256,uint256,uint256))": ((0, 0), False),
    "exactInput((bytes,address,uint256,uint256))": ((0, 0), False),
    "exactOutput((bytes,address,uint256,uint256,uint256))": ((0, 0), True),
    "exactOutput((bytes,address,uint256,uint256))": ((0, 0), True),
    f"V3_SWAP_EXACT_IN{_EXACT_IN}": ((3,), False),
    f"V3_SWAP_EXACT_OUT{_EXACT_IN}": ((3,), True),
}
"""Where a packed path of pools stands, and whether it is written from the last token to the first."""


def hops(signature: str, arguments: Arguments) -> tuple[Hop, ...]:
    """Return the pools that a call swaps through, in the order of the trade; none where it has no path."""
    if signature not in PATHS:
        return ()
    places, backwards = PATHS[signature]
    value: Any = arguments
    for place in places:
        value = list(value.values())[place]
    raw = bytes.fromhex(value)
    if len(raw) <= ADDRESS_BYTES or (len(raw) - ADDRESS_BYTES) % HOP_BYTES:
        raise CalldataError(f"{len(raw)} bytes are no path: token, fee, token, and so on")
    found = [
        _hop(raw[place : place + HOP_BYTES + ADDRESS_BYTES], backwards=backwards)
        for place in range(0, len(raw) - ADDRESS_BYTES, HOP_BYTES)
    ]
    return tuple(reversed(found) if backwards else found)


def _hop(raw: bytes, *, backwards: bool) -> Hop:
    first, last = checksummed(raw[:ADDRESS_BYTES]), checksummed(raw[HOP_BYTES:])
    fee = int.from_bytes(raw[ADDRESS_BYTES:HOP_BYTES])
    return Hop(last, fee, first) if backwards else Hop(first, fee, last)
