"""Files that would keep the commands busy, or have them fall over: told, or refused with a place, in time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.risk.portfolios import SOURCE, cause, gate, portfolio, scenario
from workbench.cli import main
from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import annual, residual
from workbench.risk.exposure.limits import WORK_MAX, derive
from workbench.risk.exposure.plain_yaml import ScenarioError
from workbench.risk.exposure.simulated import simulate

YEARS = "20000"
Json = dict[str, Any]


def struck(name: str, causes: int, **fields: Any) -> Json:
    """Return a scenario of twelve controls, so many of which have a cause of their own."""
    gates = [gate(f"g{n}", 0.3, *([cause(f"c{n}", 0.1)] if n < causes else [])) for n in range(12)]
    return scenario(name, controls=gates, **fields)


def stressed(shape: float, likelihood: Json) -> Json:
    """Return a file whose one rate a factor of this shape raises."""
    stress = {"shape": shape, "scenarios": ["theft"], "assumption": SOURCE}
    return {"scenarios": [scenario(likelihood=likelihood)], "stress": stress}


def asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *command: str, text: str
) -> tuple[int, str, str]:
    """Run a command over a file; return its code and what it printed."""
    path = tmp_path / "scenarios.json"
    path.write_text(text)
    code = main(["risk", command[0], str(path), *command[1:]])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("file", "code", "says"),
    [
        pytest.param([scenario(likelihood=1e-30)], 0, "", id="a gap longer than an integer"),
        pytest.param([scenario(likelihood=1e-40, exposure=10**6)], 0, "", id="of very many units"),
        pytest.param([scenario(exposure=0)], 0, "", id="nothing is exposed"),
        pytest.param([scenario(severity={"pert": [1, 1, 5]})], 0, "", id="the mode at the end"),
        pytest.param([scenario(severity={"interval": [1000, 2000], "cap": 10})], 0, "", id="a cap below it"),
        pytest.param([scenario(likelihood={"shape": 0.01, "years": 1})], 0, "", id="a heavy tail"),
        pytest.param(stressed(1000, {"interval": [0.1, 1]}), 0, "", id="a factor that hardly varies"),
        pytest.param(
            [scenario(likelihood={"shape": 1e-40, "years": 1e-40})], 2, "too heavy", id="a tail without end"
        ),
        pytest.param([scenario(likelihood={"rate": 1000}, exposure=10**6)], 2, "theft: of 1e+09", id="10⁹"),
        pytest.param(
            [scenario(f"s{n}", likelihood={"rate": 300}) for n in range(4)],
            2,
            "s0: of 1200",
            id="many of many",
        ),
        pytest.param(
            [scenario(likelihood={"interval": [1, 1.0000001]})], 1, "/0/likelihood: ", id="no interval"
        ),
        pytest.param(
            [scenario(severity={"interval": [1, 1.0000001], "cap": 9})], 1, "/0/severity: ", id="nor here"
        ),
        pytest.param([scenario(severity={"pert": [9, 9, 9.000001]})], 1, "/0/severity: ", id="no range"),
        pytest.param(
            [struck("a", 12, correlation=0.5), struck("b", 12, correlation=0.5)],
            *(1, "/1/controls: "),
            id="states of causes",
        ),
        pytest.param([struck(f"s{n}", 12) for n in range(64)], 1, "/42/controls: ", id="in many scenarios"),
    ],
)
def test_a_file(
    file: object, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures and no word beside them, or one line that names the place and no figure."""
    command = ("exposure", "--json", "--years", YEARS)
    got, out, err = asked(tmp_path, capsys, *command, text=json.dumps(file))
    assert got == code, err
    assert bool(out) is (code == 0)
    assert says in err
    assert len(err.splitlines()) == (0 if code == 0 else 1)


