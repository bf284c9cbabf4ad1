"""A witness: cosigns a ledger's checkpoints, each one only if it extends the last one that it cosigned.

Two readers who are shown checkpoints of one witness quorum are shown one ledger: a fork would need a witness
that signs both sides. Anyone may run one (`python -m ledger witness`); co-signers serve it from their own
process. It trusts its trust root, for the service's keys, and its own memory.

(1) The note is canonical, of the trust root's origin, and signed by a checkpoint key. Other lines of known
    names must verify; they count for nothing here.
(2) The caller says from which size it proves, and that is the size I remember (compare and swap): else it is
    told mine, and asks again with another proof.
(3) At my own size, the note says what I remember, wherever its proof begins. If it does not, the service has
    signed two states: both notes are kept as evidence, and nothing is signed.
(4) The consistency proof leads from the root I remember to this one.
(5) My time never goes back, whatever the clock says after a restart.
(6) The new state is persisted, and on disk; (7) then it is signed, and the line is kept, so that who asks
    again gets the same line. A crash in between leaves a state without a line: the next who asks makes it.

A memory is founded once, explicitly. One that is gone is not founded again in its folder: a witness that
forgot would sign a fork. `memory.json` and `equivocation/` are believed, so nobody else may write there;
`memory.lock` keeps a second process out, and stays as a sign that there was a memory.
No sockets here: the edges are `witness_server` and whoever else holds a `Witness`.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ledger import checkpoint, clock, files
from ledger.checkpoint import Checkpoint, CheckpointError, Sign
from ledger.encoding import JSON, EncodingError, canonical, parse, unhex
from ledger.merkle import EMPTY, HASH_SIZE, ProofError, verify_consistency
from ledger.trust import TrustRoot

FILE_MAX = 512 * 1024  # bytes: two notes of 64 Ki characters, escaped
EVIDENCE_MAX = 1000  # files; a liar must not fill the disk, and one is enough to convict
MEMORY, LOCK = "memory.json", "memory.lock"
TEXTS = ("origin", "name", "root", "chain", "note", "line", "time")
PROOF_MAX = 63  # hashes: a tree of 2^63 leaves

Hook = Callable[[], None]


class WitnessError(ValueError):
    """A checkpoint is not cosigned; `code` says why, for machines."""

    code = "malformed"


class UnknownLogError(WitnessError):
    """The note is of another origin."""

    code = "unknown_log"


class UnsignedError(WitnessError):
    """No checkpoint key of the trust root has signed the note, or a line of a known name does not verify."""

    code = "unsigned"


class ConflictError(WitnessError):
    """The proof does not begin at the size that is remembered."""

    code = "conflict"

    def __init__(self, size: int) -> None:
        super().__init__(f"I remember size {size}")
        self.size = size


class EquivocationError(ConflictError):
    """One key has signed two states of one size."""

    code = "equivocation"


class NotConsistentError(WitnessError):
    """The proof does not lead from what is remembered to the note."""

    code = "proof"


class MemoryLostError(WitnessError):
    """The memory is missing, malformed, another's, or held by another process: nothing may be signed."""

    code = "memory"


class WrongKeyError(WitnessError):
    """The key is not this witness's in the trust root, or what it signs does not verify."""

    code = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is remembered: the newest checkpoint, the service's note of it, and my line, once it is signed."""

    origin: str
    name: str
    size: int
    root: bytes
    chain: bytes
    note: str
    line: str
    time: datetime

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint."""
        return Checkpoint(self.origin, self.size, self.root, self.chain)

    def encode(self) -> bytes:
        """Return the bytes of memory.json."""
        return canonical(
            {
                "v": 1,
                "origin": self.origin,
                "name": self.name,
                "size": self.size,
                "root": self.root.hex(),
                "chain": self.chain.hex(),
                "note": self.note,
                "line": self.line,
                "time": clock.text(self.time),
            },
            limit=FILE_MAX,
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read memory.json, refusing whatever is not exactly one."""
        document: JSON = parse(raw, limit=FILE_MAX)
        if type(document) is not dict or set(document) != {"v", "size", *TEXTS}:
            raise EncodingError("not a witness's memory")
        if type(document["size"]) is not int or any(type(document[name]) is not str for name in TEXTS):
            raise EncodingError("a field of the memory has another type")
        state = cls(
            **{name: document[name] for name in ("origin", "name", "size", "note", "line")},
            root=unhex(document["root"], HASH_SIZE),
            chain=unhex(document["chain"], HASH_SIZE),
            time=clock.parse(document["time"]),
        )
        # The note is where the state comes from: they must not drift apart.
        sound = (
            checkpoint.split(state.note + state.line)[0] == state.checkpoint
            if state.note
            else state == cls.empty(origin=state.origin, name=state.name)
        )
        if not sound or state.encode() != raw:
            raise EncodingError("the memory contradicts itself")
        return state

    @classmethod
    def empty(cls, *, origin: str, name: str) -> Self:
        """Return the state before the first checkpoint."""
        nothing = bytes(HASH_SIZE)
        return cls(
            origin=origin,
            name=name,
            size=0,
            root=EMPTY,
            chain=nothing,
            note="",
            line="",
            time=clock.EPOCH,
        )


