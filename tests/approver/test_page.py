"""The approval page in a real browser: what is read is what is signed, and nothing else gets through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Error

from tests.approver.browser import Screen, screen
from tests.world import Living
from workbench.client import IntentView
from workbench.rules.words import words

CLIPPED = """() => [...document.querySelectorAll('body *')]
  .filter(each => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline'
                  && !['INPUT', 'SELECT'].includes(each.tagName))
  .map(each => each.tagName + ': ' + each.textContent.slice(0, 60))"""


def last_refusal(world: Living) -> dict[str, Any]:
    """Return what the ledger says of the newest refusal."""
    found = [entry["data"] for entry in world.entries() if entry["type"] == "request.refused"]
    return found[-1]


@contextmanager
def asked(
    browser: Browser, world: Living, person: str, view: IntentView | None = None, **options: Any
) -> Iterator[tuple[Screen, IntentView]]:
    """Open the page of an intent that waits for this person; it is rejected afterwards."""
    view = view or world.outstanding()
    ticket = world.officer(person).speaks.ask(view.digest).ticket
    with screen(browser, world, person, **options) as tab:
        tab.open(ticket)
        yield tab, view
    if world.pm.intent(view.digest).state == "outstanding":
        world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def test_approve(world: Living, browser: Browser) -> None:
    """Read to the end, press: the decision is in the ledger, the transaction on the chain."""
    with asked(browser, world, "committee-1") as (tab, view):
        button = tab.page.locator("button[data-verb=approve]")
        assert button.is_disabled()
        assert words(view.digest) in tab.page.locator("main").inner_text()
        tab.read()
        assert button.is_enabled()
        said = tab.press("approve")
        assert said.startswith("Recorded as entry")
        assert button.is_disabled()
    final = world.settled(world.pm.intent(view.digest))
    assert final.state == "confirmed"
    (signed,) = final.decisions
    assert (signed.decision.person, signed.decision.verb) == ("committee-1", "approve")


def test_the_buttons_sleep_until_everything_was_seen(world: Living, browser: Browser) -> None:
    """Jumping to the end is not reading: what was passed over is still unread."""
    with asked(browser, world, "risk-1") as (tab, _):
        tab.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        tab.page.wait_for_timeout(300)
        assert tab.page.locator("button:enabled").count() == 0
        assert "not seen yet" in tab.page.locator("#left").inner_text()


@pytest.mark.parametrize("verb", ["reject", "abstain"])
def test_a_no_needs_a_reason(world: Living, browser: Browser, verb: str) -> None:
    """Without one nothing is signed; with one it is recorded, and stands in the ledger."""
    with asked(browser, world, "committee-1", counter=2000 if verb == "reject" else 3000) as (tab, view):
        tab.read()
        with world.unchanged(refusals=0):
            assert "reason is needed" in tab.press(verb)
        assert "Recorded" in tab.press(verb, reason="conflict of interest")
    (signed,) = world.pm.intent(view.digest).decisions[:1]
    assert (signed.decision.verb, signed.decision.reason) == (verb, "conflict of interest")


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360), ("dark", 360)]
)
def test_nothing_is_clipped(world: Living, browser: Browser, scheme: str, width: int) -> None:
    """Long calldata, long addresses and a long purpose break; no element hides what it holds."""
    intent = world.allowance(7, purpose="0x" + "ab" * 400 + " " + "W" * 300)
    view = world.outstanding(intent)
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 700}}
    with asked(browser, world, "risk-1", view, context=context) as (tab, _):
        assert tab.page.evaluate(CLIPPED) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        tab.read()


def test_user_verification_off(world: Living, browser: Browser) -> None:
    """A key that does not recognise its owner decides nothing."""
    with asked(browser, world, "risk-1") as (tab, _):
        tab.read()
        tab.verify_user(able=False)
        with world.unchanged(refusals=0):
            assert "nothing was signed" in tab.press("approve")


def test_a_synced_key(world: Living, browser: Browser) -> None:
    """What the browser accepts is judged again: a key that may live elsewhere is refused, without effect."""
    with asked(browser, world, "risk-1", synced=True) as (tab, _):
        tab.read()
        with world.unchanged(refusals=1):
            assert "assertion invalid" in tab.press("approve")
        assert last_refusal(world)["code"] == "assertion_invalid"


def test_a_counter_that_went_back(world: Living, browser: Browser) -> None:
    """A key that counts backwards is there twice: it is frozen, and that is all that happens."""
    with asked(browser, world, "committee-1", counter=8000) as (tab, _):
        tab.read()
        assert "Recorded" in tab.press("abstain", reason="the count before")
    with asked(browser, world, "committee-1", counter=0) as (tab, view):
        tab.read()
        before = world.photograph()
        assert "credential frozen" in tab.press("approve")
        after = world.photograph()
        assert last_refusal(world)["code"] == "credential_frozen"
        assert after.refusals == before.refusals + 1
        assert [kind for kind, _ in after.entries[len(before.entries) :]] == ["credential.frozen"]
        assert (after.memory, after.transactions) == (before.memory, before.transactions)
        assert world.pm.intent(view.digest).decisions == []


def test_another_persons_key(world: Living, browser: Browser) -> None:
    """The page of one person does not take another's key: the browser has nothing to press."""
    view = world.outstanding()
    ticket = world.officer("risk-1").speaks.ask(view.digest).ticket
    with screen(browser, world, "trader-1") as tab, world.unchanged(refusals=0):
        tab.open(ticket)
        tab.read()
        assert "nothing was signed" in tab.press("approve")
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def test_a_simulation_made_after_the_page_was_shown(world: Living, browser: Browser) -> None:
    """Consent to what was shown is none to what is there now."""
    with asked(browser, world, "risk-1", counter=4000) as (tab, view):
        tab.read()
        world.pm.simulate(view.digest)
        with world.unchanged(refusals=1):
            assert "another simulation" in tab.press("approve")
        assert last_refusal(world)["code"] == "decision_over_another_simulation"


