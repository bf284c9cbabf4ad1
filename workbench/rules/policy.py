"""The policy set: who the people are, what the keys may do, and under which rules.

A set is a manifest of files and the officers' assertions over it. It is believed when
(1) every file has the digest that the manifest names, and no other file is there;
(2) it is the genesis set of the trust root, or names its predecessor and counts one up;
(3) a quorum of the set before it *and* of itself has signed the manifest, so that
    nobody is added by people who will not answer for him, and none stays who left;
    of each quorum one at least by the second path: what an officer's browser shows is
    one machine's word, and rules are worth more than any amount (the genesis set has
    nobody before it: people compare its digest by hand);
(4) its time has come.
A chain of sets is verified from the genesis set on; a caller that has seen a higher
version refuses the chain itself, since what was seen is memory, not a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import Field, model_validator

from ledger.encoding import canonical
from workbench.evm import calldata
from workbench.evm.errors import EvmError
from workbench.rules import account as accounts
from workbench.rules import assertion as webauthn
from workbench.rules import concentration, recovery
from workbench.rules import keys as listed
from workbench.rules import roles as matrix
from workbench.rules.account import ServiceAccount
from workbench.rules.assertion import CONSOLE, Assertion, Credential, verify_press
from workbench.rules.carriage import RELAY_BLOCKS_MAX
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.concentration import Place
from workbench.rules.documents import (
    DOCUMENT_MAX,
    Address,
    Asset,
    Digest,
    Document,
    Name,
    Prose,
    Seconds,
    Symbol,
    Time,
    Whole,
    digest,
    read_json,
    read_time,
    write_time,
)
from workbench.rules.keys import Key, SharedKey, SigningKey, Tier, WholeKey
from workbench.rules.recovery import RecoveryOfficer
from workbench.rules.roles import Permission
from workbench.rules.trust import TrustRoot

T = TypeVar("T", bound=Document)

POLICY_LINE = "oms-policy/v1"
SETS_MAX = 1000
BPS = 10_000
SIGNATURES_MAX = 64
FILES = frozenset(
    {
        "assets.json",
        concentration.FILE,
        listed.FILE,
        "limits.json",
        "people.json",
        "policies.cedar",
        recovery.FILE,
        "roles.json",
        "schema.cedarschema",
        accounts.FILE,
        "whitelist.json",
    }
)


class Manifest(Document):
    """What is signed: the files by digest, the predecessor, the time."""

    v: Literal[1]
    name: Name
    version: Annotated[int, Field(ge=1)]
    previous: Digest | None
    activates_at: Time
    files: dict[str, Digest]


class Signature(Document):
    """One officer's assertion over the manifest."""

    person: Name
    assertion: Assertion


class Person(Document):
    """Somebody who may hold roles and press keys."""

    id: Name
    name: Prose
    roles: Annotated[list[Name], Field(min_length=1, max_length=8)]
    team: Name
    site: Name
    credentials: Annotated[list[Credential], Field(max_length=16)]


Proposer: TypeAlias = Person | ServiceAccount
"""Whoever an intent names as its proposer."""


class AssetFacts(Document):
    """How an asset counts towards a limit: the desk's own signed reference price.

    `unit_usd_cents` is the price of one whole unit (10^decimals base units). `priced_as` is the base of the
    pair whose sources say what a unit is worth in an exchange; without one nobody can say it.
    """

    asset: Asset
    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9.]{1,12}$")]
    decimals: Annotated[int, Field(ge=0, le=36)]
    unit_usd_cents: Annotated[int, Field(ge=1, le=10**12)]
    priced_as: Symbol | None = None


class Bound(Document):
    """What one argument may be; exactly one of the fields is given.

    What an intent declares binds what its calldata says: "declared_outflow" is the one amount
    that it gives up, "declared_inflow" the one that it gains at least, "declared_allowance"
    the one that it leaves allowed. `any` is spelled out: an argument that no bound names is
    refused.
    """

    equals: Literal["key_address", "declared_outflow", "declared_allowance"] | None = None
    at_least: Literal["declared_inflow"] | None = None
    one_of: list[str] | None = None
    at_most: Literal["expires_at"] | None = None
    any: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = (self.equals, self.at_least, self.one_of, self.at_most, self.any)
        if sum(value is not None for value in given) != 1:
            raise ValueError("a bound is exactly one of equals, at_least, one_of, at_most, any")
        return self


class Function(Document):
    """One function that may be called, with a bound for each argument."""

    fragment: dict[str, Any]
    bounds: dict[str, Bound]


