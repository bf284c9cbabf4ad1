"""Keys are registered in a browser: by whom, for what, and what comes of it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fido2.utils import websafe_decode
from fido2.webauthn import AttestationObject
from playwright.sync_api import Browser

from ledger.encoding import canonical
from tests.approver.browser import Screen, virtual_key
from tests.approver.test_page import CLIPPED, last_refusal
from tests.identity.test_registration import VENDOR, Publisher, der, entry
from tests.world import Living, living, refused
from workbench import client
from workbench.client import RegisteredKey
from workbench.demo import visitor
from workbench.demo.visitor import VISITOR
from workbench.demo.world import APPROVER
from workbench.rules import enrolment
from workbench.rules.enrolment import CredentialPath, Registration
from workbench.rules.policy import PolicySet
from workbench.rules.trust import VIRTUAL_AAGUID
from workbench.rules.words import words

NOW = datetime.now(UTC)
LATER = timedelta(seconds=8)


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world of its own: a visitor comes into it."""
    with living(limits=dict(visitor.LIMITS)) as built:
        yield built


@contextmanager
def with_key(browser: Browser, world: Living, **how: Any) -> Iterator[Screen]:
    """Open a tab with a security key that has nothing on it yet."""
    context = browser.new_context(**how.pop("context", {}))
    try:
        page = context.new_page()
        cdp = context.new_cdp_session(page)
        yield Screen(world, page, cdp, virtual_key(cdp, **how))
    finally:
        context.close()


def ticket(world: Living, person: str, path: CredentialPath) -> str:
    """Have somebody's key asked for."""
    return world.officer("admin-1").speaks.register(person, path).ticket


def open_page(world: Living, tab: Screen, name: str, path: str) -> str:
    """Open the page of a registration at the origin of this path; return its text."""
    origin = world.world.trust_root.dump()[path]["origin"]
    tab.page.goto(f"{origin}/register/{name}")
    return tab.page.locator("main").inner_text()


def register(tab: Screen) -> str:
    """Press the button, then the key; return what the page says."""
    tab.page.locator("button:enabled").click()
    return tab.outcome


def listed(world: Living, person: str) -> list[RegisteredKey]:
    """Return what was registered for somebody."""
    return [each for each in world.officer("admin-1").speaks.registrations() if each.person == person]


def test_a_visitor_comes(world: Living, browser: Browser) -> None:
    """Two pages, two presses, a set that the committee signs: then the visitor logs in and decides."""
    admin = world.officer("admin-1")
    with with_key(browser, world) as tab:
        for path, address in visitor.invited(admin).items():
            tab.page.goto(address)
            seen = tab.page.locator("main").inner_text()
            for said in (VISITOR, "nobody of this name is in the policy set yet", "admin-1"):
                assert said in seen
            assert f"model {VIRTUAL_AAGUID}, vouched for by NOBODY" in register(tab), path
        made = visitor.awaited(admin, seconds=1)
        assert [each.credential.path for each in made] == ["login", "approval"]
        entries = [each for each in world.entries() if each["type"] == enrolment.REGISTERED]
        assert [each["actor"] for each in entries] == ["admin-1", "admin-1"]
        kept = Registration.load(entries[0]["data"]["registration"])
        assert kept.registered.credential == made[0].credential
        policy = visitor.enrolled(world.world, admin, made)
        assert policy.people[VISITOR].roles == ["committee"]
        key, session = client.open_login(world.socket, VISITOR)
        tab.page.goto(f"{world.world.trust_root.login.origin}/login/{session.digest}")
        assert words(session.digest) in tab.page.locator("main").inner_text()
        tab.page.locator("button:enabled").click()
        assert "is logged in" in tab.outcome
        certified = client.certified(world.socket, session)
        assert certified is not None
        speaks = client.Client(world.socket, key, certified)
        for officer in world._officers.values():
            officer.policy = policy
        view = world.outstanding()
        tab.open(speaks.ask(view.digest).ticket)
        tab.read()
        assert tab.press("approve").startswith("Recorded as entry")
        # the same key again for the same person and path: the browser finds it on the list of those known
        open_page(world, tab, ticket(world, VISITOR, "approval"), "approval")
        assert listed(world, VISITOR) == made
        with world.unchanged(refusals=0):
            said = register(tab)
        assert "Registered" not in said
    assert world.settled(world.pm.intent(view.digest)).state == "confirmed"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 360)])