def found(folder: Path, *, origin: str, name: str) -> None:
    """Begin a memory, once: nothing was cosigned yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # rollback: a unit file that founds at every start would begin anew when the memory is gone.
    if (folder / LOCK).exists():
        raise MemoryLostError(f"{folder}: there is, or was, a memory")
    try:
        files.create(folder / MEMORY, State.empty(origin=origin, name=name).encode())
    except FileExistsError:
        raise MemoryLostError(f"{folder}: there is a memory already") from None


def parse_evidence(raw: bytes) -> tuple[str, str]:
    """Return the two notes of an evidence file; `checkpoint.equivocation` says whether they convict."""
    document: JSON = parse(raw, limit=FILE_MAX)
    if type(document) is not dict or sorted(document) != ["first", "second", "v"]:
        raise EncodingError("not exactly v, first and second")
    first, second = document["first"], document["second"]
    if type(document["v"]) is not int or document["v"] != 1 or {type(first), type(second)} != {str}:
        raise EncodingError("v is not 1, or a note is not a string")
    return first, second


class Witness:
    """One witness at work: one lock, so that it decides one thing at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        public_key: bytes,
        sign: Sign,
        trust_root: TrustRoot,
        now: Callable[[], datetime],
        testing_only_before_persist: Hook | None = None,
        testing_only_before_sign: Hook | None = None,
    ) -> None:
        # A line of a known name that does not verify spoils the note for everybody.
        if trust_root.witnesses.get(name) != public_key:
            raise WrongKeyError(f"the trust root has no witness {name!r:.80} with this key")
        self._folder = folder
        self._name, self._public_key, self._sign = name, public_key, sign
        self._trust_root = trust_root
        self._now = now
        self._before_persist, self._before_sign = testing_only_before_persist, testing_only_before_sign
        self._mutex = threading.Lock()
        self._held: int | None = _hold(folder)
        try:
            self._state = self._remembered()
        except BaseException:
            self.close()
            raise

    def add(self, note: str, *, old_size: int, proof: Sequence[bytes]) -> str:
        """Return my signature line for a note that extends the last one, or raise WitnessError."""
        with self._mutex:
            if self._held is None:
                raise MemoryLostError("closed: another process may hold the memory")
            wanted, signed = self._read(note)  # (1)
            # Read again: a memory that was taken away must not live on in this process alone.
            self._state = self._remembered()
            known = self._state.checkpoint
            if wanted.size == known.size and self._state.note and wanted != known:  # (3)
                self._keep_evidence(signed)
                raise EquivocationError(known.size)
            if type(old_size) is not int or old_size > wanted.size:
                raise WitnessError(f"no proof leads from size {old_size!r:.80} to {wanted.size}")
            if old_size != known.size:  # (2)
                raise ConflictError(known.size)
            self._check_extends(known, wanted, proof)  # (4)
            if wanted != known or not self._state.note:
                self._persist(wanted, signed)
            return self._state.line or self._cosign()

    def status(self) -> dict[str, Any]:
        """Say who I am and what I remember; `note` is empty before the first.

        It carries my line once I have signed. A state that was persisted and not yet signed is told all the
        same: who asks whether the ledger was rolled back must hear of it, and of nothing older.
        """
        with self._mutex:
            state = self._state
            return {
                "v": 1,
                "origin": state.origin,
                "name": state.name,
                "size": state.size,
                "root": state.root.hex(),
                "chain": state.chain.hex(),
                "note": state.note + state.line,
                "equivocations": len(self._evidence()),
            }

    def cosigned(self) -> str:
        """Return the newest note with my line, or nothing where I have not signed."""
        with self._mutex:
            return self._state.note + self._state.line if self._state.line else ""

    def evidence(self) -> list[dict[str, str]]:
        """Return the pairs of notes that convict the service: what `checkpoint.equivocation` verifies."""
        with self._mutex:
            return [parse(path.read_bytes(), limit=FILE_MAX) for path in self._evidence()]

    def close(self) -> None:
        """Let another process in, and sign no more."""
        with self._mutex:
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def _read(self, note: str) -> tuple[Checkpoint, str]:
        try:
            wanted, _ = checkpoint.split(note)
        except CheckpointError as error:
            raise WitnessError(str(error)) from None
        if wanted.origin != self._trust_root.origin:
            raise UnknownLogError(f"origin {wanted.origin}, mine is {self._trust_root.origin}")
        keys = self._trust_root.checkpoint_keys
        try:
            checkpoint.verify(note, keys, witnesses=self._trust_root.witnesses)
        except CheckpointError as error:
            raise UnsignedError(str(error)) from None
        return wanted, checkpoint.only(note, keys)

    def _check_extends(self, known: Checkpoint, wanted: Checkpoint, proof: Sequence[bytes]) -> None:
        if len(proof) > PROOF_MAX:
            raise WitnessError(f"a proof of {len(proof)} hashes, limit {PROOF_MAX}")
        try:
            verify_consistency(known.size, wanted.size, known.root, wanted.root, proof)
        except ProofError as error:
            raise NotConsistentError(str(error)) from None

    def _persist(self, wanted: Checkpoint, signed: str) -> None:
        time = max(self._now(), self._state.time)  # (5)
        state = replace(
            self._state,
            size=wanted.size,
            root=wanted.root,
            chain=wanted.chain,
            note=signed,
            line="",
            time=time,
        )
        if self._before_persist:
            self._before_persist()
        self._write(state)  # (6)

    def _write(self, state: State) -> None:
        try:
            files.replace(self._folder / MEMORY, state.encode())
        except OSError as error:
            raise MemoryLostError(f"{self._folder}: {error}") from None
        self._state = state

    def _cosign(self) -> str:  # (7)
        if self._before_sign:
            self._before_sign()
        state = self._state
        try:
            made = checkpoint.cosign(state.note, self._name, self._public_key, self._sign, at=state.time)
        except CheckpointError as error:
            raise WrongKeyError(str(error)) from None
        state = replace(state, line=made.removeprefix(state.note))
        self._write(state)
        return state.line

    def _keep_evidence(self, second: str) -> None:
        folder = self._folder / "equivocation"
        raw = canonical({"v": 1, "first": self._state.note, "second": second}, limit=FILE_MAX)
        path = folder / f"{hashlib.sha256(raw).hexdigest()}.json"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            files.sync(self._folder)
            if not path.exists() and len(self._evidence()) < EVIDENCE_MAX:
                files.replace(path, raw)
        except OSError as error:
            raise MemoryLostError(f"{folder}: {error.strerror}") from None

    def _evidence(self) -> list[Path]:
        folder = self._folder / "equivocation"
        return sorted(folder.glob("*.json")) if folder.is_dir() else []

    def _remembered(self) -> State:
        path = self._folder / MEMORY
        try:
            state = State.parse(path.read_bytes())
            if (state.origin, state.name) != (self._trust_root.origin, self._name):
                raise EncodingError(f"of {state.name!r:.80} for {state.origin!r:.80}")
            # A line that is not my cosignature would spoil the note that it is added to.
            if state.line:
                checkpoint.add_cosignature(
                    state.note, state.line, name=self._name, public_key=self._public_key
                )
        except (OSError, ValueError) as error:
            raise MemoryLostError(f"{path}: {error}") from None
        return state


def _hold(folder: Path) -> int:
    try:
        for path in (folder, folder / MEMORY):
            status = path.stat()
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise MemoryLostError(f"{path}: others may write here")
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise MemoryLostError(f"{folder}: no memory; it is founded once, and never by itself") from None
    except OSError as error:
        raise MemoryLostError(f"{folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise MemoryLostError(f"{folder}: another process holds this memory") from None
    return descriptor
