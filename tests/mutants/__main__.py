"""Do the tests bite? Each guard of `ledger/` is dropped, negated or shifted by one; some test must notice.

`make mutants` (or `python -m tests.mutants [MODULE …]`) prints a line for every mutant that no test noticed
and that is not explained, and one table at the end.
Exit codes: 0 every mutant is caught or explained, 1 some is not, 2 nothing can be said.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import pytest

from tests.mutants.change import Mutant, mutants
from tests.mutants.explained import EXPLAINED
from tests.mutants.run import PACKAGE, ROOT, Forks, NothingToSayError, Verdict

OPTIONS = ["-qq", "-s", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
# They are imported before pytest could rewrite their assertions, which only makes failures terser.
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
COLUMNS = ("mutants", "caught", "of these stopped", "explained", "survived")


def main() -> int:
    """Run the mutants of the named modules, or of all."""
    names = sys.argv[1:] or sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    sources = {name: (PACKAGE / f"{name}.py").read_text() for name in names}
    todo = {name: list(mutants(name, source)) for name, source in sources.items()}
    forks = Forks(sources, lambda forks: judge_all(forks, todo))
    pytest.main([*OPTIONS, str(ROOT / "tests" / "ledger")], plugins=[forks])
    return forks.status


def judge_all(forks: Forks, todo: dict[str, list[Mutant]]) -> int:
    """Run every mutant and print what became of them; return the exit code."""
    since = time.monotonic()
    table: dict[str, Counter[str]] = {}
    try:
        check_explained(todo)
        forks.run_unchanged()
        print(f"unchanged: {time.monotonic() - since:.0f} s", flush=True)
        for module, each in todo.items():
            table[module] = judge_module(forks, each)
            print(line(module, table[module]), flush=True)
    except NothingToSayError as error:
        print(error, flush=True)
        return 2
    total = sum(table.values(), Counter[str]())
    kinds = Counter(mutant.kind for each in todo.values() for mutant in each)
    print(line("", {each: each for each in COLUMNS}))
    print(line("together", total))
    print(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    share = 100 * (1 - total["survived"] / max(total["mutants"], 1))
    print(f"{share:.1f} % in {time.monotonic() - since:.0f} s")
    return int(total["survived"] > 0)


def judge_module(forks: Forks, todo: list[Mutant]) -> Counter[str]:
    """Run the mutants of one module and count what became of them; print those that survived."""
    explained = [mutant for mutant in todo if (mutant.module, *mutant.key) in EXPLAINED]
    counts = Counter({"mutants": len(todo), "explained": len(explained)})
    for mutant, verdict in forks.judge([mutant for mutant in todo if mutant not in explained]):
        counts["caught"] += verdict in (Verdict.CAUGHT, Verdict.STOPPED)
        counts["of these stopped"] += verdict == Verdict.STOPPED
        if verdict in (Verdict.SURVIVED, Verdict.NEVER_RUN):
            counts["survived"] += 1
            print(f"{verdict.value}: {mutant}", flush=True)
    return counts


def line(name: str, counts: dict[str, object] | Counter[str]) -> str:
    """Return a line of the table."""
    return f"{name:14} " + " ".join(f"{counts[each]:>{len(each)}}" for each in COLUMNS)


def check_explained(todo: dict[str, list[Mutant]]) -> None:
    """Raise if a mutant is explained that is not there, or more than one by one reason."""
    found = Counter((mutant.module, *mutant.key) for each in todo.values() for mutant in each)
    for key in EXPLAINED:
        if key[0] in todo and found[key] != 1:
            raise NothingToSayError(f"explained, and there are {found[key]} of it: {key}")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # duckdb's report of what it did not free at the end of a process is not ours
