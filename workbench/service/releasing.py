"""From a simulation to bytes that go out: steps (3) and (4), and (5) as far as what is recorded.

(3) an intent is simulated behind those of a sequence, with its state proven
(4) a fresh simulation and fresh proofs, a checkpoint, evidence to the co-signers, their answer
(5) the signed bytes are read again and compared; where they go is recorded; then they are sent.
    Bytes that replace others, or cancel them, take the same way (`pending` says when)

A step that fails for want of a peer stays undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from ledger.encoding import canonical
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.rules import attestation, calls, carriage, carried, execution, worth
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.carriage import Sending
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_time
from workbench.rules.fees import Fees, first
from workbench.rules.intent import Intent
from workbench.rules.keys import Key, SafeKey, SigningKey
from workbench.rules.lifecycle import Event
from workbench.rules.price_feed import check_alike
from workbench.rules.safe import Proposed
from workbench.service import bringing, looking
from workbench.service.books import Matter
from workbench.service.lane import SERVICE, Lane, nonce_of, signed_raws
from workbench.service.owners import Owners
from workbench.service.signing import Answered, Signing

EXECUTE = {False: "execute", True: "execute-cancel"}


def simulate(
    lane: Lane, digest: str, *, step: int, purpose: str, sequence: Sequence[str], actor: str
) -> None:
    """(3) (4) Have an intent simulated behind those of a sequence, and its state proven."""
    transactions = [looking.call(lane, each) for each in sequence]
    accounts = sorted({key.address for key in lane.policy.keys.values()})
    observers = lane.links.observers
    statements = observers.simulate(step, transactions, list(sequence).index(digest), accounts)
    intent = lane.books.matter(digest).proposal.intent
    states = looking.held(lane, intent, calls.targets(calls.read(intent, lane.policy)))
    named = hashlib.sha256(canonical(statements[0].document, limit=DOCUMENT_MAX)).hexdigest()
    data = {
        "purpose": purpose,
        "statements": [each.dump() for each in statements],
        "states": [looking.kept(each, intent, lane.policy).dump() for each in states],
    }
    quotes = _quotes(lane, intent, statements[0])
    if quotes:
        data["quotes"] = [each.dump() for each in quotes]
    lane.enter(Event.SIMULATED, digest, data, actor=actor, name=named)


def _quotes(lane: Lane, intent: Intent, statement: Statement) -> list[Statement]:
    """(3) (4) Ask what the sources say of the pairs that the policy set demands."""
    wanted = worth.questions(intent, Simulation.load(statement.document), lane.policy)
    limit = lane.policy.limits.worth
    if limit is None:
        return []
    alike = partial(check_alike, now=lane.clock(), gates=worth.gates(limit))
    return [said for each in wanted for said in lane.links.observers.prices(each, alike)]


def sign(lane: Lane, digest: str) -> None:
    """(4) Bring everything to the co-signer and record its answer."""
    matter = lane.books.matter(digest)
    intent = matter.proposal.intent
    fees = first(intent.caps, base_fee_per_gas=looking.base_fee(lane, matter))
    if matter.owned[False] or matter.owned[True]:
        # what an owner has signed has no end on chain: from here on it is carried out, or cancelled
        _finish(lane, digest, matter, fees)
        return
    answered = _answered(lane, digest, matter, fees, cancels=False)
    if answered.raw_tx is None:
        if matter.owned[False]:
            raise _refuses(answered)
        lane.enter(Event.SIGNING_REFUSED, digest, answered.data, actor=answered.cosigner)
        return
    _signed(lane, Event.SIGNED, digest, matter, answered)


def replace(lane: Lane, digest: str, fees: Fees) -> None:
    """(4) Have the same intent signed once more, for more; a fresh look at it comes first."""
    matter = lane.books.matter(digest)
    simulate(lane, digest, step=4, purpose="signing", sequence=[digest], actor=SERVICE)
    _again(lane, digest, matter, _answered(lane, digest, matter, fees, cancels=False))


def cancel(lane: Lane, digest: str, fees: Fees) -> None:
    """(4) Have a transaction signed that takes the intent's nonce and does nothing."""
    matter = lane.books.matter(digest)
    _again(lane, digest, matter, _answered(lane, digest, matter, fees, cancels=True))


