"""The page of a next policy set, and the second path: what an officer reads is the set that he signs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from ledger.encoding import canonical
from tests.approver.browser import Screen, screen
from tests.approver.test_console import approve, hand_in
from tests.approver.test_page import CLIPPED, last_refusal
from tests.world import Living, living
from workbench import client
from workbench.rules.documents import write_time
from workbench.rules.policy import PolicySet, manifest_of
from workbench.rules.words import words

DELAY_S = 3600
LIMITS = ("single_usd_cents_max", "daily_usd_cents_max", "slippage_bps_max", "gas_max", "intent_life_s_max")


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world of its own: its policy set is about to change."""
    with living(limits={"change_delay_s_min": DELAY_S}) as built:
        yield built


ELSEWHERE = """async () => {
  const path = document.body.dataset.act.replace('looks', 'changes').replace('decision', 'word');
  const answer = await fetch(path, {
    method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ verb: 'sign', reason: '' }) });
  return [(await answer.json()).code, answer.status];
}"""


def proposed(world: Living, site: str, *, by: str, leaving: str = "", **limits: int) -> PolicySet:
    """Propose a set: the trader moves to another site or somebody leaves, and some limits change."""
    current = world.world.policy
    people = json.loads(current.files["people.json"])
    for each in people:
        each["site"] = site if each["id"] == "trader-1" else each["site"]
    made = {"people.json": [each for each in people if each["id"] != leaving]}
    if limits:
        made["limits.json"] = json.loads(current.files["limits.json"]) | limits
    files = {**current.files, **{name: canonical(value, limit=2**20) for name, value in made.items()}}
    at = datetime.now(UTC) + timedelta(seconds=0 if leaving else DELAY_S + 60)
    manifest = manifest_of(files, name="desk", version=2, previous=current.digest, at=write_time(at))
    next_set = PolicySet(manifest, files, [])
    world.officer(by).speaks.amend(next_set)
    return next_set


def page(world: Living, tab: Screen, person: str, next_set: PolicySet) -> str:
    """Open the page of a set; return its text."""
    ticket = world.officer(person).speaks.ask_change(next_set.digest).ticket
    tab.page.goto(f"{world.world.trust_root.approval.origin}/change/{ticket}")
    return tab.page.locator("main").inner_text()


def exported(world: Living, whom: str, next_set: PolicySet, path: Path, **changes: Any) -> Path:
    """Export what this person is asked of a set."""
    ticket = world.officer(whom).speaks.ask_change(next_set.digest).ticket
    change = client.asked_change(world.socket, ticket).dump()
    path.write_bytes(canonical({"v": 1, "ticket": ticket, "change": {**change, **changes}}, limit=2**24))
    return path


def two_words(next_set: PolicySet) -> str:
    """Return what has to be typed."""
    return " ".join(words(next_set.digest).split()[-2:])


def test_read_and_sign(world: Living, browser: Browser) -> None:
    """The whole difference stands on the page; read to the end, press: the signature is in the ledger."""
    next_set = proposed(world, "south", by="admin-1", single_usd_cents_max=123_456_789)
    with screen(browser, world, "committee-1") as tab:
        seen = page(world, tab, "committee-1", next_set)
        for said in ("trader-1 has another name", "100000000 → 123456789", "north → south", "admin-1"):
            assert said in seen
        assert words(next_set.digest) in seen
        button = tab.page.locator("button[data-verb=sign]")
        assert button.is_disabled()
        tab.read()
        assert button.is_enabled()
        assert tab.press("sign") == "Recorded. The policy set is now: pending. You can close this tab."
        assert world.pm.change(next_set.digest).signed_by == ["committee-1"]
        with world.unchanged(refusals=1):
            tab.page.reload()
            assert "no such ticket" in tab.page.locator("main").inner_text()
        page(world, tab, "committee-1", next_set)
        tab.read()
        with world.unchanged(refusals=1):
            assert "person counted already" in tab.press("sign")
    with screen(browser, world, "committee-1", counter=2000) as tab:
        page(world, tab, "committee-1", next_set)
        tab.read()
        with world.unchanged(refusals=0):
            assert "reason is needed to veto" in tab.press("veto")
        assert "now: vetoed" in tab.press("veto", reason="the limit is not what we said")
    view = world.pm.change(next_set.digest)
    assert view.veto is not None
    assert (view.standing, view.veto.veto.reason) == ("vetoed", "the limit is not what we said")


