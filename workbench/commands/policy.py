"""What is to change in the desk's policy set."""

from __future__ import annotations

import argparse
import sys

from workbench.client import ChangeView, Client, ProblemError, ServiceUnavailableError
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.rules import change
from workbench.rules.codes import RefusedError
from workbench.rules.documents import printable
from workbench.rules.policy import PolicySet


def changes(options: argparse.Namespace) -> int:
    """List the proposed sets, or say what one changes."""
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
