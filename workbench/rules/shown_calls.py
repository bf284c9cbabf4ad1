"""The call of an intent and every call inside it, row by row, as a person is to read them.

(1) The outermost call comes first, then those within, in the order of the bytes, numbered: 2.1 lies in 2.
(2) Each says whose contract it is, how it is called and by which ABI it was read. What the whitelist does not
    know, a guess, foreign code in one's own place and what may fail alone are marked.
(3) What cannot be read stands there in full, with the reason.
(4) An argument is in units where the function says which asset it counts and the signed set has that asset;
    its base units stand beside it. Of a guess that is a guess, too, and its function's row says so.
(5) Bytes that carry calls are not repeated: the calls stand below, and all the bytes at the end.

Which asset an argument counts is `COUNTED`, by whole signature and by place, since names are the compiler's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from workbench.evm import calldata, known
from workbench.evm.calldata import Call
from workbench.evm.carriers import CARRIERS, Operation
from workbench.evm.fields import UINT256_MAX
from workbench.evm.tree import Node, Source
from workbench.rules import calls
from workbench.rules.approval import Asked
from workbench.rules.documents import printable
from workbench.rules.policy import Bound
from workbench.rules.rows import CHUNK, Row, amount, grouped, named, scaled, second

DECLARED: Final = {
    "declared_outflow": "what the intent says it gives up",
    "declared_inflow": "the least the intent says it gains",
    "declared_allowance": "the allowance that the intent declares",
}
READ_BY: Final = {
    Source.WHITELIST: "ABI of the whitelist entry",
    Source.VERIFIED: "ABI of verified source, on no whitelist",
    Source.SELECTOR: "GUESSED by its selector: unverified",
}
COMMAND: Final = "GUESSED as a command of Uniswap's universal router: unverified"
RUN_AS: Final = {
    Operation.CALL: "called",
    Operation.DELEGATECALL: "its code runs in the caller's place, with all that the caller has",
    Operation.SELF: "called by the contract itself",
    Operation.COMMAND: "a command that the contract runs",
}
WITHOUT_LIMIT: Final = {str(UINT256_MAX), str(2**160 - 1)}
SECONDS: Final = frozenset({"deadline", "expiration", "expiry", "sigDeadline"})
FEE_DECIMALS: Final = 4
"""A pool's fee is in millionths; a percent is ten thousand of them."""

IN_COMMANDS: Final = {
    known.CALLER: "whoever calls the contract",
    known.ROUTER: "the contract itself",
    known.ETHER: "ether, where a token is meant",
}
IN_SAFES: Final = {
    7: {known.ETHER: "ether, if gas is paid back at all"},
    8: {known.ETHER: "whoever sends the transaction"},
}
"""By place: a Safe's gas token and the one who gets it."""

ETHER, ITSELF, FIRST, LAST = "ether", "itself", "first", "last"
_SWAP: Final = "(address,uint256,uint256,bytes,bool)"
_V2: Final = "(address,uint256,uint256,address[],bool)"
_SINGLE: Final = "((address,uint160,uint48,uint48),address,uint256)"
_POOL: Final = "address,address,uint24,address"
COUNTED: Final[Mapping[str, Mapping[int, int | str]]] = {
    "transfer(address,uint256)": {1: ITSELF},
    "transferFrom(address,address,uint256)": {2: ITSELF},
    "approve(address,uint256)": {1: ITSELF},
    "increaseAllowance(address,uint256)": {1: ITSELF},
    "decreaseAllowance(address,uint256)": {1: ITSELF},
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": {2: ITSELF},
    "approve(address,address,uint160,uint48)": {2: 0},
    f"permit(address,{_SINGLE},bytes)": {2: 1},
    "transferFrom(address,address,uint160,address)": {2: 3},
    f"exactInputSingle(({_POOL},uint256,uint256,uint256,uint160))": {5: 0, 6: 1},
    f"exactInputSingle(({_POOL},uint256,uint256,uint160))": {4: 0, 5: 1},
    f"exactOutputSingle(({_POOL},uint256,uint256,uint256,uint160))": {5: 1, 6: 0},
    f"exactOutputSingle(({_POOL},uint256,uint256,uint160))": {4: 1, 5: 0},
    "exactInput((bytes,address,uint256,uint256,uint256))": {3: FIRST, 4: LAST},
    "exactInput((bytes,address,uint256,uint256))": {2: FIRST, 3: LAST},
    "exactOutput((bytes,address,uint256,uint256,uint256))": {3: LAST, 4: FIRST},
    "exactOutput((bytes,address,uint256,uint256))": {2: LAST, 3: FIRST},
    "sweepToken(address,uint256,address)": {1: 0},
    "unwrapWETH9(uint256,address)": {0: ETHER},
    "selfPermit(address,uint256,uint256,uint8,bytes32,bytes32)": {1: 0},
    f"V3_SWAP_EXACT_IN{_SWAP}": {1: FIRST, 2: LAST},
    f"V3_SWAP_EXACT_OUT{_SWAP}": {1: LAST, 2: FIRST},
    f"V2_SWAP_EXACT_IN{_V2}": {1: FIRST, 2: LAST},
    f"V2_SWAP_EXACT_OUT{_V2}": {1: LAST, 2: FIRST},
    "PERMIT2_TRANSFER_FROM(address,address,uint160)": {2: 0},
    "SWEEP(address,address,uint256)": {2: 0},
    "TRANSFER(address,address,uint256)": {2: 0},
    "BALANCE_CHECK_ERC20(address,address,uint256)": {2: 1},
    f"PERMIT2_PERMIT({_SINGLE},bytes)": {1: 0},
    "WRAP_ETH(address,uint256)": {1: ETHER},
    "UNWRAP_WETH(address,uint256)": {1: ETHER},
}
"""Which arguments, unfolded and counted from 0, are amounts, and of what: another argument's token, ether,
the contract itself, or the ends of the path."""


