"""The life of a key as the ledger tells it: its states, its shares and their backups, and what is due.

The states are those of NIST SP 800-57 part 1 (rev. 5, section 7), with one transition more: a policy set may
list a key again that no set lists any more. Nothing of it was destroyed, and a mistake in a set must not
strand what the key owns. A key that a set calls compromised stays so until it is destroyed (`keys`).

(1) A key is known by its address: names come again.
(2) made, generated: by order, or in the first set that lists it. listed, delisted: by the set in force.
    paused, released: by the watcher's orders on it or on everything, which the key is held against whenever
    it is listed. destroyed: when each co-signer that has a part of it has testified to it; one that is lost
    for good leaves it where it is.
(3) A share is as old as its epoch; a backup is of one epoch, and so is the word that it was tried.
(4) What was said or made counts where it stands first, and under the name of what was done: no testimony has
    a date, and who could write an old one down again would have an old drill pass for a new one. No epoch
    comes back either: who made an old one the newest would have its old backups count.

Pure, and not a judge: entries are believed as a bundle's verifier has left them, sets as `verify_chain` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from workbench.evm.transaction import address_of
from workbench.rules.change import Event as PolicyEvent
from workbench.rules.keys import Key
from workbench.rules.pause import EVERYTHING, KEY, NOTHING_ORDERED, Ordered, Orders
from workbench.rules.policy import PolicySet
from workbench.rules.recovery import SignedTestimony, Testimony, keepers

TRIED_DAYS_MAX = 90
"""A drill that is older says little: people, tokens and PINs have changed since."""


class KeyState(StrEnum):
    """Where a key stands."""

    PRE_ACTIVATION = "pre-activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class KeyEvent(StrEnum):
    """What can happen to a key."""

    LISTED = "listed"
    PAUSED = "paused"
    RELEASED = "released"
    DELISTED = "delisted"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


TABLE: Mapping[tuple[KeyState, KeyEvent], KeyState] = {
    (KeyState.PRE_ACTIVATION, KeyEvent.LISTED): KeyState.ACTIVE,
    (KeyState.PRE_ACTIVATION, KeyEvent.DESTROYED): KeyState.DESTROYED,
    (KeyState.ACTIVE, KeyEvent.PAUSED): KeyState.SUSPENDED,
    (KeyState.ACTIVE, KeyEvent.DELISTED): KeyState.DEACTIVATED,
    (KeyState.ACTIVE, KeyEvent.COMPROMISED): KeyState.COMPROMISED,
    (KeyState.SUSPENDED, KeyEvent.RELEASED): KeyState.ACTIVE,
    (KeyState.SUSPENDED, KeyEvent.DELISTED): KeyState.DEACTIVATED,
    (KeyState.SUSPENDED, KeyEvent.COMPROMISED): KeyState.COMPROMISED,
    (KeyState.DEACTIVATED, KeyEvent.LISTED): KeyState.ACTIVE,
    (KeyState.DEACTIVATED, KeyEvent.DESTROYED): KeyState.DESTROYED,
    (KeyState.COMPROMISED, KeyEvent.DESTROYED): KeyState.DESTROYED,
}


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the ledger, as far as this looks at it; `data` is None where it was redacted."""

    seq: int
    at: datetime
    type: str
    id: str
    data: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a key's life: which entry, what happened, and where the key stood then."""

    seq: int
    at: datetime
    event: str
    state: KeyState


@dataclass(frozen=True, slots=True)
class Done:
    """Something that was done to one share: to which epoch, and when."""

    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """One co-signer's part of a key."""

    cosigner: str
    keepers: tuple[str, ...] = ()
    backed_up: Done | None = None
    tried: Done | None = None
    restored: Done | None = None


