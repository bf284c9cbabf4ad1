"""One node, spoken to over JSON-RPC; nothing it says is believed because it says it.

(1) Every call has a time-out, and none is repeated silently: whoever asks decides whether to ask again.
(2) A header is hashed again and must have the hash, and the number, that was asked for.
(3) Errors have two kinds: the node did not answer properly (`NodeError`), or it answered with an error
    (`RpcError`).
(4) The node's address, which may contain a key, is in no error: of what the transport says only the kind is
    told, and of others' words the address is taken out (`hidden`).
(5) No proxy: environment variables do not decide which machine tells us about the chain.
(6) An answer that is deeper than Python reads is none: it ends the answer, and not the process.

web3's HTTP provider does the transport; of its defaults, retries, proxies, the ten-second time-out and the
limit of recursion are overridden. A private fork is asked over its socket. Left to others: whether several
nodes agree, and what a value means. The length of an answer is not limited here: the provider reads it whole,
so a node can cost memory.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

import requests
from web3 import HTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from workbench.chain.errors import NodeError, RpcError
from workbench.chain.ipc import Pipe
from workbench.evm.errors import EvmError
from workbench.evm.fields import from_rpc_hex, from_rpc_quantity, to_rpc
from workbench.evm.header import Header

TIMEOUT_S: Final = 10.0
# anvil answers 3,600 simple calls a second; a batch must end within its time-out.
BATCH_MAX: Final = 4096

# (6) Python's own. A library that web3 loads raises it to 100,000 for the whole process, and so deep Python's
# JSON reader runs over the end of its stack: 100,000 brackets of a node's would be a segmentation fault.
RECURSION_MAX: Final = 1000
sys.setrecursionlimit(RECURSION_MAX)

# The JSON edge: what a node sent, before anything about it was checked.
Json = Any


_UNANSWERED: Final = (OSError, Web3Exception, ValueError, TypeError, RecursionError)


class Transport(Protocol):
    """How questions reach a node, one or several at once; what it raises is an error of the node's."""

    def make_request(self, method: RPCEndpoint, params: Json) -> Json:
        """Return the whole JSON-RPC answer."""
        ...

    def make_batch_request(self, calls: list[tuple[RPCEndpoint, Json]]) -> Json:
        """Return the answers in the order of the calls."""
        ...


