"""What contracts answer on the fork right before a transaction, and right after it.

A reading is a call that only looks: a contract, a function, the words of its arguments. Whoever asks decides
what an answer means; nothing here is judged. Too many readings raise: an answer that was left out could be
the one that matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from workbench.chain.errors import RpcError, SimulationError
from workbench.chain.node import BATCH_MAX, Json, Node
from workbench.chain.traced import WORD
from workbench.evm.fields import address_bytes, checksummed, from_rpc_hex

# A probe is one storage read; the limit stops a contract that loops in its balanceOf.
PROBE_GAS: Final = 2_000_000
_UPPER: Final = 12

Reading = tuple[str, bytes, tuple[bytes, ...]]
Change = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A transaction that has run in block `number`, alone."""

    tx_hash: str
    sender: str
    number: int
    gas_cost: int


@dataclass(frozen=True, slots=True)
class Around:
    """The fork right before a transaction, and right after it."""

    fork: Node
    executed: Executed

    def twice(self, readings: Sequence[Reading]) -> list[tuple[bytes, bytes]]:
        """Return what each reading is answered before, and after; empty for an error."""
        blocks = (self.executed.number - 1, self.executed.number)
        calls = []
        for contract, verb, words in readings:
            call = {"to": contract, "data": "0x" + (verb + b"".join(words)).hex(), "gas": hex(PROBE_GAS)}
            calls += [("eth_call", [call, hex(block)]) for block in blocks]
        if len(calls) > BATCH_MAX:
            raise SimulationError(f"{len(calls)} readings would be needed, at most {BATCH_MAX}")
        answers = [_raw(each) for each in self.fork.batch(calls)]
        return list(zip(answers[::2], answers[1::2], strict=True))

    def numbers(self, readings: Sequence[Reading]) -> list[tuple[Reading, Change]]:
        """Return the readings that are answered afterwards with one word, with both answers."""
        found: list[tuple[Reading, Change]] = []
        for reading, (before_raw, after_raw) in zip(readings, self.twice(readings), strict=True):
            before, after = number(before_raw), number(after_raw)
            if after is None:
                # A token that answered before and is silent after may hide where its balance went.
                if before is not None:
                    raise SimulationError(f"{reading[0]} no longer answers")
                continue
            # A token that did not exist before held nothing.
            found.append((reading, (before or 0, after)))
        return found


def number(answer: bytes) -> int | None:
    """Return an answer of one word."""
    return int.from_bytes(answer) if len(answer) == WORD else None


def holder(answer: bytes) -> str | None:
    """Return an answer that is an address; None for the zero address, and for what is none."""
    if len(answer) != WORD or any(answer[:_UPPER]) or not any(answer):
        return None
    return checksummed(answer[_UPPER:])


def word(address: str) -> bytes:
    """Return an address as an argument."""
    return bytes(_UPPER) + address_bytes(address)


def _raw(answer: Json | RpcError) -> bytes:
    return b"" if isinstance(answer, RpcError) else from_rpc_hex(answer)
