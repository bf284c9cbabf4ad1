"""A living world for what can only be seen at run time; one for the whole folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from workbench.demo.people import Officer
from workbench.demo.run import living_world, market
from workbench.demo.stack import Stack
from workbench.demo.world import ANCHOR, SERVICE, World
from workbench.desk import drafts

WITHIN_S = 60.0


@pytest.fixture(scope="package")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Stack]]:
    """A world with one allowance from proposal to confirmation, a bundle that was taken, and an anchor."""
    folder: Path = tmp_path_factory.mktemp("world")
    folder.chmod(0o700)
    with living_world(folder) as (world, stack):
        places = world.places
        pm, risk, auditor = (
            Officer.log_in(
                person,
                folder=places.officers,
                socket=places.socket(SERVICE),
                policy=world.policy,
                trust_root=world.trust_root,
            )
            for person in ("pm-1", "risk-1", "auditor-1")
        )
        allowance = drafts.draft_swap(
            drafts.Market.of(market(world)),
            "pm-1",
            amount_in=Decimal(1000),
            mid=Decimal(2500),
            slippage_bps_max=50,
            purpose="a test",
        ).allowance
        digest = pm.speaks.simulate(pm.speaks.propose(allowance).digest).digest
        view = risk.decide(digest, verb="approve", role="risk_officer", reason="a test")
        deadline = time.monotonic() + WITHIN_S
        while view.state != "confirmed":
            assert time.monotonic() < deadline, view.state
            view = pm.speaks.resume(digest)
        auditor.speaks.bundle()
        anchored = places.root(ANCHOR) / "anchored.json"
        deadline = time.monotonic() + WITHIN_S
        while not anchored.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield world, stack
