"""A WebAuthn assertion: that a person pressed a key over exactly this challenge.

`fido2` verifies type, origin, challenge, RP id, user presence, user verification and
the signature. What it leaves to its caller stands here, each with the attack it stops:
(1) crossOrigin: a framed page is drawn over by whoever frames it;
(2) backup eligibility: a synced passkey lives on machines nobody listed;
(3) attested data or extensions in an assertion: nobody asked for them, so refuse;
(4) the credential's authenticator model must be admitted by the trust root;
(5) one reading: client data that names a field twice says one thing to us and another to
    the next reader, and a key that is not spelt the one way could be listed for two people.
The signature counter is the service's to keep: it is memory, not a decision. Who
may sign what, expiry and single use belong to the documents themselves.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from fido2 import cbor
from fido2.cose import ES256, CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticatorData,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Base64Url, Document, Hex, Hex16, Name
from workbench.rules.trust import RelyingParty, TrustRoot

APPROVAL, CONSOLE = "approval", "console"
"""Where people decide: the approver's page, or the second path, a terminal of the person's own."""
ADMITTED_FLAGS = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
AUTHENTICATOR_DATA_BYTES = 37
"""RP id hash, flags and counter: an assertion without attested data or extensions has no more."""
_FLAGS_AT = 32
_COUNTER_AT = 33
PARTIES_MAX = 16
_COORDINATE_BYTES = 32


class Assertion(Document):
    """The browser's answer, base64url as the browser gives it."""

    credential: Base64Url
    client_data: Base64Url
    authenticator_data: Base64Url
    signature: Base64Url


class Credential(Document):
    """A person's credential as the policy set lists it; `path` is where it may sign."""

    id: Base64Url
    cose: Hex
    aaguid: Hex16
    path: Name


def verify(
    assertion: Assertion, credential: Credential, *, party: RelyingParty, challenge: bytes, aaguids: list[str]
) -> None:
    """Verify one assertion against the one credential that may have made it.

    Raises:
        RefusedError: ASSERTION_OTHER when it signs another challenge, AUTHENTICATOR when the
            trust root does not admit the model, ASSERTION for everything else.

    """
    if credential.aaguid not in aaguids:
        raise RefusedError(Refusal.AUTHENTICATOR, f"authenticator model {credential.aaguid} is not admitted")
    if assertion.credential != credential.id:
        raise RefusedError(Refusal.CREDENTIAL_UNKNOWN, "the assertion names another credential")
    try:
        told = client_data(assertion.client_data)
        if told.get("challenge") != websafe_encode(challenge):
            raise RefusedError(Refusal.ASSERTION_OTHER, "the assertion signs another document")
        check_unframed(told)
        data = websafe_decode(assertion.authenticator_data)
        # (2) (3)
        if len(data) != AUTHENTICATOR_DATA_BYTES or data[_FLAGS_AT] & ~ADMITTED_FLAGS:
            raise RefusedError(
                Refusal.ASSERTION,
                f"{len(data)} bytes, flags {data[_FLAGS_AT : _FLAGS_AT + 1].hex()}: "
                "only presence and verification are admitted",
            )
        _complete(assertion, credential, party, challenge)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise RefusedError(Refusal.ASSERTION, str(error) or type(error).__name__) from error


def verify_press(
    assertion: Assertion,
    credentials: Iterable[Credential],
    *,
    person: str,
    challenge: bytes,
    trust_root: TrustRoot,
) -> str:
    """Verify that a person signed this with one of these credentials for deciding; return its path.

    Raises:
        RefusedError: CREDENTIAL_UNKNOWN when none of them may have made it; else as `verify`.

    """
    parties = {APPROVAL: trust_root.approval, CONSOLE: trust_root.console}
    own = (each for each in credentials if each.id == assertion.credential and each.path in parties)
    credential = next(own, None)
    if credential is None:
        raise RefusedError(Refusal.CREDENTIAL_UNKNOWN, f"{person} has no such credential for deciding")
    party = parties[credential.path]
    if party is None:
        raise RefusedError(Refusal.CREDENTIAL_UNKNOWN, "this trust root has no second path")
    verify(assertion, credential, party=party, challenge=challenge, aaguids=trust_root.aaguids)
    return credential.path


def client_data(encoded: str) -> dict[str, Any]:
    """(5) Return what a browser says of a key press, or raise ValueError when it can be read in two ways."""
    try:
        value = json.loads(websafe_decode(encoded).decode(), object_pairs_hook=_fields)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"client data is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("client data is no object")  # noqa: TRY004 - of the data, not of a program
    return value


def check_unframed(told: dict[str, Any]) -> None:
    """(1) Raise ValueError for a frame; absent counts as one: a browser that does not say is not believed."""
    if told.get("crossOrigin", True) is not False or "topOrigin" in told:
        raise ValueError("made in a frame of another origin")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a field stands twice")
    return value


def counter(assertion: Assertion) -> int:
    """Return how many assertions the authenticator of a verified assertion says it has made."""
    return int.from_bytes(websafe_decode(assertion.authenticator_data)[_COUNTER_AT:], "big")


def public_key(credential: Credential) -> CoseKey:
    """Return the credential's P-256 key, or refuse every other kind and spelling (5)."""
    raw = bytes.fromhex(credential.cose)
    try:
        value: Any = cbor.decode(raw)
        x, y = value[-2], value[-3]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error) as error:
        raise RefusedError(Refusal.POLICY_INVALID, "a credential's key is no CBOR key") from error
    key = {1: 2, 3: ES256.ALGORITHM, -1: 1, -2: x, -3: y}
    # The decoder is lenient; only the bytes that this key is written with are a key.
    if any(type(number) is not bytes or len(number) != _COORDINATE_BYTES for number in (x, y)) or (
        cbor.encode(key) != raw
    ):
        raise RefusedError(Refusal.POLICY_INVALID, "a credential's key is not a canonical ES256 key")
    return ES256(key)


@lru_cache(maxsize=PARTIES_MAX)
def _server(party: RelyingParty) -> Fido2Server:
    """Return what judges for a party: it has no state, and takes longer to build than to ask."""
    return Fido2Server(
        PublicKeyCredentialRpEntity(name=party.id, id=party.id),
        verify_origin=lambda origin: origin == party.origin,
    )


def _complete(assertion: Assertion, credential: Credential, party: RelyingParty, challenge: bytes) -> None:
    known = AttestedCredentialData.create(
        bytes.fromhex(credential.aaguid), websafe_decode(credential.id), public_key(credential)
    )
    state = {
        "challenge": websafe_encode(challenge),
        "user_verification": UserVerificationRequirement.REQUIRED,
    }
    response = {
        "id": assertion.credential,
        "rawId": assertion.credential,
        "type": "public-key",
        "response": {
            "clientDataJSON": assertion.client_data,
            "authenticatorData": assertion.authenticator_data,
            "signature": assertion.signature,
        },
    }
    _server(party).authenticate_complete(state, [known], response)