@pytest.mark.parametrize("command", ["exposure", "limits"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
@pytest.mark.timeout(60)
def test_what_is_no_file(command: str, make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not waited for."""
    make(tmp_path / "odd")
    assert main(["risk", command, str(tmp_path / "odd")]) == 2
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)


def test_too_many_years(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their losses would not fit into memory."""
    code, out, err = asked(
        tmp_path, capsys, "exposure", "--years", "1000000000", text=json.dumps([scenario()])
    )
    assert (code, out) == (2, "")
    assert "1000000000 years" in err


def test_a_name_that_steers_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A field's name is the file's word, and is printed without what a terminal obeys."""
    text = json.dumps([scenario() | {"\x1b[2Jok\nok": 1}])
    code, _, err = asked(tmp_path, capsys, "exposure", text=text)
    assert code == 1
    assert "ok ok" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("shape", [0.5, 50, 1000])
def test_a_stress_factor_of_any_shape(shape: float) -> None:
    """Over uncertain rates, too, it is what drawn years say."""
    likelihood = {"shape": 4, "years": 8}
    stress = {"shape": shape, "scenarios": ["theft"], "assumption": SOURCE}
    whole = portfolio(scenario(likelihood=likelihood), stress=stress)
    exact = annual(residual(whole), stress=shape)
    drawn = simulate(whole, seed=1, years=400_000)
    assert exact.mass.sum() == pytest.approx(1, abs=1e-7)
    assert float(exact.mass @ range(len(exact.mass))) * exact.step == pytest.approx(exact.mean, rel=1e-4)
    for loss in (0, 1000, 3000):
        assert drawn.above(loss).low < exact.above(loss) < drawn.above(loss).high


def test_the_most_states_that_are_looked_at() -> None:
    """One scenario of the largest that a file may have is; nobody else's small ones are in its way."""
    assert portfolio(struck("a", 12, correlation=0.5)).scenarios
    with pytest.raises(ScenarioError, match="/scenarios/2/controls"):
        portfolio(struck("a", 12, correlation=0.5), scenario("b"), struck("c", 12, correlation=0.5))


def test_too_many_positions() -> None:
    """Each is looked at with every scenario: so many are refused before the first."""
    places = [{"id": f"p{n}", "value": 1000, "assumption": SOURCE} for n in range(64)]
    appetite = {"loss": 1, "probability": 0.01, "assumption": SOURCE}
    rows = [scenario(f"s{n}") for n in range(WORK_MAX // 64 + 1)]
    with pytest.raises(RiskError, match="/positions"):
        derive(portfolio(*rows, positions=places, appetite=appetite))


LIMITED = {
    "scenarios": [
        scenario(
            likelihood={"rate": 0.1},
            severity={"interval": [100_000, 5_000_000], "cap": 4_000_000},
            position="wallet",
            assumption=SOURCE | {"expiry": "2099-01-01"},
        )
    ],
    "positions": [
        {
            "id": "wallet",
            "value": 4_000_000,
            "limit": "daily_usd_cents_max",
            "assumption": SOURCE | {"expiry": "2099-01-01"},
        }
    ],
    "appetite": {
        "loss": 500_000,
        "probability": 0.01,
        "assumption": SOURCE | {"expiry": "2099-01-01"},
    },
}
GOOD = '{"daily_usd_cents_max": 250000000, "slippage_bps_max": 50}'


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        pytest.param('{"daily_usd_cents_max": 5, "daily_usd_cents_max": 6}', "a key twice", id="a key twice"),
        pytest.param('{"daily_usd_cents_max": 5, "x": NaN}', "NaN", id="not a number"),
        pytest.param('{"daily_usd_cents_max": 5, "x": 1e400}', "1e400", id="without end"),
        pytest.param('{"daily_usd_cents_max": 5.5}', "5.5", id="half a cent"),
        pytest.param('{"daily_usd_cents_max": "5"}', "/daily_usd_cents_max", id="a word"),
        pytest.param('{"daily_usd_cents_max": true}', "/daily_usd_cents_max", id="yes"),
        pytest.param('{"daily_usd_cents_max": -5}', "/daily_usd_cents_max", id="below nothing"),
        pytest.param('{"daily_usd_cents_max": null}', "/daily_usd_cents_max", id="nothing"),
        pytest.param("[]", "no object", id="a list"),
        pytest.param("[" * 50_000, "not read", id="very deep"),
        pytest.param('{"x": ' + "9" * 5000 + "}", "not read", id="very long"),
        pytest.param(GOOD + " " * 70_000, "bytes", id="very large"),
        pytest.param("\x00", "not read", id="no text"),
    ],
)
def test_limits(limits: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No draft is made of them; of the same file with good ones there is one."""
    given, out = tmp_path / "limits.json", tmp_path / "next.json"
    more = ("--limits", str(given), "--out", str(out))
    given.write_text(limits)
    code, _, err = asked(tmp_path, capsys, "limits", *more, text=json.dumps(LIMITED))
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
    assert not out.exists()
    given.write_text(GOOD)
    assert asked(tmp_path, capsys, "limits", *more, text=json.dumps(LIMITED))[0] == 0
    assert json.loads(out.read_bytes())["slippage_bps_max"] == 50
