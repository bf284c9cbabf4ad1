"""What the ledger must hold of a key's making, so that whoever was not there can believe it.

(1) Officers ordered it: a quorum of the policy set that the order names, one of them by the second path.
(2) Every co-signer of the key has said, signed, that it holds its share, of the same key and run.
(3) The points that each of them found are the same, and fit: any `threshold` of them give the key, and all of
    them lie on one polynomial of that degree. So the key is shared as the order says, and is nowhere whole.
(4) The address is derived from what each co-signer says of itself, and compared; nobody's list is believed.

Pure: what an entry holds in, what is proven by it out. That co-signers keep what they hold is theirs to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coincurve import PublicKey

from workbench.evm.transaction import address_of
from workbench.rules import officers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import verify_ed25519
from workbench.rules.key_operation import Arrangement, SignedOperation
from workbench.rules.policy import PolicySet, signed_by_quorum
from workbench.rules.threshold import WORD_LINE, SignedWord
from workbench.rules.trust import TrustRoot

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the group of secp256k1."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one co-signer says of a key: its number, its own point, and the address it derives."""

    cosigner: str
    party: int
    point: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """A key that was made by order: who ordered it and by which path, and what each co-signer holds."""

    signed: SignedOperation
    officers: Mapping[str, str]
    threshold: int
    public_key: str
    address: str
    held: Sequence[Held]


def verify_made(
    signed: SignedOperation, made: Mapping[str, Any], *, policy: PolicySet, trust_root: TrustRoot
) -> Ceremony:
    """Return what is proven of a key's making.

    Args:
        signed: the order, as the ledger has it.
        made: the data of the entry `key.made`.
        policy: the set that the order names, of a verified chain.
        trust_root: whose co-signers count.

    """
    operation = signed.operation
    if operation.policy != policy.digest or not isinstance(operation.parameters, Arrangement):
        raise RefusedError(Refusal.DECISION_OTHER_POLICY, "no key is made by this order under this set")
    officers.verify_signed(  # (1)
        operation, signed.signatures, policy=policy, trust_root=trust_root, what="the order"
    )
    signers = signed_by_quorum(
        signed.signatures,
        operation.challenge,
        judge=policy,
        trust_root=trust_root,
        second_path=True,
        what="the order",
    )
    parties, threshold = operation.parameters.parties, operation.parameters.threshold
    words = [SignedWord.load(each) for each in made["words"]]
    held = verify_held(words, operation.key, operation.epoch, parties, trust_root)  # (2)
    (public_key,) = {str(each.word.public_key) for each in words}
    verify_points([each.point for each in held], public_key, threshold)  # (3)
    addresses = {each.address for each in held}  # (4)
    if addresses != {made["address"]}:
        raise RefusedError(
            Refusal.EQUIVOCATION, f"the ledger says {made['address']}, co-signers derive {sorted(addresses)}"
        )
    return Ceremony(
        signed=signed,
        officers=signers,
        threshold=threshold,
        public_key=public_key,
        address=str(made["address"]),
        held=held,
    )


def verify_held(
    words: Sequence[SignedWord], key: str, epoch: int, parties: Sequence[str], trust_root: TrustRoot
) -> list[Held]:
    """(2) Return what each co-signer says, when all say the same of one run."""
    by_party = {each.word.party: each for each in words}
    if len(words) != len(parties) or set(by_party) != set(range(1, len(parties) + 1)):
        raise RefusedError(Refusal.RUN, f"words of parties {sorted(by_party)}, {len(parties)} share {key}")
    if len({(each.word.run, each.word.public_key, tuple(each.word.points or ())) for each in words}) != 1:
        raise RefusedError(Refusal.EQUIVOCATION, f"co-signers of {key} hold different things")
    held = []
    for number, name in enumerate(parties, 1):
        word, signature = by_party[number].word, by_party[number].signature
        if (word.stage, word.key, word.epoch) != ("held", key, epoch) or word.points is None:
            raise RefusedError(Refusal.RUN, f"{name} does not say that it holds epoch {epoch} of {key}")
        pinned = trust_root.cosigners[name]
        verify_ed25519(pinned, signature, WORD_LINE, word.canonical(), what=f"word of {name}")
        address = address_of(bytes.fromhex(str(word.public_key)))
        held.append(Held(name, number, word.points[number - 1], address))
    return held


def verify_points(points: Sequence[str], public_key: str, threshold: int) -> None:
    """(3) Refuse points of which not every set of `threshold` gives the key, or fewer than that do.

    It is enough to look at the first `threshold` of them, which give the polynomial, and then at each other
    one in the place of the last. One that fewer give as well is of a lower degree: fewer would sign.
    """
    wanted = PublicKey(bytes.fromhex(public_key)).format()
    fewer = list(range(1, threshold))
    if _at_zero({number: points[number - 1] for number in fewer}) == wanted:
        raise RefusedError(Refusal.SHARE, f"the points of parties {fewer} give the key already")
    first = list(range(1, threshold + 1))
    for last in range(threshold, len(points) + 1):
        chosen = [*first[:-1], last]
        if _at_zero({number: points[number - 1] for number in chosen}) != wanted:
            raise RefusedError(Refusal.SHARE, f"the points of parties {chosen} do not give the key")


def _at_zero(points: Mapping[int, str]) -> bytes:
    """Return the value at 0 of the polynomial through these points, by Lagrange in the group."""
    terms = []
    for number, point in points.items():
        weight = 1
        for other in points:
            if other != number:
                weight = weight * other * pow(other - number, -1, ORDER) % ORDER
        terms.append(PublicKey(bytes.fromhex(point)).multiply(weight.to_bytes(32, "big")))
    return PublicKey.combine_keys(terms).format()
