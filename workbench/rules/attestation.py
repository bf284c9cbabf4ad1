"""What observers attest: headers with proofs beside them, simulations, and what happened to their nodes.

An observer signs; a statement is believed when as many observers of the trust root as
it demands have signed the same facts, and when it is not older than the policy set
allows. State is not believed from a signature alone: each account is proven against the
attested state root, and the header is hashed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field

from ledger.encoding import canonical
from workbench.evm.call import call_digest
from workbench.evm.errors import EvmError
from workbench.evm.header import Header
from workbench.evm.proof import Account, verify_account
from workbench.evm.safe import OWNERS_MAX
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import (
    Address,
    Amount,
    Asset,
    Digest,
    Document,
    Hex,
    Hex16,
    Name,
    Prose,
    SignedAmount,
    Time,
    Whole,
    digest,
    read_time,
    verify_ed25519,
)
from workbench.rules.intent import Allowance, Delta, Intent
from workbench.rules.items import ItemRights, Items
from workbench.rules.tokens import TokenNames
from workbench.rules.trust import TrustRoot

SIMULATION_LINE = "oms-simulation/v1"
HEADER_LINE = "oms-header/v1"
NODE_LINE = "oms-node/v1"
STATEMENT_MAX = 1024 * 1024
OBSERVERS_MAX = 8
FUTURE_S = 5
"""An attestation may be this far ahead of our clock: two clocks of one host."""


class Statement(Document):
    """A document, the observer that signed it, and the signature."""

    document: dict[str, Any]
    observer: Name
    signature: Hex


Statements = Annotated[list[Statement], Field(min_length=1, max_length=OBSERVERS_MAX)]
"""The same fact as several observers state it."""


class Timed(Document):
    """A document of a moment, as its signer's clock has it."""

    at: Time


T = TypeVar("T", bound=Timed)


class Block(Document):
    """The block that a simulation starts from."""

    number: Whole
    hash: Digest


class AttestedBlock(Block):
    """A block with the roots that proofs are checked against."""

    state_root: Digest
    receipts_root: Digest


class HeaderAttestation(Document):
    """What `oms-header/v1` signs."""

    v: Literal[1]
    chain_id: Whole
    block: AttestedBlock
    at: Time


class NodeEvent(Document):
    """What `oms-node/v1` signs: a node is out or back, or the quorum of an observer's nodes is.

    `number` counts within `run`, a life of the observer's process.
    """

    v: Literal[1]
    run: Hex16
    number: Whole
    kind: Literal["out", "back", "quorum_lost", "quorum_back"]
    node: Annotated[str, Field(max_length=100)]
    detail: Annotated[str, Field(max_length=300, pattern=r"^[ -~]*$")]
    at: Time

    @property
    def name(self) -> str:
        """The name of the event among those of its observer."""
        return f"{self.run}-{self.number}"


class Loss(Document):
    """What slippage costs, in base units of the asset given up."""

    asset: Asset
    amount: SignedAmount


class Step(Document):
    """One transaction of a sequence."""

    intent: Digest | None
    call: Digest
    gas: Whole
    slippage_ppm: int | None
    loss: Loss | None
    reverted: bool


class Run(Document):
    """A sequence simulated as one: each on the state that the one before left."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=64)]
    slippage_ppm: int | None
    loss: Loss | None


class Outcome(Document):
    """What the same transactions do one block later, in blocks that somebody else makes."""

    deltas: Annotated[list[Delta], Field(max_length=256)]
    allowances: Annotated[list[Allowance], Field(max_length=256)]
    items: Items
    rights: ItemRights
    admin_changes: Annotated[list[dict[str, Any]], Field(max_length=256)]
    revert: Prose | None


class Assumed(Document):
    """What was put in place for the run alone: owners' approvals of what a Safe is to do under a nonce."""

    safe: Address
    nonce: Whole
    owners: Annotated[list[Address], Field(min_length=1, max_length=OWNERS_MAX)]


FindingKind = Literal[
    "borrowed_code",
    "code",
    "ended",
    "false_event",
    "held_fast",
    "no_event",
    "reentered",
    "sold_at_a_loss",
    "transfer_fee",
    "unsaleable",
]


class Finding(Document):
    """Something that a contract did in the simulation, or that its gains could not be used for."""

    kind: FindingKind
    contract: Address
    detail: Annotated[str, Field(max_length=300, pattern=r"^[ -~]*$")]


def borrowed(code: str) -> str:
    """Return what is said of a contract that runs another's code as its own, which its caller names."""
    return f"runs code of {code}, which a caller may choose"


