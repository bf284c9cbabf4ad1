"""Advice on a purchase in tranches, from a pool that this kernel has proven: drawn, in numbers, and in words.

(1) The pool's state is proven under the trust root that the caller names; the figures are computed here, from
    it, by `workbench.risk.split`. Neither a node nor the service is believed for any of them.
(2) Three cases stand beside each other and beside the limit: nothing recovers between the tranches, the price
    comes back as far as arbitrage pays for, it comes back in full. None of them is a forecast.
(3) Every sentence is made from the figures. Where splitting alone saves nothing, they show it.
(4) Advice binds nobody. A tranche is simulated again, approved and signed like any other intent, and its
    minimum output stands in its calldata.

As everywhere at the desk, what is paid counts in dollars. Amounts are exact until they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from pathlib import Path

from workbench.client import Client, ProvenPool
from workbench.desk import split_chart
from workbench.desk.drafts import Market
from workbench.desk.show import Shown, percent, table
from workbench.desk.split_chart import NAMES
from workbench.risk.split import TRANCHES_MAX, Advice, Cost, Recovery, Terms
from workbench.risk.split import advise as computed
from workbench.risk.venue import Venue
from workbench.rules.trust import TrustRoot

PPM_A_BPS = 100
CENT, SHOWN = Decimal("0.01"), Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The advice, the pool it was computed from, and the market it is for."""

    advice: Advice
    seen: ProvenPool
    market: Market

    def _repr_html_(self) -> str:
        parts = (chart(self), words(self), cases(self), tranches(self), terms(self))
        return "".join(each.markup for each in parts)


def advise(
    client: Client,
    market: Market,
    *,
    factory: str,
    trust_root: Path | TrustRoot,
    amount_in: Decimal,
    tranches: int,
    limit_bps: int,
) -> Split:
    """Prove the market's pool; say what paying `amount_in` (whole units) in so many tranches would cost."""
    believed = trust_root if isinstance(trust_root, TrustRoot) else TrustRoot.read(trust_root.read_bytes())
    venue = Venue.of(factory, market.token_in, market.token_out, market.pool_fee)
    amount = int(amount_in.scaleb(market.decimals_in))
    seen = client.pool(venue, token_in=market.token_in, amount_in=amount, trust_root=believed)
    advice = computed(
        seen.pool,
        amount_in=amount,
        zero_for_one=venue.zero_for_one(market.token_in),
        limit_bps=limit_bps,
        tranches=tranches,
    )
    return Split(advice=advice, seen=seen, market=market)


def chart(split: Split) -> Shown:
    """Draw the cumulative cost, tranche by tranche, in each case against the limit."""
    unit = 10**split.market.decimals_in
    courses = {
        recovery: [float(each / unit) for each in course.cumulative()]
        for recovery, course in split.advice.courses.items()
    }
    limit = f"limit {_percent_of(split.advice.limit_bps)}"
    return split_chart.draw(courses, limit, float(_limit(split) / unit))


def words(split: Split) -> Shown:
    """Say what the figures come to."""
    return Shown("".join(f"<p>{sentence}</p>" for sentence in sentences(split)))


def sentences(split: Split) -> list[str]:
    """Return what the figures come to, sentence by sentence."""
    recovery = [_recovery(split), *_gates(split)] if len(split.advice.terms) > 1 else []
    return [_saving(split), _fewest(split), *recovery, _seen(split)]


def cases(split: Split) -> Shown:
    """Show each case: what it costs, whether that meets the limit, and what an arbitrageur makes of it."""
    advice = split.advice
    rows = [
        {
            "case": NAMES[recovery],
            "slippage": percent(course.total.slippage_ppm),
            "cost": _dollars(split, course.total.lost),
            "within": "yes" if course.total.within(advice.limit_bps) else "NO",
            "arbitrage": _dollars(split, course.arbitrage),
        }
        for recovery, course in advice.courses.items()
    ]
    once = {
        "case": "in one go",
        "slippage": percent(advice.once.slippage_ppm),
        "cost": _dollars(split, advice.once.lost),
        "within": "yes" if advice.once.within(advice.limit_bps) else "NO",
        "arbitrage": "-",
    }
    limit = f"{_percent_of(advice.limit_bps)}, {_dollars(split, _limit(split))}"
    return _scrolling(_table(f"Cost by how far the pool recovers, against a limit of {limit}", [once, *rows]))


def tranches(split: Split) -> Shown:
    """Show each tranche's slippage against the first price, in each case."""
    columns = [(NAMES[recovery], course.tranches) for recovery, course in split.advice.courses.items()]
    rows = [
        {"tranche": number + 1} | {name: percent(costs[number].slippage_ppm) for name, costs in columns}
        for number in range(len(split.advice.terms))
    ]
    return _scrolling(
        _table("Slippage of each tranche against the first price, by how far the pool recovers", rows)
    )


