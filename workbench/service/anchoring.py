"""Anchoring from time to time: the newest counted checkpoint goes to the anchor, its proof into the ledger.

Anchors come at most once in an interval and only when the ledger has grown; the proof of the one that is
under way is fetched first, also after a restart. Nothing here is believed: a verifier judges the documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger import anchor
from ledger import checkpoint as notes
from ledger.encoding import canonical
from workbench.service.links import Links
from workbench.service.record import Recorder


@dataclass(slots=True)
class Anchoring:
    """What is under way, and when the next one is due."""

    recorder: Recorder
    links: Links
    every: timedelta
    clock: Callable[[], datetime]
    _under_way: int | None = None
    _last: datetime | None = None

    def step(self) -> None:
        """Fetch a proof that is waited for, or begin the next anchor when it is due."""
        if self.links.anchor is None:
            return
        if self._under_way is not None:
            self._fetch(self._under_way)
        elif self._last is None or self.clock() - self._last >= self.every:
            self._begin()

    def _begin(self) -> None:
        anchored = max(self.recorder.ledger.anchors(), default=0)
        if self._last is None:
            # what an earlier run has begun is fetched before anything new
            self._last = self.clock() - self.every
            begun = self.links.anchored({"operation": "status"}).get("size")
            if type(begun) is int and begun > anchored:
                self._under_way = begun
                return
        note = self.recorder.ledger.newest_checkpoint()
        size = 0 if note is None else notes.split(note)[0].size
        if size <= anchored:
            return
        self.links.anchored({"operation": "anchor", "note": note})
        self._under_way, self._last = size, self.clock()

    def _fetch(self, size: int) -> None:
        document = self.links.anchored({"operation": "proof", "size": size}).get("anchor")
        if document is not None:
            self.recorder.ledger.record_anchor(size, canonical(document, limit=anchor.DOCUMENT_MAX))
            self._under_way = None
