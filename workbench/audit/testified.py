"""What a bundle proves of a shared key beyond its states: who said of which epoch that it is there, and when.

(1) An order counts as the officers of the set that it names have signed it.
(2) An epoch was made where every co-signer whom the order names says that it holds its share (`ceremony`).
(3) What was said counts where it stands first (`key_life`). Which day that place has is the service's word.

For entries and sets of a bundle that `keys.sound` has verified, testimonies included. What fails raises: the
ledger would hold what nobody has said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.rules import key_operation, officers
from workbench.rules.ceremony import verify_held
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.key_life import Told, first_said
from workbench.rules.key_operation import ORDERED, KeyOperation, SignedOperation
from workbench.rules.keys import SharedKey
from workbench.rules.policy import PolicySet
from workbench.rules.recovery import Testimony
from workbench.rules.threshold import SignedWord
from workbench.rules.trust import TrustRoot

MADE, RESTORED, TRIED = "key.made", "key.restored", "key.tried"


@dataclass(frozen=True, slots=True)
class Proofs:
    """The entries of a sound bundle, and under what they are verified once more."""

    entries: Sequence[Told]
    sets: Sequence[PolicySet]
    trust_root: TrustRoot

    def of(self, *kinds: str) -> list[Told]:
        """Return the entries of these types whose data are there."""
        return [each for each in self.entries if each.type in kinds and each.data is not None]

    def said(self, kind: str, key: SharedKey) -> list[tuple[Told, Testimony]]:
        """(3) Return what co-signers say that they did with their shares of a key, and where."""
        before: set[bytes] = set()
        found = [(told, said) for told in self.of(kind) for said in first_said(told, before)]
        return [(told, said) for told, said in found if _is_of(said, key)]

    def made(self, key: SharedKey) -> dict[int, Told]:
        """(2) (3) Return where each epoch of a key stands first."""
        first: dict[int, Told] = {}
        for told in self.of(MADE):
            if (told.data or {}).get("public_key") == key.public_key:
                first.setdefault(self.epoch(told), told)
        return first

    def epoch(self, told: Told) -> int:
        """(1) (2) Return the epoch that an entry `key.made` is of; refused when it is not as it says."""
        data = told.data or {}
        _, order = self.ordered(data.get("order"))
        parties = key_operation.parties(order, policy=self._named(order), trust_root=self.trust_root)
        words = [SignedWord.load(each) for each in data.get("words", [])]
        held = verify_held(words, order.key, order.epoch, parties, self.trust_root)
        # they agree with each other, and have to with the entry
        agreed = (order.key, order.epoch, words[0].word.public_key, held[0].address)
        if agreed != tuple(data.get(name) for name in ("key", "epoch", "public_key", "address")):
            raise RefusedError(
                Refusal.EQUIVOCATION, f"entry {told.seq} is not what co-signers hold of {order.key}"
            )
        return order.epoch

    def ordered(self, order: str | None) -> tuple[Told, KeyOperation]:
        """(1) Return an order by its digest, and where it stands."""
        for told in self.of(ORDERED):
            signed = SignedOperation.load(told.data)
            if signed.operation.digest == order:
                policy = self._named(signed.operation)
                officers.verify_signed(
                    signed.operation,
                    signed.signatures,
                    policy=policy,
                    trust_root=self.trust_root,
                    what="the order",
                )
                return told, signed.operation
        raise RefusedError(Refusal.NOT_FOUND, f"nobody ordered what is told of a key: {order}")

    def _named(self, order: KeyOperation) -> PolicySet:
        for policy in self.sets:
            if policy.digest == order.policy:
                return policy
        raise RefusedError(Refusal.POLICY_CHAIN, "the order names no policy set of this bundle")


def _is_of(said: Testimony, key: SharedKey) -> bool:
    return bool(said.shares) and said.shares[-1].public_key == key.public_key
