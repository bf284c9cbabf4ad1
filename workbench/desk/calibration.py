"""Where a scenario's likelihood and severity come from: incidents of others, shown section by section.

Which of both files the figures come from (`calibrated`) stands in each section's title, and a section that
neither has data for says so. Everything is computed in this kernel, and so a claim.

Left to others: the quality of the rows (`workbench.audit.incident_quality`), which a notebook shows first,
and whether a fragment enters a scenario: people paste it, with the assumption that speaks for it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from workbench.desk import exposure_chart as chart
from workbench.desk.calibrated import HELD_CAP, Rate, Read, foretold, fragment_text
from workbench.desk.exposure import usd
from workbench.desk.show import Shown, facts, table
from workbench.risk.exposure import rates
from workbench.risk.exposure.backtest import NUMBER, coverage
from workbench.risk.exposure.calibrating import losses, shares
from workbench.risk.exposure.counting import CalibrationError, Counted, CountFit
from workbench.risk.exposure.rates import Gamma
from workbench.risk.exposure.tails import quantiles

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
CLEAN: Final = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Unit-years of one's own beside which a prior is shown."""
PRE: Final = (
    "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; font-family: monospace; "
    "padding: 0.5rem; background: transparent !important; border: 1px solid currentColor"
)
HALF: Final = Decimal("0.5")


def whole(read: Read) -> Shown:
    """Show which part of the incidents of each year is listed, and what a list of the largest would tell."""
    counted = read.calibration.sample.counted if read.calibration else read.published.counted()
    lost = {each.year: each.loss_usd for each in read.published.years}
    rows = []
    for year, there_were in counted.items():
        of_year = [each for each in read.incidents if each.date.year == year]
        rows.append(
            {
                "year": year,
                "listed": len(of_year),
                "of": there_were,
                "that is": f"{len(of_year) / there_were:.0%}" if there_were else "-",
                "lost, as listed": usd(sum(losses(of_year))),
                "as published": usd(float(lost[year])) if year in lost else "-",
            }
        )
    title = f"{read.name}: incidents of each year, USD"
    return Shown(table(title, rows).markup + _words(_told_of(read)).markup)


def _told_of(read: Read) -> list[str]:
    if read.calibration is not None:
        by = read.calibration.sample.counted_by
        return [f"A sample: at least nine of ten incidents of each year, as counted by {by}."]
    said = [f"No sample: {read.why}. What follows comes from the published figures."]
    known = losses(read.incidents)
    middle = next(
        (each.loss_usd for each in read.published.losses.quantiles if each.probability == HALF), None
    )
    if known and middle is not None:
        seen = float(np.median(known))
        said.append(
            f"Half of the listed losses are above {rough(seen)}, half of all above {usd(float(middle))}: "
            f"fitted to this list, a loss would be {seen / float(middle):.0f} times as large as it is, and "
            "how many there are in a year would be whatever the list's author stopped at."
        )
    return said


def counts(read: Read) -> Shown:
    """Show and draw how many incidents a year has, and how many the next one may have."""
    found = read.counted
    rows = [_fit(found, each) for each in (found.moments, found.likelihood)]
    intervals = foretold(read)
    first, last = min(read.counts), max(read.counts)
    low, high = intervals[last + 1]
    scatter = (
        f"Mean {found.mean:.1f}, variance {found.variance:.1f}, Fano factor {found.fano:.2f}: "
        f"scatter like this or more has a chance of {found.chance:.1%} where incidents come independently."
    )
    following = f"{last + 1} has {low:,} to {high:,} incidents with 90 %, if it is a year like those before."
    drawn = chart.counts(
        f"Incidents a year, and what the years before foretold (90 %): {read.origin}", read.counts, intervals
    )
    shown = table(f"Counts of {first} to {last}: negative binomial, from {read.origin}", rows)
    return Shown(shown.markup + _words([scatter, following]).markup + drawn.markup)


