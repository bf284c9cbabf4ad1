"""What a token can do: what its list of mechanisms says, and what a trial shows.

Each trial makes a key that lives in the session only, uses it both ways, checks the result outside the token
where it can, and destroys it: nothing stays behind on the token, whatever happens. A token that lists what
it does not do, or does what it does not list, is described as it is; only the trial counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters

from workbench.custody import sealing
from workbench.custody.errors import TokenError
from workbench.custody.library import LOCK
from workbench.custody.sealing import Sealing, SealingName, sealing_key

ED25519_OID = "1.3.101.112"
LARGE = 300_000
RSA_BITS = 2048
"""A trial's pair: what it can do does not hang on its size, and a small one is made soon."""
MESSAGE = hashlib.sha256(b"oms-token/v1: is this token able to sign?").digest()


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that a token may be able to do; `said` is why it is not."""

    name: str
    is_listed: bool
    works: bool
    said: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What all trials of one token showed."""

    trials: tuple[Trial, ...]

    def has(self, name: str) -> bool:
        """Whether the trial of this name worked; a name that was not tried is none."""
        return any(trial.works for trial in self.trials if trial.name == name)

    @property
    def sealing(self) -> Sealing | None:
        """The best mechanism that seals here; None where there is none."""
        return next((each for each in Sealing if self.has(each.value)), None)

    @property
    def words(self) -> str:
        """Say it in a line."""
        return ", ".join(("" if trial.works else "no ") + trial.name for trial in self.trials)


class FailedTrialError(Exception):
    """The token did it, and what came out is wrong."""


def probe(session: Any, mechanisms: set[Mechanism]) -> Capabilities:  # noqa: ANN401 - the library ships no types
    """Try everything, with keys of this session only."""
    return Capabilities(tuple(_try(session, mechanisms, *each) for each in TRIALS))


def _try(
    session: Any,  # noqa: ANN401 - as above
    mechanisms: set[Mechanism],
    name: str,
    mechanism: Mechanism,
    act: Callable[[Any], None],
) -> Trial:
    said = ""
    with LOCK:
        try:
            act(session)
        except (pkcs11.PKCS11Error, TokenError, FailedTrialError, InvalidSignature, ValueError) as error:
            said = f"{type(error).__name__} {error}".strip()
        except AttributeError as error:
            # the library gives a key no method for what its mechanism is not listed for
            said = f"AttributeError {error}"
    return Trial(name, mechanism in mechanisms, not said, said[:200])


@contextmanager
def passing(made: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """Destroy what was made, one key or a pair, at the end."""
    try:
        yield made
    finally:
        for each in made if isinstance(made, tuple) else (made,):
            with suppress(pkcs11.PKCS11Error):
                each.destroy()


def pair(session: Any, kind: KeyType, curve: str, mechanism: Mechanism) -> Any:  # noqa: ANN401 - as above
    """Make a pair of this session that signs, as those of the token are made."""
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
    hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    return session.create_domain_parameters(kind, parameters, local=True).generate_keypair(
        store=False,
        mechanism=mechanism,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template=hidden,
    )


def raw_point(point: bytes, size: int) -> bytes:
    """Return a public key's bytes; tokens give them bare or as a DER octet string."""
    raw = point[2:] if point[:2] == bytes([4, size]) and len(point) == size + 2 else point
    if len(raw) != size:
        raise ValueError(f"a public key of {len(raw)} bytes, expected {size}")
    return raw


def _ecdsa(curve: str, group: ec.EllipticCurve) -> Callable[[Any], None]:
    def act(session: Any) -> None:  # noqa: ANN401 - as above
        with passing(pair(session, KeyType.EC, curve, Mechanism.EC_KEY_PAIR_GEN)) as (public, private):
            signed = bytes(private.sign(MESSAGE, mechanism=Mechanism.ECDSA))
            half = len(signed) // 2
            r, s = int.from_bytes(signed[:half]), int.from_bytes(signed[half:])
            key = ec.EllipticCurvePublicKey.from_encoded_point(
                group, raw_point(bytes(public[Attribute.EC_POINT]), 65)
            )
            key.verify(encode_dss_signature(r, s), MESSAGE, ec.ECDSA(Prehashed(SHA256())))

    return act


def _ed25519(session: Any) -> None:  # noqa: ANN401 - as above
    made = pair(session, KeyType.EC_EDWARDS, ED25519_OID, Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
    with passing(made) as (public, private):
        signed = bytes(private.sign(MESSAGE, mechanism=Mechanism.EDDSA))
        key = Ed25519PublicKey.from_public_bytes(raw_point(bytes(public[Attribute.EC_POINT]), 32))
        key.verify(signed, MESSAGE)


def _gcm(size: int) -> Callable[[Any], None]:
    def act(session: Any) -> None:  # noqa: ANN401 - as above
        made = sealing.generate(session, Sealing.AES_GCM, label="probe", store=False)
        with passing(made) as key:
            text, iv = os.urandom(size), os.urandom(sealing.IV_BYTES)
            good = {"mechanism": Mechanism.AES_GCM, "mechanism_param": _aad(iv, b"this")}
            closed = bytes(key.encrypt(text, **good))
            if len(closed) != size + 16 or bytes(key.decrypt(closed, **good)) != text:
                raise FailedTrialError("what was sealed does not open, or has another length")
            try:
                key.decrypt(closed, mechanism=Mechanism.AES_GCM, mechanism_param=_aad(iv, b"that"))
            except pkcs11.PKCS11Error:
                return
            raise FailedTrialError("it opens with other associated data")

    return act


def _seals(mechanism: Sealing) -> Callable[[Any], None]:
    def act(session: Any) -> None:  # noqa: ANN401 - as above
        made = sealing.generate(session, mechanism, label="probe", store=False, rsa_bits=RSA_BITS)
        with passing(made):
            seals, opens = made if mechanism.is_pair else (made, made)
            round_trip(sealing_key(SealingName(mechanism, bytes(sealing.ID_BYTES)), seals, opens))

    return act


def round_trip(key: sealing.SealingKey) -> None:
    """Seal and open 32 bytes; for anything else they must not open."""
    secret = os.urandom(32)
    envelope = key.seal(secret, b"this")
    if key.open(envelope, b"this") != secret:
        raise FailedTrialError("what was sealed opens as something else")
    try:
        key.open(envelope, b"that")
    except TokenError:
        return
    raise FailedTrialError("it opens for something else")


def _aad(iv: bytes, associated: bytes) -> GCMParams:
    return GCMParams(iv, associated, tag_bits=sealing.TAG_BITS)


TRIALS: tuple[tuple[str, Mechanism, Callable[[Any], None]], ...] = (
    ("secp256k1", Mechanism.ECDSA, _ecdsa("secp256k1", ec.SECP256K1())),
    ("ed25519", Mechanism.EDDSA, _ed25519),
    ("p256", Mechanism.ECDSA, _ecdsa("secp256r1", ec.SECP256R1())),
    ("aes-gcm", Mechanism.AES_GCM, _gcm(32)),
    ("aes-gcm-300k", Mechanism.AES_GCM, _gcm(LARGE)),
    ("rsa-oaep-sha256", Mechanism.RSA_PKCS_OAEP, _seals(Sealing.RSA_OAEP_SHA256)),
    ("rsa-oaep-sha1", Mechanism.RSA_PKCS_OAEP, _seals(Sealing.RSA_OAEP_SHA1)),
    ("aes-key-wrap-pad", Mechanism.AES_KEY_WRAP_PAD, _seals(Sealing.AES_KEY_WRAP_PAD)),
)
