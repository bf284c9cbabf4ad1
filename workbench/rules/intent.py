"""An intent: what a proposer wants done, to the last byte; its digest names it for ever.

A proposal is an intent and its author's signature, so that anyone can attribute it offline
and the service cannot invent one. The author is
(a) a person's session: the proposal carries the login that certifies it; or
(b) a service account: the proposal carries no session, and the policy set has the key.
`verify_author` alone tells the two apart; the service, the co-signers, the approver and a
receipt's reader call it. Each kind signs under a line of its own, so that a signature of the
one is never the other's. Here stands what can be said of the intent alone and of its author;
whether it may be done is `facts` and the policy set.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workbench.evm.errors import EvmError
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules.account import verify_in_force
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Address,
    Amount,
    Asset,
    Document,
    Hex,
    Hex16,
    Name,
    Said,
    SignedAmount,
    Time,
    Whole,
    digest,
    read_time,
    verify_ed25519,
)
from workbench.rules.fees import Fees
from workbench.rules.keys import executors
from workbench.rules.policy import PolicySet
from workbench.rules.session import CertifiedSession, verify_begun, verify_session
from workbench.rules.trust import TrustRoot

INTENT_LINE = "oms-intent/v1"
ACCOUNT_LINE = "oms-account-intent/v1"
"""What a service account signs; an intent's name is its digest under `INTENT_LINE`, whoever proposes it."""
INTENT_MAX = 32 * 1024
PROPOSING_ROLES = frozenset({"trader", "portfolio_manager"})


class Delta(Document):
    """How much of an asset an account gains (positive: at least) or gives up (negative: exactly)."""

    account: Address
    asset: Asset
    amount: SignedAmount


class Allowance(Document):
    """What a spender may take from the owner after the transaction, to the base unit."""

    owner: Address
    spender: Address
    asset: Address
    amount: Amount


class Programme(Document):
    """The place of this intent in a sequence that was planned as one."""

    id: Hex16
    index: Annotated[int, Field(ge=0, le=255)]
    count: Annotated[int, Field(ge=1, le=256)]


class Intent(Document):
    """FORMATS' intent; `value` in wei, `data` is calldata in hex; fees are caps, in wei a gas."""

    v: Literal[1]
    id: Hex16
    proposer: Name
    key: Name
    chain_id: Whole
    to: Address
    value: Amount
    data: Hex
    gas_max: Whole
    max_fee_per_gas: Whole
    max_priority_fee_per_gas: Whole
    deltas: Annotated[list[Delta], Field(max_length=32)]
    allowances: Annotated[list[Allowance], Field(max_length=32)]
    purpose: Annotated[Said, Field(min_length=1)]
    expires_at: Time
    programme: Programme | None = None

    @property
    def digest(self) -> str:
        """The name of the intent."""
        return digest(INTENT_LINE, self.canonical()).hex()

    @property
    def caps(self) -> Fees:
        """The most that anybody may pay for it."""
        return Fees(
            max_fee_per_gas=self.max_fee_per_gas, max_priority_fee_per_gas=self.max_priority_fee_per_gas
        )

    def transaction(self, nonce: int, fees: Fees) -> UnsignedTransaction:
        """Return the only transaction that carries out this intent under this nonce for these fees."""
        return UnsignedTransaction(
            chain_id=self.chain_id,
            nonce=nonce,
            max_priority_fee_per_gas=fees.max_priority_fee_per_gas,
            max_fee_per_gas=fees.max_fee_per_gas,
            gas=self.gas_max,
            to=self.to,
            value=int(self.value),
            data=bytes.fromhex(self.data),
        )


class Proposal(Document):
    """An intent with its author's signature, and the login behind it where a person proposes."""

    intent: Intent
    signature: Hex
    session: CertifiedSession | None = None

    @model_validator(mode="after")
    def _absent_or_there(self) -> Self:
        # null would be a second spelling of a proposal that has no session
        if self.session is None and "session" in self.model_fields_set:
            raise ValueError("a session is there or absent, not null")
        return self

    @classmethod
    def sized(cls, value: object, *, at: str = "") -> Proposal:
        """Build a proposal, refusing an intent over its own limit."""
        proposal = cls.load(value, at=at)
        size = len(proposal.intent.canonical())
        if size > INTENT_MAX:
            raise RefusedError(
                Refusal.TOO_LARGE, f"an intent of {size} bytes, at most {INTENT_MAX}", path=at + "/intent"
            )
        return proposal


def verify_author(proposal: Proposal, *, policy: PolicySet, trust_root: TrustRoot, now: datetime) -> str:
    """Verify who proposes and that he may, as this set had it at this time; return when his word ends."""
    if proposal.session is None:
        return _verify_account(proposal, policy, now)
    return _verify_person(proposal, proposal.session, policy, trust_root)


