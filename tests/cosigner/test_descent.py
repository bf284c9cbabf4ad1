"""A co-signer remembers which blocks it has seen: another history is refused, whoever attests it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.encoding import canonical
from tests.world import COSIGNER, Living, living
from workbench.cosigner import blocks
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.memory import MemoryCorruptError
from workbench.demo.stack import StackError
from workbench.rules.descent import Place, Seen

FIRST = Place(number=5, hash="aa" * 32)
SECOND = Place(number=9, hash="bb" * 32)


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world in which one block above makes a block final."""
    with living() as built:
        yield built


def seen(world: Living) -> Seen:
    """Return what the co-signer remembers of the chain."""
    return Seen.load(json.loads((world.world.places.root(COSIGNER) / "blocks.json").read_text()))


def refusal(world: Living, digest: str) -> str:
    """Return the code with which the co-signer refused an intent."""
    (entry,) = [
        entry
        for entry in world.entries()
        if entry.get("subject") == digest and entry["type"] == "signature.refused"
    ]
    assert entry["data"]["answer"]["answer"]["refused"]["step"] == 4
    return str(entry["data"]["answer"]["answer"]["refused"]["code"])


def test_what_was_seen_becomes_final(world: Living) -> None:
    """With each signature the co-signer knows a newer block, and the one before is final."""
    assert seen(world) == Seen(final=None, newer=None)
    assert world.push(world.allowance(11)).state == "confirmed"
    first = seen(world)
    assert first.final is None
    assert first.newer is not None
    assert world.push(world.allowance(12)).state == "confirmed"
    second = seen(world)
    assert second.final == first.newer
    assert second.newer is not None
    assert second.newer.number > first.newer.number


def test_a_chain_that_goes_back_behind_what_is_final(world: Living) -> None:
    """All nodes are on a history without the final block; the treasury has its nonce there, too."""
    assert world.push(world.allowance(13)).state == "confirmed"
    before = seen(world)
    assert before.final is not None
    chain = world.chain()
    nonce = chain.nonce(world.world.treasury)
    chain.call("anvil_reorg", chain.head().number - before.final.number + 1, [])
    chain.call("anvil_setNonce", world.world.treasury, hex(nonce))
    chain.call("anvil_mine", "0x4")
    chain.close()
    memory = world.memory()
    view = world.push(world.allowance(14))
    assert view.state == "refused"
    assert refusal(world, view.digest) == "block_does_not_descend"
    assert (seen(world), world.memory()) == (before, memory)


def test_a_co_signer_without_its_blocks_does_not_start(world: Living) -> None:
    """What was final is never forgotten by itself."""
    path = world.world.places.root(COSIGNER) / "blocks.json"
    kept = path.read_bytes()
    world.stack.kill(COSIGNER)
    for content in (None, b"{}", b'{"final":null,"newer":7}'):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StackError):
            world.stack.start(COSIGNER)
    path.write_bytes(kept)
    world.stack.start(COSIGNER)


def test_the_file(tmp_path: Path) -> None:
    """It is founded once, kept in step, and never goes back."""
    blocks.found(tmp_path)
    with pytest.raises(FileExistsError):
        blocks.found(tmp_path)
    kept = Blocks(tmp_path)
    assert kept.seen == Seen(final=None, newer=None)
    kept.advance(Seen(final=FIRST, newer=SECOND))
    assert Blocks(tmp_path).seen == Seen(final=FIRST, newer=SECOND)
    for less in (Seen(final=None, newer=SECOND), Seen(final=Place(number=4, hash="aa" * 32), newer=None)):
        with pytest.raises(MemoryCorruptError):
            kept.advance(less)
    assert Blocks(tmp_path).seen == Seen(final=FIRST, newer=SECOND)
    (tmp_path / "blocks.json").write_bytes(canonical({"final": None}))
    with pytest.raises(MemoryCorruptError):
        Blocks(tmp_path)
