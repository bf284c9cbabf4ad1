"""One transaction that has run on a private fork, as its traces tell it.

(1) What it found: accounts and storage slots, before it ran. That is what is proven afterwards.
(2) What it left changed: storage slots and code.
(3) Its calls, without those that were reverted: what these did has been undone, and so have their logs.
(4) Every address that occurs: in calldata, in logs, in what was read, among the constants of the code that
    ran, and, looked at `closely`, in what was hashed. A mapping's slot is the hash of its key, so whoever is
    given an allowance is hashed, also where no event, no argument and no constant names him. So is the number
    of a token: the keys of mappings are kept.

The close look costs some ten times the rest: a step of the EVM at a time goes through the tracer's language.
Whatever cannot be read raises. Nothing here is judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from workbench.chain.errors import RpcError, SimulationError
from workbench.chain.node import Json, Node
from workbench.evm.errors import EvmError
from workbench.evm.fields import checksummed, from_rpc_hex, from_rpc_quantity

WORD: Final = 32
ADDRESS: Final = 20
FRAMES_MAX: Final = 20_000
# The same contracts run all day; their code is read through once.
CODES: Final = 256
PUSH20: Final = 0x73
PUSH1: Final = 0x60
PUSH32: Final = 0x7F
# Small numbers look like addresses; nobody has one whose upper half is zero.
_UPPER: Final = 12

_PRESTATE: Final = {"tracer": "prestateTracer"}
_CHANGED: Final = {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}}
_CALLS: Final = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
# 64 bytes are a key and a slot, or two keys; 52 an owner packed beside a constant, and a spender.
_HASHED: Final = {
    "tracer": "{found: [], fault: function () {}, step: function (log) {"
    " if (log.op.toNumber() !== 32) return;"
    " var size = log.stack.peek(1).valueOf(); if (size != 64 && size != 52) return;"
    " var at = log.stack.peek(0).valueOf();"
    " if (this.found.length < 20000) this.found.push(toHex(log.memory.slice(at, at + size)));"
    "}, result: function () { return this.found; }}"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An account as a transaction found it; no nonce where the tracer does not tell it."""

    nonce: int | None
    balance: int
    code: bytes
    slots: Mapping[bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One call that was not undone; `around` are the contracts that were being executed when it came."""

    kind: str
    caller: str
    to: str
    data: bytes
    around: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """Everything that was traced of one transaction."""

    found: Mapping[str, Found]
    slots: frozenset[tuple[str, bytes]]
    recoded: frozenset[str]
    frames: tuple[Frame, ...]
    logs: tuple[Log, ...]
    named: frozenset[str]
    keys: frozenset[bytes]  # of mappings, as they were hashed; looked at closely only

    @property
    def touched(self) -> frozenset[str]:
        """Every contract and account that took part."""
        ends = {end for frame in self.frames for end in (frame.caller, frame.to)}
        return frozenset(self.found) | ends | {log.address for log in self.logs}

    def borrows(self, contract: str) -> bool:
        """Whether it ran code of others as its own."""
        return any(True for _ in self._borrowed(contract))

    def code_of(self, contract: str) -> bytes:
        """Return the contract's code as it was found, and behind it all code that it borrowed."""
        parts = (contract, *self._borrowed(contract))
        return b"".join(self.found[each].code for each in parts if each in self.found)

    def _borrowed(self, contract: str) -> Iterator[str]:
        return (each.to for each in self.frames if each.caller == contract and each.kind == "DELEGATECALL")


def traced(fork: Node, tx_hash: str, *, closely: bool) -> Traced:
    """Return what the fork's traces say of a transaction that it has run."""
    configs = [_PRESTATE, _CHANGED, _CALLS] + ([_HASHED] if closely else [])
    answers = fork.batch([("debug_traceTransaction", [tx_hash, config]) for config in configs])
    for answer in answers:
        if isinstance(answer, RpcError):
            raise SimulationError(f"no trace: {answer.message}")
    try:
        return _read(answers[0], answers[1], answers[2], answers[3] if closely else [])
    except (KeyError, TypeError, AttributeError, EvmError, ValueError) as error:
        raise SimulationError(f"a trace that cannot be read: {error!r:.200}") from error


def read_prestate(prestate: Json) -> dict[str, Found]:
    """Return what a prestate tracer says was found; raises as reading JSON does."""
    return {_address(address): _found(told) for address, told in prestate.items()}


def _read(prestate: Json, changed: Json, calls: Json, hashed: Json) -> Traced:
    found = read_prestate(prestate)
    frames: list[Frame] = []
    logs: list[Log] = []
    for raw, frame in _frames(calls):
        frames.append(frame)
        logs += [_log(each) for each in raw.get("logs", ())]
    slots = {
        (_address(address), _word(slot))
        for side in ("pre", "post")
        for address, account in changed[side].items()
        for slot in account.get("storage", {})
    }
    preimages = [from_rpc_hex(each) for each in hashed]
    return Traced(
        found=found,
        slots=frozenset(slots),
        recoded=frozenset(_recoded(changed)),
        frames=tuple(frames),
        logs=tuple(logs),
        named=frozenset(_named(found, frames, logs, preimages)),
        keys=frozenset(each[:WORD] for each in preimages if len(each) == 2 * WORD),
    )


def _found(told: Json) -> Found:
    nonce = told.get("nonce")
    return Found(
        nonce=nonce if nonce is None or type(nonce) is int else from_rpc_quantity(nonce),
        balance=from_rpc_quantity(told.get("balance", "0x0")),
        code=from_rpc_hex(told.get("code", "0x")),
        slots={_word(slot): int.from_bytes(_word(value)) for slot, value in told.get("storage", {}).items()},
    )


def _recoded(changed: Json) -> Iterator[str]:
    """Yield who had code, or was there without any, and has other code afterwards; not what was created."""
    for address, before in changed["pre"].items():
        after = changed["post"].get(address)
        if after is None or after.get("code", before.get("code", "0x")) != before.get("code", "0x"):
            yield _address(address)


def _frames(root: Json) -> Iterator[tuple[Json, Frame]]:  # (3)
    waiting: list[tuple[Json, tuple[str, ...]]] = [(root, ())]
    for _ in range(FRAMES_MAX):
        if not waiting:
            return
        raw, around = waiting.pop()
        if raw.get("error"):
            continue
        frame = Frame(
            kind=str(raw["type"]),
            caller=_address(raw["from"]),
            to=_address(raw["to"]) if raw.get("to") else _address(raw["from"]),
            data=from_rpc_hex(raw.get("input", "0x")),
            around=around,
        )
        yield raw, frame
        # code that is borrowed runs as the borrower
        runs_as = frame.caller if frame.kind in ("DELEGATECALL", "CALLCODE") else frame.to
        waiting.extend((call, (*around, runs_as)) for call in reversed(raw.get("calls", ())))
    raise SimulationError(f"more than {FRAMES_MAX} calls")


def _log(raw: Json) -> Log:
    return Log(
        address=_address(raw["address"]),
        topics=tuple(_word(topic) for topic in raw["topics"]),
        data=from_rpc_hex(raw.get("data", "0x")),
    )


def _named(
    found: Mapping[str, Found], frames: list[Frame], logs: list[Log], hashed: list[bytes]
) -> Iterator[str]:  # (4)
    for frame in frames:
        yield from _in_words(frame.data[4:])
    for log in logs:
        yield from _in_words(b"".join(log.topics))
        yield from _in_words(log.data)
    for account in found.values():
        yield from _constants(account.code)
        for value in account.slots.values():
            yield from _in_words(value.to_bytes(WORD))
    for preimage in hashed:
        yield from _in_words(preimage[-WORD:])
        yield from _in_words(bytes(_UPPER) + preimage[:ADDRESS] if len(preimage) != 2 * WORD else preimage)


def _in_words(data: bytes) -> Iterator[str]:
    for start in range(0, len(data) - WORD + 1, WORD):
        word = data[start : start + WORD]
        if not any(word[:_UPPER]) and any(word[_UPPER : 2 * _UPPER]):
            yield checksummed(word[_UPPER:])


@lru_cache(maxsize=CODES)
def _constants(code: bytes) -> frozenset[str]:
    found: set[str] = set()
    at = 0
    while at < len(code):
        operand = code[at + 1 : at + 1 + ADDRESS]
        if code[at] == PUSH20 and len(operand) == ADDRESS and any(operand[:_UPPER]) and operand != _MASK:
            found.add(checksummed(operand))
        if code[at] == PUSH32:
            found.update(_in_words(code[at + 1 : at + 1 + WORD]))
        at += 1 + (code[at] - PUSH1 + 1 if PUSH1 <= code[at] <= PUSH32 else 0)
    return frozenset(found)


_MASK: Final = b"\xff" * ADDRESS


def _word(value: Json) -> bytes:
    return from_rpc_hex(value, size=WORD)


def _address(value: Json) -> str:
    return checksummed(from_rpc_hex(value, size=ADDRESS))
