"""A private relay, in a process of its own: it keeps bytes to itself until it is told to hand them over.

It answers whoever signs his request, lets only who brought bytes cancel them, and hands nothing over behind
the last block that it was given. At `/told` a test says how it behaves, and sees what it has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_hash.auto import keccak

ROOT = Path(__file__).parents[2]
KEPT_BLOCKS = 25
ASK_S = 10.0
HANG_S = 30.0
DRIP_S = 0.2
LONG = 2**20


class TestKey:
    """A secp256k1 key in memory, as a token would sign with it."""

    __test__ = False

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=False)

    def sign_digest(self, digest: bytes) -> bytes:
        """Return r ‖ s."""
        return self._key.sign_recoverable(digest, hasher=None)[:64]


@dataclass(frozen=True)
class Kept:
    """What somebody brought, and until when."""

    raw: str
    last_block: int
    by: str
    hints: list[str]


@dataclass
class Keeper:
    """What the relay has, and how it behaves at present."""

    node: str = ""
    behaves: str = ""
    kept: dict[str, Kept] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, call: dict[str, Any], by: str) -> Any:
        """Return what a signed request results in."""
        method, (asked,) = call["method"], call["params"]
        self.asked.append(method)
        if method == "eth_cancelPrivateTransaction":
            kept = self.kept.get(asked["txHash"])
            if kept is None or kept.by != by:
                return False
            del self.kept[asked["txHash"]]
            return True
        assert method == "eth_sendPrivateTransaction"
        if self.behaves == "another hash":
            return "0x" + "ab" * 32
        tx_hash = "0x" + keccak(bytes.fromhex(asked["tx"][2:])).hex()
        last = min(int(asked["maxBlockNumber"], 16), self._head() + KEPT_BLOCKS)
        assert asked["preferences"]["fast"] is False
        self.kept[tx_hash] = Kept(asked["tx"], last, by, asked["preferences"]["privacy"]["hints"])
        return tx_hash

    def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what a test says, and tell it what is here."""
        self.node = order.get("node", self.node)
        self.behaves = order.get("behaves", self.behaves)
        if order.get("hand_over"):
            self._hand_over()
        return {"kept": {each: vars(kept) for each, kept in self.kept.items()}, "asked": self.asked}

    def _hand_over(self) -> None:
        head = self._head()
        self.kept = {each: kept for each, kept in self.kept.items() if kept.last_block > head}
        for kept in [] if self.behaves == "publishes nothing" else list(self.kept.values()):
            self._ask("eth_sendRawTransaction", kept.raw)

    def _head(self) -> int:
        return int(self._ask("eth_blockNumber"), 16)

    def _ask(self, method: str, *params: object) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return requests.post(self.node, json=call, timeout=ASK_S).json().get("result")


class Handler(BaseHTTPRequestHandler):
    """Answers as the keeper behaves."""

    keeper = Keeper()

    def do_POST(self) -> None:
        """Answer a test, or whoever has signed."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/told":
            self._say(json.dumps(self.keeper.told(json.loads(body))).encode())
            return
        by = _signer(self.headers.get("X-Flashbots-Signature", ""), body)
        if by is None:
            self.send_error(403)
        else:
            self._behave(self.keeper.behaves, json.loads(body), by)

    def _behave(self, behaves: str, call: dict[str, Any], by: str) -> None:
        error = {"code": -32000, "message": f"not for {self.headers['Host']}"}
        plain = {
            "no JSON": b"<html>",
            "a list": b"[1]",
            "refuses": json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode(),
        }
        if behaves == "fails":
            self.send_error(500)
        elif behaves == "silent":
            time.sleep(HANG_S)
        elif behaves in plain:
            self._say(plain[behaves])
        else:
            result = {"jsonrpc": "2.0", "id": 1, "result": self.keeper.answer(call, by)}
            filler = b" " * (LONG if behaves == "too much" else 0)
            self._say(json.dumps(result).encode() + filler, slowly=behaves == "drips")

    def _say(self, body: bytes, *, slowly: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for place in range(0, len(body), 1 if slowly else len(body)):
                time.sleep(DRIP_S if slowly else 0)
                self.wfile.write(body[place : place + 1] if slowly else body)
        except OSError:
            return  # whoever asked has gone

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Ends although somebody is kept waiting."""

    daemon_threads = True


def _signer(header: str, body: bytes) -> str | None:
    address, _, signature = header.partition(":")
    try:
        signed = Account.recover_message(
            encode_defunct(text="0x" + keccak(body).hex()), signature=bytes.fromhex(signature[2:])
        )
    except Exception:  # noqa: BLE001 - whatever it was, nobody signed
        return None
    return address if signed == address else None


@dataclass
class Running:
    """The process, as a test holds it."""

    port: int
    _process: subprocess.Popen[str] | None = None
    _node: str = ""

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}/secret-path"

    def start(self) -> None:
        """Start it, with nothing kept; wait until it says its port."""
        command = [sys.executable, "-m", "tests.chain.relay", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            self.port = int(said.readline())
        self.tell(node=self._node)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def behind(self, node: str) -> None:
        """Say to which node it hands what it has."""
        self._node = node
        self.tell(node=node)

    def tell(self, **order: object) -> dict[str, Any]:
        """Tell it what to do; return what it has."""
        told: dict[str, Any] = requests.post(
            f"http://127.0.0.1:{self.port}/told", json=order, timeout=ASK_S
        ).json()
        return told

    def kept(self) -> dict[str, Any]:
        """Return what it keeps, by hash."""
        kept: dict[str, Any] = self.tell()["kept"]
        return kept


@contextmanager
def relaying(node: str = "") -> Iterator[Running]:
    """Run a relay before a node."""
    running = Running(0, _node=node)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def main() -> None:
    """Serve on a port, any free one for 0, and print which."""
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
