"""A node that lies: a real one stands behind it, and what it answers is changed, held back or delayed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Lie = Callable[[str, list[Any], Any], Any]
"""Method, parameters and the true result; returns what is told instead."""


class RefusesError(Exception):
    """A lie raises it: the node answers with an error."""


def truth(_: str, __: list[Any], result: Any) -> Any:
    """Change nothing."""
    return result


@dataclass
class Liar:
    """What the node in between does at present."""

    url: str
    lie: Lie = truth
    delay_s: float = 0.0
    drip_s: float = 0.0
    away: bool = False
    """It hangs up on whoever asks."""
    asked: int = 0
    says: bytes | None = None
    """What it answers everybody, whatever was asked; None: an answer to the question."""


@contextmanager
def lying(upstream: str) -> Iterator[Liar]:
    """Stand before a node; it tells the truth until it is told to lie."""
    behind = requests.Session()  # a new connection for each question is slow on a busy machine

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for 40 ms

        def do_POST(self) -> None:
            liar.asked += 1
            if liar.away:
                self.close_connection = True
                return
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(liar.delay_s)
            told = behind.post(upstream, json=asked, timeout=30).json()
            pairs = zip(asked, told, strict=True) if isinstance(asked, list) else [(asked, told)]
            for call, each in pairs:
                if "result" in each:
                    try:
                        each["result"] = liar.lie(call["method"], call.get("params", []), each["result"])
                    except RefusesError:
                        del each["result"]
                        each["error"] = {"code": -32005, "message": "more than this node gives"}
            body = json.dumps(told).encode() if liar.says is None else liar.says
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                for place in range(0, len(body), 1 if liar.drip_s else len(body)):
                    time.sleep(liar.drip_s)
                    self.wfile.write(body[place : place + 1] if liar.drip_s else body)
                    self.wfile.flush()
            except OSError:
                return  # whoever asked has gone

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # a fork opens dozens of connections at once

    server = Server(("127.0.0.1", 0), Handler)
    liar = Liar(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield liar
    finally:
        liar.delay_s = liar.drip_s = 0.0
        server.shutdown()
        thread.join()
        server.server_close()
