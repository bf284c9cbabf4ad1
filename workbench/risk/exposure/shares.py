"""What shares of a key have in common, and how many of them one place may hold.

(1) Of n shares each is lost in a year with the same probability; `common` is the part of that which takes all
    at once (the beta-factor model). Losing `threshold` of them loses what the key owns.
(2) Shares stand at sites; a site is breached with a probability of its own, and takes all that stand there. A
    site that holds the threshold is the key.

Independent failures of several shares are so rare that what they have in common decides, at any part of it
that anybody would dare to claim. Both are exact: binomial tails, and every state of the sites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final

from scipy import special

from workbench.risk.errors import RiskError

COMMON: Final = (0.0, 0.01, 0.05, 0.1)
SITES_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Shares:
    """So many shares, how many sign together, and how likely each is lost in a year."""

    parts: int
    threshold: int
    lost: float

    def __post_init__(self) -> None:
        if not (1 <= self.threshold <= self.parts and 0 <= self.lost <= 1):
            raise RiskError(f"{self.threshold} of {self.parts} shares, each lost with {self.lost}")

    def fail(self, *, taken: int = 0, lost: float | None = None) -> float:
        """Return the probability that the threshold is lost, when so many are taken already."""
        missing = self.threshold - taken
        if missing <= 0:
            return 1.0
        return float(special.bdtrc(missing - 1, self.parts - taken, self.lost if lost is None else lost))


@dataclass(frozen=True, slots=True)
class Shared:
    """(1) A part in common, the probability of loss a year, and by how much it is above independence."""

    common: float
    probability: float
    times: float


@dataclass(frozen=True, slots=True)
class Layout:
    """(2) How shares stand at sites, the probability of loss a year, and what of it no site alone does."""

    sites: tuple[int, ...]
    probability: float
    within: bool


def in_common(shares: Shares, common: Sequence[float] = COMMON) -> Iterator[Shared]:
    """(1) Yield what each part in common does."""
    alone = shares.fail()
    for part in common:
        whole = part * shares.lost
        found = whole + (1 - whole) * shares.fail(lost=(1 - part) * shares.lost)
        yield Shared(part, found, found / alone if alone else 1.0)


def at_sites(shares: Shares, layouts: Sequence[tuple[int, ...]], *, breached: float) -> Iterator[Layout]:
    """(2) Yield what each way to place the shares does, when a site is breached so often a year."""
    for sites in layouts:
        if sum(sites) != shares.parts or not 1 <= len(sites) <= SITES_MAX or min(sites) < 1:
            raise RiskError(f"{sites} are not places of {shares.parts} shares")
        found = 0.0
        for state in product((False, True), repeat=len(sites)):
            chance = prod(breached if is_breached else 1 - breached for is_breached in state)
            taken = sum(held for held, is_breached in zip(sites, state, strict=True) if is_breached)
            found += chance * shares.fail(taken=taken)
        yield Layout(sites, found, max(sites) < shares.threshold)
