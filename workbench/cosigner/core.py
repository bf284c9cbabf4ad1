"""From evidence to a signed answer: gate, persist, sign, persist, answer.

One lock: a co-signer decides one thing at a time. The same intent and bytes again get
the stored signature, so a lost answer costs nothing; other bytes for a nonce are what the gate
admits as a replacement or a cancel, and nothing else. An answer names everything that was signed
for the nonce before: whoever lost an earlier answer learns what to look for on the chain.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ledger.encoding import canonical
from ledger.witness import Witness
from workbench.cosigner import operations, others
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.deeds import Deeds
from workbench.cosigner.gate import Payload, Permission, decide
from workbench.cosigner.ground import GateError, Identity, advance, floored, release
from workbench.cosigner.keywork import KeyWork
from workbench.cosigner.memory import Bytes, Memory, Record
from workbench.cosigner.ordered import Ordered
from workbench.cosigner.orders import Heard
from workbench.cosigner.recovering import Recovering
from workbench.cosigner.runs import Runs
from workbench.cosigner.shared import Agreed, SharedKeys
from workbench.cosigner.told import Told
from workbench.cosigner.wholework import WholeWork
from workbench.custody.safe import owner_signature
from workbench.custody.threshold import Answered
from workbench.custody.token import Ed25519Key, Token, WholeKeys
from workbench.evm.transaction import UnsignedTransaction, assemble, signature_for
from workbench.process import witnessing
from workbench.process.crash import CrashPoint
from workbench.rules import execution
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_time, signed_bytes
from workbench.rules.evidence import ANSWER_LINE, Answer, Evidence, HeadUpdate, RefusedAnswer, SignedAnswer
from workbench.rules.isolation import Isolation
from workbench.rules.key_operation import OperationEvidence
from workbench.rules.keys import SharedKey
from workbench.rules.lease import Lease, SignedLease, verify_lease
from workbench.rules.pause import SignedRelease
from workbench.rules.policy import SETS_MAX, PolicySet
from workbench.rules.threshold import Recollection, SignedEnvelope, SignedOpening, SignedRecollection

DETAIL_MAX = 2000
RS_BYTES = 64
HEARD = frozenset({"lease", "release"})
RUNNING = frozenset({"open", "begin", "take", "recollect", "remember"})
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Cosigner:
    """One co-signer at work."""

    identity: Identity
    memory: Memory
    blocks: Blocks
    heard: Heard
    whole: WholeKeys
    identity_key: Ed25519Key
    clock: Callable[[], datetime]
    crash: CrashPoint
    witness: Witness | None
    shared: SharedKeys | None
    keywork: KeyWork | None
    ordered: Ordered
    told: Told
    isolation: Callable[[], Isolation]
    _lock: threading.Lock

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: a status, the token's report, a checkpoint to be cosigned, or evidence."""
        if request == {"v": 1, "operation": "status"}:
            return self.status()
        if request == {"v": 1, "operation": "token"}:
            return self.told.answer()
        operation = str(request.get("operation"))
        if operation.startswith("witness"):
            return witnessing.handle(self.witness, request)
        with self._lock:
            return self._door(operation)(request)

    def _door(self, operation: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        if operation in HEARD:
            return self.hear
        if operation in RUNNING:
            return self.run
        if operation == "order" or operation.startswith("key-"):
            return self.work
        return self.advance if operation == "advance" else self.sign

    def status(self) -> dict[str, Any]:
        """Say who I am, from which head on I need leaves, and from which blocks a header must come."""
        head = self.memory.snapshot().head
        return {
            "v": 1,
            "cosigner": self.identity.name,
            "public_key": self.identity_key.public_key.hex(),
            "size": head.size,
            "policy_version": head.policy_version,
            "seen": self.blocks.seen.dump(),
            "orders": self.heard.orders.dump(),
            "unknown_from": others.first_unknown(self.memory.snapshot()),
            "recall": self.shared.runs.recall() if self.shared else None,
            "isolation": self.isolation().dump(),
        }

    def advance(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take a newer ledger head into memory; answer with the status, or with the refusal."""
        try:
            update = HeadUpdate.load(request.get("head"), at="/head")
            self.memory.advance(advance(update, memory=self.memory.snapshot(), identity=self.identity))
        except (GateError, RefusedError) as error:
            refusal = error.refusal if isinstance(error, GateError) else error
            return {
                "v": 1,
                "refused": {"step": 2, "code": refusal.code.value, "detail": refusal.detail[:DETAIL_MAX]},
            }
        return self.status()

    def hear(self, request: dict[str, Any]) -> dict[str, Any]:
        """(1) Hear the watcher, past the service; answer with what is remembered, or with the refusal."""
        try:
            self._hear(request)
        except (GateError, RefusedError) as error:
            refusal = error.refusal if isinstance(error, GateError) else error
            detail = str(refusal)[:DETAIL_MAX]
            return {"v": 1, "refused": {"step": 1, "code": refusal.code.value, "detail": detail}}
        return {"v": 1, "orders": self.heard.orders.dump()}

    def _hear(self, request: dict[str, Any]) -> None:
        match request:
            case {"v": 1, "operation": "lease", "lease": lease, **rest} if not rest:
                self._hear_lease(SignedLease.load(lease, at="/lease"))
            case {
                "v": 1,
                "operation": "release",
                "release": signed,
                "lease": lease,
                "policy_chain": list(sets),
                **rest,
            } if not rest and len(sets) <= SETS_MAX:
                self._hear_release(
                    SignedRelease.load(signed, at="/release"),
                    SignedLease.load(lease, at="/lease"),
                    [PolicySet.load(each) for each in sets],
                )
            case _:
                raise RefusedError(Refusal.MALFORMED, "neither a lease nor a release")

    def _hear_lease(self, signed: SignedLease) -> None:
        self.heard.hear(self._lease(signed))

    def _hear_release(self, signed: SignedRelease, lease: SignedLease, sets: list[PolicySet]) -> None:
        self.heard.keep(
            release(
                signed,
                self._lease(lease),
                sets,
                memory=self.memory.snapshot(),
                orders=self.heard.orders,
                identity=self.identity,
                now=self.clock(),
            )
        )

    def _lease(self, signed: SignedLease) -> Lease:
        now = floored(self.memory.snapshot(), self.clock())
        return verify_lease(signed, orders=self.heard.orders, trust_root=self.identity.trust_root, now=now)

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take a step of a run over a shared key; its end is a signed answer, as to evidence."""
        try:
            return self._run(self._sharing(), request)
        except RefusedError as refusal:
            detail = refusal.detail[:DETAIL_MAX]
            return {"v": 1, "refused": {"code": refusal.code.value, "detail": detail}}

    def work(self, request: dict[str, Any]) -> dict[str, Any]:
        """Decide over an operation on a key, or take a step of one; answer, or say why not."""
        try:
            return {"v": 1, **self._work(request)}
        except GateError as error:
            if error.lease is not None:
                self.heard.hear(error.lease)
            refused = {"step": error.step, "code": error.refusal.code.value}
            return {"v": 1, "refused": refused | {"detail": error.refusal.detail[:DETAIL_MAX]}}
        except RefusedError as refusal:
            detail = refusal.detail[:DETAIL_MAX]
            return {"v": 1, "refused": {"step": 0, "code": refusal.code.value, "detail": detail}}

    def _work(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"operation": "order"}:
                evidence = OperationEvidence.load(request)
                allowed = operations.decide(
                    evidence,
                    memory=self.memory.snapshot(),
                    orders=self.heard.orders,
                    made_to=self.ordered.made_to(evidence.ordered.operation.key),
                    identity=self.identity,
                    now=self.clock(),
                )
                self._stand(allowed)
                self.crash.reached("key-ordered")
                return self.ordered.allow(allowed)
            case {"v": 1, "operation": "key-over", "run": str(run), "evidence": evidence, **rest} if not rest:
                over = operations.over(
                    OperationEvidence.load(evidence, at="/evidence"),
                    memory=self.memory.snapshot(),
                    orders=self.heard.orders,
                    identity=self.identity,
                    now=self.clock(),
                )
                self._stand(over)
                return self._keywork().give_up(over, run)
            case {"v": 1, "operation": "key-open", "order": str(order), **rest} if not rest:
                self.crash.reached("key-open")
                return self._keywork().open(order)
            case _:
                if request.get("operation") != "key-words":
                    return self.ordered.speak(request)
                self.crash.reached("key-words")
                word = self.ordered.speak(request)
                self.crash.reached("key-heard")
                return word

    def _stand(self, allowed: operations.Allowed) -> None:
        """(8) Persist the ground on which an operation was decided."""
        if allowed.lease is not None:
            self.heard.hear(allowed.lease)
        self.memory.advance(allowed.head)

    def _keywork(self) -> KeyWork:
        if self.keywork is None:
            raise RefusedError(Refusal.SHARE, "no sealing key is configured here")
        return self.keywork

    def _run(self, shared: SharedKeys, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"v": 1, "operation": "open", "intent": str(intent), "signers": list(signers), **rest} if (
                not rest
            ):
                self.crash.reached("4-open")
                return {"v": 1, "opening": shared.open(intent, signers, self.heard.orders).dump()}
            case {"v": 1, "operation": "begin", "openings": list(openings), **rest} if not rest:
                opened = [SignedOpening.load(each) for each in openings]
                if self._keywork().concerns(opened):
                    self.crash.reached("key-begin")
                    return {"v": 1, **self._keywork().begin(opened)}
                self.crash.reached("4-begin")
                return shared.begin(opened)
            case {
                "v": 1,
                "operation": "take",
                "key": str(key),
                "run": str(run),
                "envelopes": list(envelopes),
                **rest,
            } if not rest:
                brought = [SignedEnvelope.load(each) for each in envelopes]
                if self._keywork().does(key):
                    self.crash.reached(f"key-take-{self._keywork().runs.stage(key)}")
                    taken = self._keywork().take(key, run, brought)
                    if "word" in taken:
                        self.crash.reached("key-kept")
                    return {"v": 1, **taken}
                self.crash.reached("4-take")
                return self._taken(*shared.take(key, run, brought))
            case _:
                return _recollect(shared.runs, request)

    def _taken(self, agreed: Agreed, answered: Answered) -> dict[str, Any]:
        """(8) A part is persisted as given before it leaves; (9) a signature before it is answered."""
        permission = agreed.permission
        try:
            record = self._allowed(permission, gives=answered.gives)
        except RefusedError:
            self._sharing().runs.put_away(permission.key.id)
            raise
        if isinstance(answered.done, bytes):
            done = self._complete(permission, record, answered.done[:RS_BYTES])
            self.crash.reached("4-answer")
            return self._answer(agreed.evidence, record.intent, done=done).dump()
        if answered.gives:
            self.memory.give(record)
            self.crash.reached("4-given")
        return {"v": 1, "envelopes": [each.dump() for each in answered.envelopes]}

    def _allowed(self, permission: Permission, *, gives: bool) -> Record:
        """Return the record of what was decided, if nothing that this process did since forbids it."""
        memory = self.memory.snapshot()
        record = memory.at(permission.record.lane)
        wanted = (permission.record.intent, permission.transaction.encode().hex())
        if record is None or (record.intent, record.bytes[-1].unsigned_tx) != wanted:
            raise RefusedError(Refusal.RUN, "other bytes were decided on since")
        # (3) a policy set that was seen since the decision may not allow it any more
        seen, under = memory.head.policy_version, permission.head.policy_version
        if gives and seen > under:
            raise RefusedError(Refusal.POLICY_OLD, f"decided under version {under}, I have seen {seen} since")
        if gives and permission.lease is not None:
            self._still_free(permission, moves=not record.bytes[-1].cancels)
        return record

    def _still_free(self, permission: Permission, *, moves: bool) -> None:
        """(1) A pause, a newer set or silence since the decision keeps the part back."""
        heard = self.heard.orders.policy_version
        if heard > permission.head.policy_version:
            under = permission.head.policy_version
            raise RefusedError(Refusal.POLICY_OLD, f"decided under version {under}, I heard of {heard} since")
        now = floored(self.memory.snapshot(), self.clock())
        self.heard.verify_lives(permission.intent, moves=moves, now=now)

    def sign(self, request: dict[str, Any]) -> dict[str, Any]:
        """Decide over evidence and answer, signed; agree only, where the key is shared."""
        named = hashlib.sha256(canonical(request, limit=DOCUMENT_MAX)).hexdigest()
        intent = request.get("intent")
        intent = intent if isinstance(intent, str) and DIGEST.fullmatch(intent) else "0" * len(named)
        self.crash.reached("4-received")
        try:
            evidence = Evidence.load(request)
            done = self._stored(evidence)
            if done is None:
                permission = self._decide(evidence)
                if isinstance(permission.key, SharedKey):
                    return self._agree(named, evidence, permission)
                done = self._sign(permission)
        except GateError as error:
            self._withdraw(intent)
            if error.lease is not None:
                self.heard.hear(error.lease)
            self._remember(error.seen)
            self.memory.learn(error.learned)
            return self._answer(named, intent, refused=(error.step, error.refusal)).dump()
        except RefusedError as refusal:
            self._withdraw(intent)
            return self._answer(named, intent, refused=(0, refusal)).dump()
        self.crash.reached("4-answer")
        return self._answer(named, intent, done=done).dump()

    def _agree(self, named: str, evidence: Evidence, permission: Permission) -> dict[str, Any]:
        expires = None if evidence.cancels else read_time(evidence.proposal.intent.expires_at)
        return self._sharing().agree(named, permission, expires=expires)

    def _sharing(self) -> SharedKeys:
        if self.shared is None:
            raise RefusedError(Refusal.SHARE, "no sealing key is configured here")
        return self.shared

    def _stored(self, evidence: Evidence) -> Bytes | None:
        """Return what was signed before for exactly this intent, this operation and these bytes."""
        record = self.memory.snapshot().of(evidence.intent)
        there = None if record is None else record.of(evidence.unsigned_tx)
        return there if there is not None and there.cancels == evidence.cancels else None

    def _decide(self, evidence: Evidence) -> Permission:
        memory = self.memory.snapshot()
        permission = decide(
            evidence,
            memory=memory,
            orders=self.heard.orders,
            seen=self.blocks.seen,
            identity=self.identity,
            now=self.clock(),
        )
        self.crash.reached("4-decided")
        # (8) a crash here leaves bytes without signature: the same evidence again completes it, and
        # other bytes that the gate admits take their place
        if permission.lease is not None:
            self.heard.hear(permission.lease)
        self.blocks.advance(permission.seen)
        self.memory.advance(permission.head)
        self.memory.learn(permission.learned)
        self.memory.reserve(permission.record)
        self.crash.reached("4-persisted")
        return permission

    def _sign(self, permission: Permission) -> Bytes:
        """(9) With a whole key, an account's or that of an owner of a Safe."""
        raw = self.whole.of(permission.public_key).sign_digest(permission.transaction.digest())
        return self._complete(permission, permission.record, raw)

    def _complete(self, permission: Permission, record: Record, raw: bytes) -> Bytes:
        """(9) Check r ‖ s under the key, put it to what it signs, persist."""
        signed, signature = _signed(permission.transaction, raw, permission.public_key)
        self.crash.reached("4-signed")
        done = self.memory.complete(record, raw_tx=signed.hex(), signature=signature.hex())
        return done.bytes[-1]

    def _remember(self, policy: PolicySet | None) -> None:
        """Remember a newer policy set also when the answer under it was no."""
        head = self.memory.snapshot().head
        if policy is not None and policy.manifest.version > head.policy_version:
            self.memory.advance(replace(head, policy=policy.digest, policy_version=policy.manifest.version))

    def _withdraw(self, intent: str) -> None:
        """Forget bytes that are refused before they got a signature; without others the nonce is free.

        What was agreed to goes with them: no part is given for what was refused since.
        """
        record = self.memory.snapshot().of(intent)
        if record is not None and record.pending is not None:
            if self.shared is not None:
                self.shared.forget(intent)
            self.memory.withdraw(record)

    def _answer(
        self,
        evidence: str,
        intent: str,
        *,
        done: Bytes | None = None,
        refused: tuple[int, RefusedError] | None = None,
    ) -> SignedAnswer:
        refusal = None
        record = self.memory.snapshot().of(intent)
        before = [each.raw_tx for each in record.signed if each.raw_tx and each != done] if record else []
        if refused is not None:
            step, error = refused
            detail = error.detail if not error.path else f"{error.detail} at {error.path}"
            refusal = RefusedAnswer(step=step, code=error.code.value, detail=detail[:DETAIL_MAX])
        answer = Answer(
            v=1,
            cosigner=self.identity.name,
            evidence=evidence,
            intent=intent,
            signature=done.signature if done else None,
            raw_tx=done.raw_tx if done else None,
            refused=refusal,
            signed_before=before[-1] if before and refusal is not None else None,
            others=[execution.named(bytes.fromhex(raw)) for raw in before],
        )
        if record is not None and record.in_doubt:
            answer = Answer.load(answer.dump() | {"gave": True})
        signature = self.identity_key.sign(signed_bytes(ANSWER_LINE, answer.canonical()))
        return SignedAnswer(answer=answer, signature=signature.hex())


def _signed(payload: Payload, raw: bytes, public_key: bytes) -> tuple[bytes, bytes]:
    """(9) Return what is signed together with its signature, and the signature alone."""
    if isinstance(payload, UnsignedTransaction):
        r, s, y_parity = signature_for(payload.digest(), raw, public_key)
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([y_parity])
        return assemble(payload, r, s, y_parity), signature
    signature = owner_signature(payload, raw, public_key).encoded()
    return payload.encode(signature), signature


def _recollect(runs: Runs, request: dict[str, Any]) -> dict[str, Any]:
    """Say what is remembered of a peer, or hear what peers remember."""
    match request:
        case {"v": 1, "operation": "recollect", "about": str(about), "nonce": str(nonce), **rest} if not rest:
            asked = Recollection.load(
                {"v": 1, "cosigner": runs.name, "about": about, "nonce": nonce, "opening": None}
            )
            return {"v": 1, "recollection": runs.recollect(asked.about, asked.nonce).dump()}
        case {"v": 1, "operation": "remember", "recollections": list(said), **rest} if not rest:
            runs.remember([SignedRecollection.load(each) for each in said])
            return {"v": 1}
        case _:
            raise RefusedError(Refusal.MALFORMED, "no such operation, or other fields than it has")


def start(
    *,
    identity: Identity,
    memory: Memory,
    blocks: Blocks,
    heard: Heard,
    token: Token,
    key: Ed25519Key,
    clock: Callable[[], datetime],
    crash: CrashPoint,
    witness: Witness | None,
    isolation: Callable[[], Isolation],
    deeds: Deeds,
    shared: SharedKeys | None = None,
    keywork: KeyWork | None = None,
) -> Cosigner:
    """Return a co-signer whose identity key is the one that the trust root pins."""
    pinned = identity.trust_root.cosigners
    if pinned.get(identity.name) != key.public_key.hex():
        raise RefusedError(Refusal.TRUST_ROOT, f"the trust root pins another key for {identity.name}")
    recovering = None
    if shared is not None:
        recovering = Recovering(identity.name, key.sign, shared.runs.shares, pinned, clock)
    return Cosigner(
        identity=identity,
        memory=memory,
        blocks=blocks,
        heard=heard,
        whole=WholeKeys(token),
        identity_key=key,
        clock=clock,
        crash=crash,
        witness=witness,
        shared=shared,
        keywork=keywork,
        ordered=Ordered(
            name=identity.name,
            sign=key.sign,
            keywork=keywork,
            recovering=recovering,
            whole=WholeWork(token, deeds, crash),
            crash=crash,
        ),
        told=Told(identity.name, token, key),
        isolation=isolation,
        _lock=threading.Lock(),
    )