def severities(read: Read) -> Shown:
    """Show and draw how large a loss is: quantiles, the fit, and how heavy the tail is."""
    tail = read.tail
    rows = [
        {"not exceeded by": f"{probability:.0%}", "seen": rough(seen), "fitted": rough(fitted)}
        for probability, seen, fitted in _quantiles(read)
    ]
    title = f"Losses: USD, {tail.losses} of {read.origin}"
    mu, sigma = tail.mu_interval(), tail.sigma_interval()
    fitted = (
        f"Lognormal: µ {tail.mu:.2f} ({mu[0]:.2f} to {mu[1]:.2f}), "
        f"σ {tail.sigma:.2f} ({sigma[0]:.2f} to {sigma[1]:.2f}), with 90 %."
    )
    left_out = "How many losses nobody knows is not published."
    if (made := read.calibration) is not None:
        left_out = f"Unknown, and not guessed: {made.unknown} losses. Nothing was lost in {made.nothing}."
    shown = table(title, rows).markup + _words([fitted, left_out]).markup + _hill(read).markup
    return Shown(
        shown + chart.losses(f"How often a loss is larger: {read.origin}", _seen(read), tail.quantile).markup
    )


def classes(read: Read) -> Shown:
    """Show by which doors the money went."""
    if read.calibration is not None:
        found = [
            (each.door.value, each.incidents, each.share, each.low, each.high, each.loss_share)
            for each in read.calibration.classes
        ]
    else:
        lost = {each.door: float(each.loss_share) for each in read.published.classes}
        numbers = read.published.doors()
        found = [
            (door.value, numbers.get(door, 0), *share, lost.get(door, 0.0))
            for door, share in shares(numbers).items()
        ]
    rows = [
        {
            "class": door,
            "incidents": number,
            "share": f"{share:.1%}",
            "90 %": f"{low:.1%} to {high:.1%}",
            "of what was lost": f"{loss:.1%}",
        }
        for door, number, share, low, high, loss in sorted(found, key=lambda each: -each[1])
    ]
    return table(f"Classes of {read.origin}: shares of losses are those of the largest few", rows)


def divided(rate: Rate) -> Shown:
    """Show what the market's rate is, and how much of it is the number that nobody counted."""
    made = rate.market
    low, high = made.units
    rows = [
        {"divided by": f"{units:,.0f} units", "rate a year": f"{made.incidents / made.years / units:.2%}"}
        for units in made.units
    ]
    rows.append({"divided by": "an interval, as a prior", "rate a year": _interval(made.prior)})
    title = f"{made.incidents} incidents in {made.years:g} years: a rate for one unit"
    said = (
        f"Nobody counted how many were exposed. That {low:,.0f} and {high:,.0f} are a 90 % interval is "
        f"assumed; incidents in clusters count for fewer (Fano factor {made.fano:.2f}). As a prior it is "
        f"worth {made.prior.shape:.2f} incidents in {made.prior.years:,.0f} unit-years."
    )
    return Shown(table(title, rows).markup + _words([said]).markup)


def own_years(rate: Rate) -> Shown:
    """Show what years of our own make of the prior, and what clean ones would."""
    prior, posterior = rate.market.prior, rate.posterior
    rows = [
        {"unit-years": f"{each.years:g}", "no incident": f"{each.none:.2%}", "one": f"{each.one:.2%}"}
        for each in rates.clean_years(prior, tuple(sorted({*CLEAN, round(prior.years, 1)})))
    ]
    ours = facts(
        "Prior and posterior: the rate a year for one unit",
        {
            "prior": _interval(prior),
            "our own": f"{rate.incidents} incidents in {rate.years:g} unit-years",
            "posterior": _interval(posterior),
        },
    )
    return Shown(ours.markup + table("What clean years would be worth: the expected rate", rows).markup)


def held_out(read: Read) -> Shown:
    """Show what would have been foretold of years that came."""
    if not read.held:
        return _words([f"Nothing is tested: {read.not_held}. The counts alone are, in their drawing."])
    rows = [
        {
            "year": each.year,
            "figure": each.figure,
            "foretold, 90 %": f"{_amount(each.figure, each.low)} to {_amount(each.figure, each.high)}",
            "came": _amount(each.figure, each.seen),
            "": "within" if each.within else "OUTSIDE",
        }
        for each in read.held
    ]
    covered = [
        {
            "figure": each.figure,
            "within": f"{each.within} of {each.of}",
            "so its share is, 90 %": f"{each.low:.0%} to {each.high:.0%}",
        }
        for each in coverage(read.held)
    ]
    first = table(f"Held out of {read.name}: a loss counts up to {usd(float(HELD_CAP))}", rows)
    return Shown(first.markup + table("How often a 90 % interval held", covered).markup)


