"""What a command says: others wrote parts of it, so what steers a terminal is left out, and lines end.

A word that is wider than the line, an address say, stays whole: it is there to be copied.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

from workbench.client import ProblemError, ServiceUnavailableError
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.rules.codes import RefusedError
from workbench.rules.documents import printable

WIDTH = 100
INDENT = "    "


class NothingToDoError(Exception):
    """The command has nothing to work on; the message says what is missing."""


def outcome(lines: Iterable[str]) -> int:
    """Print each line when it is there; return the exit code, with the reason where something failed."""
    try:
        for line in lines:
            print(folded(line), flush=True)
    except (ServiceUnavailableError, NothingToDoError, OSError) as error:
        complain(error)
        return COULD_NOT_RUN
    except (ProblemError, RefusedError) as error:
        complain(error)
        return REFUSED
    return DONE


def complain(said: object) -> None:
    """Say something on standard error."""
    print(folded(f"workbench: {said}"), file=sys.stderr, flush=True)


def folded(text: str) -> str:
    """Return one line's text as the lines of a terminal."""
    # a line feed of somebody else's could begin a line that looks like ours
    plain = printable(text).replace("\n", " ").replace("\t", " ")
    return "\n".join(
        textwrap.wrap(plain, WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    )
