"""Where a header comes from, by the chain's own record, and what proves nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chain.world import PACKAGES, World
from tests.rules.build import refused
from workbench.chain.errors import NodeError
from workbench.chain.history import descent
from workbench.chain.node import Node
from workbench.chain.state import proven_slots
from workbench.demo import node as chain
from workbench.evm import history
from workbench.evm.errors import ProofError
from workbench.evm.header import Header
from workbench.evm.history import verify_ancestor
from workbench.rules.codes import Refusal
from workbench.rules.descent import Descent, Place, Seen, verify_descent


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Give a chain of some blocks, and nothing else."""
    with chain.start(PACKAGES) as anvil:
        node = Node(anvil.url)
        node.call("anvil_mine", hex(40))
        yield node
        node.close()


def place(header: Header) -> Place:
    """Return a header's number and hash."""
    return Place(number=header.number, hash=header.hash().hex())


def way(node: Node, header: Header, number: int) -> Descent:
    """Return the way down as the observer would bring it."""
    return Descent.load(descent(node, header, number))


@pytest.mark.parametrize("number", [39, 30, 1, 0])
def test_a_header_comes_from_older_blocks(node: Node, number: int) -> None:
    """Each older block of the ring is proven, the first one too."""
    head = node.head()
    slot = history.slot_of(number)
    account, values = proven_slots(node, head, history.ADDRESS, [slot])
    found = verify_ancestor(head, number, account_proof=account.proof, slot_proof=values[slot][1])
    assert found == node.header_at(number).hash()


@pytest.mark.parametrize("number", [40, 41, -1], ids=["itself", "a newer one", "none"])
def test_what_a_header_cannot_tell(node: Node, number: int) -> None:
    """A number that is not below is no ancestor, whatever stands in its slot."""
    head = node.header_at(40)
    slot = history.slot_of(number)
    account, values = proven_slots(node, head, history.ADDRESS, [slot])
    with pytest.raises(ProofError):
        verify_ancestor(head, number, account_proof=account.proof, slot_proof=values[slot][1])


def test_a_ring_has_an_end(node: Node) -> None:
    """8,191 blocks further down the same slot is another block's."""
    head = node.head()
    slot = history.slot_of(10)
    account, values = proven_slots(node, head, history.ADDRESS, [slot])
    with pytest.raises(ProofError, match="cannot tell"):
        verify_ancestor(head, 10 - history.WINDOW, account_proof=account.proof, slot_proof=values[slot][1])


def test_another_contract_in_its_place(fresh_world: World) -> None:
    """A chain whose record is kept by other code proves nothing."""
    fresh_world.node.call("anvil_setCode", history.ADDRESS, "0x6001")
    fresh_world.node.call("anvil_mine", "0x1")
    with pytest.raises(NodeError, match="does not keep"):
        descent(fresh_world.node, fresh_world.node.head(), 3)


def test_first_sight(node: Node) -> None:
    """Who knows nothing takes the first header for the newer one, and nothing for final."""
    nothing = Seen(final=None, newer=None)
    head = node.header_at(20)
    assert verify_descent(nothing, [], head, depth=3) == Seen(final=None, newer=place(head))


@pytest.mark.parametrize(
    ("number", "final"),
    [
        pytest.param(21, None, id="not deep enough yet"),
        pytest.param(22, 20, id="as deep as the policy set asks for"),
        pytest.param(40, 20, id="much deeper"),
    ],
)
def test_when_a_block_is_final(node: Node, number: int, final: int | None) -> None:
    """The newer one becomes final once a header far enough above it descends from it."""
    before = Seen(final=None, newer=place(node.header_at(20)))
    head = node.header_at(number)
    after = verify_descent(before, [way(node, head, 20)], head, depth=3)
    if final is None:
        assert after == before
    else:
        assert after == Seen(final=place(node.header_at(final)), newer=place(head))


