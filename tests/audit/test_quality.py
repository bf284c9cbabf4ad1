"""The quality suite: each expectation bites, all fail closed, the docs ask the network for nothing."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import sync_playwright

from ledger.bundle import Index
from ledger.chain import Genesis
from tests.audit.world import SIZE, Desk
from tests.ledger.world import Folder
from workbench.audit import docs, suites
from workbench.audit.quality import LISTS, SUITE, examine
from workbench.audit.rows import written
from workbench.audit.suites import Quality, QualityError, Suite
from workbench.rules.lifecycle import PROPOSED_EVENT, Event

ACTORS = ("pm-1", "risk-1", "trader-1", "cro-1", "observer", "cosigner-1", "officer-a")
NAMES = [
    "entries",
    "head there",
    "leaf there",
    "h there",
    "actor there",
    "actor known",
    "type known",
    "sequence",
    "link",
    "leaf",
    "chain",
    "32 bytes",
    "clock",
    "name",
]


@pytest.fixture(scope="module")
def start(desk: Desk) -> bytes:
    """What the first row follows."""
    return desk.ledger.genesis.hash()


@pytest.fixture(scope="module")
def parquet(genuine: Folder) -> Iterator[Path]:
    """The rows of the genuine bundle."""
    index = Index.parse(genuine.read("index.json"))
    prev = Genesis.parse(genuine.read("genesis.json")).hash()
    with written(genuine.path, first=0, prev=prev, files=index.files.keys()) as rows:
        yield rows.path


def changed(parquet: Path, statement: str, target: Path) -> Path:
    """Return a copy of the rows after one SQL statement."""
    with duckdb.connect() as database:
        database.execute("create table entry as from read_parquet($path)", {"path": str(parquet)})
        database.execute(statement)
        database.execute("copy (from entry) to $path (format parquet)", {"path": str(target)}).fetchall()
    return target


def failed(quality: Quality) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return count and places of the expectations that were not met."""
    return {each.name: (each.unexpected, each.places) for each in quality.expected if not each.passed}


def test_genuine(parquet: Path, start: bytes) -> None:
    """Genuine rows meet every expectation, in the order of the file."""
    made = examine(parquet, first=0, prev=start, actors=ACTORS)
    assert [each.name for each in made.expected] == NAMES
    assert failed(made) == {}
    assert not any(each.problem for each in made.expected)


TOUCHED: dict[str, tuple[str, dict[str, tuple[int, tuple[int, ...]]]]] = {
    "no rows": ("delete from entry", {"entries": (0, ())}),
    "a row is gone": (
        "delete from entry where seq = 4",
        {"sequence": (7, (4, 5, 6, 7, 8)), "link": (1, (4,))},
    ),
    "a number stands twice": (
        "update entry set seq = 4 where seq = 5",
        {"sequence": (1, (5,)), "chain": (1, (5,))},
    ),
    "a number is missing": (
        "update entry set seq = null where seq = 5",
        {"sequence": (1, (5,)), "chain": (1, (5,))},
    ),
    "a negative number": (
        "update entry set seq = -1 where seq = 5",
        {"sequence": (1, (5,)), "chain": (1, (5,))},
    ),
    "prev is another": (
        "update entry set prev = unhex(repeat('00', 32)) where seq = 5",
        {"link": (1, (5,)), "chain": (1, (5,))},
    ),
    "the first prev is another": (
        "update entry set prev = unhex(repeat('00', 32)) where seq = 0",
        {"link": (1, (0,)), "chain": (1, (0,))},
    ),
    "prev is missing": (
        "update entry set prev = null where seq = 5",
        {"link": (1, (5,)), "chain": (1, (5,)), "32 bytes": (1, (5,))},
    ),
    "a leaf is another": (
        "update entry set leaf = unhex(repeat('00', 32)) where seq = 5",
        {"leaf": (1, (5,)), "chain": (1, (5,))},
    ),
    "a leaf is missing": (
        "update entry set leaf = null where seq = 5",
        {"leaf there": (1, (5,)), "leaf": (1, (5,)), "chain": (1, (5,)), "32 bytes": (1, (5,))},
    ),
    "a head is another": ("update entry set head = head || ' ' where seq = 5", {"leaf": (1, (5,))}),
    "a head is missing": (
        "update entry set head = null where seq = 5",
        {
            "head there": (1, (5,)),
            "actor there": (1, (5,)),
            "leaf": (1, (5,)),
        },
    ),
    "h is another": (
        "update entry set h = unhex(repeat('00', 32)) where seq = 5",
        {"chain": (1, (5,)), "link": (1, (6,))},
    ),
    "h is missing": (
        "update entry set h = null where seq = 11",
        {"h there": (1, (11,)), "chain": (1, (11,)), "32 bytes": (1, (11,))},
    ),
    "h is short": (
        "update entry set h = unhex('00') where seq = 11",
        {"chain": (1, (11,)), "32 bytes": (1, (11,))},
    ),
    "a salt is short": ("update entry set salt = unhex('00') where seq = 11", {"32 bytes": (1, (11,))}),
    "time goes back": ("update entry set ts_us = 0 where seq = 5", {"clock": (1, (5,))}),
    "time is missing": ("update entry set ts_us = null where seq = 5", {"clock": (2, (5, 6))}),
    "a type that is not known": (
        "update entry set type = 'desk.closed' where seq = 5",
        {"type known": (1, (5,))},
    ),
    "a known type with something before": (
        "update entry set type = 'not.policy.adopted' where seq = 5",
        {"type known": (1, (5,))},
    ),
    "a type with another sign for the point": (
        "update entry set type = 'policy-adopted' where seq = 5",
        {"type known": (1, (5,))},
    ),
    "a name stands twice": (
        "update entry set source = 's', id = 'i' where seq in (3, 5, 7)",
        {"name": (2, (5, 7))},
    ),
    "a stranger in the head": (
        "update entry set head = replace(head, 'risk-1', 'eve') where seq = 5",
        {"actor known": (1, (5,)), "leaf": (1, (5,))},
    ),
}


