"""A co-signer's shares on its disk: sealed, by key and epoch, never fewer than what still may be needed.

A folder for each key: `index.json` says which epoch is in use (`current`), which were made and wait for the
others (`waiting`), which came before and are not destroyed yet (`before`), which runs this party has promised
never to be ready for (`never`), and what was destroyed. `<run>.share` is a share in its envelope: a fresh
32-byte key in an envelope of the token's sealing key (`sealing.py`), and the share under that key, both bound
to key, party, epoch, run and public key. The share itself is in the engine's memory only, never in Python's.

(1) A share is on disk, and in the index, before its party says that it is ready.
(2) Who has said that it is ready does not promise the opposite for this run, and the reverse.
(3) Another run begins only when each share that waits is settled: taken up, or somebody else's promise says
    that it never will be. It is kept even then: a lie about readiness must not split the parties for good.
(4) What is taken up puts the share before it aside; that is destroyed when all parties hold the new one. A
    party takes up one share of an epoch and no other, so at most one of them can come to be held by all.
    It is of the same key: what people were told that all hold, and sent money to, no other key replaces.
(5) What is restored from a backup is the share that was in use here, or a later one: of the same party, of a
    run that this party has not promised never to be ready for. It is in use at once; others hold it already.
(6) A file that the index does not name is what a crash left, and is removed; one that it names and that is
    missing, altered or another's makes the key unusable here, and says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from workbench_tss import AbortError, Share

from ledger import files
from ledger.encoding import canonical
from workbench.custody.errors import TokenError
from workbench.custody.sealing import Envelope, SealingKey
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Name, Whole
from workbench.rules.threshold import PARTIES_MAX, Number

KEY_BYTES = 32
INDEX_MAX = 1 << 20
SEALED_MAX = 9 << 20
"""In hex: the engine's largest share."""
KEPT_MAX = 64


class Entry(Document):
    """A share of one epoch, by the run that made it; `settled`: it keeps no other run from beginning.

    `parties` are the co-signers that hold this epoch, by number from 1.
    """

    epoch: Annotated[Whole, Field(ge=1)]
    run: Digest
    public_key: Hex
    points: list[Hex]
    parties: Annotated[list[Name], Field(min_length=2, max_length=PARTIES_MAX)]
    sealed: Digest
    settled: bool


class Index(Document):
    """What a party has of one key."""

    v: Literal[1]
    key: Name
    party: Number
    current: Entry | None
    waiting: Annotated[list[Entry], Field(max_length=KEPT_MAX)]
    before: Annotated[list[Entry], Field(max_length=KEPT_MAX)]
    never: Annotated[list[Digest], Field(max_length=KEPT_MAX)]
    destroyed: Annotated[list[Entry], Field(max_length=4 * KEPT_MAX)]

    @property
    def made(self) -> list[Entry]:
        """Every share that there was here, destroyed ones among them."""
        return [*self.waiting, *self.before, *self.destroyed, *([self.current] if self.current else [])]

    @property
    def made_to(self) -> int:
        """The latest epoch of which there was a share here; a run makes a later one."""
        return max((entry.epoch for entry in self.made), default=0)

    @property
    def used(self) -> int:
        """The epoch in use; 0 before the first."""
        return self.current.epoch if self.current else 0

    def waits(self, run: str) -> Entry | None:
        """Return the share that this run made and that is not in use yet."""
        return next((entry for entry in self.waiting if entry.run == run), None)


class Sealed(Document):
    """A share in its envelope."""

    v: Literal[1]
    key: Name
    party: Number
    epoch: Whole
    run: Digest
    public_key: Hex
    sealed_key: Envelope
    share: Annotated[Hex, Field(max_length=SEALED_MAX)]

    @property
    def associated(self) -> bytes:
        """What both seals are bound to."""
        return _bound(self.key, self.party, self.epoch, self.run, self.public_key)


