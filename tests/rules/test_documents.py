"""Documents: one spelling for each value, and whatever is not that spelling is refused."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ledger.encoding import canonical
from tests.rules.build import address, digest_of, flip, observer_key, public, refused
from workbench.rules import documents
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Address,
    Amount,
    Asset,
    Base64Url,
    Digest,
    Document,
    Hex,
    Hex16,
    Name,
    Prose,
    Said,
    Seconds,
    SignedAmount,
    Time,
    Whole,
    read_time,
    signed_bytes,
    verify_ed25519,
    write_time,
)

USDC = address("usdc")
AT = "2026-11-21T12:00:00.000000Z"


class Sample(Document):
    """One field of every kind."""

    address: Address
    amount: Amount
    asset: Asset
    base64url: Base64Url
    digest: Digest
    hex: Hex
    hex16: Hex16
    name: Name
    prose: Prose
    said: Said
    seconds: Seconds
    signed: SignedAmount
    time: Time
    whole: Whole
    flag: bool
    inner: dict[Name, Whole]
    some: Annotated[list[Whole], Field(max_length=3)]
    perhaps: Whole | None = None


GOOD: dict[str, Any] = {
    "address": USDC,
    "amount": "0",
    "asset": "ETH",
    "base64url": "QQ",
    "digest": "a0" * 32,
    "hex": "",
    "hex16": "0f" * 16,
    "name": "cro-1",
    "prose": "",
    "said": "zwei Zeilen\nund ein Ton: größer 交易",
    "seconds": 60,
    "signed": "-1",
    "time": AT,
    "whole": 2**53 - 1,
    "flag": True,
    "inner": {"a": 1},
    "some": [1, 2, 3],
}


def test_every_kind_comes_back_as_it_went_in() -> None:
    """What is loaded is dumped the same, and an absent optional field stays absent."""
    assert Sample.read(canonical(GOOD)).canonical() == canonical(GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("whole", 1.0, id="a float is no whole number"),
        pytest.param("whole", "1", id="a number as text"),
        pytest.param("whole", True, id="true is not one"),
        pytest.param("whole", -1, id="a negative count"),
        pytest.param("whole", 2**53, id="a count that JavaScript rounds"),
        pytest.param("whole", None, id="nothing for a count"),
        pytest.param("flag", 1, id="one is not true"),
        pytest.param("flag", "true", id="true as text"),
        pytest.param("seconds", 10**9 + 1, id="a span beyond every calendar"),
        pytest.param("address", USDC.lower(), id="an address without checksum"),
        pytest.param("address", USDC.upper().replace("0X", "0x"), id="an address in capitals"),
        pytest.param("address", USDC[2:], id="an address without 0x"),
        pytest.param("address", USDC + "00", id="an address of 21 bytes"),
        pytest.param("address", USDC + "\n", id="an address with a line feed"),
        pytest.param("asset", "eth", id="ether in small letters"),
        pytest.param("asset", USDC.lower(), id="an asset without checksum"),
        pytest.param("amount", 1, id="an amount as number"),
        pytest.param("amount", "01", id="a leading zero"),
        pytest.param("amount", "-1", id="a negative amount"),
        pytest.param("amount", "+1", id="a plus sign"),
        pytest.param("amount", "1_0", id="an underscore"),
        pytest.param("amount", "1e3", id="an exponent"),
        pytest.param("amount", "1.0", id="a fraction"),
        pytest.param("amount", "٣", id="another script's digit"),
        pytest.param("amount", "", id="no digits"),
        pytest.param("amount", "1" * 79, id="more digits than 2^256 has"),
        pytest.param("amount", "1\n", id="an amount with a line feed"),
        pytest.param("signed", "-0", id="minus zero"),
        pytest.param("signed", "--1", id="two signs"),
        pytest.param("signed", "-01", id="a leading zero behind the sign"),
        pytest.param("digest", "A0" * 32, id="a digest in capitals"),
        pytest.param("digest", "a0" * 31, id="a short digest"),
        pytest.param("digest", "0x" + "a0" * 31, id="a digest with 0x"),
        pytest.param("hex", "a", id="half a byte"),
        pytest.param("hex", "0A", id="hex in capitals"),
        pytest.param("hex", "0a 0b", id="hex with a blank"),
        pytest.param("hex16", "0f" * 15, id="a short id"),
        pytest.param("base64url", "QR", id="base64url with a bit left over"),
        pytest.param("base64url", "QQ==", id="base64url with padding"),
        pytest.param("base64url", "Q", id="base64url of six bits"),
        pytest.param("base64url", "+/+/", id="base64 of the other alphabet"),
        pytest.param("base64url", "Q Q", id="base64url with a blank"),
        pytest.param("base64url", "", id="base64url of nothing"),
        pytest.param("base64url", "QQ\n", id="base64url with a line feed"),
        pytest.param("base64url", "AAAA" * 5001, id="base64url over its limit"),
        pytest.param("base64url", "ÄÖÜß", id="base64url in umlauts"),
        pytest.param("name", "Cro", id="a name in capitals"),
        pytest.param("name", "-cro", id="a name that looks like an option"),
        pytest.param("name", "a/b", id="a name that looks like a path"),
        pytest.param("name", "a" * 65, id="a long name"),
        pytest.param("name", "", id="no name"),
        pytest.param("prose", "x" * 2001, id="prose over its limit"),
        pytest.param("prose", "\ud800", id="half a character"),
        pytest.param("said", "pay \u202e000,1", id="text that runs backwards"),
        pytest.param("said", "one\u2028two", id="a hidden line end"),
        pytest.param("said", "a\x1b[2J", id="a terminal command"),
        pytest.param("said", "a\rb", id="a carriage return"),
        pytest.param("said", "a\u200bb", id="a letter nobody sees"),
        pytest.param("time", "2026-11-21T12:00:00Z", id="a time without microseconds"),
        pytest.param("time", "2026-11-21T12:00:00.0Z", id="a time with one digit"),
        pytest.param("time", "2026-11-21T12:00:00.000000+00:00", id="a time with an offset"),
        pytest.param("time", "2026-11-21 12:00:00.000000Z", id="a time with a blank"),
        pytest.param("time", "2026-02-30T12:00:00.000000Z", id="the thirtieth of February"),
        pytest.param("time", "2026-1-1T12:00:00.000000Z", id="a month of one digit"),
        pytest.param("time", "2026-11-21T24:00:00.000000Z", id="the twenty-fifth hour"),
        pytest.param("inner", {"A": 1}, id="a key that is no name"),
        pytest.param("inner", [["a", 1]], id="a list for an object"),
        pytest.param("some", [1, 2, 3, 4], id="a list over its limit"),
        pytest.param("some", {"0": 1}, id="an object for a list"),
    ],
)
def test_a_field_has_one_spelling(field: str, value: Any) -> None:
    """Every other spelling is refused, and the refusal names the field."""
    with pytest.raises(RefusedError) as caught:
        Sample.load({**GOOD, field: value}, at="/sample")
    assert caught.value.code is Refusal.MALFORMED
    assert caught.value.path.startswith(f"/sample/{field}")


@pytest.mark.parametrize("field", [name for name in GOOD if name != "perhaps"])
def test_a_field_must_be_there(field: str) -> None:
    """A missing field is refused by name; nothing has a default that decides."""
    with refused(Refusal.MALFORMED, f"/{field}"):
        Sample.load({name: value for name, value in GOOD.items() if name != field})


def test_the_longest_base64url() -> None:
    """The limit itself is admitted."""
    assert Sample.load({**GOOD, "base64url": "AAAA" * 5000})


def test_an_unknown_field_is_refused() -> None:
    """What this version does not know it does not sign either."""
    with refused(Refusal.MALFORMED, "/extra"):
        Sample.load({**GOOD, "extra": 1})


def test_a_document_cannot_be_changed() -> None:
    """A verified document stays what was verified."""
    sample = Sample.load(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        sample.whole = 1
    assert sample.whole == GOOD["whole"]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b" " + canonical(GOOD), id="a leading blank"),
        pytest.param(canonical(GOOD) + b"\n", id="a trailing line feed"),
        pytest.param(canonical(GOOD)[:-1] + b',"whole":1}', id="a field twice"),
        pytest.param(canonical(GOOD).replace(b"QQ", b"\\u0051Q"), id="an escape that is not needed"),
        pytest.param(canonical(GOOD).replace(b":60", b":6e1"), id="another spelling of a number"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="nothing"),
        pytest.param(b"", id="no bytes"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 40 + b"]" * 40, id="too deep"),
        pytest.param(b'{"a":NaN}', id="not a number"),
    ],
)
def test_only_the_canonical_bytes_are_the_document(raw: bytes) -> None:
    """Two spellings of one document would be two digests for one fact."""
    with refused(Refusal.MALFORMED):
        Sample.read(raw)


def test_a_document_over_the_limit_is_not_parsed() -> None:
    """The limit comes before the parser."""
    with refused(Refusal.TOO_LARGE):
        Sample.read(b"[" * 101, limit=100)
    assert Sample.read(canonical(GOOD), limit=len(canonical(GOOD))) == Sample.load(GOOD)
    with refused(Refusal.TOO_LARGE):
        Sample.read(canonical(GOOD), limit=len(canonical(GOOD)) - 1)


def test_a_signature_is_for_one_kind_of_document() -> None:
    """The same bytes under another domain line have another digest and another signature."""
    document = canonical(GOOD)
    signature = observer_key("k").sign(signed_bytes("oms-a/v1", document)).hex()
    verify_ed25519(public("k"), signature, "oms-a/v1", document, what="sample")
    with refused(Refusal.SIGNATURE):
        verify_ed25519(public("k"), signature, "oms-b/v1", document, what="sample")
    assert documents.digest("oms-a/v1", document) != documents.digest("oms-b/v1", document)
    assert signed_bytes("oms-a/v1", b"x") == b"oms-a/v1\nx"


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        pytest.param(public("other"), None, id="another key"),
        pytest.param(public("k"), "00" * 64, id="zeros"),
        pytest.param(public("k"), "00" * 63, id="a short signature"),
        pytest.param(public("k"), "", id="no signature"),
        pytest.param("00" * 32, None, id="the zero key"),
        pytest.param("ff" * 32, None, id="no point of the curve"),
    ],
)
def test_a_forged_signature(key: str, signature: str | None) -> None:
    """What does not verify is refused, whatever the library thinks of the key."""
    good = observer_key("k").sign(signed_bytes("oms-a/v1", b"{}")).hex()
    with refused(Refusal.SIGNATURE):
        verify_ed25519(key, good if signature is None else signature, "oms-a/v1", b"{}", what="sample")
    with refused(Refusal.SIGNATURE):
        verify_ed25519(public("k"), flip(good), "oms-a/v1", b"{}", what="sample")


@given(st.datetimes(min_value=read_time("1000-01-01T00:00:00.000000Z").replace(tzinfo=None)))
def test_a_time_comes_back(moment: Any) -> None:
    """Every moment has exactly one spelling."""
    text = write_time(moment.replace(tzinfo=read_time(AT).tzinfo))
    assert write_time(read_time(text)) == text
    assert Sample.load({**GOOD, "time": text}).time == text


@given(st.binary(min_size=1, max_size=64))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    """Whatever decodes to the same bytes is either the same text or refused."""
    from_library = documents.base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert Sample.load({**GOOD, "base64url": from_library}).base64url == from_library
    last = from_library[-1]
    for other in "ABQgw":
        if other != last and documents.base64.urlsafe_b64decode(from_library[:-1] + other + "==") == raw:
            with refused(Refusal.MALFORMED, "/base64url"):
                Sample.load({**GOOD, "base64url": from_library[:-1] + other})


def test_refusals_tell_code_fact_and_place() -> None:
    """A refusal reads as a sentence, with the place when there is one."""
    assert str(RefusedError(Refusal.EXPIRED, "at noon", path="/at")) == "expired: at noon at /at"
    assert str(RefusedError(Refusal.EXPIRED, "at noon")) == "expired: at noon"
    assert digest_of("a") != digest_of("b")
