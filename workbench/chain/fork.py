"""Private forks of the chain, kept warm: a process start costs more than a simulation.

(1) A fork belongs to one simulation at a time. Between two it is set back: to the snapshot that was taken at
    its block, or, when the chain has gone on, to the new block, with everything read so far thrown away.
(2) Whoever takes one finds it at the block that was asked for, by the hash of the header that the fork itself
    shows. Whether the state behind it is that block's is proven afterwards, value by value (`prestate`): what
    an earlier simulation might have left behind would be refused like any lie of the node's.
(3) A fork in whose hands something failed is ended, never used again; so is one that is old.
(4) The forks end with us: a fork lives as long as a pipe that we hold, and no longer than its time limit.

(5) A fork is out of everybody's reach, and asks its node by a door that lets only reads through (`ipc`).
(6) A fork that is set back has forgotten what it read, and would ask for it value by value while it runs, as
    it would of a new block. It reads all of it again at once, before the snapshot to which it is set back the
    next time: what is in a snapshot is not forgotten. As with everything it reads, whether it is true is
    proven afterwards.

Called by the simulator.
"""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from workbench.chain.anvil import Anvil, Private
from workbench.chain.errors import SimulationError
from workbench.chain.ipc import Door
from workbench.chain.node import Json, Node
from workbench.evm.header import Header

# Its memory grows with each block that it has seen.
AGE_S_MAX: Final = 600
# Longer than the oldest fork that is still handed out can be at work.
LIFETIME_S: Final = 900
IDLE_MAX: Final = 4
# More than this is no swap of ours; whoever comes next at this block should not wait for it.
REMEMBERED_MAX: Final = 512
DOOR: Final = "chain"
SOCKET: Final = "fork"

_ARGUMENTS: Final = (
    "--no-mining",
    "--no-storage-caching",
    "--no-rate-limit",
    "--auto-impersonate",
    "--order",
    "fifo",
)


@dataclass(slots=True)
class _Warm:
    """A fork process, where it stands, and the snapshot to go back to."""

    folder: Path
    door: Door
    anvil: Anvil
    node: Node
    upstream: Node
    started: float
    stands_at: bytes = b""
    remembers: int = 0
    snapshot: Json = None

    def end(self) -> None:
        self.node.close()
        self.anvil.stop()
        self.door.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(slots=True)
class Forks:
    """Forks made with the anvil at `binary`."""

    binary: Path
    timeout_s: int
    _idle: list[_Warm] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def at(self, node: Node, header: Header) -> Iterator[Node]:
        """Give a fork of `node` that stands at `header`, for the length of a `with` block."""
        warm = self._take(node) or self._start(node, header)
        try:
            _bring(warm, header)
            yield warm.node
        except BaseException:
            warm.end()  # (3)
            raise
        self._give_back(warm)

    def close(self) -> None:
        """End the forks that nobody is using."""
        with self._lock:
            idle, self._idle = self._idle, []
        for warm in idle:
            warm.end()

    def _take(self, upstream: Node) -> _Warm | None:
        now = time.monotonic()
        with self._lock:
            old = [each for each in self._idle if now - each.started > AGE_S_MAX]
            fitting = [each for each in self._idle if each not in old and each.upstream is upstream]
            taken = fitting[-1] if fitting else None
            self._idle = [each for each in self._idle if each not in old and each is not taken]
        for each in old:
            each.end()
        return taken

    def _give_back(self, warm: _Warm) -> None:
        with self._lock:
            self._idle.append(warm)
            surplus = self._idle[:-IDLE_MAX]
            self._idle = self._idle[-IDLE_MAX:]
        for each in surplus:
            each.end()

    def _start(self, node: Node, header: Header) -> _Warm:
        # mode 0700; under the system's folder for such things, because a socket's path must be short
        folder = Path(tempfile.mkdtemp(prefix="fork-"))
        door = Door(folder / DOOR, node)  # (5)
        try:
            arguments = ["--fork-url", str(door.path), "--fork-block-number", str(header.number), *_ARGUMENTS]
            private = Private(socket=folder / SOCKET, lifetime_s=LIFETIME_S)
            anvil = Anvil(self.binary, arguments, private=private)
        except BaseException:
            door.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        fork = Node(anvil.url, timeout_s=self.timeout_s)
        return _Warm(folder, door, anvil, fork, node, time.monotonic())


def _bring(warm: _Warm, header: Header) -> None:  # (1)
    fork = warm.node
    if warm.snapshot is not None:
        if warm.stands_at == header.hash():
            fork.call("evm_revert", warm.snapshot)
        else:
            warm.door.renew(header.number)
            warm.remembers = 0
            there = {"jsonRpcUrl": str(warm.door.path), "blockNumber": header.number}
            fork.call("anvil_reset", {"forking": there})
        _remind(warm, header)
    warm.snapshot = fork.call("evm_snapshot")
    warm.stands_at = header.hash()
    if fork.head().hash() != header.hash():  # (2)
        raise SimulationError("the fork does not stand at the block it was made for")


def _remind(warm: _Warm, header: Header) -> None:  # (6)
    if warm.door.keeps != warm.remembers:
        remember(warm.node, header, warm.door.read())
        warm.remembers = warm.door.keeps


def remember(fork: Node, header: Header, read: Collection[tuple[str, str | None]]) -> None:
    """Have a fork read these accounts, and slots of accounts, of its block at once; too many are left."""
    if len(read) > REMEMBERED_MAX:
        return
    block = hex(header.number)
    # what cannot be read here cannot be read by whoever needs it either, and fails there
    fork.batch(
        [
            ("eth_getBalance", [address, block])
            if slot is None
            else ("eth_getStorageAt", [address, slot, block])
            for address, slot in read
        ]
    )
