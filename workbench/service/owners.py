"""(4) The service as courier to a Safe's owners: it brings each the evidence, and joins what they sign.

(a) They are asked in the policy set's order, no more of them than are needed; who is silent or refuses is
    passed over for the next. What an owner has signed is kept in the ledger at once: nobody is asked twice.
(b) An answer counts when it is the owner's signature over exactly what is meant; it is read again when all
    are joined, as the contract will read them.
(c) A refusal ends the intent only when so many refuse that no signature can come to be, and nobody has
    signed: an owner's signature has no end on chain, and what one has signed holds the Safe's nonce until it,
    or its cancel, is carried out. Anything less is `unavailable`, and says who is missing and why.
Nothing is believed here: owners judge for themselves, and so does the executor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workbench.evm import safe as safes
from workbench.evm.errors import EvmError
from workbench.evm.safe import OwnerSignature
from workbench.rules import safe
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.keys import SafeKey
from workbench.rules.safe import Proposed
from workbench.service.signing import DETAIL_MAX, Answered, Signing


@dataclass(slots=True)
class Owners:
    """One question to the owners of a Safe; `known` are the bytes that the ledger has of each."""

    signing: Signing
    key: SafeKey
    what: Proposed
    known: Mapping[str, str]
    keep: Callable[[Answered], None]
    _signed: dict[str, OwnerSignature] = field(default_factory=dict)
    _refused: dict[str, Answered] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def ask(self) -> bytes | Answered:
        """Return the joined signatures, or the refusal that ends the intent.

        Raises:
            RefusedError: `unavailable`: not enough owners sign, and not enough refuse.

        """
        for name in self.key.cosigners:
            if name in self.known:
                self._signed[name] = self._read(name, self.known[name])
        for name in self.key.cosigners:
            if len(self._signed) < self.key.threshold and name not in self._signed:
                self._ask(name)
        if len(self._signed) < self.key.threshold:
            return self._no()
        counted = [self._signed[name] for name in self.key.cosigners if name in self._signed]
        blob = safes.join(counted[: self.key.threshold])
        safe.verify_signatures(blob, self.what, self.key.pinned(self.what.chain_id))  # (b)
        return blob

    def _ask(self, name: str) -> None:
        """Ask one (a)."""
        try:
            answered = self.signing.consult(name)
            if answered is None or answered.raw_tx is None:
                self._says_no(name, answered)
                return
            signature = self._read(name, answered.raw_tx)
        except RefusedError as refusal:
            self._failed[name] = str(refusal)
            return
        self.keep(answered)
        self._signed[name] = signature

    def _says_no(self, name: str, answered: Answered | None) -> None:
        if answered is None:
            self._failed[name] = "it takes it for a shared key"
        elif answered.passes:
            self._failed[name] = f"it refuses, {answered.detail}"
        else:
            self._refused[name] = answered

    def _read(self, name: str, raw: str) -> OwnerSignature:
        """Read what an owner has signed (b)."""
        owner = self.key.owner(name).address
        try:
            chain_id, address, found = safes.read_carried(bytes.fromhex(raw))
            given = Proposed(chain_id=chain_id, safe=address, tx=found.tx)
            signature = safes.read_signature(found.signatures, self.what.digest())
        except (EvmError, ValueError) as error:
            raise RefusedError(Refusal.SAFE_SIGNATURES, f"{name}: {error}") from error
        if given != self.what or signature.owner != owner:
            raise RefusedError(Refusal.BYTES_OTHER, f"{name} has signed something else, or is another owner")
        return signature

    def _no(self) -> Answered:
        """Return a refusal that ends the intent, or say who is missing (c)."""
        if not self._signed and len(self._refused) > len(self.key.cosigners) - self.key.threshold:
            first, *others = self._refused.values()
            return Answered(first.cosigner, first.signed, first.evidence, tuple(others))
        reasons = [f"{name} refuses, {each.detail}" for name, each in self._refused.items()]
        reasons += [f"{name}: {reason}" for name, reason in self._failed.items()]
        signed = f", {len(self._signed)} have" if self._signed else ""
        told = f"{self.key.threshold} of {len(self.key.cosigners)} owners must sign{signed}; "
        raise RefusedError(Refusal.UNAVAILABLE, (told + "; ".join(reasons))[:DETAIL_MAX])
