"""The auditor against a writer who may choose every byte of the bundle, index included, but holds no key."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import bundle as form
from ledger import checkpoint, verifier
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, parse
from ledger.entry import Entry
from ledger.merkle import Frontier
from ledger.trust import TrustRootError
from ledger.verifier import FINDINGS_MAX, Report, Step, VerificationError, verify
from tests.ledger.world import ORIGIN, SERVICE, START, Folder, World, event, key, public, salts, trust_root

Attack = Callable[[Folder], None]


def findings(folder: Folder, trust: Any = None) -> list[tuple[int, str]]:
    """Return (step, place) of every finding."""
    with pytest.raises(VerificationError) as caught:
        verify(folder.path, trust or trust_root())
    return [(int(finding.step), finding.place) for finding in caught.value.report.findings]


def test_sound(world: World, bundle: Folder) -> None:
    """A bundle as written is sound, and the report says what that covers."""
    head = world.ledger.head()
    assert verify(bundle.path, world.trust) == Report(
        ledger_id="example",
        origin=ORIGIN,
        first=0,
        size=8,
        root=head.root,
        h=head.h,
        checkpoints=(3, 8),
        redacted=(),
        anchors=(),
        stamps=(),
        unproven=("policies/1/manifest.json",),
        findings=(),
    )


def test_a_range_is_sound(world: World, bundle: Folder) -> None:
    """A range that follows a signed checkpoint is sound; the index alone would prove nothing."""
    assert bundle.path.exists()
    part = world.write_bundle("part", first=3, last=7)
    report = verify(part.path, world.trust)
    assert (report.first, report.size, report.h) == (3, 8, world.ledger.head().h)


def change_line(number: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Attack:
    """Return the attack that changes one line's fields and leaves the rest as it is."""

    def attack(folder: Folder) -> None:
        lines = folder.lines()
        lines[number] = canonical(change(parse(lines[number][:-1], limit=1 << 20))) + b"\n"
        folder.write_lines(lines)

    return attack


def edit_lines(edit: Callable[[list[bytes]], list[bytes]], **index: Any) -> Attack:
    """Return the attack that rearranges the lines and adapts the index."""
    return lambda folder: folder.write_lines(edit(folder.lines()), **index)


def rewrite_from(number: int) -> Attack:
    """Return the attack that changes an entry's data and recomputes everything that needs no key."""

    def attack(folder: Folder) -> None:
        lines = [form.Line.parse(raw) for raw in folder.lines()]
        h = Genesis.parse(folder.read("genesis.json")).hash()
        rewritten = []
        for line in lines:
            assert line.data is not None
            assert line.salt is not None
            data = {"number": 666} if line.seq == number else parse(line.data)
            head = canonical(
                parse(line.head)
                | {"datahash": hashlib.sha256(b"\x03" + line.salt + canonical(data)).hexdigest()}
            )
            entry = Entry.read(head, data=canonical(data), salt=line.salt, prev=h)
            h = entry.h
            rewritten.append(form.Line.of(entry).encode())
        folder.write_lines(rewritten)

    return attack


def drop_checkpoint(size: int, then: Attack = lambda _: None) -> Attack:
    """Return the attack that removes a checkpoint, then does something else."""

    def attack(folder: Folder) -> None:
        folder.remove(f"checkpoints/{size}.txt")
        then(folder)

    return attack


def sign_as(name: str, signer: str, **changes: Any) -> Attack:
    """Return the attack that signs the last state under a name, with a key of one's own."""

    def attack(folder: Folder) -> None:
        state = checkpoint.split(folder.read("checkpoints/8.txt").decode())[0]
        fields: dict[str, Any] = {
            "origin": state.origin,
            "size": 8,
            "root": state.root,
            "chain": state.chain,
        } | changes
        note = checkpoint.sign(Checkpoint(**fields), name, public(signer), key(signer).sign)
        folder.write("checkpoints/8.txt", note.encode())

    return attack


def swap(first: int, second: int, *fields: str) -> Attack:
    """Return the attack that exchanges fields of two lines."""

    def attack(folder: Folder) -> None:
        lines = [parse(raw[:-1], limit=1 << 20) for raw in folder.lines()]
        for name in fields:
            lines[first][name], lines[second][name] = lines[second][name], lines[first][name]
        folder.write_lines([canonical(line) + b"\n" for line in lines])

    return attack


