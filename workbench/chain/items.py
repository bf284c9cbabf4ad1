"""Single tokens that an executed transaction moved, and rights over them: ERC-721 and ERC-1155.

What the contracts answer before and after decides; what their events say is held against it.
(1) Keepers: contracts that took part and have a word of the standards' questions in code of their own or that
    they borrowed, that were written to by borrowed code and answer one, or that emitted such an event.
(2) Which tokens: those that an event names, and, of a keeper that was written to, every word of the calls to
    it and every key that was hashed: a token that moves without an event is found by its number.
(3) Of each of them: who owns it (`item_owners`), and how much of it who holds (`item_amounts`).
(4) Operators: `isApprovedForAll` of each keeper, and of each other token where any code knows that question,
    from each owner for every address that occurs anywhere.
(5) An event that says something else than the answers is a finding, and so is a change without an event.
(6) An event that names one of our accounts, of a contract that does not answer what it tells of, raises.

Left out: what a contract answers to us and to nobody else, and an ERC-1155 token that leaves without an event
and whose number its maker worked into the code as a slot that nothing hashes any more.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain import item_amounts, item_owners
from workbench.chain.errors import SimulationError
from workbench.chain.item_events import Approved, Event, read
from workbench.chain.item_findings import Items, Token
from workbench.chain.readings import Around, Reading, number, word
from workbench.chain.traced import WORD, Traced

FOR_ALL: Final = keccak(b"isApprovedForAll(address,address)")[:4]
_KNOWN_BY: Final = (item_owners.OWNER_OF, item_amounts.BALANCE, FOR_ALL)
_SELECTOR: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose tokens are looked for, which addresses occur, and which contracts answer a balance."""

    owners: Collection[str]
    occurring: Collection[str]
    tokens: Collection[str]


def items(around: Around, traced: Traced, asked: Asked) -> Items:
    """Return what became of single tokens of these owners; raises if not all of it can be told."""
    keepers = _keepers(around, traced, asked.owners)  # (1)
    events = read(traced.logs, keepers)
    about: dict[Token, list[Event]] = defaultdict(list)
    for event in events:
        if event.number is not None:
            about[event.asset, event.number].append(event)
    tokens = sorted(about.keys() | set(_silent(traced, keepers)))  # (2)
    found = Items()
    verbs = item_owners.readings(tokens)
    answers = around.twice(verbs)
    for token, owner, approved in zip(tokens, answers[::2], answers[1::2], strict=True):  # (3)
        answered = item_owners.Answered(token=token, events=about[token], owner=owner, approved=approved)
        item_owners.look(answered, asked.owners, found)
    _amounts(around, {each: about[each] for each in tokens}, asked.owners, found)
    spoken = keepers | {event.asset for event in events}
    known = any(FOR_ALL in each.code for each in traced.found.values())
    _operators(around, spoken | set(asked.tokens if known else ()), events, asked, found)
    return found.bounded()


def _keepers(around: Around, traced: Traced, owners: Collection[str]) -> set[str]:
    coded = {each for each in traced.touched if any(verb in traced.code_of(each) for verb in _KNOWN_BY)}
    written = {contract for contract, _ in traced.slots} - coded
    # what is made of parts may answer from a part that this transaction had no need of
    parts = sorted(contract for contract in written if traced.borrows(contract))
    pairs = [(each, owner) for each in parts for owner in owners]
    answers = around.twice([item_amounts.reading((each, 0), owner) for each, owner in pairs])
    answering = {each for (each, _), answer in zip(pairs, answers, strict=True) if len(answer[1]) == WORD}
    return coded | answering


def _silent(traced: Traced, keepers: Collection[str]) -> Iterator[Token]:  # (2)
    written = {contract for contract, _ in traced.slots} & {*keepers}
    for frame in traced.frames:
        if frame.to in written:
            for at in range(_SELECTOR, len(frame.data) - WORD + 1, WORD):
                yield frame.to, int.from_bytes(frame.data[at : at + WORD])
    for contract in written:
        for key in traced.keys:
            yield contract, int.from_bytes(key)


def _amounts(
    around: Around,
    tokens: dict[Token, list[Event]],
    owners: Collection[str],
    found: Items,
) -> None:
    pairs = [(token, who) for token, events in tokens.items() for who in item_amounts.parties(events, owners)]
    answers = around.twice([item_amounts.reading(token, who) for token, who in pairs])
    changes: dict[Token, dict[str, int | None]] = defaultdict(dict)
    for (token, who), answer in zip(pairs, answers, strict=True):
        changes[token][who] = item_amounts.change(token, answer)
    for token, events in tokens.items():
        item_amounts.look(token, events, changes[token], owners, found)


def _operators(
    around: Around,
    contracts: Iterable[str],
    events: Iterable[Event],
    asked: Asked,
    found: Items,
) -> None:  # (4)
    said = {
        (each.asset, each.owner, each.spender): each.given
        for each in events
        if isinstance(each, Approved) and each.number is None and each.owner in asked.owners
    }
    pairs = [(owner, each) for owner in asked.owners for each in asked.occurring if each != owner]
    triples = sorted({(asset, *pair) for asset in contracts for pair in pairs} | said.keys())
    readings: list[Reading] = [(asset, FOR_ALL, (word(own), word(by))) for asset, own, by in triples]
    for triple, (was, becomes) in zip(triples, around.twice(readings), strict=True):
        asset, owner, spender = triple
        before, after = bool(number(was)), number(becomes)
        if after is None:
            if triple in said or before:  # (6)
                raise SimulationError(f"{asset}: it tells of an operator, and answers none")
            continue
        may, told = bool(after), said.get(triple)
        if told is not None and told != may:  # (5)
            found.lie(asset, f"its event and its answer differ on whether {spender} may take all of {owner}")
        if may != before:
            if told is None:
                found.silence(asset, f"{spender} {'may' if may else 'may not'} take all of {owner}")
            found.right(asset, owner, spender, None, given=may)