def test_a_newer_block_that_was_taken_back(node: Node) -> None:
    """What was not final may go: the header that shows another in its place takes it."""
    final, head = node.header_at(10), node.header_at(30)
    gone = Place(number=20, hash="ab" * 32)
    ways = [way(node, head, 10), way(node, head, 20)]
    after = verify_descent(Seen(final=place(final), newer=gone), ways, head, depth=3)
    assert after == Seen(final=place(final), newer=place(head))


Attack = Callable[[Node], tuple[Seen, list[Descent], Header]]


def _forked(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    return Seen(final=Place(number=10, hash="ab" * 32), newer=None), [way(node, head, 10)], head


def _same_height(node: Node) -> tuple[Seen, list[Descent], Header]:
    return Seen(final=Place(number=30, hash="ab" * 32), newer=None), [], node.header_at(30)


def _older(node: Node) -> tuple[Seen, list[Descent], Header]:
    return Seen(final=place(node.header_at(30)), newer=None), [], node.header_at(29)


def _no_way(node: Node) -> tuple[Seen, list[Descent], Header]:
    return Seen(final=place(node.header_at(10)), newer=None), [], node.header_at(30)


def _way_of_another(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    return Seen(final=place(node.header_at(10)), newer=None), [way(node, node.header_at(31), 10)], head


def _way_elsewhere(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    return Seen(final=place(node.header_at(10)), newer=None), [way(node, head, 11)], head


def _one_too_many(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    return Seen(final=place(node.header_at(10)), newer=None), [way(node, head, 10)] * 3, head


def _only_one_of_two(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    seen = Seen(final=place(node.header_at(10)), newer=place(node.header_at(20)))
    return seen, [way(node, head, 10)], head


def _swapped(node: Node) -> tuple[Seen, list[Descent], Header]:
    head = node.header_at(30)
    seen = Seen(final=place(node.header_at(10)), newer=place(node.header_at(20)))
    return seen, [way(node, head, 20), way(node, head, 10)], head


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(_forked, Refusal.BLOCK_FORKED, id="another history"),
        pytest.param(_same_height, Refusal.BLOCK_FORKED, id="another block of the final one's number"),
        pytest.param(_older, Refusal.ATTESTATION_STALE, id="older than what is final"),
        pytest.param(_no_way, Refusal.FACT_MISSING, id="no proof at all"),
        pytest.param(_way_of_another, Refusal.PROOF, id="another header's proof"),
        pytest.param(_way_elsewhere, Refusal.PROOF, id="the proof of another number"),
        pytest.param(_one_too_many, Refusal.MALFORMED, id="more ways than blocks that are known"),
        pytest.param(_only_one_of_two, Refusal.FACT_MISSING, id="the newer one is kept quiet"),
        pytest.param(_swapped, Refusal.PROOF, id="the two ways exchanged"),
    ],
)
def test_what_does_not_descend(node: Node, attack: Attack, code: Refusal) -> None:
    """Whoever brings another history, an older one, or no proof, changes nothing."""
    seen, ways, head = attack(node)
    with refused(code):
        verify_descent(seen, ways, head, depth=3)


def test_a_long_way_in_steps(node: Node) -> None:
    """More blocks than one step may bridge: headers between, each proven by the one above."""
    head, final = node.header_at(40), node.header_at(5)
    ways = Descent.load(descent(node, head, 5, blocks_a_step=15))
    assert [step.number for step in ways.steps] == [25, 10, 5]
    seen = Seen(final=place(final), newer=None)
    assert verify_descent(seen, [ways], head, depth=3).final == place(final)
    edits: list[Callable[[list[dict[str, Any]]], object]] = [
        lambda steps: steps.pop(0),
        lambda steps: steps[0].update(header=None),
        lambda steps: steps[0].update(header=head.encode().hex()),
        lambda steps: steps[-1].update(header=final.encode().hex()),
        lambda steps: steps.reverse(),
    ]
    for edit in edits:
        bent = ways.dump()
        edit(bent["steps"])
        with refused(Refusal.PROOF):
            verify_descent(seen, [Descent.load(bent)], head, depth=3)
