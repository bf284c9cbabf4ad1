"""The login page in a real browser: a key speaks for a person only when he pressed for exactly that key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.approver.browser import Screen, screen
from tests.approver.test_page import CLIPPED, last_refusal
from tests.approver.test_process import get, lied_to, post
from tests.world import Living, refused
from workbench import client
from workbench.client import Client
from workbench.rules.session import Session
from workbench.rules.words import words


@pytest.fixture
def opened(world: Living) -> Iterator[tuple[Any, Session]]:
    """Return a key and the login that waits for the compliance of its person."""
    yield client.open_login(world.socket, "trader-1")
    speaker = world.officer("admin-1").speaks
    (reviewed,) = [each for each in speaker.access() if each.person == "trader-1"]
    for each in reviewed.sessions:
        speaker.end(each.session)


def page(tab: Screen, session: Session) -> None:
    """Open the login page."""
    tab.page.goto(f"{tab.world.world.trust_root.login.origin}/login/{session.digest}")


def press(tab: Screen) -> str:
    """Press the one button, then the key."""
    tab.page.locator("button").click()
    return tab.outcome


def test_log_in(world: Living, browser: Browser, opened: tuple[Any, Session]) -> None:
    """The page shows the words that the program shows; after the press the key speaks."""
    key, session = opened
    with screen(browser, world, "trader-1", path="login", counter=500) as tab:
        page(tab, session)
        text = tab.page.locator("main").inner_text()
        assert words(session.digest) in text
        assert f"OS user {os.getuid()}" in text
        assert press(tab).startswith("trader-1 is logged in")
    certified = client.certified(world.socket, session)
    assert certified is not None
    speaks = Client(world.socket, key, certified)
    assert [each.session for each in speaks.sessions()] == [session.digest]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 360)])
def test_nothing_is_clipped(
    world: Living, browser: Browser, opened: tuple[Any, Session], scheme: Any, width: int
) -> None:
    """Keys and digests break, in a narrow window too."""
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 700}}
    with screen(browser, world, "trader-1", path="login", context=context) as tab:
        page(tab, opened[1])
        assert tab.page.evaluate(CLIPPED) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("person", "path"),
    [
        pytest.param("trader-1", "approval", id="the approval key"),
        pytest.param("risk-1", "login", id="another's"),
    ],
)
def test_other_keys(
    world: Living, browser: Browser, opened: tuple[Any, Session], person: str, path: str
) -> None:
    """Only this person's login key can be pressed there."""
    with screen(browser, world, person, path=path) as tab, world.unchanged(refusals=0):
        page(tab, opened[1])
        assert "nothing was signed" in press(tab)
        assert client.asked_login(world.socket, opened[1].digest).session == opened[1]


def test_user_verification_off(world: Living, browser: Browser, opened: tuple[Any, Session]) -> None:
    """A key that does not recognise its owner logs nobody in."""
    with screen(browser, world, "trader-1", path="login") as tab, world.unchanged(refusals=0):
        tab.verify_user(able=False)
        page(tab, opened[1])
        assert "nothing was signed" in press(tab)


def test_a_synced_key(world: Living, browser: Browser, opened: tuple[Any, Session]) -> None:
    """A passkey that may live elsewhere is refused by name, and no session starts."""
    with screen(browser, world, "trader-1", path="login", synced=True) as tab:
        page(tab, opened[1])
        with world.unchanged(refusals=1):
            assert "assertion invalid" in press(tab)
    assert last_refusal(world)["code"] == "assertion_invalid"


def test_a_service_that_slips_in_its_own_key(
    world: Living, browser: Browser, opened: tuple[Any, Session]
) -> None:
    """A service that wants a session of its own in a person's name is not shown to him."""
    foreign = client.open_login(world.socket, "trader-1")[1]

    def lie(call: str, value: Any) -> Any:
        return {**value, "session": foreign.dump()} if call.startswith("GET /v1/logins/") else value

    with lied_to(world, lie), screen(browser, world, "trader-1", path="login") as tab:
        page(tab, opened[1])
        assert "session of another" in tab.page.locator("main").inner_text()
        assert tab.page.locator("button").count() == 0


def test_origins_are_not_mixed(world: Living, opened: tuple[Any, Session]) -> None:
    """Neither origin answers for the other: a login is shown at its own, and acted on from there only."""
    root = world.world.trust_root
    host = root.login.origin.partition("://")[2]
    assert get(world, f"/login/{opened[1].digest}")[0] == 404
    assert get(world, f"/login/{opened[1].digest}", Host=host)[0] == 200
    assert get(world, f"/review/{'00' * 32}", Host=host)[0] == 404
    path = f"/logins/{opened[1].digest}/challenge"
    with world.unchanged(refusals=1):
        assert post(world, path, b"{}", Host=host)[0] == 403
    assert post(world, path, b"{}", Host=host, Origin=root.login.origin)[0] == 200


def test_logins_that_are_not_open(world: Living) -> None:
    """A login that nobody opened cannot be signed."""
    refused("session_unknown", lambda: client.asked_login(world.socket, "00" * 32))
