"""`workbench`: the command line. Exit codes: 0 done, 1 refused or unsound, 2 could not run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROLES = Path(__file__).resolve().parents[1] / "policies" / "desk" / "roles.json"
COMMANDS = {
    "access": ("access", "matrix"),
    "approve": ("second_path", "approve"),
    "audit": ("audit", "audit"),
    "codes": ("tables", "codes"),
    "custody": ("custody", "custody"),
    "demo": ("demo", "demo"),
    "enrol": ("enrol", "enrol"),
    "hand-in": ("second_path", "hand_in"),
    "key": ("key", "key"),
    "lab": ("demo", "run_lab"),
    "login": ("session", "login"),
    "logout": ("session", "logout"),
    "pause": ("pause", "pause"),
    "paused": ("pause", "paused"),
    "policy": ("policy", "changes"),
    "recovery": ("recovery", "recovery"),
    "register": ("second_path", "register"),
    "release": ("pause", "release"),
    "renew": ("session", "renew"),
    "revoke": ("revoke", "revoke"),
    "risk": ("risk", "risk"),
    "sessions": ("session", "sessions"),
    "states": ("tables", "states"),
    "status": ("status", "status"),
}
"""Module and function of each command; a module is loaded when its command is given, some take seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    place, name = COMMANDS[options.command]
    module = import_module(f"workbench.commands.{place}")
    command: Callable[[argparse.Namespace], int] = getattr(module, name)
    return command(options)


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
    keys = audited.add_parser("keys", help="the keys of a bundle: states, shares, backups, what runs out")
    keys.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    keys.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
    _custody(commands)
    lab_command = commands.add_parser("lab", help="start the demo world and JupyterLab over it")
    lab_command.add_argument("--state", type=Path, help="an empty folder to keep it in (default: a new one)")
    lab_command.add_argument(
        "--visitor", action="store_true", help="let a visitor register a security key first"
    )
    lab_command.add_argument(
        "--admit",
        action="append",
        default=[],
        metavar="AAGUID",
        help="a model of security key that visitors may bring: 32 hex digits",
    )
    _second_path(commands)
    policy = commands.add_parser("policy", help="what is to change in the desk's policy set")
    asked = policy.add_subparsers(dest="asked", required=True)
    pending = asked.add_parser("pending", help="list the sets that are proposed and open")
    show = asked.add_parser("show", help="say in words what one of them changes")
    show.add_argument("digest", metavar="DIGEST", help="the proposed set")
    sign = asked.add_parser("sign", help="print the page on which it is signed, or export it")
    sign.add_argument("digest", metavar="DIGEST", help="the proposed set")
    sign.add_argument("--trust-root", type=Path, required=True, help="names the page")
    sign.add_argument("--out", type=Path, help="a file for `workbench approve`, by the second path")
    for command in (pending, show, sign):
        _speaks(command)
    _sessions(commands)
    _enrol(commands)
    _revoke(commands)
    _pause(commands)
    _key(commands)
    _recovery(commands)
    _risk(commands)
    states = commands.add_parser("states", help="print a state table")
    states.add_argument("--of", choices=["intents", "keys"], default="intents", help="whose states")
    status = commands.add_parser("status", help="say what runs, and what shuts each co-signer in")
    status.add_argument("--socket", type=Path, required=True, help="the service's socket")
    return parser


def _speaks(command: argparse.ArgumentParser) -> None:
    """Let a command speak in a session: the one that is kept, or one of its own."""
    command.add_argument("--socket", type=Path, required=True, help="the service's socket")
    command.add_argument("--person", required=True, help="who asks; signs a login at an authenticator")
    command.add_argument("--wait", type=float, default=60.0, metavar="S", help="for that signature")
    command.add_argument("--runtime", type=Path, help="where sessions are kept (default: XDG_RUNTIME_DIR)")


