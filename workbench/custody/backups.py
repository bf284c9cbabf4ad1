"""A share outside its co-signer: sealed to recovery officers, and on its way back.

A backup is the share in the engine's own envelope, under a fresh key of 32 bytes; that key lies in one
envelope for each officer who keeps this share, sealed to the officer's public key. Both are bound to the key,
party, epoch, run and public key of the share, and to the order that it was made under; the co-signer signs
the whole. Nobody on the way reads it or changes it, and an officer who opens the envelope has what opens one
share, in the memory of one command.

(1) The way back goes to the co-signer that made the backup, and to no other: officers' commands encrypt to a
    one-time key that this co-signer has signed for this backup (`recovery.Ticket`), by HPKE.

Here is what everybody may touch who carries a backup or keeps one. What has the share in its hands, on its
way out and on its way in, is the co-signer's alone (`returning`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import Field

from ledger.encoding import canonical
from workbench.custody.errors import TokenError
from workbench.custody.sealing import Envelope, SealingKey
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Name, Whole, verify_ed25519
from workbench.rules.recovery import KEEPERS_MAX, TICKET_LINE, SignedTicket
from workbench.rules.threshold import PARTIES_MAX, Number, Point, Signature

BACKUP_LINE = "oms-backup/v1"
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
SECRET_HEX_MAX = 1024
SHARE_MAX = 9 << 20
"""In hex: the engine's largest share, sealed."""


class Backup(Document):
    """One share, sealed; `keys` has what opens it, sealed to each officer who keeps it."""

    v: Literal[1]
    cosigner: Name
    order: Digest
    key: Name
    party: Number
    epoch: Annotated[Whole, Field(ge=1)]
    run: Digest
    public_key: Point
    points: Annotated[list[Point], Field(max_length=PARTIES_MAX)]
    parties: Annotated[list[Name], Field(min_length=2, max_length=PARTIES_MAX)]
    keys: Annotated[dict[Name, Envelope], Field(min_length=1, max_length=KEEPERS_MAX)]
    share: Annotated[Hex, Field(max_length=SHARE_MAX)]

    @property
    def associated(self) -> bytes:
        """What all seals of it are bound to."""
        return bound(
            cosigner=self.cosigner,
            order=self.order,
            key=self.key,
            party=self.party,
            epoch=self.epoch,
            run=self.run,
            public_key=self.public_key,
        )


class SignedBackup(Document):
    """A backup, and the Ed25519 signature of the co-signer that made it."""

    backup: Backup
    signature: Signature

    @property
    def digest(self) -> str:
        """SHA-256 of the signed backup: it names the file."""
        return hashlib.sha256(self.canonical()).hexdigest()


def verify(signed: SignedBackup, *, cosigners: Mapping[str, str]) -> Backup:
    """Return the backup, if the co-signer that it names has signed it."""
    backup = signed.backup
    known = cosigners.get(backup.cosigner)
    if known is None:
        raise RefusedError(Refusal.TRUST_ROOT, f"no co-signer {backup.cosigner}")
    what = f"backup of {backup.cosigner}"
    verify_ed25519(known, signed.signature, BACKUP_LINE, backup.canonical(), what=what)
    if backup.party > len(backup.parties) or backup.parties[backup.party - 1] != backup.cosigner:
        raise RefusedError(Refusal.SHARE, f"{backup.cosigner} is not party {backup.party} of {backup.key}")
    return backup


def hand_over(
    signed: SignedBackup, ticket: SignedTicket, *, officer: str, key: SealingKey, cosigners: Mapping[str, str]
) -> bytes:
    """(1) Return what opens a backup, encrypted to the one-time key of the co-signer that made it.

    Args:
        signed: what the officer has kept.
        ticket: of the co-signer, as the courier brought it.
        officer: whose envelope is opened.
        key: the officer's own, in its token.
        cosigners: the identity keys that the officer's own trust root pins.

    """
    backup, given = verify(signed, cosigners=cosigners), ticket.ticket
    if (given.cosigner, given.backup) != (backup.cosigner, signed.digest):
        raise RefusedError(Refusal.SHARE, f"a ticket of {given.cosigner} for something else than this backup")
    what = f"ticket of {given.cosigner}"
    verify_ed25519(cosigners[given.cosigner], ticket.signature, TICKET_LINE, given.canonical(), what=what)
    if officer not in backup.keys:
        raise RefusedError(Refusal.SHARE, f"{officer} keeps another share than that of {backup.cosigner}")
    try:
        opened = key.open(backup.keys[officer], backup.associated)
    except TokenError as error:
        raise RefusedError(error.code, error.detail) from error
    public = X25519PublicKey.from_public_bytes(bytes.fromhex(given.key))
    try:
        return SUITE.encrypt(opened, public, given.canonical())
    except ValueError as error:
        raise RefusedError(Refusal.SHARE, f"nobody encrypts to the ticket of {given.cosigner}") from error


def bound(*, cosigner: str, order: str, key: str, party: int, epoch: int, run: str, public_key: str) -> bytes:
    """Return what all seals of a backup are bound to."""
    return canonical(
        {
            "v": 1,
            "cosigner": cosigner,
            "order": order,
            "key": key,
            "party": party,
            "epoch": epoch,
            "run": run,
            "public_key": public_key,
        }
    )
