"""Single tokens: each is told by its number, whatever its contract says or leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_hash.auto import keccak

from tests.chain.compiled import calldata, compiled
from tests.chain.world import TREASURY, World, close_world, open_world
from workbench.chain.errors import SimulationError
from workbench.chain.item_events import (
    APPROVAL,
    APPROVAL_FOR_ALL,
    BATCH,
    EVENTS_MAX,
    SINGLE,
    TRANSFER,
    Approved,
    Moved,
    read,
)
from workbench.chain.traced import Log
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import checksummed
from workbench.rules import facts
from workbench.rules.attestation import Simulation
from workbench.rules.items import NOBODY

FRIEND = checksummed(b"\x77" * 20)
THIEF = checksummed(b"\x66" * 20)
OTHER = newswap.DEPLOYER  # another account of ours, in these tests
NUMBER = 17
LARGEST = 2**256 - 1


@pytest.fixture(scope="module")
def made() -> Mapping[str, Any]:
    """Compile the collections."""
    return compiled("items.sol")


@pytest.fixture(scope="module")
def shared(newswap_cache: Path) -> Iterator[World]:
    """Give a world in which collections stand beside each other."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)


def act(world: World, to: str, name: str, *arguments: tuple[str, Any], sender: str = OTHER) -> None:
    """Send a transaction that prepares something."""
    world.node.call("anvil_impersonateAccount", sender)
    chain.send(world.node, sender=sender, to=to, data=calldata(name, *arguments))


def simulate(world: World, to: str, name: str, *arguments: tuple[str, Any]) -> dict[str, Any]:
    """Simulate a call by the treasury."""
    return world.simulate(world.transaction(to, calldata(name, *arguments)), accounts=[OTHER])


def unique(
    world: World, made: Mapping[str, Any], kind: str = "Unique", number: int = NUMBER, **arguments: Any
) -> str:
    """Return a collection of which the treasury has one token."""
    collection = world.create(made[kind], **arguments)
    act(world, collection, "mint", ("address", TREASURY), ("uint256", str(number)))
    return collection


def amounts(world: World, made: Mapping[str, Any], kind: str = "Amounts", **arguments: Any) -> str:
    """Return a collection of which the treasury has ten of token 17, and ten of token 42."""
    collection = world.create(made[kind], **arguments)
    for number in (NUMBER, 42):
        act(world, collection, "mint", ("address", TREASURY), ("uint256", str(number)), ("uint256", "10"))
    return collection


def item(asset: str, giver: str | None, taker: str | None, **changes: Any) -> dict[str, Any]:
    """Return a move of token 17, ERC-721 unless an amount says otherwise."""
    told = {"standard": "erc721", "asset": asset, "id": str(NUMBER), "amount": "1"}
    return {**told, "from": giver, "to": taker, **changes}


def right(asset: str, spender: str, number: int | None, *, approved: bool = True) -> dict[str, Any]:
    """Return a right over the treasury's."""
    numbered = None if number is None else str(number)
    return {"asset": asset, "owner": TREASURY, "spender": spender, "id": numbered, "approved": approved}


