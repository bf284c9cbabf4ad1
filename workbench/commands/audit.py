"""What the desk handed out, verified with nothing of it running."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from ledger.verifier import VerificationError
from workbench.audit.keys import inventory, lines
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.rules.codes import RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, printable, write_time
from workbench.rules.receipt import VERBS, Line, Receipt, verify_receipt
from workbench.rules.trust import TrustRoot

RECEIPT_MAX = 4 * DOCUMENT_MAX


def audit(options: argparse.Namespace) -> int:
    """Verify what is asked for."""
    return keys(options) if options.audited == "keys" else receipt(options)


def receipt(options: argparse.Namespace) -> int:
    """Verify the receipt of one intent."""
    try:
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        raw = options.file.read_bytes()
    except (OSError, RefusedError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    try:
        read = Receipt.read(raw, limit=RECEIPT_MAX)
        lines = verify_receipt(read, trust_root=trust_root, now=datetime.now(UTC))
    except RefusedError as refused:
        _tell({"proven": False, "code": refused.code.value, "detail": str(refused)}, as_json=options.json)
        return REFUSED
    entries = [{**_line(line), **_said(line)} for line in lines]
    _tell({"proven": True, "intent": read.intent, "entries": entries}, as_json=options.json)
    return DONE


def keys(options: argparse.Namespace) -> int:
    """Print the keys of a bundle, their shares and backups, and what runs out."""
    now = datetime.now(UTC)
    try:
        found = inventory(options.bundle, options.trust_root, now=now)
    except (OSError, ValueError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except (RefusedError, VerificationError) as refused:
        print(printable(f"NOT PROVEN: {refused}"))
        return REFUSED
    for line in lines(found, now):
        print(printable(line))
    print(f"proven: a sound bundle of {found.size} entries, policy sets to version {found.policy_version}.")
    return DONE


def _line(line: Line) -> dict[str, Any]:
    return {"seq": line.seq, "at": write_time(line.at), "type": line.type, "actor": line.actor}


def _said(line: Line) -> dict[str, Any]:
    if line.type not in VERBS:
        return {}
    signed = SignedDecision.load(line.data["signed"])
    made = signed.decision
    return {
        "verb": made.verb,
        "role": made.role,
        "reason": made.reason,
        "credential": signed.assertion.credential,
        "policy": made.policy,
        "simulation": made.simulation,
    }


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if not found["proven"]:
        print(printable(f"NOT PROVEN: {found['detail']}"))
        return
    print(f"intent {found['intent']}")
    for entry in found["entries"]:
        words = [f"{entry['seq']:6}", entry["at"], f"{entry['type']:22}", entry["actor"]]
        words += [f"{entry['verb']} as {entry['role']}: {entry['reason']}"] if "verb" in entry else []
        print(printable("  ".join(words)))
    print("proven: every line lies under the checkpoint, every decision is signed by its person's key.")
    print("Whether a line was left out, only a bundle shows: python -m ledger verify.")
