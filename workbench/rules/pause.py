"""Pauses: who may order one, who may end one, and what is remembered of both.

(1) A pause is ordered by one person: whoever is permitted to, in a session of his own, about now. It must be
    cheap, since minutes count; it moves nothing, and whoever abuses it stands in the ledger with his name.
(2) A scope is everything, one key, or one contract. A contract is paused also for who only mentions it: its
    twenty bytes anywhere in an intent's data are enough. One that is reached through another contract alone
    is not seen here; the one that leads there has to be paused.
(3) A pause ends by a release, which officers sign as they sign policy sets: the same quorum, by key press,
    and one of them by the second path. It names up to which epoch it ends pauses, so that it cannot end one
    that is ordered later, and it is dated: consent without an end is consent to whatever happens then.
(4) Each order and each release counts the epoch up. What is remembered of them (`Orders`) never goes back:
    not the epochs, and no scope leaves but by a release. So who only hands out leases can pause, not release.

Pure. The watcher counts; each co-signer keeps its own `Orders` and believes its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Address,
    Digest,
    Document,
    Hex,
    Hex16,
    Name,
    Said,
    Time,
    Whole,
    digest,
    read_time,
    verify_ed25519,
)
from workbench.rules.intent import Intent
from workbench.rules.policy import (
    SIGNATURES_MAX,
    PolicySet,
    Signature,
)
from workbench.rules.roles import Permission
from workbench.rules.roles import require as require_permission
from workbench.rules.session import REQUEST_SKEW_S, CertifiedSession, verify_begun, verify_session
from workbench.rules.trust import TrustRoot

PAUSE_LINE = "oms-pause/v1"
RELEASE_LINE = "oms-release/v1"
ORDERED_MAX = 99_999_999
"""As many as the watcher counts with file names of one length."""
SCOPES_MAX = 256
"""Who could fill the list could keep the next pause out: at the limit everything is paused instead."""
EVERYTHING = "all"
KEY, CONTRACT = "key:", "contract:"


class _Named(Document):
    key: Name | None = None
    contract: Address | None = None


def _scope(value: str) -> str:
    if value.startswith(KEY):
        _Named(key=value.removeprefix(KEY))
    elif value.startswith(CONTRACT):
        _Named(contract=value.removeprefix(CONTRACT))
    elif value != EVERYTHING:
        raise ValueError(f"not {EVERYTHING}, {KEY}NAME or {CONTRACT}ADDRESS")
    return value


Scope = Annotated[str, Field(max_length=80), AfterValidator(_scope)]


class Pause(Document):
    """What a person orders, signed with the key of the session."""

    v: Literal[1]
    scope: Scope
    person: Name
    reason: Annotated[Said, Field(min_length=1)]
    at: Time
    nonce: Hex16

    @property
    def digest(self) -> str:
        """The name of the order."""
        return digest(PAUSE_LINE, self.canonical()).hex()


class SignedPause(Document):
    """An order, the session key's signature, and the login that certifies that key."""

    pause: Pause
    signature: Annotated[Hex, Field(max_length=128)]
    session: CertifiedSession


class Release(Document):
    """What officers sign: these scopes, as far as they were paused up to this epoch, are free again."""

    v: Literal[1]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=SCOPES_MAX)]
    pause_epoch: Whole
    policy: Digest
    reason: Annotated[Said, Field(min_length=1)]
    nonce: Hex16
    expires_at: Time

    @property
    def challenge(self) -> bytes:
        """What the officers' assertions sign; in hex it names the release."""
        return digest(RELEASE_LINE, self.canonical())


class SignedRelease(Document):
    """A release and its officers' signatures."""

    release: Release
    signatures: Annotated[list[Signature], Field(max_length=SIGNATURES_MAX)]