class WhitelistEntry(Document):
    """A contract that may be called, bound to its code; anything that drifts voids it."""

    address: Address
    name: Prose
    chain_id: Whole
    code_hash: Digest
    expires_at: Time
    audit: Prose
    functions: Annotated[list[Function], Field(min_length=1, max_length=64)]


class WorthLimit(Document):
    """How much less may come in than goes out in an exchange, and which prices in `quote` say so."""

    loss_bps_max: Annotated[int, Field(ge=0, lt=BPS)]
    quote: Symbol
    sources_min: Annotated[int, Field(ge=2, le=32)]
    age_s_max: Seconds
    deviation_bps_max: Annotated[int, Field(ge=0, lt=BPS)]


class Amounts(Document):
    """From which amounts on more consent is needed; see the rules of the same names."""

    single_usd_cents_max: Whole
    daily_usd_cents_max: Whole
    second_path_usd_cents_min: Whole


class Limits(Amounts):
    """The numbers that the Cedar rules compare with, and how old a fact may be.

    The amounts are those of hot keys; `tiers` has others for warm and cold ones, and a colder key never has
    looser ones than a hotter. Without `worth` no price is asked for, and none decides.
    """

    slippage_bps_max: Whole
    tolerance_inflow_bps_max: Whole
    gas_max: Whole
    fee_per_gas_wei_max: Whole
    attestation_age_s_max: Seconds
    simulation_age_s_max: Seconds
    intent_life_s_max: Seconds
    decision_life_s_max: Seconds
    session_idle_s: Seconds
    session_life_s_max: Seconds
    sessions_per_person_max: Whole
    confirmations_min: Annotated[int, Field(ge=1)]
    finality: Literal["depth", "finalized"]
    broadcast: Literal["nodes", "relay", "relay_then_nodes"] = "nodes"
    relay_blocks_max: Annotated[int, Field(ge=1, le=RELAY_BLOCKS_MAX)] = RELAY_BLOCKS_MAX
    change_delay_s_min: Seconds
    credentials_min: Annotated[int, Field(ge=1, le=8)]
    policy_quorum: Annotated[int, Field(ge=1)]
    policy_quorum_role: Name
    worth: WorthLimit | None = None
    tiers: dict[Literal["warm", "cold"], Amounts] = Field(default_factory=dict)

    def amounts(self, tier: Tier) -> Amounts:
        """Return the amounts of a tier: of each the tightest, from the hot one's down to its own."""
        colder = {"hot": (), "warm": ("warm",), "cold": ("warm", "cold")}[tier]
        found = [self, *(self.tiers[name] for name in colder if name in self.tiers)]
        tightest = {name: min(getattr(each, name) for each in found) for name in Amounts.model_fields}
        return Amounts.load(tightest)


