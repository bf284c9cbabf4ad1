"""Crash points: places where a test ends a process exactly there, as kill -9 would.

A point is named after the lifecycle step it stands in. A process that is started
with `--testing-only-crash-at` says so at once, and refuses it under any trust root
but a demo one.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """End this process when it reaches the named point; None never does."""

    name: str | None = None

    def reached(self, name: str) -> None:
        """Stand at the point `name`."""
        if name == self.name:
            os.kill(os.getpid(), signal.SIGKILL)


NEVER = CrashPoint()
