"""A browser for what the desk shows, and a page to show it on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.approver.browser import chromium

HEAD = (
    '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<style>:root{color-scheme:light dark}</style>"
)
Put = Callable[[str], Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give Debian's Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Give each of the two grounds."""
    return str(request.param)


@pytest.fixture(params=[360, 1000])
def width(request: pytest.FixtureRequest) -> int:
    """Give the width of a telephone, and of a page."""
    return int(request.param)


@pytest.fixture
def put(browser: Browser, tmp_path: Path, scheme: str, width: int) -> Iterator[Put]:
    """Give a page that shows what is put on it: no wider than itself, with its own ink in every table."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 640})  # type: ignore[arg-type]
    page = context.new_page()
    path = tmp_path / "shown.html"

    def shown(markup: str) -> Page:
        path.write_text(HEAD + markup)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        inks = page.evaluate("[...document.querySelectorAll('td, th')].map(t => getComputedStyle(t).color)")
        assert set(inks) == {ink(page)}
        return page

    yield shown
    context.close()


def ink(page: Page) -> str:
    """Return the page's own colour of letters."""
    return str(page.evaluate("getComputedStyle(document.body).color"))
