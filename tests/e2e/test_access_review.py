"""The access review runs headless, in the reviewer's name, and says what there is to ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import Living, living
from workbench.runner import notebook

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "committee" / "access-review.ipynb"


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a living world."""
    with living() as built:
        yield built


def test_the_report(world: Living, tmp_path: Path) -> None:
    """Somebody at his authenticator signs the login; the report names everybody, and what is open."""
    world.officer("risk-1")
    with world.signing_logins("auditor-1"):
        report = notebook.run(NOTEBOOK, tmp_path, {"socket": str(world.socket), "person": "auditor-1"})
    text = re.sub(r"<[^>]+>", " ", report.read_text())
    for person in world.world.policy.people:
        assert person in text
    assert "has not logged in for a quarter" in text
    assert world.world.policy.digest in text
    assert world.officer("risk-1").speaks.certified.session.digest in text
