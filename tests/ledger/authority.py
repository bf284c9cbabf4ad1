"""A time-stamp authority on this machine: its certificates, its answers by `openssl ts`, its HTTP."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY = "1.3.6.1.4.1.99999.1"
NOW = datetime.now(UTC).replace(microsecond=0)
LONG = (NOW - timedelta(days=365), NOW + timedelta(days=3650))
TSTINFO = "1.2.840.113549.1.9.16.1.4"
CONFIG = """
[ tsa ]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
certs = {folder}/chain.pem
signer_digest = {digest}
default_policy = {policy}
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = {ess}
{more}
"""

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path, name: str) -> None:
        """Write certificate and key as openssl reads them."""
        (folder / f"{name}.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        raw = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(raw)


def holder(
    name: str,
    issuer: Holder | None = None,
    *,
    ca: bool = False,
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.TIME_STAMPING,),
    critical: bool = True,
    valid: tuple[datetime, datetime] = LONG,
    key: Key | None = None,
    serial: int | None = None,
    host: str | None = None,
) -> Holder:
    """Make a certificate; without an issuer it signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if purposes and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=critical)
    if host is not None:
        names = [x509.IPAddress(ip_address(host))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Holder(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def openssl(*arguments: object) -> bytes:
    """Run openssl; a missing one fails the test."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass
class Authority:
    """One authority: who signs its certificate, and how it answers."""

    folder: Path
    root: Holder = field(default_factory=lambda: holder("root of time", ca=True))
    signer: Holder | None = None
    between: tuple[Holder, ...] = ()
    digest: str = "sha256"
    ess: str = "sha256"
    more: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signer = self.signer or holder("clock", self.between[-1] if self.between else self.root)
        self.signer.write(self.folder, "signer")
        self.root.write(self.folder, "root")
        chain = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (*self.between, self.root))
        (self.folder / "chain.pem").write_bytes(chain)
        (self.folder / "serial").write_text("0A\n")
        config = CONFIG.format(
            folder=self.folder, policy=POLICY, digest=self.digest, ess=self.ess, more=self.more
        )
        (self.folder / "tsa.cnf").write_text(config)

    def believed(self, **more: Any) -> dict[str, Any]:
        """Return what a trust root says of this authority."""
        return {"roots": [self.root.der.hex()], **more}

    def reply(self, query: bytes) -> bytes:
        """Return the answer to a request, granted or not."""
        (self.folder / "query.tsq").write_bytes(query)
        files = ("-queryfile", self.folder / "query.tsq", "-out", self.folder / "reply.tsr")
        openssl("ts", "-reply", "-config", self.folder / "tsa.cnf", "-section", "tsa", *files)
        return (self.folder / "reply.tsr").read_bytes()

    def sign(self, content: bytes, *options: str, signer: Holder | None = None) -> bytes:
        """Return a granted answer over any content: what `openssl ts` would not sign."""
        (signer or self.signer or self.root).write(self.folder, "other")
        (self.folder / "content").write_bytes(content)
        files = ("-in", self.folder / "content", "-out", self.folder / "token", "-outform", "DER")
        keys = ("-signer", self.folder / "other.pem", "-inkey", self.folder / "other.key", "-md", self.digest)
        kind = options or ("-cades", "-econtent_type", TSTINFO)
        openssl("cms", "-sign", "-binary", "-nodetach", *kind, *keys, *files)
        return sequence(bytes.fromhex("3003020100") + (self.folder / "token").read_bytes())


def sequence(body: bytes, tag: int = 0x30) -> bytes:
    """Return DER of a tag."""
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


@contextmanager
def served(answer: Callable[[bytes], tuple[int, str, bytes]]) -> Iterator[str]:
    """Serve an authority on loopback; the function turns a request's body into status, type and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            status, kind, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
