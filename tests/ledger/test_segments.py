"""Segments: sealed once, verified apart and joined; whatever is changed shows, and nothing crashes."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from distributed import Client, LocalCluster

from ledger import merkle, segments
from ledger.encoding import INTEGER_MAX, canonical
from ledger.merkle import Frontier
from ledger.ranges import CompactRange
from ledger.segments import Joined, Manifest, SegmentError, UnsoundError, Verified, Verifier
from ledger.tally import COLUMNS, Row, Tally
from ledger.tally_polars import SCHEMA
from tests.ledger.test_tally import PLACE, Edit, altered, changed, flipped, headed, resealed, set_columns
from tests.ledger.world import World

VERIFIERS: list[Verifier] = ["hashlib", "sql", "polars"]
BORDERS = [(0, 4), (5, 7), (8, 11)]
SIZE = 12
NAMES = [f"segment {first:012}-{last:012}" for first, last in BORDERS]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's snapshot of twelve entries."""
    world = World(tmp_path_factory.mktemp("world"))
    for number in range(SIZE):
        world.append(number)
    path = world.folder / "snapshot.duckdb"
    world.ledger.snapshot(path)
    world.ledger.close()
    return path


@pytest.fixture(scope="module")
def rows(snapshot: Path) -> list[Row]:
    """The rows of the snapshot."""
    with duckdb.connect(snapshot, read_only=True) as database:
        found: list[Any] = database.execute("select * from entry order by seq").fetchall()
    return found


@pytest.fixture(scope="module")
def sealed(snapshot: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments, for reading only."""
    folder = tmp_path_factory.mktemp("sealed")
    for first, last in BORDERS:
        seal(snapshot, folder, rows, first, last)
    return folder


@pytest.fixture
def folder(sealed: Path, tmp_path: Path) -> Path:
    """Three segments in the attacker's hands."""
    copy = tmp_path / "segments"
    shutil.copytree(sealed, copy)
    for path in copy.iterdir():
        path.chmod(0o644)
    return copy


def seal(snapshot: Path, folder: Path, rows: list[Row], first: int, last: int) -> Manifest:
    """Seal rows of the snapshot."""
    with duckdb.connect(snapshot, read_only=True) as database:
        return segments.write(database, folder, **claims(rows, first, last))


def claims(rows: list[Row], first: int, last: int) -> dict[str, Any]:
    """Return what a manifest of these rows says."""
    root = merkle.root(leaves(rows[: last + 1]))
    prev, h = rows[first][PLACE["prev"]], rows[last][PLACE["h"]]
    return {"first": first, "last": last, "root": root, "first_prev": prev, "last_h": h}


def leaves(rows: list[Row]) -> list[Any]:
    """Return the leaves of rows."""
    return [row[PLACE["leaf"]] for row in rows]


def genesis(rows: list[Row]) -> bytes:
    """Return the h before the first row."""
    prev: Any = rows[0][PLACE["prev"]]
    return prev


def forge(folder: Path, number: int, rows: list[Row], **changes: Any) -> None:
    """Write a segment's rows and a manifest that fits them, as an attacker would who owns the folder."""
    first, last = BORDERS[number]
    path = folder / f"{first:012}-{last:012}.parquet"
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(path)
    claim(folder, number, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), **changes)


def claim(folder: Path, number: int, **changes: Any) -> None:
    """Change fields of a manifest."""
    first, last = BORDERS[number]
    path = folder / f"{first:012}-{last:012}.json"
    path.write_bytes(canonical(json.loads(path.read_bytes()) | changes))


def forge_all(folder: Path, rows: list[Row]) -> None:
    """Replace the whole ledger by another one whose every hash is right."""
    for number, (first, last) in enumerate(BORDERS):
        said = claims(rows, first, last)
        changes = {name: said[name].hex() for name in ("root", "first_prev", "last_h")}
        forge(folder, number, rows[first : last + 1], **changes)


def verify(folder: Path, rows: list[Row], verifier: Verifier = "hashlib", **options: Any) -> Joined:
    """Verify a folder of the ledger that these rows begin."""
    start: dict[str, Any] = {"executor": None, "genesis_hash": genesis(rows), "verifier": verifier}
    return segments.verify(folder, **start | options)


