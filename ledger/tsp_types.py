"""What RFC 3161 puts on the wire, type by type: DER, each field in its place, nothing beside them.

Narrower than the standards where `ledger.tsp` says so: no attribute of a signer and no revocation list that
nobody signed, hashes whose algorithm has no parameters. Certificates may come in any order, as a list: some
authorities do not sort them, and no signature covers that. What is signed is kept as the bytes it came in.
"""

from typing import Annotated

from cryptography import x509
from cryptography.hazmat.asn1 import (
    TLV,
    BitString,
    Default,
    Explicit,
    GeneralizedTime,
    Implicit,
    Null,
    SetOf,
    sequence,
)


@sequence
class Algorithm:
    """RFC 5280's AlgorithmIdentifier of a hash."""

    oid: x509.ObjectIdentifier
    parameters: Null | None


@sequence
class Imprint:
    """What is stamped."""

    algorithm: Algorithm
    digest: bytes


@sequence
class Request:
    """RFC 3161's TimeStampReq."""

    version: int
    imprint: Imprint
    policy: x509.ObjectIdentifier | None
    nonce: int | None
    certificates: Annotated[bool, Default(value=False)]


@sequence
class Accuracy:
    """How far off the authority's clock may be."""

    seconds: int | None
    millis: Annotated[int | None, Implicit(0)]
    micros: Annotated[int | None, Implicit(1)]


@sequence
class Named:
    """A GeneralName: the alternative directoryName."""

    name: Annotated[TLV, Explicit(4)]


@sequence
class Stamp:
    """RFC 3161's TSTInfo."""

    version: int
    policy: x509.ObjectIdentifier
    imprint: Imprint
    serial: int
    time: GeneralizedTime
    accuracy: Accuracy | None
    ordering: Annotated[bool, Default(value=False)]
    nonce: int | None
    authority: Annotated[Named | None, Implicit(0)]
    extensions: Annotated[list[TLV] | None, Implicit(1)]


@sequence
class IssuerSerial:
    """Which certificate an issuer means."""

    issuer: list[TLV]
    serial: int


@sequence
class CertificateHash:
    """RFC 5035's ESSCertIDv2; without an algorithm it is SHA-256."""

    algorithm: Algorithm | None
    digest: bytes
    issuer: IssuerSerial | None


@sequence
class SigningCertificate:
    """RFC 5035's SigningCertificateV2; the first hash is the signer's."""

    hashes: list[CertificateHash]
    policies: list[TLV] | None


@sequence
class Attribute:
    """One signed attribute."""

    kind: x509.ObjectIdentifier
    values: SetOf[TLV]


@sequence
class Signer:
    """RFC 5652's SignerInfo, without unsigned attributes: who adds some makes another document."""

    version: int
    certificate: TLV
    digest: Algorithm
    attributes: Annotated[SetOf[Attribute], Implicit(0)]
    algorithm: TLV
    signature: bytes


@sequence
class Content:
    """What is signed."""

    kind: x509.ObjectIdentifier
    octets: Annotated[bytes, Explicit(0)]


@sequence
class SignedData:
    """RFC 5652's SignedData, without revocation lists; certificates in any order."""

    version: int
    digests: SetOf[Algorithm]
    content: Content
    certificates: Annotated[list[TLV], Implicit(0)]
    signers: SetOf[Signer]


@sequence
class SignedToken:
    """RFC 3161's TimeStampToken."""

    kind: x509.ObjectIdentifier
    data: Annotated[SignedData, Explicit(0)]


@sequence
class Status:
    """Whether it was granted; the authority's words are not signed, and shown to nobody."""

    status: int
    words: list[str] | None
    failure: BitString | None


@sequence
class Response:
    """RFC 3161's TimeStampResp."""

    status: Status
    token: SignedToken | None
