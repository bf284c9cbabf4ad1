"""The tables that the code itself is made of."""

from __future__ import annotations

import argparse

from workbench.commands import DONE
from workbench.rules import key_life
from workbench.rules.codes import Refusal
from workbench.rules.lifecycle import TABLE


def codes(_: argparse.Namespace) -> int:
    """Print every reason to refuse."""
    for code in Refusal:
        print(code.value)
    return DONE


def states(options: argparse.Namespace) -> int:
    """Print a state table."""
    table = key_life.TABLE if options.of == "keys" else TABLE
    for (state, event), after in table.items():
        print(f"{state.value:12} {event.value:24} {after.value}")
    return DONE
