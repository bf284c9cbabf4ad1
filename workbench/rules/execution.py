"""How an intent reaches the chain: as its own key's transaction, or as a Safe's that an executor carries out.

(1) An intent for a whole or shared key is that key's transaction, under that key's next nonce (`carried`).
(2) An intent for a Safe is the Safe's transaction under the Safe's next nonce: to, value and data are the
    intent's. It is called, unless it is for the pinned MultiSend, whose code runs in the Safe's place.
(3) What carries a Safe's transaction out is the executor's: `execTransaction` of that Safe, without ether,
    with the intent's gas and fees within its caps, and exactly the owners' signatures that the contract
    demands, which are read again here. Under which nonce the executor pays is between it and the chain.
(4) A Safe's cancel is the empty call to itself under the same nonce, signed by owners and carried out alike.
(5) A simulation has no owner's signature. It is run as if as many owners as sign together had approved on
    chain, says so, and says under which nonce.
(6) A Safe has done it when its own event names the transaction's hash: a receipt says only that the
    executor's call did not fail.
(7) What would change the Safe waits for as many people as its pins demand; owners, asked earlier, would
    refuse, and a refusal is the intent's end.

Pure. Whether owners may sign is `safe`'s; whether signed bytes are admitted, and in which order, the gate's.
"""

from __future__ import annotations

from workbench.evm import safe as safes
from workbench.evm import safe_storage
from workbench.evm.carriers import Operation
from workbench.evm.errors import EvmError
from workbench.evm.receipt import Receipt
from workbench.evm.safe import SafeTx
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.rules import calls, carried, safe
from workbench.rules.attestation import Call, State
from workbench.rules.carried import Carried
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent
from workbench.rules.keys import Key, SafeKey
from workbench.rules.policy import PolicySet
from workbench.rules.safe import Proposed


def simulated(intent: Intent, policy: PolicySet) -> Call:
    """Return what is run to see what an intent does: (1), or (2) as in (5)."""
    key, sender = policy.key(intent.key), policy.sender(intent.key).address
    if not isinstance(key, SafeKey):
        return Call.of(intent, sender)
    owners = tuple(each.address for each in key.owners[: key.threshold])
    tx = proposed(intent, key, nonce=0).tx
    return Call(
        sender=sender,
        to=key.address,
        value=0,
        data=safes.execution(tx, safes.approved(owners)),
        approved_by=owners,
    )


def proposed(intent: Intent, key: SafeKey, *, nonce: int) -> Proposed:
    """(2) Return the Safe's transaction that an intent is under this nonce."""
    in_its_place = intent.to == key.pins.multi_send
    try:
        tx = SafeTx(
            to=intent.to,
            value=int(intent.value),
            data=bytes.fromhex(intent.data),
            operation=Operation.DELEGATECALL if in_its_place else Operation.CALL,
            nonce=nonce,
        )
    except EvmError as error:
        raise RefusedError(Refusal.MALFORMED, f"no transaction of a Safe: {error}", path="/data") from error
    return Proposed(chain_id=intent.chain_id, safe=key.address, tx=tx)


def cancelling(intent: Intent, key: SafeKey, *, nonce: int) -> Proposed:
    """(4) Return the Safe's transaction that takes the intent's nonce and does nothing."""
    tx = SafeTx(to=key.address, value=0, data=b"", operation=Operation.CALL, nonce=nonce)
    return Proposed(chain_id=intent.chain_id, safe=key.address, tx=tx)


def meant(intent: Intent, key: SafeKey, *, nonce: int, cancels: bool) -> Proposed:
    """(2) (4) Return what owners are to sign."""
    return cancelling(intent, key, nonce=nonce) if cancels else proposed(intent, key, nonce=nonce)


def verify_proposable(intent: Intent, policy: PolicySet) -> None:
    """(2) Refuse at once what owners refuse whoever approves it: how it would run, whom it would change."""
    key = policy.key(intent.key)
    if not isinstance(key, SafeKey):
        return
    what, pinned = proposed(intent, key, nonce=0), key.pinned(intent.chain_id)
    safe.verify_runs(what, pinned, abis=calls.abis(policy))
    found = critical(intent, policy)
    if found and pinned.critical_quorum is None:
        raise RefusedError(Refusal.SAFE_CRITICAL, f"{', '.join(found)}: no quorum for it", path="/data")


def critical(intent: Intent, policy: PolicySet) -> tuple[str, ...]:
    """(7) Return what of an intent would change the Safe that it is of; nothing where it is of none."""
    key = policy.key(intent.key)
    if not isinstance(key, SafeKey):
        return ()
    what = proposed(intent, key, nonce=0)
    root = safe.read(what, pinned=key.pinned(intent.chain_id), abis=calls.abis(policy))
    return safe.critical(what, root)


def quorum(intent: Intent, policy: PolicySet) -> int | None:
    """(7) Return how many people must approve what changes the Safe; None where nothing does, or none may."""
    key = policy.key(intent.key)
    found = key.pins.critical_quorum if isinstance(key, SafeKey) else None
    return found if found is not None and critical(intent, policy) else None


def unsigned(intent: Intent, policy: PolicySet, *, nonce: int) -> UnsignedTransaction | Proposed:
    """(1) (2) Return what is signed for an intent under this nonce of its lane, at its caps."""
    key = policy.key(intent.key)
    return (
        proposed(intent, key, nonce=nonce)
        if isinstance(key, SafeKey)
        else intent.transaction(nonce, intent.caps)
    )


