"""The audit finds everything, and only its verdict raises: on sound bundles and on lies of all kinds."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger import checkpoint
from ledger.encoding import canonical, parse
from ledger.merkle import EMPTY
from ledger.timestamp import Stamped
from ledger.trust import TrustRootError
from tests.audit.world import (
    ANCHORED,
    EVIDENCE,
    INCLUSION,
    SIZE,
    WITNESSES,
    Desk,
    Draft,
    event,
    name_of,
    noted,
    rewritten,
)
from tests.ledger.world import Folder
from tests.rules import build
from workbench.audit import rows, show
from workbench.audit.head import Head, HeadError
from workbench.audit.integrity import Audit, AuditError, Fault, NotSoundError, audit, first_place
from workbench.service import record

Attack = Callable[[Folder], None]
Copy = Callable[[], Folder]
NOWHERE = "0x" + "ab" * 32
TABLES = (
    show.verification,
    show.tallies,
    show.continuity,
    show.checkpoints,
    show.anchors,
    show.redactions,
    show.evidence,
    show.quality,
    show.activity,
    show.faults,
)


def head_at(desk: Desk, size: int) -> Head:
    """Return the ledger's head after so many entries, as a report printed it."""
    if size == 0:
        return Head(0, EMPTY, desk.ledger.genesis.hash())
    states = [checkpoint.split(note)[0] for note in desk.ledger.checkpoints()]
    return next(Head(state.size, state.root, state.chain) for state in states if state.size == size)


