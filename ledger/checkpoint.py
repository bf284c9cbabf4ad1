"""Checkpoints: a C2SP signed note that fixes a ledger's size, Merkle root and chain.

    custody.example/ledger
    3
    <base64 root>
    chain <hex of h>

    — custody.example/service <base64(key id ‖ signature)>

A service key signs the four lines (Ed25519, key id under 0x01). A witness
cosigns them under a time of its own (cosignature/v1, key id under 0x04).
`verify` wants one service signature and `quorum` different witness keys.

* A line under a name the caller does not know counts for nothing and vetoes
  nothing. A line under a known name must verify, else the note is refused.
* Only the canonical spelling is read: `05`, `+5`, another base64 of the same
  bytes, a missing or an extra line are refused.
* Where a private key lives is the caller's business: `sign` is any function
  from bytes to a signature. What it returns is verified before it is used.

Whether the checkpoint fits the entries is left to the verifier and the store.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.clock import microseconds
from ledger.encoding import INTEGER_MAX, EncodingError, unhex

NOTE_MAX = 64 * 1024  # characters; a note with every witness is below 10 KiB
SIGNATURES_MAX = 64  # lines; each costs a verification
SECONDS_MAX = 253_402_300_799  # the last second of the year 9999
ED25519, COSIGNATURE = b"\x01", b"\x04"
SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
NAME = re.compile(r"[!-*,-~]{1,255}")  # printable ASCII without space and plus

Sign = Callable[[bytes], bytes]


class CheckpointError(ValueError):
    """A note is malformed, or not signed by those who must sign."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A ledger's state after `size` entries."""

    origin: str
    size: int
    root: bytes
    chain: bytes

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.origin):
            raise CheckpointError(f"origin {self.origin!r:.80} is not a name")
        if not 0 <= self.size <= INTEGER_MAX or {len(self.root), len(self.chain)} != {32}:
            raise CheckpointError("a checkpoint needs a size and two 32-byte hashes")

    @property
    def text(self) -> str:
        """The four lines that are signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\nchain {self.chain.hex()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the four lines, refusing every other spelling of them."""
        lines = text.split("\n")
        if len(lines) != 5 or lines[4] or not lines[3].startswith("chain "):  # noqa: PLR2004 - four lines and an end
            raise CheckpointError("not origin, size, root and chain, a line each")
        if not SIZE.fullmatch(lines[1]):
            raise CheckpointError(f"size {lines[1]!r:.80} is not canonical")
        try:
            chain = unhex(lines[3].removeprefix("chain "), 32)
        except EncodingError as error:
            raise CheckpointError(str(error)) from None
        return cls(lines[0], int(lines[1]), _unbase64(lines[2]), chain)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line as it stands in a note."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a signature line without its newline."""
        dash, _, rest = line.partition(" ")
        name, _, blob = rest.partition(" ")
        if dash != "—" or not NAME.fullmatch(name):
            raise CheckpointError(f"not a signature line: {line!r:.80}")
        raw = _unbase64(blob)
        if len(raw) not in (4 + 64, 4 + 8 + 64):
            raise CheckpointError(f"signature of {name} has {len(raw)} bytes")
        return cls(name, raw[:4], raw[4:])


def key_id(name: str, algorithm: bytes, public_key: bytes) -> bytes:
    """Return the C2SP key id: four bytes that say which key of a name signed, and how."""
    return hashlib.sha256(name.encode() + b"\n" + algorithm + public_key).digest()[:4]


def sign(checkpoint: Checkpoint, name: str, public_key: bytes, sign: Sign) -> str:
    """Return a note with the service's signature."""
    body = checkpoint.text
    value = sign(body.encode())
    _check_signature(name, public_key, value, body.encode())
    return f"{body}\n{_signed(Signature(name, key_id(name, ED25519, public_key), value))}"


