"""Where a signing key lives, by URI: `file:PATH`, or `pkcs11:MODULE?token=LABEL&object=LABEL`.

* A key file is an unencrypted PKCS #8 PEM that only its owner can read; it is for an auditor's own witness.
* In a token the key never leaves it. Exactly one key must fit. MODULE is an absolute path: a bare name would
  be searched for, and whose library is found gets the PIN. A `+` or `%` in a label is written `%2B`, `%25`.
* python-pkcs11 is imported only here and only then, and every call is made under one lock: the library
  corrupts its memory under two threads.
* What a key signs is verified once at opening: a key that cannot sign is found out before it is needed.
"""

import importlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger import files
from ledger.checkpoint import Sign

PEM_MAX, PIN_MAX = 4096, 256  # bytes
POINT_HEADER, POINT_SIZE = b"\x04\x20", 34  # a DER octet string of 32 bytes
FORM = "a token needs pkcs11:MODULE?token=LABEL&object=LABEL, with the module's absolute path"
_LOCK = threading.Lock()


class SignerError(Exception):
    """The key cannot be opened or used."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs, wherever it is."""

    public_key: bytes
    sign: Sign


def create_file(path: Path) -> bytes:
    """Make a key file, never over an existing one, and return the public key."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.create(path, pem)  # 0600 and on disk: a key in a trust root must not be lost with the power
    return key.public_key().public_bytes_raw()


def open_key(uri: str, *, pin_file: Path | None = None) -> Signer:
    """Open the key that a URI names."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        signer = _from_file(Path(rest))
    elif scheme == "pkcs11":
        signer = _from_token(rest, pin_file)
    else:
        raise SignerError(f"{uri!r:.80} is neither file: nor pkcs11:")
    try:
        probe = b"ledger/signer: is this key able to sign?"
        Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(probe), probe)
    except (InvalidSignature, ValueError):
        raise SignerError("what the key signs does not verify under its public key") from None
    return signer


def read_secret(path: Path, limit: int) -> bytes:
    """Read a file that only this user may read."""
    try:
        # No link is followed, and a pipe put in the file's place cannot make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            raw = file.read(limit + 1) or b""  # a pipe without a writer has nothing to say
    except OSError as error:
        raise SignerError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SignerError(f"{path}: not a regular file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid != os.geteuid():
        raise SignerError(f"{path}: others may read it; chmod 400")
    if len(raw) > limit:
        raise SignerError(f"{path}: more than {limit} bytes")
    return raw


def _from_file(path: Path) -> Signer:
    try:
        key = serialization.load_pem_private_key(read_secret(path, PEM_MAX), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignerError(f"{path}: not an unencrypted PKCS #8 key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignerError(f"{path}: not an Ed25519 key")
    return Signer(key.public_key().public_bytes_raw(), key.sign)


def _from_token(rest: str, pin_file: Path | None) -> Signer:
    module, token_label, label = _labels(rest)
    if pin_file is None:
        raise SignerError("a token needs a PIN file")
    try:
        pin = read_secret(pin_file, PIN_MAX).decode().strip()
    except UnicodeDecodeError:
        raise SignerError(f"{pin_file}: not UTF-8") from None
    try:
        pkcs11: Any = importlib.import_module("pkcs11")
    except ImportError:
        raise SignerError("python-pkcs11 is not installed") from None
    with _LOCK:
        try:
            session = pkcs11.lib(module).get_token(token_label=token_label).open(user_pin=pin)
        except pkcs11.PKCS11Error as error:
            raise _refusal(error) from None
        try:
            private, public_key = _pair(pkcs11, session, label)
        except (pkcs11.PKCS11Error, SignerError) as error:
            session.close()
            raise _refusal(error) from None

    def sign(message: bytes) -> bytes:
        with _LOCK:
            try:
                return bytes(private.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
            # A key that may not sign has no such method.
            except (pkcs11.PKCS11Error, AttributeError) as error:
                raise _refusal(error) from None

    return Signer(public_key, sign)


def _pair(pkcs11: Any, session: Any, label: str) -> tuple[Any, bytes]:  # noqa: ANN401 - the library ships no types
    private, public = (
        _only(pkcs11, session, kind, label)
        for kind in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY)
    )
    if not all(private[pkcs11.Attribute[name]] for name in ("ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")):
        raise SignerError("the key could leave its token, or was once outside of one")
    point = bytes(public[pkcs11.Attribute.EC_POINT])
    # Tokens give the point bare, or as a DER octet string.
    return private, point[2:] if point[:2] == POINT_HEADER and len(point) == POINT_SIZE else point


def _only(pkcs11: Any, session: Any, kind: Any, label: str) -> Any:  # noqa: ANN401 - as above
    attribute = pkcs11.Attribute
    wanted = {attribute.CLASS: kind, attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS, attribute.LABEL: label}
    # Not get_key: it would leave its search open over a second one.
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        raise SignerError(f"{len(found)} Ed25519 objects {kind.name} labelled {label!r:.80}, expected one")
    return found[0]


def _refusal(error: Exception) -> SignerError:
    words = str(error) if isinstance(error, SignerError) else f"{type(error).__name__} {error}"
    return SignerError(f"token: {words}".strip())


def _labels(rest: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(rest)
        query = parse_qs(parts.query, strict_parsing=True)
        (token,), (label,) = query.pop("token"), query.pop("object")
    except (ValueError, KeyError):
        raise SignerError(FORM) from None
    if query or parts.scheme or parts.netloc or parts.fragment or not parts.path.startswith("/"):
        raise SignerError(FORM)
    return parts.path, token, label
