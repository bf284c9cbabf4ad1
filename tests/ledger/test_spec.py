"""What is written about the package holds: the specification's example, its limits, and who imports what."""

import ast
import re
from pathlib import Path

import pytest

import ledger
from ledger import bundle, checkpoint, encoding
from ledger.encoding import canonical
from tests.ledger.world import World

PACKAGE = Path(ledger.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("*.py")}
SPEC = (PACKAGE / "SPEC.md").read_text(encoding="utf-8")
OUTSIDE = {
    "checkpoint": {"cryptography"},
    "clock": {"functools"},
    "database": {"duckdb"},
    "encoding": {"orjson"},
    "redaction": {"cryptography"},
    "segments": {"duckdb", "concurrent"},
    "signer": {"cryptography", "importlib", "urllib"},
    "store": {"duckdb"},
    "trust": {"cryptography"},
    "tsp": {"cryptography", "rfc3161_client", "warnings"},
    "tsp_types": {"cryptography"},
    "tally_polars": {"polars", "polars_hash", "concurrent", "tempfile"},
    "tally_sql": {"duckdb", "tempfile"},
    # the edges: files that survive a crash, threads, sockets, a process
    "exchange": {"http", "socket", "ssl", "time", "urllib"},
    "files": {"tempfile"},
    "names": {"tempfile"},
    "stamping": {"secrets"},
    "timestamp_client": {"http", "urllib", "functools"},
    "witness_client": {"http", "socket", "urllib", "functools"},
    "witness_server": {"http", "ipaddress", "socket", "socketserver"},
    "witnessing": {"signal"},
    "writer": {"concurrent"},
}
"""What a module imports beside the package and the ordinary standard library: its own task to wrap."""


def imports(tree: ast.Module) -> set[str]:
    """Return the first names of all modules that a module imports, wherever it does so."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".", maxsplit=1)[0] for name in names}


def test_the_example_is_real(world: World) -> None:
    """Every block of the example is what the code makes of its event, in this order."""
    world.append(0)
    note = world.check_point()
    (entry,) = world.ledger.entries()
    folder = world.write_bundle()
    assert entry.data is not None
    assert entry.salt is not None
    expected = [
        canonical(world.trust),
        world.ledger.genesis.encode(),
        world.ledger.genesis.hash().hex().encode(),
        canonical(entry.data) + b"\n" + entry.salt.hex().encode(),
        entry.datahash.hex().encode(),
        entry.head + b"\n" + entry.leaf.hex().encode(),
        entry.h.hex().encode(),
        folder.lines()[0][:-1],
        note[:-1].encode(),
        folder.read("index.json"),
    ]
    assert re.findall(r"```\n(.*?)\n```", SPEC, re.DOTALL) == [block.decode() for block in expected]


def test_the_limits_are_those_of_the_code() -> None:
    """The specification's numbers are the constants."""
    assert (encoding.LIMIT, bundle.LINE_MAX, bundle.INDEX_MAX) == (64 << 10, 320 << 10, 4 << 20)
    assert (encoding.DEPTH_MAX, checkpoint.SIGNATURES_MAX, bundle.DEPTH_MAX) == (32, 64, 8)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports(name: str) -> None:
    """Each module imports the standard library, this package, and only what is its own task to wrap."""
    standard = {
        "argparse",
        "base64",
        "binascii",
        "collections",
        "contextlib",
        "dataclasses",
        "datetime",
        "enum",
    }
    standard |= {"struct", "types", "heapq"}
    standard |= {"fcntl", "hashlib", "io", "os", "pathlib", "re", "stat", "sys", "threading", "typing"}
    assert imports(MODULES[name]) - standard - {"ledger"} == OUTSIDE.get(name, set())


def test_no_clock_and_no_chance() -> None:
    """No module reads the clock, the environment or a random source: they are arguments, but of a process."""
    for name, tree in MODULES.items():
        if name == "witnessing":
            continue
        # each time-stamp is asked for under a nonce of its own, by the command
        assert name == "stamping" or "secrets" not in imports(tree)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & {"now", "utcnow", "environ", "getenv", "urandom", "token_bytes", "today"}, name


def test_the_verifier_does_not_load_the_store() -> None:
    """Nothing that the command imports leads to the store."""
    seen, waiting = set[str](), ["__main__"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for node in ast.walk(MODULES[name]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ledger"):
                found = {alias.name for alias in node.names} | {(node.module or "").removeprefix("ledger.")}
                waiting += [module for module in found & set(MODULES) if module not in seen]
    assert "store" not in seen
    assert {"verifier", "bundle", "trust"} <= seen
