"""Quality of incident files: each expectation bites alone, with its rows; no shape, no result."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from workbench.audit import show
from workbench.audit.incident_quality import SUITE, examine
from workbench.audit.suites import Quality, QualityError, Suite
from workbench.risk.exposure.incidents import LOSS_MAX, IncidentClass, IncidentError, read

SHIPPED = Path(__file__).parents[2] / "policies" / "scenarios" / "incidents.csv"
TODAY = date(2026, 11, 27)
HEADER = "id,date,loss_usd,class,source"
ROWS = [
    "a,2021-02-03,1000000,keys,reports",
    "b,2021-12-31,2500000.50,contract,reports",
    "c,2022-01-01,,oracle,reports",
    "d,2023-06-01,0,governance,reports",
    "e,2023-06-02,0,insider,reports",
    "f,2024-02-29,10000000000000,other,reports",
    "g,2024-03-04,700,keys,reports",
]


def failed(quality: Quality) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return count and places of the expectations that were not met; none of them raised."""
    assert not any(each.problem for each in quality.expected)
    return {each.name: (each.unexpected, each.places) for each in quality.expected if not each.passed}


def csv(rows: list[str]) -> bytes:
    """Return a file of these rows."""
    return "\n".join([HEADER, *rows, ""]).encode()


def changed(place: int, row: str) -> list[str]:
    """Return the rows with one of them replaced."""
    return [*ROWS[:place], row, *ROWS[place + 1 :]]


BROKEN: dict[str, tuple[list[str], dict[str, tuple[int, tuple[int, ...]]]]] = {
    "nothing": (ROWS, {}),
    "no name": (changed(1, ",2021-12-31,5,keys,reports"), {"id": (1, (1,))}),
    "a name in capitals": (changed(1, "B,2021-12-31,5,keys,reports"), {"id": (1, (1,))}),
    "a name twice": (changed(6, "a,2024-03-04,700,keys,reports"), {"id once": (1, (6,))}),
    "no day": (changed(0, "a,,5,keys,reports"), {"day": (1, (0,))}),
    "a day that there was not": (changed(6, "g,2023-02-29,5,keys,reports"), {"day": (1, (6,))}),
    "a day in other words": (changed(6, "g,2024-3-4,5,keys,reports"), {"day": (1, (6,))}),
    "tomorrow": ([*ROWS, "h,2025-01-01,1,keys,r", "i,2026-11-28,2,keys,r"], {"not in the future": (1, (8,))}),
    "today": ([*ROWS, "h,2025-01-01,1,keys,r", "i,2026-11-27,2,keys,r"], {}),
    "a loss in words": (changed(6, "g,2024-03-04,a lot,keys,reports"), {"loss a number": (1, (6,))}),
    "a loss with an exponent": (changed(6, "g,2024-03-04,1e9,keys,reports"), {"loss a number": (1, (6,))}),
    "a loss with a sign": (changed(6, "g,2024-03-04,+5,keys,reports"), {"loss a number": (1, (6,))}),
    "a negative loss": (changed(6, "g,2024-03-04,-1,keys,reports"), {"loss not negative": (1, (6,))}),
    "a loss above all there is": (
        changed(5, "f,2024-02-29,10000000000000.01,other,reports"),
        {"loss possible": (1, (5,))},
    ),
    "a class that is not known": (changed(6, "g,2024-03-04,5,magic,reports"), {"class": (1, (6,))}),
    "a class in capitals": (changed(6, "g,2024-03-04,5,Keys,reports"), {"class": (1, (6,))}),
    "no source": (changed(6, "g,2024-03-04,5,keys, "), {"source": (1, (6,))}),
    "one theft, two names": (
        [*ROWS, "h,2021-02-03,1000000.00,contract,reports"],
        {"theft once": (1, (7,))},
    ),
    "one theft, three days later": (
        [*ROWS, "h,2021-02-06,1000000,keys,reports"],
        {"nearly twice": (1, (7,))},
    ),
    "one theft, three days earlier": (
        [*ROWS, "h,2021-01-31,1000000,keys,reports"],
        {"nearly twice": (1, (0,))},
    ),
    "the same loss, four days later": ([*ROWS, "h,2021-02-07,1000000,keys,reports"], {}),
    "one day, two losses": ([*ROWS, "h,2021-02-03,1000001,keys,reports"], {}),
    "a year without any": (
        [*ROWS, "h,2026-01-01,5,keys,reports"],
        {"no empty year": (1, (7,))},
    ),
    "a third of the losses unknown": (
        [*ROWS, "h,2024-04-04,,keys,reports", "i,2024-04-05,,keys,reports"],
        {"losses known": (3, (2, 7, 8))},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_expectation_bites_alone(case: str) -> None:
    """One thing that is wrong fails the one expectation that is about it, with the rows, and no other."""
    rows, expected = BROKEN[case]
    assert failed(examine(csv(rows), today=TODAY)) == expected


def test_every_expectation_is_bitten() -> None:
    """The table above fails each expectation of the suite."""
    bitten = {name for _, expected in BROKEN.values() for name in expected}
    assert bitten == {each["meta"]["name"] for each in Suite.read(SUITE).expectations}


def test_a_fifth_of_the_losses_may_be_unknown() -> None:
    """The bound is a fifth, and a fifth is within it."""
    rows = [*ROWS, "h,2024-04-04,,keys,reports", "i,2024-04-05,5,keys,reports", "j,2024-04-06,6,keys,reports"]
    assert failed(examine(csv(rows), today=TODAY)) == {}


def test_json_is_judged_alike() -> None:
    """The same rows as JSON give the same places; what is no text is judged as its digits."""
    names = HEADER.split(",")
    rows = [dict(zip(names, row.split(","), strict=True)) for row in ROWS]
    made: list[dict[str, object]] = [row | {"loss_usd": None} for row in rows]
    assert set(failed(examine(json.dumps(made).encode(), today=TODAY))) == {"losses known"}
    made = [row | {"loss_usd": float(place + 1)} for place, row in enumerate(rows)]
    made[3]["loss_usd"] = 1e13 + 1
    made[6]["loss_usd"] = -1e3
    found = failed(examine(json.dumps(made).encode(), today=TODAY))
    assert found == {"loss possible": (1, (3,)), "loss not negative": (1, (6,))}


def test_what_is_shown_says_which_rows() -> None:
    """A table for people: each expectation in its words, and the rows against it."""
    rows = [*ROWS, "h,2021-02-03,1000000.00,contract,reports"]
    shown = show.expectations(examine(csv(rows), today=TODAY), place="row").markup
    assert all(
        each["meta"]["says"].replace("'", "&#x27;") in shown for each in Suite.read(SUITE).expectations
    )
    assert shown.count("NO") == 1
    assert "row 7" in shown


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEADER.encode(), id="a header alone"),
        pytest.param(b"id,date,loss_usd,class\na,2021-01-01,5,keys\n", id="a column less"),
        pytest.param(csv([*ROWS, "h,2021-01-01,5"]), id="a short row"),
        pytest.param(b"[]", id="an empty list"),
    ],
)
def test_a_shape_that_is_none(raw: bytes) -> None:
    """What is no file of incidents raises: no result could be taken for a good one."""
    with pytest.raises(IncidentError):
        examine(raw, today=TODAY)