def rows(asked: Asked) -> Iterator[Row]:
    """Return the rows of the whole tree, and all its bytes at the end."""
    root = calls.read(asked.intent, asked.policy)
    yield from _function(asked, root, "")
    for number, node in _numbered(root, ""):
        yield _contract(asked, node, number)
        yield from _function(asked, node, f"{number} ")
    yield from _together(asked, root)
    data = asked.intent.data
    yield Row(label="All the bytes", hex=f"0x{data}", remark=f"{len(data) // 2} bytes")


def _together(asked: Asked, root: Node) -> Iterator[Row]:
    single = all(calls.bounded(node, intent=asked.intent, policy=asked.policy) for node in root.walk())
    if single and not calls.within_bounds(root, intent=asked.intent, policy=asked.policy):
        says = "OUT OF BOUNDS: they use twice what the intent declares once, or send ether that it does not"
        yield Row(label="All calls together", says=says, alarm=True)


def _numbered(node: Node, prefix: str) -> Iterator[tuple[str, Node]]:
    # (1)
    for place, child in enumerate(node.children, start=1):
        yield f"{prefix}{place}", child
        yield from _numbered(child, f"{prefix}{place}.")


def _contract(asked: Asked, node: Node, number: str) -> Row:
    # (2)
    part, entry = node.part, asked.policy.whitelist.get(node.to)
    name = entry.name if entry else f"UNNAMED CONTRACT {named(asked, node.to)}".rstrip()
    foreign = node.operation is Operation.DELEGATECALL
    sends = part.value != "0" and (foreign or node.operation is Operation.CALL)
    said = [f"DELEGATECALL of {name}" if foreign else name]
    said += [f"SENDS {amount(asked, 'ETH', part.value)}"] if sends else []
    said += ["MAY FAIL without stopping the rest"] if part.may_fail else []
    return Row(
        label=f"Call {number}",
        says=" · ".join(said),
        hex=node.to,
        remark=f"{RUN_AS[node.operation]} · carried by {part.carried_by}",
        alarm=entry is None or len(said) > 1 or foreign,
    )


def _function(asked: Asked, node: Node, label: str) -> Iterator[Row]:
    if node.call is None or node.source is None:  # (3)
        said = f"cannot be read: {printable(node.reason)}"
        # those of the outermost call stand at the end
        unread = f"0x{node.part.data.hex()}" if label and node.part.data else ""
        yield Row(label=f"{label}function".capitalize(), says=said, hex=unread, alarm=True)
        return
    within = calls.bounded(node, intent=asked.intent, policy=asked.policy)
    remark = COMMAND if node.operation is Operation.COMMAND else READ_BY[node.source]
    if node.source is Source.WHITELIST:
        remark += " · " + ("every argument within its bounds" if within else "an argument is OUT OF BOUNDS")
    yield Row(
        label=f"{label}function".capitalize(),
        says=node.call.signature,
        hex=f"0x{node.call.selector}",
        remark=remark,
        alarm=not within,
    )
    yield from _arguments(asked, node, node.call, label)
    for step, hop in enumerate(node.hops, start=1):
        yield _hop(asked, f"{label}pool {step}", hop.token_in, hop.fee, hop.token_out)


def _arguments(asked: Asked, node: Node, call: Call, label: str) -> Iterator[Row]:
    bounds, tokens = calls.bounds(node, asked.policy), _tokens(node, call)
    carried, raw = _carrying(node, call), _raw(node)
    for place, (name, value) in enumerate(calls.flatten(call.arguments).items()):
        if name == carried:  # (5)
            count = len(node.children)
            yield Row(label=f"{label}{name}", says=f"{count} call{'' if count == 1 else 's'}, below")
            continue
        if name in raw and isinstance(value, str):
            yield _bytes(node, label + name, value)
            continue
        for inner, each in _items(name, value):
            if isinstance(each, str) and each.startswith("0x"):
                yield _address(asked, label + inner, each, meant=_meant(node, call, place))
                continue
            yield _value(asked, node, label + inner, each, bound=bounds.get(name), token=tokens.get(place))


