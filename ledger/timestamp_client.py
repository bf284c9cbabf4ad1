"""Asking a time-stamp authority: what comes back is believed only as far as the trust root goes.

Addresses are `http://HOST[:PORT]/PATH` and `https://…`. An answer proves itself, so both are as good; the
first lets others see a digest, and when it was asked for. An authority that is slow, talks too much, is gone
or lies costs `timeout_s` and nothing else. The nonce, 64 random bits, is the caller's.
"""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from urllib.parse import urlsplit

from ledger import timestamp
from ledger.checkpoint import Checkpoint
from ledger.exchange import Answer, connected, exchange, target
from ledger.timestamp import Stamped, TimestampError
from ledger.trust import Authority

ANSWER_MAX = 128 * 1024  # bytes with headers; a response of 64 KiB is the longest that is read
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


class UnreachableError(Exception):
    """The authority did not answer in time, or not in the protocol's form."""


def ask(
    url: str,
    authorities: Mapping[str, Authority],
    *,
    authority: str,
    checkpoint: Checkpoint,
    nonce: int,
    timeout_s: float,
) -> tuple[bytes, Stamped]:
    """Return an authority's answer and what it proves; raises TimestampError for any that proves nothing."""
    believed = authorities.get(authority)
    if believed is None:
        raise TimestampError(f"{authority!r:.80} is no authority of the trust root")
    request = timestamp.request(checkpoint, believed, nonce=nonce)
    answer = _posted(url, request, timeout_s)
    if answer.status != HTTPStatus.OK or answer.kind.partition(";")[0].strip().lower() != REPLY:
        raise UnreachableError(f"HTTP {answer.status}, {answer.kind!r:.80}")
    stamped = timestamp.verify(
        answer.body, authorities, authority=authority, checkpoint=checkpoint, nonce=nonce
    )
    return answer.body, stamped


def check(url: str) -> None:
    """Raise ValueError unless an authority can be asked at this address."""
    target(urlsplit(url))


def _posted(url: str, body: bytes, timeout_s: float) -> Answer:
    try:
        parts = urlsplit(url)
        head = [
            f"POST {target(parts)} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Type: {QUERY}",
            f"Accept: {REPLY}",
        ]
        return exchange(partial(connected, parts), head, body, limit=ANSWER_MAX, timeout_s=timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{url!r:.200}: {ascii(str(error))[1:-1]:.200}") from None
