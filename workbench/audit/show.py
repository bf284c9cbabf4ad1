"""Tables and charts of an audit, in the style of `workbench.desk.show`: static, for light and dark.

Every function takes what was found and shows all of it; none raises for a bundle that is not sound, but the
last, `verdict`. Nothing shown depends on the run: no time of running, no path, no order but the ledger's.
What a bundle says in its own words is shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ledger.checkpoint import Signer
from ledger.tally import Tally
from workbench.audit import charts
from workbench.audit.entry import Included, Proven
from workbench.audit.integrity import Audit
from workbench.audit.suites import Quality
from workbench.desk.show import Shown, facts, table
from workbench.rules.documents import printable

ROWS_MAX = 200  # of a table: a report is read by people


def verification(audit: Audit) -> Shown:
    """Show what the bundle is, and the verifier's findings."""
    report = audit.report
    about = facts(
        "The bundle under your trust root",
        {
            "ledger": report.ledger_id,
            "entries": f"{report.first} to {report.size - 1}" if report.size else "none",
            "verifier": f"{len(report.findings)} findings" if report.findings else "sound",
            "root": report.root.hex(),
            "h": report.h.hex(),
        },
    )
    found = [
        {"step": f"({each.step}) {each.code}", "place": each.place, "finding": each.detail}
        for each in report.findings
    ]
    return _together(about, _table("Findings of the verifier", found))


def tallies(audit: Audit) -> Shown:
    """Show what the three verifiers of rows say."""
    rows = [
        {
            "verifier": each.name,
            "rows": each.tally.rows if each.tally else "-",
            "redacted": each.tally.redacted if each.tally else "-",
            "faults": each.problem or _faults(each.tally),
            "root": each.root.hex() if each.root else "-",
        }
        for each in audit.tallies
    ]
    equal = len({(each.tally, each.root) for each in audit.tallies}) == 1
    title = "Three independent tallies of the rows: " + ("all say the same" if equal else "THEY DIFFER")
    return _table(title, rows)


def continuity(audit: Audit) -> Shown:
    """Show the bundle beside the head of the previous report."""
    compared = audit.compared
    if compared is None:
        return facts("Since the previous report", {"previous head": "none given: this is the first audit"})
    values: dict[str, object] = {"previous head": f"{compared.previous.size} entries"}
    if compared.proof is None:
        values["this bundle"] = f"DOES NOT EXTEND IT: {compared.problem}"
    else:
        values["this bundle"] = "extends it: nothing before was changed or taken out"
        values["new entries"] = audit.report.size - compared.previous.size
        values["consistency proof"] = " ".join(node.hex() for node in compared.proof) or "needs no hash"
    return facts("Since the previous report", values)


def checkpoints(audit: Audit) -> Shown:
    """Show who signed and cosigned each checkpoint."""
    rows = [
        {
            "entries": each.size,
            "counts": "no" if each.problem else "yes",
            "witnesses": f"{len(each.witnesses)} of {audit.quorum} needed",
            "signed by": each.problem or _signers(each.signers),
        }
        for each in audit.checkpoints
    ]
    return _table("Checkpoints", rows)


def anchors(audit: Audit) -> Shown:
    """Show what fixes checkpoints in time: blocks, and whether the auditor's node has them; authorities."""
    words = {None: "not asked: no blocks listed", True: "yes, listed by you", False: "NO, not listed by you"}
    rows = [
        {
            "entries": each.anchored.size,
            "chain": each.anchored.chain_id,
            "block": each.anchored.block_number,
            "at": f"{each.anchored.time:%Y-%m-%d %H:%M:%S} UTC",
            "on your node": words[each.seen],
            "block hash": each.block,
        }
        for each in audit.anchors
    ]
    return _together(_table("Anchors", rows), _table("Time-stamps", _stamps(audit)))


def _stamps(audit: Audit) -> list[dict[str, object]]:
    return [
        {
            "entries": each.size,
            "authority": printable(each.authority),
            "there by": f"{each.time:%Y-%m-%d %H:%M:%S} UTC",
            "serial": f"0x{each.serial:x}",
        }
        for each in sorted(audit.report.stamps, key=lambda each: (each.size, each.authority))
    ]


def redactions(audit: Audit) -> Shown:
    """Show which entries lost their data legally, by which entry, and why."""
    rows = [
        {"entry": each.seq, "by entry": each.by, "reason": printable(each.reason)}
        for each in audit.report.redacted
    ]
    return _table("Redacted under a quorum", rows)


def evidence(audit: Audit) -> Shown:
    """Show which blobs are cited and missing, and which documents the ledger does not prove."""
    about = facts(
        "Evidence beside the entries",
        {
            "blobs cited": audit.cited,
            "not proven by the ledger": ", ".join(audit.report.unproven) or "nothing",
        },
    )
    missing = [
        {"entry": each.seq, "field": each.field, "missing blob": printable(each.name)}
        for each in audit.missing
    ]
    return _together(about, _table("Cited and missing", missing))


def quality(audit: Audit) -> Shown:
    """Show what became of each expectation of the ledger's rows."""
    return expectations(audit.quality, place="entry")


