"""The writer: what gathers is committed together, each batch for itself; a full queue refuses."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import writer
from ledger.entry import EntryError, Event
from ledger.store import ConflictError, StoreError
from ledger.writer import BusyError, ClosedError, Writer
from tests.ledger.world import World, event


class Gate:
    """Holds a commit back until the test lets it through."""

    def __init__(self) -> None:
        self.reached, self.opened, self.commits = threading.Event(), threading.Event(), 0

    def __call__(self) -> None:
        """Wait at the hook."""
        self.commits += 1
        self.reached.set()
        assert self.opened.wait(10)


@pytest.fixture
def gate(world: World) -> Iterator[Gate]:
    """Return the gate before the world's commits."""
    made = Gate()
    world.reopen(testing_only_before_commit=made)
    yield made
    made.opened.set()


def test_receipts(world: World) -> None:
    """A batch comes back with its receipts, in order, when the disk has it."""
    with_thread = Writer(world.ledger)
    receipts = with_thread.append([event(0), event(1)]) + with_thread.append([event(2)])
    assert [receipt.seq for receipt in receipts] == [0, 1, 2]
    assert with_thread.append([]) == []
    with_thread.close()
    assert world.reopen().head().h == receipts[-1].h


def test_what_waits_is_one_commit(world: World, gate: Gate) -> None:
    """While one commit waits for the disk, whatever gathers goes into the next one, in the order it came."""
    busy = Writer(world.ledger)
    first = busy.submit([event(0)])
    assert gate.reached.wait(10)
    rest = [busy.submit([event(number)]) for number in range(1, 50)]
    gate.opened.set()
    assert [future.result(10)[0].seq for future in (first, *rest)] == list(range(50))
    assert gate.commits == 2
    busy.close()


def test_each_batch_for_itself(world: World, gate: Gate) -> None:
    """In one commit, a batch that is refused is refused alone and leaves no part of itself."""
    busy = Writer(world.ledger)
    first = busy.submit([event(0)])
    assert gate.reached.wait(10)
    futures = {
        "good": busy.submit([event(1)]),
        "conflict with the disk": busy.submit([event(2), event(0, actor="bob")]),
        "conflict with a neighbour": busy.submit([event(3), event(1, actor="bob")]),
        "a float": busy.submit([event(4), event(5, data={"x": 0.5})]),
        "again": busy.submit([event(1), event(0)]),
        "last": busy.submit([event(2)]),
    }
    gate.opened.set()
    assert first.result(10)[0].seq == 0
    for name in ("conflict with the disk", "conflict with a neighbour"):
        assert isinstance(futures[name].exception(10), ConflictError)
    assert isinstance(futures["a float"].exception(10), ValueError)
    assert [receipt.seq for receipt in futures["again"].result(10)] == [1, 0]
    assert futures["last"].result(10)[0].seq == 2
    busy.close()
    assert [entry.id for entry in world.reopen().entries()] == ["event-0", "event-1", "event-2"]


def test_a_poisonous_event_stops_nobody(world: World) -> None:
    """What cannot be encoded is refused where it is made, or alone; the writer goes on."""
    with pytest.raises(EntryError):
        event(1, id="\ud800")
    poisoned = event(1)
    object.__setattr__(poisoned, "id", "\ud800")
    alive = Writer(world.ledger)
    with pytest.raises(ValueError, match="surrogates"):
        alive.append([poisoned])
    assert alive.append([event(0)])[0].seq == 0
    alive.close()


def test_back_pressure(world: World, gate: Gate) -> None:
    """A full queue refuses at once and takes nothing of it; when there is room again, it is taken."""
    small = Writer(world.ledger, queue_max=3)
    first = small.submit([event(0)])
    assert gate.reached.wait(10)
    queued = small.submit([event(1), event(2)])
    with pytest.raises(BusyError, match="2 events are waiting, limit 3"):
        small.submit([event(3), event(4)])
    last = small.submit([event(3)])
    gate.opened.set()
    for future in (first, queued, last):
        future.result(10)
    assert small.append([event(5), event(6), event(7)])[-1].seq == 6
    small.close()
    assert world.ledger.find("/desk/1", "event-4") is None


@pytest.mark.parametrize(("limit", "commits"), [(3, 4), (4, 3)])
def test_groups_are_bounded(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch, limit: int, commits: int
) -> None:
    """A commit takes no more than its limit, so that nobody waits for all; one batch may be larger."""
    monkeypatch.setattr(writer, "GROUP_MAX", limit)
    busy = Writer(world.ledger)
    first = busy.submit([event(0)])
    assert gate.reached.wait(10)
    futures = [busy.submit([event(2 * number + 1), event(2 * number + 2)]) for number in range(2)]
    futures.append(busy.submit([event(number) for number in range(10, 15)]))
    gate.opened.set()
    for future in (first, *futures):
        future.result(10)
    assert gate.commits == commits
    busy.close()


def test_given_up(world: World, gate: Gate) -> None:
    """A batch whose caller has given up before its turn is not written."""
    busy = Writer(world.ledger)
    first = busy.submit([event(0)])
    assert gate.reached.wait(10)
    given_up, kept = busy.submit([event(1)]), busy.submit([event(2)])
    assert given_up.cancel()
    gate.opened.set()
    first.result(10)
    assert kept.result(10)[0].seq == 1
    busy.close()
    assert world.ledger.find("/desk/1", "event-1") is None


def test_closing(world: World, gate: Gate) -> None:
    """Closing writes what was taken, takes nothing more, and may be said twice."""
    ending = Writer(world.ledger)
    futures = [ending.submit([event(number)]) for number in range(3)]
    gate.opened.set()
    ending.close()
    ending.close()
    assert [future.result(0)[0].seq for future in futures] == [0, 1, 2]
    with pytest.raises(ClosedError):
        ending.submit([event(3)])
    assert world.reopen().head().size == 3


def test_a_commit_that_failed(world: World) -> None:
    """After a commit of unknown outcome every waiting batch is told, and nothing more is taken."""
    world.append(0)
    world.reopen(testing_only_before_commit=lambda: world.ledger._database.connection.execute("rollback"))
    broken = Writer(world.ledger)
    with pytest.raises(StoreError, match="unknown"):
        broken.append([event(1)])
    with pytest.raises(ClosedError, match="a commit failed"):
        broken.append([event(2)])
    broken.close()
    assert world.reopen().head().size == 1


def test_many_threads(world: World) -> None:
    """Threads that send different and the same events all get receipts of one sequence without gaps."""
    shared = Writer(world.ledger)
    results: list[int] = []

    def work(worker: int) -> None:
        for number in range(20):
            own: Event = event(worker * 100 + number)
            results.extend(receipt.seq for receipt in shared.append([own, event(9_999)]))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    assert sorted(set(results)) == list(range(8 * 20 + 1))
    assert world.reopen().head().size == 8 * 20 + 1


def test_its_thread_ends_with_it(tmp_path: Path) -> None:
    """A closed writer leaves no thread behind."""
    world = World(tmp_path)
    ended = Writer(world.ledger)
    ended.close()
    assert "ledger writer" not in {thread.name for thread in threading.enumerate()}
    world.ledger.close()