def test_who_may_only_read(world: Living, browser: Browser) -> None:
    """Whoever can neither sign nor veto is told so, and has no button."""
    next_set = proposed(world, "east", by="admin-1")
    with screen(browser, world, "pm-1") as tab, world.unchanged(refusals=0):
        assert "neither sign nor veto" in page(world, tab, "pm-1", next_set)
        assert tab.page.locator("button").count() == 0


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360), ("dark", 360)]
)
def test_nothing_is_clipped(world: Living, browser: Browser, scheme: str, width: int, tmp_path: Path) -> None:
    """Long values and long places break; no element hides what it holds."""
    wanted = proposed(world, "x" * 64, by="risk-1", **dict.fromkeys(LIMITS, 1))
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 700}}
    with screen(browser, world, "cro-1", context=context) as tab:
        page(world, tab, "cro-1", wanted)
        assert tab.page.evaluate(CLIPPED) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        tab.page.screenshot(path=str(tmp_path / "page.png"), full_page=True)


def test_the_look_of_one_page_does_not_serve_the_other(world: Living, browser: Browser) -> None:
    """What an intent's page made is no word about a policy set."""
    view = world.outstanding()
    ticket = world.officer("cro-1").speaks.ask(view.digest).ticket
    with screen(browser, world, "cro-1") as tab:
        tab.open(ticket)
        with world.unchanged(refusals=1):
            assert tab.page.evaluate(ELSEWHERE) == ["not_found", 404]
        assert last_refusal(world)["code"] == "not_found"
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a policy set that is not whole": ({"policy_chain": [{}]}, "malformed"),
    "somebody who is nobody": ({"person": "mallory-1"}, "person_unknown"),
    "the set in force once more": ({"following": None}, "policy_chain_broken"),
    "proposed tomorrow": ({"proposed_at": "2099-01-01T00:00:00.000000Z"}, "change_delay_not_kept"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_request_that_lies(world: Living, tmp_path: Path, name: str) -> None:
    """It is refused by name on the officer's own machine, before anything is shown."""
    changes, code_ = LIES[name]
    if "following" in changes:
        current = world.world.policy.dump()
        changes = {"following": {each: current[each] for each in ("manifest", "files")}}
    next_set = proposed(world, "west", by="committee-1")
    request = exported(world, "cro-1", next_set, tmp_path / "request.json", **changes)
    code, shown = approve(world, request, tmp_path / "answer.json", person="cro-1", typed="")
    assert (code, code_ in shown, "west" in shown) == (1, True, False)
    assert not (tmp_path / "answer.json").exists()


def test_another_set_than_was_asked_for(world: Living, tmp_path: Path) -> None:
    """Who swaps the set on the way gets a signature of what was read, and nothing for what he wanted."""
    wanted = proposed(world, "north-west", by="cro-1", single_usd_cents_max=10**12)
    harmless = proposed(world, "north-east", by="cro-1")
    carried = {each: harmless.dump()[each] for each in ("manifest", "files")}
    request = exported(world, "cro-1", wanted, tmp_path / "request.json", following=carried)
    answer = tmp_path / "answer.json"
    code, shown = approve(world, request, answer, person="cro-1", typed=two_words(harmless))
    assert (code, "north-east" in shown, "north-west" in shown) == (0, True, False), shown
    with world.unchanged(refusals=1):
        assert hand_in(world, answer).returncode == 1
    assert last_refusal(world)["code"] == "assertion_over_something_else"
    request = exported(world, "cro-1", wanted, tmp_path / "again.json")
    code, shown = approve(world, request, tmp_path / "a.json", "--verb", "abstain", person="cro-1", typed="")
    assert (code, "nobody can abstain" in shown) == (1, True)


def test_pages_alone_do_not_suffice(world: Living, browser: Browser, tmp_path: Path) -> None:
    """Two officers on the page, and the set waits; one of them at a terminal, and it is in force."""
    next_set = proposed(world, "north", by="admin-1", leaving="auditor-1")
    for person in ("risk-1", "committee-1"):
        with screen(browser, world, person, counter=3000) as tab:
            assert "it only takes away" in page(world, tab, person, next_set)
            tab.read()
            assert "now: pending" in tab.press("sign")
    with world.unchanged(refusals=1):
        admin = world.officer("admin-1").speaks
        with pytest.raises(client.ProblemError, match="nobody of version 1 has signed by the second path"):
            admin.activate(next_set.digest)
    request = exported(world, "risk-1", next_set, tmp_path / "request.json")
    answer = tmp_path / "answer.json"
    typed = two_words(next_set)
    code, shown = approve(world, request, answer, person="risk-1", typed=typed)
    assert code == 0, shown
    for said in ("auditor-1 leaves", words(next_set.digest), "has signed on this page"):
        assert said in shown
    done = hand_in(world, answer)
    assert (done.returncode, done.stdout) == (0, "recorded; the policy set is activated\n"), done.stderr
    assert client.status(world.socket)["policy"] == next_set.digest
