"""Bring a built world to life: start its processes, wait until each answers, end them by pid.

Order: observers, co-signers, watcher, witnesses, anchor, service, approver; each is ready when it answers
`status`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ledger import witness_client
from ledger.witness_client import UnreachableError
from workbench import client
from workbench.demo.world import ANCHOR, APPROVER, SERVICE, WATCHER, WITNESSES, World
from workbench.process.frames import FrameError, call

MODULES = {
    ANCHOR: "workbench.anchor",
    WATCHER: "workbench.watcher",
    SERVICE: "workbench.service",
    APPROVER: "workbench.approver",
}
OBSERVING = "workbench.observer"
COSIGNING = "workbench.cosigner"
READY_S = 60.0
END_S = 10.0
POLL_S = 0.02


class StackError(Exception):
    """A process did not come up; the message holds what it said."""


@dataclass(slots=True)
class Stack:
    """The running processes of one world."""

    world: World
    crash_points: dict[str, str] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def peers(self) -> tuple[str, ...]:
        """The processes that the service asks, as they are started."""
        trust_root = self.world.trust_root
        return (*trust_root.observers, *trust_root.cosigners, WATCHER, *WITNESSES, ANCHOR)

    @property
    def order(self) -> tuple[str, ...]:
        """All processes, as they are started."""
        return (*self.peers, SERVICE, APPROVER)

    def __enter__(self) -> Self:
        # All at once but the service, which asks the others what they remember.
        for name in (*self.peers, APPROVER):
            self._launch(name)
        for name in self.peers:
            self.await_ready(name, self._running[name])
        self.start(SERVICE)
        self.await_ready(APPROVER, self._running[APPROVER])
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, *, crash_at: str | None = None) -> None:
        """Start one process and wait until it answers."""
        if crash_at:
            self.crash_points[name] = crash_at
        self._launch(name, crash_at=crash_at)
        self.await_ready(name, self._running[name])

    def _launch(self, name: str, *, crash_at: str | None = None) -> None:
        command = self.command(name) + (["--testing-only-crash-at", crash_at] if crash_at else [])
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

    def command(self, name: str) -> list[str]:
        """Return the command that starts a process."""
        places = self.world.places
        if name in WITNESSES:
            root = places.root(name)
            command = [sys.executable, "-m", "ledger", "witness", "--state", str(root), "--name", name]
            command += ["--keys", str(places.trust_root), "--key", f"file:{root / 'key.pem'}"]
            return [*command, "--socket", str(places.socket(name))]
        command = [sys.executable, "-m", self._module(name), "--state", str(places.root(name))]
        command += ["--trust-root", str(places.trust_root)]
        command += [] if name == APPROVER else ["--socket", str(places.socket(name))]
        jail = self.world.jails.get(name)
        return command if jail is None else jail.around(command)

    def _module(self, name: str) -> str:
        if name in self.world.trust_root.cosigners:
            return COSIGNING
        return OBSERVING if name in self.world.trust_root.observers else MODULES[name]

    def stop_one(self, name: str) -> None:
        """End one process in an orderly way."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        process = self._running.pop(name)
        process.kill()
        process.wait(END_S)

    def wait_for_end(self, name: str) -> int:
        """Wait until a process that is to crash has done so; return its exit code."""
        return self._running.pop(name).wait(READY_S)

    def pid(self, name: str) -> int:
        """Return the process id of a running process."""
        return self._running[name].pid

    def alive(self, name: str) -> bool:
        """Whether a process runs."""
        return name in self._running and self._running[name].poll() is None

    def stop(self) -> None:
        """End everything, in reverse order."""
        for name in reversed(self.order):
            if name in self._running:
                self.stop_one(name)

    def log(self, name: str) -> Path:
        """Return where a process writes what it has to say."""
        return self.world.places.state / f"{name}.log"

    def await_ready(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until a started process answers on its socket."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise StackError(f"{name} ended: {self.log(name).read_text()[-2000:]}")
            try:
                self._probe(name)
            except (FrameError, client.ServiceUnavailableError, UnreachableError, HTTPException, OSError):
                time.sleep(POLL_S)
            else:
                return
        raise StackError(f"{name} is not ready after {READY_S:.0f} s")

    def _probe(self, name: str) -> None:
        if name == APPROVER:
            _ask_page(self.world.trust_root.approval.origin)
        else:
            _PROBES.get(name, _ask_frames)(self.world.places.socket(name))


def _ask_page(origin: str) -> None:
    netloc = urlsplit(origin).netloc
    page = HTTPConnection("127.0.0.1", urlsplit(origin).port, timeout=READY_S)
    with closing(page):
        page.request("GET", "/status", headers={"Host": netloc})
        if page.getresponse().status != HTTPStatus.OK:
            raise HTTPException("the approver does not answer")


def _ask_frames(socket: Path) -> None:
    call(socket, {"v": 1, "operation": "status"}, timeout_s=READY_S)


def _ask_service(socket: Path) -> None:
    client.status(socket)


def _ask_witness(socket: Path) -> None:
    witness_client.status(f"unix:{socket}", timeout_s=READY_S)


_PROBES: dict[str, Callable[[Path], None]] = {
    SERVICE: _ask_service,
    **dict.fromkeys(WITNESSES, _ask_witness),
}