class Simulation(Document):
    """What `oms-simulation/v1` signs; slippage in bps and, finer, in parts per million.

    Nothing is `assumed` but where a Safe's transaction ran before its owners had signed it.

    `accounts` are those whose balances and allowances were looked at: what is told of others is not complete.
    `tokens` are what the contracts of these effects say of themselves.
    """

    v: Literal[1]
    intent: Digest | None
    chain_id: Whole
    block: Block
    sender: Address
    call: Digest
    deltas: Annotated[list[Delta], Field(max_length=256)]
    allowances: Annotated[list[Allowance], Field(max_length=256)]
    items: Items
    rights: ItemRights
    admin_changes: Annotated[list[dict[str, Any]], Field(max_length=256)]
    accounts: Annotated[list[Address], Field(max_length=17)]
    tokens: TokenNames
    again: Outcome
    findings: Annotated[list[Finding], Field(max_length=64)]
    gas: Whole
    slippage_bps: int | None
    slippage_ppm: int | None
    loss: Loss | None
    sequence: Run | None
    revert: Prose | None
    at: Time
    assumed: Assumed | None = None

    @property
    def digest(self) -> str:
        """The name of the simulation, as decisions cite it."""
        return digest(SIMULATION_LINE, self.canonical()).hex()


class ProvenAccount(Document):
    """An account as a node told it, with the proof that it is so."""

    address: Address
    nonce: Whole
    balance: Amount
    storage_root: Digest
    code_hash: Digest
    proof: Annotated[list[Hex], Field(max_length=80)]


class AttestedState(Document):
    """Accounts under one attested header."""

    attestation: Statement
    header: Hex
    accounts: Annotated[list[ProvenAccount], Field(max_length=16)]


States = Annotated[list[AttestedState], Field(min_length=1, max_length=OBSERVERS_MAX)]
"""One header as several observers attest it; the first has the accounts."""


