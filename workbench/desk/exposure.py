"""The committee's page on risk: what a file of scenarios comes to, section by section, each a plain table.

Everything is computed here, in this kernel, from the file's bytes, and so a claim: no limit moves by it. A
section says what a figure is not where that is easily mistaken: a loss given an event is no yearly loss, an
expected loss is no bad year, a control that never fails is an assumption.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from workbench.desk import exposure_chart as chart
from workbench.desk.show import Shown, facts, table
from workbench.risk.exposure import figures
from workbench.risk.exposure.figures import LEVELS, Exposure, Whole
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.shares import Shares, at_sites, in_common
from workbench.risk.exposure.simulated import Interval, Simulated
from workbench.risk.exposure.waiting import waiting

SCENARIOS = Path(__file__).resolve().parents[2] / "policies" / "scenarios"
LAYOUTS = ((1, 1, 1, 1, 1), (2, 2, 1), (3, 2), (5,))


@dataclass(frozen=True, slots=True)
class Read:
    """A file of scenarios, read, and what it comes to."""

    name: str
    portfolio: Portfolio
    found: Exposure


def read(scenarios: str = "seed.yaml", *, seed: int = 1, years: int = 1_000_000, today: str = "") -> Read:
    """Read a file of scenarios and compute everything of it; a name without a folder is a shipped one."""
    path = Path(scenarios) if "/" in scenarios else SCENARIOS / scenarios
    portfolio = Portfolio.read(path.read_bytes())
    day = date.fromisoformat(today) if today else datetime.now(UTC).date()
    return Read(path.name, portfolio, figures.exposure(portfolio, today=day, seed=seed, years=years))


def rows(read: Read) -> Shown:
    """Show each scenario without and with its controls."""
    lines = [
        {
            "scenario": each.title,
            "events a year": f"{each.events:.3g}",
            "loss of one": usd(each.severity),
            "inherent ALE": usd(each.inherent_ale),
            "left if a control holds": usd(each.residual_severity_given_control),
            "all controls fail": odds(each.all_controls_fail),
            "residual ALE": usd(each.residual_ale),
        }
        for each in read.found.rows
    ]
    total = dict.fromkeys(lines[0], "")
    total |= {
        "scenario": "together",
        "inherent ALE": usd(read.found.inherent.ale),
        "residual ALE": usd(read.found.residual.ale),
    }
    return table(f"Scenarios of {read.name}: USD; ALE is the expected loss of a year", [*lines, total])


def not_yearly(read: Read) -> Shown:
    """Say why what is left when a control holds cannot be added up, or set beside a yearly figure."""
    worse = [each for each in read.found.rows if each.residual_severity_given_control > each.inherent_ale > 0]
    column = sum(each.residual_severity_given_control for each in read.found.rows)
    said = [
        (
            "“Left if a control holds” is lost when the event comes and a control works. "
            f"Its sum, {usd(column)}, means nothing: the events do not all come in one year. "
            f"A year with all controls costs {usd(read.found.residual.ale)} on average."
        ),
        *(
            (
                f"{each.title}: read as a yearly figure, {usd(each.residual_severity_given_control)} with "
                f"the control would be more than the {usd(each.inherent_ale)} without it."
            )
            for each in worse
        ),
    ]
    return _words(said)


def curve(read: Read) -> Shown:
    """Draw how likely a year costs more than a loss, without controls and with them."""
    found = read.found
    drawn = {
        f"without controls: {usd(found.inherent.ale)} a year": found.inherent.curve(),
        f"with controls: {usd(found.residual.ale)} a year": found.residual.curve(),
    }
    title = "How likely a year costs more"
    if found.appetite is not None:
        title += f" (the cross is the appetite: {usd(found.appetite[0])})"
    return chart.curves(title, drawn, found.appetite)


def worst_years(read: Read) -> Shown:
    """Show VaR and TVaR, exactly, by drawn years, and with the bands of what is uncertain."""
    found = read.found
    lines = [
        *_worst("without controls", found.inherent, found.chance_inherent),
        *_worst("with controls", found.residual, found.chance_residual),
    ]
    if found.bands is not None:
        bands = {level: f"{usd(low)} to {usd(high)}" for level, (low, high) in found.bands.tvar.items()}
        lines.append({"": "with controls: TVaR, 90 % credible", **_by_level(bands)})
    if found.chance_capped is not None:
        lines.append(
            {"": "with controls, positions lost once: TVaR drawn", **_intervals(found.chance_capped)}
        )
    if found.rare is not None:
        loss, rare = found.rare
        exact = odds(found.inherent.annual.above(loss))
        between = f"{odds(rare.probability.low)} to {odds(rare.probability.high)}"
        last = f"{exact}; drawn where it is rare {between}"
        lines.append(
            {
                "": f"without controls: a year over {usd(loss)}",
                **dict.fromkeys(_by_level(dict.fromkeys(LEVELS, "")), ""),
                "99.9 %": last,
            }
        )
    years = f"{found.chance_inherent.years:,} drawn years, seed {found.seed}, intervals of 95 %"
    return table(
        f"Bad years, USD: VaR is not exceeded with that probability, TVaR the mean beyond; {years}", lines
    )


def how_soon(read: Read, loss: float = 100_000, days: float = 90) -> Shown:
    """Show how long it takes until an event costs more, and how often one comes soon after another."""
    lines = []
    for name, controlled in (("without controls", False), ("with controls", True)):
        found = waiting(read.portfolio, loss, days=days, seed=read.found.seed, controlled=controlled)
        soon = found.soon_after
        between = f"({soon.low:.2%} to {soon.high:.2%})"
        lines.append(
            {
                "": name,
                "events a year": f"{found.a_year.value:.3g}",
                "years between": f"{found.years_between:,.1f}" if found.events else "none was drawn",
                f"within {days:g} days after another": f"{soon.value:.2%} {between}",
            }
        )
    return table(f"Events that cost more than {usd(loss)}, in a drawn history of a million years", lines)


def in_one_place(loss: float = 10_000_000, share: float = 0.005, breached: float = 0.001) -> Shown:
    """Show what one percent of common cause does to a threshold, and how many shares a site may hold."""
    shares = Shares(5, 3, share)
    common = [
        {
            "in common": f"{each.common:.0%}",
            "lost a year": odds(each.probability),
            "costs a year": usd(each.probability * loss),
            "times": f"{each.times:,.0f}",
        }
        for each in in_common(shares)
    ]
    sites = [
        {
            "shares by site": " + ".join(map(str, each.sites)),
            "lost a year": odds(each.probability),
            "costs a year": usd(each.probability * loss),
            "": "" if each.within else "a site holds the threshold",
        }
        for each in at_sites(shares, LAYOUTS, breached=breached)
    ]
    one = table(f"Three of five shares, each lost with {share:.1%} a year: what they have in common", common)
    two = table(
        f"The same with sites that are breached with {breached:.1%} a year: at most two shares each", sites
    )
    return Shown(one.markup + two.markup)


def assumptions(read: Read) -> Shown:
    """Show where every figure comes from, and which of them nobody has looked at in time."""
    lines = [
        {
            "of": each.path.removeprefix("/scenarios/"),
            "by": each.assumption.author,
            "on": each.assumption.date,
            "until": each.assumption.expiry + (" EXPIRED" if each.expired else ""),
            "source": each.assumption.source,
        }
        for each in read.found.assumptions
    ]
    return table("Where the figures come from", lines)


def verdict(read: Read) -> Shown:
    """Say what it comes to."""
    found = read.found
    values: dict[str, object] = {
        "inherent ALE": usd(found.inherent.ale),
        "residual ALE": usd(found.residual.ale),
        "inherent VaR 99 %, 99.9 %": _two(found.inherent),
        "residual VaR 99 %, 99.9 %": _two(found.residual),
    }
    if found.appetite is not None and found.above_appetite is not None:
        loss, allowed = found.appetite
        kept = "within" if found.above_appetite <= allowed else "OVER"
        values[f"a year over {usd(loss)}"] = (
            f"{odds(found.above_appetite)}: {kept} the appetite of {odds(allowed)}"
        )
    if found.bands is not None and found.bands.above_appetite is not None:
        low, high = found.bands.above_appetite
        values["that, 90 % credible"] = f"between {odds(low)} and {odds(high)}"
    expired = sum(each.expired for each in found.assumptions)
    values["assumptions"] = f"{len(found.assumptions)}, {expired} past their expiry"
    certain = [each.id for each in found.rows if each.all_controls_fail == 0.0]
    if certain:
        values["controls that cannot fail"] = f"of {', '.join(certain)}: assumed, and no evidence"
    return facts("What it comes to", values)


def usd(amount: float) -> str:
    """Return an amount in dollars; below a hundred with cents, since nothing and little differ."""
    return f"${amount:,.2f}" if 0 < abs(amount) < 100 else f"${amount:,.0f}"  # noqa: PLR2004 - as it says


def odds(probability: float) -> str:
    """Return a probability as percent, or as one in so many where it is small."""
    if probability == 0.0:
        return "never"
    return f"{probability:.2%}" if probability >= 0.001 else f"1 in {1 / probability:,.0f}"  # noqa: PLR2004 - where percent end


def _two(whole: Whole) -> str:
    return ", ".join(usd(whole.annual.var(level)) for level in (0.99, 0.999))


def _worst(name: str, whole: Whole, drawn: Simulated) -> Iterator[Mapping[str, object]]:
    year = whole.annual
    yield {"": f"{name}: VaR", **_by_level({level: usd(year.var(level)) for level in LEVELS})}
    yield {"": f"{name}: TVaR", **_by_level({level: usd(year.tvar(level)) for level in LEVELS})}
    yield {"": f"{name}: TVaR drawn", **_intervals(drawn)}


def _intervals(drawn: Simulated) -> dict[str, str]:
    return _by_level({level: _between(drawn.tvar(level)) for level in LEVELS})


def _between(found: Interval) -> str:
    return f"{usd(found.low)} to {usd(found.high)}"


def _by_level(values: Mapping[float, str]) -> dict[str, str]:
    return {f"{level * 100:g} %": value for level, value in values.items()}


def _words(sentences: Sequence[str]) -> Shown:
    return Shown("".join(f"<p>{html.escape(each)}</p>" for each in sentences))
