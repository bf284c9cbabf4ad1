"""Entries over time as a static drawing: a row for each name, a mark for each stretch of time.

Drawn narrow enough for a telephone and scaled up to the page; ink is the page's own, marks are one colour
whose strength says how many, so that the drawing reads in light, in dark and without telling colours apart.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import altair as alt
import pandas as pd

from workbench.audit.rows import Activities, Activity
from workbench.desk.drawing import svg
from workbench.desk.show import ACCENT, Shown, table
from workbench.rules.documents import printable

WIDTH, ROW, LABEL = 200, 22, 140  # pixels; together what a narrow page shows without scaling
PADDING = {"left": 24, "top": 4, "right": 12, "bottom": 4}
HOUR_MIN, DAY_MIN = 60, 1440


def strip(title: str, found: Activities, name: Callable[[Activity], str]) -> Shown:
    """Draw the entries by what `name` gives for each."""
    if not found.counts:
        return table(title, [])
    totals: Counter[str] = Counter()
    marks: Counter[tuple[str, datetime]] = Counter()
    for each in found.counts:
        totals[name(each)] += each.number
        marks[name(each), each.begin] += each.number
    labels = {kind: f"{totals[kind]} {printable(kind)}" for kind in totals}
    data = pd.DataFrame(
        [
            {"row": labels[kind], "begin": begin, "end": begin + found.step, "entries": number}
            for (kind, begin), number in sorted(marks.items())
        ]
    )
    ordered = [labels[kind] for kind, _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))]
    begins = [begin for _, begin in marks]
    span = [alt.DateTime(**_parts(moment), utc=True) for moment in (min(begins), max(begins) + found.step)]
    words = f"a mark is {_length(found.step)} (UTC), at most {max(marks.values())} in one"
    encoded = (
        alt.Chart(data)
        .mark_rect(color=ACCENT, cornerRadius=2)
        .encode(
            x=alt.X(
                "begin:T", title=None, axis=_axis(found.step, span), scale=alt.Scale(type="utc", domain=span)
            ),
            x2="end:T",
            y=alt.Y("row:N", title=None, sort=ordered, axis=_names()),
            opacity=alt.Opacity("entries:Q", legend=None, scale=_strength(max(marks.values()))),
        )
    )
    drawn = svg(
        encoded.properties(width=WIDTH, height=ROW * len(ordered)), width_max="36rem", padding=PADDING
    )
    return Shown(f"<p><strong>{html.escape(title)}</strong>: {words}</p>{drawn}")


def _axis(step: timedelta, span: list[alt.DateTime]) -> alt.Axis:
    # Only where it begins and ends: more would run into each other on a narrow page.
    form = "%d %b %H:%M" if step < timedelta(days=1) else "%d %b %Y"
    return alt.Axis(format=form, values=span, labelFlush=True)


def _names() -> alt.Axis:
    return alt.Axis(labelLimit=LABEL, minExtent=LABEL, maxExtent=LABEL, ticks=False)


def _parts(moment: datetime) -> dict[str, int]:
    names = ("year", "month", "date", "hours", "minutes")
    return dict(zip(names, moment.timetuple(), strict=False))


def _strength(most: int) -> alt.Scale:
    # Not from nothing: one entry among thousands must still be seen.
    return alt.Scale(type="sqrt", domain=[0, most], range=[0.25, 1])


def _length(step: timedelta) -> str:
    minutes = step // timedelta(minutes=1)
    for size, name in ((DAY_MIN, "day"), (HOUR_MIN, "hour")):
        if minutes >= size:
            return f"{minutes // size} {name}{'s' if minutes > size else ''}"
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