def strip_newline(lines: list[bytes]) -> list[bytes]:
    """Take the last newline away."""
    return [*lines[:-1], lines[-1][:-1]]


ATTACKS: dict[str, tuple[Attack, tuple[int, str]]] = {
    "an entry removed": (edit_lines(lambda lines: lines[:3] + lines[4:]), (5, "entry 3")),
    "the first entry removed": (edit_lines(lambda lines: lines[1:]), (5, "entry 0")),
    "and the index begins later": (edit_lines(lambda lines: lines[1:], first=1, last=7), (1, "index.json")),
    "two entries swapped": (
        edit_lines(lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]]),
        (5, "entry 3"),
    ),
    "an entry twice": (edit_lines(lambda lines: [*lines[:4], lines[3], *lines[4:]]), (5, "entry 4")),
    "an entry copied to the end": (edit_lines(lambda lines: [*lines, lines[7]]), (5, "entry 8")),
    "the last entry cut": (edit_lines(lambda lines: lines[:-1]), (11, "entry 7")),
    "and its checkpoint too": (
        drop_checkpoint(8, edit_lines(lambda lines: lines[:-1])),
        (11, "entry 3"),
    ),
    "the last checkpoint dropped": (drop_checkpoint(8), (11, "entry 3")),
    "every checkpoint dropped": (drop_checkpoint(8, drop_checkpoint(3)), (11, "entry 0")),
    "all entries cut": (edit_lines(lambda _: []), (1, "index.json")),
    "all entries cut, the index silent": (edit_lines(lambda _: [], last=7), (11, "entry 0")),
    "an empty line": (edit_lines(lambda lines: [*lines[:3], b"\n", *lines[3:]]), (5, "entry 3")),
    "no newline at the end": (edit_lines(strip_newline), (5, "entry 7")),
    "a carriage return": (edit_lines(lambda lines: [lines[0][:-1] + b"\r\n", *lines[1:]]), (5, "entry 0")),
    "a space": (edit_lines(lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]]), (5, "entry 0")),
    "a line of a megabyte": (edit_lines(lambda lines: [*lines[:7], b'"' + b"x" * (1 << 20)]), (5, "entry 7")),
    "a field more": (change_line(2, lambda line: line | {"note": "x"}), (5, "entry 2")),
    "a field less": (change_line(2, lambda line: {"seq": 2, "head": line["head"]}), (5, "entry 2")),
    "seq true": (change_line(1, lambda line: line | {"seq": True}), (5, "entry 1")),
    "another seq": (change_line(2, lambda line: line | {"seq": 5}), (5, "entry 2")),
    "h in capitals": (change_line(2, lambda line: line | {"h": line["h"].upper()}), (5, "entry 2")),
    "a head that is a number": (change_line(2, lambda line: line | {"head": 2}), (5, "entry 2")),
    "another h": (change_line(2, lambda line: line | {"h": "00" * 32}), (8, "entry 2")),
    "another actor": (
        change_line(2, lambda line: line | {"head": line["head"].replace("alice", "mallo")}),
        (8, "entry 2"),
    ),
    "another spelling of a head": (
        change_line(2, lambda line: line | {"head": line["head"].replace(":", ": ", 1)}),
        (6, "entry 2"),
    ),
    "a head of another place": (swap(2, 4, "head", "data", "salt"), (6, "entry 2")),
    "data exchanged": (swap(2, 4, "data", "salt"), (7, "entry 2")),
    "salt exchanged": (swap(2, 4, "salt"), (7, "entry 2")),
    "data removed": (change_line(2, lambda line: line | {"data": None, "salt": None}), (7, "entry 2")),
    "salt removed": (change_line(2, lambda line: line | {"salt": None}), (7, "entry 2")),
    "other data": (change_line(2, lambda line: line | {"data": '{"number":3}'}), (7, "entry 2")),
    "data that is no object": (change_line(2, lambda line: line | {"data": "1"}), (7, "entry 2")),
    "another spelling of data": (
        change_line(2, lambda line: line | {"data": line["data"] + " "}),
        (7, "entry 2"),
    ),
    "history rewritten": (rewrite_from(5), (10, "checkpoint 8")),
    "history rewritten before both": (rewrite_from(0), (10, "checkpoint 3")),
    "signed by a stranger": (sign_as("mallory", "mallory"), (3, "checkpoint 8")),
    "signed under a stolen name": (sign_as(SERVICE, "mallory"), (3, "checkpoint 8")),
    "a checkpoint of another ledger": (
        sign_as(SERVICE, SERVICE, origin="other.example"),
        (3, "checkpoint 8"),
    ),
    "a checkpoint under another size": (
        lambda folder: folder.write("checkpoints/5.txt", folder.read("checkpoints/3.txt")),
        (3, "checkpoint 5"),
    ),
    "a checkpoint that is not UTF-8": (
        lambda folder: folder.write("checkpoints/8.txt", b"\xff" + folder.read("checkpoints/8.txt")),
        (3, "checkpoint 8"),
    ),
    "a checkpoint of 5 MiB": (
        lambda folder: folder.write("checkpoints/8.txt", b"x" * (5 << 20)),
        (3, "checkpoint 8"),
    ),
    "another genesis": (
        lambda folder: folder.write(
            "genesis.json",
            canonical(parse(folder.read("genesis.json")) | {"created": "2026-11-20T00:00:00.000000Z"}),
        ),
        (4, "the start"),
    ),
    "a genesis of another ledger": (
        lambda folder: folder.write(
            "genesis.json", canonical(parse(folder.read("genesis.json")) | {"ledger_id": "other"})
        ),
        (2, "genesis.json"),
    ),
    "a genesis under other keys": (
        lambda folder: folder.write(
            "genesis.json", canonical(parse(folder.read("genesis.json")) | {"trust_root": "00" * 32})
        ),
        (2, "genesis.json"),
    ),
    "no JSON as genesis": (lambda folder: folder.write("genesis.json", b"{"), (2, "genesis.json")),
    "another trust root beside it": (
        lambda folder: folder.write("trust-root.json", canonical(trust_root(profile="production"))),
        (2, "trust-root.json"),
    ),
    "no trust root at all": (lambda folder: folder.remove("trust-root.json"), (1, "trust-root.json")),
    "no genesis at all": (lambda folder: folder.remove("genesis.json"), (1, "genesis.json")),
    "no entries at all": (lambda folder: folder.remove("entries.jsonl"), (1, "entries.jsonl")),
    "another prev": (lambda folder: folder.reindex(prev="00" * 32), (4, "the start")),
    "prev of another length": (lambda folder: folder.reindex(prev="00"), (1, "index.json")),
    "a frontier at the start": (lambda folder: folder.reindex(frontier=["00" * 32]), (1, "index.json")),
    "the index ends later": (lambda folder: folder.reindex(last=8), (11, "entry 8")),
    "the index ends earlier": (lambda folder: folder.reindex(last=6), (11, "entry 8")),
    "the index of another version": (lambda folder: folder.reindex(v=2), (1, "index.json")),
    "the index with a field more": (lambda folder: folder.reindex(sound=True), (1, "index.json")),
    "an unlisted file": (
        lambda folder: folder.write("policies/evil.cedar", b"permit", reindex=False),
        (1, "policies/evil.cedar"),
    ),
    "a listed file missing": (
        lambda folder: (folder.path / "policies/1/manifest.json").unlink(),
        (1, "policies/1/manifest.json"),
    ),
    "a file changed": (
        lambda folder: folder.write("policies/1/manifest.json", b"[]", reindex=False),
        (1, "policies/1/manifest.json"),
    ),
    "the index of an array for the files": (lambda folder: folder.reindex(files=[]), (1, "index.json")),
    "the index of an object for the frontier": (
        lambda folder: folder.reindex(frontier={}),
        (1, "index.json"),
    ),
    "the index ends at the last integer": (lambda folder: folder.reindex(last=2**53 - 1), (1, "index.json")),
    "a file outside the known folders": (lambda folder: folder.write("run.sh", b"#!"), (1, "index.json")),
    "a hidden file": (lambda folder: folder.write("policies/.hidden", b""), (1, "index.json")),
    "a blob under a false name": (
        lambda folder: folder.write("blobs/" + "0" * 64, b"x"),
        (1, "blobs/" + "0" * 64),
    ),
    "a checkpoint named 08": (
        lambda folder: folder.write("checkpoints/08.txt", folder.read("checkpoints/8.txt")),
        (1, "index.json"),
    ),
}


