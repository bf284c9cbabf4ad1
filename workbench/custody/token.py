"""One PKCS#11 token in one process: open, generate, sign.

What it overrides of python-pkcs11 and why:
* every call stands under one lock: the library releases the GIL and initialises
  the module without OS locking, so two threads corrupt the heap;
* keys are addressed by CKA_ID, the first 16 bytes of SHA-256 over the public key,
  never by label or slot number: labels are not unique and slots move;
* a sealing key may encrypt and decrypt, never wrap: with both it would unwrap its way out of the token;
* a private key must be LOCAL, ALWAYS_SENSITIVE, NEVER_EXTRACTABLE, not modifiable
  and able to sign only; an imported key does not pass, a missing attribute does
  not pass either;
* SOFTHSM2_CONF is read once by the module: one process opens one token.

Login is per process: whatever runs in this process can sign. The process boundary
is the wall, not this class.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

INSTALL_HINT = "install it with `make` or `apt-get install softhsm2`, or name another PKCS#11 module"
SOFTHSM_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
)
ED25519_OID = "1.3.101.112"
KEY_ID_BYTES = 16
REQUIRED = {
    Attribute.LOCAL: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.PRIVATE: True,
    Attribute.MODIFIABLE: False,
    Attribute.SIGN: True,
    Attribute.DERIVE: False,
}

SEALING_REQUIRED: dict[Attribute, bool] = REQUIRED | {
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.SIGN: False,
}
SEALING_BITS = 256
IV_BYTES = 12
TAG_BITS = 128

_lock = threading.Lock()


class TokenError(Exception):
    """The token, a key in it, or what it claims of the key is not as it must be."""


def softhsm_module() -> Path:
    """Return SoftHSM's module, or say how to install it."""
    for path in SOFTHSM_MODULES:
        if path.exists():
            return path
    raise TokenError(f"no SoftHSM module; {INSTALL_HINT}")


