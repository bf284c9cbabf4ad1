"""Runs mutants in forks of one process that has collected the tests of `ledger/` and never runs one itself.

(1) The tests run unchanged, file by file. Which lines of `ledger/` each executes is recorded; what a fixture
    of a module or session executes counts for every test that uses it. All must pass, else every mutant would
    seem to be caught.
(2) For each mutant, a fork gives the living function the changed code and runs the tests that execute a line
    of the guard's statement, until one fails: first those of the module's own file and those that have caught
    a mutant of this module, cheap ones before others. No other test can notice.
(3) A test that takes far longer than it did unchanged is stopped and counts as one that fails: a loop without
    end does not pass.

Python processes that a test starts import the changed module too, but nobody knows which lines they execute:
a mutant of a module that tests execute in processes of its own is judged by all tests of one file, too
(`ELSEWHERE`). hypothesis draws the same examples in every run and does not shrink what fails.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import mmap
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import duckdb
import polars as pl
import polars_hash
import pytest
from coverage import Coverage
from hypothesis import Phase, settings

from tests.mutants.change import Mutant, Place, changed, compiled, place_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ledger"
PREPARED = (duckdb, pl, polars_hash)  # what tests load late, and every fork would load again
AT_ONCE = os.cpu_count() or 1
MEMORY_MAX = 12 << 30  # address space: a loop without end must not take the machine with it
T = TypeVar("T")
PASSED, FAILED, BROKEN = 0, 1, 3  # how a fork ends
# A test is stopped after so many times its duration, and so many seconds: of processor time, and of any.
# Where tests start processes that execute what no test executes itself.
ELSEWHERE = {
    "__main__": "test_witness_process.py",
    "signer": "test_signer.py",
    "timestamp": "test_timestamp.py",
    "witness_server": "test_witness_process.py",
    "witnessing": "test_witness_process.py",
}
# Read by every Python process that a test starts: one module comes from another file.
CUSTOMIZE = """
import importlib.abc, importlib.util, sys

