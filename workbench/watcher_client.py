"""What people tell the watcher, past the service: a pause, a release, a policy set; and what it says.

A pause is signed with a session's key, a release by officers at their own machines. What comes back is no
proof: that something is paused shows where a co-signer refuses.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench.client import Client
from workbench.process.frames import call
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.order_request import OrderRequest
from workbench.rules.pause import (
    PAUSE_LINE,
    Orders,
    Pause,
    Release,
    Scope,
    SignedPause,
    SignedRelease,
)

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the watcher says of itself."""

    policy: str
    orders: Orders
    ttl_s: int


def ask(watcher: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the watcher; raise what it refuses."""
    said = call(watcher, {"v": 1, **request}, timeout_s=TIMEOUT_S)
    refused = said.get("refused")
    if isinstance(refused, dict):
        code = str(refused.get("code"))
        known = code in {each.value for each in Refusal}
        raise RefusedError(Refusal(code) if known else Refusal.UNAVAILABLE, str(refused.get("detail")))
    return said


def standing(watcher: Path) -> Standing:
    """Return what is paused, and under which policy set leases are given."""
    said = ask(watcher, {"operation": "status"})
    return Standing(str(said.get("policy")), Orders.load(said.get("orders")), int(said.get("ttl_s", 0)))


def policies(watcher: Path) -> list[dict[str, Any]]:
    """Return the policy sets that the watcher knows, from the genesis set on: claims until verified."""
    sets: list[dict[str, Any]] = ask(watcher, {"operation": "policies"})["sets"]
    return sets


def pause(watcher: Path, client: Client, scope: Scope, *, reason: str) -> int:
    """Order a pause in a session; return its epoch."""
    order = Pause(
        v=1,
        scope=scope,
        person=client.person,
        reason=reason,
        at=write_time(datetime.now(UTC)),
        nonce=secrets.token_hex(16),
    )
    signature = client.key.sign(signed_bytes(PAUSE_LINE, order.canonical()))
    signed = SignedPause(pause=order, signature=signature.hex(), session=client.certified)
    return int(ask(watcher, {"operation": "pause", "pause": signed.dump()})["epoch"])


def draft_release(watcher: Path, scopes: Sequence[Scope], *, reason: str, life: timedelta) -> OrderRequest:
    """Draft a release of what is paused now, for officers to sign."""
    known = standing(watcher)
    release = Release(
        v=1,
        scopes=list(scopes),
        pause_epoch=known.orders.pause_epoch,
        policy=known.policy,
        reason=reason,
        nonce=secrets.token_hex(16),
        expires_at=write_time(datetime.now(UTC) + life),
    )
    sets = policies(watcher)
    return OrderRequest(
        v=1, release=SignedRelease(release=release, signatures=[]), key=None, policy_chain=sets
    )


def hand_in(watcher: Path, signed: SignedRelease) -> int:
    """Bring a signed release; return its epoch."""
    return int(ask(watcher, {"operation": "release", "release": signed.dump()})["epoch"])
