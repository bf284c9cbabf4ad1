"""Pages in the hands of a script that runs in them, with keys at hand that no browser would press.

The page's own requests are made from inside the page, so that the browser vouches for them as for the page's
own; what they carry was signed by an officer's key, but is not the press that was asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fido2.utils import websafe_decode
from playwright.sync_api import Browser

from tests.approver.browser import Screen, owned, screen
from tests.approver.test_login import page
from tests.approver.test_page import asked, last_refusal, page_at
from tests.rules.build import press
from tests.world import Living, living
from workbench import client
from workbench.client import IntentView
from workbench.rules.assertion import APPROVAL, Assertion
from workbench.rules.trust import RelyingParty

COUNTS = itertools.count(10_000, 1_000)
"""What a key has counted, higher each time: nothing is refused for its counter here."""
POST = """async ({path, body}) => {
    const answer = await fetch(path,
        {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
    return answer.json();
}"""
LOGIN = "login"
LIFE_S = 30
"""Of a decision, and of the simulation that its page shows: long enough to open and read one."""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world of its own, where no credential has counted before."""
    with living() as built:
        yield built


def post(tab: Screen, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post from inside the page."""
    told: dict[str, Any] = tab.page.evaluate(POST, {"path": path, "body": body})
    return told


def acts(tab: Screen) -> tuple[str, str]:
    """Return where the page asks what to sign, and where it brings the press."""
    act, answer = tab.page.evaluate("[document.body.dataset.act, document.body.dataset.answer]")
    return act, answer


def challenge(tab: Screen, *, role: str) -> bytes:
    """Have a consent drafted as the page does; return what it would have the key sign."""
    told = post(tab, acts(tab)[0], {"verb": "approve", "role": role, "reason": ""})
    return websafe_decode(told["publicKey"]["challenge"])


def bring(tab: Screen, assertion: Assertion) -> str:
    """Bring an assertion as the page does; return the code of the refusal, or nothing."""
    told = post(tab, acts(tab)[1], {"assertion": assertion.dump()})
    return str(told.get("code", ""))


def pressed(
    world: Living,
    person: str,
    over: bytes,
    *,
    path: str = APPROVAL,
    named: str | None = None,
    party: RelyingParty | None = None,
    **changes: Any,
) -> Assertion:
    """Press a person's key for a path; `named` is whose credential the assertion says it is."""
    root = world.world.trust_root
    parties = {APPROVAL: root.approval, LOGIN: root.login}
    keys = {each.id: key for each, _, key in owned(world, person)}
    own, *_ = (each.id for each, _, _ in owned(world, person) if each.path == path)
    others, *_ = (each.id for each, _, _ in owned(world, named or person) if each.path == path)
    return press(
        keys, others, over, party=party or parties[path], signer=own, **{"counter": next(COUNTS), **changes}
    )


@contextmanager
def refused_by_name(world: Living, code: str) -> Iterator[list[str]]:
    """Assert that the block brings an answer with this code, that the ledger names it, and nothing else."""
    said: list[str] = []
    with world.unchanged(refusals=1):
        yield said
    assert said == [code]
    assert last_refusal(world)["code"] == code


@pytest.fixture
def reading(world: Living, browser: Browser) -> Iterator[tuple[Screen, IntentView]]:
    """Return the page of an intent that waits for a committee member, read to its end."""
    with asked(browser, world, "committee-1") as (tab, view):
        tab.read()
        yield tab, view
        assert world.pm.intent(view.digest).decisions == []


FORGED: list[Any] = [
    pytest.param("assertion_invalid", {"flags": 0x01}, id="user verification off"),
    pytest.param("assertion_invalid", {"flags": 0x04}, id="nobody present"),
    pytest.param("assertion_invalid", {"flags": 0x0D}, id="a key that may be synced"),
    pytest.param("assertion_invalid", {"flags": 0x1D}, id="a key that is synced"),
    pytest.param("assertion_invalid", {"client": {"crossOrigin": True}}, id="made in a frame"),
    pytest.param("assertion_invalid", {"client": {"crossOrigin": None}}, id="framed or not, unsaid"),
    pytest.param(
        "assertion_invalid", {"client": {"topOrigin": "http://lab.localhost:8888"}}, id="under another page"
    ),
    pytest.param(
        "assertion_invalid", {"client": {"origin": "http://lab.localhost:8888"}}, id="made in Lab's origin"
    ),
    pytest.param("assertion_invalid", {"rp_id": "lab.localhost"}, id="for Lab's RP id"),
    pytest.param("assertion_invalid", {"client": {"type": "webauthn.create"}}, id="a registration"),
]


@pytest.mark.parametrize(("code", "changes"), FORGED)
def test_presses_that_were_not_asked_for(
    world: Living, reading: tuple[Screen, IntentView], code: str, changes: dict[str, Any]
) -> None:
    """The right key over the right bytes, but not as the page asks for it."""
    tab, _ = reading
    with refused_by_name(world, code) as said:
        over = challenge(tab, role="committee")
        said.append(bring(tab, pressed(world, "committee-1", over, **changes)))


@pytest.mark.parametrize(
    ("named", "code"),
    [
        pytest.param("risk-1", "credential_unknown", id="under its own name"),
        pytest.param("committee-1", "assertion_invalid", id="under the name of the key that was asked for"),
    ],
)
def test_another_approvers_key(
    world: Living, reading: tuple[Screen, IntentView], named: str, code: str
) -> None:
    """Another approver's key cannot speak in this page, whatever it calls itself."""
    tab, _ = reading
    with refused_by_name(world, code) as said:
        over = challenge(tab, role="committee")
        said.append(bring(tab, pressed(world, "risk-1", over, named=named)))


def test_a_document_altered_before_the_press(world: Living, reading: tuple[Screen, IntentView]) -> None:
    """A press over another document than the one drafted from what was shown is none over this one."""
    tab, _ = reading
    with refused_by_name(world, "assertion_over_something_else") as said:
        other = hashlib.sha256(challenge(tab, role="committee")).digest()
        said.append(bring(tab, pressed(world, "committee-1", other)))


def test_a_press_for_an_earlier_draft(world: Living, reading: tuple[Screen, IntentView]) -> None:
    """What was drafted before is void as soon as something else is: its press is one over something else."""
    tab, _ = reading
    with refused_by_name(world, "assertion_over_something_else") as said:
        earlier = challenge(tab, role="committee")
        challenge(tab, role="committee")
        said.append(bring(tab, pressed(world, "committee-1", earlier)))


def test_a_login_as_a_decision(world: Living, browser: Browser, reading: tuple[Screen, IntentView]) -> None:
    """A press that logged somebody in decides nothing, even if a page shows its very bytes to the key."""
    tab, _ = reading
    _, session = client.open_login(world.socket, "committee-1")
    with screen(browser, world, "committee-1", path=LOGIN, counter=next(COUNTS)) as entrance:
        page(entrance, session)
        with entrance.page.expect_request("**/assertion") as caught:
            entrance.page.locator("button").click()
            assert entrance.outcome.startswith("committee-1 is logged in")
    login = Assertion.load(caught.value.post_data_json["assertion"])
    with refused_by_name(world, "credential_unknown") as said:
        challenge(tab, role="committee")
        said.append(bring(tab, login))
    with refused_by_name(world, "credential_unknown") as said:
        over = challenge(tab, role="committee")
        said.append(bring(tab, pressed(world, "committee-1", over, path=LOGIN)))
    with refused_by_name(world, "assertion_invalid") as said:
        over = challenge(tab, role="committee")
        entered = world.world.trust_root.login
        said.append(bring(tab, pressed(world, "committee-1", over, party=entered)))


def test_a_decision_as_a_login(world: Living, browser: Browser) -> None:
    """A press that decided logs nobody in, even if it was made over the very session."""
    with asked(browser, world, "committee-1", counter=next(COUNTS)) as (tab, _):
        tab.read()
        with tab.page.expect_request("**/assertion") as caught:
            assert "Recorded" in tab.press("abstain", reason="a test")
    decision = Assertion.load(caught.value.post_data_json["assertion"])
    _, session = client.open_login(world.socket, "committee-1")
    at_entrance, root = f"/logins/{session.digest}/assertion", world.world.trust_root
    forged = {
        "credential_unknown": [decision, pressed(world, "committee-1", bytes.fromhex(session.digest))],
        "assertion_invalid": [
            pressed(world, "committee-1", bytes.fromhex(session.digest), path=LOGIN, party=root.approval)
        ],
    }
    with screen(browser, world, "committee-1", path=LOGIN) as entrance:
        page(entrance, session)
        for code, assertions in forged.items():
            for each in assertions:
                with refused_by_name(world, code) as said:
                    said.append(post(entrance, at_entrance, {"assertion": each.dump()})["code"])
                assert client.certified(world.socket, session) is None


@pytest.mark.parametrize(("code", "changes"), FORGED)
def test_logins_that_were_not_asked_for(
    world: Living, browser: Browser, code: str, changes: dict[str, Any]
) -> None:
    """The right login key over the right session, but not as the page asks for it, logs nobody in."""
    _, session = client.open_login(world.socket, "committee-1")
    with screen(browser, world, "committee-1", path=LOGIN) as entrance:
        page(entrance, session)
        made = pressed(world, "committee-1", bytes.fromhex(session.digest), path=LOGIN, **changes)
        with refused_by_name(world, code) as said:
            told = post(entrance, f"/logins/{session.digest}/assertion", {"assertion": made.dump()})
            said.append(told["code"])
        assert client.certified(world.socket, session) is None


def test_a_replay(world: Living, browser: Browser) -> None:
    """A press that was recorded is refused when it comes again: in its page, and in a page opened anew."""
    with asked(browser, world, "committee-1", counter=next(COUNTS)) as (tab, view):
        tab.read()
        with tab.page.expect_request("**/assertion") as caught:
            assert "Recorded" in tab.press("abstain", reason="once")
        again = Assertion.load(caught.value.post_data_json["assertion"])
        with refused_by_name(world, "replayed") as said:
            said.append(bring(tab, again))
    with asked(browser, world, "committee-1") as (tab, view):
        tab.read()
        with refused_by_name(world, "replayed") as said:
            said.append(bring(tab, again))
        with refused_by_name(world, "assertion_over_something_else") as said:
            challenge(tab, role="committee")
            said.append(bring(tab, again))
        assert world.pm.intent(view.digest).decisions == []


def test_a_script_in_labs_origin(world: Living, browser: Browser) -> None:
    """What a notebook's page sends to ours, as far as a browser lets it, is refused and recorded as such."""
    with asked(browser, world, "committee-1") as (tab, view):
        tab.read()
        over, act = challenge(tab, role="committee"), acts(tab)[1]
        made = pressed(world, "committee-1", over)
        origin = world.world.trust_root.approval.origin
        with (
            screen(browser, world, "committee-1") as lab,
            page_at("lab.localhost", "<p>Lab</p>") as url,
            world.unchanged(refusals=1),
        ):
            lab.page.goto(url)
            # the one kind of request that a browser sends to another origin without asking there first
            sent = lab.page.evaluate(
                """({url, body}) => fetch(url, {method: 'POST', mode: 'no-cors', body: JSON.stringify(body)})
                    .then(() => 'answered', error => error.message)""",
                {"url": origin + act, "body": {"assertion": made.dump()}},
            )
            assert sent == "Failed to fetch"
        # nothing of the answer is shown to the page that asked; the ledger has it
        assert last_refusal(world)["code"] == "origin_not_ours"
        assert world.pm.intent(view.digest).decisions == []
        # the very press was good: only where it came from was not
        assert bring(tab, made) == ""
    assert len(world.pm.intent(view.digest).decisions) == 1


def test_an_expired_decision(browser: Browser) -> None:
    """A page that lay open for too long signs nothing any more: the decision has an end of its own."""
    with living(limits={"decision_life_s_max": LIFE_S}) as world:
        view = world.outstanding()
        ticket = world.officer("risk-1").speaks.ask(view.digest).ticket
        with screen(browser, world, "risk-1") as tab:
            tab.open(ticket)
            tab.read()
            with refused_by_name(world, "expired") as said:
                made = pressed(world, "risk-1", challenge(tab, role="risk_officer"))
                time.sleep(LIFE_S + 0.5)
                said.append(bring(tab, made))
        assert world.pm.intent(view.digest).decisions == []
