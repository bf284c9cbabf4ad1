"""What the watcher decides: what a lease says, and which policy sets, orders and releases it takes.

(1) A lease says what the watcher knows: the newest policy set that its officers have signed, what is paused,
    and the newest checkpoint that it has cosigned. It is signed for seconds; nothing asks who wants it.
(2) A policy set counts when it goes on from those that are known, whoever brings it: the service does, and
    whoever has reason not to rely on the service. So one that is hidden from the co-signers is missed there.
(3) A pause is taken from one person who may order it, once; a release from a quorum of officers, dated, and
    not after an order that it does not know of: what is paused since stays paused.
(4) It can pause and not release: co-signers ask for the officers' signatures themselves.

It has no say in what is signed, and no key that owns anything. Whoever can connect may ask everything here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ledger.encoding import EncodingError
from ledger.witness import Witness
from workbench.custody.token import Ed25519Key
from workbench.process import witnessing
from workbench.process.crash import CrashPoint
from workbench.rules import officers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, signed_bytes, write_time
from workbench.rules.lease import LEASE_LINE, Head, Lease, Paused, SignedLease
from workbench.rules.pause import Ordered, SignedPause, SignedRelease, verify_pause
from workbench.rules.policy import SETS_MAX, PolicySet, verify_chain
from workbench.rules.trust import TrustRoot
from workbench.watcher.memory import Memory

DETAIL_MAX = 2000
TOLD_MAX = 16
"""Orders in one answer; who wants more asks again."""
EMPTY = Head(size=0, root="0" * 64)


@dataclass(slots=True)
class Watcher:
    """The watcher at work."""

    trust_root: TrustRoot
    memory: Memory
    witness: Witness
    key: Ed25519Key
    clock: Callable[[], datetime]
    ttl_s: int
    crash: CrashPoint
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[threading.Event] = field(default_factory=list)
    _latest: str = ""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        if str(request.get("operation")).startswith("witness"):
            return witnessing.handle(self.witness, request)
        with self._lock:
            try:
                return {"v": 1, **self._do(request)}
            except (RefusedError, EncodingError) as error:
                refusal = error if isinstance(error, RefusedError) else None
                code = refusal.code if refusal else Refusal.MALFORMED
                detail = refusal.detail if refusal else str(error)
                return {"v": 1, "refused": {"code": code.value, "detail": detail[:DETAIL_MAX]}}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"v": 1, "operation": "status" | "lease" | "policies" as wanted, **rest} if not rest:
                return self._told(wanted)
            case {"v": 1, "operation": "policy", "sets": list(sets), **rest} if not rest:
                return self._adopt(sets)
            case {"v": 1, "operation": "pause", "pause": pause, **rest} if not rest:
                return self._pause(SignedPause.load(pause, at="/pause"))
            case {"v": 1, "operation": "release", "release": release, **rest} if not rest:
                return self._release(SignedRelease.load(release, at="/release"))
            case {"v": 1, "operation": "ordered", "after": int(after), **rest} if not rest and after >= 0:
                told = self.memory.ordered[after : after + TOLD_MAX]
                return {"ordered": [each.dump() for each in told]}
            case _:
                raise RefusedError(Refusal.MALFORMED, "no such operation, or other fields than it has")

    def lease(self) -> SignedLease:
        """(1) Return a lease from now on."""
        with self._lock:
            return self._lease()

    def woken(self) -> threading.Event:
        """Return an event that is set when there is something that must not wait."""
        event = threading.Event()
        self._waiting.append(event)
        return event

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _told(self, wanted: str) -> dict[str, Any]:
        if wanted == "lease":
            return {"lease": self._lease().dump()}
        if wanted == "policies":
            return {"sets": [each.dump() for each in self.memory.sets]}
        return self._status()

    def _status(self) -> dict[str, Any]:
        return {
            "watcher": self.key.public_key.hex(),
            "policy": self.memory.sets[-1].digest,
            "orders": self.memory.orders.dump(),
            "ttl_s": self.ttl_s,
        }

    def _lease(self) -> SignedLease:
        policy, orders = self.memory.sets[-1], self.memory.orders
        lease = Lease(
            v=1,
            policy=policy.digest,
            policy_version=policy.manifest.version,
            revocation_epoch=orders.revocation_epoch,
            pause_epoch=orders.pause_epoch,
            paused=[Paused(scope=scope, epoch=epoch) for scope, epoch in sorted(orders.paused.items())],
            head=self._head(),
            at=write_time(self._now()),
            ttl_s=self.ttl_s,
        )
        signature = self.key.sign(signed_bytes(LEASE_LINE, lease.canonical()))
        return SignedLease(lease=lease, signature=signature.hex())

    def _head(self) -> Head:
        """(1) Return the newest checkpoint that was cosigned here."""
        said = self.witness.status()
        return Head.load({"size": said["size"], "root": said["root"]}) if said["size"] else EMPTY

    def _adopt(self, values: list[Any]) -> dict[str, Any]:
        """(2) Take the sets, which must be all from the genesis set on."""
        if len(values) > SETS_MAX:
            raise RefusedError(Refusal.POLICY_CHAIN, f"{len(values)} policy sets, at most {SETS_MAX}")
        sets = [PolicySet.load(value, at=f"/sets/{place}") for place, value in enumerate(values)]
        known = self.memory.sets
        if len(sets) < len(known):
            raise RefusedError(Refusal.POLICY_OLD, f"{len(sets)} policy sets, {len(known)} are known")
        # two sets of one version can both be signed, and one of them void: the first that was heard stays
        if [each.digest for each in sets[: len(known)]] != [each.digest for each in known]:
            raise RefusedError(Refusal.POLICY_CHAIN, "these sets do not go on from those that are known")
        verify_chain(sets, trust_root=self.trust_root, now=self._now())
        if len(sets) > len(known):
            self.memory.adopt(sets)
            self._wake()
        return self._status()

    def _pause(self, signed: SignedPause) -> dict[str, Any]:
        """(3) Take an order; one that was taken is answered with its epoch."""
        for each in self.memory.ordered:
            if each.pause is not None and each.pause.pause.digest == signed.pause.digest:
                return {"epoch": each.epoch}
        policy = self.memory.sets[-1]
        verify_pause(signed, policy=policy, trust_root=self.trust_root, now=self._now())
        return self._take(pause=signed, release=None)

    def _release(self, signed: SignedRelease) -> dict[str, Any]:
        """(3) Take a release of what is paused."""
        release, policy = signed.release, self.memory.sets[-1]
        officers.verify_signed(
            release, signed.signatures, policy=policy, trust_root=self.trust_root, what="the release"
        )
        for each in self.memory.ordered:
            if each.release is not None and each.release.release == release:
                return {"epoch": each.epoch}
        officers.verify_dated(release, policy=policy, now=self._now())
        orders = self.memory.orders
        if release.pause_epoch > orders.pause_epoch:
            raise RefusedError(
                Refusal.STATE,
                f"epoch {orders.pause_epoch} is reached, released is up to {release.pause_epoch}",
            )
        if orders.released(release).paused == orders.paused:
            raise RefusedError(Refusal.STATE, "nothing is paused that this would release")
        return self._take(pause=None, release=signed)

    def _take(self, *, pause: SignedPause | None, release: SignedRelease | None) -> dict[str, Any]:
        epoch = self.memory.orders.pause_epoch + 1
        self.memory.take(Ordered(v=1, epoch=epoch, at=write_time(self._now()), pause=pause, release=release))
        # a crash here leaves it ordered: the next lease says so, after the next start as well
        self.crash.reached("1-ordered")
        self._wake()
        return {"epoch": epoch}

    def _now(self) -> datetime:
        """Return the time, which does not go back in one life of this process."""
        now = self.clock()
        if self._latest:
            now = max(now, read_time(self._latest))
        self._latest = write_time(now)
        return now
