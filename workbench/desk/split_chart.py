"""The cumulative cost of tranches as a static drawing: a line for each case, one for the limit.

Drawn narrow enough for a telephone and scaled up to the page. Ink is the page's own but for the worst case;
lines differ by their dashes too, and are named with their totals above the drawing, so that it reads in
light, in dark, without telling colours apart, and where lines lie on one another. Whoever cannot see it is
told the same numbers.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from workbench.desk.drawing import INK, legend, svg
from workbench.desk.show import ACCENT, Shown
from workbench.risk.split import Recovery

NAMES = {
    Recovery.NONE: "back to back",
    Recovery.BAND: "to the fee band",
    Recovery.FULL: "in full",
}
DASHES = {Recovery.NONE: [1, 0], Recovery.BAND: [6, 3], Recovery.FULL: [2, 2]}
LIMIT_DASH = [10, 4]
WIDTH, HEIGHT = 250, 170  # with the axis what a narrow page shows without scaling
LABELS_MAX = 8  # more numbers, or marks, would run into each other
PADDING = {"left": 8, "top": 4, "right": 16, "bottom": 6}
TITLE = "Cumulative cost by tranche"


def draw(courses: Mapping[Recovery, Sequence[float]], limit_name: str, limit: float) -> Shown:
    """Draw what is lost after each tranche, in dollars."""
    labels = {each: f"{NAMES[each]}: ${costs[-1]:,.0f}" for each, costs in courses.items()}
    limited = f"{limit_name}: ${limit:,.0f}"
    count = max(len(costs) for costs in courses.values())
    rows = [
        {"case": labels[each], "tranche": number, "cost": cost, "mark": number > 0 and count <= LABELS_MAX}
        for each, costs in courses.items()
        for number, cost in enumerate([0.0, *costs])
    ]
    rows += [{"case": limited, "tranche": number, "cost": limit, "mark": False} for number in (0, count)]
    domain = [*labels.values(), limited]
    colours = _scale(domain, _colours(labels))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("tranche:Q", title="tranches sent", axis=_numbers(count), scale=alt.Scale(domain=[0, count])),
        y=alt.Y("cost:Q", title=None, axis=alt.Axis(format="$,.0f", tickCount=5)),
    )
    lines = base.mark_line(strokeWidth=1.6).encode(
        color=alt.Color("case:N", title=None, scale=colours, legend=legend()),
        strokeDash=alt.StrokeDash(
            "case:N", title=None, scale=_scale(domain, _dashes(labels)), legend=legend()
        ),
    )
    marks = (
        base.transform_filter("datum.mark")
        .mark_circle(size=20, opacity=1)
        .encode(color=alt.Color("case:N", scale=colours, legend=None))
    )
    drawn = svg((lines + marks).properties(width=WIDTH, height=HEIGHT), width_max="34rem", padding=PADDING)
    told = _told(courses, limited)
    title = f"<p><strong>{TITLE}</strong></p>"
    return Shown(f'{title}<div role="img" aria-label="{html.escape(told)}">{drawn}</div>')


def _told(courses: Mapping[Recovery, Sequence[float]], limited: str) -> str:
    lines = [
        f"{NAMES[each]}: " + ", ".join(f"${cost:,.0f}" for cost in costs) for each, costs in courses.items()
    ]
    return f"{TITLE}. " + ". ".join([*lines, limited]) + "."


def _numbers(count: int) -> alt.Axis:
    step = -(-count // LABELS_MAX)
    return alt.Axis(values=list(range(0, count + 1, step)), format="d", grid=False)


def _colours(labels: Mapping[Recovery, str]) -> list[str]:
    return [ACCENT if each is Recovery.NONE else INK for each in labels] + [INK]


def _dashes(labels: Mapping[Recovery, str]) -> list[list[int]]:
    return [DASHES[each] for each in labels] + [LIMIT_DASH]


def _scale(domain: list[str], values: Sequence[str] | Sequence[list[int]]) -> alt.Scale:
    return alt.Scale(domain=domain, range=values)
