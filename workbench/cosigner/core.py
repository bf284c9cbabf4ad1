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
from workbench.cosigner import witnessing
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.gate import GateError, Identity, Permission, advance, decide
from workbench.cosigner.memory import Bytes, Memory
from workbench.custody.token import Ed25519Key, Token
from workbench.evm.transaction import SignedTransaction, assemble, signature_for
from workbench.process.crash import CrashPoint
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, signed_bytes
from workbench.rules.evidence import ANSWER_LINE, Answer, Evidence, HeadUpdate, RefusedAnswer, SignedAnswer
from workbench.rules.policy import PolicySet

DETAIL_MAX = 2000
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Cosigner:
    """One co-signer at work."""

    identity: Identity
    memory: Memory
    blocks: Blocks
    token: Token
    identity_key: Ed25519Key
    clock: Callable[[], datetime]
    crash: CrashPoint
    witness: Witness | None
    _lock: threading.Lock

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: a status, a checkpoint to be cosigned, or evidence."""
        if request == {"v": 1, "operation": "status"}:
            return self.status()
        if str(request.get("operation")).startswith("witness"):
            return witnessing.handle(self.witness, request)
        with self._lock:
            if request.get("operation") == "advance":
                return self.advance(request)
            return self.sign(request).dump()

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

    def sign(self, request: dict[str, Any]) -> SignedAnswer:
        """Decide over evidence and answer, signed with the identity key."""
        named = hashlib.sha256(canonical(request, limit=DOCUMENT_MAX)).hexdigest()
        intent = request.get("intent")
        intent = intent if isinstance(intent, str) and DIGEST.fullmatch(intent) else "0" * len(named)
        self.crash.reached("4-received")
        try:
            evidence = Evidence.load(request)
            done = self._stored(evidence) or self._decide(evidence)
        except GateError as error:
            self._withdraw(intent)
            self._remember(error.seen)
            return self._answer(named, intent, refused=(error.step, error.refusal))
        except RefusedError as refusal:
            return self._answer(named, intent, refused=(0, refusal))
        self.crash.reached("4-answer")
        return self._answer(named, intent, done=done)

    def _stored(self, evidence: Evidence) -> Bytes | None:
        """Return what was signed before for exactly this intent, this operation and these bytes."""
        record = self.memory.snapshot().of(evidence.intent)
        there = None if record is None else record.of(evidence.unsigned_tx)
        return there if there is not None and there.cancels == (evidence.operation == "cancel") else None

    def _decide(self, evidence: Evidence) -> Bytes:
        memory = self.memory.snapshot()
        permission = decide(
            evidence, memory=memory, seen=self.blocks.seen, identity=self.identity, now=self.clock()
        )
        self.crash.reached("4-decided")
        # (8) a crash here leaves bytes without signature: the same evidence again completes it, and
        # other bytes that the gate admits take their place
        self.blocks.advance(permission.seen)
        self.memory.advance(permission.head)
        self.memory.reserve(permission.record)
        self.crash.reached("4-persisted")
        # (9)
        return self._sign(permission)

    def _sign(self, permission: Permission) -> Bytes:
        public_key = bytes.fromhex(permission.key.public_key)
        digest = permission.transaction.digest()
        raw = self.token.secp256k1(public_key).sign_digest(digest)
        r, s, y_parity = signature_for(digest, raw, public_key)
        signed = assemble(permission.transaction, r, s, y_parity)
        self.crash.reached("4-signed")
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([y_parity])
        record = self.memory.complete(permission.record, raw_tx=signed.hex(), signature=signature.hex())
        return record.bytes[-1]

    def _remember(self, policy: PolicySet | None) -> None:
        """Remember a newer policy set also when the answer under it was no."""
        head = self.memory.snapshot().head
        if policy is not None and policy.manifest.version > head.policy_version:
            self.memory.advance(replace(head, policy=policy.digest, policy_version=policy.manifest.version))

    def _withdraw(self, intent: str) -> None:
        """Forget bytes that are refused before they got a signature; without others the nonce is free."""
        record = self.memory.snapshot().of(intent)
        if record is not None and record.pending is not None:
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
            others=[SignedTransaction.parse(bytes.fromhex(raw)).tx_hash.hex() for raw in before],
        )
        signature = self.identity_key.sign(signed_bytes(ANSWER_LINE, answer.canonical()))
        return SignedAnswer(answer=answer, signature=signature.hex())


def start(
    *,
    identity: Identity,
    memory: Memory,
    blocks: Blocks,
    token: Token,
    key: Ed25519Key,
    clock: Callable[[], datetime],
    crash: CrashPoint,
    witness: Witness | None,
) -> Cosigner:
    """Return a co-signer whose identity key is the one that the trust root pins."""
    if identity.trust_root.cosigners.get(identity.name) != key.public_key.hex():
        raise RefusedError(Refusal.TRUST_ROOT, f"the trust root pins another key for {identity.name}")
    return Cosigner(identity, memory, blocks, token, key, clock, crash, witness, threading.Lock())
