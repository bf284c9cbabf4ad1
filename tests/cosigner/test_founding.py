"""The first shared key: made by processes that a document brought by hand names, and by no others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ledger.encoding import canonical, parse
from workbench.cosigner.founding import DOCUMENT
from workbench.demo.founding import asker, await_ready, bring, carry, ceremony, found, founders
from workbench.demo.provision import provision
from workbench.process.frames import call
from workbench.rules.codes import Refusal, RefusedError
from workbench.service.courier import StepError

KEY = "treasury"
NAMES = ("cosigner-1", "cosigner-2", "cosigner-3")


class Rooms:
    """Where three co-signers live; sockets have short paths."""

    def __init__(self, state: Path, runtime: Path) -> None:
        self.state, self.runtime = state, runtime
        self.keys = {name: provision(self.root(name), name, sealing="seal/1") for name in NAMES}

    def root(self, name: str) -> Path:
        """Return a state root."""
        return self.state / "cosigners" / name

    def socket(self, name: str) -> Path:
        """Return a socket."""
        return self.runtime / f"{name}.sock"

    def index(self, name: str) -> dict[str, Any]:
        """Return what a co-signer has of the key."""
        return dict(parse((self.root(name) / "shares" / KEY / "index.json").read_bytes(), limit=1 << 20))

    def make(self) -> str:
        """Hold the ceremony."""
        return ceremony(self.root, self.socket, KEY, self.keys, 2)

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """Ask one of them."""
        return call(self.socket(name), {"v": 1, **request}, timeout_s=60)


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    """Return three co-signers that nobody has founded yet."""
    with TemporaryDirectory(prefix="wb-") as runtime:
        yield Rooms(tmp_path, Path(runtime))


@pytest.fixture
def brought(rooms: Rooms) -> Rooms:
    """Return three co-signers with their documents."""
    bring(rooms.root, KEY, rooms.keys, 2)
    return rooms


def test_a_key_is_made(rooms: Rooms) -> None:
    """All three hold a share of one key, in use at all of them, and nothing else is kept."""
    public_key = rooms.make()
    current = [rooms.index(name)["current"] for name in NAMES]
    assert {each["public_key"] for each in current} == {public_key}
    assert len({json.dumps(each["points"]) for each in current}) == 1
    assert all(rooms.index(name)["waiting"] == rooms.index(name)["before"] == [] for name in NAMES)


def start(rooms: Rooms) -> subprocess.CompletedProcess[str]:
    """Start the first co-signer at its founding; it is expected not to."""
    command = [sys.executable, "-m", "workbench.cosigner.founding", "--state", str(rooms.root(NAMES[0]))]
    command += ["--socket", str(rooms.socket(NAMES[0]))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda root: (root / "head.json").write_text("{}"), "memory has begun", id="founded before"
        ),
        pytest.param(lambda root: (root / DOCUMENT).unlink(), DOCUMENT, id="no document"),
        pytest.param(
            lambda root: edit(
                root / DOCUMENT, lambda value: value["parties"][0].update(identity_key="11" * 32)
            ),
            "another identity key",
            id="somebody else's identity",
        ),
        pytest.param(
            lambda root: edit(root / DOCUMENT, lambda value: value.update(threshold=4)),
            "threshold",
            id="more than all",
        ),
        pytest.param(
            lambda root: edit(
                root / DOCUMENT,
                lambda value: value["parties"].append({"name": "cosigner-4", "identity_key": "44" * 32}),
            ),
            "more than half",
            id="two sets that do not know of each other",
        ),
        pytest.param(
            lambda root: edit(root / DOCUMENT, lambda value: value.update(parties=value["parties"][:1])),
            "at least 2",
            id="alone",
        ),
        pytest.param(
            lambda root: edit(
                root / DOCUMENT,
                lambda value: value["parties"][1].update(identity_key=value["parties"][2]["identity_key"]),
            ),
            "share an identity",
            id="one key under two names",
        ),
    ],
)
def test_foundings_that_do_not_begin(brought: Rooms, change: Callable[[Path], object], words: str) -> None:
    """A co-signer that was begun, or whose document is not for it, makes no key."""
    change(brought.root(NAMES[0]))
    done = start(brought)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def another_identity(value: dict[str, Any]) -> None:
    """Name another key for the first party."""
    value["parties"][0]["identity_key"] = "11" * 32


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter a document."""
    value = dict(parse(path.read_bytes(), limit=1 << 20))
    change(value)
    path.write_bytes(canonical(value))


