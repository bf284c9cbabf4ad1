"""Several nodes, any of which may lie: a fact of the chain is what a quorum of them shows alike.

(1) A block is agreed when a quorum of nodes gives the same header for its height, hashed again. The newest
    agreed block is the newest that a quorum has reached. State, receipts and transactions are then proven
    under its roots, by whichever node: the proofs decide, not the node.
(2) A node that contradicts the quorum, lags behind it, runs ahead of it, fails a proof or does not answer in
    time is out for a while, longer each time, and comes back when it agrees again. Who is out is never asked.
(3) The quorum is a number, fixed at the start and more than half of all nodes. Nodes that are out do not
    lower it: below it there are no facts, and whoever asked is told so.
(4) All are asked at once and nobody is waited for longer than the time limit, however slowly he talks.
(5) Whatever happens to a node is reported, once, as it happens: to whom, the caller says.

A quorum that lies in the same way cannot be found out here: that is what "quorum" means. Against it stand
several observers with nodes of their own, and whoever remembers an older header.

Layer: `chain`; knows nodes by name and their addresses never leave it.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, TypeVar, cast

from workbench.chain.errors import ChainError, NodeError
from workbench.chain.node import Node
from workbench.evm.header import Header

ANSWER_S: Final = 5.0
# The first time may be a hiccup; who lies on is asked every ten minutes in the end.
OUT_S, OUT_MAX_S = 5.0, 600.0
# So many askers at once may each wait for every node, and one answer of each node may never come.
ASKERS_MAX: Final = 32
# Two blocks are under way between honest nodes now and then; more is another chain or a node that stands.
LAG_MAX: Final = 3

T = TypeVar("T")
Kind = Literal["out", "back", "quorum_lost", "quorum_back"]


class NoQuorumError(ChainError):
    """Too few nodes say the same: there is no fact."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a node (or, with no name, to the quorum), and why."""

    kind: Kind
    node: str
    detail: str


@dataclass(slots=True)
class _Record:
    """What was wrong with a node: until when it is out, how long that is, and whether it has agreed since."""

    until: float
    length: float
    is_back: bool = False

    def is_out(self, now: float) -> bool:
        return now < self.until


@dataclass(frozen=True, slots=True)
class Agreed:
    """A header that a quorum gives, and the names of those that do."""

    header: Header
    names: tuple[str, ...]


