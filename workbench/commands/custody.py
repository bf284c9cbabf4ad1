"""The token of one process, looked at and unlocked by whoever runs that process.

`token` opens it like the process would, counts as a try at its PIN, and runs the self-test; `unlock` begins
to count tries anew after ten wrong ones, or where the count was lost. Both read the process's own state root.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.commands.compare import compare
from workbench.custody import attempts
from workbench.custody.errors import TokenError
from workbench.custody.token import Token, opened
from workbench.process.config import ConfigError, StateRoot
from workbench.rules.codes import RefusedError

WIDTH = 26


def custody(options: argparse.Namespace) -> int:
    """Compare the ways to hold a key, or do what is asked of one state root."""
    if options.looked == "compare":
        return compare()
    try:
        return token(options.state) if options.looked == "token" else unlock(options.state)
    except (TokenError, RefusedError) as refused:
        print(f"workbench: {refused}", file=sys.stderr)
        return REFUSED
    except (ConfigError, OSError, ValueError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return COULD_NOT_RUN


def token(state: Path) -> int:
    """Print what the token can do, whether it keeps its keys, and what it claims of each."""
    root = StateRoot(state)
    configured = json.loads((state / "config.json").read_bytes())
    if not isinstance(configured, dict):
        raise ConfigError(f"{state / 'config.json'}: no object")
    there = opened(state, configured.get("token"), pin=root.pin, clock=lambda: datetime.now(UTC))
    try:
        return _shown(there)
    finally:
        there.close()


def unlock(state: Path) -> int:
    """Begin to count wrong PINs anew; say what was counted."""
    StateRoot(state)
    before = attempts.unlock(state)
    said = "the count was missing or malformed" if before is None else f"{before.wrong} wrong PINs in a row"
    print(f"{said}; counted from none again")
    return DONE


def _shown(there: Token) -> int:
    capabilities = there.capabilities()
    checks = there.self_test(capabilities)
    for name, value in there.about.items():
        print(f"{name.ljust(WIDTH)} {value!s:.80}")
    print()
    for trial in capabilities.trials:
        listed = "listed" if trial.is_listed else "not listed"
        print(f"{trial.name.ljust(WIDTH)} {'yes' if trial.works else 'no':4} {listed}")
    print(f"{'seals by'.ljust(WIDTH)} {capabilities.sealing or 'nothing'}")
    print()
    for name, passed in checks.items():
        print(f"{name.ljust(WIDTH)} {'passed' if passed else 'FAILED'}")
    for key in there.claims():
        print(f"\n{key.label!r:.64} {key.kind} {key.id.hex()}")
        for name, claimed in key.attributes.items():
            print(f"  {name.ljust(WIDTH)} {'unknown' if claimed is None else str(claimed).lower()}")
    return DONE if all(checks.values()) else REFUSED
