"""Envelopes: only the token's key opens them, for what they were sealed for, by the mechanism of that key."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from workbench_tss import Share

from tests.custody.parties import generated
from tests.hsm import token_here
from workbench.custody.errors import TokenError
from workbench.custody.sealing import SECRET_MAX, Envelope, Sealing, SealingKey, SealingName
from workbench.custody.shares import Shares
from workbench.custody.token import Token
from workbench.rules.codes import Refusal, RefusedError

HERE = (Sealing.AES_GCM, Sealing.RSA_OAEP_SHA1)
"""What SoftHSM can do; the other two are tried on another token (`test_portability.py`)."""
SECRET, FOR = b"k" * 32, b"treasury|1|1"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Open a token in this process."""
    with token_here(tmp_path_factory.mktemp("hsm"), "sealing") as opened:
        yield opened


@pytest.fixture(scope="module")
def keys(token: Token) -> dict[Sealing, SealingKey]:
    """Make a sealing key for each mechanism."""
    return {mechanism: token.generate_sealing("seal/1", mechanism) for mechanism in HERE}


def objects(token: Token) -> int:
    """Return how many objects the token shows."""
    return len(list(token._session.get_objects({})))


def refused(key: SealingKey, envelope: Envelope, associated: bytes = FOR) -> str:
    """Return why an envelope does not open."""
    with pytest.raises(TokenError) as caught:
        key.open(envelope, associated)
    assert caught.value.code is Refusal.SEALED
    return caught.value.detail


@pytest.mark.parametrize("mechanism", HERE)
def test_what_was_sealed_opens(keys: dict[Sealing, SealingKey], token: Token, mechanism: Sealing) -> None:
    """Also after a restart, by the key's name; no two envelopes are alike, and none has the secret in it."""
    first, second = keys[mechanism].seal(SECRET, FOR), keys[mechanism].seal(SECRET, FOR)
    again = token.sealing(str(keys[mechanism].name))
    assert again.open(first, FOR) == again.open(second, FOR) == SECRET
    assert Envelope.read(first.canonical()) == first
    assert (first.mechanism, first.key) == (mechanism.value, keys[mechanism].name.id.hex())
    assert {first.wrapped, first.data}.isdisjoint({second.wrapped, second.data})
    assert SECRET.hex() not in first.canonical().decode()


@pytest.mark.parametrize(
    ("mechanism", "parameters"),
    [
        pytest.param(Sealing.AES_GCM, {"tag_bits": "128"}, id="GCM: its IV beside it"),
        pytest.param(Sealing.RSA_OAEP_SHA1, {"hash": "SHA-1", "mgf": "MGF1-SHA-1"}, id="OAEP"),
    ],
)
def test_the_header_names_the_parameters(
    keys: dict[Sealing, SealingKey], mechanism: Sealing, parameters: dict[str, str]
) -> None:
    """Whoever has the token and not this code can open it."""
    told = dict(keys[mechanism].seal(SECRET, FOR).parameters)
    iv = told.pop("iv", "")
    assert told == parameters
    assert len(iv) == (24 if mechanism is Sealing.AES_GCM else 0)


@pytest.mark.parametrize("mechanism", HERE)
@pytest.mark.parametrize("associated", [b"", b"treasury|2|1", b"treasury|1|2", b"hot|1|1", FOR + b"\0"])
def test_sealed_for_something_else(
    keys: dict[Sealing, SealingKey], mechanism: Sealing, associated: bytes
) -> None:
    """Another party's, another epoch's, another key's: it does not open, whatever the token binds."""
    sealed = keys[mechanism].seal(SECRET, FOR)
    assert refused(keys[mechanism], sealed, associated)
    assert keys[mechanism].open(sealed, FOR) == SECRET


