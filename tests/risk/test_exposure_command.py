"""`workbench risk exposure` tells the fixed shape, or refuses with the path, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.risk.portfolios import SEED, SOURCE, gate, scenario
from workbench.cli import main
from workbench.commands.said import WIDTH

DESK = SEED.with_name("desk.yaml")


def told(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    """Run the command, and return what it prints."""
    assert main(["risk", "exposure", str(path), "--json", *more]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found: dict[str, object] = json.loads(printed.out)
    return found


def test_the_five_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Row by row to the dollar; the portfolio is inherent, what controls leave stands below it."""
    found = json.loads(json.dumps(told(SEED, capsys)))
    rows = [
        (each["id"], each["inherent_ale"], each["residual_severity_given_control"], each["residual_ale"])
        for each in found["scenarios"]
    ]
    assert rows == [
        ("hot-wallet-key", 50_000, 0, 0),
        ("phishing", 25_000, 0, 0),
        ("contract-exploit", 200_000, 20_000, 2_000),
        ("oracle-manipulation", 45_000, 50_000, 1_500),
        ("insider-pair", 10_000, 0, 0),
    ]
    whole = found["portfolio"]
    assert (whole["ale"], whole["var"]["0.99"], whole["var"]["0.999"]) == (330_000, 2_500_000, 10_500_000)
    assert (whole["residual"]["ale"], whole["residual"]["var"]["0.99"]) == (3_500, 50_000)
    low, high = found["monte_carlo"]["ci"]["ale"]
    assert low < 330_000 < high
    curve = [(each["loss"], each["probability"]) for each in whole["exceedance"]]
    assert curve == sorted(curve, key=lambda each: (each[0], -each[1]))
    assert len(found["assumptions"]) == 5
    assert {"author", "date", "source", "expiry", "path", "expired"} == set(found["assumptions"][0])


def test_the_same_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The same file and seed give the same; another seed other drawn years and the same exact figures."""
    first, second = told(SEED, capsys), told(SEED, capsys)
    assert first == second
    other = told(SEED, capsys, "--seed", "2")
    assert other["portfolio"] == first["portfolio"]
    assert other["monte_carlo"] != first["monte_carlo"]


def test_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """As wide as a terminal, and it says that a column is no yearly figure."""
    assert main(["risk", "exposure", str(SEED), "--years", "10000"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert "no yearly figure" in printed


def test_the_desks_own_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    """Uncertain rates, common causes and caps: exact and drawn agree, bands lie around."""
    found = json.loads(json.dumps(told(DESK, capsys)))
    residual, drawn = found["portfolio"]["residual"], found["monte_carlo"]["residual"]
    low, high = drawn["ci"]["ale"]
    assert low <= residual["ale"] <= high
    low, high = residual["credible"]["ale"]
    assert low < residual["ale"] < high
    assert found["monte_carlo"]["residual_capped"]["ale"] <= drawn["ale"]
    assert 0 < found["appetite"]["probability"] < 1


def test_an_expired_assumption_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures stand; that nobody has looked at one of them again stands beside them."""
    path = tmp_path / "old.json"
    rows = [
        scenario(
            assumption=SOURCE | {"date": "2020-01-01", "expiry": "2021-01-01"}, controls=[gate("g", 0.5)]
        )
    ]
    path.write_text(json.dumps(rows))
    assert main(["risk", "exposure", str(path), "--years", "1000"]) == 0
    assert "EXPIRED 2021-01-01 /scenarios/theft: made up" in capsys.readouterr().out
    assert told(path, capsys)["assumptions"][0]["expired"] is True  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        pytest.param("[]", 1, "REFUSED: /: ", id="no scenario"),
        pytest.param("{scenarios: 1}", 1, "/scenarios: ", id="no list"),
        pytest.param("- {id: X}", 1, "/0/id: ", id="a name that is none"),
        pytest.param("- {id: x, likelihood: 2}", 1, "/0/likelihood: ", id="a probability of two"),
        pytest.param("- *a", 1, "alias", id="an alias"),
        pytest.param(None, 2, "No such file", id="no file"),
    ],
)
def test_what_is_refused(
    text: str | None, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place is named on standard error, and no figure is printed."""
    path = tmp_path / "scenarios.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["risk", "exposure", str(path), "--json"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert len(printed.err.splitlines()) == 1


def test_no_years(capsys: pytest.CaptureFixture[str]) -> None:
    """None to draw is an error, not an empty figure."""
    assert main(["risk", "exposure", str(SEED), "--years", "0"]) == 2
    assert "0 years" in capsys.readouterr().err
