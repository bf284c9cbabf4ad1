"""The witness: what it cosigns, what it refuses, what it keeps, and what a crash cannot make it do."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import checkpoint, files, witness, witness_server
from ledger.checkpoint import COSIGNATURE, ED25519, Checkpoint, CheckpointError, key_id
from ledger.encoding import EncodingError, canonical, parse
from ledger.merkle import EMPTY
from ledger.trust import TrustRoot
from ledger.witness import (
    ConflictError,
    EquivocationError,
    MemoryLostError,
    NotConsistentError,
    State,
    UnknownLogError,
    UnsignedError,
    Witness,
    WitnessError,
    WrongKeyError,
)
from tests.ledger.fork import (
    ANN,
    AT,
    BOB,
    COMMON,
    DOCUMENT,
    FORK,
    KEYS,
    LATE,
    RIVAL,
    STANDBY,
    TRUE,
    TRUST,
    WITNESSES,
    Branch,
    content,
    cosigned,
    extend,
    found,
    opened,
    request,
)
from tests.ledger.world import ORIGIN, SERVICE, key, public

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((Path(witness.__file__).parent / "vectors" / "witness.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def memories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bytes of two memories: just founded, and after size 3 and 5 of the truth."""
    made = tmp_path_factory.mktemp("memories")
    folder = found(made / "memory")
    shutil.copy(folder / "memory.json", made / "founded.json")
    asked = opened(folder)
    extend(asked, TRUE, 3, 5)
    asked.close()
    shutil.copy(folder / "memory.json", made / "five.json")
    return made


@pytest.fixture
def folder(tmp_path: Path, memories: Path) -> Path:
    """Return a memory that was founded."""
    made = tmp_path / "memory"
    made.mkdir(mode=0o700)
    shutil.copy(memories / "founded.json", made / "memory.json")
    return made


@pytest.fixture
def ann(folder: Path, memories: Path) -> Iterator[Witness]:
    """Return a witness that has cosigned size 3 and 5 of the true branch."""
    shutil.copy(memories / "five.json", folder / "memory.json")
    made = opened(folder)
    yield made
    made.close()


def stranger(name: str, signer: str, algorithm: bytes = COSIGNATURE, value: bytes = bytes(72)) -> str:
    """Return a signature line as anybody could write it."""
    return f"— {name} {base64.b64encode(key_id(name, algorithm, public(signer)) + value).decode()}\n"


def by_bob(note: str, *, at: datetime = AT) -> str:
    """Return the note with bob's cosignature."""
    return checkpoint.cosign(note, BOB, public(BOB), key(BOB).sign, at=at)


def resigned(name: str, signer: str) -> str:
    """Return size 8 of the true branch, signed by this key under this name."""
    return checkpoint.sign(TRUE.state(8), name, public(signer), key(signer).sign)


# What is cosigned

OTHER = Branch("other", COMMON[:5])
EXTENDS: dict[str, tuple[str, int, list[bytes]]] = {
    "(4) it extends what I remember": (TRUE.note(8), 5, TRUE.proof(5, 8)),
    "(4) by one": (TRUE.note(6), 5, TRUE.proof(5, 6)),
    "(1) another checkpoint key of the trust root": (TRUE.note(8, signer=STANDBY), 5, TRUE.proof(5, 8)),
    "(1) two checkpoint keys": (
        TRUE.note(8) + TRUE.note(8, signer=STANDBY).split("\n\n")[1],
        5,
        TRUE.proof(5, 8),
    ),
    "(1) with another witness's line": (by_bob(TRUE.note(8)), 5, TRUE.proof(5, 8)),
    "(1) junk of an unknown name vetoes nothing": (
        TRUE.note(8) + stranger("eve", "eve"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) nor does a stranger's service line": (
        TRUE.note(8) + stranger("eve", "eve", ED25519, bytes(64)),
        5,
        TRUE.proof(5, 8),
    ),
    "(4) what no other witness was shown": (OTHER.note(9), 5, OTHER.proof(5, 9)),
}


@pytest.mark.parametrize(("note", "old_size", "proof"), EXTENDS.values(), ids=EXTENDS)
def test_is_cosigned(ann: Witness, note: str, old_size: int, proof: list[bytes]) -> None:
    """What extends the memory gets a line that verifies, and is what is remembered, without other lines."""
    line = ann.add(note, old_size=old_size, proof=proof)
    state = cosigned(checkpoint.only(note, KEYS), line)
    status = ann.status()
    assert (status["size"], status["root"], status["chain"]) == (
        state.size,
        state.root.hex(),
        state.chain.hex(),
    )
    assert status["note"] == checkpoint.only(note, KEYS) + line
    assert ann.evidence() == []


