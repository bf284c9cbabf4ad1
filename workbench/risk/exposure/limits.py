"""Limits that keep the appetite: how much one place may hold, and the change of the policy set that says so.

(1) For each position: the largest value V so that a year loses more than the appetite's `loss` with no more
    than its `probability`, when no event takes more than V there and everything else stays as it is. Found by
    bisection over exact portfolios, to a thousandth of the position, rounded down to whole dollars.
(2) If the appetite is kept with the position as it is, V is its value: nothing has to change. If it is not
    kept with nothing there at all, V is nothing: the trouble lies elsewhere, and the answer says so.
(3) A position that names a number of `limits.json` (`limit`, for a `tier`) has it lowered to V, never raised.
    What comes of it is a draft: bytes of a next `limits.json`. People propose it, read it and sign it like
    any change of the policy set; nothing here, and no kernel, moves a limit.
(4) No draft rests on an assumption whose time is over: it is refused with its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import annual, residual
from workbench.risk.exposure.scenarios import Portfolio, Position, aged

STEPS: Final = 10
COARSE: Final = 2**13
CENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Derived:
    """(1) What a position may hold (USD), and how likely a year over the appetite is before and after."""

    position: str
    value: int
    limit: int
    before: float
    after: float

    @property
    def is_enough(self) -> bool:
        """(2) Whether the appetite is kept at this limit at all."""
        return self.limit > 0 or self.value == 0


@dataclass(frozen=True, slots=True)
class Draft:
    """(3) A next `limits.json`, and what is different in it: path, from, to (US cents)."""

    content: bytes
    changes: tuple[tuple[str, int, int], ...]


def derive(portfolio: Portfolio) -> list[Derived]:
    """(1) Return what each position may hold. Raises without an appetite or a position."""
    if portfolio.appetite is None or not portfolio.positions:
        raise RiskError("limits follow from an appetite and positions: the file has not both")
    return [_derived(portfolio, each) for each in portfolio.positions]


def draft(portfolio: Portfolio, limits: Mapping[str, Any], *, today: date) -> Draft:
    """(3) Return a next `limits.json` that keeps the appetite.

    Args:
        portfolio: the scenarios, whose positions name the limits that bound them.
        limits: the present file, parsed.
        today: (4) by which assumptions are past their expiry.

    """
    expired = [each.path for each in aged(portfolio, today) if each.expired]
    if expired:
        raise RiskError(f"{expired[0]}: the time of this assumption is over, as of {len(expired)} in all")
    following = json.loads(json.dumps(limits))
    changes = []
    for found, position in zip(derive(portfolio), portfolio.positions, strict=True):
        if position.limit is None:
            continue
        if not found.is_enough:
            raise RiskError(f"{position.id}: the appetite is not kept with nothing there at all")
        place, path = _place(following, position)
        present, wanted = int(place[position.limit]), found.limit * CENTS
        if wanted < present:
            place[position.limit] = wanted
            changes.append((path, present, wanted))
    content = json.dumps(following, indent=2).encode() + b"\n"
    return Draft(content, tuple(changes))


def _place(limits: dict[str, Any], position: Position) -> tuple[dict[str, Any], str]:
    name = str(position.limit)
    tiers = limits.get("tiers", {})
    if position.tier == "hot":
        place, path = limits, f"/{name}"
    else:
        place, path = tiers.get(position.tier, {}), f"/tiers/{position.tier}/{name}"
    if name not in place:
        raise RiskError(f"{path}: the limits have no such number")
    return place, path


def _derived(portfolio: Portfolio, position: Position) -> Derived:
    assert portfolio.appetite is not None  # noqa: S101 - `derive` has seen to it
    allowed, value = float(portfolio.appetite.probability), float(position.value)
    before = _above(portfolio, position, value)
    low, high = 0.0, value
    if before <= allowed:
        low = value
    elif _above(portfolio, position, 0.0) <= allowed:
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if _above(portfolio, position, middle) <= allowed else (low, middle)
    limit = int(low)
    return Derived(position.id, int(value), limit, before, _above(portfolio, position, float(limit)))


def _above(portfolio: Portfolio, position: Position, limit: float) -> float:
    appetite = portfolio.appetite
    assert appetite is not None  # noqa: S101 - as above
    hit = [each.position == position.id for each in portfolio.scenarios]
    risks = [
        risk.limited(limit) if is_hit else risk for risk, is_hit in zip(residual(portfolio), hit, strict=True)
    ]
    stress = float(portfolio.stress.shape) if portfolio.stress else None
    return annual(risks, stress=stress, size=COARSE).above(float(appetite.loss))
