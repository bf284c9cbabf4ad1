"""A receipt: what the ledger holds of one intent, verifiable with nothing but the trust root.

It carries the entries about the intent with their inclusion proofs under one checkpoint,
and the policy sets. Verification walks from the checkpoint's signature to each person's
key press: (1) the checkpoint counts, (2) each entry lies under it, (3) the policy sets
descend from the trust root, (4) the proposer's signature and every decision verify under the
set of their time, and are about this intent: consent to another one is not consent to this,
(5) all bytes that were signed are the intent's, or its cancel, under the nonce that was reserved, by
the key of the set of their time, and by the answer of a co-signer that the trust root names.
A set's time begins with the entry that says so, where the receipt has it: signatures may come
after `activates_at`. Without it the set counts from there on, which nobody gains by leaving it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.entry import EntryError, datahash, leaf_of, parse_data, parse_head
from ledger.merkle import ProofError, verify_inclusion
from ledger.trust import TrustRoot as LedgerTrustRoot
from workbench.rules import execution
from workbench.rules.change import Event as PolicyEvent
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision, check_assertion
from workbench.rules.documents import Digest, Document, read_time, verify_ed25519
from workbench.rules.evidence import ANSWER_LINE, EntryProof, SignedAnswer
from workbench.rules.intent import Proposal, verify_author
from workbench.rules.lifecycle import PROPOSED_EVENT, Event
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot

VERBS: Mapping[str, frozenset[str]] = {
    Event.DECIDED.value: frozenset({"approve", "abstain"}),
    Event.REJECTED.value: frozenset({"reject"}),
}
"""Which verbs an entry about a decision may hold."""
SIGNATURES = frozenset(each.value for each in (Event.SIGNED, Event.REPLACED, Event.CANCEL_SIGNED))
"""The entries that hold signed bytes."""


class Receipt(Document):
    """What the service hands out for an intent."""

    v: Literal[1]
    intent: Digest
    checkpoint: Annotated[str, Field(max_length=16384)]
    entries: Annotated[list[EntryProof], Field(max_length=1000)]
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    activations: Annotated[list[EntryProof], Field(default_factory=list, max_length=1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One verified entry of a receipt, for people."""

    seq: int
    at: datetime
    type: str
    actor: str
    data: dict[str, Any]


def verify_receipt(receipt: Receipt, *, trust_root: TrustRoot, now: datetime) -> list[Line]:
    """Verify a receipt and return its entries, oldest first."""
    try:
        ledger_root = LedgerTrustRoot.parse(trust_root.canonical())
        checkpoint = ledger_root.verify(receipt.checkpoint)  # (1)
        # one consent shown twice would look like two
        if not receipt.entries or len({proof.seq for proof in receipt.entries}) != len(receipt.entries):
            raise RefusedError(Refusal.CHECKPOINT, "no entries, or one of them twice")
        lines = [_proven(proof, checkpoint, receipt.intent) for proof in receipt.entries]
        activations = [_proven(proof, checkpoint, None) for proof in receipt.activations]
    except (CheckpointError, ProofError, EntryError) as error:
        raise RefusedError(Refusal.CHECKPOINT, str(error)) from error
    sets = [PolicySet.load(value) for value in receipt.policy_chain]
    verify_chain(sets, trust_root=trust_root, now=now)  # (3)
    begun = [line for line in activations if line.type == PolicyEvent.ACTIVATED.value]
    since = {str(line.data.get("policy")): line.seq for line in begun}
    for line in lines:
        _people(line, receipt.intent, _Sets(sets, since), trust_root)  # (4)
    for line in lines:
        if line.type in SIGNATURES:
            _bytes(line, lines, _Sets(sets, since), trust_root)  # (5)
    return sorted(lines, key=lambda line: line.seq)


@dataclass(frozen=True, slots=True)
class _Sets:
    """The chain, and the entry with which each set began, as far as that is proven."""

    chain: Sequence[PolicySet]
    since: Mapping[str, int]

    def at(self, line: Line) -> PolicySet:
        """Return the set that was in force when this entry was written."""
        in_force = [each for each in self.chain if self._begun(each, line)]
        if not in_force:
            raise RefusedError(Refusal.POLICY_CHAIN, f"entry {line.seq} is older than every policy set")
        return in_force[-1]

    def _begun(self, policy: PolicySet, line: Line) -> bool:
        since = self.since.get(policy.digest)
        return read_time(policy.manifest.activates_at) <= line.at if since is None else since < line.seq


def _proven(proof: EntryProof, checkpoint: Checkpoint, subject: str | None) -> Line:
    path = [bytes.fromhex(node) for node in proof.proof]
    leaf = leaf_of(proof.head.encode())
    verify_inclusion(leaf, proof.seq, checkpoint.size, path, checkpoint.root)  # (2)
    return _line(proof, subject)


