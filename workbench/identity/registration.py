"""Registration: from an authenticator's answer to a credential that a policy set may list.

`fido2` verifies type, origin, challenge, RP id, presence, user verification, the attestation's
signature and its chain to a root that the vendor metadata names. What it leaves to its caller:
(1) the metadata is signed by the root that was given, and its next edition is not overdue: what
    was revoked since stands only there. Its number and SHA-256 are returned, to be recorded;
(2) one reading of the client data, and no frame: who frames a page draws over it;
(3) flags: a credential that may be backed up lives on machines nobody listed; extensions nobody asked for;
(4) the key is ES256 in the one spelling that a policy set admits;
(5) a credential that is known already is not another one;
(6) the model is in the trust root's list: the metadata describes software, too;
(7) the attestation comes from a vendor's certificate that is valid now, through certificates that
    may issue others: an authenticator's own signature says nothing about it;
(8) the model keeps its keys in hardware, and nobody has reported it as revoked or broken.
The metadata comes as a file: nothing is fetched. A credential means nothing until a set lists it.
A demo's trust root alone may be served without metadata: then (1), (7) and (8) are left out, the
model is what the authenticator says of itself, and what is registered has no edition.
A finished registration can be checked by whoever has no metadata: all but (1), (5), (7) and (8).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from fido2 import cbor
from fido2.attestation.base import InvalidAttestation
from fido2.mds3 import (
    AuthenticatorStatus,
    MdsAttestationVerifier,
    MetadataBlobPayload,
    MetadataBlobPayloadEntry,
    parse_blob,
)
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestedCredentialData,
    AuthenticatorData,
    PublicKeyCredentialUserEntity,
    UserVerificationRequirement,
)

from workbench.identity.ctap import server_of
from workbench.rules.assertion import Credential, check_unframed, client_data, public_key
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.enrolment import (
    AskedRegistration,
    BrowserAnswer,
    CredentialPath,
    MetadataEdition,
    Registered,
    Registration,
    party_of,
)
from workbench.rules.trust import RelyingParty, TrustRoot

CHALLENGE_BYTES = 32
METADATA_MAX = 32 * 1024 * 1024
"""The published one has some five megabytes."""
FLAG = AuthenticatorData.FLAG
ADMITTED_FLAGS = FLAG.UP | FLAG.UV | FLAG.AT
HARDWARE = frozenset({"hardware", "secure_element"})
SOFTWARE = "software"
BROKEN = frozenset(
    {
        AuthenticatorStatus.REVOKED,
        AuthenticatorStatus.ATTESTATION_KEY_COMPROMISE,
        AuthenticatorStatus.USER_KEY_PHYSICAL_COMPROMISE,
        AuthenticatorStatus.USER_KEY_REMOTE_COMPROMISE,
        AuthenticatorStatus.USER_VERIFICATION_BYPASS,
    }
)
UNREADABLE = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the decoders of strangers' bytes raise; each means that they are not what they should be."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The vendors' metadata, verified under the root that somebody was given by hand."""

    edition: MetadataEdition
    blob: MetadataBlobPayload

    @classmethod
    def read(cls, raw: bytes, *, root: bytes, now: datetime) -> Metadata:
        """(1) Verify a metadata file under its root (DER), or refuse."""
        if len(raw) > METADATA_MAX:
            raise RefusedError(Refusal.TOO_LARGE, f"{len(raw)} bytes, at most {METADATA_MAX}")
        try:
            blob = parse_blob(raw, root)
            edition = MetadataEdition(number=blob.no, sha256=hashlib.sha256(raw).hexdigest())
        except (*UNREADABLE, InvalidAttestation, InvalidSignature) as error:
            raise RefusedError(Refusal.METADATA, f"not signed by its root: {type(error).__name__}") from error
        metadata = cls(edition, blob)
        metadata.current(now)
        return metadata

    def current(self, now: datetime) -> None:
        """(1) Refuse an edition that should have been followed by another."""
        if self.blob.next_update < now.date():
            raise RefusedError(
                Refusal.METADATA, f"edition {self.edition.number} was due on {self.blob.next_update}"
            )


def begin(
    *, person: str, name: str, party: RelyingParty, known: Sequence[Credential], challenge: bytes
) -> dict[str, Any]:
    """Return the options that the person's browser asks an authenticator with, as JSON values.

    Args:
        person: the id in people.json.
        name: what the authenticator shows.
        party: of the wanted path.
        known: the person's credentials, so that one authenticator does not register twice.
        challenge: drawn by the caller, for this registration alone.

    """
    user = PublicKeyCredentialUserEntity(id=person.encode(), name=person, display_name=name)
    exclude = [
        AttestedCredentialData.create(bytes.fromhex(each.aaguid), websafe_decode(each.id), public_key(each))
        for each in known
    ]
    options, _ = _server(party, None).register_begin(
        user, exclude, user_verification=UserVerificationRequirement.REQUIRED, challenge=challenge
    )
    return dict(options)


def complete(
    response: object,
    *,
    challenge: bytes,
    path: CredentialPath,
    trust_root: TrustRoot,
    known: Collection[str],
    metadata: Metadata | None,
    now: datetime,
) -> Registered:
    """Verify an authenticator's answer and return the credential that it made, or refuse.

    Args:
        response: the browser's answer, as JSON values.
        challenge: what this registration was begun with.
        path: where the credential is to sign.
        trust_root: the relying parties and the admitted models.
        known: the ids of every credential of the set in force.
        metadata: the vendors' metadata; None in a demo world.
        now: by which certificates and metadata are judged.

    """
    _vouched(metadata, trust_root)
    if metadata is not None:
        metadata.current(now)  # (1)
    verifier = _Attested(metadata.blob, now) if metadata else None
    made = _made(response, challenge=challenge, path=path, trust_root=trust_root, verifier=verifier)
    if made.id in known:  # (5)
        raise RefusedError(Refusal.REGISTRATION, "this credential is registered already")
    return Registered(v=1, credential=made, metadata=metadata.edition if metadata else None)