@dataclass(frozen=True, slots=True)
class State:
    """Accounts that hold at a block, and when that block was."""

    block_number: int
    block_hash: str
    block_time: datetime
    attested_at: datetime
    base_fee_per_gas: int
    accounts: Mapping[str, Account]
    slots: Mapping[tuple[str, bytes], int] = field(default_factory=dict)
    """What was proven of their storage, by address and slot."""

    def account(self, address: str) -> Account:
        """Return a proven account; an unproven one is a missing fact."""
        try:
            return self.accounts[address]
        except KeyError:
            raise RefusedError(
                Refusal.FACT_MISSING, f"no proof for account {address}", path="/accounts"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is run to see what an intent does; `approved_by` are owners who are taken to have approved it."""

    sender: str
    to: str
    value: int
    data: bytes
    approved_by: tuple[str, ...] | None

    @classmethod
    def of(cls, intent: Intent, sender: str) -> Self:
        """Return what an intent does when this account sends it."""
        data = bytes.fromhex(intent.data)
        return cls(sender=sender, to=intent.to, value=int(intent.value), data=data, approved_by=None)

    def digest(self, intent: Intent) -> str:
        """Return the name of this call, with the intent's gas and fees."""
        return call_digest(
            sender=self.sender,
            to=self.to,
            value=self.value,
            data=self.data,
            gas=intent.gas_max,
            max_fee_per_gas=intent.max_fee_per_gas,
            max_priority_fee_per_gas=intent.max_priority_fee_per_gas,
        )


def verify_simulation(
    statements: Sequence[Statement],
    *,
    intent: Intent,
    call: Call,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> Simulation:
    """Verify that the observers attest, lately, what this intent does when `call` carries it out.

    The intent's digest in a simulation is what the courier called it; what ran is `call`.
    """
    documents = _attested(statements, SIMULATION_LINE, trust_root)
    simulations = [Simulation.load(document) for document in documents]
    first = simulations[0]
    for other in simulations[1:]:
        _check_same(first, other)
    ran = (first.intent, first.call, first.sender, first.chain_id)
    if ran != (intent.digest, call.digest(intent), call.sender, trust_root.chain_id):
        raise RefusedError(
            Refusal.SIMULATION_OTHER,
            f"a simulation of {first.intent} by {first.sender} on {first.chain_id}, call {first.call[:12]}",
        )
    _as_assumed(first, call)
    _fresh([each.at for each in simulations], now, age_s_max)
    return first


def verify_state(
    states: Sequence[AttestedState], *, trust_root: TrustRoot, now: datetime, age_s_max: int
) -> State:
    """Verify header, signatures and proofs of the attested accounts; return what holds."""
    documents = _attested([state.attestation for state in states], HEADER_LINE, trust_root)
    attested = [HeaderAttestation.load(document) for document in documents]
    if len({(item.chain_id, item.block.hash) for item in attested}) != 1:
        raise RefusedError(Refusal.PROOF, "observers attest different blocks")
    head, state = attested[0], states[0]
    if head.chain_id != trust_root.chain_id:
        raise RefusedError(Refusal.CHAIN_OTHER, f"an attestation of chain {head.chain_id}")
    attested_at = _fresh([item.at for item in attested], now, age_s_max)
    header, accounts = verify_proofs(state)
    try:
        block_time = datetime.fromtimestamp(header.timestamp, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        # a header may name a second that no calendar has
        raise RefusedError(Refusal.PROOF, str(error)) from error
    return State(
        header.number, header.hash().hex(), block_time, attested_at, header.base_fee_per_gas, accounts
    )


def verify_proofs(state: AttestedState) -> tuple[Header, dict[str, Account]]:
    """Return the header that is attested, and what is proven under it; whoever attests it."""
    told = HeaderAttestation.load(state.attestation.document).block
    try:
        header = Header.parse(bytes.fromhex(state.header))
        root = bytes.fromhex(told.state_root)
        if (header.hash().hex(), header.state_root, header.number) != (told.hash, root, told.number):
            raise RefusedError(Refusal.PROOF, "the header is not the attested one")
        return header, {account.address: _proven(account, root) for account in state.accounts}
    except (EvmError, ValueError) as error:
        raise RefusedError(Refusal.PROOF, str(error)) from error


def verify_statements(
    statements: Sequence[Statement],
    line: str,
    kind: type[T],
    *,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> list[T]:
    """Return what as many observers as the trust root demands have signed lately under a domain line."""
    told = [kind.load(document) for document in _attested(statements, line, trust_root)]
    _fresh([each.at for each in told], now, age_s_max)
    return told


def check_same_simulation(one: Statement, other: Statement) -> None:
    """Refuse two statements that tell of different outcomes, whoever signed them."""
    _check_same(Simulation.load(one.document), Simulation.load(other.document))


def verify_node_event(statement: Statement, trust_root: TrustRoot) -> NodeEvent:
    """Return what an observer of the trust root says of a node, or refuse."""
    verify_signed(statement, NODE_LINE, trust_root)
    return NodeEvent.load(statement.document)


def _proven(account: ProvenAccount, root: bytes) -> Account:
    proven = verify_account(root, account.address, [bytes.fromhex(node) for node in account.proof])
    # What the node said beside the proof is not believed; it must be what the proof says.
    told = (account.nonce, int(account.balance), account.storage_root, account.code_hash)
    if told != (proven.nonce, proven.balance, proven.storage_root.hex(), proven.code_hash.hex()):
        raise RefusedError(Refusal.PROOF, f"account {account.address} differs from its proof")
    return proven


def _attested(statements: Sequence[Statement], line: str, trust_root: TrustRoot) -> list[dict[str, Any]]:
    """Return the documents of as many distinct observers as the trust root demands."""
    signed: dict[str, dict[str, Any]] = {}
    for statement in statements:
        verify_signed(statement, line, trust_root)
        signed[statement.observer] = statement.document
    if len(signed) < trust_root.observer_quorum:
        raise RefusedError(
            Refusal.FACT_MISSING, f"{len(signed)} of {trust_root.observer_quorum} observers attest"
        )
    return list(signed.values())


def verify_signed(statement: Statement, line: str, trust_root: TrustRoot) -> None:
    """Refuse a statement that no observer of the trust root has signed under this domain line."""
    key = trust_root.observers.get(statement.observer)
    if key is None:
        raise RefusedError(Refusal.OBSERVER_UNKNOWN, f"{statement.observer} is no observer of the trust root")
    raw = canonical(statement.document, limit=STATEMENT_MAX)
    verify_ed25519(key, statement.signature, line, raw, what=f"attestation of {statement.observer}")


def _check_same(first: Simulation, other: Simulation) -> None:
    told, also = _without_time(first), _without_time(other)
    if also != told:
        differing = ", ".join(name for name in told if told[name] != also.get(name))
        raise RefusedError(Refusal.SIMULATION_OTHER, f"observers attest different simulations: {differing}")


def _as_assumed(simulation: Simulation, call: Call) -> None:
    """Refuse a run for which more was put in place, or less, than its call needs."""
    assumed = simulation.assumed
    told = None if assumed is None else (assumed.safe, tuple(assumed.owners))
    if told != (None if call.approved_by is None else (call.to, call.approved_by)):
        raise RefusedError(Refusal.SIMULATION_OTHER, f"a simulation that takes for granted {told}")


def _without_time(simulation: Simulation) -> dict[str, Any]:
    return {name: value for name, value in simulation.dump().items() if name != "at"}


def _fresh(times: Sequence[str], now: datetime, age_s_max: int) -> datetime:
    """Return the oldest of the times, all of which must be fresh.

    One liar could otherwise lend its own "now" to what the others saw long ago.
    """
    moments = [read_time(at) for at in times]
    for moment in moments:
        age = (now - moment).total_seconds()
        if not -FUTURE_S <= age <= age_s_max:
            raise RefusedError(
                Refusal.ATTESTATION_STALE, f"attested {age:.0f} s ago, at most {age_s_max}", path="/at"
            )
    return min(moments)
