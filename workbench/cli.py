"""`workbench`: the command line. Exit codes: 0 done, 1 refused or unsound, 2 could not run."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fido2.ctap import CtapDevice
from fido2.hid import CtapHidDevice

from workbench.approver.console import Answered, Console, Exported, printed, to_type
from workbench.chain.errors import ChainError
from workbench.client import ChangeView, Client, ProblemError, ServiceUnavailableError, answer
from workbench.custody.token import TokenError
from workbench.demo import lab
from workbench.demo.authenticator import UnsafeSoftwareAuthenticator
from workbench.demo.charter import TEMPLATE
from workbench.demo.lab import LabError
from workbench.demo.run import Outcome, UnsoundError, demo, living_world, officers
from workbench.demo.stack import StackError
from workbench.identity.ctap import AuthenticatorError
from workbench.rules import change, roles
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, printable, write_time
from workbench.rules.lifecycle import TABLE
from workbench.rules.policy import PolicySet
from workbench.rules.receipt import VERBS, Line, Receipt, verify_receipt
from workbench.rules.shown import sections, title
from workbench.rules.trust import TrustRoot
from workbench.runner.notebook import NotebookError

DONE, REFUSED, COULD_NOT_RUN = 0, 1, 2
ROLES = TEMPLATE / "roles.json"
RECEIPT_MAX = 4 * DOCUMENT_MAX


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    commands = {
        "access": _access,
        "approve": _approve,
        "audit": _audit,
        "codes": _codes,
        "demo": _demo,
        "hand-in": _hand_in,
        "lab": _lab,
        "policy": _policy,
        "states": _states,
    }
    return commands[options.command](options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workbench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo_command = commands.add_parser("demo", help="run the worked example and print its outcome")
    demo_command.add_argument("--state", type=Path, help="an empty folder to keep it in (default: a new one)")
    commands.add_parser("codes", help="print every reason to refuse")
    access = commands.add_parser("access", help="who may do what")
    shown = access.add_subparsers(dest="shown", required=True)
    matrix = shown.add_parser("matrix", help="print what each role permits")
    matrix.add_argument("--roles", type=Path, default=ROLES, help="another policy set's roles.json")
    audit = commands.add_parser("audit", help="verify what the desk handed out, with nothing of it running")
    audited = audit.add_subparsers(dest="audited", required=True)
    receipt = audited.add_parser("receipt", help="verify the receipt of one intent")
    receipt.add_argument("file", type=Path, metavar="FILE", help="the receipt")
    receipt.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
    receipt.add_argument("--json", action="store_true", help="print one JSON document")
    lab_command = commands.add_parser("lab", help="start the demo world and JupyterLab over it")
    lab_command.add_argument("--state", type=Path, help="an empty folder to keep it in (default: a new one)")
    _second_path(commands)
    policy = commands.add_parser("policy", help="what is to change in the desk's policy set")
    asked = policy.add_subparsers(dest="asked", required=True)
    pending = asked.add_parser("pending", help="list the sets that are proposed and open")
    show = asked.add_parser("show", help="say in words what one of them changes")
    show.add_argument("digest", metavar="DIGEST", help="the proposed set")
    for command in (pending, show):
        command.add_argument("--socket", type=Path, required=True, help="the service's socket")
        command.add_argument("--person", required=True, help="who asks; signs the login at an authenticator")
        command.add_argument("--wait", type=float, default=60.0, metavar="S", help="for that signature")
    commands.add_parser("states", help="print the lifecycle's state table")
    return parser


def _second_path(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    approve = commands.add_parser("approve", help="decide by the second path, on a machine of your own")
    approve.add_argument("file", type=Path, metavar="FILE", help="the exported request")
    approve.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
    approve.add_argument("--out", type=Path, required=True, help="where the answer goes")
    approve.add_argument("--verb", choices=["approve", "reject", "abstain"], default="approve")
    approve.add_argument("--role", default="", help="as whom (default: the role that is asked for)")
    approve.add_argument("--reason", default="", help="needed to reject or abstain")
    approve.add_argument(
        "--unsafe-authenticator",
        type=Path,
        metavar="KEYFILE",
        help="a demo person's keys instead of a USB key",
    )
    hand_in = commands.add_parser("hand-in", help="bring an answer of the second path to the service")
    hand_in.add_argument("file", type=Path, metavar="FILE", help="the answer")
    hand_in.add_argument("--socket", type=Path, required=True, help="the service's unix socket")


def _approve(options: argparse.Namespace) -> int:
    try:
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        exported = Exported.read(options.file.read_bytes(), limit=RECEIPT_MAX)
        answered = _at_console(options, trust_root, exported)
    except RefusedError as refused:
        print(f"workbench: refused: {refused}", file=sys.stderr)
        return REFUSED
    except (AuthenticatorError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    if answered is None:
        print("workbench: nothing was signed", file=sys.stderr)
        return REFUSED
    with options.out.open("xb") as file:
        file.write(answered.canonical())
    print(f"\nSigned. Take {options.out} back and hand it in.")
    return DONE


def _at_console(options: argparse.Namespace, trust_root: TrustRoot, exported: Exported) -> Answered | None:
    if options.out.exists():
        raise FileExistsError(f"{options.out} exists")
    if not sys.stdin.isatty():
        raise AuthenticatorError("no terminal: this is for a person who reads")
    device = _device(options.unsafe_authenticator)
    console = Console(trust_root, device)
    now = datetime.now(UTC)
    asked = console.verify(exported, now=now)
    print(printed(sections(asked, now=now), title=title(asked)))
    role = options.role or next(iter(asked.roles), "")
    print(f"\nYou are about to {options.verb} this as {role or 'nobody'}.")
    if (
        input("Type the last two of the intent's words, or nothing to stop: ").split()
        != to_type(asked).split()
    ):
        return None
    print("Touch your security key.", flush=True)
    return console.decide(
        exported,
        asked,
        verb=options.verb,
        role=role,
        reason=options.reason,
        decision_id=secrets.token_hex(16),
        now=datetime.now(UTC),
    )


def _device(keyfile: Path | None) -> CtapDevice:
    if keyfile is not None:
        return UnsafeSoftwareAuthenticator(keyfile)
    found = next(CtapHidDevice.list_devices(), None)
    if found is None:
        raise AuthenticatorError("no security key is plugged in")
    return found


def _hand_in(options: argparse.Namespace) -> int:
    try:
        answered = Answered.read(options.file.read_bytes())
        view = answer(options.socket, answered.ticket, answered.signed)
    except (RefusedError, ProblemError) as refused:
        print(f"workbench: refused: {refused}", file=sys.stderr)
        return REFUSED
    except (ServiceUnavailableError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    print(f"recorded as entry {view.entry_seq}; the intent is {view.state}")
    return DONE


def _demo(options: argparse.Namespace) -> int:
    folder = options.state or _state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"workbench: {folder} is not empty", file=sys.stderr)
        return COULD_NOT_RUN
    try:
        outcome = demo(folder.resolve())
    except (NotebookError, ProblemError, UnsoundError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return REFUSED
    except (ChainError, ServiceUnavailableError, StackError, TokenError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    show(outcome)
    return DONE


def _lab(options: argparse.Namespace) -> int:
    folder = options.state or _state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"workbench: {folder} is not empty", file=sys.stderr)
        return COULD_NOT_RUN
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with living_world(folder.resolve()) as (world, _), officers(world), lab.running(world) as started:
            for person in world.policy.people.values():
                print(f"{person.id:12} {', '.join(person.roles):24} {started.url(person.id)}")
            print("\nEnd with Ctrl-C.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return DONE
    except (ChainError, LabError, ServiceUnavailableError, StackError, TokenError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
    return COULD_NOT_RUN


def _state_folder() -> Path:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "custody-workbench"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="demo-", dir=base))


def show(outcome: Outcome) -> None:
    """Print what a run of the demo leaves behind."""
    width = max(len(purpose) for purpose, _, _ in outcome.intents)
    print(f"{'intent':{width}}  {'state':11}  transaction")
    for purpose, state, tx_hash in outcome.intents:
        print(f"{purpose:{width}}  {state:11}  {'0x' + tx_hash if tx_hash else '-'}")
    print(f"\nreport        {outcome.report}")
    print(f"bundle        {outcome.bundle}")
    print(f"trust root    {outcome.trust_root}")
    print(f"ledger head   {outcome.size} entries, h {outcome.h}")
    print(f"verification  {outcome.verification.splitlines()[0]}")


def _codes(_: argparse.Namespace) -> int:
    for code in Refusal:
        print(code.value)
    return DONE


def _access(options: argparse.Namespace) -> int:
    try:
        matrix = roles.read(json.loads(options.roles.read_bytes()))
    except (OSError, ValueError) as error:
        print(f"workbench: {options.roles}: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except RefusedError as refused:
        print(f"workbench: {refused}", file=sys.stderr)
        return REFUSED
    width = max(map(len, matrix))
    print("  ".join([" " * width, *roles.Permission]))
    for role, permitted in sorted(matrix.items()):
        cells = [("yes" if each in permitted else "-").ljust(len(each)) for each in roles.Permission]
        print("  ".join([role.ljust(width), *cells]).rstrip())
    return DONE


def _audit(options: argparse.Namespace) -> int:
    try:
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        raw = options.file.read_bytes()
    except (OSError, RefusedError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    try:
        receipt = Receipt.read(raw, limit=RECEIPT_MAX)
        lines = verify_receipt(receipt, trust_root=trust_root, now=datetime.now(UTC))
    except RefusedError as refused:
        _tell({"proven": False, "code": refused.code.value, "detail": str(refused)}, as_json=options.json)
        return REFUSED
    entries = [{**_line(line), **_said(line)} for line in lines]
    _tell({"proven": True, "intent": receipt.intent, "entries": entries}, as_json=options.json)
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


def _policy(options: argparse.Namespace) -> int:
    try:
        client = Client.login(options.socket, options.person, wait_s=options.wait)
        try:
            lines = _pending(client) if options.asked == "pending" else _change(client.change(options.digest))
        finally:
            client.logout()
    except (ServiceUnavailableError, TimeoutError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except (ProblemError, RefusedError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return REFUSED
    for line in lines:
        print(printable(line))
    return DONE


def _pending(client: Client) -> list[str]:
    found = [each for each in client.changes().changes if each.standing == "pending"]
    return [
        f"{each.digest}  version {each.version}, proposed by {each.proposer}, activates at "
        f"{each.activates_at}, signed by {', '.join(each.signed_by) or 'nobody'}"
        for each in found
    ] or ["nothing is proposed"]


def _change(view: ChangeView) -> list[str]:
    """Say what changes as the two sets say it, not as the service does."""
    compared, limits = view.compared(), PolicySet.load(view.previous).limits
    lines = [f"{view.standing}: version {view.version}, proposed by {view.proposer} at {view.proposed_at}"]
    lines += [f"  {each}" for each in change.words(compared)]
    if compared.only_takes_away:
        lines.append("It only takes away: it may act at once, and cannot be vetoed.")
    else:
        lines.append(f"It lies open for at least {compared.delay(limits)}, until {view.activates_at}.")
    lines.append(f"signed by {', '.join(view.signed_by) or 'nobody'}")
    if view.veto is not None:
        lines.append(f"vetoed by {view.veto.veto.person}: {view.veto.veto.reason}")
    return lines


def _states(_: argparse.Namespace) -> int:
    for (state, event), after in TABLE.items():
        print(f"{state.value:12} {event.value:24} {after.value}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
