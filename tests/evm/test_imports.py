"""What a co-signer loads when it loads this package."""

import subprocess
import sys
from pathlib import Path

DENIED = [
    "web3",
    "eth_account",
    "ssl",
    "http",
    "asyncio",
    "sqlite3",
    "requests",
    "aiohttp",
    "duckdb",
    "urllib3",
]
MODULES = [
    "call",
    "calldata",
    "carriers",
    "errors",
    "fields",
    "header",
    "history",
    "known",
    "proof",
    "receipt",
    "safe",
    "safe_storage",
    "token_words",
    "transaction",
    "tree",
]


def test_the_pure_package_loads_no_network() -> None:
    """None of the modules that could reach out is loaded with the whole package."""
    names = ", ".join(f"workbench.evm.{name}" for name in MODULES)
    script = f"import sys, {names}; print(*[name for name in {DENIED} if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
    assert {path.stem for path in (root / "workbench" / "evm").glob("*.py")} == {*MODULES, "__init__"}
