"""Somebody gets another key, from the command line: registered, listed by a set, signed, in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_policy_change import in_force
from tests.e2e.test_revoke import only
from tests.e2e.test_session_commands import Terminal, at_his_key
from tests.world import Living, living
from workbench import cli
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.rules.policy import PolicySet

ADMIN, TRADER = "admin-1", "trader-1"


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a living world in which an administrator sits at his key."""
    with living(limits={"change_delay_s_min": 1}) as built, at_his_key(built, ADMIN):
        yield built


@pytest.fixture
def terminal(world: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return the administrator's terminal."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    return Terminal(world, runtime, capsys)


def enrol(terminal: Terminal, *command: str) -> tuple[int, str]:
    """Run `workbench enrol` as the administrator."""
    root = str(terminal.world.world.places.trust_root)
    return terminal.run("enrol", *command, "--trust-root", root, person=ADMIN)


def register(terminal: Terminal, request: Path) -> None:
    """Register a key at a terminal of its person's, and hand the answer in."""
    world, answer = terminal.world, request.with_suffix(".answer")
    keys = request.with_suffix(".keys")
    command = ["register", str(request), "--trust-root", str(world.world.places.trust_root)]
    command += ["--out", str(answer), "--unsafe-authenticator", str(keys)]
    assert cli.main(command) == DONE
    assert cli.main(["hand-in", str(answer), "--socket", str(world.socket)]) == DONE
    terminal.capsys.readouterr()


def test_another_key(terminal: Terminal, tmp_path: Path) -> None:
    """A page and a file lead to registrations; a set lists what was made; two officers sign it."""
    world, request = terminal.world, tmp_path / "request.json"
    with world.unchanged(refusals=0):
        assert enrol(terminal, "--who", TRADER, "--path", "approval") == (COULD_NOT_RUN, "")
    assert "is not logged in" in terminal.err
    assert terminal.run("login", person=ADMIN)[0] == DONE, terminal.err
    code, out = enrol(terminal, "--who", TRADER, "--path", "approval")
    assert (code, f"\n{world.world.trust_root.approval.origin}/register/" in out) == (DONE, True)
    assert enrol(terminal, "--who", TRADER, "--path", "login", "--out", str(request))[0] == COULD_NOT_RUN
    assert enrol(terminal, "--who", TRADER, "--path", "console")[0] == COULD_NOT_RUN
    code, out = enrol(terminal, "--who", TRADER, "--propose")
    assert (code, out) == (COULD_NOT_RUN, "")
    assert "nothing was registered" in terminal.err
    code, out = enrol(terminal, "--who", TRADER, "--path", "console", "--out", str(request))
    assert (code, f"workbench register {request}" in " ".join(out.split())) == (DONE, True)
    raw = request.read_bytes()
    with world.unchanged(refusals=0):
        again = enrol(terminal, "--who", TRADER, "--path", "console", "--out", str(request))
    assert (again[0], request.read_bytes()) == (COULD_NOT_RUN, raw)
    register(terminal, request)
    code, out = enrol(terminal, "--who", TRADER, "--propose", "--name", "Another")
    assert (code, "is in the set" in terminal.err) == (COULD_NOT_RUN, True)
    code, out = enrol(terminal, "--who", TRADER, "--propose")
    assert code == DONE, terminal.err
    assert f"  {TRADER} gains a credential for console: " in out
    assert "2 of committee have to sign, one by the second path." in out
    named = only(r"^  ([0-9a-f]{64})$", out)
    signed = ("policy", "sign", named, "--trust-root", str(world.world.places.trust_root))
    code, out = terminal.run(*signed, person=ADMIN)
    assert (code, f"{world.world.trust_root.approval.origin}/change/" in out) == (DONE, True)
    exported = tmp_path / "set.json"
    code, out = terminal.run(*signed, "--out", str(exported), person=ADMIN)
    assert (code, f"workbench approve {exported}" in " ".join(out.split())) == (DONE, True)
    assert named.encode() not in raw
    assert world.pm.change(named).standing == "pending"


def test_a_newcomer(terminal: Terminal, tmp_path: Path) -> None:
    """Who comes is described; a set that would leave him with one key where two are needed is refused."""
    world, request = terminal.world, tmp_path / "request.json"
    assert terminal.run("login", person=ADMIN)[0] == DONE, terminal.err
    assert enrol(terminal, "--who", "new-1", "--path", "console", "--out", str(request))[0] == DONE
    register(terminal, request)
    with world.unchanged(refusals=0):
        assert enrol(terminal, "--who", "new-1", "--propose")[0] == COULD_NOT_RUN
    assert "is a newcomer" in terminal.err
    described = ("--name", "New", "--team", "t", "--site", "s")
    with world.unchanged(refusals=1):
        told = enrol(terminal, "--who", "new-1", "--propose", *described, "--role", "committee")
    assert (told, "too_few_credentials" in terminal.err) == ((REFUSED, ""), True)
    code, out = enrol(terminal, "--who", "new-1", "--propose", *described, "--role", "trader")
    assert code == DONE, terminal.err
    assert "  new-1 joins\n  new-1 gains the role trader\n" in out
    named = only(r"^  ([0-9a-f]{64})$", out)
    policy = PolicySet.load(world.pm.change(named).following)
    for person in ("risk-1", "cro-1"):
        world.signs(policy, person)
    assert in_force(world).digest != named
    assert terminal.run("logout", person=ADMIN)[0] == DONE
    # signed by everybody, it still lies open
    assert world.pm.change(named).standing == "pending"
