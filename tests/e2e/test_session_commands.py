"""Sessions at the command line, at a real service, with a person who presses a key when a login is open."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.world import Living, living, refused
from workbench import cli
from workbench.client import Client
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED, kept
from workbench.commands.kept import Place
from workbench.commands.said import WIDTH
from workbench.demo import people
from workbench.rules.words import words

PERSON = "risk-1"
TERMINAL = frozenset("\n") | {chr(code) for code in range(32, 127)}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a living world."""
    with living() as built:
        yield built


@contextmanager
def at_his_key(world: Living, person: str) -> Iterator[None]:
    """Run a person who signs his own open logins, as a process of its own."""
    places = world.world.places
    command = [sys.executable, "-m", "workbench.demo.officer", "--person", person, "--duty", "login"]
    command += ["--folder", str(places.officers), "--socket", str(world.socket)]
    command += ["--trust-root", str(places.trust_root), "--policies", str(places.policies)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module", autouse=True)
def presses(world: Living) -> Iterator[None]:
    """Let the risk officer sit at his key."""
    with at_his_key(world, PERSON):
        yield


@dataclass
class Terminal:
    """A person at a terminal, whose runtime folder is the test's."""

    world: Living
    runtime: Path
    capsys: pytest.CaptureFixture[str]
    err: str = ""

    def run(self, *command: str, person: str = PERSON, wait: float = 60) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        options = ["--socket", str(self.world.socket), "--person", person]
        options += ["--runtime", str(self.runtime), "--wait", str(wait)]
        code = cli.main([*command, *options])
        out, self.err = self.capsys.readouterr()
        assert set(out + self.err) <= TERMINAL
        wide = [line.strip() for line in (out + self.err).splitlines() if len(line) > WIDTH]
        assert [line for line in wide if " " in line] == []
        return code, out

    def place(self, person: str = PERSON) -> Place:
        """Return where the session is kept."""
        return kept.place(self.runtime, socket=self.world.socket, person=person)

    def speaks(self) -> Client:
        """Return the session that is kept."""
        found = self.place().read()
        assert found is not None
        return found

    def own(self) -> list[str]:
        """Return the person's open sessions, as an administrator sees them."""
        reviewed = self.world.officer("admin-1").speaks.access()
        return [each.session for found in reviewed if found.person == PERSON for each in found.sessions]


@pytest.fixture
def terminal(world: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """Return a terminal at which nobody is logged in; whatever is begun there ends with the test."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    made = Terminal(world, runtime, capsys)
    yield made
    for session in made.own():
        world.officer("admin-1").speaks.end(session)


def logged_in(terminal: Terminal) -> Client:
    """Log in and return the session."""
    assert terminal.run("login")[0] == DONE, terminal.err
    return terminal.speaks()


def test_login(terminal: Terminal) -> None:
    """The words and the page are printed; the session lies in a file that is its owner's."""
    root = str(terminal.world.world.places.trust_root)
    code, out = terminal.run("login", "--trust-root", root)
    assert code == DONE, terminal.err
    speaks, path = terminal.speaks(), terminal.place().path
    digest = speaks.certified.session.digest
    assert f"\n{terminal.world.world.trust_root.login.origin}/login/{digest}\n" in out
    assert words(digest) in out
    assert f"{PERSON} speaks as risk_officer, committee until " in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert speaks.key.private_bytes_raw().hex() not in out + terminal.err
    assert [each.session for each in speaks.sessions()] == [digest]


def test_login_twice(terminal: Terminal) -> None:
    """A second login does not leave the first session behind without its key."""
    speaks = logged_in(terminal)
    before = terminal.place().path.read_bytes()
    assert terminal.run("login") == (REFUSED, "")
    assert "is logged in" in terminal.err
    assert terminal.place().path.read_bytes() == before
    assert terminal.own() == [speaks.certified.session.digest]


def test_without_a_trust_root(terminal: Terminal) -> None:
    """Where nobody says which page, the login is named by its digest and its words."""
    _, out = terminal.run("login")
    digest = terminal.speaks().certified.session.digest
    assert f"\n  {digest}\n" in out
    assert words(digest) in out


def test_nobody_presses(terminal: Terminal) -> None:
    """A login that nobody signs ends after the wait, and leaves nothing."""
    code, out = terminal.run("login", person="trader-1", wait=0.3)
    assert (code, terminal.place("trader-1").read()) == (COULD_NOT_RUN, None)
    assert "did not sign the login within" in terminal.err
    assert "Sign this login" in out


def test_a_session_that_cannot_be_kept(terminal: Terminal) -> None:
    """It ends at once: nobody has its key."""
    terminal.place().folder.mkdir(mode=0o700)
    terminal.place().folder.chmod(0o777)
    assert terminal.run("login")[0] == REFUSED
    assert "session_file_unsafe" in terminal.err
    assert (terminal.own(), list(terminal.place().folder.iterdir())) == ([], [])


def test_kept_by_somebody_meanwhile(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two logins at once one is kept; the other session ends."""
    signed = Client.signed

    def slow(*given: object, **named: object) -> Client:
        found: Client = signed(*given, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        logged_in(terminal)
        return found

    monkeypatch.setattr(Client, "signed", slow)
    assert terminal.run("login")[0] == COULD_NOT_RUN
    assert terminal.own() == [terminal.speaks().certified.session.digest]


def test_other_commands_use_it(terminal: Terminal) -> None:
    """What is kept is used, and is there afterwards; without it a command opens a session and ends it."""
    assert terminal.run("policy", "pending") == (DONE, "nothing is proposed\n")
    assert "waiting for risk-1 to sign a login" in terminal.err
    assert terminal.own() == []
    speaks = logged_in(terminal)
    assert terminal.run("policy", "pending") == (DONE, "nothing is proposed\n")
    assert terminal.err == ""
    assert terminal.run("policy", "show", "ab" * 32)[0] == REFUSED
    assert terminal.own() == [speaks.certified.session.digest]


def test_a_file_that_others_can_read(terminal: Terminal) -> None:
    """Every command refuses it, asks nobody for another press, and leaves it as it is."""
    speaks = logged_in(terminal)
    path = terminal.place().path
    path.chmod(0o640)
    before = path.read_bytes()
    for command in (["policy", "pending"], ["login"], ["logout"], ["renew"], ["sessions"]):
        with terminal.world.unchanged(refusals=0):
            assert terminal.run(*command) == (REFUSED, "")
        assert "session_file_unsafe" in terminal.err
    assert path.read_bytes() == before
    assert terminal.own() == [speaks.certified.session.digest]


def test_sessions(terminal: Terminal) -> None:
    """They are listed with their times; one is this one, and another can be ended by its short name."""
    first = logged_in(terminal)
    elsewhere = Client.login(terminal.world.socket, PERSON).certified.session.digest
    code, out = terminal.run("sessions")
    assert code == DONE
    heading, *lines = out.splitlines()
    assert heading.split() == ["session", "issued", "expires", "last", "used"]
    by_name = {line.split()[0]: line for line in lines}
    own = first.certified.session
    assert set(by_name) == {own.digest[:12], elsewhere[:12]}
    assert by_name[own.digest[:12]].endswith("  this one")
    assert own.issued_at[:16].replace("T", " ") in by_name[own.digest[:12]]
    assert "this one" not in by_name[elsewhere[:12]]
    assert terminal.run("sessions", "end", elsewhere[:12]) == (DONE, f"ended {elsewhere}\n")
    assert terminal.own() == [own.digest]
    assert terminal.run("sessions", "end", own.digest[:12]) == (DONE, f"ended {own.digest}\n")
    assert (terminal.place().read(), terminal.own()) == (None, [])


def test_ending_what_is_not_there(terminal: Terminal) -> None:
    """Neither a name of somebody else's session nor one of none ends anything."""
    speaks = logged_in(terminal)
    others = terminal.world.pm.certified.session.digest
    for named in (others, "ab" * 32, "abcdefab", "ab", "../waiting/pm-1", "\x1b[2J", ""):
        with terminal.world.unchanged(refusals=1 if len(named) in {8, 64} else 0):
            assert terminal.run("sessions", "end", named)[0] == REFUSED
    assert terminal.own() == [speaks.certified.session.digest]


def test_an_administrator_ends_anybodys(terminal: Terminal) -> None:
    """Who may administer ends a session by its whole name."""
    digest = logged_in(terminal).certified.session.digest
    # the administrator's other session, from which the test looks, is there before he sits at his key
    assert terminal.own() == [digest]
    with at_his_key(terminal.world, "admin-1"):
        assert terminal.run("sessions", "end", digest, person="admin-1") == (DONE, f"ended {digest}\n")
    assert terminal.own() == []
    assert [each.session for each in terminal.world.officer("admin-1").speaks.sessions()] != []


def test_renew(terminal: Terminal) -> None:
    """Another key takes the place of the one in the file, at the limit too."""
    first = logged_in(terminal)
    other = Client.login(terminal.world.socket, PERSON).certified.session.digest
    root = str(terminal.world.world.places.trust_root)
    code, out = terminal.run("renew", "--trust-root", root)
    assert code == DONE, terminal.err
    second = terminal.speaks()
    digest = second.certified.session.digest
    assert f"/login/{digest}\n" in out
    assert words(digest) in out
    assert sorted(terminal.own()) == sorted([digest, other])
    refused("session_ended", first.sessions)


def renewed(world: Living, person: str) -> None:
    """Let somebody renew his session at his key."""
    officer = world.officer(person)
    key, session = officer.speaks.open_renewal()
    certified = people.sign_login(
        session,
        person=person,
        folder=world.world.places.officers,
        socket=world.socket,
        policy=world.world.policy,
        party=world.world.trust_root.login,
    )
    officer.speaks = Client(world.socket, key, certified)


def test_what_was_proposed_before(terminal: Terminal) -> None:
    """The intent of a session that was renewed goes on; that of one that has ended wants a living one."""
    world = terminal.world
    digest = world.outstanding(world.allowance(4712)).digest
    renewed(world, "pm-1")
    view = world.settled(world.approve(digest, person="committee-1", role="committee"))
    assert view.state == "confirmed"
    stranded = world.outstanding(world.allowance(4713)).digest
    world.officer("pm-1").speaks.logout()
    del world._officers["pm-1"]
    view = world.approve(stranded, person="committee-1", role="committee")
    assert (view.state, view.needs) == ("outstanding", ["session:renew"])


def test_renew_without_a_session(terminal: Terminal) -> None:
    """Where nothing is kept, or what is kept is over, there is nothing to renew."""
    assert terminal.run("renew") == (COULD_NOT_RUN, "")
    speaks = logged_in(terminal)
    terminal.world.officer("admin-1").speaks.end(speaks.certified.session.digest)
    assert terminal.run("renew") == (COULD_NOT_RUN, "")
    assert "not logged in" in terminal.err
    assert terminal.place().read() is None


def test_logout(terminal: Terminal) -> None:
    """The session ends and its file goes, also where it was over; a second time there is nothing."""
    speaks = logged_in(terminal)
    assert terminal.run("logout") == (DONE, f"{PERSON} is logged out\n")
    assert (terminal.place().read(), terminal.own()) == (None, [])
    refused("session_ended", speaks.sessions)
    assert terminal.run("logout") == (DONE, f"no session of {PERSON} is kept here\n")
    over = logged_in(terminal)
    terminal.world.officer("admin-1").speaks.end(over.certified.session.digest)
    assert terminal.run("logout")[0] == DONE
    assert terminal.place().read() is None


def test_login_after_the_end(terminal: Terminal) -> None:
    """A session that the service has ended does not stand in the way of the next one."""
    first = logged_in(terminal)
    terminal.world.officer("admin-1").speaks.end(first.certified.session.digest)
    second = logged_in(terminal)
    assert terminal.own() == [second.certified.session.digest]


def test_the_service_is_gone(terminal: Terminal) -> None:
    """A session at a service that does not answer is forgotten by logging out, and by nothing else."""
    logged_in(terminal)
    world = terminal.world
    world.stack.kill("service")
    assert terminal.run("sessions") == (COULD_NOT_RUN, "")
    assert terminal.run("login") == (COULD_NOT_RUN, "")
    assert terminal.place().read() is not None
    assert terminal.run("logout") == (COULD_NOT_RUN, "")
    assert terminal.place().read() is None
    world.stack.start("service")
