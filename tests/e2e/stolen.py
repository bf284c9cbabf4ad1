"""What a test may do and nobody else: put a shared key together from its co-signers' disks; look for it."""

from __future__ import annotations

import re
from pathlib import Path

import coincurve
from Crypto.Cipher import ChaCha20_Poly1305

from ledger.encoding import parse
from tests.hsm import no_token_open, open_softhsm
from workbench.custody.shares import SEALED_MAX, Sealed
from workbench.process.config import StateRoot

N = int("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141", 16)
MAGIC, NONCE, TAG = 6, 24, 16
SCALAR_AT = 37
"""In the engine's form: two parameters, the party, 32 bytes of session with their length, and a length."""
PIECE = 1 << 24


def share_of(root: Path, name: str, sealing: str, key: str) -> tuple[int, int]:
    """Open a co-signer's sealed share as its own token would; return the party and the secret."""
    no_token_open()
    token = open_softhsm(root, name, StateRoot(root).pin())
    folder = root / "shares" / key
    index = parse((folder / "index.json").read_bytes(), limit=1 << 20)
    sealed = Sealed.read((folder / f"{index['current']['run']}.share").read_bytes(), limit=2 * SEALED_MAX)
    fresh = token.sealing(sealing).open(sealed.sealed_key, sealed.associated)
    token.close()
    secret = opened(bytes.fromhex(sealed.share), fresh, sealed.associated)
    # the point that everybody verified: it is the secret, and not something beside it
    point = coincurve.PrivateKey(secret.to_bytes(32)).public_key.format()
    assert point.hex() == index["current"]["points"][sealed.party - 1]
    return sealed.party, secret


def opened(sealed: bytes, key: bytes, associated: bytes) -> int:
    """Return the secret of a share that the engine has sealed under this key."""
    closed = sealed[MAGIC:]
    cipher = ChaCha20_Poly1305.new(key=key, nonce=closed[:NONCE])
    cipher.update(associated)
    plain = cipher.decrypt_and_verify(closed[NONCE:-TAG], closed[-TAG:])
    return int.from_bytes(plain[SCALAR_AT : SCALAR_AT + 32])


def whole(shares: dict[int, int]) -> int:
    """Return the key that these shares lie on."""
    key = 0
    for party, secret in shares.items():
        weight = 1
        for other in shares:
            if other != party:
                weight = weight * other * pow(other - party, -1, N) % N
        key = (key + secret * weight) % N
    return key


def point(secret: int) -> bytes:
    """Return a secret's 65-byte point."""
    return coincurve.PrivateKey(secret.to_bytes(32)).public_key.format(compressed=False)


def limbs(secret: int) -> list[bytes]:
    """Return a secret as the engine computes with it: 64-bit words, the least first."""
    return [b"".join((secret >> shift & (2**64 - 1)).to_bytes(8, "little") for shift in range(0, 256, 64))]


def forms(secret: int) -> list[bytes]:
    """Return the forms in which a secret may lie somewhere."""
    raw = secret.to_bytes(32)
    return [raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), str(secret).encode()]


def in_files(folder: Path, wanted: list[bytes]) -> list[str]:
    """Return the files below a folder that hold one of these."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in wanted)
    ]


def in_memory(pid: int, wanted: list[bytes]) -> bool:
    """Whether a process has one of these anywhere in its memory."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    overlap = max(len(form) for form in wanted)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) r", maps, re.MULTILINE):
            at, until, tail = int(start, 16), int(end, 16), b""
            while at < until:
                try:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, until - at))
                except (OSError, ValueError, OverflowError):
                    break
                if not piece:
                    break
                if any(form in tail + piece for form in wanted):
                    return True
                at, tail = at + len(piece), piece[-overlap:]
    return False
