"""Everything one executed transaction did to our accounts, and to who may govern what it touched.

The transaction has really run, in a block of its own on a private fork; here its traces and the state before
and after are compared. Events are only hints about where to look: a contract that moves funds without one is
found by reading.
(1) Owners: the sender, and each of our other accounts that occurs anywhere: what one key sends can move what
    another has approved.
(2) Deltas: `balanceOf` of each owner in each touched contract that answers it, and the owners' ether, the
    sender's without the gas cost.
(3) Allowances: `allowance` of each such token from each owner for every address that occurs anywhere
    (`traced`).
(4) Admin changes: known ownership, role, owner-set and upgrade events, every write to a slot in which proxies
    and Safes keep what governs them, and every contract that was written to and answers another owner,
    minter, implementation … than before.
(5) Single tokens, and rights over them, are told by their numbers (`items`). What a collection's count moved
    beyond those stays a delta.
(6) What these readings cannot tell (Permit2 and ERC-777 grants) raises instead of being left out.

Left out: a token that shows other balances to us than to its users; `probe` tries what it is worth.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import RpcError, SimulationError
from workbench.chain.item_findings import Items
from workbench.chain.items import Asked, items
from workbench.chain.node import Node
from workbench.chain.readings import Around, Executed, Reading, word
from workbench.chain.traced import WORD, Traced

ETHER: Final = "ETH"

_BALANCE_OF: Final = keccak(b"balanceOf(address)")[:4]
_ALLOWANCE: Final = keccak(b"allowance(address,address)")[:4]

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
        ("Approval(address,address,address,uint160,uint48)", (1,)),  # Permit2
        ("Permit(address,address,address,uint160,uint48,uint48)", (1,)),  # Permit2
        ("AuthorizedOperator(address,address)", (2,)),  # ERC-777
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What the transaction changed, in the form of a simulation document."""

    deltas: list[dict[str, str]]
    allowances: list[dict[str, str]]
    admin_changes: list[dict[str, str]]
    items: Items


def effects(fork: Node, executed: Executed, traced: Traced, accounts: Collection[str]) -> Effects:
    """Return the effects of an executed transaction; raises if not all of them can be told."""
    occurring = traced.touched | traced.named
    owners = sorted({executed.sender} | (set(accounts) & occurring))  # (1)
    for owner in owners:
        _refuse_untold(traced, owner)  # (6)
    around = Around(fork, executed)
    held: dict[Reading, str] = {
        (each, _BALANCE_OF, (word(own),)): own for each in sorted(traced.touched) for own in owners
    }
    balances = [
        (held[reading], reading[0], after - before) for reading, (before, after) in around.numbers(list(held))
    ]
    tokens = sorted({asset for _, asset, _ in balances})
    asked = Asked(owners=owners, occurring=occurring, tokens=tokens)
    single = items(around, traced, asked)  # (5)
    return Effects(
        deltas=_deltas(around, owners, balances, single),
        allowances=_allowances(around, asked),
        admin_changes=_admin_changes(around, traced),
        items=single,
    )


def _deltas(
    around: Around, owners: list[str], balances: list[tuple[str, str, int]], single: Items
) -> list[dict[str, str]]:  # (2)
    fork, executed = around.fork, around.executed
    changes = {(owner, asset): gained - single.counted[owner, asset] for owner, asset, gained in balances}
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


def _allowances(around: Around, asked: Asked) -> list[dict[str, str]]:  # (3)
    places: dict[Reading, tuple[str, str, str]] = {
        (token, _ALLOWANCE, (word(owner), word(spender))): (owner, token, spender)
        for token in asked.tokens
        for owner in asked.owners
        for spender in sorted(asked.occurring)
        if spender != owner
    }
    changed = {
        places[reading]: after for reading, (before, after) in around.numbers(list(places)) if before != after
    }
    return [
        {"owner": owner, "spender": spender, "asset": asset, "amount": str(amount)}
        for (owner, asset, spender), amount in sorted(changed.items())
    ]


def _admin_changes(around: Around, traced: Traced) -> list[dict[str, str]]:  # (4)
    events = [(log.address, log.topics[0]) for log in traced.logs if log.topics]
    changes = {(address, _ADMIN_EVENTS[topic]) for address, topic in events if topic in _ADMIN_EVENTS}
    changes |= {(address, _ADMIN_SLOTS[slot]) for address, slot in traced.slots if slot in _ADMIN_SLOTS}
    asked: list[Reading] = [
        (contract, verb, ())
        for contract in sorted({address for address, _ in traced.slots})
        for verb in _answered_by(traced, contract)
    ]
    for (contract, verb, _), (before, after) in zip(asked, around.twice(asked), strict=True):
        if before and before != after:
            changes.add((contract, _GOVERNED_BY[verb]))
    return [{"contract": contract, "change": change} for contract, change in sorted(changes)]


def _answered_by(traced: Traced, contract: str) -> Iterator[bytes]:
    """Yield the governing functions that the contract's code, or code that it borrowed, has a word of."""
    code = traced.code_of(contract)
    return (verb for verb in _GOVERNED_BY if verb in code)


def _refuse_untold(traced: Traced, owner: str) -> None:
    who = word(owner)
    for log in traced.logs:
        event, places = _UNTOLD.get(log.topics[0] if log.topics else b"", ("", ()))
        if any(place < len(log.topics) and log.topics[place] == who for place in places):
            raise SimulationError(f"{log.address}: {event} of {owner} cannot be told as an amount")
