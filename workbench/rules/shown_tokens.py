"""What tokens say of themselves, in words: where it contradicts the policy set, under which other name."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.rules.attestation import Simulation
from workbench.rules.facts import contradictions
from workbench.rules.policy import PolicySet
from workbench.rules.rows import Row


def rows(policy: PolicySet, simulation: Simulation) -> Iterator[Row]:
    """Return a row for each token that is something else than the policy set says, or calls itself so."""
    wrong = contradictions(simulation, policy)
    for asset, detail in wrong.items():
        yield Row(label="NOT AS IT IS LISTED", says=detail, hex=asset, alarm=True)
    for each in simulation.tokens:
        listed = policy.assets.get(each.asset)
        if listed is not None and each.symbol is not None and each.symbol != listed.symbol:
            yield Row(
                label="Calls itself otherwise",
                says=f"'{each.symbol}', listed as {listed.symbol}",
                hex=each.asset,
                remark="the symbol on this page is the policy set's",
            )
