"""Everything one executed transaction did to our accounts, and to who may govern what it touched.

The transaction has really run, in a block of its own on a private fork; here its traces and the state before
and after are compared. Events are only hints about where to look: a contract that moves funds without one is
found by reading.
(1) Owners: the sender, and each of our other accounts that occurs anywhere: what one key sends can move what
    another has approved.
(2) Deltas: `balanceOf` of each owner in each touched contract that answers it, and the owners' ether, the
    sender's without the gas cost.
(3) Allowances: `allowance` and `isApprovedForAll` of each such token from each owner for every address that
    occurs anywhere (`traced`). An approval for a whole collection counts as 2^256 − 1.
(4) Admin changes: known ownership, role, owner-set and upgrade events, every write to a slot in which proxies
    and Safes keep what governs them, and every contract that was written to and answers another owner,
    minter, implementation … than before.
(5) What these readings cannot tell (ERC-1155 movements, single NFTs leaving or approved, Permit2 and ERC-777
    grants) raises instead of being left out.

Left out: a token that shows other balances to us than to its users; `probe` tries what it is worth.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import RpcError, SimulationError
from workbench.chain.node import BATCH_MAX, Json, Node
from workbench.chain.traced import WORD, Traced
from workbench.evm.fields import UINT256_MAX, address_bytes, from_rpc_hex

ETHER: Final = "ETH"
# A probe is one storage read; the limit stops a contract that loops in its balanceOf.
PROBE_GAS: Final = 2_000_000

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
# EIP-1967: the slot is the hash of its name, less one. A Safe's slots are the hashes of their names.
_ADMIN_SLOTS: Final = {
    (int.from_bytes(keccak(f"eip1967.proxy.{name}".encode())) - 1).to_bytes(WORD): f"eip1967.{name}"
    for name in ("implementation", "admin", "beacon")
} | {
    keccak(f"{name}.address".encode()): f"safe.{name}"
    for name in ("guard_manager.guard", "fallback_manager.handler", "module_manager.module_guard")
}
BEACON_SLOT: Final = (int.from_bytes(keccak(b"eip1967.proxy.beacon")) - 1).to_bytes(WORD)
# Who answers one of these differently afterwards is governed by somebody, or something, else.
_GOVERNED_BY: Final = {
    keccak(f"{name}()".encode())[:4]: f"{name}()"
    for name in (
        "owner", "pendingOwner", "getOwner", "admin", "pendingAdmin", "implementation", "masterCopy",
        "governance", "governor", "guardian", "controller", "authority", "timelock", "minter", "masterMinter",
        "pauser", "blacklister", "manager", "operator", "getOwners", "getThreshold",
    )
}  # fmt: skip
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
    keccak(b"Transfer(address,address,uint256)"): "a single NFT leaves its owner",
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


def effects(fork: Node, executed: Executed, traced: Traced, accounts: Collection[str]) -> Effects:
    """Return the effects of an executed transaction; raises if not all of them can be told."""
    occurring = traced.touched | traced.named
    owners = sorted({executed.sender} | (set(accounts) & occurring))  # (1)
    for owner in owners:
        _refuse_untold(traced, owner)  # (5)
    touched = sorted(traced.touched)
    held: list[_Probe] = [(each, _BALANCE_OF, (owner,)) for each in touched for owner in owners]
    balances = _probe(fork, executed, held)
    tokens = sorted({asset for (asset, _, _), _ in balances})
    # nobody can answer what no code that took part has a word of
    known = any(_APPROVED_FOR_ALL in found.code for found in traced.found.values())
    asked: list[_Probe] = [
        (token, verb, (owner, spender))
        for token in tokens
        for owner in owners
        for spender in sorted(occurring - {owner})
        for verb in ((_ALLOWANCE, _APPROVED_FOR_ALL) if known else (_ALLOWANCE,))
    ]
    return Effects(
        deltas=_deltas(fork, executed, owners, balances),
        allowances=_allowances(_probe(fork, executed, asked)),
        admin_changes=_admin_changes(fork, executed, traced),
    )


_Probe = tuple[str, bytes, tuple[str, ...]]
_Change = tuple[int, int]


def _probe(fork: Node, executed: Executed, probes: list[_Probe]) -> list[tuple[_Probe, _Change]]:
    """Return the probes that are answered before and after with one word, with both answers."""
    found: list[tuple[_Probe, _Change]] = []
    for probe, (before_raw, after_raw) in zip(probes, _twice(fork, executed, probes), strict=True):
        before, after = _number(before_raw), _number(after_raw)
        if after is None:
            # A token that answered before and is silent after may hide where its balance went.
            if before is not None:
                raise SimulationError(f"{probe[0]} no longer answers")
            continue
        # A token that did not exist before held nothing.
        found.append((probe, (before or 0, after)))
    return found


def _twice(fork: Node, executed: Executed, probes: list[_Probe]) -> list[tuple[Json, Json]]:
    """Return what each probe is answered before the transaction, and after."""
    calls = []
    for contract, verb, about in probes:
        data = verb + b"".join(_word(each) for each in about)
        call = {"to": contract, "data": "0x" + data.hex(), "gas": hex(PROBE_GAS)}
        calls += [("eth_call", [call, hex(number)]) for number in (executed.number - 1, executed.number)]
    if len(calls) > BATCH_MAX:
        raise SimulationError(f"{len(calls)} readings would be needed, at most {BATCH_MAX}")
    answers = fork.batch(calls)
    return list(zip(answers[::2], answers[1::2], strict=True))


def _number(answer: Json | RpcError) -> int | None:
    raw = _raw(answer)
    return int.from_bytes(raw) if len(raw) == WORD else None


def _raw(answer: Json | RpcError) -> bytes:
    return b"" if isinstance(answer, RpcError) else from_rpc_hex(answer)


def _deltas(
    fork: Node, executed: Executed, owners: list[str], balances: list[tuple[_Probe, _Change]]
) -> list[dict[str, str]]:  # (2)
    changes = {(owner, asset): after - before for (asset, _, (owner,)), (before, after) in balances}
    blocks = (hex(executed.number - 1), hex(executed.number))
    ether = fork.batch([("eth_getBalance", [owner, block]) for owner in owners for block in blocks])
    for owner, before, after in zip(owners, ether[::2], ether[1::2], strict=True):
        if isinstance(before, RpcError) or isinstance(after, RpcError):
            raise SimulationError("the fork does not tell a balance")
        paid = executed.gas_cost if owner == executed.sender else 0
        changes[owner, ETHER] = fork.read_quantity(after) + paid - fork.read_quantity(before)
    return [
        {"account": owner, "asset": asset, "amount": str(amount)}
        for (owner, asset), amount in sorted(changes.items())
        if amount
    ]


def _allowances(grants: list[tuple[_Probe, _Change]]) -> list[dict[str, str]]:  # (3)
    changed = {}
    for (asset, verb, (owner, spender)), (before, after) in grants:
        if before != after:
            whole = UINT256_MAX if after else 0
            changed[owner, asset, spender] = after if verb == _ALLOWANCE else whole
    return [
        {"owner": owner, "spender": spender, "asset": asset, "amount": str(amount)}
        for (owner, asset, spender), amount in sorted(changed.items())
    ]


def _admin_changes(fork: Node, executed: Executed, traced: Traced) -> list[dict[str, str]]:  # (4)
    events = [(log.address, log.topics[0]) for log in traced.logs if log.topics]
    changes = {(address, _ADMIN_EVENTS[topic]) for address, topic in events if topic in _ADMIN_EVENTS}
    changes |= {(address, _ADMIN_SLOTS[slot]) for address, slot in traced.slots if slot in _ADMIN_SLOTS}
    asked: list[_Probe] = [
        (contract, verb, ())
        for contract in sorted({address for address, _ in traced.slots})
        for verb in _answered_by(traced, contract)
    ]
    for (contract, verb, _), (before, after) in zip(asked, _twice(fork, executed, asked), strict=True):
        if _raw(before) and _raw(before) != _raw(after):
            changes.add((contract, _GOVERNED_BY[verb]))
    return [{"contract": contract, "change": change} for contract, change in sorted(changes)]


def _answered_by(traced: Traced, contract: str) -> Iterator[bytes]:
    """Yield the governing functions that the contract's code, or code that it borrowed, has a word of."""
    borrowed = [each.to for each in traced.frames if each.caller == contract and each.kind == "DELEGATECALL"]
    code = b"".join(traced.found[each].code for each in (contract, *borrowed) if each in traced.found)
    return (verb for verb in _GOVERNED_BY if verb in code)


def _refuse_untold(traced: Traced, owner: str) -> None:
    who = _word(owner)
    for log in traced.logs:
        if not log.topics:
            continue
        event, places = _UNTOLD.get(log.topics[0], ("", ()))
        if any(place < len(log.topics) and log.topics[place] == who for place in places):
            raise SimulationError(f"{log.address}: {event} of {owner} cannot be told as an amount")
        if log.topics[0] in _NFT_EVENTS and len(log.topics) == _NFT_TOPICS and log.topics[1] == who:
            raise SimulationError(f"{log.address}: {_NFT_EVENTS[log.topics[0]]}")


def _word(address: str) -> bytes:
    return bytes(12) + address_bytes(address)
