"""RFC 3161 on the wire: the one module that reads and writes its DER, and the one that wraps rfc3161-client.

Needs the extra `timestamp`; who imports this module says what happens without it. A response is read into
`Response` (`ledger.tsp_types`), and what was read must spell the same bytes again. The steps:

(1) The authority granted it (status 0), and it is one token of at most 64 KiB, nothing behind it.
(2) The token is signed data over a TSTInfo by one signer, with a digest of the SHA-2 family, with signed
    attributes, and nothing unsigned but the certificates.
(3) The TSTInfo is version 1, of the imprint that the caller expects, and of his nonce and policy.
(4) The signature verifies, under a certificate that is for time-stamping only (a critical extension says so)
    and whose chain leads to one of the roots, all of it valid at the time in the stamp.
(5) The signed attributes name the content's type and that very certificate, by a SHA-2 hash.

What rfc3161-client 1.0.9 leaves to its caller: it returns True or raises; takes SHA-1 digests, and an imprint
of whichever algorithm; leaves (5) out, though nothing else that is signed says whose certificate it is, or
that the content is a time-stamp and no letter under the same key; loses fractions of a second; and refuses
certificates in another order than DER's, which is how `openssl ts` sends them: here they are put in order
first, which no signature covers. A certificate given to it as `tsa_certificate` becomes a root: never used.

Not signed, and so open to change without any effect on what is reported: the status's words, the name of the
signature's algorithm (the key decides), certificates that the chain does not need, the order of all of them,
the list of digests, and an ECDSA signature's second spelling.

Left out: revocation. Who stole an authority's key stamps backwards for as long as its certificate was valid:
take that authority out of the trust root. A TSTInfo's accuracy, name and extensions are signed, and not read.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.asn1 import TLV, decode_der, encode_der
from cryptography.utils import CryptographyDeprecationWarning
from rfc3161_client import (
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from ledger.trust import UNREADABLE
from ledger.tsp_types import (
    Algorithm,
    CertificateHash,
    Imprint,
    Request,
    Response,
    SignedData,
    Signer,
    SigningCertificate,
    Stamp,
)

REASON = re.compile(r'reason: "([^"]+)"|data: "Verify error: ?([^"]+)"')
RESPONSE_MAX = 64 * 1024  # bytes; with a chain of three RSA certificates it is below 10 KiB
NONCE_MAX = 2**64
GRANTED, VERSION = 0, 1
SIGNED_VERSION, SIGNER_VERSION = 3, 1  # of CMS, for this content and this way to name the signer
SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
DIGESTS = {
    SHA256: "sha256",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2"): "sha384",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.3"): "sha512",
}
SIGNED_DATA = x509.ObjectIdentifier("1.2.840.113549.1.7.2")
TST_INFO = x509.ObjectIdentifier("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE = x509.ObjectIdentifier("1.2.840.113549.1.9.3")
SIGNING_CERTIFICATE = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.47")  # version 2; version 1 is of SHA-1


class TspError(ValueError):
    """A response is malformed, or does not prove what the caller expects."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a response proves: the authority's time and the number that it gave."""

    time: datetime
    serial: int


def request(digest: bytes, *, nonce: int, policy: str | None) -> bytes:
    """Return the request for a stamp over a SHA-256 digest, with the authority's certificate."""
    if not 0 <= nonce < NONCE_MAX:
        raise TspError("the nonce is not of 64 bits")
    return encode_der(
        Request(
            version=VERSION,
            imprint=Imprint(algorithm=Algorithm(oid=SHA256, parameters=None), digest=digest),
            policy=None if policy is None else x509.ObjectIdentifier(policy),
            nonce=nonce,
            certificates=True,
        )
    )


def verify(
    raw: bytes, roots: tuple[bytes, ...], *, digest: bytes, nonce: int | None, policy: str | None
) -> Token:
    """Return what a response proves about a SHA-256 digest, or raise TspError; without nonce, any will do."""
    try:
        # What the library only warns of today it will refuse one day: an old stamp must not be lost by that.
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            response, data = _read(raw)
            stamp = _stamp(data.content.octets)
            _check_stamp(stamp, digest=digest, nonce=nonce, policy=policy)
            signer = _signer(data)
            _check_attributes(signer, _check_signature(response, data, roots, digest))
    except UNREADABLE as error:
        raise TspError(str(error) or type(error).__name__) from None
    return Token(stamp.time.as_datetime(), stamp.serial)


