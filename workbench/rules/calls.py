"""What a call and the calls inside it may be: each is judged as if it were the only one.

(1) Each call of the tree is one of a function of its own target's whitelist entry, in force, on this chain.
    A guess by selector is for people's eyes; here it counts as nothing.
(2) Foreign code in one's own place (delegatecall) is only a whitelisted contract's batch, `multiSend`: the
    bounds of any other function were reviewed for a call, and run in another's place it is another function.
(3) None may fail without stopping the rest: what was simulated would not be what happens.
(4) Arguments: a function's bounds name all of them and nothing else, and each lies within.
    Bytes of a function that is not well known could carry a call in a form that nobody reads: `any` is no
    bound for them, only `one_of` is.
(5) What the intent declares once, one call uses once: two swaps of the whole outflow give up twice as much.
(6) Inner calls send no more ether than the intent itself, of which the limits know; a delegated call sends
    none.
(7) The code of every contract that is called is proven to be what was reviewed.

`facts` asks; the desk's rules decide. What else the whole does, simulation and declaration say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from workbench.evm import calldata, known, tree
from workbench.evm.carriers import Operation
from workbench.evm.errors import EvmError
from workbench.evm.fields import from_decimal
from workbench.evm.tree import Abi, Node, Source
from workbench.rules.attestation import State
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.intent import Intent
from workbench.rules.policy import Bound, Function, PolicySet, WhitelistEntry

BATCH: Final = "multiSend(bytes)"
"""The one function that Safe's own code runs in its place."""
NO_EXCHANGE: Final = frozenset({"transfer(address,uint256)", "approve(address,uint256)"})
"""The functions that hand tokens over, or let somebody take them, and take nothing for it."""


def read(intent: Intent, policy: PolicySet) -> Node:
    """Return the call that the intent makes and all within it, under the policy set's whitelist."""
    return tree.read(intent.to, bytes.fromhex(intent.data), value=intent.value, abis=abis(policy))


def abis(policy: PolicySet) -> dict[str, Abi]:
    """Return the functions of every contract of the whitelist, to read calls with."""
    return {
        entry.address: Abi(Source.WHITELIST, [function.fragment for function in entry.functions])
        for entry in policy.whitelist.values()
    }


def only_pays(root: Node) -> bool:
    """Whether the tree does nothing but hand tokens over: nothing is exchanged that could lose by a price.

    Who may be paid, and how much, its bounds say.
    """
    return all(
        node.source is Source.WHITELIST and node.call is not None and node.call.signature in NO_EXCHANGE
        for node in root.walk()
        if not node.children
    )


def decoded(intent: Intent, policy: PolicySet) -> calldata.Call:
    """Return the call that the intent makes, read with its whitelist entry's ABI."""
    function = function_of(policy.whitelist.get(intent.to), intent.data)
    if function is None:
        raise RefusedError(Refusal.NOT_WHITELISTED, f"{intent.to} has no entry for this call", path="/to")
    try:
        return calldata.decode(bytes.fromhex(intent.data), [function.fragment])
    except EvmError as error:
        raise RefusedError(Refusal.CALLDATA, str(error), path="/data") from error


def function_of(entry: WhitelistEntry | None, data: str) -> Function | None:
    """Return the function of an entry that calldata, in hex, calls; None when there is none."""
    if entry is None:
        return None
    for function in entry.functions:
        if data.startswith(calldata.selector(function.fragment)):
            return function
    return None


def in_force(entry: WhitelistEntry, intent: Intent, now: datetime) -> bool:
    """Whether an entry is for the intent's chain and not over."""
    return entry.chain_id == intent.chain_id and read_time(entry.expires_at) > now


def understood(root: Node, *, intent: Intent, policy: PolicySet, now: datetime) -> bool:
    """Whether every call of the tree was read by a whitelist entry in force, and runs as such: (1) to (3)."""
    return all(
        _understood(node, policy.whitelist.get(node.to), intent=intent, now=now) for node in root.walk()
    )


def _understood(node: Node, entry: WhitelistEntry | None, *, intent: Intent, now: datetime) -> bool:
    if node.call is None or node.source is not Source.WHITELIST or entry is None:  # (1)
        return False
    if node.operation is Operation.DELEGATECALL and node.call.signature != BATCH:  # (2)
        return False
    return in_force(entry, intent, now) and not node.part.may_fail  # (3)


