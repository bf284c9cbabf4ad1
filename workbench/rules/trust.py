"""The trust root: what a process believes before it has heard anything.

It is distributed by hand, read once at start and never changed; its digest stands in
the ledger's genesis. It says whose checkpoints, co-signers and observers count, which
origins a person signs at, which authenticators are admitted, and which policy set is
the first. A production root that admits what belongs to the demo world, or that can be
satisfied by one observer, one node or no watcher, cannot be built.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ledger.trust import TrustRoot as LedgerTrustRoot
from workbench.rules.documents import Digest, Document, Hex, Hex16, Name, Whole
from workbench.rules.events import EXTERNAL

UNSAFE_AAGUID = "756e73616665536f6674776172654b79"
"""The demo world's software authenticator ("unsafeSoftwareKy"): a key that any process can press."""
VIRTUAL_AAGUID = "01020304050607080102030405060708"
"""A browser's virtual authenticator: a key that whoever holds the browser's debugging port can press."""

WITNESS_LIARS = 2
"""Two quorums must share a witness even when this many lie."""
Address20 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$")]


class RelyingParty(Document):
    """One WebAuthn relying party: its id and the only origin that may ask for it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    origin: Origin


class Redaction(Document):
    """Who may have private payloads taken away, of which types, after how many days (`ledger.redaction`)."""

    keys: dict[Name, Digest]
    quorum: Whole
    types: dict[str, Whole]


class Anchoring(Document):
    """Where the ledger's roots are anchored, and by whom (`ledger.anchor`)."""

    chain_id: Whole
    contract: Address20
    sender: Address20


class Authority(Document):
    """A time-stamp authority that auditors believe: its roots and its policy (`ledger.timestamp`)."""

    roots: list[Hex]
    policy: str | None = None


class TrustRoot(Document):
    """The fields of FORMATS' trust root; keys are Ed25519 public keys in hex."""

    v: Literal[1]
    profile: Literal["demo", "production"]
    ledger_id: Hex16
    chain_id: Whole
    origin: Annotated[str, Field(min_length=1, max_length=255)]
    checkpoint_keys: dict[Name, Digest]
    witnesses: dict[Name, Digest]
    witness_quorum: Whole
    cosigners: dict[Name, Digest]
    observers: dict[Name, Digest]
    observer_quorum: Whole
    node_quorum: Whole
    watcher: Digest | None
    login: RelyingParty
    approval: RelyingParty
    aaguids: list[Hex16]
    genesis_policy: Digest
    redaction: Redaction | None = None
    anchor: Anchoring | None = None
    timestamp: dict[Name, Authority] | None = None
    console: RelyingParty | None = None

    @model_validator(mode="after")
    def _believable(self) -> Self:
        # Co-signers and the watcher cosign checkpoints under their own names; nobody else shares a key.
        own = {**self.cosigners, **({"watcher": self.watcher} if self.watcher else {})}
        witnesses = {name: key for name, key in self.witnesses.items() if own.get(name) != key}
        keys = [*self.checkpoint_keys.values(), *witnesses.values(), *self.cosigners.values()]
        keys += [*self.observers.values(), *([self.watcher] if self.watcher else [])]
        # Two names over one key would let one process count twice.
        if len(set(keys)) != len(keys):
            raise ValueError("two names share a key")
        if not self.checkpoint_keys or not self.cosigners or not self.aaguids:
            raise ValueError("a trust root without checkpoint key, co-signer or authenticator trusts nothing")
        if not 1 <= self.observer_quorum <= len(self.observers) or self.node_quorum < 1:
            raise ValueError(f"observer quorum {self.observer_quorum} of {len(self.observers)}")
        if self.witness_quorum > len(self.witnesses):
            raise ValueError(f"witness quorum {self.witness_quorum} of {len(self.witnesses)}")
        # One RP id for two would let a login assertion serve as an approval, or a page as the second path.
        parties = [self.login, self.approval, *([self.console] if self.console else [])]
        if len({each.id for each in parties}) + len({each.origin for each in parties}) != 2 * len(parties):
            raise ValueError("login, approval and console share an RP id or an origin")
        # What the desk itself records is evidence, also of a kind that nobody has thought of yet.
        if self.redaction and not all(kind.startswith(EXTERNAL) for kind in self.redaction.types):
            raise ValueError("only external events are redactable: everything else is evidence")
        # What the ledger could not read would only be found out when a checkpoint is verified.
        LedgerTrustRoot.of(self.dump())
        if self.profile == "production":
            self._production()
        return self

    def _production(self) -> None:
        if {UNSAFE_AAGUID, VIRTUAL_AAGUID} & set(self.aaguids):
            raise ValueError("a production trust root admits no software authenticator")
        if self.observer_quorum < 2 or self.node_quorum < 2:  # noqa: PLR2004 - one liar must not suffice
            raise ValueError("production demands two observers and two nodes")
        if self.watcher is None or 2 * self.witness_quorum - len(self.witnesses) <= WITNESS_LIARS:
            raise ValueError("production demands a watcher, and witness quorums that share an honest one")
        if not (self.login.origin.startswith("https://") and self.approval.origin.startswith("https://")):
            raise ValueError("production demands TLS origins")

    @property
    def digest(self) -> str:
        """The digest that the ledger's genesis holds."""
        return hashlib.sha256(self.canonical()).hexdigest()
