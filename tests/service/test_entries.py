"""External events: whoever has a session may leave them, under his own name and under no other's."""

import json
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from ledger import verifier
from tests.world import Living, living, refused
from workbench.client import ServiceUnavailableError
from workbench.demo.world import SERVICE
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.events import EVENTS_MAX, CloudEvent

WAIT_S = 30.0


@pytest.fixture(scope="module")
def desk() -> Iterator[Living]:
    """Return one living world for all tests of this file."""
    with living() as made:
        yield made


def sent(**changes: Any) -> dict[str, Any]:
    """Return an event as the OMS would send it."""
    event = {
        "specversion": "1.0",
        "id": "order-1",
        "source": "oms/north",
        "type": "external.order.noted",
        "dataschema": "oms-note/v1",
        "data": {"order": "1", "amount": "1000000"},
    }
    return event | changes


def cloud(**changes: Any) -> CloudEvent:
    """Return the event as a document."""
    return CloudEvent.load(sent(**changes))


def test_recorded(desk: Living) -> None:
    """A batch has its receipts in order; sent again it has the same; the ledger says who sent it."""
    events = [cloud(id=f"order-{number}") for number in range(3)]
    places = desk.pm.record(events)
    assert [place.seq for place in places] == list(range(places[0].seq, places[0].seq + 3))
    assert desk.pm.record(events) == places
    entry = desk.entries()[places[1].seq]
    assert (entry["actor"], entry["source"], entry["type"]) == (
        "pm-1",
        "client/pm-1/oms/north",
        events[0].type,
    )
    assert entry["data"] == {"order": "1", "amount": "1000000"}


def test_two_senders(desk: Living) -> None:
    """Two people's events of one name are two events: nobody takes a name away from another."""
    mine, theirs = (
        desk.pm.record([cloud(id="shared")]),
        desk.officer("risk-1").speaks.record([cloud(id="shared")]),
    )
    assert mine[0].seq != theirs[0].seq


def test_an_auditor_writes_nothing(desk: Living) -> None:
    """Whoever judges the books does not write them, not even a note."""
    with desk.unchanged(refusals=1):
        refused("role_not_held", lambda: desk.officer("auditor-1").speaks.record([cloud(id="from-audit")]))


def test_large_batches(desk: Living) -> None:
    """The client splits what is more than one request may hold, by number and by bytes."""
    many = [cloud(id=f"many-{number}") for number in range(EVENTS_MAX + 1)]
    assert len({place.seq for place in desk.pm.record(many)}) == EVENTS_MAX + 1
    wide = [cloud(id=f"wide-{number}", data={"x": "y" * 60_000}) for number in range(80)]
    assert sum(len(event.canonical()) for event in wide) > DOCUMENT_MAX
    assert len({place.seq for place in desk.pm.record(wide)}) == 80


REFUSED: dict[str, tuple[Any, str]] = {
    "the service's own type": ([sent(type="intent.released")], "malformed"),
    "the ledger's own type": ([sent(type="ledger.redaction")], "malformed"),
    "a type that only begins like one": ([sent(type="external")], "malformed"),
    "no id": ([{name: value for name, value in sent().items() if name != "id"}], "malformed"),
    "an empty id": ([sent(id="")], "malformed"),
    "an id that draws lines": ([sent(id="a\nb")], "malformed"),
    "another version": ([sent(specversion="0.3")], "malformed"),
    "an actor": ([sent(actor="cro-1")], "malformed"),
    "a time": ([sent(time="2026-11-21T00:00:00.000000Z")], "malformed"),
    "data that is a list": ([sent(data=[1])], "malformed"),
    "other content": ([sent(datacontenttype="text/plain")], "malformed"),
    "data that is too large": ([sent(id="large", data={"x": "y" * 70_000})], "malformed"),
    "one bad event of two": ([sent(id="good"), sent(id="bad", type="x")], "malformed"),
    "no batch": (sent(), "malformed"),
    "an empty batch": ([], "malformed"),
    "too many": ([sent(id=f"{number}") for number in range(EVENTS_MAX + 1)], "malformed"),
    "another event under a name": (
        [sent(id="new"), sent(id="order-0", data={"order": "2"})],
        "id_reused_with_other_bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(desk: Living, name: str) -> None:
    """A batch that is not wholly good is refused wholly."""
    desk.pm.record([cloud(id="order-0")])
    body, code = REFUSED[name]
    raw = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with desk.unchanged(refusals=1):
        refused(code, lambda: desk.pm.post_raw("/v1/entries", raw))


@pytest.mark.parametrize("claim", ["x", ["y"], "00" * 32])
def test_a_claim_of_evidence(desk: Living, claim: Any) -> None:
    """An external event that says it cites evidence cites nothing: bundles are written as before."""
    desk.pm.record([cloud(id=f"claim-{claim}", data={"evidence": claim, "inclusion": claim})])
    assert [entry["data"]["evidence"] for entry in desk.entries() if entry["id"] == f"claim-{claim}"] == [
        claim
    ]


def test_many_at_once(desk: Living) -> None:
    """Clients that send at the same time, also the same events, get places of one sequence."""
    seqs: list[int] = []

    def send(worker: int) -> None:
        for turn in range(10):
            places = desk.pm.record([cloud(id=f"own-{worker}-{turn}"), cloud(id=f"common-{turn}")])
            seqs.extend(place.seq for place in places)

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seqs)) == 6 * 10 + 10


def test_a_disk_that_fills_up(desk: Living) -> None:
    """When the file cannot grow, nothing is acknowledged; the service begins again and goes on with room."""
    pid = desk.stack.pid(SERVICE)
    wal = desk.world.places.root(SERVICE) / "ledger.duckdb.wal"
    before = desk.pm.record([cloud(id="before")])
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    room = max(wal.stat().st_size, wal.with_suffix("").stat().st_size) + 4096
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, unlimited[1]))
    events = [cloud(id=f"full-{number}", data={"x": "y" * 30_000}) for number in range(40)]
    with pytest.raises(ServiceUnavailableError):
        desk.pm.record(events)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    deadline = time.monotonic() + WAIT_S
    places = []
    while not places:
        assert time.monotonic() < deadline
        with suppress(ServiceUnavailableError):
            places = desk.pm.record(events)
        time.sleep(0.1)
    assert desk.stack.pid(SERVICE) == pid
    assert desk.stack.alive(SERVICE)
    assert desk.pm.record([cloud(id="before")]) == before
    assert places[0].seq > before[0].seq
    verifier.verify(desk.officer("auditor-1").speaks.bundle(), desk.world.places.trust_root)


def test_an_orderly_end(desk: Living) -> None:
    """Told to end, the service writes what it has taken, closes its ledger, and leaves no WAL to replay."""
    (place,) = desk.pm.record([cloud(id="last")])
    desk.stack.stop_one(SERVICE)
    assert not (desk.world.places.root(SERVICE) / "ledger.duckdb.wal").exists()
    desk.stack.start(SERVICE)
    assert desk.pm.record([cloud(id="last")]) == [place]
