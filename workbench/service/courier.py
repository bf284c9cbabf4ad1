"""Carries one run over a shared key between co-signers: everybody's messages to everybody, round by round.

It understands nothing of what it carries but who it is for. All of a round are asked at once; what some have
answered is kept even when another fails. Who speaks nonsense, or more than a round can have, is passed over
like one that is silent: the others must not pay for it. So is the slowest of a run that takes too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workbench.rules.codes import RefusedError
from workbench.rules.threshold import ROUNDS_MAX, SignedEnvelope, SignedOpening

STEPS_MAX = 2 * ROUNDS_MAX
"""Messages and echoes of each round."""
DETAIL_MAX = 1500
MAIL_MAX = 300_000
"""From one to another in a step, in hex: the longest messages of a key's making."""
ENVELOPES_MAX = 2
"""From one to another in a step: one for it alone, one for all."""
ENDS = frozenset({"answer", "word"})
"""What a run comes to: a signed answer, or the word that a share is ready."""

Said = dict[str, Any]
Spoken = TypeVar("Spoken", SignedOpening, SignedEnvelope)
Ask = Callable[[str, Said], Said]
"""How a co-signer is asked, by its name; raises RefusedError when it is silent."""


class StepError(Exception):
    """A co-signer did not take a step of a run: it is silent (or as good as that), or says why not."""

    def __init__(self, name: str, reason: str, *, is_silent: bool) -> None:
        super().__init__(reason)
        self.name, self.is_silent = name, is_silent


@dataclass(slots=True)
class Courier:
    """Carries one run between co-signers, by name their numbers; `answers` are what it has come to.

    `seconds`: a run that has taken longer goes no further, None lets it.
    """

    ask: Ask
    pool: ThreadPoolExecutor
    numbers: Mapping[str, int]
    seconds: float | None = None
    answers: dict[str, Said] = field(default_factory=dict)
    _took: dict[str, float] = field(default_factory=dict)

    def carry(self, opening: Said, taking: Said) -> dict[str, Said]:
        """Have a run opened by one request, and taken to its end by another; return everybody's answer.

        Raises:
            StepError: somebody is silent, or refuses a step.

        """
        opened = self._all(dict.fromkeys(self.numbers, opening))
        openings = [_read(SignedOpening, name, each.get("opening")).dump() for name, each in opened.items()]
        beginning = {"v": 1, "operation": "begin", "openings": openings}
        said = self._all(dict.fromkeys(self.numbers, beginning))
        runs = {str(each.get("run")) for each in said.values()}
        if len(runs) != 1:
            raise StepError(next(iter(self.numbers)), "they name different runs", is_silent=False)
        (run,) = runs
        for _ in range(STEPS_MAX):
            mail = self._deliver(said)
            said = self._all({name: taking | {"run": run, "envelopes": mail[name]} for name in self.numbers})
            if self.answers:
                return self.answers
        raise StepError(next(iter(self.numbers)), "the run does not end", is_silent=False)

    def _deliver(self, said: Mapping[str, Said]) -> dict[str, list[Said]]:
        mail: dict[str, list[Said]] = {name: [] for name in self.numbers}
        for sender, each in said.items():
            given = each.get("envelopes") or []
            if not isinstance(given, list):
                raise StepError(sender, "its envelopes are no list", is_silent=True)
            read = [_read(SignedEnvelope, sender, value) for value in given]
            for name, number in self.numbers.items():
                mine = [one for one in read if name != sender and one.envelope.to in {None, number}]
                if len(mine) > ENVELOPES_MAX or sum(len(one.envelope.body) for one in mine) > MAIL_MAX:
                    raise StepError(sender, f"it has more to say to {name} than a step can", is_silent=True)
                mail[name] += [one.dump() for one in mine]
        return mail

    def _all(self, requests: Mapping[str, Said]) -> dict[str, Said]:
        asked = {name: self.pool.submit(self._timed, name, each) for name, each in requests.items()}
        said: dict[str, Said] = {}
        failed: StepError | None = None
        for name, future in asked.items():
            try:
                said[name] = future.result()
            except RefusedError as refusal:
                failed = StepError(name, str(refusal), is_silent=True)
                continue
            refused = said[name].get("refused")
            if ENDS & set(said[name]):
                self.answers[name] = said[name]
            elif isinstance(refused, dict):
                reason = f"{refused.get('code')}: {refused.get('detail')}"[:DETAIL_MAX]
                # one that is silent is named first: the others may refuse on its account
                failed = failed or StepError(name, reason, is_silent=False)
        if failed is not None:
            raise failed
        slowest = max(self._took, key=self._took.__getitem__)
        # nobody takes longer than all steps together, which are asked one after the other
        if self.seconds is not None and not self.answers and self._took[slowest] > self.seconds:
            raise StepError(slowest, f"it took {self._took[slowest]:.0f} seconds so far", is_silent=True)
        return said

    def _timed(self, name: str, request: Said) -> Said:
        begun = time.monotonic()
        try:
            return self.ask(name, request)
        finally:
            self._took[name] = self._took.get(name, 0.0) + time.monotonic() - begun


def _read(kind: type[Spoken], name: str, value: object) -> Spoken:
    """Read what one has said, or say who speaks nonsense."""
    try:
        return kind.load(value)
    except RefusedError as refusal:
        raise StepError(name, f"{refusal}"[:DETAIL_MAX], is_silent=True) from refusal
