"""Who may do what."""

from __future__ import annotations

import argparse
import json
import sys

from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.rules import roles
from workbench.rules.codes import RefusedError


def matrix(options: argparse.Namespace) -> int:
    """Print what each role permits."""
    try:
        read = roles.read(json.loads(options.roles.read_bytes()))
    except (OSError, ValueError) as error:
        print(f"workbench: {options.roles}: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except RefusedError as refused:
        print(f"workbench: {refused}", file=sys.stderr)
        return REFUSED
    width = max(map(len, read))
    print("  ".join([" " * width, *roles.Permission]))
    for role, permitted in sorted(read.items()):
        cells = [("yes" if each in permitted else "-").ljust(len(each)) for each in roles.Permission]
        print("  ".join([role.ljust(width), *cells]).rstrip())
    return DONE
