"""What an authority, or somebody on the way, may answer instead of the truth: a table of lies by name."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.asn1 import GeneralizedTime, decode_der, encode_der
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger import timestamp
from ledger.checkpoint import Checkpoint
from ledger.trust import TrustRoot
from ledger.tsp import TST_INFO
from ledger.tsp_types import Algorithm, Imprint, Request, Response, SignedData, Stamp
from tests.ledger.authority import LONG, NOW, Authority, Holder, holder, openssl, sequence
from tests.ledger.world import trust_root

NAME = "clock-1"
WANTED = Checkpoint("custody.example/ledger", 7, b"\x55" * 32, b"\x66" * 32)
NONCE = 0xFEDCBA9876543210
DAY = timedelta(days=1)
SHA512 = Algorithm(oid=ObjectIdentifier("2.16.840.1.101.3.4.2.3"), parameters=None)


class Party:
    """The authority that the trust root names, others that it does not, and what openssl will not sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = Authority(folder / "good")
        self.trust = TrustRoot.of(trust_root(timestamp={NAME: self.good.believed()}))

    def other(self, name: str, **changes: Any) -> Authority:
        """Make an authority under the same root."""
        return Authority(self.folder / name, **{"root": self.good.root} | changes)

    def content(self, query: bytes, **changes: Any) -> bytes:
        """Return what the authority would sign, some of it changed."""
        stamp = decode_der(Stamp, data_of(self.good.reply(query)).content.octets)
        for name, value in changes.items():
            setattr(stamp, name, value)
        return encode_der(stamp)

    def signed_by(self, query: bytes, signer: Holder | None = None, *options: str) -> bytes:
        """Return the answer with another certificate of the root."""
        return self.good.sign(self.content(query), *options, signer=signer)


def data_of(raw: bytes) -> SignedData:
    """Return the signed data of an answer."""
    token = decode_der(Response, raw).token
    assert token is not None
    return token.data


def asked(party: Party, checkpoint: Checkpoint = WANTED) -> bytes:
    """Return the request for a checkpoint's time-stamp."""
    return timestamp.request(checkpoint, party.trust.authorities[NAME], nonce=NONCE)


def rebuilt(
    raw: bytes,
    *,
    signer: bytes | None = None,
    certificates: bytes | None = None,
    content: bytes | None = None,
) -> bytes:
    """Return an answer whose signed data has another signer, content or certificates' field."""
    data = data_of(raw)
    own = sequence(b"".join(map(encode_der, data.certificates)), 0xA0)
    pieces = [
        sequence(b"\x03", 0x02),
        sequence(b"".join(encode_der(each) for each in data.digests.as_list()), 0x31),
        encode_der(data.content) if content is None else content,
        own if certificates is None else certificates,
        sequence(encode_der(data.signers.as_list()[0]) if signer is None else signer, 0x31),
    ]
    kind = bytes.fromhex("06092a864886f70d010702")
    token = sequence(kind + sequence(sequence(b"".join(pieces)), 0xA0))
    return sequence(bytes.fromhex("3003020100") + token)


def called_a_stamp(raw: bytes) -> bytes:
    """Return an answer over plain data whose type somebody has changed: only a signed attribute tells."""
    data = data_of(raw)
    data.content.kind = TST_INFO
    return rebuilt(raw, content=encode_der(data.content))


def with_unsigned_attribute(raw: bytes) -> bytes:
    """Return an answer to which somebody added an attribute that nobody signed."""
    signer = data_of(raw).signers.as_list()[0]
    attribute = sequence(bytes.fromhex("06032a0304") + sequence(b"\x05\x00", 0x31))
    parts = [sequence(b"\x01", 0x02), encode_der(signer.certificate), encode_der(signer.digest)]
    parts += [sequence(b"".join(sorted(encode_der(each) for each in signer.attributes.as_list())), 0xA0)]
    parts += [encode_der(signer.algorithm), sequence(signer.signature, 0x04), sequence(attribute, 0xA1)]
    return rebuilt(raw, signer=sequence(b"".join(parts)))


