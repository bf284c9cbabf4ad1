"""Time-stamps: an outside authority's word (RFC 3161) that a checkpoint was there at a certain time.

What is stamped is the SHA-256 of the checkpoint's *text*: the four lines that are signed (origin, size, root,
chain), without the signature lines, so that a witness's later line changes nothing. Once stamped, nobody can
have made this checkpoint later than the authority says; one that lies or has lost its key can say any time.

(1) The document's name says whose it is: `anchors/<size>.<authority>.tsr`, the authority's answer as it came
    (`openssl ts -verify` reads it too). The trust root names the authority.
(2) It proves a stamp over the text of the checkpoint of that size that counts (`ledger.tsp` has the steps).

The extra `timestamp` is optional: without it, whatever needs it is unproven, never good, and `verify` raises.
One stamp can come in other bytes (the status's words, more certificates, another signature value of the same
ECDSA key): what is believed and reported is what was signed. Pure: the nonce is an argument.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ledger.checkpoint import SIZE, Checkpoint
from ledger.trust import AUTHORITY, Authority

EXTRA = ("rfc3161_client", "cryptography.hazmat.asn1")
"""What the extra brings: a library, and a version of the other one that can do more than a verifier needs."""

try:
    from ledger import tsp
except ImportError as error:
    # Only these may be missing: any other gap is a broken installation and must show.
    if error.name not in EXTRA:
        raise
    AVAILABLE = False
else:
    AVAILABLE = True

NAME = re.compile(rf"anchors/({SIZE.pattern})\.({AUTHORITY.pattern})\.tsr")


class TimestampError(ValueError):
    """A time-stamp does not prove what it claims."""


class MissingExtraError(Exception):
    """The extra `timestamp` (rfc3161-client) is not installed: no time-stamp can be made or judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A checkpoint's size, the time by which it was there, who says so, and the number of his word."""

    size: int
    time: datetime
    authority: str
    serial: int


def path(size: int, authority: str) -> str:
    """Return where a time-stamp lies in a bundle."""
    return f"anchors/{size}.{authority}.tsr"


def is_path(name: str) -> bool:
    """Return whether a bundle's file is named like a time-stamp."""
    return NAME.fullmatch(name) is not None


def judgeable(names: Iterable[str], authorities: Mapping[str, Authority]) -> list[str]:
    """Return the files of a bundle that can be judged: of a named authority, where the extra is installed."""
    found = {name: NAME.fullmatch(name) for name in names if AVAILABLE}
    return sorted(name for name, parts in found.items() if parts is not None and parts[2] in authorities)


def judge(
    name: str, raw: bytes, authorities: Mapping[str, Authority], *, checkpoints: Mapping[int, Checkpoint]
) -> Stamped:
    """Return what a bundle's file proves about the checkpoint it is named after, or raise TimestampError."""
    parts = NAME.fullmatch(name)  # (1)
    if parts is None:
        raise TimestampError(f"{name!r:.80} is not named like a time-stamp")
    checkpoint = checkpoints.get(int(parts[1]))
    if checkpoint is None:
        raise TimestampError(f"no checkpoint of {parts[1]} entries counts")
    return verify(raw, authorities, authority=parts[2], checkpoint=checkpoint)


def request(checkpoint: Checkpoint, authority: Authority, *, nonce: int) -> bytes:
    """Return the request for a time-stamp of a checkpoint; the nonce (64 bits) must be new and random."""
    check_available()
    return tsp.request(_digest(checkpoint), nonce=nonce, policy=authority.policy)


def verify(
    raw: bytes,
    authorities: Mapping[str, Authority],
    *,
    authority: str,
    checkpoint: Checkpoint,
    nonce: int | None = None,
) -> Stamped:
    """Return what an authority's answer proves about a checkpoint, or raise TimestampError.

    Whoever has asked gives the nonce of his request; a document found later is judged without.
    """
    check_available()
    believed = authorities.get(authority)
    if believed is None:
        raise TimestampError(f"{authority!r:.80} is no authority of the trust root")
    try:
        token = tsp.verify(  # (2)
            raw, believed.roots, digest=_digest(checkpoint), nonce=nonce, policy=believed.policy
        )
    except tsp.TspError as error:
        raise TimestampError(str(error)) from None
    return Stamped(size=checkpoint.size, time=token.time, authority=authority, serial=token.serial)


def check_available() -> None:
    """Raise MissingExtraError where no time-stamp can be judged."""
    if not AVAILABLE:
        raise MissingExtraError("time-stamps need the extra `timestamp` (rfc3161-client)")


def _digest(checkpoint: Checkpoint) -> bytes:
    return hashlib.sha256(checkpoint.text.encode()).digest()