def test_nothing_is_clipped(world: Living, browser: Browser, scheme: str, width: int, tmp_path: Path) -> None:
    """The page fits, before and after the press."""
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with with_key(browser, world, context=context) as tab:
        open_page(world, tab, ticket(world, "n" * 64, "login"), "login")
        register(tab)
        tab.page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        assert tab.page.evaluate(CLIPPED) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "a synced key": ({"defaultBackupEligibility": True, "defaultBackupState": True}, "registration invalid"),
    "a key that recognises nobody": ({"isUserVerified": False}, "nothing was signed"),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_are_refused(world: Living, browser: Browser, name: str) -> None:
    """What the browser makes is judged; nothing is registered."""
    how, told = KEYS[name]
    with with_key(browser, world, **how) as tab:
        open_page(world, tab, ticket(world, "trader-1", "approval"), "approval")
        with world.unchanged(refusals=int("nothing" not in told)):
            assert told in register(tab)
    assert listed(world, "trader-1") == []


def test_the_other_origin(world: Living, browser: Browser) -> None:
    """A key for logins is not registered where people decide, nor the reverse, nor one for terminals here."""
    with with_key(browser, world) as tab:
        for path, at in (("login", "approval"), ("approval", "login"), ("console", "approval")):
            name = ticket(world, "trader-1", path)  # type: ignore[arg-type]
            with world.unchanged(refusals=1):
                assert "is not registered here" in open_page(world, tab, name, at)
    assert last_refusal(world)["code"] == "registration_invalid"


def test_a_ticket_is_good_for_one_key(world: Living, browser: Browser) -> None:
    """Twice the same page, twice the same answer, another session's end: nothing more is registered."""
    name = ticket(world, "trader-1", "login")
    with with_key(browser, world) as tab:
        open_page(world, tab, name, "login")
        with tab.page.expect_request("**/answer") as caught:
            assert "Registered" in register(tab)
        sent = caught.value
        with world.unchanged(refusals=2):
            again = tab.page.evaluate(
                "async ([url, body]) => { const a = await fetch(url, {method: 'POST', body, headers: "
                "{'Content-Type': 'application/json'}}); return (await a.json()).code; }",
                [sent.url, sent.post_data],
            )
            assert again == "replayed"
            assert "no such ticket" in open_page(world, tab, name, "login")
    (made,) = listed(world, "trader-1")
    other = ticket(world, "trader-1", "login")
    done = Registration.load(
        next(e for e in world.entries() if e["id"] == made.credential.id)["data"]["registration"]
    )
    with world.unchanged(refusals=1):
        refused("registration_invalid", lambda: client.registered(world.socket, other, done))
    wrong = ticket(world, "trader-1", "approval")
    with world.unchanged(refusals=1):
        refused("registration_invalid", lambda: client.registered(world.socket, wrong, done))


def test_who_may_ask(world: Living) -> None:
    """Only who may propose sets asks for registrations, or sees them; a ticket is nothing else's."""
    world.officer("auditor-1")
    with world.unchanged(refusals=4):
        refused("role_not_held", lambda: world.pm.register("pm-1", "approval"))
        refused("role_not_held", world.officer("auditor-1").speaks.registrations)
        refused("not_found", lambda: client.asked_registration(world.socket, "00" * 32))
        refused("malformed", lambda: world.officer("admin-1").speaks.register("a/b", "login"))


def test_what_was_never_registered(world: Living, browser: Browser) -> None:
    """A set gives nobody a key that was not registered for him, for that path, to the last byte."""
    with with_key(browser, world) as tab:
        open_page(world, tab, ticket(world, "trader-1", "approval"), "approval")
        assert "Registered" in register(tab)
    made = listed(world, "trader-1")[-1].credential
    admin, current = world.officer("admin-1"), world.officer("admin-1").policy

    def following(person: str, **changes: str) -> PolicySet:
        given = type(made).load(made.dump() | changes)
        return enrolment.including(current, person, [given], activates_at=datetime.now(UTC) + LATER)

    with world.unchanged(refusals=4):
        for person, changes in (
            ("pm-1", {}),
            ("trader-1", {"path": "login"}),
            ("trader-1", {"aaguid": "00" * 16}),
            ("trader-1", {"id": "AB"[made.id[0] == "A"] + made.id[1:]}),
        ):
            refused("registration_invalid", lambda p=person, c=changes: admin.speaks.amend(following(p, **c)))
    assert admin.speaks.amend(following("trader-1")).standing == "pending"


@pytest.fixture
def vouched(world: Living) -> Iterator[Publisher]:
    """Give the approver vendors' metadata that knows the browser's model."""
    publisher, folder = Publisher(), world.world.places.root(APPROVER)
    config = folder / "config.json"
    before = config.read_text()
    (folder / "root.der").write_bytes(der(publisher.root))
    files = {"metadata": str(folder / "blob.jwt"), "metadata_root": str(folder / "root.der")}
    config.write_text(json.dumps(json.loads(before) | files))
    world.stack.kill(APPROVER)
    world.stack.start(APPROVER)
    yield publisher
    config.write_text(before)
    world.stack.kill(APPROVER)
    world.stack.start(APPROVER)


