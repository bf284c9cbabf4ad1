"""Single tokens in words: which leaves whom for whom, and who may take which, the same for page and notebook.

A number stands in full, however long it is, and so does an address that has no name in the policy set. What
nobody can have declared is an alarm (`items`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workbench.rules.attestation import Simulation
from workbench.rules.facts import ours
from workbench.rules.items import NOBODY, Item, ItemRight, comes_in
from workbench.rules.policy import PolicySet
from workbench.rules.rows import Row, known_as, spelled
from workbench.rules.tokens import TokenName, unlisted

UNDECLARED: Final = "declared by nobody: single tokens cannot be declared"


def rows(policy: PolicySet, simulation: Simulation) -> Iterator[Row]:
    """Return a row for each single token that moved, and for each right over them that changed."""
    own = ours(simulation, policy)
    for item in simulation.items:
        arrives = comes_in(item, own)
        yield Row(
            label="A single token comes in" if arrives else "A SINGLE TOKEN LEAVES",
            says=moved(policy, simulation, item),
            hex=_hex(policy, item.asset),
            remark="" if arrives else UNDECLARED,
            alarm=not arrives,
        )
    for right in simulation.rights:
        yield Row(
            label="MAY TAKE AFTERWARDS" if right.approved else "May no longer take",
            says=allowed(policy, simulation, right),
            hex=_hex(policy, right.asset),
            remark=UNDECLARED if right.approved else "",
            alarm=right.approved,
        )


def moved(policy: PolicySet, simulation: Simulation, item: Item) -> str:
    """Say what moved, from whom, to whom."""
    how_many = f"{int(item.amount):,} of " if item.standard == "erc1155" else ""
    what = f"{how_many}token {item.id} of {_collection(policy, simulation.tokens, item.asset)}"
    if comes_in(item, ours(simulation, policy)):
        origin = "is made" if item.giver == NOBODY else f"comes from {_who(policy, item.giver)}"
        return f"{what} {origin} for {_who(policy, item.taker)}"
    end = "and is destroyed" if item.taker == NOBODY else f"to {_who(policy, item.taker)}"
    return f"{what} leaves {_who(policy, item.giver)} {end}"


def allowed(policy: PolicySet, simulation: Simulation, right: ItemRight) -> str:
    """Say who may take what of whom, or may no longer."""
    collection = _collection(policy, simulation.tokens, right.asset)
    what = f"EVERY token of {collection}" if right.id is None else f"token {right.id} of {collection}"
    may = "may take" if right.approved else "may no longer take"
    return f"{_who(policy, right.spender)} {may} {what} from {_who(policy, right.owner)}"


def _who(policy: PolicySet, address: str | None) -> str:
    if address is None:
        return "NOBODY CAN TELL WHOM"
    return known_as(policy, address) or spelled(address)


def _hex(policy: PolicySet, asset: str) -> str:
    # where a contract has no name its address stands among the words
    return asset if known_as(policy, asset) else ""


def _collection(policy: PolicySet, names: list[TokenName], address: str) -> str:
    what = unlisted(names, address, policy.assets, kind="collection")
    return known_as(policy, address) or f"{what}, {spelled(address)}"
