"""The end of a whole key in a token: both halves of this key, and nothing else that lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from tests.hsm import token_here
from workbench.custody.errors import TokenError
from workbench.custody.token import Token, key_id
from workbench.rules.codes import Refusal


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Open a token in this process."""
    with token_here(tmp_path_factory.mktemp("hsm"), "ends") as opened:
        yield opened


def there(token: Token, public_key: bytes) -> int:
    """Return how many objects lie under a key's id."""
    return len(list(token._session.get_objects({Attribute.ID: key_id(public_key)})))


def test_both_halves_end(token: Token) -> None:
    """Ended twice is ended; another key stays."""
    key, other = token.generate_secp256k1("a/1"), token.generate_secp256k1("b/1")
    assert there(token, key.public_key) == 2
    token.destroy_secp256k1(key.public_key)
    token.destroy_secp256k1(key.public_key)
    assert there(token, key.public_key) == 0
    assert there(token, other.public_key) == 2


def _secret(token: Token, public_key: bytes) -> None:
    token._session.generate_key(KeyType.AES, 256, id=key_id(public_key), label="x", store=True)


def _pair(token: Token, public_key: bytes) -> None:
    public, private = token._session.generate_keypair(KeyType.RSA, 2048, label="x", store=True)
    public.destroy()
    private[Attribute.ID] = key_id(public_key)


def _data(token: Token, public_key: bytes) -> None:
    token._session.create_object(
        {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: 0,
            Attribute.SUBJECT: b"x",
            Attribute.VALUE: b"x",
            Attribute.ID: key_id(public_key),
            Attribute.TOKEN: True,
        }
    )


def _point(token: Token, public_key: bytes) -> None:
    made = token.generate_secp256k1("c/1").public_key
    for each in list(
        token._session.get_objects({Attribute.ID: key_id(made), Attribute.CLASS: ObjectClass.PUBLIC_KEY})
    ):
        each[Attribute.ID] = key_id(public_key)


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(_secret, id="a secret key"),
        pytest.param(_pair, id="the private half of a pair"),
        pytest.param(_data, id="a certificate"),
        pytest.param(_point, id="another public key"),
    ],
)
def test_something_else_under_its_id(token: Token, put: Callable[[Token, bytes], None]) -> None:
    """An id is anybody's to give: nothing is destroyed, and a person looks."""
    key = token.generate_secp256k1("d/1")
    put(token, key.public_key)
    before = there(token, key.public_key)
    with pytest.raises(TokenError) as caught:
        token.destroy_secp256k1(key.public_key)
    assert caught.value.code is Refusal.HSM_KEY
    assert there(token, key.public_key) == before == 3


@pytest.mark.parametrize("size", [0, 32, 64, 66])
def test_what_is_no_transaction_key(token: Token, size: int) -> None:
    """An identity, or what a policy set made up: refused before the token is asked."""
    with pytest.raises(TokenError) as caught:
        token.destroy_secp256k1(bytes(size))
    assert caught.value.code is Refusal.MALFORMED
