"""Exposure as static drawings: exceedance curves, bars of what controls and figures do, incidents of years.

Drawn narrow enough for a telephone and scaled up to the page. Ink is the page's own, lines differ by their
dashes and bars by their places, and the same numbers stand in words beside them, so that a drawing reads in
light, in dark, in print and without telling colours apart.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

import altair as alt
import pandas as pd

from workbench.desk.drawing import INK, legend, svg
from workbench.desk.show import ACCENT, Shown

WIDTH, HEIGHT = 250, 190  # pixels; with the axis what a narrow page shows without scaling
BAND, BAR = 30, 8
PADDING = {"left": 8, "top": 4, "right": 22, "bottom": 6}
DASHES = ([1, 0], [6, 3], [2, 2])
MONEY = "format(datum.value, '$.2~s')"
ODDS = "datum.value >= 1 ? '1 in 1' : '1 in ' + format(round(1 / datum.value), ',')"
RAREST = 1e-6
LINE = 60

Curve = Sequence[tuple[float, float]]


def curves(title: str, found: Mapping[str, Curve], appetite: tuple[float, float] | None = None) -> Shown:
    """Draw how likely a year costs more than a loss, both on logarithms; the appetite as a cross."""
    lowest = min((loss for curve in found.values() for loss, _ in curve if loss > 0), default=1.0)
    rows = [
        {"curve": name, "loss": max(loss, lowest / 2), "above": max(above, RAREST), "order": place}
        for name, curve in found.items()
        for place, (loss, above) in enumerate(_seen(curve))
    ]
    if not any(above >= RAREST for curve in found.values() for _, above in curve):
        return Shown(f"<p><strong>{html.escape(title)}</strong>: nothing is ever lost.</p>")
    highest = 1.2 * max(loss for curve in found.values() for loss, _ in _seen(curve))
    base = alt.Chart(pd.DataFrame(rows))
    lines = base.mark_line(interpolate="step-after", strokeWidth=1.6).encode(
        x=alt.X(
            "loss:Q",
            title="a year costs more than",
            scale=alt.Scale(type="log", domain=[lowest / 2, highest]),
            axis=alt.Axis(
                labelExpr=MONEY, values=_decades(lowest / 2, highest), labelOverlap="greedy", grid=True
            ),
        ),
        y=alt.Y(
            "above:Q",
            title=None,
            scale=alt.Scale(type="log", domain=[RAREST, 1]),
            axis=alt.Axis(labelExpr=ODDS, values=[1, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6]),
        ),
        order="order:Q",
        color=alt.Color(
            "curve:N", title=None, scale=_scale(list(found), [ACCENT, INK, INK]), legend=legend()
        ),
        strokeDash=alt.StrokeDash("curve:N", title=None, scale=_scale(list(found), DASHES), legend=legend()),
    )
    drawn = lines if appetite is None else lines + _cross(*appetite)
    return _shown(title, drawn.properties(width=WIDTH, height=HEIGHT), _told(found))


def _seen(curve: Curve) -> Curve:
    """Return the points as far as the drawing reaches, and the one at which the curve leaves it."""
    rare = next((place for place, (_, above) in enumerate(curve) if above < RAREST), len(curve))
    return curve[: rare + 1]


def bars(title: str, found: Mapping[str, tuple[float, float]], *, middle: float = 0.0) -> Shown:
    """Draw a bar from one amount to another for each name, in their order; the middle as a line."""
    if not found:
        return Shown(f"<p><strong>{html.escape(title)}</strong>: nothing.</p>")
    rows = [
        {"name": name, "low": low, "high": high, "least": min(0.0, low, middle)}
        for name, (low, high) in found.items()
    ]
    # a name stands above its bar: beside it, it would leave a narrow page no room
    base = alt.Chart(pd.DataFrame(rows)).encode(y=alt.Y("name:N", title=None, sort=list(found), axis=None))
    money = alt.Axis(labelExpr=MONEY, tickCount=4, labelOverlap="greedy")
    drawn = base.mark_bar(color=ACCENT, height=BAR, yOffset=BAR).encode(
        x=alt.X("low:Q", title="USD a year", axis=money), x2="high:Q"
    )
    said = base.mark_text(align="left", baseline="middle", color=INK, dy=-4, fontSize=9.5).encode(
        x="least:Q", text="name:N"
    )
    rule = alt.Chart(pd.DataFrame([{"at": middle}])).mark_rule(color=INK).encode(x="at:Q")
    told = ". ".join(f"{name}: {low:,.0f} to {high:,.0f}" for name, (low, high) in found.items())
    layers = (drawn + rule + said).properties(width=WIDTH + 20, height=BAND * len(found))
    return _shown(title, layers, told)


def counts(title: str, seen: Mapping[int, int], foretold: Mapping[int, tuple[int, int]]) -> Shown:
    """Draw each year's number as a point, and as a bar the interval that the years before foretold of it."""
    years = sorted({*seen, *foretold})
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy")
    x = alt.X("year:O", title=None, scale=alt.Scale(domain=years), axis=axis)
    points = [{"year": year, "number": number} for year, number in seen.items()]
    bars = [{"year": year, "low": low, "high": high} for year, (low, high) in foretold.items()]
    drawn = alt.Chart(pd.DataFrame(points)).mark_point(size=60, color=INK, filled=True, opacity=1)
    layers = drawn.encode(x=x, y=alt.Y("number:Q", title=None, axis=alt.Axis(tickCount=5)))
    if bars:
        base = alt.Chart(pd.DataFrame(bars)).mark_bar(color=ACCENT, width=BAR)
        layers = base.encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q") + layers
    told = ". ".join(
        [f"{year}: {number:,}" for year, number in seen.items()]
        + [f"foretold of {year}: {low:,} to {high:,}" for year, (low, high) in foretold.items()]
    )
    return _shown(title, layers.properties(width=WIDTH, height=HEIGHT), told)