def findings(folder: Path, rows: list[Row], verifier: Verifier, **options: Any) -> set[tuple[int, str]]:
    """Return the steps and places that a verification complains about."""
    with pytest.raises(UnsoundError) as caught:
        verify(folder, rows, verifier, **options)
    return {(finding.step, finding.place) for finding in caught.value.findings}


def state(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def verified(rows: list[Row], size: int) -> Verified:
    """Return what a verification of the first rows establishes."""
    frontier = Frontier()
    for leaf in leaves(rows[:size]):
        frontier.append(leaf)
    h: Any = rows[size - 1][PLACE["h"]]
    return Verified(size=size, hashes=frontier.hashes, h=h)


@contextmanager
def dask() -> Iterator[Executor]:
    """Lend the executor of a cluster of two processes."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@contextmanager
def spawned() -> Iterator[Executor]:
    """Lend two processes that share nothing with this one."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


# --- sound -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_sound_segments(verifier: Verifier, sealed: Path, rows: list[Row]) -> None:
    """Sound segments lead to the ledger's head, and to a state from which a later verification goes on."""
    found = verify(sealed, rows, verifier)
    assert (found.first, found.size, found.h) == (0, SIZE, rows[-1][PLACE["h"]])
    assert found.root == merkle.root(leaves(rows)) == found.verified.root
    assert found.verified == verified(rows, SIZE)
    assert found.redacted == ()


@pytest.mark.parametrize(
    "lend", [spawned, dask, lambda: ThreadPoolExecutor(3)], ids=["processes", "dask", "threads"]
)
def test_any_executor(lend: Any, sealed: Path, rows: list[Row], folder: Path) -> None:
    """Whoever runs the workers, sound segments are sound, and unsound ones are not."""
    forge(folder, 1, changed(0, data="{}")(rows[5:8]))
    with lend() as executor:
        assert verify(sealed, rows, "polars", executor=executor) == verify(sealed, rows)
        assert findings(folder, rows, "sql", executor=executor) == {(3, "entry 5")}


def test_workers_that_die(sealed: Path, rows: list[Row]) -> None:
    """Segments that nobody lived to examine are not sound."""
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=os._exit, initargs=(1,)
    ) as executor:
        assert findings(sealed, rows, "hashlib", executor=executor) == {(2, name) for name in NAMES}


def test_nothing_sealed(tmp_path: Path, rows: list[Row]) -> None:
    """A folder without segments leads to the genesis; one that is not there leads nowhere."""
    found = verify(tmp_path, rows)
    assert (found.size, found.root, found.h) == (0, merkle.EMPTY, genesis(rows))
    with pytest.raises(SegmentError):
        verify(tmp_path / "absent", rows)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_redacted_entries_are_listed(verifier: Verifier, folder: Path, rows: list[Row]) -> None:
    """Entries without data are sound, and each segment says which they are."""
    gone = [set_columns(row, data=None, salt=None) for row in rows]
    forge(folder, 1, [rows[5], *gone[6:8]])
    forge(folder, 2, gone[8:])
    found = verify(folder, rows, verifier)
    assert [(one.first_seq, one.count, one.seqs) for one in found.redacted] == [
        (5, 2, (6, 7)),
        (8, 4, (8, 9, 10, 11)),
    ]
    assert found.root == merkle.root(leaves(rows))


# --- going on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 8, 12])
def test_going_on(size: int, sealed: Path, rows: list[Row]) -> None:
    """A verification that goes on from an earlier one comes to the same head."""
    found = verify(sealed, rows, since=Verified.parse(verified(rows, size).encode()))
    assert (found.first, found.verified) == (size, verify(sealed, rows).verified)


