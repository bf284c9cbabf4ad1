"""The command `stamp`: what an authority answers is verified and only then written."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger import checkpoint, timestamp, timestamp_client
from ledger.__main__ import main
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from tests.ledger.authority import holder, served
from tests.ledger.lies import NAME, REFUSED, WANTED, Party
from tests.ledger.world import SERVICE, key, public, trust_root

REPLY = "application/timestamp-reply"


@dataclass
class Desk:
    """An auditor who has a note and a trust root, and asks an authority himself."""

    folder: Path
    state: Checkpoint

    @property
    def out(self) -> Path:
        """Where he wants the answer."""
        return self.folder / "new.tsr"

    def stamp(self, url: str, authority: str = NAME) -> int:
        """Run the command."""
        asking = ["--authority", authority, "--url", url, "--keys", str(self.folder / "mine.json")]
        return main(["stamp", str(self.folder / "note.txt"), *asking, "--out", str(self.out)])

    def unchanged(self) -> bool:
        """Return whether nothing was written, not even a draft."""
        return {path.name for path in self.folder.iterdir()} == {"note.txt", "mine.json"}


@pytest.fixture
def desk(party: Party, tmp_path: Path) -> Desk:
    """Return an auditor's desk."""
    state = replace(WANTED, size=2)
    note = checkpoint.sign(state, SERVICE, public(SERVICE), key(SERVICE).sign)
    (tmp_path / "note.txt").write_text(note)
    trust = trust_root(timestamp={NAME: party.good.believed()})
    (tmp_path / "mine.json").write_bytes(canonical(trust))
    return Desk(tmp_path, state)


def test_stamp(party: Party, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is verified and written as it came; asked again, the file that is there is left alone."""
    with served(lambda query: (200, REPLY, party.good.reply(query))) as url:
        assert desk.stamp(url) == 0
        raw = desk.out.read_bytes()
        assert desk.stamp(url) == 2
    assert desk.out.read_bytes() == raw
    found = timestamp.verify(raw, party.trust.authorities, authority=NAME, checkpoint=desk.state)
    assert capsys.readouterr().out == f"stamped: size 2 by {NAME} at {found.time:%Y-%m-%d %H:%M:%S} UTC\n"


def test_each_request_has_its_own_nonce(party: Party, desk: Desk) -> None:
    """What was recorded of one conversation does not answer the next."""
    queries: list[bytes] = []

    def recorded(query: bytes) -> tuple[int, str, bytes]:
        queries.append(query)
        return 200, REPLY, party.good.reply(queries[0])

    with served(recorded) as url:
        assert desk.stamp(url) == 0
        desk.out.unlink()
        assert desk.stamp(url) == 1
    assert queries[0] != queries[1]
    assert desk.unchanged()


@pytest.mark.parametrize("name", REFUSED)
def test_a_lying_authority(party: Party, desk: Desk, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer that proves nothing is not written, and the exit code says so."""
    with served(lambda query: (200, REPLY, REFUSED[name][0](party, query))) as url:
        assert desk.stamp(url) in (1, 2)
    assert desk.unchanged()
    assert capsys.readouterr().out == ""


UNREACHABLE: dict[str, tuple[int, str, bytes, str]] = {
    "an error": (500, REPLY, b"", "HTTP 500"),
    "a redirection": (302, REPLY, b"", "HTTP 302"),
    "another type": (200, "text/html", b"<p>", "text/html"),
    "no type": (200, "", b"", "HTTP 200"),
    "too much": (200, REPLY, bytes(200_000), "more than 131072 bytes"),
}


@pytest.mark.parametrize("name", UNREACHABLE)
def test_an_authority_that_does_not_answer_in_form(
    desk: Desk, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors, other types and floods end the command, with nothing written."""
    status, kind, body, words = UNREACHABLE[name]
    with served(lambda _: (status, kind, body)) as url:
        assert desk.stamp(url) == 2
    assert desk.unchanged()
    assert words in capsys.readouterr().err


@contextmanager
def raw_server(speak: Callable[[socket.socket], None], heard: list[bytes] | None = None) -> Iterator[str]:
    """Serve one connection in whatever way."""
    requests = [] if heard is None else heard
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            with listener.accept()[0] as peer:
                requests.append(peer.recv(65536))
                speak(peer)

        thread = Thread(target=once)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


def drip(peer: socket.socket) -> None:
    """Send a byte now and then, for as long as somebody listens."""
    try:
        for sign in b"HTTP/1.1 200 OK\r\nContent-Type: " + b"a" * 10_000:
            peer.sendall(bytes([sign]))
            time.sleep(0.02)
    except OSError:
        pass


def hush(peer: socket.socket) -> None:
    """Say nothing until the other one goes."""
    peer.recv(1)


def half(peer: socket.socket) -> None:
    """Promise more than is sent."""
    peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {REPLY}\r\nContent-Length: 900\r\n\r\n0".encode())


def noise(peer: socket.socket) -> None:
    """Speak no HTTP."""
    peer.sendall(b"\x16\x03\x01\x00\x00")


@pytest.mark.parametrize("speak", [drip, hush, half, noise])
def test_a_slow_or_broken_authority(
    desk: Desk, speak: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the time-out, whatever it is slow with, and nothing is written."""
    monkeypatch.setattr("ledger.stamping.TIMEOUT_S", 0.3)
    began = time.monotonic()
    with raw_server(speak) as url:
        assert desk.stamp(url) == 2
    assert time.monotonic() - began < 5
    assert desk.unchanged()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1/", id="nobody there"),
        pytest.param("http://127.0.0.1:99999/", id="no such port"),
        pytest.param("ftp://127.0.0.1/", id="another scheme"),
        pytest.param("clock.example", id="no scheme"),
        pytest.param("http:///tsa", id="no host"),
        pytest.param("http://alice:secret@127.0.0.1:1/", id="a password"),
        pytest.param("http://127.0.0.1:1/a b", id="a space"),
        pytest.param("http://127.0.0.1:1/\u00fc", id="not ASCII"),
        pytest.param("http://127.0.0.1:1/#top", id="a fragment"),
    ],
)
def test_addresses(desk: Desk, url: str) -> None:
    """An address that leads nowhere, or would write its own request, ends the command."""
    assert desk.stamp(url) == 2
    assert desk.unchanged()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1/a b", id="a space"),
        pytest.param("http://127.0.0.1:1/tsa?a b", id="a space in the query"),
        pytest.param("http://127.0.0.1:1/\u00fc", id="not ASCII"),
        pytest.param("http://127.0.0.1:0/", id="port 0"),
        pytest.param("http://127.0.0.1:99999/", id="no such port"),
        pytest.param("http://alice:secret@127.0.0.1:1/", id="a password"),
    ],
)
def test_addresses_are_refused_before_they_are_asked(url: str) -> None:
    """Whoever configures such an address is told at once."""
    timestamp_client.check("http://127.0.0.1:1/tsa?policy=1")
    with pytest.raises(ValueError, match=r"address|port|Port|HOST"):
        timestamp_client.check(url)


