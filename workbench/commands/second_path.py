"""The second path at the command line: decide elsewhere, hand in here."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fido2.ctap import CtapDevice
from fido2.hid import CtapHidDevice

from workbench import watcher_client
from workbench.approver.console import (
    Answered,
    AnsweredChange,
    AnsweredRegistration,
    Console,
    Exported,
    ExportedChange,
    ExportedRegistration,
    printed,
    to_type,
)
from workbench.client import (
    ProblemError,
    ServiceUnavailableError,
    answer,
    answer_change,
    order_key,
    registered,
)
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.commands.said import folded
from workbench.demo.authenticator import UnsafeSoftwareAuthenticator
from workbench.identity.ctap import AuthenticatorError
from workbench.identity.registration import CHALLENGE_BYTES, Metadata
from workbench.rules import shown, shown_change, shown_order
from workbench.rules.change_request import WordVerb
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_json
from workbench.rules.order_request import OrderRequest
from workbench.rules.rows import Section
from workbench.rules.trust import TrustRoot

FILE_MAX = 4 * DOCUMENT_MAX
WORDS: dict[str, WordVerb] = {"approve": "sign", "reject": "veto"}
"""What one says of a policy set."""


def approve(options: argparse.Namespace) -> int:
    """Take the exported request, show it, and write the signed answer to a file."""
    try:
        trust_root = TrustRoot.read(options.trust_root.read_bytes())
        answered = _at_console(options, trust_root, _exported(options.file))
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


def _exported(path: Path) -> Exported | ExportedChange | OrderRequest:
    value = read_json(path.read_bytes(), limit=FILE_MAX)
    if isinstance(value, dict) and "change" in value:
        return ExportedChange.load(value)
    if isinstance(value, dict) and "policy_chain" in value:
        return OrderRequest.load(value)
    return Exported.load(value)


def _at_console(
    options: argparse.Namespace, trust_root: TrustRoot, exported: Exported | ExportedChange | OrderRequest
) -> Answered | AnsweredChange | OrderRequest | None:
    _not_twice(options.out)
    if not sys.stdin.isatty():
        raise AuthenticatorError("no terminal: this is for a person who reads")
    device = _device(options.unsafe_authenticator)
    console = Console(trust_root, device)
    if isinstance(exported, ExportedChange):
        return _say(options, console, exported)
    if isinstance(exported, OrderRequest):
        return _order(options, console, exported)
    return _decide(options, console, exported)


def _say(options: argparse.Namespace, console: Console, exported: ExportedChange) -> AnsweredChange | None:
    now = datetime.now(UTC)
    asked = console.verify_change(exported, now=now)
    verb = WORDS.get(options.verb)
    if verb is None:
        raise RefusedError(Refusal.MALFORMED, f"nobody can {options.verb} about a policy set", path="/verb")
    sections = shown_change.sections(asked, now=now)
    if not _read(
        sections, title=shown_change.title(asked), about=f"{verb} this", digest=asked.following.digest
    ):
        return None
    return console.say(exported, asked, verb=verb, reason=options.reason)


def _order(options: argparse.Namespace, console: Console, request: OrderRequest) -> OrderRequest | None:
    now = datetime.now(UTC)
    asked = console.verify_order(request, person=options.person, now=now)
    if options.verb != "approve":
        raise RefusedError(
            Refusal.MALFORMED, f"nobody can {options.verb} an order: let it lapse", path="/verb"
        )
    digest = asked.order.challenge.hex()
    sections = shown_order.sections(asked, now=now)
    if not _read(sections, title=shown_order.title(asked), about="sign this order", digest=digest):
        return None
    return console.order(request, asked)


def _read(sections: list[Section], *, title: str, about: str, digest: str) -> bool:
    """Show everything; return whether the person has found the words that stand in it."""
    print(printed(sections, title=title))
    print(f"\nYou are about to {about}.")
    typed = input("Type the last two of the words to read aloud, or nothing to stop: ")
    if typed.split() != to_type(digest).split():
        return False
    print("Touch your security key.", flush=True)
    return True


def _decide(options: argparse.Namespace, console: Console, exported: Exported) -> Answered | None:
    now = datetime.now(UTC)
    asked = console.verify(exported, now=now)
    role = options.role or next(iter(asked.roles), "")
    about = f"{options.verb} this as {role or 'nobody'}"
    sections = shown.sections(asked, now=now)
    if not _read(sections, title=shown.title(asked), about=about, digest=asked.intent.digest):
        return None
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


def register(options: argparse.Namespace) -> int:
    """Register a key for the second path, and write what was made to a file."""
    try:
        answered = _registered(options, TrustRoot.read(options.trust_root.read_bytes()))
    except RefusedError as refused:
        print(f"workbench: refused: {refused}", file=sys.stderr)
        return REFUSED
    except (AuthenticatorError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    with options.out.open("xb") as file:
        file.write(answered.canonical())
    print(folded(shown.registered(answered.done.registered)))
    print(f"Take {options.out} back and hand it in.")
    return DONE


def _registered(options: argparse.Namespace, trust_root: TrustRoot) -> AnsweredRegistration:
    exported = ExportedRegistration.load(read_json(options.file.read_bytes(), limit=FILE_MAX))
    _not_twice(options.out)
    console = Console(trust_root, _device(options.unsafe_authenticator))
    now = datetime.now(UTC)
    asked = console.verify_registration(exported, now=now)
    print(printed(shown.registration(asked, now=now), title=f"Register a key of {asked.name}?"))
    print("\nTouch your security key, or press Ctrl-C.", flush=True)
    metadata = None
    if options.metadata:
        root = options.metadata_root.read_bytes() if options.metadata_root else b""
        metadata = Metadata.read(options.metadata.read_bytes(), root=root, now=now)
    return console.register(
        exported,
        asked,
        challenge=secrets.token_bytes(CHALLENGE_BYTES),
        metadata=metadata,
        now=datetime.now(UTC),
    )


def _not_twice(out: Path) -> None:
    if out.exists():
        raise FileExistsError(f"{out} exists")


def hand_in(options: argparse.Namespace) -> int:
    """Bring an answer to the service."""
    try:
        told = _handed_in(options.socket, read_json(options.file.read_bytes(), limit=DOCUMENT_MAX))
    except (RefusedError, ProblemError) as refused:
        print(f"workbench: refused: {refused}", file=sys.stderr)
        return REFUSED
    except (ServiceUnavailableError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    print(told)
    return DONE


def _handed_in(socket: Path, value: Any) -> str:  # noqa: ANN401 - the JSON edge
    if isinstance(value, dict) and "word" in value:
        said = AnsweredChange.load(value)
        return f"recorded; the policy set is {answer_change(socket, said.ticket, said.word).standing}"
    if isinstance(value, dict) and "policy_chain" in value:
        return _ordered(socket, OrderRequest.load(value))
    if isinstance(value, dict) and "done" in value:
        answered = AnsweredRegistration.load(value)
        key = registered(socket, answered.ticket, answered.done)
        return f"recorded; {key.person} has a key {key.credential.id}, when a policy set lists it"
    made = Answered.load(value)
    view = answer(socket, made.ticket, made.signed)
    return f"recorded as entry {view.entry_seq}; the intent is {view.state}"


def _ordered(socket: Path, request: OrderRequest) -> str:
    if request.release is not None:
        return f"released, epoch {watcher_client.hand_in(socket, request.release)}"
    if request.key is None:
        raise RefusedError(Refusal.MALFORMED, "one order is asked for")
    work = order_key(socket, request.key)
    return f"recorded as entry {work.entry_seq}; the operation is {work.state}"