def test_going_on_leaves_out_what_was_before(folder: Path, rows: list[Row]) -> None:
    """What lies before the start is not read, so that only the manifests of old segments are needed."""
    (folder / f"{0:012}-{4:012}.parquet").write_bytes(b"")
    assert verify(folder, rows, since=verified(rows, 5)).size == SIZE
    assert findings(folder, rows, "hashlib") == {(2, f"segment {0:012}-{4:012}")}


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        pytest.param(lambda rows: verified(rows, 6), (1, "the folder"), id="no segment begins there"),
        pytest.param(lambda rows: verified(rows * 2, 13), None, id="beyond the last segment"),
        pytest.param(
            lambda rows: Verified(size=5, hashes=verified(rows, 5).hashes, h=bytes(32)),
            (4, f"segment {5:012}-{7:012}"),
            id="another h",
        ),
        pytest.param(
            lambda rows: Verified(size=5, hashes=(bytes(32), bytes(32)), h=verified(rows, 5).h),
            (5, f"segment {5:012}-{7:012}"),
            id="another tree",
        ),
    ],
)
def test_going_on_from_elsewhere(since: Any, expected: Any, sealed: Path, rows: list[Row]) -> None:
    """Segments that do not follow what was established are not sound; beyond them there is nothing to say."""
    if expected is None:
        assert verify(sealed, rows, since=since(rows)).size == 13
    else:
        assert expected in findings(sealed, rows, "hashlib", since=since(rows))


# --- hostile rows and manifests ----------------------------------------------------------------------------


def in_rows(number: int, edit: Edit, **manifest: Any) -> Any:
    """Edit the rows of one segment, and make its manifest name the file."""

    def attack(folder: Path, rows: list[Row]) -> None:
        first, last = BORDERS[number]
        forge(folder, number, edit(list(rows[first : last + 1])), **manifest)

    return attack


def in_manifest(number: int, **changes: Any) -> Any:
    """Change one manifest."""
    return lambda folder, _: claim(folder, number, **changes)


def in_ledger(edit: Edit) -> Any:
    """Edit the rows, make every hash and manifest follow."""
    return lambda folder, rows: forge_all(folder, resealed(edit(list(rows))))


def renamed(place: int, other: int) -> Edit:
    """Give one entry the name of another, in column and head."""

    def edit(rows: list[Row]) -> list[Row]:
        name: Any = rows[other][PLACE["id"]]
        return headed(place, id=name)(changed(place, id=name)(rows))

    return edit


def retimed(place: int, time: str, ts_us: int) -> Edit:
    """Give one entry another time, in column and head."""
    return lambda rows: headed(place, time=time)(changed(place, ts_us=ts_us)(rows))


ATTACKS = [
    pytest.param(in_rows(1, changed(1, data="{}")), {(3, "entry 6")}, id="another payload"),
    pytest.param(in_rows(1, changed(1, source="/desk/2")), {(3, "entry 6")}, id="another column"),
    pytest.param(in_rows(0, altered(4, h=flipped)), {(3, "entry 4"), (4, NAMES[0])}, id="another last h"),
    pytest.param(in_rows(1, altered(0, prev=flipped)), {(3, "entry 5")}, id="another first prev"),
    pytest.param(
        in_rows(1, lambda rows: rows[:-1]), {(2, NAMES[1])}, id="the last row gone, as the metadata says"
    ),
    pytest.param(in_rows(1, lambda rows: rows[1:]), {(2, NAMES[1])}, id="the first row gone"),
    pytest.param(in_rows(1, lambda _: []), {(2, NAMES[1])}, id="all rows gone"),
    pytest.param(in_rows(1, lambda rows: [*rows, rows[0]]), {(2, NAMES[1])}, id="a row too many"),
    pytest.param(
        in_rows(1, lambda rows: rows[::-1]),
        {(3, "entry 5"), (3, "entry 6"), (4, NAMES[1]), (5, NAMES[1]), (5, NAMES[2])},
        id="backwards",
    ),
    pytest.param(in_manifest(1, sha256="00" * 32), {(2, NAMES[1])}, id="another digest"),
    pytest.param(in_manifest(1, root="00" * 32), {(5, NAMES[1])}, id="another root"),
    pytest.param(in_manifest(2, root="00" * 32), {(5, NAMES[2])}, id="another last root"),
    pytest.param(in_manifest(1, first_prev="00" * 32), {(3, "entry 5"), (4, NAMES[1])}, id="another start"),
    pytest.param(in_manifest(1, last_h="00" * 32), {(4, NAMES[1]), (4, NAMES[2])}, id="another end"),
    pytest.param(in_manifest(2, last_h="00" * 32), {(4, NAMES[2])}, id="another end of all"),
    pytest.param(
        lambda folder, rows: [
            in_manifest(0, root="00" * 32)(folder, rows),
            in_rows(2, changed(0, data="{}"))(folder, rows),
        ],
        {(5, NAMES[0]), (3, "entry 8")},
        id="two segments at once",
    ),
    pytest.param(in_ledger(renamed(9, 8)), {(3, "entry 9")}, id="a name twice in a segment"),
    pytest.param(in_ledger(renamed(9, 3)), {(6, "entry 9")}, id="a name twice in the ledger"),
    pytest.param(
        in_ledger(lambda rows: renamed(5, 4)(renamed(11, 5)(rows))),
        {(6, "entry 5")},
        id="names twice in the ledger",
    ),
    pytest.param(
        in_ledger(retimed(5, "2026-11-21T01:02:03.000004Z", 1795222923000004)),
        {(4, NAMES[1])},
        id="time goes back between segments",
    ),
    pytest.param(
        in_ledger(retimed(6, "2026-11-21T01:02:03.000004Z", 1795222923000004)),
        {(3, "entry 6")},
        id="time goes back in a segment",
    ),
    pytest.param(
        lambda folder, rows: forge_all(folder, resealed(changed(0, prev=bytes(32))(list(rows)))),
        {(4, NAMES[0])},
        id="another ledger's chain",
    ),
]


