"""Talk to an authenticator: make a credential, sign a challenge.

Any `CtapDevice` serves: a key on USB or the demo world's software one. The origin is
this program's own claim, as the browser's would be: whoever verifies compares it with
the trust root. User verification is always required.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from fido2 import cbor
from fido2.client import ClientError, DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.cose import ES256
from fido2.ctap import CtapDevice
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRequestOptions,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    UserVerificationRequirement,
)

from workbench.rules.assertion import Assertion, Credential
from workbench.rules.trust import RelyingParty


class AuthenticatorError(Exception):
    """The authenticator or its owner did not sign."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """One device, used for one relying party."""

    device: CtapDevice
    party: RelyingParty

    def enrol(self, *, person: str, name: str, path: str, aaguids: list[str]) -> Credential:
        """Make a credential for this relying party and return its public record."""
        server = server_of(self.party)
        user = PublicKeyCredentialUserEntity(id=person.encode(), name=person, display_name=name)
        options, state = server.register_begin(user, user_verification=UserVerificationRequirement.REQUIRED)
        try:
            response = self._client().make_credential(options.public_key)
            data = server.register_complete(state, response).credential_data
        except (ClientError, ValueError, InvalidSignature) as error:
            raise AuthenticatorError(f"registration: {error}") from error
        if data is None or data.aaguid.hex() not in aaguids:
            raise AuthenticatorError("registration: an authenticator model that is not admitted")
        return Credential(
            id=websafe_encode(data.credential_id),
            cose=cbor.encode(dict(data.public_key)).hex(),
            aaguid=data.aaguid.hex(),
            path=path,
        )

    def register(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make a credential as a registration's options ask, as JSON values, and return the answer.

        Raises:
            AuthenticatorError: the device did not make one, or has one for this person already.

        """
        try:
            asked = PublicKeyCredentialCreationOptions.from_dict(dict(options["publicKey"]))
            made = dict(self._client().make_credential(asked))
        except (ClientError, ValueError) as error:
            raise AuthenticatorError(f"registration: {error}") from error
        response = dict(made["response"])
        kept = {name: response[name] for name in ("clientDataJSON", "attestationObject")}
        return {"id": made["id"], "rawId": made["id"], "type": "public-key", "response": kept}

    def sign(self, challenge: bytes, *, credential: str | Sequence[str]) -> Assertion:
        """Return the owner's assertion over a challenge, by whichever of these credentials the device has."""
        try:
            named = [
                websafe_decode(each) for each in ([credential] if isinstance(credential, str) else credential)
            ]
        except ValueError as error:
            raise AuthenticatorError(f"assertion: no credential's name: {error}") from error
        options = PublicKeyCredentialRequestOptions(
            challenge=challenge,
            rp_id=self.party.id,
            allow_credentials=[
                PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=each)
                for each in named
            ],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        try:
            answer = self._client().get_assertion(options).get_response(0)
        except ClientError as error:
            raise AuthenticatorError(f"assertion: {error}") from error
        return Assertion(
            credential=websafe_encode(answer.raw_id),
            client_data=websafe_encode(answer.response.client_data),
            authenticator_data=websafe_encode(answer.response.authenticator_data),
            signature=websafe_encode(answer.response.signature),
        )

    def _client(self) -> Fido2Client:
        # `.localhost` is a secure context to browsers; fido2's default check knows https only.
        collector = DefaultClientDataCollector(self.party.origin, verify=self._same_party)
        return Fido2Client(self.device, collector, user_interaction=UserInteraction(), extensions=[])

    def _same_party(self, rp_id: str, origin: str) -> bool:
        return rp_id == self.party.id and origin == self.party.origin


def server_of(party: RelyingParty, **options: Any) -> Fido2Server:  # noqa: ANN401 - the library's own
    """Return the library's server side for registrations at a relying party: its origin, ES256, no other."""
    entity = PublicKeyCredentialRpEntity(name=party.id, id=party.id)
    server = Fido2Server(entity, verify_origin=lambda origin: origin == party.origin, **options)
    # The only kind of key that a policy set may list.
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=ES256.ALGORITHM)
    ]
    return server