def flipped(text: str) -> str:
    """Return hex with one bit changed in the middle."""
    raw = bytearray.fromhex(text)
    raw[len(raw) // 2] ^= 1
    return raw.hex()


@pytest.mark.parametrize("mechanism", HERE)
@pytest.mark.parametrize("field", ["wrapped", "iv", "data"])
def test_altered(keys: dict[Sealing, SealingKey], mechanism: Sealing, field: str) -> None:
    """A flipped bit anywhere, or a missing end, and nothing comes out."""
    sealed = keys[mechanism].seal(SECRET, FOR)
    value: str = getattr(sealed, field)
    assert refused(keys[mechanism], sealed.model_copy(update={field: flipped(value)}))
    if field != "iv":
        for cut in (value[:-2], value[:10], ""):
            assert refused(keys[mechanism], sealed.model_copy(update={field: cut}))


@pytest.mark.parametrize(
    ("mechanism", "changes", "words"),
    [
        pytest.param(
            Sealing.AES_GCM, {"mechanism": "aes-key-wrap-pad"}, "this key is", id="another mechanism"
        ),
        pytest.param(Sealing.AES_GCM, {"mechanism": "aes-ecb"}, "this key is", id="one that nobody knows"),
        pytest.param(
            Sealing.RSA_OAEP_SHA1, {"mechanism": "rsa-oaep-sha256"}, "this key is", id="another hash"
        ),
        pytest.param(Sealing.AES_GCM, {"key": "00" * 16}, "this key is", id="another key"),
        pytest.param(Sealing.AES_GCM, {"parameters": {}}, "parameters", id="no parameters"),
        pytest.param(
            Sealing.AES_GCM,
            {"parameters": {"iv": "00" * 12, "tag_bits": "32"}},
            "parameters",
            id="a short tag",
        ),
        pytest.param(
            Sealing.AES_GCM,
            {"parameters": {"iv": "00" * 8, "tag_bits": "128"}},
            "parameters",
            id="a short IV",
        ),
        pytest.param(
            Sealing.AES_GCM,
            {"parameters": {"iv": "AB" * 12, "tag_bits": "128"}},
            "parameters",
            id="another spelling",
        ),
        pytest.param(
            Sealing.AES_GCM,
            {"parameters": {"iv": "00" * 12, "tag_bits": "128"}},
            "does not open",
            id="another IV",
        ),
        pytest.param(
            Sealing.RSA_OAEP_SHA1,
            {"parameters": {"hash": "MD5", "mgf": "MGF1-MD5"}},
            "parameters",
            id="a weak hash",
        ),
    ],
)
def test_a_header_that_says_otherwise(
    keys: dict[Sealing, SealingKey], mechanism: Sealing, changes: dict[str, object], words: str
) -> None:
    """An envelope never chooses how the token opens it."""
    sealed = keys[mechanism].seal(SECRET, FOR).model_copy(update=changes)
    assert words in refused(keys[mechanism], sealed)


@pytest.mark.parametrize("mechanism", HERE)
def test_another_sealing_key_opens_nothing(
    keys: dict[Sealing, SealingKey], token: Token, mechanism: Sealing
) -> None:
    """Not under its own name, and not when the envelope is renamed."""
    sealed = keys[mechanism].seal(SECRET, FOR)
    other = token.generate_sealing("seal/1", mechanism)
    assert "this key is" in refused(other, sealed)
    renamed = sealed.model_copy(update={"key": other.name.id.hex()})
    assert refused(other, renamed)


def test_a_large_secret(keys: dict[Sealing, SealingKey]) -> None:
    """300 kB go through each mechanism, since the token seals the data key only; there is a limit."""
    large = secrets.token_bytes(300_000)
    for key in keys.values():
        assert key.open(key.seal(large, FOR), FOR) == large
        with pytest.raises(TokenError, match="at most"):
            key.seal(bytes(SECRET_MAX + 1), FOR)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "aes-gcm",
        "00" * 16,
        f"aes-gcm:{'0' * 30}",
        f"aes-gcm:{'AB' * 16}",
        f"AES-GCM:{'00' * 16}",
        f"aes-cbc:{'00' * 16}",
        f"aes-gcm:{'00' * 16} ",
    ],
)
def test_names_that_are_none(token: Token, name: str) -> None:
    """A key has one name, which says how it seals."""
    with pytest.raises(TokenError) as caught:
        token.sealing(name)
    assert caught.value.code is Refusal.SEALED


