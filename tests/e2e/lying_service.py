"""The service of an attacker who has taken it over: it finds nothing wrong, and asks for signatures."""

from __future__ import annotations

import sys

from workbench.rules import cedar, execution
from workbench.rules.cedar import Explanation, Verdict
from workbench.service.__main__ import main


def _nothing(*_: object, **__: object) -> None:
    """Find nothing wrong with what is proposed."""


def _yes(*_: object, **__: object) -> Verdict:
    """Find that the rules permit it."""
    return Verdict(allowed=True, denying=(), needs=())


def _whatever(*_: object, **__: object) -> Explanation:
    """Find nothing outstanding."""
    return Explanation(denying=(), needs=(), missing=())


if __name__ == "__main__":
    execution.verify_proposable = _nothing
    cedar.evaluate, cedar.explain = _yes, _whatever
    sys.exit(main())
