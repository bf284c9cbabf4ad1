"""Contracts that the committee was talked into whitelisting: what they really do is denied, not signed.

Each intent declares exactly what its first simulation shows, as a deceived proposer or a bribed one would,
and everybody approves it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.chain.compiled import calldata, compiled
from tests.chain.test_hostile import THIEF, call, hostile
from tests.e2e.test_policy_change import in_force, taken_over, until
from tests.world import Living, living
from workbench import client
from workbench.chain.node import Node
from workbench.chain.state import proven_account
from workbench.client import IntentView
from workbench.demo import newswap
from workbench.demo import node as chain
from workbench.evm.calldata import encode
from workbench.rules.documents import write_time
from workbench.rules.facts import contradictions
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet, manifest_of

__all__ = ["hostile"]
ETHER = 10**15
DELAY_S = 2
WAIT_S = 60.0
Made = Mapping[str, Any]
Makes = Callable[[Node, Made], "Trap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A contract, what is called in it, and the values that its arguments may have."""

    address: str
    fragment: dict[str, Any]
    arguments: dict[str, str]
    value: int = 0
    token: str = ""

    @property
    def bounds(self) -> dict[str, Any]:
        """Return the tightest bounds that there are."""
        return {name: {"one_of": [value]} for name, value in self.arguments.items()}


def created(node: Node, made: Made, **arguments: str) -> str:
    """Put a contract on the chain."""
    return newswap._create(node, made, arguments)


def claiming(node: Node, made: Made) -> Trap:
    """A present that hides an approval, for a spender that nothing names."""
    token = created(node, made["HiddenApproval"], spender=THIEF)
    return Trap(address=token, fragment=call("claim"), arguments={})


def grabbing(node: Node, made: Made) -> Trap:
    """A vault that runs code of the caller's as its own, and thereby changes hands."""
    vault, grab = created(node, made["Vault"]), created(node, made["Grab"])
    inner = encode(call("take"), {}).hex()
    return Trap(
        address=vault, fragment=call("execute", "address", "bytes"), arguments={"a": grab, "b": inner}
    )


def bait(name: str) -> Makes:
    """A token that is sold for ether and cannot be used as it seems."""
    return lambda node, made: Trap(
        address=created(node, made[name]), fragment=call("buy"), arguments={}, value=ETHER
    )


def calling_back(node: Node, made: Made) -> Trap:
    """A shop whose token enters it again before the sale is written down."""
    shop, token = created(node, made["Shop"]), created(node, made["Hooked"])
    return Trap(
        address=shop, fragment=call("buy", "address"), arguments={"a": token}, value=ETHER, token=token
    )


def generous(node: Node, made: Made) -> Trap:
    """A present of a collection's, of whose every token somebody may help himself."""
    return Trap(address=created(node, made["Generous"]), fragment=call("claim"), arguments={})


def coming_back(node: Node, made: Made) -> Trap:
    """A single token that somebody may take back."""
    collection = created(node, made["Boomerang"])
    return Trap(address=collection, fragment=call("claim", "uint256"), arguments={"a": "17"})


def upgraded(node: Node, made: Made) -> Trap:
    """A listed token behind whose address other code has other decimals by now."""
    token = created(node, made["Exchangeable"], code=created(node, made["Eighteen"]))
    data = calldata("become", ("address", created(node, made["Six"])))
    chain.send(node, sender=newswap.DEPLOYER, to=token, data=data)
    return Trap(address=token, fragment=call("claim"), arguments={})


