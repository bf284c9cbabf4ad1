"""What a right is worth to whoever holds it: never more than is there, and never counted twice."""

from decimal import Decimal
from typing import Any

import pytest

from workbench.risk.allowances import UNLIMITED, Grant, live, valued
from workbench.risk.errors import RiskError

MOST = 2**256 - 1


def grant(**changed: Any) -> Grant:
    """Return an allowance of five of nine."""
    usual: dict[str, Any] = {"kind": "erc20", "owner": "us", "asset": "usdc", "spender": "them"}
    usual |= {"allowed": 5, "balance": 9, "granted_at_block": 1}
    return Grant(**usual | changed)


LIVE = {
    "an amount": (grant(), True, False),
    "nothing": (grant(allowed=0), False, False),
    "all there could be": (grant(allowed=MOST), True, True),
    "as good as all": (grant(allowed=UNLIMITED), True, True),
    "much": (grant(allowed=UNLIMITED - 1), True, False),
    "Permit2's all": (grant(kind="permit2", allowed=2**160 - 1, expires_at=101), True, True),
    "Permit2 in its last second": (grant(kind="permit2", expires_at=100), True, False),
    "Permit2 run out": (grant(kind="permit2", expires_at=99), False, False),
    "an operator": (grant(kind="operator", allowed=MOST), True, True),
    "without any balance": (grant(balance=0), True, False),
}


@pytest.mark.parametrize(("right", "lives", "endless"), LIVE.values(), ids=LIVE)
def test_what_counts(right: Grant, *, lives: bool, endless: bool) -> None:
    """A right lives while something can be taken by it, and some never run out."""
    assert (live([right], now_s=100) == [right]) is lives
    assert right.is_unlimited is endless


def test_the_worst_first() -> None:
    """Other code, then rights without end, then by what they expose."""
    small, big, endless = grant(), grant(allowed=8), grant(allowed=MOST, balance=1)
    code = grant(kind="delegation", allowed=MOST, balance=0)
    assert live([small, big, endless, code], now_s=0) == [code, endless, big, small]


def test_money() -> None:
    """Exposure is valued at the price of a whole unit; without a price it has no figure."""
    prices = {"usdc": (Decimal("0.999"), 6)}
    (first, second) = valued([grant(allowed=MOST, balance=2_000_000), grant(asset="other")], prices=prices)
    assert first.value == Decimal("1.998")
    assert second.value is None


@pytest.mark.parametrize("changed", [{"allowed": -1}, {"allowed": 2**256}, {"balance": -1}])
def test_amounts_that_are_none(changed: dict[str, int]) -> None:
    """No contract keeps such a number."""
    with pytest.raises(RiskError):
        grant(**changed)