def _read(raw: bytes) -> tuple[Response, SignedData]:  # (1)
    if len(raw) > RESPONSE_MAX:
        raise TspError(f"a response of {len(raw)} bytes, limit {RESPONSE_MAX}")
    response = decode_der(Response, raw)
    if encode_der(response) != raw:
        raise TspError("the response is not in canonical form")
    status, token = response.status, response.token
    if status.status != GRANTED or status.failure is not None or token is None:
        raise TspError(f"status {status.status}: not granted")
    if (token.kind, token.data.version, token.data.content.kind) != (
        SIGNED_DATA,
        SIGNED_VERSION,
        TST_INFO,
    ):  # (2)
        raise TspError("the token is not signed data over a time-stamp")
    return response, token.data


def _signer(data: SignedData) -> Signer:  # (2)
    signers = data.signers.as_list()
    if len(signers) != 1 or signers[0].version != SIGNER_VERSION or signers[0].digest.oid not in DIGESTS:
        raise TspError("not one signer with a digest of SHA-256, SHA-384 or SHA-512")
    return signers[0]


def _stamp(octets: bytes) -> Stamp:
    stamp = decode_der(Stamp, octets)
    if encode_der(stamp) != octets:
        raise TspError("the stamp is not in canonical form")
    return stamp


def _check_stamp(stamp: Stamp, *, digest: bytes, nonce: int | None, policy: str | None) -> None:  # (3)
    if stamp.version != VERSION:
        raise TspError(f"a stamp of version {stamp.version}")
    if stamp.imprint.algorithm.oid != SHA256 or stamp.imprint.digest != digest:
        raise TspError("the stamp is of something else")
    # An older answer, recorded by somebody on the way, must not pass for the one that was asked for.
    if nonce is not None and stamp.nonce != nonce:
        raise TspError("the stamp has another nonce: it answers another request")
    if policy is not None and stamp.policy.dotted_string != policy:
        raise TspError(f"policy {stamp.policy.dotted_string}, the trust root's is {policy}")


def _check_signature(  # (4)
    response: Response, data: SignedData, roots: tuple[bytes, ...], digest: bytes
) -> bytes:
    data.certificates.sort(key=encode_der)
    ordered = decode_timestamp_response(encode_der(response))
    verifier = VerifierBuilder(roots=[x509.load_der_x509_certificate(root) for root in roots]).build()
    try:
        verified = verifier.verify(ordered, digest)
    except VerificationError as error:
        raise TspError(f"the signature does not verify: {_reason(str(error))}") from None
    if verified is not True:
        raise TspError("the signature does not verify")
    return _chosen(ordered)


def _reason(words: str) -> str:
    # OpenSSL's stack of errors as one line of text: its last word is the reason.
    return "".join([("", words), *REASON.findall(words)][-1])


def _chosen(response: TimeStampResponse) -> bytes:
    # Of two certificates that could be meant the library might have looked at one and OpenSSL at the other.
    (info,) = response.signed_data.signer_infos
    loaded = {raw: x509.load_der_x509_certificate(raw) for raw in response.signed_data.certificates}
    chosen = [
        raw
        for raw, each in loaded.items()
        if (each.issuer, each.serial_number) == (info.issuer, info.serial_number)
    ]
    if len(chosen) != 1:
        raise TspError(f"{len(chosen)} certificates that may be the signer's")
    return chosen[0]


def _check_attributes(signer: Signer, certificate: bytes) -> None:  # (5)
    if _attribute(signer, CONTENT_TYPE).parse(x509.ObjectIdentifier) != TST_INFO:
        raise TspError("the signature is over another type of content")
    # The signature does not cover which certificate verifies it, but for this hash: a key's other
    # certificate, longer valid or for another purpose, must not take its place.
    hashes: list[CertificateHash] = _attribute(signer, SIGNING_CERTIFICATE).parse(SigningCertificate).hashes
    if not hashes or hashes[0].digest != _hashed(certificate, hashes[0].algorithm):
        raise TspError("the signature is bound to another certificate")


def _hashed(certificate: bytes, algorithm: Algorithm | None) -> bytes:
    name = DIGESTS.get(SHA256 if algorithm is None else algorithm.oid)
    if name is None:
        raise TspError("the signature is bound to its certificate by a hash that is not of the SHA-2 family")
    return hashlib.new(name, certificate).digest()


def _attribute(signer: Signer, kind: x509.ObjectIdentifier) -> TLV:
    values = [each.values.as_list() for each in signer.attributes.as_list() if each.kind == kind]
    if len(values) != 1 or len(values[0]) != 1:
        raise TspError(f"not one signed attribute {kind.dotted_string}")
    return values[0][0]