def within_bounds(root: Node, *, intent: Intent, policy: PolicySet) -> bool:
    """Whether every call of the tree is within the bounds of its own function: (4) to (6)."""
    if not all(bounded(node, intent=intent, policy=policy) for node in root.walk()):
        return False
    used: Counter[str] = Counter()
    for node in root.walk():
        used.update({each.equals for each in bounds(node, policy).values() if each.equals} - {"key_address"})
    return all(times == 1 for times in used.values()) and _sends_what_it_has(root, intent)  # (5)


def bounded(node: Node, *, intent: Intent, policy: PolicySet) -> bool:
    """Whether one call is within the bounds of its function, whatever else the tree does: (4)."""
    if node.call is None or _reviewed(node, policy) is None:
        return False
    arguments, limits = flatten(node.call.arguments), bounds(node, policy)
    # an argument that no bound names is out of bounds, and so is a bound that names none
    if set(arguments) != set(limits) or any(limits[name].any for name in opaque(node)):
        return False
    return all(_bounded(arguments[name], each, intent, policy) for name, each in limits.items())


def opaque(node: Node) -> frozenset[str]:
    """Return the arguments whose bytes nobody here can say anything of."""
    if node.call is None or node.fragment is None or node.call.signature in known.SIGNATURES:
        return frozenset()
    return calldata.holding_bytes(node.fragment)


def bounds(node: Node, policy: PolicySet) -> Mapping[str, Bound]:
    """Return the bounds of the function that a node calls; none where no entry has it."""
    function = _reviewed(node, policy)
    return {} if function is None else function.bounds


def _reviewed(node: Node, policy: PolicySet) -> Function | None:
    if node.source is not Source.WHITELIST:
        return None
    return function_of(policy.whitelist.get(node.to), node.part.data.hex())


def _sends_what_it_has(root: Node, intent: Intent) -> bool:
    # (6)
    inner = [node.part for node in root.walk() if node is not root]
    if any(part.value != "0" for part in inner if part.operation is Operation.DELEGATECALL):
        return False
    return sum(int(part.value) for part in inner if part.operation is Operation.CALL) <= int(intent.value)


def code_unchanged(root: Node, *, policy: PolicySet, state: State) -> bool:
    """Whether each contract that is called has the code of its entry; of the first a proof must be there."""
    first = state.account(root.to)
    proven = {**state.accounts, root.to: first}
    # (7) a contract of which nothing is proven is not as reviewed
    return all(
        address in policy.whitelist
        and address in proven
        and policy.whitelist[address].code_hash == proven[address].code_hash.hex()
        for address in targets(root)
    )


def targets(root: Node) -> list[str]:
    """Return every contract that is called, once, the outermost first: of each, state has to be proven."""
    return list(dict.fromkeys(node.to for node in root.walk()))


def _bounded(value: Any, bound: Bound, intent: Intent, policy: PolicySet) -> bool:  # noqa: ANN401 - decoded
    if bound.equals == "key_address":
        return bool(value == policy.key(intent.key).address)
    if bound.equals is not None:
        # a list, an address, a text: no number, so not what was declared
        return _declared(intent, bound.equals, policy) == _number(value) is not None
    if bound.one_of is not None:
        return value in bound.one_of
    number = _number(value)
    if bound.at_least is not None:
        floor = _declared(intent, bound.at_least, policy)
        return number is not None and floor is not None and number >= floor
    if bound.at_most is not None:
        return number is not None and number <= int(read_time(intent.expires_at).timestamp())
    return True


def _declared(intent: Intent, what: str, policy: PolicySet) -> int | None:
    """Return the one amount of this kind that the intent declares; None when there is not exactly one.

    What another key of ours gains is no inflow of this one.
    """
    owner = policy.key(intent.key).address
    moved = [int(delta.amount) for delta in intent.deltas if delta.account == owner]
    amounts = {
        "declared_outflow": [-amount for amount in moved if amount < 0],
        "declared_inflow": [amount for amount in moved if amount > 0],
        "declared_allowance": [int(allowance.amount) for allowance in intent.allowances],
    }[what]
    return amounts[0] if len(amounts) == 1 else None


def _number(value: Any) -> int | None:  # noqa: ANN401 - a decoded argument
    try:
        return from_decimal(value)
    except (ValueError, TypeError):
        return None


def flatten(arguments: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the arguments with tuples unfolded: {"params.tokenIn": …}."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
