"""A pool by way of the service: its reader believes neither the service nor a node, and the ledger stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

import pytest

from tests.rules.build import refused as refuses
from tests.world import Living, living, refused
from workbench.client import Client, ProvenPool
from workbench.demo.run import market
from workbench.desk import drafts, split
from workbench.risk.errors import UnknownTicksError
from workbench.risk.pool import swap
from workbench.risk.venue import Venue
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.storage import AttestedStorage, PoolQuestion
from workbench.service.observers import Observers
from workbench.service.pools import AT_ONCE_MAX, Pools

MILLION = 10**12


@pytest.fixture(scope="module")
def desk() -> Iterator[Living]:
    """Give a living desk."""
    with living() as made:
        yield made


def venue_of(desk: Living) -> Venue:
    """Return the worked example's pool."""
    deployment = desk.world.deployment
    return Venue.of(deployment.factory, deployment.usdc, deployment.weth, deployment.fee)


def seen(desk: Living, client: Client, amount: int = 5 * MILLION) -> ProvenPool:
    """Have a client read the pool."""
    return client.pool(
        venue_of(desk),
        token_in=desk.world.deployment.usdc,
        amount_in=amount,
        trust_root=desk.world.trust_root,
    )


@pytest.mark.parametrize("person", ["pm-1", "auditor-1"])
def test_whoever_may_read_gets_a_proven_pool(desk: Living, person: str) -> None:
    """The figures of the worked example come out, at the block that is attested; the ledger stays."""
    with desk.unchanged(refusals=0):
        told = seen(desk, desk.officer(person).speaks)
    assert told.pool.liquidity == 13_300_014_656_735_317_658
    assert told.state.block_number > 0
    done = swap(told.pool, 5 * MILLION, zero_for_one=True)
    assert round((1 - done.amount_out / (done.amount_in * told.pool.mid)) * 10**6) == 30_000


def test_the_desks_advice_is_ten_lines_away(desk: Living) -> None:
    """A kernel with a session and a trust root gets the worked example's advice from the chain."""
    advice = split.advise(
        desk.pm,
        drafts.Market.of(market(desk.world)),
        factory=desk.world.deployment.factory,
        trust_root=desk.world.places.trust_root,
        amount_in=Decimal(5_000_000),
        tranches=5,
        limit_bps=50,
    )
    assert split.sentences(advice)[0].endswith(
        "5 tranches back to back 3.0000 % ($150,000): splitting alone saves nothing."
    )
    assert "0.2399 % ($11,995)" in split.words(advice).markup
    first = advice.advice.terms[0]
    minimum = swap(advice.seen.pool, first.amount_in, zero_for_one=True).amount_out
    assert minimum * 9_995 // 10_000 == first.minimum_out


@dataclass(slots=True)
class Between(Client):
    """A client whose service changes what the observer has said."""

    change: Callable[[dict[str, Any]], object] = lambda _: None

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """Return the true answer, changed."""
        answer = Client.post(self, path, value)
        self.change(answer["told"][0])
        return answer


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], Refusal | None]] = {
    "a tick is hidden": (lambda told: told["slots"].pop(), None),
    "another block": (
        lambda told: told["attestation"]["document"]["block"].update(number=1),
        Refusal.SIGNATURE,
    ),
    "another name": (lambda told: told["attestation"].update(observer="eve"), Refusal.OBSERVER_UNKNOWN),
    "a slot's proof is gone": (lambda told: told["slots"][1].update(proof=[]), Refusal.PROOF),
    "something beside it": (lambda told: told.update(cost="0"), Refusal.MALFORMED),
}


@pytest.mark.parametrize(("change", "code"), LIES.values(), ids=LIES)
def test_a_service_that_lies(
    desk: Living, change: Callable[[dict[str, Any]], object], code: Refusal | None
) -> None:
    """The client refuses by itself what the service has changed."""
    honest = desk.pm
    client = Between(honest.service, honest.key, honest.certified, change)
    if code is None:
        with pytest.raises(UnknownTicksError):
            seen(desk, client)
    else:
        with refuses(code):
            seen(desk, client)


def test_what_there_is_none_of(desk: Living) -> None:
    """A pool that does not exist, or a swap too wide for one, is refused and recorded."""
    elsewhere = replace(venue_of(desk), fee=3000)
    token_in, root = desk.world.deployment.usdc, desk.world.trust_root
    with desk.unchanged(refusals=2):
        refused(
            "unavailable",
            lambda: desk.pm.pool(elsewhere, token_in=token_in, amount_in=1, trust_root=root),
        )
        refused("malformed", lambda: desk.pm.post("/v1/pools", {"factory": token_in}), path="/token_in")


def test_a_stranger_reads_no_pool(desk: Living) -> None:
    """With a session that nobody has certified there is no answer."""
    certified = desk.pm.certified
    made_up = certified.session.model_copy(update={"nonce": "00" * 16})
    stranger = replace(desk.pm, certified=certified.model_copy(update={"session": made_up}))
    refused("session_unknown", lambda: seen(desk, stranger))


def test_few_at_once(desk: Living) -> None:
    """More questions than the observer can do with are told to come again, and afterwards it is free."""
    inside, leave = threading.Semaphore(0), threading.Event()

    class Slow(Observers):
        def pool(self, question: PoolQuestion) -> list[AttestedStorage]:
            inside.release()
            assert leave.wait(10)
            raise RefusedError(Refusal.UNAVAILABLE, question.amount)

    pools = Pools(Slow({}, desk.world.trust_root))
    question = cast("PoolQuestion", PoolQuestion.model_construct(amount="1"))
    with ThreadPoolExecutor(AT_ONCE_MAX) as pool:
        asking = [pool.submit(pools.ask, question) for _ in range(AT_ONCE_MAX)]
        for _ in asking:
            assert inside.acquire(timeout=10)
        with refuses(Refusal.BUSY):
            pools.ask(question)
        leave.set()
        assert {type(each.exception()) for each in asking} == {RefusedError}
    with refuses(Refusal.UNAVAILABLE):
        pools.ask(question)
