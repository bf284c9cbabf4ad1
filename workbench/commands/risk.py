"""`workbench risk`: what a year may cost, from a file of scenarios; which limits keep the appetite.

Nothing is asked of a desk: file and seed in, figures out; with a bundle, failure probabilities that follow
its evidence. A file that is refused names the place (1), a bundle that is not sound says why (1); what cannot
be read, or whose figures cannot be told, is 2.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.risk.errors import RiskError
from workbench.risk.exposure.figures import LEVELS, Exposure, Whole, exposure
from workbench.risk.exposure.limits import FILE_MAX as LIMITS_MAX
from workbench.risk.exposure.limits import derive, draft, read
from workbench.risk.exposure.plain_yaml import FILE_MAX, ScenarioError
from workbench.risk.exposure.scenarios import Portfolio
from workbench.risk.exposure.simulated import Simulated
from workbench.rules.documents import printable

NAME_WIDTH = 28
WIDTH = 100


def risk(options: argparse.Namespace) -> int:
    """Answer what is asked of a file of scenarios."""
    try:
        raw = _read(options.file, FILE_MAX)
    except OSError as error:
        return _complain(error, COULD_NOT_RUN)
    try:
        portfolio = Portfolio.read(raw)
    except ScenarioError as refused:
        return _complain(f"REFUSED: {refused}", REFUSED)
    try:
        return limits(options, portfolio) if options.asked == "limits" else figures(options, portfolio)
    except (OSError, RiskError) as error:
        return _complain(error, COULD_NOT_RUN)


def figures(options: argparse.Namespace, portfolio: Portfolio) -> int:
    """Print the exposure of the scenarios, after the evidence of a bundle if there is one."""
    if (options.bundle is None) != (options.trust_root is None):
        return _complain("--bundle and --trust-root go together", COULD_NOT_RUN)
    now = datetime.now(UTC)
    evidence, said = list[dict[str, Any]](), list[str]()
    if options.bundle is not None:
        from workbench.commands import evidence as bundled  # noqa: PLC0415 - a verifier takes its time

        try:
            fed = bundled.fed(portfolio, options.bundle, options.trust_root, now=now)
        except bundled.NotProvenError as refused:
            return _complain(str(refused), REFUSED)
        portfolio, evidence, said = fed.portfolio, bundled.dump(fed), ["", *bundled.lines(fed)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = exposure(portfolio, today=now.date(), seed=options.seed, years=options.years, executor=pool)
        told = found.dump()
    if options.bundle is not None:
        told["evidence"] = evidence
    if options.json:
        print(json.dumps(told, indent=2, allow_nan=False))
        return DONE
    for line in [*lines(found), *said]:
        print(_folded(line))
    return DONE


def limits(options: argparse.Namespace, portfolio: Portfolio) -> int:
    """Print what each position may hold; write the draft of a next `limits.json`."""
    if (options.limits is None) != (options.out is None):
        return _complain("--limits and --out go together", COULD_NOT_RUN)
    for found in derive(portfolio):
        after = f"P(over the appetite) {found.before:.3%} -> {found.after:.3%}"
        verdict = "" if found.is_enough else "  NOT ENOUGH: the trouble lies elsewhere"
        print(f"{found.position:{NAME_WIDTH}}{found.value:15,} -> {found.limit:15,}  {after}{verdict}")
    if options.limits is None:
        return DONE
    drafted = draft(portfolio, read(_read(options.limits, LIMITS_MAX)), today=_today())
    for path, present, wanted in drafted.changes:
        print(f"{path}: {present} -> {wanted} US cents")
    if not drafted.changes:
        print("the limits keep the appetite: there is nothing to propose.")
        return DONE
    with options.out.open("xb") as file:
        file.write(drafted.content)
    print(f"{options.out}: a draft. It counts once a policy set with it is proposed, signed and in force.")
    return DONE


def _read(path: Path, most: int) -> bytes:
    """Return a file's bytes, one more than `most` at the most; a pipe in its place cannot make us wait."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path}: not a regular file")
        return file.read(most + 1)


def _today() -> date:
    return datetime.now(UTC).date()


def _complain(error: object, code: int) -> int:
    said = error if isinstance(error, str) else f"workbench: {error}"
    # a file's names, and what a bundle says, are somebody else's
    print(" ".join(printable(said).split()), file=sys.stderr)
    return code


def _folded(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False))


def lines(found: Exposure) -> Iterator[str]:
    """Yield the figures in words, 100 columns wide."""
    heads = f"{'a year':>8}{'inherent ALE':>15}{'left if held':>15}{'all fail':>10}{'residual ALE':>15}"
    yield f"{'scenario':{NAME_WIDTH}}{heads}"
    for row in found.rows:
        yield (
            f"{row.id:{NAME_WIDTH}.{NAME_WIDTH - 1}}{row.events:8.4g}{row.inherent_ale:15,.0f}"
            f"{row.residual_severity_given_control:15,.0f}{row.all_controls_fail:10.2g}{row.residual_ale:15,.0f}"
        )
    ends = f"{found.inherent.ale:15,.0f}{'':15}{'':10}{found.residual.ale:15,.0f}"
    yield f"{'together':{NAME_WIDTH}}{'':8}{ends}"
    yield "left if held is lost per event, when a control holds: it is no yearly figure."
    yield ""
    yield f"{'USD a year':{NAME_WIDTH}}" + "".join(f"{_heading(level):>18}" for level in LEVELS)
    yield from _whole("inherent", found.inherent, found.chance_inherent)
    yield from _whole("residual", found.residual, found.chance_residual)
    yield from _beside(found)


def _whole(name: str, whole: Whole, drawn: Simulated) -> Iterator[str]:
    year = whole.annual
    yield _line(f"{name} VaR", [f"{year.var(level):,.0f}" for level in LEVELS])
    yield _line(f"{name} TVaR", [f"{year.tvar(level):,.0f}" for level in LEVELS])
    ends = [drawn.tvar(level) for level in LEVELS]
    yield _line(f"  {drawn.years:,} drawn years", [f"{each.value:,.0f}" for each in ends])
    yield _line("  95 % from", [f"{each.low:,.0f}" for each in ends])
    yield _line("  to", [f"{each.high:,.0f}" for each in ends])


def _beside(found: Exposure) -> Iterator[str]:
    if found.appetite is not None and found.above_appetite is not None:
        loss, allowed = found.appetite
        band = found.bands.above_appetite if found.bands else None
        between = f", 90 % between {band[0]:.2%} and {band[1]:.2%}" if band else ""
        yield ""
        verdict = "within" if found.above_appetite <= allowed else "OVER"
        chance = f"P(loss > {loss:,.0f}) = {found.above_appetite:.3%}{between}"
        yield f"{chance}: {verdict} the appetite of {allowed:.3%}"
    expired = [each for each in found.assumptions if each.expired]
    yield ""
    yield f"{len(found.assumptions)} assumptions, {len(expired)} past their expiry."
    for each in expired:
        yield f"EXPIRED {each.assumption.expiry} {each.path}: {each.assumption.source}"


def _heading(level: float) -> str:
    return f"{level * 100:g} %"


def _line(name: str, figures: list[str]) -> str:
    return f"{name:{NAME_WIDTH}}" + "".join(f"{each:>18}" for each in figures)
