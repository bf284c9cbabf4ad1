"""Limits that follow from an appetite: exact, never raised, and nothing but a draft."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.risk.portfolios import SOURCE, gate, portfolio, scenario
from workbench.cli import main
from workbench.risk.errors import RiskError
from workbench.risk.exposure.annual import annual, residual
from workbench.risk.exposure.limits import derive, draft
from workbench.risk.exposure.scenarios import Portfolio

TODAY = date(2026, 6, 1)
LIMITS = {
    "daily_usd_cents_max": 2_500_000_00,
    "slippage_bps_max": 50,
    "tiers": {"warm": {"daily_usd_cents_max": 0}},
}


def desk(
    *, appetite: float = 0.01, loss: float = 500_000, source: dict[str, Any] = SOURCE, **position: Any
) -> Portfolio:
    """Return a theft from a wallet that half of the time is stopped."""
    return portfolio(
        scenario(
            likelihood={"rate": 0.1},
            severity={"interval": [100_000, 5_000_000], "cap": 4_000_000},
            controls=[gate("g", 0.5)],
            position="wallet",
        ),
        positions=[{"id": "wallet", "value": 4_000_000, "assumption": source, **position}],
        appetite={"loss": loss, "probability": appetite, "assumption": SOURCE},
    )


def test_a_limit_keeps_the_appetite_and_no_more() -> None:
    """With it the appetite is kept, with a percent more it is not."""
    whole = desk()
    (found,) = derive(whole)
    assert found.before > 0.01 >= found.after
    assert 0 < found.limit < found.value
    for limit, is_kept in ((found.limit, True), (found.limit * 1.01, False)):
        year = annual([each.limited(limit) for each in residual(whole)], size=2**15)
        assert (year.above(500_000) <= 0.01) is is_kept


@pytest.mark.parametrize(
    ("appetite", "loss", "limit"),
    [
        pytest.param(0.2, 500_000, 4_000_000, id="kept as it is"),
        pytest.param(0.01, 0, 0, id="kept by nothing there"),
    ],
)
def test_the_ends(appetite: float, loss: float, limit: int) -> None:
    """A position that may stay is left; one whose every theft is too much may hold nothing."""
    (found,) = derive(desk(appetite=appetite, loss=loss))
    assert (found.limit, found.is_enough) == (limit, True)


def test_trouble_that_lies_elsewhere() -> None:
    """An appetite that another scenario breaks is kept by no limit here: no draft is made of that."""
    whole = desk(limit="daily_usd_cents_max")
    loud = scenario("elsewhere", likelihood={"rate": 1}, severity=900_000)
    both = Portfolio.load({**_plain(whole), "scenarios": [*_plain(whole)["scenarios"], loud]})
    (found,) = derive(both)
    assert (found.limit, found.is_enough) == (0, False)
    with pytest.raises(RiskError, match="nothing there"):
        draft(both, LIMITS, today=TODAY)


def _plain(whole: Portfolio) -> dict[str, Any]:
    plain: dict[str, Any] = whole.model_dump(exclude_unset=True)
    return plain


@pytest.mark.parametrize("present", [2_500_000_00, 1_00])
def test_a_draft_only_lowers(present: int) -> None:
    """The number that the position names comes down to the limit, or stays; nothing else is touched."""
    limits = LIMITS | {"daily_usd_cents_max": present}
    made = draft(desk(limit="daily_usd_cents_max"), limits, today=TODAY)
    (found,) = derive(desk())
    following = json.loads(made.content)
    assert following == limits | {"daily_usd_cents_max": min(present, found.limit * 100)}
    assert made.changes == ((("/daily_usd_cents_max", present, found.limit * 100),) if present > 1_00 else ())
    assert limits["daily_usd_cents_max"] == present


@pytest.mark.parametrize(
    ("position", "says"),
    [
        pytest.param(
            {"limit": "single_usd_cents_max"}, "/single_usd_cents_max", id="a number that is not there"
        ),
        pytest.param(
            {"limit": "daily_usd_cents_max", "tier": "cold"}, "/tiers/cold", id="a tier that is not"
        ),
        pytest.param(
            {"source": SOURCE | {"expiry": "2026-05-31"}}, "/positions/wallet", id="an old assumption"
        ),
    ],
)
def test_no_draft(position: dict[str, Any], says: str) -> None:
    """What is missing or past its expiry is refused by its path."""
    with pytest.raises(RiskError, match=says):
        draft(desk(**position), LIMITS, today=TODAY)


def test_without_an_appetite() -> None:
    """Nothing follows."""
    with pytest.raises(RiskError, match="appetite"):
        derive(portfolio(scenario()))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what may be held and writes a draft, once; what is there is not written over."""
    whole, limits, out = tmp_path / "desk.json", tmp_path / "limits.json", tmp_path / "next.json"
    made = desk(limit="daily_usd_cents_max", source=SOURCE | {"expiry": "2099-01-01"})
    late = {"author": "a test", "date": "2026-01-01", "source": "made up", "expiry": "2099-01-01"}
    plain = json.loads(json.dumps(_plain(made), default=float))
    for part in (*plain["scenarios"], *plain["positions"], plain["appetite"]):
        part["assumption"] = late
    whole.write_text(json.dumps(plain))
    limits.write_text(json.dumps(LIMITS))
    command = ["risk", "limits", str(whole), "--limits", str(limits), "--out", str(out)]
    assert main(command) == 0
    assert "/daily_usd_cents_max: 250000000 -> " in capsys.readouterr().out
    written = out.read_bytes()
    assert json.loads(written)["daily_usd_cents_max"] < 2_500_000_00
    assert main(command) == 2
    assert out.read_bytes() == written
    assert main(command[:-2]) == 2
    assert json.loads(limits.read_text()) == LIMITS
