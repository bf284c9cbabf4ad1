"""How every drawing of ours looks: ink of the page's own, transparent ground, as wide as the page lets it be.

A drawing is static SVG, so that a report keeps it as it is and it reads in light, in dark and in print.
"""

from __future__ import annotations

import altair as alt
import vl_convert

INK = "currentColor"


def svg(chart: alt.Chart | alt.LayerChart, *, width_max: str, padding: dict[str, int]) -> str:
    """Return a chart as SVG that is scaled to the page, up to a width in CSS.

    The padding is for readers whose letters are wider than those that the drawing was measured with.
    """
    styled = (
        chart.configure(background="transparent", font="sans-serif", padding=padding)
        .configure_axis(labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridOpacity=0.3)
        .configure_legend(labelColor=INK)
        .configure_view(stroke=None)
    )
    drawn: str = vl_convert.vegalite_to_svg(styled.to_json())
    return drawn.replace("<svg ", f'<svg style="width:100%;max-width:{width_max};height:auto" ', 1)


def legend() -> alt.Legend:
    """Return a legend above the drawing, a line each, no name cut off."""
    return alt.Legend(
        orient="top", direction="vertical", columns=1, labelLimit=0, symbolType="stroke", symbolSize=700
    )
