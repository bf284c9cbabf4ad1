"""Evidence: everything a co-signer needs to decide alone, and its answer.

The service carries it and is not believed: each part is signed by its own author or
proven under a checkpoint. What is malformed is refused before anything is decided.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from workbench.rules.attestation import Statement
from workbench.rules.decision import DECISIONS_MAX, SignedDecision
from workbench.rules.descent import Descent
from workbench.rules.documents import Amount, Asset, Digest, Document, Hex, Name, Prose, Whole
from workbench.rules.intent import Proposal
from workbench.rules.lease import SignedLease
from workbench.rules.policy import SETS_MAX
from workbench.rules.storage import Held
from workbench.rules.worth import STATEMENTS_MAX

ANSWER_LINE = "oms-answer/v1"
OTHERS_MAX = 32
"""As many as a co-signer signs for one nonce."""
SPENT_MAX = 64
"""More that a co-signer does not know travels in several pieces of evidence, each remembered."""
LEAVES_MAX = 50_000
"""More new leaves than fit into one piece of evidence travel in several head updates."""


class AmountOf(Document):
    """So much of an asset."""

    asset: Asset
    amount: Amount


class Reservation(Document):
    """The ledger's record that an intent holds a nonce and an amount of its key's lane."""

    v: Literal[1]
    intent: Digest
    key: Name
    chain_id: Whole
    nonce: Whole
    amounts: Annotated[list[AmountOf], Field(max_length=64)]


class EntryProof(Document):
    """A ledger entry with its inclusion proof under the checkpoint that travels beside it."""

    seq: Whole
    head: Annotated[str, Field(max_length=65536)]
    data: Annotated[str, Field(max_length=65536)]
    salt: Digest
    proof: Annotated[list[Digest], Field(max_length=64)]


ProofPath = Annotated[list[Digest], Field(max_length=128)]


class HeadUpdate(Document):
    """The leaves from the co-signer's last head on, and the checkpoint they lead to.

    `consistency` proves, for each size of the ledger that an approver was shown, that it
    grows into the checkpoint.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    start: Annotated[Whole, Field(alias="from")]
    leaves: Annotated[list[Digest], Field(max_length=LEAVES_MAX)]
    checkpoint: Annotated[str, Field(max_length=16384)]
    consistency: Annotated[dict[str, ProofPath], Field(max_length=DECISIONS_MAX)]


class Attestations(Document):
    """The simulation that was approved, a fresh one, and the state that holds at the head.

    `descent` are the ways from that head down to the blocks that the co-signer has seen; `quotes` what
    sources say of the pairs that the policy set demands, where it does.
    """

    approved: Annotated[list[Statement], Field(max_length=8)]
    fresh: Annotated[list[Statement], Field(max_length=8)]
    state: Annotated[list[Held], Field(max_length=8)]
    descent: Annotated[list[Descent], Field(max_length=2)]
    quotes: Annotated[list[Statement], Field(max_length=STATEMENTS_MAX)]


class Spent(Document):
    """What was signed with a shared key for a nonce: bytes with its signature, and the intent they are."""

    proposal: Proposal
    raw_tx: Annotated[Hex, Field(max_length=2 * 64 * 1024)]


class Evidence(Document):
    """FORMATS' evidence; a replacement is signed as its intent is, and a cancel needs no simulations.

    Owners of a Safe are asked to sign or cancel, its executor to execute the one or the other. `spent`, where
    a key is shared: what the nonces carried, up to this one, that the co-signer does not know.
    """

    v: Literal[1]
    operation: Literal["sign", "cancel", "execute", "execute-cancel"]
    intent: Digest
    proposal: Proposal
    unsigned_tx: Hex
    reservation: EntryProof
    decisions: Annotated[list[SignedDecision], Field(max_length=DECISIONS_MAX)]
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]
    attestations: Attestations
    lease: SignedLease | None
    head: HeadUpdate
    spent: Annotated[list[Spent], Field(max_length=SPENT_MAX)] | None = None

    @property
    def cancels(self) -> bool:
        """Whether the nonce is to be taken by nothing."""
        return self.operation in {"cancel", "execute-cancel"}

    @property
    def executes(self) -> bool:
        """Whether an executor is asked, to carry out what a Safe's owners have signed."""
        return self.operation in {"execute", "execute-cancel"}


class RefusedAnswer(Document):
    """Why a co-signer did not sign, and at which step of its gate."""

    step: Annotated[int, Field(ge=0, le=9)]
    code: Name
    detail: Prose


class Answer(Document):
    """What a co-signer signs with its identity key: a signature over a transaction, or a refusal.

    A refusal says in `signed_before` which bytes of this intent were signed last, so that a
    refusal without them proves that no signature exists. `others` has the hashes of all
    transactions but `raw_tx` that were signed for its nonce, oldest first: any of them may be mined.
    `gave`: with a shared key, a part has left that may have made a signature which this co-signer never saw.
    """

    v: Literal[1]
    cosigner: Name
    evidence: Digest
    intent: Digest
    signature: Hex | None
    raw_tx: Hex | None
    refused: RefusedAnswer | None
    signed_before: Hex | None
    others: Annotated[list[Digest], Field(max_length=OTHERS_MAX)]
    gave: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        # an answer that says neither would end an intent without anybody's refusal
        signed = self.signature is not None and self.raw_tx is not None
        nothing = self.signature is None and self.raw_tx is None
        if not (signed and self.refused is None and self.signed_before is None) and not (
            nothing and self.refused is not None
        ):
            raise ValueError("an answer is a signature or a refusal")
        return self


class SignedAnswer(Document):
    """An answer and the co-signer's Ed25519 signature over it."""

    answer: Answer
    signature: Hex
