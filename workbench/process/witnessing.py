"""A process as a witness: the same rules as `python -m ledger witness`, over its own socket.

A request is {v, operation: "witness", old_size, proof: [hex], note} or {v, operation: "witness-status"}. The
answer is {v, line}, or {v, refused: {code, detail, size}} with the size that is remembered (-1: not said).
The witness has a memory and a lock of its own: it cosigns while a decision is being made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ledger.encoding import EncodingError, unhex
from ledger.merkle import HASH_SIZE
from ledger.trust import TrustRoot
from ledger.witness import ConflictError, Witness, WitnessError
from workbench.process.config import ConfigError

DETAIL_MAX = 500


class Signer(Protocol):
    """A key that stays where it is."""

    @property
    def public_key(self) -> bytes:
        """Its Ed25519 public key."""

    def sign(self, message: bytes, /) -> bytes:
        """Return its signature."""


def opened(
    folder: Path, *, name: str, key: Signer, trust_root: TrustRoot, now: Callable[[], datetime]
) -> Witness | None:
    """Return the witness that the trust root expects here: under this name, with this key; None if none."""
    if name not in trust_root.witnesses:
        return None
    if trust_root.witnesses[name] != key.public_key:
        raise ConfigError(f"the trust root names another witness key for {name}")
    return Witness(
        folder, name=name, public_key=key.public_key, sign=key.sign, trust_root=trust_root, now=now
    )


def handle(witness: Witness | None, request: dict[str, Any]) -> dict[str, Any]:
    """Cosign a checkpoint, or say what is remembered."""
    if witness is None:
        return _refused(WitnessError("the trust root names no witness here"))
    try:
        if request == {"v": 1, "operation": "witness-status"}:
            return {"v": 1, "status": witness.status()}
        note, old_size, proof = _read(request)
        return {"v": 1, "line": witness.add(note, old_size=old_size, proof=proof)}
    except WitnessError as error:
        return _refused(error)


def _refused(error: WitnessError) -> dict[str, Any]:
    size = error.size if isinstance(error, ConflictError) else -1
    return {"v": 1, "refused": {"code": error.code, "detail": str(error)[:DETAIL_MAX], "size": size}}


def _read(request: dict[str, Any]) -> tuple[str, int, list[bytes]]:
    note, old_size, proof = request.get("note"), request.get("old_size"), request.get("proof")
    if set(request) != {"v", "operation", "note", "old_size", "proof"} or request["v"] != 1:
        raise WitnessError("fields are not v, operation, note, old_size and proof")
    if not isinstance(note, str) or type(old_size) is not int or not isinstance(proof, list):
        raise WitnessError("note, old_size or proof has another type")
    try:
        return note, old_size, [unhex(node, HASH_SIZE) for node in proof]
    except EncodingError as error:
        raise WitnessError(str(error)) from None
