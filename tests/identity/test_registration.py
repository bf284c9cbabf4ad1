"""Registrations: which answers of which authenticators become credentials, by the attack in each."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fido2 import cbor
from fido2.cose import ES256, ES384
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

from tests.rules.build import World, build, press, refused
from workbench.demo import charter
from workbench.identity.registration import Metadata, Registered, begin, check, complete
from workbench.rules.assertion import Credential, verify
from workbench.rules.codes import Refusal
from workbench.rules.enrolment import Registration
from workbench.rules.trust import TrustRoot

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CHALLENGE = b"\x07" * 32
MODEL, OTHER = "11" * 16, "22" * 16
AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
YEAR = timedelta(days=365)
Json = dict[str, Any]
Key = ec.EllipticCurvePrivateKey


def key() -> Key:
    """Return a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate's bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def name(common: str, unit: str = "Authenticator Attestation") -> x509.Name:
    """Return a vendor's name."""
    parts = [
        (NameOID.COUNTRY_NAME, "CH"),
        (NameOID.ORGANIZATION_NAME, "Test vendor"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def certificate(
    subject: str,
    own: Key,
    *,
    issuer: str,
    by: Key,
    ca: bool = False,
    model: str | None = None,
    until: datetime = NOW + YEAR,
) -> x509.Certificate:
    """Return a certificate that was valid for two years at most."""
    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - YEAR)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if model is not None:
        value = b"\x04\x10" + bytes.fromhex(model)
        made = made.add_extension(x509.UnrecognizedExtension(AAGUID, value), critical=False)
    return made.sign(by, hashes.SHA256())


@dataclass
class Vendor:
    """A maker of authenticators: a root, and a certificate for a batch of them."""

    root_key: Key = field(default_factory=key)
    batch_key: Key = field(default_factory=key)
    until: datetime = NOW + YEAR
    model: str = MODEL

    def __post_init__(self) -> None:
        self.root = certificate("root", self.root_key, issuer="root", by=self.root_key, ca=True)
        self.batch = certificate(
            "batch", self.batch_key, issuer="root", by=self.root_key, model=self.model, until=self.until
        )

    @property
    def chain(self) -> list[bytes]:
        """What an authenticator of the batch sends along."""
        return [der(self.batch)]


@dataclass
class Publisher:
    """Whoever publishes metadata: a root that people have, and a certificate that signs."""

    root_key: Key = field(default_factory=key)
    signing_key: Key = field(default_factory=key)

    def __post_init__(self) -> None:
        self.root = certificate("publisher", self.root_key, issuer="publisher", by=self.root_key, ca=True)
        self.leaf = certificate("signer", self.signing_key, issuer="publisher", by=self.root_key)

    def published(self, entries: list[Json], *, next_update: str = "2026-12-01", number: int = 7) -> bytes:
        """Return a signed edition."""
        header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(der(self.leaf)).decode()]}
        payload = {"legalHeader": "test", "no": number, "nextUpdate": next_update, "entries": entries}
        message = b".".join(websafe_encode(json.dumps(each).encode()).encode() for each in (header, payload))
        signature = self.signing_key.sign(message, ec.ECDSA(hashes.SHA256()))
        return message + b"." + websafe_encode(signature).encode()


def entry(
    vendor: Vendor,
    *,
    model: str = MODEL,
    protection: tuple[str, ...] = ("hardware", "secure_element"),
    statuses: tuple[str, ...] = ("FIDO_CERTIFIED_L1",),
) -> Json:
    """Return what the metadata says of a model."""
    dashed = f"{model[:8]}-{model[8:12]}-{model[12:16]}-{model[16:20]}-{model[20:]}"
    statement = {
        "description": "a test authenticator",
        "authenticatorVersion": 1,
        "schema": 3,
        "upv": [{"major": 1, "minor": 0}],
        "attestationTypes": ["basic_full"],
        "userVerificationDetails": [],
        "keyProtection": list(protection),
        "matcherProtection": ["on_chip"],
        "attachmentHint": ["external"],
        "tcDisplay": [],
        "attestationRootCertificates": [base64.b64encode(der(vendor.root)).decode()],
        "aaguid": dashed,
    }
    reports = [{"status": status, "effectiveDate": "2026-01-01"} for status in statuses]
    return {
        "aaguid": dashed,
        "metadataStatement": statement,
        "statusReports": reports,
        "timeOfLastStatusChange": "2026-01-01",
    }


VENDOR, PUBLISHER = Vendor(), Publisher()