@pytest.mark.parametrize(
    ("attack", "expected"),
    [pytest.param(attack, expected, id=name) for name, (attack, expected) in ATTACKS.items()],
)
def test_attacks(bundle: Folder, attack: Attack, expected: tuple[int, str]) -> None:
    """Each attack is refused, at the step and the place that it touches."""
    attack(bundle)
    assert expected in findings(bundle)


RANGE_ATTACKS: dict[str, tuple[Attack, tuple[int, str]]] = {
    "another prev": (lambda folder: folder.reindex(prev="00" * 32), (10, "checkpoint 3")),
    "another frontier": (lambda folder: folder.reindex(frontier=["00" * 32] * 2), (10, "checkpoint 3")),
    "a frontier of another size": (lambda folder: folder.reindex(frontier=["00" * 32]), (1, "index.json")),
    "no checkpoint before it": (drop_checkpoint(3), (4, "the start")),
    "no checkpoint after it": (drop_checkpoint(8), (11, "entry 3")),
    "the first entry cut": (edit_lines(lambda lines: lines[1:]), (5, "entry 3")),
    "all entries cut": (edit_lines(lambda _: []), (1, "index.json")),
    "the last entry cut": (edit_lines(lambda lines: lines[:-1]), (11, "entry 7")),
    "data removed": (change_line(0, lambda line: line | {"data": None}), (7, "entry 3")),
    "said to be the whole": (lambda folder: folder.reindex(first=0, last=4, frontier=[]), (4, "the start")),
}