def test_the_first_checkpoint_needs_no_proof(folder: Path) -> None:
    """From nothing, whatever the service signed is the beginning: size 0 too, with whatever genesis."""
    nought = TRUE.note(0, chain=bytes(32))
    made = opened(found(folder.with_name("nought")))
    assert cosigned(nought, made.add(nought, old_size=0, proof=[])).size == 0
    made.close()
    made = opened(folder)
    assert (made.status()["size"], made.status()["note"]) == (0, "")
    (line,) = extend(made, TRUE, 0)
    assert cosigned(TRUE.note(0), line) == TRUE.state(0)
    (line,) = extend(made, TRUE, 7)
    assert cosigned(TRUE.note(7), line).size == 7
    made.close()


def test_the_same_again(folder: Path) -> None:
    """Who asks again gets the very same line, and nothing is signed for it: later, and after a restart."""
    made = opened(folder)
    (line,) = extend(made, TRUE, 5)
    before = content(folder)
    made.close()
    made = opened(folder, now=lambda: AT + timedelta(days=1), sign=lambda _: fail())
    for note in (TRUE.note(5), by_bob(TRUE.note(5)), TRUE.note(5, signer=STANDBY), made.status()["note"]):
        assert made.add(note, old_size=5, proof=[]) == line
    assert content(folder) == before
    made.close()


def test_status(ann: Witness) -> None:
    """The status names everything that an asker needs for the next proof."""
    state = TRUE.state(5)
    status = ann.status()
    assert cosigned(TRUE.note(5), status.pop("note").removeprefix(TRUE.note(5))) == state
    assert status == {
        "v": 1,
        "origin": ORIGIN,
        "name": ANN,
        "size": 5,
        "root": state.root.hex(),
        "chain": state.chain.hex(),
        "equivocations": 0,
    }


# What is refused

MANY = [bytes([number]) * 32 for number in range(64)]
REFUSED: dict[str, tuple[type[WitnessError], str, int, list[bytes]]] = {
    "(1) no note": (WitnessError, "", 5, []),
    "(1) not canonical": (WitnessError, TRUE.note(8).replace("\n8\n", "\n08\n"), 5, TRUE.proof(5, 8)),
    "(1) a line after the end": (WitnessError, TRUE.note(8) + "\n", 5, TRUE.proof(5, 8)),
    "(1) one name twice": (WitnessError, TRUE.note(8) + TRUE.note(8).split("\n\n")[1], 5, TRUE.proof(5, 8)),
    "(1) without a signature": (WitnessError, TRUE.state(8).text + "\n", 5, TRUE.proof(5, 8)),
    "(1) a note without end": (
        WitnessError,
        TRUE.note(8) + stranger("eve", "eve") * 900,
        5,
        TRUE.proof(5, 8),
    ),
    "(1) another ledger of the same key": (
        UnknownLogError,
        TRUE.note(8, origin="other.example/ledger"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) another ledger, unsigned by any key I know": (
        UnknownLogError,
        TRUE.note(8, signer="eve", origin="other.example/ledger"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) a stranger's key": (UnsignedError, TRUE.note(8, signer="eve"), 5, TRUE.proof(5, 8)),
    "(1) the service's name over another key": (UnsignedError, resigned(SERVICE, "eve"), 5, TRUE.proof(5, 8)),
    "(1) one checkpoint key under the other's name": (
        UnsignedError,
        resigned(STANDBY, SERVICE),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) one key under two names": (
        UnsignedError,
        TRUE.note(8) + resigned(STANDBY, SERVICE).split("\n\n")[1],
        5,
        TRUE.proof(5, 8),
    ),
    "(1) a witness's key alone": (UnsignedError, resigned(BOB, BOB), 5, TRUE.proof(5, 8)),
    "(1) a signature of another size": (
        UnsignedError,
        TRUE.note(7).replace("\n7\n", "\n8\n"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) a known witness's line that does not verify": (
        UnsignedError,
        TRUE.note(8) + stranger(BOB, BOB),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) a known witness's name over another key": (
        UnsignedError,
        TRUE.note(8) + stranger(BOB, "eve"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) my own name over another key": (
        UnsignedError,
        TRUE.note(8) + stranger(ANN, "eve"),
        5,
        TRUE.proof(5, 8),
    ),
    "(1) a second checkpoint key's line that does not verify": (
        UnsignedError,
        TRUE.note(8) + stranger(STANDBY, STANDBY, ED25519, bytes(64)),
        5,
        TRUE.proof(5, 8),
    ),
    "(2) a proof from the beginning": (ConflictError, TRUE.note(8), 0, []),
    "(2) a proof from a size I have left": (ConflictError, TRUE.note(8), 3, TRUE.proof(3, 8)),
    "(2) a proof from a size I have not seen": (ConflictError, TRUE.note(8), 6, TRUE.proof(6, 8)),
    "(2) my own state, proven from the beginning": (ConflictError, TRUE.note(5), 0, []),
    "(2) my own state, proven from the size before": (ConflictError, TRUE.note(5), 3, TRUE.proof(3, 5)),
    "(2) an older checkpoint as new": (ConflictError, TRUE.note(3), 3, []),
    "(2) the beginning as new": (ConflictError, TRUE.note(0), 0, []),
    "(2) an older checkpoint of a fork": (ConflictError, FORK.note(4), 4, []),
    "(2) a proof that goes back": (WitnessError, TRUE.note(3), 5, []),
    "(2) a proof from beyond the note": (WitnessError, TRUE.note(8), 9, []),
    "(2) a negative size": (ConflictError, TRUE.note(8), -5, TRUE.proof(5, 8)),
    "(4) no proof": (NotConsistentError, TRUE.note(8), 5, []),
    "(4) a proof of another pair": (NotConsistentError, TRUE.note(8), 5, TRUE.proof(3, 8)),
    "(4) a proof that is too long": (NotConsistentError, TRUE.note(8), 5, [*TRUE.proof(5, 8), bytes(32)]),
    "(4) a proof that is too short": (NotConsistentError, TRUE.note(8), 5, TRUE.proof(5, 8)[:-1]),
    "(4) a proof upside down": (NotConsistentError, TRUE.note(8), 5, TRUE.proof(5, 8)[::-1]),
    "(4) a hash of another length": (NotConsistentError, TRUE.note(8), 5, [*TRUE.proof(5, 8)[:-1], b"short"]),
    "(4) a fork from before my size": (NotConsistentError, LATE.note(8), 5, LATE.proof(5, 8)),
    "(4) a fork from the beginning": (NotConsistentError, FORK.note(8), 5, FORK.proof(5, 8)),
    "(4) a fork under a proof of the truth": (NotConsistentError, FORK.note(8), 5, TRUE.proof(5, 8)),
    "(4) the truth under a proof of a fork": (NotConsistentError, TRUE.note(8), 5, FORK.proof(5, 8)),
    "(4) a proof of my own state": (NotConsistentError, TRUE.note(5), 5, [bytes(32)]),
    "(4) sixty-three hashes": (NotConsistentError, TRUE.note(8), 5, MANY[:63]),
    "(4) sixty-four hashes": (WitnessError, TRUE.note(8), 5, MANY),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_is_refused(
    ann: Witness, folder: Path, case: tuple[type[WitnessError], str, int, list[bytes]]
) -> None:
    """Each refusal says which one it is, with my size if another proof would help, and changes nothing."""
    error, note, old_size, proof = case
    before = content(folder)
    with pytest.raises(WitnessError) as caught:
        ann.add(note, old_size=old_size, proof=proof)
    assert type(caught.value) is error
    assert getattr(caught.value, "size", 5) == 5
    assert content(folder) == before
    assert len(extend(ann, TRUE, 8)) == 1  # nobody can spoil it for the honest