def expectations(quality: Quality, *, place: str) -> Shown:
    """Show what became of each expectation of a suite; `place` is what its rows are called."""
    rows = [
        {
            "expectation": each.name,
            "met": "yes" if each.passed else "NO",
            "rows against it": each.unexpected,
            "first": ", ".join(f"{place} {number}" for number in each.places) or "-",
            "what is expected": each.problem or each.says,
        }
        for each in quality.expected
    ]
    return _table("Data quality", rows)


def activity(audit: Audit) -> Shown:
    """Show the entries over time, by type and by actor."""
    found = audit.activities
    return _together(
        charts.strip("Entries by type", found, lambda each: each.type),
        charts.strip("Entries by actor", found, lambda each: each.actor),
    )


def faults(audit: Audit) -> Shown:
    """Show everything that keeps the bundle from being sound."""
    rows = [{"step": each.step, "place": each.place, "fault": each.detail} for each in audit.faults]
    return _table("Faults", rows)


def verdict(audit: Audit) -> Shown:
    """Show the verdict and the head for the next audit; raises NotSoundError if the bundle is not sound."""
    said = audit.verdict()
    head = audit.head
    return facts("Verdict", {"bundle": said, "head for the next report": head.text if head else "none"})


def entry(proven: Proven) -> Shown:
    """Show the fields of an entry's head."""
    said = proven.entry
    values: dict[str, object] = {
        "entry": said.seq,
        "time": f"{said.time:%Y-%m-%d %H:%M:%S.%f} UTC",
        "type": printable(said.type),
        "actor": printable(said.actor),
        "subject": printable(said.subject or "none"),
        "source": printable(said.source),
        "id": printable(said.id),
        "dataschema": printable(said.dataschema),
        "datahash": said.datahash.hex(),
        "leaf": said.leaf.hex(),
        "h": said.h.hex(),
    }
    return facts("What the entry says of itself", values)


def data(proven: Proven) -> Shown:
    """Show an entry's data, or which redaction took it away."""
    said = proven.entry.data
    if said is None:
        gone = proven.redacted
        words = f"redacted by entry {gone.by} because: {printable(gone.reason)}" if gone else "missing"
        return facts("Data", {"data": words})
    values = {
        name: printable(value if isinstance(value, str) else json.dumps(value))
        for name, value in said.items()
    }
    return facts("Data", values or {"data": "an empty object"})


def inclusion(proven: Proven) -> Shown:
    """Show the way from the leaf to the checkpoint's root."""
    return _way("Inclusion under the first checkpoint that covers it", proven, proven.included)


def witnessed(proven: Proven) -> Shown:
    """Show who stands behind the checkpoint."""
    title = f"Checkpoint of {proven.included.size} entries: {proven.quorum} witnesses needed"
    rows = [
        {
            "as": "witness" if signer.witness else "service",
            "at": f"{signer.at:%Y-%m-%d %H:%M:%S} UTC" if signer.at else "-",
            "name": signer.name,
        }
        for signer in proven.signers
    ]
    return _table(title, rows)


def anchored(proven: Proven) -> Shown:
    """Show the block that fixes the entry, if an anchor covers it."""
    found, way = proven.anchored, proven.anchored_by
    if found is None or way is None:
        return facts("Anchor", {"anchor": "none of this bundle covers the entry"})
    values: dict[str, object] = {
        "covers": f"{found.size} entries",
        "chain": found.chain_id,
        "block": found.block_number,
        "at": f"{found.time:%Y-%m-%d %H:%M:%S} UTC",
        "ask a node of yours for": f"0x{found.block_hash.hex()}",
    }
    return _together(facts("Anchor", values), _way("Inclusion under the anchored checkpoint", proven, way))


def conclusion(proven: Proven) -> Shown:
    """Show in one line each what was proven."""
    said, found = proven.entry, proven.anchored
    values = {
        "entry": printable(f"{said.seq}, {said.type} by {said.actor}"),
        "in the ledger": f"yes, under the checkpoint of {proven.included.size} entries",
        "data": "redacted under a quorum" if said.payload is None else "as the head commits to",
        "fixed by a block": f"{found.block_number} of chain {found.chain_id}" if found else "not yet",
    }
    return facts("Proven", values)


def _way(title: str, proven: Proven, included: Included) -> Shown:
    steps = [
        ("leaf", proven.entry.leaf),
        *(("beside", node) for node in included.path),
        ("root", included.root),
    ]
    rows = [{"step": place, "what": what, "hash": node.hex()} for place, (what, node) in enumerate(steps)]
    return _table(f"{title}: {included.size} entries", rows)


def _faults(tally: Tally | None) -> str:
    found = tally.faults if tally else ()
    return "; ".join(f"{each.fault}: {each.rows} rows from entry {each.first}" for each in found) or "none"


def _signers(signers: Iterable[Signer]) -> str:
    return ", ".join(
        f"{signer.name} at {signer.at:%Y-%m-%d %H:%M:%S}" if signer.at else f"{signer.name} (service)"
        for signer in signers
    )


def _table(title: str, rows: Sequence[Mapping[str, object]]) -> Shown:
    left = len(rows) - ROWS_MAX
    return table(title + (f" (the first {ROWS_MAX}; {left} more)" if left > 0 else ""), rows[:ROWS_MAX])


def _together(*shown: Shown) -> Shown:
    return Shown("".join(each.markup for each in shown))
