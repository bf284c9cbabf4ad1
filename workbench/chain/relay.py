"""A private relay: signed bytes go to it alone, until a block, instead of to the nodes' pools.

(1) What is asked is JSON-RPC by HTTP: `eth_sendPrivateTransaction` with the bytes, the last block in which
    they may be included, and what the relay may tell others; `eth_cancelPrivateTransaction` with their hash.
(2) It may tell nothing but the hints that are configured: a list of them is always sent, also an empty one.
    Fast mode, which shares the bytes with more builders and cannot be cancelled, is declined.
(3) `X-Flashbots-Signature` says whose request it is: an address, and its EIP-191 signature over the hash of
    the body in hex. That form is no transaction's, so the key can spend nothing, whatever it is asked.
(4) The answer to bytes is their hash, to a cancel `true`. Anything else is an error, and nothing is believed
    beyond it: whether the bytes are in a block, the chain says.
(5) Each request ends at a deadline and within so many bytes. None is repeated, and its address, which may
    contain a key, is in no error.

Left to others: whether these bytes may be sent at all, and by this way (`workbench.rules.carriage`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from eth_hash.auto import keccak

from ledger.exchange import connected, exchange, target
from workbench.chain.errors import ChainError
from workbench.evm.fields import to_rpc
from workbench.evm.transaction import address_of, signature_for

TIMEOUT_S: Final = 5.0
# A hash in an envelope is a few hundred bytes with its headers.
ANSWER_MAX: Final = 16 * 1024
SAID_MAX: Final = 200
HINTS: Final = frozenset(
    {"calldata", "contract_address", "default_logs", "function_selector", "hash", "logs", "tx_hash"}
)
SIGNATURE_HEADER: Final = "X-Flashbots-Signature"
PERSONAL: Final = b"\x19Ethereum Signed Message:\n"
# What ecrecover calls a parity of nothing.
V_FIRST: Final = 27


class RelayError(ChainError):
    """The relay could not be reached, refused, or answered something else than it was asked."""


class DigestKey(Protocol):
    """A secp256k1 key, wherever it lives."""

    @property
    def public_key(self) -> bytes:
        """The 65-byte point."""
        ...

    def sign_digest(self, digest: bytes, /) -> bytes:
        """Return r ‖ s over a 32-byte digest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One relay: its address, the key that it knows us by, and what it may tell others."""

    url: str
    key: DigestKey
    hints: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Refuse an address or a hint that could only be found out to be wrong when it is needed."""
        try:
            target(self._parts)
        except ValueError as error:
            raise RelayError(f"relay: {error}") from None
        if len(set(self.hints)) != len(self.hints) or not set(self.hints) <= HINTS:
            raise RelayError(f"relay: hints {sorted(self.hints)}, known are {sorted(HINTS)}")

    def send(self, raw: bytes, *, last_block: int) -> None:
        """(1) (2) Give signed bytes to the relay, which may have them included until a block."""
        wanted = to_rpc(keccak(raw))
        asked = {
            "tx": to_rpc(raw),
            "maxBlockNumber": hex(last_block),
            "preferences": {"fast": False, "privacy": {"hints": list(self.hints)}},
        }
        if self._ask("eth_sendPrivateTransaction", asked) != wanted:
            raise RelayError(f"relay: its answer is not the hash {wanted}")

    def cancel(self, tx_hash: bytes) -> None:
        """(1) Have the relay forget bytes that it was given, if they are in no block yet."""
        if self._ask("eth_cancelPrivateTransaction", {"txHash": to_rpc(tx_hash)}) is not True:
            raise RelayError(f"relay: it does not say that it has cancelled {to_rpc(tx_hash)}")

    def _ask(self, method: str, asked: Mapping[str, Any]) -> object:
        """(3) (4) (5) Return what one request results in."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [asked]}
        body = json.dumps(call, separators=(",", ":")).encode()
        head = [
            f"POST {target(self._parts)} HTTP/1.1",
            f"Host: {self._parts.netloc}",
            "Content-Type: application/json",
            f"{SIGNATURE_HEADER}: {_authenticated(self.key, body)}",
        ]
        try:
            answer = exchange(
                partial(connected, self._parts), head, body, limit=ANSWER_MAX, timeout_s=self.timeout_s
            )
        except (OSError, HTTPException, ValueError) as error:
            raise RelayError(f"relay: no answer: {type(error).__name__}") from None
        if answer.status != HTTPStatus.OK:
            raise RelayError(f"relay: HTTP {answer.status}")
        return self._result(answer.body)

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    def _result(self, body: bytes) -> object:
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            raise RelayError("relay: its answer is not JSON") from None
        if not isinstance(told, dict):
            raise RelayError("relay: its answer is not an object")
        if told.get("error") is not None:
            raise RelayError(f"relay: it refuses: {self._hidden(str(told['error']))[:SAID_MAX]}")
        return told.get("result")

    def _hidden(self, text: str) -> str:
        for part in (self.url, self._parts.netloc, self._parts.path.strip("/")):
            text = text.replace(part, "<relay>") if part else text
        return "".join(each if " " <= each <= "~" else "?" for each in text)


def _authenticated(key: DigestKey, body: bytes) -> str:
    """(3) Return the header's value: whose request it is, and the signature that shows it."""
    said = to_rpc(keccak(body)).encode()
    digest = keccak(PERSONAL + str(len(said)).encode() + said)
    r, s, y_parity = signature_for(digest, key.sign_digest(digest), key.public_key)
    signature = r.to_bytes(32) + s.to_bytes(32) + bytes([V_FIRST + y_parity])
    return f"{address_of(key.public_key)}:{to_rpc(signature)}"
