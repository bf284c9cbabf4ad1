"""A committee member in real JupyterLab: logs in, looks, approves with a key, sees what the ledger holds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.approver.browser import COUNTED, Screen, chromium, plug_in
from tests.world import Living, living
from workbench.demo.lab import Lab, running
from workbench.desk import explore, exposure, live
from workbench.desk.live import SOCKET, TRUST_ROOT
from workbench.rules.lifecycle import Event
from workbench.rules.words import words
from workbench.runner import notebook
from workbench.runner.notebook import NotebookError

NOTEBOOK = "committee/approvals.ipynb"
LINK = "a.wb-open"
LOAD_MS = 90_000


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a living world."""
    with living() as built:
        yield built


@pytest.fixture(scope="module")
def lab(world: Living) -> Iterator[Lab]:
    """Return JupyterLab over it, its notebook filled in."""
    with running(world.world) as started:
        path = started.notebooks / NOTEBOOK
        path.write_text(path.read_text().replace('person = \\"\\"', 'person = \\"committee-1\\"'))
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium."""
    with chromium() as started:
        yield started


def run(page: Page, number: int) -> None:
    """Run a code cell, and wait until the kernel has it."""
    prompt = page.locator(".jp-CodeCell .jp-InputArea-prompt").nth(number)
    prompt.click()
    page.keyboard.press("Shift+Enter")
    expect(prompt).not_to_have_text("[ ]:", timeout=LOAD_MS)


def add(page: Page, source: str) -> None:
    """Put a code cell after the last one, and run it."""
    cells = page.locator(".jp-CodeCell .jp-InputArea-prompt")
    number = cells.count()
    cells.last.click()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type(source)
    run(page, number)


def sessions(world: Living, person: str) -> list[str]:
    """Return a person's sessions, as an administrator sees them."""
    (reviewed,) = [each for each in world.officer("admin-1").speaks.access() if each.person == person]
    return [each.session for each in reviewed.sessions]


def opened(
    context: BrowserContext, page: Page, world: Living, path: str, *, counter: int = COUNTED
) -> Screen:
    """Follow the newest link of the notebook to its page, with the person's key plugged in there."""
    with context.expect_page() as caught:
        page.locator(LINK).last.click()
    tab = caught.value
    cdp = context.new_cdp_session(tab)
    authenticator = plug_in(cdp, world, "committee-1", path=path, counter=counter)
    return Screen(world, tab, cdp, authenticator)


def load(page: Page, url: str) -> None:
    """Open a notebook and wait until its kernel is connected.

    The status bar says so; the toolbar's mark is idle also before there is a kernel, and a cell that is run
    then brings up the question which kernel to use.
    """
    page.goto(url, timeout=LOAD_MS)
    page.locator(".jp-Notebook").wait_for(timeout=LOAD_MS)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=LOAD_MS)


