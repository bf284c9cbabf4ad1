"""What the co-signers' tokens are and can do, brought into the ledger.

Each co-signer is asked for its signed report (`rules/token_report.py`). A report has no moment in it and is
recorded under its own digest: the same token is one entry, and what changed about it is another. A report of
which a check failed is recorded like any other: that it is there is what an auditor looks for. One that does
not verify is refused, and that is recorded once; a co-signer that is away is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.token_report import SignedTokenReport
from workbench.service.links import Links
from workbench.service.record import Recorder

TOKEN_REPORTED = "token.reported"  # noqa: S105 - a type of entry


@dataclass(slots=True)
class Tokens:
    """The co-signers' reports: what was told last, and which refusal was recorded."""

    links: Links
    recorder: Recorder
    _known: dict[str, SignedTokenReport] = field(default_factory=dict)
    _refused: dict[str, Refusal] = field(default_factory=dict)

    def step(self, *, unheard_only: bool = False) -> None:
        """Ask each co-signer once, or those that have not told yet, and record what is new."""
        for name in self.links.cosigners:
            if unheard_only and name in self._known:
                continue
            try:
                self._record(name)
            except RefusedError as refused:
                if refused.code not in (Refusal.UNAVAILABLE, self._refused.get(name)):
                    self.recorder.refusal(refused, actor="service", about=f"token of {name}")
                    self._refused[name] = refused.code
            else:
                self._refused.pop(name, None)

    def _record(self, name: str) -> None:
        signed = SignedTokenReport.load(self.links.token(name))
        if signed == self._known.get(name):
            return
        report = signed.verify(name, self.recorder.trust_root)
        try:
            self.recorder.append(
                TOKEN_REPORTED, f"{name}-{report.digest}", signed.dump(), actor=name, subject=name
            )
        except RefusedError as refused:
            # the same report under another of the key's possible signatures: it is there already
            if refused.code is not Refusal.ID_REUSED:
                raise
        self._known[name] = signed