def losses(title: str, seen: Curve, quantile: Callable[[float], float]) -> Shown:
    """Draw how often a loss is larger, both on logarithms: points are what was seen, the line is the fit."""
    rarest = min(above for _, above in seen) / 2
    steps = [rarest ** (place / LINE) for place in range(1, LINE + 1)]
    line = [{"loss": quantile(1 - above), "above": above} for above in steps]
    points = [{"loss": loss, "above": above} for loss, above in seen]
    domain = [
        min(each["loss"] for each in (*points, *line)),
        max(each["loss"] for each in (*points, *line)) * 1.2,
    ]
    x = alt.X(
        "loss:Q",
        title="a loss is more than",
        scale=alt.Scale(type="log", domain=domain),
        axis=alt.Axis(labelExpr=MONEY, values=_decades(*domain), labelOverlap="greedy"),
    )
    y = alt.Y(
        "above:Q",
        title=None,
        scale=alt.Scale(type="log", domain=[rarest, 1]),
        axis=alt.Axis(labelExpr=ODDS, values=[1, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6]),
    )
    fitted = alt.Chart(pd.DataFrame(line)).mark_line(color=ACCENT, strokeWidth=1.6).encode(x=x, y=y)
    drawn = alt.Chart(pd.DataFrame(points)).mark_point(size=14, color=INK, filled=True, opacity=1)
    told = ", ".join(f"over {loss:,.0f} with {above:.2g}" for loss, above in seen[-8:])
    layers = (drawn.encode(x=x, y=y) + fitted).properties(width=WIDTH, height=HEIGHT)
    return _shown(title, layers, f"seen: {told}")


def _decades(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(-1, 16) if low <= 10.0**power <= high]


def _cross(loss: float, allowed: float) -> alt.Chart:
    data = pd.DataFrame([{"loss": loss, "above": allowed}])
    drawn: alt.Chart = alt.Chart(data).mark_point(shape="cross", size=90, color=INK, filled=True, opacity=1)
    return drawn.encode(x="loss:Q", y="above:Q")


def _scale(domain: list[str], values: Sequence[str] | Sequence[list[int]]) -> alt.Scale:
    return alt.Scale(domain=domain, range=list(values[: len(domain)]))


def _told(found: Mapping[str, Curve]) -> str:
    return ". ".join(
        f"{name}: " + ", ".join(f"over {loss:,.0f} with {above:.2g}" for loss, above in curve[:8])
        for name, curve in found.items()
    )


def _shown(title: str, chart: alt.LayerChart | alt.Chart, told: str) -> Shown:
    drawn = svg(chart, width_max="36rem", padding=PADDING)
    head = f"<p><strong>{html.escape(title)}</strong></p>"
    return Shown(f'{head}<div role="img" aria-label="{html.escape(told)}">{drawn}</div>')
