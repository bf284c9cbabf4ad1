"""Three nodes with one history, and lies: each is found or survived, named, and no wrong fact is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.chain.liar import Lie
from tests.chain.trio import Trio, trio
from tests.chain.world import MILLION, TREASURY, World
from tests.observer.conftest import observing
from tests.observer.test_core import attested_header, request, verified
from workbench.chain.errors import ChainError, SimulationError
from workbench.chain.node import Node
from workbench.chain.nodes import ASKERS_MAX, LAG_MAX, OUT_S, Nodes, NoQuorumError
from workbench.demo import newswap
from workbench.evm.errors import HeaderError
from workbench.evm.header import Header
from workbench.observer.core import NODE_LINE, SIMULATION_LINE, Observer

NAMES = ("node-1", "node-2", "node-3")
ANSWER_S = 4.0
TURNS = 3
"""Each node gives proofs in its turn."""


@pytest.fixture
def three(fresh_world: World, tmp_path: Path) -> Iterator[Trio]:
    """Return three nodes with one history."""
    with trio(fresh_world, tmp_path) as made:
        yield made


@pytest.fixture
def observer(three: Trio) -> Iterator[Observer]:
    """Return an observer that looks by all three, of which two must agree; who is out is out for the test."""
    nodes = {name: Node(liar.url) for name, liar in zip(NAMES, three.liars, strict=True)}
    made = observing(three.world, nodes, quorum=2, answer_s=ANSWER_S, clock=lambda: 0.0)
    yield made
    made.nodes.close()


def told(observer: Observer) -> list[tuple[str, str, str]]:
    """Return what the observer has noted, each under its signature."""
    documents = [verified(observer, event, NODE_LINE) for event in observer.journal.after("", 0)]
    assert [each["number"] for each in documents] == [*range(1, len(documents) + 1)]
    return [(each["kind"], each["node"], each["detail"]) for each in documents]


def true_balance(observer: Observer) -> str:
    """Return the treasury's ether as attested, after the header was checked."""
    answer = observer.attest([TREASURY])
    attested_header(observer, answer)
    (account,) = answer["accounts"]
    return str(account["balance"])


def forged(block: dict[str, Any], **changes: str) -> dict[str, Any]:
    """Return a block with changed fields and the hash that they have."""
    block = {**block, **changes}
    with pytest.raises(HeaderError) as told:
        Header.from_rpc(block)
    return {**block, "hash": "0x" + str(told.value).partition("hashes to ")[2][:64]}


def of(methods: str | tuple[str, ...], change: Callable[[Any], Any]) -> Lie:
    """Return a lie about the results of one method, or of several."""
    named = (methods,) if isinstance(methods, str) else methods
    return lambda method, _, result: change(result) if method in named else result


BLOCKS = ("eth_getBlockByNumber", "eth_getBlockByHash")
HEADS: dict[str, tuple[Lie, str]] = {
    "a forged header": (
        of(BLOCKS, lambda block: forged(block, stateRoot="0x" + "11" * 32)),
        "another block",
    ),
    "a header that is not its hash": (
        of(BLOCKS, lambda block: {**block, "stateRoot": "0x" + "11" * 32}),
        "hashes to",
    ),
    "a field that nobody knows": (
        of(BLOCKS, lambda block: {**block, "blockAccessListHash": "0x00"}),
        "unknown",
    ),
    "a head far ahead": (
        of(BLOCKS, lambda block: forged(block, number=hex(int(block["number"], 16) + 1000))),
        "asked for",
    ),
    "another chain": (of("eth_chainId", lambda _: "0x1"), "on chain 1"),
    "no block": (of(BLOCKS, lambda _: None), "there is no block"),
    "no JSON-RPC": (of(BLOCKS, lambda _: [1, 2]), "there is no block"),
}


@pytest.mark.parametrize(("lie", "why"), HEADS.values(), ids=HEADS)
def test_lies_about_the_head(observer: Observer, three: Trio, lie: Lie, why: str) -> None:
    """One of three that lies about blocks is out at once, by name, and the others' fact is the true one."""
    three.liars[1].lie = lie
    assert true_balance(observer) == str(10 * newswap.ETHER)
    ((kind, node, detail),) = told(observer)
    assert (kind, node) == ("out", "node-2")
    assert why in detail
    asked = three.liars[1].asked
    assert true_balance(observer) == str(10 * newswap.ETHER)
    assert three.liars[1].asked == asked  # whoever is out is not asked


