"""A CTAP2 authenticator in software, for the demo world and the tests.

It presses its own button: whoever can read its file is the officer. Its model number
(AAGUID) is admitted by a demo trust root only; a production one cannot name it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.base import Ctap2
from fido2.hid import CAPABILITY
from fido2.webauthn import AttestedCredentialData, AuthenticatorData

from workbench.rules.trust import UNSAFE_AAGUID

FLAGS = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV


class UnsafeSoftwareAuthenticator(CtapDevice):
    """Credentials in a file, a counter that rises, presence and verification always granted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._commands: dict[int, Callable[[dict[int, Any]], dict[int, Any]]] = {
            Ctap2.CMD.GET_INFO: self._info,
            Ctap2.CMD.MAKE_CREDENTIAL: self._make,
            Ctap2.CMD.GET_ASSERTION: self._assert,
        }

    @property
    def capabilities(self) -> int:
        """CTAP2 only."""
        return CAPABILITY.CBOR

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Software has no bus to be found on."""
        return iter(())

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: Event | None = None,  # noqa: ARG002 - the interface's
        on_keepalive: Callable[[STATUS], None] | None = None,  # noqa: ARG002 - the interface's
    ) -> bytes:
        """Answer one CTAP2 command."""
        command = self._commands.get(data[0]) if cmd == 0x10 else None  # noqa: PLR2004 - CTAPHID_CBOR
        if command is None:
            raise CtapError(CtapError.ERR.INVALID_COMMAND)
        request = cbor.decode(data[1:]) if len(data) > 1 else {}
        if not isinstance(request, dict):
            raise CtapError(CtapError.ERR.INVALID_CBOR)
        return b"\x00" + cbor.encode(command(request))

    def _info(self, _request: dict[int, Any]) -> dict[int, Any]:
        return {
            1: ["FIDO_2_0"],
            3: bytes.fromhex(UNSAFE_AAGUID),
            4: {"rk": False, "up": True, "uv": True},
            6: [2],
        }

    def _make(self, request: dict[int, Any]) -> dict[int, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        credential_id = secrets.token_bytes(32)
        rp_id = request[2]["id"]
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store = self._load()
        store[credential_id.hex()] = {"rp_id": rp_id, "key": pem.decode(), "counter": 1}
        self._save(store)
        public = ES256.from_cryptography_key(key.public_key())  # type: ignore[no-untyped-call]
        attested = AttestedCredentialData.create(bytes.fromhex(UNSAFE_AAGUID), credential_id, public)
        data = AuthenticatorData.create(_hash(rp_id), FLAGS | AuthenticatorData.FLAG.AT, 1, bytes(attested))
        signature = key.sign(bytes(data) + request[1], ec.ECDSA(hashes.SHA256()))
        return {1: "packed", 2: bytes(data), 3: {"alg": ES256.ALGORITHM, "sig": signature}}

    def _assert(self, request: dict[int, Any]) -> dict[int, Any]:
        store = self._load()
        wanted = [item["id"].hex() for item in request.get(3, [])]
        mine = [name for name in wanted if name in store and store[name]["rp_id"] == request[1]]
        if not mine:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        entry = store[mine[0]]
        # the counter is on disk before the signature exists
        entry["counter"] += 1
        self._save(store)
        data = _hash(request[1]) + struct.pack(">BI", FLAGS, entry["counter"])
        key = serialization.load_pem_private_key(entry["key"].encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CtapError(CtapError.ERR.INVALID_CREDENTIAL)
        signature = key.sign(data + request[2], ec.ECDSA(hashes.SHA256()))
        return {1: {"id": bytes.fromhex(mine[0]), "type": "public-key"}, 2: data, 3: signature}

    def _load(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def _save(self, store: dict[str, Any]) -> None:
        partial = self._path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(store, file)
        partial.replace(self._path)


def _hash(rp_id: str) -> bytes:
    return hashlib.sha256(rp_id.encode()).digest()
