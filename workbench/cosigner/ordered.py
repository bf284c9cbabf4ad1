"""What a co-signer does once it has allowed an operation on a key, and what it says of it, signed.

Whatever a person will want to know afterwards (that a key was made in a token, backed up, brought back, or is
gone) is a testimony under this co-signer's identity: the courier records it, and cannot make one up.
Destroyed is gone before it is said. One operation may end both a share and a whole key of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.cosigner.keywork import KeyWork
from workbench.cosigner.operations import Allowed
from workbench.cosigner.recovering import Recovering
from workbench.cosigner.wholework import WholeWork
from workbench.custody.backups import SECRET_HEX_MAX, SignedBackup
from workbench.custody.returning import entry_of
from workbench.custody.shares import Entry
from workbench.process.crash import CrashPoint
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.recovery import MARKS_MAX, TESTIMONY_LINE, Did, Mark, SignedTestimony, Testimony

Said = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """What a testimony says that was done, as `recovery.Testimony` has it."""

    did: Did
    shares: Sequence[Entry] = ()
    whole: Sequence[str] = ()
    backup: str | None = None
    ticket: str | None = None
    attributes: dict[str, bool | None] | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """One co-signer's operations on keys: shared ones, where it has a sealing key, and whole ones."""

    name: str
    sign: Callable[[bytes], bytes]
    keywork: KeyWork | None
    recovering: Recovering | None
    whole: WholeWork
    crash: CrashPoint

    def made_to(self, key: str) -> int:
        """Return the latest epoch of a key of which there was a share here."""
        return self.keywork.made_to(key) if self.keywork else 0

    def allow(self, allowed: Allowed) -> Said:
        """Do what was allowed, or remember it until its run or its share comes."""
        operation = allowed.operation
        match operation.operation:
            case "destroy":
                gone = self.keywork.end(allowed) if self.keywork else []
                whole = self.whole.end(allowed)
                return self._ordered(Done("destroyed", gone, whole), allowed)
            case "rotate":
                made, attributes = self.whole.succeed(allowed)
                return self._ordered(Done("generated", whole=[made], attributes=attributes), allowed)
            case "backup":
                signed = self._recovering().back_up(allowed)
                done = Done("backed-up", [entry_of(signed.backup)], backup=signed.digest)
                return {"backup": signed.dump(), **self._ordered(done, allowed)}
            case _:
                return self._keywork().allow(allowed)

    def speak(self, request: Said) -> Said:
        """Give a ticket, take a share back, or speak of a run."""
        match request:
            case {"v": 1, "operation": "key-ticket", "backup": str(backup), "order": order, **rest} if (
                not rest and (order is None or isinstance(order, str))
            ):
                if order is not None:
                    self._keywork().find(order)
                return {"ticket": self._recovering().ticket(backup, order=order).dump()}
            case {
                "v": 1,
                "operation": "key-restore",
                "order": order,
                "backup": dict(backup),
                "secret": str(secret),
                **rest,
            } if not rest and len(secret) <= SECRET_HEX_MAX and (order is None or isinstance(order, str)):
                return self._back(order, SignedBackup.load(backup, at="/backup"), _bytes(secret))
            case _:
                return self._keywork().speak(request)

    def _back(self, order: str | None, signed: SignedBackup, secret: bytes) -> Said:
        recovering = self._recovering()
        if order is None:
            tried, ticket = recovering.try_(signed, secret)
            done = Done("tried", [tried], backup=signed.digest, ticket=ticket)
            return self._testify(done, key=signed.backup.key, order=None)
        allowed = self._keywork().find(order)
        self.crash.reached("key-restoring")
        entry, ticket = recovering.restore(signed, secret, allowed)
        self.crash.reached("key-restored")
        return self._ordered(Done("restored", [entry], backup=signed.digest, ticket=ticket), allowed)

    def _ordered(self, done: Done, allowed: Allowed) -> Said:
        return self._testify(done, key=allowed.operation.key, order=allowed.operation.digest)

    def _testify(self, done: Done, *, key: str, order: str | None) -> Said:
        marks = [Mark(epoch=each.epoch, run=each.run, public_key=each.public_key) for each in done.shares]
        testimony = Testimony(
            v=1,
            cosigner=self.name,
            did=done.did,
            order=order,
            key=key,
            backup=done.backup,
            shares=marks[-MARKS_MAX:],
            whole=list(done.whole)[-MARKS_MAX:],
            attributes=done.attributes,
            ticket=done.ticket,
        )
        signature = self.sign(signed_bytes(TESTIMONY_LINE, testimony.canonical()))
        return {"testimony": SignedTestimony(testimony=testimony, signature=signature.hex()).dump()}

    def _keywork(self) -> KeyWork:
        if self.keywork is None:
            raise RefusedError(Refusal.SHARE, "no sealing key is configured here")
        return self.keywork

    def _recovering(self) -> Recovering:
        if self.recovering is None:
            raise RefusedError(Refusal.SHARE, "no sealing key is configured here")
        return self.recovering


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RefusedError(Refusal.MALFORMED, "not hex", path="/secret") from None