def test_size_zero_has_one_root(folder: Path) -> None:
    """The first checkpoint of no entries has the root of nothing, and a proof from nothing is empty."""
    made = opened(folder)
    for note, proof in [
        (TRUE.note(0, root=bytes(32)), []),
        (TRUE.note(0), [EMPTY]),
        (TRUE.note(5), TRUE.proof(3, 5)),
    ]:
        with pytest.raises(NotConsistentError):
            made.add(note, old_size=0, proof=proof)
    assert made.status()["note"] == ""
    made.close()


# (3) Two states of one size

LIES: dict[str, tuple[str, int]] = {
    "another root": (FORK.note(5), 5),
    "another root, by a late fork": (LATE.note(5), 5),
    "another chain under the same root": (TRUE.note(5, chain=bytes(32)), 5),
    "another root under the same chain": (TRUE.note(5, root=bytes(32)), 5),
    "from the beginning": (FORK.note(5), 0),
    "from a size I have left": (FORK.note(5), 3),
    "with another witness's line": (by_bob(FORK.note(5)), 5),
}


@pytest.mark.parametrize(("note", "old_size"), LIES.values(), ids=LIES)
def test_step_3_equivocation(ann: Witness, folder: Path, note: str, old_size: int) -> None:
    """Another state of my size is never signed; both notes are kept once, and convict the key alone."""
    before = content(folder)
    written = set()
    for _ in range(2):
        with pytest.raises(EquivocationError) as caught:
            ann.add(note, old_size=old_size, proof=[])
        assert (caught.value.code, caught.value.size) == ("equivocation", 5)
        written |= {(path.name, path.stat().st_ino) for path in (folder / "equivocation").iterdir()}
    assert len(written) == 1
    (kept,) = ann.evidence()
    assert kept == {"v": 1, "first": TRUE.note(5), "second": checkpoint.only(note, KEYS)}
    one, other = checkpoint.equivocation(kept["first"], kept["second"], KEYS)
    assert (one, other) == (TRUE.state(5), checkpoint.split(note)[0])
    assert ann.status()["equivocations"] == 1
    after = content(folder)
    assert {name: after[name] for name in before} == before
    (name,) = set(after) - set(before)
    assert witness.parse_evidence(after[name]) == (kept["first"], kept["second"])
    assert len(extend(ann, TRUE, 8)) == 1  # the branch that I remember goes on


