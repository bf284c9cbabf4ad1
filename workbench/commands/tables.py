"""The tables that the code itself is made of."""

from __future__ import annotations

import argparse

from workbench.commands import DONE
from workbench.rules.codes import Refusal
from workbench.rules.lifecycle import TABLE


def codes(_: argparse.Namespace) -> int:
    """Print every reason to refuse."""
    for code in Refusal:
        print(code.value)
    return DONE


def states(_: argparse.Namespace) -> int:
    """Print the state table."""
    for (state, event), after in TABLE.items():
        print(f"{state.value:12} {event.value:24} {after.value}")
    return DONE
