"""The writer: one thread that turns whatever has gathered into one commit.

While a commit waits for the disk, new batches queue; when it is through, all
of them go into the next one. No timer: an idle ledger commits at once, a busy
one commits many batches for one fdatasync.

* A batch is all or nothing by itself; one that is refused leaves the others of
  its group alone. Its receipts come after the disk has it.
* The queue is bounded in events. A full queue refuses at once (`BusyError`):
  nothing of that batch is written, and the caller may send it again.
* After a commit that failed nothing more is taken: what the disk holds shows
  only when the store is opened again, and every waiting batch is told so.
* `close` takes no more, writes what it has, and ends the thread.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ledger.entry import Event
from ledger.store import Ledger, Receipt, StoreError

QUEUE_MAX = 20_000  # events that wait; about a second of work, and some 20 MB
GROUP_MAX = 2_000  # events of one commit, unless one batch alone has more: bounds each caller's wait


class BusyError(StoreError):
    """Too much is waiting already: nothing was taken, try again later."""


class ClosedError(StoreError):
    """The writer takes nothing more."""


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[Event]
    receipts: "Future[list[Receipt]]"


class Writer:
    """The only caller of a ledger's `append_all`; any number of threads may submit."""

    def __init__(self, ledger: Ledger, *, queue_max: int = QUEUE_MAX) -> None:
        self._ledger = ledger
        self._queue_max = queue_max
        self._queue: deque[_Batch] = deque()
        self._waiting = 0
        self._closed = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ledger writer", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event]) -> "Future[list[Receipt]]":
        """Queue a batch; the future holds its receipts, or why it was refused."""
        batch = _Batch(tuple(events), Future())
        with self._changed:
            if self._closed:
                raise ClosedError(self._closed)
            if self._waiting + len(batch.events) > self._queue_max:
                raise BusyError(f"{self._waiting} events are waiting, limit {self._queue_max}")
            self._waiting += len(batch.events)
            self._queue.append(batch)
            self._changed.notify()
        return batch.receipts

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Queue a batch and wait until the disk has it."""
        return self.submit(events).result()

    def close(self) -> None:
        """Take nothing more, write what is queued, end the thread."""
        self._refuse_from_now_on("the writer is closed")
        self._thread.join()

    def _refuse_from_now_on(self, reason: str) -> None:
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify()

    def _run(self) -> None:
        while group := self._next():
            try:
                outcomes = self._ledger.append_all([batch.events for batch in group])
            except BaseException as error:  # noqa: BLE001 - every caller must hear of it, whatever it is
                self._refuse_from_now_on(f"a commit failed: {error}")
                for batch in group:
                    batch.receipts.set_exception(error)
                continue
            for batch, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, list):
                    batch.receipts.set_result(outcome)
                else:
                    batch.receipts.set_exception(outcome)

    def _next(self) -> list[_Batch]:
        """Wait for work; an empty group means the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return []
                group = self._take()
            if group:
                return group

    def _take(self) -> list[_Batch]:
        group: list[_Batch] = []
        events = 0
        while self._queue and (not group or events + len(self._queue[0].events) <= GROUP_MAX):
            batch = self._queue.popleft()
            self._waiting -= len(batch.events)
            # A caller that has given up its future is not written for.
            if batch.receipts.set_running_or_notify_cancel():
                group.append(batch)
                events += len(batch.events)
        return group
