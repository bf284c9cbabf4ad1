"""The demo's key ceremony: five co-signers make the desk's first shared key, before there is a ledger.

Each co-signer runs as a process of its own, over the founding document that its custodian would have brought
by hand. What is carried here could be carried by anybody: it is signed, and what is secret is encrypted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.cosigner.founding import DOCUMENT, Founding
from workbench.demo.provision import configured
from workbench.process.frames import FrameError, call
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.threshold import SignedWord
from workbench.service.courier import Ask, Courier

STEP_SECONDS = 120.0
"""One party's longest step takes two seconds alone, and five parties share two cores."""
READY_SECONDS = 30.0
END_SECONDS = 10.0
POLL_SECONDS = 0.02


Place = Callable[[str], Path]
"""Where something of a process is, by its name."""


def ceremony(
    root: Place, socket: Place, key: str, keys: Mapping[str, Mapping[str, str]], threshold: int
) -> str:
    """Make a key shared by these co-signers; return its 65-byte point in hex, as all of them have it."""
    bring(root, key, keys, threshold)
    with founders(root, socket, list(keys)):
        return carry(socket, list(keys))


def bring(root: Place, key: str, keys: Mapping[str, Mapping[str, str]], threshold: int) -> None:
    """Bring each co-signer its founding document and its configuration."""
    founding = Founding.load(
        {
            "v": 1,
            "key": key,
            "parties": [{"name": name, "identity_key": made["ed25519"]} for name, made in keys.items()],
            "threshold": threshold,
        }
    )
    for name, made in keys.items():
        (root(name) / DOCUMENT).write_bytes(founding.canonical())
        config = {
            "identity_key": made["ed25519"],
            "name": name,
            "sealing_key": made["sealing"],
            "token": configured(name, made["serial"]),
        }
        (root(name) / "config.json").write_text(json.dumps(config, indent=1))


def carry(socket: Place, names: Sequence[str], ask: Ask | None = None, *, epoch: int = 1) -> str:
    """Carry the making of a key to its end; return its 65-byte point in hex."""
    asking = ask or asker(socket)
    numbers = {name: number for number, name in enumerate(names, 1)}
    with ThreadPoolExecutor(len(names)) as pool:
        courier = Courier(asking, pool, numbers)
        said = courier.carry({"v": 1, "operation": "open", "epoch": epoch}, {"v": 1, "operation": "take"})
    words = [SignedWord.load(each["word"]) for each in said.values()]
    # ready, then held, then everybody knows that all hold it
    for _ in range(2):
        told = {"v": 1, "operation": "words", "words": [each.dump() for each in words]}
        told |= {"run": words[0].word.run}
        words = [SignedWord.load(asking(name, told).get("word")) for name in names]
    (public_key,) = {str(each.word.public_key) for each in words}
    return public_key


def asker(socket: Place) -> Ask:
    """Return how co-signers are asked over their sockets."""

    def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(socket(name), request, timeout_s=STEP_SECONDS)
        except FrameError as error:
            raise RefusedError(Refusal.UNAVAILABLE, str(error)) from error

    return ask


@contextmanager
def founders(
    root: Place, socket: Place, names: Sequence[str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run the co-signers at their founding; give their processes by name."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            started[name] = found(root(name), socket(name))
        for name, process in started.items():
            await_ready(socket, name, process)
        yield started
    finally:
        for process in started.values():
            process.terminate()
            process.wait(END_SECONDS)


def found(root: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Start one co-signer at its founding."""
    command = [sys.executable, "-m", "workbench.cosigner.founding", "--state", str(root)]
    return subprocess.Popen([*command, "--socket", str(socket)], cwd="/")


def await_ready(socket: Place, name: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a co-signer answers."""
    limit = time.monotonic() + READY_SECONDS
    while True:
        try:
            call(socket(name), {"v": 1, "operation": "status"}, timeout_s=READY_SECONDS)
        except FrameError as error:
            if process.poll() is not None or time.monotonic() > limit:
                raise RefusedError(Refusal.UNAVAILABLE, f"{name} is not there: {error}") from error
            time.sleep(POLL_SECONDS)
        else:
            return
