"""Everything one executed transaction did to its sender, and to who may govern what it touched.

The transaction has really run, in a block of its own on a private fork; here its traces and the state before
and after are compared. Events are only hints about where to look: a contract that moves funds without one is
found by reading.
(1) Contracts touched: every address in the prestate trace, in the call frames and among the logs' emitters.
(2) Deltas: `balanceOf(sender)` of each touched contract that answers it, and the sender's ether without the
    gas cost.
(3) Allowances: `allowance` and `isApprovedForAll` of each such token for every address that occurs anywhere
    in the calls' data or the logs. An approval for a whole collection counts as 2^256 − 1.
(4) Admin changes: known ownership, role, owner-set and upgrade events, and every write to an EIP-1967 slot.
(5) What these readings cannot tell (ERC-1155 movements, single NFTs leaving or approved, Permit2 and ERC-777
    grants) raises instead of being left out.

Left out: a token that shows other balances to us than to its users; tokens are whitelisted for that reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import RpcError, SimulationError
from workbench.chain.node import BATCH_MAX, Json, Node
from workbench.evm.errors import EvmError
from workbench.evm.fields import UINT256_MAX, address_bytes, checksummed, from_rpc_hex

ETHER: Final = "ETH"
WORD: Final = 32
# A probe is one storage read; the limit stops a contract that loops in its balanceOf.
PROBE_GAS: Final = 2_000_000
FRAMES_MAX: Final = 20_000

_BALANCE_OF: Final = keccak(b"balanceOf(address)")[:4]
_ALLOWANCE: Final = keccak(b"allowance(address,address)")[:4]
_APPROVED_FOR_ALL: Final = keccak(b"isApprovedForAll(address,address)")[:4]

_ADMIN_EVENTS: Final = {
    keccak(each.encode()): each.partition("(")[0]
    for each in (
        "OwnershipTransferred(address,address)",
        "OwnershipTransferStarted(address,address)",
        "RoleGranted(bytes32,address,address)",
        "RoleRevoked(bytes32,address,address)",
        "RoleAdminChanged(bytes32,bytes32,bytes32)",
        "Upgraded(address)",
        "BeaconUpgraded(address)",
        "AdminChanged(address,address)",
        "AddedOwner(address)",
        "RemovedOwner(address)",
        "ChangedThreshold(uint256)",
        "EnabledModule(address)",
        "DisabledModule(address)",
        "ChangedGuard(address)",
        "ChangedFallbackHandler(address)",
    )
}
# EIP-1967: the slot is the hash of its name, less one.
_ADMIN_SLOTS: Final = {
    (int.from_bytes(keccak(f"eip1967.proxy.{name}".encode())) - 1).to_bytes(WORD): f"eip1967.{name}"
    for name in ("implementation", "admin", "beacon")
}
# Events naming the sender in one of these topics report what (2) and (3) cannot read.
_UNTOLD: Final = {
    keccak(event.encode()): (event, places)
    for event, places in (
        ("TransferSingle(address,address,address,uint256,uint256)", (2, 3)),
        ("TransferBatch(address,address,address,uint256[],uint256[])", (2, 3)),
        ("Approval(address,address,address,uint160,uint48)", (1,)),  # Permit2
        ("Permit(address,address,address,uint160,uint48,uint48)", (1,)),  # Permit2
        ("AuthorizedOperator(address,address)", (2,)),  # ERC-777
    )
}
_NFT_TOPICS: Final = 4
_NFT_EVENTS: Final = {
    keccak(b"Transfer(address,address,uint256)"): "a single NFT leaves the sender",
    keccak(b"Approval(address,address,uint256)"): "a single NFT is approved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What the transaction changed, in the form of a simulation document."""

    deltas: list[dict[str, str]]
    allowances: list[dict[str, str]]
    admin_changes: list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A transaction that has run in block `number`, alone."""

    tx_hash: str
    sender: str
    number: int
    gas_cost: int


@dataclass(slots=True)
class _Seen:
    """What the traces mention."""

    touched: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    logs: list[tuple[str, list[bytes]]] = field(default_factory=list)
    slots: set[tuple[str, bytes]] = field(default_factory=set)


def effects(node: Node, executed: Executed) -> Effects:
    """Return the effects of an executed transaction; raises if not all of them can be told."""
    seen = _seen(node, executed)  # (1)
    _refuse_untold(seen, executed.sender)  # (5)
    balances = _probe(node, executed, [(each, _BALANCE_OF, executed.sender) for each in sorted(seen.touched)])
    tokens = [asset for (asset, _, _), _ in balances]
    spenders = sorted((seen.touched | seen.named) - {executed.sender})
    pairs = [(t, verb, s) for t in tokens for s in spenders for verb in (_ALLOWANCE, _APPROVED_FOR_ALL)]
    grants = _probe(node, executed, pairs)
    return Effects(
        deltas=_deltas(node, executed, balances),
        allowances=_allowances(executed.sender, grants),
        admin_changes=_admin_changes(seen),
    )


_Probe = tuple[str, bytes, str]
_Change = tuple[int, int]


def _probe(node: Node, executed: Executed, probes: list[_Probe]) -> list[tuple[_Probe, _Change]]:
    """Return the probes that are answered before and after with one word, with both answers."""
    calls = []
    for contract, verb, about in probes:
        owner = b"" if verb == _BALANCE_OF else _word(executed.sender)
        call = {"to": contract, "data": "0x" + (verb + owner + _word(about)).hex(), "gas": hex(PROBE_GAS)}
        calls += [("eth_call", [call, hex(number)]) for number in (executed.number - 1, executed.number)]
    if len(calls) > BATCH_MAX:
        raise SimulationError(f"{len(calls)} readings would be needed, at most {BATCH_MAX}")
    answers = [_number(answer) for answer in node.batch(calls)]
    found: list[tuple[_Probe, _Change]] = []
    for probe, before, after in zip(probes, answers[::2], answers[1::2], strict=True):
        if after is None:
            # A token that answered before and is silent after may hide where its balance went.
            if before is not None:
                raise SimulationError(f"{probe[0]} no longer answers")
            continue
        # A token that did not exist before held nothing.
        found.append((probe, (before or 0, after)))
    return found


def _number(answer: Json | RpcError) -> int | None:
    if isinstance(answer, RpcError):
        return None
    raw = from_rpc_hex(answer)
    return int.from_bytes(raw) if len(raw) == WORD else None


def _deltas(
    node: Node, executed: Executed, balances: list[tuple[_Probe, _Change]]
) -> list[dict[str, str]]:  # (2)
    ether_before, ether_after = (
        node.read_quantity(node.call("eth_getBalance", executed.sender, hex(number)))
        for number in (executed.number - 1, executed.number)
    )
    changes = {ETHER: ether_after + executed.gas_cost - ether_before}
    changes |= {asset: after - before for (asset, _, _), (before, after) in balances}
    return [
        {"account": executed.sender, "asset": asset, "amount": str(amount)}
        for asset, amount in sorted(changes.items())
        if amount
    ]


def _allowances(owner: str, grants: list[tuple[_Probe, _Change]]) -> list[dict[str, str]]:  # (3)
    changed = {}
    for (asset, verb, spender), (before, after) in grants:
        if before != after:
            whole = UINT256_MAX if after else 0
            changed[asset, spender] = after if verb == _ALLOWANCE else whole
    return [
        {"owner": owner, "spender": spender, "asset": asset, "amount": str(amount)}
        for (asset, spender), amount in sorted(changed.items())
    ]


def _admin_changes(seen: _Seen) -> list[dict[str, str]]:  # (4)
    changes = {(address, _ADMIN_EVENTS[t[0]]) for address, t in seen.logs if t and t[0] in _ADMIN_EVENTS}
    changes |= {(address, _ADMIN_SLOTS[slot]) for address, slot in seen.slots if slot in _ADMIN_SLOTS}
    return [{"contract": contract, "change": change} for contract, change in sorted(changes)]


def _refuse_untold(seen: _Seen, sender: str) -> None:
    who = _word(sender)
    for address, topics in seen.logs:
        if not topics:
            continue
        event, places = _UNTOLD.get(topics[0], ("", ()))
        if any(place < len(topics) and topics[place] == who for place in places):
            raise SimulationError(f"{address}: {event} of the sender cannot be told as an amount")
        if topics[0] in _NFT_EVENTS and len(topics) == _NFT_TOPICS and topics[1] == who:
            raise SimulationError(f"{address}: {_NFT_EVENTS[topics[0]]}")


def _seen(node: Node, executed: Executed) -> _Seen:
    seen = _Seen()
    for address in _trace(node, executed, "prestateTracer", {}):
        seen.touched.add(_checked(address))
    changes = _trace(node, executed, "prestateTracer", {"diffMode": True})
    for side in ("pre", "post"):
        for address, account in changes[side].items():
            seen.touched.add(_checked(address))
            seen.slots.update(
                (_checked(address), from_rpc_hex(slot, size=WORD)) for slot in account.get("storage", {})
            )
    for frame in _frames(_trace(node, executed, "callTracer", {"withLog": True})):
        _read_frame(seen, frame)
    return seen


def _read_frame(seen: _Seen, frame: Json) -> None:
    seen.touched.update(_checked(frame[end]) for end in ("from", "to") if frame.get(end))
    seen.named.update(_addresses_in(from_rpc_hex(frame.get("input", "0x"))))
    for log in frame.get("logs", ()):
        topics = [from_rpc_hex(topic, size=WORD) for topic in log["topics"]]
        seen.logs.append((_checked(log["address"]), topics))
        seen.touched.add(_checked(log["address"]))
        seen.named.update(_addresses_in(b"".join(topics), offset=0))
        seen.named.update(_addresses_in(from_rpc_hex(log.get("data", "0x")), offset=0))


def _frames(root: Json) -> Iterator[Json]:
    waiting = [root]
    for _ in range(FRAMES_MAX):
        if not waiting:
            return
        frame = waiting.pop()
        # What a reverted call did has been undone, and so have its logs.
        if not frame.get("error"):
            yield frame
            waiting.extend(frame.get("calls", ()))
    raise SimulationError(f"more than {FRAMES_MAX} calls")


def _trace(node: Node, executed: Executed, tracer: str, config: dict[str, Json]) -> Json:
    return node.call("debug_traceTransaction", executed.tx_hash, {"tracer": tracer, "tracerConfig": config})


def _addresses_in(data: bytes, offset: int = 4) -> Iterable[str]:
    for start in range(offset, len(data) - WORD + 1, WORD):
        word = data[start : start + WORD]
        # Small numbers look like addresses; none below 2^64 is anybody's.
        if not any(word[:12]) and any(word[12:24]):
            yield checksummed(word[12:])


def _checked(address: Json) -> str:
    try:
        return checksummed(from_rpc_hex(address))
    except EvmError as error:
        raise SimulationError(f"a trace with the address {address!r:.60}") from error


def _word(address: str) -> bytes:
    return bytes(12) + address_bytes(address)