@dataclass(slots=True)
class Life:
    """One key."""

    address: str
    name: str
    state: KeyState
    since: datetime
    epoch: int = 1
    engine: str = ""
    tier: str = ""
    threshold: int = 1
    shares: dict[str, Share] = field(default_factory=dict)
    holders: int = 1
    """How many co-signers have a part of it, or had one when it was made."""
    gone: set[str] = field(default_factory=set)
    """Those who have said that their part is destroyed."""
    moments: list[Moment] = field(default_factory=list)

    @property
    def is_shared(self) -> bool:
        """Whether it is nowhere whole."""
        return self.threshold > 1

    def due(self, now: datetime) -> list[str]:
        """(3) Return what is to be done to this key, in words."""
        if self.state not in {KeyState.ACTIVE, KeyState.SUSPENDED}:
            due = {
                KeyState.DEACTIVATED: "destroy it",
                KeyState.COMPROMISED: "sweep it, delist it, destroy it",
            }
            left = sorted(self.shares.keys() - self.gone) if self.gone else []
            said = f" (no word yet of {', '.join(left)})" if left else ""
            return [due[self.state] + said] if self.state in due else []
        if not self.is_shared:
            return []
        found = []
        if bare := [each.cosigner for each in self.shares.values() if not each.keepers]:
            found.append(f"nobody keeps {', '.join(bare)}")
        behind = [each.cosigner for each in self.shares.values() if not _of(each.backed_up, self.epoch)]
        if behind and not bare:
            found.append(f"back up epoch {self.epoch} of {', '.join(behind)}")
        late = now - timedelta(days=TRIED_DAYS_MAX)
        untried = [
            each.cosigner
            for each in self.shares.values()
            if _of(each.backed_up, self.epoch)
            and not (_of(each.tried, self.epoch) and each.tried is not None and each.tried.at >= late)
        ]
        if untried:
            found.append(f"try the backups of {', '.join(untried)}")
        return found


def _of(done: Done | None, epoch: int) -> bool:
    return done is not None and done.epoch == epoch


def lives(entries: Iterable[Told], sets: Sequence[PolicySet]) -> list[Life]:
    """Return every key that the ledger tells of, in the order in which it does.

    Args:
        entries: of one ledger, from its first on.
        sets: the policy sets that it names, verified as a chain.

    """
    book = _Book({each.digest: each for each in sets})
    for told in entries:
        book.enter(told)
    return list(book.lives.values())


