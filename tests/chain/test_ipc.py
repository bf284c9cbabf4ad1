"""The two sockets of a private fork: what passes, what does not, and who can be there."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chain.world import PACKAGES, TREASURY, World
from workbench.chain import ipc
from workbench.chain.anvil import Anvil, Private
from workbench.chain.errors import NodeError, RpcError
from workbench.chain.fork import Forks
from workbench.chain.ipc import Door, Pipe
from workbench.chain.node import Node
from workbench.demo import node as chain


@pytest.fixture
def door(world: World, tmp_path: Path) -> Iterator[Door]:
    """Give a door to the chain."""
    made = Door(tmp_path / "door", world.node)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_sendRawTransaction", ["0x00"]),
        ("eth_sendTransaction", [{}]),
        ("anvil_setBalance", [TREASURY, "0x1"]),
        ("evm_mine", []),
        ("debug_traceTransaction", ["0x" + "00" * 32]),
        ("eth_call", [{"to": TREASURY}, "latest"]),
    ],
)
def test_only_reads_pass_the_door(world: World, door: Door, method: str, params: list[Any]) -> None:
    """Whatever would send, mine or change is answered by the door itself; the chain is as it was."""
    before = world.node.head()
    asking = Node(str(door.path))
    with pytest.raises(RpcError, match="is no read"):
        asking.call(method, *params)
    (answer,) = asking.batch([(method, params)])
    assert isinstance(answer, RpcError)
    asking.close()
    assert world.node.head() == before
    assert world.node.call("eth_getBalance", TREASURY, "latest") == "0x8ac7230489e80000"


def test_reads_pass_the_door(world: World, door: Door) -> None:
    """One at a time and many at once, errors of the node's as errors."""
    asking = Node(str(door.path))
    assert asking.head() == world.node.head()
    answers = asking.batch([("eth_chainId", []), ("eth_getBalance", ["x", "latest"]), ("eth_chainId", [])])
    assert (answers[0], answers[2]) == ("0x7a69", "0x7a69")
    assert isinstance(answers[1], RpcError)
    asking.close()


@pytest.mark.parametrize(
    "said",
    [b"{}", b"[1]", b'"x"]', b'{"id": 1, "method": 7}', b"\xff\xff}", b"[[]]", b"[" * 100_000 + b"]"],
    ids=["no id", "a number", "no JSON", "a number as method", "no text", "a list in a list", "too deep"],
)
def test_what_is_no_question_ends_the_conversation(door: Door, said: bytes) -> None:
    """The fork's own words are not believed either: the door closes, and stays open for others."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talking:
        talking.settimeout(5)
        talking.connect(str(door.path))
        talking.sendall(said)
        talking.shutdown(socket.SHUT_WR)
        rest = b""
        while part := talking.recv(4096):
            rest += part
    assert b"result" not in rest
    asking = Node(str(door.path))
    assert asking.chain_id() == chain.CHAIN_ID
    asking.close()


def answering(path: Path, answer: Callable[[Any], bytes]) -> socket.socket:
    """Stand where a fork's socket is and answer one message."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        peer, _ = listening.accept()
        with peer:
            peer.sendall(answer(json.loads(peer.recv(65536))))

    threading.Thread(target=serve, daemon=True).start()
    return listening


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: b"", id="it hangs up"),
        pytest.param(lambda _: b'{"jsonrpc": "2.0", "id"', id="it hangs up in the middle"),
        pytest.param(lambda _: b"[]", id="nothing for each"),
        pytest.param(lambda _: b"[" * 100_000 + b"]" * 100_000, id="deeper than is read"),
        pytest.param(lambda _: b'{"id": 0, "result": 1}', id="one for all"),
        pytest.param(lambda asked: json.dumps([asked[0], asked[0]]).encode(), id="one twice"),
    ],
)
def test_a_fork_that_does_not_answer_properly(tmp_path: Path, answer: Callable[[Any], bytes]) -> None:
    """A broken answer is an error at once."""
    with answering(tmp_path / "s", answer):
        node = Node(str(tmp_path / "s"), timeout_s=30)
        with pytest.raises(NodeError):
            node.batch([("eth_chainId", []), ("eth_chainId", [])])
        with pytest.raises(NodeError):
            node.chain_id()
        node.close()


