"""Crash points: exactly there, as kill -9 would, and nowhere else."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.process.crash import NEVER, CrashPoint

SCRIPT = """
import sys
from workbench.process.crash import CrashPoint
point = CrashPoint(sys.argv[1])
try:
    for name in ("3", "4", "4-signed"):
        point.reached(name)
        print(name, flush=True)
finally:
    print("swept", flush=True)
"""


def run(name: str) -> tuple[int, list[str]]:
    """Run three points with one armed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        pytest.param("3", [], id="the first"),
        pytest.param("4", ["3"], id="the second"),
        pytest.param("4-signed", ["3", "4"], id="a name that begins like another"),
    ],
)
def test_a_process_ends_at_its_point(name: str, lines: list[str]) -> None:
    """Nothing is swept up behind it: what was not on disk is gone."""
    assert run(name) == (-signal.SIGKILL, lines)


@pytest.mark.parametrize("name", ["", "5", "4-"])
def test_another_point_does_not_end_it(name: str) -> None:
    """Only the whole name counts."""
    assert run(name) == (0, ["3", "4", "4-signed", "swept"])


def test_without_a_point_nothing_crashes() -> None:
    """The default never does, whatever it reaches."""
    NEVER.reached("4")
    CrashPoint().reached("")
    assert CrashPoint(None) == NEVER
