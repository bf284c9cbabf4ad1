"""A thousand calls within calls: each is read as it was meant, and the whole gives its bytes again."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.evm.plans import Plan, agrees, plans
from workbench.evm import calldata
from workbench.evm.tree import Node, encode, read

TREES = 1000
DAMAGED = 500


def distinct(plan: Plan) -> bool:
    """Whether no contract has two functions of one selector: by chance two are named alike."""
    for abi in plan.abis().values():
        by_name = {calldata.selector(each): each for each in abi.fragments}
        if any(by_name[calldata.selector(each)] != each for each in abi.fragments):
            return False
    return True


def told_once(plan: Plan) -> Node:
    """Read a plan's bytes with each function of a contract told once."""
    abis = {
        to: type(abi)(abi.source, list({calldata.selector(f): f for f in abi.fragments}.values()))
        for to, abi in plan.abis().items()
    }
    return read(plan.to, plan.data, value=str(plan.value), abis=abis)


@settings(max_examples=TREES, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans())
def test_any_tree(plan: Plan) -> None:
    """Every call of the tree is where it was put, by the ABI of its own contract, and encodes again."""
    assume(len(plan.data) <= calldata.DATA_BYTES_MAX and distinct(plan))
    node = told_once(plan)
    agrees(node, plan, plan.abis())
    assert encode(node) == plan.data


@settings(max_examples=DAMAGED, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans(), st.data())
def test_any_damage(plan: Plan, data: st.DataObject) -> None:
    """With a byte changed, dropped or added it still reads, hides nothing, and encodes to what it is."""
    assume(len(plan.data) < calldata.DATA_BYTES_MAX and distinct(plan))
    place = data.draw(st.integers(0, len(plan.data) - 1))
    middle = data.draw(st.sampled_from([b"", b"\0", b"\xff", plan.data[place : place + 1] * 2]))
    damaged = Plan(**(plan.__dict__ | {"data": plan.data[:place] + middle + plan.data[place + 1 :]}))
    node = told_once(damaged)
    assert encode(node) == damaged.data
    assert all((each.call is None) == bool(each.reason) for each in node.walk())
