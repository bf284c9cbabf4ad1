"""Rows and charts: what a bundle's lines become, also hostile ones, and how they are drawn over time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import sync_playwright

from ledger import bundle
from ledger.bundle import Line
from ledger.encoding import canonical, parse
from ledger.entry import leaf_of
from ledger.tally import COLUMNS
from tests.audit.world import SIZE, Desk, event
from tests.ledger.world import Folder
from tests.rules import build
from workbench.audit import charts, rows
from workbench.audit.rows import KINDS_MAX, MISSING_MAX, REST, Activities, Activity, written
from workbench.runner import notebook

START = bytes(32)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def read(
    folder: Folder, *, files: frozenset[str] = frozenset()
) -> tuple[list[tuple[object, ...]], rows.Rows]:
    """Return the rows of a bundle, and what was seen while they were written."""
    with written(folder.path, first=0, prev=START, files=files) as made, duckdb.connect() as database:
        found = database.execute("from read_parquet($path)", {"path": str(made.path)})
        assert [column[0] for column in found.description or ()] == list(COLUMNS)
        return found.fetchall(), made


def test_genuine(desk: Desk, genuine: Folder) -> None:
    """Every line is a row in its place; prev is the h before, the first follows what it is told."""
    found, made = read(genuine)
    entries = list(desk.ledger.entries())
    assert [(row[0], row[9], row[11]) for row in found] == [(each.seq, each.leaf, each.h) for each in entries]
    assert [row[10] for row in found] == [START, *(each.h for each in entries[:-1])]
    assert [row[7] is None for row in found] == [seq == 2 for seq in range(SIZE)]
    assert (made.count, made.cited, made.unlisted) == (SIZE, 2, 2)


def test_the_file_goes_away(genuine: Folder) -> None:
    """The rows live as long as the context."""
    with written(genuine.path, first=0, prev=START, files=()) as made:
        assert made.path.exists()
    assert not made.path.parent.exists()


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "no line": lambda _: b"{}\n",
    "no JSON": lambda _: b"\xff\xfe\n",
    "a line without its end in the middle": lambda raw: raw[:-1] + b" \n",
    "another spelling": lambda raw: raw.replace(b'{"data"', b'{ "data"'),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_line_that_cannot_be_read(copy: Callable[[], Folder], case: str) -> None:
    """It leaves a row of NULLs, and every other row in its place; the next follows nothing."""
    folder = copy()
    lines = folder.lines()
    lines[4] = HOSTILE[case](lines[4])
    folder.write_lines(lines)
    found, _ = read(folder)
    assert len(found) == SIZE
    assert set(found[4]) == {None}
    assert found[5][0] == 5
    assert found[5][10] is None
    assert all(row[0] == seq for seq, row in enumerate(found) if seq != 4)


def test_a_head_that_cannot_be_read(copy: Callable[[], Folder]) -> None:
    """Its bytes are kept and hashed; what it would say is NULL."""
    folder = copy()
    lines = folder.lines()
    deep = "[" * 40 + "]" * 40
    lines[4] = canonical(parse(lines[4][:-1], limit=1 << 20) | {"head": deep}) + b"\n"
    folder.write_lines(lines)
    found, made = read(folder)
    assert found[4][0] == 4
    assert found[4][1:6] == (None,) * 5
    assert (found[4][6], found[4][9]) == (deep, leaf_of(deep.encode()))
    assert made.count == SIZE


def test_a_line_over_the_limit(copy: Callable[[], Folder]) -> None:
    """Reading ends with a line that is too long, and says so by a row of NULLs."""
    folder = copy()
    lines = folder.lines()
    lines[4] = b"x" * (bundle.LINE_MAX + 1) + b"\n"
    folder.write("entries.jsonl", b"".join(lines))
    found, _ = read(folder)
    assert len(found) == 5
    assert set(found[4]) == {None}


def test_no_entries_file(copy: Callable[[], Folder]) -> None:
    """Without entries there are no rows, no activity and no crash."""
    folder = copy()
    folder.remove("entries.jsonl")
    with written(folder.path, first=0, prev=START, files=()) as made:
        assert made.count == 0
        assert made.leaves() == []
        assert made.h(0) is None
        assert made.activities().counts == ()


def test_who_cites(copy: Callable[[], Folder]) -> None:
    """Only the desk's own entries cite; a person's events may say what they like."""
    folder = copy()
    found = [Line.parse(raw) for raw in folder.lines()]
    citing = [line.seq for line in found if line.data and b'"evidence":' in line.data]
    _, made = read(folder)
    assert citing == [6]
    assert [(each.seq, each.field) for each in made.missing] == [(6, "evidence"), (8, "inclusion")]
    _, whole = read(folder, files=frozenset(f"blobs/{each.name}" for each in made.missing))
    assert (whole.cited, whole.missing) == (2, ())


def test_many_that_cite_nothing() -> None:
    """All are counted, as many are listed as people read."""
    reading = rows._Reading(prev=START, files=())
    for number in range(MISSING_MAX + 5):
        reading.cite(number, "evidence", "x" * 200)
    assert (reading.cited, reading.unlisted, len(reading.missing)) == (1005, 1005, MISSING_MAX)
    assert len(reading.missing[0].name) == 80


SPANS = {
    timedelta(0): timedelta(minutes=1),
    timedelta(minutes=5): timedelta(minutes=1),
    timedelta(hours=1): timedelta(minutes=10),
    timedelta(hours=9): timedelta(hours=1),
    timedelta(days=30): timedelta(days=7),
    timedelta(days=365): timedelta(days=365),
}


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_stretches(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, span: timedelta) -> None:
    """However long the ledger ran, there are at most a hundred stretches, and every entry is in one."""
    desk = Desk(tmp_path / "desk", build.build(tmp_path_factory.mktemp("officers")), step=span)
    desk.append(*(event("external.note", "pm-1", {"n": number}) for number in range(11)))
    desk.check_point()
    with written(desk.bundle().path, first=0, prev=START, files=()) as made:
        found = made.activities()
    assert found.step == SPANS[span]
    assert sum(each.number for each in found.counts) == 11
    begins = [each.begin for each in found.counts]
    assert (max(begins) - min(begins)) / found.step < rows.BINS_MAX


def test_clocks_that_no_calendar_has(copy: Callable[[], Folder]) -> None:
    """A time at the end of the calendar is drawn at the edge, and does not stop the audit."""
    folder = copy()
    lines = folder.lines()
    for number, year in ((3, "0001"), (4, "9999")):
        line = parse(lines[number][:-1], limit=1 << 20)
        line["head"] = line["head"].replace('"time":"2026', f'"time":"{year}')
        lines[number] = canonical(line) + b"\n"
    folder.write_lines(lines)
    with written(folder.path, first=0, prev=START, files=()) as made:
        found = made.activities()
    assert sum(each.number for each in found.counts) == SIZE
    assert charts.strip("Entries", found, lambda each: each.type).markup.count("<svg") == 1


def test_many_kinds(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The most frequent types are told apart, the rest is one row."""
    desk = Desk(tmp_path / "desk", build.build(tmp_path_factory.mktemp("officers")))
    for number in range(20):
        desk.ledger.append(
            [event(f"external.kind-{number}", "pm-1", {"n": turn}) for turn in range(number + 1)]
        )
    desk.check_point()
    with written(desk.bundle().path, first=0, prev=START, files=()) as made:
        found = made.activities()
    kinds = {each.type for each in found.counts}
    assert kinds == {REST, *(f"external.kind-{number}" for number in range(20 - KINDS_MAX, 20))}
    assert sum(each.number for each in found.counts) == 210