@pytest.mark.parametrize("case", TOUCHED)
def test_each_expectation_bites(parquet: Path, start: bytes, tmp_path: Path, case: str) -> None:
    """One thing that is wrong fails the expectations that are about it, with the places, and no other."""
    statement, expected = TOUCHED[case]
    rows = changed(parquet, statement, tmp_path / "rows.parquet")
    assert failed(examine(rows, first=0, prev=start, actors=ACTORS)) == expected


def test_places_begin_at_the_first(parquet: Path, tmp_path: Path) -> None:
    """Places are entries' numbers also where a file begins later."""
    rows = changed(parquet, "delete from entry where seq < 5", tmp_path / "rows.parquet")
    found = failed(examine(rows, first=5, prev=bytes(32), actors=ACTORS))
    assert found == {"link": (1, (5,))}


def test_who_is_known_is_told(parquet: Path, start: bytes) -> None:
    """People are given at run time; only the suite's own processes are known without."""
    found = failed(examine(parquet, first=0, prev=start, actors=()))
    assert set(found) == {"actor known"}
    count, places = found["actor known"]
    assert (count, len(places)) == (SIZE - 2, suites.SAMPLE)


def edited(change: Callable[[dict[str, Any]], object], target: Path) -> Path:
    """Return a copy of the suite with something changed."""
    document = json.loads(SUITE.read_text())
    change(document)
    target.write_text(json.dumps(document))
    return target


def query(text: str) -> Callable[[dict[str, Any]], object]:
    """Give the last expectation another query."""
    return lambda suite: suite["expectations"][-1].update(kwargs={"unexpected_rows_query": text})


RAISING: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a column that is not there": (query("select place from {batch} where nothing"), "name"),
    "a query that is none": (query("select from where {batch}"), "name"),
    "a regular expression that is none": (
        lambda suite: suite["meta"].update(types=["("]),
        "type known",
    ),
}


@pytest.mark.parametrize("case", RAISING)
def test_what_raises_has_failed(parquet: Path, start: bytes, tmp_path: Path, case: str) -> None:
    """An expectation that cannot be computed is not met, and says why in one line."""
    change, name = RAISING[case]
    suite = edited(change, tmp_path / "suite.json")
    made = examine(parquet, first=0, prev=start, actors=ACTORS, suite=suite)
    bad = {each.name: each.problem for each in made.expected if not each.passed}
    assert name in bad
    # The library computes some of them together: what shares a broken statement fails with it.
    assert all(problem.startswith("it raised: ") and "\n" not in problem for problem in bad.values())


def test_what_is_not_answered_has_failed(parquet: Path, start: bytes, tmp_path: Path) -> None:
    """The library logs that it does not know a type, leaves it out and goes on: that is not met."""
    change = {"type": "expect_luck"}
    suite = edited(lambda document: document["expectations"][1].update(change), tmp_path / "suite.json")
    made = examine(parquet, first=0, prev=start, actors=ACTORS, suite=suite)
    (bad,) = [each for each in made.expected if not each.passed]
    assert (bad.name, bad.problem) == ("head there", "the library did not answer for it")


MALFORMED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no expectations": lambda suite: suite.update(expectations=[]),
    "no types": lambda suite: suite["meta"].update(types=[]),
    "an empty list of processes": lambda suite: suite["meta"].update(processes=[]),
    "no processes": lambda suite: suite["meta"].pop("processes"),
    "no name of its own": lambda suite: suite.pop("name"),
    "no meta": lambda suite: suite.pop("meta"),
    "a name twice": lambda suite: suite["expectations"].append(suite["expectations"][0]),
    "no words": lambda suite: suite["expectations"][0]["meta"].update(says=""),
    "no name": lambda suite: suite["expectations"][0]["meta"].pop("name"),
    "expectations that are a number": lambda suite: suite.update(expectations=7),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_suite_that_is_refused(tmp_path: Path, case: str) -> None:
    """A malformed suite raises before anything runs."""
    with pytest.raises(QualityError):
        Suite.read(edited(MALFORMED[case], tmp_path / "suite.json"), lists=LISTS)


