"""The second path: an exported request, read and signed at a terminal, brought back as a file."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.approver.test_page import last_refusal
from tests.world import Living, living
from workbench import client
from workbench.approver.console import WIDTH
from workbench.client import IntentView
from workbench.rules.words import words

COMMAND = [sys.executable, "-m", "workbench.cli"]
LARGE = 10_500_000
END_S = 60


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world of its own: keys that a browser has held count on from there."""
    with living() as built:
        yield built


@pytest.fixture
def waiting(world: Living) -> Iterator[IntentView]:
    """Return an intent over the tier, which is rejected afterwards."""
    view = world.outstanding(world.allowance(LARGE))
    yield view
    if world.pm.intent(view.digest).state == "outstanding":
        world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def exported(world: Living, whom: str, view: IntentView, path: Path, **changes: Any) -> Path:
    """Export what this person is asked."""
    ticket = world.officer(whom).speaks.ask(view.digest).ticket
    request = client.asked(world.socket, ticket).dump()
    path.write_bytes(canonical({"v": 1, "ticket": ticket, "request": {**request, **changes}}, limit=2**24))
    return path


def approve(world: Living, request: Path, out: Path, *more: str, person: str, typed: str) -> tuple[int, str]:
    """Decide at a terminal: exit code, and what stood on the screen."""
    keys = world.world.places.officers / f"{person}.json"
    command = [*COMMAND, "approve", str(request), "--trust-root", str(world.world.places.trust_root)]
    command += ["--out", str(out), "--unsafe-authenticator", str(keys), *more]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, typed.encode() + b"\n")
        screen = b""
        with suppress(OSError):  # the other end is gone
            while piece := os.read(ours, 65536):
                screen += piece
        code = process.wait(END_S)
    os.close(ours)
    return code, screen.decode()


def hand_in(world: Living, answer: Path) -> subprocess.CompletedProcess[str]:
    """Bring an answer back."""
    command = [*COMMAND, "hand-in", str(answer), "--socket", str(world.socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=END_S)


def two_words(view: IntentView) -> str:
    """Return what has to be typed."""
    return " ".join(words(view.digest).split()[-2:])


def test_a_consent_by_the_second_path(world: Living, waiting: IntentView, tmp_path: Path) -> None:
    """Over the tier two pages do not suffice: one consent comes from a terminal, and then it goes on."""
    assert "approve:console:1" in world.approve(waiting.digest).needs
    request = exported(world, "cro-1", waiting, tmp_path / "request.json")
    code, screen = approve(world, request, tmp_path / "answer.json", person="cro-1", typed=two_words(waiting))
    assert code == 0, screen
    for seen in (words(waiting.digest), "10,500,000 USDC", "NewSwap router", "by the second path"):
        assert seen in screen
    lines = screen.split("You are about to")[0].splitlines()
    assert max(map(len, lines)) <= WIDTH
    done = hand_in(world, tmp_path / "answer.json")
    assert done.returncode == 0, done.stderr
    assert world.settled(world.pm.intent(waiting.digest)).state == "confirmed"


def test_nobody_presses_on_without_looking(world: Living, waiting: IntentView, tmp_path: Path) -> None:
    """Other words, or none, sign nothing and leave no file."""
    request = exported(world, "cro-1", waiting, tmp_path / "request.json")
    out = tmp_path / "answer.json"
    with world.unchanged(refusals=0):
        for typed in ("", "yes", two_words(waiting).upper(), " ".join(reversed(two_words(waiting).split()))):
            code, screen = approve(world, request, out, person="cro-1", typed=typed)
            assert (code, "nothing was signed" in screen) == (1, True)
    assert not out.exists()


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a policy set that is not whole": ({"policy_chain": [{}]}, "malformed"),
    "somebody who is nobody": ({"person": "mallory-1"}, "person_unknown"),
    "no checkpoint": ({"checkpoint": ""}, "checkpoint_invalid"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_request_that_lies(world: Living, waiting: IntentView, tmp_path: Path, name: str) -> None:
    """It is refused by name on the person's own machine, before anything is shown."""
    changes, code_ = LIES[name]
    request = exported(world, "cro-1", waiting, tmp_path / "request.json", **changes)
    code, screen = approve(world, request, tmp_path / "answer.json", person="cro-1", typed="")
    assert (code, code_ in screen, "USDC" in screen) == (1, True, False)
    assert not (tmp_path / "answer.json").exists()


def test_a_person_without_a_key_for_it(world: Living, waiting: IntentView, tmp_path: Path) -> None:
    """Whoever has no credential for the second path cannot use another one there."""
    request = exported(world, "pm-1", waiting, tmp_path / "request.json")
    more = ("--verb", "reject", "--reason", "no")
    out = tmp_path / "answer.json"
    code, screen = approve(world, request, out, *more, person="pm-1", typed=two_words(waiting))
    assert (code, "credential_unknown" in screen) == (1, True)
    assert not out.exists()


def test_without_a_terminal(world: Living, waiting: IntentView, tmp_path: Path) -> None:
    """A program cannot read for a person; without a key nothing is signed either."""
    request = exported(world, "cro-1", waiting, tmp_path / "request.json")
    command = [*COMMAND, "approve", str(request), "--trust-root", str(world.world.places.trust_root)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "a")],
        input=two_words(waiting),
        capture_output=True,
        text=True,
        check=False,
        timeout=END_S,
    )
    assert (done.returncode, "no terminal" in done.stderr) == (2, True)
    assert not (tmp_path / "a").exists()


def test_an_answer_is_brought_once(world: Living, waiting: IntentView, tmp_path: Path) -> None:
    """The same file again, or a bent one, is refused by name and changes nothing."""
    request = exported(world, "committee-1", waiting, tmp_path / "request.json")
    answer = tmp_path / "answer.json"
    more = ("--verb", "abstain", "--reason", "conflict of interest")
    code, screen = approve(world, request, answer, *more, person="committee-1", typed=two_words(waiting))
    assert code == 0, screen
    whole = json.loads(answer.read_text())
    whole["signed"]["decision"]["verb"] = "approve"
    bent = tmp_path / "bent.json"
    bent.write_bytes(canonical(whole))
    with world.unchanged(refusals=1):
        assert hand_in(world, bent).returncode == 1
    assert last_refusal(world)["code"] == "assertion_over_something_else"
    assert hand_in(world, answer).returncode == 0
    with world.unchanged(refusals=1):
        assert hand_in(world, answer).returncode == 1
