"""Operations on keys at the command line: draft one for officers to sign."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from workbench import watcher_client
from workbench.commands.pause import LIFE
from workbench.commands.said import outcome
from workbench.custody.backups import SignedBackup
from workbench.rules.documents import DOCUMENT_MAX, write_time
from workbench.rules.key_operation import KeyOperation, SignedOperation
from workbench.rules.order_request import OrderRequest
from workbench.rules.words import words


def key(options: argparse.Namespace) -> int:
    """Draft an operation on a key."""
    return outcome(_draft(options))


def _draft(options: argparse.Namespace) -> Iterator[str]:
    operation = KeyOperation.load(
        {
            "v": 1,
            "operation": options.operation,
            "key": options.key,
            "epoch": options.epoch,
            "parameters": _parameters(options),
            "policy": watcher_client.standing(options.watcher).policy,
            "reason": options.reason,
            "nonce": secrets.token_hex(16),
            "expires_at": write_time(datetime.now(UTC) + LIFE),
        }
    )
    request = OrderRequest(
        v=1,
        release=None,
        key=SignedOperation(operation=operation, signatures=[]),
        policy_chain=watcher_client.policies(options.watcher),
    )
    with options.out.open("xb") as file:
        file.write(request.canonical())
    yield f"drafted: {operation.operation} of {operation.key}, epoch {operation.epoch}"
    yield f"it can be signed until {operation.expires_at}"
    yield f"  {words(operation.digest)}"
    yield f"each officer, one after the other: workbench approve {options.out} --person X --out NEXT"
    yield "then: workbench hand-in LAST --socket SERVICE"


def _parameters(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return what the operation needs beside key and epoch; it refuses by itself what does not fit."""
    if options.party:
        return {"parties": options.party, "threshold": options.threshold}
    if options.successor:
        return {"successor": options.successor}
    if options.backup:
        signed = SignedBackup.read(options.backup.read_bytes(), limit=DOCUMENT_MAX)
        backup = signed.backup
        return {"cosigner": backup.cosigner, "backup": signed.digest, "run": backup.run}
    return None