def _raw(node: Node) -> frozenset[str]:
    return frozenset() if node.fragment is None else calldata.holding_bytes(node.fragment)


def _bytes(node: Node, name: str, value: str) -> Row:
    read_as = "read as the pools below" if node.hops else "read no further"
    return Row(label=name, hex=f"0x{value}" if value else "", remark=f"{len(value) // 2} bytes, {read_as}")


def _carrying(node: Node, call: Call) -> str | None:
    """Return the argument whose calls stand below; a list of none is one, too."""
    if call.signature not in CARRIERS:
        return None
    if node.children:
        return node.children[0].part.carried_by.partition("[")[0]
    return next((name for name, value in call.arguments.items() if value in ([], "")), None)


def _items(name: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a decoded argument
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _items(f"{name}.{key}", inner)
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _items(f"{name}[{place}]", inner)
    else:
        yield name, value


def _tokens(node: Node, call: Call) -> dict[int, str]:
    """Return, for each argument that is an amount, the asset that it counts."""
    values = list(calls.flatten(call.arguments).values())
    ends = [node.hops[0].token_in, node.hops[-1].token_out] if node.hops else _ends(values)
    tokens: dict[int, str] = {}
    for place, counted in COUNTED.get(call.signature, {}).items():
        if isinstance(counted, int):
            tokens[place] = str(values[counted])
        elif counted in (FIRST, LAST):
            tokens[place] = ends[0 if counted == FIRST else -1] if ends else ""
        else:
            tokens[place] = node.to if counted == ITSELF else "ETH"
    if node.operation is Operation.COMMAND:
        return {place: "ETH" if token == known.ETHER else token for place, token in tokens.items()}
    return tokens


def _ends(values: list[Any]) -> list[str]:
    return next((value for value in values if isinstance(value, list)), [])


def _value(
    asked: Asked,
    node: Node,
    name: str,
    value: Any,  # noqa: ANN401 - a decoded argument
    *,
    bound: Bound | None,
    token: str | None,
) -> Row:
    if bound is not None and bound.at_most == "expires_at":
        return Row(label=name, says=second(value), remark=f"{value} · the chain refuses it later")
    if re.split("[. ]", name)[-1] in SECONDS and isinstance(value, str):
        return Row(label=name, says=second(value), remark=value)
    kind = (bound.equals or bound.at_least) if bound is not None else None
    declared = _asset(asked, kind)
    asset = declared or token
    if asset and isinstance(value, str) and re.fullmatch("-?[0-9]+", value):
        remark = f"{value} base units" + (f" · {DECLARED[kind or '']}" if declared else "")
        return _counted(asked, node, name, value, asset=asset, remark=remark)
    return Row(label=name, says=printable(str(value)))


def _counted(asked: Asked, node: Node, name: str, value: str, *, asset: str, remark: str) -> Row:
    # (4)
    if value in WITHOUT_LIMIT:
        return Row(
            label=name, says=f"WITHOUT LIMIT: {amount(asked, asset, value)}", remark=remark, alarm=True
        )
    if node.operation is Operation.COMMAND and value == known.WHOLE_BALANCE:
        return Row(label=name, says="all that the contract holds then", remark=remark)
    return Row(label=name, says=amount(asked, asset, value), remark=remark)


def _meant(node: Node, call: Call, place: int) -> Mapping[str, str]:
    """Return what some addresses mean beside themselves in this argument."""
    if node.operation is Operation.COMMAND:
        return IN_COMMANDS
    return IN_SAFES.get(place, {}) if call.function == "execTransaction" else {}


def _address(asked: Asked, name: str, value: str, *, meant: Mapping[str, str]) -> Row:
    says = named(asked, value) or meant.get(value, "")
    return Row(label=name, says=says or "an address that nobody has named", hex=value, alarm=not says)


def _hop(asked: Asked, label: str, token_in: str, fee: int, token_out: str) -> Row:
    tokens = [asked.policy.assets.get(each) for each in (token_in, token_out)]
    names = [
        each.symbol if each else f"a token that nobody has named, 0x {_spaced(address)}"
        for each, address in zip(tokens, (token_in, token_out), strict=True)
    ]
    percent = grouped(scaled(fee, FEE_DECIMALS))
    return Row(label=label, says=f"{names[0]} → {names[1]}, fee {percent} %", alarm=None in tokens)


def _spaced(address: str) -> str:
    return " ".join(address[place : place + CHUNK] for place in range(2, len(address), CHUNK))


def _asset(asked: Asked, kind: str | None) -> str | None:
    """Return the asset that an argument bound to a declaration counts; None where that is not one asset."""
    deltas = asked.intent.deltas
    assets = {
        "declared_outflow": [each.asset for each in deltas if each.amount.startswith("-")],
        "declared_inflow": [each.asset for each in deltas if not each.amount.startswith("-")],
        "declared_allowance": [each.asset for each in asked.intent.allowances],
    }.get(kind or "", [])
    return assets[0] if len(assets) == 1 else None