@pytest.mark.parametrize(("attack", "expected"), ATTACKS)
def test_attacks(attack: Any, expected: set[tuple[int, str]], folder: Path, rows: list[Row]) -> None:
    """Every attack is found at its place."""
    attack(folder, rows)
    before = state(folder)
    assert findings(folder, rows, "hashlib") == expected
    assert state(folder) == before


def test_one_time_on_both_sides_of_a_border(folder: Path, rows: list[Row]) -> None:
    """Entries of one batch have one time, and may stand in two segments."""
    time = json.loads(str(rows[4][PLACE["head"]]))["time"]
    ts_us: Any = rows[4][PLACE["ts_us"]]
    forge_all(folder, retimed(5, time, ts_us)(list(rows)))
    assert verify(folder, rows).size == SIZE


def test_a_name_twice_in_two_segments(folder: Path, rows: list[Row]) -> None:
    """Two segments are enough to hold a name twice."""
    forge_all(folder, renamed(11, 5)(list(rows)))
    assert findings(folder, rows, "hashlib", since=verified(rows, 5)) == {(6, "entry 11")}


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_each_verifier_finds_the_same(verifier: Verifier, folder: Path, rows: list[Row]) -> None:
    """Faults in three segments at once are the same findings, whoever looks."""
    for number, edit in enumerate([changed(1, data="{}"), altered(2, h=flipped), changed(3, id="event-8")]):
        in_rows(number, edit)(folder, rows)
    expected = {(3, "entry 1"), (3, "entry 7"), (4, NAMES[1]), (3, "entry 11")}
    assert findings(folder, rows, verifier) == expected


def test_what_segments_cannot_show(folder: Path, rows: list[Row]) -> None:
    """A cut tail, or another ledger that is whole, shows in the head only: compare it with a checkpoint."""
    for path in folder.glob(f"{8:012}-*"):
        path.unlink()
    assert verify(folder, rows).size == 8


# --- hostile files -----------------------------------------------------------------------------------------


def small(folder: Path) -> tuple[Path, Manifest]:
    """Return the file of the smallest segment and its manifest."""
    first, last = BORDERS[1]
    path = folder / f"{first:012}-{last:012}.parquet"
    return path, Manifest.parse(path.with_suffix(".json").read_bytes())


def test_any_flipped_bit(folder: Path, rows: list[Row]) -> None:
    """A file with a flipped bit is not the one that the manifest names."""
    path, manifest = small(folder)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + flipped(whole[place : place + 1]) + whole[place + 1 :])
        found = segments.examine(str(path), manifest.encode(), "sql")
        assert found == "is not the file that its manifest names"
    assert findings(folder, rows, "sql") == {(2, NAMES[1])}