def verify_proposal(proposal: Proposal, *, policy: PolicySet, trust_root: TrustRoot, now: datetime) -> None:
    """Verify who proposes, that he may, and that the intent is one this desk can speak of.

    An intent must not outlive the session or account that signed it: otherwise a key that
    leaks after its end could still be used to date proposals back.
    """
    intent = proposal.intent
    ends = verify_author(proposal, policy=policy, trust_root=trust_root, now=now)
    if proposal.session is not None:
        verify_begun(proposal.session.session, now=now)
    _verify_times(intent, policy, ends, now)
    key = policy.key(intent.key)
    if key.id in executors(policy.keys):
        raise RefusedError(
            Refusal.KEY_EXECUTES,
            f"{key.id} only carries out what a Safe's owners sign",
            path="/key",
        )
    if intent.chain_id != trust_root.chain_id:
        raise RefusedError(
            Refusal.CHAIN_OTHER, f"chain {intent.chain_id}, ours is {trust_root.chain_id}", path="/chain_id"
        )
    _verify_assets(intent, policy, key.address)
    verify_moves(intent, policy)
    if intent.gas_max > policy.limits.gas_max or intent.max_fee_per_gas > policy.limits.fee_per_gas_wei_max:
        raise RefusedError(Refusal.OWN_LIMIT, "gas or fee over the limit", path="/gas_max")
    if intent.max_priority_fee_per_gas > intent.max_fee_per_gas:
        raise RefusedError(
            Refusal.MALFORMED, "priority fee over the whole fee", path="/max_priority_fee_per_gas"
        )
    try:
        intent.transaction(0, intent.caps)
    except EvmError as error:
        # no gas, or more wei than there can be: nobody should be asked to approve it
        raise RefusedError(Refusal.MALFORMED, f"no transaction carries this out: {error}") from error


def _verify_person(
    proposal: Proposal, certified: CertifiedSession, policy: PolicySet, trust_root: TrustRoot
) -> str:
    """Verify (a): a person's login, his session's signature, and that he proposes in his own name."""
    intent, session = proposal.intent, certified.session
    person = verify_session(certified, policy=policy, trust_root=trust_root)
    verify_ed25519(session.public_key, proposal.signature, INTENT_LINE, intent.canonical(), what="intent")
    if intent.proposer != person.id:
        raise RefusedError(
            Refusal.SESSION_FOREIGN, f"{person.id} proposes as {intent.proposer}", path="/proposer"
        )
    if not PROPOSING_ROLES & set(session.roles):
        raise RefusedError(
            Refusal.NOT_PERMITTED_TO_PROPOSE, f"{person.id} holds {session.roles}", path="/proposer"
        )
    return session.expires_at


def _verify_account(proposal: Proposal, policy: PolicySet, now: datetime) -> str:
    """Verify (b): that an account of the set, in its time, signs for a key that it may propose for."""
    intent = proposal.intent
    account = policy.account(intent.proposer)
    verify_in_force(account, now=now)
    raw = intent.canonical()
    verify_ed25519(account.public_key, proposal.signature, ACCOUNT_LINE, raw, what="intent")
    if intent.key not in account.keys:
        raise RefusedError(
            Refusal.KEY_NOT_ALLOWED, f"{account.id} may propose for {', '.join(account.keys)}", path="/key"
        )
    return account.expires_at


def outflows(intent: Intent) -> list[tuple[str, str]]:
    """Return what a reservation sets aside: (asset, amount) of everything that leaves."""
    return [(delta.asset, delta.amount[1:]) for delta in intent.deltas if delta.amount.startswith("-")]


def _verify_times(intent: Intent, policy: PolicySet, ends: str, now: datetime) -> None:
    expires = read_time(intent.expires_at)
    if expires <= now:
        raise RefusedError(Refusal.EXPIRED, f"expired at {intent.expires_at}", path="/expires_at")
    if expires > now + timedelta(seconds=policy.limits.intent_life_s_max):
        raise RefusedError(Refusal.EXPIRED, f"lives until {intent.expires_at}, too long", path="/expires_at")
    if expires > read_time(ends):
        raise RefusedError(Refusal.EXPIRED, f"outlives whoever signed it ({ends})", path="/expires_at")


def verify_moves(intent: Intent, policy: PolicySet) -> None:
    """Refuse what a compromised key may not do any more: all but giving what it has to sound keys of ours.

    What is declared is what must be simulated, exactly; so what it gives up, others of ours gain.
    """
    if not policy.key(intent.key).compromised:
        return
    sound = {key.address for key in policy.keys.values() if not key.compromised}
    net: Counter[str] = Counter()
    for delta in intent.deltas:
        if int(delta.amount) < 0 or delta.account in sound:
            net[delta.asset] += int(delta.amount)
    gives = any(int(delta.amount) < 0 for delta in intent.deltas)
    allows = any(int(allowance.amount) for allowance in intent.allowances)
    if allows or not gives or any(net.values()):
        raise RefusedError(
            Refusal.KEY_COMPROMISED,
            f"{intent.key} is compromised: all it may do is give to keys of ours that are not",
            path="/key",
        )


def _verify_assets(intent: Intent, policy: PolicySet, owner: str) -> None:
    others = {key.address for key in policy.keys.values()}
    for index, delta in enumerate(intent.deltas):
        if delta.asset not in policy.assets:
            raise RefusedError(
                Refusal.ASSET_UNKNOWN, f"no asset {delta.asset}", path=f"/deltas/{index}/asset"
            )
        # another key of ours may gain: what it gives up is its own to declare
        gains = delta.account in others and not delta.amount.startswith("-")
        if (delta.account != owner and not gains) or delta.amount == "0":
            raise RefusedError(
                Refusal.MALFORMED, "a delta of another account, or of nothing", path=f"/deltas/{index}"
            )
    for index, allowance in enumerate(intent.allowances):
        if allowance.asset not in policy.assets:
            raise RefusedError(
                Refusal.ASSET_UNKNOWN, f"no asset {allowance.asset}", path=f"/allowances/{index}/asset"
            )
        if allowance.owner != owner:
            raise RefusedError(
                Refusal.MALFORMED, "an allowance of another owner", path=f"/allowances/{index}/owner"
            )
    named = [(delta.account, delta.asset) for delta in intent.deltas]
    pairs = [(allowance.asset, allowance.spender) for allowance in intent.allowances]
    if len(set(named)) != len(named) or len(set(pairs)) != len(pairs):
        raise RefusedError(Refusal.MALFORMED, "the same asset or allowance declared twice", path="/deltas")