def with_other_certificate(party: Party, raw: bytes, other: Holder) -> bytes:
    """Return an answer that names another certificate of the same key: no signature covers the name."""
    data = data_of(raw)
    signer = data.signers.as_list()[0]
    issuer = party.good.root.certificate.subject.public_bytes()
    serial = other.certificate.serial_number
    number = sequence(serial.to_bytes(serial.bit_length() // 8 + 1, "big"), 0x02)
    named = encode_der(signer).replace(encode_der(signer.certificate), sequence(issuer + number))
    body = named[named.index(sequence(b"\x01", 0x02)) :]
    return rebuilt(raw, signer=sequence(body), certificates=sequence(other.der, 0xA0))


def renewed(party: Party, **changes: Any) -> Holder:
    """Return another certificate for the authority's key."""
    assert party.good.signer is not None
    return holder("clock", party.good.root, key=party.good.signer.key, **changes)


def twin(party: Party) -> Holder:
    """Return another certificate for the authority's key, with the number of the one it has."""
    assert party.good.signer is not None
    return renewed(party, serial=party.good.signer.certificate.serial_number, valid=(NOW - DAY, NOW + DAY))


def with_twin(party: Party, query: bytes) -> bytes:
    """Return an answer in which two certificates may be the signer's."""
    raw = party.good.reply(query)
    both = sorted([*map(encode_der, data_of(raw).certificates), twin(party).der])
    return rebuilt(raw, certificates=sequence(b"".join(both), 0xA0))


def patched(raw: bytes, old: str, new: str) -> bytes:
    """Return an answer with one run of bytes changed."""
    assert raw.count(bytes.fromhex(old)) == 1
    return raw.replace(bytes.fromhex(old), bytes.fromhex(new))


def sha512(party: Party, _: bytes) -> bytes:
    """Return a true time-stamp of the same text, by its SHA-512."""
    (party.folder / "text").write_text(WANTED.text)
    options = ("-data", party.folder / "text", "-sha512", "-cert", "-out", party.folder / "query")
    openssl("ts", "-query", *options)
    return party.good.reply((party.folder / "query").read_bytes())


def two_signers(party: Party, query: bytes) -> bytes:
    """Return an answer that two certificates of the root have signed."""
    second = holder("second", party.good.root)
    second.write(party.good.folder, "second")
    files = (party.good.folder / "second.pem", party.good.folder / "second.key")
    kind = ("-cades", "-econtent_type", "1.2.840.113549.1.9.16.1.4")
    more = ("-signer", str(files[0]), "-inkey", str(files[1]))
    return party.good.sign(party.content(query), *kind, *more)


def digest(query: bytes) -> bytes:
    """Return the digest that a request names."""
    return decode_der(Request, query).imprint.digest


Make = Callable[[Party, bytes], bytes]
REFUSED: dict[str, tuple[Make, str]] = {
    "an older checkpoint's time-stamp": (
        lambda p, _: p.good.reply(asked(p, replace(WANTED, size=6))),
        "something else",
    ),
    "another chain under the same size and root": (
        lambda p, _: p.good.reply(asked(p, replace(WANTED, chain=b"\x01" * 32))),
        "something else",
    ),
    "the same text by SHA-512": (sha512, "something else"),
    "our digest, called SHA-512": (
        lambda p, q: p.good.sign(p.content(q, imprint=Imprint(algorithm=SHA512, digest=digest(q)))),
        "something else",
    ),
    "a self-made root under the known name": (
        lambda p, q: Authority(p.folder / "self").reply(q),
        "does not verify",
    ),
    "an intermediate under a self-made root of the same name": (
        lambda p, q: p.other("fake", root=holder("root of time", ca=True)).reply(q),
        "does not verify",
    ),
    "a certificate without extended key usage": (
        lambda p, q: p.signed_by(q, holder("clock", p.good.root, purposes=())),
        "unsuitable certificate purpose",
    ),
    "an extended key usage that is not critical": (
        lambda p, q: p.signed_by(q, holder("clock", p.good.root, critical=False)),
        "unsuitable certificate purpose",
    ),
    "a certificate for code as well": (
        lambda p, q: p.signed_by(
            q,
            holder(
                "c",
                p.good.root,
                purposes=(ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING),
            ),
        ),
        "unsuitable certificate purpose",
    ),
    "a certificate for servers": (
        lambda p, q: p.signed_by(q, holder("c", p.good.root, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))),
        "unsuitable certificate purpose",
    ),
    "the root's own signature": (lambda p, q: p.signed_by(q, p.good.root), "unsuitable certificate purpose"),
    "a certificate that had expired": (
        lambda p, q: p.other(
            "expired", signer=holder("clock", p.good.root, valid=(NOW - 9 * DAY, NOW - DAY))
        ).reply(q),
        "has expired",
    ),
    "a certificate that was not valid yet": (
        lambda p, q: p.other(
            "early", signer=holder("clock", p.good.root, valid=(NOW + DAY, NOW + 9 * DAY))
        ).reply(q),
        "not yet valid",
    ),
    "a time before the certificate": (
        lambda p, q: p.good.sign(p.content(q, time=GeneralizedTime(LONG[0] - DAY))),
        "not yet valid",
    ),
    "a time after the certificate": (
        lambda p, q: p.good.sign(p.content(q, time=GeneralizedTime(LONG[1] + DAY))),
        "has expired",
    ),
    "a signature over SHA-1": (lambda p, q: p.other("sha1", digest="sha1").reply(q), "SHA-256"),
    "a certificate's hash of SHA-1": (lambda p, q: p.other("ess", ess="sha1").reply(q), "attribute"),
    "a signature that names no certificate": (
        lambda p, q: p.signed_by(q, None, "-econtent_type", "1.2.840.113549.1.9.16.1.4"),
        "attribute",
    ),
    "a signature without attributes": (
        lambda p, q: p.signed_by(q, None, "-noattr", "-econtent_type", "1.2.840.113549.1.9.16.1.4"),
        "pars",
    ),
    "a signature over plain data": (lambda p, q: p.signed_by(q, None, "-cades"), "signed data"),
    "a signature over plain data, called a time-stamp": (
        lambda p, q: called_a_stamp(p.signed_by(q, None, "-cades")),
        "another type of content",
    ),
    "another certificate of the same key": (
        lambda p, q: with_other_certificate(p, p.good.reply(q), renewed(p)),
        "another certificate",
    ),
    "another certificate of the same key and number": (
        lambda p, q: rebuilt(p.good.reply(q), certificates=sequence(twin(p).der, 0xA0)),
        "another certificate",
    ),
    "two certificates of one number": (with_twin, "2 certificates"),
    "two signers": (two_signers, "one signer"),
    "an attribute that nobody signed": (lambda p, q: with_unsigned_attribute(p.good.reply(q)), "pars"),
    "a revocation list": (
        lambda p, q: rebuilt(
            r := p.good.reply(q),
            certificates=sequence(b"".join(map(encode_der, data_of(r).certificates)), 0xA0) + b"\xa1\x00",
        ),
        "pars",
    ),
    "no certificate": (lambda p, q: rebuilt(p.good.reply(q), certificates=b""), "pars"),
    "an empty set of certificates": (
        lambda p, q: rebuilt(p.good.reply(q), certificates=b"\xa0\x00"),
        "signer certificate not found",
    ),
    "a stamp of version 2": (lambda p, q: p.good.sign(p.content(q, version=2)), "version 2"),
    "a stamp with bytes behind it": (lambda p, q: p.good.sign(p.content(q) + b"\x00"), "pars"),
    "an answer that grants nothing": (
        lambda p, q: p.good.reply(patched(q, "0609608648016503040201", "0609608648016503040204")),
        "status 2",
    ),
    "granted with modifications": (
        lambda p, q: patched(p.good.reply(q), "3003020100", "3003020101"),
        "status 1",
    ),
    "granted, and a failure": (
        lambda p, q: sequence(bytes.fromhex("300702010003020780") + p.good.reply(q)[9:]),
        "status 0: not granted",
    ),
    "granted, and no token": (lambda _p, _q: bytes.fromhex("30053003020100"), "not granted"),
    "one byte behind it": (lambda p, q: p.good.reply(q) + b"\x00", "pars"),
    "the last byte cut": (lambda p, q: p.good.reply(q)[:-1], "pars"),
    "half of it": (lambda p, q: p.good.reply(q)[:500], "pars"),
    "nothing": (lambda _p, _q: b"", "pars"),
    "a web page": (lambda _p, _q: b"<html>no</html>", "pars"),
    "a length in another spelling": (
        lambda p, q: b"\x30\x83\x00" + p.good.reply(q)[2:],
        "pars",
    ),
    "more than is read": (
        lambda p, q: rebuilt(p.good.reply(q), certificates=sequence(p.good.root.der * 250, 0xA0)),
        "limit 65536",
    ),
}
