"""The rights of others by way of the service: signed, verified here, and ended by an intent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chain.compiled import calldata
from tests.rules.build import refused as refuses
from tests.world import Living, living, refused
from workbench.chain.node import Node
from workbench.client import Client
from workbench.demo import node as chain
from workbench.demo.run import market
from workbench.demo.world import OBSERVER
from workbench.desk import allowances
from workbench.desk.allowances import Rights
from workbench.desk.drafts import Market
from workbench.evm.fields import UINT256_MAX
from workbench.rules.allowances import AllowancesQuestion
from workbench.rules.codes import Refusal


@pytest.fixture(scope="module")
def desk() -> Iterator[Living]:
    """Give a living desk whose treasury once approved the router without limit."""
    with living() as made:
        deployment, node = made.world.deployment, Node(node_url(made))
        account = trades(made).account
        node.call("anvil_impersonateAccount", account)
        approval = calldata("approve", ("address", deployment.router), ("uint256", str(UINT256_MAX)))
        chain.send(node, sender=account, to=deployment.usdc, data=approval)
        node.call("anvil_stopImpersonatingAccount", account)
        node.close()
        yield made


def node_url(desk: Living) -> str:
    """Return where the observer's node is."""
    config = json.loads((desk.world.places.root(OBSERVER) / "config.json").read_text())
    (url,) = config["nodes"].values()
    return str(url)


def trades(desk: Living) -> Market:
    """Return what the desk trades."""
    return Market.of(market(desk.world))


def question(desk: Living) -> AllowancesQuestion:
    """Ask about the treasury's dollars."""
    where = trades(desk)
    return AllowancesQuestion(owners=[where.account], tokens=[where.token_in], since=0, spenders=[])


def seen(desk: Living, client: Client | None = None) -> Rights:
    """Have a client read the rights."""
    return allowances.rights(client or desk.pm, question(desk), trust_root=desk.world.trust_root, assets={})


def test_whoever_may_read_sees_it(desk: Living) -> None:
    """The auditor, too, sees the router's right without limit; the ledger stays."""
    with desk.unchanged(refusals=0):
        (right,) = seen(desk, desk.officer("auditor-1").speaks).grants
    assert (right.spender, right.is_unlimited) == (trades(desk).router, True)


@dataclass(slots=True)
class Between(Client):
    """A client whose service changes what the observer has said."""

    change: Callable[[dict[str, Any]], object] = lambda _: None

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """Return the true answer, changed."""
        answer = Client.post(self, path, value)
        self.change(answer["told"][0])
        return answer


@dataclass(slots=True)
class Elsewhere(Client):
    """A client whose service asks about less than it was asked."""

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """Ask about no token."""
        return Client.post(self, path, {**value, "tokens": []})


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], Refusal]] = {
    "a right hidden": (lambda told: told["document"]["grants"].clear(), Refusal.SIGNATURE),
    "a smaller amount": (lambda told: told["document"]["grants"][0].update(allowed="1"), Refusal.SIGNATURE),
    "another observer": (lambda told: told.update(observer="eve"), Refusal.OBSERVER_UNKNOWN),
}


@pytest.mark.parametrize(("change", "code"), LIES.values(), ids=LIES)
def test_a_service_that_lies(desk: Living, change: Callable[[dict[str, Any]], object], code: Refusal) -> None:
    """The client refuses by itself what the service has changed."""
    honest = desk.pm
    with refuses(code):
        seen(desk, Between(honest.service, honest.key, honest.certified, change))


def test_another_question(desk: Living) -> None:
    """An honest answer to a smaller question is none."""
    honest = desk.pm
    with refuses(Refusal.FACT_MISSING):
        seen(desk, Elsewhere(honest.service, honest.key, honest.certified))


def test_what_is_refused(desk: Living) -> None:
    """A question that is none is refused and recorded, and so is one that no observer answers."""
    asked = question(desk).dump()
    with desk.unchanged(refusals=2):
        refused("malformed", lambda: desk.pm.post("/v1/allowances", {**asked, "owners": []}), path="/owners")
        twice = {**asked, "owners": asked["owners"] * 2}
        refused("unavailable", lambda: desk.pm.post("/v1/allowances", twice))


def test_a_draft_that_revokes(desk: Living) -> None:
    """The draft is proposed and simulated like any intent; after it the router may take nothing."""
    where = trades(desk)
    (draft,) = allowances.revocations(seen(desk), where, "pm-1", callable_tokens={where.token_in})
    simulated = desk.outstanding(draft).simulated
    assert [each.amount for each in simulated.allowances] == ["0"]
    assert simulated.revert is None
