"""Fees: what a transaction may pay for its place, between its first bytes and the caps that people approved.

(1) An intent's two fees are caps: nobody pays more for it, whatever the chain does.
(2) The first bytes pay twice the base fee that is proven, and a tip: `facts.covers_fee` asks that of the
    cap. The tip is half of its cap, since whoever replaces them must raise both.
(3) Bytes take another's place in the nodes' pools when both fees rise by an eighth, rounded up, and by a wei
    at least: nodes ask for a tenth, and for more than nothing.
(4) The last step below the caps is a cancel's: what could not be cancelled would hold its lane for ever. Only
    where the caps are so tight that (2) takes that step too, there is none.

Pure. Whether bytes are an intent's at all is `carried`; whether somebody may replace or cancel is the gate.
"""

from __future__ import annotations

from dataclasses import dataclass

STEP_NUMERATOR, STEP_DENOMINATOR = 9, 8
"""An eighth more: 112.5 %."""
FEE_HEADROOM = 2
"""The base fee can double in six full blocks; less room than that strands a transaction in its lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """Both fees of a transaction, in wei a gas."""

    max_fee_per_gas: int
    max_priority_fee_per_gas: int

    def within(self, caps: Fees) -> bool:
        """Whether neither is above its cap."""
        return (
            self.max_fee_per_gas <= caps.max_fee_per_gas
            and self.max_priority_fee_per_gas <= caps.max_priority_fee_per_gas
        )

    def outbids(self, before: Fees) -> bool:
        """Whether a node takes these for a replacement of those before."""
        return raised(before).within(self)


def raised(before: Fees) -> Fees:
    """(3) Return the lowest fees that replace those before."""
    return Fees(
        max_fee_per_gas=_step(before.max_fee_per_gas),
        max_priority_fee_per_gas=_step(before.max_priority_fee_per_gas),
    )


def first(caps: Fees, *, base_fee_per_gas: int) -> Fees:
    """(2) (4) Return what the first bytes of an intent pay."""
    tip = min(caps.max_priority_fee_per_gas // 2, _below(caps.max_priority_fee_per_gas))
    most = max(_below(caps.max_fee_per_gas), FEE_HEADROOM * base_fee_per_gas)
    wanted = min(FEE_HEADROOM * base_fee_per_gas + tip, most, caps.max_fee_per_gas)
    return Fees(max_fee_per_gas=wanted, max_priority_fee_per_gas=min(tip, wanted))


def replacing(before: Fees, caps: Fees, *, base_fee_per_gas: int) -> Fees | None:
    """(3) (4) Return what bytes pay that replace those before; None without room for them and a cancel."""
    room = Fees(
        max_fee_per_gas=_below(caps.max_fee_per_gas),
        max_priority_fee_per_gas=_below(caps.max_priority_fee_per_gas),
    )
    return _enough(raised(before), room, base_fee_per_gas)


def cancelling(before: Fees, caps: Fees, *, base_fee_per_gas: int) -> Fees | None:
    """(3) Return what a cancel pays; None without room under the caps."""
    return _enough(raised(before), caps, base_fee_per_gas)


def _enough(least: Fees, room: Fees, base_fee_per_gas: int) -> Fees | None:
    if not least.within(room):
        return None
    tip = least.max_priority_fee_per_gas
    wanted = min(room.max_fee_per_gas, FEE_HEADROOM * base_fee_per_gas + tip)
    # a tip above the whole fee is no transaction
    return Fees(max_fee_per_gas=max(least.max_fee_per_gas, wanted), max_priority_fee_per_gas=tip)


def _step(fee: int) -> int:
    return max(fee + 1, -(-fee * STEP_NUMERATOR // STEP_DENOMINATOR))


def _below(cap: int) -> int:
    """Return the most that leaves a step up to the cap; none where there is no step."""
    return max(0, min(cap - 1, cap * STEP_DENOMINATOR // STEP_NUMERATOR))
