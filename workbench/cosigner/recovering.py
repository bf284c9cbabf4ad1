"""A co-signer's shares on their way to recovery officers and back.

(1) A backup is of the share in use, of the epoch that the order names, sealed to the officers whom the policy
    set in force names for this co-signer. Asked again, it makes another one of the same share.
(2) A ticket's key is made of what it is for and of a secret in this process's memory that is replaced every
    TICKET_SECONDS and forgotten after twice that; its use ends it. Nothing is kept for who only asks: whoever
    reaches the service can ask for tickets without end, and takes none away from an officer by it. The way
    back needs the key, so nothing that was recorded before is of any use.
(3) A share is restored under an order that names this co-signer, this backup and this run, while that order
    counts. Without an order it is opened, compared with the share in use, and put away: a trial, which needs
    nobody's leave and changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from workbench_tss import Share

from workbench.cosigner.operations import Allowed
from workbench.custody import backups, returning
from workbench.custody.backups import SignedBackup
from workbench.custody.returning import entry_of
from workbench.custody.shares import Entry, Shares
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.key_operation import Restoration
from workbench.rules.keys import SharedKey
from workbench.rules.recovery import TICKET_LINE, SignedTicket, Ticket

TICKET_SECONDS = 300
SECRET_BYTES = 32

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Window:
    """A secret for some time, and how often a ticket of it was used, by what it is for."""

    since: datetime
    secret: bytes
    used: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def private(self, backup: str, order: str | None) -> X25519PrivateKey:
        """Return the one-time key for a backup; another one after each use."""
        about = f"{backup}/{order}/{self.used[backup, order]}".encode()
        return X25519PrivateKey.from_private_bytes(hmac.digest(self.secret, about, hashlib.sha256))


@dataclass(slots=True)
class Recovering:
    """Backups of one co-signer's shares."""

    name: str
    sign: Sign
    shares: Shares
    cosigners: Mapping[str, str]
    clock: Callable[[], datetime]
    _windows: tuple[Window, ...] = ()

    def back_up(self, allowed: Allowed) -> SignedBackup:
        """(1) Return a backup of the share in use."""
        operation = allowed.operation
        entry, share = self.shares.share(operation.key)
        _as_listed(entry, share, allowed)
        if entry.epoch != operation.epoch:
            raise RefusedError(
                Refusal.SHARE, f"epoch {entry.epoch} of {operation.key} is in use, not {operation.epoch}"
            )
        return returning.make(
            share,
            entry,
            key=operation.key,
            cosigner=self.name,
            order=operation.digest,
            keepers=allowed.keepers,
            sign=self.sign,
        )

    def ticket(self, backup: str, *, order: str | None) -> SignedTicket:
        """(2) Return a one-time key for a backup; asked again, the same until it is used or old."""
        ticket = self._ticket(backup, order, self._counting()[0].private(backup, order))
        signature = self.sign(signed_bytes(TICKET_LINE, ticket.canonical()))
        return SignedTicket(ticket=ticket, signature=signature.hex())

    def _ticket(self, backup: str, order: str | None, private: X25519PrivateKey) -> Ticket:
        return Ticket.load(
            {
                "v": 1,
                "cosigner": self.name,
                "backup": backup,
                "order": order,
                "key": private.public_key().public_bytes_raw().hex(),
            }
        )

    def restore(self, signed: SignedBackup, secret: bytes, allowed: Allowed) -> tuple[Entry, str]:
        """(3) Keep the share that an order brings back, and use it; return it, and the ticket's key."""
        given, operation = allowed.operation.parameters, allowed.operation
        backup = signed.backup
        named = isinstance(given, Restoration) and (given.cosigner, given.backup, given.run)
        if named != (self.name, signed.digest, backup.run):
            raise RefusedError(Refusal.SHARE, "the order brings back another share than this backup's")
        if (backup.key, backup.epoch) != (operation.key, operation.epoch):
            raise RefusedError(Refusal.SHARE, f"a backup of {backup.key} in epoch {backup.epoch}")
        share, ticket = self._opened(signed, secret, order=operation.digest)
        _as_listed(entry_of(backup), share, allowed)
        return self.shares.restore(operation.key, share, entry_of(backup)), ticket

    def try_(self, signed: SignedBackup, secret: bytes) -> tuple[Entry, str]:
        """(3) Open a backup, compare it with the share in use; return that, and the ticket's key."""
        _, ticket = self._opened(signed, secret, order=None)
        backup = signed.backup
        entry, _ = self.shares.share(backup.key)
        used = (entry.epoch, entry.run, entry.public_key, entry.points)
        if used != (backup.epoch, backup.run, backup.public_key, backup.points):
            told = f"it opens as epoch {backup.epoch} of {backup.key}, and {entry.epoch} is in use"
            raise RefusedError(Refusal.SHARE, told)
        return entry, ticket

    def _opened(self, signed: SignedBackup, secret: bytes, *, order: str | None) -> tuple[Share, str]:
        backup = backups.verify(signed, cosigners=self.cosigners)
        if backup.cosigner != self.name:
            raise RefusedError(Refusal.SHARE, f"a backup of {backup.cosigner}")
        why = RefusedError(Refusal.REPLAYED, "no ticket is open")
        for window in self._counting():
            private = window.private(signed.digest, order)
            ticket = self._ticket(signed.digest, order, private)
            try:
                share = returning.take_back(signed, ticket, secret, private=private)
            except RefusedError as refusal:
                why = refusal
                continue
            window.used[signed.digest, order] += 1
            return share, ticket.key
        raise why

    def _counting(self) -> tuple[Window, ...]:
        """(2) Return what tickets count for now, the newest first."""
        now, life = self.clock(), timedelta(seconds=TICKET_SECONDS)
        counting = tuple(each for each in self._windows if timedelta(0) <= now - each.since < 2 * life)
        if not counting or now - counting[0].since >= life:
            counting = (Window(now, os.urandom(SECRET_BYTES)), *counting)
        self._windows = counting
        return counting


def _as_listed(entry: Entry, share: Share, allowed: Allowed) -> None:
    """Refuse a share of another key, co-signers or threshold than the policy set lists under the name.

    Who may keep how many shares is counted by what the set lists (`rules.recovery`).
    """
    key = allowed.listed
    listed = (key.public_key, key.cosigners, key.threshold) if isinstance(key, SharedKey) else None
    if listed != (entry.public_key, entry.parties, share.threshold):
        told = f"the policy set lists another {allowed.operation.key} than the one that is shared here"
        raise RefusedError(Refusal.SHARE, told)
