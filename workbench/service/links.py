"""The service's links: to the observer, which attests, the co-signers, which decide, and the anchor.

What comes back is data to be verified by whoever relies on it. Silence and errors are
`unavailable`: the step stays undone and `resume` takes it up again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.process.frames import FrameError, call
from workbench.rules.allowances import AllowancesQuestion
from workbench.rules.attestation import AttestedState, Block, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.descent import Descent, Seen
from workbench.rules.evidence import SignedAnswer
from workbench.rules.price_feed import PriceQuestion
from workbench.rules.storage import AttestedStorage, PoolQuestion

OBSERVER_SECONDS = 60.0
"""A simulation may start a fork; a loaded machine needs seconds for it."""
COSIGNER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Links:
    """Sockets of the observer and of each co-signer by name."""

    observer: Path
    cosigners: Mapping[str, Path]
    anchor: Path | None = None

    def anchored(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the anchor for a transaction or for its proof."""
        if self.anchor is None:
            raise RefusedError(Refusal.UNAVAILABLE, "no anchor is configured")
        answer = self._call(self.anchor, {"v": 1, **request}, OBSERVER_SECONDS)
        refused = answer.get("refused")
        if isinstance(refused, dict):
            raise RefusedError(
                Refusal.UNAVAILABLE, f"anchor: {refused.get('code')}: {refused.get('detail')}"[:500]
            )
        return answer

    def attest(self, accounts: Sequence[str]) -> AttestedState:
        """Ask for the newest header and proofs of these accounts."""
        return AttestedState.load(self._observe({"v": 1, "operation": "attest", "accounts": list(accounts)}))

    def pool(self, question: PoolQuestion) -> AttestedStorage:
        """Ask for the newest header and proofs of what a swap in a pool depends on."""
        return AttestedStorage.load(self._observe({"v": 1, "operation": "pool", **question.dump()}))

    def prices(self, question: PriceQuestion) -> Statement:
        """Ask what each source says of a pair."""
        return Statement.load(self._observe({"v": 1, "operation": "prices", **question.dump()}))

    def allowances(self, question: AllowancesQuestion) -> Statement:
        """Ask what others may take from accounts."""
        return Statement.load(self._observe({"v": 1, "operation": "allowances", **question.dump()}))

    def simulate(
        self, step: int, transactions: Sequence[Mapping[str, Any]], target: int, accounts: Sequence[str]
    ) -> Statement:
        """Ask what a sequence of transactions would do to these accounts, told for one of them."""
        request = {
            "v": 1,
            "operation": "simulate",
            "step": step,
            "transactions": [dict(each) for each in transactions],
            "target": target,
            "accounts": list(accounts),
        }
        return Statement.load(self._observe(request))

    def broadcast(self, raw_tx: str, *, by: str, last_block: int | None) -> str:
        """Have signed bytes sent, by the nodes or by the relay until a block; return their hash."""
        request = {"v": 1, "operation": "broadcast", "raw": raw_tx, "by": by, "last_block": last_block}
        return str(self._observe(request)["tx_hash"])

    def recall(self, tx_hash: str) -> None:
        """Have the relay forget bytes."""
        self._observe({"v": 1, "operation": "recall", "tx_hash": tx_hash})

    def confirm(self, tx_hash: str) -> dict[str, Any]:
        """Ask what became of a transaction."""
        return self._observe({"v": 1, "operation": "confirm", "tx_hash": tx_hash})

    def descent(self, block: Block, seen: Seen) -> list[Descent]:
        """Ask for the ways from a block down to those that a co-signer has seen, and that are below it."""
        known = [each.number for each in (seen.final, seen.newer) if each is not None]
        ancestors = [number for number in known if number < block.number]
        if not ancestors:
            return []
        answer = self._observe(
            {
                "v": 1,
                "operation": "descent",
                "number": block.number,
                "hash": block.hash,
                "ancestors": ancestors,
            }
        )
        ways = answer.get("descent")
        if not isinstance(ways, list):
            raise RefusedError(Refusal.UNAVAILABLE, "observer: no list of ways")
        return [Descent.load(each) for each in ways]

    def seen(self, cosigner: str) -> Seen:
        """Ask a co-signer from which blocks a header must come."""
        status = self._call(self._socket(cosigner), {"v": 1, "operation": "status"}, COSIGNER_SECONDS)
        return Seen.load(status.get("seen"))

    def finality(self) -> dict[str, AttestedState]:
        """Ask which blocks are safe, and finalized."""
        answer = self._observe({"v": 1, "operation": "finality"})
        return {tag: AttestedState.load(answer.get(tag)) for tag in ("safe", "finalized")}

    def node_events(self, run: str, after: int) -> tuple[str, list[Statement]]:
        """Ask what happened to the observer's nodes behind a number of a run; return its present run, too."""
        answer = self._observe({"v": 1, "operation": "events", "run": run, "after": after})
        events = answer.get("events")
        if not isinstance(events, list):
            raise RefusedError(Refusal.UNAVAILABLE, "observer: no list of events")
        return str(answer.get("run")), [Statement.load(each) for each in events]

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

    def sign(self, cosigner: str, evidence: dict[str, Any]) -> SignedAnswer:
        """Bring evidence to a co-signer; return its signed answer."""
        return SignedAnswer.load(self._call(self._socket(cosigner), evidence, COSIGNER_SECONDS))

    def _socket(self, cosigner: str) -> Path:
        try:
            return self.cosigners[cosigner]
        except KeyError:
            raise RefusedError(Refusal.UNAVAILABLE, f"no socket of co-signer {cosigner}") from None

    def _observe(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._call(self.observer, request, OBSERVER_SECONDS)
        result = answer.get("result")
        if not isinstance(result, dict):
            error = answer.get("error")
            told = error if isinstance(error, dict) else {}
            # a transaction that cannot be simulated will not do better when asked again
            code = Refusal.SIMULATION_FAILED if told.get("code") == "simulation" else Refusal.UNAVAILABLE
            raise RefusedError(code, f"observer: {told.get('detail')}"[:500])
        return result

    def _call(self, socket: Path, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            return call(socket, request, timeout_s=timeout_s)
        except FrameError as error:
            raise RefusedError(Refusal.UNAVAILABLE, str(error)) from error
