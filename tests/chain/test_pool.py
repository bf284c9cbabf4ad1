"""A pool read by its proofs: the contract's own figures, and no lie about any of them passes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rlp

from tests.chain.liar import Liar, lying
from tests.chain.world import MILLION, World
from workbench.chain.errors import ChainError, NodeError
from workbench.chain.node import Node
from workbench.chain.pool import PROOFS_BYTES_MAX, ProvenPool, proven_pool
from workbench.evm.fields import to_rpc
from workbench.evm.proof import verify_storage
from workbench.risk import layout
from workbench.risk.errors import PoolError
from workbench.risk.layout import SPACINGS, TICKS, Slot, mapped
from workbench.risk.pool import Pool, swap
from workbench.risk.venue import Venue

ETHER = 10**18
SELLS = {"dollars": (True, 5 * MILLION), "ether": (False, 2_000 * ETHER)}


def venue_of(world: World, fee: int | None = None) -> Venue:
    """Return the worked example's pool, or what another fee's would be."""
    deployment = world.deployment
    return Venue.of(deployment.factory, deployment.usdc, deployment.weth, fee or deployment.fee)


def proven(node: Node, world: World, amount: int = 5 * MILLION, *, down: bool = True) -> ProvenPool:
    """Have a node prove what a swap depends on."""
    return proven_pool(node, world.node.head(), venue_of(world), amount_in=amount, zero_for_one=down)


def read(world: World, told: ProvenPool) -> Pool:
    """Return the pool, as somebody who trusts no node reads it."""
    roots = {each.address: each.account.storage_root for each in told.accounts}
    values = {
        slot: verify_storage(roots[slot.address], slot.key, proof) for slot, proof in told.proofs.items()
    }
    return layout.read(venue_of(world), values)


@pytest.mark.parametrize(("down", "amount"), SELLS.values(), ids=SELLS)
def test_the_pool_of_the_worked_example(world: World, amount: int, *, down: bool) -> None:
    """Six slots suffice, and what comes of them is the pool that was deployed."""
    told = proven(world.node, world, amount, down=down)
    pool = read(world, told)
    assert len(told.proofs) == 6
    assert (pool.tick, pool.liquidity, pool.spacing) == (198_079, 13_300_014_656_735_317_658, 10)
    assert pool.ticks[198_040] == -pool.ticks[198_120] == 11_310_131_319_813_847_330
    assert swap(pool, amount, zero_for_one=down).amount_in == amount


def test_more_is_asked_for_where_the_swap_goes_further(world: World) -> None:
    """A swap that reaches the outer position's end has that tick proven, too."""
    told = proven(world.node, world, 22 * MILLION)
    assert Slot(world.deployment.pool, mapped(TICKS, 192_080)) in told.proofs
    assert read(world, told).ticks[192_080] == 1_989_883_336_921_470_328


@pytest.fixture
def liar(world: World) -> Iterator[Liar]:
    """Give somebody who stands before the node."""
    with lying(world.node.url) as between:
        yield between


