"""Certificates made while a test runs: an authority, and what it issues for a listener or a program."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=1)
ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key as files."""

    certificate: Path
    key: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate's DER, in hex: how a policy set names it."""
        raw = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(Encoding.DER)
        return hashlib.sha256(raw).hexdigest()


class Authority:
    """Somebody who issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make the authority's own key and certificate."""
        self._folder, self._name, self._key = folder, name, ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(name, self._key.public_key()).add_extension(basic, critical=True)
        self.certificate = self._written(name, made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def server(self, name: str) -> Issued:
        """Issue a listener's certificate for the loopback address."""
        place = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS))])
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, place)

    def client(self, name: str) -> Issued:
        """Issue a program's certificate."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _issue(
        self, name: str, usage: x509.ObjectIdentifier, place: x509.SubjectAlternativeName | None
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if place is not None:
            builder = builder.add_extension(place, critical=False)
        raw = builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(self._written(name, raw), self._written(f"{name}.key", secret))

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]),
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + LIFE,
        )

    def _written(self, name: str, raw: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(raw)
        return path
