"""One run of the demo for all that looks at its outcome."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.demo.run import Outcome, demo


@pytest.fixture(scope="session")
def outcome() -> Iterator[Outcome]:
    """Run `workbench demo` once, in this process, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="wbd-") as folder:
        yield demo(Path(folder))