def _finish(lane: Lane, digest: str, matter: Matter, fees: Fees) -> None:
    """(4) Have what owners have signed carried out while the intent lives, and cancelled afterwards."""
    cancels = read_time(matter.proposal.intent.expires_at) <= lane.clock()
    if not cancels and (matter.failed or matter.owned[True]):
        return  # it failed once, and would again: it waits for its end
    answered = _answered(lane, digest, matter, fees, cancels=cancels)
    if answered.raw_tx is None:
        raise _refuses(answered)
    _signed(lane, Event.CANCEL_SIGNED if cancels else Event.SIGNED, digest, matter, answered)


def _answered(lane: Lane, digest: str, matter: Matter, fees: Fees, *, cancels: bool) -> Answered:
    """(4) Have an intent, or its cancel, signed: of a Safe by its owners first, then by its executor."""
    intent, nonce = matter.proposal.intent, nonce_of(matter)
    key, operation = lane.policy.key(intent.key), "cancel" if cancels else "sign"
    if not isinstance(key, SafeKey):
        unsigned = intent.transaction(nonce, fees)
        if cancels:
            unsigned = carried.cancel_of(intent, nonce=nonce, address=key.address, fees=fees)
        return _asking(lane, matter, key, operation, unsigned).ask()
    what = execution.meant(intent, key, nonce=nonce, cancels=cancels)
    owners = Owners(
        _asking(lane, matter, key, operation, what),
        key,
        what,
        {name: raw for name, raw in matter.owned[cancels].items() if name in key.cosigners},
        partial(_owner_signed, lane, digest, cancels=cancels),
    )
    signatures = owners.ask()
    if isinstance(signatures, Answered):
        return signatures
    lane.crash.reached("4-owners")
    executor = lane.policy.sender(key.id)
    turn = _executors_nonce(lane, matter, executor)
    unsigned = execution.transaction(intent, what, signatures, nonce=turn, fees=fees)
    return _asking(lane, matter, executor, EXECUTE[cancels], unsigned).ask()


def _owner_signed(lane: Lane, digest: str, answered: Answered, *, cancels: bool) -> None:
    """(4) Record what an owner of a Safe has signed before the next is asked."""
    data = {**answered.data, "cancels": cancels, "raw_tx": answered.raw_tx}
    name = f"{digest}-{answered.cosigner}" + ("-cancel" if cancels else "")
    lane.enter(Event.OWNER_SIGNED, digest, data, actor=answered.cosigner, name=name)


def _executors_nonce(lane: Lane, matter: Matter, executor: SigningKey) -> int:
    """(4) Return the executor's nonce: that of what waits already, which is outbid, or its next."""
    raws = signed_raws(matter)
    if raws:
        return SignedTransaction.parse(bytes.fromhex(raws[-1])).unsigned.nonce
    return looking.look(lane, matter).account(executor.address).nonce


def _again(lane: Lane, digest: str, matter: Matter, answered: Answered) -> None:
    """(5) Record bytes in the place of others, before they are sent; also those of a lost answer."""
    if answered.raw_tx is None or answered.raw_tx in {each.raw_tx for each in matter.sent}:
        raise RefusedError(answered.refusal, f"no new bytes for nonce {matter.nonce}: {answered.detail}")
    found = lane.read(answered.raw_tx, matter)
    event = Event.CANCEL_SIGNED if found.cancels else Event.REPLACED
    _signed(lane, event, digest, matter, answered)
    lane.crash.reached("5-before")


