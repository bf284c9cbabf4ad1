"""A change of the policy set: what the next set does to people and accounts, and how long it must lie open.

(1) The next set follows the one in force, and differs from it.
(2) What only takes away (somebody or a service account leaves, a role or a credential is lost, a key is
    called compromised, no more)
    may act at once: revocation must not wait. Everything else lies open for `change_delay_s_min` of
    the set *in force*, from the ledger's time of its proposal on, so that people can look at it.
(3) Whoever may consent or administer can lose an authenticator and still speak: he has at least
    `credentials_min` credentials for each path. A set that only takes away may leave him with
    fewer, or a stolen key would stay until its spare is registered; the next one must mend that.
(4) While it lies open it can be vetoed, by one person and for good: by whoever is to get a credential
    and was known before, with a credential that is his already (two administrators and a stolen key
    must not make a false officer), and by anybody of the role whose quorum changes the set.
    What only takes away cannot be vetoed: else a stolen key would keep itself.

Who signs a set is `policy`'s. Left out: whether two credentials lie in two devices. No document says
that; distinct ids and keys do, and registration, where a model is attested, is the place to look.
A co-signer cannot see when a set was proposed: delay and veto are the service's to hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field

from workbench.rules import roles as matrix
from workbench.rules.account import FILE as ACCOUNTS
from workbench.rules.account import ServiceAccount
from workbench.rules.assertion import APPROVAL, CONSOLE, Assertion, Credential, verify_press
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Name, Said, digest, read_time
from workbench.rules.policy import (
    Limits,
    Manifest,
    Person,
    PolicySet,
    Signature,
    verify_signature,
    verify_succession,
)
from workbench.rules.roles import Permission
from workbench.rules.trust import TrustRoot

VETO_LINE = "oms-veto/v1"
PATHS = ("login", "approval")
SPEAKING = frozenset({Permission.APPROVE, Permission.ADMINISTER})
"""Whoever holds one of these must not fall silent with one lost authenticator."""
PEOPLE, KEYS = "people.json", "keys.json"
SHOWN = 12


class Event(StrEnum):
    """What can happen to a policy set; the values are the types of ledger entries."""

    ADOPTED = "policy.adopted"
    PROPOSED = "policy.proposed"
    SIGNED = "policy.signed"
    VETOED = "policy.vetoed"
    ACTIVATED = "policy.activated"
    VOIDED = "policy.voided"


class PersonChange(Document):
    """What the next set does to one person; `described` is another name, team or site."""

    person: Name
    kind: Literal["joins", "leaves", "changes"]
    roles_gained: list[Name]
    roles_lost: list[Name]
    credentials_added: list[Credential]
    credentials_removed: list[Credential]
    described: bool

    @property
    def only_loses(self) -> bool:
        """Whether nothing is given to this person, nor said differently of him."""
        return not (self.kind == "joins" or self.roles_gained or self.credentials_added or self.described)


class AccountChange(Document):
    """What the next set does to one service account: as it is before and after, absent where it is not."""

    before: ServiceAccount | None = None
    after: ServiceAccount | None = None

    @property
    def only_loses(self) -> bool:
        """Whether the account is gone; whatever else differs is for people to look at first."""
        return self.after is None


class Change(Document):
    """What the next set does; `altered` is what differs beside people, accounts and compromised keys."""

    people: list[PersonChange]
    accounts: list[AccountChange]
    compromised: list[Name] = Field(default_factory=list)
    altered: list[str]

    @property
    def only_takes_away(self) -> bool:
        """(2) Whether somebody loses something and nothing else happens."""
        told: list[PersonChange | AccountChange] = [*self.people, *self.accounts]
        something = bool(told or self.compromised)
        return something and not self.altered and all(each.only_loses for each in told)

    def delay(self, limits: Limits) -> timedelta:
        """(2) Return how long this lies open under the limits of the set in force."""
        return timedelta(seconds=0 if self.only_takes_away else limits.change_delay_s_min)


def revocation_epoch(sets: Sequence[PolicySet]) -> int:
    """Return the version of the newest set that only takes away; 0 where none does."""
    taking = [new.manifest.version for old, new in pairwise(sets) if between(old, new).only_takes_away]
    return max(taking, default=0)


class NextSet(Document):
    """What is proposed: a set without signatures."""

    manifest: Manifest
    files: dict[str, str]

    def set(self) -> PolicySet:
        """Return it as a set that nobody has signed."""
        return PolicySet.load({**self.dump(), "signatures": []})


class Veto(Document):
    """What the assertion of a veto signs."""

    v: Literal[1]
    policy: Digest
    person: Name
    reason: Said

    @property
    def challenge(self) -> bytes:
        """What the assertion signs."""
        return digest(VETO_LINE, self.canonical())


class SignedVeto(Document):
    """A veto and the assertion over it."""

    veto: Veto
    assertion: Assertion


def between(current: PolicySet, following: PolicySet) -> Change:
    """Return what the next set changes."""
    before, after = current.people, following.people
    compared = [_person(before.get(name), after.get(name)) for name in sorted({*before, *after})]
    people = [each for each in compared if each is not None]
    accounts = _accounts(current.service_accounts, following.service_accounts)
    # the same people or accounts in other bytes: nobody can say what that is for
    compromised = _compromised(current, following)
    said = ((PEOPLE, people), (ACCOUNTS, accounts), (KEYS, compromised))
    told = {name for name, found in said if found}
    altered = [
        name
        for name in sorted(following.files)
        if name not in told and following.files[name] != current.files[name]
    ]
    if following.manifest.name != current.manifest.name:
        altered.append("name")
    return Change(people=people, accounts=accounts, compromised=compromised, altered=altered)


def verify_change(current: PolicySet, following: PolicySet, *, proposed_at: datetime) -> Change:
    """Verify (1) (2) (3) of a next set that was proposed then; return what it changes."""
    verify_succession(following, current)  # (1)
    change = between(current, following)
    if not (change.people or change.accounts or change.compromised or change.altered):
        raise RefusedError(Refusal.POLICY_INVALID, "this set changes nothing")
    delay = change.delay(current.limits)
    # (2) what only takes away has no delay: its time may be over before the last signature is there
    if delay and read_time(following.manifest.activates_at) < proposed_at + delay:
        raise RefusedError(
            Refusal.CHANGE_DELAY,
            f"activates at {following.manifest.activates_at}, less than {delay} after it was proposed",
            path="/manifest/activates_at",
        )
    if not change.only_takes_away:
        _equipped(following)
    return change


def verify_officer(
    following: PolicySet, signature: Signature, *, current: PolicySet, trust_root: TrustRoot
) -> str:
    """Verify a signature that counts for the set in force or for the next one; return where it was made."""
    judges = [current, following]
    if signature.person not in current.people:
        judges.reverse()
    try:
        return verify_signature(signature, following.challenge, judge=judges[0], trust_root=trust_root)
    except RefusedError as first:
        try:
            return verify_signature(signature, following.challenge, judge=judges[1], trust_root=trust_root)
        except RefusedError:
            raise first from None


def verify_veto(
    signed: SignedVeto, *, following: PolicySet, sets: Sequence[PolicySet], trust_root: TrustRoot
) -> None:
    """(4) Verify that somebody entitled to vetoes this next set.

    Args:
        signed: the veto and its assertion.
        following: the next set.
        sets: the chain up to the set in force.
        trust_root: which authenticators and which approval party count.

    """
    veto, change = signed.veto, between(sets[-1], following)
    if veto.policy != following.digest:
        raise RefusedError(Refusal.ASSERTION_OTHER, "the veto is about another set", path="/veto/policy")
    if change.only_takes_away:
        raise RefusedError(Refusal.CHANGE_NO_VETO, "this set only takes away")
    verify_press(
        signed.assertion,
        own_word(veto.person, change, sets),
        person=veto.person,
        challenge=veto.challenge,
        trust_root=trust_root,
    )


def words(change: Change) -> list[str]:
    """Say in words what changes, one fact a line: people first, then accounts."""
    said = [line for each in change.people for line in _about(each)]
    said += [line for each in change.accounts for line in _about_account(each)]
    said += [f"the key {name} is compromised, for good: it only gives to ours" for name in change.compromised]
    return said + [f"{name} is altered" for name in change.altered]


def own_word(person_id: str, change: Change, sets: Sequence[PolicySet]) -> list[Credential]:
    """(4) Return the credentials that a person entitled to a veto may use, or refuse him."""
    current = sets[-1]
    held = current.people.get(person_id)
    own = _deciding(held)
    gets = any(each.person == person_id and each.credentials_added for each in change.people)
    if gets and not own:
        # taken away first, given to somebody else then: his last own word still counts
        own = next((found for each in reversed(sets) if (found := _deciding(each.people.get(person_id)))), [])
    if not (gets and own) and (held is None or current.limits.policy_quorum_role not in held.roles):
        raise RefusedError(
            Refusal.CHANGE_NO_VETO, f"{person_id} gets no credential and is not {_role(current)}"
        )
    return own


def _role(policy: PolicySet) -> str:
    return policy.limits.policy_quorum_role


def _deciding(person: Person | None) -> list[Credential]:
    return [each for each in person.credentials if each.path in {APPROVAL, CONSOLE}] if person else []


def _equipped(policy: PolicySet) -> None:
    # (3)
    least = policy.limits.credentials_min
    for person in policy.people.values():
        if not SPEAKING & matrix.held(policy.roles, person.roles):
            continue
        for path in PATHS:
            found = sum(credential.path == path for credential in person.credentials)
            if found < least:
                raise RefusedError(
                    Refusal.CREDENTIALS_FEW,
                    f"{person.id} has {found} credentials for {path}, at least {least}",
                    path=f"/files/{PEOPLE}",
                )


def _person(before: Person | None, after: Person | None) -> PersonChange | None:
    known = after or before
    if known is None or before == after:
        return None
    old, new = _all(before), _all(after)
    roles = [set(each.roles) if each else set() for each in (before, after)]
    change = PersonChange(
        person=known.id,
        kind="joins" if before is None else "leaves" if after is None else "changes",
        roles_gained=sorted(roles[1] - roles[0]),
        roles_lost=sorted(roles[0] - roles[1]),
        credentials_added=[each for each in new if each not in old],
        credentials_removed=[each for each in old if each not in new],
        described=before is not None and after is not None and _described(before) != _described(after),
    )
    lists = (change.roles_gained, change.roles_lost, change.credentials_added, change.credentials_removed)
    # the same in another order is the same
    return change if change.kind != "changes" or change.described or any(lists) else None


def _accounts(
    before: Mapping[str, ServiceAccount], after: Mapping[str, ServiceAccount]
) -> list[AccountChange]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        # the same keys in another order are the same
        if old is None or new is None or _said_of(old) != _said_of(new):
            sides = {side: each for side, each in (("before", old), ("after", new)) if each is not None}
            found.append(AccountChange(**sides))
    return found


def _compromised(current: PolicySet, following: PolicySet) -> list[str]:
    """Return the keys that are called compromised now, where nothing else of any key is said differently."""
    before, after = (each.keys for each in (current, following))
    marked = [name for name, key in after.items() if key.compromised and name in before]
    new = [name for name in marked if not before[name].compromised]
    as_it_was = {
        name: key.model_copy(update={"compromised": False}) if name in new else key
        for name, key in after.items()
    }
    same = {name: key.model_dump() for name, key in as_it_was.items()} == {
        name: key.model_dump() for name, key in before.items()
    }
    return new if same else []


def _said_of(account: ServiceAccount) -> dict[str, str]:
    """Return each thing that can be said of an account, in words."""
    return {
        "is": account.purpose,
        "is answered for by": account.owner,
        "may propose for": ", ".join(sorted(account.keys)),
        "may propose so often a minute:": str(account.proposals_per_minute),
        "connects with the certificate": account.certificate,
        "signs with the key": account.public_key,
        "expires at": account.expires_at,
    }


def _about_account(change: AccountChange) -> Iterable[str]:
    known = change.after or change.before
    if known is None:
        return
    who = f"the service account {known.id}"
    if change.after is None:
        yield f"{who} leaves"
        return
    before = _said_of(change.before) if change.before else {}
    if not before:
        yield f"{who} joins"
    for what, says in _said_of(change.after).items():
        if before.get(what) != says:
            yield f"{who} {what} {says}" + (f", before: {before[what]}" if before else "")


def _all(person: Person | None) -> list[Credential]:
    return list(person.credentials) if person else []


def _described(person: Person) -> tuple[str, str, str]:
    return person.name, person.team, person.site


def _about(change: PersonChange) -> Iterable[str]:
    who = change.person
    if change.kind != "changes":
        yield f"{who} {change.kind}"
    yield from (f"{who} gains the role {role}" for role in change.roles_gained)
    yield from (f"{who} loses the role {role}" for role in change.roles_lost)
    yield from (f"{who} gains {_named(each)}" for each in change.credentials_added)
    yield from (f"{who} loses {_named(each)}" for each in change.credentials_removed)
    if change.described:
        yield f"{who} has another name, team or site"


def _named(credential: Credential) -> str:
    return f"a credential for {credential.path}: {credential.id[:SHOWN]}, model {credential.aaguid}"
