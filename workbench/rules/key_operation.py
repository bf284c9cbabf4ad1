"""What is done to a key is ordered as policy sets are signed: by a quorum of officers, one at a console.

(1) An operation names one key and one epoch, and what it needs to know. dkg makes a key that there was not;
    refresh makes the next epoch of one, of the same address; backup gives each share to the recovery officers
    whom the policy set names for it; restore brings one back to the co-signer that made it; rotate has the
    co-signer of a whole key make the one that takes its place; destroy ends a key for good.
(2) A key is made by co-signers of the trust root, of whom more than half sign together, and of whom no hand
    has so many (`concentration`).
(3) Only a key that the policy set in force lists can be refreshed, at all of its co-signers. Only one that no
    policy set lists any more is destroyed: that took two quorums, and lay open for as long as a change does.
(4) An operation counts once: each makes or ends an epoch, and no epoch is made twice. A backup and its way
    back are of the epoch in use.
(5) A key is backed up when somebody keeps each of its shares, and not before (`recovery` says who may).

Who verifies it: the service before it records it, and each co-signer by itself before it takes part.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workbench.rules import concentration, recovery
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


class Restoration(Document):
    """Which share comes back, to whom: `backup` is the digest of the backup that its officer brings."""

    cosigner: Name
    backup: Digest
    run: Digest


class Succession(Document):
    """The name of the key that takes a whole key's place; it is listed, and the old one swept, afterwards."""

    successor: Name


Parameters = Arrangement | Restoration | Succession
WANTED: dict[str, type[Document]] = {"dkg": Arrangement, "restore": Restoration, "rotate": Succession}
MAKING = frozenset({"dkg", "refresh"})
"""What makes an epoch, in a run of all co-signers of the key."""


class KeyOperation(Document):
    """FORMATS' key operation; `epoch` is the one that is made, or else the one in use (1 of a whole key)."""

    v: Literal[1]
    operation: Literal["dkg", "refresh", "backup", "restore", "rotate", "destroy"]
    key: Name
    epoch: Annotated[Whole, Field(ge=1, le=EPOCH_MAX)]
    parameters: Parameters | None
    policy: Digest
    reason: Annotated[Said, Field(min_length=1)]
    nonce: Hex16
    expires_at: Time

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wanted = WANTED.get(self.operation)
        fits = self.parameters is None if wanted is None else isinstance(self.parameters, wanted)
        if not fits:
            raise ValueError(f"the parameters of {self.operation} are {wanted.__name__ if wanted else None}")
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
    if isinstance(operation.parameters, Arrangement):
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
    return _shared(operation, policy)


def _shared(operation: KeyOperation, policy: PolicySet) -> Arrangement:
    """Return who shares a key that the policy set in force lists."""
    listed = policy.keys.get(operation.key)
    if listed is None:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"no key {operation.key}")
    # a share may have to come back for the sweep; another epoch or a backup would only spread what is known
    if listed.compromised and operation.operation != "restore":
        raise RefusedError(Refusal.KEY_COMPROMISED, f"{operation.key} is compromised: sweep it, and end it")
    if listed.engine != "mpc" or listed.threshold is None:
        raise RefusedError(Refusal.STATE, f"{operation.key} is whole: it has no epochs")
    return Arrangement(parties=listed.cosigners, threshold=listed.threshold)


def backed_up_by(operation: KeyOperation, *, policy: PolicySet) -> list[str]:
    """(5) Return which co-signers give their share to whom keeps it, or refuse."""
    parties = _shared(operation, policy).parties
    recovery.verify_kept(list(policy.recovery.values()), operation.key, parties)
    return parties


def restored_to(operation: KeyOperation, *, policy: PolicySet) -> Restoration:
    """(3) Return which co-signer gets a share back, or refuse one that has none of this key."""
    given = operation.parameters
    parties = _shared(operation, policy).parties
    if not isinstance(given, Restoration) or given.cosigner not in parties:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"no share of {operation.key} is restored there")
    return given


def succeeded_by(operation: KeyOperation, *, policy: PolicySet) -> tuple[str, str]:
    """(3) Return at which co-signer a whole key gets a successor, and its name; or refuse."""
    listed, given = policy.keys.get(operation.key), operation.parameters
    if listed is None:
        raise RefusedError(Refusal.KEY_UNKNOWN, f"no key {operation.key}")
    if listed.engine != "hsm":
        raise RefusedError(Refusal.STATE, f"{operation.key} is not whole: it has no successor by an order")
    if not isinstance(given, Succession) or given.successor in policy.keys or operation.epoch != 1:
        raise RefusedError(Refusal.STATE, f"the successor of {operation.key} is one that there was not")
    return listed.cosigners[0], given.successor


def verify_ends(operation: KeyOperation, *, policy: PolicySet) -> None:
    """(3) Refuse the end of a key that the policy set in force lists."""
    if operation.operation != "destroy":
        raise RefusedError(Refusal.MALFORMED, f"{operation.operation} ends no key")
    if operation.key in policy.keys:
        raise RefusedError(Refusal.STATE, f"{operation.key} is in the policy set: it may own something")


def verify_allowed(operation: KeyOperation, *, policy: PolicySet, trust_root: TrustRoot) -> None:
    """(2) (3) (5) Refuse an operation that the policy set does not allow, whatever it is."""
    parties(operation, policy=policy, trust_root=trust_root)


def parties(operation: KeyOperation, *, policy: PolicySet, trust_root: TrustRoot) -> list[str]:
    """(2) (3) (5) Return which co-signers take part in an operation, or refuse it."""
    match operation.operation:
        case "destroy":
            verify_ends(operation, policy=policy)
            return sorted(trust_root.cosigners)
        case "backup":
            return backed_up_by(operation, policy=policy)
        case "restore":
            return [restored_to(operation, policy=policy).cosigner]
        case "rotate":
            return [succeeded_by(operation, policy=policy)[0]]
        case _:
            return arrangement(operation, policy=policy, trust_root=trust_root).parties