class HalfBlind(ThreadPoolExecutor):
    """A worker that leaves a row out of what it reports."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Report one row less of the second segment."""
        future: Future[Any] = Future()
        found = fn(*args, **kwargs)
        future.set_result(replace(found, rows=2) if found.first_seq == BORDERS[1][0] else found)
        return future


def test_a_worker_that_reports_too_few_rows(folder: Path, rows: list[Row]) -> None:
    """What a worker counted must be what the manifest claims, also where it found no fault."""
    with HalfBlind(1) as pool:
        assert (2, NAMES[1]) in findings(folder, rows, "hashlib", executor=pool)
    assert verify(folder, rows).size == len(rows)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_any_flipped_bit_under_a_fitting_manifest(verifier: Verifier, folder: Path, rows: list[Row]) -> None:
    """A flipped bit either leaves every value as it was, or is a fault, or makes the file unreadable."""
    path, manifest = small(folder)
    whole, sound = path.read_bytes(), segments.examine(str(path), manifest.encode(), verifier)
    assert isinstance(sound, Tally)
    kinds = set()
    for place in range(7, len(whole), 197):
        spoilt = whole[:place] + flipped(whole[place : place + 1]) + whole[place + 1 :]
        path.write_bytes(spoilt)
        claim(folder, 1, sha256=hashlib.sha256(spoilt).hexdigest())
        found = segments.examine(str(path), path.with_suffix(".json").read_bytes(), verifier)
        kinds.add("unreadable" if isinstance(found, str) else "faulty" if found.faults else "the same")
        assert isinstance(found, str) or found.faults or found == sound
        assert isinstance(found, str) or found.faults or pl.read_parquet(path).rows() == rows[5:8]
    assert kinds == {"unreadable", "faulty", "the same"}


