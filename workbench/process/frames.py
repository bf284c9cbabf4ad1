"""Request and answer over a unix socket: u32 big-endian length, then canonical JSON.

One connection carries one request and one answer. The peer is believed in
nothing: a frame longer than the limit, not canonical, or late closes the
connection. Who may connect is decided by the socket's file mode and, as a second
check, by the peer's OS user (SO_PEERCRED): a stranger is told so, and nothing of
what it says is read. What a request means is the caller's business; nothing here
logs a payload.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.encoding import EncodingError, canonical, parse
from workbench.rules.codes import Refusal

FRAME_MAX = 4 * 1024 * 1024
"""Evidence is the largest thing that travels (FORMATS: 4 MiB)."""
CONNECTIONS_MAX = 32
"""More peers at once than this is a flood: each process has a handful of callers."""
READ_SECONDS = 10.0
"""A peer that has connected must have said what it wants by then, and have taken its answer as quickly."""
PAUSE_SECONDS = 0.05
"""Between two attempts to accept, when the system has nothing to accept with."""
SOCKET_PATH_MAX = 107
"""AF_UNIX paths end at 108 bytes, the last one a zero."""

Message = dict[str, Any]
Handler = Callable[[Message], Message]


class FrameError(OSError):
    """The peer is absent, late, or speaks something else."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says it."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the credentials of the process that opened the connection."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return Peer(*struct.unpack("3i", raw))


def call(path: Path, request: Message, *, timeout_s: float) -> Message:
    """Send one request and return the answer.

    Raises:
        FrameError: nobody listens, no answer in time, an answer that is no frame, or that we are strangers.

    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            # whoever closes before it has read all of it has said why
            with suppress(BrokenPipeError, ConnectionResetError):
                write_frame(connection, request)
            answer = read_frame(connection, timeout_s=timeout_s)
    except (OSError, EncodingError) as error:
        raise FrameError(f"{path.name}: {error}") from error
    refused = answer.get("refused")
    if isinstance(refused, dict) and refused.get("code") == Refusal.STRANGER.value:
        raise FrameError(f"{path.name}: {refused['code']}: {refused.get('detail')}")
    return answer


def write_frame(connection: socket.socket, message: Message) -> None:
    """Write one message as a frame."""
    body = canonical(message, limit=FRAME_MAX)
    connection.sendall(struct.pack(">I", len(body)) + body)


def read_frame(connection: socket.socket, *, timeout_s: float) -> Message:
    """Read one frame and parse it strictly; all of it must have come in this time."""
    # Not a time for each read: a byte now and then would hold the connection for ever.
    deadline = time.monotonic() + timeout_s
    (length,) = struct.unpack(">I", _read_exactly(connection, 4, deadline))
    if length > FRAME_MAX:
        raise FrameError(f"frame of {length} bytes, at most {FRAME_MAX}")
    try:
        message = parse(_read_exactly(connection, length, deadline), limit=FRAME_MAX)
    except EncodingError as error:
        raise FrameError(f"not canonical: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("a frame holds an object")
    return message


def _read_exactly(connection: socket.socket, length: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        left = deadline - time.monotonic()
        if left <= 0:
            raise FrameError(f"{len(parts)} of {length} bytes in time")
        connection.settimeout(left)
        part = connection.recv(min(length - len(parts), 65536))
        if not part:
            raise FrameError(f"closed after {len(parts)} of {length} bytes")
        parts += part
    return bytes(parts)


def listener(path: Path, *, mode: int) -> socket.socket:
    """Return a listening unix socket; refuse when another process listens there."""
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise FrameError(f"socket path of {len(os.fsencode(path))} bytes, at most {SOCKET_PATH_MAX}: {path}")
    _refuse_living(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode is right before anybody can connect: bind under a closed umask, then open.
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise FrameError(f"{path}: {error}") from error
    finally:
        os.umask(before)
    path.chmod(mode)
    listening.listen(CONNECTIONS_MAX)
    return listening


class FrameServer:
    """Serve a handler on a unix socket, a thread for each connection.

    The handler is called from several threads; what must not run twice at once it
    locks itself. An error it does not turn into an answer ends the process's
    connection without one: the peer sees silence, never half a truth.
    """

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        uids: Collection[int],
        mode: int = 0o660,
        read_s: float = READ_SECONDS,
    ) -> None:
        self._path = path
        self._handler = handler
        self._uids = frozenset(uids)
        self._read_s = read_s
        self._closed = False
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._listener = listener(path, mode=mode)

    def serve_forever(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                # Out of descriptors, or the peer is gone already: no reason to be deaf for ever.
                time.sleep(PAUSE_SECONDS)
                continue
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting and remove the socket."""
        self._closed = True
        # shutdown() wakes a thread that waits in accept(); close() alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                # A second wall behind the file mode: another user's process is not listened to.
                uid = peer_of(connection).uid
                if uid not in self._uids:
                    connection.settimeout(self._read_s)
                    refused = {"code": Refusal.STRANGER.value, "detail": f"uid {uid}"}
                    write_frame(connection, {"v": 1, "refused": refused})
                    return
                request = read_frame(connection, timeout_s=self._read_s)
                answer = self._handler(request)
                connection.settimeout(self._read_s)
                write_frame(connection, answer)
        finally:
            self._slots.release()


def _refuse_living(path: Path) -> None:
    """Remove a dead socket; refuse when somebody still listens on it."""
    if not path.exists():
        return
    # Connecting to an ordinary file is refused like a dead socket: it must not be removed for that.
    if not path.is_socket():
        raise FrameError(f"{path}: something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise FrameError(f"{path}: {error}") from error
    raise FrameError(f"{path}: a process already listens there")
