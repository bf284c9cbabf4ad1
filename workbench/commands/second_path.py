"""The second path at the command line: decide elsewhere, hand in here."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from fido2.ctap import CtapDevice
from fido2.hid import CtapHidDevice

from workbench.approver.console import Answered, Console, Exported, printed, to_type
from workbench.client import ProblemError, ServiceUnavailableError, answer
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.demo.authenticator import UnsafeSoftwareAuthenticator
from workbench.identity.ctap import AuthenticatorError
from workbench.rules.codes import RefusedError
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.shown import sections, title
from workbench.rules.trust import TrustRoot

FILE_MAX = 4 * DOCUMENT_MAX


def approve(options: argparse.Namespace) -> int:
    """Take the exported request, show it, and write the signed answer to a file."""
    try:
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        exported = Exported.read(options.file.read_bytes(), limit=FILE_MAX)
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
    typed = input("Type the last two of the intent's words, or nothing to stop: ")
    if typed.split() != to_type(asked).split():
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


def hand_in(options: argparse.Namespace) -> int:
    """Bring an answer to the service."""
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
