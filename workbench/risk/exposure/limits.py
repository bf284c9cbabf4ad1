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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import Risk, annual, residual
from workbench.risk.exposure.scenarios import Portfolio, Position, aged

STEPS: Final = 10
COARSE: Final = 2**13
CENTS: Final = 100
WORK_MAX: Final = 1024
"""Positions times scenarios: each is looked at a dozen times, for some seconds in all."""
FILE_MAX: Final = 64 * 1024  # bytes; as any file of a policy set


@dataclass(frozen=True, slots=True)
class Derived:
    """(1) What a position may hold (USD), and how likely a year over the appetite is before and after."""

    position: str
    value: int
    limit: int
    before: float
    after: float

    is_enough: bool
    """(2) Whether the appetite is kept at this limit: nothing there may be enough, or not."""


@dataclass(frozen=True, slots=True)
class Draft:
    """(3) A next `limits.json`, and what is different in it: path, from, to (US cents)."""

    content: bytes
    changes: tuple[tuple[str, int, int], ...]


def derive(portfolio: Portfolio) -> list[Derived]:
    """(1) Return what each position may hold. Raises without an appetite or a position."""
    if portfolio.appetite is None or not portfolio.positions:
        raise RiskError("limits follow from an appetite and positions: the file has not both")
    if (work := len(portfolio.positions) * len(portfolio.scenarios)) > WORK_MAX:
        raise RiskError(f"/positions: {work} times a scenario to look at, at most {WORK_MAX}")
    whole = residual(portfolio)
    return [_derived(portfolio, each, whole) for each in portfolio.positions]


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


def read(raw: bytes) -> dict[str, Any]:
    """Return what a `limits.json` says, or refuse: no key twice, and no number that is not whole."""
    if len(raw) > FILE_MAX:
        raise RiskError(f"the limits have more than {FILE_MAX} bytes")
    try:
        found = json.loads(raw, object_pairs_hook=_once, parse_float=_whole, parse_constant=_whole)
    except (ValueError, RecursionError) as error:
        raise RiskError(f"the limits are not read: {error!s:.80}") from error
    if not isinstance(found, dict):
        raise RiskError("the limits are no object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _whole(written: str) -> int:
    raise ValueError(f"{written:.40} is no whole number")


def _place(limits: dict[str, Any], position: Position) -> tuple[dict[str, Any], str]:
    name, tiers = str(position.limit), limits.get("tiers")
    place: object = limits
    path = f"/{name}"
    if position.tier != "hot":
        place = tiers.get(position.tier) if isinstance(tiers, dict) else None
        path = f"/tiers/{position.tier}/{name}"
    if not isinstance(place, dict) or name not in place:
        raise RiskError(f"{path}: the limits have no such number")
    if type(place[name]) is not int or place[name] < 0:
        raise RiskError(f"{path}: not a whole number of US cents")
    return place, path


def _derived(portfolio: Portfolio, position: Position, whole: Sequence[Risk]) -> Derived:
    assert portfolio.appetite is not None  # noqa: S101 - `derive` has seen to it
    allowed, value = float(portfolio.appetite.probability), float(position.value)

    def above(limit: float) -> float:
        return _above(portfolio, position, whole, limit)

    before = above(value)
    low, high = 0.0, value
    if before <= allowed:
        low = value
    elif above(0.0) <= allowed:
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if above(middle) <= allowed else (low, middle)
    limit = int(low)
    after = above(float(limit))
    return Derived(position.id, int(value), limit, before, after, is_enough=after <= allowed)


def _above(portfolio: Portfolio, position: Position, whole: Sequence[Risk], limit: float) -> float:
    appetite = portfolio.appetite
    assert appetite is not None  # noqa: S101 - as above
    hit = [each.position == position.id for each in portfolio.scenarios]
    risks = [risk.limited(limit) if is_hit else risk for risk, is_hit in zip(whole, hit, strict=True)]
    stress = portfolio.stress_shape
    return annual(risks, stress=stress, size=COARSE).above(float(appetite.loss))
