"""A recovery officer's own commands: a pair in a token, backups fetched, tried, and brought back.

Run where the officer's token is. `key` makes the pair and prints what the policy set is to say of it; `fetch`
takes a backup home; `try` has its co-signer open it and compare it with the share in use; `restore` does it
under an order that officers have signed. What opens a share is in this process's memory while it is sealed to
the co-signer's one-time key, and is written nowhere.

The officer's state root has config.json ({name, sealing_key, token}), the PIN file and the token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ledger import files
from ledger.encoding import canonical
from workbench import client
from workbench.commands.said import NothingToDoError, outcome
from workbench.custody import backups
from workbench.custody.backups import SignedBackup
from workbench.custody.errors import TokenError
from workbench.custody.sealing import SealingName
from workbench.custody.token import Token, opened
from workbench.process.config import ConfigError, StateRoot
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.recovery import FILE, OfficerKey, verify_back
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

CONFIG = ("name", "sealing_key", "token")
LABEL = "recovery/1"


def recovery(options: argparse.Namespace) -> int:
    """Do what a recovery officer asks for."""
    steps = {"key": _key, "fetch": _fetch, "try": _try, "restore": _restore}
    return outcome(_said(steps[options.recovering](options)))


def _said(lines: Iterator[str]) -> Iterator[str]:
    try:
        yield from lines
    except TokenError as error:
        raise RefusedError(error.code, error.detail) from error
    except ConfigError as error:
        raise NothingToDoError(str(error)) from error


def _key(options: argparse.Namespace) -> Iterator[str]:
    root = StateRoot(options.state)
    config = root.config(CONFIG)
    with closing(_token(root, config["token"])) as token:
        if config["sealing_key"] is None:
            config["sealing_key"] = token.generate_recovery(LABEL)
            files.replace(options.state / "config.json", json.dumps(config, indent=1).encode())
        name = config["sealing_key"]
        key = OfficerKey.load(
            {"mechanism": SealingName.parse(name).mechanism.value, "modulus": token.modulus(name)}
        )
    with options.out.open("x") as file:
        json.dump({"name": config["name"], "key": key.dump()}, file, indent=1)
    yield f"for the policy set's {FILE}: {options.out}"
    yield f"  {words(hashlib.sha256(key.canonical()).hexdigest())}"
    yield "read these words aloud to whoever enters it there"


def _fetch(options: argparse.Namespace) -> Iterator[str]:
    cosigners = _cosigners(options.trust_root)
    signed = SignedBackup.load(client.backup(options.socket, options.backup))
    if signed.digest != options.backup:
        raise RefusedError(Refusal.MALFORMED, "the service has another backup under this name")
    backups.verify(signed, cosigners=cosigners)
    with options.out.open("xb") as file:
        file.write(signed.canonical())
    yield from _told(signed)
    yield f"kept: {options.out}"


def _try(options: argparse.Namespace) -> Iterator[str]:
    return _back(options, order=None)


def _restore(options: argparse.Namespace) -> Iterator[str]:
    return _back(options, order=options.order)


def _back(options: argparse.Namespace, *, order: str | None) -> Iterator[str]:
    cosigners = _cosigners(options.trust_root)
    signed = SignedBackup.read(options.backup.read_bytes(), limit=DOCUMENT_MAX)
    backup = backups.verify(signed, cosigners=cosigners)
    yield from _told(signed)
    root = StateRoot(options.state)
    config = root.config(CONFIG)
    with closing(_token(root, config["token"])) as token:
        ticket = client.backup_ticket(options.socket, signed.digest, cosigner=backup.cosigner, order=order)
        if ticket.ticket.order != order:
            raise RefusedError(Refusal.SHARE, "the ticket is for another order")
        secret = backups.hand_over(
            signed,
            ticket,
            officer=config["name"],
            key=token.sealing(config["sealing_key"]),
            cosigners=cosigners,
        )
    way = {"order": order, "backup": signed.dump(), "secret": secret.hex()}
    answer = client.bring_back(options.socket, signed.digest, canonical(way, limit=DOCUMENT_MAX))
    testimony = verify_back(answer, ticket.ticket, cosigners=cosigners)
    if testimony.did == "tried":
        yield f"tried: {testimony.cosigner} has opened it, and it is the share in use"
    else:
        yield f"restored: {testimony.cosigner} uses it from now on"


def _told(signed: SignedBackup) -> Iterator[str]:
    backup = signed.backup
    yield f"backup {signed.digest}"
    yield f"  share of {backup.cosigner}, of {backup.key}, epoch {backup.epoch}"
    yield f"  sealed to {', '.join(sorted(backup.keys))}"


def _token(root: StateRoot, value: object) -> Token:
    return opened(root.path, value, pin=root.pin, clock=lambda: datetime.now(UTC))


def _cosigners(trust_root: Path) -> Mapping[str, str]:
    return TrustRoot.read(trust_root.read_bytes()).cosigners
