"""What runs: the service's head and policy set, and what shuts each co-signer in."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from workbench import client
from workbench.commands.said import outcome
from workbench.rules.isolation import Isolation


def status(options: argparse.Namespace) -> int:
    """Ask the service, without a session."""
    return outcome(_status(options.socket))


def _status(socket: Path) -> Iterator[str]:
    said = client.status(socket)
    yield f"ledger      {said['ledger_size']} entries"
    yield f"policy set  {said['policy']}"
    yield f"trust root  {said['trust_root']}"
    for name, isolation in said["isolation"].items():
        yield from _cosigner(name, isolation)


def _cosigner(name: str, said: object) -> Iterator[str]:
    if said is None:
        yield f"{name}: silent, or not asked yet"
        return
    isolation = Isolation.load(said)
    lacks = f"{len(isolation.missing)} measures missing" if isolation.missing else "every measure holds"
    yield f"{name}: {lacks}, by its own word"
    for each in isolation.measures:
        yield f"  {'holds' if each.holds else 'MISSING':8}{each.measure} ({each.seen})"
