"""Assertions: what a person's key signed, and every way in which it is not that."""

import json
from typing import Any

import pytest
from fido2 import cbor
from fido2.utils import websafe_encode

from tests.rules.build import World, flip, press, refused
from workbench.demo import charter
from workbench.rules import assertion as webauthn
from workbench.rules.assertion import Assertion, Credential
from workbench.rules.codes import Refusal
from workbench.rules.documents import digest
from workbench.rules.trust import UNSAFE_AAGUID

CHALLENGE = digest("oms-test/v1", b"{}")
OTHER = digest("oms-test/v1", b"[]")
B64 = websafe_encode(CHALLENGE)
ORIGIN = charter.APPROVAL.origin
DEEP = b'{"type":"webauthn.get","challenge":"%s","x":' % B64.encode() + b"[" * 5000 + b"]" * 5000 + b"}"


def made(world: World, **bend: Any) -> Assertion:
    """Return the committee member's assertion, bent."""
    challenge = bend.pop("challenge", CHALLENGE)
    return press(world.keys, world.credential("committee-1").id, challenge, party=charter.APPROVAL, **bend)


def check(world: World, assertion: Assertion, **other: Any) -> None:
    """Verify against the committee member's first approval credential."""
    fields: dict[str, Any] = {
        "party": charter.APPROVAL,
        "challenge": CHALLENGE,
        "aaguids": [UNSAFE_AAGUID],
        "credential": world.credential("committee-1"),
    }
    fields |= other
    webauthn.verify(assertion, fields.pop("credential"), **fields)


def said(**fields: Any) -> bytes:
    """Return client data spelt field by field, so that a name can stand twice."""
    whole = {"type": "webauthn.get", "challenge": B64, "origin": ORIGIN, "crossOrigin": False} | fields
    return json.dumps(whole).encode()


def twice(name: str, first: Any, last: Any) -> bytes:
    """Return client data in which one field stands twice."""
    body = said()
    start = json.dumps({name: first})[:-1].encode()
    kept = json.loads(body) | {name: last}
    return start + b"," + json.dumps(kept).encode()[1:]


