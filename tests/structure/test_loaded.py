"""What is loaded at run time: walls that an import contract only draws on paper."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.demo.charter import COSIGNER
from workbench.demo.stack import Stack
from workbench.demo.world import World

ROOT = Path(__file__).parents[2]
COSIGNER_DENIED = (
    "aiohttp",
    "asyncio",
    "duckdb",
    "eth_account",
    "http",
    "http.client",
    "httpx",
    "ipywidgets",
    "requests",
    "sqlite3",
    "ssl",
    "starlette",
    "uvicorn",
    "web3",
)
KERNEL_DENIED = (
    "duckdb",
    "ledger.store",
    "pkcs11",
    "workbench.chain",
    "workbench.cosigner",
    "workbench.custody",
    "workbench.demo",
    "workbench.identity",
    "workbench.observer",
    "workbench.process",
    "workbench.service",
)
LEDGER_DENIED = ("duckdb", "ledger.store", "pydantic", "workbench")


def loaded(modules: list[str]) -> set[str]:
    """Return what a fresh interpreter has loaded after importing these modules."""
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def modules_of(package: str) -> list[str]:
    """Return every module of a package, its command included."""
    folder = ROOT / package.replace(".", "/")
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    return [package, *(f"{package}.{name}" for name in names)]


@pytest.mark.parametrize(
    ("modules", "denied"),
    [
        pytest.param(modules_of("workbench.cosigner"), COSIGNER_DENIED, id="a co-signer loads no network"),
        pytest.param(
            ["workbench.client", *modules_of("workbench.desk")], KERNEL_DENIED, id="a kernel loads no keys"
        ),
        pytest.param(["ledger.verifier", "ledger.__main__"], LEDGER_DENIED, id="a verifier loads no store"),
    ],
)
def test_not_loaded(modules: list[str], denied: tuple[str, ...]) -> None:
    """None of the denied modules is loaded, not by a library either."""
    there = loaded(modules)
    assert set(modules) <= there
    assert there & set(denied) == set()


PROCESSES = sorted(path.parent.name for path in (ROOT / "workbench").glob("*/__main__.py"))


@pytest.mark.parametrize("process", PROCESSES)
def test_no_library_raises_the_limit_of_recursion(process: str) -> None:
    """Python's own limit holds in every process: beyond it, what a stranger nests ends the process."""
    script = f"import sys, workbench.{process}.__main__; print(sys.getrecursionlimit())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) <= 1000


def test_a_cosigner_that_has_signed_loaded_no_network(lived: tuple[World, Stack]) -> None:
    """The running process, after a signature, has mapped no library of the denied ones."""
    maps = Path(f"/proc/{lived[1]._running[COSIGNER].pid}/maps").read_text()
    mapped = {Path(path).name for path in re.findall(r" (/\S+)$", maps, re.MULTILINE)}
    assert any(name.startswith("libsofthsm2") for name in mapped)
    denied = re.compile(r"_(ssl|asyncio|sqlite3|duckdb|http)[._]|lib(ssl|sqlite3|duckdb)[.-]|_http_parser")
    assert {name for name in mapped if denied.search(name)} == set()
