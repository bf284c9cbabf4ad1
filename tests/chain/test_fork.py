"""Warm forks: one simulation at a time, at the block that was asked for, and gone with whoever holds them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chain.liar import lying
from tests.chain.world import MILLION, PACKAGES, TREASURY, World
from workbench.chain import fork as forks
from workbench.chain.anvil import Anvil, Private
from workbench.chain.errors import NodeError, SimulationError
from workbench.chain.fork import Forks
from workbench.chain.node import Node
from workbench.chain.prestate import StateError
from workbench.demo import node as chain

WAIT_S = 10.0


@pytest.fixture
def warm(fresh_world: World) -> Iterator[Forks]:
    """Give forks of a chain of the test's own."""
    made = Forks(fresh_world.simulator.binary, 30)
    yield made
    made.close()


def ended(url: str) -> bool:
    """Whether nobody listens there any more, soon."""
    limit = time.monotonic() + WAIT_S
    while time.monotonic() < limit:
        try:
            Node(url, timeout_s=1).close()
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_fork_is_used_again_as_if_it_were_another(fresh_world: World, warm: Forks) -> None:
    """What one left behind is gone for the next, and no process was started for it."""
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head) as first:
        first.call("anvil_setBalance", TREASURY, "0x1")
        first.call("anvil_mine", "0x5")
    with warm.at(fresh_world.node, head) as second:
        assert second is first
        assert second.head() == head
        assert second.call("eth_getBalance", TREASURY, "latest") == "0x8ac7230489e80000"


def test_a_fork_follows_the_chain(fresh_world: World, warm: Forks) -> None:
    """At a new block it stands at the new block, with the new state."""
    with warm.at(fresh_world.node, fresh_world.node.head()) as first:
        assert first.call("eth_getBalance", TREASURY, "latest") == "0x8ac7230489e80000"
    fresh_world.node.call("anvil_setBalance", TREASURY, "0x7")
    fresh_world.node.call("anvil_mine", "0x1")
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head) as second:
        assert second is first
        assert second.head() == head
        assert second.call("eth_getBalance", TREASURY, "latest") == "0x7"


def reads(fresh_world: World, node: Node) -> None:
    """Simulate at the head, asking this node."""
    head, now = fresh_world.node.head(), datetime.now(UTC)
    fresh_world.simulator.run(node, head, [fresh_world.approval(MILLION)], target=0, at=now)


def test_a_fork_that_is_set_back_has_what_was_read(fresh_world: World) -> None:
    """It asks for nothing a second time, not even the door that keeps it."""
    with lying(fresh_world.node.url) as door:
        asked: list[str] = []
        door.lie = lambda method, _, result: (asked.append(method), result)[1]
        node = Node(door.url)
        for _ in range(2):
            reads(fresh_world, node)
        (idle,) = fresh_world.simulator.forks._idle
        idle.door._kept.clear()
        asked.clear()
        reads(fresh_world, node)
        assert set(asked) == {"eth_chainId", "eth_getProof"}
        assert idle.door.keeps == 0
        node.close()


def test_a_new_block_is_read_at_once(fresh_world: World) -> None:
    """What was read of one block is asked of the next in one request, and is what the next one has."""
    with lying(fresh_world.node.url) as door:
        node = Node(door.url)
        requests = []
        for _ in range(2):
            before = door.asked
            reads(fresh_world, node)
            requests.append(door.asked - before)
            fresh_world.node.call("anvil_setBalance", TREASURY, hex(10**20))
            fresh_world.node.call("anvil_mine", "0x1")
        assert requests[1] * 2 < requests[0]
        node.close()


def test_too_much_is_not_read_again(fresh_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever simulates next at a block does not wait for all that somebody else's transaction read."""
    monkeypatch.setattr(forks, "REMEMBERED_MAX", 0)
    reads(fresh_world, fresh_world.node)
    reads(fresh_world, fresh_world.node)
    (idle,) = fresh_world.simulator.forks._idle
    idle.door._kept.clear()
    reads(fresh_world, fresh_world.node)
    assert idle.door.keeps > 0


def test_two_at_a_time_are_two(fresh_world: World, warm: Forks) -> None:
    """Nobody else is on a fork while somebody works on it."""
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head) as first, warm.at(fresh_world.node, head) as second:
        assert first.url != second.url
        first.call("anvil_setBalance", TREASURY, "0x1")
        assert second.call("eth_getBalance", TREASURY, "latest") == "0x8ac7230489e80000"


def test_a_fork_in_whose_hands_something_failed_is_ended(fresh_world: World, warm: Forks) -> None:
    """It is not known in which state it is."""
    given = []

    def fail() -> None:
        with warm.at(fresh_world.node, fresh_world.node.head()) as fork:
            given.append(fork.url)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ended(given[0])


def test_a_fork_that_died_is_no_chain(fresh_world: World, warm: Forks) -> None:
    """A warm fork that is gone is an error of this one simulation; the next has another."""
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head):
        pass
    warm._idle[0].anvil.stop()
    with pytest.raises(NodeError), warm.at(fresh_world.node, head):
        pass
    with warm.at(fresh_world.node, head) as fork:
        assert fork.head() == head


