"""A co-signer in the wrong hands: its own token, keys, shares and socket, and code that says yes.

It runs as a process in the genuine one's place. What it holds is real; what it decides is what it is told: it
agrees to all evidence, opens runs on any terms and over any digest, gives its parts to whoever asks, opens
and speaks for others, cosigns any checkpoint, and hands out its share.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workbench_tss import AbortError, Run

from ledger import checkpoint
from workbench.cosigner import __main__ as genuine
from workbench.cosigner import core
from workbench.cosigner.core import Cosigner
from workbench.cosigner.runs import Runs
from workbench.rules.codes import RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import OPENING_LINE, Opening, SignedEnvelope, SignedOpening, Terms

Said = dict[str, Any]
KEPT = frozenset({"status", "token", "lease", "release", "recollect", "remember"})


@dataclass(slots=True)
class Corrupt:
    """A co-signer without a gate."""

    honest: Cosigner
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def runs(self) -> Runs:
        """What it takes part with."""
        assert self.honest.shared is not None
        return self.honest.shared.runs

    def handle(self, request: Said) -> Said:
        """Do as it is told; what it has no bad use for is done as before."""
        operation = str(request.get("operation"))
        if operation in KEPT or operation.startswith("witness"):
            return self.honest.handle(request)
        with self._lock:
            try:
                return {"v": 1, **self._do(request)}
            except RefusedError as refusal:
                return {"v": 1, "refused": {"code": refusal.code.value, "detail": refusal.detail}}

    def _do(self, request: Said) -> Said:  # noqa: PLR0911 - a row for each thing that it can be told
        match request:
            case {"proposal": _, "intent": str(intent)}:
                return {"agreed": {"intent": intent}}
            case {"operation": "corrupt-open", "terms": dict(terms), "digest": str(digest)}:
                return {"opening": self._open(Terms.load(terms), digest).dump()}
            case {"operation": "corrupt-opening", "opening": dict(opening)}:
                return {"opening": self._speak_for(Opening.load(opening)).dump()}
            case {"operation": "begin", "openings": list(openings)}:
                under, answered = self.runs.begin([SignedOpening.load(each) for each in openings])
                return {"run": under.party.name, "envelopes": [each.dump() for each in answered.envelopes]}
            case {"operation": "take", "key": str(key), "run": str(run), "envelopes": list(sent)}:
                _, answered = self.runs.take(key, run, [SignedEnvelope.load(each) for each in sent])
                if isinstance(answered.done, bytes):
                    return {"signature": answered.done.hex()}
                return {"envelopes": [each.dump() for each in answered.envelopes]}
            case {"operation": "corrupt-alone", "key": str(key), "digest": str(digest), **rest}:
                return self._alone(key, rest["signers"], bytes.fromhex(digest))
            case {"operation": "corrupt-share", "key": str(key), "to": str(to)}:
                _, share = self.runs.shares.share(key)
                sealed = share.seal(bytes.fromhex(to), b"stolen")
                return {"party": share.party, "sealed": sealed.hex()}
            case {"operation": "corrupt-cosign", "note": str(note)}:
                own, name = self.honest.identity_key, self.honest.identity.name
                return {"note": checkpoint.cosign(note, name, own.public_key, own.sign, at=datetime.now(UTC))}
            case _:
                return {"refused": {"code": "malformed", "detail": "nothing that it could be bribed for"}}

    def _open(self, terms: Terms, digest: str) -> SignedOpening:
        """Open a run on any terms; its engine signs this digest, whatever the terms say."""
        self.runs._heard = frozenset(terms.parties)
        opening = self.runs.open(terms)
        _, share = self.runs.shares.share(terms.key)
        party = self.runs._runs[terms.key].party
        party._engine = lambda name: Run.sign(share, terms.signers, name, bytes.fromhex(digest))
        return opening

    def _speak_for(self, opening: Opening) -> SignedOpening:
        """Sign somebody else's opening with this one's key."""
        signature = self.honest.identity_key.sign(signed_bytes(OPENING_LINE, opening.canonical()))
        return SignedOpening(opening=opening, signature=signature.hex())

    def _alone(self, key: str, signers: list[int], digest: bytes) -> Said:
        """Have the engine sign with fewer than it takes."""
        _, share = self.runs.shares.share(key)
        try:
            Run.sign(share, signers, bytes(32), digest).step({}, {})
        except (AbortError, ValueError) as error:
            return {"refused": {"code": "engine", "detail": str(error)}}
        return {"begun": True}


class _Bribed:
    """What the genuine process is made with, but for the co-signer that answers."""

    @staticmethod
    def start(**given: Any) -> Corrupt:
        """Make the genuine co-signer, and put it into the wrong hands."""
        return Corrupt(core.start(**given))


if __name__ == "__main__":
    genuine.core = _Bribed
    sys.exit(genuine.main())
