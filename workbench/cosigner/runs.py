"""A co-signer's side of runs over shared keys: who opens, begins, takes, and what is remembered before.

One run of a key at a time: a new opening puts an older run of the same key away. A run that is not done in
RUN_SECONDS is put away, too: what was decided then is not decided for ever. The count of openings is on disk
before an opening is given, the peers' counts before the first message, a ban before anybody is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from workbench_tss import Share

from workbench.cosigner.peers import Peers
from workbench.custody.shares import Shares
from workbench.custody.threshold import Answered, BannedError, Party, Sign, engine
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, signed_bytes
from workbench.rules.threshold import (
    RECOLLECTION_LINE,
    Recollection,
    SignedEnvelope,
    SignedOpening,
    SignedRecollection,
    Terms,
    unasked_max,
    verify_recollections,
)

RUN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Under:
    """A run that this co-signer is in."""

    terms: Terms
    party: Party
    until: datetime


class Runs:
    """The runs of one co-signer."""

    def __init__(
        self,
        *,
        name: str,
        sign: Sign,
        keys: Mapping[str, str],
        peers: Peers,
        shares: Shares,
        clock: Callable[[], datetime],
    ) -> None:
        self.name, self.shares, self.peers = name, shares, peers
        self.keys = keys
        self._sign, self._clock = sign, clock
        self._runs: dict[str, Under] = {}
        self._nonce = os.urandom(32).hex()
        self._heard: frozenset[str] = frozenset()

    def open(self, terms: Terms) -> SignedOpening:
        """Open a run on these terms, which this co-signer has decided on.

        Raises:
            RefusedError: it takes no part, has no such share, or one who takes part is banned.

        """
        taking = terms.taking_part
        numbers = [number for number, name in taking.items() if name == self.name]
        if not numbers:
            raise RefusedError(Refusal.RUN, f"{self.name} takes no part")
        banned = self.peers.banned(terms.key) & set(taking.values())
        if banned:
            names = ", ".join(sorted(banned))
            raise RefusedError(Refusal.BANNED, f"never again over {terms.key} with {names}")
        silent = set(terms.parties) - {self.name} - self._heard
        if terms.protocol != "dkg" and len(silent) > unasked_max(terms.threshold):
            raise RefusedError(
                Refusal.MEMORY_BEHIND, f"not heard what is remembered of me by {', '.join(sorted(silent))}"
            )
        share = self._share(terms)
        party = Party(
            terms,
            party=numbers[0],
            counter=self.peers.open(),
            seen={name: self.peers.seen[name] for name in taking.values() if name in self.peers.seen},
            keys=self.keys,
            sign=self._sign,
            random=os.urandom,
            engine=engine(terms, party=numbers[0], share=share),
        )
        self._runs[terms.key] = Under(terms, party, self._clock() + timedelta(seconds=RUN_SECONDS))
        return party.opening

    def recall(self) -> dict[str, Any]:
        """Return the nonce of this start, and who has said what it remembers of me."""
        return {"nonce": self._nonce, "heard": sorted(self._heard)}

    def recollect(self, about: str, nonce: str) -> SignedRecollection:
        """Say which opening of a peer I remember last."""
        said = Recollection(
            v=1, cosigner=self.name, about=about, nonce=nonce, opening=self.peers.latest(about)
        )
        signature = self._sign(signed_bytes(RECOLLECTION_LINE, said.canonical()))
        return SignedRecollection(recollection=said, signature=signature.hex())

    def remember(self, signed: Sequence[SignedRecollection]) -> None:
        """Hear what others remember of me; an opening that I know nothing of stops me for good."""
        try:
            heard = verify_recollections(
                signed, about=self.name, nonce=self._nonce, opened=self.peers.opened, keys=self.keys
            )
        except RefusedError as refusal:
            if refusal.code is Refusal.MEMORY_BEHIND:
                self.peers.was_set_back(refusal.detail)
            raise
        self._heard |= heard

    def begin(self, openings: Sequence[SignedOpening]) -> tuple[Under, Answered]:
        """Begin the run that these openings open; give its first messages."""
        if not openings:
            raise RefusedError(Refusal.RUN, "no opening")
        under = self._under(openings[0].opening.terms.key)
        self.peers.begin(under.party.begin(openings, counters=self.peers.seen))
        return under, under.party.first()

    def take(self, key: str, run: Digest, envelopes: Sequence[SignedEnvelope]) -> tuple[Under, Answered]:
        """Take a round's messages; give the next, or what the run has come to."""
        under = self._under(key)
        if under.party.name != run:
            raise RefusedError(Refusal.RUN, f"{key} is in another run")
        try:
            answered = under.party.take(envelopes)
        except BannedError as error:
            self.peers.ban(key, under.terms.parties[error.party - 1], error.detail, error.evidence)
            raise
        if answered.done is not None:
            del self._runs[key]
        return under, answered

    def terms(self, key: str) -> Terms | None:
        """Return the terms of the run of a key that is open here, and has not taken too long."""
        under = self._runs.get(key)
        return None if under is None or under.until <= self._clock() else under.terms

    def stage(self, key: str) -> str:
        """Return which messages the run of a key that is open here waits for: round and kind."""
        under = self._runs.get(key)
        return "" if under is None else under.party.stage

    def put_away(self, key: str) -> None:
        """End the run of a key that is open here, if one is."""
        self._runs.pop(key, None)

    def _under(self, key: str) -> Under:
        under = self._runs.get(key)
        if under is None:
            raise RefusedError(Refusal.RUN, f"no run over {key} is open here")
        if under.until <= self._clock():
            del self._runs[key]
            raise RefusedError(Refusal.EXPIRED, f"the run over {key} has taken too long")
        return under

    def _share(self, terms: Terms) -> Share | None:
        """Return the share that the terms speak of; None where one is only made."""
        if terms.protocol != "sign":
            self.shares.may_begin(terms.key)
            index = self.shares.index(terms.key)
            if index is not None and terms.epoch <= index.made_to:
                raise RefusedError(Refusal.SHARE, f"epoch {terms.epoch} of {terms.key} was made before")
        if terms.protocol == "dkg":
            return None
        entry, share = self.shares.share(terms.key)
        used = (entry.run, entry.epoch) if terms.protocol == "sign" else (entry.run, terms.epoch)
        if used != (terms.share, terms.epoch):
            raise RefusedError(Refusal.SHARE, f"the share of {terms.key} in use is of epoch {entry.epoch}")
        return share
