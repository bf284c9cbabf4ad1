"""Nodes: late, absent, wrong and lying ones."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.chain.world import PACKAGES, TREASURY, World
from workbench.chain.anvil import Anvil, Private
from workbench.chain.errors import NodeError, RpcError
from workbench.chain.node import BATCH_MAX, Node
from workbench.chain.state import proven_account
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.proof import ABSENT

NOBODY = "0xe3C5Ed1C2D5b3c7dF1A8aD3E2E7e1dE6e2bB9F3B"


class _Says(BaseHTTPRequestHandler):
    """Answers every request with the same bytes."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def saying() -> Iterator[Callable[[bytes], str]]:
    """Return a function that starts a server which says one thing to everybody."""
    servers = []

    def start(body: bytes) -> str:
        """Start the process and return when it answers."""
        server = HTTPServer(("127.0.0.1", 0), _Says)
        server.body = body
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_headers_hash_to_what_they_are_asked_by(world: World) -> None:
    """Every block from genesis on is read, hashed again, and is the parent of the next."""
    head = world.node.head()
    headers = [world.node.header_at(number) for number in range(head.number + 1)]
    assert [each.parent_hash for each in headers[1:]] == [each.hash() for each in headers[:-1]]
    assert world.node.header_of(head.hash()) == head


def test_a_block_that_is_not_there(world: World) -> None:
    """A missing block is an error, not an empty header."""
    with pytest.raises(NodeError):
        world.node.header_at(10**6)
    with pytest.raises(NodeError):
        world.node.header_of(b"\1" * 32)


def test_accounts_come_with_their_proofs(world: World) -> None:
    """The treasury, a contract and an address that never existed are all proven."""
    head = world.node.head()
    assert proven_account(world.node, head, TREASURY).account.balance == 10 * newswap.ETHER
    assert proven_account(world.node, head, world.deployment.pool).account.nonce == 1
    assert proven_account(world.node, head, newswap.checksummed(b"\7" * 20)).account == ABSENT


def test_history_is_proven_too(world: World) -> None:
    """At the block before its funding the treasury was absent."""
    before = next(
        header
        for header in (world.node.header_at(number) for number in range(world.node.head().number, 0, -1))
        if proven_account(world.node, header, TREASURY).account == ABSENT
    )
    assert proven_account(world.node, before, TREASURY).account.balance == 0


@pytest.mark.parametrize(
    ("cheat", "value"),
    [
        pytest.param("anvil_setBalance", "0xde0b6b3a7640000", id="a false balance"),
        pytest.param("anvil_setNonce", "0x63", id="a false nonce"),
        pytest.param("anvil_setCode", "0x6000", id="false code"),
    ],
)
def test_a_node_that_lies_about_an_account(fresh_world: World, cheat: str, value: str) -> None:
    """The header still agrees, but no proof leads from its state root to the lie."""
    head = fresh_world.node.head()
    fresh_world.node.call(cheat, TREASURY, value)
    assert fresh_world.node.head() == head
    with pytest.raises(NodeError, match="proof fails"):
        proven_account(fresh_world.node, head, TREASURY)


def test_each_block_proves_its_own_state(fresh_world: World) -> None:
    """A payment shows under the header after it, and not under the one before."""
    old = fresh_world.node.head()
    chain.send(fresh_world.node, sender=newswap.DEPLOYER, to=TREASURY, value=1)
    new = fresh_world.node.head()
    assert proven_account(fresh_world.node, new, TREASURY).account.balance == 10 * newswap.ETHER + 1
    assert proven_account(fresh_world.node, old, TREASURY).account.balance == 10 * newswap.ETHER


def test_an_address_that_is_none(world: World) -> None:
    """A malformed address is refused by the node or by the proof."""
    with pytest.raises(NodeError):
        proven_account(world.node, world.node.head(), "0x12")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'{"jsonrpc":"2.0","id":0}', id="neither result nor error"),
        pytest.param(b'{"jsonrpc":"2.0","id":0,"error":"no"}', id="an error that is text"),
        pytest.param(b'{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no"}}', id="an error"),
        pytest.param(b'{"jsonrpc":"2.0","id":0,"result":null}', id="null"),
        pytest.param(b'{"jsonrpc":"2.0","id":0,"result":{"hash":"0x00"}}', id="a block without fields"),
        pytest.param(b"[" * 100_000, id="deeper than is read"),
        pytest.param(b'{"id":0,"result":' + b"[" * 900 + b"]" * 900 + b"}", id="as deep as is read"),
    ],
)
def test_a_node_that_says_something_else(saying: Callable[[bytes], str], body: bytes) -> None:
    """Whatever is no header is an error of the node."""
    node = Node(saying(body))
    with pytest.raises(NodeError):
        node.head()
    with pytest.raises(NodeError):
        node.chain_id()
    node.close()


def test_a_batch_with_too_few_answers(saying: Callable[[bytes], str]) -> None:
    """A batch is answered for each call or not at all."""
    node = Node(saying(b'[{"jsonrpc":"2.0","id":0,"result":"0x1"}]'))
    with pytest.raises(NodeError):
        node.batch([("eth_chainId", []), ("eth_chainId", [])])
    node.close()


def test_a_batch_names_its_errors(world: World) -> None:
    """A failed call in a batch is an error in its place; the others stand."""
    answers = world.node.batch([("eth_chainId", []), ("eth_noSuchMethod", [])])
    assert answers[0] == hex(chain.CHAIN_ID)
    assert isinstance(answers[1], RpcError)
    assert world.node.batch([]) == []
    with pytest.raises(NodeError, match="at most"):
        world.node.batch([("eth_chainId", [])] * (BATCH_MAX + 1))


def test_a_node_that_does_not_answer() -> None:
    """Silence ends at the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = Node(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(NodeError, match="Timeout"):
            node.head()
        node.close()


def test_a_node_that_is_not_there() -> None:
    """A closed port is an error at once."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    node = Node(url)
    with pytest.raises(NodeError, match="Connection"):
        node.head()
    node.close()


def test_proxies_of_the_environment_are_ignored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable does not decide who tells us about the chain."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    node = Node(world.anvil.url)
    assert node.chain_id() == chain.CHAIN_ID
    node.close()


def test_anvil_ends_with_its_block() -> None:
    """No process is left behind, and its port is closed."""
    with Anvil(chain.anvil_binary(PACKAGES)) as anvil:
        pid, url = anvil.pid, anvil.url
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    node = Node(url)
    with pytest.raises(NodeError):
        node.head()
    node.close()


def test_anvil_ends_by_itself_at_its_time(tmp_path: Path) -> None:
    """A fork dies even when nobody is left to end it."""
    anvil = Anvil(chain.anvil_binary(PACKAGES), private=Private(socket=tmp_path / "fork", lifetime_s=2))
    anvil._process.wait(10)
    anvil.stop()


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-option"], ["--fork-url", "http://127.0.0.1:1", "--retries", "0", "--timeout", "500"]],
)
def test_an_anvil_that_does_not_start(arguments: list[str]) -> None:
    """A process that ends before it listens is an error that shows its last words."""
    with pytest.raises(NodeError, match="did not start"):
        Anvil(chain.anvil_binary(PACKAGES), arguments)


def test_a_missing_anvil_says_how_to_install_it(tmp_path: Path) -> None:
    """The error names the command and the package."""
    with pytest.raises(NodeError, match="@foundry-rs/anvil-linux-amd64"):
        Anvil(tmp_path / "anvil")
