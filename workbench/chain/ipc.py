"""JSON-RPC over a unix socket, both ends: to a private fork, and the door by which it asks its node.

(1) A fork runs in a network namespace of its own, where it can neither be reached nor reach anybody. It has
    two sockets in a folder that is ours alone: `Pipe` talks to it, and at `Door` it asks for the chain's
    state.
(2) The door lets reads through and nothing else: what runs on a fork cannot be sent to the chain, whatever
    the fork is talked into.
(3) The node's address stays with us: it may hold a key, and a process's arguments are everybody's to read.
(4) A peer that is gone is an error at once, and nothing is asked twice.
(5) The door keeps what the node said of a block, until the fork goes to another one (`renew`): a fork that
    is set back has forgotten it, and its next simulation reads the same. Of the other block it asks the same
    things at once, instead of one by one while something runs. Whether it was true is proven afterwards,
    kept or not.

web3's own client waits out its whole time-out over a closed socket, and sends a request again; that is why
this one is ours.
"""

import codecs
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from workbench.chain.errors import NodeError, RpcError

# A trace with the code of all that it touched has some 100 kB.
MESSAGE_MAX: Final = 256 * 1024 * 1024
READ: Final = 256 * 1024
QUEUE: Final = 16

READS: Final = frozenset(
    {
        "eth_blockNumber",
        "eth_chainId",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getAccountInfo",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getStorageAt",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "net_version",
        "web3_clientVersion",
    }
)

# Of these a fork names the block.
KEPT: Final = frozenset(
    {"eth_getAccountInfo", "eth_getBalance", "eth_getCode", "eth_getStorageAt", "eth_getTransactionCount"}
)
KEPT_MAX: Final = 20_000
# Some four kinds of swap. Nodes limit a batch, some to a thousand; beyond, a new block starts with nothing.
RENEWED_MAX: Final = 512

# The JSON edge.
Json = Any


class Upstream(Protocol):
    """What a door asks: a node."""

    def call(self, method: str, *params: Json) -> Json:
        """Return the result of one call."""
        ...

    def batch(self, calls: Sequence[tuple[str, list[Json]]]) -> list[Json]:
        """Return the results of several calls, an `RpcError` in the place of each that failed."""
        ...


class Pipe:
    """Our end of a fork's socket; one thread at a time."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._messages = _messages(self._socket)
        self._ids = itertools.count()

    def make_request(self, method: str, params: Json) -> Json:
        """Return the answer to one call."""
        return self._answer(self._request(method, params))

    def make_batch_request(self, calls: Sequence[tuple[str, Json]]) -> Json:
        """Return the answers to several calls, in their order."""
        asked = [self._request(method, params) for method, params in calls]
        answers = self._answer(asked)
        if not isinstance(answers, list):
            raise TypeError("a batch is answered by a list")
        by_id = {each.get("id"): each for each in answers if isinstance(each, dict)}
        return [by_id[each["id"]] for each in asked] if len(by_id) == len(asked) else []

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _request(self, method: str, params: Json) -> dict[str, Json]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    def _answer(self, message: Json) -> Json:
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        answer = next(self._messages, None)
        if answer is None:
            raise ConnectionError("the other end was gone before")
        return answer


class Door:
    """Where a fork asks its node; ends with `close`."""

    def __init__(self, path: Path, node: Upstream) -> None:
        self.path = path
        self._node = node
        self._kept: dict[str, Json] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(QUEUE)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def keeps(self) -> int:
        """How many answers it keeps."""
        return len(self._kept)

    def read(self) -> set[tuple[str, str | None]]:
        """Return the accounts, and the slots of accounts, of which it keeps something."""
        names = [json.loads(name) for name in list(self._kept)]
        return {(asked[0], asked[1] if method == "eth_getStorageAt" else None) for method, asked in names}

    def renew(self, number: int) -> None:
        """Keep nothing of what the node said so far, but the same of this block."""
        asked = [json.loads(name) for name in list(self._kept)]
        self._kept = {}
        if not 0 < len(asked) <= RENEWED_MAX:
            return
        calls = [(method, [*params[:-1], hex(number)]) for method, params in asked]
        try:
            answers = self._node.batch(calls)
        except NodeError:
            return  # not every node takes so many at once; one by one, it says whatever it says
        told = zip(calls, answers, strict=True)
        self._kept = {_name(*call): answer for call, answer in told if not isinstance(answer, RpcError)}

    def close(self) -> None:
        """Let nobody in any more; whoever is inside leaves with his fork."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        # The fork is ours, and what it runs is anybody's: whatever cannot be answered ends the conversation.
        with peer, contextlib.suppress(*_UNANSWERABLE):
            for asked in _messages(peer):
                told = [self._told(each) for each in asked] if isinstance(asked, list) else self._told(asked)
                peer.sendall(json.dumps(told).encode() + b"\n")

    def _told(self, asked: dict[str, Json]) -> dict[str, Json]:
        answer = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] not in READS:  # (2)
            return answer | {"error": {"code": -32601, "message": f"{asked['method']!r:.60} is no read"}}
        try:
            return answer | {"result": self._result(asked["method"], asked.get("params", []))}
        except RpcError as error:
            return answer | {"error": {"code": error.code, "message": error.message}}
        except NodeError as error:
            return answer | {"error": {"code": -32000, "message": str(error)}}

    def _result(self, method: str, params: Json) -> Json:
        if method not in KEPT:
            return self._node.call(method, *params)
        kept, name = self._kept, _name(method, params)  # (5)
        if name not in kept:
            result = self._node.call(method, *params)
            if len(kept) < KEPT_MAX:
                kept[name] = result
            return result
        return kept[name]


def _name(method: str, params: Json) -> str:
    return json.dumps([method, params])


def _messages(peer: socket.socket) -> Iterator[Json]:
    """Yield what the other end says; it writes JSON behind JSON, with or without something in between."""
    waiting = ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while True:
        part = peer.recv(READ)
        if not part:
            raise ConnectionError("the other end is gone")  # (4)
        waiting = (waiting + decoder.decode(part)).lstrip()
        if len(waiting) > MESSAGE_MAX:
            raise ValueError("a message without an end")
        while waiting.rstrip().endswith(("}", "]")):
            try:
                message, end = _JSON.raw_decode(waiting)
            except ValueError:
                break  # the bracket is one inside
            yield message
            waiting = waiting[end:].lstrip()


_JSON: Final = json.JSONDecoder()
_UNANSWERABLE: Final = (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError)
