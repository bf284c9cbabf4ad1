"""Giving events their places: pure, so that a whole group is placed before anything is written.

* An event goes behind the entries that there are and those placed before it.
* A name that is taken gives the first receipt again if the event is the same,
  byte by byte, else a conflict. A redacted entry cannot be compared any more:
  that is a conflict, too.
* A batch that raises has placed nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from ledger.entry import Entry, Event
from ledger.names import digest

Named: TypeAlias = tuple[bytes, Event]


class StoreError(Exception):
    """The store cannot be opened, believed or written."""


class ConflictError(StoreError):
    """Another event already has this (source, id)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof to the writer that an event has its place."""

    seq: int
    h: bytes
    leaf: bytes


@dataclass(slots=True)
class Place:
    """Where the next entry goes, while batches gather for one transaction."""

    size: int
    h: bytes
    time: datetime
    written: dict[bytes, Entry] = field(default_factory=dict)  # by name, in their order

    def batch(
        self, events: Sequence[Named], known: Mapping[bytes, Entry], salt: Callable[[], bytes]
    ) -> list[Receipt]:
        """Give the events of one batch their places; raises, and places none, if one has none."""
        fresh: dict[bytes, Entry] = {}
        receipts, h = [], self.h
        for name, event in events:
            entry = fresh.get(name) or self.written.get(name) or known.get(name)
            if entry is None:
                seq = self.size + len(self.written) + len(fresh)
                entry = fresh[name] = Entry.write(event, seq=seq, time=self.time, salt=salt(), prev=h)
                h = entry.h
            elif not entry.holds(event):
                words = f"({event.source}, {event.id}) is entry {entry.seq}, and says something else"
                raise ConflictError(words)
            receipts.append(Receipt(entry.seq, entry.h, entry.leaf))
        self.h = h
        self.written |= fresh
        return receipts


def named(events: Iterable[Event]) -> list[Named]:
    """Return events with the digests of their names: each is looked up more than once."""
    return [(digest(event.source, event.id), event) for event in events]