RAISING: dict[str, Callable[[dict[str, object]], object]] = {
    "no expectations": lambda suite: suite.update(expectations=[]),
    "no name": lambda suite: suite.pop("name"),
}


@pytest.mark.parametrize("case", RAISING)
def test_a_suite_that_is_none(tmp_path: Path, case: str) -> None:
    """A malformed suite raises."""
    document = json.loads(SUITE.read_text())
    RAISING[case](document)
    (tmp_path / "suite.json").write_text(json.dumps(document))
    with pytest.raises(QualityError):
        examine(csv(ROWS), today=TODAY, suite=tmp_path / "suite.json")


def test_the_suites_words_are_the_readers() -> None:
    """Classes and the largest loss are those that the reader knows."""
    found = {each["meta"]["name"]: each["kwargs"] for each in Suite.read(SUITE).expectations}
    assert found["class"]["value_set"] == [each.value for each in IncidentClass]
    assert str(found["loss possible"]["unexpected_rows_query"]).endswith(f"loss > {LOSS_MAX}")


def test_what_the_reader_takes_is_in_order_but_for_what_is_suspicious() -> None:
    """The reader takes what is suspicious only: a theft twice, nearly twice, a hole, unknown losses."""
    taken = set()
    for rows, expected in BROKEN.values():
        try:
            read(csv(rows), today=TODAY)
        except IncidentError:
            continue
        taken |= set(expected)
    assert taken == {"theft once", "nearly twice", "no empty year", "losses known"}


def test_the_shipped_file_is_in_order(tmp_path: Path) -> None:
    """The largest thefts, as they are shipped, meet every expectation; the docs are pages without network."""
    assert failed(examine(SHIPPED.read_bytes(), today=TODAY, docs=tmp_path / "docs")) == {}
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert pages
    assert all("Content-Security-Policy" in page.read_text() for page in pages)