def found(simulation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was found, and where."""
    return [(each["kind"], each["contract"]) for each in simulation["findings"]]


def readable(simulation: Mapping[str, Any]) -> Simulation:
    """Return the simulation as the rules read it."""
    return Simulation.load({**simulation, "intent": "ab" * 32})


MOVE = ("transferFrom", ("address", TREASURY), ("address", FRIEND))


@pytest.mark.parametrize("number", [0, NUMBER, LARGEST])
def test_a_single_token_leaves(shared: World, made: Mapping[str, Any], number: int) -> None:
    """From whom and to whom it goes is what its contract answers; it is no amount, and honest."""
    collection = unique(shared, made, number=number)
    simulation = simulate(shared, collection, *MOVE, ("uint256", str(number)))
    assert simulation["items"] == [item(collection, TREASURY, FRIEND, id=str(number))]
    assert (simulation["deltas"], simulation["rights"], found(simulation)) == ([], [], [])
    assert facts.steady(readable(simulation))


def test_a_single_token_comes_in(shared: World, made: Mapping[str, Any]) -> None:
    """A token that is made for us is told, and nothing is found."""
    collection = shared.create(made["Unique"])
    simulation = simulate(shared, collection, "mint", ("address", TREASURY), ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, NOBODY, TREASURY)]
    assert (simulation["deltas"], found(simulation)) == ([], [])


def test_a_single_token_is_destroyed(shared: World, made: Mapping[str, Any]) -> None:
    """That its contract answers no owner any more means that it is gone."""
    collection = unique(shared, made)
    simulation = simulate(shared, collection, "burn", ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, TREASURY, NOBODY)]
    assert found(simulation) == []


def test_an_exchange_of_two(shared: World, made: Mapping[str, Any]) -> None:
    """What a market takes and what it gives are both told, whichever right it uses."""
    ours, theirs, market = unique(shared, made), shared.create(made["Unique"]), shared.create(made["Market"])
    act(shared, theirs, "mint", ("address", market), ("uint256", str(NUMBER)))
    act(shared, ours, "setApprovalForAll", ("address", market), ("bool", True), sender=TREASURY)
    numbers = [("uint256", str(NUMBER))] * 2
    simulation = simulate(shared, market, "swap", ("address", ours), ("address", theirs), *numbers)
    assert simulation["items"] == sorted(
        [item(ours, TREASURY, market), item(theirs, market, TREASURY)], key=lambda each: str(each["asset"])
    )
    assert (simulation["deltas"], simulation["rights"], found(simulation)) == ([], [], [])


def test_one_of_our_other_accounts_loses_it(shared: World, made: Mapping[str, Any]) -> None:
    """What one key sends may take what another has approved; that account's loss is told."""
    collection = shared.create(made["Unique"])
    act(shared, collection, "mint", ("address", OTHER), ("uint256", str(NUMBER)))
    act(shared, collection, "approve", ("address", TREASURY), ("uint256", str(NUMBER)))
    move = ("transferFrom", ("address", OTHER), ("address", FRIEND), ("uint256", str(NUMBER)))
    simulation = simulate(shared, collection, *move)
    assert simulation["items"] == [item(collection, OTHER, FRIEND)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("Unique", None, id="as it should"),
        pytest.param("SilentUnique", "no_event", id="without an event"),
        pytest.param("LyingUnique", "false_event", id="for another than the event says"),
    ],
)
@pytest.mark.parametrize("number", [NUMBER, None], ids=["one token", "all of them"])
def test_rights(
    shared: World, made: Mapping[str, Any], kind: str, expected: str | None, number: int | None
) -> None:
    """Who may take one token, or all, is what the contract answers."""
    collection = unique(shared, made, kind)
    if number is None:
        simulation = simulate(shared, collection, "setApprovalForAll", ("address", FRIEND), ("bool", True))
        given = [] if kind == "LyingUnique" else [right(collection, FRIEND, None)]
    else:
        simulation = simulate(shared, collection, "approve", ("address", FRIEND), ("uint256", str(number)))
        given = [right(collection, THIEF if kind == "LyingUnique" else FRIEND, number)]
    assert simulation["rights"] == given
    assert simulation["allowances"] == []
    assert found(simulation) == ([(expected, collection)] if expected else [])


@pytest.mark.parametrize("number", [NUMBER, None], ids=["one token", "all of them"])
def test_a_right_that_is_taken_back(shared: World, made: Mapping[str, Any], number: int | None) -> None:
    """That somebody may no longer take it is told as that."""
    collection = unique(shared, made)
    name, first = ("approve", NOBODY) if number else ("setApprovalForAll", FRIEND)
    second = [("uint256", str(NUMBER))] if number else [("bool", True)]
    act(shared, collection, name, ("address", FRIEND), *second, sender=TREASURY)
    end = second if number else [("bool", False)]
    simulation = simulate(shared, collection, name, ("address", first), *end)
    assert simulation["rights"] == [right(collection, FRIEND, number, approved=False)]
    assert found(simulation) == []


def test_a_token_that_can_be_taken_back(shared: World, made: Mapping[str, Any]) -> None:
    """Whoever may take what comes in is told, since it would not stay."""
    collection = shared.create(made["Boomerang"])
    simulation = simulate(shared, collection, "claim", ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, NOBODY, TREASURY)]
    assert simulation["rights"] == [right(collection, THIEF, NUMBER)]
    assert found(simulation) == [("no_event", collection)]


