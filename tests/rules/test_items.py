"""Single tokens in words, and what the rules make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.rules.build import DEPLOYMENT, NOW, TREASURY, World, address, attest
from workbench.rules import approval, cedar, facts, shown
from workbench.rules.approval import Asked
from workbench.rules.cedar import REQUIRED
from workbench.rules.facts import compute
from workbench.rules.items import NOBODY
from workbench.rules.rows import Row, spelled

ART = address("a collection")
FRIEND = address("a friend")
LARGEST = 2**256 - 1
LEAVES = {
    "standard": "erc721", "asset": ART, "id": "17", "from": TREASURY, "to": FRIEND, "amount": "1",
}  # fmt: skip
AMOUNT = {"standard": "erc1155", "amount": "1234"}
IN = {"from": FRIEND, "to": TREASURY}
OPERATOR = {"owner": TREASURY, "spender": FRIEND, "asset": ART, "id": None, "approved": True}
COLLECTION = f"an unlisted collection that does not say what it is, {spelled(ART)}"


def asked(world: World, **simulated: Any) -> Asked:
    """Return what a person is asked of a swap whose simulation says this."""
    statement = attest(world.simulation(world.swap(), **simulated)).dump()
    request = world.request("cro-1", world.swap(), simulations=[statement])
    return approval.verify(request, trust_root=world.trust_root, now=NOW)


def rows(asked: Asked, label: str) -> list[Row]:
    """Return the rows of this label."""
    found = [row for section in shown.sections(asked, now=NOW) for row in section.rows]
    return [row for row in found if row.label == label]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {}, f"token 17 of {COLLECTION} leaves our key treasury to {spelled(FRIEND)}", id="it leaves"
        ),
        pytest.param(
            {"id": str(LARGEST)},
            f"token {LARGEST} of {COLLECTION} leaves our key treasury to {spelled(FRIEND)}",
            id="the largest number stands in full",
        ),
        pytest.param(
            {"asset": DEPLOYMENT.weth, "to": DEPLOYMENT.router},
            "token 17 of the token WETH leaves our key treasury to NewSwap router",
            id="who has a name is named",
        ),
        pytest.param(
            AMOUNT,
            f"1,234 of token 17 of {COLLECTION} leaves our key treasury to {spelled(FRIEND)}",
            id="an amount of it leaves",
        ),
        pytest.param(
            {**AMOUNT, "to": None},
            f"1,234 of token 17 of {COLLECTION} leaves our key treasury to NOBODY CAN TELL WHOM",
            id="it leaves for somebody",
        ),
        pytest.param(
            {"to": NOBODY},
            f"token 17 of {COLLECTION} leaves our key treasury and is destroyed",
            id="it is destroyed",
        ),
    ],
)
def test_a_token_that_leaves(world: World, changes: Mapping[str, Any], says: str) -> None:
    """It is said in words, in full, and marked."""
    (row,) = rows(asked(world, items=[{**LEAVES, **changes}]), "A SINGLE TOKEN LEAVES")
    assert (row.says, row.alarm) == (says, True)
    assert row.remark == "declared by nobody: single tokens cannot be declared"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {},
            f"token 17 of {COLLECTION} comes from {spelled(FRIEND)} for our key treasury",
            id="from somebody",
        ),
        pytest.param(
            {"from": NOBODY}, f"token 17 of {COLLECTION} is made for our key treasury", id="it is made"
        ),
        pytest.param(
            {**AMOUNT, "from": None},
            f"1,234 of token 17 of {COLLECTION} comes from NOBODY CAN TELL WHOM for our key treasury",
            id="an amount from somebody",
        ),
    ],
)
def test_a_token_that_comes_in(world: World, changes: Mapping[str, Any], says: str) -> None:
    """It is said, and nobody is alarmed."""
    seen = asked(world, items=[{**LEAVES, **IN, **changes}])
    (row,) = rows(seen, "A single token comes in")
    assert (row.says, row.alarm) == (says, False)
    assert "simulation.findings" not in seen.outstanding.denying


@pytest.mark.parametrize(
    ("changes", "label", "says"),
    [
        pytest.param(
            {},
            "MAY TAKE AFTERWARDS",
            f"{spelled(FRIEND)} may take EVERY token of {COLLECTION}",
            id="all of them",
        ),
        pytest.param(
            {"id": "17"},
            "MAY TAKE AFTERWARDS",
            f"{spelled(FRIEND)} may take token 17 of {COLLECTION}",
            id="one",
        ),
        pytest.param(
            {"approved": False},
            "May no longer take",
            f"{spelled(FRIEND)} may no longer take EVERY token of {COLLECTION}",
            id="no longer",
        ),
    ],
)
def test_rights(world: World, changes: Mapping[str, Any], label: str, says: str) -> None:
    """Who may take what is said; what is given is marked, what is taken back is not."""
    (row,) = rows(asked(world, rights=[{**OPERATOR, **changes}]), label)
    assert (row.says, row.alarm) == (f"{says} from our key treasury", changes.get("approved", True))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"items": [LEAVES]}, id="a token leaves"),
        pytest.param({"rights": [OPERATOR]}, id="an operator"),
        pytest.param({"rights": [OPERATOR | {"id": "17"}]}, id="a right to one token"),
    ],
)
def test_the_rules_deny_it(world: World, changes: Mapping[str, Any]) -> None:
    """Both rules deny it, to release and to sign; of the honest swap they say nothing."""
    person, key = world.policy.people["pm-1"], world.policy.keys["treasury"]
    for action in REQUIRED:
        verdicts = [
            cedar.explain(world.policy, action, proposer=person, key=key, facts=compute(given))
            for given in (world.given(), world.given(fresh=world.simulation(world.swap(), **changes)))
        ]
        assert not {"simulation.findings", "simulation.state-diff"} & set(verdicts[0].denying)
        assert {"simulation.findings", "simulation.state-diff"} <= set(verdicts[1].denying)


def test_another_block_another_token(world: World) -> None:
    """What happens one block later is said in the same words."""
    again = world.simulation(world.swap()).again.dump() | {"items": [LEAVES], "rights": [OPERATOR]}
    (row,) = rows(asked(world, again=again), "One block later")
    assert row.alarm
    assert "token 17 of" in row.says
    assert "may take EVERY token of" in row.says


def test_tokens_that_differ_since_the_last_decision(world: World) -> None:
    """Whoever decided about other tokens decided about something else."""
    before = attest(world.simulation(world.swap())).dump()
    statement = attest(world.simulation(world.swap(), items=[LEAVES])).dump()
    request = world.request("cro-1", world.swap(), simulations=[statement], before=[before])
    seen = approval.verify(request, trust_root=world.trust_root, now=NOW)
    (row,) = rows(seen, "Single tokens")
    assert row.alarm


def test_tolerance_knows_no_other_token(world: World) -> None:
    """An approval of one number is no approval of another, and of none is none of one."""
    approved = world.simulation(world.swap(), items=[LEAVES | IN])
    fresh = world.simulation(world.swap(), items=[LEAVES | IN | {"id": "18"}])
    assert facts.within_tolerance(approved, approved, inflow_bps=10)
    assert not facts.within_tolerance(approved, fresh, inflow_bps=10)
    assert not facts.within_tolerance(world.simulation(world.swap()), fresh, inflow_bps=10)
    rights = world.simulation(world.swap(), rights=[OPERATOR | {"approved": False}])
    assert not facts.within_tolerance(world.simulation(world.swap()), rights, inflow_bps=10)
