"""(4) The service as courier between co-signers: it brings evidence and carries what they say to each other.

A whole key has one co-signer, whose answer is all. Of a shared key as many must agree as its threshold says:
(a) they are asked in the policy set's order, no more of them than are needed; who is silent or refuses is
    passed over for the next;
(b) those that agree open a run; one that fails lets other sets of those that agree have their turn, each
    once;
(c) a signature that anybody knows already is taken as it is, when it is one, and not one that we have: who
    says otherwise is passed over like one that is silent;
(d) a refusal ends the intent only when so many refuse that no signature can come to be, and nobody says that
    it gave a part of one. Anything less is `unavailable`: it says who is missing and why, and the intent
    stays as it is;
    A refusal for want of a lease, or of a pause, says nothing about the intent and ends nothing;
(e) one that has started anew is brought what the others remember of it: an old state of it signs with nobody;
(f) one that does not know what others signed is told, in as many pieces as it takes.
Nothing is believed here: what an answer says is verified by the lane, and again by whoever audits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import verify_ed25519
from workbench.rules.evidence import ANSWER_LINE, SignedAnswer
from workbench.rules.keys import Key, WholeKey
from workbench.rules.threshold import unasked_max
from workbench.service.courier import Courier, StepError
from workbench.service.links import Links
from workbench.service.recalling import bring

DETAIL_MAX = 1500
PIECES_MAX = 16
"""At once, of what others signed, for a co-signer that was away for long; the next question brings more."""
RUN_SECONDS = 20.0
"""A signature takes a second; when one of a set dawdles, what the others agreed to must last for another."""

PASSING = frozenset(
    {
        Refusal.LEASE_MISSING,
        Refusal.LEASE_STALE,
        Refusal.LEASE_BEHIND,
        Refusal.LEASE_OTHER_POLICY,
        Refusal.PAUSED,
    }
)
"""(d) What passes: the next attempt brings another lease, or finds the pause released."""

Evidence = Callable[[str], tuple[dict[str, Any], str]]
"""What a co-signer is asked over, by its name, and the digest under which it is kept."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a co-signer answered, and the evidence that it was asked over; `others` signed with it."""

    cosigner: str
    signed: SignedAnswer
    evidence: str
    others: tuple[Answered, ...] = ()

    @property
    def raw_tx(self) -> str | None:
        """The bytes that it has signed, perhaps before; None when it proves that there are none."""
        answer = self.signed.answer
        return answer.signed_before if answer.refused is not None else answer.raw_tx

    @property
    def in_doubt(self) -> bool:
        """Whether it gave a part of a signature that it does not know."""
        return self.signed.answer.gave is True

    @property
    def data(self) -> dict[str, Any]:
        """What an entry holds of it."""
        data: dict[str, Any] = {"answer": self.signed.dump(), "evidence": self.evidence}
        if self.others:
            data["answers"] = [
                {"answer": each.signed.dump(), "evidence": each.evidence} for each in self.others
            ]
        return data

    @property
    def refusal(self) -> Refusal:
        """The code of its refusal."""
        refused = self.signed.answer.refused
        known = refused is not None and refused.code in {each.value for each in Refusal}
        return Refusal(refused.code) if refused is not None and known else Refusal.UNAVAILABLE

    @property
    def passes(self) -> bool:
        """Whether it refuses for now, and has signed nothing of the intent yet."""
        return self.raw_tx is None and self.signed.answer.refused is not None and self.refusal in PASSING

    @property
    def detail(self) -> str:
        """What it says of its refusal."""
        refused = self.signed.answer.refused
        return "" if refused is None else f"step {refused.step}: {refused.detail}"


