"""`python -m ledger`: an auditor's commands on a bundle. Exit 0 sound, 1 not sound, 2 could not run.

Only `verify` and `prove` say anything that can be relied on; `inspect` and
`checkpoints` print what the bundle claims.
"""

import argparse
import sys
from pathlib import Path

from ledger import bundle, merkle
from ledger.bundle import BundleError, Index, Line
from ledger.checkpoint import CheckpointError, split
from ledger.clock import text
from ledger.encoding import canonical
from ledger.entry import EntryError, leaf_of, parse_head
from ledger.trust import TrustRootError
from ledger.verifier import Report, VerificationError, verify

SOUND, NOT_SOUND, COULD_NOT_RUN = 0, 1, 2
OUTPUT_MAX = 64 * 1024 * 1024  # bytes of a report as JSON


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except VerificationError as error:
        print(_report_json(error.report) if options.json else _report_text(error.report))
        return NOT_SOUND
    except (BundleError, CheckpointError, EntryError, UnicodeDecodeError) as error:
        print(f"not sound: {error}", file=sys.stderr)
        return NOT_SOUND
    except (TrustRootError, OSError, merkle.ProofError) as error:
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
    command("checkpoints", _checkpoints, "List the checkpoints that a bundle claims, without verifying them.")
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
    index = Index.parse(bundle.read(options.bundle, bundle.INDEX, bundle.INDEX_MAX))
    print("claimed, not verified:")
    for name in sorted(name for name in index.files if name.startswith("checkpoints/")):
        checkpoint, signatures = split(bundle.read(options.bundle, name).decode())
        signers = " ".join(signature.name for signature in signatures)
        print(checkpoint.size, checkpoint.root.hex(), checkpoint.chain.hex(), signers)
    return SOUND


def _report_text(report: Report) -> str:
    if report.findings:
        listed = [f"({finding.step}) {finding.place}: {finding.detail}" for finding in report.findings]
        return "\n".join([f"NOT SOUND: {len(report.findings)} findings", *listed])
    unproven = f"\nnot proven by this ledger: {', '.join(report.unproven)}" if report.unproven else ""
    if report.first:
        unproven += f"\nnot in this bundle: entries 0 to {report.first - 1}"
    return (
        f"sound: ledger {report.ledger_id}, entries {report.first} to {report.size - 1}\n"
        f"root  {report.root.hex()}\nh     {report.h.hex()}{unproven}"
    )


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
