"""Do the tests bite? Each guard of `ledger/` is dropped, negated or shifted by one; some test must notice.

`make mutants` (or `python -m tests.mutants [MODULE …]`) prints a line for every mutant that no test noticed,
and one table at the end. A guard is a condition of `if`, `while`, a conditional expression, a comprehension,
or a statement that only calls a check (`_check_…`, `check_…`, `verify…`). What is shifted is a comparison:
`<` for `<=`, or a number in it by one.

Each mutant runs in a fork of one process that has imported the libraries, with the changed source put in the
place of the module; its tests run until one fails. A mutant that runs out of time is caught as well: a loop
without end does not pass. The unchanged module runs first and must pass, else every mutant would seem to be
caught.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cryptography.hazmat.primitives.asymmetric.ed25519
import duckdb
import hypothesis
import orjson
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ledger"
PREPARED: tuple[ModuleType, ...] = (cryptography, duckdb, hypothesis, orjson)
AT_ONCE, SECONDS_MAX = 2, 150
CHECKS = ("_check", "check_", "verify")
# Where a module's rules are tested; what is not listed has a file of its own name. All tests would be surer
# and take minutes for each survivor. Processes that tests start do not see a mutant.
TESTED_IN = {
    "__main__": ("command",),
    "bundle": ("verifier", "vectors", "command"),
    "chain": ("vectors", "entry", "verifier"),
    "checkpoint": ("checkpoint", "vectors"),
    "clock": ("entry", "vectors"),
    "database": ("store", "redaction", "faults"),
    "encoding": ("encoding", "vectors"),
    "entry": ("entry", "vectors", "store"),
    "exchange": ("witness_process", "timestamp_client"),
    "files": ("witness",),
    "keccak": ("anchor",),
    "manifest": ("segments",),
    "merkle": ("merkle", "ranges", "tree", "vectors"),
    "names": ("tally", "verifier"),
    "place": ("writer", "store"),
    "store": ("store", "redaction", "anchor", "faults"),
    "tally_polars": ("tally", "segments"),
    "tally_sql": ("tally", "segments"),
    "stamping": ("timestamp_client",),
    "timestamp": ("timestamp", "timestamp_client"),
    "timestamp_client": ("timestamp_client",),
    "trust": ("verifier", "redaction", "anchor", "checkpoint", "timestamp"),
    "tsp": ("timestamp",),
    "tsp_types": ("timestamp",),
    "verifier": ("verifier", "redaction", "anchor", "timestamp"),
    "witness_client": ("witness_process",),
    "witness_server": ("witness", "witness_process"),
    "witnessing": ("command", "witness_process"),
}
SHIFTED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    kind: str
    was: str
    source: str


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    for index, node in enumerate(ast.walk(tree)):
        for kind, change in changes(node):
            changed = copy.deepcopy(tree)
            twin = next(each for number, each in enumerate(ast.walk(changed)) if number == index)
            change(twin)
            source = ast.unparse(ast.fix_missing_locations(changed))
            line = getattr(node, "lineno", getattr(getattr(node, "test", None), "lineno", 0))
            yield Mutant(module, line, kind, ast.unparse(condition(node))[:90], source)


def condition(node: Any) -> ast.AST:
    """Return what a change of this node is about."""
    if isinstance(node, ast.comprehension):
        return node.ifs[0] if node.ifs else node.iter
    return getattr(node, "test", node)


def changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield (kind, function that changes the node in place)."""
    if isinstance(node, ast.If | ast.IfExp):
        yield "dropped", lambda twin: setattr(twin, "test", ast.Constant(value=False))
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "negated", lambda twin: setattr(twin, "test", negation(twin.test))
    if isinstance(node, ast.comprehension) and node.ifs:
        yield "dropped", lambda twin: twin.ifs.pop()
        yield "negated", lambda twin: twin.ifs.append(negation(twin.ifs.pop()))
    if isinstance(node, ast.Expr) and called(node.value).startswith(CHECKS):
        yield "dropped", lambda twin: setattr(twin, "value", ast.Constant(value=None))
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in SHIFTED:
                yield "shifted", lambda twin, place=place: shift(twin, place)
        for place, value in enumerate([node.left, *node.comparators]):
            if isinstance(value, ast.Constant) and type(value.value) is int:
                yield "shifted", lambda twin, place=place: count_up(twin, place)


