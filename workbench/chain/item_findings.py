"""What was found of single tokens, in the form of a simulation document: moves, rights, contradictions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from workbench.chain.errors import SimulationError
from workbench.chain.finding import Finding
from workbench.evm.fields import checksummed

# Readers of a simulation accept this many of each.
TOLD_MAX: Final = 64
DETAIL_MAX: Final = 300
NOBODY: Final = checksummed(bytes(20))

Token = tuple[str, int]


@dataclass(slots=True)
class Items:
    """What became of single tokens.

    Each token of a collection counts as one in `balanceOf(address)`: `counted` is how much of that is told.
    """

    moves: list[dict[str, str | None]] = field(default_factory=list)
    rights: list[dict[str, str | bool | None]] = field(default_factory=list)
    findings: set[Finding] = field(default_factory=set)
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def moved(self, standard: str, token: Token, giver: str | None, taker: str | None, amount: int) -> None:
        """Tell that an amount of a token went from one to another; None where nobody can tell."""
        asset, number = token
        ends = {"from": giver, "to": taker}
        told = {"standard": standard, "asset": asset, "id": str(number), **ends, "amount": str(amount)}
        self.moves.append(told)

    def right(self, asset: str, owner: str, spender: str, number: int | None, *, given: bool) -> None:
        """Tell that somebody may take, or may no longer take, a token or (without a number) all of them."""
        numbered = None if number is None else str(number)
        told = {"asset": asset, "owner": owner, "spender": spender, "id": numbered, "approved": given}
        self.rights.append(told)

    def lie(self, asset: str, detail: str) -> None:
        """Tell that an event says something else than the contract's answers."""
        self.findings.add(Finding("false_event", asset, detail[:DETAIL_MAX]))

    def silence(self, asset: str, detail: str) -> None:
        """Tell that the contract's answers changed and no event says so."""
        self.findings.add(Finding("no_event", asset, f"without an event: {detail}"[:DETAIL_MAX]))

    def bounded(self) -> "Items":
        """Return this in one order, or raise if it is more than readers accept."""
        for what, told in (("moves", self.moves), ("rights", self.rights)):
            if len(told) > TOLD_MAX:
                raise SimulationError(f"{len(told)} {what} of single tokens, at most {TOLD_MAX}")
        self.moves.sort(
            key=lambda each: (each["asset"], int(each["id"] or 0), str(each["from"]), str(each["to"]))
        )
        self.rights.sort(key=lambda each: [str(value) for value in each.values()])
        return self
