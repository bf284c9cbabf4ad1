"""What a co-signer remembers of its peers: on disk before it speaks, and never begun anew by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import files
from tests.custody.courier import Cosigners
from workbench.cosigner import peers
from workbench.cosigner.memory import MemoryCorruptError
from workbench.cosigner.peers import Peers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.threshold import Envelope, Opening, SignedEnvelope, SignedOpening

PROOF = SignedEnvelope(
    envelope=Envelope(v=1, run="11" * 32, round=1, kind="message", sender=2, to=1, body="00"), signature="00"
)


def opening(party: int, counter: int) -> SignedOpening:
    """Return what a peer opened a run with."""
    terms = Cosigners().terms("sign", [1, party])
    value = {
        "v": 1,
        "terms": terms.dump(),
        "party": party,
        "counter": counter,
        "seen": {},
        "randomness": "11" * 32,
        "exchange": "22" * 32,
    }
    return SignedOpening(opening=Opening.load(value), signature="00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a state root in which nothing was opened yet."""
    peers.found(tmp_path)
    return tmp_path


def test_it_survives_a_restart(folder: Path) -> None:
    """Counts only grow; a ban is for one key and for good."""
    held = Peers(folder)
    assert (held.open(), held.open()) == (1, 2)
    held.begin({"cosigner-2": opening(2, 7)})
    held.begin({"cosigner-3": opening(3, 4)})
    held.ban("treasury", "cosigner-2", "cheated", [PROOF])
    held.ban("treasury", "cosigner-2", "cheated again", [PROOF])
    again = Peers(folder)
    assert (again.opened, again.open()) == (2, 3)
    assert again.seen == {"cosigner-2": 7, "cosigner-3": 4}
    assert (again.latest("cosigner-2"), again.latest("cosigner-4")) == (opening(2, 7), None)
    assert again.banned("treasury") == {"cosigner-2"}
    assert again.banned("hot") == set()


def test_peers_of_many_keys(folder: Path) -> None:
    """More than share one key: it starts again all the same."""
    held = Peers(folder)
    held.begin({f"cosigner-{number}": opening(2, number) for number in range(1, 41)})
    assert Peers(folder).seen == {f"cosigner-{number}": number for number in range(1, 41)}


def test_it_is_founded_once(folder: Path) -> None:
    """Nobody begins it anew over one that exists."""
    with pytest.raises(FileExistsError):
        peers.found(folder)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="cut"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes().replace(b'"opened":0', b'"opened":-1')),
            id="below zero",
        ),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes().replace(b'"v":1', b'"v":2')), id="another version"
        ),
    ],
)
def test_a_file_that_was_touched(folder: Path, damage: Callable[[Path], object]) -> None:
    """Without its memory a co-signer does not start."""
    damage(folder / peers.NAME)
    with pytest.raises(MemoryCorruptError, match=r"peers\.json"):
        Peers(folder)


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count that could not be written is not given out; a cheat is banned all the same."""
    held = Peers(folder)
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError("no space left")

        patch.setattr(files, "replace", full)
        with pytest.raises(OSError, match="no space left"):
            held.open()
        with pytest.raises(OSError, match="no space left"):
            held.ban("treasury", "cosigner-2", "cheated", [PROOF])
    assert (held.opened, held.banned("treasury")) == (0, frozenset({"cosigner-2"}))
    assert held.open() == 1
    # the next write that succeeds has it
    assert Peers(folder).banned("treasury") == {"cosigner-2"}


def test_one_that_was_set_back_opens_nothing(folder: Path) -> None:
    """It keeps to it after a restart, too: somebody has to look."""
    Peers(folder).was_set_back("cosigner-1 shows opening 9 of cosigner-2, which knows of 3")
    again = Peers(folder)
    with pytest.raises(RefusedError, match="shows opening 9") as caught:
        again.open()
    assert (caught.value.code, again.opened) == (Refusal.MEMORY_BEHIND, 0)
    # nor does it tell others what it remembers of them: that is as old
    with pytest.raises(RefusedError, match="shows opening 9"):
        again.latest("cosigner-1")
