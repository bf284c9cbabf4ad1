"""From release to confirmation: steps (4), (5) and (6) of one intent.

(4) a fresh simulation and fresh proofs, a checkpoint, evidence to the co-signer, its answer
(5) the signed bytes are read again and compared; where they go is recorded; then they are sent.
    Bytes that replace others, or cancel them, take the same way (`pending` says when)
(6) whichever of its bytes are included is proven by number and hash and recorded; so is a block
    that is no longer one of the chain (they are sent again), one that is safe, and the end once it is final

Each step leaves an entry before the next begins, and each is taken up again by the same
code after a crash. A step that fails for want of a peer stays undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ledger import checkpoint as notes
from ledger.encoding import canonical
from ledger.entry import Entry
from workbench.evm.safe_storage import NONCE
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction
from workbench.process.crash import CrashPoint
from workbench.rules import attestation, calls, carriage, carried, confirmation, execution, storage, worth
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.carriage import Sending
from workbench.rules.carried import Carried
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, read_time
from workbench.rules.evidence import SPENT_MAX
from workbench.rules.fees import Fees, first
from workbench.rules.intent import Intent
from workbench.rules.keys import Key, SafeKey, SharedKey, SigningKey
from workbench.rules.lifecycle import Event, State
from workbench.rules.policy import PolicySet
from workbench.rules.price_feed import check_alike
from workbench.rules.safe import Proposed
from workbench.rules.storage import AttestedStorage, Held, SafeQuestion
from workbench.rules.trust import TrustRoot
from workbench.service.books import Books, Matter, Sent
from workbench.service.links import Links
from workbench.service.owners import Owners
from workbench.service.record import Recorder
from workbench.service.signing import Answered, Signing

SERVICE = "service"
EXECUTE = {False: "execute", True: "execute-cancel"}
CANCELS = frozenset({"cancel", "execute-cancel"})
LEAVES_AT_ONCE = 40_000
ACCOUNTS_MAX = 16
"""As many as one statement of an observer may prove."""
GROUND_LIFE = timedelta(seconds=10)
"""A lease lives for seconds; who is asked later is asked under another."""
SPENT_BYTES_MAX = 1 << 20
ANY_AGE_S = 10**9
"""For what the ledger holds: how old it is, is the rules' to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How firmly a block stands, and what an entry says of it."""

    is_safe: bool
    is_final: bool
    said: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What several co-signers are asked under: those that sign together must know of the same head."""

    since: datetime
    lease: dict[str, Any] | None
    note: str
    size: int


@dataclass(slots=True)
class Lane:
    """What the steps work with; `enter` keeps the books in step with an entry."""

    policies: Sequence[PolicySet]
    trust_root: TrustRoot
    books: Books
    recorder: Recorder
    links: Links
    clock: Callable[[], datetime]
    crash: CrashPoint

    @property
    def policy(self) -> PolicySet:
        """The set in force."""
        return self.policies[-1]

    def enter(
        self, event: Event, digest: str, data: dict[str, Any], *, actor: str, name: str | None = None
    ) -> Entry:
        """Record an event of an intent and take it into the books."""
        receipt = self.recorder.append(event.value, name or digest, data, actor=actor, subject=digest)
        entry = next(self.recorder.ledger.entries(receipt.seq, receipt.seq))
        self.books.enter(entry)
        return entry

    def simulate(self, digest: str, *, step: int, purpose: str, sequence: Sequence[str], actor: str) -> None:
        """(3) (4) Have an intent simulated behind those of a sequence, and its state proven."""
        transactions = [self._call(each) for each in sequence]
        accounts = sorted({key.address for key in self.policy.keys.values()})
        observers = self.links.observers
        statements = observers.simulate(step, transactions, list(sequence).index(digest), accounts)
        intent = self.books.matter(digest).proposal.intent
        states = self._held(intent, calls.targets(calls.read(intent, self.policy)))
        named = hashlib.sha256(canonical(statements[0].document, limit=DOCUMENT_MAX)).hexdigest()
        data = {
            "purpose": purpose,
            "statements": [each.dump() for each in statements],
            "states": [_kept(each, intent, self.policy).dump() for each in states],
        }
        quotes = self._quotes(intent, statements[0])
        if quotes:
            data["quotes"] = [each.dump() for each in quotes]
        self.enter(Event.SIMULATED, digest, data, actor=actor, name=named)

    def _quotes(self, intent: Intent, statement: Statement) -> list[Statement]:
        """(3) (4) Ask what the sources say of the pairs that the policy set demands."""
        wanted = worth.questions(intent, Simulation.load(statement.document), self.policy)
        limit = self.policy.limits.worth
        if limit is None:
            return []
        alike = partial(check_alike, now=self.clock(), gates=worth.gates(limit))
        return [said for each in wanted for said in self.links.observers.prices(each, alike)]

    def sign(self, digest: str) -> None:
        """(4) Bring everything to the co-signer and record its answer."""
        matter = self.books.matter(digest)
        intent = matter.proposal.intent
        fees = first(intent.caps, base_fee_per_gas=self._base_fee(matter))
        if matter.owned[False] or matter.owned[True]:
            # what an owner has signed has no end on chain: from here on it is carried out, or cancelled
            self._finish(digest, matter, fees)
            return
        answered = self._answered(digest, matter, fees, cancels=False)
        if answered.raw_tx is None:
            if matter.owned[False]:
                raise _refuses(answered)
            self.enter(Event.SIGNING_REFUSED, digest, answered.data, actor=answered.cosigner)
            return
        self._signed(Event.SIGNED, digest, matter, answered)

    def replace(self, digest: str, fees: Fees) -> None:
        """(4) Have the same intent signed once more, for more; a fresh look at it comes first."""
        matter = self.books.matter(digest)
        self.simulate(digest, step=4, purpose="signing", sequence=[digest], actor=SERVICE)
        self._again(digest, matter, self._answered(digest, matter, fees, cancels=False))

    def cancel(self, digest: str, fees: Fees) -> None:
        """(4) Have a transaction signed that takes the intent's nonce and does nothing."""
        matter = self.books.matter(digest)
        self._again(digest, matter, self._answered(digest, matter, fees, cancels=True))

    def _finish(self, digest: str, matter: Matter, fees: Fees) -> None:
        """(4) Have what owners have signed carried out while the intent lives, and cancelled afterwards."""
        cancels = read_time(matter.proposal.intent.expires_at) <= self.clock()
        if not cancels and (matter.failed or matter.owned[True]):
            return  # it failed once, and would again: it waits for its end
        answered = self._answered(digest, matter, fees, cancels=cancels)
        if answered.raw_tx is None:
            raise _refuses(answered)
        self._signed(Event.CANCEL_SIGNED if cancels else Event.SIGNED, digest, matter, answered)

    def _answered(self, digest: str, matter: Matter, fees: Fees, *, cancels: bool) -> Answered:
        """(4) Have an intent, or its cancel, signed: of a Safe by its owners first, then by its executor."""
        intent, nonce = matter.proposal.intent, _nonce(matter)
        key, operation = self.policy.key(intent.key), "cancel" if cancels else "sign"
        if not isinstance(key, SafeKey):
            unsigned = intent.transaction(nonce, fees)
            if cancels:
                unsigned = carried.cancel_of(intent, nonce=nonce, address=key.address, fees=fees)
            return self._asking(digest, matter, key, operation, unsigned).ask()
        what = execution.meant(intent, key, nonce=nonce, cancels=cancels)
        owners = Owners(
            self._asking(digest, matter, key, operation, what),
            key,
            what,
            {name: raw for name, raw in matter.owned[cancels].items() if name in key.cosigners},
            partial(self._owner_signed, digest, cancels=cancels),
        )
        signatures = owners.ask()
        if isinstance(signatures, Answered):
            return signatures
        self.crash.reached("4-owners")
        executor = self.policy.sender(key.id)
        turn = self._executors_nonce(matter, executor)
        unsigned = execution.transaction(intent, what, signatures, nonce=turn, fees=fees)
        return self._asking(digest, matter, executor, EXECUTE[cancels], unsigned).ask()

    def _owner_signed(self, digest: str, answered: Answered, *, cancels: bool) -> None:
        """(4) Record what an owner of a Safe has signed before the next is asked."""
        data = {**answered.data, "cancels": cancels, "raw_tx": answered.raw_tx}
        name = f"{digest}-{answered.cosigner}" + ("-cancel" if cancels else "")
        self.enter(Event.OWNER_SIGNED, digest, data, actor=answered.cosigner, name=name)

    def _executors_nonce(self, matter: Matter, executor: SigningKey) -> int:
        """(4) Return the executor's nonce: that of what waits already, which is outbid, or its next."""
        raws = _signed_raws(matter)
        if raws:
            return SignedTransaction.parse(bytes.fromhex(raws[-1])).unsigned.nonce
        return self.look(matter).account(executor.address).nonce

    def _again(self, digest: str, matter: Matter, answered: Answered) -> None:
        """(5) Record bytes in the place of others, before they are sent; also those of a lost answer."""
        if answered.raw_tx is None or answered.raw_tx in {each.raw_tx for each in matter.sent}:
            raise RefusedError(answered.refusal, f"no new bytes for nonce {matter.nonce}: {answered.detail}")
        found = self._compare(answered.raw_tx, matter)
        event = Event.CANCEL_SIGNED if found.cancels else Event.REPLACED
        self._signed(event, digest, matter, answered)
        self.crash.reached("5-before")

    def _asking(
        self, digest: str, matter: Matter, key: Key, operation: str, unsigned: UnsignedTransaction | Proposed
    ) -> Signing:
        """(4) Return the question to the co-signers of a key, with the evidence that each is brought."""
        ground = self.ground()
        attestations = self._attestations(matter, operation)

        def evidence(cosigner: str) -> tuple[dict[str, Any], str]:
            nonlocal ground
            # who is away needs no checkpoint
            self.links.head_size(cosigner)
            if self.clock() - ground.since > GROUND_LIFE:
                ground = self.ground()
            brought = self._evidence(
                digest, cosigner, operation, unsigned=unsigned, ground=ground, attestations=attestations
            )
            return brought, self.recorder.blob(canonical(brought, limit=DOCUMENT_MAX))

        return Signing(
            self.links,
            self.trust_root.cosigners,
            key,
            digest,
            evidence,
            lambda raw_tx: self._compare(raw_tx, matter),
            {each.raw_tx for each in matter.sent if each.raw_tx is not None},
            self.crash.reached,
        )

    def _signed(self, event: Event, digest: str, matter: Matter, answered: Answered) -> None:
        """(5) Read the signed bytes again, and record them under the event that they are."""
        raw_tx = str(answered.raw_tx)
        found = self._compare(raw_tx, matter)
        if found.cancels != (event is Event.CANCEL_SIGNED):
            raise RefusedError(Refusal.BYTES_OTHER, "a cancel for an intent, or an intent for a cancel")
        tx_hash = found.transaction.tx_hash.hex()
        data = {**answered.data, "raw_tx": raw_tx, "tx_hash": tx_hash}
        if event is Event.SIGNED:
            self.enter(event, digest, data, actor=answered.cosigner)
            return
        data |= {"instead_of": matter.newest.tx_hash} if matter.sent else {}
        self.enter(event, digest, data, actor=answered.cosigner, name=tx_hash)

    def broadcast(self, digest: str) -> None:
        """(5) Record that the bytes go out; sending is `pending`'s, as often as needed."""
        matter = self.books.matter(digest)
        if self.policy.limits.broadcast == "nodes":
            sending = carriage.by_nodes(matter.newest.tx_hash)
        else:
            sending = self.sending(matter, self.look(matter))
        name = f"{sending.tx_hash}-again" if matter.failed else None
        self.enter(Event.BROADCAST, digest, sending.dump(), actor=SERVICE, name=name)
        self.crash.reached("5-before")

    def sending(self, matter: Matter, look: attestation.State) -> Sending:
        """(5) Return by which way the newest bytes go, as the set in force has it."""
        limits, newest = self.policy.limits, matter.newest
        until = None if newest.cancels else read_time(matter.proposal.intent.expires_at)
        latest = max(self.clock(), look.block_time)
        return carriage.next_sending(
            carriage.Rule(limits.broadcast),
            matter.sendings,
            tx_hash=newest.tx_hash,
            present=look.block_number,
            blocks=carriage.blocks(limits.relay_blocks_max, until=until, latest=latest),
        )

    def tell(self, digest: str, sending: Sending) -> None:
        """(5) Record where bytes go before they do; what the ledger says already is not said again."""
        before = self.books.matter(digest).sendings
        if carriage.is_told(sending, before):
            return
        name = f"{sending.tx_hash}-{len(before)}"
        self.enter(Event.BROADCAST, digest, sending.dump(), actor=SERVICE, name=name)
        self.crash.reached("5-before")

    def confirm(self, digest: str) -> str:
        """(6) Record where its bytes stand, whichever they are; return what nodes know of the newest."""
        matter = self.books.matter(digest)
        found, newest = self._found(matter)
        if found is None:
            if matter.state is State.INCLUDED:
                self._displaced(digest, matter, f"{newest} again")
            return newest
        inclusion, sent = found
        read = self._compare(inclusion.raw, matter)
        if read.transaction.tx_hash.hex() != sent.tx_hash:
            raise RefusedError(Refusal.BYTES_OTHER, "the observers confirm other bytes", path="/raw")
        confirmed = confirmation.verify_inclusion(
            inclusion,
            raw_tx=inclusion.raw,
            trust_root=self.trust_root,
            now=self.clock(),
            age_s_max=self.policy.limits.attestation_age_s_max,
        )
        place = (confirmed.block_number, confirmed.block_hash)
        if matter.state is State.INCLUDED and (matter.block, matter.mined) != (place, sent.tx_hash):
            self._displaced(digest, matter, f"in block {place[0]} {place[1]}")
        which = {"tx_hash": sent.tx_hash, "cancels": read.cancels}
        if matter.state is State.BROADCAST:
            data = _place(confirmed) | which | {"inclusion": self.recorder.blob(inclusion.canonical())}
            self.happened(Event.INCLUDED, digest, data, actor=inclusion.attestations[0].observer)
        self._settle(digest, matter, inclusion, confirmed, cancels=read.cancels)
        return newest

    def happened(self, event: Event, digest: str, data: dict[str, Any], *, actor: str) -> None:
        """Record what may happen to one transaction more than once."""
        turns = self.books.matter(digest).turns
        self.enter(event, digest, data, actor=actor, name=f"{digest}-{turns}")

    def _found(self, matter: Matter) -> tuple[tuple[confirmation.Inclusion, Sent] | None, str]:
        """(6) Look for each of the bytes that were signed, newest first: any of them may be mined."""
        newest = ""
        for sent in reversed(matter.sent):
            status, inclusion = self.links.observers.confirm(sent.tx_hash)
            newest = newest or status
            if inclusion is not None:
                return (inclusion, sent), newest
        return None, newest

    def _displaced(self, digest: str, matter: Matter, where: str) -> None:
        """(6) Its block is no longer one of the chain: it is as if it had been sent and not seen."""
        number, block_hash = matter.block or (0, "")
        data = {"tx_hash": matter.tx_hash, "block_number": number, "block_hash": block_hash, "now": where}
        self.happened(Event.DISPLACED, digest, data, actor=SERVICE)

    def _settle(
        self,
        digest: str,
        matter: Matter,
        inclusion: confirmation.Inclusion,
        confirmed: confirmation.Confirmed,
        *,
        cancels: bool,
    ) -> None:
        """(6) Record that its block is safe, and, once it is final, the end."""
        standing = self._standing(confirmed.block_number, self.look(matter).block_number)
        if standing.is_safe and not matter.is_safe:
            observer = inclusion.attestations[0].observer
            self.happened(Event.SAFE, digest, _place(confirmed), actor=observer)
        if not standing.is_final:
            return
        self.crash.reached("6")
        event = Event.CONFIRMED if confirmed.succeeded else Event.REVERTED
        if cancels:
            event = Event.CANCELLED
        key = self.policy.key(matter.proposal.intent.key)
        if isinstance(key, SafeKey):
            event = self._executed(matter, key, inclusion.raw, confirmed, cancels=cancels)
        data = _place(confirmed) | {
            "tx_hash": matter.tx_hash,
            "inclusion": self.recorder.blob(inclusion.canonical()),
            "final": standing.said,
            **self._realised(matter, confirmed),
        }
        observer = inclusion.attestations[0].observer
        if event is Event.UNEXECUTED:
            self.happened(event, digest, data, actor=observer)
        else:
            self.enter(event, digest, data | self._taken(matter, event), actor=observer)
        self.recorder.checkpoint()

    def _executed(
        self,
        matter: Matter,
        key: SafeKey,
        raw: str,
        confirmed: confirmation.Confirmed,
        *,
        cancels: bool,
    ) -> Event:
        """(6) Say what an executor's transaction came to: by the Safe's own word, and its nonce."""
        intent, nonce = matter.proposal.intent, _nonce(matter)
        if execution.carried_out(confirmed.receipt, raw, intent, key, nonce=nonce, cancels=cancels):
            return Event.CANCELLED if cancels else Event.CONFIRMED
        if confirmed.succeeded:
            return Event.REVERTED  # the Safe tried, failed, and has used its nonce up
        # whoever has what owners signed may carry it out: then it is done, and not by us
        used = self.account_nonce(matter, self.look(matter)) > nonce
        return Event.NONCE_TAKEN if used else Event.UNEXECUTED

    def _taken(self, matter: Matter, event: Event) -> dict[str, Any]:
        return {"nonce": matter.nonce, "policy": self.policy.digest} if event is Event.NONCE_TAKEN else {}

    def _realised(self, matter: Matter, confirmed: confirmation.Confirmed) -> dict[str, Any]:
        """(6) What it cost and moved, beside what the last simulation had said."""
        moved = confirmation.transferred(confirmed.receipt, self._account(matter))
        simulated = Simulation.load(matter.fresh[0].document) if matter.fresh else None
        return {
            "gas_used": confirmed.gas_used,
            "fee_wei": str(confirmed.fee_wei),
            "transferred": [{"asset": asset, "amount": str(amount)} for asset, amount in moved.items()],
            "short_of_simulation_bps": confirmation.short_of(simulated, moved, self._account(matter))
            if simulated
            else None,
        }

    def is_final(self, number: int, head: int) -> bool:
        """(6) Whether a block of this number is as final as a confirmation must be."""
        return self._standing(number, head).is_final

    def _standing(self, number: int, head: int) -> Standing:
        """(6) Say how a block of this number stands under the head: by depth, and by the chain's own word."""
        limits = self.policy.limits
        said: dict[str, Any] = {"depth": head - number + 1}
        is_deep = head - number + 1 >= limits.confirmations_min
        if limits.finality == "depth":
            return Standing(is_safe=False, is_final=is_deep, said=said)
        reached = {
            tag: attestation.verify_state(
                attested,
                trust_root=self.trust_root,
                now=self.clock(),
                age_s_max=limits.attestation_age_s_max,
            )
            for tag, attested in self.links.observers.finality().items()
        }
        final = reached["finalized"]
        said["finalized"] = {"number": final.block_number, "hash": final.block_hash}
        return Standing(
            is_safe=reached["safe"].block_number >= number,
            is_final=is_deep and final.block_number >= number,
            said=said,
        )

    def account_nonce(self, matter: Matter, look: attestation.State) -> int:
        """Return the next nonce of the intent's account, as it is proven there."""
        return execution.next_nonce(look, self.policy.key(matter.proposal.intent.key))

    def _base_fee(self, matter: Matter) -> int:
        """Return the base fee of the block that the intent was simulated on last."""
        if not matter.attested:
            raise RefusedError(Refusal.FACT_MISSING, "no proven block to take a base fee from", path="/state")
        return storage.verify_held(
            matter.attested, trust_root=self.trust_root, now=self.clock(), age_s_max=ANY_AGE_S
        ).base_fee_per_gas

    def _account(self, matter: Matter) -> str:
        return self.policy.key(matter.proposal.intent.key).address

    def look(self, matter: Matter) -> attestation.State:
        """Return the newest block, with the intent's account proven under it."""
        return storage.verify_held(
            self._held(matter.proposal.intent, ()),
            trust_root=self.trust_root,
            now=self.clock(),
            age_s_max=self.policy.limits.attestation_age_s_max,
        )

    def _held(self, intent: Intent, called: Sequence[str]) -> list[Held]:
        """Have the accounts proven that an intent depends on, and of a Safe what it holds."""
        key = self.policy.key(intent.key)
        # what is not proven counts as other code: a long row of contracts is no way round
        accounts = list(dict.fromkeys([*execution.accounts(intent, self.policy), *called]))[:ACCOUNTS_MAX]
        if not isinstance(key, SafeKey):
            return list(self.links.observers.attest(accounts))
        beside = [each for each in accounts if each != key.address]
        return list(self.links.observers.safe(SafeQuestion(safe=key.address, accounts=beside)))

    def _call(self, digest: str) -> dict[str, Any]:
        intent = self.books.matter(digest).proposal.intent
        call = execution.simulated(intent, self.policy)
        approved = {} if call.approved_by is None else {"approved_by": list(call.approved_by)}
        return approved | {
            "intent": digest,
            "from": call.sender,
            "to": call.to,
            "value": str(call.value),
            "data": call.data.hex(),
            "gas": intent.gas_max,
            "max_fee_per_gas": intent.max_fee_per_gas,
            "max_priority_fee_per_gas": intent.max_priority_fee_per_gas,
        }

    def _evidence(
        self,
        digest: str,
        cosigner: str,
        operation: str,
        *,
        unsigned: UnsignedTransaction | Proposed,
        ground: Ground,
        attestations: dict[str, Any],
    ) -> dict[str, Any]:
        matter = self.books.matter(digest)
        if matter.reservation_seq is None:
            raise RefusedError(Refusal.STATE, "not everything is there that a co-signer must see")
        note, size = ground.note, ground.size
        start = self._bring_up(cosigner, size)
        spent = self._spent(matter, cosigner)
        return {
            **({"spent": spent} if spent else {}),
            "v": 1,
            "operation": operation,
            "intent": digest,
            "proposal": matter.proposal.dump(),
            "unsigned_tx": unsigned.encode().hex(),
            "reservation": self.entry_proof(matter.reservation_seq, size),
            "decisions": [signed.dump() for signed in matter.decisions],
            "policy_chain": [policy.dump() for policy in self.policies],
            "attestations": attestations | {"descent": self._descent(cosigner, attestations["state"])},
            "lease": ground.lease,
            "head": self._head_update(start, note, matter.decisions),
        }

    def ground(self) -> Ground:
        """(4) Return a lease and a checkpoint, in this order: a lease names a head that must be reached."""
        since, lease = self.clock(), self.links.lease(self.policies)
        note = self.recorder.checkpoint()
        return Ground(since=since, lease=lease, note=note, size=notes.split(note)[0].size)

    def ordered(self, signed: dict[str, Any], seq: int, cosigner: str, ground: Ground) -> dict[str, Any]:
        """Return what a co-signer must see of an operation on a key."""
        start = self._bring_up(cosigner, ground.size)
        return {
            "v": 1,
            "operation": "order",
            "ordered": signed,
            "entry": self.entry_proof(seq, ground.size),
            "policy_chain": [policy.dump() for policy in self.policies],
            "lease": ground.lease,
            "head": self._head_update(start, ground.note),
        }

    def _spent(self, matter: Matter, cosigner: str) -> list[dict[str, Any]]:
        """(4) Return what was signed with a shared key that a co-signer does not know, up to this nonce."""
        intent, nonce = matter.proposal.intent, _nonce(matter)
        key = self.policy.key(intent.key)
        if not isinstance(key, SharedKey):
            return []
        start = self.links.unknown_from(cosigner, key.address)
        by_nonce = {
            each.nonce: each
            for each in list(self.books.matters.values())
            if each.nonce is not None
            and each.sent
            and (each.proposal.intent.key, each.proposal.intent.chain_id) == (key.id, intent.chain_id)
        }
        # of this nonce everything that may be mined; of each before, what shows whose it was
        spent = [_spent_by(matter, raw) for raw in _signed_raws(matter)]
        size = 0
        for each in (by_nonce[number] for number in range(start, nonce) if number in by_nonce):
            told = [_spent_by(each, raw) for raw in _signed_raws(each)[:1]]
            size += len(canonical(told))
            if len(spent) >= SPENT_MAX or size > SPENT_BYTES_MAX:
                break
            spent += told
        return spent

    def _descent(self, cosigner: str, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the ways from the attested header down to the blocks that a co-signer has seen."""
        if not states:
            return []
        state = storage.load(states[0])
        return [way.dump() for way in self.links.observers.descent(state, self.links.seen(cosigner))]

    def _attestations(self, matter: Matter, operation: str) -> dict[str, Any]:
        """Return the looks at an intent that its signature needs.

        A cancel needs no more than that the nonce is not spent, proven at the newest head. What a Safe holds
        is proven anew each time: it is too much for an entry of the ledger.
        """
        intent = matter.proposal.intent
        if operation in CANCELS:
            states = self._held(intent, ())
            return {"approved": [], "fresh": [], "state": [each.dump() for each in states], "quotes": []}
        looked = _attestations(matter)
        if isinstance(self.policy.key(intent.key), SafeKey):
            held = self._held(intent, calls.targets(calls.read(intent, self.policy)))
            looked |= {"state": [each.dump() for each in held]}
        return looked

    def _bring_up(self, cosigner: str, size: int) -> int:
        """Bring a co-signer's head so near to `size` that the rest fits into one piece of evidence."""
        start = self.links.head_size(cosigner)
        for note in self.recorder.ledger.checkpoints():
            reach = notes.split(note)[0].size
            if size - start <= LEAVES_AT_ONCE:
                break
            if start < reach <= start + LEAVES_AT_ONCE and reach < size:
                start = self.links.advance(cosigner, self._head_update(start, note))
        return start

    def _head_update(self, start: int, note: str, decisions: Sequence[SignedDecision] = ()) -> dict[str, Any]:
        size = notes.split(note)[0].size
        ledger = self.recorder.ledger
        leaves = ledger.leaves(start, size - 1) if size > start else []
        seen = {signed.decision.ledger.size for signed in decisions}
        return {
            "from": start,
            "leaves": [leaf.hex() for leaf in leaves],
            "checkpoint": note,
            "consistency": {str(old): [node.hex() for node in ledger.consistency(old, size)] for old in seen},
        }

    def entry_proof(self, seq: int, size: int) -> dict[str, Any]:
        """Return an entry with its inclusion proof in the tree of `size` entries."""
        entry = next(self.recorder.ledger.entries(seq, seq))
        return {
            "seq": seq,
            "head": entry.head.decode(),
            "data": entry.payload.decode() if entry.payload else None,
            "salt": (entry.salt or b"").hex(),
            "proof": [node.hex() for node in self.recorder.ledger.inclusion(seq, size)],
        }

    def _compare(self, raw_tx: str, matter: Matter) -> Carried:
        """(5) Read signed bytes again: they must be the intent, or its cancel, signed by its key."""
        return execution.read(raw_tx, matter.proposal.intent, self.policy, nonce=_nonce(matter))


def ready(matter: Matter) -> bool:
    """Whether an intent is between release and its end."""
    return matter.state in {State.APPROVED, State.SIGNED, State.BROADCAST, State.INCLUDED}


def _nonce(matter: Matter) -> int:
    if matter.nonce is None:
        raise RefusedError(Refusal.STATE, "an intent that has no nonce")
    return matter.nonce


def _signed_raws(matter: Matter) -> list[str]:
    return [each.raw_tx for each in matter.sent if each.raw_tx is not None]


def _spent_by(matter: Matter, raw_tx: str) -> dict[str, Any]:
    return {"proposal": matter.proposal.dump(), "raw_tx": raw_tx}


def _attestations(matter: Matter) -> dict[str, Any]:
    """Return the looks at an intent that its signature needs."""
    if not matter.approved or not matter.fresh:
        raise RefusedError(Refusal.STATE, "not everything is there that a co-signer must see")
    return {
        "approved": [each.dump() for each in matter.approved],
        "fresh": [each.dump() for each in matter.fresh],
        "state": [each.dump() for each in matter.attested],
        "quotes": [each.dump() for each in matter.quotes],
    }


def _refuses(answered: Answered) -> RefusedError:
    """Return why a co-signer refuses where its refusal does not end an intent."""
    return RefusedError(answered.refusal, f"{answered.cosigner} refuses, {answered.detail}")


def _kept(state: Held, intent: Intent, policy: PolicySet) -> Held:
    """Return what the ledger keeps of a state: of a Safe its nonce, and no pinned code that nobody calls."""
    key = policy.key(intent.key)
    if not isinstance(state, AttestedStorage) or not isinstance(key, SafeKey):
        return state
    wanted = {key.address, policy.sender(key.id).address, *calls.targets(calls.read(intent, policy))}
    return AttestedStorage.load(
        {
            **state.dump(),
            "accounts": [each.dump() for each in state.accounts if each.address in wanted],
            "slots": [each.dump() for each in state.slots if bytes.fromhex(each.slot) == NONCE],
        }
    )


def _place(confirmed: confirmation.Confirmed) -> dict[str, Any]:
    return {"block_number": confirmed.block_number, "block_hash": confirmed.block_hash}
