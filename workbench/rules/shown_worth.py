"""What an exchange is worth, as the person sees it who decides: the figure, and who was not believed.

It stands beside the slippage, which is measured against the very pool that is traded in. Where the policy
set demands no prices nothing is said; where it does and nobody can say the worth, that is an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workbench.risk.prices import Price
from workbench.rules.approval import Asked
from workbench.rules.documents import printable
from workbench.rules.rows import Row

LABEL: Final = "Worth less than it gives"


def rows(asked: Asked) -> Iterator[Row]:
    """Return the loss of the exchange, and a row for each pair and observer."""
    limit, weighed = asked.policy.limits.worth, asked.worth
    if limit is None or weighed is None:
        return
    if isinstance(weighed, str):
        yield Row(label=LABEL, says=f"NOT KNOWN: {printable(weighed)}", alarm=True)
        return
    yield Row(
        label=LABEL,
        says=f"{weighed.loss_bps / 100:.2f} %" if weighed.prices else "nothing is exchanged",
        remark=f"limit {limit.loss_bps_max / 100:.2f} %, at prices from outside, without gas",
        alarm=weighed.loss_bps > limit.loss_bps_max,
    )
    for base, told in sorted(weighed.prices.items()):
        for each in told:
            label = f"1 {base}" if len(told) == 1 else f"1 {base}, by {each.observer}"
            yield Row(label=label, says=f"{each.price.median:f} {limit.quote}", remark=_sources(each.price))


def _sources(price: Price) -> str:
    left_out = [f"{each.quote.source} LEFT OUT: {each.reason}" for each in price.left_out]
    said = f"the median of {', '.join(each.source for each in price.used)}, {price.spread_bps} bp apart"
    return printable("; ".join([said, *left_out]))
