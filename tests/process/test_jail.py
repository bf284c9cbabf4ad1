"""A process in the jail: what it cannot do, tried by a real one that took the same steps as a co-signer."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workbench.process.jail import Jail, impossible
from workbench.rules.isolation import MEASURES, Isolation

PROBE = Path(__file__).with_name("probe.py")
UID, OTHER = 61300, 61301
WAIT_S = 30


@dataclass(frozen=True, slots=True)
class Room:
    """Two state roots with their sockets' folders, and what the first one's process may have."""

    folder: Path
    port: int

    @property
    def places(self) -> dict[str, Any]:
        """What the probe is told."""
        return {
            "state": str(self.folder / "cosigners" / "one"),
            "sockets": str(self.folder / "run" / "one"),
            "other": str(self.folder / "cosigners" / "two" / "secret"),
            "other_sockets": str(self.folder / "run" / "two"),
            "service": str(self.folder / "service" / "ledger"),
            "trust_root": str(self.folder / "trust-root.json"),
            "port": self.port,
            "peers": [0],
        }

    def command(self, *, shut: bool = True) -> list[str]:
        """Return the command line of a probe, as the launcher makes it."""
        places = self.places
        jail = ["--state", places["state"], "--trust-root", places["trust_root"]]
        jail += ["--socket", places["sockets"] + "/s", "--uid", str(UID), "--readable", str(PROBE)]
        probe = [sys.executable, str(PROBE), "shut" if shut else "open", json.dumps(places)]
        return [sys.executable, "-m", "workbench.process.jail", *jail, "--", *probe]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a probe says, and the process that it is."""

    outcomes: dict[str, str]
    isolation: Isolation
    environment: list[str]
    pid: int


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """Return the folders, each with its owner, and a port that somebody on this machine listens on."""
    with tempfile.TemporaryDirectory(prefix="wbj-") as name, socket.create_server(("127.0.0.1", 0)) as server:
        folder = Path(name)
        for who, uid in (("one", UID), ("two", OTHER)):
            for path, mode in ((folder / "cosigners" / who, 0o700), (folder / "run" / who, 0o2750)):
                path.mkdir(parents=True)
                os.chown(path, uid, uid)
                path.chmod(mode)
        # readable to all: only that it is not there keeps it secret
        (folder / "cosigners" / "two").chmod(0o755)
        (folder / "cosigners" / "two" / "secret").write_bytes(b"share")
        (folder / "trust-root.json").write_bytes(b"{}")
        (folder / "service").mkdir()
        (folder / "service" / "ledger").write_bytes(b"entries")
        yield Room(folder, server.getsockname()[1])


@contextmanager
def probing(command: list[str]) -> Iterator[Tried]:
    """Run a probe, and keep it alive within the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            outcomes, isolation, environment = json.loads(process.stdout.readline())
            yield Tried(outcomes, Isolation.load(isolation), environment, innermost(process.pid))
        finally:
            process.kill()


def innermost(pid: int) -> int:
    """Return the last descendant of a process, as the machine numbers it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return innermost(int(children[0])) if children else pid


@pytest.fixture(scope="module")
def tried(room: Room) -> Iterator[Tried]:
    """Return a living probe that has tried everything, shut in as a co-signer is."""
    with probing(room.command()) as probe:
        yield probe


