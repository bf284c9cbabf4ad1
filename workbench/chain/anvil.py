"""One anvil process: the dev chain of the demo world, or the private fork of a simulation.

(1) The binary's path is configuration; there is no search and no other EVM to fall back on.
(2) It listens on 127.0.0.1, on a port that the system picks: two of them never meet, and nobody else can
    reach it.
(3) The hard fork is pinned. The default follows anvil's version, and a simulation under other rules than the
    chain's is a wrong answer; some names make it panic.
(4) It ends by its process id.
(5) A private one is in a network namespace of its own (`unshare` of util-linux): nobody on this machine can
    connect to it, and it cannot reach anybody. It speaks over a unix socket in a folder of ours.
(6) A private one also carries its own time limit (`timeout` of coreutils), and a pipe that only we hold: when
    we end, however we end, the pipe closes, and the shell before it ends it.

Called by the simulator and the demo world.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from workbench.chain.errors import NodeError

HARDFORK: Final = "osaka"
PACKAGE: Final = "@foundry-rs/anvil-linux-amd64"
# It takes 0.1 s; a loaded machine gets a hundred times that.
START_S: Final = 10.0
STOP_S: Final = 5.0
POLL_S: Final = 0.002

# Ends the fork when the pipe does, and itself when the fork does. `timeout` hands the signal on, and must not
# leave our process group.
_WHILE_WE_LIVE: Final = 'exec 3<&0; "$@" 3<&- & fork=$!; (read -r _ <&3; kill $fork) & wait $fork; kill $!'

_LISTENING: Final = re.compile(rb"Listening on ((?:127\.0\.0\.1|0\.0\.0\.0):[0-9]+)")


def require(binary: Path) -> None:
    """Refuse when there is no anvil to run, and say how to get it."""
    if not os.access(binary, os.X_OK):
        raise NodeError(f"no anvil at {binary}: run `make`, or `npm ci` in binder/ (package {PACKAGE})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """Where a private anvil has its socket, and how long it may live."""

    socket: Path
    lifetime_s: int


class Anvil:
    """A running anvil; ends with its `with` block or with `stop()`."""

    def __init__(
        self, binary: Path, arguments: Sequence[str] = (), *, private: Private | None = None
    ) -> None:
        """Start the process and return when it listens."""
        require(binary)  # (1)
        command = [*_reached_by(binary, private), "--port", "0", "--hardfork", HARDFORK]  # (2), (3)
        self._process = subprocess.Popen(
            [*command, "--no-cors", *arguments],
            stdin=subprocess.DEVNULL if private is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            listens_at = self._listening()
            self.url = f"http://{listens_at}" if private is None else self._opened(private.socket)
        except BaseException:
            self.stop()
            raise
        self._drain = threading.Thread(target=_discard, args=(self._stdout,), daemon=True)
        self._drain.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def stop(self) -> None:
        """End the process and wait for its end."""
        if self._process.stdin is None:
            self._process.terminate()
        else:
            self._process.stdin.close()  # the shell before the fork ends it
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            # The session is ours alone (start_new_session): it holds this process and what it started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)
        drain = getattr(self, "_drain", None)
        if drain is not None:
            drain.join(STOP_S)
        self._stdout.close()

    @property
    def _stdout(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise NodeError("anvil was started without a pipe")
        return self._process.stdout

    def _opened(self, socket: Path) -> str:
        deadline = time.monotonic() + START_S
        while not socket.exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise NodeError("anvil opened no socket")
            time.sleep(POLL_S)
        return str(socket)

    def _listening(self) -> str:
        deadline = time.monotonic() + START_S
        seen = b""
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._stdout], [], [], 0.1)
            if not ready:
                continue
            part = os.read(self._stdout.fileno(), 65536)
            seen += part
            match = _LISTENING.search(seen)
            # the port must be complete: a line is only known to have ended when something follows it
            if match and seen[match.end() : match.end() + 1] == b"\n":
                return match[1].decode()
            if not part:
                break
        raise NodeError(f"anvil did not start: {seen[-300:].decode(errors='replace').strip()}")


def _reached_by(binary: Path, private: Private | None) -> list[str]:
    if private is None:
        return [str(binary), "--host", "127.0.0.1"]
    # (5) without any network there is no 127.0.0.1 either; (6)
    alone = ["unshare", "--map-root-user", "--net", "sh", "-c", _WHILE_WE_LIVE, "fork"]
    limit = ["timeout", "--foreground", "--kill-after=1", str(private.lifetime_s)]
    return [*alone, *limit, str(binary), "--host", "0.0.0.0", "--ipc", str(private.socket)]  # noqa: S104


def _discard(stream: IO[bytes]) -> None:
    # A pipe that nobody reads fills up, and anvil would stop at its next log line.
    while os.read(stream.fileno(), 65536):
        pass
