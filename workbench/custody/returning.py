"""A share leaving for its backup, and coming back: the two moments in which an engine has it open.

(1) What comes out of a backup must be the share that the backup says: party, public key and every party's
    point. The engine opens it; it is in no memory of Python's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from workbench_tss import AbortError, Share

from workbench.custody import sealing
from workbench.custody.backups import BACKUP_LINE, SUITE, Backup, SignedBackup, bound
from workbench.custody.shares import KEY_BYTES, Entry
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.recovery import RecoveryOfficer, Ticket

Sign = Callable[[bytes], bytes]


def make(
    share: Share,
    entry: Entry,
    *,
    key: str,
    cosigner: str,
    order: str,
    keepers: Sequence[RecoveryOfficer],
    sign: Sign,
) -> SignedBackup:
    """Return the share in use, sealed to who keeps it.

    Args:
        share: opened by this process's engine.
        entry: what the index says of it.
        key: its name.
        cosigner: who makes the backup.
        order: the digest of the operation.
        keepers: at least one officer of the policy set in force.
        sign: signs with the co-signer's identity.

    """
    fresh = os.urandom(KEY_BYTES)
    tied = bound(
        cosigner=cosigner,
        order=order,
        key=key,
        party=share.party,
        epoch=entry.epoch,
        run=entry.run,
        public_key=entry.public_key,
    )
    backup = Backup(
        v=1,
        cosigner=cosigner,
        order=order,
        key=key,
        party=share.party,
        epoch=entry.epoch,
        run=entry.run,
        public_key=entry.public_key,
        points=entry.points,
        parties=entry.parties,
        keys={
            each.name: sealing.public_half(each.key.mechanism, each.key.modulus).seal(fresh, tied)
            for each in keepers
        },
        share=share.seal(fresh, tied).hex(),
    )
    signature = sign(signed_bytes(BACKUP_LINE, backup.canonical()))
    return SignedBackup(backup=backup, signature=signature.hex())


def take_back(signed: SignedBackup, ticket: Ticket, secret: bytes, *, private: X25519PrivateKey) -> Share:
    """(1) Return the share of a backup, opened by what an officer has handed over for this ticket."""
    backup = signed.backup
    try:
        fresh = SUITE.decrypt(secret, private, ticket.canonical())
        share = Share.open(bytes.fromhex(backup.share), fresh, backup.associated)
    except (InvalidTag, ValueError, AbortError) as error:
        raise RefusedError(Refusal.SHARE, f"this does not open the backup of {backup.cosigner}") from error
    points = [share.points[number].hex() for number in sorted(share.points)]
    found = (share.party, share.public_key.hex(), points)
    if found != (backup.party, backup.public_key, backup.points):
        raise RefusedError(Refusal.SHARE, f"the backup of {backup.cosigner} holds another share than it says")
    return share


def entry_of(backup: Backup) -> Entry:
    """Return the share of a backup as an index has it; `sealed` is of the backup's own envelope."""
    return Entry(
        epoch=backup.epoch,
        run=backup.run,
        public_key=backup.public_key,
        points=backup.points,
        parties=backup.parties,
        sealed=hashlib.sha256(bytes.fromhex(backup.share)).hexdigest(),
        settled=False,
    )
