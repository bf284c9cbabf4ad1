"""The newest checkpoint kept outside the database is believed as it was written, to the last line, or not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import checkpoint
from ledger.encoding import canonical
from ledger.store import Ledger, StoreError
from tests.ledger.test_store import files
from tests.ledger.world import SERVICE, START, World, key, public, trust_root
from workbench.service.record import open_ledger

WITNESS = "custody.example/witness"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a ledger of four entries that is closed, and its checkpoint, cosigned, in a file outside."""
    made = World(tmp_path, trust_root(witnesses={WITNESS: public(WITNESS).hex()}, witness_quorum=1))
    made.append(0, 1, 2, 3)
    note = checkpoint.sign(made.state(), SERVICE, public(SERVICE), key(SERVICE).sign)
    note = checkpoint.cosign(note, WITNESS, public(WITNESS), key(WITNESS).sign, at=START)
    made.ledger.close()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "000000000004.txt").write_text(note)
    return made


def kept(world: World) -> Path:
    """Return the file."""
    return world.folder / "checkpoints" / "000000000004.txt"


def opened(world: World) -> Ledger:
    """Open the ledger as the service does at its start."""
    return open_ledger(world.folder, canonical(world.trust), now=world.now, remembered=())


def test_every_flipped_bit(world: World) -> None:
    """A file with a flipped bit is refused by its name; untouched it opens the ledger."""
    whole = kept(world).read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            kept(world).write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(StoreError, match=r"^000000000004\.txt, kept outside"):
                opened(world)
    kept(world).write_bytes(whole)
    opened(world).close()


def test_before_the_witnesses_answered(world: World) -> None:
    """What was written before any witness was asked binds the start all the same."""
    own = checkpoint.only(kept(world).read_text(), {SERVICE})
    kept(world).write_text(own)
    opened(world).close()
    later = world.folder / "checkpoints" / "000000000009.txt"
    state = checkpoint.Checkpoint(world.origin, 9, bytes(32), bytes(32))
    later.write_text(checkpoint.sign(state, SERVICE, public(SERVICE), key(SERVICE).sign))
    with pytest.raises(StoreError, match="behind its checkpoint of 9"):
        opened(world)


def elsewhere(world: World) -> None:
    """Put another ledger's checkpoint there, signed by the same key."""
    state = checkpoint.split(kept(world).read_text())[0]
    other = checkpoint.Checkpoint("elsewhere.example/ledger", state.size, state.root, state.chain)
    kept(world).write_text(checkpoint.sign(other, SERVICE, public(SERVICE), key(SERVICE).sign))


OTHERS: dict[str, Callable[[World], object]] = {
    "another size's name": lambda world: kept(world).rename(kept(world).with_name("000000000005.txt")),
    "another ledger's": elsewhere,
    "nothing": lambda world: kept(world).write_bytes(b""),
    "no signature of the service": lambda world: kept(world).write_text(
        checkpoint.only(kept(world).read_text(), {WITNESS})
    ),
    "a stranger's line": lambda world: kept(world).write_text(
        checkpoint.cosign(kept(world).read_text(), "eve", public("eve"), key("eve").sign, at=START)
    ),
    "half of it": lambda world: kept(world).write_bytes(kept(world).read_bytes()[:150]),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_other_files(world: World, change: Callable[[World], object]) -> None:
    """What the service would not have written there is not believed, and the files stay as they are."""
    change(world)
    before = files(world.folder)
    with pytest.raises(StoreError, match="kept outside the database"):
        opened(world)
    assert files(world.folder) == before