@dataclass(slots=True)
class _Book:
    """What the entries have told so far."""

    sets: Mapping[str, PolicySet]
    lives: dict[str, Life] = field(default_factory=dict)
    orders: Orders = NOTHING_ORDERED
    listed: dict[str, Key] = field(default_factory=dict)
    said: set[bytes] = field(default_factory=set)
    made: set[tuple[str, int]] = field(default_factory=set)

    def enter(self, told: Told) -> None:
        data, said = told.data or {}, list(first_said(told, self.said))
        match told.type:
            case PolicyEvent.ADOPTED | PolicyEvent.ACTIVATED:
                self._in_force(told)
            case "pause.ordered" | "pause.released":
                self.orders = Ordered.load(data).after(self.orders)
                self._hold(told)
            case "key.made":
                holders = len(data.get("words", []))
                self._made(told, str(data["address"]), str(data["key"]), int(data["epoch"]), holders)
            case "key.generated":
                for each in said:
                    for public_key in each.whole:
                        self._made(told, address_of(bytes.fromhex(public_key)), told_name(each), 1)
            case "key.backed-up" | "key.restored" | "key.tried":
                for each in said:
                    self._share(told, each)
            case "key.destroyed":
                self._destroyed(told, said)
            case _:
                pass

    def _in_force(self, told: Told) -> None:
        policy = self.sets.get(told.id)
        if policy is None:
            return
        now = {key.address: key for key in policy.keys.values()}
        for address in self.listed.keys() - now.keys():
            self._step(told, self.lives[address], KeyEvent.DELISTED)
        for address, key in now.items():
            life = self.lives.get(address)
            if life is None:
                life = self.lives[address] = Life(address, key.id, KeyState.PRE_ACTIVATION, told.at)
                life.moments.append(Moment(told.seq, told.at, "made", life.state))
            life.name, life.engine, life.tier, life.threshold = key.id, key.engine, key.tier, key.signers
            life.shares = {
                name: replace(
                    life.shares.get(name, Share(name)),
                    keepers=tuple(each.name for each in keepers(policy.recovery.values(), key.id, name)),
                )
                for name in key.cosigners
            }
            life.holders = max(life.holders, len(life.shares))
            if address not in self.listed:
                self._step(told, life, KeyEvent.LISTED)
            if key.compromised and life.state is not KeyState.COMPROMISED:
                self._step(told, life, KeyEvent.COMPROMISED)
        self.listed = now
        self._hold(told)

    def _hold(self, told: Told) -> None:
        """(2) Hold each listed key against what is paused."""
        for address, key in self.listed.items():
            life, stopped = self.lives[address], {EVERYTHING, KEY + key.id} & set(self.orders.paused)
            if stopped and life.state is KeyState.ACTIVE:
                self._step(told, life, KeyEvent.PAUSED)
            if not stopped and life.state is KeyState.SUSPENDED:
                self._step(told, life, KeyEvent.RELEASED)

    def _made(self, told: Told, address: str, name: str, epoch: int, holders: int = 1) -> None:
        if (address, epoch) in self.made:  # (4)
            return
        self.made.add((address, epoch))
        life = self.lives.get(address)
        if life is None:
            life = self.lives[address] = Life(address, name, KeyState.PRE_ACTIVATION, told.at)
        life.epoch, life.holders = max(life.epoch, epoch), max(life.holders, holders)
        event = "made" if epoch == 1 else f"refreshed to epoch {epoch}"
        life.moments.append(Moment(told.seq, told.at, event, life.state))

    def _share(self, told: Told, said: Testimony) -> None:
        if not said.shares:
            return
        mark = said.shares[-1]
        life = self.lives.get(address_of(bytes.fromhex(mark.public_key)))
        if life is None or said.cosigner not in life.shares:
            return
        done, share = Done(mark.epoch, told.at), life.shares[said.cosigner]
        match said.did:
            case "backed-up":
                share = replace(share, backed_up=done)
            case "tried":
                share = replace(share, tried=done)
            case _:
                share = replace(share, restored=done)
                life.gone.discard(said.cosigner)
        life.shares[said.cosigner] = share
        event = f"{said.did}: {said.cosigner}, epoch {mark.epoch}"
        life.moments.append(Moment(told.seq, told.at, event, life.state))

    def _destroyed(self, told: Told, said: Sequence[Testimony]) -> None:
        told_of = set()
        for each in said:
            for point in (*each.whole, *(mark.public_key for mark in each.shares)):
                address = address_of(bytes.fromhex(point))
                if address in self.lives:
                    self.lives[address].gone.add(each.cosigner)
                    told_of.add(address)
        for address in sorted(told_of):
            life = self.lives[address]
            if address in self.listed or life.state is KeyState.DESTROYED:
                continue
            if len(life.gone) >= life.holders and life.gone >= life.shares.keys():
                self._step(told, life, KeyEvent.DESTROYED)

    @staticmethod
    def _step(told: Told, life: Life, event: KeyEvent) -> None:
        after = TABLE.get((life.state, event), life.state)
        life.since = life.since if after is life.state else told.at
        life.state = after
        life.moments.append(Moment(told.seq, told.at, event.value, life.state))


def told_name(said: Testimony) -> str:
    """Return what a key that was generated is to be called until a set lists it."""
    return f"successor of {said.key}"


def testimonies(told: Told) -> list[SignedTestimony]:
    """Return what co-signers testify to in an entry about a key."""
    data = told.data or {}
    if not told.type.startswith("key."):
        return []
    found = [*data.get("testimonies", {}).values(), *([data["testimony"]] if "testimony" in data else [])]
    return [SignedTestimony.load(each) for each in found]


def first_said(told: Told, before: set[bytes]) -> Iterator[Testimony]:
    """(4) Yield what co-signers say in an entry for the first time; `before` grows by it."""
    for each in testimonies(told):
        said, name = each.testimony, each.testimony.canonical()
        # what was made or restored is no trial, wherever it is written down
        if told.type == f"key.{said.did}" and name not in before:
            before.add(name)
            yield said
