"""The keys of a policy set: what owns assets on chain, by the engine that signs for it.

(1) hsm: whole, in the token of its one co-signer.
(2) mpc: shared by its co-signers, in the order of their parties, of whom `threshold` sign together.
(3) safe: a contract with owners. Each owner is a whole key in the token of a co-signer of its own, and has no
    other use. The contract has no key; what its owners sign is carried out by an executor.
(4) Of (2) and (3) more than half sign together: it is a co-signer's memory that keeps one nonce from being
    signed for twice, and two sets of signers must have one in common.
(5) An executor is a whole key of the set that pays the gas for one Safe and does nothing else: what it sends
    is what owners have signed. Its co-signer is no owner, so that a memory has one record of an intent.
(6) No address and no point stands twice, whether as a key or as an owner: who signs for the one could be
    taken for the other.

(7) Once a set says of a key that it is compromised, no later set lists it without saying so: neither its
    address nor a point of it, under whatever name. What such a key may still do is `intent`'s to say.

Where co-signers stand is `concentration`'s to judge, for owners as for shares. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from workbench.evm.errors import EvmError
from workbench.evm.safe import OWNERS_MAX
from workbench.evm.transaction import address_of
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Address, Digest, Document, Hex, Name, Prose
from workbench.rules.safe_pins import Pinned
from workbench.rules.threshold import PARTIES_MAX

FILE = "keys.json"
CODE_MAX = 16
MODULES_MAX = 16
Tier: TypeAlias = Literal["cold", "warm", "hot"]


class WholeKey(Document):
    """(1) A key in one token; `public_key` is its 65-byte point."""

    id: Name
    address: Address
    public_key: Hex
    tier: Tier
    engine: Literal["hsm"]
    purpose: Prose
    cosigners: Annotated[list[Name], Field(min_length=1, max_length=1)]
    compromised: bool = False

    @property
    def signers(self) -> int:
        """How many co-signers make a signature."""
        return 1


class SharedKey(Document):
    """(2) A key that no machine has; `public_key` is its 65-byte point."""

    id: Name
    address: Address
    public_key: Hex
    tier: Tier
    engine: Literal["mpc"]
    purpose: Prose
    cosigners: Annotated[list[Name], Field(min_length=1, max_length=PARTIES_MAX)]
    threshold: Annotated[int, Field(ge=2, le=PARTIES_MAX)]
    compromised: bool = False

    @model_validator(mode="after")
    def _held(self) -> Self:
        _together(self.cosigners, self.threshold)
        return self

    @property
    def signers(self) -> int:
        """How many co-signers make a signature."""
        return self.threshold


class Owner(Document):
    """An owner of a Safe: the point of its key, and the co-signer in whose token that is."""

    cosigner: Name
    public_key: Hex

    @property
    def address(self) -> str:
        """The address by which the contract knows the owner."""
        try:
            return address_of(bytes.fromhex(self.public_key))
        except EvmError as error:
            raise RefusedError(Refusal.POLICY_INVALID, f"owner {self.cosigner}: {error}") from error


class SafePins(Document):
    """(3) What decides, beside the owners, who may move a Safe's funds; codes by the address that has them.

    Without `critical_quorum` nothing changes the Safe.
    """

    singleton: Address
    multi_send: Address
    guard: Address
    fallback_handler: Address
    modules: Annotated[list[Address], Field(max_length=MODULES_MAX)]
    code_hashes: Annotated[dict[Address, Digest], Field(max_length=CODE_MAX)]
    critical_quorum: Annotated[int, Field(ge=1)] | None = None


class SafeKey(Document):
    """(3) A Safe as the set has it; `executor` names the key that carries out what its owners sign."""

    id: Name
    address: Address
    tier: Tier
    engine: Literal["safe"]
    purpose: Prose
    owners: Annotated[list[Owner], Field(min_length=1, max_length=OWNERS_MAX)]
    threshold: Annotated[int, Field(ge=2, le=OWNERS_MAX)]
    pins: SafePins
    executor: Name
    compromised: bool = False

    @model_validator(mode="after")
    def _held(self) -> Self:
        _together(self.cosigners, self.threshold)
        return self

    @property
    def cosigners(self) -> list[str]:
        """The owners' co-signers, in the order in which they are asked."""
        return [each.cosigner for each in self.owners]

    @property
    def signers(self) -> int:
        """How many owners sign together."""
        return self.threshold

    def owner(self, cosigner: str) -> Owner:
        """Return the owner whose key a co-signer has, or refuse."""
        for each in self.owners:
            if each.cosigner == cosigner:
                return each
        raise RefusedError(Refusal.SAFE_OWNER, f"{cosigner} has no owner's key of {self.id}")

    def pinned(self, chain_id: int) -> Pinned:
        """Return the pins as a proof is held against them, or refuse those that would let anything pass."""
        pins = self.pins
        return Pinned(
            chain_id=chain_id,
            safe=self.address,
            singleton=pins.singleton,
            multi_send=pins.multi_send,
            owners=frozenset(each.address for each in self.owners),
            threshold=self.threshold,
            guard=pins.guard,
            fallback_handler=pins.fallback_handler,
            modules=frozenset(pins.modules),
            code_hashes={address: bytes.fromhex(code) for address, code in pins.code_hashes.items()},
            critical_quorum=pins.critical_quorum,
        )


