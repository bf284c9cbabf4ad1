"""Looks: what a page shows stays until it is answered or over, whatever others open."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from tests.rules.build import refused
from workbench.approver.core import LOOKS_MAX, Looks
from workbench.rules.change_request import AskedChange, Spoken
from workbench.rules.codes import Refusal

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ASKED = cast("AskedChange", None)  # what is kept is not looked into


def test_one_ticket_opened_without_end() -> None:
    """Whoever opens one page again and again ends his own looks, oldest first, and nobody else's."""
    looks: Looks[AskedChange, Spoken] = Looks(lambda: NOW)
    mine = looks.open("mine", ASKED)
    looks.make(mine.name, Spoken(None, b"mine"))
    opened = [looks.open("theirs", ASKED) for _ in range(2 * LOOKS_MAX)]
    assert looks.find(mine.name) is mine
    assert looks.take(mine.name).challenge == b"mine"
    assert looks.find(opened[-1].name) is opened[-1]
    with refused(Refusal.NOT_FOUND):
        looks.find(opened[LOOKS_MAX].name)