FILES: list[Any] = [
    pytest.param(lambda _: b"", id="empty"),
    pytest.param(lambda whole: whole[:-1], id="cut by a byte"),
    pytest.param(lambda whole: whole[: len(whole) // 2], id="cut in half"),
    pytest.param(lambda whole: whole + b"\0", id="a byte too many"),
    pytest.param(lambda whole: bytes(len(whole)), id="zeros"),
    pytest.param(lambda _: b"PAR1" + b"\xff" * 64 + b"PAR1", id="a footer of garbage"),
    pytest.param(lambda whole: whole[:-8] + b"\xff\xff\xff\x7fPAR1", id="a footer larger than the file"),
    pytest.param(
        lambda whole: whole.replace(b"subject", b"subj\xff\xfet"), id="a column name that is not UTF-8"
    ),
    pytest.param(lambda whole: whole.replace(b"subject", b"sUbject"), id="a column name in capitals"),
]


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("change", FILES)
def test_no_parquet(
    change: Callable[[bytes], bytes], verifier: Verifier, folder: Path, rows: list[Row]
) -> None:
    """A file that is no segment is a finding, and the others are verified all the same."""
    path, _ = small(folder)
    path.write_bytes(change(path.read_bytes()))
    claim(folder, 1, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    claim(folder, 2, first_prev="00" * 32)
    assert findings(folder, rows, verifier) >= {(2, NAMES[1]), (4, NAMES[2])}


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_large_row_groups(
    monkeypatch: pytest.MonkeyPatch, folder: Path, rows: list[Row], verifier: Verifier
) -> None:
    """Row groups that would fill a reader's memory are not read, by none of the verifiers."""
    monkeypatch.setattr(segments, "ROW_GROUP", 5)
    assert verify(folder, rows, verifier).size == SIZE
    monkeypatch.setattr(segments, "ROW_GROUP", 2)
    assert findings(folder, rows, verifier) == {(2, name) for name in NAMES}


def test_how_large_a_row_group_is(monkeypatch: pytest.MonkeyPatch, folder: Path, rows: list[Row]) -> None:
    """The largest row group may have as many bytes as the limit says, and not one more."""
    sizes = {}
    with duckdb.connect() as database:
        for name in NAMES:
            path = {"path": str(folder / f"{name.removeprefix('segment ')}.parquet")}
            ((_, _, sizes[name]),) = database.execute(segments.SELECT_GROUPS, path).fetchall()
    largest = max(sizes.values())
    monkeypatch.setattr(segments, "ROW_GROUP_MAX", largest)
    assert verify(folder, rows).size == SIZE
    monkeypatch.setattr(segments, "ROW_GROUP_MAX", largest - 1)
    assert findings(folder, rows, "hashlib") >= {(2, name) for name in NAMES if sizes[name] == largest}


FOLDERS: list[Any] = [
    pytest.param(lambda folder: (folder / "notes.txt").write_bytes(b""), id="a stray file"),
    pytest.param(lambda folder: (folder / "0-4.parquet").write_bytes(b""), id="a name of other digits"),
    pytest.param(lambda folder: (folder / f"{12:012}-{13:012}.csv").write_bytes(b""), id="another kind"),
    pytest.param(lambda folder: (folder / f"{12:012}-{13:012}.parquet").mkdir(), id="a folder"),
    pytest.param(
        lambda folder: (folder / f"{12:012}-{13:012}.parquet").write_bytes(b""), id="rows without manifest"
    ),
    pytest.param(lambda folder: relink(folder / f"{5:012}-{7:012}.parquet"), id="rows behind a link"),
    pytest.param(lambda folder: relink(folder / f"{5:012}-{7:012}.json"), id="a manifest behind a link"),
    pytest.param(lambda folder: (folder / f"{5:012}-{7:012}.parquet").unlink(), id="a manifest without rows"),
    pytest.param(
        lambda folder: [path.unlink() for path in folder.glob(f"{5:012}-*")], id="the middle segment gone"
    ),
    pytest.param(
        lambda folder: [path.unlink() for path in folder.glob(f"{0:012}-*")], id="the first segment gone"
    ),
    pytest.param(lambda folder: move(folder, (5, 7), (5, 8)), id="renamed"),
    pytest.param(lambda folder: move(folder, (5, 7), (4, 7), first_seq=4), id="an overlap before"),
    pytest.param(lambda folder: move(folder, (5, 7), (5, 8), last_seq=8), id="an overlap after"),
    pytest.param(lambda folder: move(folder, (5, 7), (6, 7), first_seq=6), id="a gap"),
    pytest.param(lambda folder: (folder / f"{5:012}-{7:012}.json").write_bytes(b""), id="an empty manifest"),
    pytest.param(
        lambda folder: (folder / f"{5:012}-{7:012}.json").write_bytes(b" " * 5000), id="a long manifest"
    ),
]


def relink(path: Path) -> None:
    """Put a link in the place of a file."""
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def move(folder: Path, old: tuple[int, int], new: tuple[int, int], **changes: int) -> None:
    """Rename a segment's files and perhaps change its manifest."""
    for kind in ("parquet", "json"):
        (folder / f"{old[0]:012}-{old[1]:012}.{kind}").rename(folder / f"{new[0]:012}-{new[1]:012}.{kind}")
    path = folder / f"{new[0]:012}-{new[1]:012}.json"
    path.write_bytes(canonical(json.loads(path.read_bytes()) | changes))


@pytest.mark.parametrize("change", FOLDERS)
def test_other_folders(change: Callable[[Path], object], folder: Path, rows: list[Row]) -> None:
    """A folder that holds anything but segments which follow each other is not sound."""
    change(folder)
    assert findings(folder, rows, "hashlib") == {(1, "the folder")}


# --- sealing -----------------------------------------------------------------------------------------------


def test_what_is_sealed(sealed: Path, rows: list[Row]) -> None:
    """Sealed files cannot be written, hold the rows as they are, and nothing else is left in the folder."""
    assert {path.stat().st_mode & 0o777 for path in sealed.iterdir()} == {0o444}
    assert len(list(sealed.iterdir())) == 2 * len(BORDERS)
    assert [(one.first_seq, one.last_seq) for one in segments.read_manifests(sealed)] == BORDERS
    frames = [pl.read_parquet(sealed / f"{first:012}-{last:012}.parquet") for first, last in BORDERS]
    assert list(frames[0].columns) == list(COLUMNS)
    assert list(itertools.chain(*(frame.rows() for frame in frames))) == rows


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"first_prev": bytes(32)}, id="another first prev"),
        pytest.param({"last_h": bytes(32)}, id="another last h"),
        pytest.param({"last": 12}, id="more than there is"),
        pytest.param({"first": 9}, id="a start that does not fit"),
        pytest.param({"first": 11, "last": 8}, id="the end before the start"),
        pytest.param({"first": -1}, id="a start below 0"),
        pytest.param({"last": 10**12}, id="an end beyond twelve digits"),
        pytest.param({"root": b""}, id="an empty root"),
    ],
)
def test_not_sealed(changes: Any, snapshot: Path, rows: list[Row], tmp_path: Path) -> None:
    """What is not as the caller says is refused, and the folder stays as it was."""
    seal(snapshot, tmp_path, rows, 0, 4)
    before = state(tmp_path)
    with duckdb.connect(snapshot, read_only=True) as database, pytest.raises(SegmentError):
        segments.write(database, tmp_path, **claims(rows, 8, 11) | changes)
    assert state(tmp_path) == before


