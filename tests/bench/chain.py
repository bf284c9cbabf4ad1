"""`make bench-chain`: what looking at the chain costs, as times and ratios within one run.

(1) Verification alone: a header hashed again and one account proven under it, from bytes that are there.
(2) Simulations on a warm fork: one run of a swap with its state diff, then the whole signed-to-be document
    (both runs, the close look, the trials of what was bought, the proof of everything that was read), for
    one swap and for five in a row, at one block and at one that the fork has not seen. Most of a document is
    one close look: each step of the EVM goes through anvil's interpreter of the tracer's language, also
    where that does nothing. Its built-in tracers, which take a hundredth, do not tell what was hashed.
(3) Logs into the columns of a DuckDB table, a second, with and without the parsing of their JSON.
(4) The observer over one node and over three, against the bare call that answers the same question unproven.

Nothing is gated on these figures. The chain, its nodes and the forks are real, on this machine, so they share
its cores with what measures them; the bare call, of the same run, is what to compare with.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.logs import LOGS, into_table, written
from tests.chain.world import GAS, MILLION, TREASURY, World, close_world, open_world
from workbench.chain.node import Node
from workbench.chain.nodes import Nodes
from workbench.chain.simulator import BLOCK_S, Transaction, _Run
from workbench.chain.slippage import swaps_of
from workbench.chain.state import proven_account
from workbench.chain.traced import _HASHED
from workbench.evm.header import Header
from workbench.evm.proof import verify_account
from workbench.observer.core import Journal, Observer

ROUNDS, QUICK = 40, 15

Row = tuple[str, float, float, str]


class Key:
    """A key in memory: a token's time is no question of the chain's."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""
        return self._key.sign(message)


def main() -> int:
    """Measure and print one table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, world(Path(name)) as here:
        bare = timed("a bare call: one balance", lambda: here.node.call("eth_getBalance", TREASURY, "latest"))
        rows += [bare, verification(here)]
        rows += against(bare, simulations(here))
        rows += against(bare, observers(here))
    rows += logs()
    print(f"{'':44} {'p50 ms':>8} {'p95 ms':>8}")
    for label, middle, late, remark in rows:
        print(f"{label:44} {middle:8.2f} {late:8.2f}  {remark}".rstrip())
    return 0


def against(bare: Row, rows: Iterator[Row]) -> Iterator[Row]:
    """Say of each how many bare calls it lasts."""
    for label, middle, late, remark in rows:
        yield (label, middle, late, f"{middle / bare[1]:5.1f} × the bare call{remark and f', {remark}'}")


@contextmanager
def world(cache: Path) -> Iterator[World]:
    """Give NewSwap, with the treasury's allowance for many swaps in a block."""
    here = open_world(cache)
    try:
        data = here.deployment.approval(20 * MILLION)
        raw = here.signed(here.deployment.usdc, nonce=0, data=data, gas=GAS)
        here.node.call("eth_sendRawTransaction", "0x" + raw.hex())
        here.node.call("anvil_mine", "0x1")
        yield here
    finally:
        close_world(here)


def timed(label: str, work: Callable[[], object], *, rounds: int = ROUNDS, remark: str = "") -> Row:
    """Return the middle and the late time of some rounds, after one that warms up."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return (label, statistics.median(times), statistics.quantiles(times, n=20)[-1], remark)


def verification(here: World) -> Row:
    """(1) Measure what every reader of an attestation does."""
    head = here.node.head()
    encoded, account = head.encode(), proven_account(here.node, head, TREASURY)

    def verify() -> None:
        for _ in range(10):
            header = Header.parse(encoded)
            header.hash()
            verify_account(header.state_root, TREASURY, account.proof)

    label, middle, late, _ = timed("header and account proof", verify)
    return (label, middle / 10, late / 10, "target 1")


def simulations(here: World) -> Iterator[Row]:
    """(2) Measure on a fork that is warm, at one block."""
    head = here.node.head()
    swap = here.swap(MILLION)
    five = [here.swap(MILLION)] * 5

    def once(transactions: list[Transaction]) -> None:
        with here.simulator.forks.at(here.node, head) as fork:
            run = _Run(fork, head, transactions, len(transactions) - 1, [TREASURY], time.monotonic() + 60)
            calls = [(each.to, each.data) for each in transactions]
            swaps = swaps_of(fork, calls, block=hex(head.number))
            run._pass(swaps, head.timestamp + BLOCK_S, behind=0, closely=False)

    def whole(transactions: list[Transaction]) -> None:
        here.simulator.run(here.node, head, transactions, target=len(transactions) - 1, at=datetime.now(UTC))

    def closely() -> None:
        fork.call("debug_traceTransaction", ran, _HASHED)

    def anew() -> None:
        nonlocal head
        here.node.call("anvil_mine", "0x1")
        head = here.node.head()
        whole([swap])

    yield timed("one swap, run once, state diff", lambda: once([swap]), remark="target 40 ms")
    yield timed("five swaps, run once, state diff", lambda: once(five), rounds=QUICK, remark="target 80 ms")
    yield timed("one swap, the whole document", lambda: whole([swap]), rounds=QUICK)
    yield timed("five swaps, the whole document", lambda: whole(five), rounds=QUICK)
    with here.simulator.forks.at(here.node, head) as fork:
        ran = fork.call("eth_sendTransaction", swap.request(tip=1))
        fork.call("evm_mine")
        yield timed("of each document, one close look", closely, rounds=QUICK)
    yield timed("one swap, the whole document, at a new block", anew, rounds=QUICK)


def logs() -> Iterator[Row]:
    """(3) Measure a hundred thousand logs at a time."""
    raw = written()
    times = [into_table(raw) for _ in range(5)]
    for label, seconds in (
        ("100,000 logs into a table", [parsing + rest for parsing, rest in times]),
        ("the same without JSON", [rest for _, rest in times]),
    ):
        middle = statistics.median(seconds)
        yield (label, middle * 1000, max(seconds) * 1000, f"{LOGS / middle:,.0f} a second, target 25,000")


def observers(here: World) -> Iterator[Row]:
    """(4) Measure an attested, proven balance against the word of one node."""
    for count in (1, 3):
        with ExitStack() as ends:
            observer = watching(here, count)
            ends.callback(observer.nodes.close)
            yield timed(
                f"a balance attested and proven, {count} node{'s' * (count > 1)}",
                lambda asked=observer: asked.attest([TREASURY]),
            )


def watching(here: World, count: int) -> Observer:
    """Return an observer over so many connections to the chain."""
    key = Key()
    journal = Journal("observer", key, lambda: datetime.now(UTC), "00" * 16)
    host = here.anvil.url.removeprefix("http://")
    # one anvil under several names: what is measured is the asking, not the chain's own load
    nodes = {f"node-{number}": Node(f"http://{host}/?{number}") for number in range(count)}
    return Observer(
        name="observer",
        signer=key,
        nodes=Nodes(nodes, quorum=count // 2 + 1, chain_id=here.node.chain_id(), report=journal.add),
        journal=journal,
        simulator=here.simulator,
        clock=lambda: datetime.now(UTC),
    )


if __name__ == "__main__":
    sys.exit(main())
