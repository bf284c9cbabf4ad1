"""The notebook that lays a transaction open, run by papermill over a living desk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.world import Living, living
from workbench.client import Client
from workbench.demo.run import market, officers
from workbench.desk import review
from workbench.desk.drafts import Market
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.codes import RefusedError
from workbench.runner import notebook

SOURCE = Path(__file__).parents[2] / "notebooks" / "committee" / "transaction-review.ipynb"


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a desk with a first transaction behind it."""
    with living() as built:
        assert built.push(built.allowance(1_000_000)).state == "confirmed"
        yield built


def swap(world: Living) -> str:
    """Have a swap of one USDC simulated, which the allowance covers; return its digest."""
    view = world.pm.propose(world.swap(1).swap)
    return world.pm.simulate(view.digest).digest


def text(shown: Any) -> str:  # anything that a cell shows
    """Return what is shown, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", shown._repr_html_()).split())


def test_the_notebook(world: Living, tmp_path: Path) -> None:
    """Papermill runs it as an officer; the report holds call, moves, advice, history and conclusion."""
    digest = swap(world)
    parameters = {
        "socket": str(world.socket),
        "person": "pm-1",
        "trust_root": str(world.world.places.trust_root),
        "intent": digest,
        "market": market(world.world),
        "factory": world.world.deployment.factory,
    }
    with officers(world.world):
        report = notebook.run(SOURCE, tmp_path, parameters)
    told = report.read_text()
    for expected in (
        "exactInputSingle",
        "whitelist",
        "-1.000000 USDC",
        "Cumulative cost",
        "the same",
        "Conclusion",
    ):
        assert expected in told, expected


def opened(world: Living, digest: str) -> review.Review:
    """Open a review as the risk officer."""
    client: Client = world.officer("risk-1").speaks
    return review.transaction(client, digest, world.world.places.trust_root)


def test_what_a_review_says(world: Living) -> None:
    """An ordinary swap: read by its entry, moves what was declared, and found nothing."""
    seen = opened(world, swap(world))
    assert "exactInputSingle" in text(seen.call())
    assert "declared" in text(seen.moves())
    assert "findings none" in text(seen.outcome())
    assert "one block later the same" in text(seen.outcome())
    concluded = text(seen.conclusion())
    assert "own entry yes" in concluded
    assert "found nothing yes" in concluded


def test_single_tokens_in_words(world: Living) -> None:
    """A token that leaves is told by number, owner and taker, and the conclusion is not clean."""
    seen = opened(world, swap(world))
    key = next(iter(seen.policy.keys.values()))
    taker, collection = world.world.deployment.router, world.world.deployment.factory
    leaves = {"standard": "erc721", "asset": collection, "id": str(2**256 - 1), "amount": "1"}
    told = seen.simulation.dump() | {"items": [leaves | {"from": key.address, "to": taker}]}
    worse = replace(seen, simulation=Simulation.load(told))
    moves = text(worse.moves())
    assert f"token {2**256 - 1} of an unlisted collection" in moves
    assert f"leaves our key {key.id} to" in moves
    assert "A SINGLE TOKEN LEAVES" in moves
    assert "found nothing NO" in text(worse.conclusion())


def test_an_approval_needs_no_tranches(world: Living) -> None:
    """Where nothing is exchanged there is no advice, and the destination's history is the token's."""
    view = world.outstanding(world.allowance(77))
    seen = opened(world, view.digest)
    advice = seen.advice(Market.of(market(world.world)), factory=world.world.deployment.factory, tranches=5)
    assert "none" in text(advice)
    assert "confirmed" in text(seen.history())


def test_what_does_not_verify_is_not_shown(world: Living) -> None:
    """A service that changes a simulation on its way is refused by the kernel."""
    view = world.outstanding(world.allowance(78))
    client = world.officer("risk-1").speaks
    (simulated,) = view.simulations
    told = simulated.document | {"gas": 1}
    bent = view.model_copy(update={"simulations": [Statement.load(simulated.dump() | {"document": told})]})
    liar = SimpleNamespace(intent=lambda _: bent, policy_chain=client.policy_chain)
    with pytest.raises(RefusedError):
        review.transaction(cast("Client", liar), view.digest, world.world.places.trust_root)


def test_what_was_never_simulated(world: Living) -> None:
    """Without a simulation there is nothing to review."""
    view = world.pm.propose(world.allowance(79))
    with pytest.raises(LookupError, match="not been simulated"):
        opened(world, view.digest)
