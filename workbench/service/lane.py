"""From release to confirmation: steps (4), (5) and (6) of one intent.

(4) a fresh simulation and fresh proofs, a checkpoint, evidence to the co-signer, its answer
(5) the signed bytes are read again and compared; the broadcast is recorded; then it is sent
(6) inclusion is proven by number and hash and recorded; so is a block that is no longer one of
    the chain (the same bytes are sent again), one that is safe, and the end once it is final

Each step leaves an entry before the next begins, and each is taken up again by the same
code after a crash. A step that fails for want of a peer stays undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ledger import checkpoint as notes
from ledger.encoding import canonical
from ledger.entry import Entry
from workbench.evm.transaction import SignedTransaction
from workbench.process.crash import CrashPoint
from workbench.rules import attestation, calls, carried, confirmation
from workbench.rules.attestation import Simulation
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, verify_ed25519
from workbench.rules.evidence import ANSWER_LINE
from workbench.rules.lifecycle import Event, State
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot
from workbench.service.books import Books, Matter
from workbench.service.links import Links
from workbench.service.record import Recorder

SERVICE = "service"
LEAVES_AT_ONCE = 40_000
ACCOUNTS_MAX = 16
"""As many as one statement of an observer may prove."""
PENDING = frozenset({"pending", "unknown"})
DROPPED_MAX = 16
"""Nodes that drop and take it again all day must not fill the ledger; it is sent again all the same."""


@dataclass(slots=True)
class Lane:
    """What the steps work with; `enter` keeps the books in step with an entry."""

    policies: Sequence[PolicySet]
    trust_root: TrustRoot
    books: Books
    recorder: Recorder
    links: Links
    clock: Callable[[], datetime]
    crash: CrashPoint
    _pooled: set[str] = field(default_factory=set)
    """What a node had in its pool when it was last asked about: if it is gone, it was dropped."""

    @property
    def policy(self) -> PolicySet:
        """The set in force."""
        return self.policies[-1]

    def enter(
        self, event: Event, digest: str, data: dict[str, Any], *, actor: str, name: str | None = None
    ) -> Entry:
        """Record an event of an intent and take it into the books."""
        receipt = self.recorder.append(event.value, name or digest, data, actor=actor, subject=digest)
        entry = next(self.recorder.ledger.entries(receipt.seq, receipt.seq))
        self.books.enter(entry)
        return entry

    def simulate(self, digest: str, *, step: int, purpose: str, sequence: Sequence[str], actor: str) -> None:
        """(3) (4) Have an intent simulated behind those of a sequence, and its state proven."""
        transactions = [self._call(each) for each in sequence]
        accounts = sorted({key.address for key in self.policy.keys.values()})
        statement = self.links.simulate(step, transactions, list(sequence).index(digest), accounts)
        intent = self.books.matter(digest).proposal.intent
        # what is not proven counts as other code: a long row of contracts is no way round
        called = calls.targets(calls.read(intent, self.policy))[: ACCOUNTS_MAX - 1]
        state = self.links.attest([self.policy.key(intent.key).address, *called])
        named = hashlib.sha256(canonical(statement.document, limit=DOCUMENT_MAX)).hexdigest()
        data = {"purpose": purpose, "statement": statement.dump(), "state": state.dump()}
        self.enter(Event.SIMULATED, digest, data, actor=actor, name=named)

    def sign(self, digest: str) -> None:
        """(4) Bring everything to the co-signer and record its answer."""
        matter = self.books.matter(digest)
        (cosigner,) = self.policy.key(matter.proposal.intent.key).cosigners
        evidence = self._evidence(digest, matter, cosigner)
        raw = canonical(evidence, limit=DOCUMENT_MAX)
        blob = self.recorder.blob(raw)
        signed = self.links.sign(cosigner, evidence)
        answer = signed.answer
        verify_ed25519(
            self.trust_root.cosigners[cosigner],
            signed.signature,
            ANSWER_LINE,
            answer.canonical(),
            what="answer",
        )
        if (answer.cosigner, answer.evidence, answer.intent) != (cosigner, blob, digest):
            raise RefusedError(Refusal.UNAVAILABLE, "the co-signer answers another question")
        self.crash.reached("4")
        raw_tx = answer.signed_before if answer.refused is not None else answer.raw_tx
        if raw_tx is None:
            self.enter(
                Event.SIGNING_REFUSED, digest, {"answer": signed.dump(), "evidence": blob}, actor=cosigner
            )
            return
        transaction = self._compare(raw_tx, matter)
        data = {
            "answer": signed.dump(),
            "evidence": blob,
            "raw_tx": raw_tx,
            "tx_hash": transaction.tx_hash.hex(),
        }
        self.enter(Event.SIGNED, digest, data, actor=cosigner)

    def broadcast(self, digest: str) -> None:
        """(5) Record that the bytes go out; sending is `confirm`'s, as often as needed."""
        matter = self.books.matter(digest)
        self.enter(Event.BROADCAST, digest, {"tx_hash": matter.tx_hash}, actor=SERVICE)
        self.crash.reached("5-before")

    def confirm(self, digest: str) -> None:
        """(5) (6) Send what the chain does not know; record where it stands, and what becomes of it there."""
        matter = self.books.matter(digest)
        found = self._found(digest, matter)
        if found.get("status") in PENDING:
            if matter.state is State.INCLUDED:
                self._displaced(digest, matter, f"{found['status']} again")
            return
        inclusion = confirmation.Inclusion.load(found)
        confirmed = confirmation.verify_inclusion(
            inclusion,
            raw_tx=str(matter.raw_tx),
            trust_root=self.trust_root,
            now=self.clock(),
            age_s_max=self.policy.limits.attestation_age_s_max,
        )
        place = (confirmed.block_number, confirmed.block_hash)
        if matter.state is State.INCLUDED and matter.block != place:
            self._displaced(digest, matter, f"in block {place[0]} {place[1]}")
        if matter.state is State.BROADCAST:
            data = _place(confirmed) | {"inclusion": self.recorder.blob(inclusion.canonical())}
            self._happened(Event.INCLUDED, digest, data, actor=inclusion.attestation.observer)
        self._settle(digest, matter, inclusion, confirmed)

    def _happened(self, event: Event, digest: str, data: dict[str, Any], *, actor: str) -> None:
        """Record what may happen to one transaction more than once."""
        turns = self.books.matter(digest).turns
        self.enter(event, digest, data, actor=actor, name=f"{digest}-{turns}")

    def _found(self, digest: str, matter: Matter) -> dict[str, Any]:
        """(5) Ask what became of it; what no node knows is sent, the same bytes, as often as it is lost."""
        tx_hash = str(matter.tx_hash)
        found = self.links.confirm(tx_hash)
        if found.get("status") == "unknown":
            if matter.state is State.INCLUDED:
                return found  # that it has left its block is recorded before it is sent again
            if digest in self._pooled and matter.dropped < DROPPED_MAX:
                self._happened(Event.DROPPED, digest, {"tx_hash": tx_hash}, actor=SERVICE)
            self._pooled.discard(digest)
            self.links.broadcast(str(matter.raw_tx))
            self.crash.reached("5-after")
            found = self.links.confirm(tx_hash)
        if found.get("status") == "pending":
            self._pooled.add(digest)
        return found

    def _displaced(self, digest: str, matter: Matter, where: str) -> None:
        """(6) Its block is no longer one of the chain: it is as if it had been sent and not seen."""
        number, block_hash = matter.block or (0, "")
        data = {"tx_hash": matter.tx_hash, "block_number": number, "block_hash": block_hash, "now": where}
        self._happened(Event.DISPLACED, digest, data, actor=SERVICE)

    def _settle(
        self,
        digest: str,
        matter: Matter,
        inclusion: confirmation.Inclusion,
        confirmed: confirmation.Confirmed,
    ) -> None:
        """(6) Record that its block is safe, and, once it is final, the end."""
        head = self._look(matter).block_number
        final: dict[str, Any] = {"depth": head - confirmed.block_number + 1}
        if self.policy.limits.finality == "finalized":
            reached = self._finality()
            if not matter.is_safe and reached["safe"].block_number >= confirmed.block_number:
                observer = inclusion.attestation.observer
                self._happened(Event.SAFE, digest, _place(confirmed), actor=observer)
            block = reached["finalized"]
            if block.block_number < confirmed.block_number:
                return
            final["finalized"] = {"number": block.block_number, "hash": block.block_hash}
        if final["depth"] < self.policy.limits.confirmations_min:
            return
        self.crash.reached("6")
        event = Event.CONFIRMED if confirmed.succeeded else Event.REVERTED
        data = _place(confirmed) | {
            "tx_hash": matter.tx_hash,
            "inclusion": self.recorder.blob(inclusion.canonical()),
            "final": final,
            **self._realised(matter, confirmed),
        }
        self.enter(event, digest, data, actor=inclusion.attestation.observer)
        self.recorder.checkpoint()

    def _realised(self, matter: Matter, confirmed: confirmation.Confirmed) -> dict[str, Any]:
        """(6) What it cost and moved, beside what the last simulation had said."""
        moved = confirmation.transferred(confirmed.receipt, self._account(matter))
        simulated = Simulation.load(matter.fresh.document) if matter.fresh else None
        return {
            "gas_used": confirmed.gas_used,
            "fee_wei": str(confirmed.fee_wei),
            "transferred": [{"asset": asset, "amount": str(amount)} for asset, amount in moved.items()],
            "short_of_simulation_bps": confirmation.short_of(simulated, moved) if simulated else None,
        }

    def _finality(self) -> dict[str, attestation.State]:
        age = self.policy.limits.attestation_age_s_max
        return {
            tag: attestation.verify_state(
                [attested], trust_root=self.trust_root, now=self.clock(), age_s_max=age
            )
            for tag, attested in self.links.finality().items()
        }

    def account_nonce(self, matter: Matter) -> int:
        """Return the next nonce of the intent's account, proven at the newest head."""
        return self._look(matter).account(self._account(matter)).nonce

    def _account(self, matter: Matter) -> str:
        return self.policy.key(matter.proposal.intent.key).address

    def _look(self, matter: Matter) -> attestation.State:
        return attestation.verify_state(
            [self.links.attest([self._account(matter)])],
            trust_root=self.trust_root,
            now=self.clock(),
            age_s_max=self.policy.limits.attestation_age_s_max,
        )

    def _call(self, digest: str) -> dict[str, Any]:
        intent = self.books.matter(digest).proposal.intent
        return {
            "intent": digest,
            "from": self.policy.key(intent.key).address,
            "to": intent.to,
            "value": intent.value,
            "data": intent.data,
            "gas": intent.gas_max,
            "max_fee_per_gas": intent.max_fee_per_gas,
            "max_priority_fee_per_gas": intent.max_priority_fee_per_gas,
        }

    def _evidence(self, digest: str, matter: Matter, cosigner: str) -> dict[str, Any]:
        if (
            matter.nonce is None
            or matter.reservation_seq is None
            or matter.approved is None
            or matter.fresh is None
        ):
            raise RefusedError(Refusal.STATE, "not everything is there that a co-signer must see")
        unsigned = matter.proposal.intent.transaction(matter.nonce, matter.proposal.intent.caps)
        note = self.recorder.checkpoint()
        size = notes.split(note)[0].size
        start = self._bring_up(cosigner, size)
        return {
            "v": 1,
            "operation": "sign",
            "intent": digest,
            "proposal": matter.proposal.dump(),
            "unsigned_tx": unsigned.encode().hex(),
            "reservation": self.entry_proof(matter.reservation_seq, size),
            "decisions": [signed.dump() for signed in matter.decisions],
            "policy_chain": [policy.dump() for policy in self.policies],
            "attestations": {
                "approved": [matter.approved.dump()],
                "fresh": [matter.fresh.dump()],
                "state": [matter.attested.dump()] if matter.attested else [],
            },
            "lease": None,
            "head": self._head_update(start, note, matter.decisions),
        }

    def _bring_up(self, cosigner: str, size: int) -> int:
        """Bring a co-signer's head so near to `size` that the rest fits into one piece of evidence."""
        start = self.links.head_size(cosigner)
        for note in self.recorder.ledger.checkpoints():
            reach = notes.split(note)[0].size
            if size - start <= LEAVES_AT_ONCE:
                break
            if start < reach <= start + LEAVES_AT_ONCE and reach < size:
                start = self.links.advance(cosigner, self._head_update(start, note))
        return start

    def _head_update(self, start: int, note: str, decisions: Sequence[SignedDecision] = ()) -> dict[str, Any]:
        size = notes.split(note)[0].size
        ledger = self.recorder.ledger
        leaves = ledger.leaves(start, size - 1) if size > start else []
        seen = {signed.decision.ledger.size for signed in decisions}
        return {
            "from": start,
            "leaves": [leaf.hex() for leaf in leaves],
            "checkpoint": note,
            "consistency": {str(old): [node.hex() for node in ledger.consistency(old, size)] for old in seen},
        }

    def entry_proof(self, seq: int, size: int) -> dict[str, Any]:
        """Return an entry with its inclusion proof in the tree of `size` entries."""
        entry = next(self.recorder.ledger.entries(seq, seq))
        return {
            "seq": seq,
            "head": entry.head.decode(),
            "data": entry.payload.decode() if entry.payload else None,
            "salt": (entry.salt or b"").hex(),
            "proof": [node.hex() for node in self.recorder.ledger.inclusion(seq, size)],
        }

    def _compare(self, raw_tx: str, matter: Matter) -> SignedTransaction:
        """(5) Read the signed bytes again: they must be the intent under its nonce, signed by its key."""
        if matter.nonce is None:
            raise RefusedError(Refusal.STATE, "bytes for an intent that has no nonce")
        found = carried.read(
            raw_tx, matter.proposal.intent, nonce=matter.nonce, address=self._account(matter)
        )
        return found.transaction


def ready(matter: Matter) -> bool:
    """Whether an intent is between release and its end."""
    return matter.state in {State.APPROVED, State.SIGNED, State.BROADCAST, State.INCLUDED}


def _place(confirmed: confirmation.Confirmed) -> dict[str, Any]:
    return {"block_number": confirmed.block_number, "block_hash": confirmed.block_hash}
