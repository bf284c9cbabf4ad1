"""A service that lies: branches of one ledger under one key, and the witness that is asked about them."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger import checkpoint, merkle, witness
from ledger.checkpoint import Checkpoint, Sign
from ledger.encoding import canonical
from ledger.trust import TrustRoot
from ledger.witness import Witness
from tests.ledger.world import ORIGIN, SERVICE, key, public, trust_root

ANN, BOB = "ann", "bob"
SIGN = key(ANN).sign
STANDBY = "custody.example/standby"
AT = datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=UTC)
DOCUMENT = trust_root(
    checkpoint_keys={name: public(name).hex() for name in (SERVICE, STANDBY)},
    witnesses={name: public(name).hex() for name in (ANN, BOB)},
    witness_quorum=1,
)
TRUST = TrustRoot.of(DOCUMENT)
KEYS, WITNESSES = TRUST.checkpoint_keys, TRUST.witnesses


@dataclass(frozen=True, slots=True)
class Branch:
    """A ledger that begins with the entries of `base`, and goes on with its own."""

    name: str
    base: tuple[bytes, ...] = ()

    def entry(self, number: int) -> bytes:
        """Return what stands at a place."""
        return self.base[number] if number < len(self.base) else f"{self.name} {number}".encode()

    def leaves(self, size: int) -> list[bytes]:
        """Return the first leaf hashes."""
        return [merkle.leaf_hash(self.entry(number)) for number in range(size)]

    def state(self, size: int) -> Checkpoint:
        """Return the state after `size` entries."""
        chain = hashlib.sha256(b"genesis").digest()
        for leaf in self.leaves(size):
            chain = hashlib.sha256(chain + leaf).digest()
        return Checkpoint(ORIGIN, size, merkle.root(self.leaves(size)), chain)

    def note(self, size: int, *, signer: str = SERVICE, **changes: Any) -> str:
        """Sign the state after `size` entries, or what the service claims instead of it."""
        state = replace(self.state(size), **changes)
        return checkpoint.sign(state, signer, public(signer), key(signer).sign)

    def proof(self, old_size: int, size: int) -> list[bytes]:
        """Prove that the second state extends the first one."""
        return merkle.consistency_proof(self.leaves(size), old_size)


COMMON = tuple(f"common {number}".encode() for number in range(8))
TRUE, FORK = Branch("true", COMMON), Branch("fork")
# These agree with the truth at 4, and at 3.
LATE, RIVAL = Branch("late", COMMON[:4]), Branch("rival", COMMON[:3])


def request(note: str, old_size: int | str, proof: Sequence[bytes] = ()) -> bytes:
    """Return the body of an add-checkpoint request."""
    lines = [f"old {old_size}", *(base64.b64encode(node).decode() for node in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


def found(folder: Path) -> Path:
    """Begin ann's memory."""
    witness.found(folder, origin=ORIGIN, name=ANN)
    return folder


def opened(
    folder: Path, *, sign: Sign = SIGN, now: Callable[[], datetime] = lambda: AT, **changes: Any
) -> Witness:
    """Open ann's memory."""
    options: dict[str, Any] = {"name": ANN, "public_key": public(ANN), "trust_root": TRUST}
    return Witness(folder, sign=sign, now=now, **(options | changes))


def extend(asked: Witness, branch: Branch, *sizes: int) -> list[str]:
    """Have these sizes of a branch cosigned, one after the other."""
    lines = []
    for size in sizes:
        old = asked.status()["size"]
        lines.append(asked.add(branch.note(size), old_size=old, proof=branch.proof(old, size)))
    return lines


def cosigned(note: str, line: str) -> Checkpoint:
    """Return what ann's line cosigns; raises if it does not."""
    return checkpoint.verify(checkpoint.add(note, line), KEYS, 1, witnesses={ANN: public(ANN)})


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a memory but its lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "memory.lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def write_trust(folder: Path) -> Path:
    """Write the trust root that names ann and bob."""
    path = folder / "trust-root.json"
    path.write_bytes(canonical(DOCUMENT))
    return path