def test_nothing_is_sealed_twice(snapshot: Path, rows: list[Row], tmp_path: Path) -> None:
    """A segment that is there is not written again, not even as it is."""
    seal(snapshot, tmp_path, rows, 0, 4)
    before = state(tmp_path)
    with pytest.raises(SegmentError, match="exists"):
        seal(snapshot, tmp_path, rows, 0, 4)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "edit", ["delete from entry where seq = 6", "insert into entry from entry where seq = 6"]
)
def test_rows_that_do_not_follow_are_not_sealed(
    edit: str, snapshot: Path, rows: list[Row], tmp_path: Path
) -> None:
    """A table with a row missing or twice is not sealed."""
    folder = tmp_path / "segments"
    folder.mkdir()
    shutil.copy(snapshot, tmp_path / "copy.duckdb")
    with duckdb.connect(tmp_path / "copy.duckdb") as database:
        database.execute(edit)
        with pytest.raises(SegmentError, match="rows"):
            segments.write(database, folder, **claims(rows, 5, 7))
    assert state(folder) == {}


def test_a_folder_that_cannot_be_written(snapshot: Path, rows: list[Row], tmp_path: Path) -> None:
    """Without a folder nothing is sealed."""
    with pytest.raises(SegmentError):
        seal(snapshot, tmp_path / "absent", rows, 0, 4)
    assert state(tmp_path) == {}


@pytest.mark.parametrize(
    "left",
    [
        pytest.param({"parquet.draft": 100}, id="half the rows"),
        pytest.param({"parquet.draft": None}, id="the rows"),
        pytest.param({"parquet.draft": None, "json.draft": 10}, id="the rows and half the manifest"),
        pytest.param({"parquet.draft": None, "json.draft": None}, id="both drafts"),
        pytest.param({"parquet": None, "json.draft": None}, id="the rows under their name"),
    ],
)
def test_an_interrupted_sealing(
    left: dict[str, int | None], sealed: Path, snapshot: Path, rows: list[Row], folder: Path
) -> None:
    """Wherever sealing was interrupted, there is no segment, and sealing again makes it."""
    name = f"{8:012}-{11:012}"
    for kind in ("parquet", "json"):
        (folder / f"{name}.{kind}").unlink()
    for kind, length in left.items():
        path = folder / f"{name}.{kind}"
        path.write_bytes((sealed / f"{name}.{kind.removesuffix('.draft')}").read_bytes()[:length])
        path.chmod(0o444)
    assert verify(folder, rows).size == 8
    seal(snapshot, folder, rows, 8, 11)
    assert state(folder) == state(sealed)
    assert verify(folder, rows).size == SIZE


# --- documents ---------------------------------------------------------------------------------------------

