"""An observer over a chain of its own, with a key that a test may hold."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.chain.conftest import fresh_world, newswap_cache
from tests.chain.world import World
from workbench.chain.node import Node
from workbench.chain.nodes import ANSWER_S, Nodes
from workbench.demo import node as chain
from workbench.observer.__main__ import Desk
from workbench.observer.core import Journal, Observer
from workbench.process.crash import NEVER

__all__ = ["fresh_world", "newswap_cache"]


class TestKey:
    """An Ed25519 key in memory."""

    __test__ = False

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""
        return self._key.sign(message)


@pytest.fixture
def observer(fresh_world: World) -> Observer:
    """Give an observer of that world."""
    return observing(fresh_world, {"node-1": fresh_world.node})


def observing(
    world: World,
    nodes: Mapping[str, Node],
    *,
    quorum: int = 1,
    answer_s: float = ANSWER_S,
    clock: Callable[[], float] = time.monotonic,
) -> Observer:
    """Return an observer that looks by these nodes."""
    key = TestKey()
    journal = Journal("observer-1", key, lambda: datetime.now(UTC), "00" * 16)
    return Observer(
        name="observer-1",
        signer=key,
        nodes=Nodes(nodes, quorum, chain.CHAIN_ID, journal.add, clock, answer_s),
        journal=journal,
        simulator=world.simulator,
        clock=lambda: datetime.now(UTC),
    )


@pytest.fixture
def desk(observer: Observer) -> Desk:
    """Give the observer's desk, without its socket."""
    return Desk(observer, NEVER)