def test_step_3_needs_a_signature(ann: Witness, folder: Path) -> None:
    """Whoever has no key cannot plant evidence."""
    before = content(folder)
    for signer in ("eve", BOB):
        with pytest.raises(UnsignedError):
            ann.add(FORK.note(5, signer=signer), old_size=5, proof=[])
    assert content(folder) == before


def test_step_3_under_two_keys(ann: Witness) -> None:
    """A fork under the service's other key is not signed either, and kept, but convicts no single key."""
    with pytest.raises(EquivocationError):
        ann.add(FORK.note(5, signer=STANDBY), old_size=5, proof=[])
    (kept,) = ann.evidence()
    with pytest.raises(CheckpointError):
        checkpoint.equivocation(kept["first"], kept["second"], KEYS)


def test_step_3_at_size_zero(folder: Path) -> None:
    """The chain of no entries is the genesis: two of them are two ledgers."""
    made = opened(folder)
    extend(made, TRUE, 0)
    with pytest.raises(EquivocationError):
        made.add(TRUE.note(0, chain=bytes(32)), old_size=0, proof=[])
    assert len(made.evidence()) == 1
    made.close()


def test_evidence_is_bounded(ann: Witness, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar with a thousand lies does not fill the disk, and the first ones stay."""
    monkeypatch.setattr(witness, "EVIDENCE_MAX", 3)
    for number in range(6):
        with pytest.raises(EquivocationError):
            ann.add(TRUE.note(5, chain=bytes([number]) * 32), old_size=5, proof=[])
    kept = [checkpoint.split(each["second"])[0].chain[0] for each in ann.evidence()]
    assert sorted(kept) == [0, 1, 2]
    assert len(list((folder / "equivocation").iterdir())) == 3


def test_evidence_outlives_a_restart(ann: Witness, folder: Path) -> None:
    """What was kept is still told after a restart."""
    with pytest.raises(EquivocationError):
        ann.add(FORK.note(5), old_size=5, proof=[])
    kept = ann.evidence()
    ann.close()
    again = opened(folder)
    assert (again.evidence(), again.status()["equivocations"]) == (kept, 1)
    again.close()


EVIDENCE: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "an array": b"[]",
    "a note is missing": canonical({"v": 1, "first": TRUE.note(5)}),
    "a field too many": canonical({"v": 1, "first": "a", "second": "b", "third": "c"}),
    "another version": canonical({"v": 2, "first": "a", "second": "b"}),
    "true for one": canonical({"v": True, "first": "a", "second": "b"}),
    "a note that is a number": canonical({"v": 1, "first": "a", "second": 2}),
    "spaces": b'{"first": "a","second":"b","v":1}',
    "too long": b'"' + b"a" * witness.FILE_MAX + b'"',
}


@pytest.mark.parametrize("raw", EVIDENCE.values(), ids=EVIDENCE)
def test_evidence_has_one_form(raw: bytes) -> None:
    """An evidence file is exactly v and two notes."""
    with pytest.raises(EncodingError):
        witness.parse_evidence(raw)


# (5) Time


def stamp(line: str) -> int:
    """Return the seconds in a cosignature line."""
    return int.from_bytes(checkpoint.Signature.parse(line[:-1]).value[:8], "big")


def test_step_5_time_never_goes_back(folder: Path) -> None:
    """A clock that was set back does not take the witness with it, not even over a restart."""
    times = iter([AT, AT - timedelta(days=9), AT + timedelta(hours=1)])
    made = opened(folder, now=lambda: next(times))
    first, second = (stamp(line) for line in extend(made, TRUE, 3, 5))
    assert first == second == int(AT.timestamp())
    made.close()
    made = opened(folder, now=lambda: datetime(1969, 1, 1, tzinfo=UTC))
    assert stamp(extend(made, TRUE, 6)[0]) == first
    made.close()
    made = opened(folder, now=lambda: next(times))
    assert stamp(extend(made, TRUE, 8)[0]) == first + 3600
    made.close()


# The memory


def memory(**changes: Any) -> bytes:
    """Return a memory of size 5 with ann's line, or what it was changed to."""
    note = TRUE.note(5)
    line = checkpoint.cosign(note, ANN, public(ANN), key(ANN).sign, at=AT).removeprefix(note)
    state = TRUE.state(5)
    return canonical(
        {
            "v": 1,
            "origin": ORIGIN,
            "name": ANN,
            "size": 5,
            "root": state.root.hex(),
            "chain": state.chain.hex(),
            "note": note,
            "line": line,
            "time": "2026-11-21T01:02:03.000004Z",
        }
        | changes,
        limit=witness.FILE_MAX,
    )


def nothing(**changes: Any) -> bytes:
    """Return a memory before the first checkpoint, or what it was changed to."""
    return canonical(parse(State.empty(origin=ORIGIN, name=ANN).encode()) | changes)


OTHER_KEY = checkpoint.cosign(TRUE.note(5), ANN, public("eve"), key("eve").sign, at=AT)
MEMORIES: dict[str, bytes] = {
    "nothing": b"",
    "half of it": memory()[:300],
    "not JSON": b"size 5",
    "an array": b"[]",
    "a newline at the end": memory() + b"\n",
    "a field too many": memory(more=1),
    "a field too few": canonical({"v": 1, "size": 5}),
    "another version": memory(v=2),
    "true for one": memory(v=True),
    "a size that is text": memory(size="5"),
    "a size that is true": nothing(size=True),
    "a size that is null": nothing(size=None),
    "a smaller size than the note's": memory(size=3),
    "a larger size than the note's": memory(size=6),
    "another root than the note's": memory(root="00" * 32),
    "another chain than the note's": memory(chain="00" * 32),
    "a short root": nothing(root="00"),
    "a root in capitals": memory(root=TRUE.state(5).root.hex().upper()),
    "a root with spaces": nothing(root=" ".join(["00"] * 32)),
    "a note that is null": memory(note=None),
    "a note that is malformed": memory(note="note"),
    "a note that is empty, with a size": memory(note="", line=""),
    "no note, with a line": nothing(line="— ann x\n"),
    "no note, with another root": nothing(root="00" * 32),
    "no note, with another chain": nothing(chain="11" * 32),
    "no note, with a size": nothing(size=5),
    "a line that is malformed": memory(line="— ann x\n"),
    "a line without its end": memory(line=stranger(ANN, ANN)[:-1]),
    "two lines": memory(line=stranger(ANN, ANN) + stranger(BOB, BOB)),
    "a line of another name": memory(line=stranger(BOB, BOB)),
    "a line of another key": memory(line=OTHER_KEY.removeprefix(TRUE.note(5))),
    "a time without microseconds": memory(time="2026-11-21T01:02:03Z"),
    "a time that is a number": memory(time=5),
    "another witness's": memory(name=BOB),
    "another ledger's": memory(origin="other.example/ledger"),
    "another ledger's, empty": nothing(origin="other.example/ledger"),
    "an origin that is no name": nothing(origin="a b"),
    "too long": b'"' + b"a" * witness.FILE_MAX + b'"',
}


def test_a_sound_memory(folder: Path) -> None:
    """The memories of the table are refused for what was changed in them."""
    for raw, size in ((memory(), 5), (memory(line=""), 5), (nothing(), 0)):
        (folder / "memory.json").write_bytes(raw)
        made = opened(folder)
        assert made.status()["size"] == size
        made.close()


@pytest.mark.parametrize("raw", MEMORIES.values(), ids=MEMORIES)
def test_a_memory_that_is_not_believed(folder: Path, raw: bytes) -> None:
    """What cannot be read, contradicts itself or is another's stops the witness, and stays as it is."""
    (folder / "memory.json").write_bytes(raw)
    for _ in range(2):
        with pytest.raises(MemoryLostError, match="memory"):
            opened(folder)
    assert content(folder) == {"memory.json": raw}


def test_a_memory_that_is_gone(ann: Witness, folder: Path) -> None:
    """A deleted memory stops the witness, and cannot be founded again: it would sign a fork."""
    ann.close()
    (folder / "memory.json").unlink()
    with pytest.raises(MemoryLostError, match="never by itself"):
        opened(folder)
    with pytest.raises(MemoryLostError, match="was"):
        found(folder)
    assert content(folder) == {}


def test_founded_once(ann: Witness, folder: Path, tmp_path: Path) -> None:
    """Founding again changes nothing: over a memory in use, one that is closed, one never used."""
    before = content(folder)
    with pytest.raises(MemoryLostError):
        found(folder)
    ann.close()
    with pytest.raises(MemoryLostError):
        found(folder)
    assert content(folder) == before
    unused = found(tmp_path / "unused")
    with pytest.raises(MemoryLostError):
        found(unused)
    assert content(unused) == {"memory.json": nothing()}


def test_a_folder_that_was_never_founded(tmp_path: Path) -> None:
    """Opening founds nothing, not even a folder, and does not stand in the way of founding."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(MemoryLostError):
            opened(path)
    assert list(tmp_path.iterdir()) == []
    opened(found(tmp_path / "nowhere")).close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777], ids=oct)
@pytest.mark.parametrize("name", [".", "memory.json"], ids=["the folder", "the file"])
def test_a_memory_that_others_can_write(folder: Path, name: str, mode: int) -> None:
    """Who can write the memory could make the witness forget."""
    (folder / name).chmod(mode)
    with pytest.raises(MemoryLostError, match="others may write"):
        opened(folder)
    assert not (folder / "memory.lock").exists()


@pytest.mark.parametrize("name", [".", "memory.json"], ids=["the folder", "the file"])
def test_a_memory_of_another_user(folder: Path, name: str) -> None:
    """Whose memory it is decides what is in it."""
    if os.geteuid() == 0:
        os.chown(folder / name, 12345, -1)
    else:  # who is not root cannot give files away: the system's own folder is another's
        folder = Path("/")
    with pytest.raises(MemoryLostError):
        opened(folder)


def test_modes(ann: Witness, folder: Path) -> None:
    """What the witness writes is its own: nobody else reads or writes it."""
    with pytest.raises(EquivocationError):
        ann.add(FORK.note(5), old_size=5, proof=[])
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize("changes", [{"public_key": public(BOB)}, {"name": "eve"}], ids=["key", "name"])
def test_a_key_that_the_trust_root_does_not_have(folder: Path, changes: dict[str, Any]) -> None:
    """Under another key or name nothing would count that is signed: the memory is not even opened."""
    before = content(folder)
    with pytest.raises(WrongKeyError):
        opened(folder, **changes)
    assert content(folder) == before


def test_one_holder(ann: Witness, folder: Path) -> None:
    """A second witness on one memory is refused while the first is open, and nothing changes."""
    before = content(folder)
    with pytest.raises(MemoryLostError, match="another process"):
        opened(folder)
    assert content(folder) == before
    ann.close()
    opened(folder).close()


def test_closed(ann: Witness, folder: Path) -> None:
    """A closed witness signs no more: its memory may be another's by now. Closing twice is harmless."""
    ann.close()
    successor = opened(folder)
    ann.close()
    with pytest.raises(MemoryLostError, match="closed"):
        ann.add(TRUE.note(8), old_size=5, proof=TRUE.proof(5, 8))
    with pytest.raises(MemoryLostError, match="another process"):
        opened(folder)
    assert successor.status()["size"] == 5
    successor.close()


def test_no_protocol_comes_with_the_rules() -> None:
    """Who holds a witness in a process without a network loads nothing that speaks to one with it.

    `socket` alone comes with the certificates of time-stamp authorities; a unix socket is one as well.
    """
    wanted = "{'ssl', 'http', 'http.client', 'http.server', 'urllib.request', 'asyncio'}"
    script = f"import sys, ledger.witness; print({wanted} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# Faults


class PowerError(Exception):
    """The power went."""


def fail() -> NoReturn:
    """Fail where a hook stands."""
    raise PowerError


def sign_and_fail(message: bytes) -> bytes:
    """Sign, as a token that loses its cable right after."""
    key(ANN).sign(message)
    raise PowerError


def kill() -> None:
    """End this process without another word."""
    os.kill(os.getpid(), signal.SIGKILL)


def sign_and_kill(message: bytes) -> bytes:
    """Sign, and never come back."""
    kill()
    return message


# (fault, is the new state on disk after it?)
FAULTS: dict[str, tuple[dict[str, Any], bool]] = {
    "persist refused": ({"testing_only_before_persist": fail}, False),
    "persist done but reported failed": ({"testing_only_before_sign": fail}, True),
    "sign refused": ({"sign": lambda _: fail()}, True),
    "sign done but reported failed": ({"sign": sign_and_fail}, True),
    "signed with another key": ({"sign": key("eve").sign}, True),
}
KILLS: dict[str, tuple[dict[str, Any], bool]] = {
    "killed before persist": ({"testing_only_before_persist": kill}, False),
    "killed after persist": ({"testing_only_before_sign": kill}, True),
    "killed while signing": ({"sign": sign_and_kill}, True),
}


def attempts(asked: Witness, *branches: Branch, old_size: int, size: int) -> list[Checkpoint]:
    """Offer one size of several branches, and return what was cosigned."""
    made = []
    for branch in branches:
        old = size if asked.status()["size"] == size else old_size
        proof = branch.proof(min(old, size), size)
        try:
            line = asked.add(branch.note(size), old_size=old, proof=proof)
        except WitnessError:
            continue
        made.append(cosigned(branch.note(size), line))
    return made


def settled(folder: Path, *, stored: bool, fork_first: bool) -> None:
    """Reopen after a fault: one root of size 5 is cosigned, whoever asks first, and only that one."""
    made = opened(folder)
    assert made.status()["size"] == (5 if stored else 3)
    # What was persisted and not signed is told, and is no cosigned note.
    assert made.status()["note"].startswith(TRUE.note(5 if stored else 3))
    assert (made.cosigned() == "") is stored
    order = (RIVAL, TRUE) if fork_first else (TRUE, RIVAL)
    signed = attempts(made, *order, *order, old_size=3, size=5)
    winner = TRUE if stored else order[0]
    assert signed == [winner.state(5)] * 2
    assert cosigned(winner.note(5), made.status()["note"].removeprefix(winner.note(5))).size == 5
    extend(made, winner, 8)
    made.close()


@pytest.mark.parametrize("fork_first", [False, True], ids=["the truth asks next", "a fork asks next"])
@pytest.mark.parametrize(("fault", "stored"), FAULTS.values(), ids=FAULTS)
def test_faults(folder: Path, fault: dict[str, Any], stored: bool, fork_first: bool) -> None:  # noqa: FBT001 - a table
    """Whatever fails, no line is given out, no second root gets one, and the next request settles it."""
    made = opened(folder)
    extend(made, TRUE, 3)
    made.close()
    made = opened(folder, **fault)
    with pytest.raises((PowerError, WrongKeyError)):
        made.add(TRUE.note(5), old_size=3, proof=TRUE.proof(3, 5))
    with pytest.raises((PowerError, WrongKeyError, ConflictError)):
        made.add(TRUE.note(5), old_size=3, proof=TRUE.proof(3, 5))
    made.close()
    settled(folder, stored=stored, fork_first=fork_first)


@pytest.mark.parametrize("fork_first", [False, True], ids=["the truth asks next", "a fork asks next"])
@pytest.mark.parametrize("name", KILLS)
def test_kills(folder: Path, name: str, fork_first: bool) -> None:  # noqa: FBT001 - a table
    """The same for a process that is killed at that point."""
    made = opened(folder)
    extend(made, TRUE, 3)
    made.close()
    pid = os.fork()
    if pid == 0:
        try:
            made = opened(folder, **KILLS[name][0])
            made.add(TRUE.note(5), old_size=3, proof=TRUE.proof(3, 5))
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    settled(folder, stored=KILLS[name][1], fork_first=fork_first)


@pytest.mark.parametrize("stage", [1, 2], ids=["the state", "the line"])
@pytest.mark.parametrize("again", [RIVAL, TRUE], ids=["a fork asks next", "the truth asks next"])
def test_a_disk_that_fails_after_the_rename(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stage: int, again: Branch
) -> None:
    """A write that happened but was reported failed, in a process that lives on: still one root of a size."""
    made = opened(folder)
    extend(made, TRUE, 3)
    calls = iter(range(1, 100))

    # No hook can stand between a rename and the fsync of its folder.
    def sync(path: Path, real: Callable[[Path], None] = files.sync) -> None:
        real(path)
        if next(calls) == stage:
            raise OSError("input/output error")

    monkeypatch.setattr(files, "sync", sync)
    with pytest.raises(MemoryLostError, match="input/output"):
        made.add(TRUE.note(5), old_size=3, proof=TRUE.proof(3, 5))
    first = attempts(made, again, TRUE, RIVAL, old_size=3, size=5)
    made.close()
    made = opened(folder)
    second = attempts(made, RIVAL, TRUE, old_size=3, size=5)
    made.close()
    assert len({(state.root, state.chain) for state in first + second}) == 1
    assert first


def test_a_crash_leaves_no_rubbish_that_counts(folder: Path) -> None:
    """The draft of a write that was cut off is no memory and no evidence."""
    made = opened(folder)
    extend(made, TRUE, 3)
    with pytest.raises(EquivocationError):
        made.add(FORK.note(3), old_size=3, proof=[])
    made.close()
    (folder / ".tmp1234").write_bytes(memory()[:100])
    (folder / "equivocation" / ".tmp1234").write_bytes(b"{")
    made = opened(folder)
    assert (made.status()["size"], made.status()["equivocations"], len(made.evidence())) == (3, 1, 1)
    made.close()


# Races and interleavings


def test_threads_get_one_root(folder: Path) -> None:
    """Eight threads with two forks: each size is cosigned once, whoever comes first."""
    made = opened(folder)
    extend(made, TRUE, 3)
    signed: list[Checkpoint] = []

    def work(branch: Branch) -> None:
        for size in (5, 6, 7, 8):
            for _ in range(3):
                signed.extend(attempts(made, branch, old_size=made.status()["size"], size=size))

    threads = [threading.Thread(target=work, args=(branch,)) for branch in (TRUE, RIVAL) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert signed
    assert one_chain(signed) in ({TRUE.name}, {RIVAL.name})


def one_chain(states: list[Checkpoint]) -> set[str]:
    """Return the branches that hold all of these states."""
    branches = (TRUE, RIVAL, LATE, FORK)
    return {each.name for each in branches if all(each.state(state.size) == state for state in states)}


REQUESTS = st.lists(
    st.tuples(st.sampled_from([TRUE, RIVAL]), st.integers(0, 7), st.integers(0, 7), st.booleans()),
    max_size=14,
)


@settings(max_examples=40)
@given(requests=REQUESTS)
def test_any_interleaving_is_one_chain(requests: list[tuple[Branch, int, int, bool]]) -> None:
    """Whatever is asked from two branches, in any order and over restarts: one chain is cosigned."""
    with tempfile.TemporaryDirectory() as name:
        folder = found(Path(name) / "memory")
        made = opened(folder)
        signed: list[Checkpoint] = []
        for branch, old, size, restart in requests:
            if restart:
                made.close()
                made = opened(folder)
            try:
                line = made.add(branch.note(size), old_size=old, proof=branch.proof(min(old, size), size))
            except WitnessError:
                continue
            signed.append(cosigned(branch.note(size), line))
        newest, evidence = made.status(), made.evidence()
        made.close()
    assert one_chain(signed)
    assert [state.size for state in signed] == sorted(state.size for state in signed)
    assert newest["size"] == max((state.size for state in signed), default=0)
    assert all(checkpoint.equivocation(each["first"], each["second"], KEYS) for each in evidence)


# Vectors


def answered(asked: Witness, body: bytes) -> tuple[int, str]:
    """Return the status and the body that the server would give, except for words."""
    try:
        old_size, proof, note = witness_server.parse_request(body)
        return 200, asked.add(note, old_size=old_size, proof=proof)
    except ConflictError as error:
        return witness_server.STATUS[error.code], f"{error.size}\n"
    except WitnessError as error:
        return witness_server.STATUS[error.code], ""


@pytest.mark.parametrize("case", [pytest.param(case, id=case["comment"]) for case in VECTORS["cases"]])
def test_vectors(case: dict[str, Any], tmp_path: Path) -> None:
    """Each request of the file gets the answer of the file, and a refused one leaves the memory as it was."""
    trust = TrustRoot.of(VECTORS["trust_root"])
    name, folder = VECTORS["witness"], tmp_path / "memory"
    witness.found(folder, origin=trust.origin, name=name)
    made = opened(folder, trust_root=trust, name=name, now=lambda: datetime.fromisoformat(VECTORS["time"]))
    for before in case["before"]:
        assert answered(made, VECTORS["requests"][before].encode())[0] == 200
    memory_before = (folder / "memory.json").read_bytes()
    assert answered(made, case["request"].encode()) == (case["status"], case["answer"])
    assert (case["expect"] == "cosigned") is (case["status"] == 200)
    assert len(made.evidence()) == case["evidence"]
    if case["expect"] == "refused":
        assert (folder / "memory.json").read_bytes() == memory_before
    made.close()


REQUESTS_REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "no note and no empty line": b"old 0",
    "one newline": b"old 0\n" + TRUE.note(5).encode(),
    "a byte order mark": b"\xef\xbb\xbf" + request(TRUE.note(5), 0),
    "not UTF-8": request(TRUE.note(5), 0) + b"\xff",
    "half a surrogate": b"old 0\n\n\xed\xa0\x80",
    "url-safe base64": b"old 3\n" + base64.urlsafe_b64encode(b"\xff" * 32) + b"\n\n",
    "base64 with bits to spare": b"old 3\n" + base64.b64encode(bytes(32))[:-2] + b"B=\n\n",
    "base64 in another script": "old 3\nＡＡＡＡ\n\n".encode(),
    "sixty-four hashes": request("", 3, MANY),
    "two old lines": b"old 3\nold 3\n\n",
}


@pytest.mark.parametrize("body", REQUESTS_REFUSED.values(), ids=REQUESTS_REFUSED)
def test_a_request_has_one_spelling(body: bytes) -> None:
    """What another reader could read otherwise is malformed."""
    with pytest.raises(WitnessError) as caught:
        witness_server.parse_request(body)
    assert caught.value.code == "malformed"


def test_a_request_is_read_as_it_was_made() -> None:
    """Sixty-three hashes fit, and so does no note: that is for the witness to refuse."""
    assert witness_server.parse_request(request("note", 7, MANY[:63])) == (7, MANY[:63], "note")
    assert witness_server.parse_request(b"old 0\n\n") == (0, [], "")


def test_the_trust_root_of_these_tests() -> None:
    """A witness of one quorum knows the others, so that it can refuse their forged lines."""
    assert set(WITNESSES) == {ANN, BOB}
    assert TrustRoot.parse(canonical(DOCUMENT)) == TRUST