def test_a_token_that_leaves_without_an_event(shared: World, made: Mapping[str, Any]) -> None:
    """It is found by its number among the arguments, and the silence is a finding."""
    collection = unique(shared, made, "SilentUnique")
    simulation = simulate(shared, collection, *MOVE, ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, TREASURY, FRIEND)]
    assert found(simulation) == [("no_event", collection)]


def test_a_token_that_nothing_names(shared: World, made: Mapping[str, Any]) -> None:
    """The count betrays it at first, and the close look finds the number; the two are not the same."""
    collection = unique(shared, made, "Snatches", number=7, a="7")
    simulation = simulate(shared, collection, "claim")
    assert simulation["deltas"] == [{"account": TREASURY, "asset": collection, "amount": "-1"}]
    assert simulation["again"]["items"] == [item(collection, TREASURY, THIEF, id="7")]
    assert found(simulation) == [("no_event", collection)]
    assert not facts.steady(readable(simulation))


def test_an_event_that_names_another_taker(shared: World, made: Mapping[str, Any]) -> None:
    """The token went where its contract says that its owner is, and the event is a finding."""
    collection = unique(shared, made, "LyingUnique")
    simulation = simulate(shared, collection, *MOVE, ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, TREASURY, THIEF)]
    assert found(simulation) == [("false_event", collection)]


def test_an_event_of_what_did_not_happen(shared: World, made: Mapping[str, Any]) -> None:
    """A token that stays where it is does not move because an event says so."""
    collection = unique(shared, made, "LyingUnique")
    simulation = simulate(shared, collection, "pretend", ("address", TREASURY), ("uint256", str(NUMBER)))
    assert (simulation["items"], found(simulation)) == ([], [("false_event", collection)])


def test_a_count_that_does_not_fit(shared: World, made: Mapping[str, Any]) -> None:
    """A token that comes in and is not counted leaves an outflow of one behind: nobody declared that."""
    collection = shared.create(made["LyingUnique"])
    simulation = simulate(shared, collection, "miscount", ("address", TREASURY), ("uint256", str(NUMBER)))
    assert simulation["items"] == [item(collection, NOBODY, TREASURY)]
    assert simulation["deltas"] == [{"account": TREASURY, "asset": collection, "amount": "-1"}]


SEND = ("safeTransferFrom", ("address", TREASURY), ("address", FRIEND), ("uint256", str(NUMBER)))
THREE = (("uint256", "3"), ("bytes", ""))


def test_an_amount_of_a_token_leaves(shared: World, made: Mapping[str, Any]) -> None:
    """ERC-1155: how much of which number went to whom."""
    collection = amounts(shared, made)
    simulation = simulate(shared, collection, *SEND, *THREE)
    expected = item(collection, TREASURY, FRIEND, standard="erc1155", amount="3")
    assert simulation["items"] == [expected]
    assert (simulation["deltas"], found(simulation)) == ([], [])


def test_a_batch(shared: World, made: Mapping[str, Any]) -> None:
    """Each number of a batch is a move of its own; what is sent twice is one amount."""
    collection = amounts(shared, made)
    lists = (("uint256[]", ["17", "42", "17"]), ("uint256[]", ["3", "10", "4"]), ("bytes", ""))
    ends = (("address", TREASURY), ("address", FRIEND))
    simulation = simulate(shared, collection, "safeBatchTransferFrom", *ends, *lists)
    told = {"standard": "erc1155"}
    assert simulation["items"] == [
        item(collection, TREASURY, FRIEND, amount="7", **told),
        item(collection, TREASURY, FRIEND, amount="10", id="42", **told),
    ]
    assert found(simulation) == []


def test_an_operator_of_amounts(shared: World, made: Mapping[str, Any]) -> None:
    """A collection without any balance of an address has operators, too."""
    collection = amounts(shared, made)
    simulation = simulate(shared, collection, "setApprovalForAll", ("address", FRIEND), ("bool", True))
    assert simulation["rights"] == [right(collection, FRIEND, None)]
    assert found(simulation) == []


def test_more_leaves_than_the_event_says(shared: World, made: Mapping[str, Any]) -> None:
    """What we lost is told; to whom it went nobody can tell from such events."""
    collection = amounts(shared, made, "LyingAmounts")
    simulation = simulate(shared, collection, *SEND, *THREE)
    assert simulation["items"] == [item(collection, TREASURY, None, standard="erc1155", amount="10")]
    assert found(simulation) == [("false_event", collection)]


