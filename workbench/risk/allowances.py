"""What others may take from our accounts, and what that comes to.

(1) A grant names who may take (`spender`), from whom, what, how much, until when, and by which mechanism.
(2) Exposure is the smaller of what is allowed and what is there, at the price that is known: an allowance
    without limit over nothing is nothing today, and everything tomorrow, so it is marked as unlimited.
(3) A grant that has run out, or is zero, is none. A delegation (EIP-7702) gives everything an account has.

Values are whatever the caller has proven. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from workbench.risk.errors import RiskError

Kind = Literal["erc20", "operator", "permit2", "delegation"]
# Nobody has half of all numbers: such an allowance never runs out, and some contracts never count it down.
UNLIMITED: Final = 2**255
UNLIMITED_PERMIT2: Final = 2**160 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Somebody's right to take something of ours, as it was proven at one block."""

    kind: Kind
    owner: str
    asset: str  # the token; for a delegation, the account itself
    spender: str
    allowed: int
    balance: int
    granted_at_block: int | None  # of the last event that was seen, a hint; None where no node told of one
    expires_at: int | None = None  # a second, where the mechanism has one

    def __post_init__(self) -> None:
        """Refuse amounts that no token has."""
        if not (0 <= self.allowed < 2**256 and 0 <= self.balance < 2**256):
            raise RiskError(f"{self.asset}: {self.allowed} allowed, {self.balance} there")

    @property
    def is_unlimited(self) -> bool:
        """Whether it never runs out, however much arrives."""
        if self.kind == "erc20":
            return self.allowed >= UNLIMITED
        return self.kind != "permit2" or self.allowed >= UNLIMITED_PERMIT2

    def is_live(self, now_s: int) -> bool:
        """Whether anything could be taken by it, now or when something arrives."""
        return self.allowed > 0 and (self.expires_at is None or self.expires_at >= now_s)

    @property
    def exposed(self) -> int:
        """What could be taken at once, in base units."""
        return min(self.allowed, self.balance)


@dataclass(frozen=True, slots=True)
class Valued:
    """A live grant and what it exposes, where a price is known."""

    grant: Grant
    value: Decimal | None


def live(grants: Iterable[Grant], *, now_s: int) -> list[Grant]:
    """Return the grants that count, the worst first (3)."""
    counting = [each for each in grants if each.is_live(now_s)]
    return sorted(
        counting, key=lambda each: (each.kind != "delegation", not each.is_unlimited, -each.exposed)
    )


def valued(grants: Iterable[Grant], *, prices: Mapping[str, tuple[Decimal, int]]) -> list[Valued]:
    """Return grants with their exposure; `prices` has each asset's price of a whole unit, and decimals."""
    found = []
    for each in grants:
        known = prices.get(each.asset)
        value = None if known is None else Decimal(each.exposed).scaleb(-known[1]) * known[0]
        found.append(Valued(each, value))
    return found
