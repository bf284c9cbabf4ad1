"""A successor that somebody has put into the token beforehand: the label finds it, and it is none of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters

from tests.cosigner.test_operations import NEW
from tests.hsm import token_here
from tests.rules.build import NOW, refused
from workbench.cosigner.deeds import Deeds
from workbench.cosigner.operations import Allowed
from workbench.cosigner.wholework import WholeWork
from workbench.custody.probe import raw_point
from workbench.custody.token import SECP256K1_BYTES, Token, key_id
from workbench.process.crash import CrashPoint
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.key_operation import KeyOperation

ROTATE = KeyOperation.load(
    {
        "v": 1,
        "operation": "rotate",
        "key": "treasury",
        "epoch": 1,
        "parameters": {"successor": "treasury-2"},
        "policy": "ab" * 32,
        "reason": "a test",
        "nonce": "ab" * 16,
        "expires_at": write_time(NOW),
    }
)
LABEL = f"treasury-2/1 {ROTATE.digest[:16]}"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Open a token in this process."""
    with token_here(tmp_path_factory.mktemp("hsm"), "whole") as opened:
        yield opened


def allowed() -> Allowed:
    """Return the order, allowed."""
    return Allowed(operation=ROTATE, lease=None, head=NEW, made_by=None)


def plant(token: Token) -> bytes:
    """Make a key that may leave the token, under the label that the order will have; return its point."""
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")}
    domain = token._session.create_domain_parameters(KeyType.EC, parameters, local=True)
    public, private = domain.generate_keypair(
        label=LABEL,
        store=True,
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.PRIVATE: True},
    )
    point = raw_point(bytes(public[Attribute.EC_POINT]), SECP256K1_BYTES)
    for half in (public, private):
        half[Attribute.ID] = key_id(point)
    return point


def test_a_planted_key_is_no_successor(token: Token, tmp_path: Path) -> None:
    """Refused, and nothing is said to have been made; once it is gone the token makes its own."""
    work = WholeWork(token, Deeds(tmp_path), CrashPoint(None))
    planted = plant(token)
    with refused(Refusal.HSM_KEY):
        work.succeed(allowed())
    assert Deeds(tmp_path).of(ROTATE.digest) is None
    assert token.labelled(LABEL) == [planted]
    token.destroy_secp256k1(planted)
    made, claims = work.succeed(allowed())
    assert claims["NEVER_EXTRACTABLE"] is True
    assert work.succeed(allowed()) == (made, claims)
    assert token.labelled(LABEL) == [bytes.fromhex(made)]