@dataclass(slots=True)
class Nodes:
    """The nodes by name, and who of them is out."""

    nodes: Mapping[str, Node]
    quorum: int
    chain_id: int
    report: Callable[[Event], None]
    clock: Callable[[], float] = monotonic
    answer_s: float = ANSWER_S
    _records: dict[str, _Record] = field(default_factory=dict)
    _owed: dict[str, "Future[object]"] = field(default_factory=dict)
    _turn: int = 0
    _has_quorum: bool = True
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        if not len(self.nodes) / 2 < self.quorum <= len(self.nodes):  # (3)
            raise ChainError(f"a quorum of {self.quorum} among {len(self.nodes)} nodes is not more than half")
        if len({node.url for node in self.nodes.values()}) != len(self.nodes):
            raise ChainError("one node under two names would vote twice")
        # the time limit also counts for whoever has to wait for a thread: there are enough of them
        self._pool = ThreadPoolExecutor((ASKERS_MAX + 1) * len(self.nodes), thread_name_prefix="node")

    def close(self) -> None:
        """Close all connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for node in self.nodes.values():
            node.close()

    def head(self) -> Agreed:
        """Return the newest agreed block."""
        heads = self._each(self._asked(), self._head_of)
        reached = sorted((header.number for header in heads.values()), reverse=True)
        if len(reached) < self.quorum:
            raise self._lost(f"{len(reached)} of {self.quorum} nodes answer")
        height = reached[self.quorum - 1]
        agreed = self._agreed(height, {name: head for name, head in heads.items() if head.number >= height})
        for name, head in heads.items():
            if head.number < height - LAG_MAX:
                self.out(name, f"{height - head.number} blocks behind the quorum")
            elif head.number > height + LAG_MAX:
                self.out(name, f"{head.number - height} blocks ahead of the quorum")
        names = self._rotated(name for name in agreed.names if not self._is_out(name))
        if len(names) < self.quorum:
            raise self._lost(f"{len(names)} of {self.quorum} nodes agree at block {height}")
        self._found(name for name, head in heads.items() if not self._is_out(name))
        return Agreed(agreed.header, names)

    def at(self, agreed: Agreed, height: int) -> Agreed:
        """Return the agreed block at a height that the agreeing nodes have reached."""
        if height > agreed.header.number:
            raise ChainError(f"block {height} is not agreed, the newest is {agreed.header.number}")
        if height == agreed.header.number:
            return agreed
        return self._agreed(height, self.each(agreed, lambda node: node.header_at(height)))

    def tagged(self, agreed: Agreed, tag: str) -> Agreed:
        """Return the newest agreed block that a quorum calls `safe`, or `finalized`."""
        reached = sorted((header.number for header in self.each(agreed, _tagged(tag)).values()), reverse=True)
        return self.at(agreed, reached[self.quorum - 1])

    def first(self, agreed: Agreed, work: Callable[[Node], T], *, seconds: float | None = None) -> T:
        """Return what one of the agreeing nodes gives; who fails is out, and the next one is asked.

        Below the quorum nobody is asked any more: those who are left are too few to believe.
        """
        for name in agreed.names:
            if sum(not self._is_out(each) for each in agreed.names) < self.quorum:
                break
            if self._is_out(name):
                continue
            done = self._each([name], work, seconds=seconds)
            if name in done:
                return done[name]
        raise self._lost("too few nodes are left that agreed")

    def each(self, agreed: Agreed, work: Callable[[Node], T]) -> dict[str, T]:
        """Return what each agreeing node gives; who fails is out. Raises below the quorum."""
        done = self._each([name for name in agreed.names if not self._is_out(name)], work)
        if len(done) < self.quorum:
            raise self._lost(f"{len(done)} of {self.quorum} nodes answer")
        return done

    def every(self, work: Callable[[Node], T]) -> dict[str, T | NodeError]:
        """Return what every node that is not out gives, errors too: for what is no question of a fact."""

        def safe(node: Node) -> T | NodeError:
            try:
                return work(node)
            except NodeError as error:
                return error

        return self._each(self._asked(), safe)

    def out(self, name: str, why: str) -> None:
        """Ask a node no more for a while (2); one that was out lately is out for twice as long."""
        now = self.clock()
        with self._lock:
            known = self._records.get(name)
            if known is not None and known.is_out(now):
                return
            again = known is not None and now < known.until + known.length
            length = min(2 * known.length, OUT_MAX_S) if known is not None and again else OUT_S
            self._records[name] = _Record(now + length, length)
        self.report(Event("out", name, why))

    def standing(self) -> dict[str, bool]:
        """Return which nodes are asked at present."""
        return {name: not self._is_out(name) for name in self.nodes}

    def _head_of(self, node: Node) -> Header:
        # A node that was moved to another chain would give headers and proofs of that one.
        claimed = node.chain_id()
        if claimed != self.chain_id:
            raise NodeError(f"on chain {claimed}, not on {self.chain_id}")
        return node.head()

    def _agreed(self, height: int, heads: Mapping[str, Header]) -> Agreed:
        at_height = {name: head for name, head in heads.items() if head.number == height}
        ahead = [name for name in heads if name not in at_height]
        at_height |= self._each(ahead, lambda node: node.header_at(height))
        votes = Counter(header.hash() for header in at_height.values())
        best, count = votes.most_common(1)[0] if votes else (b"", 0)
        if count < self.quorum:
            raise self._lost(
                f"at block {height} at most {count} nodes say the same, the quorum is {self.quorum}"
            )
        for name, header in at_height.items():
            if header.hash() != best:
                self.out(name, f"another block {height} than the quorum's")
        names = tuple(sorted(name for name, header in at_height.items() if header.hash() == best))
        return Agreed(at_height[names[0]], names)

    def _each(
        self, names: Iterable[str], work: Callable[[Node], T], *, seconds: float | None = None
    ) -> dict[str, T]:
        # (4)
        limit = self.answer_s if seconds is None else seconds
        asked: dict[str, Future[T]] = {}
        for name in names:
            owed = self._owed.get(name)
            if owed is None or owed.done():
                asked[name] = self._pool.submit(work, self.nodes[name])
            else:
                self.out(name, "it has not finished an earlier answer")
        wait(asked.values(), timeout=limit)
        done: dict[str, T] = {}
        for name, future in asked.items():
            if not future.done():
                self._owed[name] = cast("Future[object]", future)
                self.out(name, f"no answer within {limit:g} s")
                continue
            try:
                done[name] = future.result()
            except NodeError as error:
                self.out(name, str(error))
        return done

    def _asked(self) -> list[str]:
        return [name for name in self.nodes if not self._is_out(name)]

    def _is_out(self, name: str) -> bool:
        with self._lock:
            known = self._records.get(name)
            return known is not None and known.is_out(self.clock())

    def _rotated(self, names: Iterable[str]) -> tuple[str, ...]:
        # each node gives proofs in its turn, so that a liar among them does not wait for its hour
        ordered = list(names)
        with self._lock:
            self._turn += 1
            turn = self._turn % max(len(ordered), 1)
        return (*ordered[turn:], *ordered[:turn])

    def _found(self, names: Iterable[str]) -> None:
        with self._lock:
            back = [name for name in names if name in self._records and not self._records[name].is_back]
            for name in back:
                self._records[name].is_back = True
            regained, self._has_quorum = not self._has_quorum, True
        for name in back:
            self.report(Event("back", name, "it agrees with the quorum again"))
        if regained:
            self.report(Event("quorum_back", "", f"{self.quorum} nodes say the same"))

    def _lost(self, why: str) -> NoQuorumError:
        with self._lock:
            known, self._has_quorum = self._has_quorum, False
        if known:
            self.report(Event("quorum_lost", "", why))
        return NoQuorumError(f"no quorum: {why}")


def _tagged(tag: str) -> Callable[[Node], Header]:
    return lambda node: node.header_tagged(tag)
