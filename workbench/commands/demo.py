"""The demo world: run once, or kept for JupyterLab."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from workbench.chain.errors import ChainError
from workbench.client import ProblemError, ServiceUnavailableError
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.custody.errors import TokenError
from workbench.demo import charter, lab, run, visitor
from workbench.demo.lab import LabError
from workbench.demo.stack import StackError
from workbench.demo.world import World
from workbench.rules.codes import RefusedError
from workbench.runner.notebook import NotebookError

VISITOR_S = 600


def demo(options: argparse.Namespace) -> int:
    """Run the worked example."""
    folder = _empty_folder(options)
    if folder is None:
        return COULD_NOT_RUN
    try:
        outcome = run.demo(folder)
    except (NotebookError, ProblemError, run.UnsoundError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return REFUSED
    except (ChainError, ServiceUnavailableError, StackError, TokenError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    show(outcome)
    return DONE


def run_lab(options: argparse.Namespace) -> int:
    """Keep a demo world and JupyterLab over it, until interrupted."""
    folder = _empty_folder(options)
    if folder is None:
        return COULD_NOT_RUN
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limits = visitor.LIMITS if options.visitor else {}
    variant = charter.Variant(limits=limits, admitted=tuple(options.admit), jailed=run.can_jail())
    try:
        with ExitStack() as ends:
            world, _ = ends.enter_context(run.living_world(folder, variant=variant))
            ends.enter_context(run.officers(world))
            world = _with_visitor(world) if options.visitor else world
            started = ends.enter_context(lab.running(world))
            for person in world.policy.people.values():
                print(f"{person.id:12} {', '.join(person.roles):24} {started.url(person.id)}")
            print("\nEnd with Ctrl-C.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return DONE
    except RefusedError as refused:
        print(f"workbench: refused: {refused}", file=sys.stderr)
        return REFUSED
    except (ChainError, LabError, ServiceUnavailableError, StackError, TokenError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
    except (ProblemError, visitor.NoVisitorError) as error:
        print(f"workbench: {error}", file=sys.stderr)
    return COULD_NOT_RUN


def _with_visitor(world: World) -> World:
    """Let a visitor register a security key, and have it enrolled."""
    admin = visitor.officer_of(world, "admin-1")
    print("Register your security key, once on each page:\n")
    for path, address in visitor.invited(admin).items():
        print(f"  {path:10} {address}")
    print(f"\nWaiting up to {VISITOR_S // 60} minutes.", flush=True)
    made = visitor.awaited(admin, seconds=VISITOR_S)
    print("Both are registered; the demo's committee signs the policy set that lists them.", flush=True)
    policy = visitor.enrolled(world, admin, made)
    admin.speaks.logout()
    return replace(world, policy=policy)


def _empty_folder(options: argparse.Namespace) -> Path | None:
    folder: Path = options.state or _state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"workbench: {folder} is not empty", file=sys.stderr)
        return None
    return folder.resolve()


def _state_folder() -> Path:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "custody-workbench"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="demo-", dir=base))


def show(outcome: run.Outcome) -> None:
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
