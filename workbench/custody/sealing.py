"""Small secrets outside a token, each under a fresh key that only the token can give back.

An envelope has the data key sealed by the token, and the secret under the data key by AES-256-GCM. Both are
bound to what the caller says it is for and to the envelope's own header; where the token's mechanism binds
nothing beside (RSA-OAEP, AES key wrap) the second one does, so that a wrong purpose is refused with each.

(1) The mechanism is chosen once, when the sealing key is made, by a trial on that token, in this order:
    AES-GCM, RSA-OAEP with SHA-256, with SHA-1, AES key wrap with padding. It is part of the key's name
    (`aes-gcm:ID`), and an envelope that names another mechanism, other parameters or another key is refused.
(2) A sealing key encrypts and decrypts. It never wraps: a key with both unwraps its way out of the token.
    So key wrap is used where a token does it by C_Encrypt, and not where it is for keys only (SoftHSM).
(3) With RSA-OAEP the token opens and whoever has the public key seals: an envelope then says nothing about
    who made it. SHA-1 stands there for a hash without structure, which is not broken in OAEP.
(4) GCM's IV is ours. A token that puts in its own does not pass the trial.

The secret and its data key are in this process's memory; a share of a key is not, it is sealed inside the
engine under a secret of 32 bytes, which is what lies in an envelope.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import MGF, Attribute, GCMParams, KeyType, Mechanism, MechanismFlag
from pydantic import Field

from ledger.encoding import canonical
from workbench.custody.errors import TokenError
from workbench.custody.library import calling
from workbench.rules.codes import Refusal
from workbench.rules.documents import Document, Hex, Hex16

KEY_BYTES, IV_BYTES, TAG_BITS = 32, 12, 128
AES_BITS = 256
RSA_BITS = 3072
EXPONENT = 65537
ID_BYTES = 16
WRAPPED_MAX = 2048
SECRET_MAX = 1 << 20


class Sealing(StrEnum):
    """A mechanism by which a token seals, the best first."""

    AES_GCM = "aes-gcm"
    RSA_OAEP_SHA256 = "rsa-oaep-sha256"
    RSA_OAEP_SHA1 = "rsa-oaep-sha1"
    AES_KEY_WRAP_PAD = "aes-key-wrap-pad"

    @property
    def is_pair(self) -> bool:
        """Whether it seals with the public half of a pair."""
        return self in _OAEP


_OAEP = {
    Sealing.RSA_OAEP_SHA256: (Mechanism.SHA256, MGF.SHA256, None),
    Sealing.RSA_OAEP_SHA1: (Mechanism.SHA_1, MGF.SHA1, None),
}
_HASHES: dict[Sealing, type[hashes.SHA256 | hashes.SHA1]] = {
    Sealing.RSA_OAEP_SHA256: hashes.SHA256,
    Sealing.RSA_OAEP_SHA1: hashes.SHA1,
}
_PARAMETERS: dict[Sealing, dict[str, str]] = {
    Sealing.RSA_OAEP_SHA256: {"hash": "SHA-256", "mgf": "MGF1-SHA-256"},
    Sealing.RSA_OAEP_SHA1: {"hash": "SHA-1", "mgf": "MGF1-SHA-1"},
    Sealing.AES_KEY_WRAP_PAD: {},
}


@dataclass(frozen=True, slots=True)
class SealingName:
    """How a sealing key is named: its mechanism and its CKA_ID."""

    mechanism: Sealing
    id: bytes

    def __str__(self) -> str:
        return f"{self.mechanism.value}:{self.id.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name, or refuse any other spelling of it."""
        mechanism, _, identity = text.partition(":")
        try:
            name = cls(Sealing(mechanism), bytes.fromhex(identity))
        except ValueError as error:
            raise TokenError(Refusal.SEALED, f"{text!r:.120} names no sealing key") from error
        if str(name) != text or len(name.id) != ID_BYTES:
            raise TokenError(Refusal.SEALED, f"{text!r:.120} names no sealing key")
        return name