def test_an_old_head(observer: Observer, three: Trio) -> None:
    """A node that stands still is out once it is further behind than nodes are now and then."""

    def behind(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return three.nodes[1].call(method, hex(old), False)
        return result

    old = three.nodes[0].head().number
    three.liars[1].lie = behind
    for _ in range(LAG_MAX):
        three.mine()
        observer.attest([TREASURY])
        assert told(observer) == []
    three.mine()
    answer = observer.attest([TREASURY])
    assert attested_header(observer, answer).hash() == three.nodes[0].head().hash()
    assert told(observer) == [("out", "node-2", f"{LAG_MAX + 1} blocks behind the quorum")]


def test_a_changed_balance(observer: Observer, three: Trio) -> None:
    """A balance that the root does not have has no proof: the true one is attested, the liar is found."""
    three.nodes[1].call("anvil_setBalance", TREASURY, "0x1")
    for _ in range(TURNS):
        assert true_balance(observer) == str(10 * newswap.ETHER)
    ((kind, node, detail),) = told(observer)
    assert (kind, node) == ("out", "node-2")
    assert "proof fails" in detail


@pytest.mark.parametrize("liars", [(0, 1), (1, 2), (0, 2)])
def test_two_liars_of_three(observer: Observer, three: Trio, liars: tuple[int, int]) -> None:
    """Who is left when two have failed is too few: nothing is attested, and that is said once."""
    for number in liars:
        three.nodes[number].call("anvil_setBalance", TREASURY, hex(number + 1))
    seen = set()
    for _ in range(TURNS):
        try:
            seen.add(true_balance(observer))
        except NoQuorumError:
            break
    with pytest.raises(NoQuorumError, match="no quorum"):
        observer.attest([TREASURY])
    with pytest.raises(NoQuorumError):
        observer.simulate([request(three.world, three.world.deployment.approval(1))], 0)
    with pytest.raises(NoQuorumError):
        observer.confirm(bytes(32))
    assert seen <= {str(10 * newswap.ETHER)}
    kinds = [kind for kind, _, _ in told(observer)]
    assert kinds == ["out", "out", "quorum_lost"]
    assert {node for kind, node, _ in told(observer) if kind == "out"} == {NAMES[each] for each in liars}


def test_two_that_forge_differently(observer: Observer, three: Trio) -> None:
    """Three who say three things have no quorum, and nobody knows who lies: nobody is sent away."""
    for number, root in ((0, "11"), (2, "22")):
        three.liars[number].lie = of(
            BLOCKS, lambda block, root=root: forged(block, stateRoot="0x" + root * 32)
        )
    with pytest.raises(NoQuorumError, match="at most 1 nodes say the same"):
        observer.attest([TREASURY])
    assert [kind for kind, _, _ in told(observer)] == ["quorum_lost"]
    three.liars[0].lie = three.liars[1].lie
    assert true_balance(observer) == str(10 * newswap.ETHER)
    assert [kind for kind, _, _ in told(observer)] == ["quorum_lost", "out", "quorum_back"]


@pytest.mark.parametrize(
    "seconds", [pytest.param((10.0, 0.0), id="late"), pytest.param((0.0, 0.5), id="drip")]
)
def test_answers_that_come_late(observer: Observer, three: Trio, seconds: tuple[float, float]) -> None:
    """Nobody waits for a node longer than the limit, whether it is silent or talks without an end."""
    three.liars[1].delay_s, three.liars[1].drip_s = seconds
    start = time.monotonic()
    assert true_balance(observer) == str(10 * newswap.ETHER)
    assert time.monotonic() - start < 2 * ANSWER_S
    ((kind, node, detail),) = told(observer)
    assert (kind, node) == ("out", "node-2")
    assert "no answer within" in detail or "Timeout" in detail
    start = time.monotonic()
    assert true_balance(observer) == str(10 * newswap.ETHER)
    assert time.monotonic() - start < ANSWER_S


def test_a_node_that_is_gone(observer: Observer) -> None:
    """Two of three are enough, with the third one's process ended."""
    gone = Node("http://127.0.0.1:9")
    nodes = {**observer.nodes.nodes, "node-3": gone}
    other = replace(observer, nodes=replace_nodes(observer.nodes, nodes))
    assert true_balance(other) == str(10 * newswap.ETHER)
    assert [(kind, node) for kind, node, _ in told(other)] == [("out", "node-3")]
    other.nodes.close()


def replace_nodes(made: Nodes, nodes: dict[str, Node], **changes: Any) -> Nodes:
    """Return the same with other nodes, and with nobody out."""
    fields = {"quorum": made.quorum, "chain_id": made.chain_id, "report": made.report, "answer_s": ANSWER_S}
    return Nodes(nodes, **{**fields, **changes})


def approval(three: Trio) -> bytes:
    """Return signed bytes of the treasury that give an allowance."""
    deployment = three.world.deployment
    nonce = three.nodes[0].nonce(TREASURY)
    return three.world.signed(deployment.usdc, nonce=nonce, data=deployment.approval(5))


def mined(three: Trio) -> bytes:
    """Mine an allowance everywhere; return its transaction's hash."""
    raw = approval(three)
    three.mine(raw)
    return keccak(raw)


RECEIPTS: dict[str, tuple[Lie, str]] = {
    "a wrong receipt": (
        of("eth_getBlockReceipts", lambda all_: [{**each, "status": "0x0"} for each in all_]),
        "not those under its roots",
    ),
    "a withheld log": (
        of("eth_getBlockReceipts", lambda all_: [{**each, "logs": each["logs"][1:]} for each in all_]),
        "not those under its roots",
    ),
    "a changed log": (
        of(
            "eth_getBlockReceipts",
            lambda all_: [
                {**each, "logs": [{**log, "data": "0x" + "00" * 32} for log in each["logs"]]} for each in all_
            ],
        ),
        "not those under its roots",
    ),
    "a withheld receipt": (of("eth_getTransactionReceipt", lambda _: None), "withholds a receipt"),
    "other bytes": (of("eth_getRawTransactionByHash", lambda raw: raw[:-2] + "00"), "hashes to"),
}


@pytest.mark.parametrize(("lie", "why"), RECEIPTS.values(), ids=RECEIPTS)
def test_lies_about_a_receipt(observer: Observer, three: Trio, lie: Lie, why: str) -> None:
    """What became of a transaction is what the roots say: it is confirmed, and the liar is out."""
    tx_hash = mined(three)
    three.liars[2].lie = lie
    answer = observer.confirm(tx_hash)
    assert answer["status"] == "confirmed"
    assert attested_header(observer, answer).hash() == three.nodes[0].head().hash()
    ((kind, node, detail),) = told(observer)
    assert (kind, node) == ("out", "node-3")
    assert why in detail


def test_an_inclusion_that_only_one_shows(observer: Observer, three: Trio) -> None:
    """A transaction in a block that only one node has is not confirmed by it."""
    raw = approval(three)
    at = three.nodes[0].head().timestamp + 1
    for number, node in enumerate(three.nodes):
        if number == 1:
            node.call("eth_sendRawTransaction", "0x" + raw.hex())
        node.call("evm_setNextBlockTimestamp", at)
        node.call("anvil_mine", "0x1")
    assert three.nodes[0].head().hash() == three.nodes[2].head().hash()
    assert three.nodes[0].head().hash() != three.nodes[1].head().hash()
    status = observer.confirm(keccak(raw))["status"]
    assert status in ("unknown", "pending")
    assert [(kind, node) for kind, node, _ in told(observer)] == [("out", "node-2")]


def test_a_lie_in_a_simulation(observer: Observer, three: Trio) -> None:
    """A fork of a node that lies is found by its prestate, and the simulation is the true one of another."""
    deployment, slots = three.world.deployment, {}

    def rich(method: str, params: list[Any], result: Any) -> Any:
        # proofs are the true ones; only what a fork reads is not
        if method == "eth_getStorageAt" and params[0].lower() == deployment.pool.lower():
            slots[params[1]] = result
            return "0x" + "00" * 31 + "01" if int(result, 16) else result
        return result

    three.liars[0].lie = rich
    sequence = [
        request(three.world, deployment.approval(MILLION), deployment.usdc, intent=None),
        request(three.world, three.world.swap_data(MILLION)),
    ]
    for _ in range(TURNS):
        document = verified(observer, observer.simulate(sequence, 1), SIMULATION_LINE)
        assert document["slippage_ppm"] == 2000
    assert slots
    ((kind, node, detail),) = told(observer)
    assert (kind, node) == ("out", "node-1")
    assert "simulated with another value" in detail


def test_strange_requests_send_nobody_away(observer: Observer, three: Trio) -> None:
    """What is wrong with a request is no fault of a node's: all of them are asked as before."""
    with pytest.raises(ChainError):
        observer.attest(["0x1"])
    for strange in (
        {**request(three.world, b""), "from": "0x1111111111111111111111111111111111111111"},
        {**request(three.world, b"\x01" * 1000), "gas": 21_000},
        {**request(three.world, b""), "value": str(10**30)},
    ):
        with pytest.raises(SimulationError):
            observer.simulate([strange], 0)
    with pytest.raises(ChainError):
        observer.broadcast(three.world.signed(TREASURY, nonce=999, gas=1))
    assert observer.confirm(bytes(32)) == {"status": "unknown"}
    assert told(observer) == []
    assert observer.nodes.standing() == dict.fromkeys(NAMES, True)


def test_a_broadcast_goes_by_every_node(observer: Observer, three: Trio) -> None:
    """One node that drops what it is given does not keep it from the chain."""
    raw = approval(three)
    three.liars[0].lie = of("eth_sendRawTransaction", lambda _: "0x" + "00" * 32)
    assert observer.broadcast(raw) == {"tx_hash": keccak(raw).hex()}
    assert observer.broadcast(raw) == {"tx_hash": keccak(raw).hex()}
    assert all(
        isinstance(node.call("eth_getTransactionByHash", "0x" + keccak(raw).hex()), dict)
        for node in three.nodes
    )


def test_out_and_back(observer: Observer, three: Trio) -> None:
    """A node is out for a while, for longer when it fails again, and counts as back once it agrees."""
    now = [0.0]
    nodes = replace_nodes(observer.nodes, dict(observer.nodes.nodes), clock=lambda: now[0])
    made = replace(observer, nodes=nodes)
    lie = HEADS["a forged header"][0]
    true = three.liars[1].lie
    lengths = []
    for _ in range(3):
        three.liars[1].lie = lie
        made.attest([])
        began = now[0]
        three.liars[1].lie = true
        while not made.nodes.standing()["node-2"]:
            now[0] += 1
            made.attest([])
        lengths.append(now[0] - began)
        made.attest([])
    assert lengths == [OUT_S, 2 * OUT_S, 4 * OUT_S]
    assert [kind for kind, _, _ in told(made)] == ["out", "back"] * 3
    now[0] += 100 * OUT_S
    three.liars[1].lie = lie
    made.attest([])
    now[0] += OUT_S
    assert made.nodes.standing()["node-2"]


@pytest.mark.parametrize(("count", "quorum"), [(3, 1), (3, 4), (2, 1), (4, 2), (1, 0)])
def test_quorums_that_are_none(count: int, quorum: int) -> None:
    """Half of the nodes, fewer, or more than there are, are no quorum."""
    nodes = {f"node-{number}": Node(f"http://127.0.0.1:{number + 1}") for number in range(count)}
    with pytest.raises(ChainError, match="more than half"):
        Nodes(nodes, quorum, 1, lambda _: None)


def test_one_node_under_two_names() -> None:
    """A node that is named twice would be its own quorum."""
    nodes = {name: Node("http://127.0.0.1:1") for name in NAMES}
    with pytest.raises(ChainError, match="vote twice"):
        Nodes(nodes, 2, 1, lambda _: None)


def test_many_at_once(observer: Observer, three: Trio) -> None:
    """As many askers as the process has, and one node that never answers: the others are not late."""
    three.liars[0].delay_s = 10 * ANSWER_S
    with ThreadPoolExecutor(ASKERS_MAX) as askers:
        answers = [askers.submit(true_balance, observer) for _ in range(ASKERS_MAX)]
        assert {answer.result() for answer in answers} == {str(10 * newswap.ETHER)}
    assert [(kind, node) for kind, node, _ in told(observer)] == [("out", "node-1")]


def test_addresses_stay_here(observer: Observer, three: Trio) -> None:
    """A key in a node's address is in nothing that leaves the observer: not in events, not in errors."""
    secret = "key-3f9a"
    gone = [Node(f"http://127.0.0.1:{port}/v3/{secret}") for port in (7, 9)]
    nodes = {"node-1": Node(f"{three.liars[0].url}/v3/{secret}"), "node-2": gone[0], "node-3": gone[1]}
    made = replace(observer, nodes=replace_nodes(observer.nodes, nodes))
    with pytest.raises(NoQuorumError) as lost:
        made.attest([])
    alone = replace_nodes(observer.nodes, {"node-1": nodes["node-1"]}, quorum=1)
    three.liars[0].lie = of(("eth_getStorageAt", "eth_getBalance", "eth_getCode"), lambda _: "no hex")
    with pytest.raises(ChainError) as failed:
        replace(observer, nodes=alone).simulate([request(three.world, three.world.swap_data(1))], 0)
    dead = replace_nodes(observer.nodes, {"node-2": gone[0], "node-3": gone[1]})
    with pytest.raises(ChainError) as unsent:
        replace(observer, nodes=dead).broadcast(approval(three))
    said = [str(each.value) for each in (lost, failed, unsent)] + [detail for _, _, detail in told(observer)]
    assert len(said) > 5
    for each in said:
        assert each
        assert secret not in each
        assert "127.0.0.1" not in each


@pytest.mark.parametrize("liars", [1, 2])
def test_a_node_that_calls_its_head_final(observer: Observer, three: Trio, liars: int) -> None:
    """One that is ahead of the others changes nothing; as many as the quorum are believed, as always."""
    for _ in range(70):
        three.mine()
    head = three.nodes[1].head()

    def early(number: int) -> Callable[[str, list[Any], Any], Any]:
        def lie(method: str, params: list[Any], result: Any) -> Any:  # the JSON edge
            if method == "eth_getBlockByNumber" and params[0] in ("safe", "finalized"):
                return three.nodes[number].call(method, "latest", False)
            return result

        return lie

    for number in range(liars):
        three.liars[number].lie = early(number)
    told = observer.finality()["finalized"]["attestation"]["document"]["block"]["number"]
    assert told == (head.number if liars == 2 else head.number - 64)