MANIFEST = {
    "v": 1,
    "first_seq": 0,
    "last_seq": 4,
    "sha256": "01" * 32,
    "root": "02" * 32,
    "first_prev": "03" * 32,
    "last_h": "04" * 32,
}
VERIFIED = {"v": 1, "size": 3, "hashes": ["01" * 32, "02" * 32], "h": "03" * 32}


def wrong(document: dict[str, Any], *more: Any) -> list[Any]:
    """Return the ways to spoil a document that every parser must refuse."""
    hashes = [name for name, value in document.items() if isinstance(value, str)]
    counts = [name for name, value in document.items() if isinstance(value, int) and name != "v"]
    spoilt = [(f"{name} is missing", {k: v for k, v in document.items() if k != name}) for name in document]
    spoilt += [
        (f"{name} is {value!r}", document | {name: value})
        for name in document
        for value in (None, [[]], True)
    ]
    spoilt += [
        (f"{name} is {value[:5]} of {len(value)}", document | {name: value})
        for name in hashes
        for value in ("", "01" * 31, "01" * 33, "AB" * 32, "zz" * 32)
    ]
    spoilt += [
        (f"{name} is {value!r}", document | {name: value})
        for name in counts
        for value in (-1, "1", 2**53 - 1)
    ]
    spoilt += [
        ("an unknown field", document | {"x": 1}),
        ("v is 2", document | {"v": 2}),
        ("a list", [document]),
    ]
    good = canonical(document)
    raw = [("a space", good + b" "), ("empty", b""), ("nothing", b"null"), ("twice", good * 2)]
    raw += [("a float", good.replace(b'"v":1', b'"v":1.0')), ("too long", good[:-1] + b" " * 9000 + b"}")]
    raw += [("a key twice", good.replace(b'"v":1', b'"v":1,"v":1')), *more]
    return [
        pytest.param(one if isinstance(one, bytes) else canonical(one), id=name)
        for name, one in (*spoilt, *raw)
    ]


@pytest.mark.parametrize("raw", wrong(MANIFEST, ("backwards", canonical(MANIFEST | {"first_seq": 5}))))
def test_no_manifest(raw: bytes) -> None:
    """A manifest has one spelling and no other fields."""
    with pytest.raises(SegmentError):
        Manifest.parse(raw)


@pytest.mark.parametrize("raw", wrong(VERIFIED, ("other bits", canonical(VERIFIED | {"size": 4}))))
def test_not_verified(raw: bytes) -> None:
    """What was established has one spelling, and as many hashes as its size has bits."""
    with pytest.raises(SegmentError):
        Verified.parse(raw)


def test_documents_come_back() -> None:
    """Manifests and states are read as they were written."""
    for kind, document in ((Manifest, MANIFEST), (Verified, VERIFIED)):
        assert kind.parse(canonical(document)).encode() == canonical(document)
    assert Verified.parse(canonical(VERIFIED)).root == CompactRange(0, 3, (b"\1" * 32, b"\2" * 32)).root()


@pytest.mark.parametrize("name", ["missing", "file"])
def test_no_folder(tmp_path: Path, rows: list[Row], name: str) -> None:
    """Where no folder is nothing is unsound: there is nothing to verify."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SegmentError) as caught:
        verify(tmp_path / name, rows)
    assert type(caught.value) is SegmentError


def test_the_smallest_and_the_last_segment() -> None:
    """A segment holds one row at least, and twelve digits are enough for its last one."""
    last = 10**12 - 1
    for first, rows in ((last, 1), (0, last + 1)):
        made = Manifest.parse(canonical(MANIFEST | {"first_seq": first, "last_seq": last}))
        assert (made.rows, made.name) == (rows, f"{first:012}-{last:012}")


def test_the_largest_state() -> None:
    """As many entries as JSON's integers can count are a state, with fifty-three hashes."""
    largest = Verified(size=INTEGER_MAX, hashes=(bytes(32),) * 53, h=bytes(32))
    assert Verified.parse(largest.encode()) == largest


def test_the_start_is_a_hash() -> None:
    """A state whose h is no hash cannot be made."""
    with pytest.raises(SegmentError):
        Verified(size=0, hashes=(), h=b"")
