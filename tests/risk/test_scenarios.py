"""A file of scenarios is read whole, or refused with the path of what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.risk.portfolios import SEED, SOURCE, cause, gate, portfolio, scenario, seed
from workbench.risk.exposure.plain_yaml import DEPTH_MAX, FILE_MAX, ScenarioError, parse
from workbench.risk.exposure.scenarios import Portfolio, aged
from workbench.risk.exposure.scenarios import schema as stated

SCHEMA = Path(__file__).parents[2] / "policies" / "scenarios" / "schema.json"
HALF = Decimal("0.5")
SHARED = scenario(controls=[gate("a", 0, cause("c", HALF)), gate("b", 0, cause("c", HALF))])

Change = Callable[[list[dict[str, Any]]], Any]

REFUSED: dict[str, tuple[Change, str]] = {
    "a probability above one": (lambda rows: rows[0].update(likelihood=Decimal("1.5")), "/0/likelihood"),
    "a probability below nothing": (lambda rows: rows[0].update(likelihood=-1), "/0/likelihood"),
    "a probability as text": (lambda rows: rows[0].update(likelihood="0.1"), "/0/likelihood"),
    "a probability that is true": (lambda rows: rows[0].update(likelihood=True), "/0/likelihood"),
    "a likelihood of no form": (lambda rows: rows[0].update(likelihood={"often": 1}), "/0/likelihood"),
    "a rate and something else": (
        lambda rows: rows[0].update(likelihood={"rate": 1, "per": "week"}),
        "/0/likelihood/per",
    ),
    "an interval upside down": (
        lambda rows: rows[0].update(likelihood={"interval": [2, 1]}),
        "/0/likelihood",
    ),
    "an interval of three": (
        lambda rows: rows[0].update(likelihood={"interval": [1, 2, 3]}),
        "/0/likelihood/interval",
    ),
    "a rate of nothing": (lambda rows: rows[0].update(likelihood={"rate": 0}), "/0/likelihood/rate"),
    "half a unit of a probability": (lambda rows: rows[0].update(exposure=HALF), "/0"),
    "a loss below nothing": (lambda rows: rows[1].update(severity=-1), "/1/severity"),
    "a lognormal without a cap": (
        lambda rows: rows[1].update(severity={"interval": [1, 2]}),
        "/1/severity/cap",
    ),
    "a mode outside": (lambda rows: rows[1].update(severity={"pert": [1, 5, 4]}), "/1/severity"),
    "an unknown field": (lambda rows: rows[2].update(note="x"), "/2/note"),
    "no residual severity": (lambda rows: rows[2].pop("residual_severity"), "/2/residual_severity"),
    "no assumption": (lambda rows: rows[3].pop("assumption"), "/3/assumption"),
    "no source": (lambda rows: rows[3]["assumption"].pop("source"), "/3/assumption/source"),
    "no author": (lambda rows: rows[3]["assumption"].pop("author"), "/3/assumption/author"),
    "an empty source": (lambda rows: rows[3]["assumption"].update(source=" "), "/3/assumption/source"),
    "a source that steers the screen": (
        lambda rows: rows[3]["assumption"].update(source="a\u202eb"),
        "/3/assumption/source",
    ),
    "no expiry": (lambda rows: rows[3]["assumption"].pop("expiry"), "/3/assumption/expiry"),
    "a day that is none": (
        lambda rows: rows[3]["assumption"].update(expiry="2027-02-30"),
        "/3/assumption/expiry",
    ),
    "no source for one figure": (
        lambda rows: rows[0].update(severity={"amount": 1, "assumption": {"author": "x"}}),
        "/0/severity/assumption/date",
    ),
    "a failure above one": (lambda rows: rows[4]["controls"][0].update(failure=2), "/4/controls/0/failure"),
    "a beta of nothing": (
        lambda rows: rows[4]["controls"][0].update(failure={"beta": [0, 1]}),
        "/4/controls/0/failure/beta/0",
    ),
    "a cause above one": (
        lambda rows: rows[4]["controls"][0].update(causes=[cause("c", 2)]),
        "/4/controls/0/causes/0/probability",
    ),
    "one cause, two probabilities": (
        lambda rows: (
            rows[0]["controls"][0].update(causes=[cause("c", HALF)]),
            rows[1]["controls"][0].update(causes=[cause("c", 1)]),
        ),
        "/1/controls/0/causes/0/probability",
    ),
    "one cause twice": (
        lambda rows: rows[4]["controls"][0].update(causes=[cause("c", 1), cause("c", 1)]),
        "/4/controls/0",
    ),
    "four of three parts": (
        lambda rows: rows[4]["controls"][0].update(parts=3, threshold=4),
        "/4/controls/0",
    ),
    "a cause that takes more than there is": (
        lambda rows: rows[4]["controls"][0].update(parts=3, causes=[cause("c", 1, parts=4)]),
        "/4/controls/0",
    ),
    "one control twice": (lambda rows: rows[0]["controls"].append(rows[0]["controls"][0]), "/0"),
    "one scenario twice": (lambda rows: rows.append(rows[0]), "/5"),
    "an unknown position": (lambda rows: rows[0].update(position="vault"), "/0/position"),
    "correlation of one": (lambda rows: rows[0].update(correlation=1), "/0/correlation"),
    "a rule of two kinds": (
        lambda rows: rows[0]["controls"][0].update(evidence=[{"indicator": "x", "each": 0, "at_most": 1}]),
        "/0/controls/0/evidence/0",
    ),
    "a rule of half a kind": (
        lambda rows: rows[0]["controls"][0].update(evidence=[{"indicator": "x", "fresh": 1}]),
        "/0/controls/0/evidence/0",
    ),
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "an alias": (b"- &a 1\n- *a", "anchor"),
    "a tag": (b"!!python/name:os.system x", "tag"),
    "a key twice": (b"a: 1\na: 2", "twice"),
    "a key that is a number": (b"1: 2", "not a word"),
    "deeper than any file is": (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "deeper"),
    "longer than any file is": (b" " * (FILE_MAX + 1), "at most"),
    "a number without end": (b"[1e999]", "digits"),
    "not UTF-8": (b"\xff", "utf-8"),
    "no YAML": (b"[1", "expected"),
    "two documents": (b"--- 1\n--- 2", "single document"),
}


@pytest.mark.parametrize(("change", "path"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(change: Change, path: str) -> None:
    """The path names the field; the same file without the change is read."""
    rows = parse(SEED.read_bytes())
    assert isinstance(rows, list)
    before = copy.deepcopy(rows)
    Portfolio.load(before)
    change(rows)
    with pytest.raises(ScenarioError) as refused:
        Portfolio.load(rows)
    assert refused.value.path == path
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("raw", "word"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read(raw: bytes, word: str) -> None:
    """Nothing of it becomes a figure."""
    with pytest.raises(ScenarioError, match=word):
        Portfolio.read(raw)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.005", Decimal("0.005")),
        ("1e6", Decimal(1000000)),
        ("10", 10),
        ("-2.50", Decimal("-2.50")),
        ("12:30", "12:30"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        (".inf", ".inf"),
        ("2026-01-01", "2026-01-01"),
        ("٣", "٣"),
        ("true", True),
        ("null", None),
    ],
)
def test_what_is_a_number(text: str, value: object) -> None:
    """Numbers are those of JSON, exactly; nothing else turns into one."""
    read = parse(text.encode())
    assert (read, type(read)) == (value, type(value))


def test_the_five_rows() -> None:
    """The table as it was written down, and JSON reads like YAML."""
    rows = [(each.likelihood, each.severity, each.residual_severity) for each in seed().scenarios]
    assert rows == [
        (Decimal("0.005"), 10_000_000, 0),
        (Decimal("0.05"), 500_000, 0),
        (Decimal("0.1"), 2_000_000, 20_000),
        (Decimal("0.03"), 1_500_000, 50_000),
        (Decimal("0.001"), 10_000_000, 0),
    ]
    raw = json.dumps(parse(SEED.read_bytes()), default=float).encode()
    assert Portfolio.read(raw) == seed()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        pytest.param({"stress": {"shape": 2, "scenarios": ["none"]}}, "/stress/scenarios/0", id="of nothing"),
        pytest.param(
            {"stress": {"shape": 2, "scenarios": ["once"]}}, "/stress/scenarios/0", id="of a chance"
        ),
        pytest.param(
            {"costs": [{"control": "none", "per_year": 1}]}, "/costs/0/control", id="cost of nothing"
        ),
        pytest.param(
            {"positions": [{"id": "a", "value": 1}, {"id": "a", "value": 2}]}, "/positions/1", id="twice"
        ),
    ],
)
def test_what_only_a_whole_portfolio_shows(fields: dict[str, Any], path: str) -> None:
    """Names that stand for nothing are refused where they stand."""
    name, value = next(iter(fields.items()))
    sourced = (
        [each | {"assumption": SOURCE} for each in value]
        if isinstance(value, list)
        else value | {"assumption": SOURCE}
    )
    with pytest.raises(ScenarioError) as refused:
        portfolio(scenario(), scenario("once", likelihood=HALF), **{name: sourced})
    assert refused.value.path == path


def test_assumptions_age() -> None:
    """Every figure's source is told with its path, and whether its time is over."""
    own = SOURCE | {"source": "a count", "expiry": "2026-06-30"}
    made = portfolio(scenario(severity={"amount": 5, "assumption": own}))
    told = {each.path: each.expired for each in aged(made, date(2026, 7, 1))}
    assert told == {"/scenarios/theft": False, "/scenarios/theft/severity": True}
    assert not any(each.expired for each in aged(made, date(2026, 6, 30)))


def test_the_schema_beside_the_table() -> None:
    """It is the model's own, it takes the table, and it refuses what the model refuses by shape."""
    shipped = json.loads(SCHEMA.read_text())
    assert shipped == stated()
    jsonschema.Draft202012Validator.check_schema(shipped)
    judge = jsonschema.Draft202012Validator(shipped)
    rows = json.loads(json.dumps(parse(SEED.read_bytes()), default=float))
    assert judge.is_valid(rows)
    assert judge.is_valid({"scenarios": rows})
    for wrong in ({"likelihood": 1.5}, {"note": "x"}, {"assumption": {"author": "x"}}, {"controls": 1}):
        assert not judge.is_valid([rows[0] | wrong])