UNRUNNABLE: dict[str, Callable[[dict[str, Any]], object]] = {
    "an argument that it does not take": lambda suite: suite["expectations"][1]["kwargs"].update(luck=1),
    "an argument that is missing": lambda suite: suite["expectations"][1].update(kwargs={}),
    "a parameter that nobody gives": lambda suite: suite["expectations"][5]["kwargs"].update(
        value_set={"$PARAMETER": "strangers"}
    ),
}


@pytest.mark.parametrize("case", UNRUNNABLE)
def test_a_suite_that_does_not_run(parquet: Path, start: bytes, tmp_path: Path, case: str) -> None:
    """A suite that the library does not take raises: no result could be taken for a good one."""
    suite = edited(UNRUNNABLE[case], tmp_path / "suite.json")
    with pytest.raises(QualityError):
        examine(parquet, first=0, prev=start, actors=ACTORS, suite=suite)


def test_no_suite(tmp_path: Path) -> None:
    """A file that is not there, or is no JSON, raises."""
    (tmp_path / "none.json").write_text("{")
    for name in ("none.json", "nothing.json"):
        with pytest.raises(QualityError):
            Suite.read(tmp_path / name)


def test_no_rows_file(tmp_path: Path, start: bytes) -> None:
    """A file that is no Parquet raises."""
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(duckdb.Error):
        examine(tmp_path / "rows.parquet", first=0, prev=start, actors=ACTORS)


@pytest.mark.parametrize("kind", [PROPOSED_EVENT, *(event.value for event in Event)])
def test_the_desks_own_types_are_known(kind: str) -> None:
    """Every type that the desk's lifecycle writes stands in the suite."""
    assert any(re.fullmatch(pattern, kind) for pattern in Suite.read(SUITE, lists=LISTS).lists["types"])


@pytest.mark.parametrize(
    "kind", ["external.", "external.A", "ledger.checkpoint", "intent.", "transaction.sign"]
)
def test_types_that_are_not_known(kind: str) -> None:
    """What only resembles a type of the desk's is not one."""
    assert not any(re.fullmatch(pattern, kind) for pattern in Suite.read(SUITE, lists=LISTS).lists["types"])


@pytest.fixture(scope="module")
def pages(parquet: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The Data Docs of rows in which one actor is not known."""
    folder = tmp_path_factory.mktemp("docs")
    prev = bytes(32)
    assert failed(examine(parquet, first=0, prev=prev, actors=ACTORS[1:], docs=folder))
    return sorted(folder.rglob("*.html"))


def test_the_docs_ask_for_nothing(pages: list[Path]) -> None:
    """A browser opens every page without one request, script or complaint, narrow and wide."""
    assert len(pages) == 3
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme, width in (("light", 1280), ("dark", 420)):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            for path in pages:
                asked: list[str] = []
                said: list[str] = []
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.on("console", lambda message, said=said: said.append(message.text))
                page.goto(path.as_uri())
                assert set(asked) == {path.as_uri()}
                assert said == []
                assert page.evaluate("document.scripts.length") == 0
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()


def test_the_docs_say_it_in_words(pages: list[Path]) -> None:
    """The pages say what is expected and what was found, and link each other and nothing else."""
    text = "".join(path.read_text() for path in pages)
    for each in Suite.read(SUITE).expectations:
        assert each["meta"]["says"].replace("'", "&#39;") in text or each["meta"]["says"] in text
    assert "http" not in re.sub(r'http-equiv="', "", text)
    assert {path.name for path in pages[0].parents[1].iterdir()} >= {"index.html"}
    assert not list(pages[0].parents[1].rglob("*.gif"))


PAGES = {
    "a script": '<head></head><script src="https://x/y.js">a</script>',
    "a script that does not end well": "<head></head><SCRIPT>a</SCRIPT >",
    "a style sheet": '<head><link rel="stylesheet" href="https://x/y.css"></head>',
    "a style with a picture": "<head><style>a{background:url(https://x/y.png)}</style></head>",
    "a picture": '<head></head><img src="https://x/y.png">',
    "a handler": "<head></head><p onclick=\"go('https://x')\">a</p>",
    "a link": '<head></head><a href="https://x">a</a>',
    "a link without a scheme": '<head></head><a href="//x">a</a>',
}


@pytest.mark.parametrize("case", PAGES)
def test_what_is_taken_out_of_a_page(case: str) -> None:
    """Nothing of it is left, and the policy stands before everything."""
    page = docs.offline(PAGES[case])
    assert page.startswith('<head><meta http-equiv="Content-Security-Policy"')
    assert not re.search(r"//x|<script|onclick", page, re.IGNORECASE)