def test_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    """A batch may be answered in any order; what belongs to what is said by its number."""

    def backwards(asked: Any) -> bytes:  # the JSON edge
        told = [{"jsonrpc": "2.0", "id": each["id"], "result": each["params"][0]} for each in asked]
        return b"\n" + json.dumps(told[::-1]).encode() + b"\n"

    with answering(tmp_path / "s", backwards):
        pipe = Pipe(tmp_path / "s", timeout_s=30)
        answers = pipe.make_batch_request([("m", [number]) for number in range(5)])
        assert [each["result"] for each in answers] == list(range(5))
        pipe.close()


def test_nobody_else_reaches_a_private_anvil(tmp_path: Path) -> None:
    """Its port is open in its own network only: on this machine nothing new listens."""

    def listening() -> set[str]:
        lines = (
            Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
        )
        return {line.split()[1] for line in lines if line.split()[3] == "0A"}

    private = Private(socket=tmp_path / "fork", lifetime_s=60)
    with Anvil(chain.anvil_binary(PACKAGES), private=private):
        inside = set()
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(private.socket) in status.read_text():
                    inside |= {
                        line.split()[1].split(":")[1]
                        for line in (status.parent / "net" / "tcp").read_text().splitlines()
                        if line.split()[3] == "0A"
                    }
            except OSError:
                continue
        assert inside
        assert not inside & {each.split(":")[1] for each in listening()}


def test_the_address_of_a_node_is_in_no_argument(world: World) -> None:
    """What a fork is started with can be read by everybody; the node's address is not in it."""
    forks = Forks(world.simulator.binary, 30)
    with forks.at(world.node, world.node.head()):
        arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        forked = [each for each in arguments if b"--fork-url" in each]
        assert forked
        assert not any(world.node.url.encode() in each for each in forked)
    forks.close()


def test_the_door_keeps_what_was_said_of_a_block(fresh_world: World, tmp_path: Path) -> None:
    """The same question about the same block is not asked again, until the fork goes there anew."""
    door = Door(tmp_path / "door", fresh_world.node)
    asking = Node(str(door.path))
    block = hex(fresh_world.node.head().number)
    true = fresh_world.node.call("eth_getBalance", TREASURY, block)
    assert asking.call("eth_getBalance", TREASURY, block) == true
    fresh_world.node.call("anvil_rollback", 1)
    fresh_world.node.call("anvil_setBalance", TREASURY, "0x7")
    fresh_world.node.call("anvil_mine", "0x1")
    assert asking.call("eth_getBalance", TREASURY, block) == true
    assert asking.head() == fresh_world.node.head()
    door.renew(int(block, 16))
    assert asking.call("eth_getBalance", TREASURY, block) == "0x7"
    asking.close()
    door.close()


class OneByOne:
    """A node that takes no batch."""

    def __init__(self, node: Node) -> None:
        self.call = node.call

    def batch(self, _: object) -> list[Any]:
        """Refuse."""
        raise NodeError("batch: too long")


@pytest.mark.parametrize("takes_batches", [True, False], ids=["in one request", "a node that takes no batch"])
def test_of_a_new_block_the_door_asks_the_same(
    fresh_world: World, tmp_path: Path, *, takes_batches: bool
) -> None:
    """All of it at once, or later as it is asked for: what it tells is the new block's."""
    node = fresh_world.node
    head = node.head().number
    door = Door(tmp_path / "door", node if takes_batches else OneByOne(node))
    asking = Node(str(door.path))
    asking.call("eth_getBalance", TREASURY, hex(head))
    node.call("anvil_setBalance", TREASURY, "0x7")
    node.call("anvil_mine", "0x1")
    door.renew(head + 1)
    assert door.keeps == (1 if takes_batches else 0)
    assert asking.call("eth_getBalance", TREASURY, hex(head + 1)) == "0x7"
    assert door.keeps == 1
    asking.close()
    door.close()


def test_of_too_much_the_door_asks_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that reads half the chain does not make each block after it cost as much."""
    monkeypatch.setattr(ipc, "RENEWED_MAX", 1)
    head = world.node.head().number
    door = Door(tmp_path / "door", world.node)
    asking = Node(str(door.path))
    for method in ("eth_getBalance", "eth_getCode"):
        asking.call(method, TREASURY, hex(head))
    assert door.keeps == 2
    door.renew(head)
    assert door.keeps == 0
    asking.close()
    door.close()
