"""Which bytes are an intent's, which are its cancel, and that nothing else is either."""

from dataclasses import replace
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import CHAIN_ID, NONCE, World, refused
from workbench.evm.transaction import UnsignedTransaction, address_of, assemble, signature_for
from workbench.rules import carried
from workbench.rules.codes import Refusal

KEY = PrivateKey(b"\x07" * 32)
POINT = KEY.public_key.format(compressed=False)
OWNER = address_of(POINT)
OTHER = "0x1111111111111111111111111111111111111111"


def signed(unsigned: UnsignedTransaction) -> str:
    """Return a transaction's signed bytes in hex."""
    rs = KEY.sign_recoverable(unsigned.digest(), hasher=None)[:64]
    return assemble(unsigned, *signature_for(unsigned.digest(), rs, POINT)).hex()


CHANGES = [
    pytest.param({"nonce": NONCE + 1}, Refusal.DECISION_OTHER_NONCE, id="another nonce"),
    pytest.param({"chain_id": CHAIN_ID + 1}, Refusal.BYTES_OTHER, id="another chain"),
    pytest.param({"to": OTHER}, Refusal.BYTES_OTHER, id="another address"),
    pytest.param({"value": 1}, Refusal.BYTES_OTHER, id="with value"),
    pytest.param({"data": b"\x01"}, Refusal.BYTES_OTHER, id="other data"),
    pytest.param({"gas": 21_001}, Refusal.BYTES_OTHER, id="other gas"),
    pytest.param({"max_fee_per_gas": 100 * 10**9 + 1}, Refusal.BYTES_OTHER, id="a fee over the cap"),
    pytest.param({"max_priority_fee_per_gas": 10**9 + 1}, Refusal.BYTES_OTHER, id="a tip over the cap"),
]


@pytest.mark.parametrize(("changes", "code"), CHANGES)
@pytest.mark.parametrize("kind", ["intent", "cancel"])
def test_what_is_neither(world: World, kind: str, changes: dict[str, Any], code: Refusal) -> None:
    """One field changed is other bytes, unsigned or signed."""
    intent = world.swap()
    genuine = (
        intent.transaction(NONCE, intent.caps)
        if kind == "intent"
        else carried.cancel_of(intent, nonce=NONCE, address=OWNER, fees=intent.caps)
    )
    bent = replace(genuine, **changes)
    with refused(code):
        if kind == "intent":
            carried.verify_carries(bent, intent, nonce=NONCE)
        else:
            carried.verify_cancels(bent, intent, nonce=NONCE, address=OWNER)
    with refused(code):
        carried.read(signed(bent), intent, nonce=NONCE, address=OWNER)


def test_what_is(world: World) -> None:
    """The intent's bytes at any fees within the caps, and its cancel, are told apart."""
    intent = world.swap()
    low = replace(intent.transaction(NONCE, intent.caps), max_fee_per_gas=3, max_priority_fee_per_gas=0)
    assert not carried.read(signed(low), intent, nonce=NONCE, address=OWNER).cancels
    nothing = carried.cancel_of(intent, nonce=NONCE, address=OWNER, fees=carried.fees_of(low))
    assert carried.read(signed(nothing), intent, nonce=NONCE, address=OWNER).cancels
    assert (nothing.to, nothing.value, nothing.data, nothing.gas) == (OWNER, 0, b"", 21_000)
    with refused(Refusal.BYTES_OTHER):
        carried.verify_carries(nothing, intent, nonce=NONCE)
    with refused(Refusal.BYTES_OTHER):
        carried.verify_cancels(low, intent, nonce=NONCE, address=OWNER)


def test_signed_by_somebody_else(world: World) -> None:
    """The right bytes under another key are not this account's."""
    intent = world.swap()
    raw = signed(intent.transaction(NONCE, intent.caps))
    with refused(Refusal.BYTES_OTHER):
        carried.read(raw, intent, nonce=NONCE, address=OTHER)
    with refused(Refusal.BYTES_OTHER):
        carried.read(raw[:-2], intent, nonce=NONCE, address=OWNER)
