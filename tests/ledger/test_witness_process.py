"""The witness as a process: sockets, signals, kill -9 under load, peers that are slow or lie."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ledger import checkpoint, exchange, witness_client, witness_server
from ledger.__main__ import main
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from ledger.trust import TrustRoot
from ledger.witness import (
    ConflictError,
    EquivocationError,
    NotConsistentError,
    UnknownLogError,
    UnsignedError,
    WitnessError,
)
from ledger.witness_client import UnreachableError
from tests.ledger.fork import (
    ANN,
    AT,
    BOB,
    COMMON,
    DOCUMENT,
    FORK,
    KEYS,
    LATE,
    TRUE,
    Branch,
    content,
    cosigned,
    found,
    opened,
    request,
    write_trust,
)
from tests.ledger.world import key, public
from workbench.custody.config import softhsm_module
from workbench.demo.provision import provision

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 10.0
HURRIED = "import sys; from ledger import witness_server; witness_server.SECONDS = 0.8; "
HURRIED += "from ledger.__main__ import main; sys.exit(main())"


@dataclass
class Place:
    """A folder with a trust root, ann's key and ann's memory."""

    folder: Path

    def __post_init__(self) -> None:
        self.trust_root = write_trust(self.folder)
        self.memory = found(self.folder / "memory")
        self.socket = self.folder / "w.sock"
        self.key = write_key(self.folder / "ann.pem", ANN)

    def arguments(self, *where: str, **changes: str) -> list[str]:
        """Return the arguments of the command."""
        options = {
            "state": str(self.memory),
            "keys": str(self.trust_root),
            "name": ANN,
            "key": f"file:{self.key}",
        } | changes
        named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        return ["witness", *named, *(where or ("--socket", str(self.socket)))]

    @contextlib.contextmanager
    def running(self, *where: str, script: str = "", **changes: str) -> Iterator["Running"]:
        """Run a witness, and kill it at the end if it still lives."""
        module = ["-c", script] if script else ["-m", "ledger"]
        command = [sys.executable, *module, *self.arguments(*where, **changes)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = process.stderr.readline()
                assert said.startswith(f"witness {ANN}: size "), said + process.stderr.read()
                yield Running(process, said.split()[-1])
            finally:
                process.kill()


@dataclass
class Running:
    """A witness at work."""

    process: subprocess.Popen[str]
    address: str

    def connect(self) -> socket.socket:
        """Connect as anybody."""
        if self.address.startswith("unix:"):
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            peer.settimeout(TIMEOUT)
            try:
                peer.connect(self.address.removeprefix("unix:"))
            except OSError:
                peer.close()
                raise
            return peer
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), TIMEOUT)

    def said(self, raw: bytes) -> bytes:
        """Send bytes, and nothing after them, and return whatever comes back."""
        with self.connect() as peer:
            # A server that has answered may have hung up before all is sent; the answer is what is looked at.
            with contextlib.suppress(OSError):
                peer.sendall(raw)
                peer.shutdown(socket.SHUT_WR)
            return heard(peer)

    def status(self) -> dict[str, object]:
        """Ask who it is and what it remembers."""
        return witness_client.status(self.address, timeout_s=TIMEOUT)

    def size(self) -> int:
        """Ask what size it remembers."""
        size = self.status()["size"]
        assert type(size) is int
        return size

    def extend(self, branch: Branch, size: int) -> str:
        """Have a size of a branch cosigned."""
        old = self.size()
        return self.ask(branch.note(size), old, branch.proof(old, size))

    def ask(self, note: str, old_size: int, proof: list[bytes]) -> str:
        """Ask for a cosignature."""
        return witness_client.ask(self.address, note, old_size=old_size, proof=proof, timeout_s=TIMEOUT)


def write_key(path: Path, name: str) -> Path:
    """Write the key file of a name."""
    pem = key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path


def heard(peer: socket.socket) -> bytes:
    """Return everything until the end of a connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := peer.recv(65536):
            answer += chunk
    return answer


def posted(body: bytes, length: int | str | None = None) -> bytes:
    """Return an add-checkpoint request as it goes over the wire."""
    length = len(body) if length is None else length
    return f"POST /add-checkpoint HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode() + body


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for a time."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a witness's folder."""
    return Place(tmp_path)


