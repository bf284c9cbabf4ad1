"""What contracts answer, proven: calls on a private fork, and everything that they read under a header.

A node's own `eth_call` is its word. A trace from a node is no better: it may show a true prestate beside a
false output. So:

(1) The calls run on a fork of ours, at the agreed header: its output follows from the code and the values
    that it read, and from the block's own fields, which the header's hash covers.
(2) What each call found is told by the tracer, and proven under the header's state root (`prestate`); a node
    that gave the fork another value is named.
(3) A call is made by nobody (the zero address), with a limit of gas, and changes nothing.
(4) One that reverts is a fact about the contract, `None` among the answers: nobody is blamed for it.
(5) One that asks for the hash of an older block is refused: that is no state of the header's, and a fork
    takes it from its node without a proof.

Left to others: what an answer means, and whether the contract deserves to be asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from workbench.chain.errors import ChainError, NodeError, RpcError
from workbench.chain.fork import Forks
from workbench.chain.node import Json, Node
from workbench.chain.prestate import StateError, prove_found
from workbench.chain.traced import Found, read_prestate
from workbench.evm.errors import EvmError
from workbench.evm.fields import ADDRESS_BYTES, checksummed, from_rpc_hex, to_rpc
from workbench.evm.header import Header

# A view that needs more is no view; each call is traced three times.
GAS: Final = 2_000_000
CALLS_MAX: Final = 256
OUTPUT_MAX: Final = 64 * 1024
_NOBODY: Final = checksummed(bytes(ADDRESS_BYTES))
_TRACERS: Final[tuple[Json, ...]] = (
    {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}},
    {"tracer": "prestateTracer"},
    {
        "tracer": "{found: 0, fault: function () {}, step: function (log) {"
        " if (log.op.toNumber() === 64) this.found = 1;"
        "}, result: function () { return this.found; }}"
    },
)


@dataclass(frozen=True, slots=True)
class View:
    """A call that only looks: the contract, and its calldata."""

    to: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a call answered, None for a revert; what it read; whether it asked for older blocks' hashes."""

    output: bytes | None
    found: Mapping[str, Found]
    asks_for_hashes: bool


def proven_calls(forks: Forks, node: Node, header: Header, calls: Sequence[View]) -> list[bytes | None]:
    """Return what these calls answer at the header's block, None for each that reverts (4)."""
    if len(calls) > CALLS_MAX:
        raise ChainError(f"{len(calls)} calls, at most {CALLS_MAX}")
    if not calls:
        return []
    try:
        with forks.at(node, header) as fork:  # (1)
            ran = look(fork, node, header, calls)
            answers = [_proper(call, each) for call, each in zip(calls, ran, strict=True)]
            prove_found(fork, node, header, [[each.found] for each in ran])  # (2)
    except StateError:
        raise
    except NodeError as error:
        # a contract that reads without end, or a fork that failed, must not have nodes sent away
        raise ChainError(node.hidden(f"the fork: {error}")) from None
    return answers


def proven_call(forks: Forks, node: Node, header: Header, call: View) -> bytes:
    """Return what one call answers; that it reverts is nobody's lie, and a `ChainError`."""
    (output,) = proven_calls(forks, node, header, [call])
    if output is None:
        raise ChainError(f"{call.to}: it answers 0x{call.data[:4].hex()} with a revert")
    return output


def look(fork: Node, node: Node, header: Header, calls: Sequence[View], *, gas: int = GAS) -> list[Ran]:
    """Return what these calls answer on a fork at its header's block; whoever asks proves what they read."""
    asked = [
        ("debug_traceCall", [_request(call, gas), hex(header.number), tracer])
        for call in calls
        for tracer in _TRACERS
    ]
    answers = fork.batch(asked)
    each = len(_TRACERS)
    return [_read(node, call, answers[place * each : (place + 1) * each]) for place, call in enumerate(calls)]


def _request(call: View, gas: int) -> dict[str, Json]:  # (3)
    return {"from": _NOBODY, "to": call.to, "data": to_rpc(call.data), "gas": hex(gas)}


def _read(node: Node, call: View, answers: Sequence[Json]) -> Ran:
    for answer in answers:
        if isinstance(answer, RpcError):
            raise ChainError(node.hidden(f"{call.to}: no trace: {answer.message}"))
    ran, prestate, asks_for_hashes = answers
    try:
        output = None if ran.get("error") else from_rpc_hex(ran.get("output", "0x"))
        found = read_prestate(prestate)
    except (KeyError, TypeError, AttributeError, EvmError, ValueError) as error:
        raise ChainError(f"{call.to}: a trace that cannot be read: {error!r:.200}") from error
    return Ran(output=output, found=found, asks_for_hashes=asks_for_hashes != 0)


def _proper(call: View, ran: Ran) -> bytes | None:
    if ran.asks_for_hashes:  # (5)
        raise ChainError(f"{call.to}: its answer hangs on the hash of an older block, which has no proof")
    if ran.output is not None and len(ran.output) > OUTPUT_MAX:
        raise ChainError(f"{call.to}: an answer of {len(ran.output)} bytes, at most {OUTPUT_MAX}")
    return ran.output
