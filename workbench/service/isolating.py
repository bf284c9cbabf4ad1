"""What shuts each co-signer in, by its own word: shown in the status, and in the ledger where it changes.

It is asked all the time, so that one that was started with less is in the ledger before anybody asks why. An
entry is written when the measures that are missing are not those of the co-signer's last entry, be it from
an earlier life of this process: one for a start that changes nothing would say nothing. Entries are the
service's: what it was told, unsigned, by a process that may have been taken over. Nothing rests on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.entry import Entry
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.isolation import Isolation
from workbench.service.links import Links
from workbench.service.record import Recorder

ISOLATION = "cosigner.isolation"


@dataclass(slots=True)
class Isolating:
    """What each co-signer said last, and which of it the ledger has."""

    recorder: Recorder
    links: Links
    _said: dict[str, Isolation | None] = field(default_factory=dict)
    _recorded: dict[str, Isolation] = field(default_factory=dict)
    _entries: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, recorder: Recorder, links: Links, entries: Iterable[Entry]) -> Isolating:
        """Begin with what the ledger has."""
        made = cls(recorder, links)
        for entry in entries:
            if entry.type == ISOLATION and entry.subject is not None:
                made._recorded[entry.subject] = Isolation.load(entry.data)
                made._entries[entry.subject] = made._entries.get(entry.subject, 0) + 1
        return made

    def said(self) -> Mapping[str, dict[str, Any] | None]:
        """Return what each said last; None of one that is silent, or was not asked yet."""
        last = {name: self._said.get(name) for name in sorted(self.links.cosigners)}
        return {name: None if each is None else each.dump() for name, each in last.items()}

    def step(self) -> None:
        """Ask each once; one that says what cannot be is named, one that is away is not."""
        for name in sorted(self.links.cosigners):
            self._said[name] = None
            try:
                self._take(name, self.links.isolation(name))
            except RefusedError as refused:
                if refused.code is not Refusal.UNAVAILABLE and name not in self._told:
                    self.recorder.refusal(refused, actor="service", about=f"isolation of {name}")
                    self._told.add(name)

    def _take(self, name: str, isolation: Isolation) -> None:
        self._said[name] = isolation
        before = self._recorded.get(name)
        if before is not None and before.missing == isolation.missing:
            return
        number = self._entries.get(name, 0) + 1
        self.recorder.append(
            ISOLATION, f"{name}-isolation-{number}", isolation.dump(), actor="service", subject=name
        )
        self._recorded[name], self._entries[name] = isolation, number