def snapshot(folder: Folder) -> dict[str, bytes]:
    """Return every file of a bundle."""
    paths = [path for path in folder.path.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def text(audited: Audit) -> str:
    """Return everything that the tables show."""
    return "".join(table(audited).markup for table in TABLES)


@pytest.fixture(scope="module")
def sound(desk: Desk, genuine: Folder) -> Audit:
    """The audit of the genuine bundle."""
    return audit(genuine.path, desk.trust_root)


def test_sound(desk: Desk, sound: Audit) -> None:
    """A genuine bundle is sound, and the audit says of what."""
    assert sound.verdict() == "sound"
    assert sound.faults == ()
    assert sound.head == head_at(desk, SIZE)
    assert [(each.name, each.root) for each in sound.tallies] == [
        (name, sound.report.root) for name in ("hashlib", "sql", "polars")
    ]
    assert len({each.tally for each in sound.tallies}) == 1
    assert sound.compared is None
    assert [(each.size, len(each.witnesses), each.problem) for each in sound.checkpoints] == [
        (5, 2, ""),
        (9, 2, ""),
        (12, 2, ""),
    ]
    assert [(each.anchored.size, each.seen) for each in sound.anchors] == [(ANCHORED, None)]
    assert [(each.seq, each.by) for each in sound.report.redacted] == [(2, 10)]
    assert (sound.cited, sound.missing) == (2, ())
    assert all(each.passed for each in sound.quality.expected)
    assert sum(each.number for each in sound.activities.counts) == SIZE


@pytest.mark.parametrize(
    ("size", "proof"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(5, 5, id="an earlier checkpoint"),
        pytest.param(9, 4, id="the one before the last"),
        pytest.param(12, 0, id="the same bundle"),
    ],
)
def test_extends_the_previous_report(desk: Desk, genuine: Folder, size: int, proof: int) -> None:
    """A bundle extends every earlier head of its ledger."""
    audited = audit(genuine.path, desk.trust_root, previous=head_at(desk, size).text)
    assert audited.verdict() == "sound"
    assert audited.compared is not None
    assert len(audited.compared.proof or ()) == proof


def test_a_range(desk: Desk) -> None:
    """A range is sound, and extends the heads of its beginning and end."""
    part = desk.bundle("part", first=5, last=SIZE - 1)
    for size in (5, 9, 12):
        audited = audit(part.path, desk.trust_root, previous=head_at(desk, size).text)
        # The redaction names entry 2, which this range does not show; nothing in it lacks its data.
        assert audited.verdict() == "sound"
        assert audited.report.first == 5


def test_stamps_are_shown(sound: Audit) -> None:
    """The report says which authority says when, spelled so that it cannot draw on the page."""
    at = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
    stamped = Stamped(size=9, time=at, authority="tsa<b>", serial=255)
    shown = show.anchors(replace(sound, report=replace(sound.report, stamps=(stamped,)))).markup
    for words in ("Time-stamps", "tsa&lt;b&gt;", "2026-11-21 12:00:30 UTC", "ff"):
        assert words in shown
    assert "tsa<b>" not in shown


def test_blocks_that_were_seen(desk: Desk, genuine: Folder, sound: Audit) -> None:
    """An anchor whose block the auditor's own node has is said to be seen."""
    (anchor,) = sound.anchors
    audited = audit(genuine.path, desk.trust_root, blocks=[anchor.block])
    assert audited.verdict() == "sound"
    assert [each.seen for each in audited.anchors] == [True]


def test_the_head_is_read_back(sound: Audit) -> None:
    """What a report prints is what the next one takes."""
    assert sound.head is not None
    assert Head.parse(sound.head.text) == sound.head


def test_nothing_is_left_behind(
    desk: Desk, genuine: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit changes nothing in the bundle and leaves no file of its own."""
    before = snapshot(genuine)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audit(genuine.path, desk.trust_root)
    assert list(tmp_path.iterdir()) == []
    assert snapshot(genuine) == before


def flip(folder: Folder, *, reindex: bool = True) -> None:
    """Change a word of entry 5's data."""
    raw = folder.read("entries.jsonl").replace(b"approve", b"reprove")
    folder.write("entries.jsonl", raw, reindex=reindex)


def line(number: int, **changes: Any) -> Attack:
    """Change fields of one line."""

    def attack(folder: Folder) -> None:
        lines = folder.lines()
        lines[number] = canonical(parse(lines[number][:-1], limit=1 << 20) | changes) + b"\n"
        folder.write_lines(lines)

    return attack


def lines(change: Callable[[list[bytes]], list[bytes]], **index: Any) -> Attack:
    """Rearrange the lines."""
    return lambda folder: folder.write_lines(change(folder.lines()), **index)


def too_few(folder: Folder) -> None:
    """Let one witness stand for two."""
    state = checkpoint.split(folder.read("checkpoints/12.txt").decode())[0]
    folder.write("checkpoints/12.txt", noted(state, build.NOW, witnesses=WITNESSES[:1]).encode())


def forged_witness(folder: Folder) -> None:
    """Turn one bit of a witness's signature."""
    note = folder.read("checkpoints/12.txt").decode()
    at = note.index("witness-2") + 30
    other = "A" if note[at] != "A" else "B"
    folder.write("checkpoints/12.txt", (note[:at] + other + note[at + 1 :]).encode())


def bad_anchor(folder: Folder) -> None:
    """Say that the anchored block is another."""
    document = parse(folder.read("anchors/5.json"), limit=1 << 20)
    document["header"] = document["header"][:-2] + "00"
    folder.write("anchors/5.json", canonical(document | {"index": 2}, limit=1 << 20))


def hide(folder: Folder, name: str) -> None:
    """Take a file away and leave the index as it is."""
    (folder.path / name).unlink()


def mallory(folder: Folder) -> None:
    """Add a person to the policy set, with the digest that goes with it, unsigned."""
    document = parse(folder.read("policies/000001.json"), limit=1 << 20)
    people = document["files"]["people.json"].replace('"auditor-1"', '"mallory-1"', 1)
    digest = name_of(people.encode())
    document["files"]["people.json"] = people
    document["manifest"]["files"]["people.json"] = digest
    folder.write("policies/000001.json", canonical(document, limit=1 << 20))


ANCHOR_FILE, POLICY = "anchors/5.json", "policies/000001.json"
WRITERS: dict[str, tuple[Attack, int, str, str]] = {
    "a word of an entry is changed": (flip, 1, "entry 5", "do not give the datahash"),
    "and the index is not": (lambda folder: flip(folder, reindex=False), 1, "entries.jsonl", "sha256 is"),
    "the tail is cut off": (lines(lambda all_: all_[:-1]), 1, "entry 11", "checkpoint 12 covers 12"),
    "an entry is left out": (lines(lambda all_: all_[:4] + all_[5:], last=11), 1, "entry 4", "is missing"),
    "two entries change places": (
        lines(lambda all_: [*all_[:4], all_[5], all_[4], *all_[6:]]),
        2,
        "entry 4",
        "sequence: ",
    ),
    "a line is no line": (
        lines(lambda all_: [*all_[:4], b"{}\n", *all_[5:]]),
        1,
        "entry 4",
        "fields are not",
    ),
    "a head is no head": (line(4, head="{}"), 2, "entry 4", "head: "),
    "h is another": (line(4, h="00" * 32), 2, "entry 4", "chain: 2 rows"),
    "data is gone without a redaction": (
        line(6, data=None, salt=None),
        1,
        "entry 6",
        "no redaction names it",
    ),
    "there are no lines": (lines(lambda _: [], last=11), 2, "the tally by hashlib", "no rows to tally"),
    "a blob is gone": (
        lambda folder: folder.remove(f"blobs/{name_of(EVIDENCE)}"),
        6,
        "entry 6",
        f"its evidence is not in the bundle: blob {name_of(EVIDENCE)}",
    ),
    "another blob is gone": (
        lambda folder: folder.remove(f"blobs/{name_of(INCLUSION)}"),
        6,
        "entry 8",
        "its inclusion is not",
    ),
    "a blob is listed and gone": (
        lambda folder: hide(folder, f"blobs/{name_of(EVIDENCE)}"),
        1,
        f"blobs/{name_of(EVIDENCE)}",
        "but missing",
    ),
    "the newest checkpoint is gone": (
        lambda folder: folder.remove("checkpoints/12.txt"),
        1,
        "entry 9",
        "no valid checkpoint covers the entries 9 to 11",
    ),
    "the anchored checkpoint is gone": (
        lambda folder: folder.remove("checkpoints/5.txt"),
        1,
        ANCHOR_FILE,
        "no checkpoint of 5 entries counts",
    ),
    "too few witnesses": (too_few, 1, "checkpoint 12", "1 of 2 witnesses"),
    "a witness's signature is forged": (forged_witness, 1, "checkpoint 12", "does not verify"),
    "an anchor proves something else": (bad_anchor, 1, ANCHOR_FILE, "anchor: "),
    "the policy set is gone": (lambda folder: folder.remove(POLICY), 7, "policies", "0 policy sets"),
    "the policy set names another": (mallory, 7, "policies", "not the trust root's genesis set"),
    "the policy set is not JSON": (
        lambda folder: folder.write(POLICY, b"people"),
        7,
        "policies",
        "the policy sets do not count",
    ),
    "the index is gone": (lambda folder: hide(folder, "index.json"), 1, "index.json", "folder: "),
    "the index is not one": (
        lambda folder: folder.write("index.json", b"{}", reindex=False),
        1,
        "index.json",
        "fields are not",
    ),
    "the index begins far away": (
        lambda folder: folder.reindex(first=2**50, last=2**50 + 11, frontier=["00" * 32]),
        1,
        "the start",
        "no valid checkpoint",
    ),
    "the genesis is gone": (lambda folder: folder.remove("genesis.json"), 1, "genesis.json", "genesis: "),
}


@pytest.mark.parametrize("case", WRITERS)
def test_the_writer_lies(desk: Desk, copy: Copy, case: str) -> None:
    """Whatever the writer changes without the keys is found by its step, at its place, and shown."""
    attack, step, place, words = WRITERS[case]
    folder = copy()
    attack(folder)
    before = snapshot(folder)
    audited = audit(folder.path, desk.trust_root)
    found = [each for each in audited.faults if (each.step, each.place) == (step, place)]
    assert any(words in each.detail for each in found), audited.faults
    assert audited.head is None
    with pytest.raises(NotSoundError, match=r"^not sound, first at ") as caught:
        audited.verdict()
    assert caught.value.faults == audited.faults
    assert caught.value.place == first_place(audited.faults)
    assert place in text(audited)
    assert snapshot(folder) == before


def field(number: int, **changes: Any) -> Callable[[Draft], None]:
    """Change the head of one entry."""
    return lambda drafts: drafts[number]["head"].update(changes)


def one_officer(drafts: Draft) -> None:
    """Take one of the two signatures off the redaction."""
    data = parse(drafts[10]["data"])
    data["signatures"].popitem()
    drafts[10]["data"] = canonical(data)


def same_name(drafts: Draft) -> None:
    """Give entry 7 the name of entry 3."""
    drafts[7]["head"] |= {name: drafts[3]["head"][name] for name in ("source", "id")}


def cite(**data: Any) -> Callable[[Draft], None]:
    """Let entry 6 say something else."""
    return lambda drafts: drafts[6].update(data=canonical(data))


INSIDERS: dict[str, tuple[Callable[[Draft], None], list[int], str, str]] = {
    "time goes back": (field(7, time="2026-11-21T12:00:00.000001Z"), [1, 2, 7], "entry 7", "clock"),
    "a name stands twice": (same_name, [1, 2, 7], "entry 7", "name: 1 rows"),
    "a type that nobody knows": (field(7, type="transaction.undone"), [7], "entry 7", "type known: 1 rows"),
    "a type that begins like a known one": (
        field(7, type="policy.adopted.not"),
        [7],
        "entry 7",
        "type known",
    ),
    "a type in other letters": (field(7, type="Policy.Adopted"), [7], "entry 7", "type known"),
    "an actor whom nobody knows": (field(5, actor="mallory-1"), [7], "entry 5", "actor known: 1 rows"),
    "a witness acts": (field(5, actor="witness-1"), [7], "entry 5", "actor known"),
    "an actor in other letters": (field(5, actor="Risk-1"), [7], "entry 5", "actor known"),
    "one officer redacts": (one_officer, [1], "entry 2", "1 of 2 redaction keys"),
    "a blob that is not there": (cite(evidence="00" * 32), [6], "entry 6", "its evidence"),
    "a blob that is no name": (cite(evidence=["blob"]), [6], "entry 6", "blob ['blob']"),
    "a blob outside": (cite(inclusion="../entries.jsonl"), [6], "entry 6", "its inclusion"),
    "no evidence at all": (cite(evidence=None), [6], "entry 6", "blob None"),
}


@pytest.mark.parametrize("case", INSIDERS)
def test_the_insider_lies(desk: Desk, copy: Copy, case: str) -> None:
    """What was signed and cosigned by everybody is still judged, and by the steps that can see it."""
    edit, steps, place, words = INSIDERS[case]
    folder = copy()
    rewritten(edit)(folder)
    audited = audit(folder.path, desk.trust_root)
    with pytest.raises(NotSoundError) as caught:
        audited.verdict()
    assert caught.value.place == place
    assert any(each.place == place and words in each.detail for each in audited.faults), audited.faults
    assert sorted({each.step for each in audited.faults}) == steps


def test_what_the_insider_need_not_hide(desk: Desk, copy: Copy) -> None:
    """Rewriting everything with all keys is sound by itself: only an earlier head gives it away."""
    folder = copy()
    rewritten(cite(evidence=name_of(EVIDENCE), note="never happened"))(folder)
    assert audit(folder.path, desk.trust_root).verdict() == "sound"
    audited = audit(folder.path, desk.trust_root, previous=head_at(desk, 9).text)
    with pytest.raises(NotSoundError, match="does not extend the tree of 9"):
        audited.verdict()


def older(desk: Desk) -> Folder:
    """Return a sound bundle of nine entries."""
    path = desk.folder / "older"
    return Folder(path) if path.exists() else desk.bundle("older", last=8, first=5)


COMPARED: dict[str, tuple[str, Callable[[Head], Head], str, str]] = {
    "an older bundle": ("older", lambda head: head, "entry 9", "has 9 entries, the earlier report had 12"),
    "a fork by the root": (
        "bundle",
        lambda head: Head(head.size, bytes(32), head.h),
        "the previous head",
        "need equal",
    ),
    "a fork by the chain": (
        "bundle",
        lambda head: Head(head.size, head.root, bytes(32)),
        "the previous head",
        "h after 12 entries",
    ),
    "a fork of the past": (
        "bundle",
        lambda head: Head(9, head.root, head.h),
        "the previous head",
        "does not extend the tree of 9",
    ),
    "a longer one": ("bundle", lambda head: Head(13, head.root, head.h), "entry 12", "had 13"),
    "another genesis": (
        "bundle",
        lambda _: Head(0, EMPTY, bytes(32)),
        "the previous head",
        "h after 0 entries",
    ),
    "a range that begins later": (
        "older",
        lambda _: Head(4, bytes(32), bytes(32)),
        "the previous head",
        "begins at entry 5, after the head of 4",
    ),
}


@pytest.mark.parametrize("case", COMPARED)
def test_what_the_previous_report_forbids(desk: Desk, genuine: Folder, sound: Audit, case: str) -> None:
    """A bundle that is sound by itself is not, if it does not extend the head that the auditor kept."""
    which, change, place, words = COMPARED[case]
    folder = older(desk) if which == "older" else genuine
    alone = audit(folder.path, desk.trust_root) if which == "older" else sound
    assert alone.verdict() == "sound"
    audited = audit(folder.path, desk.trust_root, previous=change(head_at(desk, SIZE)).text)
    (fault,) = audited.faults
    assert (fault.step, fault.place) == (3, place)
    assert words in fault.detail
    assert "DOES NOT EXTEND IT" in show.continuity(audited).markup
    with pytest.raises(NotSoundError):
        audited.verdict()


def test_another_trust_root(desk: Desk, genuine: Folder, tmp_path: Path) -> None:
    """Under another trust root nothing is sound, from the genesis on."""
    other = tmp_path / "trust-root.json"
    other.write_bytes(canonical(desk.trust | {"witness_quorum": 1}, limit=1 << 20))
    audited = audit(genuine.path, other)
    with pytest.raises(NotSoundError, match=r"\(1\) genesis.json: genesis: made under trust root"):
        audited.verdict()


def test_a_trust_root_that_is_not_a_desks(desk: Desk, genuine: Folder, tmp_path: Path) -> None:
    """What the ledger reads alone says nothing of people: nobody is known, and the suite fails."""
    other = tmp_path / "trust-root.json"
    bare = {name: value for name, value in desk.trust.items() if name != "cosigners"}
    other.write_bytes(canonical(bare, limit=1 << 20))
    faults = audit(genuine.path, other).faults
    assert any("is not a desk's" in each.detail for each in faults)
    assert any("actor known" in each.detail for each in faults)


BLOCKS: dict[str, tuple[Callable[[str], list[str]], list[tuple[int, str]]]] = {
    "another block": (lambda _: [NOWHERE], [(5, "anchor 5"), (5, f"block {NOWHERE}")]),
    "one more than there are": (lambda own: [own, NOWHERE], [(5, f"block {NOWHERE}")]),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks_that_do_not_fit(desk: Desk, genuine: Folder, sound: Audit, case: str) -> None:
    """Anchors in blocks that the auditor's node has not, and blocks without an anchor, are faults."""
    listed, expected = BLOCKS[case]
    audited = audit(genuine.path, desk.trust_root, blocks=listed(sound.anchors[0].block))
    assert [(each.step, each.place) for each in audited.faults] == expected


HEAD = '{"h":"' + "00" * 32 + '","root":"' + "00" * 32 + '","size":5}'
ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a head with a space": ({"previous": HEAD + " "}, HeadError),
    "a head in other letters": ({"previous": HEAD.replace("00", "AA", 1)}, HeadError),
    "a head of a negative size": ({"previous": HEAD.replace("5", "-5")}, HeadError),
    "a head whose size is a truth": ({"previous": HEAD.replace("5", "true")}, HeadError),
    "a head with a field too many": ({"previous": HEAD.replace("}", ',"v":1}')}, HeadError),
    "a head that is a list": ({"previous": "[]"}, HeadError),
    "a head of a megabyte": ({"previous": '"' + "a" * 2**20 + '"'}, HeadError),
    "a block without 0x": ({"blocks": ["ab" * 32]}, AuditError),
    "a block in capitals": ({"blocks": ["0x" + "AB" * 32]}, AuditError),
    "a block that is a number": ({"blocks": [19]}, AuditError),
    "blocks that are a text": ({"blocks": NOWHERE}, AuditError),
    "no folder": ({"bundle_path": "/nowhere"}, NotADirectoryError),
    "no trust root": ({"trust_root": "/nowhere"}, FileNotFoundError),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_are_refused(desk: Desk, genuine: Folder, case: str) -> None:
    """What is wrong with the auditor's own arguments raises at once: nothing was audited."""
    changes, error = ARGUMENTS[case]
    with pytest.raises(error):
        audit(**({"bundle_path": genuine.path, "trust_root": desk.trust_root} | changes))


def test_a_trust_root_that_is_none(genuine: Folder, tmp_path: Path) -> None:
    """A malformed trust root raises at once, too."""
    (tmp_path / "root").write_bytes(b"{}")
    with pytest.raises(TrustRootError):
        audit(genuine.path, tmp_path / "root")


def test_first_place() -> None:
    """The first place is the lowest entry that any fault names, else where the first fault stands."""
    faults = [Fault(1, "index.json", ""), Fault(1, "entry 12", ""), Fault(2, "entry 3", "")]
    assert first_place(faults) == "entry 3"
    assert first_place(faults[:1]) == "index.json"


def test_many_faults() -> None:
    """The message names twenty, and says how many there are."""
    error = NotSoundError([Fault(1, f"entry {number}", "x") for number in range(25)])
    assert str(error).startswith("not sound, first at entry 0: 25 faults: ")
    assert str(error).endswith("(1) entry 19: x; and 5 more")


def test_the_service_and_the_audit_agree() -> None:
    """What the service writes as a citation is what the audit follows."""
    assert rows.CITING == record.CITING


def test_one_event_has_one_name() -> None:
    """The fixtures' names depend on what is said: the store refuses two of one name."""
    assert event("a", "b").id != event("a", "c").id


def test_copies_are_apart(genuine: Folder, copy: Copy) -> None:
    """An attack on a copy leaves the genuine bundle alone."""
    before = snapshot(genuine)
    shutil.rmtree(copy().path)
    assert snapshot(genuine) == before
