"""What a policy set pins of a Safe: everything in it, and around it, that decides who may move its funds.

Which chain and address, the code of the Safe and of what runs in its place, its owners and how many must
sign, that there is no guard and no module but those named. Pins that would let anything pass are refused when
they are made. What they are compared with is proven; `rules.safe` compares. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.rules.codes import Refusal, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The Safe that the policy set means, and the code that it and its helpers have, by address."""

    chain_id: int
    safe: str
    singleton: str
    multi_send: str
    owners: frozenset[str]
    threshold: int
    guard: str
    fallback_handler: str
    modules: frozenset[str]
    code_hashes: Mapping[str, bytes]
    critical_quorum: int | None

    def __post_init__(self) -> None:
        """Refuse pins that would let anything pass."""
        if not 1 <= self.threshold <= len(self.owners):
            raise RefusedError(
                Refusal.POLICY_INVALID, f"a threshold of {self.threshold} among {len(self.owners)} owners"
            )
        if self.critical_quorum is not None and self.critical_quorum <= self.threshold:
            raise RefusedError(
                Refusal.POLICY_INVALID,
                f"a critical quorum of {self.critical_quorum}, not above the threshold {self.threshold}",
            )
        if not {self.safe, self.singleton, self.multi_send} <= set(self.code_hashes):
            raise RefusedError(Refusal.POLICY_INVALID, "no code pinned of the Safe, singleton or MultiSend")