TRAPS: dict[str, tuple[Makes, str]] = {
    "a hidden approval": (claiming, "steady"),
    "ownership grabbed by borrowed code": (grabbing, "borrowed_code"),
    "a honeypot that closes in blocks": (bait("ClosesInBlocks"), "held_fast"),
    "a honeypot that closes in time": (bait("ClosesInTime"), "held_fast"),
    "a fee on transfer": (bait("KeepsAPart"), "transfer_fee"),
    "a transfer that says it was one": (bait("LiesAboutIt"), "transfer_fee"),
    "a blacklist": (bait("Blacklist"), "held_fast"),
    "a callback into the sale": (calling_back, "reentered"),
    "an operator of all single tokens": (generous, "right"),
    "a single token that can be taken back": (coming_back, "no_event"),
    "other decimals than were listed": (upgraded, "decimals"),
}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a desk whose policy changes quickly."""
    with living(limits={"change_delay_s_min": DELAY_S}) as built:
        for person in ("pm-1", "risk-1", "cro-1", "committee-1", "admin-1"):
            built.officer(person)
        yield built


@pytest.fixture(scope="module")
def traps(world: Living, hostile: Made) -> dict[str, Trap]:
    """Return all of them, whitelisted by a set that the committee has signed."""
    node = world.chain()
    both = {**hostile, **compiled("items.sol"), **compiled("names.sol")}
    made = {name: makes(node, both) for name, (makes, _) in TRAPS.items()}
    tokens = sorted({trap.token or trap.address for trap in made.values()})
    assets = [
        {"asset": token, "symbol": f"BAIT{number}", "decimals": 18, "unit_usd_cents": 1}
        for number, token in enumerate(tokens)
    ]
    policy = following(world, [entry(node, world, name, trap) for name, trap in made.items()], assets)
    node.close()
    world.officer("admin-1").speaks.amend(policy)
    world.signs(policy, "risk-1")
    world.signs(policy, "cro-1")
    until(lambda: client.status(world.socket)["policy"] == policy.digest)
    taken_over(world, policy)
    return made


def entry(node: Node, world: Living, name: str, trap: Trap) -> dict[str, Any]:
    """Return the whitelist's entry of a contract."""
    code = proven_account(node, node.head(), trap.address).account.code_hash.hex()
    return {
        "address": trap.address,
        "name": name,
        "chain_id": world.world.trust_root.chain_id,
        "code_hash": code,
        "expires_at": write_time(datetime.now(UTC) + timedelta(days=1)),
        "audit": "somebody was talked into it",
        "functions": [{"fragment": trap.fragment, "bounds": trap.bounds}],
    }


def following(world: Living, entries: list[dict[str, Any]], tokens: list[dict[str, Any]]) -> PolicySet:
    """Return a next set with these contracts, and their tokens, besides."""
    current = in_force(world)
    more = {"whitelist.json": entries, "assets.json": tokens}
    files = {
        name: canonical(json.loads(current.files[name]) + added, limit=2**20) for name, added in more.items()
    }
    files = {**current.files, **files}
    manifest = manifest_of(
        files,
        name="desk",
        version=current.manifest.version + 1,
        previous=current.digest,
        at=write_time(datetime.now(UTC) + timedelta(seconds=DELAY_S + 1)),
    )
    return PolicySet(manifest, files, [])


def intent(world: Living, trap: Trap, **declared: Any) -> Intent:
    """Return the call as somebody proposes it."""
    return world.allowance(
        to=trap.address,
        value=str(trap.value),
        data=encode(trap.fragment, trap.arguments).hex(),
        **{"deltas": [], "allowances": [], **declared},
    )


def declared(world: Living, trap: Trap) -> IntentView:
    """Propose the call with everything that its simulation shows declared, and simulate it again."""
    first = world.outstanding(intent(world, trap))
    shown = first.simulated
    return world.outstanding(
        intent(
            world,
            trap,
            deltas=[each.dump() for each in shown.deltas],
            allowances=[each.dump() for each in shown.allowances],
        )
    )


@pytest.mark.parametrize("name", TRAPS)
def test_nobody_can_sign_it(world: Living, traps: dict[str, Trap], name: str) -> None:
    """It is named in the simulation, the rules deny it, and no approval lifts that."""
    view = declared(world, traps[name])
    simulated, found = view.simulated, TRAPS[name][1]
    assert simulated.revert is None
    if found == "steady":
        assert simulated.again.allowances != simulated.allowances
    elif found == "right":
        assert [each.spender for each in simulated.rights if each.approved] == [THIEF]
        assert simulated.findings == []
    elif found == "decimals":
        (wrong,) = contradictions(simulated, in_force(world)).values()
        assert wrong.endswith("the policy set says 18 decimals, its contract answers 6")
        assert simulated.findings == []
    else:
        assert found in {each.kind for each in simulated.findings}
    assert "simulation.findings" in view.denying
    assert not {"contract.whitelisted", "contract.function", "contract.arguments"} & set(view.denying)
    before = world.transactions()
    for person, role in (("risk-1", "risk_officer"), ("cro-1", "cro")):
        view = world.approve(view.digest, person=person, role=role)
    assert "simulation.findings" in view.denying
    assert view.state == "outstanding"
    time.sleep(2)  # the service takes up what could go on every second
    view = world.pm.intent(view.digest)
    assert (view.state, view.tx_hash) == ("outstanding", None)
    assert world.transactions() == before
    told = {entry["type"] for entry in world.entries() if entry.get("subject") == view.digest}
    assert not {"intent.released", "transaction.signed"} & told
