"""One anvil process: the dev chain of the demo world, or the private fork of a simulation.

(1) The binary's path is configuration; there is no search and no other EVM to fall back on.
(2) It listens on 127.0.0.1, on a port that the system picks: two of them never meet, and nobody else can
    reach it.
(3) The hard fork is pinned. The default follows anvil's version, and a simulation under other rules than the
    chain's is a wrong answer; some names make it panic.
(4) It ends by its process id. A fork also carries its own time limit (`timeout` of coreutils), so that it
    dies even if we are killed before we can end it.

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
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from workbench.chain.errors import NodeError

HARDFORK: Final = "osaka"
PACKAGE: Final = "@foundry-rs/anvil-linux-amd64"
# It takes 0.1 s; a loaded machine gets a hundred times that.
START_S: Final = 10.0
STOP_S: Final = 5.0

_LISTENING: Final = re.compile(rb"Listening on (127\.0\.0\.1:[0-9]+)")


def require(binary: Path) -> None:
    """Refuse when there is no anvil to run, and say how to get it."""
    if not os.access(binary, os.X_OK):
        raise NodeError(f"no anvil at {binary}: run `make`, or `npm ci` in binder/ (package {PACKAGE})")


class Anvil:
    """A running anvil; ends with its `with` block or with `stop()`."""

    def __init__(self, binary: Path, arguments: Sequence[str] = (), *, lifetime_s: int | None = None) -> None:
        """Start the process and return when it listens."""
        require(binary)  # (1)
        limit = [] if lifetime_s is None else ["timeout", "--kill-after=1", str(lifetime_s)]  # (4)
        command = [
            *limit,
            str(binary),
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--hardfork",
            HARDFORK,
        ]  # (2), (3)
        self._process = subprocess.Popen(
            [*command, "--no-cors", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.url = self._listening()
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
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            # The session is ours alone (start_new_session): it holds this process and, behind `timeout`,
            # anvil.
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
                return f"http://{match[1].decode()}"
            if not part:
                break
        raise NodeError(f"anvil did not start: {seen[-300:].decode(errors='replace').strip()}")


def _discard(stream: IO[bytes]) -> None:
    # A pipe that nobody reads fills up, and anvil would stop at its next log line.
    while os.read(stream.fileno(), 65536):
        pass