def _custody(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    custody = commands.add_parser("custody", help="look at the token of a process of yours, or unlock it")
    looked = custody.add_subparsers(dest="looked", required=True)
    looked.add_parser("compare", help="the ways to hold a key, side by side, with what was measured")
    token = looked.add_parser("token", help="try what it can do, and print what it claims of its keys")
    unlock = looked.add_parser("unlock", help="count wrong PINs from none again, after ten of them")
    for command in (token, unlock):
        command.add_argument("state", type=Path, metavar="STATE", help="the process's state root")


def _sessions(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    login = commands.add_parser("login", help="begin a session and keep it for the commands that follow")
    renew = commands.add_parser("renew", help="put another session in its place, by another key press")
    logout = commands.add_parser("logout", help="end that session and forget its key")
    sessions = commands.add_parser("sessions", help="list a person's sessions, or end one")
    sessions.add_argument("what", nargs="?", choices=["list", "end"], default="list")
    sessions.add_argument("digest", nargs="?", metavar="DIGEST", default="", help="which one to end")
    for command in (login, renew, logout, sessions):
        _speaks(command)
    for command in (login, renew):
        command.add_argument("--trust-root", type=Path, help="names the login page, whose address is printed")


def _enrol(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    enrol = commands.add_parser("enrol", help="have somebody's key registered; propose the set that lists it")
    enrol.add_argument("--who", required=True, metavar="X", help="whose key")
    what = enrol.add_mutually_exclusive_group(required=True)
    what.add_argument("--path", choices=["login", "approval", "console"], help="what the key is to be for")
    what.add_argument("--propose", action="store_true", help="propose the set that lists what was registered")
    enrol.add_argument("--out", type=Path, help="a file for `workbench register`, for the second path")
    enrol.add_argument("--name", default="", help="a newcomer's")
    enrol.add_argument("--role", action="append", default=[], metavar="R", help="a newcomer's")
    enrol.add_argument("--team", default="", help="a newcomer's")
    enrol.add_argument("--site", default="", help="a newcomer's")
    enrol.add_argument("--trust-root", type=Path, required=True, help="your own")
    _speaks(enrol)


def _revoke(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    revoke = commands.add_parser(
        "revoke", help="propose that somebody leaves or loses a key; say what it ended"
    )
    what = revoke.add_mutually_exclusive_group(required=True)
    what.add_argument("--who", metavar="X", help="whose; everything, unless something is named")
    what.add_argument("--status", metavar="DIGEST", help="what a set has ended since it is in force")
    revoke.add_argument(
        "--credential", action="append", default=[], metavar="ID", help="a lost key: --credential=ID"
    )
    revoke.add_argument("--role", action="append", default=[], metavar="R", help="a role that is given back")
    revoke.add_argument("--trust-root", type=Path, help="your own, to verify the set in force under")
    _speaks(revoke)


def _pause(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    scope = "all, key:NAME or contract:0xADDRESS"
    pause = commands.add_parser("pause", help="order that nothing is signed for a key, a contract, or at all")
    pause.add_argument("scope", metavar="SCOPE", help=scope)
    release = commands.add_parser("release", help="draft the end of a pause, for officers to sign")
    release.add_argument("scope", nargs="+", metavar="SCOPE", help=scope)
    release.add_argument("--out", type=Path, required=True, help="a file for `workbench approve`")
    paused = commands.add_parser("paused", help="say what is paused")
    for command in (pause, release):
        command.add_argument("--reason", required=True, help="for the audit trail, and for who decides")
    for command in (pause, release, paused):
        command.add_argument("--watcher", type=Path, required=True, help="the watcher's socket")
    _speaks(pause)


def _key(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    key = commands.add_parser("key", help="draft an operation on a key, for officers to sign")
    key.add_argument("operation", choices=["dkg", "refresh", "backup", "restore", "rotate", "destroy"])
    key.add_argument("key", metavar="KEY")
    key.add_argument("--epoch", type=int, required=True, help="the one that is made, or else in use")
    key.add_argument(
        "--party", action="append", default=[], metavar="COSIGNER", help="who is to share a new key"
    )
    key.add_argument("--threshold", type=int, default=0, help="how many of them sign together")
    key.add_argument("--backup", type=Path, metavar="FILE", help="what is to be restored")
    key.add_argument("--successor", default="", metavar="NAME", help="of a whole key that is rotated")
    key.add_argument("--reason", required=True, help="for the audit trail, and for who decides")
    key.add_argument(
        "--watcher", type=Path, required=True, help="the watcher's socket: it knows the policy sets"
    )
    key.add_argument("--out", type=Path, required=True, help="a file for `workbench approve`")


def _recovery(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    recovery = commands.add_parser("recovery", help="keep backups of shares, try them, bring them back")
    asked = recovery.add_subparsers(dest="recovering", required=True)
    key = asked.add_parser("key", help="make the pair to which backups are sealed, in a token")
    fetch = asked.add_parser("fetch", help="take a backup home")
    fetch.add_argument("backup", metavar="DIGEST", help="its name in the ledger")
    for command in (key, fetch):
        command.add_argument("--out", type=Path, required=True, help="a file that is not there yet")
    trial = asked.add_parser("try", help="have its co-signer open a backup, compare, and put it away")
    restore = asked.add_parser("restore", help="bring a share back, under an order that officers have signed")
    for command in (trial, restore):
        command.add_argument("backup", type=Path, metavar="FILE", help="the backup")
    restore.add_argument("--order", required=True, metavar="DIGEST", help="of the operation")
    for command in (key, trial, restore):
        command.add_argument("--state", type=Path, required=True, help="the officer's own state root")
    for command in (fetch, trial, restore):
        command.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
        command.add_argument("--socket", type=Path, required=True, help="the service's unix socket")


def _risk(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    risk = commands.add_parser("risk", help="what a year may cost")
    asked = risk.add_subparsers(dest="asked", required=True)
    exposure = asked.add_parser("exposure", help="the annual loss of a file of scenarios, exactly and drawn")
    exposure.add_argument("file", type=Path, metavar="SCENARIOS", help="such as policies/scenarios/seed.yaml")
    exposure.add_argument("--json", action="store_true", help="print one JSON document")
    exposure.add_argument("--years", type=int, default=1_000_000, metavar="N", help="how many are drawn")
    exposure.add_argument("--seed", type=int, default=1, metavar="N", help="of all chance")
    exposure.add_argument("--bundle", type=Path, help="a bundle's folder, whose evidence moves the figures")
    exposure.add_argument("--trust-root", type=Path, metavar="FILE", help="your own, to verify it under")
    limits = asked.add_parser("limits", help="what each position may hold for the appetite to be kept")
    limits.add_argument("file", type=Path, metavar="SCENARIOS", help="with positions and an appetite")
    limits.add_argument("--limits", type=Path, metavar="FILE", help="the policy set's limits.json")
    limits.add_argument("--out", type=Path, metavar="FILE", help="where a next one goes, to be proposed")


def _second_path(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    approve = commands.add_parser("approve", help="decide by the second path, on a machine of your own")
    approve.add_argument("file", type=Path, metavar="FILE", help="the exported request")
    approve.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
    approve.add_argument("--out", type=Path, required=True, help="where the answer goes")
    approve.add_argument("--verb", choices=["approve", "reject", "abstain"], default="approve")
    approve.add_argument(
        "--person", default="", help="who you are, where the file does not say it: a release"
    )
    approve.add_argument("--role", default="", help="as whom (default: the role that is asked for)")
    approve.add_argument("--reason", default="", help="needed to reject or abstain")
    _unsafe(approve)
    register = commands.add_parser("register", help="register a key for the second path, on its machine")
    register.add_argument("file", type=Path, metavar="FILE", help="the exported registration")
    register.add_argument("--trust-root", type=Path, required=True, help="your own trust root")
    register.add_argument("--out", type=Path, required=True, help="where the answer goes")
    register.add_argument(
        "--metadata", type=Path, metavar="BLOB", help="the vendors' metadata (not in a demo)"
    )
    register.add_argument("--metadata-root", type=Path, metavar="DER", help="the root that signs it")
    _unsafe(register)
    hand_in = commands.add_parser("hand-in", help="bring an answer of the second path to the service")
    hand_in.add_argument("file", type=Path, metavar="FILE", help="the answer")
    hand_in.add_argument(
        "--socket", type=Path, required=True, help="the service's unix socket; the watcher's for a release"
    )


def _unsafe(command: argparse.ArgumentParser) -> None:
    told = "a demo person's keys instead of a USB key"
    command.add_argument("--unsafe-authenticator", type=Path, metavar="KEYFILE", help=told)


if __name__ == "__main__":
    sys.exit(main())
