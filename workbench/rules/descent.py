"""Descent: a newer header comes from the blocks that were seen before, or it is of another history.

(1) What is known of the past is one block that is final and one that may become so (`Seen`). A newer header
    has to descend from the final one: proven by the chain's own record of its hashes, in steps of at most
    8,191 blocks, each step to a header that hashes to what the newer one keeps.
(2) The other one becomes final when a header descends from it that is as many blocks above it as the policy
    set asks for. If another block stands in its place, it was taken back, and the newer header takes its
    place.
(3) A header below the final block is older than what was seen, and nothing new.

Pure. Whoever remembers calls it with what he remembers; who brings the proofs is not believed. It stops an
older state, a fork that lost, another chain. It does not stop a header that was made up: nothing in a header
costs anything to whoever invents one, the record of hashes in its state included. Against that stands the
quorum of nodes, and of observers, alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from workbench.evm.errors import EvmError
from workbench.evm.header import Header
from workbench.evm.history import verify_ancestor
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Whole

STEPS_MAX = 64
"""Two months of blocks; older states than that are in no node's reach anyway."""
Proof = Annotated[list[Hex], Field(max_length=65)]


class Place(Document):
    """A block by number and hash."""

    number: Whole
    hash: Digest


class Step(Document):
    """A step down: the number, its proof under the header above, and its own header if it is not the last."""

    number: Whole
    account_proof: Proof
    slot_proof: Proof
    header: Hex | None


class Descent(Document):
    """The way down from a header to one older number."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=STEPS_MAX)]


class Seen(Document):
    """What is known of the chain: a block that is final, and a newer one; both None at the beginning."""

    final: Place | None
    newer: Place | None


@dataclass(frozen=True, slots=True)
class _At:
    header: Header
    place: Place


def verify_descent(seen: Seen, descents: list[Descent], header: Header, *, depth: int) -> Seen:
    """Return what is known after this header, or refuse it.

    `descents` has one way for each of the known blocks that is below the header.
    """
    top = _At(header, Place(number=header.number, hash=header.hash().hex()))
    ways = list(descents)
    if seen.final is not None and _below(seen.final, top, ways) != seen.final.hash:  # (1)
        raise RefusedError(
            Refusal.BLOCK_FORKED, f"block {header.number} does not descend from {seen.final.number}"
        )
    newer = seen.newer
    if newer is None or newer.number > header.number:
        return _leftover(ways, Seen(final=seen.final, newer=newer or top.place))
    if _below(newer, top, ways) != newer.hash:  # (2)
        return _leftover(ways, Seen(final=seen.final, newer=top.place))
    if header.number - newer.number + 1 < depth or newer == top.place:
        return _leftover(ways, seen)
    return _leftover(ways, Seen(final=newer, newer=top.place))


def check_ways(seen: Seen, descents: list[Descent], header: Header) -> None:
    """Refuse ways that do not lead from this header down to the known blocks, whatever stands there."""
    top = _At(header, Place(number=header.number, hash=header.hash().hex()))
    ways = list(descents)
    for known in (seen.final, seen.newer):
        if known is not None and known.number < header.number:
            _below(known, top, ways)
    _leftover(ways, seen)


def _leftover(ways: list[Descent], seen: Seen) -> Seen:
    if ways:
        raise RefusedError(Refusal.MALFORMED, "more ways down than blocks that are known", path="/descent")
    return seen


def _below(known: Place, top: _At, ways: list[Descent]) -> str:
    """Return the hash that stands at a known block's number, by the next of the ways down."""
    if known.number > top.header.number:  # (3)
        raise RefusedError(
            Refusal.ATTESTATION_STALE, f"block {top.header.number}, I have seen {known.number} final"
        )
    if known.number == top.header.number:
        return top.place.hash
    if not ways:
        raise RefusedError(Refusal.FACT_MISSING, f"no way down to block {known.number}", path="/descent")
    try:
        return _walk(known.number, top.header, ways.pop(0))
    except (EvmError, ValueError) as error:
        raise RefusedError(Refusal.PROOF, str(error)) from error


def _walk(number: int, top: Header, way: Descent) -> str:
    header = top
    for step in way.steps:
        found = verify_ancestor(
            header,
            step.number,
            account_proof=[bytes.fromhex(node) for node in step.account_proof],
            slot_proof=[bytes.fromhex(node) for node in step.slot_proof],
        )
        if step is way.steps[-1]:
            break
        if step.header is None:
            raise ValueError(f"a step to block {step.number} without its header")
        header = Header.parse(bytes.fromhex(step.header))
        if (header.number, header.hash()) != (step.number, found):
            raise ValueError(f"the header of step {step.number} is another block's")
    if way.steps[-1].number != number or way.steps[-1].header is not None:
        raise ValueError(f"the way ends at block {way.steps[-1].number}, asked for is {number}")
    return found.hex()