def cosign(note: str, name: str, public_key: bytes, sign: Sign, *, at: datetime) -> str:
    """Return the note with a witness's cosignature added; the caller has checked and persisted it before."""
    checkpoint, signatures = split(note)
    if any(signature.name == name for signature in signatures):
        raise CheckpointError(f"{name} has signed already")
    stamp = (microseconds(at) // 1_000_000).to_bytes(8, "big")
    message = _cosigned_message(stamp, checkpoint.text)
    value = sign(message)
    _check_signature(name, public_key, value, message)
    return note + _signed(Signature(name, key_id(name, COSIGNATURE, public_key), stamp + value))


def add(note: str, line: str) -> str:
    """Return the note with a signature line that came by itself, such as a witness's answer."""
    Signature.parse(line[:-1])
    state, signatures = split(note + line)
    # One order, whichever witness answered first: the service, then witnesses by name.
    ordered = sorted(signatures, key=lambda signature: (len(signature.value), signature.name))
    return f"{state.text}\n{''.join(signature.line for signature in ordered)}"


def add_cosignature(note: str, line: str, *, name: str, public_key: bytes) -> str:
    """Return the note with a witness's answer, or raise if it is not this witness's cosignature of it.

    A line of a known name that does not verify spoils the note for everybody: no liar's line may get there.
    """
    made = add(note, line)
    state, _ = split(note)
    signature = Signature.parse(line[:-1])
    if signature.name != name:
        raise CheckpointError(f"a line of {signature.name}, expected {name}")
    _check_key_id(signature, COSIGNATURE, public_key)
    stamp, value = signature.value[:8], signature.value[8:]
    _check_signature(name, public_key, value, _cosigned_message(stamp, state.text))
    return made


def only(note: str, names: Collection[str]) -> str:
    """Return the note with the signatures of these names only."""
    checkpoint, signatures = split(note)
    kept = [signature.line for signature in signatures if signature.name in names]
    if not kept:
        raise CheckpointError(f"no signature of {sorted(names)}")
    return f"{checkpoint.text}\n{''.join(kept)}"


def equivocation(first: str, second: str, keys: Mapping[str, bytes]) -> tuple[Checkpoint, Checkpoint]:
    """Return the two checkpoints of one lie: one key, one size, two states; raise if there is none.

    Anyone can verify this evidence against whoever holds the key; it needs no witness's word.
    """
    for name, key in keys.items():
        try:
            one, other = (verify(only(note, {name}), {name: key}) for note in (first, second))
        except CheckpointError:
            continue
        if (one.origin, one.size) == (other.origin, other.size) and one != other:
            return one, other
    raise CheckpointError("these notes are not two states of one size under one key")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a note, as what, and when a witness says it did."""

    name: str
    witness: bool
    at: datetime | None


def signers(note: str, keys: Mapping[str, bytes], witnesses: Mapping[str, bytes]) -> list[Signer]:
    """Return the known names whose lines verify; raise if one of a known name does not."""
    verify(note, keys, witnesses=witnesses)
    found = []
    for signature in split(note)[1]:
        if signature.name in keys:
            found.append(Signer(signature.name, witness=False, at=None))
        elif signature.name in witnesses:
            # A time that no calendar has is shown as the last one: a witness must not stop its reader.
            seconds = min(int.from_bytes(signature.value[:8], "big"), SECONDS_MAX)
            found.append(Signer(signature.name, witness=True, at=datetime.fromtimestamp(seconds, UTC)))
    return found


def split(note: str) -> tuple[Checkpoint, list[Signature]]:
    """Read a note's form; nothing is verified."""
    if len(note) > NOTE_MAX:
        raise CheckpointError(f"a note of {len(note)} characters, limit {NOTE_MAX}")
    body, _, tail = note.partition("\n\n")
    checkpoint = Checkpoint.parse(body + "\n")
    signatures = [Signature.parse(line) for line in tail[:-1].split("\n")]
    if len(signatures) > SIGNATURES_MAX:
        raise CheckpointError(f"{len(signatures)} signatures, limit {SIGNATURES_MAX}")
    if len({signature.name for signature in signatures}) != len(signatures):
        raise CheckpointError("two signatures under one name")
    # Python reads what is not canonical leniently; what was read must spell what was given, newlines as well.
    if checkpoint.text + "\n" + "".join(signature.line for signature in signatures) != note:
        raise CheckpointError("the note is not in canonical form")
    return checkpoint, signatures


def verify(
    note: str, keys: Mapping[str, bytes], quorum: int = 0, *, witnesses: Mapping[str, bytes] | None = None
) -> Checkpoint:
    """Return the checkpoint if a service key has signed it and `quorum` witnesses have cosigned it."""
    witnesses = witnesses or {}
    checkpoint, signatures = split(note)
    message = checkpoint.text.encode()
    signed, cosigned = set(), set()
    for signature in signatures:
        if public_key := keys.get(signature.name):
            _check_key_id(signature, ED25519, public_key)
            _check_signature(signature.name, public_key, signature.value, message)
            signed.add(public_key)
        elif public_key := witnesses.get(signature.name):
            _check_key_id(signature, COSIGNATURE, public_key)
            stamp, value = signature.value[:8], signature.value[8:]
            stamped = _cosigned_message(stamp, checkpoint.text)
            _check_signature(signature.name, public_key, value, stamped)
            cosigned.add(public_key)  # by key: one witness under two names counts once
    if not signed:
        raise CheckpointError(f"no signature of {sorted(keys)}")
    if len(cosigned) < quorum:
        raise CheckpointError(f"{len(cosigned)} of {quorum} witnesses")
    return checkpoint


def _signed(signature: Signature) -> str:
    if not NAME.fullmatch(signature.name):
        raise CheckpointError(f"{signature.name!r:.80} is not a signer's name")
    return signature.line


def _cosigned_message(stamp: bytes, body: str) -> bytes:
    return f"cosignature/v1\ntime {int.from_bytes(stamp, 'big')}\n{body}".encode()


def _check_key_id(signature: Signature, algorithm: bytes, public_key: bytes) -> None:
    if signature.key_id != key_id(signature.name, algorithm, public_key):
        raise CheckpointError(f"{signature.name} signed with another key or algorithm")


def _check_signature(name: str, public_key: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        raise CheckpointError(f"the signature of {name} does not verify") from None


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CheckpointError(f"{text!r:.80} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise CheckpointError(f"{text!r:.80} is not canonical base64")
    return raw
