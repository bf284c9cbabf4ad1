"""Three real nodes with one history, block by block; before each stands somebody who may lie."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chain.liar import Liar, lying
from tests.chain.world import PACKAGES, World
from workbench.chain.node import Node
from workbench.demo import node as chain
from workbench.evm.fields import to_rpc


@dataclass
class Trio:
    """The nodes behind, and those who stand before them."""

    world: World
    nodes: list[Node]
    liars: list[Liar]

    def mine(self, *raws: bytes) -> None:
        """Put these transactions into the next block, the same one everywhere."""
        at = max(int(time.time()), self.nodes[0].head().timestamp + 1)
        for node in self.nodes:
            for raw in raws:
                node.call("eth_sendRawTransaction", to_rpc(raw))
            node.call("evm_setNextBlockTimestamp", at)
            node.call("anvil_mine", "0x1")
        assert len({node.head().hash() for node in self.nodes}) == 1


@contextmanager
def trio(world: World, folder: Path) -> Iterator[Trio]:
    """Start two more nodes from the state of a world's own."""
    state = folder / "trio.json"
    state.write_bytes(gzip.decompress(world.node.read_hex(world.node.call("anvil_dumpState"))))
    with ExitStack() as ends:
        urls = [world.node.url]
        urls += [ends.enter_context(chain.start(PACKAGES, state=state)).url for _ in range(2)]
        nodes = [Node(url) for url in urls]
        for node in nodes:
            ends.callback(node.close)
            node.call("evm_setAutomine", False)
        made = Trio(world, nodes, [ends.enter_context(lying(url)) for url in urls])
        made.mine()
        yield made
