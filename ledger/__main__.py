"""`python -m ledger`: an auditor's commands. Exit 0 sound, 1 not sound, 2 could not run.

What a command says without `--keys` is what the bundle claims, and it says so.
"""

import argparse
import sys
from pathlib import Path

from ledger import bundle, merkle, stamping, timestamp, witnessing
from ledger.bundle import BundleError, Index, Line
from ledger.checkpoint import CheckpointError
from ledger.clock import text
from ledger.encoding import canonical
from ledger.entry import EntryError, leaf_of, parse_head
from ledger.timestamp import MissingExtraError, TimestampError
from ledger.timestamp_client import UnreachableError
from ledger.trust import TrustRootError
from ledger.verifier import Report, VerificationError, plain, read_trust_root, verify
from ledger.witnessing import CouldNotRunError

SOUND, NOT_SOUND, COULD_NOT_RUN = 0, 1, 2
COULD_NOT = (
    TrustRootError,
    OSError,
    merkle.ProofError,
    CouldNotRunError,
    MissingExtraError,
    UnreachableError,
)
OUTPUT_MAX = 64 * 1024 * 1024  # bytes of a report as JSON


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except VerificationError as error:
        print(_report_json(error.report) if options.json else _report_text(error.report))
        return NOT_SOUND
    except (BundleError, CheckpointError, EntryError, TimestampError, UnicodeDecodeError) as error:
        print(f"not sound: {error}", file=sys.stderr)
        return NOT_SOUND
    except COULD_NOT as error:
        print(f"could not run: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ledger", description="Verify and read ledger bundles.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
        added.set_defaults(run=run, json=False)
        return added

    def needs_keys(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--keys", type=Path, metavar="TRUSTROOT", required=True, help="your own trust root"
        )

    added = command("verify", _verify, "Verify a bundle under your own trust root.")
    needs_keys(added)
    added.add_argument("--json", action="store_true", help="print the report as JSON")
    added = command("prove", _prove, "Verify a bundle, then print the proof that one entry is in it.")
    needs_keys(added)
    added.add_argument("seq", type=int, metavar="SEQ", help="the entry's number")
    command("inspect", _inspect, "List the entries that a bundle claims, without verifying them.")
    added = command("checkpoints", _checkpoints, "Print who signed and cosigned each checkpoint of a bundle.")
    added.add_argument("--keys", type=Path, metavar="TRUSTROOT", help="your own trust root: verify each line")
    witnessing.add_commands(commands)
    stamping.add_command(commands)
    return parser


def _verify(options: argparse.Namespace) -> int:
    report = verify(options.bundle, options.keys)
    print(_report_json(report) if options.json else _report_text(report))
    return SOUND


def _prove(options: argparse.Namespace) -> int:
    report = verify(options.bundle, options.keys)
    if report.first:
        raise merkle.ProofError("a proof needs a bundle that begins at entry 0")
    lines = [Line.parse(raw) for raw in bundle.lines(options.bundle)]
    proof = merkle.inclusion_proof([leaf_of(line.head) for line in lines], options.seq)
    document = {
        "seq": options.seq,
        "size": report.size,
        "head": lines[options.seq].head.decode(),
        "proof": [node.hex() for node in proof],
        "checkpoint": bundle.read(options.bundle, f"checkpoints/{report.size}.txt").decode(),
    }
    print(canonical(document, limit=OUTPUT_MAX).decode())
    return SOUND


def _inspect(options: argparse.Namespace) -> int:
    index = Index.parse(bundle.read(options.bundle, bundle.INDEX, bundle.INDEX_MAX))
    print(f"claimed, not verified: entries {index.first} to {index.last}, {len(index.files)} files")
    for raw in bundle.lines(options.bundle):
        envelope = parse_head(Line.parse(raw).head)
        print(envelope["seq"], text(envelope["time"]), envelope["type"], envelope["source"], envelope["id"])
    return SOUND


def _checkpoints(options: argparse.Namespace) -> int:
    trust_root = None if options.keys is None else read_trust_root(options.keys)
    index = Index.parse(bundle.read(options.bundle, bundle.INDEX, bundle.INDEX_MAX))
    if trust_root is None:
        print("claimed, not verified:")
    names = [name for name in index.files if name.startswith("checkpoints/")]
    if not names:
        print("no checkpoint")
    counting = bool(names)
    for name in sorted(names, key=bundle.checkpoint_size):
        words, counts = witnessing.told(bundle.read(options.bundle, name).decode(), trust_root)
        print("\n".join(words))
        counting = counting and counts
    return SOUND if counting else NOT_SOUND


def _report_text(report: Report) -> str:
    if report.findings:
        listed = [f"({finding.step}) {finding.place}: {finding.detail}" for finding in report.findings]
        return "\n".join([f"NOT SOUND: {len(report.findings)} findings", *listed])
    lines = [
        f"sound: ledger {report.ledger_id}, entries {report.first} to {report.size - 1}",
        f"root  {report.root.hex()}",
        f"h     {report.h.hex()}",
        *(f"redacted: entry {each.seq} by entry {each.by}: {plain(each.reason)}" for each in report.redacted),
        *(
            f"anchored: size {each.size} in block {each.block_number} of chain {each.chain_id}, "
            f"{each.time:%Y-%m-%d %H:%M:%S} UTC,\n  if a node of yours has block 0x{each.block_hash.hex()}"
            for each in report.anchors
        ),
        *(
            f"stamped: size {each.size} by {each.authority} at {each.time:%Y-%m-%d %H:%M:%S} UTC, "
            f"as number {each.serial:#x}"
            for each in report.stamps
        ),
    ]
    if report.unproven:
        lines.append(f"not proven by this ledger: {', '.join(report.unproven)}")
    if not timestamp.AVAILABLE and any(map(timestamp.is_path, report.unproven)):
        lines.append("time-stamps were not judged: that needs the extra `timestamp`")
    if report.first:
        lines.append(f"not in this bundle: entries 0 to {report.first - 1}")
    return "\n".join(lines)


def _report_json(report: Report) -> str:
    document = {
        "sound": not report.findings,
        "ledger_id": report.ledger_id,
        "origin": report.origin,
        "first": report.first,
        "size": report.size,
        "root": report.root.hex(),
        "h": report.h.hex(),
        "checkpoints": list(report.checkpoints),
        "redacted": [{"seq": each.seq, "by": each.by, "reason": each.reason} for each in report.redacted],
        "anchors": [
            {
                "size": each.size,
                "chain_id": each.chain_id,
                "block_number": each.block_number,
                "block_hash": each.block_hash.hex(),
                "time": text(each.time),
            }
            for each in report.anchors
        ],
        "stamps": [
            {
                "size": each.size,
                "authority": each.authority,
                "time": text(each.time),
                "serial": f"{each.serial:#x}",
            }
            for each in report.stamps
        ],
        "unproven": list(report.unproven),
        "findings": [
            {
                "step": int(finding.step),
                "code": finding.code,
                "place": finding.place,
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
    }
    return canonical(document, limit=OUTPUT_MAX).decode()


if __name__ == "__main__":
    sys.exit(main())
