"""What a co-signer says of its token: what trials showed, under its own key, the same as long as it is so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters

from ledger.encoding import canonical
from tests.hsm import token_here
from workbench.cosigner.core import Cosigner, start
from workbench.cosigner.gate import Identity
from workbench.cosigner.told import Told
from workbench.custody import selftest
from workbench.custody.token import Ed25519Key, Token
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.token_report import TOKEN_LINE, SignedTokenReport

NAME = "cosigner-1"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Open a token in this process."""
    with token_here(tmp_path_factory.mktemp("hsm"), "told") as opened:
        yield opened


@pytest.fixture(scope="module")
def key(token: Token) -> Ed25519Key:
    """Make the identity key."""
    return token.generate_ed25519("identity/1")


@pytest.fixture(scope="module")
def signed(token: Token, key: Ed25519Key) -> SignedTokenReport:
    """Make a treasury key and a sealing key, and have all of it told."""
    token.generate_secp256k1("treasury/1")
    token.generate_sealing("seal/1")
    return Told(NAME, token, key).report()


def root(**cosigners: str) -> Any:
    """Return what is read of a trust root."""
    return SimpleNamespace(cosigners={name.replace("_", "-"): key for name, key in cosigners.items()})


def test_what_is_told(signed: SignedTokenReport, key: Ed25519Key, token: Token) -> None:
    """The token, what it can do, how it seals, what is claimed of each key, and that nothing gets out."""
    report = signed.verify(NAME, root(cosigner_1=key.public_key.hex()))
    assert report.token.dump() == token.about
    assert [trial.name for trial in report.trials if trial.works] == [
        "secp256k1",
        "ed25519",
        "p256",
        "aes-gcm",
        "aes-gcm-300k",
        "rsa-oaep-sha1",
    ]
    assert report.sealing == "aes-gcm"
    assert {check.name: check.passed for check in report.checks} == {
        "sign-and-verify": True,
        "seal-and-unseal": True,
        "refuses-to-show-a-key": True,
        "refuses-to-wrap-a-key": True,
        "refuses-to-loosen-a-key": True,
        "refuses-to-copy-a-key-looser": True,
    }
    assert report.failed == []
    assert sorted(each.label for each in report.keys) == ["identity/1", "seal/1", "treasury/1"]
    assert key.public_key.hex() in {each.public_key for each in report.keys}
    for each in report.keys:
        claimed = {name: each.attributes[name] for name in ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")}
        assert set(claimed.values()) == {True}
        assert each.attributes["EXTRACTABLE"] is False


def test_the_same_token_says_the_same(token: Token, key: Ed25519Key, signed: SignedTokenReport) -> None:
    """A restart changes nothing in it, and leaves nothing on the token; another key does, and is listed."""
    before = len(list(token._session.get_objects({})))
    again = Told(NAME, token, key).report()
    assert again.canonical() == signed.canonical()
    assert len(list(token._session.get_objects({}))) == before
    token.generate_secp256k1("treasury/2")
    other = Told(NAME, token, key).report()
    assert other.report.digest != signed.report.digest
    assert len(other.report.keys) == len(signed.report.keys) + 1


def test_made_once_in_a_start(token: Token, key: Ed25519Key) -> None:
    """Whoever asks again gets the same, and costs the token nothing."""
    told = Told(NAME, token, key)
    assert told.report() is told.report()
    assert told.answer() == {"v": 1, "token": told.report().dump()}


def test_a_token_that_is_gone(token: Token, key: Ed25519Key, tmp_path: Path) -> None:
    """The answer is a refusal with a code."""
    del tmp_path
    broken = SimpleNamespace(capabilities=lambda: token.sealing("aes-gcm:" + "00" * 16))
    answer = Told(NAME, broken, key).answer()  # type: ignore[arg-type]
    assert answer["refused"]["code"] == Refusal.HSM_KEY.value


@pytest.mark.parametrize("name", ["another", "altered", "unsigned", "unknown"])
def test_reports_that_are_not_its_own(signed: SignedTokenReport, key: Ed25519Key, name: str) -> None:
    """One of another co-signer's, one that was altered, one under nobody's key, one of a stranger."""
    mine = root(cosigner_1=key.public_key.hex(), cosigner_2="ab" * 32)
    altered = json.loads(signed.canonical())
    altered["report"]["checks"][0]["passed"] = False
    cases = {
        "another": (signed, "cosigner-2", Refusal.MALFORMED),
        "altered": (SignedTokenReport.load(altered), NAME, Refusal.SIGNATURE),
        "unsigned": (signed.model_copy(update={"signature": "00" * 64}), NAME, Refusal.SIGNATURE),
        "unknown": (signed, "cosigner-9", Refusal.MALFORMED),
    }
    said, who, code = cases[name]
    with pytest.raises(RefusedError) as caught:
        said.verify(who, mine)
    assert caught.value.code is code


def test_signed_as_what_it_is(signed: SignedTokenReport) -> None:
    """Under a line of its own: no other document of the co-signer's can pass for it."""
    assert signed_bytes(TOKEN_LINE, signed.report.canonical()).startswith(b'oms-token/v1\n{"checks":')
    assert canonical(signed.report.dump()) == signed.report.canonical()


@pytest.mark.parametrize("attack", list(selftest.ATTACKS))
def test_the_self_test_finds_a_loose_key(token: Token, attack: str) -> None:
    """A key that may leave the token fails each of the checks, so passing them says something."""
    session = token._session
    domain = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")}, local=True
    )
    public, private = domain.generate_keypair(
        store=False,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.PRIVATE: True},
    )
    assert selftest.refuses(session, private, selftest.ATTACKS[attack]) is False
    public.destroy()
    private.destroy()


PARTS = ("memory", "blocks", "heard", "crash", "witness", "isolation", "shared", "keywork", "deeds")


@pytest.mark.parametrize("name", ["cosigner-2", "cosigner-9"])
def test_a_copied_token_is_no_second_cosigner(token: Token, key: Ed25519Key, name: str) -> None:
    """Under another name, pinned or not, it does not start: one key, one name. Under its own it is itself."""
    believed = root(cosigner_1=key.public_key.hex(), cosigner_2="ab" * 32)
    parts: dict[str, Any] = dict.fromkeys(PARTS)
    parts |= {"token": token, "key": key, "clock": lambda: None}

    def started(who: str) -> Cosigner:
        identity = Identity(name=who, trust_root=believed, ledger_trust_root=SimpleNamespace())  # type: ignore[arg-type]
        return start(identity=identity, **parts)

    with pytest.raises(RefusedError) as caught:
        started(name)
    assert caught.value.code is Refusal.TRUST_ROOT
    assert started(NAME).handle({"v": 1, "operation": "token"})["token"]["report"]["cosigner"] == NAME