@pytest.mark.parametrize(
    ("attack", "expected"),
    [pytest.param(attack, expected, id=name) for name, (attack, expected) in RANGE_ATTACKS.items()],
)
def test_attacks_on_a_range(world: World, bundle: Folder, attack: Attack, expected: tuple[int, str]) -> None:
    """A range is as hard to change as the whole."""
    assert bundle.path.exists()
    part = world.write_bundle("part", first=3)
    attack(part)
    assert expected in findings(part)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/hostname",
        "policies/../../outside",
        "policies//x",
        "blobs/",
        "policies",
        "policies/" + "/".join("12345678"),
    ],
)
def test_step_1_paths_stay_inside(bundle: Folder, name: str) -> None:
    """An index that names a file outside the folder is refused before anything is opened."""
    (bundle.path.parent / "outside").write_bytes(b"secret")
    index = bundle.index()
    index["files"][name] = hashlib.sha256(b"secret").hexdigest()
    (bundle.path / "index.json").write_bytes(canonical(index))
    assert findings(bundle) == [(1, "index.json")]


@pytest.mark.parametrize(
    "name", ["entries.jsonl", "checkpoints/8.txt", "policies/1/manifest.json", "index.json"]
)
def test_step_1_links_and_pipes(bundle: Folder, name: str) -> None:
    """A symbolic link is refused though what it points at is right; a pipe does not make the auditor wait."""
    path = bundle.path / name
    outside = bundle.path.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    assert (1, name) in findings(bundle)
    path.unlink()
    os.mkfifo(path)
    assert (1, name) in findings(bundle)


def test_step_1_linked_folder(bundle: Folder) -> None:
    """A folder that is a link is refused as well."""
    moved = bundle.path.parent / "moved"
    (bundle.path / "checkpoints").rename(moved)
    (bundle.path / "checkpoints").symlink_to(moved, target_is_directory=True)
    assert (1, "checkpoints") in findings(bundle)


def test_step_11_checkpoints_lie_inside(world: World) -> None:
    """A genuine checkpoint of a state before the range says nothing about it and has no place in it."""
    world.append(0)
    early = world.check_point()
    world.append(1)
    world.check_point()
    world.append(2)
    world.check_point()
    part = world.write_bundle(first=2)
    part.write("checkpoints/1.txt", early.encode())
    assert findings(part) == [(11, "checkpoint 1")]