def negation(test: ast.expr) -> ast.expr:
    """Return the opposite of a condition."""
    return ast.UnaryOp(op=ast.Not(), operand=test)


def called(value: ast.expr) -> str:
    """Return the name of the function that an expression calls."""
    if not isinstance(value, ast.Call):
        return ""
    return value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")


def shift(twin: ast.Compare, place: int) -> None:
    """Make a comparison strict that was not, or the other way round."""
    twin.ops[place] = SHIFTED[type(twin.ops[place])]()


def count_up(twin: ast.Compare, place: int) -> None:
    """Add one to a number of a comparison."""
    constant = twin.left if place == 0 else twin.comparators[place - 1]
    assert isinstance(constant, ast.Constant)
    constant.value += 1


class Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds one module changed and leaves all others to Python."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = f"ledger.{mutant.module}"
        self._path = str(PACKAGE / f"{mutant.module}.py")
        self._source = mutant.source

    def find_spec(self, fullname: str, path: object, target: object = None) -> Any:  # noqa: ARG002 - Python's
        """Find the changed module."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._path)

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - Python's
        """Say where the source is from."""
        return self._path

    def get_data(self, path: str | bytes) -> bytes:  # noqa: ARG002 - Python's
        """Return the changed source."""
        return self._source.encode()

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - Python's
        """Compile the changed source, never a cached one."""
        return compile(self._source, self._path, "exec")


def tests(module: str) -> list[str]:
    """Return the files of a module's tests."""
    names = TESTED_IN.get(module, (module,))
    return [str(ROOT / "tests" / "ledger" / f"test_{name}.py") for name in names]


def caught(mutant: Mutant) -> bool:
    """Run the tests in this fork; whether one of them fails."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.meta_path.insert(0, Changed(mutant))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    # hypothesis is imported before pytest could rewrite its assertions, which only makes failures terser
    options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    return pytest.main([*options, f"--basetemp=/tmp/mutant-{os.getpid()}", *tests(mutant.module)]) != 0


def judge(todo: Sequence[Mutant]) -> Iterator[tuple[Mutant, bool]]:
    """Run every mutant, some at once; yield which were caught."""
    running: dict[int, tuple[Mutant, float]] = {}
    waiting = list(reversed(todo))
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant = waiting.pop()
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os._exit(int(caught(mutant)))
            running[pid] = (mutant, time.monotonic())
        for pid, (mutant, since) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done and time.monotonic() - since > SECONDS_MAX:
                os.killpg(pid, signal.SIGKILL)
                done, status = os.waitpid(pid, 0)
            if done:
                del running[pid]
                yield mutant, status != 0
        time.sleep(0.02)


def main() -> int:
    """Run the mutants of the named modules, or of all: 0 if every one is caught, 2 if nothing can be said."""
    modules = sys.argv[1:] or sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    table: dict[str, list[int]] = {}
    for module in modules:
        counts = table.setdefault(module, [0, 0])
        unchanged = Mutant(module, 0, "unchanged", "", (PACKAGE / f"{module}.py").read_text())
        if any(found for _, found in judge([unchanged])):
            print(f"{module}: the tests fail without any change", flush=True)
            return 2
        for mutant, found in judge(list(mutants(module))):
            counts[0] += 1
            counts[1] += found
            if not found:
                print(f"survived: ledger/{module}.py:{mutant.line} {mutant.kind}: {mutant.was}", flush=True)
        print(f"{module:14} {counts[1]:4} of {counts[0]:4}", flush=True)
    total, killed = (sum(counts[each] for counts in table.values()) for each in (0, 1))
    print(f"{'together':14} {killed:4} of {total:4}: {100 * killed / max(total, 1):.1f} %")
    return int(killed < total)


if __name__ == "__main__":
    sys.exit(main())
