"""What is done to a key is ordered as policy sets are signed: by a quorum of officers, one at a console.

(1) An operation names one key and one epoch, and what it needs to know. dkg makes a key that there was not;
    refresh makes the next epoch of one, of the same address; destroy ends a key for good.
(2) A key is made by co-signers of the trust root, of whom more than half sign together, and of whom no hand
    has so many (`concentration`).
(3) Only a key that the policy set in force lists can be refreshed, at all of its co-signers. Only one that no
    policy set lists any more is destroyed: that took two quorums, and lay open for as long as a change does.
(4) An operation counts once: each makes or ends an epoch, and no epoch is made twice.

Who verifies it: the service before it records it, and each co-signer by itself before it takes part.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workbench.rules import concentration
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex16, Name, Said, Time, Whole, digest
from workbench.rules.evidence import EntryProof, HeadUpdate
from workbench.rules.lease import SignedLease
from workbench.rules.policy import SETS_MAX, SIGNATURES_MAX, PolicySet, Signature
from workbench.rules.threshold import PARTIES_MAX
from workbench.rules.trust import TrustRoot

OPERATION_LINE = "oms-key-operation/v1"
ORDERED = "key.ordered"
"""The type of the ledger's entry that holds a signed operation."""
EPOCH_MAX = 10_000


class Arrangement(Document):
    """Who is to share a key: its co-signers, in the order of their parties, and how many sign together."""

    parties: Annotated[list[Name], Field(min_length=2, max_length=PARTIES_MAX)]
    threshold: Annotated[int, Field(ge=2, le=PARTIES_MAX)]

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if len(set(self.parties)) != len(self.parties):
            raise ValueError("a co-signer is two parties")
        # two sets of signers must have one in common
        if not len(self.parties) < 2 * self.threshold <= 2 * len(self.parties):
            raise ValueError("more than half of a key's co-signers sign together")
        return self


class KeyOperation(Document):
    """FORMATS' key operation; `epoch` is the one that is made, or for destroy the one in use."""

    v: Literal[1]
    operation: Literal["dkg", "refresh", "destroy"]
    key: Name
    epoch: Annotated[Whole, Field(ge=1, le=EPOCH_MAX)]
    parameters: Arrangement | None
    policy: Digest
    reason: Annotated[Said, Field(min_length=1)]
    nonce: Hex16
    expires_at: Time

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.operation == "dkg") != (self.parameters is not None):
            raise ValueError("a key that is made, and no other, has parameters")
        return self

    @property
    def challenge(self) -> bytes:
        """What the officers' assertions sign; in hex it names the operation."""
        return digest(OPERATION_LINE, self.canonical())

    @property
    def digest(self) -> str:
        """The name of the operation."""
        return self.challenge.hex()


class SignedOperation(Document):
    """An operation and its officers' signatures."""

    operation: KeyOperation
    signatures: Annotated[list[Signature], Field(max_length=SIGNATURES_MAX)]


class OperationEvidence(Document):
    """What a co-signer is brought: the operation, where the ledger has it, and what it is weighed under."""

    v: Literal[1]
    operation: Literal["order"]
    ordered: SignedOperation
    entry: EntryProof
    policy_chain: Annotated[list[dict[str, object]], Field(min_length=1, max_length=SETS_MAX)]
    lease: SignedLease | None
    head: HeadUpdate


def arrangement(operation: KeyOperation, *, policy: PolicySet, trust_root: TrustRoot) -> Arrangement:
    """(2) (3) Return who makes an epoch, or refuse one that the policy set does not allow."""
    listed = policy.keys.get(operation.key)
    if operation.parameters is not None:
        if listed is not None:
            raise RefusedError(Refusal.STATE, f"there is a key {operation.key}")
        unknown = sorted(set(operation.parameters.parties) - set(trust_root.cosigners))
        if unknown:
            raise RefusedError(Refusal.TRUST_ROOT, f"no co-signer of the trust root: {unknown}")
        made = operation.parameters
        hands = concentration.EVERYWHERE
        if trust_root.profile == "production":
            hands += concentration.PRODUCTION
        concentration.check(operation.key, made.parties, made.threshold, places=policy.places, hands=hands)
        return made
    if listed is None:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"no key {operation.key}")
    if listed.engine != "mpc" or listed.threshold is None:
        raise RefusedError(Refusal.STATE, f"{operation.key} is whole: it has no epochs")
    return Arrangement(parties=listed.cosigners, threshold=listed.threshold)


def verify_ends(operation: KeyOperation, *, policy: PolicySet) -> None:
    """(3) Refuse the end of a key that the policy set in force lists."""
    if operation.operation != "destroy":
        raise RefusedError(Refusal.MALFORMED, f"{operation.operation} ends no key")
    if operation.key in policy.keys:
        raise RefusedError(Refusal.STATE, f"{operation.key} is in the policy set: it may own something")


def verify_allowed(operation: KeyOperation, *, policy: PolicySet, trust_root: TrustRoot) -> None:
    """(2) (3) Refuse an operation that the policy set does not allow, whatever it is."""
    if operation.operation == "destroy":
        verify_ends(operation, policy=policy)
    else:
        arrangement(operation, policy=policy, trust_root=trust_root)
