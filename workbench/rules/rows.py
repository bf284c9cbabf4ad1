"""The rows that a page or a terminal shows, and how amounts and addresses are written in them.

An amount is written to its last digit, thousands apart, in units of an asset of the signed set; of any other
asset it is in base units, since a guessed number of decimals would be believed, with what it calls itself.
An address has a name when the set gives it one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, Final

from workbench.evm.fields import from_decimal
from workbench.rules.approval import Asked
from workbench.rules.keys import SafeKey
from workbench.rules.policy import PolicySet
from workbench.rules.tokens import unlisted

CHUNK: Final = 4
EXACT: Final = Context(prec=120)
"""Longer than any amount: the usual 28 digits would round one with 18 decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: a label, what it says, hexadecimal in full, a remark; `alarm` where somebody should stop."""

    label: str
    says: str = ""
    hex: str = ""
    remark: str = ""
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one title."""

    title: str
    rows: list[Row]


def named(asked: Asked, address: str) -> str:
    """Return who an address is in the policy set; empty when it is nobody."""
    return known_as(asked.policy, address)


def known_as(policy: PolicySet, address: str) -> str:
    """Return who an address is in this policy set; empty when it is nobody."""
    keys = {key.address: f"our key {key.id}" for key in policy.keys.values()}
    safes = [key for key in policy.keys.values() if isinstance(key, SafeKey)]
    keys |= {each.address: f"{each.cosigner}, owner of {safe.id}" for safe in safes for each in safe.owners}
    contracts = {entry.address: entry.name for entry in policy.whitelist.values()}
    tokens = {each.asset: f"the token {each.symbol}" for each in policy.assets.values()}
    return keys.get(address) or contracts.get(address) or tokens.get(address) or ""


def spelled(address: str) -> str:
    """Return an address in pieces, so that it breaks and can be compared."""
    return "0x " + " ".join(address[place : place + CHUNK] for place in range(2, len(address), CHUNK))


def amount(asked: Asked, asset: str, base_units: str, *, sign: bool = False) -> str:
    """Return an amount in units of an asset of the set, or in base units of one that is not."""
    known = asked.policy.assets.get(asset)
    if known is None:
        what = unlisted(asked.simulation.tokens, asset, asked.policy.assets)
        text = f"{int(base_units):,} base units of {spelled(asset)}, {what}"
        return text.replace("-", "\u2212")
    text = grouped(scaled(int(base_units), known.decimals))
    return f"{'+' if sign and not text.startswith('-') else ''}{text} {known.symbol}".replace("-", "\u2212")


def scaled(base_units: int, decimals: int) -> Decimal:
    """Return whole units, to the last digit."""
    return Decimal(base_units).scaleb(-decimals, EXACT)


def grouped(number: Decimal, places: int | None = None) -> str:
    """Return a number in full, thousands apart: nothing is rounded, no exponent is written."""
    text = f"{number:,.{places}f}" if places is not None else f"{number:,f}"
    return text if places is not None or "." not in text else text.rstrip("0").rstrip(".")


def second(value: Any) -> str:  # noqa: ANN401 - a decoded argument
    """Return a second of the chain's clock as people read it."""
    try:
        return f"{datetime.fromtimestamp(from_decimal(value), UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, TypeError, OverflowError, OSError):
        return f"{value}: a second that no calendar has"
