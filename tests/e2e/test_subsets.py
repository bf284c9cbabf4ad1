"""Any three of five sign: each of the ten sets, when only its three can be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import pytest

from tests.e2e.test_shared import NAMES, heard, known, sent, signers
from tests.e2e.test_stuck import wait_for
from tests.world import Living, living
from workbench.demo import charter
from workbench.evm.transaction import SignedTransaction

SETS = list(combinations(NAMES, charter.THRESHOLD))


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One living world, its key made by five processes, which have told each other what they remember."""
    with living(engine="mpc") as built:
        for name in NAMES:
            wait_for(lambda name=name: len(heard(built, name)) == len(NAMES) - 1)
        yield built


@contextmanager
def unreachable(world: Living, names: Sequence[str]) -> Iterator[None]:
    """Take the sockets of some away: their processes go on, and nobody gets through to them."""
    sockets = [world.world.places.socket(name) for name in names]
    for path in sockets:
        path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        for path in sockets:
            path.with_suffix(".away").rename(path)


def test_there_are_ten() -> None:
    """Nothing is left out, and each is another."""
    assert len(set(SETS)) == len(SETS) == 10


@pytest.mark.parametrize("names", SETS, ids=["-".join(name[-1] for name in names) for names in SETS])
def test_these_three_sign(world: Living, names: tuple[str, ...]) -> None:
    """It is signed by exactly them, is the key's own transaction under the next nonce, and is mined."""
    before = world.transactions()
    with unreachable(world, [name for name in NAMES if name not in names]):
        digest = sent(world, 1_000 + SETS.index(names))
        assert signers(world, digest) == set(names)
        (signed,) = [
            entry["data"]
            for entry in world.entries()
            if entry["type"] == "transaction.signed" and entry["subject"] == digest
        ]
    transaction = SignedTransaction.parse(bytes.fromhex(signed["raw_tx"]))
    assert (transaction.sender, transaction.unsigned.nonce) == (world.world.treasury, before)
    assert world.transactions() == before + 1
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    # who signs knows what all nonces before carried, whichever three signed them
    assert all(sorted(known(world, name)) == list(range(before + 1)) for name in names)