def test_approve_in_jupyterlab(world: Living, lab: Lab, browser: Browser, tmp_path: Path) -> None:
    """From the notebook to the page and back: the cell shows the result, the ledger holds the receipt."""
    digest = world.outstanding().digest
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, color_scheme="light")
    page = context.new_page()
    load(page, lab.url("committee-1", NOTEBOOK))
    run(page, 0)
    run(page, 1)
    page.locator(LINK).wait_for(timeout=LOAD_MS)
    login = opened(context, page, world, "login")
    shown = page.locator(".wb-words").first.inner_text()
    assert shown in login.page.locator("main").inner_text()
    login.page.locator("button").click()
    assert "is logged in" in login.outcome
    page.locator(".wb-status", has_text="logged in").wait_for(timeout=LOAD_MS)
    run(page, 2)
    row = page.locator(f"tr[data-digest='{digest}']")
    row.wait_for(timeout=LOAD_MS)
    assert words(digest) in row.inner_text()
    run(page, 3)
    page.locator(LINK).wait_for(timeout=LOAD_MS)
    page.screenshot(path=str(tmp_path / "queue.png"))
    review = opened(context, page, world, "approval")
    review.read()
    assert review.press("approve").startswith("Recorded as entry")
    page.locator(".wb-status", has_text="you approved").wait_for(timeout=LOAD_MS)
    assert world.settled(world.pm.intent(digest)).state == "confirmed"
    run(page, 4)
    run(page, 5)
    page.get_by_text("Decision receipt: every line proven").wait_for(timeout=LOAD_MS)
    page.get_by_text("What became of it").wait_for(timeout=LOAD_MS)
    page.screenshot(path=str(tmp_path / "end.png"))
    before = sessions(world, "committee-1")
    add(page, "from workbench.desk.live import renew; await renew()")
    page.locator(LINK).wait_for(timeout=LOAD_MS)
    renewal = opened(context, page, world, "login", counter=2 * COUNTED)
    renewal.page.locator("button").click()
    assert "is logged in" in renewal.outcome
    # for a moment the queue may say that its session has ended: renewed
    page.get_by_text("renewed", exact=True).wait_for(timeout=LOAD_MS)
    (after,) = sessions(world, "committee-1")
    assert len(before) == 1
    assert after not in before
    # the queue that was drawn under the first key goes on under the second
    second = world.outstanding(world.allowance(4321)).digest
    page.locator(f"tr[data-digest='{second}']").wait_for(timeout=LOAD_MS)
    page.screenshot(path=str(tmp_path / "renewed.png"))
    context.close()
    world.officer("cro-1").decide(second, verb="reject", role="cro", reason="end of the test")
    (made,) = [
        entry
        for entry in world.entries()
        if (entry.get("subject"), entry["type"]) == (digest, Event.DECIDED.value)
    ]
    assert made["actor"] == "committee-1"


def explored(page: Page, url: str) -> Locator:
    """Open the committee's page on risk, and nothing that was open before; run it as far as the sliders."""
    load(page, f"{url}&reset")
    for number in (0, 1, 8):
        run(page, number)
    explorer = page.locator(".wb-explore")
    explorer.wait_for(timeout=LOAD_MS)
    return explorer


def move(explorer: Locator, name: str, place: float) -> float:
    """Move a slider as its user does; return how long the page took to follow, in milliseconds."""
    before = explorer.get_attribute("data-redrawn") or ""
    explorer.locator(f"input[data-name='{name}']").fill(str(place))
    expect(explorer).not_to_have_attribute("data-redrawn", before, timeout=LOAD_MS)
    return float(explorer.get_attribute("data-redrawn-ms") or "nan")


def test_sliders_follow_exactly(lab: Lab, browser: Browser, tmp_path: Path) -> None:
    """A move redraws curve, table and control values from exact figures; the way back gives the file's."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page = context.new_page()
    explorer = explored(page, lab.url("committee-1", "risk/exposure.ipynb"))
    page.locator("details:not([open]) > summary").evaluate_all("all => all.forEach(each => each.click())")
    start = explorer.locator(".wb-shown").inner_text()
    assert "$330,000" in start
    assert "$3,500" in start
    path = explorer.locator("path.wb-within").get_attribute("d")
    places = {"common": 0.1, "rate/hot-wallet-key": 0.75, "failure/phishing/hardware-keys-and-approval": 0.5}
    for name, place in places.items():
        assert move(explorer, name, place) > 0
    portfolio = exposure.read().portfolio
    starts = {each.name: each.start for each in explore.sliders(portfolio)}
    exact = explore.redrawn(portfolio, starts | places)
    shown = explorer.locator(".wb-shown").inner_text()
    for row in (*exact["figures"], *exact["rows"]):
        assert all(text in shown for text in row)
    assert all(told in shown for _, _, told in exact["worths"])
    assert explorer.locator("path.wb-within").get_attribute("d") != path
    assert exact["meanings"]["common"] in explorer.locator(".wb-sliders").inner_text()
    page.screenshot(path=str(tmp_path / "sliders.png"))
    explorer.get_by_text("As in the file").click()
    expect(explorer.locator(".wb-shown")).to_have_text(re.compile(r"\$3,500"), timeout=LOAD_MS)
    assert explorer.locator(".wb-shown").inner_text() == start
    context.close()


def test_nobody_looks(world: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by papermill, the notebook says that there is nobody to press a key, and signs nothing."""
    monkeypatch.setenv(SOCKET, str(world.socket))
    monkeypatch.setenv(TRUST_ROOT, str(world.world.places.trust_root))
    source = Path(__file__).parents[2] / "notebooks" / NOTEBOOK
    with world.unchanged(refusals=0), pytest.raises(NotebookError, match="no browser shows this notebook"):
        notebook.run(source, tmp_path, {"person": "committee-1"})


