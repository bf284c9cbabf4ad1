"""What controls are worth, which to have, what moves the figures, what may stand where: for the committee.

The figures are those of `workbench.risk.exposure`, computed in this kernel from the file that `exposure.read`
has read. Expected loss and the worst years are always shown beside each other: a budget that is best by the
one may leave a ruin by the other.
"""

from __future__ import annotations

from workbench.desk import exposure_chart as chart
from workbench.desk.exposure import Read, odds, usd
from workbench.desk.show import Shown, table
from workbench.risk.exposure.controls import Choice, Measure, Worth, choose
from workbench.risk.exposure.controls import worths as valued
from workbench.risk.exposure.limits import derive
from workbench.risk.exposure.sensitivity import Figure, sobol, tornado

BARS = 12
BUDGETS = 6
SEEN = 0.005
"""A bar that is shorter beside the longest is not seen."""


def worths(read: Read, measure: str = Measure.ALE) -> Shown:
    """Show what each control is worth, by expected loss or by the worst hundredth of years."""
    lines = [
        {
            "control": each.control,
            "Shapley": usd(each.shapley),
            "last in": usd(each.last_in),
            "alone": usd(each.alone),
            **_paid(each),
        }
        for each in valued(read.portfolio, Measure(measure))
    ]
    return table(
        f"What controls are worth a year, by {measure}: Shapley values add up to all they save", lines
    )


def worth_chart(read: Read, measure: str = Measure.ALE) -> Shown:
    """Draw the Shapley values."""
    found = valued(read.portfolio, Measure(measure))[:BARS]
    return chart.bars(f"Shapley values by {measure}", {each.control: (0.0, each.shapley) for each in found})


def choices(read: Read, budget: float = 0.0) -> Shown:
    """Show the best controls for several budgets, by expected loss and by the worst years."""
    costs = sum(float(each.per_year) for each in read.portfolio.costs)
    if costs == 0.0:
        return table("The best controls for a budget: no control has a cost", [])
    asked = budget or float(read.portfolio.budget or costs)
    budgets = sorted({asked, *(costs * step / BUDGETS for step in range(BUDGETS + 1))})
    by = [choose(read.portfolio, budgets, measure) for measure in Measure]
    lines = [_chosen(part, one) for part, *both in zip(budgets, *by, strict=True) for one in both]
    return table("The best controls for a budget, USD a year", lines)


def reach(read: Read, figure: str = Figure.TVAR) -> Shown:
    """Draw how far each figure that goes in moves what comes out."""
    found = tornado(read.portfolio, Figure(figure))[:BARS]
    found = [each for each in found if each.reach > found[0].reach * SEEN]
    middle = found[0].middle if found else 0.0
    bars = {each.name + (" *" if each.is_assumed else ""): (each.low, each.high) for each in found}
    drawn = chart.bars(f"{figure} with controls: one figure from its 5 % to its 95 %", bars, middle=middle)
    note = (
        "<p>* stated as certain: varied from half to double.</p>"
        if any(each.is_assumed for each in found)
        else ""
    )
    return Shown(drawn.markup + note)


def indices(read: Read, figure: str = Figure.TVAR, *, seed: int = 1) -> Shown:
    """Show which share of the variance each figure that goes in explains."""
    lines = [
        {
            "figure": each.name,
            "alone": f"{each.first:z.2f} ± {each.first_reach:.2f}",
            "in total": f"{each.total:z.2f} ± {each.total_reach:.2f}",
            "": "assumed" if each.is_assumed else "",
        }
        for each in sobol(read.portfolio, Figure(figure), seed=seed)[:BARS]
    ]
    return table(f"Sobol indices of {figure} with controls, with intervals of 95 %", lines)


def limits(read: Read) -> Shown:
    """Show what each position may hold for the appetite to be kept."""
    if read.portfolio.appetite is None or not read.portfolio.positions:
        return table("Limits that keep the appetite: the file has no appetite, or no positions", [])
    lines = [
        {
            "position": each.position,
            "holds": usd(each.value),
            "may hold": usd(each.limit) if each.is_enough else "no limit here is enough",
            "a year over the appetite": f"{odds(each.before)}, then {odds(each.after)}",
        }
        for each in derive(read.portfolio)
    ]
    return table("Limits that keep the appetite: `workbench risk limits` drafts the change", lines)


def _paid(worth: Worth) -> dict[str, str]:
    if worth.cost is None or worth.rosi is None:
        return {"costs": "-", "ROSI": "-"}
    return {"costs": usd(worth.cost), "ROSI": f"{worth.rosi:+.0%}"}


def _chosen(budget: float, choice: Choice) -> dict[str, object]:
    return {
        "budget": usd(budget),
        "by": choice.measure,
        "loses": usd(choice.loss),
        "saves": usd(choice.saved),
        "costs": usd(choice.cost),
        "controls": ", ".join(choice.controls) or "none",
    }
