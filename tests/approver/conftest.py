"""A living world and a browser for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.approver.browser import chromium
from tests.world import Living, living


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return one world: each test leaves nothing behind but what it says.

    One for each file: a worker that is busy elsewhere between two of them for a quarter of an hour finds
    every session of the first one idle, and ended.
    """
    with living(second_key=("risk-1",)) as built:
        yield built


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium."""
    with chromium() as started:
        yield started
