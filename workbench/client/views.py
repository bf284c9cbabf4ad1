"""What the service tells of intents, policy sets, sessions and the ledger's head, as documents.

Each is the service's word. What a person relies on is in it as evidence, and is verified where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from ledger.encoding import canonical
from workbench.client.wire import ANSWER_MAX
from workbench.risk.pool import Pool
from workbench.risk.prices import Gates, Price
from workbench.rules.assertion import Credential
from workbench.rules.attestation import OBSERVERS_MAX, Simulation, State, Statement
from workbench.rules.change import Change, SignedVeto, between
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import (
    Digest,
    Document,
    Hex16,
    Name,
    Time,
    Whole,
)
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet
from workbench.rules.price_feed import Told


@dataclass(frozen=True, slots=True)
class SeenPrice:
    """A price that the sources agree on, the statements behind it, and when and by which gates.

    Of several observers it is the first one's; by these gates the others' are no further from it.
    """

    price: Price
    told: Told
    now: datetime
    gates: Gates


class IntentView(Document):
    """An intent as the service sees it: its state, what is outstanding, what was decided."""

    digest: Digest
    state: Name
    intent: Intent
    nonce: Whole | None
    simulations: Annotated[list[Statement], Field(max_length=OBSERVERS_MAX)]
    quotes: list[Statement]
    """What sources said of the pairs that the policy set demands, when it was simulated last."""
    denying: list[str]
    needs: list[str]
    missing: list[str]
    decisions: list[SignedDecision]
    void: dict[Hex16, Name]
    """The decisions that have lost their object (another policy set, another simulation), and why."""
    waits_for_nonces: list[Whole]
    lane: str
    """Why nothing is signed in its lane; empty when something can be."""
    tx_hash: str | None
    outcome: dict[str, Any]
    entry_seq: Whole

    @property
    def simulated(self) -> Simulation:
        """The simulation that decisions are about."""
        if not self.simulations:
            raise LookupError("this intent has not been simulated")
        return Simulation.load(self.simulations[0].document)


class ChangeSummary(Document):
    """A proposed policy set: where it stands, and who has said what of it."""

    digest: Digest
    standing: Name
    version: Whole
    proposer: Name
    proposed_at: Time
    activates_at: Time
    signed_by: list[Name]
    veto: SignedVeto | None


class PolicyChanges(Document):
    """The digests of the sets that are or were in force, and every proposed set, oldest first."""

    in_force: list[Digest]
    changes: list[ChangeSummary]


class ChangeView(ChangeSummary):
    """A proposed set beside its predecessor; `change` is the service's word, `compared` one's own."""

    change: Change
    previous: dict[str, Any]
    following: dict[str, Any]

    def compared(self) -> Change:
        """Return what changes, from the two sets themselves; the digest covers both."""
        previous, following = PolicySet.load(self.previous), PolicySet.load(self.following)
        if (following.digest, following.manifest.previous) != (self.digest, previous.digest):
            raise RefusedError(Refusal.POLICY_CHAIN, f"the service shows other sets than {self.digest[:12]}")
        return between(previous, following)


class RevokedSession(Document):
    """A session that a policy set has ended, and the entry that says so."""

    session: Digest
    person: Name
    seq: Whole
    at: Time


class VoidDecision(Document):
    """A decision on an intent still open that a policy set has made void."""

    intent: Digest
    decision: Hex16
    person: Name
    verb: Name


class Effect(Document):
    """What a policy set has ended: the entry from which on it counts, sessions, whose word is void."""

    digest: Digest
    standing: Name
    since: Whole | None
    at: Time | None
    sessions: list[RevokedSession]
    void: list[VoidDecision]


class Place(Document):
    """Where the ledger keeps an event: its number, its link of the chain, its leaf of the tree."""

    seq: Whole
    h: Digest
    leaf: Digest


class OpenSession(Document):
    """A session that could speak, and when it last did."""

    session: Digest
    issued_at: Time
    expires_at: Time
    last_used: Time


class Access(Document):
    """What a person holds, and when it was used last; `left` is who is in no policy set any more."""

    person: Name
    roles: list[Name]
    permissions: list[Name]
    credentials: Whole
    last_login: Time | None
    stale: bool
    left: bool
    sessions: list[OpenSession]


class Head(Document):
    """The ledger's head and the newest checkpoint."""

    size: Whole
    root: Digest
    h: Digest
    checkpoint: str


class Ticket(Document):
    """Opens one intent or proposed set to one person until then; whoever has it can only read."""

    ticket: Digest
    expires_at: Time


@dataclass(frozen=True, slots=True)
class Exported:
    """A request as a file for another machine, and until when its answer is taken."""

    raw: bytes
    expires_at: str

    @classmethod
    def of(cls, ticket: Ticket, name: str, request: Document) -> Self:
        """Put a request and its ticket together."""
        document = {"v": 1, "ticket": ticket.ticket, name: request.dump()}
        return cls(canonical(document, limit=ANSWER_MAX), ticket.expires_at)


@dataclass(frozen=True, slots=True)
class ProvenPool:
    """A pool as the chain has it, and the attested state under which that is proven."""

    pool: Pool
    state: State


class RegisteredKey(Document):
    """A key that was registered for a person; it counts when a policy set lists it."""

    person: Name
    credential: Credential


class KeyWork(Document):
    """An operation on a key, as the service has it."""

    digest: Digest
    state: Name
    entry_seq: Whole
