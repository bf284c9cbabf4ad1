"""A service that is taken over: its own code and key, without its rules. The co-signer is not.

The genuine service is killed; this process opens its ledger with its token and releases what
no rule released. Everything that travels is genuine; only the decision to send it is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from tests.hsm import no_token_open
from tests.world import COSIGNER, Living, living
from workbench.demo.world import SERVICE
from workbench.rules.lifecycle import Event, State
from workbench.service import releasing
from workbench.service.__main__ import _desk as open_desk
from workbench.service.desk import Desk


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One living world."""
    with living(limits={"attestation_age_s_max": 900, "simulation_age_s_max": 900}) as built:
        yield built


@pytest.fixture(scope="module")
def outstanding(world: Living) -> dict[str, str]:
    """Intents that the genuine service does not release, each for its own reason, with genuine consent."""
    weth = world.world.deployment.weth
    left = world.allowance(10).dump()["allowances"][0]
    elsewhere = world.allowance(10, to=weth, allowances=[{**left, "asset": weth}])
    digests = {
        "unwhitelisted": world.outstanding(elsewhere).digest,
        "over the limit": world.outstanding(world.allowance(2_000_000)).digest,
        "unapproved": world.outstanding(world.allowance(20)).digest,
        "unbounded": world.outstanding(
            world.allowance(30, data=world.world.deployment.approval(10**12).hex())
        ).digest,
    }
    for name, digest in digests.items():
        if name != "unapproved":
            assert world.approve(digest).state == "outstanding"
    # nothing is wrong with this one but that others come before it
    digests["too early"] = world.outstanding(world.allowance(40)).digest
    assert world.approve(digests["too early"]).state == "approved"
    world.officer("risk-1").speaks.ask(digests["unapproved"])
    return digests


@pytest.fixture(scope="module")
def liar(world: Living, outstanding: dict[str, str]) -> Iterator[Desk]:
    """The service's own code in the wrong hands."""
    assert outstanding
    world.stack.kill(SERVICE)
    places = world.world.places
    options = argparse.Namespace(
        state=places.root(SERVICE), trust_root=places.trust_root, testing_only_crash_at=None
    )
    no_token_open()
    desk, *_ = open_desk(options)
    yield desk
    desk.lane.recorder.ledger.close()


@pytest.mark.parametrize(
    ("name", "step", "code", "words"),
    [
        pytest.param(
            "unwhitelisted", 6, "policy_denied", "contract.whitelisted", id="a contract nobody reviewed"
        ),
        pytest.param("over the limit", 6, "policy_denied", "limit.single-transaction", id="no CRO"),
        pytest.param("too early", 7, "nonce_not_next", "nonce", id="a later nonce before an earlier one"),
        pytest.param("unapproved", 4, "no_approval_counts", "no decision at all", id="nobody consents"),
        pytest.param(
            "unbounded", 5, "state_diff_differs_from_intent", "declares", id="more than it declares"
        ),
    ],
)
def test_what_no_rule_released_is_not_signed(  # noqa: PLR0917 - the row of the table
    world: Living, outstanding: dict[str, str], liar: Desk, name: str, step: int, code: str, words: str
) -> None:
    """The co-signer evaluates the rules by itself; its signed refusal ends the intent, unsigned."""
    digest = outstanding[name]
    releasing.simulate(liar.lane, digest, step=4, purpose="signing", sequence=[digest], actor="service")
    before = list((world.world.places.root(COSIGNER) / "signed").iterdir())
    if liar.lane.books.matter(digest).state is State.OUTSTANDING:
        forged = {"facts": {"amount_usd_cents": 0}, "policy": ""}
        liar.lane.enter(Event.RELEASED, digest, forged, actor="service")
    releasing.sign(liar.lane, digest)
    matter = liar.lane.books.matter(digest)
    refused = matter.outcome["answer"]["answer"]["refused"]
    assert (refused["step"], refused["code"]) == (step, code), refused
    assert words in refused["detail"]
    assert matter.state == "refused"
    assert matter.sent == []
    assert list((world.world.places.root(COSIGNER) / "signed").iterdir()) == before == []
    assert world.transactions() == 0
