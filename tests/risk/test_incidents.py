"""A file of incidents: what is read, and what is refused where."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.risk import market
from workbench.risk.errors import RiskError
from workbench.risk.exposure.incidents import (
    COLUMNS,
    FILE_MAX,
    INCIDENTS_MAX,
    Incident,
    IncidentClass,
    IncidentError,
    read,
    schema,
    shape,
)

SCENARIOS = Path(__file__).parents[2] / "policies" / "scenarios"
TODAY = date(2026, 11, 27)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "date": "2021-02-03", "loss_usd": 1000000, "class": "keys", "source": "reports"},
    {
        "id": "b.1_x-y",
        "date": "2021-12-31",
        "loss_usd": 2500000.5,
        "class": "contract",
        "source": "two, reports",
    },
    {"id": "c", "date": "2026-11-27", "loss_usd": None, "class": "blind-signing", "source": "reports"},
    {"id": "d", "date": "2020-02-29", "loss_usd": 0, "class": "other", "source": "reports"},
]
MADE = (
    Incident("a", date(2021, 2, 3), Decimal(1000000), IncidentClass.KEYS, "reports"),
    Incident("b.1_x-y", date(2021, 12, 31), Decimal("2500000.5"), IncidentClass.CONTRACT, "two, reports"),
    Incident("c", date(2026, 11, 27), None, IncidentClass.BLIND_SIGNING, "reports"),
    Incident("d", date(2020, 2, 29), Decimal(0), IncidentClass.OTHER, "reports"),
)


def cell(value: object) -> str:
    """Return a value as a CSV has it."""
    text = "" if value is None else str(value)
    return f'"{text}"' if "," in text else text


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return the rows as CSV."""
    lines = [",".join(cell(row[name]) for name in COLUMNS) for row in rows]
    return "\n".join([",".join(COLUMNS), *lines, ""]).encode()


def as_json(rows: list[dict[str, Any]]) -> bytes:
    """Return the rows as JSON."""
    return json.dumps(rows).encode()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {"csv": as_csv, "json": as_json}


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_say_the_same(form: str) -> None:
    """One schema in two forms: the same incidents, amounts exact."""
    assert read(FORMS[form](ROWS), today=TODAY) == MADE


@pytest.mark.parametrize(
    ("raw", "losses"),
    [
        pytest.param(as_csv(ROWS).replace(b"\n", b"\r\n"), 4, id="lines that end as Windows has them"),
        pytest.param(b" \n" + as_json(ROWS), 4, id="blanks before a list"),
        pytest.param(as_csv(ROWS)[:-1], 4, id="no end of the last line"),
        pytest.param(as_json([ROWS[0] | {"source": 'a [list], "{\\{"'}]), 1, id="brackets in words"),
        pytest.param(as_json([ROWS[0] | {"loss_usd": 1.5e9}]), 1, id="an exponent, which JSON has"),
    ],
)
def test_what_is_read_too(raw: bytes, losses: int) -> None:
    """What both formats allow and nobody can misread is read."""
    assert len(read(raw, today=TODAY)) == losses


def one(**changed: object) -> list[dict[str, Any]]:
    """Return the rows with the third one changed."""
    return [*ROWS[:2], ROWS[2] | changed, ROWS[3]]


