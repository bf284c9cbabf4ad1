"""What a stranger says, by file or by HTTP: read whole within so many bytes and seconds, or not at all.

Addresses are `http://HOST[:PORT]/PATH` and `https://…`; no redirection is followed, no proxy asked. What
comes is believed only for a signature inside it. Nothing here is tried again.
"""

import os
import stat
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ledger.exchange import connected, exchange, target

HEAD_MAX: Final = 8192


class FetchError(Exception):
    """Nothing that could be read came from there."""


def check(url: str) -> None:
    """Raise FetchError unless something could be fetched from this address."""
    try:
        target(urlsplit(url))
    except ValueError as error:
        raise FetchError(f"{url!r:.200}: {error}") from None


def get(url: str, *, limit: int, timeout_s: float) -> bytes:
    """Return the body that stands at an address; the address itself is in no error."""
    parts = urlsplit(url)
    try:
        head = [f"GET {target(parts)} HTTP/1.1", f"Host: {parts.netloc}", "Accept: application/json"]
        most = limit + HEAD_MAX
        answer = exchange(partial(connected, parts), head, b"", limit=most, timeout_s=timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(f"no answer: {type(error).__name__}") from None
    if answer.status != HTTPStatus.OK:
        raise FetchError(f"HTTP {answer.status}")
    return _whole(answer.body, limit)


def read(path: Path, *, limit: int) -> bytes:
    """Return what is in a regular file; a pipe or a device would make us wait."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FetchError("not a regular file")
            return _whole(file.read(limit + 1), limit)
    except OSError as error:
        raise FetchError(error.strerror or type(error).__name__) from None


def _whole(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise FetchError(f"more than {limit} bytes")
    return body
