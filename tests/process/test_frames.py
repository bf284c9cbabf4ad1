"""Frames: a peer is believed in nothing, and nobody can hold, flood or take over a socket."""

import errno
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from workbench.process.frames import (
    CONNECTIONS_MAX,
    FRAME_MAX,
    SOCKET_PATH_MAX,
    FrameError,
    FrameServer,
    call,
    listener,
    peer_of,
    read_frame,
    write_frame,
)

Message = dict[str, Any]
SECONDS = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose paths are short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@contextmanager
def serving(path: Path, handler: Callable[[Message], Message], **options: Any) -> Iterator[FrameServer]:
    """Serve a handler in a thread."""
    server = FrameServer(path, handler, **({"uids": {os.geteuid()}} | options))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(SECONDS)
        assert not thread.is_alive()


def echo(message: Message) -> Message:
    """Answer with the request."""
    return message


def raw(path: Path, sent: bytes) -> bytes:
    """Send bytes as they are, say that no more come, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        answer = bytearray()
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            pass
        return bytes(answer)


def framed(body: bytes) -> bytes:
    """Return a body behind its length."""
    return struct.pack(">I", len(body)) + body


def test_a_request_and_its_answer(folder: Path) -> None:
    """What is said comes back, also when it is as large as a frame may be."""
    with serving(folder / "s", echo):
        assert call(folder / "s", {"v": 1}, timeout_s=SECONDS) == {"v": 1}
        large = {"x": "a" * (FRAME_MAX - 8)}
        assert len(canonical(large, limit=FRAME_MAX)) == FRAME_MAX
        assert call(folder / "s", large, timeout_s=SECONDS) == large
    assert not (folder / "s").exists()


def test_a_request_over_the_limit_is_not_sent(folder: Path) -> None:
    """The caller is told by the error that every caller expects."""
    with serving(folder / "s", echo), pytest.raises(FrameError, match="limit"):
        call(folder / "s", {"x": "a" * (FRAME_MAX - 7)}, timeout_s=SECONDS)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0", id="half a length"),
        pytest.param(framed(b""), id="an empty frame"),
        pytest.param(framed(b'{"v":1}')[:-1], id="a truncated frame"),
        pytest.param(struct.pack(">I", FRAME_MAX + 1), id="a length over the limit"),
        pytest.param(struct.pack(">I", 2**32 - 1) + b"{}", id="the largest length there is"),
        pytest.param(framed(b'{"v": 1}'), id="a blank"),
        pytest.param(framed(b'{"v":1,"v":1}'), id="a field twice"),
        pytest.param(framed(b'{"b":1,"a":1}'), id="another order"),
        pytest.param(framed(b'{"v":1.0}'), id="a float"),
        pytest.param(framed(b"[]"), id="a list"),
        pytest.param(framed(b"null"), id="nothing at all"),
        pytest.param(framed(b"\xff"), id="no text"),
        pytest.param(framed(b"[" * 5000), id="a nesting bomb"),
    ],
)
def test_what_is_no_frame_gets_no_answer(folder: Path, sent: bytes) -> None:
    """The connection closes in silence, the handler is never asked, and the next caller is served."""
    asked: list[Message] = []

    def handler(message: Message) -> Message:
        asked.append(message)
        return message

    with serving(folder / "s", handler):
        assert raw(folder / "s", sent) == b""
        assert asked == []
        assert call(folder / "s", {"v": 1}, timeout_s=SECONDS) == {"v": 1}


def test_what_follows_a_frame_is_not_read(folder: Path) -> None:
    """One connection carries one request: a second behind it is not served."""
    asked: list[Message] = []

    def handler(message: Message) -> Message:
        asked.append(message)
        return message

    with serving(folder / "s", handler):
        answer = raw(folder / "s", framed(b'{"v":1}') + framed(b'{"v":2}'))
    assert asked == [{"v": 1}]
    assert answer in (framed(b'{"v":1}'), b"")


def test_a_slow_peer_is_cut_off(folder: Path) -> None:
    """The time is for the whole request: a byte now and then does not hold the connection."""
    answer = b""
    with serving(folder / "s", echo, read_s=0.4), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(folder / "s"))
        with suppress(BrokenPipeError, ConnectionResetError):
            for byte in framed(b'{"v":1}'):
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
            answer = connection.recv(64)
    assert answer == b""


def test_a_peer_that_does_not_take_its_answer_is_cut_off(folder: Path) -> None:
    """An answer that nobody reads frees its connection in the same time."""
    answer = {"x": "a" * (FRAME_MAX - 8)}
    with serving(folder / "s", lambda _: answer, read_s=0.3):
        idle = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_MAX)]
        for connection in idle:
            connection.connect(str(folder / "s"))
            connection.sendall(framed(b"{}"))
        deadline = time.monotonic() + SECONDS
        served: Message = {}
        while not served and time.monotonic() < deadline:
            try:
                served = call(folder / "s", {}, timeout_s=SECONDS)
            except FrameError:
                time.sleep(0.05)
        for connection in idle:
            connection.close()
        assert served == answer


def test_a_flood_of_connections(folder: Path) -> None:
    """Beyond the limit callers are turned away at once, and when the flood ebbs all are served again."""
    with serving(folder / "s", echo):
        flood = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_MAX)]
        for connection in flood:
            connection.connect(str(folder / "s"))
        deadline = time.monotonic() + SECONDS
        turned_away = False
        while not turned_away and time.monotonic() < deadline:
            try:
                call(folder / "s", {"v": 1}, timeout_s=0.5)
            except FrameError:
                turned_away = True
        for connection in flood:
            connection.close()
        answer: Message = {}
        while not answer and time.monotonic() < deadline:
            try:
                answer = call(folder / "s", {"v": 1}, timeout_s=SECONDS)
            except FrameError:
                time.sleep(0.02)
    assert turned_away
    assert answer == {"v": 1}


def test_callers_of_one_process_are_served_at_once(folder: Path) -> None:
    """A caller that is being served does not stop the next."""
    both = threading.Barrier(2)

    def handler(message: Message) -> Message:
        both.wait(SECONDS)
        return message

    with serving(folder / "s", handler):
        answers: list[Message] = []
        ask = [
            threading.Thread(target=lambda: answers.append(call(folder / "s", {"v": 1}, timeout_s=SECONDS)))
            for _ in range(2)
        ]
        for thread in ask:
            thread.start()
        for thread in ask:
            thread.join()
    assert answers == [{"v": 1}] * 2


def test_another_user_gets_nothing(folder: Path) -> None:
    """A peer whose OS user is not named is not answered, whatever the file mode lets through."""
    asked: list[Message] = []

    def handler(message: Message) -> Message:
        asked.append(message)
        return message

    refused = pytest.raises(FrameError, match=f"s: caller_not_admitted: uid {os.geteuid()}")
    with serving(folder / "s", handler, uids={os.geteuid() + 1}):
        for request in ({"v": 1}, {"v": 1, "much": "x" * 1_000_000}):
            with refused:
                call(folder / "s", request, timeout_s=SECONDS)
    assert asked == []


def test_the_kernel_says_who_the_peer_is() -> None:
    """Not the peer itself."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        assert peer_of(one) == peer_of(two)
        assert (peer_of(one).pid, peer_of(one).uid, peer_of(one).gid) == (
            os.getpid(),
            os.geteuid(),
            os.getegid(),
        )


