"""What is to change in the desk's policy set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from workbench.client import ChangeView, Client
from workbench.commands.said import outcome
from workbench.commands.session import lasting, speaking, written
from workbench.rules import change
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words


def changes(options: argparse.Namespace) -> int:
    """List the proposed sets, say what one changes, or where it is signed."""
    return outcome(_changes(options))


def _changes(options: argparse.Namespace) -> Iterator[str]:
    if options.asked == "sign":
        yield from _sign(lasting(options), options)
        return
    with speaking(options) as client:
        yield from _pending(client) if options.asked == "pending" else _change(client.change(options.digest))


def _sign(client: Client, options: argparse.Namespace) -> Iterator[str]:
    """Say where the set is signed: on the approver's page, or elsewhere from a file."""
    if options.out is not None:
        exported = client.export_change(options.digest)
        yield from written(options.out, exported, how="on your own machine: workbench approve")
        return
    origin = TrustRoot.read(options.trust_root.read_bytes()).approval.origin
    ticket = client.ask_change(options.digest)
    yield "Open this page, read it to the end, press your key:"
    yield f"{origin}/change/{ticket.ticket}"
    yield f"  {words(options.digest)}"


def _pending(client: Client) -> Iterator[str]:
    found = [each for each in client.changes().changes if each.standing == "pending"]
    for each in found:
        yield each.digest
        yield f"  version {each.version}, proposed by {each.proposer}, activates at {each.activates_at}"
        yield f"  signed by {', '.join(each.signed_by) or 'nobody'}"
    if not found:
        yield "nothing is proposed"


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