def check(registration: Registration, *, path: CredentialPath, trust_root: TrustRoot) -> None:
    """Refuse a finished registration whose answer does not make the credential that it names.

    Whoever brings one may have judged nothing. That a vendor vouches for the model is his word, except that
    only a demo's registrations go without an edition.
    """
    _vouched(registration.registered.metadata, trust_root)
    made = _made(
        registration.answer.dump(),
        challenge=websafe_decode(registration.challenge),
        path=path,
        trust_root=trust_root,
        verifier=None,
    )
    if made != registration.registered.credential:
        raise RefusedError(Refusal.REGISTRATION, f"the answer makes {made.id[:12]} for {path}, another key")


def _vouched(metadata: Metadata | MetadataEdition | None, trust_root: TrustRoot) -> None:
    if metadata is None and trust_root.profile != "demo":
        raise RefusedError(Refusal.METADATA, "no vendor metadata: only a demo's keys are taken at their word")


def _made(
    response: object,
    *,
    challenge: bytes,
    path: CredentialPath,
    trust_root: TrustRoot,
    verifier: MdsAttestationVerifier | None,
) -> Credential:
    """(2) (3) (4) (6) Return the credential that an answer makes; (7) (8) are the verifier's."""
    party = party_of(path, trust_root)
    state = {
        "challenge": websafe_encode(challenge),
        "user_verification": UserVerificationRequirement.REQUIRED,
    }
    try:
        check_unframed(client_data(response["response"]["clientDataJSON"]))  # type: ignore[index] # (2)
        data = _server(party, verifier).register_complete(state, response)  # type: ignore[arg-type]
        made = _credential(data, response, path)
    except (InvalidAttestation, InvalidSignature) as error:
        # (7)
        raise RefusedError(Refusal.AUTHENTICATOR, f"attestation: {error or type(error).__name__}") from error
    except UNREADABLE as error:
        raise RefusedError(Refusal.REGISTRATION, str(error) or type(error).__name__) from error
    if made.aaguid not in trust_root.aaguids:  # (6)
        raise RefusedError(Refusal.AUTHENTICATOR, f"authenticator model {made.aaguid} is not admitted")
    return made


def ask(asked: AskedRegistration, *, challenge: bytes, trust_root: TrustRoot) -> dict[str, Any]:
    """Return the options of a verified request, as `begin` does."""
    return begin(
        person=asked.name,
        name=asked.person.name if asked.person else asked.name,
        party=party_of(asked.path, trust_root),
        known=asked.own,
        challenge=challenge,
    )


def judge(
    asked: AskedRegistration,
    answered: BrowserAnswer,
    *,
    challenge: bytes,
    trust_root: TrustRoot,
    metadata: Metadata | None,
    now: datetime,
) -> Registration:
    """Return what a verified request and an answer to it make, for the service; refuse as `complete` does."""
    made = complete(
        answered.dump(),
        challenge=challenge,
        path=asked.path,
        trust_root=trust_root,
        known=asked.known,
        metadata=metadata,
        now=now,
    )
    return Registration(v=1, registered=made, challenge=websafe_encode(challenge), answer=answered)


class _Attested(MdsAttestationVerifier):
    """(7) (8) The library's verifier, with our filters in place of its own."""

    def __init__(self, blob: MetadataBlobPayload, now: datetime) -> None:
        super().__init__(blob, entry_filter=_sound, attestation_filter=lambda _, chain: _valid(chain, now))


def _sound(entry: MetadataBlobPayloadEntry) -> bool:
    """(8) Whether a model keeps its keys in hardware and was never reported as broken."""
    statement = entry.metadata_statement
    protection = set(statement.key_protection) if statement else set()
    reported = {report.status for report in entry.status_reports}
    return bool(protection & HARDWARE) and SOFTWARE not in protection and not reported & BROKEN


def _valid(chain: Sequence[bytes], now: datetime) -> bool:
    """(7) Whether there are certificates at all, all in their time, and each but the first may issue."""
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    in_time = all(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in certificates)
    return bool(certificates) and in_time and all(_issues(each) for each in certificates[1:])


def _issues(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _credential(data: AuthenticatorData, response: object, path: str) -> Credential:
    # (3)
    if data.flags & ~ADMITTED_FLAGS:
        raise ValueError(f"flags {data.flags:02x}: backed up, or with extensions")
    attested = data.credential_data
    if attested is None:
        raise ValueError("no credential")
    made = Credential.load(
        {
            "id": websafe_encode(attested.credential_id),
            "cose": cbor.encode(dict(attested.public_key)).hex(),
            "aaguid": attested.aaguid.hex(),
            "path": path,
        }
    )
    public_key(made)  # (4)
    if response["id"] != made.id or response["rawId"] != made.id:  # type: ignore[index]
        raise ValueError("the answer names another credential")
    return made


def _server(party: RelyingParty, verifier: MdsAttestationVerifier | None) -> Fido2Server:
    return server_of(party, attestation=AttestationConveyancePreference.DIRECT, verify_attestation=verifier)