class Node:
    """One node at one address: a URL, or the path of a private fork's socket."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._provider: Transport
        if url.startswith("/"):
            pipe = Pipe(Path(url), timeout_s=timeout_s)
            self._provider, self._close = pipe, pipe.close
            return
        session = requests.Session()
        session.trust_env = False  # (5)
        self._close = session.close
        self._provider = HTTPProvider(
            url,
            request_kwargs={"timeout": timeout_s},  # (1)
            session=session,
            exception_retry_configuration=None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._close()

    def call(self, method: str, *params: Json) -> Json:
        """Return the result of one call."""
        try:
            response = self._provider.make_request(RPCEndpoint(method), list(params))
        except _UNANSWERED as error:
            raise _unanswered(method, error) from None
        return _result(method, response)

    def hidden(self, text: str) -> str:
        """Return text without this node's address, such as another program's that was given it."""
        for part in (self.url, urlsplit(self.url).netloc, urlsplit(self.url).path.strip("/")):
            text = text.replace(part, "<node>") if part else text
        return text

    def batch(self, calls: Sequence[tuple[str, list[Json]]]) -> list[Json | RpcError]:
        """Return the results of several calls, an `RpcError` in the place of each that failed."""
        if not calls:
            return []
        if len(calls) > BATCH_MAX:
            raise NodeError(f"a batch of {len(calls)} calls, at most {BATCH_MAX}")
        try:
            responses = self._provider.make_batch_request([(RPCEndpoint(m), p) for m, p in calls])
        except _UNANSWERED as error:
            raise _unanswered("batch", error) from None
        if not isinstance(responses, list) or len(responses) != len(calls):
            raise NodeError("batch: not one answer for each call")
        return [_result_or_error(method, each) for (method, _), each in zip(calls, responses, strict=True)]

    def chain_id(self) -> int:
        """Return the chain id the node claims."""
        return self._quantity("eth_chainId")

    def head(self) -> Header:
        """Return the header of the newest block."""
        return self.header_tagged("latest")

    def header_tagged(self, tag: str) -> Header:
        """Return the header of the block that the node gives a name, such as `finalized`."""
        return self._header("eth_getBlockByNumber", tag)

    def header_at(self, number: int) -> Header:
        """Return the header of the block that stands at `number`."""
        header = self._header("eth_getBlockByNumber", hex(number))
        if header.number != number:  # (2)
            raise NodeError(f"got block {header.number}, asked for {number}")
        return header

    def header_of(self, block_hash: bytes) -> Header:
        """Return the header that hashes to `block_hash`."""
        header = self._header("eth_getBlockByHash", to_rpc(block_hash))
        if header.hash() != block_hash:  # (2)
            raise NodeError(f"got block {header.hash().hex()}, asked for {block_hash.hex()}")
        return header

    def block_transaction_hashes(self, block_hash: bytes) -> list[bytes]:
        """Return the hashes of a block's transactions, as claimed."""
        block = self.call("eth_getBlockByHash", to_rpc(block_hash), False)  # noqa: FBT003  # JSON-RPC's own form
        hashes = block.get("transactions") if isinstance(block, dict) else None
        if not isinstance(hashes, list):
            raise NodeError("a block has a list of transactions")
        return [self.read_hex(each, size=32) for each in hashes]

    def nonce(self, address: str, block: str = "latest") -> int:
        """Return an account's nonce, as claimed."""
        return self._quantity("eth_getTransactionCount", address, block)

    def eth_call(self, to: str, data: bytes, block: str) -> bytes:
        """Return what a contract answers, as claimed."""
        return self.read_hex(self.call("eth_call", {"to": to, "data": to_rpc(data)}, block))

    def read_hex(self, value: Json, *, size: int | None = None) -> bytes:
        """Return JSON-RPC data as bytes."""
        try:
            return from_rpc_hex(value, size=size)
        except ValueError as error:
            raise NodeError(str(error)) from error

    def read_quantity(self, value: Json) -> int:
        """Return a JSON-RPC quantity as a number."""
        try:
            return from_rpc_quantity(value)
        except ValueError as error:
            raise NodeError(str(error)) from error

    def _quantity(self, method: str, *params: Json) -> int:
        return self.read_quantity(self.call(method, *params))

    def _header(self, method: str, which: str) -> Header:
        block = self.call(method, which, False)  # noqa: FBT003  # JSON-RPC's own form: hashes only
        if not isinstance(block, dict):
            raise NodeError(f"there is no block {which}")
        try:
            return Header.from_rpc(block)
        except EvmError as error:
            raise NodeError(f"block {which}: {error}") from error


def _unanswered(method: str, error: Exception) -> NodeError:
    response = getattr(error, "response", None)
    status = f" {response.status_code}" if isinstance(response, requests.Response) else ""
    return NodeError(f"{method}: {type(error).__name__}{status}")


def _result(method: str, response: Json) -> Json:
    result = _result_or_error(method, response)
    if isinstance(result, RpcError):
        raise result
    return result


def _result_or_error(method: str, response: Json) -> Json | RpcError:
    if not isinstance(response, dict):
        raise NodeError(f"{method}: not a JSON-RPC answer")
    error = response.get("error")
    if error is None and "result" in response:
        return cast("Json", response["result"])
    if isinstance(error, dict):
        code, message = error.get("code"), str(error.get("message"))[:300]
        return RpcError(method, code if isinstance(code, int) else 0, message)
    raise NodeError(f"{method}: neither a result nor an error")