@dataclass(slots=True)
class Signing:
    """One question to the co-signers of a key."""

    links: Links
    keys: Mapping[str, str]
    key: Key
    intent: str
    evidence: Evidence
    verify: Callable[[str], object]
    """Refuses bytes that are not the intent's, or its cancel's, signed by the key."""
    known: Collection[str]
    """The signed bytes that the ledger has."""
    crashed: Callable[[str], None]
    seconds: float = RUN_SECONDS
    _agreed: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, Answered] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def ask(self) -> Answered:
        """Return the signature, or the refusal that ends the intent.

        Raises:
            RefusedError: `unavailable`: not enough co-signers agree, and not enough refuse.

        """
        if isinstance(self.key, WholeKey):
            (only,) = self.key.cosigners
            answered = self.consult(only)
            if answered is not None and answered.passes:
                raise RefusedError(answered.refusal, f"{only} refuses, {answered.detail}")
            if answered is None:
                raise RefusedError(Refusal.UNAVAILABLE, "the co-signer of a whole key does not sign it alone")
            return answered
        for name in self.key.cosigners:
            known = self._ask(name)
            if known is not None:
                return known
            for signers in self._sets(name):
                signed = self._run(signers)
                if signed is not None:
                    return signed
        return self._no()

    def _ask(self, name: str) -> Answered | None:
        """Ask one (a); return its answer if it knows a signature."""
        try:
            answered = self.consult(name)
            if answered is not None and self._is_new(answered):
                return answered  # (c)
        except RefusedError as refusal:
            self._failed[name] = str(refusal)
            return None
        if answered is not None and answered.passes:
            self._failed[name] = f"it refuses, {answered.detail}"
        elif answered is not None and answered.signed.answer.refused is not None:
            self._refused[name] = answered
        elif answered is not None:
            self._failed[name] = "it has signed what the ledger has already"
        return None

    def _is_new(self, answered: Answered) -> bool:
        """(c) Whether it has a signature that the ledger has not; refused when it is none of the key's."""
        if answered.raw_tx is None or answered.raw_tx in self.known:
            return False
        self.verify(answered.raw_tx)
        return True

    def consult(self, name: str) -> Answered | None:
        """Bring evidence to a co-signer; None when it agrees to take part."""
        brought: object = None
        for _ in range(PIECES_MAX):
            evidence, blob = self.evidence(name)
            said = self.links.ask(name, evidence)
            if "agreed" in said:
                # who has heard enough waits for nobody: what it agreed to does not live for long
                bring(self.links, self.key, name, unheard_max=unasked_max(self.key.signers))
                self._agreed[name] = blob
                return None
            answered = self._read(name, blob, said)
            # (f) what did come was remembered: more of it follows, as long as it is more
            if answered.refusal is not Refusal.NONCE_UNKNOWN or evidence.get("spent") in (None, brought):
                break
            brought = evidence["spent"]
        return answered

    def _read(self, name: str, blob: str, said: dict[str, Any]) -> Answered:
        """Read an answer, which must be its own and to this question."""
        signed = SignedAnswer.load(said)
        answer = signed.answer
        verify_ed25519(self.keys[name], signed.signature, ANSWER_LINE, answer.canonical(), what="answer")
        if (answer.cosigner, answer.evidence, answer.intent) != (name, blob, self.intent):
            raise RefusedError(Refusal.UNAVAILABLE, "the co-signer answers another question")
        self.crashed("4")
        return Answered(name, signed, blob)

    def _sets(self, newest: str) -> Iterator[tuple[str, ...]]:
        """(b) Return the sets of those that agree, with the newest among them: the others had their turn."""
        agreed = [name for name in self.key.cosigners if name in self._agreed]
        for names in combinations(agreed, self.key.signers):
            if newest in names and all(name in self._agreed for name in names):
                yield names

    def _run(self, names: Sequence[str]) -> Answered | None:
        """(b) Carry one run to its end; None when it failed."""
        numbers = {name: self.key.cosigners.index(name) + 1 for name in names}
        asked = {name: self._agreed[name] for name in names}
        with ExitStack() as ends:
            pool = ends.enter_context(ThreadPoolExecutor(len(names)))
            courier = Courier(self.links.ask, pool, numbers, seconds=self.seconds)
            opened = {"v": 1, "operation": "open", "intent": self.intent, "signers": sorted(numbers.values())}
            try:
                said = courier.carry(opened, {"v": 1, "operation": "take", "key": self.key.id})
            except StepError as error:
                self._failed[error.name] = str(error)
                if error.is_silent:
                    del self._agreed[error.name]
                said = courier.answers
        signed = []
        for name, each in said.items():
            try:
                answered = self._read(name, asked[name], each)
                if self._is_new(answered):
                    signed.append(answered)
            except RefusedError as refusal:
                self._failed[name] = str(refusal)
                self._agreed.pop(name, None)
        if not signed:
            return None
        first, *others = signed
        return Answered(first.cosigner, first.signed, first.evidence, tuple(others))

    def _no(self) -> Answered:
        """(d) Return a refusal that ends the intent, or say who is missing."""
        doubted = any(each.in_doubt for each in self._refused.values())
        if not doubted and len(self._refused) > len(self.key.cosigners) - self.key.signers:
            first, *others = self._refused.values()
            return Answered(first.cosigner, first.signed, first.evidence, tuple(others))
        reasons = [f"{name} refuses, {each.detail}" for name, each in self._refused.items()]
        reasons += [f"{name}: {reason}" for name, reason in self._failed.items() if name not in self._refused]
        told = f"{self.key.signers} of {len(self.key.cosigners)} co-signers must sign; " + "; ".join(reasons)
        raise RefusedError(Refusal.UNAVAILABLE, told[:DETAIL_MAX])
