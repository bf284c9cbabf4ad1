"""People's authenticators: what is enrolled, and what they sign."""

import json
from pathlib import Path
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.utils import websafe_decode

from tests.rules.build import refused
from workbench.demo.authenticator import UnsafeSoftwareAuthenticator
from workbench.demo.charter import APPROVAL, LOGIN
from workbench.identity.ctap import Authenticator, AuthenticatorError
from workbench.rules import assertion as webauthn
from workbench.rules.assertion import Assertion, Credential
from workbench.rules.codes import Refusal
from workbench.rules.trust import UNSAFE_AAGUID, RelyingParty

CHALLENGE = b"\x07" * 32


class Bent(UnsafeSoftwareAuthenticator):
    """An authenticator that answers an assertion with other flags."""

    flags = 0x05

    def _assert(self, request: dict[int, Any]) -> dict[int, Any]:
        answer = super()._assert(request)
        data = bytearray(answer[2])
        data[32] = self.flags
        return answer | {2: bytes(data)}


@pytest.fixture
def device(tmp_path: Path) -> UnsafeSoftwareAuthenticator:
    """Return an empty software authenticator."""
    return UnsafeSoftwareAuthenticator(tmp_path / "keys.json")


def enrol(device: UnsafeSoftwareAuthenticator, party: RelyingParty = APPROVAL, **changes: Any) -> Credential:
    """Enrol a person at a relying party."""
    options = {"person": "cro-1", "name": "CRO", "path": "approval", "aaguids": [UNSAFE_AAGUID]}
    return Authenticator(device, party).enrol(**(options | changes))


def verify(assertion: Assertion, credential: Credential, challenge: bytes = CHALLENGE) -> None:
    """Verify an approval."""
    webauthn.verify(assertion, credential, party=APPROVAL, challenge=challenge, aaguids=[UNSAFE_AAGUID])


def test_an_enrolled_credential_signs(device: UnsafeSoftwareAuthenticator) -> None:
    """The record holds what verification needs, and the assertion verifies against it alone."""
    credential = enrol(device)
    assert (credential.aaguid, credential.path) == (UNSAFE_AAGUID, "approval")
    assert webauthn.public_key(credential)[3] == -7
    assertion = Authenticator(device, APPROVAL).sign(CHALLENGE, credential=credential.id)
    verify(assertion, credential)
    with refused(Refusal.ASSERTION_OTHER):
        verify(assertion, credential, b"\x08" * 32)


def test_each_enrolment_is_another_key(device: UnsafeSoftwareAuthenticator) -> None:
    """Two credentials of one person share nothing."""
    one, two = enrol(device), enrol(device)
    assert one.id != two.id
    assert one.cose != two.cose
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        verify(Authenticator(device, APPROVAL).sign(CHALLENGE, credential=one.id), two)


def test_a_model_that_is_not_admitted(device: UnsafeSoftwareAuthenticator) -> None:
    """Enrolment asks for the models of the trust root, before anybody signs."""
    for aaguids in ([], ["00" * 16]):
        with pytest.raises(AuthenticatorError, match="not admitted"):
            enrol(device, aaguids=aaguids)


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param("AAAA", id="a credential it does not hold"),
        pytest.param("A", id="no base64url"),
    ],
)
def test_an_authenticator_signs_with_its_own_credentials(
    device: UnsafeSoftwareAuthenticator, credential: str
) -> None:
    """Anything else is an error of the authenticator, never another credential's signature."""
    enrol(device)
    with pytest.raises(AuthenticatorError):
        Authenticator(device, APPROVAL).sign(CHALLENGE, credential=credential)


def test_a_credential_belongs_to_its_relying_party(device: UnsafeSoftwareAuthenticator) -> None:
    """A login credential makes no assertion at the approval origin, nor the reverse."""
    login, approval = enrol(device, LOGIN, path="login"), enrol(device)
    for party, credential in ((APPROVAL, login), (LOGIN, approval)):
        with pytest.raises(AuthenticatorError):
            Authenticator(device, party).sign(CHALLENGE, credential=credential.id)


def test_an_origin_outside_the_relying_party(device: UnsafeSoftwareAuthenticator) -> None:
    """A false origin is the caller's own claim; the verifier finds it."""
    credential = enrol(device)
    elsewhere = RelyingParty(id=APPROVAL.id, origin="http://lab.localhost:8888")
    with refused(Refusal.ASSERTION):
        verify(Authenticator(device, elsewhere).sign(CHALLENGE, credential=credential.id), credential)


@pytest.mark.parametrize("flags", [0x01, 0x04, 0x0D, 0x1D, 0x07])
def test_other_flags_than_presence_and_verification(tmp_path: Path, flags: int) -> None:
    """What the device itself says of presence, verification or backup is under the signature, and checked."""
    device = Bent(tmp_path / "keys.json")
    credential = enrol(device)
    device.flags = flags
    assertion = Authenticator(device, APPROVAL).sign(CHALLENGE, credential=credential.id)
    with refused(Refusal.ASSERTION):
        verify(assertion, credential)


def test_the_counter_rises_and_is_kept(device: UnsafeSoftwareAuthenticator, tmp_path: Path) -> None:
    """A copy of the file from before would sign under a counter that was seen."""
    credential = enrol(device)
    counters = []
    for _ in range(3):
        assertion = Authenticator(device, APPROVAL).sign(CHALLENGE, credential=credential.id)
        counters.append(int.from_bytes(websafe_decode(assertion.authenticator_data)[33:]))
    # the client looks for the credential first, which counts too
    assert counters == sorted(set(counters))
    kept = json.loads((tmp_path / "keys.json").read_text()).values()
    assert [entry["counter"] for entry in kept] == counters[-1:]
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "data"),
    [
        pytest.param(0x10, bytes([Ctap2.CMD.RESET]), id="a command it does not have"),
        pytest.param(0x03, bytes([Ctap2.CMD.GET_INFO]), id="U2F"),
        pytest.param(0x10, bytes([Ctap2.CMD.GET_ASSERTION]) + cbor.encode([]), id="a request that is no map"),
        pytest.param(
            0x10,
            bytes([Ctap2.CMD.GET_ASSERTION]) + cbor.encode({1: APPROVAL.id, 2: b"\0" * 32}),
            id="an assertion by whatever credential there is",
        ),
    ],
)
def test_the_software_authenticator_knows_three_words(
    device: UnsafeSoftwareAuthenticator, tmp_path: Path, command: int, data: bytes
) -> None:
    """Everything else is an error, and changes no counter."""
    enrol(device)
    before = (tmp_path / "keys.json").read_bytes()
    with pytest.raises(CtapError):
        device.call(command, data)
    assert (tmp_path / "keys.json").read_bytes() == before
    assert list(UnsafeSoftwareAuthenticator.list_devices()) == []
