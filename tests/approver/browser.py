"""Debian's Chromium at the approval page, with a person's security key plugged in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.world import Living
from workbench.rules.assertion import Credential

CHROMIUM = "/usr/bin/chromium"
COUNTED = 1000
"""A key that was used elsewhere before must not seem to count backwards here."""
STILL = 5
"""So many turns of the wheel without a move are the end of the page."""
WAITING = "Press your security key."
READ = "() => document.getElementById('left').textContent.startsWith('You have')"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; a missing one fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Screen:
    """One tab of one person, and the security key at it."""

    world: Living
    page: Page
    cdp: CDPSession
    authenticator: str

    @property
    def outcome(self) -> str:
        """What the page says came of the press."""
        for _ in range(600):
            said = self.page.locator("#outcome").inner_text()
            if said and said != WAITING:
                return said
            self.page.wait_for_timeout(50)
        raise AssertionError("the page says nothing")

    def url(self, ticket: str) -> str:
        """Return the page's address."""
        return f"{self.world.world.trust_root.approval.origin}/review/{ticket}"

    def open(self, ticket: str) -> None:
        """Open the page of a ticket."""
        self.page.goto(self.url(ticket))

    def read(self) -> None:
        """Scroll to the end as a person does, and back for what went by too fast."""
        for step in (300, -300, 300, -300):
            still = 0
            while still < STILL:
                if self.page.evaluate(READ):
                    return
                before = self.page.evaluate("() => window.scrollY")
                self.page.mouse.wheel(0, step)
                self.page.wait_for_timeout(60)
                still = still + 1 if self.page.evaluate("() => window.scrollY") == before else 0
        raise AssertionError(self.page.locator("#left").inner_text())

    def press(self, verb: str, *, reason: str = "") -> str:
        """Press a button, then the key; return what the page says."""
        self.page.locator("input[name=reason]").fill(reason)
        self.page.locator(f"button[data-verb={verb}]").click()
        return self.outcome

    def verify_user(self, *, able: bool) -> None:
        """Let the key recognise its owner, or not."""
        told = {"authenticatorId": self.authenticator, "isUserVerified": able}
        self.cdp.send("WebAuthn.setUserVerified", told)


@contextmanager
def screen(
    browser: Browser,
    world: Living,
    person: str,
    *,
    path: str = "approval",
    counter: int = COUNTED,
    context: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Screen]:
    """Open a tab with this person's key plugged in."""
    tab = browser.new_context(**(context or {}))
    try:
        page = tab.new_page()
        cdp = tab.new_cdp_session(page)
        authenticator = plug_in(cdp, world, person, path=path, counter=counter, **options)
        yield Screen(world, page, cdp, authenticator)
    finally:
        tab.close()


def virtual_key(cdp: CDPSession, **options: Any) -> str:
    """Give the browser a security key with nothing on it; return its id."""
    cdp.send("WebAuthn.enable")
    made = {
        "protocol": "ctap2",
        "ctap2Version": "ctap2_1",
        "transport": "usb",
        "hasResidentKey": False,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
        **options,
    }
    authenticator: str = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": made})["authenticatorId"]
    return authenticator


def raw_id(credential: Credential) -> bytes:
    """Return a credential's id."""
    return base64.urlsafe_b64decode(credential.id + "=" * (-len(credential.id) % 4))


def owned(world: Living, person: str) -> Iterator[tuple[Credential, str, ec.EllipticCurvePrivateKey]]:
    """Yield a person's credentials, each with its RP id and key; the spare authenticator lies in a drawer."""
    store = json.loads((world.world.places.officers / f"{person}.json").read_text())
    for each in world.world.policy.person(person).credentials:
        if (entry := store.get(raw_id(each).hex())) is not None:
            key = load_pem_private_key(entry["key"].encode(), password=None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            yield each, entry["rp_id"], key


def plug_in(
    cdp: CDPSession,
    world: Living,
    person: str,
    *,
    path: str = "approval",
    counter: int = COUNTED,
    synced: bool = False,
    **options: Any,
) -> str:
    """Give the browser a person's key for one path; return the virtual authenticator's id."""
    authenticator = virtual_key(cdp, **options)
    for each, rp_id, key in owned(world, person):
        if each.path != path:
            continue
        credential = {
            "credentialId": base64.b64encode(raw_id(each)).decode(),
            "isResidentCredential": False,
            "rpId": rp_id,
            "privateKey": base64.b64encode(
                key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            ).decode(),
            "signCount": counter,
            "backupEligibility": synced,
            "backupState": synced,
        }
        cdp.send("WebAuthn.addCredential", {"authenticatorId": authenticator, "credential": credential})
    return authenticator
