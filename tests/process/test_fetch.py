"""What strangers say: whole and in time, or nothing, and never where they send us."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from workbench.process.fetch import FetchError, check, get, read

LIMIT = 1000


class Says(BaseHTTPRequestHandler):
    """Answers as its path says."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/price")
        elif self.path == "/gone":
            self.send_response(404)
        else:
            self.send_response(200)
        self.end_headers()
        body = {"/long": b"x" * (LIMIT + 1), "/endless": b"x" * 20_000}.get(self.path, b"{}")
        try:
            if self.path == "/slow":
                for _ in range(20):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.1)
            self.wfile.write(body)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Give the address of a server."""
    server = HTTPServer(("127.0.0.1", 0), Says)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_there(url: str, tmp_path: Path) -> None:
    """By HTTP and by file, the bytes as they are."""
    (tmp_path / "price").write_bytes(b"{}")
    assert get(f"{url}/price", limit=LIMIT, timeout_s=5) == b"{}"
    assert read(tmp_path / "price", limit=2) == b"{}"


REFUSED = {
    "a redirection": ("/moved", "HTTP 302"),
    "nothing there": ("/gone", "HTTP 404"),
    "too long": ("/long", "more than 1000 bytes"),
    "without end": ("/endless", "no answer: ValueError"),
    "a byte now and then": ("/slow", "no answer: TimeoutError"),
}


@pytest.mark.parametrize(("path", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_taken(url: str, path: str, said: str) -> None:
    """Nothing is followed, waited for or cut off, and the error does not name the address."""
    began = time.monotonic()
    with pytest.raises(FetchError, match=said) as caught:
        get(url + path, limit=LIMIT, timeout_s=0.5)
    assert time.monotonic() - began < 3
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["ftp://a/b", "http:///b", "http://u:p@a/b", "http://a/b#c", "http://a/b c", "http://a:0/", "file:///b"],
)
def test_addresses_that_are_none(address: str) -> None:
    """Only plain addresses of HTTP can be configured."""
    with pytest.raises(FetchError):
        check(address)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _long(path: Path) -> None:
    path.write_bytes(bytes(LIMIT + 1))


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (_pipe, "not a regular file"),
    "a folder": (lambda path: path.mkdir(), "(?i)directory|regular"),
    "too long": (_long, "more than 1000"),
    "nothing": (lambda _: None, "No such file"),
}


@pytest.mark.parametrize(("make", "said"), FILES.values(), ids=FILES)
def test_files_that_are_none(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """Nothing that would make us wait, or that has no end, is read."""
    make(tmp_path / "price")
    with pytest.raises(FetchError, match=said):
        read(tmp_path / "price", limit=LIMIT)