def test_nobody_listens(folder: Path) -> None:
    """Absent, dead or silent: the caller learns it as one kind of error, in time."""
    with pytest.raises(FrameError):
        call(folder / "absent", {"v": 1}, timeout_s=SECONDS)
    dead = folder / "dead"
    listener(dead, mode=0o600).close()
    with pytest.raises(FrameError):
        call(dead, {"v": 1}, timeout_s=SECONDS)
    with listener(folder / "silent", mode=0o600):
        began = time.monotonic()
        with pytest.raises(FrameError):
            call(folder / "silent", {"v": 1}, timeout_s=0.2)
        assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(framed(b'{"v":1}')[:-1], id="a truncated answer"),
        pytest.param(framed(b'{"v": 1}'), id="an answer with a blank"),
        pytest.param(framed(b"[]"), id="a list"),
        pytest.param(struct.pack(">I", FRAME_MAX + 1), id="an answer over the limit"),
    ],
)
def test_an_answer_that_is_no_frame(answer: bytes) -> None:
    """The caller believes the server no more than the server believes the caller."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        one.sendall(answer)
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameError):
            read_frame(two, timeout_s=SECONDS)


def test_an_answer_that_trickles(folder: Path) -> None:
    """The caller's time is for the whole answer too."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        stop = threading.Event()

        def trickle() -> None:
            for byte in framed(b'{"v":"' + b"a" * 1000 + b'"}'):
                if stop.wait(0.05):
                    return
                one.sendall(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        with pytest.raises((FrameError, TimeoutError)):
            read_frame(two, timeout_s=0.3)
        stop.set()
        thread.join()
    assert time.monotonic() - began < SECONDS
    assert list(folder.iterdir()) == []


def test_a_frame_is_written_as_it_is_read() -> None:
    """Length, then canonical JSON."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        write_frame(one, {"b": [1, None], "a": "ü"})
        assert two.recv(64) == framed('{"a":"ü","b":[1,null]}'.encode())


def test_a_second_listener_is_refused(folder: Path) -> None:
    """A process that starts twice does not take the socket from under the first."""
    with serving(folder / "s", echo):
        with pytest.raises(FrameError, match="already listens"):
            listener(folder / "s", mode=0o660)
        assert call(folder / "s", {"v": 1}, timeout_s=SECONDS) == {"v": 1}


def test_a_dead_socket_is_replaced(folder: Path) -> None:
    """What a killed process left behind does not stop the next."""
    listener(folder / "s", mode=0o660).close()
    assert (folder / "s").is_socket()
    with serving(folder / "s", echo):
        assert call(folder / "s", {"v": 1}, timeout_s=SECONDS) == {"v": 1}


def test_another_file_is_not_removed(folder: Path) -> None:
    """A path that names a file by mistake keeps it: connecting is refused there like at a dead socket."""
    precious = folder / "ledger.duckdb"
    precious.write_bytes(b"everything")
    with pytest.raises(FrameError, match="something else"):
        listener(precious, mode=0o660)
    assert precious.read_bytes() == b"everything"
    with pytest.raises(FrameError):
        listener(folder, mode=0o660)
    assert folder.is_dir()


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_who_may_connect(folder: Path, mode: int) -> None:
    """The file has the mode that was asked for, and the umask of the process is as before."""
    before = os.umask(0o022)
    try:
        with listener(folder / "s", mode=mode):
            assert stat.S_IMODE((folder / "s").stat().st_mode) == mode
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_path_that_a_socket_cannot_have(folder: Path) -> None:
    """The kernel would cut it off; it is refused with its length."""
    longest = folder / ("s" * (SOCKET_PATH_MAX - len(str(folder)) - 1))
    assert len(str(longest)) == SOCKET_PATH_MAX
    listener(longest, mode=0o600).close()
    with pytest.raises(FrameError, match="socket path of 108 bytes"):
        listener(longest.with_name(longest.name + "s"), mode=0o600)
    umlauts = folder / ("ü" * (SOCKET_PATH_MAX // 2))
    assert len(str(umlauts)) < SOCKET_PATH_MAX
    with pytest.raises(FrameError, match="socket path of"):
        listener(umlauts, mode=0o600)


def test_a_folder_that_is_not_there(folder: Path) -> None:
    """An error of this module, with the path."""
    with pytest.raises(FrameError, match=os.strerror(errno.ENOENT)):
        listener(folder / "nowhere" / "s", mode=0o600)


STARVED = """
import os, resource, sys, threading
from pathlib import Path
from workbench.process.frames import FrameServer
server = FrameServer(Path(sys.argv[1]), lambda message: message, uids={os.geteuid()})
threading.Thread(target=server.serve_forever, daemon=True).start()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    print("starved", flush=True)
sys.stdin.readline()
for descriptor in held:
    os.close(descriptor)
print("fed", flush=True)
sys.stdin.readline()
"""


def test_a_process_without_descriptors_serves_again(folder: Path) -> None:
    """Accepting fails while none is left; that must not end the service for ever."""
    command = [sys.executable, "-c", STARVED, str(folder / "s")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "starved\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(folder / "s"))
            write_frame(connection, {"v": 1})
            time.sleep(0.2)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "fed\n"
            assert read_frame(connection, timeout_s=SECONDS) == {"v": 1}
        child.stdin.close()
