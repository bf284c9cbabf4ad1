"""Enrolment: who is to register a key, for which path, and what came of it.

Somebody who may propose policy sets asks for a key of a person's to be registered; a ticket opens the
registration to whoever brings it, so that it serves a newcomer, too, who has no session. What is made
there is recorded and means nothing: only a policy set makes it a credential, with its delay and its
veto, and a set can give a person only what was registered for that person and that path.

(1) A registration request is claims until `verify` has seen that its policy sets descend from the
    trust root. Who asks is the service's word.
(2) A set that adds a credential adds one that was registered, to the last byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ledger.encoding import canonical
from workbench.rules.assertion import Credential
from workbench.rules.change import PEOPLE, Change
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    DOCUMENT_MAX,
    Base64Url,
    Digest,
    Document,
    Name,
    Said,
    Time,
    Whole,
    read_json,
)
from workbench.rules.policy import SETS_MAX, Person, PolicySet, next_set, verify_chain
from workbench.rules.trust import RelyingParty, TrustRoot

REGISTERED = "credential.registered"
"""The type of the ledger's entry."""
CredentialPath = Literal["login", "approval", "console"]
ANSWER_MAX = 16 * 1024


class MetadataEdition(Document):
    """Which edition of the vendors' metadata a registration was judged by."""

    number: Whole
    sha256: Digest


class Registered(Document):
    """A credential for people.json, and the edition that vouches for its model; a demo's has none."""

    v: Literal[1]
    credential: Credential
    metadata: MetadataEdition | None


class Newcomer(Document):
    """What a policy set says of a person beside name and keys."""

    name: Said
    roles: Annotated[list[Name], Field(min_length=1, max_length=8)]
    team: Name
    site: Name


class BrowserResponse(Document):
    """What the browser says beside the key's name."""

    clientDataJSON: Annotated[Base64Url, Field(max_length=ANSWER_MAX)]  # noqa: N815 - WebAuthn's
    attestationObject: Annotated[Base64Url, Field(max_length=ANSWER_MAX)]  # noqa: N815 - WebAuthn's


class BrowserAnswer(Document):
    """An authenticator's answer to a registration, as `PublicKeyCredential.toJSON` has it, without hints."""

    id: Base64Url
    rawId: Base64Url  # noqa: N815 - WebAuthn's
    type: Literal["public-key"]
    response: BrowserResponse


class Registration(Document):
    """A finished registration on its way to the service: the judgement, and what it was made from."""

    v: Literal[1]
    registered: Registered
    challenge: Base64Url
    answer: BrowserAnswer


class RegistrationRequest(Document):
    """Whose key is to be registered, for which path, and who asks."""

    v: Literal[1]
    person: Name
    path: CredentialPath
    asked_by: Name
    expires_at: Time
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRegistration:
    """A verified request; `person` is None while the policy set does not know anybody of this name."""

    name: str
    person: Person | None
    path: CredentialPath
    asked_by: str
    expires_at: str
    policy: PolicySet

    @property
    def own(self) -> list[Credential]:
        """The person's credentials for this path: one authenticator does not register twice."""
        return [each for each in self.person.credentials if each.path == self.path] if self.person else []

    @property
    def known(self) -> frozenset[str]:
        """The ids of every credential of the set in force."""
        people = self.policy.people.values()
        return frozenset(each.id for person in people for each in person.credentials)


def verify(request: RegistrationRequest, *, trust_root: TrustRoot, now: datetime) -> AskedRegistration:
    """(1) Verify what a request says, or refuse."""
    sets = [PolicySet.load(value, at="/policy_chain") for value in request.policy_chain]
    policy = verify_chain(sets, trust_root=trust_root, now=now)
    return AskedRegistration(
        name=request.person,
        person=policy.people.get(request.person),
        path=request.path,
        asked_by=request.asked_by,
        expires_at=request.expires_at,
        policy=policy,
    )


def party_of(path: CredentialPath, trust_root: TrustRoot) -> RelyingParty:
    """Return where keys for this path are registered, or refuse."""
    parties: Mapping[str, RelyingParty | None] = {
        "login": trust_root.login,
        "approval": trust_root.approval,
        "console": trust_root.console,
    }
    party = parties[path]
    if party is None:
        raise RefusedError(Refusal.TRUST_ROOT, "this trust root has no second path", path="/console")
    return party


def including(
    policy: PolicySet,
    person: str,
    credentials: Sequence[Credential],
    *,
    newcomer: Newcomer | None = None,
    activates_at: datetime,
) -> PolicySet:
    """Return the unsigned next set in which a person has these credentials, too.

    Args:
        policy: the set in force.
        person: who gets them.
        credentials: as they were registered.
        newcomer: what is said of somebody whom the set does not know; else None.
        activates_at: not before it has lain open long enough.

    """
    listed = read_json(policy.files[PEOPLE], limit=DOCUMENT_MAX)
    if (newcomer is None) != (person in policy.people):
        raise RefusedError(Refusal.PERSON_UNKNOWN, f"{person} is a newcomer, or is none")
    if newcomer is not None:
        listed.append({"id": person, **newcomer.dump(), "credentials": []})
    for each in listed:
        if each["id"] == person:
            each["credentials"] += [made.dump() for made in credentials]
    people = canonical(listed, limit=DOCUMENT_MAX)
    return next_set(policy, {PEOPLE: people}, activates_at=activates_at)


def check_added(change: Change, registered: Mapping[str, Iterable[Credential]]) -> None:
    """(2) Refuse a set that gives somebody what was never registered for him."""
    for person, credential in _added(change):
        if credential not in registered.get(person, ()):
            raise RefusedError(
                Refusal.REGISTRATION,
                f"{credential.id[:12]} for {credential.path} was never registered for {person}",
                path="/files/people.json",
            )


def _added(change: Change) -> Iterator[tuple[str, Credential]]:
    for each in change.people:
        yield from ((each.person, credential) for credential in each.credentials_added)
