"""Pauses at the command line: order one, draft a release of it, see what is paused."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta

from workbench import watcher_client
from workbench.commands.said import outcome
from workbench.commands.session import speaking
from workbench.rules.words import words

LIFE = timedelta(minutes=8)
"""To sign a release in: below the ten minutes that policy sets give a decision."""


def pause(options: argparse.Namespace) -> int:
    """Order that nothing is signed for a key, a contract, or at all."""
    return outcome(_pause(options))


def release(options: argparse.Namespace) -> int:
    """Draft a release, for officers to sign on their own machines."""
    return outcome(_release(options))


def paused(options: argparse.Namespace) -> int:
    """Say what is paused."""
    return outcome(_paused(options))


def _pause(options: argparse.Namespace) -> Iterator[str]:
    with speaking(options) as client:
        epoch = watcher_client.pause(options.watcher, client, options.scope, reason=options.reason)
    yield f"paused: {options.scope}, epoch {epoch}"
    yield "every co-signer is told at once; officers release it: `workbench release`"


def _release(options: argparse.Namespace) -> Iterator[str]:
    request = watcher_client.draft_release(options.watcher, options.scope, reason=options.reason, life=LIFE)
    with options.out.open("xb") as file:
        file.write(request.canonical())
    release = request.order
    yield f"drafted: {', '.join(options.scope)}"
    yield f"it can be signed until {release.expires_at}"
    yield f"  {words(release.challenge.hex())}"
    yield f"each officer, one after the other: workbench approve {options.out} --person X --out NEXT"
    yield "then: workbench hand-in LAST --socket WATCHER"


def _paused(options: argparse.Namespace) -> Iterator[str]:
    known = watcher_client.standing(options.watcher)
    yield f"policy set {known.policy}, version {known.orders.policy_version}"
    yield f"epochs: pause {known.orders.pause_epoch}, revocation {known.orders.revocation_epoch}"
    yield f"a lease lives for {known.ttl_s} s"
    for scope, epoch in sorted(known.orders.paused.items(), key=lambda each: each[1]):
        yield f"paused since epoch {epoch}: {scope}"
    if not known.orders.paused:
        yield "nothing is paused"
