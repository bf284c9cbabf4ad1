"""Evidence of a bundle for `workbench risk exposure`: what it did to which control, and what nobody can say.

Loaded only where a bundle is given: a verifier takes its time. A bundle that is not sound under the trust
root that is given tells nothing, and no figure is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ledger.verifier import VerificationError
from workbench.audit.indicators import indicators
from workbench.risk.exposure.evidence import Fed, Weighed, feed
from workbench.risk.exposure.scenarios import Portfolio
from workbench.rules.codes import RefusedError


class NotProvenError(Exception):
    """The bundle is not sound under this trust root, or does not count; the message says why."""


def fed(portfolio: Portfolio, bundle: Path, trust_root: Path, *, now: datetime) -> Fed:
    """Return the portfolio after what a sound bundle tells.

    Args:
        portfolio: as it stands in the file.
        bundle: the bundle's folder.
        trust_root: the reader's own.
        now: what days count up to.

    Raises:
        NotProvenError: the bundle is not sound, or does not count.
        OSError: a file cannot be read.

    """
    try:
        found = indicators(bundle, trust_root, now=now)
    except (RefusedError, VerificationError, ValueError) as refused:
        raise NotProvenError(f"NOT PROVEN: {refused}") from refused
    return feed(portfolio, found)


def dump(found: Fed) -> list[dict[str, Any]]:
    """Return every rule that was weighed, as JSON values; `seqs` are the first and the last entry."""
    return [_dumped(each) for each in found.weighed]


def _dumped(each: Weighed) -> dict[str, Any]:
    read = each.read
    return {
        "scenario": each.scenario,
        "control": each.control,
        "indicator": each.indicator,
        "rule": each.rule,
        "value": None if read is None else float(read.value),
        "unit": None if read is None else read.unit,
        "seqs": [] if read is None else [read.first, read.last],
        "before": float(each.before),
        "after": float(each.after),
        "missing": list(each.missing),
    }


def lines(found: Fed) -> Iterator[str]:
    """Yield what was changed, and what is missing, in words."""
    changes = f"{len(found.changes)} changed a failure probability"
    yield f"{len(found.weighed)} rules read a sound bundle; {changes}."
    for each in found.changes:
        yield f"{each.scenario}: {each.control}: {each.before:.4g} -> {each.after:.4g}: {_why(each)}"
    if found.missing:
        yield f"MISSING, and nobody can say: {', '.join(found.missing)}"


def _why(each: Weighed) -> str:
    if each.read is None:
        return f"{each.indicator} is missing ({each.rule})"
    entries = f"entries {each.read.first} to {each.read.last}"
    return f"{each.indicator} is {each.read.value:f} {each.read.unit}, {entries} ({each.rule})"
