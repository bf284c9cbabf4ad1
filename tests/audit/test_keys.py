"""A key's record and the desk's inventory, where the service writes down more than was said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.audit.sharing import Audited
from tests.rules.build import refused
from tests.rules.test_ceremony import KEY as POINT
from tests.rules.test_ceremony import word
from tests.rules.test_concentration import NAMES
from workbench.audit.keys import Inventory, Record, ceremony, inventory
from workbench.evm.transaction import address_of
from workbench.rules.codes import Refusal
from workbench.rules.key_operation import KeyOperation

Json = dict[str, Any]
ADDRESS = address_of(bytes.fromhex(POINT))


@pytest.fixture
def order(audited: Audited) -> KeyOperation:
    """The order of a key."""
    return audited.order("dkg", key="sweep", epoch=1, parameters={"parties": NAMES, "threshold": 3})


def told(order: KeyOperation, **changes: Any) -> Json:
    """Return what is recorded of its making: words of all five, of one run."""
    words = [word(number, **changes) for number in range(1, 6)]
    return {"order": order.digest, "key": "sweep", "epoch": 1, "public_key": POINT, "address": ADDRESS} | {
        "words": words
    }


def record(audited: Audited, order: KeyOperation) -> Record:
    """Ask a bundle how the key was made."""
    return ceremony(
        audited.bundle().path, audited.desk.trust_root, order.digest, now=audited.desk.at + timedelta(hours=1)
    )


def kept(audited: Audited) -> Inventory:
    """Ask a bundle which keys there are."""
    return inventory(audited.bundle().path, audited.desk.trust_root, now=audited.desk.at)


def test_a_key_told_of_twice(audited: Audited, order: KeyOperation) -> None:
    """Whoever writes down again what was said takes nobody's record away, and makes the key no younger."""
    audited.tell("key.made", told(order), order.digest)
    once = record(audited, order)
    audited.tell("key.made", told(order), days=9)
    again = record(audited, order)
    assert again.made == once.made
    assert again.life.moments == once.life.moments


def test_two_tales_of_one_order(audited: Audited, order: KeyOperation) -> None:
    """Five words for each of two runs: an order makes one key, and nobody chooses between them."""
    audited.tell("key.made", told(order), order.digest)
    audited.tell("key.made", told(order, run="cd" * 32))
    with refused(Refusal.NOT_FOUND):
        record(audited, order)


def test_an_epoch_that_nobody_holds(audited: Audited, order: KeyOperation) -> None:
    """The service alone makes no key older, and none younger: the inventory is refused whole."""
    audited.tell("key.made", told(order), order.digest)
    (key,) = [each for each in kept(audited).keys if each.address == ADDRESS]
    assert key.epoch == 1
    audited.tell("key.made", told(order) | {"epoch": 99})
    with refused(Refusal.EQUIVOCATION):
        kept(audited)