def test_an_honest_assertion(world: World) -> None:
    """What the person's own authenticator signs verifies, by either tool."""
    check(world, made(world))
    authenticator = charter.authenticator(world.folder, "committee-1", charter.APPROVAL)
    check(world, authenticator.sign(CHALLENGE, credential=world.credential("committee-1").id))


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        pytest.param({"challenge": OTHER}, Refusal.ASSERTION_OTHER, id="another document"),
        pytest.param({"client": {"challenge": B64 + "="}}, Refusal.ASSERTION_OTHER, id="a padded challenge"),
        pytest.param(
            {"client": {"challenge": 1}}, Refusal.ASSERTION_OTHER, id="a challenge that is a number"
        ),
        pytest.param({"client": {"challenge": None}}, Refusal.ASSERTION_OTHER, id="no challenge"),
        pytest.param({"client": {"origin": "http://lab.localhost"}}, Refusal.ASSERTION, id="another origin"),
        pytest.param({"client": {"origin": ORIGIN + "/"}}, Refusal.ASSERTION, id="the origin with a slash"),
        pytest.param({"client": {"origin": ORIGIN.upper()}}, Refusal.ASSERTION, id="the origin in capitals"),
        pytest.param({"client": {"origin": [ORIGIN]}}, Refusal.ASSERTION, id="a list of origins"),
        pytest.param(
            {"client": {"origin": charter.LOGIN.origin}}, Refusal.ASSERTION, id="the login's origin"
        ),
        pytest.param({"client": {"origin": None}}, Refusal.ASSERTION, id="no origin"),
        pytest.param({"client": {"type": "webauthn.create"}}, Refusal.ASSERTION, id="a registration"),
        pytest.param({"client": {"type": None}}, Refusal.ASSERTION, id="no type"),
        pytest.param({"client": {"crossOrigin": True}}, Refusal.ASSERTION, id="made in a frame"),
        pytest.param({"client": {"crossOrigin": None}}, Refusal.ASSERTION, id="silent about frames"),
        pytest.param({"client": {"crossOrigin": 0}}, Refusal.ASSERTION, id="zero is not false"),
        pytest.param({"client": {"crossOrigin": "false"}}, Refusal.ASSERTION, id="false as text"),
        pytest.param({"client": {"topOrigin": "http://lab"}}, Refusal.ASSERTION, id="names a top origin"),
        pytest.param({"rp_id": "login.localhost"}, Refusal.ASSERTION, id="another RP id"),
        pytest.param({"rp_id": "localhost"}, Refusal.ASSERTION, id="the parent's RP id"),
        pytest.param({"flags": 0x01}, Refusal.ASSERTION, id="the user was not verified"),
        pytest.param({"flags": 0x04}, Refusal.ASSERTION, id="nobody was present"),
        pytest.param({"flags": 0x00}, Refusal.ASSERTION, id="no flag at all"),
        pytest.param({"flags": 0x0D}, Refusal.ASSERTION, id="a passkey that can be copied"),
        pytest.param({"flags": 0x1D}, Refusal.ASSERTION, id="a passkey that was copied"),
        pytest.param({"flags": 0x15}, Refusal.ASSERTION, id="backed up, but not eligible"),
        pytest.param({"flags": 0x07}, Refusal.ASSERTION, id="a reserved flag"),
        pytest.param({"flags": 0x25}, Refusal.ASSERTION, id="the other reserved flag"),
        pytest.param({"flags": 0x45}, Refusal.ASSERTION, id="attested data announced"),
        pytest.param({"flags": 0x85}, Refusal.ASSERTION, id="extensions announced"),
        pytest.param({"flags": 0x85, "tail": b"\xa0"}, Refusal.ASSERTION, id="extensions, empty"),
        pytest.param(
            {"flags": 0x85, "tail": b"\x81" * 9000}, Refusal.ASSERTION, id="extensions, a nesting bomb"
        ),
        pytest.param({"tail": b"\x00"}, Refusal.ASSERTION, id="a trailing byte"),
        pytest.param({"cut": 36}, Refusal.ASSERTION, id="a counter cut short"),
        pytest.param({"cut": 32}, Refusal.ASSERTION, id="no flags"),
        pytest.param({"cut": 1}, Refusal.ASSERTION, id="one byte of authenticator data"),
        pytest.param({"client_raw": b"\x7f"}, Refusal.ASSERTION, id="client data that is no JSON"),
        pytest.param({"client_raw": b"\xff\xfe"}, Refusal.ASSERTION, id="client data that is no text"),
        pytest.param({"client_raw": b"[]"}, Refusal.ASSERTION, id="client data that is a list"),
        pytest.param({"client_raw": b"null"}, Refusal.ASSERTION, id="client data that is nothing"),
        pytest.param({"client_raw": DEEP}, Refusal.ASSERTION, id="client data, a nesting bomb"),
        pytest.param(
            {"client_raw": said().decode().encode("utf-16")}, Refusal.ASSERTION, id="client data in UTF-16"
        ),
        pytest.param(
            {"client_raw": twice("challenge", websafe_encode(OTHER), B64)},
            Refusal.ASSERTION,
            id="two challenges: the next reader may take the first",
        ),
        pytest.param(
            {"client_raw": twice("challenge", B64, B64)}, Refusal.ASSERTION, id="the same challenge twice"
        ),
        pytest.param(
            {"client_raw": twice("origin", "http://lab", ORIGIN)}, Refusal.ASSERTION, id="two origins"
        ),
        pytest.param(
            {"client_raw": twice("crossOrigin", True, False)}, Refusal.ASSERTION, id="in a frame and not"
        ),
    ],
)
def test_what_is_no_assertion(world: World, bend: dict[str, Any], code: Refusal) -> None:
    """The person's own key signed each of these: the signature alone is no consent."""
    assertion = made(world, **bend)
    with refused(code):
        check(world, assertion)


def test_more_client_data_than_we_know_is_admitted(world: World) -> None:
    """Browsers add fields to keep verifiers honest; they must not break a good assertion."""
    check(world, made(world, client={"other_keys_can_be_added_here": "do not compare", "nested": {"a": [1]}}))


@pytest.mark.parametrize(
    ("field", "code"),
    [
        pytest.param("signature", Refusal.ASSERTION, id="signature"),
        pytest.param("authenticator_data", Refusal.ASSERTION, id="authenticator data"),
        pytest.param("credential", Refusal.CREDENTIAL_UNKNOWN, id="credential"),
    ],
)
def test_a_flipped_character(world: World, field: str, code: Refusal) -> None:
    """Whatever is changed afterwards is found."""
    good = made(world).dump()
    with refused(code):
        check(world, Assertion.load({**good, field: flip(good[field])}))