def batch(browser: Browser, world: Living) -> bytes:
    """Return the certificate that the browser's model signs with."""
    with with_key(browser, world) as tab:
        open_page(world, tab, ticket(world, "probe", "login"), "login")
        with tab.page.expect_request("**/answer") as caught:
            register(tab)
    answered = json.loads(caught.value.post_data or "{}")["answer"]["response"]
    (made,) = AttestationObject(websafe_decode(answered["attestationObject"])).att_stmt["x5c"]
    return bytes(made)


def test_a_vendor_vouches(world: Living, browser: Browser, vouched: Publisher) -> None:
    """With metadata, a model counts when its vendor's certificate signs for it; the edition is recorded."""
    blob = world.world.places.root(APPROVER) / "blob.jwt"
    due = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    known = entry(VENDOR, model=VIRTUAL_AAGUID)
    blob.write_bytes(vouched.published([known], next_update=due))
    root = batch(browser, world)
    assert last_refusal(world)["code"] == "authenticator_not_admitted"  # another vendor's root
    known["metadataStatement"]["attestationRootCertificates"] = [base64.b64encode(root).decode()]
    with with_key(browser, world) as tab:
        for number, (update, told) in enumerate(
            ((due, "edition 8"), ("2026-01-01", "vendor metadata unusable"), (due, "edition 10")), 8
        ):
            blob.write_bytes(vouched.published([known], next_update=update, number=number))
            open_page(world, tab, ticket(world, "cro-1", "login"), "login")
            assert told in register(tab)
    made = [e["data"]["registration"] for e in world.entries() if e["type"] == enrolment.REGISTERED][-2:]
    assert [each["registered"]["metadata"]["number"] for each in made] == [8, 10]


def exported(world: Living, person: str, path: CredentialPath, where: Path, **changes: Any) -> Path:
    """Export a registration for another machine."""
    name = ticket(world, person, path)
    asked = client.asked_registration(world.socket, name).dump() | changes
    where.write_bytes(canonical({"v": 1, "ticket": name, "registration": asked}, limit=2**24))
    return where


def at_a_terminal(world: Living, request: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Register a key on a machine of one's own."""
    command = [sys.executable, "-m", "workbench.cli", "register", str(request), "--out", str(out)]
    command += ["--trust-root", str(world.world.places.trust_root)]
    command += ["--unsafe-authenticator", str(out.parent / "key.json"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_key_for_the_second_path(world: Living, tmp_path: Path) -> None:
    """It is registered where it will be used, its answer is handed in once, and a set may list it."""
    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    done = at_a_terminal(world, exported(world, "pm-1", "console", request), answer)
    assert done.returncode == 0, done.stderr
    assert "decide at a terminal, by the second path" in done.stdout
    command = [sys.executable, "-m", "workbench.cli", "hand-in", str(answer), "--socket", str(world.socket)]
    brought = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    (made,) = listed(world, "pm-1")
    assert made.credential.path == "console"
    assert made.credential.id in brought.stdout
    assert made.credential.id in done.stdout
    with world.unchanged(refusals=1):
        assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 1
    admin = world.officer("admin-1")
    later = datetime.now(UTC) + LATER
    next_set = enrolment.including(admin.policy, "pm-1", [made.credential], activates_at=later)
    assert admin.speaks.amend(next_set).standing == "pending"


def test_registrations_that_are_not_for_terminals(world: Living, tmp_path: Path) -> None:
    """A key for a page, a chain that nobody signed, an overdue file, a taken name: nothing is made."""
    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    (tmp_path / "blob").write_bytes(Publisher().published([entry(VENDOR)]))
    (tmp_path / "root").write_bytes(der(Publisher().root))
    metadata = ("--metadata", str(tmp_path / "blob"), "--metadata-root", str(tmp_path / "root"))
    paths: tuple[tuple[CredentialPath, dict[str, Any], tuple[str, ...], str], ...] = (
        ("approval", {}, (), "is not registered here"),
        ("console", {"policy_chain": [{}]}, (), "malformed"),
        ("console", {}, metadata, "vendor_metadata_unusable"),
    )
    for path, changes, more, told in paths:
        done = at_a_terminal(world, exported(world, "pm-1", path, request, **changes), answer, *more)
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr
        assert not answer.exists()
    answer.write_text("mine")
    assert at_a_terminal(world, exported(world, "pm-1", "console", request), answer).returncode == 2
    assert answer.read_text() == "mine"