def test_reading_has_bounds(bundle: Folder) -> None:
    """A file is read up to its limit, and nothing is read from what is no file."""
    assert form.read(bundle.path, "policies/1/manifest.json", limit=2) == b"{}"
    with pytest.raises(form.BundleError, match="more than 1 bytes"):
        form.read(bundle.path, "policies/1/manifest.json", limit=1)
    os.mkfifo(bundle.path / "pipe")
    with pytest.raises(form.BundleError, match="regular"):
        form.read(bundle.path, "pipe")


def test_step_1_folders_inside_each_other(world: World, bundle: Folder) -> None:
    """Eight names make a path, with its folder's."""
    assert bundle.path.exists()
    deep = world.write_bundle("deep", files={"policies/" + "/".join("1234567"): b"{}"})
    assert len(verify(deep.path, trust_root()).unproven) == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("genesis.json", id="the bundle's own"),
        pytest.param("checkpoints/3.txt", id="a checkpoint"),
        pytest.param("run.sh", id="outside the folders"),
        pytest.param("policies/.hidden", id="hidden"),
        pytest.param("policies/../x", id="out of its folder"),
        pytest.param("blobs/" + "0" * 64, id="a blob under another digest"),
    ],
)
def test_files_that_no_bundle_takes(world: World, bundle: Folder, name: str) -> None:
    """A document that readers would refuse, or take for the ledger's, is not written, nor anything else."""
    assert bundle.path.exists()
    with pytest.raises(form.BundleError):
        world.write_bundle("other", files={name: b"{}"})
    assert not (world.folder / "other").exists()


def test_lines_have_bounds(bundle: Folder) -> None:
    """A line of the largest size is read whole; nothing is read behind a longer one."""
    longest = b"x" * (form.LINE_MAX - 1) + b"\n"
    bundle.write("entries.jsonl", longest + b"next\n", reindex=False)
    assert list(form.lines(bundle.path)) == [longest, b"next\n"]
    bundle.write("entries.jsonl", b"x" + longest + b"next\n", reindex=False)
    assert list(form.lines(bundle.path)) == [b"x" + longest]


def test_an_older_bundle_is_sound(bundle: Folder) -> None:
    """The stated limit: a whole older state verifies; that it is older, only another memory knows."""
    bundle.remove("checkpoints/8.txt")
    bundle.write_lines(bundle.lines()[:3])
    assert verify(bundle.path, trust_root()).size == 3


def test_a_ledger_of_ones_own(tmp_path: Path) -> None:
    """A ledger that is flawless under the attacker's keys is refused under the auditor's."""
    own = trust_root(checkpoint_keys={SERVICE: public("mallory").hex()})
    forger = World(tmp_path, trust=own)
    forger.append(0, 1)
    forger.ledger.record_checkpoint(
        checkpoint.sign(forger.state(), SERVICE, public("mallory"), key("mallory").sign)
    )
    folder = forger.write_bundle()
    forger.ledger.close()
    assert verify(folder.path, own).size == 2
    assert findings(folder) == [
        (2, "genesis.json"),
        (2, "trust-root.json"),
        (3, "checkpoint 2"),
        (11, "entry 0"),
    ]


def lie(folder: Path, *entries: Entry) -> Folder:
    """Write the bundle of a service that signs what it must not."""
    trust = canonical(trust_root())
    genesis = Genesis(ledger_id="example", created=START, trust_root=hashlib.sha256(trust).digest())
    frontier, h, chained = Frontier(), genesis.hash(), []
    for entry in entries:
        data = None if entry.data is None else canonical(entry.data)
        linked = Entry.read(entry.head, data=data, salt=entry.salt, prev=h)
        frontier.append(linked.leaf)
        h = linked.h
        chained.append(linked)
    state = Checkpoint(ORIGIN, frontier.size, frontier.root(), h)
    note = checkpoint.sign(state, SERVICE, public(SERVICE), key(SERVICE).sign)
    form.write(
        folder / "lie",
        genesis=genesis.encode(),
        trust_root=trust,
        prev=genesis.hash(),
        frontier=Frontier(),
        entries=chained,
        checkpoints={state.size: note},
        files={},
    )
    return Folder(folder / "lie")


