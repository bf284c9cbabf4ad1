"""The service's round of witnesses: it brings each of them the newest checkpoint and takes their lines.

A checkpoint counts when the trust root's quorum has cosigned it; until then nothing is signed under it. Each
line is verified before it is attached. A witness that is silent costs one time-out and is then left alone for
a while; one that remembers more than we have is the alarm that this ledger is not the newest.

At start the same witnesses are asked what they remember. Enough of them must answer that one of them knows
every checkpoint that ever counted: with fewer, an older ledger could be taken for the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ledger import checkpoint as notes
from ledger import witness_client
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.store import Ledger
from ledger.trust import TrustRoot
from ledger.witness import ConflictError, WitnessError
from ledger.witness_client import UnreachableError
from workbench.process.frames import FrameError, call
from workbench.rules.codes import Refusal, RefusedError

TIMEOUT_S = 3.0
AT_ONCE = 8
FRAMES = "frames:"
"""An address of this scheme is a co-signer's socket, which speaks frames and not HTTP."""
SILENT_FOR = timedelta(seconds=15)

T = TypeVar("T")


@dataclass(slots=True)
class Witnesses:
    """The witnesses that this service knows how to reach, by their names in the trust root."""

    trust_root: TrustRoot
    addresses: Mapping[str, str]
    clock: Callable[[], datetime]
    _sizes: dict[str, int] = field(default_factory=dict)
    _silent: dict[str, datetime] = field(default_factory=dict)

    def remembered(self) -> list[Checkpoint]:
        """Return what the witnesses remember; refuse when too few answer to be sure of the newest."""
        unknown = set(self.addresses) - set(self.trust_root.witnesses)
        if unknown:
            # Whoever answers under a name that counts for nothing must not count as an answer.
            raise RefusedError(Refusal.TRUST_ROOT, f"no witness of the trust root: {sorted(unknown)}")
        asked = self._each(self.addresses, self._status)
        needed = len(self.trust_root.witnesses) - self.trust_root.witness_quorum + 1
        if self.trust_root.witness_quorum and len(asked) < needed:
            raise RefusedError(
                Refusal.UNAVAILABLE, f"{len(asked)} of {len(self.addresses)} witnesses answer, {needed} must"
            )
        return [known for known in asked.values() if known is not None]

    def cosigned(self, note: str, ledger: Ledger) -> str:
        """Return the note with the lines of every witness that answers; refuse below the quorum."""
        waiting = [name for name in self.addresses if self._worth_asking(name)]
        lines = self._each(waiting, lambda name: self._line(name, note, ledger))
        if not self._counts(_with(note, lines)):
            # who was silent a moment ago is asked all the same before it fails for want of him
            passed = [name for name in self.addresses if name not in waiting]
            lines |= self._each(passed, lambda name: self._line(name, note, ledger))
        whole = _with(note, lines)
        try:
            self.trust_root.verify(whole)
        except CheckpointError as error:
            missing = ", ".join(name for name in self.addresses if name not in lines)
            told = f"the checkpoint does not count: {error}; nothing from {missing}"
            raise RefusedError(Refusal.UNAVAILABLE, told) from error
        return whole

    def _counts(self, note: str) -> bool:
        try:
            self.trust_root.verify(note)
        except CheckpointError:
            return False
        return True

    def _each(self, names: Iterable[str], work: Callable[[str], T]) -> dict[str, T]:
        answers: dict[str, T] = {}

        def attempt(name: str) -> None:
            try:
                answers[name] = work(name)
            except (UnreachableError, WitnessError, FrameError, CheckpointError):
                self._silent[name] = self.clock()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(attempt, names))
        return answers

    def _worth_asking(self, name: str) -> bool:
        since = self._silent.get(name)
        return since is None or self.clock() - since > SILENT_FOR

    def _line(self, name: str, note: str, ledger: Ledger) -> str:
        size = notes.split(note)[0].size
        old = min(self._sizes.get(name, 0), size)
        try:
            line = self._ask(name, note, old, ledger.consistency(old, size))
        except ConflictError as conflict:
            # It remembers more than this note, or a fork of it: either way it will not sign, and should not.
            if conflict.size > size or conflict.size == old:
                raise
            line = self._ask(name, note, conflict.size, ledger.consistency(conflict.size, size))
        # One line that does not verify would spoil the note for everybody.
        key = self.trust_root.witnesses[name]
        notes.add_cosignature(note, line, name=name, public_key=key)
        self._sizes[name] = size
        return line

    def _ask(self, name: str, note: str, old_size: int, proof: Sequence[bytes]) -> str:
        address = self.addresses[name]
        if not address.startswith(FRAMES):
            return witness_client.ask(address, note, old_size=old_size, proof=proof, timeout_s=TIMEOUT_S)
        request = {"v": 1, "operation": "witness", "old_size": old_size, "note": note}
        answer = self._call(address, {**request, "proof": [node.hex() for node in proof]})
        refused = answer.get("refused")
        if isinstance(refused, dict):
            if refused.get("code") in {"conflict", "equivocation"} and type(refused.get("size")) is int:
                raise ConflictError(refused["size"])
            raise WitnessError(f"{name}: {refused.get('code')!r:.40}")
        return str(answer.get("line"))

    def _status(self, name: str) -> Checkpoint | None:
        address = self.addresses[name]
        if address.startswith(FRAMES):
            status = self._call(address, {"v": 1, "operation": "witness-status"}).get("status")
            told = status if isinstance(status, dict) else {}
        else:
            told = witness_client.status(address, timeout_s=TIMEOUT_S)
        note = told.get("note")
        if told.get("name") != name or not isinstance(note, str):
            raise UnreachableError(f"{name} says nothing of what it remembers")
        if not note and told.get("size") == 0:
            return None
        # Our own key's signature makes it a memory of this ledger, also where its line is not made yet.
        return notes.verify(note, self.trust_root.checkpoint_keys, witnesses=self.trust_root.witnesses)

    def _call(self, address: str, request: dict[str, Any]) -> dict[str, Any]:
        return call(Path(address.removeprefix(FRAMES)), request, timeout_s=TIMEOUT_S)


def _with(note: str, lines: Mapping[str, str]) -> str:
    """Return a note with these witnesses' lines."""
    for line in lines.values():
        note = notes.add(note, line)
    return note
