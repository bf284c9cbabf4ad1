"""The self-test of a token: it does what we need, and it does not do what must not be done.

(1) A secp256k1 key is made as ours are, signs, and the signature verifies outside the token.
(2) A sealing key by the mechanism that the probe chose seals and opens, and for something else does not open.
(3) Nothing takes a signing key out: reading its value, wrapping it, having it be extractable, copying it into
    one that is. Whichever of these works fails the test; so does a key that cannot be made to be tried.

(1) and (2) are the probe's trials (`probe.py`). All keys of the test live in the session only. A check that
fails stops nothing here: whoever provisions a token, or reads the ledger, decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

from workbench.custody import probe, sealing
from workbench.custody.library import LOCK, attribute
from workbench.custody.probe import Capabilities, passing

CURVES = {"secp256k1": "secp256k1", "p256": "secp256r1"}
WRAPS = (Mechanism.AES_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP, Mechanism.AES_CBC_PAD)


def self_test(session: Any, capabilities: Capabilities) -> dict[str, bool]:  # noqa: ANN401 - the library's
    """Return which checks passed, by name."""
    curve = next((curve for name, curve in CURVES.items() if capabilities.has(name)), None)
    return {
        "sign-and-verify": capabilities.has("secp256k1"),
        "seal-and-unseal": capabilities.sealing is not None,
        **{f"refuses-to-{name}": _tried(session, curve, attack) for name, attack in ATTACKS.items()},
    }


def refuses(session: Any, private: Any, attack: Callable[[Any, Any], None]) -> bool:  # noqa: ANN401 - as above
    """Whether a key is still inside, and only there, after somebody tried to take it out."""
    with LOCK:
        try:
            attack(session, private)
        except (pkcs11.PKCS11Error, AttributeError):
            # an AttributeError is the library's: it gives the key no such method
            return attribute(private, Attribute.EXTRACTABLE) is False
        return False


def _tried(session: Any, curve: str | None, attack: Callable[[Any, Any], None]) -> bool:  # noqa: ANN401 - as above
    if curve is None:
        return False
    with LOCK:
        try:
            made = probe.pair(session, KeyType.EC, curve, Mechanism.EC_KEY_PAIR_GEN)
        except pkcs11.PKCS11Error:
            return False
        with passing(made) as (_, private):
            return refuses(session, private, attack)


def _read(_: Any, private: Any) -> None:  # noqa: ANN401 - as above
    bytes(private[Attribute.VALUE])


def _wrap(session: Any, private: Any) -> None:  # noqa: ANN401 - as above
    made = session.generate_key(
        KeyType.AES,
        sealing.AES_BITS,
        store=False,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    with passing(made) as key:
        for mechanism in WRAPS[:-1]:
            try:
                key.wrap_key(private, mechanism=mechanism)
            except pkcs11.PKCS11Error:
                continue
            return
        key.wrap_key(private, mechanism=WRAPS[-1], mechanism_param=bytes(16))


def _loosen(_: Any, private: Any) -> None:  # noqa: ANN401 - as above
    private[Attribute.EXTRACTABLE] = True


def _copy(_: Any, private: Any) -> None:  # noqa: ANN401 - as above
    with passing(private.copy({Attribute.EXTRACTABLE: True})):
        pass


ATTACKS: dict[str, Callable[[Any, Any], None]] = {
    "show-a-key": _read,
    "wrap-a-key": _wrap,
    "loosen-a-key": _loosen,
    "copy-a-key-looser": _copy,
}
