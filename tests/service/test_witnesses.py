"""What the service learns from its witnesses at start: too much is an alarm, too little is no start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger import witness_server
from ledger.trust import TrustRoot
from ledger.witness import Witness, found
from tests.ledger.world import ORIGIN, World, key, public, trust_root
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.witnesses import Witnesses

NAMES = ("ann", "bob", "cyd")
TRUST = trust_root(witnesses={name: public(name).hex() for name in NAMES}, witness_quorum=2)


class PowerError(Exception):
    """The power went."""


def fail() -> None:
    """Fail where a hook stands."""
    raise PowerError


Serve = Callable[..., Witness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves a witness on its own socket until the test ends."""
    with ExitStack() as ends:

        def served(name: str, *, before_sign: Callable[[], None] | None = None) -> Witness:
            folder = tmp_path / name
            found(folder, origin=ORIGIN, name=name)
            made = Witness(
                folder,
                name=name,
                public_key=public(name),
                sign=key(name).sign,
                trust_root=TrustRoot.of(TRUST),
                now=lambda: datetime.now(UTC),
                testing_only_before_sign=before_sign,
            )
            server = ends.enter_context(witness_server.serve(made, path=folder / "w.sock"))
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            ends.callback(made.close)
            ends.callback(server.shutdown)
            return made

        yield served


def asked(folder: Path, **addresses: str) -> Witnesses:
    """Return the service's view of these witnesses: a name for each socket of a folder."""
    sockets = {name: f"unix:{folder / place / 'w.sock'}" for name, place in addresses.items()}
    return Witnesses(TrustRoot.of(TRUST), sockets, lambda: datetime.now(UTC))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a ledger of five entries under this trust root."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    made = World(folder, trust=TRUST)
    made.append(0, 1, 2, 3, 4)
    yield made
    made.ledger.close()


def test_a_quorum_cosigns(tmp_path: Path, serve: Serve, world: World) -> None:
    """The lines of those that answer make the note count, and they remember it."""
    serve("ann")
    serve("bob")
    view = asked(tmp_path, ann="ann", bob="bob", cyd="nobody")
    note = view.cosigned(world.note(), world.ledger)
    assert TrustRoot.of(TRUST).verify(note) == world.state()
    assert view.remembered() == [world.state()] * 2


def test_below_the_quorum(tmp_path: Path, serve: Serve, world: World) -> None:
    """With one line of two the checkpoint does not count, and with one answer of two nothing starts."""
    serve("ann")
    view = asked(tmp_path, ann="ann", bob="nobody")
    with pytest.raises(RefusedError, match="1 of 2 witnesses"):
        view.cosigned(world.note(), world.ledger)
    with pytest.raises(RefusedError, match="1 of 2 witnesses answer, 2 must"):
        view.remembered()


def test_a_memory_without_its_line(tmp_path: Path, serve: Serve, world: World) -> None:
    """A witness that was cut off before it signed still tells the newest state that it was shown."""
    serve("ann")
    cut_off = serve("bob", before_sign=fail)
    with suppress(PowerError):
        cut_off.add(world.note(), old_size=0, proof=[])
    assert cut_off.cosigned() == ""
    assert asked(tmp_path, ann="ann", bob="bob").remembered() == [world.state()]


@pytest.mark.parametrize(
    ("addresses", "code"),
    [
        pytest.param({"ann": "ann", "bob": "ann"}, Refusal.UNAVAILABLE, id="one witness under two names"),
        pytest.param({"ann": "ann", "eve": "bob"}, Refusal.TRUST_ROOT, id="a name that counts for nothing"),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path, serve: Serve, addresses: dict[str, str], code: Refusal
) -> None:
    """Each witness of the trust root answers once, for itself."""
    serve("ann")
    serve("bob")
    with pytest.raises(RefusedError) as caught:
        asked(tmp_path, **addresses).remembered()
    assert caught.value.code is code