def about(place: Slot, change: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    """Return a lie about one slot: `change` is given its storage proof."""

    def lie(method: str, _: list[Any], result: Any) -> Any:
        if method == "eth_getProof" and result["address"].lower() == place.address.lower():
            for each in result["storageProof"]:
                if int(each["key"], 16) == int.from_bytes(place.key):
                    change(each)
        return result

    return lie


def _no_tick(each: dict[str, Any]) -> None:
    each["proof"] = each["proof"][:-1]


def _flipped(each: dict[str, Any]) -> None:
    last = each["proof"][-1]
    each["proof"][-1] = last[:-1] + ("0" if last[-1] != "0" else "1")


def _nothing(each: dict[str, Any]) -> None:
    each["proof"] = []


def _no_list(each: dict[str, Any]) -> None:
    each["proof"] = None


def _padded(each: dict[str, Any]) -> None:
    each["proof"] = each["proof"] * 40


LIES = {"a cut proof": _no_tick, "a flipped bit": _flipped, "no proof": _nothing, "null": _no_list}
LIES["a proof without end"] = _padded


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_a_node_that_lies_about_one_tick(
    world: World, liar: Liar, change: Callable[[dict[str, Any]], None]
) -> None:
    """Whatever is done to one tick's proof, the node is refused and there is no pool."""
    node = Node(liar.url)
    honest = read(world, proven(node, world))
    liar.lie = about(Slot(world.deployment.pool, mapped(TICKS, 198_040)), change)
    with pytest.raises(NodeError):
        proven(node, world)
    liar.lie = lambda _, __, result: result
    assert read(world, proven(node, world)) == honest
    node.close()


def test_a_proof_that_is_stuffed(world: World, liar: Liar) -> None:
    """Nodes that prove nothing change no value, and are refused before an answer gets too long."""
    node = Node(liar.url)
    stuffing = to_rpc(rlp.encode([bytes(PROOFS_BYTES_MAX)] * 2))
    place = Slot(world.deployment.pool, mapped(TICKS, 198_040))
    liar.lie = about(place, lambda each: each.update(proof=[*each["proof"], stuffing]))
    with pytest.raises(NodeError, match="proofs of"):
        proven(node, world)
    node.close()


def test_a_value_beside_its_proof_is_not_read(world: World, liar: Liar) -> None:
    """What a node says a slot holds is nobody's argument: the proof decides."""
    node = Node(liar.url)
    honest = read(world, proven(node, world))
    liar.lie = about(
        Slot(world.deployment.pool, mapped(TICKS, 198_040)), lambda each: each.update(value="0x1")
    )
    assert read(world, proven(node, world)) == honest
    node.close()


SHAPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "one proof too few": lambda result: {**result, "storageProof": result["storageProof"][:-1]},
    "the same proof for all": lambda result: {
        **result,
        "storageProof": [result["storageProof"][0]] * len(result["storageProof"]),
    },
    "no list": lambda result: {**result, "storageProof": {}},
    "another account": lambda result: {**result, "accountProof": result["accountProof"][:-1]},
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
def test_answers_of_another_shape(world: World, liar: Liar, change: Callable[[dict[str, Any]], Any]) -> None:
    """An answer that is not one proof for each question is refused."""
    node = Node(liar.url)
    liar.lie = lambda method, _, result: change(result) if method == "eth_getProof" else result
    with pytest.raises(NodeError):
        proven(node, world)
    node.close()


def test_a_state_that_is_not_the_headers(fresh_world: World) -> None:
    """A tick that was changed behind the block's back has proofs, but not under its root."""
    world = fresh_world
    header, pool = world.node.head(), world.deployment.pool
    word = (2**127 << 128 | 1).to_bytes(32)
    world.node.call("anvil_setStorageAt", pool, to_rpc(mapped(TICKS, 198_040)), to_rpc(word))
    assert world.node.head().hash() == header.hash()
    with pytest.raises(NodeError, match="proof fails"):
        proven(world.node, world)


@pytest.mark.parametrize(
    ("fee", "said"), [(3000, "has no price"), (123, "has no fee of 123")], ids=["no pool", "no fee"]
)
def test_what_is_proven_not_to_be(world: World, fee: int, said: str) -> None:
    """A pool that does not exist is nobody's lie: the chain says so, and no node is blamed."""
    with pytest.raises(ChainError, match=said) as caught:
        proven_pool(world.node, world.node.head(), venue_of(world, fee), amount_in=MILLION, zero_for_one=True)
    assert not isinstance(caught.value, NodeError)


def test_a_swap_that_is_too_wide(world: World) -> None:
    """What would need more slots than a reader takes is refused, without blame."""
    with pytest.raises(ChainError, match="more than 256 slots") as caught:
        proven(world.node, world, 10**30, down=False)
    assert not isinstance(caught.value, NodeError)


def test_another_factory_has_other_pools(world: World) -> None:
    """From another factory's address nothing of this pool can be shown."""
    venue = Venue.of(
        world.deployment.router, world.deployment.usdc, world.deployment.weth, world.deployment.fee
    )
    assert venue.address != world.deployment.pool
    with pytest.raises(ChainError, match="has no fee"):
        proven_pool(world.node, world.node.head(), venue, amount_in=MILLION, zero_for_one=True)
    spacing = Slot(world.deployment.factory, mapped(SPACINGS, 500))
    assert spacing in proven(world.node, world).proofs
    with pytest.raises(PoolError):
        layout.read(venue, {})
