"""`workbench lab --visitor`: somebody brings a security key, and is of the desk when JupyterLab opens."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from tests.approver.browser import chromium, virtual_key

END_S, LOAD_MS = 30, 90_000


@contextmanager
def started(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command; end it as Ctrl-C does, and see that it ends well."""
    command = [sys.executable, "-m", "workbench.cli", "lab", "--visitor", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0


def found(process: subprocess.Popen[str], pattern: str, count: int = 1) -> list[str]:
    """Read what the command prints until a pattern was there so often."""
    seen: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        seen += re.findall(pattern, line)
        if len(seen) == count:
            return seen
    raise AssertionError(f"the command has ended: {seen}")


def register(page: Page, address: str) -> None:
    """Press the button, then the key."""
    page.goto(address)
    page.locator("button:enabled").click()
    page.get_by_text("Registered: ").wait_for(timeout=LOAD_MS)


def test_a_visitor(tmp_path: Path) -> None:
    """Two pages, two presses, and the visitor's JupyterLab has a kernel."""
    state = tmp_path / "state"
    with started(state) as process, chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        virtual_key(context.new_cdp_session(page))
        for address in found(process, r"http://\S+/register/\S+", 2):
            register(page, address)
        (lab,) = found(process, r"visitor-1 .*(http\S+)")
        page.goto(lab.replace("/lab?", "/lab/tree/committee/approvals.ipynb?"))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=LOAD_MS)
        context.close()
