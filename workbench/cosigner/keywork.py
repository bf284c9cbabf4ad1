"""A co-signer's part in operations on keys that it has allowed: runs that make an epoch, words, ends.

(1) What was allowed is remembered in this process for as long as the officers' date says, and its run is the
    only one that is opened for it. A pause, a newer policy set or silence since then keeps it back.
(2) A share that a run makes is sealed before anybody is told. From then on words decide (`epochs`): they need
    no order any more, since everything in them was signed by the co-signers themselves, and a courier that
    brings them late, or an operation that has run out meanwhile, must not leave a key between two epochs.
(3) What is destroyed is gone before it is said.
(4) A promise never to be ready for a run is given for an order that counts while none is open here: by it a
    courier ends no run that goes on, which may take a minute and no longer. Of an order that has run out
    nothing is kept: it is decided on (`operations.over`) and answered at once, and a run of it that is open
    is put away; one that is open for anything else keeps the promise back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workbench_tss import Share

from workbench.cosigner.epochs import Epochs
from workbench.cosigner.operations import Allowed
from workbench.cosigner.orders import Heard
from workbench.cosigner.runs import Runs
from workbench.custody.shares import Entry
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.pause import EVERYTHING, KEY
from workbench.rules.threshold import SignedEnvelope, SignedOpening, SignedWord

ALLOWED_MAX = 16
NO_SHARE = "0" * 64
"""A promise speaks of no share: none was made."""

Said = dict[str, Any]


@dataclass(slots=True)
class KeyWork:
    """Operations that this co-signer takes part in."""

    runs: Runs
    epochs: Epochs
    heard: Heard
    clock: Callable[[], datetime]
    _allowed: dict[str, Allowed] = field(default_factory=dict)

    def made_to(self, key: str) -> int:
        """Return the latest epoch of a key of which there was a share here."""
        index = self.runs.shares.index(key)
        return index.made_to if index is not None else 0

    def allow(self, allowed: Allowed) -> Said:
        """(1) Remember what was allowed."""
        operation = allowed.operation
        now = self.clock()
        kept = {name: each for name, each in self._allowed.items() if _until(each) > now}
        if len(kept) >= ALLOWED_MAX and operation.digest not in kept:
            raise RefusedError(Refusal.BUSY, f"{ALLOWED_MAX} operations wait for their runs")
        self._allowed = kept | {operation.digest: allowed}
        return {"agreed": {"order": operation.digest, "key": operation.key, "epoch": operation.epoch}}

    def end(self, allowed: Allowed) -> list[Entry]:
        """(3) Destroy every share of a key; return all that were ever destroyed here."""
        operation = allowed.operation
        self.runs.shares.verify_ends(operation.key, owning=allowed.owning)
        self.runs.put_away(operation.key)
        # what was allowed before must not make an epoch of it again
        self._allowed = {
            name: each for name, each in self._allowed.items() if each.operation.key != operation.key
        }
        self.runs.shares.end(operation.key, epoch=operation.epoch)
        index = self.runs.shares.index(operation.key)
        return list(index.destroyed) if index is not None else []

    def give_up(self, under: Allowed, run: str) -> Said:
        """(4) Promise never to be ready for a run of an operation."""
        share = None if under.operation.operation == "dkg" else NO_SHARE
        return {"word": self.epochs.never(under.terms(self.heard.orders, share=share), run).dump()}

    def concerns(self, openings: Sequence[SignedOpening]) -> bool:
        """Whether a run is one of those that make an epoch."""
        return bool(openings) and openings[0].opening.terms.protocol != "sign"

    def does(self, key: str) -> bool:
        """Whether the run of a key that is open here makes an epoch."""
        terms = self.runs.terms(key)
        return terms is not None and terms.protocol != "sign"

    def open(self, order: str) -> Said:
        """(1) Open the run of an operation that was allowed."""
        allowed = self.find(order)
        share = None
        if allowed.operation.operation == "refresh":
            share = self.runs.shares.share(allowed.operation.key)[0].run
        return {"opening": self.runs.open(allowed.terms(self.heard.orders, share=share)).dump()}

    def begin(self, openings: Sequence[SignedOpening]) -> Said:
        """Begin the run; give its first messages."""
        under, answered = self.runs.begin(openings)
        self.find(under.terms.subject)
        return {"run": under.party.name, "envelopes": [each.dump() for each in answered.envelopes]}

    def take(self, key: str, run: str, envelopes: Sequence[SignedEnvelope]) -> Said:
        """Take a round's messages; (2) seal the share that comes of them, and say so."""
        under, answered = self.runs.take(key, run, envelopes)
        try:
            self.find(under.terms.subject)
        except RefusedError:
            self.runs.put_away(key)
            raise
        if not isinstance(answered.done, Share):
            return {"envelopes": [each.dump() for each in answered.envelopes]}
        terms = under.terms
        self.runs.shares.keep(key, answered.done, epoch=terms.epoch, run=run, parties=terms.parties)
        return {"word": self.epochs.ready(terms, run).dump(), "transcript": under.party.transcript}

    def speak(self, request: Said) -> Said:
        """(2) Speak of a share that a run has made."""
        match request:
            case {"v": 1, "operation": "key-status", "key": str(key), **rest} if not rest:
                return {"index": self._index(key)}
            case {"v": 1, "operation": "key-word", "key": str(key), "run": str(run), **rest} if not rest:
                return {"word": self.epochs.word(key, run).dump()}
            case {
                "v": 1,
                "operation": "key-words",
                "key": str(key),
                "run": str(run),
                "words": list(words),
                **rest,
            } if not rest:
                heard = self.epochs.hear(key, run, [SignedWord.load(each) for each in words])
                return {"word": heard.dump()}
            case {"v": 1, "operation": "key-never", "order": str(order), "run": str(run), **rest} if not rest:
                allowed = self.find(order)
                if self.does(allowed.operation.key):
                    raise RefusedError(Refusal.RUN, f"a run over {allowed.operation.key} is open here")
                return self.give_up(allowed, run)
            case {
                "v": 1,
                "operation": "key-settle",
                "key": str(key),
                "run": str(run),
                "word": dict(word),
                **rest,
            } if not rest:
                self.epochs.settle(key, run, SignedWord.load(word))
                return {"index": self._index(key)}
            case _:
                raise RefusedError(Refusal.MALFORMED, "no such operation, or other fields than it has")

    def _index(self, key: str) -> Said | None:
        """Return which epochs of a key are here: who made them, and how far they are."""
        index = self.runs.shares.index(key)
        if index is None:
            return None
        there = [*([index.current] if index.current else []), *index.waiting]
        return {
            "made_to": index.made_to,
            "used": index.used,
            "epochs": [{"epoch": each.epoch, "run": each.run} for each in there if not each.settled],
            "before": len(index.before),
            "destroyed": len(index.destroyed),
        }

    def find(self, order: str) -> Allowed:
        """(1) Return an operation that is allowed still."""
        allowed, now = self._allowed.get(order), self.clock()
        if allowed is None or _until(allowed) <= now:
            raise RefusedError(Refusal.RUN, "no such operation is allowed")
        if allowed.lease is not None:
            self.heard.verify_holds(now)
            heard, under = self.heard.orders, allowed.head.policy_version
            if heard.policy_version > under:
                told = f"allowed under version {under}, I heard of {heard.policy_version} since"
                raise RefusedError(Refusal.POLICY_OLD, told)
            if {EVERYTHING, KEY + allowed.operation.key} & set(heard.paused):
                raise RefusedError(Refusal.PAUSED, f"{allowed.operation.key} is paused since")
        return allowed


def _until(allowed: Allowed) -> datetime:
    return read_time(allowed.operation.expires_at)
