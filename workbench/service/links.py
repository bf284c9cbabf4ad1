"""The service's links: to the observers, which attest, the co-signers, which decide, and the anchor.

What comes back is data to be verified by whoever relies on it. Silence and errors are
`unavailable`: the step stays undone and `resume` takes it up again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.process.frames import FrameError, call
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.descent import Seen
from workbench.rules.isolation import Isolation
from workbench.rules.lease import SignedLease
from workbench.rules.policy import PolicySet
from workbench.service.observers import Observers

ANCHOR_SECONDS = 60.0
COSIGNER_SECONDS = 30.0
WATCHER_SECONDS = 10.0
LEASE = {"operation": "lease"}
TOKEN_SECONDS = 10.0
"""The self-test takes a third of a second, and the service's start waits for it."""


@dataclass(frozen=True, slots=True)
class Links:
    """The observers, and sockets of each co-signer by name."""

    observers: Observers
    cosigners: Mapping[str, Path]
    anchor: Path | None = None
    watcher: Path | None = None

    def anchored(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the anchor for a transaction or for its proof."""
        if self.anchor is None:
            raise RefusedError(Refusal.UNAVAILABLE, "no anchor is configured")
        answer = self._call(self.anchor, {"v": 1, **request}, ANCHOR_SECONDS)
        refused = answer.get("refused")
        if isinstance(refused, dict):
            raise RefusedError(
                Refusal.UNAVAILABLE, f"anchor: {refused.get('code')}: {refused.get('detail')}"[:500]
            )
        return answer

    def watched(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the watcher."""
        if self.watcher is None:
            raise RefusedError(Refusal.UNAVAILABLE, "no watcher is configured")
        answer = self._call(self.watcher, {"v": 1, **request}, WATCHER_SECONDS)
        refused = answer.get("refused")
        if isinstance(refused, dict):
            raise RefusedError(
                Refusal.UNAVAILABLE, f"watcher: {refused.get('code')}: {refused.get('detail')}"[:500]
            )
        return answer

    def lease(self, policies: Sequence[PolicySet]) -> dict[str, Any] | None:
        """Ask the watcher for a lease that names the set in force; None in a world that has no watcher."""
        if self.watcher is None:
            return None
        found = SignedLease.load(self.watched(LEASE).get("lease"))
        if found.lease.policy_version < policies[-1].manifest.version:
            # it has not heard of the newest set yet
            self.bring_policies(policies)
            found = SignedLease.load(self.watched(LEASE).get("lease"))
        return found.dump()

    def bring_policies(self, policies: Sequence[PolicySet]) -> None:
        """Bring the watcher the policy sets, from the genesis set on."""
        self.watched({"operation": "policy", "sets": [each.dump() for each in policies]})

    def token(self, cosigner: str) -> object:
        """Ask a co-signer what its token is and can do, as it signs it."""
        answer = self._call(self._socket(cosigner), {"v": 1, "operation": "token"}, TOKEN_SECONDS)
        refused = answer.get("refused")
        if isinstance(refused, dict):
            said = f"co-signer {cosigner}: {refused.get('code')}: {refused.get('detail')}"
            raise RefusedError(Refusal.HSM_FAILED, said[:500])
        return answer.get("token")

    def seen(self, cosigner: str) -> Seen:
        """Ask a co-signer from which blocks a header must come."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        return Seen.load(status.get("seen"))

    def isolation(self, cosigner: str) -> Isolation:
        """Ask a co-signer what shuts it in, as it found it."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        return Isolation.load(status.get("isolation"), at="/isolation")

    def head_size(self, cosigner: str) -> int:
        """Ask a co-signer from which ledger head on it needs leaves."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        size = status.get("size")
        if not isinstance(size, int) or size < 0:
            raise RefusedError(Refusal.UNAVAILABLE, f"co-signer {cosigner}: no head size")
        return size

    def advance(self, cosigner: str, head: dict[str, Any]) -> int:
        """Bring a co-signer a newer ledger head, and nothing to sign; return the size it then remembers."""
        request = {"v": 1, "operation": "advance", "head": head}
        size = self._call(self._socket(cosigner), request, COSIGNER_SECONDS).get("size")
        if not isinstance(size, int):
            raise RefusedError(Refusal.UNAVAILABLE, f"co-signer {cosigner} does not take the ledger's head")
        return size

    def unknown_from(self, cosigner: str, address: str) -> int:
        """Ask a co-signer from which of an account's nonces on it does not know what they carried."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        known = status.get("unknown_from")
        number = known.get(address, 0) if isinstance(known, dict) else None
        if not isinstance(number, int) or number < 0:
            raise RefusedError(
                Refusal.UNAVAILABLE, f"co-signer {cosigner}: no nonce from which it needs more"
            )
        return number

    def memory(self, cosigner: str) -> tuple[str, frozenset[str]]:
        """Ask a co-signer for the nonce of its start, and which others have said what they remember of it."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        recall = status.get("recall")
        if not isinstance(recall, dict):
            raise RefusedError(Refusal.UNAVAILABLE, f"co-signer {cosigner} shares no keys")
        return str(recall.get("nonce")), frozenset(map(str, recall.get("heard") or ()))

    def ask(self, cosigner: str, request: dict[str, Any]) -> dict[str, Any]:
        """Bring evidence, or a step of a run, to a co-signer; return what it says."""
        return self._call(self._socket(cosigner), request, COSIGNER_SECONDS)

    def _socket(self, cosigner: str) -> Path:
        try:
            return self.cosigners[cosigner]
        except KeyError:
            raise RefusedError(Refusal.UNAVAILABLE, f"no socket of co-signer {cosigner}") from None

    def _call(self, socket: Path, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            return call(socket, request, timeout_s=timeout_s)
        except FrameError as error:
            raise RefusedError(Refusal.UNAVAILABLE, str(error)) from error