def nothing_made(rooms: Rooms) -> None:
    """Assert that no co-signer has any share."""
    assert not [path for name in NAMES for path in (rooms.root(name) / "shares").rglob("*.share")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda value: value.update(threshold=3), "opens another run: subject, threshold", id="threshold"
        ),
        pytest.param(
            lambda value: value.update(key="hot"), "opens another run: key, subject", id="another key"
        ),
        pytest.param(
            lambda value: value["parties"].reverse(), "other parties", id="parties in another order"
        ),
    ],
)
def test_parties_that_were_given_different_documents(
    brought: Rooms, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """No key comes of it, and it is said what differs."""
    edit(brought.root(NAMES[1]) / DOCUMENT, change)
    with founders(brought.root, brought.socket, NAMES), pytest.raises((StepError, RefusedError), match=words):
        carry(brought.socket, NAMES)
    nothing_made(brought)


def test_an_outsider_in_the_courier(brought: Rooms) -> None:
    """Operations that do not exist, with other fields or over another run do nothing."""
    with founders(brought.root, brought.socket, NAMES):
        for request, code in (
            ({"operation": "sign"}, "malformed"),
            ({"operation": "open", "epoch": 1, "more": 1}, "malformed"),
            ({"operation": "open", "epoch": 0}, "malformed"),
            ({"operation": "begin", "openings": []}, "run_not_as_agreed"),
            ({"operation": "take", "run": "11" * 32, "envelopes": []}, "run_not_as_agreed"),
            ({"operation": "words", "run": "11" * 32, "words": []}, "share_unusable"),
            ({"operation": "begin", "openings": [{"opening": {}}]}, "malformed"),
        ):
            assert brought.ask(NAMES[0], **request)["refused"]["code"] == code
    nothing_made(brought)


STEPS = ("open", "begin", *(f"take {number}" for number in range(1, 6)))


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
def test_a_party_that_dies(brought: Rooms, step: int) -> None:
    """Killed at any step, whatever it had begun is settled, and the next run makes the key at all three."""
    asked, runs, victim = [0], set(), NAMES[1]
    with founders(brought.root, brought.socket, NAMES) as processes:
        genuine = asker(brought.socket)

        def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
            if "run" in request:
                runs.add(request["run"])
            if name == victim:
                if asked[0] == step:
                    processes[victim].kill()
                    processes[victim].wait()
                asked[0] += 1
            return genuine(name, request)

        with pytest.raises((StepError, RefusedError)):
            carry(brought.socket, NAMES, ask)
        processes[victim] = found(brought.root(victim), brought.socket(victim))
        await_ready(brought.socket, victim, processes[victim])
        for run in runs:
            settle(brought, run)
        made = [brought.ask(name, operation="status")["made_to"] for name in NAMES]
        public_key = carry(brought.socket, NAMES, epoch=max(made) + 1)
    assert {brought.index(name)["current"]["public_key"] for name in NAMES} == {public_key}


def settle(rooms: Rooms, run: str) -> None:
    """Have a run that failed given up: who was not ready promises to stay so, and the others are told."""
    words = {name: rooms.ask(name, operation="never", run=run, epoch=1)["word"] for name in NAMES}
    never = [word for word in words.values() if word["word"]["stage"] == "never"]
    for name, word in words.items():
        if word["word"]["stage"] == "ready":
            assert "refused" not in rooms.ask(name, operation="settle", run=run, word=never[0])


def test_the_last_word_comes_late(brought: Rooms) -> None:
    """All are ready, and the courier dies: the words are brought later, and the key is that of all."""
    withheld: dict[str, dict[str, Any]] = {}
    with founders(brought.root, brought.socket, NAMES):
        genuine = asker(brought.socket)

        def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
            if request["operation"] == "words":
                withheld.setdefault(name, request)
                raise RefusedError(Refusal.UNAVAILABLE, "the courier is gone")
            return genuine(name, request)

        with pytest.raises(RefusedError, match="the courier is gone"):
            carry(brought.socket, NAMES, ask)
        assert all(brought.index(name)["current"] is None for name in NAMES)
        # nobody begins another run meanwhile: it could leave the parties with shares of two keys
        assert brought.ask(NAMES[0], operation="open", epoch=2)["refused"]["code"] == "share_unusable"
    with founders(brought.root, brought.socket, NAMES):
        (request,) = withheld.values()
        held = [genuine(name, request)["word"] for name in NAMES]
        assert {word["word"]["stage"] for word in held} == {"held"}
        some = genuine(NAMES[0], request | {"words": held[:2]})
        assert some["word"]["word"]["stage"] == "held"
    assert len({brought.index(name)["current"]["public_key"] for name in NAMES}) == 1