def test_a_document_altered_on_screen(world: Living, browser: Browser) -> None:
    """Whoever changes the page changes no byte of what is signed: that was made from what was verified."""
    with asked(browser, world, "risk-1", counter=5000) as (tab, view):
        tab.read()
        tab.page.evaluate("document.querySelector('h1').textContent = 'Nothing moves'")
        assert "Recorded" in tab.press("abstain", reason="altered")
    (signed,) = world.pm.intent(view.digest).decisions[:1]
    assert signed.decision.intent == view.digest


def test_a_page_is_answered_once(world: Living, browser: Browser) -> None:
    """A press is good for one decision: sent again it is refused, by page and by service."""
    with asked(browser, world, "risk-1", counter=6000) as (tab, view):
        tab.read()
        with tab.page.expect_request("**/assertion") as caught:
            assert "Recorded" in tab.press("abstain", reason="once")
        body = caught.value.post_data
        assert body is not None
        again = tab.page.evaluate(
            """async body => {
                const answer = await fetch(document.body.dataset.answer,
                    {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
                return (await answer.json()).code;
            }""",
            body,
        )
        assert again == "replayed"
        assert len(world.pm.intent(view.digest).decisions) == 1


def test_a_frame(world: Living, browser: Browser) -> None:
    """Nobody draws over the page: in a frame there is none, and the ledger says who tried."""
    view = world.outstanding()
    ticket = world.officer("risk-1").speaks.ask(view.digest).ticket
    with screen(browser, world, "risk-1") as tab:
        frame = f'<iframe src="{tab.url(ticket)}" width="900" height="900"></iframe>'
        with page_at("lab.localhost", frame) as url, world.unchanged(refusals=1):
            tab.page.goto(url)
            tab.page.wait_for_timeout(500)
            inner = tab.page.frames[1]
            assert "What your key signs" not in inner.content()
        assert last_refusal(world)["code"] == "origin_not_ours"
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def test_a_script_in_another_origin(world: Living, browser: Browser) -> None:
    """A notebook's page cannot ask for the approval key, read a page, or act on one."""
    view = world.outstanding()
    ticket = world.officer("risk-1").speaks.ask(view.digest).ticket
    with screen(browser, world, "risk-1") as tab, page_at("lab.localhost", "<p>Lab</p>") as url:
        tab.page.goto(url)
        rp = world.world.trust_root.approval
        with pytest.raises(Error, match="SecurityError"):
            tab.page.evaluate(
                """rp => navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: rp}})""",
                rp.id,
            )
        for options in ("{}", "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}"):
            with pytest.raises(Error, match="Failed to fetch"):
                tab.page.evaluate(f"url => fetch(url, {options})", tab.url(ticket))
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def test_a_name_bound_to_our_address(world: Living, browser: Browser) -> None:
    """A site whose name points here gets no page: the Host is not ours."""
    port = world.world.trust_root.approval.origin.rpartition(":")[2]
    with screen(browser, world, "risk-1") as tab, world.unchanged(refusals=1):
        answer = tab.page.goto(f"http://evil.localhost:{port}/review/{'00' * 32}")
        assert answer is not None
        assert answer.status == 403
    assert last_refusal(world)["code"] == "origin_not_ours"


def test_tickets_that_open_nothing(world: Living, browser: Browser) -> None:
    """An unknown ticket shows a page that says so, and offers nothing to press."""
    with screen(browser, world, "risk-1") as tab, world.unchanged(refusals=1):
        tab.open("00" * 32)
        assert "not found" in tab.page.locator("main").inner_text()
        assert tab.page.locator("button").count() == 0
    assert last_refusal(world)["code"] == "not_found"


@contextmanager
def page_at(host: str, markup: str) -> Iterator[str]:
    """Serve one page under a name of its own, as JupyterLab is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = markup.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
