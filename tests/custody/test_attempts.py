"""How often a PIN is tried: counted before it is, not forgotten by a crash, and never without the count."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workbench.custody import attempts
from workbench.custody.attempts import NAME, WRONG_MAX, Attempts
from workbench.custody.errors import TokenError
from workbench.rules.codes import Refusal

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state root in which nothing was tried yet."""
    attempts.found(tmp_path)
    return tmp_path


def tried(state: Path, *, now: datetime = NOW, error: BaseException | None = None) -> bool:
    """Try; return whether it was made at all."""
    made = False
    try:
        with Attempts(state, lambda: now).attempt():
            made = True
            if error is not None:
                raise error
    except (TokenError, KeyboardInterrupt, RuntimeError):
        pass
    return made


def code(state: Path, *, now: datetime = NOW) -> Refusal:
    """Return why nothing is tried."""
    with pytest.raises(TokenError) as caught, Attempts(state, lambda: now).attempt():
        raise AssertionError("it was tried")
    return caught.value.code


WRONG = TokenError(Refusal.HSM_PIN, "wrong")


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        pytest.param(None, 0, id="the right PIN"),
        pytest.param(WRONG, 2, id="a wrong PIN"),
        pytest.param(TokenError(Refusal.HSM_FAILED, "gone"), 1, id="the token failed: not the PIN's fault"),
        pytest.param(KeyboardInterrupt(), 2, id="ended in the middle"),
        pytest.param(RuntimeError(), 2, id="anything unforeseen"),
    ],
)
def test_what_counts(state: Path, error: BaseException | None, counted: int) -> None:
    """After one wrong PIN: only the right one begins anew, and only the token's own failure is taken back."""
    assert tried(state, error=WRONG)
    assert tried(state, error=error)
    assert attempts.read(state).wrong == counted


def test_counted_before_it_is_made(state: Path) -> None:
    """Whoever kills the process during the try has used it up."""
    script = (
        "import os, sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from workbench.custody.attempts import Attempts\n"
        "with Attempts(Path(sys.argv[1]), lambda: datetime.now(UTC)).attempt():\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(state)]
    assert subprocess.run(command, check=False, timeout=60, cwd=ROOT).returncode == -9
    assert attempts.read(state).wrong == 1


def test_waits_and_the_lock(state: Path) -> None:
    """Each try waits longer than the one before; the tenth is the last, and time does not help."""
    now = NOW
    for number in range(1, WRONG_MAX + 1):
        assert tried(state, now=now, error=WRONG)
        if number < WRONG_MAX:
            wait = timedelta(seconds=2 ** (number - 1) - 1)
            if wait:
                assert code(state, now=now + wait - timedelta(microseconds=1)) is Refusal.HSM_WAIT
            assert attempts.read(state).wrong == number
            now += wait
    before = (state / NAME).read_bytes()
    assert code(state, now=now + timedelta(days=10_000)) is Refusal.HSM_LOCKED
    assert (state / NAME).read_bytes() == before


@pytest.mark.parametrize("back", [timedelta(microseconds=1), timedelta(hours=1), timedelta(days=9000)])
def test_a_clock_that_is_set_back(state: Path, back: timedelta) -> None:
    """It allows no earlier try."""
    for _ in range(2):
        tried(state, error=WRONG)
    before = (state / NAME).read_bytes()
    assert code(state, now=NOW + timedelta(seconds=1) - back) is Refusal.HSM_WAIT
    assert (state / NAME).read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="cut"),
        pytest.param(
            lambda path: path.write_text('{"not_before":null,"v":1,"wrong":-1}'), id="a negative count"
        ),
        pytest.param(
            lambda path: path.write_text('{"not_before":null,"v":1,"wrong":11}'), id="more than can be"
        ),
        pytest.param(lambda path: path.write_text('{"v":1,"wrong":0,"not_before":null}'), id="not canonical"),
        pytest.param(
            lambda path: path.write_text('{"not_before":null,"v":2,"wrong":0}'), id="another version"
        ),
        pytest.param(lambda path: path.write_bytes(b" " * 10_000), id="too long"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    ],
)
def test_without_the_count_nothing_is_tried(state: Path, damage: Callable[[Path], object]) -> None:
    """A count that was taken away or altered is no count of zero."""
    damage(state / NAME)
    assert code(state) is Refusal.HSM_LOCKED


def test_unlocked_by_an_operator(state: Path) -> None:
    """It says what there was, and tries go on from none; also where the file was lost."""
    tried(state, error=WRONG)
    before = attempts.unlock(state)
    assert before is not None
    assert before.wrong == 1
    assert attempts.read(state).wrong == 0
    (state / NAME).unlink()
    assert attempts.unlock(state) is None
    assert tried(state)


def test_begun_once(state: Path) -> None:
    """Making a token over a state root that counts already does not reset it."""
    tried(state, error=WRONG)
    with pytest.raises(FileExistsError):
        attempts.found(state)
    assert attempts.read(state).wrong == 1


def test_processes_wait_for_each_other(state: Path) -> None:
    """Four processes with a wrong PIN at once make the two tries that are allowed at that moment."""
    script = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from workbench.custody.attempts import Attempts\nfrom workbench.custody.errors import TokenError\n"
        "from workbench.rules.codes import Refusal\n"
        "now = datetime(2026, 11, 27, 12, tzinfo=UTC)\n"
        "try:\n    with Attempts(Path(sys.argv[1]), lambda: now).attempt():\n"
        "        raise TokenError(Refusal.HSM_PIN, 'wrong')\n"
        "except TokenError as error:\n    print(error.code)\n"
    )
    command = [sys.executable, "-c", script, str(state)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in started)
    assert said == ["token_pin_too_soon"] * 2 + ["token_pin_wrong"] * 2
    assert attempts.read(state).wrong == 2