def metadata(*entries: Json, now: datetime = NOW, **how: Any) -> Metadata:
    """Return a verified edition with these entries."""
    raw = PUBLISHER.published(list(entries) or [entry(VENDOR)], **how)
    return Metadata.read(raw, root=der(PUBLISHER.root), now=now)


def answer(
    vendor: Vendor = VENDOR,
    *,
    party: Any = charter.APPROVAL,
    own: Any = None,
    cose: Any = None,
    flags: int = 0x45,
    chain: list[bytes] | None = None,
    client: Json | None = None,
    model: str = MODEL,
    credential_id: bytes | None = None,
    fmt: str = "packed",
    tail: bytes = b"",
    forged: bool = False,
) -> Json:
    """Return a browser's answer; each argument bends one thing."""
    own = own or key()
    named = credential_id or secrets.token_bytes(32)
    said = {
        "type": "webauthn.create",
        "challenge": websafe_encode(CHALLENGE),
        "origin": party.origin,
        "crossOrigin": False,
    } | (client or {})
    raw = json.dumps({each: value for each, value in said.items() if value is not None}).encode()
    attested = AttestedCredentialData.create(
        bytes.fromhex(model), named, cose or ES256.from_cryptography_key(own.public_key())
    )
    rp_hash = hashlib.sha256(party.id.encode()).digest()
    data = AuthenticatorData(rp_hash + bytes([flags]) + (1).to_bytes(4) + bytes(attested) + tail)
    signed = bytes(data) + hashlib.sha256(raw).digest()
    certificates = vendor.chain if chain is None else chain
    signer = vendor.batch_key if certificates else own
    statement: Json = {
        "alg": ES256.ALGORITHM,
        "sig": signer.sign(signed + (b"!" if forged else b""), ec.ECDSA(hashes.SHA256())),
    }
    statement |= {"x5c": certificates} if certificates else {}
    made = AttestationObject.create(fmt, data, {} if fmt == "none" else statement)
    return {
        "id": websafe_encode(named),
        "rawId": websafe_encode(named),
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(raw),
            "attestationObject": websafe_encode(bytes(made)),
        },
    }


