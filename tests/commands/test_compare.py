"""`workbench custody compare`: each model says everything, and nothing is cut off."""

from __future__ import annotations

import re

import pytest

from workbench.cli import main
from workbench.commands.compare import MODELS, ROWS
from workbench.commands.said import WIDTH


def test_each_model_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Eight lines a model, word for word, and no line is wider than the terminal."""
    assert main(["custody", "compare"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= WIDTH
    flat = re.sub(r"\s+", " ", said)
    for model in MODELS:
        assert model.name in flat
        for label, field in ROWS:
            told = getattr(model, field)
            assert told
            assert f"{label} {told}" in flat
