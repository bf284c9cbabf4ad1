"""The service has its checkpoints time-stamped: what holds is kept and bundled, nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ledger import timestamp, verifier
from ledger.trust import TrustRoot
from tests.ledger.authority import Authority, served
from tests.ledger.lies import NAME, REFUSED, Party
from tests.ledger.world import World, trust_root
from tests.world import living
from workbench.demo.charter import Clock
from workbench.demo.world import SERVICE
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.record import Stamps
from workbench.service.stamping import Stamping

REPLY = "application/timestamp-reply"
EVERY = timedelta(hours=1)
WAIT_S = 30.0
Answer = tuple[int, str, bytes]


@dataclass
class Desk:
    """A ledger, an authority that answers as it is told to, and a clock that is set by hand."""

    party: Party
    world: World
    answer: Callable[[bytes], Answer]
    queries: list[bytes] = field(default_factory=list)
    now: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    url: str = ""

    @property
    def stamps(self) -> Stamps:
        """Where time-stamps are kept."""
        return Stamps(self.world.folder / "timestamps")

    def asked(self, query: bytes) -> Answer:
        """Answer a request."""
        self.queries.append(query)
        return self.answer(query)

    def stamping(self, **addresses: str) -> Stamping:
        """Return the loop of a service that has just started."""
        return Stamping(
            newest=self.world.ledger.newest_checkpoint,
            stamps=self.stamps,
            trust_root=TrustRoot.of(self.world.trust),
            addresses=addresses or {NAME: self.url},
            every=EVERY,
            clock=lambda: self.now,
            nonce=count(1).__next__,
        )

    def grow(self, number: int) -> None:
        """Append an entry and record a checkpoint."""
        self.world.append(number)
        self.world.check_point()

    def kept(self) -> list[str]:
        """Return what lies in the folder, drafts included."""
        folder = self.world.folder / "timestamps"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    """Return an authority, and the lies that others tell."""
    return Party(tmp_path_factory.mktemp("party"))


@pytest.fixture
def desk(party: Party, tmp_path: Path) -> Iterator[Desk]:
    """Return a desk whose authority is honest."""
    world = World(tmp_path, trust=trust_root(timestamp={NAME: party.good.believed()}))
    made = Desk(party, world, lambda query: (200, REPLY, party.good.reply(query)))
    with served(made.asked) as made.url:
        yield made
    world.ledger.close()


def test_nothing_to_stamp(desk: Desk) -> None:
    """Without a checkpoint nobody is asked."""
    desk.world.append(0)
    assert desk.stamping().step() == []
    assert desk.queries == []


def test_once_in_an_interval_and_only_after_growth(desk: Desk) -> None:
    """The newest checkpoint is stamped once, the next one an interval later; a restart changes nothing."""
    stamping = desk.stamping()
    desk.grow(0)
    assert [stamping.step(), stamping.step(), desk.stamping().step()] == [[], [], []]
    assert (desk.kept(), len(desk.queries)) == ([f"1.{NAME}.tsr"], 1)
    desk.grow(1)
    assert stamping.step() == []
    assert len(desk.queries) == 1
    desk.now += EVERY
    assert stamping.step() == []
    assert (desk.kept(), len(desk.queries)) == ([f"1.{NAME}.tsr", f"2.{NAME}.tsr"], 2)
    desk.now += EVERY
    assert stamping.step() == []
    assert len(desk.queries) == 2
    report = verifier.verify(desk.world.write_bundle(files=desk.stamps.bundled()).path, desk.world.trust)
    assert [(each.size, each.authority) for each in report.stamps] == [(1, NAME), (2, NAME)]


@pytest.mark.parametrize("name", ["an older checkpoint's time-stamp", *list(REFUSED)[3::6]])
def test_a_liar(desk: Desk, name: str) -> None:
    """A lie is told to the operator and kept nowhere; the next interval asks again."""
    desk.grow(0)
    stamping = desk.stamping()
    honest, desk.answer = desk.answer, lambda query: (200, REPLY, REFUSED[name][0](desk.party, query))
    (failure,) = stamping.step()
    assert failure.startswith(f"{NAME}: ")
    assert stamping.step() == []
    assert (desk.kept(), len(desk.queries)) == ([], 1)
    desk.answer = honest
    desk.now += EVERY
    assert stamping.step() == []
    assert desk.kept() == [f"1.{NAME}.tsr"]


def test_a_recorded_answer(desk: Desk) -> None:
    """Who repeats yesterday's answer for the same checkpoint is found out by the nonce."""
    desk.grow(0)
    recorded = desk.party.good.reply(
        timestamp.request(desk.world.state(), TrustRoot.of(desk.world.trust).authorities[NAME], nonce=77)
    )
    desk.answer = lambda _: (200, REPLY, recorded)
    (failure,) = desk.stamping().step()
    assert "another nonce" in failure
    assert desk.kept() == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((503, REPLY, b""), id="out of order"),
        pytest.param((200, "text/html", b"<p>"), id="a web page"),
        pytest.param((200, REPLY, bytes(200_000)), id="a flood"),
    ],
)
def test_an_authority_that_is_not_one_today(desk: Desk, answer: Answer) -> None:
    """Whatever comes back, nothing is kept and nothing is raised."""
    desk.grow(0)
    desk.answer = lambda _: answer
    assert len(desk.stamping().step()) == 1
    assert desk.kept() == []


