"""What the co-signer's token is stands in the ledger: once, again when it changes, never on a liar's word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world import COSIGNER, Living, living
from workbench.demo.world import SERVICE
from workbench.process.frames import FrameServer, call
from workbench.rules.token_report import SignedTokenReport, TokenReport
from workbench.service.tokens import TOKEN_REPORTED

ROOT = Path(__file__).parents[2]
ANOTHER_KEY = """
import sys
from pathlib import Path
from tests.hsm import open_softhsm
folder = Path(sys.argv[1])
open_softhsm(folder, sys.argv[2], (folder / "pin").read_text()).generate_secp256k1("treasury/2")
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world."""
    with living() as made:
        yield made


def reports(world: Living) -> list[TokenReport]:
    """Return what the ledger has, each under its co-signer's key."""
    entries = [entry for entry in world.entries() if entry["type"] == TOKEN_REPORTED]
    assert {(entry["actor"], entry["subject"]) for entry in entries} == {(COSIGNER, COSIGNER)}
    signed = [SignedTokenReport.load(entry["data"]) for entry in entries]
    read = [each.verify(COSIGNER, world.world.trust_root) for each in signed]
    assert [entry["id"] for entry in entries] == [f"{COSIGNER}-{each.digest}" for each in read]
    return read


def begin_again(world: Living, *names: str) -> None:
    """Stop processes and start them again."""
    for name in names:
        world.stack.stop_one(name)
    for name in reversed(names):
        world.stack.start(name)


def test_told_once(world: Living) -> None:
    """Before anybody trades, with every key in the token; a restart of either side adds nothing."""
    (report,) = reports(world)
    assert report.failed == []
    assert report.sealing == "aes-gcm"
    owned = world.world.policy.keys["treasury"].public_key
    assert owned in {each.public_key for each in report.keys}
    begin_again(world, SERVICE, COSIGNER)
    assert reports(world) == [report]


def test_a_token_that_has_changed(world: Living) -> None:
    """A key that somebody made in it is another entry, and names that key."""
    before = reports(world)
    world.stack.stop_one(SERVICE)
    world.stack.stop_one(COSIGNER)
    command = [sys.executable, "-c", ANOTHER_KEY, str(world.world.places.root(COSIGNER)), COSIGNER]
    subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    world.stack.start(COSIGNER)
    world.stack.start(SERVICE)
    after = reports(world)
    assert after[:-1] == before
    new = {each.label for each in after[-1].keys} - {each.label for each in before[-1].keys}
    assert new == {"treasury/2"}


def test_a_report_that_is_not_the_tokens(world: Living) -> None:
    """Who stands at the co-signer's socket and says something better is named, and not believed."""
    socket = world.world.places.socket(COSIGNER)
    genuine = call(socket, {"v": 1, "operation": "token"}, timeout_s=60)
    forged = json.loads(json.dumps(genuine))
    forged["token"]["report"]["token"]["manufacturer"] = "a real HSM"
    before = reports(world)
    world.stack.stop_one(SERVICE)
    world.stack.stop_one(COSIGNER)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return forged if request.get("operation") == "token" else {"v": 1}

    liar = FrameServer(socket, answer, uids={os.geteuid()})
    threading.Thread(target=liar.serve_forever, daemon=True).start()
    world.stack.start(SERVICE)
    liar.close()
    world.stack.start(COSIGNER)
    assert reports(world) == before
    (entry,) = (
        entry
        for entry in world.entries()
        if entry["type"] == "request.refused" and entry["data"]["about"] == f"token of {COSIGNER}"
    )
    assert entry["data"]["code"] == "signature_invalid"