def test_nobody_looks_at_a_renewal(world: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser draws the link nothing is renewed, and the session that there is goes on."""
    speaks = world.officer("trader-1").speaks
    monkeypatch.setattr(live, "SEEN_S", 1.0)
    monkeypatch.setattr(live, "_current", [])

    async def act() -> None:
        with pytest.raises(live.NotLoggedInError):
            await live.renew()
        here = live.Desk(speaks, world.world.trust_root, asyncio.get_running_loop())
        monkeypatch.setattr(live, "_current", [here])
        with pytest.raises(live.HeadlessError):
            await live.renew()
        assert here.client is speaks

    with world.unchanged(refusals=0), ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(act())).result()
    assert [each.session for each in speaks.sessions()] == [speaks.certified.session.digest]


def test_nobody_looks_at_an_approval(world: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also somebody who is logged in approves nothing where no browser draws the link."""
    view = world.outstanding(world.allowance(4323))
    speaks = world.officer("risk-1").speaks
    speaks.ask(view.digest)  # reserves the nonce, so that nothing more changes
    monkeypatch.setattr(live, "SEEN_S", 1.0)

    async def act() -> None:
        monkeypatch.setattr(
            live, "_current", [live.Desk(speaks, world.world.trust_root, asyncio.get_running_loop())]
        )
        await live.approve(view.digest)

    # a thread of its own: the browser's library has a loop in this one
    with world.unchanged(refusals=0), ThreadPoolExecutor(1) as pool, pytest.raises(live.HeadlessError):
        pool.submit(lambda: asyncio.run(act())).result()
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


@pytest.mark.parametrize(
    ("person", "method", "path", "status"),
    [
        ("committee-1", "GET", "/api/contents", 200),
        ("committee-1", "POST", "/api/kernels", 201),
        ("committee-1", "POST", "/api/terminals", 404),
        ("auditor-1", "GET", "/api/contents", 200),
        ("auditor-1", "GET", "/api/contents/committee/approvals.ipynb", 200),
        ("auditor-1", "POST", "/api/kernels", 403),
        ("auditor-1", "POST", "/api/sessions", 403),
        ("auditor-1", "PUT", "/api/contents/mine.ipynb", 403),
        ("auditor-1", "DELETE", "/api/contents/committee/approvals.ipynb", 403),
        ("auditor-1", "POST", "/api/terminals", 404),
        ("auditor-1", "POST", "/api/shutdown", 403),
        ("nobody", "GET", "/api/contents", 403),
        ("nobody", "POST", "/api/kernels", 403),
    ],
)
def test_what_roles_may_do_in_lab(lab: Lab, person: str, method: str, path: str, status: int) -> None:
    """An auditor's Lab reads and starts nothing; a stranger's does not even read; nobody gets a terminal."""
    parts = urlsplit(lab.origin)
    http = HTTPConnection("127.0.0.1", parts.port or 0, timeout=60)
    headers = {"Host": parts.netloc, "Authorization": f"token {lab.tokens.get(person, 'x')}"}
    body = json.dumps({"name": "python3"} if method == "POST" else {"type": "notebook", "content": None})
    http.request(
        method, path, body if method != "GET" else None, {**headers, "Content-Type": "application/json"}
    )
    assert http.getresponse().status == status
    http.close()