def test_it_arrives_elsewhere_than_the_event_says(shared: World, made: Mapping[str, Any]) -> None:
    """Whoever is said to have it is asked."""
    collection = amounts(shared, made, "MisdirectedAmounts")
    simulation = simulate(shared, collection, *SEND, *THREE)
    assert simulation["items"] == [item(collection, TREASURY, None, standard="erc1155", amount="3")]
    assert found(simulation) == [("false_event", collection)]


def test_an_amount_that_nothing_names(shared: World, made: Mapping[str, Any]) -> None:
    """No event, no argument, no count: the close look finds its number by what was hashed."""
    collection = amounts(shared, made, "SilentAmounts", a="42")
    simulation = simulate(shared, collection, "claim")
    lost = item(collection, TREASURY, None, standard="erc1155", amount="10", id="42")
    assert simulation["again"]["items"] == [lost]
    assert found(simulation) == [("no_event", collection)]
    assert not facts.steady(readable(simulation))


def test_a_collection_made_of_parts(shared: World, made: Mapping[str, Any]) -> None:
    """The code that took it has no word of any question; the contract is asked all the same."""
    parts = shared.create(
        made["Parts"], a=shared.create(made["ActingPart"], a="42"), b=shared.create(made["Amounts"])
    )
    act(shared, parts, "mint", ("address", TREASURY), ("uint256", "42"), ("uint256", "10"))
    simulation = simulate(shared, parts, "claim")
    assert ("no_event", parts) in found(simulation)
    assert [each["id"] for each in simulation["again"]["items"]] == ["42"]


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        pytest.param(65, "65 moves of single tokens, at most 64", id="more moves than readers accept"),
        pytest.param(257, "257 events of single tokens, at most 256", id="a flood of events"),
    ],
)
def test_floods(shared: World, made: Mapping[str, Any], count: int, reason: str) -> None:
    """More than can be told is not told in part."""
    flood = shared.create(made["Flood"])
    data = calldata("claim", ("uint256", str(count)))
    asked = shared.transaction(flood, data, gas=2**24)
    with pytest.raises(SimulationError, match=reason):
        shared.simulate(asked)


# what events may look like

WHO, WHOM = bytes(12) + b"\x11" * 20, bytes(12) + b"\x22" * 20
ID = NUMBER.to_bytes(32)
DIRTY = b"\xff" * 12 + b"\x11" * 20
COLLECTION = checksummed(b"\x33" * 20)


def log(*topics: bytes, data: bytes = b"") -> Log:
    """Return an event of the collection."""
    return Log(address=COLLECTION, topics=topics, data=data)


def lists(ids: list[int], values: list[int]) -> bytes:
    """Return two lists as an event carries them."""
    return abi_encode(["uint256[]", "uint256[]"], [ids, values])


def patched(data: bytes, word: int, value: int) -> bytes:
    """Return data with another value in one of its words."""
    return data[: 32 * word] + value.to_bytes(32) + data[32 * word + 32 :]