def _asking(
    lane: Lane, matter: Matter, key: Key, operation: str, unsigned: UnsignedTransaction | Proposed
) -> Signing:
    """(4) Return the question to the co-signers of a key, with the evidence that each is brought."""
    digest, ground = matter.proposal.intent.digest, bringing.ground(lane)
    attestations = looking.attestations(lane, matter, operation)

    def evidence(cosigner: str) -> tuple[dict[str, Any], str]:
        nonlocal ground
        # who is away needs no checkpoint
        lane.links.head_size(cosigner)
        if lane.clock() - ground.since > bringing.GROUND_LIFE:
            ground = bringing.ground(lane)
        brought = bringing.evidence(
            lane, digest, cosigner, operation, unsigned=unsigned, ground=ground, attestations=attestations
        )
        return brought, lane.recorder.blob(canonical(brought, limit=DOCUMENT_MAX))

    return Signing(
        lane.links,
        lane.trust_root.cosigners,
        key,
        digest,
        evidence,
        lambda raw_tx: lane.read(raw_tx, matter),
        {each.raw_tx for each in matter.sent if each.raw_tx is not None},
        lane.crash.reached,
    )


def _signed(lane: Lane, event: Event, digest: str, matter: Matter, answered: Answered) -> None:
    """(5) Read the signed bytes again, and record them under the event that they are."""
    raw_tx = str(answered.raw_tx)
    found = lane.read(raw_tx, matter)
    if found.cancels != (event is Event.CANCEL_SIGNED):
        raise RefusedError(Refusal.BYTES_OTHER, "a cancel for an intent, or an intent for a cancel")
    tx_hash = found.transaction.tx_hash.hex()
    data = {**answered.data, "raw_tx": raw_tx, "tx_hash": tx_hash}
    if event is Event.SIGNED:
        lane.enter(event, digest, data, actor=answered.cosigner)
        return
    data |= {"instead_of": matter.newest.tx_hash} if matter.sent else {}
    lane.enter(event, digest, data, actor=answered.cosigner, name=tx_hash)


def broadcast(lane: Lane, digest: str) -> None:
    """(5) Record that the bytes go out; sending is `pending`'s, as often as needed."""
    matter = lane.books.matter(digest)
    if lane.policy.limits.broadcast == "nodes":
        sending = carriage.by_nodes(matter.newest.tx_hash)
    else:
        sending = way(lane, matter, looking.look(lane, matter))
    name = f"{sending.tx_hash}-again" if matter.failed else None
    lane.enter(Event.BROADCAST, digest, sending.dump(), actor=SERVICE, name=name)
    lane.crash.reached("5-before")


def way(lane: Lane, matter: Matter, look: attestation.State) -> Sending:
    """(5) Return by which way the newest bytes go, as the set in force has it."""
    limits, newest = lane.policy.limits, matter.newest
    until = None if newest.cancels else read_time(matter.proposal.intent.expires_at)
    latest = max(lane.clock(), look.block_time)
    return carriage.next_sending(
        carriage.Rule(limits.broadcast),
        matter.sendings,
        tx_hash=newest.tx_hash,
        present=look.block_number,
        blocks=carriage.blocks(limits.relay_blocks_max, until=until, latest=latest),
    )


def tell(lane: Lane, digest: str, sending: Sending) -> None:
    """(5) Record where bytes go before they do; what the ledger says already is not said again."""
    before = lane.books.matter(digest).sendings
    if carriage.is_told(sending, before):
        return
    name = f"{sending.tx_hash}-{len(before)}"
    lane.enter(Event.BROADCAST, digest, sending.dump(), actor=SERVICE, name=name)
    lane.crash.reached("5-before")


def _refuses(answered: Answered) -> RefusedError:
    """Return why a co-signer refuses where its refusal does not end an intent."""
    return RefusedError(answered.refusal, f"{answered.cosigner} refuses, {answered.detail}")