class Orders(Document):
    """What is remembered: the highest epochs and policy version that were heard of, and what is paused.

    `paused` says of each scope at which epoch it was ordered last.
    """

    v: Literal[1]
    policy_version: Whole
    revocation_epoch: Whole
    pause_epoch: Whole
    paused: Annotated[dict[Scope, Whole], Field(max_length=SCOPES_MAX)]

    @model_validator(mode="after")
    def _within(self) -> Self:
        if any(epoch > self.pause_epoch for epoch in self.paused.values()):
            raise ValueError("a scope is paused at an epoch that is not reached")
        return self

    def ordered(self, scope: Scope) -> Orders:
        """(4) Return this after another order."""
        epoch = self.pause_epoch + 1
        # fail closed: a list that is full must not keep a pause out
        full = len(self.paused) >= SCOPES_MAX and scope not in self.paused
        return self._with(pause_epoch=epoch, paused={**self.paused, EVERYTHING if full else scope: epoch})

    def heard(
        self, *, policy_version: int, revocation_epoch: int, pause_epoch: int, paused: Mapping[Scope, int]
    ) -> Orders:
        """(4) Return this with what somebody else remembers: the later of both, and no scope less."""
        both = {
            scope: max(self.paused.get(scope, 0), paused.get(scope, 0)) for scope in {*self.paused, *paused}
        }
        reached = max(self.pause_epoch, pause_epoch)
        if len(both) > SCOPES_MAX:
            both = {EVERYTHING: reached}
        return self._with(
            policy_version=max(self.policy_version, policy_version),
            revocation_epoch=max(self.revocation_epoch, revocation_epoch),
            pause_epoch=reached,
            paused=both,
        )

    def released(self, release: Release) -> Orders:
        """(3) Return this after a release that was verified."""
        kept = {
            scope: epoch
            for scope, epoch in self.paused.items()
            if scope not in release.scopes or epoch > release.pause_epoch
        }
        # a lease from before the release must count as behind, or it would pause again what is free
        return self._with(pause_epoch=max(self.pause_epoch, release.pause_epoch + 1), paused=kept)

    def verify_free(self, intent: Intent) -> None:
        """(2) Refuse an intent that a pause covers."""
        stopped = sorted(scope for scope in self.paused if covers(scope, intent))
        if stopped:
            raise RefusedError(Refusal.PAUSED, f"paused since epoch {self.paused[stopped[0]]}: {stopped[0]}")

    def _with(self, **changes: object) -> Orders:
        return Orders.load(self.dump() | changes)


class Ordered(Document):
    """What counted the epoch up to this one: an order, or a release; `at` is when the watcher took it."""

    v: Literal[1]
    epoch: Annotated[Whole, Field(ge=1, le=ORDERED_MAX)]
    at: Time
    pause: SignedPause | None
    release: SignedRelease | None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.pause is None) == (self.release is None):
            raise ValueError("an order or a release")
        return self

    def after(self, orders: Orders) -> Orders:
        """Return what is remembered once this was taken."""
        if self.pause is not None:
            return orders.ordered(self.pause.pause.scope)
        if self.release is None:
            raise ValueError("an order or a release")
        released = orders.released(self.release.release)
        return Orders.load(released.dump() | {"pause_epoch": self.epoch})


NOTHING_ORDERED = Orders(v=1, policy_version=0, revocation_epoch=0, pause_epoch=0, paused={})


def covers(scope: Scope, intent: Intent) -> bool:
    """(2) Whether a pause of this scope stops this intent."""
    if scope.startswith(KEY):
        return intent.key == scope.removeprefix(KEY)
    if scope.startswith(CONTRACT):
        address = scope.removeprefix(CONTRACT)
        return address == intent.to or address.removeprefix("0x").lower() in intent.data
    return True


def verify_pause(signed: SignedPause, *, policy: PolicySet, trust_root: TrustRoot, now: datetime) -> None:
    """(1) Verify that somebody who may has ordered this, about now."""
    pause, session = signed.pause, signed.session.session
    person = verify_session(signed.session, policy=policy, trust_root=trust_root)
    if person.id != pause.person:
        raise RefusedError(Refusal.SESSION_FOREIGN, f"{person.id} orders in the name of {pause.person}")
    verify_begun(session, now=now)
    if now >= read_time(session.expires_at):
        raise RefusedError(Refusal.SESSION_ENDED, f"the session ended at {session.expires_at}")
    if abs((now - read_time(pause.at)).total_seconds()) > REQUEST_SKEW_S:
        raise RefusedError(Refusal.EXPIRED, f"an order of {pause.at}", path="/at")
    verify_ed25519(session.public_key, signed.signature, PAUSE_LINE, pause.canonical(), what="pause")
    require_permission(policy.roles, session.roles, [Permission.PAUSE], person=person.id)