GOOD = lists([1, 2], [3, 4])
KITTY = WHO + WHOM + ID


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(log(TRANSFER, WHO, WHOM, ID, data=ID), "cannot be told", id="a move with data"),
        pytest.param(log(TRANSFER, data=KITTY), "1 topics and 96", id="a move before the standard"),
        pytest.param(log(APPROVAL, data=KITTY), "1 topics and 96", id="an approval before the standard"),
        pytest.param(log(TRANSFER, WHO, data=WHOM + ID), "2 topics", id="a move with one indexed argument"),
        pytest.param(log(TRANSFER, DIRTY, WHOM, ID), "no address", id="a giver that is no address"),
        pytest.param(log(TRANSFER, WHO, DIRTY, ID), "no address", id="a taker that is no address"),
        pytest.param(log(APPROVAL, WHO, WHOM, ID, data=b"\0"), "cannot be told", id="an approval with data"),
        pytest.param(log(APPROVAL_FOR_ALL, WHO, WHOM), "cannot be told", id="an operator without a word"),
        pytest.param(
            log(APPROVAL_FOR_ALL, WHO, WHOM, data=(2).to_bytes(32)), "neither true", id="an operator of two"
        ),
        pytest.param(log(APPROVAL_FOR_ALL, WHO, WHOM, ID), "cannot be told", id="an operator with a number"),
        pytest.param(log(SINGLE, WHO, WHO, WHOM, data=ID), "cannot be told", id="an amount without a word"),
        pytest.param(log(SINGLE, WHO, WHO, WHOM, data=ID * 3), "cannot be told", id="an amount and more"),
        pytest.param(log(SINGLE, WHO, WHO, data=ID * 2), "cannot be told", id="an amount for nobody"),
        pytest.param(log(SINGLE, WHO, DIRTY, WHOM, data=ID * 2), "no address", id="an amount of no address"),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=lists([1, 2], [3])), "2 tokens, 1 amounts", id="unequal lists"
        ),
        pytest.param(log(BATCH, WHO, WHO, WHOM), "cannot be read", id="a batch without lists"),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=patched(GOOD, 2, 2**255)), "cannot be read", id="an endless list"
        ),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=patched(GOOD, 2, 1)), "cannot be read", id="a list cut short"
        ),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=patched(GOOD, 1, 64)), "cannot be read", id="one list twice"
        ),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=patched(GOOD, 0, 2**256 - 32)),
            "cannot be read",
            id="a list behind",
        ),
        pytest.param(log(BATCH, WHO, WHO, WHOM, data=GOOD + ID), "cannot be read", id="lists and more"),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=lists([1] * 257, [1] * 257)), "257 events", id="a long batch"
        ),
    ],
)
def test_events_that_cannot_be_read(event: Log, reason: str) -> None:
    """What carries a standard's name and another shape stops the simulation, with the contract's address."""
    with pytest.raises(SimulationError, match=reason):
        read([event], {COLLECTION})


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(log(), 0, id="no topic"),
        pytest.param(log(keccak(b"Other()"), WHO), 0, id="another event"),
        pytest.param(log(TRANSFER, WHO, WHOM, data=ID), 0, id="an ERC-20 transfer"),
        pytest.param(log(APPROVAL, WHO, WHOM, data=ID), 0, id="an ERC-20 approval"),
        pytest.param(log(TRANSFER, WHO, WHOM, ID), 1, id="an ERC-721 move"),
        pytest.param(log(APPROVAL, WHO, bytes(32), ID), 1, id="an ERC-721 approval taken back"),
        pytest.param(log(SINGLE, WHO, WHO, WHOM, data=ID * 2), 1, id="an ERC-1155 move"),
        pytest.param(log(BATCH, WHO, WHO, WHOM, data=GOOD), 2, id="an ERC-1155 batch"),
        pytest.param(log(BATCH, WHO, WHO, WHOM, data=lists([], [])), 0, id="an empty batch"),
        pytest.param(log(APPROVAL_FOR_ALL, WHO, WHOM, data=bytes(32)), 1, id="an operator no longer"),
        pytest.param(
            log(BATCH, WHO, WHO, WHOM, data=lists([1] * EVENTS_MAX, [1] * EVENTS_MAX)),
            EVENTS_MAX,
            id="the most",
        ),
    ],
)
def test_events_that_are_read(event: Log, expected: int) -> None:
    """What has a standard's shape is read; what is none of ours is left to others."""
    assert len(read([event], {COLLECTION})) == expected


def test_an_old_shape_of_a_token_without_numbers() -> None:
    """A token from before the standards that keeps no single tokens is left to its balances."""
    assert read([log(TRANSFER, data=KITTY)], set()) == []


def test_what_an_event_says() -> None:
    """Who, whom, which, how much."""
    one, other = checksummed(WHO[12:]), checksummed(WHOM[12:])
    events = read(
        [
            log(TRANSFER, WHO, WHOM, LARGEST.to_bytes(32)),
            log(APPROVAL_FOR_ALL, WHO, WHOM, data=ID[:-1] + b"\1"),
        ],
        {COLLECTION},
    )
    move = {"standard": "erc721", "asset": COLLECTION, "giver": one, "taker": other}
    assert events == [
        Moved(**move, number=LARGEST, amount=1),
        Approved(asset=COLLECTION, owner=one, spender=other, number=None, given=True),
    ]