@pytest.fixture
def trust_root(world: World) -> TrustRoot:
    """Return a trust root that admits the model."""
    return world.root(aaguids=[MODEL])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk, for its trust root."""
    return build(tmp_path_factory.mktemp("officers"))


def registered(trust_root: TrustRoot, response: object, **how: Any) -> Registered:
    """Complete a registration for approvals."""
    options: Json = {
        "challenge": CHALLENGE,
        "path": "approval",
        "trust_root": trust_root,
        "known": frozenset(),
        "metadata": how.pop("metadata", None) or metadata(),
        "now": NOW,
    }
    return complete(response, **(options | how))


@pytest.mark.parametrize("path", ["login", "approval"])
def test_a_registration(trust_root: TrustRoot, path: str) -> None:
    """What was made is listed as the key it is, for its path, with the edition that vouches for its model."""
    own, party = key(), charter.PARTIES[path]
    raw = PUBLISHER.published([entry(VENDOR)])
    found = registered(
        trust_root,
        answer(own=own, party=party),
        path=path,
        metadata=Metadata.read(raw, root=der(PUBLISHER.root), now=NOW),
    )
    assert (found.credential.path, found.credential.aaguid) == (path, MODEL)
    assert (found.metadata.dump() if found.metadata else None) == {
        "number": 7,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    assertion = press({found.credential.id: own}, found.credential.id, b"\x01" * 32, party=party)
    verify(assertion, found.credential, party=party, challenge=b"\x01" * 32, aaguids=[MODEL])


def test_what_is_asked_for(world: World) -> None:
    """Verification and direct attestation are demanded, ES256 alone is offered, known keys are excluded."""
    known = world.policy.people["cro-1"].credentials
    options = begin(person="cro-1", name="CRO", party=charter.APPROVAL, known=known, challenge=CHALLENGE)
    asked = json.loads(json.dumps(options))["publicKey"]
    assert asked["challenge"] == websafe_encode(CHALLENGE)
    assert (asked["rp"]["id"], asked["attestation"]) == (charter.APPROVAL.id, "direct")
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert [each["alg"] for each in asked["pubKeyCredParams"]] == [-7]
    assert [each["id"] for each in asked["excludeCredentials"]] == [each.id for each in known]


def twice(response: Json) -> Json:
    """Name a field of the client data twice."""
    raw = websafe_decode(response["response"]["clientDataJSON"])
    raw = raw.replace(b'"crossOrigin": false', b'"crossOrigin": false, "crossOrigin": false')
    return response | {"response": response["response"] | {"clientDataJSON": websafe_encode(raw)}}


P384 = ec.generate_private_key(ec.SECP384R1())
EXPIRED = Vendor(root_key=VENDOR.root_key, until=NOW - timedelta(days=1))
STRANGER = Vendor()
LEAF_AS_ISSUER = [
    der(certificate("false", VENDOR.batch_key, issuer="batch", by=VENDOR.batch_key, model=MODEL)),
    der(VENDOR.batch),
]

ANSWERS: list[Any] = [
    pytest.param(lambda: answer(party=charter.LOGIN), Refusal.REGISTRATION, id="for another path"),
    pytest.param(
        lambda: answer(client={"origin": "http://localhost:8888"}), Refusal.REGISTRATION, id="another origin"
    ),
    pytest.param(
        lambda: answer(client={"type": "webauthn.get"}), Refusal.REGISTRATION, id="an assertion's client data"
    ),
    pytest.param(
        lambda: answer(client={"challenge": websafe_encode(bytes(32))}),
        Refusal.REGISTRATION,
        id="another challenge",
    ),
    pytest.param(lambda: answer(client={"crossOrigin": True}), Refusal.REGISTRATION, id="in a frame"),
    pytest.param(lambda: answer(client={"crossOrigin": None}), Refusal.REGISTRATION, id="does not say"),
    pytest.param(
        lambda: answer(client={"topOrigin": "http://localhost:8888"}), Refusal.REGISTRATION, id="framed by"
    ),
    pytest.param(lambda: twice(answer()), Refusal.REGISTRATION, id="a field twice"),
    pytest.param(lambda: answer(flags=0x41), Refusal.REGISTRATION, id="nobody was verified"),
    pytest.param(lambda: answer(flags=0x44), Refusal.REGISTRATION, id="nobody was there"),
    pytest.param(lambda: answer(flags=0x4D), Refusal.REGISTRATION, id="may be backed up"),
    pytest.param(lambda: answer(flags=0x5D), Refusal.REGISTRATION, id="is backed up"),
    pytest.param(
        lambda: answer(flags=0xC5, tail=cbor.encode({"x": 1})), Refusal.REGISTRATION, id="with extensions"
    ),
    pytest.param(
        lambda: answer(cose=ES384.from_cryptography_key(P384.public_key())),
        Refusal.POLICY_INVALID,
        id="another kind of key",
    ),
    pytest.param(lambda: answer() | {"id": "AAAA", "rawId": "AAAA"}, Refusal.REGISTRATION, id="another's id"),
    pytest.param(lambda: answer(fmt="none", chain=[]), Refusal.AUTHENTICATOR, id="no attestation"),
    pytest.param(lambda: answer(chain=[]), Refusal.AUTHENTICATOR, id="its own word"),
    pytest.param(lambda: answer(forged=True), Refusal.AUTHENTICATOR, id="a forged attestation"),
    pytest.param(lambda: answer(STRANGER), Refusal.AUTHENTICATOR, id="another vendor's root of that name"),
    pytest.param(lambda: answer(EXPIRED), Refusal.AUTHENTICATOR, id="a certificate out of time"),
    pytest.param(lambda: answer(chain=LEAF_AS_ISSUER), Refusal.AUTHENTICATOR, id="issued by a batch"),
    pytest.param(lambda: answer(model=OTHER), Refusal.AUTHENTICATOR, id="another model than certified"),
    pytest.param(list, Refusal.REGISTRATION, id="no object"),
    pytest.param(lambda: {"response": {}}, Refusal.REGISTRATION, id="an empty one"),
    pytest.param(
        lambda: answer() | {"response": answer()["response"] | {"attestationObject": "AAAA"}},
        Refusal.REGISTRATION,
        id="no attestation object",
    ),
]


@pytest.mark.parametrize(("make", "code"), ANSWERS)
def test_answers_that_are_refused(trust_root: TrustRoot, make: Callable[[], object], code: Refusal) -> None:
    """Whatever is not exactly what was asked for is no credential."""
    with refused(code):
        registered(trust_root, make())


def test_a_known_credential(trust_root: TrustRoot) -> None:
    """An id that the set lists already, whoever's it is, is not registered again."""
    response = answer()
    with refused(Refusal.REGISTRATION):
        registered(trust_root, response, known={response["id"]})
    registered(trust_root, response, known={answer()["id"]})


def test_a_model_that_is_not_admitted(world: World) -> None:
    """The metadata knows more models than the trust root admits."""
    with refused(Refusal.AUTHENTICATOR):
        registered(world.root(aaguids=[OTHER]), answer())