@pytest.fixture(scope="module", params=["unix", "http"])
def ann(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a witness that has cosigned size 5 of the truth, on each kind of socket."""
    place = Place(tmp_path_factory.mktemp(request.param))
    where = () if request.param == "unix" else ("--http", "127.0.0.1:0")
    with place.running(*where) as made:
        made.extend(TRUE, 5)
        yield made
        made.process.terminate()
        assert made.process.wait(TIMEOUT) == 0
        assert made.process.stderr is not None
        # No peer of all these tests was worth a word.
        assert made.process.stderr.read() == ""


@pytest.mark.parametrize("where", [(), ("--http", "127.0.0.1:0")], ids=["unix socket", "HTTP loopback"])
def test_a_witness_and_its_asker(place: Place, where: tuple[str, ...]) -> None:
    """Founded, asked, restarted, asked again: the lines verify, and what is remembered is told."""
    with place.running(*where) as ann:
        assert ann.status()["note"] == ""
        assert ann.said(b"GET /checkpoint HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 404 ")
        line = ann.extend(TRUE, 5)
        assert cosigned(TRUE.note(5), line) == TRUE.state(5)
        assert ann.ask(TRUE.note(5), 5, []) == line
        with pytest.raises(ConflictError) as caught:
            ann.ask(FORK.note(5), 5, [])
        assert caught.value.size == 5
    with place.running(*where) as ann:
        assert ann.ask(TRUE.note(5), 5, []) == line
        assert cosigned(TRUE.note(8), ann.extend(TRUE, 8)) == TRUE.state(8)
        status = ann.status()
        assert (status["size"], status["equivocations"]) == (8, 1)
        head, _, note = ann.said(b"GET /checkpoint HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        assert note.decode() == status["note"]
        evidence = ann.said(b"GET /equivocation HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[2]
        assert evidence == canonical([{"v": 1, "first": TRUE.note(5), "second": FORK.note(5)}])


NO: dict[str, tuple[type[WitnessError], str, int, list[bytes]]] = {
    "400": (WitnessError, TRUE.note(8)[:-1], 5, TRUE.proof(5, 8)),
    "403": (UnsignedError, TRUE.note(8, signer="eve"), 5, TRUE.proof(5, 8)),
    "404": (UnknownLogError, TRUE.note(8, origin="other.example"), 5, TRUE.proof(5, 8)),
    "409": (ConflictError, TRUE.note(8), 0, []),
    "409, from the size that it remembers": (EquivocationError, FORK.note(5), 5, []),
    "422": (NotConsistentError, LATE.note(8), 5, LATE.proof(5, 8)),
}


@pytest.mark.parametrize(("error", "note", "old_size", "proof"), NO.values(), ids=NO)
def test_a_no_arrives_as_what_it_is(
    ann: Running, error: type[WitnessError], note: str, old_size: int, proof: list[bytes]
) -> None:
    """Every refusal comes out of the client as the error that went into the server."""
    with pytest.raises(WitnessError) as caught:
        ann.ask(note, old_size, proof)
    assert type(caught.value) is error
    assert getattr(caught.value, "size", 5) == 5
    assert ann.size() == 5


BODY = request(TRUE.note(8), 5, TRUE.proof(5, 8))
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5\r\nold 5\r\n0\r\n\r\n"
GARBAGE: dict[str, tuple[bytes, bytes]] = {
    "a conflict has its own type": (posted(request(TRUE.note(8), 3)), b"409 "),
    "nothing": (b"", b""),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
    "zeroes": (bytes(1000), b"400 "),
    "words": (b"old 5\r\n\r\n", b"400 "),
    "another path": (b"GET / HTTP/1.0\r\n\r\n", b"404 "),
    "a path that climbs": (b"GET /../status HTTP/1.0\r\n\r\n", b"404 "),
    "a query": (b"GET /status?a=b HTTP/1.0\r\n\r\n", b"404 "),
    "GET to add": (b"GET /add-checkpoint HTTP/1.0\r\n\r\n", b"404 "),
    "POST to read": (b"POST /status HTTP/1.0\r\nContent-Length: 0\r\n\r\n", b"404 "),
    "another method": (b"DELETE /status HTTP/1.0\r\n\r\n", b"501 "),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505 "),
    "a path without end": (b"GET /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n", b"414 "),
    "a header without end": (b"GET /status HTTP/1.0\r\na: " + b"a" * 70_000 + b"\r\n\r\n", b"431 "),
    "a hundred and one headers": (b"GET /status HTTP/1.0\r\n" + b"a: b\r\n" * 101 + b"\r\n", b"431 "),
    "a body without length": (b"POST /add-checkpoint HTTP/1.0\r\n\r\n" + BODY, b"400 "),
    "a body in chunks": (b"POST /add-checkpoint HTTP/1.1\r\n" + CHUNKED, b"400 "),
    "length +5": (posted(BODY, "+5"), b"400 "),
    "length 05": (posted(BODY, "05"), b"400 "),
    "length -1": (posted(BODY, -1), b"400 "),
    "a length in another script": (posted(BODY, "٥"), b"400 "),
    "a length of many digits": (posted(BODY, "9" * 5000), b"400 "),
    "a body one byte too long": (posted(b"", 64 * 1024 + 1), b"400 "),
    "a body that ends too early": (posted(BODY, len(BODY) + 1), b"400 "),
    "a body that is cut by its length": (posted(BODY, len(BODY) - 1), b"400 "),
    "a body that is not UTF-8": (posted(b"old 5\n\n\xff"), b"400 "),
    "the largest body": (posted(b"a" * 64 * 1024), b"400 "),
    "a body that is no request": (posted(b"{}"), b"400 "),
}


@pytest.mark.parametrize(("raw", "expected"), GARBAGE.values(), ids=GARBAGE)
def test_garbage(ann: Running, raw: bytes, expected: bytes) -> None:
    """What is no request gets a status or nothing, costs one connection, and changes nothing."""
    answer = ann.said(raw)
    assert expected in answer[:20] or not answer[:5].startswith(b"HTTP/")
    assert (b"Content-Type: text/x.tlog.size\r\n" in answer) is (expected == b"409 ")
    assert ann.size() == 5


def test_the_largest_request(ann: Running) -> None:
    """A body is read if it has as many bytes as the limit says, and not if it has one more."""
    size = witness_server.BODY_MAX
    assert b"a request is an old size" in ann.said(posted(b"x" * size))
    assert f"a body of at most {size} bytes".encode() in ann.said(posted(b"x" * (size + 1)))


def test_one_request_for_each_connection(ann: Running) -> None:
    """What follows a request is not read as another one."""
    asked = b"GET /status HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
    answer = ann.said(asked + asked)
    assert answer.count(b"HTTP/1.0 200") == 1


def test_more_connections_than_room(ann: Running) -> None:
    """The seventeenth connection is closed at once, and costs the others nothing."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(ann.connect()) for _ in range(witness_server.CONNECTIONS_MAX + 4)]
        for peer in peers[-4:]:
            assert heard(peer) == b""
        with pytest.raises(UnreachableError):
            ann.status()
        peers[0].sendall(b"GET /status HTTP/1.0\r\n\r\n")
        assert heard(peers[0]).startswith(b"HTTP/1.0 200 ")
    eventually(lambda: reachable(ann))
    assert ann.size() == 5


def reachable(asked: Running) -> bool:
    """Say whether it has room for a request."""
    try:
        asked.status()
    except UnreachableError:
        return False
    return True


def test_slow_peers(place: Place) -> None:
    """Whoever sends a byte now and then is cut off: in the request line, the headers, the body."""
    assert (witness_server.SECONDS, witness_server.CONNECTIONS_MAX, witness_server.BODY_MAX) == (
        10,
        16,
        65536,
    )
    with place.running(script=HURRIED) as ann, contextlib.ExitStack() as stack:
        started = time.monotonic()
        begun = [b"G", b"GET /status HTTP/1.0\r\na", posted(BODY, len(BODY) + 1000), b""]
        peers = [stack.enter_context(ann.connect()) for _ in range(witness_server.CONNECTIONS_MAX)]
        for number, peer in enumerate(peers):
            peer.sendall(begun[number % len(begun)])
        assert not reachable(ann)
        ended: set[int] = set()
        while len(ended) < len(peers):
            for number, peer in enumerate(peers):
                try:
                    peer.sendall(b"a")
                except OSError:
                    ended.add(number)
            assert time.monotonic() < started + TIMEOUT
            time.sleep(0.05)
        assert cosigned(TRUE.note(5), ann.extend(TRUE, 5)).size == 5


# Ends and beginnings


def test_sigterm_answers_the_request_in_hand(place: Place) -> None:
    """A request that was begun is answered; then the process ends, and its socket is gone."""
    body = request(TRUE.note(5), 0)
    with place.running() as ann, ann.connect() as peer:
        peer.sendall(posted(body)[:-10])
        eventually(lambda: reachable(ann))  # whoever came later was served: ours is in hand
        ann.process.terminate()
        eventually(lambda: not reachable(ann))
        assert ann.process.poll() is None
        peer.sendall(posted(body)[-10:])
        head, _, line = heard(peer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        assert cosigned(TRUE.note(5), line.decode()) == TRUE.state(5)
        assert ann.process.wait(TIMEOUT) == 0
    assert not place.socket.exists()
    assert opened(place.memory).status()["size"] == 5


def test_two_processes_on_one_memory(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The second process is refused, on whatever socket, and the first one goes on."""
    with place.running() as ann:
        assert main(place.arguments("--socket", str(place.folder / "other.sock"))) == 2
        assert "another process holds this memory" in capsys.readouterr().err
        assert not (place.folder / "other.sock").exists()
        assert cosigned(TRUE.note(5), ann.extend(TRUE, 5)).size == 5


def test_sockets_left_and_taken(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The socket of a dead process is replaced; a live one is refused, and left alone."""
    other = found(tmp_path / "other")
    with place.running() as ann:
        assert main(place.arguments(state=str(other))) == 2
        assert "a process already listens there" in capsys.readouterr().err
        assert ann.size() == 0
    assert place.socket.exists()
    with place.running() as ann:
        assert place.socket.stat().st_mode & 0o777 == 0o660
        assert ann.size() == 0
        ann.process.send_signal(signal.SIGINT)
        assert ann.process.wait(TIMEOUT) == 0
    assert not place.socket.exists()


def test_a_socket_without_room(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A live process that takes no more connections is not taken for a dead one."""
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        busy.bind(str(place.socket))
        busy.listen(0)
        for _ in range(3):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                peer.connect(str(place.socket))
        assert main(place.arguments()) == 2
    assert "a process already listens there" in capsys.readouterr().err
    assert place.socket.exists()


def loosened(path: Path, mode: int) -> Path:
    """Make a path open to others."""
    path.chmod(mode)
    return path


REFUSED: dict[str, tuple[Callable[[Place], list[str]], str]] = {
    "every address": (lambda at: at.arguments("--http", "0.0.0.0:0"), "is not 127.0.0.1"),
    "a public address": (lambda at: at.arguments("--http", "192.0.2.1:80"), "is not 127.0.0.1"),
    "a name": (lambda at: at.arguments("--http", "localhost:0"), "is not 127.0.0.1"),
    "IPv6": (lambda at: at.arguments("--http", "::1:0"), "is not 127.0.0.1"),
    "an address that is mapped": (
        lambda at: at.arguments("--http", "::ffff:127.0.0.1:0"),
        "is not 127.0.0.1",
    ),
    "a port too large": (lambda at: at.arguments("--http", "127.0.0.1:65536"), "is not 127.0.0.1"),
    "a port too long": (lambda at: at.arguments("--http", "127.0.0.1:100000"), "is not HOST:PORT"),
    "a port in another script": (lambda at: at.arguments("--http", "127.0.0.1:٥"), "is not HOST:PORT"),
    "no port": (lambda at: at.arguments("--http", "127.0.0.1"), "is not HOST:PORT"),
    "a socket in everybody's folder": (
        lambda at: at.arguments("--socket", str(loosened(at.folder, 0o1777) / "w.sock")),
        "anybody could put",
    ),
    "a socket in no folder": (
        lambda at: at.arguments("--socket", str(at.folder / "nowhere" / "w.sock")),
        "No such file",
    ),
    "a socket where a file is": (lambda at: at.arguments("--socket", str(at.key)), "something else than"),
    "a socket's path too long": (
        lambda at: at.arguments("--socket", str(at.folder / ("a" * 120))),
        "too long",
    ),
    "no memory": (lambda at: at.arguments(state=str(at.folder / "nowhere")), "no memory"),
    "a memory founded twice": (lambda at: [*at.arguments(), "--found"], "there is a memory already"),
    "a memory that others can write": (
        lambda at: at.arguments(state=str(loosened(at.memory, 0o777))),
        "others may write",
    ),
    "another key than the trust root's": (
        lambda at: at.arguments(key=f"file:{write_key(at.folder / 'eve.pem', 'eve')}"),
        "no witness 'ann' with this key",
    ),
    "a name that the trust root does not have": (
        lambda at: at.arguments(name="\x1b[2Jeve"),
        r"no witness '\x1b[2Jeve' with this key",
    ),
    "the service's name": (
        lambda at: at.arguments(name="custody.example/service"),
        "no witness 'custody.example/service'",
    ),
    "another witness's memory": (
        lambda at: at.arguments(name=BOB, key=f"file:{write_key(at.folder / 'bob.pem', BOB)}"),
        "of 'ann'",
    ),
    "no trust root": (lambda at: at.arguments(keys=str(at.folder / "nowhere")), "No such file"),
    "a key that others can read": (
        lambda at: at.arguments(key=f"file:{loosened(at.key, 0o640)}"),
        "chmod 400",
    ),
    "a key of an unknown scheme": (lambda at: at.arguments(key="env:KEY"), "neither file: nor pkcs11:"),
    "a token without a PIN": (
        lambda at: at.arguments(key="pkcs11:/x.so?token=a&object=b"),
        "needs a PIN file",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_to_start(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: Callable[[Place], list[str]], words: str
) -> None:
    """What is wrong is found before anything is served, in one line, with 2, and leaves the memory alone."""
    before = content(place.memory)
    assert main(arguments(place)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("could not run: ")
    assert words in said.err
    assert content(place.memory) == before
    place.memory.chmod(0o700)
    opened(place.memory).close()  # nothing holds it


def test_founding_by_the_command(place: Place) -> None:
    """With --found a memory begins, once, and the same command is refused at the next start."""
    fresh = place.folder / "fresh"
    command = [sys.executable, "-m", "ledger", *place.arguments(state=str(fresh)), "--found"]
    with place.running(script=f"import sys; sys.argv.append('--found'); {HURRIED}", state=str(fresh)) as ann:
        ann.extend(TRUE, 5)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "memory" in done.stderr) == (2, True)
    (fresh / "memory.json").unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "memory" in done.stderr) == (2, True)


def test_a_stranger_founds_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """No memory begins under a key that the trust root does not have: its owner could not begin it again."""
    fresh = place.folder / "fresh"
    eve = write_key(place.folder / "eve.pem", "eve")
    assert main([*place.arguments(state=str(fresh), key=f"file:{eve}"), "--found"]) == 2
    assert "no witness 'ann' with this key" in capsys.readouterr().err
    assert not fresh.exists()


def test_a_full_disk(place: Place) -> None:
    """What cannot be persisted is not answered, and the operator is told; later it is cosigned."""
    with place.running() as ann:
        ann.extend(TRUE, 3)
        away = place.memory.with_name("away")
        place.memory.rename(away)
        with pytest.raises(UnreachableError):
            ann.extend(TRUE, 5)
        assert ann.process.stderr is not None
        assert ann.process.stderr.readline().startswith("witness: MemoryLostError: ")
        away.rename(place.memory)
        assert ann.size() == 3
        assert cosigned(TRUE.note(5), ann.extend(TRUE, 5)).size == 5


# kill -9 under load

ROUNDS = 22


def race(asked: Running, branch: Branch, signed: list[tuple[str, str]], seed: int) -> None:
    """Ask for the next size of a branch, or for this one again, until the witness is gone."""
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    while True:
        try:
            old = asked.size()
            size = old + chance.choice([0, 1, 1, 2])
            note = branch.note(size)
            signed.append((note, asked.ask(note, old, branch.proof(old, size))))
        except UnreachableError:
            return
        except WitnessError:
            continue


def test_kill_under_load(place: Place) -> None:
    """Two forks race, kill -9 ends it, again and again: no size is ever cosigned with two roots."""
    chance = random.Random(7)  # noqa: S311 - a schedule, not a secret
    signed: list[tuple[str, str]] = []
    branches = [Branch(f"{side} 0", COMMON) for side in ("left", "right")]
    winners = set()
    for number in range(ROUNDS):
        with place.running() as ann:
            size, root = ann.size(), ann.status()["root"]
            assert size >= max((checkpoint.split(note)[0].size for note, _ in signed), default=0)
            # Whichever branch is remembered is the beginning of both of this round's.
            (kept, *_) = (each for each in branches if size == 0 or each.state(size).root.hex() == root)
            winners.add(kept.name.split()[0])
            entries = tuple(kept.entry(place) for place in range(size))
            branches = [Branch(f"{side} {number}", entries) for side in ("left", "right")]
            chance.shuffle(branches)
            threads = [
                threading.Thread(target=race, args=(ann, branch, signed, number)) for branch in branches
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.02, 0.15))
            ann.process.kill()
            for thread in threads:
                thread.join()
    states: dict[int, set[Checkpoint]] = defaultdict(set)
    for note, line in signed:
        states[checkpoint.split(note)[0].size].add(cosigned(note, line))
    assert [size for size, roots in states.items() if len(roots) != 1] == []
    assert len(states) > ROUNDS
    assert winners == {"left", "right"}
    left = opened(place.memory)
    assert left.status()["size"] >= max(states)
    assert left.evidence()
    for each in left.evidence():
        checkpoint.equivocation(each["first"], each["second"], KEYS)
    left.close()


# A key in a token


def test_a_key_in_a_token(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its key in a token the witness does the same; with a wrong PIN it does not start."""
    made = bytes.fromhex(provision(place.folder / "hsm", "witness")["ed25519"])
    document = DOCUMENT | {"witnesses": {ANN: made.hex(), BOB: public(BOB).hex()}}
    place.trust_root.write_bytes(canonical(document))
    monkeypatch.setenv("SOFTHSM2_CONF", str(place.folder / "hsm" / "softhsm2.conf"))
    uri = f"pkcs11:{softhsm_module()}?token=witness&object=identity/1"
    with place.running(key=uri, pin_file=str(place.folder / "hsm" / "pin")) as ann:
        note = checkpoint.add(TRUE.note(5), ann.extend(TRUE, 5))
        assert TrustRoot.of(document).verify(note) == TRUE.state(5)
    wrong = place.folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("0000")
    command = [sys.executable, "-m", "ledger", *place.arguments(key=uri, pin_file=str(wrong))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("could not run: token: PinIncorrect")


# Witnesses that lie


@contextlib.contextmanager
def lying(answer: bytes, *, pause_s: float = 0.0, endless: bool = False) -> Iterator[str]:
    """Run something that takes one connection and answers these bytes, one after the other if it pauses."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(65536)
                if pause_s:
                    for byte in answer:
                        peer.sendall(bytes([byte]))
                        time.sleep(pause_s)
                else:
                    peer.sendall(answer)
                while endless:
                    peer.sendall(b"a" * 65536)
                peer.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=work)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def response(status: int | str, body: bytes, *headers: str) -> bytes:
    """Return an HTTP response."""
    head = "\r\n".join([f"HTTP/1.0 {status} x", *headers])
    return head.encode() + b"\r\n\r\n" + body


LINE = checkpoint.cosign(TRUE.note(5), ANN, public(ANN), key(ANN).sign, at=AT).removeprefix(TRUE.note(5))
LIES: dict[str, tuple[bytes, type[Exception]]] = {
    "nothing": (b"", UnreachableError),
    "garbage": (bytes(range(256)), UnreachableError),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", UnreachableError),
    "no status": (b"HTTP/1.0\r\n\r\n", UnreachableError),
    "a status that is a word": (response("ok", LINE.encode()), UnreachableError),
    "status 0": (response("000", LINE.encode()), UnreachableError),
    "status 2000": (response(2000, LINE.encode()), UnreachableError),
    "a redirect": (response(302, b"", "Location: http://127.0.0.1:1/"), UnreachableError),
    "a server error": (response(500, b"\x1b[2J"), UnreachableError),
    "headers without end": (response(200, b"", *["a: b"] * 200), UnreachableError),
    "a header too long": (response(200, b"", "a: " + "b" * 70_000), UnreachableError),
    "a body shorter than its length": (response(200, LINE.encode(), "Content-Length: 900"), UnreachableError),
    "chunks that are none": (
        response(200, LINE.encode(), "Transfer-Encoding: chunked").replace(b"/1.0", b"/1.1", 1),
        UnreachableError,
    ),
    "an empty line": (response(200, b""), UnreachableError),
    "a line without its end": (response(200, LINE.encode()[:-1]), UnreachableError),
    "two lines": (response(200, LINE.encode() * 2), UnreachableError),
    "a line that is none": (response(200, b"ok\n"), UnreachableError),
    "a line in another spelling": (response(200, LINE.replace("— ", "—  ").encode()), UnreachableError),
    "a whole note": (response(200, TRUE.note(5).encode()), UnreachableError),
    "not UTF-8": (response(200, b"\xff\n"), UnreachableError),
    "a conflict without a size": (response(409, b""), UnreachableError),
    "a conflict at +5": (response(409, b"+5\n"), UnreachableError),
    "a conflict at 05": (response(409, b"05\n"), UnreachableError),
    "a conflict in another script": (response(409, "٥\n".encode()), UnreachableError),
    "a conflict without an end": (response(409, b"5"), UnreachableError),
    "a conflict at 10^16": (response(409, b"10000000000000000\n"), UnreachableError),
    "a conflict, properly": (response(409, b"5\n"), ConflictError),
    "words that steer a terminal": (response(403, b"\x1b[2J\x9b2J\n\xe2\x80\xae"), UnsignedError),
}


@pytest.mark.parametrize(("answer", "error"), LIES.values(), ids=LIES)
def test_a_lying_witness(answer: bytes, error: type[Exception]) -> None:
    """What is not in the protocol's form is no answer, and its words steer no terminal."""
    with lying(answer) as address, pytest.raises(error) as caught:
        witness_client.ask(address, TRUE.note(5), old_size=0, proof=[], timeout_s=TIMEOUT)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


STATUS: dict[str, Any] = {"v": 1, "origin": "o", "name": ANN, "size": 5, "root": "", "chain": ""}
STATUS |= {"note": "", "equivocations": 0}
STATUSES = {
    "a status of another version": response(200, canonical(STATUS | {"v": 2})),
    "a status with a field more": response(200, canonical(STATUS | {"more": 1})),
    "a status that is not there": response(404, canonical(STATUS)),
    "garbage": response(200, b"\xff"),
    "a list": response(200, b"[]"),
    "no note": response(200, b'{"size":5}'),
    "a note that is a number": response(200, b'{"note":5}'),
    "spaces": response(200, b'{"note": ""}'),
    "another status": response(404, b'{"note":""}'),
}


@pytest.mark.parametrize("answer", STATUSES.values(), ids=STATUSES)
def test_a_lying_status(answer: bytes) -> None:
    """A status is one of a fixed form, in an answer that says yes."""
    with lying(response(200, canonical(STATUS))) as address:
        assert witness_client.status(address, timeout_s=TIMEOUT) == STATUS
    with lying(answer) as address, pytest.raises(UnreachableError):
        witness_client.status(address, timeout_s=TIMEOUT)


SLOW = {
    "in the status line": b"HTTP/1.0 200 x" * 100,
    "in the headers": response(200, b"", *["a: b"] * 90),
    "in the body": response(200, LINE.encode() * 10),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_a_slow_witness(answer: bytes) -> None:
    """A byte now and then costs the time that was given, wherever it is slow."""
    started = time.monotonic()
    with lying(answer, pause_s=0.02) as address, pytest.raises(UnreachableError, match="timed out"):
        witness_client.ask(address, TRUE.note(5), old_size=0, proof=[], timeout_s=0.3)
    assert 0.25 < time.monotonic() - started < 3


@pytest.mark.parametrize("answer", [b"", response(200, b""), response(200, LINE.encode())], ids=range(3))
def test_an_endless_witness(answer: bytes) -> None:
    """An answer without end is cut off."""
    with lying(answer, endless=True) as address, pytest.raises(UnreachableError, match="more than"):
        witness_client.ask(address, TRUE.note(5), old_size=0, proof=[], timeout_s=TIMEOUT)


def test_the_largest_answer() -> None:
    """An answer may have as many bytes as the limit says, and not one more."""
    frame = len(response(200, canonical(STATUS)))
    for more, refused in ((0, False), (1, True)):
        note = "a" * (witness_client.ANSWER_MAX - frame + more)
        with lying(response(200, canonical(STATUS | {"note": note}, limit=1 << 20))) as address:
            if refused:
                with pytest.raises(UnreachableError, match="more than"):
                    witness_client.status(address, timeout_s=TIMEOUT)
            else:
                assert witness_client.status(address, timeout_s=TIMEOUT)["note"] == note


ADDRESSES = [
    "",
    "unix:",
    "unix:/nowhere/w.sock",
    "unix:" + "a" * 200,
    "/nowhere",
    "https://127.0.0.1:1",
    "http://127.0.0.1:1",
    "http://127.0.0.1:70000",
    "http://127.0.0.1:x",
    "http://127.0.0.1:1/path",
    "http://",
    "http://[",
    "\x1b[2J",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_nobody_there(address: str) -> None:
    """An address that leads nowhere is a witness that does not answer."""
    with pytest.raises(UnreachableError) as caught:
        witness_client.ask(address, TRUE.note(5), old_size=0, proof=[], timeout_s=TIMEOUT)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("spoil", ["https{}", "ftp{}", "http{}/path"])
def test_no_address(spoil: str) -> None:
    """What is not an address of a witness is not asked, even where one would answer."""
    with lying(response(200, LINE.encode())) as address:
        with pytest.raises(UnreachableError, match="neither unix"):
            witness_client.ask(
                spoil.format(address.removeprefix("http")),
                TRUE.note(5),
                old_size=0,
                proof=[],
                timeout_s=TIMEOUT,
            )
        assert witness_client.ask(address, TRUE.note(5), old_size=0, proof=[], timeout_s=TIMEOUT) == LINE


def test_no_time_is_left() -> None:
    """Past its end a wait is over before it begins."""
    one, other = socket.socketpair()
    with one, other, pytest.raises(TimeoutError):
        exchange._await(one, time.monotonic() - 1)


def test_one_way_in() -> None:
    """A server listens on a socket or on a port, not on both and not on neither."""
    for options in ({}, {"path": Path("x"), "port": ("127.0.0.1", 0)}):
        with pytest.raises(witness_server.AddressError):
            witness_server.serve(None, **options)  # type: ignore[arg-type]  # refused before it is looked at


@pytest.mark.parametrize("port", [0, 65_535])
def test_the_first_and_the_last_port(port: int) -> None:
    """Any port of the loopback may be listened on; the last one may be another's just now."""
    with contextlib.suppress(OSError):
        witness_server.serve(None, port=("127.0.0.1", port)).server_close()  # type: ignore[arg-type]  # not asked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(ValueError("odd"), "witness: ValueError: odd\n", id="a fault of ours"),
        pytest.param(ConnectionResetError("gone"), "", id="a peer that hung up"),
        pytest.param(TimeoutError("slow"), "", id="a peer that was slow"),
    ],
)
def test_what_the_operator_is_told(capsys: pytest.CaptureFixture[str], error: Exception, words: str) -> None:
    """What goes wrong here is told; what peers do is not."""
    server = witness_server.serve(None, port=("127.0.0.1", 0))  # type: ignore[arg-type]  # not asked
    try:
        raise error
    except (ValueError, OSError):
        server.handle_error(None, None)
    finally:
        server.server_close()
    assert capsys.readouterr().err == words


def test_a_request_has_an_allowance() -> None:
    """Once its bytes are read a request is broken off, and does not seem to end."""
    one, other = socket.socketpair()
    with one, other:
        allowance = witness_server._Allowance(one)
        allowance._left = 1
        other.sendall(b"ab")
        assert allowance.readinto(bytearray(2)) == 1
        with pytest.raises(ConnectionAbortedError):
            allowance.readinto(bytearray(2))


def test_no_descriptor_is_left(ann: Running) -> None:
    """After all the peers above the process holds what it held at the beginning."""
    eventually(lambda: len(list(Path(f"/proc/{ann.process.pid}/fd").iterdir())) <= 8)
