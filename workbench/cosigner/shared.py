"""Signing with a shared key: what this co-signer has agreed to, and its part in making the signature.

(1) Evidence is decided by the gate as for a whole key, and persisted. The answer is that it agrees; that
    lives for as long as a run does and the intent, and in this process only: after a restart the evidence
    comes again. A refusal takes it back, and so does a clock that goes back.
(2) It opens a run for what it agreed to and nothing else: the transaction, the key, the ledger head and the
    policy set of its own decision stand in the terms that it signs; the courier chooses only who takes part.
(3) The signature of the run is assembled into the transaction that was agreed to, checked under the key,
    persisted, and answered as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from workbench.cosigner.gate import Permission
from workbench.cosigner.runs import RUN_SECONDS, Runs, Under
from workbench.custody.threshold import Answered
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.keys import SharedKey
from workbench.rules.pause import Orders
from workbench.rules.threshold import Basis, SignedEnvelope, SignedOpening, Terms

AGREED_MAX = 64


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the gate has allowed, the evidence it was asked over, since when, and until when."""

    evidence: str
    permission: Permission
    since: datetime
    until: datetime


@dataclass(slots=True)
class SharedKeys:
    """A co-signer's agreements and runs over keys that it shares."""

    runs: Runs
    clock: Callable[[], datetime]
    _agreed: dict[str, Agreed] = field(default_factory=dict)

    def agree(self, evidence: str, permission: Permission, *, expires: datetime | None) -> dict[str, Any]:
        """(1) Remember what was allowed until its intent expires; return what the courier needs to know."""
        intent, key = permission.record.intent, permission.key
        now = self.clock()
        if not isinstance(key, SharedKey):
            raise RefusedError(Refusal.SHARE, f"{key.id} is no shared key")
        entry, share = self.runs.shares.share(key.id)
        mine = (share.public_key.hex(), share.parties, share.threshold, share.party)
        place = key.cosigners.index(self.runs.name) + 1
        if mine != (key.public_key, len(key.cosigners), key.signers, place):
            raise RefusedError(
                Refusal.SHARE, f"the share here is not one of {key.id} as the policy set has it"
            )
        kept = {name: each for name, each in self._agreed.items() if each.until > now and name != intent}
        if len(kept) >= AGREED_MAX:
            raise RefusedError(Refusal.BUSY, f"{AGREED_MAX} agreements wait for their runs")
        until = now + timedelta(seconds=RUN_SECONDS)
        until = until if expires is None else min(until, expires)
        self._agreed = kept | {intent: Agreed(evidence, permission, now, until)}
        return {"v": 1, "agreed": {"intent": intent, "key": key.id, "epoch": entry.epoch}}

    def forget(self, intent: str) -> None:
        """(1) Take back what was agreed to: it is refused now."""
        self._agreed.pop(intent, None)

    def open(self, intent: str, signers: list[int], orders: Orders) -> SignedOpening:
        """(2) Open a run for what was agreed to; who has heard of other epochs is found out by its terms."""
        permission = self._find(intent).permission
        key, head = permission.key, permission.head
        entry, _ = self.runs.shares.share(key.id)
        terms = Terms.load(
            {
                "v": 1,
                "protocol": "sign",
                "key": key.id,
                "epoch": entry.epoch,
                "share": entry.run,
                "subject": intent,
                "digest": permission.transaction.digest().hex(),
                "parties": list(key.cosigners),
                "threshold": key.signers,
                "signers": signers,
                "basis": Basis(
                    size=head.size,
                    root=head.frontier().root().hex(),
                    policy=head.policy,
                    policy_version=head.policy_version,
                    revocation_epoch=orders.revocation_epoch,
                    pause_epoch=orders.pause_epoch,
                ).dump(),
            }
        )
        return self.runs.open(terms)

    def begin(self, openings: Sequence[SignedOpening]) -> dict[str, Any]:
        """Begin the run; give its first messages."""
        under, answered = self.runs.begin(openings)
        self._still(under)
        return {"v": 1, "run": under.party.name, "envelopes": [each.dump() for each in answered.envelopes]}

    def take(self, key: str, run: str, envelopes: Sequence[SignedEnvelope]) -> tuple[Agreed, Answered]:
        """(3) Take a round's messages; return what comes of it for the agreement that the run is under."""
        under, answered = self.runs.take(key, run, envelopes)
        # whose part is out by now hears the end of it: what comes of it is better known than in doubt
        finishes = under.party.gave and not answered.gives
        try:
            agreed = self._still(under, finishes=finishes)
        except RefusedError:
            # a part that was made and is not given: nothing else comes of this run either
            self.runs.put_away(key)
            raise
        if answered.done is not None:
            del self._agreed[under.terms.subject]
        return agreed, answered

    def _still(self, under: Under, *, finishes: bool = False) -> Agreed:
        """Hold the run against what is agreed to now: a later decision has taken its place."""
        agreed = self._find(under.terms.subject, late=finishes)
        if agreed.permission.transaction.digest().hex() != under.terms.digest:
            raise RefusedError(Refusal.RUN, "something else was agreed to since")
        return agreed

    def _find(self, intent: str, *, late: bool = False) -> Agreed:
        agreed = self._agreed.get(intent)
        if agreed is None or not (late or agreed.since <= self.clock() < agreed.until):
            raise RefusedError(Refusal.RUN, "nothing is agreed to for this intent")
        return agreed