def entry(number: int, *, seq: int | None = None, seconds: int = 0) -> Entry:
    """Return an entry whose place in the chain is still open."""
    time = START + timedelta(seconds=seconds)
    salt = next(itertools.islice(salts(), number, None))
    return Entry.write(
        event(number), seq=number if seq is None else seq, time=time, salt=salt, prev=bytes(32)
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry(0), entry(0, seq=1)], [(9, "entry 1")], id="a name twice"),
        pytest.param([entry(0, seconds=1), entry(1)], [(9, "entry 1")], id="time goes back"),
        pytest.param([entry(0), entry(2)], [(5, "entry 1"), (11, "entry 2")], id="a number left out"),
        pytest.param([entry(1)], [(5, "entry 0"), (11, "entry 1")], id="no entry 0"),
    ],
)
def test_a_lying_service(tmp_path: Path, entries: list[Entry], expected: list[tuple[int, str]]) -> None:
    """What the service signed is refused if it breaks the rules of a ledger."""
    assert verify(lie(tmp_path, entry(0), entry(1)).path, trust_root()).size == 2
    shutil.rmtree(tmp_path / "lie")
    assert findings(lie(tmp_path, *entries)) == expected


def test_a_redaction_without_an_entry_for_it(tmp_path: Path) -> None:
    """Data cannot be taken away, even by the service."""
    kept = entry(0)
    bare = Entry.read(kept.head, data=None, salt=None, prev=bytes(32))
    assert findings(lie(tmp_path, bare)) == [(7, "entry 0")]