REFUSED = [
    *[(name, "EPERM", "no socket is made") for name in ("inet", "inet6", "netlink", "unix", "packet")],
    ("socketpair", "EPERM", "nor a pair"),
    ("connect", "EPERM", "nothing of the machine is called"),
    ("exec", "EPERM", "no program is started"),
    ("spawn", "EPERM", "nor in another process"),
    ("fork", "EPERM", "no process is made"),
    ("clone3", "ENOSYS", "the C library is sent to the call whose flags can be seen"),
    ("ptrace", "EPERM", "no process is looked into"),
    ("process_vm_readv", "EPERM", "nor read"),
    ("pidfd", "EPERM", "nor got hold of"),
    ("signal", "EPERM", "nor signalled"),
    ("mount", "EPERM", "nothing is mounted"),
    ("namespace", "EPERM", "no namespace is made"),
    ("keys", "EPERM", "no key ring is asked"),
    ("io_uring", "EPERM", "no calls go past the filter"),
    ("memfd", "EPERM", "no file that has no name"),
    ("bpf", "EPERM", "no program for the kernel"),
    ("become_root", "EPERM", "no other user"),
    ("dumpable", "EPERM", "its memory stays closed"),
    ("core_limit", "EPERM", "no core file again"),
    ("code_and_data", "EPERM", "nothing that is written is run"),
    ("data_to_code", "EPERM", "nor later"),
    ("other_state", "ENOENT", "no other co-signer's state"),
    ("other_sockets", "ENOENT", "nor its socket"),
    ("service", "ENOENT", "nothing of the service's"),
    ("passwd", "ENOENT", "no list of users"),
    ("write_trust_root", "EROFS", "the trust root stays"),
    ("write_code", "EACCES", "the code stays, whose file is root's besides"),
    ("write_usr", "EROFS", "the system stays"),
    ("write_root", "EROFS", "no new file"),
    ("write_tmp", "EROFS", "no temporary folder"),
    ("write_shm", "EROFS", "no shared memory"),
]


@pytest.mark.parametrize(("name", "code"), [pytest.param(*each[:2], id=each[2]) for each in REFUSED])
def test_what_it_cannot(tried: Tried, name: str, code: str) -> None:
    """Each attempt is refused, and by what was meant to."""
    assert tried.outcomes[name] == code


def test_nothing_came_of_it(tried: Tried, room: Room) -> None:
    """What it was refused changed nothing outside, and there is nothing beside what it may write."""
    assert tried.outcomes
    assert (room.folder / "trust-root.json").read_bytes() == b"{}"
    assert (room.folder / "cosigners" / "two" / "secret").read_bytes() == b"share"
    written = {path for path in room.folder.rglob("*") if path.name == "probe"}
    assert written == {room.folder / "cosigners" / "one" / "probe", room.folder / "run" / "one" / "probe"}


@pytest.mark.parametrize("name", ["thread", "data", "trust_root", "write_state", "write_sockets"])
def test_what_it_can(tried: Tried, name: str) -> None:
    """What a co-signer needs is there: threads, memory, its trust root, its own folders."""
    assert tried.outcomes[name] == "done"


def test_it_sees_all_of_it(tried: Tried) -> None:
    """The measures say what was tried: each holds."""
    assert tried.isolation.missing == ()
    assert [each.measure for each in tried.isolation.measures] == list(MEASURES)


