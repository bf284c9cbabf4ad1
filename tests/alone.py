"""An auditor's machine: a folder that holds `ledger`, cryptography and orjson, and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import ledger

NEEDED = ("orjson", "cryptography", "cffi", "_cffi_backend", "pycparser", "typing_extensions")


def furnish(folder: Path) -> Path:
    """Put a copy of the package, and what it may import, into a folder."""
    package = Path(ledger.__file__).parent
    shutil.copytree(package, folder / "ledger", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command isolated: no environment, no user folder, no site-packages."""
    path = f"import runpy, sys; sys.path.insert(0, {str(folder)!r})"
    script = f"{path}; runpy.run_module('ledger', None, '__main__')"
    command = [sys.executable, "-I", "-S", "-c", script, *arguments]
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False)
