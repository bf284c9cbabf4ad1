"""A co-signer's shares on their way to recovery officers and back.

(1) A backup is of the share in use, of the epoch that the order names, sealed to the officers whom the policy
    set in force names for this co-signer. Asked again, it makes another one of the same share.
(2) One ticket is open at a time, for TICKET_SECONDS, in this process's memory only; another ticket, or its
    use, ends it. The way back needs it, so nothing that was recorded before is of any use.
(3) A share is restored under an order that names this co-signer, this backup and this run, while that order
    counts. Without an order it is opened, compared with the share in use, and put away: a trial, which needs
    nobody's leave and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
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
from workbench.rules.recovery import TICKET_LINE, SignedTicket, Ticket

TICKET_SECONDS = 300

Sign = Callable[[bytes], bytes]


@dataclass(slots=True)
class Recovering:
    """Backups of one co-signer's shares."""

    name: str
    sign: Sign
    shares: Shares
    cosigners: dict[str, str]
    clock: Callable[[], datetime]
    _open: tuple[Ticket, X25519PrivateKey, datetime] | None = field(default=None)

    def back_up(self, allowed: Allowed) -> SignedBackup:
        """(1) Return a backup of the share in use."""
        operation = allowed.operation
        entry, share = self.shares.share(operation.key)
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
        """(2) Return a one-time key for a backup, in place of any other."""
        private = X25519PrivateKey.generate()
        ticket = Ticket.load(
            {
                "v": 1,
                "cosigner": self.name,
                "backup": backup,
                "order": order,
                "key": private.public_key().public_bytes_raw().hex(),
            }
        )
        self._open = (ticket, private, self.clock() + timedelta(seconds=TICKET_SECONDS))
        signature = self.sign(signed_bytes(TICKET_LINE, ticket.canonical()))
        return SignedTicket(ticket=ticket, signature=signature.hex())

    def restore(self, signed: SignedBackup, secret: bytes, allowed: Allowed) -> Entry:
        """(3) Keep the share that an order brings back, and use it."""
        given, operation = allowed.operation.parameters, allowed.operation
        backup = signed.backup
        named = isinstance(given, Restoration) and (given.cosigner, given.backup, given.run)
        if named != (self.name, signed.digest, backup.run):
            raise RefusedError(Refusal.SHARE, "the order brings back another share than this backup's")
        if (backup.key, backup.epoch) != (operation.key, operation.epoch):
            raise RefusedError(Refusal.SHARE, f"a backup of {backup.key} in epoch {backup.epoch}")
        share = self._opened(signed, secret, order=operation.digest)
        return self.shares.restore(operation.key, share, entry_of(backup))

    def try_(self, signed: SignedBackup, secret: bytes) -> Entry:
        """(3) Open a backup, compare it with the share in use, and put it away."""
        self._opened(signed, secret, order=None)
        backup = signed.backup
        entry, _ = self.shares.share(backup.key)
        used = (entry.epoch, entry.run, entry.public_key, entry.points)
        if used != (backup.epoch, backup.run, backup.public_key, backup.points):
            told = f"it opens as epoch {backup.epoch} of {backup.key}, and {entry.epoch} is in use"
            raise RefusedError(Refusal.SHARE, told)
        return entry

    def _opened(self, signed: SignedBackup, secret: bytes, *, order: str | None) -> Share:
        backup = backups.verify(signed, cosigners=self.cosigners)
        if backup.cosigner != self.name:
            raise RefusedError(Refusal.SHARE, f"a backup of {backup.cosigner}")
        found, self._open = self._open, None
        if found is None or found[2] <= self.clock():
            raise RefusedError(Refusal.REPLAYED, "no ticket is open")
        ticket, private, _ = found
        if (ticket.backup, ticket.order) != (signed.digest, order):
            raise RefusedError(Refusal.REPLAYED, "the open ticket is for something else")
        return returning.take_back(signed, ticket, secret, private=private)