class Shares:
    """All keys of which this co-signer holds a share."""

    def __init__(self, folder: Path, *, sealing: SealingKey) -> None:
        self._folder, self._sealing = folder, sealing
        folder.mkdir(mode=0o700, exist_ok=True)
        read = (_read(place) for place in sorted(folder.iterdir()))
        self._index = {index.key: index for index in read if index is not None}
        self._open: dict[str, Share] = {}

    def index(self, key: str) -> Index | None:
        """Return what this party has of a key."""
        return self._index.get(key)

    def share(self, key: str) -> tuple[Entry, Share]:
        """Return the share in use, opened; it stays open in this process.

        Raises:
            RefusedError: there is none, or it does not open as what the index says it is.

        """
        index = self._index.get(key)
        if index is None or index.current is None:
            raise RefusedError(Refusal.SHARE, f"no share of {key}")
        run = index.current.run
        if run not in self._open:
            self._open[run] = self._load(index, index.current)
        return index.current, self._open[run]

    def may_begin(self, key: str) -> None:
        """(3) Refuse another run while a share waits that may still be taken up."""
        index = self._index.get(key)
        if index is None:
            return
        if len(index.waiting) + len(index.before) >= KEPT_MAX:
            raise RefusedError(Refusal.SHARE, f"{KEPT_MAX} shares of {key} are kept already")
        for entry in index.waiting:
            if not entry.settled and entry.epoch > index.used:
                raise RefusedError(
                    Refusal.SHARE,
                    f"the share of run {entry.run} waits: the words of all, or one never, settle it",
                )

    def keep(self, key: str, share: Share, *, epoch: int, run: str, parties: Sequence[str]) -> Entry:
        """(1) Seal a new share and keep it waiting."""
        index = self._index.get(key) or _empty(key, share.party)
        if run in index.never:
            raise RefusedError(Refusal.SHARE, f"this party has promised never to be ready for run {run}")
        if index.party != share.party:
            raise RefusedError(Refusal.SHARE, f"party {share.party} of {key}, this is party {index.party}")
        if index.current is not None and index.current.public_key != share.public_key.hex():
            raise RefusedError(Refusal.SHARE, f"a share of another key than {key}")
        raw = self._seal(key, share, epoch=epoch, run=run).canonical()
        entry = Entry(
            epoch=epoch,
            run=run,
            public_key=share.public_key.hex(),
            points=_points(share),
            parties=list(parties),
            sealed=hashlib.sha256(raw).hexdigest(),
            settled=False,
        )
        place = self._folder / key
        place.mkdir(mode=0o700, exist_ok=True)
        files.replace(place / f"{run}.share", raw)
        self._write(index.model_copy(update={"waiting": [*index.waiting, entry]}))
        return entry

    def never(self, key: str, party: int, run: str) -> None:
        """(2) Promise never to be ready for a run."""
        index = self._index.get(key) or _empty(key, party)
        # also of one that is destroyed by now: two words of it would pass for a lie
        if any(entry.run == run for entry in index.made):
            raise RefusedError(Refusal.SHARE, f"this party is, or was, ready for run {run}")
        if run not in index.never:
            (self._folder / key).mkdir(mode=0o700, exist_ok=True)
            self._write(index.model_copy(update={"never": [*index.never, run][-KEPT_MAX:]}))

    def settle(self, key: str, run: str) -> None:
        """(3) Somebody else has promised never to be ready for this run."""
        index = self._known(key)
        waiting = [
            entry.model_copy(update={"settled": True}) if entry.run == run else entry
            for entry in index.waiting
        ]
        self._write(index.model_copy(update={"waiting": waiting}))

    def take_up(self, key: str, run: str) -> Entry:
        """(4) Use the share that a run made; every party is ready for it, or holds it."""
        index = self._known(key)
        if index.current is not None and index.current.run == run:
            return index.current
        entry = index.waits(run)
        if entry is None:
            raise RefusedError(Refusal.SHARE, f"no share of run {run} waits")
        if entry.epoch <= index.used:
            raise RefusedError(Refusal.SHARE, f"epoch {entry.epoch} was taken up with another share")
        if index.current is not None and index.current.public_key != entry.public_key:
            raise RefusedError(Refusal.SHARE, f"the share of run {run} is of another key than the one in use")
        # opened before the old one is put aside: what cannot be opened is not taken up
        opened = self._load(index, entry)
        before = [*index.before, *([index.current] if index.current else [])]
        waiting = [other for other in index.waiting if other.run != run]
        self._write(index.model_copy(update={"current": entry, "waiting": waiting, "before": before}))
        self._open = {run: opened}
        return entry

    def restore(self, key: str, share: Share, entry: Entry) -> Entry:
        """(5) Use a share that came back from a backup, which says what it is by `entry`.

        Raises:
            RefusedError: a later one is in use here, or it is another party's or key's. One that is here and
                opens is left as it is.

        """
        index = self._index.get(key) or _empty(key, share.party)
        if index.party != share.party:
            raise RefusedError(Refusal.SHARE, f"party {share.party} of {key}, this is party {index.party}")
        if entry.run in index.never:
            raise RefusedError(
                Refusal.SHARE, f"this party has promised never to be ready for run {entry.run}"
            )
        # where none is in use, what was destroyed has ended with the key
        last = index.used if index.current else 1 + max((gone.epoch for gone in index.destroyed), default=0)
        if entry.epoch < last or any(entry.run == gone.run for gone in index.destroyed):
            raise RefusedError(Refusal.SHARE, f"epoch {entry.epoch} of {key} is over here")
        current = index.current
        if current is not None:
            if current.public_key != entry.public_key or (
                current.epoch == entry.epoch and current.run != entry.run
            ):
                raise RefusedError(Refusal.SHARE, f"another share of {key} is in use here")
            if current.run == entry.run and self._opens(index, current):
                return current
        raw = self._seal(key, share, epoch=entry.epoch, run=entry.run).canonical()
        kept = entry.model_copy(update={"sealed": hashlib.sha256(raw).hexdigest(), "settled": False})
        place = self._folder / key
        place.mkdir(mode=0o700, exist_ok=True)
        files.replace(place / f"{entry.run}.share", raw)
        older = [current] if current is not None and current.run != entry.run else []
        waiting = [other for other in index.waiting if other.run != entry.run]
        update = {"current": kept, "before": [*index.before, *older], "waiting": waiting}
        self._write(index.model_copy(update=update))
        self._open = {run: opened for run, opened in self._open.items() if run != entry.run}
        return kept

    def _opens(self, index: Index, entry: Entry) -> bool:
        try:
            self._load(index, entry)
        except RefusedError:
            return False
        return True

    def destroy(self, key: str, run: str) -> list[Entry]:
        """(4) Destroy what came before the share in use, which is the one that all hold; return it."""
        index = self._known(key)
        if index.current is None or index.current.run != run:
            raise RefusedError(Refusal.SHARE, f"the share of run {run} is not in use")
        gone = [*index.before, *(entry for entry in index.waiting if entry.epoch <= index.used)]
        kept = [entry for entry in index.waiting if entry.epoch > index.used]
        destroyed = [*index.destroyed, *gone][-4 * KEPT_MAX :]
        left = index.model_copy(update={"before": [], "waiting": kept, "destroyed": destroyed})
        self._write(left)
        _remove_all_but(self._folder / key, _named(left))
        return gone

    def verify_ends(self, key: str, *, owning: Collection[str]) -> None:
        """Refuse the end of a share whose public key owns something, under whatever name."""
        index = self._index.get(key)
        if index is None:
            return
        there = [*index.before, *index.waiting, *([index.current] if index.current else [])]
        if any(entry.public_key in owning for entry in there):
            raise RefusedError(Refusal.STATE, f"{key} is in the policy set by another name")

    def end(self, key: str, *, epoch: int) -> list[Entry]:
        """Destroy every share of a key for good; return what there was. Once it is gone there is nothing.

        Raises:
            RefusedError: another epoch is in use here than the one that is to end.

        """
        index = self._index.get(key)
        if index is None:
            return []
        if index.current is not None and index.used != epoch:
            raise RefusedError(Refusal.SHARE, f"epoch {index.used} of {key} is in use, not {epoch}")
        gone = [*index.before, *index.waiting, *([index.current] if index.current else [])]
        destroyed = [*index.destroyed, *gone][-4 * KEPT_MAX :]
        left = index.model_copy(update={"current": None, "before": [], "waiting": [], "destroyed": destroyed})
        self._write(left)
        self._open = {
            run: share for run, share in self._open.items() if run not in {each.run for each in gone}
        }
        _remove_all_but(self._folder / key, _named(left))
        return gone

    def _known(self, key: str) -> Index:
        index = self._index.get(key)
        if index is None:
            raise RefusedError(Refusal.SHARE, f"no share of {key}")
        return index

    def _write(self, index: Index) -> None:
        # what would not be read again is not written: the shares beside it would be lost with it
        Index.load(index.dump())
        files.replace(self._folder / index.key / "index.json", index.canonical())
        self._index[index.key] = index

    def _seal(self, key: str, share: Share, *, epoch: int, run: str) -> Sealed:
        public_key = share.public_key.hex()
        bound = _bound(key, share.party, epoch, run, public_key)
        fresh = os.urandom(KEY_BYTES)
        return Sealed(
            v=1,
            key=key,
            party=share.party,
            epoch=epoch,
            run=run,
            public_key=public_key,
            sealed_key=self._sealing.seal(fresh, bound),
            share=share.seal(fresh, bound).hex(),
        )

    def _load(self, index: Index, entry: Entry) -> Share:
        path = self._folder / index.key / f"{entry.run}.share"
        try:
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() != entry.sealed:
                raise RefusedError(Refusal.SHARE, f"{path.name} of {index.key} is not what was sealed")
            sealed = Sealed.read(raw, limit=SEALED_MAX + INDEX_MAX)
            fresh = self._sealing.open(sealed.sealed_key, sealed.associated)
            share = Share.open(bytes.fromhex(sealed.share), fresh, sealed.associated)
        except (OSError, TokenError, AbortError) as error:
            raise RefusedError(Refusal.SHARE, f"{path.name} of {index.key}: {error}") from error
        found = (sealed.key, share.party, sealed.epoch, sealed.run, share.public_key.hex(), _points(share))
        wanted = (index.key, index.party, entry.epoch, entry.run, entry.public_key, entry.points)
        if found != wanted:
            raise RefusedError(Refusal.SHARE, f"{path.name} of {index.key} is another share")
        return share


