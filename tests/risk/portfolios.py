"""Portfolios for tests: short to write, whole when loaded."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from workbench.risk.exposure.scenarios import Portfolio

SEED = Path(__file__).parents[2] / "policies" / "scenarios" / "seed.yaml"
SOURCE = {"author": "a test", "date": "2026-01-01", "source": "made up", "expiry": "2027-01-01"}


def scenario(name: str = "theft", **fields: Any) -> dict[str, Any]:
    """Return a scenario as a file has it, with fields changed."""
    made: dict[str, Any] = {
        "id": name,
        "likelihood": {"rate": 1},
        "exposure": 1,
        "severity": 1000,
        "controls": [],
        "residual_severity": 0,
        "assumption": SOURCE,
    }
    return made | fields


def portfolio(*scenarios: dict[str, Any], **fields: Any) -> Portfolio:
    """Return a portfolio of these scenarios; numbers of Python are read as a file's."""
    return Portfolio.load(_exact({"scenarios": list(scenarios), **fields}))


def gate(name: str, failure: Any, *causes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a control."""
    return {"id": name, "failure": failure, "causes": list(causes), **fields}


def cause(name: str, probability: Any, **fields: Any) -> dict[str, Any]:
    """Return a common cause."""
    return {"id": name, "probability": probability, **fields}


def seed() -> Portfolio:
    """Return the five rows."""
    return Portfolio.read(SEED.read_bytes())


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return Decimal(repr(value)) if isinstance(value, float) else value