VALUES: dict[str, tuple[dict[str, object], str]] = {
    "no id": ({"id": ""}, "/2/id"),
    "an id in capitals": ({"id": "C"}, "/2/id"),
    "an id twice": ({"id": "a"}, "/2/id"),
    "no date": ({"date": ""}, "/2/date"),
    "a day that there was not": ({"date": "2023-02-29"}, "/2/date"),
    "a day in other words": ({"date": "20230228"}, "/2/date"),
    "a day in other digits": ({"date": "２０２３-02-28"}, "/2/date"),
    "tomorrow": ({"date": "2026-11-28"}, "/2/date"),
    "a negative loss": ({"loss_usd": -1}, "/2/loss_usd"),
    "a loss above all there is": ({"loss_usd": 10**13 + 1}, "/2/loss_usd"),
    "a loss in words": ({"loss_usd": "a lot"}, "/2/loss_usd"),
    "a loss that is not a number": ({"loss_usd": "NaN"}, "/2/loss_usd"),
    "a class that is not known": ({"class": "magic"}, "/2/class"),
    "a class in capitals": ({"class": "Keys"}, "/2/class"),
    "no class": ({"class": ""}, "/2/class"),
    "no source": ({"source": ""}, "/2/source"),
    "blanks for a source": ({"source": "  "}, "/2/source"),
    "a source that hides something": ({"source": "reports\u202e"}, "/2/source"),
    "a source without an end": ({"source": "x" * 501}, "/2/source"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", VALUES)
def test_values_are_refused_with_their_path(case: str, form: str) -> None:
    """(2) (3) The path is the value's, in both forms; nothing of the file is taken."""
    change, path = VALUES[case]
    with pytest.raises(IncidentError) as refused:
        read(FORMS[form](one(**change)), today=TODAY)
    assert refused.value.path == path


def without(name: str) -> list[dict[str, Any]]:
    """Return the rows, the third one without a field."""
    return [*ROWS[:2], {key: value for key, value in ROWS[2].items() if key != name}, ROWS[3]]


HEADER = ",".join(COLUMNS).encode()
SHAPES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "blanks": (b"\n\n", ""),
    "a header alone": (HEADER + b"\n", ""),
    "no header": (as_csv(ROWS).split(b"\n", 1)[1], ""),
    "a column less": (b"id,date,loss_usd,class\na,2021-01-01,5,keys\n", ""),
    "a column more": (HEADER + b",note\na,2021-01-01,5,keys,r,n\n", ""),
    "a column twice": (HEADER + b",id\na,2021-01-01,5,keys,r,b\n", ""),
    "columns in another order": (b"date,id,loss_usd,class,source\n2021-01-01,a,5,keys,r\n", ""),
    "a byte order mark": (b"\xef\xbb\xbf" + as_csv(ROWS), ""),
    "a row less long": (HEADER + b"\na,2021-01-01,5,keys,r\nb,2021-01-01,5,keys\n", "/1"),
    "a row too long": (HEADER + b"\na,2021-01-01,5,keys,r,more\n", "/0"),
    "an empty row": (HEADER + b"\na,2021-01-01,5,keys,r\n\n", "/1"),
    "a quote that does not end": (HEADER + b'\na,2021-01-01,5,keys,"r\n', ""),
    "text after a quote": (HEADER + b'\na,2021-01-01,5,keys,"r"x\n', ""),
    "digits with a line between": (HEADER + b"\na,2021-01-01,1_000,keys,r\n", "/0/loss_usd"),
    "digits of another script": (HEADER + "\na,2021-01-01,٣,keys,r\n".encode(), "/0/loss_usd"),
    "an exponent in a CSV": (HEADER + b"\na,2021-01-01,1e9,keys,r\n", "/0/loss_usd"),
    "more digits than a number has": (
        HEADER + b"\na,2021-01-01,0." + b"1" * 60 + b",keys,r\n",
        "/0/loss_usd",
    ),
    "no UTF-8": (as_csv(ROWS).replace(b"reports", b"\xff"), ""),
    "an empty list": (b"[]", ""),
    "no end of a list": (b'[{"id":', ""),
    "a list of lists": (b"[[1]]", ""),
    "a list of numbers": (b"[1]", "/0"),
    "an object in an object": (as_json(one(source={"says": "reports"})), ""),
    "a list in an object": (as_json(one(source=["reports"])), ""),
    "an object that is no list": (b'{"incidents": []}', ""),
    "a field that is not known": (as_json(one(note="n")), "/2/note"),
    "no field for a loss": (as_json(without("loss_usd")), "/2/loss_usd"),
    "no field for a source": (as_json(without("source")), "/2/source"),
    "a field twice": (as_json(ROWS).replace(b'"id": "a"', b'"id": "a", "id": "z"'), ""),
    "a number that is none": (as_json(ROWS).replace(b"1000000", b"NaN"), ""),
    "a number without end": (as_json(ROWS).replace(b"1000000", b"1e400"), ""),
    "a loss in quotes": (as_json(one(loss_usd="5")), "/2/loss_usd"),
    "a loss that is a truth": (as_json(one(loss_usd=True)), "/2/loss_usd"),
    "a date that is a number": (as_json(one(date=2021)), "/2/date"),
    "an id that is nothing": (as_json(one(id=None)), "/2/id"),
    "deeper than anyone reads": (b"[" * 100_000, ""),
    "objects deeper than anyone reads": (b'[{"id":' + b'{"id":' * 100_000, ""),
    "depth behind a quote": (b'["' + b"[" * 100_000, ""),
}


@pytest.mark.parametrize("case", SHAPES)
def test_what_is_no_file_of_incidents(case: str) -> None:
    """(1) Whatever else it is, it is refused with a path, in this package's tree of errors."""
    raw, path = SHAPES[case]
    with pytest.raises(IncidentError) as refused:
        read(raw, today=TODAY)
    assert refused.value.path == path
    assert isinstance(refused.value, RiskError)


def test_limits() -> None:
    """What is larger than any collection is refused before it is read, or right after."""
    with pytest.raises(IncidentError, match="bytes"):
        shape(b" " * (FILE_MAX + 1))
    with pytest.raises(IncidentError, match=f"{INCIDENTS_MAX + 1} incidents"):
        shape(HEADER + b"\na,2021-01-01,5,keys,r" * (INCIDENTS_MAX + 1))


def test_shape_leaves_values_alone() -> None:
    """(1) What only has the shape of a file is passed on, for who wants all that is wrong."""
    assert shape(as_csv(one(date="never", loss_usd="a lot")))[2] == ROWS[2] | {
        "date": "never",
        "loss_usd": "a lot",
    }


def test_the_schema_is_the_readers() -> None:
    """The schema that is shipped is the one of the model."""
    assert json.loads((SCENARIOS / "incidents.schema.json").read_text()) == schema()


def test_the_schema_says_what_the_reader_says() -> None:
    """What the schema refuses the reader refuses, and it takes what the reader takes."""
    jsonschema.Draft202012Validator.check_schema(schema())
    judge = jsonschema.Draft202012Validator(schema())
    assert judge.is_valid(ROWS)
    # Of days, blanks and repetitions a schema cannot say all that the reader does.
    finer = {"an id twice", "a day that there was not", "tomorrow", "blanks for a source", "no source"}
    finer |= {"a source that hides something", "a day in other digits"}
    for case, (change, _) in VALUES.items():
        assert judge.is_valid(one(**change)) == (case in finer), case
    for rows in ([], without("loss_usd"), one(note="n")):
        assert not judge.is_valid(rows)


def test_the_shipped_list_is_read_and_says_what_it_is() -> None:
    """The shipped thefts are read; each row says that it was chosen, and names nobody's database."""
    made = read((SCENARIOS / "incidents.csv").read_bytes(), today=TODAY)
    assert len(made) == 24
    assert all(
        each.source.startswith("public reports") and "; chosen for its " in each.source for each in made
    )
    assert all(each.loss_usd for each in made)


def test_what_is_made_up_is_read_back() -> None:
    """A synthetic market written as a file is the same market."""
    made = market.market(1)
    assert read(market.csv(made), today=TODAY) == made