def test_one_of_two(desk: Desk, tmp_path: Path) -> None:
    """An authority that is gone keeps no other from being asked."""
    second = Authority(tmp_path / "second")
    desk.world.trust["timestamp"]["a-gone-one"] = second.believed()
    desk.grow(0)
    stamping = desk.stamping(**{"a-gone-one": "http://127.0.0.1:1/", NAME: desk.url})
    (failure,) = stamping.step()
    assert failure.startswith("a-gone-one: ")
    assert desk.kept() == [f"1.{NAME}.tsr"]


def test_an_authority_that_nobody_believes(desk: Desk) -> None:
    """A service that would ask whom no verifier counts does not start."""
    with pytest.raises(RefusedError) as caught:
        desk.stamping(**{"clock-2": desk.url})
    assert caught.value.code is Refusal.TRUST_ROOT


@pytest.mark.parametrize(
    "url", ["ftp://clock.example/", "clock.example", "http://x/a b", "http://x:0/", "http://x:x/"]
)
def test_an_address_that_leads_nowhere(desk: Desk, url: str) -> None:
    """Nor one whose address cannot be one."""
    with pytest.raises(ValueError, match=r".+"):
        desk.stamping(**{NAME: url})


def test_without_the_extra() -> None:
    """Nor one that could not judge what it asks for; without authorities the extra is not missed."""
    script = """
import sys
sys.modules["rfc3161_client"] = None
from datetime import timedelta
from types import SimpleNamespace
from ledger.timestamp import MissingExtraError
from workbench.service.stamping import Stamping
more = dict(newest=None, stamps=None, every=timedelta(1), clock=None, nonce=None)
trust_root = SimpleNamespace(authorities={"clock-1": None})
Stamping(trust_root=trust_root, addresses={}, **more)
try:
    Stamping(trust_root=trust_root, addresses={"clock-1": "http://127.0.0.1/"}, **more)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert "extra `timestamp`" in done.stdout, done.stderr


def test_a_living_world(party: Party) -> None:
    """A running service has its checkpoint stamped, and the bundle that is taken away says by whom."""
    answers: list[Answer] = []

    def answer(query: bytes) -> Answer:
        answers.append((500, REPLY, b"") if not answers else (200, REPLY, party.good.reply(query)))
        return answers[-1]

    with ExitStack() as ends:
        url = ends.enter_context(served(answer))
        world = ends.enter_context(living(clocks={NAME: Clock(party.good.believed(), url)}))
        places = world.world.places
        folder = places.root(SERVICE) / "timestamps"
        assert world.push(world.allowance(100)).state == "confirmed"
        deadline = time.monotonic() + WAIT_S
        while not folder.is_dir() or not list(folder.glob("[0-9]*.tsr")):
            assert time.monotonic() < deadline, world.stack.log(SERVICE).read_text()
            time.sleep(0.05)
        bundle = world.officer("auditor-1").speaks.bundle()
        report = verifier.verify(bundle, places.trust_root)
        assert [each.authority for each in report.stamps] == [NAME]
        assert f"no time-stamp: {NAME}: HTTP 500" in world.stack.log(SERVICE).read_text()
        _refuses_to_start(world, places)


def _refuses_to_start(world: Any, places: Any) -> None:
    # the same service, told to ask somebody whom the trust root does not name
    world.stack.stop_one(SERVICE)
    path = places.root(SERVICE) / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"timestamp": {"clock-2": config["timestamp"][NAME]}}))
    done = subprocess.run(
        world.stack.command(SERVICE), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "no authority of the trust root: ['clock-2']" in done.stderr
