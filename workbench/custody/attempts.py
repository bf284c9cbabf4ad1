"""How often a token's PIN may be tried: SoftHSM never locks itself, so this process does.

`attempts.json` in the state root has how many tries in a row went wrong, and before when none is made.

(1) A try is counted on disk before it is made: whoever ends the process in the middle of one gains none.
(2) After a wrong PIN the next try waits: 0, 1, 3, 7 … 255 seconds. A clock that is set back waits longer,
    never shorter; who can set it forward can shorten the waits, and not the number of tries.
(3) After ten in a row nothing is tried until an operator says so: `workbench custody unlock`.
(4) The right PIN begins anew. A failure that is none of the PIN's takes its own try back.
(5) Without the file, or with one that cannot be read, nothing is tried: it is made with the token, or by (3).
(6) Two processes over one state root wait for each other.

It counts what our processes try. Who has the token's files tries on a copy: against that stands the PIN's
length, and a token that is hardware.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ledger import files
from workbench.custody.errors import TokenError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Time, read_time, write_time

NAME = "attempts.json"
FILE_MAX = 4096
WRONG_MAX = 10
UNLOCK = "`workbench custody unlock` begins anew, once you know who tried"


class Tried(Document):
    """What is remembered: so many wrong in a row, and the earliest moment of the next."""

    v: Literal[1]
    wrong: Annotated[int, Field(ge=0, le=WRONG_MAX)]
    not_before: Time | None


BEGINNING = Tried(v=1, wrong=0, not_before=None)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The tries at one token's PIN from one state root."""

    state: Path
    clock: Callable[[], datetime]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count a try, have it made, and forget it if the PIN was right.

        Raises:
            TokenError: it may not be made, or what was tried failed.

        """
        with _alone(self.state):
            before = read(self.state)
            self._allowed(before)
            wrong = before.wrong + 1
            wait = timedelta(seconds=2 ** (wrong - 1) - 1)
            counted = Tried(v=1, wrong=wrong, not_before=write_time(self.clock() + wait))
            _write(self.state, counted)
            try:
                yield
            except TokenError as error:
                # a crash, or any other exception, leaves the try counted
                if error.code is not Refusal.HSM_PIN:
                    _write(self.state, before)
                raise
            _write(self.state, BEGINNING)

    def _allowed(self, before: Tried) -> None:
        if before.wrong >= WRONG_MAX:
            raise TokenError(Refusal.HSM_LOCKED, f"{before.wrong} wrong PINs in a row; {UNLOCK}")
        now = self.clock()
        if before.not_before is not None and now < read_time(before.not_before):
            said = f"{before.wrong} wrong PINs in a row: none is tried before {before.not_before}"
            raise TokenError(Refusal.HSM_WAIT, said)


def found(state: Path) -> None:
    """Begin to count, once, for a token that was just made."""
    files.create(state / NAME, BEGINNING.canonical())


def unlock(state: Path) -> Tried | None:
    """(3) Begin anew; return what was remembered, None where that could not be read."""
    with _alone(state):
        try:
            before = read(state)
        except TokenError:
            before = None
        _write(state, BEGINNING)
    return before


def read(state: Path) -> Tried:
    """Return what is remembered, or refuse."""
    try:
        return Tried.read((state / NAME).read_bytes(), limit=FILE_MAX)
    except (OSError, RefusedError) as error:
        raise TokenError(Refusal.HSM_LOCKED, f"{state / NAME}: {error}; {UNLOCK}") from error


def _write(state: Path, tried: Tried) -> None:
    files.replace(state / NAME, tried.canonical())


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    # the folder is locked, not the file: each write puts another file in its place
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
