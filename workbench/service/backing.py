"""Backups of shares as the service has them: kept in files, carried back to the co-signer that made them.

(a) A backup is a file under its digest, which the ledger's entry names; without the file the officer's own
    copy does as well.
(b) The way back is carried: a ticket of the co-signer to the officer, what the officer has encrypted to it to
    the co-signer. What comes of it is the co-signer's testimony, and is recorded.
(c) A trial needs no order and leaves `key.tried`, for each backup once in TRIED_EVERY: whoever keeps one can
    have it tried without end. A failed one leaves the refusal, within the bound of what strangers cause.
The service can open nothing of it; it verifies signatures so that the record says what counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ledger import files
from workbench.custody import backups
from workbench.custody.backups import SECRET_HEX_MAX, SignedBackup
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, Digest, Document, Hex, Name
from workbench.rules.recovery import Did, Mark, SignedTestimony, SignedTicket, Testimony, verify_testimony
from workbench.service.lane import Lane

TRIED = "key.tried"
TRIED_EVERY = timedelta(minutes=1)
DETAIL_MAX = 1500
DIGEST = re.compile(r"[0-9a-f]{64}")


class TicketAsked(Document):
    """Who is asked for a ticket, and under which order it is wanted; None for a trial."""

    cosigner: Name
    order: Digest | None


class WayBack(Document):
    """What an officer brings: the backup, and what opens it, encrypted to the ticket's key."""

    order: Digest | None
    backup: SignedBackup
    secret: Annotated[Hex, Field(max_length=SECRET_HEX_MAX)]


class Backing:
    """The folder of backups, and the way to and from co-signers."""

    def __init__(self, lane: Lane, folder: Path) -> None:
        self._lane, self._folder = lane, folder
        self._tried: dict[str, datetime] = {}
        folder.mkdir(mode=0o700, exist_ok=True)

    def keep(self, value: object, *, testimony: Testimony, epoch: int) -> None:
        """Keep a backup (a), if it is the one that its co-signer says it has made."""
        signed = SignedBackup.load(value)
        backup = backups.verify(signed, cosigners=self._cosigners)
        said = (testimony.cosigner, testimony.order, testimony.key, testimony.backup)
        if (backup.cosigner, backup.order, backup.key, signed.digest) != said:
            raise RefusedError(Refusal.SHARE, f"{testimony.cosigner} gave another backup than it says")
        mark = Mark(epoch=backup.epoch, run=backup.run, public_key=backup.public_key)
        if testimony.shares != [mark] or len(testimony.whole) or backup.epoch != epoch:
            raise RefusedError(Refusal.SHARE, f"{testimony.cosigner} gave another share than it says")
        files.replace(self._folder / f"{signed.digest}.json", signed.canonical())

    def backup(self, digest: str) -> SignedBackup:
        """Return a backup."""
        # a name from outside becomes a path: no other than a digest does
        if DIGEST.fullmatch(digest) is None:
            raise RefusedError(Refusal.NOT_FOUND, "no such backup")
        try:
            raw = (self._folder / f"{digest}.json").read_bytes()
        except FileNotFoundError:
            raise RefusedError(Refusal.NOT_FOUND, "no such backup") from None
        return SignedBackup.read(raw, limit=DOCUMENT_MAX)

    def ticket(self, cosigner: str, digest: str, order: str | None) -> SignedTicket:
        """(b) Return a co-signer's one-time key for a backup."""
        asked = {"v": 1, "operation": "key-ticket", "backup": digest, "order": order}
        said = self._lane.links.ask(cosigner, asked)
        if "ticket" not in said:
            raise refused(cosigner, said)
        return SignedTicket.load(said["ticket"])

    def back(self, way: WayBack) -> SignedTestimony:
        """(b) Carry what opens a backup to the co-signer that made it; return its testimony."""
        backup = backups.verify(way.backup, cosigners=self._cosigners)
        asked = {"v": 1, "operation": "key-restore", **way.dump()}
        said = self._lane.links.ask(backup.cosigner, asked)
        did: Did = "tried" if way.order is None else "restored"
        return self.testimony(backup.cosigner, said, did=did, order=way.order, key=backup.key)

    def try_(self, way: WayBack) -> SignedTestimony:
        """(c) Have a backup tried; record that it was, and how it went."""
        signed = way.backup
        testimony = self.back(way)
        last, now = self._tried.get(signed.digest), self._lane.clock()
        if last is not None and now - last < TRIED_EVERY:
            return testimony
        self._tried[signed.digest] = now
        name = testimony.testimony.ticket or signed.digest
        data = {"order": None, "key": signed.backup.key, "testimony": testimony.dump()}
        self._lane.recorder.append(TRIED, name, data, actor="service")
        return testimony

    def testimony(
        self, cosigner: str, said: Mapping[str, Any], *, did: Did, order: str | None, key: str
    ) -> SignedTestimony:
        """Return what a co-signer says that it did, if it says that it did this."""
        if "testimony" not in said:
            raise refused(cosigner, said)
        signed = SignedTestimony.load(said["testimony"])
        testimony: Testimony = verify_testimony(signed, cosigners=self._cosigners)
        if (testimony.cosigner, testimony.did, testimony.order, testimony.key) != (cosigner, did, order, key):
            raise RefusedError(Refusal.EQUIVOCATION, f"{cosigner} testifies to something else")
        return signed

    @property
    def _cosigners(self) -> Mapping[str, str]:
        return self._lane.trust_root.cosigners


def refused(name: str, said: Mapping[str, Any]) -> RefusedError:
    """Return what a co-signer has refused, as one who asked on its behalf says it."""
    told = said.get("refused")
    text = f"{name}: {told.get('code')}: {told.get('detail')}" if isinstance(told, dict) else name
    return RefusedError(Refusal.UNAVAILABLE, text[:DETAIL_MAX])
