"""What commands print: cleaned, and as wide as a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from workbench import commands
from workbench.client import ProblemError, ServiceUnavailableError
from workbench.commands.said import WIDTH, NothingToDoError, folded, outcome
from workbench.rules.codes import Refusal, RefusedError

STEERS: list[Any] = [
    pytest.param("\x1b[2J\x1b[31mred", "[2J[31mred", id="a terminal's commands"),
    pytest.param("\x9b31mred", "31mred", id="the same in one byte"),
    pytest.param("one\ntwo\r\nthree", "one two three", id="lines of his own"),
    pytest.param("one\ttwo", "one two", id="a tabulator"),
    pytest.param("ab\u202edc", "abdc", id="text that runs backwards"),
    pytest.param("a\x08b\x07", "ab", id="backspace and bell"),
]


@pytest.mark.parametrize(("said", "printed"), STEERS)
def test_what_steers_the_screen_is_left_out(said: str, printed: str) -> None:
    """Nothing that the service or a person wrote moves the cursor or begins a line."""
    assert folded(said) == printed


def test_width() -> None:
    """Long lines are folded with an indent; an address stays whole."""
    address = "http://login.localhost:8442/login/" + "ab" * 40
    lines = folded("  " + "word " * 60 + address).splitlines()
    assert all(len(line) <= WIDTH for line in lines[:-1])
    assert lines[0].startswith("  word")
    assert lines[-1] == "    " + address


PROBLEM = {"code": "x", "detail": "\x1b[2Jgone", "path": "", "status": 403, "entry_seq": 1}
ENDS: list[Any] = [
    pytest.param(ProblemError(PROBLEM), commands.REFUSED, id="the service refuses"),
    pytest.param(RefusedError(Refusal.MALFORMED, "\x1b[2J"), commands.REFUSED, id="a rule refuses"),
    pytest.param(ServiceUnavailableError("nobody"), commands.COULD_NOT_RUN, id="nobody answers"),
    pytest.param(TimeoutError("nobody pressed"), commands.COULD_NOT_RUN, id="nobody pressed a key"),
    pytest.param(NothingToDoError("nothing"), commands.COULD_NOT_RUN, id="nothing to do"),
]


@pytest.mark.parametrize(("error", "code"), ENDS)
def test_how_a_command_ends(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What was said before stands on standard output, the reason on the other, without control characters."""

    def lines() -> Iterator[str]:
        yield "begun"
        raise error

    assert outcome(lines()) == code
    told = capsys.readouterr()
    assert told.out == "begun\n"
    assert told.err.startswith("workbench: ")
    assert "\x1b" not in told.err


def test_done(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that says everything is done."""
    assert outcome(["one", "two"]) == commands.DONE
    assert capsys.readouterr().out == "one\ntwo\n"