def test_a_name_with_another_mechanism(keys: dict[Sealing, SealingKey], token: Token) -> None:
    """A pair is not found as an AES key, nor the reverse: a configuration that was changed opens nothing."""
    for mechanism, other in zip(HERE, reversed(HERE), strict=True):
        with pytest.raises(TokenError, match="0 "):
            token.sealing(str(SealingName(other, keys[mechanism].name.id)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, "LOCAL is False", id="imported"),
        pytest.param({Attribute.EXTRACTABLE: True}, "is", id="extractable"),
        pytest.param({Attribute.WRAP: True}, "is", id="one that also wraps"),
    ],
)
def test_keys_that_do_not_seal(token: Token, changes: dict[Attribute, bool], words: str) -> None:
    """A key that somebody has seen outside, or that could let keys out, seals nothing."""
    identity = secrets.token_bytes(16)
    template = {
        Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
        Attribute.ID: identity,
        Attribute.LABEL: "seal/1",
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.MODIFIABLE: False,
        Attribute.ENCRYPT: True,
        Attribute.DECRYPT: True,
        Attribute.WRAP: False,
        Attribute.UNWRAP: False,
        Attribute.SIGN: False,
        Attribute.DERIVE: False,
        Attribute.VALUE: secrets.token_bytes(32),
    }
    token._session.create_object(template | changes)
    with pytest.raises(TokenError, match=words) as caught:
        token.sealing(str(SealingName(Sealing.AES_GCM, identity)))
    assert caught.value.code is Refusal.HSM_KEY


@pytest.mark.parametrize("more", [MechanismFlag.WRAP, MechanismFlag.UNWRAP])
def test_a_generated_key_that_wraps(token: Token, more: MechanismFlag) -> None:
    """Made in the token, and all the same no sealing key: it could unwrap what it encrypted."""
    identity = secrets.token_bytes(16)
    token._session.generate_key(
        KeyType.AES,
        256,
        id=identity,
        label="seal/1",
        store=True,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT | more,
        template={
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.PRIVATE: True,
            Attribute.MODIFIABLE: False,
        },
    )
    with pytest.raises(TokenError, match="WRAP is True, must be False"):
        token.sealing(str(SealingName(Sealing.AES_GCM, identity)))


def test_a_public_key_in_the_place_of_ours(token: Token) -> None:
    """Whoever could swap the public half would have what is sealed from then on."""
    made = token.generate_sealing("seal/2", Sealing.RSA_OAEP_SHA1)
    session = token._session
    (ours,) = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: made.name.id})
    ours.destroy()
    foreign, _ = session.generate_keypair(KeyType.RSA, 2048, store=True, label="seal/2")
    foreign[Attribute.ID] = made.name.id
    with pytest.raises(TokenError, match="another public key"):
        token.sealing(str(made.name))


def test_what_a_sealing_key_leaves_on_the_token(token: Token) -> None:
    """One object, or a pair: trials and copies are gone."""
    before = objects(token)
    chosen = token.generate_sealing("seal/3")
    assert chosen.name.mechanism is Sealing.AES_GCM
    assert objects(token) == before + 1
    token.generate_sealing("seal/3", Sealing.RSA_OAEP_SHA1)
    assert objects(token) == before + 3


def test_a_mechanism_that_the_token_has_not(token: Token) -> None:
    """SoftHSM wraps keys, and does not encrypt by key wrap: such a key is refused when it is first used."""
    wraps = token.generate_sealing("seal/4", Sealing.AES_KEY_WRAP_PAD)
    with pytest.raises(TokenError, match="does not seal"):
        wraps.seal(SECRET, FOR)


@pytest.mark.parametrize("mechanism", HERE)
def test_shares_under_each(keys: dict[Sealing, SealingKey], mechanism: Sealing, tmp_path: Path) -> None:
    """A share is kept, used after a restart, and refused as another party's, whatever seals it."""
    made: Share = generated()[1]
    shares = Shares(tmp_path / "shares", sealing=keys[mechanism])
    shares.keep("treasury", made, epoch=1, run="11" * 32, parties=("one", "two", "three"))
    shares.take_up("treasury", "11" * 32)
    again = Shares(tmp_path / "shares", sealing=keys[mechanism])
    assert again.share("treasury")[1].public_key == made.public_key
    other = next(key for name, key in keys.items() if name is not mechanism)
    with pytest.raises(RefusedError, match="sealed_otherwise") as caught:
        Shares(tmp_path / "shares", sealing=other).share("treasury")
    assert caught.value.code is Refusal.SHARE
