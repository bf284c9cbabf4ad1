"""What others may take: every right is found that an event or a name leads to, and each value is proven."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chain.compiled import calldata, compiled
from tests.chain.liar import RefusesError
from tests.chain.trio import Trio, trio
from tests.chain.world import MILLION, TREASURY, World
from workbench.chain.allowances import APPROVAL, RIGHTS_MAX, Asked, Inventory, inventory
from workbench.chain.errors import ChainError
from workbench.chain.node import Node
from workbench.chain.nodes import Event, Nodes
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.fields import UINT256_MAX, checksummed, to_rpc
from workbench.risk.allowances import live

THIEF, FRIEND, LATER = (checksummed(bytes([each]) * 20) for each in (0x66, 0x77, 0x88))


@dataclass
class Rights:
    """A treasury that has approved this and that."""

    world: World
    silent: str
    collection: str
    permit2: str
    since: int

    @property
    def asked(self) -> Asked:
        """Everything that the treasury has."""
        tokens = (self.world.deployment.usdc, self.silent, self.collection)
        return Asked(owners=(TREASURY,), tokens=tokens, since=self.since, permit2=self.permit2)

    def send(self, to: str, name: str, *arguments: tuple[str, Any]) -> None:
        """Send a call of the treasury's."""
        chain.send(self.world.node, sender=TREASURY, to=to, data=calldata(name, *arguments))

    def approve(self, spender: str, amount: int, token: str | None = None) -> None:
        """Approve a spender."""
        to = token or self.world.deployment.usdc
        self.send(to, "approve", ("address", spender), ("uint256", str(amount)))

    def found(self, asked: Asked | None = None) -> Inventory:
        """Take the inventory by one node."""
        nodes = Nodes({"node-1": self.world.node}, 1, chain.CHAIN_ID, lambda _: None)
        return inventory(nodes, nodes.head(), self.world.simulator.forks, asked or self.asked)


def granted(found: Inventory) -> dict[tuple[str, str], int]:
    """Return what is allowed, by mechanism and spender."""
    return {(each.kind, each.spender): each.allowed for each in found.grants}


@pytest.fixture
def rights(fresh_world: World) -> Rights:
    """Give a treasury that has approved nothing yet."""
    made, world = compiled("rights.sol"), fresh_world
    world.node.call("anvil_impersonateAccount", TREASURY)
    silent, collection = world.create(made["Grants"], b=True), world.create(made["Collection"])
    for token in (silent, collection):
        data = calldata("mint", ("address", TREASURY), ("uint256", "7"))
        chain.send(world.node, sender=newswap.DEPLOYER, to=token, data=data)
    return Rights(world, silent, collection, world.create(made["Second"]), world.node.head().number)


def test_every_mechanism(rights: Rights) -> None:
    """Allowances, operators and Permit2 are told with amount, balance and block; what was revoked is not."""
    usdc = rights.world.deployment.usdc
    rights.approve(THIEF, UINT256_MAX)
    rights.approve(FRIEND, 5 * MILLION)
    rights.approve(LATER, 1)
    rights.approve(LATER, 0)
    rights.send(rights.collection, "setApprovalForAll", ("address", THIEF), ("bool", True))
    expires = rights.world.node.head().timestamp + 100
    arguments = (("address", usdc), ("address", FRIEND), ("uint160", "9"), ("uint48", str(expires)))
    rights.send(rights.permit2, "approve", *arguments)
    found = rights.found()
    assert granted(found) == {
        ("erc20", THIEF): UINT256_MAX,
        ("erc20", FRIEND): 5 * MILLION,
        ("operator", THIEF): UINT256_MAX,
        ("permit2", FRIEND): 9,
    }
    by = {(each.kind, each.spender): each for each in found.grants}
    first = by["erc20", THIEF]
    assert (first.balance, first.exposed, first.is_unlimited) == (20 * MILLION, 20 * MILLION, True)
    assert first.granted_at_block == rights.since + 1
    assert by["permit2", FRIEND].expires_at == expires
    assert by["operator", THIEF].exposed == 7
    assert len(live(found.grants, now_s=expires + 1)) == 3
    assert found.permit_nonces == {(TREASURY, usdc): 0}


def test_a_token_that_hides_its_event(rights: Rights) -> None:
    """Nobody learns of its allowance from the chain's logs; who names the spender finds it."""
    rights.approve(THIEF, 3, rights.silent)
    assert rights.found().grants == ()
    named = rights.found(replace(rights.asked, spenders=(THIEF, FRIEND)))
    ((key, amount),) = granted(named).items()
    assert (key, amount) == (("erc20", THIEF), 3)
    assert named.grants[0].granted_at_block is None


def test_what_is_older_than_was_asked(rights: Rights) -> None:
    """Approvals before the first block are not seen: who asks must say since when."""
    rights.approve(THIEF, 5)
    later = replace(rights.asked, since=rights.world.node.head().number + 1)
    rights.world.node.call("anvil_mine", "0x1")
    assert rights.found(later).grants == ()
    assert len(rights.found().grants) == 1