def test_client_data_put_in_afterwards(world: World) -> None:
    """Client data over the right challenge beside a signature over another is a forgery."""
    other = made(world, challenge=OTHER).dump()
    with refused(Refusal.ASSERTION):
        check(world, Assertion.load({**other, "client_data": made(world).client_data}))


def test_the_signature_of_another_key(world: World) -> None:
    """Somebody else's key under this credential's name is a forgery."""
    with refused(Refusal.ASSERTION):
        check(world, made(world, signer=world.credential("cro-1").id))


def test_an_assertion_of_another_credential(world: World) -> None:
    """An honest assertion counts for the credential that made it only."""
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        check(world, made(world), credential=world.credential("cro-1"))
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        check(world, made(world), credential=world.credential("committee-1", index=1))


def test_a_login_is_no_approval(world: World) -> None:
    """A login assertion over an approval's challenge fails by origin and RP id, and the reverse too."""
    login = world.credential("committee-1", "login")
    assertion = press(world.keys, login.id, CHALLENGE, party=charter.LOGIN)
    with refused(Refusal.ASSERTION):
        check(world, assertion, credential=login)
    with refused(Refusal.ASSERTION):
        check(world, made(world), party=charter.LOGIN)
    check(world, assertion, credential=login, party=charter.LOGIN)


@pytest.mark.parametrize(
    "aaguids",
    [pytest.param([], id="no model"), pytest.param(["00" * 16], id="another model")],
)
def test_a_model_that_is_not_admitted(world: World, aaguids: list[str]) -> None:
    """The trust root says which authenticators count, whatever else is right."""
    with refused(Refusal.AUTHENTICATOR):
        check(world, made(world), aaguids=aaguids)


def cose(world: World, **changes: Any) -> dict[int, Any]:
    """Return the committee member's COSE key, changed; names stand for numbers."""
    names = {"kty": 1, "alg": 3, "crv": -1, "x": -2, "y": -3, "use": 4}
    value: Any = cbor.decode(bytes.fromhex(world.credential("committee-1").cose))
    for name, new in changes.items():
        value.pop(names[name], None)
        if new is not None:
            value[names[name]] = new
    return dict(value)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"alg": -257}, id="another algorithm"),
        pytest.param({"alg": -9}, id="the same curve under another algorithm's name"),
        pytest.param({"alg": -999}, id="an algorithm that does not exist"),
        pytest.param({"alg": None}, id="no algorithm"),
        pytest.param({"crv": 8}, id="another curve"),
        pytest.param({"kty": 1}, id="another kind of key"),
        pytest.param({"kty": True}, id="true is not one"),
        pytest.param({"x": None}, id="no x"),
        pytest.param({"y": None}, id="no y"),
        pytest.param({"x": b"\x01"}, id="a short x"),
        pytest.param({"x": "x" * 32}, id="x as text"),
        pytest.param({"x": 2**40}, id="x as a number"),
        pytest.param({"use": 1}, id="a field more"),
    ],
)
def test_a_key_has_one_form(world: World, changes: dict[str, Any]) -> None:
    """Only ES256 in its one spelling: another spelling of a key could be listed for a second person."""
    raw = cbor.encode(cose(world, **changes))
    credential = Credential.load({**world.credential("committee-1").dump(), "cose": raw.hex()})
    with refused(Refusal.POLICY_INVALID):
        webauthn.public_key(credential)
    with refused(Refusal.POLICY_INVALID):
        check(world, made(world), credential=credential)


def test_a_key_that_is_no_canonical_cbor(world: World) -> None:
    """Trailing bytes, another order, an indefinite or broken form: the lenient decoder is not asked twice."""
    good = bytes.fromhex(world.credential("committee-1").cose)
    backwards = b"\xa5" + b"".join(
        cbor.encode(name) + cbor.encode(value) for name, value in reversed(list(cose(world).items()))
    )
    for raw in (good + b"\0", good[:-1], backwards, b"\xa5", b"", b"\x81" * 9000, b"\xbf\xff", b"\xf6"):
        credential = Credential.load({**world.credential("committee-1").dump(), "cose": raw.hex()})
        with refused(Refusal.POLICY_INVALID):
            webauthn.public_key(credential)


def test_a_point_off_the_curve(world: World) -> None:
    """A key that is no point verifies nothing."""
    raw = cbor.encode(cose(world, x=bytes(32)))
    credential = Credential.load({**world.credential("committee-1").dump(), "cose": raw.hex()})
    with refused(Refusal.ASSERTION):
        check(world, made(world), credential=credential)