def _read(place: Path) -> Index | None:
    try:
        index = Index.read((place / "index.json").read_bytes(), limit=INDEX_MAX)
    except FileNotFoundError:
        # a crash before the first index: nobody was told of a share
        _remove_all_but(place, set())
        return None
    if index.key != place.name:
        raise RefusedError(Refusal.SHARE, f"{place.name} holds the index of {index.key}")
    _remove_all_but(place, _named(index))
    return index


def _bound(key: str, party: int, epoch: int, run: str, public_key: str) -> bytes:
    bound = {"v": 1, "key": key, "party": party, "epoch": epoch, "run": run, "public_key": public_key}
    return canonical(bound)


def _points(share: Share) -> list[str]:
    points: Mapping[int, bytes] = share.points
    return [points[number].hex() for number in sorted(points)]


def _empty(key: str, party: int) -> Index:
    return Index(v=1, key=key, party=party, current=None, waiting=[], before=[], never=[], destroyed=[])


def _named(index: Index) -> set[str]:
    entries = [*index.waiting, *index.before, *([index.current] if index.current else [])]
    return {"index.json", *(f"{entry.run}.share" for entry in entries)}


def _remove_all_but(place: Path, named: set[str]) -> None:
    """(6) Remove what the index does not name."""
    for path in place.iterdir():
        if path.name not in named:
            path.unlink()
    files.sync(place)
