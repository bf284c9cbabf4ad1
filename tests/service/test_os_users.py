"""Two OS users on one socket: a session speaks for the one that it was certified for, whoever has its key."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.world import Living, living
from workbench.client import Client, ProblemError, open_login

NOBODY = 65534
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a world whose socket a second OS user can reach, as a group's member could."""
    with living() as built:
        built.world.places.runtime.chmod(0o711)
        built.socket.chmod(0o666)
        yield built


def as_nobody(speaks: Client) -> dict[str, str]:
    """Let another OS user, who has the session's key, ask with it; return what the service told him."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_ask, args=(speaks, theirs))
    process.start()
    told: dict[str, str] = json.loads(ours.recv())
    process.join()
    return told


def _ask(speaks: Client, answer: Connection) -> None:
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        told = {"said": str(len(speaks.intents()))}
    except ProblemError as problem:
        told = {"code": problem.code}
    except BaseException as error:  # noqa: BLE001 - the parent judges
        told = {"error": repr(error)}
    answer.send(json.dumps(told))
    os._exit(0)


def test_a_copied_key(world: Living) -> None:
    """Another OS user with the very key is refused by name; its owner goes on."""
    speaks = world.officer("risk-1").speaks
    with world.unchanged(refusals=1):
        assert as_nobody(speaks) == {"code": "session_of_another"}
        assert speaks.intents() == []


def test_his_own_login(world: Living) -> None:
    """A login that he opens names him, so that no program of ours would sign it as its own."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_open, args=(world.socket, theirs))
    process.start()
    assert ours.recv() == NOBODY
    process.join()


def _open(socket: Path, answer: Connection) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        answer.send(open_login(socket, "risk-1")[1].os_user)
    except BaseException as error:  # noqa: BLE001 - the parent judges
        answer.send(repr(error))
    os._exit(0)
