"""What an officer is asked about a next policy set, and the word that his key press signs.

A change request is what the service brings before a person: the sets so far, the next one, who
proposed it and when, who has signed. It is claims until `verify` has seen it under a pinned trust
root. (1) the sets descend from the trust root; (2) the next one follows them and keeps its delay;
(3) its rules can be read; (4) the signatures that are shown as given were given. Who proposed it
and when is the service's word, and shown as that.

A word is a signature or a veto. Like a decision it is made here, never by the service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from workbench.rules import cedar
from workbench.rules.assertion import Assertion
from workbench.rules.change import (
    Change,
    NextSet,
    SignedVeto,
    Veto,
    own_word,
    verify_change,
    verify_officer,
    verify_veto,
)
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.difference import Difference, differences
from workbench.rules.documents import Document, Name, Time, read_time
from workbench.rules.policy import (
    SETS_MAX,
    SIGNATURES_MAX,
    Person,
    PolicySet,
    Signature,
    verify_chain,
    verify_history,
)
from workbench.rules.session import REQUEST_SKEW_S
from workbench.rules.trust import TrustRoot

WordVerb = Literal["sign", "veto"]


class ChangeRequest(Document):
    """One person, one next set, and everything that there is to see before signing it."""

    v: Literal[1]
    person: Name
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]
    following: NextSet
    proposer: Name
    proposed_at: Time
    signatures: Annotated[list[Signature], Field(max_length=SIGNATURES_MAX)]


class Word(Document):
    """A signature or a veto, on its way to the service."""

    v: Literal[1]
    signature: Signature | None = None
    veto: SignedVeto | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.signature is None) == (self.veto is None):
            raise ValueError("a word is a signature or a veto")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedChange:
    """A verified request: what is shown, and what a word will be about."""

    person: Person
    sets: Sequence[PolicySet]
    following: PolicySet
    change: Change
    differences: Mapping[str, Sequence[Difference]]
    proposer: str
    proposed_at: datetime
    signed: Mapping[str, str]
    """Who has signed, and by which path."""
    verbs: Sequence[WordVerb]

    @property
    def policy(self) -> PolicySet:
        """The set in force."""
        return self.sets[-1]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word without its key press: a veto, or else a signature."""

    veto: Veto | None
    challenge: bytes


def verify(request: ChangeRequest, *, trust_root: TrustRoot, now: datetime) -> AskedChange:
    """Verify everything that a request says, or refuse with the reason of the first part that fails."""
    sets = [PolicySet.load(value, at="/policy_chain") for value in request.policy_chain]
    policy = verify_chain(sets, trust_root=trust_root, now=now)  # (1)
    following, proposed_at = request.following.set(), read_time(request.proposed_at)
    if proposed_at > now + timedelta(seconds=REQUEST_SKEW_S):
        raise RefusedError(Refusal.CHANGE_DELAY, f"proposed at {request.proposed_at}", path="/proposed_at")
    change = verify_change(policy, following, proposed_at=proposed_at)  # (2)
    cedar.check(following)  # (3)
    verify_history(following, before=sets)
    signed = {
        each.person: verify_officer(following, each, current=policy, trust_root=trust_root)  # (4)
        for each in request.signatures
    }
    person = policy.people.get(request.person) or following.person(request.person)
    names = sorted(name for name, raw in following.files.items() if policy.files[name] != raw)
    return AskedChange(
        person=person,
        sets=sets,
        following=following,
        change=change,
        differences={name: differences(name, policy.files[name], following.files[name]) for name in names},
        proposer=request.proposer,
        proposed_at=proposed_at,
        signed=signed,
        verbs=_verbs(person.id, sets, following, change),
    )


def say(asked: AskedChange, *, verb: WordVerb, reason: str) -> Spoken:
    """Return what the person of a verified request would say, or refuse."""
    if verb not in asked.verbs:
        raise RefusedError(
            Refusal.CHANGE_NO_VETO if verb == "veto" else Refusal.ROLE_NOT_HELD,
            f"{asked.person.id} may not {verb} this set",
            path="/verb",
        )
    if verb == "sign":
        return Spoken(None, asked.following.challenge)
    if not reason.strip():
        raise RefusedError(Refusal.MALFORMED, "who does not agree says why", path="/reason")
    veto = Veto.load({"v": 1, "policy": asked.following.digest, "person": asked.person.id, "reason": reason})
    return Spoken(veto, veto.challenge)


def spoken(asked: AskedChange, said: Spoken, assertion: Assertion, *, trust_root: TrustRoot) -> Word:
    """Return a word with its key press, verified as the service will verify it."""
    if said.veto is not None:
        signed = SignedVeto(veto=said.veto, assertion=assertion)
        verify_veto(signed, following=asked.following, sets=asked.sets, trust_root=trust_root)
        return Word(v=1, veto=signed)
    signature = Signature(person=asked.person.id, assertion=assertion)
    verify_officer(asked.following, signature, current=asked.policy, trust_root=trust_root)
    return Word(v=1, signature=signature)


def _verbs(person: str, sets: Sequence[PolicySet], following: PolicySet, change: Change) -> list[WordVerb]:
    judges = (sets[-1], following)
    officer = any(
        person in judge.people and judge.limits.policy_quorum_role in judge.people[person].roles
        for judge in judges
    )
    found: list[WordVerb] = ["sign"] if officer else []
    if not change.only_takes_away:
        try:
            own_word(person, change, sets)
        except RefusedError:
            return found
        found.append("veto")
    return found
