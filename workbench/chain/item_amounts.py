"""ERC-1155: tokens of which there are amounts. What each account holds of one, before and after.

(1) What `balanceOf(owner, number)` answers is what an account holds. Our accounts are asked, and everybody
    whom an event names beside one of them.
(2) The events of a token must add up to the difference for each of those who were asked. Then they say, too,
    from whom to whom it went, what went back and forth taken together.
(3) Where they do not add up, only what our accounts gained or lost is told; the other end stays open.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import SimulationError
from workbench.chain.item_events import Event, Moved
from workbench.chain.item_findings import NOBODY, Items, Token
from workbench.chain.readings import Reading, number, word
from workbench.chain.traced import WORD

BALANCE: Final = keccak(b"balanceOf(address,uint256)")[:4]


def parties(events: Sequence[Event], owners: Collection[str]) -> list[str]:
    """Return who has to be asked about a token of which these events tell."""  # (1)
    moved = [each for each in events if isinstance(each, Moved) and each.standard == "erc1155"]
    ends = {end for each in moved for end in (each.giver, each.taker)}
    return sorted({*owners} | (ends - {NOBODY} if ends & {*owners} else set()))


def reading(token: Token, who: str) -> Reading:
    """Return what has to be asked of a token for one account."""
    return token[0], BALANCE, (word(who), token[1].to_bytes(WORD))


def change(token: Token, answers: tuple[bytes, bytes]) -> int | None:
    """Return by how much an account holds more; None where the contract has no such answer."""
    before, after = (number(each) for each in answers)
    if after is None:
        if before is not None:
            raise SimulationError(f"{token[0]} no longer answers")
        return None
    return after - (before or 0)


def look(
    token: Token,
    events: Sequence[Event],
    changes: Mapping[str, int | None],
    owners: Collection[str],
    found: Items,
) -> None:
    """Tell what became of one token, if it concerns any of these owners."""
    moved = [each for each in events if isinstance(each, Moved) and each.standard == "erc1155"]
    named = any({each.giver, each.taker} & {*owners} for each in moved)
    answered = {who: each for who, each in changes.items() if each is not None}
    if named and len(answered) != len(changes):
        raise SimulationError(f"{token[0]}: it tells of token {token[1]}, and of no balance of it")
    own = {who: answered[who] for who in owners if answered.get(who)}
    if not named and not own:
        return
    said: Counter[str] = Counter()
    for each in moved:
        said[each.giver] -= each.amount
        said[each.taker] += each.amount
    if all(said[who] == gained for who, gained in answered.items()):  # (2)
        _netted(token, moved, owners, found)
        return
    held = ", ".join(f"{gained:+} of {who}" for who, gained in sorted(answered.items()) if gained)  # (3)
    if moved:
        found.lie(token[0], f"its events of token {token[1]} do not add up to {held or 'nothing moved'}")
    else:
        found.silence(token[0], f"token {token[1]}: {held}")
    for who, gained in sorted(own.items()):
        giver, taker = (None, who) if gained > 0 else (who, None)
        found.moved("erc1155", token, giver, taker, abs(gained))


def _netted(token: Token, moved: Sequence[Moved], owners: Collection[str], found: Items) -> None:
    net: Counter[tuple[str, str]] = Counter()
    for each in moved:
        giver, taker = sorted((each.giver, each.taker))
        net[giver, taker] += each.amount if each.giver == giver else -each.amount
    for (one, other), amount in net.items():
        if amount and one != other and {one, other} & {*owners}:
            giver, taker = (one, other) if amount > 0 else (other, one)
            found.moved("erc1155", token, giver, taker, abs(amount))