def is_intents(given: UnsignedTransaction | Proposed, intent: Intent, policy: PolicySet) -> bool:
    """(1) (2) Whether something is the intent's, under whatever nonce: a fact for the rules to judge."""
    if isinstance(given, UnsignedTransaction):
        return carried.carries(given, intent)
    key = policy.key(intent.key)
    return isinstance(key, SafeKey) and given == proposed(intent, key, nonce=given.tx.nonce)


def nonce_of(given: UnsignedTransaction | Proposed) -> int:
    """Return under which nonce of its lane something would be carried out."""
    return given.nonce if isinstance(given, UnsignedTransaction) else given.tx.nonce


def transaction(
    intent: Intent, what: Proposed, signatures: bytes, *, nonce: int, fees: Fees
) -> UnsignedTransaction:
    """(3) Return the executor's transaction, under this nonce of its own, for these fees."""
    return UnsignedTransaction(
        chain_id=what.chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=fees.max_priority_fee_per_gas,
        max_fee_per_gas=fees.max_fee_per_gas,
        gas=intent.gas_max,
        to=what.safe,
        value=0,
        data=safes.execution(what.tx, signatures),
    )


def verify_owners_bytes(raw: bytes, intent: Intent, key: SafeKey, *, nonce: int, cancels: bool) -> Proposed:
    """(2) (4) Return what an owner is asked to sign, which must be the intent, or its cancel."""
    wanted = meant(intent, key, nonce=nonce, cancels=cancels)
    try:
        chain_id, address, found = safes.read_carried(raw)
    except EvmError as error:
        raise RefusedError(Refusal.BYTES_OTHER, str(error), path="/unsigned_tx") from error
    given = Proposed(chain_id=chain_id, safe=address, tx=found.tx)
    if given.tx.nonce != nonce:
        raise RefusedError(
            Refusal.DECISION_OTHER_NONCE, f"nonce {given.tx.nonce}, reserved and approved is {nonce}"
        )
    if given != wanted or found.signatures:
        raise RefusedError(Refusal.BYTES_OTHER, "the transaction is not the intent's", path="/unsigned_tx")
    return wanted


def verify_executes(
    sent: UnsignedTransaction, intent: Intent, key: SafeKey, *, nonce: int, cancels: bool
) -> Proposed:
    """(3) Verify that a transaction carries out an intent, or its cancel, which enough owners have signed."""
    what = meant(intent, key, nonce=nonce, cancels=cancels)
    found = _executed(sent, nonce=nonce)
    fees = carried.fees_of(sent)
    wanted = transaction(intent, what, found.signatures, nonce=sent.nonce, fees=fees)
    if sent != wanted:
        raise RefusedError(Refusal.BYTES_OTHER, "it carries out something else", path="/unsigned_tx")
    carried.verify_paid(fees, intent)
    safe.verify_signatures(found.signatures, what, key.pinned(intent.chain_id))
    return what


def read(raw_tx: str, intent: Intent, policy: PolicySet, *, nonce: int) -> Carried:
    """(1) (3) Read signed bytes, which must be the intent's or its cancel's; `nonce` is the reserved one."""
    key, address = policy.key(intent.key), policy.sender(intent.key).address
    if not isinstance(key, SafeKey):
        return carried.read(raw_tx, intent, nonce=nonce, address=address)
    signed = carried.signed_by(raw_tx, address)
    tx = _executed(signed.unsigned, nonce=nonce).tx
    cancels = tx == cancelling(intent, key, nonce=nonce).tx != proposed(intent, key, nonce=nonce).tx
    verify_executes(signed.unsigned, intent, key, nonce=nonce, cancels=cancels)
    return Carried(transaction=signed, cancels=cancels)


def next_nonce(state: State, key: Key) -> int:
    """Return the next nonce of a key's lane, as it is proven: a Safe's own, or the account's."""
    if not isinstance(key, SafeKey):
        return state.account(key.address).nonce
    try:
        return state.slots[key.address, safe_storage.NONCE]
    except KeyError:
        raise RefusedError(
            Refusal.FACT_MISSING, f"no proof of the nonce of {key.id}", path="/slots"
        ) from None


def carried_out(
    receipt: Receipt, raw_tx: str, intent: Intent, key: SafeKey, *, nonce: int, cancels: bool
) -> bool:
    """(6) Whether the Safe says that it has carried out what these bytes carry."""
    digest = meant(intent, key, nonce=nonce, cancels=cancels).digest()
    said = {
        log.topics[1]
        for log in receipt.logs
        if log.address == key.address and len(log.topics) > 1 and log.topics[0] == safes.EXECUTED
    }
    unsigned = SignedTransaction.parse(bytes.fromhex(raw_tx)).unsigned
    return receipt.succeeded and unsigned.to == key.address and digest in said


def named(raw: bytes) -> str:
    """Return the hash by which signed bytes are known: a transaction's, or what a Safe's owners sign."""
    if raw[:1] != safes.CARRIED:
        return SignedTransaction.parse(raw).tx_hash.hex()
    chain_id, address, found = safes.read_carried(raw)
    return found.tx.digest(chain_id=chain_id, safe=address).hex()


def accounts(intent: Intent, policy: PolicySet) -> list[str]:
    """Return the accounts of ours that have to be proven beside what an intent calls."""
    key = policy.key(intent.key)
    if not isinstance(key, SafeKey):
        return [key.address]
    return list(dict.fromkeys([key.address, policy.sender(intent.key).address, *key.pins.code_hashes]))


def _executed(unsigned: UnsignedTransaction, *, nonce: int) -> safes.Execution:
    try:
        return safes.read_execution(unsigned.data, nonce=nonce)
    except EvmError as error:
        raise RefusedError(Refusal.BYTES_OTHER, f"no execution: {error}", path="/unsigned_tx") from error