def test_old_forks_are_ended(fresh_world: World, warm: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork has an age limit, far below the time at which it would end by itself."""
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head) as fork:
        url = fork.url
    monkeypatch.setattr(forks, "AGE_S_MAX", -1)
    with warm.at(fresh_world.node, head) as other:
        assert other.url != url
    assert ended(url)


def test_no_more_wait_than_may(fresh_world: World, warm: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surplus of a rush is ended when it is given back."""
    monkeypatch.setattr(forks, "IDLE_MAX", 1)
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head) as first, warm.at(fresh_world.node, head) as second:
        urls = [first.url, second.url]
    (kept,) = [each.node.url for each in warm._idle]
    (other,) = [url for url in urls if url != kept]
    assert ended(other)


def test_what_an_earlier_simulation_left_would_be_a_lie(fresh_world: World) -> None:
    """If a fork were not set back, the proof of what was read would find it."""
    fresh_world.simulate(fresh_world.approval(MILLION))
    (idle,) = fresh_world.simulator.forks._idle
    fork = idle.node
    fork.call("evm_revert", idle.snapshot)
    fork.call("anvil_setBalance", TREASURY, "0xde0b6b3a7640000")
    idle.snapshot = fork.call("evm_snapshot")
    with pytest.raises(StateError, match=TREASURY):
        fresh_world.simulate(fresh_world.approval(MILLION))


def test_a_chain_that_goes_back_is_not_simulated_on(fresh_world: World, warm: Forks) -> None:
    """A header that its node no longer has is refused."""
    fresh_world.node.call("anvil_mine", "0x1")
    head = fresh_world.node.head()
    with warm.at(fresh_world.node, head):
        pass
    fresh_world.node.call("anvil_rollback", 1)
    fresh_world.node.call("anvil_mine", "0x1")
    other = fresh_world.node.head()
    assert (other.number, other.hash() == head.hash()) == (head.number, False)
    with warm.at(fresh_world.node, other) as fork:
        assert fork.head() == other
    with pytest.raises((SimulationError, NodeError)), warm.at(fresh_world.node, head):
        pass


def test_forks_end_with_whoever_holds_them(fresh_world: World, tmp_path: Path) -> None:
    """Killed outright, a simulator leaves no fork behind."""
    told = tmp_path / "url"
    program = (
        "import sys, time; from pathlib import Path; from workbench.chain.fork import Forks;"
        "from workbench.chain.node import Node;"
        "n = Node(sys.argv[1]); f = Forks(Path(sys.argv[2]), 30);\n"
        "with f.at(n, n.head()) as k: Path(sys.argv[3]).write_text(k.url)\n"
        "time.sleep(60)"
    )
    command = [
        sys.executable,
        "-c",
        program,
        fresh_world.node.url,
        str(fresh_world.simulator.binary),
        str(told),
    ]
    holder = subprocess.Popen(command)
    limit = time.monotonic() + WAIT_S
    while not (told.exists() and told.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    url = told.read_text()
    node = Node(url)
    assert node.chain_id() == chain.CHAIN_ID
    node.close()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert ended(url)


def test_a_fork_that_is_stopped_is_gone(tmp_path: Path) -> None:
    """Stopping ends the process behind the shell and the time limit, too."""
    private = Private(socket=tmp_path / "fork", lifetime_s=60)
    anvil = Anvil(chain.anvil_binary(PACKAGES), private=private)
    anvil.stop()
    assert ended(anvil.url)


def test_a_fork_has_the_fees_of_the_block_it_stands_on(fresh_world: World) -> None:
    """A warm fork that goes to a dearer block simulates at the dearer price; too little is not executable."""
    cheap = replace(fresh_world.approval(1), max_fee_per_gas=2 * 10**8, max_priority_fee_per_gas=0)
    assert fresh_world.simulate(cheap)["revert"] is None
    fresh_world.node.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    fresh_world.node.call("anvil_mine", "0x1")
    with pytest.raises(SimulationError, match="base fee"):
        fresh_world.simulate(cheap)


def test_the_next_base_fee_is_the_chains(fresh_world: World) -> None:
    """Computed from a header, it is what the next block has: for empty blocks, and for fuller ones."""
    node = fresh_world.node
    node.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    node.call("anvil_mine", "0x1")
    for _ in range(3):
        head = node.head()
        node.call("anvil_mine", "0x1")
        assert node.head().base_fee_per_gas == head.next_base_fee()
    full = replace(node.head(), gas_used=node.head().gas_limit)
    assert full.next_base_fee() == full.base_fee_per_gas * 9 // 8
    level = replace(full, gas_used=full.gas_limit // 2, base_fee_per_gas=7)
    assert level.next_base_fee() == 7
    assert replace(level, gas_used=level.gas_used + 1).next_base_fee() == 8
