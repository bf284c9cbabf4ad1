"""What shuts a co-signer's process in, measure by measure, as that process found it by looking at itself.

All of it is a claim: a process that was taken over says what it likes, so that no signature rests on any of
it. It tells an operator what a machine lacks, and under a production trust root a co-signer that finds a
measure missing does not start. Where a co-signer runs unprotected, that is shown and never silent: each
measure is named, held or not, with what was seen.

Left out: who else shares its OS user or its network, and what the machine's root can do, which a process
cannot see from inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self, get_args

from pydantic import model_validator

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Said

Measure = Literal[
    "no_network",
    "system_calls_filtered",
    "no_new_privileges",
    "no_capabilities",
    "memory_unreadable",
    "no_core_file",
    "memory_not_swapped",
    "files_read_only",
    "user_of_its_own",
    "other_processes_hidden",
    "other_states_hidden",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class Found(Document):
    """One measure: whether it holds, and what was seen."""

    measure: Measure
    holds: bool
    seen: Said


class Isolation(Document):
    """Every measure once, in their order."""

    v: Literal[1]
    measures: list[Found]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        # a measure that is left out would look like one that nobody asked for
        if tuple(each.measure for each in self.measures) != MEASURES:
            raise ValueError("each measure once, in their order")
        return self

    @property
    def missing(self) -> tuple[Measure, ...]:
        """The measures that do not hold."""
        return tuple(each.measure for each in self.measures if not each.holds)


def found(seen: Mapping[Measure, tuple[bool, str]]) -> Isolation:
    """Return what was found as a document."""
    measures = [{"measure": name, "holds": seen[name][0], "seen": seen[name][1]} for name in MEASURES]
    return Isolation.load({"v": 1, "measures": measures})


def check(isolation: Isolation, *, profile: str) -> None:
    """Refuse to go on without a measure, unless the trust root is a demo's.

    Raises:
        RefusedError: the missing ones, by name, with what was seen in their place.

    """
    if profile == "demo" or not isolation.missing:
        return
    seen = [f"{each.measure} ({each.seen})" for each in isolation.measures if not each.holds]
    raise RefusedError(Refusal.ISOLATION, f"missing under a {profile} trust root: {', '.join(seen)}")