def test_witnesses_are_demanded(tmp_path: Path) -> None:
    """Where the trust root wants a witness, the service alone is not enough."""
    strict = trust_root(witnesses={"ann": public("ann").hex()}, witness_quorum=1)
    world = World(tmp_path, trust=strict)
    world.append(0)
    alone = world.check_point()
    world.ledger.record_checkpoint(checkpoint.cosign(alone, "ann", public("ann"), key("ann").sign, at=START))
    folder = world.write_bundle()
    world.ledger.close()
    assert verify(folder.path, strict).checkpoints == (1,)
    folder.write("checkpoints/1.txt", alone.encode())
    assert findings(folder, strict) == [(3, "checkpoint 1"), (11, "entry 0")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a bundle of three entries under checkpoints at 1 and 3, for harm that is undone at once."""
    world = World(tmp_path_factory.mktemp("small"))
    world.append(0)
    world.check_point()
    world.append(1, 2)
    world.check_point()
    folder = world.write_bundle()
    world.ledger.close()
    return folder


def flips(raw: bytes) -> list[tuple[int, bytes]]:
    """Return (place, changed bytes) for a flipped bit in every byte, and in some the bit of case."""
    masks = [(place, 1 << place % 8) for place in range(len(raw))]
    masks += [(place, 0x20) for place in range(0, len(raw), 5)]
    return [(place, raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]) for place, mask in masks]


@pytest.mark.parametrize("adapted", [False, True], ids=["the index as it was", "the index adapted"])
def test_every_flipped_byte_of_the_entries(small: Folder, adapted: bool) -> None:  # noqa: FBT001 - a parameter
    """A flipped bit in any byte is refused, and the finding names the entry; with the index adapted too."""
    raw = small.read("entries.jsonl")
    index = small.read("index.json")
    for place, changed in flips(raw):
        small.write("entries.jsonl", changed, reindex=adapted)
        named = findings(small)
        number = raw.count(b"\n", 0, place)
        assert any(step > 1 and where == f"entry {number}" for step, where in named), (place, named)
        assert adapted or (1, "entries.jsonl") in named
    (small.path / "entries.jsonl").write_bytes(raw)
    (small.path / "index.json").write_bytes(index)
    assert verify(small.path, trust_root()).size == 3


@pytest.mark.parametrize("size", [1, 3])
def test_every_flipped_byte_of_a_checkpoint(small: Folder, size: int) -> None:
    """A flipped bit in any byte of a checkpoint is refused, and the finding names the checkpoint."""
    name = f"checkpoints/{size}.txt"
    raw = small.read(name)
    for _, changed in flips(raw):
        small.write(name, changed)
        assert (3, f"checkpoint {size}") in findings(small)
    small.write(name, raw)
    assert verify(small.path, trust_root()).checkpoints == (1, 3)


@pytest.mark.parametrize("name", ["index.json", "genesis.json", "trust-root.json"])
def test_every_flipped_byte_of_the_rest(small: Folder, name: str) -> None:
    """A flipped bit in the other files is refused, the index adapted or not."""
    raw, index = small.read(name), small.read("index.json")
    for _, changed in flips(raw):
        small.write(name, changed, reindex=False)
        assert findings(small)
        if name != "index.json":
            small.reindex()
            assert findings(small)
        (small.path / "index.json").write_bytes(index)
    small.write(name, raw, reindex=False)
    assert verify(small.path, trust_root()).size == 3


def test_findings_have_an_end(bundle: Folder) -> None:
    """A bundle of nothing but faults gives a long report, not an endless one."""
    bundle.write("entries.jsonl", b"\n" * (FINDINGS_MAX + 100))
    assert len(findings(bundle)) == FINDINGS_MAX


def test_the_bundles_words_do_not_reach_the_terminal(bundle: Folder) -> None:
    """Names of files cannot forge a line of the report."""
    (bundle.path / "x\nsound: \x1b[2J\udcff").write_bytes(b"")
    assert (1, "x\\nsound: \\x1b[2J\\udcff") in findings(bundle)
    assert verifier.plain("größer, 'quoted' \\ as it is") == "größer, 'quoted' \\ as it is"


BAD_TRUST_ROOTS: dict[str, Any] = {
    "no object": [],
    "version 2": trust_root(v=2),
    "no ledger id": trust_root(ledger_id=""),
    "a number as ledger id": trust_root(ledger_id=1),
    "no origin": trust_root(origin=None),
    "an origin with a space": trust_root(origin="a b"),
    "no checkpoint key": trust_root(checkpoint_keys={}),
    "keys as a list": trust_root(checkpoint_keys=[public(SERVICE).hex()]),
    "a key in capitals": trust_root(checkpoint_keys={SERVICE: public(SERVICE).hex().upper()}),
    "a short key": trust_root(checkpoint_keys={SERVICE: "00"}),
    "a name with a space": trust_root(checkpoint_keys={"a b": public(SERVICE).hex()}),
    "no witnesses": {name: value for name, value in trust_root().items() if name != "witnesses"},
    "no quorum": trust_root(witness_quorum=None),
    "true as quorum": trust_root(witness_quorum=True, witnesses={"ann": public("ann").hex()}),
    "a quorum out of reach": trust_root(witness_quorum=1),
    "a negative quorum": trust_root(witness_quorum=-1),
    "one key twice": trust_root(witnesses={"ann": public("ann").hex(), "anna": public("ann").hex()}),
    "the service as witness": trust_root(witnesses={"ann": public(SERVICE).hex()}),
    "a witness under the service's name": trust_root(witnesses={SERVICE: public("ann").hex()}),
}


@pytest.mark.parametrize("trust", [pytest.param(trust, id=name) for name, trust in BAD_TRUST_ROOTS.items()])
def test_refused_trust_roots(bundle: Folder, trust: Any) -> None:
    """Under a malformed trust root nothing is verified at all."""
    with pytest.raises(TrustRootError):
        verify(bundle.path, trust)


def test_a_trust_root_from_a_file(bundle: Folder) -> None:
    """The trust root may be a file; a missing one is no fault of the bundle."""
    path = bundle.path.parent / "mine.json"
    path.write_bytes(canonical(trust_root()))
    assert verify(bundle.path, path).size == verify(str(bundle.path), str(path)).size == 8
    path.write_text(json.dumps(trust_root()), encoding="utf-8")
    with pytest.raises(TrustRootError):
        verify(bundle.path, path)
    with pytest.raises(FileNotFoundError):
        verify(bundle.path, bundle.path.parent / "missing.json")
    with pytest.raises(NotADirectoryError):
        verify(bundle.path / "index.json", trust_root())


def test_steps_are_those_of_the_rule_book() -> None:
    """Each step has its number in the module's docstring."""
    for step in Step:
        assert f"({step})" in (verifier.__doc__ or "")