SigningKey: TypeAlias = WholeKey | SharedKey
"""What signs transactions."""
Key: TypeAlias = SigningKey | SafeKey
_ANY: TypeAdapter[Key] = TypeAdapter(Annotated[Key, Field(discriminator="engine")])


def load(value: object, *, at: str = "") -> Key:
    """Build a key from parsed JSON, by its engine; an engine that is not known is refused."""
    try:
        return _ANY.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # the place begins with the engine that was tried
        place = "".join(f"/{part}" for part in first["loc"][1:])
        raise RefusedError(Refusal.MALFORMED, str(first["msg"]), path=at + place) from error


def check(keys: Mapping[str, Key]) -> None:
    """Refuse keys that get in each other's way: (5) and (6), and pins that say nothing."""
    safes = [key for key in keys.values() if isinstance(key, SafeKey)]
    for safe in safes:
        safe.pinned(1)
        _executor(safe, keys)
    _once((safe.executor for safe in safes), "carries out two Safes")  # (5)
    owners = [owner for safe in safes for owner in safe.owners]
    signing = [key for key in keys.values() if not isinstance(key, SafeKey)]
    addresses = [key.address for key in keys.values()] + [owner.address for owner in owners]
    _once(addresses, "stands twice")  # (6)
    points = {key.public_key for key in signing}  # a key may be listed under an address that is not its own
    _once([*points, *(owner.public_key for owner in owners)], "stands twice")


def check_compromised(keys: Mapping[str, Key], known: Iterable[Key]) -> None:
    """(7) Refuse keys of which one is compromised by an earlier set and does not say so.

    Args:
        keys: of one set.
        known: every key that an earlier set calls compromised.

    """
    taken: set[str] = set()
    for key in known:
        taken |= {key.address, *points(key)}
    for key in keys.values():
        if not key.compromised and taken & {key.address, *points(key)}:
            told = f"{key.id} is compromised, and this set does not say so"
            raise RefusedError(Refusal.KEY_COMPROMISED, told, path=f"/files/{FILE}")


def points(key: Key) -> frozenset[str]:
    """Return the points that tokens and shares have of a key: of a Safe its owners'."""
    if isinstance(key, SafeKey):
        return frozenset(each.public_key for each in key.owners)
    return frozenset({key.public_key})


def executors(keys: Mapping[str, Key]) -> frozenset[str]:
    """(5) Return the keys that carry out what owners sign, and nothing else."""
    return frozenset(key.executor for key in keys.values() if isinstance(key, SafeKey))


def executor(safe: SafeKey, keys: Mapping[str, Key]) -> WholeKey:
    """Return the key that carries out what a Safe's owners sign, or refuse."""
    found = keys.get(safe.executor)
    if not isinstance(found, WholeKey):
        raise RefusedError(
            Refusal.POLICY_INVALID,
            f"{safe.executor}, which is to carry out {safe.id}, is no whole key of the set",
            path=f"/files/{FILE}",
        )
    return found


def sender(key: Key, keys: Mapping[str, Key]) -> SigningKey:
    """Return the key whose transaction carries out what is intended for a key: its own, or the executor's."""
    return executor(key, keys) if isinstance(key, SafeKey) else key


def _executor(safe: SafeKey, keys: Mapping[str, Key]) -> None:
    both = set(executor(safe, keys).cosigners) & set(safe.cosigners)
    if both:  # (5)
        raise RefusedError(
            Refusal.POLICY_INVALID,
            f"{', '.join(sorted(both))} would be an owner of {safe.id} and carry it out",
            path=f"/files/{FILE}",
        )


def _together(cosigners: list[str], threshold: int) -> None:
    if len(set(cosigners)) != len(cosigners):
        raise ValueError("a co-signer holds a key once")
    if threshold > len(cosigners):
        raise ValueError("a shared key names how many of its co-signers sign together")
    if 2 * threshold <= len(cosigners):  # (4)
        raise ValueError("more than half of a key's co-signers sign together")


def _once(names: Iterable[str], what: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise RefusedError(Refusal.POLICY_INVALID, f"{', '.join(twice)} {what}", path=f"/files/{FILE}")
