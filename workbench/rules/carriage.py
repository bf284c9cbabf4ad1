"""By which way signed bytes go out: by the nodes, whose pools are public, or by a private relay alone.

(1) Where the policy set says nothing, or "nodes", they go to the nodes, as often as needed.
(2) Under "relay" they never go to a node: not when they are lost, not when their block was taken back, not
    after a restart. When the block has gone by until which the relay had them, it gets them for some more.
(3) Under "relay_then_nodes" the relay has them first, until one block, which counts for all bytes of a nonce:
    what takes others' place does not begin again. Once a block behind it is proven, they go to the nodes.
    What has been with a node is public, and stays with the nodes.
(4) The relay has bytes for as many blocks as the policy set says, never for more than it would keep them, and
    not beyond the end of their intent: blocks come no faster than slots. A cancel outlives its intent.
(5) The number of the last block is recorded before the bytes go out. While it is ahead the same number is
    told again, so that a restart gives the relay nothing for longer than the ledger says.

Pure. What was sent is the ledger's word; which block is present, the newest proven header's. Whether bytes
are sent at all, and whether they are an intent's, is decided before (`lifecycle`, `carried`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

RELAY_BLOCKS_MAX = 25
"""Relays keep bytes for as many blocks and no longer, whatever they are asked."""
SLOT_S = 12
"""No two blocks of the chain are nearer to each other."""


class Rule(StrEnum):
    """What a policy set says of it."""

    NODES = "nodes"
    RELAY = "relay"
    RELAY_THEN_NODES = "relay_then_nodes"


class Way(StrEnum):
    """Where bytes go."""

    NODES = "nodes"
    RELAY = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Bytes by their hash, where they go, and for the relay the last block in which they may be included."""

    tx_hash: str
    by: Way
    last_block: int | None

    @classmethod
    def load(cls, data: dict[str, Any]) -> Sending:
        """Read it from an entry."""
        return cls(tx_hash=data["tx_hash"], by=Way(data["by"]), last_block=data["last_block"])

    def dump(self) -> dict[str, Any]:
        """Return what an entry says of it."""
        return {"tx_hash": self.tx_hash, "by": self.by.value, "last_block": self.last_block}

    def goes(self, present: int) -> bool:
        """Whether there is a block ahead in which it would help."""
        return self.last_block is None or self.last_block > present


def blocks(most: int, *, until: datetime | None, latest: datetime) -> int:
    """(4) Return for how many blocks the relay may have bytes; `until` is their intent's end."""
    most = min(most, RELAY_BLOCKS_MAX)
    if until is None:
        return most
    return max(0, min(most, int((until - latest).total_seconds()) // SLOT_S))


def by_nodes(tx_hash: str) -> Sending:
    """(1) Return the way that needs no block and no end."""
    return Sending(tx_hash=tx_hash, by=Way.NODES, last_block=None)


def next_sending(
    rule: Rule, before: Sequence[Sending], *, tx_hash: str, present: int, blocks: int
) -> Sending:
    """(1) (2) (3) (5) Return where bytes go next; `before` is where those of their nonce went, in order."""
    if rule is Rule.NODES or (rule is Rule.RELAY_THEN_NODES and _is_public(before, present)):
        return by_nodes(tx_hash)
    last = _last_block(before)
    if last is None or last < present:
        last = present + blocks
    return Sending(tx_hash=tx_hash, by=Way.RELAY, last_block=last)


def is_told(sending: Sending, before: Sequence[Sending]) -> bool:
    """(5) Whether the ledger says it: the relay's each time, the nodes' where the relay was the last."""
    if sending.by is Way.RELAY:
        return sending in before
    return bool(before) and before[-1].by is Way.NODES


def _is_public(before: Sequence[Sending], present: int) -> bool:
    """(3) Whether the relay's time is over; a block that is taken back must not make it so."""
    if any(each.by is Way.NODES for each in before):
        return True
    last = _last_block(before)
    return last is not None and last < present


def _last_block(before: Sequence[Sending]) -> int | None:
    given = [each.last_block for each in before if each.last_block is not None]
    return given[-1] if given else None