def terms(split: Split) -> Shown:
    """Show what each tranche is sent with, and how near to the first price the pool must be before."""
    rows = [
        {
            "tranche": number,
            "pays": _dollars(split, Fraction(each.amount_in)),
            "receives at least": _least(each.minimum_out, split.market.decimals_out),
            "price within": _near(each),
        }
        for number, each in enumerate(split.advice.terms, 1)
    ]
    margin = split.advice.margin_bps
    title = f"Terms: a minimum {margin} bp below what the fee band gives, and never beyond the limit"
    return _scrolling(_table(title, rows))


def _saving(split: Split) -> str:
    advice = split.advice
    once, count = advice.once, len(advice.terms)
    if count == 1:
        return f"In one go this costs {_cost(split, once)}; one tranche is one go."
    alone = advice.courses[Recovery.NONE].total
    saved = _money(split, advice.saved)
    verdict = f"saves {_signed(saved)}" if saved > 0 else "saves nothing"
    more = f", and costs {_signed(-saved)} more" if saved < 0 else ""
    return (
        f"In one go this costs {_cost(split, once)}; in {count} tranches back to back {_cost(split, alone)}: "
        f"splitting alone {verdict}{more}."
    )


def _recovery(split: Split) -> str:
    band, full = (split.advice.courses[each] for each in (Recovery.BAND, Recovery.FULL))
    text = (
        f"If the pool recovers in between, {_cost(split, band.total)} where arbitrage brings the price back "
        f"to its fee band (and earns {_dollars(split, band.arbitrage)}), "
        f"{_cost(split, full.total)} where it comes back in full."
    )
    if full.arbitrage < 0:
        loss = _dollars(split, -full.arbitrage)
        text += (
            f" In full it comes back for other reasons than profit: that would cost an arbitrageur {loss}."
        )
    return text


def _fewest(split: Split) -> str:
    advice = split.advice
    told = [
        f"{NAMES[recovery]}: {fewest}" if fewest else f"{NAMES[recovery]}: no number up to {TRANCHES_MAX}"
        for recovery, fewest in advice.fewest.items()
    ]
    return f"Fewest tranches that meet the limit of {_percent_of(advice.limit_bps)}: {'; '.join(told)}."


def _gates(split: Split) -> list[str]:
    gates = [each.gate_ppm for each in split.advice.terms[1:]]
    nearest = min((each for each in gates if each is not None), default=None)
    if None in gates or nearest is None:
        return ["A tranche of this size misses the limit even from the first price: take more tranches."]
    text = f"Send a tranche only once the price is back within {_bps(nearest)} of the first one."
    if nearest < split.seen.pool.fee:  # both in millionths
        text += " That is inside the fee band: arbitrage alone does not bring it so near."
    return [text]


def _seen(split: Split) -> str:
    state = split.seen.state
    return (
        f"From the pool as block {state.block_number} of {state.block_time:%H:%M:%S} UTC has it, proven here."
    )


def _near(each: Terms) -> str:
    return "no price suffices" if each.gate_ppm is None else _bps(each.gate_ppm)


def _bps(ppm: int) -> str:
    return f"{Decimal(ppm) / PPM_A_BPS:.2f} bp"


def _percent_of(bps: int) -> str:
    return f"{Decimal(bps) / 100:.2f} %"


def _limit(split: Split) -> Fraction:
    return Fraction(split.advice.once.paid * split.advice.limit_bps, 10_000)


def _cost(split: Split, cost: Cost) -> str:
    return f"{percent(cost.slippage_ppm)} ({_dollars(split, cost.lost)})"


def _dollars(split: Split, units: Fraction) -> str:
    value = round(units / 10**split.market.decimals_in)
    return f"−${-value:,}" if value < 0 else f"${value:,}"


def _money(split: Split, units: Fraction) -> Decimal:
    whole = units / 10**split.market.decimals_in
    return (Decimal(whole.numerator) / Decimal(whole.denominator)).quantize(CENT)


def _signed(value: Decimal) -> str:
    return f"${value:,}"


def _least(amount: int, decimals: int) -> str:
    # shown a little less than it is: "at least" stays true
    whole = Decimal(amount).scaleb(-decimals).quantize(SHOWN, rounding=ROUND_DOWN)
    return f"{whole:,f}"


def _table(title: str, rows: Sequence[Mapping[str, object]]) -> Shown:
    # a case's name and a figure's sign stay on one line
    whole = [{name: str(value).replace(" ", "\u00a0") for name, value in row.items()} for row in rows]
    return table(title, whole)


def _scrolling(shown: Shown) -> Shown:
    # a telephone is narrower than five columns: the table scrolls, and neither the page nor a figure breaks
    markup = shown.markup.replace("overflow-wrap: anywhere", "white-space: nowrap")
    return Shown(f'<div style="overflow-x: auto">{markup}</div>')