def create_softhsm(folder: Path, *, label: str, pin: str, so_pin: str) -> None:
    """Make a SoftHSM token in `folder`, with its configuration beside it."""
    tool = shutil.which("softhsm2-util")
    if tool is None:
        raise TokenError(f"no softhsm2-util; {INSTALL_HINT}")
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700)
    config = folder / "softhsm2.conf"
    config.write_text(
        f"directories.tokendir = {tokens}\n"
        "objectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    command = [tool, "--init-token", "--free", "--label", label, "--so-pin", so_pin, "--pin", pin]
    environment = {**os.environ, "SOFTHSM2_CONF": str(config)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise TokenError(f"softhsm2-util: {done.stderr.strip() or done.stdout.strip()}")


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """An Ed25519 key inside the token: an identity, never an asset's owner."""

    public_key: bytes
    _sign: Callable[[bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over the message."""
        return self._sign(message)


@dataclass(frozen=True, slots=True)
class Secp256k1Key:
    """A secp256k1 key inside the token; `public_key` is the 65-byte point."""

    public_key: bytes
    _sign: Callable[[bytes], bytes]

    def sign_digest(self, digest: bytes) -> bytes:
        """Return r ‖ s (64 bytes, s not yet normalised) over a 32-byte digest."""
        if len(digest) != hashlib.sha256().digest_size:
            raise TokenError(f"a digest has 32 bytes, got {len(digest)}")
        return self._sign(digest)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """An AES-256 key inside the token, under which small secrets lie outside it; `id` is its CKA_ID."""

    id: bytes
    _encrypt: Callable[[bytes, bytes, bytes], bytes]
    _decrypt: Callable[[bytes, bytes, bytes], bytes]

    def seal(self, secret: bytes, associated: bytes) -> bytes:
        """Return IV ‖ AES-GCM of the secret, bound to the associated data."""
        iv = os.urandom(IV_BYTES)
        return iv + self._encrypt(secret, iv, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the secret; TokenError when it was sealed for something else, elsewhere, or altered."""
        return self._decrypt(sealed[IV_BYTES:], sealed[:IV_BYTES], associated)


class Token:
    """An open token, logged in."""

    def __init__(self, folder: Path, *, module: Path, label: str, pin: str) -> None:
        config = folder / "softhsm2.conf"
        if not module.exists():
            raise TokenError(f"{module}: no such PKCS#11 module; {INSTALL_HINT}")
        if not config.exists():
            raise TokenError(f"{folder}: no token here; `workbench demo` makes one")
        os.environ["SOFTHSM2_CONF"] = str(config)
        with _lock:
            try:
                self._session = (
                    pkcs11.lib(str(module)).get_token(token_label=label).open(rw=True, user_pin=pin)
                )
            except pkcs11.PKCS11Error as error:
                raise TokenError(f"token {label}: {type(error).__name__} {error}") from error

    def close(self) -> None:
        """Log out."""
        with _lock:
            self._session.close()

    def generate_ed25519(self, label: str) -> Ed25519Key:
        """Make an identity key inside the token."""
        parameters = encode_named_curve_parameters(ED25519_OID)
        point = self._generate(KeyType.EC_EDWARDS, parameters, Mechanism.EC_EDWARDS_KEY_PAIR_GEN, label)
        return self.ed25519(_ed25519_raw(point))

    def generate_secp256k1(self, label: str) -> Secp256k1Key:
        """Make a signing key for transactions inside the token."""
        parameters = encode_named_curve_parameters("secp256k1")
        point = self._generate(KeyType.EC, parameters, Mechanism.EC_KEY_PAIR_GEN, label)
        return self.secp256k1(_secp256k1_raw(point))

    def ed25519(self, public_key: bytes) -> Ed25519Key:
        """Return the identity key whose public part this is."""
        private = self._private(public_key)
        return Ed25519Key(public_key, lambda message: self._sign(private, message, Mechanism.EDDSA))

    def secp256k1(self, public_key: bytes) -> Secp256k1Key:
        """Return the transaction key whose public part this is."""
        private = self._private(public_key)
        return Secp256k1Key(public_key, lambda digest: self._sign(private, digest, Mechanism.ECDSA))

    def generate_sealing(self, label: str) -> SealingKey:
        """Make a sealing key inside the token."""
        identity = os.urandom(KEY_ID_BYTES)
        with _lock:
            self._session.generate_key(
                KeyType.AES,
                SEALING_BITS,
                id=identity,
                label=label,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.PRIVATE: True,
                    Attribute.MODIFIABLE: False,
                },
            )
        return self.sealing(identity)

    def sealing(self, identity: bytes) -> SealingKey:
        """Return the sealing key with this CKA_ID."""
        with _lock:
            wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: identity}
            key = self._one(wanted, f"sealing keys with id {identity.hex()}")
            _verify(key, SEALING_REQUIRED, f"sealing key {identity.hex()}")

        def encrypt(plain: bytes, iv: bytes, associated: bytes) -> bytes:
            return self._cipher(key.encrypt, plain, iv, associated)

        def decrypt(sealed: bytes, iv: bytes, associated: bytes) -> bytes:
            return self._cipher(key.decrypt, sealed, iv, associated)

        return SealingKey(identity, encrypt, decrypt)

    def attributes(self, public_key: bytes) -> dict[str, bool | None]:
        """Return what the token claims of a private key; None where it says nothing."""
        with _lock:
            key = self._find(public_key)
            return {attribute.name: _attribute(key, attribute) for attribute in REQUIRED}

    def _generate(self, kind: KeyType, parameters: bytes, mechanism: Mechanism, label: str) -> bytes:
        with _lock:
            domain = self._session.create_domain_parameters(
                kind, {Attribute.EC_PARAMS: parameters}, local=True
            )
            public, private = domain.generate_keypair(
                label=label,
                store=True,
                mechanism=mechanism,
                # The library's default adds DERIVE.
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                private_template={
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.PRIVATE: True,
                },
            )
            point = bytes(public[Attribute.EC_POINT])
            raw = _ed25519_raw(point) if kind is KeyType.EC_EDWARDS else _secp256k1_raw(point)
            identity = key_id(raw)
            public[Attribute.ID] = identity
            private[Attribute.ID] = identity
            # Only now: MODIFIABLE False forbids setting the id, and a copy may tighten but never loosen.
            private.copy({Attribute.MODIFIABLE: False})
            private.destroy()
            return point

    def _find(self, public_key: bytes) -> Any:  # noqa: ANN401 - the library ships no types
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: key_id(public_key)}
        return self._one(wanted, f"private keys with id {key_id(public_key).hex()}")

    def _one(self, wanted: dict[Attribute, Any], what: str) -> Any:  # noqa: ANN401 - as above
        found = list(self._session.get_objects(wanted))
        if len(found) != 1:
            raise TokenError(f"{len(found)} {what}, expected one")
        return found[0]

    def _private(self, public_key: bytes) -> Any:  # noqa: ANN401 - the library ships no types
        with _lock:
            key = self._find(public_key)
            # An imported or copied-out key is refused here, whatever its label says.
            _verify(key, REQUIRED, f"key {key_id(public_key).hex()}")
            return key

    def _cipher(self, call: Callable[..., bytes], text: bytes, iv: bytes, associated: bytes) -> bytes:
        with _lock:
            try:
                parameters = GCMParams(iv, associated, tag_bits=TAG_BITS)
                return bytes(call(text, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
            except (pkcs11.PKCS11Error, ValueError) as error:
                # tokens do not say that a tag is wrong: some only say that something is
                raise TokenError(f"the token does not seal or open this: {type(error).__name__}") from error

    def _sign(self, key: Any, message: bytes, mechanism: Mechanism) -> bytes:  # noqa: ANN401 - as above
        with _lock:
            try:
                return bytes(key.sign(message, mechanism=mechanism))
            except pkcs11.PKCS11Error as error:
                raise TokenError(f"the token did not sign: {type(error).__name__} {error}") from error


def key_id(public_key: bytes) -> bytes:
    """Return the CKA_ID under which a key is found."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def _verify(key: Any, required: dict[Attribute, bool], what: str) -> None:  # noqa: ANN401 - as above
    for attribute, expected in required.items():
        got = _attribute(key, attribute)
        if got is not expected:
            raise TokenError(f"{what}: {attribute.name} is {got}, must be {expected}")


def _attribute(key: Any, attribute: Attribute) -> bool | None:  # noqa: ANN401 - the library ships no types
    try:
        return bool(key[attribute])
    except pkcs11.PKCS11Error:
        # Not every token knows every attribute: unknown is not the same as true.
        return None


def _secp256k1_raw(point: bytes) -> bytes:
    """Return the 65-byte point; tokens give it bare or as a DER octet string."""
    raw = point[2:] if point[:2] == b"\x04\x41" and len(point) == 67 else point  # noqa: PLR2004
    if len(raw) != 65 or raw[0] != 4:  # noqa: PLR2004 - an uncompressed point
        raise TokenError(f"not an uncompressed secp256k1 point: {len(point)} bytes")
    return raw


def _ed25519_raw(point: bytes) -> bytes:
    """Return the 32-byte key; tokens give it bare or as a DER octet string."""
    raw = point[2:] if point[:2] == b"\x04\x20" and len(point) == 34 else point  # noqa: PLR2004
    if len(raw) != 32:  # noqa: PLR2004
        raise TokenError(f"not an Ed25519 public key: {len(point)} bytes")
    return raw