@dataclass(frozen=True)
class PolicySet:
    """One set whose files match its manifest; whether it counts is `verify_chain`'s to say."""

    manifest: Manifest
    files: Mapping[str, bytes]
    signatures: Sequence[Signature]

    @classmethod
    def load(cls, value: object, *, at: str = "") -> PolicySet:
        """Build from {manifest, files: {path: text}, signatures}, checking (1)."""
        carried = _Carried.load(value, at=at)
        files = {path: text.encode() for path, text in carried.files.items()}
        digests = {path: hashlib.sha256(raw).hexdigest() for path, raw in files.items()}
        if digests != carried.manifest.files or set(files) != FILES:
            raise RefusedError(Refusal.POLICY_INVALID, "files and manifest differ", path=at + "/files")
        built = cls(carried.manifest, files, carried.signatures)
        built.validate()
        return built

    def dump(self) -> dict[str, Any]:
        """Return the set in the form that `load` takes."""
        return {
            "manifest": self.manifest.dump(),
            "files": {path: raw.decode() for path, raw in self.files.items()},
            "signatures": [signature.dump() for signature in self.signatures],
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical manifest; it names the set."""
        return hashlib.sha256(self.manifest.canonical()).hexdigest()

    @property
    def challenge(self) -> bytes:
        """What each officer's assertion signs."""
        return digest(POLICY_LINE, self.manifest.canonical())

    @cached_property
    def people(self) -> Mapping[str, Person]:
        """The people by id."""
        return _by(self._list("people.json", Person), "id")

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """The keys by id."""
        at = f"/files/{listed.FILE}"
        values = self._values(listed.FILE)
        return _by([listed.load(value, at=f"{at}/{index}") for index, value in enumerate(values)], "id")

    @cached_property
    def service_accounts(self) -> Mapping[str, ServiceAccount]:
        """The service accounts by id."""
        return _by(self._list(accounts.FILE, ServiceAccount), "id")

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Where the co-signers stand, by name."""
        return _by(self._list(concentration.FILE, Place), "name")

    @cached_property
    def recovery(self) -> Mapping[str, RecoveryOfficer]:
        """Who keeps backups of shares, by name."""
        return _by(self._list(recovery.FILE, RecoveryOfficer), "name")

    @cached_property
    def assets(self) -> Mapping[str, AssetFacts]:
        """The assets by address, the chain's own coin as "ETH"."""
        return _by(self._list("assets.json", AssetFacts), "asset")

    @cached_property
    def whitelist(self) -> Mapping[str, WhitelistEntry]:
        """The whitelist by address."""
        return _by(self._list("whitelist.json", WhitelistEntry), "address")

    @cached_property
    def roles(self) -> matrix.Matrix:
        """What each role permits."""
        return matrix.read(read_json(self.files["roles.json"], limit=DOCUMENT_MAX))

    @cached_property
    def limits(self) -> Limits:
        """The numbers."""
        return Limits.read(self.files["limits.json"])

    def validate(self) -> None:
        """Read every file once, so that a malformed set stops everything at once."""
        limits = self.limits
        for person in self.people.values():
            matrix.check_person(self.roles, person.id, person.roles)
        holders = [person for person in self.people.values() if limits.policy_quorum_role in person.roles]
        # Fewer holders than the quorum: nobody could ever change the set again.
        if len(holders) < limits.policy_quorum:
            raise RefusedError(
                Refusal.POLICY_INVALID, f"{len(holders)} people for a quorum of {limits.policy_quorum}"
            )
        credentials = [credential for person in self.people.values() for credential in person.credentials]
        keys = [bytes(webauthn.public_key(credential)[-2]) for credential in credentials]
        # One key under two ids would let one authenticator speak for two people.
        if len({credential.id for credential in credentials}) != len(credentials) or len(set(keys)) != len(
            keys
        ):
            raise RefusedError(
                Refusal.POLICY_INVALID, "two people share a credential", path="/files/people.json"
            )
        listed.check(self.keys)
        self.verify_apart(concentration.EVERYWHERE)
        shared = {key.id: key.cosigners for key in self.keys.values() if isinstance(key, SharedKey)}
        recovery.verify_known(list(self.recovery.values()), shared)
        self.verify_kept_apart(self.recovery.values())
        for entry in self.whitelist.values():
            _callable(entry)
        accounts.check(
            self.service_accounts.values(),
            people={person.id: person.roles for person in self.people.values()},
            roles=self.roles,
            keys=self.keys,
        )
        _same_worth(self.assets.values(), limits.worth)

    def verify_apart(self, hands: Sequence[str]) -> None:
        """Refuse a set in which one hand has as many shares of a key, or owners, as sign together."""
        for key in self.keys.values():
            if not isinstance(key, WholeKey):
                concentration.check(key.id, key.cosigners, key.threshold, places=self.places, hands=hands)

    def verify_kept_apart(self, ever: Iterable[RecoveryOfficer]) -> None:
        """Refuse a set under which one hand has or keeps as many shares of a key as sign together.

        Args:
            ever: the recovery officers as this set and those before it had them.

        """
        officers = list(ever)
        for key in self.keys.values():
            if isinstance(key, SharedKey):
                recovery.verify_apart(key.id, key.cosigners, key.threshold, places=self.places, ever=officers)

    def person(self, person_id: str) -> Person:
        """Return a person, or refuse."""
        try:
            return self.people[person_id]
        except KeyError:
            raise RefusedError(
                Refusal.PERSON_UNKNOWN, f"{person_id} is not in policy set {self.digest[:12]}"
            ) from None

    def proposer(self, name: str) -> Proposer:
        """Return the person or the service account of this name, or refuse."""
        return self.service_accounts.get(name) or self.person(name)

    def account(self, name: str) -> ServiceAccount:
        """Return a service account, or refuse."""
        try:
            return self.service_accounts[name]
        except KeyError:
            raise RefusedError(
                Refusal.ACCOUNT_UNKNOWN, f"{name} is no service account of policy set {self.digest[:12]}"
            ) from None

    def answerable(self, proposer: str) -> str:
        """Return the person who answers for what is proposed: an account's owner, else whoever proposes."""
        account = self.service_accounts.get(proposer)
        return proposer if account is None else account.owner

    def answered_for(self, proposer: str) -> frozenset[str]:
        """Return every name under which the person behind a proposer proposes."""
        person = self.answerable(proposer)
        owned = (each.id for each in self.service_accounts.values() if each.owner == person)
        return frozenset({proposer, person, *owned})

    def permits(self, role: str, permission: Permission) -> bool:
        """Whether a role permits something, whoever holds it."""
        return permission in matrix.held(self.roles, [role])

    def key(self, key_id: str) -> Key:
        """Return a key, or refuse."""
        try:
            return self.keys[key_id]
        except KeyError:
            raise RefusedError(Refusal.KEY_UNKNOWN, f"no key {key_id}", path="/key") from None

    def sender(self, key_id: str) -> SigningKey:
        """Return the key whose transaction carries out an intent for this key: a Safe has an executor."""
        return listed.sender(self.key(key_id), self.keys)

    def credential(self, person: Person, credential_id: str, *, path: str) -> Credential:
        """Return a person's own credential for this path, or refuse."""
        for credential in person.credentials:
            if credential.id == credential_id and credential.path == path:
                return credential
        raise RefusedError(Refusal.CREDENTIAL_UNKNOWN, f"{person.id} has no such credential for {path}")

    def _list(self, path: str, kind: type[T]) -> list[T]:
        return [
            kind.load(value, at=f"/files/{path}/{index}") for index, value in enumerate(self._values(path))
        ]

    def _values(self, path: str) -> list[Any]:
        values = read_json(self.files[path], limit=DOCUMENT_MAX)
        if not isinstance(values, list):
            raise RefusedError(Refusal.POLICY_INVALID, "not a list", path=f"/files/{path}")
        return values


class _Carried(Document):
    manifest: Manifest
    files: dict[str, str]
    signatures: Annotated[list[Signature], Field(max_length=SIGNATURES_MAX)]


@dataclass(slots=True)
class _Memory:
    """What sets before one have settled for good."""

    kept: list[RecoveryOfficer] = field(default_factory=list)
    compromised: dict[tuple[str, frozenset[str]], Key] = field(default_factory=dict)

    def verify(self, current: PolicySet) -> None:
        """Refuse a set that forgets it; remember what this one adds."""
        # who keeps what he kept before is counted already: a long chain costs no square of its length
        self.kept += [each for each in current.recovery.values() if each not in self.kept]
        current.verify_kept_apart(self.kept)
        listed.check_compromised(current.keys, self.compromised.values())
        lost = [key for key in current.keys.values() if key.compromised]
        self.compromised |= {(key.address, listed.points(key)): key for key in lost}


def verify_history(following: PolicySet, *, before: Iterable[PolicySet]) -> None:
    """Refuse a set that forgets what those before it have settled for good: who keeps shares, what is lost.

    Args:
        following: the set, signed or not.
        before: the chain up to the one in force.

    """
    memory = _Memory()
    for each in (*before, following):
        memory.verify(each)


def verify_chain(sets: Sequence[PolicySet], *, trust_root: TrustRoot, now: datetime) -> PolicySet:
    """Verify the sets from the genesis set on and return the last, or refuse.

    Args:
        sets: oldest first, without gaps.
        trust_root: names the genesis set.
        now: a set that activates later than this is not yet one.

    """
    if not 1 <= len(sets) <= SETS_MAX:
        raise RefusedError(Refusal.POLICY_CHAIN, f"{len(sets)} policy sets")
    previous: PolicySet | None = None
    memory = _Memory()
    for current in sets:
        _follows(current, previous, trust_root)
        for judge in (previous or current, current):
            signed_by_quorum(
                current.signatures,
                current.challenge,
                judge=judge,
                trust_root=trust_root,
                second_path=previous is not None,
                what=f"version {current.manifest.version}",
            )
        if trust_root.profile == "production":
            current.verify_apart(concentration.PRODUCTION)
        memory.verify(current)
        # (4)
        if read_time(current.manifest.activates_at) > now:
            raise RefusedError(Refusal.POLICY_CHAIN, f"version {current.manifest.version} is not active yet")
        previous = current
    return sets[-1]


def _follows(current: PolicySet, previous: PolicySet | None, trust_root: TrustRoot) -> None:
    # (2)
    if previous is None:
        if current.digest != trust_root.genesis_policy or current.manifest.previous is not None:
            raise RefusedError(Refusal.POLICY_CHAIN, "the first set is not the trust root's genesis set")
        return
    verify_succession(current, previous)


def verify_succession(current: PolicySet, previous: PolicySet) -> None:
    """(2) Verify that a set names this predecessor and counts one up."""
    if (
        current.manifest.previous != previous.digest
        or current.manifest.version != previous.manifest.version + 1
    ):
        raise RefusedError(
            Refusal.POLICY_CHAIN, f"version {current.manifest.version} does not follow its predecessor"
        )


def verify_signature(
    signature: Signature, challenge: bytes, *, judge: PolicySet, trust_root: TrustRoot
) -> str:
    """(3) Verify that an officer of `judge` has signed this; return where."""
    person = judge.person(signature.person)
    role = judge.limits.policy_quorum_role
    if role not in person.roles:
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{person.id} does not hold {role}")
    return verify_press(
        signature.assertion,
        person.credentials,
        person=person.id,
        challenge=challenge,
        trust_root=trust_root,
    )


def signed_by_quorum(
    signatures: Sequence[Signature],
    challenge: bytes,
    *,
    judge: PolicySet,
    trust_root: TrustRoot,
    second_path: bool,
    what: str,
) -> dict[str, str]:
    """(3) Return which officers of `judge` have signed this, and where; refuse when they are too few."""
    # what does not count is skipped: a junk signature must not veto a good quorum
    counted: dict[str, str] = {}
    for signature in signatures:
        try:
            path = verify_signature(signature, challenge, judge=judge, trust_root=trust_root)
        except RefusedError:
            continue
        # who has signed in both places has signed by the second path
        counted[signature.person] = CONSOLE if counted.get(signature.person) == CONSOLE else path
    if len(counted) < judge.limits.policy_quorum:
        raise RefusedError(
            Refusal.POLICY_CHAIN, f"{what}: {len(counted)} of {judge.limits.policy_quorum} signatures"
        )
    if second_path and CONSOLE not in counted.values():
        raise RefusedError(
            Refusal.POLICY_CHAIN,
            f"{what}: nobody of version {judge.manifest.version} has signed by the second path",
        )
    return counted


def _callable(entry: WhitelistEntry) -> None:
    """Refuse an entry whose functions cannot be read, or that two functions of it would answer to."""
    try:
        selectors = [calldata.selector(function.fragment) for function in entry.functions]
    except EvmError as error:
        raise RefusedError(
            Refusal.POLICY_INVALID, f"{entry.address}: {error}", path="/files/whitelist.json"
        ) from error
    if len(set(selectors)) != len(selectors):
        raise RefusedError(
            Refusal.POLICY_INVALID,
            f"{entry.address}: two functions share a selector",
            path="/files/whitelist.json",
        )


def _same_worth(assets: Iterable[AssetFacts], limit: WorthLimit | None) -> None:
    """Refuse a price of the quote in itself: nothing is worth one because somebody says so."""
    for each in assets:
        if limit is not None and each.priced_as == limit.quote:
            raise RefusedError(
                Refusal.POLICY_INVALID,
                f"{each.asset} is priced as {each.priced_as} in {limit.quote}",
                path="/files/assets.json",
            )


def _by(documents: list[T], field: str) -> Mapping[str, T]:
    found = {getattr(document, field): document for document in documents}
    if len(found) != len(documents):
        raise RefusedError(Refusal.POLICY_INVALID, f"the same {field} twice")
    return found


def manifest_of(
    files: Mapping[str, bytes], *, name: str, version: int, previous: str | None, at: str
) -> Manifest:
    """Return the manifest of a set's files, to be signed."""
    digests = {path: hashlib.sha256(raw).hexdigest() for path, raw in files.items()}
    value = {
        "v": 1,
        "name": name,
        "version": version,
        "previous": previous,
        "activates_at": at,
        "files": digests,
    }
    canonical(value)
    return Manifest.load(value)


def next_set(policy: PolicySet, changed: Mapping[str, bytes], *, activates_at: datetime) -> PolicySet:
    """Return the unsigned set that follows one, with these files in place of its own, or refuse it."""
    files = {**policy.files, **changed}
    manifest = manifest_of(
        files,
        name=policy.manifest.name,
        version=policy.manifest.version + 1,
        previous=policy.digest,
        at=write_time(activates_at),
    )
    following = PolicySet(manifest, files, [])
    following.validate()
    return following
