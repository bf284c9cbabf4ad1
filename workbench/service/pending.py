"""What is signed and in no block: sent again, replaced, cancelled, or its nonce taken by others.

(5) What no node knows is sent, the newest bytes, as often as it is lost. What has waited for STUCK_BLOCKS,
    or pays less than the base fee that is proven, is replaced by bytes that pay more, while those who
    approved it still count and there is room under the caps. An intent that is over, or that somebody
    rejected, is cancelled instead: nothing of it is sent or signed any more while it can be, and a relay that
    has it is asked to forget it. New bytes are recorded, then sent. Each time they go by the way that the
    policy set has for them (`carriage`), which is recorded first; what a relay has it is not given again.
(6) An account whose proven nonce is beyond bytes that are in no block was used by somebody else. That is
    believed once it is as deep as a confirmation must be, and seen twice: between two questions the chain
    may have taken ours. Then the intent has its end, and the lane stops until a next policy set is in force.

What is remembered here between turns (since when something waits) is lost with the process: then it waits as
long again. Whether new bytes are signed is the co-signer's to decide, on its own clock and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workbench.rules import attestation, fees
from workbench.rules.carriage import Sending, Way
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time
from workbench.rules.fees import Fees
from workbench.rules.lifecycle import Event
from workbench.service import looking, releasing
from workbench.service.books import Matter
from workbench.service.lane import SERVICE, Lane

STUCK_BLOCKS = 6
"""The base fee can double in six full blocks: then the headroom of the first fees is gone."""
DROPPED_MAX = 16
"""Nodes that drop and take it again all day must not fill the ledger; it is sent again all the same."""
ASK_EVERY = timedelta(seconds=30)
"""A co-signer that says no, or nothing, is not asked at every turn: each costs a look and a checkpoint."""


@dataclass(slots=True)
class Waiting:
    """What one intent's bytes have been through in this life of the process."""

    since: int
    """The block at which they were seen waiting first."""
    beyond: int | None = None
    """The block at which the account's nonce was seen beyond them."""
    pooled: str = ""
    """The hash that a node had in its pool: if it is gone, it was dropped."""
    asked: datetime | None = None
    given: Sending | None = None
    """What the relay has taken."""


