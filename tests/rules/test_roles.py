"""Who may do what: the matrix is data, and what no signature may allow is refused with the set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rules.build import World, refused
from workbench.demo.charter import TEMPLATE
from workbench.rules import roles
from workbench.rules.codes import Refusal
from workbench.rules.roles import Permission

MATRIX: dict[str, Any] = json.loads((TEMPLATE / "roles.json").read_text())


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([], id="not an object"),
        pytest.param({}, id="no role at all"),
        pytest.param({"trader": []}, id="a role that permits nothing"),
        pytest.param({"trader": "propose"}, id="not a list"),
        pytest.param({"trader": ["propose", 1]}, id="not a name"),
        pytest.param({"trader": ["propose", "propose"]}, id="a permission twice"),
        pytest.param({"trader": ["propose", "sign"]}, id="a permission that nobody knows"),
        pytest.param({"auditor": ["read", "record"]}, id="an auditor who writes"),
        pytest.param({"auditor": ["read", "approve"]}, id="an auditor who consents"),
    ],
)
def test_matrices_that_are_none(document: object) -> None:
    """What a matrix does not say plainly, it does not say."""
    with refused(Refusal.POLICY_INVALID):
        roles.read(document)


@pytest.mark.parametrize(
    ("held", "path"),
    [
        pytest.param(["administrator", "committee"], None, id="who ends sessions consents as well"),
        pytest.param(["administrator", "trader"], None, id="who ends sessions proposes as well"),
        pytest.param(["auditor", "compliance"], "/files/roles.json/auditor", id="an auditor and more"),
        pytest.param(["trader", "emperor"], None, id="a role that the matrix does not know"),
    ],
)
def test_what_nobody_may_hold(world: World, held: list[str], path: str | None) -> None:
    """A policy set with such a person is refused whole, whoever has signed it."""

    def promote(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [person | ({"roles": held} if person["id"] == "trader-1" else {}) for person in people]

    files = world.with_file("people.json", promote)
    with refused(Refusal.POLICY_INVALID, path):
        world.sign_set(files).validate()


def test_a_person_without_conflict(world: World) -> None:
    """Several roles permit what each of them does."""
    matrix = roles.read(MATRIX)
    roles.check_person(matrix, "cro-1", ["cro", "committee"])
    found = roles.held(matrix, ["trader", "compliance", "emperor"])
    assert found == frozenset(
        {Permission.PROPOSE, Permission.READ, Permission.RECORD, Permission.EXPORT, Permission.REVIEW}
    )
    assert world.policy.roles == matrix


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        pytest.param(["auditor"], {Permission.PROPOSE, Permission.APPROVE}, id="neither of two"),
        pytest.param(["administrator"], {Permission.APPROVE}, id="an administrator's consent"),
        pytest.param(["emperor"], {Permission.READ}, id="a role that is none"),
        pytest.param([], {Permission.READ}, id="no role"),
        pytest.param(["cro"], set(), id="what nobody can be permitted"),
    ],
)
def test_not_permitted(held: list[str], wanted: set[Permission]) -> None:
    """Nothing is permitted that no line names."""
    with refused(Refusal.ROLE_NOT_HELD):
        roles.require(roles.read(MATRIX), held, wanted, person="somebody")


def test_permitted() -> None:
    """One of the permissions asked for is enough."""
    roles.require(roles.read(MATRIX), ["cro"], {Permission.PROPOSE, Permission.APPROVE}, person="cro-1")


def test_consent_is_the_sets_to_give(world: World) -> None:
    """A set that takes the right to approve from a role takes its consent with it."""
    matrix = {**MATRIX, "risk_officer": ["read"]}
    before = world.policy
    without = world.policy_with("roles.json", lambda _: matrix)
    assert before.permits("risk_officer", Permission.APPROVE)
    assert not without.permits("risk_officer", Permission.APPROVE)