def test_the_whole_address_is_asked(desk: Desk) -> None:
    """An authority may tell its customers apart by path or query."""
    heard: list[bytes] = []
    for path in ("/", "/tsa", "/tsa?desk=1"):
        with raw_server(lambda _: None, heard) as url:
            assert desk.stamp(url.rstrip("/") + path) == 2
        assert heard.pop().startswith(f"POST {path} HTTP/1.1\r\n".encode())


def test_a_note_that_does_not_count(desk: Desk) -> None:
    """Nobody is asked about a note that the trust root does not believe, or an authority it does not name."""

    def never(_: bytes) -> tuple[int, str, bytes]:
        raise AssertionError("asked")

    note = desk.folder / "note.txt"
    with served(never) as url:
        assert desk.stamp(url, authority="clock-2") == 1
        note.write_text(note.read_text().replace("\n2\n", "\n3\n", 1))
        assert desk.stamp(url) == 1
    assert desk.unchanged()


def headed(said: bytes) -> bytes:
    """Return an HTTP answer."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {REPLY}\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said


@contextmanager
def tls_server(folder: Path, answer: Callable[[bytes], bytes]) -> Iterator[tuple[str, Path]]:
    """Serve one HTTPS request; return the address and the certificate that a client must believe."""
    root = holder("web root", ca=True)
    own = holder("127.0.0.1", root, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,), host="127.0.0.1")
    root.write(folder, "web-root")
    own.write(folder, "web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "web.pem", folder / "web.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            with listener.accept()[0] as peer:
                try:
                    with context.wrap_socket(peer, server_side=True) as inner:
                        said = answer(inner.recv(65536).partition(b"\r\n\r\n")[2])
                        head = (
                            f"HTTP/1.1 200 OK\r\nContent-Type: {REPLY}\r\nContent-Length: {len(said)}\r\n\r\n"
                        )
                        inner.sendall(head.encode() + said)
                except ssl.SSLError:
                    pass

        thread = Thread(target=once)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/tsa", folder / "web-root.pem"
        thread.join()


@pytest.mark.parametrize("believed", [True, False])
def test_over_tls(party: Party, desk: Desk, monkeypatch: pytest.MonkeyPatch, *, believed: bool) -> None:
    """An https address is what the system's certificates vouch for, or nobody is asked."""
    with tls_server(party.folder, party.good.reply) as (url, root):
        if believed:
            monkeypatch.setenv("SSL_CERT_FILE", str(root))
        assert desk.stamp(url) == (0 if believed else 2)
    assert desk.unchanged() != believed