@dataclass(slots=True)
class Pending:
    """The intents that wait for a block; `approved` says whether people's consent to one still counts."""

    lane: Lane
    approved: Callable[[str], bool]
    _waiting: dict[str, Waiting] = field(default_factory=dict)

    def forget(self, digest: str) -> None:
        """Whatever becomes of it next begins anew."""
        self._waiting.pop(digest, None)

    def step(self, digest: str, newest: str) -> bool:
        """(5) (6) Do what is due; `newest` is what nodes say of the last bytes. Say whether any are sent."""
        matter, lane = self.lane.books.matter(digest), self.lane
        look = looking.look(lane, matter)
        waiting = self._waiting.setdefault(digest, Waiting(look.block_number))
        if matter.nonce is not None and looking.account_nonce(lane, matter, look) > matter.nonce:
            self._beyond(digest, matter, waiting, look)
            return False
        waiting.beyond = None
        over = self._over(matter, look)
        if self._new_bytes(digest, matter, waiting, look, over=over):
            waiting.since = look.block_number
            newest = "unknown"
        if newest == "pending":
            waiting.pooled, waiting.given = matter.newest.tx_hash, None
            return False
        if over and not matter.cancelling and self._higher(matter, look, over=over) is not None:
            return False  # what is over is not sent again while it can be cancelled
        return self._send(digest, matter, waiting, look)

    def _over(self, matter: Matter, look: attestation.State) -> bool:
        """(5) Whether nobody wants it any more; expiries count from the latest of the clocks."""
        latest = max(self.lane.clock(), look.block_time)
        return matter.withdrawn or read_time(matter.proposal.intent.expires_at) <= latest

    def _higher(self, matter: Matter, look: attestation.State, *, over: bool) -> Fees | None:
        """(5) Return what bytes would pay in the place of the newest; None without room for them."""
        find = fees.cancelling if over or matter.cancelling else fees.replacing
        caps = matter.proposal.intent.caps
        return find(matter.newest_fees, caps, base_fee_per_gas=look.base_fee_per_gas)

    def _send(self, digest: str, matter: Matter, waiting: Waiting, look: attestation.State) -> bool:
        sent = matter.newest
        if sent.raw_tx is None:
            return False
        if waiting.pooled == sent.tx_hash and matter.dropped < DROPPED_MAX:
            self.lane.happened(Event.DROPPED, digest, {"tx_hash": sent.tx_hash}, actor=SERVICE)
        waiting.pooled = ""
        sending = releasing.way(self.lane, matter, look)
        if not sending.goes(look.block_number) or sending == waiting.given:
            return False
        releasing.tell(self.lane, digest, sending)
        if sending.by is Way.RELAY and waiting.given is None:
            # what a relay has not taken is not outbid by anybody: it waits for the relay, not for a block
            waiting.since = look.block_number
        # a crash here leaves it told and not sent: the next turn sends it until the same block
        self.lane.links.observers.broadcast(sent.raw_tx, by=sending.by.value, last_block=sending.last_block)
        self.lane.crash.reached("5-after")
        waiting.given = sending if sending.by is Way.RELAY else None
        return True

    def _recall(self, digest: str, matter: Matter) -> None:
        """(5) Ask the relay to forget what is to be cancelled; if it does not, the cancel pays more."""
        for tx_hash in matter.at_relay:
            try:
                self.lane.links.observers.recall(tx_hash)
            except RefusedError:
                continue
            data = {"tx_hash": tx_hash, "by": Way.RELAY.value}
            self.lane.enter(Event.RECALLED, digest, data, actor=SERVICE, name=f"{tx_hash}-recalled")

    def _new_bytes(
        self, digest: str, matter: Matter, waiting: Waiting, look: attestation.State, *, over: bool
    ) -> bool:
        """(5) Have a replacement or a cancel signed when one is due; say whether there is one."""
        now = self.lane.clock()
        cap = matter.proposal.intent.max_fee_per_gas
        # a base fee above the cap is outbid by nothing that was approved: it has to fall again
        outrun = matter.newest_fees.max_fee_per_gas < look.base_fee_per_gas <= cap
        stuck = outrun or look.block_number - waiting.since >= STUCK_BLOCKS
        if not (stuck or (over and not matter.cancelling)):
            return False
        if waiting.asked is not None and now < waiting.asked + ASK_EVERY:
            return False
        cancel = over or matter.cancelling
        higher = self._higher(matter, look, over=over)
        if higher is None or not (cancel or self.approved(digest)):
            return False
        # silence and refusals end this turn here; the next ones send what was signed before
        waiting.asked = now
        if cancel:
            self._recall(digest, matter)
            releasing.cancel(self.lane, digest, higher)
        else:
            releasing.replace(self.lane, digest, higher)
        waiting.asked = None
        return True

    def _beyond(self, digest: str, matter: Matter, waiting: Waiting, look: attestation.State) -> None:
        """(6) Record, once it is final, that somebody else has used the nonce."""
        if waiting.beyond is None:
            waiting.beyond = look.block_number
            return
        if not looking.is_final(self.lane, waiting.beyond, look.block_number):
            return
        data = {
            "nonce": matter.nonce,
            "account_nonce": looking.account_nonce(self.lane, matter, look),
            "block_number": look.block_number,
            "block_hash": look.block_hash,
            "ours": [each.tx_hash for each in matter.sent],
            "policy": self.lane.policy.digest,
        }
        self.lane.enter(Event.NONCE_TAKEN, digest, data, actor=SERVICE)
        self.lane.recorder.checkpoint()
        self.forget(digest)


def stopped(lane: Lane, key: str, chain_id: int) -> str:
    """(6) Say why nothing is reserved or signed in a lane; empty when it goes on.

    What took a nonce had the key, or this ledger is not the whole of what was signed: no restart and no next
    intent makes that good, only people who sign a next policy set.
    """
    for matter in list(lane.books.matters.values()):
        intent = matter.proposal.intent
        if (intent.key, intent.chain_id) == (key, chain_id) and matter.taken_under == lane.policy.digest:
            return f"lane stopped: nonce {matter.nonce} was used by bytes that are none of ours"
    return ""


def held_up(lane: Lane, key: str, chain_id: int) -> bool:
    """(6) Whether something of a lane is signed and not known to be mined.

    The account's nonce alone does not say so: somebody else may have used it, and nothing more is signed
    before that is settled.
    """
    return any(
        matter.waits and (matter.proposal.intent.key, matter.proposal.intent.chain_id) == (key, chain_id)
        for matter in list(lane.books.matters.values())
    )


def frozen(lane: Lane, key: str, chain_id: int, *, now: datetime) -> str:
    """(5) Say which expired intent's bytes hold up a lane; empty when none do."""
    for digest, matter in list(lane.books.matters.items()):
        intent = matter.proposal.intent
        if (
            (intent.key, intent.chain_id) == (key, chain_id)
            and matter.waits
            and (matter.withdrawn or read_time(intent.expires_at) <= now)
        ):
            why = "was rejected" if matter.withdrawn else f"ended at {intent.expires_at}"
            return (
                f"lane frozen: nonce {matter.nonce} of intent {digest[:12]}, which {why}, is signed;"
                " nothing else is until it or its cancel is mined"
            )
    return ""


def require_going(lane: Lane, key: str, chain_id: int) -> None:
    """(6) Refuse in a lane that has stopped."""
    if why := stopped(lane, key, chain_id):
        raise RefusedError(Refusal.LANE_STOPPED, why)