@pytest.mark.parametrize(
    "about",
    [
        pytest.param({"protection": ("software",)}, id="software"),
        pytest.param({"protection": ("hardware", "software")}, id="software, too"),
        pytest.param({"protection": ("tee",)}, id="a processor's mode"),
        pytest.param({"protection": ()}, id="nothing said"),
        pytest.param({"statuses": ("FIDO_CERTIFIED", "REVOKED")}, id="revoked"),
        pytest.param({"statuses": ("REVOKED", "UPDATE_AVAILABLE")}, id="revoked, then updated"),
        pytest.param({"statuses": ("ATTESTATION_KEY_COMPROMISE",)}, id="attestation key"),
        pytest.param({"statuses": ("USER_KEY_REMOTE_COMPROMISE",)}, id="user keys, from afar"),
        pytest.param({"statuses": ("USER_KEY_PHYSICAL_COMPROMISE",)}, id="user keys, at hand"),
        pytest.param({"statuses": ("USER_VERIFICATION_BYPASS",)}, id="verification"),
        pytest.param({"model": OTHER}, id="another model"),
    ],
)
def test_models_that_the_metadata_does_not_vouch_for(trust_root: TrustRoot, about: Json) -> None:
    """A genuine attestation of a model that is broken, or soft, or unknown, is not enough."""
    with refused(Refusal.AUTHENTICATOR):
        registered(trust_root, answer(), metadata=metadata(entry(VENDOR, **about)))


@pytest.mark.parametrize("protection", [("hardware",), ("secure_element",), ("hardware", "tee")])
def test_hardware(trust_root: TrustRoot, protection: tuple[str, ...]) -> None:
    """Either word for hardware is enough."""
    registered(trust_root, answer(), metadata=metadata(entry(VENDOR, protection=protection)))


def test_metadata_that_is_overdue(trust_root: TrustRoot) -> None:
    """What was revoked since stands in the next edition: without it nothing is registered."""
    due = metadata(next_update="2026-11-21")
    with refused(Refusal.METADATA):
        metadata(next_update="2026-11-20")
    registered(trust_root, answer(), metadata=due)
    with refused(Refusal.METADATA):
        registered(trust_root, answer(), metadata=due, now=NOW + timedelta(days=1))


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda raw: raw[:-4] + b"AAAA", id="another signature"),
        pytest.param(lambda raw: b"x" + raw, id="another header"),
        pytest.param(lambda _: Publisher().published([entry(VENDOR)]), id="another publisher of that name"),
        pytest.param(lambda raw: raw.rsplit(b".", 1)[0], id="no signature"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"a.b.c", id="no JSON"),
    ],
)
def test_metadata_that_is_not_the_publishers(bend: Callable[[bytes], bytes]) -> None:
    """Metadata is believed under the root that was given, or not at all."""
    raw = bend(PUBLISHER.published([entry(VENDOR)]))
    with refused(Refusal.METADATA):
        Metadata.read(raw, root=der(PUBLISHER.root), now=NOW)


def test_who_has_no_metadata_checks_the_rest(trust_root: TrustRoot) -> None:
    """The answer must make the key that is named, here and for this challenge; production has an edition."""
    own = key()
    made = answer(own=own)
    done = Registration.load(
        {
            "v": 1,
            "registered": registered(trust_root, made).dump(),
            "challenge": websafe_encode(CHALLENGE),
            "answer": made,
        }
    )
    check(done, path="approval", trust_root=trust_root)
    other = done.registered.credential.model_copy(
        update={"cose": cbor.encode(dict(ES256.from_cryptography_key(key().public_key()))).hex()}
    )
    bent = (
        (Refusal.REGISTRATION, {"challenge": websafe_encode(b"\x02" * 32)}),
        (Refusal.REGISTRATION, {"registered": done.registered.model_copy(update={"credential": other})}),
    )
    for code, changes in bent:
        with refused(code):
            check(done.model_copy(update=changes), path="approval", trust_root=trust_root)
    with refused(Refusal.REGISTRATION):
        check(done, path="login", trust_root=trust_root)
    unvouched = done.registered.model_copy(update={"metadata": None})
    production = trust_root.model_copy(update={"profile": "production"})
    check(done, path="approval", trust_root=production)
    with refused(Refusal.METADATA):
        check(done.model_copy(update={"registered": unvouched}), path="approval", trust_root=production)


def test_a_registration_is_a_credential_of_people_json(trust_root: TrustRoot) -> None:
    """What comes out is what a policy set takes in."""
    found = registered(trust_root, answer())
    assert Credential.load(found.dump()["credential"]) == found.credential
