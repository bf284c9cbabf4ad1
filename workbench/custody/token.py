"""One PKCS#11 token in one process: open, attest, generate, sign, seal.

What it overrides of python-pkcs11 and why (`library.py` has the lock and what is found how):
* keys are addressed by CKA_ID, the first 16 bytes of SHA-256 over the public key, and the public key in the
  token is compared each time: an id is anybody's to give;
* a private key must be LOCAL, ALWAYS_SENSITIVE, NEVER_EXTRACTABLE, not modifiable and able to sign only; an
  imported key does not pass, an attribute that the token does not tell does not pass either. It is the
  token's claim: software cannot prove it, a vendor's attestation can;
* a sealing key may encrypt and decrypt, never wrap: with both it would unwrap its way out of the token.

What a copy of a token's files looks like: itself. The serial, the labels and the keys are the same, so
nothing here tells it from the original. It cannot pass for a second one: the trust root pins each key to one
name.

Login is per process: whatever runs in this process can sign. The process boundary is the wall, and no class.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from workbench.custody import attempts, library, probe, sealing, selftest
from workbench.custody.attempts import Attempts
from workbench.custody.config import INSTALL_HINT, TokenConfig, TokenFields, configured
from workbench.custody.errors import TokenError
from workbench.custody.library import attest, attribute, calling, only_object
from workbench.custody.probe import Capabilities, raw_point
from workbench.custody.sealing import Sealing, SealingKey, SealingName
from workbench.rules.codes import Refusal

Made = TypeVar("Made")
KEY_ID_BYTES = 16
SECP256K1_BYTES, ED25519_BYTES = 65, 32
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
OPENING_REQUIRED: dict[Attribute, bool] = REQUIRED | {
    Attribute.DECRYPT: True,
    Attribute.UNWRAP: False,
    Attribute.SIGN: False,
}
SEALING_REQUIRED: dict[Attribute, bool] = OPENING_REQUIRED | {
    Attribute.ENCRYPT: True,
    Attribute.WRAP: False,
}


def create_softhsm(folder: Path, *, label: str, pin: str, so_pin: str) -> None:
    """Make a SoftHSM token in `folder`, with its configuration, and begin to count the tries at its PIN."""
    tool = shutil.which("softhsm2-util")
    if tool is None:
        raise TokenError(Refusal.HSM, f"no softhsm2-util; {INSTALL_HINT}")
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
        raise TokenError(Refusal.HSM_FAILED, f"softhsm2-util: {done.stderr.strip() or done.stdout.strip()}")
    attempts.found(folder)


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
            raise TokenError(Refusal.MALFORMED, f"a digest has 32 bytes, got {len(digest)}")
        return self._sign(digest)


@dataclass(frozen=True, slots=True)
class Claims:
    """What the token says of one key in it; `public_key` is empty where it shows none."""

    kind: str
    id: bytes
    label: str
    public_key: bytes
    attributes: dict[str, bool | None]


class Token:
    """An open token, logged in."""

    def __init__(self, config: TokenConfig, *, pin: str, tries: Attempts) -> None:
        self._what = config.words
        self._token = library.only_token(config)
        with tries.attempt():
            self._session = library.login(self._token, pin, self._what)

    def close(self) -> None:
        """Log out."""
        with calling(self._what):
            self._session.close()

    @property
    def about(self) -> dict[str, str]:
        """What the token says it is."""
        token = self._token
        return {
            "manufacturer": token.manufacturer_id,
            "model": token.model,
            "serial": token.serial.decode("ascii", "replace"),
            "label": token.label,
            "firmware": ".".join(map(str, token.firmware_version)),
        }

    def capabilities(self) -> Capabilities:
        """Try what the token can do; nothing stays behind."""
        with calling(self._what):
            mechanisms = self._token.slot.get_mechanisms()
        return probe.probe(self._session, mechanisms)

    def self_test(self, capabilities: Capabilities) -> dict[str, bool]:
        """Try to take a key out, and whether all that we need works; nothing stays behind."""
        return selftest.self_test(self._session, capabilities)

    def generate_ed25519(self, label: str) -> Ed25519Key:
        """Make an identity key inside the token."""
        curve, mechanism = probe.ED25519_OID, Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        return self._generate(
            KeyType.EC_EDWARDS, curve, mechanism, label=label, size=ED25519_BYTES, open_=self.ed25519
        )

    def generate_secp256k1(self, label: str) -> Secp256k1Key:
        """Make a signing key for transactions inside the token."""
        curve, mechanism = "secp256k1", Mechanism.EC_KEY_PAIR_GEN
        return self._generate(
            KeyType.EC, curve, mechanism, label=label, size=SECP256K1_BYTES, open_=self.secp256k1
        )

    def ed25519(self, public_key: bytes) -> Ed25519Key:
        """Return the identity key whose public part this is."""
        private = self._private(public_key)
        return Ed25519Key(public_key, lambda message: self._sign(private, message, Mechanism.EDDSA))

    def secp256k1(self, public_key: bytes) -> Secp256k1Key:
        """Return the transaction key whose public part this is."""
        private = self._private(public_key)
        return Secp256k1Key(public_key, lambda digest: self._sign(private, digest, Mechanism.ECDSA))

    def generate_sealing(self, label: str, mechanism: Sealing | None = None) -> SealingKey:
        """Make a sealing key inside the token, for the mechanism that is wanted or the best that it has."""
        chosen = mechanism or self.capabilities().sealing
        if chosen is None:
            raise TokenError(Refusal.SEALED, f"{self._what} seals by no mechanism that is known here")
        with calling("no sealing key was made"):
            made = sealing.generate(self._session, chosen, label=label, store=True)
            if not chosen.is_pair:
                with self._kept(bytes(made[Attribute.ID]), made):
                    return self.sealing(str(SealingName(chosen, bytes(made[Attribute.ID]))))
            public, private = made
            identity = sealing.pair_id(public)
            with self._kept(identity, public, private):
                _name(public, private, identity)
                return self.sealing(str(SealingName(chosen, identity)))

    def sealing(self, name: str) -> SealingKey:
        """Return the sealing key of this name; its mechanism is part of it."""
        meant = SealingName.parse(name)
        what = f"sealing key {meant}"
        with calling(what, Refusal.HSM_KEY):
            if not meant.mechanism.is_pair:
                key = only_object(self._session, ObjectClass.SECRET_KEY, meant.id)
                attest(key, SEALING_REQUIRED, what)
                return sealing.sealing_key(meant, key, key)
            public = only_object(self._session, ObjectClass.PUBLIC_KEY, meant.id)
            private = only_object(self._session, ObjectClass.PRIVATE_KEY, meant.id)
            attest(private, OPENING_REQUIRED, what)
            # whoever could put another public key there would have what is sealed
            if sealing.pair_id(public) != meant.id:
                raise TokenError(Refusal.HSM_KEY, f"{what}: another public key lies under its id")
            return sealing.sealing_key(meant, public, private)

    def labelled(self, label: str) -> list[bytes]:
        """Return the public keys of the transaction keys that have this label."""
        with calling(self._what):
            wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: label}
            found = list(self._session.get_objects(wanted))
            points = [_public_bytes(each) for each in found if each.key_type is KeyType.EC]
        return [point for point in points if len(point) == SECP256K1_BYTES]

    def destroy_secp256k1(self, public_key: bytes) -> None:
        """Destroy both halves of a transaction key; of one that is not there any more, nothing.

        Raises:
            TokenError: the token holds something else under its id, or keeps what was to go.

        """
        if len(public_key) != SECP256K1_BYTES:
            raise TokenError(Refusal.MALFORMED, "only a transaction key is destroyed")
        identity = key_id(public_key)
        with calling(f"key {identity.hex()} was not destroyed"):
            found = list(self._session.get_objects({Attribute.ID: identity}))
            halves = [each for each in found if each.object_class is ObjectClass.PUBLIC_KEY]
            if any(_public_bytes(each) != public_key for each in halves):
                raise TokenError(Refusal.HSM_KEY, f"another key lies under {identity.hex()}")
            kinds = {ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY}
            if any(each.object_class not in kinds or each.key_type is not KeyType.EC for each in found):
                raise TokenError(Refusal.HSM_KEY, f"something else lies under {identity.hex()}")
            # the private half first: what a crash leaves is a public key without use
            for each in sorted(found, key=lambda each: each in halves):
                each.destroy()
            if list(self._session.get_objects({Attribute.ID: identity})):
                raise TokenError(Refusal.HSM_FAILED, f"key {identity.hex()} is there still")

    def generate_recovery(self, label: str) -> str:
        """Make the pair to which backups of shares are sealed; return the sealing key's name.

        Raises:
            TokenError: the token opens nothing that was sealed by RSA-OAEP outside of it.

        """
        able = self.capabilities()
        chosen = next((each for each in Sealing if each.is_pair and able.has(each.value)), None)
        if chosen is None:
            raise TokenError(Refusal.SEALED, f"{self._what} opens nothing by RSA-OAEP")
        return str(self.generate_sealing(label, chosen).name)

    def modulus(self, name: str) -> str:
        """Return the modulus of a sealing pair, in hex, by the pair's name."""
        meant = SealingName.parse(name)
        what = f"sealing pair {meant}"
        with calling(what, Refusal.HSM_KEY):
            public = only_object(self._session, ObjectClass.PUBLIC_KEY, meant.id)
            exponent = int.from_bytes(bytes(public[Attribute.PUBLIC_EXPONENT]))
            if sealing.pair_id(public) != meant.id or exponent != sealing.EXPONENT:
                raise TokenError(Refusal.HSM_KEY, f"{what}: another public key than its id says")
            return bytes(public[Attribute.MODULUS]).lstrip(b"\0").hex()

    def attributes(self, public_key: bytes) -> dict[str, bool | None]:
        """Return what the token claims of a private key; None where it says nothing."""
        with calling(self._what):
            key = self._find(public_key)
            return {name.name: attribute(key, name) for name in REQUIRED}

    def claims(self) -> list[Claims]:
        """Return what the token says of every key in it, in the order of their ids."""
        with calling(self._what):
            # a session searches for one thing at a time: the list is whole before the next search
            found = [
                (kind, key)
                for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
                for key in list(self._session.get_objects({Attribute.CLASS: kind}))
            ]
            told = [_claims(self._session, kind, key) for kind, key in found]
        return sorted(told, key=lambda each: (each.id, each.kind))

    def _generate(
        self,
        kind: KeyType,
        curve: str,
        mechanism: Mechanism,
        *,
        label: str,
        size: int,
        open_: Callable[[bytes], Made],
    ) -> Made:
        with calling(f"no key {label} was made"):
            domain = self._session.create_domain_parameters(
                kind, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
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
            raw = raw_point(bytes(public[Attribute.EC_POINT]), size)
            with self._kept(key_id(raw), public, private):
                _name(public, private, key_id(raw))
                return open_(raw)

    @contextmanager
    def _kept(self, identity: bytes, *made: Any) -> Iterator[None]:  # noqa: ANN401 - the library ships no types
        """Destroy again what was made just now, if it does not pass as a key of ours."""
        try:
            yield
        except Exception:
            named = list(self._session.get_objects({Attribute.ID: identity}))
            for each in (*made, *named):
                with suppress(PKCS11Error):
                    each.destroy()
            raise

    def _find(self, public_key: bytes) -> Any:  # noqa: ANN401 - the library ships no types
        return only_object(self._session, ObjectClass.PRIVATE_KEY, key_id(public_key))

    def _private(self, public_key: bytes) -> Any:  # noqa: ANN401 - as above
        identity = key_id(public_key)
        what = f"key {identity.hex()}"
        with calling(what, Refusal.HSM_KEY):
            key = self._find(public_key)
            # An imported or copied-out key is refused here, whatever its label says.
            attest(key, REQUIRED, what)
            shown = only_object(self._session, ObjectClass.PUBLIC_KEY, identity)
            if raw_point(bytes(shown[Attribute.EC_POINT]), len(public_key)) != public_key:
                raise TokenError(Refusal.HSM_KEY, f"{what}: another public key lies under its id")
            return key

    def _sign(self, key: Any, message: bytes, mechanism: Mechanism) -> bytes:  # noqa: ANN401 - as above
        with calling("the token did not sign"):
            return bytes(key.sign(message, mechanism=mechanism))


class WholeKeys:
    """The transaction keys of a token, each found and attested once in this process's life.

    Whoever changes the token's objects meanwhile gains nothing: who signs verifies each signature under the
    policy set's public key.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._known: dict[bytes, Secp256k1Key] = {}

    def of(self, public_key: bytes) -> Secp256k1Key:
        """Return the key whose public part this is."""
        if public_key not in self._known:
            self._known[public_key] = self._token.secp256k1(public_key)
        return self._known[public_key]


def opened(state: Path, value: object, *, pin: Callable[[str], str], clock: Callable[[], datetime]) -> Token:
    """Open the token that a configuration names; `pin` reads what its source says."""
    fields = TokenFields.load(value, at="/token")
    return Token(configured(fields, state), pin=pin(fields.pin), tries=Attempts(state, clock))


def key_id(public_key: bytes) -> bytes:
    """Return the CKA_ID under which a key is found."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def _name(public: Any, private: Any, identity: bytes) -> None:  # noqa: ANN401 - as above
    public[Attribute.ID] = identity
    private[Attribute.ID] = identity
    # Only now: MODIFIABLE False forbids setting the id, and a copy may tighten but never loosen.
    private.copy({Attribute.MODIFIABLE: False})
    private.destroy()


def _claims(session: Any, kind: ObjectClass, key: Any) -> Claims:  # noqa: ANN401 - as above
    wanted = SEALING_REQUIRED | REQUIRED if kind is ObjectClass.SECRET_KEY else OPENING_REQUIRED | REQUIRED
    identity = bytes(key[Attribute.ID])
    point = b""
    shown = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: identity}))
    if kind is ObjectClass.PRIVATE_KEY and len(shown) == 1:
        point = _public_bytes(shown[0])
    attributes = {name.name: attribute(key, name) for name in wanted}
    return Claims(kind.name.lower(), identity, str(key.label), point, attributes)


def _public_bytes(public: Any) -> bytes:  # noqa: ANN401 - as above
    if public.key_type is KeyType.RSA:
        return bytes(public[Attribute.MODULUS])
    point = bytes(public[Attribute.EC_POINT])
    sizes = (size for size in (ED25519_BYTES, SECP256K1_BYTES) if len(point) in (size, size + 2))
    return raw_point(point, next(sizes, len(point)))
