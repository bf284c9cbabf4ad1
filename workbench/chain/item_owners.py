"""ERC-721: tokens of which there is one each. Who owns one, and who may take it, before and after.

(1) Whoever `ownerOf` names owns the token. That it stops answering means that the token is gone.
(2) The events of a token must lead from the owner before to the owner after, step by step.
(3) `getApproved` is looked at for tokens that are ours afterwards: also for one that comes in, since whoever
    may take it could take it back. A token that leaves takes its approval along.
(4) The last approval that an event tells of, if the token did not move behind it, must be what is answered.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import SimulationError
from workbench.chain.item_events import Approved, Event, Moved
from workbench.chain.item_findings import NOBODY, Items, Token
from workbench.chain.readings import Reading, holder
from workbench.chain.traced import WORD

OWNER_OF: Final = keccak(b"ownerOf(uint256)")[:4]
GET_APPROVED: Final = keccak(b"getApproved(uint256)")[:4]

Answers = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What is said of one token, and what its contract answers before and after."""

    token: Token
    events: Sequence[Event]
    owner: Answers
    approved: Answers


def readings(tokens: Sequence[Token]) -> list[Reading]:
    """Return what has to be asked of each token, two readings each."""
    verbs = (OWNER_OF, GET_APPROVED)
    return [(asset, verb, (number.to_bytes(WORD),)) for asset, number in tokens for verb in verbs]


def look(answered: Answered, owners: Collection[str], found: Items) -> None:
    """Tell what became of one token, if it concerns any of these owners."""
    before, after = (holder(each) for each in answered.owner)  # (1)
    moved = [each for each in answered.events if isinstance(each, Moved) and each.standard == "erc721"]
    approvals = [each for each in answered.events if isinstance(each, Approved) and each.owner in owners]
    ends = {end for each in moved for end in (each.giver, each.taker)}
    if not approvals and not {*ends, before, after} & {*owners}:
        return
    if before is None and after is None:
        if moved or approvals:
            asset, number = answered.token
            raise SimulationError(f"{asset}: it tells of token {number}, and of no owner of it")
        return
    _moved(answered.token, moved, (before or NOBODY, after or NOBODY), found)
    if after is not None and after in owners:
        _approved(answered, after, came=before != after, told=bool(approvals), found=found)
    elif approvals and answered.events[-1] is approvals[-1]:
        asset, number = answered.token
        found.lie(asset, f"its event has {approvals[-1].owner} give token {number}, which {after} owns")


def _moved(token: Token, moved: Sequence[Moved], ends: tuple[str, str], found: Items) -> None:  # (2)
    (asset, number), (before, after) = token, ends
    went = f"it went from {before} to {after}" if before != after else f"it stays with {after}"
    steps = [before, *(each.taker for each in moved)]
    if moved and (steps[-1] != after or [each.giver for each in moved] != steps[:-1]):
        giver, taker = moved[0].giver, moved[-1].taker
        found.lie(asset, f"its events take token {number} from {giver} to {taker}, {went}")
    if before == after:
        return
    if not moved:
        found.silence(asset, f"token {number}: {went}")
    found.moved("erc721", token, before, after, 1)
    found.counted[before, asset] -= 1
    found.counted[after, asset] += 1


def _approved(answered: Answered, owner: str, *, came: bool, told: bool, found: Items) -> None:  # (3)
    asset, number = answered.token
    before, after = (holder(each) for each in answered.approved)
    if len(answered.approved[1]) != WORD and (told or before is not None):
        raise SimulationError(f"{asset}: it tells of an approval of token {number}, and answers none")
    said = _last(answered.events)
    if said is not None and said != (after or NOBODY):  # (4)
        found.lie(asset, f"its event lets {said} take token {number}, it answers {after or NOBODY}")
    if after is not None and (came or after != before):
        if said is None:
            found.silence(asset, f"{after} may take token {number}")
        found.right(asset, owner, after, number, given=True)
    if before is not None and not came and after != before:
        found.right(asset, owner, before, number, given=False)


def _last(events: Sequence[Event]) -> str | None:
    """Return whom the last event lets take it; None where none does, or the token moved behind it."""
    return events[-1].spender if events and isinstance(events[-1], Approved) else None