def test_an_account_that_runs_other_code(rights: Rights) -> None:
    """A delegation is read from the account's own code, and the worst comes first."""
    rights.approve(FRIEND, UINT256_MAX)
    rights.world.node.call("anvil_setCode", TREASURY, "0xef0100" + THIEF[2:].lower())
    rights.world.node.call("anvil_mine", "0x1")
    found = rights.found()
    assert [(each.kind, each.spender) for each in live(found.grants, now_s=0)] == [
        ("delegation", THIEF),
        ("erc20", FRIEND),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"owners": ()},
        {"owners": (TREASURY, TREASURY)},
        {"since": -1},
        {"owners": ("0x1",)},
        {"spenders": tuple(checksummed(each.to_bytes(20)) for each in range(65))},
        {"permit2": "none"},
    ],
    ids=["nobody's", "one twice", "before the first block", "no address", "too many spenders", "no Permit2"],
)
def test_what_cannot_be_asked(rights: Rights, change: dict[str, Any]) -> None:
    """A question without owners, or of more than anybody could answer, is none."""
    with pytest.raises(ChainError):
        replace(rights.asked, **change)


@pytest.fixture
def three(rights: Rights, tmp_path: Path) -> Iterator[tuple[Rights, Trio]]:
    """Give three nodes with one history in which a thief was approved, and who stands before them."""
    rights.approve(THIEF, UINT256_MAX)
    with trio(rights.world, tmp_path) as made:
        yield rights, made


def _withheld(method: str, _: list[Any], result: Any) -> Any:
    return [] if method == "eth_getLogs" else result


def _invented(method: str, _: list[Any], result: Any) -> Any:
    if method != "eth_getLogs":
        return result
    topics = [
        to_rpc(APPROVAL),
        *(to_rpc(bytes.fromhex(each[2:]).rjust(32, b"\0")) for each in (TREASURY, LATER)),
    ]
    return [*result, {**result[0], "topics": topics}]


def _less(method: str, _: list[Any], result: Any) -> Any:
    return to_rpc(bytes(32)) if method == "eth_getStorageAt" else result


def _outside(method: str, _: list[Any], result: Any) -> Any:
    return [{**each, "blockNumber": "0x1"} for each in result] if method == "eth_getLogs" else result


def _removed(method: str, _: list[Any], result: Any) -> Any:
    return [{**each, "removed": True} for each in result] if method == "eth_getLogs" else result


LIES: dict[str, tuple[Callable[..., Any], bool]] = {
    "a log withheld": (_withheld, False),
    "a log invented": (_invented, False),
    "a value of nothing": (_less, True),
    "a log of another block": (_outside, True),
    "a log that was removed": (_removed, True),
}


@pytest.mark.parametrize(("lie", "is_found_out"), LIES.values(), ids=LIES)
def test_one_of_three_that_lies(
    three: tuple[Rights, Trio],
    lie: Callable[..., Any],
    is_found_out: bool,  # noqa: FBT001
) -> None:
    """What one node withholds the others tell; what it invents is worth nothing; the values stay true."""
    rights, made = three
    events: list[Event] = []
    pairs = zip(("node-1", "node-2", "node-3"), made.liars, strict=True)
    nodes = Nodes(
        {name: Node(liar.url) for name, liar in pairs}, 2, chain.CHAIN_ID, events.append, lambda: 0.0
    )
    made.liars[1].lie = lie
    for _ in range(3):
        found = inventory(nodes, nodes.head(), rights.world.simulator.forks, rights.asked)
        assert granted(found) == {("erc20", THIEF): UINT256_MAX}
    assert [each.node for each in events] == (["node-2"] if is_found_out else [])
    nodes.close()


def _too_wide(method: str, _: list[Any], result: Any) -> Any:
    if method == "eth_getLogs":
        raise RefusesError
    return result


def test_nodes_that_refuse_the_range(three: tuple[Rights, Trio]) -> None:
    """One that gives no logs is missed by nobody; of two there is no list; no node is sent away for it."""
    rights, made = three
    events: list[Event] = []
    pairs = zip(("node-1", "node-2", "node-3"), made.liars, strict=True)
    nodes = Nodes({name: Node(liar.url) for name, liar in pairs}, 2, chain.CHAIN_ID, events.append)
    forks = rights.world.simulator.forks
    made.liars[0].lie = _too_wide
    assert granted(inventory(nodes, nodes.head(), forks, rights.asked)) == {("erc20", THIEF): UINT256_MAX}
    made.liars[2].lie = _too_wide
    with pytest.raises(ChainError, match="1 of 2 nodes tell their logs"):
        inventory(nodes, nodes.head(), forks, rights.asked)
    assert events == []
    nodes.close()


def test_all_that_withhold(three: tuple[Rights, Trio]) -> None:
    """What every node withholds is not found, unless the spender is named: that is the limit."""
    rights, made = three
    pairs = zip(("node-1", "node-2", "node-3"), made.liars, strict=True)
    nodes = Nodes({name: Node(liar.url) for name, liar in pairs}, 2, chain.CHAIN_ID, lambda _: None)
    for liar in made.liars:
        liar.lie = _withheld
    forks = rights.world.simulator.forks
    assert inventory(nodes, nodes.head(), forks, rights.asked).grants == ()
    named = replace(rights.asked, spenders=(THIEF,))
    assert len(inventory(nodes, nodes.head(), forks, named).grants) == 1
    nodes.close()


def test_more_than_can_be_read(rights: Rights) -> None:
    """A list that would have to be cut off is refused: it would look whole."""
    spenders = tuple(checksummed(bytes([1, each]) * 10) for each in range(64))
    tokens = tuple(checksummed(bytes([2, each]) * 10) for each in range(6))
    with pytest.raises(ChainError, match=f"at most {RIGHTS_MAX}"):
        rights.found(replace(rights.asked, tokens=tokens, spenders=spenders))
