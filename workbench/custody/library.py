"""python-pkcs11, as we use it: one lock, one session, attributes that may be missing.

* Every call stands under one lock: the library releases the GIL and initialises the module without OS
  locking, so two threads corrupt the heap.
* A module reads its environment once, when it is loaded: one process opens one token.
* An attribute that a token does not know, or does not tell, is None, which is neither true nor false.
* Objects are found by class and CKA_ID, never by label or slot number: labels are not unique and slots move.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pkcs11
from pkcs11 import Attribute, ObjectClass

from workbench.custody.config import TokenConfig
from workbench.custody.errors import TokenError
from workbench.rules.codes import Refusal

LOCK = threading.RLock()
WRONG_PIN = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked)


@contextmanager
def calling(what: str, code: Refusal = Refusal.HSM_FAILED) -> Iterator[None]:
    """Hold the lock; what the token refuses is refused by name."""
    with LOCK:
        try:
            yield
        except (pkcs11.PKCS11Error, ValueError) as error:
            said = f"{type(error).__name__} {error}".strip()
            raise TokenError(code, f"{what}: {said}") from error


def only_token(config: TokenConfig) -> Any:  # noqa: ANN401 - the library ships no types
    """Load the module and return the one token that is meant."""
    os.environ.update(config.environment)
    with calling(config.words):
        there = pkcs11.lib(str(config.module)).get_slots(token_present=True)
        found = [token for token in map(_token, there) if token is not None and _matches(token, config)]
    if len(found) != 1:
        raise TokenError(Refusal.HSM, f"{config.words}: {len(found)} of {len(there)} match, expected one")
    return found[0]


def login(token: Any, pin: str, what: str) -> Any:  # noqa: ANN401 - as above
    """Return a session; a wrong PIN has a code of its own. Always for writing: some tokens know no other."""
    with calling(what):
        try:
            return token.open(rw=True, user_pin=pin)
        except WRONG_PIN as error:
            raise TokenError(Refusal.HSM_PIN, f"{what}: {type(error).__name__}") from error


def only_object(session: Any, kind: ObjectClass, identity: bytes) -> Any:  # noqa: ANN401 - as above
    """Return the one object of this class and CKA_ID: two of them would be a choice, and none of ours."""
    found = list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: identity}))
    if len(found) != 1:
        what = kind.name.lower().replace("_", " ")
        raise TokenError(Refusal.HSM_KEY, f"{len(found)} {what}s with id {identity.hex()}, expected one")
    return found[0]


def attribute(key: Any, name: Attribute) -> bool | None:  # noqa: ANN401 - as above
    """Return what the token claims; None where it says nothing."""
    try:
        value = key[name]
    except (pkcs11.PKCS11Error, NotImplementedError):
        return None
    return value if isinstance(value, bool) else None


def attest(key: Any, required: Mapping[Attribute, bool], what: str) -> None:  # noqa: ANN401 - as above
    """Refuse a key of which the token does not claim all of this; what is unknown is not claimed."""
    for name, expected in required.items():
        got = attribute(key, name)
        if got is not expected:
            said = "unknown" if got is None else got
            raise TokenError(Refusal.HSM_KEY, f"{what}: {name.name} is {said}, must be {expected}")


def _token(slot: Any) -> Any:  # noqa: ANN401 - as above
    try:
        return slot.get_token()
    except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
        return None


def _matches(token: Any, config: TokenConfig) -> bool:  # noqa: ANN401 - as above
    label, serial = config.label, config.serial
    return (label is None or token.label == label) and (serial is None or token.serial == serial.encode())