class Envelope(Document):
    """A secret: its header, the data key under the token's key, the secret under the data key."""

    v: Literal[1]
    mechanism: Annotated[str, Field(max_length=64)]
    key: Hex16
    parameters: Annotated[dict[str, str], Field(max_length=4)]
    wrapped: Annotated[Hex, Field(max_length=2 * WRAPPED_MAX)]
    iv: Annotated[Hex, Field(min_length=2 * IV_BYTES, max_length=2 * IV_BYTES)]
    data: Annotated[Hex, Field(max_length=2 * SECRET_MAX + 64)]


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key inside the token, under which small secrets lie outside it."""

    name: SealingName
    _seal: Callable[[bytes, dict[str, str], bytes], bytes]
    _open: Callable[[bytes, dict[str, str], bytes], bytes]

    def seal(self, secret: bytes, associated: bytes) -> Envelope:
        """Return the secret in an envelope, bound to what it is for."""
        if len(secret) > SECRET_MAX:
            raise TokenError(Refusal.SEALED, f"a secret of {len(secret)} bytes, at most {SECRET_MAX}")
        parameters = _PARAMETERS.get(self.name.mechanism, _gcm(os.urandom(IV_BYTES)))
        bound = self._bound(parameters, associated)
        key, iv = AESGCM.generate_key(AES_BITS), os.urandom(IV_BYTES)
        with calling("the token does not seal this"):
            wrapped = self._seal(key, parameters, bound)
        return Envelope(
            v=1,
            mechanism=self.name.mechanism.value,
            key=self.name.id.hex(),
            parameters=parameters,
            wrapped=wrapped.hex(),
            iv=iv.hex(),
            data=AESGCM(key).encrypt(iv, secret, bound).hex(),
        )

    def open(self, envelope: Envelope, associated: bytes) -> bytes:
        """Return the secret.

        Raises:
            TokenError: sealed for something else, by another key or mechanism than this, or altered.

        """
        if (envelope.mechanism, envelope.key) != (self.name.mechanism.value, self.name.id.hex()):
            said = f"sealed by {envelope.mechanism}:{envelope.key}"[:120]
            raise TokenError(Refusal.SEALED, f"{said}, this key is {self.name}")
        self._check(envelope.parameters)
        bound = self._bound(envelope.parameters, associated)
        # tokens do not say that a tag is wrong: some only say that something is
        with calling("the token does not open this", Refusal.SEALED):
            key = self._open(bytes.fromhex(envelope.wrapped), envelope.parameters, bound)
        if len(key) != KEY_BYTES:
            raise TokenError(Refusal.SEALED, f"a data key of {len(key)} bytes")
        try:
            return AESGCM(key).decrypt(bytes.fromhex(envelope.iv), bytes.fromhex(envelope.data), bound)
        except InvalidTag as error:
            raise TokenError(Refusal.SEALED, "altered, or sealed for something else") from error

    def _check(self, parameters: dict[str, str]) -> None:
        expected = _PARAMETERS.get(self.name.mechanism)
        if expected is None:
            iv = parameters.get("iv", "")
            expected = _gcm(bytes.fromhex(iv)) if _is_iv(iv) else _gcm(b"")
        if parameters != expected:
            raise TokenError(Refusal.SEALED, f"parameters {parameters!r:.200} for {self.name.mechanism}")

    def _bound(self, parameters: dict[str, str], associated: bytes) -> bytes:
        """Return the digest of what both layers are bound to; some tokens take little beside the text."""
        header = {"v": 1, "key": str(self.name), "parameters": parameters, "for": associated.hex()}
        return hashlib.sha256(canonical(header, limit=4 * SECRET_MAX)).digest()


def generate(session: Any, mechanism: Sealing, *, label: str, store: bool, rsa_bits: int = RSA_BITS) -> Any:  # noqa: ANN401
    """Make a sealing key, or the pair (public, private) of one."""
    hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    may = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
    if mechanism.is_pair:
        return session.generate_keypair(
            KeyType.RSA, rsa_bits, label=label, store=store, capabilities=may, private_template=hidden
        )
    return session.generate_key(
        KeyType.AES,
        AES_BITS,
        id=os.urandom(ID_BYTES),
        label=label,
        store=store,
        capabilities=may,
        template=hidden | {Attribute.MODIFIABLE: False},
    )


def sealing_key(name: SealingName, seals: Any, opens: Any) -> SealingKey:  # noqa: ANN401 - the library's keys
    """Return what seals and opens with these halves, or with one key that is both. It attests nothing."""

    def seal(key: bytes, parameters: dict[str, str], bound: bytes) -> bytes:
        return bytes(seals.encrypt(key, **_call(name.mechanism, parameters, bound)))

    def open_(wrapped: bytes, parameters: dict[str, str], bound: bytes) -> bytes:
        return bytes(opens.decrypt(wrapped, **_call(name.mechanism, parameters, bound)))

    return SealingKey(name, seal, open_)


def public_half(mechanism: str, modulus: str, exponent: int = EXPONENT) -> SealingKey:
    """Return what seals to a pair of which only the public half is here; it opens nothing.

    Args:
        mechanism: one of the two with RSA-OAEP.
        modulus: in hex.
        exponent: as tokens choose it.

    """
    meant = Sealing(mechanism)
    number = int(modulus, 16)
    public = RSAPublicNumbers(exponent, number).public_key()
    hashing = _HASHES[meant]
    padded = padding.OAEP(padding.MGF1(hashing()), hashing(), None)

    def seal(key: bytes, _: dict[str, str], __: bytes) -> bytes:
        return public.encrypt(key, padded)

    def open_(_: bytes, __: dict[str, str], ___: bytes) -> bytes:
        raise TokenError(Refusal.SEALED, "the private half of this pair is in another token")

    width = (number.bit_length() + 7) // 8, (exponent.bit_length() + 7) // 8
    identity = _pair_id(number.to_bytes(width[0], "big"), exponent.to_bytes(width[1], "big"))
    return SealingKey(SealingName(meant, identity), seal, open_)


def pair_id(public: Any) -> bytes:  # noqa: ANN401 - as above
    """Return the CKA_ID of a pair: 16 bytes of SHA-256 over its modulus and exponent."""
    return _pair_id(bytes(public[Attribute.MODULUS]), bytes(public[Attribute.PUBLIC_EXPONENT]))


def _pair_id(*numbers: bytes) -> bytes:
    stripped = [number.lstrip(b"\0").hex() for number in numbers]
    return hashlib.sha256(canonical(stripped)).digest()[:ID_BYTES]


def _call(mechanism: Sealing, parameters: dict[str, str], bound: bytes) -> dict[str, Any]:
    if mechanism in _OAEP:
        return {"mechanism": Mechanism.RSA_PKCS_OAEP, "mechanism_param": _OAEP[mechanism]}
    if mechanism is Sealing.AES_KEY_WRAP_PAD:
        return {"mechanism": Mechanism.AES_KEY_WRAP_PAD}
    iv = bytes.fromhex(parameters["iv"])
    return {
        "mechanism": Mechanism.AES_GCM,
        "mechanism_param": GCMParams(iv, bound, tag_bits=TAG_BITS),
    }


def _gcm(iv: bytes) -> dict[str, str]:
    return {"iv": iv.hex(), "tag_bits": str(TAG_BITS)}


def _is_iv(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == IV_BYTES
    except ValueError:
        return False
