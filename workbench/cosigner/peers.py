"""What a co-signer remembers of runs over shared keys: one file, on disk before anything is said.

`opened` counts its own openings; `seen` is the latest opening of each peer that it began a run with; `bans`
says with whom it never runs again, over which key, and by which envelopes. Like all memory of a co-signer it
is never restored: a count that went back is found out by the peers, who know of later openings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ledger import files
from ledger.encoding import canonical
from workbench.cosigner.memory import MemoryCorruptError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Name, Prose, Whole
from workbench.rules.threshold import PARTIES_MAX, SignedEnvelope, SignedOpening

NAME = "peers.json"
FILE_MAX = 64 * 1024 * 1024
BANS_MAX = PARTIES_MAX * 64
PEERS_MAX = 1024
"""Of all keys together."""


class Ban(Document):
    """A peer that cheated in the oblivious transfer under a key, and what it signed there."""

    key: Name
    peer: Name
    reason: Prose
    evidence: list[SignedEnvelope]


class Known(Document):
    """The file's content."""

    v: Literal[1]
    opened: Whole
    seen: Annotated[dict[Name, SignedOpening], Field(max_length=PEERS_MAX)]
    set_back: Prose | None
    bans: Annotated[list[Ban], Field(max_length=BANS_MAX)]


def found(folder: Path) -> None:
    """Begin: nothing was opened, nobody is banned, once."""
    files.create(folder / NAME, canonical(Known(v=1, opened=0, seen={}, set_back=None, bans=[]).dump()))


class Peers:
    """The file, read once at start and kept in step."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        try:
            self._known = Known.read(self._path.read_bytes(), limit=FILE_MAX)
        except (OSError, RefusedError) as error:
            raise MemoryCorruptError(f"{NAME}: {error}") from error

    @property
    def opened(self) -> int:
        """How many runs this co-signer has opened."""
        return self._known.opened

    @property
    def seen(self) -> Mapping[str, int]:
        """The count of the latest opening of each peer."""
        return {name: each.opening.counter for name, each in self._known.seen.items()}

    def latest(self, peer: str) -> SignedOpening | None:
        """Return the latest opening of a peer, as it signed it; who was set back itself knows of none."""
        self._is_current()
        return self._known.seen.get(peer)

    def banned(self, key: str) -> frozenset[str]:
        """Return with whom this co-signer never runs over a key."""
        return frozenset(ban.peer for ban in self._known.bans if ban.key == key)

    def open(self) -> int:
        """Count one more opening; return its number."""
        self._is_current()
        self._keep(self._known.model_copy(update={"opened": self._known.opened + 1}))
        return self._known.opened

    def begin(self, openings: Mapping[str, SignedOpening]) -> None:
        """Remember with which openings of its peers a run begins."""
        self._keep(self._known.model_copy(update={"seen": {**self._known.seen, **openings}}))

    def was_set_back(self, how: str) -> None:
        """Open nothing any more: this memory is an old one."""
        self._keep(self._known.model_copy(update={"set_back": how}))

    def ban(self, key: str, peer: str, reason: str, evidence: Sequence[SignedEnvelope]) -> None:
        """Never run with a peer over this key again; in this process even when it cannot be written."""
        if peer not in self.banned(key):
            ban = Ban(key=key, peer=peer, reason=reason, evidence=list(evidence))
            self._known = self._known.model_copy(update={"bans": [*self._known.bans, ban]})
            self._keep(self._known)

    def _is_current(self) -> None:
        if self._known.set_back is not None:
            raise RefusedError(Refusal.MEMORY_BEHIND, self._known.set_back)

    def _keep(self, known: Known) -> None:
        files.replace(self._path, canonical(known.dump(), limit=FILE_MAX))
        self._known = known
