"""A WebAuthn assertion: that a person pressed a key over exactly this challenge.

`fido2` verifies type, origin, challenge, RP id, user presence, user verification and
the signature. What it leaves to its caller stands here, each with the attack it stops:
(1) crossOrigin: a framed page is drawn over by whoever frames it;
(2) backup eligibility: a synced passkey lives on machines nobody listed;
(3) attested data or extensions in an assertion: nobody asked for them, so refuse;
(4) the credential's authenticator model must be admitted by the trust root.
The signature counter is the service's to keep: it is memory, not a decision. Who
may sign what, expiry and single use belong to the documents themselves.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from fido2 import cbor
from fido2.cose import CoseKey
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
from workbench.rules.trust import RelyingParty

ADMITTED_FLAGS = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV


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
    client_data = _client_data(assertion)
    if client_data.get("challenge") != websafe_encode(challenge):
        raise RefusedError(Refusal.ASSERTION_OTHER, "the assertion signs another document")
    # (1) absent counts as true: a browser that does not say is not believed
    if client_data.get("crossOrigin", True) is not False or "topOrigin" in client_data:
        raise RefusedError(Refusal.ASSERTION, "the assertion was made in a frame of another origin")
    try:
        flags = AuthenticatorData(websafe_decode(assertion.authenticator_data)).flags
        # (2) (3)
        if flags & ~ADMITTED_FLAGS:
            raise RefusedError(
                Refusal.ASSERTION, f"flags {flags:#04x}: only presence and verification are admitted"
            )
        _complete(assertion, credential, party, challenge)
    except (ValueError, TypeError, KeyError, IndexError, UnsupportedAlgorithm) as error:
        raise RefusedError(Refusal.ASSERTION, str(error) or type(error).__name__) from error


def _client_data(assertion: Assertion) -> dict[str, Any]:
    try:
        value = json.loads(websafe_decode(assertion.client_data))
    except ValueError as error:
        raise RefusedError(Refusal.ASSERTION, "client data is not JSON") from error
    if not isinstance(value, dict):
        raise RefusedError(Refusal.ASSERTION, "client data is no object")
    return value


def _complete(assertion: Assertion, credential: Credential, party: RelyingParty, challenge: bytes) -> None:
    server = Fido2Server(
        PublicKeyCredentialRpEntity(name=party.id, id=party.id),
        verify_origin=lambda origin: origin == party.origin,
    )
    key = CoseKey.parse(_cose(credential))
    known = AttestedCredentialData.create(
        bytes.fromhex(credential.aaguid), websafe_decode(credential.id), key
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
    server.authenticate_complete(state, [known], response)


def _cose(credential: Credential) -> dict[int, Any]:
    raw = bytes.fromhex(credential.cose)
    value = cbor.decode(raw)
    # The decoder is lenient; only bytes that it would itself produce are a key.
    if not isinstance(value, dict) or cbor.encode(value) != raw:
        raise RefusedError(Refusal.POLICY_INVALID, "a credential's key is not canonical CBOR")
    return value