class Changed(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname == "ledger.{module}":
            return importlib.util.spec_from_file_location(fullname, {file!r})

sys.meta_path.insert(0, Changed())
"""
SLOWER, BUSY_MORE, SECONDS_MORE = 5, 5, 30


class Verdict(Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    STOPPED = "stopped"  # caught, by a test that did not end in time
    SURVIVED = "survived"
    NEVER_RUN = "never run"


class NothingToSayError(Exception):
    """The tests fail without any change, or the tool itself does."""


@dataclass
class Clock:
    """What a fork tells its parent: which test it runs, and when that must have ended."""

    shared: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 16))

    def start(self, test: int, seconds: float) -> None:
        """Begin a test."""
        struct.pack_into("dq", self.shared, 0, time.monotonic() + seconds, test)

    @property
    def test(self) -> int:
        """The test that runs, or ran last."""
        return int(struct.unpack_from("dq", self.shared)[1])

    def is_late(self) -> bool:
        """Tell whether the test should have ended."""
        return time.monotonic() > struct.unpack_from("dq", self.shared)[0]


@dataclass
class Known:
    """What the unchanged tests told."""

    seconds: dict[int, float] = field(default_factory=dict)
    tests_of: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))


class Forks:
    """The plugin that takes over once pytest has collected the tests."""

    def __init__(self, sources: Mapping[str, str], then: Callable[[Forks], int]) -> None:
        self._sources, self._then = sources, then
        self._known = Known()
        self._context = ""
        self._coverage: Coverage | None = None
        self._failures: list[str] = []
        self.status = 2

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Before the tests are imported: a property takes its settings then."""
        settings.register_profile(
            "mutants",
            settings.get_profile("project"),
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
        )
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what is to be run, instead of the tests."""
        if session.testsfailed:
            raise NothingToSayError("the tests cannot be imported")
        self._session, self._items = session, session.items
        self._living = _living()
        gc.collect()
        gc.freeze()
        self.status = self._then(self)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        """Keep apart what a fixture of several tests executes."""
        if self._coverage is None or fixturedef.scope == "function":
            return (yield)
        self._coverage.switch_context(f"{fixturedef.baseid}\n{fixturedef.argname}")
        try:
            return (yield)
        finally:
            self._coverage.switch_context(self._context)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what went wrong."""
        if report.failed:
            self._failures.append(f"{report.nodeid}: {report.longreprtext}")

    def run_unchanged(self) -> None:  # (1)
        """Run every test once and learn its duration and lines."""
        files: dict[Path, list[int]] = defaultdict(list)
        for test, item in enumerate(self._items):
            files[item.path].append(test)
        with tempfile.TemporaryDirectory() as folder:
            notes = {path: Path(folder) / path.name for path in files}
            tasks = {path: partial(self._learn, files[path], notes[path]) for path in files}
            for path, status, _ in _fork_each(tasks):
                if status != PASSED:
                    raise NothingToSayError(f"{path.name}: the tests cannot run: {status}")
                seconds, executed, failures = pickle.loads(notes[path].read_bytes())  # noqa: S301 - our own
                if failures:
                    raise NothingToSayError("\n".join(["the tests fail without any change", *failures]))
                self._known.seconds |= seconds
                for line, tests in executed.items():
                    self._known.tests_of[line] |= tests

    def judge(self, todo: Sequence[Mutant]) -> Iterator[tuple[Mutant, Verdict]]:  # (2)
        """Run mutants of one module; yield what became of each."""
        catchers: Counter[int] = Counter()
        tests_of = {mutant: self._tests_of(mutant) for mutant in todo}
        for mutant, tests in tests_of.items():
            if not tests:
                yield mutant, Verdict.NEVER_RUN
        own = f"test_{todo[0].module}.py" if todo else ""

        def order(test: int) -> tuple[bool, float]:
            is_near = self._items[test].path.name == own or catchers[test] > 0
            return (not is_near, self._known.seconds[test] / (1 + catchers[test]))

        def run(clock: Clock, mutant: Mutant) -> int:
            return self._run_changed(mutant, sorted(tests_of[mutant], key=order), clock)

        tasks = {mutant: partial(run, mutant=mutant) for mutant, tests in tests_of.items() if tests}
        for mutant, status, clock in _fork_each(tasks):
            if status == BROKEN:
                raise NothingToSayError(f"cannot be changed: {mutant}")
            if status != PASSED:
                catchers[clock.test] += 1
            yield mutant, {PASSED: Verdict.SURVIVED, FAILED: Verdict.CAUGHT}.get(status, Verdict.STOPPED)

    def _learn(self, tests: Sequence[int], note: Path, _: Clock) -> int:
        self._coverage = Coverage(data_file=None, include=[f"{PACKAGE}/*"], config_file=False)
        self._coverage.set_option("run:disable_warnings", ["no-data-collected"])
        self._coverage.start()
        seconds = {}
        for test, following in _followed(tests):
            self._context = str(test)
            self._coverage.switch_context(self._context)
            since = time.perf_counter()
            self._run(test, following)
            seconds[test] = time.perf_counter() - since
        self._coverage.stop()
        data = self._coverage.get_data()
        users = self._users(tests)
        executed = {
            (Path(file).stem, line): set().union(*(users.get(context, ()) for context in contexts))
            for file in data.measured_files()
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        note.write_bytes(pickle.dumps((seconds, executed, self._failures)))
        return PASSED

    def _users(self, tests: Sequence[int]) -> dict[str, set[int]]:
        # For each context: the tests that would notice what happens in it.
        users: dict[str, set[int]] = {str(test): {test} for test in tests}
        for test in tests:
            manager = self._items[test]._fixtureinfo  # type: ignore[attr-defined]  # every function has it
            for name, definitions in manager.name2fixturedefs.items():
                for each in definitions:
                    users.setdefault(f"{each.baseid}\n{name}", set()).add(test)
        return users

    def _tests_of(self, mutant: Mutant) -> set[int]:
        executing: set[int] = set().union(
            *(self._known.tests_of[mutant.module, line] for line in mutant.lines)
        )
        file = ELSEWHERE.get(mutant.module)
        return executing | {test for test, item in enumerate(self._items) if item.path.name == file}

    def _run_changed(self, mutant: Mutant, tests: Sequence[int], clock: Clock) -> int:
        source = self._sources[mutant.module]
        if mutant.function:
            path = str(PACKAGE / f"{mutant.module}.py")
            code = compiled(mutant, source, path)
            functions = self._living[path, mutant.function]
            if not functions:
                return BROKEN
            for function in functions:
                function.__code__ = code
        file = _folder(os.getpid()) / f"changed-{mutant.module}.py"
        file.write_text(ast.unparse(changed(mutant, source)))
        customize = CUSTOMIZE.format(module=mutant.module, file=str(file))
        file.with_name("sitecustomize.py").write_text(customize)
        os.environ["PYTHONPATH"] = str(file.parent)
        for test, following in _followed(tests):
            seconds = SLOWER * self._known.seconds[test]
            signal.setitimer(signal.ITIMER_PROF, seconds + BUSY_MORE)
            clock.start(test, seconds + SECONDS_MORE)
            try:
                self._run(test, following)
            except BaseException:  # noqa: BLE001 - a change that ends pytest itself is noticed as well
                return FAILED
            if self._failures:
                return FAILED
        return PASSED

    def _run(self, test: int, following: int | None) -> None:
        item = self._items[test]
        item.config.hook.pytest_runtest_protocol(
            item=item, nextitem=None if following is None else self._items[following]
        )


def _living() -> dict[tuple[str, Place], list[FunctionType]]:
    functions: dict[tuple[str, Place], list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            functions[each.__code__.co_filename, place_of(each.__code__)].append(each)
    return functions


def _followed(tests: Sequence[int]) -> Iterator[tuple[int, int | None]]:
    return pairwise([*tests, None])  # type: ignore[arg-type]  # only the last is None


def _fork_each(tasks: dict[T, Callable[[Clock], int]]) -> Iterator[tuple[T, int, Clock]]:
    # Run each task in a fork of its own, some at once; yield (task, how it ended, its clock).
    waiting, running = list(reversed(tasks.items())), dict[int, tuple[T, Clock]]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                name, task = waiting.pop()
                clock = Clock()
                running[_fork(task, clock)] = (name, clock)
            for pid, (name, clock) in list(running.items()):
                done, status = os.waitpid(pid, os.WNOHANG)
                if not done and clock.is_late():
                    os.kill(pid, signal.SIGKILL)
                    done, status = os.waitpid(pid, 0)
                if done:
                    del running[pid]
                    _clear_up(pid)
                    yield name, os.waitstatus_to_exitcode(status), clock
            time.sleep(0.005)
    finally:
        for pid in running:
            _clear_up(pid)


def _fork(task: Callable[[Clock], int], clock: Clock) -> int:
    clock.start(-1, 24 * 3600)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status, voice = BROKEN, os.fdopen(os.dup(2), "w")
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
        folder = _folder(os.getpid())
        folder.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        status = task(clock)
    except BaseException:  # noqa: BLE001 - the fault is this tool's, and a fork never returns
        traceback.print_exc(file=voice)
        voice.flush()
    finally:
        os._exit(status)


def _clear_up(pid: int) -> None:
    # What the fork started, and what its tests wrote.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    shutil.rmtree(_folder(pid), ignore_errors=True)


def _folder(pid: int) -> Path:
    return Path(f"/tmp/mutant-{pid}")  # noqa: S108 - short: a socket's path has 108 bytes
