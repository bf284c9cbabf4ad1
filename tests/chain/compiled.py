"""Solidity sources of the tests, compiled once for a run."""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workbench.evm.calldata import encode

ROOT = Path(__file__).parents[2]
Made = Mapping[str, Any]


@cache
def compiled(source: str) -> Made:
    """Return the contracts of a source file: name to ABI and bytecode."""
    done = subprocess.run(
        [str(ROOT / ".venv/bin/node"), "compile.js", str(ROOT / "tests/chain/contracts" / source)],
        cwd=ROOT / "binder",
        capture_output=True,
        text=True,
        check=True,
    )
    made: Made = json.loads(done.stdout)
    return made


def calldata(name: str, *arguments: tuple[str, Any]) -> bytes:
    """Return the calldata of a function from the types and values of its arguments."""
    names = [chr(97 + place) for place in range(len(arguments))]
    inputs = [{"name": each, "type": kind} for each, (kind, _) in zip(names, arguments, strict=True)]
    fragment = {"type": "function", "name": name, "inputs": inputs}
    return encode(fragment, {each: value for each, (_, value) in zip(names, arguments, strict=True)})