def to_paste(read: Read, rate: Rate, *, author: str, expiry: str = "") -> Shown:
    """Show what a scenario takes over, with the assumption that speaks for it."""
    try:
        text = fragment_text(read, rate, author=author, expiry=expiry)
    except CalibrationError as error:
        return _words([f"No fragment: {error}."])
    title = "For a scenario's file: likelihood, severity and where they come from"
    return Shown(f'<p><strong>{html.escape(title)}</strong></p><pre style="{PRE}">{html.escape(text)}</pre>')


def verdict(read: Read, rate: Rate) -> Shown:
    """Say what it comes to."""
    low, high = read.tail.interval()
    next_year = max(read.counts) + 1
    fewest, most = foretold(read).get(next_year, (0, 0))
    values = {
        "calibrated from": read.says,
        "the list": f"{read.name}: " + ("a sample" if read.calibration else f"no sample, {read.why}"),
        f"incidents in {next_year}, 90 %": f"{fewest:,} to {most:,}" if most else "too few years",
        "rate a year for one unit": _interval(rate.posterior),
        "one loss, 90 %": f"{rough(low)} to {rough(high)}; at the desk at most {usd(float(read.cap))}",
        "the tail": "its mean exists"
        if all(each.has_mean for each in read.hill)
        else "nothing speaks for a mean",
        "held out": f"{sum(each.within for each in read.held)} of {len(read.held)} figures within their 90 %"
        if read.held
        else f"nothing: {read.not_held}",
    }
    return facts("What it comes to", values)


def _fit(found: Counted, each: CountFit) -> dict[str, object]:
    return {
        "method": each.method,
        "mean": f"{each.mean:.1f}",
        "variance": f"{each.variance:.1f}",
        "size": f"{each.size:.1f}" if each.size else "none: Poisson",
        "years": len(found.counts),
    }


def _quantiles(read: Read) -> list[tuple[float, float, float]]:
    if read.calibration is not None:
        known = losses(read.calibration.sample.incidents)
        return [(each.probability, each.seen, each.fitted) for each in quantiles(known, read.tail, QUANTILES)]
    said = [(float(each.probability), float(each.loss_usd)) for each in read.published.losses.quantiles]
    return [(probability, loss, read.tail.quantile(probability)) for probability, loss in said]


def _seen(read: Read) -> list[tuple[float, float]]:
    """Return losses, and how often one is larger."""
    if read.calibration is None:
        return [(seen, 1 - probability) for probability, seen, _ in _quantiles(read)]
    ordered = sorted(losses(read.calibration.sample.incidents))
    return [(loss, 1 - (place + 0.5) / len(ordered)) for place, loss in enumerate(ordered)]


def _hill(read: Read) -> Shown:
    rows = [
        {
            "of the largest": each.k,
            "index": f"{each.alpha:.2f}",
            "90 %": f"{each.low:.2f} to {each.high:.2f}",
            "": "" if each.has_mean else "speaks for no mean",
        }
        for each in read.hill
    ]
    return table("Hill's index of the tail: where it reaches down to 1 there may be no mean", rows)


def _interval(gamma: Gamma) -> str:
    low, high = gamma.interval()
    return f"{gamma.mean:.2%} ({low:.2%} to {high:.2%} with 90 %)"


def _amount(figure: str, value: Decimal) -> str:
    return f"{value:,}" if figure == NUMBER else rough(float(value))


def rough(amount: float) -> str:
    """Return an amount in dollars with three digits: more would claim more than is known."""
    return usd(float(f"{amount:.3g}"))


def _words(sentences: Sequence[str]) -> Shown:
    return Shown("".join(f"<p>{html.escape(each)}</p>" for each in sentences))
