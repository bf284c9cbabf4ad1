"""A pair's price as a table: the median and its spread, each source, and who was left out and why.

The quotes are verified, and the median is computed, in this kernel (`client.prices`). A source that counts,
one that was left out and one that said nothing stand in one table.
"""

from __future__ import annotations

import html
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from workbench.client import Client, SeenPrice
from workbench.desk.show import Shown, table
from workbench.risk.prices import Gates, Quote, deviation_bps
from workbench.rules.trust import TrustRoot

DIGITS = 6
BESIDE = "\u00a0"


def price(client: Client, base: str, quote: str, *, trust_root: Path | TrustRoot, gates: Gates) -> SeenPrice:
    """Return the price that the sources agree on; raises, naming them, when they do not."""
    believed = trust_root if isinstance(trust_root, TrustRoot) else TrustRoot.read(trust_root.read_bytes())
    return client.prices(base, quote, trust_root=believed, gates=gates)


def shown(seen: SeenPrice) -> Shown:
    """Return the price, and a row for each source."""
    return Shown(f"<p>{html.escape(sentence(seen))}</p>{_scrolling(sources(seen)).markup}")


def sentence(seen: SeenPrice) -> str:
    """Return the price in one sentence, with the block that it was read at."""
    told, found = seen.told.statements[0], seen.price
    gates, out = seen.gates, len(found.left_out) + len(seen.told.missing)
    return (
        f"1 {told.base} is {_figure(found.median)} {told.quote}: the median of {len(found.used)} sources, "
        f"{found.spread_bps} bp apart; {out or 'none'} left out. Read at block {told.block.number}, "
        f"{seen.now:%H:%M:%S} UTC; at least {gates.sources_min} sources, at most {gates.age_s_max} s "
        f"old and {gates.deviation_bps_max} bp from the median."
    )


def sources(seen: SeenPrice) -> Shown:
    """Return each source with its price, age and deviation, and what became of it."""
    kinds = {each.source: each.kind for told in seen.told.statements for each in told.quotes}
    rows = [_row(seen, each, kinds[each.source], counts="yes", why="") for each in seen.price.used]
    rows += [
        _row(seen, each.quote, kinds[each.quote.source], counts="NO", why=f"LEFT OUT: {each.reason}")
        for each in seen.price.left_out
    ]
    nothing = dict.fromkeys(("price", "age", "from median", "kind"), "-")
    rows += [
        {"source": each.source, "counts": "NO", **nothing, "why": f"NO QUOTE: {each.reason}"}
        for each in seen.told.missing
    ]
    return table("Sources", rows)


def _row(seen: SeenPrice, quote: Quote, kind: str, *, counts: str, why: str) -> dict[str, object]:
    away = deviation_bps(quote.price, seen.price.median)
    signed = away if quote.price >= seen.price.median else -away
    return {
        "source": quote.source,
        "counts": counts,
        "price": _figure(quote.price),
        "age": f"{(seen.now - quote.at).total_seconds():.0f}{BESIDE}s",
        "from median": _bps(signed),
        "kind": kind,
        "why": "; ".join(each for each in (why, quote.detail) if each),
    }


def _bps(away: Fraction) -> str:
    return f"{float(away):+,.1f}{BESIDE}bp".replace("-", "−")


def _figure(value: Decimal) -> str:
    """Return a price with two places, or with as many as six digits of a small one need."""
    places = max(2, DIGITS - 1 - value.adjusted()) if value < 1 else 2
    return f"{value:,.{places}f}"


def _scrolling(shown: Shown) -> Shown:
    # the figures stay whole on a telephone, and the table scrolls; only the reasons, in words, break
    markup = shown.markup.replace("overflow-wrap: anywhere", "min-width: 14em")
    return Shown(f'<div style="overflow-x: auto">{markup}</div>')
