"""What every document that crosses a boundary has in common.

A document is a frozen pydantic model in strict mode: an unknown field, a float, a
number as text or an address with a wrong checksum is refused with the path of the
field. Its bytes are its canonical JSON; since parsing refuses all but the canonical
form, those are the bytes that were signed. Every signed message begins with its own
domain line, so a signature for one kind of document can never serve as another's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_utils.address import to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ledger.encoding import EncodingError, canonical, parse
from workbench.rules.codes import Refusal, RefusedError

DOCUMENT_MAX = 4 * 1024 * 1024
"""The largest thing that crosses a boundary: evidence (FORMATS)."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
BASE64URL_MAX = 20_000
"""An assertion with its client data is below a kilobyte."""
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def _matching(pattern: str, what: str) -> AfterValidator:
    expression = re.compile(pattern)

    def check(value: str) -> str:
        if expression.fullmatch(value) is None:
            raise ValueError(f"not {what}")
        return value

    return AfterValidator(check)


def _checksummed(value: str) -> str:
    if re.fullmatch(r"0x[0-9a-fA-F]{40}", value) is None or to_checksum_address(value) != value:
        raise ValueError("not an EIP-55 address")
    return value


def _base64url(value: str) -> str:
    # "QQ" and "QR" decode alike: two spellings of one credential would be two credentials
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        raw = b""
    if len(value) > BASE64URL_MAX or not raw or base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != value:
        raise ValueError("not base64url without padding")
    return value


def _legible(value: str) -> str:
    # a text that steers the screen it is shown on could make a person read another text
    if _STEERING.search(value):
        raise ValueError("control or direction characters")
    return value


def _timestamp(value: str) -> str:
    if read_time(value).strftime(TIME_FORMAT) != value:
        raise ValueError("not RFC 3339 UTC with microseconds")
    return value


def printable(value: str) -> str:
    """Return a text that somebody else wrote without what steers the screen it is shown on."""
    return _STEERING.sub("", value)


def read_time(value: str) -> datetime:
    """Return the moment that a timestamp of ours names."""
    return datetime.strptime(value, TIME_FORMAT).replace(tzinfo=UTC)


def write_time(moment: datetime) -> str:
    """Return RFC 3339 UTC with microseconds."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


Address = Annotated[str, AfterValidator(_checksummed)]
Time = Annotated[str, AfterValidator(_timestamp)]
Digest = Annotated[str, _matching(r"[0-9a-f]{64}", "64 lower-case hex digits")]
Hex16 = Annotated[str, _matching(r"[0-9a-f]{32}", "32 lower-case hex digits")]
Hex = Annotated[str, _matching(r"(?:[0-9a-f]{2})*", "lower-case hex")]
Base64Url = Annotated[str, AfterValidator(_base64url)]
Amount = Annotated[str, _matching(r"0|[1-9][0-9]{0,77}", "a decimal string of base units")]
SignedAmount = Annotated[str, _matching(r"0|-?[1-9][0-9]{0,77}", "a signed decimal string of base units")]
Name = Annotated[str, _matching(r"[a-z0-9][a-z0-9._-]{0,63}", "a name: lower-case letters, digits, . _ -")]
Prose = Annotated[str, Field(max_length=2000)]
Said = Annotated[Prose, AfterValidator(_legible)]
"""What a person wrote for others to read before they decide."""
Symbol = Annotated[str, _matching(r"[A-Z0-9]{1,16}", "a symbol: upper-case letters and digits")]
Whole = Annotated[int, Field(ge=0, le=2**53 - 1)]
Seconds = Annotated[int, Field(ge=0, le=10**9)]
"""A span of time; thirty years is longer than anything here lives, and far below what dates can hold."""
Asset = Annotated[str, AfterValidator(lambda value: value if value == "ETH" else _checksummed(value))]


class Document(BaseModel):
    """Strict, frozen, and nothing beside its fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def load(cls, value: object, *, at: str = "") -> Self:
        """Build from parsed JSON, or refuse with the first wrong field's path."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"/{part}" for part in first["loc"])
            raise RefusedError(Refusal.MALFORMED, str(first["msg"]), path=at + place) from error

    @classmethod
    def read(cls, raw: bytes, *, limit: int = DOCUMENT_MAX) -> Self:
        """Build from bytes, which must be canonical JSON."""
        return cls.load(read_json(raw, limit=limit))

    def dump(self) -> dict[str, Any]:
        """Return the document as JSON values; optional fields that are absent stay absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def canonical(self) -> bytes:
        """Return the bytes that are signed and hashed."""
        return canonical(self.dump(), limit=DOCUMENT_MAX)


def read_json(raw: bytes, *, limit: int) -> Any:  # noqa: ANN401 - the JSON edge
    """Parse canonical JSON, or refuse with what is wrong and where."""
    if len(raw) > limit:
        raise RefusedError(Refusal.TOO_LARGE, f"{len(raw)} bytes, at most {limit}")
    try:
        return parse(raw, limit=limit)
    except EncodingError as error:
        raise RefusedError(Refusal.MALFORMED, str(error), path=error.path) from error


def signed_bytes(line: str, document: bytes) -> bytes:
    """Return what is signed: the domain line, a line feed, the canonical document."""
    return line.encode() + b"\n" + document


def digest(line: str, document: bytes) -> bytes:
    """Return the SHA-256 that names a document and serves as WebAuthn challenge."""
    return hashlib.sha256(signed_bytes(line, document)).digest()


def verify_ed25519(public_key: str, signature: str, line: str, document: bytes, *, what: str) -> None:
    """Verify an Ed25519 signature over a document, or refuse."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), signed_bytes(line, document))
    except (InvalidSignature, ValueError) as error:
        raise RefusedError(Refusal.SIGNATURE, f"{what}: the signature does not verify") from error