def test_its_environment(tried: Tried) -> None:
    """Nothing of who started it, such as somebody's tokens."""
    ours = {"LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    assert ours <= set(tried.environment) <= {*ours, "LC_CTYPE", "PWD"}


def test_as_the_kernel_has_it(tried: Tried) -> None:
    """The same from outside: its user, its capabilities, its filter, its namespaces."""
    lines = Path(f"/proc/{tried.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [str(UID)] * 4
    assert status["Groups"].split() == []
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("net", "pid", "ipc", "uts", "mnt"):
        theirs, ours = (Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in (tried.pid, "self"))
        assert theirs != ours, kind


BY_NAMESPACES = [
    ("inet", "done", "a socket can be made"),
    ("connect", "ECONNREFUSED", "and leads nowhere"),
    ("fork", "done", "a process can be made"),
    ("become_root", "EPERM", "and is never root"),
    ("mount", "EPERM", "and mounts nothing"),
    ("other_state", "ENOENT", "and finds no other state"),
    ("write_usr", "EROFS", "and writes nothing"),
]


def test_without_the_filter(room: Room) -> None:
    """The walls stand one behind the other: what is around it holds where the filter does not."""
    with probing(room.command(shut=False)) as probe:
        assert {name: probe.outcomes[name] for name, *_ in BY_NAMESPACES} == {
            name: code for name, code, _ in BY_NAMESPACES
        }
        assert "system_calls_filtered" in probe.isolation.missing
        assert {"no_network", "files_read_only", "user_of_its_own"}.isdisjoint(probe.isolation.missing)


def test_without_the_jail(room: Room) -> None:
    """And the filter holds where nothing is around it."""
    command = room.command()
    with probing(command[command.index("--") + 1 :]) as probe:
        refused = [name for name, code, _ in REFUSED if code == "EPERM"]
        assert {name: probe.outcomes[name] for name in refused} == dict.fromkeys(refused, "EPERM")
        assert probe.outcomes["other_state"] == "done"
        assert "no_network" in probe.isolation.missing


LOOK = "import os, sys; os.setgroups([]); os.setgid({0}); os.setuid({0}); open('/proc/{1}/mem', 'rb').close()"
LIVING = "setpriv --reuid={0} --regid={0} --clear-groups sh -c 'echo ready; read line'"


def looks(pid: int) -> str:
    """Let another process of its user, without privileges, open a process's memory; return its last word."""
    command = ["python3", "-c", LOOK.format(UID, pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    return done.stderr.strip().rpartition("\n")[2]


def test_its_memory(tried: Tried) -> None:
    """Another process of its user does not read it; one that took no such step is read."""
    assert looks(tried.pid).startswith("PermissionError: [Errno 13]")
    command = shlex.split(LIVING.format(UID))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as open_one:
        assert open_one.stdout is not None
        assert open_one.stdout.readline() == b"ready\n"
        assert looks(open_one.pid) == ""
        open_one.kill()


ABORT = "import os; {0}; os.abort()"
HARDENED = "from workbench.process import confine; confine.harden(); confine.shut()"
CORES = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)"


@pytest.mark.parametrize(("steps", "left"), [(CORES, True), (f"{CORES}; {HARDENED}", False)])
def test_core(tmp_path: Path, steps: str, left: bool) -> None:  # noqa: FBT001 - a table
    """A process that dies leaves its memory on the disk; a co-signer does not, however it was started."""
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", f'cd "{tmp_path}" && exec "{sys.executable}" -c "{ABORT.format(steps)}"'],
        os.environ,
    )
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WCOREDUMP(status) is left
    assert left or list(tmp_path.iterdir()) == []


def test_the_command_line() -> None:
    """Two folders can be written, and no other option says so; what is above them is made for all to pass."""
    jail = Jail(state=Path("/a/b/state"), sockets=Path("/r/one"), readable=(Path("/dev/null"),), uid=UID)
    line = jail.around(["command", "--option"])
    assert line[0] == "bwrap"
    assert line[-2:] == ["command", "--option"]
    assert [line[at + 1] for at, each in enumerate(line) if each == "--bind"] == ["/a/b/state", "/r/one"]
    made = [line[at + 1] for at, each in enumerate(line) if each == "--dir"]
    assert {"/a", "/a/b", "/r"} <= set(made)
    assert made.index("/a") < made.index("/a/b")
    assert {"--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--new-session"} <= set(line)
    assert {"--die-with-parent", "--clearenv"} <= set(line)


def test_who_cannot_change_the_user() -> None:
    """Without a user of its own nothing is kept that could change one."""
    line = Jail(state=Path("/s"), sockets=Path("/r"), readable=()).around(["command"])
    assert "--cap-add" not in line
    assert "setpriv" not in line


def test_this_machine_can() -> None:
    """The bootstrap brings bubblewrap, and where it does not run, the reason is said."""
    assert impossible() is None


def test_a_machine_that_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command says what is missing, and starts nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install bubblewrap" in str(impossible())
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    assert impossible() == "no permissions to create new namespace"
    command = [sys.executable, "-m", "workbench.process.jail", "--state", "/s", "--trust-root", "/t"]
    command += ["--socket", "/r/s", "--", "/bin/touch", str(tmp_path / "started")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert (done.returncode, done.stderr) == (2, "jail: no permissions to create new namespace\n")
    assert not (tmp_path / "started").exists()