def drawing(count: int, names: int, *, step: timedelta = timedelta(hours=1)) -> Activities:
    """Return so many stretches of so many names."""
    counts = [
        Activity(BEGIN + place * step, f"transaction.kind-{name}", "pm-1", place * name + 1)
        for place in range(count)
        for name in range(names)
    ]
    return Activities(step=step, counts=tuple(counts))


DRAWINGS = {
    "nothing": (Activities(step=timedelta(minutes=1), counts=()), "nothing."),
    "one entry": (drawing(1, 1), "1 transaction.kind-0"),
    "two far apart": (
        Activities(
            step=timedelta(days=365),
            counts=tuple(Activity(BEGIN.replace(year=year), "a.b", "pm-1", 1) for year in (1990, 2080)),
        ),
        "2 a.b",
    ),
    "full": (drawing(100, 13), "100 transaction.kind-0"),
    "steering signs": (
        Activities(step=timedelta(minutes=1), counts=(Activity(BEGIN, "a\u202eb<script>", "pm-1", 1),)),
        "1 ab&lt;script&gt;",
    ),
}


@pytest.mark.parametrize("case", DRAWINGS)
def test_drawn(tmp_path: Path, case: str) -> None:
    """Sparse or dense, a drawing fits a narrow page, names and numbers in full, without script or request."""
    found, words = DRAWINGS[case]
    markup = charts.strip("Entries by type", found, lambda each: each.type).markup
    assert words in markup
    assert "<script" not in markup
    head = notebook.HEAD % (notebook.CSP, notebook.STYLE)
    page = tmp_path / "page.html"
    page.write_text(
        f'<meta charset="utf-8">{head}<body><div class="jp-OutputArea-output">{markup}</div></body>'
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme, width in (("light", 1280), ("dark", 420)):
            shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            asked: list[str] = []
            shown.on("request", lambda request, asked=asked: asked.append(request.url))
            shown.goto(page.as_uri())
            assert asked == [page.as_uri()]
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            sizes = shown.evaluate(
                "[...document.querySelectorAll('svg text')].map(each => each.getBoundingClientRect())"
                ".map(box => [box.left, box.right, box.height])"
            )
            assert all(left >= 0 and right <= width and height >= 9 for left, right, height in sizes)
        browser.close()


def test_the_same_drawing_twice() -> None:
    """A drawing depends on nothing but what is drawn."""
    once, again = (charts.strip("t", drawing(7, 3), lambda each: each.type).markup for _ in range(2))
    assert once == again