def _line(proof: EntryProof, subject: str | None) -> Line:
    envelope = parse_head(proof.head.encode())
    data = parse_data(proof.data.encode())
    if envelope["datahash"] != datahash(bytes.fromhex(proof.salt), data):
        raise RefusedError(Refusal.CHECKPOINT, f"entry {proof.seq}: data is not what the entry commits to")
    if envelope["seq"] != proof.seq or (subject is not None and envelope["subject"] != subject):
        raise RefusedError(Refusal.CHECKPOINT, f"entry {proof.seq} is about something else")
    return Line(seq=proof.seq, at=envelope["time"], type=envelope["type"], actor=envelope["actor"], data=data)


def _people(line: Line, intent: str, sets: _Sets, trust_root: TrustRoot) -> None:
    if line.type == PROPOSED_EVENT:
        _proposal(line, intent, sets, trust_root)
    elif line.type in VERBS:
        _decision(line, intent, sets, trust_root)


def _proposal(line: Line, intent: str, sets: _Sets, trust_root: TrustRoot) -> None:
    proposal = Proposal.sized(line.data, at=f"/entries/{line.seq}")
    if proposal.intent.digest != intent:
        raise RefusedError(Refusal.DECISION_OTHER_INTENT, f"entry {line.seq} holds another proposal")
    verify_author(proposal, policy=sets.at(line), trust_root=trust_root, now=line.at)


def _bytes(line: Line, lines: Sequence[Line], sets: _Sets, trust_root: TrustRoot) -> None:
    told = {each.type: each for each in lines if each.type in {PROPOSED_EVENT, Event.RESERVED.value}}
    if len(told) < len({PROPOSED_EVENT, Event.RESERVED.value}):
        raise RefusedError(Refusal.FACT_MISSING, f"entry {line.seq}: bytes without an intent and a nonce")
    intent = Proposal.sized(told[PROPOSED_EVENT].data).intent
    nonce, raw_tx = told[Event.RESERVED.value].data.get("nonce"), line.data.get("raw_tx")
    said = _answered(line, line.data.get("answer"), intent.digest, trust_root)
    if said is None or said != raw_tx or not isinstance(nonce, int):
        raise RefusedError(Refusal.BYTES_OTHER, f"entry {line.seq} holds bytes that nobody says were signed")
    _signed_together(line, intent.digest, said, trust_root)
    found = execution.read(said, intent, sets.at(line), nonce=nonce)
    if found.cancels != (line.type == Event.CANCEL_SIGNED.value):
        raise RefusedError(Refusal.BYTES_OTHER, f"entry {line.seq}: a cancel for an intent, or the reverse")
    if found.transaction.tx_hash.hex() != line.data.get("tx_hash"):
        raise RefusedError(Refusal.BYTES_OTHER, f"entry {line.seq} names its bytes by another hash")


def _answered(line: Line, value: object, intent: str, trust_root: TrustRoot) -> str | None:
    """Return the bytes that a co-signer of ours says were signed for an intent."""
    signed = SignedAnswer.load(value, at=f"/entries/{line.seq}/answer")
    answer, key = signed.answer, trust_root.cosigners.get(signed.answer.cosigner)
    if key is None:
        raise RefusedError(
            Refusal.KEY_UNKNOWN, f"entry {line.seq}: {answer.cosigner} is no co-signer of ours"
        )
    verify_ed25519(key, signed.signature, ANSWER_LINE, answer.canonical(), what="answer")
    if answer.intent != intent:
        return None
    return answer.raw_tx if answer.refused is None else answer.signed_before


def _signed_together(line: Line, intent: str, raw_tx: str, trust_root: TrustRoot) -> None:
    """Verify what the others answered who signed with a shared key: the same bytes, each of them once."""
    others = line.data.get("answers", [])
    if not isinstance(others, list):
        raise RefusedError(Refusal.MALFORMED, "not a list", path=f"/entries/{line.seq}/answers")
    values = [each.get("answer") if isinstance(each, dict) else None for each in others]
    if any(_answered(line, value, intent, trust_root) != raw_tx for value in values):
        raise RefusedError(
            Refusal.BYTES_OTHER, f"entry {line.seq}: who signed together signed different bytes"
        )
    names = [SignedAnswer.load(value).answer.cosigner for value in (line.data.get("answer"), *values)]
    if len(set(names)) != len(names):
        raise RefusedError(Refusal.BYTES_OTHER, f"entry {line.seq}: one co-signer answers for two")


def _decision(line: Line, intent: str, sets: _Sets, trust_root: TrustRoot) -> None:
    signed = SignedDecision.load(line.data.get("signed"), at=f"/entries/{line.seq}/signed")
    decision = signed.decision
    if decision.intent != intent or decision.verb not in VERBS[line.type]:
        raise RefusedError(Refusal.DECISION_OTHER_INTENT, f"entry {line.seq} holds another decision")
    policy = next((each for each in sets.chain if each.digest == decision.policy), None)
    if policy is None:
        raise RefusedError(Refusal.DECISION_OTHER_POLICY, f"entry {line.seq}: {decision.policy[:12]}")
    check_assertion(signed, policy=policy, trust_root=trust_root)
